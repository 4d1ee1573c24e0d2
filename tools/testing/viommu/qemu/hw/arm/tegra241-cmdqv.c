/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * NVIDIA Tegra241 CMDQV: command queue virtualization for the SMMUv3
 *
 * The block has VCMDQs, which are command queues like that of the SMMU, and
 * VINTFs, which are groups of VCMDQs with a page of registers that a hypervisor
 * can give to a guest. Commands of a guest's VINTF are filtered, get its VMID,
 * and have the virtual StreamID of an ATC_INV replaced.
 *
 * This is the host's side of the block. No manual of it is public, so the
 * model is strict where drivers cannot know what the hardware does, and the
 * other answer is a property.
 *
 * Three things have an enable bit and a status bit that follows it: the block,
 * a VINTF and a VCMDQ. "Wanted" below means that the enable bits of the thing
 * and of everything around it are set, "ok" is the status bit.
 *
 * Everything here runs under the BQL.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/cutils.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/irq.h"
#include "hw/qdev-properties.h"
#include "hw/registerfields.h"
#include "hw/sysbus.h"
#include "migration/vmstate.h"
#include "system/dma.h"
#include "trace.h"

#include "hw/arm/smmuv3.h"
#include "hw/arm/tegra241-cmdqv.h"
#include "smmuv3-internal.h"
#include "smmu-internal.h"

OBJECT_DECLARE_SIMPLE_TYPE(Tegra241CMDQV, TEGRA241_CMDQV)

#define CMDQV_MAX_LOG2_VINTFS   6
#define CMDQV_MAX_LOG2_VCMDQS   7
#define CMDQV_MAX_LOG2_SIDS     4
#define CMDQV_MAX_VINTFS        (1 << CMDQV_MAX_LOG2_VINTFS)
#define CMDQV_MAX_VCMDQS        (1 << CMDQV_MAX_LOG2_VCMDQS)
#define CMDQV_MAX_SIDS          (1 << CMDQV_MAX_LOG2_SIDS)
#define CMDQV_MAX_LVCMDQS       128

/* Commands of one queue in the write that starts it, and in a turn later */
#define CMDQV_BATCH_WRITE       1024
#define CMDQV_BATCH_TURN        256
#define CMDQV_TURN_NS           1000

/* Address map */
#define CMDQV_CONFIG_PAGE       0x00000
#define CMDQV_DIRECT_PAGE0      0x10000
#define CMDQV_DIRECT_PAGE1      0x20000
#define CMDQV_VINTF_BASE        0x30000
#define CMDQV_VINTF_SIZE        0x20000
#define CMDQV_PAGE_SIZE         0x10000
#define CMDQV_QUEUE_SIZE        0x80

/* Configuration page */
REG32(CONFIG, 0x0)
    FIELD(CONFIG, EN, 0, 1)
    FIELD(CONFIG, CONS_DRAM_EN, 20, 1)
#define CONFIG_MASK             0x001fffff
#define CONFIG_RESET            0x00020083
REG32(PARAM, 0x4)
    FIELD(PARAM, VER, 0, 4)
    FIELD(PARAM, LOG2_VCMDQS, 4, 4)
    FIELD(PARAM, LOG2_VINTFS, 8, 4)
    FIELD(PARAM, LOG2_SIDS, 12, 4)
REG32(STATUS, 0x8)
    FIELD(STATUS, ENABLED, 0, 1)
REG32(VI_ERR_MAP0, 0x14)
REG32(VI_ERR_MAP1, 0x18)
REG32(VI_INT_MASK0, 0x1c)
REG32(VI_INT_MASK1, 0x20)
REG32(CMDQ_ERR_MAP0, 0x24)
REG32(CMDQ_ERR_MAP3, 0x30)
REG32(CMDQ_ALLOC0, 0x200)
    FIELD(CMDQ_ALLOC, ALLOC, 0, 1)
    FIELD(CMDQ_ALLOC, LVCMDQ, 1, 7)
    FIELD(CMDQ_ALLOC, VINTF, 15, 6)
#define CMDQ_ALLOC_MASK         (R_CMDQ_ALLOC_ALLOC_MASK | \
                                 R_CMDQ_ALLOC_LVCMDQ_MASK | \
                                 R_CMDQ_ALLOC_VINTF_MASK)
#define CMDQV_VINTF_REGS        0x1000
#define CMDQV_VINTF_REGS_SIZE   0x100

/* In the registers of a VINTF */
REG32(VINTF_CONFIG, 0x0)
    FIELD(VINTF_CONFIG, EN, 0, 1)
    FIELD(VINTF_CONFIG, VMID, 1, 16)
    FIELD(VINTF_CONFIG, HYP_OWN, 17, 1)
#define VINTF_CONFIG_MASK       (R_VINTF_CONFIG_EN_MASK | \
                                 R_VINTF_CONFIG_VMID_MASK | \
                                 R_VINTF_CONFIG_HYP_OWN_MASK)
REG32(VINTF_STATUS, 0x4)
    FIELD(VINTF_STATUS, ENABLE_OK, 0, 1)
    FIELD(VINTF_STATUS, STATUS, 1, 3)
    FIELD(VINTF_STATUS, VCMDQS, 16, 8)
REG32(VINTF_FILTER0, 0xc)
REG32(VINTF_FILTER1, 0x10)
#define A_VINTF_SID_MATCH       0x40
    FIELD(SID_MATCH, ENABLE, 0, 1)
    FIELD(SID_MATCH, VSID, 1, 20)
#define A_VINTF_SID_REPLACE     0x80
    FIELD(SID_REPLACE, SID, 0, 20)
#define A_VINTF_LVCMDQ_ERR_MAP  0xc0

/* Page 0 of a queue */
REG32(VCMDQ_CONS, 0x0)
    FIELD(VCMDQ_CONS, RD, 0, 20)
    FIELD(VCMDQ_CONS, ERR, 24, 7)
REG32(VCMDQ_PROD, 0x4)
    FIELD(VCMDQ_PROD, WR, 0, 20)
REG32(VCMDQ_CONFIG, 0x8)
    FIELD(VCMDQ_CONFIG, EN, 0, 1)
REG32(VCMDQ_STATUS, 0xc)
    FIELD(VCMDQ_STATUS, EN_OK, 0, 1)
REG32(VCMDQ_GERROR, 0x10)
    FIELD(VCMDQ_GERROR, CMDQ_ERR, 0, 1)
    FIELD(VCMDQ_GERROR, CONS_DRAM_ABT, 1, 1)
    FIELD(VCMDQ_GERROR, INIT_ERR, 2, 1)
#define VCMDQ_GERROR_MASK       0x7
REG32(VCMDQ_GERRORN, 0x14)

/* Page 1 of a queue */
REG32(VCMDQ_BASE_L, 0x0)
    FIELD(VCMDQ_BASE, LOG2SIZE, 0, 5)
REG32(VCMDQ_BASE_H, 0x4)
REG32(VCMDQ_CONS_INDX_BASE_L, 0x8)
REG32(VCMDQ_CONS_INDX_BASE_H, 0xc)
#define VCMDQ_ADDR_MASK         MAKE_64BIT_MASK(0, 48)
#define VCMDQ_BASE_ADDR_MASK    MAKE_64BIT_MASK(5, 43)
#define VCMDQ_MAX_LOG2SIZE      19

/* CONS.ERR, beside SMMUCmdError */
#define CMDQV_CERROR_FORBIDDEN  4

/* Bits of status-stuck */
#define CMDQV_STUCK_BLOCK       BIT(0)
#define CMDQV_STUCK_VINTF       BIT(1)
#define CMDQV_STUCK_VCMDQ       BIT(2)

/* When an injected interrupt is raised: "at" of inject */
enum {
    INJECT_NOW,
    INJECT_CONFIG,
    INJECT_VINTF,
    INJECT_ALLOC,
    INJECT_PARAM,
    INJECT_NEVER,
};

typedef struct CmdqvInject {
    bool has_vi, has_cmdq[4], has_lvcmdq[2], has_v;
    uint64_t vi, cmdq[4], lvcmdq[2], v;
    uint64_t at;
    uint64_t period;
} CmdqvInject;

typedef struct CmdqvQueue {
    Tegra241CMDQV *cmdqv;
    unsigned idx;

    uint32_t alloc;
    uint32_t prod;
    uint32_t cons;
    uint32_t config;
    uint32_t gerror;
    uint32_t gerrorn;
    uint64_t base;
    uint64_t cons_indx_base;

    bool ok;
    bool init_failed;       /* not tried again before EN was 0 */
    bool busy;              /* @cmd was fetched and is being executed */
    SMMUv3CmdWait wait;     /* ATC_INVs that CMD_SYNC waits for */
    bool pending;           /* the command is such a CMD_SYNC */
    Cmd cmd;
    QEMUTimer status_timer;
    QEMUTimer cmd_timer;
} CmdqvQueue;

typedef struct CmdqvVintf {
    Tegra241CMDQV *cmdqv;
    unsigned idx;

    uint32_t config;
    uint32_t config_en;     /* @config when EN was last written from 0 to 1 */
    uint32_t config_ok;     /* what the VINTF works with while @ok */
    uint32_t filter[2];
    uint32_t sid_match[CMDQV_MAX_SIDS];
    uint32_t sid_replace[CMDQV_MAX_SIDS];

    bool ok;
    CmdqvQueue *slot[CMDQV_MAX_LVCMDQS];
    QEMUTimer status_timer;
} CmdqvVintf;

struct Tegra241CMDQV {
    SysBusDevice parent_obj;

    MemoryRegion iomem;
    qemu_irq irq;
    SMMUv3State *smmu;

    uint32_t config;
    uint64_t vi_int_mask;
    bool ok;
    bool irq_level;
    CmdqvVintf vintf[CMDQV_MAX_VINTFS];
    CmdqvQueue vcmdq[CMDQV_MAX_VCMDQS];
    QEMUTimer status_timer;
    QEMUTimer run_timer;
    QEMUTimer inject_timer;

