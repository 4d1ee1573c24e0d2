// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested translation on an SMMUv3, with devices that do DMA: QEMU's "edu"
 * behind its emulated SMMUv3, see smmuv3_lib.h for what it needs.
 *
 * QEMU keeps every translation and every CD until a command removes it. So a
 * test changes memory first, sees that the device still goes by what was there
 * before, and only then lets the guest issue the command.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "../kselftest_harness.h"
#include "smmuv3_test.h"

#define CMD_PREFETCH_CFG 0x01

/* ---------------------------------------------- one device, not yet nested -- */

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
		EXPECT_EQ(-EOPNOTSUPP,
			  __hw_info(vm, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE,
				    &type, &info, &len, &caps));
	}
	type = 0;
	EXPECT_EQ(-EOPNOTSUPP, __hw_info(vm, dev_id, 1U << 31, &type, &info,
					 &len, &caps));
}

TEST_F(vsmmu, nest_parent_takes_no_other_flag)
{
	__u32 id;

	EXPECT_EQ(-EOPNOTSUPP,
		  __hwpt_alloc(&self->vm, self->guest.edu.dev_id, self->vm.ioas,
			       IOMMU_HWPT_ALLOC_NEST_PARENT |
			       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	EXPECT_EQ(-EOPNOTSUPP,
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

	EXPECT_EQ(-EOPNOTSUPP, __viommu_alloc(vm, dev_id, vm->s2,
					      IOMMU_VIOMMU_TYPE_DEFAULT, &id));
	EXPECT_EQ(-EOPNOTSUPP, __viommu_alloc(vm, dev_id, vm->s2,
					      0xbeef,
					      &id));
	EXPECT_EQ(-EOPNOTSUPP, __viommu_alloc(vm, dev_id, vm->s2, 0xdeadbeef,
					      &id));
	EXPECT_EQ(-1, ioctl(vm->iommufd, IOMMU_VIOMMU_ALLOC, &cmd));
	EXPECT_EQ(EOPNOTSUPP, errno);

	EXPECT_EQ(-ENOENT, __viommu_alloc(vm, 0xffff, vm->s2,
					  IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	EXPECT_EQ(-ENOENT, __viommu_alloc(vm, dev_id, 0xffff,
					  IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	EXPECT_EQ(-ENOENT, __viommu_alloc(vm, dev_id, vm->ioas,
					  IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	nested = guest_nested(guest, vste_abort());
	EXPECT_EQ(-ENOENT, __viommu_alloc(vm, dev_id, nested,
					  IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));

	ASSERT_EQ(0, __hwpt_alloc(vm, dev_id, vm->ioas, 0, IOMMU_HWPT_DATA_NONE,
				  NULL, 0, &plain));
	EXPECT_EQ(-EINVAL, __viommu_alloc(vm, dev_id, plain,
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

	EXPECT_EQ(-ENOENT, __vdevice_alloc(vm, 0xffff, dev_id, 0, &id));
	EXPECT_EQ(-ENOENT, __vdevice_alloc(vm, vm->s2, dev_id, 0, &id));
	EXPECT_EQ(-ENOENT, __vdevice_alloc(vm, guest->viommu, 0xffff, 0, &id));
	/* A StreamID has at most 32 bits, and each of them may be set. */
	EXPECT_EQ(-EINVAL, __vdevice_alloc(vm, guest->viommu, dev_id,
					   1ULL << 32, &id));
	EXPECT_EQ(-EINVAL, __vdevice_alloc(vm, guest->viommu, dev_id, ~0ULL,
					   &id));
	ASSERT_EQ(0, __vdevice_alloc(vm, guest->viommu, dev_id, 0xffffffff,
				     &id));

	/* One for a device, wherever, and one for a vSID. */
	other = viommu_alloc(vm, dev_id);
	EXPECT_EQ(-EEXIST, __vdevice_alloc(vm, guest->viommu, dev_id, 1, &id2));
	EXPECT_EQ(-EEXIST, __vdevice_alloc(vm, other, dev_id, 1, &id2));
	if (edu_own_group(1)) {
		edu_open(&edu2, vm, edu_own_group(1));
		EXPECT_EQ(-EEXIST, __vdevice_alloc(vm, guest->viommu,
						   edu2.dev_id, 0xffffffff,
						   &id2));
		EXPECT_EQ(0, __vdevice_alloc(vm, other, edu2.dev_id, 0xffffffff,
					     &id2));
		EXPECT_EQ(-EBUSY, __iommu_destroy(vm, other));
		iommu_destroy(vm, id2);
		edu_close(&edu2);
	}
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->viommu));
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

	EXPECT_EQ(-EOPNOTSUPP,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	EXPECT_EQ(-EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_NONE, &vste, sizeof(vste), &id));
	EXPECT_EQ(-EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, NULL, 0, &id));
	EXPECT_EQ(-EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_VTD_S1, &vste, sizeof(vste),
			       &id));
	EXPECT_EQ(-EINVAL,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, &vste,
			       sizeof(vste) - 1, &id));
	EXPECT_EQ(-EFAULT,
		  __hwpt_alloc(vm, dev_id, guest->viommu, 0,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, (void *)8,
			       sizeof(vste), &id));
	EXPECT_EQ(-EOPNOTSUPP,
		  __hwpt_alloc(vm, dev_id, guest->viommu,
			       IOMMU_HWPT_ALLOC_NEST_PARENT,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, &vste, sizeof(vste),
			       &id));
	EXPECT_EQ(-EOPNOTSUPP,
		  __hwpt_alloc(vm, dev_id, guest->viommu,
			       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
			       IOMMU_HWPT_DATA_ARM_SMMUV3, &vste, sizeof(vste),
			       &id));
	iommu_destroy(vm, guest->viommu);
}

/* The driver cannot deliver page faults to a queue, whether or not there is one. */
TEST_F(vsmmu, nested_alloc_with_fault_queue)
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
		int rc, expected = -EIO;
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
			EXPECT_EQ(ok ? 0 : -EIO,
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
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, vm->s2));
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->vdevice));
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->nested));
	edu_detach(&guest->edu);
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(0, __iommu_destroy(vm, guest->nested));
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->viommu));
	EXPECT_EQ(0, __iommu_destroy(vm, guest->vdevice));
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, vm->s2));
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
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));

	EXPECT_EQ(0, __edu_attach(&guest->edu, bypass));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));

	EXPECT_EQ(0, __edu_attach(&guest->edu, abort));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));
	EXPECT_EQ(0, __edu_attach(&guest->edu, bypass));
	EXPECT_EQ(0, __edu_attach(&guest->edu, invalid));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));

	/* From nothing at all it is refused as well. */
	edu_detach(&guest->edu);
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, s1));
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
		EXPECT_EQ(-EBUSY, __iommu_destroy(vm, old));
		edu_attach(&guest->edu, still[i]);
		ASSERT_EQ(0, __iommu_destroy(vm, old));
		EXPECT_EQ(-EIO, __viommu_cmd(vm, guest->viommu,
					     cmd_cfgi_cd(VSID + i)));
		EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, guest->nested));

		guest->vdevice = vdevice_alloc(vm, guest->viommu,
					       guest->edu.dev_id, VSID + i + 1);
		edu_attach(&guest->edu, guest->nested);
		ASSERT_TRUE(stale(guest, &c, VA + i * GUEST_PAGE));
		guest_cmd(guest, cmd_tlbi_nh_va(ASID, c.va));
		EXPECT_TRUE(goes_after(guest, &c));
		guest_cmd(guest, cmd_cfgi_cd(VSID + i + 1));
		EXPECT_EQ(-EIO, __viommu_cmd(vm, guest->viommu,
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
	EXPECT_EQ(-ENOSPC, rc);
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
	EXPECT_EQ(-ENOSPC, __viommu_alloc(vm, guest->edu.dev_id, vm->s2,
					  IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
					  &ids[n]));

	/* vIOMMUs outlive the device in their iommufd, and go on counting. */
	edu_close(&guest->edu);
	vm_init(&other);
	memset(&again, 0, sizeof(again));
	edu_open(&again.edu, &other, edu_own_group(0));
	s2_alloc(&other, again.edu.dev_id);
	EXPECT_EQ(-ENOSPC, __viommu_alloc(&other, again.edu.dev_id, other.s2,
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
	EXPECT_EQ(-ENOENT, __iommu_destroy(vm, retired));
	EXPECT_EQ(-EIO, __viommu_cmd(vm, guest->viommu, cmd_cfgi_cd(VSID)));

	/* Nobody gets its id, and its vSID is free. */
	edu_open(&guest->edu, vm, edu_own_group(0));
	edu_attach(&guest->edu, vm->s2);
	edu_load_tokens(&guest->edu);
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, guest->nested));
	next = vdevice_alloc(vm, guest->viommu, guest->edu.dev_id, VSID);
	EXPECT_NE(retired, next);
	EXPECT_EQ(-ENOENT, __iommu_destroy(vm, retired));
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
	EXPECT_EQ(-EIO, __viommu_cmd(vm, guest->viommu, cmd_cfgi_cd(VSID)));

	zero.range.start = (uintptr_t)slow.page;
	zero.range.len = slow.page_size;
	ASSERT_EQ(0, ioctl(slow.uffd, UFFDIO_ZEROPAGE, &zero));
	ASSERT_EQ(0, pthread_join(slow.allocator, NULL));
	ASSERT_EQ(0, pthread_join(slow.closer, NULL));
	EXPECT_EQ(-ENOENT, slow.rc);
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

	EXPECT_EQ(-EINVAL, __viommu_alloc(vm, mock.mock_domain.out_idev_id,
					  vm->s2, IOMMU_VIOMMU_TYPE_SELFTEST,
					  &id));
	EXPECT_EQ(-EINVAL, __viommu_alloc(vm, self->guest.edu.dev_id,
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

/* ---------------------------------------------- one device, behind stage 1 -- */

FIXTURE(stage1)
{
	struct host host;
	struct vm vm;
	struct guest guest;
};

FIXTURE_SETUP(stage1)
{
	const char *lack = lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_own_group(0));
	guest_start(&self->guest, VSID);
}

FIXTURE_TEARDOWN(stage1)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

TEST_F(stage1, dma_goes_through_both_stages)
{
	struct guest *guest = &self->guest;
	__u64 from = vm_alloc(&self->vm, 1);
	__u64 to = vm_alloc(&self->vm, 2);
	__u32 *page = vm_ptr(&self->vm, from);
	unsigned int i;

	for (i = 0; i < 1024; i++)
		page[i] = 0xf00d0000 | i;
	s1_map(&guest->s1, VA, from);
	s1_map(&guest->s1, VA2, to + GUEST_PAGE);
	s1_map(&guest->s1, VA2 + GUEST_PAGE, to);
	edu_read(&guest->edu, VA, 0, GUEST_PAGE);
	edu_write(&guest->edu, VA2 + GUEST_PAGE / 2, 0, GUEST_PAGE);
	EXPECT_EQ(0, memcmp(vm_ptr(&self->vm, to + GUEST_PAGE * 3 / 2), page,
			    GUEST_PAGE / 2));
	EXPECT_EQ(0, memcmp(vm_ptr(&self->vm, to), page + 512,
			    GUEST_PAGE / 2));

	/* A gpa is not an address for the device any more. */
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, to));
}

TEST_F(stage1, unmap_ends_it)
{
	struct guest *guest = &self->guest;
	__u64 page = vm_alloc(&self->vm, 1);

	s1_map(&guest->s1, VA, page);
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	s1_unmap(&guest->s1, VA);
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA));
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, VA));
}

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

