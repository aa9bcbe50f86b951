"""Real clips, muxed and coded oddly: what PyAV decodes comes out, or one line says why not."""

from pathlib import Path

import av

from bench.hostile.nasty.looked import (
    INPUT,
    WELL,
    call,
    look_at_result,
    nothing_left,
    nth,
    pictures,
    tracked,
)
from bench.hostile.nasty.odd_clips import MAKERS
from bench.hostile.trial import Trial
from storage.errors import EnvironmentFault

NAMES = tuple(MAKERS)
MADE = Path("containers")
NO_ENCODER = (av.FFmpegError, ValueError)  # this libav lacks it, or does not take such a picture


def attempt(trial: Trial, room: Path) -> None:
    """Every clip is looked at (`frame`) and worked through (`extract`, `run`), in turn."""
    name, again = nth(trial, NAMES)
    made = MAKERS[name]
    (room / "in").mkdir()
    try:
        video = made.make(room / "in" / f"clip{made.suffix}", trial.rng)
    except NO_ENCODER as error:
        trial.notes.append(f"{name}: not made: {error}")
        video = Path(trial.world.case.video)
    how = (again + trial.number) % 3
    if how == 0:
        _frames(trial, room, video)
    else:
        _through(trial, room, video, ("extract", "run")[how - 1], made.plain)
    nothing_left(trial, room)


def _frames(trial: Trial, room: Path, video: Path) -> None:
    given = pictures(video)
    for number, at in enumerate(trial.rng.sample(["0", "1", "5", "7", "0.1s", "0:00.2", "99", "1:00:00"], 3)):
        to = room / f"at{number}.png"
        ended = call(trial, ["frame", str(video), "--at", at, "--to", str(to)], models=True)
        trial.expect(ended.code in (0, INPUT, 2), f"frame --at {at} ends with {ended.code}")
        trial.expect((ended.code == 0) == to.exists(), "a frame is there where it failed, or none where it did not")
        if at == "0" and given:
            trial.expect(ended.code in (0, INPUT), "frame 0 is refused")
        if ended.code == 0:
            trial.expect(bool(pictures(to)), "the frame that was written is none")


def _through(trial: Trial, room: Path, video: Path, command: str, plain: bool) -> None:
    given, out = pictures(video), room / "out"
    height, width = given[0].shape[:2] if given else (48, 64)
    box = f"{width * 0.3:.1f},{height * 0.3:.1f},{width * 0.7:.1f},{height * 0.7:.1f}"
    words = [command, str(video), "--out", str(out), "--box", box, *tracked(trial.world)]
    large = width * height > 100_000
    ended = call(trial, words, models=True, limit=180.0 if large else 60.0)
    allowed = (*WELL, INPUT, EnvironmentFault.exit_code) if large else (*WELL, INPUT)
    trial.expect(ended.code in allowed, f"{command} ends with {ended.code}")
    if given == []:
        trial.expect(ended.code == INPUT, f"without a frame {command} ends with {ended.code}")
    if plain and given:
        trial.expect(ended.code in WELL, f"{command} refuses a sound clip of {len(given)} frames with {ended.code}")
    if ended.code == INPUT and given is None:
        return
    if ended.code in WELL and command == "run":
        look_at_result(trial, out, video, plain)
