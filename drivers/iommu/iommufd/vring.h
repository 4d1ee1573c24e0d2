/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ring of a vEVENTQ
 */
#ifndef __IOMMUFD_VRING_H
#define __IOMMUFD_VRING_H

#include <linux/types.h>
#include <uapi/linux/iommufd.h>

/**
 * struct iommufd_vring - Events that wait to be read
 * @slots: @depth records of @size bytes: a header and the event behind it, just as
 *         the reader gets them
 * @depth: How many events can wait
 * @size: Bytes of a record
 * @head: Slot of the oldest event
 * @used: How many events wait, from @head on
 * @next_seq: Sequence of the next event that is reported
 * @lost_seq: Sequence of the newest event that was lost, if @lost
 * @lost: Events were lost after the newest one that waits
 *
 * The sequence counts what is reported, so a reader sees a loss in front of an
 * event as a gap. A loss behind the last event has nothing to show it: @lost.
 */
struct iommufd_vring {
	void *slots;
	u32 depth;
	u32 size;
	u32 head;
	u32 used;
	u32 next_seq;
	u32 lost_seq;
	bool lost;
};

static inline bool iommufd_vring_empty(const struct iommufd_vring *ring)
{
	return !ring->used && !ring->lost;
}

bool iommufd_vring_report(struct iommufd_vring *ring, const void *event,
			  u32 *sequence);
u32 iommufd_vring_peek(const struct iommufd_vring *ring, void **records);
void iommufd_vring_release(struct iommufd_vring *ring, u32 num);
bool iommufd_vring_peek_lost(const struct iommufd_vring *ring,
			     struct iommufd_vevent_header *header);
void iommufd_vring_release_lost(struct iommufd_vring *ring, u32 sequence);

#endif
