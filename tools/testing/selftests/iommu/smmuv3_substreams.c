// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's substreams on an SMMUv3: tables of CDs of each format, what uses no
 * SubstreamID (STE.S1DSS), and the faults of a PASID. The devices are viommu-dma, see
 * smmuv3_dma_dev.h.
 *
 * The model of the SMMU keeps each CD and each level 1 descriptor until a command names
 * it. So a test changes the table, sees the device go by the old one, and only then lets
 * the guest issue the command.
 */

#include "../kselftest_harness.h"
#include "smmuv3_dma_test.h"

/* STE.S1Fmt (IHI0070 5.2) */
enum s1fmt {
	LINEAR,
	LEAVES_4K,	/* two levels, 64 CDs in a leaf */
	LEAVES_64K,	/* 1024 CDs */
};

/* STE.S1DSS: a transaction without SubstreamID */
enum s1dss {
	DSS_TERMINATE,
	DSS_BYPASS,	/* goes by stage 2 alone */
	DSS_CD0,	/* uses CD 0 */
	DSS_RESERVED,
};

#define S1CDMAX		11
#define CD_SIZE		64UL
#define L1CD_V		_BITULL(0)

/* The substreams of a test, in different leaves where there are leaves */
static const __u32 ssids[] = { 0, 1, 63, 64, 70, 1023, 1024, 2047 };
#define SSIDS		ARRAY_SIZE(ssids)
#define NO_LEAF		300	/* in a leaf of 4 KiB that the guest has not made */

/* The guest's table of CDs */
struct cd_table {
	struct vm *vm;
	enum s1fmt fmt;
	__u64 base;
};

static unsigned int leaf_bits(const struct cd_table *table)
{
	return table->fmt == LEAVES_4K ? 6 : 10;
}

/* Each part of the table is aligned to its size. */
static __u64 alloc_aligned(struct vm *vm, unsigned int pages)
{
	__u64 size = pages * GUEST_PAGE;

	vm->free = (vm->free + size - 1) & ~(size - 1);
	return vm_alloc(vm, pages);
}

static void table_init(struct cd_table *table, struct vm *vm, enum s1fmt fmt)
{
	table->vm = vm;
	table->fmt = fmt;
	table->base = alloc_aligned(vm, fmt == LINEAR ?
				    (CD_SIZE << S1CDMAX) / GUEST_PAGE : 1);
}

static __le64 *table_l1cd(const struct cd_table *table, __u32 ssid)
{
	return (__le64 *)vm_ptr(table->vm, table->base) +
	       (ssid >> leaf_bits(table));
}

/* Where the CD of a substream is; makes its leaf. */
static __u64 table_cd(const struct cd_table *table, __u32 ssid)
{
	__le64 *l1cd;

	if (table->fmt == LINEAR)
		return table->base + ssid * CD_SIZE;
	l1cd = table_l1cd(table, ssid);
	if (!*l1cd)
		*l1cd = htole64(alloc_aligned(table->vm, (CD_SIZE << leaf_bits(table)) /
					      GUEST_PAGE) | L1CD_V);
	return (le64toh(*l1cd) & PTE_ADDR) +
	       (ssid & ((1 << leaf_bits(table)) - 1)) * CD_SIZE;
}

static struct iommu_hwpt_arm_smmuv3 vste_cds(const struct cd_table *table,
					     enum s1dss dss)
{
	const struct s1 s1 = { .cd = table->base };
	struct iommu_hwpt_arm_smmuv3 vste = vste_eats(&s1, 1);

	vste.ste[0] |= htole64((__u64)table->fmt << 4 | (__u64)S1CDMAX << 59);
	vste.ste[1] |= htole64(dss);
	return vste;
}

static struct iommu_viommu_arm_smmuv3_invalidate cfgi_cd(__u32 ssid)
{
	return with_ssid(cmd_cfgi_cd(VSID), 0, ssid);
}

static struct iommu_viommu_arm_smmuv3_invalidate cfgi_cd_l1(__u32 ssid)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd = cfgi_cd(ssid);

	cmd.cmd[1] &= ~htole64(CMD_1_LEAF);
	return cmd;
}

/* ---- A guest with a table of CDs ---- */

