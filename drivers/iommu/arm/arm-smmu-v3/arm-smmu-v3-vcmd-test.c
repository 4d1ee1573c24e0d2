// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which commands of a guest pass, and what becomes of them
 *
 * What should pass is stated here once more, in bit numbers of the 128-bit
 * command as IHI0070 4.3 to 4.5 draws it, so that a wrong mask in the driver or in
 * its headers shows.
 */
#include <kunit/test.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/sizes.h>

#include "arm-smmu-v3-vcmd.h"

static ulong seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "Seed of the random commands, 0 for a new one");

/* On what a field depends besides its opcode */
enum spec_need {
	ALWAYS,
	RIL,
	RIL_AND_DS,
	SUBSTREAMS,
	/* As many bits of the field as the SMMU has */
	SSID_WIDTH,
	ASID_WIDTH,
};

struct spec_field {
	u8 first;
	u8 last;
	enum spec_need need;
};

struct spec_op {
	u8 opcode;
	struct spec_field field[10];
};

#define NO_MORE { .first = 0xff }

static const struct spec_op spec[] = {
	/* CMD_CFGI_CD: SubstreamID, StreamID, Leaf */
	{ 0x05, { { 12, 31, SSID_WIDTH }, { 32, 63 }, { 64, 64 }, NO_MORE } },
	/* CMD_CFGI_CD_ALL: StreamID */
	{ 0x06, { { 32, 63 }, NO_MORE } },
	/* CMD_TLBI_NH_ALL: VMID */
	{ 0x10, { { 32, 47 }, NO_MORE } },
	/* CMD_TLBI_NH_ASID: VMID, ASID */
	{ 0x11, { { 32, 47 }, { 48, 63, ASID_WIDTH }, NO_MORE } },
	/* CMD_TLBI_NH_VA: NUM, SCALE, VMID, ASID, Leaf, TTL, TG, Address */
	{ 0x12, { { 12, 16, RIL }, { 20, 24, RIL }, { 25, 25, RIL_AND_DS },
		  { 32, 47 }, { 48, 63, ASID_WIDTH }, { 64, 64 },
		  { 72, 73, RIL }, { 74, 75, RIL }, { 76, 127 }, NO_MORE } },
	/* CMD_TLBI_NH_VAA: NUM, SCALE, VMID, Leaf, TTL, TG, Address */
	{ 0x13, { { 12, 16, RIL }, { 20, 24, RIL }, { 25, 25, RIL_AND_DS },
		  { 32, 47 }, { 64, 64 }, { 72, 73, RIL }, { 74, 75, RIL },
		  { 76, 127 }, NO_MORE } },
	/* CMD_TLBI_NSNH_ALL */
	{ 0x30, { NO_MORE } },
	/* CMD_ATC_INV: Global, SSV, SubstreamID, StreamID, Size, Address */
	{ 0x40, { { 9, 9, SUBSTREAMS }, { 11, 11, SUBSTREAMS },
		  { 12, 31, SUBSTREAMS }, { 32, 63 }, { 64, 69 }, { 76, 127 },
		  NO_MORE } },
};

/* The fields above for one SMMU */
struct spec_set {
	const struct arm_smmu_vcmd_caps *caps;
	bool known[256];
	u64 mask[256][2];
};

static bool spec_has_bit(const struct arm_smmu_vcmd_caps *caps,
			 const struct spec_field *field, unsigned int bit)
{
	switch (field->need) {
	case RIL:
		return caps->ril;
	case RIL_AND_DS:
		return caps->ril && caps->ds;
	case SUBSTREAMS:
		return caps->ssid_bits;
	case SSID_WIDTH:
		return bit - field->first < caps->ssid_bits;
	case ASID_WIDTH:
		return bit - field->first < caps->asid_bits;
	default:
		return true;
	}
}

