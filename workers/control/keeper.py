"""Holds the kernel's audit state as configured, and the note by which all of it is undone."""

import errno
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from auditline.workers.common.drift_entry import Drift
from auditline.workers.common.errors import KernelError, StorageError
from auditline.workers.common.settings import Settings
from auditline.workers.common.settings_loading import reload_settings
from auditline.workers.control.actor_rules import LINES_NAME, actor_lines
from auditline.workers.control.compile import comparable, compile_rule, read_kernel_rule
from auditline.workers.control.drift import DriftWatch, RepairLimit, RuleDifference
from auditline.workers.control.kernel import LOCKED, AuditControl
from auditline.workers.control.language import parse_rules
from auditline.workers.control.load import carry_out, plan_changes
from auditline.workers.control.messages import AUDIT_ADD_RULE, KernelStatus
from auditline.workers.control.note import (
    NOTE_FILE,
    KernelNote,
    calm_down,
    note_of,
    read_note,
    remove_note,
    restore,
    write_note,
)
from auditline.workers.control.once import carry_out_all, command_requests, status_requests
from auditline.workers.control.paths import missing_path
from auditline.workers.control.poll import RuleListing
from auditline.workers.control.refusals import explain
from auditline.workers.control.reload import with_rules_of
from auditline.workers.control.rulesets import RuleSet, load_rule_files
from auditline.workers.control.status_fields import wanted_fields
from auditline.workers.control.watch import RuleWatch

DEFAULT_RULES_BASE = Path("/etc/auditline")
"""What relative patterns are relative to when there is no configuration file."""

_log = logging.getLogger(__name__)


