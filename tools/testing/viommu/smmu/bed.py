# SPDX-License-Identifier: GPL-2.0-only
"""A machine whose SMMUv3 has what servers have, tables in its memory, viommu-dma devices.

Layouts: IHI0070 5.2 (STE), 5.4 (CD), 7.3 (events), 6.3 (registers); DDI0487 D8.3 (entries).
"""

import contextlib
import struct

import harness
from machine import MachineError, Machine
from smmuv3 import (CMDQ_CONS, ECAM, EVENTQ, EVENTQ_CONS, EVENTQ_LOG2, EVENTQ_PROD, GERROR,
                    GERRORN, PCI_MMIO, RAM, RAM_SIZE, STRTAB, Smmu)

IDR0, IDR1, IDR3, IDR5 = 0x00, 0x04, 0x0c, 0x14
GBPA = 0x44
ATSCHK = 1 << 4

# What stage 2 adds to no address by chance: IPA = PA + SHIFT
SHIFT = 0x40000000
PAGE = 0x1000

# ---- Events, 7.3 ----

C_BAD_STREAMID, F_STE_FETCH, C_BAD_STE, F_BAD_ATS_TREQ = 0x02, 0x03, 0x04, 0x05
F_STREAM_DISABLED, F_TRANSL_FORBIDDEN, C_BAD_SUBSTREAMID, F_CD_FETCH = 0x06, 0x07, 0x08, 0x09
C_BAD_CD, F_WALK_EABT = 0x0a, 0x0b
F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION = 0x10, 0x11, 0x12, 0x13
CLASS_CD, CLASS_TT, CLASS_IN = 0, 1, 2


class Event:
    """An event record; fields that its kind does not have are 0."""

    def __init__(self, data):
        w = struct.unpack('<8I', data)
        self.kind, self.ssv, self.ssid = w[0] & 0xff, w[0] >> 11 & 1, w[0] >> 12
        self.sid, self.stag, self.stall = w[1], w[2] & 0xffff, w[2] >> 31
        self.pnu, self.ind, self.rnw = w[3] >> 1 & 1, w[3] >> 2 & 1, w[3] >> 3 & 1
        self.s2, self.klass = w[3] >> 7 & 1, w[3] >> 8 & 3
        self.addr, self.addr2 = w[4] | w[5] << 32, w[6] | w[7] << 32

    def __repr__(self):
        return 'event ' + ' '.join(f'{k}={v:#x}' for k, v in vars(self).items() if v)

    def has(self, **fields):
        fields = {('klass' if k == 'class_' else k): v for k, v in fields.items()}
        return all(getattr(self, k) == v for k, v in fields.items())


# ---- Tables ----

AF, DBM, RO, XN = 1 << 10, 1 << 51, 1 << 7, 1 << 54
S2R, S2W = 1 << 6, 1 << 7


class Tables:
    """Translation tables of 4 KiB pages for 39 bits, from level 1.

    @ipa: addresses in the tables are those of stage 2's input
    """

    def __init__(self, bed, stage2=False, ipa=False):
        self.bed, self.stage2, self.shift = bed, stage2, SHIFT if ipa else 0
        self.root = bed.pages()
        self.tables = {}

    def attributes(self):
        if self.stage2:
            return 0xf << 2 | S2R | S2W | 3 << 8 | AF
        return 1 << 6 | 3 << 8 | AF                       # AttrIndx 0

    def slot(self, va, level):
        """Where the descriptor of @va at @level is; make the tables above it."""
        table = self.root
        for l in range(1, level):
            slot = table + 8 * (va >> (39 - 9 * l) & 511)
            if slot not in self.tables:
                self.tables[slot] = self.bed.pages()
                self.bed.store64(slot, self.tables[slot] + self.shift | 3)
            table = self.tables[slot]
        return table + 8 * (va >> (39 - 9 * level) & 511)

    def map(self, va, pa, level=3, add=0, remove=0):
        """Map one page or block. Return where its descriptor is."""
        slot = self.slot(va, level)
        self.bed.store64(slot, (pa | self.attributes() | add) & ~remove | (3 if level == 3 else 1))
        return slot

    def unmap(self, va, level=3):
        self.bed.store64(self.slot(va, level), 0)


