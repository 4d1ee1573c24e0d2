// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keep the IOMMU away from PCI functions while they are reset
 *
 * A function with ATS has a cache of translations, which the IOMMU invalidates by
 * messages. A function in reset does not answer them. See drivers/iommu/iommu-reset.c.
 * Other functions get no messages, and are left alone.
 *
 * Each reset that is tried goes through here, so a question whether a method is
 * possible does not. One reset can contain another one: the IOMMU counts.
 */
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "pci.h"

static void pci_reset_iommu_done(struct pci_dev *dev, int result)
{
	/*
	 * Behavior is undefined if PASID or PRI are enabled while ATS is (PCIe
	 * r6.0, sec 10.5.1.3). The IOMMU enables ATS. So enable the others now,
	 * and not when all of the configuration is restored.
	 */
	if (!result) {
		pci_restore_pasid_state(dev);
		pci_restore_pri_state(dev);
	}
	iommu_dev_reset_end(&dev->dev, result);
}

/**
 * pci_reset_iommu_begin - Block the DMA of a function that will be reset
 * @dev: The function
 *
 * Return: 0, or the error with which the reset must fail.
 */
int pci_reset_iommu_begin(struct pci_dev *dev)
{
	int ret;

	if (!dev->ats_cap)
		return 0;

	ret = iommu_dev_reset_begin(&dev->dev);
	if (ret)
		pci_err(dev, "not reset: the IOMMU cannot block it (%d)\n",
			ret);
	return ret;
}

/**
 * pci_reset_iommu_end - Unblock the DMA of a function that has been reset
 * @dev: The function
 * @ret: What the reset, which has been tried, returns. -ENOTTY is a failure, too:
 *       pci_dev_wait() returns it for a function that does not come back.
 */
void pci_reset_iommu_end(struct pci_dev *dev, int ret)
{
	if (dev->ats_cap)
		pci_reset_iommu_done(dev, ret ? -EIO : 0);
}

struct pci_reset_iommu_walk {
	struct pci_reset_iommu_devs *devs;
	struct pci_bus *bus;
	struct pci_slot *slot;
	int ret;
};

static bool pci_reset_iommu_in_slot(struct pci_dev *dev,
				    struct pci_reset_iommu_walk *walk)
{
	if (!walk->slot)
		return true;
	/* A bus that has only virtual functions belongs to no bridge */
	dev = pci_physfn(dev);
	while (dev->bus != walk->bus)
		dev = dev->bus->self;
	return dev->slot == walk->slot;
}

static int pci_reset_iommu_collect(struct pci_dev *dev, void *data)
{
	struct pci_reset_iommu_walk *walk = data;
	struct pci_reset_iommu_devs *devs = walk->devs;
	struct pci_dev **new;

	if (!dev->ats_cap || !pci_reset_iommu_in_slot(dev, walk))
		return 0;

	new = krealloc_array(devs->devs, devs->num + 1, sizeof(*new),
			     GFP_KERNEL);
	if (!new) {
		walk->ret = -ENOMEM;
		return walk->ret;
	}
	devs->devs = new;
	devs->devs[devs->num++] = pci_dev_get(dev);
	return 0;
}

static void pci_reset_iommu_put(struct pci_reset_iommu_devs *devs)
{
	while (devs->num)
		pci_dev_put(devs->devs[--devs->num]);
	kfree(devs->devs);
	devs->devs = NULL;
}

/**
 * pci_reset_iommu_begin_bus - Block the DMA of all functions on a bus
 * @devs: Set to what pci_reset_iommu_end_bus() needs
 * @bus: The bus, which will be reset with all that is below; or NULL
 * @slot: If not NULL, only this slot of @bus will be reset
 *
 * Return: 0, or the error with which the reset must fail. Then no function is
 * blocked, and @devs is empty.
 */
int pci_reset_iommu_begin_bus(struct pci_reset_iommu_devs *devs,
			      struct pci_bus *bus, struct pci_slot *slot)
{
	struct pci_reset_iommu_walk walk = {
		.devs = devs,
		.bus = bus,
		.slot = slot,
	};
	unsigned int i;
	int ret;

	devs->devs = NULL;
	devs->num = 0;
	if (!bus)
		return 0;

	/* A list, since functions can come and go before the end */
	pci_walk_bus(bus, pci_reset_iommu_collect, &walk);
	ret = walk.ret;
	if (ret)
		goto err_put;

	for (i = 0; i != devs->num; i++) {
		ret = pci_reset_iommu_begin(devs->devs[i]);
		if (ret)
			goto err_unblock;
	}
	return 0;

err_unblock:
	while (i--)
		pci_reset_iommu_done(devs->devs[i], -ENOTTY);
err_put:
	pci_reset_iommu_put(devs);
	return ret;
}

/**
 * pci_reset_iommu_end_bus - Unblock the DMA of all functions on a bus
 * @devs: What pci_reset_iommu_begin_bus() has set
 * @ret: What the reset, which has been tried, returns
 */
void pci_reset_iommu_end_bus(struct pci_reset_iommu_devs *devs, int ret)
{
	unsigned int i = devs->num;

	while (i--)
		pci_reset_iommu_end(devs->devs[i], ret);
	pci_reset_iommu_put(devs);
}

/**
 * pci_reset_iommu_specific - Call the method of a device that has its own
 * @dev: The function
 * @probe: Only ask whether @reset is possible
 * @reset: The method. It can return -ENOTTY before it has tried anything.
 *
 * Return: what @reset returns, or the error for which @dev cannot be blocked.
 */
int pci_reset_iommu_specific(struct pci_dev *dev, bool probe,
			     int (*reset)(struct pci_dev *dev, bool probe))
{
	int ret;

	if (probe || !dev->ats_cap)
		return reset(dev, probe);

	ret = pci_reset_iommu_begin(dev);
	if (ret)
		return ret;
	ret = reset(dev, probe);
	pci_reset_iommu_done(dev, ret);
	return ret;
}
