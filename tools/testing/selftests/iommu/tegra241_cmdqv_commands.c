// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs with NVIDIA Tegra241 CMDQV: commands in a guest's own queues, and their errors
 */
#include <endian.h>
#include <errno.h>
#include <unistd.h>

#include "tegra241_cmdqv_fixtures.h"

/* ---- One guest's queue ---- */

/* No command that names something else removes the entry. */
TEST_F(one_guest, commands_for_others_leave_the_entry)
{
	struct owner *o = &self->o;
	struct change c;

	ASSERT_TRUE(stale(&o->guest, &c, VA));
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_sync()));
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID + 1)));
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_va(ASID + 1, VA)));
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_va(ASID, VA + GUEST_PAGE)));
	EXPECT_TRUE(goes_before(&o->guest, &c));
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_va(ASID, VA)));
	EXPECT_TRUE(goes_after(&o->guest, &c));
}

/* A command is executed when PROD says so, and not when it is written. */
TEST_F(one_guest, command_waits_for_prod)
{
	struct owner *o = &self->o;
	struct change c;

	ASSERT_TRUE(stale(&o->guest, &c, VA));
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA));
	vcmdq_put(&o->q, cmd_sync());
	EXPECT_TRUE(goes_before(&o->guest, &c));
	ASSERT_TRUE(__vcmdq_switch(&o->q, false));
	vcmdq_kick(&o->q);
	EXPECT_TRUE(goes_before(&o->guest, &c));
	vcmdq_start(&o->q);
	ASSERT_EQ(0, vcmdq_wait(&o->q));
	EXPECT_TRUE(goes_after(&o->guest, &c));
}

TEST_F(one_guest, queue_wraps)
{
	struct owner *o = &self->o;
	struct change c;
	unsigned int i;

	for (i = 0; i < 700; i++)
		ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_va(ASID + 1, VA)));
	ASSERT_TRUE(stale(&o->guest, &c, VA));
	/* All at once: as many as there is room for */
	for (i = 0; i < 254; i++)
		vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID + 1, VA));
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA));
	vcmdq_put(&o->q, cmd_sync());
	vcmdq_kick(&o->q);
	ASSERT_EQ(0, vcmdq_wait(&o->q));
	EXPECT_TRUE(goes_after(&o->guest, &c));
}

/* The last queue of the VINTF does the same as the first. */
TEST_F(one_guest, every_queue_invalidates)
{
	const __u64 gpa = vm_alloc(&self->vm, 1);
	unsigned int n = max_queues(), i;
	struct owner *o = &self->o;
	struct vcmdq q[128];
	struct change c;

	for (i = 1; i < n; i++) {
		vcmdq_alloc_at(&q[i], &o->vintf, i, gpa + 32 * i,
			       vm_ptr(&self->vm, gpa + 32 * i), 1);
		vcmdq_start(&q[i]);
		if (i > 2 && i < n - 1)
			continue;
		ASSERT_TRUE(stale(&o->guest, &c, VA + i * GUEST_PAGE));
		ASSERT_EQ(0, vcmdq_cmd(&q[i], cmd_tlbi_nh_va(ASID, c.va)));
		EXPECT_TRUE(goes_after(&o->guest, &c));
	}
	for (i = n - 1; i; i--)
		vcmdq_free(&q[i]);
}

/* ---- The other way: by the VMM ---- */

TEST_F(one_guest, vmm_invalidates)
{
	const struct iommu_viommu_arm_smmuv3_invalidate cmds[] = {
		cmd_tlbi_nh_all(), cmd_tlbi_nsnh_all(), cmd_tlbi_nh_vaa(VA),
		cmd_tlbi_nh_asid(ASID), cmd_tlbi_nh_va(ASID, VA),
		cmd_tlbi_nh_va_range(ASID, VA, 1),
	};
	struct owner *o = &self->o;
	struct change c;
	unsigned int i;

	for (i = 0; i < sizeof(cmds) / sizeof(*cmds); i++) {
		forget(&o->guest);
		ASSERT_TRUE(stale(&o->guest, &c, VA));
		EXPECT_TRUE(goes_before(&o->guest, &c));
		guest_cmd(&o->guest, cmds[i]);
		EXPECT_TRUE(goes_after(&o->guest, &c))
			TH_LOG("command %u", i);
	}
}

