# SPDX-License-Identifier: GPL-2.0-only
"""S2FWB and HTTU: IHI0070 5.2, 5.4, 3.13; DDI0487 D8.5, D8.6."""

from bed import (AF, ATS, CLASS_IN, CLASS_TT, C_BAD_CD, DBM, F_ACCESS, F_PERMISSION, IDR0, IDR3,
                 NESTED, PAGE, RESULT2, RO, S1, S2, S2R, S2W, SHIFT, Tables, WRITE_TREQ, ste)
from harness import test
from smmuv3 import CFGI_STE, NH_ALL, NH_VAA, NSNH_ALL, RAM, S2_IPA, command, sync, tlbi_va

VA = 0x400000
WB, NC, DEVICE = 0xff, 0x44, 0x00


class Setup:
    """A device; stage 2 has pages, and leaves of the test's choice."""

    def __init__(self, bed, config=NESTED, mair=WB, ha=0, hd=0, **fields):
        self.bed, self.d, self.config = bed, bed.d[0], config
        self.shift = SHIFT if config == NESTED else 0
        self.tables, self.ctx = bed.s1(3, ipa=config == NESTED, mair=mair, ha=ha, hd=hd)
        self.page = bed.pages()
        self.leaf = self.tables.map(VA, self.page + self.shift)
        self.s2 = Tables(bed, stage2=True)
        self.fields = fields
        if config != S1:
            for page in range(RAM + 0x1000000, self.s2.root, PAGE):
                self.s2.map(page + SHIFT, page)
        self.s2.map(VA, self.page)
        bed.attach(self.d, ste(config, self.ctx + self.shift, self.s2, **fields))

    @property
    def addr(self):
        return VA

    def s2_slot(self, page):
        return self.s2.slot(VA if self.config == S2 else page + SHIFT, 3)

    def flush(self):
        self.bed.cmd(command(NSNH_ALL), sync())


# ---- S2FWB ----

@test('S2FWB: IDR3.FWB', each={'fwb': (False, True)})
def _(t):
    with t.bed(fwb=t.p['fwb'], ssidsize=1) as bed:
        t.eq('FWB', bed.smmu.rd(IDR3) >> 8 & 1, int(t.p['fwb']))


# Stage 2's MemAttr[3:0], to the attributes by those of stage 1, and the counter
FWB_TABLE = {
    0x0: ((0, 0, 0), 'device'), 0x1: ((4, 4, 0), 'device'), 0x2: ((8, 8, 0), 'device'),
    0x3: ((12, 12, 0), 'device'), 0x5: ((NC, NC, 0), 'nc'), 0x6: ((WB, WB, WB), 'wb'),
    0x7: ((WB, NC, 0), 's1'),
}
PLAIN_TABLE = {
    0x0: ((0, 0, 0), 'device'), 0x1: ((4, 4, 0), 'device'), 0x2: ((8, 8, 0), 'device'),
    0x3: ((12, 12, 0), 'device'), 0x5: ((NC, NC, 0), 'nc'), 0xa: ((0xbb, NC, 0), 'nc'),
    0xf: ((WB, NC, 0), 'wb'),
    # S2FWB's encodings without S2FWB are mixed cacheability, or nothing
    0x6: ((NC, NC, 0), 'mismatch'), 0x7: ((NC, NC, 0), 'mismatch'),
    0x9: ((NC, NC, 0), 'mismatch'), 0xb: ((0xbb, NC, 0), 'mismatch'),
    0xd: ((NC, NC, 0), 'mismatch'), 0xe: ((0xbb, NC, 0), 'mismatch'),
}
KINDS = ('device', 'nc', 'wb', 's1', 'mismatch', 'reserved')


@test('5.2, DDI0487 D8.6: attributes of stage 2',
      each={'fwb': (0, 1), 's1': (0, 1, 2), 'config': (NESTED, S2)})
