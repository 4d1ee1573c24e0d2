// SPDX-License-Identifier: GPL-2.0-only
/*
 * HW queues, and mmap on the iommufd, on the mock driver
 *
 * The mock driver checks the physical address and the order of the calls that it
 * gets, and counts what is wrong as errors. The tests of queues need huge pages of
 * 2 MiB, because these are memory that is known to be physically contiguous.
 */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "iommufd_hw_queue.h"

#define IN_DATA 0xcafe0001

/* ---- Layout ---- */

static_assert(sizeof(struct iommu_hw_queue_alloc) == 40, "hw_queue_alloc");
ASSERT_FIELD(iommu_hw_queue_alloc, size, 0, 4);
ASSERT_FIELD(iommu_hw_queue_alloc, flags, 4, 4);
ASSERT_FIELD(iommu_hw_queue_alloc, viommu_id, 8, 4);
ASSERT_FIELD(iommu_hw_queue_alloc, type, 12, 4);
ASSERT_FIELD(iommu_hw_queue_alloc, index, 16, 4);
ASSERT_FIELD(iommu_hw_queue_alloc, out_hw_queue_id, 20, 4);
ASSERT_FIELD(iommu_hw_queue_alloc, nesting_parent_iova, 24, 8);
ASSERT_FIELD(iommu_hw_queue_alloc, length, 32, 8);
static_assert(sizeof(struct iommu_viommu_selftest) == 24, "viommu_selftest");
ASSERT_FIELD(iommu_viommu_selftest, in_data, 0, 4);
ASSERT_FIELD(iommu_viommu_selftest, out_data, 4, 4);
ASSERT_FIELD(iommu_viommu_selftest, out_mmap_offset, 8, 8);
ASSERT_FIELD(iommu_viommu_selftest, out_mmap_length, 16, 8);
static_assert(_IO(0x3b, 0x94) == IOMMU_HW_QUEUE_ALLOC, "IOMMU_HW_QUEUE_ALLOC");
static_assert(IOMMU_HW_QUEUE_TYPE_DEFAULT == 0, "TYPE_DEFAULT");
static_assert(IOMMU_HW_QUEUE_TYPE_SELFTEST == 0xdeadbeef, "TYPE_SELFTEST");
static_assert(IOMMU_TEST_HW_QUEUE_MAX == 2, "HW_QUEUE_MAX");
static_assert(sizeof(struct iommu_test_cmd) == 72, "iommu_test_cmd");

/* ---- A vIOMMU whose nest parent maps a huge page at QUEUE_IOVA ---- */

FIXTURE(hw_queue) {
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	bool by_file;
	int file;
	char *mem;
	long pins;
};

FIXTURE_VARIANT(hw_queue) {
	/* Map the memory by its file, not by its address */
	bool by_file;
	/* Bytes of temporary memory for pages, 0 for the default */
	unsigned int limit;
};

FIXTURE_VARIANT_ADD(hw_queue, address) {};
FIXTURE_VARIANT_ADD(hw_queue, address_limit) { .limit = 16 };
FIXTURE_VARIANT_ADD(hw_queue, file) { .by_file = true };
FIXTURE_VARIANT_ADD(hw_queue, file_limit) { .by_file = true, .limit = 16 };

/* Map @length bytes from @start of the huge page on at @iova */
static int map_mem(struct _test_data_hw_queue *self, __u64 start, __u64 length,
		   __u64 iova)
{
	if (self->by_file)
		return ioas_map_file(self->fd, self->ioas_id, self->file, start,
				     length, iova);
	return ioas_map(self->fd, self->ioas_id, self->mem + start, length,
			iova);
}

static int unmap(struct _test_data_hw_queue *self, __u64 iova, __u64 length)
{
	return ioas_unmap(self->fd, self->ioas_id, iova, length);
}

static int alloc_queue(struct _test_data_hw_queue *self, __u32 index, __u64 iova,
		       __u64 length, __u32 *id)
{
	return hw_queue_alloc(self->fd, self->viommu_id, index, iova, length,
			      id);
}

FIXTURE_SETUP(hw_queue)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	if (!have_hpages(1))
		SKIP(return, "no huge page of 2 MiB");
	EXPECT_NOTHING_BEFORE();

	self->pins = pins();
	self->by_file = variant->by_file;
	self->file = hpage_file(1);
	ASSERT_NE(-1, self->file);
	self->mem = mmap(NULL, HPAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->file, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	memset(self->mem, 0x5a, HPAGE);

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	if (variant->limit)
		test_ioctl_set_temp_memory_limit(variant->limit);
	test_ioctl_ioas_alloc(&self->ioas_id);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id,
				       &self->dev_id));
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &self->viommu_id));
	ASSERT_EQ(0, map_mem(self, 0, HPAGE, QUEUE_IOVA));
}

/* A test may leave its queues: closing the file destroys them */
FIXTURE_TEARDOWN(hw_queue)
{
	test_ioctl_set_default_memory_limit();
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->pins, pins());
	EXPECT_NOTHING_LEFT();
	munmap(self->mem, HPAGE);
	close(self->file);
}

/* Unmap and map the huge page, which only works if no queue has it */
static int remap(struct _test_data_hw_queue *self)
{
	int rc = unmap(self, QUEUE_IOVA, HPAGE);

	return rc ?: map_mem(self, 0, HPAGE, QUEUE_IOVA);
}

/* A failed IOMMU_HW_QUEUE_ALLOC left neither its memory nor index 0 in use */
static int nothing_is_left(struct _test_data_hw_queue *self)
{
	__u32 id = 0;
	int rc;

	rc = remap(self);
	if (rc)
		return rc;
	rc = alloc_queue(self, 0, QUEUE_IOVA, PAGE_SIZE, &id);
	return rc ?: do_destroy(self->fd, id);
}

/* Destroy what a vIOMMU needs; EBUSY if anything still holds one of them */
static int destroy_parents(struct _test_data_hw_queue *self)
{
	int rc = do_destroy(self->fd, self->viommu_id);

	rc = rc ?: do_destroy(self->fd, self->parent_id);
	rc = rc ?: unmap(self, QUEUE_IOVA, HPAGE);
	return rc ?: do_destroy(self->fd, self->ioas_id);
}

/* ---- IOMMU_HW_QUEUE_ALLOC: errors ---- */

TEST_F(hw_queue, alloc_sizes)
{
	const unsigned int full = sizeof(struct iommu_hw_queue_alloc);
	struct iommu_hw_queue_alloc cmd = {
		.viommu_id = NO_SUCH_ID,
		.type = IOMMU_HW_QUEUE_TYPE_SELFTEST,
		.nesting_parent_iova = QUEUE_IOVA,
		.length = PAGE_SIZE,
	};
	char *page = guarded_pages(1), *at = page + PAGE_SIZE - full + 1;
	unsigned int size;
	char buf[100] = {};

	ASSERT_NE(NULL, page);
	memcpy(buf, &cmd, full);
	for (size = 0; size != sizeof(buf); size++) {
		*(__u32 *)buf = size;
		/* ENOENT, of the vIOMMU, shows that the size was fine */
		ASSERT_EQ(size < full ? EINVAL : ENOENT,
			  call(self->fd, IOMMU_HW_QUEUE_ALLOC, buf)) {
			TH_LOG("size %u", size);
		}
	}
	for (size = full; size != sizeof(buf); size++) {
		*(__u32 *)buf = sizeof(buf);
		buf[size] = 1;
		ASSERT_EQ(E2BIG, call(self->fd, IOMMU_HW_QUEUE_ALLOC, buf)) {
			TH_LOG("byte %u", size);
		}
		buf[size] = 0;
	}

	/* The size can be read, the rest cannot; then nothing can */
	cmd.size = full;
	memcpy(at, &cmd, full - 1);
	EXPECT_EQ(EFAULT, call(self->fd, IOMMU_HW_QUEUE_ALLOC, at));
	EXPECT_EQ(EFAULT, call(self->fd, IOMMU_HW_QUEUE_ALLOC,
			       page + PAGE_SIZE));
}

enum which_id {
	ID_VIOMMU,
	ID_NONE,
	ID_ZERO,
	ID_IOAS,
	ID_DEVICE,
	ID_PARENT,
};

