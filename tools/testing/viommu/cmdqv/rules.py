# SPDX-License-Identifier: GPL-2.0-only
"""CMDQV.md, section 7: each rule is broken by register pokes, and must hold."""

import model
from block import (CERROR_ABT, CERROR_ATC, CERROR_ILL, CERROR_NONE, CMDQ_ERR_MAP, CONFIG, CONS,
                   EN, ERR_CMD, ERR_INIT, HYP_OWN, LVCMDQ_ERR_MAP_64, PARAM, PROD, Q_BASE,
                   Q_CONFIG, Q_GERROR, Q_GERRORN, Q_STATUS, REFUSED, SID_MATCH, SID_REPLACE,
                   STATUS, V_CONFIG, V_STATUS, VI_ERR_MAP, VI_INT_MASK, Queue, alloc, alloc_value,
                   direct, logical, vintf)
from harness import test
from machine import MS, SECOND
from smmuv3 import (ATC_INV, CFGI_STE, CMD_SYNC, CMDQEN, EVENTQEN, NH_ASID, NH_VA, NSNH_ALL, RAM,
                    RAM_SIZE, SMMUEN, STRTAB, SYNC_IRQ, SYNC_SEV, VA, atc_inv,
                    command, sync, tlbi_asid, tlbi_va)
from tables import ILLEGAL, operands, reset_values, run_and_skip

GUEST_OPCODES = (NH_ASID, NH_VA, ATC_INV, CMD_SYNC)
# An address without memory behind it, within 48 bits
NOWHERE = 0x700000000000
# A guest VINTF must not execute it
FORBIDDEN = command(NSNH_ALL)


def tlbi(slot, vmid=5):
    return tlbi_va(vmid, 3, VA + slot * 0x1000)


def fresh(bed, *slots):
    return [s for s in slots if bed.tb.is_fresh(0, s)]


def guest_errors(bed):
    return model.get(bed.m, 'guest-errors'), len(bed.m.log())


def logged(t, bed, what, before):
    after = guest_errors(bed)
    t.ok(f'{what}: counted as a guest error', after[0] > before[0])
    t.ok(f'{what}: logged', after[1] > before[1])


# ---- Rule 1 ----

@test('rule 1: read-only registers ignore writes', each={'error': (0, 1)})
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        if t.p['error']:
            q.run(ILLEGAL)
        regs = [PARAM, STATUS, VI_ERR_MAP, VI_ERR_MAP + 4]
        regs += [CMDQ_ERR_MAP + 4 * i for i in range(4)]
        regs += [vintf(v) + r for v in (0, 1, 63)
                 for r in [V_STATUS] + [LVCMDQ_ERR_MAP_64 + 4 * i for i in range(4)]]
        regs += [page + r for page in (logical(1, 0), direct(q.q)) for r in (Q_STATUS, Q_GERROR)]
        before = bed.b.rd_many(regs)
        edges = bed.edges()
        for reg, value in zip(regs, before):
            for new in (0xffffffff, 0, ~value & 0xffffffff):
                bed.b.wr(reg, new)
                t.eq(f'register {reg:#x} after a write of {new:#x}', bed.b.rd(reg), value)
        for reg in (LVCMDQ_ERR_MAP_64, LVCMDQ_ERR_MAP_64 + 8):
            value = bed.b.rd(vintf(1) + reg, 8)
            bed.b.wr(vintf(1) + reg, 0xffffffffffffffff, 8)
            t.eq(f'LVCMDQ_ERR_MAP_64 at {reg:#x}', bed.b.rd(vintf(1) + reg, 8), value)
        t.eq('all of them in the end', bed.b.rd_many(regs), before)
        t.eq('interrupts', bed.edges() - edges, 0)


# ---- Rule 2 ----

DELAY = 10 * MS


