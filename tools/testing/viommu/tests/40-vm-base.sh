#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# beside
# The base's own iommufd tests, and KUnit of the SMMUv3 driver.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# No search for leaks: the base's kunit_vm_mmap() leaks the mm that it makes.
vm --timeout 850 --kunit --append 'hugepagesz=2M hugepages=160' --run - vm-base << 'END'
t -t 400 iommufd iommufd
t -t 400 iommufd_fail_nth iommufd_fail_nth
END
