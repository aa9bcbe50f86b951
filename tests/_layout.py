"""What a run of the usual chain stores, written out: the tests of storage know no stage."""

from storage.layout import ArraySpec, Layout


def run_layout(height: int, width: int) -> Layout:
    """The arrays of a run with frames of this upright size (pixels)."""
    picture = ArraySpec((height, width, 3), "uint8")
    mask, flag = ArraySpec((height, width), "bool"), ArraySpec((), "bool")
    score = ArraySpec((), "float32", fill=float("nan"))
    return Layout(
        arrays={
            "times": ArraySpec((), "float64"),
            "frames": picture,
            "masks/object": mask,
            "masks/person": mask,
            "visible/object": flag,
            "visible/person": flag,
            "keypoints/person": ArraySpec((133, 3), "float32"),
            "contacts/person": ArraySpec((2,), "bool"),
            "generated": picture,
            "scores/object": score,
            "iou": score,
        },
        blocks={"raw": ArraySpec((height, width, 3), "uint8", until="blend")},
    )
