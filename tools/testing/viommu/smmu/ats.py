# SPDX-License-Identifier: GPL-2.0-only
"""ATS: IHI0070 3.9, 4.5.1, 5.2 (EATS), 7.3.6, 7.3.8; PCIe 10."""

from bed import (ATC_COUNT, ATS, ATSCHK, BYPASS, CLASS_IN, C_BAD_CD, C_BAD_STE, F_BAD_ATS_TREQ,
                 F_TRANSLATION, F_TRANSL_FORBIDDEN, IDR0, INVS, INV_ADDR, INV_DELAY, INV_DONE,
                 INV_GO, INV_HELD, INV_HOLD, INV_INFO, INV_LATE, INV_MODE, INV_NEVER, INV_NOW,
                 KNOBS, NESTED, OP_COPY, OP_FILL, PAGE, RO, S1, S2, S2R, S2W, SHIFT, TRANSLATED,
                 TREQS, Tables, UNTRANSLATED, WRITE_TREQ, cd, pattern, ste)
from harness import test
from machine import MS
from smmuv3 import (CFGI_STE, CMDQEN, CMDQ_CONS, EVENTQEN, GERROR, GERRORN, NSNH_ALL, RAM, SMMUEN,
                    atc_inv, command, sync)

VA = 0x400000
CERROR_ILL, CERROR_ATC = 1, 3
RUN = SMMUEN | EVENTQEN | CMDQEN


class Setup:
    """One device with pages mapped at VA, at stages that the test names."""

    def __init__(self, bed, config=S1, pages=8, d=None, asid=3, vmid=1, eats=1, **fields):
        self.bed, self.d, self.config = bed, d or bed.d[0], config
        self.asid, self.vmid = asid, vmid
        self.ipa = config == NESTED
        self.tables, self.ctx = bed.s1(asid, ipa=self.ipa)
        self.s2 = bed.identity_s2()
        self.page = bed.pages(pages)
        for i in range(pages):
            self.tables.map(VA + i * PAGE, self.page + i * PAGE + (SHIFT if self.ipa else 0))
        self.fields = fields
        self.attach(eats=eats)

    def ste(self, config=None, **fields):
        ctx = self.ctx + (SHIFT if self.ipa else 0)
        return ste(self.config if config is None else config, ctx, self.s2, self.vmid,
                   **{**self.fields, **fields})

    def attach(self, **fields):
        self.bed.attach(self.d, self.ste(**fields))

    def flush(self):
        self.bed.cmd(command(NSNH_ALL), sync())


@test('ATS: IDR0.ATS and NS1ATS', each={'split': (False, True)})
def _(t):
    with t.bed(ats=True, split_ats=t.p['split']) as bed:
        t.eq('ATS', bed.smmu.rd(IDR0) >> 10 & 1, 1)
        t.eq('NS1ATS', bed.smmu.rd(IDR0) >> 11 & 1, 0 if t.p['split'] else 1)


@test('3.9.1: a completion has address, size and permissions of all stages',
      each={'config': (S1, S2, NESTED)})
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed, t.p['config'])
        if t.p['config'] == S2:
            s.s2.map(VA, s.page)
        t.eq('a page', s.d.treq(VA), (s.page, PAGE, 'rw'))
        if t.p['config'] == S2:
            block = (s.page + 0x200000) & ~0x1fffff
            s.s2.map(VA + 0x200000, block, level=2)
            t.eq('a block', s.d.treq(VA + 0x2ff008), (block + 0xff008, 0x200000, 'rw'))
            s.s2.map(VA + PAGE, s.page, remove=S2W)
            t.eq('read-only', s.d.treq(VA + PAGE, flags=WRITE_TREQ), (s.page, PAGE, 'r'))
            s.s2.map(VA + 2 * PAGE, s.page, remove=S2R)
            t.eq('write-only', s.d.treq(VA + 2 * PAGE), (s.page, PAGE, 'w'))
        else:
            s.tables.map(VA + 9 * PAGE, s.page + (SHIFT if s.ipa else 0), add=RO)
            t.eq('read-only', s.d.treq(VA + 9 * PAGE, flags=WRITE_TREQ), (s.page, PAGE, 'r'))
        t.eq('unmapped', s.d.treq(VA + 0x80000), (0, PAGE, ''))
        t.eq('unmapped is not cached', s.d.probe(VA + 0x80000), None)
        t.event(bed, 'no events')


