"""The kinds of attempts, and how often each is made."""

from collections.abc import Callable
from pathlib import Path

from bench.hostile import buckets, comfy, directories, documents, files, kills, options, second
from bench.hostile.nasty import casts, clocks, containers, exchanged, impostors, pointing, scarce, wires
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
    "containers": containers.attempt,
    "pointing": pointing.attempt,
    "casts": casts.attempt,
    "clocks": clocks.attempt,
    "scarce": scarce.attempt,
    "impostors": impostors.attempt,
    "wires": wires.attempt,
    "exchanged": exchanged.attempt,
    "kills": kills.attempt,
}
# Of 10,000 inputs 4,000 directories: every stored file in every way, once (`Tally.of` says how many that takes).
FIRST = {"options": 33, "documents": 16, "files": 4, "directories": 40, "comfy": 5, "buckets": 2, "kills": 1}
SECOND = {"contradictions": 4, "surroundings": 3, "names": 2, "forged": 5, "older": 2, "sizes": 1}
THIRD = {
    "containers": 12, "pointing": 14, "casts": 18, "clocks": 3, "scarce": 5, "impostors": 7, "wires": 7,
    "exchanged": 38,
}  # fmt: skip
