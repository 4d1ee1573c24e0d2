// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pinning the vDEVICEs of a group that is attached to a nested domain
 *
 * The IOMMU core attaches a whole group at once. For a nested domain of a
 * vIOMMU the devices differ, however: each has its own virtual ID. If the
 * domain walks tables of the VM, every member of the attachment must have a
 * vDEVICE on that vIOMMU, and the vDEVICE must stay as long as the device is a
 * member. Otherwise a fault could reach the VM with an ID that the VM has given
 * to another device meanwhile. A member therefore pins its vDEVICE.
 *
 * When a group is attached or its HWPT is replaced, every device that is bound
 * becomes a member, except those that user space has detached. A detached
 * device becomes a member again when it is attached. A device that was bound
 * after the group was attached becomes a member when it is attached, or at a
 * replace. A device that is no member needs no vDEVICE: the driver finds no
 * virtual ID for it, and gives it the plain stage 2 of the nest parent.
 *
 * igroup->lock protects all of this. The driver's member_join and member_leave
 * are called under the group mutex as well, like its attach_dev.
 */
#include <linux/iommu.h>
#include <linux/iommufd_viommu.h>
#include <linux/list.h>
#include <linux/refcount.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

static struct iommufd_viommu *
iommufd_hwpt_viommu(struct iommufd_hw_pagetable *hwpt)
{
	if (!hwpt || hwpt->obj.type != IOMMUFD_OBJ_HWPT_NESTED)
		return NULL;
	return to_hwpt_nested(hwpt)->viommu;
}

/* True if the members of an attachment to @hwpt need their vDEVICEs */
static bool iommufd_hwpt_needs_vdev(struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);

	if (!viommu)
		return false;
	if (!viommu->ops->domain_translates)
		return true;
	return viommu->ops->domain_translates(hwpt->domain);
}

/*
 * Check that @idev can be a member of an attachment to a domain of @viommu. If
 * members need their vDEVICEs, pin it. Attach, replace and join all call this.
 */
static int iommufd_device_get_vdev(struct iommufd_device *idev,
				   struct iommufd_viommu *viommu,
				   bool needs_vdev)
{
	struct iommufd_vdevice *vdev = idev->vdev;

	if (idev->dev->iommu->iommu_dev != viommu->iommu_dev)
		return -EINVAL;
	if (!needs_vdev)
		return 0;
	if (!vdev || vdev->viommu != viommu)
		return -ENOENT;
	/* A vDEVICE without users is being destroyed */
	if (!refcount_inc_not_zero(&vdev->obj.users))
		return -ENOENT;
	return 0;
}

static void iommufd_device_put_vdev(struct iommufd_device *idev,
				    bool needs_vdev)
{
	if (needs_vdev)
		refcount_dec(&idev->vdev->obj.users);
}

/*
 * Note whether @idev pins its vDEVICE. Drop the pin of the old attachment, if
 * there is one. The caller has already taken the pin of the new one.
 */
static void iommufd_device_set_pinned(struct iommufd_device *idev, bool pinned)
{
	struct iommufd_vdevice *vdev = idev->vdev;

	if (!vdev)
		return;
	if (vdev->pinned)
		refcount_dec(&vdev->obj.users);
	vdev->pinned = pinned;
}

/*
 * Let iommufd_viommu_find_virt_id() find @idev, or not. It must find the devices
 * that become members while they are attached, and members only at any other time:
 * the end of a reset attaches a device again.
 */
static void iommufd_device_show_vdev(struct iommufd_device *idev, bool show)
{
	if (idev->vdev)
		idev->vdev->member = show;
}

/* Make the driver remove @idev, which is no member, from the domain of @hwpt */
static void iommufd_vdev_pin_member_leave(struct iommufd_device *idev,
					  struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);

	if (!viommu || !viommu->ops->member_leave)
		return;
	iommu_group_lock_domain(idev->igroup->group);
	/* After a reset, the driver finds no virtual ID of a device that is no member */
	if (!iommu_dev_in_reset(idev->dev))
		viommu->ops->member_leave(hwpt->domain, idev->dev);
	iommu_group_unlock_domain(idev->igroup->group);
}

static int iommufd_vdev_pin_member_join(struct iommufd_device *idev,
					struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);
	int rc;

	if (!viommu->ops->member_join)
		return 0;
	iommu_group_lock_domain(idev->igroup->group);
	if (iommu_dev_in_reset(idev->dev))
		rc = -EBUSY;
	else
		rc = viommu->ops->member_join(hwpt->domain, idev->dev);
	iommu_group_unlock_domain(idev->igroup->group);
	return rc;
}

