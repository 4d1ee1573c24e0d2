# SPDX-License-Identifier: GPL-2.0-only
"""viommu-dma by itself: what its registers promise."""

from bed import (ATC_COUNT, ATS, BUF, BYPASS, CAPS, CTRL, DST, FAULT, FLAGS, F_TRANSLATION, ID,
                 IDR0, IDR1, IDR3, IDR5, INVS, INV_DELAY, INV_DONE, INV_MODE, KNOBS, LEN, MASK64,
                 OP_CHECK, OP_COMPARE, OP_COPY, OP_FILL, PAGE, PASID, RESET_MS, RESULT, S1, SEED,
                 SRC, S_BAD, S_CTRL, S_DST, S_ERRADDR, S_EXPECT, S_FAULTS, S_LAPS, S_LEN, S_PERIOD,
                 S_SEED, S_SRC, S_SUM, TRANSLATED, TREQS, fnv, pattern, ste)
from harness import test
from machine import MS
from smmuv3 import NSNH_ALL, atc_inv, command, sync

VA = 0x400000


def bypass(bed, d=None):
    bed.attach(d or bed.d[0], ste(BYPASS))


@test('viommu-dma: registers and capabilities', each={'on': (0, 1)})
def _(t):
    dma = {'ats': 'on', 'pasid-bits': 16} if t.p['on'] else {'ats': 'off'}
    with t.bed(dma=dma) as bed:
        d = bed.d[0]
        t.eq('ID', d.rd(ID), 1 << 32 | 0x414d4456)
        t.eq('CAPS', d.rd(CAPS), 0x1007 if t.p['on'] else 4)
        t.eq('ATS capability', d.cfg_rd(0x100, 2), 0x0f if t.p['on'] else 0)
        t.eq('PASID capability', d.cfg_rd(0x108, 2), 0x1b if t.p['on'] else 0)
        if t.p['on']:
            t.eq('max PASID width', d.cfg_rd(0x10c, 2) >> 8, 16)
        t.eq('FLR capable', d.cfg_rd(0x84) >> 28 & 1, 1)
        for reg in (SRC, DST, LEN, BUF, FLAGS, PASID, SEED, S_SRC, S_SEED, S_EXPECT, INV_DELAY):
            d.wr(reg, 0x123456789abcdef0)
            t.eq(f'register {reg:#x}', d.rd(reg), 0x123456789abcdef0)
            bed.m.write(d.bar + reg + 4, 0x55, 4)
            t.eq(f'register {reg:#x}, high half', d.rd(reg), 0x559abcdef0)
            t.eq(f'register {reg:#x}, one half', bed.m.read(d.bar + reg + 4, 4), 0x55)
        for reg in (ID, CAPS, RESULT, TREQS, INVS):
            before = d.rd(reg)
            d.wr(reg, MASK64)
            t.eq(f'read-only register {reg:#x}', d.rd(reg), before)


@test('viommu-dma: read, write, compare, copy, fill, check',
      each={'offset': (0, 5, 0xffc), 'size': (1, 8, 4096, 10000)})
def _(t):
    with t.bed() as bed:
        d, size = bed.d[0], t.p['size']
        bypass(bed)
        a = bed.pages(4) + t.p['offset']
        b = bed.pages(4) + 3
        data = pattern(7, size)
        bed.m.store(a, data)
        t.eq('READ', d.read(a, size=size, buf=16), 'ok')
        t.eq('the buffer', d.buffer(size, 16).hex(), data.hex())
        t.eq('its sum', d.rd(RESULT), fnv(data))
        t.eq('COMPARE', d.run(OP_COMPARE, src=a, size=size, buf=16), 'ok')
        t.eq('WRITE', d.write(b, size=size, buf=16), 'ok')
        t.eq('memory', bed.m.load(b, size).hex(), data.hex())
        t.eq('CHECK', d.run(OP_CHECK, src=b, size=size, seed=7), 'ok')
        bed.m.store(b + size - 1, bytes([data[-1] ^ 1]))
        t.eq('COMPARE of a change', d.run(OP_COMPARE, src=b, size=size, buf=16), 'mismatch')
        t.eq('its offset', d.rd(RESULT), size - 1)
        t.eq('its address', d.rd(FAULT), b + size - 1)
        t.eq('CHECK of a change', d.run(OP_CHECK, src=b, size=size, seed=7), 'mismatch')
        t.eq('COPY', d.run(OP_COPY, src=a, dst=b, size=size), 'ok')
        t.eq('copied', bed.m.load(b, size).hex(), data.hex())
        t.eq('FILL', d.run(OP_FILL, dst=b, size=size, seed=99), 'ok')
        t.eq('the pattern', bed.m.load(b, size).hex(), pattern(99, size).hex())
        t.eq('after it', bed.m.load(b + size, 8), bytes(8))


