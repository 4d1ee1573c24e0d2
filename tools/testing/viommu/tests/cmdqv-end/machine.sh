# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2086,SC2154 # names of cmdqv-machine.sh
# What the machine of 63-cmdqv-end has, besides cmdqv-machine.sh

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
		[ $(($(reg $((0x1004 + 0x100 * v))) & 1)) = 0 ] || on="$on $v"
	done
	echo $on
}
want "VINTFs of guests at first" "$(guests)" ""
want "the queue of a VM" "$(at_work | tail -n 1)" "at work"
want "VINTFs of guests" "$(guests)" 1
want "errors of queues" "$(knob errors)" 0
