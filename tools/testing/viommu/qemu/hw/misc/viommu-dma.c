/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * viommu-dma: a PCI device that does any DMA that a test wants
 *
 * A descriptor in its BAR has it read, write, compare, copy or translate, with
 * or without PASID, translated or untranslated. A stream writes a pattern and
 * reads it back all the time. The device has an ATC that keeps what translation
 * requests returned until an invalidation names it, and answers invalidations
 * when it is told to.
 *
 * tools/testing/viommu/qemu/README has the registers and properties.
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/pci/iommu_port.h"
#include "hw/pci/msi.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "migration/vmstate.h"
#include "system/dma.h"
#include "trace.h"

#define TYPE_VIOMMU_DMA "viommu-dma"
OBJECT_DECLARE_SIMPLE_TYPE(ViommuDma, VIOMMU_DMA)

#define VDMA_DEVICE_ID      0x11ed
#define VDMA_ID             0x414d4456 /* "VDMA" */
#define VDMA_VERSION        1

#define VDMA_BAR_SIZE       (128 * KiB)
#define VDMA_REGS_SIZE      (4 * KiB)
#define VDMA_BUF_OFFSET     (64 * KiB)
#define VDMA_BUF_SIZE       (64 * KiB)
/* No transaction crosses such a boundary */
#define VDMA_PIECE          (4 * KiB)

/* Offsets in the configuration space */
#define VDMA_ATS_CAP        0x100
#define VDMA_PASID_CAP      0x108
#define VDMA_PASID_SIZEOF   8
#define VDMA_DVSEC_CAP      0x110
#define VDMA_DVSEC_SIZEOF   0x3c
#define VDMA_AER_CAP        0x150
#define VDMA_ACS_CAP        0x1a0

#define VDMA_MSI_CMD        0
#define VDMA_MSI_STREAM     1
#define VDMA_MSIS           2

/* Registers, all of 8 bytes */
enum {
    R_ID        = 0x000,
    R_CAPS      = 0x008,
    R_CTRL      = 0x010,
    R_STATUS    = 0x018,
    R_RESULT    = 0x020,
    R_RESULT2   = 0x028,
    R_FAULT     = 0x030,
    R_RESET     = 0x038,
    R_SRC       = 0x040,
    R_DST       = 0x048,
    R_LEN       = 0x050,
    R_BUF       = 0x058,
    R_FLAGS     = 0x060,
    R_PASID     = 0x068,
    R_SEED      = 0x070,
    R_CMD       = 0x078,
    R_S_SRC     = 0x080,
    R_S_DST     = 0x088,
    R_S_LEN     = 0x090,
    R_S_PERIOD  = 0x098,
    R_S_FLAGS   = 0x0a0,
    R_S_PASID   = 0x0a8,
    R_S_SEED    = 0x0b0,
    R_S_CTRL    = 0x0b8,
    R_S_STATUS  = 0x0c0,
    R_S_LAPS    = 0x0c8,
    R_S_BAD     = 0x0d0,
    R_S_FAULTS  = 0x0d8,
    R_S_SUM     = 0x0e0,
    R_S_EXPECT  = 0x0e8,
    R_S_ERRADDR = 0x0f0,
    R_ATC_COUNT = 0x100,
    R_ATC_HITS  = 0x108,
    R_TREQS     = 0x110,
    R_TREQ_OK   = 0x118,
    R_INVS      = 0x120,
    R_INV_DONE  = 0x128,
    R_INV_MODE  = 0x130,
    R_INV_DELAY = 0x138,
    R_INV_HELD  = 0x140,
    R_INV_GO    = 0x148,
    R_KNOBS     = 0x150,
    R_INV_ADDR  = 0x158,
    R_INV_INFO  = 0x160,
    R_TXNS      = 0x168,
    R_STALLS    = 0x170,
    R_RESET_MS  = 0x178,
};

#define CTRL_INT_CMD        BIT_ULL(0)
#define CTRL_INT_STREAM     BIT_ULL(1)

#define STATUS_BUSY         BIT_ULL(0)
#define STATUS_DONE         BIT_ULL(1)
#define STATUS_STALLED      BIT_ULL(2)
#define STATUS_CODE_SHIFT   8

/* Low byte of FLAGS: source, next byte: destination */
#define FLAG_MODE_MASK      0x3
#define FLAG_PASID          BIT(2)
#define FLAG_EXEC           BIT(3)
#define FLAG_PRIV           BIT(4)
#define FLAG_TREQ_WRITE     BIT(5)  /* ask for the permission to write */
#define FLAG_DST_SHIFT      8

enum { MODE_UNTRANSLATED, MODE_ATS, MODE_TRANSLATED };

enum {
    OP_NONE,
    OP_READ,
    OP_WRITE,
    OP_COMPARE,
    OP_COPY,
    OP_FILL,
    OP_CHECK,
    OP_TREQ,
    OP_PROBE,
    /* Not by CMD: FILL of the destination, then CHECK of the source */
    OP_STREAM,
    /* Not by CMD: READ of the source without the buffer */
    OP_STREAM_SUM,
    OP_COUNT,
};

enum {
    CODE_OK,
    CODE_ABORT,
    CODE_MISMATCH,
    CODE_ATS_DENIED,
    CODE_UR,
    CODE_CA,
    CODE_ATS_OFF,
    CODE_BAD_DESC,
    CODE_NO_MASTER,
    CODE_MEMORY,
    CODE_PASID_OFF,
    CODE_CANCELLED,
    CODE_MISS,
    CODE_STALL = -1, /* internal */
};

enum { S_STOP, S_PATTERN, S_SUM, S_MODES };

enum { INV_NOW, INV_LATE, INV_NEVER, INV_HOLD, INV_MODES };

/* Faults of the device, for a test of the test */
#define KNOB_NO_ATC         BIT(0) /* nothing is cached */
#define KNOB_INV_IGNORE     BIT(1) /* answered, not executed */
#define KNOB_INV_NO_PASID   BIT(2) /* a PASID in an invalidation is ignored */
#define KNOB_INV_PAGE       BIT(3) /* only the first page of a range */
#define KNOB_INV_ALL        BIT(4) /* any invalidation empties the ATC */
#define KNOB_INV_ATS_OFF    BIT(5) /* no answer while ATS is disabled */
#define KNOB_INV_SPARES     BIT(6) /* without PASID: only what has none */
#define KNOB_RESET_SILENT   BIT(7) /* no answer while a reset takes its time */
#define KNOB_RESET_CONFIG   BIT(8) /* nor does the configuration space */
#define KNOB_RESET_LINK     BIT(9) /* the link stays down after a reset */

#define FNV_BASIS           0xcbf29ce484222325ULL
#define FNV_PRIME           0x100000001b3ULL

