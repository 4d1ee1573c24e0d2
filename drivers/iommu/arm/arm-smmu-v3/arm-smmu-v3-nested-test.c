// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a vSTE may say, the STE that becomes of it, and how one STE becomes another
 *
 * Bits and words are written out as IHI0070 5.2 numbers them, not taken from the
 * driver's masks.
 */
#include <kunit/test.h>
#include <linux/io-pgtable.h>
#include <linux/of.h>

#include "arm-smmu-v3-nested.h"

/* V, stage 1 translation, 64 KiB second level, a context pointer, 2^10 CDs */
#define GUEST_STE_0	0x500fedcba987656bULL
/* The same as the hardware gets it: both stages */
#define NESTED_STE_0	0x500fedcba987656fULL
/* S1DSS 2, S1CIR 1, S1COR 2, S1CSH 3 */
#define GUEST_STE_1	0xe6ULL
#define STE_MEV		0x0000000000080000ULL
#define STE_S2FWB	0x0000000002000000ULL
#define STE_S1STALLD	0x0000000008000000ULL
#define STE_EATS_1	0x0000000010000000ULL
#define STE_SHCFG_1	0x0000100000000000ULL
/* S2TTB of the tables below */
#define STE_S2TTB	0x000a987654321000ULL
/* S2R, S2PTW, S2AA64 and VTCR: 48-bit PA, ISH, WBWA, WBWA, SL0 1, T0SZ 24 */
#define STE_S2_CONFIG	0x044d355800000000ULL
#define STE_S2ENDI	0x0010000000000000ULL

#define PARENT_VMID	0x0bad
#define GUEST_VMID	0x7e57
#define OTHER_VMID	0x0123

static u64 s2_config(u16 vmid)
{
	return STE_S2_CONFIG | vmid |
	       (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN) ? STE_S2ENDI : 0);
}

/*
 * What a vSTE may say
 */

static int parse(u64 word0, u64 word1, __le64 *ste)
{
	struct iommu_hwpt_arm_smmuv3 vste = {
		.ste = { cpu_to_le64(word0), cpu_to_le64(word1) },
	};

	/* What is left over in it must not come through */
	ste[0] = cpu_to_le64(~0ULL);
	ste[1] = cpu_to_le64(~0ULL);
	return arm_smmu_vste_parse(&vste, ste);
}

/* V, Config, S1Fmt, S1ContextPtr, S1CDMax; S1DSS, S1CIR, S1COR, S1CSH, ... */
static bool vste_bit_allowed(unsigned int bit)
{
	return bit <= 5 || (bit >= 6 && bit <= 51) ||
	       (bit >= 59 && bit <= 63) ||
	       (bit >= 64 + 0 && bit <= 64 + 7) ||
	       bit == 64 + 27 ||	/* S1STALLD */
	       bit == 64 + 28;		/* EATS 1, but not 2 or 3 */
}

static void nested_test_vste_bits(struct kunit *test)
{
	static const u64 good[][2] = {
		{ 0xbULL, 0 },		/* V, stage 1 */
		{ 0x9ULL, 0 },		/* V, bypass */
		{ 0x1ULL, 0 },		/* V, abort */
		{ GUEST_STE_0, GUEST_STE_1 | STE_S1STALLD },
	};
	unsigned int i, bit, allowed = 0;
	__le64 ste[2];

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		KUNIT_ASSERT_EQ(test, 0, parse(good[i][0], good[i][1], ste));

		for (bit = 0; bit < 128; bit++) {
			u64 vste[2] = { good[i][0], good[i][1] };

			/* V and Config have tests of their own */
			if (bit <= 3)
				continue;
			vste[bit / 64] |= 1ULL << (bit % 64);
			KUNIT_EXPECT_EQ_MSG(test,
					    vste_bit_allowed(bit) ? 0 : -EIO,
					    parse(vste[0], vste[1], ste),
					    "vSTE %u, bit %u", i, bit);
			allowed += vste_bit_allowed(bit);
		}
	}
	/* 48 and 5 bits besides V and Config, 8, and 2 */
	KUNIT_EXPECT_EQ(test, allowed, ARRAY_SIZE(good) * (48 + 5 + 8 + 2));
}

static void nested_test_vste_config_eats(struct kunit *test)
{
	unsigned int cfg, eats;
	__le64 ste[2];

	for (cfg = 0; cfg < 8; cfg++)
		for (eats = 0; eats < 4; eats++) {
			u64 word0 = (GUEST_STE_0 & ~0xeULL) | cfg << 1;
			u64 word1 = GUEST_STE_1 | (u64)eats << 28;
			bool ok = (cfg == 0 || cfg == 4 || cfg == 5) &&
				  eats <= 1;

			KUNIT_EXPECT_EQ_MSG(test, ok ? 0 : -EIO,
					    parse(word0, word1, ste),
					    "Config %u EATS %u", cfg, eats);
			if (!ok || !cfg) {
				word0 = 0;
				word1 = 0;
			}
			KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), word0);
			KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), word1);
		}
}

