#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2400
# beside
# Nested translation on the emulated SMMUv3: the kselftest, with every kind of
# device that it has tests for, so that none of them is skipped.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

edu='edu,dma_mask=0xffffffffffff'

# machine name: the kselftest there
machine()
{
	local name=$1

	shift
	vm --timeout 2000 --leaks --run - "$name" -- "$@" << 'EOF'
t -t 1900 smmuv3 smmuv3
EOF
}

machine smmuv3 \
	-device "$edu,addr=4.0" -device "$edu,addr=5.0" \
	-device "$edu,addr=6.0,multifunction=on" -device "$edu,addr=6.1" \
	-device pcie-root-port,id=rp1,addr=7.0,chassis=1,disable-acs=on \
	-device "$edu,bus=rp1" \
	-device pcie-pci-bridge,id=pb1,addr=8.0 \
	-device "$edu,bus=pb1,addr=1.0"

# Where it cannot run it says why, and fails nothing.
vm --timeout 120 --may-skip '^smmuv3: ' --run - smmuv3-none << 'EOF' > "$scratch/none"
t smmuv3 smmuv3
EOF
if grep -q '^skip - .*no edu device' "$scratch/none" && ! grep '^not ok' "$scratch/none"; then
	ok "smmuv3-none: skips itself and says why"
else
	not_ok "smmuv3-none: does not skip itself"
	sed 's/^/# /' "$scratch/none"
fi

# The demo's story is true.
MACHINE_IMAGE=$quick vm --timeout 120 --raw --run - smmuv3-demo -- -device "$edu" << 'EOF' > "$scratch/demo"
t demo demo
EOF
if ! grep '^not ok' "$scratch/demo" && grep -q 'TLBI_NH_VA' "$scratch/demo"; then
	ok "smmuv3-demo"
else
	not_ok "smmuv3-demo"
	sed 's/^/# /' "$scratch/demo"
fi
