"""What `skate bench fidelity` writes and prints."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench._common import new_record, write_record
from bench.fidelity.clips import QUICK, WHOLE, clips
from bench.fidelity.drift import UNITS, measure_self
from bench.fidelity.elsewhere import read_results
from bench.fidelity.faults import FAULTS
from bench.fidelity.measure import QUICK_FAULTS, Set, measure, methods_of
from bench.fidelity.numbers import put_together
from bench.fidelity.pictures import curves_plot, methods_sheet
from bench.machine import command_line
from stages.fidelity.registry import metrics
from storage.durable import write_atomic
from stream.report.strips import png_bytes
from stream.report.tables import text_table


def run_fidelity(
    out: Path, quick: bool, results: Path | None, options: dict[str, Any], as_json: bool, record: Path | None
) -> int:
    """Measure, write, print; 0 where every check holds, else 1."""
    which = QUICK if quick else WHOLE
    chosen = clips(which)
    checks = [clip.name for clip in chosen if clip.use == "check"]
    faults = [fault for fault in FAULTS if not quick or fault.name in QUICK_FAULTS]
    wanted = Set(str(options["generator"] or "preview"), chosen, faults, {})
    if results is not None:
        own = methods_of(wanted, next(clip for clip in chosen if clip.use == "check"))
        wanted = replace(wanted, elsewhere=read_results(results, checks, own))
    taken = measure(wanted, out, options, lambda line: click.echo(line, err=True))
    found = new_record("fidelity", {"set": which}) | {"command": command_line("skate")} | put_together(wanted, taken)
    found["ratios"] = _ratios(found)
    for path in (out / "fidelity.json", record):
        write_record(found, path)
    if "curves" in found:
        write_atomic(out / "curves.png", curves_plot(found["curves"]))
    checked = next(each for each in taken if each.clip.use == "check")
    write_atomic(out / "methods.png", png_bytes(methods_sheet(wanted, checked, out)))
    click.echo(json.dumps({"event": "done", **found}) if as_json else text(found))
    return 0 if holds(found) else 1


def run_self(out: Path, quick: bool, options: dict[str, Any], as_json: bool, record: Path | None) -> int:
    """A clip made into itself: measure, write, print."""
    found = measure_self(out, quick, options, lambda line: click.echo(line, err=True))
    whole = new_record("fidelity-self", {"quick": quick}) | {"command": command_line("skate"), "self": found}
    for path in (out / "self.json", record):
        write_record(whole, path)
    click.echo(json.dumps({"event": "done", **whole}) if as_json else self_text(found))
    return 0


def self_text(found: Mapping[str, Any]) -> str:
    """Each measure: mean, that of the source encoded alike, slope a window and its interval."""
    rows = []
    for name, unit in UNITS.items():
        each = found[name]
        if each is None:
            rows.append([name, "-", "-", "-", f"its weights are {found['lpips_weights']}"])
            continue
        interval = each["confidence_interval"]
        told = "-" if interval is None else f"{interval[0]:.5f} to {interval[1]:.5f}"
        slope = "-" if interval is None else f"{each['slope_per_window']:.5f}"
        rows.append([f"{name} {unit}".strip(), f"{each['mean']:.4f}", f"{each['source_mean']:.4f}", slope, told])
    return text_table(("inside the region", "result", "source", "slope a window", "95 % interval"), rows)


def holds(found: Mapping[str, Any]) -> bool:
    """Whether all that is promised holds."""
    return bool(found["blame"]["holds"]) and all(each["holds"] for each in found["checked"].values())


def _ratios(found: Mapping[str, Any]) -> dict[str, Any]:
    """What two records are compared by."""
    blame = found["blame"]
    shares = {
        "faults that fire what they must": sum(e["holds"] for e in found["checked"].values()) / len(found["checked"]),
        "wrong frames told": blame["generator"] / max(1, blame["wrong_frames"]),
        "ceiling, mean IoU": min(each["iou_mean"] for each in found["ceiling"].values()),
    }
    return {name: {"value": round(value, 4), "noise": 0.01, "better": "higher"} for name, value in shares.items()}


def text(found: Mapping[str, Any]) -> str:
    """The table a method: the share of frames on which each metric fires, %, and what is promised."""
    names = list(metrics())
    lines = [["bound", *(f"{found['bounds'][name]['value']:.3g}" for name in names)]]
    for method, shares in found["fired"].items():
        lines.append([method, *("-" if shares[name] is None else f"{100 * shares[name]:.0f}" for name in names)])
    short = [name.replace("_", " ").replace("relative", "rel.").replace("person", "pers.") for name in names]
    table = text_table(("fires on % of frames", *short), lines)
    checks = [f"{name}: {'holds' if each['holds'] else 'MISSED'}" for name, each in found["checked"].items()]
    blame = found["blame"]
    checks.append(
        f"blame: {blame['generator']} of {blame['wrong_frames']} wrong frames are the generator's, "
        f"{blame['sound_generator']} of {blame['sound_frames']} sound ones: {'holds' if blame['holds'] else 'MISSED'}"
    )
    return "\n".join([table, "", *checks])
