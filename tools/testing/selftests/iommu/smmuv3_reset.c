// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reset of a VM's device with ATS, on an SMMUv3
 *
 * The devices are viommu-dma, see smmuv3_dma_dev.h. They have an FLR, for which the
 * kernel waits 100 ms. In this time they answer no ATC_INV: one that is issued makes
 * the SMMU report an error, which host_is_fine() sees. A test knows that a device is in
 * reset while VFIO refuses to attach it with EBUSY.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include <linux/vfio.h>

#include "../kselftest_harness.h"
#include "smmuv3_dma_test.h"

#define DMA_KNOB_RESET_SILENT	_BITULL(7)

#define RESETS	10

FIXTURE(reset)
{
	struct host host;
	struct vm vm[2];
	struct guest guest[2];
	__u32 other;		/* a nested domain that is like guest[0].nested */
	__u64 page[2];		/* where VA points to */
	void *dimm;
};

FIXTURE_VARIANT(reset)
{
	bool nested;
};

/* The guest's own stage 1 */
FIXTURE_VARIANT_ADD(reset, nested) { .nested = true };
/* Stage 2 alone, for which the nest parent has a VMID of its own */
FIXTURE_VARIANT_ADD(reset, plain) { .nested = false };

/* Where DMA of @guest goes to its page */
static __u64 dma_at(struct guest *guest, __u64 page)
{
	return guest->nested ? VA : page;
}

FIXTURE_SETUP(reset)
{
	const char *lack = lacks(edu_own_group(1),
				 "needs two viommu-dma devices");
	struct guest *guest;
	int i;

	if (!lack && !(smmu_reg(edu_own_group(0), IDR0) & IDR0_ATS))
		lack = "needs an SMMU with ATS";
	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	for (i = 0; i < 2; i++) {
		guest = &self->guest[i];
		vm_init(&self->vm[i]);
		guest_open(guest, &self->vm[i], edu_own_group(i));
		guest->vdevice = vdevice_alloc(guest->vm, guest->viommu,
					       guest->edu.dev_id, VSID);
		self->page[i] = vm_alloc(guest->vm, 1);
		s1_map(&guest->s1, VA, self->page[i]);
		if (!variant->nested)
			continue;
		guest->nested = guest_nested(guest, vste_eats(&guest->s1, 1));
		edu_attach(&guest->edu, guest->nested);
	}
	guest = &self->guest[0];
	if (variant->nested)
		self->other = guest_nested(guest, vste_eats(&guest->s1, 1));
	else
		self->other = parent_alloc(guest->vm, guest->edu.dev_id,
					   guest->vm->ioas);
	self->dimm = dimm_alloc(1);
	edu_set(&guest->edu, DMA_KNOBS, DMA_KNOB_RESET_SILENT);
}

FIXTURE_TEARDOWN(reset)
{
	int i;

	if (!self->vm[0].ram)
		return;
	edu_set(&self->guest[0].edu, DMA_KNOBS, 0);
	for (i = 0; i < 2; i++) {
		dma_close(&self->guest[i].edu);
		vm_free(&self->vm[i]);
	}
	EXPECT_TRUE(host_is_fine(&self->host));
}

struct resetter {
	struct edu *edu;
	unsigned int rounds;
	unsigned int failed;
	atomic_bool over;
};

static void *resetter_runs(void *arg)
{
	struct resetter *r = arg;
	unsigned int i;

	for (i = 0; i != r->rounds; i++)
		if (ioctl(r->edu->fd, VFIO_DEVICE_RESET))
			r->failed++;
	r->over = true;
	return NULL;
}

/* Attach to one of two domains that are alike, the other one next time */
static int attach_next(struct _test_data_reset *self, bool nested,
		       unsigned int *n)
{
	struct guest *guest = &self->guest[0];
	__u32 first = nested ? guest->nested : guest->s2;
	int rc = __edu_attach(&guest->edu, *n & 1 ? first : self->other);

	if (!rc)
		++*n;
	return rc;
}

/* Wait until the device is in reset, or all resets are over */
static bool in_reset(struct _test_data_reset *self, bool nested,
		     struct resetter *r, unsigned int *n)
{
	int rc;

	do {
		rc = attach_next(self, nested, n);
		if (rc == EBUSY)
			return true;
		must(rc, "attach");
	} while (!r->over);
	return false;
}

static void reset_start(struct resetter *r, struct edu *edu, unsigned int rounds,
			pthread_t *thread)
{
	memset(r, 0, sizeof(*r));
	r->edu = edu;
	r->rounds = rounds;
	must(pthread_create(thread, NULL, resetter_runs, r), "pthread_create");
}