/* A replace that is refused leaves the attachment and its TLB commands. */
TEST_F(stage1, failed_replace)
{
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u32 other, nested;
	struct change c;

	ASSERT_TRUE(stale(guest, &c, VA));
	other = viommu_alloc(vm, guest->edu.dev_id);
	nested = nested_alloc(vm, guest->edu.dev_id, other,
			      vste_s1(&guest->s1));
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, nested));
	iommu_destroy(vm, nested);
	iommu_destroy(vm, other);

	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->nested));
	EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->vdevice));
	EXPECT_TRUE(goes_before(guest, &c));
	guest_cmd(guest, cmd_tlbi_nh_va(ASID, VA));
	EXPECT_TRUE(goes_after(guest, &c));
}

/* Every way from one state to another; in each, DMA does what it should. */
TEST_F(stage1, transitions)
{
	enum { S1, OTHER_S1, BYPASS, ABORT, S2, STATES };
	struct guest *guest = &self->guest;
	struct vm *vm = &self->vm;
	__u64 page = vm_alloc(vm, 1);
	__u64 other_page = vm_alloc(vm, 1);
	struct s1 other_s1;
	__u32 pt[STATES];
	int from, to, i;

	s1_map(&guest->s1, VA, page);
	s1_init(&other_s1, vm, ASID + 1);
	s1_map(&other_s1, VA, other_page);
	pt[S1] = guest->nested;
	pt[OTHER_S1] = guest_nested(guest, vste_s1(&other_s1));
	pt[BYPASS] = guest_nested(guest, vste_bypass());
	pt[ABORT] = guest_nested(guest, vste_abort());
	pt[S2] = vm->s2;

	for (from = 0; from < STATES; from++) {
		for (to = 0; to < STATES; to++) {
			int state[2] = { from, to };

			if (from == to)
				continue;
			for (i = 0; i < 2; i++) {
				__u64 va = NOWHERE, gpa = NOWHERE;

				edu_attach(&guest->edu, pt[state[i]]);
				if (state[i] == S1)
					va = page;
				else if (state[i] == OTHER_S1)
					va = other_page;
				else if (state[i] != ABORT)
					gpa = page;
				EXPECT_EQ(va, edu_lands(&guest->edu, VA))
					TH_LOG("%d to %d, in %d", from, to,
					       state[i]);
				EXPECT_EQ(gpa, edu_lands(&guest->edu, page))
					TH_LOG("%d to %d, in %d", from, to,
					       state[i]);
			}
		}
	}
}

