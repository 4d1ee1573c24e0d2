// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested translation on an SMMUv3: commands of a guest, and arrays of them. The
 * devices are QEMU's "edu", see smmuv3_lib.h for what it needs.
 */
#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smmuv3_fixtures.h"

/* ---- One device, behind stage 1 ---- */

/* Commands for somebody else are no reason to forget this entry. */
TEST_F(stage1, tlbi_for_others)
{
	struct guest *guest = &self->guest;
	struct change c;

	ASSERT_TRUE(stale(guest, &c, VA));
	guest_cmd(guest, cmd_tlbi_nh_asid(ASID + 1));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID + 1, VA));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA + GUEST_PAGE));
	guest_cmd(guest, cmd_tlbi_nh_vaa(VA - GUEST_PAGE));
	guest_cmd(guest, cmd_cfgi_cd(VSID));
	guest_cmd(guest, cmd_cfgi_cd_all(VSID));
	EXPECT_TRUE(goes_before(guest, &c));
}

/* ---- The guest's commands ---- */

FIXTURE(tlbi)
{
	struct host host;
	struct vm vm;
	struct guest guest;	/* issues the command */
	struct guest other;	/* same nest parent, ASID, vSID and VA */
};

FIXTURE_VARIANT(tlbi)
{
	__u64 cmd[2];
};

#define TLBI_ASID	((__u64)ASID << 48)
#define TLBI_ANY_VMID	(0xffffULL << 32)

FIXTURE_VARIANT_ADD(tlbi, nh_all) { .cmd = { CMD_TLBI_NH_ALL } };
FIXTURE_VARIANT_ADD(tlbi, nh_asid) { .cmd = { CMD_TLBI_NH_ASID | TLBI_ASID } };
FIXTURE_VARIANT_ADD(tlbi, nh_va)
{
	.cmd = { CMD_TLBI_NH_VA | TLBI_ASID, VA | CMD_1_LEAF },
};

FIXTURE_VARIANT_ADD(tlbi, nh_va_not_leaf)
{
	.cmd = { CMD_TLBI_NH_VA | TLBI_ASID, VA },
};

/* 32 pages, the last of which it is */
FIXTURE_VARIANT_ADD(tlbi, nh_va_range)
{
	.cmd = { CMD_TLBI_NH_VA | TLBI_ASID | CMD_0_NUM(31),
		 (VA - 31 * GUEST_PAGE) | CMD_1_TG(1) | CMD_1_TTL(3) |
		 CMD_1_LEAF },
};

/* 24 pages, the 17th of which it is */
FIXTURE_VARIANT_ADD(tlbi, nh_va_scaled)
{
	.cmd = { CMD_TLBI_NH_VA | TLBI_ASID | CMD_0_SCALE(3) | CMD_0_NUM(2),
		 (VA - 16 * GUEST_PAGE) | CMD_1_TG(1) },
};

FIXTURE_VARIANT_ADD(tlbi, nh_vaa) { .cmd = { CMD_TLBI_NH_VAA, VA } };
FIXTURE_VARIANT_ADD(tlbi, nh_vaa_range)
{
	.cmd = { CMD_TLBI_NH_VAA | CMD_0_NUM(1), VA | CMD_1_TG(1) },
};

FIXTURE_VARIANT_ADD(tlbi, nsnh_all) { .cmd = { CMD_TLBI_NSNH_ALL } };

/* The VMID is the vSMMU's own, whatever the guest writes there. */
FIXTURE_VARIANT_ADD(tlbi, nh_all_any_vmid)
{
	.cmd = { CMD_TLBI_NH_ALL | TLBI_ANY_VMID },
};

FIXTURE_VARIANT_ADD(tlbi, nh_va_any_vmid)
{
	.cmd = { CMD_TLBI_NH_VA | TLBI_ASID | TLBI_ANY_VMID, VA },
};

FIXTURE_SETUP(tlbi)
{
	const char *lack = lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_own_group(0));
	guest_init(&self->other, &self->vm, edu_own_group(1));
	guest_start(&self->guest, VSID);
	guest_start(&self->other, VSID);
}

