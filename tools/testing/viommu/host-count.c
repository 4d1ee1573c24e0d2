// SPDX-License-Identifier: GPL-2.0-only
/*
 * Count what the machine executes while a guest says that it is at work: reads
 * the guest's words from a pipe until it closes, and prints as bench.c does.
 *
 *   host-count PIPE
 */
#include <stdio.h>

#include "counter.h"

enum { ALL, HOST, HOST_KERNEL, COUNTERS };

static int counters[COUNTERS];

static void read_all(__u64 *values)
{
	int i;

	for (i = 0; i < COUNTERS; i++)
		values[i] = counted_by(counters[i]);
}

static void report(const char *name, const char *what, unsigned long operations,
		   const __u64 *start, const __u64 *end)
{
	double all = end[ALL] - start[ALL];
	double host = end[HOST] - start[HOST];
	double kernel = end[HOST_KERNEL] - start[HOST_KERNEL];
	double guest = all - host;

	if (!operations || guest <= 0 || kernel <= 0 || host <= kernel)
		die("%s: the counters cannot be right", name);
	printf("%s\t%.2f\t%s: per 10^9 instructions\n", name,
	       operations * 1e9 / all, what);
	printf("%s-all\t%.2f\t  instructions for one\n", name, all / operations);
	printf("%s-guest\t%.2f\t    in the guest\n", name, guest / operations);
	printf("%s-vmm\t%.2f\t    in the VMM\n", name,
	       (host - kernel) / operations);
	printf("%s-kernel\t%.2f\t    in the host's kernel\n", name,
	       kernel / operations);
	printf("%s-share\t%.2f\t  the host's share of them, in percent\n", name,
	       host * 100 / all);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	__u64 start[COUNTERS] = {}, end[COUNTERS];
	unsigned long operations;
	bool started = false, finished = false;
	char line[256], name[33], what[41];
	FILE *words;

	if (argc != 2)
		die("host-count PIPE");
	counters[ALL] = counter_open(-1, 0, 0);
	counters[HOST] = counter_open(-1, 0, WITHOUT_GUESTS);
	counters[HOST_KERNEL] = counter_open(-1, 0, WITHOUT_GUESTS | WITHOUT_USER);
	words = fopen(argv[1], "r");
	if (!words)
		die("%s: %s", argv[1], strerror(errno));
	while (fgets(line, sizeof(line), words)) {
		read_all(end);
		if (!strncmp(line, "@@ start", 8)) {
			started = true;
			read_all(start);
		} else if (sscanf(line, "@@ done %lu %32s %40[^\r\n]",
				  &operations, name, what) == 3) {
			if (!started)
				die("%s: the guest never started", name);
			report(name, what, operations, start, end);
			started = false;
		} else if (!strcmp(line, "@@ done\n") || !strcmp(line, "@@ done\r\n")) {
			/* its init's last word */
			finished = true;
		} else if (strncmp(line, "@@", 2)) {
			printf("%s", line);
			fflush(stdout);
		}
	}
	if (!finished)
		die("the guest ended early");
	return 0;
}
