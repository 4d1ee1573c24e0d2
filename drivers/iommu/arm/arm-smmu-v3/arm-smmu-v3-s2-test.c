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

	KUNIT_EXPECT_TRUE(test, list_empty(&s->parent->nest->users));
	KUNIT_EXPECT_EQ(test, s->parent->nest->num_users, 0);
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

/*
 * The devices have no group that could tell from where they are attached, so that no
 * attach takes them off. Do it here.
 */
static void detach_from(struct arm_smmu_domain *domain)
{
	struct arm_smmu_master_domain *md, *next;

	list_for_each_entry_safe(md, next, &domain->devices, devices_elm) {
		struct arm_smmu_s2_plain *plain = md->master->s2_plain;

		if (plain && plain->nest == domain->nest) {
			md->master->s2_plain = NULL;
			arm_smmu_s2_plain_put(plain);
		}
		list_del(&md->devices_elm);
		kfree(md);
	}
}

static void detach_all(struct kunit *test)
{
	struct setup *s = test->priv;

	detach_from(s->parent);
}

/* The VMID of devices behind @fake that use stage 2 alone, 0 if there is none */
static u16 plain_vmid(struct arm_smmu_domain *domain, struct arm_smmu_fake *fake)
{
	struct arm_smmu_s2_vmid *pos;

	list_for_each_entry(pos, &domain->nest->users, node)
		if (!pos->stage1 && pos->smmu == &fake->smmu)
			return pos->vmid;
	return 0;
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
	mutex_lock(&s->parent->nest->lock);
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
	mutex_unlock(&s->parent->nest->lock);
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

/* The VMID of devices that use stage 2 alone is no exception */
static void s2_test_free_timeout(struct kunit *test)
{
	struct setup *s = test->priv;
	u16 vmid;

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	vmid = plain_vmid(s->parent, s->fake);
	set_timeout(s, true);
	detach_all(test);
	set_timeout(s, false);
	free_domain(s->parent);
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
	detach_all(test);

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

/* It is there from the first attach to the nest parent to the last detach */
static void s2_test_own_vmid(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake_dev *other;
	struct arm_smmu_s2_vmid user;
	struct arm_smmu_domain *second;
	u16 vmid;

	KUNIT_EXPECT_EQ(test, plain_vmid(s->parent, s->fake), 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	vmid = plain_vmid(s->parent, s->fake);
	KUNIT_EXPECT_NE(test, vmid, 0);
	KUNIT_EXPECT_EQ(test, ste_vmid(s, SID), vmid);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_vmid_free(s->fake, vmid));

	/* All devices share it, a guest does not */
	other = arm_smmu_fake_add_dev(test, s->fake, OTHER_SID);
	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, other));
	KUNIT_EXPECT_EQ(test, ste_vmid(s, OTHER_SID), vmid);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->nest->users), 1);
	KUNIT_ASSERT_EQ(test, 0, add_user(test, &user));
	KUNIT_EXPECT_NE(test, user.vmid, vmid);
	arm_smmu_s2_vmid_remove(s->parent, &user);

	/* Nor does another nest parent, which one of them moves to and leaves */
	second = make_domain(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
	KUNIT_ASSERT_EQ(test, 0,
			second->domain.ops->attach_dev(&second->domain,
						       &other->dev));
	KUNIT_EXPECT_NE(test, ste_vmid(s, OTHER_SID), vmid);
	KUNIT_EXPECT_EQ(test, ste_vmid(s, OTHER_SID),
			plain_vmid(second, s->fake));
	KUNIT_EXPECT_EQ(test, plain_vmid(s->parent, s->fake), vmid);
	detach_from(second);
	KUNIT_EXPECT_EQ(test, plain_vmid(second, s->fake), 0);
	free_domain(second);

	/* The same domain again is no second device */
	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));

	/* The next owner of the VMID must not find anything */
	arm_smmu_fake_forget(s->fake);
	detach_all(test);
	KUNIT_EXPECT_EQ(test, s->fake->num, 1);
	KUNIT_EXPECT_EQ(test, s->fake->log[0].cmd[0],
			OP_S12_VMALL | (u64)vmid << 32);
	KUNIT_EXPECT_TRUE(test, s->fake->log[0].synced);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));
	free_all(test);
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

	detach_from(second);
	free_domain(second);
	detach_all(test);
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
	KUNIT_EXPECT_EQ(test, plain_vmid(s->parent, s->fake), 0);
	KUNIT_EXPECT_EQ(test, s->dev->master.num_vmids, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&s->parent->devices));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(s->strtab[SID].data[0]), 0);

	arm_smmu_s2_vmid_remove(s->parent, &users[7]);
	KUNIT_EXPECT_EQ(test, 0, attach_plain(test, s->dev));
	KUNIT_EXPECT_EQ(test, plain_vmid(s->parent, s->fake), users[7].vmid);

	for (i = 0; i < 255; i++)
		if (i != 7)
			arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	detach_all(test);
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

