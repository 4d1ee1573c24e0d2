// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mock devices that are reset
 *
 * A test begins and ends resets as a bus does. Meanwhile the mock driver complains
 * when the core attaches the device, or sets or removes a PASID of it: a real driver
 * would send an invalidation to a device that does not answer.
 *
 * iommufd has no user API for PASIDs, so the test attaches them here.
 */
#include <linux/iommu.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"
#include "iommufd_test.h"
#include "selftest_reset.h"
#include "selftest_viommu.h"

/**
 * struct mock_reset - What a mock device is told of resets
 * @depth: Resets that have begun
 * @calls: The core may call the driver, since a reset begins or ends
 * @fail_attach: The next attach to a domain that does not block fails
 * @num_forgotten: How often the core told the driver to forget the old domain
 * @hw_pasids: Domain of each PASID that the hardware has
 * @hwpts: HWPT that the test has attached to each PASID
 */
struct mock_reset {
	unsigned int depth;
	bool calls;
	bool fail_attach;
	u32 num_forgotten;
	struct xarray hw_pasids;
	struct xarray hwpts;
};

/* By the number of the device; made by the first operation of the test on it */
static DEFINE_XARRAY(mock_resets);

static struct mock_reset *mock_reset_find(struct device *dev)
{
	return xa_load(&mock_resets, to_mock_dev(dev)->id);
}

static bool mock_reset_silent(struct mock_reset *reset)
{
	return READ_ONCE(reset->depth) && !READ_ONCE(reset->calls);
}

int mock_reset_attach(struct iommu_domain *domain, struct device *dev)
{
	struct mock_reset *reset = mock_reset_find(dev);

	if (!reset)
		return 0;
	MOCK_ERROR_ON(mock_reset_silent(reset));
	if (domain->type == IOMMU_DOMAIN_BLOCKED || !reset->fail_attach)
		return 0;
	reset->fail_attach = false;
	return -EIO;
}

int mock_reset_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
			     ioasid_t pasid, struct iommu_domain *old)
{
	struct mock_reset *reset = mock_reset_find(dev);

	/* Another device of the group, of which the test wants to know nothing */
	if (!reset)
		return 0;
	MOCK_ERROR_ON(mock_reset_silent(reset));
	if (iommufd_should_fail())
		return -EIO;
	return xa_insert(&reset->hw_pasids, pasid, domain, GFP_KERNEL);
}

void mock_reset_remove_dev_pasid(struct device *dev, ioasid_t pasid,
				 struct iommu_domain *domain)
{
	struct mock_reset *reset = mock_reset_find(dev);

	if (!reset)
		return;
	MOCK_ERROR_ON(mock_reset_silent(reset));
	MOCK_ERROR_ON(xa_erase(&reset->hw_pasids, pasid) != domain);
}

void mock_reset_forget(struct device *dev)
{
	struct mock_reset *reset = mock_reset_find(dev);

	if (reset)
		reset->num_forgotten++;
}

static struct mock_reset *mock_reset_get(struct mock_dev *mdev)
{
	struct mock_reset *reset = mock_reset_find(&mdev->dev);
	int rc;

	if (reset)
		return reset;
	reset = kzalloc(sizeof(*reset), GFP_KERNEL_ACCOUNT);
	if (!reset)
		return ERR_PTR(-ENOMEM);
	xa_init(&reset->hw_pasids);
	xa_init(&reset->hwpts);
	rc = xa_insert(&mock_resets, mdev->id, reset, GFP_KERNEL_ACCOUNT);
	if (rc) {
		kfree(reset);
		return ERR_PTR(rc);
	}
	return reset;
}

static struct iommufd_hw_pagetable *mock_reset_get_hwpt(struct iommufd_ctx *ictx,
							u32 id)
{
	struct iommufd_object *obj;

	obj = iommufd_get_object(ictx, id, IOMMUFD_OBJ_ANY);
	if (IS_ERR(obj))
		return ERR_CAST(obj);
	if (obj->type != IOMMUFD_OBJ_HWPT_PAGING &&
	    obj->type != IOMMUFD_OBJ_HWPT_NESTED) {
		iommufd_put_object(ictx, obj);
		return ERR_PTR(-EINVAL);
	}
	return container_of(obj, struct iommufd_hw_pagetable, obj);
}

static int mock_reset_begin(struct mock_dev *mdev, struct mock_reset *reset)
{
	int rc;

	WRITE_ONCE(reset->calls, true);
	rc = iommu_dev_reset_begin(&mdev->dev);
	if (!rc)
		WRITE_ONCE(reset->depth, reset->depth + 1);
	WRITE_ONCE(reset->calls, false);
	return rc;
}

static int mock_reset_end(struct mock_dev *mdev, struct mock_reset *reset,
			  int result)
{
	if (!reset->depth || result > 0)
		return -EINVAL;
	WRITE_ONCE(reset->calls, true);
	iommu_dev_reset_end(&mdev->dev, result);
	WRITE_ONCE(reset->depth, reset->depth - 1);
	WRITE_ONCE(reset->calls, false);
	return 0;
}