@test('viommu-dma: bad descriptors and states')
def _(t):
    with t.bed() as bed:
        d = bed.d[0]
        bypass(bed)
        a = bed.pages()
        t.eq('an unknown op', d.run(99, src=a), 'bad-desc')
        t.eq('beyond the buffer', d.read(a, buf=0xfff9), 'bad-desc')
        t.eq('its end', d.read(a, buf=0xfff8), 'ok')
        d.cfg_wr(0x04, 0x2, 2)
        t.eq('without bus master', d.read(a), 'no-master')
        d.cfg_wr(0x04, 0x6, 2)
        d.cfg_wr(0x10e, 0, 2)
        t.eq('PASID disabled', d.read(a, pasid=1), 'pasid-off')
        d.cfg_wr(0x106, 0, 2)
        t.eq('ATS disabled', d.read(a, mode=ATS), 'ats-off')


@test('viommu-dma: a fault says where, and raises one event')
def _(t):
    with t.bed() as bed:
        d = bed.d[0]
        tables, ctx = bed.s1()
        for i in range(2):
            tables.map(VA + i * PAGE, bed.pages())
        bed.attach(d, ste(S1, ctx))
        t.eq('two pages', d.read(VA, size=2 * PAGE), 'ok')
        t.eq('three pages', d.read(VA + 8, size=2 * PAGE), 'abort')
        t.eq('where', d.rd(FAULT), VA + 2 * PAGE)
        t.event(bed, 'event', {'kind': F_TRANSLATION, 'addr': VA + 2 * PAGE, 'rnw': 1,
                               'sid': d.sid, 'ssv': 0})


@test('viommu-dma: a stream finds what changed behind its back', each={'mode': (1, 2)})
def _(t):
    with t.bed() as bed:
        d = bed.d[0]
        tables, ctx = bed.s1()
        page = bed.pages(2)
        for i in range(2):
            tables.map(VA + i * PAGE, page + i * PAGE)
        bed.attach(d, ste(S1, ctx))
        bed.m.store(page, pattern(1, 2 * PAGE))
        for reg, value in ((S_SRC, VA), (S_DST, VA), (S_LEN, 2 * PAGE), (S_PERIOD, MS),
                           (S_SEED, 3), (S_EXPECT, fnv(pattern(1, 2 * PAGE))),
                           (S_CTRL, t.p['mode'])):
            d.wr(reg, value)
        bed.m.step(20 * MS)
        t.ok('laps', 15 <= d.rd(S_LAPS) <= 21)
        t.eq('wrong data', d.rd(S_BAD), 0)
        t.eq('faults', d.rd(S_FAULTS), 0)
        if t.p['mode'] == 1:
            laps = d.rd(S_LAPS) - 1
            want = pattern(3 + laps * 0x100000001, 2 * PAGE)
            t.eq('the sum of the last lap', d.rd(S_SUM), fnv(want))
            t.eq('what is in memory', bed.m.load(page, 16).hex(), want[:16].hex())
            # Where the stream writes is not where it reads
            other = bed.pages(2)
            d.wr(S_CTRL, 0)
            tables.map(VA + 16 * PAGE, other)
            d.wr(S_SRC, VA + 15 * PAGE)
            tables.map(VA + 15 * PAGE, page)
            d.wr(S_CTRL, 1)
        else:
            bed.m.store(page + 77, b'x')
        bed.m.step(10 * MS)
        t.ok('wrong data is counted', d.rd(S_BAD) >= 5)
        tables.unmap(VA)
        bed.cmd(command(NSNH_ALL), sync())
        bed.m.step(10 * MS)
        t.ok('faults are counted', d.rd(S_FAULTS) >= 5)
        t.eq('where', d.rd(S_ERRADDR), VA)
        d.wr(S_CTRL, 0)
        laps = d.rd(S_LAPS)
        bed.m.step(10 * MS)
        t.eq('laps after the stop', d.rd(S_LAPS), laps)


@test('viommu-dma: interrupts are MSIs')
def _(t):
    with t.bed() as bed:
        d = bed.d[0]
        bypass(bed)
        target, a = bed.pages(), bed.pages()
        cap = d.cap(0x05)
        d.cfg_wr(cap + 4, target)
        d.cfg_wr(cap + 8, 0)
        d.cfg_wr(cap + 12, 0x1230, 2)
        d.cfg_wr(cap + 2, 1, 2)
        d.read(a)
        t.eq('without CTRL', bed.m.read(target, 4), 0)
        d.wr(CTRL, 1)
        d.read(a)
        t.eq('a command', bed.m.read(target, 4), 0x1230)