/* Without V the SMMU looks at nothing else, and so do we */
static void nested_test_vste_invalid(struct kunit *test)
{
	__le64 ste[2];
	unsigned int bit;

	for (bit = 0; bit < 128; bit++) {
		u64 lo = bit < 64 ? 1ULL << bit : 0;
		u64 hi = bit < 64 ? 0 : 1ULL << (bit - 64);

		if (!bit)
			continue;
		KUNIT_EXPECT_EQ(test, 0, parse(lo, hi, ste));
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), 0);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), 0);
	}
	KUNIT_EXPECT_EQ(test, 0, parse(0, 0, ste));
	KUNIT_EXPECT_EQ(test, 0, parse(~1ULL, ~0ULL, ste));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), 0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), 0);
}

/*
 * The STE that becomes of it
 */

struct setup {
	struct device dev;
	struct arm_smmu_device smmu;
	struct arm_smmu_master master;
	struct io_pgtable pgtable;
	struct arm_smmu_domain parent;
	struct arm_vsmmu vsmmu;
	struct arm_smmu_nested_domain nested;
};

static int nested_test_init(struct kunit *test)
{
	struct setup *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct io_pgtable_cfg *cfg;

	if (!s)
		return -ENOMEM;

	cfg = &s->pgtable.cfg;
	s->smmu.features = ARM_SMMU_FEAT_NESTING;
	s->master.smmu = &s->smmu;
	/* Bits past the field must not spill */
	cfg->arm_lpae_s2_cfg.vttbr = 0xfff0000000000000ULL | STE_S2TTB;
	cfg->arm_lpae_s2_cfg.vtcr.ps = 5;
	cfg->arm_lpae_s2_cfg.vtcr.tg = 0;
	cfg->arm_lpae_s2_cfg.vtcr.sh = 3;
	cfg->arm_lpae_s2_cfg.vtcr.orgn = 1;
	cfg->arm_lpae_s2_cfg.vtcr.irgn = 1;
	cfg->arm_lpae_s2_cfg.vtcr.sl = 1;
	cfg->arm_lpae_s2_cfg.vtcr.tsz = 24;
	s->parent.pgtbl_ops = &s->pgtable.ops;
	s->parent.smmu = &s->smmu;
	s->parent.stage = ARM_SMMU_DOMAIN_S2;
	s->parent.s2_cfg.vmid = PARENT_VMID;
	s->vsmmu.smmu = &s->smmu;
	s->vsmmu.parent = &s->parent;
	s->vsmmu.s2.vmid = GUEST_VMID;
	s->nested.vsmmu = &s->vsmmu;
	test->priv = s;
	return 0;
}

static void make_ste(struct kunit *test, struct arm_smmu_ste *ste, u64 word0,
		     u64 word1, bool has_vsid, bool ats)
{
	__le64 used[STRTAB_STE_DWORDS] = {};
	struct setup *s = test->priv;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, parse(word0, word1, s->nested.ste));
	memset(ste, 0xff, sizeof(*ste));
	arm_smmu_make_nested_ste(ste, &s->master, &s->nested, has_vsid, ats);

	/* Or a transition to it would go wrong */
	arm_smmu_get_ste_used(ste->data, used);
	for (i = 0; i < STRTAB_STE_DWORDS; i++)
		KUNIT_EXPECT_EQ(test, 0,
				le64_to_cpu(ste->data[i] & ~used[i]));
}

static void expect_ste(struct kunit *test, const struct arm_smmu_ste *ste,
		       u64 word0, u64 word1, u64 word2, u64 word3)
{
	unsigned int i;

	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), word0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[1]), word1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[2]), word2);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[3]), word3);
	for (i = 4; i < STRTAB_STE_DWORDS; i++)
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[i]), 0);
}

