// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects of nested translation on an SMMUv3: what a VMM can allocate, and the error
 * of each mistake. The devices are QEMU's "edu", see smmuv3_lib.h for what it needs.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "smmuv3_fixtures.h"

/* ---- One device, not yet nested ---- */

FIXTURE(vsmmu)
{
	struct host host;
	struct vm vm;
	struct guest guest;
};

FIXTURE_SETUP(vsmmu)
{
	const char *lack = lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_own_group(0));
}

FIXTURE_TEARDOWN(vsmmu)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

TEST_F(vsmmu, hw_info)
{
	struct {
		struct iommu_hw_info_arm_smmuv3 smmu;
		__u8 tail[16];
	} info;
	__u32 dev_id = self->guest.edu.dev_id;
	struct vm *vm = &self->vm;
	__u32 type, len;
	__u64 caps;
	int i;

	memset(&info, 0xff, sizeof(info));
	type = 0;
	len = sizeof(info);
	ASSERT_EQ(0, __hw_info(vm, dev_id, 0, &type, &info, &len, &caps));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	EXPECT_EQ(sizeof(info.smmu), len);
	EXPECT_EQ(0, info.smmu.flags);
	EXPECT_EQ(0, info.smmu.__reserved);
	for (i = 0; i < 16; i++)
		EXPECT_EQ(0, info.tail[i]);
	/* Both stages, AArch64 tables, 4 KiB granule: or nothing here works. */
	EXPECT_EQ(3, info.smmu.idr[0] & 3);
	EXPECT_NE(0, info.smmu.idr[0] & 1 << 3);
	EXPECT_NE(0, info.smmu.idr[5] & 1 << 4);
	EXPECT_NE(0, caps & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);

	/* Raw means raw. */
	if (self->host.regs) {
		for (i = 0; i < 6; i++)
			EXPECT_EQ(host_reg(&self->host, 4 * i),
				  info.smmu.idr[i]);
		EXPECT_EQ(host_reg(&self->host, SMMU_IIDR), info.smmu.iidr);
		EXPECT_EQ(host_reg(&self->host, SMMU_AIDR), info.smmu.aidr);
	}

	type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	EXPECT_EQ(0, __hw_info(vm, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE,
			       &type, &info, &len, &caps));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	type = 0;
	EXPECT_EQ(0, __hw_info(vm, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE,
			       &type, &info, &len, &caps));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);

	/* An extension of the SMMU can have a type of its own: none of these is one */
	for (i = 0; i < 3; i++) {
		static const __u32 other[] = {
			IOMMU_HW_INFO_TYPE_INTEL_VTD, 0xbeef, ~0U,
		};

		type = other[i];
		EXPECT_EQ(EOPNOTSUPP,
			  __hw_info(vm, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE,
				    &type, &info, &len, &caps));
	}
	type = 0;
	EXPECT_EQ(EOPNOTSUPP, __hw_info(vm, dev_id, 1U << 31, &type, &info,
					&len, &caps));
}

