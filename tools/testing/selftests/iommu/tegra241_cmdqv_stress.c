// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs with NVIDIA Tegra241 CMDQV: the end while guests write, and threads that do
 * everything at once
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tegra241_cmdqv_fixtures.h"

/* ---- The end while guests work ---- */

/* A CPU of the guest that does not stop writing to its registers */
struct hammer {
	struct vintf *vintf;
	unsigned int queues;
	pthread_t thread;
	atomic_bool stop;
	atomic_ulong rounds;
};

static void *hammer_run(void *arg)
{
	struct hammer *h = arg;
	unsigned int i;

	while (!h->stop) {
		for (i = 0; i < h->queues; i++) {
			vintf_set(h->vintf, i, VCMDQ_GERRORN,
				  vintf_get(h->vintf, i, VCMDQ_GERROR));
			vintf_set(h->vintf, i, VCMDQ_PROD, h->rounds);
			vintf_set(h->vintf, i, VCMDQ_CONFIG, VCMDQ_EN);
		}
		h->rounds++;
	}
	return NULL;
}

static void hammer_start(struct hammer *h, struct vintf *vintf)
{
	memset(h, 0, sizeof(*h));
	h->vintf = vintf;
	h->queues = max_queues() < 2 ? 1 : 2;
	if (pthread_create(&h->thread, NULL, hammer_run, h))
		die("pthread_create");
}

static void hammer_stop(struct hammer *h)
{
	h->stop = true;
	pthread_join(h->thread, NULL);
}

/* It has written everything @n more times; false if it got stuck. */
static bool hammer_goes_on(struct hammer *h, unsigned long n)
{
	unsigned long end = h->rounds + n;
	int tries = SOON;

	while ((long)(end - h->rounds) > 0 && tries--)
		usleep(1000);
	return tries > 0;
}

/*
 * The queue runs. An EN that came before the base has no effect, and only turning
 * it off and on again helps: the hammer turns it on.
 */
static bool hammer_met(struct vcmdq *q)
{
	int tries = SOON;

	while (!(vcmdq_get(q, VCMDQ_STATUS) & VCMDQ_EN) && --tries) {
		if (tries % 20 == 0)
			vcmdq_set(q, VCMDQ_CONFIG, 0);
		usleep(1000);
	}
	return tries > 0;
}

static void fill_with_syncs(struct vcmdq *q)
{
	unsigned int i;

	for (i = 0; i < 1U << q->log2size; i++)
		vcmdq_overwrite(q, i, cmd_sync());
}

/* The queue stops, whatever the guest writes, and its memory can go. */
TEST_F(vintf, queue_ends_while_the_guest_writes)
{
	void *mem = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	struct vintf *v = &self->o.vintf;
	struct hammer h;
	struct vcmdq q;
	unsigned int i;

	ASSERT_NE(MAP_FAILED, mem);
	hammer_start(&h, v);
	for (i = 0; i < 20; i++) {
		vm_map(&self->vm, DIMM, mem, GUEST_PAGE);
		vcmdq_alloc_at(&q, v, 0, DIMM, mem, VCMDQ_LOG2SIZE);
		if (i & 1)
			fill_with_syncs(&q);
		else
			memset(mem, 0, GUEST_PAGE);
		ASSERT_TRUE(hammer_goes_on(&h, 10 * i));
		/* Some rounds take it as it is. */
		ASSERT_TRUE(i % 4 == 0 || hammer_met(&q)) TH_LOG("round %u", i);
		ASSERT_EQ(0, __iommu_destroy(&self->vm, q.id));
		ASSERT_TRUE(slot_is_clean(v, 0)) TH_LOG("round %u", i);
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	}
	hammer_stop(&h);
	munmap(mem, GUEST_PAGE);
}

/* A CPU that will not let queue 1 stop */
static void *hold_on(void *arg)
{
	struct hammer *h = arg;

	while (!h->stop) {
		vintf_set(h->vintf, 1, VCMDQ_CONFIG, VCMDQ_EN);
		h->rounds++;
	}
	return NULL;
}

