# SPDX-License-Identifier: GPL-2.0-only
"""The emulated SMMUv3, two stages of tables in guest memory, and edu devices.

Where a command must or must not act on the TLB, a test has a device write through an
IOVA before and after it, and looks which page the data reached: the page the tables
name now (fresh), or the one they named when the device used the IOVA last (stale).
Register, STE, CD and command layouts: IHI0070 6.3, 5.2, 5.4, 4.
"""

import struct

from machine import MS, MachineError

BASE = 0x09050000
CR0, CR0ACK, CR1, CR2 = 0x20, 0x24, 0x28, 0x2c
GERROR, GERRORN = 0x60, 0x64
IDR1 = 0x04
STRTAB_BASE, STRTAB_BASE_CFG = 0x80, 0x88
CMDQ_BASE, CMDQ_PROD, CMDQ_CONS = 0x90, 0x98, 0x9c
EVENTQ_BASE, EVENTQ_PROD, EVENTQ_CONS = 0xa0, 0x100a8, 0x100ac
SMMUEN, EVENTQEN, CMDQEN = 1 << 0, 1 << 2, 1 << 3

RAM = 0x40000000
RAM_SIZE = 0x10000000
STRTAB = RAM + 0x10000
CMDQ = RAM + 0x20000
EVENTQ = RAM + 0x30000
CMDQ_LOG2, EVENTQ_LOG2, STRTAB_LOG2 = 8, 7, 6
# Stage 2 shifts all addresses: an address of a guest that is used as a physical one,
# or the other way round, does not work by chance.
IPA = 0x80000000 - RAM
VA = 0x400000

PCI_MMIO = 0x10000000
ECAM = 0x4010000000


# ---- Commands: 128 bits as two words ----

PREFETCH_CFG, PREFETCH_ADDR = 0x01, 0x02
CFGI_STE, CFGI_ALL, CFGI_CD, CFGI_CD_ALL = 0x03, 0x04, 0x05, 0x06
NH_ALL, NH_ASID, NH_VA, NH_VAA = 0x10, 0x11, 0x12, 0x13
EL3_ALL, EL3_VA = 0x18, 0x1a
EL2_ALL, EL2_ASID, EL2_VA, EL2_VAA = 0x20, 0x21, 0x22, 0x23
S12_VMALL, S2_IPA, NSNH_ALL = 0x28, 0x2a, 0x30
ATC_INV, PRI_RESP, RESUME, STALL_TERM, CMD_SYNC = 0x40, 0x41, 0x44, 0x45, 0x46
SYNC_NONE, SYNC_IRQ, SYNC_SEV = 0, 1, 2


def command(opcode, word0=0, word1=0):
    return struct.pack('<QQ', opcode | word0, word1)


def tlbi_va(vmid, asid, va, leaf=1, opcode=NH_VA, tg=0, ttl=0, num=0, scale=0):
    return command(opcode, vmid << 32 | asid << 48 | num << 12 | scale << 20,
                   va | leaf | tg << 10 | ttl << 8)


def tlbi_asid(vmid, asid, opcode=NH_ASID):
    return command(opcode, vmid << 32 | asid << 48)


def atc_inv(sid, addr=0, size=52, ssid=None, glob=0):
    ssv = 0 if ssid is None else 1 << 11 | ssid << 12
    return command(ATC_INV, sid << 32 | glob << 9 | ssv, addr | size)


def sync(cs=SYNC_NONE, msi_addr=0, msi_data=0, msh=0, msiattr=0):
    return command(CMD_SYNC, cs << 12 | msh << 22 | msiattr << 24 | msi_data << 32, msi_addr)


# ---- Tables ----

