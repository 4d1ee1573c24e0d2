#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# beside
# qemu
# Devices that are reset: on the mock driver; a virtio disk on stock QEMU; and viommu-dma
# behind an SMMU with ATS by each method of PCI, which answers no ATC_INV meanwhile.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 900 --leaks --run - reset-mock << 'EOS'
t -t 600 iommufd_reset iommufd_reset
EOS

# shellcheck disable=SC2154 # from testlib.sh
truncate -s 64K "$scratch/disk"
vm --timeout 400 --leaks --run - reset-virtio -- \
	-device "$edu" \
	-device pcie-root-port,id=r1,chassis=1 \
	-drive "if=none,id=disk,format=raw,file=$scratch/disk" \
	-device virtio-blk-pci,bus=r1,drive=disk,ats=on,iommu_platform=on,disable-legacy=on << 'EOS'
t -t 300 smmuv3_reset_virtio smmuv3_reset_virtio
EOS
skips_itself reset-virtio-none smmuv3_reset_virtio 'no virtio disk' -device edu

# shellcheck source=../smmulib.sh
. "$(dirname "$0")/../smmulib.sh"
# A kernel with KASAN takes three times as long.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

has ats=on ssidsize=16
dma='viommu-dma,ats=on,pasid-bits=16'
# For each method a device that has it. After a reset of the bus, the kernel waits only for
# functions with power management, which PCI Express demands of all.
smmu+=(-device "$dma,addr=6.0,af=on,pm=on"
       # The kernel has a method for this ID, which is that of an NVMe disk.
       -device "$dma,addr=7.0,vendor-id=0x8086,device-id=0x0953"
       -device 'pcie-root-port,id=r1,addr=8.0,chassis=1,hotplug=off,dpc=on'
       -device "$dma,pm=on,bus=r1,aer=on"
       -device 'pcie-root-port,id=r2,addr=9.0,chassis=2,slot=2'
       -device "$dma,pm=on,bus=r2,aer=on"
       -device 'pcie-root-port,id=r3,addr=a.0,chassis=3,hotplug=off'
       -device "$dma,pm=on,bus=r3,addr=0.0,acs=on,multifunction=on"
       -device "$dma,pm=on,bus=r3,addr=0.1,acs=on"
       -device 'pcie-root-port,id=r4,addr=b.0,chassis=4,slot=4'
       -device "$dma,pm=on,bus=r4,addr=0.0,acs=on,multifunction=on"
       -device "$dma,pm=on,bus=r4,addr=0.1,acs=on"
       -device "$dma,addr=c.0"
       -device 'pcie-root-port,id=r5,addr=d.0,chassis=5,hotplug=off'
       -device 'pcie-root-port,id=r6,bus=r5,chassis=6,hotplug=off'
       -device "$dma,pm=on,bus=r6")
# reset.asl gives the last one a _RST.
mkdir -p "$scratch/acpi/kernel/firmware/acpi"
iasl -p "$scratch/acpi/kernel/firmware/acpi/reset" "$viommu/reset.asl" > "$scratch/iasl" 2>&1 ||
	not_ok "reset.asl does not compile: $(grep -m 1 Error "$scratch/iasl")"
# shellcheck disable=SC2154 # from lib.sh
(cd "$scratch/acpi" && find . | sort | cpio -o -H newc -R 0:0 --quiet) |
	cat - "$build/initrd" > "$scratch/initrd"
export MACHINE_INITRD=$scratch/initrd
# shellcheck disable=SC2154 # from smmulib.sh
vm --timeout 800 --leaks --run - reset-smmu -- "${smmu[@]}" << 'EOS'
t -t 700 smmuv3_reset smmuv3_reset -F hung
EOS

# Devices for which the kernel waits a minute
[ -z "${LONG:-}" ] || vm --timeout 800 --leaks --run - reset-hung -- "${smmu[@]}" << 'EOS'
t -t 700 smmuv3_reset smmuv3_reset -f hung
EOS

skips_itself reset-none smmuv3_reset 'no viommu-dma device' -device edu
