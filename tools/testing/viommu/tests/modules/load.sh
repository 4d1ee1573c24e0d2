# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2154 # from lib.sh
# What the machine of 65-modules does first: load the modules, and run the demo.

# shellcheck source=lib.sh
. /tmp/lib
check "iommufd is not built in" not [ -e /dev/iommu ]
check "the SMMUv3 driver is" [ -d /sys/bus/platform/drivers/arm-smmu-v3 ]
check "vfio-pci loads" modprobe vfio-pci
check "it takes iommufd along" loaded iommufd
check "there is /dev/iommu" [ -c /dev/iommu ]
check "the trace events are there" [ -d /sys/kernel/tracing/events/iommufd ]
check "the demo runs" demo
echo "1..$n"