def _(t):
    mair = (WB, NC, DEVICE)[t.p['s1']]
    if t.p['config'] == S2 and t.p['s1']:
        return
    with t.bed(fwb=True) as bed:
        s = Setup(bed, t.p['config'], mair=mair, fwb=t.p['fwb'])
        table = FWB_TABLE if t.p['fwb'] else PLAIN_TABLE
        slot = s.s2_slot(s.page)
        old = bed.load64(slot)
        for memattr in range(16):
            bed.store64(slot, old & ~(0xf << 2) | memattr << 2)
            s.flush()
            before = {k: bed.counter('s2-' + k) for k in KINDS}
            # Nested, the tables of stage 1 are read through stage 2, too
            s.d.read(VA)
            t.eq(f'MemAttr {memattr:#x}', s.d.state(), 'ok')
            change = {k: bed.counter('s2-' + k) - before[k] for k in KINDS}
            want, kind = table.get(memattr, ((NC, NC, 0), 'reserved'))
            t.eq(f'MemAttr {memattr:#x}: attributes', s.d.rd(RESULT2),
                 0x100 | want[t.p['s1']])
            t.ok(f'MemAttr {memattr:#x}: counted as {kind}: {change}', change[kind] >= 1)
            if t.p['config'] == S2:
                t.eq(f'MemAttr {memattr:#x}: counted', sum(change.values()), 1)


@test('5.2: S2FWB is RES0 where IDR3.FWB is 0')
def _(t):
    with t.bed(ssidsize=1) as bed:
        s = Setup(bed, S2, fwb=1)
        t.eq('read', s.d.read(VA), 'ok')
        t.eq('0b1111 is Write-Back', bed.counter('s2-wb'), 1)
        t.eq('and not reserved', bed.counter('s2-reserved'), 0)


# ---- HTTU ----

@test('HTTU: IDR0.HTTU', each={'httu': (1, 2)})
def _(t):
    with t.bed(httu=t.p['httu']) as bed:
        t.eq('HTTU', bed.smmu.rd(IDR0) >> 6 & 3, t.p['httu'])


@test('5.4: illegal CDs', each={'what': ('HA with HTTU 0', 'HD with HTTU 1', 'HD without HA',
                                        'HA with HTTU 1', 'HA and HD')})
def _(t):
    what = t.p['what']
    httu = int(what[-1]) if what[-1].isdigit() else 2
    with t.bed(httu=httu, ssidsize=1) as bed:
        ha, hd = what != 'HD without HA', 'HD' in what
        s = Setup(bed, S1, ha=int(ha), hd=int(hd))
        good = what in ('HA with HTTU 1', 'HA and HD')
        t.eq('read', s.d.read(VA), 'ok' if good else 'abort')
        t.event(bed, 'event', *([] if good else [{'kind': C_BAD_CD}]))


@test('3.13: the access flag', each={'config': (S1, S2, NESTED), 'ha': (0, 1), 'write': (0, 1)})
def _(t):
    config, ha = t.p['config'], t.p['ha']
    with t.bed(httu=2) as bed:
        s = Setup(bed, config, ha=ha if config != S2 else 0, s2ha=ha if config == S2 else 0)
        slot = s.s2_slot(s.page) if config == S2 else s.leaf
        old = bed.load64(slot)
        bed.store64(slot, old & ~AF)
        s.flush()
        run = s.d.write if t.p['write'] else s.d.read
        t.eq('access', run(VA), 'ok' if ha else 'abort')
        t.eq('the entry', bed.load64(slot), old if ha else old & ~AF)
        t.event(bed, 'event', *([] if ha else [{'kind': F_ACCESS, 's2': config == S2}]))
        t.eq('counted', bed.counter('httu-af'), ha)


@test('3.13: the dirty state', each={'config': (S1, S2, NESTED), 'hd': (0, 1)})
def _(t):
    config, hd = t.p['config'], t.p['hd']
    with t.bed(httu=2) as bed:
        two = config == S2
        s = Setup(bed, config, ha=not two, hd=hd and not two, s2ha=two, s2hd=hd and two)
        slot = s.s2_slot(s.page) if two else s.leaf
        dirty = bed.load64(slot) | DBM
        clean = dirty & ~S2W if two else dirty | RO
        bed.store64(slot, clean)
        s.flush()
        t.eq('read', s.d.read(VA), 'ok')
        t.eq('still clean', bed.load64(slot), clean)
        t.eq('write', s.d.write(VA), 'ok' if hd else 'abort')
        t.eq('the entry', bed.load64(slot), dirty if hd else clean)
        t.event(bed, 'event', *([] if hd else [{'kind': F_PERMISSION, 's2': two}]))
        t.eq('counted', bed.counter('httu-dirty'), hd)
        # What the TLB knows as dirty is written without another walk
        bed.store64(slot, clean)
        t.eq('write', s.d.write(VA), 'ok' if hd else 'abort')
        t.eq('the TLB forgot nothing', bed.load64(slot), clean)
        s.flush()
        t.eq('write after TLBI', s.d.write(VA), 'ok' if hd else 'abort')
        t.eq('dirty again', bed.load64(slot), dirty if hd else clean)