TEST_F(vsmmu, nest_parent_takes_no_other_flag)
{
	__u32 id;

	EXPECT_EQ(EOPNOTSUPP,
		  __hwpt_alloc(&self->vm, self->guest.edu.dev_id, self->vm.ioas,
			       IOMMU_HWPT_ALLOC_NEST_PARENT |
			       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	EXPECT_EQ(EOPNOTSUPP,
		  __hwpt_alloc(&self->vm, self->guest.edu.dev_id, self->vm.ioas,
			       IOMMU_HWPT_ALLOC_NEST_PARENT | 1U << 31,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
}

TEST_F(vsmmu, viommu_alloc_errors)
{
	struct guest *guest = &self->guest;
	__u32 dev_id = guest->edu.dev_id;
	struct vm *vm = &self->vm;
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.flags = 1,
		.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
		.dev_id = dev_id,
		.hwpt_id = vm->s2,
	};
	__u32 plain, nested, id;

	EXPECT_EQ(EOPNOTSUPP, __viommu_alloc(vm, dev_id, vm->s2,
					     IOMMU_VIOMMU_TYPE_DEFAULT, &id));
	EXPECT_EQ(EOPNOTSUPP, __viommu_alloc(vm, dev_id, vm->s2,
					     0xbeef,
					      &id));
	EXPECT_EQ(EOPNOTSUPP, __viommu_alloc(vm, dev_id, vm->s2, 0xdeadbeef,
					     &id));
	EXPECT_EQ(-1, ioctl(vm->iommufd, IOMMU_VIOMMU_ALLOC, &cmd));
	EXPECT_EQ(EOPNOTSUPP, errno);

	EXPECT_EQ(ENOENT, __viommu_alloc(vm, 0xffff, vm->s2,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	EXPECT_EQ(ENOENT, __viommu_alloc(vm, dev_id, 0xffff,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	EXPECT_EQ(ENOENT, __viommu_alloc(vm, dev_id, vm->ioas,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	nested = guest_nested(guest, vste_abort());
	EXPECT_EQ(ENOENT, __viommu_alloc(vm, dev_id, nested,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));

	ASSERT_EQ(0, __hwpt_alloc(vm, dev_id, vm->ioas, 0, IOMMU_HWPT_DATA_NONE,
				  NULL, 0, &plain));
	EXPECT_EQ(EINVAL, __viommu_alloc(vm, dev_id, plain,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));

	/* None of these holds on to anything. */
	iommu_destroy(vm, plain);
	iommu_destroy(vm, nested);
	iommu_destroy(vm, guest->viommu);
	edu_detach(&guest->edu);
	iommu_destroy(vm, vm->s2);
}

TEST_F(vsmmu, vdevice_alloc_errors)
{
	struct guest *guest = &self->guest;
	__u32 dev_id = guest->edu.dev_id;
	struct vm *vm = &self->vm;
	__u32 other, id, id2;
	struct edu edu2;

	EXPECT_EQ(ENOENT, __vdevice_alloc(vm, 0xffff, dev_id, 0, &id));
	EXPECT_EQ(ENOENT, __vdevice_alloc(vm, vm->s2, dev_id, 0, &id));
	EXPECT_EQ(ENOENT, __vdevice_alloc(vm, guest->viommu, 0xffff, 0, &id));
	/* A StreamID has at most 32 bits, and each of them may be set. */
	EXPECT_EQ(EINVAL, __vdevice_alloc(vm, guest->viommu, dev_id,
					  1ULL << 32, &id));
	EXPECT_EQ(EINVAL, __vdevice_alloc(vm, guest->viommu, dev_id, ~0ULL,
					  &id));
	ASSERT_EQ(0, __vdevice_alloc(vm, guest->viommu, dev_id, 0xffffffff,
				     &id));

	/* One for a device, wherever, and one for a vSID. */
	other = viommu_alloc(vm, dev_id);
	EXPECT_EQ(EEXIST, __vdevice_alloc(vm, guest->viommu, dev_id, 1, &id2));
	EXPECT_EQ(EEXIST, __vdevice_alloc(vm, other, dev_id, 1, &id2));
	if (edu_own_group(1)) {
		edu_open(&edu2, vm, edu_own_group(1));
		EXPECT_EQ(EEXIST, __vdevice_alloc(vm, guest->viommu,
						  edu2.dev_id, 0xffffffff,
						   &id2));
		EXPECT_EQ(0, __vdevice_alloc(vm, other, edu2.dev_id, 0xffffffff,
					     &id2));
		EXPECT_EQ(EBUSY, __iommu_destroy(vm, other));
		iommu_destroy(vm, id2);
		edu_close(&edu2);
	}
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->viommu));
	iommu_destroy(vm, id);
	iommu_destroy(vm, guest->viommu);
	iommu_destroy(vm, other);
}

TEST_F(vsmmu, nested_alloc_errors)
{
	struct guest *guest = &self->guest;
	struct iommu_hwpt_arm_smmuv3 vste = vste_s1(&guest->s1);
	__u32 dev_id = guest->edu.dev_id;
	struct vm *vm = &self->vm;
	__u32 id;

	EXPECT_EQ(EOPNOTSUPP,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	EXPECT_EQ(EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_NONE, &vste, sizeof(vste), &id));
	EXPECT_EQ(EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, NULL, 0, &id));
	EXPECT_EQ(EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_VTD_S1, &vste, sizeof(vste),
			       &id));
	EXPECT_EQ(EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, &vste,
			       sizeof(vste) - 1, &id));
	EXPECT_EQ(EFAULT,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, (void *)8,
			       sizeof(vste), &id));
	EXPECT_EQ(EOPNOTSUPP,
		  __hwpt_alloc(vm, dev_id, guest->viommu,
			       IOMMU_HWPT_ALLOC_NEST_PARENT,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, &vste, sizeof(vste),
			       &id));
	EXPECT_EQ(EOPNOTSUPP,
		  __hwpt_alloc(vm, dev_id, guest->viommu,
			       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, &vste, sizeof(vste),
			       &id));
	iommu_destroy(vm, guest->viommu);
}

/* The driver cannot deliver page faults to a queue, whether or not there is one. */
TEST_F(vsmmu, hwpt_alloc_with_fault_queue)
{
	struct iommu_hwpt_arm_smmuv3 vste = vste_s1(&self->guest.s1);
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_HWPT_FAULT_ID_VALID,
		.dev_id = self->guest.edu.dev_id,
		.pt_id = self->guest.viommu,
		.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.data_len = sizeof(vste),
		.data_uptr = (uintptr_t)&vste,
	};

	ASSERT_EQ(0, ioctl(self->vm.iommufd, IOMMU_FAULT_QUEUE_ALLOC, &fault));
	cmd.fault_id = fault.out_fault_id;
	EXPECT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_HWPT_ALLOC, &cmd));
	EXPECT_EQ(EOPNOTSUPP, errno);
	cmd.fault_id = 0xffff;
	EXPECT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_HWPT_ALLOC, &cmd));
	EXPECT_EQ(EOPNOTSUPP, errno);

	/* Nor can it without a vIOMMU. */
	cmd.fault_id = fault.out_fault_id;
	cmd.pt_id = self->vm.ioas;
	cmd.data_type = IOMMU_HWPT_DATA_NONE;
	cmd.data_len = 0;
	cmd.data_uptr = 0;
	EXPECT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_HWPT_ALLOC, &cmd));
	EXPECT_EQ(EOPNOTSUPP, errno);

	close(fault.out_fault_fd);
	iommu_destroy(&self->vm, fault.out_fault_id);
	iommu_destroy(&self->vm, self->guest.viommu);
}

