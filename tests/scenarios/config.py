#!/usr/bin/env python3
"""Configuration: stock files load, faults stop the start and say where, SET is all or nothing, REWRITE keeps comments."""

import glob
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.process import Server, temporary_directory
from support.resp import Error
from support.scenario import ROOT, Skip, case, contains, equal, main
from support.wait import eventually


def with_file(options, text, **overrides):
    directory = temporary_directory()
    path = os.path.join(directory, "test.conf")
    with open(path, "w") as file:
        file.write(text)
    return Server(options.server, directory=directory, config_file=path, **overrides)


def start_fails(options, text, *arguments, input=None):
    """The output of a start that must fail quickly."""
    server = with_file(options, text)
    command = [options.server, server.config_file if input is None else "-", "--port", str(server.port), *arguments]
    done = subprocess.run(
        command, cwd=server.directory, input=input, stdin=None if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, text=True,
    )  # fmt: skip
    assert done.returncode != 0, f"the server started (and ended) with:\n{text}"
    return done.stdout


@case
def stock_files_load(options):
    paths = [p for p in ["/etc/redis/redis.conf", *sorted(glob.glob(os.path.join(ROOT, "tests/config/data/*.conf")))] if os.access(p, os.R_OK)]
    if not paths:
        raise Skip("no stock redis.conf on this machine")
    for path in paths:
        # The file's places belong to a system service; the command line moves them into the test's directory.
        server = Server(options.server, config_file=path, daemonize="no", pidfile="", logfile="", save=None, supervised="no",
                        unixsocket=None)  # fmt: skip
        server.start()
        with server.client() as client:
            equal(client("CONFIG", "GET", "tcp-keepalive"), [b"tcp-keepalive", b"300"])
            equal(client("CONFIG", "GET", "databases"), [b"databases", b"16"])
            equal(client("CONFIG", "GET", "appendfsync"), [b"appendfsync", b"everysec"])
            equal(client("CONFIG", "GET", "port"), [b"port", str(server.port).encode()])
        server.terminate()
        print(f"  {path}", flush=True)


@case
def file_and_command_line(options):
    server = with_file(options, 'maxclients 100\ntimeout 5\nrequirepass "a \\x41\\"b"\nappendfsync no\n', timeout="7", loglevel="warning")
    server.start()
    with server.client() as client:
        equal(client("AUTH", 'a A"b'), b"OK")
        equal(client("CONFIG", "GET", "timeout"), [b"timeout", b"7"])
        equal(client("CONFIG", "GET", "maxclients"), [b"maxclients", b"100"])
        equal(client("CONFIG", "GET", "loglevel"), [b"loglevel", b"warning"])
        equal(client("CONFIG", "GET", "appendfsync"), [b"appendfsync", b"no"])


@case
def includes(options):
    directory = temporary_directory()
    for name, text in {"a.conf": "timeout 11\n", "b.conf": "maxclients 123\n"}.items():
        with open(os.path.join(directory, name), "w") as file:
            file.write(text)
    server = with_file(options, f"timeout 1\ninclude {directory}/a.conf\ninclude {directory}/[b-z].conf\n").start()
    equal(server.call("CONFIG", "GET", "timeout"), [b"timeout", b"11"])
    equal(server.call("CONFIG", "GET", "maxclients"), [b"maxclients", b"123"])


@case
def configuration_from_standard_input(options):
    directory = temporary_directory()
    server = Server(options.server, directory=directory)
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", options.server, "-", "--timeout", "9"], cwd=directory, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    server.process = process
    process.stdin.write(f"port {server.port}\nsave \"\"\nmaxclients 77\n".encode())
    process.stdin.close()
    server.wait_until_ready()
    equal(server.call("CONFIG", "GET", "maxclients"), [b"maxclients", b"77"])
    equal(server.call("CONFIG", "GET", "timeout"), [b"timeout", b"9"])