static void nested_test_ste_s1(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_ste ste;

	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, true, false);
	expect_ste(test, &ste, NESTED_STE_0, GUEST_STE_1 | STE_MEV,
		   s2_config(GUEST_VMID), STE_S2TTB);

	/* Nothing of stage 1, and all of it */
	make_ste(test, &ste, 0xb, 0, true, false);
	expect_ste(test, &ste, 0xf, STE_MEV, s2_config(GUEST_VMID), STE_S2TTB);
	make_ste(test, &ste, 0xf80ffffffffffffbULL, 0xff, true, false);
	expect_ste(test, &ste, 0xf80fffffffffffffULL, STE_MEV | 0xff,
		   s2_config(GUEST_VMID), STE_S2TTB);

	s->vsmmu.s2.vmid = 0xffff;
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, true, false);
	expect_ste(test, &ste, NESTED_STE_0, GUEST_STE_1 | STE_MEV,
		   s2_config(0xffff), STE_S2TTB);
	s->vsmmu.s2.vmid = 1;
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, true, false);
	expect_ste(test, &ste, NESTED_STE_0, GUEST_STE_1 | STE_MEV,
		   s2_config(1), STE_S2TTB);
}

/* Stage 2 alone, but under the guest's VMID */
static void nested_test_ste_bypass(struct kunit *test)
{
	struct arm_smmu_ste ste;

	make_ste(test, &ste, 0x9, 0, true, false);
	expect_ste(test, &ste, 0xd, STE_MEV, s2_config(GUEST_VMID), STE_S2TTB);

	/* What the guest left there of stage 1 doesn't matter */
	make_ste(test, &ste, (GUEST_STE_0 & ~0xeULL) | 8,
		 GUEST_STE_1 | STE_S1STALLD, true, false);
	expect_ste(test, &ste, 0xd, STE_MEV, s2_config(GUEST_VMID), STE_S2TTB);

	make_ste(test, &ste, 0x9, STE_EATS_1, true, true);
	expect_ste(test, &ste, 0xd, STE_MEV | STE_EATS_1,
		   s2_config(GUEST_VMID), STE_S2TTB);
}

static void nested_test_ste_abort(struct kunit *test)
{
	struct arm_smmu_ste ste;

	make_ste(test, &ste, 0x1, STE_EATS_1, true, false);
	expect_ste(test, &ste, 1, 0, 0, 0);
	make_ste(test, &ste, GUEST_STE_0 & ~0xeULL, GUEST_STE_1, true, false);
	expect_ste(test, &ste, 1, 0, 0, 0);
	/* V=0 would be an error that the SMMU reports */
	make_ste(test, &ste, 0, ~0ULL, true, false);
	expect_ste(test, &ste, 1, 0, 0, 0);
	make_ste(test, &ste, 0, 0, false, false);
	expect_ste(test, &ste, 1, 0, 0, 0);
}

/* A device that the guest doesn't know must not use the guest's tables */
static void nested_test_ste_no_vsid(struct kunit *test)
{
	struct arm_smmu_ste ste;

	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1 | STE_S1STALLD, false,
		 false);
	expect_ste(test, &ste, 0xd, STE_MEV, s2_config(GUEST_VMID), STE_S2TTB);
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1 | STE_EATS_1, false,
		 true);
	expect_ste(test, &ste, 0xd, STE_MEV | STE_EATS_1,
		   s2_config(GUEST_VMID), STE_S2TTB);
}

/* FWB belongs to the parent's tables, not to what the SMMU could do */
static void nested_test_ste_s2fwb(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_ste ste;

	s->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, true, false);
	expect_ste(test, &ste, NESTED_STE_0, GUEST_STE_1 | STE_MEV,
		   s2_config(GUEST_VMID), STE_S2TTB);

	s->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, true, false);
	expect_ste(test, &ste, NESTED_STE_0, GUEST_STE_1 | STE_MEV | STE_S2FWB,
		   s2_config(GUEST_VMID), STE_S2TTB);
	make_ste(test, &ste, 0x9, 0, true, false);
	expect_ste(test, &ste, 0xd, STE_MEV | STE_S2FWB,
		   s2_config(GUEST_VMID), STE_S2TTB);
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, false, false);
	expect_ste(test, &ste, 0xd, STE_MEV | STE_S2FWB,
		   s2_config(GUEST_VMID), STE_S2TTB);
	make_ste(test, &ste, 0x1, 0, true, false);
	expect_ste(test, &ste, 1, 0, 0, 0);
}

static void nested_test_ste_shcfg(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_ste ste;

	s->smmu.features |= ARM_SMMU_FEAT_ATTR_TYPES_OVR;
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, true, false);
	expect_ste(test, &ste, NESTED_STE_0,
		   GUEST_STE_1 | STE_MEV | STE_SHCFG_1, s2_config(GUEST_VMID),
		   STE_S2TTB);
}

/* EATS is what the host found possible, whatever the guest wrote */
static void nested_test_ste_ats(struct kunit *test)
{
	struct arm_smmu_ste ste;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		u64 guest = i & 1 ? STE_EATS_1 : 0;
		u64 host = i & 2 ? STE_EATS_1 : 0;

		make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1 | guest, true,
			 i & 2);
		expect_ste(test, &ste, NESTED_STE_0,
			   GUEST_STE_1 | STE_MEV | host, s2_config(GUEST_VMID),
			   STE_S2TTB);
	}
}

