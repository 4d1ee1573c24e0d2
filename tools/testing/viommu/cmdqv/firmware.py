# SPDX-License-Identifier: GPL-2.0-only
"""ACPI tables of the machine, read from fw_cfg as firmware does."""

import struct

from machine import MachineError

FW_CFG = 0x09020000
FILE_DIR = 0x19


def fw_cfg(machine, key, size):
    # The selector is big-endian, data come byte by byte.
    machine.write(FW_CFG + 8, (key & 0xff) << 8 | key >> 8, 2)
    return bytes(int(a[0], 0) for a in machine.many([f'readb {FW_CFG:#x}'] * size))


def fw_cfg_file(machine, name):
    count = struct.unpack('>I', fw_cfg(machine, FILE_DIR, 4))[0]
    files = fw_cfg(machine, FILE_DIR, 4 + 64 * count)[4:]
    for i in range(count):
        size, key, _reserved, found = struct.unpack('>IHH56s', files[64 * i:64 * i + 64])
        if found.rstrip(b'\0').decode() == name:
            return fw_cfg(machine, key, size)
    raise MachineError(f'fw_cfg has no file {name}')


def acpi_tables(machine):
    """Return the tables as a list of (signature, bytes)."""
    blob, tables, at = fw_cfg_file(machine, 'etc/acpi/tables'), [], 0
    while at + 36 <= len(blob):
        size = struct.unpack_from('<I', blob, at + 4)[0]
        if blob[at:at + 4].isalnum() and 36 <= size <= len(blob) - at:
            tables.append((blob[at:at + 4].decode(), blob[at:at + size]))
            at += size
        else:
            # Tables are aligned, with zeros in between
            at += 1
    return tables


def iort_smmu_identifiers(machine):
    """Return the identifier field of each SMMUv3 node."""
    iort = [t for s, t in acpi_tables(machine) if s == 'IORT'][0]
    count, at = struct.unpack_from('<II', iort, 36)
    found = []
    for _ in range(count):
        kind, size, _revision, identifier = struct.unpack_from('<BHBI', iort, at)
        if kind == 4:
            found.append(identifier)
        at += size
    return found


def package_length(aml, at):
    """Return the length of the package at @at, counted from there."""
    lead = aml[at]
    if lead < 0x40:
        return lead
    return lead & 0xf | sum(aml[at + 1 + i] << 4 + 8 * i for i in range(lead >> 6))


def devices_with_hid(machine, hid):
    """Return the AML of each device of the DSDT and the SSDTs with this _HID."""
    found = []
    for signature, table in acpi_tables(machine):
        if signature in ('DSDT', 'SSDT'):
            at = table.find(b'\x5b\x82')
            while at >= 0:
                body = table[at + 2:at + 2 + package_length(table, at + 2)]
                if b'\x08_HID\x0d' + hid.encode() + b'\0' in body:
                    found.append(body)
                at = table.find(b'\x5b\x82', at + 2)
    # A device inside another one is in both; the inner one is the shorter.
    return [d for d in found if not any(e is not d and e in d for e in found)]


def named(device, name):
    """Return the value of an integer or string object of a device, None if not there."""
    at = device.find(b'\x08' + name.encode())
    if at < 0:
        return None
    at += 1 + len(name)
    code, rest = device[at], device[at + 1:]
    if code in (0, 1):
        return code
    if code == 0x0d:
        return rest[:rest.index(0)].decode()
    size = {0x0a: 1, 0x0b: 2, 0x0c: 4, 0x0e: 8}[code]
    return int.from_bytes(rest[:size], 'little')


def resources(device):
    """Return (base, length) of its QWordMemory, and (flags, numbers) of its interrupts."""
    memory, interrupts = [], []
    crs = device[device.index(b'_CRS'):]
    # Buffer(...) {...}: descriptors start behind the package length and the size
    at = crs.index(b'\x11') + 1
    at += 1 + (crs[at] >> 6)
    at += {0x0a: 2, 0x0b: 3, 0x0c: 5}.get(crs[at], 1)
    while crs[at] != 0x79:
        small = not crs[at] & 0x80
        size = (crs[at] & 7) + 1 if small else 3 + int.from_bytes(crs[at + 1:at + 3], 'little')
        if crs[at] == 0x8a and crs[at + 3] == 0:
            _gran, low, high, _offset, length = struct.unpack_from('<5Q', crs, at + 6)
            memory.append((low, high, length))
        elif crs[at] == 0x89:
            count = crs[at + 4]
            interrupts.append((crs[at + 3], struct.unpack_from(f'<{count}I', crs, at + 5)))
        else:
            memory.append(('descriptor', crs[at]))
        at += size
    return memory, interrupts
