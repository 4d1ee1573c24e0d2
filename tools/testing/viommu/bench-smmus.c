// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VM pays for memory if its devices are behind two SMMUs: instructions of the
 * kernel for an unmap, and memory for tables. Where a nest parent can serve both SMMUs
 * they share one; elsewhere each has its own. Prints "name<TAB>figure" and what it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "bench-memory.h"
#include "smmuv3_lib.h"

static struct vm vm;
static struct edu edus[2];

/* The first two devices that are alone in their group and behind different SMMUs */
static void find_two(struct edu_slot *two)
{
	struct edu_slot slots[8];
	int n, i, num = 0;
	const char *why;

	n = edu_find(slots, ARRAY_SIZE(slots), &why);
	for (i = 0; i < n && num < 2; i++)
		if (slots[i].members == 1 &&
		    (!num || slots[i].smmu != two[0].smmu))
			two[num++] = slots[i];
	if (num < 2)
		die("%s", n ? "no edu devices behind two SMMUs" : why);
}

/* KiB of tables of IOMMUs, as the kernel accounts them */
static long table_memory(void)
{
	long kib = -1;
	char line[80];
	FILE *f;

	/* No CPU keeps a part of the count for itself. */
	set_number("/proc/sys/vm/stat_refresh", 1);
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SecPageTables: %ld", &kib) == 1)
			break;
	if (!f || kib < 0)
		die("/proc/meminfo has no SecPageTables");
	fclose(f);
	return kib;
}

/*
 * Tables for 1 GiB in entries of 4 KiB, which the IOVA is there for: memory can lie in one
 * piece. The tables stay when it is unmapped, so this is measured once, before all else.
 */
static void measure_tables(void)
{
	const struct kind *kind = &kinds[1];
	const __u64 iova = 2 * MAPPED_AT + GUEST_PAGE;
	const size_t len = 1UL << 30;
	long before;
	int file;
	void *va;

	va = populate(kind, len, &file);
	before = table_memory();
	map_file(&vm, file, len, iova);
	print_figure("tables-2-smmus-1g", (table_memory() - before) * 100,
		     "KiB of tables for 1 GiB of memfd, 2 SMMUs");
	vm_unmap(&vm, iova, len);
	unpopulate(kind, va, len, file);
}

int main(void)
{
	int counter = counter_open(0, -1, WITHOUT_USER);
	__u64 cost_of_look = cost_of_a_look(counter);
	__u32 parents[2], viommu;
	struct edu_slot two[2];
	unsigned int k, f;
	int i;

	find_two(two);
	vm_init(&vm);
	for (i = 0; i < 2; i++)
		edu_open(&edus[i], &vm, &two[i]);
	parents[0] = parent_alloc(&vm, edus[0].dev_id, vm.ioas);
	viommu_alloc_on(&vm, edus[0].dev_id, parents[0]);
	parents[1] = parents[0];
	if (__viommu_alloc(&vm, edus[1].dev_id, parents[0],
			   IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &viommu)) {
		parents[1] = parent_alloc(&vm, edus[1].dev_id, vm.ioas);
		viommu_alloc_on(&vm, edus[1].dev_id, parents[1]);
	}
	print_figure("parents-2-smmus", parents[0] == parents[1] ? 100 : 200,
		     "nest parents that 2 SMMUs need");
	for (i = 0; i < 2; i++)
		edu_attach(&edus[i], parents[i]);
	measure_tables();
	for (k = 0; k < 2; k++)
		for (f = 0; f < ARRAY_SIZE(sizes); f++)
			measure_memory(&vm, counter, cost_of_look, &kinds[k], f,
				       k ? "2-smmus-memfd" : "2-smmus",
				       ", 2 SMMUs");
	for (i = 0; i < 2; i++)
		edu_close(&edus[i]);
	vm_free(&vm);
	return 0;
}
