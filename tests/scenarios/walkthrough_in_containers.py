#!/usr/bin/env python3
"""The tutorial in real containers: the image, its entrypoint, one node with a redis.conf and a volume, then steps 2 to 12.

    tests/scenarios/walkthrough_in_containers.py            builds the image around the release server
    tests/scenarios/walkthrough_in_containers.py --compile  builds it as users do, from the sources
    tests/scenarios/walkthrough_in_containers.py --image I  takes an image that is there

Uses docker or podman, or what $CONTAINER_ENGINE names. Ends with 77 where containers cannot run, and says why.
"""

import argparse
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.containers import ContainerCluster, Engine
from support.ports import bindable, free_port
from support.process import temporary_directory
from support.resp import Client, ProtocolViolation, ReplyError
from support.scenario import Skip, case, contains, equal, main
from support.tutorial import walk
from support.wait import eventually

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--image", help="an image that is there already")
parser.add_argument("--compile", action="store_true", help="compile the server in the image's build")
parser.add_argument("--keys", type=int, default=1000)
parser.add_argument("--node-timeout-ms", type=int, help="for shorter failovers (default: the stock 15 s)")

TUTORIAL_PORTS = range(6381, 6389)
engine = Engine()
built = None


def image(options):
    global built
    if engine.unusable:
        print(f"skipped: {engine.unusable}")
        sys.exit(77)
    if built is None:
        built = options.image or engine.build(None if options.compile else options.server)
    return built


def name(what):
    return engine.prefix + what


def wait_for(port, what=None):
    """Until the server answers and has loaded its data."""

    def answers():
        with Client(port, timeout_s=5) as client:
            return client.ok("PING") == b"PONG"

    eventually(answers, 120, what, ignore=(OSError, ReplyError, ProtocolViolation))


def status_of(text):
    """/proc/PID/status by field."""
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@case
def image_says_what_it_is(options):
    inspected = json.loads(engine("image", "inspect", image(options)))[0]
    config = inspected["Config"]
    equal(config["Entrypoint"], ["docker-entrypoint.sh"])
    equal(config["Cmd"], ["redis-server"])
    equal(config["WorkingDir"], "/data")
    equal(list(config["Volumes"]), ["/data"])
    equal(sorted(config["ExposedPorts"]), ["16379/tcp", "6379/tcp"])
    equal(config["StopSignal"] in ("SIGTERM", "15"), True)
    equal((config.get("Healthcheck") or inspected["Healthcheck"])["Test"], ["CMD", "tessera-health"])
    version = engine.once(image(options), "redis-server", "--version")
    contains(version, f"v={config['Labels']['org.opencontainers.image.version']} ")
    for tool in ("redis-cli", "redis-benchmark"):
        contains(engine.once(image(options), tool, "--version"), tool)
    equal(engine.once(image(options), "id", "redis").strip(), "uid=999(redis) gid=999(redis) groups=999(redis)")


@case
def entrypoint_starts_like_the_official_one(options):
    """Whoever starts it: the server runs as who it should, writes to /data, and stops with 0."""
    port = free_port()
    server = ["--port", port, "--appendonly", "yes"]
    for what, flags, uid, umask in (
        ("as root it becomes redis", ["--privileged=true"], "999", "0077"),
        ("without capabilities", ["--cap-drop", "all"], "0", "0077"),
        ("as somebody", ["--user", "1234"], "1234", "0077"),
        ("nothing but /data can be written", ["--read-only"], "999", "0077"),
        ("all of it", ["--read-only", "--user", "1234:1234", "--cap-drop", "all", "--tmpfs", "/data:mode=1777"], "1234", "0077"),
    ):
        engine.run("-d", "--name", name("entry"), "--net", "host", *flags, image(options), *server)
        wait_for(port, what)
        status = status_of(engine("exec", name("entry"), "cat", "/proc/1/status"))
        equal(status["Name"], "redis-server", what)
        equal(status["Uid"].split()[1], uid, what)
        equal(status["Umask"], umask, what)
        if uid != "0" or "--cap-drop" in flags:
            equal(int(status["CapEff"], 16), 0, what)
        contains(engine("exec", name("entry"), "tessera-health"), "PONG", what)
        equal(engine("exec", name("entry"), "tessera-health", "ready").strip(), "ready", what)
        with Client(port) as client:
            equal(client.ok("CONFIG", "GET", "protected-mode"), [b"protected-mode", b"no"])
            equal(client.ok("SET", "k", "v"), b"OK")
        engine("stop", name("entry"), timeout_s=120)
        equal(engine.state(name("entry"))["ExitCode"], 0, what)
        log = engine.logs(name("entry"))
        contains(log, "Received SIGTERM", what)
        engine("rm", "-f", "-v", name("entry"))
    contains(engine.once(image(options), "redis-cli", "--help", check=False), "Usage: redis-cli", "other commands simply run")
    equal(engine.once(image(options), "sh", "-c", "umask; id -u").split(), ["0077", "0"], "other commands stay root")
    contains(engine.once(image(options), "/nowhere.conf", check=False), "/nowhere.conf")
    unhealthy = engine.once(image(options), "sh", "-c", "tessera-health || echo refused", check=False)
    contains(unhealthy, "refused", "a server that does not answer is not healthy")


