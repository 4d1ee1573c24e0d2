// SPDX-License-Identifier: GPL-2.0-only
/* VINTFs, their queues, and the model, for tegra241_cmdqv_lib.h. */
#define _GNU_SOURCE
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tegra241_cmdqv_lib.h"

static_assert(sizeof(struct iommu_viommu_tegra241_cmdqv) == 16, "viommu");
static_assert(sizeof(struct iommu_hw_info_tegra241_cmdqv) == 8, "hw_info");
static_assert(sizeof(struct iommu_vevent_tegra241_cmdqv) == 16, "vevent");
static_assert(sizeof(struct iommu_hw_queue_alloc) == 40, "hw_queue");
static_assert(_IOC_NR(IOMMU_HW_QUEUE_ALLOC) == 0x94, "HW_QUEUE_ALLOC");
static_assert(IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV == 2, "VIOMMU_TYPE");
static_assert(IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV == 2, "VEVENTQ_TYPE");
static_assert(IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV == 1, "HW_QUEUE_TYPE");
static_assert(IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV == 3, "HW_INFO_TYPE");

#define WAIT_MS		60000

/* ---- vIOMMU ---- */

int __viommu_alloc_data(struct vm *vm, __u32 dev_id, __u32 hwpt_id, __u32 type,
			void *data, __u32 len, __u32 *viommu_id)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = type,
		.dev_id = dev_id,
		.hwpt_id = hwpt_id,
		.data_len = len,
		.data_uptr = (uintptr_t)data,
	};

	if (ioctl(vm->iommufd, IOMMU_VIOMMU_ALLOC, &cmd))
		return errno;
	*viommu_id = cmd.out_viommu_id;
	return 0;
}

int __vintf_alloc(struct vintf *vintf, struct vm *vm, __u32 dev_id)
{
	struct iommu_viommu_tegra241_cmdqv data = {};
	int rc;

	memset(vintf, 0, sizeof(*vintf));
	rc = __viommu_alloc_data(vm, dev_id, vm->s2,
				 IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &data,
				 sizeof(data), &vintf->viommu);
	if (rc)
		return rc;
	vintf->vm = vm;
	vintf->offset = data.out_vintf_mmap_offset;
	vintf->length = data.out_vintf_mmap_length;
	return 0;
}

int __vintf_map(struct vintf *vintf)
{
	void *page = mmap(NULL, vintf->length, PROT_READ | PROT_WRITE,
			  MAP_SHARED, vintf->vm->iommufd, vintf->offset);

	if (page == MAP_FAILED)
		return errno;
	vintf->page = page;
	return 0;
}

void vintf_unmap(struct vintf *vintf)
{
	if (munmap(vintf->page, vintf->length))
		die("munmap of page 0: %s", strerror(errno));
	vintf->page = NULL;
}

void vintf_alloc(struct vintf *vintf, struct vm *vm, __u32 dev_id)
{
	must(__vintf_alloc(vintf, vm, dev_id), "VIOMMU_ALLOC of a VINTF");
	must(__vintf_map(vintf), "mmap of page 0");
}

void vintf_free(struct vintf *vintf)
{
	vintf_unmap(vintf);
	iommu_destroy(vintf->vm, vintf->viommu);
}

/* ---- Queues ---- */

int __vcmdq_alloc(struct vintf *vintf, unsigned int index, __u64 gpa,
		  __u64 length, __u32 *id)
{
	struct iommu_hw_queue_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = vintf->viommu,
		.type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
		.index = index,
		.nesting_parent_iova = gpa,
		.length = length,
	};

	if (ioctl(vintf->vm->iommufd, IOMMU_HW_QUEUE_ALLOC, &cmd))
		return errno;
	*id = cmd.out_hw_queue_id;
	return 0;
}

void vcmdq_alloc_at(struct vcmdq *q, struct vintf *vintf, unsigned int index,
		    __u64 gpa, void *mem, unsigned int log2size)
{
	memset(q, 0, sizeof(*q));
	q->vintf = vintf;
	q->index = index;
	q->mem = mem;
	q->log2size = log2size;
	must(__vcmdq_alloc(vintf, index, gpa, VCMDQ_ENTRY << log2size, &q->id),
	     "HW_QUEUE_ALLOC");
}

