# SPDX-License-Identifier: GPL-2.0-only
"""Substreams: IHI0070 3.3.2, 4.3, 5.2 (S1DSS, S1Fmt, S1CDMax), 5.4, 7.3."""

import struct

from bed import (CLASS_CD, CLASS_IN, CLASS_TT, C_BAD_CD, C_BAD_STE, C_BAD_SUBSTREAMID, F_CD_FETCH,
                 F_PERMISSION, F_STREAM_DISABLED, F_TRANSLATION, IDR0, IDR1, NESTED, PAGE, RO, S1,
                 S2, SHIFT, Tables, cd, ste)
from harness import test
from smmuv3 import (CFGI_ALL, CFGI_CD, CFGI_CD_ALL, CFGI_STE, Edu, NSNH_ALL, RAM, command, sync,
                    tlbi_asid)

VA = 0x400000
BYPASS = 4
NOWHERE = 0x70000000000
FORMATS = {'linear': 0, '4K': 1, '64K': 2}
SPLIT = {1: 6, 2: 10}


class Setup:
    """A device with a table of CDs: substream n reads a page that says n at VA."""

    def __init__(self, bed, config=S1, fmt=0, cdmax=12, dss=0, ssids=(0, 1, 2, 70, 1500), d=None):
        self.bed, self.d, self.config = bed, d or bed.d[0], config
        self.fmt, self.cdmax, self.dss = fmt, cdmax, dss
        self.nested = config == NESTED
        self.shift = SHIFT if self.nested else 0
        self.s2 = bed.identity_s2()
        bed.next_page = (bed.next_page + 0x3ffff) & ~0x3ffff
        self.ctx = bed.pages(64 if fmt == 0 else 1)
        self.l2, self.tables, self.page = {}, {}, {}
        for ssid in ssids:
            self.add(ssid)
        self.attach()

    def where(self, ssid):
        """Where the CD of a substream is."""
        if self.fmt == 0:
            return self.ctx + 64 * ssid
        index = ssid >> SPLIT[self.fmt]
        if index not in self.l2:
            self.l2[index] = self.bed.pages(1 if self.fmt == 1 else 16)
            self.bed.store64(self.l2_slot(ssid), self.l2[index] + self.shift | 1)
        return self.l2[index] + 64 * (ssid & (1 << SPLIT[self.fmt]) - 1)

    def l2_slot(self, ssid):
        return self.ctx + 8 * (ssid >> SPLIT[self.fmt])

    def add(self, ssid, **fields):
        self.tables[ssid] = Tables(self.bed, ipa=self.nested)
        self.page[ssid] = self.bed.pages()
        self.bed.store64(self.page[ssid], 1000 + ssid)
        self.tables[ssid].map(VA, self.page[ssid] + self.shift)
        self.write(ssid, **fields)

    def write(self, ssid, **fields):
        self.bed.m.store(self.where(ssid), cd(self.tables[ssid], 100 + ssid, ipa=self.nested,
                                              **fields))

    def ste(self, **fields):
        return ste(self.config, self.ctx + self.shift, self.s2,
                   **{'cdmax': self.cdmax, 'fmt': self.fmt, 'dss': self.dss, **fields})

    def attach(self, **fields):
        self.bed.attach(self.d, self.ste(**fields))

    def get(self, ssid, addr=VA):
        """What the device reads: a number, or how it failed."""
        state = self.d.read(addr, pasid=ssid)
        return struct.unpack('<Q', self.d.buffer(8))[0] if state == 'ok' else state


def cfgi_cd(sid, ssid, leaf=1):
    return command(CFGI_CD, sid << 32 | ssid << 12, leaf)


@test('substreams: IDR1.SSIDSIZE and IDR0.CD2L', each={'size': (0, 1, 16, 20)})
def _(t):
    with t.bed(ssidsize=t.p['size']) as bed:
        t.eq('SSIDSIZE', bed.smmu.rd(IDR1) >> 6 & 31, t.p['size'])
        t.eq('CD2L', bed.smmu.rd(IDR0) >> 19 & 1, t.p['size'] > 0)