    /* Fixed when the machine starts */
    uint8_t version;
    uint8_t log2_vintfs;
    uint8_t log2_vcmdqs;
    uint8_t log2_sids;
    uint32_t uid;
    bool acpi_irq;

    /* Can be set at any time */
    uint64_t status_delay;
    uint64_t status_stuck;
    uint64_t cmd_delay;
    uint64_t forbidden_code;
    bool sticky;
    bool atc_collect_error;
    bool sync_cs_ok;
    bool cons_err_keep;
    bool gerrorn_irq;
    bool alloc_steal;
    bool vmid_live;
    bool write_running;
    bool unmask_irq;
    bool wide_access;
    bool sid_match_last;
    bool ignore_cr0;
    bool no_hyp_own;
    bool no_vmid_stamp;
    bool no_sid_swap;
    bool no_filter;
    bool no_irq;
    bool level_irq;
    char *atc_timeout;
    bool atc_timeout_all;
    GHashTable *atc_timeout_sids;
    char *inject_str;
    CmdqvInject inject;

    /* Can be read */
    uint64_t commands;
    uint64_t tlbis;
    uint64_t syncs;
    uint64_t atc_invs;
    uint64_t errors;
    uint64_t irqs;
    uint64_t guest_errors;
    uint64_t fetches;
    GHashTable *atc_inv_sids;
    char last_atc_inv[2 * 16 + 2];
    char last_cmd[2 * 16 + 6];
};

#define cmdqv_guest_error(s, fmt, ...) \
    do { \
        (s)->guest_errors++; \
        qemu_log_mask(LOG_GUEST_ERROR, "tegra241-cmdqv: " fmt "\n", \
                      ## __VA_ARGS__); \
    } while (0)

static void vcmdq_run(CmdqvQueue *q, unsigned budget);
static void vcmdq_settle(CmdqvQueue *q);
static void vintf_settle(CmdqvVintf *v);
static void cmdqv_settle(Tegra241CMDQV *s);

static inline unsigned cmdqv_nr_vintfs(Tegra241CMDQV *s)
{
    return 1 << s->log2_vintfs;
}

static inline unsigned cmdqv_nr_vcmdqs(Tegra241CMDQV *s)
{
    return 1 << s->log2_vcmdqs;
}

static inline unsigned cmdqv_nr_sids(Tegra241CMDQV *s)
{
    return 1 << s->log2_sids;
}

static inline bool vcmdq_allocated(CmdqvQueue *q)
{
    return FIELD_EX32(q->alloc, CMDQ_ALLOC, ALLOC);
}

static inline unsigned vcmdq_lidx(CmdqvQueue *q)
{
    return FIELD_EX32(q->alloc, CMDQ_ALLOC, LVCMDQ);
}

/* VINTF of an allocated queue */
static inline CmdqvVintf *vcmdq_vintf(CmdqvQueue *q)
{
    return &q->cmdqv->vintf[FIELD_EX32(q->alloc, CMDQ_ALLOC, VINTF)];
}

static inline bool vcmdq_in_error(CmdqvQueue *q)
{
    return q->gerror != q->gerrorn;
}

static inline bool cmdqv_wanted(Tegra241CMDQV *s)
{
    return FIELD_EX32(s->config, CONFIG, EN);
}

static bool vintf_wanted(CmdqvVintf *v)
{
    return cmdqv_wanted(v->cmdqv) && v->cmdqv->ok &&
           FIELD_EX32(v->config, VINTF_CONFIG, EN);
}

static bool vcmdq_wanted(CmdqvQueue *q)
{
    return vcmdq_allocated(q) && FIELD_EX32(q->config, VCMDQ_CONFIG, EN) &&
           vintf_wanted(vcmdq_vintf(q)) && vcmdq_vintf(q)->ok;
}

static uint32_t vintf_effective_config(CmdqvVintf *v)
{
    return v->cmdqv->vmid_live ? v->config : v->config_ok;
}

static bool vintf_hyp_own(CmdqvVintf *v)
{
    return FIELD_EX32(vintf_effective_config(v), VINTF_CONFIG, HYP_OWN);
}

/* Error maps and the interrupt */

static uint64_t cmdqv_vi_err_map(Tegra241CMDQV *s)
{
    uint64_t map = 0;
    unsigned i;

    for (i = 0; i < cmdqv_nr_vcmdqs(s); i++) {
        CmdqvQueue *q = &s->vcmdq[i];

        if (vcmdq_allocated(q) && vcmdq_in_error(q)) {
            map |= BIT_ULL(vcmdq_vintf(q)->idx);
        }
    }
    return map;
}

static uint32_t cmdqv_cmdq_err_map(Tegra241CMDQV *s, unsigned word)
{
    uint32_t map = 0;
    unsigned i;

    for (i = 0; i < 32; i++) {
        CmdqvQueue *q = &s->vcmdq[word * 32 + i];

        if (vcmdq_allocated(q) && vcmdq_in_error(q)) {
            map |= BIT(i);
        }
    }
    return map;
}

static uint64_t vintf_lvcmdq_err_map(CmdqvVintf *v, unsigned word)
{
    uint64_t map = 0;
    unsigned i;

    for (i = 0; i < 64; i++) {
        CmdqvQueue *q = v->slot[word * 64 + i];

        if (q && vcmdq_in_error(q)) {
            map |= BIT_ULL(i);
        }
    }
    return map;
}

static void cmdqv_pulse(Tegra241CMDQV *s)
{
    if (s->no_irq) {
        return;
    }
    s->irqs++;
    trace_tegra241_cmdqv_irq(cmdqv_vi_err_map(s));
    qemu_irq_pulse(s->irq);
}

/* With level-irq the line follows the maps, without it stays low */
static void cmdqv_update_level(Tegra241CMDQV *s)
{
    bool level = s->level_irq && !s->no_irq &&
                 (cmdqv_vi_err_map(s) & ~s->vi_int_mask);

    if (level != s->irq_level) {
        s->irq_level = level;
        s->irqs += level;
        qemu_set_irq(s->irq, level);
    }
}

/* A new error of @v's queues */
static void vintf_raise(CmdqvVintf *v)
{
    Tegra241CMDQV *s = v->cmdqv;

    if (s->level_irq) {
        cmdqv_update_level(s);
    } else if (!(s->vi_int_mask & BIT_ULL(v->idx))) {
        cmdqv_pulse(s);
    }
}

static void vcmdq_error(CmdqvQueue *q, uint32_t bits)
{
    bits &= ~(q->gerror ^ q->gerrorn);
    if (!bits) {
        return;
    }
    q->gerror ^= bits;
    q->cmdqv->errors++;
    trace_tegra241_cmdqv_error(q->idx, q->cons, q->gerror, q->gerrorn);
    vintf_raise(vcmdq_vintf(q));
}

static void cmdqv_inject_event(Tegra241CMDQV *s, unsigned event)
{
    if (s->inject_str && s->inject.at == event) {
        cmdqv_pulse(s);
    }
}

static void cmdqv_inject_timer(void *opaque)
{
    Tegra241CMDQV *s = opaque;

    cmdqv_pulse(s);
    timer_mod(&s->inject_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                                s->inject.period);
}

/* Commands */

static bool cmdqv_atc_inv(void *opaque, const Cmd *cmd)
{
    Tegra241CMDQV *s = opaque;
    uint32_t sid = CMD_SID(cmd);
    gpointer key = GUINT_TO_POINTER(sid);
    bool lost;

    lost = s->atc_timeout_all ||
           g_hash_table_contains(s->atc_timeout_sids, key);
    trace_tegra241_cmdqv_atc_inv(sid, CMD_SSV(cmd), CMD_SSID(cmd), lost);

    s->atc_invs++;
    snprintf(s->last_atc_inv, sizeof(s->last_atc_inv), "%016" PRIx64
             " %016" PRIx64, (uint64_t)cmd->word[1] << 32 | cmd->word[0],
             (uint64_t)cmd->word[3] << 32 | cmd->word[2]);
    /* No pair makes other StreamIDs, and they could make the table grow */
    if (sid <= R_SID_REPLACE_SID_MASK) {
        unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(s->atc_inv_sids,
                                                          key));

        g_hash_table_insert(s->atc_inv_sids, key, GUINT_TO_POINTER(n + 1));
    }
    return !lost;
}

/* A CMD_SYNC on the SMMU's own queue takes what was left of lost ATC_INVs */
static bool cmdqv_collect(void *opaque)
{
    Tegra241CMDQV *s = opaque;
    bool lost = false;
    unsigned i;

    for (i = 0; i < cmdqv_nr_vcmdqs(s); i++) {
        lost |= s->vcmdq[i].wait.lost;
        s->vcmdq[i].wait.lost = false;
    }
    return lost && s->atc_collect_error;
}

static void cmdqv_cr0_changed(void *opaque)
{
    Tegra241CMDQV *s = opaque;
    unsigned i;

    for (i = 0; i < cmdqv_nr_vcmdqs(s); i++) {
        vcmdq_run(&s->vcmdq[i], CMDQV_BATCH_WRITE);
    }
}

static const SMMUv3CmdqExtOps cmdqv_smmu_ops = {
    .atc_inv = cmdqv_atc_inv,
    .collect = cmdqv_collect,
    .cr0_changed = cmdqv_cr0_changed,
};

static bool vintf_find_sid(CmdqvVintf *v, uint32_t vsid, uint32_t *sid)
{
    Tegra241CMDQV *s = v->cmdqv;
    bool found = false;
    unsigned i;

    for (i = 0; i < cmdqv_nr_sids(s); i++) {
        if (FIELD_EX32(v->sid_match[i], SID_MATCH, ENABLE) &&
            FIELD_EX32(v->sid_match[i], SID_MATCH, VSID) == vsid) {
            *sid = FIELD_EX32(v->sid_replace[i], SID_REPLACE, SID);
            found = true;
            if (!s->sid_match_last) {
                break;
            }
        }
    }
    return found;
}

