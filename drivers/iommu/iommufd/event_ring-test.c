// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the ring of a vEVENTQ
 *
 * The ring is compared with a log of all that was ever reported: what the ring
 * has to show follows from the log alone. Random schedules put reports between
 * every two steps of a reader, since there they come from another thread. The
 * seed is printed, and event_ring_test.seed= repeats it.
 */
#include <kunit/test.h>
#include <linux/limits.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/random.h>

#include "event_ring.h"

#define RING_SCHEDULES		200
#define RING_STEPS		1500
/* Each step reports that many at most */
#define RING_BURST		20
#define RING_DEPTH_MAX		100
#define RING_EVENT_MAX		32
#define RING_GUARD		64
#define RING_POISON		0xa7

static unsigned long seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "Seed of the random schedules, 0 for a new one");

enum ring_fate {
	RING_WAITS,
	RING_READ,
	RING_LOST,
};

/* All that was reported, and what the reader made of what it got */
struct ring_log {
	struct kunit *test;
	struct rnd_state rnd;
	struct iommufd_event_ring ring;
	u8 *memory;
	u32 event_size;
	/* Sequence of the first event */
	u32 start;
	u32 depth;

	u8 fate[RING_STEPS * RING_BURST];
	u32 num;
	/* Oldest event that waits, if one does */
	u32 oldest;
	u32 waits;
	u32 read;
	u32 lost;
	/* Events that came before this one need no LOST_EVENTS header any more */
	u32 told;

	/* From headers only */
	u32 reader_next;
	u32 reader_lost;
};

static u32 ring_rnd(struct ring_log *log, u32 below)
{
	return prandom_u32_state(&log->rnd) % below;
}

static u32 ring_sequence(struct ring_log *log, u32 n)
{
	return ((u64)log->start + n) % ((u64)INT_MAX + 1);
}

/* Each byte of an event is its own */
static u8 ring_byte(u32 n, u32 i)
{
	return n * 37 + (n >> 8) * 11 + i * 101 + 1;
}

static bool ring_lost_is_due(struct ring_log *log)
{
	return !log->waits && log->num && log->fate[log->num - 1] == RING_LOST &&
	       log->told < log->num;
}

static void ring_init(struct kunit *test, struct ring_log *log, u32 depth,
		      u32 event_size, u32 start)
{
	size_t size = sizeof(struct iommufd_vevent_header) + event_size;
	size_t bytes = depth * size;

	log->test = test;
	log->event_size = event_size;
	log->start = start;
	log->depth = depth;
	log->num = 0;
	log->oldest = 0;
	log->waits = 0;
	log->read = 0;
	log->lost = 0;
	log->told = 0;
	log->reader_next = start;
	log->reader_lost = 0;

	log->memory = kunit_kmalloc(test, bytes + 2 * RING_GUARD, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, log->memory);
	memset(log->memory, RING_POISON, bytes + 2 * RING_GUARD);

	memset(&log->ring, 0, sizeof(log->ring));
	log->ring.slots = log->memory + RING_GUARD;
	log->ring.depth = depth;
	log->ring.size = size;
	log->ring.next_seq = start;
	KUNIT_ASSERT_TRUE(test, iommufd_event_ring_empty(&log->ring));
}

static void ring_exit(struct ring_log *log)
{
	size_t bytes = (size_t)log->ring.depth * log->ring.size;
	struct kunit *test = log->test;

	KUNIT_EXPECT_NULL(test, memchr_inv(log->memory, RING_POISON,
					   RING_GUARD));
	KUNIT_EXPECT_NULL(test, memchr_inv(log->memory + RING_GUARD + bytes,
					   RING_POISON, RING_GUARD));
	kunit_kfree(test, log->memory);
}

static void ring_report(struct ring_log *log)
{
	bool full = log->waits == log->depth;
	struct kunit *test = log->test;
	u8 event[RING_EVENT_MAX];
	u32 sequence = U32_MAX;
	u32 i;

	KUNIT_ASSERT_LT(test, log->num, ARRAY_SIZE(log->fate));
	for (i = 0; i < log->event_size; i++)
		event[i] = ring_byte(log->num, i);

	KUNIT_ASSERT_EQ(test, !full,
			iommufd_event_ring_push(&log->ring, event, &sequence));
	KUNIT_ASSERT_EQ(test, sequence, ring_sequence(log, log->num));

	log->fate[log->num] = full ? RING_LOST : RING_WAITS;
	if (full) {
		log->lost++;
	} else {
		if (!log->waits)
			log->oldest = log->num;
		log->waits++;
	}
	log->num++;
	KUNIT_ASSERT_FALSE(test, iommufd_event_ring_empty(&log->ring));
}

