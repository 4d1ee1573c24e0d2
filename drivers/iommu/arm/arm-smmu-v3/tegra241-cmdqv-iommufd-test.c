// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's VINTF on Tegra241 CMDQV: what the driver writes, and in which order
 *
 * The block here is memory with as much behaviour as the driver can see: STATUS
 * follows CONFIG, a logical queue exists while it is allocated, and a guest writes to
 * page 0 at the same time. Offsets and bits are written out, so that a mistake in the
 * driver's header shows.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/io-pgtable.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/pci.h>

#include "arm-smmu-v3-nested.h"
#include "tegra241-cmdqv.h"

#define BASE_PA		0x1a000000ULL
#define MAX_VINTFS	64
#define MAX_QUEUES	128
#define LOG_MAX		1024
#define SIDS		16

/* Of the SMMU in these tests: queues of up to 256 entries */
#define CMDQS		8
#define MAX_LENGTH	(16 << CMDQS)

/* What a test can see of the driver */
enum { W32 = 1, W64, SYNC, CMD, OFFER, WITHDRAW };

struct entry {
	int kind;
	u32 offset;
	u64 val;
};

/* A VCMDQ */
struct vcmdq {
	u32 alloc;
	u32 cons, prod, config, gerror, gerrorn;
	u64 base, cons_base;
	bool running;
	/* Knob: ALLOC does not go back to 0 */
	bool stuck;
};

struct vintf {
	u32 config;
	bool on;
	u32 match[SIDS], replace[SIDS];
	/* A pair was written, and not read since */
	bool posted;
	/* Added to the error map by a test */
	u64 inject[2];
};

enum guest_kind {
	GUEST_QUIET,
	/* Writes CONFIG = 1 all the time */
	GUEST_STARTS,
	/* Writes CONFIG = 1 when it has seen STATUS 0 */
	GUEST_STARTS_LATE,
};

struct fake {
	struct tegra241_cmdqv cmdqv;
	struct tegra241_vintf vintf0;
	struct tegra241_vintf *vintf_ptrs[1];
	struct device dev;
	u32 smmu_regs[64];
	struct arm_smmu_impl_ops impl_ops;

	struct vcmdq vcmdqs[MAX_QUEUES];
	struct vintf vintfs[MAX_VINTFS];
	enum guest_kind guest;
	/* Knobs of the block */
	unsigned int delay;
	unsigned int delay_left;
	bool sticky;
	bool vintf_stays_on;
	bool vintf_stays_off;
	bool hyp_own_wired;
	/* A VINTF that is off hides its queues */
	bool hides;
	/* So many CMD_SYNCs fail from now on */
	unsigned int syncs_fail;

	struct entry log[LOG_MAX];
	unsigned int num;
	unsigned int pos;

	struct iommu_vevent_tegra241_cmdqv event;
	struct iommufd_viommu *event_of;
	unsigned int events;
};

struct fake_dev {
	struct pci_dev pdev;
	struct dev_iommu iommu;
	struct iommu_fwspec fwspec;
	struct arm_smmu_master master;
	struct arm_smmu_stream streams[2];
};

struct setup {
	struct fake *fake;
	struct fake_dev *dev;
	struct arm_smmu_domain parent;
	struct io_pgtable pgtable;
	struct arm_smmu_nest_parent nest;
	const struct iommufd_viommu_ops *ops;
	struct page *page;
};

static struct fake *to_fake(struct tegra241_cmdqv *cmdqv)
{
	return container_of(cmdqv, struct fake, cmdqv);
}

static void log_entry(struct fake *f, int kind, u32 offset, u64 val)
{
	struct kunit *test = kunit_get_current_test();

	KUNIT_ASSERT_LT(test, f->num, LOG_MAX);
	f->log[f->num++] = (struct entry){ kind, offset, val };
}

/*
 * The block
 */

static struct vcmdq *find_vcmdq(struct fake *f, u32 v, u32 l)
{
	unsigned int q;

	for (q = 0; q < f->cmdqv.num_vcmdqs; q++)
		if (f->vcmdqs[q].alloc == (v << 15 | l << 1 | 1))
			return &f->vcmdqs[q];
	return NULL;
}

/* A queue as its pages show it */
static struct vcmdq *visible_vcmdq(struct fake *f, u32 v, u32 l)
{
	return f->hides && !f->vintfs[v].on ? NULL : find_vcmdq(f, v, l);
}

static void update_vcmdq(struct fake *f, struct vcmdq *q)
{
	bool run = (q->alloc & 1) && f->vintfs[q->alloc >> 15].on &&
		   (q->config & 1);

	if (run && !q->running && !q->base) {
		/* Initialisation error */
		q->gerror = q->gerrorn ^ 4;
		run = false;
	}
	q->running = run;
}

static void update_all(struct fake *f)
{
	unsigned int q;

	for (q = 0; q < f->cmdqv.num_vcmdqs; q++)
		update_vcmdq(f, &f->vcmdqs[q]);
}

static void guest_starts_all(struct fake *f)
{
	unsigned int q;

	for (q = 0; q < f->cmdqv.num_vcmdqs; q++)
		if ((f->vcmdqs[q].alloc & 1) && f->vcmdqs[q].alloc >> 15) {
			f->vcmdqs[q].config = 1;
			f->vcmdqs[q].prod = 5;
		}
	update_all(f);
}

static void write_alloc(struct fake *f, struct vcmdq *q, u32 val)
{
	u32 v = val >> 15 & 0x3f, l = val >> 1 & 0x7f;

	if ((val & 1) && !(q->alloc & 1)) {
		if (l && !find_vcmdq(f, v, l - 1))
			return;
		if (f->sticky) {
			*q = (struct vcmdq){ .base = q->base, .gerror = 1,
					     .gerrorn = 1, .stuck = q->stuck };
		} else {
			*q = (struct vcmdq){ .stuck = q->stuck };
		}
	} else if (!(val & 1) && (q->alloc & 1)) {
		if (q->stuck || find_vcmdq(f, v, l + 1))
			return;
	}
	q->alloc = val;
	update_all(f);
}

static u64 err_map(struct fake *f, u32 v, unsigned int word)
{
	u64 map = f->vintfs[v].inject[word];
	struct vcmdq *q;
	unsigned int l;

	for (l = 0; l < 64; l++) {
		q = find_vcmdq(f, v, word * 64 + l);
		if (q && q->gerror != q->gerrorn)
			map |= 1ULL << l;
	}
	return map;
}

static u32 status(struct fake *f, bool val)
{
	if (f->delay_left) {
		f->delay_left--;
		return !val;
	}
	return val;
}

static u64 block_read(struct fake *f, u32 offset)
{
	u32 v, l, reg = offset & 0x7f;
	struct vcmdq *q;

	if (offset >= 0x200 && offset < 0x200 + 4 * MAX_QUEUES)
		return f->vcmdqs[(offset - 0x200) / 4].alloc;
	if (offset >= 0x1000 && offset < 0x5000) {
		v = (offset - 0x1000) / 0x100;
		switch (offset & 0xff) {
		case 0x00:
			return f->vintfs[v].config;
		case 0x04:
			return status(f, f->vintfs[v].on);
		case 0xc0:
			return err_map(f, v, 0);
		case 0xc8:
			return err_map(f, v, 1);
		}
		if ((offset & 0xff) >= 0x40 && (offset & 0xff) < 0x80) {
			f->vintfs[v].posted = false;
			return f->vintfs[v].match[(offset & 0x3f) / 4];
		}
	}
	if (offset >= 0x30000) {
		v = (offset - 0x30000) / 0x20000;
		l = (offset & 0xffff) / 0x80;
		q = visible_vcmdq(f, v, l);
		if ((offset - 0x30000) % 0x20000 >= 0x10000)
			return !q ? 0 : reg == 0 ? q->base : q->cons_base;
		switch (reg) {
		case 0x00:
			return q ? q->cons : 0;
		case 0x04:
			return q ? q->prod : 0;
		case 0x08:
			return q ? q->config : 0;
		case 0x0c:
			return status(f, q && q->running);
		case 0x10:
			return q ? q->gerror : 0;
		case 0x14:
			return q ? q->gerrorn : 0;
		}
	}
	KUNIT_FAIL(kunit_get_current_test(), "read of %#x", offset);
	return 0;
}

