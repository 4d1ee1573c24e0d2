/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls that the vIOMMU tests on the mock driver share
 *
 * A function with two underscores in front returns 0 or the errno that the kernel
 * gave, so that a test can compare with the one it expects. The same name without
 * them is a call that must succeed; the macros are at the end of the file.
 */
#ifndef __SELFTEST_IOMMUFD_VIOMMU_H
#define __SELFTEST_IOMMUFD_VIOMMU_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "iommufd_utils.h"

/*
 * Seconds that a test may take. On an emulated machine with KASAN that shares
 * its CPUs, the 30 s of the harness are too few.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

static __attribute__((constructor)) void setup_page_size(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
}

#define ASSERT_FIELD(type, field, offset, bytes)                      \
	static_assert(offsetof(struct type, field) == (offset) &&     \
		      sizeof_field(struct type, field) == (bytes),    \
		      #type "." #field)

#define MOCK_DEBUGFS "/sys/kernel/debug/iommufd_mock/"

/* Never an ID: they are handed out from 1, lowest first */
#define NO_SUCH_ID 0x7ffffff0

static inline int call(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? errno : 0;
}

/* The time in seconds since some point in the past */
static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/*
 * Wait until a thread of this process sleeps in system call @nr. The thread stores its
 * number in @tid, which is 0 before. Return false if it does not sleep within a minute,
 * which is far longer than it takes.
 */
static inline bool thread_sleeps(atomic_int *tid, long nr)
{
	char path[64], text[32];
	int i, fd;

	for (i = 0; i != 6000; i++) {
		ssize_t n;

		if (!atomic_load(tid)) {
			usleep(10000);
			continue;
		}
		snprintf(path, sizeof(path), "/proc/self/task/%d/syscall",
			 atomic_load(tid));
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return false;
		/* The number and arguments of the call, or "running" */
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
		if (text[0] != 'r' && strtol(text, NULL, 10) == nr)
			return true;
		usleep(10000);
	}
	return false;
}

static inline int __do_destroy(int fd, __u32 id)
{
	return _test_ioctl_destroy(fd, id) ? errno : 0;
}

static inline int __viommu_alloc_data(int fd, __u32 type, __u32 dev_id,
				      __u32 hwpt_id, void *data, __u32 data_len,
				      __u32 *viommu_id)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = type,
		.dev_id = dev_id,
		.hwpt_id = hwpt_id,
		.data_len = data_len,
		.data_uptr = (uintptr_t)data,
	};
	int rc = call(fd, IOMMU_VIOMMU_ALLOC, &cmd);

	if (!rc && viommu_id)
		*viommu_id = cmd.out_viommu_id;
	return rc;
}

static inline int __viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id,
				 __u32 *viommu_id)
{
	return __viommu_alloc_data(fd, IOMMU_VIOMMU_TYPE_SELFTEST, dev_id,
				   hwpt_id, NULL, 0, viommu_id);
}

static inline int __vdevice_alloc(int fd, __u32 viommu_id, __u32 dev_id,
				  __u64 virt_id, __u32 *vdevice_id)
{
	struct iommu_vdevice_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.dev_id = dev_id,
		.virt_id = virt_id,
	};
	int rc = call(fd, IOMMU_VDEVICE_ALLOC, &cmd);

	if (!rc && vdevice_id)
		*vdevice_id = cmd.out_vdevice_id;
	return rc;
}

static inline int __hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
			       __u32 *hwpt_id)
{
	return _test_cmd_hwpt_alloc(fd, dev_id, pt_id, 0, flags, hwpt_id,
				    IOMMU_HWPT_DATA_NONE, NULL, 0) ? errno : 0;
}

/* A nested domain with @iotlb, which says whether it translates */
static inline int __nested_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 iotlb,
				 __u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .iotlb = iotlb };

	return _test_cmd_hwpt_alloc(fd, dev_id, pt_id, 0, 0, hwpt_id,
				    IOMMU_HWPT_DATA_SELFTEST, &data,
				    sizeof(data)) ? errno : 0;
}

static inline int __invalidate(int fd, __u32 id, __u32 type, const void *reqs,
			       __u32 entry_len, __u32 *num)
{
	return _test_cmd_hwpt_invalidate(fd, id, (void *)reqs, type, entry_len,
					 num) ? errno : 0;
}