static void ring_report_some(struct ring_log *log, u32 max)
{
	u32 num = max ? ring_rnd(log, max + 1) : 0;

	while (num-- && log->num < ARRAY_SIZE(log->fate))
		ring_report(log);
}

/* The event that waits behind @n, or the end of the log */
static u32 ring_next_waiting(struct ring_log *log, u32 n)
{
	do {
		n++;
	} while (n < log->num && log->fate[n] != RING_WAITS);
	return n;
}

static void ring_check_records(struct ring_log *log, const u8 *records,
			       u32 num)
{
	const struct iommufd_vevent_header *header;
	struct kunit *test = log->test;
	u32 n = log->oldest;
	u32 i, j;

	for (i = 0; i < num; i++) {
		header = (const void *)(records + i * log->ring.size);
		KUNIT_ASSERT_LT(test, n, log->num);
		KUNIT_ASSERT_EQ(test, header->flags, 0);
		KUNIT_ASSERT_EQ(test, header->sequence, ring_sequence(log, n));
		for (j = 0; j < log->event_size; j++)
			KUNIT_ASSERT_EQ(test, ((const u8 *)(header + 1))[j],
					ring_byte(n, j));
		n = ring_next_waiting(log, n);
	}
}

/* What a reader makes of a header */
static void ring_reader_sees(struct ring_log *log, u32 sequence, bool lost)
{
	log->reader_lost += (sequence - log->reader_next) & INT_MAX;
	if (lost)
		log->reader_lost++;
	log->reader_next = (sequence + 1) & INT_MAX;
}

/* Peek, let reports in, and give back up to @max */
static void ring_read(struct ring_log *log, u32 max, u32 burst)
{
	struct kunit *test = log->test;
	u32 num, i, expected;
	void *records = NULL;

	num = iommufd_event_ring_peek(&log->ring, &records);
	/* All up to the end of the memory, and that is where it is */
	expected = min(log->waits, log->depth - log->read % log->depth);
	KUNIT_ASSERT_EQ(test, num, expected);
	ring_check_records(log, records, num);

	ring_report_some(log, burst);
	ring_check_records(log, records, num);

	num = min(num, max);
	for (i = 0; i < num; i++) {
		ring_reader_sees(log, ring_sequence(log, log->oldest), false);
		log->fate[log->oldest] = RING_READ;
		log->oldest = ring_next_waiting(log, log->oldest);
	}
	iommufd_event_ring_pop(&log->ring, num);
	log->read += num;
	log->waits -= num;
	KUNIT_ASSERT_EQ(test, iommufd_event_ring_empty(&log->ring),
			!log->waits && !ring_lost_is_due(log));
}

/* Ask for a loss, let reports in, and perhaps tell of it */
static void ring_read_lost(struct ring_log *log, bool tell, u32 burst)
{
	struct iommufd_vevent_header header = { U32_MAX, U32_MAX };
	bool due = ring_lost_is_due(log);
	struct kunit *test = log->test;
	u32 num = log->num;

	KUNIT_ASSERT_EQ(test, due,
			iommufd_event_ring_peek_lost(&log->ring, &header));
	if (!due)
		return;
	KUNIT_ASSERT_EQ(test, header.flags, IOMMU_VEVENTQ_FLAG_LOST_EVENTS);
	KUNIT_ASSERT_EQ(test, header.sequence, ring_sequence(log, num - 1));

	ring_report_some(log, burst);
	if (!tell)
		return;
	ring_reader_sees(log, header.sequence, true);
	iommufd_event_ring_pop_lost(&log->ring, header.sequence);
	log->told = num;
	KUNIT_ASSERT_EQ(test, iommufd_event_ring_empty(&log->ring),
			!log->waits && !ring_lost_is_due(log));
}