@test('5.4.1, 5.4.2: the CD of a substream', each={'fmt': FORMATS, 'config': (S1, NESTED)})
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, t.p['config'], FORMATS[t.p['fmt']])
        for ssid in s.page:
            t.eq(f'substream {ssid}', s.get(ssid), 1000 + ssid)
        t.event(bed, 'no events')
        # The last of the table, and the first that is not in it
        s.add(4095)
        bed.cmd(cfgi_cd(s.d.sid, 4095, 0), sync())
        t.eq('the last', s.get(4095), 1000 + 4095)
        t.eq('beyond S1CDMax', s.get(4096), 'abort')
        t.event(bed, 'beyond S1CDMax', {'kind': C_BAD_SUBSTREAMID, 'ssid': 4096, 'sid': s.d.sid,
                                        'ssv': 0})


@test('7.3.9: C_BAD_SUBSTREAMID', each={'why': ('cdmax=0', 'l1-invalid', 'stage-2-only', 'bypass')})
def _(t):
    with t.bed(ssidsize=16) as bed:
        why = t.p['why']
        s = Setup(bed, fmt=1, ssids=(0, 1))
        ssid = 1
        if why == 'cdmax=0':
            s.ctx = s.l2[0]
            s.attach(cdmax=0)
        elif why == 'l1-invalid':
            ssid = 64
        else:
            s.config = S2 if why == 'stage-2-only' else BYPASS
            s.attach()
        t.eq('the access', s.get(ssid), 'abort')
        t.event(bed, 'event', {'kind': C_BAD_SUBSTREAMID, 'ssid': ssid, 'sid': s.d.sid})


@test('5.2: S1DSS', each={'config': (S1, NESTED), 'dss': (0, 1, 2)})
def _(t):
    with t.bed(ssidsize=16) as bed:
        dss = t.p['dss']
        s = Setup(bed, t.p['config'], dss=dss, ssids=(0, 1))
        t.eq('substream 1', s.get(1), 1001)
        t.event(bed, 'substream 1')
        if dss == 0:
            t.eq('no substream', s.get(None), 'abort')
            t.event(bed, 'no substream', {'kind': F_STREAM_DISABLED, 'sid': s.d.sid})
            t.eq('substream 0', s.get(0), 1000)
        elif dss == 1:
            t.eq('no substream', s.get(None, s.page[0] + s.shift), 1000)
            t.event(bed, 'no substream')
            t.eq('substream 0', s.get(0), 1000)
            if s.nested:
                t.eq('an address without stage 2', s.get(None, s.page[0]), 'abort')
                t.event(bed, 'that', {'kind': F_TRANSLATION, 's2': 1, 'ssv': 0, 'klass': CLASS_IN})
        else:
            t.eq('no substream', s.get(None), 1000)
            t.event(bed, 'no substream')
            t.eq('substream 0', s.get(0), 'abort')
            t.event(bed, 'substream 0', {'kind': F_STREAM_DISABLED, 'sid': s.d.sid})


@test('5.2: illegal STEs', each={'what': ('cdmax', 'fmt=3', 'dss=3')})
def _(t):
    with t.bed(ssidsize=8) as bed:
        s = Setup(bed, cdmax=8, ssids=(0, 1))
        t.eq('S1CDMax = SSIDSIZE', s.get(1), 1001)
        s.attach(**{'cdmax': {'cdmax': 9}, 'fmt=3': {'fmt': 3}, 'dss=3': {'dss': 3}}[t.p['what']])
        t.eq('the access', s.get(1), 'abort')
        t.event(bed, 'event', {'kind': C_BAD_STE, 'ssv': 1, 'ssid': 1})
        # Without stage 1 these fields are not looked at
        s.config = S2
        s.attach(**{'cdmax': {'cdmax': 9}, 'fmt=3': {'fmt': 3}, 'dss=3': {'dss': 3}}[t.p['what']])
        t.eq('stage 2 only', s.get(None, s.page[0] + SHIFT), 1000)


@test('7.3: events have the substream', each={'config': (S1, NESTED)})
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, t.p['config'], dss=2, ssids=(0, 5))
        s.tables[5].map(VA + PAGE, s.page[5] + s.shift, add=RO)
        wanted = {'sid': s.d.sid, 'ssv': 1, 'ssid': 5}
        t.eq('unmapped', s.get(5, VA + 0x5000), 'abort')
        t.event(bed, 'unmapped', {'kind': F_TRANSLATION, 'addr': VA + 0x5000, 'klass': CLASS_IN,
                                  's2': 0, **wanted})
        t.eq('read-only', s.d.write(VA + PAGE, pasid=5), 'abort')
        t.event(bed, 'read-only', {'kind': F_PERMISSION, 'rnw': 0, 'klass': CLASS_IN, **wanted})
        t.eq('without substream', s.get(None, VA + 0x5000), 'abort')
        t.event(bed, 'without substream', {'kind': F_TRANSLATION, 'ssv': 0, 'ssid': 0})
        s.write(5, valid=0)
        bed.cmd(cfgi_cd(s.d.sid, 5), sync())
        t.eq('CD.V = 0', s.get(5), 'abort')
        t.event(bed, 'CD.V = 0', {'kind': C_BAD_CD, **wanted})


