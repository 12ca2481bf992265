"""What a run is doing, on a terminal as a bar, elsewhere as a line now and then.

Workers append one line per event to a file that the parent reads. It needs no connection that could break, works the
same in one process and in many, and tells the parent which jobs were in flight when a worker was killed.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm


def announce(events: Path, **event: Any) -> None:
    """Appends one event; short enough for a single write."""
    with events.open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


class Progress:
    """Follows an event file and shows it; use as a context manager.

    Attributes:
        counts: finished cells by status.
        finished: keys of the finished cells.
        in_flight: indices of the jobs that were begun and have not ended.
        ended: indices of the jobs that have.
    """

    def __init__(self, total: int, events: Path, stream: TextIO | None = None, interval: float = 15.0):
        self.counts: Counter[str] = Counter()
        self.finished: set[str] = set()
        self.in_flight: set[int] = set()
        self.ended: set[int] = set()
        events.touch()
        stream = stream or sys.stderr
        self._total, self._events, self._stream, self._interval = total, events, stream, interval
        self._offset, self._label = 0, "starting"
        self._begun = self._last_line = time.monotonic()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._bar = tqdm(
            total=total, unit="cell", smoothing=0, dynamic_ncols=True, file=stream, disable=not stream.isatty()
        )

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.read()
        self._show(last=True)
        self._bar.close()

    def read(self) -> None:
        """Takes in whatever complete lines are new."""
        with self._lock, self._events.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
            complete = text[: text.rfind(b"\n") + 1]
            self._offset += len(complete)
            for line in complete.decode().splitlines():
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        match event["what"]:
            case "job":
                self.in_flight.add(event["job"])
            case "cell":
                self._label = event["label"]
            case "stored":
                self.finished.add(event["key"])
                self.counts[event["status"]] += 1
            case "end":
                self.in_flight.discard(event["job"])
                self.ended.add(event["job"])

    def _follow(self) -> None:
        while not self._stop.wait(0.2):
            self.read()
            self._show()

    def _show(self, last: bool = False) -> None:
        done = sum(self.counts.values())
        failed = f", {self.counts['failed']} failed" if self.counts["failed"] else ""
        if not self._bar.disable:
            self._bar.n = done
            self._bar.set_postfix_str(self._label + failed, refresh=True)
        elif last or time.monotonic() - self._last_line >= self._interval:
            self._last_line = time.monotonic()
            elapsed = self._last_line - self._begun
            left = tqdm.format_interval(elapsed * (self._total - done) / done) if done else "?"
            spent = tqdm.format_interval(elapsed)
            print(
                f"{done}/{self._total} cells{failed}, {spent} gone, {left} left: {self._label}",
                file=self._stream,
                flush=True,
            )