@test('viommu-dma: FLR forgets everything but the knobs')
def _(t):
    with t.bed(ats=True) as bed:
        d = bed.d[0]
        tables, ctx = bed.s1()
        tables.map(VA, bed.pages())
        bed.attach(d, ste(S1, ctx, eats=1))
        t.eq('ATS', d.read(VA, mode=ATS), 'ok')
        d.wr(INV_MODE, 3)
        d.cfg_wr(0x80 + 8, 0x8000, 2)
        t.eq('ATS Enable', d.cfg_rd(0x106, 2) >> 15, 0)
        t.eq('PASID Enable', d.cfg_rd(0x10e, 2) & 1, 0)
        t.eq('bus master', d.cfg_rd(0x04, 2) & 4, 0)
        d.setup()
        t.eq('INV_MODE', d.rd(INV_MODE), 3)
        t.eq('SRC', d.rd(SRC), 0)
        t.eq('the ATC', d.rd(ATC_COUNT), 0)


@test('viommu-dma: each reset takes its time', each={'how': ('flr', 'af', 'pm')})
def _(t):
    dma = {'ats': 'on', 'pasid-bits': 16, 'af': 'on', 'pm': 'on'}
    with t.bed(ats=True, atc_timeout_ms=1000, dma=dma) as bed:
        d = bed.d[0]
        bypass(bed)
        af, pm = d.cap(0x13), d.cap(0x01)
        bed.m.step(100 * MS)                              # the reset of the machine
        d.wr(KNOBS, 1 << 7 | 1 << 8)
        d.wr(RESET_MS, 100)
        d.wr(SRC, 1)
        takes = 180 * MS
        if t.p['how'] == 'flr':
            d.cfg_wr(0x80 + 8, 0x8000, 2)
        elif t.p['how'] == 'af':
            d.cfg_wr(af + 4, 1, 1)
        else:
            d.cfg_wr(pm + 4, 3, 2)
            t.eq('D3hot', d.cfg_rd(pm + 4, 2), 3)
            bed.put(atc_inv(d.sid))
            d.cfg_wr(pm + 4, 0, 2)
            takes = 109 * MS
        bed.m.step(takes - MS)
        t.eq('its configuration space', d.cfg_rd(0), 0xffffffff)
        bed.put(atc_inv(d.sid))
        bed.m.step(2 * MS)
        t.eq('its ID', d.cfg_rd(0), 0x11ed1234)
        t.eq('bus master', d.cfg_rd(0x04, 2) & 4, 0)
        d.setup()
        t.eq('SRC', d.rd(SRC), 0)
        t.eq('INVS', d.rd(INVS), 1)
        t.eq('INV_DONE', d.rd(INV_DONE), 0)
        bed.put(atc_inv(d.sid))
        t.eq('INV_DONE afterwards', d.rd(INV_DONE), 1)


@test('viommu-dma: function 1 of a multifunction device')
def _(t):
    with t.bed(devices=(('2.0', ',multifunction=on'), ('2.1', ''))) as bed:
        a, b = bed.d
        t.eq('its StreamID', b.sid, 0x11)
        page = bed.pages()
        tables, ctx = bed.s1()
        tables.map(VA, page)
        bypass(bed, a)
        bed.attach(b, ste(S1, ctx))
        t.eq('function 0', a.read(page), 'ok')
        t.eq('function 1', b.read(VA), 'ok')
        t.eq('function 1 translates', b.read(page), 'abort')


@test('stock SMMU: no ATS, no PASID, no bit of a feature')
def _(t):
    with t.bed() as bed:
        d = bed.d[0]
        bypass(bed)
        page = bed.pages()
        t.eq('IDR0', bed.smmu.rd(IDR0) & (3 << 24 | 3 << 6 | 1 << 10 | 1 << 19 | 1 << 26),
             1 << 24 | 1 << 26)
        t.eq('IDR1.SSIDSIZE', bed.smmu.rd(IDR1) >> 6 & 31, 0)
        t.eq('IDR3.FWB', bed.smmu.rd(IDR3) >> 8 & 1, 0)
        t.eq('IDR5.STALL_MAX', bed.smmu.rd(IDR5) >> 16, 0)
        t.eq('a PASID', d.read(page, pasid=1), 'abort')
        t.eq('a translation request', d.treq(page), 'UR')
        t.eq('a translated access', d.read(page, mode=TRANSLATED), 'abort')
        t.event(bed, 'events')
