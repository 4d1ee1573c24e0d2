/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nest parents: stage 2 tables that are in use under several VMIDs
 */
#ifndef _ARM_SMMU_V3_S2_H
#define _ARM_SMMU_V3_S2_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "arm-smmu-v3.h"

/*
 * The most VMIDs that one device can make its users hold. A VM needs one for its
 * vIOMMU and one for the nest parent; a VMM that replaces both at once needs four.
 */
#define ARM_SMMU_MASTER_MAX_VMIDS	8

/**
 * struct arm_smmu_vmid - A VMID that is allocated
 * @payer: Device whose share of VMIDs it counts against; NULL if there is none, or
 *         once the device is gone
 * @payer_node: Entry in arm_smmu_master::vmids
 * @stale_node: Entry in arm_smmu_device::stale_vmids, where the VMID waits until
 *              its TLB entries are invalidated; or in lost_vmids, until what uses it
 *              has stopped
 * @vmid: The VMID
 */
struct arm_smmu_vmid {
	struct arm_smmu_master		*payer;
	struct list_head		payer_node;
	struct list_head		stale_node;
	u16				vmid;
};

/**
 * struct arm_smmu_s2_vmid - A VMID under which stage 2 tables are in use
 * @node: Entry in arm_smmu_nest_parent::users
 * @smmu: SMMU whose TLB holds entries of @vmid
 * @vmid: VMID, unique on @smmu
 * @stage1: A guest's stage 1 can be on top
 * @alloc: The allocation of @vmid
 */
struct arm_smmu_s2_vmid {
	struct list_head		node;
	struct arm_smmu_device		*smmu;
	u16				vmid;
	bool				stage1;
	struct arm_smmu_vmid		*alloc;
};

/**
 * struct arm_smmu_s2_plain - The VMID of devices that use stage 2 alone
 * @s2: The VMID, on the SMMU of these devices
 * @nest: The nest parent
 * @masters: Number of devices that are attached under it, or about to be
 */
struct arm_smmu_s2_plain {
	struct arm_smmu_s2_vmid		s2;
	struct arm_smmu_nest_parent	*nest;
	unsigned int			masters;
};

/**
 * struct arm_smmu_nest_parent - What a change of stage 2 tables must reach
 * @lock: Protects changes of @users and @num_users, and arm_smmu_s2_plain::masters
 * @users: All struct arm_smmu_s2_vmid of the nest parent. Those of an SMMU are
 *         neighbours. Readers are protected by SRCU.
 * @num_users: How many
 */
struct arm_smmu_nest_parent {
	/* Not for readers */
	struct mutex			lock;
	struct list_head		users;
	unsigned int			num_users;
};

#ifdef CONFIG_ARM_SMMU_V3_IOMMUFD
int arm_smmu_nest_parent_init(struct arm_smmu_domain *smmu_domain,
			      struct arm_smmu_device *smmu, u32 flags);
bool arm_smmu_nest_parent_fits(struct arm_smmu_domain *smmu_domain,
			       struct arm_smmu_device *smmu);
int arm_smmu_s2_plain_get(struct arm_smmu_domain *smmu_domain,
			  struct arm_smmu_master *master,
			  struct arm_smmu_s2_plain **plain);
void arm_smmu_s2_plain_put(struct arm_smmu_s2_plain *plain);
int arm_smmu_s2_vmid_add(struct arm_smmu_domain *parent,
			 struct arm_smmu_master *master,
			 struct arm_smmu_s2_vmid *user);
void arm_smmu_s2_vmid_remove(struct arm_smmu_domain *parent,
			     struct arm_smmu_s2_vmid *user);
struct arm_smmu_vmid *arm_smmu_s2_vmid_abandon(struct arm_smmu_domain *parent,
					       struct arm_smmu_s2_vmid *user);
void arm_smmu_s2_vmid_found(struct arm_smmu_device *smmu, struct arm_smmu_vmid *v);
void arm_smmu_master_forget_vmids(struct arm_smmu_master *master);
struct arm_smmu_vmid *arm_smmu_vmid_alloc(struct arm_smmu_device *smmu,
					  struct arm_smmu_master *payer);
void arm_smmu_vmid_free(struct arm_smmu_device *smmu, struct arm_smmu_vmid *v);
void arm_smmu_forget_stale_vmids(struct arm_smmu_device *smmu);
void arm_smmu_nest_parent_inv_range(struct arm_smmu_domain *smmu_domain,
				    unsigned long iova, size_t size,
				    size_t granule, bool leaf);
void arm_smmu_nest_parent_inv_all(struct arm_smmu_domain *smmu_domain);
int arm_smmu_nest_parent_atc_inv(struct arm_smmu_domain *smmu_domain,
				 unsigned long iova, size_t size);
#else
static inline int arm_smmu_nest_parent_init(struct arm_smmu_domain *smmu_domain,
					    struct arm_smmu_device *smmu,
					    u32 flags)
{
	return -EOPNOTSUPP;
}

static inline bool
arm_smmu_nest_parent_fits(struct arm_smmu_domain *smmu_domain,
			  struct arm_smmu_device *smmu)
{
	return false;
}

static inline int arm_smmu_s2_plain_get(struct arm_smmu_domain *smmu_domain,
					struct arm_smmu_master *master,
					struct arm_smmu_s2_plain **plain)
{
	return 0;
}

static inline void arm_smmu_s2_plain_put(struct arm_smmu_s2_plain *plain)
{
}

static inline void arm_smmu_master_forget_vmids(struct arm_smmu_master *master)
{
}

static inline struct arm_smmu_vmid *
arm_smmu_vmid_alloc(struct arm_smmu_device *smmu, struct arm_smmu_master *payer)
{
	struct arm_smmu_vmid *v = kzalloc(sizeof(*v), GFP_KERNEL);
	int vmid;

	if (!v)
		return ERR_PTR(-ENOMEM);

	vmid = ida_alloc_range(&smmu->vmid_map, 1, (1 << smmu->vmid_bits) - 1,
			       GFP_KERNEL);
	if (vmid < 0) {
		kfree(v);
		return ERR_PTR(vmid);
	}
	v->vmid = vmid;
	return v;
}

/* If the SMMU does not complete the invalidation, the VMID is lost */
static inline void arm_smmu_vmid_free(struct arm_smmu_device *smmu,
				      struct arm_smmu_vmid *v)
{
	if (!arm_smmu_tlb_inv_vmids(smmu, &v->vmid, 1))
		ida_free(&smmu->vmid_map, v->vmid);
	kfree(v);
}

static inline void arm_smmu_forget_stale_vmids(struct arm_smmu_device *smmu)
{
}

static inline void
arm_smmu_nest_parent_inv_range(struct arm_smmu_domain *smmu_domain,
			       unsigned long iova, size_t size, size_t granule,
			       bool leaf)
{
}

static inline void
arm_smmu_nest_parent_inv_all(struct arm_smmu_domain *smmu_domain)
{
}

static inline int
arm_smmu_nest_parent_atc_inv(struct arm_smmu_domain *smmu_domain,
			     unsigned long iova, size_t size)
{
	return 0;
}
#endif

#endif
