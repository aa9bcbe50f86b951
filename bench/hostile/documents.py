"""Scenes, jobs, looks, options, workflows, exports, cuts, poses, configs, bookkeeping: bent as trees and as bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.hostile import odd
from bench.hostile.trial import Trial
from stages.recipes.registry import graph_file

Words = tuple[list[str], bool]  # what reads a document, and whether it may load models


def attempt(trial: Trial, room: Path) -> None:
    """One document that somebody wrote, read by the command that reads such."""
    trial.rng.choice(KINDS)(trial, room)


def written(trial: Trial, path: Path, value: Any) -> Path:
    """The document in one of its forms, by the file's name; bent, or not there, or no file."""
    rng = trial.rng
    how = rng.random()
    if how < 0.08:
        trial.notes.append(odd.no_file(path, rng))
        return path
    bent = odd.bent_tree(value, rng) if how < 0.7 else value
    text = odd.toml_of(bent) if path.suffix == ".toml" else odd.json_text(bent, rng)
    data = text.encode("utf-8", "replace")
    path.write_bytes(odd.bent_bytes(data, rng) if how > 0.65 else data)
    trial.notes.append(repr(path.read_bytes()[:300]))
    return path


def _scene(trial: Trial, room: Path) -> None:
    corners = [float(side) for side in trial.world.box.split(",")]
    value = {
        "clip": {"cuts": [4]},
        "subject": [
            {"name": "skateboard", "kind": "object", "box": corners, "corrections": [{"frame": 3, "box": corners}]},
            {"name": "skater", "kind": "person", "points": [[40, 20, 1], [1, 1, 0]], "frame": 1, "prompt": "a robot"},
            {"name": "dog", "kind": "object", "box": corners, "held_by": "skater", "reskin": "remove", "dilate": 4},
        ],
    }
    scene = written(trial, room / f"scene{trial.rng.choice(('.toml', '.json'))}", value)
    again = room / "again.toml"
    begin = ["run", str(trial.world.case.video), "--out", str(trial.world.finished), *trial.world.models]
    ended = trial.skate([*begin, "--scene", str(scene), "--write-scene", str(again)], models=True)
    if ended.code == 0:  # what was read is written, and read as the same
        other = room / "other.toml"
        ended = trial.skate([*begin, "--scene", str(again), "--write-scene", str(other)], models=True)
        trial.expect(ended.code == 0 and again.read_bytes() == other.read_bytes(), "a scene that is read otherwise")


def _jobs(trial: Trial, room: Path) -> None:
    job = {"video": str(trial.world.case.video), "box": [float(side) for side in trial.world.box.split(",")]}
    models = dict(zip(*[iter(word.removeprefix("--") for word in trial.world.models)] * 2, strict=True))
    value = {
        "defaults": {**models, "window": 5, "overlap": 2, "device": "cpu"},
        "job": [
            {"name": "one", **job, "variation": [{"name": "blue", "prompt": "a blue robot", "seed": 3}]},
            {"name": "two", **job, "keep": "all", "fps": 12.5, "swap": ["object=a stone"]},
        ],
    }
    jobs = written(trial, room / "jobs.toml", value)
    trial.skate(["batch", "plan", str(jobs), "--out", str(room / "batch")], models=True)


def _looks(trial: Trial, room: Path) -> None:
    value = {"variation": [{"name": "a", "prompt": "x", "seed": 3}, {"name": "b", "size": "64x64", "dilate": [4, 4]}]}
    value["variation"].append({"name": "a", "steps": 3})  # a name twice: what is not bent is refused as well
    looks = written(trial, room / "looks.toml", value)
    run, out = str(trial.world.finished), str(room / "none" / "looks")
    Path(out).parent.write_text("no folder can be made here")
    trial.skate(["generate", run, "--variations", str(looks), "--out", out], models=True)


def _options(trial: Trial, room: Path) -> None:
    value = {
        "object": {"box": [1, 2, 30, 40], "correct": ["3:1,2,30,40"], "prompt-frame": 0},
        "windows": {"window": 5, "overlap": 2, "gate": "iou=0.9,contact"},
        "machine": {"device": "cpu", "ram": "4GB"},
        "generator": {"size": "64x64", "steps": 3, "cfg": 1.5, "lora": ["x.safetensors:0.5"]},
        "keep": "all",
        "overwrite": False,
    }
    config = written(trial, room / "options.toml", value)
    video = str(trial.world.case.video)
    trial.skate(["run", video, "--config", str(config), "--out", str(trial.world.finished), "--write-config", "-"])


def _workflow(trial: Trial, room: Path) -> None:
    name = trial.rng.choice(("vace", "vace-reference", "wan-animate", "void"))
    graph = json.loads(graph_file(name).read_text())
    workflow = written(trial, room / "workflow.json", graph)
    trial.skate(["workflows", "show", str(workflow)])
    if trial.rng.random() < 0.3:
        words = ["--workflow", str(workflow), "--server", "127.0.0.1:9", "--prompt", "x", "--out", str(room / "out")]
        trial.skate(["generate", str(trial.world.extracted), *words], models=True, hook=FAST)


