// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_HWPT_INVALIDATE with a vIOMMU, on the mock driver
 */
#include "iommufd_viommu_fixtures.h"

/* Entries that the mock driver copies at a time, to test around */
#define INVALIDATE_BLOCK 16
#define INVALIDATE_NUM_MAX 524288

/* ---- IOMMU_HWPT_INVALIDATE ---- */

TEST_F(viommu, invalidate)
{
	struct iommu_viommu_invalidate_selftest req = {};
	__u32 stdev_id, dev_id, num, i;

	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 0x99, NULL);
	vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x88, NULL);

	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++)
		EXPECT_EQ(0, __dev_check_cache(self->fd, self->dev_id, i,
					       0xbaddad));
	EXPECT_EQ(EINVAL,
		  __dev_check_cache(self->fd, self->dev_id, i, 0xbaddad));
	EXPECT_EQ(EINVAL, __dev_check_cache(self->fd, self->dev_id, 0, 1));
	EXPECT_EQ(ENOENT, __dev_check_cache(self->fd, NO_SUCH_ID, 0, 0xbaddad));

	EXPECT_EQ(0,
		  __invalidate_one(self->fd, self->viommu_id, 0x99, 2, &num));
	EXPECT_EQ(1, num);
	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++) {
		EXPECT_EQ(0, __dev_check_cache(self->fd, self->dev_id, i,
					       i == 2 ? 0 : 0xbaddad));
		EXPECT_EQ(0, __dev_check_cache(self->fd, dev_id, i, 0xbaddad));
	}

	/* ALL ignores the number of the entry */
	req.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL;
	req.vdev_id = 0x88;
	req.cache_id = UINT32_MAX;
	num = 1;
	EXPECT_EQ(0, __invalidate(self->fd, self->viommu_id,
				  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &req,
				  sizeof(req), &num));
	EXPECT_EQ(1, num);
	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++) {
		EXPECT_EQ(0, __dev_check_cache(self->fd, self->dev_id, i,
					       i == 2 ? 0 : 0xbaddad));
		EXPECT_EQ(0, __dev_check_cache(self->fd, dev_id, i, 0));
	}
}

