// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE on the mock driver: changes at the same time, signals, and each
 * step that fails once
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "iommufd_map_file.h"

/* ---- Changes at the same time ---- */

static void on_signal(int sig)
{
}

/* Making pages takes a while, in which signals come and go */
TEST_F(file, signals)
{
	const struct itimerval timer = {
		.it_interval = { .tv_usec = 500 },
		.it_value = { .tv_usec = 500 },
	};
	const struct itimerval off = {};
	struct sigaction sa = { .sa_handler = on_signal };
	unsigned int i;
	__u64 iova;

	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	for (i = 0; i != 10; i++) {
		ASSERT_EQ(0, punch_all(self->file));
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
		EXPECT_EQ(0, map_file(self->fd, self->ioas_id, self->file, 0,
				      FILE_SIZE, &iova, RW));
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &off, NULL));
		EXPECT_PINS(NUM_PAGES);
		UNMAP(iova, FILE_SIZE);
	}
}

struct churn {
	int file;
	char *va;
	atomic_bool stop;
	unsigned long rounds;
};

/* Take pages from the file and give it others, in no order */
static void *churn_thread(void *arg)
{
	struct churn *c = arg;
	unsigned int seed = 1;

	while (!c->stop) {
		unsigned long start = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;
		unsigned long length = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;

		if (length > FILE_SIZE - start)
			length = FILE_SIZE - start;
		switch (rand_r(&seed) % 8) {
		case 0:
			if (ftruncate(c->file, start & -HPAGE))
				abort();
			break;
		case 1:
		case 2:
			if (ftruncate(c->file, FILE_SIZE))
				abort();
			break;
		case 3:
			fallocate(c->file, FALLOC_FL_KEEP_SIZE, start, length);
			break;
		case 4:
			/* Fails on hugetlbfs */
			if (pwrite(c->file, "x", 1, start) < 0)
				break;
			break;
		default:
			fallocate(c->file,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  start, length);
		}
		c->rounds++;
	}
	return NULL;
}

TEST_F(file, churn)
{
	struct churn c = { .file = self->file, .va = self->va };
	unsigned long mapped = 0, failed = 0;
	pthread_t threads[2];
	unsigned int seed = 2, i;
	__u32 access_id;
	double end;

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	for (i = 0; i != 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn_thread,
					    &c));
	/* Longer where that is not enough to see both */
	end = now() + 2;
	while (now() < end || !mapped || !failed) {
		unsigned long start = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;
		unsigned long length = rand_r(&seed) % NUM_PAGES * PAGE_SIZE;
		__u64 iova;
		int rc;

		if (length > FILE_SIZE - start)
			length = FILE_SIZE - start;
		if (!length)
			continue;
		rc = map_file(self->fd, self->ioas_id, self->file, start,
			      length, &iova, RW);
		if (rc) {
			ASSERT_TRUE(rc == EINVAL || rc == ENOMEM ||
				    rc == EFAULT) {
				TH_LOG("%s", strerror(rc));
			}
			failed++;
			continue;
		}
		mapped++;
		access_rw(self->fd, access_id, iova + length - 1, "z", 1,
			  MOCK_ACCESS_RW_WRITE);
		UNMAP(iova, length);
	}
	c.stop = true;
	for (i = 0; i != 2; i++)
		pthread_join(threads[i], NULL);
	test_cmd_destroy_access(access_id);
	TH_LOG("%lu mapped, %lu refused, %lu changes", mapped, failed,
	       c.rounds);
	EXPECT_NE(0, mapped);
	EXPECT_NE(0, failed);
	EXPECT_PINS(0);
	ASSERT_EQ(0, ftruncate(self->file, FILE_SIZE));
}

/* ---- Each step fails once ---- */

#define ASSERT_PINS(_pins) ASSERT_EQ(self->pins + (_pins), pins())

/*
 * As SWEEP(). @_undo runs after each call that succeeds, and then @_pins pages
 * must be pinned as after each that fails. With @_punch the file has no pages
 * before each call.
 */
#define SWEEP_PINS(_min, _punch, _call, _undo, _pins)                        \
	({                                                                   \
		if (_punch) {                                                \
			ASSERT_EQ(0, punch_all(self->file));                 \
		}                                                            \
		SWEEP(_min, _call,                                           \
		      ({                                                     \
			ASSERT_PINS(_pins);                                  \
			if (_punch) {                                        \
				ASSERT_EQ(0, punch_all(self->file));         \
			}                                                    \
		      }),                                                    \
		      ({                                                     \
			_undo;                                               \
			ASSERT_PINS(_pins);                                  \
			if (_punch) {                                        \
				ASSERT_EQ(0, punch_all(self->file));         \
			}                                                    \
		      }));                                                   \
	})

#define SWEEP_LENGTH (12 * PAGE_SIZE)

TEST_F(file, fail_nth)
{
	__u64 start = HPAGE - 5 * PAGE_SIZE, iova;
	__u32 access_id, id, stdev_id, stdev2_id, hwpt_id;
	char buf[4];

	if (!fail_nth_open())
		SKIP(return, "no fault injection in this kernel");
	test_cmd_mock_domain(self->ioas_id, &stdev2_id, NULL, NULL);
	test_cmd_create_access(self->ioas_id, &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);

	/* Two domains, with pages of the file and without */
	SWEEP_PINS(8, false,
		   map_file(self->fd, self->ioas_id, self->file, start,
			    SWEEP_LENGTH, &iova, RW),
		   UNMAP(iova, SWEEP_LENGTH), 0);
	SWEEP_PINS(8, true,
		   map_file(self->fd, self->ioas_id, self->file, start,
			    SWEEP_LENGTH, &iova, RW),
		   UNMAP(iova, SWEEP_LENGTH), 0);
	test_ioctl_destroy(stdev2_id);
	test_ioctl_destroy(self->stdev_id);

	/* A domain that comes later, and an access */
	iova = MOCK_APERTURE_START;
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, start,
			      SWEEP_LENGTH, &iova, RW | FIXED));
	SWEEP_PINS(5, false,
		   _test_cmd_mock_domain(self->fd, self->ioas_id, &stdev_id,
					 &hwpt_id, NULL) ? errno : 0,
		   test_ioctl_destroy(stdev_id), 0);
	SWEEP_PINS(3, false,
		   __access_pin(self->fd, access_id, iova + PAGE_SIZE,
				SWEEP_LENGTH - 2 * PAGE_SIZE, NULL, 0, &id),
		   ASSERT_EQ(0, __access_unpin(self->fd, access_id, id)), 0);
	/* which has a part when the domain comes */
	access_pin(self->fd, access_id, iova + PAGE_SIZE, 3 * PAGE_SIZE, NULL,
		   0, &id);
	SWEEP_PINS(5, false,
		   _test_cmd_mock_domain(self->fd, self->ioas_id, &stdev_id,
					 &hwpt_id, NULL) ? errno : 0,
		   test_ioctl_destroy(stdev_id), 3);
	access_unpin(self->fd, access_id, id);
	test_cmd_destroy_access(access_id);

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	SWEEP_PINS(2, false,
		   access_rw(self->fd, access_id, iova + PAGE_SIZE - 2, buf,
			     sizeof(buf), 0), {}, 0);
	SWEEP_PINS(2, false,
		   access_rw(self->fd, access_id, iova + PAGE_SIZE - 2, "abc", 3,
			     MOCK_ACCESS_RW_WRITE), {}, 0);
	test_cmd_destroy_access(access_id);
	close(fail_nth_fd);
}

TEST_HARNESS_MAIN
