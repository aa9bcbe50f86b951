"""`--gate`: what it takes, what it makes void (nothing), and what it makes of a run."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from _runs import invoke
from _small_run import small_config, small_run
from PIL import Image, ImageFont
from test_scene_runs import RESKINS, scene_config, scene_run
from test_scene_runs import SUBJECTS as CAST

from stages.base import Array
from stages.baselines import blurred, failed_by
from stages.fidelity.registry import SUBJECTS, metrics, names_of
from stages.gate import Gated, bounds_of
from stages.measure import MeasureStage
from stages.metrics import failed_spans, flag_spans
from stages.video.plain import plain_frames
from storage.errors import RunDirectoryError, UsageError
from storage.rundir import RunReader
from storage.spans import Span
from stream.options.config import RunConfig
from stream.options.pairs import pairs_of
from stream.options.recorded import read_run
from stream.options.table import picked
from stream.report import comparison, of_run, proof
from stream.report.collect import Facts, FrameTable, GateColumn, failing, frame_table
from stream.report.evaluate import evaluate_run, passes
from stream.report.html import report_page
from stream.report.looks import Looks
from stream.report.moment import worst_moment
from stream.report.of_run import gate_columns
from stream.report.proof import LEAST_WIDTH, LINE, STRIPE, Verdicts
from stream.report.strips import StripRow
from stream.report.summary import summarise
from stream.report.write import strip_rows
from stream.run.lifecycle import start

READ = picked("gate")[0].kind.read
WRITE = picked("gate")[0].kind.write


def test_it_is_parsed_once_into_names_and_bounds() -> None:
    assert READ("iou") == RunConfig.__dataclass_fields__["gate"].default
    found = READ("iou=0.8, contact,offset=0.1")
    assert found == (Gated("iou", 0.8), Gated("contact"), Gated("offset", 0.1))
    assert READ(json.loads(WRITE(found))) == found, "as it is written into a TOML file"
    for wrong in ("", "iou,", "iou=", "iou=x", "iou=nan", "IoU", "iou==1", "a" * 40):
        with pytest.raises(ValueError):
            READ(wrong)


def test_a_metric_has_its_own_bound_and_iou_that_of_its_option() -> None:
    bounds = bounds_of(READ("iou,contact,offset=0.02"), 0.7)
    assert [bound.value for bound in bounds] == [0.7, metrics()["contact"].bound, 0.02]
    above, _, up_to = bounds
    values = np.array([0.7, 0.71, np.nan])
    assert above.fails(values).tolist() == [True, False, False]
    assert up_to.fails(np.array([0.02, 0.03, np.nan])).tolist() == [False, True, False]


def test_a_value_on_its_bound_fails_or_holds_however_it_is_stored() -> None:
    """Four fifths are a little above 0.8 as float32, and a twentieth a little above 0.05."""
    share, (above, _, up_to) = 4 / 5, bounds_of(READ("iou,contact,clipping"), 0.8)
    for kind in (np.float32, np.float64):
        stored = np.array([share, 0.81, np.nan], kind).astype(np.float64)
        assert above.fails(stored).tolist() == [True, False, False] == above.fails(stored.astype(np.float32)).tolist()
        assert failed_spans(stored, 0.8) == [[0, 1]] and failed_by(np.array([True] * 3), stored, 0.8)["tracker"] == 1
        assert not passes(float(stored[0]), 0.8) and passes(float(stored[1]), 0.8) and passes(np.nan, 0.8)
        assert up_to.fails(np.array([1 / 20, 0.06, np.nan], kind).astype(np.float64)).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("speeed", "--gate 'speeed': there is no such metric: give joints, iou, boundary_f"),
        ("iou,iou", "--gate: iou is given twice"),
        ("iou=90", "--gate iou 90 is outside 0..1"),
        ("iou,containment=90", "--gate containment 90 is outside 0..1"),
        ("clipping=5", "--gate clipping 5 is outside 0..1"),
        ("angle=-3", "--gate angle -3 is outside 0.."),
    ],
)
def test_what_cannot_be_asked_for_is_refused(gate: str, told: str) -> None:
    config = small_config()
    with pytest.raises(UsageError, match="--gate") as error:
        dataclasses.replace(config, gate=READ(gate))
    assert str(error.value).startswith(told)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was made with the IoU alone, then judged by more."""
    path = tmp_path_factory.mktemp("gated") / "run"
    config = small_config()
    start(config, path)
    log = RunReader(path).log
    done = {stage: [record["seconds"] for record in log.of(stage)] for stage in RunReader(path).manifest["nodes"]}
    (path.parent / "before.json").write_text(json.dumps(done), encoding="utf-8")
    start(dataclasses.replace(config, gate=READ("iou=0.5,joints=0.0001"), baselines=True), path, overwrite=True)
    return path