/* Invalidate one cache entry of a device */
static inline int __invalidate_one(int fd, __u32 viommu_id, __u32 virt_id,
				   __u32 cache_id, __u32 *num)
{
	struct iommu_viommu_invalidate_selftest req = {
		.vdev_id = virt_id,
		.cache_id = cache_id,
	};

	*num = 1;
	return __invalidate(fd, viommu_id,
			    IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &req,
			    sizeof(req), num);
}

static inline int __dev_replace(int fd, __u32 stdev_id, __u32 pt_id)
{
	return _test_cmd_mock_domain_replace(fd, stdev_id, pt_id, NULL) ?
		       errno : 0;
}

static inline int __dev_check_cache(int fd, __u32 dev_id, __u32 cache_id,
				    __u32 cache)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_CHECK_CACHE,
		.id = dev_id,
		.check_dev_cache = { .id = cache_id, .cache = cache },
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/*
 * The mock driver of another kernel can add a device that is bound and attached, move
 * it, and remove it. With FOREIGN_MOCK=1 in the environment that stands for the steps
 * below, so that tests run there which need no more: a device alone in its group.
 */
static inline bool foreign_mock(void)
{
	return getenv("FOREIGN_MOCK");
}

static inline int foreign_dev_add(int fd, __u32 *stdev_id, __u32 *dev_id)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
	};
	int rc = call(fd, IOMMU_IOAS_ALLOC, &ioas);

	cmd.id = ioas.out_ioas_id;
	rc = rc ?: call(fd, IOMMU_TEST_CMD, &cmd);
	*stdev_id = cmd.mock_domain.out_stdev_id;
	*dev_id = cmd.mock_domain.out_idev_id;
	return rc;
}

static inline int __mock_dev_add(int fd, __u32 flags, __u32 group_stdev_id,
				 __u32 *stdev_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DEV_ADD,
		.mock_dev_add = {
			.flags = flags,
			.group_stdev_id = group_stdev_id,
		},
	};
	int rc = call(fd, IOMMU_TEST_CMD, &cmd);

	if (!rc)
		*stdev_id = cmd.mock_dev_add.out_stdev_id;
	return rc;
}

static inline int __mock_dev_bind(int fd, __u32 stdev_id, __u32 *dev_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DEV_BIND,
		.id = stdev_id,
	};
	int rc = call(fd, IOMMU_TEST_CMD, &cmd);

	if (!rc && dev_id)
		*dev_id = cmd.mock_dev_bind.out_idev_id;
	return rc;
}

static inline int __mock_dev_unbind(int fd, __u32 stdev_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DEV_UNBIND,
		.id = stdev_id,
	};
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = stdev_id };

	if (foreign_mock())
		return call(fd, IOMMU_DESTROY, &destroy);
	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* Attach or replace; @pt_id 0 detaches */
static inline int __mock_dev_attach(int fd, __u32 stdev_id, __u32 pt_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DEV_ATTACH,
		.id = stdev_id,
		.mock_dev_attach = { .pt_id = pt_id },
	};

	/* It ends with the device there */
	if (foreign_mock() && !pt_id)
		return 0;
	if (foreign_mock()) {
		cmd.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE;
		cmd.mock_domain_replace.pt_id = pt_id;
	}
	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* A bound device, not attached */
static inline int __mock_dev_add_bind(int fd, __u32 flags, __u32 group_stdev_id,
				      __u32 *stdev_id, __u32 *dev_id)
{
	int rc;

	if (foreign_mock() && !flags && !group_stdev_id)
		return foreign_dev_add(fd, stdev_id, dev_id);
	rc = __mock_dev_add(fd, flags, group_stdev_id, stdev_id);

	return rc ?: __mock_dev_bind(fd, *stdev_id, dev_id);
}

#define NO_VIRT_ID (~0ULL)

/* What the mock IOMMU does with the DMA of a device, -1 on error */
static inline int mock_dev_state(int fd, __u32 stdev_id, __u64 *virt_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DEV_STATE,
		.id = stdev_id,
	};

	if (call(fd, IOMMU_TEST_CMD, &cmd))
		return -1;
	*virt_id = cmd.mock_dev_state.out_has_virt_id ?
			   cmd.mock_dev_state.out_virt_id : NO_VIRT_ID;
	return cmd.mock_dev_state.out_state;
}