/* The end of a queue that does not stop is not the end of its neighbour. */
TEST_F(one_guest, neighbour_goes_on_when_a_queue_ends)
{
	struct owner *o = &self->o;
	__u64 gpa = vm_alloc(&self->vm, 1);
	struct hammer h = { .vintf = &o->vintf };
	struct change c;
	struct vcmdq q;
	__u64 end;
	int i;

	if (max_queues() < 2)
		SKIP(return, "needs VINTFs of two queues");
	ASSERT_EQ(0, pthread_create(&h.thread, NULL, hold_on, &h));
	for (i = 0; i < 5; i++) {
		vcmdq_alloc(&q, &o->vintf, 1, gpa);
		ASSERT_TRUE(hammer_goes_on(&h, 20));
		ASSERT_TRUE(stale(&o->guest, &c, VA + i * GUEST_PAGE));
		vcmdq_free(&q);
		/* The VINTF was off for a moment, and its queues take theirs. */
		end = now_ms() + 5000;
		while (vcmdq_get(&o->q, VCMDQ_STATUS) != VCMDQ_EN)
			ASSERT_LT(now_ms(), end);
		ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_va(ASID, c.va)));
		ASSERT_TRUE(goes_after(&o->guest, &c));
		/* Queue 1 may have failed to start before it had a base. */
		ASSERT_LT(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_all()));
		ASSERT_TRUE(error_named(o, 0));
		vcmdq_skip(&o->q);
		ASSERT_EQ(0, vcmdq_wait(&o->q));
	}
	hammer_stop(&h);
	errors_drain(o);
}

/* Everything of a guest goes while it works, up to the vIOMMU. */
TEST_F(vintf, guest_ends_while_it_writes)
{
	struct owner *o = &self->o;
	__u64 gpa = vm_alloc(&self->vm, 1);
	struct hammer h;
	unsigned int i;

	for (i = 0; i < 10; i++) {
		errorq_alloc(&o->vintf, DEPTH, &o->errors);
		hammer_start(&h, &o->vintf);
		guest_start(&o->guest, i);
		vcmdq_alloc(&o->q, &o->vintf, 0, gpa);
		ASSERT_TRUE(hammer_goes_on(&h, 20));
		ASSERT_TRUE(i % 4 == 0 || hammer_met(&o->q))
			TH_LOG("round %u", i);

		EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, o->vintf.viommu));
		EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, o->guest.vdevice));
		edu_attach(&o->guest.edu, self->vm.s2);
		iommu_destroy(&self->vm, o->guest.nested);
		iommu_destroy(&self->vm, o->guest.vdevice);
		veventq_free(&self->vm, &o->errors);
		vcmdq_free(&o->q);
		EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, o->vintf.viommu));
		ASSERT_TRUE(hammer_goes_on(&h, 20));
		hammer_stop(&h);
		vintf_free(&o->vintf);
		EXPECT_CLEAN_BLOCK();
		vintf_alloc(&o->vintf, &self->vm, o->guest.edu.dev_id);
		o->guest.viommu = o->vintf.viommu;
	}
}

/* The mapping keeps the iommufd alive. The end comes with it. */
TEST_F(vintf, iommufd_is_closed_before_the_mapping)
{
	struct owner *o = &self->o;
	struct hammer h;

	errorq_alloc(&o->vintf, DEPTH, &o->errors);
	vcmdq_alloc(&o->q, &o->vintf, 0, vm_alloc(&self->vm, 1));
	fill_with_syncs(&o->q);
	hammer_start(&h, &o->vintf);
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	edu_close(&o->guest.edu);
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	close(self->vm.iommufd);
	self->vm.iommufd = -1;
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	close(o->errors.fd);
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	hammer_stop(&h);
	vintf_get(&o->vintf, 0, VCMDQ_STATUS);
	vintf_unmap(&o->vintf);
	EXPECT_CLEAN_BLOCK();
}

