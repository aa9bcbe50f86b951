"""The kinds of attempts, and how often each is made."""

from collections.abc import Callable
from pathlib import Path

from bench.hostile import buckets, comfy, directories, documents, files, kills, options, second
from bench.hostile.trial import Trial

Attempt = Callable[[Trial, Path], None]
ATTEMPTS: dict[str, Attempt] = {
    "options": options.attempt,
    "documents": documents.attempt,
    "files": files.attempt,
    "directories": directories.attempt,
    "comfy": comfy.attempt,
    "buckets": buckets.attempt,
    "contradictions": second.contradictions,
    "surroundings": second.surroundings,
    "names": second.names,
    "forged": second.forged,
    "older": second.older,
    "sizes": second.sizes,
    "kills": kills.attempt,
}
# Of 10,000 inputs 4,000 directories: every stored file in every way, once (`Tally.of` says how many that takes).
FIRST = {"options": 33, "documents": 16, "files": 4, "directories": 40, "comfy": 5, "buckets": 2, "kills": 1}
SECOND = {"contradictions": 4, "surroundings": 3, "names": 2, "forged": 5, "older": 2, "sizes": 1}
