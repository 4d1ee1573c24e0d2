// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let each step of IOMMU_HW_QUEUE_ALLOC and mmap fail once
 */
#include "iommufd_hw_queue.h"

FIXTURE(hw_queue_fail_nth)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	struct iommu_viommu_selftest offer;
	char *mem;
	long pins;
};

FIXTURE_SETUP(hw_queue_fail_nth)
{
	if (!fail_nth_open())
		SKIP(return, "no fault injection in this kernel");
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	if (!have_hpages(1))
		SKIP(return, "no huge page of 2 MiB");
	EXPECT_NOTHING_BEFORE();

	self->pins = pins();
	self->mem = mmap(NULL, HPAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id, &self->dev_id);
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id, 0xcafe,
			  &self->offer, &self->viommu_id);
	/* Two areas: the steps of a queue across both are more */
	ioas_map(self->fd, self->ioas_id, self->mem, HPAGE / 2, QUEUE_IOVA);
	ioas_map(self->fd, self->ioas_id, self->mem + HPAGE / 2, HPAGE / 2,
		 QUEUE_IOVA + HPAGE / 2);
}

FIXTURE_TEARDOWN(hw_queue_fail_nth)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->pins, pins());
	EXPECT_NOTHING_LEFT();
	munmap(self->mem, HPAGE);
	close(fail_nth_fd);
}

/* A queue that failed holds neither its memory nor its index */
static int queue_left_nothing(struct _test_data_hw_queue_fail_nth *self)
{
	const __u64 half = HPAGE / 2;
	__u32 id = 0;
	int rc, i;

	for (i = 0; i != 2; i++) {
		rc = __ioas_unmap(self->fd, self->ioas_id,
				  QUEUE_IOVA + i * half, half);
		if (rc)
			return rc;
		rc = __ioas_map(self->fd, self->ioas_id, self->mem + i * half,
				half, QUEUE_IOVA + i * half);
		if (rc)
			return rc;
	}
	rc = __hw_queue_alloc(self->fd, self->viommu_id, 0, QUEUE_IOVA,
			      PAGE_SIZE, &id);
	return rc ?: __do_destroy(self->fd, id);
}

/* Replace the vIOMMU; fails with EBUSY if anything holds it */
static int renew_viommu(struct _test_data_hw_queue_fail_nth *self)
{
	int rc = __do_destroy(self->fd, self->viommu_id);

	return rc    ?:
		       __viommu_alloc_mmap(self->fd, self->dev_id,
					   self->parent_id, 0xcafe,
					   &self->offer, &self->viommu_id);
}

TEST_F(hw_queue_fail_nth, alloc_leaves_nothing)
{
	__u32 id = 0;

	/* The vIOMMU, the object, the pages and a step of the driver at least */
	SWEEP(4,
	      __hw_queue_alloc(self->fd, self->viommu_id, 0, QUEUE_IOVA, 64,
			       &id),
	      ASSERT_EQ(0, queue_left_nothing(self)), test_ioctl_destroy(id));
	SWEEP(4,
	      __hw_queue_alloc(self->fd, self->viommu_id, 0, QUEUE_IOVA, HPAGE,
			       &id),
	      ASSERT_EQ(0, queue_left_nothing(self)), test_ioctl_destroy(id));
	ASSERT_EQ(0, renew_viommu(self));
}

/* A higher queue that failed does not hold the lower one */
TEST_F(hw_queue_fail_nth, alloc_second_leaves_first)
{
	__u32 first_id, id = 0;

	hw_queue_alloc(self->fd, self->viommu_id, 0, QUEUE_IOVA, 64, &first_id);
	SWEEP(4,
	      __hw_queue_alloc(self->fd, self->viommu_id, 1, QUEUE_IOVA, 64,
			       &id),
	      ({
		      test_ioctl_destroy(first_id);
		      ASSERT_EQ(0, queue_left_nothing(self));
		      hw_queue_alloc(self->fd, self->viommu_id, 0, QUEUE_IOVA,
				     64, &first_id);
	      }),
	      test_ioctl_destroy(id));
	test_ioctl_destroy(first_id);
	ASSERT_EQ(0, renew_viommu(self));
}

