// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMU: a slice of a physical IOMMU that a VM owns
 *
 * The IOMMU driver chooses the size of the object, so that it can keep its own
 * data of the VM around the core's structure. A vIOMMU holds a reference on its
 * nest parent until it is destroyed. Every object that is made from a vIOMMU
 * holds a reference on the vIOMMU.
 */
#include <linux/iommu.h>
#include <linux/iommufd_viommu.h>
#include <linux/xarray.h>
#include <trace/events/iommufd.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

void iommufd_viommu_destroy(struct iommufd_object *obj)
{
	struct iommufd_viommu *viommu =
		container_of(obj, struct iommufd_viommu, obj);

	trace_iommufd_viommu_destroy(viommu);
	viommu->ops->destroy(viommu);
	xa_destroy(&viommu->vdevs);
	refcount_dec(&viommu->hwpt->common.obj.users);
}

/* Operations that are not on the list were not checked at registration */
static bool iommufd_viommu_ops_listed(const struct iommu_ops *iommu_ops,
				      const struct iommufd_viommu_ops *ops)
{
	const struct iommufd_viommu_ops *const *type = iommu_ops->viommu_types;

	while (*type && *type != ops)
		type++;
	return *type;
}

/*
 * Create a vIOMMU on the physical IOMMU of @idev. Until the vIOMMU is
 * finalized, iommufd_object_abort_and_destroy() undoes this.
 */
static struct iommufd_viommu *
iommufd_viommu_create(struct iommufd_ucmd *ucmd, struct iommufd_device *idev,
		      const struct iommu_viommu_alloc *cmd,
		      struct iommu_user_data *user_data)
{
	const struct iommu_ops *iommu_ops = dev_iommu_ops(idev->dev);
	const struct iommufd_viommu_ops *ops = NULL;
	struct iommufd_hwpt_paging *hwpt;
	struct iommufd_viommu *viommu;
	struct iommufd_object *obj;
	int rc;

	if (iommu_ops->viommu_ops)
		ops = iommu_ops->viommu_ops(idev->dev, cmd->type);
	if (!ops || !iommufd_viommu_ops_listed(iommu_ops, ops))
		return ERR_PTR(-EOPNOTSUPP);

	hwpt = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);
	if (IS_ERR(hwpt))
		return ERR_CAST(hwpt);

	if (!hwpt->nest_parent || hwpt->common.domain->owner != iommu_ops) {
		rc = -EINVAL;
		goto err_put_hwpt;
	}

	obj = _iommufd_object_alloc(ucmd->ictx, ops->viommu_size,
				    IOMMUFD_OBJ_VIOMMU);
	if (IS_ERR(obj)) {
		rc = PTR_ERR(obj);
		goto err_put_hwpt;
	}

	viommu = container_of(obj, struct iommufd_viommu, obj);
	viommu->ictx = ucmd->ictx;
	viommu->iommu_dev = idev->dev->iommu->iommu_dev;
	viommu->hwpt = hwpt;
	viommu->ops = ops;
	viommu->type = cmd->type;
	xa_init_flags(&viommu->vdevs, XA_FLAGS_ACCOUNT);
	spin_lock_init(&viommu->veventq_lock);
	INIT_LIST_HEAD(&viommu->veventqs);

	rc = ops->init(viommu, idev->dev, hwpt->common.domain,
		       user_data->len ? user_data : NULL);
	if (rc)
		goto err_abort;

	/* Pairs with iommufd_viommu_destroy() */
	refcount_inc(&hwpt->common.obj.users);
	trace_iommufd_viommu_alloc(viommu);
	iommufd_put_object(ucmd->ictx, &hwpt->common.obj);
	return viommu;

err_abort:
	iommufd_object_abort(ucmd->ictx, obj);
err_put_hwpt:
	iommufd_put_object(ucmd->ictx, &hwpt->common.obj);
	return ERR_PTR(rc);
}

/* If the driver gave an answer, copy it to user space */
static int iommufd_user_data_answer(const struct iommufd_user_data *user_data,
				    u64 uptr)
{
	if (copy_to_user(u64_to_user_ptr(uptr), user_data->buf,
			 user_data->core.answer_len))
		return -EFAULT;
	return 0;
}

int iommufd_viommu_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_viommu_alloc *cmd = ucmd->cmd;
	struct iommufd_user_data user_data;
	struct iommufd_viommu *viommu;
	struct iommufd_device *idev;
	int rc;

	if (cmd->flags || cmd->__reserved ||
	    cmd->type == IOMMU_VIOMMU_TYPE_DEFAULT)
		return -EOPNOTSUPP;

	iommufd_user_data_read(&user_data, cmd->type, cmd->data_uptr,
			       cmd->data_len);

	idev = iommufd_get_device(ucmd, cmd->dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	viommu = iommufd_viommu_create(ucmd, idev, cmd, &user_data.core);
	iommufd_put_object(ucmd->ictx, &idev->obj);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	rc = iommufd_user_data_answer(&user_data, cmd->data_uptr);
	if (rc)
		goto err_abort;

	cmd->out_viommu_id = viommu->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto err_abort;
	iommufd_object_finalize(ucmd->ictx, &viommu->obj);
	return 0;

err_abort:
	iommufd_object_abort_and_destroy(ucmd->ictx, &viommu->obj);
	return rc;
}