def test_another_gate_makes_nothing_void(gated: Path) -> None:
    """The stages that were there keep their commits; what is measured now is added."""
    run = RunReader(gated)
    begun = json.loads((gated.parent / "before.json").read_text(encoding="utf-8"))
    assert run.manifest["nodes"] == [*begun, "measure", "baselines"]
    for stage, seconds in begun.items():
        assert [record["seconds"] for record in run.log.of(stage)] == seconds, f"{stage} was done again"


def test_metrics_are_arrays_with_names(gated: Path) -> None:
    run = RunReader(gated)
    for subject in SUBJECTS:
        names = names_of(subject)
        values = run.arrays.read(f"metrics/{subject}", 0, 21)
        assert values.shape == (21, len(names)) and values.dtype == np.float32
        written = json.loads((gated / f"run.zarr/metrics/{subject}/zarr.json").read_text(encoding="utf-8"))
        assert (
            written["attributes"]["names"] == list(names) == list(run.arrays.layout.arrays[f"metrics/{subject}"].names)
        )
    iou = run.arrays.read("metrics/object", 0, 21)[:, names_of("object").index("iou")]
    assert np.array_equal(iou, run.arrays.read("iou", 0, 21), equal_nan=True), "the same number as the gate's own"


def test_every_metric_of_the_gate_counts(gated: Path) -> None:
    summary = json.loads((gated / "report/summary.json").read_text(encoding="utf-8"))
    joints = summary["gated_by"]["joints"]
    assert summary["gate"] == "failed" and joints["bound"] == 0.0001 and not joints["high"]
    failed = {frame for a, b in joints["failed_frames"] for frame in range(a, b)}
    assert failed, "no joint is found to a thousandth of a torso"
    assert failed <= {frame for a, b in summary["failed_frames"] for frame in range(a, b)}
    page = (gated / "report/index.html").read_text(encoding="utf-8")
    assert "joints up to 0.0001" in page
    assert "Contact and angle over time" in page and "no contact: precision, recall, F1" in page
    assert (gated / "report/interaction.png").stat().st_size > 5000
    assert set(summary["interaction"]) >= {"contact", "source_flips", "result_flips", "flights"}


def test_pictures_are_red_where_the_gate_fails_whatever_it_asks_for(
    gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bool] = []
    plain = comparison.sheet

    def noted(row: StripRow) -> Array:
        shown.append(row.failed)
        return plain(row)

    monkeypatch.setattr(comparison, "sheet", noted)
    run, config = RunReader(gated), dataclasses.replace(read_run(gated)[1], gate=READ("joints=0.0001"))
    comparison.write_comparison(run, config, tmp_path / "comparison.mp4")
    columns, iou = gate_columns(run, config, 21), run.arrays.read("iou", 0, 21)
    assert shown == failing(columns).tolist() and shown != (iou <= config.iou_bound).tolist()
    table = FrameTable(np.arange(21.0), np.ones((21, 2), bool), {"iou": iou}, gate=columns)
    blank = np.zeros((4, 4, 3), np.uint8)
    rows = strip_rows(table, config.iou_bound, lambda frame: StripRow(blank, blank, blank, blank, blank))
    worst = [int(row.caption.split("frame ")[1].split(",")[0]) for row in rows]
    assert [row.failed for row in rows] == [shown[frame] for frame in worst]


def test_retries_go_by_the_gate_that_is_asked_for_now(tmp_path: Path) -> None:
    """What was measured stays; under which bound that was says nothing of another one."""
    path, tried = tmp_path / "run", list[str]()
    config = dataclasses.replace(small_config(), gate=READ("joints=0.0001"), keep="all")
    start(config, path)
    told = dataclasses.replace(config, gate=READ("joints=1e9"), retries=1)
    assert start(told, path, overwrite=True, listener=lambda event: tried.append(str(event))).gate == "passed"
    assert not RunReader(path).log.attempts and not any("attempt" in each for each in tried)
    start(dataclasses.replace(config, retries=1), path, overwrite=True)
    assert RunReader(path).log.attempts


