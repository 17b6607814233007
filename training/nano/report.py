"""Print the scores that `lark eval --json` wrote as a table: python -m nano.report QUALITY_JSON."""

from __future__ import annotations

import json
import sys


def table(quality: dict) -> str:
    """Return the scores as a Markdown table, each beside the best constant answer."""
    rows = ["| measure | lark-nano | constant answer |", "| --- | --- | --- |"]
    return "\n".join(rows + [f"| {s['name']} | {s['model']:.3f} | {s['constant']:.3f} |" for s in quality["scores"]])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as f:
        print(table(json.load(f)))
