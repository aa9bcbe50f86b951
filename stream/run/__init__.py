"""What happens to a run directory: begun, continued, redone, repaired, finished."""
