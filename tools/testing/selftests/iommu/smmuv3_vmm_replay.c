// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM calls while its VM lives, in its own order: as QEMU 11 does it for
 * an arm-smmuv3 with accel=on, taken from the trace events of iommufd. A device
 * that the guest has not set up waits behind one of two nested domains, abort or
 * bypass, which is chosen by the guest's GBPA register. Needs what smmuv3_lib.h
 * needs, two devices.
 */
#include <endian.h>

#include "../kselftest_harness.h"
#include "smmuv3_test.h"
#include "smmuv3_vevent.h"

#define BUS(n)	((n) << 8)	/* the vSID of a device behind a root port */

FIXTURE(vm_life)
{
	struct host host;
	struct klog klog;
	struct vm vm;
	struct guest guest;		/* the first device, and the vSMMU */
	struct edu other;
	struct veventq q;
	unsigned int events;		/* so far */
	__u32 abort, bypass, waiting;
};

FIXTURE_VARIANT(vm_life)
{
	bool abort;			/* GBPA.ABORT */
};

FIXTURE_VARIANT_ADD(vm_life, behind_abort) { .abort = true };
FIXTURE_VARIANT_ADD(vm_life, behind_bypass) { .abort = false };

/* The VMM makes its devices: each first gets stage 2, the first a vSMMU. */
FIXTURE_SETUP(vm_life)
{
	const char *lack = lacks(edu_own_group(1), LACKS_SECOND);
	struct guest *guest = &self->guest;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	klog_open(&self->klog);
	vm_init(&self->vm);
	guest_open(guest, &self->vm, edu_own_group(0));
	self->abort = guest_nested(guest, vste_abort());
	self->bypass = guest_nested(guest, vste_bypass());
	self->waiting = variant->abort ? self->abort : self->bypass;
	edu_attach(&guest->edu, self->waiting);
	edu_open(&self->other, &self->vm, edu_own_group(1));
	edu_attach(&self->other, self->vm.s2);
	edu_attach(&self->other, self->waiting);
	/* The machine's first reset */
	edu_attach(&self->other, self->waiting);
	edu_attach(&guest->edu, self->waiting);
}

FIXTURE_TEARDOWN(vm_life)
{
	if (!self->vm.ram)
		return;
	if (self->other.fd >= 0)
		edu_close(&self->other);
	if (self->guest.edu.fd >= 0)
		edu_close(&self->guest.edu);
	vm_free(&self->vm);
	klog_close(&self->klog);
	EXPECT_TRUE(host_is_fine(&self->host));
}

/* Until the guest has set it up, it gets nowhere or where stage 2 leads. */
#define EXPECT_WAITING()                                                      \
	do {                                                                  \
		__u64 __page = vm_alloc(&self->vm, 1);                        \
									      \
		EXPECT_EQ(!variant->abort,                                    \
			  arrives(&self->guest, __page, __page));             \
	} while (0)

/*
 * The guest has set it up: its DMA goes by the guest's tables, and what they lack
 * is an event for the guest, with the vSID that the device has now.
 */
#define EXPECT_ALIVE(vsid)                                                    \
	do {                                                                  \
		__u64 __page = vm_alloc(&self->vm, 1);                        \
		__u32 __vsid = vsid;                                          \
		struct vevent __event;                                        \
		struct evt __evt;                                             \
									      \
		s1_map(&self->guest.s1, VA, __page);                          \
		guest_cmd(&self->guest, cmd_tlbi_nh_va(ASID, VA));            \
		EXPECT_TRUE(arrives(&self->guest, VA, __page));               \
		guest_cmd(&self->guest, cmd_cfgi_cd(__vsid));                 \
		edu_write(&self->guest.edu, VA2, 0, 4);                       \
		ASSERT_TRUE(vevent_wait(&self->q, SOON));                     \
		ASSERT_EQ(1, vevent_read(&self->q, &__event, 1));             \
		__evt = vevent_decode(&__event);                              \
		EXPECT_EQ(EVT_F_TRANSLATION, __evt.id);                       \
		EXPECT_EQ(__vsid, __evt.sid);                                 \
		EXPECT_EQ(VA2, __evt.addr);                                   \
		EXPECT_EQ(self->events++, __event.header.sequence);           \
		EXPECT_FALSE(vevent_wait(&self->q, 0));                       \
	} while (0)

/* The guest's kernel numbers the buses: the devices get their vDEVICEs. */
static void number_bus(struct guest *guest, __u32 waiting, __u32 vsid)
{
	guest->vdevice = vdevice_alloc(guest->vm, guest->viommu,
				       guest->edu.dev_id, vsid);
	edu_attach(&guest->edu, waiting);
}

