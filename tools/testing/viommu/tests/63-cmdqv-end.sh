#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1100
# beside
# qemu
# A VM's own queue of Tegra241 CMDQV is at work while the machine goes down, or another
# kernel takes it over by kexec: the VM's VINTF is off before the SMMU is.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip cmdqv-end "no build/qemu/qemu-system-aarch64: run 'make qemu'"
	exit
fi

# Results, and what both lives of the machine do
cat > "$scratch/lib" << 'END'
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
# life: the part of the test that is the same in each
life()
{
	want "$1: VINTFs of guests at first" "$(guests)" ""
	want "$1: the queue of a VM" "$(at_work | tail -n 1)" "at work"
	want "$1: VINTFs of guests" "$(guests)" 1
	want "$1: errors of queues" "$(knob errors)" 0
	echo "1..$n"
}
END

# end NAME SCRIPT [option of QEMU...]: its VMs go down with the machine
end()
{
	local name=$1 script=$2 log=$build/log/$1.log

	shift 2
	{
		cat "$scratch/lib"
		cat "$script"
	} > "$scratch/run"
	vm --timeout 500 --cmdqv --run "$scratch/run" "$name" -- \
		-device edu,dma_mask=0xffffffffffff \
		-trace 'tegra241_cmdqv_status' -trace 'smmuv3_write_mmio' -D "$scratch/trace" "$@"
	if tr -d '\r' < "$log" | grep -E 'tegra241.cmdqv.*(fail|unexpected|not stop|not enabled)' > "$scratch/wrong"; then
		not_ok "$name: the driver says: $(head -n 1 "$scratch/wrong")"
	else
		ok "$name: the driver has nothing to say"
	fi
}

# ends NAME TIMES: so often, and in this order: VINTF 1 was on, it is off, the SMMU's
# queue is off (bit 3 of CR0, which is at 0x20)
ends()
{
	local is

	is=$(awk '/tegra241_cmdqv_status.*VINTF 1:/ {
			now = /status=1/ ? "on" : "off"
			# It is reset before it is on for the first time
			if (now != last && (now == "on" || last == "on"))
				print last = now
		}
		/smmuv3_write_mmio.*addr: 0x20 / {
			match($0, /val:0x[0-9a-f]+/)
			if (substr($0, RSTART + RLENGTH - 1, 1) !~ /[89a-f]/ && last ~ /^o/)
				print last = "stop"
		}' "$scratch/trace" | paste -sd' ')
	if [ "$is" = "$(yes 'on off stop' | head -n "$2" | paste -sd' ')" ]; then
		ok "$1: the VINTF is off, and then the SMMU"
	else
		not_ok "$1: not VINTF on, VINTF off, SMMU off, but $is"
	fi
}

cat > "$scratch/shutdown" << 'END'
(life before) > /tmp/results
t shutdown cat /tmp/results
END
end cmdqv-shutdown-guest "$scratch/shutdown"
ends cmdqv-shutdown-guest 1

# The other kernel is the same one, and finds its next script by the command line.
mkdir "$scratch/share"
cp "$MACHINE_IMAGE" "$scratch/share/Image"
cp "$build/initrd" "$scratch/share/initrd"
truncate -s %4 "$scratch/share/initrd"
mkdir "$scratch/root"
{
	cat "$scratch/lib"
	echo '(life after) > /tmp/results'
	echo 't second cat /tmp/results'
} > "$scratch/root/run.sh"
(cd "$scratch/root" && echo run.sh | cpio -o -H newc -R 0:0 --quiet) >> "$scratch/share/initrd"
cat > "$scratch/kexec" << 'END'
mkdir /share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /share
(life before) > /tmp/results
t first cat /tmp/results
kexec /share/Image /share/initrd "$(cat /proc/cmdline)" > /dev/console 2>&1
END
end cmdqv-kexec "$scratch/kexec" \
	-fsdev "local,id=share,path=$scratch/share,security_model=none,readonly=on" \
	-device virtio-9p-pci,fsdev=share,mount_tag=share
ends cmdqv-kexec 2
if [ "$(grep -c '^@@ end second 0' "$build/log/cmdqv-kexec.tap")" = 1 ]; then
	ok "cmdqv-kexec: the other kernel ran"
else
	not_ok "cmdqv-kexec: the other kernel did not run"
fi
