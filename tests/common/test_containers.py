"""Which container a process is in, by the path of its cgroup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.containers import container_id

LONG = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
SHORT = "d43e2df883d1df7ae5f151beddd608fa"
POD = "pod3b1f2a44_7c2e_4c5e_9a53_52d6c0b0f0aa"

IN_A_CONTAINER = [
    (f"/docker/{LONG}", LONG),
    (f"/system.slice/docker-{LONG}.scope", LONG),
    (f"/docker/{LONG}/docker/{OTHER}", OTHER),
    (f"/kubepods/burstable/{POD}/{LONG}", LONG),
    (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{POD}.slice/cri-containerd-{LONG}.scope", LONG),
    (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-{POD}.slice/crio-{LONG}.scope", LONG),
    (f"/kubepods.slice/kubepods-besteffort-{POD}.slice/crio-{LONG}.scope/container", LONG),
    (f"/machine.slice/libpod-{LONG}.scope", LONG),
    (f"/machine.slice/libpod-{LONG}.scope/container", LONG),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{LONG}.scope/container", LONG),
    (f"/libpod_parent/libpod-{LONG}", LONG),
    (f"/default/{LONG}", LONG),
    (f"/system.slice/nerdctl-{LONG}.scope", LONG),
    (f"/docker/{SHORT}", SHORT),
    (f"/system.slice/docker-{SHORT}.scope", SHORT),
    (f"/ecs/{SHORT}/{SHORT}-3413519183", f"{SHORT}-3413519183"),
    ("/lxc/web1/init.scope", "web1"),
    ("/lxc.payload/web1", "web1"),
    ("/lxc.payload.web1/system.slice/cron.service", "web1"),
    ("/machine.slice/systemd-nspawn@build.service/payload", "build"),
    ("/machine.slice/machine-build.scope/payload", "build"),
    (r"/machine.slice/machine-my\x2dbuild.scope", "my-build"),
    (f"/../../docker/{LONG}", LONG),
]

IN_NONE = [
    "/",
    "/init.scope",
    "/user.slice/user-1000.slice/session-3.scope",
    "/system.slice/docker.service",
    "/system.slice/ssh.service",
    f"/system.slice/crio-conmon-{LONG}.scope",
    f"/machine.slice/libpod-conmon-{LONG}.scope",
    r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator",
    f"/process_api/{SHORT}",
    f"/kubepods/burstable/{POD}",
    f"/docker/{LONG[:-1]}",
    f"/docker/{LONG.upper()}",
]


@pytest.mark.parametrize(("path", "wanted"), IN_A_CONTAINER)
def test_a_container_is_known_by_its_cgroup(path: str, wanted: str) -> None:
    """Pitfall 48."""
    assert container_id(f"0::{path}\n".encode()) == wanted


@pytest.mark.parametrize("path", IN_NONE)
def test_what_runs_on_the_host_is_in_none(path: str) -> None:
    assert container_id(f"0::{path}\n".encode()) == ""


def test_of_several_hierarchies_any_may_tell() -> None:
    cgroup = f"12:pids:/system.slice\n4:memory:/docker/{LONG}\n1:name=systemd:/\n0::/\n".encode()

    assert container_id(cgroup) == LONG


@given(st.binary(max_size=300))
def test_whatever_stands_there_is_no_error(cgroup: bytes) -> None:
    assert isinstance(container_id(cgroup), str)
