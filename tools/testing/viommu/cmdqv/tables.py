# SPDX-License-Identifier: GPL-2.0-only
"""CMDQV.md, sections 1 to 5: registers, ACPI, sequences, commands, errors."""

import random

import firmware
import model
from block import (CERROR_ABT, CERROR_ATC, CERROR_ILL, CERROR_NONE, CMDQ_ERR_MAP, CONFIG, CONS,
                   CONS_INDX_BASE, EN, ERR_CMD, HYP_OWN, LVCMDQ_ERR_MAP_64, PARAM, PROD, Q_BASE,
                   Q_CONFIG, Q_GERROR, Q_GERRORN, Q_STATUS, REFUSED, SID_MATCH, SID_REPLACE,
                   STATUS, V_CONFIG, V_FILTER, V_STATUS, VI_ERR_MAP, VI_INT_MASK, Queue, alloc,
                   alloc_value, direct, logical, vintf)
from harness import test
from machine import MS, SECOND
from smmuv3 import (ATC_INV, CFGI_ALL, CFGI_CD, CFGI_CD_ALL, CFGI_STE, CMD_SYNC, CMDQ_CONS,
                    EL2_ALL, GERROR, GERRORN, NH_ALL, NH_ASID, NH_VA,
                    NH_VAA, NSNH_ALL, PREFETCH_ADDR, PREFETCH_CFG, PRI_RESP, RAM, RESUME,
                    S2_IPA, STALL_TERM, STRTAB, VA, atc_inv,
                    command, sync, tlbi_asid, tlbi_va)

ILLEGAL = command(0xff)
# Geometries: log2 of VINTFs, of VCMDQs, of SID pairs
HOST = (6, 7, 4)


def geometry(vintfs, vcmdqs, sids=4):
    return {'log2-vintfs': vintfs, 'log2-vcmdqs': vcmdqs, 'log2-sids': sids}


def reset_values(vintfs=64, vcmdqs=128, sids=16):
    """Registers of the configuration page that do not read 0, and all that exist."""
    log2 = [x.bit_length() - 1 for x in (vcmdqs, vintfs, sids)]
    values = {CONFIG: 0x20083, PARAM: 1 | log2[0] << 4 | log2[1] << 8 | log2[2] << 12, STATUS: 1}
    exist = [CONFIG, PARAM, STATUS, VI_ERR_MAP, VI_ERR_MAP + 4, VI_INT_MASK, VI_INT_MASK + 4]
    exist += [CMDQ_ERR_MAP + 4 * i for i in range(4)]
    exist += [alloc(q) for q in range(vcmdqs)]
    for v in range(vintfs):
        exist += [vintf(v) + r for r in (V_CONFIG, V_STATUS) + V_FILTER]
        exist += [vintf(v) + SID_MATCH + 4 * s for s in range(sids)]
        exist += [vintf(v) + SID_REPLACE + 4 * s for s in range(sids)]
        exist += [vintf(v) + LVCMDQ_ERR_MAP_64 + 4 * i for i in range(4)]
    return values, exist


# ---- Section 1 ----

@test('map: 64 VINTFs make 0x830000 bytes', over={'log2-vintfs': (0, 2, 6)})
def _(t):
    with t.bed(start=False) as bed:
        size = 0x30000 + 0x20000 * bed.b.vintfs
        want = f'{model.BASE:016x}-{model.BASE + size - 1:016x}'
        t.ok(f'a region {want} exists', want in bed.m.hmp('info mtree -f'))


@test('configuration page: reset values, and 0 where nothing is')
def _(t):
    with t.bed(start=False) as bed:
        values, _exist = reset_values()
        page = bed.b.rd_many(range(0, 0x10000, 4))
        for i, got in enumerate(page):
            t.eq(f'offset {4 * i:#x}', got, values.get(4 * i, 0))
        t.eq('LVCMDQ_ERR_MAP_64 of VINTF 63 as 8 bytes', bed.b.lvcmdq_err_map(63), 0)


@test('configuration page: holes ignore writes')
def _(t):
    with t.bed(start=False) as bed:
        values, exist = reset_values()
        holes = sorted(set(range(0, 0x10000, 4)) - set(exist))
        bed.m.many([f'writel {bed.b.base + o:#x} 0xffffffff' for o in holes])
        for offset, got in zip(holes, bed.b.rd_many(holes)):
            t.eq(f'hole {offset:#x}', got, 0)
        for offset, got in zip(exist, bed.b.rd_many(exist)):
            t.eq(f'register {offset:#x}', got, values.get(offset, 0))
        t.eq('interrupts', bed.edges(), 0)


# Register, the bits that must hold what is written, bits to leave alone
FIELDS = [('CONFIG', CONFIG, 0x1ffffe, EN),
          ('VI_INT_MASK low', VI_INT_MASK, 0xffffffff, 0),
          ('VI_INT_MASK high', VI_INT_MASK + 4, 0xffffffff, 0)]
for _q in (0, 1, 64, 127):
    FIELDS.append((f'CMDQ_ALLOC {_q}', alloc(_q), 0x1f80fe, 0))
for _v in (0, 1, 31, 32, 63):
    FIELDS += [(f'VINTF {_v} CONFIG', vintf(_v) + V_CONFIG, 0x3fffe, 0),
               (f'VINTF {_v} filter 0', vintf(_v) + V_FILTER[0], 0xffffffff, 0),
               (f'VINTF {_v} filter 1', vintf(_v) + V_FILTER[1], 0xffffffff, 0)]
    for _s in (0, 1, 15):
        FIELDS += [(f'VINTF {_v} SID_MATCH {_s}', vintf(_v) + SID_MATCH + 4 * _s, 0x1fffff, 0),
                   (f'VINTF {_v} SID_REPLACE {_s}', vintf(_v) + SID_REPLACE + 4 * _s, 0xfffff, 0)]


