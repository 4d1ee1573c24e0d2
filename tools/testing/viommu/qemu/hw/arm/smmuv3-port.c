/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMMUv3: transactions of devices that have an ATC or PASIDs
 *
 * smmuv3_request() is the way of a transaction when the SMMU has one of the
 * features that stock QEMU's does not have: ATS, substreams, stalls, S2FWB,
 * HTTU. Without them, all transactions go the way that stock QEMU has.
 *
 * It caches an STE, the level 1 CD descriptors and the CDs each by themselves,
 * valid or not, and forgets what a command names, nothing else.
 *
 * Section numbers are those of IHI0070.
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "hw/arm/smmuv3.h"
#include "hw/pci/iommu_port.h"
#include "smmuv3-internal.h"
#include "trace.h"

typedef struct SMMUv3CachedCD {
    CD cd;
    bool decoded;
    SMMUTransCfg cfg;
} SMMUv3CachedCD;

/* What is cached of a stream's configuration */
typedef struct SMMUv3Stream {
    STE ste;
    bool decoded;
    SMMUTransCfg cfg;   /* what the STE alone says */
    GHashTable *l1cds;  /* index to uint64_t */
    GHashTable *cds;    /* SubstreamID to SMMUv3CachedCD */
} SMMUv3Stream;

/* How a transaction failed */
typedef struct SMMUv3Fault {
    SMMUEventInfo event;
    bool record;        /* the event is recorded if the transaction ends */
    bool stall;         /* the transaction stalls */
    bool razwi;         /* it is not aborted */
    bool translation;   /* F_TRANSLATION, _ADDR_SIZE, _ACCESS, _PERMISSION */
} SMMUv3Fault;

/* Caches of configuration, 4.3 */

void smmuv3_stream_free(SMMUDevice *sdev)
{
    SMMUv3Stream *st = sdev->stream;

    if (st) {
        sdev->stream = NULL;
        g_hash_table_unref(st->l1cds);
        g_hash_table_unref(st->cds);
        g_free(st);
    }
}

/* CMD_CFGI_STE, _STE_RANGE, _ALL: the STEs, their CDs and L1CDs (4.3.1) */
void smmuv3_stream_flush(SMMUv3State *s, uint32_t start, uint32_t end)
{
    GHashTableIter iter;
    SMMUPciBus *sbus;
    int i;

    g_hash_table_iter_init(&iter, s->smmu_state.smmu_pcibus_by_busptr);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&sbus)) {
        for (i = 0; i < SMMU_PCI_DEVFN_MAX; i++) {
            SMMUDevice *sdev = sbus->pbdev[i];

            if (sdev && sdev->stream && smmu_get_sid(sdev) >= start &&
                smmu_get_sid(sdev) <= end) {
                smmuv3_stream_free(sdev);
            }
        }
    }
}

/* CMD_CFGI_CD (4.3.3), with Leaf = 0 the L1CD too */
void smmuv3_stream_flush_cd(SMMUv3State *s, SMMUDevice *sdev, uint32_t ssid,
                            bool leaf)
{
    SMMUv3Stream *st = sdev->stream;

    if (!st) {
        return;
    }
    g_hash_table_remove(st->cds, GUINT_TO_POINTER(ssid));
    if (!leaf) {
        unsigned split = STE_S1FMT(&st->ste) == 1 ? 6 : 10;

        g_hash_table_remove(st->l1cds, GUINT_TO_POINTER(ssid >> split));
    }
}

/* CMD_CFGI_CD_ALL (4.3.4) */
void smmuv3_stream_flush_cds(SMMUDevice *sdev)
{
    if (sdev->stream) {
        g_hash_table_remove_all(sdev->stream->cds);
        g_hash_table_remove_all(sdev->stream->l1cds);
    }
}

unsigned smmuv3_streams(SMMUv3State *s, unsigned *cds)
{
    GHashTableIter iter;
    SMMUPciBus *sbus;
    unsigned n = 0;
    int i;

    *cds = 0;
    g_hash_table_iter_init(&iter, s->smmu_state.smmu_pcibus_by_busptr);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&sbus)) {
        for (i = 0; i < SMMU_PCI_DEVFN_MAX; i++) {
            if (sbus->pbdev[i] && sbus->pbdev[i]->stream) {
                n++;
                *cds += g_hash_table_size(sbus->pbdev[i]->stream->cds);
            }
        }
    }
    return n;
}

