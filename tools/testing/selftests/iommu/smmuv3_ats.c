// SPDX-License-Identifier: GPL-2.0-only
/*
 * ATS, PASIDs and stalls of a VM's device on an SMMUv3. The devices are viommu-dma, see
 * smmuv3_dma_dev.h.
 *
 * A device keeps what a translation request gave it until an ATC_INV removes it. So a
 * test fills the ATC, changes memory, sees the device go by the old entry, and only
 * then lets somebody invalidate it.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "../kselftest_harness.h"
#include "smmuv3_dma_test.h"

/* To stage 1 with ATS */
static void ats_start(struct guest *guest, __u32 vsid)
{
	guest->vdevice = vdevice_alloc(guest->vm, guest->viommu,
				       guest->edu.dev_id, vsid);
	guest->nested = guest_nested(guest, vste_eats(&guest->s1, 1));
	edu_attach(&guest->edu, guest->nested);
}

/*
 * The device's ATC has @va, then the guest lets @va point elsewhere and removes it
 * from the SMMU's TLB. Returns false if the device doesn't go by its ATC.
 */
static bool atc_stale(struct guest *guest, struct change *c, __u64 va)
{
	c->va = va;
	c->before = vm_alloc(guest->vm, 1);
	c->after = vm_alloc(guest->vm, 1);
	s1_map(&guest->s1, va, c->before);
	if (dma_lands(&guest->edu, DMA_ATC, va) != c->before)
		return false;
	s1_map(&guest->s1, va, c->after);
	guest_cmd(guest, cmd_tlbi_nh_va(guest->s1.asid, va));
	return dma_lands(&guest->edu, DMA_UNTRANSLATED, va) == c->after &&
	       dma_lands(&guest->edu, DMA_ATC, va) == c->before;
}

static bool atc_has(struct guest *guest, const struct change *c)
{
	return dma_lands(&guest->edu, DMA_ATC, c->va) == c->before;
}

static bool atc_lost(struct guest *guest, const struct change *c)
{
	return dma_probe(&guest->edu, DMA_ATC, c->va, NULL) == DMA_NOT_IN_ATC &&
	       dma_lands(&guest->edu, DMA_ATC, c->va) == c->after;
}

static const char *ats_lacks(int devices)
{
	const char *lack = lacks(edu_own_group(devices - 1),
				 "needs two viommu-dma devices");

	if (!lack && !(smmu_reg(edu_own_group(0), IDR0) & IDR0_ATS))
		lack = "needs an SMMU with ATS";
	return lack;
}

/* ---- One device of one guest ---- */

FIXTURE(ats)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	void *dimm;
};

FIXTURE_SETUP(ats)
{
	const char *lack = ats_lacks(1);

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_open(&self->guest, &self->vm, edu_own_group(0));
	ats_start(&self->guest, VSID);
	self->dimm = dimm_alloc(1);
}

