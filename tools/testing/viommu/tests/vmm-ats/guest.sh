# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # sum= and head= come by the kernel's command line
# What the guest of 74-vmm-ats runs, after vmm-guest.sh.

sva()
{
	guest-dma > /tmp/fault || { cat /tmp/fault; return 1; }
}

# The fault at the address that guest-dma has unmapped. Its event has the PASID.
own_event()
{
	cat /tmp/fault
	dmesg | grep 'arm-smmu-v3'
	dmesg | grep -A4 'arm-smmu-v3.*event 0x10' | grep -q "0x0000$(cat /tmp/fault)"
}

check "its own SMMUv3 translates, strictly" own_smmu
check "whole disk, with interrupts" counting 64 sum_is "$sum" 0 32
check "no event" no_event
check "a device with ATS shares the address space of a process" sva
check "the fault of a PASID is the guest's own" await 60 own_event
check "write and read back" copy
say "@@ end"
