// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who gets the events of a device: a model of vsmmu_lock, attach, vDEVICE destroy
 * and the event thread, for spin. tests/60-model.sh searches all of it.
 *
 * There are two guests, A and B, and a device that goes from one to the other and
 * to the host. A guest is a vSMMU with one vEVENTQ. The processes run without end:
 *
 *  hw         the SMMU: puts a record into its queue for a fault of the device, or
 *             of some other device. The record is stamped with the guest whose STE
 *             was used and the vSID that the device had there. The real one has no
 *             such stamp: it is what the properties are checked against.
 *  evt        the event thread
 *  vmm        attaches the device, makes vDEVICEs, unbinds and removes the device
 *  destroyer  IOMMU_DESTROY of the vDEVICE, and of A's vEVENTQ and vSMMU, which it
 *             also makes again. B's stay: the guests differ in nothing else.
 *  sibling    another device of the same IOMMU group that comes and goes
 *  stop       at any time lets the others finish what they do, and begin no more, so
 *             that a deadlock of any of them becomes an end state, which spin finds
 *
 * Searched at once it would be too large. So there are four configurations, each of
 * which leaves out what the others have, and bounds nothing else:
 *
 *  ROUTES     both guests, two vSIDs of A, attach and vDEVICEs
 *  LIFETIMES  guest A, and everything that can be freed
 *  LOCKS      guest A, sibling and stop; the vSMMU stays
 *  NUMBERS    guest A and other devices' records: how first_event is reckoned
 *
 * The numbers of events are kept relative to what the event thread has taken, so
 * there are few states of them however many events there were.
 *
 * What a HWPT can be is reduced to what matters here: nested and translating; nested
 * in bypass or abort, where no vDEVICE is pinned and the device may fault or may not
 * (A only); and everything else, blocked included, which is HOST.
 *
 * What the model trusts: once CMD_SYNC for the new STE has completed, the SMMU
 * writes no more records that the old STE caused. -DLATE_EVENT takes that away.
 *
 * Properties:
 *  - the event thread never touches a master, vSMMU or vEVENTQ that was freed
 *  - an event that a guest gets happened under that guest's STE, and the device has
 *    still, or again, no other; it carries the vSID that the device had then and
 *    that it has now
 *  - an event that happened while the guest stood as the receiver is not withheld,
 *    unless the guest ceased to be the receiver since (ROUTES, NUMBERS)
 *  - a device whose nested domain translates has a vDEVICE
 *  - no deadlock
 *
 * Each MUT_ takes away one thing that the properties rest on, and the test sees them
 * fail. With REACH, delivery of events with that stamp fails: it shows that there is
 * such a thing at all.
 */

/* Guests. No number, where a vSID is meant, is 0 as well. */
#define HOST	0
#define A	1
#define B	2

/*
 * Records that wait in the SMMU's queue; one more is in the hands of the event
 * thread. Two is the least for which PROD, which counts modulo four then, can do.
 */
#ifdef NUMBERS
#define SIZE	2
#define MASK	(2 * SIZE - 1)
#else
#define SIZE	1
#define MASK	7
#endif

/* Where only locks matter, one record at a time will do */
#ifdef LOCKS
#define HAS_ROOM	(!count && !hand)
#else
#define HAS_ROOM	(count < SIZE)
#endif

/*
 * A record: that of another device, or the stamp; STANDS is set if it must arrive.
 * HOST's stamp also stands for a guest's device that has no vSID.
 */
#define OTHER		0
#define STAMP(g, id)	(1 + (g) * 3 + (id))
#if defined(LIFETIMES) || defined(LOCKS)
#define STANDS		0
#else
#define STANDS		16
#endif

byte ev[2], count;	/* the hardware's queue, the oldest record first */
byte hand;		/* the record that the event thread has taken */
bit uncounted;		/* it has, but evtq->taken does not yet say so */

/* The STE. Until CMD_SYNC has completed the SMMU may use the one before. */
byte ste, ste_before;