static void ring_drain(struct ring_log *log)
{
	while (log->waits)
		ring_read(log, U32_MAX, 0);
	ring_read_lost(log, true, 0);
	KUNIT_ASSERT_TRUE(log->test, iommufd_event_ring_empty(&log->ring));
	/* Nothing twice, nothing missing, and the reader knows how many */
	KUNIT_ASSERT_EQ(log->test, log->read + log->lost, log->num);
	KUNIT_ASSERT_EQ(log->test, log->reader_lost, log->lost);
	KUNIT_ASSERT_EQ(log->test, log->reader_next,
			ring_sequence(log, log->num));
}

static struct ring_log *ring_log_alloc(struct kunit *test)
{
	struct ring_log *log = kunit_kzalloc(test, sizeof(*log), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, log);
	return log;
}

static void ring_test_random(struct kunit *test)
{
	static const u32 depths[] = { 1, 2, 3, 4, 7, 8, 64, RING_DEPTH_MAX };
	static const u32 sizes[] = { 4, 16, 32 };
	struct ring_log *log = ring_log_alloc(test);
	u64 used_seed = seed ?: get_random_u32() | 1;
	u64 lost = 0, headers = 0, wraps = 0;
	u32 schedule, step;

	kunit_info(test, "event_ring_test.seed=%llu\n", used_seed);
	prandom_seed_state(&log->rnd, used_seed);

	for (schedule = 0; schedule < RING_SCHEDULES; schedule++) {
		u32 depth = depths[ring_rnd(log, ARRAY_SIZE(depths))];
		u32 size = sizes[ring_rnd(log, ARRAY_SIZE(sizes))];
		u32 start = 0, burst, report, told;

		/* Half of them meet the wrap of the sequence */
		if (ring_rnd(log, 2))
			start = INT_MAX - ring_rnd(log, 2000);
		/* Some readers keep up and some do not */
		burst = 1 + ring_rnd(log, RING_BURST / 2);
		report = 1 + ring_rnd(log, 9);

		ring_init(test, log, depth, size, start);
		for (step = 0; step < RING_STEPS; step++) {
			if (ring_rnd(log, 10) < report)
				ring_report_some(log, burst);
			else if (ring_rnd(log, 3))
				ring_read(log, ring_rnd(log, depth + 1),
					  ring_rnd(log, 2) ? burst : 0);
			else if (!ring_rnd(log, 8))
				ring_drain(log);
			told = log->told;
			ring_read_lost(log, ring_rnd(log, 2),
				       ring_rnd(log, 2) ? burst : 0);
			headers += told != log->told;
		}
		ring_drain(log);
		lost += log->lost;
		wraps += ring_sequence(log, log->num) < start;
		ring_exit(log);
	}

	/* It was no test if it met none of these */
	KUNIT_EXPECT_GT(test, lost, RING_SCHEDULES);
	KUNIT_EXPECT_GT(test, headers, RING_SCHEDULES / 2);
	KUNIT_EXPECT_GT(test, wraps, RING_SCHEDULES / 10);
}

static void ring_test_depth_one(struct kunit *test)
{
	struct ring_log *log = ring_log_alloc(test);
	u32 i;

	ring_init(test, log, 1, 4, 0);
	for (i = 0; i < 5; i++) {
		/* One fits, and two more do not */
		ring_report(log);
		ring_report(log);
		ring_report(log);
		KUNIT_ASSERT_EQ(test, log->waits, 1);
		/* The loss is not told in front of the event */
		ring_read_lost(log, true, 0);
		ring_read(log, 1, 0);
		KUNIT_ASSERT_TRUE(test, ring_lost_is_due(log));
		/* A header takes no slot */
		if (i & 1)
			ring_read_lost(log, true, 0);
	}
	ring_drain(log);
	KUNIT_EXPECT_EQ(test, log->read, 5);
	KUNIT_EXPECT_EQ(test, log->lost, 10);
	ring_exit(log);
}

