"""What the first visitor runs, as he runs it: packaging/quickstart, twice at once, each with its own lab."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from expect import must
from lab.stage import Stage

QUICKSTART = Path(__file__).resolve().parents[2] / "packaging/quickstart"
ROWS = 30  # a table with fewer shows less than it did


def quickstarts_at_once(stage: Stage) -> None:
    """Every row as expected and no frame in clear; on a slow machine one by itself."""
    labs = 2 if stage.lab.slowness < 2 else 1
    reports = [stage.lab.directory / f"quickstart-{number}.json" for number in range(labs)]
    running = [subprocess.Popen([str(QUICKSTART), "--build", str(stage.lab.build), "--json", str(report)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for report in reports]
    try:
        said = [process.communicate(timeout=120 + 120 * stage.lab.slowness)[0] for process in running]
    finally:
        for process in running:
            process.terminate()
            process.wait(30)
    for process, report, text in zip(running, reports, said, strict=True):
        must(report.exists(), f"exit {process.returncode} without a report: {text[-300:]}")
        shown = json.loads(report.read_text(encoding="utf-8"))
        wrong = [f"{row['device']}, {row['flow']}: {row['why']}" for row in shown["rows"] if not row["ok"]]
        must(not wrong, f"{len(wrong)} of {len(shown['rows'])} rows: " + " | ".join(wrong[:3]))
        must(len(shown["rows"]) >= ROWS, f"{len(shown['rows'])} rows")
        must(shown["clear_frames"] == 0 and process.returncode == 0, f"{shown['clear_frames']} frames in clear, exit {process.returncode}")
        print(f"# quickstart: {len(shown['rows'])} rows, {shown['clear_frames']} frames in clear, {labs} at once")