struct pasids {
	struct host host;
	struct vm vm;
	struct guest guest;
	struct veventq q;
	struct cd_table table;
	struct s1 s1[SSIDS];
	__u64 page[SSIDS];	/* where VA goes */
};

/* How an access of the n-th substream goes. The first one is that without a PASID. */
static __u64 nth(unsigned int n)
{
	return n ? DMA_PASID(ssids[n]) : DMA_UNTRANSLATED;
}

/* Tables for a substream, which map VA to a page of its own */
static void add_substream(struct pasids *p, __u32 ssid, struct s1 *s1,
			  __u64 *page)
{
	s1->vm = &p->vm;
	s1->asid = 0x100 + ssid;
	s1->cd = table_cd(&p->table, ssid);
	s1->ttb = vm_alloc(&p->vm, 1);
	s1_write_cd(s1);
	*page = vm_alloc(&p->vm, 1);
	s1_map(s1, VA, *page);
}

static const char *substreams_lack(void)
{
	const char *lack = lacks(edu_own_group(0), NULL);

	if (!lack && IDR1_SSIDSIZE(smmu_reg(edu_own_group(0), IDR1)) < S1CDMAX)
		lack = "needs an SMMU with substreams";
	if (!lack && !(smmu_reg(edu_own_group(0), IDR0) & IDR0_ATS))
		lack = "needs an SMMU with ATS";
	return lack;
}

static void pasids_up(struct pasids *p, enum s1fmt fmt)
{
	struct guest *guest = &p->guest;
	unsigned int n;

	host_watch(&p->host, edu_own_group(0));
	vm_init(&p->vm);
	guest_open(guest, &p->vm, edu_own_group(0));
	veventq_alloc(&p->vm, guest->viommu, 64, &p->q);
	table_init(&p->table, &p->vm, fmt);
	for (n = 0; n < SSIDS; n++)
		add_substream(p, ssids[n], &p->s1[n], &p->page[n]);
	guest->vdevice = vdevice_alloc(&p->vm, guest->viommu,
				       guest->edu.dev_id, VSID);
	guest->nested = guest_nested(guest, vste_cds(&p->table, DSS_CD0));
	edu_attach(&guest->edu, guest->nested);
}

static bool pasids_down(struct pasids *p)
{
	if (!p->vm.ram)
		return true;
	dma_close(&p->guest.edu);
	vm_free(&p->vm);
	return host_is_fine(&p->host);
}

/* To another vSTE of the same guest */
static void use_vste(struct pasids *p, struct iommu_hwpt_arm_smmuv3 vste)
{
	edu_attach(&p->guest.edu, guest_nested(&p->guest, vste));
}

/* The next event is this one, of an access of that PASID. */
static bool is_fault(struct veventq *q, __u8 id, __u64 how, __u64 va)
{
	bool pasid = how & DMA_WITH_PASID;
	struct evt evt;

	if (!next_is(q, &evt, id, VSID))
		return false;
	if (evt.ssv == pasid && evt.ssid == how >> 32 && evt.addr == va)
		return true;
	evt_print(&evt);
	return false;
}

/* The next event is this one, and names that SubstreamID. */
static bool is_event_of(struct veventq *q, __u8 id, __u32 ssid)
{
	struct evt evt;

	if (!next_is(q, &evt, id, VSID))
		return false;
	if (evt.ssid == ssid)
		return true;
	evt_print(&evt);
	return false;
}

static bool is_bad_substream(struct veventq *q, __u32 ssid)
{
	return is_event_of(q, EVT_C_BAD_SUBSTREAMID, ssid);
}

/* ---- Each format of the table ---- */

FIXTURE(cds)
{
	struct pasids p;
};

FIXTURE_VARIANT(cds)
{
	enum s1fmt fmt;
};

FIXTURE_VARIANT_ADD(cds, linear) { .fmt = LINEAR };
FIXTURE_VARIANT_ADD(cds, leaves_4k) { .fmt = LEAVES_4K };
FIXTURE_VARIANT_ADD(cds, leaves_64k) { .fmt = LEAVES_64K };

