// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vSMMU: a slice of an SMMUv3 that a VM owns
 *
 * This file has the types of vIOMMU, vDEVICEs, and the execution of a guest's
 * commands. Which commands pass is decided in arm-smmu-v3-vcmd.c. Nested domains are
 * made and attached in arm-smmu-v3-nested.c, events are forwarded in
 * arm-smmu-v3-vevent.c, and the VMIDs are in arm-smmu-v3-s2.c.
 *
 * An ATC_INV must reach only a device whose ATS is on. The switch is thrown by an
 * attach, while the guest's commands take no lock of the attach. So the master
 * names the vSMMU that may invalidate its ATC, in ats_vsmmu, and each vSMMU has an
 * ats_lock:
 *
 * - A block of commands with ATC_INVs holds it for reading from before it looks at
 *   ats_vsmmu until its CMD_SYNC is complete. It compares the pointer and does not
 *   follow it.
 * - An attach that switches ATS off, or gives the device to another owner, first
 *   clears ats_vsmmu under the write lock. After that no ATC_INV of the guest is
 *   under way, and none starts.
 * - An attach that switches ATS on, or flushes the ATC for a new owner, holds the
 *   write lock meanwhile and sets ats_vsmmu before it lets go. An ATC_INV that
 *   comes too early to reach the device has no entry to find there.
 *
 * The limit of this is a CMD_SYNC that times out, after a second: the issuer then
 * goes on, whether it is the guest or the attach, although an ATC_INV may still be
 * under way. It can reach the device after ATS was switched off, or after the
 * device got another owner. It then invalidates what the new owner has cached,
 * which costs that owner time, or the device does not answer it, and the SMMU
 * reports an ATC invalidation timeout again (CERROR_ATC_INV_SYNC, IHI0070 7.1).
 *
 * A device that does not answer costs everybody behind the SMMU the time until the
 * SMMU gives up. So a vSMMU has one block with ATC_INVs under way, by atc_mutex: the
 * other threads of its VM wait outside the queue, and sleep. An attach does not take
 * it, so it waits for one block, not for all threads.
 *
 * Lock order: arm_smmu_asid_lock, ats_lock (write); atc_mutex, ats_lock (read), the
 * lock of the vIOMMU's vDEVICEs, which is a leaf. No lock is held while commands are read
 * from user memory, and no spinlock while the SMMU executes them.
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

/**
 * arm_vsmmu_init - Set up the base vSMMU
 * @viommu: Core part of a &struct arm_vsmmu, which can be the first member of a
 *          larger structure
 * @dev: A device behind the SMMU
 * @parent: Stage 2
 * @user_data: Not used
 *
 * Context: Process context, may sleep. arm_vsmmu_destroy() undoes it.
 *
 * Return: 0, -EINVAL if the SMMU cannot use @parent, -ENOSPC if no VMID is left for
 * @dev, -ENOMEM.
 */
int arm_vsmmu_init(struct iommufd_viommu *viommu, struct device *dev,
		   struct iommu_domain *parent,
		   struct iommu_user_data *user_data)
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
	if (!arm_smmu_master_nestable_on(master, vsmmu->parent))
		return -EINVAL;

	init_rwsem(&vsmmu->ats_lock);
	mutex_init(&vsmmu->atc_mutex);
	arm_smmu_vcmd_init_rules(&vsmmu->rules, &caps);
	return arm_smmu_s2_vmid_add(vsmmu->parent, master, &vsmmu->s2);
}

/**
 * arm_vsmmu_destroy - Undo arm_vsmmu_init()
 * @viommu: Core part of the vSMMU. Nothing uses its VMID any more.
 *
 * Context: Process context, may sleep.
 */
void arm_vsmmu_destroy(struct iommufd_viommu *viommu)
{
	struct arm_vsmmu *vsmmu = to_vsmmu(viommu);

	arm_smmu_s2_vmid_remove(vsmmu->parent, &vsmmu->s2);
}

/**
 * arm_vsmmu_vdevice_init - Check that a device can have a vSID
 * @vdev: The vDEVICE
 *
 * Context: Process context; the lock of the iommufd group is held.
 *
 * Return: 0, -EINVAL if virt_id is not a StreamID, -EOPNOTSUPP if the device has
 * other than one StreamID.
 */
int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev)
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

/**
 * arm_vsmmu_vdevice_destroy - Forget the vSID of a device
 * @vdev: The vDEVICE. Its device can still be attached, in abort or bypass.
 *
 * Context: Process context, may sleep; the lock of the iommufd group is held.
 */
void arm_vsmmu_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(vdev->dev);

	mutex_lock(&arm_smmu_asid_lock);
	if (master->vsmmu == vdev->viommu)
		arm_smmu_master_set_vsmmu(master, NULL, 0);
	mutex_unlock(&arm_smmu_asid_lock);
}

