// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMIDs of a nest parent, and that a change of it reaches all of them
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/io-pgtable.h>
#include <linux/kthread.h>
#include <linux/poison.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"
#include "arm-smmu-v3-s2.h"

/* IHI0070 4.4 and 4.5 */
#define OP_CFGI_STE	0x03
#define OP_NH_ALL	0x10
#define OP_S12_VMALL	0x28
#define OP_S2_IPA	0x2a
#define OP_ATC_INV	0x40

#define SID		8
#define OTHER_SID	9

struct setup {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_dev *dev;
	struct arm_smmu_fake_dev *payer;
	struct arm_smmu_domain *parent;
	struct arm_smmu_ste *strtab;
};

static int try_alloc(struct setup *s, u32 flags, struct iommu_domain *parent)
{
	return PTR_ERR_OR_ZERO(arm_smmu_domain_alloc_user(&s->dev->dev, flags,
							  parent, NULL));
}

static struct arm_smmu_domain *make_domain(struct kunit *test, u32 flags)
{
	struct setup *s = test->priv;
	struct iommu_domain *domain =
		arm_smmu_domain_alloc_user(&s->dev->dev, flags, NULL, NULL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	return to_smmu_domain(domain);
}

static int s2_test_init(struct kunit *test)
{
	struct setup *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	if (!s)
		return -ENOMEM;
	test->priv = s;
	s->fake = arm_smmu_fake_create(test, 4096);
	s->dev = arm_smmu_fake_add_dev(test, s->fake, SID);
	s->payer = s->dev;
	s->strtab = kunit_kcalloc(test, OTHER_SID + 1, sizeof(*s->strtab),
				  GFP_KERNEL);
	if (!s->strtab)
		return -ENOMEM;
	s->fake->smmu.strtab_cfg.linear.table = s->strtab;
	s->fake->smmu.options = ARM_SMMU_OPT_SKIP_PREFETCH;
	s->parent = make_domain(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
	arm_smmu_fake_forget(s->fake);
	return 0;
}

static void free_domain(struct arm_smmu_domain *domain)
{
	domain->domain.ops->free(&domain->domain);
}

/* At the end of each test: all VMIDs are back */
static void free_all(struct kunit *test)
{
	struct setup *s = test->priv;

	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->nest->users),
			s->parent->s2_cfg.vmid ? 1 : 0);
	free_domain(s->parent);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));
}

static u8 cmd_op(const struct arm_smmu_fake_cmd *c)
{
	return c->cmd[0] & 0xff;
}

static u16 cmd_vmid(const struct arm_smmu_fake_cmd *c)
{
	return c->cmd[0] >> 32 & 0xffff;
}

/* Get a VMID that is paid for by a device that has some left */
static int add_user(struct kunit *test, struct arm_smmu_s2_vmid *user)
{
	struct setup *s = test->priv;

	if (s->payer->master.num_vmids == ARM_SMMU_MASTER_MAX_VMIDS)
		s->payer = arm_smmu_fake_add_dev(test, s->fake, OTHER_SID);
	return arm_smmu_s2_vmid_add(s->parent, &s->payer->master, user);
}

/* Attach @dev to stage 2 alone. Returns what the attach returns. */
static int attach_plain(struct kunit *test, struct arm_smmu_fake_dev *dev)
{
	struct setup *s = test->priv;
	struct iommu_domain *domain = &s->parent->domain;

	return domain->ops->attach_dev(domain, &dev->dev);
}

/* The tests have no way to detach: let the domain believe that they did */
static void forget_masters(struct kunit *test)
{
	struct arm_smmu_master_domain *md, *next;
	struct setup *s = test->priv;

	list_for_each_entry_safe(md, next, &s->parent->devices, devices_elm) {
		list_del(&md->devices_elm);
		kfree(md);
	}
}

static bool on_list(struct arm_smmu_domain *parent,
		    struct arm_smmu_s2_vmid *user)
{
	struct arm_smmu_s2_vmid *pos;

	list_for_each_entry(pos, &parent->nest->users, node)
		if (pos == user)
			return true;
	return false;
}

/*
 * Lifecycle
 */

static void s2_test_vmids(struct kunit *test)
{
	struct arm_smmu_s2_vmid *users, none;
	struct setup *s = test->priv;
	DECLARE_BITMAP(seen, 256) = {};
	unsigned int i;
	u16 vmid;

	users = kunit_kcalloc(test, 255, sizeof(*users), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, users);

	/* 0 is the host's */
	__set_bit(0, seen);
	for (i = 0; i < 255; i++) {
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
		KUNIT_ASSERT_LT(test, users[i].vmid, 256);
		KUNIT_EXPECT_FALSE(test, __test_and_set_bit(users[i].vmid,
							    seen));
		KUNIT_EXPECT_TRUE(test, on_list(s->parent, &users[i]));
	}
	KUNIT_EXPECT_EQ(test, -ENOSPC, add_user(test, &none));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->nest->users), 255);
	KUNIT_EXPECT_EQ(test, s->fake->num, 0);

	/* The one that comes back is the one that is there to have */
	vmid = users[100].vmid;
	arm_smmu_s2_vmid_remove(s->parent, &users[100]);
	KUNIT_EXPECT_FALSE(test, on_list(s->parent, &users[100]));
	KUNIT_EXPECT_EQ(test, 0, add_user(test, &users[100]));
	KUNIT_EXPECT_EQ(test, users[100].vmid, vmid);

	for (i = 0; i < 255; i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	KUNIT_EXPECT_EQ(test, s->fake->num, 256);
	free_all(test);
}

