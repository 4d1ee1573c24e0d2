// SPDX-License-Identifier: GPL-2.0-only
/*
 * HW queues of the mock IOMMU driver's vIOMMUs
 *
 * For tools/testing/selftests/iommu/iommufd_hw_queue*. No hardware reads the
 * queues. The driver checks what hardware would rely on: the memory is contiguous
 * and is what the nest parent maps, from the start of a queue to its end, and the
 * queues stop in descending order.
 */
#include <linux/debugfs.h>
#include <linux/iommufd_viommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sizes.h>

#include "selftest_hw_queue.h"
#include "selftest_msi.h"
#include "selftest_viommu.h"

/* Bytes that an entry of a mock domain maps */
#define MOCK_DOMAIN_PAGE (PAGE_SIZE / 2)

struct mock_hw_queue {
	struct iommufd_hw_queue core;
	struct list_head node;
	phys_addr_t base_pa;
};

/* Protects mock_hw_queues: the queues of all mock vIOMMUs */
static DEFINE_MUTEX(mock_hw_queue_lock);
static LIST_HEAD(mock_hw_queues);
static atomic_t mock_num_hw_queues;

static struct mock_hw_queue *to_mock_hw_queue(struct iommufd_hw_queue *hwq)
{
	return container_of(hwq, struct mock_hw_queue, core);
}

static struct mock_hw_queue *mock_hw_queue_find(struct iommufd_viommu *viommu,
						u32 index)
{
	struct mock_hw_queue *mhwq;

	lockdep_assert_held(&mock_hw_queue_lock);

	list_for_each_entry(mhwq, &mock_hw_queues, node)
		if (mhwq->core.viommu == viommu && mhwq->core.index == index)
			return mhwq;
	return NULL;
}

/* The memory of the queue is what the nest parent maps there */
static void mock_hw_queue_check(const struct iommufd_hw_queue *hwq,
				phys_addr_t base_pa)
{
	struct iommu_domain *parent = hwq->viommu->hwpt->common.domain;
	u64 offset = 0;

	while (offset < hwq->length) {
		unsigned long iova = hwq->base + offset;
		unsigned long rest = iova % MOCK_DOMAIN_PAGE;

		MOCK_ERROR_ON(mock_domain_lookup(parent, iova) + rest !=
			      base_pa + offset);
		offset += MOCK_DOMAIN_PAGE - rest;
	}
}

static size_t mock_hw_queue_size(struct iommufd_viommu *viommu,
				 unsigned int type, u64 *max_length)
{
	if (type != IOMMU_HW_QUEUE_TYPE_SELFTEST)
		return 0;
	*max_length = SZ_8M;
	return iommufd_hw_queue_struct_size(struct mock_hw_queue, core);
}

static int mock_hw_queue_init(struct iommufd_hw_queue *hwq, phys_addr_t base_pa)
{
	struct mock_hw_queue *mhwq = to_mock_hw_queue(hwq);
	struct mock_hw_queue *lower;
	int rc = 0;

	if (hwq->index >= IOMMU_TEST_HW_QUEUE_MAX)
		return -EINVAL;

	mutex_lock(&mock_hw_queue_lock);
	if (mock_hw_queue_find(hwq->viommu, hwq->index)) {
		rc = -EEXIST;
		goto out_unlock;
	}

	if (hwq->index) {
		lower = mock_hw_queue_find(hwq->viommu, hwq->index - 1);
		if (!lower) {
			rc = -EIO;
			goto out_unlock;
		}
		rc = iommufd_hw_queue_depend(hwq, &lower->core);
		if (rc)
			goto out_unlock;
	}

	/* The core must let go of the lower queue, then */
	if (iommufd_should_fail()) {
		rc = -EIO;
		goto out_unlock;
	}

	mock_hw_queue_check(hwq, base_pa);
	mhwq->base_pa = base_pa;
	list_add(&mhwq->node, &mock_hw_queues);
	atomic_inc(&mock_num_hw_queues);
out_unlock:
	mutex_unlock(&mock_hw_queue_lock);
	return rc;
}

static void mock_hw_queue_destroy(struct iommufd_hw_queue *hwq)
{
	struct mock_hw_queue *mhwq = to_mock_hw_queue(hwq);

	mutex_lock(&mock_hw_queue_lock);
	MOCK_ERROR_ON(mock_hw_queue_find(hwq->viommu, hwq->index) != mhwq);
	MOCK_ERROR_ON(mock_hw_queue_find(hwq->viommu, hwq->index + 1));
	mock_hw_queue_check(hwq, mhwq->base_pa);
	list_del(&mhwq->node);
	mutex_unlock(&mock_hw_queue_lock);
	atomic_dec(&mock_num_hw_queues);
}

void __init mock_hw_queue_start(struct dentry *dbgfs)
{
	mock_viommu_type_ops.hw_queue_size = mock_hw_queue_size;
	mock_viommu_type_ops.hw_queue_init = mock_hw_queue_init;
	mock_viommu_type_ops.hw_queue_destroy = mock_hw_queue_destroy;
	debugfs_create_atomic_t("hw_queues", 0400, dbgfs, &mock_num_hw_queues);
}
