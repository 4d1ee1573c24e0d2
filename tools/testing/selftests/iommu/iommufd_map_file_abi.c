// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE on the mock driver: arguments, and one file of one kind
 *
 * Seals, permissions, and what else has an eye on the file: khugepaged, a memory
 * failure, fanotify.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "iommufd_map_file.h"

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

/* ---- What needs one file of one kind ---- */

FIXTURE(abi)
{
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

TEST_HARNESS_MAIN
