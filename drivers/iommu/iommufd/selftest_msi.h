/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSIs of mock devices
 */
#ifndef __IOMMUFD_SELFTEST_MSI_H
#define __IOMMUFD_SELFTEST_MSI_H

#include <linux/iommu.h>
#include <linux/list.h>

struct iommufd_ucmd;

/* selftest.c */
phys_addr_t mock_domain_lookup(struct iommu_domain *domain, unsigned long iova);
int mock_domain_lookup_prot(struct iommu_domain *domain, unsigned long iova);

void mock_dev_get_resv_regions(struct device *dev, struct list_head *head);
int iommufd_test_mock_dev_vector(struct iommufd_ucmd *ucmd);
int iommufd_test_md_iova_to_phys(struct iommufd_ucmd *ucmd);

#endif
