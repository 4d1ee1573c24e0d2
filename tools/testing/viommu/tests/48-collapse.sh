#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3600
# beside
# long
# Huge pages take the place of small ones while these are mapped by their file: a
# thousand times, and no device is left on memory that the file no longer has.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 3500 --run - collapse << 'EOS'
export COLLAPSE_ROUNDS=100
for i in 1 2 3 4 5 6 7 8 9 10; do
	t -t 900 iommufd_map_file-$i iommufd_map_file_abi -r abi.collapse
done
EOS
