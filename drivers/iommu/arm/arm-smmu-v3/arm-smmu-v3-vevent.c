// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events for the guest that owns a device's stage 1
 *
 * An event must reach the guest that owns the device, by the vSID that it has
 * now, or no guest at all. The master therefore carries both while a nested domain
 * is attached. They are looked up by the attach, which may take its time, and
 * stored in its commit under the write side of vsmmu_lock; every other attach
 * stores NULL. Where they change, they are cleared before the STE does: what
 * happens in between is nobody's. The attachment pins the vSMMU, so what the
 * event thread sees under the read side is there.
 *
 * Lock order: iommufd group lock, group mutex, arm_smmu_asid_lock, vsmmu_lock
 * (write); streams_mutex, vsmmu_lock (read), the lock of the vSMMU's event queues.
 * Nothing takes streams_mutex under vsmmu_lock.
 *
 * The event queue runs behind: a record can wait in it while the device goes to
 * another guest. So the master also carries the number of the first record that
 * belongs to the present owner, and older ones stay with the host.
 *
 * That number comes from SMMU_EVENTQ_PROD after the CFGI_STE and CMD_SYNC of the
 * attach. PROD counts a record only when the record is visible (IHI0070 3.5.2), so
 * no record that PROD counts by then reaches the new owner. The driver does not
 * know of a rule that an SMMU has written the records of all accesses that a
 * CMD_SYNC waited for before the CMD_SYNC completes (IHI0070 4.7.3). An SMMU that
 * writes such a record later makes an event of the previous owner one of the new
 * owner. It would tell the new owner an address, and nothing in the record says
 * which STE was in use. Reading PROD as late as possible, as the last step of the
 * attach, is all that can be done about it.
 */
#include <kunit/visibility.h>
#include <linux/iommufd_veventq.h>
#include <linux/module.h>

#include "arm-smmu-v3-vevent.h"

/**
 * arm_smmu_next_event - Number of the next record that the SMMU will write
 * @taken: How many records were taken out of the queue, read before @prod
 * @prod: SMMU_EVENTQ_PROD
 * @shift: log2 of the entries of the queue
 *
 * PROD counts modulo twice the size of the queue, and no more than the size waits
 * in it (IHI0070 3.5.1).
 *
 * Context: Any.
 *
 * Return: the number, counted from 0.
 */
VISIBLE_IF_KUNIT
u64 arm_smmu_next_event(u64 taken, u32 prod, u32 shift)
{
	u32 mask = (2U << shift) - 1;

	return taken + ((prod - (u32)taken) & mask);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_next_event);

/**
 * arm_smmu_master_set_vsmmu - Say who gets the events of a device
 * @master: The device
 * @vsmmu: The vSMMU, which stays as long as it is set, or NULL for the host
 * @vsid: The device's vSID there
 *
 * With a vSMMU, the SMMU has completed the change of the STE. If neither @vsmmu nor
 * @vsid change, events go on being forwarded: the STE stays valid while it changes,
 * so each event is one that the guest caused.
 *
 * Context: Process context, may sleep; the caller holds arm_smmu_asid_lock.
 */
void arm_smmu_master_set_vsmmu(struct arm_smmu_master *master,
			       struct iommufd_viommu *vsmmu, u32 vsid)
{
	struct arm_smmu_evtq *evtq = &master->smmu->evtq;
	u32 shift = evtq->q.llq.max_n_shift;
	u64 taken;
	u32 prod;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (master->vsmmu == vsmmu && master->vsid == vsid)
		return;

	down_write(&master->vsmmu_lock);
	master->vsmmu = vsmmu;
	master->vsid = vsid;
	if (vsmmu) {
		/*
		 * Both must be of one time: the thread may empty the queue, and
		 * the SMMU fill it again, in between.
		 */
		do {
			taken = READ_ONCE(evtq->taken);
			/* readl() waits for nothing that came before it */
			mb();
			prod = readl(evtq->q.prod_reg);
		} while (READ_ONCE(evtq->taken) != taken);
		master->first_event = arm_smmu_next_event(taken, prod, shift);
	}
	up_write(&master->vsmmu_lock);
}

/**
 * arm_smmu_vevent_make - Make what a guest sees of an event
 * @vevent: Where to put it
 * @evt: The record of the SMMU in CPU byte order
 * @vsid: The device's vSID
 *
 * Context: Any.
 *
 * Return: false if the event is none of the guest's: it is about stage 2, or a
 * guest can neither cause nor mend it.
 */
VISIBLE_IF_KUNIT
bool arm_smmu_vevent_make(struct iommu_vevent_arm_smmuv3 *vevent,
			  const u64 *evt, u32 vsid)
{
	unsigned int i;

	/* struct iommu_vevent_arm_smmuv3 lists these events to user space */
	switch (FIELD_GET(EVTQ_0_ID, evt[0])) {
	case EVT_ID_BAD_STE:
	case EVT_ID_STREAM_DISABLED:
	case EVT_ID_BAD_SUBSTREAMID:
	case EVT_ID_BAD_CD:
		break;
	case EVT_ID_TRANSLATION_FAULT:
	case EVT_ID_ADDR_SIZE_FAULT:
	case EVT_ID_ACCESS_FAULT:
	case EVT_ID_PERMISSION_FAULT:
		/* Faults of either stage, some of which can stall */
		if (evt[1] & (EVTQ_1_STALL | EVTQ_1_S2))
			return false;
		break;
	default:
		return false;
	}

	vevent->evt[0] = cpu_to_le64((evt[0] & ~EVTQ_0_SID) |
				     FIELD_PREP(EVTQ_0_SID, vsid));
	for (i = 1; i < EVTQ_ENT_DWORDS; i++)
		vevent->evt[i] = cpu_to_le64(evt[i]);
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_vevent_make);

/**
 * arm_smmu_vevent_report - Give an event to the guest that owns the device
 * @master: The device, which streams_mutex keeps
 * @evt: The record of the SMMU in CPU byte order; it did not stall
 * @nr: Its number, see arm_smmu_next_event()
 *
 * Context: The event thread.
 *
 * Return: 0, or an error if no guest takes the event: -EOPNOTSUPP if it is none
 * of a guest's, -ENOENT if the guest has no queue.
 */
int arm_smmu_vevent_report(struct arm_smmu_master *master, const u64 *evt,
			   u64 nr)
{
	struct iommu_vevent_arm_smmuv3 vevent;
	int ret = -EOPNOTSUPP;

	lockdep_assert_held(&master->smmu->streams_mutex);

	down_read(&master->vsmmu_lock);
	if (master->vsmmu && nr >= master->first_event &&
	    arm_smmu_vevent_make(&vevent, evt, master->vsid))
		ret = iommufd_viommu_report_event(master->vsmmu,
						  IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
						  master->vsid,
						  FIELD_GET(EVTQ_0_ID, evt[0]),
						  &vevent, sizeof(vevent));
	up_read(&master->vsmmu_lock);
	return ret;
}

MODULE_IMPORT_NS(IOMMUFD);
