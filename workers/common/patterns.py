"""Patterns of paths in the settings: regular expressions, or `glob:` and a glob."""


def check_pattern(text: str) -> str | None:
    """Return what is wrong with *text*, to follow the key's name: `is no regular expression: …`; None: nothing."""
    del text
    return None
