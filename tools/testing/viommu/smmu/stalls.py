# SPDX-License-Identifier: GPL-2.0-only
"""The stall fault model: IHI0070 3.12.2, 3.5.4, 4.6, 5.4 (CD.S), 5.2 (S1STALLD, S2S), 5.5."""

from bed import (AF, CLASS_CD, CLASS_IN, C_BAD_CD, C_BAD_STE, F_ACCESS, F_PERMISSION, F_TRANSLATION,
                 IDR0, IDR5, NESTED, OP_READ, OP_WRITE, PAGE, RO, S1, SHIFT, STALLS, S_BAD, S_CTRL,
                 S_DST, S_FAULTS, S_LAPS, S_LEN, S_PERIOD, S_SEED, S_SRC, S_STATUS, Tables, cd, ste)
from harness import test
from machine import MS
from smmuv3 import (EVENTQ_LOG2, EVENTQ_PROD, Edu, GERROR, GERRORN, NSNH_ALL, RAM, RESUME,
                    STALL_TERM, command, sync)

VA = 0x400000
RETRY, TERMINATE, ABORT_ = 1 << 12, 0, 1 << 13
CERROR_ILL = 1


def resume(sid, stag, action):
    return command(RESUME, sid << 32 | action, stag)


class Setup:
    """A device whose page VA is mapped, and whose CD stalls."""

    def __init__(self, bed, config=S1, d=None, asid=3, s=1, r=1, a=1, **fields):
        self.bed, self.d, self.config = bed, d or bed.d[0], config
        self.shift = SHIFT if config == NESTED else 0
        self.tables, self.ctx = bed.s1(asid, ipa=config == NESTED, s=s, r=r, a=a)
        self.s2 = bed.identity_s2()
        self.page = bed.pages(4)
        self.tables.map(VA, self.page + self.shift)
        self.fields = fields
        self.attach()

    def attach(self, **fields):
        self.bed.attach(self.d, ste(self.config, self.ctx + self.shift, self.s2,
                                    **{**self.fields, **fields}))

    def stall(self, va=VA + PAGE, write=False, **kwargs):
        """Have the device wait for an answer. Return the event."""
        if write:
            self.d.start(OP_WRITE, dst=va, **kwargs)
        else:
            self.d.start(OP_READ, src=va, **kwargs)
        return self.bed.events()

    def answer(self, *commands):
        error = self.bed.cmd(*commands, sync())
        self.bed.m.sync()
        return error


@test('stalls: IDR0.STALL_MODEL and IDR5.STALL_MAX', each={'model': (0, 2)})
def _(t):
    with t.bed(stall_model=t.p['model'], stall_max=7) as bed:
        t.eq('STALL_MODEL', bed.smmu.rd(IDR0) >> 24 & 3, t.p['model'])
        t.eq('STALL_MAX', bed.smmu.rd(IDR5) >> 16, 7)


@test('3.12.2: a fault of a CD with S = 1 stalls and says so',
      each={'kind': ('translation', 'permission', 'access'), 'write': (0, 1), 'r': (0, 1)},
      kills=('stall-self=1',))
def _(t):
    with t.bed(stall_model=0, ssidsize=8) as bed:
        s, kind, write = Setup(bed, r=t.p['r']), t.p['kind'], t.p['write']
        if kind == 'permission':
            s.tables.map(VA + PAGE, s.page, add=RO)
            write = 1
        elif kind == 'access':
            s.tables.map(VA + PAGE, s.page, remove=AF)
        s.stall(write=write)
        bed.seen = 0
        events = t.event(bed, 'event', {
            'kind': {'translation': F_TRANSLATION, 'permission': F_PERMISSION,
                     'access': F_ACCESS}[kind],
            'stall': 1, 'sid': s.d.sid, 'addr': VA + PAGE, 'rnw': 1 - write, 's2': 0,
            'klass': CLASS_IN})
        t.eq('the device', s.d.state(), 'stalled')
        bed.m.step(1000 * MS)
        t.eq('a second later', s.d.state(), 'stalled')
        # The page comes, and the transaction goes on
        s.tables.map(VA + PAGE, s.page)
        bed.store64(s.page, 4711)
        s.answer(command(NSNH_ALL), resume(s.d.sid, events[0].stag, RETRY))
        t.eq('after the retry', s.d.state(), 'ok')
        t.eq('no further event', len(bed.events()), 0)
        if write:
            t.eq('it wrote', bed.load64(s.page), 0)
        else:
            t.eq('it read', int.from_bytes(s.d.buffer(8), 'little'), 4711)