static int mock_reset_attach_pasid(struct iommufd_ucmd *ucmd,
				   struct mock_dev *mdev,
				   struct mock_reset *reset)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_hw_pagetable *hwpt;
	int rc;

	hwpt = mock_reset_get_hwpt(ucmd->ictx, cmd->dev_reset.hwpt_id);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	rc = xa_insert(&reset->hwpts, cmd->dev_reset.pasid, hwpt, GFP_KERNEL);
	if (rc)
		goto out_put;
	rc = iommu_attach_device_pasid(hwpt->domain, &mdev->dev,
				       cmd->dev_reset.pasid, NULL);
	if (rc)
		xa_erase(&reset->hwpts, cmd->dev_reset.pasid);
	else
		refcount_inc(&hwpt->obj.users);
out_put:
	iommufd_put_object(ucmd->ictx, &hwpt->obj);
	return rc;
}

static int mock_reset_detach_pasid(struct mock_dev *mdev,
				   struct mock_reset *reset, ioasid_t pasid)
{
	struct iommufd_hw_pagetable *hwpt = xa_erase(&reset->hwpts, pasid);

	if (!hwpt)
		return -ENOENT;
	iommu_detach_device_pasid(hwpt->domain, &mdev->dev, pasid);
	refcount_dec(&hwpt->obj.users);
	return 0;
}

static int mock_reset_state(struct iommufd_ucmd *ucmd, struct mock_dev *mdev,
			    struct mock_reset *reset)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_hw_pagetable *hwpt = NULL;
	struct iommu_domain *domain = NULL;
	struct iommu_group *group;

	if (cmd->dev_reset.hwpt_id) {
		hwpt = mock_reset_get_hwpt(ucmd->ictx, cmd->dev_reset.hwpt_id);
		if (IS_ERR(hwpt))
			return PTR_ERR(hwpt);
		domain = hwpt->domain;
	}

	group = iommu_group_get(&mdev->dev);
	iommu_group_lock_domain(group);
	if (mdev->attached && mdev->attached->type == IOMMU_DOMAIN_BLOCKED)
		cmd->dev_reset.out_attached = MOCK_RESET_ON_BLOCKED;
	else if (mdev->attached && mdev->attached == domain)
		cmd->dev_reset.out_attached = MOCK_RESET_ON_HWPT;
	else
		cmd->dev_reset.out_attached = MOCK_RESET_ON_OTHER;
	cmd->dev_reset.out_pasid =
		domain && xa_load(&reset->hw_pasids, cmd->dev_reset.pasid) ==
				  domain;
	cmd->dev_reset.out_forgotten = reset->num_forgotten;
	iommu_group_unlock_domain(group);
	iommu_group_put(group);

	if (hwpt)
		iommufd_put_object(ucmd->ictx, &hwpt->obj);
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

static int mock_reset_op(struct iommufd_ucmd *ucmd, struct mock_dev *mdev)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct mock_reset *reset = mock_reset_get(mdev);

	lockdep_assert_held(&mdev->bind_lock);

	if (IS_ERR(reset))
		return PTR_ERR(reset);

	switch (cmd->dev_reset.what) {
	case MOCK_RESET_BEGIN:
		return mock_reset_begin(mdev, reset);
	case MOCK_RESET_END:
		return mock_reset_end(mdev, reset, cmd->dev_reset.result);
	case MOCK_RESET_FAIL_ATTACH:
		reset->fail_attach = true;
		return 0;
	case MOCK_RESET_ATTACH_PASID:
		return mock_reset_attach_pasid(ucmd, mdev, reset);
	case MOCK_RESET_DETACH_PASID:
		return mock_reset_detach_pasid(mdev, reset,
					       cmd->dev_reset.pasid);
	case MOCK_RESET_STATE:
		return mock_reset_state(ucmd, mdev, reset);
	default:
		return -EINVAL;
	}
}

int iommufd_test_dev_reset(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_object *obj;
	struct mock_dev *mdev;
	int rc;

	obj = iommufd_get_object(ucmd->ictx, cmd->id, IOMMUFD_OBJ_SELFTEST);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	mdev = container_of(obj, struct selftest_obj, obj)->idev.mock_dev;

	mutex_lock(&mdev->bind_lock);
	rc = mock_reset_op(ucmd, mdev);
	mutex_unlock(&mdev->bind_lock);

	iommufd_put_object(ucmd->ictx, obj);
	return rc;
}

/* The device is about to be detached for good. A reset can be in progress. */
void mock_reset_dev_gone(struct mock_dev *mdev)
{
	struct mock_reset *reset = mock_reset_find(&mdev->dev);
	struct iommufd_hw_pagetable *hwpt;
	unsigned long pasid;

	if (!reset)
		return;
	xa_for_each(&reset->hwpts, pasid, hwpt)
		mock_reset_detach_pasid(mdev, reset, pasid);
}

/* The device is gone */
void mock_reset_free(int id)
{
	struct mock_reset *reset = xa_erase(&mock_resets, id);

	if (!reset)
		return;
	MOCK_ERROR_ON(!xa_empty(&reset->hw_pasids));
	xa_destroy(&reset->hw_pasids);
	xa_destroy(&reset->hwpts);
	kfree(reset);
}
