"""What drives the stages: window arithmetic, the pipeline, commits and resume, and the command line."""
