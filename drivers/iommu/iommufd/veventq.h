/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vEVENTQ: events of a vIOMMU for user space to read
 */
#ifndef __IOMMUFD_VEVENTQ_H
#define __IOMMUFD_VEVENTQ_H

#include <linux/file.h>
#include <linux/iommufd_viommu.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "event_ring.h"

/**
 * struct iommufd_veventq - The events of one type
 * @obj: iommufd object
 * @viommu: Where they come from; the queue holds a reference on it
 * @node: Entry in iommufd_viommu::veventqs
 * @type: enum iommu_veventq_type
 * @live: Events are reported to it; protected by iommufd_viommu::veventq_lock
 * @filep: The file that they are read from, which holds the queue
 * @ring: The events; protected by iommufd_viommu::veventq_lock, but for the
 *        contents of slots that wait to be read, which stay as they are
 * @read_mutex: Held by the one reader at a time
 * @wait: Pollers
 */
struct iommufd_veventq {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	struct list_head node;
	unsigned int type;
	bool live;
	struct file *filep;
	struct iommufd_event_ring ring;
	struct mutex read_mutex; /* readers take turns */
	wait_queue_head_t wait;
};

struct iommufd_veventq *iommufd_viommu_find_veventq(struct iommufd_viommu *viommu,
						    unsigned int type);

#endif
