"""Small picture files that claim huge sizes: refused with one line and the right code, before anything is decoded."""

import io
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from _runs import BOX, CLIP_OPTIONS, invoke, small_clip, small_models
from fake_comfy import FakeComfy
from fake_comfy.scene import config, make_scene, windows
from PIL import Image

from stages.comfyui import ComfyStage
from stages.given import first_prompt, read_masks
from stages.picture import decode_picture
from stages.poses.place import prompt_box
from stages.prompts import ObjectPrompt
from stages.sam.prompts import load_mask
from stages.server.transport import decode_png
from stages.vace.reference import read_reference
from storage.errors import GeneratorError, InputError, SkateError
from stream.report.reference import read_reference as read_metadata

HUGE = 40_000


def png(width: int, height: int, rows: bytes = b"\0" * 64) -> bytes:
    """A PNG of 8-bit grey whose header claims this size, whatever rows it has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encoded(width: int, height: int, kind: str) -> bytes:
    """A real picture of another format."""
    data = io.BytesIO()
    Image.new("RGB", (width, height), (9, 9, 9)).save(data, kind)
    return data.getvalue()


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(HUGE, HUGE))
    return path


@pytest.mark.parametrize("size", [(HUGE, HUGE), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (65, 48)])
def test_the_header_is_read_before_decoding(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for fault in (InputError, GeneratorError):
        with pytest.raises(fault, match=rf"--x a\.png is {size[0]}x{size[1]}, .* limit is 3072: .*--max-pixels"):
            decode_picture(png(*size), cv2.IMREAD_GRAYSCALE, "--x a.png", 64 * 48, fault=fault)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_every_format_is_bounded(kind: str) -> None:
    data = encoded(64, 48, kind)
    picture = decode_picture(data, cv2.IMREAD_COLOR, "a", 64 * 48)
    assert picture is not None and picture.shape == (48, 64, 3)
    with pytest.raises(InputError, match="a is 64x48, 3072 pixels; the limit is 3071"):
        decode_picture(data, cv2.IMREAD_COLOR, "a", 64 * 48 - 1)


def test_what_pillow_takes_for_a_bomb() -> None:
    data = bytearray(encoded(8, 8, "BMP"))
    data[18:26] = struct.pack("<ii", HUGE, HUGE)
    with pytest.raises(InputError, match="a has more than 89478485 pixels"):
        decode_picture(bytes(data), cv2.IMREAD_COLOR, "a", 2**40)


@pytest.mark.parametrize(
    "data", [b"", b"rubbish", png(0, 5), png(5, 0), png(5, 5)[:20], png(5, 5)[:33], png(HUGE, HUGE)]
)
def test_what_cannot_be_decoded_is_no_picture(data: bytes) -> None:
    assert decode_picture(data, cv2.IMREAD_GRAYSCALE, "a", 2**40) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_damaged_files_never_escape(kind: str) -> None:
    whole = encoded(16, 16, kind)
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for at in rng.integers(0, min(len(data), 80), 3):
            data[at] = rng.integers(0, 256)
        try:
            decode_picture(bytes(data), cv2.IMREAD_UNCHANGED, "a", 10_000)
        except InputError as error:
            assert "\n" not in str(error)


def test_every_place_that_reads_a_picture(bomb: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "0.png").write_bytes(bomb.read_bytes())
    places = (
        (lambda: load_mask(str(bomb), None, 90, 160), "upright frame's size, 160x90"),
        (lambda: read_reference(str(bomb)), "--max-pixels"),
        (lambda: first_prompt(tmp_path / "masks"), "masks of the video's size"),
        (lambda: prompt_box(ObjectPrompt(mask_png=str(bomb))), "--max-pixels"),
        (lambda: decode_png(bomb.read_bytes(), "x.png"), "what scales the output"),
    )
    for read, remedy in places:
        with pytest.raises(SkateError, match=f"is {HUGE}x{HUGE}, .*{remedy}") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == (5 if isinstance(caught.value, GeneratorError) else 3)


def test_bombs_as_options(bomb: Path, tmp_path: Path) -> None:
    clip, out = small_clip(tmp_path), tmp_path / "out"
    (tmp_path / "masks").mkdir()
    bomb.rename(tmp_path / "masks" / "0.png")
    picture = str(tmp_path / "masks" / "0.png")
    common = [str(clip), "--out", str(out), *CLIP_OPTIONS, *small_models(tmp_path)]
    given = ["--masks", str(tmp_path / "masks"), "--pose", str(clip), *small_models(tmp_path)[:4]]
    with FakeComfy() as server:
        for arguments in (
            ["run", *common, "--object-mask", picture],
            ["run", *common, *BOX, "--server", server.address, "--reference", picture],
            ["generate", str(clip), "--out", str(out), *CLIP_OPTIONS, *given],
        ):
            result = invoke([*arguments, "--overwrite"])
            last = result.err.strip().splitlines()[-1]
            assert result.code == 3 and f"0.png is {HUGE}x{HUGE}" in last, result.err
            assert "Traceback" not in result.err


def test_a_servers_bomb() -> None:
    scene, (window, *_) = make_scene(17), windows(17)
    saves = FakeComfy(without=frozenset(["SaveImageWebsocket"]))
    with saves as server, ComfyStage(config(server.address)) as stage:

        class Bombs(dict[str, bytes]):
            def get(self, key: str, default: bytes | None = None) -> bytes | None:  # type: ignore[override]
                return png(HUGE, HUGE)

        server.executor.files.output = Bombs()
        with pytest.raises(GeneratorError, match=rf"is {HUGE}x{HUGE}, .*remove what scales") as caught:
            stage.process(window, scene.inputs(window))
    assert caught.value.exit_code == 5


def test_a_bomb_that_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, (window, *_) = make_scene(17), windows(17)
    monkeypatch.setattr("fake_comfy.interpreter.png_of", lambda frame: png(HUGE, HUGE))
    told = pytest.raises(GeneratorError, match=rf"is {HUGE}x{HUGE}, .*remove what scales")
    with FakeComfy() as server, ComfyStage(config(server.address)) as stage, told:
        stage.process(window, scene.inputs(window))


def test_the_limit_is_an_option(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((60, 80), 255, np.uint8))
    assert next(read_masks(tmp_path, 4800)).all()
    assert read_reference(str(tmp_path / "0.png"), 4800).picture.shape == (60, 80, 3)
    assert prompt_box(ObjectPrompt(mask_png=str(tmp_path / "0.png")), 4800) == (0, 0, 80, 60)
    for read in (
        lambda: next(read_masks(tmp_path, 4799)),
        lambda: read_reference(str(tmp_path / "0.png"), 4799),
        lambda: prompt_box(ObjectPrompt(mask_png=str(tmp_path / "0.png")), 4799),
    ):
        with pytest.raises(InputError, match="the limit is 4799"):
            read()


def test_metadata_nested_too_deeply(tmp_path: Path) -> None:
    path = tmp_path / "tracking_metadata.json"
    for text in ("[" * 200_000, json.dumps({"config": [[]]})):
        path.write_text(text)
        with pytest.raises(InputError, match="is not what `skate export` wrote"):
            read_metadata(path)
