#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3600
# The kernels and the programs of the machine build, with every option that the
# fragments ask for.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
check "kernel with all options of the fragments" "$viommu/image"
[ "$kasan" = n ] || check "kernel with KASAN, UBSAN and DEBUG_OBJECTS" "$viommu/image" --kasan
check "initramfs with all programs" "$viommu/initramfs"