static void block_write(struct fake *f, u32 offset, u64 val)
{
	u32 v, l, reg = offset & 0x7f;
	struct vcmdq *q;
	bool running;

	if (offset >= 0x200 && offset < 0x200 + 4 * MAX_QUEUES) {
		write_alloc(f, &f->vcmdqs[(offset - 0x200) / 4], val);
		return;
	}
	if (offset >= 0x1000 && offset < 0x5000) {
		struct vintf *vintf = &f->vintfs[(offset - 0x1000) / 0x100];

		reg = offset & 0xff;
		if (!reg) {
			bool on = ((val & 1) && !f->vintf_stays_off) ||
				  (vintf->on && f->vintf_stays_on);

			vintf->config = val;
			if (f->hyp_own_wired)
				vintf->config |= 1 << 17;
			if (on != vintf->on)
				f->delay_left = f->delay;
			vintf->on = on;
			update_all(f);
			return;
		}
		if (reg >= 0x40 && reg < 0x80) {
			vintf->match[(reg - 0x40) / 4] = val;
			vintf->posted = true;
			return;
		}
		if (reg >= 0x80 && reg < 0xc0) {
			vintf->replace[(reg - 0x80) / 4] = val;
			vintf->posted = true;
			return;
		}
	}
	if (offset >= 0x30000) {
		v = (offset - 0x30000) / 0x20000;
		l = (offset & 0xffff) / 0x80;
		q = visible_vcmdq(f, v, l);
		if (!q)
			return;
		if ((offset - 0x30000) % 0x20000 >= 0x10000) {
			if (!reg && !q->running)
				q->base = val;
			if (reg == 8)
				q->cons_base = val;
			return;
		}
		switch (reg) {
		case 0x00:
			if (!q->running)
				q->cons = val;
			return;
		case 0x04:
			q->prod = val;
			return;
		case 0x08:
			running = q->running;
			q->config = val;
			update_vcmdq(f, q);
			if (running != q->running)
				f->delay_left = f->delay;
			return;
		case 0x14:
			q->gerrorn = val;
			return;
		}
	}
	KUNIT_FAIL(kunit_get_current_test(), "write of %#llx to %#x", val, offset);
}

static u64 fake_access(struct fake *f, u32 offset)
{
	u64 val;

	if (f->guest == GUEST_STARTS)
		guest_starts_all(f);
	val = block_read(f, offset);
	return val;
}

static void fake_store(struct fake *f, int kind, u32 offset, u64 val)
{
	/* Whoever switches something waits for STATUS before anything else */
	KUNIT_EXPECT_EQ(kunit_get_current_test(), f->delay_left, 0);
	log_entry(f, kind, offset, val);
	block_write(f, offset, val);
	if (f->guest == GUEST_STARTS)
		guest_starts_all(f);
}

static u32 fake_read(struct tegra241_cmdqv *cmdqv, u32 offset)
{
	return fake_access(to_fake(cmdqv), offset);
}

static u64 fake_read64(struct tegra241_cmdqv *cmdqv, u32 offset)
{
	KUNIT_EXPECT_EQ(kunit_get_current_test(), offset & 7, 0);
	return fake_access(to_fake(cmdqv), offset);
}

static void fake_write(struct tegra241_cmdqv *cmdqv, u32 offset, u32 val)
{
	fake_store(to_fake(cmdqv), W32, offset, val);
}

static void fake_write64(struct tegra241_cmdqv *cmdqv, u32 offset, u64 val)
{
	fake_store(to_fake(cmdqv), W64, offset, val);
}

/* The SMMU's own queue, and no other one */
static int fake_issue(struct arm_smmu_device *smmu, struct arm_smmu_cmdq *cmdq,
		      u64 *cmds, int n, bool sync)
{
	struct fake *f = container_of(smmu, struct fake, cmdqv.smmu);
	int i;

	KUNIT_EXPECT_PTR_EQ(kunit_get_current_test(), cmdq, &smmu->cmdq);
	for (i = 0; i < n; i++)
		log_entry(f, CMD, 0, cmds[2 * i] & 0xff);
	if (sync)
		log_entry(f, SYNC, 0, 0);
	if (f->guest == GUEST_STARTS_LATE)
		guest_starts_all(f);
	if (sync && f->syncs_fail) {
		f->syncs_fail--;
		return -ETIMEDOUT;
	}
	return 0;
}

static int fake_offer(struct iommufd_viommu *viommu, phys_addr_t page0,
		      unsigned long *offset)
{
	struct setup *s = kunit_get_current_test()->priv;

	log_entry(s->fake, OFFER, 0, page0);
	*offset = 0x4242000;
	return 0;
}

static void fake_withdraw(struct iommufd_viommu *viommu, unsigned long offset)
{
	struct setup *s = kunit_get_current_test()->priv;

	log_entry(s->fake, WITHDRAW, 0, offset);
}

static void fake_report(struct iommufd_viommu *viommu,
			const struct iommu_vevent_tegra241_cmdqv *event)
{
	struct setup *s = kunit_get_current_test()->priv;

	s->fake->event = *event;
	s->fake->event_of = viommu;
	s->fake->events++;
}

/*
 * Setup
 */

static struct fake_dev *add_dev(struct kunit *test, u32 sid, bool ats)
{
	struct setup *s = test->priv;
	struct fake_dev *d = kunit_kzalloc(test, sizeof(*d), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, d);
	d->pdev.dev.bus = &pci_bus_type;
	d->pdev.dev.iommu = &d->iommu;
	d->pdev.ats_cap = ats ? 0x100 : 0;
	d->iommu.priv = &d->master;
	d->iommu.fwspec = &d->fwspec;
	d->fwspec.flags = IOMMU_FWSPEC_PCI_RC_ATS;
	d->master.smmu = &s->fake->cmdqv.smmu;
	d->master.dev = &d->pdev.dev;
	d->master.streams = d->streams;
	d->master.num_streams = 1;
	init_rwsem(&d->master.vsmmu_lock);
	INIT_LIST_HEAD(&d->master.vmids);
	d->streams[0].id = sid;
	return d;
}

static void set_param(struct kunit *test, u32 param)
{
	struct setup *s = test->priv;

	KUNIT_ASSERT_EQ(test, 0,
			tegra241_cmdqv_set_param(&s->fake->cmdqv, param,
						 0x30000 + 0x20000 * MAX_VINTFS));
}

static int cmdqv_test_init(struct kunit *test)
{
	struct setup *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct arm_smmu_device *smmu;
	struct fake *f;

	if (!s)
		return -ENOMEM;
	test->priv = s;
	f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	if (!f)
		return -ENOMEM;
	s->fake = f;

	smmu = &f->cmdqv.smmu;
	smmu->dev = &f->dev;
	smmu->base = (void __iomem __force *)f->smmu_regs;
	/* IDR1.CMDQS */
	f->smmu_regs[1] = CMDQS << 21;
	smmu->features = ARM_SMMU_FEAT_TRANS_S1 | ARM_SMMU_FEAT_TRANS_S2 |
			 ARM_SMMU_FEAT_NESTING | ARM_SMMU_FEAT_S2FWB |
			 ARM_SMMU_FEAT_COHERENCY | ARM_SMMU_FEAT_ATS;
	smmu->pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	smmu->ias = 40;
	smmu->oas = 40;
	smmu->asid_bits = 16;
	smmu->vmid_bits = 16;
	ida_init(&smmu->vmid_map);
	INIT_LIST_HEAD(&smmu->stale_vmids);
	INIT_LIST_HEAD(&smmu->lost_vmids);
	f->impl_ops.viommu_ops = tegra241_cmdqv_viommu_ops;
	f->impl_ops.hw_info = tegra241_cmdqv_hw_info;
	smmu->impl_ops = &f->impl_ops;

	f->cmdqv.dev = &f->dev;
	f->vintf0.hyp_own = true;
	f->vintf_ptrs[0] = &f->vintf0;
	f->cmdqv.vintfs = f->vintf_ptrs;
	ida_init(&f->cmdqv.vintf_ids);
	tegra241_cmdqv_guests_init(&f->cmdqv, BASE_PA);
	bitmap_fill(f->cmdqv.atc_sent, CMDQV_MAX_VINTFS);
	/* 4 VINTFs with 2 queues and 16 SID pairs each */
	set_param(test, 0x4231);
	f->delay = 2;

	kunit_activate_static_stub(test, tegra241_cmdqv_read, fake_read);
	kunit_activate_static_stub(test, tegra241_cmdqv_read64, fake_read64);
	kunit_activate_static_stub(test, tegra241_cmdqv_write, fake_write);
	kunit_activate_static_stub(test, tegra241_cmdqv_write64, fake_write64);
	kunit_activate_static_stub(test, arm_smmu_cmdq_issue_cmdlist,
				   fake_issue);
	kunit_activate_static_stub(test, tegra241_vsmmu_offer, fake_offer);
	kunit_activate_static_stub(test, tegra241_vsmmu_withdraw, fake_withdraw);
	kunit_activate_static_stub(test, tegra241_vsmmu_report, fake_report);

	mutex_init(&s->nest.lock);
	INIT_LIST_HEAD(&s->nest.users);
	s->parent.smmu = smmu;
	s->parent.nest = &s->nest;
	s->parent.pgtbl_ops = &s->pgtable.ops;
	s->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	s->dev = add_dev(test, 0x123, true);
	s->ops = arm_smmu_viommu_ops(&s->dev->pdev.dev,
				     IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV);
	if (!s->ops)
		return -ENODEV;

	/* Memory for queues */
	s->page = alloc_pages(GFP_KERNEL | __GFP_ZERO, 2);
	return s->page ? 0 : -ENOMEM;
}

