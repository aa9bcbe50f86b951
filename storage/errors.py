"""One root error; each subclass carries the exit code that `skate` ends with.

A message is one line: the thing, where, its value, and the remedy.
"""


class SkateError(Exception):
    """Root of every error this tool raises on purpose. It is printed without a traceback.

    Its own code is that of everything raised by mistake: a fault of the program (70, EX_SOFTWARE in BSD's sysexits.h).
    1 is the gate's verdict alone.
    """

    exit_code = 70


class UsageError(SkateError):
    """An option or a combination of options that cannot be (exit 2)."""

    exit_code = 2


class InputError(SkateError):
    """The video, prompt, mask or workflow file is unusable (exit 3)."""

    exit_code = 3


class EnvironmentFault(SkateError):
    """Weights, an execution provider, memory or disk are missing (exit 4)."""

    exit_code = 4


class GeneratorError(SkateError):
    """The generator is unreachable, refused the work or failed (exit 5)."""

    exit_code = 5


class RunDirectoryError(SkateError):
    """The run directory has another config, is locked, or is damaged (exit 6)."""

    exit_code = 6


class InUse(RunDirectoryError):
    """Another process writes to the run directory."""


class Interrupted(SkateError):
    """Stopped by a signal after the commit in hand; `skate resume` continues (exit 130)."""

    exit_code = 130
