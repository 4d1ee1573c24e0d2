# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after testlib.sh by tests of a host whose SMMU has Tegra241 CMDQV: a machine
# that is one, and when its VINTFs go off.

# shellcheck disable=SC2154 # from testlib.sh
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip "$(basename "$0" .sh)" "no build/qemu/qemu-system-aarch64: run 'make qemu'"
	exit
fi

# A disk without a medium behind it: each request is mapped and unmapped.
disk=(-drive 'if=none,id=disk,driver=null-co,size=64M' -device 'nvme,drive=disk,serial=1')
# What the driver says of the block when something is wrong
wrong='tegra241.cmdqv.*(fail|unclear|unexpected|no interrupt|not stop|not enabled)'

# Makes /tmp/lib in the machine
{
	echo "cat > /tmp/lib << 'END'"
	cat "$viommu/cmdqv-machine.sh"
	echo END
} > "$scratch/lib"

# results NAME: standard input is a script of results; prints one that makes them in the
# machine, as those of NAME
results()
{
	cat "$scratch/lib"
	echo "cat > /tmp/test << 'END'"
	echo '. /tmp/lib'
	cat
	echo 'plan'
	echo 'END'
	echo "t $1 sh /tmp/test"
}

# host NAME KNOBS ALLOW [boot's options...]: standard input is a script of results; the
# machine goes on with the commands in $after
after=''
host()
{
	local name=$1 knobs=$2 allow=$3 log=$build/log/cmdqv-$1.log

	shift 3
	{
		results host
		echo "$after"
	} > "$scratch/run"
	vm --timeout 240 --cmdqv="${knobs:-on}" --append 'iommu.strict=1 iommu.passthrough=0' \
		--run "$scratch/run" "$@" "cmdqv-$name" -- "${disk[@]}" "${more[@]}"
	if tr -d '\r' < "$log" | grep -E "$wrong" | grep -vE "${allow:-^$}" > "$scratch/wrong"; then
		not_ok "cmdqv-$name: what the driver says: $(head -n 1 "$scratch/wrong")"
	else
		ok "cmdqv-$name: the driver has nothing to say"
	fi
}
more=()

# What QEMU notes of the block and of the SMMU, as more of its arguments
# shellcheck disable=SC2034 # the name is for those who source this
trace=(-trace 'tegra241_cmdqv_status' -trace 'smmuv3_write_mmio' -D "$scratch/trace")

# off_before_smmu NAME WHAT [TIMES]: in each of the last lives of the machine, WHAT, a
# regex, was on, then it was off, and then the SMMU's own queue was: bit 3 of CR0, at 0x20
off_before_smmu()
{
	local times=${3:-1} is

	is=$(awk -v what="tegra241_cmdqv_status.*$2:" '$0 ~ what {
			now = /status=1/ ? "on" : "off"
			# It is reset before it is on
			if (now != last && (now == "on" || last == "on"))
				print last = now
		}
		/smmuv3_write_mmio.*addr: 0x20 / {
			match($0, /val:0x[0-9a-f]+/)
			if (substr($0, RSTART + RLENGTH - 1, 1) !~ /[89a-f]/ && last ~ /^o/)
				print last = "stop"
		}' "$scratch/trace" | tail -n $((3 * times)) | paste -sd' ')
	if [ "$is" = "$(yes 'on off stop' | head -n "$times" | paste -sd' ')" ]; then
		ok "cmdqv-$1: the VINTF is off, and then the SMMU"
	else
		not_ok "cmdqv-$1: not on, off, SMMU off in the end, but $is"
	fi
}
