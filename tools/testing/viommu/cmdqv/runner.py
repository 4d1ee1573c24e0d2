# SPDX-License-Identifier: GPL-2.0-only
"""What the programs that run tests of a QEMU model share: choosing, running, showing."""

import argparse
import concurrent.futures
import functools
import os
import re
import sys
import traceback

import harness

HERE = os.path.dirname(os.path.realpath(__file__))
SHOWN = 20


def default_qemu():
    build = os.environ.get('BUILD') or os.path.join(HERE, '../../../../build')
    return os.path.join(os.path.realpath(build), 'qemu', 'qemu-system-aarch64')


def run(context, job):
    index, binary, mutation = job
    return harness.run(harness.TESTS[index], binary, mutation, context)


def show(result, name, notes):
    if result == 'skip':
        print(f'skip - {name}: {notes[0]}')
        return
    print(f'{result} - {name}')
    if result == 'not ok':
        lines = [line for note in notes for line in note.splitlines()]
        for line in lines[:SHOWN]:
            print(f'# {line}')
        if len(lines) > SHOWN:
            print(f'# and {len(lines) - SHOWN} more')
    sys.stdout.flush()


def plain(pool, run_one, binary, chosen):
    failed = 0
    jobs = [(i, binary, None) for i in chosen]
    for i, (result, notes, _broke) in zip(chosen, pool.map(run_one, jobs)):
        show(result, harness.TESTS[i].name, notes)
        failed += result == 'not ok'
    return failed


def mutate(pool, run_one, binary, chosen, mutations, control_name):
    """A test is meant by its function: one of its variants has to notice the fault."""
    failed = 0
    for mutation in mutations:
        concerned = [i for i in chosen if mutation in harness.TESTS[i].kills]
        control = [i for i in chosen if harness.TESTS[i].name == control_name]
        jobs = [(i, binary, mutation) for i in concerned + control]
        results = dict(zip(concerned + control, pool.map(run_one, jobs)))
        for i in control:
            result, notes, _broke = results[i]
            show(result, f'{mutation}: passes: {harness.TESTS[i].name}', notes)
            failed += result != 'ok'
        by_function = {}
        for i in concerned:
            by_function.setdefault(harness.TESTS[i].function, []).append(i)
        for indices in by_function.values():
            name = harness.TESTS[indices[0]].name.split(' [')[0]
            broke = [n for i in indices if results[i][2] for n in results[i][1]]
            noticed = any(results[i][0] == 'not ok' for i in indices)
            result = 'ok' if noticed and not broke else 'not ok'
            show(result, f'{mutation}: noticed by: {name}',
                 broke or ['the test passes on a model with this fault'])
            failed += result != 'ok'
        if not concerned:
            show('not ok', f'{mutation}: noticed', ['no test is about this fault'])
            failed += 1
    return failed


def complain(text):
    print(f'{os.path.basename(sys.argv[0])}: {text}', file=sys.stderr)
    return 2


def main(doc, mutations, control, context=harness.Context):
    """Run the tests that are registered. Return the program's exit status.

    @mutations: faults of the model. @control: name of a test that must pass on a model
    with any of them. @context: class of what a test sees.
    """
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--qemu', default=default_qemu())
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--mutations', action='store_true')
    parser.add_argument('regex', nargs='*')
    args = parser.parse_args()

    chosen = [i for i, case in enumerate(harness.TESTS)
              if not args.regex or any(re.search(r, case.name) for r in args.regex)]
    if args.list:
        for i in chosen:
            print(harness.TESTS[i].name)
        return 0
    if not chosen:
        raise SystemExit(complain('no test has such a name; --list shows all'))
    if not os.access(args.qemu, os.X_OK):
        raise SystemExit(complain(f'no {args.qemu}: build it, or name one with --qemu'))
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        run_one = functools.partial(run, context)
        if args.mutations:
            failed = mutate(pool, run_one, args.qemu, chosen, mutations, control)
        else:
            failed = plain(pool, run_one, args.qemu, chosen)
    return 1 if failed else 0


def start(*args, **kwargs):
    try:
        sys.exit(main(*args, **kwargs))
    except Exception:                                     # pylint: disable=broad-except
        traceback.print_exc()
        sys.exit(2)