/* All of each VMID and nothing else, by one CMD_SYNC */
static void expect_whole(struct kunit *test, struct arm_smmu_s2_vmid *users,
			 unsigned int num, u16 plain)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, fake->num, num + !!plain);
	for (i = 0; i < fake->num; i++) {
		KUNIT_EXPECT_EQ(test, cmd_op(&fake->log[i]), OP_S12_VMALL);
		KUNIT_EXPECT_EQ(test, fake->log[i].synced, i == fake->num - 1);
	}
	for (i = 0; i < num; i++)
		KUNIT_EXPECT_LT(test, find(fake, 0, OP_S12_VMALL, users[i].vmid),
				fake->num);
	if (plain)
		KUNIT_EXPECT_LT(test, find(fake, 0, OP_S12_VMALL, plain),
				fake->num);
}

static void expect_reaches_all(struct kunit *test,
			       struct arm_smmu_s2_vmid *users, unsigned int num,
			       const struct change *change)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	unsigned int first_nh = find(fake, 0, OP_NH_ALL, 0);
	unsigned int first_atc = find(fake, 0, OP_ATC_INV, 0);
	u16 plain = plain_vmid(s->parent, fake);
	unsigned int i, nh, last_ipa = 0;

	/* One command for each VMID is less */
	if (!(fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV) &&
	    change->size / change->granule * (num + !!plain) > 512) {
		expect_whole(test, users, num, plain);
		return;
	}

	for (i = 0; i < fake->num; i++)
		if (cmd_op(&fake->log[i]) == OP_S2_IPA)
			last_ipa = i;
	if (num)
		KUNIT_EXPECT_LT(test, last_ipa, first_nh);
	else
		KUNIT_EXPECT_EQ(test, first_nh, fake->num);

	if (plain)
		expect_ipa(test, plain, change, first_nh);
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
	{ "more than a batch", false, 0x7f00000, 120 },
	{ "too many pages", false, 0x8000000, 300 },
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
	detach_all(test);
	free_all(test);
}

/* So many VMIDs that their commands do not fit into a batch */
#define MANY 150

struct many_case {
	const char *name;
	u32 options;
	size_t count;
	bool ril;
};

static const struct many_case many_cases[] = {
	{ "a page", 0, 1 },
	{ "a page, forced CMD_SYNCs", ARM_SMMU_OPT_CMDQ_FORCE_SYNC, 1 },
	/* 64 is no multiple of three, nor is 63 + 1 */
	{ "three pages", 0, 3 },
	{ "three pages, forced CMD_SYNCs", ARM_SMMU_OPT_CMDQ_FORCE_SYNC, 3 },
	{ "301 pages by RIL", 0, 301, true },
	{ "too many pages", 0, 4 },
};