/* Faults */

static void smmuv3_config_fault(SMMUv3Fault *f)
{
    f->record = true;
}

/* The event of a walk that failed, 7.3.12 to 7.3.16, and what follows, 5.5 */
static void smmuv3_ptw_fault(SMMUTransCfg *cfg, const SMMUPTWEventInfo *ptw,
                             SMMUTranslationClass class, SMMUv3Fault *f)
{
    static const SMMUEventType types[] = {
        [SMMU_PTW_ERR_WALK_EABT] = SMMU_EVT_F_WALK_EABT,
        [SMMU_PTW_ERR_TRANSLATION] = SMMU_EVT_F_TRANSLATION,
        [SMMU_PTW_ERR_ADDR_SIZE] = SMMU_EVT_F_ADDR_SIZE,
        [SMMU_PTW_ERR_ACCESS] = SMMU_EVT_F_ACCESS,
        [SMMU_PTW_ERR_PERMISSION] = SMMU_EVT_F_PERMISSION,
    };
    bool s2 = ptw->stage == SMMU_STAGE_2;
    struct FullInfo *full = &f->event.u.f_walk_eabt;

    f->event.type = types[ptw->type];
    if (ptw->is_ipa_descriptor) {
        class = SMMU_CLASS_TT;
    }
    full->s2 = s2;
    full->class = class;
    if (ptw->type == SMMU_PTW_ERR_WALK_EABT) {
        full->class = s2 ? class : SMMU_CLASS_TT;
        full->addr2 = ptw->addr;
        f->record = true;
        return;
    }
    full->addr2 = s2 ? ptw->addr : 0;
    f->translation = true;
    f->stall = s2 ? cfg->s2cfg.stall : cfg->stall;
    f->record = s2 ? cfg->s2cfg.record_faults : cfg->record_faults;
    /* CD.A is of stage 1; stage 2 aborts always (5.5) */
    f->razwi = !s2 && !cfg->abort;
}

/* Configuration */

/* The address of @addr in a table of a stream. Returns false on a fault */
static bool smmuv3_table_addr(SMMUv3State *s, SMMUv3Stream *st, uint64_t *addr,
                              SMMUv3Fault *f)
{
    SMMUTransCfg cfg = st->cfg;
    SMMUPTWEventInfo ptw = {};
    SMMUTLBEntry *entry;

    if (cfg.stage != SMMU_NESTED) {
        return true;
    }
    cfg.stage = SMMU_STAGE_2;
    cfg.asid = -1;
    entry = smmu_translate(&s->smmu_state, &cfg, *addr, IOMMU_RO, &ptw);
    if (!entry) {
        smmuv3_ptw_fault(&cfg, &ptw, SMMU_CLASS_CD, f);
        return false;
    }
    *addr = CACHED_ENTRY_TO_ADDR(entry, *addr);
    return true;
}

static bool smmuv3_table_read(SMMUv3State *s, SMMUv3Stream *st, uint64_t addr,
                              uint32_t *words, unsigned n, SMMUv3Fault *f)
{
    unsigned i;

    if (!smmuv3_table_addr(s, st, &addr, f)) {
        return false;
    }
    trace_smmuv3_get_cd(addr);
    if (dma_memory_read(&address_space_memory, addr, words, n * 4,
                        MEMTXATTRS_UNSPECIFIED) != MEMTX_OK) {
        f->event.type = SMMU_EVT_F_CD_FETCH;
        f->event.u.f_cd_fetch.addr = addr;
        smmuv3_config_fault(f);
        return false;
    }
    for (i = 0; i < n; i++) {
        le32_to_cpus(&words[i]);
    }
    return true;
}

/* The cached STE, or the one in memory. NULL on a fault */
static SMMUv3Stream *smmuv3_get_stream(SMMUv3State *s, SMMUDevice *sdev,
                                       SMMUv3Fault *f)
{
    SMMUv3Stream *st = sdev->stream;
    STE ste;

    if (st && s->ste_nocache) {
        smmuv3_stream_free(sdev);
        st = NULL;
    }
    if (!st) {
        sdev->cfg_cache_misses++;
        if (smmuv3_find_ste(s, smmu_get_sid(sdev), &ste, &f->event)) {
            smmuv3_config_fault(f);
            return NULL;
        }
        st = g_new0(SMMUv3Stream, 1);
        st->ste = ste;
        st->l1cds = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        st->cds = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        sdev->stream = st;
    } else {
        sdev->cfg_cache_hits++;
    }
    if (!st->decoded) {
        memset(&st->cfg, 0, sizeof(st->cfg));
        st->cfg.asid = -1;
        st->cfg.ext = true;
        if (smmuv3_decode_ste(s, &st->cfg, &st->ste, &f->event)) {
            smmuv3_config_fault(f);
            return NULL;
        }
        st->decoded = true;
    }
    return st;
}

