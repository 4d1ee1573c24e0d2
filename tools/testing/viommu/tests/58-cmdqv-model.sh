#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1200
# beside
# qemu
# The model of Tegra241 CMDQV that the tests of the driver run on does what is known of the
# hardware. Register pokes break each of its rules; no kernel and no driver is involved.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

register_tests cmdqv-model qtest-cmdqv