static void many_case_desc(const struct many_case *c, char *desc)
{
	strscpy(desc, c->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(many_case, many_cases, many_case_desc);

static void s2_test_unmap_many_vmids(struct kunit *test)
{
	const struct many_case *c = test->param_value;
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	struct arm_smmu_s2_vmid *users;
	unsigned int i, synced = 0;

	users = kunit_kcalloc(test, MANY, sizeof(*users), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, users);
	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	for (i = 0; i < MANY; i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	fake->smmu.options |= c->options;
	if (c->ril)
		fake->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;

	fake->longest = 0;
	unmap_pages(test, users, MANY, 0x40003000, c->count, false);
	for (i = 0; i < fake->num; i++)
		synced += fake->log[i].synced;
	if (c->options) {
		/* Every write ends with a CMD_SYNC, which needs room too */
		KUNIT_EXPECT_EQ(test, synced, fake->calls);
		KUNIT_EXPECT_LT(test, fake->longest, CMDQ_BATCH_ENTRIES);
	} else {
		KUNIT_EXPECT_LE(test, synced, 2);
		KUNIT_EXPECT_LE(test, fake->longest, CMDQ_BATCH_ENTRIES);
	}
	fake->smmu.options &= ~c->options;

	for (i = 0; i < MANY; i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	detach_all(test);
	free_all(test);
}

static struct arm_smmu_cmdq queues[2];
static unsigned int next_queue;

/* The CPU changes before each command */
static struct arm_smmu_cmdq *get_queue(struct arm_smmu_device *smmu,
				       struct arm_smmu_cmdq_ent *ent)
{
	return &queues[next_queue++ % ARRAY_SIZE(queues)];
}

static const struct arm_smmu_impl_ops two_queues = {
	.get_secondary_cmdq = get_queue,
};

/* A CMD_SYNC waits for the commands of its own queue, so a batch stays on one */
static void s2_test_one_queue(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	struct iommu_iotlb_gather gather;
	struct arm_smmu_s2_vmid user;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, add_user(test, &user));
	map_pages(test, SZ_2M, 300);
	fake->smmu.impl_ops = &two_queues;
	iommu_iotlb_gather_init(&gather);
	KUNIT_ASSERT_EQ(test, 300 * SZ_4K,
			s->parent->domain.ops->unmap_pages(&s->parent->domain,
							   SZ_2M, SZ_4K, 300,
							   &gather));
	s->parent->domain.ops->iotlb_sync(&s->parent->domain, &gather);
	fake->smmu.impl_ops = NULL;

	KUNIT_ASSERT_EQ(test, fake->num, 301);
	for (i = 1; i < fake->num; i++)
		if (!fake->log[i - 1].synced)
			KUNIT_EXPECT_PTR_EQ(test, fake->log[i].cmdq,
					    fake->log[i - 1].cmdq);
	KUNIT_EXPECT_TRUE(test, fake->log[299].synced);

	arm_smmu_s2_vmid_remove(s->parent, &user);
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
	KUNIT_EXPECT_EQ(test, s->fake->calls, 1);
	at = find(s->fake, 0, OP_S12_VMALL, plain_vmid(s->parent, s->fake));
	KUNIT_EXPECT_TRUE(test, completed_before(s->fake, at, s->fake->num));
	for (i = 0; i < ARRAY_SIZE(users); i++) {
		at = find(s->fake, 0, OP_S12_VMALL, users[i].vmid);
		KUNIT_EXPECT_TRUE(test,
				  completed_before(s->fake, at, s->fake->num));
	}

	for (i = 0; i < ARRAY_SIZE(users); i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	detach_all(test);
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
 * Several SMMUs
 */

/* Another SMMU with a device behind it, which can be told where it got its STE */
struct more {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_dev *dev;
	struct arm_smmu_ste *strtab;
	struct arm_smmu_s2_vmid user;
};

static void add_smmu(struct kunit *test, struct more *m)
{
	struct setup *s = test->priv;

	m->fake = arm_smmu_fake_create(test, 256);
	m->fake->when = s->fake->when;
	m->dev = arm_smmu_fake_add_dev(test, m->fake, SID);
	m->strtab = kunit_kcalloc(test, SID + 1, sizeof(*m->strtab),
				  GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->strtab);
	m->fake->smmu.strtab_cfg.linear.table = m->strtab;
	m->fake->smmu.options = ARM_SMMU_OPT_SKIP_PREFETCH;
}

static struct more *add_smmus(struct kunit *test, unsigned int num)
{
	struct more *more;
	unsigned int i;

	more = kunit_kcalloc(test, num, sizeof(*more), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, more);
	for (i = 0; i < num; i++)
		add_smmu(test, &more[i]);
	return more;
}

static void unmap_page(struct kunit *test, struct more *more, unsigned int num)
{
	struct setup *s = test->priv;
	struct iommu_domain *domain = &s->parent->domain;
	struct iommu_iotlb_gather gather;
	unsigned int i;

	map_pages(test, SZ_2M, 1);
	for (i = 0; i < num; i++)
		arm_smmu_fake_forget(more[i].fake);
	iommu_iotlb_gather_init(&gather);
	KUNIT_ASSERT_EQ(test, SZ_4K,
			domain->ops->unmap_pages(domain, SZ_2M, SZ_4K, 1,
						 &gather));
	domain->ops->iotlb_sync(domain, &gather);
}

/*
 * More SMMUs than commands are in flight on at a time. Each gets the commands for its
 * own VMIDs, which have the same numbers everywhere, and completes them: what goes by
 * IPA before what goes for all of stage 1. At least 8 of them work in parallel.
 */
static void s2_test_many_smmus(struct kunit *test)
{
	unsigned int i, num = 20, waited = UINT_MAX, ahead = 0;
	struct setup *s = test->priv;
	struct more *more = add_smmus(test, num);

	/* Each of them has two queues, and only one of these has the commands */
	for (i = 0; i < num; i++)
		more[i].fake->smmu.impl_ops = &two_queues;
	/* First all of one kind, so that the VMIDs of an SMMU don't come together */
	for (i = 0; i < num; i++)
		KUNIT_ASSERT_EQ(test, 0, attach_plain(test, more[i].dev));
	for (i = 0; i < num; i++)
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_s2_vmid_add(s->parent,
						     &more[i].dev->master,
						     &more[i].user));
	unmap_page(test, more, num);

	KUNIT_EXPECT_EQ(test, s->fake->num, 0);
	for (i = 0; i < num; i++) {
		struct arm_smmu_fake *fake = more[i].fake;
		u16 plain = plain_vmid(s->parent, fake);
		unsigned int ipa = find(fake, 0, OP_S2_IPA, more[i].user.vmid);
		unsigned int own = find(fake, 0, OP_S2_IPA, plain);
		unsigned int nh = find(fake, 0, OP_NH_ALL, more[i].user.vmid);

		KUNIT_EXPECT_EQ(test, plain, 1);
		KUNIT_EXPECT_EQ(test, more[i].user.vmid, 2);
		KUNIT_ASSERT_EQ(test, fake->num, 3);
		KUNIT_EXPECT_LT(test, ipa, 2);
		KUNIT_EXPECT_LT(test, own, 2);
		KUNIT_EXPECT_EQ(test, nh, 2);
		KUNIT_EXPECT_TRUE(test, fake->log[1].synced);
		KUNIT_EXPECT_TRUE(test, fake->log[2].synced);
		KUNIT_EXPECT_LT(test, fake->log[1].waited,
				fake->log[2].issued);
		waited = min(waited, fake->log[1].waited);
	}
	/* How many had their commands when the first of them was waited for */
	for (i = 0; i < num; i++)
		ahead += more[i].fake->log[1].issued < waited;
	KUNIT_EXPECT_GE(test, ahead, 8);

	for (i = 0; i < num; i++)
		arm_smmu_s2_vmid_remove(s->parent, &more[i].user);
	detach_all(test);
	for (i = 0; i < num; i++)
		KUNIT_EXPECT_TRUE(test,
				  ida_is_empty(&more[i].fake->smmu.vmid_map));
	free_all(test);
}

/* A device behind another SMMU uses the same tables under a VMID of that SMMU */
static void s2_test_other_smmu(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_s2_vmid users[3];
	struct more more = {};
	unsigned int i;

	/* Take some VMIDs, so that the numbers differ */
	for (i = 0; i < ARRAY_SIZE(users); i++)
		KUNIT_ASSERT_EQ(test, 0, add_user(test, &users[i]));
	add_smmu(test, &more);
	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, more.dev));
	KUNIT_EXPECT_EQ(test, ste_vmid(s, SID), 4);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(more.strtab[SID].data[2]) & 0xffff, 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(more.strtab[SID].data[3]),
			le64_to_cpu(s->strtab[SID].data[3]));

	/* The last device behind an SMMU takes the VMID of that one with it */
	arm_smmu_fake_forget(s->fake);
	arm_smmu_fake_forget(more.fake);
	arm_smmu_s2_plain_put(more.dev->master.s2_plain);
	more.dev->master.s2_plain = NULL;
	KUNIT_EXPECT_EQ(test, more.fake->num, 1);
	KUNIT_EXPECT_EQ(test, s->fake->num, 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&more.fake->smmu.vmid_map));
	KUNIT_EXPECT_EQ(test, plain_vmid(s->parent, more.fake), 0);
	KUNIT_EXPECT_EQ(test, plain_vmid(s->parent, s->fake), 4);
	unmap_page(test, &more, 1);
	KUNIT_EXPECT_EQ(test, more.fake->num, 0);
	KUNIT_EXPECT_EQ(test, s->fake->num, 4 + 3);

	/* An SMMU that cannot walk the tables changes nothing */
	more.fake->smmu.ias = 39;
	KUNIT_EXPECT_EQ(test, -EINVAL, attach_plain(test, more.dev));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&more.fake->smmu.vmid_map));

	for (i = 0; i < ARRAY_SIZE(users); i++)
		arm_smmu_s2_vmid_remove(s->parent, &users[i]);
	detach_all(test);
	free_all(test);
}

