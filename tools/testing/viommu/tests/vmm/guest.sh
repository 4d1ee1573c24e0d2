# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # guest=, sum= and head= come by the kernel's command line
# What the guests of 70-vmm run, after vmm-guest.sh, in each of their lives from the
# top. $guest, $sum and $head come by the kernel's command line: the checksums of the
# whole disk, and of its first quarter, which nobody writes to. The second quarter gets
# a copy of it, the third one is for mixed I/O, the end of the last tells which life it
# is.

mixed_with_flr()
{
	dev=$(nvme_dev)
	echo flr > "$dev/reset_method" || return 1
	mixed 5 &
	io=$!
	for _ in 1 2 3; do
		sleep 1
		echo 1 > "$dev/reset" || return 1
	done
	wait $io
}

# The event of an address that is not mapped in stage 1 is ours, with the SID
# that we know.
fault()
{
	edu=$(bdf 1234:11e8)
	vfio_bind "$edu"
	guest-fault "$edu" 0x123456000 || return 1
	IFS=:. read -r _ bus slot function << END
$edu
END
	event=$(printf '0x%08x00000010' $((0x$bus << 8 | 0x$slot << 3 | function)))
	await 60 eval "dmesg | grep -q $event" ||
		{ echo "no event $event"; dmesg | grep -A 4 event; return 1; }
	dmesg | grep -A 4 'event 0x10 received' | grep -q 0x0000000123456000
}

await 120 eval '! no_nvme'
if [ "$(life)" = life2 ]; then
	check "after a reset: the disk is as it was left" sum_is "$head" 8 8
	check "after a reset: mixed I/O" counting 100 mixed 2
	check "after a reset: no event" no_event
	say "@@ end"
	return
fi

check "its own SMMUv3 translates, strictly" own_smmu
case $guest in
first)
	check "whole disk, with interrupts" counting 64 sum_is "$sum" 0 32
	check "write and read back" copy
	check "no event" no_event
	check "a bad address is an event" fault
	check "mixed I/O with FLRs" mixed_with_flr
	say "@@ unplug"
	check "the disk goes" await 60 no_nvme
	say "@@ plug"
	check "the disk comes back" await 60 eval '! no_nvme'
	check "plugged again: the disk is as it was" sum_is "$head" 8 8
	check "plugged again: mixed I/O" counting 100 mixed 2
	check "its life is noted" live_again
	say "@@ reset"
	mixed 600
	;;
victim)
	check "whole disk, with interrupts" counting 64 sum_is "$sum" 0 32
	check "no event" no_event
	say "@@ busy"
	mixed 600
	;;
heir)
	check "the disk of a killed guest" sum_is "$head" 0 8
	check "write and read back" copy
	check "mixed I/O" counting 100 mixed 3
	check "no event" no_event
	check "its life is noted" live_again
	say "@@ reboot"
	sync
	reboot -f
	;;
esac
