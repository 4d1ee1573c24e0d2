// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vSMMU: its types, its VMID, its vDEVICEs, arrays of guest commands, the attach
 * of nested domains, and ATS
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/io-pgtable.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mmu_context.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "arm-smmu-v3-fake.h"
#include "arm-smmu-v3-nested.h"

/* What the driver puts into one block, see CMDQ_BATCH_ENTRIES */
#define BLOCK		64
/* The most commands in an array here, which ends in front of a hole */
#define MAX_CMDS	384
#define USER_BYTES	(8 * PAGE_SIZE)

#define VSID		0x00c0ffee
#define VSID_NO_ATS	0x00000007
#define VSID_UNKNOWN	0x00000008
#define SID		0x00000123
#define SID_NO_ATS	0x00000456

/* Addresses that tell the commands of an array apart */
#define CMD_NH_VA(i)	{ 0xbeef424200000012ULL, ((u64)(i) << 12) | 1 }

struct setup {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_dev *dev;
	struct arm_smmu_fake_dev *no_ats;
	struct arm_smmu_domain parent;
	struct io_pgtable pgtable;
	struct arm_smmu_nest_parent nest;
	const struct iommufd_viommu_ops *ops;
	struct iommufd_viommu *viommu;
	struct iommufd_vdevice vdev;
	struct iommufd_vdevice vdev_no_ats;
	/* Two pages of user memory, with nothing behind them */
	u8 __user *user;
	/* Of on_issue() */
	unsigned int fail_call;
	int signal;
	bool vdevs_locked;
};

static struct iommufd_viommu *make_viommu(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_viommu *viommu =
		kunit_kzalloc(test, s->ops->viommu_size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, viommu);
	xa_init(&viommu->vdevs);
	viommu->ops = s->ops;
	return viommu;
}

static struct arm_vsmmu *to_vsmmu(struct iommufd_viommu *viommu)
{
	return container_of(viommu, struct arm_vsmmu, core);
}

static u16 viommu_vmid(struct iommufd_viommu *viommu)
{
	return to_vsmmu(viommu)->s2.vmid;
}

/* Called with the commands of one block */
static int on_issue(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct setup *s = fake->priv;

	/* A device that does not answer can take a second */
	if (spin_trylock(&s->viommu->vdevs.xa_lock))
		spin_unlock(&s->viommu->vdevs.xa_lock);
	else
		s->vdevs_locked = true;

	if (s->signal && fake->calls == 1)
		sigaddset(&current->pending.signal, s->signal);
	if (s->fail_call && fake->calls + 1 == s->fail_call)
		return -ETIMEDOUT;
	return 0;
}

static int iommufd_test_init(struct kunit *test)
{
	struct setup *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	if (!s)
		return -ENOMEM;
	test->priv = s;
	s->fake = arm_smmu_fake_create(test, 1024);
	s->fake->smmu.features |= ARM_SMMU_FEAT_ATS | ARM_SMMU_FEAT_RANGE_INV;
	s->fake->smmu.ssid_bits = 8;
	s->dev = arm_smmu_fake_add_dev(test, s->fake, SID);
	s->dev->master.ats_enabled = true;
	s->no_ats = arm_smmu_fake_add_dev(test, s->fake, SID_NO_ATS);

	mutex_init(&s->nest.lock);
	INIT_LIST_HEAD(&s->nest.users);
	s->parent.smmu = &s->fake->smmu;
	s->parent.nest = &s->nest;
	s->parent.pgtbl_ops = &s->pgtable.ops;
	s->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;

	s->ops = arm_smmu_viommu_ops(&s->dev->dev,
				     IOMMU_VIOMMU_TYPE_ARM_SMMUV3);
	if (!s->ops)
		return -ENODEV;
	s->viommu = make_viommu(test);
	s->fake->priv = s;
	s->dev->master.ats_vsmmu = to_vsmmu(s->viommu);
	return s->ops->init(s->viommu, &s->dev->dev, &s->parent.domain, NULL);
}

static void iommufd_test_exit(struct kunit *test)
{
	struct setup *s = test->priv;

	if (!s || !s->viommu)
		return;
	s->fake->on_issue = NULL;
	arm_smmu_fake_forget(s->fake);
	s->ops->destroy(s->viommu);
	xa_destroy(&s->viommu->vdevs);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&s->fake->smmu.vmid_map));
	KUNIT_EXPECT_TRUE(test, list_empty(&s->nest.users));
}

/* Two vDEVICEs, and memory for commands */
static void make_guest(struct kunit *test)
{
	struct setup *s = test->priv;
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, USER_BYTES, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_LT(test, addr, (unsigned long)TASK_SIZE);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr + USER_BYTES - PAGE_SIZE,
					   PAGE_SIZE));
	s->user = (u8 __user *)addr;

	s->vdev.dev = &s->dev->dev;
	s->vdev.member = true;
	s->vdev_no_ats.dev = &s->no_ats->dev;
	s->vdev_no_ats.member = true;
	KUNIT_ASSERT_NULL(test, xa_store(&s->viommu->vdevs, VSID, &s->vdev,
					 GFP_KERNEL));
	KUNIT_ASSERT_NULL(test, xa_store(&s->viommu->vdevs, VSID_NO_ATS,
					 &s->vdev_no_ats, GFP_KERNEL));
	s->fake->on_issue = on_issue;
}

/*
 * Hand @cmds to the driver, as entries of @len bytes, of which all but the first
 * @readable are in front of a hole. Returns what it does; *done is its count.
 */
static int invalidate(struct kunit *test, u64 (*cmds)[2], unsigned int num,
		      size_t len, unsigned int readable, u32 *done)
{
	struct setup *s = test->priv;
	u8 __user *start = s->user + USER_BYTES - PAGE_SIZE - readable * len;
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = start,
		.entry_len = len,
		.entry_num = num,
	};
	unsigned int i;
	int ret;

	KUNIT_ASSERT_GE(test, (unsigned long)start, (unsigned long)s->user);
	for (i = 0; i < readable; i++) {
		struct iommu_viommu_arm_smmuv3_invalidate inv = {
			.cmd = { cpu_to_le64(cmds[i][0]),
				 cpu_to_le64(cmds[i][1]) },
		};

		KUNIT_ASSERT_EQ(test, 0, copy_to_user(start + i * len, &inv,
						      sizeof(inv)));
		if (len > sizeof(inv))
			KUNIT_ASSERT_EQ(test, 0,
					clear_user(start + i * len + sizeof(inv),
						   len - sizeof(inv)));
	}
	arm_smmu_fake_forget(s->fake);
	ret = s->ops->cache_invalidate(s->viommu, &array);
	*done = array.entry_num;
	return ret;
}

static u64 (*make_cmds(struct kunit *test))[2]
{
	u64 (*cmds)[2] = kunit_kcalloc(test, MAX_CMDS, sizeof(*cmds),
				       GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, cmds);
	for (i = 0; i < MAX_CMDS; i++) {
		u64 cmd[2] = CMD_NH_VA(i);

		memcpy(cmds[i], cmd, sizeof(cmd));
	}
	return cmds;
}

/* The first @num of make_cmds() were issued in order, in blocks, and completed */
static void expect_issued(struct kunit *test, unsigned int num,
			  unsigned int block)
{
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	u64 vmid = viommu_vmid(s->viommu);
	unsigned int i, syncs = 0;

	KUNIT_ASSERT_EQ(test, fake->num, num);
	KUNIT_EXPECT_LE(test, fake->longest, block);
	for (i = 0; i < num; i++) {
		KUNIT_EXPECT_EQ(test, fake->log[i].cmd[0],
				0xbeef000000000012ULL | vmid << 32);
		KUNIT_EXPECT_EQ(test, fake->log[i].cmd[1], ((u64)i << 12) | 1);
		syncs += fake->log[i].synced;
	}
	if (num)
		KUNIT_EXPECT_TRUE(test, fake->log[num - 1].synced);
	KUNIT_EXPECT_EQ(test, syncs, fake->calls);
	KUNIT_EXPECT_EQ(test, fake->calls, DIV_ROUND_UP(num, block));
}

