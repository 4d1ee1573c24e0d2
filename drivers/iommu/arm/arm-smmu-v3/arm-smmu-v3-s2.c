// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nest parents: stage 2 tables that are in use under several VMIDs
 *
 * Every guest on top of a nest parent has a VMID of its own, because guests
 * choose their ASIDs freely and TLB entries of stage 1 are told apart by ASID and
 * VMID alone. The devices of an SMMU that use stage 2 alone share another VMID. It
 * is there while such a device is attached.
 *
 * A change of the stage 2 tables has to reach all of these VMIDs. They are on one
 * list of the nest parent, and can be VMIDs of several SMMUs, which walk the same
 * tables. A VMID is on the list before a STE carries it and leaves it after the last
 * STE did. Whoever changes tables first writes them and then walks the list, so a
 * VMID that a walk misses has cached nothing old. In detail:
 *
 *	change				attach
 *	write the entry			add the VMID to the list
 *	smp_mb()			smp_mb()
 *	read the list			write the STE
 *
 * Every unmap reads the list, and waits for the SMMUs meanwhile. So readers are in
 * an SRCU section. They neither wait for each other, nor for an attach. Whoever takes
 * a VMID off the list waits for all unmaps of nest parents that have begun before,
 * another VM's too. These are bounded by their CMD_SYNCs, each of which gives up
 * after a second. One SRCU domain for each nest parent would avoid this wait, but
 * costs memory for each CPU that is not charged to anybody.
 *
 * All of this trusts the CMD_SYNC that follows a CFGI_STE. If it times out, the SMMU
 * may go on using the old STE for some time, although its VMID has left the list. The
 * VMID is not handed out again until a later invalidation of it has completed. On a
 * Tegra241 the two can go by different queues, so that the second one completes while
 * the first one is stuck.
 *
 * TLBIs are written to all SMMUs before the first CMD_SYNC is waited for, so that
 * the SMMUs work in parallel. ATC_INVs are not: see arm_smmu_nest_parent_atc_inv().
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
 * Lock order: arm_smmu_nest_parent::lock, then arm_smmu_vmid_lock. Neither is taken
 * under arm_smmu_asid_lock, which all SMMUs share: an allocation can wait for memory
 * and for a CMD_SYNC.
 */
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/io-pgtable.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-s2.h"

/*
 * Protects arm_smmu_device::stale_vmids and lost_vmids, arm_smmu_master::vmids and
 * num_vmids, and arm_smmu_vmid::payer
 */
static DEFINE_MUTEX(arm_smmu_vmid_lock);

/* Protects readers of arm_smmu_nest_parent::users */
DEFINE_STATIC_SRCU(arm_smmu_s2_srcu);

/*
 * The most commands by IPA for a change, of all VMIDs together. An SVA domain gives
 * up on ranges at as many with 4 KiB pages.
 */
#define ARM_SMMU_S2_MAX_CMDS	512

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

	mutex_init(&smmu_domain->nest->lock);
	INIT_LIST_HEAD(&smmu_domain->nest->users);
	smmu_domain->stage = ARM_SMMU_DOMAIN_S2;
	return 0;
}

/**
 * arm_smmu_nest_parent_fits - Tell whether an SMMU can walk a nest parent's tables
 * @smmu_domain: The nest parent, which may have been made for another SMMU
 * @smmu: The SMMU
 *
 * Context: Any.
 *
 * Return: true if @smmu has both stages, sizes of input, output and pages that are
 * in use, S2FWB if the tables rely on it, and coherent walks if nobody cleans the
 * tables to memory.
 */
bool arm_smmu_nest_parent_fits(struct arm_smmu_domain *smmu_domain,
			       struct arm_smmu_device *smmu)
{
	const struct io_pgtable_cfg *cfg =
		&io_pgtable_ops_to_pgtable(smmu_domain->pgtbl_ops)->cfg;

