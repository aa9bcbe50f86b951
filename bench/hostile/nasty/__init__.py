"""A set of hostile inputs by fresh eyes: a nasty world rather than a fuzzer.

containers.py  real clips, muxed and coded oddly
odd_clips.py   these clips
makers.py      how they are made
pointing.py    boxes, points, masks and poses at the edge of what they may be
casts.py       scenes that are sound as text and odd in what they say
clocks.py      time and order: two at once, clocks that jump, folders that move
scarce.py      files, memory, terminals and folders that run out or are not there
impostors.py   servers that speak well and answer wrong
pictures.py    what these send
wires.py       and some that do not even speak well
exchanged.py   every command given what another one left
looked.py      what has to hold besides the driver's verdict
hooks.py       called in the forked child before the command
"""