FIXTURE_TEARDOWN(tlbi)
{
	if (!self->vm.ram)
		return;
	guest_stop(&self->guest);
	guest_stop(&self->other);
	iommu_destroy(&self->vm, self->vm.s2);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

TEST_F(tlbi, removes_stale_entry_of_this_guest_only)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd =
		cmd_raw(variant->cmd[0], variant->cmd[1]);
	struct change c, o;

	ASSERT_TRUE(stale(&self->guest, &c, VA));
	ASSERT_TRUE(stale(&self->other, &o, VA));
	EXPECT_TRUE(goes_before(&self->guest, &c));
	EXPECT_TRUE(goes_before(&self->other, &o));

	guest_cmd(&self->guest, cmd);
	EXPECT_TRUE(goes_after(&self->guest, &c));
	EXPECT_TRUE(goes_before(&self->other, &o));

	guest_cmd(&self->other, cmd);
	EXPECT_TRUE(goes_after(&self->other, &o));
}

/* A CD that changes in memory is found by CFGI_CD, by this guest's device. */
TEST_F(two_guests, cfgi_cd)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd[2] = {
		cmd_cfgi_cd(VSID), cmd_cfgi_cd_all(VSID),
	};
	__u64 before[2], after[2];
	struct s1 next[2];
	int round, i;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < 2; i++) {
			struct guest *guest = &self->guest[i];

			before[i] = vm_alloc(&self->vm, 1);
			after[i] = vm_alloc(&self->vm, 1);
			s1_map(&guest->s1, VA, before[i]);
			guest_cmd(guest, cmd_tlbi_nh_all());
			EXPECT_EQ(before[i], edu_lands(&guest->edu, VA));

			/* Another table and ASID in the same CD */
			s1_init(&next[i], &self->vm, ASID + 2 * round + 1);
			s1_map(&next[i], VA, after[i]);
			next[i].cd = guest->s1.cd;
			s1_write_cd(&next[i]);
			EXPECT_EQ(before[i], edu_lands(&guest->edu, VA));
		}
		guest_cmd(&self->guest[0], cmd[round]);
		EXPECT_EQ(after[0], edu_lands(&self->guest[0].edu, VA));
		EXPECT_EQ(before[1], edu_lands(&self->guest[1].edu, VA));
		guest_cmd(&self->guest[1], cmd[round]);
		EXPECT_EQ(after[1], edu_lands(&self->guest[1].edu, VA));
		for (i = 0; i < 2; i++)
			self->guest[i].s1 = next[i];
	}

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(EIO, __viommu_cmd(&self->vm, self->guest[i].viommu,
					    cmd_cfgi_cd(VSID + 1)));
		EXPECT_EQ(EIO, __viommu_cmd(&self->vm, self->guest[i].viommu,
					    cmd_cfgi_cd_all(0)));
	}
}

/* A guest with two devices: a CFGI is for the one that its vSID names. */
TEST_F(two_guests, devices_of_one_guest)
{
	struct guest *a = &self->guest[0], *b = &self->guest[1];
	__u64 before = vm_alloc(&self->vm, 1);
	__u64 after = vm_alloc(&self->vm, 1);
	struct s1 next;

	edu_detach(&b->edu);
	iommu_destroy(&self->vm, b->vdevice);
	b->vdevice = vdevice_alloc(&self->vm, a->viommu, b->edu.dev_id, 7);
	edu_attach(&b->edu, a->nested);

	s1_map(&a->s1, VA, before);
	EXPECT_EQ(before, edu_lands(&a->edu, VA));
	EXPECT_EQ(before, edu_lands(&b->edu, VA));
	s1_init(&next, &self->vm, ASID + 1);
	s1_map(&next, VA, after);
	next.cd = a->s1.cd;
	s1_write_cd(&next);

	guest_cmd(a, cmd_cfgi_cd(7));
	EXPECT_EQ(before, edu_lands(&a->edu, VA));
	EXPECT_EQ(after, edu_lands(&b->edu, VA));
	guest_cmd(a, cmd_cfgi_cd(VSID));
	EXPECT_EQ(after, edu_lands(&a->edu, VA));

	/* One TLBI is for both. */
	s1_map(&next, VA, before);
	EXPECT_EQ(after, edu_lands(&a->edu, VA));
	EXPECT_EQ(after, edu_lands(&b->edu, VA));
	guest_cmd(a, cmd_tlbi_nh_va(ASID + 1, VA));
	EXPECT_EQ(before, edu_lands(&a->edu, VA));
	EXPECT_EQ(before, edu_lands(&b->edu, VA));
}