static const unsigned int sizes[] = { 1, 2, 62, 63, 64, 65, 126, 127, 128, 129,
				      200, MAX_CMDS };

static void iommufd_test_blocks(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	unsigned int i;
	u32 done;

	make_guest(test);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		s->fake->smmu.options = 0;
		KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, sizes[i], 16,
						    sizes[i], &done));
		KUNIT_EXPECT_EQ(test, done, sizes[i]);
		expect_issued(test, sizes[i], BLOCK);

		/* An erratum: a CMD_SYNC within 64 commands */
		s->fake->smmu.options = ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
		KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, sizes[i], 16,
						    sizes[i], &done));
		KUNIT_EXPECT_EQ(test, done, sizes[i]);
		expect_issued(test, sizes[i], BLOCK - 1);
	}
}

/* One bad command anywhere: all in front of it count, nothing behind it */
static void iommufd_test_bad_command(struct kunit *test)
{
	/* CMD_SYNC, a bit that no command has, an ASID where there is none */
	static const u64 bad[][2] = {
		{ 0x46, 0 }, { 0x412, 0 }, { 0x0001000000000010ULL, 0 },
		{ 0x40 | (u64)VSID << 32, 53 },
		/* Nobody's vSID */
		{ 0x40 | (u64)VSID_UNKNOWN << 32, 52 },
		{ 0x05 | (u64)VSID_UNKNOWN << 32, 1 },
	};
	u64 (*cmds)[2] = make_cmds(test);
	unsigned int i, at;
	u32 done;

	make_guest(test);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		for (at = 0; at < 2 * BLOCK + 2; at++) {
			u64 good[2] = CMD_NH_VA(at);

			memcpy(cmds[at], bad[i], sizeof(good));
			KUNIT_EXPECT_EQ(test, -EIO,
					invalidate(test, cmds, 2 * BLOCK + 2,
						   16, 2 * BLOCK + 2, &done));
			KUNIT_EXPECT_EQ(test, done, at);
			expect_issued(test, at, BLOCK);
			memcpy(cmds[at], good, sizeof(good));
		}
}

/* Memory that can't be read, anywhere */
static void iommufd_test_bad_memory(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	unsigned int at;
	u64 good[2];
	u32 done;

	make_guest(test);
	for (at = 0; at < 2 * BLOCK + 2; at++) {
		KUNIT_EXPECT_EQ(test, -EFAULT,
				invalidate(test, cmds, 2 * BLOCK + 2, 16, at,
					   &done));
		KUNIT_EXPECT_EQ(test, done, at);
		expect_issued(test, at, BLOCK);

		KUNIT_EXPECT_EQ(test, -EFAULT,
				invalidate(test, cmds, 2 * BLOCK + 2, 40, at,
					   &done));
		KUNIT_EXPECT_EQ(test, done, at);
		expect_issued(test, at, BLOCK);
	}

	/* Of two errors the first counts */
	memcpy(good, cmds[70], sizeof(good));
	cmds[70][0] = 0x46;
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(test, cmds, 128, 16, 72, &done));
	KUNIT_EXPECT_EQ(test, done, 70);
	memcpy(cmds[70], good, sizeof(good));
	s->fail_call = 2;
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
			invalidate(test, cmds, 128, 16, 72, &done));
	KUNIT_EXPECT_EQ(test, done, 64);
}

/* Longer entries: what the driver doesn't know must be 0 */
static void iommufd_test_entry_len(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.entry_len = 24,
		.entry_num = 70,
	};
	unsigned int at;
	u32 done;

	make_guest(test);
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 70, 24, 70, &done));
	KUNIT_EXPECT_EQ(test, done, 70);
	expect_issued(test, 70, BLOCK);

	array.uptr = s->user + USER_BYTES - PAGE_SIZE - 70 * 24;
	for (at = 0; at < 70; at++) {
		u8 __user *last = array.uptr + at * 24 + 23;

		KUNIT_ASSERT_EQ(test, 0, put_user(1, last));
		arm_smmu_fake_forget(s->fake);
		array.entry_num = 70;
		KUNIT_EXPECT_EQ(test, -E2BIG,
				s->ops->cache_invalidate(s->viommu, &array));
		KUNIT_EXPECT_EQ(test, array.entry_num, at);
		expect_issued(test, at, BLOCK);
		KUNIT_ASSERT_EQ(test, 0, put_user(0, last));
	}

	array.entry_num = 1;
	array.entry_len = 15;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			s->ops->cache_invalidate(s->viommu, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);
	array.entry_num = 1;
	array.entry_len = 16;
	array.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 + 1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			s->ops->cache_invalidate(s->viommu, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);

	/* Questions whether the type is known */
	arm_smmu_fake_forget(s->fake);
	array.uptr = NULL;
	array.entry_len = 0;
	array.entry_num = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			s->ops->cache_invalidate(s->viommu, &array));
	array.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
	KUNIT_EXPECT_EQ(test, 0, s->ops->cache_invalidate(s->viommu, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);
	KUNIT_EXPECT_EQ(test, s->fake->calls, 0);
}

/* What the hardware didn't complete doesn't count */
static void iommufd_test_queue_error(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	unsigned int i;
	u32 done;

	make_guest(test);
	for (i = 1; i <= 4; i++) {
		s->fail_call = i;
		KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
				invalidate(test, cmds, 200, 16, 200, &done));
		KUNIT_EXPECT_EQ(test, done, (i - 1) * BLOCK);
		KUNIT_EXPECT_EQ(test, s->fake->num, (i - 1) * BLOCK);

		/* The same where vSIDs are looked up */
		cmds[199][0] = 0x05 | (u64)VSID << 32;
		cmds[199][1] = 1;
		KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
				invalidate(test, cmds, 200, 16, 200, &done));
		KUNIT_EXPECT_EQ(test, done, (i - 1) * BLOCK);
		cmds[199][0] = 0x12;
		cmds[199][1] = 0;
	}
}

static void iommufd_test_signals(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	u32 done;

	make_guest(test);
	/* The VMM would have to tell its guest about a failure */
	set_thread_flag(TIF_SIGPENDING);
	s->signal = SIGUSR1;
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 300, 16, 300, &done));
	KUNIT_EXPECT_EQ(test, done, 300);

	/* It is over for the VMM: the block that has begun is the last */
	s->signal = SIGKILL;
	KUNIT_EXPECT_EQ(test, -EINTR,
			invalidate(test, cmds, 300, 16, 300, &done));
	KUNIT_EXPECT_EQ(test, done, 2 * BLOCK);
	expect_issued(test, 2 * BLOCK, BLOCK);

	/* Not an error if nothing is left to do */
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 10, 16, 10, &done));
	KUNIT_EXPECT_EQ(test, done, 10);

	sigdelset(&current->pending.signal, SIGKILL);
	sigdelset(&current->pending.signal, SIGUSR1);
	clear_thread_flag(TIF_SIGPENDING);
}