/* Memory that is taken from the guest, while the device knows where it was. */
FIXTURE(unplug)
{
	struct host host;
	struct vm vm;
	struct guest guest;
	void *dimm[2];
};

FIXTURE_VARIANT(unplug)
{
	enum { BY_S1, BY_BYPASS, BY_S2 } by;
};

FIXTURE_VARIANT_ADD(unplug, stage1) { .by = BY_S1 };
FIXTURE_VARIANT_ADD(unplug, bypass) { .by = BY_BYPASS };
FIXTURE_VARIANT_ADD(unplug, stage2) { .by = BY_S2 };

FIXTURE_SETUP(unplug)
{
	const char *lack = lacks(edu_own_group(0), NULL);
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_own_group(0));
	guest_start(&self->guest, VSID);
	for (i = 0; i < 2; i++) {
		self->dimm[i] = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE,
				     MAP_ANONYMOUS | MAP_SHARED, -1, 0);
		ASSERT_NE(MAP_FAILED, self->dimm[i]);
	}
}

FIXTURE_TEARDOWN(unplug)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

TEST_F(unplug, stops_dma)
{
	struct guest *guest = &self->guest;
	__u64 iova = DIMM;

	if (variant->by == BY_S1) {
		iova = VA;
		s1_map(&guest->s1, VA, DIMM);
	} else if (variant->by == BY_BYPASS) {
		edu_attach(&guest->edu, guest_nested(guest, vste_bypass()));
	} else {
		edu_attach(&guest->edu, self->vm.s2);
	}

	vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
	EXPECT_TRUE(edu_reaches(&guest->edu, iova, self->dimm[0]));
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	EXPECT_FALSE(edu_reaches(&guest->edu, iova, self->dimm[0]));
	vm_map(&self->vm, DIMM, self->dimm[1], GUEST_PAGE);
	EXPECT_TRUE(edu_reaches(&guest->edu, iova, self->dimm[1]));
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	EXPECT_FALSE(edu_reaches(&guest->edu, iova, self->dimm[1]));
}

