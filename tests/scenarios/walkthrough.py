#!/usr/bin/env python3
"""The tutorial, steps 2 to 12, with processes (support/tutorial.py)."""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.cluster import Cluster
from support.scenario import case, main
from support.tutorial import walk

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--node-timeout-ms", type=int, default=5000)
parser.add_argument("--keys", type=int, default=3000)
parser.add_argument("--first-port", type=int, help="ports from here on, as the tutorial's 6381 (default: free ones)")


@case
def walkthrough(options):
    walk(Cluster(options.server, 6, options.node_timeout_ms, options.first_port), options.keys)


if __name__ == "__main__":
    main(parser)
