/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mock devices that are reset
 */
#ifndef __IOMMUFD_SELFTEST_RESET_H
#define __IOMMUFD_SELFTEST_RESET_H

#include <linux/iommu.h>

struct iommufd_ucmd;
struct mock_dev;

int mock_reset_attach(struct iommu_domain *domain, struct device *dev);
int mock_reset_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
			     ioasid_t pasid, struct iommu_domain *old);
void mock_reset_remove_dev_pasid(struct device *dev, ioasid_t pasid,
				 struct iommu_domain *domain);
void mock_reset_forget(struct device *dev);
int iommufd_test_dev_reset(struct iommufd_ucmd *ucmd);
void mock_reset_dev_gone(struct mock_dev *mdev);
void mock_reset_free(int id);

#endif