/*
 * What the device learns in one state it has to forget in every other: entries
 * of the vSMMU's VMID outlive an attachment.
 */
TEST_F(unplug, reaches_what_was_cached_before)
{
	struct guest *guest = &self->guest;
	__u32 bypass = guest_nested(guest, vste_bypass());
	__u64 iova = variant->by == BY_S1 ? VA : DIMM;
	__u32 pt[] = { guest->nested, bypass, self->vm.s2 };

	s1_map(&guest->s1, VA, DIMM);
	vm_map(&self->vm, DIMM, self->dimm[0], GUEST_PAGE);
	edu_attach(&guest->edu, pt[variant->by]);
	EXPECT_TRUE(edu_reaches(&guest->edu, iova, self->dimm[0]));
	edu_detach(&guest->edu);
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	edu_attach(&guest->edu, pt[variant->by]);
	EXPECT_FALSE(edu_reaches(&guest->edu, iova, self->dimm[0]));
}

/* ----------------------------------------------------- the guest's commands -- */

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

FIXTURE(two_guests)
{
	struct host host;
	struct vm vm;
	struct guest guest[2];
};

FIXTURE_SETUP(two_guests)
{
	const char *lack = lacks(edu_own_group(1), LACKS_SECOND);
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	for (i = 0; i < 2; i++) {
		guest_init(&self->guest[i], &self->vm, edu_own_group(i));
		guest_start(&self->guest[i], VSID);
	}
}

