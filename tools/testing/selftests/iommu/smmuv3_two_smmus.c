// SPDX-License-Identifier: GPL-2.0-only
/*
 * One VM with devices behind two SMMUv3s, which may share one stage 2: QEMU's
 * "edu" devices behind two of its emulated SMMUs, see smmuv3_lib.h for what they
 * need.
 *
 * Each of the two guests here owns a device and a vSMMU: the first behind one
 * SMMU, the second behind the other. All numbers that a guest chooses are equal.
 * Both vSMMUs are on one nest parent, or each is on one of its own. Nothing but
 * the number of tables may differ between the two.
 *
 * QEMU keeps every translation until a command removes it. Each SMMU has a TLB
 * of its own.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "smmuv3_test.h"
#include "smmuv3_vevent.h"

#define DEPTH		64
#define DIMM_PAGES	4
#define DOORBELL	0x8000000UL	/* first of the window for MSIs */

/* What a device can be attached to, besides nothing */
enum where { S1, BYPASS, S2, PLACES };

FIXTURE(two_smmus)
{
	struct host host[2];
	struct klog klog;
	struct vm vm;
	struct guest guest[2];
	struct veventq q[2];
	__u32 bypass[2];
	void *dimm[2];		/* DIMM_PAGES each, not yet mapped at DIMM */
};

FIXTURE_VARIANT(two_smmus)
{
	bool shared;
};

FIXTURE_VARIANT_ADD(two_smmus, own_parents) { .shared = false };
FIXTURE_VARIANT_ADD(two_smmus, shared_parent) { .shared = true };

/* The vSMMU of a guest whose device is behind stage 2, and all that needs it */
static void build(struct guest *guest, struct veventq *q, __u32 *bypass)
{
	guest->viommu = viommu_alloc_on(guest->vm, guest->edu.dev_id, guest->s2);
	veventq_alloc(guest->vm, guest->viommu, DEPTH, q);
	*bypass = guest_nested(guest, vste_bypass());
	guest_start(guest, VSID);
}

/* Takes that away again. The device stays behind stage 2. */
static void raze(struct guest *guest, struct veventq *q, __u32 bypass)
{
	edu_attach(&guest->edu, guest->s2);
	iommu_destroy(guest->vm, guest->nested);
	iommu_destroy(guest->vm, bypass);
	iommu_destroy(guest->vm, guest->vdevice);
	veventq_free(guest->vm, q);
	iommu_destroy(guest->vm, guest->viommu);
}

FIXTURE_SETUP(two_smmus)
{
	const char *lack = lacks(edu_behind(1, 0), LACKS_SMMU);
	struct vm *vm = &self->vm;
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	klog_open(&self->klog);
	vm_init(vm);
	for (i = 0; i < 2; i++) {
		struct guest *guest = &self->guest[i];

		host_watch(&self->host[i], edu_behind(i, 0));
		guest_device_on(guest, vm, edu_behind(i, 0),
				variant->shared ? self->guest[0].s2 : 0);
		edu_load_tokens(&guest->edu);
		build(guest, &self->q[i], &self->bypass[i]);
		self->dimm[i] = dimm_alloc(DIMM_PAGES);
	}
}

FIXTURE_TEARDOWN(two_smmus)
{
	int i;

	if (!self->vm.ram)
		return;
	for (i = 0; i < 2; i++)
		if (self->guest[i].edu.fd >= 0)
			edu_close(&self->guest[i].edu);
	vm_free(&self->vm);
	klog_close(&self->klog);
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(host_is_fine(&self->host[i]));
}

static void go(struct guest *guest, __u32 bypass, enum where where)
{
	const __u32 pt[PLACES] = {
		[S1] = guest->nested, [BYPASS] = bypass, [S2] = guest->s2,
	};

	edu_attach(&guest->edu, pt[where]);
}

/*
 * The host's log has a fault of stage 2 at @va, by this guest's device. It says no
 * more than ten in five seconds, so the device tries until one is there.
 */
static bool host_says(struct klog *klog, struct guest *guest, __u64 va)
{
	struct evt evt;
	int i;

	for (i = 0; i < 60; i++) {
		edu_write(&guest->edu, va, 0, 4);
		if (klog_event(klog, &evt, 1000))
			return evt.id == EVT_F_TRANSLATION && evt.s2 &&
			       evt.addr == va;
	}
	return false;
}

/* ---- DMA by both devices ---- */

