// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSI doorbells in domains that translate MSIs
 *
 * An MSI is a write of a device. If the IOMMU translates the write, the
 * doorbell must be mapped in the domain, and the device's vectors are
 * programmed with the IOVA of the doorbell. The IOVA stays in the device for as
 * long as the vector lives, while user space moves the device between domains.
 * So a doorbell gets a slot of the MSI window once per iommufd, and has the
 * same IOVA in every domain.
 *
 * A group needs the doorbells that its devices have vectors on. It needs them
 * in the domain with the host's page tables that it is attached to: under
 * nested translation this is the nest parent. During a replace it needs them in
 * the old and in the new domain. A domain maps a doorbell as long as a group
 * needs it there.
 *
 * iommufd is not told when a vector is freed. Each move therefore looks at the
 * vectors that the bound devices have, and drops the doorbells of those that
 * are gone. A device that is not bound, for example a bridge with interrupts of
 * its own, is not looked at: the group needs its doorbells for good.
 *
 * Lock order: igroup->lock, the lock of a device's MSI descriptors, group
 * mutex, iommufd_ctx::sw_msi_lock. A vector is set up under the last three
 * only. The last one protects which group needs which doorbell, and where.
 */
#include <linux/iommu.h>
#include <linux/msi.h>
#include <linux/slab.h>

#include "iommufd_private.h"

/* A doorbell and its place in the MSI window */
struct iommufd_sw_msi_slot {
	struct list_head node;
	phys_addr_t doorbell;
	phys_addr_t window;
	unsigned int id;
};

/* A doorbell that is mapped in a domain */
struct iommufd_sw_msi_map {
	struct list_head node;
	struct iommufd_sw_msi_slot *slot;
	/* Groups that need it. In a replace a group can count twice. */
	unsigned int users;
};

static unsigned long iommufd_sw_msi_iova(struct iommufd_sw_msi_slot *slot)
{
	return slot->window + slot->id * PAGE_SIZE;
}

static int iommufd_sw_msi_get(struct iommufd_hwpt_paging *hwpt,
			      struct iommufd_sw_msi_slot *slot)
{
	struct iommufd_sw_msi_map *map;
	int rc;

	list_for_each_entry(map, &hwpt->sw_msi_maps, node) {
		if (map->slot == slot) {
			map->users++;
			return 0;
		}
	}

	map = kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;

	rc = iommu_map(hwpt->common.domain, iommufd_sw_msi_iova(slot),
		       slot->doorbell, PAGE_SIZE,
		       IOMMU_WRITE | IOMMU_NOEXEC | IOMMU_MMIO,
		       GFP_KERNEL_ACCOUNT);
	if (rc) {
		kfree(map);
		return rc;
	}

	map->slot = slot;
	map->users = 1;
	list_add(&map->node, &hwpt->sw_msi_maps);
	return 0;
}

static void iommufd_sw_msi_put(struct iommufd_hwpt_paging *hwpt,
			       struct iommufd_sw_msi_slot *slot)
{
	struct iommufd_sw_msi_map *map;

	list_for_each_entry(map, &hwpt->sw_msi_maps, node) {
		if (map->slot != slot)
			continue;
		if (--map->users)
			return;
		iommu_unmap(hwpt->common.domain, iommufd_sw_msi_iova(slot),
			    PAGE_SIZE);
		list_del(&map->node);
		kfree(map);
		return;
	}
	/* A group drops only what it has taken */
	WARN_ON(1);
}

/*
 * Drop @igroup's use of each doorbell that it needs in @hwpt, stopping before
 * slot @end (NULL: all slots).
 */
static void iommufd_sw_msi_put_all(struct iommufd_group *igroup,
				   struct iommufd_hwpt_paging *hwpt,
				   struct iommufd_sw_msi_slot *end)
{
	struct iommufd_sw_msi_slot *slot;

	lockdep_assert_held(&igroup->ictx->sw_msi_lock);

	list_for_each_entry(slot, &igroup->ictx->sw_msi_slots, node) {
		if (slot == end)
			return;
		if (test_bit(slot->id, igroup->sw_msi_needs))
			iommufd_sw_msi_put(hwpt, slot);
	}
}

static int iommufd_sw_msi_get_all(struct iommufd_group *igroup,
				  struct iommufd_hwpt_paging *hwpt)
{
	struct iommufd_sw_msi_slot *slot;
	int rc;

	lockdep_assert_held(&igroup->ictx->sw_msi_lock);

	list_for_each_entry(slot, &igroup->ictx->sw_msi_slots, node) {
		if (!test_bit(slot->id, igroup->sw_msi_needs))
			continue;
		rc = iommufd_sw_msi_get(hwpt, slot);
		if (rc) {
			iommufd_sw_msi_put_all(igroup, hwpt, slot);
			return rc;
		}
	}
	return 0;
}

