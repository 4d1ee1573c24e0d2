// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reset of a device that QEMU has as it is: a virtio disk
 *
 * It needs "-device virtio-blk-pci,ats=on,iommu_platform=on,disable-legacy=on" behind a
 * root port, with 4 KiB or more, and an edu beside it. The kernel blocks a function that
 * has the ATS capability while it is reset, whether the SMMU has ATS or not.
 *
 * The driver is the least that moves sectors: one queue and one request at a time. Each
 * request ends with an MSI-X.
 */
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#define find_devices find_disks

#include "../kselftest_harness.h"
#include "smmuv3_lib.h"

#define VIRTIO_BLK_ID	0x10421af4	/* as config space has it */
#define VIRTIO_BAR	4

static int find_disks(struct edu_slot *slots, int max, const char **why)
{
	int i, n = slot_find(VIRTIO_BLK_ID,
			     "no virtio disk (PCI 1af4:1042) behind an SMMUv3",
			     slots, max, why);

	for (i = 0; i < n; i++) {
		slots[i].bar = VIRTIO_BAR;
		slots[i].msix = true;
	}
	return n;
}

#include "smmuv3_test.h"
#include "smmuv3_resetter.h"

#define RESETS		20
#define SECTORS		8	/* of a request */
#define SECTOR_SIZE	512
#define DATA_SIZE	(SECTORS * SECTOR_SIZE)

/* ---- A driver for a virtio disk ---- */

#define QUEUE_SIZE	4

/*
 * What the device reads and writes, in two pages of the guest's memory. The first one is
 * the data, so all else is aligned as the device wants it.
 */
struct shared {
	__u8 data[DATA_SIZE];
	struct vring_desc desc[QUEUE_SIZE];
	struct {
		__le16 flags;
		__le16 idx;
		__le16 ring[QUEUE_SIZE];
	} avail;
	struct {
		__le16 flags;
		__le16 idx;
		struct vring_used_elem ring[QUEUE_SIZE];
	} used;
	struct virtio_blk_outhdr hdr;
	__u8 status;
};

struct disk {
	struct guest *guest;
	struct shared *shared;
	__u64 iova;		/* where the device finds @shared */
	void *common;		/* registers, VIRTIO_PCI_COMMON_* */
	__le16 *notify;		/* of the queue */
	__u16 requests;
};

static __u8 get8(const struct disk *disk, unsigned int reg)
{
	return __atomic_load_n((__u8 *)(disk->common + reg), __ATOMIC_RELAXED);
}

static void set8(struct disk *disk, unsigned int reg, __u8 val)
{
	__atomic_store_n((__u8 *)(disk->common + reg), val, __ATOMIC_RELAXED);
}

static __u16 get16(const struct disk *disk, unsigned int reg)
{
	return le16toh(__atomic_load_n((__le16 *)(disk->common + reg),
				       __ATOMIC_RELAXED));
}

static void set16(struct disk *disk, unsigned int reg, __u16 val)
{
	__atomic_store_n((__le16 *)(disk->common + reg), htole16(val),
			 __ATOMIC_RELAXED);
}

static __u32 get32(const struct disk *disk, unsigned int reg)
{
	return le32toh(__atomic_load_n((__le32 *)(disk->common + reg),
				       __ATOMIC_RELAXED));
}

static void set32(struct disk *disk, unsigned int reg, __u32 val)
{
	__atomic_store_n((__le32 *)(disk->common + reg), htole32(val),
			 __ATOMIC_RELAXED);
}

static void set_address(struct disk *disk, unsigned int reg, __u64 iova)
{
	set32(disk, reg, iova);
	set32(disk, reg + 4, iova >> 32);
}

static __u64 iova_of(const struct disk *disk, const void *what)
{
	return disk->iova + (what - (void *)disk->shared);
}

