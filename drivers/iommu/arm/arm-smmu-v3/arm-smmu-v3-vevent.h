/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events for the guest that owns a device's stage 1
 */
#ifndef _ARM_SMMU_V3_VEVENT_H
#define _ARM_SMMU_V3_VEVENT_H

#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3.h"

#ifdef CONFIG_ARM_SMMU_V3_IOMMUFD
void arm_smmu_master_set_vsmmu(struct arm_smmu_master *master,
			       struct iommufd_viommu *vsmmu, u32 vsid);
int arm_smmu_vevent_report(struct arm_smmu_master *master, const u64 *evt,
			   u64 nr);
#else
static inline void arm_smmu_master_set_vsmmu(struct arm_smmu_master *master,
					     struct iommufd_viommu *vsmmu, u32 vsid)
{
}

static inline int arm_smmu_vevent_report(struct arm_smmu_master *master,
					 const u64 *evt, u64 nr)
{
	return -EOPNOTSUPP;
}
#endif

/* The following are exposed for testing purposes. */
#if IS_ENABLED(CONFIG_KUNIT)
bool arm_smmu_vevent_make(struct iommu_vevent_arm_smmuv3 *vevent,
			  const u64 *evt, u32 vsid);
u64 arm_smmu_next_event(u64 taken, u32 prod, u32 shift);
#endif

#endif