FIXTURE_TEARDOWN(two_guests)
{
	if (!self->vm.ram)
		return;
	edu_close(&self->guest[0].edu);
	edu_close(&self->guest[1].edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

/* Equal in everything but their tables, and never seeing each other's. */
TEST_F(two_guests, guests_do_not_alias)
{
	__u64 page[2];
	int i, round;

	for (i = 0; i < 2; i++) {
		page[i] = vm_alloc(&self->vm, 1);
		s1_map(&self->guest[i].s1, VA, page[i]);
	}
	for (round = 0; round < 2; round++)
		for (i = 0; i < 2; i++)
			EXPECT_EQ(page[i], edu_lands(&self->guest[i].edu, VA));

	/* And reads. */
	memcpy(vm_ptr(&self->vm, page[0] + 512), "mine", 5);
	memcpy(vm_ptr(&self->vm, page[1] + 512), "yours", 6);
	for (i = 0; i < 2; i++)
		edu_read(&self->guest[i].edu, VA + 512, 0, 8);
	for (i = 0; i < 2; i++)
		edu_write(&self->guest[i].edu, VA + 1024, 0, 8);
	EXPECT_STREQ("mine", vm_ptr(&self->vm, page[0] + 1024));
	EXPECT_STREQ("yours", vm_ptr(&self->vm, page[1] + 1024));
}

/* Nor does one in bypass, which has entries of stage 2 under its own VMID. */
TEST_F(two_guests, bypass_does_not_alias)
{
	struct guest *a = &self->guest[0], *b = &self->guest[1];
	__u64 page = vm_alloc(&self->vm, 1);

	s1_map(&a->s1, DIMM, page);
	EXPECT_EQ(page, edu_lands(&a->edu, DIMM));
	edu_attach(&b->edu, guest_nested(b, vste_bypass()));
	EXPECT_EQ(NOWHERE, edu_lands(&b->edu, DIMM));
	EXPECT_EQ(page, edu_lands(&b->edu, page));
	EXPECT_EQ(NOWHERE, edu_lands(&a->edu, page));
}

/* What a guest loses, every vSMMU on the nest parent loses. */
TEST_F(two_guests, unplug_reaches_both)
{
	void *dimm = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	int i;

	ASSERT_NE(MAP_FAILED, dimm);
	vm_map(&self->vm, DIMM, dimm, GUEST_PAGE);
	for (i = 0; i < 2; i++) {
		s1_map(&self->guest[i].s1, VA + i * GUEST_PAGE, DIMM);
		EXPECT_TRUE(edu_reaches(&self->guest[i].edu,
					VA + i * GUEST_PAGE, dimm));
	}
	vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	for (i = 0; i < 2; i++)
		EXPECT_FALSE(edu_reaches(&self->guest[i].edu,
					 VA + i * GUEST_PAGE, dimm));
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
		EXPECT_EQ(-EIO, __viommu_cmd(&self->vm, self->guest[i].viommu,
					     cmd_cfgi_cd(VSID + 1)));
		EXPECT_EQ(-EIO, __viommu_cmd(&self->vm, self->guest[i].viommu,
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
	void *dimm = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	int child[2], status, i, n, rc;

	ASSERT_NE(MAP_FAILED, dimm);
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
			    !(!n && rc == -EIO && (num == 100 || num == 199)))
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
		EXPECT_EQ(-EIO, __viommu_cmd(&self->vm, a->viommu,
					     cmd_raw(op, 0)))
			TH_LOG("opcode %#x", op);
		EXPECT_EQ(-EIO, __viommu_cmd(&self->vm, a->viommu,
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
				EXPECT_EQ(-EIO, rc)
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

#define EXPECT_INVALIDATE(expected, count)                                    \
	do {                                                                  \
		errno = 0;                                                    \
		ioctl(self->vm.iommufd, IOMMU_HWPT_INVALIDATE, &cmd);         \
		EXPECT_EQ(expected, errno);                                   \
		EXPECT_EQ(count, cmd.entry_num);                              \
	} while (0)

	cmd = good;
	EXPECT_INVALIDATE(0, 1);

	cmd = good;
	cmd.__reserved = 1;
	errno = 0;
	EXPECT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(EOPNOTSUPP, errno);

	cmd = good;
	cmd.hwpt_id = 0xffff;
	EXPECT_INVALIDATE(ENOENT, 0);
	cmd = good;
	cmd.hwpt_id = self->vm.s2;
	EXPECT_INVALIDATE(EINVAL, 0);
	cmd = good;
	cmd.hwpt_id = self->guest.vdevice;
	EXPECT_INVALIDATE(EINVAL, 0);
	cmd = good;
	cmd.hwpt_id = self->guest.nested;
	EXPECT_INVALIDATE(EOPNOTSUPP, 0);

	cmd = good;
	cmd.data_type++;
	EXPECT_INVALIDATE(EINVAL, 0);
	cmd = good;
	cmd.data_uptr = 0;
	EXPECT_INVALIDATE(EINVAL, 0);
	cmd = good;
	cmd.entry_len = 0;
	EXPECT_INVALIDATE(EINVAL, 0);
	cmd = good;
	cmd.entry_len = 15;
	EXPECT_INVALIDATE(EINVAL, 0);
	cmd = good;
	cmd.entry_len = getpagesize() + 1;
	EXPECT_INVALIDATE(EINVAL, 0);
	cmd = good;
	cmd.entry_num = (1 << 19) + 1;
	EXPECT_INVALIDATE(EINVAL, 0);

	/* Nothing to do: is the type known? */
	cmd = good;
	cmd.entry_num = 0;
	cmd.entry_len = 0;
	cmd.data_uptr = 0;
	EXPECT_INVALIDATE(0, 0);
	cmd.data_type = 0;
	EXPECT_INVALIDATE(EINVAL, 0);

	/* An entry that is longer than we know is fine as long as it is 0. */
	cmd = good;
	cmd.entry_len = sizeof(long_cmds[0]);
	cmd.entry_num = 2;
	EXPECT_INVALIDATE(0, 2);
	cmd.entry_num = 3;
	EXPECT_INVALIDATE(E2BIG, 2);
}

/* ------------------------------------------------- arrays that end too soon -- */

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
FIXTURE_VARIANT_ADD(array, at_64_vsid) {
	.num = 200, .bad = 64, .unknown_vsid = true };
FIXTURE_VARIANT_ADD(array, at_65) { .num = 200, .bad = 65 };
FIXTURE_VARIANT_ADD(array, at_127) {
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
	EXPECT_EQ(bad < num ? -EIO : 0,
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
		EXPECT_EQ(-EIO, __viommu_invalidate(&self->vm, guest->viommu,
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
		EXPECT_EQ(-EFAULT, __viommu_invalidate(&self->vm, guest->viommu,
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

/* ------------------------------------------------------------------ groups -- */

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
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, page));
	EXPECT_EQ(0, __edu_attach(&guest->edu, bypass));
	EXPECT_EQ(0, __edu_attach(&guest->edu, abort));
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, s1));

	member = vdevice_alloc(&self->vm, guest->viommu, self->member.dev_id,
			       VSID + 1);
	EXPECT_EQ(0, __edu_attach(&guest->edu, s1));
	EXPECT_EQ(0, __edu_attach(&self->member, s1));
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, guest->vdevice));
	EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, member));
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
		EXPECT_EQ(-ENOENT, __edu_attach(&self->member, guest->nested));
		EXPECT_EQ(page, edu_lands(&guest->edu, VA));

		member = vdevice_alloc(vm, guest->viommu, self->member.dev_id,
				       VSID + 1);
		EXPECT_EQ(0, __edu_attach(&self->member, guest->nested));
		/* Its tokens are not loaded, but zeroes are as good. */
		memset(vm_ptr(vm, page), 0xff, 64);
		edu_write(&self->member, VA, 0, 4);
		EXPECT_NE(0xffffffff, *(__u32 *)vm_ptr(vm, page));
		EXPECT_EQ(-EBUSY, __iommu_destroy(vm, member));
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
		EXPECT_EQ(-EIO, __viommu_cmd(vm, guest->viommu,
					     cmd_cfgi_cd(VSID + 1)));
		EXPECT_EQ(page, edu_lands(&guest->edu, VA));
		EXPECT_EQ(-EBUSY, __iommu_destroy(vm, guest->vdevice));
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

	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, s1));
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
	EXPECT_EQ(-EOPNOTSUPP, __vdevice_alloc(&vm, viommu_alloc(&vm, edu.dev_id),
					       edu.dev_id, VSID, &id));
	edu_close(&edu);
	vm_free(&vm);
}

TEST_HARNESS_MAIN