/* One thing is wrong in each; iova counts from QUEUE_IOVA unless @absolute */
static const struct alloc_error {
	const char *name;
	int rc;
	__u32 flags;
	__u32 type_xor;
	enum which_id id;
	__u32 index;
	bool absolute;
	__u64 iova;
	__u64 length;
} alloc_errors[] = {
	{ "flag 0", EOPNOTSUPP, .flags = 1, .length = 64 },
	{ "flag 1", EOPNOTSUPP, .flags = 2, .length = 64 },
	{ "flag 31", EOPNOTSUPP, .flags = 1U << 31, .length = 64 },
	{ "type 0", EOPNOTSUPP, .type_xor = 0xdeadbeef, .length = 64 },
	{ "type 1", EOPNOTSUPP, .type_xor = 0xdeadbeef ^ 1, .length = 64 },
	{ "type 2", EOPNOTSUPP, .type_xor = 0xdeadbeef ^ 2, .length = 64 },
	{ "type 0xbeefbeef", EOPNOTSUPP, .type_xor = 0xdeadbeef ^ 0xbeefbeef,
	  .length = 64 },
	{ "type of one bit more", EOPNOTSUPP, .type_xor = 1 << 4,
	  .length = 64 },
	{ "no such ID", ENOENT, .id = ID_NONE, .length = 64 },
	{ "ID 0", ENOENT, .id = ID_ZERO, .length = 64 },
	{ "ID of an IOAS", ENOENT, .id = ID_IOAS, .length = 64 },
	{ "ID of a device", ENOENT, .id = ID_DEVICE, .length = 64 },
	{ "ID of the nest parent", ENOENT, .id = ID_PARENT, .length = 64 },
	{ "length 0", EINVAL, .length = 0 },
	{ "length 0 at the end", EINVAL, .absolute = true, .iova = ~0ULL,
	  .length = 0 },
	{ "longest and a byte", EINVAL, .length = QUEUE_LENGTH_MAX + 1 },
	{ "length of all IOVAs", EINVAL, .absolute = true, .iova = 0,
	  .length = ~0ULL },
	{ "wrap by a byte", EOVERFLOW, .absolute = true, .iova = ~0ULL,
	  .length = 2 },
	{ "wrap by a byte, a page", EOVERFLOW, .absolute = true,
	  .iova = ~0xfffULL, .length = 0x1001 },
	{ "last byte", ENOENT, .absolute = true, .iova = ~0ULL, .length = 1 },
	{ "last page", ENOENT, .absolute = true, .iova = ~0xfffULL,
	  .length = 0x1000 },
	{ "IOVA 0", ENOENT, .absolute = true, .iova = 0, .length = 64 },
	{ "page in front", ENOENT, .iova = -0x1000, .length = 0x1000 },
	{ "starts in front", ENOENT, .iova = -1, .length = 2 },
	{ "page behind", ENOENT, .iova = HPAGE, .length = 1 },
	{ "ends behind", ENOENT, .iova = HPAGE - 1, .length = 2 },
	{ "mapped at its start only", ENOENT, .length = HPAGE + 1 },
	{ "longest, mapped at its start", ENOENT, .length = QUEUE_LENGTH_MAX },
	{ "index 2", EINVAL, .index = IOMMU_TEST_HW_QUEUE_MAX, .length = 64 },
	{ "index 3", EINVAL, .index = 3, .length = 64 },
	{ "index 2^31", EINVAL, .index = 1U << 31, .length = 64 },
	{ "last index", EINVAL, .index = ~0U, .length = 64 },
	{ "index 1 without 0", EIO, .index = 1, .length = 64 },
};

TEST_F(hw_queue, alloc_errors)
{
	const __u32 ids[] = {
		[ID_VIOMMU] = self->viommu_id,
		[ID_NONE] = NO_SUCH_ID,
		[ID_ZERO] = 0,
		[ID_IOAS] = self->ioas_id,
		[ID_DEVICE] = self->dev_id,
		[ID_PARENT] = self->parent_id,
	};
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(alloc_errors); i++) {
		const struct alloc_error *e = &alloc_errors[i];
		struct iommu_hw_queue_alloc cmd = {
			.size = sizeof(cmd),
			.flags = e->flags,
			.viommu_id = ids[e->id],
			.type = IOMMU_HW_QUEUE_TYPE_SELFTEST ^ e->type_xor,
			.index = e->index,
			.nesting_parent_iova = e->iova +
					       (e->absolute ? 0 : QUEUE_IOVA),
			.length = e->length,
		};

		EXPECT_EQ(e->rc, call(self->fd, IOMMU_HW_QUEUE_ALLOC, &cmd)) {
			TH_LOG("%s", e->name);
		}
		EXPECT_EQ(0, nothing_is_left(self)) {
			TH_LOG("after %s", e->name);
		}
	}
	EXPECT_EQ(0, destroy_parents(self));
}

TEST_F(hw_queue, index_in_use_exists)
{
	__u32 ids[2], other_id, id;

	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &ids[0]));
	EXPECT_EQ(EEXIST, alloc_queue(self, 0, QUEUE_IOVA, 64, NULL));
	EXPECT_EQ(EEXIST, alloc_queue(self, 0, QUEUE_IOVA + PAGE_SIZE, 64,
				      NULL));
	ASSERT_EQ(0, alloc_queue(self, 1, QUEUE_IOVA, 64, &ids[1]));
	EXPECT_EQ(EEXIST, alloc_queue(self, 1, QUEUE_IOVA, 64, NULL));
	EXPECT_EQ(EEXIST, alloc_queue(self, 0, QUEUE_IOVA, 64, NULL));
	EXPECT_EQ(EINVAL, alloc_queue(self, 2, QUEUE_IOVA, 64, NULL));

	/* Another vIOMMU has indexes of its own */
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &other_id));
	EXPECT_EQ(EIO, hw_queue_alloc(self->fd, other_id, 1, QUEUE_IOVA, 64,
				      NULL));
	ASSERT_EQ(0, hw_queue_alloc(self->fd, other_id, 0, QUEUE_IOVA, 64,
				    &id));
	test_ioctl_destroy(id);
	test_ioctl_destroy(other_id);

	/* None of the failures holds anything */
	test_ioctl_destroy(ids[1]);
	test_ioctl_destroy(ids[0]);
	EXPECT_EQ(0, nothing_is_left(self));
	EXPECT_EQ(0, destroy_parents(self));
}

/* The request can be read, but the answer cannot be written */
TEST_F(hw_queue, alloc_answer_faults)
{
	struct iommu_hw_queue_alloc *cmd = guarded_pages(1);
	__u32 index, first_id;

	ASSERT_NE(NULL, cmd);
	for (index = 0; index != 2; index++) {
		ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ | PROT_WRITE));
		*cmd = (struct iommu_hw_queue_alloc){
			.size = sizeof(*cmd),
			.viommu_id = self->viommu_id,
			.type = IOMMU_HW_QUEUE_TYPE_SELFTEST,
			.index = index,
			.nesting_parent_iova = QUEUE_IOVA,
			.length = HPAGE,
		};
		ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));
		EXPECT_EQ(EFAULT, call(self->fd, IOMMU_HW_QUEUE_ALLOC, cmd));
		if (index)
			test_ioctl_destroy(first_id);
		EXPECT_EQ(0, nothing_is_left(self));
		ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &first_id));
	}
	test_ioctl_destroy(first_id);
	EXPECT_EQ(0, destroy_parents(self));
}

/* ---- The memory of a queue ---- */

TEST_F(hw_queue, base_unaligned_is_accepted)
{
	const struct {
		__u64 start, length;
	} ranges[] = {
		{ 0, 1 }, { 0, PAGE_SIZE }, { 0, HPAGE },
		{ 0x30, 64 }, { 1, 1 }, { PAGE_SIZE - 1, 1 },
		{ PAGE_SIZE - 1, 2 }, { PAGE_SIZE - 1, PAGE_SIZE + 2 },
		{ 0x7f0, 3 * PAGE_SIZE }, { 1, HPAGE - 1 },
		{ 1, HPAGE - 2 }, { HPAGE - 1, 1 },
	};
	unsigned int i;
	__u32 id = 0;

	for (i = 0; i != ARRAY_SIZE(ranges); i++) {
		__u64 iova = QUEUE_IOVA + ranges[i].start;

		ASSERT_EQ(0, alloc_queue(self, 0, iova, ranges[i].length,
					 &id)) {
			TH_LOG("range %u", i);
		}
		EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE)) {
			TH_LOG("range %u", i);
		}
		test_ioctl_destroy(id);
		ASSERT_EQ(0, remap(self)) {
			TH_LOG("range %u", i);
		}
	}
}

/* A queue over two areas needs both, and both stay as long as it lives */
TEST_F(hw_queue, range_across_two_mappings)
{
	const __u64 half = HPAGE / 2, iova = QUEUE_IOVA + 4 * HPAGE;
	__u32 id;
	int i;

	ASSERT_EQ(0, map_mem(self, 0, half, iova));
	ASSERT_EQ(0, map_mem(self, half, half, iova + half));
	ASSERT_EQ(0, alloc_queue(self, 0, iova + half - 1, 2, &id));
	test_ioctl_destroy(id);
	ASSERT_EQ(0, alloc_queue(self, 0, iova, HPAGE, &id));
	for (i = 0; i != 2; i++)
		EXPECT_EQ(EBUSY, unmap(self, iova + i * half, half));
	EXPECT_EQ(EBUSY, unmap(self, iova, HPAGE));
	/* The memory is mapped elsewhere too: that mapping has no queue */
	EXPECT_EQ(0, unmap(self, QUEUE_IOVA, HPAGE));
	test_ioctl_destroy(id);
	for (i = 0; i != 2; i++)
		EXPECT_EQ(0, unmap(self, iova + i * half, half));
}