@test('4.6.1: a retry that faults again is another stall')
def _(t):
    with t.bed(stall_model=0) as bed:
        s = Setup(bed)
        first = s.stall()[0]
        s.answer(resume(s.d.sid, first.stag, RETRY))
        t.eq('the device', s.d.state(), 'stalled')
        second = t.event(bed, 'event', {'kind': F_TRANSLATION, 'stall': 1, 'addr': VA + PAGE})[0]
        s.answer(resume(s.d.sid, second.stag, ABORT_))
        t.eq('aborted', s.d.state(), 'abort')
        t.eq('stalls', s.d.rd(STALLS), 2)


@test('4.6.1: terminate, with TERM_MODEL', each={'term': (0, 1), 'ab': (0, 1), 'write': (0, 1)})
def _(t):
    with t.bed(stall_model=0, term_model=t.p['term']) as bed:
        s = Setup(bed)
        t.eq('IDR0.TERM_MODEL', bed.smmu.rd(IDR0) >> 26 & 1, t.p['term'])
        s.d.fill(b'\xff' * 16)
        event = s.stall(write=t.p['write'])[0]
        s.answer(resume(s.d.sid, event.stag, ABORT_ if t.p['ab'] else TERMINATE))
        raz = not t.p['term'] and not t.p['ab']
        t.eq('the device', s.d.state(), 'ok' if raz else 'abort')
        if raz and not t.p['write']:
            t.eq('zeroes', s.d.buffer(8), bytes(8))


@test('5.5: CD.A = 0 without stall reads 0 and writes nothing')
def _(t):
    with t.bed(stall_model=0, term_model=0) as bed:
        s = Setup(bed, s=0, a=0)
        s.d.fill(b'\xff' * 16)
        t.eq('read', s.d.read(VA + PAGE), 'ok')
        t.eq('zeroes', s.d.buffer(8), bytes(8))
        t.eq('write', s.d.write(VA + PAGE), 'ok')
        t.event(bed, 'events', *({'kind': F_TRANSLATION, 'stall': 0, 'rnw': r} for r in (1, 0)))


@test('5.4: CD.S = 0 does not stall', each={'r': (0, 1)})
def _(t):
    with t.bed(stall_model=0) as bed:
        s = Setup(bed, s=0, r=t.p['r'])
        t.eq('read', s.d.read(VA + PAGE), 'abort')
        t.event(bed, 'event', *([{'kind': F_TRANSLATION, 'stall': 0, 'stag': 0}] * t.p['r']))


@test('5.2, 5.4: illegal with stalls', each={'what': ('S1STALLD', 'model-2 CD', 'model-2 STE',
                                                     'TERM_MODEL')})
def _(t):
    what = t.p['what']
    with t.bed(stall_model=2 if what.startswith('model-2') else 0) as bed:
        if what == 'S1STALLD':
            s, kind = Setup(bed, stalld=1), C_BAD_CD
        elif what == 'model-2 CD':
            s, kind = Setup(bed, s=0), C_BAD_CD
        elif what == 'model-2 STE':
            s, kind = Setup(bed, NESTED, s2s=0), C_BAD_STE
        else:
            s, kind = Setup(bed, a=0), C_BAD_CD
        t.eq('the mapped page', s.d.read(VA), 'abort')
        t.event(bed, 'event', {'kind': kind})


@test('5.2: S1STALLD with CD.S = 0 is fine')
def _(t):
    with t.bed(stall_model=0) as bed:
        s = Setup(bed, s=0, stalld=1)
        t.eq('the mapped page', s.d.read(VA), 'ok')


@test('4.6.1: StreamID and STAG have to be right',
      each={'wrong': ('stag', 'sid', 'twice')})
def _(t):
    with t.bed(stall_model=0) as bed:
        s, wrong = Setup(bed), t.p['wrong']
        stag = s.stall()[0].stag
        if wrong == 'twice':
            t.eq('no error', bed.cmd(resume(s.d.sid, stag, ABORT_), resume(s.d.sid, stag, ABORT_),
                                     sync()), 0)
            bed.m.sync()
            t.eq('the device', s.d.state(), 'abort')
        else:
            t.eq('no error', s.answer(resume(s.d.sid + (wrong == 'sid'), stag + (wrong == 'stag'),
                                             ABORT_)), 0)
            t.eq('the device', s.d.state(), 'stalled')
        t.eq('counted', bed.counter('resumes-unknown'), 1)


