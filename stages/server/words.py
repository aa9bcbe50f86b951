"""What a server said, as one line that does nothing to a terminal: for messages and errors. Pure functions."""

import msgspec

from stages.server.answers import NodeProblems, Problem, Problems, Refusal
from stages.server.wire import Reply
from storage.boundary import printable
from storage.errors import GeneratorError

MOST_NODES = 8  # told about, of those that are refused


def words(reply: Reply) -> str:
    """The server's own words; of a web page only the reason that stands beside the status."""
    page = reply.text.lstrip()[:15].lower().startswith(("<!doctype", "<html"))
    return printable(reply.reason if page else reply.text) or printable(reply.reason)


def connection_words(error: Exception) -> str:
    """Why there is no answer, on one line: the system's words, where requests and urllib3 wrap them."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return printable(inner.strerror)
        inner = inner.__cause__ or inner.__context__
    return printable(f"{type(error).__name__}: {error}")


def problem(found: Problem) -> str:
    """Message and details."""
    return printable(f"{found.message}: {found.details}".strip(": "))


def node_errors(errors: Problems) -> str:
    """`node_errors` of /prompt: node, class, message and details."""
    nodes: dict[str, NodeProblems] = errors if isinstance(errors, dict) else {}
    told = [
        f"node {printable(node_id, 40)} ({printable(item.class_type, 80)}): {problem(error)}"
        for node_id, item in nodes.items()
        for error in item.errors
    ]
    more = f"; and {len(told) - MOST_NODES} more" if len(told) > MOST_NODES else ""
    return "; ".join(told[:MOST_NODES]) + more or "no details given"


def refused(host: str, what: str, reply: Reply) -> GeneratorError:
    """The error for an answer that is not 200, with the server's own words."""
    try:
        refusal = msgspec.json.decode(reply.body, type=Refusal)
        details = f" [{node_errors(refusal.node_errors)}]" if refusal.node_errors else ""
        text = problem(refusal.error) + details
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # said in a way of its own
        text = f"HTTP {reply.status}: {words(reply)}"
    hint = {400: "install what it names, or correct the workflow", 404: "is this a ComfyUI server?"}.get(
        reply.status, "see the server's log"
    )
    return GeneratorError(f"ComfyUI at {host} refuses {what}: {text}: {hint}")
