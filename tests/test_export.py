"""What `skate export` writes, read back as ComfyUI's loaders and `skate evaluate` do."""

import json
import math
import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from _runs import invoke
from _small_run import FRAMES, HEIGHT, WIDTH, small_clip, small_config, small_mask, small_run, small_sam
from PIL import Image

from stages.poses.draw import draw
from stages.region import dilate_mask
from stages.sam.model import SamModel
from stages.video.plain import plain_frames
from storage.errors import InputError, RunDirectoryError
from storage.rundir import RunReader, write_manifest
from stream.options.assembly import resolve_models, sam_config
from stream.report import evaluate
from stream.report.comparison import BAND, caption, write_comparison
from stream.report.export import export_run
from stream.report.reference import read_reference


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One export of the small run."""
    target = tmp_path_factory.mktemp("export") / "to"
    assert "21 frames" in export_run(small_run(), target, "controlnet")
    return target


def test_names_and_numbers(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "mask.mp4", "mask_skateboard", "pose.json", "pose.mp4", "pose_json", "pose_skater", "tracking_metadata.json",
    ]  # fmt: skip
    frames = [f"frame_{t:05d}" for t in range(FRAMES)]
    assert sorted(path.name for path in (exported / "mask_skateboard").iterdir()) == [f"{name}.png" for name in frames]
    assert sorted(path.name for path in (exported / "pose_skater").iterdir()) == [f"{name}.png" for name in frames]
    cmu = sorted(path.name for path in (exported / "pose_json").iterdir())
    assert cmu == [f"{name}_keypoints.json" for name in frames]


def test_masks_are_the_tracked_ones(exported: Path) -> None:
    tracked = RunReader(small_run()).arrays.read("masks/object", 0, FRAMES)
    assert tracked.any()
    video = [frame[..., 0] >= 128 for frame in plain_frames(exported / "mask.mp4")]
    assert len(video) == FRAMES
    for t in range(FRAMES):
        with Image.open(exported / "mask_skateboard" / f"frame_{t:05d}.png") as picture:
            assert picture.mode == "L" and picture.size == (WIDTH, HEIGHT)  # 8-bit grey
            values = np.asarray(picture)
        assert set(np.unique(values)) <= {0, 255}
        assert np.array_equal(values == 255, tracked[t])
        assert np.array_equal(video[t], tracked[t]), f"mask.mp4 differs at frame {t}"


def test_skeletons_are_rgb_and_blank_where_nobody_is(exported: Path) -> None:
    keypoints = RunReader(small_run()).arrays.read("keypoints/person", 0, FRAMES)
    assert (keypoints[..., 2] > 0.3).any()
    for t, video in enumerate(plain_frames(exported / "pose.mp4")):
        with Image.open(exported / "pose_skater" / f"frame_{t:05d}.png") as picture:
            assert picture.mode == "RGB" and picture.size == (WIDTH, HEIGHT)
            values = np.asarray(picture)
        assert np.array_equal(values, draw(keypoints[t], HEIGHT, WIDTH, "controlnet"))
        assert np.abs(video.astype(int) - values).mean() < 6
    assert draw(np.zeros((133, 3)), HEIGHT, WIDTH, "controlnet").max() == 0


def test_keypoint_files_agree(exported: Path) -> None:
    clip = json.loads((exported / "pose.json").read_text())
    assert len(clip) == FRAMES and {frame["canvas_width"] for frame in clip} == {WIDTH}
    for t in (0, FRAMES - 1):
        cmu = json.loads((exported / "pose_json" / f"frame_{t:05d}_keypoints.json").read_text())
        assert len(cmu["people"]) in (0, 1) and cmu["version"] == 1.3


def test_metadata(exported: Path) -> None:
    values = json.loads((exported / "tracking_metadata.json").read_text())
    assert values["video"]["frames"] == FRAMES and values["video"]["width"] == WIDTH
    assert values["video"]["claimed_fps"] == 24.0
    assert values["config"]["prompt"]["box"] == [60.0, 70.0, 100.0, 82.0] and values["pose_style"] == "controlnet"
    assert set(values["models"]) == {"sam weights", "sam config", "pose weights", "detector weights"}
    assert all(len(digest) == 64 for digest in values["models"].values())
    assert "torch" in values["versions"] and values["untracked"]["object"] == []


@pytest.mark.parametrize("with_mask", [False, True])
def test_metadata_and_masks_are_enough_to_evaluate(tmp_path: Path, with_mask: bool) -> None:
    run = small_run(with_mask=with_mask)
    export_run(run, tmp_path / "to")
    (tmp_path / "to").rename(tmp_path / "moved")
    reference, config = read_reference(tmp_path / "moved" / "tracking_metadata.json")
    if with_mask:
        assert config.prompt is not None
        assert config.prompt.mask_png == str((tmp_path / "moved" / "prompt_mask.png").resolve())
        assert [item.mask_png for item in reference.corrections] == [
            str((tmp_path / "moved" / "correction_mask_12_object.png").resolve())
        ]
    model = SamModel(sam_config(config, resolve_models(config, only=("sam",))))
    found = [row.iou for row in evaluate.evaluate_video(reference, run / "output.mp4", model, 0.9)]
    model.close()
    assert found == pytest.approx(RunReader(run).arrays.read("iou", 0, FRAMES).tolist(), abs=1e-6, nan_ok=True)
    assert any(not math.isnan(value) for value in found)


def test_metadata_names_nothing_of_this_machine(tmp_path: Path) -> None:
    export_run(small_run(with_mask=True), tmp_path / "to")
    config = json.loads((tmp_path / "to" / "tracking_metadata.json").read_text())["config"]
    assert config["video"] == "clip.mp4" and config["prompt"]["mask_png"] == "prompt_mask.png"
    assert config["correct"][0]["mask_png"] == "correction_mask_12_object.png" and config["server"] == []
    assert (tmp_path / "to" / "correction_mask_12_object.png").read_bytes() == small_mask().read_bytes()
    export_run(small_run(), tmp_path / "to")
    assert not [*(tmp_path / "to").glob("*_mask*.png")]


def test_evaluating_in_another_folder_with_weights_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights' path is of the machine that exported: --sam names them here."""
    run = small_run(with_mask=True)
    export_run(run, tmp_path / "to")
    metadata = tmp_path / "to" / "tracking_metadata.json"
    values = json.loads(metadata.read_text())
    values["config"] |= {"sam": "/nowhere/weights.pt", "sam_config": "/nowhere/weights.yaml"}
    metadata.write_text(json.dumps(values))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    words = ["evaluate", "--metadata", "../to/tracking_metadata.json", "--quiet"]
    words += ["--generated", str(run / "output.mp4")]
    lost = invoke(words)
    assert lost.code == 4 and "/nowhere/weights" in lost.err
    sam, sam_config = small_sam()
    found = invoke([*words, "--sam", sam, "--sam-config", sam_config])
    assert found.code in (0, 1) and found.out.startswith("minimum: IoU"), found.err