TEST_F(one_guest, vmm_invalidate_errors)
{
	struct owner *o = &self->o;
	struct iommu_viommu_arm_smmuv3_invalidate cmds[] = {
		cmd_tlbi_nh_all(), cmd_cfgi_cd(VSID20), cmd_cfgi_cd(VSID20 - 1),
	};
	const struct iommu_hwpt_invalidate good = {
		.size = sizeof(good),
		.hwpt_id = o->vintf.viommu,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.data_uptr = (__u64)cmds,
		.entry_len = sizeof(cmds[0]),
		.entry_num = 1,
	};
	const struct bad_field bad[] = {
		BAD(iommu_hwpt_invalidate, hwpt_id, NO_SUCH_ID, ENOENT),
		BAD(iommu_hwpt_invalidate, hwpt_id, self->vm.s2, EINVAL),
		BAD(iommu_hwpt_invalidate, hwpt_id, self->vm.ioas, EINVAL),
		BAD(iommu_hwpt_invalidate, hwpt_id, o->q.id, EINVAL),
		BAD(iommu_hwpt_invalidate, data_type, 0, EINVAL),
		BAD(iommu_hwpt_invalidate, data_type, 2, EINVAL),
		BAD(iommu_hwpt_invalidate, __reserved, 1, EOPNOTSUPP),
		BAD(iommu_hwpt_invalidate, entry_len, 0, EINVAL),
		BAD(iommu_hwpt_invalidate, entry_len, 8, EINVAL),
		BAD64(iommu_hwpt_invalidate, data_uptr, 0, EINVAL),
		BAD(iommu_hwpt_invalidate, entry_num, (1 << 19) + 1, EINVAL),
		/* A nested domain of this driver has no invalidation. */
		BAD(iommu_hwpt_invalidate, hwpt_id, o->guest.nested,
		    EOPNOTSUPP),
	};
	__u32 num = 3;

	EXPECT_BAD(&self->vm, IOMMU_HWPT_INVALIDATE, good, bad);
	/* The third names a vSID without a vDEVICE. */
	EXPECT_EQ(EIO, __viommu_invalidate(&self->vm, o->vintf.viommu, cmds,
					   &num));
	EXPECT_EQ(2, num);
	EXPECT_EQ(EIO, __viommu_cmd(&self->vm, o->vintf.viommu, cmd_sync()));
	EXPECT_EQ(EIO, __viommu_cmd(&self->vm, o->vintf.viommu, cmd_raw(0x20, 0)));
}

/* A reserved value of Config */
static struct iommu_hwpt_arm_smmuv3 bad_vste(void)
{
	struct iommu_hwpt_arm_smmuv3 vste = vste_bypass();

	vste.ste[0] |= htole64(2ULL << 1);
	return vste;
}

/* Domains of a vIOMMU of this type: one needs a vDEVICE, the others do not. */
TEST_F(one_guest, nested_domains)
{
	struct guest *guest = &self->o.guest;
	const __u32 bypass = guest_nested(guest, vste_bypass());
	const __u32 abort = guest_nested(guest, vste_abort());
	const __u32 invalid = guest_nested(guest, vste_invalid());
	const __u64 page = vm_alloc(&self->vm, 1);
	__u32 id;

	EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, guest->vdevice));
	edu_attach(&guest->edu, bypass);
	EXPECT_EQ(page, edu_lands(&guest->edu, page));
	edu_attach(&guest->edu, abort);
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));
	edu_attach(&guest->edu, invalid);
	iommu_destroy(&self->vm, guest->vdevice);
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, guest->nested));
	edu_attach(&guest->edu, bypass);
	EXPECT_EQ(page, edu_lands(&guest->edu, page));

	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, 0);
	s1_map(&guest->s1, VA, page);
	edu_attach(&guest->edu, guest->nested);
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	EXPECT_EQ(EIO, __nested_alloc(&self->vm, guest->edu.dev_id,
				      guest->viommu,
				       bad_vste(),
				       &id));
	iommu_destroy(&self->vm, bypass);
	iommu_destroy(&self->vm, abort);
	iommu_destroy(&self->vm, invalid);
}

