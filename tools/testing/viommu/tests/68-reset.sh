#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# beside
# qemu
# Devices that are reset: on the mock driver, and viommu-dma behind an SMMU with ATS,
# which answers no ATC_INV meanwhile.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 900 --leaks --run - reset-mock << 'EOS'
t -t 600 iommufd_reset iommufd_reset
EOS

# shellcheck source=../smmulib.sh
. "$(dirname "$0")/../smmulib.sh"
# A kernel with KASAN takes three times as long.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

has ats=on ssidsize=16
# shellcheck disable=SC2154 # from smmulib.sh
vm --timeout 400 --leaks --run - reset-smmu -- "${smmu[@]}" << 'EOS'
t -t 300 smmuv3_reset smmuv3_reset
EOS

skips_itself reset-none smmuv3_reset 'no viommu-dma device' -device edu
