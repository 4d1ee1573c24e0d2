#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# beside
# qemu
# Devices that must have ATS in the identity domain as well, and an SMMU that cannot do
# that for them.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck source=../smmulib.sh
. "$viommu/smmulib.sh"

known=viommu-dma,id=d0,addr=4.0,ats=on,cxl-cache=on
other=viommu-dma,id=d1,addr=5.0,ats=on,pasid-bits=16

vm --timeout 300 --leaks --append iommu.passthrough=1 --run - ats-required -- \
	-global arm-smmuv3.ats=on -global arm-smmuv3.ssidsize=16 \
	-device "$known" -device "$other" << 'END'
t -t 200 smmuv3_ats_required smmuv3_ats_required
END

# refused NAME [argument of QEMU]...: the device at 0000:00:04.0 gets no IOMMU, the one
# beside it does, and the log says why.
refused()
{
	local name=$1

	shift
	vm --timeout 200 --leaks --allow 'no IOMMU: the device needs ATS' --run - "$name" -- \
		-global arm-smmuv3.ats=on "$@" -device "$other" << 'END'
p=/sys/bus/pci/devices/0000:00
[ ! -e $p:04.0/iommu_group ] && [ -e $p:05.0/iommu_group ] && r=ok || r='not ok'
echo "$r 1 the device that needs ATS has no IOMMU, the other one has"
dmesg | grep -q '0000:00:04.0: no IOMMU: the device needs ATS' && r=ok || r='not ok'
echo "$r 2 the log says why"
END
}

refused ats-required-no-substreams -device "$known"
# By its PCI ID, not by CXL
refused ats-required-listed \
	-device viommu-dma,id=d0,addr=4.0,ats=on,vendor-id=0x10de,device-id=0x2e3f
