// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts under nested translation on an SMMUv3: they arrive wherever the device
 * is. The devices are QEMU's "edu", see smmuv3_lib.h for what it needs.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "smmuv3_testbed.h"

/* ---- Whose it is ---- */

TEST_F(group, both_interrupt)
{
	struct edu *edu = &self->s.guest[0].edu, *member = &self->member.edu;

	edu_irq_enable(edu);
	edu_irq_enable(member);
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_EQ(1, edu_interrupts(member));
	edu_irq_disable(member);
	edu_detach(member);
	EXPECT_EQ(1, edu_interrupts(edu));
	edu_attach(member, self->s.guest[0].nested);
	edu_irq_enable(member);
	edu_attach(edu, self->s.vm.s2);
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_EQ(1, edu_interrupts(member));
	edu_close(member);
	member->fd = -1;
	edu_attach(edu, self->s.guest[0].nested);
	EXPECT_EQ(1, edu_interrupts(edu));
}

/* ---- Interrupts ---- */

/*
 * Wherever a device can be. FAR has none of the guest's memory, and only S1 and
 * OTHER_S1 use its tables.
 */
enum where {
	S2, S1, BYPASS, ABORT, OTHER, OTHER_BYPASS, FAR, DETACHED, PLACES,
};

FIXTURE(msi)
{
	struct testbed s;
	__u32 pt[PLACES];
	__u32 ioas[2];
	__u32 other_viommu;
	enum where where;
};

FIXTURE_VARIANT(msi)
{
	enum where enabled;
};

FIXTURE_VARIANT_ADD(msi, s2) { .enabled = S2 };
FIXTURE_VARIANT_ADD(msi, s1) { .enabled = S1 };
FIXTURE_VARIANT_ADD(msi, bypass) { .enabled = BYPASS };
FIXTURE_VARIANT_ADD(msi, abort) { .enabled = ABORT };
FIXTURE_VARIANT_ADD(msi, other_parent) { .enabled = OTHER };
FIXTURE_VARIANT_ADD(msi, far) { .enabled = FAR };

static __u32 ioas_alloc(struct vm *vm)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };

	if (ioctl(vm->iommufd, IOMMU_IOAS_ALLOC, &cmd))
		die("IOAS_ALLOC: %s", strerror(errno));
	return cmd.out_ioas_id;
}

static void go(struct edu *edu, const __u32 *pt, enum where *where,
	       enum where to)
{
	if (to != DETACHED)
		edu_attach(edu, pt[to]);
	else if (*where != DETACHED)
		edu_detach(edu);
	*where = to;
}

FIXTURE_SETUP(msi)
{
	const char *lack = testbed_lacks(1);
	struct guest *guest = &self->s.guest[0];
	struct vm *vm = &self->s.vm;
	__u32 dev_id;

	if (lack)
		SKIP(return, "%s", lack);
	testbed_up(&self->s, 1, DEPTH);
	dev_id = guest->edu.dev_id;
	/* What a guest does that has been told of the window by its VMM */
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);

	self->pt[S2] = vm->s2;
	self->pt[S1] = guest->nested;
	self->pt[BYPASS] = guest_nested(guest, vste_bypass());
	self->pt[ABORT] = guest_nested(guest, vste_abort());
	self->pt[OTHER] = parent_alloc(vm, dev_id, vm->ioas);
	ASSERT_EQ(0, __viommu_alloc(vm, dev_id, self->pt[OTHER],
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
				    &self->other_viommu));
	self->pt[OTHER_BYPASS] = nested_alloc(vm, dev_id, self->other_viommu,
					      vste_bypass());
	self->pt[FAR] = parent_alloc(vm, dev_id, ioas_alloc(vm));
	self->where = S1;
	go(&guest->edu, self->pt, &self->where, variant->enabled);
	edu_irq_enable(&guest->edu);
}

FIXTURE_TEARDOWN(msi)
{
	EXPECT_TRUE(testbed_down(&self->s, 1));
}

