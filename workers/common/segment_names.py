"""What segments are called: `auditline-<counter>-<random>.jsonl`, as `plugins/outputs/segment_files.py` makes them."""

SEGMENTS_GLOB = "auditline-*.jsonl"
"""For people and for whatever follows files."""
SEGMENT_PATTERN = r"auditline-(\d{12})-[0-9a-f]{8}\.jsonl"
"""Of the whole name, ASCII only; its group is the counter."""