struct stall_case {
	const char *name;
	u32 features;
	bool stall_enabled;
	/* Whatever the guest wants */
	bool s1stalld;
};

static const struct stall_case stall_cases[] = {
	{ "SMMU never stalls", 0, false, false },
	{ "SMMU stalls, device must not", ARM_SMMU_FEAT_STALLS, false, true },
	{ "SMMU and device stall", ARM_SMMU_FEAT_STALLS, true, true },
};

static void stall_case_desc(const struct stall_case *c, char *desc)
{
	strscpy(desc, c->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(stall_case, stall_cases, stall_case_desc);

static void nested_test_ste_stall(struct kunit *test)
{
	const struct stall_case *c = test->param_value;
	u64 s1stalld = c->s1stalld ? STE_S1STALLD : 0;
	u64 s2 = s2_config(GUEST_VMID);
	struct setup *s = test->priv;
	struct arm_smmu_ste ste;

	s->smmu.features |= c->features;
	s->master.stall_enabled = c->stall_enabled;

	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1 | STE_S1STALLD, true,
		 false);
	expect_ste(test, &ste, NESTED_STE_0,
		   GUEST_STE_1 | STE_MEV | s1stalld, s2, STE_S2TTB);
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1, true, false);
	expect_ste(test, &ste, NESTED_STE_0,
		   GUEST_STE_1 | STE_MEV | s1stalld, s2, STE_S2TTB);

	/* It is a bit of stage 1 */
	make_ste(test, &ste, 0x9, STE_S1STALLD, true, false);
	expect_ste(test, &ste, 0xd, STE_MEV, s2, STE_S2TTB);
	make_ste(test, &ste, GUEST_STE_0, STE_S1STALLD, false, false);
	expect_ste(test, &ste, 0xd, STE_MEV, s2, STE_S2TTB);
}

/* EATS counts where the guest has stage 1, and abort switches ATS off */
static void nested_test_wants_ats(struct kunit *test)
{
	static const struct {
		u64 word0, word1;
		bool with_vsid, without;
	} cases[] = {
		{ 0x0, STE_EATS_1, false, false },
		{ 0x1, STE_EATS_1, false, false },
		{ 0x1, 0, false, false },
		{ 0x9, 0, true, true },
		{ 0x9, STE_EATS_1, true, true },
		{ 0xb, 0, false, true },
		{ 0xb, STE_EATS_1, true, true },
	};
	struct setup *s = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		KUNIT_ASSERT_EQ(test, 0, parse(cases[i].word0, cases[i].word1,
					       s->nested.ste));
		KUNIT_EXPECT_EQ_MSG(test, cases[i].with_vsid,
				    arm_smmu_nested_wants_ats(&s->nested, true),
				    "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, cases[i].without,
				    arm_smmu_nested_wants_ats(&s->nested,
							      false),
				    "case %u", i);
	}
}

/*
 * Which SMMUs a guest can use
 */

static void nested_test_nestable(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_device *smmu = &s->smmu;

	smmu->features = ARM_SMMU_FEAT_NESTING | ARM_SMMU_FEAT_S2FWB;
	KUNIT_EXPECT_TRUE(test, arm_smmu_master_nestable(&s->master));
	/* STALL_MODEL 0b00: the device can be told not to stall */
	smmu->features |= ARM_SMMU_FEAT_STALLS;
	KUNIT_EXPECT_TRUE(test, arm_smmu_master_nestable(&s->master));
	s->master.stall_enabled = true;
	KUNIT_EXPECT_TRUE(test, arm_smmu_master_nestable(&s->master));
	/* STALL_MODEL 0b10: it cannot */
	smmu->features |= ARM_SMMU_FEAT_STALL_FORCE;
	KUNIT_EXPECT_FALSE(test, arm_smmu_master_nestable(&s->master));
}