/* A VMM in full swing. It writes a byte to @ready, and is killed. */
static void doomed_vmm(int ready)
{
	struct hammer h[2];
	struct owner o[2];
	struct vm vm[2];
	int i, n = edu_own_group(1) ? 2 : 1;

	for (i = 0; i < n; i++) {
		vm_init(&vm[i]);
		owner_open(&o[i], &vm[i], edu_own_group(i));
		owner_start(&o[i], VSID20);
		s1_map(&o[i].guest.s1, VA, vm_alloc(&vm[i], 1));
		hammer_start(&h[i], &o[i].vintf);
	}
	for (i = 0; i < n; i++) {
		hammer_goes_on(&h[i], 20);
		edu_start(&o[i].guest.edu, VA, 0, GUEST_PAGE, true);
	}
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

TEST_F(device, vmm_is_killed)
{
	int ready[2], round, status;
	struct owner o;
	struct vm vm;
	pid_t pid;
	char c;

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	edu_close(&self->guest.edu);
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			close(ready[0]);
			doomed_vmm(ready[1]);
		}
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		usleep(round * 5000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		close(ready[0]);
		EXPECT_CLEAN_BLOCK();
	}
	/* The next VM finds all that it needs. */
	vm_init(&vm);
	owner_open(&o, &vm, edu_own_group(0));
	EXPECT_TRUE(slot_is_clean(&o.vintf, 0));
	owner_start(&o, VSID20);
	EXPECT_TRUE(no_error(&o));
	EXPECT_EQ(0, vcmdq_cmd(&o.q, cmd_tlbi_nh_asid(ASID)));
	owner_stop(&o);
	vm_free(&vm);
}

/* ---- The queue's memory ---- */

/* The VMM loses the memory: the hardware still reads what was there. */
TEST_F(vintf, queue_keeps_its_memory)
{
	void *mem = mmap(NULL, 2 * GUEST_PAGE, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	struct vcmdq q[2];
	int i, n = max_queues() < 2 ? 1 : 2;

	ASSERT_NE(MAP_FAILED, mem);
	vm_map(&self->vm, DIMM, mem, 2 * GUEST_PAGE);
	for (i = 0; i < n; i++) {
		vcmdq_alloc_at(&q[i], &self->o.vintf, i, DIMM + i * GUEST_PAGE,
			       mem + i * GUEST_PAGE, VCMDQ_LOG2SIZE);
		fill_with_syncs(&q[i]);
		vcmdq_start(&q[i]);
	}
	/* One page is new and zero, which is no command; one is nowhere. */
	ASSERT_EQ(0, madvise(mem, GUEST_PAGE, MADV_REMOVE));
	ASSERT_EQ(0, *(__u64 *)mem);
	ASSERT_EQ(0, munmap(mem + GUEST_PAGE, GUEST_PAGE));
	for (i = 0; i < n; i++) {
		q[i].prod = 200;
		vcmdq_kick(&q[i]);
		EXPECT_EQ(0, vcmdq_wait(&q[i]));
	}
	EXPECT_EQ(EBUSY, __vm_unmap(&self->vm, DIMM, 2 * GUEST_PAGE));
	while (i--)
		vcmdq_free(&q[i]);
	vm_unmap(&self->vm, DIMM, 2 * GUEST_PAGE);
	munmap(mem, GUEST_PAGE);
}

/* Another CPU of the guest writes to the queue while the hardware reads it. */
struct scribbler {
	struct vcmdq *q;
	pthread_t thread;
	atomic_bool stop;
};

static void *scribble(void *arg)
{
	static const __u8 ops[] = { CMD_SYNC, CMD_TLBI_NH_ASID, CMD_TLBI_NH_VA,
				    CMD_SYNC, CMD_SYNC, CMD_TLBI_NH_ALL };
	struct scribbler *s = arg;
	unsigned int i = 0;

	while (!s->stop) {
		vcmdq_overwrite(s->q, i * 7,
				cmd_raw(ops[i % sizeof(ops)], VA));
		i++;
	}
	return NULL;
}

/* One more, for which there is time; what came before does not matter. */
static bool error_is_reported(struct owner *o)
{
	bool reported;

	usleep(200000);
	errors_drain(o);
	reported = vcmdq_cmd(&o->q, cmd_tlbi_nh_all()) > 0 && error_named(o, 0);
	vcmdq_skip(&o->q);
	return reported && !vcmdq_wait(&o->q);
}

/* All that the queue holds was written by the other CPU. */
TEST_F(one_guest, commands_change_under_the_hardware)
{
	struct owner *o = &self->o;
	struct scribbler s = { .q = &o->q };
	unsigned int fine = 0, bad = 0, i;

	fill_with_syncs(&o->q);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, scribble, &s));
	for (i = 0; i < 100000 && (fine < 100 || bad < 100); i++) {
		o->q.prod = (o->q.prod + i % 8) & 0x1ff;
		vcmdq_kick(&o->q);
		if (!vcmdq_wait(&o->q)) {
			fine++;
			continue;
		}
		bad++;
		do
			vcmdq_skip(&o->q);
		while (vcmdq_wait(&o->q) > 0);
	}
	s.stop = true;
	pthread_join(s.thread, NULL);
	EXPECT_LE(100, fine);
	EXPECT_LE(100, bad);
	EXPECT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID)));
	/* An error that is acknowledged at once may come without an event. */
	ASSERT_TRUE(error_is_reported(o));
}