/* More than 8 bits of a VMID are used, and all of them are invalidated */
static void s2_test_wide_vmids(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_s2_vmid *users;
	unsigned int i, num = 300;

	users = kunit_kcalloc(test, num, sizeof(*users), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, users);
	s->fake->smmu.vmid_bits = 16;
	for (i = 0; i < num; i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	KUNIT_EXPECT_GT(test, users[num - 1].vmid, 255);
	for (i = 0; i < num; i++) {
		arm_smmu_fake_forget(s->fake);
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
		KUNIT_EXPECT_EQ(test, cmd_vmid(&s->fake->log[0]),
				users[i].vmid);
	}
	free_all(test);
}

struct removal {
	struct arm_smmu_domain *parent;
	struct arm_smmu_s2_vmid user;
	struct kunit *test;
	struct completion issued;
	struct completion done;
	bool was_free;
	bool was_off_list;
};

static int on_removal(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct removal *r = fake->priv;

	r->was_free = arm_smmu_fake_vmid_free(fake, r->user.vmid);
	r->was_off_list = !on_list(r->parent, &r->user);
	complete(&r->issued);
	return 0;
}

static int remove_thread(void *data)
{
	struct removal *r = data;

	current->kunit_test = r->test;
	arm_smmu_s2_vmid_remove(r->parent, &r->user);
	current->kunit_test = NULL;
	complete(&r->done);
	return 0;
}

/*
 * First invalidated, then off the list, then free. Between the last two nothing can
 * be seen, so another thread hangs there.
 */
static void s2_test_remove_order(struct kunit *test)
{
	struct setup *s = test->priv;
	struct task_struct *task;
	struct removal *r;
	unsigned int i;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r);
	r->parent = s->parent;
	r->test = test;
	init_completion(&r->issued);
	init_completion(&r->done);
	KUNIT_ASSERT_EQ(test, 0, add_user(test, &r->user));
	s->fake->on_issue = on_removal;
	s->fake->priv = r;

	task = kthread_create(remove_thread, r, "s2_test_remove");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	down_read(&s->parent->nest->lock);
	wake_up_process(task);
	KUNIT_EXPECT_NE(test, 0, wait_for_completion_timeout(&r->issued, 10 * HZ));
	for (i = 0; i < 1000; i++) {
		if (READ_ONCE(task->__state) & TASK_UNINTERRUPTIBLE)
			break;
		usleep_range(1000, 2000);
	}
	KUNIT_EXPECT_FALSE(test, completion_done(&r->done));
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_vmid_free(s->fake,
							 r->user.vmid));
	KUNIT_EXPECT_TRUE(test, on_list(s->parent, &r->user));
	up_read(&s->parent->nest->lock);
	wait_for_completion(&r->done);
	put_task_struct(task);
	s->fake->on_issue = NULL;

	KUNIT_EXPECT_FALSE(test, r->was_free);
	KUNIT_EXPECT_FALSE(test, r->was_off_list);
	KUNIT_EXPECT_TRUE(test, arm_smmu_fake_vmid_free(s->fake, r->user.vmid));
	KUNIT_EXPECT_FALSE(test, on_list(s->parent, &r->user));

	KUNIT_ASSERT_EQ(test, s->fake->num, 1);
	KUNIT_EXPECT_EQ(test, s->fake->log[0].cmd[0],
			OP_S12_VMALL | (u64)r->user.vmid << 32);
	KUNIT_EXPECT_EQ(test, s->fake->log[0].cmd[1], 0);
	KUNIT_EXPECT_TRUE(test, s->fake->log[0].synced);
	free_all(test);
}

static int on_timeout(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	return -ETIMEDOUT;
}

/* Let the SMMU complete no command, or all again */
static void set_timeout(struct setup *s, bool timeout)
{
	s->fake->on_issue = timeout ? on_timeout : NULL;
}

/*
 * What the SMMU did not invalidate must not serve the next owner of the VMID. A
 * device that makes the SMMU time out cannot use up the VMIDs of others by it.
 */
