#!/usr/bin/env python3
"""Runs the hand-written scripts of cases/*.txt against two servers and compares every reply, in RESP2 and RESP3, and the
keyspace events of every command (outside of clusters).

A script is a list of cases; each starts with an empty keyspace and fresh connections.

    # comment                          %cluster      at the top: two clusters of two nodes, see pair.py
    == name of the case                %start NAME VALUE   at the top: an option of both servers
    SET key "a\\x00b"                   a command, quoted as in redis-cli; every reply is compared
    b: GET key                         ... on another connection named b; in a cluster, names starting with "two" go to node 2
    ?sorted COMMAND INFO get           ... compared by the named hook of normalise.py instead of its default
    %raw 2 "PING\\r\\nPING\\r\\n"          raw bytes, two replies
    b: %read 2                         the next two frames, pushes and messages included (answers of SUBSCRIBE and its kin
                                       are read by themselves, one for each channel)
    %closed                            both servers close the connection
    %sleep 20                          milliseconds
    b: %until TEXT CLUSTER NODES       the command is repeated until its reply on either side has this (a regular expression)
    %scan MATCH a*                     SCAN until the cursor is 0; the sets of keys are compared
    %resp2  %resp3                     at the top of a case: only in this protocol
    %deaf                              at the top of the script: nobody listens to keyspace events
"""

import argparse
import glob
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import normalise
from events import Listeners
from pair import Pair
from support import process
from support.resp import encode, frame_value
from support.scenario import add_server_options, resolve
from support.wait import eventually

_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b"}


def split_line(line):
    """redis-cli's quoting: "..." with \\xHH and \\n, '...' with \\'."""
    words, at = [], 0
    while True:
        while at < len(line) and line[at].isspace():
            at += 1
        if at == len(line):
            return words
        word = bytearray()
        while at < len(line) and not line[at].isspace():
            quote = line[at]
            if quote not in "\"'":
                word += quote.encode()
                at += 1
                continue
            at += 1
            while line[at] != quote:
                if line[at] == "\\" and quote == '"':
                    if line[at + 1] == "x":
                        word.append(int(line[at + 2 : at + 4], 16))
                        at += 4
                    else:
                        word += _ESCAPES.get(line[at + 1], line[at + 1].encode())
                        at += 2
                elif line[at : at + 2] == "\\'":
                    word += b"'"
                    at += 2
                else:
                    word += line[at].encode()
                    at += 1
            at += 1
        words.append(bytes(word))


class Script:
    def __init__(self, path):
        self.path = path
        self.cluster = self.deaf = False
        self.options = {}
        self.cases = []  # (name, protocols, [(line number, text)])
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                if line.startswith("== "):
                    self.cases.append([line[3:], (2, 3), []])
                elif line in ("%resp2", "%resp3"):
                    self.cases[-1][1] = (int(line[-1]),)
                elif line == "%cluster":
                    self.cluster = True
                elif line == "%deaf":
                    self.deaf = True
                elif line.startswith("%start "):
                    _, name, value = split_line(line)
                    self.options[name.decode()] = value.decode()
                else:
                    self.cases[-1][2].append((number, line))


