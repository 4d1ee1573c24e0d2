// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that are reset, on the mock driver
 *
 * The IOMMU blocks a device from the begin to the end of a reset. These tests look
 * at where the driver sees the device, and at what user space gets meanwhile. The
 * mock driver complains of every call for a blocked device.
 */
#include <pthread.h>

#include "iommufd_viommu_fixtures.h"

#define PASID 5

static int dev_reset(int fd, __u32 stdev_id, __u32 what, int result)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = stdev_id,
		.dev_reset = { .what = what, .result = result },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

static int pasid_op(int fd, __u32 stdev_id, __u32 what, __u32 hwpt_id,
		    __u32 pasid)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = stdev_id,
		.dev_reset = {
			.what = what,
			.hwpt_id = hwpt_id,
			.pasid = pasid,
		},
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* Returns where the device is, MOCK_RESET_ON_*, or -1 */
static int dev_where(int fd, __u32 stdev_id, __u32 hwpt_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = stdev_id,
		.dev_reset = { .what = MOCK_RESET_STATE, .hwpt_id = hwpt_id },
	};

	if (call(fd, IOMMU_TEST_CMD, &cmd))
		return -1;
	return cmd.dev_reset.out_attached;
}

/* Returns 1 if the hardware has the PASID with the HWPT, 0 if not, or -1 */
static int dev_has_pasid(int fd, __u32 stdev_id, __u32 hwpt_id, __u32 pasid)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = stdev_id,
		.dev_reset = {
			.what = MOCK_RESET_STATE,
			.hwpt_id = hwpt_id,
			.pasid = pasid,
		},
	};

	if (call(fd, IOMMU_TEST_CMD, &cmd))
		return -1;
	return cmd.dev_reset.out_pasid;
}

static int dev_forgotten(int fd, __u32 stdev_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = stdev_id,
		.dev_reset = { .what = MOCK_RESET_STATE },
	};

	if (call(fd, IOMMU_TEST_CMD, &cmd))
		return -1;
	return cmd.dev_reset.out_forgotten;
}

#define reset_begin(_stdev_id) \
	ASSERT_EQ(0, dev_reset(self->fd, _stdev_id, MOCK_RESET_BEGIN, 0))
#define reset_end(_stdev_id, _result) \
	ASSERT_EQ(0, dev_reset(self->fd, _stdev_id, MOCK_RESET_END, _result))
#define EXPECT_ON(_where, _stdev_id, _hwpt_id) \
	EXPECT_EQ(MOCK_RESET_ON_##_where, \
		  dev_where(self->fd, _stdev_id, _hwpt_id))

/* ---- A device with PASIDs, and two HWPTs ---- */

FIXTURE(reset)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 hwpt_id;
	__u32 other_id;
};

FIXTURE_SETUP(reset)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_NOTHING_BEFORE();

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_PASID, 0,
			  &self->stdev_id, &self->dev_id);
	hwpt_alloc(self->fd, self->dev_id, self->ioas_id, 0, &self->hwpt_id);
	hwpt_alloc(self->fd, self->dev_id, self->ioas_id, 0, &self->other_id);
	mock_dev_attach(self->fd, self->stdev_id, self->hwpt_id);
}

FIXTURE_TEARDOWN(reset)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

TEST_F(reset, blocks_and_restores)
{
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
	reset_begin(self->stdev_id);
	EXPECT_ON(BLOCKED, self->stdev_id, self->hwpt_id);
	reset_end(self->stdev_id, 0);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
	/* and nothing is left of it */
	dev_replace(self->fd, self->stdev_id, self->other_id);
	EXPECT_ON(HWPT, self->stdev_id, self->other_id);
	EXPECT_EQ(0, dev_forgotten(self->fd, self->stdev_id));
}

TEST_F(reset, replace_is_busy)
{
	reset_begin(self->stdev_id);
	EXPECT_EQ(EBUSY,
		  __dev_replace(self->fd, self->stdev_id, self->other_id));
	/* The refused HWPT is not in use, and the old one still is */
	test_ioctl_destroy(self->other_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->hwpt_id));
	reset_end(self->stdev_id, 0);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
}

TEST_F(reset, attach_is_busy)
{
	mock_dev_attach(self->fd, self->stdev_id, 0);
	reset_begin(self->stdev_id);
	EXPECT_EQ(EBUSY,
		  __mock_dev_attach(self->fd, self->stdev_id, self->hwpt_id));
	test_ioctl_destroy(self->hwpt_id);
	reset_end(self->stdev_id, 0);
	EXPECT_ON(BLOCKED, self->stdev_id, self->other_id);
	mock_dev_attach(self->fd, self->stdev_id, self->other_id);
	EXPECT_ON(HWPT, self->stdev_id, self->other_id);
}

