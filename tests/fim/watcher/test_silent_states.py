"""What is learnt without an event, while an event of the same path is on its way to the router."""

import os


def test_content_changed_after_a_silent_hash_is_told_though_its_times_are_set_back(start, watched, tmp_path, lease):
    file, outside = watched / "file", tmp_path / "outside"
    outside.write_text("good")
    os.utime(outside, ns=(10**18, 10**18))
    running = start()
    with lease(outside):
        outside.rename(file)
        running.turn_until(lambda: running.told)  # created, unreadable: in the outbox
    file.chmod(0o644)
    running.settle()  # read now: kept silently
    running.forget_all()  # and overwritten by what is done

    with open(file, "r+b") as stream:
        stream.write(b"evil")
    os.utime(file, ns=(10**18, 10**18))
    running.settle()

    assert running.told == [("updated", "file")]


def test_what_is_excluded_now_is_forgotten_also_while_its_entry_waits_for_the_router(start, watched):
    running = start()
    (watched / "log").write_text("text")
    running.settle()

    running = start({"exclude": ("/log$",)})
    running.forget_all()

    assert running.watch.baseline.known(b"log") is None
