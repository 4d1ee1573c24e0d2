// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reset of a VM's device with ATS, on an SMMUv3, by each method that PCI has
 *
 * The devices are viommu-dma, see smmuv3_dma_dev.h. While they are reset they answer no
 * ATC_INV: one that is issued makes the SMMU report an error, which host_is_fine() sees.
 * A test knows that a device is in reset while VFIO refuses to attach it with EBUSY.
 */
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#define find_devices find_all

#include "../kselftest_harness.h"
#include "smmuv3_dma_dev.h"

/* A viommu-dma that has this ID instead, for which the kernel has a method of its own */
#define SPECIFIC_ID	0x09538086

static int find_all(struct edu_slot *slots, int max, const char **why)
{
	int n = dma_find(slots, max, why);
	const char *lack;

	if (n)
		n += slot_find(SPECIFIC_ID, "", slots + n, max - n, &lack);
	return n;
}

#include "smmuv3_dma_test.h"
#include "smmuv3_resetter.h"

#define PCI_DEVICES	"/sys/bus/pci/devices"

/* ---- Ways to reset a device ---- */

enum above { ANYTHING, PORT, HOTPLUG_PORT, TWO_PORTS };

enum by {
	BY_VFIO,		/* VFIO_DEVICE_RESET with .method */
	BY_HOT_RESET,		/* VFIO_DEVICE_PCI_HOT_RESET */
	BY_AER,			/* a fatal error of the device */
	BY_AER_OF_PORT,		/* a fatal error of the port above */
	BY_AER_OF_SECOND_PORT,	/* and of the one above that */
	BY_DPC,			/* the port above contains an error */
};

struct way {
	enum by by;
	const char *method;	/* as reset_method in sysfs has it */
	enum above above;	/* the device is behind this */
	unsigned int functions;	/* that are reset, 1 unless it is given */
	__u64 knobs;
	bool late;		/* the kernel blocks the device when it is in reset */
	__u64 ms;		/* by which the reset takes longer */
	unsigned int rounds;	/* 10 unless it is given */
};

/* pciehp has one at each port that it handles. */
static bool in_hotplug_slot(const char *bdf)
{
	bool found = false;
	char address[16];
	glob_t paths;
	ssize_t n;
	size_t i;
	int fd;

	if (glob("/sys/bus/pci/slots/*/address", 0, NULL, &paths))
		return false;
	for (i = 0; i < paths.gl_pathc && !found; i++) {
		fd = open(paths.gl_pathv[i], O_RDONLY);
		if (fd < 0)
			continue;
		n = read(fd, address, sizeof(address) - 1);
		close(fd);
		address[n < 0 ? 0 : n] = 0;
		address[strcspn(address, "\n")] = 0;
		found = *address && !strncmp(address, bdf, strlen(address));
	}
	globfree(&paths);
	return found;
}

static enum above what_is_above(const struct edu_slot *slot)
{
	char bridge[NAME_MAX], second[NAME_MAX];

	if (!pci_bridge_of(slot->bdf, bridge, sizeof(bridge)))
		return ANYTHING;
	if (pci_bridge_of(bridge, second, sizeof(second)))
		return TWO_PORTS;
	return in_hotplug_slot(slot->bdf) ? HOTPLUG_PORT : PORT;
}

static bool same_device(const struct edu_slot *a, const struct edu_slot *b)
{
	return !strncmp(a->bdf, b->bdf, strcspn(a->bdf, "."));
}

/* Another function of the device, in a group of its own */
static const struct edu_slot *sibling(const struct edu_slot *slot)
{
	const struct edu_slot *other;
	int i;

	for (i = 0; (other = edu_own_group(i)); i++)
		if (other != slot && same_device(slot, other))
			return other;
	return NULL;
}

static int set_method(const struct edu_slot *slot, const char *method)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/reset_method", slot->bdf);
	return write_line(path, method);
}

