/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a VMM and its guest do with NVIDIA Tegra241 CMDQV: a VINTF, which comes
 * with a vIOMMU, command queues in the guest's memory, and the page of registers
 * by which the guest drives them. See smmuv3_lib.h for the rest of the VMM.
 *
 * As there, a function with two underscores in front returns 0 or an
 * errno, and one without them succeeds or ends the program.
 */
#ifndef SELFTEST_TEGRA241_CMDQV_LIB_H
#define SELFTEST_TEGRA241_CMDQV_LIB_H

#include "smmuv3_lib.h"
#include "smmuv3_vevent.h"

#define VINTF_PAGE	0x10000UL
#define VCMDQ_ENTRY	16UL		/* bytes of a command */
#define VSID_BITS	20

/* A queue of one page, the largest that is contiguous in any memory */
#define VCMDQ_LOG2SIZE	8

/* ---- vIOMMU ---- */

/* A vIOMMU of type TEGRA241_CMDQV and page 0 of its VINTF */
struct vintf {
	struct vm *vm;
	__u32 viommu;
	__u64 offset, length;	/* what VIOMMU_ALLOC told of page 0 */
	void *page;
};

/* IOMMU_VIOMMU_ALLOC with @len bytes of data */
int __viommu_alloc_data(struct vm *vm, __u32 dev_id, __u32 hwpt_id, __u32 type,
			void *data, __u32 len, __u32 *viommu_id);
/* The vIOMMU on vm->s2, without the mapping */
int __vintf_alloc(struct vintf *vintf, struct vm *vm, __u32 dev_id);
int __vintf_map(struct vintf *vintf);
void vintf_unmap(struct vintf *vintf);
/* The vIOMMU and the mapping */
void vintf_alloc(struct vintf *vintf, struct vm *vm, __u32 dev_id);
void vintf_free(struct vintf *vintf);

/* ---- Queues ---- */

struct vcmdq {
	struct vintf *vintf;
	unsigned int index;
	unsigned int log2size;
	__u32 id;
	void *mem;		/* where the VMM sees its commands */
	__u32 prod;		/* wrap bit included; what the guest wrote last */
};

/* Registers of page 0, 0x80 bytes a queue */
enum vcmdq_reg {
	VCMDQ_CONS	= 0x00,
	VCMDQ_PROD	= 0x04,
	VCMDQ_CONFIG	= 0x08,
	VCMDQ_STATUS	= 0x0c,
	VCMDQ_GERROR	= 0x10,
	VCMDQ_GERRORN	= 0x14,
};

#define VCMDQ_RD(cons)		((cons) & 0xfffff)
#define VCMDQ_ERR(cons)		((cons) >> 24 & 0x7f)
#define VCMDQ_EN		_BITUL(0)
#define VCMDQ_GERROR_CMD	_BITUL(0)

/* CONS.ERR */
#define VCMDQ_ERR_ILLEGAL	1
#define VCMDQ_ERR_ABORT		2
#define VCMDQ_ERR_ATC_TIMEOUT	3
#define VCMDQ_ERR_FORBIDDEN	4

int __vcmdq_alloc(struct vintf *vintf, unsigned int index, __u64 gpa,
		  __u64 length, __u32 *id);
/* A queue of one page in the guest's memory, not started */
void vcmdq_alloc(struct vcmdq *q, struct vintf *vintf, unsigned int index,
		 __u64 gpa);
/* The same of any size in memory that the VMM has mapped at @gpa */
void vcmdq_alloc_at(struct vcmdq *q, struct vintf *vintf, unsigned int index,
		    __u64 gpa, void *mem, unsigned int log2size);
void vcmdq_free(struct vcmdq *q);

__u32 vintf_get(struct vintf *vintf, unsigned int index, enum vcmdq_reg reg);
void vintf_set(struct vintf *vintf, unsigned int index, enum vcmdq_reg reg,
	       __u32 val);
__u32 vcmdq_get(struct vcmdq *q, enum vcmdq_reg reg);
void vcmdq_set(struct vcmdq *q, enum vcmdq_reg reg, __u32 val);
/* Is an error active? It is while GERROR differs from GERRORN. */
bool vcmdq_in_error(struct vcmdq *q);

