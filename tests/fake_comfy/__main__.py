"""The server as a process of its own (see `fake_comfy.process`): prints its address, serves until stdin is closed."""

import argparse
import sys

from fake_comfy.server import FakeComfy

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--step-seconds", type=float, default=0.0)
given = parser.parse_args()
with FakeComfy(step_seconds=given.step_seconds, port=given.port) as server:
    print(server.address, flush=True)
    sys.stdin.read()