typedef struct VdmaJob {
    ViommuDma *dev;
    int op;
    uint64_t src, dst, len, seed;
    uint32_t buf;
    uint32_t flags;
    uint32_t pasid[2];
    uint64_t done;      /* bytes of the current phase */
    int phase;
    bool active;
    bool stalled;       /* the IOMMU will resume it */
    bool use_verdict;   /* the next access ends with verdict */
    IOMMUPortResult verdict;
    uint64_t sum;
    uint64_t result, result2, fault;
    uint8_t piece[VDMA_PIECE];
} VdmaJob;

typedef struct VdmaAtcEntry {
    uint64_t iova;
    uint64_t mask;
    uint64_t addr;
    bool has_pasid;
    uint32_t pasid;
    IOMMUAccessFlags perm;
    bool untranslated;
    bool global;
    QTAILQ_ENTRY(VdmaAtcEntry) next;
} VdmaAtcEntry;

typedef struct VdmaInv {
    ViommuDma *dev;
    uint64_t tag;
    QEMUTimer timer;
    QTAILQ_ENTRY(VdmaInv) next;
} VdmaInv;

struct ViommuDma {
    PCIDevice parent_obj;

    MemoryRegion bar, regs, ram;
    uint8_t *buf;

    /* Fixed properties */
    bool ats;
    uint8_t pasid_bits;
    uint32_t atc_size;
    bool cxl_cache;
    uint16_t vendor_id, device_id;
    uint8_t revision;
    bool flr, af, pm, aer, acs;
    uint8_t af_cap;

    uint64_t ctrl;
    uint64_t desc[(R_CMD - R_SRC) / 8];
    uint64_t sdesc[(R_S_CTRL - R_S_SRC) / 8];
    uint64_t status, result, result2, fault;
    uint64_t s_expect, s_laps, s_bad, s_faults, s_sum, s_erraddr;
    unsigned s_mode;
    uint8_t s_code;
    VdmaJob job, stream;
    QEMUTimer stream_timer, job_timer;
    uint64_t dma_delay;

    bool ats_was_on;
    QTAILQ_HEAD(, VdmaAtcEntry) atc;
    uint64_t atc_count, atc_hits, treqs, treq_ok;
    QTAILQ_HEAD(, VdmaInv) held;
    uint64_t invs, inv_done, inv_held;
    uint64_t inv_mode, inv_delay, knobs, reset_ms;
    int64_t reset_ends;         /* virtual time */
    bool link_down;             /* of the port above, by KNOB_RESET_LINK */
    uint64_t inv_addr, inv_info;
    uint64_t txns, stalls;

    IOMMUPort *port;
    IOMMUPortClient client;
};

/* Sums and patterns */

static uint64_t vdma_sum(uint64_t sum, const uint8_t *data, size_t len)
{
    while (len--) {
        sum = (sum ^ *data++) * FNV_PRIME;
    }
    return sum;
}

/* Byte @offset of the pattern with that seed */
static uint8_t vdma_pattern(uint64_t seed, uint64_t offset)
{
    uint64_t word = (seed + offset / 8) * 0x9e3779b97f4a7c15ULL;

    word = (word ^ word >> 29) * 0xbf58476d1ce4e5b9ULL;
    return word >> (offset % 8 * 8);
}

/* Configuration space */

static bool vdma_ats_on(ViommuDma *d)
{
    PCIDevice *pdev = PCI_DEVICE(d);

    return d->ats && pci_get_word(pdev->config + VDMA_ATS_CAP + PCI_ATS_CTRL) &
                     PCI_ATS_CTRL_ENABLE;
}

static bool vdma_pasid_on(ViommuDma *d)
{
    PCIDevice *pdev = PCI_DEVICE(d);

    return d->pasid_bits &&
           pci_get_word(pdev->config + VDMA_PASID_CAP + PCI_PASID_CTRL) &
           PCI_PASID_CTRL_ENABLE;
}

static bool vdma_master(ViommuDma *d)
{
    return pci_get_word(PCI_DEVICE(d)->config + PCI_COMMAND) &
           PCI_COMMAND_MASTER;
}

/* ATC */

static void vdma_atc_drop(ViommuDma *d, VdmaAtcEntry *e)
{
    QTAILQ_REMOVE(&d->atc, e, next);
    d->atc_count--;
    g_free(e);
}

static void vdma_atc_empty(ViommuDma *d)
{
    VdmaAtcEntry *e;

    while ((e = QTAILQ_FIRST(&d->atc))) {
        vdma_atc_drop(d, e);
    }
}

static VdmaAtcEntry *vdma_atc_find(ViommuDma *d, uint64_t iova, bool has_pasid,
                                   uint32_t pasid)
{
    VdmaAtcEntry *e;

    QTAILQ_FOREACH(e, &d->atc, next) {
        if ((iova & ~e->mask) == e->iova && e->has_pasid == has_pasid &&
            (!has_pasid || e->pasid == pasid || e->global)) {
            return e;
        }
    }
    return NULL;
}

static void vdma_atc_insert(ViommuDma *d, const IOMMUPortReq *req,
                            const IOMMUPortRes *res)
{
    VdmaAtcEntry *e;

    /* A later completion replaces what an earlier one gave */
    e = vdma_atc_find(d, req->addr, req->has_pasid, req->pasid);
    if (e) {
        vdma_atc_drop(d, e);
    }
    if (d->atc_count >= d->atc_size) {
        vdma_atc_drop(d, QTAILQ_FIRST(&d->atc));
    }
    e = g_new0(VdmaAtcEntry, 1);
    e->mask = res->addr_mask;
    e->iova = req->addr & ~e->mask;
    e->addr = res->addr & ~e->mask;
    e->has_pasid = req->has_pasid;
    e->pasid = req->pasid;
    e->perm = res->perm;
    e->untranslated = res->untranslated;
    e->global = res->global && req->has_pasid;
    QTAILQ_INSERT_TAIL(&d->atc, e, next);
    d->atc_count++;
}

/*
 * PCIe 10.3.8: a request with PASID affects what was requested with that PASID,
 * or with any if it is global. One without PASID affects all, as Linux has it.
 */
static void vdma_atc_invalidate(ViommuDma *d, const IOMMUPortInv *inv)
{
    VdmaAtcEntry *e, *next;
    uint64_t mask = inv->addr_mask;

    if (d->knobs & KNOB_INV_IGNORE) {
        return;
    }
    if (d->knobs & KNOB_INV_PAGE) {
        mask &= VDMA_PIECE - 1;
    }
    QTAILQ_FOREACH_SAFE(e, &d->atc, next, next) {
        if (!(d->knobs & KNOB_INV_ALL)) {
            if (!(d->knobs & KNOB_INV_NO_PASID)) {
                if (!e->has_pasid && inv->has_pasid) {
                    continue;
                }
                if (e->has_pasid && !inv->has_pasid &&
                    d->knobs & KNOB_INV_SPARES) {
                    continue;
                }
                if (inv->has_pasid && !inv->global && e->pasid != inv->pasid &&
                    !e->global) {
                    continue;
                }
            }
            if (((inv->addr ^ e->iova) & ~(mask | e->mask)) != 0) {
                continue;
            }
        }
        vdma_atc_drop(d, e);
    }
}

