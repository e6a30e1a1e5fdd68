"""Two outputs of one service, each in a schema of its own."""

import json


def test_each_output_has_every_event_in_its_schema(watched):
    folder = watched.folder / "segments"
    watched.start(tables=f'[outputs.segments]\nenabled = true\nschema = "ecs"\ndirectory = "{folder}"\n')

    (watched.root / "file").write_text("x")
    change = watched.wait_for("created", watched.root / "file")
    watched.settle()
    watched.stop()

    (segment,) = folder.glob("*.jsonl")
    in_ecs = {document["event"]["id"]: document for document in map(json.loads, segment.read_text().splitlines())}
    in_audit = [json.loads(line) for line in watched.lines.lines]
    assert [document["event"]["id"] for document in in_audit] == list(in_ecs)
    found = in_ecs[change.document["event"]["id"]]
    assert found["event"]["action"] == ["created"]
    assert found["file"]["inode"] == change.file["inode"]
    assert found["auditline"] == change.document["auditline"]
