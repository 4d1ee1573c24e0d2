# SPDX-License-Identifier: GPL-2.0-only
"""How a test is written, run and counted.

    @test('rule 5: two VCMDQs for one slot')
    def _(t):
        with t.bed() as bed:
            ...
            t.eq('ALLOC of the second', bed.b.rd(alloc(9)) & 1, 0)

A comparison that fails is noted and the test goes on; it prints "not ok" and all notes.
over={'sticky': (False, True)} makes one test for each value of a property of the model,
each={'hyp': (0, 1)} for each value of t.p['hyp'].
kills=('no-filter',) says that the test must fail on a model with that fault.
"""

import contextlib
import itertools
import traceback

import model
from block import Block, Queue, Stuck
from machine import Machine, MachineError, SECOND
from smmuv3 import RAM_SIZE, Testbed

TESTS = []


class Test:
    def __init__(self, name, function, knobs, params, kills):
        self.name, self.function, self.kills = name, function, kills
        self.knobs, self.params = knobs, params


class Skip(Exception):
    """What the test needs is missing."""


def combinations(choices):
    keys = list(choices or {})
    for values in itertools.product(*(choices[k] for k in keys)):
        yield dict(zip(keys, values))


def test(name, over=None, each=None, kills=()):
    def register(function):
        for knobs in combinations(over):
            for params in combinations(each):
                label = ', '.join(f'{k}={v}' for k, v in {**knobs, **params}.items())
                TESTS.append(Test(f'{name} [{label}]' if label else name, function, knobs,
                                  params, kills))
        return function
    return register


class Bed:
    """A machine with the block, its SMMU and edu devices, as firmware leaves it or started."""

    def __init__(self, binary, knobs, devices):
        self.knobs = knobs
        self.m = Machine(binary, model.arguments(knobs, RAM_SIZE, devices))
        try:
            self.m.intercept(model.PATH, 'sysbus-irq')
            self.b = Block(self.m, model.BASE, knobs['log2-vintfs'], knobs['log2-vcmdqs'],
                           knobs['log2-sids'])
            self.tb = self.smmu = None
            self.devices = devices
        except BaseException:
            self.m.stop()
            raise

    def start(self):
        """Bring up the SMMU, then the block; no VINTF is on, nothing is allocated."""
        self.tb = Testbed(self.m, self.devices)
        self.smmu = self.tb.smmu
        self.b.reset()
        return self

    def edges(self):
        """How often the block has raised its interrupt since the machine started."""
        self.m.sync()
        return self.m.raised.get(0, 0)

    def quiet(self, ns=SECOND):
        """Let time pass in which something must not happen."""
        for _ in range(10):
            self.m.step(ns // 10)

    def queue(self, v, l, **kwargs):
        """Allocate and start a queue; those below it must be allocated."""
        queue = Queue(self.b, v, l, **kwargs)
        queue.allocate()
        if not queue.is_allocated():
            raise MachineError(f'{queue} cannot be allocated')
        return queue.start()

    def guest(self, v, vmid=5, queues=1, **kwargs):
        """Give a VINTF to a guest. Return its running queues."""
        self.b.vintf_on(v, 0, vmid)
        return [self.queue(v, l, **kwargs) for l in range(queues)]

    def host(self, v=0, queues=1, **kwargs):
        """Have the host own a VINTF. Return its running queues."""
        self.b.vintf_on(v, 1, 0)
        return [self.queue(v, l, **kwargs) for l in range(queues)]


class Context:
    """What a test sees."""

    def __init__(self, binary, case, mutation):
        self.binary, self.mutation = binary, mutation
        self.knobs, self.p = case.knobs, case.params
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def eq(self, what, got, want):
        if got != want:
            show = [f'{x:#x}' if isinstance(x, int) and not isinstance(x, bool) else str(x)
                    for x in (got, want)]
            self.note(f'{what}: {show[0]}, expected {show[1]}')

    def ok(self, what, condition):
        if not condition:
            self.note(f'{what}: not so')

    def one_of(self, what, got, wanted):
        if got not in wanted:
            self.note(f'{what}: {got:#x}, expected one of {", ".join(map(hex, wanted))}')

    @contextlib.contextmanager
    def bed(self, start=True, devices=2, **knobs):
        """A machine. Knobs are the model's properties, with _ for -."""
        merged = dict(model.DEFAULTS)
        merged.update({k.replace('_', '-'): v for k, v in knobs.items()})
        merged.update(self.knobs)
        if self.mutation:
            merged[self.mutation] = model.MUTATIONS[self.mutation]
        bed = Bed(self.binary, merged, devices)
        try:
            yield bed.start() if start else bed
        finally:
            bed.m.stop()


def run(case, binary, mutation=None, context=Context):
    """Run one test. Return 'ok', 'not ok' or 'skip', lines to show, and whether it broke.

    A test breaks if QEMU ends or a condition never comes true: a failure too, but none
    that proves that the test noticed a given fault.
    """
    context = context(binary, case, mutation)
    broke = False
    try:
        case.function(context)
    except Skip as why:
        return 'skip', [str(why)], False
    except Stuck as error:
        context.note(str(error))
    except MachineError as error:
        broke = True
        context.note(str(error))
    except Exception:                                     # pylint: disable=broad-except
        broke = True
        context.note(traceback.format_exc())
    return ('not ok' if context.notes else 'ok'), context.notes, broke
