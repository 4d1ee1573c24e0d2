# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # sum= and head= come by the kernel's command line
# What a guest of 73-vmm-guests runs, after vmm-guest.sh.

await 120 eval '! no_nvme'
say "# $(uname -r)"
check "its own SMMUv3 translates, strictly" own_smmu
if [ "$(life)" = life2 ]; then
	check "after a reboot: the disk is as it was left" sum_is "$head" 8 8
	check "after a reboot: no event" no_event
	say "@@ end"
	return
fi
check "whole disk, with interrupts" counting 16 sum_is "$sum" 0 32
check "write and read back" copy
check "mixed I/O" counting 100 mixed 3
check "no event" no_event
check "its life is noted" live_again
sync
reboot -f
