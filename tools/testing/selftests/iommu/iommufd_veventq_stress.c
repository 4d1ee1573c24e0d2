// SPDX-License-Identifier: GPL-2.0-only
/*
 * vEVENTQs on the mock driver: threads that report, read, move and destroy
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "iommufd_veventq_fixture.h"

/* ---- Threads ---- */

#define STRESS_SECONDS 3
#define STRESS_MAX 4194304

struct stress {
	int fd;
	int veventq_fd;
	__u32 dev_id;
	__u32 viommu_id;
	double end;
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
	return !atomic_load(&s->failures) && !atomic_load(&s->stop) &&
	       (now() < s->end ||
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
		rc = __trigger_vevent(s->fd, s->dev_id);
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
	s->end = now() + STRESS_SECONDS;
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
	EXPECT_EQ(0, __trigger_vevent(s->fd, s->dev_id));
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
		rc = __veventq_alloc(s->fd, s->viommu_id,
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
		rc = __do_destroy(s->fd, id);
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
		rc = __trigger_vevent(s->fd, s->dev_id);
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
		mock_dev_attach(self->fd, self->stdev_id,
				round & 1 ? self->parent_id : self->bypass_id);
		test_ioctl_destroy(self->vdev_id);
		while (read(self->veventq_fd, buf, sizeof(buf)) > 0)
			;
		EXPECT_EMPTY();
		vdevice_alloc(self->fd, self->viommu_id, self->dev_id,
			      0x1000 + round, &self->vdev_id);
		mock_dev_attach(self->fd, self->stdev_id, self->nested_id);
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

TEST_HARNESS_MAIN
