// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the SMMU sees of a device that is reset, and what the device keeps meanwhile
 *
 * The IOMMU core is the real one. Its group is made here, of one device.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/pci.h>
#include <uapi/linux/iommufd.h>

#include "../../iommu-priv.h"
#include "arm-smmu-v3-fake.h"
#include "arm-smmu-v3-s2.h"

#define OP_ATC_INV	0x40

#define SID		3

struct setup {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_dev *d;
	struct pci_dev *pdev;
	struct arm_smmu_ste *ste;
	struct arm_smmu_domain *parent;
	struct kobject kobj;
	struct iommu_group group;
	struct group_device gdev;
};

static const struct kobj_type kobj_type = {};

static const struct iommu_ops test_ops = {
	.reset_forget = arm_smmu_reset_forget,
};

static int reset_test_init(struct kunit *test)
{
	struct setup *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct iommu_domain *domain;

	if (!s)
		return -ENOMEM;
	test->priv = s;
	s->fake = arm_smmu_fake_create(test, 1024);
	s->fake->smmu.features |= ARM_SMMU_FEAT_ATS;
	s->fake->smmu.options = ARM_SMMU_OPT_SKIP_PREFETCH;
	s->fake->smmu.iommu.ops = &test_ops;
	s->d = arm_smmu_fake_add_dev(test, s->fake, SID);
	s->d->iommu.iommu_dev = &s->fake->smmu.iommu;

	/* Its registers are nowhere */
	s->pdev = kunit_kzalloc(test, sizeof(*s->pdev), GFP_KERNEL);
	if (!s->pdev)
		return -ENOMEM;
	s->pdev->ats_cap = 0x100;
	s->pdev->error_state = pci_channel_io_perm_failure;
	s->pdev->dev.bus = &pci_bus_type;
	s->pdev->dev.iommu = &s->d->iommu;
	s->pdev->dev.iommu_group = &s->group;
	s->d->master.dev = &s->pdev->dev;
	s->d->fwspec.flags = IOMMU_FWSPEC_PCI_RC_ATS;

	s->ste = kunit_kcalloc(test, SID + 1, sizeof(*s->ste), GFP_KERNEL);
	if (!s->ste)
		return -ENOMEM;
	s->fake->smmu.strtab_cfg.linear.table = s->ste;
	s->ste += SID;
	arm_smmu_make_abort_ste(s->ste);

	domain = arm_smmu_domain_alloc_user(&s->pdev->dev,
					    IOMMU_HWPT_ALLOC_NEST_PARENT, NULL,
					    NULL);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	s->parent = to_smmu_domain(domain);

	kobject_init(&s->kobj, &kobj_type);
	mutex_init(&s->group.mutex);
	INIT_LIST_HEAD(&s->group.devices);
	xa_init(&s->group.pasid_array);
	xa_init(&s->group.pasid_domains);
	s->group.devices_kobj = &s->kobj;
	s->group.blocking_domain = &arm_smmu_blocked_domain;
	s->group.domain = &arm_smmu_blocked_domain;
	/* Whoever detaches leaves the blocking domain */
	s->group.owner = s;
	s->gdev.dev = &s->pdev->dev;
	list_add(&s->gdev.list, &s->group.devices);
	return 0;
}

static int attach(struct setup *s, struct iommu_domain *domain)
{
	int ret;

	mutex_lock(&s->group.mutex);
	ret = domain->ops->attach_dev(domain, &s->pdev->dev);
	if (!ret)
		s->group.domain = domain;
	mutex_unlock(&s->group.mutex);
	return ret;
}

static void start(struct kunit *test)
{
	struct setup *s = test->priv;

	KUNIT_ASSERT_EQ(test, 0, attach(s, &s->parent->domain));
	arm_smmu_fake_forget(s->fake);
}

/* All is given back */
static void stop(struct kunit *test)
{
	struct setup *s = test->priv;

	KUNIT_EXPECT_EQ(test, s->d->iommu.reset_depth, 0);
	KUNIT_ASSERT_EQ(test, 0, attach(s, &arm_smmu_blocked_domain));
	KUNIT_EXPECT_TRUE(test, hlist_empty(&s->d->master.spare_domains));
	KUNIT_EXPECT_TRUE(test, list_empty(&s->parent->devices));
	KUNIT_EXPECT_EQ(test, s->parent->num_returning, 0);
	KUNIT_EXPECT_EQ(test, s->parent->nest->num_users, 0);
	s->parent->domain.ops->free(&s->parent->domain);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));
}

