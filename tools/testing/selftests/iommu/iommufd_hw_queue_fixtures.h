/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of HW queues and mappings on the mock driver start from
 *
 * The mock driver checks the physical address and the order of the calls that it
 * gets, and counts what is wrong as errors. The tests of queues need huge pages of
 * 2 MiB, because these are memory that is known to be physically contiguous.
 */
#ifndef __SELFTEST_IOMMUFD_HW_QUEUE_FIXTURES_H
#define __SELFTEST_IOMMUFD_HW_QUEUE_FIXTURES_H

#include "iommufd_hw_queue.h"

#define IN_DATA 0xcafe0001

/* ---- A vIOMMU whose nest parent maps a huge page at QUEUE_IOVA ---- */

FIXTURE(hw_queue)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	bool by_file;
	int file;
	char *mem;
	long pins;
};

FIXTURE_VARIANT(hw_queue)
{
	/* Map the memory by its file, not by its address */
	bool by_file;
	/* Bytes of temporary memory for pages, 0 for the default */
	unsigned int limit;
};

FIXTURE_VARIANT_ADD(hw_queue, address) {};
FIXTURE_VARIANT_ADD(hw_queue, address_limit) { .limit = 16 };
FIXTURE_VARIANT_ADD(hw_queue, file) { .by_file = true };
FIXTURE_VARIANT_ADD(hw_queue, file_limit) { .by_file = true, .limit = 16 };

/* Map @length bytes from @start of the huge page on at @iova */
static inline int map_mem(struct _test_data_hw_queue *self, __u64 start,
			  __u64 length, __u64 iova)
{
	if (self->by_file)
		return __ioas_map_file(self->fd, self->ioas_id, self->file,
				       start, length, iova);
	return __ioas_map(self->fd, self->ioas_id, self->mem + start, length,
			  iova);
}

static inline int unmap(struct _test_data_hw_queue *self, __u64 iova,
			__u64 length)
{
	return __ioas_unmap(self->fd, self->ioas_id, iova, length);
}

static inline int alloc_queue(struct _test_data_hw_queue *self, __u32 index,
			      __u64 iova, __u64 length, __u32 *id)
{
	return __hw_queue_alloc(self->fd, self->viommu_id, index, iova, length,
				id);
}

FIXTURE_SETUP(hw_queue)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	if (!have_hpages(1))
		SKIP(return, "no huge page of 2 MiB");
	EXPECT_NOTHING_BEFORE();

	self->pins = pins();
	self->by_file = variant->by_file;
	self->file = hpage_file(1);
	ASSERT_NE(-1, self->file);
	self->mem = mmap(NULL, HPAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->file, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	memset(self->mem, 0x5a, HPAGE);

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	if (variant->limit)
		test_ioctl_set_temp_memory_limit(variant->limit);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id, &self->dev_id);
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &self->viommu_id);
	ASSERT_EQ(0, map_mem(self, 0, HPAGE, QUEUE_IOVA));
}

/* A test may leave its queues: closing the file destroys them */
FIXTURE_TEARDOWN(hw_queue)
{
	test_ioctl_set_default_memory_limit();
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->pins, pins());
	EXPECT_NOTHING_LEFT();
	munmap(self->mem, HPAGE);
	close(self->file);
}

/* Unmap and map the huge page, which only works if no queue has it */
static inline int remap(struct _test_data_hw_queue *self)
{
	int rc = unmap(self, QUEUE_IOVA, HPAGE);

	return rc ?: map_mem(self, 0, HPAGE, QUEUE_IOVA);
}

/* A failed IOMMU_HW_QUEUE_ALLOC left neither its memory nor index 0 in use */
static inline int nothing_is_left(struct _test_data_hw_queue *self)
{
	__u32 id = 0;
	int rc;

	rc = remap(self);
	if (rc)
		return rc;
	rc = alloc_queue(self, 0, QUEUE_IOVA, PAGE_SIZE, &id);
	return rc ?: __do_destroy(self->fd, id);
}

/* ---- mmap: a vIOMMU that offers two pages ---- */

FIXTURE(mapping)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	struct iommu_viommu_selftest offer;
	size_t length;
};

FIXTURE_SETUP(mapping)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_NOTHING_BEFORE();

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id, &self->dev_id);
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id, IN_DATA,
			  &self->offer, &self->viommu_id);
	self->length = self->offer.out_mmap_length;
}

FIXTURE_TEARDOWN(mapping)
{
	if (self->fd >= 0)
		EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

/* Wait until the driver has @num vIOMMUs; the last user may be another CPU's */
static inline bool viommus_become(int num)
{
	int i;

	for (i = 0; i != 3000 && mock_count("viommus") != num; i++)
		usleep(10000);
	return mock_count("viommus") == num;
}

#endif