@test('3.9.1: stage 2 takes permissions away', each={'take': (S2R, S2W, S2R | S2W)})
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed, NESTED)
        s2 = Tables(bed, stage2=True)
        for page in range(RAM + 0x1000000, bed.next_page, PAGE):
            s2.map(page + SHIFT, page, remove=t.p['take'] if page == s.page else 0)
        s.s2 = s2
        s.attach(eats=1)
        want = {S2R: 'w', S2W: 'r', S2R | S2W: ''}[t.p['take']]
        got = s.d.treq(VA)
        t.eq('permissions', got[2], want)
        t.eq('the next page', s.d.treq(VA + PAGE)[2], 'rw')
        t.eq('a read', s.d.read(VA, mode=ATS), 'ok' if 'r' in want else 'denied')
        t.eq('a write', s.d.write(VA, mode=ATS), 'ok' if 'w' in want else 'denied')
        t.event(bed, 'no events')


@test('7.3.6, 7.3.8: EATS = 0 refuses requests and translated transactions',
      each={'config': (S1, S2, NESTED), 'eats': (0, 3, 2)})
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed, t.p['config'], eats=t.p['eats'])
        bed.smmu.set_cr0(RUN | ATSCHK)
        t.eq('request', s.d.treq(VA), 'UR')
        t.event(bed, 'request', {'kind': F_BAD_ATS_TREQ, 'addr': VA, 'sid': s.d.sid})
        t.eq('translated', s.d.write(s.page, mode=TRANSLATED), 'abort')
        t.event(bed, 'translated', {'kind': F_TRANSL_FORBIDDEN, 'addr': s.page, 'rnw': 0,
                                    'sid': s.d.sid})
        s.attach(eats=1)
        t.eq('EATS = 1: request', s.d.treq(VA), (0, PAGE, '') if t.p['config'] == S2 else
             (s.page, PAGE, 'rw'))
        t.eq('EATS = 1: translated', s.d.write(s.page, mode=TRANSLATED), 'ok')
        t.event(bed, 'EATS = 1')


@test('6.3.9: CR0.ATSCHK = 0 lets translated transactions pass unseen')
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed, S1, eats=0)
        bed.write_ste(s.d, bytes(64))
        bed.cmd(command(CFGI_STE, s.d.sid << 32, 1), sync())
        t.eq('ATSCHK = 0', s.d.read(s.page, mode=TRANSLATED), 'ok')
        t.event(bed, 'ATSCHK = 0')
        bed.smmu.set_cr0(RUN | ATSCHK)
        t.eq('ATSCHK = 1, STE.V = 0', s.d.read(s.page, mode=TRANSLATED), 'abort')
        t.event(bed, 'ATSCHK = 1', {'kind': C_BAD_STE})


@test('3.9.1: bypass and abort have no ATS')
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed, S1)
        bed.smmu.set_cr0(RUN | ATSCHK)
        s.attach(config=BYPASS)
        t.eq('bypass: request', s.d.treq(VA), 'UR')
        t.event(bed, 'bypass: request', {'kind': F_BAD_ATS_TREQ})
        t.eq('bypass: translated', s.d.read(s.page, mode=TRANSLATED), 'abort')
        t.event(bed, 'bypass: translated', {'kind': F_TRANSL_FORBIDDEN, 'rnw': 1})
        t.eq('bypass: untranslated', s.d.read(s.page), 'ok')
        s.attach(config=0)
        t.eq('abort: request', s.d.treq(VA), 'UR')
        t.eq('abort: translated', s.d.read(s.page, mode=TRANSLATED), 'abort')
        t.eq('abort: untranslated', s.d.read(VA), 'abort')
        bed.smmu.set_cr0(CMDQEN | EVENTQEN)
        t.eq('SMMUEN = 0: request', s.d.treq(VA), 'UR')
        t.eq('SMMUEN = 0: translated', s.d.read(s.page, mode=TRANSLATED), 'abort')
        t.eq('SMMUEN = 0: untranslated', s.d.read(s.page), 'ok')
        t.event(bed, 'abort and SMMUEN = 0 record nothing')


