/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMMUv3: the stall fault model, 3.12.2
 *
 * A transaction that faults waits at the device. The SMMU knows it by StreamID
 * and STAG until CMD_RESUME or CMD_STALL_TERM answers it.
 *
 * Section numbers are those of IHI0070.
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "hw/arm/smmuv3.h"
#include "hw/pci/iommu_port.h"
#include "smmuv3-internal.h"
#include "trace.h"

typedef struct SMMUv3Stall {
    SMMUDevice *sdev;
    void *cookie;
    SMMUEventInfo event;
    uint16_t stag;
    bool recorded;      /* software knows of it */
    bool resolved;      /* and has answered: the device will be told */
    IOMMUPortResult verdict;
    QTAILQ_ENTRY(SMMUv3Stall) next;
} SMMUv3Stall;

static void smmuv3_stall_end(SMMUv3State *s, SMMUv3Stall *st)
{
    QTAILQ_REMOVE(&s->stalls, st, next);
    g_free(st);
}

/* Devices go on in the main loop, without the lock of the command */
static void smmuv3_stall_bh(void *opaque)
{
    SMMUv3State *s = opaque;
    SMMUv3Stall *st, *next;
    bool more = true;

    while (more) {
        more = false;
        QTAILQ_FOREACH_SAFE(st, &s->stalls, next, next) {
            if (st->resolved) {
                SMMUDevice *sdev = st->sdev;
                void *cookie = st->cookie;
                IOMMUPortResult verdict = st->verdict;

                smmuv3_stall_end(s, st);
                if (sdev->client && cookie) {
                    sdev->client->resume(sdev->client, cookie, verdict);
                }
                /* The device may have changed the list */
                more = true;
                break;
            }
        }
    }
    smmuv3_stall_flush(s);
}

static void smmuv3_stall_resolve(SMMUv3State *s, SMMUv3Stall *st,
                                 IOMMUPortResult verdict)
{
    trace_smmuv3_stall_resolve(st->event.sid, st->stag, verdict);
    st->resolved = true;
    st->verdict = verdict;
    qemu_bh_schedule(s->stall_bh);
}

static bool smmuv3_stag_used(SMMUv3State *s, uint16_t stag)
{
    SMMUv3Stall *st;

    QTAILQ_FOREACH(st, &s->stalls, next) {
        if (st->recorded && st->stag == stag) {
            return true;
        }
    }
    return false;
}

/*
 * Record what is not recorded yet. 3.5.4: the event of a stalled transaction is
 * never lost, it waits for room in the queue. IDR5.STALL_MAX limits how many
 * stalls software knows of at a time.
 */
void smmuv3_stall_flush(SMMUv3State *s)
{
    SMMUv3Stall *st;
    unsigned known = 0;

    QTAILQ_FOREACH(st, &s->stalls, next) {
        known += st->recorded;
    }
    QTAILQ_FOREACH(st, &s->stalls, next) {
        if (st->recorded || st->resolved) {
            continue;
        }
        if (known >= s->stall_max || !smmuv3_eventq_writable(s)) {
            return;
        }
        do {
            st->stag = s->next_stag++;
        } while (smmuv3_stag_used(s, st->stag));
        st->event.u.f_walk_eabt.stall = true;
        st->event.u.f_walk_eabt.stag = st->stag;
        st->recorded = true;
        known++;
        smmuv3_record_event(s, &st->event);
        if (s->stall_self) {
            /* Mutation: nobody asked for that */
            smmuv3_stall_resolve(s, st, IOMMU_PORT_ABORT);
        }
    }
}

void smmuv3_stall(SMMUv3State *s, SMMUDevice *sdev, void *cookie,
                  const SMMUEventInfo *event)
{
    SMMUv3Stall *st = g_new0(SMMUv3Stall, 1);

    st->sdev = sdev;
    st->cookie = cookie;
    st->event = *event;
    QTAILQ_INSERT_TAIL(&s->stalls, st, next);
    s->stalls_total++;
    smmuv3_stall_flush(s);
}

/*
 * The device has reset. Software may have seen the event, and answers: the
 * STAG stays taken until then (3.12.2.2).
 */
void smmuv3_stall_forget(SMMUv3State *s, SMMUDevice *sdev, void *cookie)
{
    SMMUv3Stall *st, *next;

    QTAILQ_FOREACH_SAFE(st, &s->stalls, next, next) {
        if (st->sdev == sdev && (!cookie || st->cookie == cookie)) {
            st->cookie = NULL;
            if (!st->recorded) {
                smmuv3_stall_end(s, st);
            }
        }
    }
}

/* CMD_RESUME, 4.6.1: without such a stall it does nothing */
void smmuv3_stall_resume(SMMUv3State *s, const Cmd *cmd)
{
    SMMUv3Stall *st;
    IOMMUPortResult verdict;

    if (CMD_RESUME_AC(cmd)) {
        verdict = IOMMU_PORT_OK;
    } else if (CMD_RESUME_AB(cmd) || FIELD_EX32(s->idr[0], IDR0, TERM_MODEL)) {
        verdict = IOMMU_PORT_ABORT;
    } else {
        verdict = IOMMU_PORT_RAZWI;
    }
    QTAILQ_FOREACH(st, &s->stalls, next) {
        if (st->recorded && !st->resolved && st->event.sid == CMD_SID(cmd) &&
            st->stag == CMD_RESUME_STAG(cmd)) {
            smmuv3_stall_resolve(s, st, verdict);
            return;
        }
    }
    s->resumes_unknown++;
}

/* CMD_STALL_TERM, 4.6.2: all of the stream, recorded or not */
void smmuv3_stall_term(SMMUv3State *s, uint32_t sid)
{
    SMMUv3Stall *st;

    QTAILQ_FOREACH(st, &s->stalls, next) {
        if (!st->resolved && st->event.sid == sid) {
            smmuv3_stall_resolve(s, st, IOMMU_PORT_ABORT);
        }
    }
}

unsigned smmuv3_stalls(SMMUv3State *s)
{
    SMMUv3Stall *st;
    unsigned n = 0;

    QTAILQ_FOREACH(st, &s->stalls, next) {
        n += !st->resolved;
    }
    return n;
}

void smmuv3_stall_init(SMMUv3State *s)
{
    QTAILQ_INIT(&s->stalls);
    s->stall_bh = qemu_bh_new_guarded(smmuv3_stall_bh, s,
                                      &DEVICE(s)->mem_reentrancy_guard);
}

void smmuv3_stall_reset(SMMUv3State *s)
{
    while (!QTAILQ_EMPTY(&s->stalls)) {
        smmuv3_stall_end(s, QTAILQ_FIRST(&s->stalls));
    }
}
