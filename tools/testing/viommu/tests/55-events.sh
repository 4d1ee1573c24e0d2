#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 2400
# beside
# Events and interrupts under nested translation on the emulated SMMUv3, and the
# calls that a VMM makes in the life of a VM. The third and fourth device are
# functions of one group.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

edus 4

# Threads race on four CPUs.
MACHINE_SMP=4 vm --timeout 2000 --leaks --run - events -- "${edus[@]}" << 'EOF'
t -t 1800 smmuv3_events smmuv3_events
t -t 1800 smmuv3_owner smmuv3_owner
t -t 1800 smmuv3_overflow smmuv3_overflow
t -t 1800 smmuv3_msi smmuv3_msi
t -t 450 smmuv3_vmm_replay smmuv3_vmm_replay
EOF
