"""The report as one HTML file that loads nothing: figures, pictures and style are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from salearn.report.blocks import Block, Section, Table, Text
from salearn.report.facts import compared_rows, provenance_lines
from salearn.report.figures import save
from salearn.report.latex import latex
from salearn.report.parts import Report, parts_of
from salearn.report.sections import PartPage, part_page, tables_of
from salearn.report.tables import write_table
from salearn.store import write_text

TITLE = "Annotation-budget report"


def write_page(report: Report, out: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """Write report.html, its LaTeX tables and the tables and figures that only it has.

    Args:
        files: what was written already, for the list of files on the page.

    Returns:
        Name -> path of each file written.
    """
    parts = list(parts_of(report))
    pages = [part_page(part, report.how, alone=len(parts) == 1) for part in parts]
    paths: dict[str, Path] = {}
    for page in pages:
        paths |= _write_files(page, out)
    for table in tables_of([section for page in pages for section in page.sections]):
        paths[f"tables/{table.name}.tex"] = out / "tables" / f"{table.name}.tex"
        write_text(paths[f"tables/{table.name}.tex"], latex(table))
    paths["report"] = out / "report.html"
    names = sorted({*files, *paths} - {"report"})
    write_text(paths["report"], render_page(sections_of(report, pages, names)))
    return paths


def _write_files(page: PartPage, out: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, frame in page.frames.items():
        if not frame.empty:
            written = write_table(frame, out / name)
            paths |= {f"{name}.{kind}": path for kind, path in written.items()}
    for name, figure in page.drawings.items():
        written = save(figure, out / "figures" / name)
        paths |= {f"figures/{name}.{kind}": path for kind, path in written.items()}
    return paths


def sections_of(report: Report, pages: Sequence[PartPage], files: Sequence[str]) -> list[Section]:
    """The whole page: what was compared, what weakens it, each data set, how it was made."""
    warnings = tuple(report.warnings)
    doubts = Text(items=warnings) if warnings else Text(paragraphs=("None.",))
    return [
        Section(id="compared", title="What was compared", blocks=[_compared(report)]),
        Section(id="warnings", title="Warnings", blocks=[doubts]),
        *(section for page in pages for section in page.sections),
        Section(id="cells", title="Cells", blocks=[_cells(report)]),
        Section(
            id="provenance",
            title="Provenance",
            blocks=[Text(items=tuple(provenance_lines(report)))],
        ),
        Section(id="files", title="Files", blocks=[Text(items=tuple(files))]),
    ]


def _compared(report: Report) -> Block:
    rows = compared_rows(report)
    if not rows:
        return Text(paragraphs=("No run could be read; see Cells.",))
    return Table(
        name="compared", caption="Factors, budgets and cases", headers=["what", "values"],
        rows=rows, fixed=2,
    )  # fmt: skip


def _cells(report: Report) -> Block:
    rows = [
        [Path(cell["folder"]).name, str(cell["status"]),
         f"{cell.get('rounds', 0)}/{cell.get('planned', '?')}", str(cell.get("error") or "")]
        for cell in report.found.cells
    ]  # fmt: skip
    return Table(
        name="cells", caption="Every cell, used or not",
        headers=["folder", "status", "rounds", "cause"], rows=rows, fixed=4,
    )  # fmt: skip


def render_page(sections: Sequence[Section], title: str = TITLE) -> str:
    """The page as HTML; the same sections give the same text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("salearn.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(title=title, sections=sections) + "\n"
