#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2000
# beside
# DMA of one device to a BAR of another, which VFIO exports: on one stage and on two,
# and what each event of VFIO that turns the BAR off does to it.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# A kernel with KASAN takes three times as long.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

# What a device does not have: ivshmem no reset, no FLR and no power management. BAR 0
# of an nvme is not small.
inapplicable='bar\.(plain|nested)\.(reset|flr|d3)_revokes |bar\.nested_flr\.export_small_bar_fails '

vm --timeout 1800 --leaks --may-skip "$inapplicable" --run - bar -- \
	-device "$edu" \
	-object memory-backend-ram,id=ivshmem,size=4M,share=on \
	-device ivshmem-plain,memdev=ivshmem \
	-object memory-backend-ram,id=pmr,size=4M,share=on \
	-device nvme,serial=1,pmrdev=pmr << 'EOS'
t -t 1700 smmuv3_bar smmuv3_bar
EOS

skips_itself bar-none smmuv3_bar 'needs an ivshmem-plain device' -device "$edu"
