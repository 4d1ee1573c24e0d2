// SPDX-License-Identifier: GPL-2.0-only
/*
 * vEVENTQ on the mock driver: what a VMM reads, and what it gets for a mistake
 */
#include <dirent.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "iommufd_veventq.h"

#define VIRT_ID 0x10
#define DEPTH_MAX 524288
#define HEADER sizeof(struct iommufd_vevent_header)
#define RECORD sizeof(struct mock_record)

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

/* ---- A device behind a vIOMMU, translating, with virtual ID VIRT_ID ---- */

FIXTURE(veventq) {
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 dev_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 vdev_id;
	__u32 nested_id;
	__u32 bypass_id;
	/* Of the queue that the test allocates, if it does */
	__u32 veventq_id;
	int veventq_fd;
};

FIXTURE_SETUP(veventq)
{
	if (mock_count("viommus") < 0)
		SKIP(return, "no debugfs at /sys/kernel/debug");
	EXPECT_COUNTS(0, 0, 0);

	self->veventq_fd = -1;
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &self->stdev_id,
				       &self->dev_id));
	test_cmd_hwpt_alloc(self->dev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent_id);
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev_id, self->parent_id,
				  &self->viommu_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
				   VIRT_ID, &self->vdev_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &self->nested_id));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev_id, self->viommu_id,
				  IOMMU_TEST_IOTLB_BYPASS, &self->bypass_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
				     self->nested_id));
}

FIXTURE_TEARDOWN(veventq)
{
	if (self->veventq_fd >= 0)
		EXPECT_EQ(0, close(self->veventq_fd));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_COUNTS(0, 0, 0);
}

#define ALLOC_QUEUE(_depth)                                                \
	ASSERT_EQ(0, veventq_alloc(self->fd, self->viommu_id,              \
				   IOMMU_VEVENTQ_TYPE_SELFTEST, _depth,    \
				   &self->veventq_id, &self->veventq_fd))

#define TRIGGER(_num)                                                      \
	ASSERT_EQ(0, trigger_vevents(self->fd, self->dev_id, _num))

#define EXPECT_READ_ERRNO(_errno, _buf, _count)                            \
	({                                                                 \
		errno = 0;                                                 \
		EXPECT_EQ(-1, read(self->veventq_fd, _buf, _count));       \
		EXPECT_EQ(_errno, errno);                                  \
	})

#define EXPECT_RECORD(_record, _sequence, _virt_id)                        \
	({                                                                 \
		const struct mock_record *__r = (_record);                 \
		EXPECT_EQ(0, __r->header.flags);                           \
		EXPECT_EQ(_sequence, __r->header.sequence);                \
		EXPECT_EQ(_virt_id, __r->event.virt_id);                   \
	})

#define EXPECT_LOST(_header, _sequence)                                    \
	({                                                                 \
		const struct iommufd_vevent_header *__h = (void *)(_header);\
		EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, __h->flags);     \
		EXPECT_EQ(_sequence, __h->sequence);                       \
	})

/* Events from @_first on and nothing else, read at once */
#define EXPECT_EVENTS(_first, _num)                                        \
	({                                                                 \
		struct mock_record __buf[64];                              \
		unsigned int __i;                                          \
		ASSERT_EQ((_num) * RECORD,                                 \
			  read(self->veventq_fd, __buf, sizeof(__buf)));   \
		for (__i = 0; __i != (_num); __i++)                        \
			EXPECT_RECORD(&__buf[__i],                         \
				      ((_first) + __i) & INT_MAX, VIRT_ID);\
	})

/* Likewise, and a header that says that the one with @_lost was lost */
#define EXPECT_EVENTS_LOST(_first, _num, _lost)                            \
	({                                                                 \
		struct mock_record __buf[64];                              \
		unsigned int __i;                                          \
		ASSERT_EQ((_num) * RECORD + HEADER,                        \
			  read(self->veventq_fd, __buf, sizeof(__buf)));   \
		for (__i = 0; __i != (_num); __i++)                        \
			EXPECT_RECORD(&__buf[__i],                         \
				      ((_first) + __i) & INT_MAX, VIRT_ID);\
		EXPECT_LOST(&__buf[_num], _lost);                          \
	})

#define EXPECT_EMPTY()                                                     \
	({                                                                 \
		struct mock_record __one;                                  \
		EXPECT_EQ(0, read(self->veventq_fd, &__one, sizeof(__one)));\
		EXPECT_EQ(0, poll_now(self->veventq_fd));                  \
	})

/* All that poll() has to say at the moment */
static int poll_now(int fd)
{
	struct pollfd pfd = {
		.fd = fd,
		.events = POLLIN | POLLPRI | POLLOUT | POLLRDNORM |
			  POLLRDBAND | POLLWRNORM | POLLWRBAND,
	};

	return poll(&pfd, 1, 0) < 0 ? -1 : pfd.revents;
}

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
		EXPECT_EQ(EOPNOTSUPP, veventq_alloc(self->fd, self->viommu_id,
						    i, 1, &id, &fd));
	EXPECT_EQ(EOPNOTSUPP, veventq_alloc(self->fd, self->viommu_id,
					    IOMMU_VEVENTQ_TYPE_SELFTEST + 1, 1,
					    &id, &fd));
	EXPECT_EQ(EOPNOTSUPP, veventq_alloc(self->fd, self->viommu_id, ~0U, 1,
					    &id, &fd));

	EXPECT_EQ(EINVAL, veventq_alloc(self->fd, self->viommu_id,
					IOMMU_VEVENTQ_TYPE_SELFTEST, 0, &id,
					&fd));
	EXPECT_EQ(EINVAL, veventq_alloc(self->fd, self->viommu_id,
					IOMMU_VEVENTQ_TYPE_SELFTEST,
					DEPTH_MAX + 1, &id, &fd));
	EXPECT_EQ(EINVAL, veventq_alloc(self->fd, self->viommu_id,
					IOMMU_VEVENTQ_TYPE_SELFTEST, ~0U, &id,
					&fd));

	for (i = 0; i != ARRAY_SIZE(no_viommus); i++)
		EXPECT_EQ(ENOENT, veventq_alloc(self->fd, no_viommus[i],
						IOMMU_VEVENTQ_TYPE_SELFTEST, 1,
						&id, &fd));

	ALLOC_QUEUE(1);
	for (i = 0; i != 3; i++)
		EXPECT_EQ(EEXIST, veventq_alloc(self->fd, self->viommu_id,
						IOMMU_VEVENTQ_TYPE_SELFTEST, 1,
						&id, &fd));
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
		EXPECT_EQ(ENOENT, trigger_vevent(self->fd, self->dev_id));
	}
	EXPECT_EQ(fd_before, next_fd());

	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id, 0));
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
	EXPECT_EQ(EMFILE, veventq_alloc(self->fd, self->viommu_id,
					IOMMU_VEVENTQ_TYPE_SELFTEST, 1, &id,
					&fd));
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, self->dev_id));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(fd_before, next_fd());
	ALLOC_QUEUE(1);
	EXPECT_EQ(fd_before, self->veventq_fd);
	TRIGGER(1);
	EXPECT_EVENTS(0, 1);
}