@test('configuration page: fields hold what is written')
def _(t):
    with t.bed(start=False) as bed:
        for pattern in (0xffffffff, 0x55555555, 0xaaaaaaaa, 0):
            for name, offset, mask, keep in FIELDS:
                bed.b.wr(offset, pattern & mask | bed.b.rd(offset) & keep)
            # Read after all are written: a register must not be another one's alias.
            for name, offset, mask, _keep in FIELDS:
                t.eq(f'{name} after {pattern:#x}', bed.b.rd(offset) & mask, pattern & mask)


@test('configuration page: each register is its own')
def _(t):
    with t.bed(start=False) as bed:
        regs = [vintf(v) + r for v in range(64)
                for r in V_FILTER + tuple(SID_REPLACE + 4 * s for s in range(16))]
        bed.m.many([f'writel {bed.b.base + o:#x} {o:#x}' for o in regs])
        for offset, got in zip(regs, bed.b.rd_many(regs)):
            t.eq(f'register {offset:#x}', got, offset)


@test('CMDQ_ALLOC: index and VINTF stay when ALLOC falls')
def _(t):
    with t.bed() as bed:
        for v, l in ((0, 0), (1, 0), (63, 0)):
            q = bed.b.number(v, l)
            bed.b.wr(alloc(q), alloc_value(v, l, 1))
            t.eq(f'CMDQ_ALLOC {q}', bed.b.rd(alloc(q)), alloc_value(v, l, 1))
            bed.b.wr(alloc(q), alloc_value(v, l, 0))
            t.eq(f'CMDQ_ALLOC {q} freed', bed.b.rd(alloc(q)), alloc_value(v, l, 0))


@test('VINTF STATUS: counts the allocated queues', over={'log2-vintfs': (2,)})
def _(t):
    with t.bed() as bed:
        for l in range(bed.b.per_vintf):
            q = bed.b.number(1, l)
            bed.b.wr(alloc(q), alloc_value(1, l))
            t.eq(f'VINTF 1 after {l + 1}', bed.b.rd(vintf(1) + V_STATUS) >> 16 & 0xff, l + 1)
        t.eq('VINTF 2', bed.b.rd(vintf(2) + V_STATUS), 0)
        for l in reversed(range(bed.b.per_vintf)):
            q = bed.b.number(1, l)
            bed.b.wr(alloc(q), alloc_value(1, l, 0))
            t.eq(f'VINTF 1 down to {l}', bed.b.rd(vintf(1) + V_STATUS) >> 16 & 0xff, l)


@test('queue registers: 0 when first allocated, through both views')
def _(t):
    with t.bed() as bed:
        for v, l, q in ((0, 0, 0), (0, 1, 1), (7, 0, 14), (63, 0, 126), (63, 1, 127)):
            bed.b.wr(alloc(q), alloc_value(v, l))
            for view in (logical(v, l), logical(v, l, 1), direct(q), direct(q, 1)):
                got = bed.b.rd_many(range(view, view + 0x80, 4))
                t.eq(f'VCMDQ {q} at {view:#x}', got, [0] * 32)


@test('queue registers: holes read 0 and ignore writes')
def _(t):
    with t.bed() as bed:
        b = bed.b
        q = bed.guest(1)[0]
        holes = [page + o for page in (logical(1, 0), direct(q.q)) for o in range(0x18, 0x80, 4)]
        holes += [page + o for page in (logical(1, 0, 1), direct(q.q, 1))
                  for o in range(0x10, 0x80, 4)]
        # Behind the last VCMDQ, and slots of a VINTF that no queue was allocated to
        holes += [direct(128, p) + o for p in (0, 1) for o in range(0, 0x18, 4)]
        holes += [direct(511, p) + o for p in (0, 1) for o in range(0, 0x18, 4)]
        holes += [logical(1, l, p) + o for l in (1, 127, 511) for p in (0, 1)
                  for o in range(0, 0x18, 4)]
        for offset in holes:
            b.wr(offset, 0xffffffff)
        for offset, got in zip(holes, b.rd_many(holes)):
            t.eq(f'hole {offset:#x}', got, 0)
        t.eq('error', q.run(sync()), CERROR_NONE)
        t.eq('interrupts', bed.edges(), 0)


@test('a VINTF gets the queues that CMDQ_ALLOC gives it, as many as there are')
def _(t):
    with t.bed() as bed:
        b = bed.b
        b.vintf_on(1, 0, 5)
        # Eight queues of a block that has two for each VINTF, in no order
        numbers = (77, 3, 127, 0, 64, 63, 2, 9)
        queues = [bed.queue(1, l, q=q) for l, q in enumerate(numbers)]
        t.eq('queues', b.rd(vintf(1) + V_STATUS) >> 16 & 0xff, 8)
        cmdq = 0
        for q in queues:
            t.one_of(f'{q}: CONS.ERR', q.run(sync(), ILLEGAL), REFUSED)
            cmdq |= 1 << q.q
            t.eq(f'{q}: maps', b.maps(1), (2, cmdq, (2 << q.l) - 1))
        # VCMDQ 2 is not VINTF 1's logical queue 0, and VINTF 0 has none
        t.eq('VINTF 0', [b.rd(logical(0, l) + Q_STATUS) for l in (0, 1)], [0, 0])


QUEUE_FIELDS = [('CONS', 0, CONS, 0xfffff, 4), ('PROD', 0, PROD, 0xfffff, 4),
                ('GERRORN', 0, Q_GERRORN, 0x7, 4), ('BASE', 1, Q_BASE, 0xffffffffffff, 8),
                ('CONS_INDX_BASE', 1, CONS_INDX_BASE, 0xfffffffffff8, 8)]


