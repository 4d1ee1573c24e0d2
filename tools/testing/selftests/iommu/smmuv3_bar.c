// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA of one device to a BAR of another, behind an SMMUv3: QEMU's "edu" does DMA to
 * BAR 2 of "ivshmem-plain", which is memory, or to BAR 4 of an "nvme" with a
 * persistent memory region, which has a function level reset. See smmuv3_lib.h for
 * what edu needs.
 *
 * VFIO exports the BAR as a dma-buf, and iommufd maps that. Where the test says that
 * DMA arrives, it looks into the BAR by mmap().
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "../kselftest_harness.h"
#include "smmuv3_test.h"
#include "smmuv3_vevent.h"

#ifndef PCI_EXP_DEVCTL_BCR_FLR
#define PCI_EXP_DEVCTL_BCR_FLR	0x8000
#endif
#define NVME_PMRCTL		0xe04

#define BAR_GPA			DIMM
#define BAR_SIZE		0x100000UL	/* as much of it as is exported */

static int call(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? errno : 0;
}

/* ------------------------------------------------------ device with a BAR -- */

struct kind {
	__u32 id;	/* as config space has it */
	int bar;
	const char *needs;
};

static const struct kind ivshmem = {
	.id = 0x11101af4, .bar = 2, .needs = "needs an ivshmem-plain device",
};

static const struct kind nvme = {
	.id = 0x00101b36, .bar = 4, .needs = "needs an nvme device with a PMR",
};

struct target {
	const struct kind *kind;
	char bdf[16];
	int fd;
	__u64 config;
	char *bar;
	int buf;
};

static bool target_find(const struct kind *kind, char *bdf)
{
	DIR *dir = opendir("/sys/bus/pci/devices");
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		found = strlen(entry->d_name) < 16 &&
			pci_read(entry->d_name, PCI_VENDOR_ID, 4) == kind->id;
		if (found)
			memcpy(bdf, entry->d_name, strlen(entry->d_name) + 1);
	}
	if (dir)
		closedir(dir);
	return found && vfio_bind(bdf);
}

static __u64 region(int fd, __u32 index)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info), .index = index,
	};

	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("VFIO_DEVICE_GET_REGION_INFO: %s", strerror(errno));
	return info.offset;
}

static __u32 config_read(struct target *target, unsigned int off, int len)
{
	__le32 val = 0;

	if (pread(target->fd, &val, len, target->config + off) != len)
		die("cannot read config space at %#x", off);
	return le32toh(val);
}

static void config_write(struct target *target, unsigned int off, int len,
			 __u32 val)
{
	__le32 le = htole32(val);

	if (pwrite(target->fd, &le, len, target->config + off) != len)
		die("cannot write config space at %#x", off);
}

static unsigned int capability(struct target *target, __u8 id)
{
	unsigned int pos = config_read(target, PCI_CAPABILITY_LIST, 1);

	while (pos >= 0x40 && config_read(target, pos, 1) != id)
		pos = config_read(target, pos + PCI_CAP_LIST_NEXT, 1);
	return pos >= 0x40 ? pos : 0;
}

static void decode(struct target *target, bool on)
{
	__u32 cmd = config_read(target, PCI_COMMAND, 2);

	config_write(target, PCI_COMMAND, 2,
		     on ? cmd | PCI_COMMAND_MEMORY : cmd & ~PCI_COMMAND_MEMORY);
}

/* The memory of an nvme answers when its controller is told so, until a reset. */
static void answer(struct target *target)
{
	char *regs;

	decode(target, true);
	if (target->kind != &nvme)
		return;
	regs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, target->fd,
		    region(target->fd, 0));
	if (regs == MAP_FAILED)
		die("nvme BAR0: %s", strerror(errno));
	__atomic_store_n((__le32 *)(regs + NVME_PMRCTL), htole32(1),
			 __ATOMIC_RELAXED);
	munmap(regs, 4096);
}

/* Reads and writes 32 bits of the BAR. */
static __u32 peek(struct target *target, unsigned int off)
{
	return __atomic_load_n((__u32 *)(target->bar + off), __ATOMIC_RELAXED);
}