/* The address of a CD, 5.4.1, 5.4.2. Returns false on a fault */
static bool smmuv3_cd_addr(SMMUv3State *s, SMMUv3Stream *st, uint32_t ssid,
                           uint64_t *addr, SMMUv3Fault *f)
{
    uint64_t base = STE_CTXPTR(&st->ste), *l1cd;
    unsigned split, cdmax = STE_S1CDMAX(&st->ste);
    uint32_t words[2], index;

    if (!cdmax || !STE_S1FMT(&st->ste)) {
        if (cdmax) {
            /* 5.2: the table is aligned to its size */
            base &= ~MAKE_64BIT_MASK(0, cdmax + 6);
        }
        *addr = base + ssid * sizeof(CD);
        return true;
    }
    split = STE_S1FMT(&st->ste) == 1 ? 6 : 10;
    index = ssid >> split;
    l1cd = g_hash_table_lookup(st->l1cds, GUINT_TO_POINTER(index));
    if (!l1cd) {
        if (!smmuv3_table_read(s, st, base + index * 8, words, 2, f)) {
            return false;
        }
        l1cd = g_new(uint64_t, 1);
        *l1cd = (uint64_t)words[1] << 32 | words[0];
        g_hash_table_insert(st->l1cds, GUINT_TO_POINTER(index), l1cd);
    }
    if (!(*l1cd & 1)) {
        /* 7.3.9 */
        f->event.type = SMMU_EVT_C_BAD_SUBSTREAMID;
        f->event.u.c_bad_substream.ssid = ssid;
        smmuv3_config_fault(f);
        return false;
    }
    *addr = (*l1cd & MAKE_64BIT_MASK(12, 40)) +
            (ssid & (BIT(split) - 1)) * sizeof(CD);
    return true;
}

static SMMUTransCfg *smmuv3_get_cd_cfg(SMMUv3State *s, SMMUv3Stream *st,
                                       uint32_t ssid, SMMUv3Fault *f)
{
    SMMUv3CachedCD *c = g_hash_table_lookup(st->cds, GUINT_TO_POINTER(ssid));
    uint64_t addr;
    CD cd;

    if (!c || s->cd_nocache) {
        if (s->cd_nocache) {
            g_hash_table_remove_all(st->l1cds);
        }
        if (!smmuv3_cd_addr(s, st, ssid, &addr, f) ||
            !smmuv3_table_read(s, st, addr, cd.word, ARRAY_SIZE(cd.word), f)) {
            return NULL;
        }
        c = g_new0(SMMUv3CachedCD, 1);
        c->cd = cd;
        g_hash_table_insert(st->cds, GUINT_TO_POINTER(ssid), c);
    }
    if (!c->decoded) {
        c->cfg = st->cfg;
        if (STE_S1STALLD(&st->ste) && CD_S(&c->cd) && !s->stall_model) {
            /* 5.4: CD.S = 1 is ILLEGAL where STE.S1STALLD forbids it */
            f->event.type = SMMU_EVT_C_BAD_CD;
        } else if (!smmuv3_decode_cd(s, &c->cfg, &c->cd, &f->event)) {
            c->decoded = true;
            return &c->cfg;
        }
        smmuv3_config_fault(f);
        return NULL;
    }
    return &c->cfg;
}

/*
 * Which CD a transaction uses, 3.3.2 and 5.2 (S1DSS). @cfg is the STE's; stage
 * 1 is taken from it where it is bypassed. Returns false on a fault.
 */
