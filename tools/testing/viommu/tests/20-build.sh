#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2400
# Each patch builds what it touches, for arm64 and x86_64 with IOMMUFD=m, and the
# selftests; the tip with each of its options on and off, beside each other.
# Compilers' warnings are errors.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)
objs=$each/.arm64
objx=$each/.x86_64

selftests()
{
	local out=$each/.selftests

	rm -rf "$out" && mkdir -p "$out" &&
	kmake arm64 "$objs" "$each" headers &&
	make -s -C "$each/tools/testing/selftests/iommu" OUTPUT="$out" ARCH=arm64 \
		CROSS_COMPILE=aarch64-linux-gnu- KHDR_INCLUDES="-isystem $objs/usr/include" \
		LDFLAGS=-static USERCFLAGS=-Werror
}

last=base
while read -r c; do
	checkout "$c"
	s=$(kgit log -1 --format=%s "$c")
	mapfile -t dirs < <(touched "$last" "$c")
	if [ ${#dirs[@]} != 0 ]; then
		check "arm64: $s" build arm64 "$objs" "${dirs[@]}"
		check "x86_64: $s" build x86_64 "$objx" "${dirs[@]}"
	fi
	[ -z "$(kgit diff --name-only "$last" "$c" -- tools/testing/selftests/iommu include/uapi drivers/iommu/iommufd/iommufd_test.h)" ] ||
		check "selftests: $s" selftests
	last=$c
done < <(kgit rev-list --reverse "base..$tip")

checkout "$tip"
mapfile -t dirs < <(touched base "$tip")
[ ${#dirs[@]} != 0 ] || dirs=(drivers/iommu/)
while read -r options; do
	check "arm64, tip, $options" build_as arm64 "$each/.variant" "$options" "${dirs[@]}"
done < <(matrix)
check "x86_64, tip, IOMMUFD=y" build_as x86_64 "$objx" IOMMUFD=y,VFIO=y,VFIO_PCI=y "${dirs[@]}"
check "x86_64, tip, IOMMUFD=n" build_as x86_64 "$objx" \
	IOMMUFD=n,VFIO=m,VFIO_DEVICE_CDEV=n,VFIO_GROUP=y "${dirs[@]}"