static bool has_aer(const struct edu_slot *slot)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/aer_dev_fatal", slot->bdf);
	return !access(path, R_OK);
}

/* Where the port above has DPC in its configuration space, or 0 */
static unsigned int dpc_above(const struct edu_slot *slot, char *port,
			      size_t size)
{
	unsigned int pos = 0x100;
	__u32 header;

	if (!pci_bridge_of(slot->bdf, port, size))
		return 0;
	while (pos) {
		header = pci_read(port, pos, 4);
		if (header == ~0U)
			return 0;
		if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_DPC)
			return pos;
		pos = PCI_EXT_CAP_NEXT(header);
	}
	return 0;
}

/* A device that can be reset this way. From here on it is, when VFIO resets it. */
static const struct edu_slot *find_for(const struct way *way)
{
	bool aer = way->by == BY_AER || way->by == BY_AER_OF_PORT;
	bool pair = way->functions == 2;
	const struct edu_slot *slot;
	char port[NAME_MAX];
	int i;

	for (i = 0; (slot = edu_own_group(i)); i++) {
		if (way->above && what_is_above(slot) != way->above)
			continue;
		if (pair != !!sibling(slot))
			continue;
		if (aer && !has_aer(slot))
			continue;
		if (way->by == BY_DPC && !dpc_above(slot, port, sizeof(port)))
			continue;
		if (!way->method || !set_method(slot, way->method))
			return slot;
	}
	return NULL;
}

static const struct edu_slot *neighbour_of(const struct edu_slot *slot)
{
	const struct edu_slot *other;
	int i;

	for (i = 0; (other = edu_own_group(i)); i++)
		if (!same_device(slot, other))
			return other;
	return NULL;
}

/* What the kernel's aer_inject.c reads */
struct aer_error_inj {
	__u8 bus;
	__u8 dev;
	__u8 fn;
	__u32 uncor_status;
	__u32 cor_status;
	__u32 header_log[4];
	__u32 domain;
};