/* The call fails before it changes anything, or the queue is gone */
TEST_F(hw_queue_fail_nth, destroy_fails_or_releases)
{
	__u32 id = 0;

	hw_queue_alloc(self->fd, self->viommu_id, 0, QUEUE_IOVA, HPAGE, &id);
	SWEEP(0, __do_destroy(self->fd, id),
	      ASSERT_EQ(EBUSY, __ioas_unmap(self->fd, self->ioas_id, QUEUE_IOVA,
					    HPAGE / 2)),
	      ({
		      ASSERT_EQ(0, queue_left_nothing(self));
		      hw_queue_alloc(self->fd, self->viommu_id, 0, QUEUE_IOVA,
				     HPAGE, &id);
	      }));
	test_ioctl_destroy(id);
}

/* The pages that a vIOMMU offers go with it */
TEST_F(hw_queue_fail_nth, viommu_alloc_leaves_no_offer)
{
	struct iommu_viommu_selftest offer;
	__u32 id = 0;

	SWEEP(5,
	      __viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id, 1,
				  &offer, &id),
	      EXPECT_COUNTS(1, 0, 0), test_ioctl_destroy(id));
}

/* A mapping that failed does not hold the vIOMMU */
TEST_F(hw_queue_fail_nth, mmap_leaves_nothing)
{
	char *p = NULL;

	SWEEP(1, ({
		p = map_offer(self->fd, &self->offer);
		p == MAP_FAILED ? errno : 0;
	      }), ASSERT_EQ(0, renew_viommu(self)),
	      ({
		EXPECT_EQ(0xcafe, read32(p));
		ASSERT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
		ASSERT_EQ(0, munmap(p, self->offer.out_mmap_length));
	      }));
	ASSERT_EQ(0, renew_viommu(self));
}

/* A mapping that munmap could not remove still holds the vIOMMU, once */
TEST_F(hw_queue_fail_nth, munmap_fails_or_releases)
{
	char *p = map_offer(self->fd, &self->offer);

	ASSERT_NE(MAP_FAILED, p);
	SWEEP(0, munmap(p, self->offer.out_mmap_length) ? errno : 0,
	      ({
		EXPECT_EQ(0xcafe, read32(p));
		ASSERT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	      }),
	      ({
		ASSERT_EQ(0, renew_viommu(self));
		p = map_offer(self->fd, &self->offer);
		ASSERT_NE(MAP_FAILED, p);
	      }));
	ASSERT_EQ(0, munmap(p, self->offer.out_mmap_length));
	ASSERT_EQ(0, renew_viommu(self));
}

/*
 * Let all allocations fail of a process that has written 1 to make-it-fail. Without
 * the filter they fail for everyone, so it is set first and never taken away.
 */
static int failslab_all(bool all)
{
	if (all && write_str("/sys/kernel/debug/failslab/task-filter", "Y"))
		return -1;
	if (write_str("/sys/kernel/debug/failslab/probability",
		      all ? "100" : "0"))
		return -1;
	return write_str("/sys/kernel/debug/failslab/times", all ? "-1" : "1");
}

/* A process that the OOM killer has chosen gets no memory for what it destroys */
TEST_F(hw_queue_fail_nth, destroy_without_memory)
{
	struct iommu_viommu_selftest second;
	__u32 second_id, id;
	int rc, switch_fd;

	/* Without memory no file can be opened */
	switch_fd = open("/proc/self/make-it-fail", O_WRONLY);
	ASSERT_NE(-1, switch_fd);
	viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id, 1, &second,
			  &second_id);
	hw_queue_alloc(self->fd, second_id, 0, QUEUE_IOVA, HPAGE, &id);
	ASSERT_EQ(0, failslab_all(true));
	ASSERT_EQ(1, pwrite(switch_fd, "1", 1, 0));
	rc = __do_destroy(self->fd, id) ?: __do_destroy(self->fd, second_id);
	if (pwrite(switch_fd, "0", 1, 0) != 1)
		abort();
	ASSERT_EQ(0, failslab_all(false));
	ASSERT_EQ(0, rc);
	close(switch_fd);

	/* Nothing is offered there any more */
	EXPECT_EQ(MAP_FAILED, map_offer(self->fd, &second));
	EXPECT_EQ(ENXIO, errno);
	ASSERT_EQ(0, renew_viommu(self));
}

TEST_HARNESS_MAIN