class Guest:
    """Stage 1 and stage 2 tables for one device: one ASID of one VMID.

    IOVA slots 0..255 are pages from VA on. Each has two pages, 0 and 1, of memory.
    """

    def __init__(self, machine, number, vmid, asid):
        self.m = machine
        self.vmid, self.asid = vmid, asid
        base = RAM + 0x1000000 + number * 0x400000
        self.s2, self.cd, self.l1, self.l2, self.l3 = (base + i * 0x1000 for i in range(5))
        self.data = base + 0x100000
        # The other tables of the same device: the same slots, but pages 2 and 3.
        self.m.store(self.s2 + 8 * (0x80000000 >> 30),
                     struct.pack('<Q', RAM | 0x1 | 0xf << 2 | 3 << 6 | 3 << 8 | 1 << 10))
        self.m.store(self.l1, struct.pack('<Q', self.l2 + IPA | 3))
        self.m.store(self.l2 + 8 * (VA >> 21), struct.pack('<Q', self.l3 + IPA | 3))
        self.m.store(self.cd, struct.pack('<QQ', self.cd_word0(), self.l1 + IPA) + bytes(48))
        self.m.store(self.l3, b''.join(self.pte(slot, 0) for slot in range(256)))

    def cd_word0(self):
        # 39 bits of VA, 4 KiB pages, no TTB1; AA64, R, A, ASET; 40 bits of IPA
        return (25 | 1 << 30 | 1 << 31 | 2 << 32 | 1 << 41 | 1 << 45 | 1 << 46 | 1 << 47 |
                self.asid << 48)

    def page(self, slot, which):
        return self.data + (slot * 2 + which) * 0x1000

    def pte(self, slot, which):
        return struct.pack('<Q', self.page(slot, which) + IPA | 3 | 1 << 6 | 3 << 8 | 1 << 10)

    def point(self, slot, which):
        """Change the table in memory; what was cached is stale after it."""
        self.m.store(self.l3 + 8 * slot, self.pte(slot, which))

    def ste(self, config=7):
        # 39 bits of IPA from level 1, 4 KiB pages, 44 bits of PA; AA64, AFFD, R
        return struct.pack('<QQQQ', 1 | config << 1 | self.cd + IPA, 1 << 44,
                           self.vmid | 25 << 32 | 1 << 38 | 4 << 48 | 1 << 51 | 1 << 53 | 1 << 58,
                           self.s2) + bytes(32)


class Edu:
    """QEMU's teaching device in a PCI slot: it copies between memory and its buffer."""

    def __init__(self, machine, slot):
        self.m = machine
        self.sid = slot << 3
        self.bar = PCI_MMIO + slot * 0x100000
        config = ECAM + (slot << 15)
        if machine.read(config, 4) != 0x11e81234:
            raise MachineError(f'no edu device in PCI slot {slot}')
        machine.write(config + 0x10, self.bar, 4)
        machine.write(config + 0x04, 0x6, 2)

    def dma_write(self, iova):
        """Write 8 zero bytes to @iova. It takes 100 ms of virtual time."""
        regs = ((0x80, 0x40000), (0x88, iova), (0x90, 8), (0x98, 3))
        self.m.many([f'writeq {self.bar + r:#x} {v:#x}' for r, v in regs])
        self.m.ask(f'clock_step {100 * MS}')