/* ---- The file ---- */

TEST_F(veventq, file)
{
	char buf[64] = {};
	off_t off;

	ALLOC_QUEUE(4);
	EXPECT_EQ(O_RDWR, fcntl(self->veventq_fd, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(0, fcntl(self->veventq_fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->veventq_fd, F_GETFD));

	TRIGGER(1);
	errno = 0;
	EXPECT_EQ(-1, write(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_EQ(-1, write(self->veventq_fd, buf, 1));
	EXPECT_EQ(EINVAL, errno);
	for (off = 1; off < 1L << 40; off <<= 3) {
		errno = 0;
		EXPECT_EQ(-1, pread(self->veventq_fd, buf, sizeof(buf), off));
		EXPECT_EQ(ESPIPE, errno);
	}
	errno = 0;
	EXPECT_EQ(-1, lseek(self->veventq_fd, 8, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED,
				   self->veventq_fd, 0));
	/* All of that left the event alone */
	EXPECT_EVENTS(0, 1);
}

TEST_F(veventq, read_counts)
{
	struct mock_record buf[64];
	unsigned int count;

	ALLOC_QUEUE(8);
	for (count = 0; count != HEADER; count++)
		EXPECT_READ_ERRNO(EINVAL, buf, count);
	for (; count != sizeof(buf); count++)
		ASSERT_EQ(0, read(self->veventq_fd, buf, count));

	TRIGGER(1);
	for (count = 0; count != RECORD; count++)
		EXPECT_READ_ERRNO(EINVAL, buf, count);
	EXPECT_EVENTS(0, 1);
	EXPECT_EMPTY();

	/* As many as fit, none split: six of them in each way */
	for (count = RECORD; count != 7 * RECORD; count++) {
		unsigned int fit = count / RECORD, seen = 0, first, i;

		TRIGGER(6);
		first = 1 + (count - RECORD) * 6;
		while (seen != 6) {
			unsigned int now = fit < 6 - seen ? fit : 6 - seen;

			memset(buf, 0xa5, sizeof(buf));
			ASSERT_EQ(now * RECORD,
				  read(self->veventq_fd, buf, count));
			for (i = 0; i != now; i++)
				EXPECT_RECORD(&buf[i], first + seen + i,
					      VIRT_ID);
			/* nothing behind them */
			ASSERT_EQ(0xa5a5a5a5, buf[now].header.flags);
			seen += now;
		}
		EXPECT_EMPTY();
	}
}

/* A loss needs room for the header only */
TEST_F(veventq, read_counts_lost)
{
	struct mock_record buf[8];
	unsigned int count;

	ALLOC_QUEUE(2);
	TRIGGER(3);
	/* The event in front of the loss does not fit */
	for (count = 0; count != RECORD; count++)
		EXPECT_READ_ERRNO(EINVAL, buf, count);
	ASSERT_EQ(RECORD, read(self->veventq_fd, buf, RECORD + 11));
	EXPECT_RECORD(buf, 0, VIRT_ID);
	ASSERT_EQ(RECORD, read(self->veventq_fd, buf, RECORD + 7));
	EXPECT_RECORD(buf, 1, VIRT_ID);
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_now(self->veventq_fd));
	for (count = 0; count != HEADER; count++)
		EXPECT_READ_ERRNO(EINVAL, buf, count);
	ASSERT_EQ(HEADER, read(self->veventq_fd, buf, HEADER));
	EXPECT_LOST(buf, 2);
	EXPECT_EMPTY();

	/* Just enough for all */
	TRIGGER(5);
	ASSERT_EQ(2 * RECORD + HEADER,
		  read(self->veventq_fd, buf, 2 * RECORD + HEADER));
	EXPECT_RECORD(&buf[0], 3, VIRT_ID);
	EXPECT_RECORD(&buf[1], 4, VIRT_ID);
	EXPECT_LOST(&buf[2], 7);
	EXPECT_EMPTY();
}

TEST_F(veventq, read_efault)
{
	unsigned int room, turn, first = 0;
	char *page = guarded_pages(1);
	char *end = page + PAGE_SIZE;

	ASSERT_NE(NULL, page);
	ALLOC_QUEUE(5);

	/* Room for some, and a few bytes of the next one; the ring wraps */
	for (room = 0; room != 5 * RECORD; room++) {
		unsigned int fit = room / RECORD, i;
		struct mock_record *at = (void *)(end - room);

		TRIGGER(5);
		if (fit) {
			ASSERT_EQ(fit * RECORD,
				  read(self->veventq_fd, at, PAGE_SIZE));
			for (i = 0; i != fit; i++)
				EXPECT_RECORD(&at[i], first + i, VIRT_ID);
		}
		for (turn = 0; turn != 3; turn++)
			EXPECT_READ_ERRNO(EFAULT, end - room % RECORD,
					  PAGE_SIZE);
		EXPECT_EVENTS(first + fit, 5 - fit);
		EXPECT_EMPTY();
		first += 5;
		/* Move to where another slot is the oldest */
		TRIGGER(1);
		EXPECT_EVENTS(first, 1);
		first++;
	}
	EXPECT_EMPTY();

	/* The header of a loss behind events, and by itself */
	for (room = 0; room != HEADER; room++) {
		TRIGGER(7);
		ASSERT_EQ(5 * RECORD,
			  read(self->veventq_fd, end - 5 * RECORD - room,
			       PAGE_SIZE));
		EXPECT_READ_ERRNO(EFAULT, end - room, PAGE_SIZE);
		EXPECT_READ_ERRNO(EFAULT, end - room, PAGE_SIZE);
		EXPECT_EQ(POLLIN | POLLRDNORM, poll_now(self->veventq_fd));
		ASSERT_EQ(HEADER, read(self->veventq_fd, end - HEADER,
				       PAGE_SIZE));
		EXPECT_LOST(end - HEADER, first + 6);
		EXPECT_EMPTY();
		first += 7;
	}
	EXPECT_READ_ERRNO(EINVAL, end, HEADER - 1);
}

/* An event for a thread that waits for it */
struct wakeup {
	int fd;
	__u32 dev_id;
	atomic_int tid;
	long nr;
	bool slept;
};

static void *thread_wake_up(void *arg)
{
	struct wakeup *w = arg;

	w->slept = thread_sleeps(&w->tid, w->nr);
	trigger_vevent(w->fd, w->dev_id);
	return NULL;
}

TEST_F(veventq, poll)
{
	struct epoll_event level = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM |
			  EPOLLPRI,
	};
	struct epoll_event edge = level, event;
	const struct timespec soon = { .tv_sec = 120 };
	struct wakeup w = {
		.fd = self->fd,
		.dev_id = self->dev_id,
		.tid = syscall(__NR_gettid),
	};
	int level_fd, edge_fd;
	struct pollfd pfd = {};
	pthread_t thread;

	ALLOC_QUEUE(2);
	level_fd = epoll_create1(0);
	edge_fd = epoll_create1(0);
	edge.events |= EPOLLET;
	ASSERT_EQ(0, epoll_ctl(level_fd, EPOLL_CTL_ADD, self->veventq_fd,
			       &level));
	ASSERT_EQ(0, epoll_ctl(edge_fd, EPOLL_CTL_ADD, self->veventq_fd,
			       &edge));

	EXPECT_EQ(0, poll_now(self->veventq_fd));
	EXPECT_EQ(0, epoll_wait(level_fd, &event, 1, 0));
	EXPECT_EQ(0, epoll_wait(edge_fd, &event, 1, 0));

	TRIGGER(1);
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_now(self->veventq_fd));
	ASSERT_EQ(1, epoll_wait(level_fd, &event, 1, 0));
	EXPECT_EQ(EPOLLIN | EPOLLRDNORM, event.events);
	ASSERT_EQ(1, epoll_wait(edge_fd, &event, 1, 0));
	EXPECT_EQ(EPOLLIN | EPOLLRDNORM, event.events);
	EXPECT_EQ(0, epoll_wait(edge_fd, &event, 1, 0));
	EXPECT_EQ(1, epoll_wait(level_fd, &event, 1, 0));
	/* Another event is another edge, and so is a loss */
	TRIGGER(1);
	EXPECT_EQ(1, epoll_wait(edge_fd, &event, 1, 0));
	TRIGGER(1);
	EXPECT_EQ(1, epoll_wait(edge_fd, &event, 1, 0));
	EXPECT_EQ(0, epoll_wait(edge_fd, &event, 1, 0));

	EXPECT_EVENTS_LOST(0, 2, 2);
	EXPECT_EQ(0, poll_now(self->veventq_fd));
	EXPECT_EQ(0, epoll_wait(level_fd, &event, 1, 0));

	/* Who sleeps wakes up: nobody reads twice to be sure */
	pfd.fd = self->veventq_fd;
	pfd.events = POLLIN;
	w.nr = __NR_ppoll;
	ASSERT_EQ(0, pthread_create(&thread, NULL, thread_wake_up, &w));
	ASSERT_EQ(1, ppoll(&pfd, 1, &soon, NULL));
	EXPECT_EQ(POLLIN, pfd.revents);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(w.slept);
	EXPECT_EVENTS(3, 1);

	w.nr = __NR_epoll_pwait;
	ASSERT_EQ(0, pthread_create(&thread, NULL, thread_wake_up, &w));
	ASSERT_EQ(1, epoll_pwait(level_fd, &event, 1, 120000, NULL));
	EXPECT_EQ(EPOLLIN | EPOLLRDNORM, event.events);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(w.slept);
	EXPECT_EVENTS(4, 1);

	/* It is not woken for room to write */
	pfd.events = POLLOUT;
	TRIGGER(1);
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	EXPECT_EVENTS(5, 1);
	close(level_fd);
	close(edge_fd);
}

/* ---- Losses ---- */

TEST_F(veventq, overflow)
{
	struct mock_record buf[8];

	ALLOC_QUEUE(4);
	/* Full is not lost */
	TRIGGER(4);
	EXPECT_EVENTS(0, 4);
	EXPECT_EMPTY();

	/* A tail, told once */
	TRIGGER(7);
	EXPECT_EVENTS_LOST(4, 4, 10);
	EXPECT_EMPTY();

	/* The full depth is there again, and no gap */
	TRIGGER(4);
	EXPECT_EVENTS(11, 4);
	EXPECT_EMPTY();

	/* A header that waits takes no slot */
	TRIGGER(5);
	ASSERT_EQ(4 * RECORD, read(self->veventq_fd, buf, 4 * RECORD));
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_now(self->veventq_fd));
	/* and goes when an event comes behind it, which has the gap */
	TRIGGER(4);
	EXPECT_EVENTS(20, 4);
	EXPECT_EMPTY();

	/* Two gaps with a part of the ring read in between */
	TRIGGER(6);
	ASSERT_EQ(2 * RECORD, read(self->veventq_fd, buf, 2 * RECORD));
	EXPECT_RECORD(&buf[0], 24, VIRT_ID);
	EXPECT_RECORD(&buf[1], 25, VIRT_ID);
	TRIGGER(3);
	ASSERT_EQ(4 * RECORD + HEADER, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(&buf[0], 26, VIRT_ID);
	EXPECT_RECORD(&buf[1], 27, VIRT_ID);
	EXPECT_RECORD(&buf[2], 30, VIRT_ID);
	EXPECT_RECORD(&buf[3], 31, VIRT_ID);
	EXPECT_LOST(&buf[4], 32);
	EXPECT_EMPTY();

	/* The header tells of the newest */
	TRIGGER(5);
	ASSERT_EQ(4 * RECORD, read(self->veventq_fd, buf, 4 * RECORD));
	TRIGGER(4);
	EXPECT_EQ(4 * RECORD, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(&buf[0], 38, VIRT_ID);
}

TEST_F(veventq, overflow_depth_one)
{
	unsigned int i;

	ALLOC_QUEUE(1);
	for (i = 0; i != 10; i++) {
		TRIGGER(1);
		EXPECT_EVENTS(i * 4, 1);
		TRIGGER(3);
		EXPECT_EVENTS_LOST(i * 4 + 1, 1, i * 4 + 3);
		EXPECT_EMPTY();
	}
}

/* 0 follows INT_MAX, whatever falls on it */
TEST_F(veventq, sequence_wrap)
{
	__u32 back;

	ALLOC_QUEUE(4);
	EXPECT_EQ(EINVAL, veventq_set_sequence(self->fd, self->veventq_id,
					       0x80000000));
	for (back = 0; back != 8; back++) {
		__u32 first = INT_MAX - back;

		ASSERT_EQ(0, veventq_set_sequence(self->fd, self->veventq_id,
						  first));
		TRIGGER(4);
		EXPECT_EVENTS(first, 4);
		TRIGGER(4);
		EXPECT_EVENTS((first + 4) & INT_MAX, 4);

		/* The last one lost is each of the numbers around the wrap */
		ASSERT_EQ(0, veventq_set_sequence(self->fd, self->veventq_id,
						  first));
		TRIGGER(6);
		EXPECT_EVENTS_LOST(first, 4, (first + 5) & INT_MAX);
		TRIGGER(1);
		EXPECT_EVENTS((first + 6) & INT_MAX, 1);
		EXPECT_EMPTY();
	}
}

/* ---- Readers that take their time ---- */

struct reader {
	pthread_t thread;
	int fd;
	char *buf;
	size_t count;
	ssize_t got;
	int err;
	atomic_int tid;
	atomic_bool done;
};

static void *thread_read(void *arg)
{
	struct reader *reader = arg;

	atomic_store(&reader->tid, syscall(__NR_gettid));
	reader->got = read(reader->fd, reader->buf, reader->count);
	reader->err = errno;
	atomic_store(&reader->done, true);
	return NULL;
}

/* Two pages; whoever touches the second one waits for uffd_let_go() */
struct slow_pages {
	int uffd;
	char *pages;
};

static bool slow_pages_init(struct slow_pages *slow)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };

	slow->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (slow->uffd < 0 || ioctl(slow->uffd, UFFDIO_API, &api))
		return false;
	slow->pages = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slow->pages == MAP_FAILED)
		return false;
	memset(slow->pages, 0, PAGE_SIZE);
	reg.range.start = (uintptr_t)slow->pages + PAGE_SIZE;
	reg.range.len = PAGE_SIZE;
	return !ioctl(slow->uffd, UFFDIO_REGISTER, &reg);
}

