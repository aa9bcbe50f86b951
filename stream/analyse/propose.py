"""The scene that follows from what was found, with what could not be told as comments to edit."""

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from stages.generators import GENERATORS
from stages.poses.everyone import Sighting, Trace
from stages.prompts import Box, Correction, ObjectPrompt
from stages.subjects import PERSON, Subject
from stream.analyse.survey import Movement, Survey
from stream.engine.windows import WindowPlan
from stream.options.scene import MOST_SUBJECTS, Cast, Remarks
from stream.plan.hints import MINI, is_demo_clip
from stream.plan.rate import rate_line

SETTLING = 24  # frames from a person's first sight in a shot, of which the one with the least overlap is pointed at
SMALL = 0.25  # of the picture's height: a person who is smaller is better followed through a view
MOST_BRIEF = 8  # of those who were seen too briefly: listed


@dataclass(frozen=True)
class Proposal:
    """A scene to edit.

    Attributes:
        cast: the persons, and the cuts. people: by name, as they were seen.
        remarks: what stands beside them in the file.
        unsure: what could not be told, a sentence each.
    """

    cast: Cast
    people: dict[str, Trace]
    remarks: Remarks
    unsure: list[str]


def propose(found: Survey, video: Path, detector: str, resampled: float | None = None) -> Proposal:
    """The scene of a clip.

    Args:
        video: the clip. detector: its name or path. resampled: the rate to which the clip was brought, frames/s.
    """
    most = sorted(found.persons, key=lambda trace: -len(trace.seen))[:MOST_SUBJECTS]
    kept = [trace for trace in found.persons if any(trace is each for each in most)]
    people = {f"person-{number}": trace for number, trace in enumerate(kept, start=1)}
    subjects = tuple(subject(name, trace, found) for name, trace in people.items())
    unsure = _unsure(found, people, video, detector)
    head = (
        f"{video.name}, as `skate analyse` found it. Edit it, then: skate run {video.name} --scene THIS_FILE --out DIR",
        *facts(found, resampled),
        "What could not be told:",
        *(f"- {sentence}" for sentence in unsure),
    )
    of = {name: (_seen_text(trace, found),) for name, trace in people.items()}
    return Proposal(Cast(subjects, cuts=found.cuts or None), people, Remarks(head, of, _templates(subjects)), unsure)


def subject(name: str, trace: Trace, found: Survey) -> Subject:
    """A person, pointed at where they are seen first, and again in each later shot."""
    first, *later = (_clearest(seen) for seen in _by_shot(trace, found).values())
    corrections = tuple(Correction(sight.frame, _inside(sight.box, found.size)) for sight in later)
    return Subject(name, PERSON, ObjectPrompt(first.frame, _inside(first.box, found.size)), corrections)


def _by_shot(trace: Trace, found: Survey) -> dict[int, list[Sighting]]:
    """By the number of the shot, from 1 on."""
    starts = [start for start, _ in found.shots]
    shots: dict[int, list[Sighting]] = {}
    for sight in trace.seen:
        shots.setdefault(bisect_right(starts, sight.frame), []).append(sight)
    return shots


def _clearest(seen: list[Sighting]) -> Sighting:
    early = [sight for sight in seen if sight.frame <= seen[0].frame + SETTLING]
    return min(early, key=lambda sight: sight.overlap)


def _inside(box: Box, size: tuple[int, int]) -> Box:
    """The box within the frame, in whole pixels: a detector's may reach outside."""
    left, top, right, bottom = (round(value) for value in box)
    left, top = min(max(0, left), size[0] - 1), min(max(0, top), size[1] - 1)
    return left, top, max(left + 1, min(right, size[0])), max(top + 1, min(bottom, size[1]))


def facts(found: Survey, resampled: float | None = None) -> list[str]:
    """What was found of the clip, a line each."""
    width, height = found.size
    plan, trained = WindowPlan(), GENERATORS["comfyui"].geometry.fps
    rate = f"{found.fps:.5g} frames/s{'' if found.even else ', at uneven times'}"
    if resampled is not None:
        rate += f", resampled: frame numbers hold with --fps {resampled:g}"
    lines = [
        f"clip     {width}x{height} px, {found.frames} frames, {rate}",
        f"windows  {plan.count(found.frames, found.cuts)} of {plan.window} frames, {plan.overlap} shared",
    ]
    assert trained is not None  # of the one that works on servers
    lines.append(rate_line(trained, found.fps, found.frames, plan))
    for number, ((start, stop), camera) in enumerate(zip(found.shots, found.cameras, strict=True), start=1):
        moves = "could not be told" if camera is None else str(camera)
        lines.append(f"shot {number:<3} frames {start} to {stop - 1}; the camera {moves}")
    return lines