static void s2_test_remove_timeout(struct kunit *test)
{
	struct arm_smmu_s2_vmid users[ARM_SMMU_MASTER_MAX_VMIDS], user;
	struct setup *s = test->priv;
	struct arm_smmu_fake_dev *other;
	unsigned int i, num = ARRAY_SIZE(users);

	for (i = 0; i < num; i++)
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_s2_vmid_add(s->parent, &s->dev->master,
						     &users[i]));
	set_timeout(s, true);
	for (i = 0; i < num; i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	KUNIT_EXPECT_TRUE(test, list_empty(&s->parent->nest->users));

	/* The invalidation fails again */
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_s2_vmid_add(s->parent, &s->dev->master,
					     &user));
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, num);
	for (i = 0; i < num; i++)
		KUNIT_EXPECT_FALSE(test, arm_smmu_fake_vmid_free(s->fake,
								 users[i].vmid));

	/* Another device gets a VMID that was never used */
	other = arm_smmu_fake_add_dev(test, s->fake, OTHER_SID);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_s2_vmid_add(s->parent, &other->master, &user));
	KUNIT_EXPECT_EQ(test, user.vmid, num + 1);
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, num);
	set_timeout(s, false);
	arm_smmu_s2_vmid_remove(s->parent, &user);
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, num);

	/* It succeeds: all come back, by one CMD_SYNC before one is handed out */
	arm_smmu_fake_forget(s->fake);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_s2_vmid_add(s->parent, &s->dev->master,
					     &user));
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, 1);
	KUNIT_EXPECT_TRUE(test, list_empty(&s->fake->smmu.stale_vmids));
	KUNIT_EXPECT_EQ(test, s->fake->calls, 1);
	KUNIT_ASSERT_EQ(test, s->fake->num, num);
	for (i = 0; i < num; i++) {
		KUNIT_EXPECT_EQ(test, cmd_op(&s->fake->log[i]), OP_S12_VMALL);
		KUNIT_EXPECT_EQ(test, cmd_vmid(&s->fake->log[i]),
				users[i].vmid);
		KUNIT_EXPECT_EQ(test, s->fake->log[i].synced, i == num - 1);
	}
	arm_smmu_s2_vmid_remove(s->parent, &user);
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, 0);
	free_all(test);
}

/* While VMIDs are invalidated again, nobody can get them */
static int on_retry(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct removal *r = fake->priv;

	r->was_free |= arm_smmu_fake_vmid_free(fake, cmds[0] >> 32 & 0xffff);
	return 0;
}

/*
 * More stale VMIDs than a batch has room for come back by several allocations.
 * Their device may be removed meanwhile.
 */
static void s2_test_stale_many(struct kunit *test)
{
	struct arm_smmu_s2_vmid *users, user;
	struct setup *s = test->priv;
	struct removal *r;
	unsigned int i, num = 100;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	users = kunit_kcalloc(test, num, sizeof(*users), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_NOT_NULL(test, users);
	for (i = 0; i < num; i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	set_timeout(s, true);
	for (i = 0; i < num; i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);

	/* The device that paid for the first ones goes */
	arm_smmu_master_forget_vmids(&s->dev->master);
	memset(&s->dev->master, POISON_FREE, sizeof(s->dev->master));

	s->fake->on_issue = on_retry;
	s->fake->priv = r;
	arm_smmu_fake_forget(s->fake);
	KUNIT_ASSERT_EQ(test, 0, add_user(test, &user));
	KUNIT_EXPECT_EQ(test, s->fake->calls, 1);
	KUNIT_EXPECT_EQ(test, s->fake->num, CMDQ_BATCH_ENTRIES - 1);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->fake->smmu.stale_vmids),
			num - (CMDQ_BATCH_ENTRIES - 1));
	KUNIT_EXPECT_FALSE(test, r->was_free);
	arm_smmu_s2_vmid_remove(s->parent, &user);

	arm_smmu_fake_forget(s->fake);
	s->fake->on_issue = on_retry;
	KUNIT_ASSERT_EQ(test, 0, add_user(test, &user));
	s->fake->on_issue = NULL;
	KUNIT_EXPECT_EQ(test, s->fake->num, num - (CMDQ_BATCH_ENTRIES - 1));
	KUNIT_EXPECT_TRUE(test, list_empty(&s->fake->smmu.stale_vmids));
	KUNIT_EXPECT_FALSE(test, r->was_free);
	arm_smmu_s2_vmid_remove(s->parent, &user);
	KUNIT_EXPECT_EQ(test, s->payer->master.num_vmids, 0);
	free_all(test);
}

/* A nest parent's own VMID is no exception */
static void s2_test_free_timeout(struct kunit *test)
{
	struct setup *s = test->priv;
	u16 vmid;

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	vmid = s->parent->s2_cfg.vmid;
	forget_masters(test);
	set_timeout(s, true);
	free_domain(s->parent);
	set_timeout(s, false);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_vmid_free(s->fake, vmid));
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, 1);

	/* The SMMU is removed */
	arm_smmu_forget_stale_vmids(&s->fake->smmu);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, 0);
}