def cd(tables, asid, ipa=False, mair=0xff, s=0, r=1, a=1, ha=0, hd=0, affd=0, valid=1):
    # 39 bits of VA, 4 KiB pages, no TTB1; AA64, ASET; 44 bits of output
    return struct.pack('<QQQQ', 25 | 1 << 30 | valid << 31 | 4 << 32 | affd << 35 | 1 << 41 |
                       hd << 42 | ha << 43 | s << 44 | r << 45 | a << 46 | 1 << 47 | asid << 48,
                       tables.root + (SHIFT if ipa else 0), 0, mair) + bytes(32)


BYPASS, S1, S2, NESTED = 4, 5, 6, 7


def ste(config, ctx=0, s2=None, vmid=1, cdmax=0, fmt=0, dss=0, eats=0, stalld=0, s2s=0, s2r=1,
        fwb=0, s2ha=0, s2hd=0, valid=1):
    # Stage 2: 39 bits of IPA from level 1, 4 KiB pages, 44 bits of PA
    return struct.pack('<QQQQ', valid | config << 1 | fmt << 4 | ctx | cdmax << 59,
                       dss | fwb << 25 | stalld << 27 | eats << 28 | 1 << 44,
                       vmid | 25 << 32 | 1 << 38 | 4 << 48 | 1 << 51 | s2hd << 55 | s2ha << 56 |
                       s2s << 57 | s2r << 58, s2.root if s2 else 0) + bytes(32)


# ---- The device ----

(OP_READ, OP_WRITE, OP_COMPARE, OP_COPY, OP_FILL, OP_CHECK, OP_TREQ, OP_PROBE) = range(1, 9)
(OK, ABORT, MISMATCH, DENIED, UR, CA, ATS_OFF, BAD_DESC, NO_MASTER, MEMORY, PASID_OFF, CANCELLED,
 MISS) = range(13)
NAMES = ('ok abort mismatch denied UR CA ats-off bad-desc no-master memory pasid-off cancelled '
         'miss').split()
STALLED, BUSY = 'stalled', 'busy'
UNTRANSLATED, ATS, TRANSLATED = 0, 1, 2
WRITE_TREQ = 1 << 5
ID, CAPS, CTRL, STATUS, RESULT, RESULT2, FAULT, RESET = range(0, 0x40, 8)
SRC, DST, LEN, BUF, FLAGS, PASID, SEED, CMD = range(0x40, 0x80, 8)
(S_SRC, S_DST, S_LEN, S_PERIOD, S_FLAGS, S_PASID, S_SEED, S_CTRL, S_STATUS, S_LAPS, S_BAD,
 S_FAULTS, S_SUM, S_EXPECT, S_ERRADDR) = range(0x80, 0xf8, 8)
(ATC_COUNT, ATC_HITS, TREQS, TREQ_OK, INVS, INV_DONE, INV_MODE, INV_DELAY, INV_HELD, INV_GO, KNOBS,
 INV_ADDR, INV_INFO, TXNS, STALLS, RESET_MS) = range(0x100, 0x180, 8)
INV_NOW, INV_LATE, INV_NEVER, INV_HOLD = range(4)
BUFFER = 0x10000
MASK64 = (1 << 64) - 1


def fnv(data):
    total = 0xcbf29ce484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001b3 & MASK64
    return total


