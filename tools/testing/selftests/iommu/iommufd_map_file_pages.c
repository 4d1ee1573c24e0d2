// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE on the mock driver: what every kind of file does
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "iommufd_map_file.h"

/* ---- What every kind of file does ---- */

static unsigned long pages_in(__u64 start, __u64 length)
{
	return (start + length - 1) / PAGE_SIZE - start / PAGE_SIZE + 1;
}

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
	access_pin(self->fd, access_id, iova + HPAGE - length / 2, length,
		   self->va + HPAGE - length / 2, MOCK_FLAGS_ACCESS_WRITE,
		   &ids[0]);
	access_pin(self->fd, access_id, iova + 5 * PAGE_SIZE, PAGE_SIZE,
		   self->va + 5 * PAGE_SIZE, 0, &ids[1]);
	EXPECT_PINS(NUM_PAGES);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_PINS(20 + 1);

	/* Not pinned yet: around what is, and on its own */
	access_pin(self->fd, access_id, iova + HPAGE - length, 2 * length,
		   self->va + HPAGE - length, 0, &ids[2]);
	EXPECT_PINS(40 + 1);
	access_unpin(self->fd, access_id, ids[0]);
	EXPECT_PINS(40 + 1);
	access_pin(self->fd, access_id, iova + 2 * HPAGE, length,
		   self->va + 2 * HPAGE, 0, &ids[0]);
	EXPECT_PINS(60 + 1);

	/* A domain gets what is missing, and goes before the others */
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, &self->hwpt_id,
			     NULL);
	EXPECT_PINS(NUM_PAGES);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, iova, FILE_SIZE,
			       self->va));
	access_unpin(self->fd, access_id, ids[2]);
	EXPECT_PINS(NUM_PAGES);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_PINS(20 + 1);
	access_unpin(self->fd, access_id, ids[0]);
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

TEST_HARNESS_MAIN
