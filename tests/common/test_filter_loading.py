"""Filters of outputs are read from the configuration, and every mistake is told with the table's number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.errors import SettingsError
from auditline.workers.common.filter_settings import AddSettings, ConditionSettings
from auditline.workers.common.settings import Settings, StdoutSettings, show_settings
from auditline.workers.common.settings_file import to_toml
from auditline.workers.common.settings_loading import load_settings

A_LIMIT = 'a number, or a timestamp with a zone such as "2026-01-31T12:00:00Z"'


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("filters")


@pytest.fixture
def load(folder):
    return lambda text: load_text(folder, text).outputs[0]


@pytest.fixture
def problems(folder):
    """Return what is wrong with a text, without the file's name."""

    def read(text):
        with pytest.raises(SettingsError) as caught:
            load_text(folder, text)
        return [problem.partition("auditline.toml: ")[2] for problem in caught.value.problems]

    return read


def load_text(folder, text):
    file = folder / "auditline.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return load_settings(file, is_root=True, environment={})


def test_tables_are_read_in_their_order(load):
    output = load("""
[[outputs.stdout.include]]
field = "event.category"
one_of = ["process", "file"]
[[outputs.stdout.exclude]]
field = "process.executable"
prefix = "/usr/lib/"
[[outputs.stdout.exclude]]
all = [{ field = "source.ip", network = "10.0.0.0/8" }, { field = "event.outcome", equals = "success" }]
""")

    assert output.include == (ConditionSettings(field="event.category", one_of=("process", "file")),)
    assert output.exclude == (
        ConditionSettings(field="process.executable", prefix="/usr/lib/"),
        ConditionSettings(
            all=(
                ConditionSettings(field="source.ip", network=("10.0.0.0/8",)),
                ConditionSettings(field="event.outcome", equals="success"),
            )
        ),
    )


def test_fields_to_add_may_be_written_with_dots_or_as_tables(load):
    output = load("""
[outputs.stdout.add]
tags = ["edge"]
fields = { "labels.site" = "berlin", labels.rack = 7, on = [true, 1.5] }
drop_fields = ["process.args"]
""")

    assert output.add == AddSettings(
        tags=("edge",),
        fields={"labels.site": "berlin", "labels.rack": 7, "on": (True, 1.5)},
        drop_fields=("process.args",),
    )


def test_a_time_may_be_one_of_toml_or_a_text(load):
    output = load("""
[[outputs.stdout.include]]
field = "@timestamp"
above = 2026-01-01T00:00:00Z
below = "2026-02-01T00:00:00+01:00"
""")

    [condition] = output.include
    assert (condition.above, condition.below) == ("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+01:00")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('feild = "a"\nfield = "a"\nequals = 1', ".feild is unknown; did you mean field?"),
        ('field = "a."\nequals = 1', '.field must be a field\'s name such as process.executable, not "a."'),
        ("equals = 1", " must say its field: equals stands alone"),
        ('field = "a"\nequals = 1\nprefix = "b"', " must have one of equals and prefix, not both"),
        ('field = "a"\none_of = [1]\nequals = 1', " must have one of equals and one_of, not both"),
        ('field = "a"\nexists = true\nabove = 1', " must have one of exists and above, not both"),
        ('field = "a"\nexists = 1', ".exists must be true or false, not 1"),
        ('field = "a"\nequals = []', ".equals must be a string, a number, true or false, not []"),
        (
            'field = "a"\none_of = []',
            ".one_of must be a list of strings, numbers, true or false, and not empty, not []",
        ),
        ('field = "a"\nprefix = ""', '.prefix must be a string that is not empty, not ""'),
        ('field = "a"\nabove = 3\nbelow = 3', " must have an above that is less than below, not 3 and 3"),
        (
            'field = "a"\nabove = 3\nbelow = 2026-01-01T00:00:00Z',
            " must have two numbers or two timestamps as above and below",
        ),
        (
            'field = "a"\nabove = 2026-01-01',
            f".above must be {A_LIMIT}, not 2026-01-01",
        ),
        (
            'field = "a"\nabove = 99999999999999999999',
            f".above must be {A_LIMIT}, not 99999999999999999999",
        ),
        (
            'field = "a"\nnetwork = "10.0.0.1/8"',
            '.network must be a network such as "10.0.0.0/8" or "fd00::/8"; 10.0.0.0/8 may be meant, not "10.0.0.1/8"',
        ),
        (
            'field = "a"\nnetwork = ["::/129"]',
            '.network must be a network such as "10.0.0.0/8" or "fd00::/8", not ["::/129"]',
        ),
        ("all = []", ".all must not be empty"),
        ("any = [3]", ".any[1] must be a table with a field and a condition, not 3"),
    ],
)
def test_a_mistake_is_told_with_its_table(problems, table, problem):
    first = '[[outputs.stdout.exclude]]\nfield = "a"\nexists = true\n'

    assert problems(f"{first}[[outputs.stdout.exclude]]\n{table}\n") == [f"outputs.stdout.exclude[2]{problem}"]


