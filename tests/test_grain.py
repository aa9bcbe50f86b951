"""Noise and sharpness of the result against the source's: the spectrum inside against outside, before and after."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from _crash import differing, results, shared_case
from _zygote import shared_zygote

from stages.base import Array
from stages.composite import put_back
from stages.grain import Grain, grain_of, noise_of, spectrum
from stages.matching import Look
from stages.views.lens import Lens
from storage.rundir import RunReader
from stream.demo import DemoConfig, Scene

FRAMES, HEIGHT, WIDTH = 3, 240, 320


def picture(seed: int = 0) -> Array:
    """`[H, W]` float32: a texture of edges beside a flat field."""
    rng = np.random.default_rng(seed)
    spots = cv2.resize(rng.uniform(40, 210, (30, 40)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    spots[:, : WIDTH // 2] = 120
    return np.asarray(cv2.GaussianBlur(spots, (0, 0), 0.6))


def rgb(luma: Array) -> Array:
    return np.repeat(np.clip(luma + 0.5, 0, 255).astype(np.uint8)[..., None], 3, -1)


def masks() -> tuple[Array, Array]:
    inner, outer = np.zeros((2, FRAMES, HEIGHT, WIDTH), bool)
    inner[:, 50:190, 80:240] = True
    outer[:, 42:198, 72:248] = True
    return inner, outer


def deviations(frame: Array, where: Array) -> Array:
    """`[2]`: of the noise in the fine and the coarse band."""
    energies, structure = spectrum(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), where)
    flat = structure <= np.quantile(structure, 0.25)
    return np.asarray(np.sqrt(np.median(energies[flat], axis=0)))


@pytest.mark.parametrize(("fine", "coarse"), [(3.0, 0.0), (2.0, 2.0), (0.0, 4.0)])
def test_the_results_spectrum_becomes_the_sources(fine: float, coarse: float) -> None:
    inner, outer = masks()
    source = np.stack([rgb(picture() + noise_of(500 + t, (HEIGHT, WIDTH), fine, coarse)) for t in range(FRAMES)])
    made = np.repeat(rgb(picture(1))[None], FRAMES, 0)
    grain = grain_of(source, lambda t: made[t], outer, inner)
    raw = put_back(source, made, outer, inner, Look(), Lens((WIDTH, HEIGHT), (WIDTH, HEIGHT)), grain, 7)
    assert np.array_equal(raw[~outer], source[~outer])
    for t in range(FRAMES):
        around, plain, matched = (
            deviations(p[t], w) for p, w in ((source, ~outer[t]), (made, inner[t]), (raw, inner[t]))
        )
        wanting = np.abs(around - plain) > 0.4
        assert wanting.any()
        assert (np.abs(around - matched)[wanting] < 0.25 * np.abs(around - plain)[wanting]).all()
    assert not np.array_equal(raw[0][inner[0]], raw[1][inner[1]]), "another frame, other noise"


def test_noise_goes_by_the_frames_number_alone() -> None:
    inner, outer = masks()
    source, made = np.repeat(rgb(picture())[None], FRAMES, 0), np.repeat(rgb(picture(1))[None], FRAMES, 0)
    lens, grain = Lens((WIDTH, HEIGHT), (WIDTH, HEIGHT)), Grain(fine=2.0, coarse=1.0)
    whole = put_back(source, made, outer, inner, Look(), lens, grain, 100)
    later = put_back(source[1:], made[1:], outer[1:], inner[1:], Look(), lens, grain, 101)
    assert np.array_equal(whole[1:], later)


BLURRED: Callable[[Array], Array] = lambda frame: np.asarray(cv2.GaussianBlur(frame, (0, 0), 0.7))  # noqa: E731


def test_what_is_as_the_source_stays_as_it_is_and_what_is_softer_or_sharper_comes_nearer() -> None:
    frames = [Scene(DemoConfig(frames=21, width=640, height=360, seed=2)).frame(t) for t in (0, 10, 20)]
    source = np.stack([frame.image for frame in frames])
    inner = np.stack([frame.object_mask | frame.person_mask for frame in frames])
    outer = np.stack([cv2.dilate(mask.astype(np.uint8), np.ones((17, 17))) > 0 for mask in inner])
    assert grain_of(source, lambda t: source[t], outer, inner).is_neutral
    nothing = np.zeros_like(inner)
    assert grain_of(source, lambda t: source[t], nothing, nothing).is_neutral
    soft = [BLURRED(frame) for frame in source]
    wide = source.astype(np.float32)
    sharp = [np.clip(f + 0.8 * (f - BLURRED(f)), 0, 255).astype(np.uint8) for f in wide]
    softer, sharper = (grain_of(source, made.__getitem__, outer, inner) for made in (soft, sharp))
    assert softer.sharpen > 0 and softer.blur == 0 and sharper.blur > 0 and sharper.sharpen == 0
    for made, grain in ((soft, softer), (sharp, sharper)):
        errors = []
        for pictures in (made, [grain.applied(frame, t, outer[t]) for t, frame in enumerate(made)]):
            edges = [cv2.Laplacian(frame, cv2.CV_32F)[mask].std() for frame, mask in zip(pictures, inner, strict=True)]
            wanted = [cv2.Laplacian(frame, cv2.CV_32F)[mask].std() for frame, mask in zip(source, inner, strict=True)]
            errors.append(np.abs(np.log(np.array(edges) / wanted)).mean())
        assert errors[1] < 0.75 * errors[0]


def test_killed_and_resumed_the_grain_is_the_same(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    zygote, runs = shared_zygote(), (tmp_path / "whole", tmp_path / "killed")
    assert zygote.run(case.run(runs[0], "--match-grain")).code in (0, 1)
    assert zygote.run(case.run(runs[1], "--match-grain"), fault="composite.journal#3").code == -9
    assert zygote.run(["resume", str(runs[1])]).code in (0, 1)
    assert differing(results(runs[0]), results(runs[1])) == []
    facts = [record["info"].get("grain") for record in RunReader(runs[0]).log.of("composite")]
    assert all(fact is not None and set(fact) == {"blur", "sharpen", "fine", "coarse"} for fact in facts)
