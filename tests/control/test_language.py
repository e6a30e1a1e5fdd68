import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.control.language import parse_lines, parse_rules
from auditline.workers.control.rule import Action, Field, Rule, RuleList

EQUAL, NOT_EQUAL, AT_LEAST = 0x40000000, 0x30000000, 0x60000000
UNSET = 0xFFFFFFFF
ARCH, PATH, PERM, DIR = 11, 105, 106, 107
X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028


def one_rule(line: str, machine: str = "x86_64") -> Rule:
    found = parse_rules(line, "a.rules", machine)
    assert found.problems == ()
    [rule] = found.rules
    return rule


def only_field(condition: str, rule_list: str = "exit") -> Field:
    [field] = one_rule(f"-a always,{rule_list} -F {condition}").fields
    return field


def test_a_rule_remembers_its_list_action_syscalls_fields_keys_and_place() -> None:
    rule = one_rule("\n\n-a always,exit -F arch=b64 -S open,close -F exit=-EACCES -k one -k two")

    assert (rule.rule_list, rule.action, rule.is_prepended) == (RuleList.EXIT, Action.ALWAYS, False)
    assert rule.syscalls == frozenset({2, 3})
    assert rule.fields == (Field(ARCH, EQUAL, X86_64), Field(103, EQUAL, 0xFFFFFFF3))
    assert rule.keys == ("one", "two")
    assert (rule.file, rule.line) == ("a.rules", 3)
    assert rule.text == "-a always,exit -F arch=b64 -S open,close -F exit=-EACCES -k one -k two"


@pytest.mark.parametrize("both", ["never,user", "user,never"])
def test_list_and_action_stand_in_either_order(both: str) -> None:
    rule = one_rule(f"-a {both}")

    assert (rule.rule_list, rule.action) == (RuleList.USER, Action.NEVER)


def test_capital_a_puts_the_rule_first() -> None:
    assert one_rule("-A always,exit -S open").is_prepended


@pytest.mark.parametrize(
    ("condition", "number", "value"),
    [
        ("pid=7", 0, 7),
        ("uid=0x10", 1, 16),
        ("uid=010", 1, 8),
        ("uid=-2", 1, 0xFFFFFFFE),
        ("uid=root", 1, 0),
        ("auid=unset", 9, UNSET),
        ("auid=-1", 9, UNSET),
        ("auid=4294967295", 9, UNSET),
        ("loginuid=5", 9, 5),
        ("gid=root", 5, 0),
        ("exit=EACCES", 103, 13),
        ("exit=-eperm", 103, 0xFFFFFFFF),
        ("exit=-13", 103, 0xFFFFFFF3),
        ("success=0", 104, 0),
        ("perm=wa", 106, 10),
        ("perm=XR", 106, 5),
        ("a0=-1", 200, UNSET),
        ("a3=0x7f", 203, 127),
        ("sessionid=unset", 25, UNSET),
        ("filetype=dir", 108, 0o40000),
        ("saddr_fam=10", 113, 10),
        ("ppid=1", 18, 1),
        ("arch=i686", 11, I386),
        ("arch=c000003e", 11, X86_64),
        ("ARCH=X86_64", 11, X86_64),
    ],
)
def test_a_value_becomes_the_kernels_number(condition: str, number: int, value: int) -> None:
    assert only_field(condition) == Field(number, EQUAL, value)


@pytest.mark.parametrize(
    ("condition", "value"),
    [("msgtype=CWD", 1307), ("msgtype=cwd", 1307), ("msgtype=1305", 1305), ("msgtype=UNKNOWN[1999]", 1999)],
)
def test_a_record_type_is_a_name_or_a_number(condition: str, value: int) -> None:
    assert only_field(condition, "exclude") == Field(12, EQUAL, value)


def test_a_file_system_is_a_name_or_a_number() -> None:
    assert only_field("fstype=tracefs", "filesystem").value == 0x74726163
    assert only_field("fstype=0x858458f6", "filesystem").value == 0x858458F6


@pytest.mark.parametrize(
    ("symbol", "operator"),
    [
        ("=", 0x40), ("!=", 0x30), ("<", 0x10), (">", 0x20), ("<=", 0x50), (">=", 0x60), ("&", 0x08), ("&=", 0x48),
    ],
)  # fmt: skip
def test_an_operator_becomes_the_kernels_flag(symbol: str, operator: int) -> None:
    assert only_field(f"a0{symbol}3") == Field(200, operator << 24, 3)