/* Nor is the VMID of a stage 2 domain that is no nest parent */
static void s2_test_plain_domain_timeout(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_domain *domain;
	u16 vmid;

	s->fake->smmu.features &= ~ARM_SMMU_FEAT_TRANS_S1;
	domain = make_domain(test, 0);
	vmid = domain->s2_cfg.vmid;
	KUNIT_EXPECT_NE(test, vmid, 0);
	set_timeout(s, true);
	free_domain(domain);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_vmid_free(s->fake, vmid));
	set_timeout(s, false);

	domain = make_domain(test, 0);
	KUNIT_EXPECT_EQ(test, domain->s2_cfg.vmid, vmid);
	KUNIT_EXPECT_TRUE(test, list_empty(&s->fake->smmu.stale_vmids));
	free_domain(domain);
	free_all(test);
}

/* Each device pays for a few, whatever they are for, and gets them back */
static void s2_test_share(struct kunit *test)
{
	struct arm_smmu_s2_vmid users[ARM_SMMU_MASTER_MAX_VMIDS], none;
	struct setup *s = test->priv;
	struct arm_smmu_fake_dev *other;
	unsigned int i, num = ARRAY_SIZE(users);

	for (i = 0; i < num; i++)
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_s2_vmid_add(s->parent, &s->dev->master,
						     &users[i]));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_s2_vmid_add(s->parent, &s->dev->master,
					     &none));
	KUNIT_EXPECT_EQ(test, -ENOSPC, attach_plain(test, s->dev));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->nest->users), num);

	/* The first of the others to need the nest parent's pays for it */
	other = arm_smmu_fake_add_dev(test, s->fake, OTHER_SID);
	KUNIT_EXPECT_EQ(test, 0, attach_plain(test, other));
	KUNIT_EXPECT_EQ(test, other->master.num_vmids, 1);
	KUNIT_EXPECT_EQ(test, 0, attach_plain(test, s->dev));
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, num);
	forget_masters(test);

	arm_smmu_s2_vmid_remove(s->parent, &users[3]);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_s2_vmid_add(s->parent, &s->dev->master,
					     &users[3]));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_s2_vmid_add(s->parent, &s->dev->master,
					     &none));

	/* The device is removed. What it paid for lives on without it. */
	arm_smmu_s2_vmid_remove(s->parent, &users[0]);
	arm_smmu_master_forget_vmids(&s->dev->master);
	memset(&s->dev->master, POISON_FREE, sizeof(s->dev->master));
	for (i = 1; i < num; i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	free_all(test);
	KUNIT_EXPECT_EQ(test, other->master.num_vmids, 0);
}

/*
 * The nest parent's own VMID
 */

static u16 ste_vmid(struct setup *s, u32 sid)
{
	return le64_to_cpu(s->strtab[sid].data[2]) & 0xffff;
}

/* It is there from the first attach to the nest parent until that is freed */
static void s2_test_own_vmid(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake_dev *other;
	struct arm_smmu_s2_vmid user;
	struct arm_smmu_domain *second;
	u16 vmid;

	KUNIT_EXPECT_EQ(test, s->parent->s2_cfg.vmid, 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	vmid = s->parent->s2_cfg.vmid;
	KUNIT_EXPECT_NE(test, vmid, 0);
	KUNIT_EXPECT_EQ(test, ste_vmid(s, SID), vmid);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_vmid_free(s->fake, vmid));
	KUNIT_EXPECT_TRUE(test, on_list(s->parent, &s->parent->nest->plain));

	/* All devices share it, a guest does not */
	other = arm_smmu_fake_add_dev(test, s->fake, OTHER_SID);
	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, other));
	KUNIT_EXPECT_EQ(test, ste_vmid(s, OTHER_SID), vmid);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->nest->users), 1);
	KUNIT_ASSERT_EQ(test, 0, add_user(test, &user));
	KUNIT_EXPECT_NE(test, user.vmid, vmid);
	arm_smmu_s2_vmid_remove(s->parent, &user);

	/* Nor does another nest parent */
	second = make_domain(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
	KUNIT_ASSERT_EQ(test, 0,
			second->domain.ops->attach_dev(&second->domain,
						       &other->dev));
	KUNIT_EXPECT_NE(test, ste_vmid(s, OTHER_SID), vmid);
	KUNIT_EXPECT_EQ(test, ste_vmid(s, OTHER_SID), second->s2_cfg.vmid);
	list_splice_init(&second->devices, &s->parent->devices);
	free_domain(second);

	/* The next owner of the VMID must not find anything */
	forget_masters(test);
	arm_smmu_fake_forget(s->fake);
	free_domain(s->parent);
	KUNIT_EXPECT_EQ(test, s->fake->num, 1);
	KUNIT_EXPECT_EQ(test, s->fake->log[0].cmd[0],
			OP_S12_VMALL | (u64)vmid << 32);
	KUNIT_EXPECT_TRUE(test, s->fake->log[0].synced);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));
}

struct ste_change {
	__le64 *ste;
	unsigned int aborts;
	unsigned int invalid;
};

/* Called before the SMMU may look at the STE again */
static int on_ste_change(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct ste_change *c = fake->priv;
	u64 word0 = le64_to_cpu(c->ste[0]);

	if ((cmds[0] & 0xff) == OP_CFGI_STE) {
		/* V; Config */
		c->invalid += !(word0 & 1);
		c->aborts += (word0 & 0xf) == 1;
	}
	return 0;
}

