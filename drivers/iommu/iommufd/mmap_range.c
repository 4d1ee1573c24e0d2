// SPDX-License-Identifier: GPL-2.0-only
/*
 * The physical ranges of a context that user space can map. This file is built
 * in, because drivers call it.
 *
 * The xarray of a context maps numbers to ranges, and the number is the upper
 * part of a range's file offset. A range is looked up and its vIOMMU referenced
 * in one step, under the lock of the xarray. The driver removes the range while
 * it destroys the vIOMMU. The removal neither allocates nor fails. So a lookup
 * finds either nothing, or a vIOMMU whose memory still exists, and whose
 * reference count tells whether it is being destroyed.
 *
 * The lock of the xarray is a leaf.
 */
#include <linux/iommufd_viommu.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "iommufd_private.h"
#include "mmap.h"

/* The distance of two offsets, and the largest length of a range */
#define MMAP_STEP SZ_16M
#define MMAP_STEP_PAGES (MMAP_STEP >> PAGE_SHIFT)

/**
 * iommufd_viommu_alloc_mmap - Offer a physical range to user space
 * @viommu: The vIOMMU that the range belongs to
 * @addr: First physical address, a multiple of PAGE_SIZE
 * @length: Length in bytes, a multiple of PAGE_SIZE, up to 16 MiB
 * @offset: Set to the offset in bytes that user space passes to mmap() on the
 *          iommufd. It reveals nothing about @addr.
 *
 * Once @viommu has been allocated, user space can map the range, uncached and
 * with exactly this offset and length. A mapping keeps @viommu: IOMMU_DESTROY
 * fails with EBUSY until the last mapping is gone.
 *
 * Context: Process context, may sleep. The init operation of @viommu may call
 * it.
 *
 * Return: 0; -EINVAL if @addr or @length is out of range; -ENOMEM; -EBUSY if no
 * offset is left.
 */
int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t addr,
			      size_t length, unsigned long *offset)
{
	struct iommufd_mmap *range;
	u32 nr;
	int rc;

	if (!length || length > MMAP_STEP || !PAGE_ALIGNED(length) ||
	    !PAGE_ALIGNED(addr))
		return -EINVAL;

	range = kzalloc(sizeof(*range), GFP_KERNEL_ACCOUNT);
	if (!range)
		return -ENOMEM;
	range->viommu = viommu;
	range->addr = addr;
	range->length = length;

	/* Offset 0 stays free, so that a VMM can take it for "none" */
	rc = xa_alloc(&viommu->ictx->mmaps, &nr, range,
		      XA_LIMIT(1, min_t(u64, LONG_MAX / MMAP_STEP, U32_MAX)),
		      GFP_KERNEL_ACCOUNT);
	if (rc) {
		kfree(range);
		return rc;
	}
	*offset = (unsigned long)nr * MMAP_STEP;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_alloc_mmap, IOMMUFD);

/**
 * iommufd_viommu_free_mmap - Withdraw a physical range from user space
 * @viommu: The vIOMMU that the range belongs to. It is being destroyed, or its
 *          allocation has failed.
 * @offset: From iommufd_viommu_alloc_mmap()
 *
 * No mapping of the range is left, because a mapping would keep @viommu.
 *
 * Context: Process context. Allocates no memory.
 */
void iommufd_viommu_free_mmap(struct iommufd_viommu *viommu,
			      unsigned long offset)
{
	kfree(xa_erase(&viommu->ictx->mmaps, offset / MMAP_STEP));
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_free_mmap, IOMMUFD);

/**
 * iommufd_mmap_get - Find a range and take a reference on its vIOMMU
 * @ictx: iommufd context
 * @pgoff: Offset of the range, in pages
 * @length: Length of the range in bytes
 *
 * Context: Any.
 *
 * Return: the range, which stays as long as the reference is held; or NULL if
 * there is no such range, or its vIOMMU is not allocated yet or is being
 * destroyed.
 */
struct iommufd_mmap *iommufd_mmap_get(struct iommufd_ctx *ictx,
				      unsigned long pgoff, size_t length)
{
	struct iommufd_mmap *range;

	if (pgoff % MMAP_STEP_PAGES)
		return NULL;

	xa_lock(&ictx->mmaps);
	range = xa_load(&ictx->mmaps, pgoff / MMAP_STEP_PAGES);
	if (!range || range->length != length) {
		range = NULL;
		goto out_unlock;
	}

	/*
	 * While the allocation of a vIOMMU may still fail, the vIOMMU is not in
	 * the xarray of objects and must not be held. Once it is there, it
	 * lives until its reference count is 0.
	 */
	if (xa_load(&ictx->objects, range->viommu->obj.id) !=
		    &range->viommu->obj ||
	    !refcount_inc_not_zero(&range->viommu->obj.users))
		range = NULL;
out_unlock:
	xa_unlock(&ictx->mmaps);
	return range;
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmap_get, IOMMUFD_INTERNAL);
