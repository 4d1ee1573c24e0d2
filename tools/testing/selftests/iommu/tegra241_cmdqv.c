// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs with NVIDIA Tegra241 CMDQV: a guest's own command queues, on QEMU with
 * a model of the block and "edu" devices, see smmuv3_lib.h for what those need.
 *
 * QEMU keeps every translation until a command removes it. So a test changes the
 * guest's tables first, sees that the device still goes by what was there before,
 * and only then lets the guest put the command into its queue.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "tegra241_cmdqv_test.h"

/* Fields of the block's PARAM, and of CMDQ_ALLOC */
#define VINTFS(param)	(1U << ((param) >> 8 & 0xf))
#define VCMDQS(param)	(1U << ((param) >> 4 & 0xf))
#define PAIRS(param)	(1U << ((param) >> 12 & 0xf))
#define ALLOC_VINTF(a)	((a) >> 15 & 0x3f)

/* --------------------------------------------------------- without a VINTF -- */

FIXTURE(device)
{
	struct host host;
	struct vm vm;
	struct guest guest;
};

FIXTURE_SETUP(device)
{
	if (no_block)
		SKIP(return, "%s", no_block);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	guest_device(&self->guest, &self->vm, edu_own_group(0));
}

FIXTURE_TEARDOWN(device)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

TEST_F(device, hw_info_tells_the_size)
{
	struct {
		struct iommu_hw_info_tegra241_cmdqv info;
		__u8 tail[8];
	} out;
	const __le32 *block = block_map();
	__u32 type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, len = sizeof(out);
	__u32 param;
	__u64 caps;
	int i;

	memset(&out, 0xff, sizeof(out));
	ASSERT_EQ(0, __hw_info(&self->vm, self->guest.edu.dev_id,
			       IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, &out, &len,
			       &caps));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, type);
	EXPECT_EQ(sizeof(out.info), len);
	EXPECT_EQ(0, out.info.flags);
	EXPECT_EQ(0, out.info.__reserved);
	EXPECT_EQ(1, out.info.version);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(0, out.tail[i]);
	EXPECT_NE(0, caps & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
	if (!block)
		return;
	param = block_get(block, BLOCK_PARAM);
	EXPECT_EQ(param & 0xf, out.info.version);
	EXPECT_EQ((param >> 4 & 0xf) - (param >> 8 & 0xf), out.info.log2vcmdqs);
	EXPECT_EQ(param >> 12 & 0xf, out.info.log2vsids);
}

TEST_F(device, hw_info_fits_the_buffer)
{
	__u32 type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, len = 5;
	__u8 out[8];
	__u64 caps;

	memset(out, 0xa5, sizeof(out));
	ASSERT_EQ(0, __hw_info(&self->vm, self->guest.edu.dev_id,
			       IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, out, &len,
			       &caps));
	EXPECT_EQ(8, len);
	EXPECT_EQ(1, out[4]);
	EXPECT_EQ(0xa5, out[5]);

	len = 0;
	ASSERT_EQ(0, __hw_info(&self->vm, self->guest.edu.dev_id,
			       IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, NULL, &len,
			       &caps));
	EXPECT_EQ(8, len);
}

TEST_F(device, hw_info_types)
{
	static const __u32 unknown[] = { 1, 4, 0xfeedbeef, ~0U };
	__u32 dev_id = self->guest.edu.dev_id, type, len, flags;
	struct iommu_hw_info_arm_smmuv3 info;
	__u64 caps;
	unsigned int i;

	/* Type 0 asks for the default, as does the lack of the flag. */
	for (flags = 0; flags <= IOMMU_HW_INFO_FLAG_INPUT_TYPE; flags++) {
		type = 0;
		len = sizeof(info);
		EXPECT_EQ(0, __hw_info(&self->vm, dev_id, flags, &type, &info,
				       &len, &caps));
		EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
		EXPECT_EQ(sizeof(info), len);
	}
	for (i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
		type = unknown[i];
		len = sizeof(info);
		EXPECT_EQ(-EOPNOTSUPP,
			  __hw_info(&self->vm, dev_id,
				    IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, &info,
				    &len, &caps)) TH_LOG("%#x", unknown[i]);
	}
	type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
	len = sizeof(info);
	EXPECT_EQ(-EOPNOTSUPP, __hw_info(&self->vm, dev_id, 3, &type, &info,
					 &len, &caps));
}

static __u32 hwpt_alloc(struct vm *vm, __u32 dev_id)
{
	__u32 id;

	if (__hwpt_alloc(vm, dev_id, vm->ioas, 0, IOMMU_HWPT_DATA_NONE, NULL, 0,
			 &id))
		die("HWPT_ALLOC");
	return id;
}

TEST_F(device, viommu_alloc_errors)
{
	struct iommu_viommu_tegra241_cmdqv data[2] = {};
	/* A paging domain, but no nest parent */
	const __u32 flat = hwpt_alloc(&self->vm, self->guest.edu.dev_id);
	const struct iommu_viommu_alloc good = {
		.size = sizeof(good),
		.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.dev_id = self->guest.edu.dev_id,
		.hwpt_id = self->vm.s2,
		.data_len = sizeof(data[0]),
		.data_uptr = (__u64)data,
	};
	const struct bad_field bad[] = {
		BAD(iommu_viommu_alloc, size, 20, -EINVAL),
		/* Without the data */
		BAD(iommu_viommu_alloc, size, 24, -EINVAL),
		BAD(iommu_viommu_alloc, flags, 1, -EOPNOTSUPP),
		BAD(iommu_viommu_alloc, flags, 1U << 31, -EOPNOTSUPP),
		BAD(iommu_viommu_alloc, type, 0, -EOPNOTSUPP),
		BAD(iommu_viommu_alloc, type, 3, -EOPNOTSUPP),
		BAD(iommu_viommu_alloc, dev_id, NO_SUCH_ID, -ENOENT),
		BAD(iommu_viommu_alloc, dev_id, self->vm.ioas, -ENOENT),
		BAD(iommu_viommu_alloc, hwpt_id, NO_SUCH_ID, -ENOENT),
		BAD(iommu_viommu_alloc, hwpt_id, self->vm.ioas, -ENOENT),
		BAD(iommu_viommu_alloc, hwpt_id, flat, -EINVAL),
		BAD(iommu_viommu_alloc, data_len, 0, -EINVAL),
		BAD(iommu_viommu_alloc, data_len, 8, -EINVAL),
		BAD(iommu_viommu_alloc, data_len, 15, -EINVAL),
		BAD(iommu_viommu_alloc, data_len, 17, -EINVAL),
		BAD(iommu_viommu_alloc, data_len, 32, -EINVAL),
		BAD(iommu_viommu_alloc, data_len, ~0U, -EINVAL),
		BAD(iommu_viommu_alloc, __reserved, 1, -EOPNOTSUPP),
	};

	EXPECT_BAD(&self->vm, IOMMU_VIOMMU_ALLOC, good, bad);
	iommu_destroy(&self->vm, flat);

	/* None of them has left anything on the nest parent. */
	edu_detach(&self->guest.edu);
	iommu_destroy(&self->vm, self->vm.s2);
}

/* More often than there are VINTFs: each time it comes back. */
TEST_F(device, viommu_alloc_answer_faults)
{
	struct iommu_viommu_tegra241_cmdqv data = {};
	struct iommu_viommu_alloc *cmd;
	struct vintf vintf;
	int i;

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	cmd = mmap(NULL, 2 * GUEST_PAGE, PROT_READ | PROT_WRITE,
		   MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = (struct iommu_viommu_alloc){
		.size = sizeof(*cmd),
		.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.dev_id = self->guest.edu.dev_id,
		.hwpt_id = self->vm.s2,
		.data_len = sizeof(data),
		.data_uptr = (__u64)&data,
	};
	ASSERT_EQ(0, mprotect(cmd, GUEST_PAGE, PROT_READ));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_VIOMMU_ALLOC, cmd));
		ASSERT_EQ(EFAULT, errno) TH_LOG("round %d", i);
	}
	ASSERT_EQ(0, mprotect(cmd, GUEST_PAGE, PROT_READ | PROT_WRITE));
	cmd->data_uptr = (__u64)cmd + GUEST_PAGE - 8;
	ASSERT_EQ(0, mprotect((void *)cmd + GUEST_PAGE, GUEST_PAGE, PROT_NONE));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_VIOMMU_ALLOC, cmd));
		ASSERT_EQ(EFAULT, errno) TH_LOG("round %d", i);
	}
	vintf_alloc(&vintf, &self->vm, self->guest.edu.dev_id);
	vintf_free(&vintf);
	munmap(cmd, 2 * GUEST_PAGE);
	edu_detach(&self->guest.edu);
	iommu_destroy(&self->vm, self->vm.s2);
}

