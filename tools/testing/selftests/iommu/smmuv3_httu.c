// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hardware update of access flag and dirty state (HTTU) on an SMMUv3: by a guest in its
 * stage 1, and by the host's dirty tracking. The devices are viommu-dma, see
 * smmuv3_dma_dev.h.
 *
 * The TLB knows whether an entry is dirty: a write through a clean one walks again and
 * marks it, a write through a dirty one does not. So a write is only seen again after
 * the TLB has lost the entry.
 */
#include <sys/ioctl.h>

#include "../kselftest_harness.h"
#include "smmuv3_dma_test.h"

#define CLEAN	(PTE_DBM | PTE_AP_RDONLY)	/* for s1_map_flip() */

/* ---- A guest's tables ---- */

FIXTURE(guest_httu)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	struct veventq q;
	__u64 page;
	bool has;	/* IDR0.HTTU */
};

FIXTURE_SETUP(guest_httu)
{
	const char *lack = lacks(edu_own_group(0), NULL);
	struct guest *guest = &self->guest;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_open(guest, &self->vm, edu_own_group(0));
	self->has = IDR0_HTTU(smmu_reg(edu_own_group(0), IDR0)) ==
		    IDR0_HTTU_DIRTY;
	veventq_alloc(&self->vm, guest->viommu, 64, &self->q);
	self->page = vm_alloc(&self->vm, 1);
	guest_start(guest, VSID);
}

FIXTURE_TEARDOWN(guest_httu)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

static void set_cd(struct guest *guest, __u64 flags)
{
	__le64 *cd = vm_ptr(guest->vm, guest->s1.cd);

	s1_write_cd(&guest->s1);
	cd[0] |= htole64(flags);
	guest_cmd(guest, cmd_tlbi_nh_all());
	guest_cmd(guest, cmd_cfgi_cd(VSID));
}

/* The entry as it is in memory now */
static __u64 pte_of(struct guest *guest, __u64 va)
{
	return le64toh(__atomic_load_n(s1_entry(&guest->s1, va, 3),
				       __ATOMIC_RELAXED));
}

/* Firmware can keep the host from it (IORT, HTTU override). */
static bool host_tracks(struct vm *vm, __u32 dev_id)
{
	struct iommu_hw_info_arm_smmuv3 info;
	__u32 type = 0, len = sizeof(info);
	__u64 caps = 0;

	must(__hw_info(vm, dev_id, 0, &type, &info, &len, &caps),
	     "GET_HW_INFO");
	return caps & IOMMU_HW_CAP_DIRTY_TRACKING;
}

/* Raw, as all registers are: the VMM decides what its guest is to see of it. */
TEST_F(guest_httu, hw_info_is_the_register)
{
	EXPECT_EQ(smmu_reg(edu_own_group(0), IDR0), smmu_idr(&self->guest, 0));
	EXPECT_TRUE(self->has ||
		    !host_tracks(&self->vm, self->guest.edu.dev_id));
}

TEST_F(guest_httu, access_sets_the_flag)
{
	struct guest *guest = &self->guest;
	__u64 val;

	if (!self->has)
		SKIP(return, "needs an SMMU with HTTU");
	set_cd(guest, CD_0_HA);
	s1_map_flip(&guest->s1, VA, self->page, PTE_AF);
	EXPECT_EQ(DMA_OK, dma_read(&guest->edu, DMA_UNTRANSLATED, VA, &val));
	EXPECT_NE(0, pte_of(guest, VA) & PTE_AF);
	EXPECT_TRUE(is_empty(&self->q));
}

TEST_F(guest_httu, without_ha_old_page_is_a_fault)
{
	struct guest *guest = &self->guest;
	__u64 val;

	s1_map_flip(&guest->s1, VA, self->page, PTE_AF);
	EXPECT_EQ(DMA_ABORTED,
		  dma_read(&guest->edu, DMA_UNTRANSLATED, VA, &val));
	EXPECT_TRUE(is_event(&self->q, EVT_F_ACCESS));
	EXPECT_EQ(0, pte_of(guest, VA) & PTE_AF);
}

