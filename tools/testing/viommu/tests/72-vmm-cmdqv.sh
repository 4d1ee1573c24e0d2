#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3000
# beside
# qemu
# An unmodified QEMU with cmdqv=on: its guests' own driver finds a Tegra241 CMDQV, and
# what a guest invalidates while it uses its disk takes neither an exit nor an ioctl.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip vmm-cmdqv "no build/qemu/qemu-system-aarch64: run 'make qemu'"
	exit
fi

MACHINE_CMDQV=${MACHINE_CMDQV:-on} MACHINE_IMAGE=$quick \
	"$viommu/vmm" --timeout 2000 --append 'hugepagesz=2M hugepages=96' \
	--host "$viommu/tests/vmm-cmdqv/host.sh" \
	--guest "$viommu/tests/vmm-cmdqv/guest.sh" vmm-cmdqv || true
guests_are_quiet vmm-cmdqv
