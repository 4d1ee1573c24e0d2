# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # names of cmdqv-machine.sh
# What a guest could use: nothing. For 59-cmdqv, after cmdqv-machine.sh.

for q in 0 1; do
	want "VCMDQ $q is allocated" "$(($(reg $((0x200 + 4 * q))) & 1))" 1
done
left=
for q in $(seq 2 127); do
	[ $(($(reg $((0x200 + 4 * q))) & 1)) = 0 ] || left="$left $q"
done
want "VCMDQs without an owner that are allocated" "$left" ""
on=
for v in $(seq 1 63); do
	[ $(($(reg $((0x1000 + 0x100 * v))) & 1)) = 0 ] || on="$on $v"
done
want "VINTFs without an owner that are on" "$on" ""
