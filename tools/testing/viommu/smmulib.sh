# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after testlib.sh by tests that need an SMMU with what servers have
# (qemu/README): its arguments, and what QEMU logs of it.

# shellcheck disable=SC2154 # from testlib.sh
if [ ! -x "$build/qemu/qemu-system-aarch64" ]; then
	skip "$(basename "$0" .sh)" "no build/qemu/qemu-system-aarch64: run 'make qemu'"
	exit
fi
export MACHINE_QEMU=$build/qemu/qemu-system-aarch64

# The tests of smmuv3_ats after which a host logs what must not be logged elsewhere
# shellcheck disable=SC2034 # for those who source this
silent=(silent_device_recovers silent_device_is_a_timeout
	silent_device_leaves_the_other_vm_alone
	silent_device_has_one_command_in_the_queue
	silent_device_leaves_unmaps_of_the_other_vm_alone)

# A viommu-dma with the PCI ID and revision of a device that Linux knows to stall
# shellcheck disable=SC2034 # for those who source this
stalls=vendor-id=0x19e5,device-id=0xa250,revision=0x21

# has NAME=VALUE...: the SMMU of the next machines has this, and two viommu-dma behind it.
# Sets $smmu to the arguments of QEMU.
has()
{
	local property

	smmu=()
	for property; do
		smmu+=(-global "arm-smmuv3.$property")
	done
	smmu+=(-device "viommu-dma,id=d0,addr=4.0,ats=on,pasid-bits=16"
	       -device "viommu-dma,id=d1,addr=5.0,ats=on,pasid-bits=16")
}

# encodings NAME: neither the tables of the run nor its STEs have memory attributes that
# mean nothing, or that mean something with the other value of STE.S2FWB only. QEMU logs
# each use of one.
encodings()
{
	# shellcheck disable=SC2154 # from testlib.sh
	if grep -q MemAttr "$scratch/$1.log"; then
		not_ok "$1: bad memory attributes in stage 2"
		grep MemAttr "$scratch/$1.log" | sort | uniq -c | sed -n '1,5s/^/# /p'
	elif [ -e "$scratch/$1.log" ]; then
		ok "$1: the memory attributes of stage 2 fit to S2FWB"
	else
		not_ok "$1: QEMU has no log"
	fi
}
