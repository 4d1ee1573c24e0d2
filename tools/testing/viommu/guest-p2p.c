// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest with an edu and an ivshmem-plain, both given by the host: edu does DMA to BAR 2
 * of ivshmem, which is memory, and back. The guest translates nothing for edu, so its
 * addresses are those of the guest's bus. Says what failed, or nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smmuv3_lib.h"

#define EDU		0x11e81234	/* as config space has them */
#define IVSHMEM		0x11101af4
#define WORDS		16

static struct edu edu;

/* Leave the device to the guest, whose kernel has no driver for it. */
static void leave_vfio(const char *bdf)
{
	char path[PATH_MAX];

	vfio_unbind(bdf);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/type", bdf);
	must(write_line(path, "identity"), path);
}

static __u32 *bar_map(const char *bdf, __u64 *address)
{
	unsigned long long start = 0;
	char path[PATH_MAX];
	void *bar;
	FILE *f;
	int fd, i;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", bdf);
	f = fopen(path, "r");
	for (i = 0; f && i < 3; i++)
		if (fscanf(f, "%llx %*x %*x", &start) != 1)
			start = 0;
	if (!f || !start)
		die("%s: no BAR 2", bdf);
	fclose(f);
	*address = start;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", bdf);
	must(write_line(path, "1"), path);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2", bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	bar = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	return bar;
}

int main(void)
{
	struct edu_slot slot, target;
	const char *why;
	__u64 address;
	__u32 *bar;
	int i;

	if (!slot_find(EDU, "no edu", &slot, 1, &why) ||
	    !slot_find(IVSHMEM, "no ivshmem-plain", &target, 1, &why))
		die("%s", why);
	leave_vfio(slot.bdf);
	leave_vfio(target.bdf);
	bar = bar_map(target.bdf, &address);
	edu_open_host(&edu, &slot);

	for (i = 0; i < WORDS; i++)
		bar[i] = 0x50320000 + i;
	edu_read(&edu, address, 0, WORDS * 4);
	edu_write(&edu, address + WORDS * 4, 0, WORDS * 4);
	for (i = 0; i < WORDS; i++)
		if (bar[WORDS + i] != 0x50320000U + i)
			die("word %d of the BAR is %#x", i, bar[WORDS + i]);
	edu_close(&edu);
	return 0;
}