static void iommufd_test_sids(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	u64 vmid = viommu_vmid(s->viommu);
	unsigned int i;
	u32 done;

	make_guest(test);
	memcpy(cmds[0], ((u64[]){ 0x05 | 3 << 12 | (u64)VSID << 32, 1 }), 16);
	memcpy(cmds[1], ((u64[]){ 0x06 | (u64)VSID_NO_ATS << 32, 0 }), 16);
	memcpy(cmds[2], ((u64[]){ 0x30, 0 }), 16);
	memcpy(cmds[3], ((u64[]){ 0x40 | (u64)VSID_NO_ATS << 32, 52 }), 16);
	memcpy(cmds[4], ((u64[]){ 0x40 | (u64)VSID << 32, 0x123003 }), 16);
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 5, 16, 5, &done));
	KUNIT_EXPECT_EQ(test, done, 5);
	KUNIT_ASSERT_EQ(test, fake->num, 4);
	KUNIT_EXPECT_EQ(test, fake->calls, 3);
	KUNIT_EXPECT_TRUE(test, fake->log[1].synced);
	KUNIT_EXPECT_TRUE(test, fake->log[2].synced);
	KUNIT_EXPECT_TRUE(test, fake->log[3].synced);
	KUNIT_EXPECT_EQ(test, fake->log[0].cmd[0],
			0x05 | 3 << 12 | (u64)SID << 32);
	KUNIT_EXPECT_EQ(test, fake->log[0].cmd[1], 1);
	KUNIT_EXPECT_EQ(test, fake->log[1].cmd[0], 0x06 | (u64)SID_NO_ATS << 32);
	KUNIT_EXPECT_EQ(test, fake->log[2].cmd[0], 0x10 | vmid << 32);
	KUNIT_EXPECT_EQ(test, fake->log[3].cmd[0], 0x40 | (u64)SID << 32);
	KUNIT_EXPECT_EQ(test, fake->log[3].cmd[1], 0x123003);
	KUNIT_EXPECT_FALSE(test, s->vdevs_locked);

	/* Nothing but what need not be done: the queue is left alone */
	for (i = 0; i < 130; i++)
		memcpy(cmds[i],
		       ((u64[]){ 0x40 | (u64)VSID_NO_ATS << 32, 52 }), 16);
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 130, 16, 130, &done));
	KUNIT_EXPECT_EQ(test, done, 130);
	KUNIT_EXPECT_EQ(test, fake->calls, 0);

	/* An unknown vSID behind some of them */
	cmds[100][0] = 0x06 | (u64)VSID_UNKNOWN << 32;
	cmds[100][1] = 0;
	KUNIT_EXPECT_EQ(test, -EIO,
			invalidate(test, cmds, 130, 16, 130, &done));
	KUNIT_EXPECT_EQ(test, done, 100);
	KUNIT_EXPECT_EQ(test, fake->calls, 0);

	/* The device leaves the guest */
	xa_erase(&s->viommu->vdevs, VSID_NO_ATS);
	KUNIT_EXPECT_EQ(test, -EIO,
			invalidate(test, cmds, 130, 16, 130, &done));
	KUNIT_EXPECT_EQ(test, done, 0);
}

/*
 * A CMD_SYNC stands between a command and one that must not begin before it is
 * complete: first the CDs, then the TLB, then the ATCs. Try every short array.
 */
static void iommufd_test_order(struct kunit *test)
{
	static const u64 one_of[][2] = {
		{ 0x06 | (u64)VSID << 32, 0 },
		{ 0x12, 0 },
		{ 0x40 | (u64)VSID << 32, 0 },
	};
	static const u8 opcode[] = { 0x06, 0x12, 0x40 };
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	unsigned int array, rest, i, j, calls;
	u8 rank[5];
	u32 done;

	make_guest(test);
	for (array = 0; array < 3 * 3 * 3 * 3 * 3; array++) {
		calls = 1;
		for (i = 0, rest = array; i < 5; i++, rest /= 3) {
			rank[i] = rest % 3;
			memcpy(cmds[i], one_of[rank[i]], sizeof(cmds[i]));
			if (i && rank[i] > rank[i - 1])
				calls++;
		}

		KUNIT_ASSERT_EQ(test, 0, invalidate(test, cmds, 5, 16, 5,
						    &done));
		KUNIT_ASSERT_EQ(test, done, 5);
		KUNIT_ASSERT_EQ(test, fake->num, 5);
		for (i = 0; i < 5; i++) {
			KUNIT_ASSERT_EQ_MSG(test, opcode[rank[i]],
					    fake->log[i].cmd[0] & 0xff,
					    "array %u, %u", array, i);
			for (j = i; j < 5 && !fake->log[j].synced; j++)
				;
			KUNIT_ASSERT_LT(test, j, 5);
			for (; j > i; j--)
				KUNIT_ASSERT_LE_MSG(test, rank[j], rank[i],
						    "array %u: %u, %u", array,
						    i, j);
		}
		/* No CMD_SYNC is spent in vain */
		KUNIT_EXPECT_EQ_MSG(test, fake->calls, calls, "array %u",
				    array);
	}
}

/* Substreams that the device does not have, on an SMMU that has them */
static void iommufd_test_pasids(struct kunit *test)
{
	u64 atc = 0x40 | (u64)VSID << 32;
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	struct arm_smmu_master *master = &s->dev->master;
	struct arm_smmu_fake *fake = s->fake;
	const struct {
		unsigned int ssid_bits;
		u64 cmd;
		/* 0: refused */
		u64 issued;
	} cases[] = {
		{ 0, 0x40, 0x40 },
		{ 0, 0x840, 0 },
		{ 0, 0xa40, 0 },
		{ 0, 0x1840, 0 },
		{ 0, 0xfffff240, 0x40 },
		{ 5, 0x840, 0x840 },
		{ 5, 0x1f840, 0x1f840 },
		{ 5, 0x1fa40, 0x1fa40 },
		{ 5, 0x20840, 0 },
		{ 5, 0x20a40, 0 },
		{ 5, 0x20040, 0x40 },
		/* The SMMU has 8 bits */
		{ 8, 0xff840, 0xff840 },
		{ 8, 0x100840, 0 },
		{ 20, 0x100840, 0 },
	};
	unsigned int i, ats;
	u32 done;

	make_guest(test);
	for (i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const typeof(*cases) *c = &cases[i / 2];

		/* Whether a command is bad does not depend on ATS */
		ats = i % 2;
		master->ats_vsmmu = ats ? to_vsmmu(s->viommu) : NULL;
		master->ssid_bits = c->ssid_bits;
		cmds[1][0] = c->cmd | (u64)VSID << 32;
		cmds[1][1] = 52;
		KUNIT_EXPECT_EQ_MSG(test, c->issued ? 0 : -EIO,
				    invalidate(test, cmds, 3, 16, 3, &done),
				    "%u bits, %llx, ATS %u", c->ssid_bits,
				    c->cmd, ats);
		KUNIT_EXPECT_EQ(test, done, c->issued ? 3 : 1);
		KUNIT_ASSERT_EQ(test, fake->num,
				!c->issued ? 1 : ats ? 3 : 2);
		if (c->issued && ats)
			KUNIT_EXPECT_EQ(test, fake->log[1].cmd[0],
					c->issued | (u64)SID << 32);
	}

	/* One bad command behind good ones of the same block */
	master->ats_vsmmu = to_vsmmu(s->viommu);
	master->ssid_bits = 5;
	for (i = 0; i < 3; i++) {
		cmds[i][0] = atc | 0x800 | (u64)(30 + i) << 12;
		cmds[i][1] = 0;
	}
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(test, cmds, 3, 16, 3, &done));
	KUNIT_EXPECT_EQ(test, done, 2);
	KUNIT_EXPECT_EQ(test, fake->num, 2);
}

