// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory attributes under nested translation on an SMMUv3: what S2FWB makes of those
 * that a guest chooses. The devices are viommu-dma, which tell the attributes of their
 * last access, see smmuv3_dma_dev.h.
 *
 * With S2FWB, stage 2 forces write-back, so that no guest can make its device's accesses
 * miss the CPU's caches. Without it the weaker attribute of both stages wins, and only
 * CANWBS in the firmware's tables allows a vIOMMU.
 */
#include "../kselftest_harness.h"
#include "smmuv3_dma_test.h"

/* As in MAIR */
#define ATTR_WB		0xff
#define ATTR_WT		0xbb
#define ATTR_NC		0x44
#define ATTR_NGNRNE	0x00	/* Device */
#define ATTR_NGNRE	0x04
#define ATTR_GRE	0x0c

/* AttrIndx 0 to 5 of the guest's CD */
static const __u8 mair[] = {
	ATTR_WB, ATTR_WT, ATTR_NC, ATTR_NGNRNE, ATTR_NGNRE, ATTR_GRE,
};

FIXTURE(attr)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	__u64 page;
};

static bool has_s2fwb(void)
{
	return smmu_reg(edu_own_group(0), IDR3) & IDR3_FWB;
}

FIXTURE_SETUP(attr)
{
	const char *lack = lacks(edu_own_group(0), NULL);
	struct guest *guest = &self->guest;
	__u64 word = 0, va = VA;
	unsigned int i;
	__le64 *cd;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_open(guest, &self->vm, edu_own_group(0));
	cd = vm_ptr(&self->vm, guest->s1.cd);
	self->page = vm_alloc(&self->vm, 1);
	for (i = 0; i < ARRAY_SIZE(mair); i++, va += GUEST_PAGE) {
		word |= (__u64)mair[i] << i * 8;
		s1_map_flip(&guest->s1, va, self->page, PTE_ATTR(i));
	}
	cd[3] = htole64(word);
	guest_start(guest, VSID);
}

FIXTURE_TEARDOWN(attr)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

/* The attributes of the n-th page, by a write and a read. -1 if they differ */
static int attr_of(struct edu *edu, __u64 how, __u64 va)
{
	__u64 val;
	int attr;

	if (dma_write(edu, how, va, va) != DMA_OK)
		return -1;
	attr = dma_attr(edu);
	if (dma_read(edu, how, va, &val) != DMA_OK || val != va ||
	    dma_attr(edu) != attr)
		return -1;
	return attr;
}

/* Twice: the TLB has to know them as well. */
TEST_F(attr, guest_cannot_weaken_them)
{
	unsigned int i, round;

	if (!has_s2fwb())
		SKIP(return, "needs an SMMU with S2FWB");
	for (round = 0; round < 2; round++) {
		for (i = 0; i < ARRAY_SIZE(mair); i++) {
			__u64 va = VA + i * GUEST_PAGE;

			EXPECT_EQ(ATTR_WB, attr_of(&self->guest.edu,
						   DMA_UNTRANSLATED, va))
				TH_LOG("stage 1 has %#x", mair[i]);
		}
	}
}

/* The ABI leaves it to CANWBS there, and the device still shows what a guest chose. */
TEST_F(attr, guest_can_weaken_them_without_s2fwb)
{
	unsigned int i;

	if (has_s2fwb())
		SKIP(return, "needs an SMMU without S2FWB");
	for (i = 0; i < ARRAY_SIZE(mair); i++)
		EXPECT_EQ(mair[i], attr_of(&self->guest.edu, DMA_UNTRANSLATED,
					   VA + i * GUEST_PAGE));
}

/* Stage 2 alone, by each way there is to it */
TEST_F(attr, stage2_alone_is_write_back)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;

	edu_attach(edu, guest_nested(guest, vste_bypass()));
	EXPECT_EQ(ATTR_WB, attr_of(edu, DMA_UNTRANSLATED, self->page));
	edu_attach(edu, guest->s2);
	EXPECT_EQ(ATTR_WB, attr_of(edu, DMA_UNTRANSLATED, self->page));
	edu_detach(edu);
	edu_attach(edu, guest->nested);
	EXPECT_EQ(ATTR_WB, attr_of(edu, DMA_UNTRANSLATED, VA));
}

/*
 * STE.S2FWB changes what the tables mean. The STE and the tables belong together in each
 * move between a nest parent and a domain whose tables have no S2FWB.
 */
