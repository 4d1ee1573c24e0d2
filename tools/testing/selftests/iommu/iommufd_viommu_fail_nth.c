// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let each step of a vIOMMU call fail once
 */
#include "iommufd_viommu.h"
#include "iommufd_sweep.h"

FIXTURE(fail_nth)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_ids[2];
	__u32 dev_ids[2];
	__u32 bridge_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 nested_ids[2];
	__u32 bypass_id;
};

FIXTURE_SETUP(fail_nth)
{
	unsigned int i;

	if (!fail_nth_open())
		SKIP(return, "no fault injection in this kernel");
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
	test_cmd_hwpt_alloc(self->dev_ids[0], self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	viommu_alloc(self->fd, self->dev_ids[0], self->parent_id,
		     &self->viommu_id);
	for (i = 0; i != 2; i++)
		nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
			     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_ids[i]);
	nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
		     IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id);
}

FIXTURE_TEARDOWN(fail_nth)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
	close(fail_nth_fd);
}

/* Nothing may hold them when their children are gone */
#define DESTROY_PARENTS()                                                  \
	({                                                                 \
		test_ioctl_destroy(self->nested_ids[0]);                   \
		test_ioctl_destroy(self->nested_ids[1]);                   \
		test_ioctl_destroy(self->bypass_id);                       \
		test_ioctl_destroy(self->viommu_id);                       \
		test_ioctl_destroy(self->parent_id);                       \
		EXPECT_COUNTS(0, 0, 0);                                    \
	})

TEST_F(fail_nth, viommu_alloc)
{
	struct iommu_viommu_selftest data = { .in_data = 1 };
	__u32 id = 0;

	/* The device, the HWPT, the object and two steps of the driver at least */
	SWEEP(5,
	      __viommu_alloc(self->fd, self->dev_ids[0], self->parent_id, &id),
	      EXPECT_COUNTS(1, 0, 3), test_ioctl_destroy(id));
	SWEEP(5,
	      __viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				  self->dev_ids[0], self->parent_id, &data,
				  sizeof(data), &id),
	      EXPECT_COUNTS(1, 0, 3), test_ioctl_destroy(id));
	DESTROY_PARENTS();
}

TEST_F(fail_nth, vdevice_alloc)
{
	__u32 id = 0, num = 0;

	/* The next call with the same device and ID shows that both are free */
	SWEEP(6,
	      __vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10,
			      &id),
	      EXPECT_COUNTS(1, 0, 3), test_ioctl_destroy(id));

	/* and this one that it does not resolve */
	SWEEP(6,
	      __vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1], 0x10,
			      &id),
	      EXPECT_EQ(EINVAL, __invalidate_one(self->fd, self->viommu_id,
						 0x10, 0, &num)),
	      test_ioctl_destroy(id));
	DESTROY_PARENTS();
}

TEST_F(fail_nth, hwpt_alloc)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	__u32 id = 0, fault_id, fault_fd;

	SWEEP(5,
	      __nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
			     IOMMU_TEST_IOTLB_DEFAULT, &id),
	      EXPECT_COUNTS(1, 0, 3), test_ioctl_destroy(id));

	test_ioctl_fault_alloc(&fault_id, &fault_fd);
	SWEEP(6, _test_cmd_hwpt_alloc(self->fd, self->dev_ids[0],
				      self->viommu_id, fault_id,
				      IOMMU_HWPT_FAULT_ID_VALID, &id,
				      IOMMU_HWPT_DATA_SELFTEST, &data,
				      sizeof(data)) ? errno : 0,
	      EXPECT_COUNTS(1, 0, 3), test_ioctl_destroy(id));
	close(fault_fd);
	test_ioctl_destroy(fault_id);
	DESTROY_PARENTS();
}

/* A count that says more than was done would make a guest use stale entries */
TEST_F(fail_nth, invalidate)
{
	struct iommu_viommu_invalidate_selftest reqs[40] = {};
	__u32 i, num = 0, vdev_id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10,
		      &vdev_id);
	for (i = 0; i != ARRAY_SIZE(reqs); i++)
		reqs[i].vdev_id = 0x10;
	SWEEP(1, ({
		num = ARRAY_SIZE(reqs);
		__invalidate(self->fd, self->viommu_id,
			     IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
			     sizeof(*reqs), &num);
	      }), EXPECT_GE(ARRAY_SIZE(reqs), num),
	      EXPECT_EQ(ARRAY_SIZE(reqs), num));
	test_ioctl_destroy(vdev_id);
	DESTROY_PARENTS();
}

/* Both devices of the group are attached as @_state says, pinned or not */
#define EXPECT_GROUP(_state, _bridge, _virt_id0, _virt_id1, _pinned)        \
	({                                                                  \
		EXPECT_STATE(self->stdev_ids[0], _state, _virt_id0);        \
		EXPECT_STATE(self->stdev_ids[1], _state, _virt_id1);        \
		EXPECT_STATE(self->bridge_id, _bridge, NO_VIRT_ID);         \
		if (_pinned) {                                              \
			EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[0]));\
			EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[1]));\
		}                                                           \
	})

