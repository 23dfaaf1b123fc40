#!/usr/bin/env python3
"""random_commands.py with two clusters of two nodes."""

import random_commands

if __name__ == "__main__":
    random_commands.main(cluster=True)
