// SPDX-License-Identifier: GPL-2.0-only
/*
 * vEVENTQs on the mock driver: what a VMM reads, and what it learns about losses
 */
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>

#include "iommufd_veventq_fixture.h"

/* ---- A device behind a vIOMMU, translating, with virtual ID VIRT_ID ---- */

#define EXPECT_READ_ERRNO(_errno, _buf, _count)                            \
	({                                                                 \
		errno = 0;                                                 \
		EXPECT_EQ(-1, read(self->veventq_fd, _buf, _count));       \
		EXPECT_EQ(_errno, errno);                                  \
	})

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
	__trigger_vevent(w->fd, w->dev_id);
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
	EXPECT_EQ(EINVAL, __veventq_set_sequence(self->fd, self->veventq_id,
						 0x80000000));
	for (back = 0; back != 8; back++) {
		__u32 first = INT_MAX - back;

		veventq_set_sequence(self->fd, self->veventq_id, first);
		TRIGGER(4);
		EXPECT_EVENTS(first, 4);
		TRIGGER(4);
		EXPECT_EVENTS((first + 4) & INT_MAX, 4);

		/* The last one lost is each of the numbers around the wrap */
		veventq_set_sequence(self->fd, self->veventq_id, first);
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
	EXPECT_EQ(EBUSY, __do_destroy(self->fd, self->veventq_id));

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

TEST_HARNESS_MAIN