@test('3.9.1: errors of the configuration are CA, without event')
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed, S1)
        bed.attach(s.d, s.ste(valid=0))
        t.eq('STE.V = 0: request', s.d.treq(VA), 'CA')
        t.event(bed, 'STE.V = 0: request')
        t.eq('STE.V = 0: untranslated', s.d.read(VA), 'abort')
        t.event(bed, 'STE.V = 0: untranslated', {'kind': C_BAD_STE, 'sid': s.d.sid})
        bed.m.store(s.ctx, cd(s.tables, 3, valid=0))
        s.attach(eats=1)
        t.eq('CD.V = 0: request', s.d.treq(VA), 'CA')
        t.event(bed, 'CD.V = 0: request')
        t.eq('CD.V = 0: untranslated', s.d.read(VA), 'abort')
        t.event(bed, 'CD.V = 0: untranslated', {'kind': C_BAD_CD, 'sid': s.d.sid})


@test('3.9.1.3: split-stage ATS', each={'atschk': (0, 1)})
def _(t):
    with t.bed(ats=True, split_ats=True) as bed:
        s = Setup(bed, NESTED, eats=2)
        if not t.p['atschk']:
            t.eq('ATSCHK = 0: request', s.d.treq(VA), 'UR')
            t.event(bed, 'ATSCHK = 0', {'kind': F_BAD_ATS_TREQ})
            return
        bed.smmu.set_cr0(RUN | ATSCHK)
        t.eq('request', s.d.treq(VA), (s.page + SHIFT, PAGE, 'rw'))
        t.eq('write', s.d.write(VA, mode=ATS), 'ok')
        t.eq('an IPA', s.d.read(s.page + SHIFT, mode=TRANSLATED), 'ok')
        t.eq('not a PA', s.d.read(s.page, mode=TRANSLATED), 'abort')
        t.event(bed, 'not a PA', {'kind': F_TRANSLATION, 's2': 1, 'klass': CLASS_IN,
                                  'addr': s.page})
        s.attach(config=S1, eats=2)
        t.eq('EATS = 2 without stage 2', s.d.treq(VA), 'UR')


@test('5.2: EATS with stage 2 that stalls is illegal')
def _(t):
    with t.bed(ats=True, stall_model=0) as bed:
        s = Setup(bed, NESTED, eats=1, s2s=1)
        t.eq('untranslated', s.d.read(VA), 'abort')
        t.event(bed, 'untranslated', {'kind': C_BAD_STE})
        s.attach(eats=0, s2s=1)
        t.eq('EATS = 0', s.d.read(VA), 'ok')


# ---- The ATC, and CMD_ATC_INV ----

@test('the ATC keeps what no invalidation names', kills=('knobs=1', 'knobs=16'))
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed)
        t.eq('fill', s.d.run(OP_FILL, dst=VA, size=8 * PAGE, mode=ATS), 'ok')
        t.eq('entries', s.d.rd(ATC_COUNT), 8)
        requests = s.d.rd(TREQS)
        s.d.read(VA, mode=ATS, size=8 * PAGE)
        t.eq('no further requests', s.d.rd(TREQS), requests)
        for i in range(8):
            s.tables.unmap(VA + i * PAGE)
        s.flush()
        t.eq('the SMMU\'s TLB is flushed', s.d.read(VA), 'abort')
        t.eq('the ATC is not', s.d.read(VA, mode=ATS, size=8 * PAGE), 'ok')
        bed.cmd(atc_inv(s.d.sid, VA + PAGE, 0), sync())
        t.eq('one page less', s.d.rd(ATC_COUNT), 7)
        t.eq('the page', s.d.read(VA + PAGE, mode=ATS), 'denied')
        t.eq('its neighbour', s.d.read(VA + 2 * PAGE, mode=ATS), 'ok')


@test('4.5.1: size and address of CMD_ATC_INV', each={'size': (0, 1, 2, 3, 40, 52)},
      kills=('knobs=2', 'knobs=8', 'knobs=16'))
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed)
        s.d.read(VA, mode=ATS, size=8 * PAGE)
        n = t.p['size']
        # Bits of the address below the size do not count
        bed.cmd(atc_inv(s.d.sid, VA + 5 * PAGE, n), sync())
        first, count = (5 >> n << n, 1 << n) if n < 3 else (0, 8)
        left = [i for i in range(8) if s.d.probe(VA + i * PAGE)]
        t.eq('entries left', left, [i for i in range(8) if not first <= i < first + count])
        t.eq('what the device saw', s.d.rd(INV_INFO) & 0xff, n)
        t.eq('its address', s.d.rd(INV_ADDR), 0 if n > 39 else VA + first * PAGE)
        t.eq('received', s.d.rd(INVS), 1)
        t.eq('answered', s.d.rd(INV_DONE), 1)