	if (!(smmu->features & ARM_SMMU_FEAT_NESTING))
		return false;
	if (cfg->ias > smmu->ias || cfg->oas > smmu->oas ||
	    cfg->pgsize_bitmap & ~smmu->pgsize_bitmap)
		return false;
	if (cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB &&
	    !(smmu->features & ARM_SMMU_FEAT_S2FWB))
		return false;
	return !cfg->coherent_walk || smmu->features & ARM_SMMU_FEAT_COHERENCY;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_nest_parent_fits);

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
	list_splice_init(&smmu->lost_vmids, &smmu->stale_vmids);
	list_for_each_entry_safe(v, next, &smmu->stale_vmids, stale_node) {
		list_del(&v->stale_node);
		arm_smmu_vmid_release(smmu, v);
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_forget_stale_vmids);

/* @s2 is filled in, and no STE carries the VMID yet */
static void arm_smmu_s2_vmid_list(struct arm_smmu_nest_parent *nest,
				  struct arm_smmu_s2_vmid *s2)
{
	struct arm_smmu_s2_vmid *pos;

	lockdep_assert_held(&nest->lock);

	list_for_each_entry(pos, &nest->users, node)
		if ((unsigned long)pos->smmu > (unsigned long)s2->smmu)
			break;
	list_add_tail_rcu(&s2->node, &pos->node);
	WRITE_ONCE(nest->num_users, nest->num_users + 1);

	/* Pairs with arm_smmu_s2_read_lock() */
	smp_mb();
}

static void arm_smmu_s2_vmid_unlist(struct arm_smmu_nest_parent *nest,
				    struct arm_smmu_s2_vmid *s2)
{
	lockdep_assert_held(&nest->lock);

	list_del_rcu(&s2->node);
	WRITE_ONCE(nest->num_users, nest->num_users - 1);
}

/* No STE carries the VMID any more, and then no reader has its entry */
static void arm_smmu_s2_vmid_retire(struct arm_smmu_nest_parent *nest,
				    struct arm_smmu_s2_vmid *s2)
{
	scoped_guard(mutex, &nest->lock)
		arm_smmu_s2_vmid_unlist(nest, s2);
	synchronize_srcu(&arm_smmu_s2_srcu);
}

static int arm_smmu_s2_vmid_fill(struct arm_smmu_s2_vmid *s2,
				 struct arm_smmu_master *master, bool stage1)
{
	struct arm_smmu_vmid *v = arm_smmu_vmid_alloc(master->smmu, master);

	if (IS_ERR(v))
		return PTR_ERR(v);

	s2->smmu = master->smmu;
	s2->alloc = v;
	s2->vmid = v->vmid;
	s2->stage1 = stage1;
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
	int ret = arm_smmu_s2_vmid_fill(user, master, true);

	if (ret)
		return ret;

	guard(mutex)(&parent->nest->lock);
	arm_smmu_s2_vmid_list(parent->nest, user);
	return 0;
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

	arm_smmu_s2_vmid_retire(parent->nest, user);
	arm_smmu_vmid_put(user->smmu, user->alloc, !ret);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_vmid_remove);

/**
 * arm_smmu_s2_vmid_abandon - Stop the use of a VMID without giving it back
 * @parent: The nest parent
 * @user: What arm_smmu_s2_vmid_add() filled in
 *
 * For hardware that may go on using the VMID and cannot be stopped. The VMID stays
 * allocated until arm_smmu_s2_vmid_found() or until the SMMU is removed, and goes on
 * counting against the device that paid for it: that device may be what keeps the
 * hardware from stopping.
 *
 * Context: Process context, may sleep.
 *
 * Return: what arm_smmu_s2_vmid_found() takes.
 */
struct arm_smmu_vmid *arm_smmu_s2_vmid_abandon(struct arm_smmu_domain *parent,
					       struct arm_smmu_s2_vmid *user)
{
	arm_smmu_vmid_inv(user->smmu, user->vmid);
	arm_smmu_s2_vmid_retire(parent->nest, user);

	/* Its payer, whose VMs may do this again and again, goes on paying */
	guard(mutex)(&arm_smmu_vmid_lock);
	list_add_tail(&user->alloc->stale_node, &user->smmu->lost_vmids);
	return user->alloc;
}

/**
 * arm_smmu_s2_vmid_found - Let a VMID be used again that was given up
 * @smmu: The SMMU
 * @v: What arm_smmu_s2_vmid_abandon() returned; the hardware has stopped
 *
 * The next allocation of a VMID invalidates it.
 *
 * Context: Process context, may sleep.
 */
