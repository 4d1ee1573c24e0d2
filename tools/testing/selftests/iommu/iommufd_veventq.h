/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls that the vEVENTQ tests on the mock driver share
 */
#ifndef __SELFTEST_IOMMUFD_VEVENTQ_H
#define __SELFTEST_IOMMUFD_VEVENTQ_H

#include "iommufd_viommu.h"

/* What a mock vIOMMU's queue gives to its reader */
struct mock_record {
	struct iommufd_vevent_header header;
	struct iommu_vevent_selftest event;
};

static inline int __veventq_alloc(int fd, __u32 viommu_id, __u32 type,
				  __u32 depth, __u32 *veventq_id,
				  int *veventq_fd)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = type,
		.veventq_depth = depth,
	};
	int rc = call(fd, IOMMU_VEVENTQ_ALLOC, &cmd);

	if (!rc) {
		*veventq_id = cmd.out_veventq_id;
		*veventq_fd = cmd.out_veventq_fd;
	}
	return rc;
}

static inline int __trigger_vevent(int fd, __u32 dev_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_VEVENT,
		.trigger_vevent = { .dev_id = dev_id },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* Many at once, for half a million system calls take their time */
static inline int __trigger_vevents(int fd, __u32 dev_id, unsigned int num)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_VEVENTS,
		.id = dev_id,
		.trigger_vevents = { .num = num },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* The number of the next event */
static inline int __veventq_set_sequence(int fd, __u32 veventq_id,
					 __u32 sequence)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_VEVENTQ_SEQUENCE,
		.id = veventq_id,
		.veventq_sequence = { .sequence = sequence },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* The lowest descriptor that is free: a leak shows in it */
static inline int next_fd(void)
{
	int fd = open("/dev/null", O_RDONLY);

	close(fd);
	return fd;
}

/* Calls that must succeed: if one fails, the test ends. */
#define veventq_alloc(...) ASSERT_EQ(0, __veventq_alloc(__VA_ARGS__))
#define trigger_vevents(...) ASSERT_EQ(0, __trigger_vevents(__VA_ARGS__))
#define veventq_set_sequence(...) ASSERT_EQ(0, __veventq_set_sequence(__VA_ARGS__))

#endif
