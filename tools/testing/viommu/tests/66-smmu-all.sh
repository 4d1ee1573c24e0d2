#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# beside
# qemu
# What servers have beside ATS: S2FWB instead of CANWBS, a guest's tables of CDs, HTTU in
# a guest's stage 1 and for the host's dirty tracking, and all of it in one SMMU. With
# LONG=1 also on SMMUs that have one of these only, and on a machine without any.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck source=../smmulib.sh
. "$viommu/smmulib.sh"

# A kernel with KASAN takes three times as long.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

neither=smmu_that_cannot_keep_dma_coherent_has_no_viommu

# machine NAME PROGRAMS [boot's options]: each program there, on the SMMU in $smmu
machine()
{
	local name=$1 programs=$2 program

	shift 2
	for program in $programs; do
		echo "t -t 400 $program $program $(args_of "$name" "$program")"
	done | vm --timeout 800 --leaks --run - "$@" "$name" -- "${smmu[@]}" \
		-d guest_errors -D "$scratch/$name.log"
	encodings "$name"
}

# args_of NAME PROGRAM: the tests of the program that this machine can run, all others
# would skip themselves
args_of()
{
	case $1:$2 in
	*-neither:*) echo "-t $neither" ;;
	*-canwbs:smmuv3_s2fwb) echo "-T $neither -T guest_cannot_weaken_them" ;;
	*:smmuv3_s2fwb) echo "-T $neither -T guest_can_weaken_them_without_s2fwb" ;;
	*:smmuv3_ats)
		# 64-smmu-ats.sh has a machine for those that make the host complain.
		echo "-T smmu_that_always_stalls_has_no_viommu" \
			"$(printf -- '-T %s ' "${silent[@]}")"
		;;
	esac
}

has ats=on ssidsize=16
machine smmu-canwbs smmuv3_s2fwb
machine smmu-neither smmuv3_s2fwb --qemu-iort
has ats=on ssidsize=16 stall-model=0 fwb=on httu=2
machine smmu-all 'smmuv3_s2fwb smmuv3_httu smmuv3_substreams' --qemu-iort

[ -n "${LONG:-}" ] || exit 0
machine smmu-all-ats smmuv3_ats --qemu-iort
has ats=on ssidsize=16
machine smmu-substreams smmuv3_substreams
has ats=on fwb=on
machine smmu-s2fwb smmuv3_s2fwb --qemu-iort
for program in smmuv3_s2fwb smmuv3_httu smmuv3_substreams; do
	skips_itself "$program-none" $program 'no viommu-dma device' -device edu
done
