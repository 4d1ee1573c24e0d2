#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2400
# long
# Debian's full configuration for arm64 with viommu.config: what the series
# touches, and the modules that use it, compile. (What it takes to link all of it,
# and to make packages, is too long for a test: make deb.)
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"
# shellcheck source=../../../../scripts/aptlib.sh
. "$top/scripts/aptlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)
checkout "$tip"
fragment=$each/kernel/configs/viommu.config
obj=$each/.debian

config=$(debian_config arm64) || {
	skip "Debian's configuration" "apt cannot get linux-config-6.12"
	exit
}

full()
{
	mkdir -p "$obj" &&
	(cd "$obj" && "$each/scripts/kconfig/merge_config.sh" -m "$config" "$fragment") &&
	kmake arm64 "$obj" "$each" olddefconfig &&
	demand "$obj" IOMMUFD=m VFIO_DEVICE_CDEV=y ARM_SMMU_V3=y ARM_SMMU_V3_IOMMUFD=y
}
# No line of Debian's configuration is lost, but what tells about tools
kept()
{
	grep -E '^CONFIG_' "$config" |
		grep -vE '^CONFIG_([A-Z]*_VERSION|CC_|AS_|LD_|RUST|[A-Z0-9_]*COMPAT_VDSO)' |
		grep -vxF -f "$obj/.config" && return 1
	return 0
}

mapfile -t dirs < <(touched arm64 base "$tip")
check "viommu.config on top of Debian's configuration" full
check "the rest of it stays as it was" kept
for d in "${dirs[@]}" drivers/vfio/; do
	check "compiles: $d" kmake arm64 "$obj" "$each" "$d"
done
check "modules find what they take from the kernel" exports "$obj"
