"""HLG and PQ: reference values of the standards, the same bytes everywhere, clips with whole, partial or no tags."""

import dataclasses
import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from _clips import Clip, make, picture_rgb

from stages.base import Array
from stages.decode import DecodeConfig, DecodeStage
from stages.video import planes, tonemap
from stages.video.colour import ColourTags, take_container_hdr
from stages.video.source import VideoSource
from stages.video.tonemap import HLG, PQ, PQ_PEAKS, ToneMap
from storage.errors import InputError
from storage.spans import Span
from stream.options.assembly import encoder_settings

BT709_TAGS = ColourTags(1, 1, 1, 1)


# The standards once more, straight from their text and forwards where the code goes backwards.


def hlg_oetf(scene: Array) -> Array:
    """BT.2100 table 5: scene light 0..1 to signal."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c))


def inverse_eotf_pq(light: Array) -> Array:
    """BT.2100 table 4, the inverse EOTF with its fractions as printed."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    y = np.maximum(light, 0) / 10000
    return ((c1 + c2 * y**m1) / (1 + c3 * y**m1)) ** m2


def inverted(rising: object, values: Array, top: float) -> Array:
    """The arguments in 0..top at which a rising function has these values, by bisection."""
    low, high = np.zeros_like(values), np.full_like(values, top)
    for _ in range(80):
        middle = (low + high) / 2
        below = rising(middle) < values  # type: ignore[operator]
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def eetf(light: Array, peak: float) -> Array:
    """BT.2390-8, 5.4.1, black level 0: cd/m2 to cd/m2."""
    high, most = inverse_eotf_pq(np.array([peak, 203.0]))
    most /= high
    given = np.minimum(inverse_eotf_pq(light) / high, 1)
    start = 1.5 * most - 0.5
    t = (given - start) / (1 - start)
    p = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * (1 - start) + (-2 * t**3 + 3 * t**2) * most
    wanted = np.where(given < start, given, p)
    return inverted(inverse_eotf_pq, wanted * high, 10000.0)


def xyz_matrix(red: tuple[float, float], green: tuple[float, float], blue: tuple[float, float]) -> Array:
    """RGB to XYZ of primaries with white D65 (SMPTE RP 177)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


BT709 = xyz_matrix((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
PRIMARIES = {
    1: BT709,
    9: xyz_matrix((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: xyz_matrix((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def reference(signal: Array, tone: ToneMap) -> Array:
    """`[..., 3]` float64 R'G'B' 0..1 -> what the operator should give, 0..255 and not rounded."""
    if tone.transfer == HLG:
        scene = inverted(hlg_oetf, signal, 1.0)
        light = 1000 * (scene @ [0.2627, 0.6780, 0.0593])[..., None] ** 0.2 * scene
    else:
        light = np.minimum(inverted(inverse_eotf_pq, signal, 10000.0), tone.peak)
    shown = np.maximum(light @ np.linalg.solve(BT709, PRIMARIES[tone.primaries]).T, 0)
    largest = np.maximum(shown.max(axis=-1, keepdims=True), 1e-9)
    return np.asarray(255 * np.clip(shown * eetf(largest, tone.peak) / largest / 203, 0, 1) ** (1 / 2.4))


TONES = [
    ToneMap(HLG, 1000, 9),
    ToneMap(HLG, 1000, 12),
    *(ToneMap(PQ, peak, 9) for peak in PQ_PEAKS),
    ToneMap(PQ, 1000, 1),
]


