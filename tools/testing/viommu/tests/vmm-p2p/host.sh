# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# shellcheck disable=SC2046,SC2086,SC2154 # arguments of QEMU; names of vmm-host.sh
# What the machine of 75-vmm-p2p runs, after vmm-host.sh.

I1=$(device 0x1af4 0x1110)
trace_objects
give "$D1"
give "$E1"
give "$I1"

guest p2p d1 anonymous $(assign "$D1" d1 rp1) $(assign "$E1" e1 rp2) $(assign "$I1" i1 rp3)
p2p=$vmm
check "gets to its reset" until_says p2p "@@ reset"
sleep 1
monitor p2p system_reset
check "gets to the end of its tests" until_says p2p "@@ end"
check "QEMU ends well" ends $p2p
relay p2p
check "all objects are released" released 1 viommu vdevice hwpt_nested veventq
check "the host saw no event and no error of the SMMU" quiet
save
echo "1..$n"
