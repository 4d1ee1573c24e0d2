// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMU, vDEVICE and nested domains of a vIOMMU, on the mock driver
 *
 * What user space may ask for and what it gets for a mistake. After each test
 * the mock driver tells whether all of its objects are gone.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <sys/eventfd.h>

#include "iommufd_viommu.h"

/* Entries that the mock driver copies at a time, to test around */
#define INVALIDATE_BLOCK 16
#define INVALIDATE_NUM_MAX 524288

static int nested_alloc_data(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
			     __u32 fault_id, __u32 type, void *data,
			     size_t len, __u32 *hwpt_id)
{
	return _test_cmd_hwpt_alloc(fd, dev_id, pt_id, fault_id, flags, hwpt_id,
				    type, data, len) ? errno : 0;
}

/* ---- No objects needed ---- */

FIXTURE(abi) {
	int fd;
};

FIXTURE_SETUP(abi)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
}

FIXTURE_TEARDOWN(abi)
{
	close(self->fd);
}

static_assert(sizeof(struct iommu_viommu_alloc) == 40, "iommu_viommu_alloc");
ASSERT_FIELD(iommu_viommu_alloc, size, 0, 4);
ASSERT_FIELD(iommu_viommu_alloc, flags, 4, 4);
ASSERT_FIELD(iommu_viommu_alloc, type, 8, 4);
ASSERT_FIELD(iommu_viommu_alloc, dev_id, 12, 4);
ASSERT_FIELD(iommu_viommu_alloc, hwpt_id, 16, 4);
ASSERT_FIELD(iommu_viommu_alloc, out_viommu_id, 20, 4);
ASSERT_FIELD(iommu_viommu_alloc, data_len, 24, 4);
ASSERT_FIELD(iommu_viommu_alloc, __reserved, 28, 4);
ASSERT_FIELD(iommu_viommu_alloc, data_uptr, 32, 8);
static_assert(sizeof(struct iommu_vdevice_alloc) == 24, "iommu_vdevice_alloc");
ASSERT_FIELD(iommu_vdevice_alloc, size, 0, 4);
ASSERT_FIELD(iommu_vdevice_alloc, viommu_id, 4, 4);
ASSERT_FIELD(iommu_vdevice_alloc, dev_id, 8, 4);
ASSERT_FIELD(iommu_vdevice_alloc, out_vdevice_id, 12, 4);
ASSERT_FIELD(iommu_vdevice_alloc, virt_id, 16, 8);
ASSERT_FIELD(iommu_hw_info, out_data_type, 24, 4);
ASSERT_FIELD(iommu_hw_info, in_data_type, 24, 4);
static_assert(_IO(0x3b, 0x90) == IOMMU_VIOMMU_ALLOC, "IOMMU_VIOMMU_ALLOC");
static_assert(_IO(0x3b, 0x91) == IOMMU_VDEVICE_ALLOC, "IOMMU_VDEVICE_ALLOC");
static_assert(IOMMU_HW_INFO_FLAG_INPUT_TYPE == 1, "INPUT_TYPE");
static_assert(sizeof(struct iommu_test_cmd) == 72, "iommu_test_cmd");
static_assert(IOMMU_TEST_OP_DEV_CHECK_CACHE == 16, "DEV_CHECK_CACHE");

/* Each names an ID that does not exist: ENOENT says that the size was fine */
static struct iommu_viommu_alloc viommu_no_dev = {
	.type = IOMMU_VIOMMU_TYPE_SELFTEST,
	.dev_id = NO_SUCH_ID,
};

static struct iommu_vdevice_alloc vdevice_no_viommu = {
	.viommu_id = NO_SUCH_ID,
};

static struct iommu_hwpt_alloc hwpt_no_dev = { .dev_id = NO_SUCH_ID };

static struct iommu_hwpt_invalidate invalidate_no_hwpt = {
	.hwpt_id = NO_SUCH_ID,
};

static struct iommu_hw_info hw_info_no_dev = { .dev_id = NO_SUCH_ID };

static struct iommu_destroy destroy_no_obj = { .id = NO_SUCH_ID };

static const struct {
	const char *name;
	unsigned long cmd;
	const void *arg;
	unsigned int size;
	unsigned int min;
} abi_calls[] = {
	{ "VIOMMU_ALLOC", IOMMU_VIOMMU_ALLOC, &viommu_no_dev, 40, 24 },
	{ "VDEVICE_ALLOC", IOMMU_VDEVICE_ALLOC, &vdevice_no_viommu, 24, 24 },
	{ "HWPT_ALLOC", IOMMU_HWPT_ALLOC, &hwpt_no_dev,
	  sizeof(hwpt_no_dev), 24 },
	{ "HWPT_INVALIDATE", IOMMU_HWPT_INVALIDATE, &invalidate_no_hwpt, 32,
	  32 },
	{ "GET_HW_INFO", IOMMU_GET_HW_INFO, &hw_info_no_dev,
	  sizeof(hw_info_no_dev), 32 },
	{ "DESTROY", IOMMU_DESTROY, &destroy_no_obj, 8, 8 },
};

TEST_F(abi, sizes)
{
	unsigned int i, size;
	char *page = guarded_pages(1);
	char buf[200];

	ASSERT_NE(NULL, page);
	for (i = 0; i != ARRAY_SIZE(abi_calls); i++) {
		unsigned long cmd = abi_calls[i].cmd;
		unsigned int full = abi_calls[i].size;

		TH_LOG("%s", abi_calls[i].name);
		memset(buf, 0, sizeof(buf));
		memcpy(buf, abi_calls[i].arg, full);
		for (size = 0; size != sizeof(buf); size++) {
			*(__u32 *)buf = size;
			ASSERT_EQ(size < abi_calls[i].min ? EINVAL : ENOENT,
				  call(self->fd, cmd, buf));
		}

		/* Any byte that the kernel does not know must be 0 */
		*(__u32 *)buf = sizeof(buf);
		for (size = full; size != sizeof(buf); size++) {
			buf[size] = 1;
			ASSERT_EQ(E2BIG, call(self->fd, cmd, buf));
			buf[size] = 0;
		}

		/* The size can be read, the rest not */
		memcpy(page + PAGE_SIZE - full + 1, abi_calls[i].arg, full - 1);
		*(__u32 *)(page + PAGE_SIZE - full + 1) = full;
		EXPECT_EQ(EFAULT, call(self->fd, cmd,
				       page + PAGE_SIZE - full + 1));
		/* Nothing can be */
		EXPECT_EQ(EFAULT, call(self->fd, cmd, page + PAGE_SIZE));
		EXPECT_EQ(EFAULT, call(self->fd, cmd, NULL));
	}
}

TEST_F(abi, unknown_number)
{
	static const unsigned int numbers[] = {
		0x95, 0x96, 0x9f, 0xa1, 0xff,
#ifndef IOMMU_IOAS_MAP_FILE
		0x8f,
#endif
#ifndef IOMMU_IOAS_CHANGE_PROCESS
		0x92,
#endif
#ifndef IOMMU_VEVENTQ_ALLOC
		0x93,
#endif
#ifndef IOMMU_HW_QUEUE_ALLOC
		0x94,
#endif
	};
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(numbers); i++) {
		__u32 cmd[40] = { sizeof(cmd) };

		TH_LOG("0x%x", numbers[i]);
		EXPECT_EQ(ENOTTY,
			  call(self->fd, _IO(IOMMUFD_TYPE, numbers[i]), cmd));
	}
	/* The number is right, the type or a size in it not */
	EXPECT_EQ(ENOTTY, call(self->fd, _IOWR(0x3b, 0x90, __u64),
			       &viommu_no_dev));
}

/* ---- A device, a nest parent, a vIOMMU and domains of it ---- */

FIXTURE(viommu) {
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
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &self->viommu_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id));
	EXPECT_COUNTS(1, 0, 2);
}

FIXTURE_TEARDOWN(viommu)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

/* ---- IOMMU_VIOMMU_ALLOC ---- */

