// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE on the mock driver
 *
 * Every test of the fixture "file" runs on small pages, on transparent huge ones
 * and on hugetlb, with enough temporary memory for all pages at once and with
 * room for two. What is pinned is counted by the kernel's own counters, before,
 * in between and after. Hugetlb pages must be there to be allocated, so it wants
 * to run as root.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/falloc.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "iommufd_utils.h"
#include "iommufd_sweep.h"
#include "iommufd_account.h"

/*
 * Seconds that a test may take. On an emulated machine with KASAN that shares
 * its CPUs, the 30 s of the harness are too few.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

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

/* Never an ID: they are handed out from 1, lowest first */
#define NO_SUCH_ID 0x7ffffff0

static const char shmem_enabled[] =
	"/sys/kernel/mm/transparent_hugepage/shmem_enabled";

static long hugetlb_count(const char *key)
{
	return read_key("/proc/meminfo", key);
}

static __attribute__((constructor)) void setup(void)
{
	char num[20];

	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
	if (hugetlb_count("HugePages_Total") < POOL_HPAGES) {
		snprintf(num, sizeof(num), "%u", POOL_HPAGES);
		write_str("/proc/sys/vm/nr_hugepages", num);
	}
}

static int map_file(int fd, __u32 ioas_id, int file, __u64 start, __u64 length,
		    __u64 *iova, __u32 flags)
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

static int map_va(int fd, __u32 ioas_id, void *va, __u64 length, __u64 *iova,
		  __u32 flags)
{
	return _test_ioctl_ioas_map(fd, ioas_id, va, length, iova, flags) ?
		       errno : 0;
}

static int unmap(int fd, __u32 ioas_id, __u64 iova, __u64 length)
{
	return _test_ioctl_ioas_unmap(fd, ioas_id, iova, length, NULL) ?
		       errno : 0;
}

static int copy(int fd, __u32 dst_id, __u32 src_id, __u64 src_iova,
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

/* Whether the domain has the pages that @va has */
static int check_map(int fd, __u32 hwpt_id, __u64 iova, __u64 length,
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

	return ioctl(fd, IOMMU_TEST_CMD, &cmd) ? errno : 0;
}

static int access_rw(int fd, __u32 access_id, __u64 iova, void *buf,
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

static int reopen(int file, int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return open(path, flags);
}

static int add_seals(int file, int seals)
{
	return fcntl(file, F_ADD_SEALS, seals) ? errno : 0;
}

/* The file stays as large as it is, and has no pages */
static int punch_all(int file)
{
	struct stat st;

	if (fstat(file, &st))
		return errno;
	return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 st.st_size) ? errno : 0;
}

/* A byte that tells pages from each other */
static char mark(unsigned long page)
{
	return 1 + page % 251;
}

static void fill(char *va, unsigned long length)
{
	unsigned long i;

	for (i = 0; i != length / PAGE_SIZE; i++)
		memset(va + i * PAGE_SIZE, mark(i), PAGE_SIZE);
}

/* ---- What needs one file of one kind ---- */

FIXTURE(abi) {
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 hwpt_id;
	int file;
	long pins;
};

FIXTURE_SETUP(abi)
{
	self->pins = pins();
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, &self->hwpt_id,
			     NULL);
	self->file = memfd_create("abi", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	ASSERT_NE(-1, self->file);
	ASSERT_EQ(0, ftruncate(self->file, 16 * PAGE_SIZE));
}

FIXTURE_TEARDOWN(abi)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->pins, pins());
	close(self->file);
}

#define ASSERT_FIELD(type, field, offset, bytes)                      \
	static_assert(offsetof(struct type, field) == (offset) &&     \
		      sizeof_field(struct type, field) == (bytes),    \
		      #type "." #field)

static_assert(sizeof(struct iommu_ioas_map_file) == 40, "iommu_ioas_map_file");
ASSERT_FIELD(iommu_ioas_map_file, size, 0, 4);
ASSERT_FIELD(iommu_ioas_map_file, flags, 4, 4);
ASSERT_FIELD(iommu_ioas_map_file, ioas_id, 8, 4);
ASSERT_FIELD(iommu_ioas_map_file, fd, 12, 4);
ASSERT_FIELD(iommu_ioas_map_file, start, 16, 8);
ASSERT_FIELD(iommu_ioas_map_file, length, 24, 8);
ASSERT_FIELD(iommu_ioas_map_file, iova, 32, 8);
static_assert(_IO(0x3b, 0x8f) == IOMMU_IOAS_MAP_FILE, "IOMMU_IOAS_MAP_FILE");

TEST_F(abi, sizes)
{
	struct iommu_ioas_map_file cmd = {
		.flags = RW,
		.ioas_id = NO_SUCH_ID,
		.fd = self->file,
		.length = PAGE_SIZE,
	};
	unsigned int size;
	char buf[100];
	char *page;

	/* ENOENT, from the ID, says that the size was fine */
	memset(buf, 0, sizeof(buf));
	memcpy(buf, &cmd, sizeof(cmd));
	for (size = 0; size != sizeof(buf); size++) {
		*(__u32 *)buf = size;
		ASSERT_EQ(-1, ioctl(self->fd, IOMMU_IOAS_MAP_FILE, buf));
		ASSERT_EQ(size < 40 ? EINVAL : ENOENT, errno);
	}
	*(__u32 *)buf = sizeof(buf);
	for (size = 40; size != sizeof(buf); size++) {
		buf[size] = 1;
		EXPECT_ERRNO(E2BIG, ioctl(self->fd, IOMMU_IOAS_MAP_FILE, buf));
		buf[size] = 0;
	}

	page = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, mprotect(page + PAGE_SIZE, PAGE_SIZE, PROT_NONE));
	cmd.size = sizeof(cmd);
	memcpy(page + PAGE_SIZE - 36, &cmd, 36);
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_IOAS_MAP_FILE,
				   page + PAGE_SIZE - 36));
	munmap(page, 2 * PAGE_SIZE);
}

#define EXPECT_MAP(_errno, _file, _start, _length, _iova, _flags)          \
	({                                                                 \
		__u64 __iova = _iova;                                      \
		EXPECT_EQ(_errno, map_file(self->fd, self->ioas_id, _file, \
					   _start, _length, &__iova,       \
					   _flags));                       \
	})

TEST_F(abi, errors)
{
	const __u64 top = -(__u64)PAGE_SIZE;
	__u64 iova = MOCK_APERTURE_START;
	int file = self->file;
	int fd;

	/* As IOMMU_IOAS_MAP */
	EXPECT_MAP(EOPNOTSUPP, file, 0, PAGE_SIZE, iova, RW | FIXED | 8);
	EXPECT_MAP(EOPNOTSUPP, file, 0, PAGE_SIZE, iova, RW | 1U << 31);
	EXPECT_MAP(EINVAL, file, 0, PAGE_SIZE, iova, FIXED);
	EXPECT_MAP(EINVAL, file, 0, PAGE_SIZE, iova, 0);
	EXPECT_MAP(EOVERFLOW, file, 0, PAGE_SIZE, ~0ULL, RW | FIXED);
	EXPECT_MAP(EOVERFLOW, file, 0, ~0ULL, iova, RW | FIXED);
	EXPECT_MAP(EINVAL, file, 0, PAGE_SIZE, iova + 1, RW | FIXED);
	EXPECT_MAP(EINVAL, file, 0, PAGE_SIZE - 1, iova, RW | FIXED);
	EXPECT_MAP(EINVAL, file, 1, PAGE_SIZE, iova, RW | FIXED);
	EXPECT_MAP(EINVAL, file, 1, PAGE_SIZE, iova, RW);
	EXPECT_MAP(EINVAL, file, 0, PAGE_SIZE, PAGE_SIZE, RW | FIXED);
	EXPECT_EQ(ENOENT, map_file(self->fd, NO_SUCH_ID, file, 0, PAGE_SIZE,
				   &iova, RW | FIXED));
	EXPECT_EQ(ENOENT, map_file(self->fd, self->hwpt_id, file, 0, PAGE_SIZE,
				   &iova, RW | FIXED));

	/* No file */
	EXPECT_MAP(EBADF, -1, 0, PAGE_SIZE, iova, RW);
	EXPECT_MAP(EBADF, 1 << 20, 0, PAGE_SIZE, iova, RW);
	fd = dup(file);
	ASSERT_EQ(0, close(fd));
	EXPECT_MAP(EBADF, fd, 0, PAGE_SIZE, iova, RW);
	fd = reopen(file, O_PATH);
	ASSERT_NE(-1, fd);
	EXPECT_MAP(EBADF, fd, 0, PAGE_SIZE, iova, RW);
	close(fd);

	/* Not that kind of file */
	EXPECT_MAP(EINVAL, self->fd, 0, PAGE_SIZE, iova, RW);
	fd = eventfd(0, 0);
	EXPECT_MAP(EINVAL, fd, 0, PAGE_SIZE, iova, RW);
	close(fd);
	fd = open("/proc/self/status", O_RDONLY);
	EXPECT_MAP(EINVAL, fd, 0, PAGE_SIZE, iova, RO);
	close(fd);
	fd = open("/dev/zero", O_RDWR);
	EXPECT_MAP(EINVAL, fd, 0, PAGE_SIZE, iova, RW);
	close(fd);
	fd = open("/", O_RDONLY | O_DIRECTORY);
	EXPECT_MAP(EINVAL, fd, 0, PAGE_SIZE, iova, RO);
	close(fd);

	/* Not in the file */
	EXPECT_MAP(EINVAL, file, 0, 0, iova, RW);
	EXPECT_MAP(EINVAL, file, 0, 0, iova, RW | FIXED);
	EXPECT_MAP(EINVAL, file, 16 * PAGE_SIZE, PAGE_SIZE, iova, RW | FIXED);
	EXPECT_MAP(EINVAL, file, 15 * PAGE_SIZE, 2 * PAGE_SIZE, iova, RW);
	EXPECT_MAP(EOVERFLOW, file, top, 2 * PAGE_SIZE, iova, RW | FIXED);
	EXPECT_MAP(EOVERFLOW, file, 2 * PAGE_SIZE, top, iova, RW | FIXED);
	/* These do not wrap */
	EXPECT_MAP(EINVAL, file, top, PAGE_SIZE, iova, RW | FIXED);
	EXPECT_MAP(EINVAL, file, 1ULL << 63, PAGE_SIZE, iova, RW | FIXED);
	EXPECT_MAP(EINVAL, file, (1ULL << 63) - PAGE_SIZE, PAGE_SIZE, iova,
		   RW | FIXED);

	/* None has left anything at that IOVA, nor holds the file */
	EXPECT_MAP(0, file, 0, 16 * PAGE_SIZE, iova, RW | FIXED);
	EXPECT_EQ(self->pins + 16, pins());
	EXPECT_MAP(EEXIST, file, 0, PAGE_SIZE, iova, RW | FIXED);
	EXPECT_EQ(0, unmap(self->fd, self->ioas_id, iova, 16 * PAGE_SIZE));
	EXPECT_EQ(0, add_seals(file, F_SEAL_WRITE));
}

