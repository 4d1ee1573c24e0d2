#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 14400
# long
# Each patch builds what it touches in each configuration in which the tip does.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
tip=$(kgit rev-parse refs/viommu/tip)
checkout "$tip"
# The options that only later patches bring are left out before these.
mapfile -t all < <(matrix)

# known <options>: those of them that this commit has, in the same order
known()
{
	local o list

	IFS=, read -r -a list <<< "$1"
	for o in "${list[@]}"; do
		! grep -qrE "^config ${o%=*}\$" "$each"/drivers/{iommu,vfio} || echo "$o"
	done | paste -sd,
}

for options in "${all[@]}"; do
	last=base
	while read -r c; do
		checkout "$c"
		mapfile -t what < <(touched arm64 "$last" "$c")
		[ ${#what[@]} = 0 ] || check "$(kgit log -1 --format=%s "$c"), $options" \
			build_as arm64 "$each/.matrix" "$(known "$options")" "${what[@]}"
		last=$c
	done < <(kgit rev-list --reverse "base..$tip")
done