TEST_F(two_smmus, dma_through_both)
{
	struct change c[2];
	__u64 page[2];
	int i, round;

	for (i = 0; i < 2; i++) {
		page[i] = vm_alloc(&self->vm, 1);
		s1_map(&self->guest[i].s1, VA2, page[i]);
	}
	for (round = 0; round < 2; round++)
		for (i = 0; i < 2; i++)
			EXPECT_EQ(page[i], edu_lands(&self->guest[i].edu, VA2));

	/* A command of one is none of the other. */
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(stale(&self->guest[i], &c[i], VA));
	guest_cmd(&self->guest[0], cmd_tlbi_nh_all());
	EXPECT_TRUE(goes_after(&self->guest[0], &c[0]));
	EXPECT_TRUE(goes_before(&self->guest[1], &c[1]));
	guest_cmd(&self->guest[1], cmd_tlbi_nh_va(ASID, VA));
	EXPECT_TRUE(goes_after(&self->guest[1], &c[1]));

	for (i = 0; i < 2; i++) {
		memset(vm_ptr(&self->vm, page[i] + 512), 'a' + i, 8);
		edu_read(&self->guest[i].edu, VA2 + 512, 0, 8);
	}
	for (i = 0; i < 2; i++) {
		edu_write(&self->guest[i].edu, VA2 + 1024, 0, 8);
		EXPECT_EQ(0, memcmp(vm_ptr(&self->vm, page[i] + 1024),
				    vm_ptr(&self->vm, page[i] + 512), 8));
	}
}

/* ---- What stage 2 changes ---- */

/*
 * Both devices have their translation in the TLB, which is certain since they go by
 * it after stage 1 has changed. Once the ioctl has returned, neither of them does.
 */
TEST_F(two_smmus, unmap_stops_both)
{
	char before[GUEST_PAGE], line[sizeof(self->klog.line)] = "";
	struct vm *vm = &self->vm;
	__u64 other[2];
	int i;

	vm_map(vm, DIMM, self->dimm[0], GUEST_PAGE);
	for (i = 0; i < 2; i++) {
		struct guest *guest = &self->guest[i];

		other[i] = vm_alloc(vm, 1);
		s1_map(&guest->s1, VA, DIMM);
		EXPECT_TRUE(edu_reaches(&guest->edu, VA, self->dimm[0]));
		s1_map(&guest->s1, VA, other[i]);
	}
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(edu_reaches(&self->guest[i].edu, VA, self->dimm[0]));

	vm_unmap(vm, DIMM, GUEST_PAGE);
	memcpy(before, self->dimm[0], GUEST_PAGE);
	for (i = 0; i < 2; i++)
		edu_start(&self->guest[i].edu, VA, 0, GUEST_PAGE, true);
	for (i = 0; i < 2; i++) {
		edu_wait(&self->guest[i].edu);
		EXPECT_EQ(other[i], edu_lands(&self->guest[i].edu, VA));
	}

	/* Stage 1 has it again, stage 2 has not: a fault of the host. */
	for (i = 0; i < 2; i++) {
		struct guest *guest = &self->guest[i];

		s1_map(&guest->s1, VA, DIMM);
		guest_cmd(guest, cmd_tlbi_nh_all());
		EXPECT_TRUE(host_says(&self->klog, guest, VA + 8 * i));
		EXPECT_TRUE(is_empty(&self->q[i]));
		/* The line begins with the SMMU that says it. */
		EXPECT_NE(0, strcmp(line, self->klog.line));
		memcpy(line, self->klog.line, sizeof(line));
	}
	EXPECT_EQ(0, memcmp(before, self->dimm[0], GUEST_PAGE));
}

/* It doesn't matter how the devices come to it: 9 ways for the two of them. */
TEST_F(two_smmus, unmap_reaches_every_state)
{
	int at[2], i;

	for (i = 0; i < 2; i++)
		s1_map(&self->guest[i].s1, DIMM, DIMM);
	for (at[0] = 0; at[0] < PLACES; at[0]++) {
		for (at[1] = 0; at[1] < PLACES; at[1]++) {
			vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
			for (i = 0; i < 2; i++) {
				go(&self->guest[i], self->bypass[i], at[i]);
				EXPECT_TRUE(edu_reaches(&self->guest[i].edu,
							DIMM, self->dimm[0]))
					TH_LOG("at %d and %d: %d", at[0], at[1],
					       i);
			}
			vm_unmap(&self->vm, DIMM, GUEST_PAGE);
			for (i = 0; i < 2; i++) {
				EXPECT_FALSE(edu_reaches(&self->guest[i].edu,
							 DIMM, self->dimm[0]))
					TH_LOG("at %d and %d: %d", at[0], at[1],
					       i);
			}
		}
	}
}

