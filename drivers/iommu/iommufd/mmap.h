/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages of registers that a driver offers for mmap()
 */
#ifndef __IOMMUFD_MMAP_H
#define __IOMMUFD_MMAP_H

#include <linux/types.h>

struct iommufd_ctx;
struct iommufd_viommu;

/**
 * struct iommufd_mmap - A physical range that can be mapped
 * @viommu: What the range belongs to. A mapping holds a reference on it.
 * @addr: First physical address, page aligned
 * @length: Bytes, a multiple of PAGE_SIZE
 *
 * It exists until iommufd_viommu_free_mmap(), so for longer than any mapping.
 */
struct iommufd_mmap {
	struct iommufd_viommu *viommu;
	phys_addr_t addr;
	size_t length;
};

struct iommufd_mmap *iommufd_mmap_get(struct iommufd_ctx *ictx,
				      unsigned long pgoff, size_t length);

#endif
