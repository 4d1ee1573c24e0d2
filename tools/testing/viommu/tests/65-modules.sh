#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 7200
# beside
# long
# The kernel that a distribution ships with viommu.config: the SMMUv3 driver built in,
# iommufd and VFIO as modules. They load, the demo and the kselftests run, they unload.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"

if ! "$viommu/image" --modules > "$scratch/out" 2>&1; then
	not_ok "modules: the kernel does not build"
	tail -n 20 "$scratch/out" | sed 's/^/# /'
	exit
fi
ok "modules: the kernel builds"
MACHINE_IMAGE=$(image_of -modules)
export MACHINE_IMAGE
modules=$(dirname "$MACHINE_IMAGE")/modules

# The modules, behind what the machine has anyway
{
	cat "$build/initrd"
	(cd "$modules" && find . ! -type l -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --quiet) |
		gzip -1
} > "$scratch/initrd"
export MACHINE_INITRD=$scratch/initrd

{
	for f in lib load unload; do
		echo "cat > /tmp/$f << 'END'"
		cat "$viommu/tests/modules/$f.sh"
		echo END
	done
	cat << 'END'
t load sh /tmp/load
t -t 1500 smmuv3_objects smmuv3_objects
t -t 1500 smmuv3_dma smmuv3_dma
t -t 1500 smmuv3_commands smmuv3_commands
t -t 1500 smmuv3_groups smmuv3_groups
t unload sh /tmp/unload
END
} > "$scratch/run"
edus 4
vm --timeout 1800 --run "$scratch/run" modules -- "${edus[@]}" "${behind[@]}"
