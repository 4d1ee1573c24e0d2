// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events and interrupts under nested translation on an SMMUv3, with devices that
 * do DMA and send MSIs: QEMU's "edu", see smmuv3_lib.h for what it needs.
 *
 * Of the events that a guest can get, QEMU has C_BAD_STE, C_BAD_CD,
 * F_TRANSLATION, F_ADDR_SIZE, F_ACCESS and F_PERMISSION. A DMA of four bytes
 * makes one event, a page makes hundreds.
 *
 * The SMMU's driver takes one event after the other. That something did not
 * arrive is known when something that happened later did.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "smmuv3_test.h"
#include "smmuv3_vevent.h"

#define SOON		60000	/* ms; far more than it takes */
#define DEPTH		64
#define STORM_DEPTH	16384	/* more than the device makes of a page */

#define DOORBELL	0x8000000UL	/* first of the window for MSIs */
#define WINDOW		0x100000UL

/* ------------------------------------------------------------- the testbed -- */

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

static void peek(struct guest *guest, __u64 va)
{
	edu_read(&guest->edu, va, 0, 4);
}

/* It writes, and they are there. Its memory is not all ones. */
static bool arrives(struct guest *guest, __u64 va, __u64 gpa)
{
	__u32 *there = vm_ptr(guest->vm, gpa + (va & (GUEST_PAGE - 1)));

	*there = ~0U;
	poke(guest, va);
	return __atomic_load_n(there, __ATOMIC_RELAXED) != ~0U;
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

/* ------------------------------------------------ every event, and mended -- */

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

static void no_page(struct guest *guest)
{
	(void)guest;
}

/* What stage 1 puts out is wider than the CD says: 40 bits. */
static void wide_page(struct guest *guest)
{
	s1_map(&guest->s1, VA, 1ULL << 40);
}

static void old_page(struct guest *guest)
{
	s1_map_flip(&guest->s1, VA, guest->s1.ttb, PTE_AF);
}

static void read_only_page(struct guest *guest)
{
	s1_map_flip(&guest->s1, VA, guest->s1.ttb, PTE_AP_RDONLY);
}

static void bad_cd(struct guest *guest)
{
	__le64 *cd = vm_ptr(guest->vm, guest->s1.cd);

	cd[0] &= ~htole64(CD_0_V);
	viommu_cmd(guest->vm, guest->viommu, cmd_cfgi_cd(VSID));
}

/* A table of CDs, and an SMMU without substreams */
static void bad_ste(struct guest *guest)
{
	struct iommu_hwpt_arm_smmuv3 vste = vste_s1(&guest->s1);

	vste.ste[0] |= htole64(1ULL << 59);
	edu_attach(&guest->edu, guest_nested(guest, vste));
}

FIXTURE(event_kind)
{
	struct testbed s;
};

FIXTURE_VARIANT(event_kind)
{
	__u8 id;
	void (*make)(struct guest *guest);
	bool read;
};

FIXTURE_VARIANT_ADD(event_kind, translation)
{
	.id = EVT_F_TRANSLATION, .make = no_page,
};

FIXTURE_VARIANT_ADD(event_kind, translation_of_read)
{
	.id = EVT_F_TRANSLATION, .make = no_page, .read = true,
};

FIXTURE_VARIANT_ADD(event_kind, addr_size)
{
	.id = EVT_F_ADDR_SIZE, .make = wide_page,
};

FIXTURE_VARIANT_ADD(event_kind, access)
{
	.id = EVT_F_ACCESS, .make = old_page,
};

FIXTURE_VARIANT_ADD(event_kind, access_of_read)
{
	.id = EVT_F_ACCESS, .make = old_page, .read = true,
};

FIXTURE_VARIANT_ADD(event_kind, permission)
{
	.id = EVT_F_PERMISSION, .make = read_only_page,
};

FIXTURE_VARIANT_ADD(event_kind, bad_cd) { .id = EVT_C_BAD_CD, .make = bad_cd };
FIXTURE_VARIANT_ADD(event_kind, bad_ste) {
	.id = EVT_C_BAD_STE,
	.make = bad_ste,
};

FIXTURE_SETUP(event_kind)
{
	const char *lack = testbed_lacks(1);

	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 1, DEPTH);
}

FIXTURE_TEARDOWN(event_kind)
{
	EXPECT_TRUE(testbed_down(&self->s, 1));
}

TEST_F(event_kind, reaches_the_guest)
{
	const __u64 va = VA + 0x124;
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	__u64 page = vm_alloc(&s->vm, 1);
	struct vevent event;
	struct evt evt;

	guest_start(guest, VSID);
	variant->make(guest);
	if (variant->read)
		peek(guest, va);
	else
		poke(guest, va);

	ASSERT_TRUE(next_event(&s->q[0], &event));
	EXPECT_EQ(0, event.header.flags);
	EXPECT_EQ(0, event.header.sequence);
	evt = vevent_decode(&event);
	EXPECT_EQ(variant->id, evt.id) TH_LOG("%s", evt_name(evt.id));
	EXPECT_EQ(VSID, evt.sid);
	EXPECT_FALSE(evt.ssv);
	EXPECT_EQ(0, evt.ssid);
	EXPECT_FALSE(evt.stall);
	EXPECT_FALSE(evt.s2);
	if (variant->id >= EVT_F_TRANSLATION) {
		EXPECT_EQ(variant->read, evt.rnw);
		EXPECT_FALSE(evt.ind);
		EXPECT_EQ(EVT_CLASS_IN, evt.class);
		EXPECT_EQ(va, evt.addr);
	} else {
		EXPECT_EQ(0, event.record.evt[1]);
		EXPECT_EQ(0, event.record.evt[2]);
		EXPECT_EQ(0, event.record.evt[3]);
	}

	/* The guest mends what was wrong. */
	s1_map(&guest->s1, VA, page);
	s1_write_cd(&guest->s1);
	viommu_cmd(&s->vm, guest->viommu, cmd_cfgi_cd(VSID));
	viommu_cmd(&s->vm, guest->viommu, cmd_tlbi_nh_all());
	edu_attach(&guest->edu, guest->nested);
	EXPECT_TRUE(arrives(guest, va, page));

	poke(guest, VA2);
	EXPECT_POKE(&s->q[0], 1, VSID, VA2);
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_EQ(2, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

/* A guest may write there what it only reads elsewhere. */
TEST_F(one_guest, read_only_page_can_be_read)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];

	guest_start(guest, VSID);
	read_only_page(guest);
	peek(guest, VA);
	poke(guest, VA2);
	EXPECT_POKE(&s->q[0], 0, VSID, VA2);
	EXPECT_EQ(1, testbed_written(s));
}

