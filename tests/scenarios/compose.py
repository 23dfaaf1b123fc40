#!/usr/bin/env python3
"""conf/compose.yaml and conf/compose.host.yaml as users start them, and clients outside that follow redirections.

Takes docker compose or podman-compose. Ends with 77 where containers cannot run, and says why.
"""

import argparse
import os
import random
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import parse_nodes
from support.cluster_client import ClusterClient
from support.containers import Engine
from support.ports import bindable
from support.process import run, temporary_directory
from support.resp import Client, ProtocolViolation, ReplyError, parse_info
from support.scenario import ROOT, Skip, case, contains, equal, main
from support.wait import eventually

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--image", help="an image that is there already")

PORTS = range(6381, 6387)
PASSWORD = "correct\\horse \"1"
engine = Engine()
built = None


def compose_command(file):
    """What runs a compose file here, with that file."""
    path = os.path.join(ROOT, "conf", file)
    if engine.command == "docker" and "version" in run(["docker", "compose", "version"], check=False):
        return ["docker", "compose", "-f", path]
    # Compose 1 talks to docker, or to podman's socket by DOCKER_HOST; it does not know the file's own name for the project.
    if shutil.which("docker-compose") and (engine.command == "docker" or "DOCKER_HOST" in os.environ):
        with open(path) as file:
            text = re.sub(r"^name: .*\n", "", file.read(), flags=re.M)
        copy = os.path.join(temporary_directory(), "compose.yaml")
        with open(copy, "w") as file:
            file.write(text)
        return ["docker-compose", "-f", copy]
    if not shutil.which("podman-compose"):
        skip(f"{engine.command} has no compose here")
    if "network_mode: host" in open(path).read():
        raise Skip("podman-compose adds a network to containers on the host's")
    return ["podman-compose", "-f", path]


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def ready():
    for port in PORTS:
        with Client(port, timeout_s=5) as client:
            if parse_info(client.ok("CLUSTER", "INFO"))["cluster_state"] != "ok":
                return False
            nodes = parse_nodes(client.ok("CLUSTER", "NODES")).values()
            if sum("slave" in node.flags for node in nodes) != 3:
                return False
            replication = client.info("replication")
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
    return True


def prepare(options, file):
    """(command, project) to run the file with the image."""
    global built
    if engine.unusable:
        skip(engine.unusable)
    command = compose_command(file)
    busy = [port for port in PORTS if not bindable(port)]
    if busy:
        skip(f"the ports of the compose file are taken: {busy}")
    if built is None:
        built = options.image or engine.build(options.server)
    os.environ["TESSERA_IMAGE"] = built
    return command, f"{engine.prefix}compose"