def pattern(seed, size):
    out = b''
    for i in range((size + 7) // 8):
        word = (seed + i) * 0x9e3779b97f4a7c15 & MASK64
        word = (word ^ word >> 29) * 0xbf58476d1ce4e5b9 & MASK64
        out += struct.pack('<Q', word)
    return out[:size]


class Vdma:
    """viommu-dma in a PCI slot."""

    def __init__(self, machine, name, devfn):
        self.m, self.sid = machine, devfn
        self.path = f'/machine/peripheral/{name}'
        self.bar = PCI_MMIO + devfn * 0x100000
        self.config = ECAM + (devfn << 12)
        if machine.read(self.config, 4) != 0x11ed1234:
            raise MachineError(f'no viommu-dma at {devfn:#x}')
        self.setup()

    def setup(self, ats=True, pasid=True):
        self.cfg_wr(0x10, self.bar & 0xffffffff)
        self.cfg_wr(0x14, self.bar >> 32)
        self.cfg_wr(0x04, 0x6, 2)
        if ats and self.rd(CAPS) & 1:
            self.cfg_wr(0x106, 0x8000, 2)
        if pasid and self.rd(CAPS) & 2:
            self.cfg_wr(0x10e, 1, 2)

    def cfg_wr(self, offset, value, size=4):
        self.m.write(self.config + offset, value, size)

    def cfg_rd(self, offset, size=4):
        return self.m.read(self.config + offset, size)

    def cap(self, number):
        """Where the capability is in the configuration space."""
        where = self.cfg_rd(0x34, 1)
        while where and self.cfg_rd(where, 1) != number:
            where = self.cfg_rd(where + 1, 1)
        return where

    def rd(self, reg):
        return self.m.read(self.bar + reg, 8)

    def wr(self, reg, value):
        self.m.write(self.bar + reg, value, 8)

    def start(self, op, src=0, dst=0, size=8, mode=UNTRANSLATED, pasid=None, dst_mode=None,
              dst_pasid=None, flags=0, buf=0, seed=0):
        """Start a command. The destination is accessed like the source."""
        if dst_mode is None:
            dst_mode, dst_pasid = mode, pasid

        def half(m, p):
            return m | flags | (0 if p is None else 1 << 2)
        regs = ((SRC, src), (DST, dst), (LEN, size), (BUF, buf),
                (FLAGS, half(mode, pasid) | half(dst_mode, dst_pasid) << 8),
                (PASID, (pasid or 0) | (dst_pasid or 0) << 32), (SEED, seed), (CMD, op))
        self.m.many([f'writeq {self.bar + r:#x} {v:#x}' for r, v in regs])

    def state(self):
        status = self.rd(STATUS)
        if status & 4:
            return STALLED
        if status & 1:
            return BUSY
        return NAMES[status >> 8 & 0xff] if status & 2 else 'idle'

    def run(self, op, *args, **kwargs):
        self.start(op, *args, **kwargs)
        return self.state()

    def read(self, addr, **kwargs):
        return self.run(OP_READ, src=addr, **kwargs)

    def write(self, addr, **kwargs):
        return self.run(OP_WRITE, dst=addr, **kwargs)

    def treq(self, addr, **kwargs):
        """Return the outcome, or (address, size, 'r', 'w', 'rw' or '')."""
        state = self.run(OP_TREQ, src=addr, **kwargs)
        return self.translation() if state == 'ok' else state

    def probe(self, addr, **kwargs):
        state = self.run(OP_PROBE, src=addr, **kwargs)
        return self.translation() if state == 'ok' else None

    def translation(self):
        info = self.rd(RESULT2)
        perm = ('r' if info & 1 else '') + ('w' if info & 2 else '')
        return self.rd(RESULT), 1 << (info >> 8 & 0xff), perm

    def buffer(self, size, offset=0):
        return self.m.load(self.bar + BUFFER + offset, size)

    def fill(self, data, offset=0):
        self.m.store(self.bar + BUFFER + offset, data)


# ---- The machine ----

class Bed:
    """A started SMMU and its devices; memory from @next_page on is free."""

    def __init__(self, binary, properties, devices, machine='', extra=(), dma=None):
        self.binary = binary
        props = {'stage': 'nested', **properties}
        args = ['-M', 'virt,iommu=smmuv3,gic-version=3,its=on' + machine, '-cpu', 'cortex-a57',
                '-m', f'{RAM_SIZE >> 20}M']
        runtime = {}
        for name, value in props.items():
            if name in ('ste-nocache', 'cd-nocache', 'stall-self', 'atc-timeout-ms'):
                runtime[name] = value
            else:
                if isinstance(value, bool):
                    value = 'on' if value else 'off'
                args += ['-global', f'arm-smmuv3.{name}={value}']
        for name, value in (dma or {'ats': 'on', 'pasid-bits': 20}).items():
            args += ['-global', f'viommu-dma.{name}={value}']
        for i, (addr, more) in enumerate(devices):
            args += ['-device', f'viommu-dma,id=d{i},addr={addr}{more}']
        self.m = Machine(binary, args + list(extra))
        try:
            for name, value in runtime.items():
                self.m.qom_set(self.smmu_path(), name, value)
            self.next_page = RAM + 0x1000000
            self.smmu = Smmu(self.m)
            self.smmu.start()
            self.seen = 0
            self.d = []
            for i, (addr, _more) in enumerate(devices):
                slot, function = addr.split('.') if '.' in addr else (addr, '0')
                self.d.append(Vdma(self.m, f'd{i}', int(slot, 16) << 3 | int(function)))
        except BaseException:
            self.m.stop()
            raise

    def smmu_path(self):
        if not hasattr(self, '_path'):
            for child in self.m.execute('qom-list', path='/machine/unattached'):
                if child['type'] == 'child<arm-smmuv3>':
                    self._path = '/machine/unattached/' + child['name']
        return self._path

    def counter(self, name):
        text = self.m.qom_get(self.smmu_path(), 'counters')
        return int(dict(x.split('=') for x in text.split())[name])

    def pages(self, count=1):
        addr = self.next_page
        self.next_page += count * PAGE
        self.m.fill(addr, count * PAGE, 0)
        return addr

    def store64(self, addr, value):
        self.m.store(addr, struct.pack('<Q', value))

    def load64(self, addr):
        return struct.unpack('<Q', self.m.load(addr, 8))[0]

    def attach(self, device, data):
        """Write the STE, and forget what was cached of it and of the TLB."""
        self.smmu.attach(device.sid, data)

    def write_ste(self, device, data):
        self.m.store(STRTAB + 64 * device.sid, data)

    def cmd(self, *commands):
        """Run commands on the SMMU's queue. Return the error's number, 0 for none."""
        return self.smmu.own(*commands)

    def put(self, *commands):
        """Queue commands, do not wait for them."""
        self.smmu.push(*commands)

    def done(self):
        cons = self.smmu.rd(CMDQ_CONS)
        return cons & 0xfffff == self.smmu.prod

    def cmdq_error(self):
        if not (self.smmu.rd(GERROR) ^ self.smmu.rd(GERRORN)) & 1:
            return 0
        return self.smmu.rd(CMDQ_CONS) >> 24 & 0x7f

    def events(self):
        """Return the new events, and make room for others."""
        prod = self.smmu.rd(EVENTQ_PROD)
        out = []
        while self.seen != prod & ((2 << EVENTQ_LOG2) - 1):
            index = self.seen & ((1 << EVENTQ_LOG2) - 1)
            out.append(Event(self.m.load(EVENTQ + 32 * index, 32)))
            self.seen = self.seen + 1 & ((2 << EVENTQ_LOG2) - 1)
        self.smmu.wr(EVENTQ_CONS, self.seen | prod & 1 << 31)
        return out

    # ---- Usual configurations. Each maps VA at @va to a page of its own. ----

    def identity_s2(self):
        """Stage 2 that maps all of RAM with one block."""
        s2 = Tables(self, stage2=True)
        s2.map(RAM + SHIFT, RAM, level=1)
        return s2

    def s1(self, asid=3, ipa=False, **fields):
        """Return tables, and the address of their CD."""
        tables = Tables(self, ipa=ipa)
        where = self.pages()
        self.m.store(where, cd(tables, asid, ipa=ipa, **fields))
        return tables, where


class Context(harness.Context):
    """What a test sees."""

    def event(self, bed, what, *wanted):
        """The new events have these fields, and there are no others."""
        events = bed.events()
        if len(events) != len(wanted) or \
           not all(e.has(**w) for e, w in zip(events, wanted)):
            self.note(f'{what}: {events}, expected {list(wanted)}')
        return events

    @contextlib.contextmanager
    def bed(self, devices=(('1', ''),), machine='', extra=(), dma=None, **properties):
        merged = {k.replace('_', '-'): v for k, v in properties.items()}
        merged.update(self.knobs)
        knobs = None
        if self.mutation:
            name, value = self.mutation.split('=')
            if name == 'knobs':
                knobs = int(value)
            elif name in ('ste-nocache', 'cd-nocache', 'stall-self'):
                merged[name] = True
        bed = Bed(self.binary, merged, devices, machine, extra, dma)
        try:
            if knobs is not None:
                for d in bed.d:
                    d.wr(KNOBS, knobs)
            if self.mutation and self.mutation.startswith('inv-mode='):
                for d in bed.d:
                    d.wr(INV_MODE, int(self.mutation.split('=')[1]))
                    d.wr(INV_DELAY, 50000000)
            yield bed
        finally:
            bed.m.stop()
