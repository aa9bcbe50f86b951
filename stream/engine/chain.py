"""The chain as data: which stages stand in it, under which names, and what each reads of what others write.

    Node(stage)                                        under the stage's own name and with its own names of arrays
    Node(stage, "generate-board", {"raw": "raw-board"})    the same class a second time

Everything that has to know what depends on what asks here: executor, repair, redo, retries, what other options void,
what is dropped from the store, and what the plan counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin

from stages.base import Port, Read, Stage
from stages.generator import GeneratorStage
from storage.boundary import convert
from storage.errors import UsageError
from storage.layout import STAGE_NAME, ArraySpec, Layout


@dataclass(frozen=True)
class Node:
    """A stage in a chain.

    Attributes:
        stage: closed. name: in the journal; "": the stage's own.
        bind: by the stage's name of an array, or of a stage whose facts it reads, the chain's name where it is another.
    """

    stage: Stage
    name: str = ""
    bind: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.stage.name)

    def bound(self, name: str) -> str:
        """The chain's name of what the stage calls `name`."""
        return self.bind.get(name, name)

    @property
    def reads(self) -> list[tuple[str, Read]]:
        """What it reads: the chain's names, and how."""
        return [(self.bound(read.port), read) for read in self.stage.reads]

    @property
    def writes(self) -> dict[str, Port]:
        """What it writes, by the chain's names."""
        return {self.bound(port.name): port for port in self.stage.writes}

    @property
    def facts(self) -> dict[str, str]:
        """By the stage's name of them, the nodes whose facts about a window it reads."""
        return {name: self.bound(name) for name in self.stage.facts}


