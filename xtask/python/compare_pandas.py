"""The Python version's way of comparing: read every file, concatenate, group, write.

python compare_pandas.py OUTPUT_DIR DIR...   Prints seconds and peak memory. Needs pandas.
"""
import json
import resource
import sys
import time
from pathlib import Path

import pandas as pd


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path).assign(source_file=str(path))
    with path.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.strip()]
    return pd.DataFrame(records).assign(source_file=str(path))


def main() -> None:
    started = time.perf_counter()
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    for root in map(Path, sys.argv[2:]):
        found = sorted(root.rglob("unified_results.jsonl"))
        paths += found or sorted(root.rglob("unified_results.csv"))
    merged = pd.concat([read(path) for path in paths], ignore_index=True)
    merged = merged.drop_duplicates(["backend", "workload", "run_id", "timestamp"])
    merged = merged.sort_values(["workload", "run_id", "backend"])
    read_done = time.perf_counter()
    summary = merged.groupby("backend")[["throughput", "latency_p95", "latency_p99", "success_rate"]].mean()
    columns = ["backend", "seed", "nodes", "parallelism", "config_hash"]
    distinct = merged.groupby(["workload", "run_id"])[columns].nunique(dropna=False)
    mismatches = distinct[(distinct["backend"] > 1) & (distinct[columns[1:]].max(axis=1) > 1)]
    grouped, cpu = time.perf_counter(), time.process_time()
    merged.assign(extra=merged["extra"].map(json.dumps)).to_csv(output / "comparison.csv", index=False, lineterminator="\n")
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(summary.round(3).to_string(), f"{len(mismatches)} mismatches", sep="\n")
    print(f"read+concat {read_done - started:.2f} s, group {grouped - read_done:.2f} s, "
          f"write {ended - grouped:.2f} s, CPU of read+concat+group {cpu:.2f} s, total {ended - started:.2f} s, CPU {time.process_time():.2f} s, peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
