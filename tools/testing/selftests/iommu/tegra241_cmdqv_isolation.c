// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs with NVIDIA Tegra241 CMDQV: guests that do not reach each other, and owners
 * that leave nothing to the next one
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tegra241_cmdqv_fixtures.h"

/* ---- A TLBI of each kind ---- */

#define TLBI_ASID	((__u64)ASID << 48)
#define TLBI_VMID(x)	((__u64)(x) << 32)

TEST_F(two_guests, tlbi_removes_stale_entry_of_this_guest_only)
{
	static const struct {
		const char *name;
		__u64 cmd[2];
	} tlbi[] = {
		{ "nh_asid", { CMD_TLBI_NH_ASID | TLBI_ASID } },
		{ "nh_va", { CMD_TLBI_NH_VA | TLBI_ASID, VA | CMD_1_LEAF } },
		{ "nh_va, not leaf", { CMD_TLBI_NH_VA | TLBI_ASID, VA } },
		{ "32 pages, the last of which it is",
		  { CMD_TLBI_NH_VA | TLBI_ASID | CMD_0_NUM(31),
		    (VA - 31 * GUEST_PAGE) | CMD_1_TG(1) | CMD_1_TTL(3) |
		    CMD_1_LEAF } },
		{ "24 pages, the 17th of which it is",
		  { CMD_TLBI_NH_VA | TLBI_ASID | CMD_0_SCALE(3) | CMD_0_NUM(2),
		    (VA - 16 * GUEST_PAGE) | CMD_1_TG(1) } },
		{ "nh_asid of VMID 0xffff",
		  { CMD_TLBI_NH_ASID | TLBI_ASID | TLBI_VMID(0xffff) } },
	};
	struct owner *o = self->o;
	struct iommu_viommu_arm_smmuv3_invalidate cmd;
	struct change c, other;
	unsigned int i;

	for (i = 0; i < sizeof(tlbi) / sizeof(*tlbi); i++) {
		cmd = cmd_raw(tlbi[i].cmd[0], tlbi[i].cmd[1]);
		forget(&o[0].guest);
		forget(&o[1].guest);
		ASSERT_TRUE(stale(&o[0].guest, &c, VA));
		ASSERT_TRUE(stale(&o[1].guest, &other, VA));
		EXPECT_TRUE(goes_before(&o[0].guest, &c));

		ASSERT_EQ(0, vcmdq_cmd(&o[0].q, cmd));
		ASSERT_TRUE(goes_after(&o[0].guest, &c))
			TH_LOG("%s", tlbi[i].name);
		ASSERT_TRUE(goes_before(&o[1].guest, &other))
			TH_LOG("%s", tlbi[i].name);

		ASSERT_EQ(0, vcmdq_cmd(&o[1].q, cmd));
		ASSERT_TRUE(goes_after(&o[1].guest, &other))
			TH_LOG("%s", tlbi[i].name);
	}
}

/* A guest that names each VMID there may be reaches no entry but its own. */
TEST_F(two_guests, vmid_of_the_other_is_out_of_reach)
{
	struct owner *o = self->o;
	struct change c, other;
	unsigned int vmid;

	ASSERT_TRUE(stale(&o[1].guest, &other, VA));
	for (vmid = 0; vmid < 256; vmid++) {
		if (vmid == 0)
			ASSERT_TRUE(stale(&o[0].guest, &c, VA));
		ASSERT_EQ(0, vcmdq_cmd(&o[0].q, cmd_raw(CMD_TLBI_NH_ASID |
							TLBI_ASID |
							TLBI_VMID(vmid), 0)));
		if (vmid == 0)
			EXPECT_TRUE(goes_after(&o[0].guest, &c));
	}
	EXPECT_TRUE(goes_before(&o[1].guest, &other));
	guest_cmd(&o[1].guest, cmd_tlbi_nh_all());
	EXPECT_TRUE(goes_after(&o[1].guest, &other));
}

