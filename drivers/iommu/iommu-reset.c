// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keep the IOMMU away from a device while it is reset
 *
 * A device in reset does not answer an ATC invalidation. The IOMMU then waits until
 * the invalidation times out, and with it waits every device that shares the queue
 * of commands. So the bus attaches a device to the blocking domain before a reset,
 * and attaches what its group has then after the reset.
 *
 * A device is in reset from iommu_dev_reset_begin() until the iommu_dev_reset_end()
 * that pairs with the first begin, and longer if the last reset failed: a device
 * that failed to reset may not answer, and may still have in its ATC what it had
 * before. The next reset that succeeds brings it back.
 *
 * In that time the group keeps its domain and its PASIDs as far as their users can
 * tell. A new domain or PASID is refused with EBUSY. What must succeed does: the
 * group changes its domain, the other devices of the group follow, and the end of
 * the reset attaches the domain that the group has at that time. So no domain comes
 * back that the group has left, and which may be freed.
 *
 * Devices that share a Requester ID share what the IOMMU knows of it. So a device is
 * blocked as long as any device with its Requester ID is in reset.
 *
 * All of this is protected by the group mutex. VFIO holds the memory_lock of a device
 * while it resets the device, so memory_lock is taken before the group mutex, and
 * nothing takes memory_lock under the group mutex.
 */
#include <linux/device.h>
#include <linux/export.h>
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>

#include "iommu-priv.h"

/* Bridges reset devices that are being removed: protects dev->iommu_group for them */
DEFINE_SPINLOCK(iommu_reset_group_lock);

/**
 * iommu_dev_in_reset - Tell whether a device is in reset
 * @dev: The device
 *
 * For IOMMU drivers, too: iommu_dev_reset_begin() and iommu_dev_reset_end() call
 * the attach operations while this is true. A driver should then send nothing to the
 * device when it removes a PASID or attaches the blocking domain, since the device may
 * hang, and must keep what it needs to attach the old domain again.
 *
 * Context: Any. The answer changes under the group mutex.
 *
 * Return: true from the begin of a reset until the end of one that succeeds.
 */
bool iommu_dev_in_reset(struct device *dev)
{
	return dev->iommu && READ_ONCE(dev->iommu->in_reset);
}
EXPORT_SYMBOL_GPL(iommu_dev_in_reset);

/**
 * iommu_attached_domain - Get the domain that the hardware uses for a device
 * @dev: The device
 *
 * iommu_get_domain_for_dev() gives the domain of the group, to which a device in
 * reset is not attached. IOMMU drivers need to know which domain a device leaves.
 *
 * Context: A domain operation of an IOMMU driver, which the core calls under the
 * group mutex.
 *
 * Return: the domain, or NULL if the device has not been attached yet.
 */
struct iommu_domain *iommu_attached_domain(struct device *dev)
{
	struct iommu_group *group = dev->iommu_group;

	if (!group)
		return NULL;
	if (dev->iommu && dev->iommu->reset_blocked)
		return dev->iommu->reset_domain;
	return group->domain;
}
EXPORT_SYMBOL_GPL(iommu_attached_domain);

/* A change of the group is impossible, since a device cannot follow */
bool iommu_group_in_reset(struct iommu_group *group)
{
	struct group_device *gdev;

	lockdep_assert_held(&group->mutex);

	for_each_group_device(group, gdev)
		if (iommu_dev_in_reset(gdev->dev))
			return true;
	return false;
}

/* The group leaves the domain that @dev had before the reset */
void iommu_dev_reset_forget(struct device *dev)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);

	lockdep_assert_held(&dev->iommu_group->mutex);

	if (ops->reset_forget)
		ops->reset_forget(dev);
}

/* A reset of @dev is one of @other, since they are the same to the IOMMU */
static bool iommu_reset_reaches(struct device *dev, struct device *other)
{
	if (!dev_has_iommu(other))
		return false;
	if (other == dev)
		return true;
	if (!dev_is_pci(dev) || !dev_is_pci(other))
		return false;
	return to_pci_dev(dev)->bus == to_pci_dev(other)->bus &&
	       pci_devs_are_dma_aliases(to_pci_dev(dev), to_pci_dev(other));
}

/* The device itself is in reset, or one that has its Requester ID */
static bool iommu_reset_must_block(struct iommu_group *group, struct device *dev)
{
	struct group_device *gdev;

	for_each_group_device(group, gdev) {
		if (!dev_has_iommu(gdev->dev) ||
		    !iommu_reset_reaches(gdev->dev, dev))
			continue;
		if (gdev->dev->iommu->reset_depth ||
		    gdev->dev->iommu->reset_failed)
			return true;
	}
	return false;
}