def test_published_reference_values() -> None:
    # BT.2408-7 table 1: reference white is 75 % HLG and 58 % PQ, 203 cd/m2; 18 % grey 38 % HLG, 38 % PQ, 26 cd/m2.
    assert 1000 * tonemap.hlg_scene_light(np.array([0.75, 0.38])) ** 1.2 == pytest.approx([203, 26], abs=1.0)
    assert tonemap.pq_light(np.array([0.5806889, 0.38])) == pytest.approx([203, 26], abs=0.6)
    # ST 2084: 0.508 is 100 cd/m2, 0.7518 is 1000, 1 is 10000.
    assert tonemap.pq_signal(np.array([100.0, 1000.0, 10000.0])) == pytest.approx([0.5081, 0.7518, 1.0], abs=1e-4)
    # BT.2100 table 5: signal 1/2 is scene light 1/12, signal 1 is 1.
    assert tonemap.hlg_scene_light(np.array([0.5, 1.0])) == pytest.approx([1 / 12, 1.0], abs=1e-6)
    # BT.2087-0, with its four digits.
    printed = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    assert np.allclose(tonemap.TO_BT709[9], printed, atol=1e-4)
    for primaries, matrix in tonemap.TO_BT709.items():
        assert np.allclose(matrix, np.linalg.solve(BT709, PRIMARIES[primaries]), atol=1e-6)


def test_sdr_white_is_the_brightest_and_grey_stays() -> None:
    for peak in PQ_PEAKS:
        light = np.linspace(0, peak, 3000)
        given = tonemap.compressed(light, peak)
        assert given[-1] == pytest.approx(203, rel=1e-6) and (np.diff(given) > -1e-9).all()
        assert np.allclose(given, eetf(light, peak), rtol=1e-6, atol=1e-6)
        assert tonemap.compressed(np.array([2.0 * peak]), peak) == pytest.approx([203], rel=1e-6)
    assert tonemap.compressed(np.array([26.0]), 1000) == 26.0  # 18 % grey lies below the knee


@pytest.mark.parametrize("tone", TONES, ids=str)
def test_pixels_are_those_of_the_standards(tone: ToneMap) -> None:
    rng = np.random.default_rng(3)
    signal = rng.integers(0, planes.LEVELS, (40, 50, 3))
    signal[:10] = np.linspace(0, planes.LEVELS - 1, 500).astype(int).reshape(10, 50, 1)  # greys
    signal[10:12] = (signal[10:12] > 2000) * (planes.LEVELS - 1)  # the corners of the cube
    found = tone.map_signal(signal.transpose(2, 0, 1).astype(np.intp))
    wanted = reference(signal / (planes.LEVELS - 1), tone)
    assert np.abs(found - wanted).max() < 1.0 and np.abs(found - wanted).mean() < 0.3
    assert (np.ptp(found[:10], axis=-1) <= 1).all(), "grey stays grey"
    assert found[9, -1].tolist() == ([255] * 3 if tone.transfer == HLG or tone.peak <= 10000 else None)


def tables() -> dict[str, tuple[Array, Array]]:
    """By name the values in float64 before rounding, and the table."""
    signal = np.arange(planes.LEVELS) / (planes.LEVELS - 1)
    roots = tonemap._roots(tonemap._HEADROOM)
    roots[0] = roots[1]
    found = {
        "hlg": (tonemap.hlg_scene_light(signal), tonemap.linear_table(HLG, 1000)),
        "system": (tonemap._roots(1.0) ** 0.2, tonemap.system_gain_table()),
    }
    for peak in PQ_PEAKS:
        found[f"pq {peak}"] = np.minimum(tonemap.pq_light(signal) / peak, 1), tonemap.linear_table(PQ, peak)
        gain = tonemap.compressed(roots * peak, peak) / (roots * tonemap.SDR_WHITE)
        found[f"eetf {peak}"] = gain, tonemap.eetf_gain_table(peak)
    return found


def test_no_entry_of_a_table_hangs_on_a_last_bit_of_libm() -> None:
    for name, (values, table) in tables().items():
        computed = (
            values[tonemap._roots(tonemap._HEADROOM) < 1] if "eetf" in name else values
        )  # above: a plain quotient
        scaled = np.frexp(computed)[0] * 2**16
        to_tie = np.abs(scaled - np.floor(scaled) - 0.5)
        assert to_tie.min() > 1e-6, name  # float64 is right to 1e-8 of such a step, where PQ's powers are taken twice
        assert np.abs(table - values).max() <= np.abs(values).max() * 2**-16, name
    levels = 255 * tonemap._roots(1.0) ** (1 / 2.4)
    assert np.abs(levels - np.floor(levels) - 0.5).min() > 1e-7


