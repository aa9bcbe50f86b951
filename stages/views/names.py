"""The arrays of views, and of the first pass that tells where they look."""

from stages.base import Port

VIEWS = "views/generate"  # what the generator sees
KEPT = "kept"  # what a window made of the frames that the next one sees again, in the view's pixels
FIRST = "first/"  # before a subject's name: the boxes of the first pass round it
LOOKED = "looked"  # which frames that pass looked at


def view_name(subject: str) -> str:
    """The array of the views that a subject is tracked through."""
    return f"views/track-{subject}"


def first_ports(subjects: tuple[str, ...]) -> tuple[Port, ...]:
    """What the first pass leaves for the second."""
    boxes = (Port(f"{FIRST}{name}", "new", (4,), "float64", "until_read") for name in subjects)
    return (*boxes, Port(LOOKED, "new", (), "bool", "until_read"))


def view_ports(subjects: tuple[str, ...]) -> tuple[Port, ...]:
    """The views that each subject is tracked through."""
    return tuple(Port(view_name(name), "new", (2, 3), "float64") for name in subjects)