TEST_F(hw_queue, hole_between_mappings)
{
	const __u64 half = HPAGE / 2, iova = QUEUE_IOVA + 4 * HPAGE;

	ASSERT_EQ(0, map_mem(self, 0, half - PAGE_SIZE, iova));
	ASSERT_EQ(0, map_mem(self, half, half, iova + half));
	EXPECT_EQ(ENOENT, alloc_queue(self, 0, iova, HPAGE, NULL));
	EXPECT_EQ(ENOENT, alloc_queue(self, 0, iova, half, NULL));
	EXPECT_EQ(ENOENT, alloc_queue(self, 0, iova + half - 1, 2, NULL));
	EXPECT_EQ(0, unmap(self, iova, HPAGE));
}

/* The halves of a huge page in the wrong order, and a page that comes twice */
TEST_F(hw_queue, scattered_memory_faults)
{
	const __u64 half = HPAGE / 2, iova = QUEUE_IOVA + 4 * HPAGE;
	const __u64 twice = QUEUE_IOVA + 8 * HPAGE;
	const struct {
		__u64 iova, length;
		int rc;
	} ranges[] = {
		{ iova, half, 0 },
		{ iova + half, half, 0 },
		{ iova, HPAGE, EFAULT },
		{ iova, half + 1, EFAULT },
		{ iova + half - 1, 2, EFAULT },
		{ iova + half - 1, half + 1, EFAULT },
		{ twice, PAGE_SIZE, 0 },
		{ twice + PAGE_SIZE, PAGE_SIZE, 0 },
		{ twice, 2 * PAGE_SIZE, EFAULT },
		{ twice + PAGE_SIZE - 1, 2, EFAULT },
	};
	unsigned int i;
	__u32 id = 0;

	ASSERT_EQ(0, map_mem(self, half, half, iova));
	ASSERT_EQ(0, map_mem(self, 0, half, iova + half));
	ASSERT_EQ(0, map_mem(self, 0, PAGE_SIZE, twice));
	ASSERT_EQ(0, map_mem(self, 0, PAGE_SIZE, twice + PAGE_SIZE));
	for (i = 0; i != ARRAY_SIZE(ranges); i++) {
		ASSERT_EQ(ranges[i].rc, alloc_queue(self, 0, ranges[i].iova,
						    ranges[i].length, &id)) {
			TH_LOG("range %u", i);
		}
		if (!ranges[i].rc)
			test_ioctl_destroy(id);
	}
	/* What failed holds neither memory nor parents */
	EXPECT_EQ(0, unmap(self, iova, HPAGE));
	EXPECT_EQ(0, unmap(self, twice, 2 * PAGE_SIZE));
	EXPECT_EQ(0, nothing_is_left(self));
	EXPECT_EQ(0, destroy_parents(self));
}

/* Pages that the second queue shares stay until both queues are gone */
TEST_F(hw_queue, second_queue_shares_page)
{
	const struct {
		__u64 start[2], length[2];
	} pairs[] = {
		{ { 0, 64 }, { 64, 64 } },
		{ { 0, 0 }, { 64, 64 } },
		{ { 0x20, 0 }, { PAGE_SIZE, HPAGE } },
		{ { 0, HPAGE - 1 }, { HPAGE, 1 } },
	};
	unsigned int i, q;
	__u32 ids[2];

	for (i = 0; i != ARRAY_SIZE(pairs); i++) {
		for (q = 0; q != 2; q++) {
			ASSERT_EQ(0, alloc_queue(self, q, QUEUE_IOVA +
						 pairs[i].start[q],
						 pairs[i].length[q],
						 &ids[q])) {
				TH_LOG("pair %u, queue %u", i, q);
			}
		}
		EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE));
		test_ioctl_destroy(ids[1]);
		EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE));
		test_ioctl_destroy(ids[0]);
		ASSERT_EQ(0, remap(self));
	}
}

TEST_F(hw_queue, memory_shared_by_two_viommus)
{
	__u32 other_id, ids[2];

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &other_id));
	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &ids[0]));
	ASSERT_EQ(0, hw_queue_alloc(self->fd, other_id, 0, QUEUE_IOVA, 64,
				    &ids[1]));
	test_ioctl_destroy(ids[0]);
	EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE));
	test_ioctl_destroy(ids[1]);
	EXPECT_EQ(0, remap(self));
}

/* An ordinary page of memory is enough for a small queue */
TEST_F(hw_queue, small_page)
{
	const __u64 iova = QUEUE_IOVA + 4 * HPAGE;
	int file = memfd_create("small", MFD_CLOEXEC);
	__u32 id;
	char *va;

	ASSERT_NE(-1, file);
	ASSERT_EQ(0, ftruncate(file, PAGE_SIZE));
	va = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, va);
	ASSERT_EQ(0, variant->by_file ?
		  ioas_map_file(self->fd, self->ioas_id, file, 0, PAGE_SIZE,
				iova) :
		  ioas_map(self->fd, self->ioas_id, va, PAGE_SIZE, iova));
	ASSERT_EQ(0, alloc_queue(self, 0, iova + 0x20, PAGE_SIZE - 0x20, &id));
	EXPECT_EQ(EBUSY, unmap(self, iova, PAGE_SIZE));
	EXPECT_EQ(0, check_map(self->fd, self->parent_id, iova, PAGE_SIZE, va));
	test_ioctl_destroy(id);
	EXPECT_EQ(0, unmap(self, iova, PAGE_SIZE));
	munmap(va, PAGE_SIZE);
	close(file);
}

/* Return the number of the page frame at @va, 0 if it cannot be told */
static __u64 frame_of(const void *va)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	__u64 entry = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)va / PAGE_SIZE *
		  sizeof(entry)) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

#define LARGE_HPAGES (QUEUE_LENGTH_MAX / HPAGE)

/* Find LARGE_HPAGES neighbours in physical memory; the index of the first or -1 */
static int find_neighbours(const __u64 *frames, unsigned int num, int *order)
{
	unsigned int first, i, len;
	__u64 next;

	for (first = 0; first != num; first++) {
		for (len = 0; len != LARGE_HPAGES; len++) {
			next = frames[first] + len * (HPAGE / PAGE_SIZE);
			for (i = 0; i != num && frames[i] != next; i++)
				;
			if (i == num)
				break;
			order[len] = i;
		}
		if (len == LARGE_HPAGES)
			return first;
	}
	return -1;
}

/* Several huge pages that lie behind one another, each one mapped by itself */
TEST_F(hw_queue, lengths_up_to_the_largest)
{
	const __u64 lengths[] = {
		HPAGE, HPAGE + 1, 3 * HPAGE, QUEUE_LENGTH_MAX - 1,
		QUEUE_LENGTH_MAX,
	};
	const unsigned int num = POOL_HPAGES - 1;
	const __u64 iova = QUEUE_IOVA + 8 * HPAGE;
	int order[LARGE_HPAGES], file;
	__u64 frames[POOL_HPAGES];
	unsigned int i;
	__u32 id;
	char *va;

	if (!have_hpages(num))
		SKIP(return, "not enough huge pages");
	file = hpage_file(num);
	ASSERT_NE(-1, file);
	va = mmap(NULL, num * HPAGE, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, file, 0);
	ASSERT_NE(MAP_FAILED, va);
	for (i = 0; i != num; i++)
		frames[i] = frame_of(va + i * HPAGE);
	if (!frames[0])
		SKIP(return, "pagemap does not tell frames");
	if (find_neighbours(frames, num, order) < 0)
		SKIP(return, "no %llu MiB of huge pages are contiguous",
		     QUEUE_LENGTH_MAX >> 20);

	for (i = 0; i != LARGE_HPAGES; i++)
		ASSERT_EQ(0, variant->by_file ?
			  ioas_map_file(self->fd, self->ioas_id, file,
					order[i] * HPAGE, HPAGE,
					iova + i * HPAGE) :
			  ioas_map(self->fd, self->ioas_id,
				   va + order[i] * HPAGE, HPAGE,
				   iova + i * HPAGE));
	/* A byte more than the largest may have, mapped or not, is refused */
	ASSERT_EQ(0, map_mem(self, 0, PAGE_SIZE, iova + QUEUE_LENGTH_MAX));
	EXPECT_EQ(EINVAL, alloc_queue(self, 0, iova, QUEUE_LENGTH_MAX + 1,
				      NULL));
	for (i = 0; i != ARRAY_SIZE(lengths); i++) {
		ASSERT_EQ(0, alloc_queue(self, 0, iova, lengths[i], &id)) {
			TH_LOG("length 0x%llx", lengths[i]);
		}
		EXPECT_EQ(EBUSY, unmap(self, iova, QUEUE_LENGTH_MAX));
		test_ioctl_destroy(id);
	}
	EXPECT_EQ(0, unmap(self, iova, QUEUE_LENGTH_MAX));
	munmap(va, num * HPAGE);
	close(file);
}

/* ---- IOAS calls on memory that a queue has ---- */