static struct spec_set *spec_make(struct kunit *test,
				  const struct arm_smmu_vcmd_caps *caps)
{
	struct spec_set *set = kunit_kzalloc(test, sizeof(*set), GFP_KERNEL);
	const struct spec_field *field;
	unsigned int i, bit;

	KUNIT_ASSERT_NOT_NULL(test, set);
	set->caps = caps;
	for (i = 0; i < ARRAY_SIZE(spec); i++) {
		u8 op = spec[i].opcode;

		if (op == 0x40 && !caps->ats)
			continue;
		set->known[op] = true;
		set->mask[op][0] = op;
		for (field = spec[i].field; field->first != 0xff; field++)
			for (bit = field->first; bit <= field->last; bit++)
				if (spec_has_bit(caps, field, bit))
					set->mask[op][bit / 64] |=
						1ULL << (bit % 64);
	}
	return set;
}

static bool spec_passes(const struct spec_set *set, u64 lo, u64 hi)
{
	static const unsigned long granule[] = { 0, SZ_4K, SZ_16K, SZ_64K };
	u32 num = (lo >> 12) & 31;
	u32 scale = (lo >> 20) & 63;
	u32 ssid = (lo >> 12) & 0xfffff;
	bool ssv = (lo >> 11) & 1;
	u32 ttl = (hi >> 8) & 3;
	u32 tg = (hi >> 10) & 3;
	u8 op = lo & 0xff;

	if (!set->known[op] || lo & ~set->mask[op][0] ||
	    hi & ~set->mask[op][1])
		return false;

	/* IHI0070 4.5.1: SubstreamID and Global mean nothing if SSV is 0 */
	if (op == 0x40)
		return (hi & 0x3f) <= 52 &&
		       (!ssv || ssid < 1U << set->caps->ssid_bits);
	if (op != 0x12 && op != 0x13)
		return true;

	/* IHI0070 4.4.1.1 */
	if (!tg)
		return !num && !scale && !ttl;
	if (!(set->caps->pgsize_bitmap & granule[tg]))
		return false;
	if (!num && !scale && !ttl)
		return false;
	/* 2^39 pages of 4 KiB: two of them are all that 52 bits address */
	if (scale > 39)
		return false;
	return tg != 2 || ttl != 1 || set->caps->ds;
}

/* Returns false, after it has told the test, if the driver sees it otherwise */
static bool check(struct kunit *test, const struct spec_set *set,
		  const struct arm_smmu_vcmd_rules *rules, u64 lo, u64 hi,
		  u16 vmid)
{
	bool passes = spec_passes(set, lo, hi);
	u64 cmd[2] = { lo, hi };
	enum arm_smmu_vcmd_kind kind = arm_smmu_vcmd_translate(rules, cmd,
							       vmid);
	enum arm_smmu_vcmd_kind stream = ARM_SMMU_VCMD_REFUSED;
	bool passed = kind != ARM_SMMU_VCMD_REFUSED;
	u64 want = lo;

	if (passed != passes) {
		KUNIT_FAIL(test, "%016llx %016llx should %spass", hi, lo,
			   passes ? "" : "not ");
		return false;
	}

	if (passes) {
		switch (lo & 0xff) {
		case 0x05:
		case 0x06:
			stream = ARM_SMMU_VCMD_SID;
			break;
		case 0x40:
			stream = ARM_SMMU_VCMD_ATC;
			if (!(lo & 0x800))
				want = lo & ~0xfffff200ULL;
			break;
		case 0x30:
			want = 0x10 | (u64)vmid << 32;
			break;
		default:
			want = (lo & ~0x0000ffff00000000ULL) | (u64)vmid << 32;
			break;
		}
	}

	if (cmd[0] != want || cmd[1] != hi) {
		KUNIT_FAIL(test, "%016llx %016llx became %016llx %016llx", hi,
			   lo, cmd[1], cmd[0]);
		return false;
	}
	if (!passes)
		return true;

	/* The caller goes by the kind, also after the translation */
	if (stream ? kind != stream : kind >= ARM_SMMU_VCMD_SID) {
		KUNIT_FAIL(test, "%016llx %016llx is of kind %d", hi, lo, kind);
		return false;
	}
	kind = arm_smmu_vcmd_kind(rules, cmd);
	if (stream ? kind != stream : kind >= ARM_SMMU_VCMD_SID) {
		KUNIT_FAIL(test, "%016llx %016llx is now of kind %d", hi, lo,
			   kind);
		return false;
	}
	return true;
}