/* Each bit of the vSTE by itself, on top of one that translates. */
TEST_F(vsmmu, vste_bits)
{
	static const __u64 may_change[2] = {
		VSTE_0_V | VSTE_0_CFG | VSTE_0_S1FMT | VSTE_0_S1CONTEXTPTR |
		VSTE_0_S1CDMAX,
		VSTE_1_S1DSS | VSTE_1_S1CIR | VSTE_1_S1COR | VSTE_1_S1CSH |
		VSTE_1_S1STALLD | VSTE_1_EATS,
	};
	struct guest *guest = &self->guest;
	unsigned int bit;

	for (bit = 0; bit < 128; bit++) {
		struct iommu_hwpt_arm_smmuv3 vste = vste_s1(&guest->s1);
		__u64 mask = 1ULL << bit % 64;
		int rc, expected = EIO;
		__u32 id;

		vste.ste[bit / 64] ^= htole64(mask);
		/* Config 5 becomes 7 or 1, EATS becomes 2: nothing of these. */
		if (mask & may_change[bit / 64] && bit != 2 && bit != 3 &&
		    bit != 64 + 29)
			expected = 0;
		rc = __nested_alloc(&self->vm, guest->edu.dev_id,
				    guest->viommu, vste, &id);
		EXPECT_EQ(expected, rc)
			TH_LOG("bit %u of word %u", bit % 64, bit / 64);
		if (!rc)
			iommu_destroy(&self->vm, id);

		/* What an invalid STE holds does not matter. */
		vste.ste[0] &= ~htole64(VSTE_0_V);
		rc = __nested_alloc(&self->vm, guest->edu.dev_id,
				    guest->viommu, vste, &id);
		EXPECT_EQ(0, rc)
			TH_LOG("V=0, bit %u of word %u", bit % 64, bit / 64);
		if (!rc)
			iommu_destroy(&self->vm, id);
	}
}

TEST_F(vsmmu, vste_config_and_eats)
{
	struct guest *guest = &self->guest;
	unsigned int config, eats;

	for (config = 0; config < 8; config++) {
		for (eats = 0; eats < 4; eats++) {
			struct iommu_hwpt_arm_smmuv3 vste = {};
			bool ok = (config == 0 || config == 4 || config == 5) &&
				  eats < 2;
			__u32 id;

			vste.ste[0] = htole64(VSTE_0_V | (__u64)config << 1);
			vste.ste[1] = htole64((__u64)eats << 28);
			EXPECT_EQ(ok ? 0 : EIO,
				  __nested_alloc(&self->vm, guest->edu.dev_id,
						 guest->viommu, vste, &id))
				TH_LOG("Config %u EATS %u", config, eats);
		}
	}
}