/* Invalidations */

static void vdma_inv_free(ViommuDma *d, VdmaInv *i)
{
    QTAILQ_REMOVE(&d->held, i, next);
    d->inv_held--;
    timer_deinit(&i->timer);
    g_free(i);
}

static void vdma_inv_answer(VdmaInv *i)
{
    ViommuDma *d = i->dev;
    uint64_t tag = i->tag;

    vdma_inv_free(d, i);
    d->inv_done++;
    IOMMU_PORT_GET_CLASS(d->port)->inv_done(d->port, tag);
}

static void vdma_inv_timer(void *opaque)
{
    vdma_inv_answer(opaque);
}

/*
 * PCIe 6.6.1, 6.6.2 and 5.3.1.4: a function can take 100 ms for a reset of its bus
 * or of itself, and 10 ms from D3hot to D0. The driver waits for as long by ticks, which
 * can be late on a loaded host, and then reads config space. So that ends it as well.
 */
#define VDMA_RESET_MS   80
#define VDMA_D0_MS      9

static void vdma_reset_takes(ViommuDma *d, uint64_t ms)
{
    d->reset_ends = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                    (ms + d->reset_ms) * SCALE_MS;
}

/* NULL on the root bus */
static PCIDevice *vdma_bridge(ViommuDma *d)
{
    PCIBus *bus = pci_get_bus(PCI_DEVICE(d));

    return pci_bus_is_root(bus) ? NULL : pci_bridge_get_device(bus);
}

static uint8_t vdma_power_state(ViommuDma *d)
{
    PCIDevice *pdev = PCI_DEVICE(d);

    return d->pm ? pci_get_word(pdev->config + pdev->pm_cap + PCI_PM_CTRL) &
                   PCI_PM_CTRL_STATE_MASK : 0;
}

static bool vdma_in_reset(ViommuDma *d)
{
    PCIDevice *bridge = vdma_bridge(d);

    if (bridge && pci_get_word(bridge->config + PCI_BRIDGE_CONTROL) &
                  PCI_BRIDGE_CTL_BUS_RESET) {
        return true;
    }
    return d->link_down || vdma_power_state(d) ||
           qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) < d->reset_ends;
}

/* Data Link Layer Link Active of the port above */
static void vdma_reset_link(ViommuDma *d)
{
    PCIDevice *port = vdma_bridge(d);
    bool down = d->knobs & KNOB_RESET_LINK;
    uint8_t *status;

    if (!port || !port->exp.exp_cap || down == d->link_down) {
        return;
    }
    status = port->config + port->exp.exp_cap + PCI_EXP_LNKSTA;
    if (down) {
        pci_word_test_and_clear_mask(status, PCI_EXP_LNKSTA_DLLLA);
    } else {
        pci_word_test_and_set_mask(status, PCI_EXP_LNKSTA_DLLLA);
    }
    d->link_down = down;
}

static bool vdma_invalidate(IOMMUPortClient *c, const IOMMUPortInv *inv,
                            uint64_t tag)
{
    ViommuDma *d = container_of(c, ViommuDma, client);
    VdmaInv *i;

    d->invs++;
    d->inv_addr = inv->addr;
    d->inv_info = ctpop64(inv->addr_mask >> 12) | (uint64_t)inv->pasid << 8 |
                  (uint64_t)inv->has_pasid << 32 | (uint64_t)inv->global << 33;
    trace_viommu_dma_inv(inv->addr, inv->addr_mask, inv->has_pasid, inv->pasid,
                         inv->global, d->inv_mode);
    if (!d->ats || (!vdma_ats_on(d) && d->knobs & KNOB_INV_ATS_OFF)) {
        /* Unsupported Request, so no completion comes */
        qemu_log_mask(LOG_GUEST_ERROR,
                      "viommu-dma: invalidation without ATS\n");
        return false;
    }
    if (d->knobs & KNOB_RESET_SILENT && vdma_in_reset(d)) {
        qemu_log_mask(LOG_GUEST_ERROR,
                      "viommu-dma: invalidation in a reset\n");
        return false;
    }
    vdma_atc_invalidate(d, inv);
    switch (d->inv_mode) {
    case INV_NOW:
        d->inv_done++;
        return true;
    case INV_NEVER:
        return false;
    }
    i = g_new0(VdmaInv, 1);
    i->dev = d;
    i->tag = tag;
    timer_init_ns(&i->timer, QEMU_CLOCK_VIRTUAL, vdma_inv_timer, i);
    QTAILQ_INSERT_TAIL(&d->held, i, next);
    d->inv_held++;
    if (d->inv_mode == INV_LATE) {
        timer_mod(&i->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                             d->inv_delay);
    }
    return false;
}

static void vdma_inv_release(ViommuDma *d)
{
    VdmaInv *i;

    while ((i = QTAILQ_FIRST(&d->held))) {
        vdma_inv_answer(i);
    }
}

/* Transactions */

static IOMMUPortResult vdma_request(ViommuDma *d, IOMMUPortReq *req,
                                    IOMMUPortRes *res)
{
    memset(res, 0, sizeof(*res));
    d->txns++;
    if (d->port) {
        return IOMMU_PORT_GET_CLASS(d->port)->request(d->port, req, res);
    }
    if (req->at == IOMMU_PORT_AT_TREQ) {
        return IOMMU_PORT_UR;
    }
    res->as = pci_get_address_space(PCI_DEVICE(d));
    res->addr = req->addr;
    return req->has_pasid ? IOMMU_PORT_ABORT : IOMMU_PORT_OK;
}

static int vdma_code(VdmaJob *j, IOMMUPortResult r)
{
    switch (r) {
    case IOMMU_PORT_OK:
        return CODE_OK;
    case IOMMU_PORT_STALL:
        j->stalled = true;
        j->dev->stalls++;
        return CODE_STALL;
    case IOMMU_PORT_UR:
        return CODE_UR;
    case IOMMU_PORT_CA:
        return CODE_CA;
    default:
        return CODE_ABORT;
    }
}

/* Fill @req, and tell whether the device may issue it */
static int vdma_prepare(VdmaJob *j, IOMMUPortReq *req, uint64_t addr, bool dst,
                        bool write)
{
    ViommuDma *d = j->dev;
    unsigned flags = j->flags >> (dst ? FLAG_DST_SHIFT : 0);

    *req = (IOMMUPortReq) {
        .addr = addr,
        .has_pasid = flags & FLAG_PASID,
        .pasid = flags & FLAG_PASID ? j->pasid[dst] : 0,
        .exec = flags & FLAG_EXEC,
        .priv = flags & FLAG_PRIV,
        .write = write,
        .cookie = j,
    };
    if (!vdma_master(d)) {
        return CODE_NO_MASTER;
    }
    if (req->has_pasid && !vdma_pasid_on(d)) {
        return CODE_PASID_OFF;
    }
    return CODE_OK;
}