@test('queue registers: two views of one queue')
def _(t):
    with t.bed() as bed:
        # Not Linux's numbers: the hardware follows CMDQ_ALLOC only
        queues = [(100, 3, 0), (0, 3, 1), (5, 0, 0), (127, 63, 0), (64, 62, 0)]
        for q, v, l in queues:
            bed.b.wr(alloc(q), alloc_value(v, l))
        for i, (q, v, l) in enumerate(queues):
            for name, page, reg, mask, size in QUEUE_FIELDS:
                views = logical(v, l, page), direct(q, page)
                for way, one, other in (('logical to direct', *views),
                                        ('direct to logical', *reversed(views))):
                    for pattern in (0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x0123456789abcdef + i):
                        bed.b.wr(one + reg, pattern & mask, size)
                        t.eq(f'VCMDQ {q} {name} {way}', bed.b.rd(other + reg, size) & mask,
                             pattern & mask)
        # The last pattern of each is still there: no queue is another one's alias.
        for i, (q, v, l) in enumerate(queues):
            for name, page, reg, mask, size in QUEUE_FIELDS:
                got = bed.b.rd(logical(v, l, page) + reg, size)
                t.eq(f'VCMDQ {q} {name} at the end', got & mask, 0x0123456789abcdef + i & mask)


@test('queue registers: both views run a queue and show its state')
def _(t):
    for view, other in (('logical', 'direct'), ('direct', 'logical')):
        with t.bed() as bed:
            bed.b.vintf_on(3, 1)
            q = bed.queue(3, 0, q=77, view=view)
            q.run(sync(), sync(), ILLEGAL)
            seen = [[q.rd(r) for r in range(0, 0x18, 4)]]
            q.look(other)
            seen.append([q.rd(r) for r in range(0, 0x18, 4)])
            t.eq(f'{other} view of a queue run through the {view} one', seen[1], seen[0])
            t.eq('state', seen[0], [2 | CERROR_ILL << 24, 3, EN, EN, ERR_CMD, 0])


@test('page 1: BASE and CONS_INDX_BASE in 8 bytes or two halves')
def _(t):
    with t.bed() as bed:
        q = Queue(bed.b, 2, 0)
        q.allocate()
        for name, reg, mask in (('BASE', Q_BASE, 0xffffffffffff),
                                ('CONS_INDX_BASE', CONS_INDX_BASE, 0xfffffffffff8)):
            for view in (logical(2, 0, 1), direct(q.q, 1)):
                value = 0x123456789a08
                bed.b.wr(view + reg, value, 8)
                t.eq(f'{name} low', bed.b.rd(view + reg), value & 0xffffffff)
                t.eq(f'{name} high', bed.b.rd(view + reg + 4), value >> 32)
                bed.b.wr(view + reg, 0xfedcba08)
                t.eq(f'{name}, low half written', bed.b.rd(view + reg, 8) & mask, 0x1234fedcba08)
                bed.b.wr(view + reg + 4, 0x4321)
                t.eq(f'{name}, high half written', bed.b.rd(view + reg, 8) & mask, 0x4321fedcba08)


@test('page 1: a queue runs with a BASE written in two halves')
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(2, 1)
        q = Queue(bed.b, 2, 0)
        q.allocate()
        q.reset()
        bed.b.wr(q.page[1] + Q_BASE + 4, q.ring >> 32)
        bed.b.wr(q.page[1] + Q_BASE, q.ring & 0xffffffff | q.log2)
        q.enable()
        t.eq('error', q.run(sync(), sync()), CERROR_NONE)


@test('LVCMDQ_ERR_MAP_64: 8 bytes at once or 4', over={'log2-vintfs': (0,)})
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(0, 1)
        for l in range(128):
            Queue(bed.b, 0, l).allocate()
        want = 0
        for l in (0, 31, 32, 63, 64, 95, 96, 127):
            Queue(bed.b, 0, l).start().run(ILLEGAL)
            want |= 1 << l
            reg = vintf(0) + LVCMDQ_ERR_MAP_64
            t.eq(f'with queue {l}, by 8', bed.b.lvcmdq_err_map(0), want)
            t.eq(f'with queue {l}, by 4', sum(bed.b.rd(reg + 4 * i) << 32 * i for i in range(4)),
                 want)
            t.eq(f'CMDQ_ERR_MAP with queue {l}', bed.b.cmdq_err_map(), want)


@test('CONS_INDX_BASE: not written to without CONS_DRAM_EN')
def _(t):
    with t.bed() as bed:
        copy = RAM + 0x800000
        bed.m.fill(copy - 64, 192, 0xa5)
        q = bed.host()[0]
        bed.b.wr(q.page[1] + CONS_INDX_BASE, copy, 8)
        q.run(*[sync()] * 5)
        t.eq('memory around it', bed.m.load(copy - 64, 192), b'\xa5' * 192)


@test('CONS_INDX_BASE: holds CONS with CONS_DRAM_EN')
def _(t):
    with t.bed() as bed:
        copy = RAM + 0x800000
        bed.m.fill(copy, 64, 0xa5)
        bed.b.wr(CONFIG, bed.b.rd(CONFIG) | 1 << 20)
        bed.b.vintf_on(0, 1)
        q = Queue(bed.b, 0, 0)
        q.allocate()
        q.reset()
        q.set_base()
        bed.b.wr(q.page[1] + CONS_INDX_BASE, copy, 8)
        q.enable()
        q.run(*[sync()] * 5)
        bed.quiet(100 * MS)
        t.eq('copy', int.from_bytes(bed.m.load(copy, 4), 'little') & 0xfffff, 5)


# ---- Section 2 ----

