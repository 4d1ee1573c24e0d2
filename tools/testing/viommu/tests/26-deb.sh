#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# long
# make deb: the way from a configuration to packages, with a small configuration,
# and what the packages hold. Modules are linked here against the whole kernel.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)
checkout "$tip"
fragment=$each/kernel/configs/viommu.config
out=$each/.deb
image=$scratch/image

# small <file> [fragment]...: a configuration in place of Debian's
small()
{
	local file=$1

	shift
	rm -rf "$scratch/obj" && mkdir "$scratch/obj" &&
	kmake arm64 "$scratch/obj" "$each" tinyconfig &&
	(cd "$scratch/obj" &&
		"$each/scripts/kconfig/merge_config.sh" -m .config "$viommu/deb.config" "$@") &&
	kmake arm64 "$scratch/obj" "$each" olddefconfig &&
	cp "$scratch/obj/.config" "$file"
}
deb()	# <configuration>
{
	KTREE=$each CONFIG=$1 DEBDIR=$out KDEB_COMPRESS=none "$top/scripts/deb"
}
package()	# <name>: its file
{
	local f

	for f in "$out/$1"_*_arm64.deb; do
		[ -e "$f" ] && echo "$f" && return
	done
	return 1
}
field()	# <name> <field> <value>
{
	[ "$(dpkg-deb -f "$(package "$1")" "$2")" = "$3" ]
}
configured()
{
	sed -n 's/^CONFIG_/&/p' "$fragment" | grep -vxF -f "$image/boot/config-$version" || return 0
	return 1
}
# The header of an Image says "ARM\x64" (Documentation/arch/arm64/booting.rst).
bootable()	# <packed image>
{
	zcat "$1" > "$scratch/Image" && [ "$(head -c 60 "$scratch/Image" | tail -c 4)" = ARMd ]
}
resolved()
{
	depmod -n -e -F "$image/boot/System.map-$version" -b "$image" "$version" 2>&1 >/dev/null |
		grep . && return 1
	return 0
}
needs()	# <module> <other>: it does
{
	grep -q "/$1\.ko:.*/$2\.ko" "$image/lib/modules/$version/modules.dep"
}
# The SMMUv3 driver as a module takes from iommufd's built-in part only what is
# exported to it. The link of modules would fail.
modular()
{
	local m=(kmake arm64 "$out/obj" "$each"
		CROSS_COMPILE=aarch64-linux-gnu- LOCALVERSION=-viommu)

	echo CONFIG_ARM_SMMU_V3=m > "$scratch/modular.config"
	(cd "$out/obj" &&
		"$each/scripts/kconfig/merge_config.sh" -m .config "$scratch/modular.config") &&
	PATH=/usr/lib/ccache:$PATH "${m[@]}" olddefconfig &&
	demand "$out/obj" ARM_SMMU_V3=m ARM_SMMU_V3_IOMMUFD=y IOMMUFD=m &&
	PATH=/usr/lib/ccache:$PATH "${m[@]}" vmlinux modules &&
	[ -s "$out/obj/drivers/iommu/arm/arm-smmu-v3/arm_smmu_v3.ko" ]
}
has_viommu()
{
	dpkg-deb --fsys-tarfile "$(package linux-libc-dev)" |
		tar -xO ./usr/include/linux/iommufd.h | cmp - "$scratch/iommufd.h"
}

check "a small configuration" small "$scratch/small"
check "packages are built from it" deb "$scratch/small"
version=$(make -s -C "$each" kernelversion)-viommu
if package "linux-image-$version" > /dev/null; then
	ok "there is linux-image-$version"
	check "it is for arm64" field "linux-image-$version" Architecture arm64
	check "its version begins with the kernel's" \
		field "linux-image-$version" Version "${version%-viommu}-1"
	dpkg-deb -x "$(package "linux-image-$version")" "$image"
	check "it has what viommu.config asks for" configured
	check "it has a kernel for arm64" bootable "$image/boot/vmlinuz-$version"
	check "it has iommufd" \
		[ -s "$image/lib/modules/$version/kernel/drivers/iommu/iommufd/iommufd.ko" ]
	check "vfio takes iommufd along" needs vfio iommufd
	check "no module lacks a symbol" resolved
	make -s -C "$each" O="$scratch/hdr" ARCH=arm64 \
		INSTALL_HDR_PATH="$scratch/hdr" headers_install
	mv "$scratch/hdr/include/linux/iommufd.h" "$scratch/"
	check "linux-libc-dev has the header" has_viommu
else
	not_ok "there is no linux-image-$version"
	find "$out" -maxdepth 1 -name '*.deb' -printf '# %f\n'
fi
check "the driver can be a module, too" modular

echo '# CONFIG_IOMMU_SUPPORT is not set' > "$scratch/less.config"
check "a configuration without IOMMUs" small "$scratch/less" "$scratch/less.config"
refuses "it is refused at once" 'not as viommu.config wants it: CONFIG_IOMMUFD=m' \
	deb "$scratch/less"
flavour()
{
	KTREE=$each FLAVOUR=$1 DEBDIR=$out "$top/scripts/deb" 2>&1 | grep -v ": getting "
	[ "${PIPESTATUS[0]}" = 0 ]
}
refuses "a flavour that Debian does not have" 'no flavour none, but.*cloud-arm64' \
	flavour none
