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
 *
 * When a reset is over, a function on the bus that was reset can be reached. One behind
 * a further bridge cannot, since the reset has taken the bus numbers from that bridge,
 * and a virtual function is not there while VF Enable is 0. To unblock a function sends
 * it a message. So pci_restore_state() does that: for the function, or for the PF of a
 * VF, and thus after the bridges above. A function whose configuration nobody restores
 * cannot be used anyway, and stays blocked.
 */
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "pci.h"

/* All ones is what a function reads as that is not there. A VF has a command register. */
static bool pci_reset_iommu_answers(struct pci_dev *dev)
{
	u32 cmd;

	pci_read_config_dword(dev, PCI_COMMAND, &cmd);
	return !PCI_POSSIBLE_ERROR(cmd);
}

static int pci_reset_iommu_block(struct pci_dev *dev)
{
	int ret = iommu_dev_reset_begin(&dev->dev);

	if (ret)
		dev_err_ratelimited(&dev->dev,
				    "not reset: the IOMMU cannot block it (%d)\n",
				    ret);
	return ret;
}

static void pci_reset_iommu_unblock(struct pci_dev *dev, int result)
{
	if (!result && !pci_reset_iommu_answers(dev))
		result = -EIO;
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

/* The function stays blocked until it can be reached */
static void pci_reset_iommu_defer(struct pci_dev *dev)
{
	/* One begin waits, and the others count no more */
	if (test_and_set_bit(PCI_RESET_IOMMU_DEFERRED, &dev->priv_flags))
		iommu_dev_reset_end(&dev->dev, -ENOTTY);
}

static void pci_reset_iommu_deferred(struct pci_dev *dev)
{
	if (test_and_clear_bit(PCI_RESET_IOMMU_DEFERRED, &dev->priv_flags))
		pci_reset_iommu_unblock(dev, 0);
}

/* Returns a VF with ATS, for which the caller calls pci_dev_put(), or NULL. */
static struct pci_dev *pci_reset_iommu_get_vf(struct pci_dev *pf, int i)
{
	struct pci_dev *vf;

	vf = pci_get_domain_bus_and_slot(pci_domain_nr(pf->bus),
					 pci_iov_virtfn_bus(pf, i),
					 pci_iov_virtfn_devfn(pf, i));
	if (vf && !vf->ats_cap) {
		pci_dev_put(vf);
		return NULL;
	}
	return vf;
}

/**
 * pci_reset_iommu_restored - Unblock what was to be reached after a restore
 * @dev: The function, whose configuration has been restored
 *
 * Context: Process context if @dev or a VF of it is blocked; any otherwise.
 */
void pci_reset_iommu_restored(struct pci_dev *dev)
{
	struct pci_dev *vf;
	int i;

	if (!dev->is_virtfn)
		pci_reset_iommu_deferred(dev);
	for (i = 0; i < pci_num_vf(dev); i++) {
		vf = pci_reset_iommu_get_vf(dev, i);
		if (!vf)
			continue;
		pci_reset_iommu_deferred(vf);
		pci_dev_put(vf);
	}
}

/**
 * pci_reset_iommu_begin - Block the DMA of a function that will be reset
 * @dev: The function. Its VFs are blocked with it, until it has been restored.
 *
 * Return: 0, or the error with which the reset must fail.
 */
int pci_reset_iommu_begin(struct pci_dev *dev)
{
	struct pci_dev *vf;
	int ret, i;

	if (dev->ats_cap) {
		ret = pci_reset_iommu_block(dev);
		if (ret)
			return ret;
	}
	for (i = 0; i < pci_num_vf(dev); i++) {
		vf = pci_reset_iommu_get_vf(dev, i);
		if (!vf)
			continue;
		ret = pci_reset_iommu_block(vf);
		if (!ret)
			pci_reset_iommu_defer(vf);
		pci_dev_put(vf);
		if (ret)
			goto err_unblock;
	}
	return 0;

err_unblock:
	/* The other VFs wait for the restore, which follows a failure too */
	if (dev->ats_cap)
		pci_reset_iommu_unblock(dev, -ENOTTY);
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
		pci_reset_iommu_unblock(dev, ret ? -EIO : 0);
}

struct pci_reset_iommu_walk {
	struct pci_reset_iommu_devs *devs;
	struct pci_slot *slot;
	int ret;
};

static bool pci_reset_iommu_in_slot(struct pci_dev *dev,
				    struct pci_reset_iommu_walk *walk)
{
	if (!walk->slot)
		return true;
	while (dev->bus != walk->devs->bus)
		dev = dev->bus->self;
	return dev->slot == walk->slot;
}

static int pci_reset_iommu_add(struct pci_reset_iommu_devs *devs,
			       struct pci_dev *dev)
{
	struct pci_dev **new;

	new = krealloc_array(devs->devs, devs->num + 1, sizeof(*new),
			     GFP_NOIO);
	if (!new)
		return -ENOMEM;
	devs->devs = new;
	devs->devs[devs->num++] = pci_dev_get(dev);
	return 0;
}

static int pci_reset_iommu_collect(struct pci_dev *dev, void *data)
{
	struct pci_reset_iommu_walk *walk = data;
	struct pci_dev *vf;
	int i;

	/* VFs go with their PF: a bus of VFs only is not walked */
	if (dev->is_virtfn || !pci_reset_iommu_in_slot(dev, walk))
		return 0;
	if (dev->ats_cap)
		walk->ret = pci_reset_iommu_add(walk->devs, dev);
	for (i = 0; !walk->ret && i < pci_num_vf(dev); i++) {
		vf = pci_reset_iommu_get_vf(dev, i);
		if (vf)
			walk->ret = pci_reset_iommu_add(walk->devs, vf);
		pci_dev_put(vf);
	}
	return walk->ret;
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
		.slot = slot,
	};
	unsigned int i;
	int ret;

	*devs = (struct pci_reset_iommu_devs){ .bus = bus };
	if (!bus)
		return 0;

	/* A list, since functions can come and go before the end */
	pci_walk_bus(bus, pci_reset_iommu_collect, &walk);
	ret = walk.ret;
	if (ret)
		goto err_put;

	for (i = 0; i != devs->num; i++) {
		ret = pci_reset_iommu_block(devs->devs[i]);
		if (ret)
			goto err_unblock;
	}
	return 0;

err_unblock:
	while (i--)
		pci_reset_iommu_unblock(devs->devs[i], -ENOTTY);
err_put:
	pci_reset_iommu_put(devs);
	return ret;
}