class KernelKeeper:
    """Changes the kernel's audit state; the note is written before each change.

    A note that a dead predecessor left is taken over together with what it loaded: nothing is unaudited meanwhile, and
    what is put back in the end is what was found before the first of us came.
    """

    def __init__(self, control: AuditControl, settings: Settings, supervisor_pid: int) -> None:
        """Read the note and the status; nothing is changed.

        Raises:
            KernelError: the kernel does not answer, or is locked, and not to be used as it is.
            StorageError: a damaged note cannot be set aside.
        """
        self._control = control
        self._settings = settings
        self._supervisor_pid = supervisor_pid
        self._own_rule = own_processes_rule(supervisor_pid)
        self._note_path = settings.state.directory / NOTE_FILE
        self._rule_set: RuleSet | None = None
        self._told: set[str] = set()
        self._rule_watch = RuleWatch()
        self._changed_at = 0.0
        self._drift = DriftWatch()
        self._repairs = RepairLimit()
        self.refused_count = 0
        """Wanted rules that the kernel did not take at the last load."""
        self.found_status = status = control.status()
        self._is_locked = status.enabled == LOCKED
        """The kernel takes no change before the next boot; not so for a lock that somebody else sets later."""
        if self._is_locked and not settings.audit.immutable:
            raise KernelError("change the audit configuration", errno.EPERM, explain(0, errno.EPERM, is_locked=True))
        known = _read_or_set_aside(self._note_path)
        self._written = known
        self._note = note_of(status, supervisor_pid)
        if known is not None:
            self._note = replace(calm_down(known), supervisor_pid=supervisor_pid)

    @property
    def loaded_count(self) -> int:
        """How many loaded rules are ours, that for our own processes included."""
        return len(self._note.rules)

    @property
    def is_drifting(self) -> bool:
        """Whether the rules or the status were not as they should be when they were compared last."""
        return self._drift.is_drifting

    @property
    def skipped_count(self) -> int:
        """How many wanted rules this host cannot load now."""
        return len(self._rule_set.skipped) if self._rule_set else 0

    def exclude_own_processes(self) -> None:
        """Load the rule that keeps the supervisor's children from being audited, before they start.

        Raises:
            KernelError: the kernel refused.
            StorageError: the note cannot be written; then nothing was changed.
        """
        if self._is_locked:
            return
        rule = comparable(self._own_rule)
        if rule not in map(comparable, self._control.list_rules()):
            self._write(replace(self._note, rules=tuple(dict.fromkeys((rule, *self._note.rules)))))
            self._control.add_rule(self._own_rule)
        self._changed_at = time.monotonic()

    def set_fields(self) -> None:
        """Set the status fields that the configuration wants otherwise than they are.

        Raises:
            KernelError, StorageError: as `exclude_own_processes`.
        """
        if not self._is_locked:
            fields = wanted_fields(self._settings.audit, self._control.status())
            if fields:
                self._write(self._note)
                self._control.set_status(**fields)
        self._expect_status()

    def read_settings(self) -> None:
        """Take the rules that the configuration file names now.

        Raises:
            SettingsError: there is a mistake in it; the settings stay as they were.
        """
        self._settings = with_rules_of(self._settings, reload_settings(self._settings))

    def load_rules(self) -> None:
        """Read the rules files and make our rules theirs; with a mistake in a file nothing is changed, and it is told.

        Raises:
            KernelError, StorageError: as `exclude_own_processes`.
        """
        self._load(does_commands=True)

    def _load(self, *, does_commands: bool) -> None:
        rule_set = self._read_rules()
        if rule_set.problems:
            self._tell(
                logging.ERROR, "the audit rules are left as they are, because of mistakes in what they come from"
            )
            return
        if self._is_locked:
            self._tell_locked(rule_set)
        else:
            self._apply(rule_set)
            self._obey(rule_set, does_commands=does_commands)
        self._rule_set = rule_set
        self._expect_rules()

    def _read_rules(self) -> RuleSet:
        base = self._settings.source.parent if self._settings.source else DEFAULT_RULES_BASE
        audit = self._settings.audit
        # Last: the first rule that matches gives an event its key, and the configured ones have theirs for a reason.
        last_lines = {LINES_NAME: actor_lines(self._settings.fim)}
        rule_set = load_rule_files(
            audit.rules_files,
            audit.rules,
            base,
            ignores_errors=audit.ignore_rule_errors,
            last_lines=last_lines,
        )
        for text in (*rule_set.warnings, *(skipped.message for skipped in rule_set.skipped)):
            self._tell(logging.WARNING, text)
        for problem in (*rule_set.problems, *rule_set.ignored):
            self._tell(logging.ERROR, problem)
        return rule_set

    def load_what_appeared(self) -> None:
        """Read the rules files again if something that a skipped rule waits for is there now.

        Raises:
            KernelError, StorageError: as `exclude_own_processes`.
        """
        skipped = self._rule_set.skipped if self._rule_set else ()
        if any(rule.path is not None and rule.path.exists() for rule in skipped):
            self._load(does_commands=False)

    def compare(self, listing: RuleListing, report: Callable[[Drift], None]) -> None:
        """Tell and *report* what is not as it should be, unless the listing is older than our last change.

        Raises:
            KernelError, StorageError: as `exclude_own_processes`.
        """
        if self._rule_set is None or listing.asked_at < self._changed_at:
            return
        texts = {comparable(rule.data): rule.text for rule in self._rule_set.rules}
        ours = {rule: texts.get(rule, "that for our own processes") for rule in self._note.rules}
        self._rule_watch.take(listing.rules, ours)
        difference = self._drift.compare_rules(listing.rules)
        if difference is not None:
            repaired = self._may_repair() and self._repair_rules(difference, self._rule_set)
            report(self._drift.describe_rules(difference, repaired=repaired))
            if repaired:
                self._expect_rules()
            elif difference.missing and all(missing_path(read_kernel_rule(rule)) for rule in difference.missing):
                # The kernel took them out itself, with the directory that they are about: as if it had not been there.
                self._load(does_commands=False)
        if listing.status is not None:
            self._compare_status(listing.status, report)

    def _compare_status(self, status: KernelStatus, report: Callable[[Drift], None]) -> None:
        # Another living daemon may want it so.
        is_ours = status.pid in (0, self._supervisor_pid)
        for name, wanted in self._drift.compare_status(status).items():
            repaired = is_ours and name != "pid" and self._may_repair() and self._repair_field(name, wanted)
            report(self._drift.describe_field(name, wanted, getattr(status, name), repaired=repaired))

    def _may_repair(self) -> bool:
        if not self._settings.audit.repair_rules or self._is_locked:
            return False
        if self._repairs.permits(time.monotonic()):
            return True
        self._tell(logging.ERROR, "somebody changes the kernel's audit again and again: it is repaired no more for now")
        return False

    def _repair_rules(self, difference: RuleDifference, rule_set: RuleSet) -> bool:
        """Load what is missing, and take out what silences; return whether all is well then."""
        try:
            for rule in difference.silencing:
                self._control.delete_rule(rule)
            self._apply(rule_set)
            listed = Counter(map(comparable, self._control.list_rules()))
        except (KernelError, StorageError) as error:
            self._tell(logging.ERROR, f"the audit rules cannot be repaired: {error}")
            return False
        return not difference.moved and not (Counter(difference.missing) - listed)

    def _repair_field(self, name: str, wanted: int) -> bool:
        self._changed_at = time.monotonic()
        try:
            self._control.set_status(**{name: wanted})
        except KernelError as error:
            self._tell(logging.ERROR, f"the kernel's audit status cannot be repaired: {error}")
            return False
        return True

    def _expect_rules(self) -> None:
        self._changed_at = time.monotonic()
        self._drift.expect_rules(list(map(comparable, self._control.list_rules())))

    def _expect_status(self) -> None:
        self._changed_at = time.monotonic()
        self._drift.expect_status(self._control.status(), self._supervisor_pid)

    def undo(self, *, living_supervisor_pid: int | None, see: Callable[[KernelStatus], None]) -> None:
        """Put the kernel back as it was found; what cannot be put back is told, the status before goes to *see*.

        Raises:
            KernelError: the kernel did not answer.
            StorageError: the note cannot be read or removed.
        """
        if self._is_locked:
            see(self._control.status())
            _log.info("the audit configuration stays locked until the next boot, with the rules that are loaded")
            return
        problems = restore(
            self._note_path, self._control, living_supervisor_pid=living_supervisor_pid, known=self._written, see=see
        )
        for problem in problems:
            _log.error("%s", problem)

    def tell_again(self) -> None:
        """Forget what was told once."""
        self._told.clear()

    def _apply(self, rule_set: RuleSet) -> None:
        # Prepended last, so that it stays before the files' own prepended ones.
        wanted = [*(rule.data for rule in rule_set.rules), self._own_rule]
        present = self._control.list_rules()
        plan = plan_changes(present, self._note.rules, wanted, removes=rule_set.removes)
        if not plan.changes:
            self.refused_count = 0
            return
        removed = tuple(dict.fromkeys((*self._note.removed_rules, *plan.foreign_removed)))
        found = tuple(dict.fromkeys((*self._note.found_rules, *plan.foreign_found)))
        self._write(replace(self._note, rules=plan.ours_meanwhile, removed_rules=removed, found_rules=found))
        loaded = carry_out(self._control, plan)
        self._changed_at = time.monotonic()
        self._write(replace(self._note, rules=loaded.ours))
        self.refused_count = len(loaded.refused)
        self._tell_refused(rule_set, loaded.refused)
        _log.info("%d audit rules of ours are loaded", len(loaded.ours))

    def _obey(self, rule_set: RuleSet, *, does_commands: bool) -> None:
        """Do what the files want beside rules; what the kernel refuses is told."""
        status = dict(rule_set.status)
        enabled = status.pop("enabled", 1)
        if not enabled:
            self._tell(logging.WARNING, "-e 0 in a rules file is not followed: auditing is on while auditline runs")
        found = self._control.status() if status else self.found_status
        status = {name: value for name, value in status.items() if getattr(found, name) != value}
        if status:
            self._write(self._note)
        commands = rule_set.commands if does_commands else ()
        requests = [*status_requests(status), *command_requests(commands)]
        for problem in carry_out_all(self._control, requests):
            self._tell(logging.ERROR, problem)
        if enabled == LOCKED or self._settings.audit.immutable:
            self._lock()
        if requests or self._is_locked:
            self._expect_status()

    def _lock(self) -> None:
        """Lock the kernel's audit, and forget what could be put back: nothing can, before the next boot."""
        self._control.set_status(enabled=LOCKED)
        self._is_locked = True
        remove_note(self._note_path)
        _log.warning("the audit configuration is locked now: only the next boot unlocks it")

    def _tell_locked(self, rule_set: RuleSet) -> None:
        listed = set(map(comparable, self._control.list_rules()))
        lacking = [rule for rule in rule_set.rules if comparable(rule.data) not in listed]
        if lacking:
            text = f"{len(lacking)} of {len(rule_set.rules)} configured rules are not loaded, since audit is locked"
            self._tell(logging.WARNING, f"{text}; they are loaded after the next boot: {lacking[0].text}")

    def _tell_refused(self, rule_set: RuleSet, refused: Mapping[bytes, int]) -> None:
        for rule in rule_set.rules:
            code = refused.get(comparable(rule.data))
            if code is not None:
                level = logging.WARNING if rule.is_shipped else logging.ERROR
                reason = explain(AUDIT_ADD_RULE, code)
                self._tell(level, f"{rule.file}:{rule.line}: not loaded: {reason}: {rule.text}")

    def _write(self, note: KernelNote) -> None:
        if note != self._written:
            write_note(self._note_path, note)
        self._note = self._written = note

    def _tell(self, level: int, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _log.log(level, "%s", text)


def own_processes_rule(supervisor_pid: int) -> bytes:
    """Return the compiled rule that keeps the children of *supervisor_pid* from being audited.

    The registered supervisor itself is exempt, its children are not: each write of an event would make another one.
    """
    (rule,) = parse_rules(f"-A never,exit -F ppid={supervisor_pid}", "own processes").rules
    return compile_rule(rule)


def _read_or_set_aside(path: Path) -> KernelNote | None:
    try:
        return read_note(path)
    except StorageError as error:
        aside = path.with_suffix(".damaged")
        _log.error("%s; it goes to %s, and the kernel is taken as it is now", error, aside)
        try:
            path.replace(aside)
        except OSError as failure:
            raise StorageError(f"{path} cannot be renamed: {failure.strerror}") from failure
        return None