/* The vDEVICE goes with its device. The queue and the vIOMMU stay. */
TEST_F(one_guest, device_is_closed_first)
{
	struct owner *o = &self->o;

	edu_close(&o->guest.edu);
	EXPECT_EQ(ENOENT, __iommu_destroy(&self->vm, o->guest.vdevice));
	EXPECT_TRUE(refused(o, cmd_atc_inv(VSID20)));
	EXPECT_EQ(EIO, __viommu_cmd(&self->vm, o->vintf.viommu,
				    cmd_cfgi_cd(VSID20)));
	EXPECT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID)));

	edu_open(&o->guest.edu, &self->vm, edu_own_group(0));
	iommu_destroy(&self->vm, o->guest.nested);
	guest_start(&o->guest, VSID20);
	EXPECT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID)));
}

/* The faults of a device carry the vSID, and come in the other vEVENTQ. */
TEST_F(one_guest, faults_carry_the_vsid)
{
	struct owner *o = &self->o;
	struct veventq faults;
	struct vevent event;
	struct evt evt;

	veventq_alloc(&self->vm, o->vintf.viommu, DEPTH, &faults);
	edu_write(&o->guest.edu, VA2 + 16, 0, 4);
	ASSERT_TRUE(vevent_wait(&faults, SOON));
	ASSERT_EQ(1, vevent_read(&faults, &event, 1));
	evt = vevent_decode(&event);
	EXPECT_EQ(EVT_F_TRANSLATION, evt.id);
	EXPECT_EQ(VSID20, evt.sid);
	EXPECT_EQ(VA2 + 16, evt.addr);
	EXPECT_FALSE(evt.s2);
	EXPECT_TRUE(no_error(o));

	/* And an error of the queue does not come there. */
	EXPECT_TRUE(refused(o, cmd_tlbi_nh_all()));
	EXPECT_FALSE(vevent_wait(&faults, 0));
	veventq_free(&self->vm, &faults);
}

/* ---- Commands that are not allowed ---- */

static bool executed_for_guests(__u8 opcode)
{
	return opcode == CMD_TLBI_NH_ASID || opcode == CMD_TLBI_NH_VA ||
	       opcode == CMD_ATC_INV || opcode == CMD_SYNC;
}

TEST_F(one_guest, other_opcodes_stop_the_queue)
{
	struct owner *o = &self->o;
	struct change c;
	unsigned int op;

	ASSERT_TRUE(stale(&o->guest, &c, VA));
	for (op = 0; op < 256; op++) {
		if (executed_for_guests(op))
			continue;
		ASSERT_TRUE(refused(o, cmd_raw(op | (__u64)ASID << 48, VA)))
			TH_LOG("opcode %#x", op);
	}
	/* Some of them would have removed it. */
	EXPECT_TRUE(goes_before(&o->guest, &c));
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID)));
	EXPECT_TRUE(goes_after(&o->guest, &c));
}

/* The same with the StreamID and the VMID of the device: the host's caches */
TEST_F(one_guest, other_opcodes_with_ids_stop_the_queue)
{
	static const __u8 ops[] = {
		0x01, 0x03, 0x04, 0x05, 0x06, 0x10, 0x13, 0x20, 0x21, 0x22,
		0x23, 0x28, 0x2a, 0x30, 0x41, 0x44, 0x45, 0x50, 0x52,
	};
	const __u32 sids[] = { VSID20, physical_sid(edu_own_group(0)) };
	struct owner *o = &self->o;
	unsigned int i, s;

	for (s = 0; s < 2; s++) {
		for (i = 0; i < sizeof(ops); i++) {
			ASSERT_TRUE(refused(o, cmd_raw(ops[i] |
						       (__u64)sids[s] << 32,
						       CMD_1_LEAF)))
				TH_LOG("opcode %#x, SID %#x", ops[i], sids[s]);
		}
	}
}

