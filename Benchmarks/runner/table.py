"""Prints what was found: a table for people, JSON for programs."""

import json
import statistics
import time

HEADINGS = ["row", "unit", "ours", "CPU us", "beside it", "CPU us", "ratio", "target", "met"]


def number(value):
    """With as many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def spread(values):
    """The median, and the lowest and highest where there are several."""
    text = number(statistics.median(values))
    return text if len(values) < 2 else f"{text} ({number(min(values))}-{number(max(values))})"


def cells(findings):
    row, figures = findings.row, findings.figures
    ours, beside = figures.get(findings.ours), figures.get(findings.beside)

    def name(key, default):
        return "" if key == default else f"{key} "
    return [
        row.name, row.unit,
        name(findings.ours, "ours") + spread(ours.values) if ours else "-",
        number(ours.cpu) if ours and ours.cpu is not None else "-",
        f"{findings.beside} {spread(beside.values)}" if beside else "-",
        number(beside.cpu) if beside and beside.cpu is not None else "-",
        spread(findings.ratios(findings.ours, findings.beside)) if findings.ratio is not None else "-",
        row.target.text(row.unit) if row.target else "-", findings.verdict]


def others(findings):
    """A line for each figure that has no column."""
    for name, figure in findings.figures.items():
        if name in (findings.ours, findings.beside):
            continue
        text = f"{name} {spread(figure.values)}"
        if figure.cpu is not None:
            text += f", CPU {number(figure.cpu)} us"
        if findings.ours in findings.figures and findings.row.target:
            text += f"; ours by it {spread(findings.ratios(findings.ours, name))}"
        yield text


def notes(all_findings):
    """What there is to say beside the table."""
    for findings in all_findings:
        for text in filter(None, [findings.row.work, *others(findings), *findings.notes, *findings.problems]):
            yield f"- {findings.row.name}: {text}"


def markdown(all_findings):
    """A table that can be read as it is, and pasted into a document."""
    lines = [HEADINGS, *map(cells, all_findings)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]

    def text(line):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
    return "\n".join([text(HEADINGS), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(text, lines[1:])])


def write_json(all_findings, path, **settings):
    with open(path, "w") as file:
        json.dump({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), **settings,
                   "rows": [findings.as_json() for findings in all_findings]}, file, indent=1)
        file.write("\n")
