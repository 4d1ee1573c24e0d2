// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE on the mock driver: who pays for pinned pages, and forks
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "iommufd_map_file.h"

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
	EXPECT_EQ(0, __access_pin(self->fd, access2_id, iova2, 3 * PAGE_SIZE,
				  self->va, 0, &pages_id));
	EXPECT_PINS(3);
	EXPECT_EQ(0, __access_unpin(self->fd, access2_id, pages_id));
	EXPECT_PINS(0);
	UNMAP(iova2, FILE_SIZE);
	test_cmd_destroy_access(access2_id);
	test_cmd_destroy_access(access_id);
}

/* ---- Accounting ---- */

FIXTURE(account)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 hwpt_id;
	int file;
	char *va;
	long pins;
	long vm_lck, vm_pin;
};

FIXTURE_VARIANT(account)
{
	bool capable;
	bool mm_mode;
	/* By IOMMU_IOAS_MAP, which tells what is to be expected */
	bool by_address;
	bool hugetlb;
};

FIXTURE_VARIANT_ADD(account, user_address) { .by_address = true };
FIXTURE_VARIANT_ADD(account, user_file) {};
FIXTURE_VARIANT_ADD(account, user_hugetlb) { .hugetlb = true };
FIXTURE_VARIANT_ADD(account, mm_address)
{
	.mm_mode = true, .by_address = true,
};

FIXTURE_VARIANT_ADD(account, mm_file) { .mm_mode = true };
FIXTURE_VARIANT_ADD(account, mm_hugetlb) { .mm_mode = true, .hugetlb = true };
FIXTURE_VARIANT_ADD(account, none_address)
{
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
		  __access_pin(self->fd, access_id, iova,
			       (ACCOUNT_PAGES + 1) * PAGE_SIZE, self->va, 0,
			       &id));
	if (variant->capable)
		EXPECT_EQ(0, __access_unpin(self->fd, access_id, id));
	EXPECT_ACCOUNT(0);
	EXPECT_EQ(0, __access_pin(self->fd, access_id, iova + PAGE_SIZE,
				  ACCOUNT_PAGES * PAGE_SIZE,
				  self->va + PAGE_SIZE, 0, &id));
	EXPECT_ACCOUNT(ACCOUNT_PAGES);
	EXPECT_EQ(0, __access_unpin(self->fd, access_id, id));
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

TEST_HARNESS_MAIN