@test('7.3.10: F_CD_FETCH says where', each={'level': (1, 2)})
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, fmt=1, ssids=(0, 1))
        if t.p['level'] == 1:
            s.ctx = NOWHERE
            s.attach()
        else:
            bed.store64(s.l2_slot(0), NOWHERE | 1)
        t.eq('the access', s.get(1), 'abort')
        t.event(bed, 'event', {'kind': F_CD_FETCH, 'ssv': 1, 'ssid': 1,
                               'addr2': NOWHERE if t.p['level'] == 1 else NOWHERE + 64})


@test('5.4, 7.3.13: CDs and tables are fetched through stage 2', each={'what': ('l1', 'cd', 'tt')})
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, NESTED, fmt=1, ssids=(0, 1))
        what = {'l1': s.ctx, 'cd': s.l2[0], 'tt': s.tables[1].root}[t.p['what']]
        s2 = Tables(bed, stage2=True)
        for page in range(RAM + 0x1000000, bed.next_page, PAGE):
            if page != what:
                s2.map(page + SHIFT, page)
        s.s2 = s2
        s.attach()
        t.eq('the access', s.get(1), 'abort')
        at = what + SHIFT + {'l1': 0, 'cd': 64, 'tt': 0}[t.p['what']]
        t.event(bed, 'event', {'kind': F_TRANSLATION, 's2': 1, 'ssv': 1, 'ssid': 1, 'addr': VA,
                               'klass': CLASS_TT if t.p['what'] == 'tt' else CLASS_CD,
                               'addr2': at})


# ---- What is cached, and what forgets it ----

@test('4.3.3: a CD is cached until CMD_CFGI_CD names it', kills=('cd-nocache=1', 'ste-nocache=1'))
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, fmt=1, ssids=(1, 2))
        t.eq('substream 1', s.get(1), 1001)
        t.eq('substream 2', s.get(2), 1002)
        for ssid in (1, 2):
            s.write(ssid, valid=0)
        bed.cmd(command(NSNH_ALL), sync())
        t.eq('V = 0 in memory: 1', s.get(1), 1001)
        bed.cmd(cfgi_cd(s.d.sid, 2), sync())
        t.eq('after CFGI_CD of 2: 1', s.get(1), 1001)
        t.eq('after CFGI_CD of 2: 2', s.get(2), 'abort')
        bed.cmd(cfgi_cd(s.d.sid + 1, 1), sync())
        t.eq('after CFGI_CD of another stream', s.get(1), 1001)
        bed.cmd(cfgi_cd(s.d.sid, 1), sync())
        t.eq('after CFGI_CD of 1', s.get(1), 'abort')


@test('4.3: a CD that is not valid is cached too', kills=('cd-nocache=1', 'ste-nocache=1'))
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, fmt=1, ssids=(1, 2))
        s.write(1, valid=0)
        t.eq('V = 0', s.get(1), 'abort')
        s.write(1)
        t.eq('V = 1 in memory', s.get(1), 'abort')
        bed.cmd(cfgi_cd(s.d.sid, 1), sync())
        t.eq('after CFGI_CD', s.get(1), 1001)


@test('4.3.3: Leaf = 0 forgets the level 1 descriptor', kills=('cd-nocache=1', 'ste-nocache=1'))
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, fmt=1, ssids=(1,))
        t.eq('L1CD.V = 0', s.get(64), 'abort')
        s.add(64)
        t.eq('L1CD.V = 1 in memory', s.get(64), 'abort')
        bed.cmd(cfgi_cd(s.d.sid, 64), sync())
        t.eq('after CFGI_CD with Leaf = 1', s.get(64), 'abort')
        bed.cmd(cfgi_cd(s.d.sid, 65, 0), sync())
        t.eq('after CFGI_CD with Leaf = 0', s.get(64), 1064)