/* CD.R is 0: the guest does not want to know. */
TEST_F(one_guest, guest_that_wants_no_faults_gets_none)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	__le64 *cd = vm_ptr(&s->vm, guest->s1.cd);

	cd[0] &= ~htole64(CD_0_R);
	guest_start(guest, VSID);
	poke(guest, VA);
	EXPECT_EQ(0, testbed_written(s));
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_HOST_SILENT(s);
}

TEST_F(one_guest, sequence_counts_every_event)
{
	struct testbed *s = &self->s;
	unsigned int i;

	guest_start(&s->guest[0], VSID);
	for (i = 0; i < 3; i++)
		poke(&s->guest[0], VA + i * GUEST_PAGE);
	for (i = 0; i < 3; i++)
		EXPECT_POKE(&s->q[0], i, VSID, VA + i * GUEST_PAGE);
	poke(&s->guest[0], VA2);
	EXPECT_POKE(&s->q[0], 3, VSID, VA2);
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_EQ(4, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

/* A guest that changes its STE over and over */
struct changing {
	struct guest *guest;
	__u32 nested[2];
	atomic_bool stop;
	unsigned int changes;
};

static void *change_ste(void *data)
{
	struct changing *c = data;

	while (!atomic_load(&c->stop))
		edu_attach(&c->guest->edu, c->nested[c->changes++ % 2]);
	return NULL;
}

/*
 * S1ContextPtr and S1CIR are in two words of the STE. While one of them is new, the
 * device's writes may be lost, but the guest's STE is good: there is no event.
 */
TEST_F_TIMEOUT(one_guest, ste_changes_make_no_event, 120)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	struct changing c = { .guest = guest };
	struct iommu_hwpt_arm_smmuv3 vste;
	struct s1 s1 = guest->s1;
	pthread_t thread;
	unsigned int i;

	s1.cd = vm_alloc(&s->vm, 1);
	s1_write_cd(&s1);
	s1_map(&guest->s1, VA, vm_alloc(&s->vm, 1));
	guest_start(guest, VSID);
	c.nested[0] = guest->nested;
	vste = vste_s1(&s1);
	vste.ste[1] &= ~htole64(VSTE_1_S1CIR);
	c.nested[1] = guest_nested(guest, vste);

	ASSERT_EQ(0, pthread_create(&thread, NULL, change_ste, &c));
	for (i = 0; i < 100; i++)
		poke(guest, VA);
	atomic_store(&c.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_LT(100, c.changes);
	EXPECT_EQ(0, testbed_written(s));
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_HOST_SILENT(s);

	/* What the guest has to know still arrives. */
	for (i = 0; i < 4; i++) {
		edu_attach(&guest->edu, c.nested[i % 2]);
		poke(guest, VA2);
		EXPECT_POKE(&s->q[0], i, VSID, VA2);
	}
}

/* --------------------------------------------------- what is not a guest's -- */

/* Stage 2 is the host's: the guest has no such memory. */
TEST_F(one_guest, stage2_faults_stay_with_the_host)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	struct s1 nowhere = guest->s1;

	guest_start(guest, VSID);

	/* A page (QEMU 10 calls a table's fault one of stage 1), */
	s1_map(&guest->s1, VA, DIMM);
	poke(guest, VA + 8);
	EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, true, VA + 8);

	/* a CD, */
	nowhere.cd = DIMM;
	edu_attach(&guest->edu, guest_nested(guest, vste_s1(&nowhere)));
	poke(guest, VA);
	EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, true, VA);

	/* anything in bypass. */
	edu_attach(&guest->edu, guest_nested(guest, vste_bypass()));
	poke(guest, DIMM + 16);
	EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, true, DIMM + 16);

	/* Not one of them was counted. */
	edu_attach(&guest->edu, guest->nested);
	poke(guest, VA2);
	EXPECT_POKE(&s->q[0], 0, VSID, VA2);
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_EQ(4, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

/* In abort, and detached, the SMMU itself makes no record. */
TEST_F(one_guest, device_without_stage1)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	struct edu edu;

	guest_start(guest, VSID);
	edu_attach(&guest->edu, guest_nested(guest, vste_abort()));
	poke(guest, VA);
	edu_attach(&guest->edu, guest_nested(guest, vste_invalid()));
	poke(guest, VA);
	edu_detach(&guest->edu);
	poke(guest, VA);
	EXPECT_EQ(0, testbed_written(s));

	/* Stage 2 alone, after stage 1 and from nothing */
	edu_attach(&guest->edu, s->vm.s2);
	poke(guest, VA);
	EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, true, VA);
	edu_attach(&guest->edu, guest->nested);
	edu_attach(&guest->edu, s->vm.s2);
	poke(guest, VA + 4);
	EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, true, VA + 4);

	/* Given back to the host, whose stage 1 does not map it */
	edu_close(&guest->edu);
	edu_open_host(&edu, edu_own_group(0));
	edu_write(&edu, VA, 0, 4);
	EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, false, VA);
	edu_close(&edu);

	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_EQ(3, testbed_written(s));
}

