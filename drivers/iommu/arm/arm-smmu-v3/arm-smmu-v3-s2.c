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
 * many iommufds it opens.
 *
 * A VMID whose TLB entries could not be invalidated is not handed out again, and
 * goes on counting. It is on arm_smmu_device::stale_vmids until an allocation on
 * the same SMMU has repeated the invalidation with success: another VM's device
 * may have caused the timeout, and may be gone by then. While commands are issued,
 * arm_smmu_vmid_lock is not held, so that nobody else waits for them. Meanwhile
 * the VMIDs stay allocated. Another thread that allocates one in that time has to
 * do with what is free.
 *
 * Lock order: arm_smmu_domain::init_mutex, then either arm_smmu_vmid_lock or
 * arm_smmu_nest_parent::lock, which are not nested. Neither of the two is taken under
 * arm_smmu_asid_lock, which all SMMUs share: an allocation can wait for memory, for
 * an unmap, and for a CMD_SYNC.
 */
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-s2.h"

/*
 * Protects arm_smmu_device::stale_vmids, arm_smmu_master::vmids and num_vmids, and
 * arm_smmu_vmid::payer
 */
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

/* How many VMIDs one allocation tries to get back: as many as a batch can have */
#define ARM_SMMU_STALE_VMIDS_MAX	(CMDQ_BATCH_ENTRIES - 1)

/* Nothing is cached under @v any more */
static void arm_smmu_vmid_release(struct arm_smmu_device *smmu,
				  struct arm_smmu_vmid *v)
{
	lockdep_assert_held(&arm_smmu_vmid_lock);

	if (v->payer) {
		list_del(&v->payer_node);
		v->payer->num_vmids--;
	}
	ida_free(&smmu->vmid_map, v->vmid);
	kfree(v);
}

/* Try again to invalidate VMIDs that could not be invalidated before */
static void arm_smmu_retry_stale_vmids(struct arm_smmu_device *smmu)
{
	u16 vmids[ARM_SMMU_STALE_VMIDS_MAX];
	struct arm_smmu_vmid *v, *next;
	LIST_HEAD(batch);
	int num = 0;
	int ret;

	scoped_guard(mutex, &arm_smmu_vmid_lock) {
		list_for_each_entry_safe(v, next, &smmu->stale_vmids,
					 stale_node) {
			if (num == ARRAY_SIZE(vmids))
				break;
			list_move_tail(&v->stale_node, &batch);
			vmids[num++] = v->vmid;
		}
	}
	if (!num)
		return;

	ret = arm_smmu_tlb_inv_vmids(smmu, vmids, num);

	guard(mutex)(&arm_smmu_vmid_lock);
	if (ret) {
		list_splice_tail(&batch, &smmu->stale_vmids);
		return;
	}
	list_for_each_entry_safe(v, next, &batch, stale_node)
		arm_smmu_vmid_release(smmu, v);
}

/**
 * arm_smmu_vmid_alloc - Allocate a VMID
 * @smmu: The SMMU where it will be used
 * @payer: The device behind @smmu that pays for it, or NULL
 *
 * Context: Process context, may sleep. Waits for at most one CMD_SYNC.
 *
 * Return: the allocation, or an error pointer: -ENOSPC if all VMIDs of @smmu are
 * taken or @payer has paid for ARM_SMMU_MASTER_MAX_VMIDS of them, -ENOMEM.
 */
struct arm_smmu_vmid *arm_smmu_vmid_alloc(struct arm_smmu_device *smmu,
					  struct arm_smmu_master *payer)
{
	struct arm_smmu_vmid *v;
	int vmid;