def _seen_text(trace: Trace, found: Survey) -> str:
    """Where a person was seen."""
    shots = _by_shot(trace, found)
    heights = sorted(sight.box[3] - sight.box[1] for sight in trace.seen)
    looks = sum(1 for frame in range(trace.seen[0].frame, trace.last.frame + 1) if frame % found.every == 0)
    told = f"seen on {len(trace.seen)} of {max(looks, len(trace.seen))} frames looked at, {trace.seen[0].frame} to "
    told += f"{trace.last.frame}, about {heights[len(heights) // 2]:.0f} px high"
    return told if len(found.shots) == 1 else f"{told}; in shot {', '.join(map(str, shots))}"


def _unsure(found: Survey, people: dict[str, Trace], video: Path, detector: str) -> list[str]:
    """What could not be told, a sentence each."""
    told = ["objects: the detector knows persons alone; point at each board (below)"]
    told.append("what anybody becomes: no prompt is written")
    if detector == MINI and not is_demo_clip(str(video)):
        told.append("persons: the mini detector knows the demo's clip alone; `skate models fetch yolox-m`, then leave "
                    "--detector out")  # fmt: skip
    if not people:
        told.append("persons: nobody was found; point at them (below)")
    again = [name for name, trace in people.items() if len(_by_shot(trace, found)) > 1]
    if again:
        told.append(
            f"whether {', '.join(again)} of several shots is one: told by the torso's colours; see the pictures"
        )
    too_many = [trace for trace in found.persons if not any(trace is each for each in people.values())]
    left_out = [*found.brief, *too_many]
    for place, trace in enumerate(left_out[:MOST_BRIEF]):
        sight, frames = _clearest(trace.seen), ", ".join(str(sight.frame) for sight in trace.seen[:4])
        box = ", ".join(str(value) for value in _inside(sight.box, found.size))
        why = "seen too briefly" if place < len(found.brief) else f"a scene has {MOST_SUBJECTS} subjects at most"
        told.append(f"somebody on frame {frames}: {why}; on frame {sight.frame} in [{box}]")
    if len(left_out) > MOST_BRIEF:
        told.append(f"{len(left_out) - MOST_BRIEF} more who were seen too briefly, or are too many")
    lost = [str(number) for number, camera in enumerate(found.cameras, start=1) if camera is None]
    if lost:
        told.append(f"the camera of shot {', '.join(lost)}: too little of the background can be followed")
    tall = [max(sight.box[3] - sight.box[1] for sight in trace.seen) for trace in people.values()]
    if tall and max(tall) < SMALL * found.size[1]:
        told.append("whether small figures are followed well in the whole picture: --track-view follow looks closer")
    return told


def _templates(subjects: tuple[Subject, ...]) -> tuple[str, ...]:
    """A board for each person, to be filled in."""
    lines = ["Objects: take out the # and give the box, as `skate frame VIDEO --at FRAME --to PNG` shows it:"]
    for number, person in enumerate(subjects or (None,), start=1):
        lines += ["", "[[subject]]", f'name = "board-{number}"', 'kind = "object"', "box = [x1, y1, x2, y2]"]
        if person is not None and person.prompt is not None:
            lines += [f"frame = {person.prompt.frame}"] * bool(person.prompt.frame) + [f'held_by = "{person.name}"']
        lines.append('prompt = "what it becomes"')
    return tuple(lines)


def camera_json(camera: Movement | None) -> dict[str, float] | None:
    """For machines: pixels a second, share a second, pixels from frame to frame."""
    if camera is None:
        return None
    right, down = camera.drift
    return {
        "right_px_per_s": round(right, 2),
        "down_px_per_s": round(down, 2),
        "zoom_per_s": round(camera.zoom, 4),
        "shake_px": round(camera.shake, 3),
    }
