#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# beside
# qemu
# ATS, PASIDs and stalls of a VM's device: the kselftest, with two viommu-dma behind an
# SMMU that has all of it.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../smmulib.sh
. "$viommu/smmulib.sh"

# A kernel with KASAN takes three times as long.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

# machine NAME STALL_MODEL ARGUMENTS [boot's options]
machine()
{
	local name=$1 stall=$2 args=$3

	shift 3
	vm --timeout 600 --leaks --run - "$@" "$name" -- \
		-global arm-smmuv3.ats=on -global arm-smmuv3.ssidsize=16 \
		-global "arm-smmuv3.stall-model=$stall" \
		-device viommu-dma,id=d0,addr=4.0,ats=on,pasid-bits=16 \
		-device viommu-dma,id=d1,addr=5.0,ats=on,pasid-bits=16 \
		-device "viommu-dma,id=d2,addr=6.0,ats=on,pasid-bits=16,$stalls" \
		-device "viommu-dma,id=d3,addr=7.0,$stalls" << EOF
t -t 500 smmuv3_ats smmuv3_ats $args
EOF
}

always=smmu_that_always_stalls_has_no_viommu
machine smmu-ats 0 "$(printf -- '-T %s ' "${silent[@]}" "$always")"
# On more CPUs more threads of a VM can have commands in the queue.
MACHINE_SMP=4 machine smmu-ats-silent 0 "$(printf -- '-t %s ' "${silent[@]}")" \
	--allow 'CMDQ error|unexpected global error'
# With Tegra241 CMDQV the queues report an error by another interrupt than the SMMU. The
# model has two of them for the host: a queue is that of every second CPU.
MACHINE_SMP=6 machine smmu-ats-silent-cmdqv 0 "$(printf -- '-t %s ' "${silent[@]}")" \
	--cmdqv=on --allow 'CMDQ error|unexpected global error'
machine smmu-ats-stall 2 "-t $always"

skips_itself smmu-ats-none smmuv3_ats 'no viommu-dma device' -device edu