TEST_F(viommu, viommu_alloc_errors)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = self->dev_id,
		.hwpt_id = self->parent_id,
	};
	__u32 second_stdev_id, second_dev_id, second_parent_id, plain_id, id;
	__u32 auto_id;
	unsigned int bit;

	for (bit = 0; bit != 32; bit++) {
		cmd.flags = 1U << bit;
		EXPECT_EQ(EOPNOTSUPP,
			  call(self->fd, IOMMU_VIOMMU_ALLOC, &cmd));
	}
	cmd.flags = 0;

	for (id = 0; id != 4; id++)
		EXPECT_EQ(EOPNOTSUPP,
			  viommu_alloc_data(self->fd, id, self->dev_id,
					    self->parent_id, NULL, 0, NULL));
	EXPECT_EQ(EOPNOTSUPP,
		  viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST + 1,
				    self->dev_id, self->parent_id, NULL, 0,
				    NULL));

	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, NO_SUCH_ID, self->parent_id,
				       NULL));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, 0, self->parent_id, NULL));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->stdev_id,
				       self->parent_id, NULL));

	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev_id, NO_SUCH_ID,
				       NULL));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev_id, self->ioas_id,
				       NULL));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev_id, self->nested_id,
				       NULL));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev_id, self->viommu_id,
				       NULL));

	/* Paging, but not made to be a nest parent */
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id, 0, &plain_id);
	EXPECT_EQ(EINVAL, viommu_alloc(self->fd, self->dev_id, plain_id, NULL));
	test_ioctl_destroy(plain_id);
	ASSERT_EQ(0, _test_cmd_mock_domain(self->fd, self->ioas_id, &id,
					   &auto_id, NULL));
	EXPECT_EQ(EINVAL, viommu_alloc(self->fd, self->dev_id, auto_id, NULL));

	/* A nest parent of another IOMMU */
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU,
				       0, &second_stdev_id, &second_dev_id));
	test_cmd_hwpt_alloc(second_dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &second_parent_id);
	EXPECT_EQ(EINVAL, viommu_alloc(self->fd, second_dev_id,
				       self->parent_id, NULL));
	EXPECT_EQ(EINVAL, viommu_alloc(self->fd, self->dev_id,
				       second_parent_id, NULL));
	EXPECT_EQ(0, viommu_alloc(self->fd, second_dev_id, second_parent_id,
				  &id));
	test_ioctl_destroy(id);

	/* Nothing of all this holds anything */
	EXPECT_COUNTS(1, 0, 2);
	test_ioctl_destroy(second_parent_id);
	test_ioctl_destroy(second_stdev_id);
}

TEST_F(viommu, viommu_alloc_data)
{
	struct iommu_viommu_selftest data = { .in_data = 0xcafe1234 };
	struct {
		struct iommu_viommu_selftest data;
		__u64 more;
	} large = { .data.in_data = 1 };
	struct iommu_viommu_selftest *at_end;
	char *page = guarded_pages(1);
	__u32 id;

	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				       self->dev_id, self->parent_id, &data,
				       sizeof(data), &id));
	EXPECT_EQ(0xcafe1234, data.in_data);
	EXPECT_EQ(0xcafe1234, data.out_data);
	EXPECT_COUNTS(2, 0, 2);
	test_ioctl_destroy(id);

	EXPECT_EQ(EINVAL,
		  viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				    self->dev_id, self->parent_id, &data,
				    sizeof(data) - 1, &id));
	EXPECT_EQ(EINVAL,
		  viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				    self->dev_id, self->parent_id, &large,
				    sizeof(large), &id));
	EXPECT_EQ(EFAULT,
		  viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				    self->dev_id, self->parent_id, NULL,
				    sizeof(data), &id));
	EXPECT_EQ(EFAULT,
		  viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				    self->dev_id, self->parent_id,
				    page + PAGE_SIZE - 8, sizeof(data), &id));

	/* It can be read, but not be answered: the vIOMMU is destroyed again */
	at_end = (void *)(page + PAGE_SIZE - sizeof(*at_end));
	at_end->in_data = 7;
	ASSERT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(EFAULT,
		  viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				    self->dev_id, self->parent_id, at_end,
				    sizeof(*at_end), &id));
	EXPECT_EQ(0, at_end->out_data);
	EXPECT_COUNTS(1, 0, 2);
}

/* ---- IOMMU_VDEVICE_ALLOC ---- */

TEST_F(viommu, vdevice_alloc_errors)
{
	__u32 second_stdev_id, second_dev_id, viommu2_id, stdev_id, dev_id;
	__u32 vdev_id, id;

	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, NO_SUCH_ID, self->dev_id, 1,
					NULL));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->nested_id, self->dev_id,
					1, NULL));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->viommu_id, NO_SUCH_ID,
					1, NULL));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->viommu_id,
					self->stdev_id, 1, NULL));

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU,
				       0, &second_stdev_id, &second_dev_id));
	EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, self->viommu_id,
					second_dev_id, 1, NULL));

	/* The mock IOMMU has 32 bits */
	EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
					1ULL << 32, NULL));
	EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
					~0ULL, NULL));

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_NO_VDEVICE,
				       0, &stdev_id, &dev_id));
	EXPECT_EQ(EOPNOTSUPP, vdevice_alloc(self->fd, self->viommu_id, dev_id,
					    1, NULL));
	test_ioctl_destroy(stdev_id);
	EXPECT_COUNTS(1, 0, 2);

	/* None of these has taken an ID, of this device or of the vIOMMU */
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &vdev_id));
	EXPECT_COUNTS(1, 1, 2);

	/* One per device, whatever the vIOMMU */
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
					1, NULL));
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
					2, NULL));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &viommu2_id));
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, viommu2_id, self->dev_id, 1,
					NULL));

	/* One per virtual ID, of each vIOMMU */
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, self->viommu_id, dev_id, 1,
					NULL));
	EXPECT_EQ(0, vdevice_alloc(self->fd, viommu2_id, dev_id, 1, &id));
	EXPECT_COUNTS(2, 2, 2);

	/* A child holds its vIOMMU, failed calls do not */
	EXPECT_EQ(EBUSY, do_destroy(self->fd, viommu2_id));
	test_ioctl_destroy(id);
	test_ioctl_destroy(viommu2_id);
	test_ioctl_destroy(vdev_id);

	/* The device and the ID can be used again at once */
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id, 1, NULL));
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 2,
				   NULL));
}

TEST_F(viommu, vdevice_virt_ids)
{
	static const __u64 virt_ids[] = { 0, 1, 0x99, 0xffff, 1U << 31,
					  UINT32_MAX };
	__u32 vdev_id, num;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(virt_ids); i++) {
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id,
					   self->dev_id, virt_ids[i],
					   &vdev_id));
		/* It resolves, its neighbour does not */
		EXPECT_EQ(0, invalidate_one(self->fd, self->viommu_id,
					    virt_ids[i], 0, &num));
		EXPECT_EQ(EINVAL, invalidate_one(self->fd, self->viommu_id,
						 virt_ids[i] ^ 1, 0, &num));
		test_ioctl_destroy(vdev_id);
		EXPECT_EQ(EINVAL, invalidate_one(self->fd, self->viommu_id,
						 virt_ids[i], 0, &num));
	}
}

TEST_F(viommu, vdevice_no_slot)
{
	__u32 stdev_ids[MOCK_VIOMMU_VDEVICES_MAX], dev_id, vdev_id;
	unsigned int i;

	for (i = 0; i != MOCK_VIOMMU_VDEVICES_MAX; i++) {
		ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_ids[i],
					       &dev_id));
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id, i,
					   &vdev_id));
	}
	EXPECT_EQ(ENOSPC, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
					i, NULL));
	test_ioctl_destroy(vdev_id);
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, i,
				   NULL));
	EXPECT_COUNTS(1, MOCK_VIOMMU_VDEVICES_MAX, 2);
}

/* ---- IOMMU_HWPT_ALLOC with a vIOMMU ---- */

TEST_F(viommu, hwpt_alloc_errors)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct {
		struct iommu_hwpt_selftest data;
		__u32 more;
	} large = { .data.iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	const __u32 type = IOMMU_HWPT_DATA_SELFTEST;
	__u32 stdev_id, dev_id, id;
	unsigned int bit;

	EXPECT_EQ(EOPNOTSUPP,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	EXPECT_EQ(EINVAL,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, IOMMU_HWPT_DATA_NONE, &data,
				    sizeof(data), &id));
	EXPECT_EQ(EINVAL,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, type, &data, 0, &id));

	EXPECT_EQ(EINVAL,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, type + 1, &data, sizeof(data), &id));
	EXPECT_EQ(EINVAL,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, type, &data, sizeof(data) - 1, &id));
	EXPECT_EQ(EINVAL,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, type, &large, sizeof(large), &id));
	EXPECT_EQ(EFAULT,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, type, NULL, sizeof(data), &id));

	for (bit = 0; bit != 32; bit++) {
		if ((1U << bit) == IOMMU_HWPT_FAULT_ID_VALID)
			continue;
		EXPECT_EQ(EOPNOTSUPP,
			  nested_alloc_data(self->fd, self->dev_id,
					    self->viommu_id, 1U << bit, 0, type,
					    &data, sizeof(data), &id));
	}
	EXPECT_EQ(ENOENT,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id,
				    IOMMU_HWPT_FAULT_ID_VALID, NO_SUCH_ID, type,
				    &data, sizeof(data), &id));

	EXPECT_EQ(ENOENT,
		  nested_alloc(self->fd, NO_SUCH_ID, self->viommu_id, 0, &id));
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU,
				       0, &stdev_id, &dev_id));
	EXPECT_EQ(EINVAL,
		  nested_alloc(self->fd, dev_id, self->viommu_id, 0, &id));

	data.pagetable_type = 1;
	EXPECT_EQ(EOPNOTSUPP,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, type, &data, sizeof(data), &id));

	/* Neither a vDEVICE nor a nested domain is a parent */
	EXPECT_EQ(EINVAL,
		  nested_alloc(self->fd, self->dev_id, self->nested_id, 0,
			       &id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &id));
	EXPECT_EQ(EINVAL, nested_alloc(self->fd, self->dev_id, id, 0, &id));

	EXPECT_COUNTS(1, 1, 2);
	test_ioctl_destroy(id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
}