TEST_F(two_guests, errors_come_to_their_guest_only)
{
	struct owner *o = self->o;
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(refused(&o[i & 1], cmd_tlbi_nh_all()));
		ASSERT_TRUE(no_error(&o[!(i & 1)]));
	}

	/* One in error, all the time: the other works, and has its own errors. */
	ASSERT_LT(0, vcmdq_cmd(&o[0].q, cmd_tlbi_nh_all()));
	ASSERT_TRUE(error_arrives(&o[0], 0));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, vcmdq_cmd(&o[1].q, cmd_tlbi_nh_asid(ASID)));
		ASSERT_TRUE(refused(&o[1], cmd_tlbi_nh_all()));
		ASSERT_TRUE(no_error(&o[0]));
	}
	vcmdq_skip(&o[0].q);
	EXPECT_EQ(0, vcmdq_wait(&o[0].q));
}

/* The vSID of the other guest's device, where the own has another one */
TEST_F(two_guests, atc_inv_for_the_other_is_refused)
{
	struct owner *o = self->o;

	edu_attach(&o[1].guest.edu, o[1].guest.vm->s2);
	iommu_destroy(o[1].guest.vm, o[1].guest.vdevice);
	o[1].guest.vdevice = vdevice_alloc(o[1].guest.vm, o[1].vintf.viommu,
					   o[1].guest.edu.dev_id, 9);
	edu_attach(&o[1].guest.edu, o[1].guest.nested);

	ASSERT_TRUE(refused(&o[0], cmd_atc_inv(9)));
	ASSERT_TRUE(refused(&o[1], cmd_atc_inv(VSID20)));
	ASSERT_TRUE(refused(&o[0],
			    cmd_atc_inv(physical_sid(edu_own_group(1)))));
	ASSERT_TRUE(refused(&o[1],
			    cmd_atc_inv(physical_sid(edu_own_group(0)))));
}

/* Equal vSIDs in two VINTFs are two devices. */
TEST_F(two_guests, atc_inv_reaches_the_own_device)
{
	__u32 sid[2] = {
		physical_sid(edu_own_group(0)),
		physical_sid(edu_own_group(1)),
	};
	unsigned int n[2] = { atc_invs_of(sid[0]), atc_invs_of(sid[1]) };
	struct owner *o = self->o;

	if (no_pair)
		SKIP(return, "%s", no_pair);
	if (n[0] == ~0U)
		SKIP(return, "no model of the block to ask");
	ASSERT_EQ(0, vcmdq_cmd(&o[0].q, cmd_atc_inv(VSID20)));
	EXPECT_EQ(n[0] + 1, atc_invs_of(sid[0]));
	EXPECT_EQ(n[1], atc_invs_of(sid[1]));
	ASSERT_EQ(0, vcmdq_cmd(&o[1].q, cmd_atc_inv(VSID20)));
	EXPECT_EQ(n[0] + 1, atc_invs_of(sid[0]));
	EXPECT_EQ(n[1] + 1, atc_invs_of(sid[1]));
}

/* ---- What an owner leaves ---- */

/* Leave the queue running, with commands pending and an error active. */
static void make_a_mess(struct vcmdq *q)
{
	vcmdq_cmd(q, cmd_tlbi_nh_asid(ASID));
	vcmdq_cmd(q, cmd_tlbi_nh_all());
	vcmdq_put(q, cmd_tlbi_nh_asid(ASID));
	vcmdq_put(q, cmd_tlbi_nh_asid(ASID));
	vcmdq_kick(q);
}

/* The next owner starts from 0, and none of the old commands is executed. */
TEST_F(vintf, hw_queue_starts_clean)
{
	const __u64 old = vm_alloc(&self->vm, 1), new = vm_alloc(&self->vm, 1);
	struct vintf *v = &self->o.vintf;
	struct vcmdq q;
	int i;

	for (i = 0; i < 10; i++) {
		vcmdq_alloc(&q, v, 0, old);
		ASSERT_TRUE(slot_is_clean(v, 0)) TH_LOG("round %d", i);
		vcmdq_start(&q);
		make_a_mess(&q);
		vcmdq_free(&q);
		ASSERT_TRUE(slot_is_clean(v, 0)) TH_LOG("round %d", i);

		vcmdq_alloc(&q, v, 0, new);
		ASSERT_TRUE(slot_is_clean(v, 0)) TH_LOG("round %d", i);
		vcmdq_start(&q);
		usleep(10000);
		ASSERT_EQ(0, vcmdq_get(&q, VCMDQ_CONS));
		ASSERT_FALSE(vcmdq_in_error(&q));
		ASSERT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)));
		vcmdq_free(&q);
	}
}

