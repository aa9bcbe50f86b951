"""ComfyUI stage: the pure parts (continuity, seeds, sizes, transport, colour, addresses, history)."""

import io
import itertools
import json

import av
import cv2
import numpy as np
import pytest
from fake_comfy.vace import nearest_exact
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import colour
from stages.base import Array
from stages.matching import Look
from stages.resize import resize_frames, resize_region
from stages.server.address import parse_server
from stages.server.answers import Entry
from stages.server.history import Verdict, images, judge
from stages.server.transport import GROUP, decode_png, encode_groups, encode_png, encode_video
from stages.transfer import Transfer, inverse
from stages.vace.config import ComfyConfig
from stages.vace.continuity import kept_frames, latent_slots, pad_indices, sampled_frames, window_seed
from stages.vace.sizes import check_size, fit_size
from storage.boundary import parse
from storage.errors import GeneratorError, UsageError

LENGTHS = st.integers(1, 40).map(lambda n: 4 * n + 1)


def test_mask_sampling_is_the_measured_one() -> None:
    read = sampled_frames(81)
    assert read[:9] == [1, 5, 9, 13, 17, 21, 25, 28, 32] and read[-1] == 79 and len(read) == 21


@given(LENGTHS)
def test_mask_sampling_equals_the_float_rule(length: int) -> None:
    assert sampled_frames(length) == nearest_exact(length).tolist()


@pytest.mark.parametrize(
    ("available", "length", "kept"),
    [
        (21, 81, 20),
        (5, 17, 4),
        (20, 81, 20),
        (25, 81, 24),
        (33, 81, 33),
        (29, 81, 29),
        (1, 81, 0),
        (0, 81, 0),
        (80, 81, 79),
    ],
)
def test_kept_frames_of_the_facts(available: int, length: int, kept: int) -> None:
    assert kept_frames(available, length) == kept


@given(LENGTHS, st.integers(0, 200))
def test_kept_frames_lose_no_slot_and_freeze_none(length: int, available: int) -> None:
    kept = kept_frames(available, length)
    assert 0 <= kept <= min(available, length - 1)
    for slot, read in enumerate(sampled_frames(length)):
        last = 4 * slot  # the last frame that the slot stands for
        assert (read < kept) == (last < kept)
    assert latent_slots(length) == (length + 3) // 4


@given(st.integers(1, 30), st.integers(0, 60))
def test_padding_reflects(frames: int, more: int) -> None:
    order = pad_indices(frames, frames + more).tolist()
    assert order[:frames] == list(range(frames)) and set(order) <= set(range(frames))
    assert all(abs(a - b) <= 1 for a, b in itertools.pairwise(order))
    assert pad_indices(3, 9).tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]


def test_seed_depends_on_seed_window_and_attempt() -> None:
    seen = {window_seed(s, w, a) for s in range(4) for w in range(4) for a in range(4)}
    assert len(seen) == 64 and all(0 <= seed < 2**53 for seed in seen)
    assert window_seed(7, 3, 1) == window_seed(7, 3, 1)


def test_sizes_fit_the_shape() -> None:
    assert fit_size(1920, 1080) == (848, 480) and fit_size(1080, 1920) == (480, 848)
    assert fit_size(832, 480) == (832, 480)


@given(st.integers(160, 4000), st.integers(160, 4000))
@settings(max_examples=50)
def test_sizes_are_legal_and_near_480p(width: int, height: int) -> None:
    if not 0.2 < width / height < 5:
        return
    columns, rows = fit_size(width, height)
    check_size((columns, rows))
    assert abs(columns * rows / (832 * 480) - 1) <= 0.06
    assert abs(np.log((columns / rows) / (width / height))) < 0.05


@pytest.mark.parametrize("size", [(70, 48), (64, 50), (0, 16), (8192, 64)])
def test_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of 16"):
        check_size(size)


def test_resizing_keeps_every_region_pixel() -> None:
    region = np.zeros((1, 90, 160), bool)
    region[0, 41, 77] = True
    assert resize_region(region, (48, 32))[0].any()
    frames = np.zeros((1, 48, 64, 3), np.uint8)
    assert resize_frames(frames, (64, 48)) is frames and resize_frames(frames, (32, 16)).shape == (1, 16, 32, 3)


