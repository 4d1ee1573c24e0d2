#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3600
# long
# What 20-build leaves out: each patch builds what it touches for x86_64, and the
# selftests build after each change of a header that they include.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)
last=base
while read -r c; do
	checkout "$c"
	s=$(kgit log -1 --format=%s "$c")
	mapfile -t what < <(touched x86_64 "$last" "$c")
	[ ${#what[@]} = 0 ] || check "x86_64: $s" build x86_64 "$each/.x86_64" "${what[@]}"
	[ -z "$(kgit diff --name-only "$last" "$c" -- tools/testing/selftests/iommu include/uapi \
		drivers/iommu/iommufd/iommufd_test.h)" ] ||
		check "selftests: $s" selftests "$each/.headers"
	last=$c
done < <(kgit rev-list --reverse "base..$tip")
