// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs, vDEVICEs and nested domains of a vIOMMU, on the mock driver: allocation
 *
 * What user space can ask for, and the error of each mistake.
 */
#include "iommufd_viommu_fixtures.h"

static int nested_alloc_data(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
			     __u32 fault_id, __u32 type, void *data,
			     size_t len, __u32 *hwpt_id)
{
	return _test_cmd_hwpt_alloc(fd, dev_id, pt_id, fault_id, flags, hwpt_id,
				    type, data, len) ? errno : 0;
}

/* ---- No objects needed ---- */

FIXTURE(abi)
{
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
			  __viommu_alloc_data(self->fd, id, self->dev_id,
					      self->parent_id, NULL, 0, NULL));
	EXPECT_EQ(EOPNOTSUPP,
		  __viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST + 1,
				      self->dev_id, self->parent_id, NULL, 0,
				      NULL));

	EXPECT_EQ(ENOENT,
		  __viommu_alloc(self->fd, NO_SUCH_ID, self->parent_id, NULL));
	EXPECT_EQ(ENOENT, __viommu_alloc(self->fd, 0, self->parent_id, NULL));
	EXPECT_EQ(ENOENT, __viommu_alloc(self->fd, self->stdev_id,
					 self->parent_id, NULL));

	EXPECT_EQ(ENOENT,
		  __viommu_alloc(self->fd, self->dev_id, NO_SUCH_ID, NULL));
	EXPECT_EQ(ENOENT,
		  __viommu_alloc(self->fd, self->dev_id, self->ioas_id, NULL));
	EXPECT_EQ(ENOENT, __viommu_alloc(self->fd, self->dev_id,
					 self->nested_id, NULL));
	EXPECT_EQ(ENOENT, __viommu_alloc(self->fd, self->dev_id,
					 self->viommu_id, NULL));

	/* Paging, but not made to be a nest parent */
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id, 0, &plain_id);
	EXPECT_EQ(EINVAL,
		  __viommu_alloc(self->fd, self->dev_id, plain_id, NULL));
	test_ioctl_destroy(plain_id);
	ASSERT_EQ(0, _test_cmd_mock_domain(self->fd, self->ioas_id, &id,
					   &auto_id, NULL));
	EXPECT_EQ(EINVAL,
		  __viommu_alloc(self->fd, self->dev_id, auto_id, NULL));

	/* A nest parent of another IOMMU */
	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU, 0,
			  &second_stdev_id, &second_dev_id);
	test_cmd_hwpt_alloc(second_dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &second_parent_id);
	EXPECT_EQ(EINVAL, __viommu_alloc(self->fd, second_dev_id,
					 self->parent_id, NULL));
	EXPECT_EQ(EINVAL, __viommu_alloc(self->fd, self->dev_id,
					 second_parent_id, NULL));
	EXPECT_EQ(0, __viommu_alloc(self->fd, second_dev_id, second_parent_id,
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
	viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST, self->dev_id,
			  self->parent_id, &data, sizeof(data), &id);
	EXPECT_EQ(0xcafe1234, data.in_data);
	EXPECT_EQ(0xcafe1234, data.out_data);
	EXPECT_COUNTS(2, 0, 2);
	test_ioctl_destroy(id);

	EXPECT_EQ(EINVAL,
		  __viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				      self->dev_id, self->parent_id, &data,
				      sizeof(data) - 1, &id));
	EXPECT_EQ(EINVAL,
		  __viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				      self->dev_id, self->parent_id, &large,
				      sizeof(large), &id));
	EXPECT_EQ(EFAULT,
		  __viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				      self->dev_id, self->parent_id, NULL,
				      sizeof(data), &id));
	EXPECT_EQ(EFAULT,
		  __viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
				      self->dev_id, self->parent_id,
				      page + PAGE_SIZE - 8, sizeof(data), &id));

	/* It can be read, but not be answered: the vIOMMU is destroyed again */
	at_end = (void *)(page + PAGE_SIZE - sizeof(*at_end));
	at_end->in_data = 7;
	ASSERT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(EFAULT,
		  __viommu_alloc_data(self->fd, IOMMU_VIOMMU_TYPE_SELFTEST,
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

	EXPECT_EQ(ENOENT,
		  __vdevice_alloc(self->fd, NO_SUCH_ID, self->dev_id, 1, NULL));
	EXPECT_EQ(ENOENT, __vdevice_alloc(self->fd, self->nested_id,
					  self->dev_id, 1, NULL));
	EXPECT_EQ(ENOENT, __vdevice_alloc(self->fd, self->viommu_id, NO_SUCH_ID,
					  1, NULL));
	EXPECT_EQ(ENOENT, __vdevice_alloc(self->fd, self->viommu_id,
					  self->stdev_id, 1, NULL));

	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU, 0,
			  &second_stdev_id, &second_dev_id);
	EXPECT_EQ(EINVAL, __vdevice_alloc(self->fd, self->viommu_id,
					  second_dev_id, 1, NULL));

	/* The mock IOMMU has 32 bits */
	EXPECT_EQ(EINVAL, __vdevice_alloc(self->fd, self->viommu_id,
					  self->dev_id, 1ULL << 32, NULL));
	EXPECT_EQ(EINVAL, __vdevice_alloc(self->fd, self->viommu_id,
					  self->dev_id, ~0ULL, NULL));

	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_NO_VDEVICE, 0, &stdev_id,
			  &dev_id);
	EXPECT_EQ(EOPNOTSUPP,
		  __vdevice_alloc(self->fd, self->viommu_id, dev_id, 1, NULL));
	test_ioctl_destroy(stdev_id);
	EXPECT_COUNTS(1, 0, 2);

	/* None of these has taken an ID, of this device or of the vIOMMU */
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &vdev_id);
	EXPECT_COUNTS(1, 1, 2);

	/* One per device, whatever the vIOMMU */
	EXPECT_EQ(EEXIST, __vdevice_alloc(self->fd, self->viommu_id,
					  self->dev_id, 1, NULL));
	EXPECT_EQ(EEXIST, __vdevice_alloc(self->fd, self->viommu_id,
					  self->dev_id, 2, NULL));
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &viommu2_id);
	EXPECT_EQ(EEXIST,
		  __vdevice_alloc(self->fd, viommu2_id, self->dev_id, 1, NULL));

	/* One per virtual ID, of each vIOMMU */
	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
	EXPECT_EQ(EEXIST,
		  __vdevice_alloc(self->fd, self->viommu_id, dev_id, 1, NULL));
	EXPECT_EQ(0, __vdevice_alloc(self->fd, viommu2_id, dev_id, 1, &id));
	EXPECT_COUNTS(2, 2, 2);

	/* A child holds its vIOMMU, failed calls do not */
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, viommu2_id));
	test_ioctl_destroy(id);
	test_ioctl_destroy(viommu2_id);
	test_ioctl_destroy(vdev_id);

	/* The device and the ID can be used again at once */
	EXPECT_EQ(0,
		  __vdevice_alloc(self->fd, self->viommu_id, dev_id, 1, NULL));
	EXPECT_EQ(0, __vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 2,
				     NULL));
}

