"""Prints what was found: a table for people, JSON for programs."""

import json
import pathlib
import time


def figure(row):
    """The medians of a row, in a cell."""
    def text(value):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return ", ".join(f"{name} {text(found['median'])}" for name, found in row.figures.items())


def verdict(row):
    return "not judged" if row.is_met is None else "yes" if row.is_met else "NO"


def markdown(rows):
    lines = ["| work | unit | medians | measured | target | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row.work} | {row.unit} | {figure(row)} | {row.measured or '-'} | {row.target} | {verdict(row)} |")
    return "\n".join(lines)


def write(rows, machine_text, folder, settings):
    """Leaves table and JSON in `folder`; returns the path of the JSON."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = folder / f"{stamp}.json"
    path.write_text(json.dumps(
        {"machine": machine_text, "time": stamp, **settings, "rows": [row.as_json() for row in rows]}, indent=1))
    notes = "\n".join(f"- {row.name}: {note}" for row in rows for note in row.notes)
    path.with_suffix(".md").write_text(f"{machine_text}, {stamp}\n\n{markdown(rows)}\n\n{notes}\n")
    return path
