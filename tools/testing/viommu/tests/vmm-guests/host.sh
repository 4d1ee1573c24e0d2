# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2046,SC2086,SC2154 # arguments of QEMU; names of vmm-host.sh
# What the machine of 73-vmm-guests runs, after vmm-host.sh.

trace_objects
give "$D1"
# A kernel of a distribution takes more of it than ours.
mem=512M
guest distro d1 anonymous $(assign "$D1" d1 rp1)
distro=$vmm
check "it ends" until_says distro "@@ end"
check "QEMU ends well" ends $distro
relay distro
check "all objects are released" released 1 viommu vdevice hwpt_nested veventq
check "the host saw no event and no error of the SMMU" quiet
save
echo "1..$n"
