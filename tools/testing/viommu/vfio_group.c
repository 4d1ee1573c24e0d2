// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA and interrupts of edu devices that are opened by their VFIO group
 *
 * Older VMMs do not use /dev/vfio/devices. They put a group into a container, which
 * is VFIO's own (type 1) or an iommufd that plays one. The domains that these make
 * go through the attach paths that the series changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/vfio.h>

#include "kselftest_harness.h"
#include "smmuv3_lib.h"

/* An emulated machine with KASAN is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300

#define SIZE	0x10000
#define PAGE	0x1000
#define IOVA	0x40000000UL
#define BAR	0x100000

static struct edu_slot slots[8];
static int num_slots;
static const char *why;

static __attribute__((constructor)) void find(void)
{
	num_slots = edu_find(slots, ARRAY_SIZE(slots), &why);
}

/* The devices of the first group that has @num of them, and nothing else */
static bool pick(const struct edu_slot **slot, unsigned int num)
{
	unsigned int n = 0;
	int i;

	for (i = 0; i < num_slots && n < num; i++)
		if (slots[i].edus == num && slots[i].members == num &&
		    (!n || slots[i].group == slot[0]->group))
			slot[n++] = &slots[i];
	return n == num;
}

FIXTURE(group)
{
	const struct edu_slot *slot[2];
	struct edu edu[2];
	unsigned int num;
	int container;
	int group;
	void *memory;
};

FIXTURE_VARIANT(group)
{
	const char *container;
	unsigned int num;
};

FIXTURE_VARIANT_ADD(group, type1) { .container = "/dev/vfio/vfio", .num = 1 };
FIXTURE_VARIANT_ADD(group, iommufd) { .container = "/dev/iommu", .num = 1 };
FIXTURE_VARIANT_ADD(group, type1_two_functions)
{
	.container = "/dev/vfio/vfio", .num = 2,
};
FIXTURE_VARIANT_ADD(group, iommufd_two_functions)
{
	.container = "/dev/iommu", .num = 2,
};

static int dma_map(int container, void *memory, __u64 iova)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = SIZE,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}

static int dma_unmap(int container, __u64 iova)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = SIZE,
	};

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

/* Open a device of the group. Its registers and its DMA are then smmuv3_lib's. */
static int device_open(int group, const struct edu_slot *slot, struct edu *edu)
{
	struct vfio_region_info region = { .argsz = sizeof(region) };
	__u16 command = 6;		/* memory and DMA */

	memset(edu, 0, sizeof(*edu));
	edu->slot = slot;
	edu->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, slot->bdf);
	if (edu->fd < 0)
		return -1;
	region.index = VFIO_PCI_CONFIG_REGION_INDEX;
	if (ioctl(edu->fd, VFIO_DEVICE_GET_REGION_INFO, &region) ||
	    pwrite(edu->fd, &command, 2, region.offset + 4) != 2)
		return -1;
	region.index = VFIO_PCI_BAR0_REGION_INDEX;
	if (ioctl(edu->fd, VFIO_DEVICE_GET_REGION_INFO, &region))
		return -1;
	edu->regs = mmap(NULL, BAR, PROT_READ | PROT_WRITE, MAP_SHARED, edu->fd,
			 region.offset);
	return edu->regs == MAP_FAILED ? -1 : 0;
}

FIXTURE_SETUP(group)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[40];
	unsigned int i;

	if (!pick(self->slot, variant->num))
		SKIP(return, "no group of %u edu devices: %s", variant->num,
		     why ? why : "");
	self->container = open(variant->container, O_RDWR);
	if (self->container < 0)
		SKIP(return, "no %s", variant->container);
	snprintf(path, sizeof(path), "/dev/vfio/%d", self->slot[0]->group);
	self->group = open(path, O_RDWR);
	ASSERT_LE(0, self->group);
	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_GET_STATUS, &status));
	ASSERT_TRUE(status.flags & VFIO_GROUP_FLAGS_VIABLE);
	if (!strcmp(variant->container, "/dev/iommu")) {
		struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
		struct iommu_vfio_ioas vfio = {
			.size = sizeof(vfio),
			.op = IOMMU_VFIO_IOAS_SET,
		};

		ASSERT_EQ(0, ioctl(self->container, IOMMU_IOAS_ALLOC, &alloc));
		vfio.ioas_id = alloc.out_ioas_id;
		ASSERT_EQ(0, ioctl(self->container, IOMMU_VFIO_IOAS, &vfio));
	}
	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_SET_CONTAINER,
			   &self->container));
	ASSERT_EQ(0, ioctl(self->container, VFIO_SET_IOMMU,
			   VFIO_TYPE1v2_IOMMU));
	self->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	for (i = 0; i < variant->num; i++) {
		ASSERT_EQ(0, device_open(self->group, self->slot[i],
					 &self->edu[i]));
		self->num++;
	}
}

FIXTURE_TEARDOWN(group)
{
	unsigned int i;

	for (i = 0; i < self->num; i++)
		edu_close(&self->edu[i]);
	if (self->group > 0)
		close(self->group);
	if (self->container > 0)
		close(self->container);
}

/* Let the device copy a page within the memory. Return whether it got there. */
static bool copies(struct edu *edu, char *memory, __u64 iova, char c)
{
	memset(memory, c, PAGE);
	memset(memory + PAGE, 0, PAGE);
	edu_read(edu, iova, 0, PAGE);
	edu_write(edu, iova + PAGE, 0, PAGE);
	return !memcmp(memory, memory + PAGE, PAGE);
}

TEST_F(group, dma_reaches_what_is_mapped)
{
	unsigned int i, round;

	for (round = 0; round < 2; round++) {
		__u64 iova = IOVA + round * SIZE;

		for (i = 0; i < self->num; i++)
			EXPECT_FALSE(copies(&self->edu[i], self->memory, iova,
					    'a' + i));
		ASSERT_EQ(0, dma_map(self->container, self->memory, iova));
		for (i = 0; i < self->num; i++)
			EXPECT_TRUE(copies(&self->edu[i], self->memory, iova,
					   'c' + i));
		ASSERT_EQ(0, dma_unmap(self->container, iova));
		for (i = 0; i < self->num; i++)
			EXPECT_FALSE(copies(&self->edu[i], self->memory, iova,
					    'e' + i));
	}
}

TEST_F(group, interrupts_arrive)
{
	unsigned int i;

	for (i = 0; i < self->num; i++) {
		edu_irq_enable(&self->edu[i]);
		EXPECT_EQ(1, edu_interrupts(&self->edu[i]));
	}
	for (i = 0; i < self->num; i++) {
		EXPECT_EQ(1, edu_interrupts(&self->edu[i]));
		edu_irq_disable(&self->edu[i]);
	}
}

/* Memory stays mapped for a device that is closed and opened again. */
TEST_F(group, device_comes_back)
{
	ASSERT_EQ(0, dma_map(self->container, self->memory, IOVA));
	EXPECT_TRUE(copies(&self->edu[0], self->memory, IOVA, 'a'));
	edu_close(&self->edu[0]);
	ASSERT_EQ(0, device_open(self->group, self->slot[0], &self->edu[0]));
	EXPECT_TRUE(copies(&self->edu[0], self->memory, IOVA, 'b'));
}

TEST_HARNESS_MAIN