static bool smmuv3_substream(SMMUv3Stream *st, const IOMMUPortReq *req,
                             SMMUTransCfg *cfg, uint32_t *ssid, SMMUv3Fault *f)
{
    unsigned cdmax = STE_S1CDMAX(&st->ste), s1dss = STE_S1DSS(&st->ste);
    bool bad = false;

    *ssid = 0;
    if (!(cfg->stage & SMMU_STAGE_1)) {
        bad = req->has_pasid;
    } else if (req->has_pasid) {
        *ssid = req->pasid;
        bad = !cdmax || req->pasid >> cdmax;
        if (!bad && s1dss == 2 && !req->pasid) {
            f->event.type = SMMU_EVT_F_STREAM_DISABLED;
            smmuv3_config_fault(f);
            return false;
        }
    } else if (cdmax && s1dss == 0) {
        f->event.type = SMMU_EVT_F_STREAM_DISABLED;
        smmuv3_config_fault(f);
        return false;
    } else if (cdmax && s1dss == 1) {
        cfg->stage &= ~SMMU_STAGE_1;
        cfg->bypassed = !cfg->stage;
    }
    if (bad) {
        f->event.type = SMMU_EVT_C_BAD_SUBSTREAMID;
        f->event.u.c_bad_substream.ssid = req->pasid;
        smmuv3_config_fault(f);
    }
    return !bad;
}

/* STE.EATS, 5.2: 0 none, 1 full, 2 split-stage */
static unsigned smmuv3_eats(SMMUv3State *s, SMMUv3Stream *st)
{
    unsigned eats = STE_EATS(&st->ste);

    if (!s->ats || eats == 3) {
        return 0;
    }
    if (eats == 2 && (!s->split_ats || st->cfg.stage != SMMU_NESTED)) {
        return 0;
    }
    return eats;
}

static bool smmuv3_atschk(SMMUv3State *s)
{
    return FIELD_EX32(s->cr[0], CR0, ATSCHK);
}

static void smmuv3_identity(const IOMMUPortReq *req, IOMMUPortRes *res)
{
    res->addr = req->addr;
    res->addr_mask = 0xfff;
    res->perm = IOMMU_RW;
}