FIXTURE_TEARDOWN(ats)
{
	if (!self->vm.ram)
		return;
	dma_close(&self->guest.edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

/* VMMs turn ATS of the guest on by this. */
TEST_F(ats, hw_info_offers_ats)
{
	struct iommu_hw_info_arm_smmuv3 info;
	__u32 type = 0, len = sizeof(info);
	__u64 caps = ~0ULL;

	ASSERT_EQ(0, __hw_info(&self->vm, self->guest.edu.dev_id, 0, &type,
			       &info, &len, &caps));
	EXPECT_EQ(0, caps & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
	EXPECT_NE(0, info.idr[0] & IDR0_ATS);
}

/* One request, then the ATC knows it, and the SMMU isn't asked again. */
TEST_F(ats, request_is_answered_by_both_stages)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u64 page = vm_alloc(&self->vm, 1), addr = 0, requests;

	s1_map(&guest->s1, VA, page);
	ASSERT_EQ(DMA_OK, dma_request(edu, DMA_ATC, VA, &addr));
	requests = edu_get(edu, DMA_REQUESTS);
	EXPECT_EQ(1, edu_get(edu, DMA_ATC_COUNT));
	EXPECT_EQ(page, dma_lands(edu, DMA_ATC, VA));
	EXPECT_EQ(page, dma_lands(edu, DMA_RAW, addr));
	EXPECT_EQ(1, edu_get(edu, DMA_ATC_HITS));
	EXPECT_EQ(requests, edu_get(edu, DMA_REQUESTS));
}

/* IHI0070 3.9: a fault of a request is no event, and the ATC doesn't keep it. */
TEST_F(ats, request_that_faults_has_no_event)
{
	struct guest *guest = &self->guest;
	__u64 page = vm_alloc(&self->vm, 1);
	struct veventq q;

	veventq_alloc(&self->vm, guest->viommu, 64, &q);
	EXPECT_EQ(DMA_NO_PERMISSION, dma_write(&guest->edu, DMA_ATC, VA, 1));
	EXPECT_EQ(DMA_ABORTED, dma_write(&guest->edu, DMA_UNTRANSLATED, VA, 1));
	EXPECT_POKE(&q, 0, VSID, VA);
	EXPECT_TRUE(is_empty(&q));
	s1_map(&guest->s1, VA, page);
	EXPECT_EQ(page, dma_lands(&guest->edu, DMA_ATC, VA));
	veventq_free(&self->vm, &q);
}

TEST_F(ats, entry_stays_until_guests_atc_inv)
{
	struct guest *guest = &self->guest;
	struct change c;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	guest_cmd(guest, cmd_tlbi_nh_all());
	EXPECT_TRUE(atc_has(guest, &c));
	guest_cmd(guest, cmd_cfgi_cd_all(VSID));
	EXPECT_TRUE(atc_has(guest, &c));
	guest_cmd(guest, atc_inv(VSID, VA, 0));
	EXPECT_TRUE(atc_lost(guest, &c));
}

TEST_F(ats, atc_inv_of_a_range_spares_the_rest)
{
	struct guest *guest = &self->guest;
	struct change in, end, out;

	ASSERT_TRUE(atc_stale(guest, &in, VA));
	ASSERT_TRUE(atc_stale(guest, &end, VA + 3 * GUEST_PAGE));
	ASSERT_TRUE(atc_stale(guest, &out, VA + 4 * GUEST_PAGE));
	guest_cmd(guest, atc_inv(VSID, VA + 8 * GUEST_PAGE, 2));
	EXPECT_TRUE(atc_has(guest, &in));
	guest_cmd(guest, atc_inv(VSID, VA, 2));
	EXPECT_TRUE(atc_lost(guest, &in));
	EXPECT_TRUE(atc_lost(guest, &end));
	EXPECT_TRUE(atc_has(guest, &out));
	guest_cmd(guest, atc_inv(VSID, 0, 52));
	EXPECT_TRUE(atc_lost(guest, &out));
}

TEST_F(ats, bad_atc_inv_is_refused)
{
	struct guest *guest = &self->guest;
	struct iommu_viommu_arm_smmuv3_invalidate cmds[] = {
		atc_inv(VSID, VA2, 0),
		atc_inv(VSID, VA2, 0),
		atc_inv(VSID - 1, 0, 52),
		atc_inv(VSID, 0, 52),
	};
	struct change c;
	__u32 num = ARRAY_SIZE(cmds);
	__u64 invs;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	invs = edu_get(&guest->edu, DMA_INVS);
	EXPECT_EQ(EIO, __viommu_cmd(&self->vm, guest->viommu,
				    atc_inv(OTHER_VSID, 0, 52)));
	EXPECT_EQ(EIO, __viommu_cmd(&self->vm, guest->viommu,
				    atc_inv(guest->edu.dev_id, 0, 52)));
	EXPECT_EQ(EIO, __viommu_cmd(&self->vm, guest->viommu,
				    atc_inv(VSID, 0, 53)));
	EXPECT_EQ(EIO, __viommu_invalidate(&self->vm, guest->viommu, cmds,
					   &num));
	EXPECT_EQ(2, num);
	EXPECT_EQ(invs + 2, edu_get(&guest->edu, DMA_INVS));
	EXPECT_TRUE(atc_has(guest, &c));
}

/* ABI: a guest sends ATC_INVs after switching ATS off: executed, and not issued. */
TEST_F(ats, eats_0_refuses_requests)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u32 off = guest_nested(guest, vste_eats(&guest->s1, 0));
	struct change c;
	enum dma_code code;
	__u64 invs;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	edu_attach(edu, off);
	code = dma_request(edu, DMA_ATC, VA, NULL);
	EXPECT_TRUE(code == DMA_UNSUPPORTED || code == DMA_ATS_OFF)
		TH_LOG("code %d", code);
	EXPECT_EQ(NOWHERE, dma_lands(edu, DMA_ATC, VA));
	EXPECT_EQ(c.after, dma_lands(edu, DMA_UNTRANSLATED, VA));
	invs = edu_get(edu, DMA_INVS);
	guest_cmd(guest, atc_inv(VSID, 0, 52));
	EXPECT_EQ(invs, edu_get(edu, DMA_INVS));

	/* What the ATC had is gone. */
	edu_attach(edu, guest->nested);
	EXPECT_TRUE(atc_lost(guest, &c));
}

TEST_F(ats, abort_and_back_empties_the_atc)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u32 still[] = {
		guest_nested(guest, vste_abort()),
		guest_nested(guest, vste_invalid()),
	};
	struct change c;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(still); i++) {
		ASSERT_TRUE(atc_stale(guest, &c, VA + i * GUEST_PAGE));
		edu_attach(edu, still[i]);
		EXPECT_NE(DMA_OK, dma_request(edu, DMA_ATC, c.va, NULL));
		EXPECT_EQ(NOWHERE, dma_lands(edu, DMA_ATC, c.va));
		EXPECT_EQ(NOWHERE, dma_lands(edu, DMA_UNTRANSLATED, c.va));
		guest_cmd(guest, atc_inv(VSID, 0, 52));
		edu_attach(edu, guest->nested);
		EXPECT_TRUE(atc_lost(guest, &c));
	}
}

TEST_F(ats, detach_leaves_no_entry)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	struct change c;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	edu_detach(edu);
	EXPECT_EQ(NOWHERE, dma_lands(edu, DMA_ATC, VA));
	guest_cmd(guest, atc_inv(VSID, 0, 52));
	edu_attach(edu, guest->nested);
	EXPECT_TRUE(atc_lost(guest, &c));
}

