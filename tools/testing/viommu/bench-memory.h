/* SPDX-License-Identifier: GPL-2.0-only */
/* What it costs to map memory for a guest, and to unmap it. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "bench.h"
#include "smmuv3_lib.h"

#define MAPPED_AT	(1UL << 36)

/* What a VMM gives its guest. All of it is populated before it is mapped. */
static const struct kind {
	const char *name;
	const char *what;
	bool file;	/* mapped by the file, not by its address */
	bool hugetlb;
} kinds[] = {
	{ .name = "anon", .what = "anonymous memory, 2 MiB pages" },
	{ .name = "memfd", .what = "memfd, 4 KiB pages", .file = true },
	{ .name = "hugetlb", .what = "hugetlb, 2 MiB pages", .file = true,
	  .hugetlb = true },
};

static const struct {
	const char *name;
	const char *what;
	size_t bytes;
} sizes[] = {
	{ "4k", "4 KiB", 4UL << 10 },
	{ "8m", "8 MiB", 8UL << 20 },
	{ "1g", "1 GiB", 1UL << 30 },
};

/* The memory, and its file unless it is anonymous. It starts at a huge page. */
static inline void *populate(const struct kind *kind, size_t len, int *file)
{
	int flags = MAP_FIXED | (kind->file ? MAP_SHARED :
					      MAP_PRIVATE | MAP_ANONYMOUS);
	char *va;

	len = (len + HUGE_PAGE - 1) & -HUGE_PAGE;
	*file = -1;
	if (kind->hugetlb)
		set_number("/proc/sys/vm/nr_hugepages", len / HUGE_PAGE);
	if (kind->file) {
		*file = memfd_create(kind->name,
				     kind->hugetlb ? MFD_HUGETLB : 0);
		if (*file < 0 || ftruncate(*file, len))
			die("memfd: %s", strerror(errno));
	}
	va = mmap(NULL, len + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		  -1, 0);
	if (va == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	va = (char *)(((unsigned long)va + HUGE_PAGE - 1) & -HUGE_PAGE);
	va = mmap(va, len, PROT_READ | PROT_WRITE, flags, *file, 0);
	if (va == MAP_FAILED)
		die("mmap of %s: %s", kind->name, strerror(errno));
	if (!kind->file)
		madvise(va, len, MADV_HUGEPAGE);
	memset(va, 1, len);
	return va;
}

static inline void unpopulate(const struct kind *kind, void *va, size_t len, int file)
{
	munmap(va, (len + HUGE_PAGE - 1) & -HUGE_PAGE);
	if (file >= 0)
		close(file);
	if (kind->hugetlb)
		set_number("/proc/sys/vm/nr_hugepages", 0);
}

static inline void map_file(struct vm *vm, int file, size_t len,
			    __u64 iova)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = vm->ioas,
		.fd = file,
		.length = len,
		.iova = iova,
	};

	if (ioctl(vm->iommufd, IOMMU_IOAS_MAP_FILE, &map))
		die("IOAS_MAP_FILE: %s", strerror(errno));
}

/*
 * Prints "unmap-NAME-SIZE" for the IOAS as it is, and "map-NAME-SIZE" before it, unless
 * the name is that of an IOAS where unmap alone differs.
 */
static inline void measure_memory(struct vm *vm, int counter, __u64 cost_of_look,
				  const struct kind *kind, unsigned int size,
				  const char *unmap_name, const char *unmap_what)
{
	__u64 maps[ROUNDS], unmaps[ROUNDS], start;
	size_t len = sizes[size].bytes;
	char name[48], what[80];
	int round, file;
	void *va;

	va = populate(kind, len, &file);
	for (round = 0; round < ROUNDS; round++) {
		start = counted_by(counter);
		if (kind->file)
			map_file(vm, file, len, MAPPED_AT);
		else
			vm_map(vm, MAPPED_AT, va, len);
		maps[round] = counted_by(counter) - start - cost_of_look;
		start = counted_by(counter);
		vm_unmap(vm, MAPPED_AT, len);
		unmaps[round] = counted_by(counter) - start - cost_of_look;
	}
	unpopulate(kind, va, len, file);

	if (!unmap_name) {
		snprintf(name, sizeof(name), "map-%s-%s", kind->name,
			 sizes[size].name);
		snprintf(what, sizeof(what), "map %s of %s", sizes[size].what,
			 kind->what);
		print_figure(name, median(maps) * 100, what);
	}
	snprintf(name, sizeof(name), "unmap-%s-%s", unmap_name ?: kind->name,
		 sizes[size].name);
	snprintf(what, sizeof(what), "unmap %s of %s%s", sizes[size].what,
		 kind->what, unmap_what ?: "");
	print_figure(name, median(unmaps) * 100, what);
}

#endif
