// SPDX-License-Identifier: GPL-2.0-only
/*
 * HW queues and mappings on the mock driver: two threads at the same objects, and a
 * process that is killed
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include "iommufd_hw_queue_fixtures.h"

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
	double end;
	atomic_uint failures;
	/* How often each pair met, and what that is */
	const char *names[RACE_MEETINGS];
	atomic_uint met[RACE_MEETINGS];
};

static bool race_goes_on(const struct race *r)
{
	unsigned int i;

	if (r->failures || now() >= r->end)
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
	r->end = now() + RACE_SECONDS;
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
		rc = __do_destroy(r->fd, r->viommu_id);
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
		rc = __viommu_alloc_mmap(r->fd, r->dev_id, r->parent_id,
					 TAG | generation, &offer,
					 &r->viommu_id);
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
	viommu_alloc_mmap(self->fd, self->dev_id, self->parent_id, TAG,
			  &self->offer, &r.viommu_id);
	r.offset = self->offer.out_mmap_offset;
	run_race(_metadata, &r, funcs, ARRAY_SIZE(funcs));
	EXPECT_EQ(0, __do_destroy(self->fd, r.viommu_id));
}

enum { QUEUE_ALLOC, QUEUE_UNMAPPED, UNMAP_DONE, UNMAP_BUSY };

static void *race_queue(void *arg)
{
	struct race *r = arg;
	__u32 id = 0;
	int rc;

	while (race_goes_on(r)) {
		rc = __hw_queue_alloc(r->fd, r->viommu_id, 0, QUEUE_IOVA,
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
		rc = __do_destroy(r->fd, id);
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
		rc = __hw_queue_alloc(r->fd, r->viommu_id, 0, QUEUE_IOVA, 64,
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
		rc = __do_destroy(r->fd, id);
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
		rc = __hw_queue_alloc(r->fd, r->viommu_id, 0, QUEUE_IOVA, 64,
				      &id);
		if (rc) {
			race_fails(r, "lower queue alloc", rc);
			break;
		}
		sched_yield();
		while ((rc = __do_destroy(r->fd, id)) == EBUSY && !r->failures)
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
		rc = __hw_queue_alloc(r->fd, r->viommu_id, 1, QUEUE_IOVA, 64,
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
		rc = __do_destroy(r->fd, id);
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
	    __mock_dev_add_bind(c.fd, 0, 0, &stdev_id, &dev_id) ||
	    __hwpt_alloc(c.fd, dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			 &parent_id) ||
	    __viommu_alloc_mmap(c.fd, dev_id, parent_id, IN_DATA, &c.offer,
				&c.viommu_id) ||
	    __ioas_map(c.fd, ioas_id, mem, PAGE_SIZE, QUEUE_IOVA) ||
	    pthread_create(&thread, NULL, victim_maps, &c))
		_exit(1);
	v->ready = true;
	for (;;) {
		v->in_queue_call = true;
		if (__hw_queue_alloc(c.fd, c.viommu_id, 0, QUEUE_IOVA, 64, &id))
			v->error = 3;
		v->in_queue_call = false;
		v->has_queue = true;
		sched_yield();
		v->has_queue = false;
		v->in_queue_call = true;
		if (__do_destroy(c.fd, id))
			v->error = 4;
		v->in_queue_call = false;
	}
}

#define KILLS_LEAST 3

/* Wherever a process is killed, all that it had is given back */
TEST_F(mapping, process_is_killed)
{
	unsigned int kills = 0, mapped = 0, in_mmap = 0, queue = 0, in_call = 0;
	const double end = now() + RACE_SECONDS;
	const long pins_before = pins();
	struct victim *v;
	unsigned int seed = 1;
	int status;
	pid_t pid;

	v = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, v);
	while (now() < end &&
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
