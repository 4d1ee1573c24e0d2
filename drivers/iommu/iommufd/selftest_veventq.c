// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events of the mock IOMMU driver's vIOMMUs
 *
 * For tools/testing/selftests/iommu/iommufd_veventq*. An event is routed the way a
 * real driver has to do it: by what the attachment of the device has stored,
 * under the lock that the device's attach, detach and loss of its ID take.
 */
#include <linux/iommufd_veventq.h>
#include <linux/limits.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>

#include "selftest_veventq.h"
#include "selftest_viommu.h"
#include "veventq.h"

/* The only kind of event there is, for tracing */
#define MOCK_VEVENT_ID 0x5e

static size_t mock_veventq_size(struct iommufd_viommu *viommu,
				unsigned int type)
{
	if (type != IOMMU_VEVENTQ_TYPE_SELFTEST)
		return 0;
	return sizeof(struct iommu_vevent_selftest);
}

static int mock_dev_report(struct mock_dev *mdev)
{
	struct iommu_vevent_selftest event;

	lockdep_assert_held(&mdev->lock);

	/*
	 * The domain that the device is attached to keeps the vIOMMU, and who
	 * changes that, or takes the ID away, waits for the lock.
	 */
	if (!mdev->viommu || !mdev->has_virt_id)
		return -ENOENT;

	event.virt_id = mdev->virt_id;
	return iommufd_viommu_report_event(mdev->viommu,
					   IOMMU_VEVENTQ_TYPE_SELFTEST,
					   mdev->virt_id, MOCK_VEVENT_ID,
					   &event, sizeof(event));
}

int iommufd_test_trigger_vevents(struct iommufd_ucmd *ucmd, u32 dev_id, u32 num)
{
	struct iommufd_device *idev;
	struct mock_dev *mdev;
	int rc = 0;

	idev = iommufd_get_device(ucmd, dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	if (!iommufd_selftest_is_mock_dev(idev->dev)) {
		rc = -EINVAL;
		goto out_put;
	}

	mdev = to_mock_dev(idev->dev);
	while (!rc && num--) {
		mutex_lock(&mdev->lock);
		rc = mock_dev_report(mdev);
		mutex_unlock(&mdev->lock);
		if (fatal_signal_pending(current))
			rc = -EINTR;
		cond_resched();
	}
out_put:
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}

/* Nobody can wait for 2^31 events to see the sequence wrap */
int iommufd_test_veventq_sequence(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct iommufd_veventq *veventq;
	struct iommufd_object *obj;

	if (cmd->veventq_sequence.sequence > INT_MAX)
		return -EINVAL;

	obj = iommufd_get_object(ucmd->ictx, cmd->id, IOMMUFD_OBJ_VEVENTQ);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	veventq = container_of(obj, struct iommufd_veventq, obj);

	spin_lock(&veventq->viommu->veventq_lock);
	veventq->ring.next_seq = cmd->veventq_sequence.sequence;
	spin_unlock(&veventq->viommu->veventq_lock);
	iommufd_put_object(ucmd->ictx, obj);
	return 0;
}

void __init mock_veventq_init(void)
{
	mock_viommu_type_ops.veventq_size = mock_veventq_size;
}