/* A device of the same IOMMU makes domains for all the others */
TEST_F(viommu, hwpt_alloc_any_device)
{
	__u32 stdev_id, dev_id, id;

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	ASSERT_EQ(0, nested_alloc(self->fd, dev_id, self->viommu_id, 0x1234,
				  &id));
	test_cmd_hwpt_check_iotlb_all(id, 0x1234);
	test_ioctl_destroy(stdev_id);
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   NULL));
	EXPECT_EQ(0, dev_replace(self->fd, self->stdev_id, id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 1);
}

TEST_F(viommu, hwpt_alloc_fault_queue)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	__u32 fault_id, fault_fd, hwpt_id;
	int rc;

	test_ioctl_fault_alloc(&fault_id, &fault_fd);
	ASSERT_EQ(0, nested_alloc_data(self->fd, self->dev_id, self->viommu_id,
				       IOMMU_HWPT_FAULT_ID_VALID, fault_id,
				       IOMMU_HWPT_DATA_SELFTEST, &data,
				       sizeof(data), &hwpt_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, fault_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   NULL));
	rc = dev_replace(self->fd, self->stdev_id, hwpt_id);
	if (rc == ENODEV) {
		close(fault_fd);
		SKIP(return, "kernel without CONFIG_IOMMU_IOPF");
	}
	ASSERT_EQ(0, rc);
	test_cmd_trigger_iopf(self->dev_id, fault_fd);

	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->ioas_id));
	test_ioctl_destroy(hwpt_id);
	close(fault_fd);
	test_ioctl_destroy(fault_id);
}

/* ---- IOMMU_HWPT_INVALIDATE ---- */

TEST_F(viommu, invalidate)
{
	struct iommu_viommu_invalidate_selftest req = {};
	__u32 stdev_id, dev_id, num, i;

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
				   0x99, NULL));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x88,
				   NULL));

	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++)
		EXPECT_EQ(0, dev_check_cache(self->fd, self->dev_id, i,
					     0xbaddad));
	EXPECT_EQ(EINVAL, dev_check_cache(self->fd, self->dev_id, i, 0xbaddad));
	EXPECT_EQ(EINVAL, dev_check_cache(self->fd, self->dev_id, 0, 1));
	EXPECT_EQ(ENOENT, dev_check_cache(self->fd, NO_SUCH_ID, 0, 0xbaddad));

	EXPECT_EQ(0, invalidate_one(self->fd, self->viommu_id, 0x99, 2, &num));
	EXPECT_EQ(1, num);
	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++) {
		EXPECT_EQ(0, dev_check_cache(self->fd, self->dev_id, i,
					     i == 2 ? 0 : 0xbaddad));
		EXPECT_EQ(0, dev_check_cache(self->fd, dev_id, i, 0xbaddad));
	}

	/* ALL ignores the number of the entry */
	req.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL;
	req.vdev_id = 0x88;
	req.cache_id = UINT32_MAX;
	num = 1;
	EXPECT_EQ(0, invalidate(self->fd, self->viommu_id,
				IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &req,
				sizeof(req), &num));
	EXPECT_EQ(1, num);
	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++) {
		EXPECT_EQ(0, dev_check_cache(self->fd, self->dev_id, i,
					     i == 2 ? 0 : 0xbaddad));
		EXPECT_EQ(0, dev_check_cache(self->fd, dev_id, i, 0));
	}
}

TEST_F(viommu, invalidate_errors)
{
	const __u32 type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
	struct iommu_viommu_invalidate_selftest req = { .vdev_id = 1 };
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = self->viommu_id,
		.data_uptr = (uintptr_t)&req,
		.data_type = type,
		.entry_len = sizeof(req),
		.entry_num = 1,
	};
	__u32 fault_id, fault_fd, vdev_id, num;
	char *large = guarded_pages(2);
	unsigned int i;

#define EXPECT_INVALIDATE(_errno, _done, _id, _type, _reqs, _len, _num)       \
	({                                                                    \
		num = _num;                                                   \
		EXPECT_EQ(_errno, invalidate(self->fd, _id, _type, _reqs,     \
					     _len, &num));                    \
		EXPECT_EQ(_done, num);                                        \
	})

	ASSERT_NE(NULL, large);
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &vdev_id));
	test_ioctl_fault_alloc(&fault_id, &fault_fd);

	cmd.__reserved = 1;
	EXPECT_EQ(EOPNOTSUPP, call(self->fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(0, cmd.entry_num);

	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, NULL, sizeof(req),
			  1);
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, 0, 1);
	/* Nothing but its length is wrong */
	memcpy(large, &req, sizeof(req));
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, large,
			  PAGE_SIZE + 1, 1);
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, sizeof(req),
			  INVALIDATE_NUM_MAX + 1);
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, sizeof(req),
			  UINT32_MAX);

	EXPECT_INVALIDATE(ENOENT, 0, NO_SUCH_ID, type, &req, sizeof(req), 1);
	EXPECT_INVALIDATE(EINVAL, 0, self->parent_id, type, &req, sizeof(req),
			  1);
	EXPECT_INVALIDATE(EINVAL, 0, self->ioas_id, type, &req, sizeof(req), 1);
	EXPECT_INVALIDATE(EINVAL, 0, self->dev_id, type, &req, sizeof(req), 1);
	EXPECT_INVALIDATE(EINVAL, 0, vdev_id, type, &req, sizeof(req), 1);
	EXPECT_INVALIDATE(EINVAL, 0, fault_id, type, &req, sizeof(req), 1);

	/* A domain of a vIOMMU has no caches of its own */
	EXPECT_INVALIDATE(EOPNOTSUPP, 0, self->nested_id, type, &req,
			  sizeof(req), 1);
	EXPECT_INVALIDATE(EOPNOTSUPP, 0, self->nested_id, type, NULL, 0, 0);

	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID, &req,
			  sizeof(req), 1);
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, 0, &req, sizeof(req), 1);
	for (i = 1; i != sizeof(req); i++)
		EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, i, 1);

	/* Without entries it only asks for the type */
	EXPECT_INVALIDATE(0, 0, self->viommu_id, type, NULL, 0, 0);
	EXPECT_INVALIDATE(0, 0, self->viommu_id, type, &req, sizeof(req), 0);
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID, NULL,
			  0, 0);
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, 0, NULL, 0, 0);

	EXPECT_INVALIDATE(EFAULT, 0, self->viommu_id, type,
			  large + 2 * PAGE_SIZE, sizeof(req), 1);

	for (i = 1; i != 32; i++) {
		req.flags = 1U << i;
		EXPECT_INVALIDATE(EOPNOTSUPP, 0, self->viommu_id, type, &req,
				  sizeof(req), 1);
	}
	req.flags = 0;
	req.cache_id = MOCK_DEV_CACHE_ID_MAX + 1;
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, sizeof(req),
			  1);
	req.cache_id = 0;
	req.vdev_id = 2;
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, sizeof(req),
			  1);

	/* None of them has done anything */
	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++)
		EXPECT_EQ(0, dev_check_cache(self->fd, self->dev_id, i,
					     0xbaddad));

	/* A longer entry is fine if what follows is 0 */
	req.vdev_id = 1;
	memcpy(large, &req, sizeof(req));
	memcpy(large + PAGE_SIZE, &req, sizeof(req));
	for (i = sizeof(req) + 1; i <= PAGE_SIZE; i++) {
		large[i - 1] = 1;
		num = 1;
		ASSERT_EQ(E2BIG, invalidate(self->fd, self->viommu_id, type,
					    large, i, &num));
		ASSERT_EQ(0, num);
		large[i - 1] = 0;
	}
	EXPECT_EQ(0, dev_check_cache(self->fd, self->dev_id, 0, 0xbaddad));
	EXPECT_INVALIDATE(0, 2, self->viommu_id, type, large, PAGE_SIZE, 2);
	EXPECT_EQ(0, dev_check_cache(self->fd, self->dev_id, 0, 0));
	EXPECT_INVALIDATE(0, 1, self->viommu_id, type, large, sizeof(req) + 1,
			  1);
	close(fault_fd);
}