/* Look @req up in the ATC, and request what is not there */
static int vdma_ats(VdmaJob *j, IOMMUPortReq *req, bool treq_write,
                    VdmaAtcEntry *out)
{
    ViommuDma *d = j->dev;
    IOMMUAccessFlags need = req->write ? IOMMU_WO : IOMMU_RO;
    IOMMUPortReq treq = *req;
    IOMMUPortRes res;
    IOMMUPortResult r;
    VdmaAtcEntry *e;

    if (!vdma_ats_on(d)) {
        return CODE_ATS_OFF;
    }
    e = vdma_atc_find(d, req->addr, req->has_pasid, req->pasid);
    if (e && e->perm & need) {
        d->atc_hits++;
        *out = *e;
        return CODE_OK;
    }

    treq.at = IOMMU_PORT_AT_TREQ;
    treq.write = req->write || treq_write;
    d->treqs++;
    r = vdma_request(d, &treq, &res);
    trace_viommu_dma_treq(treq.addr, treq.has_pasid, treq.pasid, treq.write, r,
                          res.addr, res.addr_mask, res.perm);
    if (r != IOMMU_PORT_OK) {
        return vdma_code(j, r);
    }
    d->treq_ok++;
    *out = (VdmaAtcEntry) {
        .iova = treq.addr & ~res.addr_mask,
        .mask = res.addr_mask,
        .addr = res.addr & ~res.addr_mask,
        .perm = res.perm,
        .untranslated = res.untranslated,
    };
    /* PCIe 10.2.3.5: what gives no permission must not be cached */
    if (res.perm && !(d->knobs & KNOB_NO_ATC)) {
        vdma_atc_insert(d, &treq, &res);
    }
    return CODE_OK;
}

/* Move a piece between memory and @data. Returns a code */
static int vdma_access(VdmaJob *j, uint64_t addr, bool dst, bool write,
                       uint8_t *data, uint64_t len)
{
    const MemTxAttrs attrs = { .requester_id =
                               pci_requester_id(PCI_DEVICE(j->dev)) };
    ViommuDma *d = j->dev;
    unsigned flags = j->flags >> (dst ? FLAG_DST_SHIFT : 0);
    IOMMUPortReq req;
    IOMMUPortRes res;
    VdmaAtcEntry e;
    MemTxResult r;
    int code;

    if (j->use_verdict) {
        j->use_verdict = false;
        if (j->verdict == IOMMU_PORT_RAZWI) {
            if (!write) {
                memset(data, 0, len);
            }
            return CODE_OK;
        }
        if (j->verdict != IOMMU_PORT_OK) {
            return CODE_ABORT;
        }
    }

    code = vdma_prepare(j, &req, addr, dst, write);
    if (code != CODE_OK) {
        return code;
    }
    switch (flags & FLAG_MODE_MASK) {
    case MODE_ATS:
        code = vdma_ats(j, &req, flags & FLAG_TREQ_WRITE, &e);
        if (code != CODE_OK) {
            return code;
        }
        if (!(e.perm & (write ? IOMMU_WO : IOMMU_RO))) {
            return CODE_ATS_DENIED;
        }
        if (!e.untranslated) {
            req.at = IOMMU_PORT_AT_TRANSLATED;
            req.addr = e.addr | (addr & e.mask);
        }
        break;
    case MODE_TRANSLATED:
        req.at = IOMMU_PORT_AT_TRANSLATED;
        break;
    }

    switch (vdma_request(d, &req, &res)) {
    case IOMMU_PORT_OK:
        break;
    case IOMMU_PORT_RAZWI:
        if (!write) {
            memset(data, 0, len);
        }
        return CODE_OK;
    case IOMMU_PORT_STALL:
        return vdma_code(j, IOMMU_PORT_STALL);
    default:
        return CODE_ABORT;
    }
    j->result2 = res.has_attr ? 0x100 | res.attr : 0;
    r = address_space_rw(res.as, res.addr, attrs, data, len, write);
    if (r != MEMTX_OK) {
        /* Without a port the IOMMU's answer cannot be told from memory's */
        return d->port ? CODE_MEMORY : CODE_ABORT;
    }
    return CODE_OK;
}

static uint64_t vdma_piece(uint64_t addr, uint64_t left)
{
    return MIN(left, VDMA_PIECE - addr % VDMA_PIECE);
}

/* One step of a job: a read or a write. Returns a code */
static int vdma_step(VdmaJob *j)
{
    ViommuDma *d = j->dev;
    uint64_t left = j->len - j->done, n, i;
    uint64_t src = j->src + j->done, dst = j->dst + j->done;
    uint8_t *buf = d->buf + j->buf + j->done;
    int code;

    switch (j->op) {
    case OP_READ:
    case OP_COMPARE:
    case OP_CHECK:
    case OP_STREAM_SUM:
        n = vdma_piece(src, left);
        break;
    case OP_WRITE:
    case OP_FILL:
        n = vdma_piece(dst, left);
        break;
    case OP_STREAM:
        n = vdma_piece(j->phase ? src : dst, left);
        break;
    default: /* OP_COPY */
        n = MIN(vdma_piece(src, left), vdma_piece(dst, left));
        break;
    }

    /* Where a fault of this step happens */
    if (j->op == OP_WRITE || j->op == OP_FILL ||
        (j->op == OP_STREAM && !j->phase) || (j->op == OP_COPY && j->phase)) {
        j->fault = dst;
        if (j->op == OP_WRITE) {
            memcpy(j->piece, buf, n);
        } else if (j->op != OP_COPY) {
            for (i = 0; i < n; i++) {
                j->piece[i] = vdma_pattern(j->seed, j->done + i);
            }
        }
        code = vdma_access(j, dst, true, true, j->piece, n);
        if (code == CODE_OK && j->op != OP_STREAM) {
            j->sum = vdma_sum(j->sum, j->piece, n);
        }
    } else {
        j->fault = src;
        code = vdma_access(j, src, false, false, j->piece, n);
        if (code == CODE_OK) {
            if (j->op != OP_COPY) {
                j->sum = vdma_sum(j->sum, j->piece, n);
            }
            for (i = 0; i < n; i++) {
                bool bad = false;

                if (j->op == OP_COMPARE) {
                    bad = j->piece[i] != buf[i];
                } else if (j->op == OP_CHECK || j->op == OP_STREAM) {
                    bad = j->piece[i] != vdma_pattern(j->seed, j->done + i);
                } else {
                    break;
                }
                if (bad) {
                    j->fault = src + i;
                    j->result = j->done + i;
                    return CODE_MISMATCH;
                }
            }
            if (j->op == OP_READ) {
                memcpy(buf, j->piece, n);
            }
        }
    }
    if (code != CODE_OK) {
        return code;
    }
    if (j->op == OP_COPY && !j->phase) {
        j->phase = 1;
        return CODE_OK;
    }
    if (j->op == OP_COPY) {
        j->phase = 0;
    }
    j->done += n;
    if (j->op == OP_STREAM && !j->phase && j->done == j->len) {
        j->phase = 1;
        j->done = 0;
    }
    return CODE_OK;
}

