import pytest

from auditline.workers.control.language import parse_rules

ORDER = [
    ("-a always,exit -S open -F arch=b64", "arch must be before -S"),
    ("-F uid=0 -a always,exit", "-a list,action has to stand before uid"),
    ("-C uid!=euid -a always,exit", "which -a has to name before it"),
    ("-a always,exit -k x -S open", "-k needs a watch, -S, path, dir, perm, exe or fstype before it"),
    ("-k x -w /etc/passwd", "-k needs"),
    ("-p wa -w /etc/passwd", "-p needs"),
    ("-a always,exit -F arch=b64 -F key=x", "a key needs"),
    ("-a never,user -F uid=0 -F key=x", "a key needs"),
]
LISTS = [
    ("-a entry,always", "no entry list any more"),
    ("-a watch,always", "watch is no list of rules"),
    ("-a always,io_uring -S 9", "auditctl 3.0.9 does not know the list io_uring"),
    ("-a exit", "is not list,action"),
    ("-a exit,exit", "is not list,action"),
    ("-a always,never", "is not list,action"),
    ("-a always,exit,exit", "is not list,action"),
    ("-S open", "there is no -a, -A, -d, -w or -W"),
    ("-a always,exit -A always,exit", "one only"),
    ("-w /etc/passwd -a always,exit", "one only"),
    ("-a always,exit -w /etc/passwd", "-w stands alone"),
]
FIELDS_OF_LISTS = [
    ("-a always,task -S open", "-S is for the exit list"),
    ("-a always,user -S open", "-S is for the exit list"),
    ("-a always,exclude -S open", "-S is for the exit list"),
    ("-a always,exit -F msgtype=CWD", "only for exclude, user"),
    ("-a always,exclude -F exit=0", "only for exit"),
    ("-a always,exclude -F exe=/bin/ls -k x", "key is not for the list exclude"),
    ("-a always,exclude -F exe=/bin/ls -F key=x", "key is not for the list exclude"),
    ("-a always,exclude -F euid=0", "not for the list exclude"),
    ("-a always,exit -F fstype=tracefs", "only for filesystem"),
    ("-a always,filesystem -F fstype=tracefs -F uid=0", "not for the list filesystem"),
    ("-a always,user -C uid!=euid", "-C is for the exit list"),
]
EXIT_ONLY = [
    *("exit=0", "success=1", "path=/etc/passwd", "dir=/etc", "perm=wa", "inode=1", "devmajor=1", "devminor=1"),
    *("filetype=file", "obj_type=t", "obj_lev_low=s0", "ppid=1"),
]
OPERATORS = [
    ("-a always,exit -F uid&1", "uid takes = != < > <= >=, not &"),
    ("-a always,exit -F perm!=w", "perm takes =, not !="),
    ("-a always,exit -F path!=/etc/passwd", "path takes =, not !="),
    ("-a always,exit -F arch>b64", "arch takes = !=, not >"),
    ("-a always,exit -F exe<=/bin/ls", "exe takes = !=, not <="),
    ("-a always,exit -F filetype>file", "filetype takes = !=, not >"),
    ("-a always,exit -F inode>1", "inode takes = !=, not >"),
    ("-a always,exit -F subj_type>x", "subj_type takes = !=, not >"),
    ("-a always,exit -F auid>unset", "unset takes = !=, not >"),
    ("-a always,exit -C uid>euid", "-C takes = !=, not >"),
    ("-a always,exit -F uid", "has no operator"),
    ("-a always,exit -F =0", "has no field before its operator"),
    ("-a always,exit -F uid=", "has no value behind its operator"),
]
VALUES = [
    ("-a always,exit -F colour=red", "'colour' is no field of a rule"),
    ("-a always,exit -C uid!=gid", "cannot compare"),
    ("-a always,exit -F uid=unset", "only auid and sessionid can be unset"),
    ("-a always,exit -F uid=-1", "only auid and sessionid can be unset"),
    ("-a always,exit -F uid=4294967295", "only auid and sessionid can be unset"),
    ("-a always,exit -F gid=no-such-group", "is no group in /etc/group"),
    ("-a always,exit -F pid=-1", "is not a number from 0 to 4294967295"),
    ("-a always,exit -F exit=-EFOO", "exit: '-EFOO' is not a number or the name of an error"),
    ("-a always,exit -F success=yes", "is not 0 or 1"),
    ("-a always,exit -F perm=rwq", "is not made of the letters r, w, x and a"),
    ("-a always,exit -F perm=rwxar", "is not made of the letters"),
    ("-a always,exit -F filetype=pipe", "is not a file type"),
    ("-a always,exit -F saddr_fam=46", "is not an address family"),
    ("-a always,exit -F arch=vax780", "is not an architecture"),
    ("-a always,exclude -F msgtype=NOSUCH", "is not a record type"),
    ("-a always,filesystem -F fstype=nofs", "is not a number"),
    ("-a always,exit -F a0=x", "is not a number"),
    ("-a always,exit -F arch=b64 -S nosuchcall", "'nosuchcall' is no system call of x86_64"),
    ("-a always,exit -S 2032", "the number must be from 0 to 2031"),
]
PATHS = [
    ("-w etc/passwd", "'etc/passwd' must begin with /"),
    ("-w ''", "must begin with /"),
    ("-a always,exit -F path=/etc/", "'/etc/' must not end with /"),
    ("-a always,exit -F exe=ls", "must begin with /"),
    ("-a always,exit -F dir=etc", "must begin with /"),
    ("-a always,exit -F path=/a -F dir=/b", "dir stands beside path"),
    ("-a always,exit -F path=/a -F inode=1", "inode stands beside path"),
    ("-a always,exit -F exe=/a -F exe=/b", "exe is given twice"),
    ("-w /" + "a" * 256, "is longer than a path can be"),
    ("-w " + "/a" * 2048, "is longer than a path can be"),
]
SIZES = [
    ("-a always,exit -S open -k " + "k" * 257, "the keys are 257 bytes together, more than 256"),
    ("-a always,exit -S open -k " + "k" * 128 + " -k " + "k" * 128, "the keys are 257 bytes together"),
    ("-a always,exit" + " -F a0=1" * 64, "at most 63 fields"),
    ("-a always,exit" + f" -F subj_type={'t' * 4000}" * 2, "more than 7914"),
    ("-a never,task " + "#" * 40000, "more than 32768"),
]
NO_RULES = [
    *((option, f"{option} needs a value behind it") for option in ("-b", "-f", "-e", "-r", "-d", "-W", "-q", "-m")),
    *((f"{option} x", f"{option} takes a number from 0 to 4294967295, not 'x'") for option in ("-b", "-r")),
    *((f"{option} 3", f"{option} takes 0, 1 or 2, not '3'") for option in ("-e", "-f")),
    ("-b 99999999999999999999", "-b takes a number from 0 to 4294967295"),
    ("-b -1", "-b takes a number from 0 to 4294967295, not '-1'"),
    ("--backlog_wait_time", "--backlog_wait_time needs a value"),
    ("--backlog_wait_time 99999999", "--backlog_wait_time takes at most"),
    ("--reset", "'--reset' may be --reset-lost or --reset_backlog_wait_time_actual"),
    ("--reset-lost=1", "--reset-lost takes no value"),
    ("-q /mnt", "-q takes MOUNT,SUBTREE, not '/mnt'"),
    ("-m caf\u00e9", "-m takes a text of printable ASCII characters"),
    ("--signal KILL", "--signal takes one of TERM, HUP"),
    ("-s -b", "'-b' cannot stand behind -s"),
    ("-l x", "'x' cannot stand behind -l"),
    ("-h", "-h is a command of auditctl"),
    ("-R /etc/x", "a rules file cannot read another one with -R"),
    ("-D x", "-D takes nothing behind it but -k KEY"),
    ("-D -k", "-D takes nothing behind it but -k KEY"),
    ("-b 64 -D", "-D stands alone on its line"),
    ("-b 64 -S open", "there is no -a, -A, -d, -w or -W"),
    ("-a never,task -t", "auditctl loads nothing of a rule with -t behind it"),
]
OPTIONS = [
    ("-Z", "'-Z' is an unknown option"),
    ("--zzz", "'--zzz' is an unknown option"),
    ("-a never,task stray", "'stray' stands where an option is expected"),
    ("-a never,task # why", "a comment has a line of its own"),
    ("-a", "-a needs a value behind it"),
    ("-a never,task -F", "-F needs a value behind it"),
    ("-w '/etc/passwd", "the quote ' is not closed"),
]
CHARACTERS = [
    ("-w /a\x00b", "character 6 is the control character 0x00"),
]


def the_problem(line: str) -> str:
    found = parse_rules(line, "a.rules", "x86_64")
    assert found.rules == ()
    [problem] = found.problems
    return problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *(ORDER + LISTS + FIELDS_OF_LISTS + OPERATORS + VALUES + PATHS + SIZES + OPTIONS + CHARACTERS + NO_RULES),
        *((f"-a always,user -F {condition}", "only for exit") for condition in EXIT_ONLY),
    ],
)
def test_a_wrong_line_is_refused_with_its_place_and_the_reason(line: str, message: str) -> None:
    problem = the_problem(line)

    assert problem.startswith("a.rules:1: ")
    assert message in problem


def test_what_a_message_quotes_cannot_steer_a_terminal_or_fill_it() -> None:
    problem = the_problem("-a always,exit -F exe=\u202e" + "x" * 1000)

    assert problem == f"a.rules:1: exe: '\\u202e{'x' * 79}...' must begin with /"