@test('3.13: without DBM there is no dirty state', each={'config': (S1, S2)})
def _(t):
    two = t.p['config'] == S2
    with t.bed(httu=2) as bed:
        s = Setup(bed, t.p['config'], ha=not two, hd=not two, s2ha=two, s2hd=two)
        slot = s.s2_slot(s.page) if two else s.leaf
        old = bed.load64(slot)
        ro = old & ~S2W if two else old | RO
        bed.store64(slot, ro)
        s.flush()
        t.eq('write', s.d.write(VA), 'abort')
        t.eq('the entry', bed.load64(slot), ro)
        t.event(bed, 'event', {'kind': F_PERMISSION, 's2': two, 'rnw': 0})


@test('3.13.4: an update of stage 1 is a write through stage 2',
      each={'stage2': ('writable', 'read-only', 'clean'), 'what': ('af', 'dirty')})
def _(t):
    with t.bed(httu=2) as bed:
        s = Setup(bed, NESTED, ha=1, hd=1, s2ha=1, s2hd=1)
        page = s.leaf & ~0xfff
        table = s.s2_slot(page)
        old2 = bed.load64(table)
        if t.p['stage2'] != 'writable':
            bed.store64(table, old2 & ~S2W | (DBM if t.p['stage2'] == 'clean' else 0))
        old1 = bed.load64(s.leaf)
        start = old1 & ~AF if t.p['what'] == 'af' else old1 | DBM | RO
        end = old1 if t.p['what'] == 'af' else old1 | DBM
        bed.store64(s.leaf, start)
        s.flush()
        good = t.p['stage2'] != 'read-only'
        t.eq('write', s.d.write(VA), 'ok' if good else 'abort')
        t.eq('the entry', bed.load64(s.leaf), end if good else start)
        t.event(bed, 'event', *([] if good else [
            {'kind': F_PERMISSION, 's2': 1, 'klass': CLASS_TT, 'addr': VA,
             'addr2': s.leaf + SHIFT}]))
        if t.p['stage2'] == 'clean':
            t.eq('stage 2 is dirty', bed.load64(table), old2 | DBM)


@test('3.13: both stages at once')
def _(t):
    with t.bed(httu=2) as bed:
        s = Setup(bed, NESTED, ha=1, hd=1, s2ha=1, s2hd=1)
        slot = s.s2_slot(s.page)
        one, two = bed.load64(s.leaf), bed.load64(slot)
        bed.store64(s.leaf, (one | DBM | RO) & ~AF)
        bed.store64(slot, (two | DBM) & ~S2W & ~AF)
        s.flush()
        t.eq('read', s.d.read(VA), 'ok')
        t.eq('stage 1: accessed, clean', bed.load64(s.leaf), one | DBM | RO)
        t.eq('stage 2: accessed, clean', bed.load64(slot), (two | DBM) & ~S2W)
        t.eq('write', s.d.write(VA), 'ok')
        t.eq('stage 1: dirty', bed.load64(s.leaf), one | DBM)
        t.eq('stage 2: dirty', bed.load64(slot), two | DBM)


@test('3.13.5: a translation request for a write makes the page dirty', each={'nw': (0, 1)})
def _(t):
    with t.bed(httu=2, ats=True) as bed:
        s = Setup(bed, S1, ha=1, hd=1, eats=1)
        dirty = bed.load64(s.leaf) | DBM
        bed.store64(s.leaf, dirty | RO)
        s.flush()
        got = s.d.treq(VA, flags=0 if t.p['nw'] else WRITE_TREQ)
        t.eq('completion', got, (s.page, PAGE, 'r' if t.p['nw'] else 'rw'))
        t.eq('the entry', bed.load64(s.leaf), dirty | RO if t.p['nw'] else dirty)
        t.eq('a write', s.d.write(VA, mode=ATS), 'ok')
        t.eq('the entry then', bed.load64(s.leaf), dirty)


# ---- The walker itself ----

