// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an invalidation by a queue of the guest costs, and what the queue itself does,
 * in instructions, on an SMMU that has Tegra241 CMDQV. To be run as bench.c is. This
 * program is VMM and guest: what the guest executes counts as instructions of its own.
 */
#include <sys/mman.h>

#include "bench.h"
#include "cmdqv_vm.h"

#define DIMM	(1UL << 36)
#define CALLS	1000

static struct cmdqv_vm v;
static int all, kernel;

static void by_queue(void)
{
	vcmdq_put(&v.q, cmd_tlbi_nh_va(ASID, VA));
	vcmdq_put(&v.q, cmd_sync());
	vcmdq_kick(&v.q);
	while (VCMDQ_RD(vcmdq_get(&v.q, VCMDQ_CONS)) != v.q.prod)
		;
}

static void by_ioctl(void)
{
	const struct iommu_viommu_arm_smmuv3_invalidate cmd =
		cmd_tlbi_nh_va(ASID, VA);
	__u32 num = 1;

	if (__viommu_invalidate(&v.vm, v.vintf.viommu, &cmd, &num) || num != 1)
		die("HWPT_INVALIDATE fails");
}

static void measure(const char *name, const char *what, int counter,
		    void (*op)(void))
{
	const __u64 look = cost_of_a_look(counter);
	__u64 values[ROUNDS], start;
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		start = counted_by(counter);
		for (i = 0; i < CALLS; i++)
			op();
		values[round] = counted_by(counter) - start - look;
	}
	print_figure(name, median(values) * 100 / CALLS, what);
}

static void measure_queue(const char *size, unsigned int log2size)
{
	__u64 allocs[ROUNDS], frees[ROUNDS], start;
	const __u64 look = cost_of_a_look(kernel);
	char name[32], what[80];
	int round;
	void *mem;

	set_number("/proc/sys/vm/nr_hugepages", 1);
	mem = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1,
		   0);
	if (mem == MAP_FAILED)
		die("no huge page: %s", strerror(errno));
	vm_map(&v.vm, DIMM, mem, HUGE_PAGE);
	for (round = 0; round < ROUNDS; round++) {
		start = counted_by(kernel);
		vcmdq_alloc_at(&v.q, &v.vintf, 0, DIMM, mem, log2size);
		allocs[round] = counted_by(kernel) - start - look;
		start = counted_by(kernel);
		vcmdq_free(&v.q);
		frees[round] = counted_by(kernel) - start - look;
	}
	vm_unmap(&v.vm, DIMM, HUGE_PAGE);
	munmap(mem, HUGE_PAGE);
	set_number("/proc/sys/vm/nr_hugepages", 0);

	snprintf(name, sizeof(name), "hw-queue-alloc-%uk", 1 << (log2size - 6));
	snprintf(what, sizeof(what), "HW_QUEUE_ALLOC of %s", size);
	print_figure(name, median(allocs) * 100, what);
	snprintf(name, sizeof(name), "hw-queue-destroy-%uk", 1 << (log2size - 6));
	snprintf(what, sizeof(what), "DESTROY of a HW queue of %s", size);
	print_figure(name, median(frees) * 100, what);
}

int main(void)
{
	all = counter_open(0, -1, 0);
	kernel = counter_open(0, -1, WITHOUT_USER);
	cmdqv_vm_start(&v);
	measure("tlbi-queue", "a TLBI and CMD_SYNC by the guest's queue", all,
		by_queue);
	measure("tlbi-queue-kernel", "of these, in the host's kernel", kernel,
		by_queue);
	measure("tlbi-ioctl", "a TLBI by HWPT_INVALIDATE", all, by_ioctl);
	measure("tlbi-ioctl-kernel", "of these, in the host's kernel", kernel,
		by_ioctl);
	vcmdq_free(&v.q);
	measure_queue("64 KiB", 12);
	measure_queue("2 MiB", 17);

	edu_detach(&v.edu);
	iommu_destroy(&v.vm, v.nested);
	iommu_destroy(&v.vm, v.vdevice);
	vintf_free(&v.vintf);
	edu_close(&v.edu);
	vm_free(&v.vm);
	return 0;
}