/* What a device learned before it was detached, its VMID must forget, too. */
TEST_F(two_smmus, unmap_reaches_what_was_cached_before)
{
	int i, at;

	for (i = 0; i < 2; i++) {
		struct guest *guest = &self->guest[i];

		s1_map(&guest->s1, DIMM, DIMM);
		for (at = 0; at < PLACES; at++) {
			vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
			go(guest, self->bypass[i], at);
			EXPECT_TRUE(edu_reaches(&guest->edu, DIMM,
						self->dimm[0]));
			edu_detach(&guest->edu);
			vm_unmap(&self->vm, DIMM, GUEST_PAGE);
			go(guest, self->bypass[i], at);
			EXPECT_FALSE(edu_reaches(&guest->edu, DIMM,
						 self->dimm[0]))
				TH_LOG("device %d at %d", i, at);
		}
	}
}

TEST_F(two_smmus, remap_is_seen_by_both)
{
	int i, round;

	for (i = 0; i < 2; i++)
		s1_map(&self->guest[i].s1, VA, DIMM);
	for (round = 0; round < 6; round++) {
		void *dimm = self->dimm[round % 2];

		vm_map(&self->vm, DIMM, dimm, GUEST_PAGE);
		for (i = 0; i < 2; i++) {
			EXPECT_TRUE(edu_reaches(&self->guest[i].edu, VA, dimm))
				TH_LOG("round %d, device %d", round, i);
		}
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);
		/* From one page to the next without a look in between, or with one */
		for (i = 0; i < 2 && round % 3; i++) {
			EXPECT_FALSE(edu_reaches(&self->guest[i].edu, VA, dimm))
				TH_LOG("round %d, device %d", round, i);
		}
	}
}

/* The first, a middle and the last page of ranges; the page behind stays. */
TEST_F(two_smmus, unmap_of_ranges)
{
	static const unsigned int pages[] = { 2, 512, 513 };
	struct vm *vm = &self->vm;
	unsigned int r, i, k;
	__u64 base = 2 * DIMM;

	for (r = 0; r < ARRAY_SIZE(pages); r++) {
		__u64 len = pages[r] * GUEST_PAGE;
		__u64 at[] = {
			0, pages[r] / 2 * GUEST_PAGE, len - GUEST_PAGE, len,
		};
		void *mem = mmap(NULL, len + GUEST_PAGE, PROT_READ | PROT_WRITE,
				 MAP_ANONYMOUS | MAP_SHARED, -1, 0);

		ASSERT_NE(MAP_FAILED, mem);
		vm_map(vm, base, mem, len);
		vm_map(vm, base + len, mem + len, GUEST_PAGE);
		for (i = 0; i < 2; i++) {
			struct guest *guest = &self->guest[i];

			for (k = 0; k < 4; k++) {
				s1_map(&guest->s1, base + at[k], base + at[k]);
				guest_cmd(guest, cmd_tlbi_nh_va(ASID, base + at[k]));
				EXPECT_TRUE(edu_reaches(&guest->edu, base + at[k],
							mem + at[k]))
					TH_LOG("%u pages, device %u, place %u",
					       pages[r], i, k);
			}
		}
		vm_unmap(vm, base, len);
		for (i = 0; i < 2; i++) {
			for (k = 0; k < 4; k++) {
				EXPECT_EQ(k == 3,
					  edu_reaches(&self->guest[i].edu,
						      base + at[k], mem + at[k]))
					TH_LOG("%u pages, device %u, place %u",
					       pages[r], i, k);
			}
		}
		vm_unmap(vm, base + len, GUEST_PAGE);
		munmap(mem, len + GUEST_PAGE);
	}
}

/* ---- Coming and going ---- */

