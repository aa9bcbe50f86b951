"""What a run measures in its source, against the renderer's truth: the camera's motion, and contact."""

import numpy as np

from stages.affine import apply
from stages.fidelity.sight import COLUMNS, FEET
from stages.fidelity.totals import contact_of
from storage.rundir import RunReader
from stream.demo.scene import Scene

POINTS = 9  # of a row and of a column of points over the frame, whose motion is compared


def motion_error(scene: Scene, run: RunReader) -> float | None:
    """Mean distance, pixels, of where the background's motion as found takes a point from where the true one takes it:
    over the frame, and over all frames whose motion the run looked for. None where it looked for none: nothing is
    steadied, and no plate kept."""
    arrays, size = run.arrays, scene.config
    if "motion" not in arrays.layout.arrays:
        return None
    motion, inliers = (arrays.read(name, 0, len(scene)) for name in ("motion", "motion_inliers"))
    across, down = (np.linspace(0, side - 1, POINTS) for side in (size.width, size.height))
    points = np.stack(np.meshgrid(across, down), axis=-1)
    errors = [
        np.linalg.norm(apply(motion[t], points) - apply(scene.truth(int(t)).motion, points), axis=-1).mean()
        for t in np.flatnonzero(~np.isnan(inliers))
    ]
    return float(np.mean(errors)) if errors else None


def contact_f1(scene: Scene, run: RunReader) -> float | None:
    """F1 of the contact of the first skater's feet with its board, over the frames on which feet and board are seen;
    None where the gate measures no interaction, or there is no contact."""
    name = "sights/source"
    if name not in run.arrays.layout.arrays:
        return None
    found = run.arrays.read(name, 0, len(scene))
    truth = np.full_like(found, np.nan)
    for t in range(len(scene)):
        for foot, on in zip(FEET, scene.truth(t).skaters[0].on_board, strict=True):
            truth[t, COLUMNS.index(f"{foot}_contact")] = on
    return contact_of(truth, found).f1