/* The guest's driver finds the device, and writes its STE. */
static void write_ste(struct guest *guest, __u32 waiting)
{
	edu_attach(&guest->edu, waiting);
	guest->nested = guest_nested(guest, vste_s1(&guest->s1));
	edu_attach(&guest->edu, guest->nested);
}

/* It takes the STE back. */
static void clear_ste(struct guest *guest, __u32 waiting)
{
	edu_attach(&guest->edu, waiting);
	iommu_destroy(guest->vm, guest->nested);
	edu_attach(&guest->edu, waiting);
}

TEST_F(vm_life, renumbered_rebooted_replugged)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u32 others, old;
	struct evt evt;

	EXPECT_WAITING();

	/* Firmware numbers the buses, then the kernel does so anew. */
	others = vdevice_alloc(vm, guest->viommu, self->other.dev_id, BUS(9));
	edu_attach(&self->other, self->waiting);
	number_bus(guest, self->waiting, BUS(8));
	EXPECT_WAITING();
	iommu_destroy(vm, guest->vdevice);
	EXPECT_WAITING();
	number_bus(guest, self->waiting, BUS(10));
	EXPECT_EQ(EIO, __viommu_cmd(vm, guest->viommu, cmd_cfgi_cd(BUS(8))));
	EXPECT_WAITING();

	/* Its driver turns the vSMMU on: from here on there is an event queue. */
	veventq_alloc(vm, guest->viommu, 64, &self->q);
	guest_cmd(guest, cmd_tlbi_nsnh_all());
	write_ste(guest, self->waiting);
	EXPECT_ALIVE(BUS(10));

	/*
	 * A reset, in the middle of everything. The domain of the old stage 1
	 * is still there when the device goes elsewhere, and so is the vDEVICE
	 * while the buses have no numbers.
	 */
	edu_attach(&self->other, self->waiting);
	edu_attach(&guest->edu, self->waiting);
	EXPECT_WAITING();
	old = guest->vdevice;
	iommu_destroy(vm, old);
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, guest->nested));
	EXPECT_WAITING();
	number_bus(guest, self->waiting, BUS(11));
	EXPECT_WAITING();
	clear_ste(guest, self->waiting);

	/* The next kernel has tables of its own, and the ASIDs of the last one. */
	s1_init(&guest->s1, vm, ASID);
	guest_cmd(guest, cmd_tlbi_nsnh_all());
	write_ste(guest, self->waiting);
	EXPECT_ALIVE(BUS(11));
	EXPECT_EQ(EIO, __viommu_cmd(vm, guest->viommu, cmd_cfgi_cd(BUS(10))));

	/* The other one now has the number that this one had. */
	iommu_destroy(vm, others);
	others = vdevice_alloc(vm, guest->viommu, self->other.dev_id, BUS(10));
	edu_attach(&self->other, self->waiting);
	EXPECT_ALIVE(BUS(11));

	/* Unplugged: plain stage 2 first, then it is closed. */
	clear_ste(guest, self->waiting);
	edu_attach(&guest->edu, vm->s2);
	iommu_destroy(vm, guest->vdevice);
	edu_detach(&guest->edu);
	edu_close(&guest->edu);

	/* And plugged into another slot. */
	edu_open(&guest->edu, vm, edu_own_group(0));
	edu_attach(&guest->edu, vm->s2);
	number_bus(guest, self->waiting, BUS(8));
	EXPECT_WAITING();
	write_ste(guest, self->waiting);
	EXPECT_ALIVE(BUS(8));

	/* The end: nothing but the devices is given back by name. */
	clear_ste(guest, self->waiting);
	edu_detach(&self->other);
	iommu_destroy(vm, others);
	edu_detach(&guest->edu);
	iommu_destroy(vm, guest->vdevice);
	edu_close(&self->other);
	edu_close(&guest->edu);
	EXPECT_FALSE(klog_event(&self->klog, &evt, 0));
}

/* A guest that never gets far enough to have an event queue. */
TEST_F(vm_life, ends_early)
{
	struct guest *guest = &self->guest;

	number_bus(guest, self->waiting, BUS(8));
	EXPECT_WAITING();
	edu_detach(&guest->edu);
	iommu_destroy(&self->vm, guest->vdevice);
	edu_detach(&self->other);
	iommu_destroy(&self->vm, self->abort);
	iommu_destroy(&self->vm, self->bypass);
	iommu_destroy(&self->vm, guest->viommu);
	iommu_destroy(&self->vm, self->vm.s2);
}

TEST_HARNESS_MAIN
