// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events of one guest on an SMMUv3: every kind, and those that stay with the host.
 * The device is QEMU's "edu", see smmuv3_lib.h for what it needs.
 */
#include <endian.h>

#include "smmuv3_testbed.h"

/* ---- The testbed ---- */

static void peek(struct guest *guest, __u64 va)
{
	edu_read(&guest->edu, va, 0, 4);
}

/* ---- Every event, and mended ---- */

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

/* A table of more CDs than there are substreams (IHI0070 5.2, S1CDMax) */
static void bad_ste(struct guest *guest)
{
	struct iommu_hwpt_arm_smmuv3 vste = vste_s1(&guest->s1);

	vste.ste[0] |= htole64(31ULL << 59);
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
FIXTURE_VARIANT_ADD(event_kind, bad_ste)
{
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

/* ---- What is not a guest's ---- */

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

TEST_HARNESS_MAIN
