"""GET over HTTP as monitoring does it, and Prometheus's text form read strictly."""

import http.client
import re

_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"')


def get(port, path, timeout_s=30, method="GET"):
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def parse_metrics(text):
    """[(name, labels, value)]; a line Prometheus would refuse fails."""
    samples, types = [], {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"two families {name}"
            types[name] = kind
        elif line and not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line!r}"
            samples.append((match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])))
    seen = [(name, tuple(sorted(labels.items()))) for name, labels, _ in samples]
    assert len(seen) == len(set(seen)), "a sample twice"
    return samples


def metrics(port):
    status, text = get(port, "/metrics")
    assert status == 200, (status, text)
    return parse_metrics(text)


def value(samples, name, **labels):
    """The one sample of that name with these labels (and perhaps more)."""
    found = [v for n, l, v in samples if n == name and all(l.get(key) == text for key, text in labels.items())]
    assert len(found) == 1, f"{len(found)} samples {name} {labels}"
    return found[0]