/* Returns OK, or what the transaction gets while @f says what is recorded */
static IOMMUPortResult smmuv3_lookup(SMMUv3State *s, SMMUDevice *sdev,
                                     const IOMMUPortReq *req,
                                     IOMMUPortRes *res, SMMUv3Fault *f)
{
    bool treq = req->at == IOMMU_PORT_AT_TREQ;
    bool translated = req->at == IOMMU_PORT_AT_TRANSLATED;
    IOMMUAccessFlags flag = req->write ? IOMMU_WO : IOMMU_RO;
    SMMUPTWEventInfo ptw = {};
    SMMUTLBEntry *entry, local;
    SMMUTransCfg cfg, *cd_cfg;
    SMMUv3Stream *st;
    unsigned eats;
    uint32_t ssid;
    bool split;

    if (!smmu_enabled(s)) {
        /* 3.9.1: no ATS; nothing is recorded, for the queue is the SMMU's */
        if (treq) {
            return IOMMU_PORT_UR;
        }
        if (translated || FIELD_EX32(s->gbpa, GBPA, ABORT)) {
            return IOMMU_PORT_ABORT;
        }
        smmuv3_identity(req, res);
        return IOMMU_PORT_OK;
    }
    if (translated && s->ats && !smmuv3_atschk(s)) {
        /* 6.3.9: no check of translated transactions */
        smmuv3_identity(req, res);
        return IOMMU_PORT_OK;
    }

    st = smmuv3_get_stream(s, sdev, f);
    if (!st) {
        return treq ? IOMMU_PORT_CA : IOMMU_PORT_ABORT;
    }
    cfg = st->cfg;
    if (cfg.aborted) {
        return treq ? IOMMU_PORT_UR : IOMMU_PORT_ABORT;
    }
    eats = cfg.bypassed ? 0 : smmuv3_eats(s, st);
    split = eats == 2;
    if (treq && (!eats || (split && !smmuv3_atschk(s)))) {
        /* 7.3.6 */
        f->event.type = SMMU_EVT_F_BAD_ATS_TREQ;
        f->event.u.f_bad_ats_treq.addr = req->addr;
        smmuv3_config_fault(f);
        return IOMMU_PORT_UR;
    }
    if (translated && !eats) {
        /* 7.3.8 */
        f->event.type = SMMU_EVT_F_TRANS_FORBIDDEN;
        f->event.u.f_transl_forbidden.addr = req->addr;
        f->event.u.f_transl_forbidden.rnw = !req->write;
        smmuv3_config_fault(f);
        return IOMMU_PORT_ABORT;
    }
    if (translated && !split) {
        smmuv3_identity(req, res);
        return IOMMU_PORT_OK;
    }

    if (translated) {
        /* 3.9.1.3, split-stage: the address is an IPA */
        cfg.stage = SMMU_STAGE_2;
    } else if (!smmuv3_substream(st, req, &cfg, &ssid, f)) {
        return treq ? IOMMU_PORT_CA : IOMMU_PORT_ABORT;
    }
    if (cfg.bypassed) {
        if (treq && !s->s1dss_ats) {
            /* 7.3.6 read strictly: nothing translates, as with Config = 4 */
            f->event.type = SMMU_EVT_F_BAD_ATS_TREQ;
            f->event.u.f_bad_ats_treq.addr = req->addr;
            smmuv3_config_fault(f);
            return IOMMU_PORT_UR;
        }
        smmuv3_identity(req, res);
        return IOMMU_PORT_OK;
    }
    if (cfg.stage & SMMU_STAGE_1) {
        cd_cfg = smmuv3_get_cd_cfg(s, st, ssid, f);
        if (!cd_cfg) {
            return treq ? IOMMU_PORT_CA : IOMMU_PORT_ABORT;
        }
        cfg = *cd_cfg;
    }

    if (treq && split && (cfg.stage & SMMU_STAGE_1)) {
        /* 3.9.1.3: stage 1 alone, the completion has an IPA */
        entry = &local;
        memset(&local, 0, sizeof(local));
        if (!req->write ||
            smmu_ptw_s1_only(&s->smmu_state, &cfg, req->addr, IOMMU_WO, entry,
                             &ptw)) {
            memset(&local, 0, sizeof(local));
            memset(&ptw, 0, sizeof(ptw));
            if (smmu_ptw_s1_only(&s->smmu_state, &cfg, req->addr, IOMMU_NONE,
                                 entry, &ptw)) {
                entry = NULL;
            }
        }
        if (entry) {
            entry->parent_perm = IOMMU_RW;
        }
    } else if (treq && split) {
        /* S1DSS bypasses stage 1, and stage 2 waits for the translated one */
        smmuv3_identity(req, res);
        return IOMMU_PORT_OK;
    } else if (treq) {
        /*
         * 3.9.1: the completion has the permissions that there are. NW = 0
         * makes a clean page dirty (3.13.5).
         */
        entry = req->write ? smmu_translate(&s->smmu_state, &cfg, req->addr,
                                            IOMMU_WO, &ptw) : NULL;
        if (!entry) {
            memset(&ptw, 0, sizeof(ptw));
            entry = smmu_translate(&s->smmu_state, &cfg, req->addr, IOMMU_NONE,
                                   &ptw);
        }
    } else {
        entry = smmu_translate(&s->smmu_state, &cfg, req->addr, flag, &ptw);
    }
    if (!entry) {
        smmuv3_ptw_fault(&cfg, &ptw, SMMU_CLASS_IN, f);
        return treq ? IOMMU_PORT_CA : IOMMU_PORT_ABORT;
    }

    res->addr = CACHED_ENTRY_TO_ADDR(entry, req->addr);
    res->addr_mask = entry->entry.addr_mask;
    res->perm = entry->entry.perm & entry->parent_perm;
    res->attr = entry->attr;
    res->has_attr = true;
    return IOMMU_PORT_OK;
}

