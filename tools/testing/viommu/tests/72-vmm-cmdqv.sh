#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3000
# qemu
# long
# An unmodified QEMU with cmdqv=on: its guests' own driver finds a Tegra241 CMDQV, and
# what a guest invalidates while it uses its disk takes neither an exit nor an ioctl.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip vmm-cmdqv "no build/qemu/qemu-system-aarch64: run 'make qemu'"
	exit
fi

cat > "$scratch/guest" << 'GUEST'
found_cmdqv()
{
	dmesg | grep -i cmdqv
	dmesg | grep -q 'found companion CMDQV' && ! dmesg | grep -qi 'cmdqv.*fail\|falling back'
}

# The machine counts meanwhile.
counted()
{
	say "@@ io $1"
	sleep 3
	check "$1: whole disk, with interrupts" counting "$2" "$3" "$4" "$5" "$6"
	check "$1: mixed I/O" counting 100 mixed 3
	say "@@ done $1"
	sleep 3
}

await 120 eval '! no_nvme'
check "its own SMMUv3 translates, strictly" own_smmu
check "it has a CMDQV" found_cmdqv
if [ "$(life)" = life2 ]; then
	counted "after a reset" 16 sum_is "$head" 0 8
	check "after a reset: no event" no_event
	say "@@ end"
	return
fi
case $guest in
heir)
	counted heir 16 sum_is "$head" 0 8
	check "no event" no_event
	;;
*)
	counted "$guest" 64 sum_is "$sum" 0 32
	check "write and read back" copy
	check "no event" no_event
	say "@@ busy"
	[ "$guest" != first ] || live_again
	mixed 3000
	;;
esac
say "@@ end"
GUEST

cat > "$scratch/host" << 'HOST'
smmu=cmdqv=on
trace_objects
echo 1 > /sys/kernel/tracing/events/iommufd/iommufd_viommu_invalidate/enable
give "$D1"
give "$D2"

# asked: commands that came by ioctl
asked()
{
	sed -n 's/.*iommufd_viommu_invalidate:.* asked=\([0-9]*\) .*/\1/p' /sys/kernel/tracing/trace |
		awk '{ n += $1 } END { print n + 0 }'
}

# none_asked commands: by ioctl, while the block executed so many TLBIs
none_asked()
{
	ioctl=$(($(asked) - asked)) block=$(($(knob tlbis) - tlbis))
	echo "$ioctl commands by ioctl, $block TLBIs by the block"
	[ "$ioctl" = 0 ] && [ "$block" -ge "$1" ]
}

# count guest phase: while it uses its disk
count()
{
	check "$1: $2: uses its disk" until_says "$1" "@@ io $2"
	asked=$(asked) tlbis=$(knob tlbis)
	check "$1: $2: is done" until_says "$1" "@@ done $2"
	check "$1: $2: invalidates without the kernel" none_asked 100
}

# vintfs: how many there are of guests
vintfs()
{
	v=1 on=0
	while [ $v -lt 64 ]; do
		[ $(($(devmem $((0x0f001004 + v * 0x100)) 32) & 1)) = 0 ] || on=$((on + 1))
		v=$((v + 1))
	done
	echo $on
}

guest first d1 anonymous $(assign "$D1" d1 rp1)
first=$vmm
count first first
check "first: goes on" until_says first "@@ busy"
# What the other one's boot configures goes by ioctl, what both do with their disks not.
guest victim d2 memfd $(assign "$D2" d2 rp1)
victim=$vmm
count victim victim
check "two VINTFs are guests'" [ "$(vintfs)" = 2 ]
check "victim: goes on" until_says victim "@@ busy"
kill -KILL $victim
wait $victim
relay victim
check "one VINTF is a guest's" [ "$(vintfs)" = 1 ]
guest heir d2 hugetlb $(assign "$D2" d2 rp1)
heir=$vmm
count heir heir
check "heir: ends" until_says heir "@@ end"
check "heir: QEMU ends well" ends $heir
relay heir

monitor first system_reset
count first "after a reset"
check "first: ends" until_says first "@@ end"
check "first: QEMU ends well" ends $first
relay first

check "no VINTF is a guest's" [ "$(vintfs)" = 0 ]
check "all objects are released" released 2 $objects
check "no queue was in error" [ "$(knob errors)" = 0 ]
check "the host saw no event and no error of the SMMU" quiet
save
echo "1..$n"
HOST

# shellcheck disable=SC2154 # from lib.sh
share=$build/vmm/vmm-cmdqv
rm -rf "$share"
MACHINE_CMDQV=${MACHINE_CMDQV:-on} MACHINE_IMAGE=$quick "$viommu/vmm" --timeout 2000 --append 'hugepagesz=2M hugepages=96' \
	--host "$scratch/host" --guest "$scratch/guest" vmm-cmdqv || true

complaint='WARNING:|BUG:|Oops|Internal error|Unable to handle|INFO: .*(lock|rcu|task)|Kernel panic|CMDQ error|CMD_SYNC|timeout|I/O error|Call trace'
for log in "$share"/*.log; do
	name=$(basename "$log" .log)
	if [ ! -s "$log" ]; then
		not_ok "vmm-cmdqv: $name: printed nothing"
	elif grep -E "$complaint" "$log" > "$scratch/complaints"; then
		not_ok "vmm-cmdqv: $name: its kernel complains"
		sed 's/^/# /' "$scratch/complaints" | head -n 10
	else
		ok "vmm-cmdqv: $name: its kernel does not complain"
	fi
done
