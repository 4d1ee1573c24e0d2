// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap on the iommufd, on the mock driver: a vIOMMU that offers two pages
 *
 * And the trace events of HW queues and mappings.
 */
#include <limits.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "iommufd_hw_queue_fixtures.h"

/* ---- mmap: a vIOMMU that offers two pages ---- */

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
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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

	viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id, 0xbabe,
			  &second, &id);
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
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(0, __do_destroy(self->fd, id));
	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
}

TEST_F(mapping, viommu_is_busy_until_last_munmap)
{
	char *p[3];
	int i;

	for (i = 0; i != 3; i++)
		p[i] = MAP_OFFER();
	for (i = 0; i != 3; i++) {
		EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
		EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->parent_id));
		EXPECT_EQ(IN_DATA, read32(p[i]));
		ASSERT_EQ(0, munmap(p[i], self->length));
	}
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
	EXPECT_EQ(0, __do_destroy(self->fd, self->parent_id));
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
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	ASSERT_EQ(0, munmap(q, self->length));
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
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
	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
	test_cmd_hwpt_alloc(dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			    &parent_id);
	viommu_alloc_mmap(self->fd, dev_id, parent_id, IN_DATA, &offer,
			  &viommu_id);

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

	EXPECT_EQ(EFAULT, __ioas_map(self->fd, self->ioas_id, p, self->length,
				     QUEUE_IOVA));
	EXPECT_EQ(EFAULT, __ioas_map(self->fd, self->ioas_id, p + PAGE_SIZE,
				     PAGE_SIZE, QUEUE_IOVA));
	EXPECT_EQ(EFAULT, _test_ioctl_ioas_map(self->fd, self->ioas_id, p,
					       self->length, &iova,
					       IOMMU_IOAS_MAP_READABLE) ?
				  errno : 0);
	EXPECT_EQ(ENOENT, __hw_queue_alloc(self->fd, self->viommu_id, 0,
					   QUEUE_IOVA, 64, NULL));

	/* An IOAS without domains may take it, but then none can be added */
	test_ioctl_ioas_alloc(&other_id);
	rc = __ioas_map(self->fd, other_id, p, self->length, QUEUE_IOVA);
	EXPECT_TRUE(rc == 0 || rc == EFAULT) {
		TH_LOG("%s", strerror(rc));
	}
	EXPECT_EQ(rc ? 0 : EFAULT,
		  __hwpt_alloc(self->fd, self->dev_id, other_id, 0, &hwpt_id));
	if (rc)
		test_ioctl_destroy(hwpt_id);
	test_ioctl_destroy(other_id);

	EXPECT_EQ(IN_DATA, read32(p));
	ASSERT_EQ(0, munmap(p, self->length));
	EXPECT_EQ(0, __do_destroy(self->fd, self->viommu_id));
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
	    __mock_dev_add_bind(fd, 0, 0, &stdev_id, &dev_id) ||
	    __hwpt_alloc(fd, dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			 &parent_id) ||
	    __viommu_alloc_mmap(fd, dev_id, parent_id, IN_DATA, &offer,
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

FIXTURE(hw_queue_trace)
{
	int fd;
	char dir[80];
};

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
	ASSERT_EQ(0, write_in(self->dir, "events/iommufd/enable", "1"));
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
	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
	test_cmd_hwpt_alloc(dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			    &parent_id);
	viommu_alloc_mmap(self->fd, dev_id, parent_id, IN_DATA, &offer,
			  &viommu_id);
	ioas_map(self->fd, ioas_id, mem, PAGE_SIZE, QUEUE_IOVA);
	for (i = 0; i != 2; i++)
		hw_queue_alloc(self->fd, viommu_id, i, QUEUE_IOVA, 64, &ids[i]);
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
	EXPECT_EQ(EIO, __hw_queue_alloc(self->fd, viommu_id, 1, QUEUE_IOVA, 64,
					NULL));
	EXPECT_EQ(ENXIO, try_mmap(self->fd, PAGE_SIZE, PROT_READ, MAP_SHARED,
				  offer.out_mmap_offset));
	EXPECT_TRACED("iommufd_hw_queue_alloc", 2);
	EXPECT_TRACED("iommufd_mmap", 1);
	EXPECT_TRACED("iommufd_munmap", 1);
	munmap(mem, PAGE_SIZE);
}

TEST_HARNESS_MAIN
