#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# beside
# "git am" of the series on kernels that are not its base: the plain 6.12.y of
# today, and Debian's newest. Only what the series touches is unpacked.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../../../../scripts/aptlib.sh
. "$top/scripts/aptlib.sh"

only_one series
"$top/scripts/tree"
"$top/scripts/series"
kgit diff --name-only --no-renames base refs/viommu/tip > "$scratch/touched"
kgit diff --name-only --no-renames --diff-filter=MD base refs/viommu/tip > "$scratch/old"
patches=$(kgit rev-list --count base..refs/viommu/tip)
sublevel=$(kgit show base:Makefile | sed -n 's/^SUBLEVEL = //p')

# unpack <dir> command...: what the series touches, of the .tar.xz that it prints
unpack()
{
	local dir=$1 prefix

	shift
	prefix=$("$@" 2>/dev/null | xz -dc 2>/dev/null | tar -t 2>/dev/null |
		sed -n '1s,/.*,,p;1q' || true)
	mkdir "$dir"
	# Files that are new with the series should not be there.
	"$@" | xz -dc | tar -x -C "$dir" --strip-components=1 "$prefix/Makefile" \
		-T <(sed "s,^,$prefix/," "$scratch/touched") 2>/dev/null || true
	[ -s "$dir/Makefile" ] && (cd "$dir" && xargs -d '\n' ls -d > /dev/null < "$scratch/old")
}
version()	# <dir>
{
	sed -n 's/^SUBLEVEL = //p' "$1/Makefile"
}
deb_tar()	# <linux-source package>
{
	dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/src/linux-source-6.12.tar.xz
}

# download <dir> <version>: Debian's linux-source package of that version
download()
{
	(cd "$1" && apt-get -q -o APT::Sandbox::User= download "linux-source-6.12=$2")
}

# am <dir>: each patch applies, and does there what it does on the base
am()
{
	local g=(git -C "$1" -c user.name=test -c user.email=test@localhost) root

	git init -q -b plain "$1" && "${g[@]}" add -A -f && "${g[@]}" commit -q -m base &&
	"${g[@]}" am -q "$build"/series/*.patch &&
	[ "$("${g[@]}" rev-list --count HEAD)" = $((patches + 1)) ] &&
	root=$("${g[@]}" rev-list --max-parents=0 HEAD) &&
	diff <("${g[@]}" diff --numstat --no-renames "$root" HEAD) \
		<(kgit diff --numstat --no-renames base refs/viommu/tip)
}

# Debian's own changes, where both sources of one version can be had
plain_base()	# <dir> <version of the plain kernel>
{
	local v deb dir=$build/linux-orig

	v=$(apt-cache madison linux-source-6.12 | awk '{ print $3 }' |
		grep "^6\.12\.$2-" | head -n 1)
	[ -n "$v" ] || { echo "apt knows no linux-source-6.12 of 6.12.$2"; return 1; }
	deb=$dir/linux-source-6.12_${v}_all.deb
	[ -s "$deb" ] || download "$dir" "$v" || return 1
	unpack "$scratch/debian" deb_tar "$deb" || return 1
	(cd "$scratch" && diff -ruN --exclude=Makefile orig debian) > "$scratch/debian.diff"
	echo "Debian changes $(grep -c '^+++' "$scratch/debian.diff") files that the series touches"
	mkdir "$1"
	kgit archive base Makefile | tar -x -C "$1"
	xargs -d '\n' git -C "$linux" archive base -- < "$scratch/old" | tar -x -C "$1"
	patch -s -R -p1 -d "$1" < "$scratch/debian.diff"
}

orig=$(linux_orig) || orig=
if [ -z "$orig" ]; then
	skip "plain 6.12.y" "apt can get no source of it"
elif check "${orig##*/} has what the series touches" unpack "$scratch/orig" cat "$orig" &&
     [ -s "$scratch/orig/Makefile" ]; then
	have=$(version "$scratch/orig")
	if [ "$have" -ge "$sublevel" ]; then
		check "git am on plain 6.12.$have" am "$scratch/orig"
	else
		# A mirror that lacks the newest: the base less what Debian changes
		check "plain 6.12.$sublevel, from Debian's and what Debian changes in 6.12.$have" \
			plain_base "$scratch/plain" "$have"
		check "git am on plain 6.12.$sublevel" am "$scratch/plain"
	fi
fi

newest=$(apt-cache madison linux-source-6.12 2>/dev/null | awk '{ print $3 }' | sort -V | tail -n 1)
if [ -z "$newest" ]; then
	skip "Debian's newest" "apt knows no linux-source-6.12"
else
	deb=$build/linux-source-6.12_${newest}_all.deb
	[ -s "$deb" ] || download "$build" "$newest" >/dev/null 2>&1 || true
	check "Debian's $newest has what the series touches" unpack "$scratch/newest" deb_tar "$deb"
	check "git am on Debian's $newest" am "$scratch/newest"
fi