/* The guest's commands while the VMM takes everything away and gives it back */
TEST_F(two_guests, commands_while_all_changes)
{
	struct guest *a = &self->guest[0], *b = &self->guest[1];
	struct iommu_viommu_arm_smmuv3_invalidate cmds[200];
	__u32 bypass = guest_nested(a, vste_bypass());
	__u64 page = vm_alloc(&self->vm, 1);
	void *dimm = dimm_alloc(1);
	int child[2], status, i, n, rc;

	s1_map(&a->s1, VA, page);
	s1_map(&b->s1, VA, page);
	for (i = 0; i < 200; i++)
		cmds[i] = cmd_tlbi_nh_va(ASID, VA + i * GUEST_PAGE);
	cmds[100] = cmd_cfgi_cd_all(VSID);
	cmds[199] = cmd_cfgi_cd(VSID);

	for (n = 0; n < 2; n++) {
		child[n] = fork();
		ASSERT_LE(0, child[n]);
		if (child[n])
			continue;
		for (;;) {
			__u32 num = 200;

			rc = __viommu_invalidate(&self->vm,
						 self->guest[n].viommu, cmds,
						 &num);
			/* Either vSID was gone for a moment, or all worked. */
			if (!(rc == 0 && num == 200) &&
			    !(!n && rc == EIO && (num == 100 || num == 199)))
				_exit(1);
		}
	}
	for (i = 0; i < 200; i++) {
		vm_map(&self->vm, DIMM, dimm, GUEST_PAGE);
		edu_attach(&a->edu, bypass);
		iommu_destroy(&self->vm, a->vdevice);
		a->vdevice = vdevice_alloc(&self->vm, a->viommu, a->edu.dev_id,
					   VSID);
		edu_attach(&a->edu, a->nested);
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);
		edu_attach(&b->edu, self->vm.s2);
		edu_attach(&b->edu, b->nested);
	}
	for (n = 0; n < 2; n++) {
		ASSERT_EQ(0, waitpid(child[n], &status, WNOHANG));
		kill(child[n], SIGKILL);
		ASSERT_EQ(child[n], waitpid(child[n], &status, 0));
	}
	EXPECT_EQ(page, edu_lands(&a->edu, VA));
	EXPECT_EQ(page, edu_lands(&b->edu, VA));
}

/* An illegal command would halt the queue of every device on the host. */
TEST_F(two_guests, illegal_commands)
{
	struct guest *a = &self->guest[0], *b = &self->guest[1];
	__u32 idr0 = smmu_idr(a, 0);
	struct change ca, cb;
	unsigned int op;

	ASSERT_TRUE(stale(a, &ca, VA));
	ASSERT_TRUE(stale(b, &cb, VA));
	for (op = 0; op < 256; op++) {
		switch (op) {
		case CMD_CFGI_CD:
		case CMD_CFGI_CD_ALL:
		case CMD_TLBI_NH_ALL:
		case CMD_TLBI_NH_ASID:
		case CMD_TLBI_NH_VA:
		case CMD_TLBI_NH_VAA:
		case CMD_TLBI_NSNH_ALL:
			continue;
		case CMD_ATC_INV:
			/* Legal where the SMMU has ATS */
			if (idr0 & _BITUL(10))
				continue;
			break;
		}
		EXPECT_EQ(EIO, __viommu_cmd(&self->vm, a->viommu,
					    cmd_raw(op, 0)))
			TH_LOG("opcode %#x", op);
		EXPECT_EQ(EIO, __viommu_cmd(&self->vm, a->viommu,
					    cmd_raw(op | (__u64)VSID << 32,
						    0)))
			TH_LOG("opcode %#x with a StreamID", op);
	}
	EXPECT_TRUE(host_is_fine(&self->host));

	/* Nothing was invalidated, and the queue works. */
	EXPECT_TRUE(goes_before(a, &ca));
	EXPECT_TRUE(goes_before(b, &cb));
	guest_cmd(a, cmd_tlbi_nh_all());
	guest_cmd(b, cmd_tlbi_nh_all());
	EXPECT_TRUE(goes_after(a, &ca));
	EXPECT_TRUE(goes_after(b, &cb));
}

