#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3900
# beside
# Memory mapped by its file, on the mock driver: holes, truncation, hugetlb,
# accounting, memory that runs out at every allocation, and memory that another
# process takes over.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

# What does not apply to a kind of file. Any other skip is a failure: the machine
# has what the tests need.
inapplicable=(
	'abi\.poisoned '				# needs ZONE_MOVABLE, see below
	'abi\.permission_is_asked '			# needs fanotify, see below
	'file\.(small|thp)(_limit)?\.reserved '		# hugetlb only
	'file\.(small|thp)(_limit)?\.out_of_pages '	# hugetlb only
	'file\.small(_limit)?\.large '			# no large pages
	'file\.(thp|hugetlb)_limit\.large '		# large pages are read in one piece
)

may_skip=$(IFS='|'; echo "${inapplicable[*]}")
# The kernel with KASAN has fanotify.
fanotify='t -t 200 iommufd_map_file_abi-fanotify iommufd_map_file_abi -r abi.permission_is_asked'
[ "$kasan" != n ] || fanotify=
MACHINE_MEM=4G vm --timeout 3500 --leaks --append 'hugepagesz=2M hugepages=16' \
	--run - map-file-stress << EOS
t -t 1900 iommufd_map_file_stress iommufd_map_file_stress
$fanotify
EOS

# Hugetlb takes its pages from ZONE_MOVABLE where there is one, so that the other
# tests would have none.
[ "$kasan" = n ] ||
MACHINE_MEM=3G vm --leaks --append movablecore=1G --run - map-file-poison << 'EOS'
t -t 200 iommufd_map_file_abi iommufd_map_file_abi -r abi.poisoned
EOS

# Up to eight variants of each test: a kernel with KASAN takes three times as long.
# shellcheck disable=SC2154 # from testlib.sh
[ -n "${LONG:-}" ] || export MACHINE_IMAGE=$quick
MACHINE_MEM=4G vm --timeout 3500 --leaks --may-skip "$may_skip" \
	--append 'hugepagesz=2M hugepages=16' --run - map-file << 'EOS'
t -t 1900 iommufd_map_file_abi iommufd_map_file_abi
t -t 1900 iommufd_map_file_pages iommufd_map_file_pages
t -t 1900 iommufd_map_file_account iommufd_map_file_account
t -t 1500 iommufd_change_process iommufd_change_process
EOS
