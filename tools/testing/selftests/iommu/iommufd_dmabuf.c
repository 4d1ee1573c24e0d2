// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE of a dma-buf on the mock driver
 *
 * A mock dma-buf is at a physical address where the machine has no memory. A test
 * sees in a mock domain where an entry points to, and with which attributes.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <linux/udmabuf.h>
#include <linux/vfio.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "iommufd_dmabuf.h"
#include "iommufd_account.h"

FIXTURE(dmabuf)
{
	int fd;
	int buf;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
};

FIXTURE_SETUP(dmabuf)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	/* Not open for writing, and mapped writeable all the same */
	self->buf = dmabuf_get(self->fd, BUF_SIZE, O_CLOEXEC);
	if (self->buf < 0 && errno == EOPNOTSUPP)
		SKIP(return, "no DMA_SHARED_BUFFER in this kernel");
	ASSERT_LE(0, self->buf);
	test_ioctl_ioas_alloc(&self->ioas_id);
	ASSERT_EQ(0, __mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id,
					 &self->dev_id));
}

FIXTURE_TEARDOWN(dmabuf)
{
	EXPECT_EQ(0, close(self->fd));
	if (self->buf >= 0)
		EXPECT_EQ(0, close(self->buf));
}

static int map(struct _test_data_dmabuf *self, __u64 iova)
{
	return __ioas_map_file(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE,
			     iova);
}

/* A domain of the IOAS @id */
static __u32 domain(struct _test_data_dmabuf *self, __u32 id)
{
	__u32 hwpt_id = 0;

	if (__hwpt_alloc(self->fd, self->dev_id, id, 0, &hwpt_id))
		abort();
	return hwpt_id;
}

static __u32 ioas(struct _test_data_dmabuf *self)
{
	__u32 id = 0;

	if (_test_ioctl_ioas_alloc(self->fd, &id))
		abort();
	return id;
}

/* ---- The calls and their errors ---- */

TEST_F(dmabuf, get_bad_length_fails)
{
	const __u32 max = MOCK_DMABUF_MAX_PAGES * PAGE_SIZE;
	int buf;

	EXPECT_ERRNO(EINVAL, dmabuf_get(self->fd, 0, O_CLOEXEC));
	EXPECT_ERRNO(EINVAL, dmabuf_get(self->fd, max + 1, O_CLOEXEC));
	buf = dmabuf_get(self->fd, max, O_CLOEXEC);
	ASSERT_LE(0, buf);
	close(buf);

	/* Rounded up to a page */
	buf = dmabuf_get(self->fd, 1, O_CLOEXEC);
	ASSERT_LE(0, buf);
	EXPECT_EQ((off_t)PAGE_SIZE, lseek(buf, 0, SEEK_END));
	close(buf);
}

TEST_F(dmabuf, map_bad_range_fails)
{
	const struct {
		const char *name;
		__u64 start, length;
		int err;
	} cases[] = {
		{ "length 0", 0, 0, EINVAL },
		{ "wraps", -PAGE_SIZE, 2 * PAGE_SIZE, EOVERFLOW },
		{ "end past the dma-buf", PAGE_SIZE, BUF_SIZE, EINVAL },
		{ "one byte past it", 1, BUF_SIZE, EINVAL },
		{ "starts past it", BUF_SIZE, PAGE_SIZE, EINVAL },
		{ "last page", BUF_SIZE - PAGE_SIZE, PAGE_SIZE, 0 },
	};
	unsigned int i;

	for (i = 0; i != sizeof(cases) / sizeof(*cases); i++) {
		EXPECT_EQ(cases[i].err,
			  __ioas_map_file(self->fd, self->ioas_id, self->buf,
					  cases[i].start, cases[i].length,
					IOVA)) {
			TH_LOG("%s", cases[i].name);
		}
	}
	EXPECT_EQ(EBADF, __ioas_map_file(self->fd, self->ioas_id, 9999, 0,
					 BUF_SIZE, IOVA2));
	EXPECT_EQ(EINVAL, __ioas_map_file(self->fd, self->ioas_id, self->fd, 0,
					  BUF_SIZE, IOVA2));
	EXPECT_EQ(ENOENT, __ioas_map_file(self->fd, NO_SUCH_ID, self->buf, 0,
					  BUF_SIZE, IOVA2));
}

