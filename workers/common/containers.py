"""Which container a process is in, by the path of its cgroup: no socket of any runtime is asked."""

import re
from itertools import pairwise

_NOT_A_PROCESS_OF_IT = (b"conmon-", b"buildah-", b"netns-")
"""Helpers of the runtime on the host, whose scopes are named after the container, too."""

_LONG = rb"[0-9a-f]{64}"
_FORMS = tuple(
    re.compile(form)
    for form in (
        # docker, containerd's CRI plugin, CRI-O, podman under systemd: <runtime>-<id>.scope. By cgroupfs: the id alone,
        # below /docker, /kubepods/…/pod<uid>, /libpod_parent, where podman has libpod-<id>.
        rb"(?:[a-z-]+-)?(" + _LONG + rb")(?:\.scope)?",
        # Amazon ECS on Fargate: 32 digits and the container's number.
        rb"([0-9a-f]{32}-[0-9]{5,12})",
        rb"(?:[a-z-]+-)?([0-9a-f]{32})\.scope",
        # systemd-nspawn, in machine.slice: by name, as a scope or a unit.
        rb"machine-(?!qemu)([^/]+)\.scope",
        rb"systemd-nspawn@([^/]+)\.service",
        # LXC and LXD: by name.
        rb"lxc\.payload\.([^/]+)",
    )
)
_BELOW_LXC = (b"lxc", b"lxc.payload")
_BELOW_DOCKER = (b"docker", b"podman", b"containerd")
_SHORT = re.compile(rb"[0-9a-f]{32}").fullmatch
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def container_id(cgroup: bytes) -> str:
    """Return the id, or the name, of the innermost container, from what /proc/PID/cgroup holds; "": none."""
    for line in cgroup.splitlines():
        # HIERARCHY:CONTROLLERS:PATH. Source: cgroups(7).
        _, _, path = line.partition(b":")[2].partition(b":")
        parts = path.split(b"/")
        for parent, part in reversed(list(pairwise(parts))):
            if found := _find(parent, part):
                return found.decode("utf-8", "replace")
    return ""


def _find(parent: bytes, part: bytes) -> bytes:
    if any(word in part for word in _NOT_A_PROCESS_OF_IT):
        return b""
    if parent in _BELOW_LXC or (parent in _BELOW_DOCKER and _SHORT(part)):
        return part
    for form in _FORMS:
        if match := form.fullmatch(part):
            # systemd.unit(5): what a unit's name may not have is written as \xHH.
            return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), match[1])
    return b""