/* Nothing is left behind an answer that cannot be written */
TEST_F(abi, answer)
{
	struct iommu_ioas_map_file *cmd;

	cmd = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = (struct iommu_ioas_map_file) {
		.size = sizeof(*cmd),
		.flags = RW | FIXED,
		.ioas_id = self->ioas_id,
		.fd = self->file,
		.length = PAGE_SIZE,
		.iova = MOCK_APERTURE_START,
	};
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, IOMMU_IOAS_MAP_FILE, cmd));
	munmap(cmd, PAGE_SIZE);
	EXPECT_EQ(ENOENT, unmap(self->fd, self->ioas_id, MOCK_APERTURE_START,
				PAGE_SIZE));
	EXPECT_EQ(0, add_seals(self->file, F_SEAL_WRITE));
}

TEST_F(abi, permissions)
{
	unsigned int hugetlb;

	for (hugetlb = 0; hugetlb != 2; hugetlb++) {
		size_t size = hugetlb ? HPAGE : PAGE_SIZE;
		int file, ro, wo;

		file = memfd_create("perm", MFD_ALLOW_SEALING |
					    (hugetlb ? MFD_HUGETLB : 0));
		ASSERT_NE(-1, file);
		ASSERT_EQ(0, ftruncate(file, size));
		ro = reopen(file, O_RDONLY);
		ASSERT_NE(-1, ro);
		wo = reopen(file, O_WRONLY);
		ASSERT_NE(-1, wo);

		EXPECT_MAP(EPERM, ro, 0, size, 0, RW);
		EXPECT_MAP(EPERM, ro, 0, size, 0, IOMMU_IOAS_MAP_WRITEABLE);
		EXPECT_MAP(EPERM, wo, 0, size, 0, RW);
		EXPECT_MAP(EPERM, wo, 0, size, 0, RO);
		EXPECT_MAP(EPERM, wo, 0, size, 0, IOMMU_IOAS_MAP_WRITEABLE);
		EXPECT_MAP(0, ro, 0, size, 0, RO);
		EXPECT_MAP(0, file, 0, size, 0, RO);
		EXPECT_MAP(0, file, 0, size, 0, RW);
		EXPECT_MAP(0, file, 0, size, 0, IOMMU_IOAS_MAP_WRITEABLE);
		EXPECT_EQ(self->pins + 4 * (size / PAGE_SIZE), pins());

		/* No seal against writing under a writeable mapping */
		EXPECT_EQ(EBUSY, add_seals(file, F_SEAL_WRITE));
		EXPECT_EQ(0, unmap(self->fd, self->ioas_id, 0, ~0ULL));
		EXPECT_EQ(self->pins, pins());

		/* Nor while the pages of one that is read-only are pinned */
		EXPECT_MAP(0, ro, 0, size, 0, RO);
		EXPECT_EQ(EBUSY, add_seals(file, F_SEAL_WRITE));
		EXPECT_EQ(0, unmap(self->fd, self->ioas_id, 0, ~0ULL));

		/* One that comes later leaves it alone, and refuses the next */
		EXPECT_MAP(0, file, 0, size, 0, RW);
		EXPECT_EQ(0, add_seals(file, F_SEAL_FUTURE_WRITE));
		EXPECT_MAP(EPERM, file, 0, size, 0, RW);
		EXPECT_MAP(0, file, 0, size, 0, RO);
		EXPECT_EQ(EBUSY, add_seals(file, F_SEAL_WRITE));
		EXPECT_EQ(0, unmap(self->fd, self->ioas_id, 0, ~0ULL));

		EXPECT_EQ(0, add_seals(file, F_SEAL_WRITE));
		EXPECT_MAP(EPERM, file, 0, size, 0, RW);
		EXPECT_MAP(EPERM, file, 0, size, 0, IOMMU_IOAS_MAP_WRITEABLE);
		EXPECT_MAP(0, file, 0, size, 0, RO);
		EXPECT_EQ(0, unmap(self->fd, self->ioas_id, 0, ~0ULL));
		close(ro);
		close(wo);
		close(file);
	}
}

/* The seal is kept out while nothing is pinned, too, because it could be later */
TEST_F(abi, seal_unpinned)
{
	__u32 ioas_id;
	__u64 iova, iova2;

	test_ioctl_ioas_alloc(&ioas_id);
	EXPECT_EQ(0, map_file(self->fd, ioas_id, self->file, 0, PAGE_SIZE,
			      &iova, RW));
	EXPECT_EQ(self->pins, pins());
	EXPECT_EQ(EBUSY, add_seals(self->file, F_SEAL_WRITE));
	/* A copy of it counts */
	EXPECT_EQ(0, copy(self->fd, ioas_id, ioas_id, iova, PAGE_SIZE, &iova2,
			  RW));
	EXPECT_EQ(0, unmap(self->fd, ioas_id, iova, PAGE_SIZE));
	EXPECT_EQ(EBUSY, add_seals(self->file, F_SEAL_WRITE));
	EXPECT_EQ(0, unmap(self->fd, ioas_id, iova2, PAGE_SIZE));
	EXPECT_EQ(0, add_seals(self->file, F_SEAL_WRITE));

	/* And a copy has no more rights than the mapping */
	EXPECT_EQ(0, map_file(self->fd, ioas_id, self->file, 0, PAGE_SIZE,
			      &iova, RO));
	EXPECT_EQ(EPERM, copy(self->fd, ioas_id, ioas_id, iova, PAGE_SIZE,
			      &iova2, RW));
	EXPECT_EQ(0, copy(self->fd, ioas_id, ioas_id, iova, PAGE_SIZE, &iova2,
			  RO));
}

/* A file with a name is as good */
TEST_F(abi, named_files)
{
	static const char path[] = "/dev/shm/iommufd_map_file";
	struct statfs fs;
	__u64 iova;
	char *va;
	int file;

	if (statfs("/dev/shm", &fs) || fs.f_type != 0x01021994)
		SKIP(return, "no tmpfs at /dev/shm");
	file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ASSERT_NE(-1, file);
	unlink(path);
	ASSERT_EQ(0, ftruncate(file, 4 * PAGE_SIZE));
	va = mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file,
		  0);
	ASSERT_NE(MAP_FAILED, va);
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, file, 0, 4 * PAGE_SIZE,
			      &iova, RW));
	/* The mapping alone keeps it */
	close(file);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova, 4 * PAGE_SIZE,
			       va));
	munmap(va, 4 * PAGE_SIZE);
	EXPECT_EQ(0, unmap(self->fd, self->ioas_id, iova, 4 * PAGE_SIZE));
}

/* The range is looked at when it is pinned, not before */
TEST_F(abi, late)
{
	__u64 iova = MOCK_APERTURE_START;
	__u32 ioas_id, stdev_id, hwpt_id;

	test_ioctl_ioas_alloc(&ioas_id);
	ASSERT_EQ(0, map_file(self->fd, ioas_id, self->file, 0, 17 * PAGE_SIZE,
			      &iova, RW | FIXED));
	test_err_mock_domain(EINVAL, ioas_id, &stdev_id, &hwpt_id);
	EXPECT_EQ(self->pins, pins());
	ASSERT_EQ(0, ftruncate(self->file, 17 * PAGE_SIZE));
	test_cmd_mock_domain(ioas_id, &stdev_id, &hwpt_id, NULL);
	EXPECT_EQ(self->pins + 17, pins());
	test_ioctl_destroy(stdev_id);
	EXPECT_EQ(self->pins, pins());

	/* All of the page with the last byte can be used, as with mmap() */
	EXPECT_EQ(0, unmap(self->fd, ioas_id, 0, ~0ULL));
	ASSERT_EQ(0, ftruncate(self->file, PAGE_SIZE + 1));
	EXPECT_MAP(0, self->file, 0, 2 * PAGE_SIZE, 0, RW);
	EXPECT_MAP(0, self->file, PAGE_SIZE, PAGE_SIZE, 0, RW);
	EXPECT_MAP(EINVAL, self->file, 0, 3 * PAGE_SIZE, 0, RW);
	EXPECT_MAP(EINVAL, self->file, 2 * PAGE_SIZE, PAGE_SIZE, 0, RW);
	EXPECT_EQ(self->pins + 3, pins());
}