IOMMUPortResult smmuv3_request(SMMUv3State *s, SMMUDevice *sdev,
                               const IOMMUPortReq *req, IOMMUPortRes *res,
                               bool can_stall)
{
    SMMUv3Fault f = { .event = {
        .type = SMMU_EVT_NONE,
        .sid = smmu_get_sid(sdev),
        .ssv = req->has_pasid,
        .ssid = req->pasid,
    } };
    struct FullInfo *full = &f.event.u.f_walk_eabt;
    IOMMUPortResult r;

    res->as = &address_space_memory;
    qemu_mutex_lock(&s->mutex);
    r = smmuv3_lookup(s, sdev, req, res, &f);
    qemu_mutex_unlock(&s->mutex);
    trace_smmuv3_request(f.event.sid, req->has_pasid, req->pasid, req->at,
                         req->addr, req->write, r, res->addr,
                         smmu_event_string(f.event.type));
    if (f.event.type == SMMU_EVT_NONE) {
        return r;
    }

    qemu_log_mask(LOG_GUEST_ERROR, "SMMU: SID 0x%x AT %d 0x%" PRIx64 ": %s\n",
                  f.event.sid, req->at, req->addr,
                  smmu_event_string(f.event.type));
    if (req->at == IOMMU_PORT_AT_TREQ &&
        f.event.type != SMMU_EVT_F_BAD_ATS_TREQ) {
        /*
         * 3.9.1: a completion without permissions tells of a fault in a
         * translation, CA of another one. IDR0.ATSRECERR is 0: no events.
         */
        if (!f.translation) {
            return IOMMU_PORT_CA;
        }
        memset(res, 0, sizeof(*res));
        res->addr_mask = 0xfff;
        return IOMMU_PORT_OK;
    }
    switch (f.event.type) {
    case SMMU_EVT_F_WALK_EABT:
    case SMMU_EVT_F_TRANSLATION:
    case SMMU_EVT_F_ADDR_SIZE:
    case SMMU_EVT_F_ACCESS:
    case SMMU_EVT_F_PERMISSION:
        full->addr = req->addr;
        full->rnw = !req->write;
        full->ind = req->exec && !req->write;
        full->pnu = req->priv;
        break;
    default:
        break;
    }
    if (f.stall && can_stall) {
        smmuv3_stall(s, sdev, req->cookie, &f.event);
        return IOMMU_PORT_STALL;
    }
    if (f.record || f.stall) {
        smmuv3_record_event(s, &f.event);
    }
    return r == IOMMU_PORT_ABORT && f.razwi ? IOMMU_PORT_RAZWI : r;
}

/* The port */

static IOMMUPortResult smmuv3_port_request(IOMMUPort *p,
                                           const IOMMUPortReq *req,
                                           IOMMUPortRes *res)
{
    IOMMUMemoryRegion *mr = IOMMU_MEMORY_REGION(p);
    SMMUDevice *sdev = container_of(mr, SMMUDevice, iommu);
    IOMMUAccessFlags flag = req->write ? IOMMU_WO : IOMMU_RO;
    SMMUv3State *s = sdev->smmu;
    IOMMUTLBEntry entry;

    if (smmuv3_ext(s)) {
        return smmuv3_request(s, sdev, req, res, true);
    }

    /* Without ATS and substreams (3.9: the SMMU knows neither) */
    if (req->at == IOMMU_PORT_AT_TREQ) {
        return IOMMU_PORT_UR;
    }
    if (req->at == IOMMU_PORT_AT_TRANSLATED || req->has_pasid) {
        return IOMMU_PORT_ABORT;
    }
    entry = memory_region_get_iommu_class_nocheck(mr)->translate(mr, req->addr,
                                                                 flag, 0);
    if (!(entry.perm & flag)) {
        return IOMMU_PORT_ABORT;
    }
    res->as = entry.target_as;
    res->addr_mask = entry.addr_mask;
    res->addr = (entry.translated_addr & ~entry.addr_mask) |
                (req->addr & entry.addr_mask);
    res->perm = entry.perm;
    return IOMMU_PORT_OK;
}

static void smmuv3_port_connect(IOMMUPort *p, IOMMUPortClient *c)
{
    SMMUDevice *sdev = container_of(IOMMU_MEMORY_REGION(p), SMMUDevice, iommu);

    sdev->client = c;
    if (!c) {
        smmuv3_stall_forget(sdev->smmu, sdev, NULL);
    }
}

static void smmuv3_port_inv_done(IOMMUPort *p, uint64_t tag)
{
    SMMUDevice *sdev = container_of(IOMMU_MEMORY_REGION(p), SMMUDevice, iommu);

    smmuv3_atc_inv_done(sdev->smmu, tag);
}

static void smmuv3_port_cancel(IOMMUPort *p, void *cookie)
{
    SMMUDevice *sdev = container_of(IOMMU_MEMORY_REGION(p), SMMUDevice, iommu);

    smmuv3_stall_forget(sdev->smmu, sdev, cookie);
}

void smmuv3_port_class_init(ObjectClass *klass)
{
    IOMMUPortClass *pc = IOMMU_PORT_CLASS(klass);

    pc->connect = smmuv3_port_connect;
    pc->request = smmuv3_port_request;
    pc->inv_done = smmuv3_port_inv_done;
    pc->cancel = smmuv3_port_cancel;
}
