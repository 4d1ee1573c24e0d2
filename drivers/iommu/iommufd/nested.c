// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attaching the devices of a group to a nested domain of a vIOMMU
 *
 * The IOMMU core attaches a whole group at once. For a nested domain of a vIOMMU
 * the devices differ, however: each has its own virtual ID. If the domain walks
 * tables of the VM, every device of the group that is bound must have a vDEVICE
 * on that vIOMMU, and the vDEVICE must stay as long as the device is attached, or
 * the VM could be told of a fault by an ID that it gave to another device
 * meanwhile. An attachment therefore pins the vDEVICEs.
 *
 * A device is a member of the attachment from the time the group is attached
 * while it is bound, or it attaches to what the group is attached to already,
 * until it detaches or the group does. Devices that nobody bound are no members:
 * the driver gives them the plain stage 2 of the nest parent.
 *
 * The lock of the group protects it all.
 */
#include <linux/iommu.h>
#include <linux/iommufd_viommu.h>
#include <linux/list.h>
#include <linux/refcount.h>

#include "iommufd_private.h"

static struct iommufd_viommu *
iommufd_hwpt_viommu(struct iommufd_hw_pagetable *hwpt)
{
	if (!hwpt || hwpt->obj.type != IOMMUFD_OBJ_HWPT_NESTED)
		return NULL;
	return to_hwpt_nested(hwpt)->viommu;
}

/* Do devices that are attached to @hwpt need their vDEVICEs? */
static bool iommufd_hwpt_pins(struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);

	if (!viommu)
		return false;
	if (!viommu->ops->domain_translates)
		return true;
	return viommu->ops->domain_translates(hwpt->domain);
}

static int iommufd_device_get_vdev(struct iommufd_device *idev,
				   struct iommufd_viommu *viommu, bool pins)
{
	struct iommufd_vdevice *vdev = idev->vdev;

	if (idev->dev->iommu->iommu_dev != viommu->iommu_dev)
		return -EINVAL;
	if (!pins)
		return 0;
	if (!vdev || vdev->viommu != viommu)
		return -ENOENT;
	/* No users: it is being destroyed */
	if (!refcount_inc_not_zero(&vdev->obj.users))
		return -ENOENT;
	return 0;
}

static void iommufd_device_put_vdev(struct iommufd_device *idev, bool pins)
{
	if (pins)
		refcount_dec(&idev->vdev->obj.users);
}

/* The reference that replaces the one of an earlier attachment is taken */
static void iommufd_device_set_pinned(struct iommufd_device *idev, bool pinned)
{
	struct iommufd_vdevice *vdev = idev->vdev;

	if (!vdev)
		return;
	if (vdev->pinned)
		refcount_dec(&vdev->obj.users);
	vdev->pinned = pinned;
}

/**
 * iommufd_nested_prepare - Take what attaching a group takes
 * @igroup: The group, attached to another HWPT or none
 * @hwpt: HWPT that it is going to be attached to
 *
 * Must be followed by iommufd_nested_commit() or iommufd_nested_abort().
 *
 * Context: Process context, the lock of @igroup is held.
 *
 * Return: 0, -ENOENT if a bound device of the group needs a vDEVICE that it does
 * not have, -EINVAL if one is behind another IOMMU than the vIOMMU of @hwpt.
 */
int iommufd_nested_prepare(struct iommufd_group *igroup,
			   struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);
	struct iommufd_device *idev;
	bool pins;
	int rc;

	lockdep_assert_held(&igroup->lock);

	if (!viommu)
		return 0;

	pins = iommufd_hwpt_pins(hwpt);
	list_for_each_entry(idev, &igroup->bound_list, bound_item) {
		rc = iommufd_device_get_vdev(idev, viommu, pins);
		if (rc)
			goto err_put;
	}
	return 0;