/* What is before a bad command has happened, what is behind it has not. */
TEST_F(one_guest, error_is_in_order)
{
	struct owner *o = &self->o;
	struct change before, after;
	__u32 at;

	ASSERT_TRUE(stale(&o->guest, &before, VA));
	ASSERT_TRUE(stale(&o->guest, &after, VA2));
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA));
	at = o->q.prod;
	vcmdq_put(&o->q, cmd_tlbi_nh_all());
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA2));
	vcmdq_put(&o->q, cmd_sync());
	vcmdq_kick(&o->q);
	ASSERT_TRUE(stopped(o, at, vcmdq_wait(&o->q)));
	ASSERT_TRUE(error_arrives(o, 0));
	EXPECT_TRUE(goes_after(&o->guest, &before));
	EXPECT_TRUE(goes_before(&o->guest, &after));

	/* More commands do not help, only the acknowledgment does. */
	vcmdq_put(&o->q, cmd_sync());
	vcmdq_kick(&o->q);
	EXPECT_TRUE(goes_before(&o->guest, &after));
	EXPECT_TRUE(no_error(o));
	vcmdq_skip(&o->q);
	ASSERT_EQ(0, vcmdq_wait(&o->q));
	EXPECT_TRUE(goes_after(&o->guest, &after));
}

/* An acknowledgment alone: the same command fails once more. */
TEST_F(one_guest, acknowledged_command_fails_again)
{
	struct owner *o = &self->o;
	__u32 at = o->q.prod;
	int i;

	ASSERT_TRUE(stopped(o, at, vcmdq_cmd(&o->q, cmd_tlbi_nh_all())));
	for (i = 0; i < 20; i++) {
		__u32 gerror = vcmdq_get(&o->q, VCMDQ_GERROR);
		int tries = SOON;

		ASSERT_TRUE(error_arrives(o, 0));
		vcmdq_acknowledge(&o->q);
		while (vcmdq_get(&o->q, VCMDQ_GERROR) == gerror && tries--)
			usleep(1000);
		ASSERT_TRUE(stopped(o, at, vcmdq_wait(&o->q)));
	}
	ASSERT_TRUE(error_arrives(o, 0));
	vcmdq_skip(&o->q);
	EXPECT_EQ(0, vcmdq_wait(&o->q));
}

/* Each queue has its bit in the map, and the others go on. */
TEST_F(one_guest, error_names_its_queue)
{
	const __u64 gpa = vm_alloc(&self->vm, 1);
	struct owner *o = &self->o, other = *o;
	unsigned int n = max_queues(), i;
	struct vcmdq q[128];

	for (i = 1; i < n; i++) {
		vcmdq_alloc_at(&q[i], &o->vintf, i, gpa + 32 * i,
			       vm_ptr(&self->vm, gpa + 32 * i), 1);
		vcmdq_start(&q[i]);
	}
	for (i = n - 1; i; i--) {
		other.q = q[i];
		ASSERT_TRUE(refused(&other, cmd_tlbi_nh_all()))
			TH_LOG("queue %u", i);
		vcmdq_free(&q[i]);
	}
	o->sequence = other.sequence;
	ASSERT_TRUE(refused(o, cmd_tlbi_nh_all()));
}

