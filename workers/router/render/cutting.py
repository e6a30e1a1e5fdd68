"""Cuts the records of a plain system call event into the parts that the fast renderers put together again.

A SYSCALL is cut where its variability changes (call and result; arguments and pids; ids, terminal, program and key),
a PATH into number, name, inode and the rest. What is made of the parts that repeat is remembered. Whatever is not of
the common shape, or not plainly well-formed, is left to the plain way.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from auditline.workers.router.compiling import COMPILED, Compiled
from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import HIDING_CALLS
from auditline.workers.router.decode.fields import GROUP_SEPARATOR, split_enrichment
from auditline.workers.router.decode.socket_address import byte_order
from auditline.workers.router.event import Event, Facts, Meaning, Names
from auditline.workers.router.naming.engine import file_kind, find_meaning, is_usual, system_call_row
from auditline.workers.router.render.called import Called
from auditline.workers.router.render.memo import TRIAL_USES, Memo
from auditline.workers.router.render.pieces import (
    Address,
    Command,
    Program,
    Terminal,
    facts_of,
    is_plain,
    make_address,
    make_command,
    make_directory,
    make_item,
    make_path_name,
    make_program,
    make_terminal,
    make_title,
    path_fields,
)

_PATH, _CWD, _PROCTITLE = types.PATH, types.CWD, types.PROCTITLE
_EXECVE, _SOCKADDR, _SYSCALL = types.EXECVE, types.SOCKADDR, types.SYSCALL

_HEAD = re.compile(r"arch=[0-9a-f]{1,8} syscall=[0-9]+(?: success=(?:yes|no)(?: exit=-?[0-9]+)?)?").fullmatch
_REGISTERS = re.compile(
    r"([0-9a-f]{1,16}) a1=([0-9a-f]{1,16}) a2=([0-9a-f]{1,16}) a3=([0-9a-f]{1,16})"
    r" items=([0-9]+) ppid=([0-9]{1,9}) pid=([0-9]{1,9})"
).fullmatch
_IDS = re.compile(
    r"[0-9]+ uid=[0-9]+ gid=[0-9]+ euid=[0-9]+ suid=[0-9]+ fsuid=[0-9]+ egid=[0-9]+ sgid=[0-9]+ fsgid=[0-9]+"
).fullmatch
_PARENT_RANK, _NO_RANK = 2, 3
_EMPTY = '""'
_NO_PLACES: Mapping[str, str] = {}


@dataclass(slots=True)
class Head:
    """What arch, syscall, success and, where it is no plain number, exit give."""

    what: str | None
    on_path: bool
    """The thing is what a PATH says."""
    on_socket: bool
    thing_is_exit: bool
    """The thing's name is what the call returned: a new process."""
    hides_items: bool
    is_little_endian: bool
    called: Called
    made: Any
    """What the schema made of it."""


@dataclass(slots=True)
class PathTail:
    """What a PATH has behind its inode."""

    kind: str | None
    """What kind of file it is, by its mode."""
    name_type: str | None
    rank: int
    """0: what was acted on, 1: only looked for, 2: a parent directory."""
    json: str
    """The members of the schema's `paths`, from a comma to the closing brace."""
    made: Any
    """What else the schema made of it."""


Path = tuple[int, str, str, str, bool, PathTail]
"""One PATH: rank, JSON, JSON of the name, inode (both empty where there is none), whether the name is relative, tail.

A plain tuple, as `Parts` is: one with names takes ten times as long to make.
"""


