"""Measurements. `skate bench` is `bench.command`; the others run as `python -m bench.NAME` (docs/performance.md)."""
