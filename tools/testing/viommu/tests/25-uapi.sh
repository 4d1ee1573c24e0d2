#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 1200
# beside
# The header that user space compiles against: alone, as C and C++, for 64-bit and
# 32-bit programs, with the layouts and numbers that VMMs are built on.
# shellcheck source=../testlib.sh
. "$(dirname "$0")/../testlib.sh"
# shellcheck source=../kbuildlib.sh
. "$viommu/kbuildlib.sh"

"$top/scripts/tree"
checkout "$(kgit rev-parse refs/viommu/tip)"

# A structure, its size and its alignment, then each field with offset and size.
# The alignment tells __aligned_u64 from __u64, which i386 aligns to 4. A line that
# begins with a tab belongs to the one above.
layouts='
iommu_hwpt_alloc 48 8 size:0:4 flags:4:4 dev_id:8:4 pt_id:12:4 out_hwpt_id:16:4 __reserved:20:4
	data_type:24:4 data_len:28:4 data_uptr:32:8 fault_id:40:4 __reserved2:44:4
iommu_hwpt_invalidate 32 8 size:0:4 hwpt_id:4:4 data_uptr:8:8 data_type:16:4 entry_len:20:4
	entry_num:24:4 __reserved:28:4
iommu_hw_info 40 8 size:0:4 flags:4:4 dev_id:8:4 data_len:12:4 data_uptr:16:8 in_data_type:24:4
	out_data_type:24:4 out_max_pasid_log2:28:1 __reserved:29:3 out_capabilities:32:8
iommu_ioas_map_file 40 8 size:0:4 flags:4:4 ioas_id:8:4 fd:12:4 start:16:8 length:24:8 iova:32:8
iommu_ioas_change_process 8 4 size:0:4 __reserved:4:4
iommu_viommu_alloc 40 8 size:0:4 flags:4:4 type:8:4 dev_id:12:4 hwpt_id:16:4 out_viommu_id:20:4
	data_len:24:4 __reserved:28:4 data_uptr:32:8
iommu_vdevice_alloc 24 8 size:0:4 viommu_id:4:4 dev_id:8:4 out_vdevice_id:12:4 virt_id:16:8
iommu_veventq_alloc 32 4 size:0:4 flags:4:4 viommu_id:8:4 type:12:4 veventq_depth:16:4
	out_veventq_id:20:4 out_veventq_fd:24:4 __reserved:28:4
iommu_hw_queue_alloc 40 8 size:0:4 flags:4:4 viommu_id:8:4 type:12:4 index:16:4 out_hw_queue_id:20:4
	nesting_parent_iova:24:8 length:32:8
iommu_hwpt_arm_smmuv3 16 8 ste:0:16
iommu_viommu_arm_smmuv3_invalidate 16 8 cmd:0:16
iommu_hw_info_arm_smmuv3 40 4 flags:0:4 __reserved:4:4 idr:8:24 iidr:32:4 aidr:36:4
iommu_hw_info_tegra241_cmdqv 8 4 flags:0:4 version:4:1 log2vcmdqs:5:1 log2vsids:6:1 __reserved:7:1
iommu_viommu_tegra241_cmdqv 16 8 out_vintf_mmap_offset:0:8 out_vintf_mmap_length:8:8
iommufd_vevent_header 8 4 flags:0:4 sequence:4:4
iommu_vevent_arm_smmuv3 32 8 evt:0:32
iommu_vevent_tegra241_cmdqv 16 8 lvcmdq_err_map:0:16'

# Anything else: what it is, and the number that it must be.
numbers='
IOMMU_GET_HW_INFO 0x3b8a
IOMMU_HWPT_ALLOC 0x3b89
IOMMU_HWPT_INVALIDATE 0x3b8d
IOMMU_IOAS_MAP_FILE 0x3b8f
IOMMU_VIOMMU_ALLOC 0x3b90
IOMMU_VDEVICE_ALLOC 0x3b91
IOMMU_IOAS_CHANGE_PROCESS 0x3b92
IOMMU_VEVENTQ_ALLOC 0x3b93
IOMMU_HW_QUEUE_ALLOC 0x3b94
IOMMU_VIOMMU_TYPE_DEFAULT 0
IOMMU_VIOMMU_TYPE_ARM_SMMUV3 1
IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV 2
IOMMU_VEVENTQ_TYPE_DEFAULT 0
IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 1
IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV 2
IOMMU_HW_QUEUE_TYPE_DEFAULT 0
IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV 1
IOMMU_HWPT_DATA_NONE 0
IOMMU_HWPT_DATA_VTD_S1 1
IOMMU_HWPT_DATA_ARM_SMMUV3 2
IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 0
IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 1
IOMMU_HW_INFO_TYPE_NONE 0
IOMMU_HW_INFO_TYPE_DEFAULT 0
IOMMU_HW_INFO_TYPE_INTEL_VTD 1
IOMMU_HW_INFO_TYPE_ARM_SMMUV3 2
IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV 3
IOMMU_HW_INFO_FLAG_INPUT_TYPE 1
IOMMU_VEVENTQ_FLAG_LOST_EVENTS 1
IOMMU_HW_CAP_DIRTY_TRACKING 1
IOMMU_HW_CAP_PCI_PASID_EXEC 2
IOMMU_HW_CAP_PCI_PASID_PRIV 4
IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED 8'

