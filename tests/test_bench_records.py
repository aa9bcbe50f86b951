"""Records of benches: what they hold, and their comparison."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench._common import write_record
from bench.compare import Change, compare, main, missing, read_ratios
from bench.probe import Peaks, Row
from bench.record import read_bench
from bench.summary import record_of
from storage.errors import InputError


def row(stage: str, window: int, rss: int, seconds: float) -> Row:
    return Row(stage, window, 60, seconds, seconds + 0.1, seconds / 2, 0.0, Peaks(rss), 10, 20, 1000)


def test_a_record_holds_every_window_and_no_row(tmp_path: Path) -> None:
    rows = [row(stage, k, 10**9 + k, 1.0 + k / 3) for k in range(3) for stage in ("decode", "track")]
    rows[-1] = replace(rows[-1], peaks=Peaks(7, vram_torch=5))
    bench_json = tmp_path / "bench.json"
    bench_json.write_text(json.dumps({"bench": "run", "rows": [item.to_json() for item in rows]}))
    found = record_of(read_bench(bench_json))
    assert set(found) == {"bench", "windows"}
    assert found["windows"] == {
        "peak_rss_bytes": [10**9, 10**9 + 1, 10**9 + 2],
        "peak_vram_torch_bytes": [None, None, 5],
        "peak_vram_process_bytes": [None] * 3,
        "peak_gpu_used_bytes": [None] * 3,
        "peak_vram_comfyui_bytes": [None] * 3,
        "working_disk_bytes": [1000] * 3,
        "decode_seconds": [1.1, 1.4333, 1.7667],
        "track_seconds": [1.1, 1.4333, 1.7667],
        "window_seconds": [2.2, 2.8667, 3.5333],
    }
    path = tmp_path / "record.json"
    write_record(found, path)
    assert json.loads(path.read_text()) == found and " [1.1, 1.4333, 1.7667],\n" in path.read_text()
    with pytest.raises(InputError, match="has no rows"):
        read_bench(path)


def test_a_row_survives_json() -> None:
    whole = replace(row("track", 3, 10**9, 1.0), peaks=Peaks(1, 2, 3, 4, 5), read_bytes=None)
    assert Row.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def write_ratios(path: Path, **values: tuple[float, float, str]) -> Path:
    ratios = {name: {"value": v, "noise": n, "better": b} for name, (v, n, b) in values.items()}
    path.write_text(json.dumps({"ratios": ratios}))
    return path


def test_compare_fails_beyond_the_noise_alone(tmp_path: Path) -> None:
    old = write_ratios(tmp_path / "old.json", speed=(1.00, 0.03, "higher"), memory=(1.00, 0.0, "lower"))
    near = write_ratios(tmp_path / "near.json", speed=(0.96, 0.03, "higher"), memory=(1.015, 0.0, "lower"))
    far = write_ratios(tmp_path / "far.json", speed=(0.90, 0.03, "higher"), memory=(1.05, 0.0, "lower"))
    good = write_ratios(tmp_path / "good.json", speed=(2.00, 0.03, "higher"), memory=(0.5, 0.0, "lower"))
    assert [change.worse for change in compare(old, near)] == [False, False]
    assert [change.worse for change in compare(old, far)] == [True, True]
    assert [change.worse for change in compare(old, good)] == [False, False]
    assert "WORSE" in str(compare(old, far)[0])


def test_compare_refuses_what_is_no_record(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    for content in ("not json", json.dumps({"ratios": {"speed": 1.0}})):
        bad.write_text(content)
        with pytest.raises(SystemExit, match=r"bad\.json"):
            read_ratios(bad)
    assert Change("x", 0.0, 1.0, 0.0, "higher").loss == 0.0


def test_compare_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    write_ratios(old / "a.json", speed=(1.0, 0.0, "higher"), memory=(1.0, 0.0, "lower"))
    write_ratios(new / "a.json", speed=(1.0, 0.0, "higher"), memory=(1.0, 0.0, "lower"))
    assert main([str(old), str(new)]) == 0
    write_ratios(new / "a.json", speed=(1.0, 0.0, "higher"))
    write_ratios(old / "b.json", speed=(1.0, 0.0, "higher"))
    capsys.readouterr()
    assert main([str(old), str(new)]) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if "MISSING" in line] == [
        "MISSING a: memory",
        "MISSING b.json",
    ]
    write_ratios(new / "a.json")
    assert main([str(old / "a.json"), str(new / "a.json")]) == 1
    assert main([str(new / "a.json"), str(old / "a.json")]) == 2


RECORDS = Path(__file__).parents[1] / "bench" / "records"
# kills and mismatches: no ratio
COUNTS_ALONE = (
    "chaos.json",
    "chaos_ahead.json",
    "chaos_ahead_2.json",
    "chaos_comfyui.json",
    "fuzz_video.json",
    "hostile.json",
    "hostile_third.json",
    "hostile_third_2.json",
    "scale_kills.json",
)
# of codecs, of ways, of counts among themselves
TABLES = (
    "storage.json",
    "storage_layouts.json",
    "stabilise.json",
    "subjects.json",
    "joints.json",
    "pick.json",
    "identities.json",
    "identities_cuts.json",
    "identities_unseen.json",
    "scale_store.json",
)
ENDED = ("track_memory_limit.json",)  # memory ended stock: there is nothing to compare speeds with


def test_committed_records_can_be_compared() -> None:
    found = {path.name: compare(path, path) for path in RECORDS.glob("*.json")}
    assert {"demo_3000.json", "flat.json", "peers.json", "pose_vs_rtmlib.json", "track_vs_stock.json"} <= found.keys()
    for name, changes in found.items():
        assert changes or name in COUNTS_ALONE + TABLES + ENDED, f"{name}: no ratio to compare"
        assert not any(change.worse for change in changes), name
        assert not missing(RECORDS / name, RECORDS / name)