TEST_F(device, viommu_alloc_tells_the_mapping)
{
	__u32 dev_id = self->guest.edu.dev_id;
	struct vintf v[2];

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	ASSERT_EQ(0, __vintf_alloc(&v[0], &self->vm, dev_id));
	EXPECT_EQ(VINTF_PAGE, v[0].length);
	EXPECT_EQ(0, v[0].offset % sysconf(_SC_PAGESIZE));
	if (!__vintf_alloc(&v[1], &self->vm, dev_id)) {
		EXPECT_EQ(VINTF_PAGE, v[1].length);
		EXPECT_GE(v[1].offset > v[0].offset ?
			  v[1].offset - v[0].offset : v[0].offset - v[1].offset,
			  VINTF_PAGE);
		iommu_destroy(&self->vm, v[1].viommu);
	}
	iommu_destroy(&self->vm, v[0].viommu);
	EXPECT_EQ(-ENXIO, __vintf_map(&v[0]));
}

/* Types 1 and 2 on one nest parent: what belongs to type 2 is not for type 1. */
TEST_F(device, smmuv3_viommu_has_no_queues)
{
	struct vintf plain = {
		.vm = &self->vm,
		.viommu = viommu_alloc(&self->vm, self->guest.edu.dev_id),
	};
	struct veventq q;
	__u32 id;

	EXPECT_EQ(-EOPNOTSUPP, __errorq_alloc(&plain, DEPTH, &q));
	EXPECT_EQ(-EOPNOTSUPP,
		  __vcmdq_alloc(&plain, 0, vm_alloc(&self->vm, 1), GUEST_PAGE,
				&id));
	iommu_destroy(&self->vm, plain.viommu);
}

/* --------------------------------------------- a VINTF, and no queue in it -- */

FIXTURE(vintf)
{
	struct host host;
	struct vm vm;
	struct owner o;
};

FIXTURE_SETUP(vintf)
{
	const char *lack = vintf_lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	owner_open(&self->o, &self->vm, edu_own_group(0));
}

FIXTURE_TEARDOWN(vintf)
{
	if (self->vm.ram && self->o.vintf.page)
		vintf_unmap(&self->o.vintf);
	EXPECT_TRUE(down(&self->host, &self->vm, &self->o.guest));
}

static void *map_page(struct vintf *v, size_t len, __s64 delta, int prot,
		      int flags)
{
	return mmap(NULL, len, prot, flags, v->vm->iommufd, v->offset + delta);
}

TEST_F(vintf, mmap_errors)
{
	static const struct {
		const char *name;
		size_t len;
		__s64 delta;
		int prot, flags, err;
	} bad[] = {
		{ "short", 0x8000, 0, PROT_READ, MAP_SHARED, ENXIO },
		{ "one page", 0x1000, 0, PROT_READ, MAP_SHARED, ENXIO },
		{ "page 1 too", 0x20000, 0, PROT_READ, MAP_SHARED, ENXIO },
		{ "page 1", 0x10000, 0x10000, PROT_READ, MAP_SHARED, ENXIO },
		{ "inside", 0x8000, 0x8000, PROT_READ, MAP_SHARED, ENXIO },
		{ "before", 0x10000, -0x1000, PROT_READ, MAP_SHARED, ENXIO },
		{ "private", 0x10000, 0, PROT_READ, MAP_PRIVATE, EINVAL },
		{ "exec", 0x10000, 0, PROT_READ | PROT_EXEC, MAP_SHARED, EPERM },
	};
	struct vintf *v = &self->o.vintf;
	unsigned int i;
	void *p;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		p = map_page(v, bad[i].len, bad[i].delta, bad[i].prot,
			     bad[i].flags);
		ASSERT_EQ(MAP_FAILED, p) TH_LOG("%s", bad[i].name);
		EXPECT_EQ(bad[i].err, errno) TH_LOG("%s", bad[i].name);
	}
	EXPECT_EQ(-1, mprotect(v->page, v->length, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, mprotect(v->page, v->length, PROT_READ));
	EXPECT_EQ(0, mprotect(v->page, v->length, PROT_READ | PROT_WRITE));
}

TEST_F(vintf, mmap_is_for_one_iommufd)
{
	struct vintf other = self->o.vintf;
	struct vm vm;

	vm_init(&vm);
	other.vm = &vm;
	EXPECT_EQ(-ENXIO, __vintf_map(&other));
	vm_free(&vm);
}

TEST_F(vintf, viommu_is_busy_while_mapped)
{
	struct vintf *v = &self->o.vintf, again = *v;

	EXPECT_EQ(0, __vintf_map(&again));
	EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, v->viommu));
	vintf_unmap(&again);
	EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, v->viommu));
	vintf_unmap(v);
	EXPECT_EQ(0, __iommu_destroy(&self->vm, v->viommu));
	EXPECT_EQ(-ENXIO, __vintf_map(&again));
}

/* A child has no mapping that would keep the vIOMMU, or it keeps it. */
TEST_F(vintf, child_with_the_mapping_keeps_the_viommu)
{
	struct vintf *v = &self->o.vintf;
	int ready[2], status;
	bool reads;
	char c;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(ready[0]);
		vintf_get(v, 0, VCMDQ_STATUS);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	/* Nothing to read: the child has died of its access. */
	reads = read(ready[0], &c, 1) == 1;
	vintf_unmap(v);
	EXPECT_EQ(reads ? -EBUSY : 0, __iommu_destroy(&self->vm, v->viommu));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (reads) {
		EXPECT_EQ(0, __iommu_destroy(&self->vm, v->viommu));
	} else {
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(SIGSEGV, WTERMSIG(status));
	}
	close(ready[0]);
}

/* No device may write the registers of a guest. */
TEST_F(vintf, page_is_no_guest_memory)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = self->vm.ioas,
		.user_va = (__u64)self->o.vintf.page,
		.length = VINTF_PAGE,
		.iova = DIMM,
	};

	EXPECT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_IOAS_MAP, &map));
	EXPECT_EQ(-ENOENT, __vm_unmap(&self->vm, DIMM, VINTF_PAGE));
}

/* A slot without a queue reads 0 and cannot be started. */
TEST_F(vintf, slots_without_queue_are_dead)
{
	struct vintf *v = &self->o.vintf;
	unsigned int i, reg;

	for (i = 0; i < VINTF_PAGE / 0x80; i++) {
		vintf_set(v, i, VCMDQ_PROD, 5);
		vintf_set(v, i, VCMDQ_GERRORN, 1);
		vintf_set(v, i, VCMDQ_CONFIG, VCMDQ_EN);
	}
	usleep(100000);
	for (i = 0; i < VINTF_PAGE / 0x80; i++) {
		for (reg = VCMDQ_CONS; reg <= VCMDQ_GERRORN; reg += 4) {
			ASSERT_EQ(0, vintf_get(v, i, reg))
				TH_LOG("slot %u, register %#x", i, reg);
		}
	}
}

TEST_F(vintf, vdevice_alloc_errors)
{
	const struct iommu_vdevice_alloc good = {
		.size = sizeof(good),
		.viommu_id = self->o.vintf.viommu,
		.dev_id = self->o.guest.edu.dev_id,
		.virt_id = VSID20,
	};
	const struct bad_field bad[] = {
		BAD(iommu_vdevice_alloc, size, 16, -EINVAL),
		BAD(iommu_vdevice_alloc, viommu_id, NO_SUCH_ID, -ENOENT),
		BAD(iommu_vdevice_alloc, viommu_id, self->vm.s2, -ENOENT),
		BAD(iommu_vdevice_alloc, dev_id, NO_SUCH_ID, -ENOENT),
		BAD(iommu_vdevice_alloc, dev_id, self->vm.ioas, -ENOENT),
		BAD64(iommu_vdevice_alloc, virt_id, 1ULL << VSID_BITS, -EINVAL),
		BAD64(iommu_vdevice_alloc, virt_id, 0xffffffff, -EINVAL),
		BAD64(iommu_vdevice_alloc, virt_id, 1ULL << 32, -EINVAL),
		BAD64(iommu_vdevice_alloc, virt_id, ~0ULL, -EINVAL),
	};
	const __u64 fine[] = { 0, 1, VSID20, (1 << VSID_BITS) - 1 };
	__u32 id, again;
	unsigned int i;

	EXPECT_BAD(&self->vm, IOMMU_VDEVICE_ALLOC, good, bad);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, __vdevice_alloc(&self->vm, good.viommu_id,
					     good.dev_id, fine[i], &id))
			TH_LOG("%#llx", fine[i]);
		EXPECT_EQ(-EEXIST, __vdevice_alloc(&self->vm, good.viommu_id,
						   good.dev_id, fine[i],
						   &again));
		EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, good.viommu_id));
		iommu_destroy(&self->vm, id);
	}
}

