"""Makes our rules in the kernel the wanted ones, by a difference and without a moment in which less is audited.

The first rule of a list that matches decides, so a rule that is new in the middle must be put there, and the kernel
can only append and prepend. Those that have to come behind it are therefore taken out and appended again; while they
are out (a deletion takes a grace period of the kernel, 12 ms measured) stand-ins do their work: the same rules with one
more condition that always holds, since the kernel refuses a second copy.
"""

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from auditline.workers.control.compile import comparable
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.messages import AUDIT_ADD_RULE, Request, add_rule, delete_rule
from auditline.workers.control.order import is_prepended, is_silencing, order_matters, stand_in

Positions = Mapping[bytes, int]
"""Where a loaded rule of ours stands in the kernel's listing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, in this order, and which rules are ours meanwhile; rules in the form of `comparable`."""

    changes: tuple[Request, ...]
    ours_meanwhile: tuple[bytes, ...]
    """What a note must hold while the plan is carried out: ours after it, ours before it, and all stand-ins."""
    ours_after: tuple[bytes, ...]
    """Ours when nothing is refused, in the order of the lists."""
    foreign_removed: tuple[bytes, ...]
    foreign_found: tuple[bytes, ...]
    """All rules of others, as listed; none where none is removed."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a plan; rules in the form of `comparable`."""

    ours: tuple[bytes, ...]
    refused: Mapping[bytes, int]
    """Which wanted rules the kernel did not take, with its errno."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Our wanted rules at one side of a list, in the order in which they shall match."""

    rules: tuple[bytes, ...]
    kept: AbstractSet[bytes]
    """Those that are loaded and stand where they should."""
    moved: tuple[bytes, ...]
    """Those that are loaded and do not."""

    @property
    def added(self) -> tuple[bytes, ...]:
        return tuple(rule for rule in self.rules if rule not in self.kept)


def plan_changes(
    present: Sequence[bytes],
    ours: Sequence[bytes],
    wanted: Sequence[bytes],
    *,
    removes: Callable[[bytes], bool] = lambda _rule: False,
) -> Plan:
    """Return how to get from the *present* rules, of which *ours* are our own, to the *wanted* ones.

    *present* is the kernel's listing, *ours* in the form of `comparable`, *wanted* as compiled and in the order of
    their files. A wanted rule that somebody else has loaded is left where it is, and stays theirs. *removes* tells
    which of the others' rules, in the form of `comparable`, are to go.
    """
    loaded = [comparable(rule) for rule in present]
    known = set(ours)
    foreign = [rule for rule in loaded if rule not in known]
    positions = {rule: index for index, rule in reversed(list(enumerate(loaded))) if rule in known}
    front, back = _sides(wanted, set(foreign), positions)
    compiled = {comparable(rule): rule for rule in wanted}
    after = (*front.rules, *back.rules)
    removed = [rule for rule in foreign if rule not in compiled and removes(rule)]
    gone = [*(rule for rule in loaded if rule in known and rule not in compiled), *removed]
    front_stand_ins = _stand_ins(tuple(reversed(front.added)), front.moved)
    back_stand_ins = _stand_ins(back.added, back.moved)
    return Plan(
        changes=(
            *(add_rule(rule, is_prepended=True) for rule in front_stand_ins),
            *(add_rule(rule, is_prepended=False) for rule in back_stand_ins),
            *deletions([*front.moved, *back.moved, *filter(is_silencing, gone)]),
            *(add_rule(compiled[rule], is_prepended=True) for rule in reversed(front.added)),
            *(add_rule(compiled[rule], is_prepended=False) for rule in back.added),
            *deletions([*front_stand_ins, *back_stand_ins]),
            *deletions(rule for rule in gone if not is_silencing(rule)),
        ),
        ours_meanwhile=tuple(dict.fromkeys((*after, *ours, *front_stand_ins, *back_stand_ins))),
        ours_after=after,
        foreign_removed=tuple(removed),
        foreign_found=tuple(foreign) if removed else (),
    )