/* Where the registers of this type are in the device's BAR */
static __u32 find_regs(const char *bdf, unsigned int type, unsigned int *cap)
{
	unsigned int pos = pci_read(bdf, PCI_CAPABILITY_LIST, 1);

	while (pos >= 0x40 && pos < 0x100) {
		if (pci_read(bdf, pos, 1) == PCI_CAP_ID_VNDR &&
		    pci_read(bdf, pos + VIRTIO_PCI_CAP_CFG_TYPE, 1) == type &&
		    pci_read(bdf, pos + VIRTIO_PCI_CAP_BAR, 1) == VIRTIO_BAR) {
			*cap = pos;
			return pci_read(bdf, pos + VIRTIO_PCI_CAP_OFFSET, 4);
		}
		pos = pci_read(bdf, pos + PCI_CAP_LIST_NEXT, 1);
	}
	die("%s: no registers of type %u", bdf, type);
}

static void add_status(struct disk *disk, __u8 bit)
{
	set8(disk, VIRTIO_PCI_COMMON_STATUS,
	     get8(disk, VIRTIO_PCI_COMMON_STATUS) | bit);
}

/* The high word of the features: what the device has, and what the driver takes */
static void negotiate(struct disk *disk)
{
	__u32 want = _BITUL(VIRTIO_F_VERSION_1 - 32) |
		     _BITUL(VIRTIO_F_ACCESS_PLATFORM - 32);

	set32(disk, VIRTIO_PCI_COMMON_DFSELECT, 1);
	if ((get32(disk, VIRTIO_PCI_COMMON_DF) & want) != want)
		die("the disk is not modern, or does not use the IOMMU");
	set32(disk, VIRTIO_PCI_COMMON_GFSELECT, 0);
	set32(disk, VIRTIO_PCI_COMMON_GF, 0);
	set32(disk, VIRTIO_PCI_COMMON_GFSELECT, 1);
	set32(disk, VIRTIO_PCI_COMMON_GF, want);
	add_status(disk, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(get8(disk, VIRTIO_PCI_COMMON_STATUS) &
	      VIRTIO_CONFIG_S_FEATURES_OK))
		die("the disk takes no features");
}