/* All that QEMU writes after HW_QUEUE_ALLOC makes no error. */
TEST_F(vintf, qemu_restores_registers)
{
	struct vintf *v = &self->o.vintf;
	struct veventq errors;
	struct vcmdq_event event;
	struct vcmdq q;

	errorq_alloc(v, DEPTH, &errors);
	vcmdq_alloc(&q, v, 0, vm_alloc(&self->vm, 1));
	vcmdq_set(&q, VCMDQ_CONS, 0);
	vcmdq_set(&q, VCMDQ_PROD, 0);
	vcmdq_set(&q, VCMDQ_CONFIG, VCMDQ_EN);
	vcmdq_set(&q, VCMDQ_GERRORN, 0);
	vcmdq_start(&q);
	EXPECT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)));
	EXPECT_FALSE(errorq_read(&errors, &event, 0));
	vcmdq_free(&q);
	veventq_free(&self->vm, &errors);
}

/* The VINTF of a guest that left it in error goes to another guest. */
TEST_F(device, vintf_starts_clean)
{
	const __u64 gpa = vm_alloc(&self->vm, 1);
	struct vcmdq_event event;
	struct veventq errors;
	unsigned int n, i, round;
	struct vintf v;
	struct vcmdq q[2];

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	n = max_queues() < 2 ? 1 : 2;
	for (round = 0; round < 20; round++) {
		vintf_alloc(&v, &self->vm, self->guest.edu.dev_id);
		errorq_alloc(&v, DEPTH, &errors);
		for (i = 0; i < n; i++) {
			ASSERT_TRUE(slot_is_clean(&v, i));
			vcmdq_alloc(&q[i], &v, i, gpa);
			ASSERT_TRUE(slot_is_clean(&v, i))
				TH_LOG("round %u", round);
		}
		ASSERT_FALSE(errorq_read(&errors, &event, 0));
		for (i = 0; i < n; i++) {
			vcmdq_start(&q[i]);
			make_a_mess(&q[i]);
		}
		ASSERT_TRUE(errorq_read(&errors, &event, SOON));
		while (i--)
			vcmdq_free(&q[i]);
		veventq_free(&self->vm, &errors);
		vintf_free(&v);
	}
}

/* ---- VINTFs and queues run out ---- */

/* As many as this device can get. What ends it has to be ENOSPC. */
static unsigned int take_vintfs(struct vm *vm, struct edu *edu, struct vintf *v)
{
	unsigned int n = 0;
	int rc;

	while (n < 64) {
		rc = __vintf_alloc(&v[n], vm, edu->dev_id);
		if (rc)
			break;
		n++;
	}
	if (rc != ENOSPC)
		die("VINTF %u: %s", n, strerror(rc));
	return n;
}

/* A device can have few vIOMMUs, so all of a large block take many devices. */
TEST_F(device, vintfs_run_out_and_come_back)
{
	const __le32 *block = block_map();
	unsigned int all = 0, first = 0, i, round;
	struct vintf v[64];

	if (block)
		all = VINTFS(block_get(block, BLOCK_PARAM)) - 1;
	for (round = 0; round < 3; round++) {
		unsigned int n = take_vintfs(&self->vm, &self->guest.edu, v);

		if (!round)
			first = n;
		EXPECT_EQ(first, n);
		if (block && all < 6)
			EXPECT_EQ(all, n);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, __vintf_map(&v[i]));
			ASSERT_TRUE(slot_is_clean(&v[i], 0));
			vintf_unmap(&v[i]);
		}
		/* One that comes back can be had again, whichever it is. */
		for (i = 0; i < n; i++) {
			iommu_destroy(&self->vm, v[i].viommu);
			ASSERT_EQ(0, __vintf_alloc(&v[i], &self->vm,
						   self->guest.edu.dev_id));
		}
		for (i = 0; i < n; i++)
			iommu_destroy(&self->vm, v[i].viommu);
	}
	EXPECT_CLEAN_BLOCK();
}

