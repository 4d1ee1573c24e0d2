# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034 # the names are for those who source this
# Sourced in the machine by what starts guests there: how to start one, watch
# it and end it. The root with QEMU is at /vmm, what is shared with whoever
# started the machine at /vmm/run.

run=/vmm/run

# disk serial: the address of the NVMe disk with that serial number
disk()
{
	for ctrl in /sys/class/nvme/nvme*; do
		[ "$(tr -d ' ' < "$ctrl/serial" 2>/dev/null)" != "$1" ] ||
			basename "$(readlink -f "$ctrl/device")"
	done
}

# device vendor device: the address of the last one with these IDs
device()
{
	for dev in /sys/bus/pci/devices/*; do
		[ "$(cat "$dev/vendor" "$dev/device" | tr -d '\n')" != "$1$2" ] || echo "${dev##*/}"
	done | tail -n 1
}

# give bdf: let vfio-pci have the device
give()
{
	echo vfio-pci > "/sys/bus/pci/devices/$1/driver_override"
	[ ! -e "/sys/bus/pci/devices/$1/driver" ] ||
		echo "$1" > "/sys/bus/pci/devices/$1/driver/unbind"
	echo "$1" > /sys/bus/pci/drivers_probe
}

# ram kind: QEMU's arguments for the memory of a guest, 192 MiB or $mem
ram()
{
	size=${mem:-192M}
	file="-machine memory-backend=ram -object memory-backend-memfd,id=ram,size=$size,share=on"
	case $1 in
	anonymous)	echo "-m $size" ;;
	memfd)		echo "-m $size $file" ;;
	hugetlb)	echo "-m $size $file,hugetlb=on,hugetlbsize=2M" ;;
	esac
}

# assign bdf id bus: QEMU's arguments for a device of the machine
assign()
{
	echo "-device vfio-pci,host=$1,id=$2,bus=$3,iommufd=iommufd0,rombar=0"
}

# qemu name disk ram args...: start a guest. It has an SMMUv3 of its own, with the
# properties $smmu, for what is plugged into the ports rp1 to rp3. $more is put to its
# kernel's command line.
qemu()
{
	name=$1 disk=$2 ram=$(ram "$3")
	shift 3
	# Strict invalidation. What the kernel does not know goes to its init.
	append="loglevel=${loglevel:-5} console=ttyAMA0 acpi=force panic=-1 oops=panic"
	append="$append iommu.strict=1 iommu.passthrough=0"
	append="$append guest=$name sum=$(cat "$run/$disk.sum")"
	append="$append head=$(cat "$run/$disk.head") ${more:-}"
	# shellcheck disable=SC2086 # several arguments
	exec chroot /vmm qemu-system-aarch64 -nodefaults -no-user-config -name "$name" \
		-M virt,accel=kvm,gic-version=3,its=on -cpu host -smp 1 $ram -bios /QEMU_EFI.fd \
		-kernel /run/Image -initrd /run/initrd -append "$append" -display none \
		-object iommufd,id=iommufd0 \
		-device pxb-pcie,id=pcie.1,bus_nr=8,bus=pcie.0 \
		-device "arm-smmuv3,primary-bus=pcie.1,id=smmuv3.1,accel=on${smmu:+,$smmu}" \
		-device pcie-root-port,id=rp1,bus=pcie.1,chassis=1 \
		-device pcie-root-port,id=rp2,bus=pcie.1,chassis=2 \
		-device pcie-root-port,id=rp3,bus=pcie.1,chassis=3 \
		"$@"
}

# guest name disk ram args...: start one in the background, $vmm is its process.
# Its console, its results and QEMU's own words are /vmm/tmp/<name>.{log,tap,err}.
guest()
{
	mkfifo "/vmm/tmp/$1.in" "/vmm/tmp/$1.out"
	(qemu "$@" -serial "file:/tmp/$1.log" -device virtio-serial-pci,bus=pcie.0 \
		-chardev "file,id=tests,path=/tmp/$1.tap" \
		-device virtserialport,chardev=tests,name=tests \
		-chardev "pipe,id=mon,path=/tmp/$1" -object monitor-hmp,id=hmp,chardev=mon \
		> "/vmm/tmp/$1.err" 2>&1 < /dev/null) &
	vmm=$!
	cat "/vmm/tmp/$1.out" > "/vmm/tmp/$1.mon" &
}