FIXTURE_SETUP(cds)
{
	const char *lack = substreams_lack();

	if (lack)
		SKIP(return, "%s", lack);
	pasids_up(&self->p, variant->fmt);
}

FIXTURE_TEARDOWN(cds)
{
	EXPECT_TRUE(pasids_down(&self->p));
}

/* Twice: by what memory says, and by what the SMMU has cached */
TEST_F(cds, each_pasid_has_its_tables)
{
	struct edu *edu = &self->p.guest.edu;
	unsigned int n, round;

	for (round = 0; round < 2; round++) {
		for (n = 0; n < SSIDS; n++) {
			EXPECT_EQ(self->p.page[n], dma_lands(edu, nth(n), VA))
				TH_LOG("PASID %u", ssids[n]);
			EXPECT_EQ(self->p.page[n],
				  dma_lands(edu, DMA_ATC | nth(n), VA))
				TH_LOG("ATC, PASID %u", ssids[n]);
		}
	}
	EXPECT_TRUE(is_empty(&self->p.q));
}

/* The n-th substream gets other tables, with another ASID: only its CD says so. */
static __u64 move_substream(struct pasids *p, unsigned int n)
{
	struct s1 *s1 = &p->s1[n];
	__u64 after = vm_alloc(&p->vm, 1);

	s1->ttb = vm_alloc(&p->vm, 1);
	s1->asid += 0x1000;
	s1_map(s1, VA, after);
	s1_write_cd(s1);
	return after;
}

TEST_F(cds, cfgi_cd_names_one_pasid)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	__u64 after[SSIDS];
	unsigned int n;

	for (n = 0; n < SSIDS; n++) {
		ASSERT_EQ(p->page[n], dma_lands(edu, nth(n), VA));
		after[n] = move_substream(p, n);
	}
	guest_cmd(&p->guest, cmd_tlbi_nh_all());
	for (n = 0; n < SSIDS; n++) {
		EXPECT_EQ(p->page[n], dma_lands(edu, nth(n), VA))
			TH_LOG("PASID %u before its turn", ssids[n]);
		guest_cmd(&p->guest, cfgi_cd(ssids[n]));
		EXPECT_EQ(after[n], dma_lands(edu, nth(n), VA))
			TH_LOG("PASID %u", ssids[n]);
	}
}

TEST_F(cds, cfgi_cd_all_names_every_pasid)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	__u64 after[SSIDS];
	unsigned int n;

	for (n = 0; n < SSIDS; n++) {
		ASSERT_EQ(p->page[n], dma_lands(edu, nth(n), VA));
		after[n] = move_substream(p, n);
	}
	guest_cmd(&p->guest, cmd_tlbi_nh_all());
	guest_cmd(&p->guest, cmd_cfgi_cd_all(VSID));
	for (n = 0; n < SSIDS; n++) {
		EXPECT_EQ(after[n], dma_lands(edu, nth(n), VA))
			TH_LOG("PASID %u", ssids[n]);
	}
}

TEST_F(cds, tlbi_of_one_asid_spares_the_others)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	__u64 after = vm_alloc(&p->vm, 1);
	unsigned int n;

	for (n = 0; n < SSIDS; n++) {
		ASSERT_EQ(p->page[n], dma_lands(edu, nth(n), VA));
		s1_map(&p->s1[n], VA, after);
	}
	for (n = 0; n < SSIDS; n++) {
		EXPECT_EQ(p->page[n], dma_lands(edu, nth(n), VA))
			TH_LOG("PASID %u before its turn", ssids[n]);
		guest_cmd(&p->guest, cmd_tlbi_nh_asid(p->s1[n].asid));
		EXPECT_EQ(after, dma_lands(edu, nth(n), VA))
			TH_LOG("PASID %u", ssids[n]);
	}
}

