"""Everything that a study used can be cited, in BibTeX that parses, and what is said of it is what its facts say."""

import json
import re
import shutil
from pathlib import Path

import bibtexparser
import pytest
import synthetic
from bibtexparser.bparser import BibTexParser

from lrbench.config.faults import BadInput
from lrbench.plan import vocabulary
from lrbench.report.bibliography import METHODS, WORDS, bibtex, latex, named_in, references, used
from lrbench.report.checklist import checklist
from lrbench.report.cite import cited
from lrbench.report.findings import Findings
from lrbench.report.methods import methods
from lrbench.store import bundle, digest, load

COMMITTED = [
    pytest.param(path, id=path.parent.name, marks=[pytest.mark.exhaustive] * path.match("reference*/*/*"))
    for path in sorted((Path(__file__).parents[2] / "results" / "published").glob("*/*/study.toml"))
]
"""Those of the reference matrix have so many runs that it takes seconds to load one."""
BIB = Path(__file__).parents[2] / "lrbench" / "report" / "references.bib"
CATALOG = [(axis, entry) for axis, catalog in vocabulary().items() for entry in catalog.values()]


def parsed(text):
    """The entries of BibTeX by key; fails on what the parser leaves out, repeats or does not know."""
    found = bibtexparser.loads(text, BibTexParser(common_strings=False, ignore_nonstandard_types=False))
    assert found.comments == []
    assert len(found.entries) == len(re.findall(r"^@", text, re.MULTILINE)) == len(found.entries_dict)
    return found.entries_dict


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic.study(
        tmp_path_factory.mktemp("study") / "s", lrs=(1e-3, 1e-2, 1e-1), seeds=range(5), costs=synthetic.step_costs()
    )


class TestReferences:
    @pytest.mark.parametrize(("axis", "entry"), CATALOG, ids=lambda value: getattr(value, "name", value))
    def test_every_catalog_entry_cites_the_works_that_its_source_names(self, axis, entry):  # noqa: ARG002 - for its name
        """So studies that were stored without keys cite the same, in the same order."""
        named, unknown = named_in(entry.source)
        assert list(entry.cites) == [key for key in references() if key in named]
        assert entry.cites
        assert unknown == ()

    @pytest.mark.parametrize(("axis", "entry"), CATALOG, ids=lambda value: getattr(value, "name", value))
    def test_the_authors_and_years_are_those_that_the_source_names(self, axis, entry):
        """Of each `Someone [et al.] year, identifier` in a source, the reference has that someone and that year."""
        found = parsed("\n".join(references().values()))
        pattern = r"([A-Z][a-z]+)[^:;.]*? (\d{4}), ((?:arXiv|doi):[^\s,;]+)"
        for first, year, identifier in re.findall(pattern, entry.source):
            value = identifier.rstrip(".").partition(":")[2]
            [fields] = [fields for fields in found.values() if value in (fields.get("eprint"), fields.get("doi"))]
            plain = re.sub(r"[{}\\'\"]", "", fields["author"]).replace("Hagele", "Haegele")
            assert plain.startswith(first), (axis, entry.name)
            assert fields["year"] == year, (axis, entry.name)

    def test_all_parse_have_what_their_kind_needs_and_unique_keys(self):
        found = parsed("\n".join(references().values()))
        assert set(found) == set(references())
        whole = BIB.read_text(encoding="utf-8")
        assert len(re.findall(r"^@", whole, re.MULTILINE)) == len(references())
        assert bibtexparser.loads(whole, BibTexParser(common_strings=False)).entries_dict == found
        needs = {"article": {"journal"}, "inproceedings": {"booktitle"}, "misc": set()}
        for entry in found.values():
            assert {"author", "title", "year"} | needs[entry["ENTRYTYPE"]] <= set(entry)
            assert entry["ID"].startswith(
                re.sub(r"[^a-z]", "", entry["author"].split(",")[0].lower().replace(r"{\"a}", "ae"))[:6]
            )
            assert entry["year"] in entry["ID"]

    def test_braces_balance_and_nothing_is_beyond_ascii(self):
        for text in references().values():
            assert text.isascii()
            assert text.count("{") == text.count("}")
            assert not re.search(r"(?<!\\)[&%#$]", text)

    def test_no_identifier_belongs_to_two_works(self):
        found = parsed("\n".join(references().values())).values()
        marks = [fields[name] for fields in found for name in ("eprint", "doi") if name in fields]
        assert len(marks) == len(set(marks))
        assert set(WORDS.values()) | set(METHODS) <= set(references())

    def test_what_is_unknown_is_told(self):
        found, unknown = named_in("Kingma & Ba 2015, arXiv:1412.6980; somebody 2020, arXiv:2001.00001.")
        assert (found, unknown) == ({"kingma2015adam"}, ("arXiv:2001.00001",))
        assert named_in("an example.") == (set(), ())