static void ring_test_lost_vanishes(struct kunit *test)
{
	struct ring_log *log = ring_log_alloc(test);
	struct iommufd_vevent_header header;
	u32 i;

	ring_init(test, log, 4, 16, 0);
	for (i = 0; i < 7; i++)
		ring_report(log);
	ring_read(log, 4, 0);
	KUNIT_EXPECT_TRUE(test,
			  iommufd_event_ring_peek_lost(&log->ring, &header));
	KUNIT_EXPECT_EQ(test, header.sequence, 6);
	/* An event behind it has the gap, so the header is gone for good */
	ring_report(log);
	KUNIT_EXPECT_FALSE(test,
			   iommufd_event_ring_peek_lost(&log->ring, &header));
	ring_read(log, 1, 0);
	KUNIT_EXPECT_FALSE(test,
			   iommufd_event_ring_peek_lost(&log->ring, &header));
	KUNIT_EXPECT_TRUE(test, iommufd_event_ring_empty(&log->ring));
	KUNIT_EXPECT_EQ(test, log->reader_lost, 3);
	ring_exit(log);
}

static void ring_test_lost_while_told(struct kunit *test)
{
	struct ring_log *log = ring_log_alloc(test);
	struct iommufd_vevent_header header, newer;
	u32 i;

	ring_init(test, log, 2, 4, 0);
	for (i = 0; i < 3; i++)
		ring_report(log);
	ring_read(log, 2, 0);
	KUNIT_ASSERT_TRUE(test,
			  iommufd_event_ring_peek_lost(&log->ring, &header));
	KUNIT_EXPECT_EQ(test, header.sequence, 2);

	/* While the header is on its way to the reader the ring overflows again */
	for (i = 0; i < 4; i++)
		ring_report(log);
	iommufd_event_ring_pop_lost(&log->ring, header.sequence);
	log->told = 3;
	ring_reader_sees(log, header.sequence, true);

	ring_read(log, 2, 0);
	KUNIT_ASSERT_TRUE(test,
			  iommufd_event_ring_peek_lost(&log->ring, &newer));
	KUNIT_EXPECT_EQ(test, newer.sequence, 6);
	ring_drain(log);
	ring_exit(log);
}

static void ring_test_sequence_wrap(struct kunit *test)
{
	struct ring_log *log = ring_log_alloc(test);
	struct iommufd_vevent_header header;
	u32 sequence, i;

	/* Lost at the last number, at the first one, and across both */
	for (i = 0; i < 4; i++) {
		ring_init(test, log, 2, 4, INT_MAX - i);
		ring_report(log);
		ring_report(log);
		ring_report(log);
		ring_report(log);
		sequence = (INT_MAX - i + 3) & INT_MAX;
		ring_read(log, 2, 0);
		KUNIT_ASSERT_TRUE(test, iommufd_event_ring_peek_lost(&log->ring,
								     &header));
		KUNIT_EXPECT_EQ(test, header.sequence, sequence);
		ring_drain(log);
		KUNIT_EXPECT_EQ(test, log->reader_lost, 2);
		ring_report(log);
		ring_drain(log);
		ring_exit(log);
	}
}

static void ring_test_index_wrap(struct kunit *test)
{
	struct ring_log *log = ring_log_alloc(test);
	u32 i;

	/* Every place that the oldest can have, with the ring full */
	ring_init(test, log, 5, 32, 0);
	for (i = 0; i < 50; i++) {
		while (log->waits < 5)
			ring_report(log);
		ring_read(log, 1 + i % 5, 0);
	}
	ring_drain(log);
	KUNIT_EXPECT_EQ(test, log->lost, 0);
	ring_exit(log);
}

static struct kunit_case ring_test_cases[] = {
	KUNIT_CASE(ring_test_depth_one),
	KUNIT_CASE(ring_test_lost_vanishes),
	KUNIT_CASE(ring_test_lost_while_told),
	KUNIT_CASE(ring_test_sequence_wrap),
	KUNIT_CASE(ring_test_index_wrap),
	KUNIT_CASE_SLOW(ring_test_random),
	{}
};

static struct kunit_suite ring_test_suite = {
	.name = "iommufd-event-ring",
	.test_cases = ring_test_cases,
};

kunit_test_suite(ring_test_suite);

MODULE_IMPORT_NS(IOMMUFD_INTERNAL);
MODULE_DESCRIPTION("KUnit tests of the ring of a vEVENTQ");
MODULE_LICENSE("GPL");