/* What is destroyed meanwhile does not come back */
TEST_F(reset, detach_goes_through)
{
	reset_begin(self->stdev_id);
	mock_dev_attach(self->fd, self->stdev_id, 0);
	EXPECT_EQ(1, dev_forgotten(self->fd, self->stdev_id));
	test_ioctl_destroy(self->hwpt_id);
	EXPECT_ON(BLOCKED, self->stdev_id, 0);
	reset_end(self->stdev_id, 0);
	EXPECT_ON(BLOCKED, self->stdev_id, 0);
	mock_dev_attach(self->fd, self->stdev_id, self->other_id);
	EXPECT_ON(HWPT, self->stdev_id, self->other_id);
}

TEST_F(reset, unbind_goes_through)
{
	__u32 dev_id;

	reset_begin(self->stdev_id);
	mock_dev_attach(self->fd, self->stdev_id, 0);
	mock_dev_unbind(self->fd, self->stdev_id);
	reset_end(self->stdev_id, 0);
	mock_dev_bind(self->fd, self->stdev_id, &dev_id);
	mock_dev_attach(self->fd, self->stdev_id, self->hwpt_id);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
}

TEST_F(reset, device_goes_away)
{
	reset_begin(self->stdev_id);
	test_ioctl_destroy(self->stdev_id);
	test_ioctl_destroy(self->hwpt_id);
}

TEST_F(reset, nests)
{
	int i;

	for (i = 0; i != 3; i++)
		reset_begin(self->stdev_id);
	for (i = 0; i != 3; i++) {
		EXPECT_ON(BLOCKED, self->stdev_id, self->hwpt_id);
		EXPECT_EQ(EBUSY, __dev_replace(self->fd, self->stdev_id,
					       self->other_id));
		reset_end(self->stdev_id, 0);
	}
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
	EXPECT_EQ(EINVAL,
		  dev_reset(self->fd, self->stdev_id, MOCK_RESET_END, 0));
}

TEST_F(reset, stays_blocked_until_one_succeeds)
{
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, -EIO);
	EXPECT_ON(BLOCKED, self->stdev_id, self->hwpt_id);
	EXPECT_EQ(EBUSY,
		  __dev_replace(self->fd, self->stdev_id, self->other_id));

	/* One that was not tried changes nothing */
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, -ENOTTY);
	EXPECT_ON(BLOCKED, self->stdev_id, self->hwpt_id);

	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, 0);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
	dev_replace(self->fd, self->stdev_id, self->other_id);
}

TEST_F(reset, not_tried)
{
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, -ENOTTY);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
}

/* The kernel tries one method after the other, and a method can contain another */
TEST_F(reset, last_result_counts)
{
	reset_begin(self->stdev_id);
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, -EIO);
	reset_end(self->stdev_id, -ENOTTY);
	EXPECT_ON(BLOCKED, self->stdev_id, self->hwpt_id);

	reset_begin(self->stdev_id);
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, 0);
	reset_end(self->stdev_id, -EIO);
	EXPECT_ON(BLOCKED, self->stdev_id, self->hwpt_id);

	reset_begin(self->stdev_id);
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, -EIO);
	reset_end(self->stdev_id, 0);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
}

TEST_F(reset, detach_after_failure)
{
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, -EIO);
	mock_dev_attach(self->fd, self->stdev_id, 0);
	test_ioctl_destroy(self->hwpt_id);
	EXPECT_EQ(EBUSY,
		  __mock_dev_attach(self->fd, self->stdev_id, self->other_id));
	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, 0);
	mock_dev_attach(self->fd, self->stdev_id, self->other_id);
}

TEST_F(reset, failed_restore_leaves_it_blocked)
{
	ASSERT_EQ(0, pasid_op(self->fd, self->stdev_id, MOCK_RESET_ATTACH_PASID,
			      self->other_id, PASID));
	reset_begin(self->stdev_id);
	ASSERT_EQ(0, dev_reset(self->fd, self->stdev_id, MOCK_RESET_FAIL_ATTACH,
			       0));
	reset_end(self->stdev_id, 0);
	EXPECT_ON(BLOCKED, self->stdev_id, self->hwpt_id);
	EXPECT_EQ(0, dev_has_pasid(self->fd, self->stdev_id, self->other_id,
				   PASID));
	EXPECT_EQ(EBUSY,
		  __dev_replace(self->fd, self->stdev_id, self->other_id));

	reset_begin(self->stdev_id);
	reset_end(self->stdev_id, 0);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
	EXPECT_EQ(1, dev_has_pasid(self->fd, self->stdev_id, self->other_id,
				   PASID));
}

