"""Masks that overlap, taken apart after tracking: SAM 2.1 follows each subject as if it were alone."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stages.region import nearness
from stages.sam.tracker import Seen

MARGIN = 1.0  # of two logits: closer ones (odds of e) say nothing, and who is nearer has the pixel


def apart(seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """Give each pixel of several masks to one: by the logits, which are the model's own score of it, and where these
    say nothing to who is nearest. Nothing is told to the memories."""
    found = {name: seen[name] for name in sorted(seen)}  # in which order they were begun with decides nothing
    contested = (
        np.sum([each.mask for each in found.values()], axis=0, dtype=np.uint8) > 1 if seen else np.zeros(0, bool)
    )
    if not contested.any():
        return found
    rows, columns = np.nonzero(contested)
    scores = np.stack([np.where(each.mask[rows, columns], each.at(rows, columns), -np.inf) for each in found.values()])
    depths = np.array([nearness(each.mask) for each in found.values()])[:, None]
    depths = np.where(scores >= scores.max(axis=0) - MARGIN, depths, -np.inf)
    owner = np.where(depths == depths.max(axis=0), scores, -np.inf).argmax(axis=0)
    for index, (name, each) in enumerate(list(found.items())):
        mask = each.mask.copy()
        mask[rows, columns] &= owner == index
        found[name] = replace(each, mask=mask)
    return found
