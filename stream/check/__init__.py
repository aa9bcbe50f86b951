"""What `skate check` and `skate frame` look at."""
