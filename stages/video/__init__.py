"""Reading and writing video with PyAV: limits, checks, times, damage, seeking, encoding, joining, fetching."""