TEST_F(viommu, vdevice_virt_ids)
{
	static const __u64 virt_ids[] = { 0, 1, 0x99, 0xffff, 1U << 31,
					  UINT32_MAX };
	__u32 vdev_id, num;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(virt_ids); i++) {
		vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
			      virt_ids[i], &vdev_id);
		/* It resolves, its neighbour does not */
		EXPECT_EQ(0, __invalidate_one(self->fd, self->viommu_id,
					      virt_ids[i], 0, &num));
		EXPECT_EQ(EINVAL, __invalidate_one(self->fd, self->viommu_id,
						   virt_ids[i] ^ 1, 0, &num));
		test_ioctl_destroy(vdev_id);
		EXPECT_EQ(EINVAL, __invalidate_one(self->fd, self->viommu_id,
						   virt_ids[i], 0, &num));
	}
}

TEST_F(viommu, vdevice_no_slot)
{
	__u32 stdev_ids[MOCK_VIOMMU_VDEVICES_MAX], dev_id, vdev_id;
	unsigned int i;

	for (i = 0; i != MOCK_VIOMMU_VDEVICES_MAX; i++) {
		mock_dev_add_bind(self->fd, 0, 0, &stdev_ids[i], &dev_id);
		vdevice_alloc(self->fd, self->viommu_id, dev_id, i, &vdev_id);
	}
	EXPECT_EQ(ENOSPC, __vdevice_alloc(self->fd, self->viommu_id,
					  self->dev_id, i, NULL));
	test_ioctl_destroy(vdev_id);
	EXPECT_EQ(0, __vdevice_alloc(self->fd, self->viommu_id, self->dev_id, i,
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

	EXPECT_EQ(ENOENT, __nested_alloc(self->fd, NO_SUCH_ID, self->viommu_id,
					 0, &id));
	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU, 0,
			  &stdev_id, &dev_id);
	EXPECT_EQ(EINVAL,
		  __nested_alloc(self->fd, dev_id, self->viommu_id, 0, &id));

	data.pagetable_type = 1;
	EXPECT_EQ(EOPNOTSUPP,
		  nested_alloc_data(self->fd, self->dev_id, self->viommu_id, 0,
				    0, type, &data, sizeof(data), &id));

	/* Neither a vDEVICE nor a nested domain is a parent */
	EXPECT_EQ(EINVAL, __nested_alloc(self->fd, self->dev_id,
					 self->nested_id, 0, &id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &id);
	EXPECT_EQ(EINVAL, __nested_alloc(self->fd, self->dev_id, id, 0, &id));

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

	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
	nested_alloc(self->fd, dev_id, self->viommu_id, 0x1234, &id);
	test_cmd_hwpt_check_iotlb_all(id, 0x1234);
	test_ioctl_destroy(stdev_id);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, NULL);
	EXPECT_EQ(0, __dev_replace(self->fd, self->stdev_id, id));
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
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, fault_id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, NULL);
	rc = __dev_replace(self->fd, self->stdev_id, hwpt_id);
	if (rc == ENODEV) {
		close(fault_fd);
		SKIP(return, "kernel without CONFIG_IOMMU_IOPF");
	}
	ASSERT_EQ(0, rc);
	test_cmd_trigger_iopf(self->dev_id, fault_fd);

	dev_replace(self->fd, self->stdev_id, self->ioas_id);
	test_ioctl_destroy(hwpt_id);
	close(fault_fd);
	test_ioctl_destroy(fault_id);
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

	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_PASID, 0, &stdev_id,
			  &dev_id);
	cmd.dev_id = dev_id;
	ASSERT_EQ(0, call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(MOCK_PASID_WIDTH, cmd.out_max_pasid_log2);

	/* What a VMM must not offer its guest */
	EXPECT_EQ(1U << 3,
		  cmd.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_ATS, 0, &stdev_id,
			  &dev_id);
	cmd.dev_id = dev_id;
	ASSERT_EQ(0, call(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(0, cmd.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
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
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &vdev_id);
	EXPECT_RESPONSE_FAULT(IOMMU_HWPT_INVALIDATE, inv);

	test_ioctl_destroy(vdev_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
	EXPECT_COUNTS(0, 0, 0);
}

TEST_HARNESS_MAIN
