#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# vIOMMUs, vDEVICEs and vEVENTQs on the mock driver: every error, races, memory
# that runs out at every allocation, and user memory that blocks at every copy.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 850 --leaks --run - mock << 'EOF'
t -t 100 iommufd_msi iommufd_msi
t -t 300 iommufd_viommu iommufd_viommu
t -t 400 iommufd_viommu_fail_nth iommufd_viommu_fail_nth
t -t 300 iommufd_user_memory iommufd_user_memory
t -t 300 iommufd_veventq iommufd_veventq
t -t 300 iommufd_veventq_fail_nth iommufd_veventq_fail_nth
EOF
