// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the calls of a VMM and a guest's faults cost, in instructions that the
 * kernel executes for them. To be run where the emulator counts (-icount) and on
 * one CPU: then two runs agree. Prints "name<TAB>instructions" and what the name
 * means.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "bench-memory.h"
#include "lone_edu.h"
#include "smmuv3_lib.h"
#include "smmuv3_vevent.h"

#define ASID		1
#define VSID		0x100
#define VA		0x5000000000UL
#define NOTHING_THERE	0x6000000000UL
#define DMA_SIZE	4096
#define STORM		4	/* DMAs, each of which faults many times */

static struct vm vm;
static struct edu edu;
static struct s1 s1;
static __u32 viommu, vdevice, nested[2];
static struct iommu_viommu_arm_smmuv3_invalidate cmds[4096];

/* --------------------------------------------------------------- counting -- */

static int counter;	/* of this program */
static int cpu_counter;	/* of everything, idle time included */

static __u64 counted(void)
{
	return counted_by(counter);
}

static __u64 cost_of_counting;

/* --------------------------------------------------------------- measured -- */

static void invalidate(__u32 num)
{
	__u32 done = num;
	int rc = __viommu_invalidate(&vm, viommu, cmds, &done);

	if (rc || done != num)
		die("HWPT_INVALIDATE of %u: %s, %u done", num, strerror(rc),
		    done);
}

static void do_syscall(void)
{
	syscall(__NR_getppid);
}

static void do_read(void)
{
	static int null = -1;
	char byte;

	if (null < 0)
		null = open("/dev/null", O_RDONLY);
	if (read(null, &byte, 1))
		die("/dev/null is not empty");
}

static void do_bad_ioctl(void)
{
	ioctl(vm.iommufd, _IO(IOMMUFD_TYPE, 0xff), NULL);
}

static bool can_probe(void)
{
	__u32 num = 0;

	return !__viommu_invalidate(&vm, viommu, cmds, &num);
}

static void do_probe(void)
{
	invalidate(0);
}

static void do_one(void)
{
	invalidate(1);
}

static void do_64(void)
{
	invalidate(64);
}

static void do_4096(void)
{
	invalidate(4096);
}

static void do_vdevice_alloc(void)
{
	vdevice = vdevice_alloc(&vm, viommu, edu.dev_id, VSID);
}

static void do_vdevice_destroy(void)
{
	iommu_destroy(&vm, vdevice);
}

static void do_attach(void)
{
	static int i;

	edu_attach(&edu, nested[i++ & 1]);
}

static void nothing(void)
{
}

static void attach_first(void)
{
	vdevice = vdevice_alloc(&vm, viommu, edu.dev_id, VSID);
	edu_attach(&edu, nested[1]);
}

static void detach(void)
{
	edu_detach(&edu);
	iommu_destroy(&vm, vdevice);
}

static const struct {
	const char *name;
	const char *what;
	void (*before)(void);	/* each call of op, not counted */
	void (*op)(void);
	void (*after)(void);	/* each call of op, not counted */
	int calls;		/* per round */
	int per;		/* what one call does so many times */
} figures[] = {
	{ "syscall", "a system call that does nothing",
	  NULL, do_syscall, NULL, 1000, 1 },
	{ "read", "a read of /dev/null",
	  NULL, do_read, NULL, 1000, 1 },
	{ "ioctl", "an ioctl that iommufd does not know",
	  NULL, do_bad_ioctl, NULL, 1000, 1 },
	{ "invalidate-0", "HWPT_INVALIDATE without a command",
	  NULL, do_probe, NULL, 1000, 1 },
	{ "invalidate-1", "HWPT_INVALIDATE, one TLBI_NH_VA",
	  NULL, do_one, NULL, 1000, 1 },
	{ "invalidate-64", "HWPT_INVALIDATE of 64, per command",
	  NULL, do_64, NULL, 100, 64 },
	{ "invalidate-4096", "HWPT_INVALIDATE of 4096, per command",
	  NULL, do_4096, NULL, 5, 4096 },
	{ "vdevice-alloc", "VDEVICE_ALLOC",
	  nothing, do_vdevice_alloc, do_vdevice_destroy, 100, 1 },
	{ "vdevice-destroy", "DESTROY of a vDEVICE",
	  do_vdevice_alloc, do_vdevice_destroy, nothing, 100, 1 },
	{ "attach", "replace of a nested domain by another",
	  NULL, do_attach, NULL, 100, 1 },
};

/* In hundredths of an instruction */
static __u64 measure(unsigned int n)
{
	int calls = figures[n].calls, round, i;
	__u64 values[ROUNDS];

	for (round = 0; round < ROUNDS; round++) {
		__u64 sum = 0, start;

		if (!figures[n].before) {
			start = counted();
			for (i = 0; i < calls; i++)
				figures[n].op();
			sum = counted() - start - cost_of_counting;
		} else {
			for (i = 0; i < calls; i++) {
				figures[n].before();
				start = counted();
				figures[n].op();
				sum += counted() - start - cost_of_counting;
				figures[n].after();
			}
		}
		values[round] = sum * 100 / calls / figures[n].per;
	}
	return median(values);
}

/* ----------------------------------------------------------------- events -- */

static void storm(void)
{
	int i;

	for (i = 0; i < STORM; i++)
		edu_read(&edu, NOTHING_THERE, 0, DMA_SIZE);
}

/* Reads all there is, so many at a time; returns how many records there were. */
static unsigned int drain(struct veventq *q, unsigned int at_a_time)
{
	static struct vevent events[64];
	unsigned int n, records = 0;

	while ((n = vevent_read(q, events, at_a_time)))
		records += n - vevent_lost(&events[n - 1]);
	return records;
}

