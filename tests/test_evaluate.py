"""`skate evaluate` on videos made elsewhere: without a prompt, of another size or length; when nothing is judged."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from _runs import Result, invoke
from _small_run import FRAMES, HEIGHT, WIDTH, small_run, small_sam

from stages.base import Array
from stages.given import read_masks
from stages.sink import EncoderSettings, write_segment
from stages.video.plain import plain_frames
from stream.report.export import export_run


@dataclass(frozen=True)
class Exported:
    """An export of the small run, and its result as frames."""

    folder: Path
    frames: list[Array]

    @property
    def masks(self) -> str:
        return str(self.folder / "mask_skateboard")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("export") / "to"
    export_run(small_run(), folder)
    return Exported(folder, list(plain_frames(small_run() / "output.mp4")))


def video(path: Path, frames: Iterable[Array]) -> str:
    """A video of these frames."""
    made = list(frames)
    height, width = made[0].shape[:2]
    write_segment(path, iter(made), np.arange(len(made)) / 24, EncoderSettings(width, height))
    return str(path)


def judged(*arguments: str) -> Result:
    sam, sam_config = small_sam()
    return invoke(["evaluate", *arguments, "--sam", sam, "--sam-config", sam_config, "--json"])


def told(result: Result) -> dict[str, Any]:
    assert result.code in (0, 1), result.out + result.err
    found: dict[str, Any] = json.loads(result.out.splitlines()[-1])
    return found


def test_the_prompt_is_taken_off_the_first_mask(exported: Exported, tmp_path: Path) -> None:
    mask = next(iter(read_masks(Path(exported.masks))))
    assert mask.any()
    y, x = np.nonzero(mask)
    box = f"{x.min()},{y.min()},{x.max() + 1},{y.max() + 1}"
    generated = video(tmp_path / "same.mp4", exported.frames)
    found = told(judged("--original", exported.masks, "--generated", generated))
    given = told(judged("--original", exported.masks, "--generated", generated, "--box", box))
    assert found["iou"] == given["iou"] and len(found["iou"]) == FRAMES
    assert given["notes"] == [] and found["notes"] == [
        f"tracked from the box {box} around the first mask that is not empty, of frame 0"
    ]


def test_another_size_is_resampled_and_said(exported: Exported, tmp_path: Path) -> None:
    large = video(tmp_path / "large.mp4", (cv2.resize(frame, (2 * WIDTH, 192)) for frame in exported.frames[:6]))
    found = told(judged("--original", exported.masks, "--generated", large))
    assert len(found["iou"]) == 6
    sizes = f"is {2 * WIDTH}x192, the masks are {WIDTH}x{HEIGHT}: it is resampled to these"
    assert [sizes in note for note in found["notes"]] == [False, True, False]
    cropped = video(tmp_path / "cropped.mp4", (frame[:, :90] for frame in exported.frames[:6]))
    refused = judged("--original", exported.masks, "--generated", cropped)
    assert refused.code == 3 and "which is another shape" in json.loads(refused.out)["message"]


def test_of_two_lengths_the_common_one_is_judged_and_said(exported: Exported, tmp_path: Path) -> None:
    metadata = str(exported.folder / "tracking_metadata.json")
    short = video(tmp_path / "short.mp4", exported.frames[:9])
    found = told(judged("--metadata", metadata, "--generated", short))
    assert found["frames"] == 9
    assert found["notes"] == ["the video ends after 9 frames, the masks go on: only these frames are judged"]
    long = video(tmp_path / "long.mp4", [*exported.frames, *exported.frames[-2:]])
    found = told(judged("--metadata", metadata, "--generated", long))
    assert found["frames"] == FRAMES
    assert found["notes"] == [f"the masks end after {FRAMES} frames, the video goes on: only these frames are judged"]


def test_a_part_is_judged_by_its_own_frames(exported: Exported, tmp_path: Path) -> None:
    part = video(tmp_path / "part.mp4", exported.frames[5:14])
    arguments = ["--original", exported.masks, "--generated", part]
    found = told(judged(*arguments, "--frames", "5:14"))
    assert found["frames"] == 9 and "of frame 5" in found["notes"][0] and len(found["notes"]) == 1
    assert 5 <= found["iou_min_frame"] < 14 and all(5 <= a < b <= 14 for a, b in found["failed_frames"])
    by_metadata = told(
        judged("--metadata", str(exported.folder / "tracking_metadata.json"), "--generated", part, "--frames", "5:14")
    )
    assert by_metadata["iou"] == found["iou"], "its prompt is on frame 0, so it is taken off the masks too"
    assert "frame 0 of the prompt is not among these" in by_metadata["notes"][0]
    for frames, message in (
        ("5:13", "more than 8 frames, --frames 5:13 are 8"),
        ("5:15", "has 9 frames, --frames 5:15 are 10"),
        ("5:99", f"past the end: there are {FRAMES} masks"),
    ):
        refused = judged(*arguments, "--frames", frames)
        assert refused.code == 3 and message in json.loads(refused.out.splitlines()[-1])["message"]
    for wrong in ("5", "5:5", "9:5", "a:b", "-1:4"):
        assert judged(*arguments, "--frames", wrong).code == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--box", "60,70,100,82", "--prompt-frame", "500"], "--prompt-frame 500 is past the end"),
        (["--box", "60,70,100,82", "--correct", "1000000:60,70,100,82"], "--correct 1000000 is past the end"),
        (["--box", "60,70,100,82", "--prompt-frame", "2", "--frames", "5:14"], "--prompt-frame 2 does not lie in"),
        (["--prompt-frame", "500"], "no mask from frame 500 on"),
    ],
)
def test_what_judges_nothing_is_refused(exported: Exported, more: list[str], message: str, tmp_path: Path) -> None:
    result = judged("--original", exported.masks, "--generated", str(small_run() / "output.mp4"), *more)
    event = json.loads(result.out)
    assert result.code == event["code"] == 3 and message in event["message"]


def test_metadata_without_a_tracked_frame_is_no_verdict(exported: Exported, tmp_path: Path) -> None:
    values = json.loads((exported.folder / "tracking_metadata.json").read_text())
    values["untracked"]["object"] = [[0, FRAMES]]
    changed = exported.folder / "untracked.json"
    changed.write_text(json.dumps(values))
    result = judged("--metadata", str(changed), "--generated", str(small_run() / "output.mp4"))
    assert result.code == 3 and f"tracked on none of {FRAMES} frames" in json.loads(result.out)["message"]
    result = judged("--metadata", str(changed), "--generated", str(small_run() / "output.mp4"), "--box", "1,2,3,4")
    assert result.code == 2 and "--box does not go with --metadata" in json.loads(result.out)["message"]


def test_a_missing_mask_of_an_export_is_noticed(exported: Exported, tmp_path: Path) -> None:
    (exported.folder / "mask_skateboard" / "frame_00003.png").rename(tmp_path / "away.png")
    try:
        metadata = str(exported.folder / "tracking_metadata.json")
        result = judged("--metadata", metadata, "--generated", str(small_run() / "output.mp4"))
    finally:
        (tmp_path / "away.png").rename(exported.folder / "mask_skateboard" / "frame_00003.png")
    assert result.code == 3 and f"holds {FRAMES - 1} masks" in json.loads(result.out)["message"]