def test_the_source_itself_is_judged_as_the_result_is(gated: Path) -> None:
    run = RunReader(gated)
    summary = json.loads((gated / "report/summary.json").read_text(encoding="utf-8"))
    ceiling, iou = (run.arrays.read(name, 0, 21) for name in ("baselines/ceiling", "iou"))
    assert np.array_equal(np.isnan(ceiling), np.isnan(iou))
    assert summary["baselines"]["ceiling"]["iou_mean"] == pytest.approx(float(np.nanmean(ceiling)), abs=1e-6)
    failing = np.zeros(21, bool)
    for a, b in summary["failed_frames"]:
        failing[a:b] = True
    assert summary["iou_threshold"] == 0.5
    both = int(np.count_nonzero(failing & (ceiling <= 0.5)))  # of --gate iou=0.5
    assert summary["failed_by"] == {"generator": int(failing.sum()) - both, "tracker": both}
    assert "by the tracker" in (gated / "report/index.html").read_text(encoding="utf-8")


def test_failing_frames_are_the_trackers_where_the_source_fails_too() -> None:
    failing, ceiling = np.array([True, True, False, True]), np.array([0.95, 0.9, 0.2, np.nan])
    assert failed_by(failing, ceiling, 0.9) == {"generator": 2, "tracker": 1}


def test_a_blur_is_a_blur_of_the_masks_alone() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2, 90, 160, 3), np.uint8)
    masks = np.zeros((2, 90, 160), bool)
    masks[0, 30:60, 40:120] = True
    made = blurred(frames, masks)
    assert np.array_equal(made[~masks], frames[~masks]) and np.array_equal(made[1], frames[1])
    assert made[masks].std() < 0.4 * frames[masks].std()


def test_the_command_takes_it(tmp_path: Path) -> None:
    ended = invoke(["run", "none.mp4", "--out", str(tmp_path / "run"), "--box", "1,2,9,9", "--gate", "iou,,"])
    assert ended.code == 2 and "is not of the form METRIC[=X],..." in ended.err


def test_a_run_is_judged_again_by_the_gate_it_has_or_another(gated: Path) -> None:
    before = sorted(path for path in gated.rglob("*") if path.is_file())
    ended = invoke(["evaluate", str(gated), "--json"])
    summary = json.loads((gated / "report/summary.json").read_text(encoding="utf-8"))
    verdict = json.loads(ended.out.splitlines()[-1])
    assert ended.code == 1 and verdict["failed_frames"] == summary["failed_frames"], ended.err
    assert sorted(path for path in gated.rglob("*") if path.is_file()) == before
    assert verdict["failed_by"] == summary["failed_by"] and "three times as long" in ended.err
    assert verdict["baselines"]["ceiling"]["failed_frames"] == summary["baselines"]["ceiling"]["failed_frames"]
    alone = invoke(["evaluate", str(gated), "--gate", "iou=0.0001", "--no-baselines", "--json"])
    assert json.loads(alone.out.splitlines()[-1])["failed_frames"] != verdict["failed_frames"]
    assert json.loads(alone.out.splitlines()[-1])["baselines"] is None
    assert invoke(["evaluate", str(gated), "--gate", "iou,walking"]).code == 2


def test_what_could_not_be_measured_is_named() -> None:
    values = {"iou": np.array([0.95, 0.96]), "contact": np.full(2, np.nan)}
    gate = [GateColumn(bound, values[bound.metric]) for bound in bounds_of(READ("iou,contact"), 0.9)]
    table = frame_table(np.arange(2) / 24, np.ones((2, 2)), [], gate=gate)
    table = dataclasses.replace(table, scores={**table.scores, "iou": values["iou"]})
    found = summarise(table, Facts(), 0.9)
    assert found.gate == "passed" and found.unmeasured == ("contact",)
    assert "Not measured on any frame: contact" in report_page("x", found, [], {}, {})


def test_the_worst_moment_is_shown_and_each_shot_and_subject_judged(gated: Path) -> None:
    summary = json.loads((gated / "report/summary.json").read_text(encoding="utf-8"))
    assert [shot["frames"] for shot in summary["by_shot"]] == summary["shots"] == [[0, 21]]
    whole = summary["by_shot"][0]
    assert whole["failed_frames"] == summary["failed_frames"] and set(whole["subjects"]) == {"object", "person"}
    assert whole["subjects"]["object"]["iou_min"] == summary["iou"]["min"]
    assert whole["failed_by"]["joints"] == sum(b - a for a, b in summary["gated_by"]["joints"]["failed_frames"])
    assert set(summary["interaction"]["presence"]) >= {"lost_frames", "double_frames", "clipping_mean"}
    page = (gated / "report/index.html").read_text(encoding="utf-8")
    assert "Shots and subjects" in page and "Worst moment of the interaction" in page
    with Image.open(gated / "report/moment.png") as strip:
        assert strip.width >= 3 * 106 and 2 * 26 < strip.height <= 2 * 26 + 2 * 96


