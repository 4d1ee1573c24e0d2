// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ring of a vEVENTQ
 *
 * All memory is allocated in advance. Reporting an event allocates nothing, and
 * takes the same time whatever a reader does. A reader copies events out of
 * their slots and gives the slots back afterwards, so no event is overwritten
 * before it has reached user space. The caller serialises all functions here by
 * a lock. A reader must not hold that lock while it copies, so readers need a
 * second lock among themselves.
 */
#include <linux/export.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "event_ring.h"

/**
 * iommufd_event_ring_push - Put an event into the ring
 * @ring: The ring
 * @event: The event, i.e. a record without its header
 * @sequence: Set to the number of the event
 *
 * Context: Any. The ring is locked.
 *
 * Return: true, or false if the ring is full and the event is lost.
 */
bool iommufd_event_ring_push(struct iommufd_event_ring *ring, const void *event,
			     u32 *sequence)
{
	struct iommufd_vevent_header *header;
	u32 tail;

	*sequence = ring->next_seq;
	/* 0 comes after INT_MAX */
	ring->next_seq = (ring->next_seq + 1) & INT_MAX;

	if (ring->used == ring->depth) {
		ring->lost_seq = *sequence;
		ring->lost = true;
		return false;
	}

	tail = ring->head + ring->used;
	if (tail >= ring->depth)
		tail -= ring->depth;

	header = ring->slots + (size_t)tail * ring->size;
	header->flags = 0;
	header->sequence = *sequence;
	memcpy(header + 1, event, ring->size - sizeof(*header));
	ring->used++;
	/* From now on the gap in front of this event shows the loss */
	ring->lost = false;
	return true;
}
EXPORT_SYMBOL_NS_GPL(iommufd_event_ring_push, IOMMUFD_INTERNAL);

/**
 * iommufd_event_ring_peek - Find the oldest events
 * @ring: The ring
 * @records: Set to the first of them; the others follow in memory
 *
 * Context: Any. The ring is locked. Without the lock, the records stay in place
 * until iommufd_event_ring_pop() gives them back.
 *
 * Return: how many records follow each other in memory. The ring may hold more.
 */
u32 iommufd_event_ring_peek(const struct iommufd_event_ring *ring,
			    void **records)
{
	*records = ring->slots + (size_t)ring->head * ring->size;
	return min(ring->used, ring->depth - ring->head);
}
EXPORT_SYMBOL_NS_GPL(iommufd_event_ring_peek, IOMMUFD_INTERNAL);

/**
 * iommufd_event_ring_pop - Give back the slots of the oldest events
 * @ring: The ring
 * @num: How many, at most what iommufd_event_ring_peek() returned
 *
 * Context: Any. The ring is locked.
 */
void iommufd_event_ring_pop(struct iommufd_event_ring *ring, u32 num)
{
	ring->used -= num;
	ring->head += num;
	if (ring->head == ring->depth)
		ring->head = 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_event_ring_pop, IOMMUFD_INTERNAL);

/**
 * iommufd_event_ring_peek_lost - Get the lost-events header if it comes next
 * @ring: The ring
 * @header: Set to the header that the reader gets
 *
 * Context: Any. The ring is locked.
 *
 * Return: true if @header is set, false if an event comes next or the ring is
 * empty.
 */
bool iommufd_event_ring_peek_lost(const struct iommufd_event_ring *ring,
				  struct iommufd_vevent_header *header)
{
	if (ring->used || !ring->lost)
		return false;
	header->flags = IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
	header->sequence = ring->lost_seq;
	return true;
}
EXPORT_SYMBOL_NS_GPL(iommufd_event_ring_peek_lost, IOMMUFD_INTERNAL);

/**
 * iommufd_event_ring_pop_lost - Forget a loss that the reader knows of
 * @ring: The ring
 * @sequence: The number that the reader got; a newer loss is kept
 *
 * Context: Any. The ring is locked.
 */
void iommufd_event_ring_pop_lost(struct iommufd_event_ring *ring, u32 sequence)
{
	if (ring->lost_seq == sequence)
		ring->lost = false;
}
EXPORT_SYMBOL_NS_GPL(iommufd_event_ring_pop_lost, IOMMUFD_INTERNAL);
