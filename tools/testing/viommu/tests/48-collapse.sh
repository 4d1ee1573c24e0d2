#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1200
# long
# Huge pages take the place of small ones while these are mapped by their file: a
# thousand times, and no device is left on memory that the file no longer has.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 1000 --run - collapse << 'EOS'
export COLLAPSE_ROUNDS=1000
t -t 900 iommufd_map_file iommufd_map_file -r abi.collapse
EOS
