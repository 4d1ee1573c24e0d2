# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2046,SC2086,SC2154 # arguments of QEMU; names of vmm-host.sh
# What the machine of 71-vmm-two runs, after vmm-host.sh.

trace_objects
echo 1 > /sys/kernel/tracing/events/iommufd/iommufd_attach/enable
give "$D1"
give "$D2"
smmu_of()
{
	basename "$(readlink -f "/sys/bus/pci/devices/$1/iommu")"
}
check "the disks are behind two SMMUs" [ "$(smmu_of "$D1")" != "$(smmu_of "$D2")" ]

# first_hwpt bdf: what its VMM attaches it to before its guest runs, the nest parent
first_hwpt()
{
	sed -n "s/.*iommufd_attach: .*dev=$1 hwpt=\([1-9][0-9]*\) ret=0.*/\1/p" \
		/sys/kernel/tracing/trace | head -n 1
}
shared()
{
	echo "$D1: $(first_hwpt "$D1"), $D2: $(first_hwpt "$D2")"
	[ -n "$(first_hwpt "$D1")" ] && [ "$(first_hwpt "$D1")" = "$(first_hwpt "$D2")" ]
}

more="sum2=$(cat "$run/d2.sum") head2=$(cat "$run/d2.head")"
guest two d1 anonymous \
	-device pxb-pcie,id=pcie.2,bus_nr=16,bus=pcie.0 \
	-device arm-smmuv3,primary-bus=pcie.2,id=smmuv3.2,accel=on \
	-device pcie-root-port,id=rp4,bus=pcie.2,chassis=4 \
	-device pcie-root-port,id=rp5,bus=pcie.2,chassis=5 \
	$(assign "$D1" d1 rp1) $(assign "$D2" d2 rp4)
two=$vmm
check "gets to the end of its tests of both" until_says two "@@ unplug"
check "the two SMMUs share a nest parent" shared
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