/* All queues of all VINTFs at once: each works, and has its own errors. */
TEST_F(device, every_queue_of_every_vintf)
{
	const __u64 gpa = vm_alloc(&self->vm, 4);
	unsigned int n, i, k, max = max_queues();
	struct vcmdq q[4];
	struct vintf v[64];

	n = take_vintfs(&self->vm, &self->guest.edu, v);
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, __vintf_map(&v[i]));
		for (k = 0; k < max && k < 4; k++) {
			vcmdq_alloc(&q[k], &v[i], k, gpa + k * GUEST_PAGE);
			vcmdq_start(&q[k]);
			ASSERT_EQ(0, vcmdq_cmd(&q[k], cmd_tlbi_nh_asid(ASID)));
		}
	}
	/* Closing the iommufd has to find the order. */
	for (i = 0; i < n; i++)
		vintf_unmap(&v[i]);
}

static void short_life(struct owner *o, struct vm *vm, __u64 gpa, int round)
{
	unsigned int n = max_queues() < 2 ? 1 : 2, i;
	struct vcmdq q[2];

	vintf_alloc(&o->vintf, vm, o->guest.edu.dev_id);
	errorq_alloc(&o->vintf, DEPTH, &o->errors);
	o->guest.vdevice = vdevice_alloc(vm, o->vintf.viommu,
					 o->guest.edu.dev_id,
					 round % (1 << VSID_BITS));
	for (i = 0; i < n; i++) {
		vcmdq_alloc(&q[i], &o->vintf, i, gpa + i * GUEST_PAGE);
		vcmdq_start(&q[i]);
		if (vcmdq_cmd(&q[i], cmd_tlbi_nh_asid(ASID)))
			die("round %d: queue %u", round, i);
	}
	if (round % 16 == 0)
		make_a_mess(&q[0]);
	while (i--)
		vcmdq_free(&q[i]);
	iommu_destroy(vm, o->guest.vdevice);
	veventq_free(vm, &o->errors);
	vintf_free(&o->vintf);
}

TEST_F(device, thousand_guests)
{
	struct owner o = { .guest = self->guest };
	const __u64 gpa = vm_alloc(&self->vm, 2);
	char before[256] = "", after[256] = "";
	int i;

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	model_get("running", before, sizeof(before));
	for (i = 0; i < 1000; i++)
		short_life(&o, &self->vm, gpa, i);
	model_get("running", after, sizeof(after));
	EXPECT_STREQ(before, after);
	EXPECT_CLEAN_BLOCK();
	edu_detach(&self->guest.edu);
	iommu_destroy(&self->vm, self->vm.s2);
	vm_unmap(&self->vm, GUEST_RAM, GUEST_RAM_SIZE);
}

TEST_F(vintf, thousand_queues_and_vdevices)
{
	const __u64 gpa = vm_alloc(&self->vm, 1);
	struct owner *o = &self->o;
	struct vcmdq q;
	int i;

	for (i = 0; i < 1000; i++) {
		vcmdq_alloc(&q, &o->vintf, 0, gpa);
		iommu_destroy(&self->vm,
			      vdevice_alloc(&self->vm, o->vintf.viommu,
					    o->guest.edu.dev_id, i));
		vcmdq_start(&q);
		vcmdq_free(&q);
	}
	ASSERT_TRUE(slot_is_clean(&o->vintf, 0));
	edu_detach(&o->guest.edu);
	vintf_free(&o->vintf);
	iommu_destroy(&self->vm, self->vm.s2);
	vm_unmap(&self->vm, GUEST_RAM, GUEST_RAM_SIZE);
	EXPECT_CLEAN_BLOCK();
}

TEST_HARNESS_MAIN
