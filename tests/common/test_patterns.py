import re
import time
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.patterns import PathFilter, check_pattern, compile_pattern


def matches(pattern: str, path: str | bytes) -> bool:
    as_bytes = path.encode() if isinstance(path, str) else path
    return PathFilter(include=[pattern]).takes(as_bytes)


def matches_by_definition(glob: str, path: str) -> bool:
    """What a glob means, said as simply as possible and slowly: without sets and backslashes."""

    @lru_cache(None)
    def fits(at: int, position: int) -> bool:
        rest = glob[at:]
        if not rest:
            return position == len(path)
        if rest.startswith("**/") and (at == 0 or glob[at - 1] == "/"):
            starts = [position, *(i + 1 for i in range(position, len(path)) if path[i] == "/")]
            return any(fits(at + 3, start) for start in starts)
        if rest.startswith("**"):
            return any(fits(at + 2, start) for start in range(position, len(path) + 1))
        if rest[0] == "*":
            return fits(at + 1, position) or (position < len(path) and path[position] != "/" and fits(at, position + 1))
        if position == len(path):
            return False
        return (path[position] != "/" if rest[0] == "?" else path[position] == rest[0]) and fits(at + 1, position + 1)

    return fits(0, 0)


def test_without_patterns_every_path_is_taken():
    assert PathFilter().takes(b"/etc/passwd")
    assert not PathFilter().excludes(b"/etc/passwd")


def test_a_regular_expression_is_searched_anywhere_in_the_path():
    assert matches("pass", "/etc/passwd")
    assert matches("^/etc/", "/etc/passwd")
    assert not matches("^pass", "/etc/passwd")


def test_exclude_wins_over_include():
    chosen = PathFilter(include=[r"\.conf$"], exclude=["/ssl/"])

    assert chosen.takes(b"/etc/a.conf")
    assert not chosen.takes(b"/etc/ssl/a.conf")
    assert not chosen.takes(b"/etc/a.txt")


def test_include_does_not_exclude_directories():
    chosen = PathFilter(include=[r"\.conf$"])

    assert not chosen.takes(b"/etc/ssl")
    assert not chosen.excludes(b"/etc/ssl")


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/etc/*", "/etc/passwd"),
        ("/etc/*.conf", "/etc/.conf"),
        ("/etc/?.conf", "/etc/a.conf"),
        ("/etc/?.conf", "/etc/é.conf"),
        ("/etc/**", "/etc/a"),
        ("/etc/**", "/etc/a/b/c"),
        ("/etc/**/c", "/etc/c"),
        ("/etc/**/c", "/etc/a/b/c"),
        ("**/c", "/c"),
        ("**/c", "/a/b/c"),
        ("**/a/**/b/**", "/x/a/y/b/z"),
        ("**.swp", "/etc/.a.swp"),
        ("/etc/a**b", "/etc/ax/yb"),
        ("/etc/[a-c]", "/etc/b"),
        ("/etc/[!a-c]", "/etc/d"),
        ("/etc/[^a-c]", "/etc/d"),
        ("/etc/[äö]", "/etc/ö"),
        ("/etc/[]x]", "/etc/]"),
        ("/etc/[a-]", "/etc/-"),
        (r"/etc/[\]a]", "/etc/]"),
        (r"/etc/\*", "/etc/*"),
        (r"/etc/\[a]", "/etc/[a]"),
        ("/etc/a.b", "/etc/a.b"),
        ("/etc/*", "/etc/with\nnew line"),
        ("/etc/?", b"/etc/\xff"),
        ("/etc/*", b"/etc/\xc3\xff\n\x1b"),
        ("/", "/"),
    ],
)
def test_a_glob_matches(glob, path):
    assert check_pattern(f"glob:{glob}") is None
    assert matches(f"glob:{glob}", path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/etc/*", "/etc/a/b"),
        ("/etc/*", "/etc"),
        ("/etc/**", "/etc"),
        ("/etc/**", "/etcfoo/a"),
        ("/etc/*.conf", "/etc/a.conf\n"),
        ("/etc/a.b", "/etc/axb"),
        ("/etc/?", "/etc/ab"),
        ("/etc?passwd", "/etc/passwd"),
        ("/etc[/]passwd", "/etc/passwd"),
        ("/etc[!a]passwd", "/etc/passwd"),
        ("/etc[+-9]passwd", "/etc/passwd"),
        ("/etc/[a-c]", "/etc/d"),
        ("/etc/**/c", "/etc/a/bc"),
        ("/etc/x", "/etc/X"),
    ],
)
def test_a_glob_does_not_match(glob, path):
    assert check_pattern(f"glob:{glob}") is None
    assert not matches(f"glob:{glob}", path)


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "?", "**", "**/", "/**/", "/a", "\n"]), max_size=12).map("".join),
    st.text("aab/\n", max_size=14),
)
def test_a_glob_matches_what_its_definition_says(glob, path):
    glob = "/" + re.sub(r"/+", "/", glob.replace("***", "**")).strip("/")
    path = "/" + path
    if check_pattern(f"glob:{glob}") is None:
        assert matches(f"glob:{glob}", path) == matches_by_definition(re.sub(r"\*\*+", "**", glob), path)