/* Wait until someone hangs */
static bool slow_pages_hit(struct slow_pages *slow)
{
	struct pollfd pfd = { .fd = slow->uffd, .events = POLLIN };
	struct uffd_msg msg;

	return poll(&pfd, 1, 20000) == 1 &&
	       read(slow->uffd, &msg, sizeof(msg)) == sizeof(msg) &&
	       msg.event == UFFD_EVENT_PAGEFAULT;
}

static bool slow_pages_let_go(struct slow_pages *slow)
{
	struct uffdio_zeropage zero = {
		.range.start = (uintptr_t)slow->pages + PAGE_SIZE,
		.range.len = PAGE_SIZE,
	};

	return !ioctl(slow->uffd, UFFDIO_ZEROPAGE, &zero);
}

static void on_signal(int sig)
{
}

TEST_F(veventq, slow_reader)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct reader reader = {}, second = {};
	struct slow_pages slow;
	struct mock_record buf[64];
	unsigned int i;

	if (!slow_pages_init(&slow))
		SKIP(return, "no userfaultfd for faults in the kernel");
	ASSERT_EQ(0, sigaction(SIGUSR1, &act, NULL));
	ALLOC_QUEUE(32);
	TRIGGER(10);

	/* It hangs in the middle of the sixth record */
	reader.fd = self->veventq_fd;
	reader.buf = slow.pages + PAGE_SIZE - 5 * RECORD - 6;
	reader.count = 10 * RECORD;
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, thread_read,
				    &reader));
	ASSERT_TRUE(slow_pages_hit(&slow));

	/* Nobody who reports waits, and what is being read keeps its slots */
	TRIGGER(25);
	EXPECT_FALSE(atomic_load(&reader.done));
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_now(self->veventq_fd));
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->veventq_id));

	/* Other readers wait for their turn, if they want to */
	ASSERT_EQ(0, fcntl(self->veventq_fd, F_SETFL, O_NONBLOCK));
	EXPECT_READ_ERRNO(EAGAIN, buf, sizeof(buf));
	EXPECT_READ_ERRNO(EAGAIN, buf, HEADER);
	EXPECT_READ_ERRNO(EINVAL, buf, HEADER - 1);
	ASSERT_EQ(0, fcntl(self->veventq_fd, F_SETFL, 0));
	second.fd = self->veventq_fd;
	second.buf = (char *)buf;
	second.count = sizeof(buf);
	ASSERT_EQ(0, pthread_create(&second.thread, NULL, thread_read,
				    &second));
	ASSERT_TRUE(thread_sleeps(&second.tid, __NR_read));
	EXPECT_FALSE(atomic_load(&second.done));
	/* and can be interrupted */
	ASSERT_EQ(0, pthread_kill(second.thread, SIGUSR1));
	ASSERT_EQ(0, pthread_join(second.thread, NULL));
	EXPECT_EQ(-1, second.got);
	EXPECT_EQ(EINTR, second.err);

	/* This one stays */
	atomic_store(&second.done, false);
	atomic_store(&second.tid, 0);
	ASSERT_EQ(0, pthread_create(&second.thread, NULL, thread_read,
				    &second));
	ASSERT_TRUE(thread_sleeps(&second.tid, __NR_read));
	EXPECT_FALSE(atomic_load(&second.done));

	ASSERT_TRUE(slow_pages_let_go(&slow));
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	ASSERT_EQ(10 * RECORD, reader.got);
	for (i = 0; i != 10; i++)
		EXPECT_RECORD((struct mock_record *)reader.buf + i, i, VIRT_ID);
	ASSERT_EQ(0, pthread_join(second.thread, NULL));
	/* 32 slots were taken when number 32 came */
	ASSERT_EQ(22 * RECORD + HEADER, second.got);
	for (i = 0; i != 22; i++)
		EXPECT_RECORD(&buf[i], 10 + i, VIRT_ID);
	EXPECT_LOST(&buf[22], 34);
	TRIGGER(1);
	EXPECT_EVENTS(35, 1);
	EXPECT_EMPTY();
	close(slow.uffd);
}