/* One vSMMU goes and comes back. The other has its entries, and loses none. */
TEST_F(two_smmus, vsmmu_goes_and_comes)
{
	struct change c;
	int i;

	for (i = 0; i < 2; i++) {
		struct guest *goes = &self->guest[i], *stays = &self->guest[!i];

		s1_map(&goes->s1, DIMM, DIMM);
		s1_map(&stays->s1, DIMM, DIMM);
		ASSERT_TRUE(stale(stays, &c, VA + i * GUEST_PAGE));
		raze(goes, &self->q[i], self->bypass[i]);
		EXPECT_TRUE(goes_before(stays, &c));
		edu_detach(&goes->edu);
		EXPECT_TRUE(goes_before(stays, &c));
		guest_cmd(stays, cmd_tlbi_nh_va(ASID, c.va));
		EXPECT_TRUE(goes_after(stays, &c));

		/* The other alone */
		vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
		EXPECT_TRUE(edu_reaches(&stays->edu, DIMM, self->dimm[0]));
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);
		EXPECT_FALSE(edu_reaches(&stays->edu, DIMM, self->dimm[0]));

		/* Both again */
		build(goes, &self->q[i], &self->bypass[i]);
		vm_map(&self->vm, DIMM, self->dimm[1], GUEST_PAGE);
		EXPECT_TRUE(edu_reaches(&goes->edu, DIMM, self->dimm[1]));
		EXPECT_TRUE(edu_reaches(&stays->edu, DIMM, self->dimm[1]));
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);
		EXPECT_FALSE(edu_reaches(&goes->edu, DIMM, self->dimm[1]));
		EXPECT_FALSE(edu_reaches(&stays->edu, DIMM, self->dimm[1]));
	}
}

/* The device itself goes, and with it the SMMU that the nest parent was made for. */
TEST_F(two_smmus, device_goes_and_comes)
{
	struct vm *vm = &self->vm;
	struct change c;
	int i;

	for (i = 0; i < 2; i++) {
		struct guest *goes = &self->guest[i], *stays = &self->guest[!i];
		__u32 parent = goes->s2;

		s1_map(&stays->s1, DIMM, DIMM);
		ASSERT_TRUE(stale(stays, &c, VA + i * GUEST_PAGE));
		raze(goes, &self->q[i], self->bypass[i]);
		edu_close(&goes->edu);
		EXPECT_TRUE(goes_before(stays, &c));
		vm_map(vm, DIMM, self->dimm[0], GUEST_PAGE);
		EXPECT_TRUE(edu_reaches(&stays->edu, DIMM, self->dimm[0]));
		vm_unmap(vm, DIMM, GUEST_PAGE);
		EXPECT_FALSE(edu_reaches(&stays->edu, DIMM, self->dimm[0]));

		guest_device_on(goes, vm, edu_behind(i, 0), parent);
		edu_load_tokens(&goes->edu);
		build(goes, &self->q[i], &self->bypass[i]);
		s1_map(&goes->s1, DIMM, DIMM);
		vm_map(vm, DIMM, self->dimm[1], GUEST_PAGE);
		EXPECT_TRUE(edu_reaches(&goes->edu, DIMM, self->dimm[1]));
		EXPECT_TRUE(edu_reaches(&stays->edu, DIMM, self->dimm[1]));
		vm_unmap(vm, DIMM, GUEST_PAGE);
		EXPECT_FALSE(edu_reaches(&goes->edu, DIMM, self->dimm[1]));
		EXPECT_FALSE(edu_reaches(&stays->edu, DIMM, self->dimm[1]));
	}
}

/*
 * VMMs attach a device to the nest parent itself until its guest wants more, here
 * without any vSMMU on the device's SMMU. Then they move it to and fro.
 */
TEST_F(two_smmus, plain_and_nested)
{
	static const enum where way[] = { S2, S1, S2, BYPASS, S2, S1, BYPASS, S1 };
	struct guest *first = &self->guest[0], *guest = &self->guest[1];
	struct vm *vm = &self->vm;
	__u64 page = vm_alloc(vm, 1);
	struct change c;
	unsigned int i;

	ASSERT_TRUE(stale(first, &c, VA));
	raze(guest, &self->q[1], self->bypass[1]);
	for (i = 0; i < 2; i++) {
		vm_map(vm, DIMM, self->dimm[i], GUEST_PAGE);
		EXPECT_TRUE(edu_reaches(&guest->edu, DIMM, self->dimm[i]));
		EXPECT_EQ(page, edu_lands(&guest->edu, page));
		if (i)
			edu_detach(&guest->edu);
		vm_unmap(vm, DIMM, GUEST_PAGE);
		if (i)
			edu_attach(&guest->edu, guest->s2);
		EXPECT_FALSE(edu_reaches(&guest->edu, DIMM, self->dimm[i]));
		EXPECT_EQ(page, edu_lands(&guest->edu, page));
	}

	build(guest, &self->q[1], &self->bypass[1]);
	s1_map(&guest->s1, DIMM, DIMM);
	s1_map(&guest->s1, VA, page);
	for (i = 0; i < ARRAY_SIZE(way); i++) {
		void *dimm = self->dimm[i % 2];

		go(guest, self->bypass[1], way[i]);
		EXPECT_EQ(page, edu_lands(&guest->edu,
					  way[i] == S1 ? VA : page))
			TH_LOG("step %u", i);
		EXPECT_EQ(NOWHERE, edu_lands(&guest->edu,
					     way[i] == S1 ? page : VA))
			TH_LOG("step %u", i);
		vm_map(vm, DIMM, dimm, GUEST_PAGE);
		EXPECT_TRUE(edu_reaches(&guest->edu, DIMM, dimm))
			TH_LOG("step %u", i);
		vm_unmap(vm, DIMM, GUEST_PAGE);
		EXPECT_FALSE(edu_reaches(&guest->edu, DIMM, dimm))
			TH_LOG("step %u", i);
	}
	/* The changes of stage 2 reached the first guest, and nothing else did. */
	EXPECT_TRUE(goes_after(first, &c));
}