TEST_F(ats, closed_device_leaves_no_entry)
{
	struct guest *guest = &self->guest;
	struct change c;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	guest_stop(guest);
	guest_open(guest, &self->vm, edu_own_group(0));
	EXPECT_EQ(0, edu_get(&guest->edu, DMA_ATC_COUNT));
	ats_start(guest, VSID);
	s1_map(&guest->s1, VA, c.after);
	EXPECT_TRUE(atc_lost(guest, &c));
}

/* A change of the vSTE that leaves ATS on must not leave what the old tables gave. */
TEST_F(ats, replace_by_other_tables_empties_the_atc)
{
	struct guest *guest = &self->guest;
	__u64 page = vm_alloc(&self->vm, 1);
	struct s1 other;
	struct change c;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	s1_init(&other, &self->vm, ASID + 1);
	s1_map(&other, VA, page);
	edu_attach(&guest->edu, guest_nested(guest, vste_eats(&other, 1)));
	EXPECT_EQ(page, dma_lands(&guest->edu, DMA_ATC, VA));
}

TEST_F(ats, late_answer_delays_the_call)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	struct change c;
	__u64 start;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	edu_set(edu, DMA_INV_MODE, DMA_INV_LATE);
	edu_set(edu, DMA_INV_DELAY, 40 * MS);
	start = now_ms();
	guest_cmd(guest, atc_inv(VSID, VA, 0));
	EXPECT_EQ(edu_get(edu, DMA_INVS), edu_get(edu, DMA_INV_DONE));
	EXPECT_LE(39, now_ms() - start);
	EXPECT_TRUE(atc_lost(guest, &c));
}

/* ---- Changes of stage 2 ---- */

FIXTURE(ats_unmap)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	void *dimm;
	__u64 va;
};

enum place { STAGE1, BYPASS, STAGE2 };

FIXTURE_VARIANT(ats_unmap)
{
	enum place place;
};

FIXTURE_VARIANT_ADD(ats_unmap, stage1) { .place = STAGE1 };
FIXTURE_VARIANT_ADD(ats_unmap, bypass) { .place = BYPASS };
FIXTURE_VARIANT_ADD(ats_unmap, stage2) { .place = STAGE2 };

FIXTURE_SETUP(ats_unmap)
{
	const char *lack = ats_lacks(1);
	struct guest *guest = &self->guest;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_open(guest, &self->vm, edu_own_group(0));
	self->va = DIMM;
	if (variant->place == STAGE1) {
		ats_start(guest, VSID);
		self->va = VA;
		s1_map(&guest->s1, VA, DIMM);
	} else if (variant->place == BYPASS) {
		guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
					       guest->edu.dev_id, VSID);
		edu_attach(&guest->edu, guest_nested(guest, vste_bypass()));
	}
	self->dimm = dimm_alloc(1);
	vm_map(&self->vm, DIMM, self->dimm, GUEST_PAGE);
}