/* An overflow while the header of an earlier one is on its way */
TEST_F(veventq, slow_reader_lost)
{
	struct reader reader = {};
	struct slow_pages slow;
	struct mock_record *buf;

	if (!slow_pages_init(&slow))
		SKIP(return, "no userfaultfd for faults in the kernel");
	ALLOC_QUEUE(2);
	TRIGGER(3);
	EXPECT_EQ(2 * RECORD, read(self->veventq_fd, slow.pages, 2 * RECORD));

	reader.fd = self->veventq_fd;
	reader.buf = slow.pages + PAGE_SIZE - 4;
	reader.count = HEADER;
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, thread_read,
				    &reader));
	ASSERT_TRUE(slow_pages_hit(&slow));
	TRIGGER(4);
	ASSERT_TRUE(slow_pages_let_go(&slow));
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	ASSERT_EQ(HEADER, reader.got);
	EXPECT_LOST(reader.buf, 2);

	buf = (void *)slow.pages;
	ASSERT_EQ(2 * RECORD + HEADER,
		  read(self->veventq_fd, buf, PAGE_SIZE));
	EXPECT_RECORD(&buf[0], 3, VIRT_ID);
	EXPECT_RECORD(&buf[1], 4, VIRT_ID);
	EXPECT_LOST(&buf[2], 6);
	EXPECT_EMPTY();
	close(slow.uffd);
}