/* A second error while the first is not acknowledged: both bits, two events */
TEST_F(one_guest, errors_of_two_queues_overlap)
{
	struct owner *o = &self->o;
	struct vcmdq_event event;
	struct vcmdq q;

	if (max_queues() < 2)
		SKIP(return, "needs VINTFs of two queues");
	vcmdq_alloc(&q, &o->vintf, 1, vm_alloc(&self->vm, 1));
	vcmdq_start(&q);
	ASSERT_LT(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_all()));
	ASSERT_TRUE(error_arrives(o, 0));
	ASSERT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)));
	ASSERT_LT(0, vcmdq_cmd(&q, cmd_tlbi_nh_all()));
	ASSERT_TRUE(errorq_read(&o->errors, &event, SOON));
	EXPECT_EQ(3, le64toh(event.record.lvcmdq_err_map[0]));
	EXPECT_EQ(0, event.record.lvcmdq_err_map[1]);
	EXPECT_EQ(o->sequence++, event.header.sequence);

	vcmdq_skip(&q);
	EXPECT_EQ(0, vcmdq_wait(&q));
	vcmdq_skip(&o->q);
	EXPECT_EQ(0, vcmdq_wait(&o->q));
	vcmdq_free(&q);
}

/* The errors of a guest that nobody reads or can read hurt nobody else. */
TEST_F(one_guest, errors_without_reader)
{
	struct owner *o = &self->o;
	struct vcmdq_event event;
	int i;

	veventq_free(&self->vm, &o->errors);
	for (i = 0; i < 100; i++) {
		ASSERT_LT(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_all()));
		vcmdq_skip(&o->q);
		ASSERT_EQ(0, vcmdq_wait(&o->q));
	}
	errorq_alloc(&o->vintf, 2, &o->errors);
	for (i = 0; i < 5; i++) {
		ASSERT_LT(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_all()));
		/* Without a reader the event cannot be waited for. */
		usleep(200000);
		vcmdq_skip(&o->q);
		ASSERT_EQ(0, vcmdq_wait(&o->q));
	}
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(errorq_read(&o->errors, &event, SOON));
		EXPECT_EQ(0, event.header.flags);
		EXPECT_EQ(i, event.header.sequence);
	}
	ASSERT_TRUE(errorq_read(&o->errors, &event, SOON));
	EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, event.header.flags);
	EXPECT_EQ(4, event.header.sequence);
}

TEST_F(one_guest, event_is_read_whole)
{
	struct owner *o = &self->o;
	struct vcmdq_event event;
	int fd = o->errors.fd;

	EXPECT_EQ(0, read(fd, &event, sizeof(event)));
	ASSERT_LT(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_all()));
	ASSERT_TRUE(vevent_wait(&o->errors, SOON));
	EXPECT_EQ(-1, read(fd, &event, 7));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, read(fd, &event, sizeof(event) - 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(24, sizeof(event));
	EXPECT_TRUE(error_arrives(o, 0));
	vcmdq_skip(&o->q);
	EXPECT_EQ(0, vcmdq_wait(&o->q));
}

/* ---- StreamIDs ---- */

TEST_F(one_guest, atc_inv_without_vdevice_is_refused)
{
	const __u32 bad[] = {
		physical_sid(edu_own_group(0)), VSID20 - 1, VSID20 + 1,
		VSID20 & ~8, 0,
		(1U << VSID_BITS) | VSID20, ~0U,
	};
	struct owner *o = &self->o;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ASSERT_TRUE(refused(o, cmd_atc_inv(bad[i])))
			TH_LOG("SID %#x", bad[i]);
	}
	edu_attach(&o->guest.edu, self->vm.s2);
	iommu_destroy(&self->vm, o->guest.vdevice);
	ASSERT_TRUE(refused(o, cmd_atc_inv(VSID20)));
	o->guest.vdevice = vdevice_alloc(&self->vm, o->guest.viommu,
					 o->guest.edu.dev_id, 7);
	ASSERT_TRUE(refused(o, cmd_atc_inv(VSID20)));
}

