#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 4000
# beside
# Each patch builds what it touches, for arm64 with IOMMUFD=m, and the selftests
# that it changes; the tip builds for arm64 and x86_64, with each of its options
# off. 21-matrix has every combination of them, 22-each each patch for x86_64.
# Compilers' warnings are errors.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)

# One object directory for all commits, so that make compiles only what differs.
last=base programs=
while read -r c; do
	checkout "$c"
	s=$(kgit log -1 --format=%s "$c")
	mapfile -t what < <(touched arm64 "$last" "$c")
	[ ${#what[@]} = 0 ] || check "arm64: $s" build arm64 "$each/.arm64" "${what[@]}"
	if [ -n "$(kgit diff --name-only "$last" "$c" -- tools/testing/selftests/iommu)" ]; then
		# shellcheck disable=SC2086 # of two words, or of none
		check "selftests: $s" selftests "$each/.arm64" ${programs:+$programs $c}
		programs=$c
	fi
	last=$c
done < <(kgit rev-list --reverse "base..$tip")

checkout "$tip"
mapfile -t what < <(touched arm64 base "$tip")
[ ${#what[@]} != 0 ] || what=(drivers/iommu/)
check "arm64, tip: udmabuf, the other caller of memfd_pin_folios()" \
	build arm64 "$each/.arm64" drivers/dma-buf/udmabuf.o
while read -r options; do
	check "arm64, tip, $options" build_as arm64 "$each/.arm64" "$options" "${what[@]}"
done < <(matrix brief)
mapfile -t what < <(touched x86_64 base "$tip")
[ ${#what[@]} != 0 ] || what=(drivers/iommu/)
check "x86_64, tip, IOMMUFD=m" build x86_64 "$each/.x86_64" "${what[@]}"
check "x86_64, tip, IOMMUFD=y" build_as x86_64 "$each/.x86_64" IOMMUFD=y,VFIO=y,VFIO_PCI=y "${what[@]}"
check "x86_64, tip, IOMMUFD=n" build_as x86_64 "$each/.x86_64" \
	IOMMUFD=n,VFIO=m,VFIO_DEVICE_CDEV=n,VFIO_GROUP=y "${what[@]}"