/* TREQ and PROBE: nothing moves */
static int vdma_look(VdmaJob *j)
{
    ViommuDma *d = j->dev;
    IOMMUPortReq req;
    VdmaAtcEntry e, *found;
    int code;

    code = vdma_prepare(j, &req, j->src, false, j->flags & FLAG_TREQ_WRITE);
    if (code != CODE_OK && j->op == OP_TREQ) {
        return code;
    }
    j->fault = j->src;
    if (j->op == OP_PROBE) {
        found = vdma_atc_find(d, req.addr, req.has_pasid, req.pasid);
        if (!found) {
            return CODE_MISS;
        }
        e = *found;
    } else {
        /* A request of its own, whatever the ATC has */
        found = vdma_atc_find(d, req.addr, req.has_pasid, req.pasid);
        if (found) {
            vdma_atc_drop(d, found);
        }
        code = vdma_ats(j, &req, false, &e);
        if (code != CODE_OK) {
            return code;
        }
    }
    j->result = e.addr | (j->src & e.mask);
    j->result2 = e.perm | (uint64_t)e.untranslated << 2 |
                 (uint64_t)e.global << 3 | ctpop64(e.mask) << 8;
    return CODE_OK;
}

static void vdma_job_done(VdmaJob *j, int code)
{
    ViommuDma *d = j->dev;

    j->active = false;
    trace_viommu_dma_done(j == &d->stream, j->op, code, j->fault);
    if (j == &d->job) {
        d->status = STATUS_DONE | (uint64_t)code << STATUS_CODE_SHIFT;
        d->result = code == CODE_MISMATCH || j->op == OP_TREQ ||
                    j->op == OP_PROBE ? j->result : j->sum;
        d->result2 = j->result2;
        d->fault = code == CODE_OK ? 0 : j->fault;
        if (d->ctrl & CTRL_INT_CMD && msi_enabled(PCI_DEVICE(d))) {
            msi_notify(PCI_DEVICE(d), VDMA_MSI_CMD);
        }
        return;
    }

    d->s_laps++;
    d->s_code = code;
    d->s_sum = j->sum;
    if (code == CODE_OK && j->op == OP_STREAM_SUM && j->sum != d->s_expect) {
        code = CODE_MISMATCH;
        j->fault = j->src;
    }
    if (code != CODE_OK) {
        *(code == CODE_MISMATCH ? &d->s_bad : &d->s_faults) += 1;
        d->s_code = code;
        d->s_erraddr = j->fault;
        if (d->ctrl & CTRL_INT_STREAM && msi_enabled(PCI_DEVICE(d))) {
            msi_notify(PCI_DEVICE(d), msi_nr_vectors_allocated(PCI_DEVICE(d)) >
                                      VDMA_MSI_STREAM ? VDMA_MSI_STREAM : 0);
        }
    }
    if (d->s_mode != S_STOP) {
        timer_mod(&d->stream_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                  MAX(d->sdesc[(R_S_PERIOD - R_S_SRC) / 8], SCALE_US));
    }
}

static void vdma_job_run(VdmaJob *j)
{
    int code = CODE_OK;

    if (j->op == OP_TREQ || j->op == OP_PROBE) {
        vdma_job_done(j, vdma_look(j));
        return;
    }
    while (j->done < j->len) {
        code = vdma_step(j);
        if (code == CODE_STALL) {
            return;
        }
        if (code != CODE_OK) {
            break;
        }
    }
    vdma_job_done(j, code);
}

static void vdma_resume(IOMMUPortClient *c, void *cookie,
                        IOMMUPortResult verdict)
{
    VdmaJob *j = cookie;

    if (!j->active || !j->stalled) {
        return;
    }
    j->stalled = false;
    j->use_verdict = true;
    j->verdict = verdict;
    vdma_job_run(j);
}

static void vdma_job_cancel(VdmaJob *j)
{
    ViommuDma *d = j->dev;

    if (j->active && j->stalled && d->port) {
        IOMMU_PORT_GET_CLASS(d->port)->cancel(d->port, j);
    }
    j->active = false;
    j->stalled = false;
    j->use_verdict = false;
}

static void vdma_job_init(VdmaJob *j, int op, const uint64_t *desc)
{
    j->op = op;
    j->src = desc[0];
    j->dst = desc[1];
    j->len = desc[2];
    j->flags = desc[4];
    j->pasid[0] = extract64(desc[5], 0, 20);
    j->pasid[1] = extract64(desc[5], 32, 20);
    j->seed = desc[6];
    j->done = 0;
    j->phase = 0;
    j->buf = 0;
    j->sum = FNV_BASIS;
    j->result = 0;
    j->result2 = 0;
    j->fault = 0;
    j->active = true;
    j->stalled = false;
    j->use_verdict = false;
}

static void vdma_job_timer(void *opaque)
{
    ViommuDma *d = opaque;

    vdma_job_run(&d->job);
}

static void vdma_start(ViommuDma *d, uint64_t op)
{
    VdmaJob *j = &d->job;
    uint64_t buf = d->desc[(R_BUF - R_SRC) / 8];
    uint64_t len = d->desc[(R_LEN - R_SRC) / 8];
    bool uses_buf = op == OP_READ || op == OP_WRITE || op == OP_COMPARE;

    if (j->active) {
        if (op) {
            qemu_log_mask(LOG_GUEST_ERROR, "viommu-dma: CMD while busy\n");
            return;
        }
        timer_del(&d->job_timer);
        vdma_job_cancel(j);
        vdma_job_done(j, CODE_CANCELLED);
        return;
    }
    if (!op) {
        d->status = 0;
        return;
    }
    vdma_job_init(j, op, d->desc);
    if (op >= OP_STREAM || len > GiB ||
        (uses_buf && (buf > VDMA_BUF_SIZE || len > VDMA_BUF_SIZE - buf))) {
        vdma_job_done(j, CODE_BAD_DESC);
        return;
    }
    j->buf = buf;
    d->status = STATUS_BUSY;
    if (d->dma_delay) {
        timer_mod(&d->job_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                                 d->dma_delay);
    } else {
        vdma_job_run(j);
    }
}