@test('ACPI: one NVDA200C with memory and an edge interrupt',
      over={'uid': (0, 1, 300), 'log2-vintfs': (1, 6)})
def _(t):
    with t.bed(start=False) as bed:
        devices = firmware.devices_with_hid(bed.m, 'NVDA200C')
        t.eq('devices', len(devices), 1)
        t.eq('_CCA', firmware.named(devices[0], '_CCA'), 1)
        t.eq('_UID', str(firmware.named(devices[0], '_UID')), str(t.knobs['uid']))
        memory, interrupts = firmware.resources(devices[0])
        t.eq('memory', memory, [(model.BASE, model.BASE + bed.b.size - 1, bed.b.size)])
        # Consumer, edge, active high, exclusive
        t.eq('interrupts', interrupts, [(3, (208,))])


@test('ACPI: _UID is the identifier of the SMMU\'s IORT node')
def _(t):
    with t.bed(start=False) as bed:
        uid = firmware.named(firmware.devices_with_hid(bed.m, 'NVDA200C')[0], '_UID')
        t.eq('identifiers', [str(i) for i in firmware.iort_smmu_identifiers(bed.m)], [str(uid)])


@test('ACPI: without interrupt', over={'acpi-irq': (False,)})
def _(t):
    with t.bed(start=False) as bed:
        memory, interrupts = firmware.resources(firmware.devices_with_hid(bed.m, 'NVDA200C')[0])
        t.eq('memory', len(memory), 1)
        t.eq('interrupts', interrupts, [])


# ---- Section 3 ----

@test('sequence: 6.12 resets the block and starts VINTF 0',
      over={'status-delay': (0, 10 * MS)})
def _(t):
    with t.bed(start=False) as bed:
        bed.m.write(0x09050020, 9, 4)
        b = bed.b
        upper = b.rd(CONFIG) & ~EN
        b.set_enable(0)
        b.set_enable(1)
        t.eq('CONFIG', b.rd(CONFIG), upper | EN)
        for v in range(64):
            for l in range(2):
                q = b.number(v, l)
                b.wr(alloc(q), alloc_value(v, l, 1))
        t.eq('all queues are allocated', sum(b.rd(alloc(q)) & 1 for q in range(128)), 128)
        b.wr(vintf(0) + V_CONFIG, HYP_OWN)
        b.wr(vintf(0) + V_CONFIG, HYP_OWN | EN)
        b.poll(vintf(0) + V_STATUS, 1, 'VINTF 0 on')
        t.eq('CONFIG of VINTF 0', b.rd(vintf(0) + V_CONFIG), HYP_OWN | EN)
        for l in range(2):
            q = Queue(b, 0, l)
            q.start()
            t.eq(f'error of queue {l}', q.run(sync(), tlbi_asid(0, 1), sync()), CERROR_NONE)
        for l in range(2):
            Queue(b, 0, l).reset()
        t.eq('queues that run', model.get(bed.m, 'running'), '')
        t.eq('interrupts', bed.edges(), 0)


@test('sequence: newer kernels allocate a queue when they use it')
def _(t):
    with t.bed() as bed:
        b = bed.b
        for v in range(64):
            for l in range(2):
                b.wr(alloc(b.number(v, l)), alloc_value(v, l, 0))
        b.vintf_on(0, 1)
        for _round in range(2):
            queues = [Queue(b, 0, l) for l in range(2)]
            for q in queues:
                b.wr(alloc(q.q), b.rd(alloc(q.q)) | 1)
                q.start()
                t.eq(f'{q}: error', q.run(sync()), CERROR_NONE)
            for q in reversed(queues):
                q.reset()
                bed.smmu.own(sync())
                b.wr(alloc(q.q), b.rd(alloc(q.q)) & ~1)
                t.eq(f'{q}: CMDQ_ALLOC', b.rd(alloc(q.q)), alloc_value(0, q.l, 0))
        b.vintf_off(0)


@test('sequence: the maps are rewritten ascending after EN 1 to 0')
def _(t):
    with t.bed() as bed:
        b = bed.b
        for _round in range(3):
            # As after kexec: nothing was unmapped
            b.reset()
            for v in range(64):
                for l in range(2):
                    b.wr(alloc(b.number(v, l)), alloc_value(v, l, 1))
            t.eq('allocated', sum(b.rd(alloc(q)) & 1 for q in range(128)), 128)
            b.vintf_on(0, 1)
            q = Queue(b, 0, 1)
            t.eq('error', q.start().run(sync()), CERROR_NONE)


@test('sequence: VINTF of a vIOMMU, made, used and gone', over={'status-delay': (0, 10 * MS)})
def _(t):
    with t.bed() as bed:
        b = bed.b
        for vmid in (5, 7, 0xffff):
            for s in range(16):
                b.clear_pair(9, s)
            b.vintf_on(9, 0, vmid)
            t.eq('CONFIG', b.rd(vintf(9) + V_CONFIG), vmid << 1 | EN)
            t.eq('STATUS, no queue yet', b.rd(vintf(9) + V_STATUS), 1)
            # The guest has the page, no queue
            for l in range(2):
                b.wr(logical(9, l) + Q_CONFIG, EN)
                bed.m.step(20 * MS)
                t.eq(f'STATUS of queue {l}', b.rd(logical(9, l) + Q_STATUS), 0)
            queues = [bed.queue(9, l) for l in range(2)]
            b.set_pair(9, 0, 0x10, 8)
            for q in queues:
                t.eq(f'{q}: error', q.run(tlbi_asid(0, 1), atc_inv(0x10), sync()), CERROR_NONE)
            for q in reversed(queues):
                q.reset()
                bed.smmu.own(sync())
                q.allocate(0)
                t.eq(f'{q}: allocated', q.is_allocated(), 0)
            b.vintf_off(9)
            b.clear_pair(9, 0)
            t.eq('STATUS', b.rd(vintf(9) + V_STATUS), 0)