/* ---- Races ---- */

/* What two threads have met, and a loop for one of them beside the test */
enum met { MET_FINE, MET_REFUSED, MET_GONE, MET_BUSY, MET_EVENT, MET_KINDS };

struct race {
	struct owner *o;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint met[MET_KINDS];
};

static void race_start(struct race *r, struct owner *o, void *(*loop)(void *))
{
	memset(r, 0, sizeof(*r));
	r->o = o;
	if (pthread_create(&r->thread, NULL, loop, r))
		die("pthread_create");
}

static void race_stop(struct race *r)
{
	r->stop = true;
	pthread_join(r->thread, NULL);
}

static void *race_mmap(void *arg)
{
	struct race *r = arg;
	struct vintf *shared = &r->o->vintf, v;
	int rc;

	while (!r->stop) {
		v = *shared;
		/* The other thread is just writing it. */
		if (!v.vm || !v.offset || v.length != VINTF_PAGE)
			continue;
		rc = __vintf_map(&v);
		if (rc == ENXIO) {
			r->met[MET_GONE]++;
			continue;
		}
		if (rc)
			die("mmap: %s", strerror(rc));
		vintf_get(&v, 0, VCMDQ_STATUS);
		vintf_unmap(&v);
		r->met[MET_FINE]++;
	}
	return NULL;
}

TEST_F(device, mmap_against_destroy)
{
	struct owner o = {};
	unsigned int i, busy = 0, destroyed = 0;
	struct race r;
	int rc;

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	race_start(&r, &o, race_mmap);
	for (i = 0; i < 2000; i++) {
		ASSERT_EQ(0, __vintf_alloc(&o.vintf, &self->vm,
					   self->guest.edu.dev_id));
		do {
			rc = __iommu_destroy(&self->vm, o.vintf.viommu);
			busy += rc == EBUSY;
		} while (rc == EBUSY);
		ASSERT_EQ(0, rc);
		destroyed++;
	}
	race_stop(&r);
	EXPECT_LT(0, busy);
	EXPECT_LT(0, destroyed);
	EXPECT_LT(0, r.met[MET_FINE]);
	EXPECT_LT(0, r.met[MET_GONE]);
	EXPECT_CLEAN_BLOCK();
}

/* Makes one error after the other, and acknowledges each. */
static void *race_errors(void *arg)
{
	struct race *r = arg;
	struct vintf *v = &r->o->vintf;

	while (!r->stop) {
		vintf_set(v, 0, VCMDQ_CONFIG, VCMDQ_EN);
		vintf_set(v, 0, VCMDQ_PROD, 1);
		if (vintf_get(v, 0, VCMDQ_GERROR) !=
		    vintf_get(v, 0, VCMDQ_GERRORN))
			r->met[MET_REFUSED]++;
		vintf_set(v, 0, VCMDQ_GERRORN, vintf_get(v, 0, VCMDQ_GERROR));
	}
	return NULL;
}