/* What a nested domain that belongs to no vIOMMU has, stays as it is */
TEST_F(viommu, invalidate_domain)
{
	struct iommu_hwpt_invalidate_selftest req = {};
	const __u32 type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
	__u32 hwpt_id, num;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->parent_id,
				  0x1234, &hwpt_id));
	EXPECT_INVALIDATE(0, 1, hwpt_id, type, &req, sizeof(req), 1);
	test_cmd_hwpt_check_iotlb(hwpt_id, 0, 0);
	test_cmd_hwpt_check_iotlb(hwpt_id, 1, 0x1234);
	EXPECT_INVALIDATE(EINVAL, 0, hwpt_id, type, NULL, sizeof(req), 1);
	EXPECT_INVALIDATE(EINVAL, 0, hwpt_id, type, &req, 0, 1);
	EXPECT_INVALIDATE(EINVAL, 0, hwpt_id, type, &req, PAGE_SIZE + 1, 1);
	EXPECT_INVALIDATE(EINVAL, 0, hwpt_id, type, &req, sizeof(req),
			  INVALIDATE_NUM_MAX + 1);
	EXPECT_INVALIDATE(EINVAL, 0, hwpt_id,
			  IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID, &req,
			  sizeof(req), 1);
}

enum bad_entry {
	BAD_FLAGS,
	BAD_CACHE_ID,
	BAD_VDEV_ID,
	BAD_TAIL,
	BAD_MEMORY,
};

/* A bad entry at @bad: all in front of it are executed, none behind it */
TEST_F(viommu, invalidate_partial)
{
	static const unsigned int positions[] = {
		0, 1, 2, INVALIDATE_BLOCK - 1, INVALIDATE_BLOCK,
		INVALIDATE_BLOCK + 1, 3 * INVALIDATE_BLOCK - 1,
		3 * INVALIDATE_BLOCK, 3 * INVALIDATE_BLOCK + 1,
	};
	static const int errors[] = {
		[BAD_FLAGS] = EOPNOTSUPP,
		[BAD_CACHE_ID] = EINVAL,
		[BAD_VDEV_ID] = EINVAL,
		[BAD_TAIL] = E2BIG,
		[BAD_MEMORY] = EFAULT,
	};
	struct entry {
		struct iommu_viommu_invalidate_selftest req;
		__u32 tail;
	} *reqs;
	const unsigned int total = 4 * INVALIDATE_BLOCK;
	char *page = guarded_pages(1);
	unsigned int i, bad, kind;

	ASSERT_NE(NULL, page);
	for (kind = 0; kind != ARRAY_SIZE(errors) * ARRAY_SIZE(positions);
	     kind++) {
		__u32 stdev_id, dev_id, vdev_id, num = total;
		enum bad_entry what = kind / ARRAY_SIZE(positions);

		bad = positions[kind % ARRAY_SIZE(positions)];
		ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id,
					       &dev_id));
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id,
					   0x10, &vdev_id));

		/* Without a tail the block is copied in one piece */
		memset(page, 0, PAGE_SIZE);
		reqs = (void *)page;
		if (what == BAD_MEMORY)
			reqs = (void *)(page + PAGE_SIZE - bad * sizeof(*reqs));
		for (i = 0; i != (what == BAD_MEMORY ? bad : total); i++) {
			reqs[i].req.vdev_id = 0x10;
			/* In front of it, and all that follow */
			reqs[i].req.cache_id = i + 1 == bad ? 1 :
					       i < bad ? 0 : 2;
		}
		switch (what) {
		case BAD_FLAGS:
			reqs[bad].req.flags = 2;
			break;
		case BAD_CACHE_ID:
			reqs[bad].req.cache_id = MOCK_DEV_CACHE_NUM;
			break;
		case BAD_VDEV_ID:
			reqs[bad].req.vdev_id = 0x11;
			break;
		case BAD_TAIL:
			reqs[bad].tail = 1;
			break;
		case BAD_MEMORY:
			break;
		}

		EXPECT_EQ(errors[what],
			  invalidate(self->fd, self->viommu_id,
				     IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				     reqs, sizeof(*reqs), &num));
		EXPECT_EQ(bad, num) {
			TH_LOG("kind %u", what);
		}
		EXPECT_EQ(0, dev_check_cache(self->fd, dev_id, 0,
					     bad > 1 ? 0 : 0xbaddad));
		EXPECT_EQ(0, dev_check_cache(self->fd, dev_id, 1,
					     bad > 0 ? 0 : 0xbaddad));
		EXPECT_EQ(0, dev_check_cache(self->fd, dev_id, 2, 0xbaddad));
		test_ioctl_destroy(vdev_id);
		test_ioctl_destroy(stdev_id);
	}
}

/* The same where entries have the size of the structure */
TEST_F(viommu, invalidate_partial_packed)
{
	struct iommu_viommu_invalidate_selftest reqs[3 * INVALIDATE_BLOCK];
	char *page = guarded_pages(1);
	unsigned int bad, i;
	__u32 num;

	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   NULL));
	for (bad = 0; bad <= ARRAY_SIZE(reqs); bad++) {
		memset(reqs, 0, sizeof(reqs));
		for (i = 0; i != ARRAY_SIZE(reqs); i++)
			reqs[i].vdev_id = i == bad ? 2 : 1;
		EXPECT_INVALIDATE(bad == ARRAY_SIZE(reqs) ? 0 : EINVAL, bad,
				  self->viommu_id,
				  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
				  sizeof(*reqs), ARRAY_SIZE(reqs));

		/* As many as there is memory for, then a hole */
		for (i = 0; i != ARRAY_SIZE(reqs); i++)
			reqs[i].vdev_id = 1;
		memcpy(page + PAGE_SIZE - bad * sizeof(*reqs), reqs,
		       bad * sizeof(*reqs));
		EXPECT_INVALIDATE(EFAULT, bad, self->viommu_id,
				  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				  page + PAGE_SIZE - bad * sizeof(*reqs),
				  sizeof(*reqs), bad + 1);
	}
}

TEST_F(viommu, invalidate_max)
{
	struct iommu_viommu_invalidate_selftest *reqs;
	__u32 num, i;

	reqs = calloc(INVALIDATE_NUM_MAX, sizeof(*reqs));
	ASSERT_NE(NULL, reqs);
	for (i = 0; i != INVALIDATE_NUM_MAX; i++)
		reqs[i].vdev_id = 1;
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   NULL));
	EXPECT_INVALIDATE(0, INVALIDATE_NUM_MAX, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
			  sizeof(*reqs), INVALIDATE_NUM_MAX);
	reqs[INVALIDATE_NUM_MAX - 1].vdev_id = 2;
	EXPECT_INVALIDATE(EINVAL, INVALIDATE_NUM_MAX - 1, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
			  sizeof(*reqs), INVALIDATE_NUM_MAX);
	free(reqs);
}

/* ---- IOMMU_GET_HW_INFO ---- */

