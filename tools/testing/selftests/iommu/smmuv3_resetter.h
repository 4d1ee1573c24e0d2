/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread that resets a device. A test knows that the device is in reset while VFIO
 * refuses to attach it with EBUSY, or while its STE says abort.
 */
#ifndef SELFTEST_SMMUV3_RESETTER_H
#define SELFTEST_SMMUV3_RESETTER_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "smmuv3_test.h"

/* IHI0070 6.3.23, 6.3.24, 5.1, 5.2 */
#define SMMU_STRTAB_BASE	0x80
#define SMMU_STRTAB_BASE_CFG	0x88
#define STRTAB_ADDR		0x000fffffffffffc0ULL
#define STRTAB_FMT_2LVL(cfg)	(((cfg) >> 16) & 3)
#define STRTAB_SPLIT(cfg)	(((cfg) >> 6) & 0x1f)
#define STE_SIZE		64
#define STE_CONFIG(word)	(((word) >> 1) & 7)
#define STE_CONFIG_ABORT	0
#define STE_CONFIG_S2		6
#define STE_CONFIG_NESTED	7

static __u64 host_memory(__u64 addr)
{
	__u64 page = addr & ~(GUEST_PAGE - 1), val;
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	void *mem;

	if (fd < 0)
		die("/dev/mem: %s", strerror(errno));
	mem = mmap(NULL, GUEST_PAGE, PROT_READ, MAP_SHARED, fd, page);
	if (mem == MAP_FAILED)
		die("/dev/mem at %#llx: %s", page, strerror(errno));
	close(fd);
	val = __atomic_load_n((__u64 *)(mem + (addr - page)), __ATOMIC_RELAXED);
	munmap(mem, GUEST_PAGE);
	return le64toh(val);
}

/* The StreamID is the Requester ID. */
static unsigned int ste_config(const struct host *host, const char *bdf)
{
	__u32 cfg = host_reg(host, SMMU_STRTAB_BASE_CFG);
	__u64 table = host_reg(host, SMMU_STRTAB_BASE) |
		      (__u64)host_reg(host, SMMU_STRTAB_BASE + 4) << 32;
	unsigned int bus, dev, fn, sid, split;

	if (sscanf(bdf, "%*x:%x:%x.%x", &bus, &dev, &fn) != 3)
		die("%s is no address of a PCI device", bdf);
	sid = bus << 8 | dev << 3 | fn;
	table &= STRTAB_ADDR;
	if (STRTAB_FMT_2LVL(cfg)) {
		split = STRTAB_SPLIT(cfg);
		table = host_memory(table + (sid >> split) * sizeof(__u64)) &
			STRTAB_ADDR;
		sid &= (1U << split) - 1;
	}
	return STE_CONFIG(host_memory(table + sid * STE_SIZE));
}

struct resetter {
	int (*reset)(void *arg);
	int (*attach)(void *arg);	/* to another domain than the last time */
	void *arg;
	unsigned int rounds;
	unsigned int failed;
	atomic_uint done;
	pthread_t thread;
};

static void *resetter_runs(void *arg)
{
	struct resetter *r = arg;

	while (r->done != r->rounds) {
		if (r->reset(r->arg))
			r->failed++;
		r->done++;
	}
	return NULL;
}

static void reset_start(struct resetter *r, int (*reset)(void *arg),
			int (*attach)(void *arg), void *arg,
			unsigned int rounds)
{
	r->reset = reset;
	r->attach = attach;
	r->arg = arg;
	r->rounds = rounds;
	r->failed = 0;
	r->done = 0;
	must(pthread_create(&r->thread, NULL, resetter_runs, r),
	     "pthread_create");
}

/* Waits for the last one, and returns how many have failed. */
static unsigned int resets_failed(struct resetter *r)
{
	must(pthread_join(r->thread, NULL), "pthread_join");
	return r->failed;
}

/* Waits until the device is in reset, or all resets are over. */
static bool in_reset(struct resetter *r)
{
	int rc;

	do {
		rc = r->attach(r->arg);
		if (rc == EBUSY)
			return true;
		must(rc, "attach");
	} while (r->done != r->rounds);
	return false;
}

#endif