def test_an_operator_in_a_value_belongs_to_the_value() -> None:
    assert only_field("exe=/opt/a>=b").string == b"/opt/a>=b"
    assert one_rule("-a always,exit -S open -F key=a!=b").keys == ("a!=b",)


@pytest.mark.parametrize("pair", ["uid!=euid", "euid!=uid"])
def test_a_comparison_has_the_same_number_in_either_order(pair: str) -> None:
    [field] = one_rule(f"-a always,exit -C {pair}").fields

    assert field == Field(111, NOT_EQUAL, 11)


@pytest.mark.parametrize(
    ("machine", "side", "word", "number"),
    [
        ("x86_64", "b64", X86_64, 257),
        ("x86_64", "b32", I386, 295),
        ("aarch64", "b64", AARCH64, 56),
        ("aarch64", "b32", ARM, 322),
    ],
)
def test_the_machine_decides_the_architecture_and_its_numbers(machine: str, side: str, word: int, number: int) -> None:
    rule = one_rule(f"-a always,exit -F arch={side} -S openat", machine)

    assert rule.fields == (Field(ARCH, EQUAL, word),)
    assert rule.syscalls == frozenset({number})


def test_system_calls_without_an_architecture_are_the_machines_own_and_warned_about() -> None:
    found = parse_rules("-a always,exit -S open\n-a always,exit -S all", "a.rules", "x86_64")

    assert found.rules[0].syscalls == frozenset({2})
    assert found.warnings == (
        "a.rules:1: -S without -F arch= before it: 32-bit programs have other calls under these numbers",
    )


def test_system_calls_that_the_machine_lacks_are_left_out_on_demand_while_one_remains() -> None:
    text = "-a always,exit -F arch=b64 -S open,openat\n-a always,exit -F arch=b64 -S open,creat"

    found = parse_rules(text, "a.rules", "aarch64", leaves_out_unknown_calls=True)

    assert [rule.syscalls for rule in found.rules] == [frozenset({56})]
    assert found.problems == ("a.rules:2: 'open' is no system call of aarch64",)


def test_all_system_calls_are_meant_when_none_or_all_is_named() -> None:
    assert one_rule("-a always,exit -F uid=0").syscalls is None
    assert one_rule("-a always,exit -F arch=b64 -S open,all").syscalls is None
    assert one_rule("-a never,task").syscalls == frozenset()


def test_system_calls_are_given_by_number_too() -> None:
    assert one_rule("-a always,exit -F arch=b64 -S 0x10,017 -S 2031").syscalls == frozenset({16, 15, 2031})


def test_options_and_their_values_may_be_one_word() -> None:
    assert one_rule("-aalways,exit -Farch=b64 -Sopen -kx").keys == ("x",)


def test_a_watch_of_a_directory_is_one_of_all_that_is_in_it(tmp_path: Path) -> None:
    rule = one_rule(f"-w {tmp_path}//")

    assert rule.fields == (Field(DIR, EQUAL, string=os.fsencode(tmp_path)), Field(PERM, EQUAL, 15))


def test_a_watch_of_a_file_or_of_nothing_is_one_of_that_path(tmp_path: Path) -> None:
    rule = one_rule(f"-w {tmp_path}/not-there -p wa -k x")

    assert rule.fields == (Field(PATH, EQUAL, string=os.fsencode(tmp_path / "not-there")), Field(PERM, EQUAL, 10))
    assert rule.syscalls is None


def test_a_watch_takes_further_conditions() -> None:
    rule = one_rule("-w /etc/passwd -F uid=0 -C uid!=euid -p w")

    assert [field.number for field in rule.fields] == [PATH, PERM, 1, 111]
    assert rule.fields[1].value == 2


@pytest.mark.parametrize("name", ["/a/*", "/a/?", "/a/../b"])
def test_a_watch_of_a_pattern_is_warned_about(name: str) -> None:
    found = parse_rules(f"-w {name}", "a.rules")

    assert len(found.rules) == len(found.warnings) == 1


@pytest.mark.parametrize(
    "written",
    [r"/folder\ with\ space", '"/folder with space"', "'/folder with space'", '/folder" with "space'],
)
def test_a_path_with_blanks_is_escaped_or_quoted(written: str) -> None:
    rule = one_rule(f"-a always,exit -F path={written} -k x")

    assert rule.fields[0].string == b"/folder with space"


@pytest.mark.parametrize(
    ("written", "name"),
    [(r"/a\\b", rb"/a\b"), (r"/a\nb", rb"/a\nb"), (r"'/a\ b'", rb"/a\ b"), (r'"/a\"b"', b'/a"b'), ("/ä", b"/\xc3\xa4")],
)
def test_a_backslash_means_itself_except_before_blanks_quotes_and_backslashes(written: str, name: bytes) -> None:
    assert one_rule(f"-w {written}").fields[0].string == name