TEST_F(guest_httu, write_makes_the_page_dirty)
{
	struct guest *guest = &self->guest;
	__u64 val;

	if (!self->has)
		SKIP(return, "needs an SMMU with HTTU");
	set_cd(guest, CD_0_HA | CD_0_HD);
	s1_map_flip(&guest->s1, VA, self->page, CLEAN);
	EXPECT_EQ(DMA_OK, dma_read(&guest->edu, DMA_UNTRANSLATED, VA, &val));
	EXPECT_NE(0, pte_of(guest, VA) & PTE_AP_RDONLY);
	EXPECT_EQ(self->page, dma_lands(&guest->edu, DMA_UNTRANSLATED, VA));
	EXPECT_EQ(0, pte_of(guest, VA) & PTE_AP_RDONLY);
	EXPECT_EQ(self->page, pte_of(guest, VA) & PTE_ADDR);
	EXPECT_TRUE(is_empty(&self->q));
}

TEST_F(guest_httu, page_without_dbm_stays_read_only)
{
	struct guest *guest = &self->guest;

	if (!self->has)
		SKIP(return, "needs an SMMU with HTTU");
	set_cd(guest, CD_0_HA | CD_0_HD);
	s1_map_flip(&guest->s1, VA, self->page, PTE_AP_RDONLY);
	EXPECT_EQ(NOWHERE, dma_lands(&guest->edu, DMA_UNTRANSLATED, VA));
	EXPECT_TRUE(is_event(&self->q, EVT_F_PERMISSION));
	EXPECT_NE(0, pte_of(guest, VA) & PTE_AP_RDONLY);
}

/* The guest's migration of its own VM, round after round */
TEST_F(guest_httu, cleaned_page_is_dirty_after_the_next_write)
{
	struct guest *guest = &self->guest;
	int round;

	if (!self->has)
		SKIP(return, "needs an SMMU with HTTU");
	set_cd(guest, CD_0_HA | CD_0_HD);
	for (round = 0; round < 4; round++) {
		s1_map_flip(&guest->s1, VA, self->page, CLEAN);
		guest_cmd(guest, cmd_tlbi_nh_va(guest->s1.asid, VA));
		EXPECT_NE(0, pte_of(guest, VA) & PTE_AP_RDONLY);
		EXPECT_EQ(self->page,
			  dma_lands(&guest->edu, DMA_UNTRANSLATED, VA));
		EXPECT_EQ(0, pte_of(guest, VA) & PTE_AP_RDONLY)
			TH_LOG("round %d", round);
	}
}

/* IHI0070 5.4: HD wants HA, and HA wants IDR0.HTTU. The guest is told. */
TEST_F(guest_httu, bad_cd_is_an_event)
{
	struct guest *guest = &self->guest;

	set_cd(guest, self->has ? CD_0_HD : CD_0_HA);
	s1_map(&guest->s1, VA, self->page);
	EXPECT_EQ(NOWHERE, dma_lands(&guest->edu, DMA_UNTRANSLATED, VA));
	EXPECT_TRUE(is_event(&self->q, EVT_C_BAD_CD));
	set_cd(guest, 0);
	EXPECT_EQ(self->page, dma_lands(&guest->edu, DMA_UNTRANSLATED, VA));
}

static void map_read_only(struct vm *vm, __u64 gpa, void *mem)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = vm->ioas,
		.user_va = (unsigned long)mem,
		.length = GUEST_PAGE,
		.iova = gpa,
	};

	must(ioctl(vm->iommufd, IOMMU_IOAS_MAP, &map) ? errno : 0, "IOAS_MAP");
}

