// SPDX-License-Identifier: GPL-2.0-only
/*
 * Groups of several devices behind a vIOMMU, on the mock driver
 *
 * Devices of a group join and leave its attachment, and report page faults.
 */
#include "iommufd_viommu_fixtures.h"

/* ---- Groups ---- */

#define EXPECT_GROUP_STATE(_state, _virt_id0, _virt_id1, _bridge_state)      \
	({                                                                   \
		EXPECT_STATE(self->stdev_ids[0], _state, _virt_id0);         \
		EXPECT_STATE(self->stdev_ids[1], _state, _virt_id1);         \
		EXPECT_STATE(self->bridge_id, _bridge_state, NO_VIRT_ID);    \
	})

TEST_F(group, attach)
{
	__u32 vdev_ids[2];

	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_ids[0], self->nested_id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10,
		      &vdev_ids[0]);
	/* The other one lacks it, whichever is named */
	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_ids[0], self->nested_id));
	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_ids[1], self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_OTHER, NO_VIRT_ID, NO_VIRT_ID,
			   MOCK_DEV_STATE_OTHER);
	/* and nothing is pinned by that */
	test_ioctl_destroy(vdev_ids[0]);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10,
		      &vdev_ids[0]);

	/* Bypass takes none of them */
	dev_replace(self->fd, self->stdev_ids[0], self->bypass_id);
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_BYPASS, 0x10, NO_VIRT_ID,
			   MOCK_DEV_STATE_BYPASS);
	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_ids[1], self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_BYPASS, 0x10, NO_VIRT_ID,
			   MOCK_DEV_STATE_BYPASS);

	/* Each its own ID, the bridge none and stage 2 alone */
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1], 0x20,
		      &vdev_ids[1]);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x10, 0x20,
			   MOCK_DEV_STATE_STAGE2);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[0]));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[1]));

	dev_replace(self->fd, self->stdev_ids[1], self->ioas_id);
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_OTHER, NO_VIRT_ID, NO_VIRT_ID,
			   MOCK_DEV_STATE_OTHER);
	test_ioctl_destroy(vdev_ids[0]);
	test_ioctl_destroy(vdev_ids[1]);
}

TEST_F(group, leave_and_join)
{
	__u32 vdev_ids[2];

	group_vdevices_alloc(vdev_ids);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);

	/* One leaves: plain stage 2 for it, and its vDEVICE is free */
	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_TRANSLATE, 0x20);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[1]));
	EXPECT_EQ(0, __do_destroy(self->fd, vdev_ids[0]));

	/* It joins: only what the others have, and with a vDEVICE */
	EXPECT_EQ(EINVAL, __mock_dev_attach(self->fd, self->stdev_ids[0],
					    self->bypass_id));
	EXPECT_EQ(ENOENT, __mock_dev_attach(self->fd, self->stdev_ids[0],
					    self->nested_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x11,
		      &vdev_ids[0]);
	mock_dev_attach(self->fd, self->stdev_ids[0], self->nested_id);
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x11, 0x20,
			   MOCK_DEV_STATE_STAGE2);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[0]));

	/* The other one goes for good, its vDEVICE with it */
	test_ioctl_destroy(self->stdev_ids[1]);
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_ids[1]));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x11);

	/* The last one */
	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_STATE(self->bridge_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_EQ(0, __do_destroy(self->fd, vdev_ids[0]));
}

/* The same where the group's domain does not translate */
TEST_F(group, leave_and_join_bypass)
{
	__u32 vdev_id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10,
		      &vdev_id);
	dev_replace(self->fd, self->stdev_ids[0], self->bypass_id);
	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	mock_dev_attach(self->fd, self->stdev_ids[0], self->bypass_id);
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_BYPASS, 0x10);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->bypass_id);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	test_ioctl_destroy(vdev_id);
}

/* A member that is bound, but has never been attached */
TEST_F(group, bound_only)
{
	__u32 stdev_id, dev_id, vdev_ids[3];

	mock_dev_add_bind(self->fd, 0, self->stdev_ids[0], &stdev_id, &dev_id);
	group_vdevices_alloc(vdev_ids);
	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_ids[0], self->nested_id));
	vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x30, &vdev_ids[2]);
	EXPECT_EQ(0,
		  __dev_replace(self->fd, self->stdev_ids[0], self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x10, 0x20,
			   MOCK_DEV_STATE_STAGE2);
}