TEST_F(vsmmu, destroy_order)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;

	guest_start(guest, VSID);
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, vm->s2));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->vdevice));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->nested));
	edu_detach(&guest->edu);
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(0, __iommu_destroy(vm, guest->nested));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(0, __iommu_destroy(vm, guest->vdevice));
	EXPECT_EQ(EBUSY, __iommu_destroy(vm, vm->s2));
	EXPECT_EQ(0, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(0, __iommu_destroy(vm, vm->s2));
}

/* VMMs do this at start: abort or bypass first, vDEVICE when the guest asks. */
TEST_F(vsmmu, without_vdevice)
{
	struct guest *guest = &self->guest;
	__u64 page = vm_alloc(&self->vm, 1);
	__u32 s1, bypass, abort, invalid;

	s1 = guest_nested(guest, vste_s1(&guest->s1));
	bypass = guest_nested(guest, vste_bypass());
	abort = guest_nested(guest, vste_abort());
	invalid = guest_nested(guest, vste_invalid());

	/* Refused, and stage 2 goes on as it was. */
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));

	EXPECT_EQ(0, __edu_attach(&guest->edu, bypass));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));

	EXPECT_EQ(0, __edu_attach(&guest->edu, abort));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));
	EXPECT_EQ(0, __edu_attach(&guest->edu, bypass));
	EXPECT_EQ(0, __edu_attach(&guest->edu, invalid));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));

	/* From nothing at all it is refused as well. */
	edu_detach(&guest->edu);
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, s1));
	iommu_destroy(&self->vm, s1);
}

/* VMMs do this at every reset of the guest and when it renumbers its buses. */
TEST_F(vsmmu, vdevice_moves_while_aborted)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u32 abort = guest_nested(guest, vste_abort());
	__u32 bypass = guest_nested(guest, vste_bypass());
	__u32 old, still[2] = { abort, bypass };
	struct change c;
	int i;

	guest_start(guest, VSID);
	for (i = 0; i < 2; i++) {
		old = guest->vdevice;
		EXPECT_EQ(EBUSY, __iommu_destroy(vm, old));
		edu_attach(&guest->edu, still[i]);
		ASSERT_EQ(0, __iommu_destroy(vm, old));
		EXPECT_EQ(EIO, __viommu_cmd(vm, guest->viommu,
					    cmd_cfgi_cd(VSID + i)));
		EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, guest->nested));

		guest->vdevice = vdevice_alloc(vm, guest->viommu,
					       guest->edu.dev_id, VSID + i + 1);
		edu_attach(&guest->edu, guest->nested);
		ASSERT_TRUE(stale(guest, &c, VA + i * GUEST_PAGE));
		guest_cmd(guest, cmd_tlbi_nh_va(ASID, c.va));
		EXPECT_TRUE(goes_after(guest, &c));
		guest_cmd(guest, cmd_cfgi_cd(VSID + i + 1));
		EXPECT_EQ(EIO, __viommu_cmd(vm, guest->viommu,
					    cmd_cfgi_cd(VSID + i)));
	}
}

/* The most VMIDs that the driver lets one device pay for */
#define SHARE	8

/*
 * A device pays for a few VMIDs. One more is refused, and one that comes back
 * works. It is the device that counts: another iommufd makes no difference.
 */