/* Called when a StreamID is looked up and the SMMU has not read it yet */
static int device_goes(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct setup *s = fake->priv;

	if (!spin_trylock(&s->viommu->vdevs.xa_lock)) {
		s->vdevs_locked = true;
		return 0;
	}
	__xa_erase(&s->viommu->vdevs, VSID);
	spin_unlock(&s->viommu->vdevs.xa_lock);

	arm_smmu_master_forget_vmids(&s->dev->master);
	memset(&s->dev->master, 0x6b, sizeof(s->dev->master));
	memset(s->dev->streams, 0x6b, sizeof(s->dev->streams));
	s->dev->iommu.priv = NULL;
	return 0;
}

/* What is under way needs neither the vDEVICE nor its device any more */
static void iommufd_test_device_goes(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	struct arm_smmu_fake *fake = s->fake;
	u32 done;

	make_guest(test);
	fake->on_issue = device_goes;
	cmds[0][0] = 0x40 | (u64)VSID << 32;
	cmds[1][0] = 0x06 | (u64)VSID << 32;
	cmds[1][1] = 0;
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 2, 16, 2, &done));
	KUNIT_EXPECT_EQ(test, done, 2);
	KUNIT_ASSERT_FALSE(test, s->vdevs_locked);
	KUNIT_ASSERT_EQ(test, fake->num, 2);
	KUNIT_EXPECT_EQ(test, fake->log[0].cmd[0], 0x40 | (u64)SID << 32);
	KUNIT_EXPECT_EQ(test, fake->log[1].cmd[0], 0x06 | (u64)SID << 32);

	fake->on_issue = NULL;
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(test, cmds, 2, 16, 2, &done));
	KUNIT_EXPECT_EQ(test, done, 0);
}

/* Without ATS in the SMMU the command would be an error of the hardware */
static void iommufd_test_no_ats(struct kunit *test)
{
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	u32 done;

	s->ops->destroy(s->viommu);
	s->fake->smmu.features &= ~ARM_SMMU_FEAT_ATS;
	KUNIT_ASSERT_EQ(test, 0, s->ops->init(s->viommu, &s->dev->dev,
					      &s->parent.domain, NULL));
	make_guest(test);
	cmds[1][0] = 0x40 | (u64)VSID << 32;
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(test, cmds, 2, 16, 2, &done));
	KUNIT_EXPECT_EQ(test, done, 1);
}

/* The vSMMU's commands are those of its SMMU */
static void iommufd_test_caps(struct kunit *test)
{
	static const struct {
		u64 cmd[2];
		u32 features;
		u8 asid_bits;
		u8 ssid_bits;
		unsigned long pgsize;
		u32 idr5;
	} need[] = {
		{ { 0x0100000000000011ULL, 0 }, 0, 16, 0, 0, 0 },
		{ { 0x05 | 1 << 16 | (u64)VSID << 32, 0 }, 0, 8, 5, 0, 0 },
		{ { 0x12, 1 << 10 | 1 << 8 }, ARM_SMMU_FEAT_RANGE_INV, 8, 0,
		  SZ_4K, 0 },
		{ { 0x12, 2 << 10 | 2 << 8 }, ARM_SMMU_FEAT_RANGE_INV, 8, 0,
		  SZ_16K, 0 },
		{ { 0x12, 3 << 10 | 2 << 8 }, ARM_SMMU_FEAT_RANGE_INV, 8, 0,
		  SZ_64K, 0 },
		/* SMMU_IDR5.DS is bit 7 (IHI0070 6.3.6) */
		{ { 0x12, 2 << 10 | 1 << 8 }, ARM_SMMU_FEAT_RANGE_INV, 8, 0,
		  SZ_16K, 1 << 7 },
		{ { 0x40 | (u64)VSID << 32, 0 }, ARM_SMMU_FEAT_ATS, 8, 0, 0,
		  0 },
	};
	u64 (*cmds)[2] = make_cmds(test);
	struct setup *s = test->priv;
	unsigned int i, j;
	u32 done;

	make_guest(test);
	/* Just what the command needs, then all but one of it */
	for (i = 0; i < ARRAY_SIZE(need); i++)
		for (j = 0; j < 6; j++) {
			struct arm_smmu_device *smmu = &s->fake->smmu;
			bool less = false;

			smmu->features = (ARM_SMMU_FEAT_NESTING |
					  ARM_SMMU_FEAT_S2FWB) |
					 need[i].features;
			smmu->asid_bits = need[i].asid_bits;
			smmu->ssid_bits = need[i].ssid_bits;
			smmu->pgsize_bitmap = need[i].pgsize | SZ_1G;
			s->fake->regs[0x14 / 4] = need[i].idr5;
			if (j == 1 && need[i].features) {
				smmu->features &= ~need[i].features;
				less = true;
			} else if (j == 2 && need[i].asid_bits > 8) {
				smmu->asid_bits = 8;
				less = true;
			} else if (j == 3 && need[i].ssid_bits) {
				smmu->ssid_bits--;
				less = true;
			} else if (j == 4 && need[i].pgsize) {
				smmu->pgsize_bitmap =
					(SZ_4K | SZ_16K | SZ_64K) &
					~need[i].pgsize;
				less = true;
			} else if (j == 5 && need[i].idr5) {
				s->fake->regs[0x14 / 4] = ~need[i].idr5;
				less = true;
			}

			s->ops->destroy(s->viommu);
			KUNIT_ASSERT_EQ(test, 0,
					s->ops->init(s->viommu, &s->dev->dev,
						     &s->parent.domain, NULL));
			memcpy(cmds[0], need[i].cmd, sizeof(cmds[0]));
			KUNIT_EXPECT_EQ_MSG(test, less ? -EIO : 0,
					    invalidate(test, cmds, 1, 16, 1,
						       &done),
					    "%u without %u", i, j);
			KUNIT_EXPECT_EQ(test, done, less ? 0 : 1);
		}
}

/*
 * The object
 */

static void iommufd_test_vmids(struct kunit *test)
{
	struct iommufd_viommu *second = make_viommu(test);
	struct iommufd_viommu *none = make_viommu(test);
	struct setup *s = test->priv;
	u16 vmid;
	int i;

	KUNIT_ASSERT_EQ(test, 0, s->ops->init(second, &s->dev->dev,
					      &s->parent.domain, NULL));
	KUNIT_EXPECT_NE(test, viommu_vmid(second), viommu_vmid(s->viommu));
	KUNIT_EXPECT_NE(test, viommu_vmid(second), 0);
	KUNIT_EXPECT_NE(test, viommu_vmid(s->viommu), 0);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->nest.users), 2);

	vmid = viommu_vmid(second);
	arm_smmu_fake_forget(s->fake);
	s->ops->destroy(second);
	KUNIT_ASSERT_EQ(test, s->fake->num, 1);
	KUNIT_EXPECT_EQ(test, s->fake->log[0].cmd[0], 0x28 | (u64)vmid << 32);
	KUNIT_EXPECT_TRUE(test, s->fake->log[0].synced);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->nest.users), 1);

	/* All are taken */
	for (i = 0; i < 254; i++)
		ida_alloc_range(&s->fake->smmu.vmid_map, 1, 255, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, -ENOSPC, s->ops->init(none, &s->dev->dev,
						    &s->parent.domain, NULL));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->nest.users), 1);
	for (i = 1; i < 256; i++)
		if (i != viommu_vmid(s->viommu))
			ida_free(&s->fake->smmu.vmid_map, i);
}