TEST_F(dmabuf, map_revoked_fails)
{
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	EXPECT_EQ(ENODEV, map(self, IOVA));
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, false));
	EXPECT_EQ(0, map(self, IOVA));
}

TEST_F(dmabuf, map_several_ranges_fails)
{
	ASSERT_EQ(0, dmabuf_kind(self->fd, self->buf, MOCK_DMABUF_SCATTERED));
	EXPECT_EQ(EOPNOTSUPP, map(self, IOVA));
}

TEST_F(dmabuf, map_other_exporter_fails)
{
	struct udmabuf_create create = { .size = PAGE_SIZE };
	int dev, buf;

	dev = open("/dev/udmabuf", O_RDWR);
	if (dev < 0)
		SKIP(return, "no /dev/udmabuf");
	create.memfd = memfd_create("udmabuf", MFD_ALLOW_SEALING);
	ASSERT_LE(0, create.memfd);
	ASSERT_EQ(0, ftruncate(create.memfd, PAGE_SIZE));
	ASSERT_EQ(0, fcntl(create.memfd, F_ADD_SEALS, F_SEAL_SHRINK));
	buf = ioctl(dev, UDMABUF_CREATE, &create);
	ASSERT_LE(0, buf);
	EXPECT_EQ(EOPNOTSUPP, __ioas_map_file(self->fd, self->ioas_id, buf, 0,
					      PAGE_SIZE, IOVA));
	close(buf);
	close(create.memfd);
	close(dev);
}

TEST_F(dmabuf, import_by_others_fails)
{
	EXPECT_EQ(EOPNOTSUPP, dmabuf_import(self->fd, self->buf,
					    MOCK_DMABUF_STATIC));
	EXPECT_EQ(EOPNOTSUPP, dmabuf_import(self->fd, self->buf,
					    MOCK_DMABUF_PIN));
	EXPECT_EQ(EOPNOTSUPP, dmabuf_import(self->fd, self->buf,
					    MOCK_DMABUF_MAP));
}

/* ---- What is mapped ---- */

TEST_F(dmabuf, map_is_mmio_in_every_domain)
{
	__u32 first, later, copy_ioas, copy_first, copy_later;

	first = domain(self, self->ioas_id);
	ASSERT_EQ(0, map(self, IOVA));
	later = domain(self, self->ioas_id);
	copy_ioas = ioas(self);
	copy_first = domain(self, copy_ioas);
	ASSERT_EQ(0, __ioas_copy(self->fd, copy_ioas, self->ioas_id, IOVA,
				 BUF_SIZE, IOVA2));
	copy_later = domain(self, copy_ioas);

	EXPECT_MAPPED(first, IOVA);
	EXPECT_MAPPED(later, IOVA);
	EXPECT_MAPPED(copy_first, IOVA2);
	EXPECT_MAPPED(copy_later, IOVA2);

	/* The others keep it when one goes, the first included */
	test_ioctl_destroy(first);
	EXPECT_MAPPED(later, IOVA);
	test_ioctl_destroy(later);
	ASSERT_EQ(0, __ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
	EXPECT_MAPPED(copy_first, IOVA2);
	EXPECT_MAPPED(copy_later, IOVA2);
	EXPECT_MAPPED(domain(self, copy_ioas), IOVA2);
}

TEST_F(dmabuf, map_in_small_pages_is_mmio)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = self->ioas_id,
	};

	ASSERT_EQ(0, call(self->fd, IOMMU_OPTION, &option));
	ASSERT_EQ(0, map(self, IOVA));
	EXPECT_MAPPED(domain(self, self->ioas_id), IOVA);
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	ASSERT_EQ(0, __ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
}

TEST_F(dmabuf, map_cacheable_is_memory)
{
	ASSERT_EQ(0, dmabuf_kind(self->fd, self->buf, MOCK_DMABUF_CACHEABLE));
	ASSERT_EQ(0, map(self, IOVA));
	EXPECT_EQ((int)BUF_PAGES * 2,
		  entries(self->fd, domain(self, self->ioas_id), IOVA,
			  PROT_IOMMU_RW | PROT_IOMMU_CACHE));
}