class Smmu:
    """The SMMU's registers, its own queues and its stream table."""

    def __init__(self, machine):
        self.m = machine
        self.prod = 0
        self.cr0 = SMMUEN | EVENTQEN | CMDQEN

    def rd(self, reg):
        return self.m.read(BASE + reg, 4)

    def wr(self, reg, value):
        self.m.write(BASE + reg, value, 4)

    def set_cr0(self, value):
        self.wr(CR0, value)
        if self.rd(CR0ACK) != value:
            raise MachineError(f'SMMU: CR0 {value:#x}, CR0ACK {self.rd(CR0ACK):#x}')

    def start(self):
        self.m.write(BASE + STRTAB_BASE, STRTAB, 8)
        self.wr(STRTAB_BASE_CFG, STRTAB_LOG2)
        self.m.write(BASE + CMDQ_BASE, CMDQ | CMDQ_LOG2, 8)
        self.m.write(BASE + EVENTQ_BASE, EVENTQ | EVENTQ_LOG2, 8)
        for reg in (CMDQ_PROD, CMDQ_CONS, EVENTQ_PROD, EVENTQ_CONS):
            self.wr(reg, 0)
        self.prod = 0
        self.set_cr0(CMDQEN)
        self.set_cr0(self.cr0)

    def attach(self, sid, ste):
        """Write the STE and forget what the SMMU cached of it."""
        self.m.store(STRTAB + 64 * sid, ste)
        self.own(command(CFGI_STE, sid << 32, 1), command(NSNH_ALL), sync())

    def push(self, *commands):
        for c in commands:
            self.m.store(CMDQ + 16 * (self.prod & (1 << CMDQ_LOG2) - 1), c)
            self.prod = self.prod + 1 & (2 << CMDQ_LOG2) - 1
        self.wr(CMDQ_PROD, self.prod)

    def own(self, *commands):
        """Run commands on the SMMU's own queue. Return its error code, 0 for none.

        After an error, replace the command by CMD_SYNC and acknowledge.
        """
        self.push(*commands)
        code = 0
        for _ in range(10000):
            cons = self.rd(CMDQ_CONS)
            if (self.rd(GERROR) ^ self.rd(GERRORN)) & 1:
                code = cons >> 24 & 0x7f
                self.m.store(CMDQ + 16 * (cons & (1 << CMDQ_LOG2) - 1), sync())
                self.wr(GERRORN, self.rd(GERROR))
                self.wr(CMDQ_PROD, self.prod)
            elif cons & 0xfffff == self.prod:
                return code
            else:
                self.m.step()
        raise MachineError(f'SMMU: its own queue hangs, PROD {self.prod:#x} CONS {cons:#x}')


class Testbed:
    """An SMMU that runs, and devices that translate, each through its own tables."""

    # Three guests with the same ASID and the same IOVAs, told apart by VMID only
    VMIDS = (5, 7, 11)
    ASID = 3

    def __init__(self, machine, devices=2):
        self.m = machine
        self.smmu = Smmu(machine)
        self.smmu.start()
        self.edu = [Edu(machine, 1 + i) for i in range(devices)]
        self.guest = [Guest(machine, i, self.VMIDS[i], self.ASID) for i in range(devices)]
        for edu, guest in zip(self.edu, self.guest):
            self.smmu.attach(edu.sid, guest.ste())

    def where(self, i, slot):
        """Return the page (0, 1) that device @i reaches through @slot, None if neither."""
        guest, pages = self.guest[i], []
        for which in (0, 1):
            self.m.fill(guest.page(slot, which), 8, 0xff)
        self.edu[i].dma_write(VA + slot * 0x1000)
        for which in (0, 1):
            data = self.m.load(guest.page(slot, which), 8)
            if data == bytes(8):
                pages.append(which)
            elif data != b'\xff' * 8:
                raise MachineError(f'page {which} of slot {slot}: {data.hex()}')
        return pages[0] if len(pages) == 1 else None

    def make_stale(self, i, *slots):
        """Have the SMMU cache slots of device @i, then point the table elsewhere.

        What it caches of the other devices stays.
        """
        for slot in slots:
            self.guest[i].point(slot, 0)
        self.smmu.own(tlbi_asid(self.guest[i].vmid, self.guest[i].asid), sync())
        for slot in slots:
            if self.where(i, slot) != 0:
                raise MachineError(f'device {i} does not reach its page through slot {slot}')
            self.guest[i].point(slot, 1)

    def is_fresh(self, i, slot):
        """Tell whether what make_stale() left in the TLB was invalidated since."""
        page = self.where(i, slot)
        if page is None:
            raise MachineError(f'device {i} reaches no page through slot {slot}')
        return page == 1
