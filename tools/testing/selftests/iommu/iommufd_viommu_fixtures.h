/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of vIOMMUs on the mock driver start from
 *
 * After each test the mock driver tells whether all of its objects are gone.
 */
#ifndef __SELFTEST_IOMMUFD_VIOMMU_FIXTURES_H
#define __SELFTEST_IOMMUFD_VIOMMU_FIXTURES_H

#include "iommufd_viommu.h"

/* ---- A device, a nest parent, a vIOMMU and domains of it ---- */

FIXTURE(viommu)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 nested_id;
	__u32 bypass_id;
};

FIXTURE_SETUP(viommu)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_NOTHING_BEFORE();

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, NULL,
			     &self->dev_id);
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &self->viommu_id);
	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id);
	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id);
	EXPECT_COUNTS(1, 0, 2);
}

FIXTURE_TEARDOWN(viommu)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

/* Expect that the call gives _errno, and that it says that _done entries were executed */
#define EXPECT_INVALIDATE(_errno, _done, _id, _type, _reqs, _len, _num)       \
	({                                                                    \
		__u32 __num = (_num);                                         \
		EXPECT_EQ(_errno, __invalidate(self->fd, _id, _type, _reqs,     \
					     _len, &__num));                  \
		EXPECT_EQ(_done, __num);                                      \
	})

/* ---- Groups ---- */

FIXTURE(group)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_ids[2];
	__u32 dev_ids[2];
	__u32 bridge_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 nested_id;
	__u32 bypass_id;
};

/* Two devices and a bridge that nobody has bound, all in one group */
FIXTURE_SETUP(group)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_NOTHING_BEFORE();

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &self->stdev_ids[0],
			  &self->dev_ids[0]);
	mock_dev_add_bind(self->fd, 0, self->stdev_ids[0], &self->stdev_ids[1],
			  &self->dev_ids[1]);
	mock_dev_add(self->fd, 0, self->stdev_ids[0], &self->bridge_id);
	mock_dev_attach(self->fd, self->stdev_ids[0], self->ioas_id);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->ioas_id);
	test_cmd_hwpt_alloc(self->dev_ids[0], self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc(self->fd, self->dev_ids[0], self->parent_id,
		     &self->viommu_id);
	nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id);
	nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
		     IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id);
}

FIXTURE_TEARDOWN(group)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

#endif