@test('4.5.1: a part of a block invalidates the block')
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed, S2)
        s.s2.map(VA, RAM, level=2)
        t.eq('block', s.d.read(VA, mode=ATS), 'ok')
        bed.cmd(atc_inv(s.d.sid, VA + 0x200000, 0), sync())
        t.ok('the next block: kept', s.d.probe(VA))
        bed.cmd(atc_inv(s.d.sid, VA + 0x1ff000, 0), sync())
        t.eq('its last page: gone', s.d.probe(VA), None)


@test('4.5.1: SSV, SubstreamID and G', each={'how': ('none', 'one', 'global')},
      kills=('knobs=4', 'knobs=64'))
def _(t):
    with t.bed(ats=True, ssidsize=4) as bed:
        s = Setup(bed)
        ctx = bed.pages()
        tables = {}
        for ssid in range(1, 4):
            tables[ssid] = Tables(bed)
            tables[ssid].map(VA, s.page + ssid * PAGE)
            bed.m.store(ctx + 64 * ssid, cd(tables[ssid], 10 + ssid))
        bed.m.store(ctx, cd(s.tables, 3))
        s.ctx = ctx
        s.attach(eats=1, cdmax=4, dss=2)
        for pasid in (None, 1, 2, 3):
            t.eq(f'PASID {pasid}', s.d.read(VA, mode=ATS, pasid=pasid), 'ok')
        t.eq('entries', s.d.rd(ATC_COUNT), 4)
        how = t.p['how']
        if how == 'none':
            bed.cmd(atc_inv(s.d.sid), sync())
        else:
            bed.cmd(atc_inv(s.d.sid, ssid=2, glob=how == 'global'), sync())
        left = [p for p in (None, 1, 2, 3) if s.d.probe(VA, pasid=p)]
        t.eq('entries left', left, {'none': [], 'one': [None, 1, 3], 'global': [None]}[how])
        info = s.d.rd(INV_INFO)
        t.eq('SSV', info >> 32 & 1, how != 'none')
        t.eq('G', info >> 33 & 1, how == 'global')


@test('4.5.1: G without SSV means nothing, the StreamID is looked at')
def _(t):
    with t.bed(ats=True, devices=(('1', ''), ('2', ''))) as bed:
        a, b = (Setup(bed, d=d, asid=3 + i) for i, d in enumerate(bed.d))
        for s in (a, b):
            s.d.read(VA, mode=ATS)
        bed.cmd(atc_inv(b.d.sid, glob=1), sync())
        t.eq('the one', a.d.rd(ATC_COUNT), 1)
        t.eq('the other', b.d.rd(ATC_COUNT), 0)
        t.eq('G', b.d.rd(INV_INFO) >> 33 & 1, 0)


@test('4.5.1, 6.3.9: CERROR_ILL')
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed)
        t.eq('Size 53', bed.cmd(atc_inv(s.d.sid, 0, 53)), CERROR_ILL)
        bed.smmu.set_cr0(CMDQEN | EVENTQEN)
        t.eq('SMMUEN = 0', bed.cmd(atc_inv(s.d.sid)), CERROR_ILL)
        t.eq('invalidations', s.d.rd(INVS), 0)


# ---- CMD_SYNC and the time-out ----

@test('4.7.3: CMD_SYNC waits for the answer, ATC_INV does not', kills=('inv-mode=0',))
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed)
        s.d.wr(INV_MODE, INV_LATE)
        s.d.wr(INV_DELAY, 20 * MS)
        if t.mutation:
            s.d.wr(INV_MODE, INV_NOW)
        bed.put(atc_inv(s.d.sid), atc_inv(s.d.sid))
        t.ok('ATC_INVs are consumed', bed.done())
        bed.put(sync(), command(NSNH_ALL))
        t.ok('CMD_SYNC is not', not bed.done())
        bed.m.step(19 * MS)
        t.ok('CMD_SYNC after 19 ms', not bed.done())
        t.eq('answers', s.d.rd(INV_DONE), 0)
        bed.m.step(2 * MS)
        t.ok('CMD_SYNC after 21 ms', bed.done())
        t.eq('answers', s.d.rd(INV_DONE), 2)
        t.eq('error', bed.cmdq_error(), 0)


