// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device of the host that shares the address space of a process, beside a device of a
 * VM behind the same SMMUv3
 *
 * The VM's device and one of the host's are viommu-dma, see smmuv3_dma_dev.h. The other
 * one of the host's is viommu-dma with the PCI ID of a device that is known to stall, so
 * its faults are handled like those of the process. The bond is made by a kernel with
 * CONFIG_IOMMUFD_TEST.
 *
 * All the time the VM's device writes and reads, without an error and without an event.
 */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "smmuv3_dma_test.h"
#include "smmuv3_resetter.h"
#include "smmuv3_sva.h"

#define ROUNDS		20

FIXTURE(sva)
{
	struct host host;
	struct vm vm;
	struct guest guest;	/* its device is the VM's */
	struct veventq q;
	struct edu_slot slot;
	struct edu dev;		/* the host's */
	struct sva sva;
};

FIXTURE_VARIANT(sva)
{
	bool stalls;
};

/* It uses memory that is there */
FIXTURE_VARIANT_ADD(sva, faults_fail) { .stalls = false };
/* The kernel brings the memory that it uses */
FIXTURE_VARIANT_ADD(sva, faults_stall) { .stalls = true };

FIXTURE_SETUP(sva)
{
	const char *lack = lacks(edu_own_group(0), NULL);
	struct guest *guest = &self->guest;
	__u64 page;
	int rc;

	if (!lack && variant->stalls &&
	    !slot_find(DMA_STALLS_ID, NULL, &self->slot, 1, &lack))
		lack = "needs a viommu-dma that stalls";
	if (!lack && !variant->stalls) {
		lack = lacks(edu_own_group(1), "needs two viommu-dma devices");
		if (!lack)
			self->slot = *edu_own_group(1);
	}
	if (lack)
		SKIP(return, "%s", lack);

	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_open(guest, &self->vm, edu_own_group(0));
	guest->vdevice = vdevice_alloc(guest->vm, guest->viommu,
				       guest->edu.dev_id, VSID);
	veventq_alloc(guest->vm, guest->viommu, 64, &self->q);
	guest->nested = guest_nested(guest, vste_eats(&guest->s1, 1));
	edu_attach(&guest->edu, guest->nested);
	page = vm_alloc(guest->vm, 1);
	s1_map(&guest->s1, VA, page);
	dma_stream_start(&guest->edu, DMA_ATC, VA, 64);

	vfio_unbind(self->slot.bdf);
	edu_open_host(&self->dev, &self->slot);
	edu_set(&self->dev, DMA_KNOBS, DMA_KNOB_RESET_SILENT);
	rc = __sva_bind(&self->slot, variant->stalls, &self->sva);
	if (rc == ENOTTY)
		SKIP(return, "needs CONFIG_IOMMUFD_TEST");
	ASSERT_EQ(0, rc);
}

FIXTURE_TEARDOWN(sva)
{
	struct guest *guest = &self->guest;
	struct vevent event;
	__u64 laps;

	if (!self->vm.ram)
		return;
	close(self->sva.fd);
	edu_set(&self->dev, DMA_KNOBS, 0);
	edu_close(&self->dev);
	EXPECT_TRUE(vfio_bind(self->slot.bdf));

	laps = edu_get(&guest->edu, DMA_LAPS);
	while (edu_get(&guest->edu, DMA_LAPS) == laps)
		;
	EXPECT_EQ(0, edu_get(&guest->edu, DMA_LAPS_BAD));
	EXPECT_EQ(0, edu_get(&guest->edu, DMA_LAPS_FAILED));
	EXPECT_EQ(0, vevent_read(&self->q, &event, 1));
	dma_stream_stop(&guest->edu);
	dma_close(&guest->edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

static const __u64 hows[] = { DMA_UNTRANSLATED, DMA_ATC };

TEST_F(sva, device_uses_the_memory_of_the_process)
{
	__u64 *page = page_touched(), token = TOKEN;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hows); i++)
		EXPECT_TRUE(dma_works(&self->dev, &self->sva, hows[i], page));
	/* Not without the PASID */
	EXPECT_NE(DMA_OK, dma_write(&self->dev, DMA_UNTRANSLATED,
				    (uintptr_t)page, token));
	EXPECT_NE(token, *page);
}

TEST_F(sva, unmapped_memory_is_gone)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		__u64 how = by_pasid(&self->sva, hows[i]);
		__u64 *page = page_touched();

		EXPECT_TRUE(dma_works(&self->dev, &self->sva, hows[i], page));
		munmap(page, GUEST_PAGE);
		if (hows[i] == DMA_ATC)
			EXPECT_EQ(DMA_NOT_IN_ATC,
				  dma_probe(&self->dev, how, (uintptr_t)page,
					    NULL));
		EXPECT_NE(DMA_OK, dma_write(&self->dev, how, (uintptr_t)page,
					    TOKEN));
	}
}