/* ---- Who gets what ---- */

TEST_F(veventq, routing)
{
	__u32 other_stdev_id, other_dev_id, other_id, other_nested_id = 0;
	__u32 other_viommu_id = 0, id = 0, vdev_id;
	struct mock_record buf[4];
	int other_fd;

	/* Nobody wants it, or the device is nobody's */
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, self->dev_id));
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, NO_SUCH_ID));
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, self->stdev_id));

	ALLOC_QUEUE(4);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &other_stdev_id,
				       &other_dev_id));
	ASSERT_EQ(0, viommu_alloc(self->fd, other_dev_id, self->parent_id,
				  &other_viommu_id));
	ASSERT_EQ(0, nested_alloc(self->fd, other_dev_id, other_viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &other_nested_id));
	/* The same ID as the other one has on its vIOMMU */
	ASSERT_EQ(0, vdevice_alloc(self->fd, other_viommu_id, other_dev_id,
				   VIRT_ID, &id));
	ASSERT_EQ(0, veventq_alloc(self->fd, other_viommu_id,
				   IOMMU_VEVENTQ_TYPE_SELFTEST, 4, &other_id,
				   &other_fd));

	/* A vDEVICE alone is not an attachment */
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, other_dev_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, other_stdev_id, self->ioas_id));
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, other_dev_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, other_stdev_id,
				     self->parent_id));
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, other_dev_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, other_stdev_id,
				     other_nested_id));

	EXPECT_EQ(0, trigger_vevent(self->fd, other_dev_id));
	EXPECT_EMPTY();
	ASSERT_EQ(RECORD, read(other_fd, buf, sizeof(buf)));
	EXPECT_RECORD(buf, 0, VIRT_ID);
	TRIGGER(1);
	EXPECT_EQ(0, read(other_fd, buf, sizeof(buf)));
	EXPECT_EVENTS(0, 1);

	/* Moved to the other vIOMMU, with another ID */
	ASSERT_EQ(0, mock_dev_attach(self->fd, other_stdev_id,
				     self->parent_id));
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, other_dev_id));
	test_ioctl_destroy(id);
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, other_dev_id,
				   0x11, &id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, other_stdev_id,
				     self->nested_id));
	EXPECT_EQ(0, trigger_vevent(self->fd, other_dev_id));
	TRIGGER(1);
	EXPECT_EQ(0, read(other_fd, buf, sizeof(buf)));
	ASSERT_EQ(2 * RECORD, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(&buf[0], 1, 0x11);
	EXPECT_RECORD(&buf[1], 2, VIRT_ID);

	/* Without translation the vDEVICE may go, and the ID with it */
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
				     self->bypass_id));
	TRIGGER(1);
	EXPECT_EVENTS(3, 1);
	test_ioctl_destroy(self->vdev_id);
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, self->dev_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
				   0x20, &vdev_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
				     self->nested_id));
	TRIGGER(1);
	ASSERT_EQ(RECORD, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(buf, 4, 0x20);

	/* Devices that are gone just say nothing more */
	TRIGGER(1);
	ASSERT_EQ(0, mock_dev_unbind(self->fd, self->stdev_id));
	test_ioctl_destroy(self->stdev_id);
	test_ioctl_destroy(other_stdev_id);
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, self->dev_id));
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, other_dev_id));
	ASSERT_EQ(RECORD, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(buf, 5, 0x20);
	EXPECT_EMPTY();
	close(other_fd);
}

/* ---- Teardown ---- */

TEST_F(veventq, destroy_order)
{
	int dup_fd;

	ALLOC_QUEUE(4);
	TRIGGER(6);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->veventq_id));
	dup_fd = dup(self->veventq_fd);
	ASSERT_EQ(0, close(self->veventq_fd));
	self->veventq_fd = dup_fd;
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->veventq_id));

	/* Everything but the queue lets go of the vIOMMU */
	ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id, 0));
	test_ioctl_destroy(self->vdev_id);
	test_ioctl_destroy(self->nested_id);
	test_ioctl_destroy(self->bypass_id);
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	/* What has come can be read even so */
	EXPECT_EVENTS_LOST(0, 4, 5);

	ASSERT_EQ(0, close(self->veventq_fd));
	self->veventq_fd = -1;
	EXPECT_EQ(EBUSY, do_destroy(self->fd, self->viommu_id));
	test_ioctl_destroy(self->veventq_id);
	EXPECT_EQ(ENOENT, do_destroy(self->fd, self->veventq_id));
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
	EXPECT_EQ(ENOENT, trigger_vevent(self->fd, self->dev_id));
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

/* ---- Threads ---- */

#define STRESS_SECONDS 3
#define STRESS_MAX 4194304

struct stress {
	int fd;
	int veventq_fd;
	__u32 dev_id;
	__u32 viommu_id;
	struct timespec end;
	/* The stress goes on until there were as many, however slow it is */
	struct {
		unsigned int reported, received, rounds;
	} least;
	atomic_uchar *seen;
	atomic_uint reported;
	atomic_uint received;
	atomic_uint lost_headers;
	atomic_uint again;
	/* How often something was made and unmade */
	atomic_uint rounds;
	atomic_uint refused;
	atomic_uint failures;
	atomic_uint virt_id;
	atomic_bool stop;
};