@test('a cached permission fault is of the right stage', each={'config': (S1, S2, NESTED)})
def _(t):
    with t.bed(ssidsize=1) as bed:
        s = Setup(bed, t.p['config'])
        two = t.p['config'] != S1
        slot = s.s2_slot(s.page) if two else s.leaf
        old = bed.load64(slot)
        bed.store64(slot, old & ~S2W if two else old | RO)
        s.flush()
        want = {'kind': F_PERMISSION, 's2': two, 'addr': VA, 'rnw': 0, 'klass': CLASS_IN,
                'addr2': {S1: 0, S2: VA, NESTED: s.page + SHIFT}[t.p['config']]}
        t.eq('write, not cached', s.d.write(VA), 'abort')
        t.event(bed, 'not cached', want)
        t.eq('read', s.d.read(VA), 'ok')
        bed.store64(slot, old)
        t.eq('write, cached', s.d.write(VA), 'abort')
        t.event(bed, 'cached', want)


@test('what stage 2 does not let read is not read from the TLB either')
def _(t):
    with t.bed(ssidsize=1) as bed:
        s = Setup(bed, S2)
        slot = s.s2_slot(s.page)
        bed.store64(slot, bed.load64(slot) & ~S2R)
        s.flush()
        t.eq('write', s.d.write(VA), 'ok')
        t.eq('read', s.d.read(VA), 'abort')
        t.event(bed, 'event', {'kind': F_PERMISSION, 's2': 1, 'rnw': 1})


@test('APTable counts in what is cached')
def _(t):
    with t.bed(ssidsize=1) as bed:
        s = Setup(bed, S1)
        slot = s.tables.slot(VA, 2)
        bed.store64(slot, bed.load64(slot) | 1 << 62)
        s.flush()
        t.eq('read', s.d.read(VA), 'ok')
        t.eq('write', s.d.write(VA), 'abort')
        t.event(bed, 'event', {'kind': F_PERMISSION, 's2': 0})


@test('4.4: TLBI_NH_VAA leaves stage 2, TLBI_S2_IPA leaves stage 1', each={'how': ('VAA', 'IPA')})
def _(t):
    with t.bed(ssidsize=1) as bed:
        # The page's VA is its IPA, and the same VMID has a stream of stage 2 alone
        s = Setup(bed)
        other = bed.pages()
        va = s.page + SHIFT
        s.tables.map(va, va)
        for table in s.tables.tables.values():
            s.s2.map(table + SHIFT, table)
        s.flush()
        t.eq('nested', s.d.read(va), 'ok')
        bed.write_ste(s.d, ste(S2, s2=s.s2))
        bed.cmd(command(CFGI_STE, s.d.sid << 32, 1), sync())
        t.eq('stage 2', s.d.read(va), 'ok')
        for page in (s.page, other):
            bed.store64(page, page)
        s.s2.map(va, other)
        bed.cmd(tlbi_va(1, 0, va, opcode=NH_VAA if t.p['how'] == 'VAA' else S2_IPA), sync())
        s.d.read(va)
        t.eq('stage 2 reads', int.from_bytes(s.d.buffer(8), 'little'),
             s.page if t.p['how'] == 'VAA' else other)
        bed.write_ste(s.d, ste(NESTED, s.ctx + SHIFT, s.s2))
        bed.cmd(command(CFGI_STE, s.d.sid << 32, 1), sync())
        s.d.read(va)
        t.eq('nested reads', int.from_bytes(s.d.buffer(8), 'little'), s.page)


@test('the TLB keeps stage 2 until a TLBI of stage 2', each={'how': ('NH_ALL', 'S2_IPA', 'both')})
def _(t):
    with t.bed(ssidsize=1) as bed:
        s = Setup(bed)
        other = bed.pages()
        for page in (s.page, other):
            bed.store64(page, page)
        t.eq('before', s.d.read(VA), 'ok')
        s.s2.map(s.page + SHIFT, other)
        commands = [tlbi_va(1, 0, s.page + SHIFT, opcode=S2_IPA)] if t.p['how'] != 'NH_ALL' else []
        if t.p['how'] != 'S2_IPA':
            commands.append(command(NH_ALL, 1 << 32))
        bed.cmd(*commands, sync())
        s.d.read(VA)
        t.eq('the page', int.from_bytes(s.d.buffer(8), 'little'),
             other if t.p['how'] == 'both' else s.page)