static unsigned int count_viommus(struct guest *guest)
{
	__u32 ids[64];
	unsigned int n = 0, i;
	int rc;

	do {
		rc = __viommu_alloc(guest->vm, guest->edu.dev_id, guest->s2,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &ids[n]);
	} while (!rc && ++n < ARRAY_SIZE(ids));
	for (i = 0; i < n; i++)
		iommu_destroy(guest->vm, ids[i]);
	return rc == ENOSPC ? n : ~0U;
}

/*
 * A device pays for a few VMIDs. What is lost once a round is missing at the end,
 * and what one device uses up the other one has.
 */
TEST_F(two_smmus, vmids_come_back)
{
	unsigned int all[2], round, i, n;
	struct vm *vm = &self->vm;
	__u32 ids[64];

	for (i = 0; i < 2; i++) {
		all[i] = count_viommus(&self->guest[i]);
		ASSERT_NE(~0U, all[i]);
		ASSERT_LT(1, all[i]);
	}
	for (round = 0; round < 100; round++) {
		struct guest *guest = &self->guest[round % 2];

		for (i = 0; i < 2; i++)
			ids[i] = viommu_alloc_on(vm, self->guest[i].edu.dev_id,
						 self->guest[i].s2);
		for (i = 0; i < 2; i++)
			iommu_destroy(vm, ids[i ^ round % 2]);
		if (round % 5)
			continue;
		/* A VMID that was in use, and that of stage 2 alone */
		raze(guest, &self->q[round % 2], self->bypass[round % 2]);
		edu_detach(&guest->edu);
		edu_attach(&guest->edu, guest->s2);
		build(guest, &self->q[round % 2], &self->bypass[round % 2]);
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(all[i], count_viommus(&self->guest[i]));

	for (n = 0; n < all[0]; n++)
		ids[n] = viommu_alloc_on(vm, self->guest[0].edu.dev_id,
					 self->guest[0].s2);
	EXPECT_EQ(all[1], count_viommus(&self->guest[1]));
	for (n = 0; n < all[0]; n++)
		iommu_destroy(vm, ids[n]);

	for (i = 0; i < 2; i++) {
		struct change c;

		ASSERT_TRUE(stale(&self->guest[i], &c, VA));
		guest_cmd(&self->guest[i], cmd_tlbi_nh_va(ASID, VA));
		EXPECT_TRUE(goes_after(&self->guest[i], &c));
	}
}

TEST_F(two_smmus, destroy_order)
{
	struct guest *first = &self->guest[0], *guest = &self->guest[1];
	struct vm *vm = &self->vm;
	int i;

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(EBUSY, __iommu_destroy(vm, self->guest[i].s2));
		EXPECT_EQ(EBUSY, __iommu_destroy(vm, self->guest[i].viommu));
	}
	/* A vSMMU without a device attached is enough, of either SMMU. */
	for (i = 0; i < 2; i++) {
		raze(&self->guest[i], &self->q[i], self->bypass[i]);
		edu_detach(&self->guest[i].edu);
	}
	for (i = 0; i < 2; i++) {
		__u32 id = viommu_alloc_on(vm, self->guest[i].edu.dev_id,
					   self->guest[i].s2);

		EXPECT_EQ(EBUSY, __iommu_destroy(vm, self->guest[i].s2));
		iommu_destroy(vm, id);
	}
	/* So is a device that is attached to it. */
	for (i = 0; i < 2; i++) {
		edu_attach(&self->guest[i].edu, self->guest[i].s2);
		EXPECT_EQ(EBUSY, __iommu_destroy(vm, self->guest[i].s2));
		edu_detach(&self->guest[i].edu);
	}

	for (i = 0; i < 2; i++) {
		edu_attach(&self->guest[i].edu, self->guest[i].s2);
		build(&self->guest[i], &self->q[i], &self->bypass[i]);
	}
	raze(first, &self->q[0], self->bypass[0]);
	edu_close(&first->edu);
	EXPECT_EQ(variant->shared ? EBUSY : 0, __iommu_destroy(vm, first->s2));

	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->nested));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->vdevice));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->s2));
	raze(guest, &self->q[1], self->bypass[1]);
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->s2));
	edu_detach(&guest->edu);
	EXPECT_EQ(0, __iommu_destroy(vm, guest->s2));
}