/* A device has one vDEVICE, whatever the type of the vIOMMU. */
TEST_F(vintf, vdevice_of_another_viommu)
{
	const __u32 dev_id = self->o.guest.edu.dev_id;
	const __u32 plain = viommu_alloc(&self->vm, dev_id);
	__u32 id, second;

	id = vdevice_alloc(&self->vm, plain, dev_id, 1);
	EXPECT_EQ(-EEXIST, __vdevice_alloc(&self->vm, self->o.vintf.viommu,
					   dev_id, 2, &second));
	iommu_destroy(&self->vm, id);
	id = vdevice_alloc(&self->vm, self->o.vintf.viommu, dev_id, 2);
	EXPECT_EQ(-EEXIST, __vdevice_alloc(&self->vm, plain, dev_id, 1,
					   &second));
	iommu_destroy(&self->vm, id);
	iommu_destroy(&self->vm, plain);
}

/* As many vDEVICEs that can use ATS as the VINTF has pairs, and not one more. */
TEST_F(vintf, vdevices_up_to_the_pairs)
{
	unsigned int pairs = 1U << hw.log2vsids, i;
	struct edu edu[16];
	__u32 id[16];
	int rc;

	if (!edu_own_group(1))
		SKIP(return, LACKS_SECOND);
	id[0] = vdevice_alloc(&self->vm, self->o.vintf.viommu,
			      self->o.guest.edu.dev_id, 0);
	for (i = 1; i < 16 && edu_own_group(i); i++) {
		edu_open(&edu[i], &self->vm, edu_own_group(i));
		EXPECT_EQ(-EEXIST, __vdevice_alloc(&self->vm,
						   self->o.vintf.viommu,
						   edu[i].dev_id, 0, &id[i]));
		rc = __vdevice_alloc(&self->vm, self->o.vintf.viommu,
				     edu[i].dev_id, i, &id[i]);
		EXPECT_EQ(no_pair || i < pairs ? 0 : -ENOSPC, rc) TH_LOG("device %u", i);
		if (rc) {
			iommu_destroy(&self->vm, id[0]);
			ASSERT_EQ(0, __vdevice_alloc(&self->vm,
						     self->o.vintf.viommu,
						     edu[i].dev_id, i,
						     &id[0]));
		}
		edu_close(&edu[i]);
	}
}

TEST_F(vintf, veventq_alloc_errors)
{
	const struct iommu_veventq_alloc good = {
		.size = sizeof(good),
		.viommu_id = self->o.vintf.viommu,
		.type = IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
		.veventq_depth = DEPTH,
	};
	const struct bad_field bad[] = {
		BAD(iommu_veventq_alloc, size, 24, -EINVAL),
		BAD(iommu_veventq_alloc, flags, 1, -EOPNOTSUPP),
		BAD(iommu_veventq_alloc, __reserved, 1, -EOPNOTSUPP),
		BAD(iommu_veventq_alloc, type, 0, -EOPNOTSUPP),
		BAD(iommu_veventq_alloc, type, 3, -EOPNOTSUPP),
		BAD(iommu_veventq_alloc, viommu_id, NO_SUCH_ID, -ENOENT),
		BAD(iommu_veventq_alloc, viommu_id, self->vm.s2, -ENOENT),
		BAD(iommu_veventq_alloc, veventq_depth, 0, -EINVAL),
		BAD(iommu_veventq_alloc, veventq_depth, (1 << 19) + 1, -EINVAL),
		BAD(iommu_veventq_alloc, veventq_depth, ~0U, -EINVAL),
	};
	struct vintf *v = &self->o.vintf;
	struct veventq errors, faults, again;

	EXPECT_BAD(&self->vm, IOMMU_VEVENTQ_ALLOC, good, bad);
	/* QEMU's depth */
	errorq_alloc(v, 1 << 19, &errors);
	EXPECT_EQ(-EEXIST, __errorq_alloc(v, DEPTH, &again));
	veventq_alloc(&self->vm, v->viommu, DEPTH, &faults);
	EXPECT_EQ(-EEXIST, __veventq_alloc(&self->vm, v->viommu, DEPTH,
					   &again));
	EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, errors.id));
	veventq_free(&self->vm, &errors);
	errorq_alloc(v, 1, &errors);
	veventq_free(&self->vm, &errors);
	veventq_free(&self->vm, &faults);
}

/* --------------------------------------------------------------- HW queues -- */

static struct iommu_hw_queue_alloc hw_queue_good(struct vintf *v, __u64 gpa)
{
	return (struct iommu_hw_queue_alloc){
		.size = sizeof(struct iommu_hw_queue_alloc),
		.viommu_id = v->viommu,
		.type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
		.nesting_parent_iova = gpa,
		.length = GUEST_PAGE,
	};
}

TEST_F(vintf, hw_queue_alloc_errors)
{
	const __u64 gpa = vm_alloc(&self->vm, 1);
	const struct iommu_hw_queue_alloc good =
		hw_queue_good(&self->o.vintf, gpa);
	const struct bad_field bad[] = {
		BAD(iommu_hw_queue_alloc, size, 32, -EINVAL),
		BAD(iommu_hw_queue_alloc, flags, 1, -EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, type, 0, -EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, type, 2, -EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, type, 0xdeadbeef, -EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, viommu_id, NO_SUCH_ID, -ENOENT),
		BAD(iommu_hw_queue_alloc, viommu_id, self->vm.s2, -ENOENT),
		BAD(iommu_hw_queue_alloc, index, max_queues(), -EINVAL),
		BAD(iommu_hw_queue_alloc, index, ~0U, -EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 0, -EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 1, -EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 16, -EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 33, -EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 48, -EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 4095, -EINVAL),
		BAD64(iommu_hw_queue_alloc, length, ~0ULL, -EOVERFLOW),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, -32ULL,
		      -EOVERFLOW),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, DIMM, -ENOENT),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, 0, -ENOENT),
	};
	/* A length that fits, at an address that is not a multiple of it */
	struct iommu_hw_queue_alloc small = good;
	const struct bad_field base[] = {
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, gpa + 16,
		      -EINVAL),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, gpa + 32,
		      -EINVAL),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, gpa + 1,
		      -EINVAL),
	};

	EXPECT_BAD(&self->vm, IOMMU_HW_QUEUE_ALLOC, good, bad);
	small.length = 64;
	EXPECT_BAD(&self->vm, IOMMU_HW_QUEUE_ALLOC, small, base);
	/* Nothing is left behind: no pin, no number. */
	edu_detach(&self->o.guest.edu);
	vintf_free(&self->o.vintf);
	iommu_destroy(&self->vm, self->vm.s2);
	vm_unmap(&self->vm, GUEST_RAM, GUEST_RAM_SIZE);
}

TEST_F(vintf, hw_queue_lengths_in_a_page)
{
	const __u64 gpa = vm_alloc(&self->vm, 1);
	struct vcmdq q;
	unsigned int n;

	/* From the end of the page, where only this length is aligned */
	for (n = 1; n <= VCMDQ_LOG2SIZE; n++) {
		__u64 at = gpa + GUEST_PAGE - (VCMDQ_ENTRY << n);

		vcmdq_alloc_at(&q, &self->o.vintf, 0, at,
			       vm_ptr(&self->vm, at), n);
		vcmdq_start(&q);
		EXPECT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_va(ASID, VA)))
			TH_LOG("%u commands", 1 << n);
		EXPECT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)))
			TH_LOG("%u commands", 1 << n);
		vcmdq_free(&q);
	}
}

/* How many huge pages the kernel keeps: returns what it was. */
static int huge_pages(int num)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "r+");
	int old = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%d", &old) != 1)
		old = 0;
	rewind(f);
	fprintf(f, "%d", num);
	fclose(f);
	return old;
}

#define HUGE_PAGE	0x200000UL

/* Memory that is contiguous, if the kernel has it */
static void *huge_page(void)
{
	int old = huge_pages(4);
	void *p = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_SHARED | MAP_HUGETLB | MAP_POPULATE,
		       -1, 0);

	huge_pages(old);
	return p == MAP_FAILED ? NULL : p;
}

TEST_F(vintf, hw_queue_lengths_in_a_huge_page)
{
	void *mem = huge_page();
	unsigned int n, i;
	struct vcmdq q;

	if (!mem)
		SKIP(return, "no huge page");
	vm_map(&self->vm, DIMM, mem, HUGE_PAGE);
	for (n = VCMDQ_LOG2SIZE; n <= 17; n += 3) {
		vcmdq_alloc_at(&q, &self->o.vintf, 0, DIMM, mem, n);
		vcmdq_start(&q);
		/* Past the end, and a bit */
		for (i = 0; i < 1U << n; i++)
			vcmdq_put(&q, cmd_sync());
		vcmdq_kick(&q);
		EXPECT_EQ(0, vcmdq_wait(&q)) TH_LOG("2^%u commands", n);
		EXPECT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)));
		vcmdq_free(&q);
	}
	vm_unmap(&self->vm, DIMM, HUGE_PAGE);
	munmap(mem, HUGE_PAGE);
}

