// SPDX-License-Identifier: GPL-2.0-only
/*
 * vEVENTQs on the mock driver: allocation, memory and destruction
 */
#include <limits.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "iommufd_veventq_fixture.h"

/* ---- Layout ---- */

static_assert(sizeof(struct iommu_veventq_alloc) == 32, "iommu_veventq_alloc");
ASSERT_FIELD(iommu_veventq_alloc, size, 0, 4);
ASSERT_FIELD(iommu_veventq_alloc, flags, 4, 4);
ASSERT_FIELD(iommu_veventq_alloc, viommu_id, 8, 4);
ASSERT_FIELD(iommu_veventq_alloc, type, 12, 4);
ASSERT_FIELD(iommu_veventq_alloc, veventq_depth, 16, 4);
ASSERT_FIELD(iommu_veventq_alloc, out_veventq_id, 20, 4);
ASSERT_FIELD(iommu_veventq_alloc, out_veventq_fd, 24, 4);
ASSERT_FIELD(iommu_veventq_alloc, __reserved, 28, 4);
static_assert(sizeof(struct iommufd_vevent_header) == 8, "vevent_header");
ASSERT_FIELD(iommufd_vevent_header, flags, 0, 4);
ASSERT_FIELD(iommufd_vevent_header, sequence, 4, 4);
static_assert(sizeof(struct mock_record) == 12, "mock_record");
static_assert(_IO(0x3b, 0x93) == IOMMU_VEVENTQ_ALLOC, "IOMMU_VEVENTQ_ALLOC");
static_assert(IOMMU_VEVENTQ_TYPE_DEFAULT == 0, "TYPE_DEFAULT");
static_assert(IOMMU_VEVENTQ_TYPE_SELFTEST == 0xbeefbeef, "TYPE_SELFTEST");
static_assert(IOMMU_VEVENTQ_FLAG_LOST_EVENTS == 1, "LOST_EVENTS");
static_assert(IOMMU_TEST_OP_TRIGGER_VEVENT == 17, "TRIGGER_VEVENT");
static_assert(sizeof(struct iommu_test_cmd) == 72, "iommu_test_cmd");

/* ---- IOMMU_VEVENTQ_ALLOC ---- */

TEST_F(veventq, alloc_sizes)
{
	char *page = guarded_pages(1);
	unsigned int size;
	char buf[200];
	struct iommu_veventq_alloc no_viommu = {
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.viommu_id = NO_SUCH_ID,
		.veventq_depth = 1,
	};

	ASSERT_NE(NULL, page);
	memset(buf, 0, sizeof(buf));
	memcpy(buf, &no_viommu, sizeof(no_viommu));
	for (size = 0; size != sizeof(buf); size++) {
		*(__u32 *)buf = size;
		ASSERT_EQ(size < 28 ? EINVAL : ENOENT,
			  call(self->fd, IOMMU_VEVENTQ_ALLOC, buf));
	}
	*(__u32 *)buf = sizeof(buf);
	for (size = 32; size != sizeof(buf); size++) {
		buf[size] = 1;
		ASSERT_EQ(E2BIG, call(self->fd, IOMMU_VEVENTQ_ALLOC, buf));
		buf[size] = 0;
	}
	page += PAGE_SIZE - 31;
	memcpy(page, &no_viommu, 31);
	*(__u32 *)page = 32;
	EXPECT_EQ(EFAULT, call(self->fd, IOMMU_VEVENTQ_ALLOC, page));
	EXPECT_EQ(EFAULT, call(self->fd, IOMMU_VEVENTQ_ALLOC, page + 31));

	/* The shortest that works gets its answer and not a byte more */
	page -= 1;
	memcpy(page, &no_viommu, 28);
	memset(page + 28, 0xa5, 4);
	((struct iommu_veventq_alloc *)page)->size = 28;
	((struct iommu_veventq_alloc *)page)->viommu_id = self->viommu_id;
	ASSERT_EQ(0, call(self->fd, IOMMU_VEVENTQ_ALLOC, page));
	EXPECT_EQ(0xa5a5a5a5,
		  ((struct iommu_veventq_alloc *)page)->__reserved);
	self->veventq_fd = ((struct iommu_veventq_alloc *)page)->out_veventq_fd;
	TRIGGER(1);
	EXPECT_EVENTS(0, 1);
}

