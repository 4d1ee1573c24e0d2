# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # from lib.sh
# What the machine of 65-modules does at the end: unload the modules, load them again.

# shellcheck source=lib.sh
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
