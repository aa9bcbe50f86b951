"""What commands say on stdout and stderr: names and words of others in it do nothing to a terminal."""

import click


def say(*lines: str, err: bool = False) -> None:
    """Print lines; a line end inside of one is a name's, and is shown as an escape like all that a terminal obeys."""
    from storage.boundary import visible  # not at the top: it loads msgspec

    click.echo("\n".join(map(visible, lines)), err=err)


def say_text(text: str) -> None:
    """Print what consists of lines; in names whoever put it together has shown the line ends."""
    say(*text.split("\n"))