/* Where the guest's driver of SVA looks: which process, which address */
TEST_F(cds, faults_name_the_pasid)
{
	static const struct {
		__u8 id;
		__u64 gpa, flip;
	} faults[] = {
		{ EVT_F_TRANSLATION, 0, PTE_VALID },
		{ EVT_F_PERMISSION, 0, PTE_AP_RDONLY },
		{ EVT_F_ACCESS, 0, PTE_AF },
		{ EVT_F_ADDR_SIZE, 1ULL << 44, 0 },
	};
	struct pasids *p = &self->p;
	unsigned int n, i;

	for (n = 0; n < SSIDS; n++) {
		for (i = 0; i < ARRAY_SIZE(faults); i++) {
			__u64 va = VA2 + i * GUEST_PAGE;

			s1_map_flip(&p->s1[n], va,
				    faults[i].gpa ?: p->page[n],
				    faults[i].flip);
			EXPECT_EQ(DMA_ABORTED,
				  dma_write(&p->guest.edu, nth(n), va, 1));
			EXPECT_TRUE(is_fault(&p->q, faults[i].id, nth(n), va))
				TH_LOG("PASID %u, %s", ssids[n],
				       evt_name(faults[i].id));
		}
		EXPECT_EQ(p->page[n], dma_lands(&p->guest.edu, nth(n), VA));
	}
	EXPECT_TRUE(is_empty(&p->q));
}

TEST_F(cds, bad_cd_names_the_pasid)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	unsigned int n;

	for (n = 1; n < SSIDS; n++) {
		__le64 *cd = vm_ptr(&p->vm, p->s1[n].cd);
		struct evt evt;

		cd[0] &= ~htole64(CD_0_V);
		EXPECT_EQ(DMA_ABORTED, dma_write(edu, nth(n), VA, 1));
		ASSERT_TRUE(next_is(&p->q, &evt, EVT_C_BAD_CD, VSID));
		EXPECT_TRUE(evt.ssv);
		EXPECT_EQ(ssids[n], evt.ssid);

		cd[0] |= htole64(CD_0_V);
		guest_cmd(&p->guest, cfgi_cd(ssids[n]));
		EXPECT_EQ(p->page[n], dma_lands(edu, nth(n), VA));
	}
}

/* The table moves, and changes its format, with the vSTE. */
TEST_F(cds, table_can_be_replaced_by_any_other)
{
	struct pasids *p = &self->p;
	enum s1fmt fmt;

	for (fmt = LINEAR; fmt <= LEAVES_64K; fmt++) {
		struct s1 s1;
		__u64 page;

		table_init(&p->table, &p->vm, fmt);
		add_substream(p, ssids[3], &s1, &page);
		use_vste(p, vste_cds(&p->table, DSS_CD0));
		guest_cmd(&p->guest, cmd_tlbi_nh_asid(s1.asid));
		EXPECT_EQ(page, dma_lands(&p->guest.edu, nth(3), VA))
			TH_LOG("S1Fmt %d", fmt);
		EXPECT_EQ(page, dma_lands(&p->guest.edu, DMA_ATC | nth(3), VA))
			TH_LOG("ATC, S1Fmt %d", fmt);
	}
	EXPECT_TRUE(is_empty(&p->q));
}

/* ---- Two levels ---- */

FIXTURE(two_levels)
{
	struct pasids p;
};

FIXTURE_SETUP(two_levels)
{
	const char *lack = substreams_lack();

	if (lack)
		SKIP(return, "%s", lack);
	pasids_up(&self->p, LEAVES_4K);
}

FIXTURE_TEARDOWN(two_levels)
{
	EXPECT_TRUE(pasids_down(&self->p));
}

/* IHI0070 4.3.3: a CFGI_CD with Leaf = 1 leaves the descriptor of level 1 cached. */
TEST_F(two_levels, leaf_that_comes_later_needs_cfgi_cd_of_level_1)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	struct s1 s1;
	__u64 page;

	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_PASID(NO_LEAF), VA, 1));
	EXPECT_TRUE(is_bad_substream(&p->q, NO_LEAF));

	add_substream(p, NO_LEAF, &s1, &page);
	guest_cmd(&p->guest, cfgi_cd(NO_LEAF));
	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_PASID(NO_LEAF), VA, 1));
	EXPECT_TRUE(is_bad_substream(&p->q, NO_LEAF));

	guest_cmd(&p->guest, cfgi_cd_l1(NO_LEAF));
	EXPECT_EQ(page, dma_lands(edu, DMA_PASID(NO_LEAF), VA));
	EXPECT_TRUE(is_empty(&p->q));
}