/* From any state of the device, as after a reset */
static void disk_start(struct disk *disk)
{
	const char *bdf = disk->guest->edu.slot->bdf;
	void *regs = disk->guest->edu.regs;
	__u64 give_up = now_ms() + SOON;
	unsigned int cap;
	__u32 off;

	disk->common = regs + find_regs(bdf, VIRTIO_PCI_CAP_COMMON_CFG, &cap);
	set8(disk, VIRTIO_PCI_COMMON_STATUS, 0);
	while (get8(disk, VIRTIO_PCI_COMMON_STATUS))
		if (now_ms() > give_up)
			die("the disk does not reset");
	add_status(disk, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(disk, VIRTIO_CONFIG_S_DRIVER);
	negotiate(disk);

	memset(disk->shared, 0, sizeof(*disk->shared));
	disk->requests = 0;
	set16(disk, VIRTIO_PCI_COMMON_Q_SELECT, 0);
	set16(disk, VIRTIO_PCI_COMMON_Q_SIZE, QUEUE_SIZE);
	set_address(disk, VIRTIO_PCI_COMMON_Q_DESCLO,
		    iova_of(disk, disk->shared->desc));
	set_address(disk, VIRTIO_PCI_COMMON_Q_AVAILLO,
		    iova_of(disk, &disk->shared->avail));
	set_address(disk, VIRTIO_PCI_COMMON_Q_USEDLO,
		    iova_of(disk, &disk->shared->used));
	set16(disk, VIRTIO_PCI_COMMON_Q_MSIX, 0);
	if (get16(disk, VIRTIO_PCI_COMMON_Q_MSIX))
		die("the queue has no MSI-X vector");
	set16(disk, VIRTIO_PCI_COMMON_Q_ENABLE, 1);

	off = find_regs(bdf, VIRTIO_PCI_CAP_NOTIFY_CFG, &cap);
	off += get16(disk, VIRTIO_PCI_COMMON_Q_NOFF) *
	       pci_read(bdf, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
	disk->notify = regs + off;
	add_status(disk, VIRTIO_CONFIG_S_DRIVER_OK);
}

static void describe(struct disk *disk, unsigned int i, const void *what,
		     __u32 len, __u16 flags)
{
	struct vring_desc *desc = &disk->shared->desc[i];

	desc->addr = htole64(iova_of(disk, what));
	desc->len = htole32(len);
	desc->flags = htole16(flags);
	desc->next = htole16(i + 1);
}

static void disk_submit(struct disk *disk, __u32 type, __u64 sector)
{
	struct shared *s = disk->shared;
	bool in = type == VIRTIO_BLK_T_IN;

	s->hdr.type = htole32(type);
	s->hdr.ioprio = 0;
	s->hdr.sector = htole64(sector);
	s->status = 0xff;
	describe(disk, 0, &s->hdr, sizeof(s->hdr), VRING_DESC_F_NEXT);
	describe(disk, 1, s->data, DATA_SIZE,
		 VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0));
	describe(disk, 2, &s->status, 1, VRING_DESC_F_WRITE);
	s->avail.ring[disk->requests++ % QUEUE_SIZE] = 0;
	edu_wmb();
	__atomic_store_n(&s->avail.idx, htole16(disk->requests),
			 __ATOMIC_RELAXED);
	edu_wmb();
	__atomic_store_n(disk->notify, 0, __ATOMIC_RELAXED);
}

/* Waits for the interrupt of the last request, and returns whether all is well. */
static bool disk_completes(struct disk *disk)
{
	struct pollfd pfd = { .fd = disk->guest->edu.irq, .events = POLLIN };
	eventfd_t n = 0;

	if (poll(&pfd, 1, SOON) != 1 || eventfd_read(pfd.fd, &n) || n != 1) {
		fprintf(stderr, "# %llu interrupts\n", (unsigned long long)n);
		return false;
	}
	edu_rmb();
	return le16toh(disk->shared->used.idx) == disk->requests &&
	       disk->shared->status == VIRTIO_BLK_S_OK;
}

static __u8 pattern(unsigned int seed, unsigned int i)
{
	return seed * 37 + i * 5 + i / 256;
}

/* Writes sectors, and reads them back. No two calls have the same @seed. */
static bool disk_works(struct disk *disk, unsigned int seed)
{
	__u8 *data = disk->shared->data;
	unsigned int i;

	for (i = 0; i < DATA_SIZE; i++)
		data[i] = pattern(seed, i);
	disk_submit(disk, VIRTIO_BLK_T_OUT, 0);
	if (!disk_completes(disk))
		return false;
	memset(data, 0, DATA_SIZE);
	disk_submit(disk, VIRTIO_BLK_T_IN, 0);
	if (!disk_completes(disk))
		return false;
	for (i = 0; i < DATA_SIZE; i++)
		if (data[i] != pattern(seed, i))
			return false;
	return true;
}

/* ---- A VM with the disk, and another one with the edu ---- */

static struct edu_slot edu_slots[4];

FIXTURE(disk)
{
	struct host host;
	struct vm vm[2];
	struct guest guest;
	struct guest neighbour;
	struct disk disk;
	__u32 domain[2];	/* that are alike, [0] is the first one */
	unsigned int turn;
};

FIXTURE_VARIANT(disk)
{
	bool nested;
};

/* The guest's own stage 1 */
FIXTURE_VARIANT_ADD(disk, nested) { .nested = true };
FIXTURE_VARIANT_ADD(disk, plain) { .nested = false };

static void disk_init(struct disk *disk, struct guest *guest, bool nested)
{
	unsigned int i, pages = (sizeof(*disk->shared) + GUEST_PAGE - 1) /
				GUEST_PAGE;
	__u64 gpa = vm_alloc(guest->vm, pages);

	disk->guest = guest;
	disk->shared = vm_ptr(guest->vm, gpa);
	disk->iova = nested ? VA : gpa;
	for (i = 0; i < pages; i++)
		s1_map(&guest->s1, VA + i * GUEST_PAGE, gpa + i * GUEST_PAGE);
	s1_map(&guest->s1, DOORBELL, DOORBELL);
}

FIXTURE_SETUP(disk)
{
	struct guest *guest = &self->guest;
	const char *lack = lacks(edu_own_group(0), NULL);
	int i;

	if (lack || !edu_find(edu_slots, 4, &lack))
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	if (!self->host.regs)
		SKIP(return, "no /dev/mem to look at the SMMU's tables");
	for (i = 0; i < 2; i++)
		vm_init(&self->vm[i]);

	guest_open(guest, &self->vm[0], edu_own_group(0));
	disk_init(&self->disk, guest, variant->nested);
	guest->vdevice = vdevice_alloc(guest->vm, guest->viommu,
				       guest->edu.dev_id, VSID);
	for (i = 0; i < 2; i++)
		if (variant->nested)
			self->domain[i] = guest_nested(guest, vste_s1(&guest->s1));
		else
			self->domain[i] = i ? parent_alloc(guest->vm,
							   guest->edu.dev_id,
							   guest->vm->ioas) :
					      guest->s2;
	edu_attach(&guest->edu, self->domain[0]);
	edu_irq_enable(&guest->edu);
	disk_start(&self->disk);

	guest_device(&self->neighbour, &self->vm[1], &edu_slots[0]);
	edu_load_tokens(&self->neighbour.edu);
}

FIXTURE_TEARDOWN(disk)
{
	int i;

	if (!self->vm[0].ram)
		return;
	edu_close(&self->guest.edu);
	edu_close(&self->neighbour.edu);
	for (i = 0; i < 2; i++)
		vm_free(&self->vm[i]);
	EXPECT_TRUE(host_is_fine(&self->host));
}

static int attach_next(void *arg)
{
	struct _test_data_disk *self = arg;
	int rc = __edu_attach(&self->guest.edu, self->domain[!(self->turn & 1)]);

	if (!rc)
		self->turn++;
	return rc;
}

static int reset(void *arg)
{
	struct _test_data_disk *self = arg;

	return ioctl(self->guest.edu.fd, VFIO_DEVICE_RESET) ? errno : 0;
}

TEST_F(disk, is_blocked_in_a_reset)
{
	const char *bdf = self->guest.edu.slot->bdf;
	unsigned int config = variant->nested ? STE_CONFIG_NESTED : STE_CONFIG_S2;
	unsigned int blocked = 0, done;
	__u64 page = vm_alloc(&self->vm[1], 1), start, usual;
	struct resetter r;

	EXPECT_TRUE(disk_works(&self->disk, 1));
	EXPECT_EQ(config, ste_config(&self->host, bdf));
	start = now_ms();
	EXPECT_EQ(page, edu_lands(&self->neighbour.edu, page));
	usual = now_ms() - start;

	reset_start(&r, reset, attach_next, self, RESETS);
	while (in_reset(&r)) {
		/* Look between two attempts to attach that fall into one reset. */
		done = r.done;
		if (attach_next(self) != EBUSY)
			continue;
		config = ste_config(&self->host, bdf);
		if (attach_next(self) != EBUSY || r.done != done)
			continue;
		EXPECT_EQ(STE_CONFIG_ABORT, config);
		blocked++;
		start = now_ms();
		EXPECT_EQ(page, edu_lands(&self->neighbour.edu, page));
		/* The machine may be busy, but nothing waits for the disk. */
		EXPECT_LT(now_ms() - start, 10 * usual + 5000);
	}
	EXPECT_EQ(0, resets_failed(&r));
	EXPECT_LT(0, blocked);
	TH_LOG("%u times blocked", blocked);

	disk_start(&self->disk);
	EXPECT_TRUE(disk_works(&self->disk, 2));
}

TEST_F(disk, works_after_each_reset)
{
	unsigned int i;

	for (i = 0; i < RESETS; i++) {
		EXPECT_TRUE(disk_works(&self->disk, i))
			TH_LOG("after %u resets", i);
		ASSERT_EQ(0, reset(self));
		/* It has forgotten all that the driver had set. */
		EXPECT_EQ(0, get8(&self->disk, VIRTIO_PCI_COMMON_STATUS));
		disk_start(&self->disk);
	}
	EXPECT_TRUE(disk_works(&self->disk, RESETS));
}

TEST_HARNESS_MAIN
