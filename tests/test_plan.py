"""The plan before a run: what it foretells, and what it refuses."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from _small_run import small_run

from stages.base import Inputs, Output, Stage, Window
from stages.generator import GeneratorStage
from stages.models.registry import Resolved, packaged
from stages.prompts import ObjectPrompt
from storage.address import run_path
from storage.errors import EnvironmentFault
from storage.rundir import CommitLog, Manifest, read_log
from stream.engine.chain import Chain, Node
from stream.options.assembly import Models
from stream.options.config import RunConfig
from stream.options.recorded import claimed_frames
from stream.plan import projection as plan_module
from stream.plan.calibration import (
    FORMAT,
    Calibration,
    calibration_keys,
    duration_text,
    expected_seconds,
    measured,
    read_calibration,
    record_calibration,
)
from stream.plan.plan import Need, Plan
from stream.plan.projection import announce_plan, disk_bytes, make_plan, ram_need, vram_need

MB = 1_000_000
MANIFEST: Manifest = {"video": {"width": 1280, "height": 720, "claimed_frames": 201, "claimed_fps": 24.0}}


class Weighed(Stage):
    """A stage of a known weight: so much loaded, so much a frame of the window."""

    def __init__(self, name: str, loaded: int, each: int = 0, vram: int = 0) -> None:
        self.name = name  # type: ignore[misc]
        self.weights = "sam" if name in ("track", "score") else None
        self.scales = "pixels" if name in ("decode", "generate", "blend", "sink") else "frames"
        self.loaded, self.each, self.vram = loaded, each, vram

    def process(self, window: Window, inputs: Inputs) -> Output:
        raise AssertionError("a plan runs nothing")

    def open(self) -> None:
        raise AssertionError("a plan opens nothing")

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        return self.loaded + self.each * window_frames, self.vram


class WeighedGenerator(Weighed, GeneratorStage):  # type: ignore[misc]  # it is never run
    """One that makes pictures of a size of its own, or of the source's."""

    made: tuple[int, int] | None = None

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        return self.made or (width, height)


def stages(made: tuple[int, int] | None = None) -> Chain:
    """Of each kind; tracking and scoring share 500 MB of weights."""
    found = [
        Weighed("decode", 10 * MB, 1 * MB),
        Weighed("pose", 200 * MB, 1 * MB, 300 * MB),
        Weighed("track", 500 * MB, 2 * MB, 900 * MB),
        WeighedGenerator("generate", 20 * MB, 3 * MB),
        Weighed("blend", 0, 2 * MB),
        Weighed("sink", 30 * MB, 1 * MB),
        Weighed("score", 400 * MB, 1 * MB, 800 * MB),
    ]
    WeighedGenerator.made = made
    return Chain(found)


def config(tmp_path: Path, **given: Any) -> RunConfig:
    """A run of a file that is large enough to be believed."""
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"0" * 100_000)
    return RunConfig(ObjectPrompt(box=(1.0, 2.0, 30.0, 40.0)), video=str(video), **given)


def models() -> Models:
    """SAM's YAML is read; no weights are."""
    yaml = packaged("sam/small.yaml")
    sam = Resolved("sam", "small", yaml, yaml, None, (1024, 1024))
    return Models({"sam": sam, "pose": Resolved("pose", "dwpose-l-384", yaml, None, None, None)})


def made(tmp_path: Path, calibration: Calibration | None = None, **given: Any) -> Plan:
    """The plan of that run."""
    return make_plan(
        config(tmp_path, **given), models(), MANIFEST, stages(given.get("size")), tmp_path / "RUN", calibration
    )


def test_ram_counts_what_stays_loaded_and_the_largest_window() -> None:
    need = ram_need(stages(), 720, 1280, 81)
    loaded = (10 + 200 + 500 + 20 + 30) * MB
    assert need.total == int(1.1 * (plan_module.OTHER_LIBRARIES_BYTES + loaded + 81 * (1 + 3) * MB))
    assert need.most == "track"
    assert vram_need(stages(), 720, 1280, 81) == Need(1200 * MB, "track")


