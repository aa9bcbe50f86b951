"""`python -m bench.hostile`: whatever comes from outside is refused in one line or passed over; nothing is lost.

trial.py        one attempt, what it called, and what did not hold
world.py        what attempts share: a clip, models, finished runs, servers, the process that is forked
odd.py          odd values: texts, numbers, JSON and TOML trees, bytes, what stands at a path
options.py      every option of every command, from click's own parameters
documents.py    scenes, jobs, variations, options, workflows, exports, cuts, poses, configs
files.py        videos, weights, pictures
directories.py  every stored file of a run: flipped, cut, emptied, swapped, linked, removed
comfy.py        a ComfyUI server that answers with anything
buckets.py      an S3 server that does
kills.py        a run that is killed again and again
second.py       a second set, made after the first was clean, by other means
nasty/          a third set, by fresh eyes: a nasty world rather than a fuzzer
workers.py      attempts at once
record.py       how far it came, and the record
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests")) if path not in sys.path]
