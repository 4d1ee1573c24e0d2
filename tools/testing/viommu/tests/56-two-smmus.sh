#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# beside
# One VM with devices behind two SMMUs, which share one stage 2 or have one each: the
# kselftest on a machine with two SMMUs that have both stages, and one that has the
# first stage only. QEMU for it comes from Debian 13, the first time.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

if ! "$viommu/qemu-smmus" > "$scratch/qemu" 2>&1; then
	# Where its packages cannot be had, all else is still tested.
	[ -z "${LONG:-}${TESTS:-}" ] && skip two-smmus "no QEMU: $(tail -n 1 "$scratch/qemu")" ||
		not_ok "two-smmus: no QEMU: $(tail -n 1 "$scratch/qemu")"
	exit
fi

args=()
for n in 1 2 3; do
	args+=(-device "pcie-root-port,id=rp$n,bus=pcie.$n,chassis=$n" -device "$edu,bus=rp$n")
done
vm --smmus nested,nested,1 --timeout 1200 --leaks --run - two-smmus -- "${args[@]}" << 'END'
t -t 1100 smmuv3_two_smmus smmuv3_two_smmus -v shared_parent
END
# A kernel with KASAN takes three times as long, and has seen these stories above.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick
vm --smmus nested,nested,1 --timeout 1200 --leaks --run - two-smmus-own -- "${args[@]}" << 'END'
t -t 1100 smmuv3_two_smmus smmuv3_two_smmus -v own_parents
END

skips_itself two-smmus-none smmuv3_two_smmus 'needs edu devices behind two SMMUs' \
	-device "$edu" -device "$edu"