static void poke(struct target *target, unsigned int off, __u32 val)
{
	__atomic_store_n((__u32 *)(target->bar + off), val, __ATOMIC_RELAXED);
}

struct export {
	struct vfio_device_feature header;
	struct vfio_device_feature_dma_buf dma_buf;
	struct vfio_region_dma_range ranges[2];
};

/* Returns the dma-buf, or -1 and errno. */
static int do_export(int fd, struct export *export)
{
	if (!export->header.argsz)
		export->header.argsz = sizeof(*export);
	if (!export->header.flags)
		export->header.flags = VFIO_DEVICE_FEATURE_GET |
				       VFIO_DEVICE_FEATURE_DMA_BUF;
	return ioctl(fd, VFIO_DEVICE_FEATURE, export);
}

static int target_export(struct target *target)
{
	struct export export = {
		.dma_buf = {
			.region_index = target->kind->bar,
			.open_flags = O_RDWR | O_CLOEXEC,
			.nr_ranges = 1,
		},
		.ranges = { { 0, BAR_SIZE } },
	};

	return do_export(target->fd, &export);
}

static void target_open(struct target *target, struct vm *vm,
			const struct kind *kind)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind), .iommufd = vm->iommufd,
	};

	target->kind = kind;
	target->fd = vfio_cdev_open(target->bdf);
	if (target->fd < 0)
		die("%s: %s", target->bdf, strerror(-target->fd));
	if (ioctl(target->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		die("%s: bind: %s", target->bdf, strerror(errno));
	target->config = region(target->fd, VFIO_PCI_CONFIG_REGION_INDEX);
	answer(target);
	target->bar = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   target->fd, region(target->fd, kind->bar));
	if (target->bar == MAP_FAILED)
		die("%s: BAR: %s", target->bdf, strerror(errno));
	target->buf = target_export(target);
	if (target->buf < 0)
		die("%s: VFIO_DEVICE_FEATURE_DMA_BUF: %s", target->bdf,
		    strerror(errno));
}

static void target_close(struct target *target)
{
	if (target->fd < 0)
		return;
	munmap(target->bar, BAR_SIZE);
	close(target->fd);
	target->fd = -1;
}

static int map_buf(struct vm *vm, int buf, __u64 start, __u64 length)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = vm->ioas,
		.fd = buf,
		.start = start,
		.length = length,
		.iova = BAR_GPA,
	};

	return call(vm->iommufd, IOMMU_IOAS_MAP_FILE, &map);
}

/* ---------------------------------------------------------------- fixture -- */

FIXTURE(bar)
{
	struct host host;
	struct klog klog;
	struct vm vm;
	struct guest guest;
	struct target target;
	__u64 iova;		/* what edu calls the start of the BAR */
};

FIXTURE_VARIANT(bar)
{
	const struct kind *kind;
	bool nested;
};

FIXTURE_VARIANT_ADD(bar, plain) { .kind = &ivshmem };
FIXTURE_VARIANT_ADD(bar, nested) { .kind = &ivshmem, .nested = true };
FIXTURE_VARIANT_ADD(bar, nested_flr) { .kind = &nvme, .nested = true };

FIXTURE_SETUP(bar)
{
	const char *lack = lacks(edu_own_group(0), "needs an edu device");
	struct guest *guest = &self->guest;

	if (!lack && !target_find(variant->kind, self->target.bdf))
		lack = variant->kind->needs;
	if (lack)
		SKIP(return, "%s", lack);
	klog_open(&self->klog);
	up(&self->host, &self->vm, guest, edu_own_group(0));
	target_open(&self->target, &self->vm, variant->kind);
	self->iova = BAR_GPA;
	if (variant->nested) {
		guest->viommu = viommu_alloc(&self->vm, guest->edu.dev_id);
		self->iova = VA;
		s1_map(&guest->s1, VA, BAR_GPA);
		guest_start(guest, VSID);
	} else {
		edu_attach(&guest->edu, self->vm.ioas);
	}
	ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
}

FIXTURE_TEARDOWN(bar)
{
	if (!self->vm.ram)
		return;
	target_close(&self->target);
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
	close(self->target.buf);
	klog_close(&self->klog);
}