def test_the_same_bytes_everywhere() -> None:
    digest = hashlib.sha256()
    for _, table in tables().values():
        digest.update(table.astype("<f4").tobytes())
    digest.update(tonemap.display_table().tobytes())
    levels = np.arange(0, planes.LEVELS, 89, dtype=np.intp)
    signal = np.stack(np.meshgrid(levels, levels, levels)).reshape(3, len(levels), -1)
    for tone in TONES:
        digest.update(tone.map_signal(signal).tobytes())
    assert digest.hexdigest() == "e474c0cd6dabeeaaf27ba6f258a7482a4c4ee27563b7904a8688a57f0058a367"


# Pictures and clips


def filled(
    name: str, code: tuple[int, int, int], tags: tuple[int, int, int, int], size: tuple[int, int]
) -> av.VideoFrame:
    """A picture of one colour, by its components' codes."""
    picture = av.VideoFrame(*size, name)
    wide = picture.format.components[0].bits > 8
    for plane, value in zip(picture.planes, code, strict=True):
        plane.update(
            np.full((plane.height, plane.line_size // (1 + wide)), value, "<u2" if wide else np.uint8).tobytes()
        )
    picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc = tags
    return picture


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (16, 2), (4000, 3)], ids=str)
@pytest.mark.parametrize(
    ("name", "code", "value_range"),
    [
        ("yuv420p10le", (721, 512, 512), 1),  # 75 % of limited 10 bits
        ("yuv422p10le", (721, 512, 512), 1),
        ("yuv444p12le", (2884, 2048, 2048), 0),
        ("yuv420p", (180, 128, 128), 1),
        ("yuv420p10le", (767, 512, 512), 2),
        ("gbrp10le", (767, 767, 767), 2),
        ("gbrp12le", (2884, 2884, 2884), 1),
    ],
)
def test_every_format_gives_reference_white(
    name: str, code: tuple[int, int, int], value_range: int, size: tuple[int, int]
) -> None:
    image = ToneMap(HLG, 1000, 9).to_rgb(filled(name, code, (9, value_range, 9, HLG), size))
    wanted = reference(np.full((1, 3), 0.75), ToneMap(HLG, 1000, 9))[0, 0]
    assert image.shape == (size[1], size[0], 3)
    assert np.abs(image - wanted).max() <= 1 and 215 < wanted < 240


def test_colours_go_by_the_matrix() -> None:
    for matrix, (k_red, k_blue) in planes.COEFFICIENTS.items():
        wanted = [0.7, 0.3, 0.5]
        luma = k_red * wanted[0] + (1 - k_red - k_blue) * wanted[1] + k_blue * wanted[2]
        chroma = (wanted[2] - luma) / (2 - 2 * k_blue), (wanted[0] - luma) / (2 - 2 * k_red)
        code = (round(64 + 876 * luma), round(512 + 896 * chroma[0]), round(512 + 896 * chroma[1]))
        (_, signal), *_ = planes.signal_strips(filled("yuv420p10le", code, (matrix, 1, 9, PQ), (16, 16)))
        assert np.abs(signal[:, 0, 0] / (planes.LEVELS - 1) - wanted).max() < 0.002


@pytest.mark.parametrize("tags", [(9, 1, 9, PQ), (9, 2, 9, PQ), (1, 1, 9, PQ)], ids=str)
@pytest.mark.parametrize("name", ["p010le", "yuv420p10be"])
def test_packed_formats_keep_their_values(name: str, tags: tuple[int, int, int, int]) -> None:
    planar = filled("yuv420p10le", (300, 600, 700), tags, (64, 48))
    packed = planar.reformat(format=name)
    packed.colorspace, packed.color_range, packed.color_primaries, packed.color_trc = tags
    np.testing.assert_array_equal(ToneMap(PQ, 1000, 9).to_rgb(packed), ToneMap(PQ, 1000, 9).to_rgb(planar))


