// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vSMMU: a slice of an SMMUv3 that a VM owns
 */
#include <kunit/visibility.h>
#include <linux/sched/signal.h>

#include "arm-smmu-v3-nested.h"
#include "arm-smmu-v3-vevent.h"

#define IDR5_DS		BIT(7)

/* A guest's command, then the one that is issued for it */
union arm_vsmmu_cmd {
	struct iommu_viommu_arm_smmuv3_invalidate user;
	u64 cmd[CMDQ_ENT_DWORDS];
};

static_assert(sizeof(union arm_vsmmu_cmd) ==
	      sizeof(struct iommu_viommu_arm_smmuv3_invalidate));

static struct arm_vsmmu *to_vsmmu(struct iommufd_viommu *viommu)
{
	return container_of(viommu, struct arm_vsmmu, core);
}

static int arm_vsmmu_init(struct iommufd_viommu *viommu, struct device *dev,
			  struct iommu_domain *parent,
			  const struct iommu_user_data *user_data)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_vsmmu *vsmmu = to_vsmmu(viommu);
	struct arm_smmu_device *smmu = master->smmu;
	u32 idr5 = readl_relaxed(smmu->base + ARM_SMMU_IDR5);
	struct arm_smmu_vcmd_caps caps = {
		.pgsize_bitmap = smmu->pgsize_bitmap,
		.asid_bits = smmu->asid_bits,
		.ssid_bits = smmu->ssid_bits,
		.ril = smmu->features & ARM_SMMU_FEAT_RANGE_INV,
		.ds = idr5 & IDR5_DS,
		.ats = smmu->features & ARM_SMMU_FEAT_ATS,
	};

	vsmmu->smmu = smmu;
	vsmmu->parent = to_smmu_domain(parent);
	if (vsmmu->parent->smmu != smmu)
		return -EINVAL;

	arm_smmu_vcmd_init_rules(&vsmmu->rules, &caps);
	return arm_smmu_s2_user_add(vsmmu->parent, smmu, &vsmmu->s2);
}

static void arm_vsmmu_destroy(struct iommufd_viommu *viommu)
{
	struct arm_vsmmu *vsmmu = to_vsmmu(viommu);

	arm_smmu_s2_user_remove(vsmmu->parent, &vsmmu->s2);
}

static int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(vdev->dev);

	/* StreamIDs have 32 bits (IHI0070 3.3.2) */
	if (vdev->virt_id > U32_MAX)
		return -EINVAL;
	/* One vSID cannot stand for several */
	if (master->num_streams != 1)
		return -EOPNOTSUPP;
	return 0;
}

/* In abort and bypass a vDEVICE can go while its device is attached */
static void arm_vsmmu_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(vdev->dev);

	mutex_lock(&arm_smmu_asid_lock);
	if (master->vsmmu == vdev->viommu)
		arm_smmu_master_set_vsmmu(master, NULL, 0);
	mutex_unlock(&arm_smmu_asid_lock);
}

static size_t arm_vsmmu_veventq_size(struct iommufd_viommu *viommu,
				     unsigned int type)
{
	if (type != IOMMU_VEVENTQ_TYPE_ARM_SMMUV3)
		return 0;
	return sizeof(struct iommu_vevent_arm_smmuv3);
}

/*
 * Replace the vSIDs in @cmds, and leave out what needs no execution. Returns how
 * many of the @num were accepted; *out of them remain to be issued.
 */
static u32 arm_vsmmu_translate_sids(struct arm_vsmmu *vsmmu,
				    union arm_vsmmu_cmd *cmds, u32 num,
				    u32 *out)
{
	u32 i;

	lockdep_assert_held(&vsmmu->core.vdevs.xa_lock);

	for (i = 0, *out = 0; i != num; i++) {
		enum arm_smmu_vcmd_kind kind =
			arm_smmu_vcmd_kind(&vsmmu->rules, cmds[i].cmd);
		struct arm_smmu_master *master;
		struct device *dev;

		if (kind == ARM_SMMU_VCMD_SID || kind == ARM_SMMU_VCMD_ATC) {
			u32 vsid = arm_smmu_vcmd_sid(cmds[i].cmd);

			dev = iommufd_viommu_find_dev(&vsmmu->core, vsid);
			if (!dev)
				break;
			master = dev_iommu_priv_get(dev);
			/*
			 * Guests send one after they switched ATS off, which
			 * the device would not answer any more.
			 */
			if (kind == ARM_SMMU_VCMD_ATC && !master->ats_enabled)
				continue;
			arm_smmu_vcmd_set_sid(cmds[i].cmd,
					      master->streams[0].id);
		}
		cmds[(*out)++] = cmds[i];
	}
	return i;
}