/* Write CONFIG and wait until STATUS says the same; false if it never does. */
bool __vcmdq_switch(struct vcmdq *q, bool on);
void vcmdq_start(struct vcmdq *q);

/* Write a command into the queue's memory. The hardware does not know yet. */
void vcmdq_put(struct vcmdq *q, struct iommu_viommu_arm_smmuv3_invalidate cmd);
/* Overwrite the command at @index, which counts as PROD and CONS do. */
void vcmdq_overwrite(struct vcmdq *q, __u32 index,
		     struct iommu_viommu_arm_smmuv3_invalidate cmd);
/* Tell the hardware of all that was put. */
void vcmdq_kick(struct vcmdq *q);
/*
 * Wait until the hardware has executed everything: 0. If it stops before:
 * CONS.ERR. If nothing happens for a minute: -ETIMEDOUT.
 */
int vcmdq_wait(struct vcmdq *q);
/* This command and a CMD_SYNC: the three above */
int vcmdq_cmd(struct vcmdq *q, struct iommu_viommu_arm_smmuv3_invalidate cmd);
/* Acknowledge the error. The queue goes on at the command that it stopped at. */
void vcmdq_acknowledge(struct vcmdq *q);
/* What Linux does in a guest: that command becomes a CMD_SYNC before. */
void vcmdq_skip(struct vcmdq *q);

struct iommu_viommu_arm_smmuv3_invalidate cmd_sync(void);
struct iommu_viommu_arm_smmuv3_invalidate cmd_atc_inv(__u32 vsid);

/* IHI0070 section 4.7.3: how CMD_SYNC says that it is complete */
#define CMD_SYNC_0_CS_IRQ	_BITULL(12)
#define CMD_SYNC_0_CS_SEV	(2ULL << 12)
#define CMD_SYNC_0_MSH_ISH	(3ULL << 22)
#define CMD_SYNC_0_MSIATTR_WB	(0xfULL << 24)
#define CMD_SYNC_0_MSIDATA(x)	((__u64)(x) << 32)

/* ---- Errors ---- */

/* What read() of a vEVENTQ of type TEGRA241_CMDQV gives */
struct vcmdq_event {
	struct iommufd_vevent_header header;
	struct iommu_vevent_tegra241_cmdqv record;
};

int __errorq_alloc(struct vintf *vintf, __u32 depth, struct veventq *q);
void errorq_alloc(struct vintf *vintf, __u32 depth, struct veventq *q);
/* The next event within @ms. False: there is none. */
bool errorq_read(struct veventq *q, struct vcmdq_event *event, int ms);

/* ---- The block itself ---- */

/*
 * The registers that belong to the host, by /dev/mem: for what no other
 * interface tells. NULL where they cannot be had.
 */
#define BLOCK_SIZE		0x10000UL
#define BLOCK_PARAM		0x0004
#define BLOCK_ALLOC(q)		(0x0200 + 4 * (q))
#define BLOCK_VINTF(v)		(0x1000 + 0x100 * (v))
#define BLOCK_VINTF_STATUS(v)	(BLOCK_VINTF(v) + 0x04)
#define BLOCK_SID_MATCH(v, s)	(BLOCK_VINTF(v) + 0x40 + 4 * (s))
#define BLOCK_SID_REPLACE(v, s)	(BLOCK_VINTF(v) + 0x80 + 4 * (s))
#define BLOCK_EN		_BITUL(0)

const __le32 *block_map(void);
__u32 block_get(const __le32 *block, unsigned int reg);
/* Is VINTF @v on, and does it belong to a guest? */
bool block_has_guest(const __le32 *block, unsigned int v);

/*
 * QEMU's model of the block has counters and switches. "knob", a program of the
 * machine, reads and sets them. False: no model, or it refuses.
 */
bool model_get(const char *name, char *value, size_t size);
bool model_set(const char *name, const char *value);
unsigned long long model_count(const char *name);

#endif