/* A command in which as much as possible is set, or just a range */
static void background(const struct spec_set *set, u8 op, bool full, u64 *cmd)
{
	cmd[0] = op;
	cmd[1] = 0;
	if (full) {
		cmd[0] |= set->mask[op][0];
		cmd[1] |= set->mask[op][1];
	}
	if (op == 0x40 && full) {
		cmd[1] = (cmd[1] & ~0x3fULL) | 52;
		cmd[0] &= ~0xfffff000ULL |
			  ((1ULL << set->caps->ssid_bits) - 1) << 12;
	}
	if ((op == 0x12 || op == 0x13) && set->caps->ril) {
		u64 tg = set->caps->pgsize_bitmap & SZ_4K  ? 1 :
			 set->caps->pgsize_bitmap & SZ_16K ? 2 : 3;

		cmd[1] = (cmd[1] & ~0xf00ULL) | tg << 10;
		cmd[1] |= full ? 3 << 8 : 0;
		cmd[0] |= 1 << 12;
		if (full && set->caps->ds)
			cmd[0] = (cmd[0] & ~0x3f00000ULL) | 39ULL << 20;
	}
}

struct caps_case {
	const char *name;
	struct arm_smmu_vcmd_caps caps;
	/* How many commands of one field bit pass, counted by hand */
	unsigned int lone_bits;
};

#define ALL_GRANULES (SZ_4K | SZ_16K | SZ_64K)

/*
 * Bits that are a command of their own: CD 1 + 32 + SSID, CD_ALL 32, NH_ALL 16,
 * NH_ASID 16 + ASID, NH_VA 16 + ASID + 1 + 52, NH_VAA 16 + 1 + 52, ATC_INV 32 + 6 +
 * 52 and with substreams 2 + 20, because an SSID of any width is ignored without
 * SSV. None of NUM, SCALE, TTL, TG makes sense alone.
 */
static const struct caps_case caps_cases[] = {
	{ "everything",
	  { ALL_GRANULES, 16, 20, true, true, true }, 399 },
	{ "8-bit ASIDs",
	  { ALL_GRANULES, 8, 20, true, true, true }, 399 - 16 },
	{ "no substreams",
	  { ALL_GRANULES, 16, 0, true, true, true }, 399 - 42 },
	{ "10-bit SSIDs",
	  { ALL_GRANULES, 16, 10, true, true, true }, 399 - 10 },
	{ "1-bit SSIDs",
	  { ALL_GRANULES, 16, 1, true, true, true }, 399 - 19 },
	{ "no RIL",
	  { ALL_GRANULES, 16, 20, false, true, true }, 399 },
	{ "no DS",
	  { ALL_GRANULES, 16, 20, true, false, true }, 399 },
	{ "no ATS",
	  { ALL_GRANULES, 16, 20, true, true, false }, 399 - 112 },
	{ "4K",
	  { SZ_4K, 16, 20, true, true, true }, 399 },
	{ "16K, no DS",
	  { SZ_16K, 16, 20, true, false, true }, 399 },
	{ "64K",
	  { SZ_64K, 16, 20, true, true, true }, 399 },
	{ "nothing",
	  { SZ_4K, 8, 0, false, false, false }, 399 - 112 - 16 - 20 },
};