#define EXPECT_STATE(_stdev_id, _state, _virt_id)                           \
	({                                                                  \
		__u64 __virt_id = 0;                                        \
		EXPECT_EQ(_state,                                           \
			  mock_dev_state(self->fd, _stdev_id, &__virt_id)); \
		EXPECT_EQ(_virt_id, __virt_id);                             \
	})

/* Return 0 if the domain maps @iova to the pages that @va has */
static inline int check_map(int fd, __u32 hwpt_id, __u64 iova, __u64 length,
			    const void *va)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_CHECK_MAP,
		.id = hwpt_id,
		.check_map = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)va,
		},
	};

	return call(fd, IOMMU_TEST_CMD, &cmd);
}

/* How many objects of a kind the mock driver has, -1 if it does not tell */
static inline int mock_count(const char *name)
{
	char path[100], buf[20] = "";
	int fd, n = -1;

	snprintf(path, sizeof(path), MOCK_DEBUGFS "%s", name);
	fd = open(path, O_RDONLY);
	/* The mock driver of another kernel counts nothing */
	if (fd < 0)
		return foreign_mock() ? 0 : -1;
	if (read(fd, buf, sizeof(buf) - 1) > 0)
		n = atoi(buf);
	close(fd);
	return n;
}

/* Expect as many vIOMMUs, vDEVICEs and domains of vIOMMUs in the driver */
#define EXPECT_COUNTS(_viommus, _vdevices, _domains)                       \
	({                                                                 \
		EXPECT_EQ(_viommus, mock_count("viommus"));                \
		EXPECT_EQ(_vdevices, mock_count("vdevices"));              \
		EXPECT_EQ(_domains, mock_count("nested_domains"));         \
	})

/* What the driver had to complain about before the test */
static __attribute__((unused)) int mock_errors_before;

/* At the start and the end of a test */
#define EXPECT_NOTHING_BEFORE()                                    \
	({                                                         \
		mock_errors_before = mock_count("errors");         \
		EXPECT_COUNTS(0, 0, 0);                            \
	})
#define EXPECT_NOTHING_LEFT()                                      \
	({                                                         \
		EXPECT_EQ(mock_errors_before, mock_count("errors"));\
		EXPECT_COUNTS(0, 0, 0);                            \
	})

/* Pages of which the last is followed by one that cannot be accessed */
static inline void *guarded_pages(unsigned int num)
{
	char *p = mmap(NULL, (num + 1) * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p + num * PAGE_SIZE, PAGE_SIZE, PROT_NONE))
		return NULL;
	return p;
}

/* Calls that must succeed: if one fails, the test ends. */
#define do_destroy(...) ASSERT_EQ(0, __do_destroy(__VA_ARGS__))
#define viommu_alloc_data(...) ASSERT_EQ(0, __viommu_alloc_data(__VA_ARGS__))
#define viommu_alloc(...) ASSERT_EQ(0, __viommu_alloc(__VA_ARGS__))
#define vdevice_alloc(...) ASSERT_EQ(0, __vdevice_alloc(__VA_ARGS__))
#define hwpt_alloc(...) ASSERT_EQ(0, __hwpt_alloc(__VA_ARGS__))
#define nested_alloc(...) ASSERT_EQ(0, __nested_alloc(__VA_ARGS__))
#define dev_replace(...) ASSERT_EQ(0, __dev_replace(__VA_ARGS__))
#define mock_dev_add(...) ASSERT_EQ(0, __mock_dev_add(__VA_ARGS__))
#define mock_dev_bind(...) ASSERT_EQ(0, __mock_dev_bind(__VA_ARGS__))
#define mock_dev_unbind(...) ASSERT_EQ(0, __mock_dev_unbind(__VA_ARGS__))
#define mock_dev_attach(...) ASSERT_EQ(0, __mock_dev_attach(__VA_ARGS__))
#define mock_dev_add_bind(...) ASSERT_EQ(0, __mock_dev_add_bind(__VA_ARGS__))

/* The two devices of a group get the virtual IDs 0x10 and 0x20. */
#define group_vdevices_alloc(_vdev_ids)                                 \
	({                                                              \
		vdevice_alloc(self->fd, self->viommu_id,                \
			      self->dev_ids[0], 0x10, &(_vdev_ids)[0]); \
		vdevice_alloc(self->fd, self->viommu_id,                \
			      self->dev_ids[1], 0x20, &(_vdev_ids)[1]); \
	})

#endif
