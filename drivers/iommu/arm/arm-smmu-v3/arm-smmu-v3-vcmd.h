/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Commands that a guest asks the host to issue
 */
#ifndef _ARM_SMMU_V3_VCMD_H
#define _ARM_SMMU_V3_VCMD_H

#include <linux/types.h>

#include "arm-smmu-v3.h"

struct iommufd_viommu;
struct iommu_user_data_array;

/* One past the highest opcode that a guest may use */
#define ARM_SMMU_VCMD_OPCODES		(CMDQ_OP_ATC_INV + 1)

/**
 * struct arm_smmu_vcmd_caps - What decides which bits a command may carry
 * @pgsize_bitmap: Has SZ_4K, SZ_16K, SZ_64K where the SMMU has that granule
 * @asid_bits: 8 or 16
 * @ssid_bits: 0 to 20; 0 means no substreams
 * @ril: Range invalidation and level hints (SMMU_IDR3.RIL)
 * @ds: 52-bit addresses with small granules (SMMU_IDR5.DS)
 * @ats: SMMU_IDR0.ATS
 */
struct arm_smmu_vcmd_caps {
	unsigned long pgsize_bitmap;
	u8 asid_bits;
	u8 ssid_bits;
	bool ril;
	bool ds;
	bool ats;
};

/* What becomes of an accepted command */
enum arm_smmu_vcmd_kind {
	/* Zero: the opcode is not for guests */
	ARM_SMMU_VCMD_REFUSED,
	/* All that is cached under the guest's VMID */
	ARM_SMMU_VCMD_NSNH,
	/* Stage 1 of the guest's VMID */
	ARM_SMMU_VCMD_VMID,
	/* The same by address, where a range has rules of its own */
	ARM_SMMU_VCMD_RANGE,
	/* About a stream */
	ARM_SMMU_VCMD_SID,
	/* About a stream's ATC */
	ARM_SMMU_VCMD_ATC,
};

/**
 * struct arm_smmu_vcmd_rule - What a command may carry on one SMMU
 * @allowed: Bits that may be set in each double word, the opcode included
 * @kind: enum arm_smmu_vcmd_kind
 */
struct arm_smmu_vcmd_rule {
	u64 allowed[CMDQ_ENT_DWORDS];
	u8 kind;
};

/**
 * struct arm_smmu_vcmd_rules - The command set of one vSMMU
 * @rule: By opcode
 * @pgsize_bitmap: As in &struct arm_smmu_vcmd_caps
 * @ds: As in &struct arm_smmu_vcmd_caps
 */
struct arm_smmu_vcmd_rules {
	struct arm_smmu_vcmd_rule rule[ARM_SMMU_VCMD_OPCODES];
	unsigned long pgsize_bitmap;
	bool ds;
};

void arm_smmu_vcmd_init_rules(struct arm_smmu_vcmd_rules *rules,
			      const struct arm_smmu_vcmd_caps *caps);
enum arm_smmu_vcmd_kind
arm_smmu_vcmd_translate(const struct arm_smmu_vcmd_rules *rules, u64 *cmd,
			u16 vmid);

/* What an accepted command is; it may be translated already */
static inline enum arm_smmu_vcmd_kind
arm_smmu_vcmd_kind(const struct arm_smmu_vcmd_rules *rules, const u64 *cmd)
{
	return rules->rule[FIELD_GET(CMDQ_0_OP, cmd[0])].kind;
}

static inline u32 arm_smmu_vcmd_sid(const u64 *cmd)
{
	return FIELD_GET(CMDQ_CFGI_0_SID, cmd[0]);
}

static inline void arm_smmu_vcmd_set_sid(u64 *cmd, u32 sid)
{
	u64p_replace_bits(&cmd[0], sid, CMDQ_CFGI_0_SID);
}

#endif
