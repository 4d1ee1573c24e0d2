#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# beside
# dma-bufs in an IOAS, on the mock driver: every error, what revoke leaves, races, and
# memory that runs out at every allocation.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 1300 --leaks --run - dmabuf << 'EOS'
t -t 1200 iommufd_dmabuf iommufd_dmabuf
EOS