static void caps_case_desc(const struct caps_case *c, char *desc)
{
	strscpy(desc, c->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(caps_case, caps_cases, caps_case_desc);

static struct arm_smmu_vcmd_rules *
make_rules(struct kunit *test, const struct arm_smmu_vcmd_caps *caps)
{
	struct arm_smmu_vcmd_rules *rules =
		kunit_kmalloc(test, sizeof(*rules), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, rules);
	memset(rules, 0xff, sizeof(*rules));
	arm_smmu_vcmd_init_rules(rules, caps);
	return rules;
}

/* Every bit of every opcode: alone, taken out of a full command, beside a range */
static void vcmd_test_every_bit(struct kunit *test)
{
	const struct caps_case *c = test->param_value;
	struct arm_smmu_vcmd_rules *rules = make_rules(test, &c->caps);
	struct spec_set *set = spec_make(test, &c->caps);
	unsigned int lone_bits = 0;
	unsigned int op, bit;

	for (op = 0; op < 256; op++) {
		u64 full[2], range[2];

		background(set, op, true, full);
		background(set, op, false, range);
		if (!check(test, set, rules, op, 0, 0x5a3c) ||
		    !check(test, set, rules, full[0], full[1], 0xffff) ||
		    !check(test, set, rules, range[0], range[1], 1))
			return;
		/* What the loop changes one bit of is a good command */
		if (set->known[op]) {
			KUNIT_EXPECT_TRUE(test, spec_passes(set, full[0],
							    full[1]));
			KUNIT_EXPECT_TRUE(test, spec_passes(set, range[0],
							    range[1]));
		}

		for (bit = 0; bit < 128; bit++) {
			u64 lo = bit < 64 ? 1ULL << bit : 0;
			u64 hi = bit < 64 ? 0 : 1ULL << (bit - 64);
			u64 cmd[2] = { op ^ lo, hi };

			if (!check(test, set, rules, op ^ lo, hi, 0x8001) ||
			    !check(test, set, rules, full[0] ^ lo, full[1] ^ hi,
				   0) ||
			    !check(test, set, rules, range[0] ^ lo,
				   range[1] ^ hi, 0x7ffe))
				return;
			if (bit >= 8 && arm_smmu_vcmd_translate(rules, cmd, 1))
				lone_bits++;
		}
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, lone_bits, c->lone_bits);
}

/* Every TG, NUM, SCALE and TTL on SMMUs with every set of granules */
static void vcmd_test_ranges(struct kunit *test)
{
	unsigned int variant, i;

	for (variant = 0; variant < 32; variant++) {
		struct arm_smmu_vcmd_caps caps = {
			.pgsize_bitmap = (variant & 1 ? SZ_4K : 0) |
					 (variant & 2 ? SZ_16K : 0) |
					 (variant & 4 ? SZ_64K : 0) |
					 SZ_2M | SZ_1G,
			.asid_bits = 16,
			.ds = variant & 8,
			.ril = variant & 16,
		};
		struct arm_smmu_vcmd_rules *rules = make_rules(test, &caps);
		struct spec_set *set = spec_make(test, &caps);

		for (i = 0; i < 4 * 32 * 64 * 4; i++) {
			u64 num = i % 32;
			u64 scale = i / 32 % 64;
			u64 hi = (u64)(i / 2048) << 8;
			u64 lo = num << 12 | scale << 20;

			if (!check(test, set, rules, lo | 0x12, hi, 7) ||
			    !check(test, set, rules, lo | 0x13,
				   hi | 0xfffffffffffff001ULL, 7))
				return;
		}
		kunit_kfree(test, rules);
		kunit_kfree(test, set);
		cond_resched();
	}
}

/* A range of (NUM + 1) << SCALE granules; SCALE has six bits with DS */
static void vcmd_test_scale(struct kunit *test)
{
	static const struct {
		u64 lo;
		bool without_ds, with_ds;
	} cmds[] = {
		/* SCALE 31 ends below bit 25, 32 is bit 25 alone */
		{ 0x0000000001f00012ULL, true, true },
		{ 0x0000000002000012ULL, false, true },
		{ 0x0000000002000013ULL, false, true },
		/* All of 52 bits in 4 KiB granules: NUM 31, SCALE 35 */
		{ 0x000000000231f012ULL, false, true },
		/* SCALE 39, 40 and 63 */
		{ 0x0000000002700012ULL, false, true },
		{ 0x0000000002800012ULL, false, false },
		{ 0x0000000003f00012ULL, false, false },
		/* Bit 26 is nobody's */
		{ 0x0000000004100012ULL, false, false },
	};
	unsigned int i, ds;

	for (ds = 0; ds < 2; ds++) {
		struct arm_smmu_vcmd_caps caps = {
			ALL_GRANULES, 16, 0, true, ds, false
		};
		struct arm_smmu_vcmd_rules *rules = make_rules(test, &caps);

		for (i = 0; i < ARRAY_SIZE(cmds); i++) {
			/* TG 4 KiB */
			u64 cmd[2] = { cmds[i].lo, 1 << 10 };
			bool pass = ds ? cmds[i].with_ds : cmds[i].without_ds;

			KUNIT_EXPECT_EQ_MSG(test, pass,
					    !!arm_smmu_vcmd_translate(rules, cmd,
								      0),
					    "%llx with DS %u", cmds[i].lo, ds);
		}
	}
}

/* SSV decides whether SubstreamID and Global mean anything */
static void vcmd_test_ssv(struct kunit *test)
{
	struct arm_smmu_vcmd_caps caps = { ALL_GRANULES, 16, 4, 1, 1, 1 };
	struct arm_smmu_vcmd_rules *rules = make_rules(test, &caps);
	static const struct {
		u64 lo, want;
	} cmds[] = {
		/* SSV 0: the rest is cleared, however wide it is */
		{ 0x40, 0x40 },
		{ 0x240, 0x40 },
		{ 0xfffff040, 0x40 },
		{ 0x12345678fffff240, 0x1234567800000040 },
		/* SSV 1: it has to fit into 4 bits, and stays */
		{ 0x840, 0x840 },
		{ 0xf840, 0xf840 },
		{ 0xfa40, 0xfa40 },
		{ 0x10840, 0 },
		{ 0x80000840, 0 },
		{ 0x10a40, 0 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		u64 cmd[2] = { cmds[i].lo, 0 };

		KUNIT_EXPECT_EQ_MSG(test, !!cmds[i].want,
				    !!arm_smmu_vcmd_translate(rules, cmd, 1),
				    "%llx", cmds[i].lo);
		if (cmds[i].want)
			KUNIT_EXPECT_EQ(test, cmd[0], cmds[i].want);
	}

	/* The same question about a device, which may have less than its SMMU */
	for (i = 0; i <= 4; i++) {
		u64 last[2] = { 0x840 | ((1ULL << i) - 1) << 12, 0 };
		u64 next[2] = { 0x840 | 1ULL << (i + 12), 0 };
		u64 none[2] = { 0x40, 0 };

		KUNIT_EXPECT_EQ(test, i > 0, arm_smmu_vcmd_ssid_fits(last, i));
		KUNIT_EXPECT_FALSE(test, arm_smmu_vcmd_ssid_fits(next, i));
		KUNIT_EXPECT_TRUE(test, arm_smmu_vcmd_ssid_fits(none, i));
	}
}

/* Size is a power of two of pages; 52 means all */
static void vcmd_test_atc_size(struct kunit *test)
{
	struct arm_smmu_vcmd_caps caps = { ALL_GRANULES, 16, 0, 0, 0, true };
	struct arm_smmu_vcmd_rules *rules = make_rules(test, &caps);
	unsigned int size;

	for (size = 0; size < 64; size++) {
		u64 cmd[2] = { 0x40, size };

		KUNIT_EXPECT_EQ(test,
				arm_smmu_vcmd_translate(rules, cmd, 1),
				size <= 52 ? ARM_SMMU_VCMD_ATC :
					     ARM_SMMU_VCMD_REFUSED);
	}
}

/* Whatever VMID a guest writes, its own is used */
static void vcmd_test_vmid(struct kunit *test)
{
	static const u8 ops[] = { 0x10, 0x11, 0x12, 0x13 };
	struct arm_smmu_vcmd_caps caps = { ALL_GRANULES, 16, 20, 1, 1, 1 };
	struct arm_smmu_vcmd_rules *rules = make_rules(test, &caps);
	unsigned int i, vmid;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		for (vmid = 0; vmid < 0x10000; vmid += 0x101) {
			u64 cmd[2] = { ops[i] | (u64)vmid << 32, 0 };

			KUNIT_EXPECT_NE(test, ARM_SMMU_VCMD_REFUSED,
					arm_smmu_vcmd_translate(rules, cmd,
								0xb00b));
			KUNIT_EXPECT_EQ(test, cmd[0],
					ops[i] | 0xb00bULL << 32);
		}
}

/* A vSID is left for the caller, who changes it and nothing else */
static void vcmd_test_sid(struct kunit *test)
{
	struct arm_smmu_vcmd_caps caps = { ALL_GRANULES, 16, 20, 1, 1, 1 };
	struct arm_smmu_vcmd_rules *rules = make_rules(test, &caps);
	u64 cfgi[2] = { 0xdeadbeef12345005ULL, 1 };
	u64 all[2] = { 0xffffffff00000006ULL, 0 };
	u64 atc[2] = { 0x8000000112345a40ULL, 0xabcdef0123456034ULL };

	KUNIT_EXPECT_EQ(test, arm_smmu_vcmd_translate(rules, cfgi, 0xffff),
			ARM_SMMU_VCMD_SID);
	KUNIT_EXPECT_EQ(test, arm_smmu_vcmd_sid(cfgi), 0xdeadbeef);
	arm_smmu_vcmd_set_sid(cfgi, 0x01020304);
	KUNIT_EXPECT_EQ(test, cfgi[0], 0x0102030412345005ULL);
	KUNIT_EXPECT_EQ(test, cfgi[1], 1);

	KUNIT_EXPECT_EQ(test, arm_smmu_vcmd_translate(rules, all, 0xffff),
			ARM_SMMU_VCMD_SID);
	KUNIT_EXPECT_EQ(test, arm_smmu_vcmd_sid(all), 0xffffffff);
	arm_smmu_vcmd_set_sid(all, 0);
	KUNIT_EXPECT_EQ(test, all[0], 6);

	KUNIT_EXPECT_EQ(test, arm_smmu_vcmd_translate(rules, atc, 0xffff),
			ARM_SMMU_VCMD_ATC);
	KUNIT_EXPECT_EQ(test, arm_smmu_vcmd_sid(atc), 0x80000001);
	arm_smmu_vcmd_set_sid(atc, 0xffffffff);
	KUNIT_EXPECT_EQ(test, atc[0], 0xffffffff12345a40ULL);
	KUNIT_EXPECT_EQ(test, atc[1], 0xabcdef0123456034ULL);
}

/* Commands that are nearly good */
static void vcmd_test_random(struct kunit *test)
{
	const struct caps_case *c = test->param_value;
	struct arm_smmu_vcmd_rules *rules = make_rules(test, &c->caps);
	struct spec_set *set = spec_make(test, &c->caps);
	u64 use = seed ?: get_random_u32();
	unsigned int passed = 0;
	struct rnd_state rnd;
	unsigned int i;

	kunit_info(test, "seed=%llu", use);
	prandom_seed_state(&rnd, use);
	for (i = 0; i < 50000; i++) {
		u64 lo, hi;
		u32 how = prandom_u32_state(&rnd);
		u8 op = how & 7 ? spec[(how >> 3) % ARRAY_SIZE(spec)].opcode :
				  how >> 3;

		lo = (u64)prandom_u32_state(&rnd) << 32;
		lo |= prandom_u32_state(&rnd) & 0xffffff00;
		hi = (u64)prandom_u32_state(&rnd) << 32;
		hi |= prandom_u32_state(&rnd);
		if (how & 0x10000000)
			lo &= set->mask[op][0];
		if (how & 0x20000000)
			hi &= set->mask[op][1];
		if (how & 0x40000000)
			hi &= ~0xf00ULL;
		if (how & 0x80000000)
			lo &= ~0x3f1f000ULL;
		lo = (lo & ~0xffULL) | op;
		if (!check(test, set, rules, lo, hi,
			   prandom_u32_state(&rnd)))
			return;
		passed += spec_passes(set, lo, hi);
	}
	/* It is no test if all are bad */
	KUNIT_EXPECT_GT(test, passed, 2000);
	KUNIT_EXPECT_LT(test, passed, 48000);
}

static struct kunit_case vcmd_test_cases[] = {
	KUNIT_CASE_PARAM(vcmd_test_every_bit, caps_case_gen_params),
	KUNIT_CASE(vcmd_test_ranges),
	KUNIT_CASE(vcmd_test_scale),
	KUNIT_CASE(vcmd_test_ssv),
	KUNIT_CASE(vcmd_test_atc_size),
	KUNIT_CASE(vcmd_test_vmid),
	KUNIT_CASE(vcmd_test_sid),
	KUNIT_CASE_PARAM(vcmd_test_random, caps_case_gen_params),
	{},
};

static struct kunit_suite vcmd_test_suite = {
	.name = "arm-smmu-v3-vcmd",
	.test_cases = vcmd_test_cases,
};

kunit_test_suite(vcmd_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of guest commands on arm-smmu-v3");
MODULE_LICENSE("GPL");