/* What counts is that the memory is contiguous. */
TEST_F(vintf, hw_queue_across_two_mappings)
{
	void *mem = huge_page();
	struct vcmdq q;
	unsigned int i;
	__u32 id;

	if (!mem)
		SKIP(return, "no huge page");
	vm_map(&self->vm, DIMM, mem, GUEST_PAGE);
	EXPECT_EQ(-ENOENT, __vcmdq_alloc(&self->o.vintf, 0, DIMM,
					 2 * GUEST_PAGE, &id));
	vm_map(&self->vm, DIMM + GUEST_PAGE, mem + GUEST_PAGE, GUEST_PAGE);
	vcmdq_alloc_at(&q, &self->o.vintf, 0, DIMM, mem, VCMDQ_LOG2SIZE + 1);
	vcmdq_start(&q);
	for (i = 0; i < 600; i++)
		ASSERT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_va(ASID, VA)));
	EXPECT_EQ(-EBUSY, __vm_unmap(&self->vm, DIMM, GUEST_PAGE));
	EXPECT_EQ(-EBUSY, __vm_unmap(&self->vm, DIMM + GUEST_PAGE, GUEST_PAGE));
	vcmdq_free(&q);
	vm_unmap(&self->vm, DIMM, 2 * GUEST_PAGE);

	/* The same two, the other way round */
	vm_map(&self->vm, DIMM, mem + GUEST_PAGE, GUEST_PAGE);
	vm_map(&self->vm, DIMM + GUEST_PAGE, mem, GUEST_PAGE);
	EXPECT_EQ(-EFAULT, __vcmdq_alloc(&self->o.vintf, 0, DIMM,
					 2 * GUEST_PAGE, &id));
	vm_unmap(&self->vm, DIMM, 2 * GUEST_PAGE);
	munmap(mem, HUGE_PAGE);
}

TEST_F(vintf, hw_queue_order)
{
	struct vintf *v = &self->o.vintf;
	const __u64 gpa = vm_alloc(&self->vm, 1);
	unsigned int n = max_queues(), i;
	struct vcmdq q[128];
	__u32 id;

	if (n > 1)
		EXPECT_EQ(-EIO, __vcmdq_alloc(v, n - 1, gpa, 32, &id));
	for (i = 0; i < n; i++) {
		vcmdq_alloc_at(&q[i], v, i, gpa + 32 * i,
			       vm_ptr(&self->vm, gpa + 32 * i), 1);
		EXPECT_EQ(-EEXIST, __vcmdq_alloc(v, i, gpa, 32, &id));
		if (i + 2 < n)
			EXPECT_EQ(-EIO, __vcmdq_alloc(v, i + 2, gpa, 32, &id));
		if (i)
			EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm,
							  q[i - 1].id));
	}
	EXPECT_EQ(-EINVAL, __vcmdq_alloc(v, n, gpa, 32, &id));
	EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, v->viommu));
	for (i = 0; i < n; i++)
		vcmdq_start(&q[i]);
	for (i = 0; i < n; i++)
		EXPECT_EQ(0, vcmdq_cmd(&q[i], cmd_tlbi_nh_asid(ASID)));
	while (i--) {
		vcmdq_free(&q[i]);
		/* The same number again, which must start from 0. */
		vcmdq_alloc(&q[i], v, i, gpa);
		vcmdq_free(&q[i]);
	}
}

/* The queue's memory cannot be taken away. What is beside it can. */
TEST_F(vintf, hw_queue_memory_is_busy)
{
	void *mem = mmap(NULL, 4 * GUEST_PAGE, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	struct vcmdq q;
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = self->vm.ioas,
		.iova = DIMM,
		.length = 4 * GUEST_PAGE,
	};
	int i;

	ASSERT_NE(MAP_FAILED, mem);
	for (i = 0; i < 4; i++)
		vm_map(&self->vm, DIMM + i * GUEST_PAGE, mem + i * GUEST_PAGE,
		       GUEST_PAGE);
	vcmdq_alloc_at(&q, &self->o.vintf, 0, DIMM + 2 * GUEST_PAGE + 1024,
		       mem + 2 * GUEST_PAGE + 1024, 6);
	vcmdq_start(&q);
	EXPECT_EQ(-EBUSY, __vm_unmap(&self->vm, DIMM + 2 * GUEST_PAGE,
				     GUEST_PAGE));
	EXPECT_EQ(-1, ioctl(self->vm.iommufd, IOMMU_IOAS_UNMAP, &unmap));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(4 * GUEST_PAGE, unmap.length);
	EXPECT_EQ(0, __vm_unmap(&self->vm, DIMM + 3 * GUEST_PAGE, GUEST_PAGE));
	for (i = 0; i < 100; i++)
		EXPECT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)));
	vcmdq_free(&q);
	EXPECT_EQ(0, __vm_unmap(&self->vm, DIMM + 2 * GUEST_PAGE, GUEST_PAGE));
	munmap(mem, 4 * GUEST_PAGE);
}

/* ------------------------------------------------------- one guest's queue -- */

FIXTURE(one_guest)
{
	struct host host;
	struct vm vm;
	struct owner o;
};

FIXTURE_SETUP(one_guest)
{
	const char *lack = vintf_lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	owner_open(&self->o, &self->vm, edu_own_group(0));
	owner_start(&self->o, VSID20);
}