static void unmap_bar(struct _test_data_bar *self)
{
	vm_unmap(&self->vm, BAR_GPA, BAR_SIZE);
}

/* Have edu write four bytes. Return true if they arrive. */
static bool bar_arrives(struct _test_data_bar *self)
{
	static unsigned int n;
	__u32 before;

	/* edu_load_tokens() has loaded something else at each offset */
	before = ~peek(&self->target, 0);
	poke(&self->target, 0, before);
	edu_write(&self->guest.edu, self->iova, n++ % 512 * 4, 4);
	return peek(&self->target, 0) != before;
}

/* The host's log tells of a fault of stage 2, or of the only stage */
static bool faults(struct _test_data_bar *self)
{
	struct evt evt;
	int i;

	for (i = 0; i < 60; i++) {
		edu_write(&self->guest.edu, self->iova, 0, 4);
		if (klog_event(&self->klog, &evt, 1000))
			return evt.id == EVT_F_TRANSLATION &&
			       evt.addr == self->iova;
	}
	return false;
}

/* ------------------------------------------------------------------- DMA -- */

TEST_F(bar, dma_writes_and_reads_it)
{
	__u64 gpa = vm_alloc(&self->vm, 1);
	__u32 *ram = vm_ptr(&self->vm, gpa);
	struct edu *edu = &self->guest.edu;
	__u64 va = gpa;
	int i;

	if (variant->nested) {
		va = VA2;
		s1_map(&self->guest.s1, VA2, gpa);
	}
	for (i = 0; i < 16; i++)
		ram[i] = 0xb0000000 + i;
	edu_read(edu, va, 0, 64);
	edu_write(edu, self->iova, 0, 64);
	for (i = 0; i < 16; i++)
		EXPECT_EQ(0xb0000000 + i, peek(&self->target, i * 4));

	for (i = 0; i < 16; i++)
		poke(&self->target, i * 4, 0xc0000000 + i);
	edu_read(edu, self->iova, 0, 64);
	edu_write(edu, va, 0, 64);
	for (i = 0; i < 16; i++)
		EXPECT_EQ(0xc0000000 + i, ram[i]);

	unmap_bar(self);
	EXPECT_TRUE(faults(self));
}

TEST_F(bar, dma_reaches_start_of_mapping)
{
	unmap_bar(self);
	poke(&self->target, 0, 0);
	poke(&self->target, 0x3000, 0);
	ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0x3000, 0x1000));
	edu_write(&self->guest.edu, self->iova, 4, 4);
	EXPECT_EQ(0, peek(&self->target, 0));
	EXPECT_NE(0, peek(&self->target, 0x3000));
	vm_unmap(&self->vm, BAR_GPA, 0x1000);
}

/* ---------------------------------------------------------------- revoked -- */

/* It is empty now and when the BAR answers again, until it is mapped again */
#define EXPECT_REVOKED()                                                   \
	do {                                                               \
		answer(&self->target);                                     \
		EXPECT_FALSE(bar_arrives(self));                               \
		EXPECT_TRUE(faults(self));                                 \
		EXPECT_EQ(EEXIST, map_buf(&self->vm, self->target.buf, 0,  \
					  BAR_SIZE));                      \
		unmap_bar(self);                                           \
		ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0,       \
				     BAR_SIZE));                           \
		EXPECT_TRUE(bar_arrives(self));                                \
	} while (0)

TEST_F(bar, memory_decoding_off_revokes)
{
	EXPECT_TRUE(bar_arrives(self));
	decode(&self->target, false);
	EXPECT_TRUE(faults(self));
	EXPECT_REVOKED();
	/* And once more */
	decode(&self->target, false);
	EXPECT_REVOKED();
}

TEST_F(bar, reset_revokes)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	ASSERT_EQ(0, ioctl(self->target.fd, VFIO_DEVICE_GET_INFO, &info));
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
		SKIP(return, "the device has no reset");
	EXPECT_TRUE(bar_arrives(self));
	ASSERT_EQ(0, call(self->target.fd, VFIO_DEVICE_RESET, NULL));
	EXPECT_REVOKED();
}

