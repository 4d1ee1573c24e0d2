/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LONE_EDU_H
#define LONE_EDU_H

#include "smmuv3_lib.h"

/* A device that is alone in its group, and bound to vfio-pci */
static inline struct edu_slot lone_edu(void)
{
	struct edu_slot slots[8];
	const char *why;
	int n, i;

	n = edu_find(slots, 8, &why);
	for (i = 0; i < n && slots[i].members != 1; i++)
		;
	if (i == n)
		die("%s", n ? "no edu device in a group of its own" : why);
	return slots[i];
}

#endif