/* What the machine does anyway while DMAs run that fault nowhere */
static __u64 cost_of_quiet(void)
{
	__u64 values[ROUNDS], start;
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		start = counted_by(cpu_counter);
		for (i = 0; i < STORM; i++)
			edu_read(&edu, VA, 0, DMA_SIZE);
		values[round] = counted_by(cpu_counter) - start;
	}
	return median(values);
}

static void event_end_to_end(const char *name, const char *what,
			     struct veventq *q, unsigned int at_a_time,
			     unsigned int events)
{
	__u64 quiet = cost_of_quiet(), values[ROUNDS], start;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		start = counted_by(cpu_counter);
		storm();
		if (drain(q, at_a_time) != events)
			die("%s: not every storm has %u events", name, events);
		values[round] = counted_by(cpu_counter) - start - quiet;
	}
	print_figure(name, median(values) * 100 / events, what);
}

static void event_read(const char *name, const char *what, struct veventq *q,
		       unsigned int at_a_time, unsigned int events)
{
	static struct vevent buf[64];
	unsigned int calls = events / at_a_time, i;
	__u64 values[ROUNDS], start;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		storm();
		start = counted();
		for (i = 0; i < calls; i++)
			if (read(q->fd, buf, at_a_time * sizeof(*buf)) !=
			    (ssize_t)(at_a_time * sizeof(*buf)))
				die("%s: too few events", name);
		values[round] = counted() - start - cost_of_counting;
		drain(q, 64);
	}
	print_figure(name, median(values) * 100 / calls / at_a_time, what);
}

static void event_losses(unsigned int depth, unsigned int events)
{
	char name[32], what[64];
	struct veventq q;

	veventq_alloc(&vm, viommu, depth, &q);
	storm();
	snprintf(name, sizeof(name), "lost-%u", depth);
	snprintf(what, sizeof(what), "of %u events at once, lost at depth %u",
		 events, depth);
	print_figure(name, (events - drain(&q, 64)) * 100ULL, what);
	veventq_free(&vm, &q);
}

static void measure_events(void)
{
	struct veventq q;
	unsigned int events;

	attach_first();
	s1_map(&s1, VA, vm_alloc(&vm, 1));
	veventq_alloc(&vm, viommu, 1 << 16, &q);
	storm();
	events = drain(&q, 64);
	if (!events)
		die("a DMA to nowhere is reported to nobody");
	event_end_to_end("event-1", "an event, reported and read alone", &q, 1,
			 events);
	event_end_to_end("event-64", "an event, reported and read with 63 others",
			 &q, 64, events);
	event_read("vevent-read-1", "read of one record", &q, 1, events);
	event_read("vevent-read-64", "read of 64 records, each", &q, 64, events);
	veventq_free(&vm, &q);
	event_losses(64, events);
	event_losses(4096, events);
	detach();
}

/* ----------------------------------------------------------------- memory -- */

static void measure_kinds(void)
{
	unsigned int k, f;

	for (k = 0; k < ARRAY_SIZE(kinds); k++)
		for (f = 0; f < ARRAY_SIZE(sizes); f++)
			measure_memory(&vm, counter, cost_of_counting, &kinds[k],
				       f, NULL, NULL);
}

/* The same IOAS with more guests on top. Each vIOMMU has a VMID of its own. */
static void measure_vsmmus(void)
{
	static const unsigned int nums[] = { 2, 8 };
	unsigned int have = 1, n, f;
	char name[20], what[20];

	for (n = 0; n < ARRAY_SIZE(nums); n++) {
		for (; have < nums[n]; have++)
			viommu_alloc(&vm, edu.dev_id);
		snprintf(name, sizeof(name), "%u-vsmmus", have);
		snprintf(what, sizeof(what), ", %u vIOMMUs", have);
		for (f = 0; f < ARRAY_SIZE(sizes); f++)
			measure_memory(&vm, counter, cost_of_counting, &kinds[0],
				       f, name, what);
	}
}

int main(void)
{
	struct edu_slot slot = lone_edu();
	unsigned int f;
	int i;

	counter = counter_open(0, -1, WITHOUT_USER);
	cpu_counter = counter_open(-1, 0, WITHOUT_USER);
	cost_of_counting = cost_of_a_look(counter);
	vm_init(&vm);
	edu_open(&edu, &vm, &slot);
	s2_alloc(&vm, edu.dev_id);
	viommu = viommu_alloc(&vm, edu.dev_id);
	s1_init(&s1, &vm, ASID);
	nested[0] = nested_alloc(&vm, edu.dev_id, viommu, vste_s1(&s1));
	s1_init(&s1, &vm, ASID + 1);
	nested[1] = nested_alloc(&vm, edu.dev_id, viommu, vste_s1(&s1));
	for (i = 0; i < (int)ARRAY_SIZE(cmds); i++)
		cmds[i] = cmd_tlbi_nh_va(ASID, VA + i * GUEST_PAGE);

	for (f = 0; f < ARRAY_SIZE(figures); f++) {
		bool attached = figures[f].op != do_vdevice_alloc &&
				figures[f].op != do_vdevice_destroy;
		__u64 figure;

		/* Not every kernel takes an array of nothing. */
		if (figures[f].op == do_probe && !can_probe())
			continue;
		if (attached)
			attach_first();
		figure = measure(f);
		if (attached)
			detach();
		print_figure(figures[f].name, figure, figures[f].what);
	}
	measure_events();
	/* While the device is the guest's. Without a device some kernels flush nothing. */
	attach_first();
	measure_kinds();
	measure_vsmmus();
	detach();
	edu_close(&edu);
	vm_free(&vm);
	return 0;
}
