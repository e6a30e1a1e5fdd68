"""Arguments of programs, as the kernel spreads them over EXECVE records."""

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
    facts = facts_of('argc=2 a0="x" a4294967295="y"')

    assert "argc_mismatch" in facts.reasons or facts.arguments == ["x", "y"]
    assert len(facts.arguments or []) <= 2
