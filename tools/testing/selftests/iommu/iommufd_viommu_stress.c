// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that make, attach and destroy the same vIOMMU objects, on the mock driver
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "iommufd_viommu_fixtures.h"

/* ---- All at once ---- */

#define STRESS_SECONDS 5
#define STRESS_SLACK_SECONDS 40
/* How often each call must get through, or it was no stress */
#define STRESS_LEAST 10

struct stress {
	int fd;
	__u32 ioas_id;
	__u32 parent_id;
	__u32 viommu_id;
	__u32 nested_ids[2];
	__u32 bypass_id;
	__u32 stdev_ids[2];
	/* Changes when the device is bound again */
	atomic_uint dev_ids[2];
	/* The last vDEVICE that was made of the device */
	atomic_uint vdev_ids[2];
	double end;
	atomic_uint failures;
	/* How often a call got through */
	atomic_uint allocs, attaches, translates, binds, invalidates, busy;
};

/* A slow machine needs longer. The timeout of the test bounds it. */
static bool stress_goes_on(const struct stress *s)
{
	return now() < s->end ||
	       (!s->failures &&
		(s->allocs < STRESS_LEAST || s->attaches < STRESS_LEAST ||
		 s->translates < STRESS_LEAST || s->binds < STRESS_LEAST ||
		 s->invalidates < STRESS_LEAST));
}

/* One of these, and nothing else, may come out */
static void stress_result(struct stress *s, const char *what, int rc, int ok1,
			  int ok2, int ok3)
{
	if (!rc || rc == ok1 || rc == ok2 || rc == ok3)
		return;
	atomic_fetch_add(&s->failures, 1);
	fprintf(stderr, "# %s: %s\n", what, strerror(rc));
}

static void *stress_vdevices(void *arg)
{
	unsigned int seed = 1, i = 0;
	struct stress *s = arg;
	__u32 id = 0;
	int rc;

	while (stress_goes_on(s)) {
		i = rand_r(&seed) % 2;
		rc = __vdevice_alloc(s->fd, s->viommu_id, s->dev_ids[i],
				     0x10 + i, &id);
		/* There is one, or the device is unbound just now */
		stress_result(s, "vDEVICE alloc", rc, EEXIST, ENOENT, 0);
		if (!rc) {
			s->vdev_ids[i] = id;
			atomic_fetch_add(&s->allocs, 1);
		}
	}
	return NULL;
}

static void *stress_destroy(void *arg)
{
	unsigned int seed = 2, i;
	struct stress *s = arg;
	int rc;

	while (stress_goes_on(s)) {
		unsigned int none = 0, id;

		i = rand_r(&seed) % 2;
		/* Once only: after that the ID may be that of another object */
		id = atomic_exchange(&s->vdev_ids[i], 0);
		if (!id)
			continue;
		rc = __do_destroy(s->fd, id);
		stress_result(s, "vDEVICE destroy", rc, EBUSY, ENOENT, 0);
		if (rc == EBUSY) {
			atomic_fetch_add(&s->busy, 1);
			atomic_compare_exchange_strong(&s->vdev_ids[i], &none,
						       id);
		}
	}
	return NULL;
}

static void *stress_attach(void *arg)
{
	unsigned int seed = 3, i;
	struct stress *s = arg;
	__u64 virt_id;
	__u32 pt_id;
	int rc, state;

	while (stress_goes_on(s)) {
		switch (rand_r(&seed) % 4) {
		case 0:
			pt_id = s->ioas_id;
			break;
		case 1:
			pt_id = s->bypass_id;
			break;
		default:
			pt_id = s->nested_ids[rand_r(&seed) % 2];
			break;
		}
		i = rand_r(&seed) % 2;
		rc = __mock_dev_attach(s->fd, s->stdev_ids[i], pt_id);
		/* No vDEVICE, or not bound */
		stress_result(s, "attach", rc, ENOENT, EINVAL, 0);
		if (!rc)
			atomic_fetch_add(&s->attaches, 1);

		state = mock_dev_state(s->fd, s->stdev_ids[i], &virt_id);
		if (state != MOCK_DEV_STATE_TRANSLATE)
			continue;
		atomic_fetch_add(&s->translates, 1);
		/*
		 * Never without an ID. It may be the other one: the number of a
		 * device that was unbound can name the other device by the time
		 * that a vDEVICE is made of it.
		 */
		if (virt_id != 0x10 && virt_id != 0x11)
			stress_result(s, "virtual ID", EBADE, 0, 0, 0);
	}
	return NULL;
}