static void cmdqv_test_exit(struct kunit *test)
{
	struct setup *s = test->priv;

	if (!s || !s->fake)
		return;
	if (s->page) {
		KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 1);
		__free_pages(s->page, 2);
	}
	KUNIT_EXPECT_TRUE(test, list_empty(&s->nest.users));
	/* What a broken block keeps for good */
	tegra241_cmdqv_guests_exit(&s->fake->cmdqv);
	arm_smmu_forget_stale_vmids(&s->fake->cmdqv.smmu);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.smmu.vmid_map));
	ida_destroy(&s->fake->cmdqv.vintf_ids);
}

/*
 * Requests
 */

static int make_vsmmu(struct kunit *test, struct iommufd_viommu **viommu,
		      struct iommu_viommu_tegra241_cmdqv *answer, size_t len)
{
	struct setup *s = test->priv;
	struct iommu_user_data data = {
		.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.data = answer,
		.len = len,
	};

	*viommu = kunit_kzalloc(test, s->ops->viommu_size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, *viommu);
	xa_init(&(*viommu)->vdevs);
	(*viommu)->ops = s->ops;
	(*viommu)->type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
	spin_lock_init(&(*viommu)->veventq_lock);
	INIT_LIST_HEAD(&(*viommu)->veventqs);
	return s->ops->init(*viommu, &s->dev->pdev.dev, &s->parent.domain,
			    len ? &data : NULL);
}

static struct iommufd_viommu *get_vsmmu(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv answer = {};
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu;

	KUNIT_ASSERT_EQ(test, 0, make_vsmmu(test, &viommu, &answer,
					    sizeof(answer)));
	KUNIT_EXPECT_EQ(test, answer.out_vintf_mmap_offset, 0x4242000);
	KUNIT_EXPECT_EQ(test, answer.out_vintf_mmap_length, 0x10000);
	/* As if all had been given a SID pair: the longest way */
	bitmap_fill(s->fake->cmdqv.atc_sent, CMDQV_MAX_VINTFS);
	return viommu;
}

static u16 vmid_of(struct iommufd_viommu *viommu)
{
	return container_of(viommu, struct arm_vsmmu, core)->s2.vmid;
}

static int make_queue(struct kunit *test, struct iommufd_viommu *viommu,
		      u32 index, phys_addr_t pa, u64 length,
		      struct iommufd_hw_queue **queue)
{
	struct setup *s = test->priv;
	struct iommufd_hw_queue *q;
	u64 max = 0;
	size_t size;
	int ret;

	size = s->ops->hw_queue_size(viommu, IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
				     &max);
	KUNIT_ASSERT_GE(test, size, sizeof(*q));
	KUNIT_EXPECT_EQ(test, max, MAX_LENGTH);
	q = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, q);
	refcount_set(&q->obj.users, 1);
	q->viommu = viommu;
	q->type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV;
	q->index = index;
	q->length = length;
	ret = s->ops->hw_queue_init(q, pa);
	if (ret && q->lower)
		refcount_dec(&q->lower->obj.users);
	*queue = q;
	return ret;
}

static struct iommufd_hw_queue *get_queue(struct kunit *test,
					  struct iommufd_viommu *viommu,
					  u32 index)
{
	struct setup *s = test->priv;
	struct iommufd_hw_queue *q;

	KUNIT_ASSERT_EQ(test, 0,
			make_queue(test, viommu, index, page_to_phys(s->page),
				   MAX_LENGTH, &q));
	return q;
}

static void put_queue(struct kunit *test, struct iommufd_hw_queue *q)
{
	struct setup *s = test->priv;

	KUNIT_EXPECT_EQ(test, refcount_read(&q->obj.users), 1);
	s->ops->hw_queue_destroy(q);
	if (q->lower)
		refcount_dec(&q->lower->obj.users);
}

static struct iommufd_vdevice *get_vdev(struct kunit *test,
					struct iommufd_viommu *viommu,
					struct fake_dev *d, u64 vsid, int *ret)
{
	struct setup *s = test->priv;
	struct iommufd_vdevice *vdev;

	vdev = kunit_kzalloc(test, s->ops->vdevice_size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	vdev->viommu = viommu;
	vdev->dev = &d->pdev.dev;
	vdev->virt_id = vsid;
	*ret = s->ops->vdevice_init(vdev);
	return vdev;
}

/*
 * Expectations
 */

static void forget(struct kunit *test)
{
	struct setup *s = test->priv;

	s->fake->num = 0;
	s->fake->pos = 0;
}

static void expect(struct kunit *test, int kind, u32 offset, u64 val)
{
	struct setup *s = test->priv;
	struct entry *e = &s->fake->log[s->fake->pos++];

	KUNIT_ASSERT_LE_MSG(test, s->fake->pos, s->fake->num,
			    "expected kind %d offset %#x val %#llx", kind, offset,
			    val);
	KUNIT_EXPECT_TRUE_MSG(test,
			      e->kind == kind && e->offset == offset &&
			      e->val == val,
			      "step %u: kind %d offset %#x val %#llx, expected kind %d offset %#x val %#llx",
			      s->fake->pos - 1, e->kind, e->offset, e->val, kind,
			      offset, val);
}

static void expect_end(struct kunit *test)
{
	struct setup *s = test->priv;

	KUNIT_EXPECT_EQ(test, s->fake->pos, s->fake->num);
	forget(test);
}

static void expect_sids_cleared(struct kunit *test, u32 v)
{
	unsigned int i;

	for (i = 0; i < SIDS; i++) {
		expect(test, W32, 0x1040 + 0x100 * v + 4 * i, 0);
		expect(test, W32, 0x1080 + 0x100 * v + 4 * i, 0);
	}
}

static void expect_queue_cleared(struct kunit *test, u32 v, u32 l)
{
	u32 page0 = 0x30000 + 0x20000 * v + 0x80 * l;

	expect(test, W32, page0 + 0x04, 0);
	expect(test, W32, page0 + 0x00, 0);
	expect(test, W64, page0 + 0x10000, 0);
	expect(test, W64, page0 + 0x10008, 0);
}

/* VCMDQs 2 and 3 are those of VINTF 1 */
static void expect_queues_reset(struct kunit *test)
{
	expect(test, W32, 0x208, 0x8001);
	expect(test, W32, 0x50008, 0);
	expect(test, W32, 0x20c, 0x8003);
	expect(test, W32, 0x50088, 0);
	expect(test, SYNC, 0, 0);
	expect_queue_cleared(test, 1, 1);
	expect(test, W32, 0x20c, 0x8002);
	expect_queue_cleared(test, 1, 0);
	expect(test, W32, 0x208, 0x8000);
}

/*
 * Tests
 */

static void cmdqv_test_vintf_on(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	u32 vmid = vmid_of(viommu);

	KUNIT_EXPECT_NE(test, vmid, 0);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->nest.users), 1);

	expect(test, W32, 0x1100, 0);
	expect_sids_cleared(test, 1);
	expect_queues_reset(test);
	expect(test, W32, 0x1100, vmid << 1);
	expect(test, W32, 0x1100, vmid << 1 | 1);
	expect_queues_reset(test);
	expect(test, OFFER, 0, BASE_PA + 0x50000);
	expect_end(test);

	/* The VINTF is off before the VMID's entries go, and the VMID after them */
	s->ops->destroy(viommu);
	expect(test, WITHDRAW, 0, 0x4242000);
	expect(test, W32, 0x1100, 0);
	expect_sids_cleared(test, 1);
	expect(test, SYNC, 0, 0);
	expect(test, CMD, 0, 0x28);
	expect(test, SYNC, 0, 0);
	expect_end(test);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.smmu.vmid_map));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.vintf_ids));
}