/*
 * tmpfs does not zero what fallocate() allocates before it is used. A mapping is
 * a use: nothing of what the memory held before shows, and the zeroes do not come
 * after what was written.
 */
TEST_F(abi, fallocated)
{
	const size_t size = 16 * PAGE_SIZE;
	unsigned int i, round;
	__u32 access_id;
	char buf[64], *va;

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	for (round = 0; round != 4; round++) {
		__u64 iova;
		int file;

		/* Leave something to be found */
		va = mmap(NULL, 256 * size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, va);
		memset(va, 0x5a, 256 * size);
		munmap(va, 256 * size);

		file = memfd_create("fallocated", 0);
		ASSERT_NE(-1, file);
		ASSERT_EQ(0, fallocate(file, 0, 0, size));
		ASSERT_EQ(0, map_file(self->fd, self->ioas_id, file, 0, size,
				      &iova, RW));
		for (i = 0; i != size / PAGE_SIZE; i++) {
			memset(buf, 1, sizeof(buf));
			ASSERT_EQ(0, access_rw(self->fd, access_id,
					       iova + i * PAGE_SIZE, buf,
					       sizeof(buf), 0));
			ASSERT_EQ(0, buf[0]);
			ASSERT_EQ(0, memcmp(buf, buf + 1, sizeof(buf) - 1));
			memset(buf, mark(i), sizeof(buf));
			ASSERT_EQ(0, access_rw(self->fd, access_id,
					       iova + i * PAGE_SIZE, buf,
					       sizeof(buf),
					       MOCK_ACCESS_RW_WRITE));
		}
		va = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
		ASSERT_NE(MAP_FAILED, va);
		for (i = 0; i != size / PAGE_SIZE; i++) {
			ASSERT_EQ(mark(i), va[i * PAGE_SIZE]);
			ASSERT_EQ(0, va[i * PAGE_SIZE + sizeof(buf)]);
		}
		munmap(va, size);
		EXPECT_EQ(0, unmap(self->fd, self->ioas_id, iova, size));
		close(file);
	}
	test_cmd_destroy_access(access_id);
}

/* One page in many mappings */
TEST_F(abi, many)
{
	const unsigned int num = 2000;
	unsigned int i;
	__u64 iova;

	for (i = 0; i != num; i++) {
		iova = MOCK_APERTURE_START + i * PAGE_SIZE;
		ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file,
				      (i % 2) * PAGE_SIZE, PAGE_SIZE, &iova,
				      RW | FIXED));
	}
	EXPECT_EQ(self->pins + num, pins());
	for (i = 0; i != num; i += 2)
		ASSERT_EQ(0, unmap(self->fd, self->ioas_id,
				   MOCK_APERTURE_START + i * PAGE_SIZE,
				   PAGE_SIZE));
	EXPECT_EQ(self->pins + num / 2, pins());
	EXPECT_EQ(0, unmap(self->fd, self->ioas_id, 0, ~0ULL));
	EXPECT_EQ(self->pins, pins());
	EXPECT_EQ(0, add_seals(self->file, F_SEAL_WRITE));
}

/* ---- What else has an eye on the file ---- */

/* @size bytes of address space that start at a multiple of HPAGE */
static char *mmap_aligned(int file, size_t size)
{
	char *va, *start;

	va = mmap(NULL, size + HPAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		  -1, 0);
	if (va == MAP_FAILED)
		return va;
	start = (char *)(((uintptr_t)va + HPAGE - 1) & -HPAGE);
	return mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    file, 0);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

#define COLLAPSE_SIZE (4 * HPAGE)

struct collapse {
	char *va;
	pthread_barrier_t start;
	atomic_bool stop;
	/* Of the last call that nothing was in the way of */
	double takes;
};

static void *collapse_thread(void *arg)
{
	struct collapse *c = arg;

	for (;;) {
		double start;
		int rc;

		pthread_barrier_wait(&c->start);
		if (c->stop)
			return NULL;
		start = now();
		rc = madvise(c->va, COLLAPSE_SIZE, MADV_COLLAPSE);
		if (!rc)
			c->takes = now() - start;
		pthread_barrier_wait(&c->start);
	}
}

/*
 * MADV_COLLAPSE, like khugepaged, copies small pages into a huge one, which takes
 * their place in the file. A device must not be left on the small ones, so
 * MAP_FILE starts anywhere in the middle of it. The first page of a huge one is
 * the first to be looked at and waits longest for its end.
 */
TEST_F_TIMEOUT(abi, collapse, 900)
{
	const char *env = getenv("COLLAPSE_ROUNDS");
	unsigned int rounds = env ? atoi(env) : 20, round, i;
	unsigned int huge = 0, small = 0, seed = 1;
	struct collapse c = {};
	pthread_t thread;
	int file;

	file = memfd_create("collapse", 0);
	ASSERT_NE(-1, file);
	ASSERT_EQ(0, ftruncate(file, COLLAPSE_SIZE));
	ASSERT_EQ(0, write_str(shmem_enabled, "never"));
	c.va = mmap_aligned(file, COLLAPSE_SIZE);
	ASSERT_NE(MAP_FAILED, c.va);
	memset(c.va, 1, COLLAPSE_SIZE);
	if (madvise(c.va, COLLAPSE_SIZE, MADV_COLLAPSE) && errno == EINVAL)
		SKIP(return, "no MADV_COLLAPSE");
	ASSERT_EQ(0, pthread_barrier_init(&c.start, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, collapse_thread, &c));

	for (round = 0; round != rounds; round++) {
		size_t step = round % 2 ? HPAGE : COLLAPSE_SIZE;
		size_t length = round % 2 ? PAGE_SIZE : COLLAPSE_SIZE;
		const unsigned int num = COLLAPSE_SIZE / step;
		__u64 iova[COLLAPSE_SIZE / HPAGE];
		double from, delay;
		long before;
		int rc = 0;

		ASSERT_EQ(0, punch_all(file));
		fill(c.va, COLLAPSE_SIZE);
		ASSERT_EQ(0, madvise(c.va, COLLAPSE_SIZE, MADV_DONTNEED));
		before = hugetlb_count("ShmemHugePages");
		/* The first round only takes the time */
		delay = c.takes * (rand_r(&seed) % 1000) / 1000;
		pthread_barrier_wait(&c.start);
		from = now();
		while (now() - from < delay)
			;
		for (i = 0; round && i != num; i++)
			rc = rc ?: map_file(self->fd, self->ioas_id, file,
					    i * step, length, &iova[i], RW);
		pthread_barrier_wait(&c.start);
		ASSERT_EQ(0, rc);
		if (hugetlb_count("ShmemHugePages") - before ==
		    COLLAPSE_SIZE / 1024)
			huge++;
		else
			small++;
		if (!round)
			continue;
		ASSERT_EQ(self->pins + (long)(num * length / PAGE_SIZE),
			  pins());
		for (i = 0; i != num; i++) {
			ASSERT_EQ(0, check_map(self->fd, self->hwpt_id, iova[i],
					       length, c.va + i * step)) {
				TH_LOG("round %u, %u: not what the file has",
				       round, i);
			}
			ASSERT_EQ(0, unmap(self->fd, self->ioas_id, iova[i],
					   length));
		}
	}
	c.stop = true;
	pthread_barrier_wait(&c.start);
	pthread_join(thread, NULL);
	TH_LOG("%u rounds all huge, %u not", huge, small);
	EXPECT_NE(0, huge);
	munmap(c.va, COLLAPSE_SIZE);
	close(file);
}

/* Number of kiB that ZONE_MOVABLE has */
static long movable_kib(void)
{
	char line[200];
	long pages = 0;
	bool in = false;
	FILE *f;

	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "Node", 4))
			in = strstr(line, "Movable");
		else if (in && strstr(line, " managed "))
			pages += atol(strstr(line, " managed ") + 9);
	}
	fclose(f);
	return pages * (PAGE_SIZE / 1024);
}

/* Within @seconds: the status of the child, or -1 if it is still there */
static int wait_for(pid_t pid, double seconds)
{
	double end = now() + seconds;
	int status;

	do {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(10000);
	} while (now() < end);
	return -1;
}

/*
 * Poisoned memory cannot be moved out of ZONE_MOVABLE, where no device may be
 * left on it. MAP_FILE must say so, rather than try for ever.
 */
