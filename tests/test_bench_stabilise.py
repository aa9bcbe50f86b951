"""bench.stabilise: what is told of the ways to bring a steadied picture back."""

from bench.stabilise import measure
from stream.demo import DemoConfig


def test_outside_the_region_nothing_changes_but_where_all_is_warped() -> None:
    found = measure(DemoConfig(9, 320, 180, camera="handheld", seed=1))
    for exact in ("region", "none", "source"):
        assert found[exact]["outside_psnr_db"] is None and found[exact]["outside_same"] == 1.0
    psnr = {way: found[way]["outside_psnr_db"] for way in ("all", "linear")}
    assert all(value is not None and value < 45 for value in psnr.values())
    sharp = {way: row["inside_sharpness"] or 0.0 for way, row in found.items()}
    assert sharp["none"] == 1.0 and sharp["region"] > 1.1 * sharp["linear"], "Lanczos keeps more than bilinear"
    assert abs(sharp["region"] - sharp["all"]) < 0.05, "inside the two ways are one"
