"""Server processes under test: each in a directory of its own, on a free port, ended with the test whatever happens."""

import atexit
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from .ports import free_port
from .resp import Client, Error
from .wait import eventually

_servers = []
_directories = []


def temporary_directory(prefix="tessera-test-"):
    path = tempfile.mkdtemp(prefix=prefix)
    _directories.append(path)
    return path


@atexit.register
def end_all():
    """Kills what still runs and removes the temporary directories."""
    for server in _servers:
        server.kill()
    _servers.clear()
    for path in _directories:
        shutil.rmtree(path, ignore_errors=True)
    _directories.clear()


def dump_logs(lines=15):
    """The last log lines of every server of this test, for a failure report."""
    for server in _servers:
        sys.stderr.write(f"--- {server} ---\n")
        sys.stderr.write("".join(line + "\n" for line in server.log().splitlines()[-lines:]))


class StartFailed(AssertionError):
    pass


class Server:
    """A `redis-server` or `tessera-server` process. Options are given as a dict, names with _ or -:

        Server(binary, appendonly="yes", save="").start()

    A list value gives several arguments (`bind=["127.0.0.1", "::1"]`). Start servers from the main thread only: the kernel
    ends them when the thread that started them ends, which is what cleans up after a test killed by its timeout.
    """

    def __init__(self, binary, directory=None, port=None, config_file=None, prefix=(), host="127.0.0.1", **options):
        self.binary = binary
        self.host = host
        self.port = port if port is not None else free_port()
        self.directory = directory or temporary_directory()
        self.config_file = config_file
        self.prefix = list(prefix)
        self.options = {"bind": host, "save": "", **{k.replace("_", "-"): v for k, v in options.items()}}
        self.process = None
        self.log_path = os.path.join(self.directory, f"server-{self.port}.log")
        _servers.append(self)

    def __str__(self):
        return f"{os.path.basename(self.binary)}:{self.port}"

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def command_line(self):
        arguments = self.prefix + ["setpriv", "--pdeathsig", "KILL", self.binary]
        if self.config_file:
            arguments.append(self.config_file)
        for name, value in {"port": self.port, "dir": self.directory, **self.options}.items():
            if value is None:
                continue
            arguments.append(f"--{name}")
            arguments.extend(str(item) for item in (value if isinstance(value, (list, tuple)) else [value]))
        return arguments

    def launch(self):
        """Starts the process without waiting for it to answer."""
        assert not self.running(), f"{self} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command_line(), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def start(self, timeout_s=60.0, **options):
        """Starts the process and waits until it answers PING and has loaded its data."""
        self.options.update({k.replace("_", "-"): v for k, v in options.items()})
        self.launch()
        self.wait_until_ready(timeout_s)
        return self

    def wait_until_ready(self, timeout_s=60.0):
        def answers():
            if not self.running():
                raise StartFailed(f"{self} ended with {self.process.returncode}:\n{self.log()[-2000:]}")
            with self.client(timeout_s=5.0) as client:
                reply = client("PING")
                # Ready means loaded; a replica with a broken link and a server that asks for a password are ready too.
                return not (isinstance(reply, Error) and reply.code == "LOADING")

        eventually(answers, timeout_s, f"{self} answers PING")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def client(self, **options):
        return Client(self.port, host=self.host, **options)

    def call(self, *arguments):
        """One command on a connection of its own; an error reply is raised."""
        with self.client() as client:
            return client.ok(*arguments)

    def info(self, section=None):
        with self.client() as client:
            return client.info(section)

    def signal(self, number):
        if self.running():
            os.kill(self.process.pid, number)

    def stop(self):
        """SIGSTOP: the process is there but does nothing."""
        self.signal(signal.SIGSTOP)

    def cont(self):
        self.signal(signal.SIGCONT)

    def wait(self, timeout_s=60.0):
        return self.process.wait(timeout_s)

    def terminate(self, timeout_s=60.0):
        """SIGTERM and wait, as `docker stop` does; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self):
        """SIGKILL and wait: the pulled plug."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()

    def log(self):
        text = ""
        paths = [self.log_path]
        if self.options.get("logfile"):
            paths.append(os.path.join(self.directory, self.options["logfile"]))
        for path in paths:
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    text += file.read()
        return text

    def path(self, *names):
        return os.path.join(self.directory, *names)


def run(arguments, timeout_s=120.0, input=None, check=True):
    """Runs a tool, returns what it wrote (both streams); on failure the output is in the error."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        text=True,
        errors="replace",
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def converse(arguments, dialogue, timeout_s=120.0, limit_s=900.0):
    """Runs a tool on a terminal and types an answer at each prompt, as a person would: dialogue is [(prompt, answer)].

    Tools that read a question's answer with one read() lose the later ones when all are piped in at once.
    `timeout_s` is how long the tool may be silent, `limit_s` how long it may take in all.
    """
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [str(argument) for argument in arguments], stdin=inner, stdout=inner, stderr=inner, start_new_session=True
    )
    os.close(inner)
    output, seen = b"", 0
    dialogue = [(prompt.encode(), answer.encode()) for prompt, answer in dialogue]
    limit = time.monotonic() + limit_s
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            readable = select.select([terminal], [], [], 0.2)[0]
            if time.monotonic() > (limit if readable else min(limit, deadline)):
                raise AssertionError(f"{arguments} hangs:\n{output[-2000:].decode(errors='replace')}")
            if not readable:
                continue
            try:
                data = os.read(terminal, 1 << 16)
            except OSError:  # The other end of the terminal is closed: the tool has ended.
                break
            if not data:
                break
            output += data
            deadline = time.monotonic() + timeout_s
            while dialogue and (found := output.find(dialogue[0][0], seen)) >= 0:
                seen = found + len(dialogue[0][0])
                os.write(terminal, dialogue.pop(0)[1] + b"\n")
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    text = output.decode(errors="replace").replace("\r\n", "\n")
    if code != 0 or dialogue:
        raise AssertionError(f"{arguments} ended with {code}, unanswered {dialogue}:\n{text[-3000:]}")
    return text
