"""`auditline scan`: the present of some directories beside what was approved."""

import getpass
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from auditline.workers.common.beneath import Root
from auditline.workers.common.errors import BusyError, Exit, InputError
from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.host import host_id, host_name
from auditline.workers.common.own_files import find_own_files
from auditline.workers.common.progress import Progress
from auditline.workers.common.settings import Settings, WatchSettings
from auditline.workers.common.text import tell
from auditline.workers.common.watch_plan import WatchPlan, is_within, plan_watches
from auditline.workers.fim.approval import Approval, ApprovalWriter, apply, approval_path, last_approval
from auditline.workers.fim.baseline import BASELINES, Baseline
from auditline.workers.fim.compare import find_action
from auditline.workers.fim.reading import Reading, open_reading
from auditline.workers.fim.scope import Scope
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_event import FileRenderer
from auditline.workers.scan.comparing import Comparer, Finding, Place
from auditline.workers.scan.differences import Difference, find_difference
from auditline.workers.scan.looking import Lookers, usual_processes
from auditline.workers.scan.packages import find_packaged, is_as_packaged, link_targets
from auditline.workers.scan.profiles import Profiles, has_grown
from auditline.workers.scan.text_report import Summary, TextReport, show_path

_PATIENCE_SECONDS = 60.0
"""So long a running watcher may take to apply what was approved."""
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """What the command line wants."""

    directories: tuple[Path, ...] = ()
    """None: all that the configuration watches."""
    does_init: bool = False
    does_update: bool = False
    hashes: tuple[str, ...] = ()
    """None: those of the configuration."""
    processes: int | None = None
    is_packaged: bool = False
    """Only what packages have brought is approved."""
    is_json: bool = False
    is_deep: bool = False


@dataclass(frozen=True, slots=True)
class _Task:
    """One watch, and the part of it that is compared."""

    plan: WatchPlan
    scope: Scope
    profiles: Profiles
    top: bytes


def scan_command(settings: Settings, options: ScanOptions) -> Exit:
    """Compare, report, and approve if that is wanted.

    Raises:
        AuditlineError: something cannot be read or written; nothing is approved then.
    """
    if options.hashes:
        settings = replace(settings, fim=replace(settings.fim, hashes=options.hashes))
    scan = _Scan(settings, options)
    began = time.monotonic()
    for task in _plan(settings, options):
        scan.run(task)
    scan.report(time.monotonic() - began)
    if scan.has_failed:
        return Exit.FAILURE
    is_decided = options.does_init or options.does_update
    return Exit.DIFFERENCES if scan.found and not is_decided else Exit.OK