def carry_out(control: AuditControl, plan: Plan) -> Loaded:
    """Send the plan's changes and return what the kernel made of them.

    Raises:
        KernelError: it permits no change, or did not answer.
    """
    codes = control.change(plan.changes)
    for request, code in zip(plan.changes, codes, strict=True):
        if code == -errno.EPERM:
            raise control.refusal(request, -code)
    refused: dict[bytes, int] = {}
    stuck: list[bytes] = []
    for request, code in zip(plan.changes, codes, strict=True):
        rule = comparable(request.payload)
        if request.kind == AUDIT_ADD_RULE and code < 0:
            refused[rule] = -code
        elif code < 0 and code != -errno.ENOENT:
            stuck.append(rule)
    ours = dict.fromkeys([*(rule for rule in plan.ours_after if rule not in refused), *stuck])
    wanted = set(plan.ours_after)
    # One that is there already was loaded by somebody else since the listing: it does its work, and is theirs.
    told = {rule: code for rule, code in refused.items() if rule in wanted and code != errno.EEXIST}
    return Loaded(tuple(ours), told)


def _sides(wanted: Sequence[bytes], foreign: AbstractSet[bytes], positions: Positions) -> tuple[_Side, _Side]:
    """Return our rules before and after those of others; of equal ones that which would decide in the kernel."""
    own = [(comparable(rule), is_prepended(rule)) for rule in wanted]
    own = [(rule, is_first) for rule, is_first in own if rule not in foreign]
    # The last one that is prepended comes first.
    front = tuple(dict.fromkeys(rule for rule, is_first in reversed(own) if is_first))
    back = tuple(dict.fromkeys(rule for rule, is_first in own if not is_first and rule not in front))
    kept_back = _kept_back(back, positions)
    kept_front = _kept_front(front, [rule for rule in back if rule in kept_back], positions)
    return _side(front, kept_front, positions), _side(back, kept_back, positions)


def _side(rules: tuple[bytes, ...], kept: AbstractSet[bytes], positions: Positions) -> _Side:
    return _Side(rules, kept, tuple(rule for rule in rules if rule in positions and rule not in kept))


def _kept_back(rules: Sequence[bytes], positions: Positions) -> set[bytes]:
    """Return those loaded rules that nothing has to be put before which is not before them."""
    kept: set[bytes] = set()
    for index, rule in enumerate(rules):
        if rule in positions and all(
            before in kept and positions[before] < positions[rule]
            for before in rules[:index]
            if order_matters(before, rule)
        ):
            kept.add(rule)
    return kept


def _kept_front(rules: Sequence[bytes], kept_back: Sequence[bytes], positions: Positions) -> set[bytes]:
    """Return those loaded rules that nothing has to be put behind which is not behind them."""
    kept: set[bytes] = set()
    standing = set(kept_back)
    for index, rule in reversed(list(enumerate(rules))):
        if rule in positions and all(
            after in standing and positions[rule] < positions[after]
            for after in (*rules[index + 1 :], *kept_back)
            if order_matters(rule, after)
        ):
            kept.add(rule)
            standing.add(rule)
    return kept


def _stand_ins(added: Sequence[bytes], moved: Sequence[bytes]) -> list[bytes]:
    """Return copies of all *added* rules, in the order of sending, up to the last that is moved.

    The new ones among them need one as well: what stands in for a `never` must not come before an `always` that
    precedes it.
    """
    last = max((index for index, rule in enumerate(added) if rule in moved), default=-1)
    copies = [stand_in(rule) for rule in added[: last + 1]]
    return [comparable(copy) for copy in copies if copy is not None]


def deletions(rules: Iterable[bytes]) -> list[Request]:
    """Return the requests that take *rules* out; those that silence first, lest they silence more on the way."""
    return [delete_rule(rule) for rule in sorted(rules, key=lambda rule: not is_silencing(rule))]