TEST_F(attr, moves_between_domains_keep_them)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u32 plain;
	int round;

	must(__hwpt_alloc(&self->vm, edu->dev_id, self->vm.ioas, 0,
			  IOMMU_HWPT_DATA_NONE, NULL, 0, &plain), "HWPT_ALLOC");
	for (round = 0; round < 3; round++) {
		edu_attach(edu, plain);
		EXPECT_EQ(ATTR_WB, attr_of(edu, DMA_UNTRANSLATED, self->page))
			TH_LOG("stage 1 of the host");
		edu_attach(edu, guest->s2);
		EXPECT_EQ(ATTR_WB, attr_of(edu, DMA_UNTRANSLATED, self->page))
			TH_LOG("nest parent");
		edu_attach(edu, guest->nested);
		EXPECT_EQ(ATTR_WB, attr_of(edu, DMA_UNTRANSLATED, VA))
			TH_LOG("nested");
		edu_attach(edu, plain);
		edu_attach(edu, guest->nested);
		EXPECT_EQ(ATTR_WB, attr_of(edu, DMA_UNTRANSLATED, VA))
			TH_LOG("nested, from stage 1 of the host");
	}
}

/* Memory that is mapped while the guest runs, and a large block of it */
TEST_F(attr, later_mappings_have_them_too)
{
	const __u64 size = HUGE_PAGE;
	struct guest *guest = &self->guest;
	int weakest = has_s2fwb() ? ATTR_WB : ATTR_NC;
	void *dimm = huge_page_alloc();
	__u64 off;

	vm_map(&self->vm, DIMM, dimm, size);
	for (off = 0; off < size; off += size / 4) {
		s1_map_flip(&guest->s1, VA2 - off, DIMM + off, PTE_ATTR(2));
		EXPECT_EQ(weakest,
			  attr_of(&guest->edu, DMA_UNTRANSLATED, VA2 - off));
		s1_map_flip(&guest->s1, VA2 - off - GUEST_PAGE, DIMM + off,
			    PTE_ATTR(0));
		EXPECT_EQ(ATTR_WB, attr_of(&guest->edu, DMA_UNTRANSLATED,
					   VA2 - off - GUEST_PAGE));
	}
}

TEST_F(attr, atc_does_not_change_them)
{
	struct guest *guest = &self->guest;
	struct iommu_hwpt_arm_smmuv3 vste = vste_eats(&guest->s1, 1);
	unsigned int i;

	if (!(smmu_reg(edu_own_group(0), IDR0) & IDR0_ATS))
		SKIP(return, "needs an SMMU with ATS");
	edu_attach(&guest->edu, guest_nested(guest, vste));
	for (i = 0; i < ARRAY_SIZE(mair); i++) {
		__u64 va = VA + i * GUEST_PAGE;

		EXPECT_EQ(self->page, dma_lands(&guest->edu, DMA_ATC, va));
		EXPECT_EQ(has_s2fwb() ? ATTR_WB : mair[i],
			  attr_of(&guest->edu, DMA_UNTRANSLATED, va));
	}
}

TEST_F(attr, hw_info_tells_of_s2fwb)
{
	EXPECT_EQ(smmu_reg(edu_own_group(0), IDR3), smmu_idr(&self->guest, 3));
	EXPECT_EQ(has_s2fwb(), !!(smmu_idr(&self->guest, 3) & IDR3_FWB));
}

/* ---- Neither CANWBS nor S2FWB ---- */

/* A nest parent is possible there. A guest that owns stage 1 is not. */
TEST(smmu_that_cannot_keep_dma_coherent_has_no_viommu)
{
	const struct edu_slot *slot = edu_own_group(0);
	struct edu edu;
	struct vm vm;
	__u64 page;
	__u32 id;

	if (!slot || !why)
		SKIP(return, "needs an SMMU with neither CANWBS nor S2FWB");
	vm_init(&vm);
	edu_open(&edu, &vm, slot);
	vm.s2 = s2_alloc(&vm, edu.dev_id);
	EXPECT_EQ(EOPNOTSUPP,
		  __viommu_alloc(&vm, edu.dev_id, vm.s2,
				 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	edu_attach(&edu, vm.s2);
	page = vm_alloc(&vm, 1);
	EXPECT_EQ(ATTR_WB, attr_of(&edu, DMA_UNTRANSLATED, page));
	edu_close(&edu);
	vm_free(&vm);
}

TEST_HARNESS_MAIN