TEST_F(vsmmu, vmids_of_a_device_run_out_and_come_back)
{
	struct guest *guest = &self->guest, again;
	struct vm *vm = &self->vm, other;
	__u32 ids[SHARE + 1];
	unsigned int n, i;
	struct change c;
	int rc = 0;

	iommu_destroy(vm, guest->viommu);
	for (n = 0; n <= SHARE && !rc; n++)
		rc = __viommu_alloc(vm, guest->edu.dev_id, vm->s2,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &ids[n]);
	EXPECT_EQ(ENOSPC, rc);
	/* One is the nest parent's, and the last one failed */
	ASSERT_EQ(SHARE, n);

	/* The last of those there are. */
	n -= 2;
	guest->viommu = ids[n];
	guest_start(guest, VSID);
	ASSERT_TRUE(stale(guest, &c, VA));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA));
	EXPECT_TRUE(goes_after(guest, &c));

	for (i = 0; i < n; i++)
		iommu_destroy(vm, ids[i]);
	EXPECT_TRUE(goes_after(guest, &c));
	for (i = 0; i < n; i++)
		ids[i] = viommu_alloc(vm, guest->edu.dev_id);
	/* That of the nest parent went when the device moved to its guest */
	EXPECT_EQ(0, __viommu_alloc(vm, guest->edu.dev_id, vm->s2,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &ids[n++]));
	EXPECT_EQ(ENOSPC, __viommu_alloc(vm, guest->edu.dev_id, vm->s2,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
					  &ids[n]));

	/* vIOMMUs outlive the device in their iommufd, and go on counting. */
	edu_close(&guest->edu);
	vm_init(&other);
	memset(&again, 0, sizeof(again));
	edu_open(&again.edu, &other, edu_own_group(0));
	s2_alloc(&other, again.edu.dev_id);
	EXPECT_EQ(ENOSPC, __viommu_alloc(&other, again.edu.dev_id, other.s2,
					 IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &ids[n]));
	iommu_destroy(vm, ids[0]);
	EXPECT_EQ(0, __viommu_alloc(&other, again.edu.dev_id, other.s2,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &ids[n]));
	edu_close(&again.edu);
	vm_free(&other);
}

/* Entries of a VMID that was freed must not serve its next owner. */
TEST_F(vsmmu, vmid_is_clean_when_it_comes_back)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	int i;

	for (i = 0; i < 3; i++) {
		__u64 page = vm_alloc(vm, 1);

		guest_start(guest, VSID);
		s1_map(&guest->s1, VA, page);
		EXPECT_EQ(page, edu_lands(&guest->edu, VA));
		edu_attach(&guest->edu, vm->s2);
		iommu_destroy(vm, guest->nested);
		iommu_destroy(vm, guest->vdevice);
		iommu_destroy(vm, guest->viommu);
		guest->viommu = viommu_alloc(vm, guest->edu.dev_id);
	}
}

/* The device goes first, in the middle of translating. */
TEST_F(vsmmu, device_goes_before_its_vdevice)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u32 retired, next;
	struct change c;

	guest_start(guest, VSID);
	retired = guest->vdevice;
	edu_close(&guest->edu);
	EXPECT_EQ(ENOENT, __iommu_destroy(vm, retired));
	EXPECT_EQ(EIO, __viommu_cmd(vm, guest->viommu, cmd_cfgi_cd(VSID)));

	/* Nobody gets its id, and its vSID is free. */
	edu_open(&guest->edu, vm, edu_own_group(0));
	edu_attach(&guest->edu, vm->s2);
	edu_load_tokens(&guest->edu);
	EXPECT_EQ(ENOENT, __edu_attach(&guest->edu, guest->nested));
	next = vdevice_alloc(vm, guest->viommu, guest->edu.dev_id, VSID);
	EXPECT_NE(retired, next);
	EXPECT_EQ(ENOENT, __iommu_destroy(vm, retired));
	edu_attach(&guest->edu, guest->nested);
	ASSERT_TRUE(stale(guest, &c, VA));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA));
	EXPECT_TRUE(goes_after(guest, &c));
	guest_cmd(guest, cmd_cfgi_cd(VSID));
}

/* A thread that allocates a nested domain from a vSTE in memory that blocks. */
struct slow_vste {
	struct guest *guest;
	int uffd;
	void *page;
	__u32 page_size;
	pthread_t allocator, closer;
	int rc;
	atomic_bool closed;
};

static bool slow_vste_init(struct slow_vste *slow)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };

	slow->page_size = sysconf(_SC_PAGE_SIZE);
	slow->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	slow->page = mmap(NULL, slow->page_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slow->uffd < 0 || slow->page == MAP_FAILED ||
	    ioctl(slow->uffd, UFFDIO_API, &api))
		return false;
	reg.range.start = (uintptr_t)slow->page;
	reg.range.len = slow->page_size;
	return !ioctl(slow->uffd, UFFDIO_REGISTER, &reg);
}

static void *slow_vste_alloc(void *arg)
{
	struct slow_vste *slow = arg;
	struct guest *guest = slow->guest;
	__u32 hwpt_id;

	slow->rc = __hwpt_alloc(guest->vm, guest->edu.dev_id, guest->viommu, 0,
				IOMMU_HWPT_DATA_ARM_SMMUV3, slow->page,
				sizeof(struct iommu_hwpt_arm_smmuv3), &hwpt_id);
	return NULL;
}

