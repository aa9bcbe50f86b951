"""The comparisons with peers and the storage table: small real runs, and what their records claim."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import _clips
import av
import pytest
from _clips import Clip, make

from bench import peers, track_vs_stock
from bench._common import fastest, ratio, run_child
from bench.clips import prepare_clip
from bench.compare import read_ratios
from stages.decode import DecodeConfig, DecodeStage
from storage.errors import EnvironmentFault, InputError
from storage.spans import Span

ROOT = Path(__file__).parents[1]
MINI = ROOT / "stages" / "models" / "mini"


def bench(name: str, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench.NAME`; `path` instead of this PATH."""
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    if path is not None:
        environment["PATH"] = path
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["command"].startswith(f"python -m bench.{found['bench']} ")
    assert found["machine"]["cpus"] and found["versions"]["av"] and found["settings"]
    return found


SMALL = ["--size", "96", "64", "--frames", "90", "--handover-frames", "6", "--repeats", "1"]


def test_decode_and_handover_against_their_peers(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    done = bench("peers", *SMALL, "--parts", "decode", "handover", "--record", str(path), path="")
    assert done.returncode in (0, 1), done.stderr  # 1: a ratio missed its bound, which so small a run may
    found, ratios = read(path), read_ratios(path)
    sides, handed = found["decode"]["sides"], found["handover"]["sides"]
    assert set(sides) == {"pyav", "pyav one thread", "pyav, our threads", "decode", "store", "read"}
    assert {side["frames"] for side in sides.values()} == {sides["pyav"]["frames"]}
    assert set(found["absent"]) == {"ffmpeg", "ffmpeg rgb24"} and "ffmpeg is not on the PATH" in done.stdout
    assert set(handed) == {"png frames", "zarr frames", "png masks", "zarr masks"}
    assert handed["png frames"]["raw_bytes"] == 6 * 96 * 64 * 3 and handed["zarr masks"]["raw_bytes"] == 6 * 96 * 64
    for ours in ("decode", "store", "read"):
        expected = sides["pyav"]["seconds"] / sides[ours]["seconds"]
        assert ratios[f"{ours} / pyav"]["value"] == pytest.approx(expected, abs=0.001)
    assert ratios["decode / pyav, our threads"]["value"] > 0 and "least" not in ratios["decode / pyav, our threads"]
    real_time = ratios["read / real time at 30 frames/s"]
    assert real_time["value"] == pytest.approx(sides["read"]["frames"] / sides["read"]["seconds"] / 30, abs=0.001)
    assert real_time["holds"] == (real_time["value"] >= 2.5)
    assert ratios["zarr frames / png frames: bytes"]["value"] == pytest.approx(
        handed["png frames"]["bytes"] / handed["zarr frames"]["bytes"], abs=0.001
    )


@pytest.mark.slow
def test_every_peer_is_in_one_record(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    models = ["--pose", str(MINI / "pose.onnx"), "--detector", str(MINI / "detector.onnx")]
    rest = ["--track-frames", "4", "--pose-frames", "1", "--detect-every", "1", *models]
    done = bench("peers", *SMALL, *rest, "--record", str(path))
    assert done.returncode in (0, 1), done.stderr
    found, ratios = read(path), read_ratios(path)
    assert {"ffmpeg", "ffmpeg rgb24"} <= set(found["absent"]) | set(found["decode"]["sides"])
    row = found["track"]["lengths"][0]
    assert row["equal"] and row["frames"] == 4 and ratios["streamed / stock, 4 frames"]["value"] == row["speed_ratio"]
    assert found["pose"]["ours"][0]["keypoints_largest_difference_px"] < 0.01
    assert ratios["pose and drawing, person sought every 1 / rtmlib"]["value"] > 0
    assert "ours / peer" in done.stdout


@pytest.mark.parametrize("name", ["peers", "decode_vs_raw", "png_vs_zarr", "storage_table"])
def test_a_missing_video_is_refused(tmp_path: Path, name: str) -> None:
    done = bench(name, "--video", str(tmp_path / "none.mp4"))
    assert done.returncode == 3
    assert done.stderr.strip() == (
        f"error: --video {tmp_path / 'none.mp4'}: no such file: give a video, or leave --video out for the demo clip"
    )


def test_storage_table(tmp_path: Path) -> None:
    path = tmp_path / "storage.json"
    video = make(tmp_path / "clip.mp4", Clip(30, width=96, height=64))
    options = ["--first", "2", "--frames", "27", "--sizes", "96x64", "128x96", "--passes", "1"]
    done = bench("storage_table", "--video", str(video), *options, "--record", str(path))
    assert done.returncode == 0, done.stderr
    found = read(path)
    assert found["default"] == "zstd 1"
    assert found["sources"]["frames 96x64"] == "clip.mp4"
    assert found["sources"]["frames 128x96"] == "clip.mp4, resized from 96x64 (cubic)"
    codecs = {row["codec"]: row for row in found["tables"]["frames 96x64"]}
    assert {"none", "zstd -5", "zstd 9", "blosc lz4 5", "blosc zstd 1, bit shuffle", "gzip 6"} <= set(codecs)
    assert codecs["none"]["ratio"] == 1.0 and codecs["zstd 9"]["ratio"] > codecs["zstd 1"]["ratio"] > 1
    chunks = {row["chunk_frames"]: row for row in found["tables"]["chunks of frames 96x64"]}
    assert list(chunks) == [1, 3, 9, 27]
    assert done.stdout.count("default\n") == 6


def test_storage_table_refuses_a_video_that_is_too_short(tmp_path: Path) -> None:
    video = make(tmp_path / "clip.mp4", Clip(12))
    done = bench("storage_table", "--video", str(video))
    assert done.returncode == 3 and "ends at frame 12, 27 are needed: lower --first" in done.stderr


def test_a_short_clip_is_repeated_without_coding_it_again(tmp_path: Path) -> None:
    video = make(tmp_path / "clip.mp4", Clip(25, b_frames=3))
    path = prepare_clip(video, 60, (64, 48), tmp_path)
    with DecodeStage(DecodeConfig(path)) as stage, DecodeStage(DecodeConfig(video)) as once:
        found, pattern = stage.next(Span(0, 200)), once.next(Span(0, 200))
        assert stage.get_state().to_parts()[0]["seekable"]  # no time needed repair
    assert found.last and len(found.times) in range(60, 76) and not found.bad_frames
    assert found.digests == (pattern.digests * 3)[: len(found.digests)]
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == len(found.times)


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no video stream"):
        prepare_clip(_clips.make_audio_only(tmp_path / "sound.mp4"), 10, (64, 48), tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="cannot be copied"):
        prepare_clip(tmp_path / "text.mp4", 10, (64, 48), tmp_path)


def test_ratios_and_noise() -> None:
    ours = [{"seconds": 2.0, "peak_rss_bytes": 5}, {"seconds": 1.0, "peak_rss_bytes": 7}]
    peers = [{"seconds": 4.0, "peak_rss_bytes": 1}, {"seconds": 3.0, "peak_rss_bytes": 1}]
    assert ratio(ours, peers) == {"value": 3.0, "noise": 0.167, "better": "higher"}
    assert fastest(ours) == {"seconds": 1.0, "peak_rss_bytes": 7, "all_seconds": [2.0, 1.0], "spread": 1.0}


def test_growth_is_bytes_a_frame() -> None:
    rows: list[dict[str, Any]] = [
        {"frames": n, "stock_peak_rss_bytes": 1000 + 30 * n, "streamed_peak_rss_bytes": 1000} for n in (100, 200, 400)
    ]
    assert track_vs_stock.growth(rows) == {"stock": 30, "streamed": 0}
    assert track_vs_stock.growth(rows[:1]) is None
    ended = [*rows[:2], rows[2] | {"ended": "stock", "stock_peak_rss_bytes": 1}]
    assert track_vs_stock.growth(ended) == {"stock": 30, "streamed": 0}
    assert track_vs_stock.growth(ended[1:]) is None


def test_where_memory_ends_stock_the_streamed_side_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[str, str]] = []

    def call_side(options: Any, config: Any, clip: Path, side: str) -> dict[str, Any]:
        called.append((clip.name, side))
        if side == "stock" and clip.name == "frames_4":
            return {"ended": "memory", "peak_rss_bytes": 900}
        done = {"digest": {"object": "a"}, "seconds": 2.0, "visible_frames": 2}
        return done | {"peak_rss_bytes": 100, "peak_vram_bytes": 7}

    monkeypatch.setattr(track_vs_stock, "call_side", call_side)
    monkeypatch.setattr(track_vs_stock, "prepare_model", lambda options, folder: None)
    arguments = ["--frames", "2", "4", "8", "--size", "64x48", "--repeats", "2", "--memory-limit", "800"]
    found = track_vs_stock.measure(track_vs_stock.parse_options(arguments))
    assert called == [("frames_2", "stock"), ("frames_2", "streamed")] * 2 + [
        ("frames_4", side) for side in ("stock", "streamed", "streamed")
    ]
    first, last = found["lengths"]
    assert first["equal"] and first["speed_ratio"] == 1.0 and "ended" not in first
    assert last == {
        "frames": 4,
        "equal": None,
        "visible_frames": 2,
        "speed_ratio": None,
        "speed_noise": None,
        "ended": "stock",
        "stock_fps": None,
        "streamed_fps": 2.0,
        "stock_peak_rss_bytes": 900,
        "streamed_peak_rss_bytes": 100,
        "stock_peak_vram_bytes": None,
        "streamed_peak_vram_bytes": 7,
    }
    assert list(found["ratios"]) == ["streamed / stock, 2 frames"] and found["bytes_per_frame"] is None
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == last


def test_peers_measures_the_noise_of_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, wanted in (("1", 2), ("3", 3)):
        monkeypatch.setattr(sys, "argv", ["peers", "--repeats", given])
        assert peers._pose_options(peers.parse_options()).repeats == wanted


def test_a_child_over_its_memory_is_ended() -> None:
    found = run_child("bench.track_vs_stock", ["--help"], memory_limit=1)
    assert found["ended"] == "memory" and found["peak_rss_bytes"] > 1


def test_a_child_that_fails_is_said() -> None:
    with pytest.raises(EnvironmentFault, match=r"bench\.decode_vs_raw --side none ended with 2"):
        run_child("bench.decode_vs_raw", ["--side", "none"])


def test_rendering_is_measured_on_one_core(tmp_path: Path) -> None:
    path = tmp_path / "render.json"
    done = bench("render", "--frames", "5", "--repeats", "1", "--record", str(path))
    assert done.returncode == 0, done.stderr
    ratios = read_ratios(path)
    assert read(path)["settings"] == {"frames": 5, "repeats": 1}
    assert {"one skater", "three skaters"} < ratios.keys() and all(ratio["value"] > 1 for ratio in ratios.values())
    assert ratios["one skater"]["least"] == 25
    assert bench("render", "--frames", "3").returncode == 2
