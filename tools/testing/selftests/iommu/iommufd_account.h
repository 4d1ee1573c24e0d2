/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of pinned and locked memory share
 *
 * A function with two underscores in front returns 0 or the errno that the kernel
 * gave. The same name without them is a call that must succeed. The file that
 * includes this one includes iommufd_utils.h, which has no guard, before.
 */
#ifndef __SELFTEST_IOMMUFD_ACCOUNT_H
#define __SELFTEST_IOMMUFD_ACCOUNT_H

#include <errno.h>
#include <unistd.h>
#include <linux/capability.h>
#include <sys/syscall.h>

/* Let an access pin pages, and compare them with those of @va unless NULL */
static inline int __access_pin(int fd, __u32 access_id, __u64 iova,
			       size_t length, const void *va, __u32 flags,
			       __u32 *pages_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.id = access_id,
		.access_pages = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)va,
			.flags = flags,
		},
	};
	int rc;

	rc = ioctl(fd, IOMMU_TEST_CMD, &cmd) ? errno : 0;
	*pages_id = cmd.access_pages.out_access_pages_id;
	return rc;
}

static inline int __access_unpin(int fd, __u32 access_id, __u32 pages_id)
{
	return _test_cmd_destroy_access_pages(fd, access_id, pages_id) ?
		       errno : 0;
}

/* The kernel charges the process from now on. Returns -1 on error. */
static inline int drop_ipc_lock(void)
{
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &hdr, data))
		return -1;
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	return syscall(SYS_capset, &hdr, data);
}

/* Calls that must succeed: if one fails, the test ends. */
#define access_pin(...) ASSERT_EQ(0, __access_pin(__VA_ARGS__))
#define access_unpin(...) ASSERT_EQ(0, __access_unpin(__VA_ARGS__))

#endif
