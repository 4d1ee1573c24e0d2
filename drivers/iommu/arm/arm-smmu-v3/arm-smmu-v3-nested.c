// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's stage 1 on top of the host's stage 2
 *
 * The guest describes its part in a vSTE, of which the VMM hands in the first two
 * words. What those may say, and the STE that becomes of them, are functions
 * without side effects. The rest attaches it.
 *
 * Attach runs under the lock of the iommufd group and the group mutex, and takes
 * arm_smmu_asid_lock as every attach of this driver does.
 */
#include <kunit/visibility.h>
#include <linux/io-pgtable.h>
#include <linux/of.h>
#include <linux/slab.h>

#include "arm-smmu-v3-nested.h"
#include "arm-smmu-v3-vevent.h"

/* IHI0070 5.2: what belongs to stage 1 and what does not weaken the host */
#define VSTE_0_ALLOWED	(STRTAB_STE_0_V | STRTAB_STE_0_CFG |		\
			 STRTAB_STE_0_S1FMT | STRTAB_STE_0_S1CTXPTR_MASK | \
			 STRTAB_STE_0_S1CDMAX)
#define VSTE_1_ALLOWED	(STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR |	\
			 STRTAB_STE_1_S1COR | STRTAB_STE_1_S1CSH |	\
			 STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS)

static unsigned int vste_cfg(const __le64 *ste)
{
	return FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste[0]));
}

/**
 * arm_smmu_nested_wants_ats - Tell whether a device may use ATS in a nested domain
 * @nested: What the guest asked for
 * @has_vsid: The guest knows the device
 *
 * In bypass the guest cannot say: IHI0070 5.2 ignores EATS there. The device then
 * has stage 2 alone, where the host lets it use ATS.
 *
 * Return: false if the guest forbids it, true if that is for the host to decide.
 */