@test('sequence: a queue is reset and goes on as new')
def _(t):
    with t.bed() as bed:
        q = bed.host()[0]
        for i in range(5):
            t.eq('error', q.run(*[sync()] * (3 + i)), CERROR_NONE)
            if i & 1:
                q.run(ILLEGAL)
            q.reset()
            t.eq(f'round {i}: CONS', q.cons(), 0)
            t.eq('PROD', q.rd(PROD), 0)
            t.eq('BASE', q.base(), 0)
            t.eq('active errors', q.error(), 0)
            t.eq('STATUS', q.rd(Q_STATUS), 0)
            q.set_base()
            q.enable()


@test('HYP_OWN: reads back as written, 0 in a block that is a guest\'s',
      over={'no-hyp-own': (False, True)}, kills=('no-hyp-own',))
def _(t):
    with t.bed() as bed:
        for v in (0, 1, 63):
            bed.b.vintf_on(v, 1, 9)
            want = 0 if t.knobs['no-hyp-own'] else HYP_OWN
            t.eq(f'VINTF {v}', bed.b.rd(vintf(v) + V_CONFIG), want | 9 << 1 | EN)


@test('EN: a switch that is never answered', over={'status-stuck': (1, 2, 4)})
def _(t):
    stuck = t.knobs['status-stuck']
    with t.bed(start=False) as bed:
        bed.m.write(0x09050020, 9, 4)
        b = bed.b
        b.wr(CONFIG, b.rd(CONFIG) & ~EN)
        bed.m.step(2 * SECOND)
        if stuck == 1:
            t.eq('block STATUS', b.rd(STATUS), 1)
            return
        b.wr(CONFIG, b.rd(CONFIG) | EN)
        b.poll(STATUS, 1, 'block on')
        b.wr(vintf(1) + V_CONFIG, HYP_OWN | EN)
        bed.m.step(2 * SECOND)
        t.eq('VINTF STATUS', b.rd(vintf(1) + V_STATUS) & 1, int(stuck != 2))
        if stuck == 4:
            q = Queue(b, 1, 0)
            q.allocate()
            q.set_base()
            q.wr(Q_CONFIG, EN)
            bed.m.step(2 * SECOND)
            t.eq('queue STATUS', q.rd(Q_STATUS), 0)


# ---- Section 4 ----

def operands(opcode):
    """Words that make a command act on slot 1 and device 0, if it acts on anything."""
    if opcode in (PREFETCH_CFG, PREFETCH_ADDR, CFGI_STE, CFGI_CD, CFGI_CD_ALL, ATC_INV, PRI_RESP,
                  RESUME, STALL_TERM):
        return 8 << 32, {CFGI_STE: 1, CFGI_CD: 1, ATC_INV: 52}.get(opcode, 0)
    if opcode == CFGI_ALL:
        return 0, 31
    if opcode == CMD_SYNC:
        return 0, 0
    return 5 << 32 | 3 << 48, VA + 0x1000 | 1


def outcome(bed, run, cmd):
    """Run a command against a cached translation and a cached STE, both stale.

    Return its error code, whether the translation and whether the STE was looked up anew.
    """
    guest, ste = bed.tb.guest[0], STRTAB + 64 * bed.tb.edu[0].sid
    bed.m.store(ste, guest.ste())
    bed.smmu.own(command(CFGI_STE, 8 << 32, 1), sync())
    bed.tb.make_stale(0, 1)
    # Config 0b000: abort
    bed.m.store(ste, guest.ste(0))
    code = run(cmd)
    page = bed.tb.where(0, 1)
    new_ste = page is None
    bed.m.store(ste, guest.ste())
    bed.smmu.own(command(CFGI_STE, 8 << 32, 1), sync())
    return code, bed.tb.is_fresh(0, 1), new_ste


def run_and_skip(queue):
    def run(cmd):
        code = queue.run(cmd)
        if code:
            queue.skip()
            queue.settle()
        return code
    return run


@test('control: outcome() tells what the SMMU\'s own queue executes')
def _(t):
    with t.bed() as bed:
        for opcode, want in ((0x00, (CERROR_ILL, False, False)), (NH_VA, (0, True, False)),
                             (NH_ASID, (0, True, False)), (NSNH_ALL, (0, True, False)),
                             (CFGI_STE, (0, False, True)), (CFGI_ALL, (0, False, True)),
                             (CMD_SYNC, (0, False, False))):
            got = outcome(bed, bed.smmu.own, command(opcode, *operands(opcode)))
            t.eq(f'opcode {opcode:#x}', got, want)
        t.eq('another ASID', outcome(bed, bed.smmu.own, tlbi_asid(5, 4)), (0, False, False))
        t.eq('another VMID', outcome(bed, bed.smmu.own, tlbi_asid(6, 3)), (0, False, False))


@test('HYP_OWN = 1: all 256 opcodes do what the SMMU\'s own queue does')
def _(t):
    with t.bed() as bed:
        q = bed.host()[0]
        for opcode in range(256):
            cmd = command(opcode, *operands(opcode))
            want = outcome(bed, bed.smmu.own, cmd)
            t.eq(f'opcode {opcode:#x}: (error, TLB, STE)', outcome(bed, run_and_skip(q), cmd), want)