/* struct arm_smmu_master */
bit master_alive = 1, in_tree = 1;
byte vsmmu, vsid;
byte first;		/* 1 + first_event - taken, not below 0 */

/* A read of taken that the event thread may overtake */
bit reading;
byte overtaken;
#ifdef MUT_PROD_BEFORE_TAKEN
byte prod;		/* PROD as it was read, relative to taken at that time */
#endif

/* The device in iommufd, attached to this */
byte domain;
bit translates;
byte vdev;		/* idev->vdev: 1 + index into what follows, or 0 */

/* vDEVICE objects: one is in use while another is still being destroyed */
byte users[2], owner[2], virt_id[2];	/* owner is set until it is freed */
bit pinned[2];

/* A's vSMMU, and its vEVENTQ */
bit vsmmu_alive = 1, veventq_linked = 1, veventq_alive = 1;
byte vsmmu_users = 1;

/* Locks. Of vsmmu_lock's readers there is but the event thread. */
bit igroup_lock, group_mutex, asid_lock, streams_mutex, veventq_lock;
bit vsmmu_write, vsmmu_read;

bit stopping;

#define VDEV		(vdev - 1)
#define VSID_OF(g)	((vdev && owner[VDEV] == (g)) -> virt_id[VDEV] : 0)
#define STAMP_OF(g)	((g) == HOST || !VSID_OF(g) -> STAMP(HOST, 0) : STAMP(g, VSID_OF(g)))

inline lock(l)
{
	atomic { !l -> l = 1 }
}

inline unlock(l)
{
	l = 0
}

#ifdef LOCKS
inline lock_group()
{
	lock(group_mutex)
}

inline unlock_group()
{
	unlock(group_mutex)
}
#else
inline lock_group()
{
	skip
}

inline unlock_group()
{
	skip
}
#endif

inline vsmmu_put(g)
{
	if
	:: g == A ->
		assert(vsmmu_alive && vsmmu_users);
		vsmmu_users--
	:: else
	fi
}

inline vsmmu_get(g)
{
	if
	:: g == A -> vsmmu_users++
	:: else
	fi
}

/* What is queued is not owed to the previous receiver any more */
inline void_stands()
{
	ev[0] = ev[0] & ~STANDS;
	ev[1] = ev[1] & ~STANDS;
	hand = hand & ~STANDS
}

/* arm_smmu_master_set_vsmmu() */
inline set_vsmmu(g, id)
{
	assert(asid_lock && master_alive);
	if
	:: vsmmu == g && vsid == id
	:: else ->
		atomic { !vsmmu_write && !vsmmu_read -> vsmmu_write = 1 }
#ifdef MUT_STREAMS_UNDER_VSMMU_LOCK
		lock(streams_mutex);
#endif
		d_step { vsmmu = g; void_stands() }
		vsid = id;
		do
		:: !vsmmu -> break
		:: else ->
#ifndef MUT_PROD_BEFORE_TAKEN
			d_step { reading = 1; overtaken = 0 }
			/* taken + ((prod - taken) & mask), less what taken is now */
			d_step {
				first = (count + uncounted + overtaken) & MASK;
				first = (first + 1 > overtaken -> first + 1 - overtaken : 0)
			}
#else
			/* What the mb() prevents: the loop only sees taken change later */
			d_step { reading = 1; overtaken = 0; prod = count + uncounted }
			d_step {
				first = 1 + ((prod + 2 * (MASK + 1) - overtaken) & MASK);
				overtaken = 0;
				prod = 0
			}
#endif
#ifndef MUT_TAKEN_READ_ONCE
			if
			:: overtaken -> skip
			:: else ->
				break
			fi
#else
			break
#endif
		od;
		atomic { reading = 0; overtaken = 0 }
#ifdef MUT_STREAMS_UNDER_VSMMU_LOCK
		unlock(streams_mutex);
#endif
		vsmmu_write = 0
	fi
}

/* CMD_CFGI_STE and CMD_SYNC included */
inline install_ste(g)
{
	if
	:: ste != g ->
#if defined(LIFETIMES) || defined(LOCKS)
		d_step { ste = g; ste_before = g }
#else
		d_step { ste_before = ste; ste = g };
#ifndef LATE_EVENT
		ste_before = g
#endif
#endif
	:: else
	fi
}

