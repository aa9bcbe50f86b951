"""How a run ended: the last line of the JSON contract, typed."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Result:
    """What a finished run gave.

    Attributes:
        run: the run directory. frames, windows: of the clip.
        gate: "passed", "failed", or None where nothing is judged.
        iou_mean, iou_p5, iou_min, iou_min_frame: over the scored frames; None where none is.
        failed_frames: half-open spans of frames at or below the threshold.
        object_frames: in which the source shows the object.
        bad_frames: of the source, concealed. claimed_frames: by its header. cut_short: what that difference means.
        seconds: of this process. peak_rss_bytes, peak_vram_bytes: of this process.
        output: the video, or None where nothing was generated.
    """

    run: Path
    frames: int
    windows: int
    gate: Literal["passed", "failed"] | None
    iou_mean: float | None
    iou_p5: float | None
    iou_min: float | None
    iou_min_frame: int | None
    failed_frames: tuple[tuple[int, int], ...]
    object_frames: int
    bad_frames: int
    claimed_frames: int | None
    cut_short: str | None
    seconds: float
    peak_rss_bytes: int
    peak_vram_bytes: int | None
    output: Path | None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, paths as text."""
        values = asdict(self)
        return values | {"run": str(self.run), "output": None if self.output is None else str(self.output)}
