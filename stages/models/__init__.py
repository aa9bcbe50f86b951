"""The weight files: which there are, where they lie, how they are fetched. Data of the package: `mini/` and `sam/`."""
