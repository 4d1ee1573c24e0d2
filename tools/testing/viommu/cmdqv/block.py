# SPDX-License-Identifier: GPL-2.0-only
"""Registers of Tegra241 CMDQV, and the steps by which a host driver uses them."""

from machine import MS, SECOND, MachineError
from smmuv3 import sync

# Configuration page
CONFIG, PARAM, STATUS = 0x0000, 0x0004, 0x0008
VI_ERR_MAP, VI_INT_MASK, CMDQ_ERR_MAP = 0x0014, 0x001c, 0x0024
EN = 1

# VINTF block, from vintf(v) on
V_CONFIG, V_STATUS, V_FILTER = 0x00, 0x04, (0x0c, 0x10)
SID_MATCH, SID_REPLACE, LVCMDQ_ERR_MAP_64 = 0x40, 0x80, 0xc0
HYP_OWN = 1 << 17

# Queue, page 0 and page 1
CONS, PROD, Q_CONFIG, Q_STATUS, Q_GERROR, Q_GERRORN = 0x00, 0x04, 0x08, 0x0c, 0x10, 0x14
Q_BASE, CONS_INDX_BASE = 0x00, 0x08
ERR_CMD, ERR_CONS_DRAM, ERR_INIT = 1, 2, 4

# Codes in CONS.ERR
CERROR_NONE, CERROR_ILL, CERROR_ABT, CERROR_ATC, CERROR_FORBIDDEN = 0, 1, 2, 3, 4
REFUSED = (CERROR_ILL, CERROR_FORBIDDEN)


def alloc(q):
    return 0x0200 + 4 * q


def alloc_value(v, logical, on=1):
    return on | logical << 1 | v << 15


def vintf(v):
    return 0x1000 + 0x100 * v


def direct(q, page=0):
    return 0x10000 + 0x10000 * page + 0x80 * q


def logical(v, l, page=0):
    return 0x30000 + 0x20000 * v + 0x10000 * page + 0x80 * l


class Stuck(MachineError):
    """A condition did not come true within the virtual time it has."""


class Block:
    def __init__(self, machine, base, log2_vintfs, log2_vcmdqs, log2_sids):
        self.m, self.base = machine, base
        self.vintfs, self.vcmdqs = 1 << log2_vintfs, 1 << log2_vcmdqs
        self.sids = 1 << log2_sids
        self.per_vintf = self.vcmdqs // self.vintfs
        self.size = 0x30000 + 0x20000 * self.vintfs

    def rd(self, offset, size=4):
        return self.m.read(self.base + offset, size)

    def wr(self, offset, value, size=4):
        self.m.write(self.base + offset, value, size)

    def rd_many(self, offsets):
        answers = self.m.many([f'readl {self.base + o:#x}' for o in offsets])
        return [int(a[0], 0) for a in answers]

    def wait(self, what, condition, limit=20 * SECOND, most=50 * MS):
        """Step the clock, first by 1 us, at the end by @most, until @condition is true."""
        passed, ns = 0, MS // 1000
        while not condition():
            if passed > limit:
                raise Stuck(f'{what}: not within {limit // MS} ms of virtual time')
            self.m.step(ns)
            passed += ns
            ns = min(2 * ns, most)

    def poll(self, offset, want, what, mask=1):
        self.wait(what, lambda: self.rd(offset) & mask == want)

    # ---- The block ----

    def set_enable(self, on):
        self.wr(CONFIG, self.rd(CONFIG) & ~EN | on)
        self.poll(STATUS, on, f'block STATUS {on}')

    def reset(self):
        """Turn the block off and on. Afterwards nothing is allocated."""
        self.set_enable(0)
        self.set_enable(1)

    def vi_err_map(self):
        return self.rd(VI_ERR_MAP) | self.rd(VI_ERR_MAP + 4) << 32

    def cmdq_err_map(self):
        return sum(self.rd(CMDQ_ERR_MAP + 4 * i) << 32 * i for i in range(4))

    def lvcmdq_err_map(self, v):
        return (self.rd(vintf(v) + LVCMDQ_ERR_MAP_64, 8) |
                self.rd(vintf(v) + LVCMDQ_ERR_MAP_64 + 8, 8) << 64)

    def maps(self, v):
        """All three error maps, the last for VINTF @v."""
        return self.vi_err_map(), self.cmdq_err_map(), self.lvcmdq_err_map(v)

    # ---- VINTFs ----

    def vintf_on(self, v, hyp_own=0, vmid=0):
        value = vmid << 1 | (HYP_OWN if hyp_own else 0)
        self.wr(vintf(v) + V_CONFIG, value)
        self.wr(vintf(v) + V_CONFIG, value | EN)
        self.poll(vintf(v) + V_STATUS, 1, f'VINTF {v} on')

    def vintf_off(self, v):
        self.wr(vintf(v) + V_CONFIG, self.rd(vintf(v) + V_CONFIG) & ~EN)
        self.poll(vintf(v) + V_STATUS, 0, f'VINTF {v} off')

    def set_pair(self, v, s, vsid, psid):
        self.wr(vintf(v) + SID_REPLACE + 4 * s, psid)
        self.wr(vintf(v) + SID_MATCH + 4 * s, vsid << 1 | 1)

    def clear_pair(self, v, s):
        self.wr(vintf(v) + SID_MATCH + 4 * s, 0)
        self.wr(vintf(v) + SID_REPLACE + 4 * s, 0)

    def number(self, v, l):
        """The VCMDQ that Linux gives to logical queue @l of VINTF @v."""
        return v * self.per_vintf + l