class Schema(Protocol):
    """Makes of the parts what it needs of them; None: leave it to the plain way."""

    def make_head(self, facts: Facts, meaning: Meaning) -> Any:
        """Make something of what stands before the arguments."""

    def make_call(self, head: Head, exit_text: str) -> Any:
        """Put a head together with an exit that is a plain number, or empty where the head has it."""

    def make_ids(self, facts: Facts, meaning: Meaning) -> Any:
        """Make something of the ids, and of the names that auditd added."""

    def make_terminal(self, terminal: Terminal) -> Any:
        """Make something of the session and the terminal."""

    def make_program(self, program: Program) -> Any:
        """Make something of the program, its labels and the keys."""

    def make_frame(self, call: Any, ids: Any, terminal: Any, program: Any) -> Any:
        """Put these together, as far as they stand side by side in a line."""

    def make_path_tail(self, path: Mapping[str, str], names: Names) -> tuple[str, Any]:
        """Return the members of `paths`, with a comma before each, and something more."""


Parts = tuple[
    Head,
    Any,
    tuple[str, ...],
    str,
    str,
    Command | None,
    Address | None,
    list[Path],
    Path | None,
    Mapping[str, str],
    str,
]
"""An event, cut; the JSON of what is not there is empty:

head; what the schema made of it and of what stands behind the pids; a0, a1, a2, a3, items, ppid and pid; JSON of the
directory and of the title; command; address; paths; the one of them that was acted on; the JSON of `path`, `old_path`,
`new_path` and `target`, where they are in `auditline.decoded`; the object `auditline`.
"""