/* ATCs behind many SMMUs, in an order that does not keep an SMMU's together */
static void s2_test_atc_smmus(struct kunit *test)
{
	unsigned int i, j, num = 20;
	struct setup *s = test->priv;
	struct more *more = add_smmus(test, num);

	for (j = 0; j < 2; j++) {
		for (i = 0; i < num; i++) {
			struct arm_smmu_fake_dev *dev = more[i].dev;

			if (j)
				dev = arm_smmu_fake_add_dev(test, more[i].fake,
							    SID - 1);
			KUNIT_ASSERT_EQ(test, 0, attach_plain(test, dev));
			dev->master.ats_enabled = true;
		}
	}
	atomic_set(&s->parent->nr_ats_masters, 2 * num);
	unmap_page(test, more, num);

	for (i = 0; i < num; i++) {
		struct arm_smmu_fake *fake = more[i].fake;

		/* The TLB first */
		KUNIT_ASSERT_EQ(test, fake->num, 3);
		KUNIT_EXPECT_EQ(test, cmd_op(&fake->log[0]), OP_S2_IPA);
		KUNIT_EXPECT_TRUE(test, fake->log[0].synced);
		KUNIT_EXPECT_EQ(test, cmd_op(&fake->log[1]), OP_ATC_INV);
		KUNIT_EXPECT_EQ(test, cmd_op(&fake->log[2]), OP_ATC_INV);
		KUNIT_EXPECT_EQ(test,
				(fake->log[1].cmd[0] ^ fake->log[2].cmd[0]) >> 32,
				SID ^ (SID - 1));
		KUNIT_EXPECT_FALSE(test, fake->log[1].synced);
		KUNIT_EXPECT_TRUE(test, fake->log[2].synced);
		/* No CMD_SYNC of another can come between, and learn of a timeout */
		KUNIT_EXPECT_EQ(test, fake->log[2].waited,
				fake->log[2].issued + 1);
	}
	atomic_set(&s->parent->nr_ats_masters, 0);
	detach_all(test);
	free_all(test);
}

