// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device keeps while it is reset
 *
 * The IOMMU core attaches a device to the blocking domain for a reset, and attaches
 * the domain that the group has then afterwards (drivers/iommu/iommu-reset.c). There
 * is nobody to whom that attach could fail. So the device keeps, from the first attach
 * to the second:
 *
 * - the entry that it had on the list of the domain, and of each PASID's domain. The
 *   attach uses it in place of a new one.
 * - the VMID of a nest parent that it was attached to. No STE carries the VMID
 *   meanwhile, and the number of VMIDs is small.
 * - the right to come back to a domain that does not enforce coherent DMA, if the
 *   device lacks CANWBS. Until it is back, nobody can enforce coherency there.
 *
 * The rest stays where it is: CD tables live as long as the device, and iommufd pins
 * the vDEVICE of a domain that translates. If the group leaves the domain, the core
 * calls arm_smmu_reset_forget(), and the domain can be freed.
 *
 * No ATC_INV is issued when a device is blocked for a reset. The device may not answer
 * it. The STE aborts all that the device sends, translated or not (CR0.ATSCHK is set).
 * The reset empties the ATC, and the device stays blocked until a reset succeeds. An
 * unmap that has found the device on a list before may still have to issue its ATC_INV.
 * So unmaps are in an SRCU section, for which arm_smmu_reset_drain() waits. A guest's
 * commands are under the ats_lock of the vSMMU instead, see arm-smmu-v3-iommufd.c.
 *
 * Lock order: group mutex, arm_smmu_asid_lock, devices_lock.
 */
#include <kunit/visibility.h>
#include <linux/iommu.h>
#include <linux/pci-ats.h>
#include <linux/slab.h>
#include <linux/srcu.h>

#include "arm-smmu-v3.h"
#include "arm-smmu-v3-s2.h"

/* Protects ATC_INVs of unmaps from a reset of the device that they are for */
DEFINE_SRCU(arm_smmu_atc_srcu);

/**
 * arm_smmu_master_domain_alloc - Get an entry for the list of a domain
 * @master: The device
 *
 * Context: Process context, may sleep; the caller holds arm_smmu_asid_lock.
 *
 * Return: an entry that @master has kept in a reset, a new one, or NULL.
 */
struct arm_smmu_master_domain *
arm_smmu_master_domain_alloc(struct arm_smmu_master *master)
{
	struct arm_smmu_master_domain *master_domain;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (hlist_empty(&master->spare_domains))
		return kzalloc(sizeof(*master_domain), GFP_KERNEL);

	master_domain = hlist_entry(master->spare_domains.first,
				    struct arm_smmu_master_domain, spare_elm);
	hlist_del(&master_domain->spare_elm);
	memset(master_domain, 0, sizeof(*master_domain));
	return master_domain;
}

/**
 * arm_smmu_master_domain_free - Free an entry, or keep it in a reset
 * @master: The device
 * @master_domain: The entry, which is on no list
 *
 * Context: Any; the caller holds arm_smmu_asid_lock.
 */
void arm_smmu_master_domain_free(struct arm_smmu_master *master,
				 struct arm_smmu_master_domain *master_domain)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	if (iommu_dev_in_reset(master->dev))
		hlist_add_head(&master_domain->spare_elm,
			       &master->spare_domains);
	else
		kfree(master_domain);
}

/**
 * arm_smmu_reset_leave - Keep the right to come back to a domain
 * @master: The device, which has left the list of the domain
 * @smmu_domain: The domain
 * @ssid: The PASID that was attached. Only IOMMU_NO_PASID has domains on which
 *        coherency can be enforced.
 *
 * Context: Any; the caller holds arm_smmu_asid_lock and the devices_lock.
 */
void arm_smmu_reset_leave(struct arm_smmu_master *master,
			  struct arm_smmu_domain *smmu_domain, ioasid_t ssid)
{
	lockdep_assert_held(&arm_smmu_asid_lock);
	lockdep_assert_held(&smmu_domain->devices_lock);