@case
def protected_mode_is_off(options):
    """Whoever sets defaults of his own, or replaces the entrypoint."""
    port = free_port()
    for flags, maxclients in ((["-e", "TESSERA_DEFAULTS=maxclients 77"], b"77"), (["--entrypoint", "redis-server"], b"10000")):
        engine.run("-d", "--name", name("entry"), "--net", "host", *flags, image(options), "--port", port)
        wait_for(port, str(flags))
        with Client(port) as client:
            equal(client.ok("CONFIG", "GET", "protected-mode"), [b"protected-mode", b"no"], str(flags))
            equal(client.ok("CONFIG", "GET", "maxclients"), [b"maxclients", maxclients], str(flags))
        engine("rm", "-f", "-v", name("entry"))


@case
def health_check_finds_the_server(options):
    port = free_port()
    directory = temporary_directory()
    os.chmod(directory, 0o755)
    configuration = os.path.join(directory, "redis.conf")
    with open(configuration, "w") as file:
        file.write(f'port "{port}"\nbind 127.0.0.2\n')
    os.chmod(configuration, 0o644)
    mount = ["-v", f"{configuration}:/etc/redis.conf"]
    for what, arguments in (("file", ["/etc/redis.conf"]), ("command line", ["--port", port, "--bind", "127.0.0.2", "127.0.0.3"])):
        engine.run("-d", "--name", name("entry"), "--net", "host", *mount, image(options), *arguments)
        eventually(lambda: engine("exec", name("entry"), "tessera-health", "ready", check=False).strip() == "ready", 120, what)
        engine("rm", "-f", "-v", name("entry"))


def stock_redis_conf(directory):
    """Debian's complete redis.conf, edited as the tutorial does."""
    try:
        with open("/etc/redis/redis.conf") as file:
            text = file.read()
    except OSError as error:
        raise Skip(f"no stock redis.conf to mount: {error}")
    for pattern, line in (
        (r"^bind .*", "# bind 127.0.0.1 -::1"),
        (r"^protected-mode .*", "protected-mode no"),
        (r"^daemonize .*", "daemonize no"),
        (r"^appendonly .*", "appendonly yes"),
        (r"^dir .*", "dir ./"),
        (r"^pidfile .*", ""),
        (r"^logfile .*", 'logfile ""'),
        (r"^databases .*", "databases 9"),
    ):
        text = re.sub(pattern, line, text, count=1, flags=re.M)
    assert len(text) > 80000, "not a complete redis.conf"
    path = os.path.join(directory, "redis.conf")
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    os.chmod(directory, 0o755)
    return path


@case
def step_1_one_node_with_a_configuration_and_a_volume(options):
    configuration = stock_redis_conf(temporary_directory())
    data = temporary_directory("tessera-data-")
    port = 6379 if bindable(6379) else free_port()

    def start():
        engine.run(
            "-p", f"{port}:6379", "--name", name("some-redis"), "--privileged=true", "-v", f"{configuration}:/etc/redis/redis.conf",
            "-v", f"{data}:/data", "-d", image(options), "redis-server", "/etc/redis/redis.conf",
        )  # fmt: skip
        wait_for(port)

    start()
    with Client(port) as client:
        equal(client.ok("CONFIG", "GET", "databases"), [b"databases", b"9"])
        equal(client.ok("CONFIG", "GET", "appendonly"), [b"appendonly", b"yes"])
        for index in range(1000):
            client.ok("SET", f"key:{index}", f"value {index}")
    equal(engine("exec", name("some-redis"), "redis-cli", "get", "key:7").strip(), "value 7")
    engine("rm", "-f", "-v", name("some-redis"))
    start()
    with Client(port) as client:
        equal(client.ok("DBSIZE"), 1000, "data survive the container")
        equal(client.ok("GET", "key:999"), b"value 999")
    # A node with data ends cleanly well inside the ten seconds.
    engine(
        "exec", name("some-redis"), "redis-benchmark", "-t", "set", "-n", "200000", "-r", "1000000", "-d", "100", "-P", "50", "-q",
        timeout_s=300,
    )  # fmt: skip
    with Client(port) as client:
        keys = client.ok("DBSIZE")
    started = time.monotonic()
    engine("stop", name("some-redis"), timeout_s=120)
    took = time.monotonic() - started
    equal(engine.state(name("some-redis"))["ExitCode"], 0)
    print(f"  stopped with {keys} keys in {took:.2f} s")
    assert took < 5, f"docker stop took {took:.1f} s"
    engine("start", name("some-redis"))
    wait_for(port)
    with Client(port) as client:
        equal(client.ok("DBSIZE"), keys, "nothing is lost")
    engine("rm", "-f", "-v", name("some-redis"))


@case
def steps_2_to_12_six_nodes(options):
    ports = list(TUTORIAL_PORTS)
    if not all(bindable(p) and bindable(p + 10000) for p in ports):
        ports = [free_port() for _ in ports]
        print(f"  the tutorial's ports are taken; these are used: {ports}")
    cluster = ContainerCluster(engine, image(options), 6, ports, node_timeout_ms=options.node_timeout_ms)
    first = cluster.servers[0]
    walk(cluster, options.keys)
    print(f"  docker stop of a primary took {first.stop_s[0]:.2f} s")
    assert first.stop_s[0] < 10, "docker stop took longer than its grace period"


if __name__ == "__main__":
    main(parser)
