"""`skate bench fidelity`: how well an interaction survives, and how well its loss is seen.

clips.py, faults.py   what is judged: rendered clips, and results with planted faults
judge.py              a result, tracked and measured as a run's is
calibrate.py          noise, curves, and whether each fault fires what it must
drift.py              a clip made into itself (`--self`)
"""
