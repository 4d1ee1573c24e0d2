#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3200
# beside
# qemu
# The host on an SMMU that has Tegra241 CMDQV, a model of it: its commands go through the
# block's queues, whatever the block's size, however slow it is, when it reports errors at
# the wrong time, and when it never answers.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck source=../cmdqvlib.sh
. "$viommu/cmdqvlib.sh"

# A kernel with KASAN takes twice as long.
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick
# ---- Sizes of the block ----

# size NAME LOG2-VINTFS LOG2-VCMDQS LAST: VCMDQs 0 to LAST are the host's
size()
{
	host "$1" "log2-vintfs=$2,log2-vcmdqs=$3${5:+,$5}" '' << END
want "the driver found the block" "\$(said 'found companion CMDQV')" 1
want "VCMDQs of the host" "\$(knob running)" "$(seq -s, 0 "$4")"
want "the host's commands go by" "\$(where)" vcmdqs
want "errors of queues" "\$(knob errors)" 0
want "interrupts" "\$(knob irqs)" 0
want "accesses that the block refuses" "\$(knob guest-errors)" 0
want "registers" "\$(reg 4)" "\$((${6:-4} << 12 | $2 << 8 | $3 << 4 | 1))"
END
}

size 64x2 6 7 1
size 1x128 0 7 127
size 1x1 0 0 0
size 1-sid 5 7 3 log2-sids=0 0
if [ -n "${LONG:-}" ]; then
	size 4x32 2 7 31
	size 64x1 6 6 0
fi

# Fewer VCMDQs than VINTFs: the block is no use, and the host goes on without it.
host too-few log2-vintfs=6,log2-vcmdqs=5 '.' << 'END'
want "the driver found the block" "$(said 'found companion CMDQV')" 1
want "and refuses it" "$(said 'Falling back to standard SMMU CMDQ')" 1
want "VCMDQs of the host" "$(knob running)" ""
want "the host's commands go by" "$(where)" smmu
END

# ---- What a guest could use ----

# A queue that is allocated without an owner could be started by a guest that has the
# page of its VINTF.
host nobodys '' '' < "$viommu/tests/cmdqv/nobodys.sh"

# ---- Time ----

for delay in status-delay=200000000 status-delay=1000000,cmd-delay=20000 \
	     ${LONG:+status-delay=1000000 cmd-delay=200000}; do
	host "$(echo "$delay" | tr -d '=' | tr , -)" "$delay" '' << 'END'
want "VCMDQs of the host" "$(knob running)" 0,1
want "the host's commands go by" "$(where)" vcmdqs
want "errors of queues" "$(knob errors)" 0
want "accesses that the block refuses" "$(knob guest-errors)" 0
END
done

# ---- Switches of the kernel, and a block that is not all there ----

host disabled '' '' --append arm_smmu_v3.disable_cmdqv=1 << 'END'
want "VCMDQs of the host" "$(knob running)" ""
want "the block is off" "$(reg 8)" 0
want "the host's commands go by" "$(where)" smmu
END

host bypassed '' '' --append arm_smmu_v3.bypass_vcmdq=1 << 'END'
want "the host's commands go by" "$(where)" smmu
END

host no-irq acpi-irq=off 'no interrupt' << 'END'
want "the driver says so" "$(said 'no interrupt')" 1
want "VCMDQs of the host" "$(knob running)" 0,1
want "the host's commands go by" "$(where)" vcmdqs
END

# As in a guest: only the commands that a guest's queue takes go there.
host no-hyp-own no-hyp-own=on '' << 'END'
want "VCMDQs of the host" "$(knob running)" 0,1
want "the disk works" "$(yes io)" yes
want "errors of queues" "$(knob errors)" 0
END

# ---- Errors ----

# An error of each queue of the host, made by an acknowledgement of nothing: the driver
# sees it, whichever word and bit of the map it is in, and the queue goes on.
# errors NAME LOG2-VINTFS queue...
errors()
{
	local name=$1 vintfs=$2

	shift 2
	host "errors-$name" "log2-vintfs=$vintfs" 'unexpected error' --allow 'CMDQ error' << END
for l in $*; do
	e=\$(knob errors)
	setreg \$((0x30000 + 0x80 * l + 0x14)) 1
	want "queue \$l: it is an error" "\$(knob errors)" \$((e + 1))
	want "queue \$l: the driver acknowledges it" \\
		"\$(until_is 0 reg \$((0x30000 + 0x80 * l + 0x14)))" 0
done
want "the driver says so" "\$(yes test "\$(said 'unexpected error')" -gt 0)" yes
want "the host's commands go by" "\$(where)" vcmdqs
END
}