/*
 * Another VMID and other tables are two words of the STE. In between the device's
 * accesses abort, but none becomes an event.
 */
static void s2_test_disruptive_change(struct kunit *test)
{
	struct setup *s = test->priv;
	struct ste_change change = { .ste = s->strtab[SID].data };
	struct arm_smmu_domain *second;

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	second = make_domain(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
	s->fake->on_issue = on_ste_change;
	s->fake->priv = &change;
	KUNIT_ASSERT_EQ(test, 0,
			second->domain.ops->attach_dev(&second->domain,
						       &s->dev->dev));
	s->fake->on_issue = NULL;
	KUNIT_EXPECT_GT(test, change.aborts, 0);
	KUNIT_EXPECT_EQ(test, change.invalid, 0);

	list_splice_init(&second->devices, &s->parent->devices);
	free_domain(second);
	forget_masters(test);
	free_all(test);
}

/* Without one left the attach fails and changes nothing, and can be repeated */
static void s2_test_own_vmid_none_left(struct kunit *test)
{
	struct arm_smmu_s2_vmid *users;
	struct setup *s = test->priv;
	unsigned int i;

	users = kunit_kcalloc(test, 255, sizeof(*users), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, users);
	s->payer = arm_smmu_fake_add_dev(test, s->fake, OTHER_SID);
	for (i = 0; i < 255; i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	arm_smmu_fake_forget(s->fake);
	KUNIT_EXPECT_EQ(test, -ENOSPC, attach_plain(test, s->dev));
	KUNIT_EXPECT_EQ(test, s->fake->num, 0);
	KUNIT_EXPECT_EQ(test, s->parent->s2_cfg.vmid, 0);
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&s->parent->devices));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(s->strtab[SID].data[0]), 0);

	arm_smmu_s2_vmid_remove(s->parent, &users[7]);
	KUNIT_EXPECT_EQ(test, 0, attach_plain(test, s->dev));
	KUNIT_EXPECT_EQ(test, s->parent->s2_cfg.vmid, users[7].vmid);

	for (i = 0; i < 255; i++)
		if (i != 7)
			arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	forget_masters(test);
	free_domain(s->parent);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));
}

/*
 * Changes of the tables
 */

/* Index of the first command after @from that has @op, and @vmid if not 0 */
static unsigned int find(struct arm_smmu_fake *fake, unsigned int from, u8 op,
			 u16 vmid)
{
	for (; from < fake->num; from++)
		if (cmd_op(&fake->log[from]) == op &&
		    (!vmid || cmd_vmid(&fake->log[from]) == vmid))
			break;
	return from;
}

static bool completed_before(struct arm_smmu_fake *fake, unsigned int cmd,
			     unsigned int next)
{
	for (; cmd < next; cmd++)
		if (fake->log[cmd].synced)
			return true;
	return false;
}

/* A change of entries that map @granule each, or of a table of them */
struct change {
	u64 iova;
	u64 size;
	u64 granule;
	bool leaf;
};

/* TLBI_S2_IPA for all of the range and no more, and complete before @next */
static void expect_ipa(struct kunit *test, u16 vmid,
		       const struct change *change, unsigned int next)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	u64 end = change->iova + change->size;
	u64 iova = change->iova;
	unsigned int i;

	for (i = find(fake, 0, OP_S2_IPA, vmid); i < fake->num;
	     i = find(fake, i + 1, OP_S2_IPA, vmid)) {
		const u64 *cmd = fake->log[i].cmd;
		u64 span = change->granule;

		KUNIT_EXPECT_TRUE(test, completed_before(fake, i, next));
		KUNIT_EXPECT_EQ(test, cmd[1] & 1, change->leaf);
		KUNIT_EXPECT_EQ(test, cmd[1] & 0x000ffffffffff000ULL, iova);
		if (cmd[1] >> 10 & 3)
			span = ((cmd[0] >> 12 & 31) + 1) * SZ_4K
			       << (cmd[0] >> 20 & 31);
		iova += span;
	}
	KUNIT_EXPECT_EQ_MSG(test, iova, end, "VMID %u", vmid);
}

static void expect_reaches_all(struct kunit *test,
			       struct arm_smmu_s2_vmid *users, unsigned int num,
			       const struct change *change)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	unsigned int first_nh = find(fake, 0, OP_NH_ALL, 0);
	unsigned int first_atc = find(fake, 0, OP_ATC_INV, 0);
	unsigned int i, nh, last_ipa = 0;

	for (i = 0; i < fake->num; i++)
		if (cmd_op(&fake->log[i]) == OP_S2_IPA)
			last_ipa = i;
	if (num)
		KUNIT_EXPECT_LT(test, last_ipa, first_nh);
	else
		KUNIT_EXPECT_EQ(test, first_nh, fake->num);

	if (s->parent->s2_cfg.vmid)
		expect_ipa(test, s->parent->s2_cfg.vmid, change, first_nh);
	for (i = 0; i < num; i++) {
		expect_ipa(test, users[i].vmid, change, first_nh);

		nh = find(fake, 0, OP_NH_ALL, users[i].vmid);
		KUNIT_EXPECT_LT_MSG(test, nh, fake->num, "VMID %u",
				    users[i].vmid);
		KUNIT_EXPECT_TRUE(test, completed_before(fake, nh, first_atc));
	}
}