/*
 * Execute up to a queue batch of guest commands. Returns how many were executed;
 * the next one is to be tried again unless *err is set.
 */
static u32 arm_vsmmu_issue_block(struct arm_vsmmu *vsmmu,
				 union arm_vsmmu_cmd *cmds, u32 num, int *err)
{
	struct arm_smmu_device *smmu = vsmmu->smmu;
	bool sids = false, tlbi = false;
	u16 vmid = vsmmu->s2.vmid;
	u32 done, out;
	int ret = 0;

	for (done = 0; done != num; done++) {
		u64 *cmd = cmds[done].cmd;
		enum arm_smmu_vcmd_kind kind;

		cmd[0] = le64_to_cpu(cmds[done].user.cmd[0]);
		cmd[1] = le64_to_cpu(cmds[done].user.cmd[1]);
		kind = arm_smmu_vcmd_translate(&vsmmu->rules, cmd, vmid);
		if (kind == ARM_SMMU_VCMD_REFUSED) {
			*err = -EIO;
			break;
		}
		/* An ATC must not be filled again from what the TLB still has */
		if (kind == ARM_SMMU_VCMD_ATC && tlbi)
			break;
		tlbi |= kind < ARM_SMMU_VCMD_SID;
		sids |= kind >= ARM_SMMU_VCMD_SID;
	}

	if (sids) {
		u32 known;

		/* Until it is complete, the devices stay with this guest */
		xa_lock(&vsmmu->core.vdevs);
		known = arm_vsmmu_translate_sids(vsmmu, cmds, done, &out);
		if (known != done)
			*err = -EIO;
		done = known;
		if (out)
			ret = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq,
							  cmds->cmd, out, true);
		xa_unlock(&vsmmu->core.vdevs);
	} else if (done) {
		ret = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, cmds->cmd,
						  done, true);
	}

	if (ret) {
		*err = ret;
		return 0;
	}
	return done;
}

static int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
				      struct iommu_user_data_array *array)
{
	struct arm_vsmmu *vsmmu = to_vsmmu(viommu);
	/* Only what was read into it is used: don't clear it for one command */
	union arm_vsmmu_cmd cmds[CMDQ_BATCH_ENTRIES] __uninitialized;
	u32 total = array->entry_num;
	u32 max = CMDQ_BATCH_ENTRIES;
	u32 done = 0;
	int err = 0;

	/* See arm_smmu_cmdq_batch_add() */
	if (vsmmu->smmu->options & ARM_SMMU_OPT_CMDQ_FORCE_SYNC)
		max--;

	array->entry_num = 0;
	if (array->type != IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3)
		return -EINVAL;
	if (!total)
		return 0;
	if (array->entry_len < sizeof(cmds[0]))
		return -EINVAL;

	while (done != total) {
		u32 want = min(total - done, max);
		int read_err = 0;
		u32 got = iommufd_read_entries(array, done, want, cmds,
					       sizeof(cmds[0]), &read_err);
		u32 issued = arm_vsmmu_issue_block(vsmmu, cmds, got, &err);

		done += issued;
		/* A command that can't be read comes after all that can */
		if (!err && issued == got)
			err = read_err;
		if (err || done == total)
			break;

		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}
		cond_resched();
	}

	array->entry_num = done;
	return err;
}

static const struct iommufd_viommu_ops arm_vsmmu_ops = {
	.viommu_size = sizeof(struct arm_vsmmu),
	.vdevice_size = sizeof(struct iommufd_vdevice),
	.init = arm_vsmmu_init,
	.destroy = arm_vsmmu_destroy,
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	.domain_translates = arm_smmu_nested_translates,
	.member_join = arm_smmu_attach_dev_nested,
	.member_leave = arm_smmu_nested_leave,
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.veventq_size = arm_vsmmu_veventq_size,
	.vdevice_init = arm_vsmmu_vdevice_init,
	.vdevice_destroy = arm_vsmmu_vdevice_destroy,
};

/**
 * arm_smmu_viommu_ops - The vIOMMU types of an SMMU
 * @dev: A device behind the SMMU
 * @type: enum iommu_viommu_type
 *
 * Context: Any.
 *
 * Return: the operations of @type, or NULL if @dev cannot have a vIOMMU of that
 * type.
 */
const struct iommufd_viommu_ops *arm_smmu_viommu_ops(struct device *dev,
						     unsigned int type)
{
	if (type != IOMMU_VIOMMU_TYPE_ARM_SMMUV3 ||
	    !arm_smmu_master_nestable(dev_iommu_priv_get(dev)))
		return NULL;
	return &arm_vsmmu_ops;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_viommu_ops);
