#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# beside
# qemu
# A device of the host that shares the address space of a process, beside a VM's device:
# one whose faults fail, and one that stalls until the kernel has handled them.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../smmulib.sh
. "$viommu/smmulib.sh"

# A kernel with KASAN takes three times as long.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

# SVA needs an SMMU whose output addresses are as wide as those of the CPU: 44 bits.
export MACHINE_CPU=cortex-a57
has ats=on ssidsize=16 stall-model=0
# shellcheck disable=SC2154 # from smmulib.sh
vm --timeout 700 --leaks --run - sva -- "${smmu[@]}" \
	-device "viommu-dma,id=d2,addr=6.0,pasid-bits=16,ats=on,$stalls" << 'EOS'
t -t 600 smmuv3_sva smmuv3_sva
EOS

skips_itself sva-none smmuv3_sva 'no viommu-dma device' -device edu