static void map_pages(struct kunit *test, u64 iova, size_t count)
{
	struct setup *s = test->priv;
	struct iommu_domain *domain = &s->parent->domain;
	size_t mapped = 0;

	KUNIT_ASSERT_EQ(test, 0,
			domain->ops->map_pages(domain, iova, 0x80000000, SZ_4K,
					       count, IOMMU_READ | IOMMU_WRITE,
					       GFP_KERNEL, &mapped));
	KUNIT_ASSERT_EQ(test, mapped, SZ_4K * count);
	arm_smmu_fake_forget(s->fake);
}

/* Unmap pages one by one, or as the block that they fill */
static void unmap_pages(struct kunit *test, struct arm_smmu_s2_vmid *users,
			unsigned int num, u64 iova, size_t count, bool block)
{
	struct setup *s = test->priv;
	struct iommu_domain *domain = &s->parent->domain;
	size_t size = SZ_4K * count;
	struct change change = {
		.iova = iova,
		.size = size,
		.granule = SZ_4K,
	};
	struct iommu_iotlb_gather gather;

	map_pages(test, iova, count);
	iommu_iotlb_gather_init(&gather);
	KUNIT_EXPECT_EQ(test, size,
			domain->ops->unmap_pages(domain, iova,
						 block ? size : SZ_4K,
						 block ? 1 : count, &gather));
	/* The table under the block is freed, so nobody may walk it any more */
	if (block)
		expect_reaches_all(test, users, num, &change);
	arm_smmu_fake_forget(s->fake);
	domain->ops->iotlb_sync(domain, &gather);
	change.leaf = true;
	change.granule = block ? size : SZ_4K;
	expect_reaches_all(test, users, num, &change);
}

struct range_case {
	const char *name;
	bool ril;
	u64 iova;
	size_t count;
	bool block;
};

static const struct range_case range_cases[] = {
	{ "a page", false, 0x12345000, 1 },
	{ "a page by RIL", true, 0x12345000, 1 },
	{ "many pages", false, 0x40000000, 100 },
	{ "many pages by RIL", true, 0x40003000, 301 },
	{ "more than a batch", false, 0x7f00000, 200 },
	{ "a full table by RIL", true, 0x200000, 512 },
	{ "the table itself", false, 0x600000, 512, true },
	{ "the table itself by RIL", true, 0x600000, 512, true },
};