def test_comments_blank_lines_and_line_ends_of_windows_are_no_rules() -> None:
    found = parse_rules("\ufeff# -a\r\n\r\n  \t# Caf\udce9 -Q\r\n-a never,task\r\n", "a.rules")

    assert found.problems == ()
    assert [rule.line for rule in found.rules] == [4]


def test_delete_all_is_told_apart_from_rules() -> None:
    found = parse_rules("-D\n-a never,task", "a.rules")

    assert found.delete_all
    assert len(found.rules) == 1


def test_a_wrong_line_leaves_the_others_alone() -> None:
    found = parse_rules("-a never,task\n-a nonsense\n-a always,exit -S nosuch\n-a never,user", "a.rules", "x86_64")

    assert [rule.line for rule in found.rules] == [1, 4]
    assert [problem.split(": ")[0] for problem in found.problems] == ["a.rules:2", "a.rules:3"]


def test_a_system_call_that_the_machine_lacks_can_be_told_from_other_problems() -> None:
    found = parse_rules("-a always,exit -F arch=b64 -S open\n-a x,y", "a.rules", "aarch64")

    [elsewhere] = found.machine_problems
    assert elsewhere.problem == found.problems[0] == "a.rules:1: 'open' is no system call of aarch64"


@pytest.mark.parametrize(("machine", "side"), [("i686", "b64"), ("ppc64le", "b32")])
def test_a_side_that_the_machine_lacks_is_refused(machine: str, side: str) -> None:
    found = parse_rules(f"-a always,exit -F arch={side} -S open", "a.rules", machine)

    assert found.problems == (f"a.rules:1: arch: this machine, {machine}, has no {side}",)
    assert len(found.machine_problems) == 1


def test_delete_all_behind_rules_takes_them_back() -> None:
    found = parse_rules("-a never,task\n-D\n-a never,user", "a.rules")

    assert found.delete_all
    assert [rule.line for rule in found.rules] == [3]
    assert found.warnings == ("a.rules:2: 1 rules of the lines before it are taken back",)


def test_rules_of_a_key_are_deleted_by_any_part_of_it() -> None:
    found = parse_rules("-w /a -k one\n-w /b -k two -k other\n-w /c -k two\n-D -k o", "a.rules")

    assert [rule.line for rule in found.rules] == []
    assert (found.delete_all, found.deleted_keys) == (False, ("o",))


@pytest.mark.parametrize("deletion", ["-d never,task -F uid=0", "-d task,never -F uid=root"])
def test_a_deleted_rule_is_none_and_is_remembered_as_deleted(deletion: str) -> None:
    found = parse_rules(f"-a never,task -F uid=0\n-a never,task\n{deletion}", "a.rules")

    assert [rule.line for rule in found.rules] == [2]
    assert [rule.line for rule in found.deletions] == [3]


def test_a_watch_is_taken_out_by_the_same_path_permissions_and_key() -> None:
    found = parse_rules("-w /etc/x -p wa -k x\n-w /etc/x\n-W /etc/x -p wa -k x", "a.rules")

    assert [rule.line for rule in found.rules] == [2]


def test_a_rule_that_is_added_again_is_not_deleted() -> None:
    found = parse_rules("-d never,task\n-a never,task", "a.rules")

    assert len(found.rules) == 1
    assert found.deletions == ()


def test_status_values_are_kept_and_the_last_one_wins() -> None:
    found = parse_rules("-b 64\n-b 0x2000 -r 5\n-f 1\n-e2\n--backlog_wait 7", "a.rules")

    assert found.problems == ()
    assert found.status == {
        "backlog_limit": 8192, "rate_limit": 5, "failure": 1, "enabled": 2, "backlog_wait_time": 7,
    }  # fmt: skip


def test_commands_to_the_kernel_are_kept_in_order() -> None:
    text = "-t\n--reset-lost\n--reset_backlog_wait_time_actual\n--loginuid-immutable\n-q /mnt,/srv"

    found = parse_rules(text, "a.rules")

    assert [command.text for command in found.commands] == [
        "-t", "--reset-lost", "--reset_backlog_wait_time_actual", "--loginuid-immutable", "-q /mnt,/srv",
    ]  # fmt: skip


def test_commands_for_people_are_taken_and_do_nothing() -> None:
    found = parse_rules("-s\n-s -i\n-l\n-l -k x\n-v\n-m hello\n--signal HUP", "a.rules")

    assert (found.problems, found.rules, found.commands, found.status) == ((), (), (), {})
    assert len(found.warnings) == 7