/* Make of a guest's command what the SMMU executes */
static int vintf_translate(CmdqvVintf *v, Cmd *cmd)
{
    Tegra241CMDQV *s = v->cmdqv;
    uint8_t type = CMD_TYPE(cmd);
    uint32_t sid;

    switch (type) {
    case SMMU_CMD_TLBI_NH_ASID:
    case SMMU_CMD_TLBI_NH_VA:
    case SMMU_CMD_ATC_INV:
    case SMMU_CMD_SYNC:
        break;
    default:
        if (s->no_filter) {
            break;
        }
        if (type >= ARRAY_SIZE(cmd_stringify) || !cmd_stringify[type]) {
            return SMMU_CERROR_ILL;
        }
        return s->forbidden_code;
    }

    switch (type) {
    case SMMU_CMD_TLBI_NH_ALL:
    case SMMU_CMD_TLBI_NH_ASID:
    case SMMU_CMD_TLBI_NH_VA:
    case SMMU_CMD_TLBI_NH_VAA:
    case SMMU_CMD_TLBI_S12_VMALL:
    case SMMU_CMD_TLBI_S2_IPA:
        if (!s->no_vmid_stamp) {
            cmd->word[1] = deposit32(cmd->word[1], 0, 16,
                                     FIELD_EX32(vintf_effective_config(v),
                                                VINTF_CONFIG, VMID));
        }
        break;
    case SMMU_CMD_ATC_INV:
        if (s->no_sid_swap) {
            break;
        }
        if (!vintf_find_sid(v, CMD_SID(cmd), &sid)) {
            return s->forbidden_code;
        }
        cmd->word[1] = sid;
        break;
    }
    return SMMU_CERROR_NONE;
}

/* Returns what CONS.ERR becomes */
static int vcmdq_execute(CmdqvQueue *q)
{
    CmdqvVintf *v = vcmdq_vintf(q);
    Tegra241CMDQV *s = q->cmdqv;
    Cmd *cmd = &q->cmd;
    int err;

    if (!vintf_hyp_own(v)) {
        err = vintf_translate(v, cmd);
        if (err) {
            return err;
        }
    }

    /* The queues have no other way to signal than CONS */
    if (CMD_TYPE(cmd) == SMMU_CMD_SYNC &&
        CMD_SYNC_CS(cmd) != CMD_SYNC_SIG_NONE) {
        if (!s->sync_cs_ok) {
            return SMMU_CERROR_ILL;
        }
        cmd->word[0] = deposit32(cmd->word[0], 12, 2, CMD_SYNC_SIG_NONE);
    }
    return smmuv3_execute_cmd(s->smmu, cmd, &q->wait);
}

static void vcmdq_count(CmdqvQueue *q)
{
    Tegra241CMDQV *s = q->cmdqv;
    uint8_t type = CMD_TYPE(&q->cmd);

    s->commands++;
    if (type >= SMMU_CMD_TLBI_NH_ALL && type <= SMMU_CMD_TLBI_NSNH_ALL) {
        s->tlbis++;
    } else if (type == SMMU_CMD_SYNC) {
        s->syncs++;
    }
    snprintf(s->last_cmd, sizeof(s->last_cmd), "%u %016" PRIx64 " %016" PRIx64,
             q->idx, (uint64_t)q->cmd.word[1] << 32 | q->cmd.word[0],
             (uint64_t)q->cmd.word[3] << 32 | q->cmd.word[2]);
}

static unsigned vcmdq_log2size(CmdqvQueue *q)
{
    return FIELD_EX64(q->base, VCMDQ_BASE, LOG2SIZE);
}

static bool vcmdq_empty(CmdqvQueue *q)
{
    return !((q->cons ^ q->prod) & MAKE_64BIT_MASK(0, vcmdq_log2size(q) + 1));
}

static bool cmdqv_smmu_runs(Tegra241CMDQV *s)
{
    return s->ignore_cr0 ||
           (smmu_enabled(s->smmu) && smmuv3_cmdq_enabled(s->smmu));
}

static bool vcmdq_can_run(CmdqvQueue *q)
{
    return q->ok && vcmdq_wanted(q) && !vcmdq_in_error(q) && !q->busy &&
           !vcmdq_empty(q) && cmdqv_smmu_runs(q->cmdqv);
}

/* Write the copy of CONS that the driver may have asked for */
static void vcmdq_write_cons(CmdqvQueue *q)
{
    const MemTxAttrs attrs = { .memory = true };
    uint32_t cons = cpu_to_le32(q->cons);

    if (!FIELD_EX32(q->cmdqv->config, CONFIG, CONS_DRAM_EN) ||
        !q->cons_indx_base) {
        return;
    }
    if (dma_memory_write(&address_space_memory, q->cons_indx_base, &cons,
                         sizeof(cons), attrs) != MEMTX_OK) {
        vcmdq_error(q, R_VCMDQ_GERROR_CONS_DRAM_ABT_MASK);
    }
}

static void vcmdq_fail(CmdqvQueue *q, int err)
{
    q->cons = FIELD_DP32(q->cons, VCMDQ_CONS, ERR, err);
    vcmdq_error(q, R_VCMDQ_GERROR_CMDQ_ERR_MASK);
}

/* The command at CONS is read once, when its execution starts */
static bool vcmdq_fetch(CmdqvQueue *q)
{
    /* No device is read in place of memory: its registers have side effects */
    const MemTxAttrs attrs = { .memory = true };
    uint32_t rd = q->cons & (BIT(vcmdq_log2size(q)) - 1);
    dma_addr_t addr = (q->base & VCMDQ_BASE_ADDR_MASK) + rd * sizeof(Cmd);
    int i;

    if (dma_memory_read(&address_space_memory, addr, &q->cmd, sizeof(q->cmd),
                        attrs) != MEMTX_OK) {
        vcmdq_fail(q, SMMU_CERROR_ABT);
        return false;
    }
    for (i = 0; i < ARRAY_SIZE(q->cmd.word); i++) {
        le32_to_cpus(&q->cmd.word[i]);
    }
    q->cmdqv->fetches++;
    return true;
}

static void vcmdq_finish(CmdqvQueue *q)
{
    int err = vcmdq_execute(q);

    trace_tegra241_cmdqv_cmd(q->idx, vcmdq_vintf(q)->idx, q->cons,
                             CMD_TYPE(&q->cmd), CMD_SID(&q->cmd), err);
    q->pending = err == SMMU_CERROR_PENDING;
    q->busy = q->pending;
    if (q->pending) {
        /* vcmdq_kick() executes it again */
        return;
    }
    if (err) {
        vcmdq_fail(q, err);
        return;
    }
    vcmdq_count(q);
    q->cons = deposit32(q->cons, 0, vcmdq_log2size(q) + 1, q->cons + 1);
    vcmdq_write_cons(q);
}

/*
 * Execute up to @budget commands. What remains waits for the queue's turn, so
 * that no queue keeps the others waiting.
 */
static void vcmdq_run(CmdqvQueue *q, unsigned budget)
{
    Tegra241CMDQV *s = q->cmdqv;

    while (budget-- && vcmdq_can_run(q)) {
        if (!vcmdq_fetch(q)) {
            return;
        }
        if (s->cmd_delay) {
            q->busy = true;
            timer_mod(&q->cmd_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                                     s->cmd_delay);
            return;
        }
        vcmdq_finish(q);
    }
    if (!timer_pending(&s->run_timer) && vcmdq_can_run(q)) {
        timer_mod(&s->run_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                                 CMDQV_TURN_NS);
    }
}

static void cmdqv_run_timer(void *opaque)
{
    Tegra241CMDQV *s = opaque;
    unsigned i;

    for (i = 0; i < cmdqv_nr_vcmdqs(s); i++) {
        vcmdq_run(&s->vcmdq[i], CMDQV_BATCH_TURN);
    }
}

static void vcmdq_cmd_timer(void *opaque)
{
    CmdqvQueue *q = opaque;
    CmdqvVintf *v = vcmdq_vintf(q);
    Tegra241CMDQV *s = q->cmdqv;

    vcmdq_finish(q);
    /* What was to be turned off may have waited for this command only */
    if (!timer_pending(&q->status_timer)) {
        vcmdq_settle(q);
    }
    if (!timer_pending(&v->status_timer)) {
        vintf_settle(v);
    }
    if (!timer_pending(&s->status_timer)) {
        cmdqv_settle(s);
    }
    vcmdq_run(q, CMDQV_BATCH_WRITE);
}

/* What a CMD_SYNC has waited for is complete */
static void vcmdq_kick(void *opaque)
{
    CmdqvQueue *q = opaque;

    if (q->pending) {
        vcmdq_cmd_timer(q);
    }
}

/* Enable and status bits */

/* Returns true if the status is to be set at once */
static bool cmdqv_delay(Tegra241CMDQV *s, QEMUTimer *timer)
{
    if (!s->status_delay) {
        return true;
    }
    if (!timer_pending(timer)) {
        timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                         s->status_delay);
    }
    return false;
}

static bool vcmdq_base_valid(CmdqvQueue *q)
{
    uint64_t addr = q->base & VCMDQ_BASE_ADDR_MASK;
    unsigned log2size = vcmdq_log2size(q);
    unsigned max = MIN(VCMDQ_MAX_LOG2SIZE,
                       FIELD_EX32(q->cmdqv->smmu->idr[1], IDR1, CMDQS));

    return addr && log2size <= max &&
           QEMU_IS_ALIGNED(addr, sizeof(Cmd) << log2size);
}