TEST_F(msi, arrives_wherever_the_device_is)
{
	struct edu *edu = &self->s.guest[0].edu;
	int from, to;

	if (variant->enabled != ABORT)
		EXPECT_EQ(1, edu_interrupts(edu));
	for (from = 0; from < PLACES; from++) {
		for (to = 0; to < PLACES; to++) {
			go(edu, self->pt, &self->where, from);
			go(edu, self->pt, &self->where, to);
			if (to != ABORT && to != DETACHED)
				EXPECT_EQ(1, edu_interrupts(edu))
					TH_LOG("from %d to %d", from, to);
		}
	}

	/* And nowhere else. */
	go(edu, self->pt, &self->where, ABORT);
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	go(edu, self->pt, &self->where, DETACHED);
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	go(edu, self->pt, &self->where, S1);
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_TRUE(is_empty(&self->s.q[0]));
}

/* It is stage 1 that says where the device's MSIs go. */
TEST_F(one_guest, guest_maps_the_doorbell)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	struct edu *edu = &guest->edu;
	__u64 page = vm_alloc(&s->vm, 1);
	struct evt evt;

	guest_start(guest, VSID);
	edu_irq_enable(edu);

	/* Nowhere: a fault like any other. The register is GITS_TRANSLATER. */
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	ASSERT_TRUE(next_is(&s->q[0], &evt, EVT_F_TRANSLATION, VSID));
	EXPECT_EQ(DOORBELL + 0x40, evt.addr);
	EXPECT_FALSE(evt.rnw);

	/* Into memory */
	memset(vm_ptr(&s->vm, page), 0xff, GUEST_PAGE);
	s1_map(&guest->s1, DOORBELL, page);
	EXPECT_EQ(0, edu_interrupts_within(edu, 1000));
	EXPECT_NE(~0U, *(__u32 *)vm_ptr(&s->vm, page + 0x40));

	/* To the doorbell, and that at another address as well */
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	viommu_cmd(&s->vm, guest->viommu, cmd_tlbi_nh_va(ASID, DOORBELL));
	EXPECT_EQ(1, edu_interrupts(edu));
	EXPECT_TRUE(is_empty(&s->q[0]));
	EXPECT_EQ(1, testbed_written(s));
	EXPECT_HOST_SILENT(s);
}

static int ioas_map(struct vm *vm, __u32 ioas, __u64 iova)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)vm->ram,
		.length = GUEST_PAGE,
		.iova = iova,
	};

	return ioctl(vm->iommufd, IOMMU_IOAS_MAP, &cmd) ? errno : 0;
}

/* VMMs put nothing of the guest's there. */
TEST_F(one_guest, window_is_reserved)
{
	struct iommu_iova_range ranges[16];
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = self->s.vm.ioas,
		.num_iovas = ARRAY_SIZE(ranges),
		.allowed_iovas = (uintptr_t)ranges,
	};
	struct guest *guest = &self->s.guest[0];
	struct vm *vm = &self->s.vm;
	bool below = false, above = false;
	unsigned int i;

	guest_start(guest, VSID);
	edu_irq_enable(&guest->edu);
	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_IOAS_IOVA_RANGES, &cmd));
	for (i = 0; i < cmd.num_iovas; i++) {
		below |= ranges[i].last == DOORBELL - 1;
		above |= ranges[i].start == DOORBELL + WINDOW;
	}
	EXPECT_TRUE(below);
	EXPECT_TRUE(above);
	EXPECT_EQ(EINVAL, ioas_map(vm, vm->ioas, DOORBELL));
	EXPECT_EQ(EINVAL, ioas_map(vm, vm->ioas, DOORBELL + WINDOW - GUEST_PAGE));
	EXPECT_EQ(0, ioas_map(vm, vm->ioas, DOORBELL + WINDOW));
	EXPECT_EQ(0, ioas_map(vm, vm->ioas, DOORBELL - GUEST_PAGE));
}