TEST_F(viommu, hw_info)
{
	struct iommu_test_hw_info info;
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = self->dev_id,
		.data_uptr = (uintptr_t)&info,
		.data_len = sizeof(info),
	};
	static const __u32 bad_types[] = { 1, 2, 3, 0xfeedbeee, UINT32_MAX };
	__u32 stdev_id, dev_id;
	unsigned int i;

	/* Without the flag the field is output only */
	cmd.in_data_type = 0x12345;
	ASSERT_EQ(0, call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	EXPECT_EQ(0xfeedbeef, cmd.out_data_type);
	EXPECT_EQ(0, cmd.out_max_pasid_log2);

	cmd.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
	cmd.data_len = sizeof(info);
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_DEFAULT;
	memset(&info, 0, sizeof(info));
	ASSERT_EQ(0, call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info.test_reg);

	cmd.data_len = sizeof(info);
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST;
	memset(&info, 0, sizeof(info));
	ASSERT_EQ(0, call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info.test_reg);
	EXPECT_EQ(sizeof(info), cmd.data_len);

	memset(&info, 0xab, sizeof(info));
	for (i = 0; i != ARRAY_SIZE(bad_types); i++) {
		cmd.in_data_type = bad_types[i];
		EXPECT_EQ(EOPNOTSUPP,
			  call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	}
	EXPECT_EQ(0xabababab, info.test_reg);

	cmd.in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST;
	for (i = 1; i != 32; i++) {
		cmd.flags = 1U << i;
		EXPECT_EQ(EOPNOTSUPP,
			  call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	}
	cmd.flags = 0;
	for (i = 0; i != 3; i++) {
		cmd.__reserved[i] = 1;
		EXPECT_EQ(EOPNOTSUPP,
			  call(self->fd, IOMMU_GET_HW_INFO, &cmd));
		cmd.__reserved[i] = 0;
	}

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_PASID, 0,
				       &stdev_id, &dev_id));
	cmd.dev_id = dev_id;
	ASSERT_EQ(0, call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(MOCK_PASID_WIDTH, cmd.out_max_pasid_log2);

	/* What a VMM must not offer its guest */
	EXPECT_EQ(1U << 3,
		  cmd.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_ATS, 0,
				       &stdev_id, &dev_id));
	cmd.dev_id = dev_id;
	ASSERT_EQ(0, call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(0, cmd.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
}

/* ---- Attach ---- */

TEST_F(viommu, attach)
{
	__u32 vdev_id, viommu2_id, nested2_id, plain_id, id;

	/* Translation takes a vDEVICE. Nothing changes without one. */
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_id,
				      self->nested_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(self->nested_id);

	/* Bypass does not */
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->bypass_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->bypass_id));

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id));
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_id,
				      self->nested_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
				   0x77, &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x77);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->nested_id));
	test_ioctl_destroy(self->bypass_id);

	/* On another vIOMMU it has none. The old attachment stays. */
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &viommu2_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, viommu2_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &nested2_id));
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_id, nested2_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x77);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->nested_id));
	test_ioctl_destroy(nested2_id);
	test_ioctl_destroy(viommu2_id);

	/* Objects that are no HWPT */
	EXPECT_EQ(EINVAL, dev_replace(self->fd, self->stdev_id,
				      self->viommu_id));
	EXPECT_EQ(EINVAL, dev_replace(self->fd, self->stdev_id, vdev_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x77);

	/* A nested domain that belongs to no vIOMMU needs no vDEVICE */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->parent_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &plain_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, plain_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(vdev_id);
	test_ioctl_destroy(self->nested_id);
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->ioas_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, plain_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->parent_id));
	test_ioctl_destroy(plain_id);

	/* As first attachment */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id, 0));
	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, self->stdev_id,
					  self->nested_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
				   0x78, &id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
				     self->nested_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x78);
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id, 0));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(id);
}

TEST_F(viommu, attach_other_iommu)
{
	__u32 stdev_id, dev_id;

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU,
				       0, &stdev_id, &dev_id));
	EXPECT_EQ(EINVAL, mock_dev_attach(self->fd, stdev_id, self->bypass_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, stdev_id, self->ioas_id));
	EXPECT_EQ(EINVAL, mock_dev_attach(self->fd, stdev_id, self->bypass_id));
	EXPECT_NE(0, mock_dev_attach(self->fd, stdev_id, self->nested_id));
	EXPECT_STATE(stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
}

/* ---- The pin ---- */

TEST_F(viommu, pin)
{
	__u32 nested2_id, viommu2_id, other_id, vdev_id, id, num;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  0x1234, &nested2_id));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &viommu2_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, viommu2_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &other_id));

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 5,
				   &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_id));
	/* It works as before */
	EXPECT_EQ(0, invalidate_one(self->fd, self->viommu_id, 5, 0, &num));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 5);

	/* To the same, to another translating one, and by a failure */
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, nested2_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_id));
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_id, other_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_id));

	/* Free in bypass, also of what the driver keeps */
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->bypass_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, 5);
	ASSERT_EQ(0, do_destroy(self->fd, vdev_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	EXPECT_EQ(EINVAL, invalidate_one(self->fd, self->viommu_id, 5, 0,
					 &num));
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_id,
				      self->nested_id));

	/* Back with another ID, as when a guest renumbers its buses */
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 6,
				   &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 6);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_id));

	/* Free after a replace by stage 2, and after a detach */
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->ioas_id));
	ASSERT_EQ(0, do_destroy(self->fd, vdev_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 7,
				   &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id, 0));
	ASSERT_EQ(0, do_destroy(self->fd, vdev_id));

	/* A domain of another vIOMMU that does not translate */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, viommu2_id,
				  IOMMU_TEST_IOTLB_BYPASS, &id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 8,
				   &vdev_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
				     self->nested_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	ASSERT_EQ(0, do_destroy(self->fd, vdev_id));
}

/* ---- IOMMU_DESTROY ---- */

TEST_F(viommu, destroy_parent_first)
{
	__u32 vdev_id;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->ioas_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->parent_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->nested_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_id));
	EXPECT_COUNTS(1, 1, 2);

	/* A vDEVICE alone holds it */
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->ioas_id));
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	test_ioctl_destroy(vdev_id);

	/* A nested domain alone does */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	test_ioctl_destroy(self->bypass_id);

	/* A vIOMMU alone holds its nest parent */
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->parent_id));
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
	EXPECT_COUNTS(0, 0, 0);

	EXPECT_EQ(ENOENT, do_destroy(self->fd, vdev_id));
	EXPECT_EQ(ENOENT, do_destroy(self->fd, self->viommu_id));
}

/* Each order of vDEVICE and domains, with the device there or gone */
TEST_F(viommu, destroy_child_first)
{
	unsigned int order;

	for (order = 0; order != 8; order++) {
		__u32 stdev_id, dev_id, viommu_id, nested_id = 0, vdev_id;

		ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id,
					       &dev_id));
		ASSERT_EQ(0, viommu_alloc(self->fd, dev_id, self->parent_id,
					  &viommu_id));
		ASSERT_EQ(0, nested_alloc(self->fd, dev_id, viommu_id,
					  IOMMU_TEST_IOTLB_DEFAULT,
					  &nested_id));
		ASSERT_EQ(0, vdevice_alloc(self->fd, viommu_id, dev_id, 1,
					   &vdev_id));
		ASSERT_EQ(0, mock_dev_attach(self->fd, stdev_id, nested_id));
		ASSERT_EQ(0, mock_dev_attach(self->fd, stdev_id, 0));

		if (order & 1)
			test_ioctl_destroy(vdev_id);
		if (order & 2)
			test_ioctl_destroy(nested_id);
		if (order & 4)
			test_ioctl_destroy(stdev_id);
		if (!(order & 2))
			test_ioctl_destroy(nested_id);
		if (!(order & 1))
			EXPECT_EQ(order & 4 ? ENOENT : 0,
				  do_destroy(self->fd, vdev_id));
		test_ioctl_destroy(viommu_id);
		if (!(order & 4))
			test_ioctl_destroy(stdev_id);
		EXPECT_COUNTS(1, 0, 2);
	}
}

/* A file that is closed takes everything along, attached or not */
TEST_F(viommu, close_attached)
{
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   NULL));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
}

/* ---- The device goes first ---- */

TEST_F(viommu, device_gone)
{
	struct iommu_viommu_invalidate_selftest req = { .vdev_id = 1 };
	__u32 stdev_id, dev_id, vdev_id, num;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_COUNTS(1, 1, 2);
	/* Even where it is pinned */
	test_ioctl_destroy(self->stdev_id);
	EXPECT_COUNTS(1, 0, 2);

	/* The virtual ID does not resolve, the ID is no object */
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &req,
			  sizeof(req), 1);
	EXPECT_EQ(ENOENT, do_destroy(self->fd, vdev_id));
	EXPECT_EQ(ENOENT, do_destroy(self->fd, vdev_id));
	EXPECT_INVALIDATE(ENOENT, 0, vdev_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &req,
			  sizeof(req), 1);
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, vdev_id, self->dev_id, 2,
					NULL));

	/* Another device may have the virtual ID */
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	EXPECT_NE(vdev_id, stdev_id);
	EXPECT_NE(vdev_id, dev_id);
	EXPECT_EQ(ENOENT, dev_replace(self->fd, stdev_id, vdev_id));
	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, stdev_id, vdev_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id, 1, NULL));
	EXPECT_EQ(0, invalidate_one(self->fd, self->viommu_id, 1, 0, &num));
	EXPECT_EQ(0, dev_check_cache(self->fd, dev_id, 0, 0));
	EXPECT_EQ(ENOENT, do_destroy(self->fd, vdev_id));
}

