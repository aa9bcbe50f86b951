"""The parts of the ComfyUI stage: client, transport, workflow, conditioning, continuity, colour and server pool."""