inline attach_prepare(g, id)
{
#ifdef MUT_STORE_BEFORE_STE
	set_vsmmu(g, id)
#else
#ifndef MUT_CLEAR_IN_COMMIT
	if
	:: vsmmu != g || vsid != id -> set_vsmmu(HOST, 0)
	:: else
	fi
#else
	skip
#endif
#endif
}

inline attach_commit(g, id)
{
#ifndef MUT_STORE_BEFORE_STE
	set_vsmmu(g, id)
#else
	skip
#endif
}

/* iommufd_device_set_pinned() */
inline set_pinned(pins)
{
	if
	:: vdev ->
		if
		:: pinned[VDEV] ->
			assert(users[VDEV] > 1 || !pins);
			users[VDEV]--
		:: else
		fi;
		pinned[VDEV] = pins
	:: else
	fi
}

/* iommufd_vdevice_disconnect(), arm_vsmmu_vdevice_destroy() */
inline disconnect()
{
	assert(igroup_lock && vdev);
#ifndef MUT_ASID_BEFORE_IGROUP
	lock(asid_lock);
#endif
#ifndef MUT_VDEVICE_LEAVES_PAIR
	if
	:: vsmmu == owner[VDEV] -> set_vsmmu(HOST, 0)
	:: else
	fi;
#endif
	d_step { vdev = 0; unlock(asid_lock) }
}

/* iommufd_vdevice_destroy() is through */
inline vdevice_free(i)
{
	d_step {
		assert(!users[i] && vdev != i + 1);
		vsmmu_put(owner[i]);
		owner[i] = HOST;
		virt_id[i] = 0;
		pinned[i] = 0;
		i = 0
	}
}

active proctype hw()
{
	byte g;

end:	do
#ifdef NUMBERS
	:: d_step {
		!stopping && count < SIZE ->
		ev[count] = OTHER;
		count++
	   }
#endif
	:: atomic {
		!stopping && HAS_ROOM && in_tree ->
		if
		:: g = ste
		:: ste_before != ste -> g = ste_before
		fi;
		d_step {
			/* It has one, or the guest could not be told who it was */
			assert(!(translates && domain == g && ste_before == g && !VSID_OF(g)));
			ev[count] = STAMP_OF(g);
			if
			:: vsmmu && !vsmmu_write && ev[count] == STAMP(vsmmu, vsid) &&
			   ste == g && ste_before == g ->
				ev[count] = ev[count] | STANDS
			:: else
			fi;
			count++;
			g = 0
		}
	   }
	od
}

#ifndef MUT_NO_FIRST_EVENT
#define IS_RECENT	!first
#else
#define IS_RECENT	true
#endif

/* arm_smmu_vevent_report() and iommufd_viommu_report_event(); in hand is @hand */
inline forward(g, id)
{
	assert(master_alive);
#ifndef MUT_NO_VSMMU_LOCK
	atomic { !vsmmu_write -> vsmmu_read = 1 }
#endif
	if
	:: atomic { vsmmu && IS_RECENT -> g = vsmmu }
	   id = vsid;
	   if
	   :: g == A ->
		assert(vsmmu_alive);
#ifndef MUT_NO_VEVENTQ_LOCK
		lock(veventq_lock);
#endif
		if
		:: veventq_linked ->
			delivered(g, id);
			assert(veventq_alive)
		:: else
		fi;
		assert(vsmmu_alive);
		unlock(veventq_lock)
	   :: else ->
		delivered(g, id)
	   fi
	:: else ->
		assert(!(hand & STANDS))
	fi;
	assert(master_alive);
	d_step { g = 0; id = 0; vsmmu_read = 0 }
}

inline delivered(g, id)
{
	d_step {
		assert((hand & ~STANDS) == STAMP(g, id));
		assert(ste == g && ste_before == g);
		assert(VSID_OF(g) == id);
#ifdef REACH
		/* Not a mutation: that each can happen at all */
		assert(STAMP(g, id) != REACH);
#endif
	}
}