/* All are used, none twice, and a failure leaves nothing behind */
static void cmdqv_test_vintf_numbers(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv answer = {};
	struct iommufd_viommu *viommu[3], *other;
	struct setup *s = test->priv;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		viommu[i] = get_vsmmu(test);
		KUNIT_EXPECT_EQ(test, s->fake->vintfs[i + 1].config,
				vmid_of(viommu[i]) << 1 | 1);
	}
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[0].config, 0);
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			make_vsmmu(test, &other, &answer, sizeof(answer)));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->nest.users), 3);

	s->ops->destroy(viommu[1]);
	KUNIT_EXPECT_FALSE(test, s->fake->vintfs[2].on);
	viommu[1] = get_vsmmu(test);
	KUNIT_EXPECT_TRUE(test, s->fake->vintfs[2].on);
	for (i = 0; i < 3; i++)
		s->ops->destroy(viommu[i]);

	KUNIT_EXPECT_EQ(test, -EINVAL, make_vsmmu(test, &other, NULL, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL, make_vsmmu(test, &other, &answer, 8));
	KUNIT_EXPECT_EQ(test, -EINVAL, make_vsmmu(test, &other, &answer, 24));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			make_vsmmu(test, &other, ERR_PTR(-EFAULT), 16));
	s->pgtable.cfg.oas = s->fake->cmdqv.smmu.oas + 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, make_vsmmu(test, &other, &answer, 16));
	s->pgtable.cfg.oas = s->fake->cmdqv.smmu.oas;

	/* It would not enforce anything */
	s->fake->hyp_own_wired = true;
	KUNIT_EXPECT_EQ(test, -EIO, make_vsmmu(test, &other, &answer, 16));
	s->fake->hyp_own_wired = false;
	for (i = 1; i < 4; i++)
		KUNIT_EXPECT_FALSE(test, s->fake->vintfs[i].on);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.smmu.vmid_map));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.vintf_ids));
}

static void cmdqv_test_queue(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	u64 pa = page_to_phys(s->page);
	struct iommufd_hw_queue *q[2];
	struct vcmdq *hw = &s->fake->vcmdqs[2];

	forget(test);
	q[0] = get_queue(test, viommu, 0);
	expect(test, W32, 0x208, 0x8001);
	expect(test, W32, 0x50008, 0);
	expect(test, SYNC, 0, 0);
	expect_queue_cleared(test, 1, 0);
	expect(test, W64, 0x60000, pa | CMDQS);
	expect_end(test);
	/* The guest starts it */
	KUNIT_EXPECT_EQ(test, hw->config, 0);
	KUNIT_EXPECT_EQ(test, hw->prod, 0);
	KUNIT_EXPECT_EQ(test, hw->cons, 0);
	KUNIT_EXPECT_EQ(test, hw->gerror, 0);
	KUNIT_EXPECT_EQ(test, hw->gerrorn, 0);

	KUNIT_ASSERT_EQ(test, 0, make_queue(test, viommu, 1, pa + 32, 32, &q[1]));
	expect(test, W32, 0x20c, 0x8003);
	expect(test, W32, 0x50088, 0);
	expect(test, SYNC, 0, 0);
	expect_queue_cleared(test, 1, 1);
	expect(test, W64, 0x60080, (pa + 32) | 1);
	expect_end(test);
	/* Queue 0 has to outlive it */
	KUNIT_EXPECT_EQ(test, refcount_read(&q[0]->obj.users), 2);
	put_queue(test, q[1]);
	expect(test, W32, 0x50088, 0);
	expect(test, SYNC, 0, 0);
	expect_queue_cleared(test, 1, 1);
	expect(test, W32, 0x20c, 0x8002);
	expect_end(test);

	/* In use, and in error */
	hw->config = 1;
	hw->running = true;
	hw->prod = 7;
	hw->cons = 3;
	hw->gerror = 1;
	put_queue(test, q[0]);
	expect(test, W32, 0x50008, 0);
	expect(test, SYNC, 0, 0);
	expect_queue_cleared(test, 1, 0);
	expect(test, W32, 0x50014, 1);
	expect(test, W32, 0x208, 0x8000);
	expect_end(test);
	KUNIT_EXPECT_FALSE(test, hw->running);

	s->ops->destroy(viommu);
}

static void cmdqv_test_queue_errors(struct kunit *test)
{
	static const struct {
		u32 index;
		u64 offset, length;
		int ret;
	} bad[] = {
		{ 2, 0, 64, -EINVAL },		{ 128, 0, 64, -EINVAL },
		{ U32_MAX, 0, 64, -EINVAL },	{ 0x10000, 0, 64, -EINVAL },
		{ 1, 0, 64, -EIO },		{ 0, 0, 16, -EINVAL },
		{ 0, 0, 48, -EINVAL },		{ 0, 0, 31, -EINVAL },
		{ 0, 32, 64, -EINVAL },		{ 0, 64, 4096, -EINVAL },
		{ 0, 1ULL << 48, 64, -EINVAL },
	};
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	u64 pa = page_to_phys(s->page);
	struct iommufd_hw_queue *q, *other;
	unsigned int i;
	u64 max;

	forget(test);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, bad[i].ret,
				    make_queue(test, viommu, bad[i].index,
					       pa + bad[i].offset, bad[i].length,
					       &q),
				    "row %u", i);
	/* Nothing reached the block */
	expect_end(test);

	q = get_queue(test, viommu, 0);
	KUNIT_EXPECT_EQ(test, -EEXIST, make_queue(test, viommu, 0, pa, 64, &other));
	put_queue(test, q);

	KUNIT_EXPECT_EQ(test, s->ops->hw_queue_size(viommu, 0, &max), 0);
	KUNIT_EXPECT_EQ(test, s->ops->hw_queue_size(viommu, 2, &max), 0);
	/* CONS has 20 bits, one of which is the wrap bit */
	s->fake->smmu_regs[1] = 31 << 21;
	KUNIT_EXPECT_NE(test, s->ops->hw_queue_size(viommu, 1, &max), 0);
	KUNIT_EXPECT_EQ(test, max, 16 << 19);
	s->ops->destroy(viommu);
}

/* A guest that starts its queue again and again, or just after it has stopped */
static void cmdqv_test_stubborn_guest(struct kunit *test)
{
	static const enum guest_kind kinds[] = { GUEST_STARTS_LATE, GUEST_STARTS };
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	u32 config = s->fake->vintfs[1].config;
	struct iommufd_hw_queue *q;
	unsigned int i, n, alloc, off;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		/* It writes CONFIG before BASE is there, too */
		s->fake->guest = kinds[i];
		s->fake->delay = 0;
		q = get_queue(test, viommu, 0);
		guest_starts_all(s->fake);
		KUNIT_EXPECT_TRUE(test, s->fake->vcmdqs[2].running);

		forget(test);
		put_queue(test, q);
		KUNIT_EXPECT_FALSE(test, s->fake->vcmdqs[2].running);
		KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[2].alloc, 0x8000);
		KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[2].base, 0);
		KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 1);
		/* Other queues of the guest go on */
		KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].config, config);
		KUNIT_EXPECT_TRUE(test, s->fake->vintfs[1].on);

		/* It was freed while the VINTF was off */
		for (n = 0, alloc = 0, off = 0; n < s->fake->num; n++) {
			struct entry *e = &s->fake->log[n];

			if (e->offset == 0x1100)
				off = !(e->val & 1);
			if (e->offset == 0x208) {
				KUNIT_EXPECT_TRUE(test, off);
				alloc++;
			}
		}
		KUNIT_EXPECT_EQ(test, alloc, 1);
	}
	s->fake->guest = GUEST_QUIET;
	forget(test);
	s->ops->destroy(viommu);
}

