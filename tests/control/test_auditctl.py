"""Debian's auditctl 3.0.9 as the oracle: it and we load the same rules, and the kernel lists what it got."""

import subprocess
from itertools import product

import pytest

from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_rules
from auditline.workers.control.words import split_words

pytestmark = pytest.mark.kernel

SCOPE = "-a never,exit -F uid=65534"
IDS = [
    *("pid", "ppid", "uid", "euid", "suid", "fsuid", "obj_uid", "gid", "egid", "sgid", "fsgid", "obj_gid", "auid"),
    *("exit", "success", "sessionid", "devmajor"),
]
ANY_OPERATOR = ["a0", "a1", "a2", "a3", "pers", "devminor"]
COMPARED = [
    *("uid=obj_uid", "gid!=obj_gid", "euid=obj_uid", "egid!=obj_gid", "auid=obj_uid", "suid!=obj_uid", "sgid=obj_gid"),
    *("fsuid!=obj_uid", "fsgid=obj_gid", "uid!=auid", "uid=euid", "uid!=fsuid", "uid=suid", "auid!=fsuid", "auid=suid"),
    *("auid!=euid", "euid=suid", "euid!=fsuid", "suid=fsuid", "gid!=egid", "gid=fsgid", "gid!=sgid", "egid=fsgid"),
    *("egid!=sgid", "sgid=fsgid", "obj_uid!=uid"),
]
RULES = [
    SCOPE,
    *(f"{SCOPE} -F {field}{symbol}1" for field, symbol in product(IDS, ["=", "!=", "<", ">", "<=", ">="])),
    *(f"{SCOPE} -F {field}{symbol}0x11" for field, symbol in product(ANY_OPERATOR, ["=", "<=", "&", "&="])),
    *(f"{SCOPE} -C {pair}" for pair in COMPARED),
    *(f"{SCOPE} -F auid={value}" for value in ("unset", "root")),
    *(f"{SCOPE} -F exit={value}" for value in ("-EACCES", "EACCES", "-1", "0", "-EWOULDBLOCK")),
    *(f"{SCOPE} -F inode{symbol}4294967295" for symbol in ("=", "!=")),
    *(f"{SCOPE} -F filetype={kind}" for kind in ("file", "dir", "socket", "link", "character", "block", "fifo")),
    *(f"{SCOPE} -F subj_{part}=x" for part in ("user", "role", "type", "sen", "clr")),
    *(f"{SCOPE} -F obj_{part}!=x" for part in ("user", "role", "type", "lev_low", "lev_high")),
    f"{SCOPE} -F gid=root -F a0=-1 -F sessionid=unset -F saddr_fam=10",
    f"{SCOPE} -F perm=x -F exe=/usr/bin/true -F exit!=0 -k perm",
    f"{SCOPE} -F exe!=/usr/bin/true -F key=one -F key=two",
    f"{SCOPE} -F path=/etc/passwd",
    f"{SCOPE} -F path=/etc/passwd -F perm=wa -k x",
    f"{SCOPE} -F dir=/etc/ -F perm=r",
    "-A never,exit -F arch=b64 -S open,openat -F uid=65534",
    "-a exit,never -F arch=b64 -S execve -S 0x14,021 -F uid=65534 -k y",
    "-a never,exit -F arch=b32 -S all -F uid=65534",
    "-a never,exit -F arch!=i386 -F uid=65534",
    "-a never,exit -F arch=aarch64 -S openat -F uid=65534",
    "-a never,exit -S 2031 -F uid=65534",
    "-w /etc/passwd -p wa -F uid=65534 -k watch",
    "-w /etc/ -F uid=65534",
    r"-w /folder\ with\ space -p x -F uid=65534 -k two\ words",
    "-a never,user -F uid=65534 -F msgtype=USER_LOGIN",
    "-a never,user -F uid=65534 -F sessionid!=unset -F exe=/usr/bin/true -k user",
    "-a never,exclude -F uid=65534 -F msgtype>=1300 -F msgtype<=UNKNOWN[1999]",
    "-a never,exclude -F gid=65534 -F auid>1 -F pid=1 -F exe=/usr/bin/true -F subj_type=x",
    "-a never,task -F uid=65534 -F auid=0",
    "-a never,filesystem -F fstype=0x12345678 -k fs",
]


def test_the_kernel_gets_the_same_rules_from_auditctl_and_from_us(auditctl: str, kernel_audit: AuditControl) -> None:
    ours = [compile_rule(rule) for rule in parse_rules("\n".join(RULES), "oracle.rules").rules]
    foreign = set(map(comparable, kernel_audit.list_rules()))

    for line in RULES:
        subprocess.run([auditctl, *split_words(line)], capture_output=True, check=True)
    listed = [comparable(rule) for rule in kernel_audit.list_rules() if comparable(rule) not in foreign]
    texts = [rule_text(rule) for rule in listed]
    again = [compile_rule(rule) for rule in parse_rules("\n".join(texts), "listed.rules").rules]

    assert len(ours) == len(RULES)
    assert sorted(listed) == sorted(map(comparable, ours))
    assert [comparable(rule) for rule in again] == listed


def test_the_kernel_takes_our_rules_and_knows_them_again(kernel_audit: AuditControl) -> None:
    ours = [compile_rule(rule) for rule in parse_rules("\n".join(RULES), "oracle.rules").rules]

    for rule in ours:
        kernel_audit.add_rule(rule)
    listed = set(map(comparable, kernel_audit.list_rules()))

    assert set(map(comparable, ours)) <= listed
