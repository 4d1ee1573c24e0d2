// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands that a guest asks the host to issue
 *
 * They end up on the command queue that all devices of the SMMU share, and an
 * illegal one halts that queue (IHI0070 4.1.3). So a command passes only if its
 * opcode is in the table below, and every bit that is set in it belongs to a
 * field which that opcode has and this SMMU implements.
 *
 * Nothing here touches hardware or memory besides its arguments.
 */
#include <kunit/visibility.h>
#include <linux/sizes.h>

#include "arm-smmu-v3-vcmd.h"

struct arm_smmu_vcmd_op {
	u8 opcode;
	u8 kind;
	/* Fields on an SMMU that implements all of them */
	u64 fields[CMDQ_ENT_DWORDS];
};

/*
 * IHI0070 4.4.1.1: five bits of SCALE reach 48-bit addresses with 4 KiB granules.
 * SMMU_IDR5.DS brings 52-bit addresses, and a sixth bit. The host itself uses five.
 */
#define TLBI_0_SCALE_DS	BIT_ULL(25)
#define TLBI_0_SCALE	(CMDQ_TLBI_0_SCALE | TLBI_0_SCALE_DS)
/* 2^39 granules of 4 KiB are half of a 52-bit address space */
#define TLBI_SCALE_MAX	39

#define TLBI_0_RANGE	(CMDQ_TLBI_0_NUM | TLBI_0_SCALE)
#define TLBI_1_RANGE	(CMDQ_TLBI_1_TTL | CMDQ_TLBI_1_TG)

/* IHI0070 4.3 (CFGI), 4.4 (TLBI), 4.5 (ATC_INV). SSec is never allowed. */
static const struct arm_smmu_vcmd_op arm_smmu_vcmd_ops[] = {
	{
		.opcode = CMDQ_OP_CFGI_CD,
		.kind = ARM_SMMU_VCMD_SID,
		.fields = { CMDQ_CFGI_0_SSID | CMDQ_CFGI_0_SID,
			    CMDQ_CFGI_1_LEAF },
	}, {
		.opcode = CMDQ_OP_CFGI_CD_ALL,
		.kind = ARM_SMMU_VCMD_SID,
		.fields = { CMDQ_CFGI_0_SID, 0 },
	}, {
		.opcode = CMDQ_OP_TLBI_NH_ALL,
		.kind = ARM_SMMU_VCMD_VMID,
		.fields = { CMDQ_TLBI_0_VMID, 0 },
	}, {
		.opcode = CMDQ_OP_TLBI_NH_ASID,
		.kind = ARM_SMMU_VCMD_VMID,
		.fields = { CMDQ_TLBI_0_VMID | CMDQ_TLBI_0_ASID, 0 },
	}, {
		.opcode = CMDQ_OP_TLBI_NH_VA,
		.kind = ARM_SMMU_VCMD_RANGE,
		.fields = { TLBI_0_RANGE | CMDQ_TLBI_0_VMID | CMDQ_TLBI_0_ASID,
			    CMDQ_TLBI_1_LEAF | TLBI_1_RANGE |
			    CMDQ_TLBI_1_VA_MASK },
	}, {
		.opcode = CMDQ_OP_TLBI_NH_VAA,
		.kind = ARM_SMMU_VCMD_RANGE,
		.fields = { TLBI_0_RANGE | CMDQ_TLBI_0_VMID,
			    CMDQ_TLBI_1_LEAF | TLBI_1_RANGE |
			    CMDQ_TLBI_1_VA_MASK },
	}, {
		.opcode = CMDQ_OP_TLBI_NSNH_ALL,
		.kind = ARM_SMMU_VCMD_NSNH,
	}, {
		.opcode = CMDQ_OP_ATC_INV,
		.kind = ARM_SMMU_VCMD_ATC,
		.fields = { CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL | CMDQ_ATC_0_SSID |
			    CMDQ_ATC_0_SID,
			    CMDQ_ATC_1_SIZE | CMDQ_ATC_1_ADDR_MASK },
	},
};

static_assert(ARRAY_SIZE(arm_smmu_vcmd_ops) == ARM_SMMU_VCMD_OPCODES);

/**
 * arm_smmu_vcmd_init_rules - Work out the command set of a vSMMU
 * @rules: Where to put it
 * @caps: What the physical SMMU implements
 *
 * Context: Any.
 */