static void vdma_stream_timer(void *opaque)
{
    ViommuDma *d = opaque;

    if (d->s_mode == S_STOP) {
        return;
    }
    vdma_job_init(&d->stream, d->s_mode == S_SUM ? OP_STREAM_SUM : OP_STREAM,
                  d->sdesc);
    /* Each lap has another pattern: old data is wrong data */
    d->stream.seed += d->s_laps * 0x100000001ULL;
    vdma_job_run(&d->stream);
}

static void vdma_stream_ctrl(ViommuDma *d, uint64_t mode)
{
    if (mode >= S_MODES || d->sdesc[(R_S_LEN - R_S_SRC) / 8] > 16 * MiB) {
        qemu_log_mask(LOG_GUEST_ERROR, "viommu-dma: bad S_CTRL or S_LEN\n");
        return;
    }
    timer_del(&d->stream_timer);
    vdma_job_cancel(&d->stream);
    d->s_mode = mode;
    if (mode != S_STOP) {
        d->s_laps = d->s_bad = d->s_faults = 0;
        d->s_sum = d->s_erraddr = 0;
        d->s_code = 0;
        timer_mod(&d->stream_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                                    SCALE_US);
    }
}

/* Registers */

static void vdma_reset_regs(ViommuDma *d)
{
    timer_del(&d->stream_timer);
    timer_del(&d->job_timer);
    vdma_job_cancel(&d->job);
    vdma_job_cancel(&d->stream);
    while (!QTAILQ_EMPTY(&d->held)) {
        /* Nobody will answer */
        vdma_inv_free(d, QTAILQ_FIRST(&d->held));
    }
    vdma_atc_empty(d);
    d->ctrl = d->status = d->result = d->result2 = d->fault = 0;
    memset(d->desc, 0, sizeof(d->desc));
    memset(d->sdesc, 0, sizeof(d->sdesc));
    d->s_expect = d->s_laps = d->s_bad = d->s_faults = 0;
    d->s_sum = d->s_erraddr = 0;
    d->s_mode = S_STOP;
    d->s_code = 0;
    d->atc_hits = d->treqs = d->treq_ok = 0;
    d->invs = d->inv_done = 0;
    d->inv_addr = d->inv_info = 0;
    d->txns = d->stalls = 0;
    d->ats_was_on = vdma_ats_on(d);
    memset(d->buf, 0, VDMA_BUF_SIZE);
}

static uint64_t vdma_status(ViommuDma *d)
{
    return d->status | (d->job.active && d->job.stalled ? STATUS_STALLED : 0);
}

static uint64_t *vdma_reg(ViommuDma *d, hwaddr reg, bool write)
{
    switch (reg) {
    case R_SRC ... R_SEED:
        return &d->desc[(reg - R_SRC) / 8];
    case R_S_SRC ... R_S_SEED:
        return &d->sdesc[(reg - R_S_SRC) / 8];
    case R_CTRL:
        return &d->ctrl;
    case R_S_EXPECT:
        return &d->s_expect;
    case R_INV_MODE:
        return &d->inv_mode;
    case R_INV_DELAY:
        return &d->inv_delay;
    case R_KNOBS:
        return &d->knobs;
    case R_RESET_MS:
        return &d->reset_ms;
    }
    if (write) {
        return NULL;
    }
    switch (reg) {
    case R_RESULT:
        return &d->result;
    case R_RESULT2:
        return &d->result2;
    case R_FAULT:
        return &d->fault;
    case R_S_LAPS:
        return &d->s_laps;
    case R_S_BAD:
        return &d->s_bad;
    case R_S_FAULTS:
        return &d->s_faults;
    case R_S_SUM:
        return &d->s_sum;
    case R_S_ERRADDR:
        return &d->s_erraddr;
    case R_ATC_COUNT:
        return &d->atc_count;
    case R_ATC_HITS:
        return &d->atc_hits;
    case R_TREQS:
        return &d->treqs;
    case R_TREQ_OK:
        return &d->treq_ok;
    case R_INVS:
        return &d->invs;
    case R_INV_DONE:
        return &d->inv_done;
    case R_INV_HELD:
        return &d->inv_held;
    case R_INV_ADDR:
        return &d->inv_addr;
    case R_INV_INFO:
        return &d->inv_info;
    case R_TXNS:
        return &d->txns;
    case R_STALLS:
        return &d->stalls;
    }
    return NULL;
}

static uint64_t vdma_regs_read(void *opaque, hwaddr addr, unsigned size)
{
    ViommuDma *d = opaque;
    hwaddr reg = addr & ~7ULL;
    uint64_t *p = vdma_reg(d, reg, false);
    uint64_t val;

    if (p) {
        val = *p;
    } else {
        switch (reg) {
        case R_ID:
            val = (uint64_t)VDMA_VERSION << 32 | VDMA_ID;
            break;
        case R_CAPS:
            val = d->ats | !!d->pasid_bits << 1 | !!d->port << 2 |
                  d->pasid_bits << 8;
            break;
        case R_STATUS:
            val = vdma_status(d);
            break;
        case R_S_STATUS:
            val = (d->s_mode != S_STOP) |
                  (d->stream.active && d->stream.stalled ? STATUS_STALLED : 0) |
                  (uint64_t)d->s_code << STATUS_CODE_SHIFT;
            break;
        case R_S_CTRL:
            val = d->s_mode;
            break;
        default:
            val = 0;
            break;
        }
    }
    return size == 8 ? val : extract64(val, (addr & 4) * 8, 32);
}

static void vdma_regs_write(void *opaque, hwaddr addr, uint64_t val,
                            unsigned size)
{
    ViommuDma *d = opaque;
    hwaddr reg = addr & ~7ULL;
    uint64_t *p = vdma_reg(d, reg, true);

    if (p) {
        *p = size == 8 ? val : deposit64(*p, (addr & 4) * 8, 32, val);
        return;
    }
    if (addr & 4) {
        /* The high half of a register that does something */
        return;
    }
    switch (reg) {
    case R_CMD:
        vdma_start(d, val);
        break;
    case R_S_CTRL:
        vdma_stream_ctrl(d, val);
        break;
    case R_INV_GO:
        vdma_inv_release(d);
        break;
    case R_RESET:
        if (val & 1) {
            vdma_reset_regs(d);
        }
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR,
                      "viommu-dma: write to 0x%" HWADDR_PRIx "\n", addr);
        break;
    }
}

static const MemoryRegionOps vdma_regs_ops = {
    .read = vdma_regs_read,
    .write = vdma_regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
    },
    .impl = {
        .min_access_size = 4,
        .max_access_size = 8,
    },
};

/* Device */

/* In a reset that takes longer than it may, by KNOB_RESET_CONFIG */
static bool vdma_config_dead(ViommuDma *d)
{
    return d->knobs & KNOB_RESET_CONFIG &&
           qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) < d->reset_ends;
}