[ -z "${LONG:-}" ] || errors 64x2 6 0 1
errors 1x128 0 0 31 32 63 64 127

# Interrupts that no queue has sent, with maps that name what is not there: before the
# driver knows of its VINTF, while it makes it, and for ever.
all='vi=0xffffffffffffffff;cmdq0=0xffffffff;cmdq1=0xffffffff;cmdq2=0xffffffff;cmdq3=0xffffffff'
all="$all;lvcmdq0=0xffffffffffffffff;lvcmdq1=0xffffffffffffffff"
one='vi=1;cmdq0=1;lvcmdq0=1'
# inject NAME MAPS [more knobs]
inject()
{
	host "inject-$1" "inject=$2${3:+,$3}" 'unexpected error' --allow 'CMDQ error' << 'END'
want "VCMDQs of the host" "$(knob running | cut -d, -f1,2)" 0,1
want "the host's commands go by" "$(where)" vcmdqs
want "interrupts" "$(yes test "$(knob irqs)" -gt 0)" yes
want "accesses that the block refuses" "$(knob guest-errors)" 0
END
}

if [ -n "${LONG:-}" ]; then
	inject at-param "$all;at=4"
	inject at-config "$one;at=1"
fi
inject at-vintf "$all;at=2"
inject at-alloc "$all;at=3"
inject no-map "vi=0;at=1"
inject 1x128 "$all;at=3" log2-vintfs=0
inject storm "$all;at=0;period=2000000"
inject storm-1x128 "$all;at=0;period=2000000" log2-vintfs=0

# The log stays readable however many there are.
if [ "$(grep -c 'unexpected error' "$build/log/cmdqv-inject-storm.log")" -le 200 ]; then
	ok "cmdqv-inject-storm: the log is bounded"
else
	not_ok "cmdqv-inject-storm:" \
		"$(grep -c 'unexpected error' "$build/log/cmdqv-inject-storm.log") lines"
fi

# ---- A block that never answers ----

# The kernel gives up the block or the SMMU, and says why. It leaks nothing. Without the
# SMMU there are no PCI devices, and so no port for results: they are on the console.
for stuck in 1 2 4; do
	host "stuck-$stuck" "status-stuck=$stuck" 'fail' --leaks << 'END' > "$scratch/stuck"
want "the driver says so" "$(yes test "$(said 'tegra241.cmdqv.*fail')" -gt 0)" yes
want "and is done" "$(yes test "$(cut -d. -f1 /proc/uptime)" -lt 120)" yes
END
	if [ -s "$build/log/cmdqv-stuck-$stuck.tap" ]; then
		cat "$scratch/stuck"
	else
		grep -v 'the machine stopped before' "$scratch/stuck" || true
		tr -d '\r' < "$build/log/cmdqv-stuck-$stuck.log" |
			awk -v name="cmdqv-stuck-$stuck" -f "$viommu/tap.awk" || true
	fi
done

# ---- The end ----

# The VINTF is off when the SMMU's own queue stops: nothing would execute what its end
# has to flush.
more=("${trace[@]}")
host shutdown '' '' << 'END'
want "VCMDQs of the host" "$(knob running)" 0,1
END
more=()
off_before_smmu shutdown '(VINTF 0|block 0)'

# ---- All that vIOMMUs do ----

if [ -z "${LONG:-}" ]; then
	exit
fi

# The tests of 50-smmuv3 and 55-events, while the host's commands go through VCMDQs
nested()
{
	local name=$1

	shift
	{
		cat "$scratch/lib"
		cat
		cat << 'EOS'
cat > /tmp/test << 'END'
. /tmp/lib
want "the host's commands went by VCMDQs" "$(yes test "$(knob commands)" -gt 1000)" yes
want "errors of queues" "$(knob errors)" 0
want "accesses that the block refuses" "$(knob guest-errors)" 0
plan
END
t host sh /tmp/test
EOS
	} > "$scratch/run"
	vm --timeout 850 --cmdqv --leaks --run "$scratch/run" "$name" -- "$@"
}

edus 4
nested cmdqv-smmuv3 "${edus[@]}" "${behind[@]}" << 'END'
t -t 700 smmuv3_objects smmuv3_objects
t -t 700 smmuv3_dma smmuv3_dma
t -t 700 smmuv3_commands smmuv3_commands
t -t 700 smmuv3_groups smmuv3_groups
END
MACHINE_SMP=4 nested cmdqv-events "${edus[@]}" << 'END'
t -t 600 smmuv3_events smmuv3_events
t -t 600 smmuv3_owner smmuv3_owner
t -t 600 smmuv3_overflow smmuv3_overflow
t -t 600 smmuv3_msi smmuv3_msi
t -t 150 smmuv3_vmm_replay smmuv3_vmm_replay
END
