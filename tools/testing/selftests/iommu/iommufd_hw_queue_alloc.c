// SPDX-License-Identifier: GPL-2.0-only
/*
 * HW queues on the mock driver: IOMMU_HW_QUEUE_ALLOC, the memory of a queue, and the
 * order of destruction
 */
#include "iommufd_hw_queue_fixtures.h"

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

/* Destroy what a vIOMMU needs; EBUSY if anything still holds one of them */
static int destroy_parents(struct _test_data_hw_queue *self)
{
	int rc = __do_destroy(self->fd, self->viommu_id);

	rc = rc ?: __do_destroy(self->fd, self->parent_id);
	rc = rc ?: unmap(self, QUEUE_IOVA, HPAGE);
	return rc ?: __do_destroy(self->fd, self->ioas_id);
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
	viommu_alloc(self->fd, self->dev_id, self->parent_id, &other_id);
	EXPECT_EQ(EIO, __hw_queue_alloc(self->fd, other_id, 1, QUEUE_IOVA, 64,
					NULL));
	hw_queue_alloc(self->fd, other_id, 0, QUEUE_IOVA, 64, &id);
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

	viommu_alloc(self->fd, self->dev_id, self->parent_id, &other_id);
	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &ids[0]));
	hw_queue_alloc(self->fd, other_id, 0, QUEUE_IOVA, 64, &ids[1]);
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
			     __ioas_map_file(self->fd, self->ioas_id, file, 0,
					     PAGE_SIZE, iova) :
			     __ioas_map(self->fd, self->ioas_id, va, PAGE_SIZE,
					iova));
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
				     __ioas_map_file(self->fd, self->ioas_id,
						     file, order[i] * HPAGE,
						     HPAGE, iova + i * HPAGE) :
				     __ioas_map(self->fd, self->ioas_id,
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
	ioas_copy(self->fd, other_id, self->ioas_id, QUEUE_IOVA, HPAGE, iova);
	ioas_copy(self->fd, self->ioas_id, self->ioas_id,
		  QUEUE_IOVA + PAGE_SIZE, PAGE_SIZE, iova);
	EXPECT_EQ(0, __ioas_unmap(self->fd, other_id, iova, HPAGE));
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
	ioas_map(self->fd, self->ioas_id, va, PAGE_SIZE, iova);
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
		EXPECT_EQ(EBUSY, __do_destroy(self->fd, ids[0]));
		EXPECT_EQ(EBUSY, __do_destroy(self->fd, ids[0]));
		test_ioctl_destroy(ids[1]);
		EXPECT_EQ(ENOENT, __do_destroy(self->fd, ids[1]));
		test_ioctl_destroy(ids[0]);
		EXPECT_EQ(EIO, alloc_queue(self, 1, QUEUE_IOVA, 64, NULL));
	}
	EXPECT_EQ(0, destroy_parents(self));
}

TEST_F(hw_queue, parents_are_busy)
{
	__u32 id;

	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, 64, &id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->parent_id));
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->ioas_id));
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
		EXPECT_NE(0, __do_destroy(self->fd, id))
		{
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

	viommu_alloc(self->fd, self->dev_id, self->parent_id, &other_id);
	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, HPAGE, NULL));
	ASSERT_EQ(0, alloc_queue(self, 1, QUEUE_IOVA, 64, NULL));
	hw_queue_alloc(self->fd, other_id, 0, QUEUE_IOVA, 64, NULL);
	ioas_copy(self->fd, self->ioas_id, self->ioas_id, QUEUE_IOVA, HPAGE,
		  QUEUE_IOVA + 4 * HPAGE);
}

/* A queue belongs to the vIOMMU: the device that the vIOMMU came from may go */
TEST_F(hw_queue, queue_outlives_device)
{
	__u32 id;

	ASSERT_EQ(0, alloc_queue(self, 0, QUEUE_IOVA, HPAGE, &id));
	mock_dev_unbind(self->fd, self->stdev_id);
	EXPECT_EQ(EBUSY, unmap(self, QUEUE_IOVA, HPAGE));
	test_ioctl_destroy(id);
	EXPECT_EQ(0, nothing_is_left(self));
	EXPECT_EQ(0, destroy_parents(self));
}

TEST_HARNESS_MAIN
