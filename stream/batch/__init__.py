"""Many clips, and several looks of each: jobs in a file, a run directory each."""