class Cutter:
    """Cuts events for one schema, and remembers what that makes of the parts."""

    def __init__(self, schema: Schema, compiled: Compiled | None = COMPILED) -> None:
        """*compiled* does what it can, and leaves the rest to its twins here; None: all is done here."""
        self._schema = schema
        self._heads = Memo(self._make_head)
        self._ids = Memo(self._make_ids)
        self._terminals = Memo(self._make_terminal)
        self._programs = Memo(self._make_program)
        self._path_tails = Memo(self._make_path_tail)
        self._items = Memo(make_item)
        self._commands = Memo(make_command)
        self._addresses = Memo(make_address)
        # These are larger parts, made of the former; where they never repeat it is better not to remember them.
        self._calls = Memo(self._make_call)
        self._tails = Memo(self._make_tail)
        self._frames = Memo(self._make_frame)
        self._paths = Memo(self._make_path)
        self._directories = Memo(make_directory)
        self._titles = Memo(make_title)
        self._cut_compiled: Callable[[list[int], list[str]], Any] | None = None
        if compiled is not None:
            self._use(compiled)
        self._on_trial = (self._frames, self._calls, self._tails, self._paths, self._directories, self._titles)
        self._until_trial = TRIAL_USES

    def _use(self, compiled: Compiled) -> None:
        """Let *compiled* do what it can; where it cannot, it asks its twin, the last of its tools."""
        tail_tools = (self._ids, self._terminals, self._programs, self._make_tail)
        self._tails = Memo(partial(compiled.make_tail, tail_tools))
        self._frames = Memo(partial(compiled.make_frame, (self._calls, self._tails, self._schema.make_frame)))
        self._paths = Memo(partial(compiled.make_path, (self._items, self._path_tails, self._make_path)))
        self._directories = Memo(partial(compiled.make_directory, (make_directory,)))
        self._titles = Memo(partial(compiled.make_title, (make_title,)))
        memos = (self._frames, self._paths, self._directories, self._titles, self._commands, self._addresses)
        self._cut_compiled = partial(compiled.cut, (*memos, add_rest))

    def forget_names(self) -> None:
        """Names of ids have changed: what was made with the old ones must go."""
        for memo in (self._ids, self._tails, self._frames, self._path_tails, self._paths):
            memo.clear()

    def cut(self, event: Event) -> Parts | None:
        """Return the parts of an event; None if it is not whole, or not of the common shape: a SYSCALL comes first."""
        if event.types[0] != _SYSCALL or event.amends or event.reasons:
            return None
        self._until_trial -= 1
        if not self._until_trial:
            self._reconsider()
        if self._cut_compiled is not None:
            parts: Parts | None = self._cut_compiled(event.types, event.bodies)
            if parts is not NotImplemented:
                return parts
        return self._cut(event.types, event.bodies)

    # Longer than other functions, because every call costs a tenth of the time that the whole of it takes.
    def _cut(self, kinds: list[int], bodies: list[str]) -> Parts | None:  # noqa: C901, PLR0911, PLR0912
        """Return the parts of a whole event."""
        head_text, _, rest = bodies[0].partition(" a0=")
        registers_text, _, tail_text = rest.partition(" auid=")
        found = self._frames.find((head_text, tail_text))
        match = _REGISTERS(registers_text)
        if found is None or match is None:
            return None
        head, frame = found
        directory = title = title_parts = undecodable = ""
        command = address = acted = None
        rank = _NO_RANK
        has_call = False
        paths: list[Path] = []
        find_path = self._paths.find
        for kind, body in zip(kinds, bodies, strict=True):
            if kind == _PATH:
                if (path := find_path(body)) is None:
                    return None
                paths.append(path)
                if path[0] < rank:
                    acted, rank = path, path[0]
            elif kind == _CWD:
                # Twice, or behind the title: nothing that a kernel does.
                if directory or title or (directory := self._directories.find(body)) is None:  # type: ignore[assignment]
                    return None
            elif kind == _PROCTITLE:
                if title or (made := self._titles.find(body)) is None:
                    return None
                title, title_parts, undecodable = made
            elif kind == _EXECVE:
                if command or (command := self._commands[body]) is None:
                    return None
            elif kind == _SOCKADDR:
                if address or not head.is_little_endian or (address := self._addresses[body]) is None:
                    return None
            elif kind == _SYSCALL and not has_call:
                has_call = True
            else:
                return None
        registers = match.groups()
        if registers[4] != str(len(paths)) and not (head.hides_items and len(paths) < 2):
            return None
        called = head.called
        decoded = called.arguments(registers)
        places = _NO_PLACES
        if title_parts or command or (acted is not None and (acted[4] or called.names_both)):
            places, decoded = add_rest(called, registers, directory, paths, acted, command, decoded, title_parts)
        if decoded:
            decoded = f',"decoded":{{{decoded[1:]}}}'
        ours = f'{{"complete":true{decoded}{undecodable}}}'
        return head, frame, registers, directory, title, command, address, paths, acted, places, ours

    def _reconsider(self) -> None:
        self._until_trial = TRIAL_USES
        for memo in self._on_trial:
            memo.reconsider(TRIAL_USES)
        for head in self._heads.values():
            if head is not None:
                head.called.reconsider()

    def _make_head(self, text: str) -> Head | None:
        if _HEAD(text) is None:
            return None
        facts = facts_of(types.SYSCALL, text)
        call = facts.value("syscall") or ""
        if not is_usual(call):
            return None
        meaning = find_meaning(facts)
        on_path = meaning.what in ("file", "filesystem")
        if on_path and system_call_row(call).primary:
            return None
        return Head(
            what=meaning.what,
            on_path=on_path,
            on_socket=meaning.what == "socket" and meaning.primary is None,
            thing_is_exit=system_call_row(call).primary == ("exit",),
            hides_items=call in HIDING_CALLS,
            is_little_endian=byte_order(facts.value("arch")) == "little",
            called=Called(facts.value("arch") or "", call),
            made=self._schema.make_head(facts, meaning),
        )

    def _make_frame(self, texts: tuple[str, str]) -> tuple[Head, Any] | None:
        head_text, tail_text = texts
        call = self._calls.find(head_text)
        tail = self._tails.find(tail_text)
        return None if call is None or tail is None else (call[0], self._schema.make_frame(call[1], *tail))

    def _make_call(self, text: str) -> tuple[Head, Any] | None:
        call_text, _, exit_text = text.partition(" exit=")
        if not (exit_text.isdecimal() and exit_text.isascii()):
            call_text, exit_text = text, ""
        head = self._heads[call_text]
        return None if head is None else (head, self._schema.make_call(head, exit_text))

    def _make_tail(self, text: str) -> tuple[Any, Any, Any] | None:
        ids_text, _, context_text = text.partition(" tty=")
        terminal_text, _, program_text = context_text.partition(" comm=")
        if GROUP_SEPARATOR in ids_text:
            # A record ends at the first one.
            return None
        if GROUP_SEPARATOR in program_text:
            program_text, _, names_text = program_text.partition(GROUP_SEPARATOR)
            ids_text = f"{ids_text}{GROUP_SEPARATOR}{names_text}"
        ids = self._ids[ids_text]
        terminal = self._terminals[terminal_text]
        program = self._programs[program_text]
        if ids is None or terminal is None or program is None:
            return None
        return ids, terminal, program

    def _make_ids(self, text: str) -> Any:
        ids, _ = split_enrichment(text)
        if _IDS(ids) is None:
            return None
        facts = facts_of(types.SYSCALL, f"auid={text}")
        return self._schema.make_ids(facts, find_meaning(facts))

    def _make_terminal(self, text: str) -> Any:
        terminal = make_terminal(text)
        return None if terminal is None else self._schema.make_terminal(terminal)

    def _make_program(self, text: str) -> Any:
        program = make_program(text)
        return None if program is None else self._schema.make_program(program)

    def _make_path(self, body: str) -> Path | None:
        parts = body.split(" ", 2)
        if len(parts) < len(("item", "name", "rest")):
            return None
        item_text, name_text, tail_text = parts
        inode_member = inode = ""
        if tail_text[:6] == "inode=":
            inode, _, tail_text = tail_text[6:].partition(" ")
            if not inode.isdecimal():
                return None
            inode_member = f',"inode":"{inode}"'
        item = self._items[item_text]
        tail = self._path_tails[tail_text]
        if item is None or tail is None or name_text[:5] != "name=":
            return None
        name = name_text[5:]
        # A quoted name is its own JSON, if nothing in it needs an escape or a second look.
        if name == _EMPTY or not (
            name.count('"') == 2 and name[0] == '"' == name[-1] and is_plain(name) and "=" not in name
        ):
            made = make_path_name(name)
            if made is None or made == _EMPTY:
                return None
            name = made
        name_member = f',"name":{name}' if name else ""
        is_relative = name[1:2] not in ("", "/")
        return tail.rank, f"{{{item}{name_member}{inode_member}{tail.json}", name, inode, is_relative, tail

    def _make_path_tail(self, text: str) -> PathTail | None:
        found = path_fields(text)
        if found is None:
            return None
        path, names = found
        name_type = path.get("nametype", path.get("objtype"))
        json, made = self._schema.make_path_tail(path, names)
        return PathTail(
            kind=file_kind(path.get("mode", "")),
            name_type=name_type,
            rank={"PARENT": _PARENT_RANK, "UNKNOWN": 1}.get(name_type or "", 0),
            json=f"{json}}}",
            made=made,
        )


def add_rest(  # one parameter for each part: a call costs less than an object
    called: Called,
    registers: tuple[str, ...],
    directory: str,
    paths: list[Path],
    acted: Path | None,
    command: Command | None,
    decoded: str,
    title_parts: str,
) -> tuple[Mapping[str, str], str]:
    """Return whole paths, and *decoded*, the arguments, with all that seldom stands beside them."""
    places = _NO_PLACES
    if acted is not None and (acted[4] or called.names_both):
        places = called.places(registers, directory, items_of(paths), (acted[5].name_type, acted[2]))
        for name, place in places.items():
            decoded += f',"{name}":{place}'
    decoded += title_parts
    if command and command.arguments:
        decoded = f',"args":{command.arguments}{decoded}'
    return places, decoded


def items_of(paths: list[Path]) -> list[tuple[str | None, str]]:
    """Return what `Called` wants to know of the PATH records."""
    return [(tail.name_type, name) for _, _, name, _, _, tail in paths]