# asserts: C that does not compile where the header is otherwise
asserts()
{
	local s size align f name at len

	echo '#include <linux/iommufd.h>'
	echo '#ifdef __cplusplus'
	echo '#define A(x) static_assert(x, #x)'
	echo '#define ALIGN alignof'
	echo '#else'
	echo '#define A(x) _Static_assert(x, #x)'
	echo '#define ALIGN _Alignof'
	echo '#endif'
	while read -r s size align f; do
		[ -n "$s" ] || continue
		echo "A(sizeof(struct $s) == $size);"
		echo "A(ALIGN(struct $s) == $align);"
		for f in $f; do
			IFS=: read -r name at len <<< "$f"
			echo "A(__builtin_offsetof(struct $s, $name) == $at);"
			echo "A(sizeof(((struct $s *)0)->$name) == $len);"
		done
	done <<< "${layouts//$'\n\t'/ }"
	while read -r name at; do
		[ -z "$name" ] || echo "A($name == $at);"
	done <<< "$numbers"
}

# The number of an ioctl that belongs to somebody else
foreign()
{
	! grep -E '^[[:space:]]*IOMMUFD_CMD_.*= *0x95\b' "$1"
}

headers()	# <arch>
{
	make -s -C "$each" O="$scratch/obj-$1" ARCH="$1" \
		INSTALL_HDR_PATH="$scratch/$1" headers_install
}

# compile <include directory> <file> compiler...: with nothing of a C library
compile()
{
	local dir=$1 file=$2

	shift 2
	"$@" -nostdinc -isystem "$dir" -Wall -Wextra -Werror -Wno-comment -fsyntax-only "$file"
}

alone()
{
	echo '#include <linux/iommufd.h>' > "$scratch/alone.c"
	# Given as a file as well, so that its own warnings are no system header's.
	compile "$1" "$1/linux/iommufd.h" "${@:2}" -x "$lang" &&
	compile "$1" "$scratch/alone.c" "${@:2}" -x "$lang"
}

x86=x86_64-linux-gnu-
arm64=aarch64-linux-gnu-
if ! check "headers_install for arm64" headers arm64 ||
   ! check "headers_install for x86" headers x86; then
	exit
fi
header=$scratch/arm64/include/linux/iommufd.h
a=$scratch/arm64/include
x=$scratch/x86/include
check "both install the same header" cmp "$header" "$x/linux/iommufd.h"
check "0x95 is free" foreign "$header"
asserts > "$scratch/asserts.c"
cp "$scratch/asserts.c" "$scratch/asserts.cc"
what="$(grep -c '^A(' "$scratch/asserts.c") sizes, offsets and numbers"

# The kernel tests its own headers as C90; pedantic takes C11, for anonymous unions.
lang=c
check "arm64, C90" alone "$a" ${arm64}gcc -std=c90
check "arm64, C11 pedantic" alone "$a" ${arm64}gcc -std=c11 -pedantic
check "64-bit, C11 pedantic" alone "$x" ${x86}gcc -m64 -std=c11 -pedantic
check "32-bit, C90" alone "$x" ${x86}gcc -m32 -std=c90
check "32-bit, C11 pedantic" alone "$x" ${x86}gcc -m32 -std=c11 -pedantic
lang=c++
check "64-bit, C++11 pedantic" alone "$x" ${x86}g++ -m64 -std=c++11 -pedantic
check "32-bit, C++11 pedantic" alone "$x" ${x86}g++ -m32 -std=c++11 -pedantic
check "64-bit, C++20" alone "$x" ${x86}g++ -m64 -std=c++20
check "arm64: $what" compile "$a" "$scratch/asserts.c" ${arm64}gcc -std=c11
check "64-bit: $what" compile "$x" "$scratch/asserts.c" ${x86}gcc -m64 -std=c11
check "32-bit: $what" compile "$x" "$scratch/asserts.c" ${x86}gcc -m32 -std=c11
check "64-bit, C++: $what" compile "$x" "$scratch/asserts.cc" ${x86}g++ -m64 -std=c++11
check "32-bit, C++: $what" compile "$x" "$scratch/asserts.cc" ${x86}g++ -m32 -std=c++11

# --- the page that has it
rst=$top/Documentation/uapi.rst
page()
{
	"$top/scripts/uapi" - | diff - "$1"
}
check "uapi.rst is what 'make refresh' makes of the header" page "$rst"
sed 's/CMD_VIOMMU_ALLOC = 0x90/CMD_VIOMMU_ALLOC = 0x96/' "$rst" > "$scratch/uapi.rst"
stale()
{
	! page "$scratch/uapi.rst"
}
check "uapi.rst: a stale page is noticed" stale

# --- a header that is otherwise is noticed
passes_not()
{
	! compile "$x" "$scratch/asserts.c" ${x86}gcc -m32 -std=c11
}
notices()	# <name> <sed script>
{
	sed "$2" "$header" > "$x/linux/iommufd.h"
	if cmp -s "$header" "$x/linux/iommufd.h"; then
		not_ok "$1: nothing was changed"
	else
		check "noticed: $1" passes_not
	fi
}
notices "an u64 that 32-bit programs align otherwise" \
	'/^struct iommu_vdevice_alloc /,/^}/s/__aligned_u64/__u64/'
notices "a field more" '/^struct iommu_veventq_alloc /,/^}/s/__u32 type;/& __u32 more;/'
notices "two fields exchanged" \
	'/^struct iommu_viommu_alloc /,/^}/{s/dev_id/tmp/;s/hwpt_id/dev_id/;s/tmp/hwpt_id/}'
notices "another ioctl number" 's/CMD_VIOMMU_ALLOC = 0x90/CMD_VIOMMU_ALLOC = 0x96/'
notices "another value of an enum" 's/TYPE_ARM_SMMUV3 = 1,/TYPE_ARM_SMMUV3 = 4,/'
