"""Whether whoever is followed stays the same: HOTA, IDF1 and identity switches, as TrackEval defines them.

JonathonLuiten/TrackEval, `trackeval/metrics/hota.py` (Luiten et al., IJCV 2021), `identity.py` (Ristani et al., 2016)
and `clear.py` (Bernardin, Stiefelhagen 2008). The similarity is the IoU of masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.base import Array
from stages.poses.assign import best_pairs

ALPHAS = np.arange(0.05, 0.99, 0.05)  # of HOTA: 0.05 to 0.95
MATCH = 0.5  # similarity from which IDF1 and switches take two for the same
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class IdentityScores:
    """hota, idf1: 0..1, 1 where nothing was to be found and nothing was. switches: of a true one to another's track."""

    hota: float
    idf1: float
    switches: int


@dataclass
class Identities:
    """Frames of a clip with N true subjects and M tracks, gathered one by one.

    Attributes:
        frames: of each [N, M] float64 similarities, -1 where one of the two is not there.
        present, tracked: [N] and [M] bool of each.
    """

    frames: list[Array] = field(default_factory=list)
    present: list[Array] = field(default_factory=list)
    tracked: list[Array] = field(default_factory=list)

    def add(self, truth: Sequence[Array], tracks: Sequence[Array], least: float = 0) -> None:
        """Add a frame.

        Args:
            truth, tracks: masks [H, W] bool by subject and by track, empty where it is not there.
            least: pixels, below which a true subject is not asked for.
        """
        present = np.array([mask.any() and mask.sum() >= least for mask in truth])
        tracked = np.array([bool(mask.any()) for mask in tracks])
        similarity = np.full((len(truth), len(tracks)), -1.0)
        for n, m in zip(*np.nonzero(present[:, None] & tracked[None]), strict=True):
            shared = np.count_nonzero(truth[n] & tracks[m])
            similarity[n, m] = shared / (np.count_nonzero(truth[n]) + np.count_nonzero(tracks[m]) - shared)
        self.frames.append(similarity)
        self.present.append(present)
        self.tracked.append(tracked)

    def scores(self) -> IdentityScores:
        """What came of all frames."""
        return IdentityScores(self._hota(), self._idf1(), self._switches())

    def _hota(self) -> float:
        similar = np.clip(np.stack(self.frames), 0.0, None)
        truths, tracks = np.stack(self.present).sum(0), np.stack(self.tracked).sum(0)
        total = similar.sum(1, keepdims=True) + similar.sum(2, keepdims=True) - similar
        likely = np.divide(similar, total, out=np.zeros_like(similar), where=total > _EPS).sum(0)
        alignment = likely / np.maximum(truths[:, None] + tracks[None] - likely, _EPS)
        matches = np.zeros((len(ALPHAS), *alignment.shape))
        for frame in similar:
            for n, m in best_pairs(alignment * frame):
                matches[:, n, m] += (frame[n, m] > 0) & (frame[n, m] >= ALPHAS - _EPS)
        if not truths.sum() and not tracks.sum():
            return 1.0
        found = matches.sum((1, 2))
        detection = found / np.maximum(1, truths.sum() + tracks.sum() - found)
        share = matches / np.maximum(1, truths[:, None] + tracks[None] - matches)
        association = (matches * share).sum((1, 2)) / np.maximum(1, found)
        return float(np.sqrt(detection * association).mean())

    def _idf1(self) -> float:
        truths, tracks = np.stack(self.present).sum(), np.stack(self.tracked).sum()
        together = (np.stack(self.frames) >= MATCH).sum(0).astype(float)
        found = sum(together[pair] for pair in best_pairs(together))
        return float(2 * found / (truths + tracks)) if truths + tracks else 1.0

    def _switches(self) -> int:
        """A true one keeps its track while the two match; a change of the last track that it had is a switch."""
        count, last = 0, np.full(self.frames[0].shape[0], -1)
        before = last.copy()  # on the frame before
        for frame, present, tracked in zip(self.frames, self.present, self.tracked, strict=True):
            if not (present.any() and tracked.any()):
                continue  # as TrackEval does: the frame before is then the one before that
            kept = before[:, None] == np.arange(frame.shape[1])[None]
            worth = np.where(frame >= MATCH - _EPS, 1000.0 * kept + np.clip(frame, 0.0, None), 0.0)
            before = np.full_like(last, -1)
            for n, m in best_pairs(worth):
                if worth[n, m] > 0:
                    count += int(last[n] not in (-1, m))
                    last[n] = before[n] = m
        return count
