"""Tables of a report as LaTeX, with the rules of booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from salearn.report.blocks import Table

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "≤": r"$\leq$",
    "×": r"$\times$", "–": "--", "∞": r"$\infty$",
}  # fmt: skip


def latex(table: Table) -> str:
    """A table environment to \\input; needs \\usepackage{booktabs}."""
    columns = "l" * table.fixed + "r" * (len(table.headers) - table.fixed)
    caption = " ".join(part for part in (table.caption, table.note) if part)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(table.headers),
        r"\midrule",
        *(_line(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"


def escape(text: str) -> str:
    """Text in which no letter is a command."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