/* All forms of IOMMU_IOAS_UNMAP fail, @length stays, the memory stays mapped */
TEST_F(hw_queue, unmap_is_busy)
{
	const struct {
		const char *name;
		__u64 iova, length;
	} ranges[] = {
		{ "exact", QUEUE_IOVA, HPAGE },
		{ "longer", QUEUE_IOVA, 2 * HPAGE },
		{ "from in front", QUEUE_IOVA - HPAGE, 2 * HPAGE },
		{ "around", QUEUE_IOVA - HPAGE, 3 * HPAGE },
		{ "from 0 on", 0, QUEUE_IOVA + HPAGE },
		{ "all", 0, UINT64_MAX },
	};
	const __u64 front = QUEUE_IOVA - HPAGE, behind = QUEUE_IOVA + HPAGE;
	__u32 ids[2];
	unsigned int i;
	int rc;

	ASSERT_EQ(0, map_mem(self, 0, PAGE_SIZE, behind));
	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA + 2 * PAGE_SIZE, 64,
				 &ids[0]));
	for (i = 0; i != ARRAY_SIZE(ranges); i++) {
		uint64_t length = 0x1234;

		rc = map_mem(self, 0, PAGE_SIZE, front);
		/* The unmap before it may have left it */
		EXPECT_TRUE(rc == 0 || rc == EEXIST) {
			TH_LOG("%s: %s", ranges[i].name, strerror(rc));
		}
		rc = _test_ioctl_ioas_unmap(self->fd, self->ioas_id,
					    ranges[i].iova, ranges[i].length,
					    &length) ? errno : 0;
		EXPECT_EQ(EBUSY, rc) {
			TH_LOG("%s", ranges[i].name);
		}
		EXPECT_EQ(ranges[i].length, length) {
			TH_LOG("%s", ranges[i].name);
		}
		EXPECT_EQ(0, check_map(self->fd, self->parent_id, QUEUE_IOVA,
				       HPAGE, self->mem)) {
			TH_LOG("%s", ranges[i].name);
		}
		/* What was refused has no effect on later queues */
		ASSERT_EQ(0, alloc_queue(self, 1, QUEUE_IOVA, HPAGE,
					 &ids[1])) {
			TH_LOG("%s", ranges[i].name);
		}
		test_ioctl_destroy(ids[1]);
	}
	/* The queue is not in it */
	EXPECT_EQ(0, unmap(self, behind, PAGE_SIZE));
	test_ioctl_destroy(ids[0]);
	EXPECT_EQ(0, unmap(self, 0, UINT64_MAX));
	EXPECT_EQ(ENOENT, alloc_queue(self, 0, QUEUE_IOVA, 64, NULL));
}

TEST_F(hw_queue, map_over_exists)
{
	__u32 id;

	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, PAGE_SIZE, &id));
	EXPECT_EQ(EEXIST, map_mem(self, 0, HPAGE, QUEUE_IOVA));
	EXPECT_EQ(EEXIST, map_mem(self, 0, PAGE_SIZE, QUEUE_IOVA));
	EXPECT_EQ(EEXIST, map_mem(self, 0, 2 * PAGE_SIZE,
				  QUEUE_IOVA - PAGE_SIZE));
	EXPECT_EQ(0, check_map(self->fd, self->parent_id, QUEUE_IOVA, HPAGE,
			       self->mem));
	test_ioctl_destroy(id);
	EXPECT_EQ(0, remap(self));
}

/* A copy of the mapping is no queue's memory: it can go while the queue lives */
TEST_F(hw_queue, copy_can_be_unmapped)
{
	const __u64 iova = QUEUE_IOVA + 4 * HPAGE;
	__u32 id, second_id, other_id;

	test_ioctl_ioas_alloc(&other_id);
	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, HPAGE, &id));
	ASSERT_EQ(0, ioas_copy(self->fd, other_id, self->ioas_id, QUEUE_IOVA,
			       HPAGE, iova));
	ASSERT_EQ(0, ioas_copy(self->fd, self->ioas_id, self->ioas_id,
			       QUEUE_IOVA + PAGE_SIZE, PAGE_SIZE, iova));
	EXPECT_EQ(0, ioas_unmap(self->fd, other_id, iova, HPAGE));
	EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE));

	/* A queue in the copy keeps the copy, and no longer the original */
	ASSERT_EQ(0, alloc_queue(self, 1, iova, PAGE_SIZE, &second_id));
	EXPECT_EQ(EBUSY, unmap(self, iova, PAGE_SIZE));
	test_ioctl_destroy(second_id);
	EXPECT_EQ(0, unmap(self, iova, PAGE_SIZE));
	test_ioctl_destroy(id);
	EXPECT_EQ(0, remap(self));
	test_ioctl_destroy(other_id);
}

/* Memory that user space gives up stays the queue's until the queue is gone */
TEST_F(hw_queue, memory_stays_pinned)
{
	const __u64 iova = QUEUE_IOVA + 4 * HPAGE;
	__u32 id;
	char *va;
	long before;

	before = pins();
	va = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, va);
	*va = 1;
	ASSERT_EQ(0, ioas_map(self->fd, self->ioas_id, va, PAGE_SIZE, iova));
	ASSERT_EQ(0, alloc_queue(self, 0, iova, PAGE_SIZE, &id));
	EXPECT_LT(before, pins());
	ASSERT_EQ(0, munmap(va, PAGE_SIZE));
	EXPECT_EQ(EBUSY, unmap(self, iova, PAGE_SIZE));
	EXPECT_LT(before, pins());
	test_ioctl_destroy(id);
	EXPECT_EQ(0, unmap(self, iova, PAGE_SIZE));
	EXPECT_EQ(before, pins());
}

/* ---- Order of destruction ---- */

TEST_F(hw_queue, lower_queue_is_busy)
{
	__u32 ids[2];
	int round;

	for (round = 0; round != 3; round++) {
		ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &ids[0]));
		ASSERT_EQ(0, alloc_queue(self, 1, QUEUE_IOVA, 64, &ids[1]));
		EXPECT_EQ(EBUSY, do_destroy(self->fd, ids[0]));
		EXPECT_EQ(EBUSY, do_destroy(self->fd, ids[0]));
		test_ioctl_destroy(ids[1]);
		EXPECT_EQ(ENOENT, do_destroy(self->fd, ids[1]));
		test_ioctl_destroy(ids[0]);
		EXPECT_EQ(EIO, alloc_queue(self, 1, QUEUE_IOVA, 64, NULL));
	}
	EXPECT_EQ(0, destroy_parents(self));
}

TEST_F(hw_queue, parents_are_busy)
{
	__u32 id;

	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->parent_id));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->ioas_id));
	test_ioctl_destroy(id);
	EXPECT_EQ(0, destroy_parents(self));
}

/* User space sees one object per queue: the access has no ID that it can use */
TEST_F(hw_queue, access_is_hidden)
{
	__u32 queue_id, id, next_id;

	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &queue_id));
	test_ioctl_ioas_alloc(&next_id);
	for (id = 1; id <= next_id + 4; id++) {
		if (id == next_id || id == queue_id || id == self->ioas_id ||
		    id == self->stdev_id || id == self->dev_id ||
		    id == self->parent_id || id == self->viommu_id)
			continue;
		EXPECT_NE(0, do_destroy(self->fd, id)) {
			TH_LOG("ID %u", id);
		}
	}
	EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE));
	test_ioctl_destroy(queue_id);
	EXPECT_EQ(0, destroy_parents(self));
}

/* Closing the file destroys queues and copies of their memory, in any order */
TEST_F(hw_queue, close_with_queues_and_copies)
{
	__u32 other_id;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &other_id));
	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, HPAGE, NULL));
	ASSERT_EQ(0, alloc_queue(self, 1, QUEUE_IOVA, 64, NULL));
	ASSERT_EQ(0, hw_queue_alloc(self->fd, other_id, 0, QUEUE_IOVA, 64,
				    NULL));
	ASSERT_EQ(0, ioas_copy(self->fd, self->ioas_id, self->ioas_id,
			       QUEUE_IOVA, HPAGE, QUEUE_IOVA + 4 * HPAGE));
}

/* A queue belongs to the vIOMMU: the device that the vIOMMU came from may go */
TEST_F(hw_queue, queue_outlives_device)
{
	__u32 id;

	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, HPAGE, &id));
	ASSERT_EQ(0, mock_dev_unbind(self->fd, self->stdev_id));
	EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE));
	test_ioctl_destroy(id);
	EXPECT_EQ(0, nothing_is_left(self));
	EXPECT_EQ(0, destroy_parents(self));
}

/* ---- mmap: a vIOMMU that offers two pages ---- */

FIXTURE(mapping) {
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	struct iommu_viommu_selftest offer;
	size_t length;
};

FIXTURE_SETUP(mapping)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_NOTHING_BEFORE();

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id,
				       &self->dev_id));
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	ASSERT_EQ(0, viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id,
				       IN_DATA, &self->offer,
				       &self->viommu_id));
	self->length = self->offer.out_mmap_length;
}

