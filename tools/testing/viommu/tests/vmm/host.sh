# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2046,SC2086,SC2154 # arguments of QEMU; names of vmm-host.sh
# What the machine of 70-vmm runs, after vmm-host.sh.

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
