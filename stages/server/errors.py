"""Kinds of generator faults that the client tells apart; all end with exit code 5."""

from storage.errors import GeneratorError


class ServerUnreachable(GeneratorError):
    """The server did not answer (refused, timed out, 5xx) for as long as the client is told to wait."""


class UploadTooLarge(GeneratorError):
    """An upload exceeds the server's limit (HTTP 413, or `max_upload_size` of /features)."""


class OutOfMemory(GeneratorError):
    """The server ran out of memory while it executed the workflow."""


class JobLost(GeneratorError):
    """The server knows the job neither in its queue nor in its history: it was restarted."""


class StaleOutput(GeneratorError):
    """The history names output files that the server no longer has (a run answered from its cache)."""
