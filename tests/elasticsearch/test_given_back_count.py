"""How many documents are given back is told: what is a letter, not what is a line."""

import pytest

from auditline.plugins.outputs.elasticsearch import dead_letter_directory
from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.segment_files import segment_name
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.elasticsearch.documents import Document, dead_letter
from auditline.workers.elasticsearch.resending import give_back


@pytest.fixture
def letter():
    line = b'{"@timestamp":"2026-01-01T00:00:00.000Z","event":{"id":"h-1"}}\n'
    document = Document("logs-auditline.audit-default", b"h-1", line, Position("", 0))
    return dead_letter(document, 400, "failed to parse", "2026-01-02T00:00:00.000Z")


def test_damaged_lines_beside_letters_are_not_counted(tmp_path, letter):
    directory = dead_letter_directory(tmp_path, "es")
    directory.mkdir(parents=True)
    (directory / segment_name(1)).write_bytes(letter + b"\n" + b"garbage\n" + letter + letter[: len(letter) // 2])

    given_back = give_back(tmp_path, ElasticsearchSettings(name="es", dead_letter_bytes=1024**2))

    assert given_back.documents == 2
