"""Results in the history of a git repository."""

import os
import subprocess

import pytest
from pandas.testing import assert_frame_equal
from synthetic import study

from lrbench.config.faults import BadInput
from lrbench.store import load
from lrbench.store.revision import results_of

SMALL = {"workloads": ["digits_mlp"], "optimizers": ["adam"], "schedules": ["constant"], "lrs": [1e-2]}
NOBODY = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(*arguments):
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, env=os.environ | NOBODY)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository whose first commit has a study with two seeds, the second three, and no commit the junk beside them."""
    repository = tmp_path_factory.mktemp("repository")
    for seeds in (2, 3):
        study(repository / "results" / "synthetic" / "cpu-2", seeds=range(seeds), **SMALL)
        (repository / "results" / "synthetic" / "cpu-2" / "report.md").write_text("a report")
        (repository / "results" / "link").unlink(missing_ok=True)
        (repository / "results" / "link").symlink_to("/etc")
        os.chdir(repository)
        git("init", "--quiet", "--initial-branch", "main")
        git("add", ".")
        git("commit", "--quiet", "--message", f"{seeds} seeds")
        git("tag", f"seeds-{seeds}")
    return repository


@pytest.fixture(autouse=True)
def there(made, monkeypatch):
    monkeypatch.chdir(made)


@pytest.mark.parametrize(
    ("place", "runs"), [("seeds-2", 2), ("HEAD~1", 2), ("main", 3), ("HEAD:results/synthetic", 3), ("HEAD:", 3)]
)
def test_a_revision_is_read_as_it_was(place, runs):
    with results_of(place) as (name, folder):
        [found] = folder.rglob("study.toml")
        assert len(load(found.parent).runs) == runs
        assert name == f"{place.partition(':')[0]} ({git('rev-parse', place.partition(':')[0])[:10]})"
        assert not [p for p in folder.rglob("*") if p.name in ("report.md", "link")]
    assert not folder.exists()


def test_it_is_the_study_that_was_committed(made):
    with results_of("main") as (_, folder):
        one, other = load(folder / "synthetic" / "cpu-2"), load(made / "results" / "synthetic" / "cpu-2")
        assert_frame_equal(one.runs, other.runs)
        assert (one.facts, one.machine, one.costs) == (other.facts, other.machine, other.costs)


def test_from_a_folder_inside_the_repository(made, monkeypatch):
    monkeypatch.chdir(made / "results" / "synthetic")
    with results_of("seeds-2") as (_, folder):
        assert list(folder.rglob("study.toml"))


def test_a_folder_comes_before_a_revision(made):
    git("branch", "--force", "results")
    with results_of("results") as (name, folder):
        assert (name, folder.resolve()) == ("results", made / "results")


def test_faults_name_the_revision_and_not_where_it_was_written():
    def read_damaged():
        with results_of("seeds-2") as (_, folder):
            (folder / "synthetic" / "cpu-2" / "machine.json").write_text("junk")
            load(folder / "synthetic" / "cpu-2")

    with pytest.raises(BadInput) as told:
        read_damaged()
    assert told.value.faults[0].startswith(
        "seeds-2:results/synthetic/cpu-2/machine.json: is damaged and cannot be read"
    )


@pytest.mark.parametrize(
    ("place", "inside", "said"),
    [
        ("nonsense", "results", "nonsense: is neither a folder nor a git revision (git knows no such commit here)."),
        ("", "results", "is neither a folder nor a git revision"),
        ("--help", "results", "--help: is neither a folder nor a git revision"),
        ("main:docs", "results", "main:docs: that commit has no study in docs."),
        ("main", "elsewhere", "main: that commit has no study in elsewhere."),
        ("main", "../..", "main: that commit has no study in ../..."),
    ],
)  # fmt: skip
def test_what_is_no_revision_with_results_is_told(place, inside, said):
    with pytest.raises(BadInput, match=r"^") as told, results_of(place, inside):
        pass
    assert said in told.value.faults[0]
    assert len(told.value.faults) == 1


def test_outside_of_any_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(BadInput, match="not a git repository"), results_of("main"):
        pass


def test_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadInput, match="git, which could know it as a revision, is not installed"), results_of("main"):
        pass
