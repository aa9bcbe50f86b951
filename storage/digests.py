"""The digests of a commit, kept small: a long run holds thousands of them in memory until it ends."""

from collections.abc import ItemsView, Iterator, Mapping


class Digests(Mapping[str, str]):
    """Digest by key, unchangeable. One string: 60 bytes an entry, where a dict of strings takes 250."""

    __slots__ = ("_text",)

    def __init__(self, digests: Mapping[str, str]) -> None:
        """
        Args:
            digests: keys and values without blanks, as `storage.records` checks them.
        """
        self._text = "\n".join(f"{key} {value}" for key, value in digests.items())

    def __getitem__(self, key: str) -> str:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return self._text.count("\n") + 1 if self._text else 0

    def __repr__(self) -> str:
        return f"Digests({self._read()!r})"

    def items(self) -> ItemsView[str, str]:
        """Keys and digests; reads the string once, not once a key."""
        return self._read().items()

    def _read(self) -> dict[str, str]:
        return {key: value for key, _, value in (line.partition(" ") for line in self._text.splitlines())}