/* Give a queue the status that it is wanted to have */
static void vcmdq_settle(CmdqvQueue *q)
{
    bool want = vcmdq_wanted(q);

    if (want == q->ok || (want && q->init_failed) ||
        q->cmdqv->status_stuck & CMDQV_STUCK_VCMDQ) {
        return;
    }
    if (!want) {
        /* Falls when the command is done */
        q->ok = q->busy;
    } else if (vcmdq_base_valid(q)) {
        q->ok = true;
    } else {
        cmdqv_guest_error(q->cmdqv, "VCMDQ %u enabled with BASE 0x%" PRIx64,
                          q->idx, q->base);
        q->init_failed = true;
        vcmdq_error(q, R_VCMDQ_GERROR_INIT_ERR_MASK);
    }
    trace_tegra241_cmdqv_status("VCMDQ", q->idx, want, q->ok);
    vcmdq_run(q, CMDQV_BATCH_WRITE);
}

static void vcmdq_update(CmdqvQueue *q)
{
    bool want = vcmdq_wanted(q);

    if (!want) {
        q->init_failed = false;
    }
    if (want == q->ok) {
        timer_del(&q->status_timer);
    } else if (cmdqv_delay(q->cmdqv, &q->status_timer)) {
        vcmdq_settle(q);
    }
}

static void vcmdq_status_timer(void *opaque)
{
    vcmdq_settle(opaque);
}

static bool vintf_busy(CmdqvVintf *v)
{
    unsigned i;

    for (i = 0; i < CMDQV_MAX_LVCMDQS; i++) {
        if (v->slot[i] && v->slot[i]->busy) {
            return true;
        }
    }
    return false;
}

static void vintf_settle(CmdqvVintf *v)
{
    bool want = vintf_wanted(v);
    unsigned i;

    if (want == v->ok || v->cmdqv->status_stuck & CMDQV_STUCK_VINTF ||
        (!want && vintf_busy(v))) {
        return;
    }
    v->ok = want;
    if (want) {
        v->config_ok = v->config_en;
    }
    trace_tegra241_cmdqv_status("VINTF", v->idx, want, v->ok);
    for (i = 0; i < CMDQV_MAX_LVCMDQS; i++) {
        CmdqvQueue *q = v->slot[i];

        if (!q) {
            continue;
        }
        if (want) {
            vcmdq_update(q);
        } else {
            /* Off with its VINTF, however its own switch behaves */
            timer_del(&q->status_timer);
            q->init_failed = false;
            q->ok = false;
        }
    }
}

static void vintf_update(CmdqvVintf *v)
{
    if (vintf_wanted(v) == v->ok) {
        timer_del(&v->status_timer);
    } else if (cmdqv_delay(v->cmdqv, &v->status_timer)) {
        vintf_settle(v);
    }
}

static void vintf_status_timer(void *opaque)
{
    vintf_settle(opaque);
}

static void vcmdq_free(CmdqvQueue *q)
{
    CmdqvVintf *v = vcmdq_vintf(q);

    if (q->busy) {
        timer_del(&q->cmd_timer);
        vcmdq_finish(q);
    }
    timer_del(&q->status_timer);
    q->ok = false;
    q->init_failed = false;
    q->config = 0;
    v->slot[vcmdq_lidx(q)] = NULL;
    q->alloc = FIELD_DP32(q->alloc, CMDQ_ALLOC, ALLOC, 0);
    trace_tegra241_cmdqv_alloc(q->idx, v->idx, vcmdq_lidx(q), false);
    cmdqv_update_level(q->cmdqv);
    /* Its command may have been what the VINTF waited for */
    if (!timer_pending(&v->status_timer)) {
        vintf_settle(v);
    }
}

static void cmdqv_settle(Tegra241CMDQV *s)
{
    bool want = cmdqv_wanted(s);
    unsigned i;

    if (want == s->ok || s->status_stuck & CMDQV_STUCK_BLOCK) {
        return;
    }
    for (i = 0; !want && i < cmdqv_nr_vcmdqs(s); i++) {
        if (s->vcmdq[i].busy) {
            return;
        }
    }
    s->ok = want;
    trace_tegra241_cmdqv_status("block", 0, want, s->ok);
    if (want) {
        for (i = 0; i < cmdqv_nr_vintfs(s); i++) {
            vintf_update(&s->vintf[i]);
        }
        return;
    }
    /* Off means that all VINTFs are off and have no queues */
    for (i = 0; i < cmdqv_nr_vintfs(s); i++) {
        CmdqvVintf *v = &s->vintf[i];

        timer_del(&v->status_timer);
        v->config = FIELD_DP32(v->config, VINTF_CONFIG, EN, 0);
        v->ok = false;
    }
    for (i = 0; i < cmdqv_nr_vcmdqs(s); i++) {
        if (vcmdq_allocated(&s->vcmdq[i])) {
            vcmdq_free(&s->vcmdq[i]);
        }
    }
}

static void cmdqv_update(Tegra241CMDQV *s)
{
    if (cmdqv_wanted(s) == s->ok) {
        timer_del(&s->status_timer);
    } else if (cmdqv_delay(s, &s->status_timer)) {
        cmdqv_settle(s);
    }
}

static void cmdqv_status_timer(void *opaque)
{
    cmdqv_settle(opaque);
}

/* Registers */

static void vcmdq_write_alloc(CmdqvQueue *q, uint32_t val)
{
    Tegra241CMDQV *s = q->cmdqv;
    bool alloc = FIELD_EX32(val, CMDQ_ALLOC, ALLOC);
    unsigned l = FIELD_EX32(val, CMDQ_ALLOC, LVCMDQ);
    unsigned vi = FIELD_EX32(val, CMDQ_ALLOC, VINTF);
    CmdqvVintf *v;

    val &= CMDQ_ALLOC_MASK;
    if (!vcmdq_allocated(q) && !alloc) {
        q->alloc = val;
        return;
    }

    if (vcmdq_allocated(q) && alloc) {
        if (val != q->alloc) {
            cmdqv_guest_error(s, "VCMDQ %u moved while allocated", q->idx);
        }
        return;
    }

    if (!alloc) {
        v = vcmdq_vintf(q);
        l = vcmdq_lidx(q);
        if (l + 1 < CMDQV_MAX_LVCMDQS && v->slot[l + 1]) {
            cmdqv_guest_error(s, "VCMDQ %u freed before the next of VINTF %u",
                              q->idx, v->idx);
            return;
        }
        vcmdq_free(q);
        q->alloc = val;
        return;
    }

    if (vi >= cmdqv_nr_vintfs(s)) {
        cmdqv_guest_error(s, "VCMDQ %u allocated to VINTF %u", q->idx, vi);
        return;
    }
    v = &s->vintf[vi];
    if (l && !v->slot[l - 1]) {
        cmdqv_guest_error(s, "VCMDQ %u allocated to VINTF %u as %u, %u is free",
                          q->idx, vi, l, l - 1);
        return;
    }
    if (v->slot[l]) {
        cmdqv_guest_error(s, "VCMDQ %u allocated to VINTF %u as %u, so is %u",
                          q->idx, vi, l, v->slot[l]->idx);
        if (!s->alloc_steal) {
            return;
        }
        vcmdq_free(v->slot[l]);
    }

    q->alloc = val;
    v->slot[l] = q;
    q->prod = 0;
    q->cons = 0;
    q->config = 0;
    q->cons_indx_base = 0;
    if (!s->sticky) {
        q->base = 0;
        q->gerror = 0;
        q->gerrorn = 0;
    }
    trace_tegra241_cmdqv_alloc(q->idx, vi, l, true);
    cmdqv_update_level(s);
}

static uint32_t vcmdq_read_page0(CmdqvQueue *q, hwaddr offset)
{
    switch (offset) {
    case A_VCMDQ_CONS:
        return q->cons;
    case A_VCMDQ_PROD:
        return q->prod;
    case A_VCMDQ_CONFIG:
        return q->config;
    case A_VCMDQ_STATUS:
        return FIELD_DP32(0, VCMDQ_STATUS, EN_OK, q->ok);
    case A_VCMDQ_GERROR:
        return q->gerror;
    case A_VCMDQ_GERRORN:
        return q->gerrorn;
    default:
        return 0;
    }
}

static bool vcmdq_locked(CmdqvQueue *q, const char *reg)
{
    if (!q->ok || q->cmdqv->write_running) {
        return false;
    }
    cmdqv_guest_error(q->cmdqv, "%s of VCMDQ %u written while it is enabled",
                      reg, q->idx);
    return true;
}

static void vcmdq_write_gerrorn(CmdqvQueue *q, uint32_t val)
{
    Tegra241CMDQV *s = q->cmdqv;
    bool was = vcmdq_in_error(q);

    q->gerrorn = val & VCMDQ_GERROR_MASK;
    if (vcmdq_in_error(q)) {
        cmdqv_guest_error(s, "GERRORN 0x%x of VCMDQ %u, GERROR is 0x%x",
                          q->gerrorn, q->idx, q->gerror);
        if (!was) {
            s->errors++;
            trace_tegra241_cmdqv_error(q->idx, q->cons, q->gerror, q->gerrorn);
            if (s->gerrorn_irq) {
                vintf_raise(vcmdq_vintf(q));
            }
        }
    } else if (was && !s->cons_err_keep) {
        q->cons = FIELD_DP32(q->cons, VCMDQ_CONS, ERR, 0);
    }
    cmdqv_update_level(s);
    vcmdq_run(q, CMDQV_BATCH_WRITE);
}