/* Tables that do not force write-back leave it to the root complex */
static void nested_test_nestable_on(struct kunit *test)
{
	static const struct {
		bool smmu_fwb, tables_fwb, canwbs, nestable;
	} rows[] = {
		{ false, false, false, false },
		{ false, false, true, true },
		{ true, false, false, false },
		{ true, false, true, true },
		{ true, true, false, true },
		{ true, true, true, true },
		/* Without S2FWB their attributes mean something else */
		{ false, true, true, false },
	};
	struct setup *s = test->priv;
	struct iommu_fwspec fwspec = {};
	struct dev_iommu iommu = { .fwspec = &fwspec };
	unsigned int i;

	s->dev.iommu = &iommu;
	s->master.dev = &s->dev;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		s->smmu.features = ARM_SMMU_FEAT_NESTING;
		if (rows[i].smmu_fwb)
			s->smmu.features |= ARM_SMMU_FEAT_S2FWB;
		s->pgtable.cfg.quirks =
			rows[i].tables_fwb ? IO_PGTABLE_QUIRK_ARM_S2FWB : 0;
		fwspec.flags = rows[i].canwbs ? IOMMU_FWSPEC_PCI_RC_CANWBS : 0;
		KUNIT_EXPECT_EQ_MSG(test, rows[i].nestable,
				    arm_smmu_master_nestable_on(&s->master,
								&s->parent),
				    "case %u", i);

		/* VFIO was told that all DMA is coherent */
		s->parent.enforce_cache_coherency = true;
		KUNIT_EXPECT_EQ_MSG(test, rows[i].nestable && rows[i].canwbs,
				    arm_smmu_master_nestable_on(&s->master,
								&s->parent),
				    "case %u", i);
		s->parent.enforce_cache_coherency = false;
	}
	s->dev.iommu = NULL;
}

static void nested_test_dt_quirks(struct kunit *test)
{
	/* A list of strings */
	static const struct {
		char compatible[40];
		bool nestable;
	} cases[] = {
		{ "arm,smmu-v3", true },
		{ "nvidia,tegra264-smmu\0arm,smmu-v3", false },
		{ "nvidia,tegra234-smmu\0arm,smmu-v3", true },
	};
	struct setup *s = test->priv;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_OF))
		kunit_skip(test, "no device tree");

	s->smmu.dev = &s->dev;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct property property = {
			.name = "compatible",
			.value = (void *)cases[i].compatible,
			.length = sizeof(cases[i].compatible),
		};
		struct device_node node = {
			.name = "iommu",
			.properties = &property,
		};

		s->smmu.features = ARM_SMMU_FEAT_NESTING | ARM_SMMU_FEAT_S2FWB;
		s->smmu.options = 0;
		arm_smmu_nested_dt_quirks(&s->smmu, &node);
		KUNIT_EXPECT_EQ_MSG(test, cases[i].nestable,
				    arm_smmu_master_nestable(&s->master),
				    "%s", cases[i].compatible);
	}
}

/*
 * How one STE becomes another
 */

struct recorder {
	struct arm_smmu_entry_writer writer;
	struct kunit *test;
	const __le64 *from;
	const __le64 *to;
	__le64 *entry;
	unsigned int syncs;
	bool disrupted;
};

/* As the SMMU sees it: does @entry do the same as @other? */
static bool same_effect(const __le64 *entry, const __le64 *other)
{
	__le64 used[STRTAB_STE_DWORDS] = {};
	__le64 any_time[STRTAB_STE_DWORDS] = {};
	unsigned int i;

	any_time[1] = cpu_to_le64(STE_MEV | 3ULL << 28);
	arm_smmu_get_ste_used(entry, used);
	for (i = 0; i < STRTAB_STE_DWORDS; i++)
		if ((entry[i] ^ other[i]) & used[i] & ~any_time[i])
			return false;
	return true;
}

static void record_sync(struct arm_smmu_entry_writer *writer)
{
	struct recorder *r = container_of(writer, struct recorder, writer);
	u64 word1 = le64_to_cpu(r->entry[1]);
	u64 from1 = le64_to_cpu(r->from[1]);
	u64 to1 = le64_to_cpu(r->to[1]);

	r->syncs++;
	/* Without V an access would be an event */
	KUNIT_EXPECT_TRUE(r->test, r->entry[0] & cpu_to_le64(1));
	if (!same_effect(r->entry, r->from) && !same_effect(r->entry, r->to)) {
		KUNIT_EXPECT_EQ(r->test, le64_to_cpu(r->entry[0]), 1);
		r->disrupted = true;
		return;
	}
	/* Half an EATS may be an illegal one */
	KUNIT_EXPECT_TRUE(r->test,
			  (word1 & 3ULL << 28) == (from1 & 3ULL << 28) ||
			  (word1 & 3ULL << 28) == (to1 & 3ULL << 28));
}

static const struct arm_smmu_entry_writer_ops record_ops = {
	.sync = record_sync,
	.get_used = arm_smmu_get_ste_used,
	.get_any_time = arm_smmu_get_ste_any_time,
	/* V, Config 0 */
	.disrupted = cpu_to_le64(1),
};