/* Devices that come while the group is attached */
TEST_F(group, hotplug)
{
	__u32 late_id, late_dev_id, late_bridge_id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10, NULL);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1], 0x20, NULL);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);

	mock_dev_add(self->fd, 0, self->stdev_ids[0], &late_bridge_id);
	EXPECT_STATE(late_bridge_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	mock_dev_add_bind(self->fd, 0, self->stdev_ids[0], &late_id,
			  &late_dev_id);
	EXPECT_STATE(late_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_EQ(ENOENT,
		  __mock_dev_attach(self->fd, late_id, self->nested_id));
	vdevice_alloc(self->fd, self->viommu_id, late_dev_id, 0x30, NULL);
	mock_dev_attach(self->fd, late_id, self->nested_id);
	EXPECT_STATE(late_id, MOCK_DEV_STATE_TRANSLATE, 0x30);

	test_ioctl_destroy(late_bridge_id);
	test_ioctl_destroy(self->bridge_id);
	mock_dev_unbind(self->fd, late_id);
	EXPECT_STATE(late_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	dev_replace(self->fd, self->stdev_ids[0], self->bypass_id);
}

/* A device that user space has detached is like one that nobody bound */
TEST_F(group, replace_leaves_detached_device_out)
{
	__u32 vdev_ids[2], other_id;

	nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &other_id);
	group_vdevices_alloc(vdev_ids);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);

	/* The guest writes the STE of the other one: no stage 1, and no pin */
	dev_replace(self->fd, self->stdev_ids[0], other_id);
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
}

TEST_F(group, replace_needs_no_vdevice_of_detached_device)
{
	__u32 vdev_ids[2], other_id;

	nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &other_id);
	group_vdevices_alloc(vdev_ids);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	EXPECT_EQ(0, __do_destroy(self->fd, vdev_ids[1]));

	EXPECT_EQ(0, __dev_replace(self->fd, self->stdev_ids[0], other_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);

	/* A vDEVICE that it gets now changes nothing until it is attached */
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1], 0x21,
		      &vdev_ids[1]);
	EXPECT_EQ(0,
		  __dev_replace(self->fd, self->stdev_ids[0], self->nested_id));
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->nested_id);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_TRANSLATE, 0x21);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[1]));
}

/* The group is attached anew after both devices were detached */
TEST_F(group, attach_after_both_detached)
{
	__u32 vdev_ids[2];

	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);

	EXPECT_EQ(ENOENT, __mock_dev_attach(self->fd, self->stdev_ids[0],
					    self->nested_id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10,
		      &vdev_ids[0]);
	EXPECT_EQ(0, __mock_dev_attach(self->fd, self->stdev_ids[0],
				       self->nested_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);

	EXPECT_EQ(ENOENT, __mock_dev_attach(self->fd, self->stdev_ids[1],
					    self->nested_id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1], 0x20,
		      &vdev_ids[1]);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->nested_id);
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x10, 0x20,
			   MOCK_DEV_STATE_STAGE2);
}

/*
 * The attach of the second device fails, and the first one goes back. The mock
 * driver checks which domain each device leaves; the fixture counts its errors.
 */
TEST_F(group, attach_of_second_device_fails)
{
	__u32 stdev_id, dev_id, hwpt_id, vdev_ids[3];

	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_NO_DIRTY,
			  self->stdev_ids[0], &stdev_id, &dev_id);
	hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
		   IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id);

	EXPECT_EQ(EINVAL, __dev_replace(self->fd, self->stdev_ids[0], hwpt_id));
	/* Nothing is left of it: the HWPT can go, and other moves succeed */
	EXPECT_EQ(0, __do_destroy(self->fd, hwpt_id));

	group_vdevices_alloc(vdev_ids);
	vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x30, &vdev_ids[2]);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
	hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
		   IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id);
	EXPECT_EQ(EINVAL, __dev_replace(self->fd, self->stdev_ids[0], hwpt_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x10, 0x20,
			   MOCK_DEV_STATE_STAGE2);
	EXPECT_STATE(stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x30);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[2]));
	EXPECT_EQ(0, __do_destroy(self->fd, hwpt_id));
}

/* What was no member of the old attachment is none when it is put back */
TEST_F(group, failed_replace_enlists_nobody)
{
	__u32 stdev_ids[2], dev_ids[2], hwpt_id, vdev_ids[4];

	group_vdevices_alloc(vdev_ids);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);

	/* One that comes late, and one that the replace below fails at */
	mock_dev_add_bind(self->fd, 0, self->stdev_ids[0], &stdev_ids[0],
			  &dev_ids[0]);
	vdevice_alloc(self->fd, self->viommu_id, dev_ids[0], 0x30,
		      &vdev_ids[2]);
	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_NO_DIRTY,
			  self->stdev_ids[0], &stdev_ids[1], &dev_ids[1]);
	hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
		   IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id);

	EXPECT_EQ(EINVAL, __dev_replace(self->fd, self->stdev_ids[0], hwpt_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_STATE(stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_ids[0]));
	EXPECT_EQ(0, __do_destroy(self->fd, vdev_ids[1]));
	EXPECT_EQ(0, __do_destroy(self->fd, vdev_ids[2]));
}

/* ---- Page faults of a group ---- */

