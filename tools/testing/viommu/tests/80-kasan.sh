#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 5400
# long
# The tests again on a kernel with KASAN, UBSAN and DEBUG_OBJECTS. Poisoned memory is
# tested in a machine with ZONE_MOVABLE, since hugetlb takes its pages from there.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

edu='edu,dma_mask=0xffffffffffff'

# shellcheck disable=SC2154 # from testlib.sh
check "kernel with kasan.config" "$viommu/image" --kasan
check "initramfs" "$viommu/initramfs"
vm --kasan --timeout 900 --leaks --run - kasan-mock << 'END'
t -t 100 iommufd_msi iommufd_msi
t -t 400 iommufd_viommu iommufd_viommu
t -t 600 iommufd_viommu_fail_nth iommufd_viommu_fail_nth
t -t 400 iommufd_user_memory iommufd_user_memory
t -t 400 iommufd_veventq iommufd_veventq
t -t 400 iommufd_veventq_fail_nth iommufd_veventq_fail_nth
END
MACHINE_MEM=4G vm --kasan --timeout 1200 --leaks --append 'hugepagesz=2M hugepages=16' --run - kasan-map-file << 'END'
t -t 1100 iommufd_map_file iommufd_map_file
END
MACHINE_MEM=3G vm --kasan --leaks --append movablecore=1G --run - kasan-poison << 'END'
t -t 200 iommufd_map_file iommufd_map_file -r abi.poisoned
END
MACHINE_SMP=4 vm --kasan --timeout 1500 --leaks --run - kasan-smmuv3 -- \
	-device "$edu,addr=4.0" -device "$edu,addr=5.0" \
	-device "$edu,addr=6.0,multifunction=on" -device "$edu,addr=6.1" \
	-device pcie-root-port,id=rp1,addr=7.0,chassis=1,disable-acs=on \
	-device "$edu,bus=rp1" \
	-device pcie-pci-bridge,id=pb1,addr=8.0 \
	-device "$edu,bus=pb1,addr=1.0" << 'END'
t -t 700 smmuv3 smmuv3
t -t 700 smmuv3_events smmuv3_events
END