def up_and_down(options, file, check_nodes, subnet=None):
    """`subnet` is where the network is when it comes up the second time."""
    command, project = prepare(options, file)
    compose = [*command, "-p", project]
    try:
        run([*compose, "up", "-d"], timeout_s=600)
        eventually(ready, 240, "the cluster is ok for clients outside", ignore=(OSError, ReplyError, ProtocolViolation))
        with Client(PORTS[0]) as client:
            nodes = parse_nodes(client.ok("CLUSTER", "NODES"))
            check_nodes(nodes)
            # Replicas are told of once their offset has been heard of.
            expected = {(b"127.0.0.1", port) for port in PORTS}
            eventually(lambda: {tuple(n[:2]) for r in client.ok("CLUSTER", "SLOTS") for n in r[2:]} == expected, 60, "CLUSTER SLOTS")
        # With its own eyes redis-cli finds everything from one address.
        for key in ("k1", "k2", "k3", "k4"):
            equal(run(["redis-cli", "-c", "-p", PORTS[0], "set", key, "v"]).strip(), "OK")
        client = ClusterClient([PORTS[3]])
        for index in range(200):
            equal(client("SET", f"key:{index}", index), b"OK")
        client.close()
        # The nodes find each other's data where peers are, not where clients are sent.
        for node in range(1, 7):
            eventually(
                lambda: "ready" in engine("exec", container(project, f"node-{node}"), "tessera-health", "ready", check=False).split(),
                60, f"node-{node} finds itself ready",
            )  # fmt: skip
        # Once more on the same volumes: joined already, and the keys are there.
        run([*compose, "down"], timeout_s=600)
        if subnet:
            network = f"{project}_default"
            engine("network", "rm", network, check=False)  # podman-compose leaves it, and would not set a subnet
            if "podman-compose" in compose:
                engine("network", "create", "--subnet", f"{subnet}.0/24", network)
            else:
                elsewhere = os.path.join(temporary_directory(), "elsewhere.yaml")
                with open(elsewhere, "w") as override:
                    override.write(f'version: "3"\nnetworks: {{default: {{ipam: {{config: [{{subnet: {subnet}.0/24}}]}}}}}}\n')
                compose = [*command, "-f", elsewhere, "-p", project]
        run([*compose, "up", "-d", *(f"node-{n}" for n in range(1, 7))], timeout_s=600)  # the creator is not needed
        start = time.monotonic()
        eventually(ready, 240, "the cluster is ok again", ignore=(OSError, ReplyError, ProtocolViolation))
        print(f"  {time.monotonic() - start:.1f} s after the second `up` the cluster is ok, the replicas in sync")
        if subnet:
            for node in range(1, 7):
                addresses = engine("exec", container(project, f"node-{node}"), "hostname", "-i").split()
                assert any(a.startswith(subnet + ".") for a in addresses), addresses
        client = ClusterClient([PORTS[0]])
        for index in range(200):
            equal(client("GET", f"key:{index}"), str(index).encode())
        client.close()
    except Exception:
        for node in range(1, 7):
            print("".join(f"node-{node}: {line}\n" for line in engine.logs(container(project, f"node-{node}")).splitlines()[-10:]))
        print(engine.logs(container(project, "creator")))
        raise
    finally:
        run([*compose, "down", "-v"], timeout_s=300, check=False)
        engine("network", "rm", f"{project}_default", check=False)


def container(project, service):
    names = engine("ps", "-a", "--format", "{{.Names}}").split()
    return next((n for n in names if n.startswith(project) and service in n), service)


@case
def on_a_bridge(options):
    def check(nodes):
        equal(sorted(n.port for n in nodes.values()), list(PORTS))
        equal({n.host for n in nodes.values()}, {"127.0.0.1"})
        equal({n.bus_port for n in nodes.values()}, {16379}, "the bus is the peers' own")
        equal(sorted(n.hostname for n in nodes.values()), [f"node-{i}" for i in range(1, 7)])

    up_and_down(options, "compose.yaml", check, subnet=f"10.{random.randrange(130, 250)}.{random.randrange(1, 250)}")


@case
def on_the_host(options):
    def check(nodes):
        equal(sorted(n.port for n in nodes.values()), list(PORTS))
        equal(sorted(n.bus_port for n in nodes.values()), [p + 10000 for p in PORTS])

    up_and_down(options, "compose.host.yaml", check)


@case
def with_a_password(options):
    """It keeps strangers out, and neither creator nor replicas nor the health check."""
    command, project = prepare(options, "compose.host.yaml")
    compose = [*command, "-p", project]
    os.environ["TESSERA_PASSWORD"] = PASSWORD
    try:
        run([*compose, "up", "-d"], timeout_s=600)

        def all_ready():
            checks = [engine("exec", container(project, f"node-{node}"), "tessera-health", "ready", check=False) for node in range(1, 7)]
            return [check.strip() for check in checks] == ["ready"] * 6

        eventually(all_ready, 240, "all nodes are ready")
        contains(run(["redis-cli", "-p", PORTS[0], "set", "k", "v"]), "NOAUTH")
        equal(run(["redis-cli", "-c", "-p", PORTS[0], "-a", PASSWORD, "--no-auth-warning", "set", "k", "v"]).strip(), "OK")
    except Exception:
        print(engine.logs(container(project, "creator")))
        raise
    finally:
        run([*compose, "down", "-v"], timeout_s=300, check=False)
        del os.environ["TESSERA_PASSWORD"]


if __name__ == "__main__":
    main(parser)