/* Nobody reads them: then they are the host's, until somebody does. */
TEST_F(one_guest, queue_comes_and_goes)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	int i;

	guest_start(guest, VSID);
	for (i = 0; i < 2; i++) {
		poke(guest, VA);
		EXPECT_POKE(&s->q[0], 0, VSID, VA);
		poke(guest, VA);
		ASSERT_TRUE(vevent_wait(&s->q[0], SOON));
		veventq_free(&s->vm, &s->q[0]);
		poke(guest, VA + i * 8);
		EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, false, VA + i * 8);
		veventq_alloc(&s->vm, guest->viommu, DEPTH, &s->q[0]);
		EXPECT_TRUE(is_empty(&s->q[0]));
	}
	EXPECT_EQ(6, testbed_written(s));
}

/* ------------------------------------------------------------ whose it is -- */

/* The same vSID, ASID and addresses, and each hears of its own device. */
TEST_F(two_guests, guests_with_equal_vsids)
{
	struct testbed *s = &self->s;
	int round, i;

	for (i = 0; i < 2; i++)
		guest_start(&s->guest[i], VSID);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 2; i++) {
			poke(&s->guest[i], VA + round * 8 + i * 4);
			EXPECT_POKE(&s->q[i], round, VSID,
				    VA + round * 8 + i * 4);
			EXPECT_TRUE(is_empty(&s->q[!i]));
		}
	}
	EXPECT_EQ(6, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

/* One guest with two devices: one queue, two vSIDs. */
TEST_F(two_guests, devices_of_one_guest)
{
	struct testbed *s = &self->s;
	struct guest *a = &s->guest[0], *b = &s->guest[1];
	int i;

	guest_start(a, VSID);
	vdevice_alloc(&s->vm, a->viommu, b->edu.dev_id, 7);
	edu_attach(&b->edu, a->nested);
	for (i = 0; i < 2; i++) {
		poke(a, VA);
		EXPECT_POKE(&s->q[0], 2 * i, VSID, VA);
		poke(b, VA);
		EXPECT_POKE(&s->q[0], 2 * i + 1, 7, VA);
	}
	EXPECT_TRUE(is_empty(&s->q[1]));
}

/* VMMs do this when the guest resets, or renumbers its buses. */
TEST_F(one_guest, no_vsid_of_the_past)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	__u32 still[] = {
		guest_nested(guest, vste_abort()),
		guest_nested(guest, vste_bypass()),
		guest_nested(guest, vste_invalid()),
		s->vm.s2,
	};
	int i;

	guest_start(guest, VSID);
	for (i = 0; i < 4; i++) {
		poke(guest, VA);
		EXPECT_POKE(&s->q[0], 2 * i, VSID + i, VA);
		edu_attach(&guest->edu, still[i]);
		iommu_destroy(&s->vm, guest->vdevice);
		guest->vdevice = vdevice_alloc(&s->vm, guest->viommu,
					       guest->edu.dev_id, VSID + i + 1);
		edu_attach(&guest->edu, guest->nested);
		poke(guest, VA);
		EXPECT_POKE(&s->q[0], 2 * i + 1, VSID + i + 1, VA);
	}
	EXPECT_EQ(8, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

/* A replace that is refused changes neither owner nor vSID. */
TEST_F(one_guest, failed_replace)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	__u32 other = viommu_alloc(&s->vm, guest->edu.dev_id);
	struct veventq other_q;
	__u32 nested;

	veventq_alloc(&s->vm, other, DEPTH, &other_q);
	nested = nested_alloc(&s->vm, guest->edu.dev_id, other,
			      vste_s1(&guest->s1));
	guest_start(guest, VSID);
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, nested));
	poke(guest, VA);
	EXPECT_POKE(&s->q[0], 0, VSID, VA);
	EXPECT_TRUE(is_empty(&other_q));
	EXPECT_HOST_SILENT(s);
}

