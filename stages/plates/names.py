"""The arrays of plates."""

from stages.base import MASK, PICTURE, Port, Read

PATH, PART = "plate_path", "plate_part"  # a frame each: where it lies, and among which frames
PICTURES, KNOWN, PLACES = "plates", "plates_known", "plates_places"  # of a window: the plates known by its end

PORTS = (
    Port(PATH, "new", (2, 3), "float64"),
    Port(PART, "new", (), "int32"),
    Port(PICTURES, "window", PICTURE, "uint8", "window"),
    Port(KNOWN, "window", MASK, "bool", "window"),
    Port(PLACES, "window", (3, 3), "float64", "window"),
)

BEHIND = (Read(PATH, "read"), Read(PART, "read"), *(Read(name, "window") for name in (PICTURES, KNOWN, PLACES)))
"""What is read by who looks at what is known by a window's end."""
