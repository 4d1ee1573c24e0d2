#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1800
# beside
# qemu
# An unmodified QEMU with ats=on and ssidsize=, on the model of an SMMUv3 that has both:
# the guest's own driver turns ATS on, lets the device share the address space of a process
# of the guest, and invalidates the device's ATC. (The guest cannot give the device to user
# space by VFIO: QEMU's IORT asks for a 1:1 mapping of the MSI doorbell.)
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../smmulib.sh
. "$viommu/smmulib.sh"

# SVA needs an SMMU whose output addresses are as wide as those of the CPU: 44 bits.
# shellcheck disable=SC2154 # from testlib.sh
MACHINE_CPU=cortex-a57 MACHINE_IMAGE=$quick "$viommu/vmm" --timeout 1500 \
	--global arm-smmuv3.ats=on --global arm-smmuv3.ssidsize=16 \
	--device viommu-dma,id=v1,ats=on,pasid-bits=16 \
	--host "$viommu/tests/vmm-ats/host.sh" \
	--guest "$viommu/tests/vmm-ats/guest.sh" vmm-ats || true
guests_are_quiet vmm-ats