TEST_F_TIMEOUT(abi, poisoned, 120)
{
	unsigned int hugetlb;

	if (movable_kib() < 64 * 1024)
		SKIP(return, "needs ZONE_MOVABLE: boot with movablecore=");
	for (hugetlb = 0; hugetlb != 2; hugetlb++) {
		size_t page = hugetlb ? HPAGE : PAGE_SIZE, size = 3 * page;
		__u64 iova;
		int file, status;
		char *va;
		pid_t pid;

		file = memfd_create("poisoned", hugetlb ? MFD_HUGETLB : 0);
		ASSERT_NE(-1, file);
		ASSERT_EQ(0, ftruncate(file, size));
		/* The process that has it mapped gets a SIGBUS */
		pid = fork();
		ASSERT_NE(-1, pid);
		if (!pid) {
			va = mmap(NULL, size, PROT_READ | PROT_WRITE,
				  MAP_SHARED, file, 0);
			if (va == MAP_FAILED)
				_exit(1);
			fill(va, size);
			/* May report that the page is still in use */
			if (madvise(va + page, PAGE_SIZE, MADV_HWPOISON) &&
			    (errno == EINVAL || errno == EPERM))
				_exit(2);
			_exit(0);
		}
		status = wait_for(pid, 60);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
			SKIP(return, "no MADV_HWPOISON, or no permission");
		ASSERT_TRUE(status == 0 ||
			    (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));

		pid = fork();
		ASSERT_NE(-1, pid);
		if (!pid)
			_exit(map_file(self->fd, self->ioas_id, file, 0, size,
				       &iova, RW));
		status = wait_for(pid, 30);
		if (status == -1) {
			kill(pid, SIGKILL);
			TH_LOG("%s: does not return, and %s",
			       hugetlb ? "hugetlb" : "memfd",
			       wait_for(pid, 30) == -1 ? "cannot be killed" :
							 "dies");
		}
		ASSERT_TRUE(WIFEXITED(status));
		EXPECT_EQ(EFAULT, WEXITSTATUS(status));
		EXPECT_EQ(self->pins, pins());

		/* What is in front of it and behind it can be had */
		EXPECT_MAP(0, file, 0, page, 0, RW);
		EXPECT_MAP(0, file, 2 * page, page, 0, RW);
		EXPECT_EQ(self->pins + 2 * (long)(page / PAGE_SIZE), pins());
		EXPECT_EQ(0, unmap(self->fd, self->ioas_id, 0, ~0ULL));
		close(file);
	}
}

struct permission {
	int fan;
	int fd;
	/* To be destroyed while the permission is asked for, 0 for none */
	__u32 ioas_id;
	int destroyed;
	unsigned int response;
	unsigned int asked;
	atomic_bool stop;
};

/* Answer what is asked about the file */
static void *permission_thread(void *arg)
{
	struct permission *p = arg;
	struct fanotify_event_metadata event;

	while (!p->stop) {
		struct pollfd pollfd = { .fd = p->fan, .events = POLLIN };
		struct fanotify_response response = {};

		if (poll(&pollfd, 1, 50) != 1)
			continue;
		if (read(p->fan, &event, sizeof(event)) != sizeof(event))
			break;
		response.fd = event.fd;
		response.response = p->response;
		p->asked++;
		if (p->ioas_id) {
			p->destroyed = _test_ioctl_destroy(p->fd, p->ioas_id) ?
					       errno : 0;
			p->ioas_id = 0;
		}
		if (write(p->fan, &response, sizeof(response)) < 0)
			break;
		close(event.fd);
	}
	return NULL;
}

/* Those who may refuse a read() of the file may refuse this, and take their time */
TEST_F(abi, permission_is_asked)
{
	struct permission p = { .fd = self->fd, .response = FAN_DENY };
	pthread_t thread;
	char path[40], c;
	__u32 ioas_id;
	__u64 iova;

	p.fan = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->file);
	if (p.fan < 0 || fanotify_mark(p.fan, FAN_MARK_ADD, FAN_ACCESS_PERM,
				       AT_FDCWD, path))
		SKIP(return, "kernel without FANOTIFY_ACCESS_PERMISSIONS");
	ASSERT_EQ(0, pthread_create(&thread, NULL, permission_thread, &p));

	ASSERT_EQ(-1, read(self->file, &c, 1));
	ASSERT_EQ(EPERM, errno);
	EXPECT_MAP(EPERM, self->file, 0, PAGE_SIZE, 0, RO);
	EXPECT_MAP(EPERM, self->file, 0, PAGE_SIZE, 0, RW);
	EXPECT_LE(3, p.asked);
	p.response = FAN_ALLOW;
	EXPECT_MAP(0, self->file, 0, PAGE_SIZE, 0, RW);
	EXPECT_EQ(self->pins + 1, pins());

	/* No object is held meanwhile */
	test_ioctl_ioas_alloc(&ioas_id);
	p.ioas_id = ioas_id;
	EXPECT_EQ(ENOENT, map_file(self->fd, ioas_id, self->file, 0, PAGE_SIZE,
				   &iova, RW));
	EXPECT_EQ(0, p.destroyed);
	EXPECT_EQ(0, p.ioas_id);

	p.stop = true;
	pthread_join(thread, NULL);
	close(p.fan);
}

/*
 * With shmem_enabled=advise a page fault follows the MADV_HUGEPAGE of the mapping.
 * A file has none, so it has to be populated before it is mapped by MAP_FILE.
 */
TEST_F(abi, advised_huge_pages)
{
	const size_t size = 4 * HPAGE;
	unsigned int how;

	if (write_str(shmem_enabled, "advise"))
		SKIP(return, "no transparent huge pages in tmpfs");
	for (how = 0; how != 3; how++) {
		long before = hugetlb_count("ShmemHugePages"), got;
		char *va;
		__u64 iova;
		int file;

		file = memfd_create("advised", 0);
		ASSERT_NE(-1, file);
		ASSERT_EQ(0, ftruncate(file, size));
		va = mmap_aligned(file, size);
		ASSERT_NE(MAP_FAILED, va);
		ASSERT_EQ(0, madvise(va, size, MADV_HUGEPAGE));
		if (how == 2)
			ASSERT_EQ(0, madvise(va, size, MADV_POPULATE_WRITE));
		ASSERT_EQ(0, how ? map_file(self->fd, self->ioas_id, file, 0,
					    size, &iova, RW) :
				   map_va(self->fd, self->ioas_id, va, size,
					  &iova, RW));
		got = hugetlb_count("ShmemHugePages") - before;
		TH_LOG("%s: %ld kB of %zu are huge",
		       how == 0 ? "IOAS_MAP" :
		       how == 1 ? "IOAS_MAP_FILE" :
				  "MADV_POPULATE_WRITE and IOAS_MAP_FILE",
		       got, size / 1024);
		if (how != 1)
			EXPECT_EQ(size / 1024, got);
		EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova, size, va));
		ASSERT_EQ(0, unmap(self->fd, self->ioas_id, iova, size));
		munmap(va, size);
		close(file);
	}
	write_str(shmem_enabled, "never");
}

/* ---- What every kind of file does ---- */

FIXTURE(file) {
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

FIXTURE_VARIANT(file) {
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

static int new_file(bool hugetlb, size_t size)
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

static unsigned long pages_in(__u64 start, __u64 length)
{
	return (start + length - 1) / PAGE_SIZE - start / PAGE_SIZE + 1;
}

#define MAP(_start, _length, _iova)                                       \
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, _start, \
			      _length, _iova, RW))
#define UNMAP(_iova, _length) \
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, _iova, _length))
#define EXPECT_PINS(_num) EXPECT_EQ(self->pins + (long)(_num), pins())

/* The pages of the range and no others, whatever it starts and ends in */
TEST_F(file, ranges)
{
	const struct {
		__u64 start, length;
	} ranges[] = {
		{ 0, FILE_SIZE },
		{ 0, PAGE_SIZE },
		{ PAGE_SIZE, PAGE_SIZE },
		{ HPAGE - PAGE_SIZE, PAGE_SIZE },
		{ HPAGE - PAGE_SIZE, 2 * PAGE_SIZE },
		{ HPAGE, HPAGE },
		{ HPAGE + 5 * PAGE_SIZE, HPAGE },
		{ 3 * PAGE_SIZE, FILE_SIZE - 7 * PAGE_SIZE },
		{ FILE_SIZE - PAGE_SIZE, PAGE_SIZE },
		/* Parts of pages, and just around where a huge one ends */
		{ MOCK_IO_PAGE, MOCK_IO_PAGE },
		{ MOCK_IO_PAGE, PAGE_SIZE },
		{ HPAGE - MOCK_IO_PAGE, PAGE_SIZE },
		{ HPAGE - MOCK_IO_PAGE, MOCK_IO_PAGE },
		{ HPAGE - MOCK_IO_PAGE, HPAGE + PAGE_SIZE },
		{ 3 * PAGE_SIZE + MOCK_IO_PAGE, HPAGE },
	};
	unsigned int i, fixed;

	fill(self->va, FILE_SIZE);
	for (i = 0; i != ARRAY_SIZE(ranges); i++) {
		__u64 start = ranges[i].start, length = ranges[i].length;

		for (fixed = 0; fixed != 2; fixed++) {
			__u64 iova = MOCK_APERTURE_START + start % PAGE_SIZE;

			ASSERT_EQ(0, map_file(self->fd, self->ioas_id,
					      self->file, start, length, &iova,
					      fixed ? RW | FIXED : RW)) {
				TH_LOG("%llx %llx", start, length);
			}
			EXPECT_PINS(pages_in(start, length));
			ASSERT_EQ(0, check_map(self->fd, self->hwpt_id, iova,
					       length, self->va + start)) {
				TH_LOG("%llx %llx", start, length);
			}
			UNMAP(iova, length);
			EXPECT_PINS(0);
		}
	}
}