err_put:
	list_for_each_entry_continue_reverse(idev, &igroup->bound_list,
					     bound_item)
		iommufd_device_put_vdev(idev, pins);
	return rc;
}

/* The driver takes @idev, which is not a member, out of its group's attachment */
static void iommufd_device_detach_member(struct iommufd_device *idev)
{
	struct iommufd_hw_pagetable *hwpt = idev->igroup->hwpt;
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);

	if (viommu && viommu->ops->detach_member)
		viommu->ops->detach_member(hwpt->domain, idev->dev);
}

/**
 * iommufd_nested_abort - Undo iommufd_nested_prepare()
 * @igroup: The group, which keeps the attachment that it had
 * @hwpt: HWPT that it could not be attached to
 *
 * The IOMMU core may have put devices back under the old domain that were not
 * members of its attachment, and are not meant to become any by this.
 *
 * Context: Process context, the lock of @igroup is held since the preparation.
 */
void iommufd_nested_abort(struct iommufd_group *igroup,
			  struct iommufd_hw_pagetable *hwpt)
{
	bool pins = iommufd_hwpt_pins(hwpt);
	struct iommufd_device *idev;

	lockdep_assert_held(&igroup->lock);

	list_for_each_entry(idev, &igroup->bound_list, bound_item) {
		if (!idev->member)
			iommufd_device_detach_member(idev);
		iommufd_device_put_vdev(idev, pins);
	}
}

/**
 * iommufd_nested_commit - Make the bound devices members of an attachment
 * @igroup: The group, which is attached to @hwpt
 * @hwpt: Its HWPT after iommufd_nested_prepare(), or NULL if it was detached
 *
 * Drops what an earlier attachment took.
 *
 * Context: Process context, the lock of @igroup is held since the preparation.
 */
void iommufd_nested_commit(struct iommufd_group *igroup,
			   struct iommufd_hw_pagetable *hwpt)
{
	bool pins = iommufd_hwpt_pins(hwpt);
	struct iommufd_device *idev;

	lockdep_assert_held(&igroup->lock);

	list_for_each_entry(idev, &igroup->bound_list, bound_item) {
		iommufd_device_set_pinned(idev, pins);
		idev->member = hwpt;
	}
}

/**
 * iommufd_nested_join - Let a device into the attachment of its group
 * @idev: The device; nothing is done if it is a member already
 *
 * Context: Process context, the lock of the group is held.
 *
 * Return: 0, -ENOENT if it needs a vDEVICE that it does not have, -EINVAL if it
 * is behind another IOMMU, or what the driver answers.
 */
int iommufd_nested_join(struct iommufd_device *idev)
{
	struct iommufd_hw_pagetable *hwpt = idev->igroup->hwpt;
	struct iommufd_viommu *viommu = iommufd_hwpt_viommu(hwpt);
	bool pins = iommufd_hwpt_pins(hwpt);
	int rc;

	lockdep_assert_held(&idev->igroup->lock);

	if (idev->member)
		return 0;

	if (viommu) {
		rc = iommufd_device_get_vdev(idev, viommu, pins);
		if (rc)
			return rc;
		if (viommu->ops->attach_member) {
			rc = viommu->ops->attach_member(hwpt->domain,
							idev->dev);
			if (rc) {
				iommufd_device_put_vdev(idev, pins);
				return rc;
			}
		}
		iommufd_device_set_pinned(idev, pins);
	}
	idev->member = true;
	return 0;
}

/**
 * iommufd_nested_leave - Take a device out of the attachment of its group
 * @idev: The device; nothing is done if it is not a member
 *
 * Context: Process context, the lock of the group is held.
 */
void iommufd_nested_leave(struct iommufd_device *idev)
{
	lockdep_assert_held(&idev->igroup->lock);

	if (!idev->member)
		return;

	idev->member = false;
	/* The vDEVICE may go only after the hardware has let go of it */
	iommufd_device_detach_member(idev);
	iommufd_device_set_pinned(idev, false);
}