def test_the_prompt_mask_is_gone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run(with_mask=True), run)
    reader = RunReader(run)
    config = {**reader.manifest["config"], "prompt": {**reader.manifest["config"]["prompt"], "mask_png": "/gone.png"}}
    write_manifest(run, {**reader.manifest, "config": config})
    with pytest.raises(InputError, match=r"--object-mask /gone\.png .* is not there any more"):
        export_run(run, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_an_export_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    target = tmp_path / "to"
    export_run(small_run(), target)
    stale = target / "mask_skateboard" / "frame_00099.png"
    stale.write_bytes(b"of a longer clip")
    before = (target / "mask.mp4").read_bytes()
    export_run(small_run(), target)
    assert not stale.exists() and (target / "mask.mp4").read_bytes() == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("x")
    with pytest.raises(RunDirectoryError, match="is not empty and holds no export"):
        export_run(small_run(), other)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


def test_half_an_export_is_none(tmp_path: Path) -> None:
    """Damage is found while it is written."""
    run = Path(shutil.copytree(small_run(), tmp_path / "run", ignore=shutil.ignore_patterns(".lock")))
    newest = max((run / "run.zarr" / "masks" / "object").glob("c.*"))
    newest.write_bytes(newest.read_bytes()[:-9])
    with pytest.raises(RunDirectoryError, match="is not what was committed"):
        export_run(run, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_memory_of_an_export_is_flat(tmp_path: Path) -> None:
    run = small_run()
    export_run(run, tmp_path / "first")  # what is loaded once is loaded
    tracemalloc.start()
    export_run(run, tmp_path / "second")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    picture = WIDTH * HEIGHT * 3
    assert peak < 12 * picture * 3 + 4_000_000  # a piece of frames, not the clip


def test_extracted_runs_are_exported_too(tmp_path: Path) -> None:
    assert "21 frames" in export_run(small_run("extract"), tmp_path / "to")


def test_nothing_to_export_yet(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((small_run() / "run.json").read_text())
    (tmp_path / "journal.jsonl").write_text("")
    with pytest.raises(RunDirectoryError, match="nothing is tracked yet"):
        export_run(tmp_path, tmp_path / "to")


def test_comparison(tmp_path: Path) -> None:
    run = RunReader(small_run())
    assert write_comparison(run, small_config(), tmp_path / "comparison.mp4") == FRAMES
    pictures = list(plain_frames(tmp_path / "comparison.mp4"))
    assert len(pictures) == FRAMES and {picture.shape for picture in pictures} == {(BAND + HEIGHT, 3 * WIDTH, 3)}
    assert not list(tmp_path.glob("*.partial"))
    sources = list(plain_frames(Path(small_config().video)))
    results = list(plain_frames(small_run() / "output.mp4"))
    for t in (0, 10, FRAMES - 1):
        left, right = pictures[t][BAND:, :WIDTH], pictures[t][BAND:, 2 * WIDTH :]
        assert np.abs(left.astype(int) - sources[t]).mean() < 9
        assert np.abs(right.astype(int) - results[t]).mean() < 9
    mask = run.arrays.read("masks/object", 0, FRAMES)
    t = int(np.argmax(mask.sum(axis=(1, 2))))
    middle = cv2.absdiff(pictures[t][BAND:, WIDTH : 2 * WIDTH], pictures[t][BAND:, :WIDTH])
    assert middle[mask[t]].mean() > 2 * middle[~mask[t]].mean()  # the tint lies on the mask


def test_comparison_needs_a_result(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="nothing is scored yet"):
        write_comparison(RunReader(small_run("extract")), small_config("extract"), tmp_path / "comparison.mp4")


def test_captions() -> None:
    assert caption(12, 0.5, 0.9312) == "frame 12, 0.50 s, IoU 0.931"
    assert caption(0, 0.0, math.nan) == "frame 0, 0.00 s, untracked"


def test_the_clip_without_its_subjects_is_exported_too(tmp_path: Path) -> None:
    path, target = small_run(), tmp_path / "to"
    assert "21 without the subjects" in export_run(path, target, plate=True)
    reader = RunReader(path)
    source = list(plain_frames(small_clip()))
    for t in (0, 10, 20):
        written = np.asarray(Image.open(target / "plate" / f"frame_{t:05d}.png"))
        masks = reader.arrays.read("masks/object", t, t + 1)[0] | reader.arrays.read("masks/person", t, t + 1)[0]
        outside = ~dilate_mask(masks, 8)
        assert np.array_equal(written[outside], source[t][outside])
        assert not masks.any() or (written != source[t])[masks].any()
        holes = np.asarray(Image.open(target / "plate_holes" / f"frame_{t:05d}.png"))
        assert holes.shape == masks.shape and not holes[outside].any()
    assert len(list(plain_frames(target / "plate.mp4"))) == 21
    export_run(path, target)
    assert not (target / "plate").exists() and not (target / "plate.mp4").exists()
