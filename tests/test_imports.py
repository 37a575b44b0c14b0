"""Help is instant and reports need no torch because slow libraries are imported where they are used."""

import subprocess
import sys

import pytest

import lrbench
from lrbench.cli import app

SLOW = {"torch", "torchvision", "seaborn", "matplotlib", "pandas", "pyarrow", "sklearn", "scipy"}


def imported(code):
    """Which slow libraries a fresh Python has imported after some code."""
    ending = f"\nimport sys\nprint('imported', *sorted({SLOW} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_and_the_package_itself_import_nothing_slow():
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {"run", "verify"} <= set(commands)
    lines = [[], *[[name] for name in commands]]
    code = f"""
import lrbench
from lrbench.cli import main
for line in {lines}:
    try:
        main([*line, "--help"])
    except SystemExit as end:
        assert not end.code
try:
    main(["--version"])
except SystemExit as end:
    assert not end.code
"""
    assert imported(code) == set()


def test_a_report_is_made_without_torch_and_pictures_are_imported_when_drawn(tmp_path):
    code = f"""
import lrbench.analyse, lrbench.report, lrbench.report.story, lrbench.store
from lrbench.cli import main
try:
    main(["report", {str(tmp_path)!r}])
except SystemExit as end:
    assert end.code == 2
"""
    assert not imported(code) & {"torch", "torchvision", "matplotlib", "seaborn"}


@pytest.mark.parametrize("name", lrbench.__all__)
def test_every_public_name_is_there(name):
    assert getattr(lrbench, name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lrbench' has no attribute 'nonsense'"):
        lrbench.nonsense  # noqa: B018 - the attribute access is what is tried