#define BITS(hi, lo)	(((~0ULL) << (lo)) & (~0ULL >> (63 - (hi))))

/*
 * Each bit by itself on top of a legal command: "may" can be changed, "must
 * not" is refused. What depends on other fields is in neither.
 */
TEST_F(stage1, command_bits)
{
	static const struct {
		struct iommu_viommu_arm_smmuv3_invalidate base;
		__u64 may[2], must_not[2];
		const char *name;
	} cmds[] = {
		{ { { CMD_CFGI_CD | (__u64)VSID << 32, 0 } },
		  { 0, BITS(0, 0) },
		  { BITS(11, 8) | BITS(63, 32), BITS(63, 1) }, "CFGI_CD" },
		{ { { CMD_CFGI_CD_ALL | (__u64)VSID << 32, 0 } },
		  { 0, 0 },
		  { BITS(63, 8), BITS(63, 0) }, "CFGI_CD_ALL" },
		{ { { CMD_TLBI_NH_ALL, 0 } },
		  { BITS(47, 32), 0 },
		  { BITS(31, 8) | BITS(63, 48), BITS(63, 0) }, "NH_ALL" },
		{ { { CMD_TLBI_NH_ASID, 0 } },
		  { BITS(47, 32) | BITS(55, 48), 0 },
		  { BITS(31, 8), BITS(63, 0) }, "NH_ASID" },
		{ { { CMD_TLBI_NH_VA, 0 } },
		  { BITS(47, 32) | BITS(55, 48), BITS(0, 0) | BITS(63, 12) },
		  { BITS(31, 8), BITS(7, 1) | BITS(11, 8) }, "NH_VA" },
		{ { { CMD_TLBI_NH_VAA, 0 } },
		  { BITS(47, 32), BITS(0, 0) | BITS(63, 12) },
		  { BITS(31, 8) | BITS(63, 48), BITS(7, 1) | BITS(11, 8) },
		  "NH_VAA" },
		{ { { CMD_TLBI_NSNH_ALL, 0 } },
		  { 0, 0 },
		  { BITS(31, 8) | BITS(63, 48), BITS(63, 0) }, "NSNH_ALL" },
		/* Four pages of 64 KiB, at level 3 */
		{ { { CMD_TLBI_NH_VA | CMD_0_NUM(3),
		      CMD_1_TG(3) | CMD_1_TTL(3) } },
		  { BITS(16, 12) | BITS(22, 20) | BITS(55, 32),
		    BITS(0, 0) | BITS(47, 16) },
		  { BITS(11, 8) | BITS(19, 17) | BITS(31, 25), BITS(7, 1) },
		  "NH_VA range" },
	};
	unsigned int i, bit;

	for (i = 0; i < sizeof(cmds) / sizeof(*cmds); i++) {
		for (bit = 0; bit < 128; bit++) {
			struct iommu_viommu_arm_smmuv3_invalidate cmd =
				cmd_raw(cmds[i].base.cmd[0],
					cmds[i].base.cmd[1]);
			__u64 mask = 1ULL << bit % 64;
			int rc;

			cmd.cmd[bit / 64] ^= htole64(mask);
			rc = __viommu_cmd(&self->vm, self->guest.viommu, cmd);
			if (cmds[i].may[bit / 64] & mask)
				EXPECT_EQ(0, rc)
					TH_LOG("%s, bit %u of word %u",
					       cmds[i].name, bit % 64,
					       bit / 64);
			if (cmds[i].must_not[bit / 64] & mask)
				EXPECT_EQ(EIO, rc)
					TH_LOG("%s, bit %u of word %u",
					       cmds[i].name, bit % 64,
					       bit / 64);
		}
	}
}

