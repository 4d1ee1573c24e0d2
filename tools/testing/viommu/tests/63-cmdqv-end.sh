#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1200
# beside
# qemu
# A VM's own queue of Tegra241 CMDQV is at work while the machine goes down, or another
# kernel takes it over by kexec: the VM's VINTF is off before the SMMU is.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../cmdqvlib.sh
. "$viommu/cmdqvlib.sh"

# shellcheck disable=SC2154 # from cmdqvlib.sh
more=(-device "$edu" "${trace[@]}")
host end '' '' < "$viommu/tests/cmdqv-end/machine.sh"
off_before_smmu end 'VINTF 1'

# The other kernel is the same one. It finds all as it is after a reset, and its end too
# is an orderly one.
mkdir "$scratch/share" "$scratch/root"
cp "$MACHINE_IMAGE" "$scratch/share/Image"
cp "$build/initrd" "$scratch/share/initrd"
truncate -s %4 "$scratch/share/initrd"
results second < "$viommu/tests/cmdqv-end/machine.sh" > "$scratch/root/run.sh"
(cd "$scratch/root" && echo run.sh | cpio -o -H newc -R 0:0 --quiet) >> "$scratch/share/initrd"
# shellcheck disable=SC2016 # for the machine's shell
after='mkdir /share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /share
kexec /share/Image /share/initrd "$(cat /proc/cmdline)"'
more+=(-fsdev "local,id=share,path=$scratch/share,security_model=none,readonly=on"
	-device 'virtio-9p-pci,fsdev=share,mount_tag=share')
host kexec '' '' --timeout 600 < "$viommu/tests/cmdqv-end/machine.sh"
off_before_smmu kexec 'VINTF 1' 2
if [ "$(grep -c '^@@ end second 0' "$build/log/cmdqv-kexec.tap")" = 1 ]; then
	ok "cmdqv-kexec: the other kernel ran"
else
	not_ok "cmdqv-kexec: the other kernel did not run"
fi