/* All of it goes with the iommufd, in the middle of DMA. */
TEST_F(two_smmus, iommufd_goes_first)
{
	int i;

	for (i = 0; i < 2; i++) {
		s1_map(&self->guest[i].s1, VA, vm_alloc(&self->vm, 1));
		edu_start(&self->guest[i].edu, VA, 0, GUEST_PAGE, true);
	}
	for (i = 0; i < 2; i++)
		close(self->q[i].fd);
	close(self->vm.iommufd);
	for (i = 0; i < 2; i++)
		edu_close(&self->guest[i].edu);

	/* And the devices work for the next one. */
	vm_init(&self->vm);
	for (i = 0; i < 2; i++) {
		guest_device_on(&self->guest[i], &self->vm, edu_behind(i, 0),
				i && variant->shared ? self->guest[0].s2 : 0);
		edu_load_tokens(&self->guest[i].edu);
		build(&self->guest[i], &self->q[i], &self->bypass[i]);
	}
}

/* ---- Whose it is ---- */

TEST_F(two_smmus, events_go_to_their_queue)
{
	int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 2; i++) {
			__u64 va = VA + round * 8 + i * 4;

			edu_write(&self->guest[i].edu, va, 0, 4);
			EXPECT_POKE(&self->q[i], round, VSID, va);
			EXPECT_TRUE(is_empty(&self->q[!i]));
		}
	}

	/* One has no queue: the host hears of it, and the other guest does not. */
	raze(&self->guest[0], &self->q[0], self->bypass[0]);
	EXPECT_TRUE(host_says(&self->klog, &self->guest[0], VA));
	EXPECT_TRUE(is_empty(&self->q[1]));
	build(&self->guest[0], &self->q[0], &self->bypass[0]);
	for (i = 0; i < 2; i++) {
		edu_write(&self->guest[i].edu, VA2, 0, 4);
		EXPECT_POKE(&self->q[i], i ? 3 : 0, VSID, VA2);
		EXPECT_TRUE(is_empty(&self->q[!i]));
	}
}

/* The nest parent is shared, a vSMMU and all that is made of it is not. */
TEST_F(two_smmus, objects_stay_with_their_smmu)
{
	struct vm *vm = &self->vm;
	int i;

	for (i = 0; i < 2; i++) {
		struct guest *guest = &self->guest[i], *other = &self->guest[!i];
		struct iommu_hwpt_arm_smmuv3 vstes[] = {
			vste_s1(&other->s1), vste_bypass(), vste_abort(),
		};
		__u64 page = vm_alloc(vm, 1);
		__u32 id, abort = guest_nested(other, vste_abort());
		unsigned int k;

		s1_map(&guest->s1, VA, page);
		for (k = 0; k < ARRAY_SIZE(vstes); k++)
			EXPECT_EQ(EINVAL, __nested_alloc(vm, guest->edu.dev_id,
							 other->viommu,
							  vstes[k], &id));
		EXPECT_EQ(EINVAL, __edu_attach(&guest->edu, abort));
		EXPECT_EQ(EINVAL, __edu_attach(&guest->edu, self->bypass[!i]));
		EXPECT_EQ(page, edu_lands(&guest->edu, VA));

		edu_attach(&guest->edu, guest->s2);
		iommu_destroy(vm, guest->vdevice);
		EXPECT_EQ(EINVAL, __vdevice_alloc(vm, other->viommu,
						  guest->edu.dev_id, 1, &id));
		EXPECT_EQ(EINVAL, __edu_attach(&guest->edu, self->bypass[!i]));
		EXPECT_EQ(page, edu_lands(&guest->edu, page));
		edu_detach(&guest->edu);
		EXPECT_EQ(EINVAL, __edu_attach(&guest->edu, abort));

		guest->vdevice = vdevice_alloc(vm, guest->viommu,
					       guest->edu.dev_id, VSID);
		edu_attach(&guest->edu, guest->nested);
		EXPECT_EQ(page, edu_lands(&guest->edu, VA));
		iommu_destroy(vm, abort);
	}
}