/* A device gets another owner, and comes back. */
TEST_F(two_guests, device_moves_to_another_guest)
{
	struct testbed *s = &self->s;
	struct guest *a = &s->guest[0], *b = &s->guest[1];
	struct edu *edu = &a->edu;
	int i;

	/* The second guest has no device but this. */
	b->nested = guest_nested(b, vste_s1(&b->s1));
	guest_start(a, VSID);
	for (i = 0; i < 3; i++) {
		poke(a, VA);
		EXPECT_POKE(&s->q[0], i, VSID, VA);
		EXPECT_TRUE(is_empty(&s->q[1]));

		edu_detach(edu);
		iommu_destroy(&s->vm, a->vdevice);
		b->vdevice = vdevice_alloc(&s->vm, b->viommu, edu->dev_id, i);
		edu_attach(edu, b->nested);
		poke(a, VA);
		EXPECT_POKE(&s->q[1], i, i, VA);
		EXPECT_TRUE(is_empty(&s->q[0]));

		edu_detach(edu);
		iommu_destroy(&s->vm, b->vdevice);
		a->vdevice = vdevice_alloc(&s->vm, a->viommu, edu->dev_id,
					   VSID);
		edu_attach(edu, a->nested);
	}
	EXPECT_EQ(6, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

/* The device goes while its vDEVICE is there, and another VM opens it. */
TEST_F(one_guest, device_moves_to_another_vm)
{
	struct testbed *s = &self->s;
	struct testbed other = {};

	guest_start(&s->guest[0], VSID);
	poke(&s->guest[0], VA);
	EXPECT_POKE(&s->q[0], 0, VSID, VA);
	edu_close(&s->guest[0].edu);

	testbed_up(&other, 1, DEPTH);
	guest_start(&other.guest[0], VSID);
	poke(&other.guest[0], VA2);
	EXPECT_POKE(&other.q[0], 0, VSID, VA2);
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_TRUE(testbed_down(&other, 1));
}

TEST_F(group, each_has_its_own_vsid)
{
	struct guest *guest = &self->s.guest[0], *member = &self->member;
	struct testbed *s = &self->s;
	int i;

	for (i = 0; i < 2; i++) {
		poke(guest, VA);
		EXPECT_POKE(&s->q[0], 3 * i, VSID, VA);
		poke(member, VA);
		EXPECT_POKE(&s->q[0], 3 * i + 1, 7, VA);

		/* Who leaves is the host's, who stays is the guest's. */
		edu_detach(&member->edu);
		poke(member, VA + 4 * i);
		EXPECT_HOST_ONLY(s, EVT_F_TRANSLATION, true, VA + 4 * i);
		poke(guest, VA);
		EXPECT_POKE(&s->q[0], 3 * i + 2, VSID, VA);
		edu_attach(&member->edu, guest->nested);
	}
	EXPECT_TRUE(is_empty(&s->q[0]));
}

TEST_F(group, both_interrupt)
{
	struct edu *edu = &self->s.guest[0].edu, *member = &self->member.edu;

	edu_irq_enable(edu);
	edu_irq_enable(member);
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_EQ(1, edu_interrupts(member));
	edu_irq_disable(member);
	edu_detach(member);
	EXPECT_EQ(1, edu_interrupts(edu));
	edu_attach(member, self->s.guest[0].nested);
	edu_irq_enable(member);
	edu_attach(edu, self->s.vm.s2);
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_EQ(1, edu_interrupts(member));
	edu_close(member);
	member->fd = -1;
	edu_attach(edu, self->s.guest[0].nested);
	EXPECT_EQ(1, edu_interrupts(edu));
}

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

/* All of @q: an unbroken run from VA on. Returns how many. */
static unsigned int drain_burst(struct veventq *q, struct vevent *events,
				__u32 sid, __u32 *sequence)
{
	unsigned int n = 0, i, got;
	__u64 addr = VA, step = 0;

	while ((got = vevent_read(q, events + n, STORM_DEPTH - n)))
		n += got;
	for (i = 0; i < n; i++) {
		struct evt evt = vevent_decode(&events[i]);

		if (i == 1)
			step = evt.addr - VA;
		if (!is_poke(&events[i], *sequence, sid, addr + i * step))
			return ~0U;
		++*sequence;
	}
	return n;
}

TEST_F(two_guests, events_behind_at_a_move)
{
	struct testbed *s = &self->s;
	struct edu *edu = &s->guest[0].edu;
	struct guest third = s->guest[1];
	unsigned int round, n, all, late = 0;
	__u32 viommu[2], nested[2], vdevice;
	__u32 sequence[2] = {};
	struct vm *vm = &s->vm;
	struct veventq third_q;
	struct vevent *events;
	struct evt evt;

	events = calloc(STORM_DEPTH, sizeof(*events));
	ASSERT_NE(NULL, events);
	for (n = 0; n < 2; n++) {
		struct guest *guest = &s->guest[n];

		viommu[n] = guest->viommu;
		nested[n] = guest_nested(guest, vste_s1(&guest->s1));
		veventq_free(vm, &s->q[n]);
		veventq_alloc(vm, viommu[n], STORM_DEPTH, &s->q[n]);
	}
	/* The second device is a third guest's, and its events come last. */
	third.viommu = viommu_alloc(vm, third.edu.dev_id);
	veventq_alloc(vm, third.viommu, DEPTH, &third_q);
	guest_start(&third, VSID);

	for (round = 0; round < 16; round++) {
		int from = round / 2 % 2;
		int to = round % 2 ? !from : from;

		vdevice = vdevice_alloc(vm, viommu[from], edu->dev_id,
					2 * round);
		edu_attach(edu, nested[from]);
		burst(s, edu);
		edu_attach(edu, vm->s2);
		iommu_destroy(vm, vdevice);
		vdevice = vdevice_alloc(vm, viommu[to], edu->dev_id,
					2 * round + 1);
		edu_attach(edu, nested[to]);

		all = testbed_written(s);
		poke(&third, VA);
		EXPECT_POKE(&third_q, round, VSID, VA);
		n = drain_burst(&s->q[from], events, 2 * round,
				&sequence[from]);
		EXPECT_LT(100, all);
		ASSERT_GE(all, n);
		if (to != from)
			EXPECT_TRUE(is_empty(&s->q[to]));
		/* The first of all that the guest did not get */
		if (n < all && !late++) {
			ASSERT_TRUE(klog_event(&s->klog, &evt, SOON));
			EXPECT_EQ(VA + n * (GUEST_PAGE / all), evt.addr);
		}

		edu_attach(edu, vm->s2);
		iommu_destroy(vm, vdevice);
	}
	/* A host that is fast enough is never behind. */
	TH_LOG("the host was behind %u times", late);
	free(events);
}

/*
 * And without any order: a device faults page by page while it is moved between
 * two guests, with another vSID each time. Between two stays it is behind stage
 * 2, in abort, in bypass or nowhere. Stay n is with guest n % 2 and has vSID n.
 */
struct stays {
	struct testbed *s;
	pthread_mutex_t lock[2];
	/* The last stay that may have begun, and that is over for certain */
	atomic_uint begun, over;
	/* From here on under the queue's lock */
	unsigned int closed[2];
	unsigned int num[2];
	/* How many stays have records, of each guest */
	atomic_uint stays[2];
	struct record {
		unsigned int stay, page;
	} *records[2];
	/* In which stays a page of faults was written */
	struct page {
		unsigned int first, last;
	} pages[1000];
	atomic_uint num_pages;
	atomic_bool stop;
	atomic_uint bad;
};

#define STAYS_RECORDS	(ARRAY_SIZE(((struct stays *)0)->pages) * 1024)

static void stays_take(struct stays *st, int i, const struct vevent *event)
{
	struct evt evt = vevent_decode(event);
	unsigned int n = st->num[i], page = (evt.addr - VA) / GUEST_PAGE;

	if (event->header.flags || event->header.sequence != n ||
	    evt.id != EVT_F_TRANSLATION || evt.sid % 2 != i ||
	    evt.sid <= st->closed[i] || evt.sid > st->begun ||
	    page >= st->num_pages || n == STAYS_RECORDS) {
		if (!st->bad++)
			fprintf(stderr,
				"# guest %d, record %u: flags %#x, sequence %u, %s, sid %u, addr %#llx; stay %u is over\n",
				i, n, event->header.flags,
				event->header.sequence, evt_name(evt.id),
				evt.sid, evt.addr, st->closed[i]);
		return;
	}
	if (!n || st->records[i][n - 1].stay != evt.sid)
		st->stays[i]++;
	st->records[i][n] = (struct record){ evt.sid, page };
	st->num[i]++;
}

/* Takes what there is. Nothing of stay @closes comes later. */
static void stays_drain(struct stays *st, int i, unsigned int closes)
{
	struct vevent events[64];
	unsigned int n, k;

	pthread_mutex_lock(&st->lock[i]);
	while ((n = vevent_read(&st->s->q[i], events, 64)))
		for (k = 0; k < n; k++)
			stays_take(st, i, &events[k]);
	if (closes)
		st->closed[i] = closes;
	pthread_mutex_unlock(&st->lock[i]);
}

static void *stays_reader(void *arg)
{
	struct stays *st = arg;
	struct pollfd pfd[2] = {
		{ .fd = st->s->q[0].fd, .events = POLLIN },
		{ .fd = st->s->q[1].fd, .events = POLLIN },
	};
	int i;

	while (!st->stop) {
		poll(pfd, 2, 10);
		for (i = 0; i < 2; i++)
			if (pfd[i].revents)
				stays_drain(st, i, 0);
	}
	return NULL;
}

/*
 * A page of faults is written in one go, and the device is idle then: what was
 * over when it was seen to be busy was over before them.
 */
static void *stays_dma(void *arg)
{
	struct stays *st = arg;
	struct edu *edu = &st->s->guest[0].edu;
	unsigned int n, over;

	for (n = 0; n < ARRAY_SIZE(st->pages) && !st->stop; n++) {
		st->num_pages = n + 1;
		over = st->over;
		edu_start(edu, VA + n * GUEST_PAGE, 0, GUEST_PAGE, true);
		do {
			st->pages[n].first = over + 1;
			over = st->over;
			usleep(200);
		} while (edu_busy(edu));
		st->pages[n].last = st->begun;
	}
	return NULL;
}

/*
 * A slow machine moves the device less often while a page is written. Go on until
 * each guest had faults in several stays, or until the pages are used up.
 */
static bool stays_go_on(const struct stays *st)
{
	return !st->bad && st->num_pages < ARRAY_SIZE(st->pages) &&
	       (st->num_pages < 60 || st->stays[0] < 4 || st->stays[1] < 4);
}

TEST_F(two_guests, moves_while_it_faults)
{
	struct testbed *s = &self->s;
	struct guest *a = &s->guest[0], *b = &s->guest[1];
	struct vm *vm = &s->vm;
	struct edu *edu = &a->edu;
	struct stays st = {
		.s = s,
		.lock = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER },
	};
	__u32 nested[2], still[2][3], vdevice;
	unsigned int n, i, poked = 0, polled = 0;
	struct veventq bystander_q;
	struct guest bystander = *b;
	pthread_t threads[2];

	for (i = 0; i < 2; i++) {
		struct guest *guest = &s->guest[i];

		nested[i] = guest_nested(guest, vste_s1(&guest->s1));
		still[i][0] = vm->s2;
		still[i][1] = guest_nested(guest, vste_abort());
		still[i][2] = guest_nested(guest, vste_bypass());
		st.records[i] = calloc(STAYS_RECORDS, sizeof(struct record));
		ASSERT_NE(NULL, st.records[i]);
		veventq_free(vm, &s->q[i]);
		veventq_alloc(vm, guest->viommu, STORM_DEPTH, &s->q[i]);
	}
	/* The second device belongs to a third guest, and keeps to itself. */
	bystander.viommu = viommu_alloc(vm, b->edu.dev_id);
	veventq_alloc(vm, bystander.viommu, 1, &bystander_q);
	guest_start(&bystander, VSID);

	ASSERT_EQ(0, pthread_create(&threads[0], NULL, stays_reader, &st));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, stays_dma, &st));
	srand(1);
	for (n = 1; stays_go_on(&st); n++) {
		i = n % 2;
		vdevice = vdevice_alloc(vm, s->guest[i].viommu, edu->dev_id, n);
		st.begun = n;
		edu_attach(edu, nested[i]);
		usleep(rand() % 8000);
		if (n % 4 == 3)
			edu_detach(edu);
		else
			edu_attach(edu, still[i][n % 4]);
		/* In abort and bypass it is the guest's as long as it has a vSID. */
		if (n % 4 == 1 || n % 4 == 2)
			iommu_destroy(vm, vdevice);
		st.over = n;
		stays_drain(&st, i, n);
		if (n % 4 == 0 || n % 4 == 3)
			iommu_destroy(vm, vdevice);
		usleep(rand() % 1000);

		/* One event at a time, and it arrives */
		if (!edu_busy(&b->edu)) {
			if (poked)
				EXPECT_POKE(&bystander_q, polled++, VSID, VA2);
			edu_start(&b->edu, VA2, 0, 4, true);
			poked++;
		}
	}
	st.stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	edu_wait(&b->edu);
	EXPECT_POKE(&bystander_q, polled, VSID, VA2);
	EXPECT_EQ(0, st.bad);

	for (i = 0; i < 2; i++) {
		for (n = 0; n < st.num[i]; n++) {
			struct record *r = &st.records[i][n];
			struct page *page = &st.pages[r->page];

			ASSERT_LE(page->first, r->stay)
				TH_LOG("guest %u, record %u, page %u", i, n,
				       r->page);
			ASSERT_GE(page->last, r->stay)
				TH_LOG("guest %u, record %u, page %u", i, n,
				       r->page);
		}
		TH_LOG("guest %u: %u records in %u of %u stays", i, st.num[i],
		       st.stays[i], st.begun / 2);
		EXPECT_LE(4, st.stays[i]);
		free(st.records[i]);
	}
}

