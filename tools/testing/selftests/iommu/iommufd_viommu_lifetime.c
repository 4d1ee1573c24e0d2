// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs, vDEVICEs and nested domains on the mock driver: attach and destruction
 *
 * What may go first, and what holds what.
 */
#include "iommufd_viommu_fixtures.h"

/* ---- Attach ---- */

TEST_F(viommu, attach)
{
	__u32 vdev_id, viommu2_id, nested2_id, plain_id, id;

	/* Translation takes a vDEVICE. Nothing changes without one. */
	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(self->nested_id);

	/* Bypass does not */
	dev_replace(self->fd, self->stdev_id, self->bypass_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->bypass_id));

	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id);
	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_id, self->nested_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);

	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 0x77, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x77);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->nested_id));
	test_ioctl_destroy(self->bypass_id);

	/* On another vIOMMU it has none. The old attachment stays. */
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &viommu2_id);
	nested_alloc(self->fd, self->dev_id, viommu2_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &nested2_id);
	EXPECT_EQ(ENOENT, __dev_replace(self->fd, self->stdev_id, nested2_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x77);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->nested_id));
	test_ioctl_destroy(nested2_id);
	test_ioctl_destroy(viommu2_id);

	/* Objects that are no HWPT */
	EXPECT_EQ(EINVAL,
		  __dev_replace(self->fd, self->stdev_id, self->viommu_id));
	EXPECT_EQ(EINVAL, __dev_replace(self->fd, self->stdev_id, vdev_id));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x77);

	/* A nested domain that belongs to no vIOMMU needs no vDEVICE */
	nested_alloc(self->fd, self->dev_id, self->parent_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &plain_id);
	dev_replace(self->fd, self->stdev_id, plain_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(vdev_id);
	test_ioctl_destroy(self->nested_id);
	dev_replace(self->fd, self->stdev_id, self->ioas_id);
	dev_replace(self->fd, self->stdev_id, plain_id);
	dev_replace(self->fd, self->stdev_id, self->parent_id);
	test_ioctl_destroy(plain_id);

	/* As first attachment */
	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id);
	mock_dev_attach(self->fd, self->stdev_id, 0);
	EXPECT_EQ(ENOENT,
		  __mock_dev_attach(self->fd, self->stdev_id, self->nested_id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 0x78, &id);
	mock_dev_attach(self->fd, self->stdev_id, self->nested_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 0x78);
	mock_dev_attach(self->fd, self->stdev_id, 0);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(id);
}

TEST_F(viommu, attach_other_iommu)
{
	__u32 stdev_id, dev_id;

	mock_dev_add_bind(self->fd, MOCK_FLAGS_DEVICE_SECOND_IOMMU, 0,
			  &stdev_id, &dev_id);
	EXPECT_EQ(EINVAL,
		  __mock_dev_attach(self->fd, stdev_id, self->bypass_id));
	mock_dev_attach(self->fd, stdev_id, self->ioas_id);
	EXPECT_EQ(EINVAL,
		  __mock_dev_attach(self->fd, stdev_id, self->bypass_id));
	EXPECT_NE(0, __mock_dev_attach(self->fd, stdev_id, self->nested_id));
	EXPECT_STATE(stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
}

/* ---- The pin ---- */

TEST_F(viommu, pin)
{
	__u32 nested2_id, viommu2_id, other_id, vdev_id, id, num;

	nested_alloc(self->fd, self->dev_id, self->viommu_id, 0x1234,
		     &nested2_id);
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &viommu2_id);
	nested_alloc(self->fd, self->dev_id, viommu2_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &other_id);

	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 5, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));
	/* It works as before */
	EXPECT_EQ(0, __invalidate_one(self->fd, self->viommu_id, 5, 0, &num));
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 5);

	/* To the same, to another translating one, and by a failure */
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));
	dev_replace(self->fd, self->stdev_id, nested2_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));
	EXPECT_EQ(ENOENT, __dev_replace(self->fd, self->stdev_id, other_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));

	/* Free in bypass, also of what the driver keeps */
	dev_replace(self->fd, self->stdev_id, self->bypass_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, 5);
	do_destroy(self->fd, vdev_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	EXPECT_EQ(EINVAL,
		  __invalidate_one(self->fd, self->viommu_id, 5, 0, &num));
	EXPECT_EQ(ENOENT,
		  __dev_replace(self->fd, self->stdev_id, self->nested_id));

	/* Back with another ID, as when a guest renumbers its buses */
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 6, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_TRANSLATE, 6);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));

	/* Free after a replace by stage 2, and after a detach */
	dev_replace(self->fd, self->stdev_id, self->ioas_id);
	do_destroy(self->fd, vdev_id);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 7, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	mock_dev_attach(self->fd, self->stdev_id, 0);
	do_destroy(self->fd, vdev_id);

	/* A domain of another vIOMMU that does not translate */
	nested_alloc(self->fd, self->dev_id, viommu2_id,
		     IOMMU_TEST_IOTLB_BYPASS, &id);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 8, &vdev_id);
	mock_dev_attach(self->fd, self->stdev_id, self->nested_id);
	dev_replace(self->fd, self->stdev_id, id);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_BYPASS, NO_VIRT_ID);
	do_destroy(self->fd, vdev_id);
}

/* ---- IOMMU_DESTROY ---- */

