#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1800
# beside
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

# shellcheck disable=SC2154 # from lib.sh
share=$build/vmm/vmm-two
rm -rf "$share"
MACHINE_IMAGE=$quick "$viommu/vmm" --smmus nested,nested --timeout 1500 \
	--host "$viommu/tests/vmm-two/host.sh" \
	--guest "$viommu/tests/vmm-two/guest.sh" vmm-two || true

base='^$'
# What 6.12's pciehp brings on itself at an unplug: lockdep reports it once, and no more.
! grep -qE 'irq/[0-9]+-pciehp/[0-9]+ is trying to acquire lock' "$share/two.log" ||
	base='possible circular locking|Call trace:'
guests_are_quiet vmm-two "$base"
# What the guest wrote is what the disks have.
for disk in d1 d2; do
	check "vmm-two: $disk has what was written" cmp -n $((8 << 20)) "$share/$disk.img" \
		<(tail -c +$(((8 << 20) + 1)) "$share/$disk.img")
done
