"""The regenerated region: dilation, feathering, compositing."""

from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.region import (
    Array,
    bounding_box,
    check_region,
    composite,
    dilate_mask,
    distance_to,
    feather,
    region,
    source_pixels,
)
from storage.errors import UsageError


def masks(seed: int, frames: int = 2, height: int = 24, width: int = 31) -> Array:
    """Random blobs, also touching the picture's edge; the last frame empty."""
    random = np.random.default_rng(seed)
    found = np.zeros((frames, height, width), dtype=np.bool_)
    for frame in found[:-1]:
        top, left = int(random.integers(0, height - 4)), int(random.integers(0, width - 4))
        frame[top : top + int(random.integers(1, 12)), left : left + int(random.integers(1, 12))] = True
    return found


def brute_dilate(mask: Array, radius: float) -> Array:
    """Distance to every true pixel, one by one."""
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    grown = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        grown |= (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return grown


@given(st.integers(0, 10_000), st.integers(0, 36).map(lambda quarters: quarters / 4))
@settings(max_examples=40, deadline=None)
def test_dilation_is_the_exact_disc(seed: int, radius: float) -> None:
    mask = masks(seed)[0] | masks(seed + 1)[0]
    assert np.array_equal(dilate_mask(mask, radius), brute_dilate(mask, radius))


def test_region_leaves_out_what_is_not_chosen() -> None:
    thing, person = np.zeros((2, 1, 20, 20), dtype=np.bool_)
    thing[0, 10:12, 4:16] = True
    person[0, 4:11, 8:12] = True
    both = region(thing, person, "both", (3, 3))
    only_thing, only_person = region(thing, person, "object", (3, 9)), region(thing, person, "person", (0, 3))
    assert np.array_equal(both[0], brute_dilate((thing | person)[0], 3))
    wide = region(thing, person, "both", (1, 5.5))  # each its own
    assert np.array_equal(wide[0], brute_dilate(thing[0], 1) | brute_dilate(person[0], 5.5))
    grown = region(thing, person, "person", (5, 2))  # whatever is asked for around the other
    assert np.array_equal(grown[0], brute_dilate(person[0], 2) & (person | ~thing)[0])
    assert not (only_thing & person & ~thing).any() and (only_thing & thing).sum() == thing.sum()
    assert not (only_person & thing & ~person).any() and (only_person & person).sum() == person.sum()
    assert only_thing[0, 14, 4] and not only_thing[0, 15, 4]


def test_region_refuses_what_cannot_be() -> None:
    with pytest.raises(UsageError, match="--reskin all"):
        check_region("all", (3, 3))
    with pytest.raises(UsageError, match="--dilate -1"):
        check_region("both", (3, -1))


def test_widths_are_measured_where_it_is_generated() -> None:
    assert source_pixels((8, 12), (3840, 2160), (960, 540)) == (32, 48)  # a large source
    assert source_pixels((8, 12), (160, 96), (800, 480)) == pytest.approx((1.6, 2.4))  # and a small one
    assert source_pixels((8, 8), (640, 360), (640, 360)) == (8, 8)
    assert source_pixels((8, 8), (400, 100), (100, 100)) == (16, 16)  # another shape: the mean of 4 and 1


@given(st.integers(0, 10_000), st.integers(0, 9), st.sampled_from(["both", "object", "person"]))
@settings(max_examples=40, deadline=None)
def test_alpha_is_one_in_the_masks_and_zero_outside_the_region(seed: int, dilate: int, reskin: str) -> None:
    thing, person = masks(seed), masks(seed + 1)
    inner = {"both": thing | person, "object": thing, "person": person}[reskin]
    allowed = region(thing, person, reskin, (dilate, dilate))
    alpha = feather(allowed, inner)
    assert alpha.dtype == np.float32 and alpha.shape == thing.shape
    assert (alpha[~allowed] == 0).all() and (alpha[inner] == 1).all()
    ring = alpha[allowed & ~inner]
    assert ((ring > 0) & (ring < 1)).all()


def test_alpha_falls_steadily_over_the_ring() -> None:
    inner = np.zeros((1, 21, 40), dtype=np.bool_)
    inner[0, :, :10] = True
    alpha = feather(region(inner, np.zeros_like(inner), "object", (8, 8)), inner)
    assert np.allclose(alpha[0, 10, 9:19], [1, *(np.arange(8, 0, -1) / 9), 0])


def test_alpha_where_the_region_is_the_whole_picture() -> None:
    inner = np.zeros((2, 8, 8), dtype=np.bool_)
    inner[0, 3:5, 3:5] = True
    alpha = feather(np.ones_like(inner), inner)
    assert np.isfinite(alpha).all() and (alpha[0] > 0.9).all()
    assert (alpha[1] == 0).all()  # nothing certain: nothing is taken from the generator


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_composite_keeps_the_source_outside_and_rounds_half_up(seed: int) -> None:
    random = np.random.default_rng(seed)
    source, generated = random.integers(0, 256, (2, 3, 9, 11, 3), dtype=np.uint8)
    alpha = random.choice(np.array([0, 0.25, 0.5, 1], dtype=np.float32), (3, 9, 11))
    before = source.copy()
    result = composite(source, generated, alpha)
    assert np.array_equal(source, before)
    assert np.array_equal(result[alpha == 0], source[alpha == 0])
    assert np.array_equal(result[alpha == 1], generated[alpha == 1])
    quarters = (alpha * 4).astype(int)[..., None]
    exact = (source.astype(int) * (4 - quarters) + generated.astype(int) * quarters + 2) // 4
    assert np.array_equal(result, exact)


def test_bounding_box() -> None:
    mask = np.zeros((6, 8), dtype=np.bool_)
    assert bounding_box(mask) is None
    mask[2, 3] = mask[4, 7] = True
    assert bounding_box(mask) == (slice(2, 5), slice(3, 8))
    grown = bounding_box(mask, margin=3)
    assert grown is not None and mask[grown].shape == (6, 8)


def test_distances_do_not_depend_on_where_an_array_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPP, which OpenCV uses for small pictures, has another last bit at another address."""
    mask = np.random.default_rng(1).random((40, 57)) < 0.01
    original, found = cv2.distanceTransform, set()
    for start in range(0, 64, 4):
        room = np.empty(4 * mask.size + 64, np.uint8)
        placed = room[start : start + 4 * mask.size].view(np.float32).reshape(mask.shape)
        monkeypatch.setattr(cv2, "distanceTransform", partial(original, dst=placed))
        found.add(distance_to(mask).tobytes())
    y, x = np.nonzero(mask)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    squares = ((rows[..., None] - y) ** 2 + (columns[..., None] - x) ** 2).min(axis=-1)
    assert found == {np.sqrt(squares).astype(np.float32).tobytes()}
