#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1200
# beside
# qemu
# The model of Tegra241 CMDQV that the tests of the driver run on does what is known of the
# hardware. Register pokes break each of its rules; no kernel and no driver is involved.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# shellcheck disable=SC2154 # from testlib.sh
qemu=$build/qemu/qemu-system-aarch64
if [ ! -x "$qemu" ]; then
	skip cmdqv-model "no $qemu: run tools/testing/viommu/qemu-build"
	exit
fi

# prove args: its results are this test's; a program that broke off is a failure too
prove()
{
	local rc=0

	"$viommu/qtest-cmdqv" --qemu "$qemu" --jobs "$jobs" "$@" || rc=$?
	[ "$rc" -le 1 ] || not_ok "cmdqv-model: qtest-cmdqv $* ended with status $rc"
}

prove
prove --mutations
