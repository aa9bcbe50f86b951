"""One page with the results of several runs side by side, in step. No network; the videos are those of the runs."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from storage.backend import open_store
from storage.boundary import MB, parse
from storage.errors import RunDirectoryError
from stream.options.config import RunConfig
from stream.options.passes import generations
from stream.options.recorded import read_run
from stream.progress.counts import generates
from stream.report.html import page

_STYLE = """
body { margin: 0; padding: 1rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .6rem; background: var(--box); border-radius: .5rem; }
video { width: 100%; background: #000; } p { margin: .2rem 0; overflow-wrap: anywhere; } nav { margin: 0 0 1rem; }
input[type=range] { width: min(40rem, 100%); vertical-align: middle; }
"""

_SCRIPT = """
const videos = [...document.querySelectorAll('video')], bar = document.querySelector('#time');
const play = document.querySelector('#play');
const first = videos[0];
const all = (what) => videos.forEach(what);
const toggle = () => { const go = first.paused; all(v => go ? v.play() : v.pause()); };
play.onclick = toggle;
first.onplay = () => { play.textContent = 'Pause'; }; first.onpause = () => { play.textContent = 'Play'; };
bar.oninput = () => all(v => { v.currentTime = bar.value * (v.duration || 0); });
first.ontimeupdate = () => {
  if (first.duration) bar.value = first.currentTime / first.duration;
  const at = first.currentTime;
  all(v => { if (v !== first && Math.abs(v.currentTime - at) > .08) v.currentTime = at; });
};
document.onkeydown = (event) => {
  if (event.target.tagName === 'INPUT' && event.key !== ' ') return;
  if (event.key === ' ') { event.preventDefault(); toggle(); }
  const step = { ',': -1, '.': 1 }[event.key];
  if (step) { all(v => v.pause()); const at = first.currentTime + step / FPS; all(v => { v.currentTime = at; }); }
};
"""


def write_gallery(folder: Path, names: Sequence[str], failed: Mapping[str, str]) -> Path:
    """Write `index.html` into the folder of the runs; returns its path.

    Args:
        names: of the runs' folders in it, in the order of the page.
        failed: those that did not end well, and why.
    """
    figures, rates = [], [25.0]
    for name in names:
        caption = f"<p><b>{escape(name)}</b></p>"
        if name in failed:
            figures.append(f'<figure>{caption}<p class="bad">{escape(failed[name])}</p></figure>')
            continue
        manifest, config = read_run(folder / name)
        rates.append(config.fps or float(manifest["video"]["claimed_fps"]))
        lines = [caption, *_verdict(_summary(folder / name))]
        lines.append(f'<p class="soft">{escape(made_with(config))}</p>')
        address = quote(name)
        lines.append(f'<p><a href="{address}/report/index.html">report</a></p>')
        shown = f'<video src="{address}/output.mp4" muted loop playsinline preload="auto"></video>'
        figures.append(f"<figure>{shown}{''.join(lines)}</figure>")
    script = f"const FPS = {rates[-1]:g};\n{_SCRIPT}" if len(failed) < len(names) else ""
    body = (
        '<nav><button id="play">Play</button> <input id="time" type="range" min="0" max="1" step="0.001" value="0" '
        'aria-label="time"> <span class="soft">space: play or pause; , and . : one frame</span></nav>\n'
        f"<main>\n{chr(10).join(figures)}\n</main>\n"
        f"<script>\n{script}</script>"
    )
    text = page(f"{folder.name}: variations", body, _STYLE)
    open_store(folder).show("index.html", text.encode(errors="backslashreplace"))
    return folder / "index.html"


class Cost(Struct):
    """Seconds of work, by stage."""

    seconds: dict[str, float]


class Iou(Struct):
    """Over the judged frames."""

    mean: float | None
    min: float | None


class Told(Struct):
    """What the page takes of a run's `report/summary.json`."""

    gate: str | None
    iou: Iou | None
    cost: Cost
    frames: int
    failed_frames_count: int = 0


def _summary(run: Path) -> Told:
    """`report/summary.json` of a run.

    Raises:
        RunDirectoryError: when it is not there, or none.
    """
    store = open_store(run)
    what, remedy = store.where("report/summary.json"), f"`skate report {run}`"
    try:
        content = store.read("report/summary.json", 64 * MB)
    except OSError as error:
        raise RunDirectoryError(f"{what}: cannot be read: {remedy}") from error
    return parse(content, Told, what, RunDirectoryError, remedy)


def _verdict(summary: Told) -> list[str]:
    """Gate and cost."""
    lines, iou = [], summary.iou
    if summary.gate is not None:
        mean = ""
        if iou is not None and iou.mean is not None and iou.min is not None:
            mean = f": IoU mean {iou.mean:.4f}, min {iou.min:.4f}"
        count = summary.failed_frames_count
        told = f"gate {summary.gate}{mean}" + (f", {count} fail" if count else "")
        lines.append(f'<p class="{"good" if summary.gate == "passed" else "bad"}">{escape(told)}</p>')
    took = summary.cost.seconds
    seconds, generated = sum(took.values()), sum(took[name] for name in took if generates(name))
    lines.append(f"<p>{summary.frames} frames, {seconds:.0f} s of work, {generated:.0f} s of it generating</p>")
    return lines


def made_with(config: RunConfig) -> str:
    """The words that it was made by, of each generation, and what else tells looks apart."""
    words = "; ".join(filter(None, dict.fromkeys(asked.text for asked in generations(config).values())))
    told = {"": words, "seed": config.seed, "workflow": config.workflow, "reskin": config.reskin}
    return ", ".join(f"{name} {value}".strip() for name, value in told.items() if value not in ("", None))
