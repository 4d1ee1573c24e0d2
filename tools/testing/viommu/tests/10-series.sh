#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1300
# beside
# The series tools: tree, refresh and series in a copy of the repository, and
# what they refuse.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
only_one series
copy=$scratch/repo
work=$scratch/build
src=$work/linux
"$top/scripts/tree"
here=$linux
mapfile -t touched < <(git -C "$here" diff --name-only base refs/viommu/tip)

# A copy of the repository, with a build directory that borrows the base and
# checks out only what the series touches.
mkdir -p "$copy" "$work"
(cd "$top" && { echo patches; echo scripts; series_files ''; } | tar -c -T -) | tar -x -C "$copy"
cp "$build/base.stamp" "$work/"
run()
{
	(export BUILD=$work; cd "$copy" && "$copy/scripts/$1" "${@:2}")
}
g()
{
	git -C "$src" -c user.name=test -c user.email=test@localhost "$@"
}
borrow()	# <dir> <branch>: a shared clone with the touched files
{
	git clone -q --shared --no-checkout "$here" "$1"
	git -C "$1" fetch -q "$here" "+refs/heads/base:refs/heads/base" 2>/dev/null || true
	git -C "$1" sparse-checkout set --no-cone /Makefile /MAINTAINERS /drivers/iommu/ \
		/tools/testing/selftests/iommu/ "${touched[@]}"
	git -C "$1" config user.name viommu
	git -C "$1" config user.email viommu@localhost
	git -C "$1" checkout -q -B "$2" base
}
state()	# everything that the tools may write in the repository
{
	(cd "$copy" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}
unchanged()
{
	state | diff "$scratch/before" -
}
drop()
{
	g checkout -q -f -B viommu refs/viommu/tip
}

borrow "$src" viommu

# --- tree and refresh
check "tree makes the branch" run tree
check "the same input gives the same commits" \
	[ "$(g rev-parse viommu)" = "$(git -C "$here" rev-parse refs/viommu/tip)" ]
state > "$scratch/before"
check "refresh" run refresh
check "refresh changes nothing" unchanged
check "tree after refresh" run tree
check "the round trip gives the same commits" \
	[ "$(g rev-parse viommu)" = "$(git -C "$here" rev-parse refs/viommu/tip)" ]

# --- a new patch with a new file, and an edit of a file of Linux
new=drivers/iommu/iommufd/series_test.c
old=drivers/iommu/iommufd/main.c
printf '// SPDX-License-Identifier: GPL-2.0-only\nint series_test;\n' > "$src/$new"
echo '/* series test */' >> "$src/$old"
g add -f "$new" "$old"
g commit -q -m 'iommufd: Series test

A message of
several lines.'
check "refresh takes a new commit" run refresh
check "its file lies at its place" cmp "$src/$new" "$copy/$new"
check "its patch has the edit only" \
	[ "$(grep -c '^diff --git' "$copy/patches/iommufd-series-test.patch")" = 1 ]
check "the series names both" grep -A1 -x 'iommufd-series-test.patch' "$copy/patches/series"
n=$(g rev-list --count base..viommu)

# --- uncommitted edits
echo 'int series_test_2;' >> "$src/$new"
(cd "$src" && find . -path ./.git -prune -o -type f -printf '%P %T@\n' | sort) > "$scratch/times"
state > "$scratch/before"
check "refresh folds an edit of a new file" run refresh
check "the new file has it" grep -q series_test_2 "$copy/$new"
check "and nothing else changed" \
	[ "$(state | diff "$scratch/before" - | grep -c '^>')" = 1 ]
check "no commit more" [ "$(g rev-list --count base..viommu)" = "$n" ]
check "no file was touched" diff "$scratch/times" \
	<(cd "$src" && find . -path ./.git -prune -o -type f -printf '%P %T@\n' | sort)
echo 'int series_test_3;' >> "$copy/$new"
check "tree takes an edit in the repository" run tree
check "only that file was touched" \
	[ "$(cd "$src" && find . -path ./.git -prune -o -type f -printf '%P %T@\n' | sort |
		diff "$scratch/times" - | grep -c '^>')" = 1 ]
echo '/* loose */' >> "$src/$old"
refuses "refresh refuses a loose edit of a file of Linux" 'commit --fixup=' run refresh
echo 'int series_test_4;' >> "$copy/$new"
refuses "tree does not run over edits" 'make refresh' run tree
sed -i '$d' "$copy/$new"

# --- fixups, of the last patch and of an earlier one
test=$(g rev-parse viommu)
g commit -q -a --fixup="$test"
printf '\n/* later */\n' >> "$src/drivers/iommu/iommufd/ioas.c"
g commit -q -a -m 'iommufd: Later test'
echo '/* early */' >> "$src/$old"
g commit -q -a --fixup="$test"
check "refresh folds fixups" run refresh
check "the patch has the first" grep -q '^+/\* loose \*/' "$copy/patches/iommufd-series-test.patch"
check "and the one that comes after another patch" \
	grep -q '^+/\* early \*/' "$copy/patches/iommufd-series-test.patch"
check "that patch has its own edit only" \
	[ "$(grep -c '^+/\*' "$copy/patches/iommufd-later-test.patch")" = 1 ]
check "no commit more by a fixup" [ "$(g rev-list --count base..viommu)" = $((n + 1)) ]

# --- amend!, of the last patch and of the last fix of the base
g commit -q --allow-empty -m 'amend! iommufd: Later test

iommufd: Reworded test

Another message.'
fixes=$(base_fixes "$copy/patches/series" | wc -l)
last_fix=$(g log --reverse --format=%s base..viommu | sed -n "${fixes}p")
g commit -q --allow-empty -m "amend! $last_fix

iommufd: Reworded fix

Another message.

Fixes: 123456789abc (\"iommufd: What it mends\")"
check "refresh takes an amend!" run refresh
check "the file follows the subject" [ -f "$copy/patches/iommufd-reworded-test.patch" ]
check "and the old name is gone" [ ! -e "$copy/patches/iommufd-later-test.patch" ]
reworded=$copy/patches/iommufd-reworded-fix.patch
check "refresh takes a fix with a new subject" [ -f "$reworded" ]
check "refresh: it is still the last fix of the base" \
	[ "$(base_fixes "$copy/patches/series" | tail -n 1)" = iommufd-reworded-fix.patch ]
check "refresh: there are as many fixes as before" \
	[ "$(base_fixes "$copy/patches/series" | wc -l)" = "$fixes" ]
check "check-fixes: each fix has a tag or a reason" run check-fixes
cp -r "$copy/patches" "$scratch/patches"
sed -i '/^Fixes: /d' "$reworded"
refuses "check-fixes: a fix without a tag" \
	'iommufd-reworded-fix.patch: a fix of the base without a Fixes: tag' run check-fixes
sed -i 's/^Another message\.$/&\n\nNo Fixes tag: this is a test./' "$reworded"
check "check-fixes: a fix that says why it has none" run check-fixes
sed -i 's/^No Fixes tag: .*/Fixes: 1234 ("too short")/' "$reworded"
refuses "check-fixes: a tag with a short id" 'without a Fixes: tag' run check-fixes
sed -i 's/^Fixes: .*/Fixes: 123456789abc ("iommufd: What it mends")/' "$reworded"
sed -i "/^$fixes_end\$/d" "$copy/patches/series"
refuses "check-fixes: no line that ends the fixes" 'no patch is above a line' run check-fixes
sed -i "s/^iommufd-reworded-fix.patch\$/$fixes_end\n&/" "$copy/patches/series"
refuses "check-fixes: a fix below that line" \
	'iommufd-reworded-fix.patch: has a Fixes: tag' run check-fixes
cp "$scratch/patches"/* "$copy/patches/"

echo 'int twice;' >> "$src/$new"
g commit -q -a -m 'iommufd: Second owner'
refuses "a new file belongs to one patch" 'belongs to one patch' run refresh
drop
echo x > "$src/loose.c"
refuses "refresh refuses a stray file" 'loose.c is new' run refresh
rm "$src/loose.c"

# --- what cannot be made
cp -r "$copy/patches" "$scratch/saved"
sed -i 's/^ \(.*\)$/ not \1/' "$copy/patches/iommufd-reworded-test.patch"
refuses "a patch that does not apply" \
	'iommufd-reworded-test.patch does not apply to Linux 6.12.*rebase' run tree
cp "$scratch/saved"/* "$copy/patches/"
rm "$copy/patches/iommufd-reworded-test.patch"
refuses "a patch that is missing" \
	'iommufd-reworded-test.patch is in patches/series but missing' run tree
cp "$scratch/saved"/* "$copy/patches/"
mkdir -p "$copy/drivers/iommu" && echo > "$copy/drivers/iommu/stray.c"
refuses "a file of no patch" 'drivers/iommu/stray.c belongs to no patch' run tree
rm "$copy/drivers/iommu/stray.c"
mkdir "$scratch/ksrc"
printf 'VERSION = 6\nPATCHLEVEL = 13\nSUBLEVEL = 1\n' > "$scratch/ksrc/Makefile"
refuses_base()
{
	KSRC=$1 run tree 2>&1 | grep -v 'unpacking'
	[ "${PIPESTATUS[0]}" = 0 ]
}
refuses "another Linux" '6\.13 not Linux 6\.12\.y: give KSRC=|is 6\.13' refuses_base "$scratch/ksrc"
refuses "a KSRC that is not there" 'does not exist' refuses_base "$scratch/nowhere"

# --- git am
maintainer='A Maintainer <a@maintainer.invalid>'
SIGNOFF=$maintainer "$top/scripts/series" 2>/dev/null
check "SIGNOFF signs each patch off" \
	[ "$(grep -Hc "^Signed-off-by: $maintainer\$" "$build"/series/*.patch | grep -c ':1$')" = \
	  "$(git -C "$here" rev-list --count base..refs/viommu/tip)" ]
check "SIGNOFF is the author of each patch" \
	[ "$(sed -s -n 2p "$build"/series/*.patch | sort -u)" = "From: $maintainer" ]
signoff_bad()
{
	SIGNOFF="A Maintainer" "$top/scripts/series"
}
refuses "a SIGNOFF without a mail address" 'must read "Name <mail>"' signoff_bad
"$top/scripts/series" 2>/dev/null
check "nobody signed off" [ -z "$(grep -l '^Signed-off-by' "$build"/series/*.patch)" ]
am=$scratch/am
borrow "$am" am
check "git am on an untouched base" git -C "$am" am -q "$build"/series/*.patch
check "gives the tree that the branch has" \
	[ "$(git -C "$am" rev-parse 'am^{tree}')" = \
	  "$(git -C "$here" rev-parse 'refs/viommu/tip^{tree}')" ]

# --- the fixes of the base alone
stable=$build/stable
check "STABLE=1 writes a set" env STABLE=1 "$top/scripts/series"
mapfile -t fix < <(find "$stable" -name '*.patch' | sort)
check "it has the fixes of the base" [ "${#fix[@]}" = "$(base_fixes | wc -l)" ]
# The same base, but without the files that no patch of the series touches: git am
# does not look at those, and takes a tenth of the time without them.
touched_tree()	# <commit> <index>
{
	(linux=$am
		small_index "$1" "$2" "${touched[@]}"
		GIT_INDEX_FILE=$2 kgit write-tree)
}
base_tree=$(touched_tree "$(git -C "$here" rev-parse base)" "$scratch/base")
root=$(git -C "$am" commit-tree -m base "$base_tree")
small=$scratch/small
git clone -q --shared --no-checkout "$am" "$small"
git -C "$small" config user.name viommu
git -C "$small" config user.email viommu@localhost
git -C "$small" checkout -q -B small "$root"
plain()
{
	git -C "$small" reset -q --hard "$root" && git -C "$small" am -q "$@" ||
		{ git -C "$small" am --abort; return 1; }
}
applies()	# the same as git am judges a set, but it leaves nothing behind
{
	cp "$scratch/base" "$scratch/index"
	GIT_INDEX_FILE=$scratch/index git -C "$small" apply --cached "$@"
}
check "git am of all of them on an untouched base" plain "${fix[@]}"
last=$(git -C "$here" rev-parse "refs/viommu/tip~$(($(series_patches | wc -l) - ${#fix[@]}))")
check "gives the tree below the series" \
	[ "$(git -C "$small" rev-parse 'small^{tree}')" = \
	  "$(touched_tree "$last" "$scratch/last")" ]
# What the cover letter says that it needs is enough, and without that it fails.
for i in "${!fix[@]}"; do
	name=$(basename "${fix[i]}" .patch)
	needs=()
	for n in $(sed -n "/^$((i + 1))\. /{n;s/^    needs //p}" "$stable/cover-letter.txt" |
		tr -d ,); do
		needs+=("${fix[n - 1]}")
	done
	check "git am of $name, after ${#needs[@]}, on an untouched base" \
		plain "${needs[@]}" "${fix[i]}"
	[ ${#needs[@]} = 0 ] || applies "${needs[@]}" "${fix[i]}" 2>/dev/null ||
		not_ok "$name: git apply does not take what git am takes"
	for n in "${!needs[@]}"; do
		without=("${needs[@]:0:n}" "${needs[@]:n + 1}")
		! applies "${without[@]}" "${fix[i]}" 2>/dev/null ||
			not_ok "$name does not need $(basename "${needs[n]}" .patch)"
	done
done

# --- what goes with it
cover=$build/series/cover-letter.txt
subjects()
{
	git -C "$here" log --reverse --format=%s base..refs/viommu/tip
}
# messages: fails where a patch has no more than a subject
messages()
{
	local text

	git -C "$here" log -z --format='%s%n%b' base..refs/viommu/tip |
		while IFS= read -r -d '' text; do
			[[ $text == *$'\n'*[![:space:]]* ]] ||
				echo "nothing but a subject: ${text%%$'\n'*}"
		done | grep . && return 1
	return 0
}
# named <file>: every subject stands there
named()
{
	local text

	# A line may be broken anywhere.
	text=$(paste -sd' ' "$1" | tr -s ' ')
	subjects | while IFS= read -r s; do
		[[ $text == *"$s"* ]] || echo "$s"
	done | grep . && return 1
	return 0
}
# ended <file>: no line is left that names a patch which is not in the series
ended()
{
	sed -n '/^The patches$/,/^A Debian package$/p' "$1" | paste -sd' ' | tr -s ' ' |
		grep -oE '[*][^*]+[*]' | tr -d '*' | grep -vxF -f <(subjects) && return 1
	return 0
}
check "each patch has a message" messages
check "the cover letter names each patch" named "$cover"
diffstat=$(git -C "$here" diff --shortstat base refs/viommu/tip | sed 's/^ //')
check "it has the diffstat" grep -qx " $diffstat" "$cover"
check "it says what differs from newer kernels" grep -q '^Different from newer kernels' "$cover"
check "and what is left out" grep -q '^Left out$' "$cover"
check "no line of it is too long" [ -z "$(sed 1d "$cover" | awk 'length > 79')" ]
# of_fixes <file>: every fix of the base stands there, and no other patch does
of_fixes()
{
	diff <(subjects | sed "$(base_fixes | wc -l)q") <(sed -n 's/^[*]\(.*\)[*]$/\1/p' "$1")
}
# covers <file>: every test that it names is there
covers()
{
	local tests=$top/tools/testing/selftests/iommu t

	# shellcheck disable=SC2016 # these quotes are of the page
	grep -oE '``[a-z0-9_]+([.][a-z0-9_]+)?``' "$1" | tr -d '`' | while read -r t; do
		if [[ $t == *.* ]]; then
			grep -rqE "^TEST_F(_TIMEOUT)?[(]${t%.*}, ${t#*.}[,)]" "$tests"
		else
			[ -f "$tests/$t.c" ] ||
				grep -rqE "KUNIT_CASE[(]${t}[)]" "$top/drivers" "$top/patches" ||
				grep -rqE "^FIXTURE_VARIANT_ADD[(][a-z]+, ${t}[)]" "$tests"
		fi || echo "there is no $t"
	done | grep . && return 1
	return 0
}
# calls <file>: its table has each new ioctl with its number, and names patches that are
# in the series
calls()
{
	{
		git -C "$here" diff base refs/viommu/tip -- include/uapi/linux/iommufd.h |
			sed -n 's/^+\tIOMMUFD_CMD_\([A-Z_]*\) = \(0x[0-9a-f]*\),$/\1 \2/p' |
			while read -r name number; do
				grep -A1 -x "   [*] - $name" "$1" | grep -qx "     - $number" ||
					echo "no row has $name, $number"
			done
		sed -n 's/^     - [*]\(.*\)[*]$/\1/p' "$1" | grep -vxF -f <(subjects)
	} | grep . && return 1
	return 0
}
# counts <file>: its first sentences are true
counts()
{
	local text want version edited

	text=$(paste -sd' ' "$1" | tr -s ' ')
	version=$(sed -n 's/^version=.*:-\(6[.]12[.][0-9]*\)-.*/\1/p' "$top/scripts/base")
	edited=$(git -C "$here" diff --name-only --diff-filter=M base refs/viommu/tip | wc -l)
	want="The series has $(series_patches | wc -l) patches for Linux $version,"
	want+=" $(base_fixes | wc -l) of them fixes of the base."
	want+=" It brings $(series_files '' | wc -l) new files and edits $edited files of Linux."
	[[ $text == *"$want"* ]] || { echo "it must say: $want"; return 1; }
}
# kinds <file>: the patches in rows of the kind "fix" are the fixes of the base
kinds()
{
	awk '/^fix  / { fix = 1 } /^[^ ]/ { if (!/^fix  /) fix = 0 } fix' "$1" |
		paste -sd' ' | tr -s ' ' |
		grep -oE 'fix [*][^*]+[*]' | sed 's/^fix [*]\(.*\)[*]$/\1/' | sort |
		diff <(subjects | sed "$(base_fixes | wc -l)q" | sort) -
}
check "the cover letter for stable names each fix" \
	[ "$(grep -cE '^[0-9]+[.] ' "$stable/cover-letter.txt")" = "${#fix[@]}" ]
check "no line of it is too long" [ -z "$(sed 1d "$stable/cover-letter.txt" | awk 'length > 79')" ]
check "base-fixes.rst has each fix of the base" of_fixes "$top/Documentation/base-fixes.rst"
check "base-fixes.rst names tests that are there" covers "$top/Documentation/base-fixes.rst"
check "distro.rst has a line for each patch" named "$top/Documentation/distro.rst"
check "and for none that is gone" ended "$top/Documentation/distro.rst"
check "vmm-authors.rst has each new ioctl, and patches that there are" \
	calls "$top/Documentation/vmm-authors.rst"
check "distro.rst counts patches and files" counts "$top/Documentation/distro.rst"
check "distro.rst says of each fix that it is one" kinds "$top/Documentation/distro.rst"