/* The hardware keeps the queue: its memory must not be used again */
static void cmdqv_test_queue_stays(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv answer = {};
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	struct iommufd_hw_queue *q, *other;
	unsigned int i;

	/* It gets going again when the vSMMU goes */
	q = get_queue(test, viommu, 0);
	s->fake->vcmdqs[2].stuck = true;
	put_queue(test, q);
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 2);
	KUNIT_EXPECT_EQ(test, -EIO, make_queue(test, viommu, 0,
					       page_to_phys(s->page), 64,
					       &other));
	s->fake->vcmdqs[2].stuck = false;
	s->ops->destroy(viommu);
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 1);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.vintf_ids));

	/* It does not; and the queue below it cannot be freed either */
	forget(test);
	viommu = get_vsmmu(test);
	q = get_queue(test, viommu, 0);
	other = get_queue(test, viommu, 1);
	s->fake->vcmdqs[3].stuck = true;
	put_queue(test, other);
	put_queue(test, q);
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 3);
	s->ops->destroy(viommu);
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 3);
	/* The VINTF is off, so its VMID is free */
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.smmu.vmid_map));

	for (i = 2; i < 4; i++) {
		viommu = get_vsmmu(test);
		KUNIT_EXPECT_EQ(test, s->fake->vintfs[i].config,
				vmid_of(viommu) << 1 | 1);
		s->ops->destroy(viommu);
		/* The next one is free, this one will be */
		KUNIT_EXPECT_EQ(test, i,
				ida_alloc_range(&s->fake->cmdqv.vintf_ids, i, i,
						GFP_KERNEL));
	}

	/* None is left but the stuck one, which is of use again when it has stopped */
	forget(test);
	KUNIT_EXPECT_EQ(test, -ENOSPC, make_vsmmu(test, &viommu, &answer, 16));
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 3);
	s->fake->vcmdqs[3].stuck = false;
	forget(test);
	viommu = get_vsmmu(test);
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].config,
			vmid_of(viommu) << 1 | 1);
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 1);
	forget(test);
	q = get_queue(test, viommu, 0);

	/* A start that fails half-way has let go of the memory, too */
	s->fake->vcmdqs[2].stuck = true;
	put_queue(test, q);
	s->ops->destroy(viommu);
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 2);
	s->fake->vcmdqs[2].stuck = false;
	s->fake->vintf_stays_off = true;
	s->fake->delay = 0;
	forget(test);
	KUNIT_EXPECT_EQ(test, -ENOSPC, make_vsmmu(test, &viommu, &answer, 16));
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 1);
	for (i = 2; i < 4; i++)
		ida_free(&s->fake->cmdqv.vintf_ids, i);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.vintf_ids));
}

static void cmdqv_test_vintf_stays(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv answer = {};
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu;
	unsigned int i;
	u16 vmid;

	s->fake->delay = 0;
	s->fake->vintf_stays_off = true;
	KUNIT_EXPECT_EQ(test, -EIO, make_vsmmu(test, &viommu, &answer, 16));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.vintf_ids));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.smmu.vmid_map));
	s->fake->vintf_stays_off = false;

	forget(test);
	viommu = get_vsmmu(test);
	vmid = vmid_of(viommu);
	s->fake->vintf_stays_on = true;
	s->ops->destroy(viommu);
	s->fake->vintf_stays_on = false;
	/* Neither is used again */
	KUNIT_EXPECT_TRUE(test, list_empty(&s->nest.users));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			ida_alloc_range(&s->fake->cmdqv.smmu.vmid_map, vmid, vmid,
					GFP_KERNEL));
	/* The device that paid for the VMID goes on paying */
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, 1);
	forget(test);
	viommu = get_vsmmu(test);
	KUNIT_EXPECT_NE(test, vmid_of(viommu), vmid);
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[2].config,
			vmid_of(viommu) << 1 | 1);
	s->ops->destroy(viommu);

	/* If no other one is left it is asked whether it has stopped */
	for (i = 2; i < 4; i++)
		ida_alloc_range(&s->fake->cmdqv.vintf_ids, i, i, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, -ENOSPC, make_vsmmu(test, &viommu, &answer, 16));
	s->fake->vintfs[1].on = false;
	/* Both are free then, once the VMID is invalidated */
	s->dev->master.num_vmids = ARM_SMMU_MASTER_MAX_VMIDS;
	forget(test);
	viommu = get_vsmmu(test);
	KUNIT_EXPECT_EQ(test, vmid_of(viommu), vmid);
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids,
			ARM_SMMU_MASTER_MAX_VMIDS);
	s->dev->master.num_vmids = 1;
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].config,
			vmid_of(viommu) << 1 | 1);
	s->ops->destroy(viommu);
	forget(test);
	viommu = get_vsmmu(test);
	s->ops->destroy(viommu);
}

/* The ATC_INV of any guest can time out: the flush is tried once more */
static void cmdqv_test_flush(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	struct iommufd_hw_queue *q;

	s->fake->syncs_fail = 1;
	put_queue(test, get_queue(test, viommu, 0));
	KUNIT_EXPECT_EQ(test, s->fake->syncs_fail, 0);

	/* What it could not collect is this guest's own. It does not wait again. */
	s->fake->syncs_fail = 3;
	q = get_queue(test, viommu, 0);
	KUNIT_EXPECT_EQ(test, s->fake->syncs_fail, 1);
	forget(test);
	put_queue(test, q);
	KUNIT_EXPECT_EQ(test, s->fake->syncs_fail, 1);
	s->fake->syncs_fail = 0;
	s->ops->destroy(viommu);
	KUNIT_EXPECT_TRUE(test, test_bit(1, s->fake->cmdqv.atc_sent));
}

/* ATC_INVs of other guests are in the way of those only that have sent one */
static void cmdqv_test_no_flush(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv answer = {};
	struct setup *s = test->priv;
	struct tegra241_cmdqv *cmdqv = &s->fake->cmdqv;
	struct iommufd_viommu *viommu, *other;
	struct iommufd_hw_queue *q;
	struct iommufd_vdevice *vdev;
	unsigned int i;
	int ret;

	/* Nobody knows what was before the first one */
	bitmap_zero(cmdqv->atc_sent, CMDQV_MAX_VINTFS);
	s->fake->syncs_fail = 2;
	KUNIT_EXPECT_EQ(test, -ENOSPC, make_vsmmu(test, &viommu, &answer, 16));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&cmdqv->vintf_ids));
	forget(test);
	KUNIT_ASSERT_EQ(test, 0, make_vsmmu(test, &viommu, &answer, 16));

	s->fake->syncs_fail = 2;
	KUNIT_EXPECT_EQ(test, 0, make_vsmmu(test, &other, &answer, 16));
	q = get_queue(test, viommu, 0);
	put_queue(test, q);
	KUNIT_EXPECT_EQ(test, s->fake->syncs_fail, 2);
	s->fake->syncs_fail = 0;
	s->ops->destroy(other);

	forget(test);
	vdev = get_vdev(test, viommu, s->dev, 7, &ret);
	KUNIT_ASSERT_EQ(test, ret, 0);
	s->fake->syncs_fail = 1;
	put_queue(test, get_queue(test, viommu, 0));
	KUNIT_EXPECT_EQ(test, s->fake->syncs_fail, 0);
	KUNIT_EXPECT_TRUE(test, test_bit(1, cmdqv->atc_sent));
	s->ops->vdevice_destroy(vdev);
	KUNIT_EXPECT_TRUE(test, test_bit(1, cmdqv->atc_sent));
	s->ops->destroy(viommu);
	KUNIT_EXPECT_FALSE(test, test_bit(1, cmdqv->atc_sent));

	/* One that could not be flushed is taken last */
	forget(test);
	set_bit(1, cmdqv->atc_sent);
	set_bit(2, cmdqv->atc_sent);
	KUNIT_ASSERT_EQ(test, 0, make_vsmmu(test, &viommu, &answer, 16));
	KUNIT_EXPECT_TRUE(test, s->fake->vintfs[3].on);
	s->fake->syncs_fail = 2;
	KUNIT_EXPECT_EQ(test, -ENOSPC, make_vsmmu(test, &other, &answer, 16));
	KUNIT_EXPECT_EQ(test, s->fake->syncs_fail, 0);
	for (i = 1; i < 3; i++)
		KUNIT_EXPECT_FALSE(test, s->fake->vintfs[i].on);
	forget(test);
	KUNIT_ASSERT_EQ(test, 0, make_vsmmu(test, &other, &answer, 16));
	KUNIT_EXPECT_TRUE(test, s->fake->vintfs[1].on);
	KUNIT_EXPECT_FALSE(test, test_bit(1, cmdqv->atc_sent));
	s->ops->destroy(other);
	s->ops->destroy(viommu);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&cmdqv->vintf_ids));
}