static int inject_fatal_error(const char *bdf)
{
	struct aer_error_inj inj = { .uncor_status = PCI_ERR_UNC_DLP };
	unsigned int domain, bus, dev, fn;
	int fd, rc = 0;

	if (sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		die("%s is no address of a PCI device", bdf);
	inj.domain = domain;
	inj.bus = bus;
	inj.dev = dev;
	inj.fn = fn;
	fd = open("/dev/aer_inject", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (write(fd, &inj, sizeof(inj)) != sizeof(inj))
		rc = errno;
	close(fd);
	return rc;
}

/* PCIe 7.9.14.3 */
#define DPC_CTL_SW_TRIGGER	0x40

static int trigger_dpc(const struct edu_slot *slot)
{
	char port[NAME_MAX], path[PATH_MAX];
	unsigned int pos = dpc_above(slot, port, sizeof(port)) +
			   PCI_EXP_DPC_CTL;
	__le16 ctl = htole16(pci_read(port, pos, 2) | DPC_CTL_SW_TRIGGER);
	int fd, rc = 0;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/config", port);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (pwrite(fd, &ctl, sizeof(ctl), pos) != sizeof(ctl))
		rc = errno;
	close(fd);
	return rc;
}

static int make_error(const struct edu_slot *slot, enum by by)
{
	char port[NAME_MAX], second[NAME_MAX];

	if (by == BY_DPC)
		return trigger_dpc(slot);
	if (by == BY_AER)
		return inject_fatal_error(slot->bdf);
	pci_bridge_of(slot->bdf, port, sizeof(port));
	if (by == BY_AER_OF_PORT)
		return inject_fatal_error(port);
	pci_bridge_of(port, second, sizeof(second));
	return inject_fatal_error(second);
}

/* The kernel recovers from an error, for which it resets the device. */
static int recover_from(enum by by, struct edu *edu)
{
	struct pollfd pfd = { .events = POLLIN };
	__u64 give_up = now_ms() + SOON;
	int rc = ETIMEDOUT;
	char line[8192];
	ssize_t n;

	pfd.fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (pfd.fd < 0)
		return errno;
	lseek(pfd.fd, 0, SEEK_END);
	must(make_error(edu->slot, by), "an error for the kernel");
	while (rc == ETIMEDOUT && now_ms() < give_up) {
		n = read(pfd.fd, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0) {
			poll(&pfd, 1, 100);
			continue;
		}
		line[n] = 0;
		if (strstr(line, "device recovery successful"))
			rc = 0;
		else if (strstr(line, "device recovery failed"))
			rc = EIO;
	}
	close(pfd.fd);
	/* No driver restores the configuration. */
	edu_set_master(edu);
	return rc;
}

static int reset_by(const struct way *way, struct edu *edu)
{
	struct vfio_pci_hot_reset hot = { .argsz = sizeof(hot) };

	switch (way->by) {
	case BY_VFIO:
		return ioctl(edu->fd, VFIO_DEVICE_RESET) ? errno : 0;
	case BY_HOT_RESET:
		return ioctl(edu->fd, VFIO_DEVICE_PCI_HOT_RESET, &hot) ?
		       errno : 0;
	default:
		return recover_from(way->by, edu);
	}
}

/* ---- A VM whose device is reset, and another one ---- */

#define NEIGHBOUR	2

struct bench {
	struct host host;
	struct way way;
	struct vm vm[2];
	struct guest guest[3];	/* one or two that are reset, NEIGHBOUR is not */
	__u32 other[2];		/* a domain that is like the one in use */
	__u64 page[3];		/* where DMA goes to, see dma_at() */
	unsigned int turn[2];	/* which of the two domains comes next */
	void *dimm;
};

/* Where DMA of a guest goes to its page */
static __u64 dma_at(struct bench *b, unsigned int i)
{
	return b->guest[i].nested ? VA : b->page[i];
}

static void knobs_on(struct bench *b, __u64 knobs)
{
	unsigned int i;

	for (i = 0; i < b->way.functions; i++) {
		edu_set(&b->guest[i].edu, DMA_KNOBS, knobs);
		edu_set(&b->guest[i].edu, DMA_RESET_MS, b->way.ms);
	}
}

static void bench_guest(struct bench *b, unsigned int i, struct vm *vm,
			const struct edu_slot *slot, bool nested)
{
	struct guest *guest = &b->guest[i];

	guest_open(guest, vm, slot);
	guest->vdevice = vdevice_alloc(vm, guest->viommu, guest->edu.dev_id,
				       VSID);
	b->page[i] = vm_alloc(vm, 1);
	s1_map(&guest->s1, VA, b->page[i]);
	if (nested) {
		guest->nested = guest_nested(guest, vste_eats(&guest->s1, 1));
		edu_attach(&guest->edu, guest->nested);
	}
	if (i == NEIGHBOUR)
		return;
	if (nested)
		b->other[i] = guest_nested(guest, vste_eats(&guest->s1, 1));
	else
		b->other[i] = parent_alloc(vm, guest->edu.dev_id, vm->ioas);
}

/* Returns why not */
static const char *bench_up(struct bench *b, const struct way *way, bool nested)
{
	const struct edu_slot *slot;
	const char *lack;
	unsigned int i;

	lack = lacks(edu_own_group(1), "needs two viommu-dma devices");
	if (lack)
		return lack;
	if (!(smmu_reg(edu_own_group(0), IDR0) & IDR0_ATS))
		return "needs an SMMU with ATS";
	b->way = *way;
	b->way.functions = way->functions ?: 1;
	b->way.rounds = way->rounds ?: 10;
	slot = find_for(&b->way);
	if (!slot)
		return "needs a viommu-dma that can be reset this way";

	host_watch(&b->host, slot);
	if (!b->host.regs)
		return "no /dev/mem to look at the SMMU's tables";
	for (i = 0; i < 2; i++)
		vm_init(&b->vm[i]);
	bench_guest(b, 0, &b->vm[0], slot, nested);
	if (b->way.functions == 2)
		bench_guest(b, 1, &b->vm[0], sibling(slot), nested);
	bench_guest(b, NEIGHBOUR, &b->vm[1], neighbour_of(slot), nested);
	b->dimm = dimm_alloc(1);
	knobs_on(b, (way->late ? 0 : DMA_KNOB_RESET_SILENT) | way->knobs);
	return NULL;
}

/* Returns whether the host has got over it */
static bool bench_down(struct bench *b)
{
	unsigned int i;

	if (!b->vm[0].ram)
		return true;
	b->way.ms = 0;
	knobs_on(b, 0);
	for (i = 0; i < b->way.functions; i++) {
		dma_close(&b->guest[i].edu);
		if (b->way.method)
			set_method(b->guest[i].edu.slot, "default");
	}
	dma_close(&b->guest[NEIGHBOUR].edu);
	for (i = 0; i < 2; i++)
		vm_free(&b->vm[i]);
	return host_is_fine(&b->host);
}

/* Attach to one of two domains that are alike, the other one next time */
static int attach_next(struct bench *b, unsigned int i)
{
	struct guest *guest = &b->guest[i];
	__u32 first = guest->nested ?: guest->s2;
	int rc = __edu_attach(&guest->edu, b->turn[i] & 1 ? first : b->other[i]);

	if (!rc)
		b->turn[i]++;
	return rc;
}

static bool is_blocked(struct bench *b, unsigned int i)
{
	return ste_config(&b->host, b->guest[i].edu.slot->bdf) ==
	       STE_CONFIG_ABORT;
}

/*
 * Attach, or find out that it would fail. An attach waits for the end of a hot reset:
 * both take VFIO's lock of all functions that are reset together.
 */
static int bench_attach(void *arg)
{
	struct bench *b = arg;

	if (b->way.by == BY_HOT_RESET)
		return is_blocked(b, 0) ? EBUSY : 0;
	return attach_next(b, 0);
}

static int bench_reset(void *arg)
{
	struct bench *b = arg;

	return reset_by(&b->way, &b->guest[0].edu);
}

/* The host unmaps memory, and each guest invalidates its device's ATC. */
static void invalidate(struct bench *b)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd = atc_inv(VSID, 0, 52);
	unsigned int i;

	vm_map(&b->vm[0], DIMM, b->dimm, GUEST_PAGE);
	vm_unmap(&b->vm[0], DIMM, GUEST_PAGE);
	for (i = 0; i < b->way.functions; i++)
		guest_cmd(&b->guest[i], cmd);
}

static void neighbour_runs(struct bench *b)
{
	dma_stream_start(&b->guest[NEIGHBOUR].edu, DMA_ATC,
			 dma_at(b, NEIGHBOUR), 64);
}

static void neighbour_makes_a_lap(struct bench *b)
{
	struct edu *edu = &b->guest[NEIGHBOUR].edu;
	__u64 laps = edu_get(edu, DMA_LAPS), give_up = now_ms() + SOON;

	while (edu_get(edu, DMA_LAPS) == laps)
		if (now_ms() > give_up)
			die("the DMA of another VM stands still");
}

/* Returns whether all of it was right */
static bool neighbour_stops(struct bench *b)
{
	struct edu *edu = &b->guest[NEIGHBOUR].edu;

	dma_stream_stop(edu);
	return !edu_get(edu, DMA_LAPS_BAD) && !edu_get(edu, DMA_LAPS_FAILED);
}

FIXTURE(reset)
{
	struct bench b;
};

FIXTURE_VARIANT(reset)
{
	bool nested;
	struct way way;
};

/* The guest's own stage 1 */
FIXTURE_VARIANT_ADD(reset, nested) {
	.nested = true,
	.way = { .method = "flr" },
};

/* Stage 2 alone, for which the nest parent has a VMID of its own */
FIXTURE_VARIANT_ADD(reset, plain) {
	.way = { .method = "flr" },
};

FIXTURE_VARIANT_ADD(reset, af_flr) {
	.nested = true,
	.way = { .method = "af_flr" },
};

/* D3hot and D0 again take 20 ms, so the device needs more */
FIXTURE_VARIANT_ADD(reset, pm) {
	.nested = true,
	.way = {
		.method = "pm",
		.knobs = DMA_KNOB_RESET_CONFIG,
		.ms = 150,
	},
};

FIXTURE_VARIANT_ADD(reset, bus) {
	.nested = true,
	.way = { .method = "bus", .above = PORT },
};

FIXTURE_VARIANT_ADD(reset, bus_plain) {
	.way = { .method = "bus", .above = PORT },
};

/* pciehp waits seconds for QEMU's slots */
FIXTURE_VARIANT_ADD(reset, slot) {
	.nested = true,
	.way = { .method = "bus", .above = HOTPLUG_PORT, .rounds = 3 },
};

/* An FLR and 250 ms, in all of which the device is silent */
FIXTURE_VARIANT_ADD(reset, specific) {
	.nested = true,
	.way = { .method = "device_specific", .ms = 230 },
};

/* The device's _RST */
FIXTURE_VARIANT_ADD(reset, acpi) {
	.nested = true,
	.way = { .method = "acpi" },
};

FIXTURE_VARIANT_ADD(reset, hot_bus) {
	.nested = true,
	.way = { .by = BY_HOT_RESET, .above = PORT, .functions = 2 },
};

FIXTURE_VARIANT_ADD(reset, hot_slot) {
	.nested = true,
	.way = {
		.by = BY_HOT_RESET,
		.above = HOTPLUG_PORT,
		.functions = 2,
		.rounds = 3,
	},
};

FIXTURE_VARIANT_ADD(reset, aer) {
	.nested = true,
	.way = { .by = BY_AER, .above = PORT },
};

FIXTURE_VARIANT_ADD(reset, aer_of_port) {
	.nested = true,
	.way = { .by = BY_AER_OF_PORT, .above = PORT, .rounds = 3 },
};

FIXTURE_VARIANT_ADD(reset, aer_slot) {
	.nested = true,
	.way = { .by = BY_AER, .above = HOTPLUG_PORT, .rounds = 3 },
};

/* What the kernel issues before it knows may get no answer. */
FIXTURE_VARIANT_ADD(reset, dpc) {
	.nested = true,
	.way = { .by = BY_DPC, .above = PORT, .late = true },
};

FIXTURE_SETUP(reset)
{
	const char *lack = bench_up(&self->b, &variant->way, variant->nested);

	if (lack)
		SKIP(return, "%s", lack);
}

FIXTURE_TEARDOWN(reset)
{
	EXPECT_TRUE(bench_down(&self->b));
}

/*
 * The host unmaps memory and the guest invalidates while the device does not answer,
 * and another VM's device goes on.
 */
TEST_F(reset, nothing_waits_for_it)
{
	struct bench *b = &self->b;
	unsigned int i, busy[2] = { };
	struct resetter r;

	neighbour_runs(b);
	reset_start(&r, bench_reset, bench_attach, b, b->way.rounds);
	while (in_reset(&r)) {
		for (i = 0; i < b->way.functions; i++)
			busy[i] += is_blocked(b, i);
		invalidate(b);
		for (i = 0; i < b->way.functions && variant->nested; i++)
			EXPECT_EQ(EBUSY, __iommu_destroy(b->guest[i].vm,
							 b->guest[i].vdevice));
		neighbour_makes_a_lap(b);
	}
	EXPECT_EQ(0, resets_failed(&r));
	for (i = 0; i < b->way.functions; i++)
		EXPECT_LT(0, busy[i])
			TH_LOG("function %u was never blocked", i);
	EXPECT_TRUE(neighbour_stops(b));
	TH_LOG("%u times blocked", busy[0]);
}

/* Invalidations of the guest, or those of the host, empty the device's ATC. */
static void obeys(struct __test_metadata *_metadata, struct bench *b,
		  unsigned int i)
{
	struct guest *guest = &b->guest[i];
	__u64 at = dma_at(b, i);

	if (guest->nested) {
		EXPECT_EQ(DMA_OK, dma_probe(&guest->edu, DMA_ATC, at, NULL));
		guest_cmd(guest, atc_inv(VSID, 0, 52));
	} else {
		at = DIMM;
		vm_map(guest->vm, DIMM, b->dimm, GUEST_PAGE);
		EXPECT_TRUE(dma_reaches(&guest->edu, DMA_ATC, DIMM, b->dimm));
		EXPECT_EQ(DMA_OK, dma_probe(&guest->edu, DMA_ATC, at, NULL));
		vm_unmap(guest->vm, DIMM, GUEST_PAGE);
	}
	EXPECT_EQ(DMA_NOT_IN_ATC, dma_probe(&guest->edu, DMA_ATC, at, NULL));
}

/* After each reset the device translates, has ATS, and obeys invalidations. */
TEST_F(reset, comes_back)
{
	struct bench *b = &self->b;
	unsigned int i, round;
	struct guest *guest;
	__u64 at, addr;

	/* Nobody invalidates before the kernel knows. */
	knobs_on(b, DMA_KNOB_RESET_SILENT | b->way.knobs);
	for (round = 0; round < b->way.rounds; round++) {
		for (i = 0; i < b->way.functions; i++) {
			guest = &b->guest[i];
			at = dma_at(b, i);
			EXPECT_EQ(b->page[i],
				  dma_lands(&guest->edu, DMA_ATC, at));
			EXPECT_EQ(DMA_OK, dma_probe(&guest->edu, DMA_ATC, at,
						    &addr));
		}
		ASSERT_EQ(0, bench_reset(b));
		for (i = 0; i < b->way.functions; i++) {
			guest = &b->guest[i];
			EXPECT_EQ(DMA_NOT_IN_ATC,
				  dma_probe(&guest->edu, DMA_ATC, dma_at(b, i),
					    NULL));
			/* The one that comes before ATS is enabled */
			EXPECT_EQ(1, edu_get(&guest->edu, DMA_INVS));
		}
	}
	for (i = 0; i < b->way.functions; i++) {
		EXPECT_EQ(b->page[i], dma_lands(&b->guest[i].edu, DMA_ATC,
						dma_at(b, i)));
		obeys(_metadata, b, i);
	}
}

/* The domains that the device had are gone when the reset ends. */
TEST_F(reset, detach_in_reset)
{
	struct bench *b = &self->b;
	struct resetter r;
	struct guest *guest;
	unsigned int i;
	__u32 s2;

	reset_start(&r, bench_reset, bench_attach, b, 1);
	ASSERT_TRUE(in_reset(&r));
	for (i = 0; i < b->way.functions; i++)
		edu_detach(&b->guest[i].edu);
	for (i = 0; i < b->way.functions; i++) {
		guest = &b->guest[i];
		iommu_destroy(guest->vm, b->other[i]);
		if (variant->nested)
			iommu_destroy(guest->vm, guest->nested);
		iommu_destroy(guest->vm, guest->vdevice);
		iommu_destroy(guest->vm, guest->viommu);
	}
	iommu_destroy(&b->vm[0], b->vm[0].s2);
	EXPECT_EQ(0, resets_failed(&r));

	for (i = 0; i < b->way.functions; i++) {
		guest = &b->guest[i];
		s2 = parent_alloc(guest->vm, guest->edu.dev_id,
				  guest->vm->ioas);
		edu_attach(&guest->edu, s2);
		EXPECT_EQ(b->page[i],
			  dma_lands(&guest->edu, DMA_ATC, b->page[i]));
	}
}

/* ---- Resets that fail ---- */

/* VFIO's reset fails, and the device stays blocked. */
static void fail(struct __test_metadata *_metadata, struct bench *b)
{
	struct resetter r;

	EXPECT_EQ(b->page[0],
		  dma_lands(&b->guest[0].edu, DMA_ATC, dma_at(b, 0)));
	neighbour_runs(b);
	reset_start(&r, bench_reset, bench_attach, b, 1);
	ASSERT_TRUE(in_reset(&r));
	do {
		ASSERT_EQ(EBUSY, attach_next(b, 0));
		invalidate(b);
		neighbour_makes_a_lap(b);
		usleep(1000);
	} while (!r.done);
	EXPECT_EQ(1, resets_failed(&r));

	EXPECT_EQ(EBUSY, attach_next(b, 0));
	EXPECT_TRUE(is_blocked(b, 0));
	invalidate(b);
	neighbour_makes_a_lap(b);
	EXPECT_TRUE(neighbour_stops(b));
}

/* The next reset succeeds. */
static void recover(struct __test_metadata *_metadata, struct bench *b)
{
	struct guest *guest = &b->guest[0];
	__u64 at = dma_at(b, 0);

	knobs_on(b, DMA_KNOB_RESET_SILENT);
	ASSERT_EQ(0, bench_reset(b));
	EXPECT_EQ(b->page[0], dma_lands(&guest->edu, DMA_ATC, at));
	EXPECT_EQ(0, attach_next(b, 0));
	EXPECT_EQ(b->page[0], dma_lands(&guest->edu, DMA_ATC, at));
	obeys(_metadata, b, 0);
}

/* The link to the device does not come back, which the kernel awaits for a second. */
FIXTURE(failed)
{
	struct bench b;
};

FIXTURE_VARIANT(failed)
{
	bool nested;
};

FIXTURE_VARIANT_ADD(failed, nested) { .nested = true };
FIXTURE_VARIANT_ADD(failed, plain) { .nested = false };

FIXTURE_SETUP(failed)
{
	const struct way way = {
		.method = "bus",
		.above = PORT,
		.knobs = DMA_KNOB_RESET_LINK,
	};
	const char *lack = bench_up(&self->b, &way, variant->nested);

	if (lack)
		SKIP(return, "%s", lack);
}

FIXTURE_TEARDOWN(failed)
{
	EXPECT_TRUE(bench_down(&self->b));
}

TEST_F(failed, next_reset_brings_it_back)
{
	struct bench *b = &self->b;

	fail(_metadata, b);
	/* The device itself could do DMA again. */
	EXPECT_EQ(DMA_ABORTED, dma_write(&b->guest[0].edu, DMA_UNTRANSLATED,
					 dma_at(b, 0), 1));
	recover(_metadata, b);
}

/* Whoever opens the device next resets it, and can attach it if that succeeds. */
TEST_F(failed, next_owner_resets_it)
{
	struct bench *b = &self->b;
	struct guest *guest = &b->guest[0];
	const struct edu_slot *slot = guest->edu.slot;
	__u32 s2;

	fail(_metadata, b);
	/* VFIO resets the device when it is closed and opened, which fails again. */
	edu_close(&guest->edu);
	edu_open(&guest->edu, &b->vm[0], slot);
	s2 = parent_alloc(&b->vm[0], guest->edu.dev_id, b->vm[0].ioas);
	EXPECT_EQ(EBUSY, __edu_attach(&guest->edu, s2));

	edu_set(&guest->edu, DMA_KNOBS, DMA_KNOB_RESET_SILENT);
	edu_close(&guest->edu);
	edu_open(&guest->edu, &b->vm[0], slot);
	edu_attach(&guest->edu, s2);
	EXPECT_EQ(b->page[0], dma_lands(&guest->edu, DMA_ATC, b->page[0]));
}

/*
 * The bus above a port is reset, and the port does not know its own buses until its driver
 * has restored it. VFIO leaves the device itself to its user.
 */
FIXTURE(far)
{
	struct bench b;
};

FIXTURE_SETUP(far)
{
	/* Silent for longer than the reset takes */
	const struct way way = {
		.by = BY_AER_OF_SECOND_PORT,
		.above = TWO_PORTS,
		.ms = 5000,
	};
	const char *lack = bench_up(&self->b, &way, true);

	if (lack)
		SKIP(return, "%s", lack);
}

FIXTURE_TEARDOWN(far)
{
	EXPECT_TRUE(bench_down(&self->b));
}

/* The kernel has said this since @kmsg was at its end. */
static bool was_logged(int kmsg, const char *text)
{
	bool found = false;
	char line[8192];
	ssize_t n;

	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		line[n > 0 ? n : 0] = 0;
		found |= !!strstr(line, text);
	}
	return found;
}