def test_behind_i_mistakes_are_told_and_ignored() -> None:
    found = parse_rules("-a nonsense\n-i\n-a nonsense\n-a never,task", "a.rules")

    assert [problem.partition(": ")[0] for problem in found.problems] == ["a.rules:1"]
    assert [problem.partition(": ")[0] for problem in found.ignored] == ["a.rules:3"]
    assert len(found.rules) == 1


@pytest.mark.parametrize(("option", "is_wrong"), [("-i", False), ("-c", True)])
def test_ignored_mistakes_are_a_failure_with_c_alone(option: str, is_wrong: bool) -> None:
    found = parse_rules(f"{option}\n-a nonsense", "a.rules")

    assert found.is_wrong is is_wrong
    assert found.problems == ()


DOUBTS = [
    ("-a exit,possible", "the kernel has no action possible"),
    ("-w /etc/passwd -S open", "-S changes nothing"),
    ("-S open -w /etc/passwd", "-S before it changes nothing"),
    ("-S open -a never,filesystem -F fstype=tracefs", "-S has no meaning in the list filesystem"),
    ("-a never,user -F pid=1 -p wa", "perm has no meaning in the list user"),
    ("-a never,user -F a0=1", "a0 has no meaning in the list user"),
    ("-a never,exit -F field_compare=99", "the kernel knows no comparison 99"),
    ("-a never,exit -F uid=4294967296", "uid: '4294967296' is read as 0"),
    ("-a never,exit -F uid=12x", "uid: '12x' is read as 12"),
    ("-a never,exit -F pid=08", "pid: '08' is read as 0"),
    ("-a never,exit -F a0=18446744073709551616", "is read as 4294967295"),
    ("-a never,exit -F sessionid=x", "'x' is no session and is read as 0"),
    ("-a never,exit -F saddr_fam=inet", "'inet' is no number and is read as 0"),
    ("-a never,exit -F success=2", "'2' is neither 0 nor 1"),
    ("-a never,exit -F arch=b64 -F arch=b32", "arch is given twice"),
    ("-a never,exit -F arch=b64 -S ,", "-S ',' names no system call"),
    ("-a never,exit -S all -k ''", "the key is empty"),
    ("-a never,exit -S all -F key=", "the key is empty"),
    ("-w /a\x1b[31m", "character 6 is the control character 0x1b"),
    ("-w /a\rb", "character 6 is the control character 0x0d"),
    ("-w /a\udce9b", "character 6 is not UTF-8: 0xe9"),
    ("-b 64x", "-b: '64x' is read as 64"),
    ("-t x", "what stands behind -t is not read: 'x'"),
]


@pytest.mark.parametrize(("line", "doubt"), DOUBTS)
def test_what_auditctl_takes_though_it_is_odd_is_taken_with_a_warning(line: str, doubt: str) -> None:
    found = parse_rules(line, "a.rules", "x86_64")

    assert found.problems == ()
    assert any(warning.startswith("a.rules:1: ") and doubt in warning for warning in found.warnings)


def test_a_line_of_the_configuration_cannot_hold_two_lines() -> None:
    found = parse_lines(["-a never,task", "-a never,user\n-D"], "rules")

    assert found.problems == ("rules:2: character 14 is the control character 0x0a",)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec=None)))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    found = parse_rules(text, "a.rules")

    assert len(found.rules) + len(found.problems) + len(found.ignored) <= text.count("\n") + 1


OPTIONS = ["-a", "-A", "-d", "-F", "-C", "-S", "-k", "-w", "-W", "-p", "-D", "-b", "--reset-lost", "-", "--", "#", "-i"]
VALUES = ["always,exit", "never,user", "task,always", "arch=b64", "uid=0", "uid>=", "exit=-EPERM", "path=/etc", "key=k"]
PIECES = ["perm=wa", "exe=/x", "open", "all", "7", "/etc", "'", '"', "\\", ",", "=", "\t", "uid!=euid", "msgtype=CWD"]
WORDS = st.sampled_from(OPTIONS + VALUES + PIECES)


@settings(deadline=None)
@given(st.lists(st.lists(WORDS | st.text(max_size=5), max_size=12).map(" ".join), max_size=5).map("\n".join))
def test_no_heap_of_words_makes_the_reader_fail(text: str) -> None:
    found = parse_rules(text, "a.rules")

    assert all(problem.startswith("a.rules:") for problem in found.problems)