TEST_F(viommu, device_unbound)
{
	__u32 vdev_id, old_dev_id = self->dev_id;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_id, self->nested_id));
	ASSERT_EQ(0, mock_dev_unbind(self->fd, self->stdev_id));
	EXPECT_COUNTS(1, 0, 2);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->viommu_id, old_dev_id,
					1, NULL));

	/* The same device comes back as a new one */
	ASSERT_EQ(0, mock_dev_bind(self->fd, self->stdev_id, &self->dev_id));
	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, self->stdev_id,
					  self->nested_id));
	EXPECT_EQ(ENOENT, do_destroy(self->fd, vdev_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   NULL));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
				     self->nested_id));
}

/* IDs of vDEVICEs that went with their device are not used again */
TEST_F(viommu, retired_ids)
{
	enum { ROUNDS = 100, LATER = 4 * ROUNDS };
	__u32 retired[ROUNDS], stdev_id, dev_id, id;
	unsigned int i, j;

	for (i = 0; i != ROUNDS; i++) {
		ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id,
					       &dev_id));
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id, i,
					   &retired[i]));
		for (j = 0; j != i; j++) {
			ASSERT_NE(retired[j], retired[i]);
			ASSERT_NE(retired[j], dev_id);
			ASSERT_NE(retired[j], stdev_id);
		}
		test_ioctl_destroy(stdev_id);
		ASSERT_EQ(ENOENT, do_destroy(self->fd, retired[i]));
	}
	EXPECT_COUNTS(1, 0, 2);

	for (i = 0; i != LATER; i++) {
		test_ioctl_ioas_alloc(&id);
		for (j = 0; j != ROUNDS; j++)
			ASSERT_NE(retired[j], id);
	}
	for (j = 0; j != ROUNDS; j++)
		ASSERT_EQ(ENOENT, do_destroy(self->fd, retired[j]));

	/* One that was destroyed by its ID is an ordinary free ID */
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &id));
	test_ioctl_destroy(id);
	test_ioctl_ioas_alloc(&stdev_id);
	EXPECT_EQ(id, stdev_id);
}

/* ---- The answer cannot be copied ---- */

TEST_F(viommu, response_fault)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct iommu_viommu_selftest vdata = { .in_data = 1 };
	struct iommu_viommu_alloc viommu = {
		.size = sizeof(viommu),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = self->dev_id,
		.hwpt_id = self->parent_id,
	};
	struct iommu_vdevice_alloc vdevice = {
		.size = sizeof(vdevice),
		.viommu_id = self->viommu_id,
		.dev_id = self->dev_id,
		.virt_id = 1,
	};
	struct iommu_hwpt_alloc hwpt = {
		.size = sizeof(hwpt),
		.dev_id = self->dev_id,
		.pt_id = self->viommu_id,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};
	struct iommu_viommu_invalidate_selftest req = { .vdev_id = 1 };
	struct iommu_hwpt_invalidate inv = {
		.size = sizeof(inv),
		.hwpt_id = self->viommu_id,
		.data_uptr = (uintptr_t)&req,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
		.entry_len = sizeof(req),
		.entry_num = 1,
	};
	__u32 fault_id, fault_fd, vdev_id;
	char *page = guarded_pages(1);

	ASSERT_NE(NULL, page);
	test_ioctl_fault_alloc(&fault_id, &fault_fd);

#define EXPECT_RESPONSE_FAULT(_cmd, _arg)                                    \
	({                                                                   \
		ASSERT_EQ(0, mprotect(page, PAGE_SIZE,                       \
				      PROT_READ | PROT_WRITE));              \
		memcpy(page, &(_arg), sizeof(_arg));                         \
		ASSERT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ));          \
		EXPECT_EQ(EFAULT, call(self->fd, _cmd, page));               \
	})

	EXPECT_RESPONSE_FAULT(IOMMU_VIOMMU_ALLOC, viommu);
	viommu.data_len = sizeof(vdata);
	viommu.data_uptr = (uintptr_t)&vdata;
	EXPECT_RESPONSE_FAULT(IOMMU_VIOMMU_ALLOC, viommu);
	EXPECT_RESPONSE_FAULT(IOMMU_VDEVICE_ALLOC, vdevice);
	EXPECT_RESPONSE_FAULT(IOMMU_HWPT_ALLOC, hwpt);
	hwpt.flags = IOMMU_HWPT_FAULT_ID_VALID;
	hwpt.fault_id = fault_id;
	EXPECT_RESPONSE_FAULT(IOMMU_HWPT_ALLOC, hwpt);
	EXPECT_COUNTS(1, 0, 2);

	/* Nothing is taken: the fault queue, the device, the virtual ID */
	close(fault_fd);
	test_ioctl_destroy(fault_id);
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1,
				   &vdev_id));
	EXPECT_RESPONSE_FAULT(IOMMU_HWPT_INVALIDATE, inv);

	test_ioctl_destroy(vdev_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
	EXPECT_COUNTS(0, 0, 0);
}

/* ---- Groups ---- */

FIXTURE(group) {
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
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &self->stdev_ids[0],
				       &self->dev_ids[0]));
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, self->stdev_ids[0],
				       &self->stdev_ids[1],
				       &self->dev_ids[1]));
	ASSERT_EQ(0, mock_dev_add(self->fd, 0, self->stdev_ids[0],
				  &self->bridge_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0],
				     self->ioas_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1],
				     self->ioas_id));
	test_cmd_hwpt_alloc(self->dev_ids[0], self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_ids[0], self->parent_id,
				  &self->viommu_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
				  IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id));
}

FIXTURE_TEARDOWN(group)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

#define EXPECT_GROUP_STATE(_state, _virt_id0, _virt_id1, _bridge_state)      \
	({                                                                   \
		EXPECT_STATE(self->stdev_ids[0], _state, _virt_id0);         \
		EXPECT_STATE(self->stdev_ids[1], _state, _virt_id1);         \
		EXPECT_STATE(self->bridge_id, _bridge_state, NO_VIRT_ID);    \
	})

TEST_F(group, attach)
{
	__u32 vdev_ids[2];

	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_ids[0],
				      self->nested_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	/* The other one lacks it, whichever is named */
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_ids[0],
				      self->nested_id));
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_ids[1],
				      self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_OTHER, NO_VIRT_ID, NO_VIRT_ID,
			   MOCK_DEV_STATE_OTHER);
	/* and nothing is pinned by that */
	test_ioctl_destroy(vdev_ids[0]);
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));

	/* Bypass takes none of them */
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->bypass_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_BYPASS, 0x10, NO_VIRT_ID,
			   MOCK_DEV_STATE_BYPASS);
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_ids[1],
				      self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_BYPASS, 0x10, NO_VIRT_ID,
			   MOCK_DEV_STATE_BYPASS);

	/* Each its own ID, the bridge none and stage 2 alone */
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x10, 0x20,
			   MOCK_DEV_STATE_STAGE2);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_ids[0]));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_ids[1]));

	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[1], self->ioas_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_OTHER, NO_VIRT_ID, NO_VIRT_ID,
			   MOCK_DEV_STATE_OTHER);
	test_ioctl_destroy(vdev_ids[0]);
	test_ioctl_destroy(vdev_ids[1]);
}

TEST_F(group, leave_and_join)
{
	__u32 vdev_ids[2];

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));

	/* One leaves: plain stage 2 for it, and its vDEVICE is free */
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0], 0));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_TRANSLATE, 0x20);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_ids[1]));
	EXPECT_EQ(0, do_destroy(self->fd, vdev_ids[0]));

	/* It joins: only what the others have, and with a vDEVICE */
	EXPECT_EQ(EINVAL, mock_dev_attach(self->fd, self->stdev_ids[0],
					  self->bypass_id));
	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, self->stdev_ids[0],
					  self->nested_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x11, &vdev_ids[0]));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0],
				     self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x11, 0x20,
			   MOCK_DEV_STATE_STAGE2);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_ids[0]));

	/* The other one goes for good, its vDEVICE with it */
	test_ioctl_destroy(self->stdev_ids[1]);
	EXPECT_EQ(ENOENT, do_destroy(self->fd, vdev_ids[1]));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x11);

	/* The last one */
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0], 0));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_STATE(self->bridge_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_EQ(0, do_destroy(self->fd, vdev_ids[0]));
}

/* The same where the group's domain does not translate */
TEST_F(group, leave_and_join_bypass)
{
	__u32 vdev_id;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_id));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->bypass_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0], 0));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0],
				     self->bypass_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_BYPASS, 0x10);
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1], 0));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1],
				     self->bypass_id));
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	test_ioctl_destroy(vdev_id);
}

/* A member that is bound, but has never been attached */
TEST_F(group, bound_only)
{
	__u32 stdev_id, dev_id, vdev_ids[3];

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, self->stdev_ids[0],
				       &stdev_id, &dev_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	EXPECT_EQ(ENOENT, dev_replace(self->fd, self->stdev_ids[0],
				      self->nested_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x30,
				   &vdev_ids[2]));
	EXPECT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x10, 0x20,
			   MOCK_DEV_STATE_STAGE2);
}

