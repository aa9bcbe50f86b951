"""What of a run directory is there only while the run goes on."""

import os
from pathlib import Path

from storage.log import STATE_KEEP_EVERY

KEPT = ("input", "segments", "report", "output.mp4", "journal.jsonl", "run.json")
KEPT_ARRAYS = (  # a test holds them against every port's life; of groups the group
    *("amodal", "baselines", "contacts", "found", "iou", "keypoints", "masks", "metrics", "motion", "motion_inliers"),
    *("occluded", "plate_part", "plate_path", "regions", "scores", "sights", "times", "views", "visible"),
)


def working_bytes(run: Path) -> int:
    """Bytes on disk of what a run is meant to drop again: frames, generated frames, states, leftovers.

    What is kept on purpose is left out: masks and the other arrays of small values, segments, journal, output, report,
    the input, and the carried states of every 10th window, from which a repair can begin.
    """
    states = run / "run.zarr" / "state"
    kept = {run / name for name in KEPT} | {run / "run.zarr" / name for name in KEPT_ARRAYS}
    total = 0
    for folder, folders, names in os.walk(run):
        here = Path(folder)
        folders[:] = [name for name in folders if here / name not in kept]
        for name in names:
            path = here / name
            if here.parent == states and name.isdecimal() and int(name) % STATE_KEEP_EVERY == 0:
                continue
            try:
                total += 0 if path in kept else path.stat().st_size
            except FileNotFoundError:
                continue  # dropped between listing and looking
    return total