/* Pages that the file does not have yet */
TEST_F(file, holes)
{
	long free = hugetlb_count("HugePages_Free");
	struct stat st;
	unsigned int i;
	__u64 iova;
	int ro;

	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_EQ(0, st.st_blocks);
	/* In the middle, then all; who cannot write makes them as well */
	ro = reopen(self->file, O_RDONLY);
	ASSERT_NE(-1, ro);
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, ro, HPAGE, HPAGE, &iova,
			      RO));
	EXPECT_PINS(HPAGE / PAGE_SIZE);
	ASSERT_EQ(0, fstat(self->file, &st));
	EXPECT_EQ(HPAGE / 512, st.st_blocks);
	if (variant->hugetlb)
		EXPECT_EQ(free - 1, hugetlb_count("HugePages_Free"));
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova, HPAGE,
			       self->va + HPAGE));
	UNMAP(iova, HPAGE);
	close(ro);

	memset(self->va + HPAGE, 7, PAGE_SIZE);
	MAP(0, FILE_SIZE, &iova);
	EXPECT_PINS(NUM_PAGES);
	ASSERT_EQ(0, fstat(self->file, &st));
	EXPECT_EQ(FILE_SIZE / 512, st.st_blocks);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova, FILE_SIZE,
			       self->va));
	for (i = 0; i != NUM_PAGES; i++)
		ASSERT_EQ(i == HPAGE / PAGE_SIZE ? 7 : 0,
			  self->va[i * PAGE_SIZE]);
	EXPECT_EQ(self->rsvd, hugetlb_count("HugePages_Rsvd"));
}

/* Reservations are used up by the pages they were made for, and no others */
TEST_F(file, reserved)
{
	char *va;
	__u64 iova;

	if (!variant->hugetlb)
		SKIP(return, "has no reservations");
	va = mmap(NULL, 2 * HPAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		  self->file, 0);
	ASSERT_NE(MAP_FAILED, va);
	ASSERT_EQ(self->rsvd + 2, hugetlb_count("HugePages_Rsvd"));
	MAP(HPAGE, 2 * HPAGE, &iova);
	EXPECT_EQ(self->rsvd + 1, hugetlb_count("HugePages_Rsvd"));
	va[0] = 1;
	EXPECT_EQ(self->rsvd, hugetlb_count("HugePages_Rsvd"));
	munmap(va, 2 * HPAGE);
}

TEST_F(file, out_of_pages)
{
	long free = hugetlb_count("HugePages_Free");
	char *va;
	__u64 iova;
	int file;

	if (!variant->hugetlb)
		SKIP(return, "has as many pages as there is memory");
	/* One is left that nobody has reserved */
	file = new_file(true, (free - 1) * HPAGE);
	ASSERT_NE(-1, file);
	va = mmap(NULL, (free - 1) * HPAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		  file, 0);
	ASSERT_NE(MAP_FAILED, va);
	EXPECT_EQ(ENOMEM, map_file(self->fd, self->ioas_id, self->file, 0,
				   FILE_SIZE, &iova, RW));
	EXPECT_PINS(0);
	EXPECT_EQ(self->rsvd + free - 1, hugetlb_count("HugePages_Rsvd"));
	munmap(va, (free - 1) * HPAGE);
	close(file);
	MAP(0, FILE_SIZE, &iova);
}

/* What is pinned stays, although the file has lost it */
TEST_F(file, truncate)
{
	__u32 access_id, stdev_id, hwpt_id;
	char c, buf[] = "still there";
	unsigned int i;
	__u64 iova;

	fill(self->va, FILE_SIZE);
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	MAP(0, FILE_SIZE, &iova);

	ASSERT_EQ(0, fallocate(self->file,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       HPAGE, HPAGE));
	EXPECT_PINS(NUM_PAGES);
	EXPECT_EQ(0, self->va[HPAGE]);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova, HPAGE, self->va));
	EXPECT_EQ(EINVAL, check_map(self->fd, self->hwpt_id, iova + HPAGE,
				    HPAGE, self->va + HPAGE));

	ASSERT_EQ(0, ftruncate(self->file, 0));
	EXPECT_PINS(NUM_PAGES);
	for (i = 0; i < NUM_PAGES; i += 37) {
		ASSERT_EQ(0, access_rw(self->fd, access_id,
				       iova + i * PAGE_SIZE, &c, 1, 0));
		ASSERT_EQ(mark(i), c);
	}
	/* Across the end of a page, by a copy that has never seen the file */
	EXPECT_EQ(0, access_rw(self->fd, access_id, iova + HPAGE - 5, buf,
			       sizeof(buf), MOCK_ACCESS_RW_WRITE));
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(0, access_rw(self->fd, access_id, iova + HPAGE - 5, buf,
			       sizeof(buf), 0));
	EXPECT_EQ(0, strcmp("still there", buf));

	/* A second domain takes them from the first, not from the file */
	test_cmd_hwpt_alloc(self->idev_id, self->ioas_id, 0, &hwpt_id);
	test_cmd_mock_domain(hwpt_id, &stdev_id, NULL, NULL);
	EXPECT_PINS(NUM_PAGES);
	test_ioctl_destroy(stdev_id);
	test_ioctl_destroy(hwpt_id);
	/* and with none left there is nothing to take */
	test_ioctl_destroy(self->stdev_id);
	EXPECT_PINS(0);
	test_err_mock_domain(EINVAL, self->ioas_id, &self->stdev_id, NULL);
	EXPECT_PINS(0);
	UNMAP(iova, FILE_SIZE);
	test_cmd_destroy_access(access_id);
	ASSERT_EQ(0, ftruncate(self->file, FILE_SIZE));
}

/* All that reads and writes sees the same memory */
TEST_F(file, content)
{
	static const __u32 how[] = { 0, MOCK_ACCESS_RW_SLOW_PATH };
	__u64 offset = HPAGE - 2 * PAGE_SIZE - 100;
	size_t size = 4 * PAGE_SIZE + 300;
	char buf[4 * 65536 + 300];
	__u32 access_id;
	unsigned int i;
	__u64 iova;

	ASSERT_LE(size, sizeof(buf));
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	MAP(PAGE_SIZE, FILE_SIZE - PAGE_SIZE, &iova);
	iova -= PAGE_SIZE;
	for (i = 0; i != ARRAY_SIZE(how); i++) {
		memset(buf, 0x11 + i, size);
		ASSERT_EQ(0, access_rw(self->fd, access_id, iova + offset, buf,
				       size, MOCK_ACCESS_RW_WRITE | how[i]));
		EXPECT_EQ(0, memcmp(buf, self->va + offset, size));
		EXPECT_NE(0x11 + i, self->va[offset - 1]);
		EXPECT_NE(0x11 + i, self->va[offset + size]);
		memset(buf, 0, size);
		ASSERT_EQ(size, pread(self->file, buf, size, offset));
		EXPECT_EQ(0, memcmp(buf, self->va + offset, size));

		memset(self->va + offset, 0x33 + i, size);
		ASSERT_EQ(0, access_rw(self->fd, access_id, iova + offset, buf,
				       size, how[i]));
		EXPECT_EQ(0, memcmp(buf, self->va + offset, size));
		/* Within a page */
		ASSERT_EQ(0, access_rw(self->fd, access_id, iova + offset + 3,
				       "x", 1, MOCK_ACCESS_RW_WRITE | how[i]));
		EXPECT_EQ('x', self->va[offset + 3]);
		EXPECT_EQ(0x33 + i, self->va[offset + 4]);
	}
	EXPECT_EQ(ENOENT, access_rw(self->fd, access_id, iova, buf, 1, 0));
	UNMAP(iova + PAGE_SIZE, FILE_SIZE - PAGE_SIZE);

	/* Not through a mapping that is read-only */
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, 0, HPAGE,
			      &iova, RO));
	for (i = 0; i != ARRAY_SIZE(how); i++) {
		EXPECT_EQ(EPERM, access_rw(self->fd, access_id, iova, "y", 1,
					   MOCK_ACCESS_RW_WRITE | how[i]));
		EXPECT_EQ(0, access_rw(self->fd, access_id, iova, buf, 1,
				       how[i]));
	}
	test_cmd_destroy_access(access_id);
}

/* Pins of an access and of domains, released in any order and in parts */
TEST_F(file, access_pins)
{
	__u32 access_id, ids[3], ioas_id;
	__u64 iova, iova2 = MOCK_APERTURE_START, length = 20 * PAGE_SIZE;

	fill(self->va, FILE_SIZE);
	test_cmd_create_access(self->ioas_id, &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	MAP(0, FILE_SIZE, &iova);
	EXPECT_PINS(NUM_PAGES);

	/* Pinned by the domain already */
	ASSERT_EQ(0, access_pin(self->fd, access_id,
				iova + HPAGE - length / 2, length,
				self->va + HPAGE - length / 2,
				MOCK_FLAGS_ACCESS_WRITE, &ids[0]));
	ASSERT_EQ(0, access_pin(self->fd, access_id, iova + 5 * PAGE_SIZE,
				PAGE_SIZE, self->va + 5 * PAGE_SIZE, 0,
				&ids[1]));
	EXPECT_PINS(NUM_PAGES);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_PINS(20 + 1);

	/* Not pinned yet: around what is, and on its own */
	ASSERT_EQ(0, access_pin(self->fd, access_id, iova + HPAGE - length,
				2 * length, self->va + HPAGE - length, 0,
				&ids[2]));
	EXPECT_PINS(40 + 1);
	ASSERT_EQ(0, access_unpin(self->fd, access_id, ids[0]));
	EXPECT_PINS(40 + 1);
	ASSERT_EQ(0, access_pin(self->fd, access_id, iova + 2 * HPAGE, length,
				self->va + 2 * HPAGE, 0, &ids[0]));
	EXPECT_PINS(60 + 1);

	/* A domain gets what is missing, and goes before the others */
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, &self->hwpt_id,
			     NULL);
	EXPECT_PINS(NUM_PAGES);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova, FILE_SIZE,
			       self->va));
	ASSERT_EQ(0, access_unpin(self->fd, access_id, ids[2]));
	EXPECT_PINS(NUM_PAGES);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_PINS(20 + 1);
	ASSERT_EQ(0, access_unpin(self->fd, access_id, ids[0]));
	EXPECT_PINS(1);

	/* Part of a huge page, copied, is what stays of the whole */
	test_ioctl_ioas_alloc(&ioas_id);
	ASSERT_EQ(0, copy(self->fd, ioas_id, self->ioas_id,
			  iova + HPAGE + 3 * PAGE_SIZE, 4 * PAGE_SIZE, &iova2,
			  RW | FIXED));
	test_cmd_mock_domain(ioas_id, &self->stdev_id, &self->hwpt_id, NULL);
	EXPECT_PINS(4 + 1);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova2, 4 * PAGE_SIZE,
			       self->va + HPAGE + 3 * PAGE_SIZE));

	/* Unmapping asks the access to let go */
	UNMAP(iova, FILE_SIZE);
	EXPECT_PINS(4);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_PINS(0);
	test_cmd_destroy_access(access_id);
}