class _Scan:
    def __init__(self, settings: Settings, options: ScanOptions) -> None:
        self._settings = settings
        self._options = options
        self._baselines = settings.state.directory / BASELINES
        self._names = IdNames(Path("/etc/passwd"), Path("/etc/group"))
        self._renderer = FileRenderer(self._names)
        self._host = host_id(settings.state.directory), host_name()
        self._directories: list[str] = []
        self._approvals: list[str] = []
        self._paths = self._read_bytes = 0
        self.found: list[tuple[bytes, Difference]] = []
        self.has_failed = False

    def run(self, task: _Task) -> None:
        """Compare one watch."""
        options, baseline_path = self._options, self._baselines / f"{task.plan.name}.sqlite"
        waiting = approval_path(baseline_path)
        self._settle_waiting(task, waiting)
        with ExitStack() as opened:
            reading = opened.enter_context(open_reading(baseline_path))
            approval = reading.approval if reading is not None else None
            if not options.does_init and not self._may_compare(task, approval, last_approval(baseline_path)):
                self.has_failed = True
                return
            self._directories.append(show_path(task.scope.absolute(task.top)))
            self._approvals.append("nothing so far" if approval is None else approval.occasion)
            writer = None
            if options.does_init or options.does_update:
                self._baselines.mkdir(mode=0o750, parents=True, exist_ok=True)
                writer = ApprovalWriter(waiting)
                opened.callback(writer.cancel)
            counts = self._compare(task, None if options.does_init else reading, writer)
        if counts is not None and (options.does_init or counts.total()):
            self._settle_waiting(task, waiting)

    @staticmethod
    def _may_compare(task: _Task, approval: Approval | None, last: Approval | None) -> bool:
        """Say whether what the baseline says is approved is what was; tell why not."""
        shown = show_path(task.plan.path)
        if last is not None and (approval is None or approval.identity != last.identity):
            known = "nothing" if approval is None else approval.occasion
            tell(
                f"{shown}: approved last {last.occasion}, but the baseline knows of {known}: an older copy was"
                " put in its place, or it was made anew; see `auditline scan --init`"
            )
            return False
        if approval is None:
            tell(f"{shown}: nothing is approved yet: see `auditline scan --init`")
            return False
        return True

    def _compare(self, task: _Task, reading: Reading | None, writer: ApprovalWriter | None) -> "Counter[str] | None":
        fim, counts, first = self._settings.fim, Counter[str](), len(self.found)
        root = Root.open(task.scope.root)
        with closing(root), Progress(None, show_amount=lambda amount: f"{amount:.0f} paths") as progress:
            processes = self._options.processes or usual_processes()
            with Lookers(task.scope.root, root.identity, fim, processes) as lookers:
                place = Place(root, task.scope, fim, self._options.is_deep)
                comparer = Comparer(place, None if reading is None else reading.approved, lookers)
                for finding in comparer.run(task.top):
                    progress.advance(comparer.counts.paths)
                    self._take(task, root, finding, writer, counts)
        self._label(first, writer, counts)
        self._paths += comparer.counts.paths
        self._read_bytes += comparer.counts.read_bytes
        if writer is None or not (self._options.does_init or counts.total()):
            return None
        kind = "init" if self._options.does_init else "update"
        writer.finish(
            Approval(
                identity=f"scan-{secrets.token_hex(8)}",
                kind=kind,
                time_ns=time.time_ns(),
                who=_who(),
                counts=dict(counts),
            )
        )
        return counts

    def _take(
        self, task: _Task, root: Root, finding: Finding, writer: ApprovalWriter | None, counts: "Counter[str]"
    ) -> None:
        path, (_, before, after, problem) = task.scope.absolute(finding.path), finding
        profile = task.profiles.of(path)
        grown = profile.may_grow and has_grown(root, finding.path, before, after)
        difference = find_difference(finding, self._names, profile, has_grown=grown)
        if writer is not None and not problem and not self._options.is_packaged and (difference or before != after):
            writer.put(finding.path, after)
        if difference is None:
            return
        counts[difference.kind] += 1
        if self._options.does_init and not problem:
            return
        if self._options.is_json and not problem:
            self._print_event(path, finding)
        self.found.append((path, difference))

    def _label(self, first: int, writer: ApprovalWriter | None, counts: "Counter[str]") -> None:
        """Say of what was found from the number *first* on which package it is of; approve that, if only that is."""
        own = [(number, *self.found[number]) for number in range(first, len(self.found))]
        candidates = [(number, path, difference) for number, path, difference in own if difference.may_be_of_package]
        paths = [path for _, path, _ in candidates]
        packaged = find_packaged([*paths, *link_targets(paths)])
        for number, path, difference in candidates:
            owner = packaged.get(path)
            if owner is not None and is_as_packaged(path, owner, packaged):
                self.found[number] = path, difference._replace(package=owner.label)
        if self._options.is_packaged and writer is not None:
            counts.clear()
            for number, _, _ in own:
                difference = self.found[number][1]
                if difference.package:
                    counts[difference.kind] += 1
                    writer.put(difference.finding.path, difference.finding.after)

    def _print_event(self, path: bytes, finding: Finding) -> None:
        now_ns = time.time_ns()
        change = FileChange(
            action=find_action(finding.before, finding.after) or "attributes_modified",
            path=path, before=finding.before, after=finding.after, detected_by="scan", time_ns=now_ns,
        )  # fmt: skip
        _, line = self._renderer.render(change, *self._host, f"scan/{now_ns}")
        sys.stdout.write(f"{line}\n")

    def _settle_waiting(self, task: _Task, waiting: Path) -> None:
        """See that what was approved is applied: by us, or by the watcher that has the baseline."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while waiting.exists():
            try:
                with closing(Baseline.open(self._baselines, task.plan.name, task.plan.path)) as baseline:
                    for _ in apply(baseline, waiting):
                        pass
            except BusyError:
                if time.monotonic() > deadline:
                    raise BusyError(f"{waiting} waits to be applied by the watcher of the running service") from None
                time.sleep(_LOOK_SECONDS)

    def report(self, seconds: float) -> None:
        """Print what was found."""
        if self._options.is_json or not self._directories:
            return
        summary = Summary(
            directories=self._directories, approved="; ".join(dict.fromkeys(self._approvals)), paths=self._paths,
            read_bytes=self._read_bytes, seconds=seconds,
        )  # fmt: skip
        is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for line in TextReport(self._names, is_coloured=is_coloured).lines(summary, self.found):
            sys.stdout.write(f"{line}\n")


def _plan(settings: Settings, options: ScanOptions) -> Iterator[_Task]:
    own = find_own_files(settings)
    planned = plan_watches(settings.fim.watch).plans
    if not options.directories:
        for plan in planned:
            yield _Task(plan, Scope(plan, own), Profiles(plan), b"")
        return
    for directory in options.directories:
        path = os.path.realpath(os.fsencode(directory))
        if not os.path.lexists(path):
            raise InputError([f"{directory}: no such file or directory"])
        plan = _plan_of(path, planned)
        scope = Scope(plan, own)
        yield _Task(plan, scope, Profiles(plan), b"" if path == scope.root else scope.relative(path))


def _plan_of(path: bytes, planned: Sequence[WatchPlan]) -> WatchPlan:
    """Return the innermost watch that *path* lies in, or one of its own."""
    around = [plan for plan in planned if is_within(path, plan.path)]
    if around:
        return max(around, key=lambda plan: len(plan.path))
    return plan_watches([WatchSettings(path=Path(os.fsdecode(path)))]).plans[0]


def _who() -> dict[str, int | str]:
    who: dict[str, int | str] = {"uid": os.getuid(), "user": getpass.getuser()}
    try:
        login_uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return who
    # (uid_t)-1: nobody has logged in.
    return who if login_uid == 0xFFFFFFFF else who | {"login_uid": login_uid}