class TestBibtex:
    def test_the_study_has_its_digest_version_commit_and_machine(self, study):
        found = digest(study.runs)
        entry = parsed(bibtex(study, 2031))[f"lrbench-study-synthetic-{found[:8]}"]
        assert entry["year"] == "2031"
        for part in (found, "Synthetic CPU", "cpu-2", "0123456789abcdef"):
            assert part in entry["note"]
        assert set(METHODS) | {"lrbench"} <= set(parsed(bibtex(study, 2031)))

    def test_a_source_that_is_not_known_is_cited_by_its_own_text(self, study):
        found = parsed(bibtex(study, 2031))
        assert found["lrbench-optimizer-adam"]["note"] == "somebody 2020, arXiv:2001.00001"
        assert "lrbench-layer-lr-uniform" in found

    def test_a_plug_in_is_cited_by_its_own_text_even_where_that_names_a_known_work(self, tmp_path):
        made = synthetic.study(tmp_path / "s", lrs=(1e-2,), seeds=(0,), optimizers=("adam",))
        for part in ("optimizers", "layer_lrs", "schedules"):
            for entry in made.facts[part].values():
                entry["source"] = "50 % of Kingma & Ba 2015, arXiv:1412.6980, by {me}_1"
        assert not any(one.own for one in used(made) if one.axis == "optimizer")
        values = json.loads(made.runs.run[0])
        values["optimizer"]["revision"] = "0123456789ab"
        made.runs["run"] = json.dumps(values)
        [one] = [one for one in used(made) if one.axis == "optimizer"]
        assert one.keys == ("kingma2015adam", "lrbench-optimizer-adam")
        assert r"50 \% of Kingma \& Ba" in parsed(bibtex(made, 2031))["lrbench-optimizer-adam"]["note"]

    def test_the_keys_of_an_entry_are_cited_whatever_its_text_says(self, tmp_path):
        made = synthetic.study(tmp_path / "s", lrs=(1e-2,), seeds=(0,), optimizers=("adam",))
        made.facts["optimizers"]["adam"] |= {
            "source": "a textbook",
            "cites": ["reddi2018convergence", "kingma2015adam"],
        }
        [one] = [one for one in used(made) if one.axis == "optimizer"]
        assert (one.keys, one.own) == (("kingma2015adam", "reddi2018convergence"), False)

    def test_any_text_is_safe(self):
        assert latex("a_{b} & 5 % #1 $x$ ä \\ ~") == (
            r"a\_\textbraceleft{}b\textbraceright{} \& 5 \% \#1 \$x\$ {\"a} \textbackslash{} \textasciitilde{}"
        )

    def test_order_of_files_changes_nothing(self, study, tmp_path):
        copy = shutil.copytree(study.folder, tmp_path / "copy")
        for old, new in (("a", "z"), ("b", "0")):
            (copy / "runs" / f"{old}.parquet").rename(copy / "runs" / f"{new}.parquet")
        assert cited(copy, year=2031) == cited(study.folder, year=2031)

    @pytest.mark.parametrize("path", COMMITTED)
    def test_committed_studies_cite_publications_for_all_they_used(self, path):
        committed = load(path.parent)
        ones = used(committed)
        assert [one.name for one in ones if one.own] == []
        assert {one.axis for one in ones} == {"workload", "optimizer", "layer_lr", "schedule"}


