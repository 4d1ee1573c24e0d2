// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested translation on an SMMUv3: devices that share a group. They are QEMU's
 * "edu", see smmuv3_lib.h for what it needs.
 */
#include <errno.h>
#include <string.h>

#include "smmuv3_fixtures.h"

/* ---- Groups ---- */

FIXTURE(group)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	struct edu member;
};

FIXTURE_SETUP(group)
{
	const char *lack = lacks(edu_shared_group(1), LACKS_FUNCTIONS);

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_shared_group(0));
}

FIXTURE_TEARDOWN(group)
{
	if (self->member.fd > 0)
		edu_close(&self->member);
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

/* The other function is bound to this iommufd: it needs a vDEVICE as well. */
TEST_F(group, bound_member_needs_vdevice)
{
	struct guest *guest = &self->guest;
	__u64 page = vm_alloc(&self->vm, 1);
	__u32 s1, bypass, abort, member;

	edu_open(&self->member, &self->vm, edu_shared_group(1));
	s1 = guest_nested(guest, vste_s1(&guest->s1));
	bypass = guest_nested(guest, vste_bypass());
	abort = guest_nested(guest, vste_abort());
	s1_map(&guest->s1, VA, page);
	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, VSID);
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));
	EXPECT_EQ(0, __edu_attach(&guest->edu, bypass));
	EXPECT_EQ(0, __edu_attach(&guest->edu, abort));
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, s1));

	member = vdevice_alloc(&self->vm, guest->viommu, self->member.dev_id,
			       VSID + 1);
	EXPECT_EQ(0, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(0, __edu_attach(&self->member, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, guest->vdevice));
	EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, member));
	guest_cmd(guest, cmd_cfgi_cd(VSID));
	guest_cmd(guest, cmd_cfgi_cd(VSID + 1));
}

/* Nobody has it: nothing is asked of it. When it comes, it brings its own. */
TEST_F(group, members_come_and_go)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u64 page = vm_alloc(vm, 1);
	__u32 member;
	int i;

	s1_map(&guest->s1, VA, page);
	guest_start(guest, VSID);
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));

	for (i = 0; i < 3; i++) {
		edu_open(&self->member, vm, edu_shared_group(1));
		EXPECT_EQ(ENOENT, __edu_attach(&self->member, guest->nested));
		EXPECT_EQ(page, edu_lands(&guest->edu, VA));

		member = vdevice_alloc(vm, guest->viommu, self->member.dev_id,
				       VSID + 1);
		EXPECT_EQ(0, __edu_attach(&self->member, guest->nested));
		/* Its tokens are not loaded, but zeroes are as good. */
		memset(vm_ptr(vm, page), 0xff, 64);
		edu_write(&self->member, VA, 0, 4);
		EXPECT_NE(0xffffffff, *(__u32 *)vm_ptr(vm, page));
		EXPECT_EQ(EBUSY, __iommu_destroy(vm, member));
		guest_cmd(guest, cmd_cfgi_cd(VSID + 1));

		/* Who leaves the group's domain leaves the guest's stage 1. */
		if (i == 0) {
			edu_detach(&self->member);
			EXPECT_EQ(0, __iommu_destroy(vm, member));
			memset(vm_ptr(vm, page), 0xff, 64);
			edu_write(&self->member, VA, 0, 4);
			EXPECT_EQ(0xffffffff, *(__u32 *)vm_ptr(vm, page));
		}
		edu_close(&self->member);
		self->member.fd = -1;
		EXPECT_EQ(EIO, __viommu_cmd(vm, guest->viommu,
					    cmd_cfgi_cd(VSID + 1)));
		EXPECT_EQ(page, edu_lands(&guest->edu, VA));
		EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->vdevice));
		guest_cmd(guest, cmd_cfgi_cd(VSID));
	}
}

FIXTURE(port)
{
	struct host host;
	struct vm vm;
	struct guest guest;
};

FIXTURE_SETUP(port)
{
	const char *lack = lacks(behind_port(), LACKS_PORT);

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, behind_port());
}

FIXTURE_TEARDOWN(port)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

/* The port is in the group and belongs to its driver: it has no vDEVICE. */
TEST_F(port, is_never_in_the_way)
{
	struct guest *guest = &self->guest;
	__u32 s1 = guest_nested(guest, vste_s1(&guest->s1));
	struct change c;

	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, s1));
	iommu_destroy(&self->vm, s1);
	guest_start(guest, VSID);
	ASSERT_TRUE(stale(guest, &c, VA));
	EXPECT_TRUE(goes_before(guest, &c));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA));
	EXPECT_TRUE(goes_after(guest, &c));
	edu_attach(&guest->edu, self->vm.s2);
	EXPECT_EQ(c.after, edu_lands(&guest->edu, c.after));
	edu_attach(&guest->edu, guest->nested);
	EXPECT_TRUE(goes_after(guest, &c));
}

/* Two StreamIDs: which of them would the vSID stand for? */
TEST(device_behind_pci_bridge)
{
	const char *lack = lacks(aliased(), LACKS_BRIDGE);
	struct edu edu;
	struct vm vm;
	__u32 id;

	if (lack)
		SKIP(return, "%s", lack);
	vm_init(&vm);
	edu_open(&edu, &vm, aliased());
	s2_alloc(&vm, edu.dev_id);
	EXPECT_EQ(EOPNOTSUPP, __vdevice_alloc(&vm, viommu_alloc(&vm, edu.dev_id),
					      edu.dev_id, VSID, &id));
	edu_close(&edu);
	vm_free(&vm);
}

TEST_HARNESS_MAIN
