// SPDX-License-Identifier: GPL-2.0-only
/* Report events to vEVENTQs. This file is built in, because drivers call it. */
#include <linux/export.h>
#include <linux/iommufd_veventq.h>
#include <linux/poll.h>

#include <trace/events/iommufd.h>

#include "veventq.h"

/**
 * iommufd_viommu_find_veventq - Find the queue for a type of event
 * @viommu: vIOMMU that the events come from
 * @type: enum iommu_veventq_type
 *
 * Context: Any. The caller holds @viommu->veventq_lock. The queue stays until
 * the caller drops the lock.
 *
 * Return: the queue, or NULL if there is none.
 */
struct iommufd_veventq *iommufd_viommu_find_veventq(struct iommufd_viommu *viommu,
						    unsigned int type)
{
	struct iommufd_veventq *veventq;

	lockdep_assert_held(&viommu->veventq_lock);

	list_for_each_entry(veventq, &viommu->veventqs, node)
		if (veventq->type == type)
			return veventq;
	return NULL;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_find_veventq, IOMMUFD_INTERNAL);

/**
 * iommufd_viommu_report_event - Give an event to the VM behind a vIOMMU
 * @viommu: The vIOMMU, which the caller keeps from going away
 * @type: enum iommu_veventq_type
 * @virt_id: Virtual ID of the device that the event is about, for tracing
 * @id: What kind of event it is, for tracing
 * @event: The event as user space is to see it
 * @len: Size of @event in bytes, as the driver's veventq_size returned it for
 *       @type
 *
 * This never sleeps, allocates memory or waits for a reader. If the queue is
 * full, the event is lost, and the reader is told of the loss.
 *
 * Context: Process context, e.g. an interrupt thread. Takes
 * @viommu->veventq_lock.
 *
 * Return: 0 if the event is queued or counted as lost, -ENOENT if @viommu has
 * no queue for @type, -EINVAL if @len is not the size of such an event.
 */
int iommufd_viommu_report_event(struct iommufd_viommu *viommu,
				unsigned int type, u64 virt_id, u32 id,
				const void *event, size_t len)
{
	struct iommufd_veventq *veventq;
	int rc = 0;
	u32 seq;

	spin_lock(&viommu->veventq_lock);
	veventq = iommufd_viommu_find_veventq(viommu, type);
	if (!veventq || !veventq->live) {
		rc = -ENOENT;
		goto out_unlock;
	}
	if (len + sizeof(struct iommufd_vevent_header) != veventq->ring.size) {
		rc = -EINVAL;
		goto out_unlock;
	}

	if (iommufd_event_ring_push(&veventq->ring, event, &seq))
		trace_iommufd_vevent(viommu, type, virt_id, id, seq);
	else
		trace_iommufd_vevent_lost(viommu, type, virt_id, id, seq);
	if (wq_has_sleeper(&veventq->wait))
		wake_up_interruptible_poll(&veventq->wait,
					   EPOLLIN | EPOLLRDNORM);
out_unlock:
	spin_unlock(&viommu->veventq_lock);
	return rc;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_report_event, IOMMUFD);

/**
 * iommufd_viommu_report_own_event - Give the VM an event that is of no device
 * @viommu: The vIOMMU that the event is about, which the caller keeps from
 *          going away
 * @type: enum iommu_veventq_type
 * @event: The event as user space is to see it
 * @len: Size of @event in bytes, as the driver's veventq_size returned it for
 *       @type
 *
 * The trace shows all ones as the virtual ID.
 *
 * Context: See iommufd_viommu_report_event().
 *
 * Return: See iommufd_viommu_report_event().
 */
int iommufd_viommu_report_own_event(struct iommufd_viommu *viommu,
				    unsigned int type, const void *event,
				    size_t len)
{
	return iommufd_viommu_report_event(viommu, type, U64_MAX, 0, event,
					   len);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_report_own_event, IOMMUFD);