static void vcmdq_write_page0(CmdqvQueue *q, hwaddr offset, uint32_t val)
{
    switch (offset) {
    case A_VCMDQ_CONS:
        if (!vcmdq_locked(q, "CONS")) {
            q->cons = val & (R_VCMDQ_CONS_RD_MASK | R_VCMDQ_CONS_ERR_MASK);
            vcmdq_run(q, CMDQV_BATCH_WRITE);
        }
        break;
    case A_VCMDQ_PROD:
        q->prod = val & R_VCMDQ_PROD_WR_MASK;
        vcmdq_run(q, CMDQV_BATCH_WRITE);
        break;
    case A_VCMDQ_CONFIG:
        q->config = val & R_VCMDQ_CONFIG_EN_MASK;
        vcmdq_update(q);
        break;
    case A_VCMDQ_GERRORN:
        vcmdq_write_gerrorn(q, val);
        break;
    default:
        cmdqv_guest_error(q->cmdqv, "write to 0x%" HWADDR_PRIx " of VCMDQ %u",
                          offset, q->idx);
        break;
    }
}

static uint32_t vcmdq_read_page1(CmdqvQueue *q, hwaddr offset)
{
    switch (offset) {
    case A_VCMDQ_BASE_L:
        return extract64(q->base, 0, 32);
    case A_VCMDQ_BASE_H:
        return extract64(q->base, 32, 32);
    case A_VCMDQ_CONS_INDX_BASE_L:
        return extract64(q->cons_indx_base, 0, 32);
    case A_VCMDQ_CONS_INDX_BASE_H:
        return extract64(q->cons_indx_base, 32, 32);
    default:
        return 0;
    }
}

static void vcmdq_write_page1(CmdqvQueue *q, hwaddr offset, uint32_t val)
{
    switch (offset) {
    case A_VCMDQ_BASE_L:
    case A_VCMDQ_BASE_H:
        if (!vcmdq_locked(q, "BASE")) {
            q->base = deposit64(q->base, offset == A_VCMDQ_BASE_H ? 32 : 0, 32,
                                val) & VCMDQ_ADDR_MASK;
        }
        break;
    case A_VCMDQ_CONS_INDX_BASE_L:
        q->cons_indx_base = deposit64(q->cons_indx_base, 0, 32, val);
        break;
    case A_VCMDQ_CONS_INDX_BASE_H:
        q->cons_indx_base = deposit64(q->cons_indx_base, 32, 32, val) &
                            VCMDQ_ADDR_MASK;
        break;
    default:
        cmdqv_guest_error(q->cmdqv, "write to 0x%" HWADDR_PRIx
                          " of VCMDQ %u, page 1", offset, q->idx);
        break;
    }
}

static uint32_t vintf_status(CmdqvVintf *v)
{
    uint32_t val = FIELD_DP32(0, VINTF_STATUS, ENABLE_OK, v->ok);
    unsigned i, n = 0;
    bool err = false;

    for (i = 0; i < CMDQV_MAX_LVCMDQS; i++) {
        if (v->slot[i]) {
            n++;
            err |= vcmdq_in_error(v->slot[i]);
        }
    }
    val = FIELD_DP32(val, VINTF_STATUS, STATUS, err);
    return FIELD_DP32(val, VINTF_STATUS, VCMDQS, n);
}

static uint64_t vintf_read_err_map(CmdqvVintf *v, unsigned word)
{
    CmdqvInject *inject = &v->cmdqv->inject;

    if (inject->has_lvcmdq[word] && (!inject->has_v || inject->v == v->idx)) {
        return inject->lvcmdq[word];
    }
    return vintf_lvcmdq_err_map(v, word);
}

static uint32_t vintf_read(CmdqvVintf *v, hwaddr offset)
{
    unsigned i;

    switch (offset) {
    case A_VINTF_CONFIG:
        return v->config;
    case A_VINTF_STATUS:
        return vintf_status(v);
    case A_VINTF_FILTER0:
    case A_VINTF_FILTER1:
        return v->filter[(offset - A_VINTF_FILTER0) / 4];
    case A_VINTF_SID_MATCH ... A_VINTF_SID_MATCH + 0x3c:
        i = (offset - A_VINTF_SID_MATCH) / 4;
        return i < cmdqv_nr_sids(v->cmdqv) ? v->sid_match[i] : 0;
    case A_VINTF_SID_REPLACE ... A_VINTF_SID_REPLACE + 0x3c:
        i = (offset - A_VINTF_SID_REPLACE) / 4;
        return i < cmdqv_nr_sids(v->cmdqv) ? v->sid_replace[i] : 0;
    case A_VINTF_LVCMDQ_ERR_MAP ... A_VINTF_LVCMDQ_ERR_MAP + 0xc:
        i = (offset - A_VINTF_LVCMDQ_ERR_MAP) / 4;
        return extract64(vintf_read_err_map(v, i / 2), i % 2 * 32, 32);
    default:
        return 0;
    }
}

static void vintf_write_config(CmdqvVintf *v, uint32_t val)
{
    uint32_t old = v->config;

    val &= VINTF_CONFIG_MASK;
    if (v->cmdqv->no_hyp_own) {
        val = FIELD_DP32(val, VINTF_CONFIG, HYP_OWN, 0);
    }
    v->config = val;
    if (!FIELD_EX32(val, VINTF_CONFIG, EN)) {
        vintf_update(v);
    } else if (!FIELD_EX32(old, VINTF_CONFIG, EN)) {
        v->config_en = val;
        vintf_update(v);
    } else if (val != old) {
        cmdqv_guest_error(v->cmdqv,
                          "CONFIG of VINTF %u changed while it is enabled",
                          v->idx);
    }
    cmdqv_inject_event(v->cmdqv, INJECT_VINTF);
}

static void vintf_write(CmdqvVintf *v, hwaddr offset, uint32_t val)
{
    unsigned i;

    switch (offset) {
    case A_VINTF_CONFIG:
        vintf_write_config(v, val);
        return;
    case A_VINTF_FILTER0:
    case A_VINTF_FILTER1:
        v->filter[(offset - A_VINTF_FILTER0) / 4] = val;
        return;
    case A_VINTF_SID_MATCH ... A_VINTF_SID_MATCH + 0x3c:
        i = (offset - A_VINTF_SID_MATCH) / 4;
        if (i < cmdqv_nr_sids(v->cmdqv)) {
            v->sid_match[i] = val & (R_SID_MATCH_ENABLE_MASK |
                                     R_SID_MATCH_VSID_MASK);
            return;
        }
        break;
    case A_VINTF_SID_REPLACE ... A_VINTF_SID_REPLACE + 0x3c:
        i = (offset - A_VINTF_SID_REPLACE) / 4;
        if (i < cmdqv_nr_sids(v->cmdqv)) {
            v->sid_replace[i] = val & R_SID_REPLACE_SID_MASK;
            return;
        }
        break;
    }
    cmdqv_guest_error(v->cmdqv, "write to 0x%" HWADDR_PRIx " of VINTF %u",
                      offset, v->idx);
}

static uint32_t cmdqv_param(Tegra241CMDQV *s)
{
    uint32_t val = FIELD_DP32(0, PARAM, VER, s->version);

    val = FIELD_DP32(val, PARAM, LOG2_VCMDQS, s->log2_vcmdqs);
    val = FIELD_DP32(val, PARAM, LOG2_VINTFS, s->log2_vintfs);
    return FIELD_DP32(val, PARAM, LOG2_SIDS, s->log2_sids);
}

static uint32_t cmdqv_read_config_page(Tegra241CMDQV *s, hwaddr offset)
{
    uint64_t map;
    unsigned i;

    switch (offset) {
    case A_CONFIG:
        return s->config;
    case A_PARAM:
        cmdqv_inject_event(s, INJECT_PARAM);
        return cmdqv_param(s);
    case A_STATUS:
        return FIELD_DP32(0, STATUS, ENABLED, s->ok);
    case A_VI_ERR_MAP0:
    case A_VI_ERR_MAP1:
        map = s->inject.has_vi ? s->inject.vi : cmdqv_vi_err_map(s);
        return extract64(map, offset == A_VI_ERR_MAP1 ? 32 : 0, 32);
    case A_VI_INT_MASK0:
    case A_VI_INT_MASK1:
        return extract64(s->vi_int_mask, offset == A_VI_INT_MASK1 ? 32 : 0, 32);
    case A_CMDQ_ERR_MAP0 ... A_CMDQ_ERR_MAP3:
        i = (offset - A_CMDQ_ERR_MAP0) / 4;
        return s->inject.has_cmdq[i] ? s->inject.cmdq[i] :
                                       cmdqv_cmdq_err_map(s, i);
    case A_CMDQ_ALLOC0 ... A_CMDQ_ALLOC0 + 4 * CMDQV_MAX_VCMDQS - 4:
        i = (offset - A_CMDQ_ALLOC0) / 4;
        return i < cmdqv_nr_vcmdqs(s) ? s->vcmdq[i].alloc : 0;
    case CMDQV_VINTF_REGS ...
         CMDQV_VINTF_REGS + CMDQV_MAX_VINTFS * CMDQV_VINTF_REGS_SIZE - 4:
        i = (offset - CMDQV_VINTF_REGS) / CMDQV_VINTF_REGS_SIZE;
        return i < cmdqv_nr_vintfs(s) ?
               vintf_read(&s->vintf[i], offset % CMDQV_VINTF_REGS_SIZE) : 0;
    default:
        return 0;
    }
}

static void cmdqv_write_int_mask(Tegra241CMDQV *s, unsigned start, uint32_t val)
{
    uint64_t old = s->vi_int_mask;

    s->vi_int_mask = deposit64(old, start, 32, val);
    if (s->unmask_irq && !s->level_irq &&
        (old & ~s->vi_int_mask & cmdqv_vi_err_map(s))) {
        cmdqv_pulse(s);
    }
    cmdqv_update_level(s);
}