/* It comes and goes with the vDEVICE, whatever the device is attached to. */
TEST_F(one_guest, atc_inv_with_vdevice_passes)
{
	struct owner *o = &self->o;
	struct guest *guest = &o->guest;

	if (no_pair)
		SKIP(return, "%s", no_pair);
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_atc_inv(VSID20)));
	edu_attach(&guest->edu, self->vm.s2);
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_atc_inv(VSID20)));
	iommu_destroy(&self->vm, guest->vdevice);
	ASSERT_TRUE(refused(o, cmd_atc_inv(VSID20)));
	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, 7);
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_atc_inv(7)));
	ASSERT_TRUE(refused(o, cmd_atc_inv(VSID20)));
}

/* How many pairs guests have, and the only one if they have one */
static unsigned int guest_pairs(const __le32 *block, __u32 *match, __u32 *replace)
{
	__u32 param = block_get(block, BLOCK_PARAM), m;
	unsigned int v, s, pairs = 0;

	for (v = 1; v < VINTFS(param); v++) {
		for (s = 0; s < PAIRS(param); s++) {
			m = block_get(block, BLOCK_SID_MATCH(v, s));
			if (!(m & BLOCK_EN))
				continue;
			pairs++;
			*match = m;
			*replace = block_get(block, BLOCK_SID_REPLACE(v, s));
		}
	}
	return pairs;
}

/* The registers that the host writes for a vDEVICE */
TEST_F(one_guest, vdevice_has_a_pair)
{
	const __le32 *block = block_map();
	__u32 match = 0, replace = 0;

	if (no_pair)
		SKIP(return, "%s", no_pair);
	if (!block)
		SKIP(return, "no registers of the block");
	EXPECT_EQ(1, guest_pairs(block, &match, &replace));
	EXPECT_EQ(VSID20, match >> 1);
	EXPECT_EQ(physical_sid(edu_own_group(0)), replace);
}

/* A device that cannot use ATS would never answer an ATC_INV. */
TEST_F(one_guest, vdevice_without_ats_has_no_pair)
{
	const __le32 *block = block_map();
	__u32 match, replace;

	if (!no_pair)
		SKIP(return, "the device can use ATS");
	EXPECT_TRUE(refused(&self->o, cmd_atc_inv(VSID20)));
	if (block)
		EXPECT_EQ(0, guest_pairs(block, &match, &replace));
}

/* The device that gets the command is the guest's, by its physical StreamID. */
TEST_F(one_guest, atc_inv_reaches_the_device)
{
	const __u32 sid = physical_sid(edu_own_group(0));
	unsigned int before = atc_invs_of(sid), i;
	struct owner *o = &self->o;
	char last[64], want[64];

	if (no_pair)
		SKIP(return, "%s", no_pair);
	if (before == ~0U)
		SKIP(return, "no model of the block to ask");
	for (i = 0; i < 5; i++)
		EXPECT_EQ(0, vcmdq_cmd(&o->q, cmd_atc_inv(VSID20)));
	EXPECT_EQ(before + 5, atc_invs_of(sid));
	EXPECT_EQ(0, atc_invs_of(VSID20));
	ASSERT_TRUE(model_get("last-atc-inv", last, sizeof(last)));
	snprintf(want, sizeof(want), "%016llx %016llx",
		 (__u64)sid << 32 | CMD_ATC_INV, 52ULL);
	EXPECT_STREQ(want, last);

	EXPECT_TRUE(refused(o, cmd_atc_inv(sid)));
	EXPECT_EQ(before + 5, atc_invs_of(sid));
}

/* ---- CMD_SYNC ---- */

