#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2500
# beside
# An unmodified QEMU in the machine, whose guests own stage 1 of the disks that
# they are given: I/O, faults, resets, unplugging, sudden death.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from lib.sh
share=$build/vmm/vmm
rm -rf "$share"
MACHINE_IMAGE=$quick "$viommu/vmm" --timeout 2000 --append 'hugepagesz=2M hugepages=96' \
	--host "$viommu/tests/vmm/host.sh" \
	--guest "$viommu/tests/vmm/guest.sh" vmm || true

# What 6.12's NVMe driver brings on itself where user space resets the disk.
base='WARNING: lock held when returning to user space'
guests_are_quiet vmm "$base"

# What the guests wrote is what the disks have.
for disk in d1 d2; do
	check "vmm: $disk has what was written" cmp -n $((8 << 20)) "$share/$disk.img" \
		<(tail -c +$(((8 << 20) + 1)) "$share/$disk.img")
done
