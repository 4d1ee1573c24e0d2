// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the steps of a move
 *
 * Fake steps write down what is called. Each of them fails in turn, and the test
 * compares what was called with what must be: undo in the opposite order, of
 * exactly the steps that had succeeded.
 */
#include <kunit/test.h>
#include <linux/module.h>

#include "iommufd_private.h"

#define FAKE_STEPS 3

struct fake_move {
	struct iommufd_move move;
	/* What was called, e.g. "p0 p1 attach c1 c0" */
	char log[120];
	size_t len;
	/* The call that fails, as it is logged, or NULL */
	const char *fails;
};

static int fake_call(struct iommufd_move *move, const char *what)
{
	struct fake_move *fake = container_of(move, struct fake_move, move);

	fake->len += scnprintf(fake->log + fake->len,
			       sizeof(fake->log) - fake->len, "%s%s",
			       fake->len ? " " : "", what);
	return fake->fails && !strcmp(fake->fails, what) ? -ENOSPC : 0;
}

#define DEFINE_FAKE_STEP(_n)                                           \
	static int fake_prepare##_n(struct iommufd_move *move)         \
	{                                                              \
		return fake_call(move, "p" #_n);                       \
	}                                                              \
	static int fake_settle##_n(struct iommufd_move *move)          \
	{                                                              \
		return fake_call(move, "s" #_n);                       \
	}                                                              \
	static void fake_commit##_n(struct iommufd_move *move)         \
	{                                                              \
		fake_call(move, "c" #_n);                              \
	}                                                              \
	static void fake_abort##_n(struct iommufd_move *move)          \
	{                                                              \
		fake_call(move, "a" #_n);                              \
	}                                                              \
	static const struct iommufd_move_step fake_step##_n = {        \
		.prepare = fake_prepare##_n,                           \
		.settle = fake_settle##_n,                             \
		.commit = fake_commit##_n,                             \
		.abort = fake_abort##_n,                               \
	}

DEFINE_FAKE_STEP(0);
DEFINE_FAKE_STEP(1);
DEFINE_FAKE_STEP(2);

static const struct iommufd_move_step *const fake_steps[FAKE_STEPS] = {
	&fake_step0,
	&fake_step1,
	&fake_step2,
};

/* A step that has nothing to do, between two that have */
static const struct iommufd_move_step fake_empty_step = {};

static const struct iommufd_move_step *const sparse_steps[FAKE_STEPS] = {
	&fake_step0,
	&fake_empty_step,
	&fake_step2,
};

static int fake_attach(struct iommufd_move *move)
{
	return fake_call(move, "attach");
}

static void fake_detach(struct iommufd_move *move)
{
	fake_call(move, "detach");
}

/* Only whether they are NULL counts */
static struct iommufd_hw_pagetable fake_from, fake_to;

struct move_case {
	const char *fails;
	const char *expected;
};

static void run_cases(struct kunit *test,
		      const struct iommufd_move_step *const *steps,
		      struct iommufd_hw_pagetable *from,
		      struct iommufd_hw_pagetable *to,
		      const struct move_case *rows, unsigned int num)
{
	unsigned int i;

	for (i = 0; i != num; i++) {
		const char *fails = rows[i].fails ? rows[i].fails : "nothing";
		struct fake_move fake = {};
		int rc;

		fake.move.from = from;
		fake.move.to = to;
		fake.fails = rows[i].fails;
		rc = iommufd_move_run(&fake.move, steps, FAKE_STEPS,
				      fake_attach, fake_detach);

		KUNIT_EXPECT_EQ_MSG(test, rc, rows[i].fails ? -ENOSPC : 0,
				    "%s fails", fails);
		KUNIT_EXPECT_STREQ_MSG(test, fake.log, rows[i].expected,
				       "%s fails", fails);
	}
}

static void attach_test_attach(struct kunit *test)
{
	static const struct move_case rows[] = {
		{ NULL, "p0 p1 p2 attach s0 s1 s2 c2 c1 c0" },
		{ "p0", "p0" },
		{ "p1", "p0 p1 a0" },
		{ "p2", "p0 p1 p2 a1 a0" },
		{ "attach", "p0 p1 p2 attach a2 a1 a0" },
		{ "s0", "p0 p1 p2 attach s0 detach a2 a1 a0" },
		{ "s1", "p0 p1 p2 attach s0 s1 detach a2 a1 a0" },
		{ "s2", "p0 p1 p2 attach s0 s1 s2 detach a2 a1 a0" },
	};

	run_cases(test, fake_steps, NULL, &fake_to, rows, ARRAY_SIZE(rows));
}

static void attach_test_replace(struct kunit *test)
{
	static const struct move_case rows[] = {
		{ NULL, "p0 p1 p2 attach c2 c1 c0" },
		{ "p0", "p0" },
		{ "p1", "p0 p1 a0" },
		{ "p2", "p0 p1 p2 a1 a0" },
		{ "attach", "p0 p1 p2 attach a2 a1 a0" },
	};

	run_cases(test, fake_steps, &fake_from, &fake_to, rows,
		  ARRAY_SIZE(rows));
}

static void attach_test_detach(struct kunit *test)
{
	static const struct move_case rows[] = {
		{ NULL, "p0 p1 p2 attach c2 c1 c0" },
	};

	run_cases(test, fake_steps, &fake_from, NULL, rows,
		  ARRAY_SIZE(rows));
}

static void attach_test_step_without_calls(struct kunit *test)
{
	static const struct move_case rows[] = {
		{ NULL, "p0 p2 attach s0 s2 c2 c0" },
		{ "p2", "p0 p2 a0" },
		{ "attach", "p0 p2 attach a2 a0" },
	};

	run_cases(test, sparse_steps, NULL, &fake_to, rows,
		  ARRAY_SIZE(rows));
}

static struct kunit_case attach_test_cases[] = {
	KUNIT_CASE(attach_test_attach),
	KUNIT_CASE(attach_test_replace),
	KUNIT_CASE(attach_test_detach),
	KUNIT_CASE(attach_test_step_without_calls),
	{}
};

static struct kunit_suite attach_test_suite = {
	.name = "iommufd-attach",
	.test_cases = attach_test_cases,
};

kunit_test_suite(attach_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of the steps of a move");
MODULE_LICENSE("GPL");