static unsigned int num_atc_invs(struct arm_smmu_fake *fake)
{
	unsigned int i, found = 0;

	for (i = 0; i < fake->num; i++)
		found += (fake->log[i].cmd[0] & 0xff) == OP_ATC_INV;
	return found;
}

static void expect_aborts(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_ste abort;

	arm_smmu_make_abort_ste(&abort);
	KUNIT_EXPECT_MEMEQ(test, s->ste, &abort, sizeof(abort));
}

static void reset_test_blocks(struct kunit *test)
{
	struct setup *s = test->priv;
	struct device *dev = &s->pdev->dev;
	struct arm_smmu_ste before;

	start(test);
	before = *s->ste;
	KUNIT_EXPECT_TRUE(test, s->pdev->ats_enabled);
	KUNIT_EXPECT_EQ(test, atomic_read(&s->parent->nr_ats_masters), 1);
	KUNIT_EXPECT_PTR_EQ(test, iommu_attached_domain(dev),
			    &s->parent->domain);

	KUNIT_ASSERT_EQ(test, 0, iommu_dev_reset_begin(dev));
	expect_aborts(test);
	KUNIT_EXPECT_PTR_EQ(test, iommu_attached_domain(dev),
			    &arm_smmu_blocked_domain);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(dev),
			    &s->parent->domain);
	KUNIT_EXPECT_FALSE(test, s->pdev->ats_enabled);
	KUNIT_EXPECT_FALSE(test, s->d->master.ats_enabled);
	KUNIT_EXPECT_TRUE(test, list_empty(&s->parent->devices));
	KUNIT_EXPECT_EQ(test, atomic_read(&s->parent->nr_ats_masters), 0);

	/* Neither the begin nor an unmap sends anything to the device */
	s->parent->domain.ops->flush_iotlb_all(&s->parent->domain);
	KUNIT_EXPECT_EQ(test, num_atc_invs(s->fake), 0);

	iommu_dev_reset_end(dev, 0);
	KUNIT_EXPECT_MEMEQ(test, s->ste, &before, sizeof(before));
	KUNIT_EXPECT_TRUE(test, s->pdev->ats_enabled);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->devices), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&s->parent->nr_ats_masters), 1);
	stop(test);
}

/* No VMID is left, and no list entry has to be allocated */
static void reset_test_keeps(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_s2_vmid users[ARM_SMMU_MASTER_MAX_VMIDS] = {};
	struct arm_smmu_master *master = &s->d->master;
	struct arm_smmu_s2_plain *plain;
	struct list_head *entry;
	unsigned int i, num = 0;
	struct arm_smmu_ste before;

	start(test);
	before = *s->ste;
	plain = master->s2_plain;
	entry = s->parent->devices.next;
	KUNIT_ASSERT_EQ(test, 0, iommu_dev_reset_begin(&s->pdev->dev));
	KUNIT_EXPECT_FALSE(test, hlist_empty(&master->spare_domains));
	while (!arm_smmu_s2_vmid_add(s->parent, master, &users[num]))
		num++;
	KUNIT_EXPECT_EQ(test, num, ARM_SMMU_MASTER_MAX_VMIDS - 1);

	iommu_dev_reset_end(&s->pdev->dev, 0);
	KUNIT_EXPECT_MEMEQ(test, s->ste, &before, sizeof(before));
	KUNIT_EXPECT_PTR_EQ(test, master->s2_plain, plain);
	KUNIT_EXPECT_EQ(test, plain->masters, 1);
	KUNIT_EXPECT_PTR_EQ(test, s->parent->devices.next, entry);
	KUNIT_EXPECT_TRUE(test, hlist_empty(&master->spare_domains));

	for (i = 0; i < num; i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	stop(test);
}

/* Another device must not make the nest parent one that this device cannot use */
static void reset_test_canwbs(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommu_domain *domain = &s->parent->domain;

	start(test);
	KUNIT_ASSERT_EQ(test, 0, iommu_dev_reset_begin(&s->pdev->dev));
	KUNIT_EXPECT_FALSE(test, domain->ops->enforce_cache_coherency(domain));
	iommu_dev_reset_end(&s->pdev->dev, 0);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->devices), 1);
	KUNIT_EXPECT_FALSE(test, domain->ops->enforce_cache_coherency(domain));

	/* Once the group has left, it is nobody's concern */
	KUNIT_ASSERT_EQ(test, 0, iommu_dev_reset_begin(&s->pdev->dev));
	iommu_detach_group(domain, &s->group);
	KUNIT_EXPECT_TRUE(test, domain->ops->enforce_cache_coherency(domain));
	iommu_dev_reset_end(&s->pdev->dev, 0);
	stop(test);
}

