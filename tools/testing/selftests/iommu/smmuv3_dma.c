// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested translation on an SMMUv3: where DMA goes. The devices are QEMU's "edu"
 * behind its emulated SMMUv3, see smmuv3_lib.h for what it needs.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "smmuv3_fixtures.h"

/* ---- One device, behind stage 1 ---- */

TEST_F(stage1, dma_goes_through_both_stages)
{
	struct guest *guest = &self->guest;
	__u64 from = vm_alloc(&self->vm, 1);
	__u64 to = vm_alloc(&self->vm, 2);
	__u32 *page = vm_ptr(&self->vm, from);
	unsigned int i;

	for (i = 0; i < 1024; i++)
		page[i] = 0xf00d0000 | i;
	s1_map(&guest->s1, VA, from);
	s1_map(&guest->s1, VA2, to + GUEST_PAGE);
	s1_map(&guest->s1, VA2 + GUEST_PAGE, to);
	edu_read(&guest->edu, VA, 0, GUEST_PAGE);
	edu_write(&guest->edu, VA2 + GUEST_PAGE / 2, 0, GUEST_PAGE);
	EXPECT_EQ(0, memcmp(vm_ptr(&self->vm, to + GUEST_PAGE * 3 / 2), page,
			    GUEST_PAGE / 2));
	EXPECT_EQ(0, memcmp(vm_ptr(&self->vm, to), page + 512,
			    GUEST_PAGE / 2));

	/* A gpa is not an address for the device any more. */
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, to));
}

TEST_F(stage1, unmap_ends_it)
{
	struct guest *guest = &self->guest;
	__u64 page = vm_alloc(&self->vm, 1);

	s1_map(&guest->s1, VA, page);
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	s1_unmap(&guest->s1, VA);
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, VA));
}

/* A replace that is refused leaves the attachment and its TLB commands. */
TEST_F(stage1, failed_replace)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u32 other, nested;
	struct change c;

	ASSERT_TRUE(stale(guest, &c, VA));
	other = viommu_alloc(vm, guest->edu.dev_id);
	nested = nested_alloc(vm, guest->edu.dev_id, other,
			      vste_s1(&guest->s1));
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, nested));
	iommu_destroy(vm, nested);
	iommu_destroy(vm, other);

	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->nested));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->vdevice));
	EXPECT_TRUE(goes_before(guest, &c));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA));
	EXPECT_TRUE(goes_after(guest, &c));
}

/* Every way from one state to another; in each, DMA does what it should. */
TEST_F(stage1, transitions)
{
	enum { S1, OTHER_S1, BYPASS, ABORT, S2, STATES };
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u64 page = vm_alloc(vm, 1);
	__u64 other_page = vm_alloc(vm, 1);
	struct s1 other_s1;
	__u32 pt[STATES];
	int from, to, i;

	s1_map(&guest->s1, VA, page);
	s1_init(&other_s1, vm, ASID + 1);
	s1_map(&other_s1, VA, other_page);
	pt[S1] = guest->nested;
	pt[OTHER_S1] = guest_nested(guest, vste_s1(&other_s1));
	pt[BYPASS] = guest_nested(guest, vste_bypass());
	pt[ABORT] = guest_nested(guest, vste_abort());
	pt[S2] = vm->s2;

	for (from = 0; from < STATES; from++) {
		for (to = 0; to < STATES; to++) {
			int state[2] = { from, to };

			if (from == to)
				continue;
			for (i = 0; i < 2; i++) {
				__u64 va = NOWHERE, gpa = NOWHERE;

				edu_attach(&guest->edu, pt[state[i]]);
				if (state[i] == S1)
					va = page;
				else if (state[i] == OTHER_S1)
					va = other_page;
				else if (state[i] != ABORT)
					gpa = page;
				EXPECT_EQ(va, edu_lands(&guest->edu, VA))
					TH_LOG("%d to %d, in %d", from, to,
					       state[i]);
				EXPECT_EQ(gpa, edu_lands(&guest->edu, page))
					TH_LOG("%d to %d, in %d", from, to,
					       state[i]);
			}
		}
	}
}

/* Memory that is taken from the guest, while the device knows where it was. */
FIXTURE(unplug)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	void *dimm[2];
};

FIXTURE_VARIANT(unplug)
{
	enum { BY_S1, BY_BYPASS, BY_S2 } by;
};

FIXTURE_VARIANT_ADD(unplug, stage1) { .by = BY_S1 };
FIXTURE_VARIANT_ADD(unplug, bypass) { .by = BY_BYPASS };
FIXTURE_VARIANT_ADD(unplug, stage2) { .by = BY_S2 };

