// SPDX-License-Identifier: GPL-2.0-only
/*
 * vDEVICE: a device as the VM behind a vIOMMU knows it
 *
 * A vDEVICE ties a bound device to its ID on the vIOMMU. The tie is made and cut
 * under the lock of the iommufd group, by whichever comes first: the destruction
 * of the vDEVICE or that of the bound device. The vDEVICE holds no reference on
 * the device, so that the device can always go, but one on the group, so that
 * the lock outlives both.
 *
 * Lock order: iommufd_group::lock, then the lock of iommufd_viommu::vdevs, which
 * is a leaf.
 */
#include <linux/iommu.h>
#include <linux/iommufd_viommu.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

#include <trace/events/iommufd.h>

#include "iommufd_private.h"

/* A device that user space detached is not found by iommufd_viommu_find_virt_id() */
void iommufd_device_set_detached(struct iommufd_device *idev, bool detached)
{
	lockdep_assert_held(&idev->igroup->lock);

	idev->detached = detached;
	if (idev->vdev)
		idev->vdev->detached = detached;
}

/* Cut the tie: nobody finds the device by this vDEVICE from here on */
static void iommufd_vdevice_disconnect(struct iommufd_vdevice *vdev)
{
	const struct iommufd_viommu_ops *ops = vdev->viommu->ops;

	lockdep_assert_held(&vdev->igroup->lock);

	trace_iommufd_vdevice_destroy(vdev);
	xa_erase(&vdev->viommu->vdevs, vdev->virt_id);
	if (ops->vdevice_destroy)
		ops->vdevice_destroy(vdev);
	vdev->idev->vdev = NULL;
	vdev->idev = NULL;
}

void iommufd_vdevice_destroy(struct iommufd_object *obj)
{
	struct iommufd_vdevice *vdev =
		container_of(obj, struct iommufd_vdevice, obj);

	mutex_lock(&vdev->igroup->lock);
	if (vdev->idev)
		iommufd_vdevice_disconnect(vdev);
	mutex_unlock(&vdev->igroup->lock);

	refcount_dec(&vdev->viommu->obj.users);
	iommufd_put_group(vdev->igroup);
}

/**
 * iommufd_device_disconnect_vdev - Part a device that goes from its vDEVICE
 * @idev: The device
 *
 * The device cannot get another vDEVICE. A system call that still holds @idev
 * fails with ENOENT.
 *
 * Context: Process context, the lock of the group is held. @idev cannot be
 * attached any more.
 *
 * Return: the vDEVICE, to be given to iommufd_vdevice_evict() without the lock,
 * or NULL if there is none or another thread is destroying it already.
 */
struct iommufd_vdevice *
iommufd_device_disconnect_vdev(struct iommufd_device *idev)
{
	struct iommufd_vdevice *vdev = idev->vdev;

	lockdep_assert_held(&idev->igroup->lock);

	idev->unbinding = true;
	if (!vdev)
		return NULL;

	/*
	 * A thread that is destroying it needs the lock to finish, so it is
	 * still there, and will find nothing left to do.
	 */
	iommufd_vdevice_disconnect(vdev);
	return refcount_inc_not_zero(&vdev->obj.users) ? vdev : NULL;
}

/**
 * iommufd_vdevice_evict - Remove a vDEVICE whose device is gone
 * @ictx: iommufd context
 * @vdev: From iommufd_device_disconnect_vdev(), or NULL
 *
 * A VMM may not have noticed yet and go on using the ID. It gets ENOENT for it,
 * and never another object: the ID is not handed out again.
 *
 * Context: Process context, may sleep; no lock of the group is held.
 */
void iommufd_vdevice_evict(struct iommufd_ctx *ictx,
			   struct iommufd_vdevice *vdev)
{
	int rc;

	if (!vdev)
		return;
	/* Only a pin holds a vDEVICE for long, and a leaving device drops it */
	rc = iommufd_object_remove(ictx, &vdev->obj, vdev->obj.id,
				   REMOVE_WAIT_SHORTTERM | REMOVE_RETIRE_ID);
	WARN_ON(rc);
}