def _export(trial: Trial, room: Path) -> None:
    exported = trial.world.exported
    value = json.loads((exported / "tracking_metadata.json").read_text())
    metadata = written(trial, room / "tracking_metadata.json", value)
    for part in exported.iterdir():
        if part.name != metadata.name:
            (room / part.name).symlink_to(part)
    video = str(trial.world.finished / "output.mp4")
    words = ["--metadata", str(metadata), "--generated", video, "--quiet"]
    trial.skate(["evaluate", *words, *(trial.world.models[:4])], models=True)


def _cuts(trial: Trial, room: Path) -> None:
    path = room / "cuts.txt"
    lines = "\n".join([*map(str, sorted(trial.rng.sample(range(1, 300), 4))), odd.given_text(trial.rng)])
    if trial.rng.random() < 0.1:
        odd.no_file(path, trial.rng)
    else:
        data = lines.encode("utf-8", "replace")
        path.write_bytes(odd.bent_bytes(data, trial.rng) if trial.rng.random() < 0.5 else data)
    trial.skate(trial.world.case.run(trial.world.finished, "--cuts", str(path)), models=True)


def _pose(trial: Trial, room: Path) -> None:
    exported = trial.world.exported
    value = json.loads((exported / "pose.json").read_text())
    if trial.rng.random() < 0.5:
        path = written(trial, room / "pose.json", value)
    else:  # a file a frame
        path = room / "poses"
        path.mkdir()
        for index, entry in enumerate(value):
            file = path / f"frame_{index:05d}_keypoints.json"
            if index == 1:
                written(trial, file, entry)
            else:
                file.write_text(json.dumps(entry))
    words = ["--masks", str(exported / "mask_skateboard"), "--pose", str(path), "--window", "5", "--overlap", "2"]
    video = str(trial.world.case.video)
    trial.skate(["generate", video, *words, "--out", str(trial.world.finished), *sam_of(trial)], models=True)


def _sam_config(trial: Trial, room: Path) -> None:
    words = trial.world.models
    config = Path(words[words.index("--sam-config") + 1])
    path, rng = room / "sam.yaml", trial.rng
    if rng.random() < 0.1:
        odd.no_file(path, rng)
    else:
        lines = config.read_text().splitlines()
        for _ in range(rng.choice((1, 2))):
            at = rng.randrange(len(lines))
            key = lines[at].partition(":")[0]
            bombs = [
                "*a",
                "&a [*a, *a]",
                "!!python/object/apply:os.system ['x']",
                "{_target_: os.system}",
                "${oc.env:HOME}",
            ]
            lines[at] = f"{key}: {rng.choice((*bombs, json.dumps(rng.choice(odd.BOMBS))))}"
        path.write_bytes(
            odd.bent_bytes("\n".join(lines).encode(), rng) if rng.random() < 0.3 else "\n".join(lines).encode()
        )
    begin = trial.world.case.run(room / "out", "--sam-config", str(path))
    trial.skate(begin, models=True)


def _bookkeeping(trial: Trial, room: Path) -> None:
    """`batch.json` of a batch that somebody sent, and the times of another machine."""
    if trial.rng.random() < 0.5:
        job = {"name": "one", "source": str(trial.world.case.video), "words": ["--box", "1,2,9,9"], "looks": False}
        look = {"name": "one-blue", "source": "one", "words": [], "looks": True}
        batch, ended = room / "batch", room / "batch" / "batch.ended"
        ended.mkdir(parents=True)
        written(trial, batch / "batch.json", {"format": 1, "jobs": [job, look]})
        done = {"job": job, "code": 1, "gate": "failed", "seconds": 3.0, "message": ""}
        written(trial, ended / "one.json", done)
        trial.skate(["batch", "status", str(batch)])
        return
    jobs = room / "jobs.toml"
    jobs.write_text(f'[[job]]\nname = "one"\nvideo = "{trial.world.case.video}"\nbox = [1, 2, 9, 9]\nsam = "mini"\n')
    times = written(trial, room / "calibration.json", {"format": 2, "seconds": {"decode": 2, "pose x": 0.5}})
    trial.skate(["batch", "plan", str(jobs), "--calibration", str(times)], models=True)


def sam_of(trial: Trial) -> list[str]:
    """The options that choose SAM 2.1 alone."""
    return trial.world.models[:4]


FAST = ("_server_chaos:hasten", {"patience": 0.3})
KINDS: tuple[Callable[[Trial, Path], None], ...] = (
    _scene, _scene, _jobs, _looks, _options, _options, _workflow, _export, _cuts, _pose, _sam_config, _bookkeeping,
)  # fmt: skip
