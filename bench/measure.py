"""What the comparing programs of this folder measure a server process with."""

import os
import subprocess

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(server):
    """User and system time of the whole process, in ticks of the clock."""
    with open(f"/proc/{server.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def fine_cpu_s(server):
    """Time on a processor of all threads, in nanoseconds as the scheduler counts them."""
    total = 0
    for thread in os.listdir(f"/proc/{server.pid}/task"):
        try:
            with open(f"/proc/{server.pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
        except FileNotFoundError:  # The thread has ended.
            pass
    return total / 1e9


def resident_bytes(server):
    with open(f"/proc/{server.pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def version(binary):
    output = subprocess.run([binary, "--version"], stdout=subprocess.PIPE, text=True).stdout
    return next((word for word in output.split() if word.startswith("v=")), "v=?")[2:]


def pinned(core):
    return ["taskset", "-c", str(core)]


def name(binary):
    return f"{os.path.basename(binary)} {version(binary)}"