FIXTURE_TEARDOWN(ats_unmap)
{
	if (!self->vm.ram)
		return;
	dma_close(&self->guest.edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

TEST_F(ats_unmap, unmapped_page_is_out_of_reach)
{
	struct edu *edu = &self->guest.edu;

	ASSERT_TRUE(dma_reaches(edu, DMA_ATC, self->va, self->dimm));
	ASSERT_EQ(DMA_OK, dma_probe(edu, DMA_ATC, self->va, NULL));
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	EXPECT_EQ(DMA_NOT_IN_ATC, dma_probe(edu, DMA_ATC, self->va, NULL));
	EXPECT_FALSE(dma_reaches(edu, DMA_ATC, self->va, self->dimm));
	EXPECT_FALSE(dma_reaches(edu, DMA_UNTRANSLATED, self->va, self->dimm));
}

/* The pages may have a new owner as soon as the ioctl returns. */
TEST_F(ats_unmap, unmap_waits_for_the_answer)
{
	struct edu *edu = &self->guest.edu;
	__u64 invs = edu_get(edu, DMA_INVS);
	__u64 start;

	ASSERT_TRUE(dma_reaches(edu, DMA_ATC, self->va, self->dimm));
	edu_set(edu, DMA_INV_MODE, DMA_INV_LATE);
	edu_set(edu, DMA_INV_DELAY, 40 * MS);
	start = now_ms();
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	EXPECT_LE(39, now_ms() - start);
	EXPECT_LT(invs, edu_get(edu, DMA_INVS));
	EXPECT_EQ(edu_get(edu, DMA_INVS), edu_get(edu, DMA_INV_DONE));
	EXPECT_FALSE(dma_reaches(edu, DMA_ATC, self->va, self->dimm));
}

TEST_F(ats_unmap, other_memory_at_the_address_is_used)
{
	struct edu *edu = &self->guest.edu;
	void *other = dimm_alloc(1);
	int i;

	for (i = 0; i < 10; i++) {
		void *now = i % 2 ? other : self->dimm;

		ASSERT_TRUE(dma_reaches(edu, DMA_ATC, self->va, now));
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);
		vm_map(&self->vm, DIMM, i % 2 ? self->dimm : other, GUEST_PAGE);
		ASSERT_FALSE(dma_reaches(edu, DMA_ATC, self->va, now))
			TH_LOG("round %d", i);
	}
}

/* ---- Two devices ---- */

/* Each in a VM of its own */
FIXTURE(two_vms)
{
	struct host host;
	struct vm vm[2];
	struct guest guest[2];
};

FIXTURE_SETUP(two_vms)
{
	const char *lack = ats_lacks(2);
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	for (i = 0; i < 2; i++) {
		vm_init(&self->vm[i]);
		guest_open(&self->guest[i], &self->vm[i], edu_own_group(i));
		ats_start(&self->guest[i], VSID);
	}
}

FIXTURE_TEARDOWN(two_vms)
{
	int i;

	if (!self->vm[0].ram)
		return;
	for (i = 0; i < 2; i++) {
		dma_close(&self->guest[i].edu);
		vm_free(&self->vm[i]);
	}
	EXPECT_TRUE(host_is_fine(&self->host));
}

TEST_F(two_vms, atc_inv_of_one_spares_the_other)
{
	struct change c[2];
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_TRUE(atc_stale(&self->guest[i], &c[i], VA));
	guest_cmd(&self->guest[0], atc_inv(VSID, 0, 52));
	EXPECT_TRUE(atc_lost(&self->guest[0], &c[0]));
	EXPECT_TRUE(atc_has(&self->guest[1], &c[1]));
	edu_detach(&self->guest[0].edu);
	EXPECT_TRUE(atc_has(&self->guest[1], &c[1]));
	guest_cmd(&self->guest[1], atc_inv(VSID, 0, 52));
	EXPECT_TRUE(atc_lost(&self->guest[1], &c[1]));
}

/* One guest with two devices: the vSID says which of them is meant. */
TEST_F(two_vms, atc_inv_goes_to_its_vsid)
{
	struct guest *a = &self->guest[0], b;
	struct change c[2];

	guest_stop(&self->guest[1]);
	guest_device(&b, &self->vm[0], edu_own_group(1));
	b.viommu = a->viommu;
	ats_start(&b, OTHER_VSID);
	self->guest[1].edu = b.edu;

	b.s1.asid = ASID + 1;
	s1_write_cd(&b.s1);
	guest_cmd(&b, cmd_cfgi_cd(OTHER_VSID));
	ASSERT_TRUE(atc_stale(a, &c[0], VA));
	ASSERT_TRUE(atc_stale(&b, &c[1], VA));
	guest_cmd(a, atc_inv(OTHER_VSID, VA, 0));
	EXPECT_TRUE(atc_has(a, &c[0]));
	EXPECT_TRUE(atc_lost(&b, &c[1]));
	guest_cmd(a, atc_inv(VSID, VA, 0));
	EXPECT_TRUE(atc_lost(a, &c[0]));
}

/* A VM that invalidates and does DMA without pause */
struct neighbour {
	struct guest *guest;
	atomic_bool stop;
	atomic_uint rounds, bad;
	int rc;
};

static void *neighbour_runs(void *arg)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd = atc_inv(VSID, VA, 0);
	struct neighbour *n = arg;
	struct guest *guest = n->guest;
	__u64 page = vm_alloc(guest->vm, 1);

	s1_map(&guest->s1, VA, page);
	for (; !n->stop; n->rounds++) {
		__u32 num = 1;
		int rc = __viommu_invalidate(guest->vm, guest->viommu, &cmd,
					     &num);

		if (rc)
			n->rc = rc;
		if (rc || num != 1 ||
		    dma_lands(&guest->edu, DMA_ATC, VA) != page)
			n->bad++;
	}
	return NULL;
}

/* TLBI, CFGI, ATC_INV and TLBI. The first two are synchronised before the third. */
static int silent_cmds(struct guest *guest, __u32 *num)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmds[] = {
		cmd_tlbi_nh_all(), cmd_cfgi_cd_all(VSID), atc_inv(VSID, VA, 0),
		cmd_tlbi_nh_all(),
	};

	*num = ARRAY_SIZE(cmds);
	return __viommu_invalidate(guest->vm, guest->viommu, cmds, num);
}

/* The host has logged what a test expects it to log. */
static void forgive(struct host *host)
{
	close(host->kmsg);
	if (host->regs)
		munmap(host->regs, 4096);
	host_watch(host, edu_own_group(0));
}

TEST_F(two_vms, silent_device_recovers)
{
	struct guest *guest = &self->guest[0];
	struct change c;
	__u32 num;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	edu_set(&guest->edu, DMA_INV_MODE, DMA_INV_NEVER);
	silent_cmds(guest, &num);
	edu_set(&guest->edu, DMA_INV_MODE, DMA_INV_AT_ONCE);
	guest_cmd(guest, atc_inv(VSID, VA, 0));
	EXPECT_TRUE(atc_lost(guest, &c));
	ASSERT_TRUE(atc_stale(&self->guest[1], &c, VA));
	guest_cmd(&self->guest[1], atc_inv(VSID, VA, 0));
	EXPECT_TRUE(atc_lost(&self->guest[1], &c));
	forgive(&self->host);
}

