#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1200
# long
# Other sources of the base: a tarball, a tree, the newest package.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

"$top/scripts/tree"
want=$(kgit rev-parse base)
tip=$(kgit rev-parse refs/viommu/tip)

# from <name> [variable=value]...: base and series in a build directory of its own
from()
{
	local dir=$scratch/$1

	shift
	mkdir -p "$dir"
	env BUILD="$dir" "$@" "$top/scripts/tree"
}
commits()	# <name>
{
	[ "$(git -C "$scratch/$1/linux" rev-parse base viommu)" = "$want"$'\n'"$tip" ]
}

kgit archive --prefix=linux/ -o "$scratch/linux.tar" base
check "KSRC= a tarball" from tarball KSRC="$scratch/linux.tar"
check "gives the same commits" commits tarball
rm -rf "$scratch/tarball"
mkdir "$scratch/plain"
tar -x -C "$scratch/plain" --strip-components=1 -f "$scratch/linux.tar"
rm "$scratch/linux.tar"
check "KSRC= a tree" from tree KSRC="$scratch/plain"
check "gives the same commits" commits tree
rm -rf "$scratch/tree"
touch "$scratch/plain/.config"
refuses "a tree that was built in" "run 'make mrproper' there" from built KSRC="$scratch/plain"
rm -rf "$scratch/plain" "$scratch/built"

newest=$(apt-cache madison linux-source-6.12 2>/dev/null | awk '{ print $3 }' | sort -V | tail -n 1)
if [ -z "$newest" ]; then
	skip "the newest package" "apt knows no linux-source-6.12"
else
	deb=linux-source-6.12_${newest}_all.deb
	mkdir "$scratch/newest"
	[ ! -e "$build/$deb" ] || cp "$build/$deb" "$scratch/newest/"
	check "the series applies to the newest package, $newest" from newest BASE_VERSION=newest
	rm -rf "$scratch/newest"
	mkdir "$scratch/gone"
	[ ! -e "$build/$deb" ] || cp "$build/$deb" "$scratch/gone/"
	check "a version that is gone is replaced by the newest" from gone BASE_VERSION=6.12.1-0
	check "and it says so" grep -q "6.12.1-0 is gone: using the newest, $newest" "$scratch/out"
fi