static void expect_transition(struct kunit *test,
			      const struct arm_smmu_ste *from,
			      const struct arm_smmu_ste *to, unsigned int syncs,
			      bool hitless)
{
	struct arm_smmu_ste entry = *from;
	struct recorder r = {
		.writer.ops = &record_ops,
		.test = test,
		.from = from->data,
		.to = to->data,
		.entry = entry.data,
	};

	arm_smmu_write_entry(&r.writer, entry.data, to->data);
	KUNIT_EXPECT_EQ(test, r.disrupted, !hitless);
	KUNIT_EXPECT_EQ(test, r.syncs, syncs);
	KUNIT_EXPECT_MEMEQ(test, entry.data, to->data, sizeof(entry));

	/* It is there now */
	r.syncs = 0;
	arm_smmu_write_entry(&r.writer, entry.data, to->data);
	KUNIT_EXPECT_EQ(test, r.syncs, 0);
}

static void expect_hitless(struct kunit *test, const struct arm_smmu_ste *from,
			   const struct arm_smmu_ste *to, unsigned int syncs)
{
	expect_transition(test, from, to, syncs, true);
}

static void expect_disruptive(struct kunit *test,
			      const struct arm_smmu_ste *from,
			      const struct arm_smmu_ste *to)
{
	expect_transition(test, from, to, 3, false);
}

/* What a guest does to a device while it boots, runs and shuts down */
static void nested_test_write_guest_configs(struct kunit *test)
{
	struct arm_smmu_ste s1, bypass, abort;

	make_ste(test, &s1, GUEST_STE_0, GUEST_STE_1, true, false);
	make_ste(test, &bypass, 0x9, 0, true, false);
	make_ste(test, &abort, 0x1, 0, true, false);

	/* What is unused first, then Config, then what is no longer used */
	expect_hitless(test, &abort, &bypass, 2);
	expect_hitless(test, &abort, &s1, 2);
	expect_hitless(test, &bypass, &s1, 2);
	expect_hitless(test, &s1, &bypass, 2);
	/* MEV goes ahead of Config on the way to abort */
	expect_hitless(test, &bypass, &abort, 3);
	expect_hitless(test, &s1, &abort, 3);
}

/* The same while ATS is switched on or off by the same write */
static void nested_test_write_config_eats(struct kunit *test)
{
	struct arm_smmu_ste s1, s1_ats, bypass, bypass_ats, abort;

	make_ste(test, &s1, GUEST_STE_0, GUEST_STE_1, true, false);
	make_ste(test, &s1_ats, GUEST_STE_0, GUEST_STE_1 | STE_EATS_1, true,
		 true);
	make_ste(test, &bypass, 0x9, 0, true, false);
	make_ste(test, &bypass_ats, 0x9, STE_EATS_1, true, true);
	make_ste(test, &abort, 0x1, 0, true, false);

	/* Alone it is one write */
	expect_hitless(test, &s1, &s1_ats, 1);
	expect_hitless(test, &s1_ats, &s1, 1);
	expect_hitless(test, &bypass, &bypass_ats, 1);
	expect_hitless(test, &bypass_ats, &bypass, 1);

	expect_hitless(test, &bypass, &s1_ats, 2);
	expect_hitless(test, &bypass_ats, &s1, 2);
	expect_hitless(test, &s1, &bypass_ats, 3);
	expect_hitless(test, &s1_ats, &bypass, 3);
	expect_hitless(test, &s1_ats, &bypass_ats, 2);
	expect_hitless(test, &bypass_ats, &s1_ats, 2);
	expect_hitless(test, &abort, &s1_ats, 2);
	expect_hitless(test, &abort, &bypass_ats, 2);
	expect_hitless(test, &s1_ats, &abort, 3);
	expect_hitless(test, &bypass_ats, &abort, 3);
}

static void nested_test_write_mev(struct kunit *test)
{
	struct arm_smmu_ste s1, s1_quiet, bypass, bypass_quiet;

	make_ste(test, &s1, GUEST_STE_0, GUEST_STE_1, true, false);
	make_ste(test, &bypass, 0x9, 0, true, false);
	s1_quiet = s1;
	s1_quiet.data[1] &= ~cpu_to_le64(STE_MEV);
	bypass_quiet = bypass;
	bypass_quiet.data[1] &= ~cpu_to_le64(STE_MEV);

	expect_hitless(test, &s1, &s1_quiet, 1);
	expect_hitless(test, &s1_quiet, &s1, 1);
	expect_hitless(test, &bypass, &bypass_quiet, 1);
	expect_hitless(test, &bypass_quiet, &s1, 2);
	expect_hitless(test, &s1, &bypass_quiet, 3);
}

