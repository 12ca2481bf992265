"""What a result stands on is recorded: versions, and the files behind an estimator, however deep."""

from __future__ import annotations

import platform

from bench.provenance import source_files, source_hash, take_provenance
from tests.house import constant


def names(house, estimator):
    return [str(path.relative_to(house.root / "estimators")) for path in source_files(estimator)]


def test_the_source_of_an_estimator_includes_the_shared_parts_it_imports(move_in):
    house = move_in({"plain": constant(), "_part": "from estimators import _deep\n", "_deep": "", "_unused": ""})
    house.write_estimator("user", "from estimators._part import x\n" + constant())
    assert names(house, "plain") == ["plain.py"] and names(house, "user") == ["_deep.py", "_part.py", "user.py"]
    before = source_hash("user"), source_hash("plain")
    house.write_estimator("_deep", "x = 1\n")
    assert source_hash("user") != before[0] and source_hash("plain") == before[1]


def test_layout_and_words_are_not_source(move_in):
    house = move_in({"one": ""})
    write = house.write_estimator
    write("one", '"""What it is."""\nx = f(1, "ab")  # why\n\n\nclass A:\n    y: int = 0\n    """A field."""\n')
    before = source_hash("one")
    write("one", '"""Other words."""\nx = f(\n    1,\n    "a" "b",\n)\nclass A:\n    y: int = (0)\n')
    assert source_hash("one") == before
    write("one", '"""Other words."""\nx = f(1, "ac")\nclass A:\n    y: int = 0\n')
    assert source_hash("one") != before
    write("one", 'x = f(1, "ab")\nclass A:\n    y: int\n')
    assert source_hash("one") != before


def test_shared_packages_count_whole_and_late_imports_count_too(move_in):
    source = constant(fit="from estimators._world.model import Net")
    house = move_in({"late": source, "_weights": ""})
    folder = house.root / "estimators" / "_world"
    folder.mkdir()
    for name, text in (("__init__", ""), ("model", "from estimators._weights import weigh\n"), ("loss", "")):
        (folder / f"{name}.py").write_text(text)
    assert names(house, "late") == ["_weights.py", "_world/__init__.py", "_world/loss.py", "_world/model.py", "late.py"]


def test_provenance_names_versions_but_not_the_build_of_the_system():
    taken = take_provenance()
    assert taken.python == platform.python_version() and "numpy" in taken.packages
    assert platform.release() not in taken.platform