active proctype evt()
{
	byte g, id;

end:	do
	:: d_step {
		count ->
		hand = ev[0];
		ev[0] = ev[1];
		ev[1] = 0;
		count--;
		uncounted = 1
	   }
	   d_step {
		uncounted = 0;
		first = (first -> first - 1 : 0);
		if
		:: reading && overtaken <= MASK -> overtaken++
		:: else
		fi
	   }
	   if
	   :: hand == OTHER
	   :: else ->
		lock(streams_mutex);
		if
		:: in_tree ->
#ifdef MUT_NO_STREAMS_MUTEX
			unlock(streams_mutex);
#endif
			forward(g, id)
		:: else
		fi;
#ifndef MUT_NO_STREAMS_MUTEX
		d_step { unlock(streams_mutex); hand = 0 }
#else
		hand = 0
#endif
	   fi
	od
}

/*
 * iommufd_hw_pagetable_attach(), _detach() and replace, which differ in nothing that
 * matters here; the caller has a HWPT of @g, and the one that was attached it frees.
 */
inline attach(g, t, to, id)
{
	lock(igroup_lock);
	/* iommufd_vdev_pin_prepare(), and the driver's look at the vDEVICE */
	d_step {
		if
		:: t && (!vdev || owner[VDEV] != g || !users[VDEV]) -> ok = 0
		:: else ->
			ok = 1;
#ifndef MUT_NO_PIN
			if
			:: t -> users[VDEV]++
			:: else
			fi;
#endif
			if
			:: g -> id = VSID_OF(g)
			:: else
			fi;
			to = (id -> g : HOST)
		fi
	}
	if
	:: !ok -> d_step { vsmmu_put(g); unlock(igroup_lock) }
	:: else ->
		lock_group();
		lock(asid_lock);
		attach_prepare(to, id);
		install_ste(g);
		attach_commit(to, id);
		unlock(asid_lock);
		unlock_group();
		/* iommufd_vdev_pin_commit() */
		d_step {
#ifndef MUT_NO_PIN
			set_pinned(t);
#endif
			/* The old HWPT can be destroyed as soon as the lock is gone */
			vsmmu_put(domain);
			domain = g;
			translates = t;
			unlock(igroup_lock)
		}
	fi;
	d_step { g = 0; t = 0; to = 0; id = 0; ok = 0 }
}

/* iommufd_device_destroy(); then the device goes altogether, and comes again */
inline unbind(i)
{
	bit evict;

	lock(igroup_lock);
	/* iommufd_vdev_pin_leave(): the group stays attached by another device */
	if
	:: domain ->
		lock_group();
		lock(asid_lock);
		set_vsmmu(HOST, 0);
		install_ste(HOST);
		unlock(asid_lock);
		unlock_group();
		d_step {
			translates = 0;
			set_pinned(0)
		}
	:: else
	fi;
	if
	:: vdev ->
		i = vdev - 1;
		disconnect();
		d_step {
			if
			:: users[i] -> users[i]++; evict = 1
			:: else -> i = 0
			fi
		}
	:: else
	fi;
#ifndef MUT_EVICT_UNDER_IGROUP
	unlock(igroup_lock);
#endif
	/* iommufd_vdevice_evict() */
	if
	:: evict ->
		d_step {
			users[i]--;
			assert(users[i] == 1);
			users[i] = 0;
			evict = 0
		}
		lock(igroup_lock);
		unlock(igroup_lock);
		vdevice_free(i)
	:: else
	fi;
#ifdef MUT_EVICT_UNDER_IGROUP
	unlock(igroup_lock);
#endif
	d_step { vsmmu_put(domain); domain = HOST }

	/* arm_smmu_release_device() */
	lock_group();
	assert(!vsmmu);
	lock(streams_mutex);
	in_tree = 0;
	unlock(streams_mutex);
	master_alive = 0;
	unlock_group();

	/* arm_smmu_probe_device() */
	d_step { master_alive = 1; first = 0 }
	lock(streams_mutex);
	in_tree = 1;
	unlock(streams_mutex)
}

