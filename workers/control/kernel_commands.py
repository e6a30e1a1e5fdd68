"""What `auditline rules list`, `load` and `delete` do."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from auditline.workers.common.errors import Exit, RuleError, StorageError
from auditline.workers.common.host import boot_id
from auditline.workers.common.settings import Settings
from auditline.workers.common.text import tell
from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import comparable
from auditline.workers.control.hurry import MANY_RULES, quick_deletions
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.load import Loaded, carry_out, deletions, plan_changes
from auditline.workers.control.messages import AUDIT_ADD_RULE
from auditline.workers.control.note import NOTE_FILE, KernelNote, calm_down, read_note, remove_note, write_note
from auditline.workers.control.once import carry_out_all, command_requests, status_requests
from auditline.workers.control.refusals import explain
from auditline.workers.control.rulesets import RuleSet, load_named_files, load_rule_files

LOADED_FILE = "loaded-rules.json"
"""In the state directory: what `rules load` loaded, in the form of the service's note."""


def list_command(settings: Settings, files: Sequence[str], out: TextIO) -> Exit:
    """Write the rules of *files*, or without any those of the configuration, as auditctl would list them.

    Raises:
        RuleError: what is wrong with them.
    """
    rule_set = _checked(load_named_files(files) if files else _configured(settings))
    out.writelines(f"{rule.text}\n" for rule in rule_set.rules)
    return Exit.OK


def list_kernel_command(out: TextIO) -> Exit:
    """Write the rules that the kernel has, in the order in which they match.

    Raises:
        KernelError: it does not tell.
    """
    with AuditControl() as control:
        out.writelines(f"{rule_text(rule)}\n" for rule in control.list_rules())
    return Exit.OK


def load_command(settings: Settings, files: Sequence[str], out: TextIO, *, deletes_others: bool) -> Exit:
    """Make the rules of *files* those that are loaded by this command, and do what else stands in them.

    Rules of others stay, unless the files or *deletes_others* say otherwise; those of the service stay in any case.

    Raises:
        RuleError: what is wrong with the files; then nothing is changed.
        KernelError, StorageError: the kernel, or the state directory, does not permit it.
    """
    rule_set = _checked(load_named_files(files))
    with AuditControl() as control:
        memory = _Memory(settings.state.directory)
        present = control.list_rules()
        spared = memory.rules_of_service
        plan = plan_changes(
            present,
            memory.note.rules,
            [rule.data for rule in rule_set.rules],
            removes=lambda rule: rule not in spared and (deletes_others or rule_set.removes(rule)),
        )
        memory.keep(plan.ours_meanwhile)
        loaded = carry_out(control, plan) if plan.changes else Loaded(plan.ours_after, {})
        memory.keep(loaded.ours)
        failures = [*_refusals(rule_set, loaded), *_skipped(rule_set)]
        failures += carry_out_all(control, [*command_requests(rule_set.commands), *status_requests(rule_set.status)])
        after = {comparable(rule) for rule in control.list_rules()}
    before = {comparable(rule) for rule in present}
    out.write(f"{len(after - before)} loaded, {len(before - after)} taken out, {len(before & after)} as they were\n")
    tell(*failures)
    return Exit.FAILURE if failures else Exit.OK


def delete_command(settings: Settings, files: Sequence[str], out: TextIO, *, deletes_all: bool) -> Exit:
    """Take out the rules of *files*, or without any those that `rules load` loaded; with *deletes_all* all of them.

    Raises:
        RuleError, KernelError, StorageError: as `load_command`.
    """
    rule_set = _checked(load_named_files(files))
    named = {comparable(rule.data) for rule in rule_set.rules}
    named |= {comparable(skipped.rule.data) for skipped in rule_set.skipped if skipped.rule is not None}
    with AuditControl() as control:
        memory = _Memory(settings.state.directory)
        wanted = named if files else set(memory.note.rules)
        present = dict.fromkeys(map(comparable, control.list_rules()))
        spared = memory.rules_of_service
        gone = [rule for rule in present if rule not in spared and (deletes_all or rule in wanted)]
        requests = deletions(gone)
        with memory.quick_deletions(len(requests)):
            codes = control.change(requests) if requests else []
        for request, code in zip(requests, codes, strict=True):
            if code < 0:
                raise control.refusal(request, -code)
        memory.keep([rule for rule in memory.note.rules if rule not in set(gone)])
    out.write(f"{len(gone)} taken out, {len(present) - len(gone)} as they were\n")
    return Exit.OK


class _Memory:
    """The state directory's notes of which loaded rules are whose."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOADED_FILE
        known = read_note(self._path)
        self.note = KernelNote(boot_id=boot_id(), supervisor_pid=0, fields={}) if known is None else calm_down(known)
        service = read_note(directory / NOTE_FILE)
        self.rules_of_service = frozenset(() if service is None else service.rules)
        """Loaded by the service of now, or by one that died: for the next one to take out."""

    def keep(self, rules: Sequence[bytes]) -> None:
        """Remember that *rules* are those of this command."""
        self.note = replace(self.note, rules=tuple(rules))
        if not rules:
            remove_note(self._path)
            return
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._path.parent} cannot be made: {error.strerror}") from error
        write_note(self._path, self.note)

    def quick_deletions(self, count: int) -> AbstractContextManager[None]:
        """Let *count* deletions be quick, if they are many."""
        if count < MANY_RULES:
            return nullcontext()
        return quick_deletions(lambda found: write_note(self._path, replace(self.note, rcu_expedited=found)))


def _configured(settings: Settings) -> RuleSet:
    audit = settings.audit
    return load_rule_files(audit.rules_files, audit.rules, Path("/"), ignores_errors=audit.ignore_rule_errors)


def _checked(rule_set: RuleSet) -> RuleSet:
    """Tell what is odd about the rules.

    Raises:
        RuleError: something is wrong with them.
    """
    if rule_set.problems:
        raise RuleError(rule_set.problems)
    tell(*(f"warning: {text}" for text in rule_set.warnings))
    tell(*(f"ignored: {text}" for text in rule_set.ignored))
    return rule_set


def _refusals(rule_set: RuleSet, loaded: Loaded) -> Iterator[str]:
    for rule in rule_set.rules:
        code = loaded.refused.get(comparable(rule.data))
        if code is not None:
            yield f"{rule.file}:{rule.line}: not loaded: {explain(AUDIT_ADD_RULE, code)}: {rule.text}"


def _skipped(rule_set: RuleSet) -> Iterator[str]:
    return (f"{rule.file}:{rule.line}: not loaded: {rule.reason}" for rule in rule_set.skipped)
