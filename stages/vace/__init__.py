"""Wan 2.1 VACE's own conventions: sizes, conditioning, continuity."""