@test('HYP_OWN = 1: VMID and SID are used as written')
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(0, 1, 7)
        q = bed.queue(0, 0)
        bed.b.set_pair(0, 0, 8, 16)
        for i in (0, 1):
            bed.tb.make_stale(i, 1)
        q.run(tlbi_asid(5, 3), sync())
        t.eq('VMID 5, which the command names, is invalidated', bed.tb.is_fresh(0, 1), True)
        t.eq('VMID 7, which CONFIG names, is invalidated', bed.tb.is_fresh(1, 1), False)
        t.eq('ATC_INV: error', q.run(atc_inv(8), sync()), CERROR_NONE)
        t.eq('devices that saw it', model.atc_seen(bed.m), {8: 1})


@test('HYP_OWN = 0: the four commands of a guest', kills=('no-vmid-stamp', 'no-sid-swap'))
def _(t):
    with t.bed() as bed:
        for vmid in (0, 5, 7, 0xffff):
            q = bed.guest(1, 5)[0]
            bed.b.set_pair(1, 0, 0x30, 8)
            for name, cmd in (('NH_VA', tlbi_va(vmid, 3, VA + 0x1000)),
                              ('NH_ASID', tlbi_asid(vmid, 3))):
                for i in (0, 1):
                    bed.tb.make_stale(i, 1)
                t.eq(f'{name} VMID {vmid}: error', q.run(cmd, sync()), CERROR_NONE)
                t.eq(f'{name} VMID {vmid}: own entry is gone', bed.tb.is_fresh(0, 1), True)
                t.eq(f'{name} VMID {vmid}: other VM\'s is gone', bed.tb.is_fresh(1, 1), False)
            before = model.atc_seen(bed.m)
            t.eq('ATC_INV: error', q.run(atc_inv(0x30), sync()), CERROR_NONE)
            after = model.atc_seen(bed.m)
            t.eq('ATC_INVs of the device', after.get(8, 0) - before.get(8, 0), 1)
            t.eq('devices that saw one', sorted(after), [8])
            q.reset()
            q.allocate(0)
            bed.b.vintf_off(1)


@test('TLBI_NH_VA: leaf, TG, TTL, NUM, SCALE as the SMMU does', each={'hyp': (0, 1)})
def _(t):
    hyp = t.p['hyp']
    with t.bed() as bed:
        q = (bed.host(1) if hyp else bed.guest(1, 5))[0]
        cases = [dict(leaf=0), dict(leaf=1), dict(tg=1, ttl=3), dict(tg=1, ttl=0),
                 dict(tg=1, num=1), dict(tg=1, num=3, ttl=3), dict(tg=1, num=0, scale=1),
                 dict(tg=1, num=1, scale=1), dict(tg=2), dict(tg=1, ttl=2)]
        slots = (7, 8, 9, 10, 11, 12, 39, 40, 72)
        for case in cases:
            seen = []
            cmd = tlbi_va(5, 3, VA + 8 * 0x1000, **case)
            for run in (bed.smmu.own, run_and_skip(q)):
                bed.tb.make_stale(0, *slots)
                code = run(cmd)
                seen.append((code, [s for s in slots if bed.tb.where(0, s) == 1]))
            t.eq(f'{case}: error and slots invalidated', seen[1], seen[0])
            t.ok(f'{case}: not all slots', len(seen[0][1]) < len(slots))


@test('ATC_INV: SSV, SSID, global, size and address reach the device',
      each={'hyp': (0, 1)})
def _(t):
    hyp = t.p['hyp']
    with t.bed() as bed:
        q = (bed.host(1) if hyp else bed.guest(1, 5))[0]
        bed.b.set_pair(1, 2, 0xabcde, 8)
        for kwargs in (dict(), dict(ssid=0), dict(ssid=0xfffff), dict(ssid=5, glob=1),
                       dict(addr=0x7ffff000, size=0), dict(addr=0xfffffffffffff000, size=3)):
            t.eq(f'{kwargs}: error',
                 q.run(atc_inv(8 if hyp else 0xabcde, **kwargs), sync()), CERROR_NONE)
            want = atc_inv(8, **kwargs)
            words = [int.from_bytes(want[i:i + 8], 'little') for i in (0, 8)]
            t.eq(f'{kwargs}: as the device got it', model.get(bed.m, 'last-atc-inv'),
                 '%016x %016x' % tuple(words))


