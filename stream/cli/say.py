"""What commands say on stdout and stderr: names and words of others in it do nothing to a terminal."""

import click


def say(text: str, err: bool = False) -> None:
    """Print a line, or several."""
    from storage.boundary import visible_lines  # not at the top: it loads msgspec

    click.echo(visible_lines(text), err=err)
