# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # guest=, sum= and head= come by the kernel's command line
# What the guest of 71-vmm-two runs, after vmm-guest.sh. $sum and $head are the checksums
# of the first disk and of its first quarter, $sum2 and $head2 those of the second one.

# The functions for a disk mean the one with the serial number $serial.
serial=d1
nvme()
{
	for ctrl in /sys/class/nvme/nvme*; do
		[ "$(tr -d ' ' < "$ctrl/serial" 2>/dev/null)" != "$serial" ] ||
			ls "/dev/${ctrl##*/}n1"
	done 2>/dev/null
}

nvme_dev()
{
	readlink -f "/sys/class/block/$(basename "$(nvme)")/device/device"
}

on()
{
	serial=$1
	shift
	"$@"
}

two_smmus()
{
	ls -l /sys/class/iommu
	for serial in d1 d2; do
		own_smmu || return 1
		readlink -f "$(nvme_dev)/iommu"
	done > /tmp/smmus
	cat /tmp/smmus
	[ "$(grep '^/' /tmp/smmus | sort -u | wc -l)" = 2 ]
}

both_mixed()
{
	on d1 mixed "$1" &
	other=$!
	on d2 mixed "$1" && wait $other
}

check "both disks are there" await 120 eval '! on d1 no_nvme && ! on d2 no_nvme'
check "each is behind an SMMU of its own, which translates, strictly" two_smmus
check "first: whole disk, with interrupts" on d1 counting 64 on d1 sum_is "$sum" 0 32
check "second: whole disk, with interrupts" on d2 counting 64 on d2 sum_is "$sum2" 0 32
check "mixed I/O on both" counting 100 both_mixed 5
head1=$head
check "first: write and read back" on d1 copy
head=$head2
check "second: write and read back" on d2 copy
check "no event" no_event

# The second disk goes in the middle of the first one's I/O.
on d1 mixed 15 > /tmp/mixed 2>&1 &
io=$!
say "@@ unplug"
check "the second disk goes" await 120 on d2 no_nvme
check "first: goes on" wait $io
check "first: is as it was" on d1 sum_is "$head1" 8 8
say "@@ plug"
check "the second disk comes back" await 120 eval '! on d2 no_nvme'
check "second: is as it was" on d2 sum_is "$head2" 8 8
check "mixed I/O on both again" counting 100 both_mixed 3
check "no event at the end" no_event
say "@@ end"