TEST_F(fail_nth, attach)
{
	__u32 vdev_ids[2];

	group_vdevices_alloc(vdev_ids);

	/* First attachment: two lookups, the handle, three devices in the driver */
	SWEEP(6,
	      __mock_dev_attach(self->fd, self->stdev_ids[0],
				self->nested_ids[0]),
	      EXPECT_GROUP(MOCK_DEV_STATE_OTHER, MOCK_DEV_STATE_OTHER,
			   NO_VIRT_ID, NO_VIRT_ID, false),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[0], 0)));
	/* Not pinned by what failed */
	test_ioctl_destroy(vdev_ids[0]);
	test_ioctl_destroy(vdev_ids[1]);
	group_vdevices_alloc(vdev_ids);

	/* Stage 2 is replaced */
	mock_dev_attach(self->fd, self->stdev_ids[0], self->ioas_id);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->ioas_id);
	SWEEP(6,
	      __mock_dev_attach(self->fd, self->stdev_ids[1],
				self->nested_ids[0]),
	      EXPECT_GROUP(MOCK_DEV_STATE_OTHER, MOCK_DEV_STATE_OTHER,
			   NO_VIRT_ID, NO_VIRT_ID, false),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[0],
					     self->ioas_id)));

	/* A translating domain is replaced by one, and by bypass */
	mock_dev_attach(self->fd, self->stdev_ids[0], self->nested_ids[0]);
	SWEEP(6,
	      __mock_dev_attach(self->fd, self->stdev_ids[0],
				self->nested_ids[1]),
	      EXPECT_GROUP(MOCK_DEV_STATE_TRANSLATE, MOCK_DEV_STATE_STAGE2,
			   0x10, 0x20, true),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[0],
					     self->nested_ids[0])));
	SWEEP(6,
	      __mock_dev_attach(self->fd, self->stdev_ids[0], self->bypass_id),
	      EXPECT_GROUP(MOCK_DEV_STATE_TRANSLATE, MOCK_DEV_STATE_STAGE2,
			   0x10, 0x20, true),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[0],
					     self->nested_ids[0])));
	/* and by stage 2 */
	SWEEP(1,
	      __mock_dev_attach(self->fd, self->stdev_ids[0], self->parent_id),
	      EXPECT_GROUP(MOCK_DEV_STATE_TRANSLATE, MOCK_DEV_STATE_STAGE2,
			   0x10, 0x20, true),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[0],
					     self->nested_ids[0])));

	mock_dev_attach(self->fd, self->stdev_ids[0], self->ioas_id);
	test_ioctl_destroy(vdev_ids[0]);
	test_ioctl_destroy(vdev_ids[1]);
	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	DESTROY_PARENTS();
}

/* Page faults are enabled for both devices, or for none */
TEST_F(fail_nth, attach_faults)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	__u32 vdev_ids[2], fault_id, fault_fd, hwpt_id;

	test_ioctl_fault_alloc(&fault_id, &fault_fd);
	group_vdevices_alloc(vdev_ids);
	ASSERT_EQ(0, _test_cmd_hwpt_alloc(self->fd, self->dev_ids[0],
					  self->viommu_id, fault_id,
					  IOMMU_HWPT_FAULT_ID_VALID, &hwpt_id,
					  IOMMU_HWPT_DATA_SELFTEST, &data,
					  sizeof(data)));

	/* What is enabled twice fails: nothing may be left enabled */
	SWEEP(6, __mock_dev_attach(self->fd, self->stdev_ids[0], hwpt_id),
	      EXPECT_GROUP(MOCK_DEV_STATE_OTHER, MOCK_DEV_STATE_OTHER,
			   NO_VIRT_ID, NO_VIRT_ID, false),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[0], 0)));

	mock_dev_attach(self->fd, self->stdev_ids[0], self->ioas_id);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->ioas_id);
	SWEEP(6, __mock_dev_attach(self->fd, self->stdev_ids[0], hwpt_id),
	      EXPECT_GROUP(MOCK_DEV_STATE_OTHER, MOCK_DEV_STATE_OTHER,
			   NO_VIRT_ID, NO_VIRT_ID, false),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[1],
					     self->ioas_id)));
	close(fault_fd);
}

/* A device that was bound late, so that it is no member before it is attached */
#define BIND_LATE()                                                          \
	({                                                                   \
		mock_dev_bind(self->fd, late_id, &late_dev_id);\
		ASSERT_EQ(0, __vdevice_alloc(self->fd, self->viommu_id,        \
					   late_dev_id, 0x30, NULL));        \
	})

