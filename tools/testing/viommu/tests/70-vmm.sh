#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2500
# beside
# An unmodified QEMU in the machine, whose guests own stage 1 of the disks that
# they are given: I/O, faults, resets, unplugging, sudden death.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# What the guests run, in each of their lives from the top. $guest, $sum and
# $head come by the kernel's command line: the checksums of the whole disk, and
# of its first quarter, which nobody writes to. The second quarter gets a copy of
# it, the third one is for mixed I/O, the end of the last tells which life it is.
cat > "$scratch/guest" << 'GUEST'
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
GUEST

# What the machine runs.
cat > "$scratch/host" << 'HOST'
echo 1 > /sys/kernel/tracing/events/iommufd/iommufd_attach/enable
trace_objects
give "$D1"
give "$D2"
give "$E1"

# Two guests at once.
guest first d1 anonymous $(assign "$D1" d1 rp1) $(assign "$E1" e1 rp2)
first=$vmm
guest victim d2 memfd $(assign "$D2" d2 rp1)
victim=$vmm
check "first: gets to the end of its tests" until_says first "@@ unplug"
check "victim: is busy" until_says victim "@@ busy"
# One dies in the middle of its I/O; the next one gets its disk.
kill -KILL $victim
wait $victim
relay victim
guest heir d2 hugetlb $(assign "$D2" d2 rp1)
heir=$vmm

monitor first device_del d1
check "first: its disk is gone" until_says first "@@ plug"
check "QEMU has let go of the disk" await 120 eval "[ \$(holds $first) = 1 ]"
monitor first "device_add vfio-pci,host=$D1,id=d1b,bus=rp3,iommufd=iommufd0,rombar=0"
check "first: has a disk again" until_says first "@@ reset"
sleep 1
# Without a warning for the guest's driver.
monitor first system_reset
check "first: ends" until_says first "@@ end"
check "first: QEMU ends well" ends $first
relay first
check "heir: ends" until_says heir "@@ end"
check "heir: QEMU ends well" ends $heir
relay heir

check "all objects are released" released 3 viommu vdevice hwpt_nested veventq
check "the host saw no event and no error of the SMMU" quiet
# The machine itself goes on with the disk.
echo > "/sys/bus/pci/devices/$D2/driver_override"
echo "$D2" > "/sys/bus/pci/devices/$D2/driver/unbind"
echo "$D2" > /sys/bus/pci/drivers_probe
check "the host's own driver reads the disk" await 120 eval \
	"[ \"\$(head -c 8388608 /dev/nvme*n1 | sha256sum | cut -d' ' -f1)\" = $(cat $run/d2.head) ]"
save
echo "1..$n"
HOST

# shellcheck disable=SC2154 # from lib.sh
share=$build/vmm/vmm
rm -rf "$share"
MACHINE_IMAGE=$quick "$viommu/vmm" --timeout 2000 --append 'hugepagesz=2M hugepages=96' \
	--host "$scratch/host" --guest "$scratch/guest" vmm || true

complaint='WARNING:|BUG:|Oops|Internal error|Unable to handle|INFO: .*(lock|rcu|task)|Kernel panic|CMDQ|CMD_SYNC|timeout|I/O error|Call trace'
# What 6.12's NVMe driver brings on itself where user space resets the disk.
base='WARNING: lock held when returning to user space'
for log in "$share"/*.log; do
	name=$(basename "$log" .log)
	if [ ! -s "$log" ]; then
		not_ok "vmm: $name: printed nothing"
	elif grep -E "$complaint" "$log" | grep -v "$base" > "$scratch/complaints"; then
		not_ok "vmm: $name: its kernel complains"
		sed 's/^/# /' "$scratch/complaints" | head -n 10
	else
		ok "vmm: $name: its kernel does not complain"
	fi
done

# What the guests wrote is what the disks have.
for disk in d1 d2; do
	check "vmm: $disk has what was written" cmp -n $((8 << 20)) "$share/$disk.img" \
		<(tail -c +$(((8 << 20) + 1)) "$share/$disk.img")
done