static void nested_test_write_s1_fields(struct kunit *test)
{
	struct arm_smmu_ste s1, ste;

	make_ste(test, &s1, GUEST_STE_0, GUEST_STE_1, true, false);

	/* Another CD table: S1ContextPtr, S1Fmt and S1CDMax are one word */
	make_ste(test, &ste, 0x080123456789ab4bULL, GUEST_STE_1, true, false);
	expect_hitless(test, &s1, &ste, 1);
	expect_hitless(test, &ste, &s1, 1);

	/* Another S1DSS */
	make_ste(test, &ste, GUEST_STE_0, GUEST_STE_1 ^ 3, true, false);
	expect_hitless(test, &s1, &ste, 1);
	expect_hitless(test, &ste, &s1, 1);

	/* The table and ATS: EATS goes ahead */
	make_ste(test, &ste, 0x080123456789ab4bULL, GUEST_STE_1 | STE_EATS_1,
		 true, true);
	expect_hitless(test, &s1, &ste, 2);
	expect_hitless(test, &ste, &s1, 2);

	/* S1DSS and ATS: the same word */
	make_ste(test, &ste, GUEST_STE_0, (GUEST_STE_1 ^ 3) | STE_EATS_1, true,
		 true);
	expect_hitless(test, &s1, &ste, 1);
	expect_hitless(test, &ste, &s1, 1);

	/* The table and S1DSS: two words, and neither may come first */
	make_ste(test, &ste, 0x080123456789ab4bULL, GUEST_STE_1 ^ 3, true,
		 false);
	expect_disruptive(test, &s1, &ste);
	expect_disruptive(test, &ste, &s1);
}

/* Between the host's configurations and a guest's */
static void nested_test_write_host_configs(struct kunit *test)
{
	struct arm_smmu_ste s1, bypass, abort, cdtable, s2, other, ste;
	struct setup *s = test->priv;

	make_ste(test, &s1, GUEST_STE_0, GUEST_STE_1, true, false);
	make_ste(test, &bypass, 0x9, 0, true, false);
	make_ste(test, &abort, 0x1, 0, true, false);

	s->master.cd_table.cdtab_dma = 0x123456780;
	s->master.cd_table.s1cdmax = 4;
	arm_smmu_make_cdtable_ste(&cdtable, &s->master, false,
				  STRTAB_STE_1_S1DSS_SSID0);
	arm_smmu_make_s2_domain_ste(&s2, &s->master, &s->parent,
				    s->parent.s2_cfg.vmid, false);
	KUNIT_ASSERT_EQ(test, le64_to_cpu(s2.data[2]), s2_config(PARENT_VMID));

	/* Config and VMID in words 0 and 2 */
	expect_disruptive(test, &cdtable, &s1);
	expect_disruptive(test, &s1, &cdtable);
	expect_disruptive(test, &s2, &s1);
	expect_disruptive(test, &s1, &s2);
	expect_disruptive(test, &cdtable, &bypass);
	expect_disruptive(test, &bypass, &cdtable);
	/* Both are stage 2 alone, so that the VMID is all; MEV goes ahead */
	expect_hitless(test, &s2, &bypass, 2);
	expect_hitless(test, &bypass, &s2, 2);
	/* Abort is where everything can come from and go to */
	expect_hitless(test, &cdtable, &abort, 2);
	expect_hitless(test, &abort, &cdtable, 2);
	expect_hitless(test, &abort, &s2, 2);
	arm_smmu_make_bypass_ste(&s->smmu, &ste);
	expect_hitless(test, &ste, &s1, 2);
	expect_hitless(test, &s1, &ste, 3);

	/* A guest's, then another guest's */
	s->vsmmu.s2.vmid = OTHER_VMID;
	make_ste(test, &other, GUEST_STE_0 ^ 0x40, GUEST_STE_1, true, false);
	expect_disruptive(test, &s1, &other);
	expect_disruptive(test, &other, &s1);
	make_ste(test, &other, 0x9, 0, true, false);
	expect_hitless(test, &bypass, &other, 1);

	/* Other stage 2 tables: words 2 and 3 */
	s->pgtable.cfg.arm_lpae_s2_cfg.vttbr += 0x1000;
	make_ste(test, &other, 0x9, 0, true, false);
	expect_disruptive(test, &bypass, &other);
}

/* S2FWB tells how stage 2 attributes are to be read: no bit to change early */
static void nested_test_write_s2fwb(struct kunit *test)
{
	struct arm_smmu_ste s1, s1_fwb, bypass;
	struct setup *s = test->priv;

	make_ste(test, &s1, GUEST_STE_0, GUEST_STE_1, true, false);
	make_ste(test, &bypass, 0x9, 0, true, false);
	s->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	make_ste(test, &s1_fwb, GUEST_STE_0, GUEST_STE_1, true, false);

	expect_hitless(test, &s1, &s1_fwb, 1);
	expect_disruptive(test, &bypass, &s1_fwb);
	expect_disruptive(test, &s1_fwb, &bypass);
}