TEST_F(file, copy)
{
	__u32 ioas_id, stdev_id, hwpt_id;
	__u64 iova, iova2, iova3;

	fill(self->va, FILE_SIZE);
	MAP(MOCK_IO_PAGE, FILE_SIZE - MOCK_IO_PAGE, &iova);
	iova -= MOCK_IO_PAGE;

	test_ioctl_ioas_alloc(&ioas_id);
	test_cmd_mock_domain(ioas_id, &stdev_id, &hwpt_id, NULL);
	ASSERT_EQ(0, copy(self->fd, ioas_id, self->ioas_id,
			  iova + MOCK_IO_PAGE, FILE_SIZE - MOCK_IO_PAGE, &iova2,
			  RW));
	/* A part, and there where the file is mapped already */
	ASSERT_EQ(0, copy(self->fd, self->ioas_id, self->ioas_id,
			  iova + HPAGE - MOCK_IO_PAGE, HPAGE, &iova3, RO));
	/* Pinned once */
	EXPECT_PINS(NUM_PAGES);
	EXPECT_EQ(0, check_map(self->fd, hwpt_id, iova2,
			       FILE_SIZE - MOCK_IO_PAGE,
			       self->va + MOCK_IO_PAGE));
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova3, HPAGE,
			       self->va + HPAGE - MOCK_IO_PAGE));

	UNMAP(iova + MOCK_IO_PAGE, FILE_SIZE - MOCK_IO_PAGE);
	EXPECT_PINS(NUM_PAGES);
	EXPECT_EQ(0, unmap(self->fd, ioas_id, iova2, FILE_SIZE - MOCK_IO_PAGE));
	EXPECT_PINS(HPAGE / PAGE_SIZE + 1);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova3, HPAGE,
			       self->va + HPAGE - MOCK_IO_PAGE));
	UNMAP(iova3, HPAGE);
	EXPECT_PINS(0);

	/* No part of a mapping can be unmapped */
	MAP(0, FILE_SIZE, &iova);
	EXPECT_EQ(ENOENT, unmap(self->fd, self->ioas_id, iova, HPAGE));
	EXPECT_EQ(ENOENT, unmap(self->fd, self->ioas_id, iova + HPAGE,
				2 * HPAGE));
	EXPECT_PINS(NUM_PAGES);
}

/* Three domains, of which those that come later read the first */
TEST_F(file, domains)
{
	__u32 stdev_ids[3], hwpt_ids[3];
	__u64 iova = MOCK_APERTURE_START;
	unsigned int i, round;

	fill(self->va, FILE_SIZE);
	test_ioctl_destroy(self->stdev_id);
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, 0, FILE_SIZE,
			      &iova, RW | FIXED));
	for (round = 0; round != 2; round++) {
		EXPECT_PINS(0);
		for (i = 0; i != 3; i++) {
			test_cmd_mock_domain(self->ioas_id, &stdev_ids[i],
					     &hwpt_ids[i], NULL);
			EXPECT_PINS(NUM_PAGES);
			EXPECT_EQ(0, check_map(self->fd, hwpt_ids[i], iova,
					       FILE_SIZE, self->va));
		}
		for (i = 0; i != 3; i++) {
			EXPECT_PINS(NUM_PAGES);
			test_ioctl_destroy(stdev_ids[round ? i : 2 - i]);
		}
		EXPECT_PINS(0);
	}
	UNMAP(iova, FILE_SIZE);

	/* All at once */
	for (i = 0; i != 3; i++)
		test_cmd_mock_domain(self->ioas_id, &stdev_ids[i], &hwpt_ids[i],
				     NULL);
	MAP(0, FILE_SIZE, &iova);
	EXPECT_PINS(NUM_PAGES);
	for (i = 0; i != 3; i++)
		EXPECT_EQ(0, check_map(self->fd, hwpt_ids[i], iova, FILE_SIZE,
				       self->va));
	UNMAP(iova, FILE_SIZE);
	EXPECT_PINS(0);
}

/* Which pages are mapped in one piece, seen by what a dirty bit stands for */
TEST_F(file, large)
{
	const size_t bits = FILE_SIZE / MOCK_IO_PAGE;
	unsigned int i, option, set;
	__u64 iova = MOCK_APERTURE_START;
	__u32 hwpt_id, stdev_id;
	__u64 *bitmap;
	__u64 dirty;

	/* Small pages may follow each other by chance */
	if (!variant->hugetlb && !variant->thp)
		SKIP(return, "has no large pages");
	if (variant->limit)
		SKIP(return, "large pages want to be read in one piece");
	bitmap = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	ASSERT_NE(NULL, bitmap);
	ASSERT_GE(PAGE_SIZE * 8, bits);
	test_ioctl_destroy(self->stdev_id);
	for (option = 0; option != 2; option++) {
		struct iommu_option cmd = {
			.size = sizeof(cmd),
			.option_id = IOMMU_OPTION_HUGE_PAGES,
			.op = IOMMU_OPTION_OP_SET,
			.object_id = self->ioas_id,
			.val64 = option,
		};
		__u32 tmp_hwpt, idev_id, tmp_id;

		ASSERT_EQ(0, ioctl(self->fd, IOMMU_OPTION, &cmd));
		test_cmd_mock_domain_flags(self->ioas_id,
					   MOCK_FLAGS_DEVICE_HUGE_IOVA, &tmp_id,
					   &tmp_hwpt, &idev_id);
		test_cmd_hwpt_alloc(idev_id, self->ioas_id,
				    IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id);
		test_cmd_mock_domain_flags(hwpt_id, MOCK_FLAGS_DEVICE_HUGE_IOVA,
					   &stdev_id, NULL, NULL);
		test_cmd_set_dirty_tracking(hwpt_id, true);

		ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, 0,
				      FILE_SIZE, &iova, RW | FIXED));
		EXPECT_PINS(NUM_PAGES);
		memset(bitmap, 0, PAGE_SIZE);
		bitmap[0] = 2;
		test_cmd_mock_domain_set_dirty(self->fd, hwpt_id, FILE_SIZE,
					       iova, MOCK_IO_PAGE, bitmap,
					       &dirty);
		ASSERT_EQ(1, dirty);
		memset(bitmap, 0, PAGE_SIZE);
		test_cmd_get_dirty_bitmap(self->fd, hwpt_id, FILE_SIZE, iova,
					  MOCK_IO_PAGE, bitmap, 0);
		for (i = 0, set = 0; i != bits; i++)
			set += test_bit(i, (unsigned long *)bitmap);
		EXPECT_EQ(option ? 512 : 1, set);
		EXPECT_EQ(0, check_map(self->fd, hwpt_id, iova, FILE_SIZE,
				       self->va));
		UNMAP(iova, FILE_SIZE);
		EXPECT_PINS(0);
		test_ioctl_destroy(stdev_id);
		test_ioctl_destroy(hwpt_id);
		test_ioctl_destroy(tmp_id);
	}

	/* The IOVA is chosen so that they can be */
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, HPAGE,
			      2 * HPAGE, &iova, RW));
	EXPECT_EQ(0, iova % HPAGE);
	free(bitmap);
}

/* ---- Other processes ---- */

/* Run @_body in a child, which gets 0 from it or says where it failed */
#define IN_CHILD(_body)                                               \
	({                                                            \
		int __status;                                         \
		pid_t __pid = fork();                                 \
		ASSERT_NE(-1, __pid);                                 \
		if (!__pid)                                           \
			_exit(_body);                                 \
		ASSERT_EQ(__pid, waitpid(__pid, &__status, 0));       \
		EXPECT_EQ(0, __status);                               \
	})

static int fork_child(int fd, __u32 ioas_id, __u32 hwpt_id, __u32 access_id,
		      int file, char *va, __u64 iova)
{
	__u64 iova2;
	char c;

	/* Memory and mapping are those of the parent */
	if (check_map(fd, hwpt_id, iova, FILE_SIZE, va))
		return 1;
	va[HPAGE] = 'c';
	if (access_rw(fd, access_id, iova + HPAGE, &c, 1, 0) || c != 'c')
		return 2;
	if (access_rw(fd, access_id, iova, "d", 1, MOCK_ACCESS_RW_WRITE) ||
	    va[0] != 'd')
		return 3;
	/* Two pages at once */
	if (access_rw(fd, access_id, iova + PAGE_SIZE - 1, "ef", 2,
		      MOCK_ACCESS_RW_WRITE) || va[PAGE_SIZE] != 'f')
		return 4;
	/* One of its own, which stays */
	iova2 = MOCK_APERTURE_START + 16 * FILE_SIZE;
	if (map_file(fd, ioas_id, file, 0, FILE_SIZE, &iova2, RW | FIXED))
		return 5;
	return 0;
}