/**
 * arm_vsmmu_veventq_size - Tell the size of an event of the base vSMMU
 * @viommu: Core part of the vSMMU
 * @type: enum iommu_veventq_type
 *
 * Context: Any.
 *
 * Return: the bytes, 0 for a type that the base vSMMU never reports.
 */
size_t arm_vsmmu_veventq_size(struct iommufd_viommu *viommu,
			      unsigned int type)
{
	if (type != IOMMU_VEVENTQ_TYPE_ARM_SMMUV3)
		return 0;
	return sizeof(struct iommu_vevent_arm_smmuv3);
}

/**
 * arm_vsmmu_ats_prepare - Keep a guest's ATC_INVs from a device that it may lose
 * @state: The attach, of which ats_enabled is decided
 * @domain: The domain that will be attached
 *
 * If the device loses ATS or its guest, wait for the ATC_INVs of that guest that
 * are under way. The guest cannot prolong the wait: an rwsem that a writer has
 * waited for lets no more readers in. The command queue is in order, so the
 * attach's own CMD_SYNC would have to wait for the same commands.
 *
 * Context: Process context, may sleep; the caller holds arm_smmu_asid_lock and has
 * not switched ATS off yet.
 */
void arm_vsmmu_ats_prepare(struct arm_smmu_attach_state *state,
			   struct iommu_domain *domain)
{
	struct arm_smmu_master *master = state->master;
	struct arm_vsmmu *old = master->ats_vsmmu;

	lockdep_assert_held(&arm_smmu_asid_lock);

	state->ats_vsmmu = NULL;
	if (state->ats_enabled && domain->type == IOMMU_DOMAIN_NESTED)
		state->ats_vsmmu = to_smmu_nested_domain(domain)->vsmmu;

	/* The nested domain that is still attached holds @old */
	if (old && old != state->ats_vsmmu) {
		down_write(&old->ats_lock);
		WRITE_ONCE(master->ats_vsmmu, NULL);
		up_write(&old->ats_lock);
	}
}

/**
 * arm_vsmmu_ats_commit_begin - Hold the new guest's ATC_INVs
 * @state: The attach, which switches ATS on or flushes the ATC next
 *
 * Context: Process context, may sleep; the caller holds arm_smmu_asid_lock and
 * calls arm_vsmmu_ats_commit_end().
 */
void arm_vsmmu_ats_commit_begin(struct arm_smmu_attach_state *state)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	/* If they differ, arm_vsmmu_ats_prepare() has left NULL in the master */
	if (state->ats_vsmmu != state->master->ats_vsmmu)
		down_write(&state->ats_vsmmu->ats_lock);
}

/**
 * arm_vsmmu_ats_commit_end - Let the new guest's ATC_INVs reach the device
 * @state: The attach; the ATC of the device is empty. If the device could not
 *         enable ATS, ats_enabled is false and no guest may reach the ATC.
 *
 * Context: Process context; undoes arm_vsmmu_ats_commit_begin().
 */
void arm_vsmmu_ats_commit_end(struct arm_smmu_attach_state *state)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	if (state->ats_vsmmu != state->master->ats_vsmmu) {
		if (state->ats_enabled)
			WRITE_ONCE(state->master->ats_vsmmu, state->ats_vsmmu);
		up_write(&state->ats_vsmmu->ats_lock);
	}
}

/*
 * Replace the vSIDs in @cmds, and leave out what needs no execution. Returns how
 * many of the @num were accepted; *out of them remain to be issued.
 *
 * Nothing in @cmds points to a device afterwards, so that the caller can let go of
 * the lock: a device may leave the guest, and the host, before the SMMU reads its
 * StreamID.
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
			if (kind == ARM_SMMU_VCMD_ATC) {
				/*
				 * A function without PASID may take the prefix
				 * for a malformed TLP. Refuse the command also
				 * if ATS is off: whether it is bad must not
				 * depend on what the host does with ATS.
				 */
				if (!arm_smmu_vcmd_ssid_fits(cmds[i].cmd,
							     master->ssid_bits))
					break;
				/*
				 * Guests send one after they switched ATS off,
				 * which the device would not answer any more.
				 */
				if (READ_ONCE(master->ats_vsmmu) != vsmmu)
					continue;
			}
			arm_smmu_vcmd_set_sid(cmds[i].cmd,
					      master->streams[0].id);
		}
		cmds[(*out)++] = cmds[i];
	}
	return i;
}

/*
 * Execute a block of *num commands of which some name a stream. @atc: one of these
 * is an ATC_INV. On return *num is how many of them were accepted.
 */
