"""Mutated videos through `skate run`: exit code 0, 1 or 3, never a traceback, never a hang, memory bounded.

Twenty here; `python bench/fuzz_video.py --runs 200` does more.
"""

from pathlib import Path

import pytest
from _crash import Case, make_case
from _fuzz import mutate, write_bases
from _zygote import shared_zygote

from stages.decode import DecodeConfig, DecodeStage
from stages.video.digest import frame_digest
from stages.video.limits import VideoLimits
from stages.video.reader import VideoReader
from storage.spans import Span

SEEDS = (140, *range(1000, 1019))  # 140: FFmpeg says "out of memory" of a header that lies
LIMIT_SECONDS = 60.0
MORE_MEMORY = 3 << 30  # address space beyond what the forked process has


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, list[bytes], list[str]]:
    folder = tmp_path_factory.mktemp("fuzz")
    small = make_case(folder, frames=7)
    paths = write_bases(small.video, folder)
    return small, [path.read_bytes() for path in paths], [path.suffix for path in paths]


@pytest.mark.parametrize("seed", SEEDS)
def test_mutated_video(tmp_path: Path, bases: tuple[Case, list[bytes], list[str]], seed: int) -> None:
    case, data, suffixes = bases
    which = seed % len(data)
    video = tmp_path / f"mutated{suffixes[which]}"
    video.write_bytes(mutate(data[which], seed))
    arguments = Case(video, case.options).run(tmp_path / "run")
    ended = shared_zygote().run(arguments, limit=LIMIT_SECONDS, memory_bytes=MORE_MEMORY)
    assert not ended.timed_out, f"seed {seed}: {ended.output[-500:]}"
    assert ended.code in (0, 1, 3), f"seed {seed}: {ended.output[-500:]}"
    assert "Traceback" not in ended.output, f"seed {seed}: {ended.output[-1500:]}"
    if ended.code == 3:
        assert ended.output.splitlines()[-1].startswith("skate: "), f"seed {seed}: {ended.output[-500:]}"


def test_the_mutations_are_what_they_were() -> None:
    """A recorded seed must mean the same bytes later."""
    import hashlib

    found = hashlib.sha256(b"".join(mutate(bytes(range(256)) * 40, seed) for seed in range(50))).hexdigest()
    assert found[:16] == "26785da7358c135f"


def test_without_damage_it_runs(bases: tuple[Case, list[bytes], list[str]], tmp_path: Path) -> None:
    case, data, suffixes = bases
    for content, suffix in zip(data, suffixes, strict=True):
        video = tmp_path / f"sound{suffix}"
        video.write_bytes(content)
        arguments = ["extract", *Case(video, case.options).run(tmp_path / f"run{suffix}")[1:]]
        ended = shared_zygote().run(arguments, limit=LIMIT_SECONDS, memory_bytes=MORE_MEMORY)
        assert ended.code == 0, f"{suffix}: {ended.output}"


@pytest.mark.parametrize("seed", [59, 78, 96, 109, 176, 254, 279, 351, 452, 488, 501, 518])
def test_damaged_frames_come_out_the_same_every_time(
    tmp_path: Path, bases: tuple[Case, list[bytes], list[str]], seed: int
) -> None:
    """Several decoding threads handed pictures over before they noted damage in them: these then gave now one picture,
    now another, or others than one thread does."""
    _, data, suffixes = bases
    video = tmp_path / f"mutated{suffixes[seed % len(data)]}"
    video.write_bytes(mutate(data[seed % len(data)], seed))
    found = set()
    for _ in range(6):
        with DecodeStage(DecodeConfig(video, 5, 2)) as stage:
            decoded = stage.next(Span(0, 60))
        found.add((tuple(decoded.digests), tuple(decoded.bad_frames)))
    assert len(found) == 1
    with VideoReader(video, VideoLimits(), careful=True) as reader:
        alone = [frame_digest(frame.picture.to_ndarray(format="rgb24")) for frame in reader.frames()]
    assert list(found.pop()[0]) == alone
