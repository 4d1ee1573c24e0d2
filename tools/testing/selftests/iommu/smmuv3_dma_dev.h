/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * viommu-dma, a PCI device of tools/testing/viommu/qemu that has ATS and PASID
 *
 * It is opened, attached and closed as an edu device of smmuv3_lib.h is: a struct edu
 * stands for either. Only the registers differ. The device's ATC holds the answers to
 * its translation requests until an Invalidate Request names them.
 */
#ifndef SELFTEST_SMMUV3_DMA_DEV_H
#define SELFTEST_SMMUV3_DMA_DEV_H

#include "smmuv3_lib.h"

/*
 * One with the PCI ID of a device that Linux knows to stall, as config space has it: the
 * kernel lets its accesses stall.
 */
#define DMA_STALLS_ID	0xa25019e5

/* As edu_find() */
int dma_find(struct edu_slot *slots, int max, const char **why);

/* How a command ends */
enum dma_code {
	DMA_OK,
	DMA_ABORTED,
	DMA_DIFFERS,
	DMA_NO_PERMISSION,	/* the answer is R = W = 0, or lacks the one needed */
	DMA_UNSUPPORTED,	/* Unsupported Request */
	DMA_COMPLETER_ABORT,
	DMA_ATS_OFF,
	DMA_BAD,
	DMA_NO_MASTER,
	DMA_NO_MEMORY,
	DMA_PASID_OFF,
	DMA_CANCELLED,
	DMA_NOT_IN_ATC,
};

/* How an access goes; PASIDs are added with DMA_PASID(n) */
#define DMA_UNTRANSLATED	0
#define DMA_ATC			1	/* by the ATC, which asks for what it lacks */
#define DMA_RAW			2	/* @iova is what the SMMU translated */
#define DMA_WITH_PASID		_BITUL(2)
#define DMA_PASID(n)		(DMA_WITH_PASID | (__u64)(n) << 32)
#define DMA_PATIENT		_BITUL(8)	/* a stall is not cancelled */

/* Writes or reads eight bytes. A stalled access is cancelled: DMA_CANCELLED. */
enum dma_code dma_write(struct edu *edu, __u64 how, __u64 iova, __u64 val);
enum dma_code dma_read(struct edu *edu, __u64 how, __u64 iova, __u64 *val);
/* Sends a translation request for a page, whatever the ATC has. */
enum dma_code dma_request(struct edu *edu, __u64 how, __u64 iova, __u64 *addr);
/* Looks into the ATC, without a request. */
enum dma_code dma_probe(struct edu *edu, __u64 how, __u64 iova, __u64 *addr);

/* As edu_lands(): the gpa of the page that eight bytes arrive at, or NOWHERE */
__u64 dma_lands(struct edu *edu, __u64 how, __u64 iova);
/* The same where the memory in question isn't part of the guest's RAM. */
bool dma_reaches(struct edu *edu, __u64 how, __u64 iova, const void *page);

/*
 * The memory attributes of the last access, as in MAIR: 0xff Write-Back, 0x44
 * Non-cacheable, up to 0x0c Device. -1 if the SMMU does not tell them.
 */
int dma_attr(struct edu *edu);

/*
 * Laps without pause: each writes another pattern of @len bytes to @iova and reads it
 * back. The counters start at 0.
 */
void dma_stream_start(struct edu *edu, __u64 how, __u64 iova, __u64 len);
void dma_stream_stop(struct edu *edu);
#define DMA_LAPS	0xc8	/* that have ended */
#define DMA_LAPS_BAD	0xd0	/* with wrong data */
#define DMA_LAPS_FAILED	0xd8	/* otherwise */

/* Counters, and settings of how the device answers Invalidate Requests */
#define DMA_ATC_COUNT	0x100	/* entries now */
#define DMA_ATC_HITS	0x108
#define DMA_REQUESTS	0x110
#define DMA_INVS	0x120	/* received */
#define DMA_INV_DONE	0x128	/* answered */
#define DMA_INV_MODE	0x130
#define DMA_INV_AT_ONCE	0
#define DMA_INV_LATE	1	/* after DMA_INV_DELAY, ns */
#define DMA_INV_NEVER	2
#define DMA_INV_DELAY	0x138
#define DMA_KNOBS	0x150	/* faults of the device */
/* In a reset it answers neither Invalidate Requests, nor accesses to config space */
#define DMA_KNOB_RESET_SILENT	_BITULL(7)
#define DMA_KNOB_RESET_CONFIG	_BITULL(8)
/* After a reset the link of the port above stays down, until the next one without it */
#define DMA_KNOB_RESET_LINK	_BITULL(9)
#define DMA_INV_INFO	0x160	/* of the last Invalidate Request */
#define DMA_STALLS	0x170
#define DMA_RESET_MS	0x178	/* by which a reset takes longer */

#endif