static void range_case_desc(const struct range_case *c, char *desc)
{
	strscpy(desc, c->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(range_case, range_cases, range_case_desc);

static void s2_test_unmap(struct kunit *test)
{
	const struct range_case *c = test->param_value;
	struct arm_smmu_s2_vmid users[3];
	struct setup *s = test->priv;
	unsigned int i;

	if (c->ril)
		s->fake->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;

	/* No STE points to the tables, so nothing can be cached of them */
	unmap_pages(test, users, 0, c->iova, c->count, c->block);
	KUNIT_EXPECT_EQ(test, s->fake->num, 0);

	/* A device without stage 1 */
	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	unmap_pages(test, users, 0, c->iova, c->count, c->block);

	for (i = 0; i < ARRAY_SIZE(users); i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	unmap_pages(test, users, 3, c->iova, c->count, c->block);

	/* One has gone */
	arm_smmu_s2_vmid_remove(s->parent, &users[2]);
	unmap_pages(test, users, 2, c->iova, c->count, c->block);
	KUNIT_EXPECT_EQ(test, s->fake->num,
			find(s->fake, 0, OP_NH_ALL, users[2].vmid));
	KUNIT_EXPECT_EQ(test, s->fake->num,
			find(s->fake, 0, OP_S2_IPA, users[2].vmid));

	arm_smmu_s2_vmid_remove(s->parent, &users[1]);
	arm_smmu_s2_vmid_remove(s->parent, &users[0]);
	forget_masters(test);
	free_all(test);
}

static void s2_test_flush_all(struct kunit *test)
{
	struct arm_smmu_s2_vmid users[3];
	struct setup *s = test->priv;
	struct iommu_domain *domain = &s->parent->domain;
	unsigned int i, at;

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	for (i = 0; i < ARRAY_SIZE(users); i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	arm_smmu_fake_forget(s->fake);
	domain->ops->flush_iotlb_all(domain);

	KUNIT_EXPECT_EQ(test, s->fake->num, 4);
	at = find(s->fake, 0, OP_S12_VMALL, s->parent->s2_cfg.vmid);
	KUNIT_EXPECT_TRUE(test, completed_before(s->fake, at, s->fake->num));
	for (i = 0; i < ARRAY_SIZE(users); i++) {
		at = find(s->fake, 0, OP_S12_VMALL, users[i].vmid);
		KUNIT_EXPECT_TRUE(test,
				  completed_before(s->fake, at, s->fake->num));
	}

	for (i = 0; i < ARRAY_SIZE(users); i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	forget_masters(test);
	free_all(test);
}

/* An ATC under stage 1 holds VAs: an IPA says nothing about what to drop */
static void s2_test_atc(struct kunit *test)
{
	struct arm_smmu_master_domain nested = { .nested = true };
	struct arm_smmu_master_domain plain = {};
	struct arm_smmu_master_domain off = { .nested = true };
	struct arm_smmu_s2_vmid users[2];
	struct arm_smmu_fake_dev *dev;
	struct setup *s = test->priv;
	unsigned int i, at;

	s->fake->smmu.features |= ARM_SMMU_FEAT_ATS;
	dev = arm_smmu_fake_add_dev(test, s->fake, 0x111);
	dev->master.ats_enabled = true;
	dev->master.num_streams = 2;
	nested.master = &dev->master;
	dev = arm_smmu_fake_add_dev(test, s->fake, 0x222);
	dev->master.ats_enabled = true;
	plain.master = &dev->master;
	dev = arm_smmu_fake_add_dev(test, s->fake, 0x333);
	off.master = &dev->master;
	list_add(&nested.devices_elm, &s->parent->devices);
	list_add(&plain.devices_elm, &s->parent->devices);
	list_add(&off.devices_elm, &s->parent->devices);
	atomic_set(&s->parent->nr_ats_masters, 2);

	for (i = 0; i < ARRAY_SIZE(users); i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	unmap_pages(test, users, 2, 0x12340000, 16, false);

	/* ATC commands are last: the TLBs can't refill an ATC any more */
	at = find(s->fake, 0, OP_ATC_INV, 0);
	KUNIT_ASSERT_EQ(test, at, s->fake->num - 3);
	KUNIT_EXPECT_TRUE(test, s->fake->log[s->fake->num - 1].synced);
	for (; at < s->fake->num; at++) {
		const u64 *cmd = s->fake->log[at].cmd;

		switch (cmd[0]) {
		case 0x11100000040ULL:
		case 0x11200000040ULL:
			/* Everything */
			KUNIT_EXPECT_EQ(test, cmd[1], 52);
			break;
		case 0x22200000040ULL:
			/* 16 pages */
			KUNIT_EXPECT_EQ(test, cmd[1], 0x12340004);
			break;
		default:
			KUNIT_FAIL(test, "%016llx", cmd[0]);
			break;
		}
	}

	for (i = 0; i < ARRAY_SIZE(users); i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	INIT_LIST_HEAD(&s->parent->devices);
	atomic_set(&s->parent->nr_ats_masters, 0);
	free_all(test);
}

/*
 * What becomes a nest parent
 */

static void s2_test_alloc(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_domain *domain;
	unsigned long quirks;

	KUNIT_EXPECT_EQ(test, (int)s->parent->stage, (int)ARM_SMMU_DOMAIN_S2);
	quirks = io_pgtable_ops_to_pgtable(s->parent->pgtbl_ops)->cfg.quirks;
	KUNIT_EXPECT_TRUE(test, quirks & IO_PGTABLE_QUIRK_ARM_S2FWB);

	/* Without FWB in the SMMU not in the tables */
	s->fake->smmu.features &= ~ARM_SMMU_FEAT_S2FWB;
	domain = make_domain(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
	quirks = io_pgtable_ops_to_pgtable(domain->pgtbl_ops)->cfg.quirks;
	KUNIT_EXPECT_FALSE(test, quirks & IO_PGTABLE_QUIRK_ARM_S2FWB);
	free_domain(domain);

	/* An ordinary one stays what it was */
	domain = make_domain(test, 0);
	KUNIT_EXPECT_NULL(test, domain->nest);
	KUNIT_EXPECT_EQ(test, (int)domain->stage, (int)ARM_SMMU_DOMAIN_S1);
	free_domain(domain);

	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			try_alloc(s, IOMMU_HWPT_ALLOC_NEST_PARENT |
				     IOMMU_HWPT_ALLOC_DIRTY_TRACKING, NULL));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			try_alloc(s, IOMMU_HWPT_ALLOC_NEST_PARENT |
				     IOMMU_HWPT_FAULT_ID_VALID, NULL));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			try_alloc(s, IOMMU_HWPT_ALLOC_NEST_PARENT,
				  &s->parent->domain));
	s->fake->smmu.features &= ~ARM_SMMU_FEAT_NESTING;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			try_alloc(s, IOMMU_HWPT_ALLOC_NEST_PARENT, NULL));
	free_all(test);
}

/* A root complex without CANWBS beside one that has it */
static void s2_test_canwbs(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake_dev *other =
		arm_smmu_fake_add_dev(test, s->fake, OTHER_SID);
	struct iommu_domain *domain = &s->parent->domain;
	struct arm_smmu_fake_dev *devs[] = { s->dev, other, s->dev };
	unsigned int i;

	s->dev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	/* In either order */
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, 0, attach_plain(test, devs[i]));
		KUNIT_ASSERT_EQ(test, 0, attach_plain(test, devs[i + 1]));
		KUNIT_EXPECT_FALSE(test,
				   domain->ops->enforce_cache_coherency(domain));
		KUNIT_EXPECT_FALSE(test, s->parent->enforce_cache_coherency);
		forget_masters(test);
	}

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	KUNIT_EXPECT_TRUE(test, domain->ops->enforce_cache_coherency(domain));
	KUNIT_EXPECT_EQ(test, -EINVAL, attach_plain(test, other));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->devices), 1);

	forget_masters(test);
	free_all(test);
}