static bool stress_goes_on(struct stress *s)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return !atomic_load(&s->failures) && !atomic_load(&s->stop) &&
	       (now.tv_sec < s->end.tv_sec ||
		s->reported < s->least.reported ||
		s->received < s->least.received ||
		s->rounds < s->least.rounds);
}

static void stress_fail(struct stress *s, const char *what, unsigned long val)
{
	atomic_fetch_add(&s->failures, 1);
	fprintf(stderr, "# %s: %lu\n", what, val);
}

/* Each record as it was reported, in order, and no number twice */
static void stress_account(struct stress *s, const char *buf, size_t bytes)
{
	const struct iommufd_vevent_header *header;
	const struct mock_record *record;
	long long last = -1;
	size_t at = 0;

	while (at < bytes) {
		header = (void *)(buf + at);
		record = (void *)header;
		if (header->sequence >= STRESS_MAX)
			return stress_fail(s, "sequence", header->sequence);
		/* Within one read the order shows */
		if ((long long)header->sequence <= last)
			return stress_fail(s, "order", header->sequence);
		last = header->sequence;
		if (header->flags == IOMMU_VEVENTQ_FLAG_LOST_EVENTS) {
			if (atomic_load(&s->seen[header->sequence]))
				stress_fail(s, "lost, yet read",
					    header->sequence);
			/* An event may come behind it only by a later report */
			atomic_fetch_add(&s->lost_headers, 1);
			at += HEADER;
			continue;
		}
		if (header->flags || bytes - at < RECORD)
			return stress_fail(s, "flags", header->flags);
		if (record->event.virt_id != VIRT_ID)
			stress_fail(s, "virtual ID", record->event.virt_id);
		if (atomic_fetch_add(&s->seen[header->sequence], 1))
			stress_fail(s, "twice", header->sequence);
		atomic_fetch_add(&s->received, 1);
		at += RECORD;
	}
}

static void *stress_report(void *arg)
{
	struct stress *s = arg;
	int rc;

	while (stress_goes_on(s) &&
	       atomic_load(&s->reported) < STRESS_MAX - 64) {
		rc = trigger_vevent(s->fd, s->dev_id);
		if (rc)
			stress_fail(s, "report", rc);
		atomic_fetch_add(&s->reported, 1);
	}
	return NULL;
}

static void *stress_read(void *arg)
{
	static atomic_uint seeds;
	unsigned int seed = atomic_fetch_add(&seeds, 1);
	struct stress *s = arg;
	char buf[16 * RECORD];

	while (stress_goes_on(s)) {
		size_t count = RECORD + rand_r(&seed) % (sizeof(buf) - RECORD);
		ssize_t got = read(s->veventq_fd, buf, count);

		if (got < 0 && errno == EAGAIN)
			atomic_fetch_add(&s->again, 1);
		else if (got < 0)
			stress_fail(s, "read", errno);
		else
			stress_account(s, buf, got);
		if (!(rand_r(&seed) % 8))
			sched_yield();
	}
	return NULL;
}

static void stress_start(struct stress *s)
{
	clock_gettime(CLOCK_MONOTONIC, &s->end);
	s->end.tv_sec += STRESS_SECONDS;
}