/*
 * The SMMU must not write a table that the VMM has mapped read-only. The fault is one of
 * stage 2 and stays with the host. A walk that needs no update goes on.
 */
TEST_F(guest_httu, table_in_read_only_memory_is_not_written)
{
	struct guest *guest = &self->guest;
	__le64 *level2, *table;
	__u64 val;

	if (!self->has)
		SKIP(return, "needs an SMMU with HTTU");
	table = dimm_alloc(1);
	set_cd(guest, CD_0_HA | CD_0_HD);
	s1_map_flip(&guest->s1, VA, self->page, CLEAN);
	s1_map_flip(&guest->s1, VA + GUEST_PAGE, self->page, PTE_AF);
	s1_map(&guest->s1, VA + 2 * GUEST_PAGE, self->page);

	/* The last level moves to memory of its own. */
	level2 = s1_entry(&guest->s1, VA, 2);
	memcpy(table, vm_ptr(&self->vm, le64toh(*level2) & PTE_ADDR),
	       GUEST_PAGE);
	*level2 = htole64(DIMM | PTE_TABLE | PTE_VALID);
	map_read_only(&self->vm, DIMM, table);

	EXPECT_EQ(NOWHERE, dma_lands(&guest->edu, DMA_UNTRANSLATED, VA));
	EXPECT_EQ(DMA_ABORTED, dma_read(&guest->edu, DMA_UNTRANSLATED,
					VA + GUEST_PAGE, &val));
	EXPECT_EQ(self->page, dma_lands(&guest->edu, DMA_UNTRANSLATED,
					VA + 2 * GUEST_PAGE));
	EXPECT_EQ(DMA_OK, dma_read(&guest->edu, DMA_UNTRANSLATED, VA, &val));
	EXPECT_NE(0, le64toh(table[(VA >> 12) & 511]) & PTE_AP_RDONLY);
	EXPECT_EQ(0, le64toh(table[((VA >> 12) + 1) & 511]) & PTE_AF);
	EXPECT_TRUE(is_empty(&self->q));
}

/* ---- The host's dirty tracking ---- */

#define TRACKED		16	/* pages */

FIXTURE(dirty)
{
	struct host host;
	struct vm vm;
	struct edu edu;
	__u32 hwpt;
	void *dimm;
};

FIXTURE_VARIANT(dirty)
{
	__u64 how;
};

FIXTURE_VARIANT_ADD(dirty, untranslated) { .how = DMA_UNTRANSLATED };
FIXTURE_VARIANT_ADD(dirty, atc) { .how = DMA_ATC };

/* Of this stage 1 no guest knows, so the SMMU needs no vIOMMU. */
static const char *dirty_lacks(__u64 how)
{
	const struct edu_slot *slot = edu_own_group(0);

	if (!slot)
		return why;
	if (IDR0_HTTU(smmu_reg(slot, IDR0)) != IDR0_HTTU_DIRTY)
		return "needs an SMMU with HTTU";
	if (how & DMA_ATC && !(smmu_reg(slot, IDR0) & IDR0_ATS))
		return "needs an SMMU with ATS";
	return NULL;
}

FIXTURE_SETUP(dirty)
{
	const char *lack = dirty_lacks(variant->how);

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	edu_open(&self->edu, &self->vm, edu_own_group(0));
	if (!host_tracks(&self->vm, self->edu.dev_id))
		SKIP(return, "needs firmware that lets the host use HTTU");
	self->dimm = dimm_alloc(TRACKED);
	vm_map(&self->vm, DIMM, self->dimm, TRACKED * GUEST_PAGE);
	must(__hwpt_alloc(&self->vm, self->edu.dev_id, self->vm.ioas,
			  IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_DATA_NONE,
			  NULL, 0, &self->hwpt),
	     "HWPT_ALLOC with dirty tracking");
	edu_attach(&self->edu, self->hwpt);
}