/* An attach that fails since its doorbell has no place leaves the vector. */
TEST_F(one_guest, doorbell_has_no_place)
{
	struct guest *guest = &self->s.guest[0];
	struct vm *vm = &self->s.vm;
	__u32 full = ioas_alloc(vm), pt;

	ASSERT_EQ(0, ioas_map(vm, full, DOORBELL));
	pt = parent_alloc(vm, guest->edu.dev_id, full);
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);
	edu_irq_enable(&guest->edu);
	EXPECT_EQ(EADDRINUSE, __edu_attach(&guest->edu, pt));
	EXPECT_EQ(1, edu_interrupts(&guest->edu));
	edu_attach(&guest->edu, vm->s2);
	EXPECT_EQ(EADDRINUSE, __edu_attach(&guest->edu, pt));
	EXPECT_EQ(1, edu_interrupts(&guest->edu));
}

/* A doorbell that no vector needs any more goes with the next move. */
TEST_F(one_guest, doorbell_goes_with_its_last_vector)
{
	struct testbed *s = &self->s;
	struct guest *guest = &s->guest[0];
	struct edu *edu = &guest->edu;

	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);
	edu_irq_enable(edu);
	EXPECT_EQ(1, edu_interrupts(edu));

	/* The page is there for any write. The next register is reserved. */
	edu_attach(edu, s->vm.s2);
	edu_attach(edu, guest->nested);
	edu_write(edu, DOORBELL + 0x44, 0, 4);
	EXPECT_EQ(0, testbed_written(s));
	EXPECT_EQ(1, edu_interrupts(edu));

	edu_irq_disable(edu);
	edu_attach(edu, s->vm.s2);
	edu_attach(edu, guest->nested);
	edu_write(edu, DOORBELL + 0x44, 0, 4);
	EXPECT_EQ(1, testbed_written(s));
	EXPECT_TRUE(is_empty(&s->q[0]));

	edu_irq_enable(edu);
	EXPECT_EQ(1, edu_interrupts(edu));
}

/* Lets each allocation and each copy of an attach fail once. */
TEST_F(one_guest, attach_runs_out_of_memory)
{
	struct guest *guest = &self->s.guest[0];
	struct edu *edu = &guest->edu;
	struct vm *vm = &self->s.vm;
	__u32 to[2], i, n, failed;
	char line[16];
	int rc, fd;

	if (write_line("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") ||
	    write_line("/sys/kernel/debug/failslab/verbose", "0"))
		SKIP(return, "needs CONFIG_FAILSLAB and debugfs");
	/* iommufd's own places to fail, if it was built with them */
	write_line("/sys/kernel/debug/fail_iommufd/verbose", "0");
	write_line("/sys/kernel/debug/fail_usercopy/verbose", "0");
	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);

	s1_map(&guest->s1, DOORBELL, DOORBELL);
	guest_start(guest, VSID);
	edu_attach(edu, vm->s2);
	edu_irq_enable(edu);
	to[0] = guest->nested;
	to[1] = parent_alloc(vm, edu->dev_id, vm->ioas);
	for (i = 0; i < 2; i++) {
		failed = 0;
		for (n = 1; n < 100; n++) {
			snprintf(line, sizeof(line), "%u", n);
			ASSERT_LT(0, pwrite(fd, line, strlen(line), 0));
			rc = __edu_attach(edu, to[i]);
			/* To read this is a place that can fail, too. */
			if (pread(fd, line, sizeof(line), 0) < 0)
				ASSERT_EQ(EFAULT, errno);
			ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
			failed += !!rc;
			/* VFIO detaches if it cannot answer. */
			if (rc == EFAULT)
				edu_attach(edu, vm->s2);
			EXPECT_EQ(1, edu_interrupts(edu))
				TH_LOG("the attach gave %d at allocation %u",
				       rc, n);
			if (!rc)
				edu_attach(edu, vm->s2);
			/* What was to fail was not there. */
			if (atoi(line))
				break;
		}
		EXPECT_GT(100, n);
		TH_LOG("%u of %u allocations made it fail", failed, n - 1);
		EXPECT_LT(0, failed);
	}
	write_line("/sys/kernel/debug/failslab/ignore-gfp-wait", "Y");
	close(fd);
}

