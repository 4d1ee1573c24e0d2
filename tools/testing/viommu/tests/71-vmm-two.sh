#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1800
# long
# An unmodified QEMU whose guest has two SMMUs, and a disk behind each: so has the
# machine. I/O on both at once; one goes and comes back, and the other goes on.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

if ! "$viommu/qemu-smmus" > "$scratch/qemu" 2>&1; then
	# Where its packages cannot be had, all else is still tested.
	if [ -z "${LONG:-}${TESTS:-}" ]; then
		skip vmm-two "no QEMU: $(tail -n 1 "$scratch/qemu")"
	else
		not_ok "vmm-two: no QEMU: $(tail -n 1 "$scratch/qemu")"
	fi
	exit
fi

# What the guest runs. $sum and $head are the checksums of the first disk and of its
# first quarter, $sum2 and $head2 those of the second one.
cat > "$scratch/guest" << 'GUEST'
# The functions for a disk mean the one with the serial number $serial.
serial=d1
nvme()
{
	for ctrl in /sys/class/nvme/nvme*; do
		[ "$(tr -d ' ' < "$ctrl/serial" 2>/dev/null)" != "$serial" ] || ls "/dev/${ctrl##*/}n1"
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
GUEST

# What the machine runs.
cat > "$scratch/host" << 'HOST'
trace_objects
give "$D1"
give "$D2"
smmu_of()
{
	basename "$(readlink -f "/sys/bus/pci/devices/$1/iommu")"
}
check "the disks are behind two SMMUs" [ "$(smmu_of "$D1")" != "$(smmu_of "$D2")" ]

more="sum2=$(cat "$run/d2.sum") head2=$(cat "$run/d2.head")"
guest two d1 anonymous \
	-device pxb-pcie,id=pcie.2,bus_nr=16,bus=pcie.0 \
	-device arm-smmuv3,primary-bus=pcie.2,id=smmuv3.2,accel=on \
	-device pcie-root-port,id=rp4,bus=pcie.2,chassis=4 \
	-device pcie-root-port,id=rp5,bus=pcie.2,chassis=5 \
	$(assign "$D1" d1 rp1) $(assign "$D2" d2 rp4)
two=$vmm
check "gets to the end of its tests of both" until_says two "@@ unplug"
monitor two device_del d2
check "the second disk is gone" until_says two "@@ plug"
check "QEMU has let go of the disk" await 120 eval "[ \$(holds $two) = 1 ]"
monitor two "device_add vfio-pci,host=$D2,id=d2b,bus=rp5,iommufd=iommufd0,rombar=0"
check "it ends" until_says two "@@ end"
check "QEMU ends well" ends $two
relay two
check "all objects are released" released 2 viommu vdevice hwpt_nested veventq
check "the host saw no event and no error of an SMMU" quiet
save
echo "1..$n"
HOST

# shellcheck disable=SC2154 # from lib.sh
share=$build/vmm/vmm-two
rm -rf "$share"
MACHINE_IMAGE=$quick "$viommu/vmm" --smmus nested,nested --timeout 1500 \
	--host "$scratch/host" --guest "$scratch/guest" vmm-two || true

complaint='WARNING:|BUG:|Oops|Internal error|Unable to handle|INFO: .*(lock|rcu|task)|Kernel panic|CMDQ|CMD_SYNC|timeout|I/O error|Call trace'
base='^$'
# What 6.12's pciehp brings on itself at an unplug: lockdep reports it once, and no more.
! grep -qE 'irq/[0-9]+-pciehp/[0-9]+ is trying to acquire lock' "$share/two.log" ||
	base='possible circular locking|Call trace:'
if [ ! -s "$share/two.log" ]; then
	not_ok "vmm-two: the guest printed nothing"
elif grep -E "$complaint" "$share/two.log" | grep -vE "$base" > "$scratch/complaints"; then
	not_ok "vmm-two: the guest's kernel complains"
	sed 's/^/# /' "$scratch/complaints" | head -n 10
else
	ok "vmm-two: the guest's kernel does not complain"
fi
# What the guest wrote is what the disks have.
for disk in d1 d2; do
	check "vmm-two: $disk has what was written" cmp -n $((8 << 20)) "$share/$disk.img" \
		<(tail -c +$(((8 << 20) + 1)) "$share/$disk.img")
done
