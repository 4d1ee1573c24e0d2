/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of vEVENTQs on the mock driver start from: a device that translates
 * behind a vIOMMU, and what its queue gives to a reader
 */
#ifndef __SELFTEST_IOMMUFD_VEVENTQ_FIXTURE_H
#define __SELFTEST_IOMMUFD_VEVENTQ_FIXTURE_H

#include <limits.h>
#include <poll.h>

#include "iommufd_veventq.h"
#include "iommufd_sweep.h"

#define VIRT_ID 0x10
#define DEPTH_MAX 524288
#define HEADER sizeof(struct iommufd_vevent_header)
#define RECORD sizeof(struct mock_record)

/* ---- A device behind a vIOMMU, translating, with virtual ID VIRT_ID ---- */

FIXTURE(veventq)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 vdev_id;
	__u32 nested_id;
	__u32 bypass_id;
	/* Of the queue that the test allocates, if it does */
	__u32 veventq_id;
	int veventq_fd;
};

FIXTURE_SETUP(veventq)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_COUNTS(0, 0, 0);

	self->veventq_fd = -1;
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id, &self->dev_id);
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &self->viommu_id);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, VIRT_ID,
		      &self->vdev_id);
	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id);
	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id);
	mock_dev_attach(self->fd, self->stdev_id, self->nested_id);
}

FIXTURE_TEARDOWN(veventq)
{
	if (self->veventq_fd >= 0)
		EXPECT_EQ(0, close(self->veventq_fd));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_COUNTS(0, 0, 0);
}

#define ALLOC_QUEUE(_depth)                                                \
	ASSERT_EQ(0, __veventq_alloc(self->fd, self->viommu_id,              \
				   IOMMU_VEVENTQ_TYPE_SELFTEST, _depth,    \
				   &self->veventq_id, &self->veventq_fd))

#define TRIGGER(_num) \
	ASSERT_EQ(0, __trigger_vevents(self->fd, self->dev_id, _num))

#define EXPECT_RECORD(_record, _sequence, _virt_id)                        \
	({                                                                 \
		const struct mock_record *__r = (_record);                 \
		EXPECT_EQ(0, __r->header.flags);                           \
		EXPECT_EQ(_sequence, __r->header.sequence);                \
		EXPECT_EQ(_virt_id, __r->event.virt_id);                   \
	})

#define EXPECT_LOST(_header, _sequence)                                    \
	({                                                                 \
		const struct iommufd_vevent_header *__h = (void *)(_header);\
		EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, __h->flags);     \
		EXPECT_EQ(_sequence, __h->sequence);                       \
	})

/* Events from @_first on and nothing else, read at once */
#define EXPECT_EVENTS(_first, _num)                                        \
	({                                                                 \
		struct mock_record __buf[64];                              \
		unsigned int __i;                                          \
		ASSERT_EQ((_num) * RECORD,                                 \
			  read(self->veventq_fd, __buf, sizeof(__buf)));   \
		for (__i = 0; __i != (_num); __i++)                        \
			EXPECT_RECORD(&__buf[__i],                         \
				      ((_first) + __i) & INT_MAX, VIRT_ID);\
	})

/* Likewise, and a header that says that the one with @_lost was lost */
#define EXPECT_EVENTS_LOST(_first, _num, _lost)                            \
	({                                                                 \
		struct mock_record __buf[64];                              \
		unsigned int __i;                                          \
		ASSERT_EQ((_num) * RECORD + HEADER,                        \
			  read(self->veventq_fd, __buf, sizeof(__buf)));   \
		for (__i = 0; __i != (_num); __i++)                        \
			EXPECT_RECORD(&__buf[__i],                         \
				      ((_first) + __i) & INT_MAX, VIRT_ID);\
		EXPECT_LOST(&__buf[_num], _lost);                          \
	})

#define EXPECT_EMPTY()                                                     \
	({                                                                 \
		struct mock_record __one;                                  \
		EXPECT_EQ(0, read(self->veventq_fd, &__one, sizeof(__one)));\
		EXPECT_EQ(0, poll_now(self->veventq_fd));                  \
	})

/* All that poll() has to say at the moment */
static inline int poll_now(int fd)
{
	struct pollfd pfd = {
		.fd = fd,
		.events = POLLIN | POLLPRI | POLLOUT | POLLRDNORM |
			  POLLRDBAND | POLLWRNORM | POLLWRBAND,
	};

	return poll(&pfd, 1, 0) < 0 ? -1 : pfd.revents;
}

/* ---- Memory ---- */

#endif