/* A nest parent of another SMMU will do, if this one can walk its tables */
static void iommufd_test_other_smmu(struct kunit *test)
{
	struct iommufd_viommu *viommu = make_viommu(test);
	struct setup *s = test->priv;
	struct arm_smmu_device *other;

	other = kunit_kzalloc(test, sizeof(*other), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, other);
	s->parent.smmu = other;
	s->pgtable.cfg.oas = s->fake->smmu.oas + 1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			s->ops->init(viommu, &s->dev->dev, &s->parent.domain,
				     NULL));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->nest.users), 1);

	s->pgtable.cfg.oas = s->fake->smmu.oas;
	KUNIT_ASSERT_EQ(test, 0,
			s->ops->init(viommu, &s->dev->dev, &s->parent.domain,
				     NULL));
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->nest.users), 2);
	s->ops->destroy(viommu);
	s->parent.smmu = &s->fake->smmu;
}

/* Both stages, and something that keeps a guest's DMA coherent */
static void iommufd_test_type(struct kunit *test)
{
	struct setup *s = test->priv;
	u32 *features = &s->fake->smmu.features;
	struct device *dev = &s->dev->dev;
	unsigned int i;

	for (i = 0; i < 8; i++) {
		*features = (i & 1 ? ARM_SMMU_FEAT_NESTING : 0) |
			    (i & 2 ? ARM_SMMU_FEAT_S2FWB : 0);
		s->dev->fwspec.flags = i & 4 ? IOMMU_FWSPEC_PCI_RC_CANWBS : 0;
		KUNIT_EXPECT_EQ_MSG(test, i == 3 || i == 5 || i == 7,
				    !!arm_smmu_viommu_ops(dev, 1), "%u", i);
	}
	KUNIT_EXPECT_NULL(test, arm_smmu_viommu_ops(dev, 0));
	KUNIT_EXPECT_NULL(test, arm_smmu_viommu_ops(dev, 2));
	KUNIT_EXPECT_NULL(test, arm_smmu_viommu_ops(dev, ~0U));
}

static void iommufd_test_vdevice(struct kunit *test)
{
	struct setup *s = test->priv;
	struct iommufd_vdevice *vdev = &s->vdev;

	vdev->dev = &s->dev->dev;
	vdev->virt_id = 0;
	KUNIT_EXPECT_EQ(test, 0, s->ops->vdevice_init(vdev));
	vdev->virt_id = U32_MAX;
	KUNIT_EXPECT_EQ(test, 0, s->ops->vdevice_init(vdev));
	vdev->virt_id = (u64)U32_MAX + 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, s->ops->vdevice_init(vdev));
	vdev->virt_id = U64_MAX;
	KUNIT_EXPECT_EQ(test, -EINVAL, s->ops->vdevice_init(vdev));

	vdev->virt_id = 1;
	s->dev->master.num_streams = 2;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, s->ops->vdevice_init(vdev));
	s->dev->master.num_streams = 0;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, s->ops->vdevice_init(vdev));
}

static struct iommu_domain *
alloc_nested(struct kunit *test, u64 word0, u64 word1, u32 flags, u32 type,
	     size_t len)
{
	struct setup *s = test->priv;
	struct iommu_hwpt_arm_smmuv3 vste = {
		.ste = { cpu_to_le64(word0), cpu_to_le64(word1) },
	};
	struct iommu_user_data data = {
		.type = type,
		.data = &vste,
		.len = len,
	};

	return s->ops->alloc_domain_nested(s->viommu, flags, &data);
}

static void iommufd_test_nested_alloc(struct kunit *test)
{
	struct setup *s = test->priv;
	static const struct {
		u64 word0, word1;
		bool translates;
	} good[] = {
		{ 0x0, ~0ULL, false },
		{ 0x1, 0, false },
		{ 0x9, 0, false },
		{ 0xb, 0, true },
	};
	struct iommu_domain *domain;
	unsigned int i;

	make_guest(test);
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		domain = alloc_nested(test, good[i].word0, good[i].word1, 0, 2,
				      16);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
		KUNIT_EXPECT_EQ(test, domain->type, IOMMU_DOMAIN_NESTED);
		KUNIT_EXPECT_EQ(test, s->ops->domain_translates(domain),
				good[i].translates);
		domain->ops->free(domain);
	}

	/* Config 6 and 7 are the host's; EATS 2; a bit of the host */
	KUNIT_EXPECT_EQ(test, -EIO,
			PTR_ERR(alloc_nested(test, 0xd, 0, 0, 2, 16)));
	KUNIT_EXPECT_EQ(test, -EIO,
			PTR_ERR(alloc_nested(test, 0xf, 0, 0, 2, 16)));
	KUNIT_EXPECT_EQ(test, -EIO,
			PTR_ERR(alloc_nested(test, 0xb, 2 << 28, 0, 2, 16)));
	KUNIT_EXPECT_EQ(test, -EIO,
			PTR_ERR(alloc_nested(test, 0xb, 1 << 19, 0, 2, 16)));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			PTR_ERR(alloc_nested(test, 0xb, 0, 0, 1, 16)));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			PTR_ERR(alloc_nested(test, 0xb, 0, 0, 2, 15)));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			PTR_ERR(alloc_nested(test, 0xb, 0, 1, 2, 16)));
}

/* What an attach needs besides: returns the stream table */
static struct arm_smmu_ste *make_stream_table(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_ste *ste;

	ste = kunit_kcalloc(test, SID + 1, sizeof(*ste), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ste);
	s->fake->smmu.strtab_cfg.linear.table = ste;
	s->fake->smmu.options = ARM_SMMU_OPT_SKIP_PREFETCH;
	INIT_LIST_HEAD(&s->parent.devices);
	spin_lock_init(&s->parent.devices_lock);
	s->dev->master.ats_enabled = false;
	s->dev->master.ats_vsmmu = NULL;
	return ste;
}

static void forget_attachments(struct kunit *test)
{
	struct setup *s = test->priv;

	while (!list_empty(&s->parent.devices)) {
		struct arm_smmu_master_domain *md =
			list_first_entry(&s->parent.devices,
					 struct arm_smmu_master_domain,
					 devices_elm);

		KUNIT_EXPECT_TRUE(test, md->nested);
		list_del(&md->devices_elm);
		kfree(md);
	}
}

