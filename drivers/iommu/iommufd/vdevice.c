// SPDX-License-Identifier: GPL-2.0-only
/*
 * vDEVICE: a device as the VM behind a vIOMMU knows it
 *
 * A vDEVICE connects a bound device with its ID on the vIOMMU. The connection
 * is made and cut under the lock of the iommufd group. The destruction of the
 * vDEVICE cuts it, or the unbind of the device if that comes first. The vDEVICE
 * holds no reference on the device, so that the device can be unbound at any
 * time. It holds a reference on the group, so that the lock outlives both.
 *
 * Lock order: iommufd_group::lock, then the lock of iommufd_viommu::vdevs,
 * which is a leaf.
 */
#include <linux/iommu.h>
#include <linux/iommufd_viommu.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

#include <trace/events/iommufd.h>

#include "iommufd_private.h"

/* Note whether user space has detached @idev */
void iommufd_device_set_detached(struct iommufd_device *idev, bool detached)
{
	lockdep_assert_held(&idev->igroup->lock);

	idev->detached = detached;
}

/* Cut the connection. No lookup finds the device by @vdev afterwards. */
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
 * iommufd_device_disconnect_vdev - Disconnect a device from its vDEVICE
 * @idev: The device, which is being unbound
 *
 * Afterwards the device cannot get another vDEVICE: IOMMU_VDEVICE_ALLOC in a
 * thread that still holds @idev fails with ENOENT.
 *
 * Context: Process context. The caller holds the lock of the group. @idev
 * cannot be attached any more.
 *
 * Return: the vDEVICE, which the caller passes to iommufd_vdevice_evict() after
 * it has dropped the lock; or NULL if there is none, or another thread is
 * destroying it already.
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
	 * iommufd_vdevice_destroy() takes this lock before it frees @vdev, so
	 * @vdev is valid here. It will find idev NULL and skip the disconnect.
	 */
	iommufd_vdevice_disconnect(vdev);
	return refcount_inc_not_zero(&vdev->obj.users) ? vdev : NULL;
}

/**
 * iommufd_vdevice_evict - Remove a vDEVICE whose device is gone
 * @ictx: iommufd context
 * @vdev: From iommufd_device_disconnect_vdev(), or NULL
 *
 * The VMM may not know yet that the device is gone, and may use the ID of the
 * vDEVICE again. Such a call fails with ENOENT. iommufd gives the ID to no
 * other object, so the call never reaches a wrong one.
 *
 * Context: Process context, may sleep. The caller does not hold the lock of the
 * group.
 */
void iommufd_vdevice_evict(struct iommufd_ctx *ictx,
			   struct iommufd_vdevice *vdev)
{
	int rc;

	if (!vdev)
		return;
	/* Only a pin holds a vDEVICE for long, and an unbind drops the pin */
	rc = iommufd_object_remove(ictx, &vdev->obj, vdev->obj.id,
				   REMOVE_WAIT_SHORTTERM | REMOVE_RETIRE_ID);
	WARN_ON(rc);
}

/*
 * Connect the device and publish the object. If this fails, nothing is left to
 * undo.
 */
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
	vdev->member = idev->member;
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

	/* Reserve the ID first: the driver must not see an ID that is in use */
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

	/* The entry is reserved, so the store neither allocates nor fails */
	xa_store(&viommu->vdevs, virt_id, vdev, GFP_KERNEL);
	idev->vdev = vdev;
	trace_iommufd_vdevice_alloc(vdev);

	/* These references pair with iommufd_vdevice_destroy() */
	refcount_inc(&viommu->obj.users);
	kref_get(&igroup->ref);
	/*
	 * Once the lock is dropped, an unbind of the device may free @vdev.
	 * Nothing may touch @vdev after that.
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
	 * Answer before the device is looked up. User space can block the copy
	 * for as long as it likes, and an unbind of the device must not wait
	 * for that. Until the vDEVICE is published, its ID fails with ENOENT.
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