/* Remove the PASIDs of a device from the hardware, stopping before @end */
static void iommu_reset_remove_pasids(struct iommu_group *group,
				      struct device *dev, unsigned long end)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);
	struct iommu_domain *domain;
	unsigned long pasid;

	if (!dev->iommu->max_pasids)
		return;
	xa_for_each(&group->pasid_domains, pasid, domain) {
		if (pasid == end)
			break;
		ops->remove_dev_pasid(dev, pasid, domain);
	}
}

static int iommu_reset_set_pasids(struct iommu_group *group, struct device *dev)
{
	struct iommu_domain *domain;
	unsigned long pasid;
	int ret;

	if (!dev->iommu->max_pasids)
		return 0;
	xa_for_each(&group->pasid_domains, pasid, domain) {
		ret = domain->ops->set_dev_pasid(domain, dev, pasid, NULL);
		if (ret) {
			iommu_reset_remove_pasids(group, dev, pasid);
			return ret;
		}
	}
	return 0;
}

static int iommu_reset_block(struct iommu_group *group, struct device *dev)
{
	struct dev_iommu *param = dev->iommu;
	bool deferred = param->attach_deferred;
	int ret;

	if (param->in_reset)
		return 0;

	if (group->domain) {
		ret = __iommu_group_alloc_blocking_domain(group);
		if (ret)
			return ret;
	}

	/*
	 * The PASIDs come first: AMD's table of PASIDs goes with the domain of
	 * the Requester ID.
	 */
	WRITE_ONCE(param->in_reset, true);
	iommu_reset_remove_pasids(group, dev, ULONG_MAX);
	if (group->domain && group->domain != group->blocking_domain) {
		ret = __iommu_attach_device(group->blocking_domain, dev);
		if (ret) {
			if (iommu_reset_set_pasids(group, dev))
				dev_err_ratelimited(dev,
						    "its PASIDs are blocked\n");
			WRITE_ONCE(param->in_reset, false);
			return ret;
		}
		/* The deferred attach fails until the reset is over */
		param->attach_deferred = deferred;
	}

	param->reset_domain = group->domain ? group->blocking_domain : NULL;
	param->reset_blocked = true;
	return 0;
}

static int iommu_reset_restore(struct iommu_group *group, struct device *dev)
{
	struct dev_iommu *param = dev->iommu;
	int ret;

	if (group->domain && group->domain != param->reset_domain) {
		/* For the way back. There is none if there was no domain before. */
		ret = __iommu_group_alloc_blocking_domain(group);
		if (ret)
			return ret;
		ret = __iommu_attach_device(group->domain, dev);
		if (ret)
			return ret;
	}
	param->reset_blocked = false;

	ret = iommu_reset_set_pasids(group, dev);
	if (!ret)
		return 0;

	if (group->domain && group->domain != group->blocking_domain)
		__iommu_attach_device(group->blocking_domain, dev);
	param->reset_domain = group->domain ? group->blocking_domain : NULL;
	param->reset_blocked = true;
	return ret;
}

/* Unblock @dev unless a reset goes on that concerns it */
static void iommu_reset_unblock(struct iommu_group *group, struct device *dev)
{
	struct dev_iommu *param = dev->iommu;
	int ret;

	if (!param->in_reset || iommu_reset_must_block(group, dev))
		return;

	ret = iommu_reset_restore(group, dev);
	if (ret) {
		param->reset_failed = true;
		dev_err_ratelimited(dev,
				    "cannot attach after a reset (%d), DMA is blocked until the next one\n",
				    ret);
		return;
	}
	WRITE_ONCE(param->in_reset, false);
}

static void iommu_reset_unblock_all(struct iommu_group *group,
				    struct device *dev)
{
	struct group_device *gdev;

	for_each_group_device(group, gdev)
		if (iommu_reset_reaches(dev, gdev->dev))
			iommu_reset_unblock(group, gdev->dev);
}

/**
 * iommu_dev_reset_join - Note whether a new device of a group is blocked
 * @group: The group
 * @dev: The device, which is on the list of @group and not attached yet
 *
 * A device with the same Requester ID may be in reset.
 *
 * Context: Process context; the caller holds the group mutex.
 */
void iommu_dev_reset_join(struct iommu_group *group, struct device *dev)
{
	lockdep_assert_held(&group->mutex);

	if (!iommu_reset_must_block(group, dev))
		return;
	dev->iommu->reset_blocked = true;
	WRITE_ONCE(dev->iommu->in_reset, true);
}

