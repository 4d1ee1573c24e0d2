// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs with NVIDIA Tegra241 CMDQV: what a VMM can allocate and map, and the error of
 * each mistake
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tegra241_cmdqv_fixtures.h"

/* ---- Without a VINTF ---- */

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
		EXPECT_EQ(EOPNOTSUPP,
			  __hw_info(&self->vm, dev_id,
				    IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, &info,
				    &len, &caps)) TH_LOG("%#x", unknown[i]);
	}
	type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
	len = sizeof(info);
	EXPECT_EQ(EOPNOTSUPP, __hw_info(&self->vm, dev_id, 3, &type, &info,
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
		BAD(iommu_viommu_alloc, size, 20, EINVAL),
		/* Without the data */
		BAD(iommu_viommu_alloc, size, 24, EINVAL),
		BAD(iommu_viommu_alloc, flags, 1, EOPNOTSUPP),
		BAD(iommu_viommu_alloc, flags, 1U << 31, EOPNOTSUPP),
		BAD(iommu_viommu_alloc, type, 0, EOPNOTSUPP),
		BAD(iommu_viommu_alloc, type, 3, EOPNOTSUPP),
		BAD(iommu_viommu_alloc, dev_id, NO_SUCH_ID, ENOENT),
		BAD(iommu_viommu_alloc, dev_id, self->vm.ioas, ENOENT),
		BAD(iommu_viommu_alloc, hwpt_id, NO_SUCH_ID, ENOENT),
		BAD(iommu_viommu_alloc, hwpt_id, self->vm.ioas, ENOENT),
		BAD(iommu_viommu_alloc, hwpt_id, flat, EINVAL),
		BAD(iommu_viommu_alloc, data_len, 0, EINVAL),
		BAD(iommu_viommu_alloc, data_len, 8, EINVAL),
		BAD(iommu_viommu_alloc, data_len, 15, EINVAL),
		BAD(iommu_viommu_alloc, data_len, 17, EINVAL),
		BAD(iommu_viommu_alloc, data_len, 32, EINVAL),
		BAD(iommu_viommu_alloc, data_len, ~0U, EINVAL),
		BAD(iommu_viommu_alloc, __reserved, 1, EOPNOTSUPP),
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
	EXPECT_EQ(ENXIO, __vintf_map(&v[0]));
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

	EXPECT_EQ(EOPNOTSUPP, __errorq_alloc(&plain, DEPTH, &q));
	EXPECT_EQ(EOPNOTSUPP,
		  __vcmdq_alloc(&plain, 0, vm_alloc(&self->vm, 1), GUEST_PAGE,
				&id));
	iommu_destroy(&self->vm, plain.viommu);
}

/* ---- A VINTF, and no queue in it ---- */

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
	EXPECT_EQ(ENXIO, __vintf_map(&other));
	vm_free(&vm);
}

