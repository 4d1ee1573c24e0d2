/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nest parents: stage 2 tables that are in use under several VMIDs
 */
#ifndef _ARM_SMMU_V3_S2_H
#define _ARM_SMMU_V3_S2_H

#include <linux/list.h>
#include <linux/rwsem.h>

#include "arm-smmu-v3.h"

/**
 * struct arm_smmu_s2_user - A VMID under which stage 2 tables are in use
 * @node: Entry in arm_smmu_nest_parent::users
 * @smmu: SMMU whose TLB holds entries of @vmid
 * @vmid: VMID, unique on @smmu
 */
struct arm_smmu_s2_user {
	struct list_head		node;
	struct arm_smmu_device		*smmu;
	u16				vmid;
};

/**
 * struct arm_smmu_nest_parent - What a change of stage 2 tables must reach
 * @lock: Protects @users
 * @users: All struct arm_smmu_s2_user besides the domain's own VMID. Each has
 *         guests' stage 1 on top.
 */
struct arm_smmu_nest_parent {
	struct rw_semaphore		lock;
	struct list_head		users;
};

#ifdef CONFIG_ARM_SMMU_V3_IOMMUFD
int arm_smmu_nest_parent_init(struct arm_smmu_domain *smmu_domain,
			      struct arm_smmu_device *smmu, u32 flags);
int arm_smmu_s2_user_add(struct arm_smmu_domain *parent,
			 struct arm_smmu_device *smmu,
			 struct arm_smmu_s2_user *user);
void arm_smmu_s2_user_remove(struct arm_smmu_domain *parent,
			     struct arm_smmu_s2_user *user);
void arm_smmu_nest_parent_inv_range(struct arm_smmu_domain *smmu_domain,
				    unsigned long iova, size_t size,
				    size_t granule, bool leaf);
void arm_smmu_nest_parent_inv_all(struct arm_smmu_domain *smmu_domain);
#else
static inline int arm_smmu_nest_parent_init(struct arm_smmu_domain *smmu_domain,
					    struct arm_smmu_device *smmu,
					    u32 flags)
{
	return -EOPNOTSUPP;
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
#endif

#endif
