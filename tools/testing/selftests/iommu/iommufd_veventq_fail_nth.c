// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let each step of a vEVENTQ call fail once
 */
#include "iommufd_veventq.h"
#include "iommufd_sweep.h"

#define VIRT_ID 0x10
#define RECORD sizeof(struct mock_record)

FIXTURE(veventq_fail_nth)
{
	int fd;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 vdev_id;
	__u32 nested_id;
};

FIXTURE_SETUP(veventq_fail_nth)
{
	__u32 ioas_id;

	if (!fail_nth_open())
		SKIP(return, "no fault injection in this kernel");
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_COUNTS(0, 0, 0);

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id, &self->dev_id);
	test_cmd_hwpt_alloc(self->dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			    &self->parent_id);
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &self->viommu_id);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, VIRT_ID,
		      &self->vdev_id);
	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id);
	mock_dev_attach(self->fd, self->stdev_id, self->nested_id);
}

FIXTURE_TEARDOWN(veventq_fail_nth)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_COUNTS(0, 0, 0);
	close(fail_nth_fd);
}

TEST_F(veventq_fail_nth, alloc)
{
	static const __u32 depths[] = { 1, 100000 };
	int fd_before = next_fd(), veventq_fd = -1;
	__u32 id = 0;
	unsigned int i;

	/* What the allocators set up at first, and can do without, moves the rest */
	for (i = 0; i != 8; i++) {
		veventq_alloc(self->fd, self->viommu_id,
			      IOMMU_VEVENTQ_TYPE_SELFTEST, depths[i % 2], &id,
			      &veventq_fd);
		ASSERT_EQ(0, close(veventq_fd));
		test_ioctl_destroy(id);
	}

	/*
	 * The request, the vIOMMU, the object, the ring, the file, and at times
	 * the answer, which has a test of its own. One of them is missed if an
	 * allocator sets something up meanwhile. That the next call works shows
	 * that the type is free.
	 */
	for (i = 0; i != ARRAY_SIZE(depths); i++)
		SWEEP(4,
		      __veventq_alloc(self->fd, self->viommu_id,
				      IOMMU_VEVENTQ_TYPE_SELFTEST, depths[i],
				      &id, &veventq_fd),
		      ({
			      EXPECT_EQ(fd_before, next_fd());
			      EXPECT_EQ(ENOENT, __trigger_vevent(self->fd,
								 self->dev_id));
		      }),
		      ({
			      EXPECT_EQ(fd_before, veventq_fd);
			      EXPECT_EQ(0, __trigger_vevent(self->fd,
							    self->dev_id));
			      ASSERT_EQ(0, close(veventq_fd));
			      test_ioctl_destroy(id);
		      }));

	mock_dev_attach(self->fd, self->stdev_id, 0);
	test_ioctl_destroy(self->vdev_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
}

/* To report an event takes no memory: nothing but the call itself can fail */
TEST_F(veventq_fail_nth, report)
{
	int veventq_fd, rc = 0;
	__u32 id;

	veventq_alloc(self->fd, self->viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST, 4,
		      &id, &veventq_fd);
	SWEEP(1, rc = __trigger_vevent(self->fd, self->dev_id),
	      EXPECT_NE(ENOMEM, rc), {});
	close(veventq_fd);
}

/* A read that fails anywhere loses nothing */
TEST_F(veventq_fail_nth, read)
{
	struct mock_record buf[8];
	unsigned int i, next = 0;
	int veventq_fd;
	ssize_t got = 0;
	__u32 id;

	veventq_alloc(self->fd, self->viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST, 4,
		      &id, &veventq_fd);
	/* Three slots on, so that what waits has two parts */
	trigger_vevents(self->fd, self->dev_id, 3);
	ASSERT_EQ(3 * RECORD, read(veventq_fd, buf, sizeof(buf)));
	trigger_vevents(self->fd, self->dev_id, 6);
	next = 3;

	SWEEP(1, ({
		got = read(veventq_fd, buf, sizeof(buf));
		got < 0 ? errno : 0;
	      }), {}, ({
		for (i = 0; i != got / RECORD; i++, next++) {
			EXPECT_EQ(0, buf[i].header.flags);
			EXPECT_EQ(next, buf[i].header.sequence);
			EXPECT_EQ(VIRT_ID, buf[i].event.virt_id);
		}
		if (got % RECORD) {
			EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS,
				  buf[i].header.flags);
			EXPECT_EQ(8, buf[i].header.sequence);
			next = 9;
		}
	      }));
	EXPECT_EQ(9, next);
	EXPECT_EQ(0, read(veventq_fd, buf, sizeof(buf)));
	close(veventq_fd);
}

TEST_HARNESS_MAIN
