#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2400
# The static checks; with LONG=1 coccicheck too, and that each of them fails where there
# is a mistake, and where its tool is missing or breaks off.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# What is long takes longer than all of the others together.
if [ -z "${LONG:-}" ]; then
	"$top/scripts/check" checkpatch shellcheck licences fixes maintainers warnings || true
	exit
fi
"$top/scripts/check" || true

# --- mistakes in the kernel: a commit on top of the series, in nobody's branch
tip=$(kgit rev-parse refs/viommu/tip)
file=drivers/iommu/iommufd/mmap_range.c

# commit <subject>: the file, with standard input at its end
commit()
{
	local blob

	blob=$({ kgit show "$tip:$file"; cat; } | kgit hash-object -w --stdin)
	(
	export GIT_INDEX_FILE=$scratch/index
	kgit read-tree "$tip"
	kgit update-index --cacheinfo "100644,$blob,$file"
	printf '%s\n\n%s\n' "$1" "A test." |
		kgit -c user.name=test -c user.email=test@localhost \
			commit-tree -p "$tip" "$(kgit write-tree)"
	)
}

# planted <commit> [NAME...]: those checks of what it changes
planted()
{
	local commit=$1

	shift
	"$top/scripts/check" --from "$tip" --tip "$commit" "$@"
}

# caught <name> <regex> command...: fails, and one of the lines says why
caught()
{
	local name=$1 regex=$2

	shift 2
	if "$@" > "$scratch/out" 2>&1; then
		not_ok "planted: $name: the check passes"
	elif ! grep -qE "$regex" "$scratch/out"; then
		not_ok "planted: $name: no line says '$regex'"
		sed -e '21,$d' -e 's/^/# /' "$scratch/out"
	else
		ok "planted: $name"
	fi
}

# also <name> <regex>: what the last "caught" said has this line, too
also()
{
	if grep -qE "$2" "$scratch/out"; then
		ok "planted: $1"
	else
		not_ok "planted: $1: no line says '$2'"
		sed -e '21,$d' -e 's/^/# /' "$scratch/out"
	fi
}

good=$(commit 'iommufd: Change nothing' << 'END'

/* Nothing is wrong with this. */
END
)
bad=$(commit 'iommufd: Make mistakes' << 'END'

static const int planted_unused = 1;

/**
 * iommufd_planted - Make mistakes
 * @none: There is no such parameter
 */
void iommufd_planted(__le32 *p, u32 v);

void iommufd_planted(__le32 *p, u32 v) 
{
	*p = v;
	if (p)
		kfree(p);
}
END
)
broken=$(commit 'iommufd: Break the build' << 'END'

int iommufd_planted(void
END
)

check "planted: what is right passes" planted "$good" checkpatch warnings coccicheck
caught "checkpatch" "^not ok - checkpatch: 0001" planted "$bad" checkpatch
also "checkpatch: white space" 'TRAILING_WHITESPACE'
caught "sparse" "^# .*mmap_range.c:.*incorrect type in assignment" planted "$bad" warnings
also "W=1" "mmap_range.c:.*planted_unused.* defined but not used"
also "kernel-doc" "Excess function parameter 'none'"
caught "coccicheck" "^# .*NULL check before some freeing functions" planted "$bad" coccicheck
caught "what does not compile" "make ended with status" planted "$broken" warnings

# --- tools that are missing or break off

# without <tool> command...: the command does not find this tool
without()
{
	rm -rf "${scratch:?}/bin"
	mkdir "$scratch/bin"
	find /usr/local/bin /usr/bin /bin /usr/sbin /sbin -maxdepth 1 ! -type d ! -name "$1" \
		-exec ln -sf -t "$scratch/bin" {} +
	PATH=$scratch/bin "${@:2}"
}

# broken <tool> <script> command...: the tool is this script instead
broken()
{
	rm -rf "${scratch:?}/bin"
	mkdir "$scratch/bin"
	printf '#!/bin/sh\n%s\n' "$2" > "$scratch/bin/$1"
	chmod +x "$scratch/bin/$1"
	PATH=$scratch/bin:$PATH "${@:3}"
}

# shellcheck disable=SC2016 # for the scripts
crash='kill -SEGV $$'
exception='echo "EXN: Failure(planted)" >&2'
caught "no spatch" "no spatch: 'make deps'" without spatch planted "$good" coccicheck
caught "spatch breaks off" "spatch ended with status" \
	broken spatch "$crash" planted "$good" coccicheck
caught "spatch has an exception" "spatch ended with status exception" \
	broken spatch "$exception" planted "$good" coccicheck
caught "no sparse" "no sparse: 'make deps'" without sparse planted "$good" warnings
caught "sparse breaks off" "make ended with status" broken sparse "$crash" planted "$good" warnings
caught "no shellcheck" "^not ok - shellcheck" without shellcheck planted "$good" shellcheck
caught "shellcheck breaks off" "^not ok - shellcheck" \
	broken shellcheck "$crash" planted "$good" shellcheck

# --- mistakes in the repository: in a copy of it
copy=$scratch/repo
mkdir "$copy"
tar -C "$top" --exclude=./build --exclude=./.git -c . | tar -x -C "$copy"
git init -q "$copy"
copied()
{
	BUILD=$build "$copy/scripts/check" --from base --tip "$tip" "$@"
}
check "planted: a copy of the repository passes" copied shellcheck licences fixes maintainers
# shellcheck disable=SC2016 # the mistake
printf '#!/bin/sh\necho $1\n' > "$copy/scripts/planted"
caught "shellcheck: no quotes" "planted:2:.*SC2086" copied shellcheck
caught "licences: no SPDX" "scripts/planted: no SPDX" copied licences
rm "$copy/scripts/planted"
fix=$(base_fixes | sed -n 1p)
sed -i -E '/^(Fixes:|No Fixes tag:) /d' "$copy/patches/$fix"
caught "fixes: no tag" "$fix: a fix of the base without a Fixes: tag" copied fixes
printf 'F:\tdrivers/iommu/iommufd/planted.c\n' >> "$copy/MAINTAINERS"
caught "MAINTAINERS: no such file" "there is no drivers/iommu/iommufd/planted.c" copied maintainers
sed -i '$d' "$copy/MAINTAINERS"
printf 'L:\tlinux-kernel@planted.invalid\n' >> "$copy/MAINTAINERS"
caught "MAINTAINERS: a mailing list" "does not have this series: linux-kernel@planted" \
	copied maintainers
sed -i '$d' "$copy/MAINTAINERS"
printf '\tmm/planted.c\n' >> "$copy/patches/series"
caught "MAINTAINERS: nobody has a file" "nobody has mm/planted.c" copied maintainers
rm -r "$copy/.git"
mkdir "$copy/.git"
caught "licences: no list of files" "^not ok - licences" copied licences
caught "a check that there is not" "there is no check planted" planted "$good" planted
