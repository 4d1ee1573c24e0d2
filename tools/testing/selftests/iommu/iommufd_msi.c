// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSI doorbells of mock devices: where they are mapped, at which IOVA
 *
 * A mock device has no interrupts. The tests say that a vector was set up with a
 * doorbell, and look where the mock domains map it.
 */
#include "iommufd_viommu.h"

#include "../kselftest_harness.h"

#define DOORBELL	0x40000000ULL

/* Set up a vector of a device; *@iova is what it is programmed with */
static int vector(int fd, __u32 stdev_id, __u64 doorbell, __u64 *iova)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DEV_VECTOR,
		.id = stdev_id,
		.mock_dev_vector = { .doorbell = doorbell },
	};
	int rc = call(fd, IOMMU_TEST_CMD, &cmd);

	if (!rc)
		*iova = cmd.mock_dev_vector.out_iova;
	return rc;
}

/* What a doorbell must be mapped as: IOMMU_WRITE | IOMMU_NOEXEC | IOMMU_MMIO */
#define DOORBELL_PROT	0x1a

/* What a HWPT maps @iova to, 0 if to nothing, and -1 if not as a doorbell */
static __u64 mapped_to(int fd, __u32 hwpt_id, __u64 iova)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_IOVA_TO_PHYS,
		.id = hwpt_id,
		.iova_to_phys = { .iova = iova },
	};

	if (call(fd, IOMMU_TEST_CMD, &cmd) ||
	    (cmd.iova_to_phys.out_phys &&
	     cmd.iova_to_phys.out_prot != DOORBELL_PROT))
		return -1ULL;
	return cmd.iova_to_phys.out_phys;
}

FIXTURE(msi)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 hwpt_ids[2];
};

FIXTURE_VARIANT(msi)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(msi, domain_complete_from_the_start)
{
	.flags = MOCK_FLAGS_DEVICE_SW_MSI,
};

FIXTURE_VARIANT_ADD(msi, domain_complete_once_attached)
{
	.flags = MOCK_FLAGS_DEVICE_SW_MSI | MOCK_FLAGS_DEVICE_LATE_DOMAIN,
};

/* A bound device that is not attached, and two HWPTs for it */
FIXTURE_SETUP(msi)
{
	int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, variant->flags, 0, &self->stdev_id,
			  &self->dev_id);
	for (i = 0; i < 2; i++)
		hwpt_alloc(self->fd, self->dev_id, self->ioas_id, 0,
			   &self->hwpt_ids[i]);
}

FIXTURE_TEARDOWN(msi)
{
	EXPECT_EQ(0, close(self->fd));
}

/* Let a HWPT be attached once, so that it can be mapped in */
static int attach_once(int fd, __u32 stdev_id, __u32 hwpt_id)
{
	return __mock_dev_attach(fd, stdev_id, hwpt_id) ?:
		       __mock_dev_attach(fd, stdev_id, 0);
}

TEST_F(msi, doorbell_is_mapped_where_the_device_is)
{
	__u64 iova = 0, again = 0;

	ASSERT_EQ(0, attach_once(self->fd, self->stdev_id, self->hwpt_ids[1]));
	mock_dev_attach(self->fd, self->stdev_id, self->hwpt_ids[0]);
	ASSERT_EQ(0, vector(self->fd, self->stdev_id, DOORBELL, &iova));
	EXPECT_EQ(MOCK_SW_MSI_START, iova);
	EXPECT_EQ(DOORBELL, mapped_to(self->fd, self->hwpt_ids[0], iova));
	EXPECT_EQ(0, mapped_to(self->fd, self->hwpt_ids[1], iova));

	mock_dev_attach(self->fd, self->stdev_id, self->hwpt_ids[1]);
	EXPECT_EQ(0, mapped_to(self->fd, self->hwpt_ids[0], iova));
	EXPECT_EQ(DOORBELL, mapped_to(self->fd, self->hwpt_ids[1], iova));

	/* A second vector on it changes nothing */
	ASSERT_EQ(0, vector(self->fd, self->stdev_id, DOORBELL, &again));
	EXPECT_EQ(iova, again);

	mock_dev_attach(self->fd, self->stdev_id, 0);
	EXPECT_EQ(0, mapped_to(self->fd, self->hwpt_ids[1], iova));
}

/* Some drivers complete a domain when it is attached for the first time */
TEST_F(msi, first_attach_after_vector)
{
	__u64 iova = 0;

	mock_dev_attach(self->fd, self->stdev_id, self->hwpt_ids[0]);
	ASSERT_EQ(0, vector(self->fd, self->stdev_id, DOORBELL, &iova));
	mock_dev_attach(self->fd, self->stdev_id, 0);

	EXPECT_EQ(0, __mock_dev_attach(self->fd, self->stdev_id,
				       self->hwpt_ids[1]));
	EXPECT_EQ(DOORBELL, mapped_to(self->fd, self->hwpt_ids[1], iova));
}

