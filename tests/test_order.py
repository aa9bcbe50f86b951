"""Frames of a folder in the order of their numbers: more than 99,999 of them, names without padding, and mixtures."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.given import read_masks
from stages.order import frame_files, number_digits, order_note
from stages.poses.openpose_read import read_poses
from stream.report.export import frame_name


def names(folder: Path, *wanted: str) -> Path:
    folder.mkdir()
    for name in wanted:
        (folder / name).touch()
    return folder


def test_an_export_has_as_many_digits_as_its_clip_needs() -> None:
    assert frame_name(7, 1) == frame_name(7, 100_000) == "frame_00007"
    assert frame_name(7, 100_001) == "frame_000007" and frame_name(1_000_000, 1_000_001) == "frame_1000000"


@given(st.integers(1, 10**7), st.data())
def test_the_names_of_an_export_are_in_order_as_text(frames: int, data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.lists(st.integers(0, frames - 1), min_size=2, max_size=2)))
    assert (frame_name(first, frames) < frame_name(second, frames)) == (first < second)
    assert len(frame_name(first, frames)) == len("frame_") + number_digits(frames)


@pytest.mark.parametrize(
    "wanted",
    [
        ["frame_99998.png", "frame_99999.png", "frame_100000.png", "frame_100001.png"],
        ["mask_1.png", "mask_2.png", "mask_10.png"],
        ["0.png", "1.png", "11.png", "12.png", "100.png"],
        ["a.png", "b 2.png", "b 10.png", "shot1_frame2.png", "shot1_frame10.png", "shot2_frame1.png"],
        ["frame_1.png", "frame_002.png", "frame_02.png", "frame_2.png", "frame_3.png"],
    ],
)
def test_numbers_count_as_numbers(wanted: list[str], tmp_path: Path) -> None:
    folder = names(tmp_path / "frames", *reversed(wanted), "notes.txt")
    assert [path.name for path in frame_files(folder, ".png")] == wanted


def test_capitals_are_the_same_and_hidden_files_are_none(tmp_path: Path) -> None:
    folder = names(tmp_path / "frames", "M_10.PNG", "M_9.png", "._M_9.png", ".DS_Store", "M_11.pngx")
    assert [path.name for path in frame_files(folder, ".png")] == ["M_9.png", "M_10.PNG"]
    assert frame_files(tmp_path / "absent", ".png") == []


def test_what_is_not_the_order_of_the_text_is_said(tmp_path: Path) -> None:
    padded = names(tmp_path / "padded", *(f"frame_{t:05d}.png" for t in range(12)))
    assert order_note(padded, ".png") is None and order_note(tmp_path / "mask.mp4", ".png") is None
    note = order_note(names(tmp_path / "plain", *(f"mask_{t}.png" for t in range(12))), ".png")
    assert note is not None and "mask_2.png is frame 2 (in order of the text it would be mask_10.png)" in note


def test_masks_and_poses_are_read_in_that_order(tmp_path: Path) -> None:
    for t in range(11):
        mask = np.zeros((4, 16), np.uint8)
        mask[0, t] = 255
        cv2.imwrite(str(tmp_path / f"frame_{99_995 + t}.png"), mask)
        point = json.dumps({"people": [{"pose_keypoints_2d": [t, 1, 1] * 18}]})
        (tmp_path / f"{t}_keypoints.json").write_text(point)
    assert [int(np.flatnonzero(mask[0])[0]) for mask in read_masks(tmp_path)] == list(range(11))
    assert [int(points[0, 0]) for points in read_poses(tmp_path)] == list(range(11))