/* From and to anything that a guest can ask for, on every kind of SMMU */
static void nested_test_write_all_pairs(struct kunit *test)
{
	static const u64 words[][2] = {
		{ 0x0, 0x0 }, { 0x1, STE_EATS_1 }, { 0x9, 0x0 },
		{ 0x9, STE_EATS_1 }, { 0xb, 0x0 }, { 0xb, STE_EATS_1 },
		{ GUEST_STE_0, GUEST_STE_1 },
		{ GUEST_STE_0, GUEST_STE_1 | STE_S1STALLD },
		{ GUEST_STE_0, (GUEST_STE_1 ^ 3) | STE_EATS_1 },
	};
	struct setup *s = test->priv;
	unsigned int variant, i, j;

	for (variant = 0; variant < 8; variant++) {
		s->smmu.features = ARM_SMMU_FEAT_NESTING;
		s->pgtable.cfg.quirks = 0;
		if (variant & 1)
			s->smmu.features |= ARM_SMMU_FEAT_STALLS;
		if (variant & 2)
			s->smmu.features |= ARM_SMMU_FEAT_ATTR_TYPES_OVR;
		if (variant & 4)
			s->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
		s->master.stall_enabled = variant & 1;

		for (i = 0; i < ARRAY_SIZE(words); i++)
			for (j = 0; j < ARRAY_SIZE(words); j++) {
				struct arm_smmu_ste from, to, entry;
				bool s1 = (words[i][0] & 0xe) == 0xa &&
					  (words[j][0] & 0xe) == 0xa;
				struct recorder r = {
					.writer.ops = &record_ops,
					.test = test,
					.from = from.data,
					.to = to.data,
					.entry = entry.data,
				};
				/* Stage 1 bits that differ in both words */
				bool two = s1 && words[i][0] != words[j][0] &&
					   (words[i][1] ^ words[j][1]) &
						   ~STE_EATS_1;

				make_ste(test, &from, words[i][0], words[i][1],
					 true,
					 words[i][0] > 1 &&
					 words[i][1] & STE_EATS_1);
				make_ste(test, &to, words[j][0], words[j][1],
					 true,
					 words[j][0] > 1 &&
					 words[j][1] & STE_EATS_1);
				/* It differs for the guest, not for the SMMU */
				if (!((from.data[1] ^ to.data[1]) &
				      ~cpu_to_le64(STE_EATS_1)))
					two = false;
				entry = from;
				arm_smmu_write_entry(&r.writer, entry.data,
						     to.data);
				KUNIT_EXPECT_EQ_MSG(test, r.disrupted, two,
						    "%u to %u", i, j);
				KUNIT_EXPECT_LE(test, r.syncs, 3);
				KUNIT_EXPECT_MEMEQ(test, entry.data, to.data,
						   sizeof(entry));
			}
	}
}

static struct kunit_case nested_test_cases[] = {
	KUNIT_CASE(nested_test_vste_bits),
	KUNIT_CASE(nested_test_vste_config_eats),
	KUNIT_CASE(nested_test_vste_invalid),
	KUNIT_CASE(nested_test_ste_s1),
	KUNIT_CASE(nested_test_ste_bypass),
	KUNIT_CASE(nested_test_ste_abort),
	KUNIT_CASE(nested_test_ste_no_vsid),
	KUNIT_CASE(nested_test_ste_s2fwb),
	KUNIT_CASE(nested_test_ste_shcfg),
	KUNIT_CASE(nested_test_ste_ats),
	KUNIT_CASE_PARAM(nested_test_ste_stall, stall_case_gen_params),
	KUNIT_CASE(nested_test_wants_ats),
	KUNIT_CASE(nested_test_nestable),
	KUNIT_CASE(nested_test_nestable_on),
	KUNIT_CASE(nested_test_dt_quirks),
	KUNIT_CASE(nested_test_write_guest_configs),
	KUNIT_CASE(nested_test_write_config_eats),
	KUNIT_CASE(nested_test_write_mev),
	KUNIT_CASE(nested_test_write_s1_fields),
	KUNIT_CASE(nested_test_write_host_configs),
	KUNIT_CASE(nested_test_write_s2fwb),
	KUNIT_CASE(nested_test_write_all_pairs),
	{},
};

static struct kunit_suite nested_test_suite = {
	.name = "arm-smmu-v3-nested",
	.init = nested_test_init,
	.test_cases = nested_test_cases,
};

kunit_test_suite(nested_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of nested translation on arm-smmu-v3");
MODULE_LICENSE("GPL");
