"""The rows: every file of this folder has a list ROWS; the table's order is that of the files' names."""

import importlib
import pathlib


def _all():
    names = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {row.name: row for module in modules for row in module.ROWS}


ALL = _all()
