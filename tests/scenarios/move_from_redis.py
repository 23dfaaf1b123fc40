#!/usr/bin/env python3
"""The recipe in the README, section "Move from Redis": its commands are taken from there and run as they stand, under load."""

import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.all_types import commands_of_every_type, differences, fill_all, same
from support.cluster import Cluster, node_id, nodes_seen_by
from support.cluster_client import Writer
from support.dataset import Held, read_all, read_database
from support.process import Server
from support.resp import Client, Error
from support.scenario import ROOT, case, contains, equal, main
from support.slots import key_slot
from support.wait import eventually


def recipe(heading):
    """The indented blocks below a heading of the section, as shell text, without their example values."""
    with open(os.path.join(ROOT, "README.md")) as file:
        section = file.read().split("\n## Move from Redis\n")[1].split("\n## ")[0]
    part = section.split(f"\n### {heading}\n")[1].split("\n### ")[0]
    blocks = [re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"(?:^    .*\n)+", part, flags=re.M)]
    return [re.sub(r"^export .*\n", "", block, flags=re.M) for block in blocks]


def carry_out(block, **variables):
    """In a shell, with every command's failure taken seriously; returns what it wrote."""
    done = subprocess.run(["bash", "-euc", block], env={**os.environ, **{k: str(v) for k, v in variables.items()}}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150)  # fmt: skip
    assert done.returncode == 0, f"{block}\nended with {done.returncode}:\n{done.stdout}"
    # The loop may ask once more in the moment in which the replica takes over.
    answers = done.stdout.replace("ERR You should send CLUSTER FAILOVER to a replica\n", "")
    assert "\n(error)" not in f"\n{answers}" and "\nERR" not in f"\n{answers}", done.stdout
    return done.stdout


def start_as_told(block, server, **variables):
    """Takes the line that starts the new server out of the block: what is started here must end with this test."""
    lines = block.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("tessera-server "))
    words = [os.path.expandvars(re.sub(r"\$(\w+)", lambda m: str(variables[m[1]]), word)) for word in lines.pop(at).split()[1:]]
    given = {}
    for word in words:
        if word.startswith("--"):
            given[word[2:]] = values = []
        else:
            values.append(word)
    equal((given.pop("port"), given.pop("dir"), given.pop("daemonize")), ([str(server.port)], [server.directory], ["yes"]))
    server.start(**given)
    return "\n".join(lines)