@test('3.12.2: several stalls, answered in any order')
def _(t):
    devices = [(f'{i}', '') for i in (1, 2, 3)]
    with t.bed(stall_model=0, devices=devices) as bed:
        all_ = [Setup(bed, d=d, asid=3 + i) for i, d in enumerate(bed.d)]
        stags = [s.stall()[0].stag for s in all_]
        t.eq('STAGs differ', len(set(stags)), 3)
        t.eq('stalled', bed.counter('stalled'), 3)
        all_[1].answer(resume(all_[1].d.sid, stags[1], ABORT_))
        t.eq('states', [s.d.state() for s in all_], ['stalled', 'abort', 'stalled'])
        all_[2].tables.map(VA + PAGE, all_[2].page)
        all_[2].answer(resume(all_[2].d.sid, stags[2], RETRY))
        t.eq('states', [s.d.state() for s in all_], ['stalled', 'abort', 'ok'])
        # Others run while one waits
        t.eq('another device', all_[1].d.read(VA), 'ok')


@test('4.6.2: CMD_STALL_TERM ends the stalls of one stream')
def _(t):
    with t.bed(stall_model=0, devices=(('1', ''), ('2', ''))) as bed:
        a, b = (Setup(bed, d=d, asid=3 + i) for i, d in enumerate(bed.d))
        a.stall()
        event = b.stall()[0]
        t.eq('error', a.answer(command(STALL_TERM, a.d.sid << 32)), 0)
        t.eq('states', (a.d.state(), b.d.state()), ('abort', 'stalled'))
        b.answer(resume(b.d.sid, event.stag, ABORT_))
        t.eq('the other', b.d.state(), 'abort')


@test('3.5.4: the event of a stall waits for room in the queue')
def _(t):
    with t.bed(stall_model=0, devices=(('1', ''), ('2', ''))) as bed:
        a, b = Setup(bed, s=0), Setup(bed, d=bed.d[1], asid=5)
        for _ in range(1 << EVENTQ_LOG2):
            a.d.read(VA + PAGE)
        t.eq('the queue is full', bed.smmu.rd(EVENTQ_PROD) & 0xff, 1 << EVENTQ_LOG2)
        b.d.start(OP_READ, src=VA + PAGE)
        t.eq('the device', b.d.state(), 'stalled')
        t.eq('no overflow by a stall', bed.smmu.rd(EVENTQ_PROD) >> 31, 0)
        a.d.read(VA + PAGE)
        t.eq('7.4: overflow by another event', bed.smmu.rd(EVENTQ_PROD) >> 31, 1)
        t.eq('no GERROR', bed.smmu.rd(GERROR) ^ bed.smmu.rd(GERRORN), 0)
        t.eq('the events that were there', len(bed.events()), 1 << EVENTQ_LOG2)
        events = t.event(bed, 'then', {'kind': F_TRANSLATION, 'stall': 1, 'sid': b.d.sid})
        b.answer(resume(b.d.sid, events[0].stag, ABORT_))
        t.eq('the device', b.d.state(), 'abort')


@test('IDR5.STALL_MAX: one more stall waits unseen')
def _(t):
    with t.bed(stall_model=0, stall_max=1, devices=(('1', ''), ('2', ''))) as bed:
        a, b = (Setup(bed, d=d, asid=3 + i) for i, d in enumerate(bed.d))
        first = a.stall()
        t.eq('the second', len(b.stall()), 0)
        t.eq('it waits', b.d.state(), 'stalled')
        a.answer(resume(a.d.sid, first[0].stag, ABORT_))
        events = t.event(bed, 'then', {'kind': F_TRANSLATION, 'stall': 1, 'sid': b.d.sid})
        b.answer(resume(b.d.sid, events[0].stag, ABORT_))
        t.eq('the device', b.d.state(), 'abort')


@test('5.2: S2S stalls faults of stage 2', each={'s2s': (0, 1), 'what': ('in', 'cd')})
def _(t):
    with t.bed(stall_model=0) as bed:
        s = Setup(bed, NESTED, s=0, s2s=t.p['s2s'])
        hole = s.page if t.p['what'] == 'in' else s.ctx
        s2 = Tables(bed, stage2=True)
        for page in range(RAM + 0x1000000, bed.next_page, PAGE):
            if page != hole:
                s2.map(page + SHIFT, page)
        s.s2 = s2
        s.attach()
        s.d.start(OP_READ, src=VA)
        t.eq('the device', s.d.state(), 'stalled' if t.p['s2s'] else 'abort')
        event = t.event(bed, 'event', {'kind': F_TRANSLATION, 'stall': t.p['s2s'], 's2': 1,
                                       'klass': CLASS_IN if t.p['what'] == 'in' else CLASS_CD,
                                       'addr': VA, 'addr2': hole + SHIFT})[0]
        if t.p['s2s']:
            s2.map(hole + SHIFT, hole)
            s.answer(resume(s.d.sid, event.stag, RETRY))
            t.eq('after the retry', s.d.state(), 'ok')


