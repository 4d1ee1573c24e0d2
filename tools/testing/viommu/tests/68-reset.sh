#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# Devices that are reset: what the IOMMU does with them meanwhile, on the mock driver.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 900 --leaks --run - reset-mock << 'EOS'
t -t 600 iommufd_reset iommufd_reset
EOS
