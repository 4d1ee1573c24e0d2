# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by tests/*.sh: how a test says what it found.
# shellcheck source=../../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../scripts/lib.sh"

viommu=$top/tools/testing/viommu
# The kernel of the machine: the one that sees most, or with KASAN=n that of "make
# image". A test that is not for the kernel's sake takes that one anyway.
kasan=${KASAN:-y}
# shellcheck disable=SC2034 # the name is for those who source this
quick=${MACHINE_IMAGE:-$(image_of)}
flavour=-kasan
[ "$kasan" != n ] || flavour=
export MACHINE_IMAGE=${MACHINE_IMAGE:-$(image_of "$flavour")}
scratch=$(mktemp -d "$build/test.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM HUP

# only_one <name>: the tests that say so run one after the other
only_one()
{
	exec 8> "$build/$1.lock"
	flock 8
}

ok()
{
	echo "ok - $*"
}

not_ok()
{
	echo "not ok - $*"
}

# skip <name> <why>
skip()
{
	echo "skip - $1: $2"
}

edu=edu,dma_mask=0xffffffffffff

# edus <slot>: arguments of QEMU for devices from this slot on. Sets $edus, two devices and
# one with two functions, and $behind, one behind a port without ACS and one behind a
# bridge to PCI.
edus()
{
	local slots

	read -ra slots <<< "$(printf '%x ' "$1" $(($1 + 1)) $(($1 + 2)) $(($1 + 3)) $(($1 + 4)))"
	# shellcheck disable=SC2034 # for those who source this
	edus=(-device "$edu,addr=${slots[0]}.0" -device "$edu,addr=${slots[1]}.0"
	      -device "$edu,addr=${slots[2]}.0,multifunction=on"
	      -device "$edu,addr=${slots[2]}.1")
	# shellcheck disable=SC2034 # for those who source this
	behind=(-device "pcie-root-port,id=rp1,addr=${slots[3]}.0,chassis=1,disable-acs=on"
		-device "$edu,bus=rp1"
		-device "pcie-pci-bridge,id=pb1,addr=${slots[4]}.0"
		-device "$edu,bus=pb1,addr=1.0")
}

# check <name> command...: passes where the command does; else shows its end
check()
{
	local name=$1

	shift
	if "$@" > "$scratch/out" 2>&1; then
		ok "$name"
	else
		not_ok "$name"
		tail -n 20 "$scratch/out" | sed 's/^/# /'
		return 0
	fi
}

# refuses <name> <regex> command...: fails, saying one line that matches
refuses()
{
	local name=$1 regex=$2

	shift 2
	if "$@" > "$scratch/out" 2>&1; then
		not_ok "$name: did not fail"
	elif [ "$(grep -c . "$scratch/out")" != 1 ]; then
		not_ok "$name: $(grep -c . "$scratch/out") lines, not one"
		tail -n 20 "$scratch/out" | sed 's/^/# /'
	elif ! grep -qE "$regex" "$scratch/out"; then
		not_ok "$name: says '$(cat "$scratch/out")'"
	else
		ok "$name"
	fi
}

# What the kernel of a guest says when something is wrong, one kind a line
guest_complaint=$(paste -sd'|' << 'END'
WARNING:
BUG:
Oops
Internal error
Unable to handle
INFO: .*(lock|rcu|task)
Kernel panic
CMDQ error
CMD_SYNC
timeout
I/O error
Call trace
END
)

# guests_are_quiet <run of vmm> [<regex of what they may say>]: the kernel of each of its
# guests has printed something, and complains of nothing
guests_are_quiet()
{
	local allowed=${2:-^$} log name

	for log in "$build/vmm/$1"/*.log; do
		name="$1: $(basename "$log" .log)"
		if [ ! -s "$log" ]; then
			not_ok "$name: printed nothing"
		elif grep -E "$guest_complaint" "$log" |
		     grep -vE "$allowed" > "$scratch/complaints"; then
			not_ok "$name: its kernel complains"
			sed 's/^/# /' "$scratch/complaints" | head -n 10
		else
			ok "$name: its kernel does not complain"
		fi
	done
}

# vm args: boot the machine; its results are this test's
vm()
{
	"$viommu/boot" "$@" || true
}

# skips_itself <name> <program> <what it lacks> [argument of QEMU]...: on a machine that
# has no more than these devices the program says so, and fails nothing
skips_itself()
{
	local name=$1 program=$2 lack=$3

	shift 3
	vm --timeout 120 --may-skip "^$program: " --run - "$name" -- "$@" \
		> "$scratch/skips" <<< "t $program $program"
	if grep -q "^skip - .*$lack" "$scratch/skips" && ! grep '^not ok' "$scratch/skips"; then
		ok "$name: skips itself and says why"
	else
		not_ok "$name: does not skip itself"
		sed 's/^/# /' "$scratch/skips"
	fi
}

# register_tests <name> <program>: of a model in our QEMU, without a kernel; then each of
# the model's faults, which a test must see. A program that broke off is a failure too.
register_tests()
{
	local qemu=$build/qemu/qemu-system-aarch64 mode rc

	if [ ! -x "$qemu" ]; then
		skip "$1" "no $qemu: run 'make qemu'"
		return
	fi
	for mode in '' --mutations; do
		rc=0
		"$viommu/$2" --qemu "$qemu" --jobs "$jobs" ${mode:+"$mode"} || rc=$?
		[ "$rc" -le 1 ] || not_ok "$1: $2 $mode ended with status $rc"
	done
}
