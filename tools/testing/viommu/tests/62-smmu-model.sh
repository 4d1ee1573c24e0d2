#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1200
# beside
# qemu
# What the model of the SMMUv3 has more than stock QEMU's (ATS, substreams, stalls, S2FWB,
# HTTU), and viommu-dma, do what IHI0070 says. Register pokes and tables in memory break each
# rule; no kernel and no driver is involved.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

register_tests smmu-model qtest-smmu
