# SPDX-License-Identifier: GPL-2.0-only
"""ATC_INVs from a VCMDQ reach the device, and its CMD_SYNC waits for the answer."""

import model
from ats import CERROR_ATC, Setup, VA
from bed import ATS, INV_DELAY, INV_GO, INV_HELD, INV_HOLD, INV_LATE, INV_MODE, INV_NEVER, PAGE
from block import Block, Q_CONFIG, Queue
from harness import test
from machine import MS
from smmuv3 import NSNH_ALL, atc_inv, command, sync

ON = {'machine': ',cmdqv=on', 'ats': True}
VSID = 0x123


def queues(bed, count=2, hyp_own=0):
    """Return running queues of one VINTF, whose virtual StreamID VSID is the first device."""
    block = Block(bed.m, model.BASE, 6, 7, 4)
    block.reset()
    block.vintf_on(1, hyp_own, 1)
    block.set_pair(1, 0, VSID, bed.d[0].sid)
    out = []
    for l in range(count):
        queue = Queue(block, 1, l)
        queue.allocate()
        out.append(queue.start())
    return out


@test('VCMDQ: an ATC_INV reaches the device', each={'hyp_own': (0, 1)})
def _(t):
    with t.bed(**ON) as bed:
        s = Setup(bed)
        q = queues(bed, 1, t.p['hyp_own'])[0]
        s.d.read(VA, mode=ATS, size=2 * PAGE)
        sid = s.d.sid if t.p['hyp_own'] else VSID
        t.eq('error', q.run(atc_inv(sid, VA + PAGE, 0), sync()), 0)
        t.eq('entries', [bool(s.d.probe(VA + i * PAGE)) for i in (0, 1)], [True, False])
        t.eq('the block\'s count', model.get(bed.m, 'atc-invs'), 1)


@test('VCMDQ: CMD_SYNC waits for its own ATC_INVs, other VCMDQs do not')
def _(t):
    with t.bed(**ON) as bed:
        s = Setup(bed)
        a, b = queues(bed)
        s.d.wr(INV_MODE, INV_HOLD)
        a.push(atc_inv(VSID), sync(), sync())
        t.eq('CONS is at CMD_SYNC', a.cons(), 1)
        t.eq('another VCMDQ', b.run(sync()), 0)
        # It collects what became of the VCMDQs' ATC_INVs
        bed.put(command(NSNH_ALL), sync())
        bed.m.step(20 * MS)
        t.eq('it still waits', a.cons(), 1)
        t.ok('the SMMU\'s queue waits, too', not bed.done())
        s.d.wr(INV_GO, 1)
        bed.m.sync()
        t.eq('answered', a.cons(), 3)
        t.eq('no error', a.error(), 0)
        t.ok('the SMMU\'s queue', bed.done())


@test('a CMD_SYNC of the SMMU\'s queue does not wait for later ATC_INVs of VCMDQs')
def _(t):
    with t.bed(**ON) as bed:
        s = Setup(bed)
        q = queues(bed, 1)[0]
        s.d.wr(INV_MODE, INV_LATE)
        s.d.wr(INV_DELAY, 20 * MS)
        q.push(atc_inv(VSID))
        bed.put(sync())
        bed.m.step(15 * MS)
        q.push(atc_inv(VSID))
        t.ok('before the first answer', not bed.done())
        bed.m.step(10 * MS)
        t.ok('after it', bed.done())
        t.eq('an answer is due', s.d.rd(INV_HELD), 1)


@test('a time-out without CMD_SYNC behind it is collected by the SMMU\'s queue')
def _(t):
    with t.bed(atc_timeout_ms=30, **ON) as bed:
        s = Setup(bed)
        q = queues(bed, 1)[0]
        s.d.wr(INV_MODE, INV_NEVER)
        q.push(atc_inv(VSID))
        bed.put(sync())
        bed.m.step(29 * MS)
        t.ok('before', not bed.done())
        bed.m.step(2 * MS)
        t.ok('after', bed.done())
        t.eq('the next user of the VCMDQ', q.run(sync()), 0)


@test('VCMDQ: the time-out is the error of the queue that sent the ATC_INV')
def _(t):
    with t.bed(atc_timeout_ms=30, **ON) as bed:
        s = Setup(bed)
        a, b = queues(bed)
        s.d.wr(INV_MODE, INV_NEVER)
        a.push(atc_inv(VSID), sync())
        b.push(sync())
        bed.m.step(29 * MS)
        t.eq('before', a.error(), 0)
        bed.m.step(2 * MS)
        t.eq('CONS.ERR', a.code(), CERROR_ATC)
        t.ok('GERROR', a.error() & 1)
        t.eq('CONS is at CMD_SYNC', a.cons(), 1)
        t.eq('the other VCMDQ', (b.error(), b.is_done()), (0, True))
        t.eq('the SMMU\'s queue', bed.cmdq_error(), 0)
        a.acknowledge()
        t.eq('recovered', a.settle(), 0)
        t.ok('CMD_SYNC passed', a.is_done())
        s.d.wr(INV_MODE, 0)
        t.eq('later ones', a.run(atc_inv(VSID), sync()), 0)


@test('VCMDQ: a queue that is turned off while CMD_SYNC waits goes off with the answer')
def _(t):
    with t.bed(**ON) as bed:
        s = Setup(bed)
        q = queues(bed, 1)[0]
        s.d.wr(INV_MODE, INV_LATE)
        s.d.wr(INV_DELAY, 20 * MS)
        q.push(atc_inv(VSID), sync())
        q.wr(Q_CONFIG, 0)
        bed.m.step(10 * MS)
        t.eq('EN_OK before the answer', q.en_ok(), 1)
        bed.m.step(15 * MS)
        t.eq('EN_OK after it', q.en_ok(), 0)


@test('the SMMU\'s queue and a VCMDQ do not mix up their time-outs')
def _(t):
    with t.bed(atc_timeout_ms=30, **ON) as bed:
        s = Setup(bed)
        q = queues(bed, 1)[0]
        s.d.wr(INV_MODE, INV_NEVER)
        bed.put(atc_inv(s.d.sid), sync())
        bed.m.step(5 * MS)
        t.eq('the VCMDQ', q.run(sync()), 0)
        bed.m.step(30 * MS)
        t.eq('the SMMU\'s queue', bed.cmdq_error(), CERROR_ATC)
        t.eq('the VCMDQ has no error', q.error(), 0)