TEST_F(sva, faults_are_those_of_the_process)
{
	__u64 how = by_pasid(&self->sva, DMA_UNTRANSLATED);
	__u64 *page = page_alloc(), *readonly = page_touched();
	int i;

	mprotect(readonly, GUEST_PAGE, PROT_READ);
	EXPECT_NE(DMA_OK, dma_write(&self->dev, how, (uintptr_t)readonly,
				    TOKEN));
	EXPECT_EQ(1, *readonly);

	if (!variant->stalls) {
		EXPECT_NE(DMA_OK, dma_write(&self->dev, how, (uintptr_t)page,
					    TOKEN));
		return;
	}
	for (i = 0; i < ROUNDS; i++) {
		EXPECT_TRUE(dma_works(&self->dev, &self->sva, DMA_UNTRANSLATED,
				      page));
		munmap(page, GUEST_PAGE);
		page = page_alloc();
	}
}

/* ---- A process that exits ---- */

/* The process goes on until it is killed. */
static void child_runs(struct edu *dev, const struct edu_slot *slot, bool stalls,
		       int ready)
{
	__u64 *page = page_touched();
	struct sva sva;
	int rc = __sva_bind(slot, stalls, &sva);

	if (!rc) {
		dma_stream_start(dev, by_pasid(&sva, DMA_ATC), (uintptr_t)page,
				 64);
		while (!edu_get(dev, DMA_LAPS))
			;
	}
	if (write(ready, &rc, sizeof(rc)) == sizeof(rc))
		pause();
	_exit(1);
}

/* Returns when the device uses the memory of the process. */
static int child_start(struct edu *dev, const struct edu_slot *slot,
		       bool stalls, pid_t *child)
{
	int ends[2], rc = EIO;

	if (pipe(ends))
		die("pipe: %s", strerror(errno));
	*child = fork();
	if (*child < 0)
		die("fork: %s", strerror(errno));
	if (!*child)
		child_runs(dev, slot, stalls, ends[1]);
	close(ends[1]);
	if (read(ends[0], &rc, sizeof(rc)) != sizeof(rc))
		rc = EIO;
	close(ends[0]);
	return rc;
}

static void child_kill(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* The device is bound to this process again, whose page a fork() has shared. */
static bool is_back(struct edu *dev, const struct edu_slot *slot, bool stalls,
		    struct sva *sva, __u64 *page)
{
	must(__sva_bind(slot, stalls, sva), "SVA");
	__atomic_add_fetch(page, 1, __ATOMIC_RELAXED);
	return dma_works(dev, sva, DMA_ATC, page);
}

TEST_F(sva, process_exits_in_the_middle)
{
	__u64 *page = page_touched();
	pid_t child;
	__u64 failed;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		/* Each process has the device for itself. */
		close(self->sva.fd);
		ASSERT_EQ(0, child_start(&self->dev, &self->slot,
					 variant->stalls, &child));
		child_kill(child);
		failed = edu_get(&self->dev, DMA_LAPS_FAILED);
		while (edu_get(&self->dev, DMA_LAPS_FAILED) == failed)
			;
		dma_stream_stop(&self->dev);
		EXPECT_TRUE(is_back(&self->dev, &self->slot, variant->stalls,
				    &self->sva, page));
	}
}

/* ---- Resets ---- */

struct sysfs_reset {
	struct resetter resetter;
	const struct edu_slot *slot;
	__u64 began, ended;
};

static int sysfs_reset(void *arg)
{
	struct sysfs_reset *r = arg;
	char path[PATH_MAX];
	int rc;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 r->slot->bdf);
	r->began = now_ms();
	rc = write_line(path, "1");
	r->ended = now_ms();
	return rc;
}

static void sysfs_reset_start(struct sysfs_reset *r, const struct edu_slot *slot)
{
	r->slot = slot;
	reset_start(&r->resetter, sysfs_reset, NULL, r, 1);
}

TEST_F(sva, reset_ends_with_the_same_memory)
{
	__u64 *page = page_touched();
	struct sysfs_reset reset;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		EXPECT_TRUE(dma_works(&self->dev, &self->sva, DMA_ATC, page));
		sysfs_reset_start(&reset, &self->slot);
		/* The device does not answer an invalidation of its ATC now. */
		while (!reset.resetter.done) {
			munmap(page, GUEST_PAGE);
			page = page_touched();
		}
		ASSERT_EQ(0, resets_failed(&reset.resetter));
	}
	EXPECT_TRUE(dma_works(&self->dev, &self->sva, DMA_ATC, page));
	munmap(page, GUEST_PAGE);
	EXPECT_EQ(DMA_NOT_IN_ATC,
		  dma_probe(&self->dev, by_pasid(&self->sva, DMA_ATC),
			    (uintptr_t)page, NULL));
}

TEST_F(sva, process_exits_in_reset)
{
	__u64 *page = page_touched(), gone;
	unsigned int within = 0;
	struct sysfs_reset reset;
	pid_t child;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		close(self->sva.fd);
		ASSERT_EQ(0, child_start(&self->dev, &self->slot,
					 variant->stalls, &child));
		dma_stream_stop(&self->dev);
		sysfs_reset_start(&reset, &self->slot);
		/* A reset takes 100 ms: in its middle, and around its end */
		usleep(10000 * (i % 15));
		child_kill(child);
		gone = now_ms();
		ASSERT_EQ(0, resets_failed(&reset.resetter));
		within += reset.began < gone && gone + 10 < reset.ended;
		EXPECT_TRUE(is_back(&self->dev, &self->slot, variant->stalls,
				    &self->sva, page));
	}
	EXPECT_LT(0, within);
	TH_LOG("%u of %d processes exited in a reset", within, ROUNDS);
}

TEST_HARNESS_MAIN
