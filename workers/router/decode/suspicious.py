"""Texts that may deceive their reader: what does not show, what turns lines around, what looks like a field."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from auditline.workers.router.decode.fields import GROUP_SEPARATOR
from auditline.workers.router.event import Facts

MAX_MARKED = 32
"""So many places of one event are marked; a thousand arguments that are all alike need no thousand marks."""

CONTROL_CHARACTER = "control_character"
BIDI_OVERRIDE = "bidi_override"
ZERO_WIDTH = "zero_width"
FIELD_LOOKALIKE = "field_lookalike"
GROUP_SEPARATOR_INSIDE = "group_separator"
FORGED_ENRICHMENT = "forged_enrichment"

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_COMMAND_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_TYPED_CONTROLS = re.compile("[\x80-\x9f\u2028\u2029]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

_BETWEEN_PICTURES = "\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
"""Emoji have a variation selector or a tone of skin behind a picture."""
_JOINERS = re.compile("[\u200c\u200d]")
_VIRAMA = 9
"""The combining class of a sign that takes the vowel from a letter of India's scripts."""
_ARABIC = frozenset({"AL", "NSM"})
"""The directions of letters and of the marks on them."""

_ANY_FIELD = (
    "a[0-3]|acct|addr|apparmor|arch|argc|auid|cmd|comm|cwd|dev|egid|euid|exe|exit|fsgid|fsuid|gid|hostname|id|ino|inode"
    "|item|items|key|mode|msg|name|nametype|node|obj|ogid|old-auid|op|ouid|permissive|pid|ppid|proctitle|profile|rdev|res"
    "|result|saddr|scontext|seresult|ses|sgid|sig|subj|success|suid|syscall|tclass|tcontext|terminal|tty|type|uid|unit"
)
_LOOKALIKE = re.compile(rf"[\s'\"\x00-\x1f](?:{_ANY_FIELD})=[^\s]")
_RECORD = re.compile(r"\btype=\S{1,64}\s{1,8}msg=|\bmsg=audit\(|\baudit\([0-9]{1,20}\.[0-9]{3}:[0-9]{1,20}\)")
_RESULT = re.compile(r"[\s'\"\x00-\x1f]res=(?:success|failed)(?![\w.-])")
_ANY_NAME = re.compile(rf"[\s'\"\x00-\x1f]({_ANY_FIELD})=(?=[^\s])")
_OF_RECORDS_ONLY = frozenset(
    {
        "acct", "auid", "comm", "egid", "euid", "exe", "fsgid", "fsuid", "nametype", "proctitle", "saddr", "scontext",
        "ses", "sgid", "subj", "success", "suid", "syscall", "tcontext", "terminal",
    }
)  # fmt: skip
"""Names that hardly anything but an audit record gives to something."""
_ADDED = re.compile(f"{GROUP_SEPARATOR} {{0,8}}[A-Z0-9_-]{{1,64}}=")

_COMMAND_FIELDS = frozenset({"cmd", "cmdline", "data", "info", "msg", "proctitle"})
"""Whole lines of text, in which `name=value` is daily business."""
_TYPED_FIELDS = frozenset({"data"})
"""What somebody typed: Enter and Backspace are control characters."""


def is_harmless(text: str) -> bool:
    """True for a printable text of ASCII without `=`: there is nothing to look for."""
    return text.isascii() and text.isprintable() and "=" not in text


def is_suspicious(text: str, *, is_command: bool = False) -> bool:
    """Return whether find_reasons() has any."""
    return not is_harmless(text) and next(_reasons(text, is_command=is_command), None) is not None


def find_reasons(text: str, *, is_command: bool = False, is_typed: bool = False) -> list[str]:
    """Return what about *text* may deceive its reader; empty for nearly all texts.

    - `control_character`: C0, DEL and C1 (U+0000-001F, 007F-009F), and the line and paragraph separators U+2028, 2029.
      In a command (*is_command*) line feed and tab do not count: whole scripts are arguments. If *is_typed*, C0 and DEL
      do not count: they are the keys that end and correct a line.
    - `bidi_override`: what turns the order of the text around it: U+202A-202E, 2066-2069, and the marks U+061C, 200E,
      200F (Unicode's property Bidi_Control; Unicode Technical Report 36, section 2.5).
    - `zero_width`: other characters that show nothing (Unicode's Default_Ignorable_Code_Point, without those above and
      the variation selectors U+FE00-FE0F, which belong to emoji): soft hyphen, ZERO WIDTH SPACE, WORD JOINER, Hangul
      fillers, Khmer inherent vowels, the byte order mark, tags, and the interlinear annotation U+FFF9-FFFB. The joiners
      U+200C and 200D where writing has no need of them (RFC 5892, A.1 and A.2): they belong behind a virama, U+200C
      between letters of Arabic script, U+200D between pictures.
    - `field_lookalike`: after white space or a quote the name of a well-known field and `=` with a value, so that
      somebody who searches records for `acct=root` finds it; or what looks like the beginning of a record. A text that
      begins with it is not marked (`uid=1000` is an argument of mount). In commands and free text, where
      `name=value` is ordinary (`dd if=…`, `make CC=gcc`, `mount -o uid=1000`, `?uid=1`), only the beginning of a record
      counts, `res=` with a result, and two different fields of which one hardly occurs elsewhere (`auid`, `acct` …).
    - `group_separator`: U+001D, which in auditd's logs parts a record from the names that auditd added.
    - `forged_enrichment`: it is followed by such a name, as in `UID="root"`.
    """
    return [] if is_harmless(text) else list(_reasons(text, is_command=is_command, is_typed=is_typed))