TEST_F(stage1, invalidate_errors)
{
	struct {
		struct iommu_viommu_arm_smmuv3_invalidate cmd;
		__u64 tail;
	} long_cmds[3] = {
		{ .cmd = cmd_tlbi_nh_all() },
		{ .cmd = cmd_tlbi_nh_all() },
		{ .cmd = cmd_tlbi_nh_all(), .tail = 1ULL << 63 },
	};
	struct iommu_hwpt_invalidate good = {
		.size = sizeof(good),
		.hwpt_id = self->guest.viommu,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.data_uptr = (uintptr_t)long_cmds,
		.entry_len = 16,
		.entry_num = 1,
	}, cmd;

#define BAD_FIELD(_field, _val, _err)                                   \
	{                                                               \
		.name = #_field " = " #_val,                            \
		.off = offsetof(struct iommu_hwpt_invalidate, _field),  \
		.len = sizeof(good._field),                             \
		.val = (_val), .err = (_err),                           \
	}
	const struct {
		const char *name;
		size_t off, len;
		__u64 val;
		int err;
	} bad[] = {
		BAD_FIELD(__reserved, 1, EOPNOTSUPP),
		BAD_FIELD(hwpt_id, 0xffff, ENOENT),
		BAD_FIELD(hwpt_id, self->vm.s2, EINVAL),
		BAD_FIELD(hwpt_id, self->guest.vdevice, EINVAL),
		BAD_FIELD(hwpt_id, self->guest.nested, EOPNOTSUPP),
		BAD_FIELD(data_type, good.data_type + 1, EINVAL),
		BAD_FIELD(data_uptr, 0, EINVAL),
		BAD_FIELD(entry_len, 0, EINVAL),
		BAD_FIELD(entry_len, 15, EINVAL),
		BAD_FIELD(entry_len, getpagesize() + 1, EINVAL),
		BAD_FIELD(entry_num, (1 << 19) + 1, EINVAL),
	};
	unsigned int i;

#define EXPECT_INVALIDATE(expected, count, name)                              \
	do {                                                                  \
		errno = 0;                                                    \
		ioctl(self->vm.iommufd, IOMMU_HWPT_INVALIDATE, &cmd);         \
		EXPECT_EQ(expected, errno) TH_LOG("%s", name);                \
		EXPECT_EQ(count, cmd.entry_num) TH_LOG("%s", name);           \
	} while (0)

	cmd = good;
	EXPECT_INVALIDATE(0, 1, "good");
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		__le64 val = htole64(bad[i].val);

		cmd = good;
		memcpy((char *)&cmd + bad[i].off, &val, bad[i].len);
		EXPECT_INVALIDATE(bad[i].err, 0, bad[i].name);
	}

	/* Nothing to do: is the type known? */
	cmd = good;
	cmd.entry_num = 0;
	cmd.entry_len = 0;
	cmd.data_uptr = 0;
	EXPECT_INVALIDATE(0, 0, "no entries");
	cmd.data_type = 0;
	EXPECT_INVALIDATE(EINVAL, 0, "no entries of type 0");

	/* An entry that is longer than we know is fine as long as it is 0. */
	cmd = good;
	cmd.entry_len = sizeof(long_cmds[0]);
	cmd.entry_num = 2;
	EXPECT_INVALIDATE(0, 2, "longer entries");
	cmd.entry_num = 3;
	EXPECT_INVALIDATE(E2BIG, 2, "a longer entry that is not 0");
}

/* ---- Arrays that end too soon ---- */

FIXTURE(array)
{
	struct host host;
	struct vm vm;
	struct guest guest;
};

FIXTURE_VARIANT(array)
{
	__u32 num;
	__u32 bad;		/* index; num where all are fine */
	bool unknown_vsid;	/* else an illegal opcode */
};