TEST_F(file, fork)
{
	__u32 access_id, stdev_id, hwpt_id, access2_id, pages_id;
	__u64 iova, iova2 = MOCK_APERTURE_START + 16 * FILE_SIZE;
	char c;

	fill(self->va, FILE_SIZE);
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	MAP(0, FILE_SIZE, &iova);
	IN_CHILD(fork_child(self->fd, self->ioas_id, self->hwpt_id, access_id,
			    self->file, self->va, iova));
	EXPECT_EQ('c', self->va[HPAGE]);
	EXPECT_EQ('d', self->va[0]);
	EXPECT_EQ('e', self->va[PAGE_SIZE - 1]);

	/* The mapping of the child, after its end */
	EXPECT_PINS(2 * NUM_PAGES);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova2, FILE_SIZE,
			       self->va));
	UNMAP(iova, FILE_SIZE);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_PINS(0);
	/* It can be used and pinned again without the process */
	EXPECT_EQ(0, access_rw(self->fd, access_id, iova2 + HPAGE, &c, 1, 0));
	EXPECT_EQ('c', c);
	EXPECT_EQ(0, access_rw(self->fd, access_id, iova2, "g", 1,
			       MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ('g', self->va[0]);
	test_cmd_mock_domain(self->ioas_id, &stdev_id, &hwpt_id, NULL);
	EXPECT_PINS(NUM_PAGES);
	EXPECT_EQ(0, check_map(self->fd, hwpt_id, iova2, FILE_SIZE, self->va));
	test_ioctl_destroy(stdev_id);
	test_cmd_create_access(self->ioas_id, &access2_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	EXPECT_EQ(0, access_pin(self->fd, access2_id, iova2, 3 * PAGE_SIZE,
				self->va, 0, &pages_id));
	EXPECT_PINS(3);
	EXPECT_EQ(0, access_unpin(self->fd, access2_id, pages_id));
	EXPECT_PINS(0);
	UNMAP(iova2, FILE_SIZE);
	test_cmd_destroy_access(access2_id);
	test_cmd_destroy_access(access_id);
}

/* ---- Accounting ---- */

FIXTURE(account) {
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 hwpt_id;
	int file;
	char *va;
	long pins;
	long vm_lck, vm_pin;
};

FIXTURE_VARIANT(account) {
	bool capable;
	bool mm_mode;
	/* By IOMMU_IOAS_MAP, which tells what is to be expected */
	bool by_address;
	bool hugetlb;
};

FIXTURE_VARIANT_ADD(account, user_address) { .by_address = true };
FIXTURE_VARIANT_ADD(account, user_file) {};
FIXTURE_VARIANT_ADD(account, user_hugetlb) { .hugetlb = true };
FIXTURE_VARIANT_ADD(account, mm_address) {
	.mm_mode = true, .by_address = true,
};

FIXTURE_VARIANT_ADD(account, mm_file) { .mm_mode = true };
FIXTURE_VARIANT_ADD(account, mm_hugetlb) { .mm_mode = true, .hugetlb = true };
FIXTURE_VARIANT_ADD(account, none_address) {
	.capable = true, .by_address = true,
};

FIXTURE_VARIANT_ADD(account, none_file) { .capable = true };

#define ACCOUNT_PAGES 16UL
#define VM_LCK (read_key("/proc/self/status", "VmLck") * 1024 - self->vm_lck)
#define VM_PIN (read_key("/proc/self/status", "VmPin") * 1024 - self->vm_pin)

FIXTURE_SETUP(account)
{
	struct rlimit rlim = {
		.rlim_cur = ACCOUNT_PAGES * PAGE_SIZE,
		.rlim_max = ACCOUNT_PAGES * PAGE_SIZE,
	};
	struct iommu_option cmd = {
		.size = sizeof(cmd),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = variant->mm_mode,
	};

	self->pins = pins();
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, IOMMU_OPTION, &cmd));
	self->file = new_file(variant->hugetlb, HPAGE);
	ASSERT_NE(-1, self->file);
	self->va = mmap(NULL, HPAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			self->file, 0);
	ASSERT_NE(MAP_FAILED, self->va);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &rlim));
	if (!variant->capable)
		ASSERT_EQ(0, drop_ipc_lock());
	self->vm_lck = 0;
	self->vm_lck = VM_LCK;
	self->vm_pin = 0;
	self->vm_pin = VM_PIN;
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, &self->hwpt_id,
			     NULL);
}

FIXTURE_TEARDOWN(account)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->pins, pins());
	EXPECT_EQ(0, VM_LCK);
	EXPECT_EQ(0, VM_PIN);
	munmap(self->va, HPAGE);
	close(self->file);
}

#define ACCOUNT_MAP(_start, _pages, _iova)                                    \
	(variant->by_address ?                                                \
		 map_va(self->fd, self->ioas_id, self->va + (_start),         \
			(_pages) * PAGE_SIZE, _iova, RW) :                    \
		 map_file(self->fd, self->ioas_id, self->file, _start,        \
			  (_pages) * PAGE_SIZE, _iova, RW))

#define EXPECT_ACCOUNT(_pages)                                                \
	({                                                                    \
		EXPECT_EQ(self->pins + (long)(_pages), pins());               \
		EXPECT_EQ((_pages) * PAGE_SIZE, VM_PIN);                      \
		EXPECT_EQ(variant->mm_mode && !variant->capable ?             \
				  (_pages) * PAGE_SIZE : 0, VM_LCK);          \
	})

TEST_F(account, limit)
{
	const int over = variant->capable ? 0 : ENOMEM;
	__u64 iova[3];

	EXPECT_EQ(over, ACCOUNT_MAP(0, ACCOUNT_PAGES + 1, &iova[0]));
	if (!over)
		UNMAP(iova[0], (ACCOUNT_PAGES + 1) * PAGE_SIZE);
	EXPECT_ACCOUNT(0);
	ASSERT_EQ(0, ACCOUNT_MAP(0, ACCOUNT_PAGES, &iova[0]));
	EXPECT_ACCOUNT(ACCOUNT_PAGES);
	EXPECT_EQ(over, ACCOUNT_MAP(0, 1, &iova[1]));
	if (!over)
		UNMAP(iova[1], PAGE_SIZE);
	EXPECT_ACCOUNT(ACCOUNT_PAGES);
	UNMAP(iova[0], ACCOUNT_PAGES * PAGE_SIZE);
	EXPECT_ACCOUNT(0);

	/* Once for a copy, twice for two mappings of a page; parts are pages */
	ASSERT_EQ(0, ACCOUNT_MAP(0, ACCOUNT_PAGES / 2, &iova[0]));
	ASSERT_EQ(0, copy(self->fd, self->ioas_id, self->ioas_id, iova[0],
			  ACCOUNT_PAGES / 2 * PAGE_SIZE, &iova[1], RW));
	EXPECT_ACCOUNT(ACCOUNT_PAGES / 2);
	EXPECT_EQ(over, ACCOUNT_MAP(MOCK_IO_PAGE, ACCOUNT_PAGES / 2, &iova[2]));
	if (!over)
		UNMAP(iova[2], ACCOUNT_PAGES / 2 * PAGE_SIZE);
	ASSERT_EQ(0, ACCOUNT_MAP(MOCK_IO_PAGE, ACCOUNT_PAGES / 2 - 1, &iova[2]));
	EXPECT_ACCOUNT(ACCOUNT_PAGES);
	UNMAP(iova[0], ACCOUNT_PAGES / 2 * PAGE_SIZE);
	EXPECT_ACCOUNT(ACCOUNT_PAGES);
	UNMAP(iova[1], ACCOUNT_PAGES / 2 * PAGE_SIZE);
	EXPECT_ACCOUNT(ACCOUNT_PAGES / 2);
	UNMAP(iova[2], (ACCOUNT_PAGES / 2 - 1) * PAGE_SIZE);
	EXPECT_ACCOUNT(0);
}

