"""Arguments of programs, as the kernel spreads them over EXECVE records."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.event import Event, Facts


def facts_of(*bodies: str) -> Facts:
    event = Event("audit(1700000000.000:1", None, "1700000000", "000", 1)
    event.types.append(types.SYSCALL)
    event.bodies.append('arch=c000003e syscall=59 success=yes exit=0 items=0 comm="a" exe="/bin/a" key=(null)')
    for body in bodies:
        event.types.append(types.EXECVE)
        event.bodies.append(body)
    return gather_facts(event)


def test_long_argument_in_pieces_over_records_is_joined() -> None:
    facts = facts_of('argc=3 a0="sh" a1_len=16 a1[0]=61616161', 'a1[1]=62206220 a2="x"')

    assert facts.arguments == ["sh", "aaaab b ", "x"]
    assert facts.reasons == []


def test_record_that_begins_with_the_length_of_an_argument_is_whole() -> None:
    facts = facts_of('argc=3 a0="sh" a1="y"', "a2_len=4 a2[0]=6161", "a2[1]=6262")

    assert facts.arguments == ["sh", "y", "aabb"]
    assert facts.reasons == []


def test_piece_that_begins_in_the_middle_of_a_character_is_decoded_after_joining() -> None:
    facts = facts_of("argc=1 a0_len=8 a0[0]=61C3", "a0[1]=A462")

    assert facts.arguments == ["aäb"]
    assert facts.undecodable == []


def test_huge_argument_number_does_not_make_us_fill_up_to_it() -> None:
    facts = facts_of('argc=999999999 a0="x" a4294967295="y" a999999998="z"')

    assert facts.arguments == ["x", "z"]
    assert sorted(facts.reasons) == ["argc_mismatch", "truncated_record"]
    assert "a4294967295 is no argument" in facts.warnings


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('argc=3 a0="true" a1="" a2="x"', ["true", "", "x"]),
        ('argc=5 a0="true" a1="a" a2="" a3="b" a4=""', ["true", "a", "", "b", ""]),
        ('argc=2 a0="" a1=""', ["", ""]),
        ('argc=4 a0="?" a1="(null)" a2=2222 a3="a=b"', ["?", "(null)", '""', "a=b"]),
        ("argc=0", []),
    ],
)
def test_empty_and_odd_arguments_are_arguments(body: str, arguments: list[str]) -> None:
    facts = facts_of(body)

    assert facts.arguments == arguments
    assert facts.reasons == []


def test_empty_arguments_that_an_old_kernel_left_out_between_others_are_put_back() -> None:
    facts = facts_of('argc=4 a0="true" a3="x"')

    assert facts.arguments == ["true", "", "", "x"]
    assert facts.reasons == []


def test_arguments_that_are_missing_at_the_end_are_said_to_be_missing() -> None:
    facts = facts_of('argc=4 a0="true" a1="x"')

    assert facts.arguments == ["true", "x"]
    assert facts.reasons == ["argc_mismatch"]
    assert facts.warnings == ["2 of 4 arguments are missing"]


@pytest.mark.parametrize(
    "bodies",
    [
        ["argc=1 a0_len=8 a0[0]=6161"],
        ["argc=1 a0_len=8 a0[0]=6161", "a0[2]=62"],
        ["argc=1 a0_len=8 a0[1]=6161"],
        ['argc=1 a0_len=8 a0[0]="abc"', 'a0[1]="de"'],
    ],
)
def test_argument_that_lacks_a_piece_is_said_to(bodies: list[str]) -> None:
    facts = facts_of(*bodies)

    assert facts.reasons == ["argv_truncated"]
    assert facts.warnings == ["argument 0 lacks some of its pieces"]


def test_pieces_that_are_quoted_or_out_of_order_are_joined() -> None:
    facts = facts_of('argc=1 a0_len=6 a0[1]="cd"', 'a0[0]="ab" a0[2]="ef"')

    assert facts.arguments == ["abcdef"]
    assert facts.reasons == []


def test_argument_that_comes_twice_counts_once_and_is_told() -> None:
    facts = facts_of('argc=2 a0="x" a1="y"', 'a1="z"', "a1[0]=61")

    assert facts.arguments == ["x", "y"]
    assert facts.reasons == ["truncated_record"]
    assert facts.warnings == ["argument 1 comes twice"]


def test_bytes_that_are_not_utf_8_are_kept_by_position() -> None:
    facts = facts_of("argc=3 a0=41FF a1_len=4 a1[0]=FF", "a1[1]=FE a2=42")

    assert facts.arguments == ["A\\xff", "\\xff\\xfe", "B"]
    assert facts.undecodable == [("args.0", b"A\xff"), ("args.1", b"\xff\xfe")]


def test_the_command_line_is_one_that_a_shell_splits_again() -> None:
    facts = facts_of('argc=4 a0="sh" a1="-c" a2=6563686F2022612062222027632720 a3=""')

    assert shlex.split(str(facts.data["cmdline"])) == facts.arguments


@given(arguments=st.lists(st.binary(max_size=20).filter(lambda raw: b"\0" not in raw), max_size=12), data=st.data())
def test_arguments_in_any_pieces_over_any_records_are_what_was_passed(
    arguments: list[bytes], data: st.DataObject
) -> None:
    fields = [f"argc={len(arguments)}"]
    for position, argument in enumerate(arguments):
        if data.draw(st.booleans()):
            fields.append(f"a{position}={argument.hex().upper()}" if argument else f'a{position}=""')
        else:
            cut = data.draw(st.integers(0, len(argument)))
            pieces = [argument[:cut], argument[cut:]]
            fields.append(f"a{position}_len={2 * len(argument)}")
            fields.extend(
                f"a{position}[{number}]={piece.hex().upper()}" if piece else f'a{position}[{number}]=""'
                for number, piece in enumerate(pieces)
            )
    cut = data.draw(st.integers(1, len(fields)))

    facts = facts_of(" ".join(fields[:cut]), *([" ".join(fields[cut:])] if fields[cut:] else []))

    exact = dict(facts.undecodable)
    assert [
        exact.get(f"args.{position}", text.encode()) for position, text in enumerate(facts.arguments or [])
    ] == arguments
    assert facts.reasons == []