	v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);
	if (!v)
		return ERR_PTR(-ENOMEM);

	arm_smmu_retry_stale_vmids(smmu);

	guard(mutex)(&arm_smmu_vmid_lock);
	if (payer && payer->num_vmids >= ARM_SMMU_MASTER_MAX_VMIDS) {
		kfree(v);
		return ERR_PTR(-ENOSPC);
	}

	/* VMID 0 is for STEs without stage 2 */
	vmid = ida_alloc_range(&smmu->vmid_map, 1, (1 << smmu->vmid_bits) - 1,
			       GFP_KERNEL_ACCOUNT);
	if (vmid < 0) {
		kfree(v);
		return ERR_PTR(vmid);
	}

	v->vmid = vmid;
	v->payer = payer;
	if (payer) {
		list_add(&v->payer_node, &payer->vmids);
		payer->num_vmids++;
	}
	return v;
}

/* Unless it is @clean, the VMID stays allocated and its payer short of it */
static void arm_smmu_vmid_put(struct arm_smmu_device *smmu,
			      struct arm_smmu_vmid *v, bool clean)
{
	guard(mutex)(&arm_smmu_vmid_lock);
	if (clean)
		arm_smmu_vmid_release(smmu, v);
	else
		list_add_tail(&v->stale_node, &smmu->stale_vmids);
}

static int arm_smmu_vmid_inv(struct arm_smmu_device *smmu, u16 vmid)
{
	int ret = arm_smmu_tlb_inv_vmids(smmu, &vmid, 1);

	if (ret)
		dev_err_ratelimited(smmu->dev,
				    "VMID %u cannot be invalidated (%d), and will not be used until it is\n",
				    vmid, ret);
	return ret;
}

/**
 * arm_smmu_vmid_free - Invalidate a VMID and give it back
 * @smmu: The SMMU
 * @v: What arm_smmu_vmid_alloc() returned; no STE carries the VMID any more
 *
 * Context: Process context, may sleep.
 */
void arm_smmu_vmid_free(struct arm_smmu_device *smmu, struct arm_smmu_vmid *v)
{
	arm_smmu_vmid_put(smmu, v, !arm_smmu_vmid_inv(smmu, v->vmid));
}

/**
 * arm_smmu_forget_stale_vmids - Free what is left of VMIDs of an SMMU
 * @smmu: The SMMU, which is about to be removed
 *
 * Context: Process context, may sleep. Nobody gets another VMID of @smmu.
 */