void arm_smmu_vcmd_init_rules(struct arm_smmu_vcmd_rules *rules,
			      const struct arm_smmu_vcmd_caps *caps)
{
	u64 ssid = 0;
	unsigned int i;

	if (caps->ssid_bits)
		ssid = GENMASK_ULL(11 + caps->ssid_bits, 12);

	memset(rules, 0, sizeof(*rules));
	rules->pgsize_bitmap = caps->pgsize_bitmap;
	rules->ssid_bits = caps->ssid_bits;
	rules->ds = caps->ds;

	for (i = 0; i < ARRAY_SIZE(arm_smmu_vcmd_ops); i++) {
		const struct arm_smmu_vcmd_op *op = &arm_smmu_vcmd_ops[i];
		struct arm_smmu_vcmd_rule *rule = &rules->rule[i + 1];
		/*
		 * Fields with rules of their own. With CMDQ_0_OP among them,
		 * arm_smmu_vcmd_translate_slow() gets every such command.
		 */
		u64 special[CMDQ_ENT_DWORDS] = {};
		u64 missing[CMDQ_ENT_DWORDS] = {};

		switch (op->kind) {
		case ARM_SMMU_VCMD_ATC:
			if (!caps->ats)
				continue;
			if (!caps->ssid_bits)
				missing[0] |= CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL |
					      CMDQ_ATC_0_SSID;
			special[0] = CMDQ_0_OP;
			break;
		case ARM_SMMU_VCMD_SID:
			missing[0] |= CMDQ_CFGI_0_SSID & ~ssid;
			special[0] = CMDQ_0_OP;
			break;
		case ARM_SMMU_VCMD_NSNH:
			special[0] = CMDQ_0_OP;
			break;
		case ARM_SMMU_VCMD_RANGE:
			special[0] = TLBI_0_RANGE;
			special[1] = TLBI_1_RANGE;
			if (!caps->ril) {
				missing[0] |= TLBI_0_RANGE;
				missing[1] |= TLBI_1_RANGE;
			}
			if (!caps->ds)
				missing[0] |= TLBI_0_SCALE_DS;
			fallthrough;
		case ARM_SMMU_VCMD_VMID:
			missing[0] |= CMDQ_TLBI_0_ASID &
				      ~GENMASK_ULL(47 + caps->asid_bits, 48);
			break;
		}

		rules->index[op->opcode] = i + 1;
		rule->kind = op->kind;
		rule->allowed[0] = op->opcode | (op->fields[0] & ~missing[0]);
		rule->allowed[1] = op->fields[1] & ~missing[1];
		rule->slow[0] = ~rule->allowed[0] | special[0];
		rule->slow[1] = ~rule->allowed[1] | special[1];
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_vcmd_init_rules);

/*
 * IHI0070 4.4.1.1: TG 0 means that there is neither a range nor a level hint.
 * With TG, a NUM, SCALE and TTL of 0 together are reserved, and so is a TTL of 1
 * with 16 KiB granules where level 1 has no blocks. No address space needs a SCALE
 * above TLBI_SCALE_MAX, so do not find out what an SMMU makes of one.
 */
static bool arm_smmu_vcmd_range_ok(const struct arm_smmu_vcmd_rules *rules,
				   const u64 *cmd)
{
	u64 range = cmd[0] & TLBI_0_RANGE;
	u64 ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd[1]);

	if (FIELD_GET(TLBI_0_SCALE, cmd[0]) > TLBI_SCALE_MAX)
		return false;

	switch (FIELD_GET(CMDQ_TLBI_1_TG, cmd[1])) {
	case 0:
		return !range && !ttl;
	case 1:
		return rules->pgsize_bitmap & SZ_4K && (range || ttl);
	case 2:
		return rules->pgsize_bitmap & SZ_16K && (range || ttl) &&
		       (ttl != 1 || rules->ds);
	default:
		return rules->pgsize_bitmap & SZ_64K && (range || ttl);
	}
}

/* All that arm_smmu_vcmd_translate() cannot do at a glance */
enum arm_smmu_vcmd_kind
arm_smmu_vcmd_translate_slow(const struct arm_smmu_vcmd_rules *rules, u64 *cmd,
			     u16 vmid)
{
	const struct arm_smmu_vcmd_rule *rule = arm_smmu_vcmd_rule(rules, cmd);

	if (cmd[0] & ~rule->allowed[0] || cmd[1] & ~rule->allowed[1])
		return ARM_SMMU_VCMD_REFUSED;

	switch (rule->kind) {
	case ARM_SMMU_VCMD_NSNH:
		/* The guest must not reach further than its own VMID */
		u64p_replace_bits(&cmd[0], CMDQ_OP_TLBI_NH_ALL, CMDQ_0_OP);
		break;
	case ARM_SMMU_VCMD_RANGE:
		if (!arm_smmu_vcmd_range_ok(rules, cmd))
			return ARM_SMMU_VCMD_REFUSED;
		break;
	case ARM_SMMU_VCMD_ATC:
		if (FIELD_GET(CMDQ_ATC_1_SIZE, cmd[1]) > ATC_INV_SIZE_ALL)
			return ARM_SMMU_VCMD_REFUSED;
		/* The SMMU ignores both if SSV is 0 (IHI0070 4.5.1) */
		if (!(cmd[0] & CMDQ_0_SSV))
			cmd[0] &= ~(CMDQ_ATC_0_SSID | CMDQ_ATC_0_GLOBAL);
		if (!arm_smmu_vcmd_ssid_fits(cmd, rules->ssid_bits))
			return ARM_SMMU_VCMD_REFUSED;
		return rule->kind;
	case ARM_SMMU_VCMD_VMID:
		break;
	default:
		return rule->kind;
	}

	arm_smmu_vcmd_set_vmid(cmd, vmid);
	return rule->kind;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_vcmd_translate_slow);
