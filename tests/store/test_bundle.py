"""A bundle is the study, whole, checked and always the same; what is not one is refused in a line."""

import gzip
import io
import shutil
import subprocess
import tarfile
from contextlib import suppress

import pictures
import pytest
import synthetic

from lrbench.config.faults import BadInput
from lrbench.report import results, write_reports
from lrbench.report.story import story
from lrbench.store import bundle, digest, load, one_study, studies
from lrbench.store.archive import SUMS, pack


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic.study(
        tmp_path_factory.mktemp("study") / "synthetic" / "cpu-2",
        workloads=["digits_mlp"],
        lrs=(1e-2, 1e-1),
        seeds=(0, 1),
    )


@pytest.fixture
def packed(study, tmp_path):
    return bundle(study.folder, tmp_path / "s.tar.gz")


def archive_of(members):
    """A gzipped tar of (TarInfo, content) pairs, as anyone could make it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name, kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


class TestContent:
    def test_it_is_the_study(self, study, packed):
        found = load(packed)
        assert found.runs.to_json() == study.runs.to_json()
        assert (found.facts, found.machine, found.costs) == (study.facts, study.machine, study.costs)
        assert digest(found.runs) == digest(study.runs)

    def test_the_same_study_is_the_same_bytes_wherever_and_whenever(self, study, packed, tmp_path):
        copy = shutil.copytree(study.folder, tmp_path / "elsewhere", copy_function=shutil.copy)
        for path in sorted(copy.rglob("*"), reverse=True):
            path.touch()
        assert bundle(copy, tmp_path / "again.tar.gz").read_bytes() == packed.read_bytes()

    def test_sha256sum_accepts_the_sums(self, packed, tmp_path):
        (tmp_path / "x").mkdir()
        subprocess.run(
            ["tar", "-xzf", packed, "-C", tmp_path / "x"], check=True
        )  # as a reader would, and tarfile of Python 3.11.2 has no filter
        [folder] = (tmp_path / "x").iterdir()
        done = subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, text=True, check=True)
        listed = {line.removesuffix(": OK") for line in done.stdout.splitlines()}
        assert listed == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {SUMS}
        assert "study.toml" in listed

    def test_unfinished_work_is_left_out(self, study, packed, tmp_path):
        copy = shutil.copytree(study.folder, tmp_path / "copy")
        (copy / "checkpoints").mkdir()
        (copy / "checkpoints" / "a.pt").write_bytes(b"half")
        (copy / "runs" / ".x.parquet.tmp").write_bytes(b"half")
        assert bundle(copy, tmp_path / "again.tar.gz").read_bytes() == packed.read_bytes()

    def test_a_bundle_inside_the_study_does_not_hold_itself(self, study, packed, tmp_path):
        copy = shutil.copytree(study.folder, tmp_path / "copy")
        for _ in range(2):
            assert bundle(copy, copy / "b.tar.gz").read_bytes() == packed.read_bytes()

    def test_by_default_it_is_named_for_matrix_and_machine_and_lies_here(self, study, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert str(bundle(study.folder)) == "synthetic-cpu-2.tar.gz"
        assert (tmp_path / "synthetic-cpu-2.tar.gz").is_file()


class TestInPlaceOfAFolder:
    @pytest.fixture(autouse=True)
    def _not_drawn(self):
        with pictures.not_drawn():
            yield

    def test_reports_are_written_beside_it(self, packed, tmp_path):
        assert write_reports(packed) == [tmp_path / "s" / "report.md"]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "s.tar.gz"]

    def test_the_report_is_that_of_the_folder(self, study, packed, tmp_path):
        copy = shutil.copytree(study.folder, tmp_path / "copy")
        [there], [here] = write_reports(copy), write_reports(packed)
        assert there.read_bytes() == here.read_bytes()

    def test_runs_are_told_and_tabled(self, study, packed):
        key = study.runs.key[0]
        assert story(packed, key)["key"] == key
        assert len(results(packed)) == len(study.runs)

    def test_a_place_stands_for_its_only_study(self, study, packed):
        assert one_study(study.folder.parents[1]) == study.folder
        assert (one_study(packed), studies(packed)) == (packed, [packed])

    def test_of_several_one_must_be_named(self, study, tmp_path):
        for name in ("a", "b"):
            shutil.copytree(study.folder, tmp_path / name)
        with pytest.raises(BadInput, match=r"holds 2 studies: .*Give one of them"):
            one_study(tmp_path)

    def test_one_unpacked_and_packed_again_by_plain_tar(self, study, packed, tmp_path):
        with tarfile.open(packed) as archive:
            archive.extractall(tmp_path / "here", filter="data")
        again = tmp_path / "again.tar.gz"
        subprocess.run(["tar", "czf", again, "-C", tmp_path / "here", "synthetic-cpu-2"], check=True)
        assert digest(load(again).runs) == digest(load(study.folder).runs)


class TestRefused:
    @pytest.mark.parametrize(
        "wrong",
        [
            member("s/../../evil"),
            member("/etc/evil"),
            member("s//evil"),
            member("s/./evil"),
            member("evil"),
            member("s/c:\\evil"),
            member("s/link", tarfile.SYMTYPE, "/etc/passwd"),
            member("s/link", tarfile.LNKTYPE, "s/study.toml"),
            member("s/pipe", tarfile.FIFOTYPE),
            member("../s", tarfile.DIRTYPE),
            member("/etc", tarfile.DIRTYPE),
        ],
        ids=lambda m: f"{m.name} {m.type.decode()}",
    )
    def test_anything_but_plain_files_in_one_folder(self, wrong, tmp_path):
        (tmp_path / "b.tar.gz").write_bytes(archive_of([(member("s/a"), b"a"), (wrong, b"")]))
        before = sorted(tmp_path.parent.rglob("*"))
        with pytest.raises(BadInput, match="is not a plain file inside its folder"):
            load(tmp_path / "b.tar.gz")
        assert sorted(tmp_path.parent.rglob("*")) == before

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "is not a bundle, or is damaged"),
            (b"workload = 1", "is not a bundle, or is damaged"),
            (gzip.compress(b"no tar"), "is not a bundle, or is damaged"),
            (archive_of([(member("s/a"), b"a")]), f"it has no {SUMS}"),
            (archive_of([(member("s/a"), b"a"), (member("s/a"), b"b")]), "is there twice"),
            (archive_of([(member("s/a"), b"a"), (member("t/a"), b"b")]), "it has 2 folders instead of one"),
            (archive_of([(member("s/a"), b"a"), (member(f"s/{SUMS}"), b"junk")]), "is not a bundle, or is damaged"),
            (archive_of([(member("s/a"), b"a"), (member(f"s/{SUMS}"), b"\xff\xfe")]), "is not a bundle, or is damaged"),
            (archive_of([(member("s/a"), b"a"), (member(f"s/{SUMS}"), b"00  a\n")]), "a has not the content"),
            (pack("s", {"a": b"a"}), "is not a study"),
        ],
        ids=range(10),
    )
    def test_what_is_no_bundle_or_no_study(self, content, said, tmp_path):
        (tmp_path / "b.tar.gz").write_bytes(content)
        with pytest.raises(BadInput, match=said) as told:
            load(tmp_path / "b.tar.gz")
        [line] = told.value.faults
        assert line.startswith(f"{tmp_path / 'b.tar.gz'}: ")

    def test_every_cut_and_every_flipped_byte(self, packed):
        whole = packed.read_bytes()
        for at in range(0, len(whole) - 8, len(whole) // 40):
            for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]):
                packed.write_bytes(damaged)
                with (
                    pytest.raises(BadInput) if at >= 10 else suppress(BadInput)
                ):  # before: the header of gzip, which holds no content
                    load(packed)

    @pytest.mark.parametrize("change", ["edit", "add", "remove"])
    def test_content_that_is_not_what_the_sums_say(self, change, packed):
        with tarfile.open(packed) as archive:
            members = [(m, archive.extractfile(m).read()) for m in archive]
        if change == "edit":
            members = [
                (m, c.replace(b"synthetic", b"synthetik") if m.name.endswith("study.toml") else c) for m, c in members
            ]
        elif change == "add":
            members.append((member(f"{members[0][0].name.partition('/')[0]}/more.txt"), b"more"))
        else:
            members = [(m, c) for m, c in members if not m.name.endswith("machine.json")]
        packed.write_bytes(archive_of(members))
        with pytest.raises(BadInput, match=rf"has not the content that {SUMS} says"):
            load(packed)

    def test_a_link_in_the_study(self, study, tmp_path):
        copy = shutil.copytree(study.folder, tmp_path / "copy")
        (copy / "passwords").symlink_to("/etc/passwd")
        with pytest.raises(BadInput, match="is a link"):
            bundle(copy, tmp_path / "b.tar.gz")
        assert not (tmp_path / "b.tar.gz").exists()

    def test_a_damaged_study_and_what_is_none(self, study, packed, tmp_path):
        copy = shutil.copytree(study.folder, tmp_path / "copy")
        (copy / "machine.json").write_text("junk")
        for place, said in ((copy, "is damaged"), (tmp_path / "none", "holds no study"), (packed, "is a file")):
            with pytest.raises(BadInput, match=said):
                bundle(place, tmp_path / "b.tar.gz")
        with pytest.raises(BadInput, match="is a folder"):
            bundle(study.folder, tmp_path)
        assert not (tmp_path / "b.tar.gz").exists()


class TestDigest:
    def test_order_files_and_clocks_do_not_enter(self, study):
        runs = study.runs.sample(frac=1.0, random_state=1).assign(train_seconds=7.0, width=99)
        assert digest(runs) == digest(study.runs)

    @pytest.mark.parametrize("name", ["status", "test_metric", "val_loss", "loss_digest"])
    def test_every_result_does(self, study, name):
        runs = study.runs.copy()
        row = runs.index[runs.status == "reached"][3]
        value = runs.at[row, name]
        runs.at[row, name] = "missed?" if isinstance(value, str) else value * (1 + 1e-6)
        assert digest(runs) != digest(study.runs)