TEST_F(far, is_blocked_until_it_is_restored)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct bench *b = &self->b;
	struct edu *edu = &b->guest[0].edu;

	ASSERT_LE(0, kmsg);
	lseek(kmsg, 0, SEEK_END);
	neighbour_runs(b);
	ASSERT_EQ(0, reset_by(&b->way, edu));
	/* Nor has the reset failed */
	EXPECT_TRUE(was_logged(kmsg, "blocked until it is reset or restored"));
	close(kmsg);
	EXPECT_TRUE(is_blocked(b, 0));
	EXPECT_EQ(EBUSY, attach_next(b, 0));
	invalidate(b);
	neighbour_makes_a_lap(b);

	edu_set(edu, DMA_RESET_MS, 0);
	ASSERT_EQ(0, ioctl(edu->fd, VFIO_DEVICE_RESET));
	EXPECT_FALSE(is_blocked(b, 0));
	ASSERT_EQ(0, attach_next(b, 0));
	EXPECT_EQ(b->page[0], dma_lands(edu, DMA_ATC, dma_at(b, 0)));
	dma_stream_stop(&b->guest[NEIGHBOUR].edu);
}

/*
 * The device does not even answer accesses to its configuration space, which the kernel
 * awaits for a minute.
 */
FIXTURE(hung)
{
	struct bench b;
};