class Queue:
    """One VCMDQ, its ring of commands in memory, and one of its two views."""

    RINGS = 0x44000000

    def __init__(self, block, v, l, log2=4, q=None, ring=None, view='logical'):
        self.b, self.m = block, block.m
        self.v, self.l, self.log2 = v, l, log2
        self.q = block.number(v, l) if q is None else q
        self.ring = self.RINGS + 0x10000 * self.q if ring is None else ring
        self.index = 0
        self.look(view)

    def __str__(self):
        return f'VCMDQ {self.q} (VINTF {self.v} queue {self.l})'

    def look(self, view):
        if view == 'logical':
            self.page = [logical(self.v, self.l, p) for p in (0, 1)]
        else:
            self.page = [direct(self.q, p) for p in (0, 1)]

    def rd(self, reg):
        return self.b.rd(self.page[0] + reg)

    def wr(self, reg, value):
        self.b.wr(self.page[0] + reg, value)

    def base(self):
        return self.b.rd(self.page[1] + Q_BASE, 8)

    def set_base(self, value=None):
        self.b.wr(self.page[1] + Q_BASE, self.ring | self.log2 if value is None else value, 8)

    def cons(self):
        return self.rd(CONS) & 0xfffff

    def code(self):
        return self.rd(CONS) >> 24 & 0x7f

    def en_ok(self):
        return self.rd(Q_STATUS) & 1

    def error(self):
        """The bits of GERROR that are active."""
        return self.rd(Q_GERROR) ^ self.rd(Q_GERRORN)

    def acknowledge(self):
        self.wr(Q_GERRORN, self.rd(Q_GERROR))

    # ---- What drivers do ----

    def allocate(self, on=1):
        self.b.wr(alloc(self.q), alloc_value(self.v, self.l, on))

    def is_allocated(self):
        return self.b.rd(alloc(self.q)) & 1

    def reset(self):
        self.wr(Q_CONFIG, 0)
        self.b.poll(self.page[0] + Q_STATUS, 0, f'{self} off')
        for page, reg, size in ((0, PROD, 4), (0, CONS, 4), (1, Q_BASE, 8), (1, CONS_INDX_BASE, 8)):
            self.b.wr(self.page[page] + reg, 0, size)
        if self.error():
            self.acknowledge()
        self.index = 0

    def enable(self):
        self.wr(Q_CONFIG, EN)
        self.b.poll(self.page[0] + Q_STATUS, 1, f'{self} on')

    def start(self):
        self.reset()
        self.set_base()
        self.enable()
        return self

    # ---- Commands ----

    def slot(self, index):
        return self.ring + 16 * (index & (1 << self.log2) - 1)

    def put(self, *commands):
        """Write commands to the ring; nothing tells the queue of them yet."""
        for c in commands:
            self.m.store(self.slot(self.index), c)
            self.index = self.index + 1 & (2 << self.log2) - 1
        return self.index

    def kick(self):
        self.wr(PROD, self.index)

    def push(self, *commands):
        self.put(*commands)
        self.kick()

    def is_done(self):
        return self.cons() == self.index

    def settle(self):
        """Wait until the queue has executed everything or stops with an error."""
        self.b.wait(f'{self} executes', lambda: self.error() or self.is_done())
        return self.code() if self.error() else CERROR_NONE

    def run(self, *commands):
        self.push(*commands)
        return self.settle()

    def skip(self):
        """Recover like Linux: CMD_SYNC in place of the command at CONS, acknowledge."""
        self.m.store(self.slot(self.cons()), sync())
        self.acknowledge()