static void run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	must(sched_setaffinity(0, sizeof(cpus), &cpus) ? errno : 0,
	     "sched_setaffinity");
}

/*
 * Neither the ATC_INV nor what follows it counts, on whichever CPU: one of them gets
 * the interrupt by which the SMMU reports it.
 */
TEST_F(two_vms, silent_device_is_a_timeout)
{
	struct guest *guest = &self->guest[0];
	struct change c;
	__u64 start;
	__u32 num;
	int rc, i;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	edu_set(&guest->edu, DMA_INV_MODE, DMA_INV_NEVER);
	for (i = 0; i < sysconf(_SC_NPROCESSORS_ONLN); i++) {
		run_on(i);
		start = now_ms();
		rc = silent_cmds(guest, &num);
		EXPECT_EQ(ETIMEDOUT, rc);
		EXPECT_EQ(2, num)
			TH_LOG("CPU %d, %llu ms", i, now_ms() - start);
	}
	forgive(&self->host);
}

TEST_F(two_vms, silent_device_leaves_the_other_vm_alone)
{
	struct guest *guest = &self->guest[0];
	struct neighbour n = { .guest = &self->guest[1] };
	pthread_t thread;
	struct change c;
	__u32 num;
	int i;

	ASSERT_TRUE(atc_stale(guest, &c, VA));
	edu_set(&guest->edu, DMA_INV_MODE, DMA_INV_NEVER);
	ASSERT_EQ(0, pthread_create(&thread, NULL, neighbour_runs, &n));
	/* The neighbour runs on the other CPUs, of which one gets the interrupt */
	for (i = 0; i < 6; i++) {
		run_on(i % sysconf(_SC_NPROCESSORS_ONLN));
		EXPECT_EQ(ETIMEDOUT, silent_cmds(guest, &num));
		EXPECT_EQ(2, num);
	}
	n.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, n.bad) TH_LOG("of %u, errno %d", n.rounds, n.rc);
	EXPECT_LT(0, n.rounds);
	forgive(&self->host);
}

/* ATC_INVs without pause, to a device that answers none */
static void *silent_runs(void *arg)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd = atc_inv(VSID, VA, 0);
	struct neighbour *n = arg;
	struct guest *guest = n->guest;

	for (; !n->stop; n->rounds++) {
		__u32 num = 1;

		if (__viommu_invalidate(guest->vm, guest->viommu, &cmd, &num) !=
		    ETIMEDOUT || num)
			n->bad++;
	}
	return NULL;
}

/*
 * The other VM's command waits for what is in the queue before it. That is one block
 * of the guest's, however many threads the guest has, and another one if that one
 * ended meanwhile.
 */
TEST_F(two_vms, silent_device_has_one_command_in_the_queue)
{
	struct edu *edu = &self->guest[0].edu;
	struct neighbour n = { .guest = &self->guest[0] };
	unsigned int i, most = 0;
	pthread_t threads[8];
	struct change c;

	ASSERT_TRUE(atc_stale(n.guest, &c, VA));
	edu_set(edu, DMA_INV_MODE, DMA_INV_NEVER);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, silent_runs, &n));
	for (i = 0; i < 20; i++) {
		__u64 before = edu_get(edu, DMA_INVS);

		guest_cmd(&self->guest[1], cmd_tlbi_nh_all());
		before = edu_get(edu, DMA_INVS) - before;
		most = before > most ? before : most;
	}
	n.stop = true;
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	EXPECT_LE(most, 2);
	EXPECT_EQ(0, n.bad) TH_LOG("of %u", n.rounds);
	forgive(&self->host);
}