/* No CMD_SYNC writes to memory, whatever address and completion it names. */
TEST_F(one_guest, sync_writes_nothing)
{
	static const __u64 cs[] = { 0, CMD_SYNC_0_CS_IRQ, CMD_SYNC_0_CS_SEV,
				    3ULL << 12 };
	struct owner *o = &self->o;
	__u32 *there = vm_ptr(&self->vm, vm_alloc(&self->vm, 1));
	__u64 where[2];
	unsigned int i;
	int rc;

	*there = 0x5a5a5a5a;
	where[0] = physical_address(there);
	where[1] = o->guest.s1.ttb;
	if (!where[0])
		SKIP(return, "no physical address");
	for (i = 0; i < 8; i++) {
		rc = vcmdq_cmd(&o->q, cmd_raw(CMD_SYNC | cs[i / 2] |
					      CMD_SYNC_0_MSH_ISH |
					      CMD_SYNC_0_MSIATTR_WB |
					      CMD_SYNC_0_MSIDATA(0x12345678),
					      where[i % 2]));
		if (!cs[i / 2]) {
			EXPECT_EQ(0, rc);
		} else if (rc) {
			/* The block may let it pass, or not. */
			EXPECT_TRUE(error_arrives(o, 0));
			vcmdq_skip(&o->q);
			EXPECT_EQ(0, vcmdq_wait(&o->q));
		}
	}
	EXPECT_EQ(0x5a5a5a5a, __atomic_load_n(there, __ATOMIC_RELAXED));
}

/* ---- ATC_INVs that time out ---- */

FIXTURE(timeout)
{
	struct host host;
	struct vm vm;
	struct owner o;
};

FIXTURE_SETUP(timeout)
{
	const char *lack = vintf_lacks(edu_own_group(0), NULL);
	char sid[16];

	if (!lack)
		lack = no_pair;
	if (!lack && !model_set("atc-timeout", ""))
		lack = "no model of the block";
	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	owner_open(&self->o, &self->vm, edu_own_group(0));
	owner_start(&self->o, VSID20);
	snprintf(sid, sizeof(sid), "%#x", physical_sid(edu_own_group(0)));
	ASSERT_TRUE(model_set("atc-timeout", sid));
}

FIXTURE_TEARDOWN(timeout)
{
	if (!self->vm.ram)
		return;
	model_set("atc-timeout", "");
	owner_stop(&self->o);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

TEST_F(timeout, is_reported_at_the_sync)
{
	struct owner *o = &self->o;
	__u32 sync = o->q.prod + 1;

	ASSERT_EQ(VCMDQ_ERR_ATC_TIMEOUT, vcmdq_cmd(&o->q, cmd_atc_inv(VSID20)));
	EXPECT_EQ(sync, VCMDQ_RD(vcmdq_get(&o->q, VCMDQ_CONS)));
	EXPECT_TRUE(error_arrives(o, 0));
	/* A CMD_SYNC is not replaced. */
	vcmdq_acknowledge(&o->q);
	EXPECT_EQ(0, vcmdq_wait(&o->q));
	EXPECT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID)));
	EXPECT_TRUE(no_error(o));
}

/* What nobody has waited for is not the next owner's. */
TEST_F(timeout, does_not_reach_the_next_owner)
{
	struct owner *o = &self->o;
	__u64 gpa = vm_alloc(&self->vm, 1);
	struct vintf next;
	struct vcmdq q;

	vcmdq_put(&o->q, cmd_atc_inv(VSID20));
	vcmdq_kick(&o->q);
	ASSERT_EQ(0, vcmdq_wait(&o->q));
	vcmdq_free(&o->q);
	vcmdq_alloc(&o->q, &o->vintf, 0, gpa);
	vcmdq_start(&o->q);
	EXPECT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID)));

	/* The same for another vIOMMU that gets this VINTF */
	vcmdq_put(&o->q, cmd_atc_inv(VSID20));
	vcmdq_kick(&o->q);
	ASSERT_EQ(0, vcmdq_wait(&o->q));
	owner_stop(o);
	edu_open(&o->guest.edu, &self->vm, edu_own_group(0));
	vintf_alloc(&next, &self->vm, o->guest.edu.dev_id);
	vcmdq_alloc(&q, &next, 0, gpa);
	vcmdq_start(&q);
	EXPECT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)));
	vcmdq_free(&q);
	vintf_free(&next);
	edu_close(&o->guest.edu);

	owner_open(o, &self->vm, edu_own_group(0));
	owner_start(o, VSID20);
}

TEST_HARNESS_MAIN