class Counter(threading.Thread):
    """A client of the old server that counts; what was acknowledged must be found on the new one."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.acknowledged, self.refused, self.reads, self.ending = port, 0, None, 0, False

    def run(self):
        with Client(self.port, timeout_s=60) as client:
            while not self.ending:
                reply = client("SET", "counter", self.acknowledged + 1)
                if isinstance(reply, Error):
                    self.refused = reply
                    return
                self.acknowledged += 1


@case
def a_single_server(options):
    start, switch = recipe("A single server")
    old = Server(options.reference, repl_diskless_sync_delay=0).start()
    new = Server(options.server)
    fill_all(old, databases=(0, 5))
    old.call("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
    places = {"OLD_HOST": "127.0.0.1", "OLD_PORT": old.port, "NEW_HOST": "127.0.0.1", "NEW_PORT": new.port, "NEW_DIR": new.directory}
    counter = Counter(old.port)
    counter.start()
    carry_out(start_as_told(start, new, **places), **places)
    eventually(lambda: counter.acknowledged > 100, 60, "the client counts")
    old.call("FUNCTION", "LOAD", "#!lua name=later\nredis.register_function('g', function() return 2 end)")
    functions = old.call("FUNCTION", "DUMP")
    carry_out(switch, **places)
    counter.join(60)
    assert counter.refused is not None and counter.refused.startswith(b"READONLY"), counter.refused
    equal(sorted(library[1] for library in new.call("FUNCTION", "LIST")), [b"later", b"lib"], "libraries kept")
    contains(new.call("FUNCTION", "DUMP"), b"register_function")
    equal(Server(options.reference).start().call("FUNCTION", "RESTORE", new.call("FUNCTION", "DUMP")), b"OK")
    equal(new.call("FUNCTION", "RESTORE", functions, "REPLACE"), b"OK")
    equal(int(new.call("GET", "counter")), counter.acknowledged, "the last acknowledged write")
    equal(new.info("replication")["role"], "master")
    # The old one follows.
    fill_all(new, ":after")
    eventually(lambda: old.info("replication")["master_link_status"] == "up", 60, "the old one follows")
    same(new, old)
    # And back, with the same commands.
    back = {"OLD_HOST": "127.0.0.1", "OLD_PORT": new.port, "NEW_HOST": "127.0.0.1", "NEW_PORT": old.port}
    counter = Counter(new.port)
    counter.start()
    eventually(lambda: counter.acknowledged > 100, 60, "the client counts")
    carry_out(switch, **back)
    counter.join(60)
    assert counter.refused is not None and counter.refused.startswith(b"READONLY"), counter.refused
    equal(int(old.call("GET", "counter")), counter.acknowledged, "the last acknowledged write")
    eventually(lambda: new.info("replication")["master_link_status"] == "up", 60, "the new one follows")
    same(old, new)
    equal(old.call("FCALL", "g", 0), 2, "a function that was there and back")


@case
def a_cluster(options):
    replace, leave = recipe("A cluster, a node at a time")
    old = Cluster(options.reference, 4, 15000, repl_diskless_sync_delay=0)
    for server, slots in zip(old.servers, ((0, 5461), (5462, 10922), (10923, 16383))):
        server.call("CLUSTER", "ADDSLOTSRANGE", *slots)
    for server in old.servers[1:]:
        old.servers[0].call("CLUSTER", "MEET", "127.0.0.1", server.port)
    eventually(lambda: len(nodes_seen_by(old.servers[3])) == 4, 60, "they have met")
    eventually(lambda: old.servers[3].call("CLUSTER", "REPLICATE", node_id(old.servers[0])) == b"OK", 60, "a replica", ignore=(Exception,))
    old.wait_until_agreed()
    for tag in ("a", "b", "c", "d"):
        owner = old.primary_of(key_slot(tag))
        with owner.client() as client:
            for _, command in commands_of_every_type("{%s}" % tag):
                client.ok(*command)

    def contents(cluster):
        held = {}
        for node in cluster.nodes().values():
            if node.is_primary and node.ranges:
                with Client(node.port) as client:
                    held.update({key: Held.propagated(value) for key, value in read_database(client).items() if not key.startswith(b"writer:")})
        return held

    expected = contents(old)
    writer = Writer([s.port for s in old.servers]).start()
    olds, news = list(old.servers), []
    try:
        for server in olds:
            new = old.add_server(options.server)
            news.append(new)
            places = {"OLD": server.address, "NEW": new.address}
            if server is olds[3]:
                # Its primary's place was taken by the first new node.
                lines = replace.splitlines()
                lines = lines[: 1 + next(i for i, line in enumerate(lines) if line.startswith("until "))]
                lines[0] = f"id={node_id(news[0])}"
                carry_out("\n".join(lines), **places)
            else:
                carry_out(replace, **places)
            writer.client.seeds = [s.port for s in news]
            contains(carry_out(leave, **places), "[OK] All 16384 slots covered.")
            server.kill()
            old.servers.remove(server)
            old.wait_until_agreed()
            equal(writer.verify(), [], "acknowledged writes lost")
            writer.resume()
            print(f"    {server} has left; {writer.writes} writes so far", flush=True)
        old.wait_until_agreed()
        old.wait_until_replicas_online()
        old.check()
        found = differences(contents(old), expected)
        assert not found, found
        equal(writer.verify(), [], "acknowledged writes lost")
    finally:
        writer.stop()
        print(f"    {writer.report()}")


@case
def with_files(options):
    for log in ("no", "yes"):
        old = Server(options.reference, save="900 1", appendonly=log).start()
        fill_all(old, databases=(0, 5))
        expected = read_all(old, view=Held.propagated)
        old.terminate()
        new = Server(options.server, directory=old.directory, appendonly=log).start()
        equal(differences(read_all(new, view=Held.propagated), expected), "")
        new.kill()


if __name__ == "__main__":
    main()
