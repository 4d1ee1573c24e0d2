# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # head= comes by the kernel's command line
# What the guest of 75-vmm-p2p runs, after vmm-guest.sh.

check "its own SMMUv3 translates, strictly" own_smmu
check "DMA of a device to the BAR of another" guest-p2p
check "its disk, with interrupts" counting 16 sum_is "$head" 0 8
check "no event" no_event
if [ "$(life)" = life2 ]; then
	say "@@ end"
else
	live_again
	say "@@ reset"
	sleep 3000
fi
