/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An SMMU for KUnit tests that keeps the commands it gets instead of executing them
 */
#ifndef _ARM_SMMU_V3_FAKE_H
#define _ARM_SMMU_V3_FAKE_H

#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/idr.h>
#include <linux/iommu.h>
#include <linux/sizes.h>

#include "arm-smmu-v3.h"

/**
 * struct arm_smmu_fake_cmd - A command that was issued
 * @cmd: In CPU byte order
 * @synced: A CMD_SYNC follows
 * @issued: When it was issued, counted over all SMMUs
 * @waited: When the CMD_SYNC that follows was
 * @cmdq: The queue it went to
 */
struct arm_smmu_fake_cmd {
	u64 cmd[CMDQ_ENT_DWORDS];
	bool synced;
	unsigned int issued;
	unsigned int waited;
	struct arm_smmu_cmdq *cmdq;
};

/**
 * struct arm_smmu_fake - An SMMU without hardware
 * @smmu: What the driver works on
 * @dev: The SMMU's own device
 * @regs: What @smmu's registers read
 * @log: Commands in the order they were issued
 * @num: How many
 * @max: How many fit
 * @calls: How often the queue was written to
 * @longest: Most commands in one call
 * @on_issue: Called before commands are kept, which it does not let happen if it
 *            returns an error
 * @priv: For @on_issue
 * @when: Counts what is issued, the same for all SMMUs of a test
 */
struct arm_smmu_fake {
	struct arm_smmu_device smmu;
	struct device dev;
	u32 regs[64];
	struct arm_smmu_fake_cmd *log;
	unsigned int num;
	unsigned int max;
	unsigned int calls;
	unsigned int longest;
	int (*on_issue)(struct arm_smmu_fake *fake, u64 *cmds, int n);
	void *priv;
	atomic_t *when;
};

/**
 * struct arm_smmu_fake_dev - A device behind it
 * @dev: The device, not registered
 * @iommu: @dev's link to @master
 * @fwspec: @dev's firmware description
 * @master: The driver's part
 * @streams: One or two StreamIDs
 */
struct arm_smmu_fake_dev {
	struct device dev;
	struct dev_iommu iommu;
	struct iommu_fwspec fwspec;
	struct arm_smmu_master master;
	struct arm_smmu_stream streams[2];
};

static int arm_smmu_fake_issue(struct arm_smmu_device *smmu,
			       struct arm_smmu_cmdq *cmdq, u64 *cmds, int n,
			       bool sync)
{
	struct arm_smmu_fake *fake =
		container_of(smmu, struct arm_smmu_fake, smmu);
	struct kunit *test = kunit_get_current_test();
	int i, ret;

	if (!smmu->impl_ops)
		KUNIT_EXPECT_PTR_EQ(test, cmdq, &smmu->cmdq);
	if (fake->on_issue) {
		ret = fake->on_issue(fake, cmds, n);
		if (ret)
			return ret;
	}

	fake->calls++;
	fake->longest = max_t(unsigned int, fake->longest, n);
	if (n > fake->max - fake->num) {
		KUNIT_FAIL(test, "more than %u commands", fake->max);
		return -ENOSPC;
	}
	for (i = 0; i < n; i++) {
		struct arm_smmu_fake_cmd *c = &fake->log[fake->num++];

		c->cmd[0] = cmds[i * 2];
		c->cmd[1] = cmds[i * 2 + 1];
		c->issued = atomic_inc_return(fake->when);
		c->synced = false;
		c->cmdq = cmdq;
	}
	/* Of the last command, also if it is older */
	if (sync && fake->num) {
		KUNIT_EXPECT_PTR_EQ(test, cmdq, fake->log[fake->num - 1].cmdq);
		fake->log[fake->num - 1].synced = true;
		fake->log[fake->num - 1].waited =
			atomic_inc_return(fake->when);
	}
	return 0;
}

static inline void arm_smmu_fake_forget(struct arm_smmu_fake *fake)
{
	fake->num = 0;
	fake->calls = 0;
	fake->longest = 0;
}

/* Both stages, coherent, 8-bit VMIDs, 4K pages; room for @max commands */
static inline struct arm_smmu_fake *arm_smmu_fake_create(struct kunit *test,
							 unsigned int max)
{
	struct arm_smmu_fake *fake =
		kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->log = kunit_kcalloc(test, max, sizeof(*fake->log), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fake->log);
	fake->max = max;
	fake->when = kunit_kzalloc(test, sizeof(*fake->when), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fake->when);

	fake->smmu.dev = &fake->dev;
	fake->smmu.base = (void __iomem __force *)fake->regs;
	fake->smmu.features = ARM_SMMU_FEAT_TRANS_S1 | ARM_SMMU_FEAT_TRANS_S2 |
			      ARM_SMMU_FEAT_NESTING | ARM_SMMU_FEAT_S2FWB |
			      ARM_SMMU_FEAT_COHERENCY;
	fake->smmu.pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	fake->smmu.ias = 40;
	fake->smmu.oas = 40;
	fake->smmu.asid_bits = 16;
	fake->smmu.vmid_bits = 8;
	ida_init(&fake->smmu.vmid_map);
	INIT_LIST_HEAD(&fake->smmu.stale_vmids);
	INIT_LIST_HEAD(&fake->smmu.lost_vmids);
	fake->smmu.evtq.q.llq.max_n_shift = 8;
	fake->smmu.evtq.q.prod_reg = fake->smmu.base;

	kunit_activate_static_stub(test, arm_smmu_cmdq_issue_cmdlist,
				   arm_smmu_fake_issue);
	return fake;
}

static inline struct arm_smmu_fake_dev *
arm_smmu_fake_add_dev(struct kunit *test, struct arm_smmu_fake *fake, u32 sid)
{
	struct arm_smmu_fake_dev *d =
		kunit_kzalloc(test, sizeof(*d), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, d);
	d->dev.iommu = &d->iommu;
	d->iommu.priv = &d->master;
	d->iommu.fwspec = &d->fwspec;
	d->master.smmu = &fake->smmu;
	d->master.dev = &d->dev;
	d->master.streams = d->streams;
	d->master.num_streams = 1;
	init_rwsem(&d->master.vsmmu_lock);
	INIT_LIST_HEAD(&d->master.vmids);
	d->streams[0].id = sid;
	d->streams[1].id = sid + 1;
	return d;
}

static inline bool arm_smmu_fake_vmid_free(struct arm_smmu_fake *fake, int vmid)
{
	int ret = ida_alloc_range(&fake->smmu.vmid_map, vmid, vmid, GFP_NOWAIT);

	if (ret < 0)
		return false;
	ida_free(&fake->smmu.vmid_map, ret);
	return true;
}

#endif