FIXTURE_TEARDOWN(one_guest)
{
	if (!self->vm.ram)
		return;
	EXPECT_TRUE(no_error(&self->o));
	owner_stop(&self->o);
	iommu_destroy(&self->vm, self->vm.s2);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

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

/* ----------------------------------------------- The other way: by the VMM -- */

/* The SMMU has no entry of this guest any more. */
static void forget(struct guest *guest)
{
	guest_cmd(guest, cmd_tlbi_nh_all());
}

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
		BAD(iommu_hwpt_invalidate, hwpt_id, NO_SUCH_ID, -ENOENT),
		BAD(iommu_hwpt_invalidate, hwpt_id, self->vm.s2, -EINVAL),
		BAD(iommu_hwpt_invalidate, hwpt_id, self->vm.ioas, -EINVAL),
		BAD(iommu_hwpt_invalidate, hwpt_id, o->q.id, -EINVAL),
		BAD(iommu_hwpt_invalidate, data_type, 0, -EINVAL),
		BAD(iommu_hwpt_invalidate, data_type, 2, -EINVAL),
		BAD(iommu_hwpt_invalidate, __reserved, 1, -EOPNOTSUPP),
		BAD(iommu_hwpt_invalidate, entry_len, 0, -EINVAL),
		BAD(iommu_hwpt_invalidate, entry_len, 8, -EINVAL),
		BAD64(iommu_hwpt_invalidate, data_uptr, 0, -EINVAL),
		BAD(iommu_hwpt_invalidate, entry_num, (1 << 19) + 1, -EINVAL),
		/* A nested domain of this driver has no invalidation. */
		BAD(iommu_hwpt_invalidate, hwpt_id, o->guest.nested,
		    -EOPNOTSUPP),
	};
	__u32 num = 3;

	EXPECT_BAD(&self->vm, IOMMU_HWPT_INVALIDATE, good, bad);
	/* The third names a vSID without a vDEVICE. */
	EXPECT_EQ(-EIO, __viommu_invalidate(&self->vm, o->vintf.viommu, cmds,
					    &num));
	EXPECT_EQ(2, num);
	EXPECT_EQ(-EIO, __viommu_cmd(&self->vm, o->vintf.viommu, cmd_sync()));
	EXPECT_EQ(-EIO, __viommu_cmd(&self->vm, o->vintf.viommu, cmd_raw(0x20, 0)));
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

	EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, guest->vdevice));
	edu_attach(&guest->edu, bypass);
	EXPECT_EQ(page, edu_lands(&guest->edu, page));
	edu_attach(&guest->edu, abort);
	EXPECT_EQ(NOWHERE, edu_lands(&guest->edu, page));
	edu_attach(&guest->edu, invalid);
	iommu_destroy(&self->vm, guest->vdevice);
	EXPECT_EQ(-ENOENT, __edu_attach(&guest->edu, guest->nested));
	edu_attach(&guest->edu, bypass);
	EXPECT_EQ(page, edu_lands(&guest->edu, page));

	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, 0);
	s1_map(&guest->s1, VA, page);
	edu_attach(&guest->edu, guest->nested);
	EXPECT_EQ(page, edu_lands(&guest->edu, VA));
	EXPECT_EQ(-EIO, __nested_alloc(&self->vm, guest->edu.dev_id,
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
	EXPECT_EQ(-ENOENT, __iommu_destroy(&self->vm, o->guest.vdevice));
	EXPECT_TRUE(refused(o, cmd_atc_inv(VSID20)));
	EXPECT_EQ(-EIO, __viommu_cmd(&self->vm, o->vintf.viommu,
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

/* ------------------------------------------- commands that are not allowed -- */

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

/* --------------------------------------------------------------- StreamIDs -- */

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

/* "SID=COUNT" of the model: how many ATC_INVs this device has got */
static unsigned int atc_invs_of(__u32 sid)
{
	char list[4096], *entry, *save, *count;

	if (!model_get("atc-inv-sids", list, sizeof(list)))
		return ~0U;
	for (entry = strtok_r(list, ",", &save); entry;
	     entry = strtok_r(NULL, ",", &save))
		if (strtoul(entry, &count, 16) == sid && *count == '=')
			return atoi(count + 1);
	return 0;
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

/* ---------------------------------------------------------------- CMD_SYNC -- */

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

/* -------------------------------------------------- ATC_INVs that time out -- */

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

/* ----------------------------------------------------- a TLBI of each kind -- */

/* Two guests on one nest parent or in VMs of their own: same ASID, vSID and VA */
FIXTURE(two_guests)
{
	struct host host;
	struct vm vm[2];
	struct owner o[2];
};

FIXTURE_VARIANT(two_guests)
{
	int vms;
};

FIXTURE_VARIANT_ADD(two_guests, of_one_vm) { .vms = 1 };
FIXTURE_VARIANT_ADD(two_guests, of_two_vms) { .vms = 2 };

FIXTURE_SETUP(two_guests)
{
	const char *lack = vintf_lacks(edu_own_group(1), LACKS_SECOND);
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	for (i = 0; i < variant->vms; i++)
		vm_init(&self->vm[i]);
	for (i = 0; i < 2; i++) {
		owner_open(&self->o[i], &self->vm[i % variant->vms],
			   edu_own_group(i));
		owner_start(&self->o[i], VSID20);
	}
}

FIXTURE_TEARDOWN(two_guests)
{
	int i;

	if (!self->vm[0].ram)
		return;
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(no_error(&self->o[i]));
		owner_stop(&self->o[i]);
	}
	for (i = 0; i < variant->vms; i++) {
		iommu_destroy(&self->vm[i], self->vm[i].s2);
		vm_free(&self->vm[i]);
	}
	EXPECT_TRUE(host_is_fine(&self->host));
}

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

/* ---------------------------------------------------- what an owner leaves -- */

static bool slot_is_clean(struct vintf *v, unsigned int index)
{
	static const enum vcmdq_reg regs[] = {
		VCMDQ_PROD, VCMDQ_CONS, VCMDQ_CONFIG, VCMDQ_STATUS,
		VCMDQ_GERROR, VCMDQ_GERRORN,
	};
	bool clean = true;
	unsigned int i;
	__u32 val;

	for (i = 0; i < sizeof(regs) / sizeof(*regs); i++) {
		val = vintf_get(v, index, regs[i]);
		if (!val)
			continue;
		fprintf(stderr, "# queue %u, register %#x: %#x\n", index,
			regs[i], val);
		clean = false;
	}
	return clean;
}

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

/* ----------------------------------------------- VINTFs and queues run out -- */

/* The host has everything back: no VINTF is on, no queue and no pair is set. */
static bool block_is_clean(const __le32 *block)
{
	__u32 param = block_get(block, BLOCK_PARAM), val;
	unsigned int v, s, q;
	bool clean = true;

	for (v = 1; v < VINTFS(param); v++) {
		val = block_get(block, BLOCK_VINTF(v)) & BLOCK_EN;
		val |= block_get(block, BLOCK_VINTF_STATUS(v)) & BLOCK_EN;
		for (s = 0; s < PAIRS(param); s++)
			val |= block_get(block, BLOCK_SID_MATCH(v, s)) |
			       block_get(block, BLOCK_SID_REPLACE(v, s));
		if (val)
			fprintf(stderr, "# VINTF %u is on or has a pair\n", v);
		clean &= !val;
	}
	for (q = 0; q < VCMDQS(param); q++) {
		val = block_get(block, BLOCK_ALLOC(q));
		if (!(val & BLOCK_EN) || !ALLOC_VINTF(val))
			continue;
		fprintf(stderr, "# queue %u: CMDQ_ALLOC %#x\n", q, val);
		clean = false;
	}
	return clean;
}

#define EXPECT_CLEAN_BLOCK()                                  \
	do {                                                  \
		const __le32 *__block = block_map();          \
							      \
		if (__block)                                  \
			EXPECT_TRUE(block_is_clean(__block)); \
	} while (0)

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
	if (rc != -ENOSPC)
		die("VINTF %u: %s", n, strerror(-rc));
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

/* ----------------------------------------------- the end while guests work -- */

/* A CPU of the guest that does not stop writing to its registers */
struct hammer {
	struct vintf *vintf;
	unsigned int queues;
	pthread_t thread;
	atomic_bool stop;
	atomic_ulong rounds;
};

static void *hammer_run(void *arg)
{
	struct hammer *h = arg;
	unsigned int i;

	while (!h->stop) {
		for (i = 0; i < h->queues; i++) {
			vintf_set(h->vintf, i, VCMDQ_GERRORN,
				  vintf_get(h->vintf, i, VCMDQ_GERROR));
			vintf_set(h->vintf, i, VCMDQ_PROD, h->rounds);
			vintf_set(h->vintf, i, VCMDQ_CONFIG, VCMDQ_EN);
		}
		h->rounds++;
	}
	return NULL;
}

static void hammer_start(struct hammer *h, struct vintf *vintf)
{
	memset(h, 0, sizeof(*h));
	h->vintf = vintf;
	h->queues = max_queues() < 2 ? 1 : 2;
	if (pthread_create(&h->thread, NULL, hammer_run, h))
		die("pthread_create");
}

static void hammer_stop(struct hammer *h)
{
	h->stop = true;
	pthread_join(h->thread, NULL);
}

/* It has written everything @n more times; false if it got stuck. */
static bool hammer_goes_on(struct hammer *h, unsigned long n)
{
	unsigned long end = h->rounds + n;
	int tries = SOON;

	while ((long)(end - h->rounds) > 0 && tries--)
		usleep(1000);
	return tries > 0;
}

/*
 * The queue runs. An EN that came before the base has no effect, and only turning
 * it off and on again helps: the hammer turns it on.
 */
static bool hammer_met(struct vcmdq *q)
{
	int tries = SOON;

	while (!(vcmdq_get(q, VCMDQ_STATUS) & VCMDQ_EN) && --tries) {
		if (tries % 20 == 0)
			vcmdq_set(q, VCMDQ_CONFIG, 0);
		usleep(1000);
	}
	return tries > 0;
}

static void fill_with_syncs(struct vcmdq *q)
{
	unsigned int i;

	for (i = 0; i < 1U << q->log2size; i++)
		vcmdq_overwrite(q, i, cmd_sync());
}

/* The queue stops, whatever the guest writes, and its memory can go. */
TEST_F(vintf, queue_ends_while_the_guest_writes)
{
	void *mem = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	struct vintf *v = &self->o.vintf;
	struct hammer h;
	struct vcmdq q;
	unsigned int i;

	ASSERT_NE(MAP_FAILED, mem);
	hammer_start(&h, v);
	for (i = 0; i < 20; i++) {
		vm_map(&self->vm, DIMM, mem, GUEST_PAGE);
		vcmdq_alloc_at(&q, v, 0, DIMM, mem, VCMDQ_LOG2SIZE);
		if (i & 1)
			fill_with_syncs(&q);
		else
			memset(mem, 0, GUEST_PAGE);
		ASSERT_TRUE(hammer_goes_on(&h, 10 * i));
		/* Some rounds take it as it is. */
		ASSERT_TRUE(i % 4 == 0 || hammer_met(&q)) TH_LOG("round %u", i);
		ASSERT_EQ(0, __iommu_destroy(&self->vm, q.id));
		ASSERT_TRUE(slot_is_clean(v, 0)) TH_LOG("round %u", i);
		vm_unmap(&self->vm, DIMM, GUEST_PAGE);
	}
	hammer_stop(&h);
	munmap(mem, GUEST_PAGE);
}

/* A CPU that will not let queue 1 stop */
static void *hold_on(void *arg)
{
	struct hammer *h = arg;

	while (!h->stop) {
		vintf_set(h->vintf, 1, VCMDQ_CONFIG, VCMDQ_EN);
		h->rounds++;
	}
	return NULL;
}

/* The end of a queue that does not stop is not the end of its neighbour. */
TEST_F(one_guest, neighbour_goes_on_when_a_queue_ends)
{
	struct owner *o = &self->o;
	__u64 gpa = vm_alloc(&self->vm, 1);
	struct hammer h = { .vintf = &o->vintf };
	struct change c;
	struct vcmdq q;
	int i;

	if (max_queues() < 2)
		SKIP(return, "needs VINTFs of two queues");
	ASSERT_EQ(0, pthread_create(&h.thread, NULL, hold_on, &h));
	for (i = 0; i < 5; i++) {
		vcmdq_alloc(&q, &o->vintf, 1, gpa);
		ASSERT_TRUE(hammer_goes_on(&h, 20));
		ASSERT_TRUE(stale(&o->guest, &c, VA + i * GUEST_PAGE));
		vcmdq_free(&q);
		ASSERT_EQ(VCMDQ_EN, vcmdq_get(&o->q, VCMDQ_STATUS));
		ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_va(ASID, c.va)));
		ASSERT_TRUE(goes_after(&o->guest, &c));
		/* Queue 1 may have failed to start before it had a base. */
		ASSERT_LT(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_all()));
		ASSERT_TRUE(error_named(o, 0));
		vcmdq_skip(&o->q);
		ASSERT_EQ(0, vcmdq_wait(&o->q));
	}
	hammer_stop(&h);
	errors_drain(o);
}

/* Everything of a guest goes while it works, up to the vIOMMU. */
TEST_F(vintf, guest_ends_while_it_writes)
{
	struct owner *o = &self->o;
	__u64 gpa = vm_alloc(&self->vm, 1);
	struct hammer h;
	unsigned int i;

	for (i = 0; i < 10; i++) {
		errorq_alloc(&o->vintf, DEPTH, &o->errors);
		hammer_start(&h, &o->vintf);
		guest_start(&o->guest, i);
		vcmdq_alloc(&o->q, &o->vintf, 0, gpa);
		ASSERT_TRUE(hammer_goes_on(&h, 20));
		ASSERT_TRUE(i % 4 == 0 || hammer_met(&o->q))
			TH_LOG("round %u", i);

		EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, o->vintf.viommu));
		EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, o->guest.vdevice));
		edu_attach(&o->guest.edu, self->vm.s2);
		iommu_destroy(&self->vm, o->guest.nested);
		iommu_destroy(&self->vm, o->guest.vdevice);
		veventq_free(&self->vm, &o->errors);
		vcmdq_free(&o->q);
		EXPECT_EQ(-EBUSY, __iommu_destroy(&self->vm, o->vintf.viommu));
		ASSERT_TRUE(hammer_goes_on(&h, 20));
		hammer_stop(&h);
		vintf_free(&o->vintf);
		EXPECT_CLEAN_BLOCK();
		vintf_alloc(&o->vintf, &self->vm, o->guest.edu.dev_id);
		o->guest.viommu = o->vintf.viommu;
	}
}

