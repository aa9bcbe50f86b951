"""Words that options take, for the stages' configs and for the table of options alike. Nothing heavy is loaded."""

SHAPES = ("tight", "hull", "box")
"""Of the region that may change."""
FILLS = {"black": 0, "grey": 128, "white": 255}  # grey: WanVaceToVideo pads with 0.5
PLATE = "plate"
FILL_CHOICES = (*FILLS, PLATE)
"""What the emptied region is filled with."""
GUIDES = ("none", "scribble", "canny", "depth")
"""What shows a generator how the object turns."""
PROFILES = ("quality", "balanced", "fast")
"""Settings of a recipe."""
STOCK, DISTRACTOR_AWARE = "stock", "distractor-aware"
MEMORIES = (STOCK, DISTRACTOR_AWARE)
"""What tracking remembers of an object."""
TOGETHER, EACH = "together", "each"
PASSES = (TOGETHER, EACH)