TEST_F(bar, flr_revokes)
{
	unsigned int exp = capability(&self->target, PCI_CAP_ID_EXP);
	__u32 ctl;

	if (!exp || !(config_read(&self->target, exp + PCI_EXP_DEVCAP, 4) &
		      PCI_EXP_DEVCAP_FLR))
		SKIP(return, "the device has no FLR");
	EXPECT_TRUE(bar_arrives(self));
	ctl = config_read(&self->target, exp + PCI_EXP_DEVCTL, 2);
	config_write(&self->target, exp + PCI_EXP_DEVCTL, 2,
		     ctl | PCI_EXP_DEVCTL_BCR_FLR);
	EXPECT_REVOKED();
}

TEST_F(bar, d3_revokes)
{
	unsigned int pm = capability(&self->target, PCI_CAP_ID_PM);
	__u32 ctl;

	if (!pm)
		SKIP(return, "the device has no power management");
	EXPECT_TRUE(bar_arrives(self));
	ctl = config_read(&self->target, pm + PCI_PM_CTRL, 2);
	config_write(&self->target, pm + PCI_PM_CTRL, 2, ctl | 3);
	EXPECT_EQ(ENODEV, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
	EXPECT_TRUE(faults(self));
	config_write(&self->target, pm + PCI_PM_CTRL, 2, ctl & ~3);
	EXPECT_REVOKED();
}

TEST_F(bar, low_power_entry_revokes)
{
	struct vfio_device_feature entry = {
		.argsz = sizeof(entry),
		.flags = VFIO_DEVICE_FEATURE_SET |
			 VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
	};
	int buf;

	EXPECT_TRUE(bar_arrives(self));
	ASSERT_EQ(0, call(self->target.fd, VFIO_DEVICE_FEATURE, &entry));
	EXPECT_TRUE(faults(self));
	unmap_bar(self);
	EXPECT_EQ(ENODEV, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
	/* Memory decoding is on, but that does not count */
	buf = target_export(&self->target);
	ASSERT_LE(0, buf);
	EXPECT_EQ(ENODEV, map_buf(&self->vm, buf, 0, BAR_SIZE));
	close(buf);
	entry.flags = VFIO_DEVICE_FEATURE_SET |
		      VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
	ASSERT_EQ(0, call(self->target.fd, VFIO_DEVICE_FEATURE, &entry));
	answer(&self->target);
	ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
	EXPECT_TRUE(bar_arrives(self));
}

TEST_F(bar, close_revokes_for_ever)
{
	EXPECT_TRUE(bar_arrives(self));
	target_close(&self->target);
	EXPECT_TRUE(faults(self));
	unmap_bar(self);
	EXPECT_EQ(ENODEV, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));

	/* Another owner of the device has a dma-buf of his own */
	close(self->target.buf);
	target_open(&self->target, &self->vm, variant->kind);
	ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
	EXPECT_TRUE(bar_arrives(self));
}

/* The mapping holds the dma-buf, but the dma-buf does not hold up the driver */
TEST_F(bar, unbind_does_not_wait_for_dmabuf)
{
	char path[100];
	int fd;

	target_close(&self->target);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver/unbind",
		 self->target.bdf);
	fd = open(path, O_WRONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ((ssize_t)strlen(self->target.bdf),
		  write(fd, self->target.bdf, strlen(self->target.bdf)));
	close(fd);
	EXPECT_TRUE(faults(self));
	unmap_bar(self);
	EXPECT_EQ(ENODEV, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
	EXPECT_TRUE(vfio_bind(self->target.bdf));
}

struct stream {
	struct _test_data_bar *self;
	atomic_bool stop;
	atomic_int dmas;
};

static void *stream_dma(void *arg)
{
	struct stream *stream = arg;
	unsigned int off = 0;

	while (!atomic_load(&stream->stop)) {
		edu_write(&stream->self->guest.edu, stream->self->iova, off, 4);
		off = (off + 4) % 2048;
		atomic_fetch_add(&stream->dmas, 1);
	}
	return NULL;
}

/* Wait for @n more DMAs. Return whether the bytes in the BAR change meanwhile. */
static bool changes(struct stream *stream, int n)
{
	__u32 before = peek(&stream->self->target, 0);
	int end = atomic_load(&stream->dmas) + n;
	bool changed = false;

	while (atomic_load(&stream->dmas) < end) {
		changed |= peek(&stream->self->target, 0) != before;
		usleep(1000);
	}
	return changed;
}

TEST_F(bar, decoding_off_stops_running_dma)
{
	struct stream stream = { .self = self };
	pthread_t thread;
	struct evt evt;

	ASSERT_EQ(0, pthread_create(&thread, NULL, stream_dma, &stream));
	EXPECT_TRUE(changes(&stream, 3));
	decode(&self->target, false);
	answer(&self->target);
	/* The write has returned, so no later DMA arrives */
	EXPECT_FALSE(changes(&stream, 5));
	EXPECT_TRUE(klog_event(&self->klog, &evt, 10000));
	EXPECT_EQ(EVT_F_TRANSLATION, evt.id);

	unmap_bar(self);
	ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
	EXPECT_TRUE(changes(&stream, 5));
	atomic_store(&stream.stop, true);
	pthread_join(thread, NULL);
}

/* ----------------------------------------------------------------- export -- */

#define GET	(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF)
#define SET	(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_BUF)
#define PROBE	VFIO_DEVICE_FEATURE_PROBE
#define HEAD	(sizeof(struct vfio_device_feature) + \
		 sizeof(struct vfio_device_feature_dma_buf))

TEST_F(bar, export_bad_input_fails)
{
	const __u32 bar = variant->kind->bar;
	const struct {
		const char *name;
		__u32 argsz, how, index, flags, num;
		__u64 offset, length;
		int err;
	} rows[] = {
		{ "probe", HEAD, PROBE | GET, 0, 0, 0, 0, 0, 0 },
		{ "probe of SET", HEAD, PROBE | SET, 0, 0, 0, 0, 0, EINVAL },
		{ "SET", HEAD, SET, bar, 0, 1, 0, 4096, EINVAL },
		{ "neither", HEAD, VFIO_DEVICE_FEATURE_DMA_BUF, bar, 0, 1, 0,
		  4096, EINVAL },
		{ "short argsz", HEAD - 1, GET, bar, 0, 1, 0, 4096, EINVAL },
		{ "no range", HEAD, GET, bar, 0, 0, 0, 4096, EINVAL },
		{ "flags", HEAD, GET, bar, 1, 1, 0, 4096, EINVAL },
		{ "ROM", HEAD, GET, 6, 0, 1, 0, 4096, ENODEV },
		{ "config space", HEAD, GET, 7, 0, 1, 0, 4096, ENODEV },
		{ "no region", HEAD, GET, ~0U, 0, 1, 0, 4096, ENODEV },
		{ "upper half of a BAR", HEAD, GET, bar + 1, 0, 1, 0, 4096,
		  ENODEV },
		{ "empty range", HEAD, GET, bar, 0, 1, 0, 0, EINVAL },
		{ "odd offset", HEAD, GET, bar, 0, 1, 1, 4096, EINVAL },
		{ "odd length", HEAD, GET, bar, 0, 1, 0, 4095, EINVAL },
		{ "past the end", HEAD, GET, bar, 0, 1, 0, 1ULL << 40, EINVAL },
		{ "starts past the end", HEAD, GET, bar, 0, 1, 1ULL << 40, 4096,
		  EINVAL },
		{ "range wraps", HEAD, GET, bar, 0, 1, -4096ULL, 8192, EINVAL },
		{ "very many ranges", HEAD, GET, bar, 0, ~0U, 0, 4096, ENOMEM },
		{ "more ranges than memory", HEAD, GET, bar, 0, 65536, 0, 4096,
		  EFAULT },
		{ "good", HEAD, GET, bar, 0, 1, 4096, 4096, 0 },
	};
	/* What follows the last range cannot be read */
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct export *export;
	unsigned int i;
	int fd;

	ASSERT_NE(MAP_FAILED, pages);
	ASSERT_EQ(0, mprotect(pages + 4096, 4096, PROT_NONE));
	export = (void *)(pages + 4096 - sizeof(*export));
	for (i = 0; i != sizeof(rows) / sizeof(*rows); i++) {
		memset(export, 0, sizeof(*export));
		export->header.argsz = rows[i].argsz;
		export->header.flags = rows[i].how;
		export->dma_buf.region_index = rows[i].index;
		export->dma_buf.flags = rows[i].flags;
		export->dma_buf.nr_ranges = rows[i].num;
		export->ranges[0].offset = rows[i].offset;
		export->ranges[0].length = rows[i].length;
		fd = do_export(self->target.fd, export);
		EXPECT_EQ(rows[i].err, fd < 0 ? errno : 0) {
			TH_LOG("%s", rows[i].name);
		}
		if (fd > 0)
			close(fd);
	}
	munmap(pages, 8192);
}

/* A BAR of 256 bytes shares its page with nothing, but is none itself */
TEST_F(bar, export_small_bar_fails)
{
	struct export export = {
		.dma_buf = { .region_index = 0, .nr_ranges = 1 },
		.ranges = { { 0, 4096 } },
	};

	if (variant->kind != &ivshmem)
		SKIP(return, "BAR 0 is not small");
	EXPECT_EQ(-1, do_export(self->target.fd, &export));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(bar, export_two_ranges_cannot_be_mapped)
{
	struct export export = {
		.dma_buf = {
			.region_index = variant->kind->bar,
			.open_flags = O_CLOEXEC,
			.nr_ranges = 2,
		},
		.ranges = { { 0x2000, 0x1000 }, { 0, 0x2000 } },
	};
	int buf = do_export(self->target.fd, &export);

	ASSERT_LE(0, buf);
	EXPECT_EQ(0x3000, lseek(buf, 0, SEEK_END));
	unmap_bar(self);
	EXPECT_EQ(EOPNOTSUPP, map_buf(&self->vm, buf, 0, 0x1000));
	close(buf);
}

TEST_F(bar, export_while_decoding_is_off_starts_revoked)
{
	int buf;

	decode(&self->target, false);
	buf = target_export(&self->target);
	ASSERT_LE(0, buf);
	unmap_bar(self);
	EXPECT_EQ(ENODEV, map_buf(&self->vm, buf, 0, BAR_SIZE));
	answer(&self->target);
	ASSERT_EQ(0, map_buf(&self->vm, buf, 0, BAR_SIZE));
	EXPECT_TRUE(bar_arrives(self));
	close(buf);
}

/* The last of the dma-buf, the device and the iommufd, in any order */
TEST_F(bar, close_in_any_order_releases)
{
	unsigned int order;

	for (order = 0; order != 3; order++) {
		if (order == 0)
			target_close(&self->target);
		close(self->target.buf);
		if (order == 1)
			target_close(&self->target);
		unmap_bar(self);
		if (order == 2)
			target_close(&self->target);
		target_open(&self->target, &self->vm, variant->kind);
		ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
		EXPECT_TRUE(bar_arrives(self));
	}
}

/* ---------------------------------------------------------- all at once -- */

static void *race_export(void *arg)
{
	struct stream *stream = arg;

	while (!atomic_load(&stream->stop)) {
		int buf = target_export(&stream->self->target);
		int rc;

		if (buf < 0)
			die("export: %s", strerror(errno));
		rc = map_buf(&stream->self->vm, buf, 0, BAR_SIZE);
		if (rc && rc != ENODEV)
			die("map: %s", strerror(rc));
		close(buf);
		__vm_unmap(&stream->self->vm, BAR_GPA, BAR_SIZE);
		atomic_fetch_add(&stream->dmas, 1);
	}
	return NULL;
}

TEST_F(bar, race_of_export_and_decoding)
{
	struct stream stream = { .self = self };
	pthread_t thread;
	int i;

	unmap_bar(self);
	ASSERT_EQ(0, pthread_create(&thread, NULL, race_export, &stream));
	for (i = 0; i < 200 || atomic_load(&stream.dmas) < 100; i++)
		decode(&self->target, i % 2);
	atomic_store(&stream.stop, true);
	pthread_join(thread, NULL);
	answer(&self->target);
	ASSERT_EQ(0, map_buf(&self->vm, self->target.buf, 0, BAR_SIZE));
	EXPECT_TRUE(bar_arrives(self));
}

TEST_HARNESS_MAIN
