# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034 # the names are for those who source this
# Sourced in the machine by tests of a host whose SMMU has Tegra241 CMDQV: "want WHAT GOT
# WANTED" is one result, "plan" says how many there were.

block=0x0f000000
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
plan()
{
	echo "1..$n"
}
# said REGEX: how often the kernel said so
said()
{
	dmesg | grep -cE "$1"
}
# yes command...: whether it succeeds
yes()
{
	"$@" > /dev/null && echo yes || echo no
}
# reg OFFSET, setreg OFFSET VALUE: a register of the block
reg()
{
	printf '%d\n' "$(devmem $((block + $1)) 32)"
}
setreg()
{
	devmem $((block + $1)) 32 "$2"
}
# io: each CPU reads 64 times from the disk
io()
{
	for c in 0 1; do
		taskset $((1 << c)) dd if=/dev/nvme0n1 of=/dev/null iflag=direct bs=4k count=64 \
			2>/dev/null || return 1
	done
}
# alive: the disk works, and the host's commands get through. The answer to "where":
# vcmdqs if they went through VCMDQs, smmu if through the SMMU's own queue
where()
{
	before=$(knob commands)
	io || { echo 'nowhere: the disk does not work'; return; }
	sent=$(($(knob commands) - before))
	if [ $sent -ge 128 ]; then
		echo vcmdqs
	elif [ $sent = 0 ]; then
		echo smmu
	else
		echo "both: $sent by VCMDQs"
	fi
}
# until WANTED command...: its output, when it is as wanted or 20 s are over
until_is()
{
	w=$1
	shift
	for _ in $(seq 40); do
		got=$("$@")
		[ "$got" != "$w" ] || break
		sleep 0.5
	done
	echo "$got"
}
