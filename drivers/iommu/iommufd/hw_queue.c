// SPDX-License-Identifier: GPL-2.0-only
/*
 * HW queue: memory of a VM that hardware reads as a queue
 *
 * The hardware reads the memory by physical addresses that nothing translates.
 * So iommufd pins the memory of a queue and locks its area of the IOAS:
 * IOMMU_IOAS_UNMAP fails with EBUSY until the queue is destroyed. Otherwise the
 * VMM could unmap memory that the hardware goes on reading.
 *
 * A locked area also has an access, see iopt_area_add_access(). This access
 * belongs to no struct iommufd_access. So iommufd cannot ask an owner to give
 * it up, and user space has no ID to destroy it by.
 *
 * Lock order: io_pagetable::iova_rwsem, which protects iopt_area::num_locks,
 * then iopt_pages::mutex. Neither lock is held while the driver starts or stops
 * a queue.
 */
#include <linux/iommufd_viommu.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <trace/events/iommufd.h>
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

/*
 * Get the indices in iopt_pages of the part of [iova, last_iova] that @iter is
 * at.
 */
static void iopt_lock_indices(const struct iopt_area_contig_iter *iter,
			      unsigned long last_iova, unsigned long *first,
			      unsigned long *last)
{
	struct iopt_area *area = iter->area;

	*first = iopt_area_iova_to_index(area, iter->cur_iova);
	*last = iopt_area_iova_to_index(area,
					min(last_iova,
					    iopt_area_last_iova(area)));
}

/* Undo iopt_lock_contig() for all areas from @iova to @last_iova */
static void __iopt_unlock_contig(struct io_pagetable *iopt, unsigned long iova,
				 unsigned long last_iova)
{
	struct iopt_area_contig_iter iter;
	unsigned long first, last;
	struct iopt_area *area;

	lockdep_assert_held(&iopt->iova_rwsem);

	iopt_for_each_contig_area(&iter, area, iopt, iova, last_iova) {
		iopt_lock_indices(&iter, last_iova, &first, &last);
		iopt_area_remove_access(area, first, last);
		atomic_dec(&area->num_locks);
	}
	WARN_ON(!iopt_area_contig_done(&iter));
}

static void iopt_unlock_contig(struct io_pagetable *iopt, unsigned long iova,
			       unsigned long length)
{
	down_read(&iopt->iova_rwsem);
	__iopt_unlock_contig(iopt, iova, iova + (length - 1));
	up_read(&iopt->iova_rwsem);
}

/*
 * Tell whether the pages follow each other from *next on. Move *next behind
 * them.
 */
static bool iopt_pages_follow(struct page **pages, unsigned long num,
			      phys_addr_t *next)
{
	unsigned long i;

	for (i = 0; i != num; i++) {
		if (page_to_phys(pages[i]) != *next)
			return false;
		*next += PAGE_SIZE;
	}
	return true;
}

/*
 * Pin [iova, iova + length) and lock it against IOMMU_IOAS_UNMAP. *base_pa is
 * set to the physical address of its first byte.
 *
 * A HWPT fills every area of its IOAS, so all areas of the nest parent are
 * filled. The pages are taken from there, and no user memory is touched.
 *
 * -ENOENT: a part is not mapped, or is being unmapped. -EPERM: a part may not
 * be read. -EFAULT: the memory is not physically contiguous.
 */
static int iopt_lock_contig(struct io_pagetable *iopt, unsigned long iova,
			    unsigned long length, phys_addr_t *base_pa)
{
	unsigned long last_iova = iova + (length - 1);
	struct iopt_area_contig_iter iter;
	unsigned long first, last;
	struct iopt_area *area;
	struct page **pages;
	phys_addr_t next = 0;
	int rc;

	/* The memory of a queue can begin and end inside a page */
	pages = kvmalloc_array(length / PAGE_SIZE + 2, sizeof(*pages),
			       GFP_KERNEL_ACCOUNT);
	if (!pages)
		return -ENOMEM;

	down_read(&iopt->iova_rwsem);
	iopt_for_each_contig_area(&iter, area, iopt, iova, last_iova) {
		unsigned long offset = iopt_area_start_byte(area,
							    iter.cur_iova) %
				       PAGE_SIZE;

		rc = -ENOENT;
		if (area->prevent_access)
			goto err_unlock;
		rc = -EPERM;
		if (!(area->iommu_prot & IOMMU_READ))
			goto err_unlock;

		iopt_lock_indices(&iter, last_iova, &first, &last);
		rc = iopt_area_add_access(area, first, last, pages, 0);
		if (rc)
			goto err_unlock;

		if (iter.cur_iova == iova) {
			*base_pa = page_to_phys(pages[0]) + offset;
			next = *base_pa;
		}
		/* Compare from the start of the page that the area begins in */
		next -= offset;
		if (!iopt_pages_follow(pages, last - first + 1, &next)) {
			iopt_area_remove_access(area, first, last);
			rc = -EFAULT;
			goto err_unlock;
		}
		next = *base_pa +
		       (min(last_iova, iopt_area_last_iova(area)) - iova) + 1;
		atomic_inc(&area->num_locks);
	}
	rc = -ENOENT;
	if (!iopt_area_contig_done(&iter))
		goto err_unlock;
	up_read(&iopt->iova_rwsem);
	kvfree(pages);
	return 0;

err_unlock:
	if (iter.cur_iova != iova)
		__iopt_unlock_contig(iopt, iova, iter.cur_iova - 1);
	up_read(&iopt->iova_rwsem);
	kvfree(pages);
	return rc;
}