/**
 * iommu_dev_reset_leave - Forget the resets of a device that is removed
 * @group: The group
 * @dev: The device, which is not on the list of @group any more
 *
 * Context: Process context, may sleep; the caller holds the group mutex.
 */
void iommu_dev_reset_leave(struct iommu_group *group, struct device *dev)
{
	lockdep_assert_held(&group->mutex);

	if (dev->iommu->reset_depth || dev->iommu->reset_failed)
		iommu_reset_unblock_all(group, dev);
}

/* Returns the group of @dev, for which the caller calls iommu_group_put(), or NULL */
static struct iommu_group *iommu_reset_group_get(struct device *dev)
{
	struct iommu_group *group;

	/* Not before the group of a device that is being removed has gone from it */
	spin_lock(&iommu_reset_group_lock);
	group = iommu_group_get(dev);
	spin_unlock(&iommu_reset_group_lock);
	return group;
}

/* The device may have been removed from @group meanwhile */
static bool iommu_reset_has_device(struct iommu_group *group, struct device *dev)
{
	struct group_device *gdev;

	for_each_group_device(group, gdev)
		if (gdev->dev == dev)
			return dev_has_iommu(dev);
	return false;
}

static int iommu_reset_begin_locked(struct iommu_group *group,
				    struct device *dev)
{
	struct group_device *gdev;
	unsigned int noio;
	int ret = 0;

	/* The device may be a disk, which cannot write pages back now */
	noio = memalloc_noio_save();
	dev->iommu->reset_depth++;
	for_each_group_device(group, gdev) {
		if (!iommu_reset_reaches(dev, gdev->dev))
			continue;
		ret = iommu_reset_block(group, gdev->dev);
		if (ret) {
			dev->iommu->reset_depth--;
			iommu_reset_unblock_all(group, dev);
			break;
		}
	}
	memalloc_noio_restore(noio);
	return ret;
}

static void iommu_reset_end_locked(struct iommu_group *group,
				   struct device *dev, int result)
{
	struct dev_iommu *param = dev->iommu;
	unsigned int noio;

	/* The device was added to the group after the reset had begun */
	if (!param->reset_depth)
		return;

	param->reset_depth--;
	if (!result)
		param->reset_failed = false;
	else if (result != -ENOTTY)
		param->reset_failed = true;
	if (!param->reset_depth && param->reset_failed)
		dev_err_ratelimited(dev,
				    "reset failed (%d), DMA is blocked until a reset succeeds\n",
				    result);

	noio = memalloc_noio_save();
	iommu_reset_unblock_all(group, dev);
	memalloc_noio_restore(noio);
}

/**
 * iommu_dev_reset_begin - Block the DMA of a device that will be reset
 * @dev: The device
 *
 * Attach @dev to the blocking domain and remove its PASIDs from the hardware. The
 * IOMMU sends nothing to @dev until iommu_dev_reset_end(). A device that has the same
 * Requester ID is blocked with it. The others of the group are not.
 *
 * A reset may call a reset. Then this only counts.
 *
 * Context: Process context, may sleep; takes the group mutex.
 *
 * Return: 0, also if @dev has no IOMMU, or the error for which @dev cannot be
 * blocked. Then nothing has changed.
 */
int iommu_dev_reset_begin(struct device *dev)
{
	struct iommu_group *group = iommu_reset_group_get(dev);
	int ret = 0;

	if (!group)
		return 0;

	mutex_lock(&group->mutex);
	if (iommu_reset_has_device(group, dev))
		ret = iommu_reset_begin_locked(group, dev);
	mutex_unlock(&group->mutex);
	iommu_group_put(group);
	return ret;
}
EXPORT_SYMBOL_GPL(iommu_dev_reset_begin);

/**
 * iommu_dev_reset_end - Give a device what its group has after a reset
 * @dev: The device, for which iommu_dev_reset_begin() succeeded
 * @result: 0 if the reset succeeded, -ENOTTY if none was tried, another error if
 *          one was tried and failed
 *
 * After a reset that failed, or if an IOMMU driver fails to attach the domain of the
 * group, @dev stays blocked until a reset succeeds.
 *
 * Context: Process context, may sleep; takes the group mutex.
 */
void iommu_dev_reset_end(struct device *dev, int result)
{
	struct iommu_group *group = iommu_reset_group_get(dev);

	if (!group)
		return;

	mutex_lock(&group->mutex);
	if (iommu_reset_has_device(group, dev))
		iommu_reset_end_locked(group, dev, result);
	mutex_unlock(&group->mutex);
	iommu_group_put(group);
}
EXPORT_SYMBOL_GPL(iommu_dev_reset_end);