/* -------------------------------------------------------------- overflow -- */

FIXTURE(small_queue)
{
	struct testbed s;
};

FIXTURE_SETUP(small_queue)
{
	const char *lack = testbed_lacks(2);

	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 2, 4);
}

FIXTURE_TEARDOWN(small_queue)
{
	EXPECT_TRUE(testbed_down(&self->s, 2));
}

TEST_F(small_queue, queue_overflows_and_recovers)
{
	struct testbed *s = &self->s;
	struct guest *a = &s->guest[0], *b = &s->guest[1];
	struct vevent events[8];
	__u32 next, i;

	guest_start(a, VSID);
	guest_start(b, VSID);
	burst(s, &a->edu);
	next = testbed_written(s);
	ASSERT_LT(100, next);
	/* Who waits behind that gets its event all the same. */
	poke(b, VA2);
	EXPECT_POKE(&s->q[1], 0, VSID, VA2);

	/* The first four, and a word that there were more */
	ASSERT_EQ(5, vevent_read(&s->q[0], events, 8));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, events[i].header.flags);
		EXPECT_EQ(i, events[i].header.sequence);
		EXPECT_EQ(VSID, vevent_decode(&events[i]).sid);
	}
	EXPECT_TRUE(is_poke(&events[0], 0, VSID, VA));
	EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, events[4].header.flags);
	EXPECT_EQ(next - 1, events[4].header.sequence);
	EXPECT_TRUE(is_empty(&s->q[0]));

	/* It holds four again, and not one more. */
	for (i = 0; i < 6; i++)
		poke(a, VA + i * GUEST_PAGE);
	poke(b, VA2);
	EXPECT_POKE(&s->q[1], 1, VSID, VA2);
	ASSERT_EQ(2, vevent_read(&s->q[0], events, 2));
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(is_poke(&events[i], next + i, VSID,
				    VA + i * GUEST_PAGE));

	/* What comes after a loss shows it by its number. */
	poke(a, VA2);
	poke(b, VA2);
	EXPECT_POKE(&s->q[1], 2, VSID, VA2);
	ASSERT_EQ(3, vevent_read(&s->q[0], events, 8));
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(is_poke(&events[i], next + 2 + i, VSID,
				    VA + (2 + i) * GUEST_PAGE));
	EXPECT_TRUE(is_poke(&events[2], next + 6, VSID, VA2));
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_HOST_SILENT(s);
}

