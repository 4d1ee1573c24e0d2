# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by every script: where things are, and how the scripts speak.
# shellcheck disable=SC2034 # the names are for those who source this

set -eu -o pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=${BUILD:-$top/build}
# The tree that is built and booted; KTREE= names another one.
linux=$(realpath -m "${KTREE:-$build/linux}")
jobs=$(nproc)
me=${0##*/}

# What the user has configured must not change a commit or a patch.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_CONFIG_COUNT=3
export GIT_CONFIG_KEY_0=core.attributesFile GIT_CONFIG_VALUE_0=$top/scripts/gitattributes
export GIT_CONFIG_KEY_1=core.quotePath GIT_CONFIG_VALUE_1=false
export GIT_CONFIG_KEY_2=gc.auto GIT_CONFIG_VALUE_2=0
export LC_ALL=C TZ=UTC
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE CDPATH
umask 022

say()
{
	echo "$me: $*" >&2
}

die()
{
	say "$*"
	exit 1
}

kgit()
{
	git -C "$linux" "$@"
}

# image_of [-plain|-kasan]: the kernel of the tree. build/ has those of build/linux.
image_of()
{
	if [ "$linux" = "$(realpath -m "$build/linux")" ]; then
		echo "$build/Image${1:-}"
	else
		echo "$linux/.kernel${1:-}/Image"
	fi
}

# untracked: new files that nobody added. Debian's .gitignore hides everything
# at the top level, which git would take for all that is below.
untracked()
{
	local ignore

	ignore=$(kgit rev-parse --absolute-git-dir)/viommu-ignore
	kgit show HEAD:.gitignore | sed '\,^/\*$,d' > "$ignore"
	kgit ls-files -o -X "$ignore"
}

# compiler <arch>: CROSS_COMPILE for it, through ccache where there is one
compiler()
{
	local cross=

	[ "$1" = arm64 ] && cross=aarch64-linux-gnu-
	[ "$1" = x86_64 ] && [ "$(uname -m)" != x86_64 ] && cross=x86_64-linux-gnu-
	if command -v ccache >/dev/null; then
		echo "ccache $cross"
	else
		echo "$cross"
	fi
}

# kmake <arch> <objdir> <tree> args: make of a kernel, always the same way
kmake()
{
	local arch=$1 obj=$2 tree=$3

	shift 3
	make -s -C "$tree" O="$obj" ARCH="$arch" LOCALVERSION= \
		CROSS_COMPILE="$(compiler "$arch")" \
		KBUILD_BUILD_TIMESTAMP='Sun Nov 17 00:00:00 UTC 2024' \
		KBUILD_BUILD_USER=viommu KBUILD_BUILD_HOST=viommu \
		-j"$jobs" "$@"
}

# series_patches, series_files [patch]: what patches/series says
series_patches()
{
	sed -n 's/^\([^#[:space:]][^[:space:]]*\).*/\1/p' "${1:-$top/patches/series}"
}

series_files()
{
	awk -v want="$1" '
		/^[[:space:]]*(#|$)/ { next }
		/^[^[:space:]]/ { patch = $1; next }
		want == "" || patch == want { print $1 }
	' "${2:-$top/patches/series}"
}

# The line of patches/series below the fixes of the base, which can go to stable
fixes_end='# -- fixes of the base end here --'

# base_fixes [series]: the patches above that line; none without it
base_fixes()
{
	awk -v end="$fixes_end" '
		$0 == end { printf "%s", fixes; exit }
		/^[^#[:space:]]/ { fixes = fixes $1 "\n" }
	' "${1:-$top/patches/series}"
}

# patch_name <subject>: set $patch to the file name that it gives
patch_name()
{
	patch=${1,,}
	patch=${patch//[!a-z0-9_]/-}
	while [[ $patch == *--* ]]; do patch=${patch//--/-}; done
	patch=${patch#-}
	patch=${patch:0:60}
	patch=${patch%-}.patch
}

# small_index <commit> <index> <file>...: write these files, as the commit has
# them, to an index that is not there yet. A git command on it takes 10 ms; on
# the index of all of Linux 200 ms.
small_index()
{
	[ $# = 2 ] || git -C "$linux" ls-tree -r "$1" -- "${@:3}" |
		GIT_INDEX_FILE=$2 git -C "$linux" update-index --index-info
}