void arm_smmu_s2_vmid_found(struct arm_smmu_device *smmu, struct arm_smmu_vmid *v)
{
	guard(mutex)(&arm_smmu_vmid_lock);
	list_move_tail(&v->stale_node, &smmu->stale_vmids);
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
 * arm_smmu_s2_plain_get - Have a VMID for a device that will use stage 2 alone
 * @smmu_domain: The domain; nothing is done unless it is a nest parent
 * @master: The device that is going to be attached to it
 * @plain: Set to the VMID, which arm_smmu_s2_plain_put() gives back
 *
 * If every device of a VM is behind a vIOMMU, no STE carries a VMID of the nest
 * parent's own. So there is one on each SMMU from the first attach to the last
 * detach of a device behind it.
 *
 * Context: Process context, may sleep. The caller does not hold arm_smmu_asid_lock.
 *
 * Return: 0, or an error of arm_smmu_s2_vmid_add().
 */
int arm_smmu_s2_plain_get(struct arm_smmu_domain *smmu_domain,
			  struct arm_smmu_master *master,
			  struct arm_smmu_s2_plain **plain)
{
	struct arm_smmu_nest_parent *nest = smmu_domain->nest;
	struct arm_smmu_s2_plain *new;
	struct arm_smmu_s2_vmid *s2;
	int ret;

	lockdep_assert_not_held(&arm_smmu_asid_lock);

	if (!nest)
		return 0;

	guard(mutex)(&nest->lock);
	list_for_each_entry(s2, &nest->users, node) {
		if (s2->stage1 || s2->smmu != master->smmu)
			continue;
		*plain = container_of(s2, struct arm_smmu_s2_plain, s2);
		(*plain)->masters++;
		return 0;
	}

	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	ret = arm_smmu_s2_vmid_fill(&new->s2, master, false);
	if (ret) {
		kfree(new);
		return ret;
	}
	new->nest = nest;
	new->masters = 1;
	arm_smmu_s2_vmid_list(nest, &new->s2);
	*plain = new;
	return 0;
}

/**
 * arm_smmu_s2_plain_put - Give back what arm_smmu_s2_plain_get() has set
 * @plain: The VMID, which no STE carries for this device any more; or NULL
 *
 * Context: Process context, may sleep. The caller does not hold arm_smmu_asid_lock.
 */
void arm_smmu_s2_plain_put(struct arm_smmu_s2_plain *plain)
{
	lockdep_assert_not_held(&arm_smmu_asid_lock);

	if (!plain)
		return;

	/* Off the list it cannot be found by a new device either */
	scoped_guard(mutex, &plain->nest->lock) {
		if (--plain->masters)
			return;
		arm_smmu_s2_vmid_unlist(plain->nest, &plain->s2);
	}
	synchronize_srcu(&arm_smmu_s2_srcu);
	arm_smmu_vmid_free(plain->s2.smmu, plain->s2.alloc);
	kfree(plain);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_plain_put);

/* How many SMMUs can have commands that nobody has waited for yet */
#define ARM_SMMU_S2_POSTED_MAX	8

/* Commands for several SMMUs, one SMMU after the other */
struct arm_smmu_s2_cmds {
	struct arm_smmu_device *smmu;
	int err;
	unsigned int num_posted;
	struct {
		struct arm_smmu_device *smmu;
		struct arm_smmu_cmdq *cmdq;
	} posted[ARM_SMMU_S2_POSTED_MAX];
	struct arm_smmu_cmdq_batch batch;
};

static void arm_smmu_s2_cmds_init(struct arm_smmu_s2_cmds *cmds)
{
	/* Clearing the 1 KiB of the batch would cost more than a command does */
	cmds->smmu = NULL;
	cmds->err = 0;
	cmds->num_posted = 0;
}

static void arm_smmu_s2_cmds_wait(struct arm_smmu_s2_cmds *cmds)
{
	unsigned int i;
	int err;

	for (i = 0; i != cmds->num_posted; i++) {
		/* A CMD_SYNC waits for the commands of its own queue only */
		err = arm_smmu_cmdq_issue_cmdlist(cmds->posted[i].smmu,
						  cmds->posted[i].cmdq, NULL, 0,
						  true);
		cmds->err = cmds->err ?: err;
	}
	cmds->num_posted = 0;
}

/* Wait until all commands are complete. Returns the first error of any SMMU. */
static int arm_smmu_s2_cmds_end(struct arm_smmu_s2_cmds *cmds)
{
	int err = 0;

	if (cmds->smmu)
		err = arm_smmu_cmdq_batch_submit(cmds->smmu, &cmds->batch);
	cmds->smmu = NULL;
	cmds->err = cmds->err ?: err;
	arm_smmu_s2_cmds_wait(cmds);
	return cmds->err;
}

/* The next commands are for another SMMU. Those before execute meanwhile. */
static void arm_smmu_s2_cmds_post(struct arm_smmu_s2_cmds *cmds)
{
	struct arm_smmu_cmdq_batch *batch = &cmds->batch;

	if (!cmds->smmu)
		return;

	/* It wants a CMD_SYNC whenever commands are issued */
	if (cmds->smmu->options & ARM_SMMU_OPT_CMDQ_FORCE_SYNC) {
		arm_smmu_s2_cmds_end(cmds);
		return;
	}
	if (cmds->num_posted == ARM_SMMU_S2_POSTED_MAX)
		arm_smmu_s2_cmds_wait(cmds);

	arm_smmu_cmdq_issue_cmdlist(cmds->smmu, batch->cmdq, batch->cmds,
				    batch->num, false);
	cmds->posted[cmds->num_posted].smmu = cmds->smmu;
	cmds->posted[cmds->num_posted].cmdq = batch->cmdq;
	cmds->num_posted++;
	cmds->smmu = NULL;
}

/* The batch is for @smmu, and begins with a command like @cmd */
static void arm_smmu_s2_cmds_on(struct arm_smmu_s2_cmds *cmds,
				struct arm_smmu_device *smmu,
				struct arm_smmu_cmdq_ent *cmd)
{
	if (cmds->smmu == smmu)
		return;
	arm_smmu_s2_cmds_post(cmds);
	cmds->smmu = smmu;
	arm_smmu_cmdq_batch_init(smmu, &cmds->batch, cmd);
}

static void arm_smmu_s2_cmds_add(struct arm_smmu_s2_cmds *cmds,
				 struct arm_smmu_device *smmu,
				 struct arm_smmu_cmdq_ent *cmd)
{
	arm_smmu_s2_cmds_on(cmds, smmu, cmd);
	arm_smmu_cmdq_batch_add(smmu, &cmds->batch, cmd);
}

/*
 * Add the first @num commands of the batch once more, for another VMID. Nothing else of
 * them differs, and a copy takes less than half of what a new command takes.
 */
static void arm_smmu_s2_cmds_repeat(struct arm_smmu_s2_cmds *cmds,
				    unsigned int num, u16 vmid)
{
	struct arm_smmu_cmdq_batch *batch = &cmds->batch;
	bool sync = cmds->smmu->options & ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
	u64 *to, *from = batch->cmds;
	int err;

	if (batch->num + num > CMDQ_BATCH_ENTRIES - sync) {
		err = arm_smmu_cmdq_issue_cmdlist(cmds->smmu, batch->cmdq,
						  batch->cmds, batch->num, sync);
		cmds->err = cmds->err ?: err;
		/* The commands are still there, to be changed in place */
		batch->num = 0;
	}

	to = &batch->cmds[batch->num * CMDQ_ENT_DWORDS];
	batch->num += num;
	for (; num--; from += CMDQ_ENT_DWORDS, to += CMDQ_ENT_DWORDS) {
		to[0] = (from[0] & ~CMDQ_TLBI_0_VMID) |
			FIELD_PREP(CMDQ_TLBI_0_VMID, vmid);
		to[1] = from[1];
	}
}

/* Add a command that names nothing but a VMID. The batch has no other opcode. */
static void arm_smmu_s2_cmds_add_vmid(struct arm_smmu_s2_cmds *cmds,
				      struct arm_smmu_s2_vmid *s2, u8 opcode)
{
	struct arm_smmu_cmdq_ent cmd __uninitialized;

	if (cmds->smmu == s2->smmu) {
		arm_smmu_s2_cmds_repeat(cmds, 1, s2->vmid);
		return;
	}
	cmd = (struct arm_smmu_cmdq_ent){
		.opcode = opcode,
		.tlbi.vmid = s2->vmid,
	};
	arm_smmu_s2_cmds_add(cmds, s2->smmu, &cmd);
}

/* The tables were changed before */
static int arm_smmu_s2_read_lock(void)
	__acquires(&arm_smmu_s2_srcu)
{
	/* Pairs with arm_smmu_s2_vmid_list() */
	smp_mb();
	return srcu_read_lock(&arm_smmu_s2_srcu);
}

#define for_each_s2_vmid(s2, nest)					\
	list_for_each_entry_srcu(s2, &(nest)->users, node,		\
				 srcu_read_lock_held(&arm_smmu_s2_srcu))

/* How many commands arm_smmu_tlb_add_range() makes of a range */
static unsigned long arm_smmu_s2_range_cmds(struct arm_smmu_device *smmu,
					    struct arm_smmu_domain *smmu_domain,
					    size_t size, size_t granule)
{
	unsigned long num_pages, num = 0;

	if (!(smmu->features & ARM_SMMU_FEAT_RANGE_INV))
		return size / granule;

	num_pages = size >> __ffs(smmu_domain->domain.pgsize_bitmap);
	for (; num_pages; num++)
		num_pages &= ~((unsigned long)CMDQ_TLBI_RANGE_NUM_MAX
			       << __ffs(num_pages));
	return num;
}

/**
 * arm_smmu_nest_parent_inv_range - Carry a stage 2 change to every VMID in use
 * @smmu_domain: The nest parent
 * @iova: First IPA that changed
 * @size: Bytes
 * @granule: Bytes that an entry maps
 * @leaf: Only leaf entries changed
 *
 * First the entries of stage 2 are invalidated by their IPA, under all VMIDs. An
 * invalidation by IPA does not hit entries that combine both stages (IHI0070
 * 4.4.3), and which VA a guest reaches an IPA by is unknown. So all of the guests'
 * stage 1 comes second, and also hits what was combined from a stage 2 entry that
 * was still there during the first.
 *
 * If the ranges of all VMIDs would be more than ARM_SMMU_S2_MAX_CMDS commands, each
 * VMID is invalidated as a whole, by one command. So a change is at most that many
 * commands by IPA and one for each VMID. SMMUs with and without range invalidation
 * decide for themselves, and both times alike.
 *
 * The ATCs are left to the caller.
 *
 * Context: Any. The tables were changed before.
 */
void arm_smmu_nest_parent_inv_range(struct arm_smmu_domain *smmu_domain,
				    unsigned long iova, size_t size,
				    size_t granule, bool leaf)
{
	struct arm_smmu_nest_parent *nest = smmu_domain->nest;
	struct arm_smmu_s2_cmds cmds __uninitialized;
	struct arm_smmu_device *smmu = NULL;
	struct arm_smmu_s2_vmid *s2;
	unsigned long limit, num = 0;
	/* Commands of a VMID that the batch begins with, 0 if it does not */
	unsigned int again = 0;
	int idx;

	if (!size)
		return;

	arm_smmu_s2_cmds_init(&cmds);
	idx = arm_smmu_s2_read_lock();
	limit = ARM_SMMU_S2_MAX_CMDS / max(READ_ONCE(nest->num_users), 1);

	for_each_s2_vmid(s2, nest) {
		struct arm_smmu_cmdq_ent cmd __uninitialized;

		if (smmu != s2->smmu) {
			smmu = s2->smmu;
			num = arm_smmu_s2_range_cmds(smmu, smmu_domain, size,
						     granule);
			again = 0;
		}
		if (num > limit) {
			arm_smmu_s2_cmds_add_vmid(&cmds, s2,
						  CMDQ_OP_TLBI_S12_VMALL);
			continue;
		}
		if (again) {
			arm_smmu_s2_cmds_repeat(&cmds, again, s2->vmid);
			continue;
		}

		cmd = (struct arm_smmu_cmdq_ent){
			.opcode = CMDQ_OP_TLBI_S2_IPA,
			.tlbi = {
				.vmid = s2->vmid,
				.leaf = leaf,
			},
		};
		arm_smmu_s2_cmds_on(&cmds, smmu, &cmd);
		arm_smmu_tlb_add_range(smmu, &cmds.batch, &cmd, iova, size,
				       granule, smmu_domain);
		/* A range that is more than a batch is not there any more */
		if (num <= CMDQ_BATCH_ENTRIES / 2)
			again = cmds.batch.num;
	}
	arm_smmu_s2_cmds_end(&cmds);

	smmu = NULL;
	for_each_s2_vmid(s2, nest) {
		if (!s2->stage1)
			continue;
		if (smmu != s2->smmu) {
			smmu = s2->smmu;
			num = arm_smmu_s2_range_cmds(smmu, smmu_domain, size,
						     granule);
		}
		if (num <= limit)
			arm_smmu_s2_cmds_add_vmid(&cmds, s2,
						  CMDQ_OP_TLBI_NH_ALL);
	}
	arm_smmu_s2_cmds_end(&cmds);
	srcu_read_unlock(&arm_smmu_s2_srcu, idx);
}

/**
 * arm_smmu_nest_parent_inv_all - Forget all that was cached of a nest parent
 * @smmu_domain: The nest parent
 *
 * Context: Any.
 */
void arm_smmu_nest_parent_inv_all(struct arm_smmu_domain *smmu_domain)
{
	struct arm_smmu_nest_parent *nest = smmu_domain->nest;
	struct arm_smmu_s2_cmds cmds __uninitialized;
	struct arm_smmu_s2_vmid *s2;
	int idx;

	arm_smmu_s2_cmds_init(&cmds);
	idx = arm_smmu_s2_read_lock();
	for_each_s2_vmid(s2, nest)
		arm_smmu_s2_cmds_add_vmid(&cmds, s2, CMDQ_OP_TLBI_S12_VMALL);
	arm_smmu_s2_cmds_end(&cmds);
	srcu_read_unlock(&arm_smmu_s2_srcu, idx);
}

/**
 * arm_smmu_nest_parent_atc_inv - Carry a stage 2 change to the ATCs
 * @smmu_domain: The nest parent
 * @iova: First IPA that changed
 * @size: Bytes, 0 for all
 *
 * Does for several SMMUs what arm_smmu_atc_inv_domain() does for one, and relies on
 * the same ordering.
 *
 * Context: Any. The TLBs were invalidated before.
 *
 * Return: 0, or -ETIMEDOUT if an SMMU does not complete it.
 */
int arm_smmu_nest_parent_atc_inv(struct arm_smmu_domain *smmu_domain,
				 unsigned long iova, size_t size)
{
	struct arm_smmu_s2_cmds cmds __uninitialized;
	struct arm_smmu_master_domain *md;
	unsigned long flags, from = 0;
	struct arm_smmu_cmdq_ent cmd;
	bool again;
	int err, i;

	arm_smmu_s2_cmds_init(&cmds);
	do {
		again = false;
		spin_lock_irqsave(&smmu_domain->devices_lock, flags);
		list_for_each_entry(md, &smmu_domain->devices, devices_elm) {
			struct arm_smmu_master *master = md->master;

			if (!master->ats_enabled ||
			    (unsigned long)master->smmu < from)
				continue;

			/* One SMMU at a time: its queue can be full */
			if (cmds.smmu && cmds.smmu != master->smmu) {
				from = (unsigned long)master->smmu;
				again = true;
				break;
			}

			/* Under stage 1 an ATC holds VAs */
			if (md->nested)
				arm_smmu_atc_inv_to_cmd(IOMMU_NO_PASID, 0, 0,
							&cmd);
			else
				arm_smmu_atc_inv_to_cmd(md->ssid, iova, size,
							&cmd);

			for (i = 0; i < master->num_streams; i++) {
				cmd.atc.sid = master->streams[i].id;
				arm_smmu_s2_cmds_add(&cmds, master->smmu, &cmd);
			}
		}
		spin_unlock_irqrestore(&smmu_domain->devices_lock, flags);
		/*
		 * Whoever issues the next CMD_SYNC learns that a device did not
		 * answer, so it must be ours. With more than CMDQ_BATCH_ENTRIES
		 * streams, the CMD_SYNC of another can come before it.
		 */
		err = arm_smmu_s2_cmds_end(&cmds);
	} while (again);
	return err;
}
