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

/* How many opcodes a guest may use at most: those of arm_smmu_vcmd_ops */
#define ARM_SMMU_VCMD_OPCODES		8

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

/*
 * What becomes of an accepted command. The kinds from ARM_SMMU_VCMD_SID on name a
 * stream: arm_vsmmu_issue_block() puts them in order, and arm_vsmmu_translate_sids()
 * replaces their vSIDs. A command of a kind for which arm_smmu_vcmd_init_rules() has
 * no case is issued as one that only lacks the guest's VMID.
 */
enum arm_smmu_vcmd_kind {
	/* Zero: the opcode is not for guests */
	ARM_SMMU_VCMD_REFUSED,
	/* All that is cached under the guest's VMID */
	ARM_SMMU_VCMD_NSNH,
	/* Stage 1 of the guest's VMID */
	ARM_SMMU_VCMD_VMID,
	/* Stage 1 of the guest's VMID, by address: a range has rules of its own */
	ARM_SMMU_VCMD_RANGE,
	/* About a stream */
	ARM_SMMU_VCMD_SID,
	/* About a stream's ATC */
	ARM_SMMU_VCMD_ATC,
};

/**
 * struct arm_smmu_vcmd_rule - What a command may carry on one SMMU
 * @allowed: Bits that may be set in each double word, the opcode included
 * @slow: Bits that are not in @allowed, and bits with further rules. A command with
 *	  none of these bits set only needs the guest's VMID.
 * @kind: enum arm_smmu_vcmd_kind
 */
struct arm_smmu_vcmd_rule {
	u64 allowed[CMDQ_ENT_DWORDS];
	u64 slow[CMDQ_ENT_DWORDS];
	u8 kind;
};

/**
 * struct arm_smmu_vcmd_rules - The command set of one vSMMU
 * @index: Index into @rule by opcode
 * @rule: The first one is for all opcodes that a guest must not use
 * @pgsize_bitmap: As in &struct arm_smmu_vcmd_caps
 * @ssid_bits: As in &struct arm_smmu_vcmd_caps
 * @ds: As in &struct arm_smmu_vcmd_caps
 */
struct arm_smmu_vcmd_rules {
	/* Takes any opcode: nothing to check, and nothing to speculate past */
	u8 index[CMDQ_0_OP + 1];
	struct arm_smmu_vcmd_rule rule[1 + ARM_SMMU_VCMD_OPCODES];
	unsigned long pgsize_bitmap;
	u8 ssid_bits;
	bool ds;
};

void arm_smmu_vcmd_init_rules(struct arm_smmu_vcmd_rules *rules,
			      const struct arm_smmu_vcmd_caps *caps);
enum arm_smmu_vcmd_kind
arm_smmu_vcmd_translate_slow(const struct arm_smmu_vcmd_rules *rules, u64 *cmd,
			     u16 vmid);

static inline const struct arm_smmu_vcmd_rule *
arm_smmu_vcmd_rule(const struct arm_smmu_vcmd_rules *rules, const u64 *cmd)
{
	return &rules->rule[rules->index[FIELD_GET(CMDQ_0_OP, cmd[0])]];
}

/* What an accepted command is; it may be translated already */
static inline enum arm_smmu_vcmd_kind
arm_smmu_vcmd_kind(const struct arm_smmu_vcmd_rules *rules, const u64 *cmd)
{
	return arm_smmu_vcmd_rule(rules, cmd)->kind;
}

static inline void arm_smmu_vcmd_set_vmid(u64 *cmd, u16 vmid)
{
	u64p_replace_bits(&cmd[0], vmid, CMDQ_TLBI_0_VMID);
}

/**
 * arm_smmu_vcmd_translate - Make a guest's command one for the physical SMMU
 * @rules: The command set of the guest's vSMMU
 * @cmd: The command in CPU byte order. If it is accepted it comes back for the
 *       guest's VMID; the vSID of a command that has one is left in it.
 * @vmid: The guest's VMID
 *
 * Context: Any.
 *
 * Return: ARM_SMMU_VCMD_REFUSED if the command must not be issued,
 * ARM_SMMU_VCMD_SID or ARM_SMMU_VCMD_ATC if the caller still has to replace the
 * vSID, and any other kind if the command is ready.
 */
static __always_inline enum arm_smmu_vcmd_kind
arm_smmu_vcmd_translate(const struct arm_smmu_vcmd_rules *rules, u64 *cmd,
			u16 vmid)
{
	const struct arm_smmu_vcmd_rule *rule = arm_smmu_vcmd_rule(rules, cmd);

	/* Guests send little else than these, and many of them at a time */
	if (likely(rule->kind && !((cmd[0] & rule->slow[0]) |
				   (cmd[1] & rule->slow[1])))) {
		arm_smmu_vcmd_set_vmid(cmd, vmid);
		return ARM_SMMU_VCMD_VMID;
	}
	return arm_smmu_vcmd_translate_slow(rules, cmd, vmid);
}

static inline u32 arm_smmu_vcmd_sid(const u64 *cmd)
{
	return FIELD_GET(CMDQ_CFGI_0_SID, cmd[0]);
}

static inline void arm_smmu_vcmd_set_sid(u64 *cmd, u32 sid)
{
	u64p_replace_bits(&cmd[0], sid, CMDQ_CFGI_0_SID);
}

/**
 * arm_smmu_vcmd_ssid_fits - Check the substream of an ATC_INV
 * @cmd: The ATC_INV
 * @ssid_bits: Width of the SubstreamIDs of the SMMU or of the device, 0 if it has
 *             none
 *
 * Return: false if the command names a substream that does not exist.
 */
static inline bool arm_smmu_vcmd_ssid_fits(const u64 *cmd,
					   unsigned int ssid_bits)
{
	if (!(cmd[0] & CMDQ_0_SSV))
		return true;
	return ssid_bits && !(FIELD_GET(CMDQ_ATC_0_SSID, cmd[0]) >> ssid_bits);
}

#endif