#ifdef CONFIG_GENERIC_MSI_IRQ
/* Add the slots of all vectors that a device has now to @found */
static void iommufd_sw_msi_find_vectors(struct iommufd_device *idev,
					unsigned long *found)
{
	phys_addr_t window = idev->igroup->sw_msi_start;
	struct device *dev = idev->dev;
	struct msi_desc *desc;

	if (!READ_ONCE(dev->msi.data))
		return;

	msi_lock_descs(dev);
	msi_for_each_desc(desc, dev, MSI_DESC_ASSOCIATED) {
		u64 iova = (u64)desc->iommu_msi_iova << desc->iommu_msi_shift;

		if (desc->iommu_msi_shift && iova >= window &&
		    (iova - window) / PAGE_SIZE < IOMMUFD_SW_MSI_SLOTS)
			__set_bit((iova - window) / PAGE_SIZE, found);
	}
	msi_unlock_descs(dev);
}
#else
static void iommufd_sw_msi_find_vectors(struct iommufd_device *idev,
					unsigned long *found)
{
}
#endif

/* Drop the doorbells that a group needed only for vectors that are gone */
static void iommufd_sw_msi_drop_gone(struct iommufd_group *igroup)
{
	DECLARE_BITMAP(found, IOMMUFD_SW_MSI_SLOTS) = {};
	struct iommufd_ctx *ictx = igroup->ictx;
	struct iommufd_sw_msi_slot *slot;
	struct iommufd_device *idev;

	/* Note each vector that is set up after its device is looked at */
	mutex_lock(&ictx->sw_msi_lock);
	bitmap_zero(igroup->sw_msi_recent, IOMMUFD_SW_MSI_SLOTS);
	mutex_unlock(&ictx->sw_msi_lock);

	list_for_each_entry(idev, &igroup->bound_list, bound_item)
		iommufd_sw_msi_find_vectors(idev, found);

	mutex_lock(&ictx->sw_msi_lock);
	bitmap_or(found, found, igroup->sw_msi_recent, IOMMUFD_SW_MSI_SLOTS);
	bitmap_or(found, found, igroup->sw_msi_kept, IOMMUFD_SW_MSI_SLOTS);
	list_for_each_entry(slot, &ictx->sw_msi_slots, node) {
		if (test_bit(slot->id, found) ||
		    !test_and_clear_bit(slot->id, igroup->sw_msi_needs))
			continue;
		if (igroup->sw_msi_hwpt)
			iommufd_sw_msi_put(igroup->sw_msi_hwpt, slot);
	}
	mutex_unlock(&ictx->sw_msi_lock);
}

static bool iommufd_sw_msi_dev_is_bound(struct iommufd_group *igroup,
					struct device *dev)
{
	struct iommufd_device *idev;
	bool bound = false;

	spin_lock(&igroup->bound_lock);
	list_for_each_entry(idev, &igroup->bound_list, bound_item)
		bound |= idev->dev == dev;
	spin_unlock(&igroup->bound_lock);
	return bound;
}

static struct iommufd_sw_msi_slot *
iommufd_sw_msi_find_slot(struct iommufd_ctx *ictx, phys_addr_t window,
			 phys_addr_t doorbell)
{
	struct iommufd_sw_msi_slot *slot;
	unsigned int id = 0;

	lockdep_assert_held(&ictx->sw_msi_lock);

	list_for_each_entry(slot, &ictx->sw_msi_slots, node) {
		if (slot->window == window && slot->doorbell == doorbell)
			return slot;
		id++;
	}

	if (id == IOMMUFD_SW_MSI_SLOTS)
		return ERR_PTR(-ENOSPC);
	slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	if (!slot)
		return ERR_PTR(-ENOMEM);

	slot->window = window;
	slot->doorbell = doorbell;
	slot->id = id;
	list_add_tail(&slot->node, &ictx->sw_msi_slots);
	return slot;
}

/*
 * Map the doorbell of a new vector, and write its IOVA into the vector. The
 * caller holds the group mutex, so the attachment does not change.
 */
static int iommufd_sw_msi_map(struct iommu_attach_handle *handle,
			      struct msi_desc *desc, phys_addr_t msi_addr)
{
	struct iommufd_group *igroup = to_iommufd_handle(handle)->igroup;
	struct iommufd_ctx *ictx = igroup->ictx;
	struct iommufd_sw_msi_slot *slot;
	int rc = 0;