/* An attach that fails is no detach: the next replace makes a member of it */
TEST_F(fail_nth, join_faults)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	__u32 fault_id, fault_fd, hwpt_ids[2], late_id, late_dev_id;
	int i;

	test_ioctl_fault_alloc(&fault_id, &fault_fd);
	for (i = 0; i < 2; i++) {
		vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[i],
			      0x10 + i, NULL);
		ASSERT_EQ(0, _test_cmd_hwpt_alloc(self->fd, self->dev_ids[0],
						  self->viommu_id, fault_id,
						  IOMMU_HWPT_FAULT_ID_VALID,
						  &hwpt_ids[i],
						  IOMMU_HWPT_DATA_SELFTEST,
						  &data, sizeof(data)));
	}
	mock_dev_attach(self->fd, self->stdev_ids[0], hwpt_ids[0]);
	mock_dev_add(self->fd, 0, self->stdev_ids[0], &late_id);
	BIND_LATE();

	SWEEP(3, __mock_dev_attach(self->fd, late_id, hwpt_ids[0]), ({
		      EXPECT_STATE(late_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
		      mock_dev_attach(self->fd, self->stdev_ids[0],
				      hwpt_ids[1]);
		      EXPECT_STATE(late_id, MOCK_DEV_STATE_TRANSLATE, 0x30);
		      mock_dev_unbind(self->fd, late_id);
		      mock_dev_attach(self->fd, self->stdev_ids[0],
				      hwpt_ids[0]);
		      BIND_LATE();
	      }),
	      ({
		      mock_dev_unbind(self->fd, late_id);
		      BIND_LATE();
	      }));
	close(fault_fd);
}

/* A member joins an attachment of its group */
TEST_F(fail_nth, join)
{
	__u32 vdev_ids[2];

	group_vdevices_alloc(vdev_ids);
	mock_dev_attach(self->fd, self->stdev_ids[0], self->nested_ids[0]);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->nested_ids[0]);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	SWEEP(2,
	      __mock_dev_attach(self->fd, self->stdev_ids[1],
				self->nested_ids[0]),
	      ({
		      EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2,
				   NO_VIRT_ID);
		      /* Not pinned by what failed */
		      test_ioctl_destroy(vdev_ids[1]);
		      vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				    0x20, &vdev_ids[1]);
	      }),
	      ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[1], 0)));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
}

/*
 * One that has left does not come back because an attempt to replace the domain
 * of the others has failed halfway
 */
TEST_F(fail_nth, replace_after_leave)
{
	__u32 vdev_ids[2];

	group_vdevices_alloc(vdev_ids);
	mock_dev_attach(self->fd, self->stdev_ids[0], self->nested_ids[0]);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->nested_ids[0]);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	SWEEP(6,
	      __mock_dev_attach(self->fd, self->stdev_ids[0],
				self->nested_ids[1]),
	      ({
		      EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE,
				   0x10);
		      EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2,
				   NO_VIRT_ID);
		      EXPECT_STATE(self->bridge_id, MOCK_DEV_STATE_STAGE2,
				   NO_VIRT_ID);
		      test_ioctl_destroy(vdev_ids[1]);
		      vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				    0x20, &vdev_ids[1]);
	      }),
	      ({
		      mock_dev_attach(self->fd, self->stdev_ids[0], 0);
		      mock_dev_attach(self->fd, self->stdev_ids[0],
				      self->nested_ids[0]);
		      mock_dev_attach(self->fd, self->stdev_ids[1],
				      self->nested_ids[0]);
		      mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	      }));
}

TEST_F(fail_nth, hw_info)
{
	struct iommu_test_hw_info info;

	SWEEP(2, ({
		struct iommu_hw_info cmd = {
			.size = sizeof(cmd),
			.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE,
			.dev_id = self->dev_ids[0],
			.data_uptr = (uintptr_t)&info,
			.data_len = sizeof(info),
			.in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST,
		};

		call(self->fd, IOMMU_GET_HW_INFO, &cmd);
	      }), {}, {});
}

/* Everything that can be destroyed is, without an excuse to fail */
TEST_F(fail_nth, destroy)
{
	__u32 vdev_id, id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10,
		      &vdev_id);
	SWEEP(0, __do_destroy(self->fd, vdev_id), {},
	      ASSERT_EQ(0, __vdevice_alloc(self->fd, self->viommu_id,
					   self->dev_ids[0], 0x10, &vdev_id)));
	viommu_alloc(self->fd, self->dev_ids[0], self->parent_id, &id);
	SWEEP(0, __do_destroy(self->fd, id), {},
	      ASSERT_EQ(0, __viommu_alloc(self->fd, self->dev_ids[0],
					  self->parent_id, &id)));
	/* The device takes it along, and its ID is retired nevertheless */
	SWEEP(0, __mock_dev_unbind(self->fd, self->stdev_ids[0]), {}, ({
		      EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_id));
		      mock_dev_bind(self->fd, self->stdev_ids[0],
				    &self->dev_ids[0]);
		      vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				    0x10, &vdev_id);
	      }));
}

TEST_HARNESS_MAIN