FIXTURE_TEARDOWN(dirty)
{
	if (!self->vm.ram)
		return;
	edu_close(&self->edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

static int __track(struct vm *vm, __u32 hwpt, bool on)
{
	struct iommu_hwpt_set_dirty_tracking cmd = {
		.size = sizeof(cmd),
		.flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt,
	};

	return ioctl(vm->iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &cmd) ?
		       errno : 0;
}

static void track(struct vm *vm, __u32 hwpt, bool on)
{
	must(__track(vm, hwpt, on), "HWPT_SET_DIRTY_TRACKING");
}

/* A bit for each page of the DIMM */
static __u64 dirty_pages(struct vm *vm, __u32 hwpt, __u32 flags)
{
	__u64 bitmap = 0;
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = hwpt,
		.flags = flags,
		.iova = DIMM,
		.length = TRACKED * GUEST_PAGE,
		.page_size = GUEST_PAGE,
		.data = (unsigned long)&bitmap,
	};

	must(ioctl(vm->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd) ? errno : 0,
	     "HWPT_GET_DIRTY_BITMAP");
	return bitmap;
}

static __u64 get(struct _test_data_dirty *self, __u32 flags)
{
	return dirty_pages(&self->vm, self->hwpt, flags);
}

static bool write_page(struct edu *edu, __u64 how, unsigned int n, void *dimm)
{
	return dma_reaches(edu, how, DIMM + n * GUEST_PAGE,
			   dimm + n * GUEST_PAGE);
}

TEST_F(dirty, only_what_was_written_is_dirty)
{
	struct edu *edu = &self->edu;
	__u64 val;

	track(&self->vm, self->hwpt, true);
	EXPECT_EQ(0, get(self, 0));
	EXPECT_TRUE(write_page(edu, variant->how, 0, self->dimm));
	EXPECT_TRUE(write_page(edu, variant->how, 3, self->dimm));
	EXPECT_TRUE(write_page(edu, variant->how, 15, self->dimm));
	EXPECT_EQ(DMA_OK, dma_read(edu, variant->how, DIMM + GUEST_PAGE, &val));
	EXPECT_EQ(0x8009, get(self, 0));
	EXPECT_EQ(0, get(self, 0));
}

/* Each round of a migration asks once. A page that it misses is wrong in the end. */
TEST_F(dirty, page_written_again_is_dirty_again)
{
	struct edu *edu = &self->edu;
	int round;

	track(&self->vm, self->hwpt, true);
	for (round = 0; round < 4; round++) {
		EXPECT_TRUE(write_page(edu, variant->how, 5, self->dimm));
		EXPECT_EQ(1 << 5, get(self, 0)) TH_LOG("round %d", round);
	}
}

/* The device works before the migration begins. */
TEST_F(dirty, page_written_before_is_dirty_when_written_again)
{
	struct edu *edu = &self->edu;

	EXPECT_TRUE(write_page(edu, variant->how, 5, self->dimm));
	track(&self->vm, self->hwpt, true);
	EXPECT_EQ(0, get(self, 0));
	EXPECT_TRUE(write_page(edu, variant->how, 5, self->dimm));
	EXPECT_EQ(1 << 5, get(self, 0));
}

/* A read fills the TLB, or the ATC, with an entry that is clean. */
TEST_F(dirty, page_read_before_is_dirty_when_written)
{
	struct edu *edu = &self->edu;
	__u64 val;

	track(&self->vm, self->hwpt, true);
	EXPECT_EQ(DMA_OK, dma_read(edu, variant->how, DIMM, &val));
	EXPECT_EQ(0, get(self, 0));
	EXPECT_TRUE(write_page(edu, variant->how, 0, self->dimm));
	EXPECT_EQ(1, get(self, 0));
}

TEST_F(dirty, no_clear_leaves_it_dirty)
{
	struct edu *edu = &self->edu;

	track(&self->vm, self->hwpt, true);
	EXPECT_TRUE(write_page(edu, variant->how, 2, self->dimm));
	EXPECT_EQ(1 << 2, get(self, IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR));
	EXPECT_TRUE(write_page(edu, variant->how, 4, self->dimm));
	EXPECT_EQ(0x14, get(self, IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR));
	EXPECT_EQ(0x14, get(self, 0));
	EXPECT_EQ(0, get(self, 0));
}

/* The whole block is dirty then, or the page alone if the memory has no large pages. */
TEST_F(dirty, page_of_a_large_block_is_dirty_again)
{
	const __u64 size = HUGE_PAGE, gpa = 2 * DIMM;
	__u64 bitmap[512 / 64];
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = self->hwpt,
		.iova = gpa,
		.length = size,
		.page_size = GUEST_PAGE,
		.data = (unsigned long)bitmap,
	};
	void *mem = huge_page_alloc();
	int round;

	vm_map(&self->vm, gpa, mem, size);
	track(&self->vm, self->hwpt, true);
	for (round = 0; round < 3; round++) {
		__u64 off = 100 * GUEST_PAGE;

		EXPECT_TRUE(dma_reaches(&self->edu, variant->how, gpa + off,
					mem + off));
		memset(bitmap, 0, sizeof(bitmap));
		ASSERT_EQ(0, ioctl(self->vm.iommufd,
				   IOMMU_HWPT_GET_DIRTY_BITMAP, &get));
		EXPECT_NE(0, bitmap[100 / 64] & 1ULL << 100 % 64)
			TH_LOG("round %d", round);
	}
}