static int trigger_fault(int fd, __u32 dev_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_IOPF,
		.trigger_iopf = {
			.dev_id = dev_id,
			.pasid = 0x1,
			.grpid = 0x2,
			.perm = IOMMU_PGFAULT_PERM_READ,
			.addr = 0xdeadbeaf,
		},
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* Read a fault without waiting; 0 if there is none */
static __u32 read_fault(int fault_fd, __u32 *cookie)
{
	struct iommu_hwpt_pgfault fault = {};

	if (read(fault_fd, &fault, sizeof(fault)) != sizeof(fault))
		return 0;
	if (cookie)
		*cookie = fault.cookie;
	return fault.dev_id;
}

static int answer_fault(int fault_fd, __u32 cookie)
{
	struct iommu_hwpt_page_response response = {
		.cookie = cookie,
		.code = IOMMUFD_PAGE_RESP_SUCCESS,
	};

	return write(fault_fd, &response, sizeof(response)) ==
			       sizeof(response) ? 0 : errno;
}

FIXTURE(group_faults)
{
	int fd;
	__u32 fault_fd;
	__u32 ioas_id;
	__u32 fault_id;
	__u32 hwpt_id;
	__u32 stdev_ids[2];
	__u32 dev_ids[2];
};

/* Two devices of one group, and a HWPT with a fault queue */
FIXTURE_SETUP(group_faults)
{
	int i;

	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_NOTHING_BEFORE();

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	for (i = 0; i < 2; i++)
		mock_dev_add_bind(self->fd, 0, i ? self->stdev_ids[0] : 0,
				  &self->stdev_ids[i], &self->dev_ids[i]);
	test_ioctl_fault_alloc(&self->fault_id, &self->fault_fd);
	/* A mock device faults with a PASID, which a nested HWPT delivers */
	hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
		   IOMMU_HWPT_ALLOC_NEST_PARENT, &self->hwpt_id);
	{
		struct iommu_hwpt_selftest data = {
			.iotlb = IOMMU_TEST_IOTLB_DEFAULT,
		};
		__u32 parent_id = self->hwpt_id, viommu_id;

		viommu_alloc(self->fd, self->dev_ids[0], parent_id, &viommu_id);
		for (i = 0; i < 2; i++)
			vdevice_alloc(self->fd, viommu_id, self->dev_ids[i],
				      i + 1, NULL);
		ASSERT_EQ(0, _test_cmd_hwpt_alloc(self->fd, self->dev_ids[0],
						  viommu_id, self->fault_id,
						  IOMMU_HWPT_FAULT_ID_VALID,
						  &self->hwpt_id,
						  IOMMU_HWPT_DATA_SELFTEST,
						  &data, sizeof(data)));
	}
}

FIXTURE_TEARDOWN(group_faults)
{
	close(self->fault_fd);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

TEST_F(group_faults, each_device_is_named)
{
	__u32 cookie;
	int i;

	for (i = 0; i < 2; i++)
		mock_dev_attach(self->fd, self->stdev_ids[i], self->hwpt_id);
	for (i = 1; i >= 0; i--) {
		ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[i]));
		EXPECT_EQ(self->dev_ids[i],
			  read_fault(self->fault_fd, &cookie));
		EXPECT_EQ(0, answer_fault(self->fault_fd, cookie));
	}
}

/* The first device goes for good; the second one faults on */
TEST_F(group_faults, first_device_is_unbound)
{
	__u32 cookie, lost;

	mock_dev_attach(self->fd, self->stdev_ids[0], self->hwpt_id);
	mock_dev_attach(self->fd, self->stdev_ids[1], self->hwpt_id);

	/* One of its faults is read, one is not, and one is the other's */
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[0]));
	EXPECT_EQ(self->dev_ids[0], read_fault(self->fault_fd, &lost));
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[0]));
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[1]));
	mock_dev_unbind(self->fd, self->stdev_ids[0]);

	EXPECT_EQ(EINVAL, answer_fault(self->fault_fd, lost));
	EXPECT_EQ(self->dev_ids[1], read_fault(self->fault_fd, &cookie));
	EXPECT_EQ(0, answer_fault(self->fault_fd, cookie));
	EXPECT_EQ(0, read_fault(self->fault_fd, NULL));

	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[1]));
	EXPECT_EQ(self->dev_ids[1], read_fault(self->fault_fd, &cookie));
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	EXPECT_EQ(EINVAL, answer_fault(self->fault_fd, cookie));
}

/* A replace gives both devices a fault queue, and takes it away */
TEST_F(group_faults, replace_enables_and_disables)
{
	__u32 cookie;
	int i, round;

	for (i = 0; i < 2; i++)
		mock_dev_attach(self->fd, self->stdev_ids[i], self->ioas_id);
	for (round = 0; round < 2; round++) {
		mock_dev_attach(self->fd, self->stdev_ids[0], self->hwpt_id);
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[i]));
			EXPECT_EQ(self->dev_ids[i],
				  read_fault(self->fault_fd, &cookie));
			EXPECT_EQ(0, answer_fault(self->fault_fd, cookie));
		}
		mock_dev_attach(self->fd, self->stdev_ids[1], self->ioas_id);
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[i]));
		EXPECT_EQ(0, read_fault(self->fault_fd, NULL));
	}
}

/* A device that is bound only has no faults enabled: no fault, no warning */
TEST_F(group_faults, bound_device_cannot_fault)
{
	mock_dev_attach(self->fd, self->stdev_ids[0], self->hwpt_id);
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[1]));
	EXPECT_EQ(0, read_fault(self->fault_fd, NULL));
}

/* A file that is closed takes the whole group along */
TEST_F(group, close_attached)
{
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0], 0x10, NULL);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1], 0x20, NULL);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
}

TEST_HARNESS_MAIN