/* Two devices on one nest parent, of which one goes */
TEST_F(two_guests, doorbell_stays_while_it_is_needed)
{
	struct testbed *s = &self->s;
	struct edu *edu[2];
	int i;

	for (i = 0; i < 2; i++) {
		edu[i] = &s->guest[i].edu;
		s1_map(&s->guest[i].s1, DOORBELL, DOORBELL);
		guest_start(&s->guest[i], VSID);
		edu_irq_enable(edu[i]);
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1, edu_interrupts(edu[i]));
		edu_detach(edu[i]);
		EXPECT_EQ(1, edu_interrupts(edu[!i]));
		edu_attach(edu[i], s->vm.s2);
		EXPECT_EQ(1, edu_interrupts(edu[i]));
	}
	edu_irq_disable(edu[1]);
	edu_close(edu[1]);
	edu[1]->fd = -1;
	EXPECT_EQ(1, edu_interrupts(edu[0]));
}

static void *stage1_on_and_off(void *arg)
{
	struct storm *st = arg;
	__u32 bypass = guest_nested(st->guest, vste_bypass());

	for (; !st->stop; st->rounds++) {
		edu_attach(&st->guest->edu, bypass);
		edu_attach(&st->guest->edu, st->guest->nested);
	}
	return NULL;
}

/* A guest that turns its stage 1 on does not lose an interrupt by that. */
TEST_F(one_guest, no_interrupt_is_lost)
{
	struct storm st = { .guest = &self->s.guest[0] };
	struct edu *edu = &st.guest->edu;
	pthread_t thread;
	int i;

	s1_map(&st.guest->s1, DOORBELL, DOORBELL);
	guest_start(st.guest, VSID);
	edu_irq_enable(edu);
	ASSERT_EQ(0, pthread_create(&thread, NULL, stage1_on_and_off, &st));
	for (i = 0; i < 1000 || st.rounds <= 20; i++)
		ASSERT_EQ(1, edu_interrupts(edu));
	st.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(20, st.rounds);
	TH_LOG("stage 1 went on and off %u times", st.rounds);
	EXPECT_EQ(0, testbed_written(&self->s));
}

struct move {
	struct edu *edu;
	__u32 to;
	unsigned int delay;
	atomic_bool go;
};

static void *move(void *arg)
{
	struct move *move = arg;
	atomic_uint i;

	while (!move->go)
		;
	for (i = 0; i < move->delay; i++)
		;
	edu_attach(move->edu, move->to);
	return NULL;
}

/*
 * A device that nobody had opened moves while its first vector is set up: the
 * doorbell must be mapped where it arrives.
 */
TEST_F(one_guest, vector_comes_while_it_moves)
{
	struct guest *guest = &self->s.guest[0];
	struct edu *edu = &guest->edu;
	struct vm *vm = &self->s.vm;
	pthread_t thread;
	__u32 pt[3];
	int i;

	pt[0] = vm->s2;
	pt[1] = parent_alloc(vm, edu->dev_id, vm->ioas);
	pt[2] = guest_nested(guest, vste_s1(&guest->s1));
	s1_map(&guest->s1, DOORBELL, DOORBELL);
	srand(1);
	for (i = 0; i < 60; i++) {
		struct move m = {
			.edu = edu,
			.to = pt[(i + 1) % 3],
			.delay = rand() % 40000,
		};

		edu_close(edu);
		edu_open(edu, vm, edu_own_group(0));
		vdevice_alloc(vm, guest->viommu, edu->dev_id, VSID);
		edu_attach(edu, pt[i % 3]);
		ASSERT_EQ(0, pthread_create(&thread, NULL, move, &m));
		m.go = true;
		edu_irq_enable(edu);
		pthread_join(thread, NULL);
		EXPECT_EQ(1, edu_interrupts(edu))
			TH_LOG("move %d, delay %u", i, m.delay);
		edu_irq_disable(edu);
	}
}

TEST_HARNESS_MAIN