static void reset_test_forgets(struct kunit *test)
{
	struct setup *s = test->priv;

	start(test);
	KUNIT_ASSERT_EQ(test, 0, iommu_dev_reset_begin(&s->pdev->dev));
	iommu_detach_group(&s->parent->domain, &s->group);
	KUNIT_EXPECT_NULL(test, s->d->master.s2_plain);
	KUNIT_EXPECT_NULL(test, s->d->master.returns_to);
	KUNIT_EXPECT_EQ(test, s->parent->nest->num_users, 0);
	iommu_dev_reset_end(&s->pdev->dev, 0);
	expect_aborts(test);
	KUNIT_EXPECT_TRUE(test, list_empty(&s->parent->devices));
	stop(test);
}

static void reset_test_failed(struct kunit *test)
{
	struct setup *s = test->priv;

	start(test);
	KUNIT_ASSERT_EQ(test, 0, iommu_dev_reset_begin(&s->pdev->dev));
	iommu_dev_reset_end(&s->pdev->dev, -EIO);
	expect_aborts(test);
	KUNIT_EXPECT_FALSE(test, s->pdev->ats_enabled);
	KUNIT_EXPECT_EQ(test, num_atc_invs(s->fake), 0);

	KUNIT_ASSERT_EQ(test, 0, iommu_dev_reset_begin(&s->pdev->dev));
	iommu_dev_reset_end(&s->pdev->dev, 0);
	KUNIT_EXPECT_TRUE(test, s->pdev->ats_enabled);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->devices), 1);
	stop(test);
}

/* An unmap whose ATC_INV takes its time */
struct slow_unmap {
	struct kunit *test;
	struct completion issues;
	struct completion over;
	bool issued;
};

static int slow_unmap_on_issue(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct slow_unmap *slow = fake->priv;

	if ((cmds[0] & 0xff) == OP_ATC_INV) {
		complete(&slow->issues);
		msleep(200);
		slow->issued = true;
	}
	return 0;
}

static int slow_unmap_runs(void *arg)
{
	struct slow_unmap *slow = arg;
	struct setup *s = slow->test->priv;

	current->kunit_test = slow->test;
	s->parent->domain.ops->flush_iotlb_all(&s->parent->domain);
	current->kunit_test = NULL;
	complete(&slow->over);
	return 0;
}

/* The device may be reset only after it has got what was meant for it before */
static void reset_test_waits_for_unmap(struct kunit *test)
{
	struct setup *s = test->priv;
	struct slow_unmap slow = { .test = test };
	struct task_struct *thread;

	init_completion(&slow.issues);
	init_completion(&slow.over);
	start(test);
	s->fake->priv = &slow;
	s->fake->on_issue = slow_unmap_on_issue;
	thread = kthread_run(slow_unmap_runs, &slow, "slow_unmap");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, thread);
	wait_for_completion(&slow.issues);
	KUNIT_EXPECT_EQ(test, 0, iommu_dev_reset_begin(&s->pdev->dev));
	KUNIT_EXPECT_TRUE(test, slow.issued);
	wait_for_completion(&slow.over);
	s->fake->on_issue = NULL;
	iommu_dev_reset_end(&s->pdev->dev, 0);
	stop(test);
}

static struct kunit_case reset_test_cases[] = {
	KUNIT_CASE(reset_test_blocks),
	KUNIT_CASE(reset_test_keeps),
	KUNIT_CASE(reset_test_canwbs),
	KUNIT_CASE(reset_test_forgets),
	KUNIT_CASE(reset_test_failed),
	KUNIT_CASE(reset_test_waits_for_unmap),
	{},
};

static struct kunit_suite reset_test_suite = {
	.name = "arm-smmu-v3-reset",
	.init = reset_test_init,
	.test_cases = reset_test_cases,
};

kunit_test_suite(reset_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of devices in reset on arm-smmu-v3");
MODULE_LICENSE("GPL");