	/* The IOMMU does not translate MSIs */
	if (igroup->sw_msi_start == PHYS_ADDR_MAX) {
		msi_desc_set_iommu_msi_iova(desc, 0, 0);
		return 0;
	}

	mutex_lock(&ictx->sw_msi_lock);
	slot = iommufd_sw_msi_find_slot(ictx, igroup->sw_msi_start,
					msi_addr & PAGE_MASK);
	if (IS_ERR(slot)) {
		rc = PTR_ERR(slot);
		goto out_unlock;
	}

	if (!test_bit(slot->id, igroup->sw_msi_needs)) {
		if (igroup->sw_msi_hwpt) {
			rc = iommufd_sw_msi_get(igroup->sw_msi_hwpt, slot);
			if (rc)
				goto out_unlock;
		}
		if (igroup->sw_msi_next) {
			rc = iommufd_sw_msi_get(igroup->sw_msi_next, slot);
			if (rc)
				goto out_put;
		}
		set_bit(slot->id, igroup->sw_msi_needs);
	}
	set_bit(slot->id, igroup->sw_msi_recent);
	if (!iommufd_sw_msi_dev_is_bound(igroup, desc->dev))
		set_bit(slot->id, igroup->sw_msi_kept);
	msi_desc_set_iommu_msi_iova(desc, iommufd_sw_msi_iova(slot), PAGE_SHIFT);
	goto out_unlock;

out_put:
	if (igroup->sw_msi_hwpt)
		iommufd_sw_msi_put(igroup->sw_msi_hwpt, slot);
out_unlock:
	mutex_unlock(&ictx->sw_msi_lock);
	return rc;
}

/*
 * Map the doorbells of a group in the domain that it moves to. Until the move
 * ends, a new doorbell is mapped in the old and in the new domain.
 */
static int iommufd_sw_msi_get_next(struct iommufd_move *move)
{
	struct iommufd_hwpt_paging *next = find_hwpt_paging(move->to);
	struct iommufd_group *igroup = move->idev->igroup;
	struct iommufd_ctx *ictx = igroup->ictx;
	int rc;

	mutex_lock(&ictx->sw_msi_lock);
	rc = iommufd_sw_msi_get_all(igroup, next);
	if (!rc)
		igroup->sw_msi_next = next;
	mutex_unlock(&ictx->sw_msi_lock);
	return rc;
}

/* A replace maps before it attaches, so that MSIs work all the time */
static int iommufd_sw_msi_prepare(struct iommufd_move *move)
{
	if (!move->to)
		return 0;
	move->handle->handle.map_msi = iommufd_sw_msi_map;
	iommufd_sw_msi_drop_gone(move->idev->igroup);
	return move->from ? iommufd_sw_msi_get_next(move) : 0;
}

static void iommufd_sw_msi_abort(struct iommufd_move *move)
{
	struct iommufd_group *igroup = move->idev->igroup;
	struct iommufd_ctx *ictx = igroup->ictx;

	mutex_lock(&ictx->sw_msi_lock);
	if (igroup->sw_msi_next)
		iommufd_sw_msi_put_all(igroup, igroup->sw_msi_next, NULL);
	igroup->sw_msi_next = NULL;
	mutex_unlock(&ictx->sw_msi_lock);
}

static void iommufd_sw_msi_commit(struct iommufd_move *move)
{
	struct iommufd_group *igroup = move->idev->igroup;
	struct iommufd_ctx *ictx = igroup->ictx;

	mutex_lock(&ictx->sw_msi_lock);
	if (igroup->sw_msi_hwpt)
		iommufd_sw_msi_put_all(igroup, igroup->sw_msi_hwpt, NULL);
	igroup->sw_msi_hwpt = igroup->sw_msi_next;
	igroup->sw_msi_next = NULL;
	mutex_unlock(&ictx->sw_msi_lock);
}

/*
 * The step of a move that maps the doorbells of a group. Some drivers cannot
 * map in a domain before its first attachment, so a first attachment maps in
 * settle.
 */
const struct iommufd_move_step iommufd_move_sw_msi = {
	.prepare = iommufd_sw_msi_prepare,
	.settle = iommufd_sw_msi_get_next,
	.commit = iommufd_sw_msi_commit,
	.abort = iommufd_sw_msi_abort,
};

/**
 * iommufd_sw_msi_destroy - Free the slots of a context
 * @ictx: The context; nothing is attached any more
 *
 * Context: Process context.
 */
void iommufd_sw_msi_destroy(struct iommufd_ctx *ictx)
{
	struct iommufd_sw_msi_slot *slot, *tmp;

	list_for_each_entry_safe(slot, tmp, &ictx->sw_msi_slots, node)
		kfree(slot);
	mutex_destroy(&ictx->sw_msi_lock);
}