/* How often the host has logged @what since host_watch(). Consumes the log. */
static unsigned int host_said(struct host *host, const char *what)
{
	unsigned int times = 0;
	char line[8192];
	ssize_t n;

	for (;;) {
		n = read(host->kmsg, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			return times;
		line[n] = 0;
		if (strstr(line, what))
			times++;
	}
}

/* Maps and unmaps a page of its VM without pause, on one CPU */
struct unmapper {
	struct neighbour *n;
	int cpu;
	pthread_t thread;
};

static void *unmapper_runs(void *arg)
{
	struct unmapper *u = arg;
	struct neighbour *n = u->n;
	struct vm *vm = n->guest->vm;
	__u64 gpa = DIMM + u->cpu * HUGE_PAGE;
	void *page = dimm_alloc(1);

	run_on(u->cpu);
	for (; !n->stop; n->rounds++) {
		vm_map(vm, gpa, page, GUEST_PAGE);
		vm_unmap(vm, gpa, GUEST_PAGE);
	}
	return NULL;
}

/*
 * Each unmap of the silent VM stops a command queue of the host until the driver has
 * handled the error. CPU 0 gets the interrupt of the error, but waits for its own
 * command meanwhile. With Tegra241 CMDQV the host's commands of CPUs 0, 2 and 4 go by
 * the same queue.
 */
TEST_F(two_vms, silent_device_leaves_unmaps_of_the_other_vm_alone)
{
	struct neighbour n = { .guest = &self->guest[0] };
	struct unmapper u[] = {
		{ .n = &n, .cpu = 0 },
		{ .n = &n, .cpu = 4 },
	};
	struct guest *other = &self->guest[1];
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct edu *silent = &n.guest->edu;
	unsigned int i, threads = cpus > 4 ? 2 : 1;
	void *page = dimm_alloc(1);
	__u64 invs;

	if (cpus < 3)
		SKIP(return, "needs three CPUs");
	s1_map(&other->s1, VA, DIMM);
	invs = edu_get(silent, DMA_INVS);
	edu_set(silent, DMA_INV_MODE, DMA_INV_NEVER);
	for (i = 0; i < threads; i++)
		ASSERT_EQ(0, pthread_create(&u[i].thread, NULL, unmapper_runs,
					    &u[i]));
	run_on(2);
	for (i = 0; i < 20 || n.rounds < 5; i++) {
		vm_map(other->vm, DIMM, page, GUEST_PAGE);
		EXPECT_TRUE(dma_reaches(&other->edu, DMA_UNTRANSLATED, VA,
					page))
			TH_LOG("round %u", i);
		EXPECT_TRUE(dma_reaches(&other->edu, DMA_ATC, VA, page))
			TH_LOG("round %u", i);
		vm_unmap(other->vm, DIMM, GUEST_PAGE);
		EXPECT_FALSE(dma_reaches(&other->edu, DMA_UNTRANSLATED, VA,
					 page))
			TH_LOG("round %u", i);
		EXPECT_FALSE(dma_reaches(&other->edu, DMA_ATC, VA, page))
			TH_LOG("round %u", i);
	}
	n.stop = true;
	for (i = 0; i < threads; i++)
		pthread_join(u[i].thread, NULL);
	EXPECT_LE(invs + 5, edu_get(silent, DMA_INVS));
	/* A machine under load may be late now and then */
	EXPECT_GT(5, host_said(&self->host, "CMD_SYNC timeout"));
	forgive(&self->host);
}

/* ---- PASIDs ---- */

#define SSIDS		4	/* CDs that the guest has */
#define S1CDMAX		4ULL

FIXTURE(pasid)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	struct veventq q;
	struct s1 s1[SSIDS];
	__u64 page[SSIDS];
};

FIXTURE_SETUP(pasid)
{
	const char *lack = ats_lacks(1);
	struct guest *guest = &self->guest;
	struct iommu_hwpt_arm_smmuv3 vste;
	__u64 table;
	int i;

	if (!lack && !IDR1_SSIDSIZE(smmu_reg(edu_own_group(0), IDR1)))
		lack = "needs an SMMU with substreams";
	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_open(guest, &self->vm, edu_own_group(0));
	veventq_alloc(&self->vm, guest->viommu, 64, &self->q);

	table = vm_alloc(&self->vm, 1);
	for (i = 0; i < SSIDS; i++) {
		struct s1 *s1 = &self->s1[i];

		s1_init(s1, &self->vm, ASID + i);
		s1->cd = table + 64 * i;
		s1_write_cd(s1);
		self->page[i] = vm_alloc(&self->vm, 1);
		s1_map(s1, VA, self->page[i]);
	}
	guest->s1 = self->s1[0];

	/* Without SubstreamID CD 0 is used (IHI0070 5.2, S1DSS = 0b10). */
	vste = vste_eats(&guest->s1, 1);
	vste.ste[0] |= htole64(S1CDMAX << 59);
	vste.ste[1] |= htole64(2);
	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, VSID);
	guest->nested = guest_nested(guest, vste);
	edu_attach(&guest->edu, guest->nested);
}

FIXTURE_TEARDOWN(pasid)
{
	if (!self->vm.ram)
		return;
	dma_close(&self->guest.edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

TEST_F(pasid, dma_uses_the_cd_of_its_pasid)
{
	struct edu *edu = &self->guest.edu;
	unsigned int i, round;

	for (round = 0; round < 2; round++) {
		EXPECT_EQ(self->page[0], dma_lands(edu, DMA_UNTRANSLATED, VA));
		EXPECT_EQ(self->page[0], dma_lands(edu, DMA_ATC, VA));
		for (i = 1; i < SSIDS; i++) {
			EXPECT_EQ(self->page[i],
				  dma_lands(edu, DMA_UNTRANSLATED |
						 DMA_PASID(i), VA));
			EXPECT_EQ(self->page[i],
				  dma_lands(edu, DMA_ATC | DMA_PASID(i), VA));
		}
	}
	EXPECT_TRUE(is_empty(&self->q));
}

TEST_F(pasid, fault_tells_the_substream)
{
	struct edu *edu = &self->guest.edu;
	struct evt evt;

	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_PASID(2), VA2, 1));
	ASSERT_TRUE(next_is(&self->q, &evt, EVT_F_TRANSLATION, VSID));
	EXPECT_TRUE(evt.ssv);
	EXPECT_EQ(2, evt.ssid);
	EXPECT_EQ(VA2, evt.addr);

	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_UNTRANSLATED, VA2, 1));
	ASSERT_TRUE(next_is(&self->q, &evt, EVT_F_TRANSLATION, VSID));
	EXPECT_FALSE(evt.ssv);
}

