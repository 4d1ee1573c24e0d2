#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3000
# long
# Kernels that Debian ships, unmodified, as guests of an unmodified QEMU: their own
# drivers translate and invalidate for the disk that they are given.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
for suite in trixie trixie-backports; do
	if ! "$viommu/guest-kernel" "$suite" > "$scratch/out" 2>&1; then
		not_ok "vmm-guests: $suite: $(tail -n 1 "$scratch/out")"
		continue
	fi
	MACHINE_MEM=2G MACHINE_IMAGE=$quick GUEST_IMAGE=$build/guest-$suite/Image \
		GUEST_MODULES=$build/guest-$suite/modules "$viommu/vmm" --timeout 1300 \
		--host "$viommu/tests/vmm-guests/host.sh" \
		--guest "$viommu/tests/vmm-guests/guest.sh" "vmm-guests-$suite" || true
	guests_are_quiet "vmm-guests-$suite"
done

# They have no option for Tegra241 CMDQV. A newer driver of it, which makes its queues in
# another order, comes from Debian's source.
peer=7.3
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip vmm-guests-cmdqv "no build/qemu/qemu-system-aarch64: run 'make qemu'"
elif ! "$viommu/peer" "$peer" > "$scratch/out" 2>&1; then
	not_ok "vmm-guests-cmdqv: $(tail -n 1 "$scratch/out")"
else
	MACHINE_IMAGE=$quick GUEST_IMAGE=$build/peer-$peer/Image "$viommu/tests/72-vmm-cmdqv.sh" |
		sed "s/^\(ok\|not ok\) - vmm-cmdqv/\1 - vmm-guests-cmdqv-$peer/"
fi