void vcmdq_alloc(struct vcmdq *q, struct vintf *vintf, unsigned int index,
		 __u64 gpa)
{
	vcmdq_alloc_at(q, vintf, index, gpa, vm_ptr(vintf->vm, gpa),
		       VCMDQ_LOG2SIZE);
}

void vcmdq_free(struct vcmdq *q)
{
	iommu_destroy(q->vintf->vm, q->id);
}

/* 32 bits each, which the compiler neither splits nor drops */
static __le32 *vintf_reg(struct vintf *vintf, unsigned int index,
			 enum vcmdq_reg reg)
{
	return vintf->page + 0x80 * index + reg;
}

__u32 vintf_get(struct vintf *vintf, unsigned int index, enum vcmdq_reg reg)
{
	return le32toh(__atomic_load_n(vintf_reg(vintf, index, reg),
				       __ATOMIC_RELAXED));
}

void vintf_set(struct vintf *vintf, unsigned int index, enum vcmdq_reg reg,
	       __u32 val)
{
	__atomic_store_n(vintf_reg(vintf, index, reg), htole32(val),
			 __ATOMIC_RELAXED);
}

__u32 vcmdq_get(struct vcmdq *q, enum vcmdq_reg reg)
{
	return vintf_get(q->vintf, q->index, reg);
}

void vcmdq_set(struct vcmdq *q, enum vcmdq_reg reg, __u32 val)
{
	vintf_set(q->vintf, q->index, reg, val);
}

bool vcmdq_in_error(struct vcmdq *q)
{
	return vcmdq_get(q, VCMDQ_GERROR) != vcmdq_get(q, VCMDQ_GERRORN);
}

bool __vcmdq_switch(struct vcmdq *q, bool on)
{
	__u64 end = now_ms() + WAIT_MS;

	vcmdq_set(q, VCMDQ_CONFIG, on ? VCMDQ_EN : 0);
	while ((vcmdq_get(q, VCMDQ_STATUS) & VCMDQ_EN) != (on ? VCMDQ_EN : 0)) {
		if (vcmdq_in_error(q) || now_ms() > end)
			return false;
		sched_yield();
	}
	return true;
}

void vcmdq_start(struct vcmdq *q)
{
	if (!__vcmdq_switch(q, true))
		die("queue %u does not start: GERROR %#x", q->index,
		    vcmdq_get(q, VCMDQ_GERROR));
}

static __u32 vcmdq_mask(const struct vcmdq *q)
{
	return (2U << q->log2size) - 1;
}

void vcmdq_overwrite(struct vcmdq *q, __u32 index,
		     struct iommu_viommu_arm_smmuv3_invalidate cmd)
{
	__u32 slot = index & ((1U << q->log2size) - 1);
	__le64 *mem = q->mem + slot * VCMDQ_ENTRY;

	/* A queue that is read meanwhile sees whole words. */
	__atomic_store_n(&mem[0], cmd.cmd[0], __ATOMIC_RELAXED);
	__atomic_store_n(&mem[1], cmd.cmd[1], __ATOMIC_RELAXED);
}

void vcmdq_put(struct vcmdq *q, struct iommu_viommu_arm_smmuv3_invalidate cmd)
{
	vcmdq_overwrite(q, q->prod, cmd);
	q->prod = (q->prod + 1) & vcmdq_mask(q);
}

/* The hardware must see the commands before it is told of them. */
static void vcmdq_wmb(void)
{
#ifdef __aarch64__
	asm volatile("dsb st" : : : "memory");
#else
	__sync_synchronize();
#endif
}

void vcmdq_kick(struct vcmdq *q)
{
	vcmdq_wmb();
	vcmdq_set(q, VCMDQ_PROD, q->prod);
}