struct storm {
	struct guest *guest;
	atomic_bool stop;
	atomic_uint rounds;
};

static void *storm(void *arg)
{
	struct storm *storm = arg;

	for (; !storm->stop; storm->rounds++)
		edu_write(&storm->guest->edu, VA, 0, GUEST_PAGE);
	return NULL;
}

/* A guest that faults as fast as it can, and does not even read */
TEST_F(small_queue, storm_starves_nobody)
{
	struct testbed *s = &self->s;
	struct guest *b = &s->guest[1];
	struct storm st = { .guest = &s->guest[0] };
	pthread_t thread;
	__u32 i;

	guest_start(&s->guest[0], VSID);
	guest_start(b, VSID);
	ASSERT_EQ(0, pthread_create(&thread, NULL, storm, &st));
	for (i = 0; i < 15 || st.rounds <= 5; i++) {
		poke(b, VA + i * 4);
		EXPECT_POKE(&s->q[1], i, VSID, VA + i * 4);
	}
	st.stop = true;
	pthread_join(thread, NULL);
	EXPECT_TRUE(is_empty(&s->q[1]));
	EXPECT_LT(5, st.rounds);
	EXPECT_LT(500, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

/* ------------------------------------------------------------ interrupts -- */

/*
 * Wherever a device can be. FAR has none of the guest's memory, and only S1 and
 * OTHER_S1 use its tables.
 */
enum where {
	S2, S1, BYPASS, ABORT, OTHER, OTHER_BYPASS, FAR, DETACHED, PLACES,
};

FIXTURE(msi)
{
	struct testbed s;
	__u32 pt[PLACES];
	__u32 ioas[2];
	__u32 other_viommu;
	enum where where;
};

FIXTURE_VARIANT(msi)
{
	enum where enabled;
};

FIXTURE_VARIANT_ADD(msi, s2) { .enabled = S2 };
FIXTURE_VARIANT_ADD(msi, s1) { .enabled = S1 };
FIXTURE_VARIANT_ADD(msi, bypass) { .enabled = BYPASS };
FIXTURE_VARIANT_ADD(msi, abort) { .enabled = ABORT };
FIXTURE_VARIANT_ADD(msi, other_parent) { .enabled = OTHER };
FIXTURE_VARIANT_ADD(msi, far) { .enabled = FAR };

static __u32 ioas_alloc(struct vm *vm)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };

	if (ioctl(vm->iommufd, IOMMU_IOAS_ALLOC, &cmd))
		die("IOAS_ALLOC: %s", strerror(errno));
	return cmd.out_ioas_id;
}

static void go(struct edu *edu, const __u32 *pt, enum where *where,
	       enum where to)
{
	if (to != DETACHED)
		edu_attach(edu, pt[to]);
	else if (*where != DETACHED)
		edu_detach(edu);
	*where = to;
}

FIXTURE_SETUP(msi)
{
	const char *lack = testbed_lacks(1);
	struct guest *guest = &self->s.guest[0];
	struct vm *vm = &self->s.vm;
	__u32 dev_id;

	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 1, DEPTH);
	dev_id = guest->edu.dev_id;
	/* What a guest does that has been told of the window by its VMM */
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);

	self->pt[S2] = vm->s2;
	self->pt[S1] = guest->nested;
	self->pt[BYPASS] = guest_nested(guest, vste_bypass());
	self->pt[ABORT] = guest_nested(guest, vste_abort());
	self->pt[OTHER] = parent_alloc(vm, dev_id, vm->ioas);
	ASSERT_EQ(0, __viommu_alloc(vm, dev_id, self->pt[OTHER],
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
				    &self->other_viommu));
	self->pt[OTHER_BYPASS] = nested_alloc(vm, dev_id, self->other_viommu,
					      vste_bypass());
	self->pt[FAR] = parent_alloc(vm, dev_id, ioas_alloc(vm));
	self->where = S1;
	go(&guest->edu, self->pt, &self->where, variant->enabled);
	edu_irq_enable(&guest->edu);
}