/* From half a page to half a page, copied from half of that */
TEST_F(dmabuf, map_unaligned_range_points_there)
{
	const __u64 half = PAGE_SIZE / 2;
	__u32 hwpt_id, copy_ioas = ioas(self), copy_id;

	ASSERT_EQ(0, __ioas_map_file(self->fd, self->ioas_id, self->buf,
				     PAGE_SIZE + half, 2 * PAGE_SIZE,
				   IOVA + half));
	hwpt_id = domain(self, self->ioas_id);
	EXPECT_EQ(MOCK_DMABUF_PHYS + PAGE_SIZE + half,
		  iova_to_phys(self->fd, hwpt_id, IOVA + half, NULL));
	EXPECT_EQ(MOCK_DMABUF_PHYS + 3 * PAGE_SIZE,
		  iova_to_phys(self->fd, hwpt_id, IOVA + 2 * PAGE_SIZE, NULL));
	EXPECT_EQ(0, iova_to_phys(self->fd, hwpt_id, IOVA, NULL));
	EXPECT_EQ(0, iova_to_phys(self->fd, hwpt_id,
				  IOVA + half + 2 * PAGE_SIZE, NULL));

	ASSERT_EQ(0, __ioas_copy(self->fd, copy_ioas, self->ioas_id,
				 IOVA + PAGE_SIZE, PAGE_SIZE + half, IOVA2));
	copy_id = domain(self, copy_ioas);
	EXPECT_EQ(MOCK_DMABUF_PHYS + 2 * PAGE_SIZE,
		  iova_to_phys(self->fd, copy_id, IOVA2, NULL));

	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	EXPECT_EQ(0, iova_to_phys(self->fd, hwpt_id, IOVA + half, NULL));
	EXPECT_EQ(0, iova_to_phys(self->fd, copy_id, IOVA2, NULL));
}

TEST_F(dmabuf, map_read_only_copies_read_only)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = FIXED | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = self->ioas_id,
		.fd = self->buf,
		.length = BUF_SIZE,
		.iova = IOVA,
	};
	__u32 prot;

	ASSERT_EQ(0, call(self->fd, IOMMU_IOAS_MAP_FILE, &cmd));
	ASSERT_EQ(MOCK_DMABUF_PHYS,
		  iova_to_phys(self->fd, domain(self, self->ioas_id), IOVA,
			       &prot));
	EXPECT_EQ(1 | PROT_IOMMU_MMIO, prot);
	EXPECT_EQ(EPERM, __ioas_copy(self->fd, ioas(self), self->ioas_id, IOVA,
				     BUF_SIZE, IOVA));
}

TEST_F(dmabuf, map_chosen_iova_is_aligned_like_bar)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = RW,
		.ioas_id = self->ioas_id,
		.length = MOCK_DMABUF_MAX_PAGES * PAGE_SIZE,
	};

	/* A page first, so that the next free IOVA is not aligned */
	ASSERT_EQ(0, __ioas_map_file(self->fd, self->ioas_id, self->buf, 0,
				     PAGE_SIZE, MOCK_APERTURE_START));
	domain(self, self->ioas_id);
	cmd.fd = dmabuf_get(self->fd, cmd.length, O_RDWR);
	ASSERT_LE(0, cmd.fd);
	ASSERT_EQ(0, call(self->fd, IOMMU_IOAS_MAP_FILE, &cmd));
	EXPECT_EQ(0, cmd.iova % cmd.length);
	close(cmd.fd);
}