static void cmdqv_write_config_page(Tegra241CMDQV *s, hwaddr offset,
                                    uint32_t val)
{
    unsigned i;

    switch (offset) {
    case A_CONFIG:
        s->config = val & CONFIG_MASK;
        cmdqv_update(s);
        cmdqv_inject_event(s, INJECT_CONFIG);
        return;
    case A_VI_INT_MASK0:
        cmdqv_write_int_mask(s, 0, val);
        return;
    case A_VI_INT_MASK1:
        cmdqv_write_int_mask(s, 32, val);
        return;
    case A_CMDQ_ALLOC0 ... A_CMDQ_ALLOC0 + 4 * CMDQV_MAX_VCMDQS - 4:
        i = (offset - A_CMDQ_ALLOC0) / 4;
        if (i < cmdqv_nr_vcmdqs(s)) {
            vcmdq_write_alloc(&s->vcmdq[i], val);
            cmdqv_inject_event(s, INJECT_ALLOC);
            return;
        }
        break;
    case CMDQV_VINTF_REGS ...
         CMDQV_VINTF_REGS + CMDQV_MAX_VINTFS * CMDQV_VINTF_REGS_SIZE - 4:
        i = (offset - CMDQV_VINTF_REGS) / CMDQV_VINTF_REGS_SIZE;
        if (i < cmdqv_nr_vintfs(s)) {
            vintf_write(&s->vintf[i], offset % CMDQV_VINTF_REGS_SIZE, val);
            return;
        }
        break;
    }
    cmdqv_guest_error(s, "write to 0x%" HWADDR_PRIx, offset);
}

/*
 * Find the queue that @offset is in. NULL if no queue is allocated there; its
 * registers then read 0 and ignore writes.
 */
static CmdqvQueue *cmdqv_find_vcmdq(Tegra241CMDQV *s, hwaddr offset,
                                    bool *page1)
{
    unsigned i = offset % CMDQV_PAGE_SIZE / CMDQV_QUEUE_SIZE;
    CmdqvQueue *q;

    if (offset < CMDQV_VINTF_BASE) {
        *page1 = offset >= CMDQV_DIRECT_PAGE1;
        if (i >= cmdqv_nr_vcmdqs(s)) {
            return NULL;
        }
        q = &s->vcmdq[i];
        return vcmdq_allocated(q) ? q : NULL;
    }
    offset -= CMDQV_VINTF_BASE;
    *page1 = offset % CMDQV_VINTF_SIZE >= CMDQV_PAGE_SIZE;
    return i < CMDQV_MAX_LVCMDQS ?
           s->vintf[offset / CMDQV_VINTF_SIZE].slot[i] : NULL;
}

static uint32_t cmdqv_readl(Tegra241CMDQV *s, hwaddr offset)
{
    bool page1;
    CmdqvQueue *q;

    if (offset < CMDQV_DIRECT_PAGE0) {
        return cmdqv_read_config_page(s, offset);
    }
    q = cmdqv_find_vcmdq(s, offset, &page1);
    if (!q) {
        return 0;
    }
    offset %= CMDQV_QUEUE_SIZE;
    return page1 ? vcmdq_read_page1(q, offset) : vcmdq_read_page0(q, offset);
}

static void cmdqv_writel(Tegra241CMDQV *s, hwaddr offset, uint32_t val)
{
    bool page1;
    CmdqvQueue *q;

    if (offset < CMDQV_DIRECT_PAGE0) {
        cmdqv_write_config_page(s, offset, val);
        return;
    }
    q = cmdqv_find_vcmdq(s, offset, &page1);
    if (!q) {
        return;
    }
    offset %= CMDQV_QUEUE_SIZE;
    if (page1) {
        vcmdq_write_page1(q, offset, val);
    } else {
        vcmdq_write_page0(q, offset, val);
    }
}

/* What has 64 bits may be accessed as such, all else has 32 bits */
static bool cmdqv_access_ok(Tegra241CMDQV *s, hwaddr offset, unsigned size)
{
    if (!QEMU_IS_ALIGNED(offset, size)) {
        return false;
    }
    if (size != 8) {
        return size == 4;
    }
    if (s->wide_access) {
        return true;
    }
    if (offset < CMDQV_DIRECT_PAGE0) {
        return offset >= CMDQV_VINTF_REGS &&
               offset < CMDQV_VINTF_REGS +
                        CMDQV_MAX_VINTFS * CMDQV_VINTF_REGS_SIZE &&
               offset % CMDQV_VINTF_REGS_SIZE >= A_VINTF_LVCMDQ_ERR_MAP &&
               offset % CMDQV_VINTF_REGS_SIZE < A_VINTF_LVCMDQ_ERR_MAP + 16;
    }
    if (offset < CMDQV_VINTF_BASE) {
        return offset >= CMDQV_DIRECT_PAGE1;
    }
    return (offset - CMDQV_VINTF_BASE) % CMDQV_VINTF_SIZE >= CMDQV_PAGE_SIZE;
}

static uint64_t cmdqv_read(void *opaque, hwaddr offset, unsigned size)
{
    Tegra241CMDQV *s = opaque;
    uint64_t val;

    if (!cmdqv_access_ok(s, offset, size)) {
        cmdqv_guest_error(s, "%u bytes read at 0x%" HWADDR_PRIx, size, offset);
        return 0;
    }
    val = cmdqv_readl(s, offset);
    if (size == 8) {
        val |= (uint64_t)cmdqv_readl(s, offset + 4) << 32;
    }
    trace_tegra241_cmdqv_read(offset, val, size);
    return val;
}

static void cmdqv_write(void *opaque, hwaddr offset, uint64_t val,
                        unsigned size)
{
    Tegra241CMDQV *s = opaque;

    trace_tegra241_cmdqv_write(offset, val, size);
    if (!cmdqv_access_ok(s, offset, size)) {
        cmdqv_guest_error(s, "%u bytes written at 0x%" HWADDR_PRIx, size,
                          offset);
        return;
    }
    cmdqv_writel(s, offset, val);
    if (size == 8) {
        cmdqv_writel(s, offset + 4, val >> 32);
    }
}

static const MemoryRegionOps cmdqv_ops = {
    .read = cmdqv_read,
    .write = cmdqv_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    /* All sizes get here, to be logged */
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
    },
    .impl = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
    },
};

/* Properties that can be set and read at any time */

typedef struct CmdqvProp {
    const char *name;
    size_t offset;
    const char *description;
} CmdqvProp;

#define CMDQV_PROP(_name, _field, _description) \
    { _name, offsetof(Tegra241CMDQV, _field), _description }

static const CmdqvProp cmdqv_bools[] = {
    CMDQV_PROP("sticky", sticky,
               "GERROR, GERRORN and BASE survive an allocation"),
    CMDQV_PROP("atc-collect-error", atc_collect_error,
               "The CMD_SYNC that collects a lost ATC_INV fails"),
    CMDQV_PROP("sync-cs-ok", sync_cs_ok,
               "CMD_SYNC with any CS passes like CS = NONE"),
    CMDQV_PROP("cons-err-keep", cons_err_keep,
               "An acknowledge does not clear CONS.ERR"),
    CMDQV_PROP("gerrorn-irq", gerrorn_irq,
               "An error made by a write of GERRORN interrupts"),
    CMDQV_PROP("alloc-steal", alloc_steal,
               "The second VCMDQ of a slot takes it over"),
    CMDQV_PROP("vmid-live", vmid_live,
               "VMID and HYP_OWN act while EN is set"),
    CMDQV_PROP("write-running", write_running,
               "BASE and CONS can be written while EN_OK is set"),
    CMDQV_PROP("unmask-irq", unmask_irq,
               "Unmasking a VINTF in error interrupts"),
    CMDQV_PROP("wide-access", wide_access, "8-byte accesses work everywhere"),
    CMDQV_PROP("sid-match-last", sid_match_last,
               "The highest index of equal virtual StreamIDs wins"),
    CMDQV_PROP("ignore-cr0", ignore_cr0,
               "Queues run whatever SMMU_CR0 holds"),
    CMDQV_PROP("no-hyp-own", no_hyp_own, "HYP_OWN cannot be set"),
    CMDQV_PROP("no-vmid-stamp", no_vmid_stamp,
               "Mutation: a guest's VMID is not replaced"),
    CMDQV_PROP("no-sid-swap", no_sid_swap,
               "Mutation: a guest's StreamID is not replaced"),
    CMDQV_PROP("no-filter", no_filter,
               "Mutation: a guest may use all commands"),
    CMDQV_PROP("no-irq", no_irq, "Mutation: there is no interrupt"),
    CMDQV_PROP("level-irq", level_irq,
               "Mutation: the interrupt line follows the error maps"),
};

static const CmdqvProp cmdqv_numbers[] = {
    CMDQV_PROP("status-delay", status_delay, "Time from EN to STATUS in ns"),
    CMDQV_PROP("status-stuck", status_stuck,
               "STATUS that never follows: 1 block, 2 VINTF, 4 VCMDQ"),
    CMDQV_PROP("cmd-delay", cmd_delay, "Time that a command takes in ns"),
    CMDQV_PROP("forbidden-code", forbidden_code,
               "CONS.ERR of a command that a guest must not use"),
};

static const CmdqvProp cmdqv_counters[] = {
    CMDQV_PROP("commands", commands, "Commands that VCMDQs executed"),
    CMDQV_PROP("tlbis", tlbis, "TLBI commands that VCMDQs executed"),
    CMDQV_PROP("syncs", syncs, "CMD_SYNCs that VCMDQs executed"),
    CMDQV_PROP("atc-invs", atc_invs, "ATC_INVs that reached a device"),
    CMDQV_PROP("errors", errors, "Errors of queues"),
    CMDQV_PROP("irqs", irqs, "Interrupts"),
    CMDQV_PROP("guest-errors", guest_errors, "Accesses that broke a rule"),
    CMDQV_PROP("fetches", fetches, "Commands that VCMDQs fetched"),
};

static void *cmdqv_prop_field(Object *obj, void *opaque)
{
    const CmdqvProp *prop = opaque;

    return (char *)TEGRA241_CMDQV(obj) + prop->offset;
}

