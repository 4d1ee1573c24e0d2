/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events that an IOMMU driver has for the VM behind a vIOMMU
 */
#ifndef __LINUX_IOMMUFD_VEVENTQ_H
#define __LINUX_IOMMUFD_VEVENTQ_H

#include <linux/iommufd_viommu.h>

#if IS_ENABLED(CONFIG_IOMMUFD)
int iommufd_viommu_report_event(struct iommufd_viommu *viommu,
				unsigned int type, u64 virt_id, u32 id,
				const void *event, size_t len);
int iommufd_viommu_report_own_event(struct iommufd_viommu *viommu,
				    unsigned int type, const void *event,
				    size_t len);
#endif
#endif