TEST_F(dmabuf, closed_fd_stays_mapped)
{
	__u32 hwpt_id = domain(self, self->ioas_id);

	ASSERT_EQ(0, map(self, IOVA));
	ASSERT_EQ(0, close(self->buf));
	self->buf = -1;
	EXPECT_MAPPED(hwpt_id, IOVA);
	ASSERT_EQ(0, __ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
	EXPECT_EMPTY(hwpt_id, IOVA);
}

/* The container of VFIO type1 can cut mappings of memory */
TEST_F(dmabuf, unmap_part_fails)
{
	struct iommu_vfio_ioas vfio_ioas = {
		.size = sizeof(vfio_ioas),
		.op = IOMMU_VFIO_IOAS_SET,
		.ioas_id = self->ioas_id,
	};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = IOVA,
		.size = PAGE_SIZE,
	};

	ASSERT_EQ(0, call(self->fd, IOMMU_VFIO_IOAS, &vfio_ioas));
	ASSERT_EQ(0, ioctl(self->fd, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
	ASSERT_EQ(0, map(self, IOVA));
	EXPECT_EQ(EOPNOTSUPP, call(self->fd, VFIO_IOMMU_UNMAP_DMA, &unmap));
	EXPECT_MAPPED(domain(self, self->ioas_id), IOVA);
	unmap.size = BUF_SIZE;
	EXPECT_EQ(0, call(self->fd, VFIO_IOMMU_UNMAP_DMA, &unmap));
	EXPECT_EQ(BUF_SIZE, unmap.size);
}

/* ---- What the kernel itself cannot use ---- */

TEST_F(dmabuf, access_fails)
{
	char data[16] = "";
	struct iommu_test_cmd rw = {
		.size = sizeof(rw),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.access_rw = {
			.iova = IOVA,
			.length = sizeof(data),
			.uptr = (uintptr_t)data,
		},
	};
	__u32 access_id, pages_id;

	domain(self, self->ioas_id);
	ASSERT_EQ(0, map(self, IOVA));
	test_cmd_create_access(self->ioas_id, &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	EXPECT_EQ(EINVAL, __access_pin(self->fd, access_id, IOVA, PAGE_SIZE, NULL,
				       MOCK_FLAGS_ACCESS_WRITE, &pages_id));
	EXPECT_EQ(EINVAL, __access_pin(self->fd, access_id, IOVA, PAGE_SIZE, NULL,
				       0, &pages_id));
	rw.id = access_id;
	EXPECT_EQ(EINVAL, call(self->fd, IOMMU_TEST_CMD, &rw));
	rw.access_rw.flags = MOCK_ACCESS_RW_WRITE;
	EXPECT_EQ(EINVAL, call(self->fd, IOMMU_TEST_CMD, &rw));
	rw.access_rw.flags |= MOCK_ACCESS_RW_SLOW_PATH;
	EXPECT_EQ(EINVAL, call(self->fd, IOMMU_TEST_CMD, &rw));
	test_cmd_destroy_access(access_id);
}

TEST_F(dmabuf, hw_queue_fails)
{
	__u32 parent_id, viommu_id;

	ASSERT_EQ(0, __hwpt_alloc(self->fd, self->dev_id, self->ioas_id,
				  IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_id));
	ASSERT_EQ(0, __viommu_alloc(self->fd, self->dev_id, parent_id,
				    &viommu_id));
	ASSERT_EQ(0, map(self, IOVA));
	EXPECT_EQ(EINVAL, __hw_queue_alloc(self->fd, viommu_id, 0, IOVA,
					   PAGE_SIZE, NULL));
	/* It holds nothing */
	EXPECT_EQ(0, __ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
}

TEST_F(dmabuf, rlimit_memlock_0_maps)
{
	struct rlimit none = { 0, 0 };
	pid_t pid;
	int status;

	domain(self, self->ioas_id);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		void *va = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (setrlimit(RLIMIT_MEMLOCK, &none) || drop_ipc_lock())
			_exit(1);
		/* The limit counts */
		if (__ioas_map(self->fd, self->ioas_id, va, PAGE_SIZE, IOVA2) !=
		    ENOMEM)
			_exit(2);
		_exit(map(self, IOVA) ? 3 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(dmabuf, change_process_accepts_it)
{
	struct iommu_ioas_change_process change = { .size = sizeof(change) };
	__u32 hwpt_id = domain(self, self->ioas_id);
	pid_t pid;
	int status;

	ASSERT_EQ(0, map(self, IOVA));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(call(self->fd, IOMMU_IOAS_CHANGE_PROCESS, &change));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	EXPECT_EQ(0, call(self->fd, IOMMU_IOAS_CHANGE_PROCESS, &change));
	EXPECT_EMPTY(hwpt_id, IOVA);
	ASSERT_EQ(0, __ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
}

/* ---- Revoke ---- */

TEST_F(dmabuf, revoke_empties_all_domains)
{
	__u32 first, second, copy_ioas = ioas(self), copy_id;
	uint64_t unmapped = 0;

	first = domain(self, self->ioas_id);
	ASSERT_EQ(0, map(self, IOVA));
	second = domain(self, self->ioas_id);
	copy_id = domain(self, copy_ioas);
	ASSERT_EQ(0, __ioas_copy(self->fd, copy_ioas, self->ioas_id, IOVA,
				 BUF_SIZE, IOVA));
	/* A mapping of its own, that shares no pages with the others */
	ASSERT_EQ(0, map(self, IOVA2));

	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	EXPECT_EMPTY(first, IOVA);
	EXPECT_EMPTY(second, IOVA);
	EXPECT_EMPTY(copy_id, IOVA);
	EXPECT_EMPTY(first, IOVA2);
	EXPECT_EMPTY(second, IOVA2);

	ASSERT_EQ(0, _test_ioctl_ioas_unmap(self->fd, self->ioas_id, IOVA,
					    BUF_SIZE, &unmapped));
	EXPECT_EQ(BUF_SIZE, unmapped);
	test_ioctl_destroy(first);
	test_ioctl_destroy(second);
	test_ioctl_destroy(copy_id);
}

TEST_F(dmabuf, revoked_area_stays_empty)
{
	__u32 hwpt_id = domain(self, self->ioas_id);
	int i;

	for (i = 0; i != 3; i++) {
		ASSERT_EQ(0, map(self, IOVA));
		EXPECT_MAPPED(hwpt_id, IOVA);
		ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
		ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
		EXPECT_EMPTY(hwpt_id, IOVA);
		ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, false));
		EXPECT_EMPTY(hwpt_id, IOVA);
		/* It is still there */
		EXPECT_EQ(EEXIST, map(self, IOVA));
		ASSERT_EQ(0, __ioas_unmap(self->fd, self->ioas_id, IOVA,
					  BUF_SIZE));
	}
}

TEST_F(dmabuf, revoked_area_is_skipped_later)
{
	__u32 copy_ioas = ioas(self), copy_id, hwpt_id;

	ASSERT_EQ(0, map(self, IOVA));
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, false));

	hwpt_id = domain(self, self->ioas_id);
	EXPECT_EMPTY(hwpt_id, IOVA);
	ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_id, hwpt_id));
	ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_id, self->ioas_id));
	copy_id = domain(self, copy_ioas);
	ASSERT_EQ(0, __ioas_copy(self->fd, copy_ioas, self->ioas_id, IOVA,
				 BUF_SIZE, IOVA));
	EXPECT_EMPTY(copy_id, IOVA);
	EXPECT_EMPTY(domain(self, copy_ioas), IOVA);

	/* A mapping of now is not empty, beside the one that is */
	ASSERT_EQ(0, map(self, IOVA2));
	EXPECT_MAPPED(hwpt_id, IOVA2);
	ASSERT_EQ(0, __mock_dev_attach(self->fd, self->stdev_id, 0));
	test_ioctl_destroy(hwpt_id);
}