TEST_F(pasid, substream_beyond_the_table_is_an_event)
{
	struct edu *edu = &self->guest.edu;
	struct evt evt;

	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_PASID(1 << S1CDMAX), VA, 1));
	ASSERT_TRUE(next_is(&self->q, &evt, EVT_C_BAD_SUBSTREAMID, VSID));
	EXPECT_EQ(1 << S1CDMAX, evt.ssid);
}

TEST_F(pasid, atc_inv_names_one_pasid)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u64 after = vm_alloc(&self->vm, 1);
	int i;

	for (i = 1; i < SSIDS; i++) {
		ASSERT_EQ(self->page[i], dma_lands(edu, DMA_ATC | DMA_PASID(i),
						   VA));
		s1_map(&self->s1[i], VA, after);
	}
	guest_cmd(guest, cmd_tlbi_nh_all());
	guest_cmd(guest, with_ssid(atc_inv(VSID, VA, 0), SSV, 2));
	EXPECT_EQ(self->page[1], dma_lands(edu, DMA_ATC | DMA_PASID(1), VA));
	EXPECT_EQ(after, dma_lands(edu, DMA_ATC | DMA_PASID(2), VA));
	EXPECT_EQ(self->page[3], dma_lands(edu, DMA_ATC | DMA_PASID(3), VA));
}

/* A nest parent's change has to remove what all PASIDs have. */
TEST_F(pasid, unmap_reaches_every_pasid)
{
	struct edu *edu = &self->guest.edu;
	void *dimm = dimm_alloc(1);
	int i;

	vm_map(&self->vm, DIMM, dimm, GUEST_PAGE);
	for (i = 0; i < SSIDS; i++) {
		__u64 how = DMA_ATC | (i ? DMA_PASID(i) : 0);

		s1_map(&self->s1[i], VA2, DIMM);
		ASSERT_TRUE(dma_reaches(edu, how, VA2, dimm));
	}
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	for (i = 0; i < SSIDS; i++) {
		__u64 how = DMA_ATC | (i ? DMA_PASID(i) : 0);

		EXPECT_EQ(DMA_NOT_IN_ATC, dma_probe(edu, how, VA2, NULL))
			TH_LOG("PASID %d", i);
		EXPECT_FALSE(dma_reaches(edu, how, VA2, dimm))
			TH_LOG("PASID %d", i);
	}
}

TEST_F(pasid, abort_and_back_empties_every_pasid)
{
	struct guest *guest = &self->guest;
	int i;

	for (i = 1; i < SSIDS; i++)
		ASSERT_EQ(self->page[i],
			  dma_lands(&guest->edu, DMA_ATC | DMA_PASID(i), VA));
	edu_attach(&guest->edu, guest_nested(guest, vste_abort()));
	edu_attach(&guest->edu, guest->nested);
	for (i = 1; i < SSIDS; i++)
		EXPECT_EQ(DMA_NOT_IN_ATC,
			  dma_probe(&guest->edu, DMA_ATC | DMA_PASID(i), VA,
				    NULL));
}

TEST_F(pasid, cfgi_cd_names_one_substream)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u64 after = vm_alloc(&self->vm, 1);
	int i;

	for (i = 1; i < SSIDS; i++) {
		struct s1 *s1 = &self->s1[i];

		ASSERT_EQ(self->page[i], dma_lands(edu, DMA_PASID(i), VA));
		s1->ttb = vm_alloc(&self->vm, 1);
		s1->asid += 0x100;
		s1_map(s1, VA, after);
		s1_write_cd(s1);
	}
	guest_cmd(guest, cmd_tlbi_nh_all());
	guest_cmd(guest, with_ssid(cmd_cfgi_cd(VSID), 0, 2));
	EXPECT_EQ(self->page[1], dma_lands(edu, DMA_PASID(1), VA));
	EXPECT_EQ(after, dma_lands(edu, DMA_PASID(2), VA));
	EXPECT_EQ(self->page[3], dma_lands(edu, DMA_PASID(3), VA));
	guest_cmd(guest, cmd_cfgi_cd_all(VSID));
	EXPECT_EQ(after, dma_lands(edu, DMA_PASID(1), VA));
	EXPECT_EQ(after, dma_lands(edu, DMA_PASID(3), VA));
}

/* ---- Stalls ---- */

FIXTURE(stall)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	struct veventq q;
	struct edu_slot slot;
};

FIXTURE_VARIANT(stall)
{
	int known;	/* to stall: the host's own STEs and CDs let that device */
	bool ats;
};

FIXTURE_VARIANT_ADD(stall, any_device) { .known = 0, .ats = true };
FIXTURE_VARIANT_ADD(stall, device_that_stalls) { .known = 1, .ats = true };
FIXTURE_VARIANT_ADD(stall, device_that_stalls_without_ats) {
	.known = 2,
	.ats = false,
};

