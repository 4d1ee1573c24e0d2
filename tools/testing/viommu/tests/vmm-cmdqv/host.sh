# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2046,SC2086,SC2154 # arguments of QEMU; names of vmm-host.sh
# What the machine of 72-vmm-cmdqv runs, after vmm-host.sh.

smmu=cmdqv=on
trace_objects
echo 1 > /sys/kernel/tracing/events/iommufd/iommufd_viommu_invalidate/enable
give "$D1"
give "$D2"

# asked: commands that came by ioctl
asked()
{
	sed -n 's/.*iommufd_viommu_invalidate:.* asked=\([0-9]*\) .*/\1/p' \
		/sys/kernel/tracing/trace |
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
guest heir d2 hugetlb $(assign "$D2" d2 rp1) \
	-fsdev local,id=run,path=/run,security_model=none,readonly=on \
	-device virtio-9p-pci,fsdev=run,mount_tag=run,bus=pcie.0
heir=$vmm
count heir heir
count heir "after kexec"
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