/* Several who report and several who read, the queue as good as always full */
static void run_readers(struct __test_metadata *_metadata, struct stress *s,
			bool nonblock)
{
	unsigned int i, unseen = 0, events = 0, reported;
	pthread_t reporters[3], readers[4];
	char buf[16 * RECORD];
	ssize_t got;

	s->seen = calloc(STRESS_MAX, 1);
	ASSERT_NE(NULL, s->seen);
	ASSERT_EQ(0, fcntl(s->veventq_fd, F_SETFL, nonblock ? O_NONBLOCK : 0));

	s->least.reported = 100;
	s->least.received = 100;
	stress_start(s);
	for (i = 0; i != ARRAY_SIZE(reporters); i++)
		ASSERT_EQ(0, pthread_create(&reporters[i], NULL, stress_report,
					    s));
	for (i = 0; i != ARRAY_SIZE(readers); i++)
		ASSERT_EQ(0, pthread_create(&readers[i], NULL, stress_read, s));
	for (i = 0; i != ARRAY_SIZE(reporters); i++)
		ASSERT_EQ(0, pthread_join(reporters[i], NULL));
	for (i = 0; i != ARRAY_SIZE(readers); i++)
		ASSERT_EQ(0, pthread_join(readers[i], NULL));
	while ((got = read(s->veventq_fd, buf, sizeof(buf))) > 0)
		stress_account(s, buf, got);
	EXPECT_EQ(0, got);

	/* The next number is the count of all that were reported */
	reported = s->reported;
	EXPECT_EQ(0, trigger_vevent(s->fd, s->dev_id));
	ASSERT_EQ(RECORD, read(s->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD((struct mock_record *)buf, reported, VIRT_ID);

	for (i = 0; i != STRESS_MAX; i++) {
		events += s->seen[i];
		if (i < reported)
			unseen += !s->seen[i];
		else if (s->seen[i])
			stress_fail(s, "never reported", i);
	}
	TH_LOG("%u reported, %u received, %u lost, %u headers, %u EAGAIN",
	       reported, s->received, unseen, s->lost_headers, s->again);
	EXPECT_EQ(events, s->received);
	EXPECT_EQ(reported, s->received + unseen);
	EXPECT_EQ(0, s->failures);
	EXPECT_LE(s->least.received, s->received);
	EXPECT_LE(s->least.reported, reported);
	free(s->seen);
}

TEST_F(veventq, readers)
{
	struct stress s = { .fd = self->fd, .dev_id = self->dev_id };

	ALLOC_QUEUE(7);
	s.veventq_fd = self->veventq_fd;
	run_readers(_metadata, &s, false);
}

TEST_F(veventq, readers_nonblock)
{
	struct stress s = { .fd = self->fd, .dev_id = self->dev_id };

	ALLOC_QUEUE(1000);
	s.veventq_fd = self->veventq_fd;
	run_readers(_metadata, &s, true);
}

static void *stress_queues(void *arg)
{
	struct stress *s = arg;
	char buf[16 * RECORD];
	int rc, fd = -1;
	__u32 id = 0;

	while (stress_goes_on(s)) {
		rc = veventq_alloc(s->fd, s->viommu_id,
				   IOMMU_VEVENTQ_TYPE_SELFTEST, 3, &id, &fd);
		if (rc == EEXIST) {
			atomic_fetch_add(&s->refused, 1);
			continue;
		}
		if (rc) {
			stress_fail(s, "queue alloc", rc);
			break;
		}
		if (read(fd, buf, sizeof(buf)) < 0)
			stress_fail(s, "read", errno);
		if (poll_now(fd) < 0)
			stress_fail(s, "poll", errno);
		close(fd);
		rc = do_destroy(s->fd, id);
		if (rc)
			stress_fail(s, "queue destroy", rc);
		atomic_fetch_add(&s->rounds, 1);
	}
	return NULL;
}

static void *stress_report_any(void *arg)
{
	struct stress *s = arg;
	int rc;

	while (stress_goes_on(s)) {
		rc = trigger_vevent(s->fd, s->dev_id);
		/* No queue, or no attachment, just now */
		if (rc && rc != ENOENT)
			stress_fail(s, "report", rc);
		if (!rc)
			atomic_fetch_add(&s->reported, 1);
	}
	return NULL;
}

/* Queues come and go under those who report to them and read them */
TEST_F(veventq, destroy_race)
{
	static void *(*const funcs[])(void *) = {
		stress_queues, stress_queues, stress_report_any,
		stress_report_any,
	};
	struct stress s = {
		.fd = self->fd,
		.dev_id = self->dev_id,
		.viommu_id = self->viommu_id,
		.least = { .reported = 10, .rounds = 10 },
	};
	pthread_t threads[ARRAY_SIZE(funcs)];
	unsigned int i;

	stress_start(&s);
	for (i = 0; i != ARRAY_SIZE(funcs); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, funcs[i], &s));
	for (i = 0; i != ARRAY_SIZE(funcs); i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	TH_LOG("%u queues, %u refused, %u events", s.rounds, s.refused,
	       s.reported);
	EXPECT_EQ(0, s.failures);
	EXPECT_LE(s.least.rounds, s.rounds);
	EXPECT_LE(s.least.reported, s.reported);
}

/*
 * An event carries the ID that the device has now. While events come all the
 * time the device leaves, its vDEVICE is destroyed and made again with another
 * ID: from then on the old one must never appear.
 */
TEST_F(veventq, stale_id)
{
	struct stress s = {
		.fd = self->fd,
		.dev_id = self->dev_id,
		.least = { .received = 10, .rounds = 10 },
	};
	unsigned int round, i;
	struct mock_record buf[64];
	pthread_t threads[2];
	ssize_t got;

	ALLOC_QUEUE(64);
	stress_start(&s);
	for (i = 0; i != ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    stress_report_any, &s));
	for (round = 0; stress_goes_on(&s); round++, s.rounds++) {
		/* Bypass needs no vDEVICE, and stage 2 has none */
		ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
					     round & 1 ? self->parent_id :
							 self->bypass_id));
		test_ioctl_destroy(self->vdev_id);
		while (read(self->veventq_fd, buf, sizeof(buf)) > 0)
			;
		EXPECT_EMPTY();
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id,
					   self->dev_id, 0x1000 + round,
					   &self->vdev_id));
		ASSERT_EQ(0, mock_dev_attach(self->fd, self->stdev_id,
					     self->nested_id));
		sched_yield();
		got = read(self->veventq_fd, buf, sizeof(buf));
		for (i = 0; i != got / RECORD; i++, s.received++)
			if (buf[i].event.virt_id != 0x1000 + round)
				stress_fail(&s, "stale",
					    buf[i].event.virt_id);
	}
	for (i = 0; i != ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	TH_LOG("%u rounds, %u events", round, s.received);
	EXPECT_EQ(0, s.failures);
	EXPECT_LE(s.least.rounds, round);
	EXPECT_LE(s.least.received, s.received);
}

/* ---- Memory ---- */