/* Drop what a queue holds. The queue has stopped, or has never run. */
static void iommufd_hw_queue_release(struct iommufd_hw_queue *hwq)
{
	iopt_unlock_contig(&hwq->viommu->hwpt->ioas->iopt, hwq->base,
			   hwq->length);
	if (hwq->lower)
		refcount_dec(&hwq->lower->obj.users);
}

void iommufd_hw_queue_destroy(struct iommufd_object *obj)
{
	struct iommufd_hw_queue *hwq =
		container_of(obj, struct iommufd_hw_queue, obj);

	trace_iommufd_hw_queue_destroy(hwq);
	hwq->viommu->ops->hw_queue_destroy(hwq);
	iommufd_hw_queue_release(hwq);
	refcount_dec(&hwq->viommu->obj.users);
}

/* Start the queue. If this fails, nothing is left to undo. */
static int iommufd_hw_queue_start(struct iommufd_hw_queue *hwq)
{
	struct io_pagetable *iopt = &hwq->viommu->hwpt->ioas->iopt;
	phys_addr_t base_pa;
	int rc;

	rc = iopt_lock_contig(iopt, hwq->base, hwq->length, &base_pa);
	if (rc)
		return rc;

	rc = hwq->viommu->ops->hw_queue_init(hwq, base_pa);
	if (rc) {
		iommufd_hw_queue_release(hwq);
		return rc;
	}

	/* Pairs with iommufd_hw_queue_destroy() */
	refcount_inc(&hwq->viommu->obj.users);
	return 0;
}

int iommufd_hw_queue_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_hw_queue_alloc *cmd = ucmd->cmd;
	const struct iommufd_viommu_ops *ops;
	struct iommufd_viommu *viommu;
	struct iommufd_hw_queue *hwq;
	struct iommufd_object *obj;
	u64 max_length = 0;
	size_t size = 0;
	u64 last;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_HW_QUEUE_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->length)
		return -EINVAL;
	/* An IOVA of the page tables is an unsigned long */
	if (check_add_overflow(cmd->nesting_parent_iova, cmd->length - 1,
			       &last) ||
	    last > ULONG_MAX)
		return -EOVERFLOW;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	ops = viommu->ops;
	if (ops->hw_queue_size)
		size = ops->hw_queue_size(viommu, cmd->type, &max_length);
	if (size < sizeof(*hwq)) {
		rc = -EOPNOTSUPP;
		goto out_put_viommu;
	}
	/* The limit of the hardware bounds what the call allocates and pins */
	if (cmd->length > max_length) {
		rc = -EINVAL;
		goto out_put_viommu;
	}

	obj = _iommufd_object_alloc(ucmd->ictx, size, IOMMUFD_OBJ_HW_QUEUE);
	if (IS_ERR(obj)) {
		rc = PTR_ERR(obj);
		goto out_put_viommu;
	}

	/*
	 * Answer before the queue starts, so that no running queue has to be
	 * undone because of user memory. Until the queue is published, its ID
	 * fails with ENOENT.
	 */
	cmd->out_hw_queue_id = obj->id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_abort;

	hwq = container_of(obj, struct iommufd_hw_queue, obj);
	hwq->viommu = viommu;
	hwq->type = cmd->type;
	hwq->index = cmd->index;
	hwq->base = cmd->nesting_parent_iova;
	hwq->length = cmd->length;
	rc = iommufd_hw_queue_start(hwq);
	if (!rc) {
		trace_iommufd_hw_queue_alloc(hwq);
		/* Another thread can destroy the queue from here on */
		iommufd_object_finalize(ucmd->ictx, obj);
		goto out_put_viommu;
	}

out_abort:
	iommufd_object_abort(ucmd->ictx, obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
