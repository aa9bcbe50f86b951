"""A ComfyUI server: its address, its answers, jobs, workflows, and what goes over the wire."""
