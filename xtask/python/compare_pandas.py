"""The Python version's way of comparing, timed: read each line as JSON, concatenate, group, write.

python compare_pandas.py OUTPUT_DIR DIR...   Prints one JSON object. Importing the libraries is not counted.
"""

import json
import sys
import time
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot

METRICS = ["throughput", "latency_p95", "latency_p99", "success_rate"]
SHAPE = ["seed", "nodes", "parallelism", "config_hash"]


def read(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.strip()]
    return pd.DataFrame(records).assign(source_file=str(path))


def mismatches(merged: pd.DataFrame) -> int:
    """Runs that several backends share and in which their configurations differ."""
    distinct = merged.groupby(["workload", "run_id"])[["backend", *SHAPE]].nunique(dropna=False)
    return int(((distinct["backend"] > 1) & (distinct[SHAPE].max(axis=1) > 1)).sum())


def bar_chart(table: pd.DataFrame, title: str, unit: str, path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 5))
    table.plot.bar(ax=axes, rot=0, title=title, ylabel=unit)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def write(output: Path, merged: pd.DataFrame, summary: pd.DataFrame, differing: int) -> None:
    output.mkdir(parents=True, exist_ok=True)
    lines = ["# Backend comparison", "", "| backend | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for backend, row in summary[METRICS].iterrows():
        lines.append(f"| {backend} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    lines += ["", f"Runs whose configurations differ: {differing}", ""]
    (output / "summary.md").write_text("\n".join(lines), encoding="utf-8")
    cells = merged.assign(extra=merged["extra"].map(json.dumps))
    cells.to_csv(output / "comparison.csv", index=False, lineterminator="\n")
    bar_chart(summary[["throughput"]], "Throughput", "items/s", output / "throughput_comparison.png")
    latencies = summary[["latency_p95", "latency_p99"]]
    bar_chart(latencies, "Latency", "ms", output / "latency_p95_p99_comparison.png")


def main() -> None:
    output, roots = Path(sys.argv[1]), [Path(root) for root in sys.argv[2:]]
    started = time.perf_counter()
    paths = [path for root in roots for path in sorted(root.rglob("unified_results.jsonl"))]
    merged = pd.concat([read(path) for path in paths], ignore_index=True)
    merged = merged.drop_duplicates(["backend", "workload", "run_id", "timestamp"])
    merged = merged.sort_values(["workload", "run_id", "backend"])
    read_at = time.perf_counter()
    groups = merged.groupby("backend")
    summary = groups[METRICS].mean()
    groups[["throughput", "latency_p50"]].quantile([0.05, 0.5, 0.95])
    differing = mismatches(merged)
    computed_at = time.perf_counter()
    write(output, merged, summary, differing)
    written_at = time.perf_counter()
    print(
        json.dumps(
            {
                "pandas": pd.__version__,
                "records": len(merged),
                "mismatches": differing,
                "mean_throughput": summary["throughput"].to_dict(),
                "read_seconds": read_at - started,
                "compute_seconds": computed_at - read_at,
                "write_seconds": written_at - computed_at,
            }
        )
    )


if __name__ == "__main__":
    main()