/* The STE that attach leaves in the stream table */
static void iommufd_test_attach(struct kunit *test)
{
	struct iommu_domain *s1, *bypass, *abort;
	struct setup *s = test->priv;
	struct arm_smmu_ste *ste = make_stream_table(test) + SID;
	u64 vmid = viommu_vmid(s->viommu);

	make_guest(test);

	s1 = alloc_nested(test, 0x123456b, 0, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, s1);
	bypass = alloc_nested(test, 0x9, 0, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, bypass);
	abort = alloc_nested(test, 0x0, 0, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, abort);

	KUNIT_EXPECT_EQ(test, 0, s1->ops->attach_dev(s1, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0x123456f);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[2]) & 0xffff, vmid);

	/* It stays as it is if another attach is refused */
	s->dev->master.cd_table.used_ssids = 1;
	KUNIT_EXPECT_EQ(test, -EBUSY,
			bypass->ops->attach_dev(bypass, &s->dev->dev));
	s->dev->master.cd_table.used_ssids = 0;
	s->fake->smmu.features &= ~ARM_SMMU_FEAT_S2FWB;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			bypass->ops->attach_dev(bypass, &s->dev->dev));
	s->fake->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	s->parent.enforce_cache_coherency = true;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			bypass->ops->attach_dev(bypass, &s->dev->dev));
	s->parent.enforce_cache_coherency = false;
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0x123456f);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&s->parent.devices), 1);

	KUNIT_EXPECT_EQ(test, 0, bypass->ops->attach_dev(bypass, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0xd);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[2]) & 0xffff, vmid);
	KUNIT_EXPECT_EQ(test, 0, abort->ops->attach_dev(abort, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[2]), 0);

	/* A member of the group that leaves, or that the guest doesn't know */
	KUNIT_EXPECT_EQ(test, 0, s1->ops->attach_dev(s1, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0x123456f);
	s->ops->member_leave(abort, &s->dev->dev);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 1);
	KUNIT_EXPECT_NULL(test, s->dev->master.vsmmu);
	KUNIT_EXPECT_EQ(test, 0, s1->ops->attach_dev(s1, &s->dev->dev));
	s->ops->member_leave(s1, &s->dev->dev);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0xd);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[2]) & 0xffff, vmid);
	KUNIT_EXPECT_EQ(test, 0, s->ops->member_join(s1, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0x123456f);
	xa_erase(&s->viommu->vdevs, VSID);
	KUNIT_EXPECT_EQ(test, 0, s->ops->member_join(s1, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0xd);

	forget_attachments(test);
	s1->ops->free(s1);
	bypass->ops->free(bypass);
	abort->ops->free(abort);
}

/* A device whose root complex lacks CANWBS, on a vIOMMU of one that has it */
static void iommufd_test_attach_canwbs(struct kunit *test)
{
	struct setup *s = test->priv;
	struct arm_smmu_ste *ste = make_stream_table(test) + SID;
	struct iommu_domain *s1;

	make_guest(test);
	s->fake->smmu.features &= ~ARM_SMMU_FEAT_S2FWB;
	s->pgtable.cfg.quirks = 0;
	s->no_ats->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	s1 = alloc_nested(test, 0x123456b, 0, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, s1);

	KUNIT_EXPECT_NOT_NULL(test, arm_smmu_viommu_ops(&s->no_ats->dev, 1));
	KUNIT_EXPECT_NULL(test, arm_smmu_viommu_ops(&s->dev->dev, 1));
	KUNIT_EXPECT_EQ(test, -EINVAL, s1->ops->attach_dev(s1, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, -EINVAL, s->ops->member_join(s1, &s->dev->dev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), 0);
	s->dev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_EXPECT_EQ(test, 0, s1->ops->attach_dev(s1, &s->dev->dev));

	forget_attachments(test);
	s1->ops->free(s1);
}

/* The index of the last command @op, or -1 */
static int last_cmd(struct arm_smmu_fake *fake, u8 op)
{
	int i;

	for (i = fake->num - 1; i >= 0; i--)
		if ((fake->log[i].cmd[0] & 0xff) == op)
			break;
	return i;
}

/* The host's CD, which the device used before, is gone when the STE has changed */
static void iommufd_test_attach_clears_cd(struct kunit *test)
{
	struct iommu_domain *domains[2];
	struct setup *s = test->priv;
	struct arm_smmu_cd *cd;
	unsigned int i;

	make_stream_table(test);
	make_guest(test);
	cd = kunit_kzalloc(test, sizeof(*cd), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cd);
	s->dev->master.cd_table.linear.table = cd;
	s->dev->master.cd_table.linear.num_ents = 1;
	s->dev->master.cd_table.s1fmt = STRTAB_STE_0_S1FMT_LINEAR;
	domains[0] = alloc_nested(test, 0x123456b, 0, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domains[0]);
	domains[1] = alloc_nested(test, 0x9, 0, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domains[1]);

	for (i = 0; i < ARRAY_SIZE(domains); i++) {
		struct iommu_domain *d = domains[i];

		cd->data[0] = cpu_to_le64(CTXDESC_CD_0_V | CTXDESC_CD_0_AA64);
		cd->data[1] = cpu_to_le64(0x12345000);
		arm_smmu_fake_forget(s->fake);
		KUNIT_EXPECT_EQ(test, 0, d->ops->attach_dev(d, &s->dev->dev));
		KUNIT_EXPECT_EQ(test, le64_to_cpu(cd->data[0]), 0);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(cd->data[1]), 0);
		/* CFGI_CD after the last CFGI_STE */
		KUNIT_EXPECT_GE(test, last_cmd(s->fake, 0x03), 0);
		KUNIT_EXPECT_GT(test, last_cmd(s->fake, 0x05),
				last_cmd(s->fake, 0x03));
		KUNIT_EXPECT_TRUE(test, s->fake->log[s->fake->num - 1].synced);
	}

	forget_attachments(test);
	s->dev->master.cd_table.linear.table = NULL;
	for (i = 0; i < ARRAY_SIZE(domains); i++)
		domains[i]->ops->free(domains[i]);
}

/*
 * ATC_INV and the switch of ATS
 */

#define GUEST_ATC	0x00000badca7ff000ULL

/*
 * Lets one thread start another at a command that the SMMU executes, and sees
 * whether the other waits until it is complete.
 */
struct ats_race {
	struct kunit *test;
	struct arm_smmu_fake *fake;
	struct pci_dev *pdev;
	struct rw_semaphore *lock;
	/* Which ATC_INV it starts at: the guest's, or the first of an attach */
	bool at_guest;
	bool started;
	/* What the other thread does: attach, or (NULL) the guest's ATC_INV */
	struct iommu_domain *attach;
	struct iommu_user_data_array array;
	struct iommufd_viommu *viommu;
	struct mm_struct *mm;
	struct completion done;
	bool was_done;
	bool ats_at_end;
	int ret;
};

static int ats_race_thread(void *data)
{
	struct ats_race *race = data;

	/* Its commands go to the same fake queue */
	current->kunit_test = race->test;
	if (race->attach) {
		race->ret = race->attach->ops->attach_dev(race->attach,
							  &race->pdev->dev);
	} else {
		const struct iommufd_viommu_ops *ops = race->viommu->ops;

		kthread_use_mm(race->mm);
		race->ret = ops->cache_invalidate(race->viommu, &race->array);
		kthread_unuse_mm(race->mm);
	}
	current->kunit_test = NULL;
	complete(&race->done);
	return 0;
}

static int ats_race_on_issue(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct ats_race *race = fake->priv;
	unsigned long give_up = jiffies + 60 * HZ;
	struct task_struct *thread;

	bool of_guest = cmds[1] == GUEST_ATC;

	if (race->started || (cmds[0] & 0xff) != 0x40 ||
	    race->at_guest != of_guest)
		return 0;

	race->started = true;
	thread = kthread_run(ats_race_thread, race, "ats_race");
	if (IS_ERR(thread)) {
		KUNIT_FAIL(race->test, "no thread");
		complete(&race->done);
		return 0;
	}

	/* It waits for the lock, or does not wait at all and gets done */
	while (!rwsem_is_contended(race->lock) &&
	       !completion_done(&race->done) && time_before(jiffies, give_up))
		usleep_range(100, 1000);
	race->was_done = completion_done(&race->done);
	race->ats_at_end = race->pdev->ats_enabled;
	return 0;
}

/* Let the device of the test be one with ATS, whose registers are nowhere */
static struct ats_race *make_ats_race(struct kunit *test)
{
	struct setup *s = test->priv;
	struct ats_race *race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	struct pci_dev *pdev = kunit_kzalloc(test, sizeof(*pdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, race);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	pdev->ats_cap = 0x100;
	pdev->error_state = pci_channel_io_perm_failure;
	pdev->dev.bus = &pci_bus_type;
	pdev->dev.iommu = &s->dev->iommu;
	s->dev->fwspec.flags |= IOMMU_FWSPEC_PCI_RC_ATS;
	s->dev->master.dev = &pdev->dev;

	make_stream_table(test);
	make_guest(test);
	s->vdev.dev = &pdev->dev;

	race->test = test;
	race->fake = s->fake;
	race->pdev = pdev;
	race->lock = &to_vsmmu(s->viommu)->ats_lock;
	race->viommu = s->viommu;
	race->mm = current->mm;
	init_completion(&race->done);
	s->fake->on_issue = NULL;
	s->fake->priv = race;
	return race;
}

static unsigned int guest_atcs(struct arm_smmu_fake *fake)
{
	unsigned int i, found = 0;

	for (i = 0; i < fake->num; i++)
		found += (fake->log[i].cmd[0] & 0xff) == 0x40 &&
			 fake->log[i].cmd[1] == GUEST_ATC;
	return found;
}

/* Stage 1 with ATS, and abort */
static void make_ats_domains(struct kunit *test, struct iommu_domain **s1,
			     struct iommu_domain **abort)
{
	*s1 = alloc_nested(test, 0x123456b, 1 << 28, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, *s1);
	*abort = alloc_nested(test, 0, 0, 0, 2, 16);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, *abort);
}

/* An attach switches ATS off while an ATC_INV of the guest is under way */
static void iommufd_test_ats_off(struct kunit *test)
{
	u64 cmds[][2] = { { 0x40 | (u64)VSID << 32, GUEST_ATC } };
	struct ats_race *race = make_ats_race(test);
	struct setup *s = test->priv;
	struct iommu_domain *s1, *abort;
	u32 done;

	make_ats_domains(test, &s1, &abort);

	/* Not attached: it has nothing of the guest's in its ATC */
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, done, 1);
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 0);

	KUNIT_ASSERT_EQ(test, 0, s1->ops->attach_dev(s1, &race->pdev->dev));
	KUNIT_ASSERT_TRUE(test, race->pdev->ats_enabled);

	race->attach = abort;
	race->at_guest = true;
	s->fake->on_issue = ats_race_on_issue;
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	s->fake->on_issue = NULL;
	KUNIT_EXPECT_EQ(test, done, 1);
	KUNIT_ASSERT_TRUE(test, race->started);
	wait_for_completion(&race->done);
	KUNIT_EXPECT_EQ(test, race->ret, 0);
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 1);
	KUNIT_EXPECT_FALSE(test, race->was_done);
	KUNIT_EXPECT_TRUE(test, race->ats_at_end);
	KUNIT_EXPECT_FALSE(test, race->pdev->ats_enabled);

	/* From now on it counts, and does not reach the device */
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, done, 1);
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 0);

	forget_attachments(test);
	s1->ops->free(s1);
	abort->ops->free(abort);
}