/* Hardware that keeps registers: the next guest finds none of the last one's */
static struct iommufd_viommu *get_vsmmu_after_another(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu;

	s->fake->sticky = true;
	s->fake->vcmdqs[2].base = 0xbad000 | 8;
	s->fake->vcmdqs[3].base = 0xbad000 | 8;
	viommu = get_vsmmu(test);
	KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[2].base, 0);
	KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[3].base, 0);
	return viommu;
}

static void cmdqv_test_sticky(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu_after_another(test);
	struct iommufd_hw_queue *q = get_queue(test, viommu, 0);

	KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[2].gerror,
			s->fake->vcmdqs[2].gerrorn);
	put_queue(test, q);
	KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[2].base, 0);
	s->ops->destroy(viommu);
}

/* The same of hardware whose queues do not answer while their VINTF is off */
static void cmdqv_test_hidden(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_hw_queue *q, *other;
	struct iommufd_viommu *viommu;

	s->fake->hides = true;
	viommu = get_vsmmu_after_another(test);

	/* A queue that could not be reset is not handed out while the guest is there */
	q = get_queue(test, viommu, 0);
	s->fake->guest = GUEST_STARTS;
	s->fake->delay = 0;
	guest_starts_all(s->fake);
	put_queue(test, q);
	s->fake->guest = GUEST_QUIET;
	KUNIT_EXPECT_EQ(test, page_ref_count(s->page), 1);
	KUNIT_EXPECT_NE(test, s->fake->vcmdqs[2].base, 0);
	KUNIT_EXPECT_EQ(test, -EIO, make_queue(test, viommu, 0,
					       page_to_phys(s->page), 64,
					       &other));
	s->ops->destroy(viommu);

	/* And has nothing left of it for the next guest */
	forget(test);
	viommu = get_vsmmu(test);
	KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[2].base, 0);
	forget(test);
	put_queue(test, get_queue(test, viommu, 0));
	s->ops->destroy(viommu);
}

static void cmdqv_test_sid_pairs(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	struct fake_dev *other = add_dev(test, 0xfffff, true);
	struct fake_dev *no_ats = add_dev(test, 0x200, false);
	struct fake_dev *wide = add_dev(test, 0x100000, true);
	struct iommufd_vdevice *vdev, *second, *vdevs[SIDS];
	unsigned int i;
	int ret;

	forget(test);
	vdev = get_vdev(test, viommu, s->dev, 0xabcde, &ret);
	KUNIT_ASSERT_EQ(test, ret, 0);
	expect(test, W32, 0x1180, 0x123);
	expect(test, W32, 0x1140, 0xabcde << 1 | 1);
	expect_end(test);

	second = get_vdev(test, viommu, other, 0xfffff, &ret);
	KUNIT_ASSERT_EQ(test, ret, 0);
	expect(test, W32, 0x1184, 0xfffff);
	expect(test, W32, 0x1144, 0x1fffff);
	expect_end(test);

	s->ops->vdevice_destroy(vdev);
	expect(test, W32, 0x1140, 0);
	expect(test, W32, 0x1180, 0);
	expect_end(test);
	/* The device may be another VM's next */
	KUNIT_EXPECT_FALSE(test, s->fake->vintfs[1].posted);
	s->ops->vdevice_destroy(second);
	forget(test);

	/* The core has given the ID of a vDEVICE that is on its way out to another */
	vdev = get_vdev(test, viommu, s->dev, 7, &ret);
	forget(test);
	second = get_vdev(test, viommu, other, 7, &ret);
	expect(test, W32, 0x1140, 0);
	expect(test, W32, 0x1180, 0);
	expect(test, W32, 0x1184, 0xfffff);
	expect(test, W32, 0x1144, 0xf);
	expect_end(test);
	s->ops->vdevice_destroy(vdev);
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].match[1], 0xf);
	s->ops->vdevice_destroy(second);
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].match[1], 0);
	forget(test);

	/* A device that cannot answer an ATC_INV has no pair */
	vdev = get_vdev(test, viommu, no_ats, 9, &ret);
	KUNIT_EXPECT_EQ(test, ret, 0);
	s->ops->vdevice_destroy(vdev);
	get_vdev(test, viommu, s->dev, 0x100000, &ret);
	KUNIT_EXPECT_EQ(test, ret, -EINVAL);
	get_vdev(test, viommu, s->dev, 1ULL << 32, &ret);
	KUNIT_EXPECT_EQ(test, ret, -EINVAL);
	get_vdev(test, viommu, wide, 9, &ret);
	KUNIT_EXPECT_EQ(test, ret, -EOPNOTSUPP);
	other->master.num_streams = 2;
	get_vdev(test, viommu, other, 9, &ret);
	KUNIT_EXPECT_EQ(test, ret, -EOPNOTSUPP);
	expect_end(test);

	for (i = 0; i < SIDS; i++) {
		vdevs[i] = get_vdev(test, viommu, s->dev, i, &ret);
		KUNIT_EXPECT_EQ(test, ret, 0);
		KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].match[i], i << 1 | 1);
	}
	get_vdev(test, viommu, s->dev, SIDS, &ret);
	KUNIT_EXPECT_EQ(test, ret, -ENOSPC);
	s->ops->vdevice_destroy(vdevs[5]);
	vdevs[5] = get_vdev(test, viommu, s->dev, SIDS, &ret);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].match[5], SIDS << 1 | 1);
	for (i = 0; i < SIDS; i++)
		s->ops->vdevice_destroy(vdevs[i]);
	s->ops->destroy(viommu);
}

static void expect_event(struct kunit *test, struct iommufd_viommu *viommu,
			 u64 map)
{
	struct setup *s = test->priv;

	KUNIT_EXPECT_EQ(test, s->fake->events, 1);
	KUNIT_EXPECT_PTR_EQ(test, s->fake->event_of, viommu);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(s->fake->event.lvcmdq_err_map[0]), map);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(s->fake->event.lvcmdq_err_map[1]), 0);
	s->fake->events = 0;
}

static void cmdqv_test_errors(struct kunit *test)
{
	struct setup *s = test->priv;
	struct tegra241_cmdqv *cmdqv = &s->fake->cmdqv;
	struct iommufd_viommu *one = get_vsmmu(test);
	struct iommufd_viommu *two = get_vsmmu(test);
	struct iommufd_hw_queue *q[3];
	struct vcmdq *hw = s->fake->vcmdqs;
	unsigned long start;
	unsigned int i;

	forget(test);
	q[0] = get_queue(test, one, 0);
	q[1] = get_queue(test, one, 1);
	q[2] = get_queue(test, two, 0);
	forget(test);
	KUNIT_EXPECT_EQ(test, tegra241_cmdqv_guest_map(cmdqv), 0x6);

	/* Each is told of its own */
	hw[3].gerror = 1;
	tegra241_cmdqv_guest_errors(cmdqv, 0x2);
	expect_event(test, one, 0x2);
	hw[4].gerror = 1;
	tegra241_cmdqv_guest_errors(cmdqv, 0x6);
	expect_event(test, two, 0x1);
	hw[2].gerror = 1;
	tegra241_cmdqv_guest_errors(cmdqv, 0x6);
	expect_event(test, one, 0x3);

	/* Acknowledged, and in error again before anybody looked */
	start = jiffies;
	hw[3].gerrorn = 1;
	hw[3].gerror = 0;
	tegra241_cmdqv_guest_errors(cmdqv, 0x6);
	expect_event(test, one, 0x3);
	/* Twice, at another command */
	hw[4].cons = 9;
	tegra241_cmdqv_guest_errors(cmdqv, 0x6);
	expect_event(test, two, 0x1);
	/* Nothing is new, and it is not long ago */
	tegra241_cmdqv_guest_errors(cmdqv, 0x6);
	/* A guest that acknowledges everything leaves its interrupt behind */
	hw[2].gerrorn = hw[2].gerror;
	hw[3].gerrorn = hw[3].gerror;
	tegra241_cmdqv_guest_errors(cmdqv, 0x4);
	if (time_before(jiffies, start + HZ / 10))
		KUNIT_EXPECT_EQ(test, s->fake->events, 0);
	s->fake->events = 0;
	msleep(250);
	tegra241_cmdqv_guest_errors(cmdqv, 0x4);
	expect_event(test, two, 0x1);

	/* Maps with bits that nobody has */
	tegra241_cmdqv_guest_errors(cmdqv, 0);
	for (i = 0; i < 64; i++)
		tegra241_cmdqv_guest_errors(cmdqv, 1ULL << i & ~0x6ULL);
	s->fake->vintfs[1].inject[0] = ~0x3ULL;
	s->fake->vintfs[1].inject[1] = ~0ULL;
	tegra241_cmdqv_guest_errors(cmdqv, ~0x4ULL);
	KUNIT_EXPECT_EQ(test, s->fake->events, 0);
	s->fake->vintfs[1].inject[0] = ~0ULL;
	tegra241_cmdqv_guest_errors(cmdqv, ~0x4ULL);
	expect_event(test, one, 0x3);
	memset(s->fake->vintfs[1].inject, 0, sizeof(s->fake->vintfs[1].inject));

	/* Nothing was acknowledged or written */
	expect_end(test);

	/* The next owner of a queue has the same error */
	hw[4].cons = 0;
	hw[4].gerror = 1;
	hw[4].gerrorn = 0;
	tegra241_cmdqv_guest_errors(cmdqv, 0x4);
	expect_event(test, two, 0x1);
	put_queue(test, q[2]);
	q[2] = get_queue(test, two, 0);
	hw[4].gerror = 1;
	tegra241_cmdqv_guest_errors(cmdqv, 0x4);
	expect_event(test, two, 0x1);

	put_queue(test, q[2]);
	put_queue(test, q[1]);
	put_queue(test, q[0]);
	s->ops->destroy(two);
	s->ops->destroy(one);
	KUNIT_EXPECT_EQ(test, tegra241_cmdqv_guest_map(cmdqv), 0);
	tegra241_cmdqv_guest_errors(cmdqv, ~0ULL);
	KUNIT_EXPECT_EQ(test, s->fake->events, 0);
}