# monitor name command...: a line for QEMU's monitor
monitor()
{
	fifo=/vmm/tmp/$1.in
	shift
	# Nobody reads it once QEMU is dead.
	timeout 60 sh -c "echo '$*' > $fifo"
}

# await seconds command...: until it succeeds. Looking often slows the guests.
await()
{
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 1
	done
}

# said name text [n]: the guest has said it so often
said()
{
	[ "$(grep -c "$2" "/vmm/tmp/$1.tap" 2>/dev/null)" -ge "${3:-1}" ]
}

# ended pid: it is no more, or only its status is left
ended()
{
	! grep -qs '^State:.[^ZX]' "/proc/$1/status"
}

# save: let whoever started the machine have the logs, and what was traced
save()
{
	cp /vmm/tmp/*.log /vmm/tmp/*.tap /vmm/tmp/*.err /vmm/tmp/*.mon "$run/"
	cp /sys/kernel/tracing/trace "$run/trace"
}

result()
{
	n=$((n + 1))
	echo "$1 $n - $2"
}

# check what command...
check()
{
	what=$1
	shift
	if "$@" > /tmp/out 2>&1; then
		result ok "$what"
	else
		tail -n 10 /tmp/out | sed 's/^/# /'
		result "not ok" "$what"
		save
	fi
}

# until_says guest text: or until it is dead, or its time is over
until_says()
{
	await "${3:-1200}" eval "said $1 '$2' || ended $(eval "echo \$$1")"
	said "$1" "$2"
}

# relay guest: its results become ours
relay()
{
	tr -d '\r' < "/vmm/tmp/$1.tap" > /tmp/relay
	while read -r line; do
		case $line in
		"ok - "*)	result ok "$1: ${line#*- }" ;;
		"not ok - "*)	result "not ok" "$1: ${line#*- }" ;;
		"#"*)		echo "$line" ;;
		esac
	done < /tmp/relay
	! grep -q '^not ok' /tmp/relay || tail -n 15 "/vmm/tmp/$1.err" | sed 's/^/# /'
}

ends()
{
	await 120 ended "$1" && wait "$1"
}

# A QEMU that lets go of a device closes it.
holds()
{
	for fd in "/proc/$1/fd/"*; do
		readlink "$fd"
	done | grep -c vfio/devices
}

quiet()
{
	! dmesg | grep -v 'companion CMDQV' |
		grep -E 'arm-smmu-v3.*(event|EVTQ|CMDQ|error|GERROR|timeout|0x[0-9a-f]{16})'
}

objects='viommu vdevice hwpt_nested veventq hw_queue'

# trace_objects: from now on
trace_objects()
{
	for object in $objects; do
		echo 1 > "/sys/kernel/tracing/events/iommufd/iommufd_${object}_alloc/enable"
		echo 1 > "/sys/kernel/tracing/events/iommufd/iommufd_${object}_destroy/enable"
	done
}

# released least object...: each of them that came has gone
released()
{
	least=$1
	shift
	for object; do
		came=$(grep -c "iommufd_${object}_alloc:" /sys/kernel/tracing/trace)
		went=$(grep -c "iommufd_${object}_destroy:" /sys/kernel/tracing/trace)
		echo "$object: $came came, $went went"
		[ "$came" -ge "$least" ] && [ "$came" = "$went" ] || return 1
	done
}

n=0
mount -t proc proc /vmm/proc
mount -t sysfs sys /vmm/sys
mount -o bind /dev /vmm/dev
mount -t tmpfs tmp /vmm/tmp
D1=$(disk d1)
D2=$(disk d2)
E1=$(device 0x1234 0x11e8)
