// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nest parents: stage 2 tables that are in use under several VMIDs
 *
 * Every guest on top of a nest parent has a VMID of its own, because guests
 * choose their ASIDs freely and TLB entries of stage 1 are told apart by ASID and
 * VMID alone. A change of the stage 2 tables therefore has to reach the domain's
 * own VMID, which devices without stage 1 use, and that of each guest.
 *
 * A VMID is on the list before a STE carries it and leaves it after the last STE
 * did. Whoever changes tables first writes them and then walks the list, so a
 * VMID that a walk misses has cached nothing old.
 *
 * An SMMU has as few as 255 VMIDs, and user space decides how many it takes. Each
 * counts against the device that was named to get it: what an administrator hands
 * out is devices, so their number bounds the VMIDs that a VMM can hold, however
 * many iommufds it opens. A VMID whose TLB entries could not be invalidated is
 * never handed out again, and goes on counting until its device is removed.
 *
 * Lock order: arm_smmu_asid_lock, then either arm_smmu_vmid_lock or
 * arm_smmu_nest_parent::lock, which are not nested.
 */
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-s2.h"

/* Protects arm_smmu_master::vmids and num_vmids, and arm_smmu_s2_user::payer */
static DEFINE_MUTEX(arm_smmu_vmid_lock);

/**
 * arm_smmu_nest_parent_init - Turn a new domain into a nest parent
 * @smmu_domain: Domain that is not finalised yet
 * @smmu: The SMMU that it is for
 * @flags: enum iommufd_hwpt_alloc_flags of the request
 *
 * Context: Process context, may sleep.
 *
 * Return: 0, -EOPNOTSUPP if @smmu lacks one of the stages or @flags ask for more
 * than a nest parent, -ENOMEM.
 */
int arm_smmu_nest_parent_init(struct arm_smmu_domain *smmu_domain,
			      struct arm_smmu_device *smmu, u32 flags)
{
	if (flags != IOMMU_HWPT_ALLOC_NEST_PARENT ||
	    !(smmu->features & ARM_SMMU_FEAT_NESTING))
		return -EOPNOTSUPP;

	smmu_domain->nest = kzalloc(sizeof(*smmu_domain->nest),
				    GFP_KERNEL_ACCOUNT);
	if (!smmu_domain->nest)
		return -ENOMEM;

	init_rwsem(&smmu_domain->nest->lock);
	INIT_LIST_HEAD(&smmu_domain->nest->users);
	smmu_domain->stage = ARM_SMMU_DOMAIN_S2;
	return 0;
}

static int arm_smmu_s2_user_alloc_vmid(struct arm_smmu_master *master,
				       struct arm_smmu_s2_user *user)
{
	struct arm_smmu_device *smmu = master->smmu;
	int vmid;

	guard(mutex)(&arm_smmu_vmid_lock);
	if (master->num_vmids >= ARM_SMMU_MASTER_MAX_VMIDS)
		return -ENOSPC;

	/* VMID 0 is for STEs without stage 2 */
	vmid = ida_alloc_range(&smmu->vmid_map, 1, (1 << smmu->vmid_bits) - 1,
			       GFP_KERNEL_ACCOUNT);
	if (vmid < 0)
		return vmid;

	user->smmu = smmu;
	user->vmid = vmid;
	user->payer = master;
	list_add(&user->payer_node, &master->vmids);
	master->num_vmids++;
	return 0;
}

/* The VMID stays allocated, and its payer short of it, unless it is @clean. */
static void arm_smmu_s2_user_free_vmid(struct arm_smmu_s2_user *user,
				       bool clean)
{
	guard(mutex)(&arm_smmu_vmid_lock);
	if (user->payer) {
		list_del(&user->payer_node);
		if (clean)
			user->payer->num_vmids--;
	}
	if (clean)
		ida_free(&user->smmu->vmid_map, user->vmid);
}

static int arm_smmu_s2_user_add_to(struct arm_smmu_nest_parent *nest,
				   struct arm_smmu_master *master,
				   struct arm_smmu_s2_user *user, bool stage1)
{
	int ret = arm_smmu_s2_user_alloc_vmid(master, user);

	if (ret)
		return ret;

	user->stage1 = stage1;
	down_write(&nest->lock);
	list_add_tail(&user->node, &nest->users);
	up_write(&nest->lock);
	return 0;
}

/**
 * arm_smmu_s2_user_add - Get a VMID under which a guest can use a nest parent
 * @parent: The nest parent
 * @master: A device behind the SMMU where the VMID will be used; it pays for the
 *          VMID, but may be removed before arm_smmu_s2_user_remove()
 * @user: Filled in; stays in place until arm_smmu_s2_user_remove()
 *
 * Context: Process context, may sleep.
 *
 * Return: 0, -ENOSPC if all VMIDs of the SMMU are taken or @master has paid for
 * ARM_SMMU_MASTER_MAX_VMIDS of them, -ENOMEM.
 */
int arm_smmu_s2_user_add(struct arm_smmu_domain *parent,
			 struct arm_smmu_master *master,
			 struct arm_smmu_s2_user *user)
{
	return arm_smmu_s2_user_add_to(parent->nest, master, user, true);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_user_add);

/**
 * arm_smmu_s2_user_remove - Give a VMID back
 * @parent: The nest parent
 * @user: What arm_smmu_s2_user_add() filled in; no STE carries its VMID any more
 *
 * If the SMMU does not complete the invalidation, the VMID stays allocated: its
 * next owner would find the TLB entries of this one.
 *
 * Context: Process context, may sleep.
 */