static void *slow_vste_close(void *arg)
{
	struct slow_vste *slow = arg;

	edu_close(&slow->guest->edu);
	atomic_store(&slow->closed, true);
	return NULL;
}

/* The device goes while a thread of the VMM is in the middle of a call on it. */
TEST_F_TIMEOUT(vsmmu, device_goes_during_a_copy, 180)
{
	struct slow_vste slow = { .guest = &self->guest };
	struct guest *guest = &self->guest;
	struct uffdio_zeropage zero = {};
	struct vm *vm = &self->vm;
	struct uffd_msg msg;
	unsigned int i;

	if (!slow_vste_init(&slow))
		SKIP(return, "no userfaultfd for faults in the kernel");
	guest_start(guest, VSID);
	ASSERT_EQ(0, pthread_create(&slow.allocator, NULL, slow_vste_alloc,
				    &slow));
	ASSERT_EQ(sizeof(msg), read(slow.uffd, &msg, sizeof(msg)));

	ASSERT_EQ(0, pthread_create(&slow.closer, NULL, slow_vste_close,
				    &slow));
	for (i = 0; i != 200 && !atomic_load(&slow.closed); i++)
		usleep(100000);
	EXPECT_TRUE(atomic_load(&slow.closed));
	EXPECT_EQ(EIO, __viommu_cmd(vm, guest->viommu, cmd_cfgi_cd(VSID)));

	zero.range.start = (uintptr_t)slow.page;
	zero.range.len = slow.page_size;
	ASSERT_EQ(0, ioctl(slow.uffd, UFFDIO_ZEROPAGE, &zero));
	ASSERT_EQ(0, pthread_join(slow.allocator, NULL));
	ASSERT_EQ(0, pthread_join(slow.closer, NULL));
	EXPECT_EQ(ENOENT, slow.rc);
	close(slow.uffd);

	/* The device can be used again. */
	edu_open(&guest->edu, vm, edu_own_group(0));
	guest->vdevice = vdevice_alloc(vm, guest->viommu, guest->edu.dev_id,
				       VSID);
	edu_attach(&guest->edu, guest->nested);
}

/* A nest parent serves devices of its own driver only. */
TEST_F(vsmmu, parent_of_another_driver)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_test_cmd mock = {
		.size = sizeof(mock),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
	};
	struct iommu_hwpt_alloc parent = {
		.size = sizeof(parent),
		.flags = IOMMU_HWPT_ALLOC_NEST_PARENT,
	};
	struct vm *vm = &self->vm;
	__u32 id;

	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_IOAS_ALLOC, &ioas));
	mock.id = ioas.out_ioas_id;
	if (ioctl(vm->iommufd, IOMMU_TEST_CMD, &mock))
		SKIP(return, "kernel without CONFIG_IOMMUFD_TEST");
	parent.dev_id = mock.mock_domain.out_idev_id;
	parent.pt_id = ioas.out_ioas_id;
	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_HWPT_ALLOC, &parent));

	EXPECT_EQ(EINVAL, __viommu_alloc(vm, mock.mock_domain.out_idev_id,
					 vm->s2, IOMMU_VIOMMU_TYPE_SELFTEST,
					  &id));
	EXPECT_EQ(EINVAL, __viommu_alloc(vm, self->guest.edu.dev_id,
					 parent.out_hwpt_id,
					  IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	/* Each with its own */
	ASSERT_EQ(0, __viommu_alloc(vm, mock.mock_domain.out_idev_id,
				    parent.out_hwpt_id,
				    IOMMU_VIOMMU_TYPE_SELFTEST, &id));
	iommu_destroy(vm, id);
	iommu_destroy(vm, parent.out_hwpt_id);
	iommu_destroy(vm, mock.mock_domain.out_stdev_id);
	iommu_destroy(vm, ioas.out_ioas_id);
}

/* The iommufd is closed while everything is alive. */
TEST_F(vsmmu, iommufd_goes_first)
{
	guest_start(&self->guest, VSID);
	close(self->vm.iommufd);
	edu_close(&self->guest.edu);
	vm_init(&self->vm);
	guest_init(&self->guest, &self->vm, edu_own_group(0));
	guest_start(&self->guest, VSID);
	guest_stop(&self->guest);
	iommu_destroy(&self->vm, self->vm.s2);
	edu_open(&self->guest.edu, &self->vm, edu_own_group(0));
}

TEST_HARNESS_MAIN
