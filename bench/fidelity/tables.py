"""The tables of docs/fidelity.md, from the committed record.

python -m bench.fidelity.tables      writes them between `<!-- bench -->` and `<!-- end -->`, the curves and noise.json
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fidelity.faults import FAULTS
from bench.fidelity.numbers import NOISE
from bench.fidelity.pictures import curves_plot
from stages.fidelity.registry import metrics

ROOT = Path(__file__).resolve().parents[2]
RECORD, PAGE, CURVES = "bench/records/fidelity.json", "docs/fidelity.md", "docs/fidelity_curves.png"
PLACE = re.compile(r"(<!-- bench -->\n).*?(<!-- end -->)", re.DOTALL)


def read_record() -> dict[str, Any]:
    """The committed record."""
    found: dict[str, Any] = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """Noise and smallest faults by metric, the table of methods, what each fault must fire, ceilings and contact."""
    clips = found["clips"]
    frames = sum(clip["frames"] for clip in clips)
    return "\n".join(
        [
            f"Version {found['version']}, {len(clips)} clips, {frames} frames each fault-free; the mini models.",
            "",
            "**Noise, and the smallest fault found** on 95 % of the frames, by metric:",
            "",
            _table(["metric", "unit", "noise", "gate", "smallest fault found"], _found(found)),
            "",
            f"![How often each metric fires as each fault grows]({Path(CURVES).name})",
            "",
            "**Each method**, share of frames on which a metric fires, % (empty: measured nowhere):",
            "",
            _table(["method", *metrics()], _methods(found)),
            "",
            "**What each fault must and must not fire** (all others may), % of the frames from its stated size on:",
            "",
            _table(["fault", "stated", "must", "must not", "holds"], _checked(found)),
            "",
            "**Ceiling, and contact on the source** against the renderer's truth:",
            "",
            _table(["clip", "IoU mean", "IoU min", "frames that fail", "contact F1", "no contact F1"], _sources(found)),
        ]
    )


def _found(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, bound in found["bounds"].items():
        told = [
            f"{fault} {each[name]['smallest']:g}" for fault, each in found["faults"].items() if name in each
        ]  # in the fault's own unit, which the table of faults has
        sign = "above" if bound["high"] else "up to"
        rows.append(
            [
                f"`{name}`",
                bound["unit"] or "share",
                f"{sign} {bound['value']:.4g}",
                f"{bound['gate']:g}",
                ", ".join(told),
            ]
        )
    return rows


def _methods(found: Mapping[str, Any]) -> list[list[str]]:
    return [
        [method, *("" if shares[name] is None else f"{100 * shares[name]:.0f}" for name in metrics())]
        for method, shares in found["fired"].items()
    ]


def _checked(found: Mapping[str, Any]) -> list[list[str]]:
    subjects = {fault.name: fault.subject for fault in FAULTS}
    return [
        [
            f"{name}, {subjects[name]}",
            f"{each['stated']:g} {each['unit']}",
            _shares(each["must"]),
            _shares(each["must_not"]),
            "yes" if each["holds"] else "no",
        ]
        for name, each in found["checked"].items()
    ]


def _shares(each: Mapping[str, float | None]) -> str:
    return ", ".join(f"`{name}` {'-' if share is None else f'{100 * share:.0f}'}" for name, share in each.items())


def _sources(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, ceiling in found["ceiling"].items():
        contact = found["contact"][name]
        f1 = ["" if contact[key] is None else f"{contact[key]:.3f}" for key in ("f1", "off_f1")]
        share = f"{ceiling['failing']} of {ceiling['frames']}"
        rows.append([name, f"{ceiling['iou_mean']:.4f}", f"{ceiling['iou_min']:.4f}", share, *f1])
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(text: str, found: Mapping[str, Any]) -> str:
    """The page with the record's tables in it."""
    return PLACE.sub(lambda place: f"{place[1]}{markdown(found)}\n{place[2]}", text)


def noise(found: Mapping[str, Any]) -> dict[str, float]:
    """The bounds that the quick set fires by."""
    return {name: bound["value"] for name, bound in found["bounds"].items() if bound["value"] is not None}


def main() -> None:
    """Write the tables, the curves and the noise."""
    found = read_record()
    where = ROOT / PAGE
    where.write_text(page(where.read_text(encoding="utf-8"), found), encoding="utf-8")
    (ROOT / CURVES).write_bytes(curves_plot(found["curves"]))
    NOISE.write_text(json.dumps(noise(found), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
