"""The verdict in numbers, and the lines that a command prints at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.subjects import OBJECT, PERSON
from storage.backend import open_store
from storage.boundary import visible
from storage.sizes import count_of, format_size
from stream.options.config import RunConfig
from stream.options.recorded import read_run
from stream.plan.hints import mini_hint
from stream.report.result import Result


def spans_text(spans: Sequence[Sequence[int]], most: int = 8) -> str:
    """Spans as "[3, 9), [40, 41)", the first few of them."""
    text = ", ".join(f"[{a}, {b})" for a, b in spans[:most])
    return text + (f" and {len(spans) - most} more" if len(spans) > most else "")


def closing_text(result: Result) -> str:
    """The end of a run for a person."""
    speed = result.frames / result.seconds if result.seconds > 0 else 0.0
    vram = result.peak_vram_bytes
    memory = f"peak RSS {format_size(result.peak_rss_bytes)}"
    memory += f", peak VRAM {format_size(vram)}" if vram is not None else ""
    lines = [
        f"{count_of(result.frames, 'frame')} in {count_of(result.windows, 'window')}, {result.seconds:.1f} s "
        f"({speed:.2f} frames/s), {memory}"
    ]
    config = read_run(result.run)[1]
    if result.gate is None:
        lines.append(f"gate     none: {why_ungated(config)}")
    else:
        lines.append(
            f"gate     {result.gate}: IoU mean {result.iou_mean:.4f}, 5th percentile {result.iou_p5:.4f}, "
            f"min {result.iou_min:.4f} at frame {result.iou_min_frame}"
        )
        if result.unmeasured:
            lines.append(f"         not measured on any frame: {', '.join(result.unmeasured)}")
        if result.failed_frames:
            count = sum(b - a for a, b in result.failed_frames)
            lines.append(f"failed   {count} frames: {spans_text(result.failed_frames)}")
            lines += blame_lines(result.failed_by)
    if config.scene is not None:
        lines += scene_lines(result)
    else:
        lines += subject_lines(result, "--person-masks" if config.given is not None else "--person-box")
    lines += source_lines(result)
    if result.output:
        lines.append(f"output   {visible(str(result.output))}")
    store = open_store(result.run)
    if store.size("comparison.mp4") is not None:
        lines.append(f"compare  {visible(store.where('comparison.mp4'))}")
    lines.append(f"report   {visible(store.where('report/index.html'))}")
    return "\n".join(lines)


def why_ungated(config: RunConfig) -> str:
    """Why a run has no gate."""
    if not config.generates:
        return "nothing was generated"
    if not config.judges:
        return "nothing is gated, the subjects are removed"
    return "nothing is tracked" if config.proved else "no subject that stays in the picture is to be gated"


def blame_lines(failed_by: Mapping[str, int] | None) -> list[str]:
    """Whose the failing frames are, where that is known."""
    if failed_by is None:
        return []
    return [
        f"         {failed_by['generator']} by the generator, {failed_by['tracker']} by the tracker "
        "(where the untouched source fails too)"
    ]


def subject_lines(result: Result, remedy: str = "--person-box") -> list[str]:
    """In how many frames object and person were seen, and what that means where it is none.

    Args:
        remedy: the option that shows the person.
    """
    lost, frames = result.object_lost_frames, result.frames
    found = f"object   seen in {result.object_frames} of {frames} frames"
    if lost:
        found += f"; the object was lost for {count_of(lost, 'frame')}: `--correct` gives its place"
    found += _unlike(result, OBJECT)
    person = result.person_frames
    if person:
        return [found, f"person   seen in {person} of {frames} frames{_unlike(result, PERSON)}"]
    return [found, f"person   was never found, so that only the object could be regenerated: give {remedy}"]


def _unlike(result: Result, name: str) -> str:
    count = result.subjects.get(name, {}).get("unlike_frames", 0)
    return f"; not recognised behind a cut in {count}: such frames do not pass by its absence" if count else ""


def scene_lines(result: Result) -> list[str]:
    """In how many frames each subject of a scene was seen and was looked for in vain."""
    width = max(8, *map(len, result.subjects))
    return [
        f"{name:<{width}} seen in {found['frames']} of {result.frames} frames"
        + (f"; lost for {found['lost_frames']}: a correction in the scene gives its place" * bool(found["lost_frames"]))
        + (f"; hidden by others in {found['occluded_frames']}" * bool(found.get("occluded_frames")))
        + _unlike(result, name)
        + _own_iou(found)
        for name, found in result.subjects.items()
    ]


def _own_iou(found: Mapping[str, Any]) -> str:
    """The IoU of a subject in source and result; nothing where it was not followed there."""
    if found.get("iou_mean") is None:
        return ""
    failed = sum(stop - start for start, stop in found["failed_frames"])
    return f"; IoU mean {found['iou_mean']:.4f}, min {found['iou_min']:.4f}" + f", {failed} too low" * bool(failed)


def source_lines(result: Result) -> list[str]:
    """What was amiss with the source; nothing where it was whole."""
    lines = []
    count = result.bad_frames
    if count:
        lines.append(f"damaged  {count_of(count, 'source frame')} concealed by the last good one")
    if result.cut_short:
        lines.append(f"short    {result.cut_short}")
    return lines


def closing_hint(run: Path) -> str | None:
    """What to know about a run's result that its numbers do not say: that the packaged models made it.

    Raises:
        RunDirectoryError: when there is no run.
    """
    return mini_hint(read_run(run)[1])