/* Starts the queue whenever it can be started, and says how that went. */
static void *race_eager(void *arg)
{
	struct race *r = arg;
	struct vintf *v = &r->o->vintf;
	__u32 acked, active, off = 0;

	while (!r->stop) {
		/* If it stays off, EN came before the base and had no effect. */
		off = vintf_get(v, 0, VCMDQ_STATUS) ? 0 : off + 1;
		if (off % 1000 == 999)
			vintf_set(v, 0, VCMDQ_CONFIG, 0);
		vintf_set(v, 0, VCMDQ_PROD, 100);
		vintf_set(v, 0, VCMDQ_CONFIG, VCMDQ_EN);
		acked = vintf_get(v, 0, VCMDQ_GERRORN);
		active = vintf_get(v, 0, VCMDQ_GERROR) ^ acked;
		/* The two were read before and after the queue came. */
		if (vintf_get(v, 0, VCMDQ_GERRORN) != acked)
			continue;
		if (active & VCMDQ_GERROR_CMD) {
			r->met[MET_REFUSED]++;
		} else if (active) {
			vintf_set(v, 0, VCMDQ_GERRORN, acked ^ active);
			r->met[MET_BUSY]++;
		}
		r->met[MET_FINE]++;
	}
	return NULL;
}

static bool race_goes_on(struct race *r, enum met kind, unsigned int n)
{
	unsigned int end = r->met[kind] + n;
	int tries = SOON;

	while ((int)(end - r->met[kind]) > 0 && tries--)
		usleep(1000);
	return tries > 0;
}

/* A queue that starts as early as can be does not read its predecessor's page. */
TEST_F(vintf, queue_reads_its_own_memory_only)
{
	const __u64 old = vm_alloc(&self->vm, 1), new = vm_alloc(&self->vm, 1);
	struct vintf *v = &self->o.vintf;
	unsigned int errors, i;
	struct race r;
	struct vcmdq q;

	race_start(&r, &self->o, race_eager);
	for (i = 0; i < 10; i++) {
		/* Zeros, which are no command: the queue stops at once. */
		vcmdq_alloc(&q, v, 0, old);
		ASSERT_TRUE(race_goes_on(&r, MET_REFUSED, 1));
		vcmdq_free(&q);
		ASSERT_TRUE(race_goes_on(&r, MET_FINE, 2));

		errors = r.met[MET_REFUSED];
		memset(vm_ptr(&self->vm, new), 0, GUEST_PAGE);
		q.mem = vm_ptr(&self->vm, new);
		fill_with_syncs(&q);
		vcmdq_alloc(&q, v, 0, new);
		q.prod = 100;
		ASSERT_EQ(0, vcmdq_wait(&q))
			TH_LOG("round %u, status %#x, GERROR %#x, GERRORN %#x",
			       i, vcmdq_get(&q, VCMDQ_STATUS),
			       vcmdq_get(&q, VCMDQ_GERROR),
			       vcmdq_get(&q, VCMDQ_GERRORN));
		ASSERT_EQ(errors, r.met[MET_REFUSED]) TH_LOG("round %u", i);
		vcmdq_free(&q);
	}
	race_stop(&r);
}

/* A storm of errors, while what they go through and come from comes and goes */
TEST_F(vintf, errors_against_destroy)
{
	struct owner *o = &self->o;
	__u64 gpa = vm_alloc(&self->vm, 1);
	unsigned int events = 0, silent = 0, i, n;
	struct race r;

	race_start(&r, o, race_errors);
	for (i = 0; i < 60; i++) {
		vcmdq_alloc(&o->q, &o->vintf, 0, gpa);
		errorq_alloc(&o->vintf, DEPTH, &o->errors);
		iommu_destroy(&self->vm,
			      vdevice_alloc(&self->vm, o->vintf.viommu,
					    o->guest.edu.dev_id, i));
		usleep(i % 4 * 2000);
		if (i & 1)
			vcmdq_free(&o->q);
		n = errors_drain(o);
		events += n;
		silent += !n;
		veventq_free(&self->vm, &o->errors);
		if (!(i & 1))
			vcmdq_free(&o->q);
	}
	race_stop(&r);
	EXPECT_LT(0, r.met[MET_REFUSED]);
	EXPECT_LT(0, events);
	EXPECT_LT(0, silent);
	EXPECT_TRUE(slot_is_clean(&o->vintf, 0));
}