static uint32_t vdma_config_read(PCIDevice *pdev, uint32_t addr, int len)
{
    ViommuDma *d = VIOMMU_DMA(pdev);

    if (vdma_config_dead(d)) {
        return ~0;
    }
    if (!d->reset_ms) {
        d->reset_ends = 0;
    }
    return pci_default_read_config(pdev, addr, len);
}

static void vdma_config_write(PCIDevice *pdev, uint32_t addr, uint32_t val,
                              int len)
{
    ViommuDma *d = VIOMMU_DMA(pdev);
    uint8_t state = vdma_power_state(d);
    bool on;

    if (vdma_config_dead(d)) {
        return;
    }
    pci_default_write_config(pdev, addr, val, len);
    if (pdev->exp.exp_cap) {
        pcie_cap_flr_write_config(pdev, addr, val, len);
    }
    if (d->aer) {
        pcie_aer_write_config(pdev, addr, val, len);
    }
    if (d->af && range_covers_byte(addr, len, d->af_cap + PCI_AF_CTRL) &&
        val >> (d->af_cap + PCI_AF_CTRL - addr) * 8 & PCI_AF_CTRL_FLR) {
        pci_device_reset(pdev);
    }
    if (state == 3 && !vdma_power_state(d)) {
        /* No_Soft_Reset is 0 */
        pci_device_reset(pdev);
        vdma_reset_takes(d, VDMA_D0_MS);
    }
    on = vdma_ats_on(d);
    if (on && !d->ats_was_on) {
        /*
         * PCIe 10.5.1.3: the ATC is empty when ATS is enabled. What is in it
         * until then stays, so that a driver which does not disable ATS first
         * sees it.
         */
        vdma_atc_empty(d);
    }
    d->ats_was_on = on;
}

static void vdma_reset_hold(Object *obj, ResetType type)
{
    ViommuDma *d = VIOMMU_DMA(obj);
    PCIDevice *pdev = PCI_DEVICE(d);

    if (d->ats) {
        pci_set_word(pdev->config + VDMA_ATS_CAP + PCI_ATS_CTRL, 0);
    }
    if (d->pasid_bits) {
        pci_set_word(pdev->config + VDMA_PASID_CAP + PCI_PASID_CTRL, 0);
    }
    if (d->aer) {
        pcie_cap_deverr_reset(pdev);
    }
    vdma_reset_regs(d);
    vdma_reset_takes(d, VDMA_RESET_MS);
    vdma_reset_link(d);
}

/*
 * CXL r3.1 8.1.3, PCIe DVSEC for CXL Devices. Nothing but Cache_Capable is in
 * it: the device is no CXL device, it only makes software take it for one.
 */
static void vdma_add_cxl_dvsec(PCIDevice *pdev)
{
    uint8_t *dvsec = pdev->config + VDMA_DVSEC_CAP;

    pcie_add_capability(pdev, PCI_EXT_CAP_ID_DVSEC, 1, VDMA_DVSEC_CAP,
                        VDMA_DVSEC_SIZEOF);
    pci_set_long(dvsec + PCI_DVSEC_HEADER1,
                 0x1e98 | 3 << 16 | VDMA_DVSEC_SIZEOF << 20);
    pci_set_word(dvsec + PCI_DVSEC_HEADER2, 0);
    pci_set_word(dvsec + 0x0a, 1);
}

/* Advanced Features, of which the only one is another FLR */
static bool vdma_add_af(ViommuDma *d, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(d);
    int pos = pci_add_capability(pdev, PCI_CAP_ID_AF, 0, PCI_CAP_AF_SIZEOF,
                                 errp);

    if (pos < 0) {
        return false;
    }
    d->af_cap = pos;
    pci_set_byte(pdev->config + pos + PCI_AF_LENGTH, PCI_CAP_AF_SIZEOF);
    pci_set_byte(pdev->config + pos + PCI_AF_CAP,
                 PCI_AF_CAP_TP | PCI_AF_CAP_FLR);
    return true;
}

/* Power management with D0 and D3hot. No_Soft_Reset is 0: D0 resets */
static bool vdma_add_pm(PCIDevice *pdev, Error **errp)
{
    int pos = pci_pm_init(pdev, 0, errp);

    if (pos < 0) {
        return false;
    }
    pci_set_word(pdev->config + pos + PCI_PM_PMC, PCI_PM_CAP_VER_1_2);
    pci_set_word(pdev->wmask + pos + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
    return true;
}

static void vdma_realize(PCIDevice *pdev, Error **errp)
{
    ViommuDma *d = VIOMMU_DMA(pdev);
    uint8_t *config = pdev->config;

    if (d->pasid_bits > 20) {
        error_setg(errp, "pasid-bits is at most 20");
        return;
    }
    if (!d->atc_size) {
        error_setg(errp, "atc-size is at least 1");
        return;
    }
    if (pci_bus_is_express(pci_get_bus(pdev))) {
        if (pcie_endpoint_cap_init(pdev, 0x80) < 0) {
            error_setg(errp, "no PCI Express capability");
            return;
        }
        if (d->flr) {
            pcie_cap_flr_init(pdev);
        }
        if (d->ats) {
            pcie_ats_init(pdev, VDMA_ATS_CAP, true);
        }
        if (d->pasid_bits) {
            pcie_add_capability(pdev, PCI_EXT_CAP_ID_PASID, 1, VDMA_PASID_CAP,
                                VDMA_PASID_SIZEOF);
            pci_set_word(config + VDMA_PASID_CAP + PCI_PASID_CAP,
                         PCI_PASID_CAP_EXEC | PCI_PASID_CAP_PRIV |
                         d->pasid_bits << 8);
            pci_set_word(pdev->wmask + VDMA_PASID_CAP + PCI_PASID_CTRL,
                         PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_EXEC |
                         PCI_PASID_CTRL_PRIV);
        }
        if (d->cxl_cache) {
            vdma_add_cxl_dvsec(pdev);
        }
        if (d->aer) {
            pcie_cap_deverr_init(pdev);
            if (pcie_aer_init(pdev, PCI_ERR_VER, VDMA_AER_CAP, PCI_ERR_SIZEOF,
                              errp) < 0) {
                return;
            }
        }
        if (d->acs) {
            if (!(pdev->cap_present & QEMU_PCI_CAP_MULTIFUNCTION) &&
                !PCI_FUNC(pdev->devfn)) {
                error_setg(errp, "acs needs multifunction");
                return;
            }
            pcie_acs_init(pdev, VDMA_ACS_CAP);
        }
    } else if (d->ats || d->pasid_bits || d->cxl_cache || d->aer || d->acs) {
        error_setg(errp, "ats, pasid-bits, cxl-cache, aer and acs need a PCI "
                   "Express bus");
        return;
    }
    if ((d->af && !vdma_add_af(d, errp)) ||
        (d->pm && !vdma_add_pm(pdev, errp))) {
        return;
    }
    pci_set_word(config + PCI_VENDOR_ID, d->vendor_id);
    pci_set_word(config + PCI_DEVICE_ID, d->device_id);
    pci_set_byte(config + PCI_REVISION_ID, d->revision);
    if (msi_init(pdev, 0, VDMA_MSIS, true, false, errp)) {
        return;
    }

    memory_region_init(&d->bar, OBJECT(d), "viommu-dma", VDMA_BAR_SIZE);
    memory_region_init_io(&d->regs, OBJECT(d), &vdma_regs_ops, d,
                          "viommu-dma-regs", VDMA_REGS_SIZE);
    memory_region_add_subregion(&d->bar, 0, &d->regs);
    if (!memory_region_init_ram(&d->ram, OBJECT(d), "viommu-dma-buf",
                                VDMA_BUF_SIZE, errp)) {
        return;
    }
    memory_region_add_subregion(&d->bar, VDMA_BUF_OFFSET, &d->ram);
    d->buf = memory_region_get_ram_ptr(&d->ram);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64 |
                     PCI_BASE_ADDRESS_MEM_PREFETCH, &d->bar);

    d->client.invalidate = vdma_invalidate;
    d->client.resume = vdma_resume;
    d->port = iommu_port_of(pdev);
    if (d->port) {
        IOMMU_PORT_GET_CLASS(d->port)->connect(d->port, &d->client);
    }
}

