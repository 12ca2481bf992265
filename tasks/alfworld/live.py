"""The live ALFWorld engine: TextWorld with ALFWorld's own domain and text grammar, without vision.

Own households (see `households.py`) and official game folders are played alike. The engine has no step limit and no
free-text parser: a command that is not admissible, letter by letter, is answered with "Nothing happens.".
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tasks.alfworld.games import GAME_FILE, Wording, make_game, read_game, wording_of

if TYPE_CHECKING:
    from tasks.alfworld.engine import QuickEngine

STEP_LIMIT = 30
"""Steps an agent may take per episode. The literature has 30 and 50 (`ALFWorld(step_limit=50)`); households here are
small: 99 of 100 demonstrations take at most 27."""
NOTHING = "Nothing happens."
"""The engine's answer to a command that is not admissible."""
VERSION = "alfworld 0.4.2, textworld 1.7.0, fast-downward-textworld 20.6.4, {} wording"
"""What recorded data are made with; the wording is `older` or `newer`."""

_ROOM, _TASK = "-= Welcome to TextWorld, ALFRED! =-\n\n", "\n\nYour task is to: "
_working = threading.Lock()  # the engine's parsers and translator keep their state in modules


class ALFWorld:
    """One player. Use it as a context manager, or call `close`.

    Args:
        wording: of own households; official games have their own.
        step_limit: steps per episode; taking more is an error.
        official: folder below which official games are named, for example `json_2.1.1/valid_unseen`.

    Raises:
        ImportError: textworld, alfworld or fast-downward-textworld is not installed.
    """

    def __init__(self, wording: Wording = "older", step_limit: int = STEP_LIMIT, official: Path | str | None = None):
        os.environ.setdefault("ALFWORLD_DATA", str(Path(tempfile.gettempdir()) / "alfworld"))  # else it makes ~/.cache
        try:
            from tasks.alfworld import engine
        except ImportError as error:
            raise ImportError(
                f"The live ALFWorld engine needs the package {error.name!r}, which is not installed. Install this "
                "project with the extra [alfworld] (needs g++ and Python 3.11 or 3.12), or use the recorded benchmark, "
                "which needs no engine."
            ) from error
        self.wording: Wording = wording
        self.step_limit, self.official = step_limit, None if official is None else Path(official)
        self._engines = engine
        self._engine: QuickEngine | None = None
        self._instance: str | None = None
        self._state: Any = None
        self._steps = 0

    def reset(self, instance: str) -> tuple[str, str]:
        """Starts an episode.

        Args:
            instance: `split/task-type/number` of an own household, or the folder of an official game: a path, or a name
                below the folder `official`.

        Returns:
            The task, and the room as first seen.

        Raises:
            ValueError: there is no such instance.
        """
        with _working:
            if instance != self._instance:
                self._load(instance)
            self._state = self._engine.reset()
        room, _, task = self._state.feedback.removeprefix(_ROOM).partition(_TASK)
        self._steps = 0
        return task.strip(), room.strip()

    def step(self, action: str) -> tuple[str, float, bool]:
        """Takes one action.

        Returns:
            The observation; the reward, 1 at success and else 0; and whether the episode ended, by success.

        Raises:
            RuntimeError: no episode is running, or its step limit is reached.
        """
        if self._state is None or self._state["won"]:
            state = "has ended" if self._state is not None else "was never started"
            raise RuntimeError(f"step({action!r}): the episode {state}; call reset(instance) first.")
        if self._steps >= self.step_limit:
            raise RuntimeError(f"step({action!r}): the limit of {self.step_limit} steps is reached; call reset.")
        self._steps += 1
        with _working:
            self._state, score, won = self._engine.step(action)
        return self._state.feedback.strip(), float(score), bool(won)

    @property
    def steps(self) -> int:
        """Steps taken in the running episode."""
        return self._steps

    def admissible_commands(self) -> list[str]:
        """The commands that would change or show something now, sorted; agents are not held to them."""
        self._require_episode()
        return list(self._state["admissible_commands"])

    def facts(self) -> tuple[str, dict[str, str]]:
        """The running game's problem in PDDL, and the displayed name of every identifier in it; for experts."""
        self._require_episode()
        return self._engine._game_data["pddl_problem"], self._engine.names

    def game_wording(self) -> Wording:
        """Wording of the running game."""
        self._require_episode()
        return wording_of(self._engine._game_data)

    def close(self) -> None:
        """Gives the engine back. Does nothing the second time."""
        with _working:
            if self._engine is not None:
                self._engines.give_back(self._engine)
        self._engine = self._instance = self._state = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_episode(self) -> None:
        if self._state is None:
            raise RuntimeError("No episode was started; call reset(instance) first.")

    def _load(self, instance: str) -> None:
        path = self._official_path(instance)
        game = make_game(instance, self.wording) if path is None else read_game(path)
        self._state = self._instance = None
        if self._engine is None:
            self._engine = self._engines.borrow()
        self._engine.load(game)
        self._instance = instance

    def _official_path(self, instance: str) -> Path | None:
        """The official game that an instance names, or None for an own household."""
        for path in (Path(instance), *([] if self.official is None else [self.official / instance])):
            if path.name == GAME_FILE or (path / GAME_FILE).exists():
                return path
        return None
