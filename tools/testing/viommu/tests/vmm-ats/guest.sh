# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # sum= and head= come by the kernel's command line
# What the guest of 74-vmm-ats runs, after vmm-guest.sh.

# The fault at the address that guest-dma has unmapped
own_event()
{
	dmesg | grep 'arm-smmu-v3.*event'
	dmesg | grep -A4 'arm-smmu-v3.*event 0x10' | grep -q '0x0*100000000'
}

check "its own SMMUv3 translates, strictly" own_smmu
check "whole disk, with interrupts" counting 64 sum_is "$sum" 0 32
check "no event" no_event
check "a domain of an IOAS, with ATS" guest-dma domain
check "the fault is its own" await 60 own_event
check "SVA, with ATS" guest-dma sva
check "write and read back" copy
say "@@ end"
