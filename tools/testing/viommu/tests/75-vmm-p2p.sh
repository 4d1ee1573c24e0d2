#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1800
# beside
# DMA of a device to the BAR of another one, in a guest of an unmodified QEMU, which maps
# the BAR when its guest has placed it; and again after a reset of the guest.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
MACHINE_IMAGE=$quick "$viommu/vmm" --timeout 1500 \
	--object memory-backend-ram,id=ivshmem,size=4M,share=on \
	--device ivshmem-plain,memdev=ivshmem \
	--host "$viommu/tests/vmm-p2p/host.sh" \
	--guest "$viommu/tests/vmm-p2p/guest.sh" vmm-p2p || true
guests_are_quiet vmm-p2p