@test('4.7.3: all answers are needed')
def _(t):
    with t.bed(ats=True, devices=(('1', ''), ('2', ''))) as bed:
        a, b = (Setup(bed, d=d, asid=3 + i) for i, d in enumerate(bed.d))
        for s in (a, b):
            s.d.wr(INV_MODE, INV_HOLD)
        bed.put(atc_inv(a.d.sid), atc_inv(b.d.sid), sync())
        t.eq('held', (a.d.rd(INV_HELD), b.d.rd(INV_HELD)), (1, 1))
        a.d.wr(INV_GO, 1)
        bed.m.step()
        t.ok('after one answer', not bed.done())
        b.d.wr(INV_GO, 1)
        bed.m.sync()
        t.ok('after both', bed.done())


@test('7.1, 4.7.3: a device that does not answer: CERROR_ATC_INV_SYNC',
      each={'why': ('never', 'no-device', 'ats-off', 'no-ats', 'late')})
def _(t):
    why = t.p['why']
    with t.bed(ats=True, atc_timeout_ms=30, dma={'ats': 'off'} if why == 'no-ats' else None) as bed:
        s = Setup(bed)
        sid = s.d.sid
        if why == 'never':
            s.d.wr(INV_MODE, INV_NEVER)
        elif why == 'late':
            s.d.wr(INV_MODE, INV_LATE)
            s.d.wr(INV_DELAY, 40 * MS)
        elif why == 'ats-off':
            s.d.wr(KNOBS, 32)
            s.d.cfg_wr(0x106, 0, 2)
        elif why == 'no-device':
            sid = 0xf8
        first = bed.smmu.prod
        bed.put(atc_inv(sid), sync(), command(NSNH_ALL))
        bed.m.step(29 * MS)
        t.eq('before the time is over', bed.cmdq_error(), 0)
        t.ok('CMD_SYNC waits', not bed.done())
        bed.m.step(2 * MS)
        t.eq('CMDQ_CONS.ERR', bed.cmdq_error(), CERROR_ATC)
        t.eq('CONS is at CMD_SYNC', bed.smmu.rd(CMDQ_CONS) & 0xfffff, first + 1)
        bed.m.step(100 * MS)
        t.eq('it stays there', bed.smmu.rd(CMDQ_CONS) & 0xfffff, first + 1)
        bed.smmu.wr(GERRORN, bed.smmu.rd(GERROR))
        t.ok('acknowledged: CMD_SYNC passes', bed.done())
        t.eq('no further error', bed.cmdq_error(), 0)
        if why == 'never':
            s.d.wr(INV_MODE, INV_NOW)
            t.eq('later ones', bed.cmd(atc_inv(sid), sync()), 0)


@test('a device with ATS disabled answers')
def _(t):
    with t.bed(ats=True, atc_timeout_ms=30) as bed:
        s = Setup(bed)
        s.d.read(VA, mode=ATS)
        s.d.cfg_wr(0x106, 0, 2)
        t.eq('no error', bed.cmd(atc_inv(s.d.sid), sync()), 0)
        t.eq('answered', s.d.rd(INV_DONE), 1)
        t.eq('entries', s.d.rd(ATC_COUNT), 0)


@test('enabling ATS empties the ATC, disabling does not')
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed)
        s.d.read(VA, mode=ATS)
        s.d.cfg_wr(0x106, 0, 2)
        t.eq('disabled: kept', s.d.rd(ATC_COUNT), 1)
        t.eq('disabled: not used', s.d.read(VA, mode=ATS), 'ats-off')
        s.d.cfg_wr(0x106, 0x8000, 2)
        t.eq('enabled: empty', s.d.rd(ATC_COUNT), 0)


@test('copy: one side translated by the ATC, the other untranslated')
def _(t):
    with t.bed(ats=True) as bed:
        s = Setup(bed)
        bed.m.store(s.page, pattern(5, PAGE))
        t.eq('copy', s.d.run(OP_COPY, src=VA, dst=VA + PAGE, size=PAGE, mode=ATS,
                             dst_mode=UNTRANSLATED), 'ok')
        t.eq('data', bed.m.load(s.page + PAGE, PAGE).hex(), pattern(5, PAGE).hex())
        t.eq('entries', s.d.rd(ATC_COUNT), 1)
