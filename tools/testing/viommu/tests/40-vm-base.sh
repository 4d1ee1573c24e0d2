#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# The base's own iommufd tests, and KUnit of the SMMUv3 driver.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# kunit_suites: what the sources call them, and that of the base. One that is not built,
# or not registered, is missed.
kunit_suites()
{
	{
		series_files '' | grep -- '-test\.c$' | sed "s,^,$top/,"
		# shellcheck disable=SC2154 # from lib.sh
		echo "$linux/drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-test.c"
	} | xargs sed -n '/^static struct kunit_suite/,/^}/s/.*\.name = "\(.*\)".*/\1/p' |
		paste -sd' '
}

# No search for leaks: the base's kunit_vm_mmap() leaks the mm that it makes.
MACHINE_IMAGE=$quick vm --timeout 850 --kunit "$(kunit_suites)" \
	--append 'hugepagesz=2M hugepages=160' --run - vm-base << 'END'
t -t 400 iommufd iommufd
t -t 400 iommufd_fail_nth iommufd_fail_nth
END

# Memory that has to leave ZONE_MOVABLE when it is pinned, 2 GiB of it in huge pages
MACHINE_MEM=5G vm --timeout 400 --leaks --append 'movablecore=1G hugepagesz=2M hugepages=1100' \
	--run - udmabuf << 'END'
t -t 300 udmabuf udmabuf
END
