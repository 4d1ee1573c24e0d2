#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1100
# beside
# qemu
# A VM's own queue of Tegra241 CMDQV is at work while the machine goes down: the VM's
# VINTF is off before the SMMU is.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip cmdqv-end "no build/qemu/qemu-system-aarch64: run 'make qemu'"
	exit
fi

cat > "$scratch/run" << 'EOS'
n=0
want()
{
	n=$((n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $n - $1"
	else
		echo "# $2, wanted $3"
		echo "not ok $n - $1"
	fi
}
# at_work: a VM is, and stays so
at_work()
{
	cmdqv-live > /tmp/live 2>&1 &
	for _ in $(seq 240); do
		! grep . /tmp/live || return 0
		sleep 0.5
	done
}
# guests: VINTFs that are on, without that of the host
guests()
{
	on=
	for v in $(seq 1 63); do
		[ $(($(devmem $((0x0f001004 + 0x100 * v)) 32) & 1)) = 0 ] || on="$on $v"
	done
	echo $on
}
{
	want "VINTFs of guests at first" "$(guests)" ""
	want "the queue of a VM" "$(at_work | tail -n 1)" "at work"
	want "VINTFs of guests" "$(guests)" 1
	want "errors of queues" "$(knob errors)" 0
	echo "1..$n"
} > /tmp/results
t shutdown cat /tmp/results
EOS

name=cmdqv-end
vm --timeout 500 --cmdqv --run "$scratch/run" $name -- -device edu,dma_mask=0xffffffffffff \
	-trace 'tegra241_cmdqv_status' -trace 'smmuv3_write_mmio' -D "$scratch/trace"
if tr -d '\r' < "$build/log/$name.log" |
	grep -E 'tegra241.cmdqv.*(fail|unexpected|not stop|not enabled)' > "$scratch/wrong"; then
	not_ok "$name: the driver says: $(head -n 1 "$scratch/wrong")"
else
	ok "$name: the driver has nothing to say"
fi

# What happens to VINTF 1, and when the SMMU's own queue goes off: bit 3 of CR0, which
# is at 0x20. The VINTF is reset before it is on for the first time.
is=$(awk '/tegra241_cmdqv_status.*VINTF 1:/ {
		now = /status=1/ ? "on" : "off"
		if (now != last && (now == "on" || last == "on"))
			print last = now
	}
	/smmuv3_write_mmio.*addr: 0x20 / {
		match($0, /val:0x[0-9a-f]+/)
		if (substr($0, RSTART + RLENGTH - 1, 1) !~ /[89a-f]/ && last ~ /^o/)
			print last = "stop"
	}' "$scratch/trace" | paste -sd' ')
if [ "$is" = 'on off stop' ]; then
	ok "$name: the VINTF is off, and then the SMMU"
else
	not_ok "$name: not VINTF on, VINTF off, SMMU off, but $is"
fi
