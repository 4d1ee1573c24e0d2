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
 */
#include <kunit/visibility.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-s2.h"

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

/**
 * arm_smmu_s2_user_add - Get a VMID under which a nest parent can be used
 * @parent: The nest parent
 * @smmu: Where the VMID will be used
 * @user: Filled in; stays in place until arm_smmu_s2_user_remove()
 *
 * Context: Process context, may sleep.
 *
 * Return: 0, -ENOSPC if all VMIDs of @smmu are taken, -ENOMEM.
 */
int arm_smmu_s2_user_add(struct arm_smmu_domain *parent,
			 struct arm_smmu_device *smmu,
			 struct arm_smmu_s2_user *user)
{
	int vmid;

	/* VMID 0 is for STEs without stage 2 */
	vmid = ida_alloc_range(&smmu->vmid_map, 1, (1 << smmu->vmid_bits) - 1,
			       GFP_KERNEL_ACCOUNT);
	if (vmid < 0)
		return vmid;

	user->smmu = smmu;
	user->vmid = vmid;

	down_write(&parent->nest->lock);
	list_add_tail(&user->node, &parent->nest->users);
	up_write(&parent->nest->lock);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_user_add);

/**
 * arm_smmu_s2_user_remove - Give a VMID back
 * @parent: The nest parent
 * @user: What arm_smmu_s2_user_add() filled in; no STE carries its VMID any more
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

	/* The next owner of the VMID must not find anything */
	arm_smmu_cmdq_issue_cmd_with_sync(user->smmu, &cmd);

	down_write(&parent->nest->lock);
	list_del(&user->node);
	up_write(&parent->nest->lock);

	ida_free(&user->smmu->vmid_map, user->vmid);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_user_remove);

/**
 * arm_smmu_nest_parent_inv_range - Carry a stage 2 change to all guests on top
 * @smmu_domain: The nest parent
 * @iova: First IPA that changed
 * @size: Bytes
 * @granule: Bytes that an entry maps
 * @leaf: Only leaf entries changed
 *
 * The domain's own VMID and the ATCs are left to the caller.
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
	struct arm_smmu_cmdq_ent cmd = {
		.opcode = CMDQ_OP_TLBI_S12_VMALL,
		.tlbi.vmid = smmu_domain->s2_cfg.vmid,
	};

	arm_smmu_cmdq_issue_cmd_with_sync(smmu_domain->smmu, &cmd);

	guard(rwsem_read)(&nest->lock);
	list_for_each_entry(user, &nest->users, node) {
		cmd.tlbi.vmid = user->vmid;
		arm_smmu_cmdq_issue_cmd_with_sync(user->smmu, &cmd);
	}
}
