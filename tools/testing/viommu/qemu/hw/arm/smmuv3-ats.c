/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMMUv3: CMD_ATC_INV and the CMD_SYNC that waits for its completion
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

/* An Invalidate Request whose completion has not come yet */
typedef struct SMMUv3AtcInv {
    uint64_t tag;
    int64_t deadline;
    SMMUv3CmdWait *wait;
    QTAILQ_ENTRY(SMMUv3AtcInv) next;
} SMMUv3AtcInv;

static void smmuv3_atc_timer(void *opaque);

/* Queues go on in the main loop: they may run the next invalidation */
static void smmuv3_atc_bh(void *opaque)
{
    SMMUv3State *s = opaque;
    SMMUv3CmdWait *w;

    while ((w = QTAILQ_FIRST(&s->atc_ready))) {
        QTAILQ_REMOVE(&s->atc_ready, w, next);
        w->ready = false;
        w->kick(w->opaque);
    }
}

static void smmuv3_atc_ready(SMMUv3State *s, SMMUv3CmdWait *w)
{
    if (!w->ready) {
        w->ready = true;
        QTAILQ_INSERT_TAIL(&s->atc_ready, w, next);
        qemu_bh_schedule(s->atc_bh);
    }
}

/*
 * A CMD_SYNC on the SMMU's own queue waits for the ATC_INVs of all queues that
 * there were when it was reached: it also collects those of other queues.
 */
static bool smmuv3_atc_earlier(SMMUv3State *s)
{
    SMMUv3AtcInv *i = QTAILQ_FIRST(&s->atc_invs);

    return i && i->tag <= s->atc_sync_tag;
}

bool smmuv3_atc_sync_waits(SMMUv3State *s)
{
    if (!s->atc_sync_tag) {
        s->atc_sync_tag = s->atc_tag;
    }
    if (smmuv3_atc_earlier(s)) {
        return true;
    }
    s->atc_sync_tag = 0;
    return false;
}

static void smmuv3_atc_end(SMMUv3State *s, SMMUv3AtcInv *i, bool lost)
{
    SMMUv3CmdWait *w = i->wait;

    trace_smmuv3_atc_inv_end(i->tag, lost);
    QTAILQ_REMOVE(&s->atc_invs, i, next);
    g_free(i);
    w->lost |= lost;
    if (!--w->outstanding) {
        smmuv3_atc_ready(s, w);
    }
    /* After the queue that sent it: a time-out is that queue's error */
    if (s->atc_sync_tag && !smmuv3_atc_earlier(s)) {
        smmuv3_atc_ready(s, &s->cmdq_wait);
    }
}

static void smmuv3_atc_rearm(SMMUv3State *s)
{
    /* All have the same time, so that the oldest is the next to end */
    SMMUv3AtcInv *i = QTAILQ_FIRST(&s->atc_invs);

    if (i) {
        timer_mod(s->atc_timer, i->deadline);
    } else {
        timer_del(s->atc_timer);
    }
}

static void smmuv3_atc_timer(void *opaque)
{
    SMMUv3State *s = opaque;
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    SMMUv3AtcInv *i;

    while ((i = QTAILQ_FIRST(&s->atc_invs)) && i->deadline <= now) {
        s->atc_timeouts++;
        smmuv3_atc_end(s, i, true);
    }
    smmuv3_atc_rearm(s);
}

/* An answer that comes after the time-out is too late, and ignored */
void smmuv3_atc_inv_done(SMMUv3State *s, uint64_t tag)
{
    SMMUv3AtcInv *i;

    QTAILQ_FOREACH(i, &s->atc_invs, next) {
        if (i->tag == tag) {
            smmuv3_atc_end(s, i, false);
            smmuv3_atc_rearm(s);
            return;
        }
    }
}

/* CMD_ATC_INV, 4.5.1. The SMMU's mutex is held */
SMMUCmdError smmuv3_atc_inv(SMMUv3State *s, const Cmd *cmd, SMMUv3CmdWait *w)
{
    SMMUDevice *sdev = smmu_find_sdev(&s->smmu_state, CMD_SID(cmd));
    unsigned size = CMD_ATC_SIZE(cmd);
    IOMMUPortInv inv = {
        .has_pasid = CMD_SSV(cmd),
        .pasid = CMD_SSV(cmd) ? CMD_SSID(cmd) : 0,
        .global = CMD_SSV(cmd) && CMD_ATC_GLOBAL(cmd),
    };
    uint64_t tag = ++s->atc_tag;
    SMMUv3AtcInv *i;

    /* 6.3.9: without SMMUEN there is no ATS; a Size above 52 is reserved */
    if (!smmu_enabled(s) || size > 52) {
        return SMMU_CERROR_ILL;
    }
    /* Bits of the address below the size are not used */
    inv.addr_mask = size == 52 ? UINT64_MAX : MAKE_64BIT_MASK(0, size + 12);
    inv.addr = CMD_ADDR(cmd) & ~inv.addr_mask;
    trace_smmuv3_atc_inv(CMD_SID(cmd), tag, inv.addr, inv.addr_mask,
                         inv.has_pasid, inv.pasid, inv.global);

    if (sdev && sdev->client) {
        s->atc_invs_sent++;
        if (sdev->client->invalidate(sdev->client, &inv, tag)) {
            return SMMU_CERROR_NONE;
        }
    }
    /* No device, or none that answers, is noticed when the time is over */
    i = g_new0(SMMUv3AtcInv, 1);
    i->tag = tag;
    i->wait = w;
    i->deadline = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                  (int64_t)s->atc_timeout_ms * SCALE_MS;
    w->outstanding++;
    QTAILQ_INSERT_TAIL(&s->atc_invs, i, next);
    smmuv3_atc_rearm(s);
    return SMMU_CERROR_NONE;
}

void smmuv3_atc_init(SMMUv3State *s)
{
    QTAILQ_INIT(&s->atc_invs);
    QTAILQ_INIT(&s->atc_ready);
    s->atc_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, smmuv3_atc_timer, s);
    s->atc_bh = qemu_bh_new_guarded(smmuv3_atc_bh, s,
                                    &DEVICE(s)->mem_reentrancy_guard);
}

void smmuv3_atc_reset(SMMUv3State *s)
{
    SMMUv3AtcInv *i;
    SMMUv3CmdWait *w;

    while ((i = QTAILQ_FIRST(&s->atc_invs))) {
        QTAILQ_REMOVE(&s->atc_invs, i, next);
        i->wait->outstanding = 0;
        g_free(i);
    }
    while ((w = QTAILQ_FIRST(&s->atc_ready))) {
        QTAILQ_REMOVE(&s->atc_ready, w, next);
        w->ready = false;
    }
    timer_del(s->atc_timer);
    s->atc_sync_tag = 0;
}
