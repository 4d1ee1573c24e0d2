# SPDX-License-Identifier: GPL-2.0-only
"""The model's interface, as tools/testing/viommu/qemu/README has it."""

BASE = 0x0f000000
PATH = '/machine/tegra241-cmdqv'
# SPI 176: the only interrupt of the block
DEFAULTS = {'log2-vintfs': 6, 'log2-vcmdqs': 7, 'log2-sids': 4}
# Faults of the model, and choices that are faults for a test of the other choice
MUTATIONS = {name: True for name in (
    'no-vmid-stamp', 'no-sid-swap', 'no-filter', 'no-irq', 'level-irq', 'alloc-steal', 'vmid-live',
    'write-running', 'unmask-irq', 'wide-access', 'sid-match-last', 'ignore-cr0', 'sticky',
    'sync-cs-ok', 'cons-err-keep', 'atc-collect-error', 'no-hyp-own')}
MUTATIONS['gerrorn-irq'] = False


def arguments(knobs, ram_size, devices):
    args = ['-M', 'virt,iommu=smmuv3,gic-version=3,its=on,cmdqv=on',
            '-global', 'arm-smmuv3.stage=nested', '-cpu', 'cortex-a57',
            '-m', f'{ram_size >> 20}M']
    for name, value in knobs.items():
        if isinstance(value, bool):
            value = 'on' if value else 'off'
        # A comma in a value is written twice.
        args += ['-global', f'tegra241-cmdqv.{name}={value}']
    for i in range(devices):
        args += ['-device', f'edu,addr={1 + i},dma_mask=0xffffffffffff']
    return args


def get(machine, name):
    return machine.qom_get(PATH, name)


def put(machine, name, value):
    machine.qom_set(PATH, name, value)


def atc_seen(machine):
    """Return {physical SID: ATC_INVs that the device got}."""
    text = get(machine, 'atc-inv-sids')
    return {int(s, 16): int(n, 0) for s, n in (x.split('=') for x in text.split(',') if x)}