@pytest.mark.parametrize(
    "glob",
    [
        "/**/*a*a*a*a*a*a*a*a*a*a*b",
        "/**/a/**/a/**/a/**/a/**/a/**/a/**/b",
        "**a**a**a**a**a**a**a**a**a**b",
        "/**/?*?*?*?*?*?*?*?*?*?*?*?*b",
    ],
)
@pytest.mark.parametrize("name", ["a" * 255, "a/" * 127 + "a"])
def test_no_name_makes_a_glob_slow(glob, name):
    search = compile_pattern(f"glob:{glob}").search
    path = "/" + "/".join([name] * 16)

    start = time.process_time()
    assert not search(path)

    # A glob that is tried in all ways takes longer than the age of the universe.
    assert time.process_time() - start < 5


def test_the_dot_of_a_regular_expression_matches_a_new_line_too():
    assert matches("^/etc/.*/secret$", "/etc/a\nb/secret")


def test_case_can_be_ignored_beyond_ascii():
    assert matches("(?i)/ÄTC/", "/ätc/x")


def test_bytes_that_are_no_utf8_can_be_matched_and_told_apart():
    assert matches("^/etc/.$", b"/etc/\xff")
    assert matches("\udcff", b"/etc/\xff")
    assert not matches("ÿ", b"/etc/\xff")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "is no regular expression: missing ), unterminated subpattern at position 0"),
        ("a{4294967296}", "is no regular expression"),
        ("", "must not be empty"),
        ("glob:", "matches no absolute path"),
        ("glob:*.swp", "matches no absolute path; for all directories write glob:**/*.swp"),
        ("glob:etc/passwd", "write glob:**/etc/passwd"),
        ("glob:/etc/", "none ends with a slash; for all that is beneath write glob:/etc/**"),
        ("glob:/etc//a", "matches no path"),
        ("glob:/etc/../a", "matches no path"),
        ("glob:/etc/[a", r"has a [ without ]; for the character itself write \["),
        ("glob:/etc/[]", "has a [ without ]"),
        ("glob:/etc/[!]", "has a [ without ]"),
        ("glob:/etc/[b-a]", "has a set with a range that is empty: b-a"),
        ("glob:/etc/{a,b}", r"has a {, but knows no alternatives"),
        ("glob:/etc/a\\", "ends with a backslash"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(pattern, problem):
    assert problem in str(check_pattern(pattern))


@given(st.text(max_size=40))
def test_any_text_is_a_pattern_or_is_refused(text):
    for pattern in (text, f"glob:{text}", f"glob:/{text}"):
        if check_pattern(pattern) is None:
            PathFilter(exclude=[pattern]).takes(b"/etc/passwd")


@given(st.text("[]!^-\\ab/&|~*?", max_size=16))
def test_any_set_is_a_glob_or_is_refused(text):
    pattern = f"glob:/{text}"
    if check_pattern(pattern) is None:
        PathFilter(exclude=[pattern]).takes(b"/ab]-")


def test_patterns_give_no_warning_on_stderr(recwarn):
    check_pattern("[[a]")

    assert not recwarn.list