int vcmdq_wait(struct vcmdq *q)
{
	__u64 end = now_ms() + WAIT_MS;

	while (VCMDQ_RD(vcmdq_get(q, VCMDQ_CONS)) != q->prod) {
		if ((vcmdq_get(q, VCMDQ_GERROR) ^
		     vcmdq_get(q, VCMDQ_GERRORN)) & VCMDQ_GERROR_CMD)
			return VCMDQ_ERR(vcmdq_get(q, VCMDQ_CONS));
		if (now_ms() > end)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

int vcmdq_cmd(struct vcmdq *q, struct iommu_viommu_arm_smmuv3_invalidate cmd)
{
	vcmdq_put(q, cmd);
	vcmdq_put(q, cmd_sync());
	vcmdq_kick(q);
	return vcmdq_wait(q);
}

void vcmdq_acknowledge(struct vcmdq *q)
{
	vcmdq_wmb();
	vcmdq_set(q, VCMDQ_GERRORN, vcmdq_get(q, VCMDQ_GERROR));
}

void vcmdq_skip(struct vcmdq *q)
{
	vcmdq_overwrite(q, vcmdq_get(q, VCMDQ_CONS), cmd_sync());
	vcmdq_acknowledge(q);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_sync(void)
{
	return cmd_raw(CMD_SYNC, 0);
}

struct iommu_viommu_arm_smmuv3_invalidate cmd_atc_inv(__u32 vsid)
{
	/* Size 52: all that the device has cached */
	return cmd_raw(CMD_ATC_INV | (__u64)vsid << 32, 52);
}

/* ---- Errors ---- */

int __errorq_alloc(struct vintf *vintf, __u32 depth, struct veventq *q)
{
	return __veventq_alloc_type(vintf->vm, vintf->viommu,
				    IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, depth,
				    q);
}

void errorq_alloc(struct vintf *vintf, __u32 depth, struct veventq *q)
{
	must(__errorq_alloc(vintf, depth, q), "VEVENTQ_ALLOC for errors");
}

bool errorq_read(struct veventq *q, struct vcmdq_event *event, int ms)
{
	ssize_t n;

	if (!vevent_wait(q, ms))
		return false;
	n = read(q->fd, event, sizeof(*event));
	if (n == sizeof(event->header))
		return event->header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
	if (n != sizeof(*event))
		die("read of a vEVENTQ: %zd", n);
	return true;
}

/* ---- The block itself ---- */

/* The kernel names its memory after the ACPI device. */
static __u64 block_base(void)
{
	unsigned long long base = 0, start, end;
	char line[256], name[128];
	FILE *f = fopen("/proc/iomem", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %llx-%llx : %127s", &start, &end,
			   name) == 3 && !strncmp(name, "NVDA200C", 8))
			base = start;
	if (f)
		fclose(f);
	return base;
}

const __le32 *block_map(void)
{
	__u64 base = block_base();
	void *regs;
	int fd;

	if (!base)
		return NULL;
	fd = open("/dev/mem", O_RDONLY | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	regs = mmap(NULL, BLOCK_SIZE, PROT_READ, MAP_SHARED, fd, base);
	close(fd);
	return regs == MAP_FAILED ? NULL : regs;
}

__u32 block_get(const __le32 *block, unsigned int reg)
{
	return le32toh(__atomic_load_n(&block[reg / 4], __ATOMIC_RELAXED));
}

bool block_has_guest(const __le32 *block, unsigned int v)
{
	return v && block_get(block, BLOCK_VINTF(v)) & BLOCK_EN;
}

/* Its output without the line end; false if it failed */
static bool model_ask(const char *name, const char *value, char *out,
		      size_t size)
{
	char cmd[256], rest[256];
	bool got;
	FILE *f;

	snprintf(cmd, sizeof(cmd), "knob %s %s 2>/dev/null", name, value);
	fflush(stdout);
	f = popen(cmd, "re");
	if (!f)
		return false;
	got = fgets(out, size, f);
	if (!got)
		out[0] = 0;
	while (fgets(rest, sizeof(rest), f))
		;
	out[strcspn(out, "\n")] = 0;
	return !pclose(f);
}

bool model_get(const char *name, char *value, size_t size)
{
	return model_ask(name, "", value, size);
}

bool model_set(const char *name, const char *value)
{
	char out[256], quoted[128];

	snprintf(quoted, sizeof(quoted), "'%s'", value);
	return model_ask(name, quoted, out, sizeof(out));
}

unsigned long long model_count(const char *name)
{
	char value[64];

	if (!model_get(name, value, sizeof(value)))
		die("the model has no %s", name);
	return strtoull(value, NULL, 10);
}
