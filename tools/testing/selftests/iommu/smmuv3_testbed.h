/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of events and interrupts on an SMMUv3 start from: a VM whose guests
 * own devices that do DMA and send MSIs, and the host's log
 *
 * Of the events that a guest can get, QEMU has C_BAD_STE, C_BAD_CD,
 * F_TRANSLATION, F_ADDR_SIZE, F_ACCESS and F_PERMISSION. A DMA of four bytes
 * makes one event, a page makes hundreds.
 *
 * The SMMU's driver takes one event after the other. That something did not
 * arrive is known when something that happened later did.
 */
#ifndef SELFTEST_SMMUV3_TESTBED_H
#define SELFTEST_SMMUV3_TESTBED_H

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "smmuv3_test.h"
#include "smmuv3_vevent.h"

#define DEPTH		64
#define STORM_DEPTH	16384	/* more than the device makes of a page */

/* ---- The testbed ---- */

/* IHI0070 section 6.3: in page 0, and from page 1 on */
#define SMMU_EVENTQ_BASE	0xa0
#define SMMU_PAGE1		0x10000
#define SMMU_EVENTQ_PROD	0xa8

/* One VM with one or two guests that own a device each, and the host */
struct testbed {
	struct host host;
	struct klog klog;
	struct vm vm;
	struct guest guest[2];
	struct veventq q[2];
	__le32 *page1;
	__u32 prod;
};

/*
 * How many records the SMMU has written since the last call. PROD counts modulo
 * twice the size of the queue.
 */
static unsigned int testbed_written(struct testbed *s)
{
	__u32 log2size = host_reg(&s->host, SMMU_EVENTQ_BASE) & 0x1f;
	__u32 prod = le32toh(__atomic_load_n(&s->page1[SMMU_EVENTQ_PROD / 4],
					     __ATOMIC_RELAXED));
	__u32 n = (prod - s->prod) & ((2U << log2size) - 1);

	s->prod = prod;
	return n;
}

static void testbed_up(struct testbed *s, int guests, unsigned int depth)
{
	int i, fd;

	host_watch(&s->host, edu_own_group(0));
	klog_open(&s->klog);
	fd = open("/dev/mem", O_RDONLY | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		die("/dev/mem: %s", strerror(errno));
	s->page1 = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd,
			edu_own_group(0)->smmu + SMMU_PAGE1);
	if (s->page1 == MAP_FAILED)
		die("/dev/mem: %s", strerror(errno));
	close(fd);

	vm_init(&s->vm);
	for (i = 0; i < guests; i++) {
		guest_open(&s->guest[i], &s->vm, edu_own_group(i));
		if (depth)
			veventq_alloc(&s->vm, s->guest[i].viommu, depth,
				      &s->q[i]);
	}
	testbed_written(s);
}

/* Whatever has become of it: the host must have got over it. */
static bool testbed_down(struct testbed *s, int guests)
{
	int i;

	if (!s->vm.ram)
		return true;
	for (i = 0; i < guests; i++)
		if (s->guest[i].edu.fd >= 0)
			edu_close(&s->guest[i].edu);
	vm_free(&s->vm);
	klog_close(&s->klog);
	munmap(s->page1, 4096);
	return host_is_fine(&s->host);
}

static const char *testbed_lacks(int guests)
{
	const char *lack = lacks(edu_own_group(guests - 1), LACKS_SECOND);

	if (!lack && access("/dev/mem", R_OK))
		lack = "no /dev/mem to count the SMMU's events by";
	return lack;
}

/* The device writes four bytes, or reads them. */
static void poke(struct guest *guest, __u64 va)
{
	edu_write(&guest->edu, va, 0, 4);
}

/* The host has said so, and of nothing else. */
#define EXPECT_HOST_ONLY(s, __id, __s2, __addr)                               \
	do {                                                                  \
		struct evt __evt;                                             \
									      \
		ASSERT_TRUE(klog_event(&(s)->klog, &__evt, SOON));            \
		EXPECT_EQ(__id, __evt.id);                                    \
		EXPECT_EQ(__s2, __evt.s2);                                    \
		EXPECT_EQ(__addr, __evt.addr);                                \
		EXPECT_FALSE(klog_event(&(s)->klog, &__evt, 0));              \
	} while (0)

#define EXPECT_HOST_SILENT(s)                                                 \
	do {                                                                  \
		struct evt __evt;                                             \
									      \
		EXPECT_FALSE(klog_event(&(s)->klog, &__evt, 0));              \
	} while (0)

/* ---- Every event, and mended ---- */

FIXTURE(one_guest)
{
	struct testbed s;
};

FIXTURE_SETUP(one_guest)
{
	const char *lack = testbed_lacks(1);

	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 1, DEPTH);
}

FIXTURE_TEARDOWN(one_guest)
{
	EXPECT_TRUE(testbed_down(&self->s, 1));
}

/* Two functions of a group, which one domain is attached to */
FIXTURE(group)
{
	struct testbed s;
	struct guest member;
};

FIXTURE_SETUP(group)
{
	const char *lack = testbed_lacks(1);

	if (!lack)
		lack = lacks(edu_shared_group(1), LACKS_FUNCTIONS);
	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 0, 0);
	guest_open(&self->s.guest[0], &self->s.vm, edu_shared_group(0));
	veventq_alloc(&self->s.vm, self->s.guest[0].viommu, DEPTH,
		      &self->s.q[0]);
	s1_map(&self->s.guest[0].s1, DOORBELL, DOORBELL);

	self->member = self->s.guest[0];
	edu_open(&self->member.edu, &self->s.vm, edu_shared_group(1));
	self->member.vdevice = vdevice_alloc(&self->s.vm,
					     self->member.viommu,
					     self->member.edu.dev_id, 7);
	guest_start(&self->s.guest[0], VSID);
	edu_attach(&self->member.edu, self->s.guest[0].nested);
}

FIXTURE_TEARDOWN(group)
{
	if (self->member.edu.fd > 0)
		edu_close(&self->member.edu);
	EXPECT_TRUE(testbed_down(&self->s, 1));
}

/* The last that looks for a word of the host: here it comes to its limit. */
FIXTURE(two_guests)
{
	struct testbed s;
};

FIXTURE_SETUP(two_guests)
{
	const char *lack = testbed_lacks(2);

	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 2, DEPTH);
}

FIXTURE_TEARDOWN(two_guests)
{
	EXPECT_TRUE(testbed_down(&self->s, 2));
}

/* ---- Whose it is ---- */

/*
 * A guest's device has written a page of faults, and in the same moment gets
 * another owner. What the host has not yet taken from the SMMU's queue is
 * neither the new owner's, nor has it the new vSID.
 */
static void burst(struct testbed *s, struct edu *edu)
{
	testbed_written(s);
	edu_start(edu, VA, 0, GUEST_PAGE, true);
	while (edu_busy(edu))
		;
}

/* ---- Overflow ---- */

struct storm {
	struct guest *guest;
	atomic_bool stop;
	atomic_uint rounds;
};

#endif