/* With an access, what it pins, as long as it does */
TEST_F(account, access)
{
	__u32 access_id, id;
	__u64 iova;

	test_ioctl_destroy(self->stdev_id);
	test_cmd_create_access(self->ioas_id, &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	ASSERT_EQ(0, ACCOUNT_MAP(0, ACCOUNT_PAGES + 1, &iova));
	EXPECT_ACCOUNT(0);
	EXPECT_EQ(variant->capable ? 0 : ENOMEM,
		  access_pin(self->fd, access_id, iova,
			     (ACCOUNT_PAGES + 1) * PAGE_SIZE, self->va, 0,
			     &id));
	if (variant->capable)
		EXPECT_EQ(0, access_unpin(self->fd, access_id, id));
	EXPECT_ACCOUNT(0);
	EXPECT_EQ(0, access_pin(self->fd, access_id, iova + PAGE_SIZE,
				ACCOUNT_PAGES * PAGE_SIZE,
				self->va + PAGE_SIZE, 0, &id));
	EXPECT_ACCOUNT(ACCOUNT_PAGES);
	EXPECT_EQ(0, access_unpin(self->fd, access_id, id));
	EXPECT_ACCOUNT(0);
	/* Reading and writing is not pinning */
	test_cmd_destroy_access(access_id);
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	EXPECT_EQ(0, access_rw(self->fd, access_id, iova, "abc", 3,
			       MOCK_ACCESS_RW_WRITE));
	EXPECT_ACCOUNT(0);
	test_cmd_destroy_access(access_id);
}

/*
 * The process that is charged has gone. The limit of its user still applies; one
 * that the mm would have to account can no longer be pinned.
 */
TEST_F(account, exit)
{
	__u64 iova = MOCK_APERTURE_START;
	__u32 stdev_id, hwpt_id;
	int rc;

	IN_CHILD(variant->by_address ?
			 map_va(self->fd, self->ioas_id, self->va,
				ACCOUNT_PAGES * PAGE_SIZE, &iova, RW | FIXED) :
			 map_file(self->fd, self->ioas_id, self->file, 0,
				  ACCOUNT_PAGES * PAGE_SIZE, &iova,
				  RW | FIXED));
	EXPECT_EQ(self->pins + ACCOUNT_PAGES, pins());
	EXPECT_EQ(0, VM_PIN);
	EXPECT_EQ(0, VM_LCK);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_EQ(self->pins, pins());

	rc = _test_cmd_mock_domain(self->fd, self->ioas_id, &stdev_id, &hwpt_id,
				   NULL) ? errno : 0;
	EXPECT_EQ(variant->by_address || (variant->mm_mode &&
					  !variant->capable) ? EFAULT : 0, rc);
	if (!rc) {
		EXPECT_EQ(self->pins + ACCOUNT_PAGES, pins());
		EXPECT_EQ(0, check_map(self->fd, hwpt_id, iova,
				       ACCOUNT_PAGES * PAGE_SIZE, self->va));
		test_ioctl_destroy(stdev_id);
	}
	EXPECT_EQ(self->pins, pins());
	UNMAP(iova, ACCOUNT_PAGES * PAGE_SIZE);

	/* Nothing is left on the user's account either */
	test_cmd_mock_domain(self->ioas_id, &stdev_id, &hwpt_id, NULL);
	ASSERT_EQ(0, ACCOUNT_MAP(0, ACCOUNT_PAGES, &iova));
	UNMAP(iova, ACCOUNT_PAGES * PAGE_SIZE);
}

/* ---- Changes at the same time ---- */

static void on_signal(int sig)
{
}

/* Making pages takes a while, in which signals come and go */
TEST_F(file, signals)
{
	const struct itimerval timer = {
		.it_interval = { .tv_usec = 500 },
		.it_value = { .tv_usec = 500 },
	};
	const struct itimerval off = {};
	struct sigaction sa = { .sa_handler = on_signal };
	unsigned int i;
	__u64 iova;

	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	for (i = 0; i != 10; i++) {
		ASSERT_EQ(0, punch_all(self->file));
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
		EXPECT_EQ(0, map_file(self->fd, self->ioas_id, self->file, 0,
				      FILE_SIZE, &iova, RW));
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &off, NULL));
		EXPECT_PINS(NUM_PAGES);
		UNMAP(iova, FILE_SIZE);
	}
}

struct churn {
	int file;
	char *va;
	atomic_bool stop;
	unsigned long rounds;
};

/* Take pages from the file and give it others, in no order */
static void *churn_thread(void *arg)
{
	struct churn *c = arg;
	unsigned int seed = 1;

	while (!c->stop) {
		unsigned long start = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;
		unsigned long length = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;

		if (length > FILE_SIZE - start)
			length = FILE_SIZE - start;
		switch (rand_r(&seed) % 8) {
		case 0:
			if (ftruncate(c->file, start & -HPAGE))
				abort();
			break;
		case 1:
		case 2:
			if (ftruncate(c->file, FILE_SIZE))
				abort();
			break;
		case 3:
			fallocate(c->file, FALLOC_FL_KEEP_SIZE, start, length);
			break;
		case 4:
			/* Fails on hugetlbfs */
			if (pwrite(c->file, "x", 1, start) < 0)
				break;
			break;
		default:
			fallocate(c->file,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  start, length);
		}
		c->rounds++;
	}
	return NULL;
}

TEST_F(file, churn)
{
	struct churn c = { .file = self->file, .va = self->va };
	unsigned long mapped = 0, failed = 0;
	pthread_t threads[2];
	unsigned int seed = 2, i;
	__u32 access_id;
	double end;

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	for (i = 0; i != 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn_thread,
					    &c));
	/* Longer where that is not enough to see both */
	end = now() + 2;
	while (now() < end || !mapped || !failed) {
		unsigned long start = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;
		unsigned long length = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;
		__u64 iova;
		int rc;

		if (length > FILE_SIZE - start)
			length = FILE_SIZE - start;
		if (!length)
			continue;
		rc = map_file(self->fd, self->ioas_id, self->file, start,
			      length, &iova, RW);
		if (rc) {
			ASSERT_TRUE(rc == EINVAL || rc == ENOMEM ||
				    rc == EFAULT) {
				TH_LOG("%s", strerror(rc));
			}
			failed++;
			continue;
		}
		mapped++;
		access_rw(self->fd, access_id, iova + length - 1, "z", 1,
			  MOCK_ACCESS_RW_WRITE);
		UNMAP(iova, length);
	}
	c.stop = true;
	for (i = 0; i != 2; i++)
		pthread_join(threads[i], NULL);
	test_cmd_destroy_access(access_id);
	TH_LOG("%lu mapped, %lu refused, %lu changes", mapped, failed,
	       c.rounds);
	EXPECT_NE(0, mapped);
	EXPECT_NE(0, failed);
	EXPECT_PINS(0);
	ASSERT_EQ(0, ftruncate(self->file, FILE_SIZE));
}

/* ---- Each step fails once ---- */

#define ASSERT_PINS(_pins) ASSERT_EQ(self->pins + (_pins), pins())

/*
 * As SWEEP(). @_undo runs after each call that succeeds, and then @_pins pages
 * must be pinned as after each that fails. With @_punch the file has no pages
 * before each call.
 */
#define SWEEP_PINS(_min, _punch, _call, _undo, _pins)                        \
	({                                                                   \
		if (_punch) {                                                \
			ASSERT_EQ(0, punch_all(self->file));                 \
		}                                                            \
		SWEEP(_min, _call,                                           \
		      ({                                                     \
			ASSERT_PINS(_pins);                                  \
			if (_punch) {                                        \
				ASSERT_EQ(0, punch_all(self->file));         \
			}                                                    \
		      }),                                                    \
		      ({                                                     \
			_undo;                                               \
			ASSERT_PINS(_pins);                                  \
			if (_punch) {                                        \
				ASSERT_EQ(0, punch_all(self->file));         \
			}                                                    \
		      }));                                                   \
	})

#define SWEEP_LENGTH (12 * PAGE_SIZE)

TEST_F(file, fail_nth)
{
	__u64 start = HPAGE - 5 * PAGE_SIZE, iova;
	__u32 access_id, id, stdev_id, stdev2_id, hwpt_id;
	char buf[4];

	if (!fail_nth_open())
		SKIP(return, "no fault injection in this kernel");
	test_cmd_mock_domain(self->ioas_id, &stdev2_id, NULL, NULL);
	test_cmd_create_access(self->ioas_id, &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);

	/* Two domains, with pages of the file and without */
	SWEEP_PINS(8, false,
		   map_file(self->fd, self->ioas_id, self->file, start,
			    SWEEP_LENGTH, &iova, RW),
		   UNMAP(iova, SWEEP_LENGTH), 0);
	SWEEP_PINS(8, true,
		   map_file(self->fd, self->ioas_id, self->file, start,
			    SWEEP_LENGTH, &iova, RW),
		   UNMAP(iova, SWEEP_LENGTH), 0);
	test_ioctl_destroy(stdev2_id);
	test_ioctl_destroy(self->stdev_id);

	/* A domain that comes later, and an access */
	iova = MOCK_APERTURE_START;
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, start,
			      SWEEP_LENGTH, &iova, RW | FIXED));
	SWEEP_PINS(5, false,
		   _test_cmd_mock_domain(self->fd, self->ioas_id, &stdev_id,
					 &hwpt_id, NULL) ? errno : 0,
		   test_ioctl_destroy(stdev_id), 0);
	SWEEP_PINS(3, false,
		   access_pin(self->fd, access_id, iova + PAGE_SIZE,
			      SWEEP_LENGTH - 2 * PAGE_SIZE, NULL, 0, &id),
		   ASSERT_EQ(0, access_unpin(self->fd, access_id, id)), 0);
	/* which has a part when the domain comes */
	ASSERT_EQ(0, access_pin(self->fd, access_id, iova + PAGE_SIZE,
				3 * PAGE_SIZE, NULL, 0, &id));
	SWEEP_PINS(5, false,
		   _test_cmd_mock_domain(self->fd, self->ioas_id, &stdev_id,
					 &hwpt_id, NULL) ? errno : 0,
		   test_ioctl_destroy(stdev_id), 3);
	ASSERT_EQ(0, access_unpin(self->fd, access_id, id));
	test_cmd_destroy_access(access_id);

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	SWEEP_PINS(2, false,
		   access_rw(self->fd, access_id, iova + PAGE_SIZE - 2, buf,
			     sizeof(buf), 0), {}, 0);
	SWEEP_PINS(2, false,
		   access_rw(self->fd, access_id, iova + PAGE_SIZE - 2, "abc", 3,
			     MOCK_ACCESS_RW_WRITE), {}, 0);
	test_cmd_destroy_access(access_id);
	close(fail_nth_fd);
}

TEST_HARNESS_MAIN
