#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 7200
# beside
# long
# The kernel that a distribution ships with viommu.config: the SMMUv3 driver built in,
# iommufd and VFIO as modules. They load, the demo and the kselftests run, they unload.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

if ! "$viommu/image" --modules > "$scratch/out" 2>&1; then
	not_ok "modules: the kernel does not build"
	tail -n 20 "$scratch/out" | sed 's/^/# /'
	exit
fi
ok "modules: the kernel builds"
MACHINE_IMAGE=$(image_of -modules)
export MACHINE_IMAGE
modules=$(dirname "$MACHINE_IMAGE")/modules

# The modules, behind what the machine has anyway
{
	cat "$build/initrd"
	(cd "$modules" && find . ! -type l -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --quiet) | gzip -1
} > "$scratch/initrd"
export MACHINE_INITRD=$scratch/initrd

# Programs of the machine: "check WHAT command..." is one result.
cat > "$scratch/run" << 'EOS'
cat > /tmp/lib << 'END'
n=0
check()
{
	n=$((n + 1))
	what=$1
	shift
	if "$@" > /tmp/out 2>&1; then
		echo "ok $n - $what"
	else
		sed 's/^/# /' /tmp/out
		echo "not ok $n - $what"
	fi
}
loaded()
{
	grep "^$1 " /proc/modules
}
not()
{
	! "$@"
}
END
cat > /tmp/load << 'END'
. /tmp/lib
check "iommufd is not built in" not [ -e /dev/iommu ]
check "the SMMUv3 driver is" [ -d /sys/bus/platform/drivers/arm-smmu-v3 ]
check "vfio-pci loads" modprobe vfio-pci
check "it takes iommufd along" loaded iommufd
check "there is /dev/iommu" [ -c /dev/iommu ]
check "the trace events are there" [ -d /sys/kernel/tracing/events/iommufd ]
check "the demo runs" demo
echo "1..$n"
END
cat > /tmp/unload << 'END'
. /tmp/lib
# Back from vfio-pci, which the kselftests leave them with
for d in /sys/bus/pci/drivers/vfio-pci/0*; do
	[ ! -e "$d" ] || echo "${d##*/}" > /sys/bus/pci/drivers/vfio-pci/unbind
done
check "vfio-pci unloads" modprobe -r vfio-pci
check "iommufd unloads" eval 'not loaded iommufd || modprobe -r iommufd'
check "there is no /dev/iommu" not [ -e /dev/iommu ]
check "both load again" modprobe vfio-pci
check "the demo runs again" demo
echo "1..$n"
END
t load sh /tmp/load
t -t 1500 smmuv3_objects smmuv3_objects
t -t 1500 smmuv3_dma smmuv3_dma
t -t 1500 smmuv3_commands smmuv3_commands
t -t 1500 smmuv3_groups smmuv3_groups
t unload sh /tmp/unload
EOS
edu='edu,dma_mask=0xffffffffffff'
vm --timeout 1800 --run "$scratch/run" modules -- \
	-device "$edu,addr=4.0" -device "$edu,addr=5.0" \
	-device "$edu,addr=6.0,multifunction=on" -device "$edu,addr=6.1" \
	-device pcie-root-port,id=rp1,addr=7.0,chassis=1,disable-acs=on \
	-device "$edu,bus=rp1" \
	-device pcie-pci-bridge,id=pb1,addr=8.0 \
	-device "$edu,bus=pb1,addr=1.0"
