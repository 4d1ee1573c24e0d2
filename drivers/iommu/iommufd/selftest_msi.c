// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSIs of mock devices
 *
 * A mock device has no interrupts. A test says that a vector was set up with some
 * doorbell, and sees at which IOVA it would have been programmed and where that is
 * mapped. The vector is in no list of the device, so it never goes.
 */
#include <linux/iommu.h>
#include <linux/msi.h>

#include "../iommu-priv.h"
#include "selftest_msi.h"
#include "selftest_viommu.h"

void mock_dev_get_resv_regions(struct device *dev, struct list_head *head)
{
	struct iommu_resv_region *region;

	if (!(to_mock_dev(dev)->flags & MOCK_FLAGS_DEVICE_SW_MSI))
		return;
	region = iommu_alloc_resv_region(MOCK_SW_MSI_START, MOCK_SW_MSI_LENGTH,
					 IOMMU_WRITE, IOMMU_RESV_SW_MSI,
					 GFP_KERNEL);
	if (region)
		list_add_tail(&region->list, head);
}

int iommufd_test_mock_dev_vector(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct msi_desc desc = {};
	struct iommufd_object *obj;
	struct selftest_obj *sobj;
	int rc = 0;

	obj = iommufd_get_object(ucmd->ictx, cmd->id, IOMMUFD_OBJ_SELFTEST);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	sobj = container_of(obj, struct selftest_obj, obj);

	if (!iommu_map_attached_msi(&sobj->idev.mock_dev->dev, &desc,
				    cmd->mock_dev_vector.doorbell, &rc))
		rc = -ENOTCONN;
	iommufd_put_object(ucmd->ictx, obj);
	if (rc)
		return rc;

	cmd->mock_dev_vector.out_iova = 0;
#ifdef CONFIG_IRQ_MSI_IOMMU
	cmd->mock_dev_vector.out_iova =
		(u64)desc.iommu_msi_iova << desc.iommu_msi_shift;
#endif
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

int iommufd_test_md_iova_to_phys(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_hwpt_paging *hwpt;

	hwpt = iommufd_get_hwpt_paging(ucmd, cmd->id);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);
	cmd->iova_to_phys.out_phys =
		mock_domain_lookup(hwpt->common.domain, cmd->iova_to_phys.iova);
	cmd->iova_to_phys.out_prot =
		mock_domain_lookup_prot(hwpt->common.domain,
					cmd->iova_to_phys.iova);
	iommufd_put_object(ucmd->ictx, &hwpt->common.obj);
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}
