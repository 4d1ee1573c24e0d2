// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events on an SMMUv3 while devices move: each comes to the guest that owned the
 * device when it happened. The devices are QEMU's "edu", see smmuv3_lib.h.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "smmuv3_testbed.h"

/* ---- Every event, and mended ---- */

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

/* ---- Whose it is ---- */

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
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, nested));
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

TEST_HARNESS_MAIN
