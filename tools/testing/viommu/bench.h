/* SPDX-License-Identifier: GPL-2.0-only */
/* Figures: instructions, measured a few times, of which the median is printed. */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>
#include <stdlib.h>

#include "counter.h"

#define ROUNDS		9
#define HUGE_PAGE	(2UL << 20)

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof(*(a)))

static inline int by_value(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* A tick or an interrupt may fall into a round: the median has none. */
static inline __u64 median(__u64 *values)
{
	qsort(values, ROUNDS, sizeof(*values), by_value);
	return values[ROUNDS / 2];
}

/* What a look at this counter adds to its count */
static inline __u64 cost_of_a_look(int counter)
{
	__u64 values[ROUNDS];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		__u64 start = counted_by(counter);

		values[i] = counted_by(counter) - start;
	}
	return median(values);
}

static inline void print_figure(const char *name, __u64 hundredths,
				const char *what)
{
	printf("%s\t%llu.%02llu\t%s\n", name, hundredths / 100,
	       hundredths % 100, what);
	fflush(stdout);
}

static inline void set_number(const char *path, unsigned long num)
{
	FILE *f = fopen(path, "w");

	if (!f || fprintf(f, "%lu", num) < 0 || fclose(f))
		die("%s: %s", path, strerror(errno));
}

#endif