@test('4.3.4, 4.3.1, 4.3.2: what forgets all CDs of a stream',
      each={'how': ('CD_ALL', 'STE', 'ALL', 'CD_ALL of another', 'STE of another')},
      kills=('ste-nocache=1',))
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, fmt=1, ssids=(1, 70))
        for ssid in (1, 70):
            t.eq(f'substream {ssid}', s.get(ssid), 1000 + ssid)
            s.write(ssid, valid=0)
        # An STE that is illegal shows whether the STE was forgotten
        bed.write_ste(s.d, s.ste(valid=0))
        how, sid = t.p['how'], s.d.sid << 32
        other = how.endswith('of another')
        bed.cmd({'CD_ALL': command(CFGI_CD_ALL, sid), 'STE': command(CFGI_STE, sid, 1),
                 'ALL': command(CFGI_ALL, 0, 31),
                 'CD_ALL of another': command(CFGI_CD_ALL, sid + (1 << 32)),
                 'STE of another': command(CFGI_STE, sid + (1 << 32), 1)}[how], sync())
        bed.events()
        for ssid in (1, 70):
            t.eq(f'{how}: substream {ssid}', s.get(ssid), 1000 + ssid if other else 'abort')
        kinds = [e.kind for e in bed.events()]
        t.eq('events', kinds, [] if other else [C_BAD_CD if how == 'CD_ALL' else C_BAD_STE] * 2)


@test('4.3.1: an STE is cached until a command names it', kills=('ste-nocache=1',))
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, ssids=(1,))
        t.eq('V = 1', s.get(1), 1001)
        bed.write_ste(s.d, s.ste(valid=0))
        bed.cmd(command(NSNH_ALL), command(CFGI_CD_ALL, s.d.sid << 32), sync())
        t.eq('V = 0 in memory', s.get(1), 1001)
        bed.cmd(command(CFGI_STE, s.d.sid << 32, 1), sync())
        t.eq('after CFGI_STE', s.get(1), 'abort')
        bed.write_ste(s.d, s.ste())
        t.eq('V = 1 in memory', s.get(1), 'abort')
        bed.cmd(command(CFGI_STE, s.d.sid << 32, 1), sync())
        t.eq('after CFGI_STE', s.get(1), 1001)


@test('the ASID of a CD tags its TLB entries')
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, ssids=(1, 2))
        for ssid in (1, 2):
            t.eq(f'substream {ssid}', s.get(ssid), 1000 + ssid)
            s.tables[ssid].unmap(VA)
        bed.cmd(tlbi_asid(1, 101), sync())
        t.eq('the one that TLBI named', s.get(1), 'abort')
        t.eq('the other', s.get(2), 1002)


@test('5.4: stage 2 of the tables is looked up when it is used, not with the CD')
def _(t):
    with t.bed(ssidsize=16) as bed:
        s = Setup(bed, NESTED, ssids=(1,))
        s2 = Tables(bed, stage2=True)
        for page in range(RAM + 0x1000000, bed.next_page, PAGE):
            s2.map(page + SHIFT, page)
        s.s2 = s2
        s.attach()
        t.eq('before', s.get(1), 1001)
        # The table moves: TLBIs are enough, its CD is the same
        new = bed.pages()
        bed.m.store(new, bed.m.load(s.tables[1].root, PAGE))
        s2.map(s.tables[1].root + SHIFT, new)
        bed.m.fill(s.tables[1].root, PAGE, 0)
        bed.cmd(command(NSNH_ALL), sync())
        t.eq('after', s.get(1), 1001)


@test('a device without PASID goes the same way', each={'dss': (0, 1, 2)})
def _(t):
    with t.bed(ssidsize=16, extra=('-device', 'edu,addr=3,dma_mask=0xffffffffffff')) as bed:
        edu = Edu(bed.m, 3)
        s = Setup(bed, dss=t.p['dss'], ssids=(0, 1))
        bed.write_ste(edu, s.ste())
        bed.cmd(command(CFGI_STE, edu.sid << 32, 1), sync())
        edu.dma_write(VA if t.p['dss'] == 2 else s.page[0])
        t.eq('what it wrote', bed.load64(s.page[0]), 1000 if t.p['dss'] == 0 else 0)
        events = bed.events()
        t.eq('events', {e.kind for e in events}, {F_STREAM_DISABLED} if t.p['dss'] == 0 else set())
