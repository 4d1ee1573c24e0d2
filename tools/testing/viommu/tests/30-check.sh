#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1500
# The static checks.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

"$top/scripts/check"