TEST_F(dmabuf, revoke_leaves_other_dmabufs)
{
	__u32 hwpt_id = domain(self, self->ioas_id);
	int other = dmabuf_get(self->fd, BUF_SIZE, O_CLOEXEC);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, map(self, IOVA));
	ASSERT_EQ(0, __ioas_map_file(self->fd, self->ioas_id, other, 0, BUF_SIZE,
				     IOVA2));
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	EXPECT_EMPTY(hwpt_id, IOVA);
	EXPECT_MAPPED(hwpt_id, IOVA2);
	close(other);
}

/* Memory, a revoked area, one that is not, and memory again */
TEST_F(dmabuf, dirty_bitmap_leaves_it_out)
{
	const __u64 length = 2 * BUF_SIZE + 2 * PAGE_SIZE;
	/* A bit per half page: it is at most 36 */
	__u64 set[2] = { ~0ULL }, bitmap[2] = {}, dirty;
	__u32 hwpt_id, stdev_id, dev_id;
	int other = dmabuf_get(self->fd, BUF_SIZE, O_CLOEXEC);
	__u64 iova = IOVA;
	char *mem;

	mem = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, __mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	ASSERT_EQ(0, __hwpt_alloc(self->fd, dev_id, self->ioas_id,
				  IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id));
	ASSERT_EQ(0, __ioas_map(self->fd, self->ioas_id, mem, PAGE_SIZE, iova));
	iova += PAGE_SIZE;
	ASSERT_EQ(0, map(self, iova));
	iova += BUF_SIZE;
	ASSERT_EQ(0, __ioas_map_file(self->fd, self->ioas_id, other, 0, BUF_SIZE,
				     iova));
	iova += BUF_SIZE;
	ASSERT_EQ(0, __ioas_map(self->fd, self->ioas_id, mem + PAGE_SIZE,
				PAGE_SIZE, iova));
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));

	test_cmd_set_dirty_tracking(hwpt_id, true);
	/* Devices have written to all that is mapped */
	ASSERT_EQ(0, _test_cmd_mock_domain_set_dirty(self->fd, hwpt_id, length,
						     IOVA, PAGE_SIZE / 2, set,
						     &dirty));
	EXPECT_EQ(4 + BUF_PAGES * 2, dirty);
	test_cmd_get_dirty_bitmap(self->fd, hwpt_id, length, IOVA,
				  PAGE_SIZE / 2, bitmap, 0);
	EXPECT_EQ(3ULL | 3ULL << (2 + 4 * BUF_PAGES), bitmap[0]);
	test_cmd_set_dirty_tracking(hwpt_id, false);
	munmap(mem, 2 * PAGE_SIZE);
	close(other);
}