/* What an SMMU must have to walk the tables of the fake one */
static void s2_test_fits(struct kunit *test)
{
	static const struct {
		const char *name;
		u32 without, with;
		int ias, oas;
		unsigned long more_pages, fewer_pages;
		bool fits;
	} rows[] = {
		{ "the same", .fits = true },
		{ "more input", .ias = 8, .fits = true },
		{ "more output", .oas = 8, .fits = true },
		{ "more of both", .ias = 8, .oas = 8, .fits = true },
		{ "less input", .ias = -1 },
		{ "less output", .oas = -4 },
		{ "other pages too", .more_pages = SZ_64K | SZ_512M,
		  .fits = true },
		{ "other pages instead", .more_pages = SZ_16K | SZ_32M,
		  .fewer_pages = SZ_4K | SZ_2M | SZ_1G },
		{ "no largest pages", .fewer_pages = SZ_1G },
		{ "not coherent", .without = ARM_SMMU_FEAT_COHERENCY },
		{ "no S2FWB", .without = ARM_SMMU_FEAT_S2FWB },
		{ "no stage 1", .without = ARM_SMMU_FEAT_TRANS_S1 },
		{ "no stage 2", .without = ARM_SMMU_FEAT_TRANS_S2 },
		{ "RIL, ATS, stalls",
		  .with = ARM_SMMU_FEAT_RANGE_INV | ARM_SMMU_FEAT_ATS |
			  ARM_SMMU_FEAT_STALLS, .fits = true },
	};
	struct setup *s = test->priv;
	struct arm_smmu_domain *weak;
	struct arm_smmu_device *smmu;
	unsigned int i;

	smmu = kunit_kzalloc(test, sizeof(*smmu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, smmu);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		smmu->features = s->fake->smmu.features;
		smmu->features &= ~rows[i].without;
		if (!(smmu->features & ARM_SMMU_FEAT_TRANS_S1) ||
		    !(smmu->features & ARM_SMMU_FEAT_TRANS_S2))
			smmu->features &= ~ARM_SMMU_FEAT_NESTING;
		smmu->features |= rows[i].with;
		smmu->ias = s->fake->smmu.ias + rows[i].ias;
		smmu->oas = s->fake->smmu.oas + rows[i].oas;
		smmu->pgsize_bitmap = s->fake->smmu.pgsize_bitmap;
		smmu->pgsize_bitmap |= rows[i].more_pages;
		smmu->pgsize_bitmap &= ~rows[i].fewer_pages;
		KUNIT_EXPECT_EQ_MSG(test, rows[i].fits,
				    arm_smmu_nest_parent_fits(s->parent, smmu),
				    "%s", rows[i].name);
	}

	/* Tables that need neither serve an SMMU that has both */
	smmu->features = s->fake->smmu.features;
	smmu->pgsize_bitmap = s->fake->smmu.pgsize_bitmap;
	smmu->ias = s->fake->smmu.ias;
	smmu->oas = s->fake->smmu.oas;
	s->fake->smmu.features &= ~ARM_SMMU_FEAT_S2FWB;
	weak = make_domain(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
	io_pgtable_ops_to_pgtable(weak->pgtbl_ops)->cfg.coherent_walk = false;
	KUNIT_EXPECT_TRUE(test, arm_smmu_nest_parent_fits(weak, smmu));
	io_pgtable_ops_to_pgtable(weak->pgtbl_ops)->cfg.coherent_walk = true;
	free_domain(weak);
	free_all(test);
}

struct stuck {
	struct task_struct *task;
	struct kunit *test;
	struct iommu_domain *domain;
	struct completion issued;
	struct completion go_on;
	struct completion done;
};

static int on_stuck(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct stuck *st = fake->priv;

	if (current == st->task && n) {
		complete(&st->issued);
		wait_for_completion(&st->go_on);
	}
	return 0;
}

static int stuck_thread(void *data)
{
	struct stuck *st = data;

	current->kunit_test = st->test;
	st->domain->ops->flush_iotlb_all(st->domain);
	current->kunit_test = NULL;
	complete(&st->done);
	return 0;
}

/*
 * While an SMMU does not answer one unmap, others go on, and so does whoever adds a
 * VMID. Whoever removes one waits: the unmap may be about to read the entry.
 */
static void s2_test_readers(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommu_domain *domain = &s->parent->domain;
	struct arm_smmu_s2_vmid user;
	struct task_struct *remover;
	struct removal *r;
	struct stuck *st;
	bool waits;

	st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);
	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, st);
	KUNIT_ASSERT_NOT_NULL(test, r);
	r->parent = s->parent;
	r->test = test;
	init_completion(&r->done);
	st->test = test;
	st->domain = domain;
	init_completion(&st->issued);
	init_completion(&st->go_on);
	init_completion(&st->done);
	KUNIT_ASSERT_EQ(test, 0, add_user(test, &r->user));
	s->fake->on_issue = on_stuck;
	s->fake->priv = st;
	st->task = kthread_create(stuck_thread, st, "s2_test_stuck");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, st->task);
	wake_up_process(st->task);
	wait_for_completion(&st->issued);

	KUNIT_EXPECT_EQ(test, 0, add_user(test, &user));
	arm_smmu_fake_forget(s->fake);
	domain->ops->flush_iotlb_all(domain);
	KUNIT_EXPECT_EQ(test, s->fake->num, 2);

	remover = kthread_create(remove_thread, r, "s2_test_remover");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, remover);
	wake_up_process(remover);
	waits = !wait_for_completion_timeout(&r->done, HZ / 2);
	KUNIT_EXPECT_TRUE(test, waits);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_vmid_free(s->fake,
							 r->user.vmid));
	complete(&st->go_on);
	wait_for_completion(&st->done);
	if (waits)
		wait_for_completion(&r->done);
	s->fake->on_issue = NULL;
	KUNIT_EXPECT_TRUE(test, arm_smmu_fake_vmid_free(s->fake, r->user.vmid));

	arm_smmu_s2_vmid_remove(s->parent, &user);
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
		detach_all(test);
	}

	KUNIT_ASSERT_EQ(test, 0, attach_plain(test, s->dev));
	KUNIT_EXPECT_TRUE(test, domain->ops->enforce_cache_coherency(domain));
	KUNIT_EXPECT_EQ(test, -EINVAL, attach_plain(test, other));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent->devices), 1);

	detach_all(test);
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
	} rows[] = {
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

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct arm_smmu_domain *domains[] = { s->parent, plain };
		u64 iova = SZ_2M + i * SZ_4K;
		u64 paddr = SZ_1G + i * SZ_4K;

		for (j = 0; j < 2; j++) {
			struct io_pgtable_ops *ops = domains[j]->pgtbl_ops;
			size_t mapped = 0;
			u64 pte;

			KUNIT_ASSERT_EQ(test, 0,
					ops->map_pages(ops, iova, paddr, SZ_4K,
						       1, rows[i].prot,
						       GFP_KERNEL, &mapped));
			pte = leaf_of(domains[j], iova);
			KUNIT_EXPECT_EQ(test, pte & GENMASK_ULL(47, 12), paddr);
			KUNIT_EXPECT_EQ_MSG(test, pte >> 2 & 0xf,
					    j ? rows[i].plain : rows[i].fwb,
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
	KUNIT_CASE_PARAM(s2_test_unmap_many_vmids, many_case_gen_params),
	KUNIT_CASE(s2_test_one_queue),
	KUNIT_CASE(s2_test_flush_all),
	KUNIT_CASE(s2_test_atc),
	KUNIT_CASE(s2_test_many_smmus),
	KUNIT_CASE(s2_test_other_smmu),
	KUNIT_CASE(s2_test_atc_smmus),
	KUNIT_CASE(s2_test_fits),
	KUNIT_CASE(s2_test_readers),
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