@pytest.mark.parametrize("shape", [(4, 48, 64, 3), (4, 34, 66, 3), (1, 16, 16, 3), (5, 48, 64), (1, 18, 34)])
def test_video_is_exact(shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    with av.open(io.BytesIO(encode_video(frames)), "r") as container:
        name = container.streams.video[0].codec_context.pix_fmt
        form = "gray" if len(shape) == 3 else "rgb24"
        back = np.stack([frame.to_ndarray(format=form) for frame in container.decode(video=0)])
    assert name == ("gray" if len(shape) == 3 else "bgr0") and np.array_equal(back, frames)


@pytest.mark.parametrize("count", [1, GROUP, GROUP + 1, 2 * GROUP + 5])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_video_encoded_in_pieces_is_the_same_to_the_byte(count: int, channels: tuple[int, ...]) -> None:
    frames = np.random.default_rng(4).integers(0, 256, (count, 32, 48, *channels), dtype=np.uint8)
    whole = encode_video(frames)
    for since in (0, 1, GROUP, GROUP + 1):
        pieces = encode_groups(frames, since)
        assert list(pieces) == [start for start in range(0, count, GROUP) if start >= since]
        assert encode_video(frames, pieces) == whole


def test_png_is_exact_and_refuses_rubbish() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    assert np.array_equal(decode_png(encode_png(picture), "x"), picture)
    alpha = cv2.imencode(".png", np.dstack([picture[..., ::-1], picture[..., 0]]))[1].tobytes()
    assert np.array_equal(decode_png(alpha, "x"), picture)
    deep = cv2.imencode(".png", picture.astype(np.uint16))[1].tobytes()
    for data in (b"", b"no picture", deep):
        with pytest.raises(GeneratorError, match="8-bit PNG"):
            decode_png(data, "x.png")


def test_colour_match_moves_mean_and_deviation() -> None:
    rng = np.random.default_rng(3)
    wanted = rng.normal(120, 12, (3, 40, 40, 3)).clip(0, 255).astype(np.uint8)
    drifted = np.clip(wanted.astype(np.int16) + np.array([6, -4, 8]), 0, 255).astype(np.uint8)
    where = np.ones(wanted.shape[:3], bool)
    found, aim = (colour.statistics_of([colour.to_lab(frames[where])]) for frames in (drifted, wanted))
    assert found is not None and aim is not None
    fix = colour.match(found, aim)
    back = np.stack([colour.apply(fix, frame, mask) for frame, mask in zip(drifted, where, strict=True)])
    assert np.abs(back.astype(float).mean(axis=(0, 1, 2)) - wanted.mean(axis=(0, 1, 2))).max() < 0.6  # of 6, 4 and 8
    mean, deviation = np.array(found.mean) * fix.gain + fix.shift, np.array(found.deviation) * fix.gain
    assert np.allclose(mean, aim.mean, atol=1e-6) and np.allclose(deviation, aim.deviation, atol=1e-6)


def pixel_by_pixel(fix: colour.ColourTransform, pixels: Array) -> Array:
    """`[k, 3]` float64 in 0..255 of levels: the formulas as they stand in the standards."""
    coded = pixels / 255.0
    linear = np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    xyz = np.stack([linear[:, 0] * a + linear[:, 1] * b + linear[:, 2] * c for a, b, c in colour.RGB_TO_XYZ], -1)
    cubic = np.where(xyz > colour.EPSILON, np.cbrt(xyz), (colour.KAPPA * xyz + 16.0) / 116.0)
    lab = np.stack(
        [116.0 * cubic[:, 1] - 16.0, 500.0 * (cubic[:, 0] - cubic[:, 1]), 200.0 * (cubic[:, 1] - cubic[:, 2])]
    )
    light, a, b = lab * np.array(fix.gain)[:, None] + np.array(fix.shift)[:, None]
    middle = (light + 16.0) / 116.0
    cubic = np.stack([middle + a / 500.0, middle, middle - b / 200.0], -1)
    xyz = np.where(cubic**3 > colour.EPSILON, cubic**3, (116.0 * cubic - 16.0) / colour.KAPPA)
    linear = np.stack([xyz[:, 0] * a + xyz[:, 1] * b + xyz[:, 2] * c for a, b, c in colour.XYZ_TO_RGB], -1).clip(0, 1)
    return np.asarray(255.0 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear))


@pytest.mark.parametrize("undone", [Transfer(), Transfer((1.05, 0.01, 0, 0, 0.9, -0.02, 0, 0, 1.2), (3.0, -9.0, 0.5))])
def test_a_correction_has_the_bytes_of_its_formulas_pixel_by_pixel(undone: Transfer) -> None:
    frame = np.random.default_rng(5).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    where = np.random.default_rng(6).random((70, 90)) < 0.3
    levels = frame[where].astype(np.float64)
    if not undone.is_identity:
        rows = inverse(np.array(undone.matrix).reshape(3, 3))
        x, y, z = (levels - 127.5 - np.array(undone.offset)).T
        levels = np.stack([x * a + y * b + z * c + 127.5 for a, b, c in rows], axis=-1).clip(0, 255)
    dither = colour.dither(70, 90).T.reshape(70, 90, 3)[where]
    for fix in (colour.ColourTransform(), colour.ColourTransform((1.2, 0.8, 1.1), (3.0, -4.0, 9.0))):
        wanted = levels if fix.is_identity else pixel_by_pixel(fix, levels)
        expected = frame.copy()
        expected[where] = np.floor(wanted + dither).clip(0, 255)
        if undone.is_identity and fix.is_identity:
            expected = frame
        assert np.array_equal(Look(undone, fix).apply(frame, where), expected)


