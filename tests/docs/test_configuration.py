"""docs/configuration.md has every key, default and limit, and every part of the rule language."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest

from auditline.workers.common.hashes import ALGORITHMS
from auditline.workers.common.profiles import OverrideSettings
from auditline.workers.common.settings import (
    AuditSettings,
    ElasticsearchSettings,
    FimSettings,
    HasherSettings,
    HealthSettings,
    OutputSettings,
    RunSettings,
    SegmentsSettings,
    Settings,
    StateSettings,
    StdoutSettings,
    WatchSettings,
)
from auditline.workers.common.settings_file import Range, section_keys, to_toml
from auditline.workers.common.tables import lookup
from auditline.workers.control.fields import field_named
from auditline.workers.control.files import shipped_set_names
from auditline.workers.control.language import REFUSED_OPTIONS
from auditline.workers.control.options import OPTIONS
from auditline.workers.control.rule import Action, RuleList

NEEDED: Any = Path("/any")
"""Stands for what has no default."""
SECTIONS: dict[str, Any] = {
    "state": StateSettings(),
    "run": RunSettings(),
    "audit": AuditSettings(),
    "fim": FimSettings(),
    "fim.watch": WatchSettings(path=NEEDED),
    "fim.watch.override": OverrideSettings(match=NEEDED),
    "hasher": HasherSettings(),
    "outputs of type stdout": StdoutSettings(name="stdout"),
    "outputs of type segments": SegmentsSettings(name="segments"),
    "outputs of type elasticsearch": ElasticsearchSettings(name="elasticsearch"),
    "health": HealthSettings(),
}
COMMON_KEYS = {"type", "schema", "include", "exclude", "add"}
"""Of all kinds of outputs: said once for all."""
TABLES_OF_THEIR_OWN = {"watch", "override"}
MOST_RULE_FIELDS = 256
PLAIN_VALUES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path: "an absolute path",
}


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/configuration.md")


def describe_values(hint: Any) -> str:
    """Return the words of the document for what an annotation allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if type(None) in arguments:
        return describe_values(arguments[0])
    if origin is Annotated:
        limits = [each for each in arguments[1:] if isinstance(each, Range)]
        return ", ".join([describe_values(arguments[0]), *(f"{each.low} to {each.high}" for each in limits)])
    if origin is Literal:
        return " or ".join(f'"{word}"' for word in arguments)
    if origin is tuple:
        return f"a list, each item {describe_values(arguments[0])}"
    return PLAIN_VALUES[hint]


def describe_default(value: object) -> str:
    if value is NEEDED:
        return "none"
    return "as found" if value is None else f"`{to_toml(value)}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_keys_defaults_and_limits_are_those_of_the_settings(section: str, document: Any) -> None:
    settings = SECTIONS[section]
    hints = get_type_hints(type(settings), include_extras=True)
    told_elsewhere = COMMON_KEYS if section.startswith("outputs") else TABLES_OF_THEIR_OWN
    keys = [key for key in section_keys(settings) if key not in told_elsewhere]

    documented = {row["key"]: (row["default"], row["values"]) for row in document.table(section)}

    assert documented == {
        f"`{key}`": (describe_default(getattr(settings, key)), describe_values(hints[key])) for key in keys
    }


def test_what_all_outputs_have_is_said_once(document: Any) -> None:
    rows = {row["key"].strip("`"): row for row in document.table("outputs")}

    assert set(rows) == COMMON_KEYS
    assert rows["schema"]["default"] == describe_default(StdoutSettings(name="stdout").schema)
    assert rows["schema"]["values"] == describe_values(get_type_hints(OutputSettings, include_extras=True)["schema"])


def test_every_section_of_the_settings_has_a_table(document: Any) -> None:
    sections = {field.name for field in fields(Settings)} - {"source", "places"}

    assert sections <= set(document.headings)


def test_hashes_are_those_that_are_known(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    listed = codes_of(document.section("Hashes"))

    assert listed == list(ALGORITHMS)


def test_watches_without_a_configuration_are_those_of_the_settings(
    document: Any, codes_of: Callable[[str], list[str]]
) -> None:
    paragraph = document.section("fim.watch").strip().partition("\n\n")[0]

    paths = [Path(code) for code in codes_of(paragraph) if code.startswith("/")]

    assert paths == [watch.path for watch in FimSettings().watch]


def test_fields_of_rules_are_those_that_are_understood(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    known = {lookup.rule_field_name(number) for number in range(MOST_RULE_FIELDS)} - {None}
    understood = {name for name in known if field_named(str(name))}

    listed = codes_of(document.section("Fields understood").strip().partition("\n\n")[0])

    assert listed == sorted(listed)
    assert set(listed) == understood


def test_options_of_rules_are_those_that_are_understood(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    documented = {option for row in document.table("Options understood") for option in codes_of(row["option"])}

    assert documented == OPTIONS - set(REFUSED_OPTIONS)


def test_lists_actions_and_sets_are_those_of_the_code(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    (sentence,) = [line for line in document.section("Options understood").splitlines() if line.startswith("Lists:")]
    sets = {code.removeprefix("@") for code in codes_of(document.section("Rules")) if code.startswith("@")}

    assert set(codes_of(sentence)) == {*(each.text for each in RuleList), *(each.text for each in Action)}
    assert sets - {"NAME"} == set(shipped_set_names())