def test_the_worst_moment_is_where_most_is_wrong() -> None:
    bounds = bounds_of(READ("iou,contact,offset"), 0.9)
    values = {
        "iou": np.array([0.1, 0.95, 0.6, 0.5]),
        "contact": np.array([1.0, 1.0, 0.0, 0.0]),
        "offset": np.array([np.nan, 0.0, 0.5, 0.1]),
    }
    assert worst_moment(values, bounds) == (2, ("iou", "contact", "offset"))
    assert worst_moment({name: each[1:2] for name, each in values.items()}, bounds) is None
    values["offset"][:] = np.nan
    assert worst_moment(values, bounds) == (3, ("iou", "contact")), "of equals the lowest IoU"


def test_a_proof_shows_every_frame_with_its_gate(gated: Path) -> None:
    ended = invoke(["report", str(gated), "--proof"])
    assert ended.code == 0 and ended.out.splitlines()[-1] == f"{gated}/report/proof.mp4", ended.err
    run, config = RunReader(gated), read_run(gated)[1]
    frames = list(plain_frames(gated / "report/proof.mp4"))
    assert len(frames) == 21 and frames[0].shape == (2 * LINE + STRIPE + 90, 2 * LEAST_WIDTH, 3)
    looks = list(Looks(run, config).each(Span(7, 15)))
    assert len(looks) == 8 and all(result.keypoints is not None for _, result in looks)
    alone = [next(Looks(run, config).each(Span(at, at + 1)))[1].picture for at in range(7, 15)]
    assert all(np.array_equal(one, result.picture) for one, (_, result) in zip(alone, looks, strict=True))
    left = (LEAST_WIDTH - 160) // 2
    source = frames[7][LINE : LINE + 90, left : left + 160].astype(int)
    assert np.abs(source - looks[0][0].drawn()).mean() < 6, "the source's own picture, as drawn"


