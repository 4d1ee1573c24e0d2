/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of IOMMU_IOAS_MAP_FILE on the mock driver share
 *
 * Every test of the fixture "file" runs on small pages, on transparent huge ones
 * and on hugetlb, with enough temporary memory for all pages at once and with
 * room for two. What is pinned is counted by the kernel's own counters, before,
 * in between and after. Hugetlb pages must be there to be allocated, so it wants
 * to run as root.
 */
#ifndef __SELFTEST_IOMMUFD_MAP_FILE_H
#define __SELFTEST_IOMMUFD_MAP_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "iommufd_viommu.h"
#include "iommufd_sweep.h"
#include "iommufd_account.h"

#define RW (IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)
#define RO IOMMU_IOAS_MAP_READABLE
#define FIXED IOMMU_IOAS_MAP_FIXED_IOVA

#define MOCK_IO_PAGE (PAGE_SIZE / 2)
#define HPAGE (2UL << 20)
/* Of each file, and how many huge pages the machine is made to have */
#define NUM_HPAGES 3
#define FILE_SIZE (NUM_HPAGES * HPAGE)
#define POOL_HPAGES 12
#define NUM_PAGES (FILE_SIZE / PAGE_SIZE)

static const char shmem_enabled[] =
	"/sys/kernel/mm/transparent_hugepage/shmem_enabled";

static inline long hugetlb_count(const char *key)
{
	return read_key("/proc/meminfo", key);
}

static __attribute__((constructor)) void setup(void)
{
	char num[20];

	if (hugetlb_count("HugePages_Total") < POOL_HPAGES) {
		snprintf(num, sizeof(num), "%u", POOL_HPAGES);
		write_str("/proc/sys/vm/nr_hugepages", num);
	}
}

static inline int map_file(int fd, __u32 ioas_id, int file, __u64 start,
			   __u64 length, __u64 *iova, __u32 flags)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.ioas_id = ioas_id,
		.fd = file,
		.start = start,
		.length = length,
	};
	int rc;

	if (flags & FIXED)
		cmd.iova = *iova;
	rc = ioctl(fd, IOMMU_IOAS_MAP_FILE, &cmd) ? errno : 0;
	*iova = cmd.iova;
	return rc;
}

static inline int map_va(int fd, __u32 ioas_id, void *va, __u64 length,
			 __u64 *iova, __u32 flags)
{
	return _test_ioctl_ioas_map(fd, ioas_id, va, length, iova, flags) ?
		       errno : 0;
}

static inline int unmap(int fd, __u32 ioas_id, __u64 iova, __u64 length)
{
	return _test_ioctl_ioas_unmap(fd, ioas_id, iova, length, NULL) ?
		       errno : 0;
}

static inline int copy(int fd, __u32 dst_id, __u32 src_id, __u64 src_iova,
		       __u64 length, __u64 *iova, __u32 flags)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dst_ioas_id = dst_id,
		.src_ioas_id = src_id,
		.length = length,
		.src_iova = src_iova,
	};
	int rc;

	if (flags & FIXED)
		cmd.dst_iova = *iova;
	rc = ioctl(fd, IOMMU_IOAS_COPY, &cmd) ? errno : 0;
	*iova = cmd.dst_iova;
	return rc;
}

static inline int access_rw(int fd, __u32 access_id, __u64 iova, void *buf,
			    size_t length, __u32 flags)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.id = access_id,
		.access_rw = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)buf,
			.flags = flags,
		},
	};

	return ioctl(fd, IOMMU_TEST_CMD, &cmd) ? errno : 0;
}

static inline int reopen(int file, int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return open(path, flags);
}

static inline int add_seals(int file, int seals)
{
	return fcntl(file, F_ADD_SEALS, seals) ? errno : 0;
}

/* The file stays as large as it is, and has no pages */
static inline int punch_all(int file)
{
	struct stat st;

	if (fstat(file, &st))
		return errno;
	return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 st.st_size) ? errno : 0;
}

/* A byte that tells pages from each other */
static inline char mark(unsigned long page)
{
	return 1 + page % 251;
}

static inline void fill(char *va, unsigned long length)
{
	unsigned long i;

	for (i = 0; i != length / PAGE_SIZE; i++)
		memset(va + i * PAGE_SIZE, mark(i), PAGE_SIZE);
}

/* ---- What every kind of file does ---- */

FIXTURE(file)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 hwpt_id;
	__u32 idev_id;
	int file;
	char *va;
	long pins;
	long free, rsvd;
};

FIXTURE_VARIANT(file)
{
	bool hugetlb;
	bool thp;
	/* Bytes of temporary memory for pages, 0 for the default */
	unsigned int limit;
};

FIXTURE_VARIANT_ADD(file, small) {};
FIXTURE_VARIANT_ADD(file, small_limit) { .limit = 16 };
FIXTURE_VARIANT_ADD(file, thp) { .thp = true };
FIXTURE_VARIANT_ADD(file, thp_limit) { .thp = true, .limit = 16 };
FIXTURE_VARIANT_ADD(file, hugetlb) { .hugetlb = true };
FIXTURE_VARIANT_ADD(file, hugetlb_limit) { .hugetlb = true, .limit = 16 };

static inline int new_file(bool hugetlb, size_t size)
{
	int file = memfd_create("file", MFD_ALLOW_SEALING |
					(hugetlb ? MFD_HUGETLB : 0));

	if (file >= 0 && ftruncate(file, size)) {
		close(file);
		return -1;
	}
	return file;
}

FIXTURE_SETUP(file)
{
	if (variant->hugetlb &&
	    hugetlb_count("HugePages_Free") < POOL_HPAGES)
		SKIP(return, "not enough huge pages");
	if (variant->hugetlb && hugetlb_count("Hugepagesize") != HPAGE / 1024)
		SKIP(return, "huge pages of another size");
	if (write_str(shmem_enabled, variant->thp ? "force" : "never") &&
	    variant->thp)
		SKIP(return, "no transparent huge pages in tmpfs");

	self->free = hugetlb_count("HugePages_Free");
	self->rsvd = hugetlb_count("HugePages_Rsvd");
	self->pins = pins();
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	if (variant->limit)
		test_ioctl_set_temp_memory_limit(variant->limit);
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, &self->hwpt_id,
			     &self->idev_id);
	self->file = new_file(variant->hugetlb, FILE_SIZE);
	ASSERT_NE(-1, self->file);
	/* So that nothing is reserved */
	self->va = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE, self->file, 0);
	ASSERT_NE(MAP_FAILED, self->va);
}

FIXTURE_TEARDOWN(file)
{
	test_ioctl_set_default_memory_limit();
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->pins, pins());
	munmap(self->va, FILE_SIZE);
	/* Refused where any page has a reference too many */
	EXPECT_EQ(0, add_seals(self->file, F_SEAL_WRITE));
	close(self->file);
	EXPECT_EQ(self->rsvd, hugetlb_count("HugePages_Rsvd"));
	EXPECT_EQ(self->free, hugetlb_count("HugePages_Free"));
	write_str(shmem_enabled, "never");
}

#define MAP(_start, _length, _iova)                                       \
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, _start, \
			      _length, _iova, RW))
#define UNMAP(_iova, _length) \
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, _iova, _length))
#define EXPECT_PINS(_num) EXPECT_EQ(self->pins + (long)(_num), pins())

#endif