/* A guest sets the rate: 300 interrupts cannot take less than 200 breaks of 1 ms */
static void cmdqv_test_error_rate(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu = get_vsmmu(test);
	struct iommufd_hw_queue *q = get_queue(test, viommu, 0);
	unsigned long start = jiffies;
	unsigned int i;

	for (i = 0; i < 300; i++) {
		s->fake->vcmdqs[2].gerror ^= 1;
		tegra241_cmdqv_guest_errors(&s->fake->cmdqv, 0x2);
		s->fake->vcmdqs[2].gerrorn = s->fake->vcmdqs[2].gerror;
	}
	KUNIT_EXPECT_EQ(test, s->fake->events, 300);
	KUNIT_EXPECT_GE(test, jiffies_to_msecs(jiffies - start), 90);
	put_queue(test, q);
	s->ops->destroy(viommu);
}

static void cmdqv_test_shutdown(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv answer = {};
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu[2], *other;
	struct iommufd_hw_queue *q[3], *more;
	struct iommufd_vdevice *vdev;
	unsigned int syncs;
	unsigned int i;
	int ret;

	for (i = 0; i < 2; i++)
		viommu[i] = get_vsmmu(test);
	q[0] = get_queue(test, viommu[0], 0);
	q[1] = get_queue(test, viommu[0], 1);
	q[2] = get_queue(test, viommu[1], 0);
	vdev = get_vdev(test, viommu[0], s->dev, 7, &ret);
	KUNIT_ASSERT_EQ(test, ret, 0);
	guest_starts_all(s->fake);

	s->fake->guest = GUEST_STARTS;
	s->fake->delay = 0;
	forget(test);
	tegra241_cmdqv_guests_disable(&s->fake->cmdqv);
	/* The VINTF first, then its queues in descending order */
	expect(test, W32, 0x1100, 0);
	expect(test, W32, 0x50088, 0);
	expect_queue_cleared(test, 1, 1);
	expect(test, W32, 0x20c, 0x8002);
	expect(test, W32, 0x50008, 0);
	expect_queue_cleared(test, 1, 0);
	expect(test, W32, 0x208, 0x8000);
	expect_sids_cleared(test, 1);
	expect(test, W32, 0x1200, 0);
	forget(test);
	for (i = 0; i < MAX_VINTFS; i++)
		KUNIT_EXPECT_FALSE(test, s->fake->vintfs[i].on);
	for (i = 0; i < MAX_QUEUES; i++) {
		KUNIT_EXPECT_FALSE(test, s->fake->vcmdqs[i].running);
		KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[i].alloc & 1, 0);
		KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[i].base, 0);
	}
	KUNIT_EXPECT_EQ(test, s->fake->vintfs[1].match[0], 0);

	/* No VM gets anything back */
	KUNIT_EXPECT_EQ(test, -ENODEV, make_vsmmu(test, &other, &answer, 16));
	KUNIT_EXPECT_EQ(test, -ENODEV,
			make_queue(test, viommu[1], 1, page_to_phys(s->page),
				   64, &more));
	for (i = 0; i < MAX_VINTFS; i++)
		KUNIT_EXPECT_FALSE(test, s->fake->vintfs[i].on);

	/* And what is there can go */
	s->ops->vdevice_destroy(vdev);
	put_queue(test, q[2]);
	put_queue(test, q[1]);
	put_queue(test, q[0]);
	for (i = 0; i < 2; i++)
		s->ops->destroy(viommu[i]);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.smmu.vmid_map));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->cmdqv.vintf_ids));

	/* Nothing waits for room in a queue that may be dead */
	for (i = 0, syncs = 0; i < s->fake->num; i++)
		syncs += s->fake->log[i].kind == SYNC;
	/* One for each VMID, which has its own path */
	KUNIT_EXPECT_EQ(test, syncs, 3);
}

/* The queues of VINTF0, and no other, after all were taken back */
static void cmdqv_test_map(struct kunit *test)
{
	static const u32 params[] = { 0x4671, 0x4071, 0x4231, 0x4011, 0x0171 };
	struct setup *s = test->priv;
	unsigned int i;
	int q;

	for (i = 0; i < ARRAY_SIZE(params); i++) {
		u32 n = 1 << (params[i] >> 4 & 15), v = 1 << (params[i] >> 8 & 15);
		u32 each = n / v;

		memset(s->fake->vcmdqs, 0, sizeof(s->fake->vcmdqs));
		set_param(test, params[i]);
		forget(test);
		tegra241_cmdqv_map_vcmdqs(&s->fake->cmdqv);
		for (q = n - 1; q >= 0; q--)
			expect(test, W32, 0x200 + 4 * q,
			       q / each << 15 | q % each << 1);
		for (q = 0; q < each; q++)
			expect(test, W32, 0x200 + 4 * q, q << 1 | 1);
		expect_end(test);
		for (q = 0; q < n; q++)
			KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[q].alloc & 1,
					q < each);
	}
}

static void cmdqv_test_params(struct kunit *test)
{
	static const struct {
		u32 param;
		u32 size;
		unsigned int vintfs, queues, sids, version;
	} rows[] = {
		/* The hardware, and what a guest of QEMU sees */
		{ 0x4671, 0x830000, 64, 2, 16, 1 },
		{ 0x4011, 0x50000, 1, 2, 16, 1 },
		/* One VINTF with all queues */
		{ 0x4071, 0x50000, 1, 128, 16, 1 },
		{ 0x4271, 0xb0000, 4, 32, 16, 1 },
		{ 0x4221, 0xb0000, 4, 1, 16, 1 },
		/* Few or too many SID pairs */
		{ 0x0671, 0x830000, 64, 2, 1, 1 },
		{ 0x1671, 0x830000, 64, 2, 2, 1 },
		{ 0x5672, 0x830000, 64, 2, 16, 2 },
		{ 0xf670, 0x830000, 64, 2, 16, 0 },
		/* A VINTF without a queue */
		{ 0x4321, 0x830000 },
		{ 0x4601, 0x830000 },
		{ 0x4651, 0x830000 },
		/* More than there are registers for */
		{ 0x4771, 0x1030000 },
		{ 0x4681, 0x830000 },
		{ 0x4ff1, 0xffffffff },
		/* The last VINTF is not in the region */
		{ 0x4671, 0x82ffff },
		{ 0x4671, 0x50000 },
		{ 0x4011, 0x4ffff },
		{ 0x4011, 0 },
	};
	struct setup *s = test->priv;
	struct tegra241_cmdqv *cmdqv = &s->fake->cmdqv;
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		ret = tegra241_cmdqv_set_param(cmdqv, rows[i].param, rows[i].size);
		if (!rows[i].vintfs) {
			KUNIT_EXPECT_EQ_MSG(test, ret, -ENODEV, "row %u", i);
			continue;
		}
		KUNIT_EXPECT_EQ_MSG(test, ret, 0, "row %u", i);
		KUNIT_EXPECT_EQ_MSG(test, cmdqv->num_vintfs, rows[i].vintfs,
				    "row %u", i);
		KUNIT_EXPECT_EQ_MSG(test, cmdqv->num_lvcmdqs_per_vintf,
				    rows[i].queues, "row %u", i);
		KUNIT_EXPECT_EQ_MSG(test, cmdqv->num_sids_per_vintf, rows[i].sids,
				    "row %u", i);
		KUNIT_EXPECT_EQ_MSG(test, cmdqv->version, rows[i].version,
				    "row %u", i);
	}
}

