"""The log says whether the router's hottest parts run compiled."""

import logging
from types import ModuleType

import pytest

from auditline.workers.router import compiling
from auditline.workers.router.compiling import MODULE


@pytest.mark.parametrize(("compiled", "shown"), [(None, "in Python"), (ModuleType(MODULE), "compiled")])
def test_the_log_says_which_of_both_runs(compiled, shown, monkeypatch, caplog):
    monkeypatch.setattr(compiling, "COMPILED", compiled)
    caplog.set_level(logging.INFO)

    compiling.tell_what_runs()

    assert caplog.messages == [f"grouping and cutting run {shown}"]
