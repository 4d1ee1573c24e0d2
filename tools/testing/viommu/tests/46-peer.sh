#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1800
# beside
# long
# The selftests of a newer kernel, for what both have: vIOMMUs on the mock driver, with
# vDEVICEs, vEVENTQs, HW queues and mmap, IOMMU_IOAS_CHANGE_PROCESS, and dma-bufs.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
peer=7.3
if ! "$viommu/peer" --selftests "$peer" > "$scratch/out" 2>&1; then
	not_ok "peer: its selftests do not build"
	tail -n 5 "$scratch/out" | sed 's/^/# /'
	exit
fi
mkdir -p "$scratch/root/bin"
cp "$build/peer-$peer/selftests/iommufd" "$scratch/root/bin/peer-iommufd"
{
	cat "$build/initrd"
	(cd "$scratch/root" && find . -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --quiet) |
		gzip -1
} > "$scratch/initrd"
export MACHINE_INITRD=$scratch/initrd
# Variants without what the test is about skip themselves.
vm --timeout 500 --may-skip '^iommufd_viommu: iommufd_viommu[.]no_viommu[.]' --run - peer << 'END'
t -t 250 iommufd_viommu peer-iommufd -f iommufd_viommu
t -t 150 change_process peer-iommufd -f change_process
t -t 100 dmabuf_simple peer-iommufd -t dmabuf_simple
t -t 100 dmabuf_revoke peer-iommufd -t dmabuf_revoke
END

# all_pass <fixture> <number of its tests>
all_pass()
{
	local count

	count=$(grep -c "^ok [0-9]* $1\." "$build/log/peer.tap" || true)
	if [ "$count" = "$2" ]; then
		ok "peer: $1: $2 of $2"
	else
		not_ok "peer: $1: $count of $2"
	fi
}

all_pass iommufd_viommu 16
all_pass change_process 3
all_pass iommufd_ioas 8