TEST_F(vintf, viommu_is_busy_while_mapped)
{
	struct vintf *v = &self->o.vintf, again = *v;

	EXPECT_EQ(0, __vintf_map(&again));
	EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, v->viommu));
	vintf_unmap(&again);
	EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, v->viommu));
	vintf_unmap(v);
	EXPECT_EQ(0, __iommu_destroy(&self->vm, v->viommu));
	EXPECT_EQ(ENXIO, __vintf_map(&again));
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
	EXPECT_EQ(reads ? EBUSY : 0, __iommu_destroy(&self->vm, v->viommu));
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
	EXPECT_EQ(ENOENT, __vm_unmap(&self->vm, DIMM, VINTF_PAGE));
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
		BAD(iommu_vdevice_alloc, size, 16, EINVAL),
		BAD(iommu_vdevice_alloc, viommu_id, NO_SUCH_ID, ENOENT),
		BAD(iommu_vdevice_alloc, viommu_id, self->vm.s2, ENOENT),
		BAD(iommu_vdevice_alloc, dev_id, NO_SUCH_ID, ENOENT),
		BAD(iommu_vdevice_alloc, dev_id, self->vm.ioas, ENOENT),
		BAD64(iommu_vdevice_alloc, virt_id, 1ULL << VSID_BITS, EINVAL),
		BAD64(iommu_vdevice_alloc, virt_id, 0xffffffff, EINVAL),
		BAD64(iommu_vdevice_alloc, virt_id, 1ULL << 32, EINVAL),
		BAD64(iommu_vdevice_alloc, virt_id, ~0ULL, EINVAL),
	};
	const __u64 fine[] = { 0, 1, VSID20, (1 << VSID_BITS) - 1 };
	__u32 id, again;
	unsigned int i;

	EXPECT_BAD(&self->vm, IOMMU_VDEVICE_ALLOC, good, bad);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, __vdevice_alloc(&self->vm, good.viommu_id,
					     good.dev_id, fine[i], &id))
			TH_LOG("%#llx", fine[i]);
		EXPECT_EQ(EEXIST, __vdevice_alloc(&self->vm, good.viommu_id,
						  good.dev_id, fine[i],
						   &again));
		EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, good.viommu_id));
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
	EXPECT_EQ(EEXIST, __vdevice_alloc(&self->vm, self->o.vintf.viommu,
					  dev_id, 2, &second));
	iommu_destroy(&self->vm, id);
	id = vdevice_alloc(&self->vm, self->o.vintf.viommu, dev_id, 2);
	EXPECT_EQ(EEXIST, __vdevice_alloc(&self->vm, plain, dev_id, 1,
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
		EXPECT_EQ(EEXIST, __vdevice_alloc(&self->vm,
						  self->o.vintf.viommu,
						   edu[i].dev_id, 0, &id[i]));
		rc = __vdevice_alloc(&self->vm, self->o.vintf.viommu,
				     edu[i].dev_id, i, &id[i]);
		EXPECT_EQ(no_pair || i < pairs ? 0 : ENOSPC, rc) TH_LOG("device %u", i);
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
		BAD(iommu_veventq_alloc, size, 24, EINVAL),
		BAD(iommu_veventq_alloc, flags, 1, EOPNOTSUPP),
		BAD(iommu_veventq_alloc, __reserved, 1, EOPNOTSUPP),
		BAD(iommu_veventq_alloc, type, 0, EOPNOTSUPP),
		BAD(iommu_veventq_alloc, type, 3, EOPNOTSUPP),
		BAD(iommu_veventq_alloc, viommu_id, NO_SUCH_ID, ENOENT),
		BAD(iommu_veventq_alloc, viommu_id, self->vm.s2, ENOENT),
		BAD(iommu_veventq_alloc, veventq_depth, 0, EINVAL),
		BAD(iommu_veventq_alloc, veventq_depth, (1 << 19) + 1, EINVAL),
		BAD(iommu_veventq_alloc, veventq_depth, ~0U, EINVAL),
	};
	struct vintf *v = &self->o.vintf;
	struct veventq errors, faults, again;

	EXPECT_BAD(&self->vm, IOMMU_VEVENTQ_ALLOC, good, bad);
	/* QEMU's depth */
	errorq_alloc(v, 1 << 19, &errors);
	EXPECT_EQ(EEXIST, __errorq_alloc(v, DEPTH, &again));
	veventq_alloc(&self->vm, v->viommu, DEPTH, &faults);
	EXPECT_EQ(EEXIST, __veventq_alloc(&self->vm, v->viommu, DEPTH,
					  &again));
	EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, errors.id));
	veventq_free(&self->vm, &errors);
	errorq_alloc(v, 1, &errors);
	veventq_free(&self->vm, &errors);
	veventq_free(&self->vm, &faults);
}