FIXTURE_TEARDOWN(msi)
{
	EXPECT_TRUE(testbed_down(&self->s, 1));
}

TEST_F(msi, arrives_wherever_the_device_is)
{
	struct edu *edu = &self->s.guest[0].edu;
	int from, to;

	if (variant->enabled != ABORT)
		EXPECT_EQ(1, edu_interrupts(edu));
	for (from = 0; from < PLACES; from++) {
		for (to = 0; to < PLACES; to++) {
			go(edu, self->pt, &self->where, from);
			go(edu, self->pt, &self->where, to);
			if (to != ABORT && to != DETACHED)
				EXPECT_EQ(1, edu_interrupts(edu))
					TH_LOG("from %d to %d", from, to);
		}
	}

	/* And nowhere else. */
	go(edu, self->pt, &self->where, ABORT);
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	go(edu, self->pt, &self->where, DETACHED);
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	go(edu, self->pt, &self->where, S1);
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_TRUE(is_empty(&self->s.q[0]));
}

/* It is stage 1 that says where the device's MSIs go. */
TEST_F(one_guest, guest_maps_the_doorbell)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	struct edu *edu = &guest->edu;
	__u64 page = vm_alloc(&s->vm, 1);
	struct vevent event;
	struct evt evt;

	guest_start(guest, VSID);
	edu_irq_enable(edu);

	/* Nowhere: a fault like any other. The register is GITS_TRANSLATER. */
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	ASSERT_TRUE(next_event(&s->q[0], &event));
	evt = vevent_decode(&event);
	EXPECT_EQ(EVT_F_TRANSLATION, evt.id);
	EXPECT_EQ(VSID, evt.sid);
	EXPECT_EQ(DOORBELL + 0x40, evt.addr);
	EXPECT_FALSE(evt.rnw);

	/* Into memory */
	memset(vm_ptr(&s->vm, page), 0xff, GUEST_PAGE);
	s1_map(&guest->s1, DOORBELL, page);
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	EXPECT_NE(~0U, *(__u32 *)vm_ptr(&s->vm, page + 0x40));

	/* To the doorbell, and that at another address as well */
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	viommu_cmd(&s->vm, guest->viommu, cmd_tlbi_nh_va(ASID, DOORBELL));
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_EQ(1, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

static int ioas_map(struct vm *vm, __u32 ioas, __u64 iova)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)vm->ram,
		.length = GUEST_PAGE,
		.iova = iova,
	};

	return ioctl(vm->iommufd, IOMMU_IOAS_MAP, &cmd) ? -errno : 0;
}

/* VMMs put nothing of the guest's there. */
TEST_F(one_guest, window_is_reserved)
{
	struct iommu_iova_range ranges[16];
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = self->s.vm.ioas,
		.num_iovas = ARRAY_SIZE(ranges),
		.allowed_iovas = (uintptr_t)ranges,
	};
	struct guest *guest = &self->s.guest[0];
	struct vm *vm = &self->s.vm;
	bool below = false, above = false;
	unsigned int i;

	guest_start(guest, VSID);
	edu_irq_enable(&guest->edu);
	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_IOAS_IOVA_RANGES, &cmd));
	for (i = 0; i < cmd.num_iovas; i++) {
		below |= ranges[i].last == DOORBELL - 1;
		above |= ranges[i].start == DOORBELL + WINDOW;
	}
	EXPECT_TRUE(below);
	EXPECT_TRUE(above);
	EXPECT_EQ(-EINVAL, ioas_map(vm, vm->ioas, DOORBELL));
	EXPECT_EQ(-EINVAL, ioas_map(vm, vm->ioas, DOORBELL + WINDOW - GUEST_PAGE));
	EXPECT_EQ(0, ioas_map(vm, vm->ioas, DOORBELL + WINDOW));
	EXPECT_EQ(0, ioas_map(vm, vm->ioas, DOORBELL - GUEST_PAGE));
}

/* An attach that fails since its doorbell has no place leaves the vector. */
TEST_F(one_guest, doorbell_has_no_place)
{
	struct guest *guest = &self->s.guest[0];
	struct vm *vm = &self->s.vm;
	__u32 full = ioas_alloc(vm), pt;

	ASSERT_EQ(0, ioas_map(vm, full, DOORBELL));
	pt = parent_alloc(vm, guest->edu.dev_id, full);
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);
	edu_irq_enable(&guest->edu);
	EXPECT_EQ(-EADDRINUSE, __edu_attach(&guest->edu, pt));
	EXPECT_EQ(1, edu_interrupts(&guest->edu));
	edu_attach(&guest->edu, vm->s2);
	EXPECT_EQ(-EADDRINUSE, __edu_attach(&guest->edu, pt));
	EXPECT_EQ(1, edu_interrupts(&guest->edu));
}

/* A doorbell that no vector needs any more goes with the next move. */
TEST_F(one_guest, doorbell_goes_with_its_last_vector)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	struct edu *edu = &guest->edu;

	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);
	edu_irq_enable(edu);
	EXPECT_EQ(1, edu_interrupts(edu));

	/* The page is there for any write. The next register is reserved. */
	edu_attach(edu, s->vm.s2);
	edu_attach(edu, guest->nested);
	edu_write(edu, DOORBELL + 0x44, 0, 4);
	EXPECT_EQ(0, testbed_written(s));
	EXPECT_EQ(1, edu_interrupts(edu));

	edu_irq_disable(edu);
	edu_attach(edu, s->vm.s2);
	edu_attach(edu, guest->nested);
	edu_write(edu, DOORBELL + 0x44, 0, 4);
	EXPECT_EQ(1, testbed_written(s));
	EXPECT_TRUE(is_empty(&s->q[0]));

	edu_irq_enable(edu);
	EXPECT_EQ(1, edu_interrupts(edu));
}

