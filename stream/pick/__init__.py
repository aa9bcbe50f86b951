"""A page on this machine alone on which subjects are pointed at (`skate pick`)."""
