// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest of a VM with a vSMMU writes: context descriptors, stage 1
 * tables, the words of an STE that are its own, and commands.
 */
#include <endian.h>
#include <string.h>

#include "smmuv3_lib.h"

/* IHI0070 section 5.4. Walks are inner shareable and write-back cacheable. */
#define CD_0_T0SZ(va_bits)	(64ULL - (va_bits))
#define CD_0_TG0_4K		(0ULL << 6)
#define CD_0_IR0_WBRA		_BITULL(8)
#define CD_0_OR0_WBRA		_BITULL(10)
#define CD_0_SH0_ISH		(3ULL << 12)
#define CD_0_EPD1		_BITULL(30)
#define CD_0_IPS_40		(2ULL << 32)
#define CD_0_AA64		_BITULL(41)
#define CD_0_A			_BITULL(46)
#define CD_0_ASET		_BITULL(47)
#define CD_0_ASID(asid)		((__u64)(asid) << 48)
#define CD_3_MAIR_WB		0xffULL

void s1_write_cd(struct s1 *s1)
{
	__le64 *cd = vm_ptr(s1->vm, s1->cd);

	memset(cd, 0, 64);
	cd[1] = htole64(s1->ttb);
	cd[3] = htole64(CD_3_MAIR_WB);
	cd[0] = htole64(CD_0_T0SZ(48) | CD_0_TG0_4K | CD_0_IR0_WBRA |
			CD_0_OR0_WBRA | CD_0_SH0_ISH | CD_0_EPD1 | CD_0_V |
			CD_0_IPS_40 | CD_0_AA64 | CD_0_R | CD_0_A | CD_0_ASET |
			CD_0_ASID(s1->asid));
}

void s1_init(struct s1 *s1, struct vm *vm, __u16 asid)
{
	s1->vm = vm;
	s1->asid = asid;
	s1->cd = vm_alloc(vm, 1);
	s1->ttb = vm_alloc(vm, 1);
	s1_write_cd(s1);
}

__le64 *s1_entry(struct s1 *s1, __u64 va, int level)
{
	__le64 *table = vm_ptr(s1->vm, s1->ttb);
	int shift;

	for (shift = 39; shift > 39 - 9 * level; shift -= 9) {
		__le64 *pte = &table[(va >> shift) & 511];

		if (!*pte)
			*pte = htole64(vm_alloc(s1->vm, 1) | PTE_TABLE |
				       PTE_VALID);
		table = vm_ptr(s1->vm, le64toh(*pte) & PTE_ADDR);
	}
	return &table[(va >> shift) & 511];
}

void s1_map_flip(struct s1 *s1, __u64 va, __u64 gpa, __u64 flip)
{
	__u64 pte = gpa | PTE_NG | PTE_AF | PTE_SH_ISH | PTE_AP_UNPRIV |
		    PTE_TABLE | PTE_VALID;

	*s1_entry(s1, va, 3) = htole64(pte ^ flip);
}

void s1_map(struct s1 *s1, __u64 va, __u64 gpa)
{
	s1_map_flip(s1, va, gpa, 0);
}

void s1_unmap(struct s1 *s1, __u64 va)
{
	*s1_entry(s1, va, 3) = 0;
}

static struct iommu_hwpt_arm_smmuv3 vste(__u64 word0, __u64 word1)
{
	return (struct iommu_hwpt_arm_smmuv3){
		.ste = { htole64(word0), htole64(word1) },
	};
}

struct iommu_hwpt_arm_smmuv3 vste_s1(const struct s1 *s1)
{
	return vste(VSTE_0_V | VSTE_0_CFG_S1 | s1->cd,
		    VSTE_1_S1CIR_WBRA | VSTE_1_S1COR_WBRA | VSTE_1_S1CSH_ISH);
}

struct iommu_hwpt_arm_smmuv3 vste_bypass(void)
{
	return vste(VSTE_0_V | VSTE_0_CFG_BYPASS, 0);
}

struct iommu_hwpt_arm_smmuv3 vste_abort(void)
{
	return vste(VSTE_0_V | VSTE_0_CFG_ABORT, 0);
}

struct iommu_hwpt_arm_smmuv3 vste_invalid(void)
{
	return vste(0, 0);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_raw(__u64 dw0, __u64 dw1)
{
	return (struct iommu_viommu_arm_smmuv3_invalidate){
		.cmd = { htole64(dw0), htole64(dw1) },
	};
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_cfgi_cd(__u32 vsid)
{
	return cmd_raw(CMD_CFGI_CD | (__u64)vsid << 32, CMD_1_LEAF);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_cfgi_cd_all(__u32 vsid)
{
	return cmd_raw(CMD_CFGI_CD_ALL | (__u64)vsid << 32, 0);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_all(void)
{
	return cmd_raw(CMD_TLBI_NH_ALL, 0);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_asid(__u16 asid)
{
	return cmd_raw(CMD_TLBI_NH_ASID | (__u64)asid << 48, 0);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_va(__u16 asid, __u64 va)
{
	return cmd_raw(CMD_TLBI_NH_VA | (__u64)asid << 48,
		       (va & ~(GUEST_PAGE - 1)) | CMD_1_LEAF);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nh_vaa(__u64 va)
{
	return cmd_raw(CMD_TLBI_NH_VAA, (va & ~(GUEST_PAGE - 1)) | CMD_1_LEAF);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_tlbi_nsnh_all(void)
{
	return cmd_raw(CMD_TLBI_NSNH_ALL, 0);
}

struct iommu_viommu_arm_smmuv3_invalidate
cmd_tlbi_nh_va_range(__u16 asid, __u64 va, unsigned int pages)
{
	/* (NUM + 1) * 2^SCALE pages of 4 KiB whose leaves are at level 3 */
	return cmd_raw(CMD_TLBI_NH_VA | CMD_0_NUM(pages - 1) |
		       (__u64)asid << 48,
		       (va & ~(GUEST_PAGE - 1)) | CMD_1_TG(1) | CMD_1_TTL(3) |
		       CMD_1_LEAF);
}