static bool write_file(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, line, strlen(line)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Lets each allocation and each copy of an attach fail once. */
TEST_F(one_guest, attach_runs_out_of_memory)
{
	struct guest *guest = &self->s.guest[0];
	struct edu *edu = &guest->edu;
	struct vm *vm = &self->s.vm;
	__u32 to[2], i, n, failed;
	char line[16];
	int rc, fd;

	if (!write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") ||
	    !write_file("/sys/kernel/debug/failslab/verbose", "0"))
		SKIP(return, "needs CONFIG_FAILSLAB and debugfs");
	/* iommufd's own places to fail, if it was built with them */
	write_file("/sys/kernel/debug/fail_iommufd/verbose", "0");
	write_file("/sys/kernel/debug/fail_usercopy/verbose", "0");
	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);

	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);
	edu_attach(edu, vm->s2);
	edu_irq_enable(edu);
	to[0] = guest->nested;
	to[1] = parent_alloc(vm, edu->dev_id, vm->ioas);
	for (i = 0; i < 2; i++) {
		failed = 0;
		for (n = 1; n < 100; n++) {
			snprintf(line, sizeof(line), "%u", n);
			ASSERT_LT(0, pwrite(fd, line, strlen(line), 0));
			rc = __edu_attach(edu, to[i]);
			/* To read this is a place that can fail, too. */
			if (pread(fd, line, sizeof(line), 0) < 0)
				ASSERT_EQ(EFAULT, errno);
			ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
			failed += !!rc;
			/* VFIO detaches if it cannot answer. */
			if (rc == -EFAULT)
				edu_attach(edu, vm->s2);
			EXPECT_EQ(1, edu_interrupts(edu))
				TH_LOG("the attach gave %d at allocation %u",
				       rc, n);
			if (!rc)
				edu_attach(edu, vm->s2);
			/* What was to fail was not there. */
			if (atoi(line))
				break;
		}
		EXPECT_GT(100, n);
		TH_LOG("%u of %u allocations made it fail", failed, n - 1);
		EXPECT_LT(0, failed);
	}
	write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "Y");
	close(fd);
}

/* Two devices on one nest parent, of which one goes */
TEST_F(two_guests, doorbell_stays_while_it_is_needed)
{
	struct testbed *s = &self->s;
	struct edu *edu[2];
	int i;

	for (i = 0; i < 2; i++) {
		edu[i] = &s->guest[i].edu;
		s1_map(&s->guest[i].s1, DOORBELL, DOORBELL);
		guest_start(&s->guest[i], VSID);
		edu_irq_enable(edu[i]);
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1, edu_interrupts(edu[i]));
		edu_detach(edu[i]);
		EXPECT_EQ(1, edu_interrupts(edu[!i]));
		edu_attach(edu[i], s->vm.s2);
		EXPECT_EQ(1, edu_interrupts(edu[i]));
	}
	edu_irq_disable(edu[1]);
	edu_close(edu[1]);
	edu[1]->fd = -1;
	EXPECT_EQ(1, edu_interrupts(edu[0]));
}

static void *stage1_on_and_off(void *arg)
{
	struct storm *st = arg;
	__u32 bypass = guest_nested(st->guest, vste_bypass());

	for (; !st->stop; st->rounds++) {
		edu_attach(&st->guest->edu, bypass);
		edu_attach(&st->guest->edu, st->guest->nested);
	}
	return NULL;
}

/* A guest that turns its stage 1 on does not lose an interrupt by that. */
TEST_F(one_guest, no_interrupt_is_lost)
{
	struct storm st = { .guest = &self->s.guest[0] };
	struct edu *edu = &st.guest->edu;
	pthread_t thread;
	int i;

	s1_map(&st.guest->s1, DOORBELL, DOORBELL);
	guest_start(st.guest, VSID);
	edu_irq_enable(edu);
	ASSERT_EQ(0, pthread_create(&thread, NULL, stage1_on_and_off, &st));
	for (i = 0; i < 1000 || st.rounds <= 20; i++)
		ASSERT_EQ(1, edu_interrupts(edu));
	st.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(20, st.rounds);
	TH_LOG("stage 1 went on and off %u times", st.rounds);
	EXPECT_EQ(0, testbed_written(&self->s));
}

struct move {
	struct edu *edu;
	__u32 to;
	unsigned int delay;
	atomic_bool go;
};

static void *move(void *arg)
{
	struct move *move = arg;
	atomic_uint i;

	while (!move->go)
		;
	for (i = 0; i < move->delay; i++)
		;
	edu_attach(move->edu, move->to);
	return NULL;
}

/*
 * A device that nobody had opened moves while its first vector is set up: the
 * doorbell must be mapped where it arrives.
 */
TEST_F(one_guest, vector_comes_while_it_moves)
{
	struct guest *guest = &self->s.guest[0];
	struct edu *edu = &guest->edu;
	struct vm *vm = &self->s.vm;
	pthread_t thread;
	__u32 pt[3];
	int i;

	pt[0] = vm->s2;
	pt[1] = parent_alloc(vm, edu->dev_id, vm->ioas);
	pt[2] = guest_nested(guest, vste_s1(&guest->s1));
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	srand(1);
	for (i = 0; i < 60; i++) {
		struct move m = {
			.edu = edu,
			.to = pt[(i + 1) % 3],
			.delay = rand() % 40000,
		};

		edu_close(edu);
		edu_open(edu, vm, edu_own_group(0));
		vdevice_alloc(vm, guest->viommu, edu->dev_id, VSID);
		edu_attach(edu, pt[i % 3]);
		ASSERT_EQ(0, pthread_create(&thread, NULL, move, &m));
		m.go = true;
		edu_irq_enable(edu);
		pthread_join(thread, NULL);
		EXPECT_EQ(1, edu_interrupts(edu))
			TH_LOG("move %d, delay %u", i, m.delay);
		edu_irq_disable(edu);
	}
}

TEST_HARNESS_MAIN