FIXTURE_VARIANT(hung)
{
	const char *method;
};

FIXTURE_VARIANT_ADD(hung, flr) { .method = "flr" };
/* The method does not care whether its FLR has succeeded */
FIXTURE_VARIANT_ADD(hung, specific) { .method = "device_specific" };

FIXTURE_SETUP(hung)
{
	const struct way way = {
		.method = variant->method,
		.knobs = DMA_KNOB_RESET_CONFIG,
		.ms = 80000,
	};
	const char *lack = bench_up(&self->b, &way, true);

	if (lack)
		SKIP(return, "%s", lack);
}

FIXTURE_TEARDOWN(hung)
{
	EXPECT_TRUE(bench_down(&self->b));
}

TEST_F(hung, next_reset_brings_it_back)
{
	struct bench *b = &self->b;
	struct edu *edu = &b->guest[0].edu;
	__u64 give_up;

	fail(_metadata, b);
	give_up = now_ms() + SOON;
	while (pci_read(edu->slot->bdf, PCI_VENDOR_ID, 4) == ~0U) {
		ASSERT_LT(now_ms(), give_up);
		usleep(1000);
	}
	/* The device has answered in the end, but nobody saw that it did. */
	EXPECT_EQ(EBUSY, attach_next(b, 0));
	edu_set_master(edu);
	b->way.ms = 0;
	recover(_metadata, b);
}

TEST_HARNESS_MAIN