/* Guests on blocks of other sizes */
static void cmdqv_test_sizes(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv answer = {};
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu, **all;
	struct iommufd_hw_queue *q[64], *more;
	struct iommufd_vdevice *vdev;
	int ret;
	int i;

	/* All belongs to the host */
	set_param(test, 0x4071);
	KUNIT_EXPECT_EQ(test, -ENOSPC, make_vsmmu(test, &viommu, &answer, 16));

	/* 2 VINTFs with 64 queues, of which the last one is at the end of the page */
	set_param(test, 0x0171);
	viommu = get_vsmmu(test);
	for (i = 0; i < 64; i++) {
		forget(test);
		q[i] = get_queue(test, viommu, i);
		expect(test, W32, 0x300 + 4 * i, 1 << 15 | i << 1 | 1);
		expect(test, W32, 0x50008 + 0x80 * i, 0);
		s->fake->vcmdqs[64 + i].gerror = 1;
	}
	KUNIT_EXPECT_EQ(test, -EINVAL, make_queue(test, viommu, 64,
						  page_to_phys(s->page), 64,
						  &more));
	tegra241_cmdqv_guest_errors(&s->fake->cmdqv, 2);
	expect_event(test, viommu, ~0ULL);
	forget(test);
	/* One SID pair */
	vdev = get_vdev(test, viommu, s->dev, 1, &ret);
	KUNIT_EXPECT_EQ(test, ret, 0);
	get_vdev(test, viommu, s->dev, 2, &ret);
	KUNIT_EXPECT_EQ(test, ret, -ENOSPC);
	s->ops->vdevice_destroy(vdev);
	expect(test, W32, 0x1180, 0x123);
	expect(test, W32, 0x1140, 3);
	expect(test, W32, 0x1140, 0);
	expect(test, W32, 0x1180, 0);
	expect_end(test);
	tegra241_cmdqv_guests_disable(&s->fake->cmdqv);
	for (i = 0; i < 64; i++)
		KUNIT_EXPECT_EQ(test, s->fake->vcmdqs[64 + i].alloc & 1, 0);
	while (i--)
		put_queue(test, q[i]);
	forget(test);
	s->ops->destroy(viommu);
	s->fake->cmdqv.guests_down = false;

	/* A device pays for 8 VMIDs */
	set_param(test, 0x4671);
	all = kunit_kcalloc(test, 63, sizeof(*all), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, all);
	for (i = 0; i < 63; i++) {
		forget(test);
		all[i] = get_vsmmu(test);
		KUNIT_EXPECT_EQ(test, s->fake->vintfs[i + 1].config,
				vmid_of(all[i]) << 1 | 1);
		s->dev->master.num_vmids = 0;
	}
	forget(test);
	KUNIT_EXPECT_EQ(test, -ENOSPC, make_vsmmu(test, &viommu, &answer, 16));
	for (i = 0; i < 63; i++) {
		forget(test);
		s->dev->master.num_vmids = 1;
		s->ops->destroy(all[i]);
	}
	s->dev->master.num_vmids = 0;
}

static void cmdqv_test_hw_info(struct kunit *test)
{
	struct iommu_hw_info_tegra241_cmdqv *info;
	struct setup *s = test->priv;
	struct device *dev = &s->dev->pdev.dev;
	struct arm_smmu_device *smmu = &s->fake->cmdqv.smmu;
	void *(*hw_info)(struct arm_smmu_device *smmu, u32 *length, u32 *type) =
		s->fake->impl_ops.hw_info;
	u32 type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, length = 0;

	set_param(test, 0x4671);
	info = hw_info(smmu, &length, &type);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, info);
	KUNIT_EXPECT_EQ(test, length, 8);
	KUNIT_EXPECT_EQ(test, type, 3);
	KUNIT_EXPECT_EQ(test, info->flags, 0);
	KUNIT_EXPECT_EQ(test, info->version, 1);
	KUNIT_EXPECT_EQ(test, info->log2vcmdqs, 1);
	KUNIT_EXPECT_EQ(test, info->log2vsids, 4);
	KUNIT_EXPECT_EQ(test, info->__reserved, 0);
	kfree(info);

	type = 4;
	KUNIT_EXPECT_PTR_EQ(test, hw_info(smmu, &length, &type),
			    ERR_PTR(-EOPNOTSUPP));

	/* The block is an outer host's, or page 0 cannot be mapped alone */
	type = 3;
	s->fake->vintf0.hyp_own = false;
	KUNIT_EXPECT_PTR_EQ(test, hw_info(smmu, &length, &type),
			    ERR_PTR(-EOPNOTSUPP));
	KUNIT_EXPECT_NULL(test, arm_smmu_viommu_ops(dev, 2));
	s->fake->vintf0.hyp_own = true;
	s->fake->cmdqv.base_pa = BASE_PA + 0x8000;
	KUNIT_EXPECT_PTR_EQ(test, hw_info(smmu, &length, &type),
			    ERR_PTR(-EOPNOTSUPP));
	KUNIT_EXPECT_NULL(test, arm_smmu_viommu_ops(dev, 2));
	s->fake->cmdqv.base_pa = BASE_PA;
	KUNIT_EXPECT_PTR_EQ(test, arm_smmu_viommu_ops(dev, 2), s->ops);
	/* The other type stays available */
	KUNIT_EXPECT_NOT_NULL(test, arm_smmu_viommu_ops(dev, 1));
	KUNIT_EXPECT_PTR_NE(test, arm_smmu_viommu_ops(dev, 1), s->ops);
	KUNIT_EXPECT_EQ(test, s->ops->veventq_size(NULL, 1), 32);
	KUNIT_EXPECT_EQ(test, s->ops->veventq_size(NULL, 2), 16);
	KUNIT_EXPECT_EQ(test, s->ops->veventq_size(NULL, 3), 0);
	KUNIT_EXPECT_EQ(test,
			arm_smmu_viommu_ops(dev, 1)->veventq_size(NULL, 2), 0);
}

static struct kunit_case cmdqv_test_cases[] = {
	KUNIT_CASE(cmdqv_test_vintf_on),
	KUNIT_CASE(cmdqv_test_vintf_numbers),
	KUNIT_CASE(cmdqv_test_queue),
	KUNIT_CASE(cmdqv_test_queue_errors),
	KUNIT_CASE(cmdqv_test_stubborn_guest),
	KUNIT_CASE(cmdqv_test_queue_stays),
	KUNIT_CASE(cmdqv_test_vintf_stays),
	KUNIT_CASE(cmdqv_test_flush),
	KUNIT_CASE(cmdqv_test_no_flush),
	KUNIT_CASE(cmdqv_test_sticky),
	KUNIT_CASE(cmdqv_test_hidden),
	KUNIT_CASE(cmdqv_test_sid_pairs),
	KUNIT_CASE(cmdqv_test_errors),
	KUNIT_CASE(cmdqv_test_error_rate),
	KUNIT_CASE(cmdqv_test_shutdown),
	KUNIT_CASE(cmdqv_test_map),
	KUNIT_CASE(cmdqv_test_params),
	KUNIT_CASE(cmdqv_test_sizes),
	KUNIT_CASE(cmdqv_test_hw_info),
	{},
};

static struct kunit_suite cmdqv_test_suite = {
	.name = "tegra241-cmdqv-iommufd",
	.init = cmdqv_test_init,
	.exit = cmdqv_test_exit,
	.test_cases = cmdqv_test_cases,
};

kunit_test_suite(cmdqv_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of the VINTFs of guests on Tegra241 CMDQV");
MODULE_LICENSE("GPL");