/* An SMMU that has no stage 2 cannot walk the tables of a nest parent. */
TEST_F(two_smmus, smmu_without_stage2)
{
	const struct edu_slot *slot = edu_behind(2, 0);
	struct vm *vm = &self->vm;
	struct edu edu;
	__u32 id;
	int i;

	if (!slot)
		SKIP(return, "needs an edu device behind an SMMU without stage 2");
	edu_open(&edu, vm, slot);
	if (__hwpt_alloc(vm, edu.dev_id, vm->ioas, IOMMU_HWPT_ALLOC_NEST_PARENT,
			 IOMMU_HWPT_DATA_NONE, NULL, 0, &id) != EOPNOTSUPP)
		SKIP(return, "the third SMMU has a stage 2");
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(EOPNOTSUPP,
			  __viommu_alloc(vm, edu.dev_id, self->guest[i].s2,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
		EXPECT_EQ(EINVAL, __edu_attach(&edu, self->guest[i].s2));
		EXPECT_EQ(EINVAL, __edu_attach(&edu, self->bypass[i]));
	}
	/* The IOAS it can have, by tables of its own. */
	edu_attach(&edu, vm->ioas);
	edu_load_tokens(&edu);
	edu_detach(&edu);
	edu_close(&edu);
}

TEST_F(two_smmus, msi_on_both)
{
	struct edu *edu[2] = { &self->guest[0].edu, &self->guest[1].edu };
	int i, at;

	for (i = 0; i < 2; i++) {
		s1_map(&self->guest[i].s1, DOORBELL, DOORBELL);
		edu_irq_enable(edu[i]);
	}
	for (i = 0; i < 2; i++) {
		for (at = 0; at < PLACES; at++) {
			go(&self->guest[i], self->bypass[i], at);
			EXPECT_EQ(1, edu_interrupts(edu[i]))
				TH_LOG("device %d at %d", i, at);
			EXPECT_EQ(1, edu_interrupts(edu[!i]))
				TH_LOG("device %d, the other at %d", !i, at);
		}
	}
	/* The doorbell of one may go, not that of the other. */
	for (i = 0; i < 2; i++) {
		edu_detach(edu[i]);
		EXPECT_EQ(1, edu_interrupts(edu[!i]));
		go(&self->guest[i], self->bypass[i], S1);
		EXPECT_EQ(1, edu_interrupts(edu[i]));
	}
	edu_irq_disable(edu[0]);
	edu_close(edu[0]);
	EXPECT_EQ(1, edu_interrupts(edu[1]));
	go(&self->guest[1], self->bypass[1], S2);
	EXPECT_EQ(1, edu_interrupts(edu[1]));
	edu_irq_disable(edu[1]);
}

/* ---- All at once ---- */

/*
 * Two buffers take turns as the memory at DIMM. In a buffer, device i has page i to
 * write to, and page 2 + i to read from: it copies words from there, again and again.
 * All the while it is moved. A round is over when both devices have copied what the
 * buffer of this round has. Then the buffer is taken away, and must not change.
 */
#define ROUNDS		20
#define WORDS		16
#define POISON		0xbad00badU

struct churn {
	struct guest *guest;
	struct veventq *q;
	__u32 *bypass;
	int index;
	unsigned int seed;
	atomic_bool stop;
	atomic_uint dmas, moves, rebuilt;
};

static __u32 churn_word(int index, unsigned int round)
{
	return 0xd0000000 | index << 24 | (round + 1);
}

static void *churn_dma(void *arg)
{
	struct churn *c = arg;
	struct edu *edu = &c->guest->edu;
	__u64 to = DIMM + c->index * GUEST_PAGE;

	for (; !c->stop; c->dmas++) {
		edu_read(edu, to + 2 * GUEST_PAGE, 0, WORDS * sizeof(__u32));
		edu_write(edu, to, 0, WORDS * sizeof(__u32));
	}
	return NULL;
}

static void *churn_moves(void *arg)
{
	struct churn *c = arg;
	struct guest *guest = c->guest;

	for (; !c->stop; c->moves++) {
		switch (c->moves % 8) {
		case 0:
			go(guest, *c->bypass, S2);
			break;
		case 2:
			go(guest, *c->bypass, BYPASS);
			break;
		case 3:
			guest_cmd(guest, cmd_tlbi_nh_all());
			break;
		case 4:
			edu_detach(&guest->edu);
			break;
		case 6:
			raze(guest, c->q, *c->bypass);
			build(guest, c->q, c->bypass);
			c->rebuilt++;
			break;
		default:
			go(guest, *c->bypass, S1);
		}
		usleep(rand_r(&c->seed) % 60000);
	}
	return NULL;
}

static __u32 checksum(const void *mem, size_t len)
{
	const unsigned char *p = mem;
	__u32 sum = 0x811c9dc5;

	while (len--)
		sum = (sum ^ *p++) * 0x01000193;
	return sum;
}

static void fill(__u32 *words, __u32 word)
{
	int i;

	for (i = 0; i < WORDS; i++)
		words[i] = word;
}

/* What a device has written is nothing, or what it was given in some round. */
static bool written_well(const __u32 *words, int index, unsigned int round)
{
	__u32 last = churn_word(index, round), first = churn_word(index, 0);
	int i;

	for (i = 0; i < WORDS; i++) {
		if (words[i] && (words[i] < first || words[i] > last)) {
			fprintf(stderr, "# device %d, round %u, word %d: %#x\n",
				index, round, i, words[i]);
			return false;
		}
	}
	return true;
}

static bool has_copied(const __u32 *words, int index, unsigned int round)
{
	return __atomic_load_n(&words[WORDS - 1], __ATOMIC_RELAXED) ==
	       churn_word(index, round);
}

TEST_F(two_smmus, churn)
{
	const size_t written = 2 * GUEST_PAGE;
	struct churn churn[2] = {};
	__u32 sum[2] = {};
	pthread_t threads[4];
	unsigned int round;
	int i, k, waits;

	for (i = 0; i < 2; i++) {
		struct churn *c = &churn[i];

		for (k = 0; k < DIMM_PAGES; k++)
			s1_map(&self->guest[i].s1, DIMM + k * GUEST_PAGE,
			       DIMM + k * GUEST_PAGE);
		/* Nothing yet of what the rounds give it */
		memset(self->dimm[0], 0, GUEST_PAGE);
		vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
		edu_read(&self->guest[i].edu, DIMM, 0, WORDS * sizeof(__u32));
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);

		c->guest = &self->guest[i];
		c->q = &self->q[i];
		c->bypass = &self->bypass[i];
		c->index = i;
		c->seed = i + 1;
		ASSERT_EQ(0, pthread_create(&threads[2 * i], NULL, churn_dma,
					    c));
		ASSERT_EQ(0, pthread_create(&threads[2 * i + 1], NULL,
					    churn_moves, c));
	}

	for (round = 0; round < ROUNDS; round++) {
		void *dimm = self->dimm[round % 2];
		__u32 *page[DIMM_PAGES];

		for (k = 0; k < DIMM_PAGES; k++)
			page[k] = dimm + k * GUEST_PAGE;
		/* Since it was taken away, the other buffer has been used. */
		if (round > 1) {
			ASSERT_EQ(sum[round % 2], checksum(dimm, written))
				TH_LOG("written to after round %u", round - 2);
		}
		memset(dimm, 0, written);
		for (i = 0; i < 2; i++)
			fill(page[2 + i], churn_word(i, round));

		vm_map(&self->vm, DIMM, dimm, DIMM_PAGES * GUEST_PAGE);
		for (i = 0, waits = 0; i < 2 && waits < 120000; waits++) {
			if (has_copied(page[i], i, round))
				i++;
			else
				usleep(1000);
		}
		vm_unmap(&self->vm, DIMM, DIMM_PAGES * GUEST_PAGE);
		sum[round % 2] = checksum(dimm, written);
		ASSERT_EQ(2, i) TH_LOG("device %d has no part in round %u", i,
				       round);
		for (i = 0; i < 2; i++) {
			ASSERT_TRUE(written_well(page[i], i, round));
			fill(page[2 + i], POISON);
		}
	}

	for (i = 0; i < 2; i++)
		churn[i].stop = true;
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(sum[i], checksum(self->dimm[i], written));
		TH_LOG("device %d: %u DMAs, %u moves, %u vSMMUs", i,
		       2 * churn[i].dmas, churn[i].moves, churn[i].rebuilt);
		EXPECT_LT(ROUNDS, churn[i].moves);
		EXPECT_LT(1, churn[i].rebuilt);
	}
}

TEST_HARNESS_MAIN