@test('stalls have the substream')
def _(t):
    with t.bed(stall_model=2, ssidsize=8) as bed:
        s = Setup(bed, s2s=1)
        ctx = bed.pages(4)
        for ssid in (0, 9):
            bed.m.store(ctx + 64 * ssid, cd(s.tables, 3, s=1))
        bed.next_page = (bed.next_page + 0xffff) & ~0xffff
        table = bed.pages(4)
        bed.m.store(table, bed.m.load(ctx, 4096))
        s.ctx = table
        s.attach(cdmax=8, dss=2)
        s.d.start(OP_READ, src=VA + PAGE, pasid=9)
        event = t.event(bed, 'event', {'stall': 1, 'ssv': 1, 'ssid': 9, 'sid': s.d.sid})[0]
        s.tables.map(VA + PAGE, s.page)
        s.answer(resume(s.d.sid, event.stag, RETRY))
        t.eq('the device', s.d.state(), 'ok')


@test('3.9.1: a translation request does not stall')
def _(t):
    with t.bed(stall_model=0, ats=True) as bed:
        s = Setup(bed, eats=1)
        t.eq('request', s.d.treq(VA + PAGE), (0, PAGE, ''))
        t.event(bed, 'no event')


@test('a transaction that is cancelled, and its late answer', each={'how': ('cancel', 'flr')})
def _(t):
    with t.bed(stall_model=0) as bed:
        s = Setup(bed)
        event = s.stall()[0]
        if t.p['how'] == 'cancel':
            t.eq('cancel', s.d.run(0), 'cancelled')
        else:
            s.d.cfg_wr(0x88, 0x8000, 2)
            s.d.setup()
            t.eq('after the FLR', s.d.state(), 'idle')
        t.eq('the SMMU still waits', bed.counter('stalled'), 1)
        t.eq('error', s.answer(resume(s.d.sid, event.stag, RETRY)), 0)
        t.eq('it waits no more', bed.counter('stalled'), 0)
        t.eq('the device works', s.d.read(VA), 'ok')


@test('a device that cannot wait is terminated', each={'s': (0, 1)})
def _(t):
    with t.bed(stall_model=0, extra=('-device', 'edu,addr=3,dma_mask=0xffffffffffff')) as bed:
        edu = Edu(bed.m, 3)
        s = Setup(bed, s=t.p['s'])
        bed.attach(edu, ste(S1, s.ctx))
        edu.dma_write(VA + PAGE)
        events = bed.events()
        t.ok('events', events and all(e.has(kind=F_TRANSLATION, stall=0) for e in events))
        t.eq('stalled', bed.counter('stalled'), 0)


@test('a stream stalls, and goes on')
def _(t):
    with t.bed(stall_model=0) as bed:
        s = Setup(bed)
        s.tables.map(VA + PAGE, s.page + PAGE)
        for reg, value in ((S_SRC, VA), (S_DST, VA), (S_LEN, 2 * PAGE), (S_PERIOD, MS),
                           (S_SEED, 3), (S_CTRL, 1)):
            s.d.wr(reg, value)
        bed.m.step(5 * MS)
        s.tables.unmap(VA + PAGE)
        bed.cmd(command(NSNH_ALL), sync())
        bed.m.step(5 * MS)
        events = t.event(bed, 'event', {'kind': F_TRANSLATION, 'stall': 1, 'addr': VA + PAGE})
        laps = s.d.rd(S_LAPS)
        bed.m.step(50 * MS)
        t.eq('it waits', s.d.rd(S_LAPS), laps)
        t.eq('S_STATUS', s.d.rd(S_STATUS) & 5, 5)
        s.tables.map(VA + PAGE, s.page + PAGE)
        s.answer(command(NSNH_ALL), resume(s.d.sid, events[0].stag, RETRY))
        bed.m.step(5 * MS)
        t.ok('it goes on', s.d.rd(S_LAPS) > laps)
        t.eq('wrong data and faults', (s.d.rd(S_BAD), s.d.rd(S_FAULTS)), (0, 0))


@test('4.6.1: SSec = 1 is illegal')
def _(t):
    with t.bed(stall_model=0) as bed:
        t.eq('CMD_RESUME', bed.cmd(command(RESUME, 1 << 10)), CERROR_ILL)
        t.eq('CMD_STALL_TERM', bed.cmd(command(STALL_TERM, 1 << 10)), CERROR_ILL)
