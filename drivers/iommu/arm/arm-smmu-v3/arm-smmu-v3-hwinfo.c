// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM may know about a physical SMMUv3
 */
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3.h"

/**
 * arm_smmu_hw_info - Report the ID registers of the SMMU behind a device
 * @dev: A device behind the SMMU
 * @length: Set to the bytes of the answer
 * @type: The type of answer wanted, IOMMU_HW_INFO_TYPE_NONE for the default; set
 *        to the type of the answer
 *
 * Context: Process context, may sleep.
 *
 * Return: struct iommu_hw_info_arm_smmuv3, or what the implementation of the SMMU
 * has to report for a type of its own, which the caller frees, or an error
 * pointer: -EOPNOTSUPP for another type, -ENOMEM.
 */
void *arm_smmu_hw_info(struct device *dev, u32 *length, u32 *type)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_device *smmu = master->smmu;
	struct iommu_hw_info_arm_smmuv3 *info;
	unsigned int i;

	if (*type != IOMMU_HW_INFO_TYPE_NONE &&
	    *type != IOMMU_HW_INFO_TYPE_ARM_SMMUV3) {
		if (!smmu->impl_ops || !smmu->impl_ops->hw_info)
			return ERR_PTR(-EOPNOTSUPP);
		return smmu->impl_ops->hw_info(smmu, length, type);
	}

	info = kzalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return ERR_PTR(-ENOMEM);

	for (i = 0; i < ARRAY_SIZE(info->idr); i++)
		info->idr[i] = readl_relaxed(smmu->base + ARM_SMMU_IDR0 +
					     i * sizeof(u32));
	info->iidr = readl_relaxed(smmu->base + ARM_SMMU_IIDR);
	info->aidr = readl_relaxed(smmu->base + ARM_SMMU_AIDR);

	*length = sizeof(*info);
	*type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	return info;
}
