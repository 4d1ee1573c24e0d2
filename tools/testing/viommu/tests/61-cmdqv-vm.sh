#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3600
# beside
# qemu
# VMs with queues of their own on a model of Tegra241 CMDQV: what a guest's commands do,
# what they cannot do, and how all of it ends; with LONG=1 on blocks of other sizes, that
# answer otherwise where nothing is known of the hardware, and that have a fault which the
# tests must see.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip cmdqv-vm "no build/qemu/qemu-system-aarch64: run 'make qemu'"
	exit
fi
# A kernel with KASAN takes twice as long.
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick

# The demo's story is true.
MACHINE_IMAGE=$quick vm --timeout 120 --raw --cmdqv --run - cmdqv-demo -- -device "$edu" \
	> "$scratch/demo" << 'EOF'
t demo demo-cmdqv
EOF
if ! grep '^not ok' "$scratch/demo" && grep -q 'the entry is gone' "$scratch/demo"; then
	ok "cmdqv-demo"
else
	not_ok "cmdqv-demo"
	sed 's/^/# /' "$scratch/demo"
fi

# What the machine has nothing for: its SMMU has no ATS, so no vDEVICE has a pair of
# StreamIDs; and the block is there.
never='without_block_types_are_refused|atc_inv_with_vdevice_passes|vdevice_has_a_pair'
never+='|atc_inv_reaches_the_(own_)?device|atc_inv_against_vdevice'
never+='|is_reported_at_the_sync|does_not_reach_the_next_owner'

# queues NAME KNOBS CANNOT [arguments of the tests]: the kselftests of VINTFs and their
# queues. CANNOT is a regex of the tests that this block has nothing for, and options
# holds more of boot's.
options=()
queues()
{
	local name=$1 knobs=$2 cannot=$3

	shift 3
	cat > "$scratch/run" << END
t -t 2000 tegra241_cmdqv_alloc tegra241_cmdqv_alloc $*
t -t 2000 tegra241_cmdqv_commands tegra241_cmdqv_commands $*
t -t 2000 tegra241_cmdqv_isolation tegra241_cmdqv_isolation $*
t -t 2000 tegra241_cmdqv_stress tegra241_cmdqv_stress $*
END
	MACHINE_SMP=4 vm --timeout 2100 --cmdqv="${knobs:-on}" --leaks --run "$scratch/run" \
		--may-skip "[.]($never${cannot:+|$cannot}) " \
		"${options[@]}" "cmdqv-vm-$name" -- \
		-device "$edu,addr=4.0" -device "$edu,addr=5.0" |
		{ grep -v '^skip - ' || true; }
}

# Few VINTFs, so that they run out; one queue and one StreamID for each; none for VMs.
queues 64x2 '' ''
if [ -z "${LONG:-}" ]; then
	exit
fi
queues 4x32 log2-vintfs=2 ''
queues 64x1 log2-vcmdqs=6 'neighbour_goes_on.*|errors_of_two_queues_overlap'
queues 1-sid log2-sids=0 '' -f vintf
queues 1x128 log2-vintfs=0 '[a-z_]*'

# What is not known of the hardware, the other way round
queues unknown-1 forbidden-code=1,cons-err-keep=on,gerrorn-irq=off,sid-match-last=on '' \
	-f vintf -f one_guest -f two_guests
queues unknown-2 sync-cs-ok=on,alloc-steal=on,vmid-live=on,write-running=on,wide-access=on '' \
	-f vintf -f one_guest
queues unknown-3 unmask-irq=on,ignore-cr0=on,atc-collect-error=on '' -f one_guest -f timeout
queues slow status-delay=1000000,cmd-delay=20000 ''
# The hardware hands a queue over with an old BASE and GERROR, which no driver can clear.
queues sticky sticky=on '' -f one_guest -t queue_reads_its_own_memory_only

# Where VMs get nothing, and where only the host goes without
queues no-hyp-own no-hyp-own=on '[a-z_]*' -t without_block_types_are_refused
options=(--append arm_smmu_v3.disable_cmdqv=1)
queues disabled '' '[a-z_]*' -t without_block_types_are_refused
options=(--append arm_smmu_v3.bypass_vcmdq=1)
queues bypassed '' '' -f device -t other_opcodes_stop_the_queue
options=()

# caught FAULT PROGRAM TEST: with this fault in the hardware, the test fails
caught()
{
	echo "t -t 200 $2 $2 -t $3" > "$scratch/run"
	vm --timeout 250 --cmdqv="$1" --run "$scratch/run" "cmdqv-vm-${1%%=*}" -- \
		-device "$edu,addr=4.0" -device "$edu,addr=5.0" > "$scratch/caught"
	if grep -q "^not ok - [^:]*: $2: .*\.$3" "$scratch/caught"; then
		ok "cmdqv-vm-${1%%=*}: $3 fails"
	else
		not_ok "cmdqv-vm-${1%%=*}: $3 does not see it"
		sed 's/^/# /' "$scratch/caught"
	fi
}

caught no-vmid-stamp=on tegra241_cmdqv_isolation vmid_of_the_other_is_out_of_reach
caught no-filter=on tegra241_cmdqv_commands other_opcodes_stop_the_queue
caught no-sid-swap=on tegra241_cmdqv_commands atc_inv_without_vdevice_is_refused
caught level-irq=on tegra241_cmdqv_isolation errors_come_to_their_guest_only
caught no-irq=on tegra241_cmdqv_commands other_opcodes_stop_the_queue
