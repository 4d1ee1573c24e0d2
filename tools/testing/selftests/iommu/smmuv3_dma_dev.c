// SPDX-License-Identifier: GPL-2.0-only
/* viommu-dma for smmuv3_dma_dev.h; its registers are in tools/testing/viommu/qemu/README. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "smmuv3_dma_dev.h"

#define DMA_DEV_ID	0x11ed1234	/* as config space has it */
#define DMA_STATUS	0x18
#define DMA_STATUS_BUSY	_BITULL(0)
#define DMA_STATUS_STALL _BITULL(2)
#define DMA_RESULT	0x20
#define DMA_RESULT2	0x28
#define DMA_RESULT2_ATTR _BITULL(8)
#define DMA_SRC		0x40
#define DMA_DST		0x48
#define DMA_LEN		0x50
#define DMA_BUF		0x58
#define DMA_FLAGS	0x60
#define DMA_PASIDS	0x68
#define DMA_CMD		0x78
#define DMA_CMD_CANCEL	0
#define DMA_CMD_READ	1
#define DMA_CMD_WRITE	2
#define DMA_CMD_TREQ	7
#define DMA_CMD_PROBE	8
#define DMA_S_SRC	0x80
#define DMA_S_DST	0x88
#define DMA_S_LEN	0x90
#define DMA_S_PERIOD	0x98
#define DMA_S_FLAGS	0xa0
#define DMA_S_PASID	0xa8
#define DMA_S_CTRL	0xb8
#define DMA_S_CTRL_STOP	0
#define DMA_S_CTRL_CHECK 1
#define DMA_MEM		0x10000

int dma_find(struct edu_slot *slots, int max, const char **why)
{
	return slot_find(DMA_DEV_ID,
			 "no viommu-dma device (PCI 1234:11ed) behind an SMMUv3",
			 slots, max, why);
}

static enum dma_code dma_run(struct edu *edu, unsigned int cmd, __u64 how,
			     __u64 iova)
{
	bool dst = cmd == DMA_CMD_WRITE;
	__u64 give_up = now_ms() + 60000;
	__u64 status;

	edu_set(edu, dst ? DMA_DST : DMA_SRC, iova);
	edu_set(edu, DMA_LEN, sizeof(__u64));
	edu_set(edu, DMA_BUF, 0);
	edu_set(edu, DMA_FLAGS, (how & 0xff) << (dst ? 8 : 0));
	edu_set(edu, DMA_PASIDS, how >> 32 << (dst ? 32 : 0));
	edu_wmb();
	edu_set(edu, DMA_CMD, cmd);
	while ((status = edu_get(edu, DMA_STATUS)) & DMA_STATUS_BUSY) {
		if (status & DMA_STATUS_STALL && !(how & DMA_PATIENT))
			edu_set(edu, DMA_CMD, DMA_CMD_CANCEL);
		if (now_ms() > give_up)
			die("%s: its DMA does not end", edu->slot->bdf);
	}
	edu_rmb();
	return (status >> 8) & 0xff;
}

enum dma_code dma_write(struct edu *edu, __u64 how, __u64 iova, __u64 val)
{
	edu_set(edu, DMA_MEM, val);
	return dma_run(edu, DMA_CMD_WRITE, how, iova);
}

enum dma_code dma_read(struct edu *edu, __u64 how, __u64 iova, __u64 *val)
{
	enum dma_code code = dma_run(edu, DMA_CMD_READ, how, iova);

	if (code == DMA_OK)
		*val = edu_get(edu, DMA_MEM);
	return code;
}

static enum dma_code dma_ask(struct edu *edu, unsigned int cmd, __u64 how,
			     __u64 iova, __u64 *addr)
{
	enum dma_code code = dma_run(edu, cmd, how, iova);

	if (code == DMA_OK && addr)
		*addr = edu_get(edu, DMA_RESULT);
	return code;
}

enum dma_code dma_request(struct edu *edu, __u64 how, __u64 iova, __u64 *addr)
{
	return dma_ask(edu, DMA_CMD_TREQ, how, iova, addr);
}

enum dma_code dma_probe(struct edu *edu, __u64 how, __u64 iova, __u64 *addr)
{
	return dma_ask(edu, DMA_CMD_PROBE, how, iova, addr);
}

int dma_attr(struct edu *edu)
{
	__u64 val = edu_get(edu, DMA_RESULT2);

	return val & DMA_RESULT2_ATTR ? (int)(val & 0xff) : -1;
}

/* ---- The stream ---- */

void dma_stream_start(struct edu *edu, __u64 how, __u64 iova, __u64 len)
{
	edu_set(edu, DMA_S_SRC, iova);
	edu_set(edu, DMA_S_DST, iova);
	edu_set(edu, DMA_S_LEN, len);
	edu_set(edu, DMA_S_PERIOD, 100000);
	edu_set(edu, DMA_S_FLAGS, (how & 0xff) | (how & 0xff) << 8);
	edu_set(edu, DMA_S_PASID, how >> 32 | how >> 32 << 32);
	edu_wmb();
	edu_set(edu, DMA_S_CTRL, DMA_S_CTRL_CHECK);
}

void dma_stream_stop(struct edu *edu)
{
	edu_set(edu, DMA_S_CTRL, DMA_S_CTRL_STOP);
}

/* ---- Tokens ---- */

/* Neither a descriptor nor a CD has a word like this. */
static __u64 dma_token(void)
{
	static __u64 n;

	return 0xdadadada00000000ULL | ++n;
}

static bool page_has(const void *page, __u64 iova, __u64 token)
{
	return __atomic_load_n((__u64 *)(page + (iova & (GUEST_PAGE - 1))),
			       __ATOMIC_RELAXED) == token;
}

__u64 dma_lands(struct edu *edu, __u64 how, __u64 iova)
{
	__u64 token = dma_token(), off;

	dma_write(edu, how, iova, token);
	for (off = 0; off < GUEST_RAM_SIZE; off += GUEST_PAGE)
		if (page_has(edu->vm->ram + off, iova, token))
			return GUEST_RAM + off;
	return NOWHERE;
}

bool dma_reaches(struct edu *edu, __u64 how, __u64 iova, const void *page)
{
	__u64 token = dma_token();

	dma_write(edu, how, iova, token);
	return page_has(page, iova, token);
}
