"""What the documents point to is there."""

import re
from typing import Any

from auditline.workers.common.settings import Settings
from auditline.workers.common.settings_file import section_keys

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:workers|plugins|conf|tests|docs|benchmarks)/[\w./-]*)`")
_SETTING = re.compile(
    r"`((?:state|run|audit|fim|hasher|health)\.(?!coverage|drift|file|health|kernel|log|py|watch)\w+)`"
)


def anchor_of(heading: str) -> str:
    """Return how a web page of the document calls a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_link_leads_somewhere(each_document: Any) -> None:
    links = [link.partition("#") for link in _LINK.findall(each_document.prose) if "://" not in link]

    targets = {(each_document.path.parent / path if path else each_document.path, anchor) for path, _, anchor in links}

    assert [str(path) for path, _ in targets if not path.exists()] == []
    anchored = [(type(each_document)(path.resolve()), anchor) for path, anchor in targets if anchor]
    assert [anchor for target, anchor in anchored if anchor not in map(anchor_of, target.headings)] == []


def test_every_path_in_the_tree_is_there(each_document: Any, tree: Any) -> None:
    paths = _PATH.findall(each_document.prose)

    assert [path for path in paths if not (tree / path).exists()] == []


def test_every_setting_that_is_named_exists(each_document: Any) -> None:
    settings = Settings()
    sections = {name: getattr(settings, name) for name in ("state", "run", "audit", "fim", "hasher", "health")}
    known = {f"{name}.{key}" for name, section in sections.items() for key in section_keys(section)}

    assert set(_SETTING.findall(each_document.prose)) <= known
