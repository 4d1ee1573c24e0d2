// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a BAR in an IOAS costs, and a reset: instructions of the kernel to map the BAR of
 * an ivshmem-plain, to unmap it, and to revoke it when its memory decoding is turned off;
 * and for the reset of a virtio-blk with ATS, for which its IOMMU is blocked, and of one
 * without. Prints "name<TAB>figure" and what it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"
#include "bench-memory.h"
#include "lone_edu.h"
#include "smmuv3_lib.h"

#define IVSHMEM		0x11101af4
#define IVSHMEM_BAR	2
#define VIRTIO_BLK	0x10421af4

#define DOMAINS		8

static struct vm vm;
static struct edu edu;
static int counter;
static __u64 cost_of_look;

/* A device of the VM that does no DMA for it */
struct function {
	struct edu_slot slot;
	struct edu dev;
	__u64 config;
};

static void function_open(struct function *fn, const struct edu_slot *slot)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind), .iommufd = vm.iommufd,
	};

	memset(fn, 0, sizeof(*fn));
	fn->slot = *slot;
	fn->dev.fd = vfio_cdev_open(slot->bdf);
	if (fn->dev.fd < 0)
		die("%s: %s", slot->bdf, strerror(-fn->dev.fd));
	if (ioctl(fn->dev.fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) ||
	    ioctl(fn->dev.fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("%s: %s", slot->bdf, strerror(errno));
	fn->config = info.offset;
}

/* -------------------------------------------------------------------- BAR -- */

static void decode(struct function *fn, bool on)
{
	__le16 cmd = htole16(on ? PCI_COMMAND_MEMORY : 0);

	if (pwrite(fn->dev.fd, &cmd, sizeof(cmd), fn->config + PCI_COMMAND) !=
	    sizeof(cmd))
		die("%s: PCI_COMMAND: %s", fn->slot.bdf, strerror(errno));
}

/* The dma-buf, or -1 if the kernel has none */
static int bar_export(struct function *fn, size_t len)
{
	struct {
		struct vfio_device_feature header;
		struct vfio_device_feature_dma_buf dma_buf;
		struct vfio_region_dma_range range;
	} export = {
		.header = {
			.argsz = sizeof(export),
			.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_DMA_BUF,
		},
		.dma_buf = {
			.region_index = IVSHMEM_BAR,
			.open_flags = O_RDWR | O_CLOEXEC,
			.nr_ranges = 1,
		},
		.range = { .length = len },
	};

	return ioctl(fn->dev.fd, VFIO_DEVICE_FEATURE, &export);
}

static void measure_map(int buf, size_t len, const char *size)
{
	__u64 maps[ROUNDS], unmaps[ROUNDS], start;
	char name[48], what[40];
	int round;

	for (round = 0; round < ROUNDS; round++) {
		start = counted_by(counter);
		map_file(&vm, buf, len, MAPPED_AT);
		maps[round] = counted_by(counter) - start - cost_of_look;
		start = counted_by(counter);
		vm_unmap(&vm, MAPPED_AT, len);
		unmaps[round] = counted_by(counter) - start - cost_of_look;
	}
	snprintf(name, sizeof(name), "map-bar-%zum", len >> 20);
	snprintf(what, sizeof(what), "map %s of a BAR", size);
	print_figure(name, median(maps) * 100, what);
	snprintf(name, sizeof(name), "unmap-bar-%zum", len >> 20);
	snprintf(what, sizeof(what), "unmap %s of a BAR", size);
	print_figure(name, median(unmaps) * 100, what);
}

/* @len 0: nothing is mapped */
static void measure_revoke(struct function *fn, int buf, size_t len,
			   const char *name, const char *what)
{
	__u64 values[ROUNDS], start;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		if (len)
			map_file(&vm, buf, len, MAPPED_AT);
		start = counted_by(counter);
		decode(fn, false);
		values[round] = counted_by(counter) - start - cost_of_look;
		decode(fn, true);
		if (len)
			vm_unmap(&vm, MAPPED_AT, len);
	}
	print_figure(name, median(values) * 100, what);
}

static void measure_bar(void)
{
	static const struct {
		size_t len;
		const char *what;
	} sizes[] = { { HUGE_PAGE, "2 MiB" }, { 1UL << 30, "1 GiB" } };
	struct edu_slot slot;
	struct function fn;
	const char *why;
	unsigned int i;
	int bufs[2];

	if (!slot_find(IVSHMEM, "no ivshmem-plain", &slot, 1, &why))
		die("%s", why);
	function_open(&fn, &slot);
	decode(&fn, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		bufs[i] = bar_export(&fn, sizes[i].len);
		if (bufs[i] < 0)
			die("export of %s: %s", sizes[i].what, strerror(errno));
		measure_map(bufs[i], sizes[i].len, sizes[i].what);
	}
	measure_revoke(&fn, -1, 0, "decode-off",
		       "memory decoding off, no BAR mapped");
	measure_revoke(&fn, bufs[0], sizes[0].len, "revoke-2m-1",
		       "the same, 2 MiB mapped, 1 domain");
	measure_revoke(&fn, bufs[1], sizes[1].len, "revoke-1024m-1",
		       "the same, 1 GiB mapped, 1 domain");
	for (i = 1; i < DOMAINS; i++)
		parent_alloc(&vm, edu.dev_id, vm.ioas);
	measure_revoke(&fn, bufs[0], sizes[0].len, "revoke-2m-8",
		       "the same, 2 MiB mapped, 8 domains");
	measure_revoke(&fn, bufs[1], sizes[1].len, "revoke-1024m-8",
		       "the same, 1 GiB mapped, 8 domains");
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		close(bufs[i]);
	close(fn.dev.fd);
}

/* ------------------------------------------------------------------ reset -- */

static bool has_ats(const char *bdf)
{
	unsigned int pos = PCI_CFG_SPACE_SIZE;
	__u32 head;

	while (pos) {
		head = pci_read(bdf, pos, 4);
		if (PCI_EXT_CAP_ID(head) == PCI_EXT_CAP_ID_ATS)
			return true;
		pos = PCI_EXT_CAP_NEXT(head);
	}
	return false;
}

static void measure_reset(const struct edu_slot *slot)
{
	bool ats = has_ats(slot->bdf);
	__u64 values[ROUNDS], start;
	struct function fn;
	int round;

	function_open(&fn, slot);
	edu_attach(&fn.dev, vm.s2);
	for (round = 0; round < ROUNDS; round++) {
		start = counted_by(counter);
		if (ioctl(fn.dev.fd, VFIO_DEVICE_RESET))
			die("%s: reset: %s", slot->bdf, strerror(errno));
		values[round] = counted_by(counter) - start - cost_of_look;
	}
	print_figure(ats ? "reset-ats" : "reset", median(values) * 100,
		     ats ? "reset of a device with ATS" :
			   "reset of a device without ATS");
	close(fn.dev.fd);
}

int main(void)
{
	struct edu_slot slot = lone_edu(), slots[3];
	const char *why;
	int n, i;

	counter = counter_open(0, -1, WITHOUT_USER);
	cost_of_look = cost_of_a_look(counter);
	vm_init(&vm);
	edu_open(&edu, &vm, &slot);
	s2_alloc(&vm, edu.dev_id);
	edu_attach(&edu, vm.s2);
	measure_bar();
	n = slot_find(VIRTIO_BLK, "no virtio-blk", slots, 3, &why);
	if (!n)
		die("%s", why);
	for (i = 0; i < n; i++)
		measure_reset(&slots[i]);
	edu_close(&edu);
	vm_free(&vm);
	return 0;
}
