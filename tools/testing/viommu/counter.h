/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions counted by the PMU, which works where the emulator counts them
 * too (-icount). Time that a CPU is idle is left out.
 */
#ifndef COUNTER_H
#define COUNTER_H

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "smmuv3_lib.h"

#define ARMV8_INST_RETIRED 0x08

enum {
	WITHOUT_USER = 1,	/* of the host; guests have none to leave out */
	WITHOUT_GUESTS = 2,
};

/* Of one program, or with @pid -1 of everything on @cpu */
static inline int counter_open(pid_t pid, int cpu, int without)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_RAW,
		.size = sizeof(attr),
		.config = ARMV8_INST_RETIRED,
		.pinned = 1,
		.exclude_user = !!(without & WITHOUT_USER),
		.exclude_guest = !!(without & WITHOUT_GUESTS),
		.exclude_hv = 1,
	};
	int fd = syscall(__NR_perf_event_open, &attr, pid, cpu, -1, 0);

	if (fd < 0)
		die("no PMU that counts instructions: %s (QEMU: -icount)",
		    strerror(errno));
	return fd;
}

static inline __u64 counted_by(int fd)
{
	__u64 value;

	if (read(fd, &value, sizeof(value)) != sizeof(value))
		die("the PMU has been taken away");
	return value;
}

#endif
