"""`skate bench fidelity`: what it plants, how it judges, and what it makes of the numbers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from _runs import invoke
from _small_run import small_run

from bench.fidelity import calibrate
from bench.fidelity.calibrate import Pair
from bench.fidelity.clips import QUICK, VERSION, WHOLE, clips
from bench.fidelity.closeness import ALEXNET, HEADS, Lpips, psnr, ssim
from bench.fidelity.drift import drift_of
from bench.fidelity.elsewhere import read_results
from bench.fidelity.faults import FAULTS, FREE, Planted
from bench.fidelity.judge import Judge, Judged
from bench.fidelity.measure import QUICK_FAULTS
from bench.fidelity.numbers import NOISE
from bench.fidelity.report import holds
from bench.fidelity.tables import CURVES, PAGE, ROOT, noise, page, read_record
from stages.base import Array
from stages.fidelity.registry import metrics
from stages.fidelity.sight import COLUMNS
from storage.errors import EnvironmentFault, InputError
from stream.demo.faults import UNITS, Result

NAMES = list(metrics())


def judged(frames: int, size: Array | float = 0.0, true_iou: Array | float = 1.0, **values: Array | float) -> Judged:
    """Values by metric; all others are not measured."""
    table = np.full((frames, len(NAMES)), np.nan, np.float32)
    for name, each in values.items():
        table[:, NAMES.index(name)] = each
    nothing = np.zeros((frames, len(COLUMNS)), np.float32)
    sized, iou = (np.broadcast_to(each, frames).astype(np.float64) for each in (size, true_iou))
    return Judged(table, nothing, nothing, np.zeros((2, frames, 1, 1), bool), sized, iou)


def test_the_sets_are_what_is_promised() -> None:
    quick, whole = clips(QUICK), clips(WHOLE)
    assert len(QUICK_FAULTS) >= 6 and set(QUICK_FAULTS) <= {fault.name for fault in FAULTS}
    assert {fault.kind for fault in FAULTS} == set(UNITS), "every fault that can be planted"
    assert {clip.use for clip in whole} == {"noise", "curve", "check"} and quick[0].use == "check"
    assert len({clip.scene.seed for clip in whole}) == len(whole), "every clip on a seed of its own"
    assert len({clip.scene.camera for clip in whole}) >= 3 and max(clip.scene.skaters for clip in whole) > 1
    for fault in FAULTS:
        assert list(map(abs, fault.strengths)) == sorted(map(abs, fault.strengths)) and abs(fault.stated) <= abs(
            fault.strengths[-1]
        )
        assert set(fault.must) | set(fault.must_not) <= set(NAMES) and not set(fault.must) & set(fault.must_not)


@pytest.fixture(scope="module")
def plain() -> Result:
    frames = np.random.default_rng(0).integers(0, 255, (28, 40, 60, 3), np.uint8)
    mask = np.zeros((28, 40, 60), bool)
    mask[:, 20:26, 20:40] = True
    return Result(frames, {"board": mask, "skater": np.zeros_like(mask)}, np.full_like(frames, 90))


def test_strengths_are_planted_one_after_the_other_on_what_was(plain: Result) -> None:
    fault = Planted("shift", "shift", "board", (2, 4, 8, 12), 4, (), ())
    faulty, size = fault.graded(plain)
    assert size.tolist() == [0.0] * FREE + [2.0] * 5 + [4.0] * 5 + [8.0] * 5 + [12.0] * 5
    for frame in range(28):
        assert np.array_equal(faulty.masks["board"][frame], np.roll(plain.masks["board"][frame], int(size[frame]), 1))
    full, throughout = fault.full(plain)
    assert throughout.tolist() == [0.0] * FREE + [4.0] * 20 and np.array_equal(full.frames[:FREE], plain.frames[:FREE])
    drift, growing = Planted("drift", "colour-drift", "board", (10, 40), 10, (), ()).graded(plain)
    assert growing[FREE - 1] == 0 and growing[-1] == 40 and (np.diff(growing[FREE:]) > 0).all()
    assert not np.array_equal(drift.frames[-1], plain.frames[-1])


def test_noise_gives_the_bound_and_a_curve_the_smallest_fault_found() -> None:
    iou, offset = metrics()["iou"], metrics()["offset"]
    rng = np.random.default_rng(1)
    clean = judged(1000, iou=1 - 0.05 * rng.random(1000), offset=0.1 * rng.random(1000))
    low, high = calibrate.bound_of(iou, [clean]), calibrate.bound_of(offset, [clean])
    assert 0.950 <= low <= 0.951 and 0.099 <= high <= 0.1
    assert 0 < calibrate.fires(iou, low, clean.of("iou")).mean() <= 0.005
    assert math.isnan(calibrate.bound_of(metrics()["gap"], [clean]))
    fault = Planted("shift", "shift", "board", (1, 2, 4, 8), 4, ("offset",), ("iou",))
    size = np.repeat([0, 1, 2, 4, 8], 20)
    values = np.where(size >= 4, 0.3, np.where(size == 2, [0.3, 0.0] * 50, 0.0))
    pair = Pair(
        judged(100, size, offset=values, iou=0.99), judged(100, iou=0.99, offset=0.0), {"iou": low, "offset": high}
    )
    shares = calibrate.curve(offset, fault, [pair])
    assert shares == [0.0, 0.5, 1.0, 1.0] and calibrate.smallest(fault, shares) == 4
    assert calibrate.smallest(fault, [1.0, 0.2, 1.0, None]) is None, "it must be found from there on"
    assert calibrate.checked(fault, [pair])["holds"]
    wrong = replace(fault, stated=2)
    assert calibrate.checked(wrong, [pair])["must"]["offset"] == pytest.approx(5 / 6, abs=1e-3)
    assert not calibrate.checked(wrong, [pair])["holds"]
    loud = pair._replace(faulty=judged(100, size, offset=values, iou=0.9))
    assert not calibrate.checked(fault, [loud])["holds"], "what must not fire did"
    blind = pair._replace(faulty=judged(100, size, iou=0.99))
    assert calibrate.checked(fault, [blind])["must"]["offset"] == 0.0, "no value fires nothing"
    unseen = pair._replace(faulty=judged(100, np.where(size == 4, np.nan, size), offset=values, iou=0.99))
    assert calibrate.curve(offset, fault, [unseen])[2] is None


def test_wrong_frames_are_the_generators_where_the_ceiling_passes() -> None:
    clean = judged(40, iou=np.repeat([0.95, 0.5], 20))
    faulty = judged(40, 1.0, np.tile([0.5, 0.9], 20), iou=0.4)
    found = calibrate.blamed([Pair(faulty, clean, {})], 0.9)
    assert found == {"wrong_frames": 10, "generator": 10, "sound_frames": 0, "sound_generator": 0, "holds": True}
    assert not calibrate.blamed([Pair(judged(40, 1.0, 0.5, iou=0.95), clean, {})], 0.9)["holds"]
    assert not calibrate.blamed([Pair(faulty, clean, {}), Pair(judged(40, iou=0.4), clean, {})], 0.9)["holds"]


def test_a_judge_gives_the_runs_own_numbers_and_keeps_them(tmp_path: Path) -> None:
    judge = Judge(small_run())
    found = judge.of_run()
    iou = judge.run.arrays.read("iou", 0, len(judge.frames))
    assert np.array_equal(found.of("iou"), iou, equal_nan=True)
    again = judge.of(judge.made())
    assert again.values.shape == (len(iou), len(NAMES)) and again.source.shape[1] == len(COLUMNS)
    kept = replace(found, size=np.ones(len(iou)), true_iou=iou.astype(np.float64))
    kept.save(tmp_path / "a" / "x.npz")
    read = Judged.load(tmp_path / "a" / "x.npz")
    for name in ("values", "source", "result", "found", "size", "true_iou"):
        assert np.array_equal(getattr(read, name), getattr(kept, name), equal_nan=name != "found")
    assert np.array_equal(judge.encoded(judge.frames).shape, judge.frames.shape)


def test_results_made_elsewhere_are_found_by_the_clips_names(tmp_path: Path) -> None:
    wanted = [clip.name for clip in clips(QUICK)]
    with pytest.raises(InputError, match="is no folder"):
        read_results(tmp_path / "none", wanted, [])
    with pytest.raises(InputError, match="holds no video of a clip: name them check-31"):
        read_results(tmp_path, wanted, [])
    (tmp_path / "vace").mkdir()
    path, scene = tmp_path / "vace" / "check-31.mp4", clips(QUICK)[0].scene
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 24, (320, 180))
    for _ in range(scene.frames):
        writer.write(np.zeros((180, 320, 3), np.uint8))
    writer.release()
    found = read_results(tmp_path, wanted, [])
    assert list(found) == ["vace"] == list(read_results(tmp_path / "vace", wanted, []))
    assert found["vace"].frames(clips(QUICK)[0]).shape == (scene.frames, 360, 640, 3), "resampled"
    with pytest.raises(InputError, match=r"has 33 frames, the clip check-31 has 40"):
        found["vace"].frames(replace(clips(QUICK)[0], scene=replace(scene, frames=40)))
    with pytest.raises(InputError, match="has more than 20 frames"):
        found["vace"].frames(replace(clips(QUICK)[0], scene=replace(scene, frames=20)))
    with pytest.raises(InputError, match="vace lacks other"):
        read_results(tmp_path, [*wanted, "other"], [])
    (tmp_path / "vace").rename(tmp_path / "identity")
    with pytest.raises(InputError, match="identity is a method of the benchmark"):
        read_results(tmp_path, wanted, ["identity"])


def test_the_command_is_one_of_bench(tmp_path: Path) -> None:
    shown = invoke(["bench", "fidelity", "--help"])
    assert shown.code == 0 and "skate bench fidelity" in shown.out and "--results" in shown.out
    assert "mini-groups. [default: mini]" in " ".join(shown.out.split()), "its own"
    assert invoke(["bench", "fidelity"]).code == 2
    wrong = invoke(["bench", "fidelity", "--self", "--results", str(tmp_path), "--out", str(tmp_path / "o")])
    assert wrong.code == 2 and "leave --results out" in wrong.err


def test_closeness_is_what_its_definitions_give() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 200, (40, 50, 3), np.uint8)
    region = np.zeros((40, 50), bool)
    region[10:30, 10:40] = True
    two = one.copy()
    two[region] += 16
    assert psnr(one, two, region) == pytest.approx(10 * math.log10(255**2 / 256))
    assert psnr(one, one, region) == 100.0 and psnr(one, two, ~region) == 100.0
    assert ssim(one, one, region) == pytest.approx(1.0) and 0.5 < ssim(one, two, region) < 1.0
    assert ssim(one, rng.integers(0, 200, one.shape, np.uint8), region) < 0.2
    assert math.isnan(psnr(one, two, np.zeros_like(region))) and math.isnan(ssim(one, two, np.zeros_like(region)))


def test_lpips_is_read_from_the_files_it_is_distributed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("SKATE_MODELS", str(tmp_path))
    assert Lpips.at_hand() is None
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    torch.manual_seed(0)
    net = {f"features.{n}.weight": torch.randn(o, i, k, k) / (i * k * k) ** 0.5 for n, (o, i, k) in shapes.items()}
    net |= {f"features.{n}.bias": torch.zeros(shape[0]) for n, shape in shapes.items()}
    heads = {f"lin{k}.model.1.weight": torch.rand(1, shape[0], 1, 1) for k, shape in enumerate(shapes.values())}
    (tmp_path / "lpips").mkdir()
    torch.save(net, tmp_path / "lpips" / ALEXNET)
    torch.save(heads, tmp_path / "lpips" / HEADS)
    lpips = Lpips.at_hand()
    assert lpips is not None
    one = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    near = np.clip(one.astype(int) + 4, 0, 255).astype(np.uint8)
    region = np.zeros((96, 128), bool)
    region[20:80, 20:100] = True
    assert lpips(one, one, region) == 0.0 and math.isnan(lpips(one, near, np.zeros_like(region)))
    assert 0 < lpips(one, near, region) < lpips(one, 255 - one, region)
    (tmp_path / "lpips" / HEADS).write_bytes(b"no weights")
    with pytest.raises(EnvironmentFault, match="not LPIPS's weights"):
        Lpips.at_hand()


def test_drift_is_the_results_less_the_sources_own() -> None:
    source = [40.0 - 0.5 * k for k in range(12)]  # grows harder to code
    steady = drift_of([value - 3 for value in source], list(source))
    assert steady["slope_per_window"] == pytest.approx(0) and steady["flat"] and steady["source_mean"] == 37.25
    worse = drift_of([value - 3 - 0.2 * k for k, value in enumerate(source)], list(source))
    assert worse["slope_per_window"] == pytest.approx(-0.2) and not worse["flat"]
    assert drift_of([None, 1.0], [1.0, 1.0])["slope_per_window"] is None


def test_the_committed_record_holds_what_is_promised() -> None:
    found = read_record()
    assert found["version"] == VERSION and found["settings"]["set"] == WHOLE
    assert [clip["name"] for clip in found["clips"]] == [clip.name for clip in clips(WHOLE)]
    assert set(found["methods"]) == {"preview", "identity", "blur", *(fault.name for fault in FAULTS)}
    assert holds(found), "each fault fires what it must, and blame is right"
    assert found["ceiling"]["demo"]["frames"] == 201 and found["ceiling"]["demo"]["failing"] == 0
    for name, metric in metrics().items():
        bound = found["bounds"][name]
        assert bound["gate"] == metric.bound
        beyond = bound["value"] < metric.bound if metric.high else bound["value"] > metric.bound
        assert not beyond, f"{name}: the gate's default lies within its noise"
    contact = found["contact"]["demo"]
    assert contact["f1"] >= 0.95 and contact["off_f1"] >= 0.85


def test_the_page_shows_the_committed_record() -> None:
    found, text = read_record(), (ROOT / PAGE).read_text(encoding="utf-8")
    assert page(text, found) == text, "run `python -m bench.fidelity.tables`"
    assert (ROOT / CURVES).is_file() and json.loads(NOISE.read_text(encoding="utf-8")) == noise(found)


@pytest.mark.slow
def test_the_quick_set_goes_through_and_goes_on_with_results_made_elsewhere(tmp_path: Path) -> None:
    out, clip = tmp_path / "out", clips(QUICK)[0].name
    first = invoke(["bench", "fidelity", "--quick", "--out", str(out)])
    found = json.loads((out / "fidelity.json").read_text(encoding="utf-8"))
    assert first.code == 0, first.out + first.err
    assert {"preview", "identity", "blur"} < set(found["methods"]) and len(found["checked"]) >= 6
    assert (out / "methods.png").stat().st_size > 20_000
    (tmp_path / "made" / "copied").mkdir(parents=True)
    source = next((out / "clips" / clip / "input").glob("*.mp4"))
    (tmp_path / "made" / "copied" / f"{clip}.mp4").write_bytes(source.read_bytes())
    again = invoke(["bench", "fidelity", "--quick", "--out", str(out), "--results", str(tmp_path / "made")])
    assert again.err.split(f"{clip}: ")[1:] == ["tracked\n", "copied\n"], "what is there is not judged again"
    methods = json.loads((out / "fidelity.json").read_text(encoding="utf-8"))["methods"]
    assert methods["copied"] == methods["identity"], "the decoded clip, encoded as results are"
