"""The generators that run on ComfyUI, by name: one module each, and one graph each in `workflows/`.

A recipe says how long its windows are, what its model is shown, how it samples, and which files it needs. What goes
into which node of a graph stands in `stages.server.wiring`.
"""
