"""What the plan says about rate, footage, and RAM that ComfyUI takes on the same machine: an hour of 4K on 16 GB."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from stages.prompts import ObjectPrompt
from stages.recipes.footprint import PROCESS_BYTES, file_bytes, server_footprint
from stages.recipes.registry import RECIPES, files_of, graph_file
from stages.server.workflow import load_workflow
from storage.errors import EnvironmentFault
from storage.rundir import CommitLog
from stream.engine.windows import WindowPlan
from stream.options.assembly import build_chain, resolve_models
from stream.options.config import RunConfig
from stream.plan import projection, server
from stream.plan.plan import Plan
from stream.plan.rate import rate_line, suggested_fps
from stream.plan.server import resident_bytes, server_need
from stream.progress.events import Reporter

GB = 1_000_000_000
PHONE = {"claimed_frames": 216_000, "claimed_fps": 60.0, "pixel_format": "yuv420p10le", "tone_map": "HLG, 1000 cd/m2"}
TAGS = {f"colour_{name}": 1 for name in ("matrix", "range", "primaries", "transfer")} | {"sample_aspect_ratio": (1, 1)}


@pytest.mark.parametrize(
    ("fps", "wanted"),
    [
        (24, 16),
        (23.976, 16),
        (25, 16),
        (29.97, 14.985),
        (30, 15),
        (50, 50 / 3),
        (59.94, 14.985),
        (60, 15),
        (120, 15),
        (240, 16),
    ],
)
def test_rate_to_resample_to(fps: float, wanted: float) -> None:
    assert suggested_fps(fps, 16.0) == pytest.approx(wanted)


def test_rate_in_the_plan() -> None:
    plan = WindowPlan(81, 21)
    fast = rate_line(16.0, 60.0, 216_000, plan)
    assert "trained at 16 frames/s, the clip has 60: a window spans 1.35 s, where it learned 5.06 s" in fast
    assert f"--fps 15 makes {plan.count(54_000)} windows instead of {plan.count(216_000)}" in fast
    assert plan.count(216_000) == 3600 and plan.count(54_000) == 900
    assert "--fps 15 makes 1 window instead of 2, " in rate_line(16.0, 60.0, 100, plan)
    assert "--fps 15 makes no fewer windows here" in rate_line(16.0, 60.0, 50, plan)
    assert "--fps 15 makes fewer windows" in rate_line(16.0, 60.0, None, plan)
    assert rate_line(16.0, 16.0, 100, plan).endswith("near enough") and "--fps" not in rate_line(16.0, 10.0, 100, plan)


@pytest.mark.parametrize("name", RECIPES)
def test_every_model_of_the_packaged_graphs_is_counted(name: str) -> None:
    found = server_footprint(load_workflow(graph_file(name)).graph, 832, 480, 81)
    assert len(found.models) == len(files_of(name)) and None not in found.models.values()
    sizes = [file_bytes(model) or 0 for model in found.models]
    assert found.total == sum(sizes) + PROCESS_BYTES + 5 * 81 * 832 * 480 * 12
    small = name in ("vace", "vace-reference", "vace-gguf", "vace-two-contexts", "vace-vhs")
    assert max(sizes) == 6_735_906_897 or not small, "UMT5 is the largest"


def test_a_model_of_unknown_size_is_named() -> None:
    graph = {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "wan\\my.safetensors", "strength": 1.0}}}
    found = server_footprint(graph, 16, 16, 1)
    assert found.models == {"my.safetensors": None} and found.total < PROCESS_BYTES + 10**6
    assert "not counted, their size is not known: my.safetensors" in str(server.ServerNeed(1, found.models, 0))


def asked(tmp_path: Path, **given: Any) -> RunConfig:
    """A run with ComfyUI here, and the mini models; the file is as large as its claim needs."""
    video = tmp_path / "clip.mp4"
    with video.open("wb") as file:
        file.truncate(10**7)
    models = {"sam": "mini", "pose": "mini", "detector": "mini"}
    comfy = {"generator": "comfyui", "server": ("127.0.0.1:8188",), "share_gpu": "no"}
    options: dict[str, Any] = {"prompt": ObjectPrompt(box=(1.0, 2.0, 30.0, 40.0)), **models, **comfy, **given}
    return RunConfig(video=str(video), **options)


def planned(tmp_path: Path, width: int, height: int, video: dict[str, Any] | None = None, **given: Any) -> Plan:
    config = asked(tmp_path, **given)
    manifest: Any = {"video": {**PHONE, **TAGS, **(video or {}), "width": width, "height": height}}
    models = resolve_models(config)
    chain = build_chain(config, models, manifest, Reporter())
    return projection.make_plan(config, models, manifest, chain, tmp_path / "RUN", None, CommitLog([]))


def machine(monkeypatch: pytest.MonkeyPatch, available: int, held: int = 0) -> None:
    """A machine with so much RAM available, and a server that holds so much of it."""
    monkeypatch.setattr(projection, "available_ram_bytes", lambda: available)
    monkeypatch.setattr(projection, "free_disk_bytes", lambda out: 10**15)
    monkeypatch.setattr(server, "resident_bytes", lambda port: held)


def test_what_the_server_holds_already_is_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 64 * GB)
    fresh = server_need(asked(tmp_path), (832, 480))
    machine(monkeypatch, 64 * GB, held=3 * GB)
    busy = server_need(asked(tmp_path), (832, 480))
    assert fresh is not None and busy is not None and fresh.total - busy.total == 3 * GB
    assert "it holds 3.0 GB already" in str(busy)
    two = server_need(asked(tmp_path, server=("127.0.0.1:8188", "localhost:8189", "203.0.113.5:8188")), (832, 480))
    assert two is not None and two.total == 2 * busy.total, "one elsewhere takes nothing here"
    assert server_need(asked(tmp_path, server=("203.0.113.5:8188",)), (832, 480)) is None
    assert server_need(asked(tmp_path, generator="preview", server=()), (832, 480)) is None


def test_a_listening_process_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert resident_bytes(port) > 10**7
    assert resident_bytes(port) == 0


def test_an_hour_of_4k_at_60_on_16_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No: the plan says so, and what it names instead does fit."""
    machine(monkeypatch, 14 * GB)
    plan = planned(tmp_path, 3840, 2160)
    assert plan.windows == 3600 and "--fps 15 makes 900 windows instead of 3600" in plan.text()
    assert "footage  HDR (HLG, 1000 cd/m2) is mapped to BT.709" in plan.text()
    assert "NO, both do not fit" in plan.text() and "ComfyUI on another machine" in plan.text()
    with pytest.raises(EnvironmentFault, match=r"over the 14\.0 GB of RAM available"):
        plan.check()
    alone = planned(tmp_path, 3840, 2160, server=("203.0.113.5:8188",))
    with pytest.raises(
        EnvironmentFault, match=r"--window \d+ --overlap \d+ takes .* or --work-height \d+ takes"
    ) as refused:
        alone.check()
    found = re.search(
        r"--window (\d+) --overlap (\d+) takes [\d.]+ GB, or --work-height (\d+) takes", str(refused.value)
    )
    assert found is not None
    window, overlap, lines = map(int, found.groups())
    given: Any = {"server": ("203.0.113.5:8188",)}
    planned(tmp_path, 3840, 2160, window=window, overlap=overlap, **given).check()
    whole: Any = {"source": [3840, 2160]}
    reduced = planned(tmp_path, lines * 16 // 9, lines, whole, work_height=lines, **given)
    reduced.check()
    assert reduced.ram.total > planned(tmp_path, lines * 16 // 9, lines, **given).ram.total, "4K is still decoded"
    masked = ObjectPrompt(mask_png=str(tmp_path / "mask.png"))
    assert f"a clip of {lines} lines takes" in planned(tmp_path, 3840, 2160, prompt=masked, **given).fits
    assert "memory   ComfyUI" not in alone.text()


def test_with_enough_ram_both_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 56 * GB)
    plan = planned(tmp_path, 3840, 2160)
    assert "both fit" in plan.text() and plan.fits == ""
    plan.check()
    machine(monkeypatch, 14 * GB)
    plan = planned(tmp_path, 1280, 720, ram=8 * GB)
    plan.check()  # --ram bounds this program alone, and ComfyUI may swap: said, not refused
    assert "NO, both do not fit" in plan.text()


def test_deinterlacing_is_told_and_sdr_needs_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 40 * GB)
    text = planned(tmp_path, 640, 360, {"tone_map": "", "deinterlaced": True}).text()
    assert "footage  interlaced, deinterlaced by bwdif" in text and "HDR" not in text
    assert "footage" not in planned(tmp_path, 640, 360, {"tone_map": ""}).text()


def test_a_wider_picture_format_takes_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 40 * GB)
    small, large = (
        planned(tmp_path, 1280, 720, {"pixel_format": name}).ram.total for name in ("yuv420p", "yuv422p10le")
    )
    assert large - small == pytest.approx(1.1 * 48 * 1280 * 720 * 2.5, abs=2), "16 of them wait for a cut to be told"


def test_work_on_a_window_is_not_counted_while_another_stage_works(tmp_path: Path) -> None:
    config = asked(tmp_path)
    manifest: Any = {"video": {**PHONE, **TAGS, "width": 3840, "height": 2160}}
    chain = build_chain(config, resolve_models(config), manifest, Reporter())
    resting = {n.name: n.stage.peak_bytes(2160, 3840, 0)[0] - n.stage.peak_bytes(90, 160, 0)[0] for n in chain}
    assert resting.pop("decode") > 10**8, "decoding goes on beside the others"
    assert resting.pop("blend") == 21 * 3 * (3840 * 2160 - 160 * 90), "the overlap is kept"
    assert resting.pop("motion") == 2 * (960 * 540 - 160 * 90), "a reduced frame and what is background in it"
    assert set(resting.values()) == {0}
