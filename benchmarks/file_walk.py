"""What walking a watched directory costs: at first every file is found, hashed with sha256, and kept; then compared.

    python -m benchmarks.file_walk [--files N] [--rounds N] [--in DIRECTORY] [--tree DIRECTORY]

CPU seconds of all processes of a real `auditline run` (no kernel events, one watch) from its start to its end, told to
stop when it says that the first walk is done, beside
* `find … -print0 | xargs -0 sha256sum`: hashing alone, nothing is kept;
* `aide --init` (Debian's, unpacked into a temporary directory): the nearest peer, which keeps what it found, too.
The restart is that of a service that knows the directory, in which nothing has changed, beside its own first walk and
`find -ls`. With --tree it is an existing directory, such as /usr, that is walked.
What the service costs to start and stop with an empty directory is measured, too; less that, it is the walk alone.
The page cache is warm. The rounds are interleaved; the median counts.
"""

import argparse
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from benchmarks.running import cpu_of, file_settings, make_files, measured_children, service, unpack

SIZES = (1024, 65536)
AIDE_PACKAGES = (
    "aide",
    "libacl1",
    "libaudit1",
    "libcap-ng0",
    "libcap2",
    "libext2fs2",
    "libmhash2",
    "libpcre2-8-0",
    "libselinux1",
    "zlib1g",
)
# The attributes that we keep, too.
AIDE_SETTINGS = """\
database_out=file:{scratch}/aide.db
gzip_dbout=no
report_url=file:/dev/null
{root} ftype+l+p+u+g+s+i+n+m+c+sha256
"""

START, WHOLE, RESTART, LIST = "start and stop alone", "auditline", "auditline restarted", "find -ls"
SUMS, AIDE = "sha256sum", "aide --init"


class Walks:
    """Our side: services that walk once, each with a new state directory."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0
        self.by_process: Counter[str] = Counter()
        """CPU seconds of each process up to the end of its walk, summed over the walks of the tree."""

    def measure(self, root: Path, *, keeps_processes: bool) -> float:
        """Return the CPU seconds of one service that walks *root* and is stopped then."""
        self._count += 1
        directory = self._scratch / f"service-{self._count}"
        with measured_children() as used, service(directory, file_settings(root)) as running:
            running.wait_for_first_walks(1)
            if keeps_processes:
                self.by_process.update(running.cpu_seconds())
        return used()

    def measure_restart(self, root: Path) -> float:
        """Return the CPU seconds of one service that knows *root* already."""
        directory = self._scratch / "restarted"
        settings = file_settings(root)
        if not directory.exists():
            with service(directory, settings) as running:
                running.wait_for_first_walks(1)
        with measured_children() as used, service(directory, settings) as running:
            running.wait_for(lambda event: event["audit"].get("coverage", {}).get("reason") == "restart")
        return used()


def aide_command(scratch: Path, root: Path, environment: Mapping[str, str]) -> Callable[[], float]:
    """Return what runs Debian's AIDE once over *root* and gives its CPU seconds."""
    settings = scratch / "aide.conf"
    settings.write_text(AIDE_SETTINGS.format(scratch=scratch, root=root))
    return lambda: cpu_of(["aide", "--init", "--config", str(settings)], environment)


def measure(scratch: Path, tree: Path | None, files: int, rounds: int) -> None:
    """Make the files, or take those of *tree*, let each side walk them in turn, and print what it cost."""
    root, empty = tree or scratch / "tree", scratch / "empty"
    empty.mkdir()
    if tree is None:
        print(f"{files} files, {make_files(root, files, SIZES) / 1e6:.0f} MB, sha256")
    else:
        print(f"{tree}, sha256")
    walks = Walks(scratch)
    sums = f"find {shlex.quote(str(root))} -xdev -type f -print0 | xargs -0 sha256sum"
    ways: dict[str, Callable[[], float]] = {
        START: lambda: walks.measure(empty, keeps_processes=False),
        WHOLE: lambda: walks.measure(root, keeps_processes=True),
        RESTART: lambda: walks.measure_restart(root),
        LIST: lambda: cpu_of(["find", str(root), "-xdev", "-ls"]),
        SUMS: lambda: cpu_of(["sh", "-c", sums]),
    }
    if (environment := unpack(AIDE_PACKAGES, scratch / "debian")) is None:
        print("aide is left out: its packages cannot be had here")
    else:
        ways[AIDE] = aide_command(scratch, root, environment)
    figures: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            figures[way].append(run())
    report(figures, {title: seconds / rounds for title, seconds in walks.by_process.items()})


def report(figures: dict[str, list[float]], by_process: dict[str, float]) -> None:
    """Print a line per way, the ratios to each peer and of the restart, and what each process of ours used."""
    for way, seconds in figures.items():
        print(f"{way:20} {median(seconds):6.2f} CPU s  ({' '.join(f'{second:.2f}' for second in seconds)})")
    ours, start = median(figures[WHOLE]), median(figures[START])
    for peer in (way for way in (SUMS, AIDE) if way in figures):
        theirs = median(figures[peer])
        walk = (ours - start) / theirs
        print(f"ratio to {peer}: {ours / theirs:.2f}; of the walk alone {walk:.2f}")
    again = median(figures[RESTART])
    walked, compared = ours - start, again - start
    print(f"ratio of a restart to the first walk: {again / ours:.2f}; of both alone {compared / walked:.2f}")
    print(f"ratio of a restart alone to find -ls: {compared / median(figures[LIST]):.2f}")
    for title, used in by_process.items():
        print(f"    {title:32} {used:6.2f} CPU s up to the end of the walk")


def main() -> None:
    """Measure in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in", dest="parent", help="where to make the files; default: the usual temporary directory")
    parser.add_argument("--tree", type=Path, help="a directory that exists, in place of new files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="file-walk-", dir=options.parent) as scratch:
        measure(Path(scratch), options.tree, options.files, options.rounds)


if __name__ == "__main__":
    main()
