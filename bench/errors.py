"""Errors a user can act on. Every message says what happened, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base of all errors that are the user's to mend; the CLI prints them without a traceback."""


class DataError(BenchError):
    """A log, a recording or a results file that cannot be used as it is."""


class UnknownNameError(BenchError):
    """A name that is not registered; lists what is, and what was probably meant."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
        self._arguments = (kind, name, names)

    def __reduce__(self):  # so that it survives the way back from a worker process
        return type(self), self._arguments


class NotFittedError(BenchError):
    """`estimate` was called before `fit`."""


class UnsupportedError(BenchError):
    """The data or the policy lack something this needs; the message says what."""
