"""What `--write-config` leaves as comments says what holds without it, as the file would have it."""

import tomllib
from pathlib import Path

from _runs import invoke
from _small_run import small_clip


def test_a_default_is_given_by_taking_its_sign_away(tmp_path: Path) -> None:
    words = ["run", str(small_clip()), "--out", "x", "--box", "1,2,30,40", "--write-config", "-"]
    lines = [line.removeprefix("# ") for line in invoke(words).out.splitlines() if line.startswith("# ")]
    known = [line for line in lines if " = " in line and " = ...  #" not in line]
    given = tomllib.loads("\n".join(known))
    assert len(given) > 20 and "box" not in given and "window" not in given, "window's is the recipe's"
    assert (given["keep"], given["gate"], given["sam"], given["prompt"]) == ("none", "iou", "small", "")
    assert (given["retries"], given["iou-threshold"], given["dilate"], given["comparison"]) == (0, 0.9, [8, 8], False)
    file = tmp_path / "defaults.toml"
    file.write_text("\n".join(known))
    again = invoke([*words, "--config", str(file)])
    written = tomllib.loads(again.out)
    assert {key: value for table in written.values() for key, value in table.items() if key in given} == given
    assert '# sam = "mini"  #' in invoke(["demo", "--write-config", "-"]).out, "each command's own"
