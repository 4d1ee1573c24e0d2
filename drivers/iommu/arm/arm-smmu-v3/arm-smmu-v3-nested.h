/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's stage 1 on top of the host's stage 2
 */
#ifndef _ARM_SMMU_V3_NESTED_H
#define _ARM_SMMU_V3_NESTED_H

#include <linux/iommufd_viommu.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3.h"
#include "arm-smmu-v3-s2.h"
#include "arm-smmu-v3-vcmd.h"

/**
 * struct arm_vsmmu - The slice of an SMMU that a VM owns
 * @core: iommufd's part
 * @smmu: The physical SMMU
 * @parent: Stage 2 under all of the VM's devices
 * @s2: The VMID
 * @rules: Commands that the guest may use
 * @ats_lock: Held for reading while ATC_INVs of the guest execute, and for writing
 *            while a device's &arm_smmu_master.ats_vsmmu becomes this vSMMU or
 *            ceases to be
 * @atc_mutex: Held while ATC_INVs of the guest execute, so that a VM has one block
 *             of them under way
 */
struct arm_vsmmu {
	struct iommufd_viommu core;
	struct arm_smmu_device *smmu;
	struct arm_smmu_domain *parent;
	struct arm_smmu_s2_vmid s2;
	struct arm_smmu_vcmd_rules rules;
	struct rw_semaphore ats_lock;
	struct mutex atc_mutex;	/* One block of ATC_INVs at a time */
};

/**
 * struct arm_smmu_nested_domain - What a guest wrote into a STE
 * @domain: Generic part
 * @vsmmu: The guest's SMMU, which the nested hwpt holds a reference on
 * @ste: The two words that are the guest's; both 0 if they ask for abort
 */
struct arm_smmu_nested_domain {
	struct iommu_domain domain;
	struct arm_vsmmu *vsmmu;
	__le64 ste[2];
};

static inline struct arm_smmu_nested_domain *
to_smmu_nested_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct arm_smmu_nested_domain, domain);
}

#ifdef CONFIG_ARM_SMMU_V3_IOMMUFD
static inline struct arm_smmu_domain *
arm_smmu_nested_parent(struct iommu_domain *domain)
{
	return to_smmu_nested_domain(domain)->vsmmu->parent;
}

/* Types that an implementation of the SMMU adds */
extern const struct iommufd_viommu_ops tegra241_vsmmu_ops;

void arm_smmu_nested_dt_quirks(struct arm_smmu_device *smmu,
			       const struct device_node *np);
bool arm_smmu_master_nestable(struct arm_smmu_master *master);
bool arm_smmu_master_nestable_on(struct arm_smmu_master *master,
				 struct arm_smmu_domain *parent);
struct iommu_domain *
arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			      const struct iommu_user_data *user_data);
bool arm_smmu_nested_translates(struct iommu_domain *domain);
int arm_smmu_attach_dev_nested(struct iommu_domain *domain, struct device *dev);
void arm_smmu_nested_leave(struct iommu_domain *domain, struct device *dev);
int arm_vsmmu_init(struct iommufd_viommu *viommu, struct device *dev,
		   struct iommu_domain *parent,
		   struct iommu_user_data *user_data);
void arm_vsmmu_destroy(struct iommufd_viommu *viommu);
int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev);
void arm_vsmmu_vdevice_destroy(struct iommufd_vdevice *vdev);
size_t arm_vsmmu_veventq_size(struct iommufd_viommu *viommu, unsigned int type);
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
			       struct iommu_user_data_array *array);
void arm_vsmmu_ats_prepare(struct arm_smmu_attach_state *state,
			   struct iommu_domain *domain);
void arm_vsmmu_ats_commit_begin(struct arm_smmu_attach_state *state);
void arm_vsmmu_ats_commit_end(struct arm_smmu_attach_state *state);
#else
static inline struct arm_smmu_domain *
arm_smmu_nested_parent(struct iommu_domain *domain)
{
	return NULL;
}

static inline void arm_vsmmu_ats_prepare(struct arm_smmu_attach_state *state,
					 struct iommu_domain *domain)
{
}

static inline void
arm_vsmmu_ats_commit_begin(struct arm_smmu_attach_state *state)
{
}

static inline void arm_vsmmu_ats_commit_end(struct arm_smmu_attach_state *state)
{
}

static inline void arm_smmu_nested_dt_quirks(struct arm_smmu_device *smmu,
					     const struct device_node *np)
{
}
#endif

/* The following are exposed for testing purposes. */
#if IS_ENABLED(CONFIG_KUNIT)
int arm_smmu_vste_parse(const struct iommu_hwpt_arm_smmuv3 *vste,
			__le64 *ste);
bool arm_smmu_nested_wants_ats(struct arm_smmu_nested_domain *nested,
			       bool has_vsid);
void arm_smmu_make_nested_ste(struct arm_smmu_ste *target,
			      struct arm_smmu_master *master,
			      struct arm_smmu_nested_domain *nested,
			      bool has_vsid, bool ats_enabled);
#endif

#endif