/* Stage 2 has nothing there. That is the host's event, and the guest's other PASIDs go on. */
TEST_F(two_levels, leaf_out_of_guest_memory_reaches_nothing)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;

	*table_l1cd(&p->table, NO_LEAF) = htole64(DIMM | L1CD_V);
	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_PASID(NO_LEAF), VA, 1));
	EXPECT_EQ(p->page[1], dma_lands(edu, nth(1), VA));
	EXPECT_TRUE(is_empty(&p->q));
}

TEST_F(two_levels, pasid_beyond_the_table_is_an_event)
{
	struct pasids *p = &self->p;
	__u32 ssid = 1 << S1CDMAX;

	EXPECT_EQ(DMA_ABORTED,
		  dma_write(&p->guest.edu, DMA_PASID(ssid), VA, 1));
	EXPECT_TRUE(is_bad_substream(&p->q, ssid));
}

/* A guest without a table, like one without a driver for PASIDs */
TEST_F(two_levels, pasid_without_a_table_is_an_event)
{
	struct pasids *p = &self->p;
	struct iommu_hwpt_arm_smmuv3 still[] = {
		vste_s1(&p->s1[0]), vste_bypass(),
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(still); i++) {
		use_vste(p, still[i]);
		EXPECT_EQ(DMA_ABORTED,
			  dma_write(&p->guest.edu, nth(1), VA, 1));
		EXPECT_TRUE(is_bad_substream(&p->q, ssids[1]))
			TH_LOG("vSTE %u", i);
		EXPECT_TRUE(is_empty(&p->q));
	}
}

TEST_F(two_levels, abort_stops_every_pasid_without_an_event)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	unsigned int n;

	use_vste(p, vste_abort());
	for (n = 0; n < SSIDS; n++)
		EXPECT_EQ(DMA_ABORTED, dma_write(edu, nth(n), VA, 1));
	edu_attach(edu, p->guest.s2);
	for (n = 1; n < SSIDS; n++)
		EXPECT_EQ(DMA_ABORTED, dma_write(edu, nth(n), VA, 1));
	EXPECT_TRUE(is_empty(&p->q));
	edu_attach(edu, p->guest.nested);
	for (n = 0; n < SSIDS; n++)
		EXPECT_EQ(p->page[n], dma_lands(edu, nth(n), VA));
}

/* The vSTE is a guest's mistake, and the guest is told. */
TEST_F(two_levels, reserved_fields_are_a_bad_ste)
{
	struct pasids *p = &self->p;
	struct iommu_hwpt_arm_smmuv3 bad[] = {
		vste_cds(&p->table, DSS_RESERVED),
		vste_cds(&p->table, DSS_CD0),
		vste_cds(&p->table, DSS_CD0),
	};
	unsigned int i, n;

	bad[1].ste[0] |= htole64(VSTE_0_S1FMT);
	bad[2].ste[0] |= htole64(VSTE_0_S1CDMAX);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		use_vste(p, bad[i]);
		for (n = 0; n < 2; n++) {
			EXPECT_EQ(DMA_ABORTED,
				  dma_write(&p->guest.edu, nth(n), VA, 1));
			EXPECT_TRUE(is_event(&p->q, EVT_C_BAD_STE))
				TH_LOG("vSTE %u", i);
		}
	}
	edu_attach(&p->guest.edu, p->guest.nested);
	EXPECT_EQ(p->page[1], dma_lands(&p->guest.edu, nth(1), VA));
}

/* ---- Without a SubstreamID ---- */

TEST_F(two_levels, dss_terminates_what_has_no_pasid)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;

	use_vste(p, vste_cds(&p->table, DSS_TERMINATE));
	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_UNTRANSLATED, VA, 1));
	EXPECT_TRUE(is_event(&p->q, EVT_F_STREAM_DISABLED));
	EXPECT_NE(DMA_OK, dma_write(edu, DMA_ATC, VA, 1));
	EXPECT_EQ(p->page[1], dma_lands(edu, nth(1), VA));
	EXPECT_EQ(p->page[1], dma_lands(edu, DMA_ATC | nth(1), VA));
	/* CD 0 is one like the others here. */
	EXPECT_EQ(p->page[0], dma_lands(edu, DMA_PASID(0), VA));
	EXPECT_TRUE(is_empty(&p->q));
}

