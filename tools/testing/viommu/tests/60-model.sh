#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# beside
# A model of who gets a device's events holds in all its states, and no longer
# does without any one of the things that it rests on.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
model=$viommu/model/vsmmu.pml

# search <define>...: exhaustively, in the output of spin's verifier
search()
{
	local dir=$scratch/pan

	rm -rf "$dir" && mkdir "$dir"
	(cd "$dir" &&
	spin "${@/#/-D}" -a "$model" > spin.log 2>&1 &&
	gcc -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=1536 -o pan pan.c ||
		{ cat spin.log; exit 1; }
	./pan -m1000000)
}

# A search that was cut short proves nothing.
holds()
{
	search "$@" > "$scratch/pan.out" 2>&1 || true
	# The states it went through are worth a look, if it did not
	grep -E 'errors:|states, stored|assertion|invalid end|max search|bound|rror' \
		"$scratch/pan.out"
	grep -q 'errors: 0$' "$scratch/pan.out" &&
	! grep -qE 'Search not completed|max search depth|MEMLIM|truncated' "$scratch/pan.out"
}

# fails_by <regex> <define>...: finds a state that is wrong in that way
fails_by()
{
	local regex=$1

	shift
	search "$@" > "$scratch/pan.out" 2>&1 || true
	grep -E 'errors:|assertion|invalid end|rror' "$scratch/pan.out"
	grep -qE "^pan:1: $regex" "$scratch/pan.out" && grep -q 'errors: 1$' "$scratch/pan.out"
}

for c in ROUTES LIFETIMES LOCKS NUMBERS; do
	check "model: $c hold" holds $c
done

# 5 and 6 are A's events with either vSID, 8 is B's: STAMP()
for n in 5 6 8; do
	check "model: events $n are delivered" fails_by assertion ROUTES REACH=$n
done

while read -r c mutation regex; do
	check "model: $c fails with $mutation" fails_by "$regex" "$c" "$mutation"
done << 'EOF'
ROUTES MUT_NO_VSMMU_LOCK assertion
ROUTES MUT_NO_FIRST_EVENT assertion
ROUTES MUT_NO_PIN assertion.*translates
ROUTES MUT_VDEVICE_LEAVES_PAIR assertion
ROUTES MUT_STORE_BEFORE_STE assertion
ROUTES MUT_CLEAR_IN_COMMIT assertion
ROUTES LATE_EVENT assertion
NUMBERS MUT_TAKEN_READ_ONCE assertion
NUMBERS MUT_PROD_BEFORE_TAKEN assertion
LIFETIMES MUT_NO_VSMMU_LOCK assertion.*vsmmu_alive
LIFETIMES MUT_NO_STREAMS_MUTEX assertion.*master_alive
LIFETIMES MUT_NO_VEVENTQ_LOCK assertion.*veventq_alive
LIFETIMES MUT_FREE_BEFORE_UNLINK assertion.*veventq_alive
LOCKS MUT_STREAMS_UNDER_VSMMU_LOCK invalid end state
LOCKS MUT_ASID_BEFORE_IGROUP invalid end state
LOCKS MUT_EVICT_UNDER_IGROUP invalid end state
EOF
