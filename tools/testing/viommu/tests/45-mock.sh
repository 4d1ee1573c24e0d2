#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3000
# beside
# vIOMMUs, vDEVICEs, vEVENTQs and HW queues on the mock driver: every error, races,
# memory that runs out at every allocation, and user memory that blocks at every copy.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

may_skip='domain_complete_from_the_start[.]replace_cannot_map '
# The kernel with KASAN has CONFIG_MEMORY_FAILURE.
# shellcheck disable=SC2154 # from testlib.sh
[ "$kasan" != n ] || may_skip+='|slow[.]page_is_poisoned_while_it_is_pinned '

vm --timeout 2900 --leaks --may-skip "$may_skip" --run - mock << 'EOF'
t -t 300 iommufd_msi iommufd_msi
t -t 900 iommufd_viommu_alloc iommufd_viommu_alloc
t -t 900 iommufd_viommu_group iommufd_viommu_group
t -t 900 iommufd_viommu_invalidate iommufd_viommu_invalidate
t -t 900 iommufd_viommu_lifetime iommufd_viommu_lifetime
t -t 900 iommufd_viommu_stress iommufd_viommu_stress
t -t 1200 iommufd_viommu_fail_nth iommufd_viommu_fail_nth
t -t 900 iommufd_hw_queue_alloc iommufd_hw_queue_alloc
t -t 900 iommufd_hw_queue_mmap iommufd_hw_queue_mmap
t -t 900 iommufd_hw_queue_stress iommufd_hw_queue_stress
t -t 900 iommufd_hw_queue_fail_nth iommufd_hw_queue_fail_nth
t -t 900 iommufd_user_memory iommufd_user_memory
t -t 900 iommufd_veventq_alloc iommufd_veventq_alloc
t -t 900 iommufd_veventq_read iommufd_veventq_read
t -t 900 iommufd_veventq_route iommufd_veventq_route
t -t 900 iommufd_veventq_stress iommufd_veventq_stress
t -t 900 iommufd_veventq_fail_nth iommufd_veventq_fail_nth
EOF