/* ---- All at once ---- */

struct race {
	struct _test_data_dmabuf *self;
	atomic_bool stop;
	atomic_int mapped, revoked, domains;
};

static void *race_map(void *arg)
{
	struct race *race = arg;
	struct _test_data_dmabuf *self = race->self;

	while (!atomic_load(&race->stop)) {
		if (!map(self, IOVA))
			atomic_fetch_add(&race->mapped, 1);
		__ioas_copy(self->fd, self->ioas_id, self->ioas_id, IOVA,
			    BUF_SIZE, IOVA2);
		__ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE);
		__ioas_unmap(self->fd, self->ioas_id, IOVA2, BUF_SIZE);
	}
	return NULL;
}

static void *race_revoke(void *arg)
{
	struct race *race = arg;
	struct _test_data_dmabuf *self = race->self;

	while (!atomic_load(&race->stop)) {
		if (dmabuf_revoke(self->fd, self->buf, true) ||
		    dmabuf_revoke(self->fd, self->buf, false))
			abort();
		atomic_fetch_add(&race->revoked, 1);
	}
	return NULL;
}

static void *race_domain(void *arg)
{
	struct race *race = arg;
	struct _test_data_dmabuf *self = race->self;
	__u32 hwpt_id;

	while (!atomic_load(&race->stop)) {
		hwpt_id = domain(self, self->ioas_id);
		if (__do_destroy(self->fd, hwpt_id))
			abort();
		atomic_fetch_add(&race->domains, 1);
	}
	return NULL;
}

/* A dma-buf whose last reference is the mapping's, or the file's */
static void *race_export(void *arg)
{
	struct race *race = arg;
	struct _test_data_dmabuf *self = race->self;
	const __u64 iova = IOVA2 + 0x1000000;

	while (!atomic_load(&race->stop)) {
		int buf = dmabuf_get(self->fd, BUF_SIZE, O_CLOEXEC);

		if (buf < 0)
			abort();
		__ioas_map_file(self->fd, self->ioas_id, buf, 0, BUF_SIZE, iova);
		dmabuf_revoke(self->fd, buf, true);
		close(buf);
		__ioas_unmap(self->fd, self->ioas_id, iova, BUF_SIZE);
	}
	return NULL;
}

