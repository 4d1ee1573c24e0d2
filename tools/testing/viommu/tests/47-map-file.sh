#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# Memory mapped by its file, on the mock driver: holes, truncation, hugetlb,
# accounting, and memory that runs out at every allocation.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 500 --run - map-file << 'EOS'
t -t 400 iommufd_map_file iommufd_map_file
EOS