class TestText:
    def test_all_is_text_and_bibtex(self, study):
        told = cited(study.folder, "all", 2031)
        assert told == cited(study.folder, "text") + "\n# BibTeX\n\n" + cited(study.folder, "bibtex", 2031)
        with pytest.raises(BadInput, match="--format html: there is no such format"):
            cited(study.folder, "html")

    def test_every_key_in_brackets_is_an_entry(self, study):
        text, found = cited(study.folder, "text"), parsed(bibtex(study, 2031))
        keys = {
            key.strip()
            for part in re.findall(r"\[([a-z][a-z][^\]\n]*(?:\n[^\]]*)?)\]", text)
            for key in part.split(",")
        }
        assert {"lrbench", "holm1979simple", "lrbench-optimizer-adam"} <= keys
        assert keys <= set(found)

    def test_the_settings_are_those_of_the_runs(self, study):
        text = " ".join(cited(study.folder, "text").split())
        for part in (
            "6 strategies", "2 workloads", "180 runs", "the seeds 0 to 4", "commit 0123456789ab", "60 steps of 32 examples",
            "target accuracy >= 80.0 %", "0.001, 0.01, 0.1 (adam, rmsprop, sgd(momentum=0.9))",
            "Synthetic CPU", "PyTorch 2.14.1", "Licence: BSD-3",
        ):  # fmt: skip
            assert part in text, part

    def test_every_setting_of_every_choice_is_told_with_its_default(self, study):
        text = " ".join(cited(study.folder, "text").split())
        for values in map(json.loads, study.runs.run):
            for axis, words in {
                "optimizer": "optimizer",
                "layer_lr": "layer-lr policy",
                "schedule": "learning-rate schedule",
            }.items():
                choice = values[axis]
                assert f"- {words} {choice['label']}: label = {json.dumps(choice['settings']['label'])}." in text

    def test_settings_are_written_as_a_matrix_file_writes_them(self, tmp_path):
        made = synthetic.study(tmp_path / "s", lrs=(1e-2,), seeds=(0,), optimizers=("adam",))
        values = json.loads(made.runs.run[0])
        settings = {
            "betas": [0.9, 0.999],
            "t_max": 1.0,
            "every": 1,
            "nesterov": True,
            "parts": [{"name": "constant"}],
            "rest": {},
        }
        made.runs["run"] = json.dumps(values | {"optimizer": values["optimizer"] | {"settings": settings}})
        told = (
            'betas = [0.9, 0.999], t_max = 1.0, every = 1, nesterov = true, parts = [{name = "constant"}], rest = {}.'
        )
        assert f"- optimizer adam: {told}" in methods(Findings(made)).split("\n")

    def test_a_bundle_says_the_same(self, study, tmp_path):
        assert cited(bundle(study.folder, tmp_path / "b.tar.gz"), year=2031) == cited(study.folder, year=2031)


class TestChecklist:
    def unmet(self, study):
        return [item.asks for item in checklist(Findings(study)) if not item.met]

    def test_what_is_not_met_is_what_the_facts_lack(self, study, tmp_path):
        assert [ask.split(",")[0] for ask in self.unmet(study)] == [
            "The versions of the software are recorded",
            "Hardware",
            "Everything that was used has a publication to cite",
            "The record was trained again",
        ]
        poor = synthetic.study(
            tmp_path / "p", lrs=(1e-2,), seeds=(0, 1), optimizers=("adam",), change=synthetic.crash,
            machine={"commit": None, "dirty": None, "packages": {}, "torch": "", "precision": {}},
        )  # fmt: skip
        lacks = self.unmet(poor)
        for words in (
            "At least 5 seeds",
            "No run crashed",
            "The lr was selected",
            "The best lr",
            "Step costs",
            "versions",
            "known commit",
            "Hardware",
        ):
            assert any(ask.startswith(words) or words in ask for ask in lacks), words

    def test_settings_that_are_not_those_of_the_key(self, study):
        item = checklist(Findings(study))[0]
        assert (item.met, item.evidence) == (True, "180 of 180 runs")
        values = json.loads(study.runs.run[0])
        runs = study.runs.assign(run=[json.dumps(values | {"lr": 7.0}), *study.runs.run[1:]])
        assert (
            checklist(Findings(type(study)(study.folder, study.facts, study.machine, runs, study.skipped)))[0].evidence
            == "1 run with others"
        )

    @pytest.mark.parametrize(
        ("facts", "met", "found"),
        [
            ({}, True, "9 of 9 bitwise equal"),
            ({"study": {"digest": "0"}}, False, "its certificate.json is of another record"),
            ({"different": True, "verdict": "DIFFERENT: one"}, False, "DIFFERENT: one"),
            ({"counts": {"bitwise equal": 0, "not re-run": 5}}, False, "9 of 9 bitwise equal"),
            ({"counts": 7}, False, "its certificate.json is damaged: lrbench reproduce STUDY --output STUDY"),
        ],
    )
    def test_a_certificate_counts_if_it_is_of_this_record(self, facts, met, found, study, tmp_path):
        made = load(shutil.copytree(study.folder, tmp_path / "copy"))
        good = {"study": {"digest": digest(made.runs)}, "verdict": "9 of 9 bitwise equal", "different": False,
                "counts": {"bitwise equal": 5, "not re-run": 0}}  # fmt: skip
        (made.folder / "certificate.json").write_text(json.dumps(good | facts))
        item = checklist(Findings(load(made.folder)))[-1]
        assert (item.met, item.evidence) == (met, found)
        item = checklist(Findings(load(bundle(made.folder, tmp_path / "s.tar.gz"))))[-1]
        assert (item.met, item.evidence) == (met, found)

    def test_no_certificate_is_told_apart_from_one_that_cannot_be_read(self, study, tmp_path):
        made = load(shutil.copytree(study.folder, tmp_path / "copy"))
        assert checklist(Findings(made))[-1].evidence.startswith("there is no certificate.json in its folder")
        (made.folder / "certificate.json").write_text("{")
        assert checklist(Findings(load(made.folder)))[-1].evidence.startswith("its certificate.json is damaged")
