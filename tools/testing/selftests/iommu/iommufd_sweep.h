/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Let each step of a call fail once
 *
 * A call is repeated with the first, second, third, ... place that can fail made
 * to fail, until it succeeds without having met the place. Between the calls
 * everything must be as before: same objects in the driver, same attachment, and
 * the parents can be destroyed in the end. The kernel needs CONFIG_FAILSLAB; with
 * CONFIG_FAULT_INJECTION_USERCOPY the copies to and from user space fail as well.
 */
#ifndef __SELFTEST_IOMMUFD_SWEEP_H
#define __SELFTEST_IOMMUFD_SWEEP_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More places than a call has */
#define NTH_MAX 400

static int fail_nth_fd = -1;

static int write_str(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY);
	ssize_t rc;

	if (fd < 0)
		return -1;
	rc = write(fd, val, strlen(val));
	close(fd);
	return rc == (ssize_t)strlen(val) ? 0 : -1;
}

/* Write @val to file @name of directory @dir. Return 0 or -1. */
static inline int write_in(const char *dir, const char *name, const char *val)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return write_str(path, val);
}

/* Return the number after @key in a file of "key number" lines, -1 if absent */
static inline long read_key(const char *path, const char *key)
{
	size_t len = strlen(key);
	char line[200];
	long val = -1;
	FILE *f;

	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && strspn(line + len, ": \t"))
			val = strtol(line + len + strspn(line + len, ": \t"),
				     NULL, 10);
	fclose(f);
	return val;
}

/* Count the pins that the whole system holds */
static inline long pins(void)
{
	write_str("/proc/sys/vm/stat_refresh", "1");
	return read_key("/proc/vmstat", "nr_foll_pin_acquired") -
	       read_key("/proc/vmstat", "nr_foll_pin_released");
}

/* Returns false if the kernel has no fault injection */
static bool fail_nth_open(void)
{
	static const char dir[] = "/sys/kernel/debug";
	struct dirent *dent;
	char path[400];
	DIR *d;

	/* Allocations that may sleep are left out by default */
	if (write_str("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"))
		return false;
	write_str("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");

	d = opendir(dir);
	if (!d)
		return false;
	while ((dent = readdir(d))) {
		if (strncmp(dent->d_name, "fail", 4))
			continue;
		snprintf(path, sizeof(path), "%s/%s/verbose", dir,
			 dent->d_name);
		write_str(path, "0");
	}
	closedir(d);

	fail_nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	return fail_nth_fd >= 0;
}

static void fail_nth_arm(unsigned int nth)
{
	char buf[20];
	int len = snprintf(buf, sizeof(buf), "%u", nth);

	if (pwrite(fail_nth_fd, buf, len, 0) != len)
		abort();
}

/* Returns whether something was made to fail */
static bool fail_nth_disarm(void)
{
	char buf[20] = "";
	bool fired = false;

	/* Reading the file is a place that can fail, and so is writing it */
	if (pread(fail_nth_fd, buf, sizeof(buf) - 1, 0) > 0)
		fired = !atoi(buf);
	while (pwrite(fail_nth_fd, "0", 1, 0) != 1)
		if (errno != EFAULT && errno != ENOMEM)
			abort();
	return fired;
}

/*
 * @_call gives 0 or an errno. @_same runs after each call that failed, and
 * @_undo after each that did not. At least @_min places must exist, or the sweep
 * would not have seen what it is there for.
 */
#define SWEEP(_min, _call, _same, _undo)                                     \
	({                                                                   \
		unsigned int __nth, __failed = 0;                            \
		bool __fired = true;                                         \
		int __rc;                                                    \
		for (__nth = 1; __fired; __nth++) {                          \
			ASSERT_LT(__nth, NTH_MAX);                           \
			fail_nth_arm(__nth);                                 \
			__rc = _call;                                        \
			__fired = fail_nth_disarm();                         \
			if (!__rc) {                                         \
				_undo;                                       \
				continue;                                    \
			}                                                    \
			ASSERT_TRUE(__fired) {                               \
				TH_LOG("step %u: %s", __nth, strerror(__rc));\
			}                                                    \
			__failed++;                                          \
			EXPECT_TRUE(__rc == ENOMEM || __rc == EIO ||         \
				    __rc == EFAULT || __rc == ENOENT ||      \
				    __rc == EINVAL) {                        \
				TH_LOG("step %u: %s", __nth, strerror(__rc));\
			}                                                    \
			_same;                                               \
		}                                                            \
		EXPECT_LE(_min, __failed);                                   \
	})

#endif