TEST_F(reset, pasids_come_back)
{
	ASSERT_EQ(0, pasid_op(self->fd, self->stdev_id, MOCK_RESET_ATTACH_PASID,
			      self->other_id, PASID));
	ASSERT_EQ(0, pasid_op(self->fd, self->stdev_id, MOCK_RESET_ATTACH_PASID,
			      self->hwpt_id, PASID + 1));
	EXPECT_EQ(1, dev_has_pasid(self->fd, self->stdev_id, self->other_id,
				   PASID));

	reset_begin(self->stdev_id);
	EXPECT_EQ(0, dev_has_pasid(self->fd, self->stdev_id, self->other_id,
				   PASID));
	EXPECT_EQ(0, dev_has_pasid(self->fd, self->stdev_id, self->hwpt_id,
				   PASID + 1));
	EXPECT_EQ(EBUSY,
		  pasid_op(self->fd, self->stdev_id, MOCK_RESET_ATTACH_PASID,
			   self->hwpt_id, PASID + 2));
	/* One of them is detached meanwhile */
	ASSERT_EQ(0, pasid_op(self->fd, self->stdev_id, MOCK_RESET_DETACH_PASID,
			      0, PASID + 1));

	reset_end(self->stdev_id, 0);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
	EXPECT_EQ(1, dev_has_pasid(self->fd, self->stdev_id, self->other_id,
				   PASID));
	EXPECT_EQ(0, dev_has_pasid(self->fd, self->stdev_id, self->hwpt_id,
				   PASID + 1));
	ASSERT_EQ(0, pasid_op(self->fd, self->stdev_id, MOCK_RESET_ATTACH_PASID,
			      self->hwpt_id, PASID + 2));
}

/* The Requester ID is attached to nothing but the blocking domain all the time */
TEST_F(reset, pasids_alone)
{
	mock_dev_attach(self->fd, self->stdev_id, 0);
	ASSERT_EQ(0, pasid_op(self->fd, self->stdev_id, MOCK_RESET_ATTACH_PASID,
			      self->other_id, PASID));
	reset_begin(self->stdev_id);
	EXPECT_EQ(0, dev_has_pasid(self->fd, self->stdev_id, self->other_id,
				   PASID));
	reset_end(self->stdev_id, 0);
	EXPECT_EQ(1, dev_has_pasid(self->fd, self->stdev_id, self->other_id,
				   PASID));
	EXPECT_ON(BLOCKED, self->stdev_id, self->other_id);
}

/* ---- A group ---- */

TEST_F(group, others_keep_running)
{
	EXPECT_ON(OTHER, self->stdev_ids[0], 0);
	EXPECT_ON(OTHER, self->stdev_ids[1], 0);
	EXPECT_ON(OTHER, self->bridge_id, 0);
	reset_begin(self->stdev_ids[0]);
	EXPECT_ON(BLOCKED, self->stdev_ids[0], 0);
	EXPECT_ON(OTHER, self->stdev_ids[1], 0);
	EXPECT_ON(OTHER, self->bridge_id, 0);
	/* None of them can leave the domain in which one is not */
	EXPECT_EQ(EBUSY, __dev_replace(self->fd, self->stdev_ids[1],
				       self->parent_id));
	reset_end(self->stdev_ids[0], 0);
	EXPECT_ON(OTHER, self->stdev_ids[0], 0);
	dev_replace(self->fd, self->stdev_ids[1], self->parent_id);
	EXPECT_ON(HWPT, self->stdev_ids[0], self->parent_id);
}

TEST_F(group, counts_are_per_device)
{
	reset_begin(self->stdev_ids[0]);
	reset_begin(self->stdev_ids[1]);
	reset_end(self->stdev_ids[0], 0);
	EXPECT_ON(OTHER, self->stdev_ids[0], 0);
	EXPECT_ON(BLOCKED, self->stdev_ids[1], 0);
	EXPECT_EQ(EBUSY, __dev_replace(self->fd, self->stdev_ids[0],
				       self->parent_id));
	reset_end(self->stdev_ids[1], 0);
	EXPECT_ON(OTHER, self->stdev_ids[1], 0);
}

TEST_F(group, last_detach_takes_the_others)
{
	reset_begin(self->stdev_ids[0]);
	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	mock_dev_attach(self->fd, self->stdev_ids[1], 0);
	EXPECT_ON(BLOCKED, self->stdev_ids[0], 0);
	EXPECT_ON(BLOCKED, self->stdev_ids[1], 0);
	reset_end(self->stdev_ids[0], 0);
	EXPECT_ON(BLOCKED, self->stdev_ids[0], 0);
}

