"""Whoever is killed, and whenever: in the end the server has every event that the segments have, each once."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

SENDER, ROUTER, ALL = "sender elasticsearch", "router", "all"
SECONDS_OF_A_START = 8
"""So long a server takes at least until it answers, and is away for that long when it is killed."""


@pytest.fixture
def begin_outages(node):
    """Begin to kill the server: as often as there are pauses, during each of which it stays away so much longer.

    It begins a new index so many times in between.
    """
    threads = ThreadPoolExecutor(1)

    def suffer(stream, pauses, rollovers):
        rollover_at = {(number + 1) * len(pauses) // rollovers - 1 for number in range(rollovers)}
        for number, pause_seconds in enumerate(pauses):
            time.sleep(1)
            node.kill()
            time.sleep(pause_seconds)
            node.start()
            if number in rollover_at:
                node.ask("POST", f"/{stream}/_rollover")

    with threads:
        yield lambda *arguments: threads.submit(suffer, *arguments)


@pytest.fixture
def trouble(service, chance):
    """Hit each of the service's processes so many times, at random moments within about so many seconds."""

    def make(times, seconds):
        victims = times * [SENDER, ROUTER, ALL]
        chance.shuffle(victims)
        for victim in victims:
            time.sleep(chance.uniform(0, 2 * seconds / len(victims)))
            service.hit(victim)

    return make


@pytest.mark.parametrize(
    ("count", "pauses"),
    [
        pytest.param(10_000, (0, 0, 30 - SECONDS_OF_A_START), id="few", marks=pytest.mark.timeout(1200)),
        pytest.param(200_000, (0,) * 20, id="many", marks=(pytest.mark.soak, pytest.mark.timeout(3600))),
    ],
)
def test_over_kills_of_everybody_the_server_has_each_event_once(
    service, write, begin_outages, trouble, wait_until, count, pauses
):
    seconds = sum(pauses) + SECONDS_OF_A_START * len(pauses)
    writer = write(count, count / seconds)
    service.start(writer.fd)
    wait_until(lambda: service.count("audit"), 60)

    outages = begin_outages(service.stream("audit"), pauses, 3)
    trouble(len(pauses), seconds)
    outages.result()
    writer.wait()

    assert service.differences(300) == {}
    assert service.logins() == count