static int arm_vsmmu_issue_streams(struct arm_vsmmu *vsmmu,
				   union arm_vsmmu_cmd *cmds, u32 *num,
				   bool atc, int *err)
{
	struct arm_smmu_device *smmu = vsmmu->smmu;
	u32 known, out;
	int ret = 0;

	if (atc) {
		ret = mutex_lock_killable(&vsmmu->atc_mutex);
		if (ret)
			return ret;
		down_read(&vsmmu->ats_lock);
	}

	xa_lock(&vsmmu->core.vdevs);
	known = arm_vsmmu_translate_sids(vsmmu, cmds, *num, &out);
	xa_unlock(&vsmmu->core.vdevs);
	if (known != *num)
		*err = -EIO;
	*num = known;
	if (out)
		ret = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, cmds->cmd,
						  out, true);

	if (atc) {
		up_read(&vsmmu->ats_lock);
		mutex_unlock(&vsmmu->atc_mutex);
	}
	return ret;
}

static __always_inline enum arm_smmu_vcmd_kind
arm_vsmmu_translate(struct arm_vsmmu *vsmmu, union arm_vsmmu_cmd *c, u16 vmid)
{
	c->cmd[0] = le64_to_cpu(c->user.cmd[0]);
	c->cmd[1] = le64_to_cpu(c->user.cmd[1]);
	return arm_smmu_vcmd_translate(&vsmmu->rules, c->cmd, vmid);
}

/*
 * Execute up to a queue batch of guest commands. Returns how many were executed;
 * the next one is to be tried again unless *err is set.
 *
 * Without a CMD_SYNC the SMMU may complete commands in any order. But the TLB must
 * not be filled again by a CD that is still cached, nor an ATC by what the TLB still
 * has. So a block has first its ATC_INVs, then its TLBIs, then its CFGIs, and ends
 * where the array has them in another order.
 */
static u32 arm_vsmmu_issue_block(struct arm_vsmmu *vsmmu,
				 union arm_vsmmu_cmd *cmds, u32 num, int *err)
{
	struct arm_smmu_device *smmu = vsmmu->smmu;
	u16 vmid = vsmmu->s2.vmid;
	bool streams = false;
	u32 done, atcs = 0;
	int ret = 0;

	for (done = 0; done != num; done++) {
		enum arm_smmu_vcmd_kind kind =
			arm_vsmmu_translate(vsmmu, &cmds[done], vmid);

		if (kind == ARM_SMMU_VCMD_REFUSED) {
			*err = -EIO;
			break;
		}
		if (kind < ARM_SMMU_VCMD_SID)
			continue;

		if (kind == ARM_SMMU_VCMD_ATC) {
			if (done != atcs)
				break;
			streams = true;
			atcs++;
			continue;
		}

		streams = true;
		while (++done != num)
			if (arm_vsmmu_translate(vsmmu, &cmds[done], vmid) !=
			    ARM_SMMU_VCMD_SID)
				break;
		break;
	}

	if (streams)
		ret = arm_vsmmu_issue_streams(vsmmu, cmds, &done, atcs, err);
	else if (done)
		ret = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, cmds->cmd,
						  done, true);

	if (ret) {
		*err = ret;
		return 0;
	}
	return done;
}

/**
 * arm_vsmmu_cache_invalidate - Execute commands of a guest
 * @viommu: Core part of the vSMMU
 * @array: The commands, in user space. Its entry_num is set to how many were
 *         executed and are complete.
 *
 * Context: Process context, may sleep; no lock is held.
 *
 * Return: 0; -EINVAL if the array is not of a guest's commands, -EIO if a command is
 * not allowed, -EFAULT or -E2BIG if it cannot be read, -EINTR after a fatal signal,
 * -ETIMEDOUT if the SMMU does not complete it.
 */
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
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
	.viommu_size = iommufd_viommu_struct_size(struct arm_vsmmu, core),
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

/*
 * All that arm_smmu_viommu_ops() can return. iommufd refuses a type that is missing
 * here with -EOPNOTSUPP. Each type embeds &struct arm_vsmmu.
 */
const struct iommufd_viommu_ops *const arm_smmu_viommu_types[] = {
	&arm_vsmmu_ops,
#ifdef CONFIG_TEGRA241_CMDQV_IOMMUFD
	&tegra241_vsmmu_ops,
#endif
	NULL
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
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_device *smmu = master->smmu;

	if (!arm_smmu_master_nestable(master))
		return NULL;
	if (type == IOMMU_VIOMMU_TYPE_ARM_SMMUV3)
		return &arm_vsmmu_ops;
	if (smmu->impl_ops && smmu->impl_ops->viommu_ops)
		return smmu->impl_ops->viommu_ops(smmu, type);
	return NULL;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_viommu_ops);
