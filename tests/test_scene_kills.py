"""Five subjects, killed anywhere: the same bytes; and the memory that the plan named."""

import re
from pathlib import Path

import pytest
from _crash import Case, differing, make_case, results
from _zygote import shared_zygote

from stages.subjects import OBJECT, PERSON
from storage.sizes import format_size, parse_size

FIVE = (
    ("board", OBJECT, (30, 45, 60, 58), 'held_by = "skater"\nprompt = "a neon board"'),
    ("skater", PERSON, (25, 10, 60, 55), 'prompt = "a knight"'),
    ("cone", OBJECT, (2, 20, 20, 60), "reskin = false"),
    ("rival", PERSON, (60, 8, 90, 56), 'reskin = "remove"\nframe = 3'),
    ("bag", OBJECT, (60, 40, 80, 60), "reskin = false\ngate = false\nframe = 6"),
)
KILLED = (
    "decode.arrays#2", "track.state", "pose.journal", "occlusion.arrays", "occlusion.journal#2", "regions.state",
    "plate-rival.begin#2", "generate-rival.journal", "composite-rival.arrays", "generate-skater.arrays",
    "generate-board.journal", "score.state", "measure-board.arrays", "finish.report",
)  # fmt: skip


def scene_case(folder: Path) -> Case:
    """The small case, its subjects in a scene file."""
    case = make_case(folder)
    text = "".join(
        f'[[subject]]\nname = "{name}"\nkind = "{kind}"\nbox = {list(box)}\n{more}\n\n'
        for name, kind, box, more in FIVE
    )
    (folder / "scene.toml").write_text(text, encoding="utf-8")
    options = ("--scene", str(folder / "scene.toml"), *case.options[2:])  # in place of --box
    return Case(case.video, (*options, "--passes", "each", "--gate", "iou,contact", "--memory", "distractor-aware"))


@pytest.mark.slow
def test_five_subjects_killed_everywhere_come_out_the_same_in_the_memory_that_was_planned(tmp_path: Path) -> None:
    case, whole, killed = scene_case(tmp_path), tmp_path / "whole", tmp_path / "killed"
    ended = shared_zygote().run(case.run(whole))
    assert ended.code in (0, 1), ended.output
    planned = re.search(r"memory\s+RAM (\S+ ?\S+) of", ended.output)
    assert planned is not None, ended.output
    assert ended.peak_rss_bytes <= parse_size(planned[1]), (format_size(ended.peak_rss_bytes), planned[1])
    for point in KILLED:
        found = shared_zygote().run(case.run(killed), fault=point)
        assert found.code == -9, (point, found.code, found.output)
    assert shared_zygote().run(["resume", str(killed)]).code in (0, 1)
    assert differing(results(killed), results(whole)) == []
