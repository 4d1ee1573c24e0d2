# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# What a guest runs that has a console and no tests

cat << 'TEXT'

This is the guest. /dev/nvme0n1 is a disk of the machine: what it does goes
through tables that this kernel wrote for an SMMUv3 of its own, and then through
those of the host. The SMMU walks both.

    ls -l /sys/bus/pci/devices/*/iommu_group
    grep nvme /proc/interrupts
    guest-io /dev/nvme0n1 16 5        mixed reads and writes for 5 s

"exit" ends it.

TEXT
setsid cttyhack sh