def test_colour_match_is_bounded_and_exact_on_equals() -> None:
    far = colour.Statistics((90.0, 60.0, -60.0), (20.0, 20.0, 20.0), 10)
    near = colour.Statistics((10.0, 0.0, 0.0), (2.0, 2.0, 2.0), 10)
    fix = colour.match(near, far)
    moved = np.array(near.mean) * fix.gain + fix.shift - near.mean
    assert moved == pytest.approx((12.0, 10.0, -10.0)) and fix.gain == (1.25, 1.25, 1.25)
    assert colour.match(far, far).is_identity
    flat = colour.Statistics((50.0, 0.0, 0.0), (0.1, 0.1, 0.1), 10)
    assert colour.match(flat, far).gain == (1.0, 1.0, 1.0)
    frame = np.random.default_rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(colour.apply(colour.ColourTransform(), frame, np.ones((8, 8), bool)), frame)
    assert colour.statistics_of([]) is None


@pytest.mark.parametrize(
    ("text", "host", "http", "socket"),
    [
        ("127.0.0.1:8188", "127.0.0.1:8188", "http://127.0.0.1:8188", "ws://127.0.0.1:8188"),
        ("box", "box:8188", "http://box:8188", "ws://box:8188"),
        (
            "https://gpu.example/comfy/",
            "gpu.example:443",
            "https://gpu.example:443/comfy",
            "wss://gpu.example:443/comfy",
        ),
        ("[::1]:9000", "[::1]:9000", "http://[::1]:9000", "ws://[::1]:9000"),
    ],
)
def test_addresses(text: str, host: str, http: str, socket: str) -> None:
    address = parse_server(text)
    assert (address.host, address.http, address.websocket) == (host, http, socket)


@pytest.mark.parametrize("text", ["", "box:port", "box:99999", "ftp://box:1", "http://", "user:pw@box:1", "box:1?x=1"])
def test_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--server"):
        parse_server(text)


def entry(**given: object) -> Entry:
    """An entry of the history, as the server writes it."""
    return parse(json.dumps(given), Entry, "entry", GeneratorError)


def test_history_is_judged_by_its_last_word() -> None:
    def verdict(done: bool, *messages: tuple[str, dict[str, str]]) -> Verdict:
        return judge(entry(status={"completed": done, "status_str": "x", "messages": messages}))

    assert verdict(True, ("execution_start", {}), ("execution_success", {})).kind == "success"
    assert verdict(True, ("execution_start", {})).kind == "failed"
    assert verdict(False, ("execution_interrupted", {})).kind == "interrupted"
    memory = {"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device"}
    assert verdict(False, ("execution_error", memory)).kind == "memory"
    error = {"exception_type": "ValueError", "exception_message": "bad\nshape\x1b[2J", "node_id": "7", "node_type": "K"}
    found = verdict(False, ("execution_error", error))
    assert found.kind == "failed" and found.message == "node 7 (K): ValueError: bad shape\N{REPLACEMENT CHARACTER}[2J"
    assert judge(entry()).kind == "failed"


def test_images_of_the_output_node_alone() -> None:
    outputs = {
        "9": {"images": [{"filename": "a", "subfolder": "s", "type": "temp"}]},
        "8": {"gifs": [{"filename": "g"}]},
        "7": "a custom node's own",
    }
    found = entry(outputs=outputs)
    assert [(item.filename, item.subfolder, item.type) for item in images(found, "9")] == [("a", "s", "temp")]
    assert images(found, "8") == images(found, "6") == []
    with pytest.raises(GeneratorError, match="node 7: the whole: expected object, got str"):
        images(found, "7")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"size": (70, 48)}, "--size"), ({"continuity": "x"}, "--continuity"), ({"fill": "red"}, "--fill"),
        ({"object_guide": "x"}, "--object-guide"), ({"seed": -1}, "--seed"), ({"steps": 0}, "--steps"),
        ({"cfg": 101.0}, "--cfg"), ({"strength": -1.0}, "--strength"), ({"dilate": (8, -1)}, "--dilate"),
        ({"timeout_s": 0.0}, "--timeout"), ({"reskin": "x"}, "--reskin"),
    ],
)  # fmt: skip
def test_config_names_the_option(given: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        ComfyConfig(**given)  # type: ignore[arg-type]