void arm_smmu_forget_stale_vmids(struct arm_smmu_device *smmu)
{
	struct arm_smmu_vmid *v, *next;

	guard(mutex)(&arm_smmu_vmid_lock);
	list_for_each_entry_safe(v, next, &smmu->stale_vmids, stale_node) {
		list_del(&v->stale_node);
		arm_smmu_vmid_release(smmu, v);
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_forget_stale_vmids);

static int arm_smmu_s2_vmid_add_to(struct arm_smmu_nest_parent *nest,
				   struct arm_smmu_master *master,
				   struct arm_smmu_s2_vmid *user, bool stage1)
{
	struct arm_smmu_vmid *v = arm_smmu_vmid_alloc(master->smmu, master);

	if (IS_ERR(v))
		return PTR_ERR(v);

	user->smmu = master->smmu;
	user->alloc = v;
	user->vmid = v->vmid;
	user->stage1 = stage1;
	down_write(&nest->lock);
	list_add_tail(&user->node, &nest->users);
	up_write(&nest->lock);
	return 0;
}

/**
 * arm_smmu_s2_vmid_add - Get a VMID under which a guest can use a nest parent
 * @parent: The nest parent
 * @master: A device behind the SMMU where the VMID will be used; it pays for the
 *          VMID, but may be removed before arm_smmu_s2_vmid_remove()
 * @user: Filled in; stays in place until arm_smmu_s2_vmid_remove()
 *
 * Context: Process context, may sleep.
 *
 * Return: 0, -ENOSPC if all VMIDs of the SMMU are taken or @master has paid for
 * ARM_SMMU_MASTER_MAX_VMIDS of them, -ENOMEM.
 */
int arm_smmu_s2_vmid_add(struct arm_smmu_domain *parent,
			 struct arm_smmu_master *master,
			 struct arm_smmu_s2_vmid *user)
{
	return arm_smmu_s2_vmid_add_to(parent->nest, master, user, true);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_vmid_add);

/**
 * arm_smmu_s2_vmid_remove - Give a VMID back
 * @parent: The nest parent
 * @user: What arm_smmu_s2_vmid_add() filled in; no STE carries its VMID any more
 *
 * If the SMMU does not complete the invalidation, the VMID stays allocated until
 * a later one completes: its next owner would find the TLB entries of this one.
 *
 * Context: Process context, may sleep.
 */
void arm_smmu_s2_vmid_remove(struct arm_smmu_domain *parent,
			     struct arm_smmu_s2_vmid *user)
{
	int ret = arm_smmu_vmid_inv(user->smmu, user->vmid);

	down_write(&parent->nest->lock);
	list_del(&user->node);
	up_write(&parent->nest->lock);

	arm_smmu_vmid_put(user->smmu, user->alloc, !ret);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_vmid_remove);

/**
 * arm_smmu_s2_vmid_abandon - Stop the use of a VMID without giving it back
 * @parent: The nest parent
 * @user: What arm_smmu_s2_vmid_add() filled in
 *
 * For hardware that may go on using the VMID and cannot be stopped. The VMID stays
 * allocated until the SMMU is removed, and goes on counting against the device that
 * paid for it: that device may be what keeps the hardware from stopping.
 *
 * Context: Process context, may sleep.
 */
void arm_smmu_s2_vmid_abandon(struct arm_smmu_domain *parent,
			      struct arm_smmu_s2_vmid *user)
{
	arm_smmu_vmid_inv(user->smmu, user->vmid);

	down_write(&parent->nest->lock);
	list_del(&user->node);
	up_write(&parent->nest->lock);

	/* Stays on the list of its payer, whose VMs may do this again and again */
}

/**
 * arm_smmu_master_forget_vmids - Let the VMIDs that a device paid for outlive it
 * @master: The device, which is about to be freed
 *
 * Context: Process context, may sleep. Nobody gets another VMID for @master.
 */
void arm_smmu_master_forget_vmids(struct arm_smmu_master *master)
{
	struct arm_smmu_vmid *v;

	guard(mutex)(&arm_smmu_vmid_lock);
	list_for_each_entry(v, &master->vmids, payer_node)
		v->payer = NULL;
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
 * Context: Process context, may sleep; takes the init_mutex of @smmu_domain. The
 * caller does not hold arm_smmu_asid_lock.
 *
 * Return: 0, or an error of arm_smmu_s2_vmid_add().
 */
int arm_smmu_nest_parent_get_vmid(struct arm_smmu_domain *smmu_domain,
				  struct arm_smmu_master *master)
{
	struct arm_smmu_nest_parent *nest = smmu_domain->nest;
	int ret;

	lockdep_assert_not_held(&arm_smmu_asid_lock);

	if (!nest)
		return 0;

	guard(mutex)(&smmu_domain->init_mutex);
	if (smmu_domain->s2_cfg.vmid)
		return 0;

	ret = arm_smmu_s2_vmid_add_to(nest, master, &nest->plain, false);
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

	arm_smmu_s2_vmid_remove(smmu_domain, &smmu_domain->nest->plain);
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
	struct arm_smmu_s2_vmid *user;

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
	struct arm_smmu_s2_vmid *user;

	guard(rwsem_read)(&nest->lock);
	list_for_each_entry(user, &nest->users, node) {
		struct arm_smmu_cmdq_ent cmd = {
			.opcode = CMDQ_OP_TLBI_S12_VMALL,
			.tlbi.vmid = user->vmid,
		};

		arm_smmu_cmdq_issue_cmd_with_sync(user->smmu, &cmd);
	}
}