/**
 * pci_reset_iommu_begin_frozen - Block the DMA of functions whose link has failed
 * @devs: Set to what pci_reset_iommu_end_bus() needs
 * @bus: The bus, which will be reset with all that is below; or NULL
 *
 * The hardware may have reset the functions already. So nothing prevents the reset,
 * and as many functions are blocked as can be.
 */
void pci_reset_iommu_begin_frozen(struct pci_reset_iommu_devs *devs,
				  struct pci_bus *bus)
{
	struct pci_reset_iommu_walk walk = {
		.devs = devs,
	};
	unsigned int i, num = 0;

	*devs = (struct pci_reset_iommu_devs){ .bus = bus };
	if (!bus)
		return;

	pci_walk_bus(bus, pci_reset_iommu_collect, &walk);
	for (i = 0; i != devs->num; i++) {
		if (pci_reset_iommu_block(devs->devs[i]))
			pci_dev_put(devs->devs[i]);
		else
			devs->devs[num++] = devs->devs[i];
	}
	devs->num = num;
}

/**
 * pci_reset_iommu_end_bus - Unblock the DMA of all functions on a bus
 * @devs: What pci_reset_iommu_begin_bus() or pci_reset_iommu_begin_frozen() has set
 * @ret: What the reset, which has been tried, returns
 */
void pci_reset_iommu_end_bus(struct pci_reset_iommu_devs *devs, int ret)
{
	unsigned int i = devs->num;
	struct pci_dev *dev;

	while (i--) {
		dev = devs->devs[i];
		if (ret)
			pci_reset_iommu_unblock(dev, -EIO);
		else if (!pci_reset_iommu_answers(dev))
			pci_reset_iommu_defer(dev);
		else
			pci_reset_iommu_unblock(dev, 0);
	}
	pci_reset_iommu_put(devs);
}

/**
 * pci_reset_iommu_specific - Call the method of a device that has its own
 * @dev: The function
 * @probe: Only ask whether @reset is possible
 * @reset: The method. It can return -ENOTTY before it has tried anything.
 *
 * Return: what @reset returns, -ENOTTY if @dev does not answer after it, or the error
 * for which @dev cannot be blocked.
 */
int pci_reset_iommu_specific(struct pci_dev *dev, bool probe,
			     int (*reset)(struct pci_dev *dev, bool probe))
{
	int ret;

	if (probe || !(dev->ats_cap || pci_num_vf(dev)))
		return reset(dev, probe);

	ret = pci_reset_iommu_begin(dev);
	if (ret)
		return ret;
	ret = reset(dev, probe);
	/* Not every method looks at the function. Another one may revive it. */
	if (!ret && !pci_reset_iommu_answers(dev)) {
		pci_reset_iommu_end(dev, -EIO);
		return -ENOTTY;
	}
	/* VFs wait for the restore, which follows whatever was tried */
	if (dev->ats_cap)
		pci_reset_iommu_unblock(dev, ret);
	return ret;
}