/* One guest's storm does not keep the other from its errors, or its DMA. */
TEST_F(two_guests, storm_of_one_leaves_the_other_alone)
{
	struct owner *o = self->o;
	struct change c;
	struct race r;
	int i;

	fill_with_syncs(&o[0].q);
	vcmdq_overwrite(&o[0].q, 0, cmd_tlbi_nh_all());
	race_start(&r, &o[0], race_errors);
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(refused(&o[1], cmd_tlbi_nh_all()));
		ASSERT_TRUE(stale(&o[1].guest, &c, VA + i * GUEST_PAGE));
		ASSERT_EQ(0, vcmdq_cmd(&o[1].q, cmd_tlbi_nh_va(ASID, c.va)));
		ASSERT_TRUE(goes_after(&o[1].guest, &c));
		r.met[MET_EVENT] += errors_drain(&o[0]);
	}
	race_stop(&r);
	EXPECT_LT(0, r.met[MET_REFUSED]);
	EXPECT_LT(0, r.met[MET_EVENT]);
	/*
	 * The host may be behind. Where an interrupt comes too late to tell whose it
	 * was, a guest in error can be told once more.
	 */
	usleep(200000);
	errors_drain(&o[0]);
	EXPECT_TRUE(errors_name_only(&o[1], 0));
}

/* Two threads of the VMM want the same queue. */
static void *race_queue(void *arg)
{
	struct race *r = arg;
	struct owner *o = r->o;
	__u32 id;
	int rc;

	while (!r->stop) {
		rc = __vcmdq_alloc(&o->vintf, 0, GUEST_RAM, GUEST_PAGE, &id);
		if (rc && rc != EEXIST)
			die("HW_QUEUE_ALLOC: %s", strerror(rc));
		r->met[rc ? MET_BUSY : MET_FINE]++;
		if (!rc)
			iommu_destroy(o->vintf.vm, id);
	}
	return NULL;
}

TEST_F(vintf, one_index_for_two_threads)
{
	struct race r[2];
	int i, tries = SOON;

	vm_alloc(&self->vm, 1);
	for (i = 0; i < 2; i++)
		race_start(&r[i], &self->o, race_queue);
	while (tries-- && (r[0].met[MET_FINE] < 200 || r[1].met[MET_FINE] < 200 ||
			   r[0].met[MET_BUSY] + r[1].met[MET_BUSY] < 10))
		usleep(1000);
	for (i = 0; i < 2; i++)
		race_stop(&r[i]);
	EXPECT_LT(0, tries) TH_LOG("fine %u and %u, busy %u and %u",
				   r[0].met[MET_FINE], r[1].met[MET_FINE],
				   r[0].met[MET_BUSY], r[1].met[MET_BUSY]);
	EXPECT_TRUE(slot_is_clean(&self->o.vintf, 0));
}

/* ATC_INVs for a vSID that comes and goes: each passes or is refused. */
static void *race_atc_inv(void *arg)
{
	struct race *r = arg;
	struct owner *o = r->o;

	while (!r->stop) {
		int rc = vcmdq_cmd(&o->q, cmd_atc_inv(5));

		r->met[rc ? MET_REFUSED : MET_FINE]++;
		if (!rc)
			continue;
		vcmdq_skip(&o->q);
		if (vcmdq_wait(&o->q))
			die("the queue does not go on");
	}
	return NULL;
}

TEST_F(one_guest, atc_inv_against_vdevice)
{
	struct owner *o = &self->o;
	struct guest *guest = &o->guest;
	struct race r;
	int i;

	if (no_pair)
		SKIP(return, "%s", no_pair);
	edu_attach(&guest->edu, self->vm.s2);
	iommu_destroy(&self->vm, guest->vdevice);
	race_start(&r, o, race_atc_inv);
	for (i = 0; i < 300; i++) {
		guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
					       guest->edu.dev_id, 5);
		usleep(i % 3 * 1000);
		iommu_destroy(&self->vm, guest->vdevice);
		usleep(i % 3 * 1000);
		errors_drain(o);
	}
	race_stop(&r);
	EXPECT_LT(0, r.met[MET_FINE]);
	EXPECT_LT(0, r.met[MET_REFUSED]);
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_sync()));
	usleep(100000);
	errors_drain(o);
	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, 5);
	edu_attach(&guest->edu, guest->nested);
}