def test_a_proof_has_room_for_every_metric(gated: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In lines below each other, each at one place on all frames."""
    run, config = RunReader(gated), read_run(gated)[1]
    config = dataclasses.replace(config, gate=READ(",".join(metrics())))
    written = list[tuple[float, str, int]]()
    monkeypatch.setattr(
        proof,
        "_write",
        lambda band, left, text, ink, line=0: written.append((left, text, line)) if line or left > 7 else None,
    )
    proof.write_proof(run, config, tmp_path / "proof.mp4")
    lines = {text.partition(" ")[0]: line for _, text, line in written}
    assert metrics().keys() <= lines.keys() and max(lines.values()) >= 1
    font = ImageFont.load_default(14)
    assert max(left + font.getlength(text) for left, text, _ in written) <= 2 * LEAST_WIDTH
    frames = list(plain_frames(tmp_path / "proof.mp4"))
    assert frames[0].shape == ((2 + max(lines.values())) * LINE + STRIPE + 90, 2 * LEAST_WIDTH, 3)


@pytest.mark.parametrize(("chain", "why"), [("extract", "nothing was generated"), ("remove", "subjects are removed")])
def test_what_is_not_scored_has_nothing_to_prove_and_says_why(chain: str, why: str, tmp_path: Path) -> None:
    removes = dataclasses.replace(small_config(), reskin="remove", generator="plate")
    config = removes if chain == "remove" else small_config(chain)
    with pytest.raises(RunDirectoryError, match=why):
        proof.write_proof(RunReader(small_run("extract")), config, tmp_path / "proof.mp4")


def test_a_verdict_says_whose_a_frame_is() -> None:
    values = np.array([0.95, 0.5, 0.5, np.nan])
    gate = [GateColumn(bound, values) for bound in bounds_of(READ("iou"), 0.9)]
    said = Verdicts(gate, values, np.array([0.99, 0.99, 0.8, np.nan]), 0.9, np.arange(4) / 24)
    assert [said.state(frame)[0] for frame in range(4)] == [
        "PASS", "FAIL by the generator", "FAIL by the tracker", "untracked",
    ]  # fmt: skip
    assert dataclasses.replace(said, ceiling=None).state(1)[0] == "FAIL"
    assert [text for text, _ in said.values(1)] == ["iou 0.500", "ceiling 0.990"]


def test_a_pair_of_a_scene_is_measured_by_its_names(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scene_run("together"), run)
    asked = scene_config(gate=READ("boundary_f=0.999,offset=0.001"))
    result = start(asked, run, overwrite=True)
    reader = RunReader(run)
    assert [name for name in reader.manifest["nodes"] if name.startswith("measure")] == ["measure-board"]
    values = {name: reader.arrays.read(f"metrics/{name}", 0, 21) for name in ("board", "skater")}
    assert {name for name in reader.arrays.layout.arrays if name.startswith("metrics/")} == {
        "metrics/board", "metrics/skater",
    }  # fmt: skip
    own = values["board"][:, names_of("object").index("iou")]
    assert np.array_equal(own, reader.arrays.read("scores/board", 0, 21), equal_nan=True)
    joints = reader.arrays.read("sights/keypoints-board", 0, 21)
    assert joints.shape == (21, 133, 3) and joints[..., 2].any(), "found by the skater's mask in the result"
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert result.gate == "failed" and list(summary["interactions"]) == ["board"] and summary["interaction"] is None
    failing = values["board"][:, names_of("object").index("boundary_f")] <= np.float32(0.999)
    assert summary["gated_by"]["boundary_f"]["failed_frames"] == flag_spans(failing) and failing.any()
    assert "<h3>board</h3>" in (run / "report" / "index.html").read_text()
    failed = {frame for span in result.failed_frames for frame in range(*span)}
    assert failed == {row.frame for row in evaluate_run(run) if not row.passed}
    looks = list(Looks(reader, asked).each(Span(0, 21)))
    shown = [result.keypoints for _, result in looks if result.keypoints is not None]
    assert np.array_equal(np.stack(shown), joints[:, None])
    assert any(source.feet for source, _ in looks)
    assert (run / "report" / "moment.png").is_file(), "the worst moment of the pair"


def test_of_several_pairs_the_worst_moment_and_all_skeletons_are_shown(tmp_path: Path) -> None:
    people = {"board": "skater", "cone": "rival"}
    cast = tuple(dataclasses.replace(each, held_by=people.get(each.name)) for each in CAST)
    asked = scene_config(scene=cast, gated=None, gate=READ("offset=0.001"))
    start(asked, tmp_path / "run")
    run = RunReader(tmp_path / "run")
    looks = Looks(run, asked)
    assert [pair.object for pair in looks.pairs] == ["board", "cone"] and looks.measured == 21
    (_, result), *_ = looks.each(Span(20, 21))
    assert result.keypoints is not None and result.keypoints.shape == (2, 133, 3)
    assert of_run.worst_of(run, asked) is not None


def test_flights_are_judged_against_the_background_behind_their_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How that moves is known by each generation under a name of its own (`--passes each`)."""
    asked = scene_config("each", gate=READ("contact"), view="follow", stabilise=5)
    start(asked, tmp_path / "run")
    run, given = RunReader(tmp_path / "run"), []
    monkeypatch.setattr(of_run, "interaction", lambda *every, shots: given.append(every[-1]))
    assert list(of_run.interaction_in(run, asked)["interactions"]) == ["board"]
    moved = run.arrays.read("motion-board", 0, 21)
    assert len(given) == 1 and np.array_equal(given[0], moved) and not np.isnan(moved).any()


def test_who_holds_what_is_a_pair() -> None:
    both = tuple(dataclasses.replace(each, held_by="skater") if each.name == "cone" else each for each in CAST)
    asked = scene_config(scene=both, gated=None, gate=READ("contact"))
    first, second = pairs_of(asked)
    assert (first.object, first.person, second.object) == ("board", "skater", "cone")
    assert first.arrays["metrics/person"] == "metrics/skater" != second.arrays["metrics/person"]
    one, two = ({pair.arrays[port.name] for port in MeasureStage.writes} for pair in (first, second))
    assert not one & two
    gone = tuple(dataclasses.replace(how, on="remove") if how.name == "skater" else how for how in RESKINS)
    for changes in ({"gated": ("cone",)}, {"reskins": gone}, {"gated": ()}):
        with pytest.raises(UsageError, match="says who holds it"):
            scene_config(gate=READ("contact"), **changes)