/* The mapping keeps the iommufd alive. The end comes with it. */
TEST_F(vintf, iommufd_is_closed_before_the_mapping)
{
	struct owner *o = &self->o;
	struct hammer h;

	errorq_alloc(&o->vintf, DEPTH, &o->errors);
	vcmdq_alloc(&o->q, &o->vintf, 0, vm_alloc(&self->vm, 1));
	fill_with_syncs(&o->q);
	hammer_start(&h, &o->vintf);
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	edu_close(&o->guest.edu);
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	close(self->vm.iommufd);
	self->vm.iommufd = -1;
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	close(o->errors.fd);
	ASSERT_TRUE(hammer_goes_on(&h, 20));
	hammer_stop(&h);
	vintf_get(&o->vintf, 0, VCMDQ_STATUS);
	vintf_unmap(&o->vintf);
	EXPECT_CLEAN_BLOCK();
}

/* A VMM in full swing. It writes a byte to @ready, and is killed. */
static void doomed_vmm(int ready)
{
	struct hammer h[2];
	struct owner o[2];
	struct vm vm[2];
	int i, n = edu_own_group(1) ? 2 : 1;

	for (i = 0; i < n; i++) {
		vm_init(&vm[i]);
		owner_open(&o[i], &vm[i], edu_own_group(i));
		owner_start(&o[i], VSID20);
		s1_map(&o[i].guest.s1, VA, vm_alloc(&vm[i], 1));
		hammer_start(&h[i], &o[i].vintf);
	}
	for (i = 0; i < n; i++) {
		hammer_goes_on(&h[i], 20);
		edu_start(&o[i].guest.edu, VA, 0, GUEST_PAGE, true);
	}
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

TEST_F(device, vmm_is_killed)
{
	int ready[2], round, status;
	struct owner o;
	struct vm vm;
	pid_t pid;
	char c;

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	edu_close(&self->guest.edu);
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			close(ready[0]);
			doomed_vmm(ready[1]);
		}
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		usleep(round * 5000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		close(ready[0]);
		EXPECT_CLEAN_BLOCK();
	}
	/* The next VM finds all that it needs. */
	vm_init(&vm);
	owner_open(&o, &vm, edu_own_group(0));
	EXPECT_TRUE(slot_is_clean(&o.vintf, 0));
	owner_start(&o, VSID20);
	EXPECT_TRUE(no_error(&o));
	EXPECT_EQ(0, vcmdq_cmd(&o.q, cmd_tlbi_nh_asid(ASID)));
	owner_stop(&o);
	vm_free(&vm);
}

/* ------------------------------------------------------ The queue's memory -- */

/* The VMM loses the memory: the hardware still reads what was there. */
TEST_F(vintf, queue_keeps_its_memory)
{
	void *mem = mmap(NULL, 2 * GUEST_PAGE, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	struct vcmdq q[2];
	int i, n = max_queues() < 2 ? 1 : 2;

	ASSERT_NE(MAP_FAILED, mem);
	vm_map(&self->vm, DIMM, mem, 2 * GUEST_PAGE);
	for (i = 0; i < n; i++) {
		vcmdq_alloc_at(&q[i], &self->o.vintf, i, DIMM + i * GUEST_PAGE,
			       mem + i * GUEST_PAGE, VCMDQ_LOG2SIZE);
		fill_with_syncs(&q[i]);
		vcmdq_start(&q[i]);
	}
	/* One page is new and zero, which is no command; one is nowhere. */
	ASSERT_EQ(0, madvise(mem, GUEST_PAGE, MADV_REMOVE));
	ASSERT_EQ(0, *(__u64 *)mem);
	ASSERT_EQ(0, munmap(mem + GUEST_PAGE, GUEST_PAGE));
	for (i = 0; i < n; i++) {
		q[i].prod = 200;
		vcmdq_kick(&q[i]);
		EXPECT_EQ(0, vcmdq_wait(&q[i]));
	}
	EXPECT_EQ(-EBUSY, __vm_unmap(&self->vm, DIMM, 2 * GUEST_PAGE));
	while (i--)
		vcmdq_free(&q[i]);
	vm_unmap(&self->vm, DIMM, 2 * GUEST_PAGE);
	munmap(mem, GUEST_PAGE);
}

/* Another CPU of the guest writes to the queue while the hardware reads it. */
struct scribbler {
	struct vcmdq *q;
	pthread_t thread;
	atomic_bool stop;
};

static void *scribble(void *arg)
{
	static const __u8 ops[] = { CMD_SYNC, CMD_TLBI_NH_ASID, CMD_TLBI_NH_VA,
				    CMD_SYNC, CMD_SYNC, CMD_TLBI_NH_ALL };
	struct scribbler *s = arg;
	unsigned int i = 0;

	while (!s->stop) {
		vcmdq_overwrite(s->q, i * 7,
				cmd_raw(ops[i % sizeof(ops)], VA));
		i++;
	}
	return NULL;
}

/* One more, for which there is time; what came before does not matter. */
static bool error_is_reported(struct owner *o)
{
	bool reported;

	usleep(200000);
	errors_drain(o);
	reported = vcmdq_cmd(&o->q, cmd_tlbi_nh_all()) > 0 && error_named(o, 0);
	vcmdq_skip(&o->q);
	return reported && !vcmdq_wait(&o->q);
}

/* All that the queue holds was written by the other CPU. */
TEST_F(one_guest, commands_change_under_the_hardware)
{
	struct owner *o = &self->o;
	struct scribbler s = { .q = &o->q };
	unsigned int fine = 0, bad = 0, i;

	fill_with_syncs(&o->q);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, scribble, &s));
	for (i = 0; i < 100000 && (fine < 100 || bad < 100); i++) {
		o->q.prod = (o->q.prod + i % 8) & 0x1ff;
		vcmdq_kick(&o->q);
		if (!vcmdq_wait(&o->q)) {
			fine++;
			continue;
		}
		bad++;
		do
			vcmdq_skip(&o->q);
		while (vcmdq_wait(&o->q) > 0);
	}
	s.stop = true;
	pthread_join(s.thread, NULL);
	EXPECT_LE(100, fine);
	EXPECT_LE(100, bad);
	EXPECT_EQ(0, vcmdq_cmd(&o->q, cmd_tlbi_nh_asid(ASID)));
	/* An error that is acknowledged at once may come without an event. */
	ASSERT_TRUE(error_is_reported(o));
}