static void vdma_exit(PCIDevice *pdev)
{
    ViommuDma *d = VIOMMU_DMA(pdev);

    vdma_reset_regs(d);
    if (d->port) {
        IOMMU_PORT_GET_CLASS(d->port)->connect(d->port, NULL);
    }
    msi_uninit(pdev);
    if (d->aer) {
        pcie_aer_exit(pdev);
    }
    if (pdev->exp.exp_cap) {
        pcie_cap_exit(pdev);
    }
}

static char *vdma_get_atc(Object *obj, Error **errp)
{
    ViommuDma *d = VIOMMU_DMA(obj);
    GString *s = g_string_new("");
    VdmaAtcEntry *e;

    QTAILQ_FOREACH(e, &d->atc, next) {
        if (e->has_pasid) {
            g_string_append_printf(s, "pasid=%u ", e->pasid);
        }
        g_string_append_printf(s, "iova=0x%" PRIx64 " size=0x%" PRIx64
                               " addr=0x%" PRIx64 " perm=%s%s%s%s;", e->iova,
                               e->mask + 1, e->addr,
                               e->perm & IOMMU_RO ? "r" : "",
                               e->perm & IOMMU_WO ? "w" : "",
                               e->untranslated ? "u" : "",
                               e->global ? "g" : "");
    }
    return g_string_free(s, false);
}

static void vdma_instance_init(Object *obj)
{
    ViommuDma *d = VIOMMU_DMA(obj);

    /* The size of the configuration space; realize looks at the bus */
    PCI_DEVICE(obj)->cap_present |= QEMU_PCI_CAP_EXPRESS;
    QTAILQ_INIT(&d->atc);
    QTAILQ_INIT(&d->held);
    d->job.dev = d;
    d->stream.dev = d;
    timer_init_ns(&d->stream_timer, QEMU_CLOCK_VIRTUAL, vdma_stream_timer, d);
    timer_init_ns(&d->job_timer, QEMU_CLOCK_VIRTUAL, vdma_job_timer, d);
    object_property_add_uint64_ptr(obj, "inv-mode", &d->inv_mode,
                                   OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint64_ptr(obj, "inv-delay", &d->inv_delay,
                                   OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint64_ptr(obj, "knobs", &d->knobs,
                                   OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint64_ptr(obj, "reset-ms", &d->reset_ms,
                                   OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint64_ptr(obj, "dma-delay", &d->dma_delay,
                                   OBJ_PROP_FLAG_READWRITE);
}

static void vdma_instance_finalize(Object *obj)
{
    ViommuDma *d = VIOMMU_DMA(obj);

    timer_deinit(&d->stream_timer);
    timer_deinit(&d->job_timer);
}

static const Property vdma_properties[] = {
    DEFINE_PROP_BOOL("ats", ViommuDma, ats, false),
    DEFINE_PROP_UINT8("pasid-bits", ViommuDma, pasid_bits, 0),
    DEFINE_PROP_UINT32("atc-size", ViommuDma, atc_size, 4096),
    DEFINE_PROP_BOOL("cxl-cache", ViommuDma, cxl_cache, false),
    DEFINE_PROP_UINT16("vendor-id", ViommuDma, vendor_id, PCI_VENDOR_ID_QEMU),
    DEFINE_PROP_UINT16("device-id", ViommuDma, device_id, VDMA_DEVICE_ID),
    DEFINE_PROP_UINT8("revision", ViommuDma, revision, 1),
    DEFINE_PROP_BOOL("flr", ViommuDma, flr, true),
    DEFINE_PROP_BOOL("af", ViommuDma, af, false),
    DEFINE_PROP_BOOL("pm", ViommuDma, pm, false),
    DEFINE_PROP_BOOL("aer", ViommuDma, aer, false),
    DEFINE_PROP_BOOL("acs", ViommuDma, acs, false),
};

static const VMStateDescription vmstate_vdma = {
    .name = TYPE_VIOMMU_DMA,
    .unmigratable = 1,
};

static void vdma_class_init(ObjectClass *class, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(class);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(class);
    ResettableClass *rc = RESETTABLE_CLASS(class);

    k->realize = vdma_realize;
    k->exit = vdma_exit;
    k->config_read = vdma_config_read;
    k->config_write = vdma_config_write;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = VDMA_DEVICE_ID;
    k->revision = 1;
    k->class_id = PCI_CLASS_OTHERS;
    rc->phases.hold = vdma_reset_hold;
    dc->vmsd = &vmstate_vdma;
    dc->desc = "DMA source for tests of an IOMMU";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, vdma_properties);
    object_class_property_add_str(class, "atc", vdma_get_atc, NULL);
}

static const InterfaceInfo vdma_interfaces[] = {
    { INTERFACE_PCIE_DEVICE },
    { INTERFACE_CONVENTIONAL_PCI_DEVICE },
    { },
};

static const TypeInfo vdma_info = {
    .name = TYPE_VIOMMU_DMA,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(ViommuDma),
    .instance_init = vdma_instance_init,
    .instance_finalize = vdma_instance_finalize,
    .class_init = vdma_class_init,
    .interfaces = (InterfaceInfo *)vdma_interfaces,
};

static void vdma_register_types(void)
{
    type_register_static(&vdma_info);
}

type_init(vdma_register_types)