/* A device that joins the group is not in reset */
TEST_F(group, device_comes)
{
	__u32 stdev_id;

	reset_begin(self->stdev_ids[0]);
	mock_dev_add(self->fd, 0, self->stdev_ids[0], &stdev_id);
	EXPECT_ON(OTHER, stdev_id, 0);
	reset_end(self->stdev_ids[0], 0);
	EXPECT_ON(OTHER, self->stdev_ids[0], 0);
}

/* ---- A vIOMMU ---- */

TEST_F(viommu, virt_id_comes_back)
{
	__u32 vdev_id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 0x10, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x10);

	reset_begin(self->stdev_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));
	EXPECT_EQ(EBUSY,
		  __dev_replace(self->fd, self->stdev_id, self->bypass_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));

	reset_end(self->stdev_id, 0);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));
}

/* In bypass, VMMs destroy the vDEVICE whenever they like */
TEST_F(viommu, virt_id_goes_meanwhile)
{
	__u32 vdev_id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 0x10, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->bypass_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, 0x10);
	reset_begin(self->stdev_id);
	test_ioctl_destroy(vdev_id);
	reset_end(self->stdev_id, 0);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
}

TEST_F(group, member_leaves_meanwhile)
{
	__u32 vdev_ids[2];

	group_vdevices_alloc(vdev_ids);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
	reset_begin(self->stdev_ids[0]);

	/* The driver does nothing for it, and its vDEVICE is free */
	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_TRANSLATE, 0x20);

	/* It cannot join again now */
	EXPECT_EQ(EBUSY, __mock_dev_attach(self->fd, self->stdev_ids[0],
					   self->nested_id));
	reset_end(self->stdev_ids[0], 0);
	/* It gets stage 2 alone, although its vDEVICE is there */
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	mock_dev_attach(self->fd, self->stdev_ids[0], self->nested_id);
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);

	mock_dev_attach(self->fd, self->stdev_ids[0], 0);
	test_ioctl_destroy(vdev_ids[0]);
}

/* A device that nobody has attached yet gets no more by a reset than it had */
TEST_F(group, no_member_gets_stage_2)
{
	__u32 vdev_ids[2], stdev_id, dev_id, vdev_id;

	group_vdevices_alloc(vdev_ids);
	dev_replace(self->fd, self->stdev_ids[0], self->nested_id);
	mock_dev_add(self->fd, 0, self->stdev_ids[0], &stdev_id);
	mock_dev_bind(self->fd, stdev_id, &dev_id);
	vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x30, &vdev_id);
	EXPECT_STATE(stdev_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);

	reset_begin(stdev_id);
	reset_end(stdev_id, 0);
	EXPECT_STATE(stdev_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	/* So nobody holds its vDEVICE */
	test_ioctl_destroy(vdev_id);
	EXPECT_STATE(stdev_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
}

/* ---- Races ---- */

struct race {
	int fd;
	__u32 stdev_id;
	__u32 hwpt_ids[2];
	int unexpected;
};

#define RACE_ROUNDS 2000

static void *race_resets(void *arg)
{
	struct race *race = arg;
	int i;

	for (i = 0; i != RACE_ROUNDS; i++) {
		if (dev_reset(race->fd, race->stdev_id, MOCK_RESET_BEGIN, 0))
			race->unexpected++;
		if (dev_reset(race->fd, race->stdev_id, MOCK_RESET_END, 0))
			race->unexpected++;
	}
	return NULL;
}

TEST_F_TIMEOUT(reset, races_with_attach, 300)
{
	struct race race = {
		.fd = self->fd,
		.stdev_id = self->stdev_id,
	};
	unsigned int busy = 0, done = 0;
	pthread_t thread;
	__u32 hwpt_id;
	int rc;

	ASSERT_EQ(0, pthread_create(&thread, NULL, race_resets, &race));
	while (pthread_tryjoin_np(thread, NULL)) {
		hwpt_alloc(self->fd, self->dev_id, self->ioas_id, 0, &hwpt_id);
		rc = __dev_replace(self->fd, self->stdev_id, hwpt_id);
		if (rc == EBUSY)
			busy++;
		else if (!rc)
			done++;
		else
			EXPECT_EQ(0, rc);
		/* Its HWPT may be gone before the reset ends */
		mock_dev_attach(self->fd, self->stdev_id, 0);
		test_ioctl_destroy(hwpt_id);
		do {
			rc = __mock_dev_attach(self->fd, self->stdev_id,
					       self->hwpt_id);
		} while (rc == EBUSY);
		ASSERT_EQ(0, rc);
	}
	EXPECT_EQ(0, race.unexpected);
	EXPECT_ON(HWPT, self->stdev_id, self->hwpt_id);
	TH_LOG("%u attached, %u busy", done, busy);
}

TEST_HARNESS_MAIN
