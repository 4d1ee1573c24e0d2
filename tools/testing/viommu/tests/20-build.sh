#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2400
# Each patch builds what it touches, for arm64 and x86_64 with IOMMUFD=m and for
# the selftests; the tip also with IOMMUFD=y and with each option of its own off.
# Compilers' warnings are errors.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)
objs=$each/.arm64
objx=$each/.x86_64

fragments()	# <arch>: what it is built with
{
	local f=("$here/build-$1.config")

	[ "$1" != arm64 ] || f=("$here/machine.config" "${f[@]}" "$each/kernel/configs/viommu.config")
	for f in "${f[@]}"; do
		[ ! -f "$f" ] || echo "$f"
	done
}

build()	# <arch> <objdir> <directory>...
{
	local arch=$1 obj=$2 f

	shift 2
	mapfile -t f < <(fragments "$arch")
	configure "$arch" "$obj" "${f[@]}" &&
	demand "$obj" IOMMUFD=m VFIO=m IOMMUFD_TEST=y &&
	kmake "$arch" "$obj" "$each" "$@" || return 1
	[ "$arch" != arm64 ] || exports "$obj"
}

# What a module takes from the built-in objects beside it must be exported: the
# full link that would tell takes too long.
exports()	# <objdir>
{
	local obj=$1 m

	aarch64-linux-gnu-nm "$obj/drivers/iommu/built-in.a" 2>/dev/null > "$scratch/builtin"
	sed -n 's/.* [DRTB] __export_symbol_\(.*\)/\1/p; s/.* [a-z] __export_symbol_\(.*\)/\1/p' \
		"$scratch/builtin" | sort -u > "$scratch/exported"
	sed -n 's/.* [DRTB] \(.*\)/\1/p' "$scratch/builtin" | sort -u |
		comm -23 - "$scratch/exported" > "$scratch/private"
	[ -s "$scratch/exported" ] && [ -s "$obj/drivers/iommu/modules.order" ] || return 1
	while read -r m; do
		aarch64-linux-gnu-nm -u "$obj/$m" | awk '{ print $2 }'
	done < "$obj/drivers/iommu/modules.order" | sort -u |
		comm -12 - "$scratch/private" | sed 's/$/: used by a module, not exported/' > "$scratch/hidden"
	cat "$scratch/hidden"
	[ ! -s "$scratch/hidden" ]
}

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

# variant <name> <symbol=value>...: the tip, otherwise
variant()
{
	local name=$1 obj=$each/.variant f want

	shift
	printf 'CONFIG_%s\n' "$@" | sed 's/^\(.*\)=n$/# \1 is not set/' > "$scratch/variant.config"
	mapfile -t f < <(fragments arm64)
	want=("$@")
	variant_build()
	{
		configure arm64 "$obj" "${f[@]}" "$scratch/variant.config" &&
		demand "$obj" "${want[@]}" &&
		kmake arm64 "$obj" "$each" "${dirs[@]}"
	}
	check "tip with $name" variant_build
}

checkout "$tip"
mapfile -t dirs < <(touched base "$tip")
[ ${#dirs[@]} != 0 ] || dirs=(drivers/iommu/)
variant "IOMMUFD=y" IOMMUFD=y VFIO=y VFIO_PCI=y
for o in ARM_SMMU_V3_IOMMUFD TEGRA241_CMDQV ARM_SMMU_V3_SVA IOMMUFD_TEST IOMMUFD; do
	grep -qrE "^config $o\$" "$each/drivers/iommu" || continue
	case $o in
	IOMMUFD) variant "$o off" IOMMUFD=n VFIO_DEVICE_CDEV=n VFIO_GROUP=y ;;
	*) variant "$o off" "$o=n" ;;
	esac
done
