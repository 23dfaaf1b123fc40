"""Delta debugging: the shortest part of a list that still shows what the whole shows."""

import time


def shortest(parts, differs, deadline_s):
    """Leaves out ever smaller pieces of `parts` while `differs(rest)` is true, until nothing can go or the time is over."""
    size = max(1, len(parts) // 2)
    while time.monotonic() < deadline_s:
        at, progress = 0, False
        while at < len(parts) and time.monotonic() < deadline_s:
            fewer = parts[:at] + parts[at + size :]
            if fewer and differs(fewer):
                parts, progress = fewer, True
            else:
                at += size
        if size == 1 and not progress:
            break
        size = max(1, size // 2)
    return parts
