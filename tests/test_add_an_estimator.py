"""docs/add-an-estimator.md is true: its example, saved where it says, is listed, sound, and on the leaderboard."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.house import ROOT, House

PAGE = (ROOT / "docs" / "add-an-estimator.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (python .*?)(?:  +#.*)?$", PAGE, re.M)
(SOURCE,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
(NAME,) = re.findall(r"estimators/(\w+)\.py", PAGE)
PEERS = ("_weights", "importance_sampling", "behavior_average")


@pytest.fixture
def house(make_house) -> House:
    """A copy of the repository with the example, three of its neighbors, and the task that the page names."""
    house = make_house({NAME: SOURCE})
    for path in (*(f"estimators/{peer}.py" for peer in PEERS), "tasks/toy_chain", "pyproject.toml"):
        (house.root / path).symlink_to(ROOT / path)
    (house.root / "tests").mkdir()
    (house.root / "tests" / "test_conformance.py").write_text(
        (ROOT / "tests" / "test_conformance.py").read_text(encoding="utf-8")
    )
    return house


def front_door(command: str) -> list[str]:
    """Arguments of `python run_bench.py ...`."""
    prefix = ["python", "run_bench.py"]
    words = command.split()
    assert words[:2] == prefix, command
    return words[2:]


def command_with(word: str) -> str:
    (found,) = [command for command in COMMANDS if word in command.split()]
    return found


def test_the_example_is_listed_with_its_parameters(house):
    listed = house.cli(*front_door(command_with("list"))).stdout
    (block,) = [block for block in listed.split("\n\n") if block.startswith(f"{NAME}: ")]
    assert SOURCE.split('"""')[1] in block and "power: float = 0.8" in block and "less variance, more bias" in block


def test_the_example_passes_the_conformance_suite(house):
    words = command_with("pytest").split()
    done = subprocess.run(
        [sys.executable, *words[1:], "-p", "no:cacheprovider", "-rA"],
        cwd=house.root,
        env=without_paths(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert done.returncode == 0 and passed > 25, done.stdout[-3000:]
    assert (
        f"test_estimator[{NAME}-check_zero_overlap]" in done.stdout
        and f"test_variant[{NAME}[power=0.5]-" in done.stdout
    )


def test_the_example_is_on_the_leaderboard(house):
    run = front_door(command_with("run"))
    house.cli(
        *run,
        "--policy",
        "expert",
        "--policy",
        "random",
        "--policy",
        "careful",
        "--log",
        "pooled",
        "--n",
        "100",
        "--backend",
        "serial",
    )
    house.cli(*front_door(command_with("report")))
    pages = {
        path.name: path.read_text(encoding="utf-8")
        for path in (house.root / "results" / "mine" / "report").rglob("*.md")
    }
    rows = [line for page in pages.values() for line in page.splitlines() if line.startswith("|") and NAME in line]
    assert any(f"{NAME}[power=0.5]" in row for row in rows) and any(f"{NAME}[power=0.5]" not in row for row in rows), (
        list(pages)
    )
    assert any("importance_sampling" in line for page in pages.values() for line in page.splitlines())


def without_paths() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONDONTWRITEBYTECODE": "1"}
