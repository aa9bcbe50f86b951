"""Bounds of what can be asked for: for the stages' configs and for the options of a run alike."""

from storage.bounds import Bounds

FPS = Bounds(0.1, 1000)  # frames/s
BAD_FRAMES = Bounds(0, 10**9)
PIXELS = Bounds(1, 2**31 - 1)  # of a frame: what libav can hold
STEADY = Bounds(0, 600)  # frames over which a path is averaged; 0: off
WORK_HEIGHT = Bounds(16, 8192)  # pixels
FRAME = Bounds(0, 10**9)  # a frame's number
DETECT_EVERY = Bounds(1, 10**6)  # frames
DILATE = Bounds(0, 4096)  # pixels
SEED = Bounds(0, 2**64 - 1)  # KSampler's
STEPS = Bounds(1, 10_000)  # KSampler's
CFG = Bounds(0, 100)  # KSampler's
SHARE = Bounds(0, 1)
LENGTH = Bounds(0, 10**9)  # a distance, an angle, a speed: of what is no share
STRENGTH = Bounds(0, 1000)  # WanVaceToVideo's
IOU = Bounds(0, 1, open=True, example="0.9")
RETRIES = Bounds(0, 1000)
AHEAD = Bounds(0, 100)
CLIP_FRAMES = Bounds(1, 10**6)  # of a rendered clip, half a day
CLIP_SIDE = Bounds(16, 8192)  # pixels
CLIP_SEED = Bounds(0, 9999)
SECONDS = Bounds(0, 10**8, open=True, example="600")  # a wait, at most three years
