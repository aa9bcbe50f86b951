"""`python -m stream.cli` is `skate`."""

from stream.cli import main

main()