FIXTURE_SETUP(unplug)
{
	const char *lack = lacks(edu_own_group(0), NULL);
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_own_group(0));
	guest_start(&self->guest, VSID);
	for (i = 0; i < 2; i++)
		self->dimm[i] = dimm_alloc(1);
}

FIXTURE_TEARDOWN(unplug)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

TEST_F(unplug, stops_dma)
{
	struct guest *guest = &self->guest;
	__u64 iova = DIMM;

	if (variant->by == BY_S1) {
		iova = VA;
		s1_map(&guest->s1, VA, DIMM);
	} else if (variant->by == BY_BYPASS) {
		edu_attach(&guest->edu, guest_nested(guest, vste_bypass()));
	} else {
		edu_attach(&guest->edu, self->vm.s2);
	}

	vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
	EXPECT_TRUE(edu_reaches(&guest->edu, iova, self->dimm[0]));
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	EXPECT_FALSE(edu_reaches(&guest->edu, iova, self->dimm[0]));
	vm_map(&self->vm, DIMM, self->dimm[1], GUEST_PAGE);
	EXPECT_TRUE(edu_reaches(&guest->edu, iova, self->dimm[1]));
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	EXPECT_FALSE(edu_reaches(&guest->edu, iova, self->dimm[1]));
}

/*
 * What the device learns in one state it has to forget in every other: entries
 * of the vSMMU's VMID outlive an attachment.
 */
TEST_F(unplug, reaches_what_was_cached_before)
{
	struct guest *guest = &self->guest;
	__u32 bypass = guest_nested(guest, vste_bypass());
	__u64 iova = variant->by == BY_S1 ? VA : DIMM;
	__u32 pt[] = { guest->nested, bypass, self->vm.s2 };

	s1_map(&guest->s1, VA, DIMM);
	vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
	edu_attach(&guest->edu, pt[variant->by]);
	EXPECT_TRUE(edu_reaches(&guest->edu, iova, self->dimm[0]));
	edu_detach(&guest->edu);
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	edu_attach(&guest->edu, pt[variant->by]);
	EXPECT_FALSE(edu_reaches(&guest->edu, iova, self->dimm[0]));
}

/* ---- The guest's commands ---- */

/* Equal in everything but their tables, and never seeing each other's. */
TEST_F(two_guests, guests_do_not_alias)
{
	__u64 page[2];
	int i, round;

	for (i = 0; i < 2; i++) {
		page[i] = vm_alloc(&self->vm, 1);
		s1_map(&self->guest[i].s1, VA, page[i]);
	}
	for (round = 0; round < 2; round++)
		for (i = 0; i < 2; i++)
			EXPECT_EQ(page[i], edu_lands(&self->guest[i].edu, VA));

	/* And reads. */
	memcpy(vm_ptr(&self->vm, page[0] + 512), "mine", 5);
	memcpy(vm_ptr(&self->vm, page[1] + 512), "yours", 6);
	for (i = 0; i < 2; i++)
		edu_read(&self->guest[i].edu, VA + 512, 0, 8);
	for (i = 0; i < 2; i++)
		edu_write(&self->guest[i].edu, VA + 1024, 0, 8);
	EXPECT_STREQ("mine", vm_ptr(&self->vm, page[0] + 1024));
	EXPECT_STREQ("yours", vm_ptr(&self->vm, page[1] + 1024));
}

/* Nor does one in bypass, which has entries of stage 2 under its own VMID. */
TEST_F(two_guests, bypass_does_not_alias)
{
	struct guest *a = &self->guest[0], *b = &self->guest[1];
	__u64 page = vm_alloc(&self->vm, 1);

	s1_map(&a->s1, DIMM, page);
	EXPECT_EQ(page, edu_lands(&a->edu, DIMM));
	edu_attach(&b->edu, guest_nested(b, vste_bypass()));
	EXPECT_EQ(NOWHERE, edu_lands(&b->edu, DIMM));
	EXPECT_EQ(page, edu_lands(&b->edu, page));
	EXPECT_EQ(NOWHERE, edu_lands(&a->edu, page));
}

/* What a guest loses, every vSMMU on the nest parent loses. */
TEST_F(two_guests, unplug_reaches_both)
{
	void *dimm = dimm_alloc(1);
	int i;

	vm_map(&self->vm, DIMM, dimm, GUEST_PAGE);
	for (i = 0; i < 2; i++) {
		s1_map(&self->guest[i].s1, VA + i * GUEST_PAGE, DIMM);
		EXPECT_TRUE(edu_reaches(&self->guest[i].edu,
					VA + i * GUEST_PAGE, dimm));
	}
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	for (i = 0; i < 2; i++)
		EXPECT_FALSE(edu_reaches(&self->guest[i].edu,
					 VA + i * GUEST_PAGE, dimm));
}

TEST_HARNESS_MAIN