def decoded(path: Path, **options: object) -> tuple[Array, ColourTags, str]:
    with DecodeStage(DecodeConfig(path, **options)) as stage:  # type: ignore[arg-type]
        found = stage.next(Span(0, 50))
        return found.frames, stage.properties.colour, stage.properties.tone_map


X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}
MASTERED = ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50):max-cll=1800,400"
HDR10 = X265 | {"x265-params": X265["x265-params"] + MASTERED}


@pytest.mark.parametrize(
    ("clip", "tone"),
    [
        (Clip(4, pixel_format="yuv420p10le", tags=(9, 1, 9, HLG)), "HLG, 1000"),
        (Clip(4, pixel_format="yuv420p", tags=(9, 1, 9, HLG)), "HLG, 1000"),
        (Clip(4, pixel_format="yuv422p10le", codec="ffv1", container="matroska", tags=(9, 1, 9, PQ)), "PQ, 1000"),
        (Clip(4, pixel_format="yuv420p10le", codec="ffv1", container="matroska", tags=(2, 0, 2, HLG)), "HLG, 1000"),
        (Clip(4, pixel_format="gbrp10le", codec="ffv1", container="matroska", tags=(0, 2, 9, PQ)), "PQ, 1000"),
        (Clip(4, pixel_format="yuv420p10le", codec="libx265", tags=(9, 1, 9, PQ), options=HDR10), "PQ, 2000"),
        (
            Clip(4, pixel_format="yuv420p10le", codec="libx265", tags=(9, 1, 9, HLG), rotation=90, options=X265),
            "HLG, 1000",
        ),
    ],
    ids=["hlg", "8 bits", "no metadata", "only the transfer", "rgb", "mastered", "turned"],
)
def test_clips_are_tone_mapped_and_tagged_bt709(tmp_path: Path, clip: Clip, tone: str) -> None:
    path = make(tmp_path / "clip", clip)
    frames, tags, said = decoded(path)
    assert said.startswith(tone) and tags == BT709_TAGS and len(frames) == 4
    with av.open(str(path)) as container:
        pictures = [next(iter([picture])) for picture in container.decode(video=0)]
        tone_map = tonemap.tone_map_of(pictures[0])
        assert tone_map is not None and str(tone_map) == said
        images = [tone_map.to_rgb(picture) for picture in pictures]
    upright = np.stack([np.rot90(image, clip.rotation // 90) for image in images])
    np.testing.assert_array_equal(frames, upright)
    with DecodeStage(DecodeConfig(path)) as stage:
        assert encoder_settings(dataclasses.asdict(stage.properties)).colour == BT709_TAGS
    with pytest.raises(InputError, match=f"is HDR, {tone[:2]}.*--hdr refuse"):
        decoded(path, hdr="refuse")


def test_a_picture_survives_the_way_through_hlg(tmp_path: Path) -> None:
    """BT.709 put into HLG by the standard's own functions comes back, up to the rounding of 10 bits."""
    tone = ToneMap(HLG, 1000, 9)
    shown = picture_rgb(3).astype(np.float64) / 255
    light = 92 * shown**2.4  # below the knee, so that nothing is compressed
    wide = light @ np.linalg.solve(PRIMARIES[9], BT709).T
    luminance = np.maximum(wide @ [0.2627, 0.6780, 0.0593], 1e-9)[..., None]
    signal = hlg_oetf(np.maximum(wide, 0) / 1000 * (luminance / 1000) ** (1 / 1.2 - 1))
    found = tone.map_signal(np.round(signal * (planes.LEVELS - 1)).astype(np.intp).transpose(2, 0, 1))
    assert np.abs(found - 255 * (light / 203) ** (1 / 2.4)).max() < 1.2


def test_container_that_alone_says_hdr() -> None:
    picture = filled("yuv420p10le", (500, 512, 512), (2, 1, 2, 2), (16, 16))
    take_container_hdr(picture, ColourTags(9, 1, 9, 1))
    assert tonemap.tone_map_of(picture) is None, "SDR stays as it was"
    take_container_hdr(picture, ColourTags(9, 1, 9, HLG))
    assert tonemap.tone_map_of(picture) == ToneMap(HLG, 1000, 9)


def test_container_tags_of_a_file(tmp_path: Path) -> None:
    plain = make(
        tmp_path / "plain.mkv", Clip(3, pixel_format="yuv420p10le", codec="libx265", container="matroska", options=X265)
    )
    path = tmp_path / "tagged.mkv"
    with av.open(str(plain)) as source, av.open(str(path), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        codec = stream.codec_context
        codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc = 9, 1, 9, HLG
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert decoded(path)[2].startswith("HLG") and decoded(plain)[2] == ""


def test_what_cannot_be_mapped_is_refused(tmp_path: Path) -> None:
    for tags, word in (((14, 1, 9, PQ), "matrix 14"), ((9, 1, 5, PQ), "primaries 5")):
        path = make(
            tmp_path / "clip.mkv",
            Clip(2, pixel_format="yuv420p10le", codec="ffv1", container="matroska", tags=(9, 1, 9, PQ)),
        )
        source = VideoSource(path, DecodeConfig(path).limits)
        picture = filled("yuv420p10le", (500, 512, 512), tags, (64, 48))
        with pytest.raises(InputError, match=word):
            source._check(picture)
        source.close()


def test_a_clip_that_changes_to_hdr_midway_is_refused(tmp_path: Path) -> None:
    halves = []
    for transfer in (HLG, 1):
        part = make(
            tmp_path / f"{transfer}.h264",
            Clip(6, pixel_format="yuv420p10le", container="h264", tags=(9, 1, 9, transfer)),
        )
        halves.append(part.read_bytes())
    for order, words in ((halves, "from HLG to SDR"), (halves[::-1], "from SDR to HLG")):
        path = tmp_path / "both.h264"
        path.write_bytes(b"".join(order))
        with pytest.raises(InputError, match=words):
            decoded(path)


@pytest.mark.parametrize(
    ("mastering", "light", "peak"),
    [
        (None, None, 1000),
        (1000, None, 1000),
        (4000, 0, 4000),
        (4000, 600, 1000),
        (600, None, 1000),
        (1, 2, 1000),
        (99999, None, 10000),
    ],
)
def test_peak_of_pq(mastering: int | None, light: int | None, peak: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Side:
        def __init__(self, name: str, data: bytes) -> None:
            self.type, self.data = type("T", (), {"name": name}), data

        def __bytes__(self) -> bytes:
            return self.data

    entries = []
    if mastering is not None:
        numbers = np.zeros(22, "<i4")
        numbers[18:20], numbers[21] = (mastering * 10, 10), 1
        entries.append(Side("MASTERING_DISPLAY_METADATA", numbers.tobytes()))
    if light is not None:
        entries.append(Side("CONTENT_LIGHT_LEVEL", np.array([light, 0], "<u4").tobytes()))
    monkeypatch.setattr(tonemap, "side_data", lambda picture: iter(entries))
    assert tonemap.pq_peak(av.VideoFrame(16, 16, "yuv420p10le")) == peak


def test_time_stamps_stay(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip(10, pixel_format="yuv420p10le", tags=(9, 1, 9, HLG), rate=Fraction(25)))
    with DecodeStage(DecodeConfig(path)) as stage:
        np.testing.assert_allclose(stage.next(Span(0, 50)).times, np.arange(10) / 25)