/* ---- HW queues ---- */

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
		BAD(iommu_hw_queue_alloc, size, 32, EINVAL),
		BAD(iommu_hw_queue_alloc, flags, 1, EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, type, 0, EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, type, 2, EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, type, 0xdeadbeef, EOPNOTSUPP),
		BAD(iommu_hw_queue_alloc, viommu_id, NO_SUCH_ID, ENOENT),
		BAD(iommu_hw_queue_alloc, viommu_id, self->vm.s2, ENOENT),
		BAD(iommu_hw_queue_alloc, index, max_queues(), EINVAL),
		BAD(iommu_hw_queue_alloc, index, ~0U, EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 0, EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 1, EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 16, EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 33, EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 48, EINVAL),
		BAD64(iommu_hw_queue_alloc, length, 4095, EINVAL),
		BAD64(iommu_hw_queue_alloc, length, ~0ULL, EOVERFLOW),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, -32ULL,
		      EOVERFLOW),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, DIMM, ENOENT),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, 0, ENOENT),
	};
	/* A length that fits, at an address that is not a multiple of it */
	struct iommu_hw_queue_alloc small = good;
	const struct bad_field base[] = {
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, gpa + 16,
		      EINVAL),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, gpa + 32,
		      EINVAL),
		BAD64(iommu_hw_queue_alloc, nesting_parent_iova, gpa + 1,
		      EINVAL),
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
	EXPECT_EQ(ENOENT, __vcmdq_alloc(&self->o.vintf, 0, DIMM,
					2 * GUEST_PAGE, &id));
	vm_map(&self->vm, DIMM + GUEST_PAGE, mem + GUEST_PAGE, GUEST_PAGE);
	vcmdq_alloc_at(&q, &self->o.vintf, 0, DIMM, mem, VCMDQ_LOG2SIZE + 1);
	vcmdq_start(&q);
	for (i = 0; i < 600; i++)
		ASSERT_EQ(0, vcmdq_cmd(&q, cmd_tlbi_nh_va(ASID, VA)));
	EXPECT_EQ(EBUSY, __vm_unmap(&self->vm, DIMM, GUEST_PAGE));
	EXPECT_EQ(EBUSY, __vm_unmap(&self->vm, DIMM + GUEST_PAGE, GUEST_PAGE));
	vcmdq_free(&q);
	vm_unmap(&self->vm, DIMM, 2 * GUEST_PAGE);

	/* The same two, the other way round */
	vm_map(&self->vm, DIMM, mem + GUEST_PAGE, GUEST_PAGE);
	vm_map(&self->vm, DIMM + GUEST_PAGE, mem, GUEST_PAGE);
	EXPECT_EQ(EFAULT, __vcmdq_alloc(&self->o.vintf, 0, DIMM,
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
		EXPECT_EQ(EIO, __vcmdq_alloc(v, n - 1, gpa, 32, &id));
	for (i = 0; i < n; i++) {
		vcmdq_alloc_at(&q[i], v, i, gpa + 32 * i,
			       vm_ptr(&self->vm, gpa + 32 * i), 1);
		EXPECT_EQ(EEXIST, __vcmdq_alloc(v, i, gpa, 32, &id));
		if (i + 2 < n)
			EXPECT_EQ(EIO, __vcmdq_alloc(v, i + 2, gpa, 32, &id));
		if (i)
			EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm,
							 q[i - 1].id));
	}
	EXPECT_EQ(EINVAL, __vcmdq_alloc(v, n, gpa, 32, &id));
	EXPECT_EQ(EBUSY, __iommu_destroy(&self->vm, v->viommu));
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
	EXPECT_EQ(EBUSY, __vm_unmap(&self->vm, DIMM + 2 * GUEST_PAGE,
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

/* ---- Without the block ---- */

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
	EXPECT_EQ(EOPNOTSUPP, hw_info(&vm, edu.dev_id,
				      IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, &hw));
	EXPECT_EQ(EOPNOTSUPP,
		  __viommu_alloc_data(&vm, edu.dev_id, vm.s2,
				      IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &data,
				      sizeof(data), &id));
	iommu_destroy(&vm, viommu_alloc(&vm, edu.dev_id));
	edu_close(&edu);
	vm_free(&vm);
}

TEST_HARNESS_MAIN