class Chain:
    """Nodes in the order of their work on a window.

    Raises:
        UsageError: when two have one name or write one array, when one reads what none before it writes, or of other
            frames than are written, or writes frames of two spans.
    """

    def __init__(self, nodes: Sequence[Node | Stage], given: Sequence[Port] = ()) -> None:
        """
        Args:
            given: arrays that are there already, where this is a part of a longer chain.
        """
        self._nodes = {node.name: node for node in (n if isinstance(n, Node) else Node(n) for n in nodes)}
        if len(self._nodes) != len(nodes):
            raise UsageError(f"two nodes of a chain have one name: {', '.join(self._nodes)}")
        self._given = {port.name: port for port in given}
        self._writers: dict[str, str] = {}
        self._lags: dict[str, int] = {}  # by node, as they are asked for
        self._check()

    def _check(self) -> None:
        later = {array for node in self for array in node.writes}
        done: set[str] = set()
        for node in self:
            if not STAGE_NAME.fullmatch(node.name):
                raise UsageError(f"'{node.name}' is no name for a stage: small letters, then digits, - and _ too")
            for array, read in node.reads:
                if array not in self._given and array not in (later if read.window < 0 else self._writers):
                    raise UsageError(f"stage '{node.name}' reads '{array}', which no stage before it writes")
            for stage in node.facts.values():
                if stage not in done and stage in self._nodes:
                    raise UsageError(f"stage '{node.name}' reads facts of '{stage}', which does not work before it")
            if {port.span for port in node.writes.values()} >= {"new", "final"}:
                raise UsageError(
                    f"stage '{node.name}' writes both new and final frames: a commit has one span of frames"
                )
            for array in node.writes:
                if array in self._writers:
                    raise UsageError(f"stages '{self._writers[array]}' and '{node.name}' both write '{array}'")
                self._writers[array] = node.name
            done.add(node.name)
        for node in self:
            declared: list[Port | Read] = [*node.stage.reads, *node.stage.writes]
            for item in declared:
                _check_words(node, item)
            for array, read in node.reads:
                self._check_read(node, array, read)

    def _check_read(self, node: Node, array: str, read: Read) -> None:
        what, span = f"stage '{node.name}' reads '{array}'", self.port(array).span
        if read.window < -1:
            raise UsageError(f"{what} of window {read.window}: of those before, only the last one, -1, can be read")
        if (span == "final" and read.span in ("new", "read") and read.window >= 0) or (
            read.span == "window" and span != "window"
        ):
            raise UsageError(f"{what} as '{read.span}', and it is written as '{span}': read it as that")

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    @property
    def names(self) -> tuple[str, ...]:
        """Of the nodes, in order."""
        return tuple(self._nodes)

    @property
    def source(self) -> Node:
        """The first node, which finds out where the clip ends."""
        return next(iter(self))

    @property
    def generators(self) -> tuple[Node, ...]:
        """The nodes that make pictures."""
        return tuple(node for node in self if isinstance(node.stage, GeneratorStage))

    @property
    def tracking(self) -> tuple[str, ...]:
        """The nodes before the generators whose work every variation has in common."""
        making = self.making
        return tuple(node.name for node in self if node.name not in making and not node.stage.of_variation)

    @property
    def picturing(self) -> tuple[str, ...]:
        """The generators, and those behind them that write arrays of a window's own alone: what one of these makes
        again changes no other window."""
        alone = {node.name for node in self if all(port.span == "window" for port in node.stage.writes)}
        return tuple(name for name in self.making if name in alone and self._nodes[name].stage.writes)

    @property
    def making(self) -> tuple[str, ...]:
        """The generators and what depends on them; the others may work ahead of them."""
        found = {node.name for node in self.generators}
        found |= {name for generator in self.generators for name in self.behind(generator.name)}
        return tuple(name for name in self.names if name in found)

    def port(self, array: str) -> Port:
        """How an array is written."""
        writer = self._writers.get(array)
        return self._given[array] if writer is None else self._nodes[writer].writes[array]

    def writer(self, array: str) -> str | None:
        """The node that writes an array; None: it is given."""
        return self._writers.get(array)

    def is_source(self, array: str) -> bool:
        """Whether these are frames that the source can give again where they are dropped."""
        return self._writers.get(array) in (self.source.name, None) and self.port(array).life == "until_read"

    def readers(self, array: str) -> list[tuple[str, Read]]:
        """The nodes that read an array, in order, and how."""
        return [(node.name, read) for node in self for read_array, read in node.reads if read_array == array]

    def behind(self, name: str) -> tuple[str, ...]:
        """The nodes that depend on this one within a window, in order."""
        found = {name}
        for node in self:
            needs = {self._writers.get(array) for array, read in node.reads if read.window >= 0}
            if (needs | set(node.facts.values())) & found:
                found.add(node.name)
        return tuple(other for other in self.names if other in found and other != name)

    def lag(self, name: str) -> int:
        """How many windows this node works behind the first: one more for each read of the window after."""
        if name in self._lags:
            return self._lags[name]
        node, most = self._nodes[name], 0
        for array, read in node.reads:
            writer = self._writers.get(array)
            if read.window >= 0 and writer is not None:
                most = max(most, self.lag(writer) + read.window)
        for stage in node.facts.values():
            most = max(most, self.lag(stage) if stage in self._nodes else 0)
        self._lags[name] = most
        return most

    def droppable(self, keep: str) -> tuple[str, ...]:
        """Arrays whose frames are dropped once no later window reads them, with `--keep` none, frames or all."""
        until_read = [array for node in self for array, port in node.writes.items() if port.life == "until_read"]
        if keep == "all":
            return ()
        return tuple(array for array in until_read if keep == "none" or self._writers[array] != self.source.name)

    def layout(self, height: int, width: int) -> Layout:
        """What a run of frames of this upright size (pixels) stores."""
        arrays, blocks, making, picturing = {}, {}, self.making, self.picturing
        depending = set(making) - set(picturing)
        for node in self:
            for array, port in node.writes.items():
                if port.span != "window":
                    arrays[array] = _spec(node, array, port, height, width)
                else:
                    last = self.last_reader(array) or (node.name, 0)
                    # A window that is judged and tried again reads once more what the one before made, and what is not
                    # made anew.
                    until, after = last[0], last[1] + 1 if last[1] else 0
                    if "iou" in self._writers and node.name not in making and last[0] in making:
                        until, after = making[-1], last[1] + 1
                    elif last[0] in picturing and depending & {name for name, _ in self.waiting(array)}:
                        until = making[-1]  # `skate redo` has what depends on the picture read it when that is made
                    passing = port.life == "passing"
                    blocks[array] = _spec(node, array, port, height, width, until=until, after=after, passing=passing)
        return Layout(arrays, blocks)

    def waiting(self, array: str) -> list[tuple[str, int]]:
        """The nodes that read an array, and how many windows behind the one it belongs to; contexts apart."""
        return [(name, -read.window) for name, read in self.readers(array) if read.span != "context"]

    def last_reader(self, array: str) -> tuple[str, int] | None:
        """The node that reads an array last, and how many windows behind the one it belongs to; None: nothing does."""
        order = self.names
        return max(self.waiting(array), key=lambda found: (found[1], order.index(found[0])), default=None)


def _spec(node: Node, array: str, port: Port, height: int, width: int, **life: Any) -> ArraySpec:
    """How an array of frames of this size is stored.

    Raises:
        UsageError: when nothing could read it again.
    """
    shape = port.frame_shape(height, width)
    entry = {"shape": shape, "dtype": port.dtype, "fill": float(port.fill), "names": port.names, **life}
    return convert(entry, ArraySpec, f"stage '{node.name}' writes '{array}'", UsageError)


def _check_words(node: Node, item: Port | Read) -> None:
    for each in fields(item):
        given, choices = getattr(item, each.name), get_args(each.type)
        if get_origin(each.type) is Literal and given not in choices:
            what = f"stage '{node.name}', {type(item).__name__} '{vars(item).get('port') or item.name}'"
            raise UsageError(f"{what}: {each.name} {given!r} is none of {', '.join(choices)}")
