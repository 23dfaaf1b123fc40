"""Runs the cases of a scenario file: every function decorated with @case, in the order of the file."""

import argparse
import os
import shutil
import sys
import time
import traceback

from . import process

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_cases = []


class Skip(Exception):
    """Raised by a case that cannot run with these servers; the reason is printed."""


def case(function):
    _cases.append(function)
    return function


def add_server_options(parser):
    parser.add_argument(
        "--server",
        default=os.environ.get("TESSERA_SERVER", os.path.join(ROOT, "build/release/server/tessera-server")),
        help="server under test (default: the release build, or $TESSERA_SERVER)",
    )
    parser.add_argument("--reference", default="redis-server", help="reference server (default: %(default)s)")


def resolve(binary):
    path = shutil.which(binary) or (os.path.abspath(binary) if os.path.exists(binary) else None)
    if path is None:
        sys.exit(f"no such server: {binary}")
    return os.path.abspath(path)


def main(parser=None):
    """Parses the command line, runs all cases or those named, and exits with 0 when all passed."""
    parser = parser or argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    add_server_options(parser)
    parser.add_argument("cases", nargs="*", help="run only the cases whose name contains one of these")
    options = parser.parse_args()
    if not (getattr(options, "image", None) or getattr(options, "compile", False)):  # an image brings its own
        options.server = resolve(options.server)
    options.reference = resolve(options.reference)
    failed = ran = 0
    for function in _cases:
        if options.cases and not any(name in function.__name__ for name in options.cases):
            continue
        ran += 1
        print(f"{function.__name__} ...", flush=True)
        start = time.monotonic()
        outcome = "ok"
        try:
            function(options)
        except Skip as reason:
            outcome = f"skipped: {reason}"
        except Exception:
            outcome = "FAILED"
            failed += 1
            sys.stdout.flush()
            process.dump_logs()
            traceback.print_exc()
        finally:
            process.end_all()
        print(f"{function.__name__}: {outcome} ({time.monotonic() - start:.1f} s)", flush=True)
    if ran == 0:
        sys.exit("no such case")
    sys.exit(1 if failed else 0)


def equal(actual, expected, what=""):
    if actual != expected:
        raise AssertionError(f"{what + ': ' if what else ''}got {_short(actual)}, expected {_short(expected)}")


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError(f"{what + ': ' if what else ''}no {part!r} in:\n{_short(text, 4000)}")


def _short(value, limit=600):
    text = repr(value)
    return text if len(text) <= limit else text[: limit // 2] + " ... " + text[-limit // 2 :]
