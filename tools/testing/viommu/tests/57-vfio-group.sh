#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# beside
# Devices that are opened by their VFIO group, in a type 1 container and in an
# iommufd that plays one, on the emulated SMMUv3. Two of them are functions of one
# group.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

vm --timeout 550 --leaks --run - vfio-group -- \
	-device "$edu,addr=4.0" \
	-device "$edu,addr=6.0,multifunction=on" -device "$edu,addr=6.1" \
	<< 'END'
t -t 450 vfio_group vfio_group
END