def test_windows_ahead_are_counted(tmp_path: Path) -> None:
    chain = stages()
    for name, lane in {"pose": "gpu", "track": "gpu", "score": "gpu", "generate": "server"}.items():
        chain[name].stage.lane = lane  # type: ignore[assignment]
    alone, ahead, two = (ram_need(chain, 720, 1280, 81, count).total for count in (0, 1, 2))
    each = 81 * (1280 * 720 * 5 + plan_module.SMALL_ARRAYS_BYTES)
    assert ahead - alone == pytest.approx(1.1 * (81 * (2 + 2) * MB + 2 * each), abs=2), "the largest of each lane"
    assert two - ahead == pytest.approx(1.1 * each, abs=2)
    chain["generate"].stage.conditioned_bytes = lambda height, width, frames: frames * MB  # type: ignore[attr-defined]
    shown = [ram_need(chain, 720, 1280, 81, count).total for count in (0, 1)]
    assert shown[0] == alone and shown[1] - ahead == pytest.approx(1.1 * 81 * MB, abs=2), "what is conditioned ahead"
    disk = [disk_bytes(config(tmp_path), models(), 1280, 720, 2_000, behind)[0] for behind in (0, 1, 2)]
    assert disk[2] - disk[1] == disk[1] - disk[0] == 2 * 81 * 1280 * 720 * 3
    server: dict[str, Any] = {"generator": "comfyui", "server": ("a:1", "b:2"), "text": "x"}
    found = [config(tmp_path, **server, **more).windows_ahead for more in (
        {}, {"ahead": 0}, {"ahead": 3}, {"continuity": "blend"}, {"device": "cuda", "share_gpu": "yes", "ahead": 2}
    )]  # fmt: skip
    assert found == [1, 0, 3, 2, 0] and config(tmp_path).windows_ahead == 0
    assert "1 tracked while one is generated" in made(tmp_path, ahead=1).text()


def test_the_time_of_what_works_side_by_side_is_that_of_the_longer(tmp_path: Path) -> None:
    chain = tuple(stages())
    asked = config(tmp_path, ahead=1)
    for node in chain:
        node.stage.lane = "gpu" if node.name in ("pose", "track", "score") else "cpu"
    keys = calibration_keys(asked, chain)
    seconds = Calibration(dict.fromkeys(keys.values(), 1.0))
    units = 1280 * 720
    others = (units * 3) * 10.0  # generate, blend and sink go by pixels
    assert expected_seconds(seconds, asked, MANIFEST, chain, 10) == others
    assert expected_seconds(seconds, config(tmp_path), MANIFEST, chain, 10) == others + 3 * 10


def test_generators_of_single_subjects_are_timed_as_what_they_are(tmp_path: Path) -> None:
    """Else what the preview took is foretold of a server."""
    chain = [Node(WeighedGenerator("generate", 0), name) for name in ("generate-board", "generate")]
    one, other = (calibration_keys(config(tmp_path, **asked), chain) for asked in ({}, {"generator": "comfyui"}))
    for name in one:
        assert one[name].startswith(f"{name} ") and one[name] != other[name]


def test_nothing_grows_with_the_clip_but_what_is_kept(tmp_path: Path) -> None:
    asked = config(tmp_path)
    short, long = (disk_bytes(asked, models(), 1280, 720, frames) for frames in (2_000, 20_000))
    assert short[0] == long[0] == 5 * 81 * 1280 * 720 * 3
    longer = disk_bytes(asked, models(), 1280, 720, 38_000)
    assert short[1] and long[1] and longer[1]
    assert longer[1] - long[1] == pytest.approx(long[1] - short[1], rel=0.01), "what is kept grows evenly"
    assert 5 < long[1] / short[1] < 10, "two overlaps are held whatever the length"
    assert disk_bytes(asked, models(), 1280, 720, None)[1] is None
    tracked = disk_bytes(dataclasses.replace(asked, chain="extract"), models(), 1280, 720, 2_000)
    kept = disk_bytes(dataclasses.replace(asked, keep="all"), models(), 1280, 720, 2_000)
    assert tracked[0] < short[0] and tracked[1] and tracked[1] < short[1]
    assert kept[1] == short[1] + 2_000 * 2 * 1280 * 720 * 3


def test_claimed_length_is_bounded_by_the_file_and_resampled(tmp_path: Path) -> None:
    video = {"claimed_frames": 240, "claimed_fps": 24.0}
    assert claimed_frames(config(tmp_path), video, 10**6) == 240
    assert claimed_frames(config(tmp_path, fps=12.0), video, 10**6) == 120
    assert claimed_frames(config(tmp_path), {**video, "claimed_frames": 10**12}, 8_000) == 1_000
    assert claimed_frames(config(tmp_path), {**video, "claimed_frames": None}, 8_000) is None
    timed = {**video, "claimed_frames": None, "claimed_seconds": 2.5}  # as of Matroska
    assert claimed_frames(config(tmp_path), timed, 10**6) == 60
    assert claimed_frames(config(tmp_path, fps=12.0), timed, 10**6) == 30
    assert claimed_frames(config(tmp_path), {**timed, "claimed_seconds": -2.5}, 10**6) is None