def test_a_bad_pattern_is_told_with_what_is_wrong_with_it(problems):
    [problem] = problems('[[outputs.stdout.include]]\nfield = "a"\nregex = "(b"\n')

    assert problem.startswith("outputs.stdout.include[1].regex must be a pattern (is no regular expression: missing )")
    assert problem.endswith(', not "(b"')


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        (
            "[[outputs.stdout.exclude]]",
            "outputs.stdout.exclude[1] must not be empty: it needs a field and one of equals",
        ),
        ('[[outputs.stdout.include]]\nfield = "a"', "outputs.stdout.include[1] must have one of equals, one_of,"),
        ("[outputs.stdout.include]\nfield = 1", "outputs.stdout.include must be tables such as [[outputs.stdout.inc"),
        ("[outputs.stdout]\nadd = 3", "outputs.stdout.add must be a table"),
    ],
)
def test_a_table_that_says_nothing_is_told(problems, text, beginning):
    [problem] = problems(text)

    assert problem.startswith(beginning)


@pytest.mark.parametrize("key", ["drop_fields", "fields"])
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("@timestamp", "it is @timestamp"),
        ("event.id", "it is event.id"),
        ("event", "with it goes event.id"),
        ("event.id.x", "with it goes event.id"),
        ("auditline", "with it goes auditline.amends"),
    ],
)
def test_what_identifies_an_event_stays_as_it_is(problems, key, name, kept):
    value = f'["{name}"]' if key == "drop_fields" else f'{{ "{name}" = 1 }}'

    found = problems(f"[outputs.stdout.add]\n{key} = {value}\n")

    wanted = f'outputs.stdout.add.{key} must not have "{name}": {kept}, which identifies the event'
    assert found == [wanted]


@pytest.mark.parametrize(
    ("additions", "problem"),
    [
        ('fields = { tags = "x" }', '.fields must not have "tags": write them in outputs.stdout.add.tags'),
        ('fields = { a = 1, "a.b" = 2 }', '.fields must not have both "a" and "a.b"'),
        ("fields = { a = {} }", ".fields.a must be a string, a number, true or false, or a list of them, not {}"),
        ("fields = { a = nan }", ".fields.a must be a string, a number, true or false, or a list of them, not nan"),
        ("fields = 3", '.fields must be fields such as { "labels.site" = "berlin" }, not 3'),
        ('drop_fields = [""]', '.drop_fields must be names such as process.args, not ""'),
        ("tags = 3", ".tags must be a list, not 3"),
    ],
)
def test_a_mistake_in_what_is_added_is_told(problems, additions, problem):
    assert problems(f"[outputs.stdout.add]\n{additions}\n") == [f"outputs.stdout.add{problem}"]


def texts(longest, shortest=0):
    """Texts as a configuration may have them."""
    return st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=shortest, max_size=longest)


names = st.lists(
    st.text(st.characters(exclude_characters=".\0", codec="utf-8"), min_size=1, max_size=4), min_size=1, max_size=20
)
dotted = names.map(".".join).filter(lambda name: name.partition(".")[0] not in ("@timestamp", "event", "auditline"))
scalars = st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9) | texts(5)
plain_conditions = st.one_of(
    st.builds(ConditionSettings, field=dotted, equals=scalars),
    st.builds(ConditionSettings, field=dotted, one_of=st.lists(scalars, min_size=1, max_size=3).map(tuple)),
    st.builds(ConditionSettings, field=dotted, exists=st.booleans()),
    st.builds(ConditionSettings, field=dotted, prefix=texts(5, 1), regex=st.just("[\\d\"'].")),
    st.builds(ConditionSettings, field=dotted, above=st.integers(-9, 0), below=st.floats(1, 9)),
    st.builds(ConditionSettings, field=dotted, network=st.just(("fd00::/8", "10.0.0.0/8"))),
)
groups = st.lists(plain_conditions, min_size=1, max_size=2).map(tuple)
conditions = plain_conditions | st.builds(ConditionSettings, all=groups, any=groups, none=groups)
outputs = st.builds(
    StdoutSettings,
    name=st.just("stdout"),
    include=st.lists(conditions, max_size=2).map(tuple),
    exclude=st.lists(conditions, max_size=2).map(tuple),
    add=st.builds(
        AddSettings,
        tags=st.lists(texts(4), max_size=2).map(tuple),
        fields=st.dictionaries(st.sampled_from(["labels.site", "a", "b.c.d"]), scalars),
        drop_fields=st.lists(dotted, max_size=2).map(tuple),
    ),
)


@given(output=outputs)
def test_filters_that_are_shown_load_again_to_the_same(folder, output):
    loaded = load_text(folder, show_settings(Settings(outputs=(output,))))

    assert loaded.outputs[0] == output


values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
keys = ["field", "equals", "one_of", "prefix", "regex", "above", "below", "network", "exists", "all", "any", "none"]
tables = st.dictionaries(st.sampled_from(keys), values)
additions = st.dictionaries(st.sampled_from(["tags", "fields", "drop_fields", "tag"]), values)


@given(include=st.lists(tables | values, max_size=2), add=additions | values)
def test_any_filter_is_used_or_told(folder, include, add):
    text = f"[outputs.stdout]\ninclude = {to_toml(include)}\nadd = {to_toml(add)}\n"

    try:
        outcome = load_text(folder, text)
    except SettingsError as error:
        outcome = error

    told = isinstance(outcome, SettingsError) and all(": outputs.stdout." in line for line in outcome.problems)
    assert told or isinstance(outcome, Settings)