/* ------------------------------------------------------------------- races -- */

/* What two threads have met, and a loop for one of them beside the test */
enum met { MET_FINE, MET_REFUSED, MET_GONE, MET_BUSY, MET_EVENT, MET_KINDS };

struct race {
	struct owner *o;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint met[MET_KINDS];
};

static void race_start(struct race *r, struct owner *o, void *(*loop)(void *))
{
	memset(r, 0, sizeof(*r));
	r->o = o;
	if (pthread_create(&r->thread, NULL, loop, r))
		die("pthread_create");
}

static void race_stop(struct race *r)
{
	r->stop = true;
	pthread_join(r->thread, NULL);
}

static void *race_mmap(void *arg)
{
	struct race *r = arg;
	struct vintf *shared = &r->o->vintf, v;
	int rc;

	while (!r->stop) {
		v = *shared;
		/* The other thread is just writing it. */
		if (!v.vm || !v.offset || v.length != VINTF_PAGE)
			continue;
		rc = __vintf_map(&v);
		if (rc == -ENXIO) {
			r->met[MET_GONE]++;
			continue;
		}
		if (rc)
			die("mmap: %s", strerror(-rc));
		vintf_get(&v, 0, VCMDQ_STATUS);
		vintf_unmap(&v);
		r->met[MET_FINE]++;
	}
	return NULL;
}

TEST_F(device, mmap_against_destroy)
{
	struct owner o = {};
	unsigned int i, busy = 0, destroyed = 0;
	struct race r;
	int rc;

	if (no_vintf)
		SKIP(return, "%s", no_vintf);
	race_start(&r, &o, race_mmap);
	for (i = 0; i < 2000; i++) {
		ASSERT_EQ(0, __vintf_alloc(&o.vintf, &self->vm,
					   self->guest.edu.dev_id));
		do {
			rc = __iommu_destroy(&self->vm, o.vintf.viommu);
			busy += rc == -EBUSY;
		} while (rc == -EBUSY);
		ASSERT_EQ(0, rc);
		destroyed++;
	}
	race_stop(&r);
	EXPECT_LT(0, busy);
	EXPECT_LT(0, destroyed);
	EXPECT_LT(0, r.met[MET_FINE]);
	EXPECT_LT(0, r.met[MET_GONE]);
	EXPECT_CLEAN_BLOCK();
}

/* Makes one error after the other, and acknowledges each. */
static void *race_errors(void *arg)
{
	struct race *r = arg;
	struct vintf *v = &r->o->vintf;

	while (!r->stop) {
		vintf_set(v, 0, VCMDQ_CONFIG, VCMDQ_EN);
		vintf_set(v, 0, VCMDQ_PROD, 1);
		if (vintf_get(v, 0, VCMDQ_GERROR) !=
		    vintf_get(v, 0, VCMDQ_GERRORN))
			r->met[MET_REFUSED]++;
		vintf_set(v, 0, VCMDQ_GERRORN, vintf_get(v, 0, VCMDQ_GERROR));
	}
	return NULL;
}

/* Starts the queue whenever it can be started, and says how that went. */
static void *race_eager(void *arg)
{
	struct race *r = arg;
	struct vintf *v = &r->o->vintf;
	__u32 acked, active, off = 0;

	while (!r->stop) {
		/* If it stays off, EN came before the base and had no effect. */
		off = vintf_get(v, 0, VCMDQ_STATUS) ? 0 : off + 1;
		if (off % 1000 == 999)
			vintf_set(v, 0, VCMDQ_CONFIG, 0);
		vintf_set(v, 0, VCMDQ_PROD, 100);
		vintf_set(v, 0, VCMDQ_CONFIG, VCMDQ_EN);
		acked = vintf_get(v, 0, VCMDQ_GERRORN);
		active = vintf_get(v, 0, VCMDQ_GERROR) ^ acked;
		/* The two were read before and after the queue came. */
		if (vintf_get(v, 0, VCMDQ_GERRORN) != acked)
			continue;
		if (active & VCMDQ_GERROR_CMD) {
			r->met[MET_REFUSED]++;
		} else if (active) {
			vintf_set(v, 0, VCMDQ_GERRORN, acked ^ active);
			r->met[MET_BUSY]++;
		}
		r->met[MET_FINE]++;
	}
	return NULL;
}

static bool race_goes_on(struct race *r, enum met kind, unsigned int n)
{
	unsigned int end = r->met[kind] + n;
	int tries = SOON;

	while ((int)(end - r->met[kind]) > 0 && tries--)
		usleep(1000);
	return tries > 0;
}

/* A queue that starts as early as can be does not read its predecessor's page. */
TEST_F(vintf, queue_reads_its_own_memory_only)
{
	const __u64 old = vm_alloc(&self->vm, 1), new = vm_alloc(&self->vm, 1);
	struct vintf *v = &self->o.vintf;
	unsigned int errors, i;
	struct race r;
	struct vcmdq q;

	race_start(&r, &self->o, race_eager);
	for (i = 0; i < 10; i++) {
		/* Zeros, which are no command: the queue stops at once. */
		vcmdq_alloc(&q, v, 0, old);
		ASSERT_TRUE(race_goes_on(&r, MET_REFUSED, 1));
		vcmdq_free(&q);
		ASSERT_TRUE(race_goes_on(&r, MET_FINE, 2));

		errors = r.met[MET_REFUSED];
		memset(vm_ptr(&self->vm, new), 0, GUEST_PAGE);
		q.mem = vm_ptr(&self->vm, new);
		fill_with_syncs(&q);
		vcmdq_alloc(&q, v, 0, new);
		q.prod = 100;
		ASSERT_EQ(0, vcmdq_wait(&q))
			TH_LOG("round %u, status %#x, GERROR %#x, GERRORN %#x",
			       i, vcmdq_get(&q, VCMDQ_STATUS),
			       vcmdq_get(&q, VCMDQ_GERROR),
			       vcmdq_get(&q, VCMDQ_GERRORN));
		ASSERT_EQ(errors, r.met[MET_REFUSED]) TH_LOG("round %u", i);
		vcmdq_free(&q);
	}
	race_stop(&r);
}

/* A storm of errors, while what they go through and come from comes and goes */
TEST_F(vintf, errors_against_destroy)
{
	struct owner *o = &self->o;
	__u64 gpa = vm_alloc(&self->vm, 1);
	unsigned int events = 0, silent = 0, i, n;
	struct race r;

	race_start(&r, o, race_errors);
	for (i = 0; i < 60; i++) {
		vcmdq_alloc(&o->q, &o->vintf, 0, gpa);
		errorq_alloc(&o->vintf, DEPTH, &o->errors);
		iommu_destroy(&self->vm,
			      vdevice_alloc(&self->vm, o->vintf.viommu,
					    o->guest.edu.dev_id, i));
		usleep(i % 4 * 2000);
		if (i & 1)
			vcmdq_free(&o->q);
		n = errors_drain(o);
		events += n;
		silent += !n;
		veventq_free(&self->vm, &o->errors);
		if (!(i & 1))
			vcmdq_free(&o->q);
	}
	race_stop(&r);
	EXPECT_LT(0, r.met[MET_REFUSED]);
	EXPECT_LT(0, events);
	EXPECT_LT(0, silent);
	EXPECT_TRUE(slot_is_clean(&o->vintf, 0));
}

/* One guest's storm does not keep the other from its errors, or its DMA. */
TEST_F(two_guests, storm_of_one_leaves_the_other_alone)
{
	struct owner *o = self->o;
	struct change c;
	struct race r;
	int i;

	fill_with_syncs(&o[0].q);
	vcmdq_overwrite(&o[0].q, 0, cmd_tlbi_nh_all());
	race_start(&r, &o[0], race_errors);
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(refused(&o[1], cmd_tlbi_nh_all()));
		ASSERT_TRUE(stale(&o[1].guest, &c, VA + i * GUEST_PAGE));
		ASSERT_EQ(0, vcmdq_cmd(&o[1].q, cmd_tlbi_nh_va(ASID, c.va)));
		ASSERT_TRUE(goes_after(&o[1].guest, &c));
		r.met[MET_EVENT] += errors_drain(&o[0]);
	}
	race_stop(&r);
	EXPECT_LT(0, r.met[MET_REFUSED]);
	EXPECT_LT(0, r.met[MET_EVENT]);
	/*
	 * The host may be behind. Where an interrupt comes too late to tell whose it
	 * was, a guest in error can be told once more.
	 */
	usleep(200000);
	errors_drain(&o[0]);
	EXPECT_TRUE(errors_name_only(&o[1], 0));
}