VISIBLE_IF_KUNIT
bool arm_smmu_nested_wants_ats(struct arm_smmu_nested_domain *nested,
			       bool has_vsid)
{
	switch (vste_cfg(nested->ste)) {
	case STRTAB_STE_0_CFG_ABORT:
		return false;
	case STRTAB_STE_0_CFG_S1_TRANS:
		return !has_vsid || FIELD_GET(STRTAB_STE_1_EATS,
					      le64_to_cpu(nested->ste[1])) ==
					    STRTAB_STE_1_EATS_TRANS;
	default:
		return true;
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_nested_wants_ats);

/**
 * arm_smmu_vste_parse - Check what a guest wrote into a STE
 * @vste: The first two words
 * @ste: Set to what is to be used of them; all 0 means abort
 *
 * A STE without V makes the SMMU abort and is accepted with any content.
 *
 * Context: Any.
 *
 * Return: 0, or -EIO if a bit is set that is not the guest's, or a field has a
 * value that the host cannot let the hardware see.
 */
VISIBLE_IF_KUNIT
int arm_smmu_vste_parse(const struct iommu_hwpt_arm_smmuv3 *vste, __le64 *ste)
{
	ste[0] = 0;
	ste[1] = 0;

	if (!(vste->ste[0] & cpu_to_le64(STRTAB_STE_0_V)))
		return 0;

	if (vste->ste[0] & ~cpu_to_le64(VSTE_0_ALLOWED) ||
	    vste->ste[1] & ~cpu_to_le64(VSTE_1_ALLOWED))
		return -EIO;

	/* Split-stage ATS (EATS 2) would let the device bypass stage 2 */
	switch (FIELD_GET(STRTAB_STE_1_EATS, le64_to_cpu(vste->ste[1]))) {
	case STRTAB_STE_1_EATS_ABT:
	case STRTAB_STE_1_EATS_TRANS:
		break;
	default:
		return -EIO;
	}

	switch (vste_cfg(vste->ste)) {
	case STRTAB_STE_0_CFG_ABORT:
		return 0;
	case STRTAB_STE_0_CFG_BYPASS:
	case STRTAB_STE_0_CFG_S1_TRANS:
		ste[0] = vste->ste[0];
		ste[1] = vste->ste[1];
		return 0;
	default:
		return -EIO;
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_vste_parse);

/**
 * arm_smmu_make_nested_ste - Make the STE for a device under a nested domain
 * @target: Where to put it
 * @master: The device
 * @nested: What the guest asked for
 * @has_vsid: The guest knows the device. Of another member of its group nobody
 *            knows whose stage 1 it should use: it gets stage 2 alone.
 * @ats_enabled: The host lets the device use ATS
 *
 * Context: Any.
 */
VISIBLE_IF_KUNIT
void arm_smmu_make_nested_ste(struct arm_smmu_ste *target,
			      struct arm_smmu_master *master,
			      struct arm_smmu_nested_domain *nested,
			      bool has_vsid, bool ats_enabled)
{
	struct arm_smmu_device *smmu = master->smmu;

	if (vste_cfg(nested->ste) == STRTAB_STE_0_CFG_ABORT) {
		arm_smmu_make_abort_ste(target);
		return;
	}

	/*
	 * Under the guest's VMID even if there is no stage 1: the guest turns
	 * stage 1 on and off, and only so the STE changes in one word.
	 */
	arm_smmu_make_s2_domain_ste(target, master, nested->vsmmu->parent,
				    nested->vsmmu->s2.vmid, ats_enabled);

	/*
	 * Nobody answers a stalled fault of a nested domain, so neither stage
	 * may stall, even if the device is able to.
	 */
	target->data[2] &= ~cpu_to_le64(STRTAB_STE_2_S2S);

	/* A guest that faults without end gets merged events (IHI0070 5.2) */
	target->data[1] |= cpu_to_le64(STRTAB_STE_1_MEV);

	if (vste_cfg(nested->ste) == STRTAB_STE_0_CFG_BYPASS || !has_vsid)
		return;

	target->data[0] = nested->ste[0];
	le64p_replace_bits(&target->data[0], STRTAB_STE_0_CFG_NESTED,
			   STRTAB_STE_0_CFG);
	target->data[1] |= nested->ste[1] &
			   cpu_to_le64(VSTE_1_ALLOWED & ~STRTAB_STE_1_EATS &
				       ~STRTAB_STE_1_S1STALLD);

	/* An SMMU that never stalls wants it 0 (IHI0070 5.2, S1STALLD) */
	if (smmu->features & ARM_SMMU_FEAT_STALLS)
		target->data[1] |= cpu_to_le64(STRTAB_STE_1_S1STALLD);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_make_nested_ste);

/**
 * arm_smmu_nested_dt_quirks - Find out whether guests must not use an SMMU
 * @smmu: The SMMU
 * @np: Its device tree node
 *
 * Called once, when the SMMU is probed.
 *
 * Context: Process context.
 */
void arm_smmu_nested_dt_quirks(struct arm_smmu_device *smmu,
			       const struct device_node *np)
{
	/*
	 * Erratum T264-SMMU-3: each sequence of CFGI or TLBI commands has to be
	 * issued twice, which this driver does not do.
	 */
	if (of_device_is_compatible(np, "nvidia,tegra264-smmu")) {
		smmu->options |= ARM_SMMU_OPT_NO_VIOMMU;
		dev_info(smmu->dev,
			 "no vIOMMU: erratum T264-SMMU-3 has no workaround\n");
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_nested_dt_quirks);

/**
 * arm_smmu_master_nestable - Tell whether a guest may own stage 1 of a device
 * @master: The device
 *
 * The SMMU must have both stages. S2FWB or CANWBS must keep a guest's tables from
 * making the device's DMA miss the CPU's caches.
 *
 * An SMMU with STALL_MODEL 0b10 stalls every fault. It cannot be told not to, and
 * no guest can answer: the host would terminate each access, and the guest would
 * not see the fault. An SMMU with an erratum may also be excluded.
 *
 * Context: Any.
 *
 * Return: true if all of this allows it.
 */
bool arm_smmu_master_nestable(struct arm_smmu_master *master)
{
	struct arm_smmu_device *smmu = master->smmu;

	if (smmu->options & ARM_SMMU_OPT_NO_VIOMMU ||
	    smmu->features & ARM_SMMU_FEAT_STALL_FORCE)
		return false;

	return smmu->features & ARM_SMMU_FEAT_NESTING &&
	       (smmu->features & ARM_SMMU_FEAT_S2FWB ||
		arm_smmu_master_canwbs(master));
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_master_nestable);

/**
 * arm_smmu_master_nestable_on - Tell whether a guest may own stage 1 on a nest parent
 * @master: The device
 * @parent: The nest parent
 *
 * The nest parent may have been made for an SMMU without S2FWB. Its tables then do
 * not force write-back, even if this SMMU could. If coherent DMA is enforced on it,
 * every device of it must have CANWBS.
 *
 * Context: Any.
 *
 * Return: true if @master is nestable, its SMMU can walk the tables of @parent, and
 * either S2FWB in these tables or CANWBS keeps the device's DMA coherent.
 */
bool arm_smmu_master_nestable_on(struct arm_smmu_master *master,
				 struct arm_smmu_domain *parent)
{
	const struct io_pgtable_cfg *cfg =
		&io_pgtable_ops_to_pgtable(parent->pgtbl_ops)->cfg;

	/* For VIOMMU_ALLOC; the attach looks again, under devices_lock */
	if (data_race(!!parent->enforce_cache_coherency) &&
	    !arm_smmu_master_canwbs(master))
		return false;

	return arm_smmu_master_nestable(master) &&
	       arm_smmu_nest_parent_fits(parent, master->smmu) &&
	       (cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB ||
		arm_smmu_master_canwbs(master));
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_master_nestable_on);

/**
 * arm_smmu_nested_translates - Does a nested domain use a guest's tables?
 * @domain: The nested domain
 *
 * Context: Any.
 *
 * Return: true unless the guest asked for bypass or abort.
 */
bool arm_smmu_nested_translates(struct iommu_domain *domain)
{
	return vste_cfg(to_smmu_nested_domain(domain)->ste) ==
	       STRTAB_STE_0_CFG_S1_TRANS;
}

/**
 * arm_smmu_attach_dev_nested - Attach a nested domain to a device
 * @domain: The nested domain
 * @dev: The device
 *
 * Checks of SMMU and device are here; iommufd checks vDEVICEs, see vdev_pin.c. To undo
 * an attach, the IOMMU core attaches the old domain again. So a device that has passed
 * the checks here must pass them as long as @domain is attached to it.
 *
 * Context: Process context, may sleep; called under the group mutex, and under the
 * lock of the iommufd group if @dev is bound.
 *
 * Return: 0, -EINVAL if @dev is behind another SMMU or cannot have a guest's
 * stage 1, -EBUSY while PASIDs of @dev are in use, -ENOMEM. On error the old
 * domain stays attached.
 */
int arm_smmu_attach_dev_nested(struct iommu_domain *domain, struct device *dev)
{
	struct arm_smmu_nested_domain *nested = to_smmu_nested_domain(domain);
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_attach_state state = {
		.master = master,
		.old_domain = iommu_attached_domain(dev),
		.ssid = IOMMU_NO_PASID,
	};
	struct arm_smmu_ste ste;
	bool has_vsid;
	u64 vsid;
	int ret;

	if (nested->vsmmu->smmu != master->smmu ||
	    !arm_smmu_master_nestable_on(master, nested->vsmmu->parent))
		return -EINVAL;
	if (arm_smmu_ssids_in_use(&master->cd_table))
		return -EBUSY;

	/*
	 * If the domain translates, iommufd has pinned a vDEVICE for every bound
	 * device of the group. A device without one gets stage 2 only.
	 */
	has_vsid = !iommufd_viommu_find_virt_id(&nested->vsmmu->core, dev,
						&vsid);
	if (has_vsid) {
		state.vsmmu = &nested->vsmmu->core;
		state.vsid = vsid;
	}
	state.no_ats = !arm_smmu_nested_wants_ats(nested, has_vsid);

	mutex_lock(&arm_smmu_asid_lock);
	ret = arm_smmu_attach_prepare(&state, domain);
	if (ret) {
		mutex_unlock(&arm_smmu_asid_lock);
		return ret;
	}
	arm_smmu_make_nested_ste(&ste, master, nested, has_vsid,
				 state.ats_enabled);
	arm_smmu_install_ste_for_dev(master, &ste);
	arm_smmu_attach_commit(&state);
	mutex_unlock(&arm_smmu_asid_lock);
	arm_smmu_s2_plain_put(state.s2_plain);

	/* The STE no longer points to the host's CDs */
	arm_smmu_clear_cd(master, IOMMU_NO_PASID);
	return 0;
}

/**
 * arm_smmu_nested_leave - Take a device out of its group's nested domain
 * @domain: The nested domain, which stays attached to the group
 * @dev: The device
 *
 * The device keeps stage 2 and no longer has a vSID. If @domain aborts, the device
 * goes on aborting, like every member of the group that has no vDEVICE.
 *
 * Context: Process context, may sleep; called under the lock of the iommufd
 * group and the group mutex.
 */
void arm_smmu_nested_leave(struct iommu_domain *domain, struct device *dev)
{
	struct arm_smmu_nested_domain *nested = to_smmu_nested_domain(domain);
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_ste ste;

	mutex_lock(&arm_smmu_asid_lock);
	arm_smmu_master_set_vsmmu(master, NULL, 0);
	arm_smmu_make_nested_ste(&ste, master, nested, false,
				 master->ats_enabled);
	arm_smmu_install_ste_for_dev(master, &ste);
	if (master->ats_enabled)
		arm_smmu_atc_inv_master(master, IOMMU_NO_PASID);
	mutex_unlock(&arm_smmu_asid_lock);
}

static void arm_smmu_domain_nested_free(struct iommu_domain *domain)
{
	kfree(to_smmu_nested_domain(domain));
}

static const struct iommu_domain_ops arm_smmu_nested_ops = {
	.attach_dev = arm_smmu_attach_dev_nested,
	.free = arm_smmu_domain_nested_free,
};

/**
 * arm_vsmmu_alloc_domain_nested - Make a nested domain from a vSTE
 * @viommu: The guest's SMMU
 * @flags: 0. IOMMU_HWPT_FAULT_ID_VALID is not supported: a stalled fault could not
 *         be delivered, since Linux 6.12 enables I/O page faults for SVA alone.
 * @user_data: struct iommu_hwpt_arm_smmuv3
 *
 * Context: Process context, may sleep.
 *
 * Return: the domain, or an error pointer: -EOPNOTSUPP for flags, -EINVAL for data
 * of another type or size, -EIO for a vSTE that asks for what is not the guest's,
 * -EFAULT, -ENOMEM.
 */
struct iommu_domain *
arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			      const struct iommu_user_data *user_data)
{
	struct arm_smmu_nested_domain *nested;
	struct iommu_hwpt_arm_smmuv3 vste;
	__le64 ste[2];
	int ret;

	if (flags)
		return ERR_PTR(-EOPNOTSUPP);

	ret = iommu_copy_struct_from_user(&vste, user_data,
					  IOMMU_HWPT_DATA_ARM_SMMUV3, ste);
	if (ret)
		return ERR_PTR(ret);

	ret = arm_smmu_vste_parse(&vste, ste);
	if (ret)
		return ERR_PTR(ret);

	nested = kzalloc(sizeof(*nested), GFP_KERNEL_ACCOUNT);
	if (!nested)
		return ERR_PTR(-ENOMEM);

	nested->domain.type = IOMMU_DOMAIN_NESTED;
	nested->domain.ops = &arm_smmu_nested_ops;
	nested->vsmmu = container_of(viommu, struct arm_vsmmu, core);
	memcpy(nested->ste, ste, sizeof(ste));
	return &nested->domain;
}
