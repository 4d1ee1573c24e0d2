# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # the names are for those who source this; guest=, sum=
# and head= come by the kernel's command line
# Sourced in a guest by its script: results for the machine on descriptor 3, and what a
# guest does with the disk that it was given.

say()
{
	echo "$*" >&3
}

# check what command...
check()
{
	what=$1
	shift
	if "$@" > /tmp/out 2>&1; then
		say "ok - $what"
	else
		tail -n 5 /tmp/out | sed 's/^/# /' >&3
		say "not ok - $what"
	fi
}

await()
{
	tries=$(($1 * 5))
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries != 0 ] || return 1
		sleep 0.2
	done
}

nvme()
{
	ls /dev/nvme*n1 2>/dev/null
}

no_nvme()
{
	[ -z "$(nvme)" ]
}

nvme_dev()
{
	readlink -f /sys/class/block/nvme*n1/device/device
}

own_smmu()
{
	dmesg | grep -E 'TLB invalidation|arm-smmu-v3.*: ias'
	dmesg | grep -q 'TLB invalidation policy: strict' &&
		[ "$(cat "$(nvme_dev)/iommu_group/type")" = DMA ]
}

# sum_is sum first-MiB MiB
sum_is()
{
	is=$(dd if="$(nvme)" bs=256k skip=$(($2 * 4)) count=$(($3 * 4)) iflag=direct 2>/dev/null |
		sha256sum | cut -d' ' -f1)
	echo "$is instead of $1"
	[ "$is" = "$1" ]
}

copy()
{
	dd if="$(nvme)" of="$(nvme)" bs=256k count=32 seek=32 iflag=direct oflag=direct &&
		sum_is "$head" 8 8
}

interrupts()
{
	awk '/nvme[0-9]*q[1-9]/ { n += $2 } END { print n + 0 }' /proc/interrupts
}

# counting least command...: there are as many interrupts while it runs
counting()
{
	least=$1 from=$(interrupts)
	shift
	"$@" || return 1
	echo "$(($(interrupts) - from)) interrupts, not $least"
	[ $(($(interrupts) - from)) -ge "$least" ]
}

mixed()
{
	guest-io "$(nvme)" 16 "$1"
}

no_event()
{
	! dmesg | grep -E 'arm-smmu-v3.*(event|error|timeout)'
}

life()
{
	dd if="$(nvme)" bs=4k skip=7936 count=1 iflag=direct 2>/dev/null | head -c 5
}

live_again()
{
	printf '%-4096s' life2 > /tmp/life
	dd if=/tmp/life of="$(nvme)" bs=4k seek=7936 count=1 oflag=direct
}

# other_kernel: end in the same one, from what the machine shares with us as "run"
other_kernel()
{
	mkdir -p /share
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 run /share &&
		kexec /share/Image /share/initrd "$(cat /proc/cmdline)"
}