def test_text_names_everything(tmp_path: Path) -> None:
    text = made(tmp_path, ram=8 * 10**9).text()
    assert "201 frames in 3 windows of 81, overlap 21; 1280x720 at 24 frames/s; preview generates 1280x720" in text
    assert "sam small, pose dwpose-l-384, on cpu" in text
    assert "cuts are found while decoding; windows are counted as if there were none" in text
    given = made(tmp_path, cuts=(30, 40, 150)).text()
    assert "201 frames in 4 windows" in given and "shots    3, by --cuts" in given
    assert "shots " not in made(tmp_path, on_cut="ignore").text()
    assert "RAM 1.4 GB of 8.0 GB" in text and "VRAM" not in text
    assert "not known: nothing was timed" in text
    assert "generates 832x480" in made(tmp_path, generator="comfyui", server=("127.0.0.1:1",), size=(832, 480)).text()
    assert "generates" not in made(tmp_path, chain="extract").text()
    assert "about 201 frames in 3 windows" in dataclasses.replace(made(tmp_path), counted=False).text()
    unknown = dataclasses.replace(made(tmp_path), frames=None, counted=False, windows=None, disk_kept=None)
    assert "length unknown" in unknown.text() and "unknown kept" in unknown.text()
    assert "time     not known: the length is not" in unknown.text()


def test_what_stays_on_a_server_is_counted(tmp_path: Path) -> None:
    given: dict[str, Any] = {"generator": "comfyui", "server": ("203.0.113.5:1",), "size": (832, 480)}
    text = made(tmp_path, **given).text()
    assert "on ComfyUI up to 97.0 MB of uploads; no pictures, but where it lacks SaveImageWebsocket up to" in text
    assert "97.0 MB a window, 291.1 MB" in text and "latents" not in text and "--comfy-output" not in text
    more = made(tmp_path, **given, continuity="latent", comfy_output="/x").text()
    assert "latents, 8.4 MB a window" in more and "--comfy-output deletes them once they are committed" in more
    assert "on ComfyUI" not in made(tmp_path).text()


def test_fits(tmp_path: Path) -> None:
    made(tmp_path, ram=8 * 10**9).check()


def test_ram_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match=r"needs about 1\.4 GB of RAM \(track most of all\), over --ram 1\.0 GB"):
        made(tmp_path, ram=10**9).check()
    monkeypatch.setattr(plan_module, "available_ram_bytes", lambda: 500 * MB)
    with pytest.raises(EnvironmentFault, match=r"over the 500\.0 MB of RAM available: .*--sam \(tiny\)") as caught:
        made(tmp_path).check()
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("most", "models", "wanted"),
    [
        ("track", {"sam": "small"}, "take a smaller --sam (tiny) or --window"),
        ("score", {"sam": "tiny"}, "take a smaller --window"),
        ("look", {"sam": "mini-groups"}, "take a smaller --window"),
        (
            "pose",
            {"pose": "dwpose-l-384", "detector": "yolox-m"},
            "take a smaller --pose and --detector (dwpose-m-256, yolox-tiny)",
        ),
        ("pose", {"pose": "dwpose-l-384", "detector": "yolox-tiny"}, "take a smaller --pose (dwpose-m-256)"),
        ("pose", {"pose": "mini", "detector": "mini"}, "take a smaller --window"),
        ("decode", {"sam": "small"}, "take a smaller --window"),
    ],
)
def test_no_model_is_named_that_is_no_smaller(tmp_path: Path, most: str, models: dict[str, str], wanted: str) -> None:
    plan = made(tmp_path, ram=10**9)
    plan = dataclasses.replace(plan, ram=dataclasses.replace(plan.ram, most=most), models=models)
    with pytest.raises(EnvironmentFault, match=re.escape(f"over --ram 1.0 GB: {wanted}, or close other programs")):
        plan.check()


