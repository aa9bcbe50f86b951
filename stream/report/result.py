"""How a run ended, as data."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from stream.report.collect import Spans

Gate = Literal["passed", "failed"] | None


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run came to: the fields of the last line with `--json` (docs/formats.md).

    Attributes:
        run: its directory. frames, windows: of the clip.
        gate: None where nothing was judged.
        iou_mean, iou_p5, iou_min, iou_min_frame: of the object in source and result (of a scene, on each frame, of the
            worst subject that is gated), None where nothing was judged.
        failed_frames, shots: half-open spans.
        baselines: "ceiling" and "blur", each with `iou_mean` and `failed_frames`. failed_by: how many failing frames
            are the "generator"'s, how many the "tracker"'s. Both None without `--baselines`.
        object_frames, person_frames: in how many the subjects of these names were seen, None where there is none.
        object_lost_frames: it was looked for in vain.
        subjects: by name, `frames` in which it was seen, `lost_frames`, and `unlike_frames`, in which what was found
            behind a cut was not it; of a scene `occluded_frames`, in which others hid it; where it is followed in the
            result `iou_mean`, `iou_p5`, `iou_min` and `failed_frames`, the half-open spans at or below the threshold.
        bad_frames, claimed_frames, cut_short: of the source, see `Facts`.
        seconds: wall clock of this call. peak_rss_bytes, peak_vram_bytes: of this process, None without a GPU.
        output: the video; None where there is none.
        unmeasured: metrics of the gate that could be measured on no frame, and say nothing.
    """

    run: Path
    frames: int
    windows: int
    gate: Gate
    iou_mean: float | None
    iou_p5: float | None
    iou_min: float | None
    iou_min_frame: int | None
    failed_frames: Spans
    shots: Spans
    baselines: Mapping[str, Mapping[str, Any]] | None
    failed_by: Mapping[str, int] | None
    object_frames: int | None
    object_lost_frames: int | None
    person_frames: int | None
    subjects: dict[str, dict[str, Any]]
    bad_frames: int
    claimed_frames: int | None
    cut_short: str | None
    seconds: float
    peak_rss_bytes: int
    peak_vram_bytes: int | None
    output: Path | None
    unmeasured: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object of the JSON contract, without its event."""
        output = None if self.output is None else str(self.output)
        return {**dataclasses.asdict(self), "run": str(self.run), "output": output}