	if (ssid != IOMMU_NO_PASID || !iommu_dev_in_reset(master->dev) ||
	    arm_smmu_master_canwbs(master))
		return;
	smmu_domain->num_returning++;
	master->returns_to = smmu_domain;
}

/**
 * arm_smmu_reset_stop_ats - Switch ATS off before the PASIDs of a device go
 * @master: The device, which has a CD table
 *
 * Without an ATC_INV, what the ATC has of a PASID must be of no use before the PASID
 * leaves the list of its domain.
 *
 * Context: Process context; called under the group mutex, and the caller holds
 * arm_smmu_asid_lock.
 */
void arm_smmu_reset_stop_ats(struct arm_smmu_master *master)
{
	struct iommu_domain *domain = iommu_attached_domain(master->dev);
	unsigned int s1dss = STRTAB_STE_1_S1DSS_SSID0;
	struct arm_smmu_ste ste;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!domain || domain->type == IOMMU_DOMAIN_BLOCKED)
		s1dss = STRTAB_STE_1_S1DSS_TERMINATE;
	else if (domain->type == IOMMU_DOMAIN_IDENTITY)
		s1dss = STRTAB_STE_1_S1DSS_BYPASS;

	pci_disable_ats(to_pci_dev(master->dev));
	/* See arm_smmu_attach_prepare() */
	wmb();
	arm_smmu_make_cdtable_ste(&ste, master, false, s1dss);
	arm_smmu_install_ste_for_dev(master, &ste);
	master->ats_enabled = false;
}

/**
 * arm_smmu_reset_drain - Wait for ATC_INVs that are on their way to a device
 * @master: The device, which is on the list of no domain any more
 *
 * Context: Process context, may sleep; as long as CMD_SYNCs take.
 */
void arm_smmu_reset_drain(struct arm_smmu_master *master)
{
	lockdep_assert_not_held(&arm_smmu_asid_lock);

	if (arm_smmu_ats_supported(master))
		synchronize_srcu_expedited(&arm_smmu_atc_srcu);
}

static void arm_smmu_free_spare_domains(struct arm_smmu_master *master)
{
	struct arm_smmu_master_domain *master_domain;
	struct hlist_node *next;

	hlist_for_each_entry_safe(master_domain, next, &master->spare_domains,
				  spare_elm) {
		hlist_del(&master_domain->spare_elm);
		kfree(master_domain);
	}
}

/**
 * arm_smmu_reset_over - Give up what a device has kept and not used
 * @master: The device, which is attached to the domain that its group has now
 *
 * Context: Process context; the caller holds arm_smmu_asid_lock.
 */
void arm_smmu_reset_over(struct arm_smmu_master *master)
{
	struct arm_smmu_domain *smmu_domain = master->returns_to;
	unsigned long flags;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (smmu_domain) {
		spin_lock_irqsave(&smmu_domain->devices_lock, flags);
		smmu_domain->num_returning--;
		spin_unlock_irqrestore(&smmu_domain->devices_lock, flags);
		master->returns_to = NULL;
	}

	/* The PASIDs of a device in reset are attached after this */
	if (!iommu_dev_in_reset(master->dev))
		arm_smmu_free_spare_domains(master);
}

/**
 * arm_smmu_reset_forget - Give up what a device keeps to return to its old domain
 * @dev: The device, whose group leaves that domain
 *
 * The entries of lists stay: the device needs them for the domain that comes next.
 *
 * Context: Process context, may sleep; called under the group mutex.
 */
void arm_smmu_reset_forget(struct device *dev)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);

	mutex_lock(&arm_smmu_asid_lock);
	arm_smmu_reset_over(master);
	mutex_unlock(&arm_smmu_asid_lock);

	arm_smmu_s2_plain_put(master->s2_plain);
	master->s2_plain = NULL;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_reset_forget);

/**
 * arm_smmu_reset_release - Give up all that a device keeps
 * @master: The device, which is about to be freed, perhaps in the middle of a reset
 *
 * Context: Process context, may sleep; called under the group mutex.
 */
void arm_smmu_reset_release(struct arm_smmu_master *master)
{
	arm_smmu_reset_forget(master->dev);
	arm_smmu_free_spare_domains(master);
}