void arm_smmu_s2_user_remove(struct arm_smmu_domain *parent,
			     struct arm_smmu_s2_user *user)
{
	struct arm_smmu_cmdq_ent cmd = {
		.opcode = CMDQ_OP_TLBI_S12_VMALL,
		.tlbi.vmid = user->vmid,
	};
	int ret;

	ret = arm_smmu_cmdq_issue_cmd_with_sync(user->smmu, &cmd);
	if (ret)
		dev_err_ratelimited(user->smmu->dev,
				    "VMID %u cannot be invalidated (%d), and will not be used again\n",
				    user->vmid, ret);

	down_write(&parent->nest->lock);
	list_del(&user->node);
	up_write(&parent->nest->lock);

	arm_smmu_s2_user_free_vmid(user, !ret);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_user_remove);

/**
 * arm_smmu_master_forget_vmids - Let the VMIDs that a device paid for outlive it
 * @master: The device, which is about to be freed
 *
 * Context: Process context, may sleep. Nobody gets another VMID for @master.
 */
void arm_smmu_master_forget_vmids(struct arm_smmu_master *master)
{
	struct arm_smmu_s2_user *user;

	guard(mutex)(&arm_smmu_vmid_lock);
	list_for_each_entry(user, &master->vmids, payer_node)
		user->payer = NULL;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_master_forget_vmids);

/**
 * arm_smmu_nest_parent_get_vmid - Have a VMID for devices that use stage 2 alone
 * @smmu_domain: The domain; nothing is done unless it is a nest parent
 * @master: The device that is going to be attached to it
 *
 * If every device of a VM is behind a vIOMMU, no STE carries the nest parent's own
 * VMID. It is therefore allocated when the first device is attached to the nest
 * parent itself, and kept until the nest parent is freed.
 *
 * Context: Process context, may sleep; the caller holds arm_smmu_asid_lock.
 *
 * Return: 0, or an error of arm_smmu_s2_user_add().
 */
int arm_smmu_nest_parent_get_vmid(struct arm_smmu_domain *smmu_domain,
				  struct arm_smmu_master *master)
{
	struct arm_smmu_nest_parent *nest = smmu_domain->nest;
	int ret;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!nest || smmu_domain->s2_cfg.vmid)
		return 0;

	ret = arm_smmu_s2_user_add_to(nest, master, &nest->plain, false);
	if (ret)
		return ret;
	smmu_domain->s2_cfg.vmid = nest->plain.vmid;
	return 0;
}

/**
 * arm_smmu_nest_parent_put_vmid - Give back the VMID of a nest parent, if it has one
 * @smmu_domain: The nest parent, which is about to be freed
 *
 * Context: Process context, may sleep.
 */
void arm_smmu_nest_parent_put_vmid(struct arm_smmu_domain *smmu_domain)
{
	if (!smmu_domain->s2_cfg.vmid)
		return;

	arm_smmu_s2_user_remove(smmu_domain, &smmu_domain->nest->plain);
	smmu_domain->s2_cfg.vmid = 0;
}

/**
 * arm_smmu_nest_parent_inv_range - Carry a stage 2 change to every VMID in use
 * @smmu_domain: The nest parent
 * @iova: First IPA that changed
 * @size: Bytes
 * @granule: Bytes that an entry maps
 * @leaf: Only leaf entries changed
 *
 * The ATCs are left to the caller.
 *
 * Context: Process context, may sleep. The tables were changed before.
 */
void arm_smmu_nest_parent_inv_range(struct arm_smmu_domain *smmu_domain,
				    unsigned long iova, size_t size,
				    size_t granule, bool leaf)
{
	struct arm_smmu_nest_parent *nest = smmu_domain->nest;
	struct arm_smmu_s2_user *user;

	guard(rwsem_read)(&nest->lock);
	list_for_each_entry(user, &nest->users, node) {
		struct arm_smmu_cmdq_ent cmd = {
			.opcode = CMDQ_OP_TLBI_S2_IPA,
			.tlbi = {
				.vmid = user->vmid,
				.leaf = leaf,
			},
		};

		__arm_smmu_tlb_inv_range(user->smmu, &cmd, iova, size, granule,
					 smmu_domain);
	}

	/*
	 * An invalidation by IPA does not hit entries that combine both stages
	 * (IHI0070 4.4.3), and which VA a guest reaches an IPA by is unknown. It
	 * comes second, so that it also hits what was combined from a stage 2
	 * entry that was still there during the first.
	 */
	list_for_each_entry(user, &nest->users, node) {
		struct arm_smmu_cmdq_ent cmd = {
			.opcode = CMDQ_OP_TLBI_NH_ALL,
			.tlbi.vmid = user->vmid,
		};

		if (!user->stage1)
			continue;
		arm_smmu_cmdq_issue_cmd_with_sync(user->smmu, &cmd);
	}
}

/**
 * arm_smmu_nest_parent_inv_all - Forget all that was cached of a nest parent
 * @smmu_domain: The nest parent
 *
 * Context: Process context, may sleep.
 */
void arm_smmu_nest_parent_inv_all(struct arm_smmu_domain *smmu_domain)
{
	struct arm_smmu_nest_parent *nest = smmu_domain->nest;
	struct arm_smmu_s2_user *user;

	guard(rwsem_read)(&nest->lock);
	list_for_each_entry(user, &nest->users, node) {
		struct arm_smmu_cmdq_ent cmd = {
			.opcode = CMDQ_OP_TLBI_S12_VMALL,
			.tlbi.vmid = user->vmid,
		};

		arm_smmu_cmdq_issue_cmd_with_sync(user->smmu, &cmd);
	}
}