/* A replace that cannot map the doorbells leaves all as it was */
TEST_F(msi, replace_cannot_map)
{
	__u64 iova = 0;

	if (!(variant->flags & MOCK_FLAGS_DEVICE_LATE_DOMAIN))
		SKIP(return, "only a domain that is never attached fails to map");

	mock_dev_attach(self->fd, self->stdev_id, self->hwpt_ids[0]);
	ASSERT_EQ(0, vector(self->fd, self->stdev_id, DOORBELL, &iova));
	EXPECT_EQ(ENODEV, __mock_dev_attach(self->fd, self->stdev_id,
					    self->hwpt_ids[1]));
	EXPECT_EQ(DOORBELL, mapped_to(self->fd, self->hwpt_ids[0], iova));
	EXPECT_EQ(0, __do_destroy(self->fd, self->hwpt_ids[1]));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->hwpt_ids[0]));
}

/* One page of the window for each doorbell, and an error when it is full */
TEST_F(msi, window_is_full)
{
	__u64 i, slots = MOCK_SW_MSI_LENGTH / PAGE_SIZE, iova = 0;

	mock_dev_attach(self->fd, self->stdev_id, self->hwpt_ids[0]);
	for (i = 0; i < slots; i++) {
		ASSERT_EQ(0, vector(self->fd, self->stdev_id,
				    DOORBELL + i * PAGE_SIZE, &iova))
			TH_LOG("doorbell %llu of %llu", i, slots);
		ASSERT_EQ(MOCK_SW_MSI_START + i * PAGE_SIZE, iova)
			TH_LOG("doorbell %llu of %llu", i, slots);
		ASSERT_EQ(DOORBELL + i * PAGE_SIZE,
			  mapped_to(self->fd, self->hwpt_ids[0], iova))
			TH_LOG("doorbell %llu of %llu", i, slots);
	}
	EXPECT_EQ(ENOSPC, vector(self->fd, self->stdev_id,
				 DOORBELL + slots * PAGE_SIZE, &iova));
	/* Those that have a place keep it */
	EXPECT_EQ(0, vector(self->fd, self->stdev_id, DOORBELL, &iova));
	EXPECT_EQ(MOCK_SW_MSI_START, iova);
}

TEST_F(msi, detached_device_has_no_owner)
{
	__u64 iova;

	EXPECT_EQ(ENOTCONN, vector(self->fd, self->stdev_id, DOORBELL, &iova));
}

/* The window is reserved while, and only while, the device is attached */
TEST_F(msi, nested_uses_its_parent)
{
	__u32 parent_id, viommu_id, nested_ids[2];
	__u64 iova = 0;
	int i;

	hwpt_alloc(self->fd, self->dev_id, self->ioas_id,
		   IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_id);
	ASSERT_EQ(0, attach_once(self->fd, self->stdev_id, parent_id));
	viommu_alloc(self->fd, self->dev_id, parent_id, &viommu_id);
	vdevice_alloc(self->fd, viommu_id, self->dev_id, 1, NULL);
	for (i = 0; i < 2; i++)
		nested_alloc(self->fd, self->dev_id, viommu_id,
			     IOMMU_TEST_IOTLB_DEFAULT, &nested_ids[i]);

	mock_dev_attach(self->fd, self->stdev_id, nested_ids[0]);
	ASSERT_EQ(0, vector(self->fd, self->stdev_id, DOORBELL, &iova));
	EXPECT_EQ(DOORBELL, mapped_to(self->fd, parent_id, iova));
	mock_dev_attach(self->fd, self->stdev_id, nested_ids[1]);
	EXPECT_EQ(DOORBELL, mapped_to(self->fd, parent_id, iova));
	mock_dev_attach(self->fd, self->stdev_id, 0);
	EXPECT_EQ(0, mapped_to(self->fd, parent_id, iova));
}

FIXTURE(untranslated)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
};

/* A device whose IOMMU does not translate MSIs */
FIXTURE_SETUP(untranslated)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id, NULL);
	mock_dev_attach(self->fd, self->stdev_id, self->ioas_id);
}

FIXTURE_TEARDOWN(untranslated)
{
	EXPECT_EQ(0, close(self->fd));
}

TEST_F(untranslated, vector_keeps_the_doorbell)
{
	__u64 iova = 1;

	ASSERT_EQ(0, vector(self->fd, self->stdev_id, DOORBELL, &iova));
	EXPECT_EQ(0, iova);
}

TEST_HARNESS_MAIN