/* ---- Everybody at once ---- */

/* The host and the VMM: stage 2 changes, and invalidations by ioctl */
static void *race_host(void *arg)
{
	struct race *r = arg;
	struct vm *vm = r->o->guest.vm;
	void *mem = mmap(NULL, 16 * GUEST_PAGE, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	__u64 at = DIMM + (__u64)r->o->guest.edu.dev_id * 0x1000000;

	while (!r->stop) {
		vm_map(vm, at, mem, 16 * GUEST_PAGE);
		guest_cmd(&r->o->guest, cmd_tlbi_nh_va(ASID, VA2));
		vm_unmap(vm, at, 16 * GUEST_PAGE);
		r->met[MET_FINE]++;
	}
	munmap(mem, 16 * GUEST_PAGE);
	return NULL;
}

/* The pages that the device reads from and writes to, new ones each time */
static bool copies_page(struct owner *o, unsigned int round)
{
	struct vm *vm = o->guest.vm;
	__u64 from = vm_alloc(vm, 1), to = vm_alloc(vm, 1);
	__u32 *p = vm_ptr(vm, from);
	unsigned int i;

	for (i = 0; i < GUEST_PAGE / 4; i++)
		p[i] = round * 0x9e3779b9 + i * 0x85ebca6b +
		       o->guest.edu.dev_id;
	s1_map(&o->guest.s1, VA, from);
	s1_map(&o->guest.s1, VA + GUEST_PAGE, to);
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA));
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA + GUEST_PAGE));
	if (vcmdq_cmd(&o->q, cmd_sync()))
		return false;
	edu_read(&o->guest.edu, VA, 0, GUEST_PAGE);
	edu_write(&o->guest.edu, VA + GUEST_PAGE, 0, GUEST_PAGE);
	return !memcmp(vm_ptr(vm, from), vm_ptr(vm, to), GUEST_PAGE);
}

static void *race_guest(void *arg)
{
	struct race *r = arg;
	unsigned int round;

	for (round = 0; round < 15; round++)
		r->met[copies_page(r->o, round) ? MET_FINE : MET_GONE]++;
	return NULL;
}

/* Another CPU of the guest, and another queue, where there is one */
static void *race_tlbi(void *arg)
{
	struct race *r = arg;
	struct vcmdq q;

	if (max_queues() < 2)
		return NULL;
	vcmdq_alloc(&q, &r->o->vintf, 1, vm_alloc(r->o->guest.vm, 1));
	vcmdq_start(&q);
	while (!r->stop)
		r->met[vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)) ? MET_REFUSED :
							       MET_FINE]++;
	vcmdq_free(&q);
	return NULL;
}

TEST_F(two_guests, everybody_invalidates_during_dma)
{
	struct race guest[2], host[2], tlbi[2];
	int i;

	for (i = 0; i < 2; i++)
		race_start(&tlbi[i], &self->o[i], race_tlbi);
	usleep(100000);
	for (i = 0; i < 2; i++)
		race_start(&host[i], &self->o[i], race_host);
	race_start(&guest[1], &self->o[1], race_guest);
	memset(&guest[0], 0, sizeof(guest[0]));
	guest[0].o = &self->o[0];
	race_guest(&guest[0]);
	pthread_join(guest[1].thread, NULL);
	for (i = 0; i < 2; i++) {
		race_stop(&host[i]);
		race_stop(&tlbi[i]);
		EXPECT_EQ(15, guest[i].met[MET_FINE]);
		EXPECT_LT(15, host[i].met[MET_FINE]);
		if (max_queues() > 1)
			EXPECT_LT(15, tlbi[i].met[MET_FINE]);
		EXPECT_EQ(0, tlbi[i].met[MET_REFUSED]);
	}
}

TEST_HARNESS_MAIN
