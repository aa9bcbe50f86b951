"""SAM 2.1 in bounded memory: the stock `sam2` predictor, frame by frame, with everything it can no longer read let go.

`torch` and `sam2` are imported inside functions: importing this package is light.
"""