FIXTURE_VARIANT_ADD(array, one_bad) { .num = 1, .bad = 0 };
FIXTURE_VARIANT_ADD(array, all_64) { .num = 64, .bad = 64 };
FIXTURE_VARIANT_ADD(array, all_4096) { .num = 4096, .bad = 4096 };
FIXTURE_VARIANT_ADD(array, at_0) { .num = 200, .bad = 0 };
FIXTURE_VARIANT_ADD(array, at_1) { .num = 200, .bad = 1, .unknown_vsid = true };
FIXTURE_VARIANT_ADD(array, at_62) { .num = 200, .bad = 62 };
FIXTURE_VARIANT_ADD(array, at_63) { .num = 200, .bad = 63 };
FIXTURE_VARIANT_ADD(array, at_64) { .num = 200, .bad = 64 };
FIXTURE_VARIANT_ADD(array, at_64_vsid)
{
	.num = 200, .bad = 64, .unknown_vsid = true };
FIXTURE_VARIANT_ADD(array, at_65) { .num = 200, .bad = 65 };
FIXTURE_VARIANT_ADD(array, at_127)
{
	.num = 200, .bad = 127, .unknown_vsid = true };
FIXTURE_VARIANT_ADD(array, at_128) { .num = 200, .bad = 128 };
FIXTURE_VARIANT_ADD(array, last_of_4096) { .num = 4096, .bad = 4095 };

FIXTURE_SETUP(array)
{
	const char *lack = lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_own_group(0));
	guest_start(&self->guest, VSID);
}

FIXTURE_TEARDOWN(array)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

TEST_F(array, counts_what_was_executed)
{
	struct guest *guest = &self->guest;
	struct iommu_viommu_arm_smmuv3_invalidate *cmds;
	__u32 num = variant->num, bad = variant->bad, i;
	struct change before, after;

	cmds = calloc(num, sizeof(*cmds));
	ASSERT_NE(NULL, cmds);
	for (i = 0; i < num; i++)
		cmds[i] = cmd_tlbi_nh_va(ASID, VA + (i + 16) * GUEST_PAGE);
	/* The last that counts, and the first that doesn't */
	if (bad)
		cmds[bad - 1] = cmd_tlbi_nh_va(ASID, VA);
	if (bad < num)
		cmds[bad] = variant->unknown_vsid ? cmd_cfgi_cd(VSID + 1) :
						    cmd_raw(CMD_SYNC, 0);
	if (bad + 1 < num)
		cmds[bad + 1] = cmd_tlbi_nh_va(ASID, VA2);

	ASSERT_TRUE(stale(guest, &before, VA));
	ASSERT_TRUE(stale(guest, &after, VA2));
	EXPECT_EQ(bad < num ? EIO : 0,
		  __viommu_invalidate(&self->vm, guest->viommu, cmds, &num));
	EXPECT_EQ(bad, num);
	EXPECT_TRUE(bad ? goes_after(guest, &before) :
			  goes_before(guest, &before));
	EXPECT_TRUE(goes_before(guest, &after));
	free(cmds);
}

/* The driver ends a block wherever commands need a CMD_SYNC between them. */
TEST_F(stage1, array_of_several_kinds)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmds[130];
	const __u32 all = sizeof(cmds) / sizeof(*cmds);
	struct guest *guest = &self->guest;
	struct change change;
	__u32 num, bad, i;

	for (i = 0; i < all; i++)
		cmds[i] = i % 3 == 0 ? cmd_cfgi_cd(VSID) :
			  i % 3 == 1 ? cmd_cfgi_cd_all(VSID) :
				       cmd_tlbi_nh_va(ASID, VA2);
	cmds[all - 1] = cmd_tlbi_nh_va(ASID, VA);

	/* An error in front of the last command keeps it from being executed. */
	ASSERT_TRUE(stale(guest, &change, VA));
	for (bad = 0; bad < all - 1; bad++) {
		struct iommu_viommu_arm_smmuv3_invalidate good = cmds[bad];

		cmds[bad] = bad % 2 ? cmd_cfgi_cd(VSID + 1) :
				      cmd_raw(CMD_SYNC, 0);
		num = all;
		EXPECT_EQ(EIO, __viommu_invalidate(&self->vm, guest->viommu,
						   cmds, &num));
		EXPECT_EQ(bad, num) TH_LOG("command %u", bad);
		cmds[bad] = good;
	}
	EXPECT_TRUE(goes_before(guest, &change));

	num = all;
	EXPECT_EQ(0, __viommu_invalidate(&self->vm, guest->viommu, cmds, &num));
	EXPECT_EQ(all, num);
	EXPECT_TRUE(goes_after(guest, &change));
}