/* Devices that come while the group is attached */
TEST_F(group, hotplug)
{
	__u32 late_id, late_dev_id, late_bridge_id;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, NULL));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, NULL));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));

	ASSERT_EQ(0, mock_dev_add(self->fd, 0, self->stdev_ids[0],
				  &late_bridge_id));
	EXPECT_STATE(late_bridge_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, self->stdev_ids[0],
				       &late_id, &late_dev_id));
	EXPECT_STATE(late_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, late_id, self->nested_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, late_dev_id, 0x30,
				   NULL));
	ASSERT_EQ(0, mock_dev_attach(self->fd, late_id, self->nested_id));
	EXPECT_STATE(late_id, MOCK_DEV_STATE_TRANSLATE, 0x30);

	test_ioctl_destroy(late_bridge_id);
	test_ioctl_destroy(self->bridge_id);
	ASSERT_EQ(0, mock_dev_unbind(self->fd, late_id));
	EXPECT_STATE(late_id, MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->bypass_id));
}

/* A device that user space has detached is like one that nobody bound */
TEST_F(group, replace_leaves_detached_device_out)
{
	__u32 vdev_ids[2], other_id;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &other_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1], 0));
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);

	/* The guest writes the STE of the other one: no stage 1, and no pin */
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0], other_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
}

TEST_F(group, replace_needs_no_vdevice_of_detached_device)
{
	__u32 vdev_ids[2], other_id;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &other_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1], 0));
	EXPECT_EQ(0, do_destroy(self->fd, vdev_ids[1]));

	EXPECT_EQ(0, dev_replace(self->fd, self->stdev_ids[0], other_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);

	/* A vDEVICE that it gets now changes nothing until it is attached */
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x21, &vdev_ids[1]));
	EXPECT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1],
				     self->nested_id));
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_TRANSLATE, 0x21);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_ids[1]));
}

/* The group is attached anew after both devices were detached */
TEST_F(group, attach_after_both_detached)
{
	__u32 vdev_ids[2];

	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0], 0));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1], 0));

	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, self->stdev_ids[0],
					  self->nested_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	EXPECT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0],
				     self->nested_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);

	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, self->stdev_ids[1],
					  self->nested_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1],
				     self->nested_id));
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

	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_NO_DIRTY,
				       self->stdev_ids[0], &stdev_id,
				       &dev_id));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id));

	EXPECT_EQ(EINVAL, dev_replace(self->fd, self->stdev_ids[0], hwpt_id));
	/* Nothing is left of it: the HWPT can go, and other moves succeed */
	EXPECT_EQ(0, do_destroy(self->fd, hwpt_id));

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x30,
				   &vdev_ids[2]));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id));
	EXPECT_EQ(EINVAL, dev_replace(self->fd, self->stdev_ids[0], hwpt_id));
	EXPECT_GROUP_STATE(MOCK_DEV_STATE_TRANSLATE, 0x10, 0x20,
			   MOCK_DEV_STATE_STAGE2);
	EXPECT_STATE(stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x30);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_ids[2]));
	EXPECT_EQ(0, do_destroy(self->fd, hwpt_id));
}

/* What was no member of the old attachment is none when it is put back */
TEST_F(group, failed_replace_enlists_nobody)
{
	__u32 stdev_ids[2], dev_ids[2], hwpt_id, vdev_ids[4];

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, &vdev_ids[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, &vdev_ids[1]));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1], 0));

	/* One that comes late, and one that the replace below fails at */
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, self->stdev_ids[0],
				       &stdev_ids[0], &dev_ids[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, dev_ids[0], 0x30,
				   &vdev_ids[2]));
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_NO_DIRTY,
				       self->stdev_ids[0], &stdev_ids[1],
				       &dev_ids[1]));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id));

	EXPECT_EQ(EINVAL, dev_replace(self->fd, self->stdev_ids[0], hwpt_id));
	EXPECT_STATE(self->stdev_ids[0], MOCK_DEV_STATE_TRANSLATE, 0x10);
	EXPECT_STATE(self->stdev_ids[1], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_STATE(stdev_ids[0], MOCK_DEV_STATE_STAGE2, NO_VIRT_ID);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, vdev_ids[0]));
	EXPECT_EQ(0, do_destroy(self->fd, vdev_ids[1]));
	EXPECT_EQ(0, do_destroy(self->fd, vdev_ids[2]));
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

FIXTURE(group_faults) {
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
		ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0,
					       i ? self->stdev_ids[0] : 0,
					       &self->stdev_ids[i],
					       &self->dev_ids[i]));
	test_ioctl_fault_alloc(&self->fault_id, &self->fault_fd);
	/* A mock device faults with a PASID, which a nested HWPT delivers */
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev_ids[0], self->ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &self->hwpt_id));
	{
		struct iommu_hwpt_selftest data = {
			.iotlb = IOMMU_TEST_IOTLB_DEFAULT,
		};
		__u32 parent_id = self->hwpt_id, viommu_id;

		ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_ids[0], parent_id,
					  &viommu_id));
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, vdevice_alloc(self->fd, viommu_id,
						   self->dev_ids[i], i + 1,
						   NULL));
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
		ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[i],
					     self->hwpt_id));
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

	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0],
				     self->hwpt_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1],
				     self->hwpt_id));

	/* One of its faults is read, one is not, and one is the other's */
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[0]));
	EXPECT_EQ(self->dev_ids[0], read_fault(self->fault_fd, &lost));
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[0]));
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[1]));
	ASSERT_EQ(0, mock_dev_unbind(self->fd, self->stdev_ids[0]));

	EXPECT_EQ(EINVAL, answer_fault(self->fault_fd, lost));
	EXPECT_EQ(self->dev_ids[1], read_fault(self->fault_fd, &cookie));
	EXPECT_EQ(0, answer_fault(self->fault_fd, cookie));
	EXPECT_EQ(0, read_fault(self->fault_fd, NULL));

	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[1]));
	EXPECT_EQ(self->dev_ids[1], read_fault(self->fault_fd, &cookie));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1], 0));
	EXPECT_EQ(EINVAL, answer_fault(self->fault_fd, cookie));
}

/* A replace gives both devices a fault queue, and takes it away */
TEST_F(group_faults, replace_enables_and_disables)
{
	__u32 cookie;
	int i, round;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[i],
					     self->ioas_id));
	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0],
					     self->hwpt_id));
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[i]));
			EXPECT_EQ(self->dev_ids[i],
				  read_fault(self->fault_fd, &cookie));
			EXPECT_EQ(0, answer_fault(self->fault_fd, cookie));
		}
		ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[1],
					     self->ioas_id));
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[i]));
		EXPECT_EQ(0, read_fault(self->fault_fd, NULL));
	}
}

/* A device that is bound only has no faults enabled: no fault, no warning */
TEST_F(group_faults, bound_device_cannot_fault)
{
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_ids[0],
				     self->hwpt_id));
	ASSERT_EQ(0, trigger_fault(self->fd, self->dev_ids[1]));
	EXPECT_EQ(0, read_fault(self->fault_fd, NULL));
}

/* A file that is closed takes the whole group along */
TEST_F(group, close_attached)
{
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[0],
				   0x10, NULL));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_ids[1],
				   0x20, NULL));
	ASSERT_EQ(0, dev_replace(self->fd, self->stdev_ids[0],
				 self->nested_id));
}

/* ---- All at once ---- */

#define STRESS_SECONDS 5
#define STRESS_SLACK_SECONDS 40
/* How often each call must get through, or it was no stress */
#define STRESS_LEAST 10

struct stress {
	int fd;
	__u32 ioas_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 nested_ids[2];
	__u32 bypass_id;
	__u32 stdev_ids[2];
	/* Changes when the device is bound again */
	atomic_uint dev_ids[2];
	/* The last vDEVICE that was made of the device */
	atomic_uint vdev_ids[2];
	struct timespec end;
	atomic_uint failures;
	/* How often a call got through */
	atomic_uint allocs, attaches, translates, binds, invalidates, busy;
};

static bool stress_time_left(const struct stress *s)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < s->end.tv_sec ||
	       (now.tv_sec == s->end.tv_sec && now.tv_nsec < s->end.tv_nsec);
}

/* A slow machine needs longer. The timeout of the test bounds it. */
static bool stress_goes_on(const struct stress *s)
{
	return stress_time_left(s) ||
	       (!s->failures &&
		(s->allocs < STRESS_LEAST || s->attaches < STRESS_LEAST ||
		 s->translates < STRESS_LEAST || s->binds < STRESS_LEAST ||
		 s->invalidates < STRESS_LEAST));
}

