// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moving a group between HWPTs
 *
 * The IOMMU core attaches a group as a whole. Attach, replace and detach are
 * one operation here: a move from a HWPT (or none) to another HWPT (or none). A
 * move consists of steps. Each step manages one thing that an attachment needs.
 * Before the IOMMU core is called, a step takes what the new attachment needs.
 * Afterwards it drops what the old attachment needed:
 *
 *  step    attach (no from)       replace                     detach (no to)
 *  handle  allocates it           allocates it, then frees the     frees it
 *                                 old one
 *  vdevs   pins vDEVICEs of to    pins those of to, then unpins    unpins
 *                                 those of from
 *  sw_msi  maps the doorbells     maps them in to, then unmaps     unmaps
 *          once it is attached    them in from
 *  faults  enables page faults    enables them if only to has a    answers all
 *          if to has a queue      queue; answers those of from;    faults and
 *                                 disables them if only from has   disables
 *                                 a queue                          them
 *
 * If a move fails, each step that was prepared drops what it took. The group
 * then keeps its old attachment.
 *
 * iommufd_move_steps in device.c is the table of the steps. The step vdevs is in
 * vdev_pin.c, and sw_msi in sw_msi.c.
 *
 * The first device attaches the group. If another device attaches afterwards,
 * it joins: the IOMMU core has attached it with the group, and only the steps
 * have to do their part for it. If a device detaches while others stay
 * attached, it leaves.
 *
 * igroup->lock protects all of this. It is taken before the group mutex of the
 * IOMMU core and before the mutex of a fault queue.
 */
#include <kunit/visibility.h>
#include <linux/iommu.h>
#include <linux/slab.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

static struct iommufd_attach_handle *
iommufd_group_handle(struct iommufd_group *igroup)
{
	struct iommu_attach_handle *handle;

	lockdep_assert_held(&igroup->lock);

	handle = iommu_attach_handle_get(igroup->group, IOMMU_NO_PASID, 0);
	if (IS_ERR(handle))
		return NULL;
	return to_iommufd_handle(handle);
}

static int iommufd_move_handle_prepare(struct iommufd_move *move)
{
	if (move->from)
		move->old_handle = iommufd_group_handle(move->idev->igroup);
	if (!move->to)
		return 0;

	move->handle = kzalloc(sizeof(*move->handle), GFP_KERNEL_ACCOUNT);
	if (!move->handle)
		return -ENOMEM;
	move->handle->igroup = move->idev->igroup;
	return 0;
}

static void iommufd_move_handle_commit(struct iommufd_move *move)
{
	kfree(move->old_handle);
}

static void iommufd_move_handle_abort(struct iommufd_move *move)
{
	kfree(move->handle);
}

/* The first step of all, because the other steps use the handle */
const struct iommufd_move_step iommufd_move_handle = {
	.prepare = iommufd_move_handle_prepare,
	.commit = iommufd_move_handle_commit,
	.abort = iommufd_move_handle_abort,
};

static bool iommufd_hwpt_has_faults(struct iommufd_hw_pagetable *hwpt)
{
	return hwpt && hwpt->fault;
}

static void iommufd_group_disable_faults(struct iommufd_device *idev)
{
	struct iommufd_device *cur;

	list_for_each_entry(cur, &idev->igroup->device_list, group_item)
		if (cur != idev)
			iommufd_fault_iopf_disable(cur);
	iommufd_fault_iopf_disable(idev);
}

/*
 * The attach handle of a group delivers the faults of each of its devices, so
 * enable the faults of each device. This fails if the device that user space
 * names cannot fault. The other devices need not be able to.
 */
static int iommufd_move_faults_prepare(struct iommufd_move *move)
{
	struct iommufd_device *idev = move->idev;
	struct iommufd_device *cur;
	int rc;

	if (!iommufd_hwpt_has_faults(move->to) ||
	    iommufd_hwpt_has_faults(move->from))
		return 0;

	rc = iommufd_fault_iopf_enable(idev);
	if (rc)
		return rc;

	list_for_each_entry(cur, &idev->igroup->device_list, group_item) {
		if (cur == idev)
			continue;
		rc = iommufd_fault_iopf_join(cur);
		if (rc)
			goto err_disable;
	}
	return 0;

err_disable:
	iommufd_group_disable_faults(idev);
	return rc;
}

static void iommufd_move_faults_abort(struct iommufd_move *move)
{
	if (!iommufd_hwpt_has_faults(move->to))
		return;

	/*
	 * If a later step could not settle, the devices were attached, and may
	 * have faulted.
	 */
	iommufd_auto_response_faults(move->to, move->handle, NULL);
	if (!iommufd_hwpt_has_faults(move->from))
		iommufd_group_disable_faults(move->idev);
}

static void iommufd_move_faults_commit(struct iommufd_move *move)
{
	if (!iommufd_hwpt_has_faults(move->from))
		return;

	iommufd_auto_response_faults(move->from, move->old_handle, NULL);
	if (!iommufd_hwpt_has_faults(move->to))
		iommufd_group_disable_faults(move->idev);
}

static int iommufd_move_faults_join(struct iommufd_device *idev)
{
	if (!iommufd_hwpt_has_faults(idev->igroup->hwpt))
		return 0;
	return iommufd_fault_iopf_join(idev);
}

