#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 4000
# beside
# The sources that each patch touches compile for arm64, as the tip compiles them with
# IOMMUFD=m; the selftests compile once the first patch has mended them. With LONG=1 each
# patch is built with its own options, with all that includes its headers, exports what
# a module uses, and the selftests that it changes compile. The tip builds for arm64 and
# x86_64, in the configurations that differ most. 21-matrix has all of arm64's for each
# patch, 22-each has each patch for x86_64. Compilers' warnings are errors.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)

# all_of <arch>: what the series touches
all_of()
{
	mapfile -t what < <(touched "$1" base "$tip")
	[ ${#what[@]} != 0 ] || what=(drivers/iommu/)
}

# One object directory for all commits, so that make compiles only what differs.
if [ -z "${LONG:-}" ]; then
	checkout "$tip"
	all_of arm64
	check "arm64, tip" build arm64 "$each/.arm64" "${what[@]}"
fi
last=base programs=
while read -r c; do
	checkout "$c"
	s=$(kgit log -1 --format=%s "$c")
	if [ -n "${LONG:-}" ]; then
		mapfile -t what < <(touched arm64 "$last" "$c")
		[ ${#what[@]} = 0 ] || check "arm64: $s" build arm64 "$each/.arm64" "${what[@]}"
	else
		mapfile -t what < <(sources "$last" "$c")
		[ ${#what[@]} = 0 ] || check "arm64: $s" recompile "$each/.arm64" "${what[@]}"
	fi
	if [ -n "${LONG:-}" ] || [ -z "$programs" ] &&
	   [ -n "$(kgit diff --name-only "$last" "$c" -- tools/testing/selftests/iommu)" ]; then
		# shellcheck disable=SC2086 # of two words, or of none
		check "selftests: $s" selftests "$each/.headers" ${programs:+$programs $c}
		programs=$c
	fi
	last=$c
done < <(kgit rev-list --reverse "base..$tip")

checkout "$tip"
all_of arm64
check "arm64, tip: udmabuf, the other caller of memfd_pin_folios()" \
	build arm64 "$each/.arm64" drivers/dma-buf/udmabuf.o
while read -r options; do
	check "arm64, tip, $options" build_as arm64 "$each/.arm64" "$options" "${what[@]}"
done < <(matrix brief)
all_of x86_64
check "x86_64, tip, IOMMUFD=m" build x86_64 "$each/.x86_64" "${what[@]}"
[ -z "${LONG:-}" ] || check "x86_64, tip, IOMMUFD=y" build_as x86_64 "$each/.x86_64" \
	IOMMUFD=y,VFIO=y,VFIO_PCI=y "${what[@]}"
check "x86_64, tip, IOMMUFD=n" build_as x86_64 "$each/.x86_64" \
	IOMMUFD=n,VFIO=m,VFIO_DEVICE_CDEV=n,VFIO_GROUP=y "${what[@]}"
