#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# long
# limit: 7200
# beside
# qemu
# The kselftests of 50 and 55 on an SMMU with S2FWB in place of CANWBS, and on one that
# has all of ATS, substreams, stalls, S2FWB and HTTU.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck source=../smmulib.sh
. "$viommu/smmulib.sh"

edus 8

# suites NAME: on the SMMU in $smmu
suites()
{
	local program

	for program in smmuv3_{objects,dma,commands,groups,events,owner,overflow,msi,vmm_replay}; do
		echo "t -t 1800 $program $program"
	done | MACHINE_SMP=4 vm --timeout 3400 --leaks --run - --qemu-iort "$1" -- "${smmu[@]}" \
		"${edus[@]}" "${behind[@]}" -d guest_errors -D "$scratch/$1.log"
	encodings "$1"
}

has fwb=on
suites smmu-s2fwb-long
has ats=on ssidsize=16 stall-model=0 fwb=on httu=2
suites smmu-all-long