TEST_F(dmabuf, race_of_map_revoke_close_destroy)
{
	void *(*const fns[])(void *) = {
		race_map, race_map, race_revoke, race_domain, race_domain,
		race_export,
	};
	enum { NUM = sizeof(fns) / sizeof(*fns), OFTEN = 100 };
	struct race race = { .self = self };
	pthread_t threads[NUM];
	int i;

	for (i = 0; i != NUM; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, fns[i], &race));
	while (atomic_load(&race.mapped) < OFTEN ||
	       atomic_load(&race.revoked) < OFTEN ||
	       atomic_load(&race.domains) < OFTEN)
		usleep(1000);
	atomic_store(&race.stop, true);
	for (i = 0; i != NUM; i++)
		pthread_join(threads[i], NULL);

	/* Nothing is left in the way */
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, false));
	ASSERT_EQ(0, map(self, IOVA));
	EXPECT_MAPPED(domain(self, self->ioas_id), IOVA);
}

/* The iommufd goes while its dma-buf is being revoked */
TEST_F(dmabuf, race_of_revoke_and_close)
{
	int i, fd;

	for (i = 0; i != 50; i++) {
		struct race race = { .self = self };
		__u32 ioas_id, stdev_id, dev_id;
		pthread_t thread;

		fd = open("/dev/iommu", O_RDWR);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, _test_ioctl_ioas_alloc(fd, &ioas_id));
		ASSERT_EQ(0, __mock_dev_add_bind(fd, 0, 0, &stdev_id, &dev_id));
		ASSERT_EQ(0, __mock_dev_attach(fd, stdev_id, ioas_id));
		/* Begins once nothing is revoked */
		ASSERT_EQ(0, __ioas_map_file(fd, ioas_id, self->buf, 0, BUF_SIZE,
					     IOVA));
		ASSERT_EQ(0, pthread_create(&thread, NULL, race_revoke, &race));
		ASSERT_EQ(0, close(fd));
		atomic_store(&race.stop, true);
		pthread_join(thread, NULL);
	}
}

/* ---- Every place that can fail ---- */

TEST_F(dmabuf, fail_nth_leaves_nothing)
{
	__u32 first, copy_ioas = ioas(self), hwpt_id = 0;
	int buf = -1;

	if (!fail_nth_open())
		SKIP(return, "no fault injection in this kernel");
	first = domain(self, self->ioas_id);
	domain(self, self->ioas_id);
	domain(self, copy_ioas);

	SWEEP(2, ({
		buf = dmabuf_get(self->fd, BUF_SIZE, O_CLOEXEC);
		buf < 0 ? errno : 0;
	      }), (void)0, close(buf));
	SWEEP(6, map(self, IOVA), EXPECT_EMPTY(first, IOVA),
	      ASSERT_EQ(0, __ioas_unmap(self->fd, self->ioas_id, IOVA,
					BUF_SIZE)));
	ASSERT_EQ(0, map(self, IOVA));
	/* A copy whose answer cannot be written stays, so remove it if it is there */
	SWEEP(3, __ioas_copy(self->fd, copy_ioas, self->ioas_id, IOVA, BUF_SIZE,
			     IOVA),
	      ({
		EXPECT_MAPPED(first, IOVA);
		__ioas_unmap(self->fd, copy_ioas, IOVA, BUF_SIZE);
	      }),
	      ASSERT_EQ(0, __ioas_unmap(self->fd, copy_ioas, IOVA, BUF_SIZE)));
	SWEEP(2, __hwpt_alloc(self->fd, self->dev_id, self->ioas_id, 0,
			      &hwpt_id),
	      EXPECT_MAPPED(first, IOVA), test_ioctl_destroy(hwpt_id));
	ASSERT_EQ(0, dmabuf_revoke(self->fd, self->buf, true));
	EXPECT_EMPTY(first, IOVA);
	close(fail_nth_fd);
}

TEST_HARNESS_MAIN