static void iommufd_move_faults_leave(struct iommufd_device *idev)
{
	struct iommufd_group *igroup = idev->igroup;

	if (!iommufd_hwpt_has_faults(igroup->hwpt))
		return;

	/* Disable faults first, so that no further fault comes in */
	iommufd_fault_iopf_disable(idev);
	iommufd_auto_response_faults(igroup->hwpt, iommufd_group_handle(igroup),
				     idev->dev);
}

/*
 * The last step of all. Commit and abort run backwards, so faults are answered
 * before their handle is freed.
 */
const struct iommufd_move_step iommufd_move_faults = {
	.prepare = iommufd_move_faults_prepare,
	.commit = iommufd_move_faults_commit,
	.abort = iommufd_move_faults_abort,
	.join = iommufd_move_faults_join,
	.leave = iommufd_move_faults_leave,
};

static int iommufd_move_attach(struct iommufd_move *move)
{
	struct iommu_group *group = move->idev->igroup->group;

	if (!move->to) {
		iommu_detach_group_handle(move->from->domain, group);
		return 0;
	}
	if (!move->from)
		return iommu_attach_group_handle(move->to->domain, group,
						 &move->handle->handle);
	return iommu_replace_group_handle(group, move->to->domain,
					  &move->handle->handle);
}

static void iommufd_move_detach(struct iommufd_move *move)
{
	iommu_detach_group_handle(move->to->domain,
				  move->idev->igroup->group);
}

/*
 * Run the steps of a move. @attach changes the attachment. If a step then
 * cannot settle after a first attachment, @detach undoes the attachment.
 */
VISIBLE_IF_KUNIT
int iommufd_move_run(struct iommufd_move *move,
		     const struct iommufd_move_step *const *steps,
		     unsigned int num,
		     int (*attach)(struct iommufd_move *move),
		     void (*detach)(struct iommufd_move *move))
{
	unsigned int done, i;
	int rc;

	for (done = 0; done != num; done++) {
		rc = steps[done]->prepare ? steps[done]->prepare(move) : 0;
		if (rc)
			goto err_abort;
	}

	rc = attach(move);
	if (rc)
		goto err_abort;

	for (i = 0; !move->from && i != num; i++) {
		rc = steps[i]->settle ? steps[i]->settle(move) : 0;
		if (rc)
			goto err_detach;
	}

	while (done--)
		if (steps[done]->commit)
			steps[done]->commit(move);
	return 0;

err_detach:
	detach(move);
err_abort:
	while (done--)
		if (steps[done]->abort)
			steps[done]->abort(move);
	return rc;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_move_run);

/**
 * iommufd_group_move - Attach, replace or detach a group
 * @idev: The device that user space names. It is on the group's device_list if
 *        and only if both @from and @to are given.
 * @from: HWPT that the group is attached to, or NULL
 * @to: HWPT to attach the group to, or NULL
 *
 * The caller reserves the IOVAs that the devices need, and sets igroup->hwpt.
 *
 * Context: Process context, may sleep. The caller holds igroup->lock.
 *
 * Return: 0, or the error of the driver or of the first step that fails. On an
 * error the group keeps its old attachment. A detach does not fail.
 */
int iommufd_group_move(struct iommufd_device *idev,
		       struct iommufd_hw_pagetable *from,
		       struct iommufd_hw_pagetable *to)
{
	struct iommufd_move move = {
		.idev = idev,
		.from = from,
		.to = to,
	};

	lockdep_assert_held(&idev->igroup->lock);

	return iommufd_move_run(&move, iommufd_move_steps,
				iommufd_move_num_steps, iommufd_move_attach,
				iommufd_move_detach);
}

/**
 * iommufd_group_join - Add a device to the attachment of its group
 * @idev: The device. It is not attached, but another device of the group is.
 *
 * Context: Process context, may sleep. The caller holds igroup->lock.
 *
 * Return: 0, or the error of the first step that fails.
 */
int iommufd_group_join(struct iommufd_device *idev)
{
	bool was_detached = idev->detached;
	unsigned int done;
	int rc;

	lockdep_assert_held(&idev->igroup->lock);

	for (done = 0; done != iommufd_move_num_steps; done++) {
		const struct iommufd_move_step *step = iommufd_move_steps[done];

		rc = step->join ? step->join(idev) : 0;
		if (rc)
			goto err_leave;
	}
	return 0;

err_leave:
	while (done--)
		if (iommufd_move_steps[done]->leave)
			iommufd_move_steps[done]->leave(idev);
	/* If the attach fails, the device stays detached if it was detached */
	iommufd_device_set_detached(idev, was_detached);
	return rc;
}

/**
 * iommufd_group_leave - Remove a device from the attachment of its group
 * @idev: The device. It need not be attached.
 *
 * Context: Process context, may sleep. The caller holds igroup->lock.
 */
void iommufd_group_leave(struct iommufd_device *idev)
{
	unsigned int i = iommufd_move_num_steps;

	lockdep_assert_held(&idev->igroup->lock);

	while (i--)
		if (iommufd_move_steps[i]->leave)
			iommufd_move_steps[i]->leave(idev);
}