TEST_F(viommu, destroy_parent_first)
{
	__u32 vdev_id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->ioas_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->parent_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->nested_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, vdev_id));
	EXPECT_COUNTS(1, 1, 2);

	/* A vDEVICE alone holds it */
	dev_replace(self->fd, self->stdev_id, self->ioas_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	test_ioctl_destroy(vdev_id);

	/* A nested domain alone does */
	nested_alloc(self->fd, self->dev_id, self->viommu_id,
		     IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	test_ioctl_destroy(self->bypass_id);

	/* A vIOMMU alone holds its nest parent */
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->parent_id));
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
	EXPECT_COUNTS(0, 0, 0);

	EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_id));
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, self->viommu_id));
}

/* Each order of vDEVICE and domains, with the device there or gone */
TEST_F(viommu, destroy_child_first)
{
	unsigned int order;

	for (order = 0; order != 8; order++) {
		__u32 stdev_id, dev_id, viommu_id, nested_id = 0, vdev_id;

		mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
		viommu_alloc(self->fd, dev_id, self->parent_id, &viommu_id);
		nested_alloc(self->fd, dev_id, viommu_id,
			     IOMMU_TEST_IOTLB_DEFAULT, &nested_id);
		vdevice_alloc(self->fd, viommu_id, dev_id, 1, &vdev_id);
		mock_dev_attach(self->fd, stdev_id, nested_id);
		mock_dev_attach(self->fd, stdev_id, 0);

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
				  __do_destroy(self->fd, vdev_id));
		test_ioctl_destroy(viommu_id);
		if (!(order & 4))
			test_ioctl_destroy(stdev_id);
		EXPECT_COUNTS(1, 0, 2);
	}
}

/* A file that is closed takes everything along, attached or not */
TEST_F(viommu, close_attached)
{
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, NULL);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
}

/* ---- The device goes first ---- */

TEST_F(viommu, device_gone)
{
	struct iommu_viommu_invalidate_selftest req = { .vdev_id = 1 };
	__u32 stdev_id, dev_id, vdev_id, num;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	EXPECT_COUNTS(1, 1, 2);
	/* Even where it is pinned */
	test_ioctl_destroy(self->stdev_id);
	EXPECT_COUNTS(1, 0, 2);

	/* The virtual ID does not resolve, the ID is no object */
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &req,
			  sizeof(req), 1);
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_id));
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_id));
	EXPECT_INVALIDATE(ENOENT, 0, vdev_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &req,
			  sizeof(req), 1);
	EXPECT_EQ(ENOENT,
		  __vdevice_alloc(self->fd, vdev_id, self->dev_id, 2, NULL));

	/* Another device may have the virtual ID */
	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
	EXPECT_NE(vdev_id, stdev_id);
	EXPECT_NE(vdev_id, dev_id);
	EXPECT_EQ(ENOENT, __dev_replace(self->fd, stdev_id, vdev_id));
	EXPECT_EQ(ENOENT, __mock_dev_attach(self->fd, stdev_id, vdev_id));
	vdevice_alloc(self->fd, self->viommu_id, dev_id, 1, NULL);
	EXPECT_EQ(0, __invalidate_one(self->fd, self->viommu_id, 1, 0, &num));
	EXPECT_EQ(0, __dev_check_cache(self->fd, dev_id, 0, 0));
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_id));
}

TEST_F(viommu, device_unbound)
{
	__u32 vdev_id, old_dev_id = self->dev_id;

	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &vdev_id);
	dev_replace(self->fd, self->stdev_id, self->nested_id);
	mock_dev_unbind(self->fd, self->stdev_id);
	EXPECT_COUNTS(1, 0, 2);
	EXPECT_STATE(self->stdev_id, MOCK_DEV_STATE_OTHER, NO_VIRT_ID);
	EXPECT_EQ(ENOENT, __vdevice_alloc(self->fd, self->viommu_id, old_dev_id,
					  1, NULL));

	/* The same device comes back as a new one */
	mock_dev_bind(self->fd, self->stdev_id, &self->dev_id);
	EXPECT_EQ(ENOENT,
		  __mock_dev_attach(self->fd, self->stdev_id, self->nested_id));
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, vdev_id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, NULL);
	mock_dev_attach(self->fd, self->stdev_id, self->nested_id);
}

/* IDs of vDEVICEs that went with their device are not used again */
TEST_F(viommu, retired_ids)
{
	enum { ROUNDS = 100, LATER = 4 * ROUNDS };
	__u32 retired[ROUNDS], stdev_id, dev_id, id;
	unsigned int i, j;

	for (i = 0; i != ROUNDS; i++) {
		mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
		vdevice_alloc(self->fd, self->viommu_id, dev_id, i,
			      &retired[i]);
		for (j = 0; j != i; j++) {
			ASSERT_NE(retired[j], retired[i]);
			ASSERT_NE(retired[j], dev_id);
			ASSERT_NE(retired[j], stdev_id);
		}
		test_ioctl_destroy(stdev_id);
		ASSERT_EQ(ENOENT, __do_destroy(self->fd, retired[i]));
	}
	EXPECT_COUNTS(1, 0, 2);

	for (i = 0; i != LATER; i++) {
		test_ioctl_ioas_alloc(&id);
		for (j = 0; j != ROUNDS; j++)
			ASSERT_NE(retired[j], id);
	}
	for (j = 0; j != ROUNDS; j++)
		ASSERT_EQ(ENOENT, __do_destroy(self->fd, retired[j]));

	/* One that was destroyed by its ID is an ordinary free ID */
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &id);
	test_ioctl_destroy(id);
	test_ioctl_ioas_alloc(&stdev_id);
	EXPECT_EQ(id, stdev_id);
}

TEST_HARNESS_MAIN
