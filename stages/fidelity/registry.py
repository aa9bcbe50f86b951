"""Every metric by its name, found in the modules of `stages/fidelity/kinds`."""

import importlib
import pkgutil
from functools import cache

from stages.fidelity import kinds
from stages.fidelity.metric import Metric

SUBJECTS = ("object", "person")


@cache
def metrics() -> dict[str, Metric]:
    """By name, in order of the modules' names and of their `METRICS`.

    Raises:
        TypeError: two have one name, which is a mistake in a module.
    """
    found: dict[str, Metric] = {}
    for module in sorted(item.name for item in pkgutil.iter_modules(kinds.__path__)):
        for metric in importlib.import_module(f"{kinds.__name__}.{module}").METRICS:
            if metric.name in found:
                raise TypeError(f"two metrics are called {metric.name}: the second one in {module}")
            found[metric.name] = metric
    return found


def names_of(subject: str) -> tuple[str, ...]:
    """The metrics of a subject: the columns of `metrics/SUBJECT`."""
    return tuple(metric.name for metric in metrics().values() if metric.subject == subject)


def array_of(name: str) -> str:
    """The array that holds a metric."""
    return f"metrics/{metrics()[name].subject}"
