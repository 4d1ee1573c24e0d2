/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The events of an SMMUv3: those that a VMM reads for its guest, and those that
 * stay in the host's log. See smmuv3_lib.h for the rest of the VMM.
 */
#ifndef SELFTEST_SMMUV3_VEVENT_H
#define SELFTEST_SMMUV3_VEVENT_H

#include "smmuv3_lib.h"

/* What read() of a vEVENTQ gives, event by event */
struct vevent {
	struct iommufd_vevent_header header;
	struct iommu_vevent_arm_smmuv3 record;
};

struct veventq {
	__u32 id;
	int fd;
};

int __veventq_alloc_type(struct vm *vm, __u32 viommu_id, __u32 type,
			 __u32 depth, struct veventq *q);
/* One for events of type IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 */
int __veventq_alloc(struct vm *vm, __u32 viommu_id, __u32 depth,
		    struct veventq *q);
void veventq_alloc(struct vm *vm, __u32 viommu_id, __u32 depth,
		   struct veventq *q);
/* Closes and destroys it. */
void veventq_free(struct vm *vm, struct veventq *q);

/* Is there something to read, now or within so many milliseconds? */
bool vevent_wait(struct veventq *q, int ms);
/*
 * Reads what is there, up to @max events, without waiting. A header that tells of
 * lost events counts as an event, and is the last. Returns how many.
 */
unsigned int vevent_read(struct veventq *q, struct vevent *events,
			 unsigned int max);
static inline bool vevent_lost(const struct vevent *event)
{
	return event->header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
}

/* IHI0070 section 7.3: what a record says */
enum evt_id {
	EVT_C_BAD_STE		= 0x04,
	EVT_F_STREAM_DISABLED	= 0x06,
	EVT_C_BAD_SUBSTREAMID	= 0x08,
	EVT_F_CD_FETCH		= 0x09,
	EVT_C_BAD_CD		= 0x0a,
	EVT_F_WALK_EABT		= 0x0b,
	EVT_F_TRANSLATION	= 0x10,
	EVT_F_ADDR_SIZE		= 0x11,
	EVT_F_ACCESS		= 0x12,
	EVT_F_PERMISSION	= 0x13,
};

enum evt_class {
	EVT_CLASS_CD,	/* the SMMU's access to a CD */
	EVT_CLASS_TT,	/* to a translation table */
	EVT_CLASS_IN,	/* the device's own */
};

struct evt {
	__u8 id;
	bool ssv, stall, pnu, ind, rnw, s2;
	__u8 class;
	__u16 stag;
	__u32 ssid;
	__u32 sid;
	__u64 addr;	/* what the device asked for */
	__u64 ipa;	/* what stage 2 was asked for */
};

struct evt evt_decode(const __u64 words[4]);
struct evt vevent_decode(const struct vevent *event);
const char *evt_name(__u8 id);

/* Waits for the next event, far longer than it takes. */
bool next_event(struct veventq *q, struct vevent *event);
/*
 * Waits for the next event and decodes it. Returns true if it is one of stage 1 that
 * does not stall, with this ID and this vSID; prints it otherwise.
 */
bool next_is(struct veventq *q, struct evt *evt, __u8 id, __u32 sid);
void evt_print(const struct evt *evt);
bool is_empty(struct veventq *q);
/* Is it what a DMA of four bytes to an address that stage 1 does not map makes? */
bool is_poke(const struct vevent *event, __u32 sequence, __u32 sid, __u64 va);

#define EXPECT_POKE(q, sequence, sid, va)                                     \
	do {                                                                  \
		struct vevent __event;                                        \
									      \
		ASSERT_TRUE(next_event(q, &__event));                         \
		EXPECT_TRUE(is_poke(&__event, sequence, sid, va));            \
	} while (0)

/* The host's log, from where it is opened on */
struct klog {
	int fd;
	char line[1024];	/* the last one that klog_event() looked for */
};

void klog_open(struct klog *klog);
void klog_close(struct klog *klog);
/*
 * The next event that the SMMU's driver reports there, within so many
 * milliseconds. The driver reports no more than ten in five seconds.
 */
bool klog_event(struct klog *klog, struct evt *evt, int ms);

#endif
