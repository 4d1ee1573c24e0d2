/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * HW queues of the mock IOMMU driver's vIOMMUs
 */
#ifndef __IOMMUFD_SELFTEST_HW_QUEUE_H
#define __IOMMUFD_SELFTEST_HW_QUEUE_H

#include <linux/init.h>

struct dentry;

void __init mock_hw_queue_start(struct dentry *dbgfs);

#endif
