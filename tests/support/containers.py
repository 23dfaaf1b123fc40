"""Docker or podman, whichever is there: the image under test, nodes of a cluster in containers, and nothing left behind.

Everything of a test program carries a label with its process id. What a program that was killed left behind is removed by
the next one.
"""

import atexit
import json
import os
import re
import shutil
import subprocess
import time

from .cluster import Cluster
from .process import Server, converse, run, temporary_directory
from .scenario import ROOT

BASE = "debian:bookworm-slim"
_LABEL = "tessera-test"


class Engine:
    """The container command. `unusable` says why containers cannot run here, or is empty."""

    def __init__(self):
        self.command, self.unusable = "", "neither docker nor podman is installed"
        self.prefix = f"t{os.getpid()}-"
        names = [os.environ["CONTAINER_ENGINE"]] if "CONTAINER_ENGINE" in os.environ else ["docker", "podman"]
        for name in filter(shutil.which, names):
            self.command = name
            self.unusable = self._why_unusable()
            if not self.unusable:
                break
        if not self.unusable:
            self._sweep(lambda pid: pid == os.getpid() or not os.path.exists(f"/proc/{pid}"))
            atexit.register(self.close)

    def _why_unusable(self):
        try:
            run([self.command, "info"], timeout_s=60)
            if "Error" in run([self.command, "image", "inspect", BASE], timeout_s=60, check=False):
                run([self.command, "pull", BASE], timeout_s=300)
            run([self.command, "run", "--rm", "--net", "host", BASE, "true"], timeout_s=120)
            return ""
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return f"{self.command} is not usable here: {lines[-1] if lines else type(error).__name__}"

    def __call__(self, *arguments, **options):
        return run([self.command, *arguments], **options)

    def run(self, *arguments, **options):
        """`run` with our label before the arguments."""
        return self("run", "--label", f"{_LABEL}={os.getpid()}", *arguments, **options)

    def once(self, image, *command, **options):
        """What a command in a container of its own writes. Without health check: podman talks about those."""
        return self.run("--rm", "--no-healthcheck", image, *command, **options)

    def state(self, name):
        return json.loads(self("inspect", "-f", "{{json .State}}", name))

    def logs(self, name):
        return self("logs", name, check=False)

    def build(self, server=None):
        """The image; with `server` around that binary, otherwise compiled from the sources. Returns its name."""
        context, arguments = ROOT, []
        if server:
            context = temporary_directory("tessera-image-")
            for name in ("Dockerfile", "conf"):
                source = os.path.join(ROOT, name)
                (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(context, name))
            run(["strip", "-o", os.path.join(context, "tessera-server"), server])
            arguments = ["--build-arg", "SERVER=tessera-server"]
        if self.command == "podman":
            arguments += ["--format", "docker"]  # The OCI format has no health checks.
        image = f"localhost/tessera-test:{os.getpid()}"
        self("build", *arguments, "--label", f"{_LABEL}={os.getpid()}", "-t", image, context, timeout_s=3600)
        return image

    def _sweep(self, over):
        for kind, list, remove in (("container", ("ps", "-a"), ("rm", "-f", "-v")), ("image", ("images",), ("rmi", "-f"))):
            for id in self(*list, "-q", "--filter", f"label={_LABEL}", check=False).split():
                found = re.search(rf'"{_LABEL}": *"(\d+)"', self(kind, "inspect", id, check=False))
                if found and over(int(found[1])):
                    self(*remove, id, check=False)

    def close(self):
        self._sweep(lambda pid: pid == os.getpid())


class ContainerServer(Server):
    """A node as the tutorial starts it: host network, data on a mounted directory, everything else on the command line."""

    def __init__(self, engine, image, name, port, host, node_timeout_ms=None):
        super().__init__(image, directory=temporary_directory("tessera-data-"), port=port)
        self.engine, self.name, self.host = engine, name, host
        self.node_timeout_ms = node_timeout_ms
        self.created = self.up = False
        self.stop_s = []

    def __str__(self):
        return self.name

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def launch(self):
        if self.created:
            self.engine("start", self.name)
        else:
            options = ["--cluster-node-timeout", self.node_timeout_ms] if self.node_timeout_ms else []
            self.engine.run(
                "-d", "--name", self.name, "--net", "host", "--privileged=true", "-v", f"{self.directory}:/data", self.binary,
                "--cluster-enabled", "yes", "--appendonly", "yes", "--port", self.port, *options,
            )  # fmt: skip
        self.created = self.up = True
        return self

    def running(self):
        return self.up

    def terminate(self, timeout_s=60.0):
        """`docker stop`, and how it ended."""
        started = time.monotonic()
        self.engine("stop", self.name, timeout_s=timeout_s)
        self.stop_s.append(time.monotonic() - started)
        self.up = False
        return self.engine.state(self.name)["ExitCode"]

    def kill(self):
        if self.created:
            self.engine("rm", "-f", "-v", self.name, check=False)
            # The files belong to the image's user, whom only a container can play if we are not root.
            if os.getuid() != 0:
                self.engine.run(
                    "--rm", "-v", f"{self.directory}:/data", "--entrypoint", "find", self.binary, "/data", "-mindepth", "1", "-delete",
                    check=False,
                )  # fmt: skip
        self.created = self.up = False

    def log(self):
        return self.engine.logs(self.name) if self.created else ""


class ContainerCluster(Cluster):
    """The tutorial's nodes; redis-cli runs inside them, as there."""

    def __init__(self, engine, image, nodes, ports, host="127.0.0.1", node_timeout_ms=None):
        self.engine, self.image, self.ports, self.host = engine, image, ports, host
        super().__init__(image, 0, node_timeout_ms)
        for _ in range(nodes):
            self._add()

    def _add(self):
        number = len(self.servers) + 1
        server = ContainerServer(
            self.engine, self.image, f"{self.engine.prefix}redis-node-{number}", self.ports[number - 1], self.host, self.node_timeout_ms
        )
        self.servers.append(server)
        return server

    def add_server(self, binary):
        return self._add().start()

    def redis_cli(self, *arguments, timeout_s=600.0, **options):
        return self.engine("exec", "-i", self.running()[0].name, "redis-cli", *arguments, timeout_s=timeout_s, **options)

    def converse(self, arguments, dialogue, **limits):
        """docker exec -it NODE /bin/bash, and in it redis-cli."""
        prompt = ":/data# "
        command = " ".join(["redis-cli", *map(str, arguments)])
        return converse(
            [self.engine.command, "exec", "-it", self.running()[0].name, "/bin/bash"],
            [(prompt, command), *dialogue, (prompt, "exit")],
            **limits,
        )


if __name__ == "__main__":
    found = Engine()
    print(f"tests in containers are skipped: {found.unusable}" if found.unusable else f"tests in containers run with {found.command}")
