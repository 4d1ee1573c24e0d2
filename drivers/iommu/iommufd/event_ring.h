/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ring of a vEVENTQ
 */
#ifndef __IOMMUFD_EVENT_RING_H
#define __IOMMUFD_EVENT_RING_H

#include <linux/types.h>
#include <uapi/linux/iommufd.h>

/**
 * struct iommufd_event_ring - Events that wait to be read
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
struct iommufd_event_ring {
	void *slots;
	u32 depth;
	u32 size;
	u32 head;
	u32 used;
	u32 next_seq;
	u32 lost_seq;
	bool lost;
};

static inline bool
iommufd_event_ring_empty(const struct iommufd_event_ring *ring)
{
	return !ring->used && !ring->lost;
}

bool iommufd_event_ring_push(struct iommufd_event_ring *ring, const void *event,
			     u32 *sequence);
u32 iommufd_event_ring_peek(const struct iommufd_event_ring *ring,
			    void **records);
void iommufd_event_ring_pop(struct iommufd_event_ring *ring, u32 num);
bool iommufd_event_ring_peek_lost(const struct iommufd_event_ring *ring,
				  struct iommufd_vevent_header *header);
void iommufd_event_ring_pop_lost(struct iommufd_event_ring *ring, u32 sequence);

#endif
