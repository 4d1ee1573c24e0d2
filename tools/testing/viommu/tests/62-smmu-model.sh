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

# shellcheck disable=SC2154 # from testlib.sh
qemu=$build/qemu/qemu-system-aarch64
if [ ! -x "$qemu" ]; then
	skip smmu-model "no $qemu: run tools/testing/viommu/qemu-build"
	exit
fi

# prove args: its results are this test's; a program that broke off is a failure too
prove()
{
	local rc=0

	"$viommu/qtest-smmu" --qemu "$qemu" --jobs "$jobs" "$@" || rc=$?
	[ "$rc" -le 1 ] || not_ok "smmu-model: qtest-smmu $* ended with status $rc"
}

prove
prove --mutations