/*
 * The host unmaps memory and the guest invalidates while the device does not answer,
 * and another VM's device goes on.
 */
TEST_F(reset, nothing_waits_for_it)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd = atc_inv(VSID, 0, 52);
	struct guest *guest = &self->guest[0], *neighbour = &self->guest[1];
	unsigned int n = 0, busy = 0;
	struct resetter r;
	pthread_t thread;
	__u64 laps;
	__u32 num;

	dma_stream_start(&neighbour->edu, DMA_ATC,
			 dma_at(neighbour, self->page[1]), 64);
	reset_start(&r, &guest->edu, RESETS, &thread);
	while (in_reset(self, variant->nested, &r, &n)) {
		busy++;
		laps = edu_get(&neighbour->edu, DMA_LAPS);
		vm_map(guest->vm, DIMM, self->dimm, GUEST_PAGE);
		vm_unmap(guest->vm, DIMM, GUEST_PAGE);
		num = 1;
		EXPECT_EQ(0, __viommu_invalidate(guest->vm, guest->viommu, &cmd,
						 &num));
		EXPECT_EQ(1, num);
		if (variant->nested)
			EXPECT_EQ(EBUSY, __iommu_destroy(guest->vm,
							 guest->vdevice));
		while (edu_get(&neighbour->edu, DMA_LAPS) == laps)
			;
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, r.failed);
	EXPECT_LT(0, busy);
	EXPECT_EQ(0, edu_get(&neighbour->edu, DMA_LAPS_BAD));
	EXPECT_EQ(0, edu_get(&neighbour->edu, DMA_LAPS_FAILED));
	dma_stream_stop(&neighbour->edu);
	TH_LOG("%u times busy", busy);
}

/* After each reset the device translates, has ATS, and obeys invalidations. */
TEST_F(reset, comes_back)
{
	struct guest *guest = &self->guest[0];
	__u64 at = dma_at(guest, self->page[0]), addr;
	int i;

	for (i = 0; i < RESETS; i++) {
		EXPECT_EQ(self->page[0],
			  dma_lands(&guest->edu, DMA_ATC, at));
		EXPECT_EQ(DMA_OK, dma_probe(&guest->edu, DMA_ATC, at, &addr));
		ASSERT_EQ(0, ioctl(guest->edu.fd, VFIO_DEVICE_RESET));
		EXPECT_EQ(DMA_NOT_IN_ATC,
			  dma_probe(&guest->edu, DMA_ATC, at, NULL));
		/* The one that comes before ATS is enabled */
		EXPECT_EQ(1, edu_get(&guest->edu, DMA_INVS));
	}
	EXPECT_EQ(self->page[0], dma_lands(&guest->edu, DMA_ATC, at));
	if (variant->nested) {
		guest_cmd(guest, atc_inv(VSID, 0, 52));
	} else {
		vm_map(guest->vm, DIMM, self->dimm, GUEST_PAGE);
		EXPECT_TRUE(dma_reaches(&guest->edu, DMA_ATC, DIMM,
					self->dimm));
		vm_unmap(guest->vm, DIMM, GUEST_PAGE);
		EXPECT_EQ(DMA_NOT_IN_ATC,
			  dma_probe(&guest->edu, DMA_ATC, DIMM, NULL));
		return;
	}
	EXPECT_EQ(DMA_NOT_IN_ATC, dma_probe(&guest->edu, DMA_ATC, at, NULL));
}

/* The domains that the device had are gone when the reset ends. */
TEST_F(reset, detach_in_reset)
{
	struct guest *guest = &self->guest[0];
	unsigned int n = 0;
	struct resetter r;
	pthread_t thread;
	__u32 s2;

	reset_start(&r, &guest->edu, 1, &thread);
	ASSERT_TRUE(in_reset(self, variant->nested, &r, &n));
	edu_detach(&guest->edu);
	iommu_destroy(guest->vm, self->other);
	if (variant->nested)
		iommu_destroy(guest->vm, guest->nested);
	iommu_destroy(guest->vm, guest->vdevice);
	iommu_destroy(guest->vm, guest->viommu);
	iommu_destroy(guest->vm, guest->s2);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, r.failed);

	s2 = parent_alloc(guest->vm, guest->edu.dev_id, guest->vm->ioas);
	edu_attach(&guest->edu, s2);
	EXPECT_EQ(self->page[0],
		  dma_lands(&guest->edu, DMA_ATC, self->page[0]));
}

TEST_HARNESS_MAIN
