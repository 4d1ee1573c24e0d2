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

known='viommu-dma,id=d0,addr=4.0,ats=on,cxl-cache=on'
other='viommu-dma,id=d1,addr=5.0,ats=on,pasid-bits=16'

# machine NAME ARGUMENTS [argument of QEMU]...
machine()
{
	local name=$1 args=$2

	shift 2
	vm --timeout 300 --leaks --append iommu.passthrough=1 --run - "$name" -- \
		-global arm-smmuv3.ats=on -global arm-smmuv3.ssidsize=16 \
		-device "$known" -device "$other" "$@" <<< \
		"t -t 200 smmuv3_ats_required smmuv3_ats_required $args"
}

machine ats-required ''
# An SMMU that refuses requests where S1DSS bypasses the only stage
machine ats-required-strict '-T identity_domain_has_ats' -global arm-smmuv3.s1dss-ats=off

# refused NAME [argument of QEMU]...: the device at 0000:00:04.0 gets no IOMMU, the one
# at 0000:00:05.0 does, and the log says why. A device gets it with its driver.
refused()
{
	local name=$1

	shift
	vm --timeout 200 --leaks --run - "$name" -- -global arm-smmuv3.ats=on "$@" \
		-device "$other" << 'END'
vfio_bind 0000:00:04.0
vfio_bind 0000:00:05.0
pci=/sys/bus/pci/devices/0000:00
{
	echo '@@ begin refused'
	echo 1..3
	[ ! -e $pci:04.0/iommu_group ] || printf 'not '
	echo ok 1 the device that needs ATS has no IOMMU
	[ -e $pci:05.0/iommu_group ] || printf 'not '
	echo ok 2 the other one has
	dmesg | grep -q '0000:00:04.0: no IOMMU: the device needs ATS' || printf 'not '
	echo ok 3 the log says why
	echo '@@ end refused 0'
} >&3
END
}

refused ats-required-no-substreams -device "$known"
# By its PCI ID, not by CXL
refused ats-required-listed \
	-device viommu-dma,id=d0,addr=4.0,ats=on,vendor-id=0x10de,device-id=0x2e3f