TEST_F(veventq, alloc_errors)
{
	const __u32 no_viommus[] = {
		0, NO_SUCH_ID, ~0U, self->dev_id, self->parent_id,
		self->ioas_id, self->vdev_id, self->nested_id, self->stdev_id,
	};
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = self->viommu_id,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 1,
	};
	int fd_before = next_fd(), fd;
	unsigned int i;
	__u32 id;

	for (i = 0; i != 32; i++) {
		cmd.flags = 1U << i;
		EXPECT_EQ(EOPNOTSUPP, call(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd));
	}
	cmd.flags = 0;
	for (i = 0; i != 32; i++) {
		cmd.__reserved = 1U << i;
		EXPECT_EQ(EOPNOTSUPP, call(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd));
	}

	/* Types that the mock driver never reports, or nobody */
	for (i = 0; i != 8; i++)
		EXPECT_EQ(EOPNOTSUPP, __veventq_alloc(self->fd, self->viommu_id,
						      i, 1, &id, &fd));
	EXPECT_EQ(EOPNOTSUPP, __veventq_alloc(self->fd, self->viommu_id,
					      IOMMU_VEVENTQ_TYPE_SELFTEST + 1,
					      1, &id, &fd));
	EXPECT_EQ(EOPNOTSUPP,
		  __veventq_alloc(self->fd, self->viommu_id, ~0U, 1, &id, &fd));

	EXPECT_EQ(EINVAL,
		  __veventq_alloc(self->fd, self->viommu_id,
				  IOMMU_VEVENTQ_TYPE_SELFTEST, 0, &id, &fd));
	EXPECT_EQ(EINVAL, __veventq_alloc(self->fd, self->viommu_id,
					  IOMMU_VEVENTQ_TYPE_SELFTEST,
					  DEPTH_MAX + 1, &id, &fd));
	EXPECT_EQ(EINVAL,
		  __veventq_alloc(self->fd, self->viommu_id,
				  IOMMU_VEVENTQ_TYPE_SELFTEST, ~0U, &id, &fd));

	for (i = 0; i != ARRAY_SIZE(no_viommus); i++)
		EXPECT_EQ(ENOENT, __veventq_alloc(self->fd, no_viommus[i],
						  IOMMU_VEVENTQ_TYPE_SELFTEST,
						  1, &id, &fd));

	ALLOC_QUEUE(1);
	for (i = 0; i != 3; i++)
		EXPECT_EQ(EEXIST, __veventq_alloc(self->fd, self->viommu_id,
						  IOMMU_VEVENTQ_TYPE_SELFTEST,
						  1, &id, &fd));
	/* The one that is there has not suffered */
	TRIGGER(1);
	EXPECT_EVENTS(0, 1);

	/* Nothing of all this holds anything */
	ASSERT_EQ(0, close(self->veventq_fd));
	self->veventq_fd = -1;
	EXPECT_EQ(fd_before, next_fd());
	test_ioctl_destroy(self->veventq_id);
	ALLOC_QUEUE(1);
	TRIGGER(1);
	EXPECT_EVENTS(0, 1);
}

/* Every slot can be used, and a queue does not begin with what was there */
TEST_F(veventq, depth_max)
{
	size_t room = DEPTH_MAX * RECORD;
	struct mock_record *buf;
	unsigned int i;

	buf = malloc(room + HEADER);
	ASSERT_NE(NULL, buf);
	ALLOC_QUEUE(DEPTH_MAX);
	TRIGGER(DEPTH_MAX);
	TRIGGER(1);
	ASSERT_EQ(room + HEADER, read(self->veventq_fd, buf, room + HEADER));
	for (i = 0; i != DEPTH_MAX; i++) {
		if (buf[i].header.flags || buf[i].header.sequence != i ||
		    buf[i].event.virt_id != VIRT_ID)
			break;
	}
	EXPECT_EQ(DEPTH_MAX, i);
	EXPECT_LOST(&buf[DEPTH_MAX], DEPTH_MAX);
	EXPECT_EMPTY();
	free(buf);
}

/* The answer cannot be written: nothing is left behind */
TEST_F(veventq, alloc_response_fault)
{
	struct iommu_veventq_alloc *cmd;
	int fd_before = next_fd();
	unsigned int i;

	cmd = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)cmd);
	cmd->size = sizeof(*cmd);
	cmd->viommu_id = self->viommu_id;
	cmd->type = IOMMU_VEVENTQ_TYPE_SELFTEST;
	cmd->veventq_depth = 16;
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));
	for (i = 0; i != 10; i++) {
		EXPECT_EQ(EFAULT, call(self->fd, IOMMU_VEVENTQ_ALLOC, cmd));
		/* Nobody takes events */
		EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, self->dev_id));
	}
	EXPECT_EQ(fd_before, next_fd());

	mock_dev_attach(self->fd, self->stdev_id, 0);
	test_ioctl_destroy(self->vdev_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
}

