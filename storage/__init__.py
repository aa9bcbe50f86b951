"""Where a run lives on disk: the run directory, its Zarr arrays, the carried states and the journal of commits."""
