"""What a server said, on one line each: for messages and errors. Pure functions."""

from collections.abc import Mapping
from typing import Any

import requests

from storage.errors import GeneratorError

Json = Any


def words(answer: requests.Response) -> str:
    """The server's own words, on one line; of a web page only the reason that stands beside the status."""
    page = answer.text.lstrip()[:15].lower().startswith(("<!doctype", "<html"))
    return (answer.reason if page else " ".join(answer.text.split())[:400]) or answer.reason


def connection_words(error: Exception) -> str:
    """Why there is no answer, on one line: the system's words, where requests and urllib3 wrap them."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return f"{type(error).__name__}: {error}"


def node_errors(errors: Mapping[str, Json]) -> str:
    """`node_errors` of /prompt as one line: node, class, message and details."""
    lines = []
    for node_id, item in errors.items():
        for error in item.get("errors", []):
            told = f"{error.get('message', '')}: {error.get('details', '')}".strip(": ")
            lines.append(f"node {node_id} ({item.get('class_type', '?')}): {told}")
    return "; ".join(lines) or "no details given"


def refused(host: str, what: str, answer: requests.Response) -> GeneratorError:
    """The error for an answer that is not 200, with the server's own words."""
    try:
        body = answer.json()
    except (requests.exceptions.JSONDecodeError, RecursionError):  # the latter: nested too deeply
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        error = body["error"]
        text = f"{error.get('message', '')}: {error.get('details', '')}".strip(": ")
        details = node_errors(body.get("node_errors") or {}) if body.get("node_errors") else ""
        text = f"{text} [{details}]" if details else text
    else:
        text = f"HTTP {answer.status_code}: {words(answer)}"
    hint = {400: "install what it names, or correct the workflow", 404: "is this a ComfyUI server?"}.get(
        answer.status_code, "see the server's log"
    )
    return GeneratorError(f"ComfyUI at {host} refuses {what}: {' '.join(text.split())}: {hint}")
