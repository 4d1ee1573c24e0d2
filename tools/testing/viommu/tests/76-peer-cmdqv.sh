#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 7200
# beside
# long
# qemu
# The tests of Tegra241 CMDQV on a newer kernel that has a driver of its own, as it is.
# They fail there where peer-cmdqv/fails says so, with the reason, and nowhere else:
# neither the tests nor the model know the driver of this series only. 73-vmm-guests has
# the same kernel as a guest.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
peer=7.3
fails=$viommu/tests/peer-cmdqv/fails
if ! "$viommu/peer" "$peer" > "$scratch/out" 2>&1; then
	not_ok "peer-cmdqv: $(tail -n 1 "$scratch/out")"
	exit
fi

sed 's/[[:space:]]*#.*//; /^$/d' "$fails" > "$scratch/fails"
export MACHINE_IMAGE=$build/peer-$peer/Image LONG=''
for test in 59-cmdqv 61-cmdqv-vm 63-cmdqv-end; do
	timeout 2400 "$viommu/tests/$test.sh" > "$scratch/$test" 2>&1 ||
		echo "not ok - $test: ended with status $?" >> "$scratch/$test"
	grep -E '^(ok|not ok) - ' "$scratch/$test" > "$scratch/results" || true
	cat "$scratch/results" >> "$scratch/all"
	if grep '^not ok' "$scratch/results" | grep -vE -f "$scratch/fails" > "$scratch/new"; then
		not_ok "peer-cmdqv: $test: fails that are not listed"
		sed 's/^/# /' "$scratch/new"
	else
		ok "peer-cmdqv: $test: $(grep -c '^ok' "$scratch/results") passed," \
			"$(grep -c '^not ok' "$scratch/results") failed, all of them as listed"
	fi
done
while read -r line; do
	grep -qE "$line" <(grep '^not ok' "$scratch/all") ||
		not_ok "peer-cmdqv: nothing fails as $line any more"
done < "$scratch/fails"
