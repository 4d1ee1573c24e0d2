#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2400
# beside
# Nested translation on the emulated SMMUv3: the kselftests, with every kind of
# device that it has tests for, so that none of them is skipped.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# A kernel with KASAN takes three times as long; 55 has one.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

# machine name: the kselftests there
machine()
{
	local name=$1

	shift
	vm --timeout 2000 --leaks --run - "$name" -- "$@" << 'EOF'
t -t 1900 smmuv3_objects smmuv3_objects
t -t 1900 smmuv3_dma smmuv3_dma
t -t 1900 smmuv3_commands smmuv3_commands
t -t 1900 smmuv3_groups smmuv3_groups
EOF
}

edus 4
machine smmuv3 "${edus[@]}" "${behind[@]}"

# Where they cannot run they say why, and fail nothing.
vm --timeout 120 --may-skip '^smmuv3_[a-z]+: ' --run - smmuv3-none << 'EOF' > "$scratch/none"
t smmuv3_objects smmuv3_objects
t smmuv3_dma smmuv3_dma
t smmuv3_commands smmuv3_commands
t smmuv3_groups smmuv3_groups
EOF
if grep -q '^skip - .*no edu device' "$scratch/none" && ! grep '^not ok' "$scratch/none"; then
	ok "smmuv3-none: they skip themselves and say why"
else
	not_ok "smmuv3-none: they do not skip themselves"
	sed 's/^/# /' "$scratch/none"
fi

# The demo's story is true.
MACHINE_IMAGE=$quick vm --timeout 120 --raw --run - smmuv3-demo -- -device "$edu" \
	> "$scratch/demo" << 'EOF'
t demo demo
EOF
if ! grep '^not ok' "$scratch/demo" && grep -q 'TLBI_NH_VA' "$scratch/demo"; then
	ok "smmuv3-demo"
else
	not_ok "smmuv3-demo"
	sed 's/^/# /' "$scratch/demo"
fi
