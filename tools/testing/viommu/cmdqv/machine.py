# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU machine without a running CPU, driven by the qtest protocol and by QMP.

Virtual time stands still except in step(). Every test starts its own machine, so
that no test sees what an earlier one left.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile

MS = 1000000
SECOND = 1000 * MS


class MachineError(Exception):
    """QEMU did not start, ended, or refused a request."""


class Channel:
    """One connection that QEMU opens to a socket of ours, read line by line."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.sock = None
        self.rest = b''

    def accept(self, process):
        self.listener.settimeout(0.2)
        # A loaded machine needs long to start a program. One that ended is noticed.
        for _ in range(600):
            try:
                self.sock, _ = self.listener.accept()
                self.sock.settimeout(120)
                return
            except socket.timeout:
                if process.poll() is not None:
                    break
        raise MachineError('QEMU did not connect to its qtest or QMP socket')

    def line(self):
        while b'\n' not in self.rest:
            try:
                data = self.sock.recv(65536)
            except socket.timeout as error:
                raise MachineError('QEMU did not answer within 120 s') from error
            if not data:
                raise MachineError('QEMU closed the connection: it crashed or quit')
            self.rest += data
        line, self.rest = self.rest.split(b'\n', 1)
        return line.decode()

    def send(self, text):
        try:
            self.sock.sendall(text.encode())
        except OSError as error:
            raise MachineError(f'QEMU is gone: {error}') from error

    def close(self):
        for s in (self.sock, self.listener):
            if s:
                s.close()


class Machine:
    """QEMU from start to end. Use as a context manager."""

    def __init__(self, binary, args):
        self.dir = tempfile.mkdtemp(prefix='qtest.')
        self.log_path = os.path.join(self.dir, 'log')
        self.err_path = os.path.join(self.dir, 'stderr')
        self.process = self.qtest = self.qmp = None
        self.lines = {}
        self.raised = {}
        self.events = []
        try:
            self.start(binary, args)
        except BaseException:
            self.stop()
            raise

    def start(self, binary, args):
        self.qtest = Channel(os.path.join(self.dir, 'qtest'))
        self.qmp = Channel(os.path.join(self.dir, 'qmp'))
        command = [binary, '-nodefaults', '-no-user-config', '-display', 'none',
                   '-accel', 'qtest', '-qtest', 'unix:' + self.qtest.path,
                   '-qtest-log', '/dev/null', '-qmp', 'unix:' + self.qmp.path,
                   '-d', 'guest_errors,unimp', '-D', self.log_path] + args
        with open(self.err_path, 'w', encoding='utf-8') as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                            stdout=err, stderr=err)
        try:
            self.qtest.accept(self.process)
            self.qmp.accept(self.process)
            self.qmp.line()
            self.execute('qmp_capabilities')
        except MachineError as error:
            raise MachineError(f'{error}\n{self.stderr()}') from error

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        for channel in (self.qtest, self.qmp):
            if channel:
                channel.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def stderr(self):
        with open(self.err_path, encoding='utf-8', errors='replace') as err:
            return err.read().strip()

    # ---- qtest ----

    def answer(self):
        """Return the words of the next answer; count interrupts on the way."""
        while True:
            words = self.qtest.line().split()
            if words[0] != 'IRQ':
                if words[0] != 'OK':
                    raise MachineError('qtest: ' + ' '.join(words))
                return words[1:]
            number, up = int(words[2]), words[1] == 'raise'
            if up and not self.lines.get(number):
                self.raised[number] = self.raised.get(number, 0) + 1
            self.lines[number] = up

    def many(self, requests):
        """Send all requests, then read the answers: one round trip for each batch."""
        answers = []
        for i in range(0, len(requests), 256):
            batch = requests[i:i + 256]
            self.qtest.send(''.join(r + '\n' for r in batch))
            answers += [self.answer() for _ in batch]
        return answers

    def ask(self, request):
        return self.many([request])[0]

    def read(self, addr, size):
        return int(self.ask(f'read{"?bw?l???q"[size]} {addr:#x}')[0], 0)

    def write(self, addr, value, size):
        self.ask(f'write{"?bw?l???q"[size]} {addr:#x} {value:#x}')

    def store(self, addr, data):
        """Write bytes to memory."""
        self.ask(f'write {addr:#x} {len(data):#x} 0x{data.hex()}')

    def load(self, addr, size):
        """Read bytes of memory."""
        return bytes.fromhex(self.ask(f'read {addr:#x} {size:#x}')[0][2:])

    def fill(self, addr, size, byte):
        self.ask(f'memset {addr:#x} {size:#x} {byte:#x}')

    def step(self, ns=MS):
        """Let virtual time pass, and let QEMU's main loop run its bottom halves."""
        self.ask(f'clock_step {ns:d}')
        self.sync()

    def sync(self):
        """Wait until the main loop has gone round: bottom halves without a timer run."""
        for _ in range(2):
            self.execute('query-name')
            self.ask('endianness')

    def intercept(self, path, name):
        self.ask(f'irq_intercept_out {path} {name}')

    def reset(self):
        """Reset the machine; return when it is done."""
        self.execute('system_reset')
        while not self.events.count('RESET'):
            self.execute('query-name')
        self.events.clear()
        self.sync()

    # ---- QMP ----

    def execute(self, command, **arguments):
        request = {'execute': command}
        if arguments:
            request['arguments'] = {k.replace('_', '-'): v for k, v in arguments.items()}
        self.qmp.send(json.dumps(request) + '\n')
        while True:
            reply = json.loads(self.qmp.line())
            if 'return' in reply:
                return reply['return']
            if 'error' in reply:
                raise MachineError(f'{command} {arguments}: {reply["error"]["desc"]}')
            self.events.append(reply.get('event'))

    def qom_get(self, path, name):
        return self.execute('qom-get', path=path, property=name)

    def qom_set(self, path, name, value):
        self.execute('qom-set', path=path, property=name, value=value)

    def hmp(self, line):
        return self.execute('human-monitor-command', command_line=line)

    def log(self):
        """What the guest did wrong, in QEMU's words."""
        try:
            with open(self.log_path, encoding='utf-8', errors='replace') as log:
                return log.read()
        except FileNotFoundError:
            return ''