FIXTURE_TEARDOWN(mapping)
{
	if (self->fd >= 0)
		EXPECT_EQ(0, close(self->fd));
	EXPECT_NOTHING_LEFT();
}

/* Map what the fixture's vIOMMU offers; it must succeed and read IN_DATA */
#define MAP_OFFER()                                                  \
	({                                                           \
		char *__p = map_offer(self->fd, &self->offer);       \
		ASSERT_NE(MAP_FAILED, __p);                          \
		ASSERT_EQ(IN_DATA, read32(__p));                     \
		__p;                                                 \
	})

static int try_mmap(int fd, size_t length, int prot, int flags, off_t offset)
{
	void *p = mmap(NULL, length, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, length);
	return 0;
}

/* Two mappings of the same pages: a write to one shows in the other */
TEST_F(mapping, reads_in_data)
{
	char *p, *q;

	EXPECT_EQ(IN_DATA, self->offer.in_data);
	EXPECT_EQ(IN_DATA, self->offer.out_data);
	ASSERT_EQ(2 * PAGE_SIZE, self->offer.out_mmap_length);
	EXPECT_EQ(0, self->offer.out_mmap_offset % PAGE_SIZE);

	p = MAP_OFFER();
	q = MAP_OFFER();
	write32(p + PAGE_SIZE, 0x12345678);
	EXPECT_EQ(0x12345678, read32(q + PAGE_SIZE));
	ASSERT_EQ(0, munmap(p, self->length));
	ASSERT_EQ(0, munmap(q, self->length));

	p = mmap(NULL, self->length, PROT_READ, MAP_SHARED, self->fd,
		 self->offer.out_mmap_offset);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

TEST_F(mapping, offset_and_length_must_be_exact)
{
	const off_t at = self->offer.out_mmap_offset, page = PAGE_SIZE;
	const size_t length = self->length;
	const struct {
		const char *name;
		off_t offset;
		size_t length;
	} wrong[] = {
		{ "offset 0", 0, length },
		{ "a page behind", at + page, length },
		{ "the second page", at + page, page },
		{ "a page in front", at - page, length },
		{ "from a page in front", at - page, length + page },
		{ "half", at, length / 2 },
		{ "a page more", at, length + page },
		{ "double", at, length * 2 },
		{ "behind", at + length, length },
		{ "offset with bit 40", at | (1L << 40), length },
		{ "offset with bit 62", at | (1L << 62), length },
	};
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(ENXIO, try_mmap(self->fd, wrong[i].length,
					  PROT_READ | PROT_WRITE, MAP_SHARED,
					  wrong[i].offset)) {
			TH_LOG("%s", wrong[i].name);
		}
	}
	/* None of them holds the vIOMMU */
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

/* An offset is the context's own, and goes with its vIOMMU */
TEST_F(mapping, offset_of_another_context)
{
	const off_t at = self->offer.out_mmap_offset;
	int other = open("/dev/iommu", O_RDWR);
	char *p;

	ASSERT_NE(-1, other);
	EXPECT_EQ(ENXIO, try_mmap(other, self->length, PROT_READ, MAP_SHARED,
				  at));
	p = MAP_OFFER();
	EXPECT_EQ(ENXIO, try_mmap(other, self->length, PROT_READ, MAP_SHARED,
				  at));
	ASSERT_EQ(0, munmap(p, self->length));
	test_ioctl_destroy(self->viommu_id);
	EXPECT_EQ(ENXIO, try_mmap(self->fd, self->length, PROT_READ,
				  MAP_SHARED, at));
	close(other);
}

TEST_F(mapping, two_viommus_are_apart)
{
	struct iommu_viommu_selftest second, *lower;
	char *p, *q;
	__u32 id;

	ASSERT_EQ(0, viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id,
				       0xbabe, &second, &id));
	ASSERT_NE(self->offer.out_mmap_offset, second.out_mmap_offset);
	p = MAP_OFFER();
	q = map_offer(self->fd, &second);
	ASSERT_NE(MAP_FAILED, q);
	EXPECT_EQ(0xbabe, read32(q));
	EXPECT_EQ(IN_DATA, read32(p));

	/* Not both at once, where they are neighbours */
	lower = second.out_mmap_offset < self->offer.out_mmap_offset ?
			&second : &self->offer;
	EXPECT_EQ(ENXIO, try_mmap(self->fd, 2 * self->length, PROT_READ,
				  MAP_SHARED, lower->out_mmap_offset));

	/* Each mapping holds its own vIOMMU */
	ASSERT_EQ(0, munmap(q, self->length));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(0, do_destroy(self->fd, id));
	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

TEST_F(mapping, flags_and_protection)
{
	const off_t at = self->offer.out_mmap_offset;
	const int rw = PROT_READ | PROT_WRITE;
	char *p;

	EXPECT_EQ(EINVAL, try_mmap(self->fd, self->length, rw, MAP_PRIVATE,
				   at));
	EXPECT_EQ(EINVAL, try_mmap(self->fd, self->length, PROT_READ,
				   MAP_PRIVATE, at));
	EXPECT_EQ(EPERM, try_mmap(self->fd, self->length, rw | PROT_EXEC,
				  MAP_SHARED, at));
	EXPECT_EQ(EPERM, try_mmap(self->fd, self->length,
				  PROT_READ | PROT_EXEC, MAP_SHARED, at));

	p = MAP_OFFER();
	errno = 0;
	EXPECT_EQ(-1, mprotect(p, self->length, rw | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	errno = 0;
	EXPECT_EQ(-1, mprotect(p, self->length, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

TEST_F(mapping, viommu_is_busy_until_last_munmap)
{
	char *p[3];
	int i;

	for (i = 0; i != 3; i++)
		p[i] = MAP_OFFER();
	for (i = 0; i != 3; i++) {
		EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
		EXPECT_EQ(EBUSY, do_destroy(self->fd, self->parent_id));
		EXPECT_EQ(IN_DATA, read32(p[i]));
		ASSERT_EQ(0, munmap(p[i], self->length));
	}
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(0, do_destroy(self->fd, self->parent_id));
}

/* A part cannot be unmapped, protected or cut off, so that one close ends it all */
TEST_F(mapping, part_cannot_be_split_off)
{
	const size_t page = PAGE_SIZE;
	char *p = MAP_OFFER();

	errno = 0;
	EXPECT_EQ(-1, munmap(p, page));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(-1, munmap(p + page, page));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(-1, mprotect(p, page, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(MAP_FAILED, mremap(p, self->length, page, 0));
	EXPECT_EQ(EINVAL, errno);

	EXPECT_EQ(IN_DATA, read32(p));
	write32(p + page, 1);
	EXPECT_EQ(1, read32(p + page));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

TEST_F(mapping, mremap_cannot_grow_or_double)
{
	char *p = MAP_OFFER();

	errno = 0;
	EXPECT_EQ(MAP_FAILED, mremap(p, self->length, 2 * self->length, 0));
	EXPECT_TRUE(errno == EFAULT || errno == EINVAL) {
		TH_LOG("%s", strerror(errno));
	}
	errno = 0;
	EXPECT_EQ(MAP_FAILED, mremap(p, self->length, 2 * self->length,
				     MREMAP_MAYMOVE));
	EXPECT_TRUE(errno == EFAULT || errno == EINVAL) {
		TH_LOG("%s", strerror(errno));
	}
	/* An old length of 0 would make a second mapping */
	errno = 0;
	EXPECT_EQ(MAP_FAILED, mremap(p, 0, self->length, MREMAP_MAYMOVE));
	EXPECT_TRUE(errno == EFAULT || errno == EINVAL) {
		TH_LOG("%s", strerror(errno));
	}

	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

/* Moved or not, there is one mapping, and it holds the vIOMMU */
TEST_F(mapping, mremap_may_move)
{
	char *p = MAP_OFFER(), *to, *q;

	to = mmap(NULL, self->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		  -1, 0);
	ASSERT_NE(MAP_FAILED, to);
	q = mremap(p, self->length, self->length,
		   MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (q == MAP_FAILED)
		q = p;
	EXPECT_EQ(IN_DATA, read32(q));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	ASSERT_EQ(0, munmap(q, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

/* Run @fn in a child and return its wait status */
static int in_child(void (*fn)(void *arg), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		/* A child of the harness must not run on after its fault */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		fn(arg);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

static void read_mapping(void *arg)
{
	if (read32(arg) == IN_DATA)
		_exit(1);
}

static void do_nothing(void *arg)
{
}

TEST_F(mapping, fork_leaves_it_to_the_parent)
{
	char *p = MAP_OFFER();
	int status;

	status = in_child(read_mapping, p);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGSEGV, WTERMSIG(status));
	status = in_child(do_nothing, NULL);
	EXPECT_TRUE(WIFEXITED(status));

	/* The end of a child changes nothing */
	EXPECT_EQ(IN_DATA, read32(p));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

/* A child that is alive does not hold the vIOMMU by its parent's mapping */
TEST_F(mapping, child_does_not_hold_viommu)
{
	char *p = MAP_OFFER();
	int status, pipefd[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipefd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(pipefd[1]);
		_exit(read(pipefd[0], &byte, 1));
	}
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
	close(pipefd[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	close(pipefd[0]);
}

TEST_F(mapping, advice_cannot_undo)
{
	char *p = MAP_OFFER();

	errno = 0;
	EXPECT_EQ(-1, madvise(p, self->length, MADV_DOFORK));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(-1, madvise(p, self->length, MADV_DODUMP));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(SIGSEGV, WTERMSIG(in_child(read_mapping, p)));
	EXPECT_EQ(IN_DATA, read32(p));
	/* The registers are still there, and come back at the next access */
	EXPECT_EQ(0, madvise(p, self->length, MADV_DONTNEED));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
}

/* A file that is open for reading can be mapped for reading */
TEST_F(mapping, file_open_for_reading)
{
	__u32 ioas_id, stdev_id, dev_id, parent_id, viommu_id;
	struct iommu_viommu_selftest offer;
	int writable = self->fd;
	char *p;

	self->fd = open("/dev/iommu", O_RDONLY);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&ioas_id);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	test_cmd_hwpt_alloc(dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			    &parent_id);
	ASSERT_EQ(0, viommu_alloc_mmap(self->fd, dev_id, parent_id, IN_DATA,
				       &offer, &viommu_id));

	p = mmap(NULL, offer.out_mmap_length, PROT_READ, MAP_SHARED, self->fd,
		 offer.out_mmap_offset);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(IN_DATA, read32(p));
	EXPECT_EQ(-1, mprotect(p, offer.out_mmap_length,
			       PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, offer.out_mmap_length, PROT_READ,
				   MAP_PRIVATE, self->fd,
				   offer.out_mmap_offset));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, munmap(p, offer.out_mmap_length));
	ASSERT_EQ(0, close(self->fd));
	self->fd = writable;
}

/* Copy the flags that smaps shows for the mapping at @addr; false if not there */
static bool vm_flags(const void *addr, char *flags, size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool here = false, found = false;
	char line[500];

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			here = start == (uintptr_t)addr;
		} else if (here && !strncmp(line, "VmFlags:", 8)) {
			snprintf(flags, len, "%s", line + 8);
			flags[strcspn(flags, "\n")] = 0;
			found = true;
		}
	}
	fclose(f);
	return found;
}

/* Each flag is two letters between spaces */
static bool has_flag(const char *flags, const char *name)
{
	const char *at;

	for (at = strstr(flags, name); at; at = strstr(at + 1, name))
		if (at != flags && at[-1] == ' ' &&
		    (at[2] == ' ' || at[2] == 0))
			return true;
	return false;
}

TEST_F(mapping, smaps_flags)
{
	static const char * const set[] = { "sh", "io", "mm", "dc", "de", "dd" };
	/* A VFIO container takes the addresses behind a "pf" */
	static const char * const clear[] = { "ex", "me", "pf" };
	char *p = MAP_OFFER(), flags[500];
	unsigned int i;

	if (access("/proc/self/smaps", R_OK))
		SKIP(return, "no /proc/self/smaps");
	ASSERT_TRUE(vm_flags(p, flags, sizeof(flags)));
	for (i = 0; i != ARRAY_SIZE(set); i++) {
		EXPECT_TRUE(has_flag(flags, set[i])) {
			TH_LOG("no %s in%s", set[i], flags);
		}
	}
	for (i = 0; i != ARRAY_SIZE(clear); i++) {
		EXPECT_FALSE(has_flag(flags, clear[i])) {
			TH_LOG("%s in%s", clear[i], flags);
		}
	}
	ASSERT_EQ(0, munmap(p, self->length));
}

/* No device may write what is a guest's registers */
TEST_F(mapping, cannot_be_mapped_for_a_device)
{
	__u32 other_id, hwpt_id;
	char *p = MAP_OFFER();
	__u64 iova = 0;
	int rc;

	EXPECT_EQ(EFAULT, ioas_map(self->fd, self->ioas_id, p, self->length,
				   QUEUE_IOVA));
	EXPECT_EQ(EFAULT, ioas_map(self->fd, self->ioas_id, p + PAGE_SIZE,
				   PAGE_SIZE, QUEUE_IOVA));
	EXPECT_EQ(EFAULT, _test_ioctl_ioas_map(self->fd, self->ioas_id, p,
					       self->length, &iova,
					       IOMMU_IOAS_MAP_READABLE) ?
				  errno : 0);
	EXPECT_EQ(ENOENT, hw_queue_alloc(self->fd, self->viommu_id, 0,
					 QUEUE_IOVA, 64, NULL));

	/* An IOAS without domains may take it, but then none can be added */
	test_ioctl_ioas_alloc(&other_id);
	rc = ioas_map(self->fd, other_id, p, self->length, QUEUE_IOVA);
	EXPECT_TRUE(rc == 0 || rc == EFAULT) {
		TH_LOG("%s", strerror(rc));
	}
	EXPECT_EQ(rc ? 0 : EFAULT, hwpt_alloc(self->fd, self->dev_id, other_id,
					      0, &hwpt_id));
	if (rc)
		test_ioctl_destroy(hwpt_id);
	test_ioctl_destroy(other_id);

	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, do_destroy(self->fd, self->viommu_id));
}

/* Neither a debugger nor another process gets at it */
TEST_F(mapping, proc_mem_fails)
{
	int mem = open("/proc/self/mem", O_RDWR);
	char *p = MAP_OFFER();
	struct iovec local, remote;
	__u32 val = 1;

	ASSERT_NE(-1, mem);
	EXPECT_EQ(-1, pread(mem, &val, sizeof(val), (uintptr_t)p));
	EXPECT_EQ(-1, pwrite(mem, &val, sizeof(val), (uintptr_t)p));
	local = (struct iovec){ &val, sizeof(val) };
	remote = (struct iovec){ p, sizeof(val) };
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(-1, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	close(mem);
}

/* Wait until the driver has @num vIOMMUs; the last user may be another CPU's */
static bool viommus_become(int num)
{
	int i;

	for (i = 0; i != 3000 && mock_count("viommus") != num; i++)
		usleep(10000);
	return mock_count("viommus") == num;
}

TEST_F(mapping, outlives_the_file)
{
	char *p = MAP_OFFER(), *q = MAP_OFFER();

	EXPECT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_EQ(1, mock_count("viommus"));
	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(1, mock_count("viommus"));
	EXPECT_EQ(IN_DATA, read32(q));
	ASSERT_EQ(0, munmap(q, self->length));
	EXPECT_TRUE(viommus_become(0));
}

/* The file is closed by the exit of the process, with its mappings in place */
static void own_context_exits(void *arg)
{
	struct iommu_viommu_selftest offer;
	__u32 ioas_id, stdev_id, dev_id, parent_id, viommu_id;
	bool closed = *(bool *)arg;
	int fd = open("/dev/iommu", O_RDWR), i;

	if (fd < 0 || _test_ioctl_ioas_alloc(fd, &ioas_id) ||
	    mock_dev_add_bind(fd, 0, 0, &stdev_id, &dev_id) ||
	    hwpt_alloc(fd, dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
		       &parent_id) ||
	    viommu_alloc_mmap(fd, dev_id, parent_id, IN_DATA, &offer,
			      &viommu_id))
		_exit(1);
	for (i = 0; i != 3; i++)
		if (map_offer(fd, &offer) == MAP_FAILED)
			_exit(2);
	if (closed)
		close(fd);
	if (mock_count("viommus") != 2)
		_exit(3);
}

TEST_F(mapping, process_exits_with_mappings)
{
	bool closed;
	int status, i;

	for (i = 0; i != 2; i++) {
		closed = i;
		status = in_child(own_context_exits, &closed);
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(0, WEXITSTATUS(status));
		EXPECT_TRUE(viommus_become(1));
	}
}

/* ---- Trace events ---- */

FIXTURE(hw_queue_trace) {
	int fd;
	char dir[80];
};

static int write_trace(const char *dir, const char *name, const char *val)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return write_str(path, val);
}

FIXTURE_SETUP(hw_queue_trace)
{
	static const char tracefs[] = "/sys/kernel/tracing";

	if (access("/sys/kernel/tracing/instances", F_OK) &&
	    mount("tracefs", tracefs, "tracefs", 0, NULL))
		SKIP(return, "no tracefs at /sys/kernel/tracing");
	if (access("/sys/kernel/tracing/events/iommufd", F_OK))
		SKIP(return, "no iommufd events in tracefs");
	snprintf(self->dir, sizeof(self->dir), "%s/instances/hw-queue-%d",
		 tracefs, getpid());
	ASSERT_EQ(0, mkdir(self->dir, 0700));
	ASSERT_EQ(0, write_trace(self->dir, "events/iommufd/enable", "1"));
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
}

FIXTURE_TEARDOWN(hw_queue_trace)
{
	close(self->fd);
	EXPECT_EQ(0, rmdir(self->dir));
}

/* Count the lines of an event so far, -1 on error */
static int trace_count(const char *dir, const char *event)
{
	char path[PATH_MAX], name[80], line[500];
	int num = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/trace", dir);
	snprintf(name, sizeof(name), ": %s: ", event);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		num += !!strstr(line, name);
	fclose(f);
	return num;
}

#define EXPECT_TRACED(_event, _num)                                        \
	({                                                                 \
		const char *__event = (_event);                            \
		EXPECT_EQ(_num, trace_count(self->dir, __event)) {         \
			TH_LOG("%s", __event);                             \
		}                                                          \
	})

TEST_F(hw_queue_trace, queues_and_mappings)
{
	__u32 ioas_id, stdev_id, dev_id, parent_id, viommu_id, ids[2];
	struct iommu_viommu_selftest offer;
	char *mem, *p;
	int i;

	mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	test_ioctl_ioas_alloc(&ioas_id);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	test_cmd_hwpt_alloc(dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			    &parent_id);
	ASSERT_EQ(0, viommu_alloc_mmap(self->fd, dev_id, parent_id, IN_DATA,
				       &offer, &viommu_id));
	ASSERT_EQ(0, ioas_map(self->fd, ioas_id, mem, PAGE_SIZE, QUEUE_IOVA));
	for (i = 0; i != 2; i++)
		ASSERT_EQ(0, hw_queue_alloc(self->fd, viommu_id, i, QUEUE_IOVA,
					    64, &ids[i]));
	EXPECT_TRACED("iommufd_hw_queue_alloc", 2);
	EXPECT_TRACED("iommufd_hw_queue_destroy", 0);
	test_ioctl_destroy(ids[1]);
	EXPECT_TRACED("iommufd_hw_queue_destroy", 1);
	test_ioctl_destroy(ids[0]);
	EXPECT_TRACED("iommufd_hw_queue_destroy", 2);

	p = map_offer(self->fd, &offer);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_TRACED("iommufd_mmap", 1);
	EXPECT_TRACED("iommufd_munmap", 0);
	ASSERT_EQ(0, munmap(p, offer.out_mmap_length));
	EXPECT_TRACED("iommufd_munmap", 1);

	/* What fails makes nothing, and so no event */
	EXPECT_EQ(EIO, hw_queue_alloc(self->fd, viommu_id, 1, QUEUE_IOVA, 64,
				      NULL));
	EXPECT_EQ(ENXIO, try_mmap(self->fd, PAGE_SIZE, PROT_READ, MAP_SHARED,
				  offer.out_mmap_offset));
	EXPECT_TRACED("iommufd_hw_queue_alloc", 2);
	EXPECT_TRACED("iommufd_mmap", 1);
	EXPECT_TRACED("iommufd_munmap", 1);
	munmap(mem, PAGE_SIZE);
}

/* ---- Races ---- */

/* Go on until each pair has met this often, but not longer than so many seconds */
#define RACE_LEAST 10
#define RACE_SECONDS 150
#define RACE_MEETINGS 6

struct race {
	int fd;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	/* Whose memory is unmapped and mapped again */
	struct _test_data_hw_queue *hw_queue;
	/* Where the mapping is offered now */
	atomic_ulong offset;
	size_t length;
	time_t end;
	atomic_uint failures;
	/* How often each pair met, and what that is */
	const char *names[RACE_MEETINGS];
	atomic_uint met[RACE_MEETINGS];
};

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static bool race_goes_on(const struct race *r)
{
	unsigned int i;

	if (r->failures || seconds() >= r->end)
		return false;
	for (i = 0; i != RACE_MEETINGS; i++)
		if (r->names[i] && r->met[i] < RACE_LEAST)
			return true;
	return false;
}

static void race_met(struct race *r, unsigned int meeting)
{
	atomic_fetch_add(&r->met[meeting], 1);
}

static void race_fails(struct race *r, const char *what, int rc)
{
	atomic_fetch_add(&r->failures, 1);
	fprintf(stderr, "# %s: %s\n", what, strerror(rc));
}

static void run_race(struct __test_metadata *_metadata, struct race *r,
		     void *(*const *funcs)(void *), unsigned int num)
{
	pthread_t threads[4];
	unsigned int i;

	ASSERT_LE(num, ARRAY_SIZE(threads));
	r->end = seconds() + RACE_SECONDS;
	for (i = 0; i != num; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, funcs[i], r));
	for (i = 0; i != num; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_EQ(0, r->failures);
	for (i = 0; i != RACE_MEETINGS; i++) {
		if (!r->names[i])
			continue;
		TH_LOG("%u times: %s", r->met[i], r->names[i]);
		EXPECT_LE(RACE_LEAST, r->met[i]) {
			TH_LOG("too rarely: %s", r->names[i]);
		}
	}
}

enum { MAP_MAPPED, MAP_GONE, MAP_BUSY, MAP_DESTROYED, MAP_FORKED };

#define TAG 0xabcd0000

static void *race_mmap(void *arg)
{
	struct race *r = arg;
	__u32 val;
	char *p;

	while (race_goes_on(r)) {
		p = mmap(NULL, r->length, PROT_READ, MAP_SHARED, r->fd,
			 r->offset);
		if (p == MAP_FAILED) {
			if (errno != ENXIO)
				race_fails(r, "mmap", errno);
			race_met(r, MAP_GONE);
			continue;
		}
		/* It is a vIOMMU's page, and that one's until it is unmapped */
		val = read32(p);
		if ((val & 0xffff0000) != TAG)
			race_fails(r, "value", EBADE);
		sched_yield();
		if (read32(p) != val)
			race_fails(r, "value changed", EBADE);
		if (munmap(p, r->length))
			race_fails(r, "munmap", errno);
		race_met(r, MAP_MAPPED);
	}
	return NULL;
}

static void *race_destroy(void *arg)
{
	struct iommu_viommu_selftest offer;
	struct race *r = arg;
	__u32 generation = 0;
	int rc;

	while (race_goes_on(r)) {
		rc = do_destroy(r->fd, r->viommu_id);
		if (rc == EBUSY) {
			race_met(r, MAP_BUSY);
			continue;
		}
		if (rc) {
			race_fails(r, "destroy", rc);
			break;
		}
		race_met(r, MAP_DESTROYED);
		usleep(50);
		generation = (generation + 1) & 0xffff;
		rc = viommu_alloc_mmap(r->fd, r->dev_id, r->parent_id,
				       TAG | generation, &offer, &r->viommu_id);
		if (rc) {
			race_fails(r, "vIOMMU alloc", rc);
			break;
		}
		r->offset = offer.out_mmap_offset;
	}
	return NULL;
}

/* A child that copies the address space while mappings come and go */
static void *race_fork(void *arg)
{
	struct race *r = arg;
	int status;
	pid_t pid;

	while (race_goes_on(r)) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0)
			race_fails(r, "fork", errno);
		else if (waitpid(pid, &status, 0) != pid || status)
			race_fails(r, "child", EBADE);
		else
			race_met(r, MAP_FORKED);
	}
	return NULL;
}

TEST_F(mapping, mmap_and_fork_against_destroy)
{
	static void *(*const funcs[])(void *) = {
		race_mmap, race_mmap, race_destroy, race_fork,
	};
	struct race r = {
		.fd = self->fd,
		.dev_id = self->dev_id,
		.parent_id = self->parent_id,
		.length = self->length,
		.names = {
			[MAP_MAPPED] = "mapped",
			[MAP_GONE] = "mmap found no offer",
			[MAP_BUSY] = "destroy met a mapping",
			[MAP_DESTROYED] = "destroyed",
			[MAP_FORKED] = "forked",
		},
	};

	test_ioctl_destroy(self->viommu_id);
	ASSERT_EQ(0, viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id,
				       TAG, &self->offer, &r.viommu_id));
	r.offset = self->offer.out_mmap_offset;
	run_race(_metadata, &r, funcs, ARRAY_SIZE(funcs));
	EXPECT_EQ(0, do_destroy(self->fd, r.viommu_id));
}

enum { QUEUE_ALLOC, QUEUE_UNMAPPED, UNMAP_DONE, UNMAP_BUSY };

static void *race_queue(void *arg)
{
	struct race *r = arg;
	__u32 id = 0;
	int rc;

	while (race_goes_on(r)) {
		rc = hw_queue_alloc(r->fd, r->viommu_id, 0, QUEUE_IOVA,
				    PAGE_SIZE, &id);
		if (rc == ENOENT) {
			race_met(r, QUEUE_UNMAPPED);
			continue;
		}
		if (rc) {
			race_fails(r, "queue alloc", rc);
			break;
		}
		sched_yield();
		rc = do_destroy(r->fd, id);
		if (rc)
			race_fails(r, "queue destroy", rc);
		race_met(r, QUEUE_ALLOC);
	}
	return NULL;
}

static void *race_unmap(void *arg)
{
	struct race *r = arg;
	unsigned int i = 0;
	int rc;

	while (race_goes_on(r)) {
		/* By turns the exact range, and all there is */
		rc = i++ % 2 ? unmap(r->hw_queue, QUEUE_IOVA, HPAGE) :
			       unmap(r->hw_queue, 0, UINT64_MAX);
		if (rc == EBUSY) {
			race_met(r, UNMAP_BUSY);
			continue;
		}
		if (rc) {
			race_fails(r, "unmap", rc);
			break;
		}
		race_met(r, UNMAP_DONE);
		sched_yield();
		rc = map_mem(r->hw_queue, 0, HPAGE, QUEUE_IOVA);
		if (rc) {
			race_fails(r, "map", rc);
			break;
		}
	}
	return NULL;
}

TEST_F(hw_queue, unmap_against_alloc_and_destroy)
{
	static void *(*const funcs[])(void *) = { race_queue, race_unmap };
	struct race r = {
		.fd = self->fd,
		.viommu_id = self->viommu_id,
		.hw_queue = self,
		.names = {
			[QUEUE_ALLOC] = "queue came and went",
			[QUEUE_UNMAPPED] = "queue found nothing mapped",
			[UNMAP_DONE] = "unmapped",
			[UNMAP_BUSY] = "unmap met a queue",
		},
	};

	run_race(_metadata, &r, funcs, ARRAY_SIZE(funcs));
	EXPECT_EQ(0, remap(self));
}

enum { INDEX_TAKEN, INDEX_EXISTS };

static void *race_index(void *arg)
{
	struct race *r = arg;
	__u32 id = 0;
	int rc;

	while (race_goes_on(r)) {
		rc = hw_queue_alloc(r->fd, r->viommu_id, 0, QUEUE_IOVA, 64,
				    &id);
		if (rc == EEXIST) {
			race_met(r, INDEX_EXISTS);
			continue;
		}
		if (rc) {
			race_fails(r, "queue alloc", rc);
			break;
		}
		race_met(r, INDEX_TAKEN);
		sched_yield();
		rc = do_destroy(r->fd, id);
		if (rc)
			race_fails(r, "queue destroy", rc);
	}
	return NULL;
}

TEST_F(hw_queue, two_threads_on_one_index)
{
	static void *(*const funcs[])(void *) = { race_index, race_index };
	struct race r = {
		.fd = self->fd,
		.viommu_id = self->viommu_id,
		.names = {
			[INDEX_TAKEN] = "index taken",
			[INDEX_EXISTS] = "index was in use",
		},
	};

	run_race(_metadata, &r, funcs, ARRAY_SIZE(funcs));
	EXPECT_EQ(0, nothing_is_left(self));
}

enum { LOWER_GONE, LOWER_BUSY, UPPER_ALLOC, UPPER_ALONE };

static void *race_lower(void *arg)
{
	struct race *r = arg;
	__u32 id = 0;
	int rc;

	while (race_goes_on(r)) {
		rc = hw_queue_alloc(r->fd, r->viommu_id, 0, QUEUE_IOVA, 64,
				    &id);
		if (rc) {
			race_fails(r, "lower queue alloc", rc);
			break;
		}
		sched_yield();
		while ((rc = do_destroy(r->fd, id)) == EBUSY && !r->failures)
			race_met(r, LOWER_BUSY);
		if (rc) {
			race_fails(r, "lower queue destroy", rc);
			break;
		}
		race_met(r, LOWER_GONE);
	}
	return NULL;
}

static void *race_upper(void *arg)
{
	struct race *r = arg;
	__u32 id = 0;
	int rc;

	while (race_goes_on(r)) {
		rc = hw_queue_alloc(r->fd, r->viommu_id, 1, QUEUE_IOVA, 64,
				    &id);
		if (rc == EIO) {
			race_met(r, UPPER_ALONE);
			continue;
		}
		if (rc) {
			race_fails(r, "upper queue alloc", rc);
			break;
		}
		race_met(r, UPPER_ALLOC);
		sched_yield();
		rc = do_destroy(r->fd, id);
		if (rc) {
			race_fails(r, "upper queue destroy", rc);
			break;
		}
	}
	return NULL;
}

/* The upper queue comes while the lower one goes: one of both is refused */
TEST_F(hw_queue, upper_alloc_against_lower_destroy)
{
	static void *(*const funcs[])(void *) = { race_lower, race_upper };
	struct race r = {
		.fd = self->fd,
		.viommu_id = self->viommu_id,
		.names = {
			[LOWER_GONE] = "lower queue came and went",
			[LOWER_BUSY] = "lower destroy met an upper queue",
			[UPPER_ALLOC] = "upper queue came and went",
			[UPPER_ALONE] = "upper alloc met no lower queue",
		},
	};

	run_race(_metadata, &r, funcs, ARRAY_SIZE(funcs));
	EXPECT_EQ(0, nothing_is_left(self));
}

/* ---- A process that is killed ---- */

/* What the process is about, in memory that its killer shares */
struct victim {
	atomic_bool ready;
	atomic_bool mapped;
	atomic_bool in_mmap;
	atomic_bool has_queue;
	atomic_bool in_queue_call;
	atomic_int error;
};

struct victim_context {
	struct victim *v;
	int fd;
	__u32 viommu_id;
	struct iommu_viommu_selftest offer;
};

static void *victim_maps(void *arg)
{
	struct victim_context *c = arg;
	char *p;

	for (;;) {
		c->v->in_mmap = true;
		p = map_offer(c->fd, &c->offer);
		c->v->in_mmap = false;
		if (p == MAP_FAILED || read32(p) != IN_DATA)
			c->v->error = 1;
		c->v->mapped = true;
		sched_yield();
		c->v->mapped = false;
		c->v->in_mmap = true;
		if (munmap(p, c->offer.out_mmap_length))
			c->v->error = 2;
		c->v->in_mmap = false;
	}
	return NULL;
}

static void victim_main(struct victim *v)
{
	__u32 ioas_id, stdev_id, dev_id, parent_id, id = 0;
	struct victim_context c = { .v = v };
	pthread_t thread;
	char *mem;

	mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	c.fd = open("/dev/iommu", O_RDWR);
	if (mem == MAP_FAILED || c.fd < 0 ||
	    _test_ioctl_ioas_alloc(c.fd, &ioas_id) ||
	    mock_dev_add_bind(c.fd, 0, 0, &stdev_id, &dev_id) ||
	    hwpt_alloc(c.fd, dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
		       &parent_id) ||
	    viommu_alloc_mmap(c.fd, dev_id, parent_id, IN_DATA, &c.offer,
			      &c.viommu_id) ||
	    ioas_map(c.fd, ioas_id, mem, PAGE_SIZE, QUEUE_IOVA) ||
	    pthread_create(&thread, NULL, victim_maps, &c))
		_exit(1);
	v->ready = true;
	for (;;) {
		v->in_queue_call = true;
		if (hw_queue_alloc(c.fd, c.viommu_id, 0, QUEUE_IOVA, 64, &id))
			v->error = 3;
		v->in_queue_call = false;
		v->has_queue = true;
		sched_yield();
		v->has_queue = false;
		v->in_queue_call = true;
		if (do_destroy(c.fd, id))
			v->error = 4;
		v->in_queue_call = false;
	}
}

#define KILLS_LEAST 3

/* Wherever a process is killed, all that it had is given back */
TEST_F(mapping, process_is_killed)
{
	unsigned int kills = 0, mapped = 0, in_mmap = 0, queue = 0, in_call = 0;
	const time_t end = seconds() + RACE_SECONDS;
	const long pins_before = pins();
	struct victim *v;
	unsigned int seed = 1;
	int status;
	pid_t pid;

	v = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, v);
	while (seconds() < end &&
	       (mapped < KILLS_LEAST || in_mmap < KILLS_LEAST ||
		queue < KILLS_LEAST || in_call < KILLS_LEAST)) {
		memset(v, 0, sizeof(*v));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			victim_main(v);
		while (!v->ready && !waitpid(pid, &status, WNOHANG))
			usleep(1000);
		ASSERT_TRUE(v->ready) {
			TH_LOG("the process ended by itself: 0x%x", status);
		}
		usleep(rand_r(&seed) % 3000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(0, v->error);
		ASSERT_TRUE(viommus_become(1)) {
			TH_LOG("%d vIOMMUs are left", mock_count("viommus"));
		}
		kills++;
		mapped += v->mapped;
		in_mmap += v->in_mmap;
		queue += v->has_queue;
		in_call += v->in_queue_call;
	}
	TH_LOG("%u kills: %u mapped, %u in mmap or munmap, %u with a queue, %u in a queue's call",
	       kills, mapped, in_mmap, queue, in_call);
	EXPECT_LE(KILLS_LEAST, mapped);
	EXPECT_LE(KILLS_LEAST, in_mmap);
	EXPECT_LE(KILLS_LEAST, queue);
	EXPECT_LE(KILLS_LEAST, in_call);
	EXPECT_EQ(pins_before, pins());
	munmap(v, PAGE_SIZE);
}

TEST_HARNESS_MAIN