class Runner:
    def __init__(self, script, pair):
        self.script = script
        self.pair = pair
        self.commands = 0
        self.differences = []
        self.expected = {}
        self.listeners = None if script.cluster or script.deaf else Listeners(pair)

    def run_case(self, name, protocol, lines):
        for side in (self.pair.a, self.pair.b):
            for server in side.servers:
                with server.client() as client:
                    client("CLIENT", "UNPAUSE")
                    client("FLUSHALL")
        normalise.begin()
        if self.listeners is not None:
            self.listeners.open()
        self.comparable = True  # until a command that one of them does not know makes their contents differ
        self.connections = {}
        self.protocol = protocol
        where = ""
        try:
            for number, line in lines:
                where = f"{os.path.basename(self.script.path)}:{number} ({name}, RESP{protocol}): {line}"
                self.run_line(where, line)
                if self.listeners is not None and (found := self.listeners.difference()) and self.comparable:
                    self.note(where, split_line(line), found)
        except Exception as error:
            self.differences.append(f"{where}\n    {type(error).__name__}: {error}")
        for clients in self.connections.values():
            for client in clients:
                client.close()

    def clients(self, name):
        if name not in self.connections:
            self.connections[name] = self.pair.connect(self.protocol, 1 if name.startswith("two") else 0)
        return self.connections[name]

    def run_line(self, where, line):
        words = split_line(line)
        connection, hook = "main", None
        if words[0].endswith(b":"):
            connection = words.pop(0)[:-1].decode()
        if words[0].startswith(b"?"):
            hook = normalise.HOOKS[words.pop(0)[1:].decode()]
        clients = self.clients(connection)
        directive = words[0].decode(errors="replace")
        if directive == "%sleep":
            time.sleep(int(words[1]) / 1000)
        elif directive == "%until":
            for client in clients:
                eventually(lambda: re.search(words[1], client(*words[2:])), 60, where)
        elif directive == "%closed":
            closed = [client.at_end() for client in clients]
            if closed != [True, True]:
                self.differences.append(f"{where}\n    A closed: {closed[0]}, B closed: {closed[1]}")
        elif directive == "%scan":
            self.compare(where, words, hook, [("*", [("$", key) for key in scan(client, words[1:])]) for client in clients])
        elif directive == "%raw":
            for client in clients:
                client.send_raw(words[2])
            for _ in range(int(words[1])):
                self.compare(where, [], hook, [client.read_frame() for client in clients])
        elif directive == "%read":
            frames = [("*", [client.read_any_frame() for _ in range(int(words[1]))]) for client in clients]
            self.compare(where, words, hook, frames)
        else:
            for side, client in zip((self.pair.a, self.pair.b), clients):
                client.send_raw(encode([side.fill_in(word) for word in words]))
            listening = words[0].lower().endswith(b"subscribe")
            frames = [client.read_any_frame() if listening else client.read_frame() for client in clients]
            self.compare(where, words, hook, frames)
            if listening and all(frame[0] in "*>" for frame in frames):
                for _ in words[2:]:
                    self.compare(where, words, hook, [client.read_any_frame() for client in clients])

    def note(self, where, words, difference):
        """An event that only one server told, unless that is expected of the command."""
        name = normalise.expected_event(words)
        if name:
            self.expected[name] = self.expected.get(name, 0) + 1
        else:
            self.differences.append(f"{where}\n    {difference}")

    def compare(self, where, words, hook, frames):
        self.commands += 1
        a, b = self.pair.a.blank_out(frames[0]), self.pair.b.blank_out(frames[1])
        if a == b or (hook or normalise.hook_for(words))(a, b):
            return
        name = normalise.expected_difference(words, a, b)
        if name:
            self.expected[name] = self.expected.get(name, 0) + 1
            self.comparable &= "unknown " not in normalise.text(a) + normalise.text(b)
            return
        self.differences.append(f"{where}\n    A {normalise.text(a)[:600]}\n    B {normalise.text(b)[:600]}")


def scan(client, arguments):
    """All keys of a full SCAN, sorted, each once."""
    found, cursor = set(), b"0"
    for _ in range(1_000_000):
        reply = frame_value_of(client, "SCAN", cursor, *arguments)
        cursor = reply[0]
        found.update(reply[1])
        if cursor == b"0":
            return sorted(found)
    raise AssertionError("SCAN does not end")


def frame_value_of(client, *arguments):
    client.send(*arguments)
    return frame_value(client.read_frame())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_server_options(parser)
    parser.add_argument("scripts", nargs="*", help="names or paths of scripts (default: all)")
    options = parser.parse_args()
    options.server, options.reference = resolve(options.server), resolve(options.reference)
    paths = sorted(glob.glob(os.path.join(HERE, "cases", "*.txt")))
    if options.scripts:
        wanted = {os.path.basename(name).removesuffix(".txt") for name in options.scripts}
        paths = [path for path in paths if os.path.basename(path).removesuffix(".txt") in wanted]
    failed = not paths
    for path in paths:
        script = Script(path)
        runner = Runner(script, Pair(options.server, options.reference, script.options, script.cluster))
        for name, protocols, lines in script.cases:
            for protocol in protocols:
                if runner.pair.running():
                    runner.run_case(name, protocol, lines)
        if not runner.pair.running():
            runner.differences.append("a server has died")
            process.dump_logs()
        print(f"{os.path.basename(path)}: {runner.commands} replies, {len(runner.differences)} differences", end="")
        print("".join(f", {count} expected ({name})" for name, count in runner.expected.items()), flush=True)
        for difference in runner.differences:
            print("  " + difference)
        failed |= bool(runner.differences)
        process.end_all()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