static void *stress_bind(void *arg)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	unsigned int seed = 4, i;
	struct stress *s = arg;
	__u32 id = 0;
	int rc;

	while (stress_goes_on(s)) {
		i = rand_r(&seed) % 2;
		rc = __mock_dev_unbind(s->fd, s->stdev_ids[i]);
		stress_result(s, "unbind", rc, 0, 0, 0);
		rc = __mock_dev_bind(s->fd, s->stdev_ids[i], &id);
		stress_result(s, "bind", rc, 0, 0, 0);
		s->dev_ids[i] = id;
		atomic_fetch_add(&s->binds, 1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void *stress_invalidate(void *arg)
{
	struct iommu_viommu_invalidate_selftest reqs[40] = {};
	unsigned int seed = 5, i;
	struct stress *s = arg;
	__u32 num;
	int rc;

	while (stress_goes_on(s)) {
		for (i = 0; i != ARRAY_SIZE(reqs); i++)
			reqs[i].vdev_id = 0x10 + rand_r(&seed) % 2;
		num = ARRAY_SIZE(reqs);
		rc = __invalidate(s->fd, s->viommu_id,
				  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
				  sizeof(*reqs), &num);
		stress_result(s, "invalidate", rc, EINVAL, 0, 0);
		if (num > ARRAY_SIZE(reqs) || (!rc && num != ARRAY_SIZE(reqs)) ||
		    (rc && num == ARRAY_SIZE(reqs)))
			stress_result(s, "count", EBADE, 0, 0, 0);
		atomic_fetch_add(&s->invalidates, 1);
	}
	return NULL;
}

static void *stress_objects(void *arg)
{
	unsigned int seed = 6;
	struct stress *s = arg;
	__u32 viommu_id = 0, hwpt_id = 0;
	int rc;

	while (stress_goes_on(s)) {
		__u32 dev_id = s->dev_ids[rand_r(&seed) % 2];

		rc = __viommu_alloc(s->fd, dev_id, s->parent_id, &viommu_id);
		stress_result(s, "vIOMMU alloc", rc, ENOENT, 0, 0);
		if (rc)
			continue;
		rc = __nested_alloc(s->fd, dev_id, viommu_id, 1, &hwpt_id);
		stress_result(s, "HWPT alloc", rc, ENOENT, 0, 0);
		if (!rc)
			stress_result(s, "HWPT destroy",
				      __do_destroy(s->fd, hwpt_id), 0, 0, 0);
		stress_result(s, "vIOMMU destroy",
			      __do_destroy(s->fd, viommu_id), 0, 0, 0);
	}
	return NULL;
}

static void run_stress(struct __test_metadata *_metadata, struct stress *s)
{
	static void *(*const funcs[])(void *) = {
		stress_vdevices, stress_destroy, stress_attach,
		stress_bind, stress_invalidate, stress_objects,
	};
	pthread_t threads[ARRAY_SIZE(funcs)];
	double over;
	unsigned int i;

	s->end = now() + STRESS_SECONDS;
	for (i = 0; i != ARRAY_SIZE(funcs); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, funcs[i], s));
	do {
		usleep(10000);
		over = now();
	} while (stress_goes_on(s));
	for (i = 0; i != ARRAY_SIZE(funcs); i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));

	TH_LOG("%u vDEVICEs, %u attaches, %u translate, %u binds, %u arrays, %u busy",
	       s->allocs, s->attaches, s->translates, s->binds, s->invalidates,
	       s->busy);
	EXPECT_EQ(0, s->failures);
	/* Nobody was left asleep, to be found by a timeout of the kernel */
	EXPECT_GT(STRESS_SLACK_SECONDS, now() - over);
	EXPECT_LE(STRESS_LEAST, s->allocs);
	EXPECT_LE(STRESS_LEAST, s->attaches);
	EXPECT_LE(STRESS_LEAST, s->translates);
	EXPECT_LE(STRESS_LEAST, s->binds);
	EXPECT_LE(STRESS_LEAST, s->invalidates);
}

TEST_F(viommu, stress)
{
	struct stress s = {
		.fd = self->fd,
		.ioas_id = self->ioas_id,
		.parent_id = self->parent_id,
		.viommu_id = self->viommu_id,
		.bypass_id = self->bypass_id,
		.nested_ids = { self->nested_id },
		.stdev_ids = { self->stdev_id },
		.dev_ids = { self->dev_id },
	};
	__u32 dev_id;

	nested_alloc(self->fd, self->dev_id, self->viommu_id, 1,
		     &s.nested_ids[1]);
	mock_dev_add_bind(self->fd, 0, 0, &s.stdev_ids[1], &dev_id);
	s.dev_ids[1] = dev_id;
	run_stress(_metadata, &s);
}

TEST_F(group, stress)
{
	struct stress s = {
		.fd = self->fd,
		.ioas_id = self->ioas_id,
		.parent_id = self->parent_id,
		.viommu_id = self->viommu_id,
		.bypass_id = self->bypass_id,
		.nested_ids = { self->nested_id },
		.stdev_ids = { self->stdev_ids[0], self->stdev_ids[1] },
		.dev_ids = { self->dev_ids[0], self->dev_ids[1] },
	};

	nested_alloc(self->fd, self->dev_ids[0], self->viommu_id, 1,
		     &s.nested_ids[1]);
	run_stress(_metadata, &s);
}

TEST_HARNESS_MAIN
