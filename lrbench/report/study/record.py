"""What changed against the record: a study beside the published one of the same matrix and machine."""

from lrbench.analyse.changes import changes
from lrbench.analyse.pairs import Pair, match
from lrbench.report import changes_page as page
from lrbench.report.changes import Compared, Found, summary, warnings
from lrbench.report.document import Block, Paragraph, Section, Warnings, caption
from lrbench.report.findings import Findings
from lrbench.store import RECORD, in_record, load

TITLE = "What changed against the record"
MOST = 10
"""Changes that are told one by one."""


def changed(found: Findings) -> Section | None:
    """The changes for better or worse since the published study; nothing for a study that is in the record itself."""
    folder = found.study.folder
    if in_record(folder):
        return None
    place = folder.parent.parent / RECORD / folder.parent.name / folder.name
    if found.study.runs.empty or not (place / "study.toml").is_file():
        nothing = f"The record holds no study of {found.study.name} on this machine."
        return Section(TITLE, [Paragraph(nothing)], brief=True)
    recorded = load(place)
    pair = Pair(recorded, found.study)
    compared = Compared("the record", "this study", match([recorded], [found.study]), (Found(pair, changes(pair)),))
    picture = page.forest_figure(compared)
    shown: list[Block] = [picture, caption(page.FOREST)] if picture else []
    table = page.changed_table(compared, MOST)
    blocks = [Paragraph(f"{summary(compared)}."), *shown, *([table] if table.rows else [])]
    return Section(TITLE, [*blocks, Warnings(warnings(compared))], brief=True)