FIXTURE_SETUP(stall)
{
	const char *why, *lack = ats_lacks(1);
	struct guest *guest = &self->guest;
	struct edu_slot slots[2] = {};

	if (!lack && IDR0_STALL_MODEL(smmu_reg(edu_own_group(0), IDR0)))
		lack = "needs an SMMU that can stall (STALL_MODEL 0)";
	if (!lack && variant->known &&
	    slot_find(DMA_STALLS_ID, NULL, slots, 2, &why) < 2)
		lack = "needs two viommu-dma that stall, the first one with ATS";
	if (lack)
		SKIP(return, "%s", lack);
	self->slot = variant->known ? slots[variant->known - 1] :
		     *edu_own_group(0);
	host_watch(&self->host, &self->slot);
	vm_init(&self->vm);
	guest_open(guest, &self->vm, &self->slot);
	veventq_alloc(&self->vm, guest->viommu, 64, &self->q);
	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, VSID);
	guest->nested = guest_nested(guest, vste_eats(&guest->s1, variant->ats));
	edu_attach(&guest->edu, guest->nested);
}

FIXTURE_TEARDOWN(stall)
{
	if (!self->vm.ram)
		return;
	dma_close(&self->guest.edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

/*
 * Nobody could answer. IHI0070 5.4: with S1STALLD the CD is ILLEGAL, and the access
 * is aborted.
 */
TEST_F(stall, cd_that_stalls_is_an_abort)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u64 page = vm_alloc(&self->vm, 1);
	__le64 *cd = vm_ptr(&self->vm, guest->s1.cd);
	struct evt evt;

	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_UNTRANSLATED, VA, 1));
	EXPECT_POKE(&self->q, 0, VSID, VA);

	cd[0] |= htole64(CD_0_S);
	guest_cmd(guest, cmd_cfgi_cd(VSID));
	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_UNTRANSLATED, VA, 1));
	EXPECT_EQ(0, edu_get(edu, DMA_STALLS));
	EXPECT_TRUE(next_is(&self->q, &evt, EVT_C_BAD_CD, VSID));

	cd[0] &= ~htole64(CD_0_S);
	guest_cmd(guest, cmd_cfgi_cd(VSID));
	s1_map(&guest->s1, VA, page);
	EXPECT_EQ(page, dma_lands(edu, DMA_UNTRANSLATED, VA));
}

/* A fault of stage 2 stays with the host, and doesn't stall either. */
TEST_F(stall, fault_of_stage2_is_an_abort)
{
	struct guest *guest = &self->guest;
	__u32 bypass = guest_nested(guest, vste_bypass());

	s1_map(&guest->s1, VA, DIMM);
	EXPECT_EQ(DMA_ABORTED, dma_write(&guest->edu, DMA_UNTRANSLATED, VA, 1));
	edu_attach(&guest->edu, bypass);
	EXPECT_EQ(DMA_ABORTED,
		  dma_write(&guest->edu, DMA_UNTRANSLATED, DIMM, 1));
	EXPECT_EQ(0, edu_get(&guest->edu, DMA_STALLS));
	EXPECT_TRUE(is_empty(&self->q));
}

/*
 * Without a vSTE the host decides what stalls, and answers itself: nobody can ask for the
 * faults.
 */
TEST_F(stall, fault_without_vste_is_answered_by_the_host)
{
	struct guest *guest = &self->guest;
	struct edu *edu = &guest->edu;
	__u64 page = vm_alloc(&self->vm, 1);
	unsigned int i, stalls = 0;
	__u32 stage1;

	must(__hwpt_alloc(&self->vm, edu->dev_id, self->vm.ioas, 0,
			  IOMMU_HWPT_DATA_NONE, NULL, 0, &stage1), "stage 1");
	for (i = 0; i < 2; i++) {
		edu_attach(edu, i ? stage1 : guest->s2);
		EXPECT_EQ(page, dma_lands(edu, DMA_UNTRANSLATED, page));
		EXPECT_EQ(DMA_ABORTED,
			  dma_write(edu, DMA_UNTRANSLATED | DMA_PATIENT, DIMM,
				    1));
		/* Beside ATS a stage 2 that stalls would be ILLEGAL. */
		stalls += variant->known && (i || !variant->ats);
		EXPECT_EQ(stalls, edu_get(edu, DMA_STALLS));
	}
	edu_attach(edu, guest->nested);
	EXPECT_TRUE(is_empty(&self->q));
}

/*
 * An SMMU with STALL_MODEL 0b10 cannot be told not to stall. Nobody would answer the
 * faults of a guest's stage 1.
 */
TEST(smmu_that_always_stalls_has_no_viommu)
{
	const struct edu_slot *slot = edu_own_group(0);
	struct vm vm;
	struct edu edu;
	__u32 id;

	if (!slot || IDR0_STALL_MODEL(smmu_reg(slot, IDR0)) != 2)
		SKIP(return, "needs an SMMU that always stalls (STALL_MODEL 2)");
	vm_init(&vm);
	edu_open(&edu, &vm, slot);
	if (!__hwpt_alloc(&vm, edu.dev_id, vm.ioas, IOMMU_HWPT_ALLOC_NEST_PARENT,
			  IOMMU_HWPT_DATA_NONE, NULL, 0, &vm.s2))
		EXPECT_EQ(EOPNOTSUPP,
			  __viommu_alloc(&vm, edu.dev_id, vm.s2,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	edu_close(&edu);
	vm_free(&vm);
}

TEST_HARNESS_MAIN
