# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2046,SC2086,SC2154 # arguments of QEMU; names of vmm-host.sh
# What the machine of 74-vmm-ats runs, after vmm-host.sh.

V1=$(device 0x1234 0x11ed)
trace_objects
give "$D1"
give "$V1"

smmu=ats=on,ssidsize=10
guest ats d1 anonymous $(assign "$D1" d1 rp1) $(assign "$V1" v1 rp2)
ats=$vmm
check "gets to the end of its tests" until_says ats "@@ end"
check "QEMU ends well" ends $ats
relay ats
check "all objects are released" released 1 viommu vdevice hwpt_nested veventq
check "the host saw no event and no error of the SMMU" quiet
save
echo "1..$n"
