"""What a run shows of itself, on a terminal and in a log file."""

from __future__ import annotations

import io
import time

from bench.progress import Progress, announce


class Terminal(io.StringIO):
    """A stream that claims to be one."""

    def isatty(self) -> bool:
        return True


def play(stream, events, **options):
    with Progress(4, events, stream, **options) as progress:
        announce(events, what="job", job=0)
        announce(events, what="cell", label="coins pooled weighted -> bold")
        announce(events, what="stored", key="a", status="done")
        announce(events, what="stored", key="b", status="failed")
        time.sleep(0.3)
        with events.open("a") as file:
            file.write('{"what": "end", "jo')  # a writer in the middle of its line
        progress.read()
        assert progress.in_flight == {0} and progress.finished == {"a", "b"}
        with events.open("a") as file:
            file.write('b": 0}\n')
    assert progress.ended == {0} and not progress.in_flight
    assert progress.counts == {"done": 1, "failed": 1}
    return stream.getvalue()


def test_a_terminal_shows_cells_done_the_current_cell_and_the_time_left(tmp_path):
    shown = play(Terminal(), tmp_path / "events")
    assert "2/4" in shown and "<00:0" in shown and "coins pooled weighted -> bold, 1 failed" in shown


def test_a_log_file_gets_lines_now_and_then(tmp_path):
    often = play(io.StringIO(), tmp_path / "often", interval=0.0).splitlines()
    rarely = play(io.StringIO(), tmp_path / "rarely", interval=60.0).splitlines()
    assert len(often) > len(rarely) == 1
    assert rarely[0].startswith("2/4 cells, 1 failed, 00:00 gone, 00:00 left: coins pooled weighted -> bold")
