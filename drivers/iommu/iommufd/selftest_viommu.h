/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two halves of the mock IOMMU driver share
 */
#ifndef __IOMMUFD_SELFTEST_VIOMMU_H
#define __IOMMUFD_SELFTEST_VIOMMU_H

#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/device.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>

#include "iommufd_private.h"
#include "iommufd_test.h"

enum selftest_obj_type {
	TYPE_IDEV,
};

/**
 * struct mock_dev - A device behind a mock IOMMU
 * @dev: Core device
 * @iopf_rwsem: Held for write while the attachment changes
 * @flags: MOCK_FLAGS_DEVICE_*
 * @id: Number in the name
 * @group_of: While the device is probed, whose group it joins
 * @bind_lock: Turns of bind, unbind, attach and detach of one device
 * @lock: Protects @viommu, @state, @has_virt_id and @virt_id
 * @attached: Domain that the device is attached to; protected by the group mutex
 * @viommu: vIOMMU of the nested domain that the device is attached to
 * @state: What happens to the device's DMA
 * @has_virt_id: @virt_id is valid
 * @virt_id: Virtual ID that the driver keeps for the device while it is attached
 * @cache: What invalidations of a vIOMMU act upon
 */
struct mock_dev {
	struct device dev;
	struct rw_semaphore iopf_rwsem;
	unsigned long flags;
	int id;
	struct mock_dev *group_of;
	/* Turns of those that bind and attach */
	struct mutex bind_lock;

	struct iommu_domain *attached;

	/* Protects what follows, up to virt_id; a leaf */
	struct mutex lock;
	struct iommufd_viommu *viommu;
	enum mock_dev_state state;
	bool has_virt_id;
	u64 virt_id;

	u32 cache[MOCK_DEV_CACHE_NUM];
};

static inline struct mock_dev *to_mock_dev(struct device *dev)
{
	return container_of(dev, struct mock_dev, dev);
}

struct selftest_obj {
	struct iommufd_object obj;
	enum selftest_obj_type type;

	union {
		struct {
			struct iommufd_device *idev;
			struct iommufd_ctx *ictx;
			struct mock_dev *mock_dev;
			bool attached;
		} idev;
	};
};

/* selftest.c */
struct iommu_device *mock_domain_iommu_dev(struct iommu_domain *domain);
struct mock_dev *mock_dev_create(unsigned long dev_flags,
				 struct mock_dev *group_of);
void mock_dev_destroy(struct mock_dev *mdev);

/* selftest_viommu.c; each capability adds its operations before user space runs */
extern struct iommufd_viommu_ops mock_viommu_type_ops;
extern const struct iommufd_viommu_ops *const mock_viommu_types[];
extern struct dentry *mock_dbgfs;
/* Calls of the core that should not have been like this */
extern atomic_t mock_num_errors;

#define MOCK_ERROR_ON(_cond)                             \
	do {                                             \
		if (WARN_ON(_cond))                      \
			atomic_inc(&mock_num_errors);    \
	} while (0)

void mock_viommu_dev_init(struct mock_dev *mdev);
void mock_viommu_dev_leaves(struct mock_dev *mdev);
void mock_viommu_dev_attached(struct mock_dev *mdev,
			      struct iommu_domain *domain);
const struct iommufd_viommu_ops *mock_viommu_ops(struct device *dev,
						 unsigned int type);
u32 *mock_viommu_domain_iotlb(struct iommu_domain *domain);
int iommufd_test_viommu(struct iommufd_ucmd *ucmd);
void mock_viommu_debugfs_init(void);
void mock_viommu_debugfs_exit(void);

#endif