static int iommufd_vdev_pin_prepare(struct iommufd_move *move)
{
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(move->to);
	struct iommufd_group *igroup = move->idev->igroup;
	struct iommufd_device *idev;
	int rc;

	/* The device that user space attaches becomes a member */
	move->was_detached = move->idev->detached;
	if (move->to)
		iommufd_device_set_detached(move->idev, false);
	if (!viommu)
		return 0;

	move->needs_vdev = iommufd_hwpt_needs_vdev(move->to);
	list_for_each_entry(idev, &igroup->bound_list, bound_item) {
		if (idev->detached)
			continue;
		rc = iommufd_device_get_vdev(idev, viommu, move->needs_vdev);
		if (rc)
			goto err_put;
		iommufd_device_show_vdev(idev, true);
	}
	return 0;

err_put:
	list_for_each_entry_continue_reverse(idev, &igroup->bound_list,
					     bound_item) {
		if (idev->detached)
			continue;
		iommufd_device_show_vdev(idev, idev->member);
		iommufd_device_put_vdev(idev, move->needs_vdev);
	}
	iommufd_device_set_detached(move->idev, move->was_detached);
	return rc;
}

static void iommufd_vdev_pin_abort(struct iommufd_move *move)
{
	struct iommufd_group *igroup = move->idev->igroup;
	struct iommufd_device *idev;

	list_for_each_entry(idev, &igroup->bound_list, bound_item) {
		if (idev->detached)
			continue;
		/*
		 * To undo an attach, the IOMMU core attached the old domain
		 * again. The driver then found the virtual ID also of a device
		 * that was no member of the old attachment. Remove that device
		 * again.
		 */
		iommufd_device_show_vdev(idev, idev->member);
		if (!idev->member)
			iommufd_vdev_pin_member_leave(idev, move->from);
		iommufd_device_put_vdev(idev, move->needs_vdev);
	}
	iommufd_device_set_detached(move->idev, move->was_detached);
}

static void iommufd_vdev_pin_commit(struct iommufd_move *move)
{
	struct iommufd_group *igroup = move->idev->igroup;
	struct iommufd_device *idev;

	list_for_each_entry(idev, &igroup->bound_list, bound_item) {
		idev->member = move->to && !idev->detached;
		iommufd_device_show_vdev(idev, idev->member);
		iommufd_device_set_pinned(idev,
					  idev->member && move->needs_vdev);
	}
	if (!move->to)
		iommufd_device_set_detached(move->idev, true);
}

static int iommufd_vdev_pin_join(struct iommufd_device *idev)
{
	struct iommufd_hw_pagetable *hwpt = idev->igroup->hwpt;
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);
	bool needs_vdev = iommufd_hwpt_needs_vdev(hwpt);
	bool was_detached = idev->detached;
	int rc;

	if (idev->member)
		return 0;

	if (viommu) {
		rc = iommufd_device_get_vdev(idev, viommu, needs_vdev);
		if (rc)
			return rc;
	}

	/* From here on the driver finds the virtual ID of the device */
	iommufd_device_set_detached(idev, false);
	iommufd_device_show_vdev(idev, true);
	if (viommu) {
		rc = iommufd_vdev_pin_member_join(idev, hwpt);
		if (rc) {
			iommufd_device_set_detached(idev, was_detached);
			iommufd_device_show_vdev(idev, false);
			iommufd_device_put_vdev(idev, needs_vdev);
			return rc;
		}
		iommufd_device_set_pinned(idev, needs_vdev);
	}
	idev->member = true;
	return 0;
}

static void iommufd_vdev_pin_leave(struct iommufd_device *idev)
{
	iommufd_device_set_detached(idev, true);
	iommufd_device_show_vdev(idev, false);
	if (!idev->member)
		return;

	idev->member = false;
	/* Unpin the vDEVICE only after the hardware has stopped using it */
	iommufd_vdev_pin_member_leave(idev, idev->igroup->hwpt);
	iommufd_device_set_pinned(idev, false);
}

/* The step of a move that pins the vDEVICEs of a group */
const struct iommufd_move_step iommufd_move_vdevs = {
	.prepare = iommufd_vdev_pin_prepare,
	.commit = iommufd_vdev_pin_commit,
	.abort = iommufd_vdev_pin_abort,
	.join = iommufd_vdev_pin_join,
	.leave = iommufd_vdev_pin_leave,
};
