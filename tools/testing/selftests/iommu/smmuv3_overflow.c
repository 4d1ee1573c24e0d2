// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events on an SMMUv3 that are more than a queue takes. The devices are QEMU's "edu",
 * see smmuv3_lib.h for what it needs.
 */
#include <pthread.h>

#include "smmuv3_testbed.h"

/* ---- Overflow ---- */

FIXTURE(small_queue)
{
	struct testbed s;
};

FIXTURE_SETUP(small_queue)
{
	const char *lack = testbed_lacks(2);

	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 2, 4);
}

FIXTURE_TEARDOWN(small_queue)
{
	EXPECT_TRUE(testbed_down(&self->s, 2));
}

TEST_F(small_queue, queue_overflows_and_recovers)
{
	struct testbed *s = &self->s;
	struct guest *a = &s->guest[0], *b = &s->guest[1];
	struct vevent events[8];
	__u32 next, i;

	guest_start(a, VSID);
	guest_start(b, VSID);
	burst(s, &a->edu);
	next = testbed_written(s);
	ASSERT_LT(100, next);
	/* Who waits behind that gets its event all the same. */
	poke(b, VA2);
	EXPECT_POKE(&s->q[1], 0, VSID, VA2);

	/* The first four, and a word that there were more */
	ASSERT_EQ(5, vevent_read(&s->q[0], events, 8));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, events[i].header.flags);
		EXPECT_EQ(i, events[i].header.sequence);
		EXPECT_EQ(VSID, vevent_decode(&events[i]).sid);
	}
	EXPECT_TRUE(is_poke(&events[0], 0, VSID, VA));
	EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, events[4].header.flags);
	EXPECT_EQ(next - 1, events[4].header.sequence);
	EXPECT_TRUE(is_empty(&s->q[0]));

	/* It holds four again, and not one more. */
	for (i = 0; i < 6; i++)
		poke(a, VA + i * GUEST_PAGE);
	poke(b, VA2);
	EXPECT_POKE(&s->q[1], 1, VSID, VA2);
	ASSERT_EQ(2, vevent_read(&s->q[0], events, 2));
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(is_poke(&events[i], next + i, VSID,
				    VA + i * GUEST_PAGE));

	/* What comes after a loss shows it by its number. */
	poke(a, VA2);
	poke(b, VA2);
	EXPECT_POKE(&s->q[1], 2, VSID, VA2);
	ASSERT_EQ(3, vevent_read(&s->q[0], events, 8));
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(is_poke(&events[i], next + 2 + i, VSID,
				    VA + (2 + i) * GUEST_PAGE));
	EXPECT_TRUE(is_poke(&events[2], next + 6, VSID, VA2));
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_HOST_SILENT(s);
}

static void *storm(void *arg)
{
	struct storm *storm = arg;

	for (; !storm->stop; storm->rounds++)
		edu_write(&storm->guest->edu, VA, 0, GUEST_PAGE);
	return NULL;
}

/* A guest that faults as fast as it can, and does not even read */
TEST_F(small_queue, storm_starves_nobody)
{
	struct testbed *s = &self->s;
	struct guest *b = &s->guest[1];
	struct storm st = { .guest = &s->guest[0] };
	pthread_t thread;
	__u32 i;

	guest_start(&s->guest[0], VSID);
	guest_start(b, VSID);
	ASSERT_EQ(0, pthread_create(&thread, NULL, storm, &st));
	for (i = 0; i < 15 || st.rounds <= 5; i++) {
		poke(b, VA + i * 4);
		EXPECT_POKE(&s->q[1], i, VSID, VA + i * 4);
	}
	st.stop = true;
	pthread_join(thread, NULL);
	EXPECT_TRUE(is_empty(&s->q[1]));
	EXPECT_LT(5, st.rounds);
	EXPECT_LT(500, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

TEST_HARNESS_MAIN