def find_suspicious(facts: Facts) -> list[dict[str, Any]]:
    """Return the places of an event whose text somebody else than the kernel chose, and the reasons to doubt it."""
    if is_harmless("".join(_all_texts(facts))):
        return []
    marked: dict[str, list[str]] = {}
    for place, text, is_command, is_typed in _texts(facts):
        if is_harmless(text):
            continue
        for reason in _reasons(text, is_command=is_command, is_typed=is_typed):
            known = marked.setdefault(place, [])
            if reason not in known:
                known.append(reason)
        if len(marked) == MAX_MARKED:
            break
    return [{"field": place, "reasons": reasons} for place, reasons in marked.items()]


def title_parts(text: str, exact: bytes | None) -> list[str]:
    """Return the parts of a title: the arguments of its program, if nobody has overwritten them."""
    if exact is None:
        return text.split(" ")
    return [part.decode("utf-8", "backslashreplace") for part in exact.rstrip(b"\0").split(b"\0")]


def _reasons(text: str, *, is_command: bool, is_typed: bool = False) -> Iterator[str]:
    controls = _TYPED_CONTROLS if is_typed else _COMMAND_CONTROLS if is_command else _CONTROLS
    if controls.search(text) is not None:
        yield CONTROL_CHARACTER
    if not text.isascii():
        if _BIDI.search(text) is not None:
            yield BIDI_OVERRIDE
        if _INVISIBLE.search(text) is not None or _has_stray_joiner(text):
            yield ZERO_WIDTH
    if "=" in text and (_is_record(text) or (_tells_who(text) if is_command else _LOOKALIKE.search(text) is not None)):
        yield FIELD_LOOKALIKE
    if GROUP_SEPARATOR in text:
        yield GROUP_SEPARATOR_INSIDE
        if _ADDED.search(text) is not None:
            yield FORGED_ENRICHMENT


def _has_stray_joiner(text: str) -> bool:
    places = (match.start() for match in _JOINERS.finditer(text))
    return any(not _is_at_home(text[place], text[place - 1 : place], text[place + 1 : place + 2]) for place in places)


def _is_at_home(joiner: str, before: str, behind: str) -> bool:
    """True for a joiner that changes how the characters around it look, as writing wants it."""
    if not before or not behind:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if joiner == "\u200c":
        return unicodedata.bidirectional(behind) == "AL" and unicodedata.bidirectional(before) in _ARABIC
    return unicodedata.category(behind) == "So" and (
        unicodedata.category(before) == "So" or before in _BETWEEN_PICTURES
    )


def _is_record(text: str) -> bool:
    return _RECORD.search(text) is not None


def _tells_who(text: str) -> bool:
    names = set(_ANY_NAME.findall(text))
    return (len(names) > 1 and not names.isdisjoint(_OF_RECORDS_ONLY)) or _RESULT.search(text) is not None


def _all_texts(facts: Facts) -> Iterator[str]:
    """Yield the texts without their places, which takes a fraction of the time: nearly all are harmless."""
    for value in facts.data.values():
        if isinstance(value, str):
            yield value
        else:
            yield from value
    for path in facts.paths:
        yield from path.values()
    yield from facts.arguments or ()
    yield from facts.keys
    yield from facts.socket.values()


def _texts(facts: Facts) -> Iterator[tuple[str, str, bool, bool]]:
    """Yield place, text, and whether it is a command or was typed."""
    yield from _data_texts(facts)
    for position, path in enumerate(facts.paths):
        for key, text in path.items():
            yield f"paths.{position}.{key}", text, False, False
    for position, text in enumerate(facts.arguments or ()):
        yield f"args.{position}", text, True, False
    for position, text in enumerate(facts.keys):
        yield ("key" if len(facts.keys) == 1 else f"key.{position}"), text, False, False
    for key, text in facts.socket.items():
        yield f"socket.{key}", text, False, False


def _data_texts(facts: Facts) -> Iterator[tuple[str, str, bool, bool]]:
    # Of a title the parts are looked at, and of a command line the arguments, where it is made of them.
    elsewhere = ("proctitle", "cmdline") if facts.arguments is not None else ("proctitle",)
    for key, value in facts.data.items():
        if key not in elsewhere or isinstance(value, list):
            for place, text in _of_field(f"data.{key}", value):
                # In a denial the path of an abstract socket begins with NUL.
                yield (
                    place,
                    text.removeprefix("\0") if key == "path" else text,
                    key in _COMMAND_FIELDS,
                    key in _TYPED_FIELDS,
                )
    title = facts.data.get("proctitle")
    if isinstance(title, str):
        for part in title_parts(title, facts.exact.get("data.proctitle")):
            yield "data.proctitle", part, True, False


def _of_field(place: str, value: str | list[str]) -> Iterable[tuple[str, str]]:
    if isinstance(value, str):
        return [(place, value)]
    return [(f"{place}.{position}", text) for position, text in enumerate(value)]