/* The entry of the last level that maps @iova, which is below 1 GiB */
static u64 leaf_of(struct arm_smmu_domain *domain, u64 iova)
{
	struct io_pgtable_cfg *cfg =
		&io_pgtable_ops_to_pgtable(domain->pgtbl_ops)->cfg;
	__le64 *table = phys_to_virt(cfg->arm_lpae_s2_cfg.vttbr);
	u64 pte = le64_to_cpu(table[0]);
	unsigned int shift;

	/* 40 bits of IPA begin at level 1 */
	for (shift = 21; shift >= 12 && (pte & 3) == 3; shift -= 9) {
		table = phys_to_virt(pte & GENMASK_ULL(47, 12));
		pte = le64_to_cpu(table[iova >> shift & 511]);
	}
	return pte;
}

/* MemAttr of stage 2 is in bits 5 to 2, and S2FWB changes what they mean */
static void s2_test_attributes(struct kunit *test)
{
	static const struct {
		int prot;
		u64 fwb, plain;
	} cases[] = {
		/* Write-back whatever stage 1 says, or write-back if it agrees */
		{ IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, 0x6, 0xf },
		{ IOMMU_READ | IOMMU_CACHE, 0x6, 0xf },
		/* Not cacheable, and Device-nGnRE */
		{ IOMMU_READ | IOMMU_WRITE, 0x5, 0x5 },
		{ IOMMU_READ | IOMMU_WRITE | IOMMU_MMIO, 0x1, 0x1 },
		{ IOMMU_WRITE | IOMMU_CACHE | IOMMU_MMIO, 0x1, 0x1 },
	};
	struct setup *s = test->priv;
	struct arm_smmu_domain *plain;
	unsigned int i, j;

	s->fake->smmu.features &= ~ARM_SMMU_FEAT_S2FWB;
	plain = make_domain(test, IOMMU_HWPT_ALLOC_NEST_PARENT);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct arm_smmu_domain *domains[] = { s->parent, plain };
		u64 iova = SZ_2M + i * SZ_4K;
		u64 paddr = SZ_1G + i * SZ_4K;

		for (j = 0; j < 2; j++) {
			struct io_pgtable_ops *ops = domains[j]->pgtbl_ops;
			size_t mapped = 0;
			u64 pte;

			KUNIT_ASSERT_EQ(test, 0,
					ops->map_pages(ops, iova, paddr, SZ_4K,
						       1, cases[i].prot,
						       GFP_KERNEL, &mapped));
			pte = leaf_of(domains[j], iova);
			KUNIT_EXPECT_EQ(test, pte & GENMASK_ULL(47, 12), paddr);
			KUNIT_EXPECT_EQ_MSG(test, pte >> 2 & 0xf,
					    j ? cases[i].plain : cases[i].fwb,
					    "case %u", i);
		}
	}
	free_domain(plain);
	free_all(test);
}

static struct kunit_case s2_test_cases[] = {
	KUNIT_CASE(s2_test_vmids),
	KUNIT_CASE(s2_test_wide_vmids),
	KUNIT_CASE(s2_test_remove_order),
	KUNIT_CASE(s2_test_remove_timeout),
	KUNIT_CASE(s2_test_stale_many),
	KUNIT_CASE(s2_test_free_timeout),
	KUNIT_CASE(s2_test_plain_domain_timeout),
	KUNIT_CASE(s2_test_share),
	KUNIT_CASE(s2_test_own_vmid),
	KUNIT_CASE(s2_test_own_vmid_none_left),
	KUNIT_CASE(s2_test_disruptive_change),
	KUNIT_CASE_PARAM(s2_test_unmap, range_case_gen_params),
	KUNIT_CASE(s2_test_flush_all),
	KUNIT_CASE(s2_test_atc),
	KUNIT_CASE(s2_test_alloc),
	KUNIT_CASE(s2_test_canwbs),
	KUNIT_CASE(s2_test_attributes),
	{},
};

static struct kunit_suite s2_test_suite = {
	.name = "arm-smmu-v3-s2",
	.init = s2_test_init,
	.test_cases = s2_test_cases,
};

kunit_test_suite(s2_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of nest parents on arm-smmu-v3");
MODULE_LICENSE("GPL");