/* Memory that ends in the middle of the array. */
TEST_F(stage1, array_that_cannot_be_read)
{
	static const unsigned int readable[] = { 0, 1, 63, 64, 65, 200 };
	struct guest *guest = &self->guest;
	struct iommu_viommu_arm_smmuv3_invalidate *end, *cmds;
	long page = getpagesize();
	unsigned int i, n;
	__u32 num;
	void *mem;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		   MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, munmap(mem + page, page));
	end = mem + page;

	for (i = 0; i < sizeof(readable) / sizeof(*readable); i++) {
		struct change first = {}, last = {};

		cmds = end - readable[i];
		for (n = 0; n < readable[i]; n++)
			cmds[n] = cmd_tlbi_nh_va(ASID, VA2);
		if (readable[i]) {
			ASSERT_TRUE(stale(guest, &first, VA + 4 * i * GUEST_PAGE));
			cmds[0] = cmd_tlbi_nh_va(ASID, first.va);
		}
		if (readable[i] > 1) {
			ASSERT_TRUE(stale(guest, &last,
					  VA + (4 * i + 1) * GUEST_PAGE));
			cmds[readable[i] - 1] = cmd_tlbi_nh_va(ASID, last.va);
		}
		num = 256;
		EXPECT_EQ(EFAULT, __viommu_invalidate(&self->vm, guest->viommu,
						      cmds, &num));

		/* How far it got is its own business, but it must be true. */
		EXPECT_GE(readable[i], num);
		if (readable[i])
			EXPECT_TRUE(num ? goes_after(guest, &first) :
					  goes_before(guest, &first))
				TH_LOG("%u readable, %u executed", readable[i],
				       num);
		if (readable[i] > 1)
			EXPECT_TRUE(num == readable[i] ?
				    goes_after(guest, &last) :
				    goes_before(guest, &last))
				TH_LOG("%u readable, %u executed", readable[i],
				       num);
	}
}

static atomic_int alarms;

static void on_alarm(int sig)
{
	(void)sig;
	atomic_fetch_add(&alarms, 1);
}

/* A VMM would have to tell its guest of an error that is none. */
TEST_F(stage1, signals_do_not_end_an_array)
{
	const struct itimerval often = {
		.it_interval = { .tv_usec = 1000 },
		.it_value = { .tv_usec = 1000 },
	}, never = {};
	struct sigaction action = { .sa_handler = on_alarm };
	struct iommu_viommu_arm_smmuv3_invalidate *cmds;
	struct guest *guest = &self->guest;
	__u32 num = 1 << 19, i;
	struct change c;

	cmds = calloc(num, sizeof(*cmds));
	ASSERT_NE(NULL, cmds);
	for (i = 0; i < num; i++)
		cmds[i] = cmd_tlbi_nh_va(ASID, VA + (i + 1) * GUEST_PAGE);
	cmds[num - 1] = cmd_tlbi_nh_va(ASID, VA);

	ASSERT_TRUE(stale(guest, &c, VA));
	ASSERT_EQ(0, sigaction(SIGPROF, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &often, NULL));
	EXPECT_EQ(0, __viommu_invalidate(&self->vm, guest->viommu, cmds, &num));
	EXPECT_EQ(1 << 19, num);
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &never, NULL));
	EXPECT_LT(0, atomic_load(&alarms));
	EXPECT_TRUE(goes_after(guest, &c));
}

TEST_HARNESS_MAIN