/* The guest's stage 1 is bypassed. The host's stage 2 is not. */
TEST_F(two_levels, dss_bypasses_stage_1_alone)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	__u64 page = vm_alloc(&p->vm, 1);

	use_vste(p, vste_cds(&p->table, DSS_BYPASS));
	EXPECT_EQ(page, dma_lands(edu, DMA_UNTRANSLATED, page));
	EXPECT_EQ(page, dma_lands(edu, DMA_ATC, page));
	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_UNTRANSLATED, DIMM, 1));
	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_UNTRANSLATED, VA, 1));
	EXPECT_NE(DMA_OK, dma_write(edu, DMA_ATC, DIMM, 1));
	EXPECT_EQ(p->page[1], dma_lands(edu, nth(1), VA));
	EXPECT_EQ(p->page[0], dma_lands(edu, DMA_PASID(0), VA));
	EXPECT_TRUE(is_empty(&p->q));
}

/* What bypasses stage 1 is cached as stage 2, and leaves with an unmap all the same. */
TEST_F(two_levels, dss_bypass_ends_with_the_mapping)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	void *dimm = dimm_alloc(1);

	use_vste(p, vste_cds(&p->table, DSS_BYPASS));
	vm_map(&p->vm, DIMM, dimm, GUEST_PAGE);
	ASSERT_TRUE(dma_reaches(edu, DMA_UNTRANSLATED, DIMM, dimm));
	ASSERT_TRUE(dma_reaches(edu, DMA_ATC, DIMM, dimm));
	vm_unmap(&p->vm, DIMM, GUEST_PAGE);
	EXPECT_FALSE(dma_reaches(edu, DMA_UNTRANSLATED, DIMM, dimm));
	EXPECT_FALSE(dma_reaches(edu, DMA_ATC, DIMM, dimm));
}

/* IHI0070 5.2, S1DSS = 0b10: PASID 0 itself is not usable then. */
TEST_F(two_levels, dss_cd0_refuses_pasid_0)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;

	EXPECT_EQ(DMA_ABORTED, dma_write(edu, DMA_PASID(0), VA, 1));
	EXPECT_TRUE(is_event(&p->q, EVT_F_STREAM_DISABLED));
	EXPECT_EQ(p->page[0], dma_lands(edu, DMA_UNTRANSLATED, VA));
	EXPECT_TRUE(is_empty(&p->q));
}

/* ---- While other PASIDs change ---- */

#define STREAM_PAGES	4

/* A stream of one PASID, in pages that nothing else uses */
static void stream_start(struct pasids *p, unsigned int n, __u64 how)
{
	unsigned int i;

	for (i = 0; i < STREAM_PAGES; i++)
		s1_map(&p->s1[n], VA2 - (i + 1) * GUEST_PAGE,
		       vm_alloc(&p->vm, 1));
	dma_stream_start(&p->guest.edu, how | nth(n),
			 VA2 - STREAM_PAGES * GUEST_PAGE,
			 STREAM_PAGES * GUEST_PAGE);
}

static bool stream_was_good(struct pasids *p)
{
	struct edu *edu = &p->guest.edu;
	__u64 laps = edu_get(edu, DMA_LAPS), give_up = now_ms() + SOON;
	__u64 bad, failed;

	/* It still runs. */
	while (edu_get(edu, DMA_LAPS) < laps + 2 && now_ms() < give_up)
		;
	dma_stream_stop(edu);
	laps = edu_get(edu, DMA_LAPS) - laps;
	bad = edu_get(edu, DMA_LAPS_BAD);
	failed = edu_get(edu, DMA_LAPS_FAILED);
	if (laps >= 2 && !bad && !failed)
		return true;
	fprintf(stderr, "# %llu laps at the end, %llu with wrong data, %llu failed\n",
		laps, bad, failed);
	return false;
}

FIXTURE(traffic)
{
	struct pasids p;
};

FIXTURE_VARIANT(traffic)
{
	unsigned int n;
	__u64 how;
};