TEST_F(veventq, alloc_no_descriptor)
{
	struct rlimit limit, none;
	int fd_before = next_fd();
	__u32 id;
	int fd;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = limit;
	none.rlim_cur = fd_before;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(EMFILE,
		  __veventq_alloc(self->fd, self->viommu_id,
				  IOMMU_VEVENTQ_TYPE_SELFTEST, 1, &id, &fd));
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, self->dev_id));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(fd_before, next_fd());
	ALLOC_QUEUE(1);
	EXPECT_EQ(fd_before, self->veventq_fd);
	TRIGGER(1);
	EXPECT_EVENTS(0, 1);
}

/* ---- Teardown ---- */

TEST_F(veventq, destroy_order)
{
	int dup_fd;

	ALLOC_QUEUE(4);
	TRIGGER(6);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->veventq_id));
	dup_fd = dup(self->veventq_fd);
	ASSERT_EQ(0, close(self->veventq_fd));
	self->veventq_fd = dup_fd;
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->veventq_id));

	/* Everything but the queue lets go of the vIOMMU */
	mock_dev_attach(self->fd, self->stdev_id, 0);
	test_ioctl_destroy(self->vdev_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	/* What has come can be read even so */
	EXPECT_EVENTS_LOST(0, 4, 5);

	ASSERT_EQ(0, close(self->veventq_fd));
	self->veventq_fd = -1;
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->viommu_id));
	test_ioctl_destroy(self->veventq_id);
	EXPECT_EQ(ENOENT, __do_destroy(self->fd, self->veventq_id));
	test_ioctl_destroy(self->viommu_id);
	test_ioctl_destroy(self->parent_id);
}

/* Without its file a queue still takes events, until it is destroyed */
TEST_F(veventq, destroy_closed)
{
	ALLOC_QUEUE(4);
	ASSERT_EQ(0, close(self->veventq_fd));
	self->veventq_fd = -1;
	TRIGGER(10);
	test_ioctl_destroy(self->veventq_id);
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, self->dev_id));
	ALLOC_QUEUE(4);
	TRIGGER(1);
	EXPECT_EVENTS(0, 1);
}

/* The file keeps all of the context */
TEST_F(veventq, close_context_first)
{
	ALLOC_QUEUE(4);
	TRIGGER(6);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_COUNTS(1, 1, 2);
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_now(self->veventq_fd));
	EXPECT_EVENTS_LOST(0, 4, 5);
	EXPECT_EMPTY();
	ASSERT_EQ(0, close(self->veventq_fd));
	EXPECT_COUNTS(0, 0, 0);
	self->veventq_fd = -1;
	self->fd = open("/dev/null", O_RDONLY);
}

/* ---- Memory ---- */

static long long read_number(const char *dir, const char *name)
{
	char path[PATH_MAX], buf[40] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) <= 0)
		return -1;
	close(fd);
	return atoll(buf);
}

TEST_F(veventq, memory_is_charged)
{
	static const long long mib = 1048576;
	const long long bytes = DEPTH_MAX * RECORD;
	char root[] = "/tmp/veventq-cgroup-XXXXXX";
	char group[sizeof(root) + 10];
	long long before, charged, after;

	ASSERT_NE(NULL, mkdtemp(root));
	if (mount("none", root, "cgroup2", 0, NULL)) {
		rmdir(root);
		SKIP(return, "no cgroup2");
	}
	snprintf(group, sizeof(group), "%s/veventq", root);
	if (write_in(root, "cgroup.subtree_control", "+memory") ||
	    mkdir(group, 0700)) {
		umount(root);
		rmdir(root);
		SKIP(return, "no memory controller");
	}
	ASSERT_EQ(0, write_in(group, "cgroup.procs", "0"));

	before = read_number(group, "memory.current");
	ASSERT_LE(0, before);
	ALLOC_QUEUE(DEPTH_MAX);
	charged = read_number(group, "memory.current") - before;
	EXPECT_EQ(0, close(self->veventq_fd));
	self->veventq_fd = -1;
	test_ioctl_destroy(self->veventq_id);
	after = read_number(group, "memory.current") - before;
	TH_LOG("%lld bytes in the ring, %lld charged, %lld after", bytes,
	       charged, after);
	EXPECT_LE(bytes, charged + mib / 4);
	EXPECT_GE(bytes + mib, charged);
	EXPECT_GE(mib, after);

	/* An event takes nothing */
	ALLOC_QUEUE(16);
	before = read_number(group, "memory.current");
	TRIGGER(100000);
	EXPECT_GE(mib, read_number(group, "memory.current") - before);

	EXPECT_EQ(0, write_in(root, "cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(group));
	EXPECT_EQ(0, umount(root));
	EXPECT_EQ(0, rmdir(root));
}

TEST_HARNESS_MAIN
