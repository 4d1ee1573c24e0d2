#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1800
# beside
# long
# The selftests of a newer kernel, for what both have: vIOMMUs on the mock driver, with
# vDEVICEs, vEVENTQs, HW queues and mmap.
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
	(cd "$scratch/root" && find . -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --quiet) | gzip -1
} > "$scratch/initrd"
export MACHINE_INITRD=$scratch/initrd
vm --timeout 300 --run - peer << 'END'
t -t 250 iommufd_viommu peer-iommufd -f iommufd_viommu
END
count=$(grep -c '^ok .*iommufd_viommu' "$build/log/peer.tap" || true)
if [ "$count" = 16 ]; then
	ok "peer: 16 of 16"
else
	not_ok "peer: $count of 16"
fi