/* An ATC_INV comes while an attach switches ATS on: it must not be lost */
static void iommufd_test_ats_on(struct kunit *test)
{
	u64 cmds[][2] = { { 0x40 | (u64)VSID << 32, GUEST_ATC } };
	struct ats_race *race = make_ats_race(test);
	struct setup *s = test->priv;
	struct iommu_domain *s1, *abort;
	u32 done;

	make_ats_domains(test, &s1, &abort);

	/* Leaves the command where the other thread finds it */
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 0);
	race->array = (struct iommu_user_data_array){
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = s->user + USER_BYTES - PAGE_SIZE - 16,
		.entry_len = 16,
		.entry_num = 1,
	};

	s->fake->on_issue = ats_race_on_issue;
	KUNIT_ASSERT_EQ(test, 0, s1->ops->attach_dev(s1, &race->pdev->dev));
	KUNIT_ASSERT_TRUE(test, race->started);
	wait_for_completion(&race->done);
	s->fake->on_issue = NULL;
	KUNIT_EXPECT_FALSE(test, race->was_done);
	KUNIT_EXPECT_EQ(test, race->ret, 0);
	KUNIT_EXPECT_EQ(test, race->array.entry_num, 1);
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 1);
	KUNIT_EXPECT_TRUE(test, race->pdev->ats_enabled);

	forget_attachments(test);
	s1->ops->free(s1);
	abort->ops->free(abort);
}

/* What an attach from @old to @new does except for the STE */
static void attach_from(struct kunit *test, struct iommu_domain *old,
			struct iommu_domain *new, bool no_ats)
{
	struct setup *s = test->priv;
	struct arm_smmu_attach_state state = {
		.old_domain = old,
		.master = &s->dev->master,
		.no_ats = no_ats,
		.ssid = IOMMU_NO_PASID,
	};
	int ret;

	mutex_lock(&arm_smmu_asid_lock);
	ret = arm_smmu_attach_prepare(&state, new);
	KUNIT_EXPECT_EQ(test, 0, ret);
	if (!ret)
		arm_smmu_attach_commit(&state);
	mutex_unlock(&arm_smmu_asid_lock);
}

static void expect_entry(struct kunit *test, const char *step, bool nested,
			 int nr_ats)
{
	struct setup *s = test->priv;
	struct arm_smmu_master_domain *md;

	KUNIT_EXPECT_EQ_MSG(test, list_count_nodes(&s->parent.devices), 1,
			    "%s", step);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&s->parent.nr_ats_masters),
			    nr_ats, "%s", step);
	list_for_each_entry(md, &s->parent.devices, devices_elm)
		KUNIT_EXPECT_EQ_MSG(test, md->nested, nested, "%s", step);
}

/*
 * Whatever old domain the core names, the domain's list has one entry for the
 * device afterwards. For a device that joins an attached group, the core names the
 * new domain, which has no entry for the device yet.
 */
static void iommufd_test_attach_entries(struct kunit *test)
{
	struct iommu_domain *s1, *other, *abort, *unused, *plain;
	struct ats_race *race = make_ats_race(test);
	struct setup *s = test->priv;
	struct arm_smmu_master_domain *md;

	make_ats_domains(test, &s1, &abort);
	make_ats_domains(test, &other, &unused);
	plain = &s->parent.domain;
	plain->type = IOMMU_DOMAIN_UNMANAGED;

	attach_from(test, s1, s1, false);
	KUNIT_EXPECT_TRUE(test, race->pdev->ats_enabled);
	expect_entry(test, "join a nested domain", true, 1);
	attach_from(test, s1, s1, false);
	expect_entry(test, "attach again", true, 1);
	attach_from(test, s1, other, false);
	expect_entry(test, "from guest to guest", true, 1);
	attach_from(test, other, abort, true);
	KUNIT_EXPECT_FALSE(test, race->pdev->ats_enabled);
	expect_entry(test, "without ATS", true, 0);
	attach_from(test, abort, plain, false);
	expect_entry(test, "stage 2 alone", false, 1);
	attach_from(test, plain, plain, true);
	expect_entry(test, "stage 2 without ATS", false, 0);

	md = list_first_entry(&s->parent.devices, struct arm_smmu_master_domain,
			      devices_elm);
	list_del(&md->devices_elm);
	kfree(md);
	attach_from(test, plain, plain, false);
	expect_entry(test, "join stage 2", false, 1);
	attach_from(test, plain, s1, false);
	expect_entry(test, "back to the guest", true, 1);

	forget_attachments(test);
	plain->type = 0;
	s1->ops->free(s1);
	other->ops->free(other);
	abort->ops->free(abort);
	unused->ops->free(unused);
}

static int on_enable(struct arm_smmu_fake *fake, u64 *cmds, int n)
{
	struct ats_race *race = fake->priv;
	struct arm_smmu_master *master = dev_iommu_priv_get(&race->pdev->dev);

	if ((cmds[0] & 0xff) != 0x40 || race->pdev->ats_enabled)
		return 0;
	/* The last command before the device can fill its ATC */
	race->started = true;
	race->was_done = master->ats_enabled;
	return 0;
}