/* A property was set: what waited for it goes on */
static void cmdqv_prop_changed(Tegra241CMDQV *s)
{
    unsigned i;

    if (!DEVICE(s)->realized) {
        return;
    }
    cmdqv_update(s);
    for (i = 0; i < cmdqv_nr_vintfs(s); i++) {
        vintf_update(&s->vintf[i]);
    }
    for (i = 0; i < cmdqv_nr_vcmdqs(s); i++) {
        vcmdq_update(&s->vcmdq[i]);
        vcmdq_run(&s->vcmdq[i], CMDQV_BATCH_WRITE);
    }
    cmdqv_update_level(s);
}

static void cmdqv_get_bool(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    visit_type_bool(v, name, cmdqv_prop_field(obj, opaque), errp);
}

static void cmdqv_set_bool(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    if (visit_type_bool(v, name, cmdqv_prop_field(obj, opaque), errp)) {
        cmdqv_prop_changed(TEGRA241_CMDQV(obj));
    }
}

static void cmdqv_get_number(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    visit_type_uint64(v, name, cmdqv_prop_field(obj, opaque), errp);
}

static void cmdqv_set_number(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    uint64_t *field = cmdqv_prop_field(obj, opaque);
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    uint64_t val;

    if (!visit_type_uint64(v, name, &val, errp)) {
        return;
    }
    if (field == &s->forbidden_code && val != SMMU_CERROR_ILL &&
        val != CMDQV_CERROR_FORBIDDEN) {
        error_setg(errp, "forbidden-code is 1 or 4");
        return;
    }
    if (field != &s->forbidden_code && val > INT64_MAX / 2) {
        error_setg(errp, "%s is too large", name);
        return;
    }
    *field = val;
    cmdqv_prop_changed(s);
}

static char *cmdqv_get_atc_timeout(Object *obj, Error **errp)
{
    return g_strdup(TEGRA241_CMDQV(obj)->atc_timeout);
}

static void cmdqv_set_atc_timeout(Object *obj, const char *value, Error **errp)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    g_auto(GStrv) items = g_strsplit_set(value, ",;", -1);
    g_autoptr(GHashTable) sids = g_hash_table_new(NULL, NULL);
    bool all = !strcmp(value, "all");
    unsigned sid;
    char **item;

    for (item = items; !all && *item; item++) {
        if (!**item) {
            continue;
        }
        if (qemu_strtoui(*item, NULL, 0, &sid)) {
            error_setg(errp, "atc-timeout: '%s' is no StreamID", *item);
            return;
        }
        g_hash_table_add(sids, GUINT_TO_POINTER(sid));
    }
    g_hash_table_unref(s->atc_timeout_sids);
    s->atc_timeout_sids = g_steal_pointer(&sids);
    s->atc_timeout_all = all;
    g_free(s->atc_timeout);
    s->atc_timeout = g_strdup(value);
}

static char *cmdqv_get_inject(Object *obj, Error **errp)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);

    return g_strdup(s->inject_str ? s->inject_str : "");
}

static bool cmdqv_inject_key(CmdqvInject *inject, const char *key, uint64_t val)
{
    if (!strcmp(key, "vi")) {
        inject->has_vi = true;
        inject->vi = val;
    } else if (!strcmp(key, "v")) {
        inject->has_v = true;
        inject->v = val;
    } else if (!strcmp(key, "at") && val <= INJECT_NEVER) {
        inject->at = val;
    } else if (!strcmp(key, "period") && val <= INT64_MAX / 2) {
        inject->period = val;
    } else if (g_str_has_prefix(key, "cmdq") && strlen(key) == 5 &&
               key[4] >= '0' && key[4] <= '3') {
        inject->has_cmdq[key[4] - '0'] = true;
        inject->cmdq[key[4] - '0'] = val;
    } else if (g_str_has_prefix(key, "lvcmdq") && strlen(key) == 7 &&
               key[6] >= '0' && key[6] <= '1') {
        inject->has_lvcmdq[key[6] - '0'] = true;
        inject->lvcmdq[key[6] - '0'] = val;
    } else {
        return false;
    }
    return true;
}

static void cmdqv_inject_start(Tegra241CMDQV *s)
{
    timer_del(&s->inject_timer);
    if (!s->inject_str) {
        return;
    }
    cmdqv_inject_event(s, INJECT_NOW);
    if (s->inject.period) {
        timer_mod(&s->inject_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                                    s->inject.period);
    }
}

static void cmdqv_set_inject(Object *obj, const char *value, Error **errp)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    g_auto(GStrv) items = g_strsplit_set(value, ",;", -1);
    CmdqvInject inject = {};
    char **item;

    for (item = items; *item; item++) {
        g_auto(GStrv) pair = g_strsplit(*item, "=", 2);
        uint64_t val;

        if (!**item) {
            continue;
        }
        if (!pair[1] || qemu_strtou64(pair[1], NULL, 0, &val) ||
            !cmdqv_inject_key(&inject, pair[0], val)) {
            error_setg(errp, "inject: '%s' is not understood", *item);
            return;
        }
    }
    g_free(s->inject_str);
    s->inject_str = *value ? g_strdup(value) : NULL;
    s->inject = inject;
    if (DEVICE(s)->realized) {
        cmdqv_inject_start(s);
    }
}

static gint cmdqv_compare_keys(gconstpointer a, gconstpointer b)
{
    return GPOINTER_TO_UINT(a) < GPOINTER_TO_UINT(b) ? -1 : 1;
}

static char *cmdqv_get_atc_inv_sids(Object *obj, Error **errp)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    GString *str = g_string_new(NULL);
    GList *keys = g_hash_table_get_keys(s->atc_inv_sids), *l;

    keys = g_list_sort(keys, cmdqv_compare_keys);
    for (l = keys; l; l = l->next) {
        g_string_append_printf(str, "%s%x=%u", str->len ? "," : "",
                               GPOINTER_TO_UINT(l->data),
                               GPOINTER_TO_UINT(g_hash_table_lookup(
                                                    s->atc_inv_sids, l->data)));
    }
    g_list_free(keys);
    return g_string_free(str, false);
}

static char *cmdqv_get_last_atc_inv(Object *obj, Error **errp)
{
    return g_strdup(TEGRA241_CMDQV(obj)->last_atc_inv);
}

static char *cmdqv_get_last_cmd(Object *obj, Error **errp)
{
    return g_strdup(TEGRA241_CMDQV(obj)->last_cmd);
}

static char *cmdqv_get_running(Object *obj, Error **errp)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    GString *str = g_string_new(NULL);
    unsigned i;

    for (i = 0; i < cmdqv_nr_vcmdqs(s); i++) {
        if (s->vcmdq[i].ok) {
            g_string_append_printf(str, "%s%u", str->len ? "," : "", i);
        }
    }
    return g_string_free(str, false);
}

static gint cmdqv_compare_iotlb(gconstpointer a, gconstpointer b)
{
    const SMMUIOTLBKey *x = a, *y = b;

    if (x->asid != y->asid) {
        return x->asid < y->asid ? -1 : 1;
    }
    if (x->vmid != y->vmid) {
        return x->vmid < y->vmid ? -1 : 1;
    }
    if (x->iova != y->iova) {
        return x->iova < y->iova ? -1 : 1;
    }
    if (x->tg != y->tg) {
        return x->tg < y->tg ? -1 : 1;
    }
    return x->level < y->level ? -1 : x->level > y->level;
}

static char *cmdqv_get_iotlb(Object *obj, Error **errp)
{
    SMMUv3State *smmu = TEGRA241_CMDQV(obj)->smmu;
    GString *str = g_string_new(NULL);
    GList *keys, *l;

    if (!smmu) {
        return g_string_free(str, false);
    }
    qemu_mutex_lock(&smmu->mutex);
    keys = g_hash_table_get_keys(ARM_SMMU(smmu)->iotlb);
    keys = g_list_sort(keys, cmdqv_compare_iotlb);
    for (l = keys; l; l = l->next) {
        SMMUIOTLBKey *key = l->data;

        g_string_append_printf(str, "%sasid=%d vmid=%d iova=0x%" PRIx64
                               " tg=%d level=%d;", str->len ? " " : "",
                               key->asid, key->vmid, key->iova, key->tg,
                               key->level);
    }
    g_list_free(keys);
    qemu_mutex_unlock(&smmu->mutex);
    return g_string_free(str, false);
}

static void cmdqv_set_iotlb(Object *obj, const char *value, Error **errp)
{
    SMMUv3State *smmu = TEGRA241_CMDQV(obj)->smmu;
    g_auto(GStrv) item = g_strsplit(value, " ", -1);
    SMMUTransCfg cfg = { .stage = SMMU_NESTED };
    SMMUTLBEntry *entry;
    uint64_t iova;
    unsigned tg, level;

    if (!smmu) {
        error_setg(errp, "iotlb: there is no SMMU");
        return;
    }
    if (!*value) {
        qemu_mutex_lock(&smmu->mutex);
        smmu_iotlb_inv_all(ARM_SMMU(smmu));
        qemu_mutex_unlock(&smmu->mutex);
        return;
    }
    if (g_strv_length(item) != 5 || qemu_strtoi(item[0], NULL, 0, &cfg.asid) ||
        qemu_strtoi(item[1], NULL, 0, &cfg.s2cfg.vmid) ||
        qemu_strtou64(item[2], NULL, 0, &iova) ||
        qemu_strtoui(item[3], NULL, 0, &tg) || tg < 1 || tg > 3 ||
        qemu_strtoui(item[4], NULL, 0, &level) || level < 1 || level > 3) {
        error_setg(errp, "iotlb: want ASID VMID IOVA TG LEVEL");
        return;
    }
    entry = g_new0(SMMUTLBEntry, 1);
    entry->granule = tg * 2 + 10;
    entry->level = level;
    entry->entry.addr_mask = BIT_ULL(level_shift(level, entry->granule)) - 1;
    entry->entry.iova = iova & ~entry->entry.addr_mask;
    entry->entry.perm = IOMMU_RW;
    entry->parent_perm = IOMMU_RW;
    entry->entry.target_as = &address_space_memory;
    qemu_mutex_lock(&smmu->mutex);
    smmu_iotlb_insert(ARM_SMMU(smmu), &cfg, entry);
    qemu_mutex_unlock(&smmu->mutex);
}

