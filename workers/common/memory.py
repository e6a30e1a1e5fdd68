"""How processes that keep much and make no cycles use the garbage collector."""

import gc

_THRESHOLDS = (100_000, 20, 20)


def relax_collector() -> None:
    """Let the cyclic collector run seldom, and never over what was imported.

    Events and looks at files hold no cycles and are freed by their counts; at the default thresholds the collector
    would look at thousands of live ones for nothing.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