static bool write_file(const char *dir, const char *name, const char *val)
{
	char path[PATH_MAX];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	ok = write(fd, val, strlen(val)) == (ssize_t)strlen(val);
	close(fd);
	return ok;
}

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
	if (!write_file(root, "cgroup.subtree_control", "+memory") ||
	    mkdir(group, 0700)) {
		umount(root);
		rmdir(root);
		SKIP(return, "no memory controller");
	}
	ASSERT_TRUE(write_file(group, "cgroup.procs", "0"));

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

	EXPECT_TRUE(write_file(root, "cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(group));
	EXPECT_EQ(0, umount(root));
	EXPECT_EQ(0, rmdir(root));
}

/* ---- Tracing ---- */

FIXTURE(trace) {
	int fd;
	char dir[80];
	char *log;
};

#define TRACE_LOG_SIZE 1048576

FIXTURE_SETUP(trace)
{
	static const char tracefs[] = "/sys/kernel/tracing";

	self->fd = -1;
	if (access("/sys/kernel/tracing/instances", F_OK) &&
	    mount("tracefs", tracefs, "tracefs", 0, NULL))
		SKIP(return, "no tracefs at /sys/kernel/tracing");
	if (access("/sys/kernel/tracing/events/iommufd", F_OK))
		SKIP(return, "no iommufd events in tracefs");
	snprintf(self->dir, sizeof(self->dir), "%s/instances/iommufd-%d",
		 tracefs, getpid());
	ASSERT_EQ(0, mkdir(self->dir, 0700));
	ASSERT_TRUE(write_file(self->dir, "events/iommufd/enable", "1"));
	self->log = calloc(1, TRACE_LOG_SIZE);
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
}

FIXTURE_TEARDOWN(trace)
{
	if (self->fd < 0)
		return;
	free(self->log);
	close(self->fd);
	EXPECT_EQ(0, rmdir(self->dir));
}

/* What was traced so far, from the first byte */
static const char *trace_read(const char *dir, char *log)
{
	char path[PATH_MAX];
	size_t len = 0;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/trace", dir);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return NULL;
	while ((got = read(fd, log + len, TRACE_LOG_SIZE - 1 - len)) > 0)
		len += got;
	close(fd);
	log[len] = 0;
	return log;
}

/* Find the next line of an event, which must end in what is given */
static bool trace_expect(const char **at, const char *event, const char *fmt,
			 ...) __attribute__((format(printf, 3, 4)));

static bool trace_expect(const char **at, const char *event, const char *fmt,
			 ...)
{
	char name[80], fields[300];
	const char *line, *end;
	va_list args;

	va_start(args, fmt);
	vsnprintf(fields, sizeof(fields), fmt, args);
	va_end(args);
	snprintf(name, sizeof(name), ": %s: ictx=", event);
	line = strstr(*at, name);
	if (!line) {
		fprintf(stderr, "# no %s\n", event);
		return false;
	}
	end = strchrnul(line, '\n');
	*at = end;
	line = strchrnul(line + strlen(name), ' ');
	if (*line && strlen(fields) <= (size_t)(end - line - 1) &&
	    !strncmp(line + 1, fields, strlen(fields)))
		return true;
	fprintf(stderr, "# %s: expected '%s', got '%.*s'\n", event, fields,
		(int)(end - line), line);
	return false;
}

#define EXPECT_TRACE(...) EXPECT_TRUE(trace_expect(&at, __VA_ARGS__))

TEST_F(trace, objects_and_events)
{
	struct iommu_viommu_invalidate_selftest reqs[5] = {
		[0 ... 4] = { .vdev_id = 0x1234 },
		/* Nobody has this one */
		[3] = { .vdev_id = 0x4321 },
	};
	__u32 ioas_id, stdev_id, dev_id, parent_id, viommu_id, vdev_id;
	__u32 nested_id, veventq_id, num = ARRAY_SIZE(reqs);
	int veventq_fd;
	const char *at;
	size_t len;

	test_ioctl_ioas_alloc(&ioas_id);
	ASSERT_EQ(0, mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id));
	test_cmd_hwpt_alloc(dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			    &parent_id);
	ASSERT_EQ(0, viommu_alloc(self->fd, dev_id, parent_id, &viommu_id));
	ASSERT_EQ(0, nested_alloc(self->fd, dev_id, viommu_id,
				  IOMMU_TEST_IOTLB_DEFAULT, &nested_id));
	EXPECT_EQ(ENOENT, mock_dev_attach(self->fd, stdev_id, nested_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu_id, dev_id, 0x1234,
				   &vdev_id));
	ASSERT_EQ(0, mock_dev_attach(self->fd, stdev_id, nested_id));
	ASSERT_EQ(0, veventq_alloc(self->fd, viommu_id,
				   IOMMU_VEVENTQ_TYPE_SELFTEST, 2, &veventq_id,
				   &veventq_fd));
	ASSERT_EQ(0, trigger_vevents(self->fd, dev_id, 3));
	EXPECT_EQ(EINVAL, invalidate(self->fd, viommu_id,
				     IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				     reqs, sizeof(*reqs), &num));
	num = 2;
	EXPECT_EQ(0, invalidate(self->fd, viommu_id,
				IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
				sizeof(*reqs), &num));
	close(veventq_fd);
	test_ioctl_destroy(veventq_id);
	ASSERT_EQ(0, mock_dev_attach(self->fd, stdev_id, 0));
	test_ioctl_destroy(nested_id);
	test_ioctl_destroy(vdev_id);
	test_ioctl_destroy(viommu_id);

	at = trace_read(self->dir, self->log);
	ASSERT_NE(NULL, at);
	EXPECT_TRACE("iommufd_viommu_alloc", "viommu=%u type=%u", viommu_id,
		     IOMMU_VIOMMU_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_hwpt_nested_alloc", "viommu=%u hwpt=%u type=%u",
		     viommu_id, nested_id, IOMMU_HWPT_DATA_SELFTEST);
	EXPECT_TRACE("iommufd_attach", "dev=iommufd_mock");
	EXPECT_TRACE("iommufd_vdevice_alloc",
		     "viommu=%u vdevice=%u virt_id=0x1234 dev=iommufd_mock",
		     viommu_id, vdev_id);
	EXPECT_TRACE("iommufd_attach", "dev=iommufd_mock");
	EXPECT_TRACE("iommufd_veventq_alloc", "viommu=%u veventq=%u type=%u",
		     viommu_id, veventq_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_vevent",
		     "viommu=%u type=%u virt_id=0x1234 event=0x5e sequence=0",
		     viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_vevent",
		     "viommu=%u type=%u virt_id=0x1234 event=0x5e sequence=1",
		     viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_vevent_lost",
		     "viommu=%u type=%u virt_id=0x1234 event=0x5e sequence=2",
		     viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_viommu_invalidate",
		     "viommu=%u asked=5 done=3 ret=-22", viommu_id);
	EXPECT_TRACE("iommufd_viommu_invalidate",
		     "viommu=%u asked=2 done=2 ret=0", viommu_id);
	EXPECT_TRACE("iommufd_veventq_destroy", "viommu=%u veventq=%u type=%u",
		     viommu_id, veventq_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_attach", "dev=iommufd_mock");
	EXPECT_TRACE("iommufd_hwpt_nested_destroy", "viommu=%u hwpt=%u",
		     viommu_id, nested_id);
	EXPECT_TRACE("iommufd_vdevice_destroy",
		     "viommu=%u vdevice=%u virt_id=0x1234 dev=iommufd_mock",
		     viommu_id, vdev_id);
	EXPECT_TRACE("iommufd_viommu_destroy", "viommu=%u type=%u", viommu_id,
		     IOMMU_VIOMMU_TYPE_SELFTEST);

	/* What an attachment came to is at the end of its lines */
	at = strstr(self->log, ": iommufd_attach: ");
	ASSERT_NE(NULL, at);
	EXPECT_EQ(nested_id, atoi(strstr(at, " hwpt=") + 6));
	EXPECT_EQ(-ENOENT, atoi(strstr(at, " ret=") + 5));
	at = strstr(at + 1, ": iommufd_attach: ");
	ASSERT_NE(NULL, at);
	EXPECT_EQ(nested_id, atoi(strstr(at, " hwpt=") + 6));
	EXPECT_EQ(0, atoi(strstr(at, " ret=") + 5));
	at = strstr(at + 1, ": iommufd_attach: ");
	ASSERT_NE(NULL, at);
	EXPECT_EQ(0, atoi(strstr(at, " hwpt=") + 6));

	/* Off is off */
	ASSERT_TRUE(write_file(self->dir, "events/iommufd/enable", "0"));
	len = strlen(self->log);
	ASSERT_EQ(0, viommu_alloc(self->fd, dev_id, parent_id, &viommu_id));
	test_ioctl_destroy(viommu_id);
	trace_read(self->dir, self->log);
	EXPECT_EQ(len, strlen(self->log));
}

TEST_HARNESS_MAIN