TEST_F(viommu, invalidate_errors)
{
	const __u32 type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
	const __u32 bad_type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID;
	struct iommu_viommu_invalidate_selftest req = { .vdev_id = 1 };
	const __u32 len = sizeof(req);
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = self->viommu_id,
		.data_uptr = (uintptr_t)&req,
		.data_type = type,
		.entry_len = len,
		.entry_num = 1,
	};
	__u32 fault_id, fault_fd, vdev_id, num;
	char *large = guarded_pages(2);
	unsigned int i;

	ASSERT_NE(NULL, large);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, &vdev_id);
	test_ioctl_fault_alloc(&fault_id, &fault_fd);
	memcpy(large, &req, len);

	const struct {
		const char *name;
		int err;
		__u32 id, type;
		const void *reqs;
		__u32 len, num;
	} rows[] = {
		{ "no array", EINVAL, self->viommu_id, type, NULL, len, 1 },
		{ "entries of 0 bytes", EINVAL, self->viommu_id, type, &req, 0, 1 },
		/* Nothing but its length is wrong */
		{ "an entry longer than a page", EINVAL, self->viommu_id, type,
		  large, PAGE_SIZE + 1, 1 },
		{ "one entry too many", EINVAL, self->viommu_id, type, &req,
		  len, INVALIDATE_NUM_MAX + 1 },
		{ "UINT32_MAX entries", EINVAL, self->viommu_id, type, &req,
		  len, UINT32_MAX },

		{ "no object", ENOENT, NO_SUCH_ID, type, &req, len, 1 },
		{ "a nest parent", EINVAL, self->parent_id, type, &req, len, 1 },
		{ "an IOAS", EINVAL, self->ioas_id, type, &req, len, 1 },
		{ "a device", EINVAL, self->dev_id, type, &req, len, 1 },
		{ "a vDEVICE", EINVAL, vdev_id, type, &req, len, 1 },
		{ "a fault queue", EINVAL, fault_id, type, &req, len, 1 },

		/* A domain of a vIOMMU has no caches of its own */
		{ "a nested domain", EOPNOTSUPP, self->nested_id, type, &req,
		  len, 1 },
		{ "a nested domain, no entries", EOPNOTSUPP, self->nested_id,
		  type, NULL, 0, 0 },

		{ "a bad type", EINVAL, self->viommu_id, bad_type, &req, len, 1 },
		{ "type 0", EINVAL, self->viommu_id, 0, &req, len, 1 },

		/* Without entries it only asks for the type */
		{ "no entries", 0, self->viommu_id, type, NULL, 0, 0 },
		{ "no entries of an array", 0, self->viommu_id, type, &req, len,
		  0 },
		{ "no entries of a bad type", EINVAL, self->viommu_id, bad_type,
		  NULL, 0, 0 },
		{ "no entries of type 0", EINVAL, self->viommu_id, 0, NULL, 0,
		  0 },

		{ "an unreadable array", EFAULT, self->viommu_id, type,
		  large + 2 * PAGE_SIZE, len, 1 },
	};

	cmd.__reserved = 1;
	EXPECT_EQ(EOPNOTSUPP, call(self->fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(0, cmd.entry_num);

	for (i = 0; i != ARRAY_SIZE(rows); i++) {
		num = rows[i].num;
		EXPECT_EQ(rows[i].err,
			  __invalidate(self->fd, rows[i].id, rows[i].type,
				       rows[i].reqs, rows[i].len, &num)) {
			TH_LOG("%s", rows[i].name);
		}
		EXPECT_EQ(0, num) {
			TH_LOG("%s", rows[i].name);
		}
	}
	for (i = 1; i != len; i++)
		EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, i, 1);
	for (i = 1; i != 32; i++) {
		req.flags = 1U << i;
		EXPECT_INVALIDATE(EOPNOTSUPP, 0, self->viommu_id, type, &req,
				  len, 1);
	}
	req.flags = 0;
	req.cache_id = MOCK_DEV_CACHE_ID_MAX + 1;
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, len, 1);
	req.cache_id = 0;
	req.vdev_id = 2;
	EXPECT_INVALIDATE(EINVAL, 0, self->viommu_id, type, &req, len, 1);

	/* None of them has done anything */
	for (i = 0; i != MOCK_DEV_CACHE_NUM; i++)
		EXPECT_EQ(0, __dev_check_cache(self->fd, self->dev_id, i,
					       0xbaddad));

	/* A longer entry is fine if what follows is 0 */
	req.vdev_id = 1;
	memcpy(large, &req, sizeof(req));
	memcpy(large + PAGE_SIZE, &req, sizeof(req));
	for (i = sizeof(req) + 1; i <= PAGE_SIZE; i++) {
		large[i - 1] = 1;
		num = 1;
		ASSERT_EQ(E2BIG, __invalidate(self->fd, self->viommu_id, type,
					      large, i, &num));
		ASSERT_EQ(0, num);
		large[i - 1] = 0;
	}
	EXPECT_EQ(0, __dev_check_cache(self->fd, self->dev_id, 0, 0xbaddad));
	EXPECT_INVALIDATE(0, 2, self->viommu_id, type, large, PAGE_SIZE, 2);
	EXPECT_EQ(0, __dev_check_cache(self->fd, self->dev_id, 0, 0));
	EXPECT_INVALIDATE(0, 1, self->viommu_id, type, large, sizeof(req) + 1,
			  1);
	close(fault_fd);
}

/* What a nested domain that belongs to no vIOMMU has, stays as it is */
TEST_F(viommu, invalidate_domain)
{
	struct iommu_hwpt_invalidate_selftest req = {};
	const __u32 type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
	__u32 hwpt_id;

	nested_alloc(self->fd, self->dev_id, self->parent_id, 0x1234, &hwpt_id);
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
		mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
		vdevice_alloc(self->fd, self->viommu_id, dev_id, 0x10,
			      &vdev_id);

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
			  __invalidate(self->fd, self->viommu_id,
				       IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				       reqs, sizeof(*reqs), &num));
		EXPECT_EQ(bad, num) {
			TH_LOG("kind %u", what);
		}
		EXPECT_EQ(0, __dev_check_cache(self->fd, dev_id, 0,
					       bad > 1 ? 0 : 0xbaddad));
		EXPECT_EQ(0, __dev_check_cache(self->fd, dev_id, 1,
					       bad > 0 ? 0 : 0xbaddad));
		EXPECT_EQ(0, __dev_check_cache(self->fd, dev_id, 2, 0xbaddad));
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

	ASSERT_NE(NULL, page);
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, NULL);
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
	__u32 i;

	reqs = calloc(INVALIDATE_NUM_MAX, sizeof(*reqs));
	ASSERT_NE(NULL, reqs);
	for (i = 0; i != INVALIDATE_NUM_MAX; i++)
		reqs[i].vdev_id = 1;
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 1, NULL);
	EXPECT_INVALIDATE(0, INVALIDATE_NUM_MAX, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
			  sizeof(*reqs), INVALIDATE_NUM_MAX);
	reqs[INVALIDATE_NUM_MAX - 1].vdev_id = 2;
	EXPECT_INVALIDATE(EINVAL, INVALIDATE_NUM_MAX - 1, self->viommu_id,
			  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
			  sizeof(*reqs), INVALIDATE_NUM_MAX);
	free(reqs);
}

TEST_HARNESS_MAIN
