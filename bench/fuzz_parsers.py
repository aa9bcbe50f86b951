"""Parsers explored by which of their lines an input reaches (atheris: `pip install atheris`, Linux, not in the lock).

    python -m bench.fuzz_parsers --seconds 60                    every parser in turn
    python -m bench.fuzz_parsers --parser scene.toml --seconds 600

Begins with the examples of `bench.parsers`, and with what earlier runs kept where `--corpus DIR` names a folder. An
input that raises what its parser may not is printed and kept in `crash-*`; the exit code is 1 then.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.parsers import parsers

INSTRUMENTED = ("bench.parsers", "stages", "storage", "stream.options", "stream.cli", "stream.batch", "stream.report")
MOST_BYTES = 4096


def _explore(name: str, seconds: int, seed: int, corpus: Path) -> None:
    """In a process of its own: libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        for module in [module for module in sys.modules if module.startswith(INSTRUMENTED)]:
            del sys.modules[module]  # read again, instrumented
        from bench.parsers import parsers as instrumented
    parser = instrumented()[name]
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(parser.examples):
        (folder / f"example{number}").write_bytes(example)
    longest = max(MOST_BYTES, *map(len, parser.examples))
    limits = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={longest}", "-timeout=20", "-rss_limit_mb=3000"]

    def one(data: bytes) -> None:
        parser.takes(data)

    atheris.Setup([sys.argv[0], str(folder), *limits, "-print_final_stats=1"], one)
    atheris.Fuzz()


def main() -> int:
    """Explore one parser, or each in a process of its own."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--parser", choices=sorted(parsers()))
    given.add_argument("--seconds", type=int, default=60, help="for each")
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--corpus", type=Path, help="where inputs that reach new lines are kept")
    options = given.parse_args()
    with tempfile.TemporaryDirectory(prefix="skate-corpus-") as temporary:
        corpus = options.corpus or Path(temporary)
        if options.parser:
            _explore(options.parser, options.seconds, options.seed, corpus)
            return 0
        failed = []
        for name in sorted(parsers()):
            words = ["--parser", name, "--seconds", options.seconds, "--seed", options.seed, "--corpus", corpus]
            done = subprocess.run([sys.executable, "-m", "bench.fuzz_parsers", *map(str, words)])
            failed += [name] if done.returncode else []
    print(f"{len(parsers())} parsers, {len(failed)} raised what they may not: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
