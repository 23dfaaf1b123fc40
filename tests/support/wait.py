"""Waiting for a condition: the only way in which these tests let time pass."""

import time


class TimedOut(AssertionError):
    pass


def eventually(condition, timeout_s=30.0, what=None, interval_s=0.05, ignore=(OSError,)):
    """Polls `condition` until it returns something true, and returns that. Exceptions in `ignore` count as "not yet"."""
    deadline = time.monotonic() + timeout_s
    last = None
    while True:
        # Whoever was kept from running until the time was over looks once more.
        over = time.monotonic() >= deadline
        try:
            value = condition()
            if value:
                return value
            last = value
        except ignore as error:
            last = error
        if over:
            name = what or getattr(condition, "__name__", "condition")
            raise TimedOut(f"not within {timeout_s:g} s: {name} (last: {last!r})")
        time.sleep(interval_s)