/* Unmaps reach the ATC before the device can fill it */
static void iommufd_test_ats_enable_order(struct kunit *test)
{
	struct ats_race *race = make_ats_race(test);
	struct setup *s = test->priv;
	struct iommu_domain *s1, *abort;

	make_ats_domains(test, &s1, &abort);
	s->fake->on_issue = on_enable;
	attach_from(test, NULL, s1, false);
	s->fake->on_issue = NULL;
	KUNIT_EXPECT_TRUE(test, race->started);
	KUNIT_EXPECT_TRUE(test, race->was_done);
	KUNIT_EXPECT_TRUE(test, race->pdev->ats_enabled);
	expect_entry(test, "enabled", true, 1);

	forget_attachments(test);
	s1->ops->free(s1);
	abort->ops->free(abort);
}

/* A device that cannot enable ATS gets no ATC_INV of the guest or an unmap */
static void iommufd_test_ats_enable_fails(struct kunit *test)
{
	u64 cmds[][2] = { { 0x40 | (u64)VSID << 32, GUEST_ATC } };
	struct ats_race *race = make_ats_race(test);
	struct setup *s = test->priv;
	struct iommu_domain *s1, *abort;
	u32 done;

	make_ats_domains(test, &s1, &abort);
	/* PCI wants translation units of 4K or more */
	s->fake->smmu.pgsize_bitmap |= SZ_2K;
	attach_from(test, NULL, s1, false);
	KUNIT_EXPECT_FALSE(test, race->pdev->ats_enabled);
	KUNIT_EXPECT_FALSE(test, s->dev->master.ats_enabled);
	KUNIT_EXPECT_NULL(test, s->dev->master.ats_vsmmu);
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, done, 1);
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 0);

	/* The count is right again, and ATS that is off is not switched off */
	attach_from(test, s1, abort, true);
	expect_entry(test, "without ATS", true, 0);

	s->fake->smmu.pgsize_bitmap &= ~SZ_2K;
	attach_from(test, abort, s1, false);
	KUNIT_EXPECT_TRUE(test, race->pdev->ats_enabled);
	expect_entry(test, "with ATS", true, 1);

	forget_attachments(test);
	s1->ops->free(s1);
	abort->ops->free(abort);
}

/* A device with ATS goes from guest to guest, and to the host */
static void iommufd_test_ats_owner(struct kunit *test)
{
	u64 cmds[][2] = { { 0x40 | (u64)VSID << 32, GUEST_ATC } };
	struct ats_race *race = make_ats_race(test);
	struct setup *s = test->priv;
	struct iommufd_viommu *first = s->viommu;
	struct iommufd_viommu *second = make_viommu(test);
	struct iommu_domain *a, *a_abort, *b, *b_abort;
	u32 done;

	KUNIT_ASSERT_EQ(test, 0, s->ops->init(second, &race->pdev->dev,
					      &s->parent.domain, NULL));
	KUNIT_ASSERT_NULL(test, xa_store(&second->vdevs, VSID, &s->vdev,
					 GFP_KERNEL));
	make_ats_domains(test, &a, &a_abort);
	s->viommu = second;
	make_ats_domains(test, &b, &b_abort);

	/* It never loses ATS, and answers one guest at a time */
	KUNIT_ASSERT_EQ(test, 0, a->ops->attach_dev(a, &race->pdev->dev));
	s->viommu = first;
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 1);
	s->viommu = second;
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 0);

	s->viommu = first;
	race->attach = b;
	race->at_guest = true;
	s->fake->on_issue = ats_race_on_issue;
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_ASSERT_TRUE(test, race->started);
	wait_for_completion(&race->done);
	s->fake->on_issue = NULL;
	KUNIT_EXPECT_EQ(test, race->ret, 0);
	KUNIT_EXPECT_FALSE(test, race->was_done);
	KUNIT_EXPECT_TRUE(test, race->pdev->ats_enabled);

	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, done, 1);
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 0);
	s->viommu = second;
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 1);
	KUNIT_ASSERT_EQ(test, 0,
			b_abort->ops->attach_dev(b_abort, &race->pdev->dev));
	KUNIT_EXPECT_EQ(test, 0, invalidate(test, cmds, 1, 16, 1, &done));
	KUNIT_EXPECT_EQ(test, guest_atcs(s->fake), 0);

	forget_attachments(test);
	a->ops->free(a);
	a_abort->ops->free(a_abort);
	b->ops->free(b);
	b_abort->ops->free(b_abort);
	arm_smmu_fake_forget(s->fake);
	s->ops->destroy(second);
	xa_destroy(&second->vdevs);
	s->viommu = first;
}

/* What the guest's stage 1 has put into the ATC does not outlive it */
static void iommufd_test_leave_flushes_atc(struct kunit *test)
{
	struct ats_race *race = make_ats_race(test);
	struct setup *s = test->priv;
	struct iommu_domain *s1, *abort;
	int atc;

	make_ats_domains(test, &s1, &abort);
	KUNIT_ASSERT_EQ(test, 0, s1->ops->attach_dev(s1, &race->pdev->dev));
	KUNIT_ASSERT_TRUE(test, race->pdev->ats_enabled);
	arm_smmu_fake_forget(s->fake);
	s->ops->member_leave(s1, &race->pdev->dev);

	/* All of it, when the STE is the new one */
	atc = last_cmd(s->fake, 0x40);
	KUNIT_ASSERT_GE(test, atc, 0);
	KUNIT_EXPECT_GT(test, atc, last_cmd(s->fake, 0x03));
	KUNIT_EXPECT_GE(test, last_cmd(s->fake, 0x03), 0);
	KUNIT_EXPECT_EQ(test, s->fake->log[atc].cmd[0] >> 32, SID);
	KUNIT_EXPECT_EQ(test, s->fake->log[atc].cmd[1], 52);
	KUNIT_EXPECT_TRUE(test, s->fake->log[s->fake->num - 1].synced);

	forget_attachments(test);
	s1->ops->free(s1);
	abort->ops->free(abort);
}

static struct kunit_case iommufd_test_cases[] = {
	KUNIT_CASE(iommufd_test_blocks),
	KUNIT_CASE(iommufd_test_bad_command),
	KUNIT_CASE(iommufd_test_bad_memory),
	KUNIT_CASE(iommufd_test_entry_len),
	KUNIT_CASE(iommufd_test_queue_error),
	KUNIT_CASE(iommufd_test_signals),
	KUNIT_CASE(iommufd_test_sids),
	KUNIT_CASE(iommufd_test_order),
	KUNIT_CASE(iommufd_test_pasids),
	KUNIT_CASE(iommufd_test_device_goes),
	KUNIT_CASE(iommufd_test_no_ats),
	KUNIT_CASE(iommufd_test_caps),
	KUNIT_CASE(iommufd_test_vmids),
	KUNIT_CASE(iommufd_test_other_smmu),
	KUNIT_CASE(iommufd_test_type),
	KUNIT_CASE(iommufd_test_vdevice),
	KUNIT_CASE(iommufd_test_nested_alloc),
	KUNIT_CASE(iommufd_test_attach),
	KUNIT_CASE(iommufd_test_attach_canwbs),
	KUNIT_CASE(iommufd_test_attach_clears_cd),
	KUNIT_CASE(iommufd_test_ats_off),
	KUNIT_CASE(iommufd_test_ats_on),
	KUNIT_CASE(iommufd_test_ats_owner),
	KUNIT_CASE(iommufd_test_attach_entries),
	KUNIT_CASE(iommufd_test_ats_enable_order),
	KUNIT_CASE(iommufd_test_ats_enable_fails),
	KUNIT_CASE(iommufd_test_leave_flushes_atc),
	{},
};

static struct kunit_suite iommufd_test_suite = {
	.name = "arm-smmu-v3-iommufd",
	.init = iommufd_test_init,
	.exit = iommufd_test_exit,
	.test_cases = iommufd_test_cases,
};

kunit_test_suite(iommufd_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of the vSMMU on arm-smmu-v3");
MODULE_LICENSE("GPL");