/* Two threads of the VMM want the same queue. */
static void *race_queue(void *arg)
{
	struct race *r = arg;
	struct owner *o = r->o;
	__u32 id;
	int rc;

	while (!r->stop) {
		rc = __vcmdq_alloc(&o->vintf, 0, GUEST_RAM, GUEST_PAGE, &id);
		if (rc && rc != -EEXIST)
			die("HW_QUEUE_ALLOC: %s", strerror(-rc));
		r->met[rc ? MET_BUSY : MET_FINE]++;
		if (!rc)
			iommu_destroy(o->vintf.vm, id);
	}
	return NULL;
}

TEST_F(vintf, one_index_for_two_threads)
{
	struct race r[2];
	int i, tries = SOON;

	vm_alloc(&self->vm, 1);
	for (i = 0; i < 2; i++)
		race_start(&r[i], &self->o, race_queue);
	while (tries-- && (r[0].met[MET_FINE] < 200 || r[1].met[MET_FINE] < 200 ||
			   r[0].met[MET_BUSY] + r[1].met[MET_BUSY] < 10))
		usleep(1000);
	for (i = 0; i < 2; i++)
		race_stop(&r[i]);
	EXPECT_LT(0, tries) TH_LOG("fine %u and %u, busy %u and %u",
				   r[0].met[MET_FINE], r[1].met[MET_FINE],
				   r[0].met[MET_BUSY], r[1].met[MET_BUSY]);
	EXPECT_TRUE(slot_is_clean(&self->o.vintf, 0));
}

/* ATC_INVs for a vSID that comes and goes: each passes or is refused. */
static void *race_atc_inv(void *arg)
{
	struct race *r = arg;
	struct owner *o = r->o;

	while (!r->stop) {
		int rc = vcmdq_cmd(&o->q, cmd_atc_inv(5));

		r->met[rc ? MET_REFUSED : MET_FINE]++;
		if (!rc)
			continue;
		vcmdq_skip(&o->q);
		if (vcmdq_wait(&o->q))
			die("the queue does not go on");
	}
	return NULL;
}

TEST_F(one_guest, atc_inv_against_vdevice)
{
	struct owner *o = &self->o;
	struct guest *guest = &o->guest;
	struct race r;
	int i;

	if (no_pair)
		SKIP(return, "%s", no_pair);
	edu_attach(&guest->edu, self->vm.s2);
	iommu_destroy(&self->vm, guest->vdevice);
	race_start(&r, o, race_atc_inv);
	for (i = 0; i < 300; i++) {
		guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
					       guest->edu.dev_id, 5);
		usleep(i % 3 * 1000);
		iommu_destroy(&self->vm, guest->vdevice);
		usleep(i % 3 * 1000);
		errors_drain(o);
	}
	race_stop(&r);
	EXPECT_LT(0, r.met[MET_FINE]);
	EXPECT_LT(0, r.met[MET_REFUSED]);
	ASSERT_EQ(0, vcmdq_cmd(&o->q, cmd_sync()));
	usleep(100000);
	errors_drain(o);
	guest->vdevice = vdevice_alloc(&self->vm, guest->viommu,
				       guest->edu.dev_id, 5);
	edu_attach(&guest->edu, guest->nested);
}

/* ------------------------------------------------------- Everybody at once -- */

/* The host and the VMM: stage 2 changes, and invalidations by ioctl */
static void *race_host(void *arg)
{
	struct race *r = arg;
	struct vm *vm = r->o->guest.vm;
	void *mem = mmap(NULL, 16 * GUEST_PAGE, PROT_READ | PROT_WRITE,
			 MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	__u64 at = DIMM + (__u64)r->o->guest.edu.dev_id * 0x1000000;

	while (!r->stop) {
		vm_map(vm, at, mem, 16 * GUEST_PAGE);
		guest_cmd(&r->o->guest, cmd_tlbi_nh_va(ASID, VA2));
		vm_unmap(vm, at, 16 * GUEST_PAGE);
		r->met[MET_FINE]++;
	}
	munmap(mem, 16 * GUEST_PAGE);
	return NULL;
}

/* The pages that the device reads from and writes to, new ones each time */
static bool copies_page(struct owner *o, unsigned int round)
{
	struct vm *vm = o->guest.vm;
	__u64 from = vm_alloc(vm, 1), to = vm_alloc(vm, 1);
	__u32 *p = vm_ptr(vm, from);
	unsigned int i;

	for (i = 0; i < GUEST_PAGE / 4; i++)
		p[i] = round * 0x9e3779b9 + i * 0x85ebca6b +
		       o->guest.edu.dev_id;
	s1_map(&o->guest.s1, VA, from);
	s1_map(&o->guest.s1, VA + GUEST_PAGE, to);
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA));
	vcmdq_put(&o->q, cmd_tlbi_nh_va(ASID, VA + GUEST_PAGE));
	if (vcmdq_cmd(&o->q, cmd_sync()))
		return false;
	edu_read(&o->guest.edu, VA, 0, GUEST_PAGE);
	edu_write(&o->guest.edu, VA + GUEST_PAGE, 0, GUEST_PAGE);
	return !memcmp(vm_ptr(vm, from), vm_ptr(vm, to), GUEST_PAGE);
}

static void *race_guest(void *arg)
{
	struct race *r = arg;
	unsigned int round;

	for (round = 0; round < 15; round++)
		r->met[copies_page(r->o, round) ? MET_FINE : MET_GONE]++;
	return NULL;
}

/* Another CPU of the guest, and another queue, where there is one */
static void *race_tlbi(void *arg)
{
	struct race *r = arg;
	struct vcmdq q;

	if (max_queues() < 2)
		return NULL;
	vcmdq_alloc(&q, &r->o->vintf, 1, vm_alloc(r->o->guest.vm, 1));
	vcmdq_start(&q);
	while (!r->stop)
		r->met[vcmdq_cmd(&q, cmd_tlbi_nh_asid(ASID)) ? MET_REFUSED :
							       MET_FINE]++;
	vcmdq_free(&q);
	return NULL;
}

TEST_F(two_guests, everybody_invalidates_during_dma)
{
	struct race guest[2], host[2], tlbi[2];
	int i;

	for (i = 0; i < 2; i++)
		race_start(&tlbi[i], &self->o[i], race_tlbi);
	usleep(100000);
	for (i = 0; i < 2; i++)
		race_start(&host[i], &self->o[i], race_host);
	race_start(&guest[1], &self->o[1], race_guest);
	memset(&guest[0], 0, sizeof(guest[0]));
	guest[0].o = &self->o[0];
	race_guest(&guest[0]);
	pthread_join(guest[1].thread, NULL);
	for (i = 0; i < 2; i++) {
		race_stop(&host[i]);
		race_stop(&tlbi[i]);
		EXPECT_EQ(15, guest[i].met[MET_FINE]);
		EXPECT_LT(15, host[i].met[MET_FINE]);
		if (max_queues() > 1)
			EXPECT_LT(15, tlbi[i].met[MET_FINE]);
		EXPECT_EQ(0, tlbi[i].met[MET_REFUSED]);
	}
}

/* ------------------------------------------------------- without the block -- */

/* Where VMs can have nothing of the block, nothing speaks of it. */
TEST(without_block_types_are_refused)
{
	struct iommu_viommu_tegra241_cmdqv data = {};
	struct edu edu;
	struct vm vm;
	__u32 id;

	if (why)
		SKIP(return, "%s", why);
	if (!no_block)
		SKIP(return, "VMs can have VINTFs here");
	vm_init(&vm);
	edu_open(&edu, &vm, edu_own_group(0));
	s2_alloc(&vm, edu.dev_id);
	EXPECT_EQ(-EOPNOTSUPP, hw_info(&vm, edu.dev_id,
				       IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, &hw));
	EXPECT_EQ(-EOPNOTSUPP,
		  __viommu_alloc_data(&vm, edu.dev_id, vm.s2,
				      IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &data,
				      sizeof(data), &id));
	iommu_destroy(&vm, viommu_alloc(&vm, edu.dev_id));
	edu_close(&edu);
	vm_free(&vm);
}

TEST_HARNESS_MAIN
