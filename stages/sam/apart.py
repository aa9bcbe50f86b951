"""Masks that overlap, taken apart after tracking: SAM 2.1 follows each subject as if it were alone."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stages.base import Array
from stages.region import nearness
from stages.sam.tracker import Seen

MARGIN = 1.0  # of two logits: closer ones (odds of e) say nothing, and who is nearer has the pixel
MOST_OF = 0.5  # of a mask


def apart(seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """Give each pixel of several masks to one. Nothing is told to the memories.

    A mask that reaches over another subject's loses what it reached over. Then the logits decide, which are the model's
    own score of a pixel, and where these say nothing who is nearest.
    """
    found = {name: seen[name] for name in sorted(seen)}  # in which order they were begun with decides nothing
    contested = (
        np.sum([each.mask for each in found.values()], axis=0, dtype=np.uint8) > 1 if seen else np.zeros(0, bool)
    )
    if not contested.any():
        return found
    rows, columns = np.nonzero(contested)
    claims = np.stack([each.mask[rows, columns] for each in found.values()])
    return award(found, claims, rows, columns)


def award(
    found: Mapping[str, Seen], claims: Array, rows: Array, columns: Array, had: Array | None = None
) -> dict[str, Seen]:
    """Give each of these pixels to one of those that claim it.

    Args:
        claims: `[n, p]` bool, of each of `found`, in its order; no pixel is without one.
        rows, columns: `[p]` int of the pixels; all others stay as they are.
        had: `[n, p]` bool, who had it on the frame before, and goes before who had not. None: nobody knows.
    """
    areas = np.array([np.count_nonzero(each.mask) for each in found.values()])
    claims = claims & ~_reached_over(claims, areas)
    if had is not None:
        claims &= had | ~(claims & had).any(axis=0)
    scores = np.where(claims, np.stack([each.at(rows, columns) for each in found.values()]), -np.inf)
    depths = np.array([nearness(each.mask) for each in found.values()])[:, None]
    depths = np.where(scores >= scores.max(axis=0) - MARGIN, depths, -np.inf)
    owner = np.where(depths == depths.max(axis=0), scores, -np.inf).argmax(axis=0)
    given = dict(found)
    for index, (name, each) in enumerate(found.items()):
        mask = each.mask.copy()
        mask[rows, columns] &= owner == index
        given[name] = replace(each, mask=mask)
    return given


def _reached_over(claims: Array, areas: Array) -> Array:
    """`[n, p]` bool: the pixels of each mask in which it covers most of another, which covers less than that of it.

    A model that cannot tell a subject from one beside it puts both into one mask, and is as sure of both; the other's
    own mask, which has nothing else, tells. The smallest of a pixel's masks never loses it.

    Args:
        claims: `[n, p]` bool, each mask where there are several. areas: `[n]` pixels of each, > 0 where it claims any.
    """
    counts = claims.astype(np.float64)
    share = counts @ counts.T / np.maximum(areas, 1)[:, None]  # of the row's mask, within the column's
    covered = (share >= MOST_OF) & (share.T < MOST_OF)
    found: Array = (covered.T.astype(np.float64) @ counts > 0) & claims
    return found
