// SPDX-License-Identifier: GPL-2.0-only
/*
 * The physical ranges of a context that can be mapped. Built in, because drivers
 * call it.
 *
 * The tree of a context maps file offsets to ranges. A range is looked up and its
 * vIOMMU referenced in one step, under the lock of the tree. The driver takes the
 * range out of the tree while it destroys the vIOMMU, so that a lookup finds
 * either nothing, or a vIOMMU whose memory is still there and whose reference
 * count tells whether it is going.
 *
 * The lock of the tree is a leaf.
 */
#include <linux/iommufd_viommu.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "iommufd_private.h"
#include "mmap.h"

/**
 * iommufd_viommu_alloc_mmap - Offer a physical range to user space
 * @viommu: What the range belongs to
 * @addr: First physical address, a multiple of PAGE_SIZE
 * @length: Bytes, a multiple of PAGE_SIZE
 * @offset: Set to what user space passes to mmap() on the iommufd, in bytes. It
 *          tells nothing about @addr.
 *
 * User space can map the range once @viommu has been allocated, uncached and with
 * exactly this offset and length. A mapping keeps @viommu: IOMMU_DESTROY fails
 * with EBUSY until the last one is gone.
 *
 * Context: Process context, may sleep. The init operation of @viommu may call it.
 *
 * Return: 0; -EINVAL if @addr or @length is not a multiple of PAGE_SIZE, or @length
 * is 0; -ENOMEM; -EBUSY if no offset is left.
 */
int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t addr,
			      size_t length, unsigned long *offset)
{
	struct iommufd_mmap *range;
	int rc;

	if (!length || !PAGE_ALIGNED(length) || !PAGE_ALIGNED(addr))
		return -EINVAL;

	range = kzalloc(sizeof(*range), GFP_KERNEL_ACCOUNT);
	if (!range)
		return -ENOMEM;
	range->viommu = viommu;
	range->addr = addr;
	range->length = length;

	/* Offset 0 stays free, so that a VMM can take it for "none" */
	rc = mtree_alloc_range(&viommu->ictx->mmaps, &range->pgoff, range,
			       length >> PAGE_SHIFT, 1, LONG_MAX >> PAGE_SHIFT,
			       GFP_KERNEL_ACCOUNT);
	if (rc) {
		kfree(range);
		return rc;
	}
	*offset = range->pgoff << PAGE_SHIFT;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_alloc_mmap, IOMMUFD);

/**
 * iommufd_viommu_free_mmap - Withdraw a physical range from user space
 * @viommu: What the range belongs to; it is being destroyed, or was never finished
 * @offset: From iommufd_viommu_alloc_mmap()
 *
 * No mapping of the range is left, because a mapping would keep @viommu.
 *
 * Context: Process context, may sleep.
 */
void iommufd_viommu_free_mmap(struct iommufd_viommu *viommu,
			      unsigned long offset)
{
	kfree(mtree_erase(&viommu->ictx->mmaps, offset >> PAGE_SHIFT));
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_free_mmap, IOMMUFD);

/**
 * iommufd_mmap_get - Find a range and take a reference on its vIOMMU
 * @ictx: iommufd context
 * @pgoff: Offset of the range, in pages
 * @length: Bytes of the range
 *
 * Context: Any.
 *
 * Return: the range, which stays for as long as the reference is held; or NULL if
 * there is no such range, or its vIOMMU is not allocated yet or is being destroyed.
 */
struct iommufd_mmap *iommufd_mmap_get(struct iommufd_ctx *ictx,
				      unsigned long pgoff, size_t length)
{
	MA_STATE(mas, &ictx->mmaps, pgoff, pgoff);
	struct iommufd_mmap *range;

	mas_lock(&mas);
	range = mas_walk(&mas);
	if (!range || range->pgoff != pgoff || range->length != length) {
		range = NULL;
		goto out_unlock;
	}

	/*
	 * A vIOMMU whose allocation may still fail is not in the xarray, and must
	 * not be held. If it is there, only its reference count can end it.
	 */
	if (xa_load(&ictx->objects, range->viommu->obj.id) !=
		    &range->viommu->obj ||
	    !refcount_inc_not_zero(&range->viommu->obj.users))
		range = NULL;
out_unlock:
	mas_unlock(&mas);
	return range;
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmap_get, IOMMUFD_INTERNAL);