/* One of these, and nothing else, may come out */
static void stress_result(struct stress *s, const char *what, int rc, int ok1,
			  int ok2, int ok3)
{
	if (!rc || rc == ok1 || rc == ok2 || rc == ok3)
		return;
	atomic_fetch_add(&s->failures, 1);
	fprintf(stderr, "# %s: %s\n", what, strerror(rc));
}

static void *stress_vdevices(void *arg)
{
	unsigned int seed = 1, i = 0;
	struct stress *s = arg;
	__u32 id = 0;
	int rc;

	while (stress_goes_on(s)) {
		i = rand_r(&seed) % 2;
		rc = vdevice_alloc(s->fd, s->viommu_id, s->dev_ids[i], 0x10 + i,
				   &id);
		/* There is one, or the device is unbound just now */
		stress_result(s, "vDEVICE alloc", rc, EEXIST, ENOENT, 0);
		if (!rc) {
			s->vdev_ids[i] = id;
			atomic_fetch_add(&s->allocs, 1);
		}
	}
	return NULL;
}

static void *stress_destroy(void *arg)
{
	unsigned int seed = 2, i;
	struct stress *s = arg;
	int rc;

	while (stress_goes_on(s)) {
		unsigned int none = 0, id;

		i = rand_r(&seed) % 2;
		/* Once only: after that the ID may be that of another object */
		id = atomic_exchange(&s->vdev_ids[i], 0);
		if (!id)
			continue;
		rc = do_destroy(s->fd, id);
		stress_result(s, "vDEVICE destroy", rc, EBUSY, ENOENT, 0);
		if (rc == EBUSY) {
			atomic_fetch_add(&s->busy, 1);
			atomic_compare_exchange_strong(&s->vdev_ids[i], &none,
						       id);
		}
	}
	return NULL;
}

static void *stress_attach(void *arg)
{
	unsigned int seed = 3, i;
	struct stress *s = arg;
	__u64 virt_id;
	__u32 pt_id;
	int rc, state;

	while (stress_goes_on(s)) {
		switch (rand_r(&seed) % 4) {
		case 0:
			pt_id = s->ioas_id;
			break;
		case 1:
			pt_id = s->bypass_id;
			break;
		default:
			pt_id = s->nested_ids[rand_r(&seed) % 2];
			break;
		}
		i = rand_r(&seed) % 2;
		rc = mock_dev_attach(s->fd, s->stdev_ids[i], pt_id);
		/* No vDEVICE, or not bound */
		stress_result(s, "attach", rc, ENOENT, EINVAL, 0);
		if (!rc)
			atomic_fetch_add(&s->attaches, 1);

		state = mock_dev_state(s->fd, s->stdev_ids[i], &virt_id);
		if (state != MOCK_DEV_STATE_TRANSLATE)
			continue;
		atomic_fetch_add(&s->translates, 1);
		/*
		 * Never without an ID. It may be the other one: the number of a
		 * device that was unbound can name the other device by the time
		 * that a vDEVICE is made of it.
		 */
		if (virt_id != 0x10 && virt_id != 0x11)
			stress_result(s, "virtual ID", EBADE, 0, 0, 0);
	}
	return NULL;
}

static void *stress_bind(void *arg)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	unsigned int seed = 4, i;
	struct stress *s = arg;
	__u32 id = 0;
	int rc;

	while (stress_goes_on(s)) {
		i = rand_r(&seed) % 2;
		rc = mock_dev_unbind(s->fd, s->stdev_ids[i]);
		stress_result(s, "unbind", rc, 0, 0, 0);
		rc = mock_dev_bind(s->fd, s->stdev_ids[i], &id);
		stress_result(s, "bind", rc, 0, 0, 0);
		s->dev_ids[i] = id;
		atomic_fetch_add(&s->binds, 1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void *stress_invalidate(void *arg)
{
	struct iommu_viommu_invalidate_selftest reqs[40] = {};
	unsigned int seed = 5, i;
	struct stress *s = arg;
	__u32 num;
	int rc;

	while (stress_goes_on(s)) {
		for (i = 0; i != ARRAY_SIZE(reqs); i++)
			reqs[i].vdev_id = 0x10 + rand_r(&seed) % 2;
		num = ARRAY_SIZE(reqs);
		rc = invalidate(s->fd, s->viommu_id,
				IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
				sizeof(*reqs), &num);
		stress_result(s, "invalidate", rc, EINVAL, 0, 0);
		if (num > ARRAY_SIZE(reqs) || (!rc && num != ARRAY_SIZE(reqs)) ||
		    (rc && num == ARRAY_SIZE(reqs)))
			stress_result(s, "count", EBADE, 0, 0, 0);
		atomic_fetch_add(&s->invalidates, 1);
	}
	return NULL;
}

static void *stress_objects(void *arg)
{
	unsigned int seed = 6;
	struct stress *s = arg;
	__u32 viommu_id = 0, hwpt_id = 0;
	int rc;

	while (stress_goes_on(s)) {
		__u32 dev_id = s->dev_ids[rand_r(&seed) % 2];

		rc = viommu_alloc(s->fd, dev_id, s->parent_id, &viommu_id);
		stress_result(s, "vIOMMU alloc", rc, ENOENT, 0, 0);
		if (rc)
			continue;
		rc = nested_alloc(s->fd, dev_id, viommu_id, 1, &hwpt_id);
		stress_result(s, "HWPT alloc", rc, ENOENT, 0, 0);
		if (!rc)
			stress_result(s, "HWPT destroy",
				      do_destroy(s->fd, hwpt_id), 0, 0, 0);
		stress_result(s, "vIOMMU destroy", do_destroy(s->fd, viommu_id),
			      0, 0, 0);
	}
	return NULL;
}

static void run_stress(struct __test_metadata *_metadata, struct stress *s)
{
	static void *(*const funcs[])(void *) = {
		stress_vdevices, stress_destroy, stress_attach,
		stress_bind, stress_invalidate, stress_objects,
	};
	pthread_t threads[ARRAY_SIZE(funcs)];
	struct timespec over, now;
	unsigned int i;

	clock_gettime(CLOCK_MONOTONIC, &s->end);
	s->end.tv_sec += STRESS_SECONDS;
	for (i = 0; i != ARRAY_SIZE(funcs); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, funcs[i], s));
	do {
		usleep(10000);
		clock_gettime(CLOCK_MONOTONIC, &over);
	} while (stress_goes_on(s));
	for (i = 0; i != ARRAY_SIZE(funcs); i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));

	TH_LOG("%u vDEVICEs, %u attaches, %u translate, %u binds, %u arrays, %u busy",
	       s->allocs, s->attaches, s->translates, s->binds, s->invalidates,
	       s->busy);
	EXPECT_EQ(0, s->failures);
	/* Nobody was left asleep, to be found by a timeout of the kernel */
	clock_gettime(CLOCK_MONOTONIC, &now);
	EXPECT_GT(STRESS_SLACK_SECONDS, now.tv_sec - over.tv_sec);
	EXPECT_LE(STRESS_LEAST, s->allocs);
	EXPECT_LE(STRESS_LEAST, s->attaches);
	EXPECT_LE(STRESS_LEAST, s->translates);
	EXPECT_LE(STRESS_LEAST, s->binds);
	EXPECT_LE(STRESS_LEAST, s->invalidates);
}

TEST_F(viommu, stress)
{
	struct stress s = {
		.fd = self->fd,
		.ioas_id = self->ioas_id,
		.parent_id = self->parent_id,
		.viommu_id = self->viommu_id,
		.bypass_id = self->bypass_id,
		.nested_ids = { self->nested_id },
		.stdev_ids = { self->stdev_id },
		.dev_ids = { self->dev_id },
	};
	__u32 dev_id;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id, 1,
				  &s.nested_ids[1]));
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &s.stdev_ids[1],
				       &dev_id));
	s.dev_ids[1] = dev_id;
	run_stress(_metadata, &s);
}

TEST_F(group, stress)
{
	struct stress s = {
		.fd = self->fd,
		.ioas_id = self->ioas_id,
		.parent_id = self->parent_id,
		.viommu_id = self->viommu_id,
		.bypass_id = self->bypass_id,
		.nested_ids = { self->nested_id },
		.stdev_ids = { self->stdev_ids[0], self->stdev_ids[1] },
		.dev_ids = { self->dev_ids[0], self->dev_ids[1] },
	};

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_ids[0], self->viommu_id,
				  1, &s.nested_ids[1]));
	run_stress(_metadata, &s);
}

TEST_HARNESS_MAIN