@test('rule 2: the block\'s STATUS follows EN after status-delay')
def _(t):
    with t.bed(status_delay=DELAY) as bed:
        for value in (0, 1):
            bed.b.wr(CONFIG, bed.b.rd(CONFIG) & ~EN | value)
            bed.m.step(DELAY // 2)
            t.eq(f'EN {value}: STATUS before the delay', bed.b.rd(STATUS), 1 - value)
            bed.m.step(DELAY)
            t.eq(f'EN {value}: STATUS after it', bed.b.rd(STATUS), value)


@test('rule 2: a VINTF\'s STATUS follows EN, queues run only after it')
def _(t):
    with t.bed(status_delay=DELAY) as bed:
        b = bed.b
        b.vintf_on(1, 1)
        q = bed.queue(1, 0)
        b.vintf_off(1)
        b.wr(vintf(1) + V_CONFIG, HYP_OWN | EN)
        q.wr(Q_CONFIG, EN)
        q.push(sync())
        for _ in range(9):
            t.eq('VINTF STATUS before the delay', b.rd(vintf(1) + V_STATUS) & 1, 0)
            t.eq('CONS before the delay', q.cons(), 0)
            bed.m.step(DELAY // 10)
        b.poll(vintf(1) + V_STATUS, 1, 'VINTF on')
        t.eq('error', q.settle(), CERROR_NONE)
        b.wr(vintf(1) + V_CONFIG, HYP_OWN)
        t.eq('VINTF STATUS at EN 1 to 0', b.rd(vintf(1) + V_STATUS) & 1, 1)
        bed.m.step(2 * DELAY)
        t.eq('VINTF STATUS after it', b.rd(vintf(1) + V_STATUS) & 1, 0)


@test('rule 2: a queue\'s STATUS follows EN, commands run only with STATUS 1')
def _(t):
    with t.bed(status_delay=DELAY) as bed:
        bed.b.vintf_on(1, 1)
        q = Queue(bed.b, 1, 0)
        q.allocate()
        q.reset()
        q.set_base()
        q.wr(Q_CONFIG, EN)
        q.push(sync(), sync())
        for _ in range(9):
            t.eq('STATUS before the delay', q.en_ok(), 0)
            t.eq('CONS before the delay', q.cons(), 0)
            bed.m.step(DELAY // 10)
        bed.m.step(2 * DELAY)
        t.eq('STATUS after the delay', q.en_ok(), 1)
        t.eq('error', q.settle(), CERROR_NONE)
        q.wr(Q_CONFIG, 0)
        bed.m.step(DELAY // 2)
        t.eq('STATUS at EN 1 to 0, before the delay', q.en_ok(), 1)
        bed.m.step(DELAY)
        t.eq('STATUS after it', q.en_ok(), 0)


@test('rule 2: EN written twice within the delay', each={'last': (0, 1)})
def _(t):
    with t.bed(status_delay=DELAY) as bed:
        bed.b.vintf_on(1, 1)
        q = bed.queue(1, 0)
        last = t.p['last']
        if last:
            q.wr(Q_CONFIG, 0)
            bed.b.poll(q.page[0] + Q_STATUS, 0, 'off')
        for value in (last, 1 - last, last):
            q.wr(Q_CONFIG, value)
            bed.m.step(DELAY // 10)
        bed.quiet(10 * DELAY)
        t.eq('STATUS is the last EN', q.en_ok(), last)


# ---- Rule 3 ----

@test('rule 3: EN_OK falls when the command in flight is done, nothing is fetched after it')
def _(t):
    with t.bed(cmd_delay=SECOND) as bed:
        q = bed.guest(1)[0]
        bed.tb.make_stale(0, 1, 2)
        fetched = model.get(bed.m, 'fetches')
        q.push(tlbi(1), tlbi(2), sync())
        bed.m.step(SECOND // 2)
        t.eq('CONS in the middle', q.cons(), 0)
        q.wr(Q_CONFIG, 0)
        t.eq('EN_OK while the command executes', q.en_ok(), 1)
        bed.m.step(SECOND // 4)
        t.eq('EN_OK while the command executes', q.en_ok(), 1)
        bed.b.poll(q.page[0] + Q_STATUS, 0, 'off')
        t.eq('CONS when EN_OK is 0', q.cons(), 1)
        t.eq('slots invalidated', fresh(bed, 1, 2), [1])
        bed.quiet(5 * SECOND)
        t.eq('CONS later', q.cons(), 1)
        t.eq('fetches', model.get(bed.m, 'fetches') - fetched, 1)
        t.eq('slots invalidated later', fresh(bed, 2), [])
        q.enable()
        t.eq('error after EN', q.settle(), CERROR_NONE)
        t.eq('slots invalidated at the end', fresh(bed, 2), [2])


# ---- Rules 4 to 6 ----

@test('rule 4: queues are allocated ascending and freed descending',
      over={'log2-vintfs': (1, 4, 6)})
def _(t):
    with t.bed() as bed:
        b, v = bed.b, 1
        n = min(b.per_vintf, 8)

        def write(l, on, took):
            q = b.number(v, l)
            before, bit = guest_errors(bed), b.rd(alloc(q)) & 1
            b.wr(alloc(q), alloc_value(v, l, on))
            t.eq(f'queue {l}: ALLOC after a write of {on}', b.rd(alloc(q)) & 1,
                 on if took else bit)
            if not took:
                logged(t, bed, f'queue {l}: ALLOC {on} out of order', before)

        for l in range(n - 1, 0, -1):
            write(l, 1, False)
        for l in range(n):
            write(l, 1, True)
        for l in range(n - 1):
            write(l, 0, False)
        for l in range(n - 1, -1, -1):
            write(l, 0, True)
        write(0, 1, True)
        if n > 2:
            write(2, 1, False)
        # The order is that of one VINTF: another one starts at 0 of its own
        q = b.number(0, 1)
        b.wr(alloc(q), alloc_value(0, 1, 1))
        t.eq('queue 1 of VINTF 0 without its queue 0', b.rd(alloc(q)) & 1, 0)


@test('rule 4: a queue that was refused is not there')
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, 1)
        q = Queue(bed.b, 1, 1)
        q.allocate()
        for view in ('logical', 'direct'):
            q.look(view)
            q.set_base()
            q.wr(Q_CONFIG, EN)
            bed.quiet(SECOND)
            t.eq(f'{view}: BASE', q.base(), 0)
            t.eq(f'{view}: STATUS', q.rd(Q_STATUS), 0)


@test('rule 5: the second VCMDQ for one slot', over={'alloc-steal': (False, True)},
      kills=('alloc-steal',))
def _(t):
    with t.bed() as bed:
        b = bed.b
        b.vintf_on(1, 1)
        q = bed.queue(1, 0)
        b.wr(q.page[0] + PROD, 0)
        b.wr(alloc(9), alloc_value(1, 0))
        if t.knobs['alloc-steal']:
            t.eq('ALLOC of the second', b.rd(alloc(9)) & 1, 1)
            return
        t.eq('ALLOC of the second', b.rd(alloc(9)) & 1, 0)
        t.eq('ALLOC of the first', b.rd(alloc(q.q)), alloc_value(1, 0))
        t.eq('BASE of the slot', q.base(), q.ring | q.log2)
        t.eq('BASE of the second', b.rd(direct(9, 1), 8), 0)
        t.eq('queues in VINTF STATUS', b.rd(vintf(1) + V_STATUS) >> 16 & 0xff, 1)
        t.eq('error', q.run(sync()), CERROR_NONE)
        # And one VCMDQ for two slots: it must not leave its first one
        b.wr(alloc(q.q), alloc_value(2, 0))
        t.eq('BASE of the slot, VCMDQ named by another', q.base(), q.ring | q.log2)
        t.eq('BASE in the other slot', b.rd(logical(2, 0, 1), 8), 0)


@test('rule 6: an unallocated slot reads 0 and ignores writes', each={'was': ('never', 'freed')})
def _(t):
    with t.bed() as bed:
        b = bed.b
        b.vintf_on(1, 1)
        if t.p['was'] == 'freed':
            q = bed.queue(1, 0)
            q.run(sync())
            q.wr(Q_CONFIG, 0)
            q.allocate(0)
        views = [logical(1, 0), logical(1, 0, 1), direct(2), direct(2, 1), logical(0, 0),
                 logical(63, 1), logical(1, 100), logical(1, 511), logical(1, 511, 1)]
        for view in views:
            for reg in range(0, 0x80, 4):
                b.wr(view + reg, 0xffffffff)
            b.wr(view + Q_CONFIG, EN)
            bed.m.step(100 * MS)
            t.eq(f'slot at {view:#x}', b.rd_many(range(view, view + 0x80, 4)), [0] * 32)
        for view in views[2:4] + views[:2]:
            if view & 0x10000 and view < 0x30000 or view >= 0x40000:
                b.wr(view, 0xffffffffffffffff, 8)
                t.eq(f'slot at {view:#x}, 8 bytes', b.rd(view, 8), 0)
        t.eq('interrupts', bed.edges(), 0)
        t.eq('error maps', b.maps(1), (0, 0, 0))
        b.wr(alloc(2), alloc_value(1, 0))
        for view in views[:4]:
            t.eq(f'at {view:#x} when allocated', b.rd_many(range(view, view + 0x80, 4)), [0] * 32)


# ---- Rule 7 ----

@test('rule 7: VMID written with EN = 1', over={'vmid-live': (False, True)},
      kills=('vmid-live', 'no-vmid-stamp'))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1, 5)[0]
        bed.b.wr(vintf(1) + V_CONFIG, 7 << 1 | EN)
        for i in (0, 1):
            bed.tb.make_stale(i, 1)
        t.eq('error', q.run(tlbi_asid(9, 3), sync()), CERROR_NONE)
        live = t.knobs['vmid-live']
        t.eq('the entry of VMID 5 is gone', bed.tb.is_fresh(0, 1), not live)
        t.eq('the entry of VMID 7 is gone', bed.tb.is_fresh(1, 1), live)
        bed.b.vintf_off(1)
        bed.b.vintf_on(1, 0, 7)
        for i in (0, 1):
            bed.tb.make_stale(i, 1)
        q.start()
        t.eq('error', q.run(tlbi_asid(9, 3), sync()), CERROR_NONE)
        t.eq('after EN 0, 1: the entry of VMID 5 is gone', bed.tb.is_fresh(0, 1), False)
        t.eq('after EN 0, 1: the entry of VMID 7 is gone', bed.tb.is_fresh(1, 1), True)


@test('rule 7: HYP_OWN written with EN = 1', over={'vmid-live': (False, True)},
      each={'hyp': (0, 1)}, kills=('vmid-live', 'no-filter'))
def _(t):
    hyp, live = t.p['hyp'], t.knobs['vmid-live']
    with t.bed() as bed:
        bed.b.vintf_on(1, hyp, 5)
        q = bed.queue(1, 0)
        bed.b.wr(vintf(1) + V_CONFIG, (0 if hyp else HYP_OWN) | 5 << 1 | EN)
        works = hyp ^ live
        bed.tb.make_stale(0, 1)
        code = run_and_skip(q)(FORBIDDEN)
        t.eq('the host\'s command is executed', code == CERROR_NONE, bool(works))
        t.eq('it invalidates', bed.tb.is_fresh(0, 1), bool(works))
        bed.b.vintf_off(1)
        bed.b.vintf_on(1, not hyp, 5)
        q.start()
        code = run_and_skip(q)(FORBIDDEN)
        t.eq('after EN 0, 1: it is executed', code == CERROR_NONE, not hyp)


# ---- Rules 8 and 9 ----

BAD_BASES = {'zero': 0, 'misaligned': Queue.RINGS + 0x20 | 4,
             'misaligned by half': Queue.RINGS + 0x80 | 4,
             'misaligned, 256 entries': Queue.RINGS + 0x800 | 8, 'LOG2SIZE 20': RAM | 20,
             'LOG2SIZE 31': 31}


@test('rule 8: EN with a bad BASE', each={'base': tuple(BAD_BASES)}, kills=('no-irq',))
def _(t):
    bad = BAD_BASES[t.p['base']]
    for delay in (0, DELAY):
        with t.bed(status_delay=delay) as bed:
            bed.b.vintf_on(1, 0, 5)
            q = Queue(bed.b, 1, 0)
            q.allocate()
            q.reset()
            q.set_base(bad)
            q.wr(Q_CONFIG, EN)
            bed.quiet(10 * DELAY)
            t.eq('EN_OK', q.en_ok(), 0)
            t.eq('GERROR', q.rd(Q_GERROR), ERR_INIT)
            t.eq('GERRORN', q.rd(Q_GERRORN), 0)
            t.eq('maps', bed.b.maps(1), (2, 1 << q.q, 1))
            t.eq('edges', bed.edges(), 1)
            q.push(sync())
            bed.quiet()
            t.eq('CONS', q.cons(), 0)
            q.wr(Q_CONFIG, 0)
            bed.b.poll(q.page[0] + Q_STATUS, 0, 'off')
            q.acknowledge()
            t.eq('maps, acknowledged', bed.b.maps(1), (0, 0, 0))
            q.set_base()
            q.enable()
            t.eq('error with a good BASE', q.settle(), CERROR_NONE)
            t.eq('edges at the end', bed.edges(), 1)


@test('rule 8: each EN with a bad BASE is one error', kills=('no-irq',))
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, 0, 5)
        q = Queue(bed.b, 1, 0)
        q.allocate()
        q.reset()
        q.set_base(0)
        for i in range(1, 6):
            q.wr(Q_CONFIG, EN)
            bed.quiet(100 * MS)
            t.eq(f'{i}: active errors', q.error(), ERR_INIT)
            t.eq(f'{i}: edges', bed.edges(), i)
            q.wr(Q_CONFIG, 0)
            bed.quiet(100 * MS)
            q.acknowledge()


@test('rule 8: every aligned BASE up to LOG2SIZE 19 is good')
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, 0, 5)
        for log2 in range(20):
            ring = RAM + 0x2000000 + max(32, 16 << log2)
            q = bed.queue(1, 0, log2=log2, ring=ring & -max(32, 16 << log2))
            t.eq(f'LOG2SIZE {log2}: error', q.run(sync()), CERROR_NONE)
            t.eq(f'LOG2SIZE {log2}: GERROR', q.error(), 0)
            q.reset()
            q.allocate(0)


@test('rule 9: BASE and CONS written with EN_OK = 1', over={'write-running': (False, True)},
      kills=('write-running',))
def _(t):
    wrong = t.knobs['write-running']
    with t.bed() as bed:
        q = bed.guest(1)[0]
        q.run(sync(), sync())
        for half in (False, True):
            if half:
                bed.b.wr(q.page[1] + Q_BASE, 0x45000004)
                bed.b.wr(q.page[1] + Q_BASE + 4, 0x1)
            else:
                q.set_base(RAM + 0x5000000 | 4)
            t.eq('BASE is unchanged', q.base() == q.ring | q.log2, not wrong)
        q.wr(CONS, 7)
        t.eq('CONS is unchanged', q.cons() == 2, not wrong)
        if not wrong:
            q.wr(CONS, 0x7f000000)
            t.eq('CONS.ERR', q.code(), 0)
            # BASE and CONS stay writable through no other view either
            bed.b.wr(direct(q.q, 1), RAM + 0x5000000 | 4, 8)
            bed.b.wr(direct(q.q) + CONS, 7)
            t.eq('BASE', q.base(), q.ring | q.log2)
            t.eq('CONS', q.cons(), 2)
            bed.tb.make_stale(0, 1)
            t.eq('error', q.run(tlbi(1), sync()), CERROR_NONE)
            t.eq('the old ring is used', bed.tb.is_fresh(0, 1), True)


# ---- Rules 10 and 11 ----

@test('rule 10: PROD is stored, and runs when the obstacle goes',
      each={'obstacle': ('vintf', 'queue', 'error')})
def _(t):
    obstacle = t.p['obstacle']
    with t.bed() as bed:
        b = bed.b
        q = bed.guest(1)[0]
        bed.tb.make_stale(0, 1)
        if obstacle == 'vintf':
            b.vintf_off(1)
            # The VINTF's end stopped the queue; its owner starts it again, too early
            q.wr(Q_CONFIG, 0)
            q.wr(Q_CONFIG, EN)
        elif obstacle == 'queue':
            q.wr(Q_CONFIG, 0)
            b.poll(q.page[0] + Q_STATUS, 0, 'off')
        else:
            q.run(ILLEGAL)
        cons = q.cons()
        q.push(tlbi(1), sync())
        bed.quiet()
        t.eq('PROD', q.rd(PROD), q.index)
        t.eq('CONS', q.cons(), cons)
        t.eq('slots invalidated', fresh(bed, 1), [])
        if obstacle == 'vintf':
            b.vintf_on(1, 0, 5)
        elif obstacle == 'queue':
            q.enable()
        else:
            q.skip()
        t.eq('error', q.settle(), CERROR_NONE)
        t.eq('CONS at the end', q.cons(), q.index)
        t.eq('slots invalidated at the end', fresh(bed, 1), [1])


@test('rule 11: PROD far ahead of CONS', each={'prod': (7, 0x8, 0x10, 0x7f0, 0x80005, 0xfffff)},
      over={'cmd-delay': (0, MS)})
def _(t):
    prod = t.p['prod']
    with t.bed() as bed:
        q, other = bed.guest(1, queues=2, log2=2)
        q.put(*[sync()] * 4)
        before = model.get(bed.m, 'commands')
        q.wr(PROD, prod)
        bed.quiet(SECOND)
        count = model.get(bed.m, 'commands') - before
        t.ok(f'at most 8 commands ({count})', count <= 8)
        t.eq('error', q.error(), 0)
        if prod < 8:
            t.eq('CONS', q.cons(), prod)
        t.eq('error of the other queue', other.run(sync(), sync()), CERROR_NONE)
        bed.quiet(SECOND)
        t.eq('commands later', model.get(bed.m, 'commands') - before, count + 2)
        q.reset()
        q.set_base()
        q.enable()
        t.eq('error after a reset', q.run(sync()), CERROR_NONE)


@test('rule 11: other queues get their turn', over={'cmd-delay': (0, MS)})
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, 0, 5)
        bed.b.vintf_on(2, 0, 7)
        q = Queue(bed.b, 1, 0, log2=19, ring=RAM + 0x8000000)
        q.allocate()
        q.start()
        for i in range(64):
            bed.m.store(q.ring + i * 8192 * 16, sync() * 8192)
        others = [bed.queue(1, 1), bed.queue(2, 0)]
        q.index = 0xffff
        q.kick()
        for other in others:
            other.push(*[sync()] * 4)
        bed.b.wait('the others are done', lambda: all(o.is_done() for o in others), SECOND,
                   MS // 20)
        t.ok('the long queue is not done yet', not q.is_done())


# ---- Rules 12 to 15 ----

@test('rule 12: commands before the bad one take effect, none after it',
      over={'forbidden-code': (1, 4)},
      each={'kind': ('illegal', 'illegal for the host', 'forbidden', 'unmatched SID')},
      kills=('no-filter',))
def _(t):
    kind = t.p['kind']
    with t.bed() as bed:
        q = (bed.host if kind == 'illegal for the host' else bed.guest)(1)[0]
        bed.tb.make_stale(0, 1, 2)
        bad = {'forbidden': FORBIDDEN, 'unmatched SID': atc_inv(0x99)}.get(kind, ILLEGAL)
        code = q.run(tlbi(1), sync(), bad, tlbi(2), sync())
        if kind == 'illegal for the host':
            t.eq('CONS.ERR', code, CERROR_ILL)
        elif kind != 'illegal':
            t.eq('CONS.ERR', code, t.knobs['forbidden-code'])
        else:
            t.one_of('CONS.ERR', code, REFUSED)
        bed.quiet()
        t.eq('CONS', q.cons(), 2)
        t.eq('EN_OK', q.en_ok(), 1)
        t.eq('slots invalidated', fresh(bed, 1, 2), [1])
        q.skip()
        t.eq('error at the end', q.settle(), CERROR_NONE)
        t.eq('slots invalidated at the end', fresh(bed, 1, 2), [1, 2])


@test('rule 13: GERRORN written with something else than GERROR')
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        q.run(ILLEGAL)
        q.m.store(q.slot(0), sync())
        q.push(sync())
        edges = bed.edges()
        for value in (0, 2, 4, 6):
            q.wr(Q_GERRORN, value)
            bed.quiet(100 * MS)
            t.eq(f'GERRORN {value}: GERROR', q.rd(Q_GERROR), ERR_CMD)
            t.eq(f'GERRORN {value}: CONS', q.cons(), 0)
            t.eq(f'GERRORN {value}: maps', bed.b.maps(1), (2, 4, 1))
            t.eq(f'GERRORN {value}: edges', bed.edges(), edges)
        q.wr(Q_GERRORN, ERR_CMD)
        t.eq('error at the end', q.settle(), CERROR_NONE)
        t.eq('edges at the end', bed.edges(), edges)


@test('rule 13: GERRORN that makes an error of none', over={'gerrorn-irq': (True, False)},
      kills=('gerrorn-irq',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        q.run(ILLEGAL)
        q.skip()
        q.settle()
        edges = bed.edges()
        q.wr(Q_GERRORN, 0)
        t.eq('active errors', q.error(), ERR_CMD)
        q.push(sync())
        bed.quiet(100 * MS)
        t.eq('CONS', q.cons(), 1)
        t.eq('maps', bed.b.maps(1), (2, 4, 1))
        t.eq('edges', bed.edges() - edges, int(t.knobs['gerrorn-irq']))
        q.wr(Q_GERRORN, ERR_CMD)
        t.eq('error at the end', q.settle(), CERROR_NONE)


@test('rule 14: errors while others are unacknowledged', kills=('no-irq', 'level-irq'))
def _(t):
    with t.bed() as bed:
        queues = bed.guest(1, queues=2) + bed.guest(2) + bed.guest(40, queues=2)
        vi = cmdq = 0
        lv = {1: 0, 2: 0, 40: 0}
        for i, q in enumerate(queues):
            q.run(sync(), ILLEGAL)
            vi |= 1 << q.v
            cmdq |= 1 << q.q
            lv[q.v] |= 1 << q.l
            t.eq(f'{q}: edges', bed.edges(), i + 1)
            t.eq(f'{q}: maps', bed.b.maps(q.v), (vi, cmdq, lv[q.v]))
        # The first queue's error is acknowledged and a new one comes: an edge of its own
        queues[0].skip()
        queues[0].settle()
        t.eq('first acknowledged: maps', bed.b.maps(1), (vi, cmdq & ~4, 2))
        t.eq('first acknowledged: edges', bed.edges(), 5)
        queues[0].run(ILLEGAL)
        t.eq('again: maps', bed.b.maps(1), (vi, cmdq, 3))
        t.eq('again: edges', bed.edges(), 6)
        for q in queues:
            q.skip()
            t.eq(f'{q}: error', q.settle(), CERROR_NONE)
            cmdq &= ~(1 << q.q)
            lv[q.v] &= ~(1 << q.l)
            vi &= ~(1 << q.v) if not lv[q.v] else -1
            t.eq(f'{q} acknowledged: maps', bed.b.maps(q.v), (vi, cmdq, lv[q.v]))
        t.eq('edges at the end', bed.edges(), 6)


@test('rule 15: VI_INT_MASK', over={'unmask-irq': (False, True)}, each={'v': (0, 1, 31, 32, 63)},
      kills=('unmask-irq', 'no-irq'))
def _(t):
    v = t.p['v']
    with t.bed() as bed:
        reg, bit = VI_INT_MASK + 4 * (v >> 5), 1 << (v & 31)
        bed.b.wr(reg, bit)
        q, second = bed.guest(v, queues=2)
        other = bed.guest(v ^ 2)[0]
        q.run(ILLEGAL)
        t.eq('edges, masked', bed.edges(), 0)
        t.eq('maps, masked', bed.b.maps(v), (1 << v, 1 << q.q, 1))
        other.run(ILLEGAL)
        t.eq('edges of a VINTF that is not masked', bed.edges(), 1)
        bed.b.wr(reg, 0)
        raised = int(t.knobs['unmask-irq'])
        t.eq('edges after unmasking', bed.edges(), 1 + raised)
        second.run(ILLEGAL)
        t.eq('edges after a new error', bed.edges(), 2 + raised)
        bed.b.wr(VI_INT_MASK, 0xffffffff)
        bed.b.wr(VI_INT_MASK + 4, 0xffffffff)
        q.skip()
        q.settle()
        q.run(ILLEGAL)
        t.eq('edges, all masked', bed.edges(), 2 + raised)


# ---- Rules 16 to 19 ----

@test('rule 16: a guest\'s VINTF, all 256 opcodes', over={'forbidden-code': (1, 4)},
      kills=('no-filter',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1, 5)[0]
        bed.b.set_pair(1, 0, 8, 8)
        guest, ste = bed.tb.guest[0], STRTAB + 64 * 8
        executed = set()
        for opcode in range(256):
            # A translation and an STE are cached; both have changed in memory
            bed.m.store(ste, guest.ste())
            bed.smmu.own(command(CFGI_STE, 8 << 32, 1), sync())
            bed.tb.make_stale(0, 1)
            bed.m.store(ste, guest.ste(0))
            index = q.index
            code = q.run(command(opcode, *operands(opcode)), sync())
            if code == CERROR_NONE:
                executed.add(opcode)
            else:
                t.one_of(f'opcode {opcode:#x}: CONS.ERR', code, REFUSED)
                t.eq(f'opcode {opcode:#x}: CONS', q.cons(), index)
                t.eq(f'opcode {opcode:#x}: caches are untouched', bed.tb.where(0, 1), 0)
                q.skip()
                t.eq(f'opcode {opcode:#x}: error behind it', q.settle(), CERROR_NONE)
        t.eq('opcodes executed', sorted(map(hex, executed)), sorted(map(hex, GUEST_OPCODES)))


@test('rule 16: forbidden commands with other operands', each={'opcode': (
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x13, 0x18, 0x1a, 0x20, 0x21, 0x22, 0x23, 0x28,
    0x2a, 0x30, 0x41, 0x44, 0x45)}, kills=('no-filter',))
def _(t):
    opcode = t.p['opcode']
    with t.bed() as bed:
        q = bed.guest(1, 5)[0]
        before = model.get(bed.m, 'commands')
        bed.tb.make_stale(0, 1)
        for word0 in (0, 5 << 32, 5 << 32 | 3 << 48, 8 << 32, 0xffffffffffffff00, 1 << 10, 1 << 11):
            for word1 in (0, 1, 31, VA | 1, 0xffffffffffffffff):
                q.push(command(opcode, word0, word1))
                code = q.settle()
                t.one_of(f'{word0:#x} {word1:#x}: CONS.ERR', code, REFUSED)
                # Overwritten with a CMD_SYNC, as the driver does
                q.skip()
                t.eq(f'{word0:#x} {word1:#x}: behind it', q.settle(), CERROR_NONE)
        t.eq('the TLB entry is gone', bed.tb.is_fresh(0, 1), False)
        t.eq('commands executed', model.get(bed.m, 'commands') - before, 35)


@test('rule 17: a guest\'s TLBI acts on CONFIG.VMID only', each={'command': ('NH_VA', 'NH_ASID')},
      kills=('no-vmid-stamp',))
def _(t):
    with t.bed(devices=3) as bed:
        q = bed.guest(1, 5)[0]
        for vmid in (0, 1, 5, 7, 11, 0x8005, 0xffff):
            for i in range(3):
                bed.tb.make_stale(i, 4)
            cmd = tlbi(4, vmid) if t.p['command'] == 'NH_VA' else tlbi_asid(vmid, 3)
            t.eq(f'VMID {vmid}: error', q.run(cmd, sync()), CERROR_NONE)
            t.eq(f'VMID {vmid}: entries of VMID 5, 7, 11 that are gone',
                 [bed.tb.is_fresh(i, 4) for i in range(3)], [True, False, False])


@test('rule 17: all 16 bits of the VMID are replaced', kills=('no-vmid-stamp',))
def _(t):
    with t.bed() as bed:
        for mine in (0, 1, 0x8000, 0x5555, 0xaaaa, 0xffff):
            q = bed.guest(1, mine)[0]
            for named in (0, mine ^ 1, mine ^ 0x8000, mine ^ 0xffff):
                vmids = sorted({mine, named})
                model.put(bed.m, 'iotlb', '')
                for vmid in vmids:
                    model.put(bed.m, 'iotlb', f'3 {vmid} 0x400000 1 3')
                q.run(tlbi_va(named, 3, VA), sync())
                left = [e for e in model.get(bed.m, 'iotlb').split(';') if e.strip()]
                t.eq(f'CONFIG {mine:#x}, command {named:#x}: entries left', len(left),
                     len(vmids) - 1)
                t.ok(f'CONFIG {mine:#x}, command {named:#x}: own entry is gone',
                     not any(f'vmid={mine} ' in e + ' ' for e in left))
            q.reset()
            q.allocate(0)
            bed.b.vintf_off(1)


@test('rule 18: ATC_INV with a SID that is not the guest\'s', each={'kind': (
    'nothing matches', 'disabled pair', 'other VINTF', 'physical SID', 'cleared pair',
    'replace without match')}, over={'forbidden-code': (1, 4)}, kills=('no-sid-swap',))
def _(t):
    kind = t.p['kind']
    with t.bed(atc_timeout='all') as bed:
        b = bed.b
        q = bed.guest(1, 5)[0]
        bed.guest(2, 7)
        b.set_pair(1, 0, 0x20, 8)
        b.set_pair(2, 0, 0x30, 16)
        sid = 0x20
        if kind == 'nothing matches':
            sid = 0x77
        elif kind == 'disabled pair':
            b.wr(vintf(1) + SID_MATCH, 0x20 << 1)
        elif kind == 'other VINTF':
            sid = 0x30
        elif kind == 'physical SID':
            sid = 8
        elif kind == 'cleared pair':
            b.clear_pair(1, 0)
        else:
            b.wr(vintf(1) + SID_MATCH, 0)
            sid = 0
        t.eq('CONS.ERR', q.run(atc_inv(sid), sync()), t.knobs['forbidden-code'])
        t.eq('CONS', q.cons(), 0)
        q.skip()
        # A device that had seen it would make a CMD_SYNC fail
        t.eq('error behind it', q.settle(), CERROR_NONE)
        t.eq('error of the SMMU\'s own CMD_SYNC', bed.smmu.own(sync()), 0)
        t.eq('devices that saw one', model.atc_seen(bed.m), {})


@test('rule 18: ATC_INV reaches the device of its pair and no other', kills=('no-sid-swap',))
def _(t):
    with t.bed(atc_timeout='16') as bed:
        q = bed.guest(1, 5)[0]
        # The vSIDs are crossed with the physical ones
        bed.b.set_pair(1, 0, 16, 8)
        bed.b.set_pair(1, 1, 8, 16)
        t.eq('vSID 16, device 8: error', q.run(atc_inv(16), sync()), CERROR_NONE)
        t.eq('devices', model.atc_seen(bed.m), {8: 1})
        t.eq('vSID 8, device 16: error', q.run(atc_inv(8), sync()), CERROR_ATC)
        t.eq('devices', model.atc_seen(bed.m), {8: 1, 16: 1})


@test('rule 19: CMD_SYNC with CS = NONE and MSI fields writes nothing', each={'hyp': (0, 1)})
def _(t):
    with t.bed() as bed:
        q = (bed.host if t.p['hyp'] else bed.guest)(1)[0]
        target = RAM + 0x900000
        bed.m.fill(target - 64, 192, 0xa5)
        for msh in range(4):
            for attr in (0, 1, 0xf):
                cmd = sync(0, target, 0xdeadbeef, msh, attr)
                t.eq(f'MSH {msh} attr {attr}: error', q.run(cmd), CERROR_NONE)
        t.eq('memory', bed.m.load(target - 64, 192), b'\xa5' * 192)


@test('rule 19: CMD_SYNC with CS = IRQ or SEV', over={'sync-cs-ok': (False, True)},
      each={'hyp': (0, 1), 'cs': (SYNC_IRQ, SYNC_SEV)}, kills=('sync-cs-ok',))
def _(t):
    with t.bed() as bed:
        q = (bed.host if t.p['hyp'] else bed.guest)(1)[0]
        target = RAM + 0x900000
        bed.m.fill(target - 64, 192, 0xa5)
        code = q.run(sync(t.p['cs'], target, 0xdeadbeef, 3, 0xf))
        t.eq('memory', bed.m.load(target - 64, 192), b'\xa5' * 192)
        t.eq('CONS.ERR', code, CERROR_NONE if t.knobs['sync-cs-ok'] else CERROR_ILL)


# ---- Rules 20 and 21 ----

@test('rule 20: CMD_SYNC passes only behind the slow command')
def _(t):
    with t.bed(cmd_delay=SECOND) as bed:
        for view in ('host', 'guest'):
            q = getattr(bed, view)(1)[0]
            bed.tb.make_stale(0, 1)
            q.push(tlbi(1), sync())
            bed.m.step(SECOND // 2)
            t.eq(f'{view}: CONS in the middle of the command', q.cons(), 0)
            t.eq(f'{view}: slots invalidated', fresh(bed, 1), [])
            bed.b.wait('CONS passes the TLBI', lambda: q.cons() >= 1)
            t.eq(f'{view}: slots invalidated', fresh(bed, 1), [1])
            t.eq(f'{view}: error', q.settle(), CERROR_NONE)
            q.reset()
            q.allocate(0)
            bed.b.vintf_off(1)


@test('rule 20: a slow queue does not hold back another one\'s CMD_SYNC')
def _(t):
    with t.bed() as bed:
        slow, fast = bed.guest(1, queues=2)
        model.put(bed.m, 'cmd-delay', 10 * SECOND)
        slow.push(tlbi(1), sync())
        bed.m.step(MS)
        model.put(bed.m, 'cmd-delay', 0)
        fast.push(sync())
        bed.m.step(SECOND)
        t.eq('CONS of the fast queue', fast.cons(), 1)
        t.eq('CONS of the slow queue', slow.cons(), 0)
        bed.b.wait('the slow queue is done', slow.is_done, 100 * SECOND, SECOND)


@test('rule 21: an ATC_INV that timed out fails the next CMD_SYNC of its queue',
      each={'hyp': (0, 1)})
def _(t):
    with t.bed(atc_timeout='8') as bed:
        q, other = (bed.host if t.p['hyp'] else bed.guest)(1, queues=2)
        bed.b.set_pair(1, 0, 8, 8)
        bed.b.set_pair(1, 1, 16, 16)
        bed.tb.make_stale(0, 1)
        t.eq('error without a CMD_SYNC', q.run(atc_inv(8), tlbi(1)), CERROR_NONE)
        t.eq('slots invalidated', fresh(bed, 1), [1])
        t.eq('error of the other queue', other.run(sync()), CERROR_NONE)
        t.eq('error at the CMD_SYNC', q.run(sync(), sync()), CERROR_ATC)
        t.eq('CONS', q.cons(), 2)
        t.eq('GERROR', q.error(), ERR_CMD)
        t.eq('maps', bed.b.maps(1), (2, 4, 1))
        t.eq('edges', bed.edges(), 1)
        q.acknowledge()
        t.eq('error once only', q.settle(), CERROR_NONE)
        t.eq('error of a device that answers', q.run(atc_inv(16), sync()), CERROR_NONE)


@test('rule 21: the timeout meets the queue\'s next owner',
      each={'flush': (False, True)}, over={'atc-collect-error': (False, True)},
      kills=('atc-collect-error',))
def _(t):
    with t.bed(atc_timeout='8') as bed:
        q = bed.guest(1)[0]
        bed.b.set_pair(1, 0, 8, 8)
        q.run(atc_inv(8))
        q.reset()
        if t.p['flush']:
            t.eq('own CMD_SYNC', bed.smmu.own(sync()),
                 CERROR_ATC if t.knobs['atc-collect-error'] else 0)
        q.allocate(0)
        bed.b.vintf_off(1)
        bed.b.clear_pair(1, 0)
        bed.b.vintf_on(2, 0, 7)
        new = bed.queue(2, 0, q=q.q)
        t.eq('error of the next owner', new.run(sync()),
             CERROR_NONE if t.p['flush'] else CERROR_ATC)


# ---- Rules 22 and 23 ----

@test('rule 22: BASE points at no memory', each={'hyp': (0, 1)}, kills=('no-irq',))
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, t.p['hyp'], 5)
        q = bed.queue(1, 0, ring=NOWHERE)
        t.eq('EN_OK', q.en_ok(), 1)
        before = model.get(bed.m, 'commands')
        q.index = 3
        q.kick()
        t.eq('error', q.settle(), CERROR_ABT)
        t.eq('CONS', q.cons(), 0)
        t.eq('GERROR', q.error(), ERR_CMD)
        t.eq('EN_OK', q.en_ok(), 1)
        t.eq('maps', bed.b.maps(1), (2, 4, 1))
        t.eq('edges', bed.edges(), 1)
        bed.quiet()
        t.eq('commands', model.get(bed.m, 'commands') - before, 0)
        # For code 2 the driver leaves the command: the same again
        q.acknowledge()
        t.eq('error', q.settle(), CERROR_ABT)
        t.eq('edges', bed.edges(), 2)
        q.ring = Queue.RINGS
        q.start()
        t.eq('error with memory', q.run(sync()), CERROR_NONE)


@test('rule 22: a ring at the end of memory')
def _(t):
    with t.bed() as bed:
        bed.b.vintf_on(1, 1)
        q = bed.queue(1, 0, log2=4, ring=RAM + RAM_SIZE - 0x100)
        bed.tb.make_stale(0, 1)
        t.eq('error in the last page of RAM', q.run(tlbi(1), sync()), CERROR_NONE)
        t.eq('slots invalidated', fresh(bed, 1), [1])


@test('rule 23: a command is fetched at its execution, once, from physical memory',
      each={'how': ('queue off', 'behind a slow one', 'in error', 'in flight')})
def _(t):
    how = t.p['how']
    with t.bed() as bed:
        q = bed.guest(1)[0]
        bed.tb.make_stale(0, 1, 2)
        if how == 'queue off':
            q.wr(Q_CONFIG, 0)
            bed.b.poll(q.page[0] + Q_STATUS, 0, 'off')
        elif how == 'in error':
            q.run(ILLEGAL)
        else:
            model.put(bed.m, 'cmd-delay', SECOND)
            if how == 'behind a slow one':
                q.push(sync())
        fetched = model.get(bed.m, 'fetches')
        index = q.index
        q.push(tlbi(1), sync())
        bed.m.step(SECOND // 2)
        bed.m.store(q.slot(index), tlbi(2))
        if how == 'queue off':
            q.enable()
        elif how == 'in error':
            q.skip()
        t.eq('error', q.settle(), CERROR_NONE)
        # In flight: the model fetches a command when it starts, and not again
        t.eq('slots invalidated', fresh(bed, 1, 2), [1] if how == 'in flight' else [2])
        t.eq('fetches', model.get(bed.m, 'fetches') - fetched, 3 if how == 'in error' else 2)


# ---- Rules 24 and 25 ----

@test('rule 24: queues that are taken from a guest that fights', each={'how': ('VINTF', 'ALLOC')})
def _(t):
    with t.bed(cmd_delay=SECOND) as bed:
        b = bed.b
        queues = bed.guest(1, queues=2)
        other = bed.guest(2, 7)[0]
        slots = range(1, 7)
        bed.tb.make_stale(0, *slots)
        # Each queue has its own half of the slots
        queues[0].push(*[tlbi(s) for s in (1, 2, 3)])
        queues[1].push(*[tlbi(s) for s in (4, 5, 6)])
        other.push(*[sync()] * 8)

        def fight():
            for q in queues:
                for view in (logical(1, q.l), direct(q.q)):
                    b.wr(view + Q_CONFIG, EN)
                    b.wr(view + PROD, 3)

        bed.m.step(SECOND // 2)
        fight()
        was = other.cons()
        if t.p['how'] == 'VINTF':
            b.wr(vintf(1) + V_CONFIG, b.rd(vintf(1) + V_CONFIG) & ~EN)
            for _ in range(100):
                fight()
                if not b.rd(vintf(1) + V_STATUS) & 1:
                    break
                bed.m.step(SECOND // 10)
            t.eq('VINTF STATUS', b.rd(vintf(1) + V_STATUS) & 1, 0)
        else:
            for q in reversed(queues):
                q.allocate(0)
                fight()
                t.eq(f'{q}: ALLOC', q.is_allocated(), 0)
        # The command in flight may finish
        for _ in range(15):
            fight()
            bed.m.step(SECOND // 10)
        for q in queues:
            t.eq(f'{q}: EN_OK', q.en_ok(), 0)
            t.ok(f'{q}: at most the command in flight ({q.cons()})', q.cons() <= 1)
        for _ in range(100):
            fight()
            bed.m.step(SECOND // 10)
            for q in queues:
                if q.en_ok():
                    t.note(f'{q}: EN_OK came back')
        gone = fresh(bed, *slots)
        t.ok(f'slots invalidated: at most the commands in flight ({gone})', set(gone) <= {1, 4})
        t.eq('queues that run', model.get(bed.m, 'running'), str(other.q))
        t.ok('the other queue went on', other.cons() > was)
        bed.b.wait('the other queue is done', other.is_done)
        t.eq('error of the other queue', other.error(), 0)
        t.eq('interrupts', bed.edges(), 0)


@test('rule 24: a freed queue serves its next owner as new')
def _(t):
    with t.bed(cmd_delay=SECOND) as bed:
        b = bed.b
        q = bed.guest(1)[0]
        b.vintf_on(2, 0, 7)
        bed.tb.make_stale(0, 1, 2, 3)
        q.push(tlbi(1), tlbi(2), tlbi(3))
        bed.m.step(SECOND // 2)
        # No reset: the queue runs when its slot goes
        q.allocate(0)
        new = Queue(b, 2, 0, q=q.q, ring=q.ring + 0x8000)
        new.allocate()
        t.eq('ALLOC', new.is_allocated(), 1)
        bed.quiet(5 * SECOND)
        t.eq('registers', [new.rd(r) for r in range(0, 0x18, 4)], [0] * 6)
        t.ok('at most the command in flight', set(fresh(bed, 1, 2, 3)) <= {1})
        new.start()
        t.eq('error', new.run(sync()), CERROR_NONE)


@test('rule 25: EN of the block 1 to 0', over={'status-delay': (0, DELAY)})
def _(t):
    with t.bed(cmd_delay=SECOND) as bed:
        b = bed.b
        host, guest = bed.host(0)[0], bed.guest(1)[0]
        bed.tb.make_stale(0, 1, 2, 3)
        guest.push(tlbi(1), tlbi(2), sync())
        host.push(*[sync()] * 3)
        bed.m.step(SECOND // 2)
        b.set_enable(0)
        bed.quiet(3 * SECOND)
        for v in (0, 1):
            t.eq(f'VINTF {v}: STATUS', b.rd(vintf(v) + V_STATUS), 0)
        t.eq('allocated', sum(b.rd(alloc(q)) & 1 for q in range(128)), 0)
        for q in (host, guest):
            for view in ('logical', 'direct'):
                q.look(view)
                t.eq(f'{q}, {view}', [q.rd(r) for r in range(0, 0x18, 4)], [0] * 6)
        gone = fresh(bed, 1, 2)
        t.ok(f'at most the command in flight ({gone})', set(gone) <= {1})
        t.eq('own queue: error', bed.smmu.own(tlbi(3), sync()), 0)
        t.eq('own queue: its slot', fresh(bed, 3), [3])
        b.set_enable(1)
        bed.quiet(3 * SECOND)
        t.eq('VINTFs are off', [b.rd(vintf(v) + V_STATUS) & 1 for v in (0, 1)], [0, 0])
        t.eq('nothing is allocated', sum(b.rd(alloc(q)) & 1 for q in range(128)), 0)
        t.eq('queues that run', model.get(bed.m, 'running'), '')
        t.eq('interrupts', bed.edges(), 0)
        model.put(bed.m, 'cmd-delay', 0)
        again = bed.guest(1)[0]
        t.eq('error after it', again.run(sync()), CERROR_NONE)


# ---- Rule 26 ----

@test('rule 26: a queue allocated again', over={'sticky': (False, True)},
      each={'view': ('logical', 'direct')}, kills=('sticky',))
def _(t):
    with t.bed() as bed:
        b = bed.b
        q = bed.guest(1)[0]
        q.look(t.p['view'])
        b.wr(q.page[1] + 8, 0x1230, 8)
        q.run(sync(), ILLEGAL, sync())
        if t.knobs['sticky']:
            # Acknowledged: the two are equal, and both 1
            q.skip()
            q.wr(Q_CONFIG, 0)
        q.allocate(0)
        t.eq('maps, freed', b.maps(1), (0, 0, 0))
        edges = bed.edges()
        q.allocate(1)
        got = [q.rd(r) for r in range(0, 0x18, 4)]
        if t.knobs['sticky']:
            t.eq('GERROR, GERRORN', got[4:], [1, 1])
            t.eq('BASE', q.base(), q.ring | q.log2)
        else:
            t.eq('registers', got, [0] * 6)
            t.eq('BASE', q.base(), 0)
            t.eq('CONS_INDX_BASE', b.rd(q.page[1] + 8, 8), 0)
        t.eq('EN_OK', q.en_ok(), 0)
        t.eq('maps', b.maps(1), (0, 0, 0))
        t.eq('interrupts', bed.edges() - edges, 0)
        q.reset()
        t.eq('BASE after the driver\'s reset', q.base(), 0)
        t.eq('active errors after it', q.error(), 0)
        q.set_base()
        q.enable()
        t.eq('error', q.run(sync()), CERROR_NONE)


@test('rule 26: QEMU writes GERRORN 0 at hand-over', over={'sticky': (False, True)},
      kills=('no-irq',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        q.run(ILLEGAL)
        q.reset()
        q.allocate(0)
        edges = bed.edges()
        q.allocate(1)
        q.start()
        q.wr(Q_GERRORN, 0)
        sticky = int(t.knobs['sticky'])
        t.eq('active errors', q.error(), sticky)
        t.eq('edges', bed.edges() - edges, sticky)
        t.eq('maps', bed.b.maps(1), (2 * sticky, 4 * sticky, sticky))


# ---- Rule 27 ----

@test('rule 27: accesses of the wrong size or alignment', over={'wide-access': (False, True)},
      kills=('wide-access',))
def _(t):
    wide = t.knobs['wide-access']
    with t.bed() as bed:
        b = bed.b
        b.vintf_on(1, 0, 5)
        q = Queue(b, 1, 0)
        q.allocate()
        q.reset()
        q.set_base()
        b.wr(q.page[1] + 8, 0x123456789000, 8)
        q.wr(CONS, 1)
        q.wr(PROD, 1)
        for s in range(2):
            b.wr(vintf(1) + SID_REPLACE + 4 * s, 0x12345)
        eights = [CONFIG, alloc(2), alloc(4), vintf(1) + V_CONFIG, vintf(1) + SID_MATCH,
                  vintf(1) + SID_REPLACE, q.page[0] + CONS, q.page[0] + Q_CONFIG,
                  direct(q.q) + CONS, direct(q.q) + Q_CONFIG]
        fours = [CONFIG, PARAM, VI_INT_MASK, alloc(2), vintf(1) + V_CONFIG, vintf(1) + SID_REPLACE,
                 vintf(1) + LVCMDQ_ERR_MAP_64, q.page[0] + CONS, q.page[0] + PROD,
                 q.page[1], q.page[1] + 4, q.page[1] + 8, direct(q.q) + PROD, direct(q.q, 1)]
        cases = [(o, 8) for o in eights]
        cases += [(o, size) for o in fours for size in (1, 2)]
        cases += [(o + i, 1) for o in fours for i in (1, 3)] + [(o + 2, 2) for o in fours]
        cases += [(o + i, 4) for o in fours for i in (1, 2, 3)]
        if wide:
            cases = [c for c in cases if c[1] != 8]
        regs = sorted({o & ~3 for o in eights + fours} | {o + 4 for o in eights})
        before = b.rd_many(regs)
        # What would show a write, if it were done, is not all ones already.
        for offset, size in cases:
            for value in (0, (1 << 8 * size) - 1):
                errors = guest_errors(bed)
                b.wr(offset, value, size)
                logged(t, bed, f'write of {size} at {offset:#x}', errors)
                errors = guest_errors(bed)
                t.eq(f'read of {size} at {offset:#x}', b.rd(offset, size), 0)
                logged(t, bed, f'read of {size} at {offset:#x}', errors)
            bed.m.sync()
            after = b.rd_many(regs)
            if after != before:
                changed = [f'{r:#x}: {x:#x} to {y:#x}' for r, x, y in zip(regs, before, after)
                           if x != y]
                t.note(f'write of {size} at {offset:#x} changes {", ".join(changed)}')
                before = after
        if wide:
            t.eq('8 bytes at CONS', b.rd(q.page[0], 8), 1 << 32 | 1)
            t.eq('8 bytes at CONFIG', b.rd(CONFIG, 8), b.rd(CONFIG) | b.rd(PARAM) << 32)


@test('rule 27: accesses of the right size are no guest errors')
def _(t):
    with t.bed() as bed:
        b = bed.b
        q = bed.guest(1)[0]
        errors = guest_errors(bed)
        for offset, size in [(CONFIG, 4), (VI_ERR_MAP, 4), (CMDQ_ERR_MAP + 12, 4),
                             (vintf(1) + LVCMDQ_ERR_MAP_64, 8), (vintf(1) + 0xc8, 8),
                             (vintf(1) + 0xc0, 4), (vintf(1) + 0xcc, 4), (q.page[1], 8),
                             (q.page[1] + 8, 8), (q.page[1], 4), (q.page[1] + 12, 4),
                             (direct(q.q, 1), 8), (logical(3, 0) + Q_STATUS, 4)]:
            b.rd(offset, size)
            t.eq(f'read of {size} at {offset:#x}', guest_errors(bed), errors)
        t.eq('error', q.run(sync()), CERROR_NONE)


# ---- Rules 28 and 29 ----

@test('rule 28: equal vSIDs, the pair that counts', over={'sid-match-last': (False, True)},
      kills=('sid-match-last', 'no-sid-swap'))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        for s, psid in ((15, 0x18), (7, 16), (3, 8)):
            bed.b.set_pair(1, s, 0x77, psid)
        t.eq('error', q.run(atc_inv(0x77), sync()), CERROR_NONE)
        last = t.knobs['sid-match-last']
        t.eq('devices', model.atc_seen(bed.m), {0x18 if last else 8: 1})
        # A disabled pair does not count
        bed.b.clear_pair(1, 15 if last else 3)
        t.eq('error', q.run(atc_inv(0x77), sync()), CERROR_NONE)
        t.eq('devices', model.atc_seen(bed.m), {0x18 if last else 8: 1, 16: 1})


@test('rule 28: pairs serve their own VINTF only', kills=('no-sid-swap',))
def _(t):
    with t.bed() as bed:
        queues = {v: bed.guest(v)[0] for v in (1, 2, 3)}
        bed.b.set_pair(1, 0, 0x77, 8)
        bed.b.set_pair(2, 0, 0x77, 16)
        t.eq('VINTF 2: error', queues[2].run(atc_inv(0x77), sync()), CERROR_NONE)
        t.eq('devices', model.atc_seen(bed.m), {16: 1})
        t.eq('VINTF 1: error', queues[1].run(atc_inv(0x77), sync()), CERROR_NONE)
        t.eq('devices', model.atc_seen(bed.m), {8: 1, 16: 1})
        t.one_of('VINTF 3: CONS.ERR', queues[3].run(atc_inv(0x77), sync()), REFUSED)
        t.eq('devices', model.atc_seen(bed.m), {8: 1, 16: 1})


@test('rule 29: queues pause while the SMMU is off', over={'ignore-cr0': (False, True)},
      each={'cr0': (0, SMMUEN | EVENTQEN, CMDQEN | EVENTQEN)}, kills=('ignore-cr0',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        bed.smmu.set_cr0(t.p['cr0'])
        before = model.get(bed.m, 'fetches')
        q.push(sync(), sync())
        bed.quiet()
        if t.knobs['ignore-cr0']:
            t.eq('CONS', q.cons(), 2)
            return
        t.eq('CONS', q.cons(), 0)
        t.eq('PROD', q.rd(PROD), 2)
        t.eq('fetches', model.get(bed.m, 'fetches') - before, 0)
        t.eq('EN_OK', q.en_ok(), 1)
        bed.smmu.set_cr0(SMMUEN | EVENTQEN | CMDQEN)
        t.eq('error', q.settle(), CERROR_NONE)
        t.eq('interrupts', bed.edges(), 0)


@test('rule 29: the SMMU goes off under a queue that executes')
def _(t):
    with t.bed(cmd_delay=SECOND) as bed:
        q = bed.guest(1)[0]
        q.push(*[sync()] * 4)
        bed.m.step(SECOND + SECOND // 2)
        t.eq('CONS', q.cons(), 1)
        bed.smmu.set_cr0(EVENTQEN)
        bed.quiet(2 * SECOND)
        cons = q.cons()
        t.one_of('CONS', cons, (1, 2))
        bed.quiet(5 * SECOND)
        t.eq('CONS later', q.cons(), cons)
        bed.smmu.set_cr0(SMMUEN | EVENTQEN | CMDQEN)
        t.eq('error', q.settle(), CERROR_NONE)
        t.eq('CONS at the end', q.cons(), 4)


# ---- Rule 30 ----

@test('rule 30: other geometries', over={'log2-vintfs': (0, 2, 6), 'log2-vcmdqs': (1, 5, 7),
                                         'log2-sids': (0, 4)})
def _(t):
    with t.bed(start=False) as bed:
        values, exist = reset_values(bed.b.vintfs, bed.b.vcmdqs, bed.b.sids)
        for i, got in enumerate(bed.b.rd_many(range(0, 0x6000, 4))):
            t.eq(f'offset {4 * i:#x}', got, values.get(4 * i, 0))
        # What does not exist cannot be made
        for offset in (alloc(bed.b.vcmdqs), vintf(bed.b.vintfs) + V_CONFIG,
                       vintf(0) + SID_MATCH + 4 * bed.b.sids,
                       vintf(0) + SID_REPLACE + 4 * bed.b.sids):
            if offset not in exist:
                bed.b.wr(offset, 1)
                t.eq(f'{offset:#x} after a write', bed.b.rd(offset), 0)


@test('rule 30: the last queue of the last VINTF runs and fails',
      each={'geometry': ((6, 7), (0, 7), (2, 5), (6, 1), (0, 0), (3, 6))})
def _(t):
    vintfs, vcmdqs = t.p['geometry']
    with t.bed(log2_vintfs=vintfs, log2_vcmdqs=vcmdqs) as bed:
        b = bed.b
        v = min(b.vintfs, b.vcmdqs) - 1
        per = max(1, b.per_vintf)
        b.vintf_on(v, 0, 5)
        for l in range(per):
            q = Queue(b, v, l, q=v * per + l)
            q.allocate()
            q.start()
        t.eq('its number', q.q, b.vcmdqs - 1)
        t.one_of('CONS.ERR', q.run(sync(), ILLEGAL), REFUSED)
        t.eq('maps', b.maps(v), (1 << v, 1 << q.q, 1 << per - 1))
        t.eq('edges', bed.edges(), 1)


@test('rule 30: more VINTFs than queues')
def _(t):
    with t.bed(log2_vintfs=6, log2_vcmdqs=1) as bed:
        b = bed.b
        b.vintf_on(63, 0, 5)
        for l in range(2):
            q = Queue(b, 63, l, q=l)
            q.allocate()
            t.eq(f'{q}: error', q.start().run(sync()), CERROR_NONE)
        b.wr(alloc(2), alloc_value(63, 2))
        t.eq('a third', b.rd(alloc(2)), 0)


@test('rule 30: a single SID pair', over={'log2-sids': (0,)}, kills=('no-sid-swap',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        bed.b.set_pair(1, 1, 0x66, 16)
        bed.b.set_pair(1, 0, 0x77, 8)
        t.eq('error', q.run(atc_inv(0x77), sync()), CERROR_NONE)
        t.one_of('CONS.ERR of a pair that is not there', q.run(atc_inv(0x66)), REFUSED)
        t.eq('devices', model.atc_seen(bed.m), {8: 1})


# ---- Rules 31 and 32 ----

@test('rule 31: injected maps raise the interrupt', each={'maps': (
    'none', 'bit of no queue', 'VINTF beyond', 'all ones', 'wrong VINTF')},
      over={'log2-vintfs': (2, 6)}, kills=('no-irq',))
def _(t):
    kind = t.p['maps']
    text, want = {
        'none': ('vi=0,cmdq0=0,lvcmdq0=0', (0, 0, 0)),
        'bit of no queue': ('vi=2,v=1,lvcmdq0=0x8000000000000000,lvcmdq1=0x8000000000000000',
                            (2, 0, 1 << 63 | 1 << 127)),
        'VINTF beyond': ('vi=0x8000000000000000', (1 << 63, 0, 0)),
        'all ones': ('vi=0xffffffffffffffff,cmdq0=0xffffffff,cmdq1=0xffffffff,cmdq2=0xffffffff,'
                     'cmdq3=0xffffffff,lvcmdq0=0xffffffffffffffff,lvcmdq1=0xffffffffffffffff',
                     ((1 << 64) - 1, (1 << 128) - 1, (1 << 128) - 1)),
        'wrong VINTF': ('vi=4,v=2,lvcmdq0=1', (4, 0, 0)),
    }[kind]
    with t.bed() as bed:
        bed.b.vintf_on(1, 0, 5)
        for i in range(1, 4):
            model.put(bed.m, 'inject', text)
            t.eq(f'{i}: edges', bed.edges(), i)
            t.eq(f'{i}: maps of VINTF 1', bed.b.maps(1), want)
        if kind == 'wrong VINTF':
            t.eq('map of VINTF 2', bed.b.lvcmdq_err_map(2), 1)
        model.put(bed.m, 'inject', '')
        t.eq('maps at the end', bed.b.maps(1), (0, 0, 0))
        t.eq('edges at the end', bed.edges(), 3)
        q = bed.queue(1, 0)
        q.run(ILLEGAL)
        t.eq('maps of a true error', bed.b.maps(1), (2, 1 << q.q, 1))
        t.eq('edges of a true error', bed.edges(), 4)


@test('rule 31: injected before the driver probes', each={'at': (1, 2, 3, 4)}, kills=('no-irq',))
def _(t):
    at = t.p['at']
    with t.bed(start=False, inject=f'vi=1;v=0;lvcmdq0=1;at={at}') as bed:
        b = bed.b
        t.eq('edges at the start', bed.edges(), 0)
        t.eq('maps at the start', b.maps(0), (1, 0, 1))
        steps = {1: lambda: b.wr(CONFIG, b.rd(CONFIG)), 2: lambda: b.wr(vintf(0) + V_CONFIG, 0),
                 3: lambda: b.wr(alloc(0), 0), 4: lambda: b.rd(PARAM)}
        for number, step in steps.items():
            before = bed.edges()
            step()
            t.eq(f'event {number}: edges', bed.edges() - before, int(number == at))


@test('rule 31: an injected storm', kills=('no-irq',))
def _(t):
    with t.bed() as bed:
        q = bed.guest(1)[0]
        model.put(bed.m, 'inject', f'vi=2,v=1,lvcmdq0=2,period={MS}')
        bed.m.step(100 * MS)
        edges = bed.edges()
        t.ok(f'some 100 edges ({edges})', 90 <= edges <= 110)
        t.eq('error', q.run(sync()), CERROR_NONE)
        model.put(bed.m, 'inject', '')
        edges = bed.edges()
        bed.m.step(100 * MS)
        t.eq('edges at the end', bed.edges(), edges)


@test('rule 32: machine reset with queues running', each={'state': ('busy', 'error', 'pending EN')},
      over={'sticky': (False, True)})
def _(t):
    with t.bed(start=False) as bed:
        b = bed.b
        views = [logical(1, 0), logical(1, 0, 1), direct(2), direct(2, 1)]
        regs = list(range(0, 0x5000, 4)) + [v + o for v in views for o in range(0, 0x80, 4)]
        fresh_values = b.rd_many(regs)
        bed.start()
        model.put(bed.m, 'cmd-delay', SECOND)
        b.wr(VI_INT_MASK, 0xffff0000)
        b.wr(CONFIG, b.rd(CONFIG) | 1 << 20)
        for v in (1, 63):
            b.set_pair(v, 15, 0x77, 8)
        q = bed.guest(1)[0]
        bed.tb.make_stale(0, 1, 2)
        q.push(tlbi(1), tlbi(2), ILLEGAL)
        if t.p['state'] == 'error':
            q.settle()
        else:
            bed.m.step(SECOND // 2)
        if t.p['state'] == 'pending EN':
            model.put(bed.m, 'status-delay', SECOND)
            q.wr(Q_CONFIG, 0)
            b.wr(vintf(2) + V_CONFIG, EN)
            b.wr(CONFIG, b.rd(CONFIG) & ~EN)
        edges, done = bed.edges(), model.get(bed.m, 'commands')
        bed.m.reset()
        for moment in ('at once', 'later'):
            for reg, want, got in zip(regs, fresh_values, b.rd_many(regs)):
                t.eq(f'{moment}: register {reg:#x}', got, want)
            t.eq(f'{moment}: queues that run', model.get(bed.m, 'running'), '')
            t.eq(f'{moment}: commands', model.get(bed.m, 'commands') - done, 0)
            bed.quiet(10 * SECOND)
        t.eq('edges', bed.edges(), edges)
        # And it works again, with nothing left of before
        model.put(bed.m, 'cmd-delay', 0)
        model.put(bed.m, 'status-delay', 0)
        bed.start()
        q = bed.guest(1)[0]
        t.one_of('ATC_INV by a pair from before', q.run(atc_inv(0x77)), REFUSED)
        q.skip()
        t.eq('error', q.run(sync()), CERROR_NONE)