#ifdef ROUTES
#define CAN_ALLOC_VDEVICE (!stopping && !igroup_lock && !vdev && !(owner[0] && owner[1]))
#else
#define CAN_ALLOC_VDEVICE (!stopping && !igroup_lock && !vdev && !(owner[0] && owner[1]) && vsmmu_alive)
#endif

active proctype vmm()
{
	byte g, to, id, i;
	bit t, ok;

#ifdef NUMBERS
	d_step {
		vdev = 1;
		owner[0] = A;
		virt_id[0] = 1;
		users[0] = 1;
		vsmmu_get(A)
	}
#endif
end:	do
	:: atomic {
		!stopping ->
		if
		:: g = HOST
		:: vsmmu_alive -> g = A; vsmmu_get(g); if :: t = 0 :: t = 1 fi
#ifdef ROUTES
		:: g = B; t = 1
#endif
		fi
	   }
	   attach(g, t, to, id)
#ifndef NUMBERS
	/* IOMMU_VDEVICE_ALLOC: one lock only, and the driver does nothing */
	:: atomic {
		CAN_ALLOC_VDEVICE ->
		if
		:: !owner[0] -> i = 0
		:: else -> i = 1
		fi;
		if
		:: vsmmu_alive -> owner[i] = A; virt_id[i] = 1
#ifdef ROUTES
		:: vsmmu_alive -> owner[i] = A; virt_id[i] = 2
		:: owner[i] = B; virt_id[i] = 1
#endif
		fi;
		vsmmu_get(owner[i]);
		users[i] = 1;
		vdev = i + 1;
		i = 0
	   }
#endif
#if defined(LIFETIMES) || defined(LOCKS)
	:: !stopping -> unbind(i)
#endif
	od
}

#ifndef NUMBERS
active proctype destroyer()
{
	byte i;

end:	do
	/* The object's users, then its destroy; see iommufd_object_remove() */
	:: atomic {
		!stopping && (users[0] == 1 || users[1] == 1) ->
		if
		:: users[0] == 1 -> i = 0
		:: users[1] == 1 -> i = 1
		fi;
		users[i] = 0
	   }
#ifdef MUT_ASID_BEFORE_IGROUP
	   lock(asid_lock);
#endif
	   lock(igroup_lock);
	   if
	   :: vdev == i + 1 -> disconnect()
	   :: else
#ifdef MUT_ASID_BEFORE_IGROUP
		-> unlock(asid_lock)
#endif
	   fi;
	   unlock(igroup_lock);
	   vdevice_free(i)

#if defined(LIFETIMES) || defined(LOCKS)
	:: atomic { !stopping && veventq_linked ->
#ifdef MUT_FREE_BEFORE_UNLINK
		veventq_alive = 0
#else
		skip
#endif
	   }
	   lock(veventq_lock);
	   veventq_linked = 0;
	   unlock(veventq_lock);
	   d_step { veventq_alive = 0; vsmmu_put(A) }

	:: d_step { !stopping && vsmmu_alive && !veventq_linked ->
		veventq_alive = 1;
		vsmmu_get(A)
	   }
	   lock(veventq_lock);
	   veventq_linked = 1;
	   unlock(veventq_lock)
#endif
#ifdef LIFETIMES
	:: d_step { !stopping && vsmmu_alive && !vsmmu_users -> vsmmu_alive = 0 }
	:: d_step { !stopping && !vsmmu_alive -> vsmmu_alive = 1 }
#endif
	od
}
#endif

#ifdef LOCKS
/* Probe and release of another device of the group */
active proctype sibling()
{
end:	do
	:: atomic { !stopping && !group_mutex -> group_mutex = 1 }
	   lock(asid_lock);
	   unlock(asid_lock);
	   lock(streams_mutex);
	   d_step { unlock(streams_mutex); unlock(group_mutex) }
	od
}

active proctype stop()
{
	stopping = 1
}
#endif