@case
def faults_stop_the_start(options):
    for text, line, reason in (
        ("port 1\nnosuchoption yes\n", 2, "Bad directive or wrong number of arguments"),
        ("# fine\n\ntimeout\n", 3, "wrong number of arguments"),
        ("timeout abc\n", 1, "argument couldn't be parsed into an integer"),
        ("timeout -1\n", 1, "argument must be between 0 and 2147483647 inclusive"),
        ("appendonly maybe\n", 1, "argument must be 'yes' or 'no'"),
        ("appendfsync sometimes\n", 1, "argument(s) must be one of the following: "),
        ("maxmemory lots\n", 1, "argument must be a memory value"),
        ('requirepass "unbalanced\n', 1, "Unbalanced quotes in configuration line"),
        ("save 10\n", 1, "Invalid save parameters"),
        ("databases 0\n", 1, "argument must be between 1 and 2147483647 inclusive"),
        ("client-output-buffer-limit strange 0 0 0\n", 1, "Invalid client class specified in buffer limit configuration."),
    ):
        output = start_fails(options, text)
        contains(output, "*** FATAL CONFIG FILE ERROR (", text)
        contains(output, f"Reading the configuration file, at line {line}", text)
        contains(output, f">>> '{text.splitlines()[line - 1].strip()}'", text)
        contains(output, reason, text)
    contains(start_fails(options, "", "--nosuchoption", "1"), "Bad directive or wrong number of arguments")
    contains(start_fails(options, "", "--timeout", "abc"), "argument couldn't be parsed into an integer")
    contains(start_fails(options, "include /nosuch/file.conf\n"), "can't open config file '/nosuch/file.conf'")
    done = subprocess.run([options.server, "/nosuch/file.conf"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode != 0
    contains(done.stdout, "can't open config file '/nosuch/file.conf': No such file or directory")


@case
def version_and_help(options):
    output = subprocess.run([options.server, "--version"], stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
    contains(output, "v=")
    done = subprocess.run([options.server, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    contains(done.stdout, "Usage: ")


@case
def port_in_use(options):
    first = Server(options.server).start()
    second = Server(options.server, port=first.port).launch()
    assert second.wait(60) != 0
    contains(second.log(), "Address already in use")
    equal(first.call("PING"), b"PONG")


@case
def a_failed_start_leaves_the_pid_file_alone(options):
    directory = temporary_directory()
    first = Server(options.server, directory=directory, pidfile="my.pid").start()
    second = Server(options.server, directory=directory, port=first.port, pidfile="my.pid").launch()
    equal(second.wait(60), 1)
    with open(os.path.join(directory, "my.pid")) as file:
        equal(int(file.read()), first.pid)


@case
def changes_that_cannot_be_made_real_are_taken_back(options):
    first, second = Server(options.server).start(), Server(options.server).start()
    with first.client() as client:
        for name, value, before in (("port", second.port, str(first.port)), ("bind", "203.0.113.1", "127.0.0.1")):
            assert isinstance(client("CONFIG", "SET", name, value), Error), name
            equal(client("CONFIG", "GET", name), [name.encode(), before.encode()])
            equal(first.call("PING"), b"PONG")


@case
def shutdown_options_of_signals(options):
    server = Server(options.server, save="900 1", shutdown_on_sigterm="nosave").start()
    server.call("SET", "k", "v")
    equal(server.terminate(), 0)
    assert not os.path.exists(server.path("dump.rdb")), "saved in spite of nosave"
    server.start(save="", shutdown_on_sigterm="save")
    server.call("SET", "k", "v")
    os.mkdir(server.path("dump.rdb"))
    server.signal(15)
    eventually(lambda: "Not shutting down" in server.log(), 60)
    equal(server.call("GET", "k"), b"v")
    os.rmdir(server.path("dump.rdb"))
    equal(server.terminate(), 0)
    assert os.path.exists(server.path("dump.rdb"))


@case
def two_nodes_never_share_a_nodes_file(options):
    first = Server(options.server, cluster_enabled="yes").start()
    second = Server(options.server, directory=first.directory, cluster_enabled="yes").launch()
    assert second.wait(60) != 0
    contains(second.log(), "already used by a different")
    equal(first.call("PING"), b"PONG")


@case
def set_is_all_or_nothing(options):
    server = Server(options.server).start()
    with server.client() as client:
        equal(client("CONFIG", "SET", "timeout", 5, "maxclients", 200), b"OK")
        for bad in (("timeout", 6, "maxmemory", "bad"), ("timeout", 6, "nosuch", 1), ("timeout", 6, "databases", 3)):
            assert isinstance(client("CONFIG", "SET", *bad), Error), bad
            equal(client("CONFIG", "GET", "timeout"), [b"timeout", b"5"])


@case
def rewrite_keeps_comments_and_order(options):
    text = (
        "# This is my server.\n\ntimeout 5\n\n# How many may come\nmaxclients 100\n  # indented\nappendfsync no\n"
        "client-output-buffer-limit replica 128mb 32mb 30\n# the end\n"
    )  # fmt: skip
    server = with_file(options, text).start()
    with server.client() as client:
        client.ok("CONFIG", "SET", "timeout", 9, "maxmemory", "123mb", "slowlog-max-len", 77)
        client.ok("CONFIG", "SET", "save", "100 5 200 1")
        client.ok("CONFIG", "SET", "requirepass", 'a "b\nc')
        client.ok("CONFIG", "REWRITE")
    with open(server.config_file) as file:
        written = file.read()
    lines = written.splitlines()
    for kept in ("# This is my server.", "timeout 9", "# How many may come", "maxclients 100", "# the end", "slowlog-max-len 77"):
        assert kept in lines, f"no {kept!r} in:\n{written}"
    equal([lines.index(k) for k in ("# This is my server.", "timeout 9", "# How many may come", "maxclients 100")], sorted(
        lines.index(k) for k in ("# This is my server.", "timeout 9", "# How many may come", "maxclients 100")))  # fmt: skip
    assert "timeout 5" not in lines
    contains(written, "# Generated by CONFIG REWRITE")
    server.terminate()
    server.options = {"port": server.port}
    server.launch()

    def answers():
        with server.client() as client:
            return client("AUTH", 'a "b\nc') == b"OK" and client

    eventually(answers, 60)
    with server.client() as client:
        client.ok("AUTH", 'a "b\nc')
        for name, value in {"timeout": b"9", "maxmemory": b"128974848", "slowlog-max-len": b"77", "appendfsync": b"no",
                            "save": b"100 5 200 1"}.items():  # fmt: skip
            equal(client("CONFIG", "GET", name), [name.encode(), value])
        contains(client("CONFIG", "GET", "client-output-buffer-limit")[1], b"slave 134217728 33554432 30")
        client.ok("CONFIG", "REWRITE")
        with open(server.config_file) as file:
            again = file.read()
        client.ok("CONFIG", "REWRITE")
        with open(server.config_file) as file:
            equal(file.read(), again, "a second rewrite changes nothing")


@case
def rewrite_without_a_file(options):
    server = Server(options.server).start()
    with server.client() as client:
        equal(client("CONFIG", "REWRITE"), b"ERR The server is running without a config file")


@case
def log_file_and_pid_file(options):
    directory = temporary_directory()
    server = Server(options.server, directory=directory, enable_protected_configs="yes", logfile=os.path.join(directory, "my.log"),
                    pidfile=os.path.join(directory, "my.pid")).start()  # fmt: skip
    with open(os.path.join(directory, "my.pid")) as file:
        equal(int(file.read()), server.pid)
    assert os.path.getsize(os.path.join(directory, "my.log")) > 0
    os.rename(os.path.join(directory, "my.log"), os.path.join(directory, "my.log.1"))
    server.call("CONFIG", "SET", "dir", temporary_directory())
    server.call("CONFIG", "SET", "loglevel", "debug")
    with server.client() as client:
        equal(client("PING"), b"PONG")
    eventually(lambda: os.path.exists(os.path.join(directory, "my.log")), 60, "a log moved away is begun afresh")
    server.terminate()
    assert not os.path.exists(os.path.join(directory, "my.pid")), "the pid file is left behind"


if __name__ == "__main__":
    main()