/* A second migration, after one that was given up */
TEST_F(dirty, tracking_can_start_anew)
{
	struct edu *edu = &self->edu;
	int round;

	for (round = 0; round < 3; round++) {
		track(&self->vm, self->hwpt, true);
		EXPECT_EQ(0, get(self, 0));
		EXPECT_TRUE(write_page(edu, variant->how, 7, self->dimm));
		EXPECT_EQ(1 << 7, get(self, 0)) TH_LOG("round %d", round);
		EXPECT_TRUE(write_page(edu, variant->how, 8, self->dimm));
		track(&self->vm, self->hwpt, false);
		EXPECT_TRUE(write_page(edu, variant->how, 9, self->dimm));
	}
}

/* The device takes its dirty pages with it to another domain, and back. */
TEST_F(dirty, device_that_moves_loses_none)
{
	struct edu *edu = &self->edu;

	track(&self->vm, self->hwpt, true);
	EXPECT_TRUE(write_page(edu, variant->how, 1, self->dimm));
	edu_attach(edu, parent_alloc(&self->vm, edu->dev_id, self->vm.ioas));
	EXPECT_TRUE(write_page(edu, DMA_UNTRANSLATED, 6, self->dimm));
	EXPECT_EQ(1 << 1, get(self, 0));
	edu_attach(edu, self->hwpt);
	EXPECT_TRUE(write_page(edu, variant->how, 1, self->dimm));
	EXPECT_EQ(1 << 1, get(self, 0));
}

/* ABI: a nest parent takes no other flag. What has no dirty tracking says so. */
TEST(dirty_tracking_is_for_stage_1)
{
	const char *lack = dirty_lacks(0);
	struct edu edu;
	struct vm vm;
	__u32 id;

	if (lack)
		SKIP(return, "%s", lack);
	vm_init(&vm);
	edu_open(&edu, &vm, edu_own_group(0));
	EXPECT_EQ(EOPNOTSUPP,
		  __hwpt_alloc(&vm, edu.dev_id, vm.ioas,
			       IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
			       IOMMU_HWPT_ALLOC_NEST_PARENT,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	EXPECT_EQ(EOPNOTSUPP, __track(&vm, s2_alloc(&vm, edu.dev_id), true));
	edu_close(&edu);
	vm_free(&vm);
}

TEST_HARNESS_MAIN