static void cmdqv_get_configs(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    SMMUv3State *smmu = TEGRA241_CMDQV(obj)->smmu;
    uint64_t val = 0;

    if (smmu) {
        qemu_mutex_lock(&smmu->mutex);
        val = g_hash_table_size(ARM_SMMU(smmu)->configs);
        qemu_mutex_unlock(&smmu->mutex);
    }
    visit_type_uint64(v, name, &val, errp);
}

/* The device */

static void cmdqv_reset_hold(Object *obj, ResetType type)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    unsigned i;

    timer_del(&s->status_timer);
    timer_del(&s->run_timer);
    s->config = CONFIG_RESET;
    s->vi_int_mask = 0;
    s->ok = true;
    for (i = 0; i < CMDQV_MAX_VINTFS; i++) {
        CmdqvVintf *v = &s->vintf[i];

        timer_del(&v->status_timer);
        v->config = 0;
        v->config_en = 0;
        v->config_ok = 0;
        v->ok = false;
        memset(v->filter, 0, sizeof(v->filter));
        memset(v->sid_match, 0, sizeof(v->sid_match));
        memset(v->sid_replace, 0, sizeof(v->sid_replace));
        memset(v->slot, 0, sizeof(v->slot));
    }
    for (i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        CmdqvQueue *q = &s->vcmdq[i];

        timer_del(&q->status_timer);
        timer_del(&q->cmd_timer);
        q->alloc = 0;
        q->prod = 0;
        q->cons = 0;
        q->config = 0;
        q->gerror = 0;
        q->gerrorn = 0;
        q->base = 0;
        q->cons_indx_base = 0;
        q->ok = false;
        q->init_failed = false;
        q->busy = false;
        q->wait.lost = false;
        q->pending = false;
    }
    cmdqv_update_level(s);
    cmdqv_inject_start(s);
}

static void cmdqv_realize(DeviceState *dev, Error **errp)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(dev);

    if (!s->smmu) {
        error_setg(errp, "'smmu' must be set to an " TYPE_ARM_SMMUV3);
        return;
    }
    if (s->smmu->cmdq_ext_ops) {
        error_setg(errp, "the SMMU has a CMDQV already");
        return;
    }
    if (s->log2_vintfs > CMDQV_MAX_LOG2_VINTFS ||
        s->log2_vcmdqs > CMDQV_MAX_LOG2_VCMDQS ||
        s->log2_sids > CMDQV_MAX_LOG2_SIDS || s->version > 15) {
        error_setg(errp, "log2-vintfs is at most %d, log2-vcmdqs %d, "
                   "log2-sids %d, version 15", CMDQV_MAX_LOG2_VINTFS,
                   CMDQV_MAX_LOG2_VCMDQS, CMDQV_MAX_LOG2_SIDS);
        return;
    }

    memory_region_init_io(&s->iomem, OBJECT(s), &cmdqv_ops, s,
                          TYPE_TEGRA241_CMDQV, CMDQV_VINTF_BASE +
                          CMDQV_VINTF_SIZE * cmdqv_nr_vintfs(s));
    sysbus_init_mmio(SYS_BUS_DEVICE(s), &s->iomem);
    sysbus_init_irq(SYS_BUS_DEVICE(s), &s->irq);
    s->smmu->cmdq_ext = s;
    s->smmu->cmdq_ext_ops = &cmdqv_smmu_ops;
}

static void cmdqv_instance_init(Object *obj)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    unsigned i;

    s->forbidden_code = CMDQV_CERROR_FORBIDDEN;
    s->gerrorn_irq = true;
    s->atc_timeout = g_strdup("");
    s->atc_timeout_sids = g_hash_table_new(NULL, NULL);
    s->atc_inv_sids = g_hash_table_new(NULL, NULL);

    timer_init_ns(&s->status_timer, QEMU_CLOCK_VIRTUAL, cmdqv_status_timer, s);
    timer_init_ns(&s->run_timer, QEMU_CLOCK_VIRTUAL, cmdqv_run_timer, s);
    timer_init_ns(&s->inject_timer, QEMU_CLOCK_VIRTUAL, cmdqv_inject_timer, s);
    for (i = 0; i < CMDQV_MAX_VINTFS; i++) {
        CmdqvVintf *v = &s->vintf[i];

        v->cmdqv = s;
        v->idx = i;
        timer_init_ns(&v->status_timer, QEMU_CLOCK_VIRTUAL, vintf_status_timer,
                      v);
    }
    for (i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        CmdqvQueue *q = &s->vcmdq[i];

        q->cmdqv = s;
        q->idx = i;
        q->wait.kick = vcmdq_kick;
        q->wait.opaque = q;
        timer_init_ns(&q->status_timer, QEMU_CLOCK_VIRTUAL, vcmdq_status_timer,
                      q);
        timer_init_ns(&q->cmd_timer, QEMU_CLOCK_VIRTUAL, vcmdq_cmd_timer, q);
    }
}

static void cmdqv_instance_finalize(Object *obj)
{
    Tegra241CMDQV *s = TEGRA241_CMDQV(obj);
    unsigned i;

    timer_deinit(&s->status_timer);
    timer_deinit(&s->run_timer);
    timer_deinit(&s->inject_timer);
    for (i = 0; i < CMDQV_MAX_VINTFS; i++) {
        timer_deinit(&s->vintf[i].status_timer);
    }
    for (i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        timer_deinit(&s->vcmdq[i].status_timer);
        timer_deinit(&s->vcmdq[i].cmd_timer);
    }
    g_free(s->atc_timeout);
    g_free(s->inject_str);
    g_hash_table_unref(s->atc_timeout_sids);
    g_hash_table_unref(s->atc_inv_sids);
}

static const VMStateDescription vmstate_cmdqv = {
    .name = TYPE_TEGRA241_CMDQV,
    .unmigratable = 1,
};

static const Property cmdqv_properties[] = {
    DEFINE_PROP_LINK("smmu", Tegra241CMDQV, smmu, TYPE_ARM_SMMUV3,
                     SMMUv3State *),
    DEFINE_PROP_UINT8("version", Tegra241CMDQV, version, 1),
    DEFINE_PROP_UINT8("log2-vintfs", Tegra241CMDQV, log2_vintfs,
                      CMDQV_MAX_LOG2_VINTFS),
    DEFINE_PROP_UINT8("log2-vcmdqs", Tegra241CMDQV, log2_vcmdqs,
                      CMDQV_MAX_LOG2_VCMDQS),
    DEFINE_PROP_UINT8("log2-sids", Tegra241CMDQV, log2_sids,
                      CMDQV_MAX_LOG2_SIDS),
    DEFINE_PROP_UINT32("uid", Tegra241CMDQV, uid, 1),
    DEFINE_PROP_BOOL("acpi-irq", Tegra241CMDQV, acpi_irq, true),
};

static void cmdqv_add_props(ObjectClass *oc, const CmdqvProp *props, size_t n,
                            const char *type, ObjectPropertyAccessor *get,
                            ObjectPropertyAccessor *set)
{
    size_t i;

    for (i = 0; i < n; i++) {
        object_class_property_add(oc, props[i].name, type, get, set, NULL,
                                  (void *)&props[i]);
        object_class_property_set_description(oc, props[i].name,
                                              props[i].description);
    }
}

static void cmdqv_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    dc->desc = "NVIDIA Tegra241 CMDQV";
    dc->realize = cmdqv_realize;
    dc->vmsd = &vmstate_cmdqv;
    /* The machine connects it with its SMMU */
    dc->user_creatable = false;
    rc->phases.hold = cmdqv_reset_hold;
    device_class_set_props(dc, cmdqv_properties);

    cmdqv_add_props(oc, cmdqv_bools, ARRAY_SIZE(cmdqv_bools), "bool",
                    cmdqv_get_bool, cmdqv_set_bool);
    cmdqv_add_props(oc, cmdqv_numbers, ARRAY_SIZE(cmdqv_numbers), "uint64",
                    cmdqv_get_number, cmdqv_set_number);
    cmdqv_add_props(oc, cmdqv_counters, ARRAY_SIZE(cmdqv_counters), "uint64",
                    cmdqv_get_number, NULL);
    object_class_property_add(oc, "configs", "uint64", cmdqv_get_configs, NULL,
                              NULL, NULL);
    object_class_property_add_str(oc, "atc-timeout", cmdqv_get_atc_timeout,
                                  cmdqv_set_atc_timeout);
    object_class_property_add_str(oc, "inject", cmdqv_get_inject,
                                  cmdqv_set_inject);
    object_class_property_add_str(oc, "atc-inv-sids", cmdqv_get_atc_inv_sids,
                                  NULL);
    object_class_property_add_str(oc, "last-atc-inv", cmdqv_get_last_atc_inv,
                                  NULL);
    object_class_property_add_str(oc, "last-cmd", cmdqv_get_last_cmd, NULL);
    object_class_property_add_str(oc, "running", cmdqv_get_running, NULL);
    object_class_property_add_str(oc, "iotlb", cmdqv_get_iotlb,
                                  cmdqv_set_iotlb);
}

static const TypeInfo cmdqv_info = {
    .name              = TYPE_TEGRA241_CMDQV,
    .parent            = TYPE_SYS_BUS_DEVICE,
    .instance_size     = sizeof(Tegra241CMDQV),
    .instance_init     = cmdqv_instance_init,
    .instance_finalize = cmdqv_instance_finalize,
    .class_init        = cmdqv_class_init,
};

static void cmdqv_register_types(void)
{
    type_register_static(&cmdqv_info);
}

type_init(cmdqv_register_types)