def test_vram_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "free_vram_bytes", lambda: 8 * 10**9)
    made(tmp_path, device="cuda", ram=8 * 10**9).check()
    with pytest.raises(EnvironmentFault, match=r"1\.2 GB of VRAM \(track most of all\), over --vram 1\.0 GB"):
        made(tmp_path, device="cuda", ram=8 * 10**9, vram=10**9).check()
    monkeypatch.setattr(plan_module, "free_vram_bytes", lambda: 10**9)
    with pytest.raises(EnvironmentFault, match=r"over the 1\.0 GB of VRAM free: .*--device cpu"):
        made(tmp_path, device="cuda", ram=8 * 10**9).check()
    made(tmp_path, device="cpu", ram=8 * 10**9, vram=1).check()  # no VRAM is asked for


def test_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "free_disk_bytes", lambda out: 1 * 10**9)
    with pytest.raises(EnvironmentFault, match=r"RUN: needs about .* GB for the 201 frames .*, 1\.0 GB are free"):
        made(tmp_path, ram=8 * 10**9, keep="all").check()
    resumed = dataclasses.replace(made(tmp_path, ram=8 * 10**9, keep="all"), disk_present=10**9)
    assert resumed.disk_needed < made(tmp_path, ram=8 * 10**9, keep="all").disk_needed


def test_limits_of_this_machine_are_found(tmp_path: Path) -> None:
    assert plan_module.available_ram_bytes() > 10**8
    free = plan_module.free_disk_bytes(tmp_path / "not" / "there")
    assert free is not None and free > 0
    assert plan_module.free_disk_bytes(run_path("s3://bucket/run")) is None


def journal(windows: int) -> CommitLog:
    """Windows of 60 frames, each stage a second a window."""
    names = ("decode", "pose", "track", "generate", "blend", "sink", "score")
    record = {"kind": "commit", "seconds": 1.0, "digests": {}}
    return CommitLog(
        [
            {**record, "stage": name, "window": index, "span": [60 * index, 60 * index + 60]}
            for name in names
            for index in range(windows)
        ]
    )


def test_time_from_earlier_runs(tmp_path: Path) -> None:
    asked, kept = config(tmp_path), tmp_path / "cache" / "calibration.json"
    record_calibration(journal(1), asked, MANIFEST, list(stages()), kept)
    assert not kept.exists()  # one window is mostly warming up
    record_calibration(journal(3), asked, MANIFEST, list(stages()), kept)
    again = read_calibration(kept)
    assert again == pytest.approx(measured(journal(3), asked, MANIFEST, list(stages())))
    assert expected_seconds(again, asked, MANIFEST, list(stages()), 180) == pytest.approx(
        18.0
    )  # six stages beside decoding
    small = {"video": {**MANIFEST["video"], "width": 640, "height": 360}}
    assert expected_seconds(again, asked, small, list(stages()), 180) == pytest.approx(3 * 3 + 3 * 3 / 4)
    assert expected_seconds(again, dataclasses.replace(asked, sam="large"), MANIFEST, list(stages()), 180) is None
    assert expected_seconds(again, asked, MANIFEST, list(stages()), None) is None
    assert "about 20 s, going by earlier runs" in made(tmp_path, again).text()
    assert calibration_keys(asked, [Node(Weighed("stabilise", 0))]) == {"stabilise": "stabilise"}
    assert calibration_keys(dataclasses.replace(asked, chain="given"), stages())["track"] == "track given"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 9}', '{"format": 1, "seconds": {"a": "x"}}'])
def test_damaged_calibration_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    assert read_calibration(tmp_path / "calibration.json") == Calibration()
    record_calibration(journal(2), config(tmp_path), MANIFEST, list(stages()), tmp_path / "calibration.json")
    assert json.loads((tmp_path / "calibration.json").read_text())["format"] == FORMAT


def test_a_cache_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        record_calibration(
            journal(2), config(tmp_path), MANIFEST, list(stages()), tmp_path / "file" / "calibration.json"
        )


def test_plan_is_told_before_a_run_and_not_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "read_calibration", Calibration)
    told: list[str] = []
    out = tmp_path / "RUN"
    asked = config(tmp_path, ram=10**9)
    with pytest.raises(EnvironmentFault, match="over --ram"):
        announce_plan(asked, models(), MANIFEST, stages(), out, CommitLog([]), told.append)
    assert len(told) == 1 and told[0].startswith("plan ")
    assert not out.exists()
    finished = small_run()
    announce_plan(asked, models(), MANIFEST, stages(), finished, read_log(finished), told.append)
    assert len(told) == 1


def test_durations_read_well() -> None:
    assert [duration_text(value) for value in (4.4, 89, 200, 12_000)] == ["4 s", "89 s", "3 min", "3 h 20 min"]