@test('SID pairs: 20 bits of both SIDs, all 16 pairs', kills=('no-sid-swap',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(63, 5)[0]
        # Pairs of which each differs from the next in one bit of the vSID
        vsids = [0xfffff ^ 1 << s for s in range(16)]
        psids = [0x80000 >> s for s in range(16)]
        for s in range(16):
            bed.b.set_pair(63, s, vsids[s], psids[s])
        for s in range(16):
            t.eq(f'pair {s}: error', q.run(atc_inv(vsids[s]), sync()), CERROR_NONE)
        t.eq('devices', model.atc_seen(bed.m), {p: 1 for p in psids})
        # A vSID is wider than a pair's field: no bits may be dropped
        t.one_of('a vSID of 32 bits', run_and_skip(q)(atc_inv(vsids[0] | 1 << 20)), REFUSED)
        t.one_of('a vSID of 32 bits', run_and_skip(q)(atc_inv(vsids[0] | 1 << 31)), REFUSED)
        q.run(sync())
        t.eq('devices', model.atc_seen(bed.m), {p: 1 for p in psids})


@test('a queue goes round many times', over={'cmd-delay': (0, MS)})
def _(t):
    with t.bed() as bed:
        for log2 in (0, 1, 3):
            bed.b.vintf_on(1, 1)
            q = bed.queue(1, 0, log2=log2)
            for i in range(40):
                count = 1 + i % (1 << log2)
                t.eq(f'LOG2SIZE {log2}, round {i}', q.run(*[sync()] * count), CERROR_NONE)
            t.ok('CONS wraps', q.cons() < 2 << log2)
            q.reset()
            q.allocate(0)


@test('the largest queue: LOG2SIZE 19, all entries')
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, 1)
        q = Queue(bed.b, 1, 0, log2=19, ring=RAM + 0x8000000)
        q.allocate()
        q.start()
        bed.m.store(q.ring, sync() * 8192)
        for i in range(1, 64):
            bed.m.store(q.ring + i * 8192 * 16, sync() * 8192)
        before = model.get(bed.m, 'commands')
        q.index = 1 << 19
        q.kick()
        bed.b.wait('the queue executes', q.is_done)
        t.eq('commands', model.get(bed.m, 'commands') - before, 1 << 19)
        q.index = 0
        q.kick()
        bed.b.wait('the queue executes', q.is_done)
        t.eq('commands', model.get(bed.m, 'commands') - before, 2 << 19)


# ---- Section 5 ----

@test('an error stops the queue at the command and shows in all maps',
      over={'forbidden-code': (1, 4)})
def _(t):
    for v, l, hyp in ((0, 0, 1), (1, 0, 0), (31, 1, 0), (32, 0, 1), (63, 1, 0)):
        with t.bed() as bed:
            q = (bed.host if hyp else bed.guest)(v, queues=l + 1)[l]
            q.run(sync(), sync())
            before = bed.smmu.rd(GERROR), bed.smmu.rd(GERRORN), bed.smmu.rd(CMDQ_CONS)
            code = q.run(sync(), ILLEGAL if hyp else command(NSNH_ALL), sync())
            want = CERROR_ILL if hyp else t.knobs['forbidden-code']
            t.eq(f'{q}: CONS.ERR', code, want)
            t.eq(f'{q}: CONS.RD', q.cons(), 3)
            t.eq(f'{q}: PROD', q.rd(PROD), 5)
            t.eq(f'{q}: GERROR', q.rd(Q_GERROR), ERR_CMD)
            t.eq(f'{q}: GERRORN', q.rd(Q_GERRORN), 0)
            t.eq(f'{q}: EN_OK', q.en_ok(), 1)
            t.eq(f'{q}: maps', bed.b.maps(v), (1 << v, 1 << q.q, 1 << l))
            t.eq(f'{q}: VINTF STATUS [3:1]', bed.b.rd(vintf(v) + V_STATUS) >> 1 & 7, 1)
            t.eq(f'{q}: SMMU GERROR, GERRORN, CONS',
                 (bed.smmu.rd(GERROR), bed.smmu.rd(GERRORN), bed.smmu.rd(CMDQ_CONS)), before)
            q.skip()
            t.eq(f'{q}: goes on', q.settle(), CERROR_NONE)
            t.eq(f'{q}: maps, acknowledged', bed.b.maps(v), (0, 0, 0))
            t.eq(f'{q}: VINTF STATUS, acknowledged', bed.b.rd(vintf(v) + V_STATUS) >> 1 & 7, 0)


@test('one edge for each new error, none while it is unacknowledged', kills=('no-irq', 'level-irq'))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        for i in range(1, 12):
            q.run(ILLEGAL, sync())
            t.eq(f'error {i}: edges', bed.edges(), i)
            t.ok(f'error {i}: the line is down again', not bed.m.lines.get(0))
            q.push(sync(), sync())
            bed.quiet()
            bed.b.maps(1)
            t.eq(f'error {i}: edges while it stands', bed.edges(), i)
            q.skip()
            t.eq('goes on', q.settle(), CERROR_NONE)
            t.eq(f'error {i}: edges after it', bed.edges(), i)


@test('one edge for each new error: a guest that acknowledges at once', kills=('no-irq',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        q.put(*[ILLEGAL] * 8)
        q.kick()
        for i in range(1, 9):
            t.eq(f'error {i}', q.settle() in REFUSED, True)
            t.eq(f'error {i}: CONS', q.cons(), i - 1)
            t.eq(f'error {i}: edges', bed.edges(), i)
            q.skip()
        t.eq('end', q.settle(), CERROR_NONE)
        t.eq('edges', bed.edges(), 8)


@test('recovery without a new command: the same error again', kills=('no-irq',))
def _(t):
    with t.bed() as bed:
        q = bed.host()[0]
        q.run(ILLEGAL)
        q.acknowledge()
        t.eq('error', q.settle(), CERROR_ILL)
        t.eq('GERROR', (q.rd(Q_GERROR), q.rd(Q_GERRORN)), (0, ERR_CMD))
        t.eq('CONS', q.cons(), 0)
        t.eq('edges', bed.edges(), 2)


@test('recovery from an ATC_INV timeout: the queue goes on behind its CMD_SYNC')
def _(t):
    with t.bed() as bed:
        q = bed.host()[0]
        model.put(bed.m, 'atc-timeout', '8')
        t.eq('error', q.run(atc_inv(8), sync(), sync()), CERROR_ATC)
        t.eq('CONS', q.cons(), 1)
        model.put(bed.m, 'atc-timeout', '')
        # Linux leaves the command for codes 0, 2 and 3
        q.acknowledge()
        t.eq('error, acknowledged', q.settle(), CERROR_NONE)
        t.eq('CONS', q.cons(), 3)


@test('CONS.ERR at the acknowledgement', over={'cons-err-keep': (False, True)},
      kills=('cons-err-keep',))
def _(t):
    with t.bed() as bed:
        q = bed.host()[0]
        q.run(ILLEGAL)
        q.skip()
        q.settle()
        t.eq('CONS.ERR', q.code(), CERROR_ILL if t.knobs['cons-err-keep'] else 0)


@test('an error of a VCMDQ is none of the SMMU\'s own queue')
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, 0, 5)
        q = Queue(bed.b, 1, 0, ring=0x700000000000)
        q.allocate()
        q.start()
        q.index = 1
        q.kick()
        t.eq('error', q.settle(), CERROR_ABT)
        t.eq('own queue', bed.smmu.own(sync()), 0)


@test('a guest that enables its queue while the host resets it')
def _(t):
    with t.bed() as bed:
        b = bed.b
        q = bed.guest(1)[0]
        q.wr(Q_CONFIG, 0)
        # The guest is faster than the host's poll
        q.wr(Q_CONFIG, EN)
        bed.quiet()
        t.eq('STATUS', q.en_ok(), 1)
        b.wr(q.page[0] + PROD, 0)
        q.allocate(0)
        for _ in range(10):
            q.wr(Q_CONFIG, EN)
            q.wr(PROD, 3)
            bed.m.step(100 * MS)
            t.eq('STATUS without ALLOC', q.rd(Q_STATUS), 0)
        t.eq('queues that run', model.get(bed.m, 'running'), '')


@test('the model\'s counters agree with what the wires show')
def _(t):
    with t.bed() as bed:
        queues = bed.guest(1, queues=2)
        before = {n: model.get(bed.m, n) for n in ('commands', 'tlbis', 'syncs', 'fetches',
                                                   'errors', 'irqs')}
        for q in queues:
            q.run(tlbi_asid(0, 1), sync(), ILLEGAL)
        counted = {n: model.get(bed.m, n) - c for n, c in before.items()}
        t.eq('counters', counted, {'commands': 4, 'tlbis': 2, 'syncs': 2, 'fetches': 6,
                                   'errors': 2, 'irqs': 2})
        t.eq('edges', bed.edges(), model.get(bed.m, 'irqs'))


# ---- All of it ----

def check_maps(t, b, step):
    """The maps are the levels of the queues' errors, whatever was written."""
    want_vi, want_cmdq, want_lv = 0, 0, {}
    for q in range(b.vcmdqs):
        value = b.rd(alloc(q))
        gerror, gerrorn = b.rd_many((direct(q) + Q_GERROR, direct(q) + Q_GERRORN))
        if not value & 1:
            t.eq(f'step {step}: GERROR of unallocated VCMDQ {q}', (gerror, gerrorn), (0, 0))
        elif (gerror ^ gerrorn) & 7:
            v, l = value >> 15 & 0x3f, value >> 1 & 0x7f
            want_vi |= 1 << v
            want_cmdq |= 1 << q
            want_lv[v] = want_lv.get(v, 0) | 1 << l
    t.eq(f'step {step}: VI_ERR_MAP', b.vi_err_map(), want_vi)
    t.eq(f'step {step}: CMDQ_ERR_MAP', b.cmdq_err_map(), want_cmdq)
    for v in range(b.vintfs):
        t.eq(f'step {step}: LVCMDQ_ERR_MAP_64 of VINTF {v}', b.lvcmdq_err_map(v),
             want_lv.get(v, 0))


@test('random accesses: QEMU survives, the maps are levels, a reset ends it',
      over={'status-delay': (0, MS), 'cmd-delay': (0, 10000), 'log2-vintfs': (1,),
            'log2-vcmdqs': (3,)}, each={'seed': (1, 2)})
def _(t):
    rnd = random.Random(t.p['seed'])
    with t.bed(start=False) as bed:
        b = bed.b
        values, exist = reset_values(b.vintfs, b.vcmdqs)
        bed.start()
        # Rings of every kind of command
        opcodes = (NH_ALL, NH_ASID, NH_VA, NH_VAA, EL2_ALL, S2_IPA, ATC_INV, CMD_SYNC, CMD_SYNC,
                   CMD_SYNC, 0, 0xff)
        ring = b''.join(command(rnd.choice(opcodes), rnd.getrandbits(64) & ~0xff,
                                rnd.getrandbits(64)) for _ in range(256))
        bed.m.store(Queue.RINGS, ring)

        def poke():
            kind = rnd.randrange(8)
            if kind == 0:
                return alloc(rnd.randrange(9)), rnd.getrandbits(1) | rnd.randrange(4) << 1 | \
                    rnd.randrange(3) << 15, 4
            if kind == 1:
                return vintf(rnd.randrange(2)), rnd.getrandbits(18) | rnd.randrange(4) // 3, 4
            if kind == 2 and rnd.randrange(20) == 0:
                return CONFIG, rnd.getrandbits(1), 4
            page = rnd.choice((logical(rnd.randrange(2), rnd.randrange(5)),
                               direct(rnd.randrange(9))))
            if kind == 3:
                return page + 0x10000, Queue.RINGS + (rnd.randrange(16) << 5) | rnd.randrange(9), 8
            reg = rnd.choice((CONS, PROD, PROD, PROD, Q_CONFIG, Q_CONFIG, Q_GERRORN))
            value = {Q_CONFIG: EN if rnd.randrange(4) else 0,
                     Q_GERRORN: rnd.randrange(8)}.get(reg, rnd.getrandbits(rnd.randrange(1, 32)))
            return page + reg, value, 4

        for step in range(30):
            pokes = [poke() for _ in range(200)]
            bed.m.many([f'write{"l" if s == 4 else "q"} {b.base + o:#x} {v:#x}'
                        for o, v, s in pokes])
            bed.m.step(rnd.choice((1000, MS, 10 * MS)))
            # Maps and registers are read one by one: nothing may move meanwhile. Time stands.
            check_maps(t, b, step)
            if t.notes:
                return
        bed.quiet()
        bed.m.reset()
        for offset, got in zip(exist, b.rd_many(exist)):
            t.eq(f'register {offset:#x} after a reset', got, values.get(offset, 0))
        bed.start()
        t.eq('error after a reset', bed.guest(1)[0].run(sync()), CERROR_NONE)
