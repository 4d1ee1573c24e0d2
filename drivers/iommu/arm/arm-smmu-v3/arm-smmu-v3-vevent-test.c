// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest sees of an event, and whose an event is
 */
#include <kunit/test.h>

#include "arm-smmu-v3-vevent.h"

#define TEST_SID	0x01020304
#define TEST_VSID	0xa0b0c0d0

/* IHI0070 7.3: word 1 bit 31 is Stall, bit 39 is S2 */
#define TEST_STALL	BIT_ULL(31)
#define TEST_S2		BIT_ULL(39)

static bool forwarded(unsigned int id)
{
	switch (id) {
	case 0x04:
	case 0x06:
	case 0x08:
	case 0x0a:
	case 0x10 ... 0x13:
		return true;
	default:
		return false;
	}
}

static bool make(struct iommu_vevent_arm_smmuv3 *vevent, unsigned int id,
		 u64 word1)
{
	u64 evt[4] = {
		(u64)TEST_SID << 32 | 0xabcde << 12 | 1 << 11 | id,
		word1,
		0x0123456789abcdefULL,
		0xfedcba9876543210ULL,
	};

	return arm_smmu_vevent_make(vevent, evt, TEST_VSID);
}

static void arm_smmu_vevent_test_ids(struct kunit *test)
{
	struct iommu_vevent_arm_smmuv3 vevent;
	unsigned int id;

	for (id = 0; id < 256; id++)
		KUNIT_EXPECT_EQ_MSG(test, forwarded(id), make(&vevent, id, 0),
				    "id 0x%02x", id);
}

static void arm_smmu_vevent_test_host(struct kunit *test)
{
	struct iommu_vevent_arm_smmuv3 vevent;
	unsigned int id;

	for (id = 0x10; id <= 0x13; id++) {
		KUNIT_EXPECT_FALSE(test, make(&vevent, id, TEST_STALL));
		KUNIT_EXPECT_FALSE(test, make(&vevent, id, TEST_S2));
		KUNIT_EXPECT_TRUE(test, make(&vevent, id,
					     ~(TEST_STALL | TEST_S2)));
	}
}

static void arm_smmu_vevent_test_record(struct kunit *test)
{
	static const u8 expect[32] = {
		/* id, SSV and SubstreamID stay, StreamID becomes the vSID */
		0x10, 0xe8, 0xcd, 0xab, 0xd0, 0xc0, 0xb0, 0xa0,
		0x11, 0x22, 0x33, 0x00, 0x05, 0x00, 0x00, 0x80,
		0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
		0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
	};
	struct iommu_vevent_arm_smmuv3 vevent;

	KUNIT_ASSERT_TRUE(test, make(&vevent, 0x10, 0x8000000500332211ULL));
	KUNIT_EXPECT_MEMEQ(test, &vevent, expect, sizeof(expect));
}

/* A queue of 8: PROD has 4 bits that count, and bit 31 for overflow */
static void arm_smmu_vevent_test_next(struct kunit *test)
{
	static const u64 starts[] = { 0, 7, 8, 15, 16, 0xfffffff8, 0xffffffff,
				      0x100000000, 0x123456789abcdef };
	unsigned int i, used;

	for (i = 0; i < ARRAY_SIZE(starts); i++) {
		for (used = 0; used <= 8; used++) {
			u64 next = starts[i] + used;
			u32 prod = next & 0xf;

			KUNIT_EXPECT_EQ(test, next,
					arm_smmu_next_event(starts[i], prod, 3));
			KUNIT_EXPECT_EQ(test, next,
					arm_smmu_next_event(starts[i],
							    prod | BIT(31), 3));
		}
	}
}

static struct kunit_case arm_smmu_vevent_test_cases[] = {
	KUNIT_CASE(arm_smmu_vevent_test_ids),
	KUNIT_CASE(arm_smmu_vevent_test_host),
	KUNIT_CASE(arm_smmu_vevent_test_record),
	KUNIT_CASE(arm_smmu_vevent_test_next),
	{},
};

static struct kunit_suite arm_smmu_vevent_test_suite = {
	.name = "arm-smmu-v3-vevent",
	.test_cases = arm_smmu_vevent_test_cases,
};

kunit_test_suites(&arm_smmu_vevent_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests for the events of arm-smmu-v3's guests");
MODULE_LICENSE("GPL");