FIXTURE_VARIANT_ADD(traffic, pasid) { .n = 1, .how = DMA_UNTRANSLATED };
FIXTURE_VARIANT_ADD(traffic, pasid_atc) { .n = 1, .how = DMA_ATC };
FIXTURE_VARIANT_ADD(traffic, no_pasid) { .n = 0, .how = DMA_UNTRANSLATED };

FIXTURE_SETUP(traffic)
{
	const char *lack = substreams_lack();

	if (lack)
		SKIP(return, "%s", lack);
	pasids_up(&self->p, LEAVES_4K);
	stream_start(&self->p, variant->n, variant->how);
}

FIXTURE_TEARDOWN(traffic)
{
	EXPECT_TRUE(pasids_down(&self->p));
}

/* What a guest does when processes that share the device begin and end */
TEST_F(traffic, survives_that_other_pasids_come_and_go)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	unsigned int round;

	for (round = 0; round < 10; round++) {
		__le64 *cd = vm_ptr(&p->vm, p->s1[3].cd);
		__u64 now = move_substream(p, 3);

		guest_cmd(&p->guest, cfgi_cd(ssids[3]));
		EXPECT_EQ(now, dma_lands(edu, nth(3), VA));
		EXPECT_EQ(now, dma_lands(edu, DMA_ATC | nth(3), VA));

		s1_unmap(&p->s1[3], VA);
		guest_cmd(&p->guest, cmd_tlbi_nh_va(p->s1[3].asid, VA));
		guest_cmd(&p->guest,
			  with_ssid(atc_inv(VSID, VA, 0), SSV, ssids[3]));
		EXPECT_EQ(NOWHERE, dma_lands(edu, DMA_ATC | nth(3), VA));
		EXPECT_EQ(NOWHERE, dma_lands(edu, nth(3), VA));
		EXPECT_TRUE(is_fault(&p->q, EVT_F_TRANSLATION, nth(3), VA));

		cd[0] &= ~htole64(CD_0_V);
		guest_cmd(&p->guest, cfgi_cd(ssids[3]));
		guest_cmd(&p->guest, cmd_tlbi_nh_asid(p->s1[3].asid));
		EXPECT_EQ(NOWHERE, dma_lands(edu, nth(3), VA));
		EXPECT_TRUE(is_event(&p->q, EVT_C_BAD_CD));
	}
	EXPECT_TRUE(is_empty(&p->q));
	EXPECT_TRUE(stream_was_good(p));
}

/* IHI0070 3.21.3: EATS and S1DSS change in one write, and no transaction is lost. */
TEST_F(traffic, survives_changes_of_the_vste)
{
	struct pasids *p = &self->p;
	struct iommu_hwpt_arm_smmuv3 vste = vste_cds(&p->table, DSS_CD0);
	__u32 other[2];
	int round;

	/* With a PASID, S1DSS does not matter. The ATC needs EATS. */
	if (variant->n)
		vste = vste_cds(&p->table, DSS_BYPASS);
	if (!(variant->how & DMA_ATC))
		vste.ste[1] &= ~htole64(VSTE_1_EATS);
	other[0] = guest_nested(&p->guest, vste);
	other[1] = p->guest.nested;
	for (round = 0; round < 20; round++)
		edu_attach(&p->guest.edu, other[round % 2]);
	EXPECT_TRUE(is_empty(&p->q));
	EXPECT_TRUE(stream_was_good(p));
}

/* Pages of the other PASIDs, and of the host, leave while the stream runs. */
TEST_F(traffic, survives_unmaps_of_stage_2)
{
	struct pasids *p = &self->p;
	struct edu *edu = &p->guest.edu;
	void *dimm = dimm_alloc(1);
	int round;

	s1_map(&p->s1[3], VA2, DIMM);
	for (round = 0; round < 10; round++) {
		vm_map(&p->vm, DIMM, dimm, GUEST_PAGE);
		ASSERT_TRUE(dma_reaches(edu, DMA_ATC | nth(3), VA2, dimm));
		vm_unmap(&p->vm, DIMM, GUEST_PAGE);
		EXPECT_FALSE(dma_reaches(edu, DMA_ATC | nth(3), VA2, dimm));
	}
	EXPECT_TRUE(stream_was_good(p));
}

TEST_HARNESS_MAIN
