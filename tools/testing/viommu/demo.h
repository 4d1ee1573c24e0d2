/* SPDX-License-Identifier: GPL-2.0-only */
/* How the demonstrations speak. What would not be true as told ends them. */
#ifndef VIOMMU_DEMO_H
#define VIOMMU_DEMO_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lone_edu.h"

#define VA_FROM	0x5000000000UL
#define VA_TO	0x7ffffff000UL

#define tell(label, fmt, ...) \
	printf("  %-13s" fmt "\n", label, ##__VA_ARGS__)
#define tell_object(label, id, fmt, ...) \
	tell(label, "#%-3u " fmt, id, ##__VA_ARGS__)

/* The first line. Whoever watches sees each line when it is true. */
static inline void title(const char *text)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts(text);
}

static inline void chapter(const char *text)
{
	printf("\n%s\n", text);
}

static inline void expect(bool as_told, const char *otherwise)
{
	if (!as_told)
		die("but no: %s", otherwise);
}

struct pages {
	__u64 from, to, other;
};

/* What the guest has of its own: a line of text at VA_FROM, and an empty page at VA_TO */
static inline struct pages guest_pages(struct vm *vm, struct s1 *s1, __u16 asid,
				       const char *line)
{
	struct pages p = { vm_alloc(vm, 1), vm_alloc(vm, 1), vm_alloc(vm, 1) };

	strcpy(vm_ptr(vm, p.from), line);
	s1_init(s1, vm, asid);
	s1_map(s1, VA_FROM, p.from);
	s1_map(s1, VA_TO, p.to);
	return p;
}

/* The device reads a line at VA_FROM and writes it to VA_TO. */
static inline void copy_by_dma(struct edu *edu)
{
	edu_read(edu, VA_FROM, 0, 64);
	edu_write(edu, VA_TO, 0, 64);
}

#endif
