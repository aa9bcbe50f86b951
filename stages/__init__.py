"""The stages of the chain, one a file: decode, pose, track, generate, blend, sink, score.

They do not import each other.
"""
