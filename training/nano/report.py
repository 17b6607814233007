"""Print the scores that `lark eval --json` wrote as a table: python -m nano.report QUALITY_JSON."""

from __future__ import annotations

import json
import sys


def table(quality: dict) -> str:
    """Return the figures as a Markdown table, each with its interval, beside the best constant answer."""
    rows = ["| task | metric | lark-nano (95 %) | constant answer | n |", "| --- | --- | --- | --- | --- |"]
    for name, f in quality.items():
        constant = "" if f["constant"] is None else f"{f['constant']:.3f}"
        rows.append(f"| {name} | {f['metric']} | {f['value']:.3f} ({f['low']:.3f} to {f['high']:.3f}) | {constant} | {f['n']} |")
    return "\n".join(rows)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as f:
        print(table(json.load(f)))