/* Make the tie and publish the object. Nothing is left to undo if it fails. */
static int iommufd_vdevice_connect(struct iommufd_vdevice *vdev,
				   struct iommufd_viommu *viommu,
				   struct iommufd_device *idev, u64 virt_id)
{
	struct iommufd_group *igroup = idev->igroup;
	int rc;

	if (idev->dev->iommu->iommu_dev != viommu->iommu_dev)
		return -EINVAL;

	vdev->viommu = viommu;
	vdev->igroup = igroup;
	vdev->idev = idev;
	vdev->dev = idev->dev;
	vdev->virt_id = virt_id;

	mutex_lock(&igroup->lock);
	vdev->detached = idev->detached;
	if (idev->unbinding) {
		rc = -ENOENT;
		goto out_unlock;
	}
	if (idev->vdev) {
		rc = -EEXIST;
		goto out_unlock;
	}

	/* An index of the xarray is an unsigned long */
	if (virt_id > ULONG_MAX) {
		rc = -EINVAL;
		goto out_unlock;
	}

	/* Take the ID first, so that the driver never sees one that is taken */
	rc = xa_insert(&viommu->vdevs, virt_id, XA_ZERO_ENTRY,
		       GFP_KERNEL_ACCOUNT);
	if (rc) {
		if (rc == -EBUSY)
			rc = -EEXIST;
		goto out_unlock;
	}

	if (viommu->ops->vdevice_init) {
		rc = viommu->ops->vdevice_init(vdev);
		if (rc) {
			xa_release(&viommu->vdevs, virt_id);
			goto out_unlock;
		}
	}

	/* The entry exists, so this neither allocates nor fails */
	xa_store(&viommu->vdevs, virt_id, vdev, GFP_KERNEL);
	idev->vdev = vdev;
	trace_iommufd_vdevice_alloc(vdev);

	/* Both pair with iommufd_vdevice_destroy() */
	refcount_inc(&viommu->obj.users);
	kref_get(&igroup->ref);
	/*
	 * As soon as the lock is gone, a device that is being unbound may evict
	 * the vDEVICE, so nothing may touch it after that.
	 */
	iommufd_object_finalize(viommu->ictx, &vdev->obj);
out_unlock:
	mutex_unlock(&igroup->lock);
	return rc;
}

int iommufd_vdevice_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_vdevice_alloc *cmd = ucmd->cmd;
	struct iommufd_viommu *viommu;
	struct iommufd_vdevice *vdev;
	struct iommufd_device *idev;
	struct iommufd_object *obj;
	int rc;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	if (!viommu->ops->vdevice_size) {
		rc = -EOPNOTSUPP;
		goto out_put_viommu;
	}

	obj = _iommufd_object_alloc(ucmd->ictx, viommu->ops->vdevice_size,
				    IOMMUFD_OBJ_VDEVICE);
	if (IS_ERR(obj)) {
		rc = PTR_ERR(obj);
		goto out_put_viommu;
	}

	/*
	 * Answer before the device is looked up: a copy to user memory may block
	 * for as long as user space likes, and nobody who unbinds the device may
	 * be kept waiting for that. The ID gives ENOENT until all is done.
	 */
	cmd->out_vdevice_id = obj->id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_abort;

	idev = iommufd_get_device(ucmd, cmd->dev_id);
	if (IS_ERR(idev)) {
		rc = PTR_ERR(idev);
		goto out_abort;
	}

	vdev = container_of(obj, struct iommufd_vdevice, obj);
	rc = iommufd_vdevice_connect(vdev, viommu, idev, cmd->virt_id);
	iommufd_put_object(ucmd->ictx, &idev->obj);
	if (!rc)
		goto out_put_viommu;

out_abort:
	iommufd_object_abort(ucmd->ictx, obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
