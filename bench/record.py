"""Time our recorder: results from $BENCH_DATA into $LANGSMITH_ENDPOINT; prints {"wall_s": ...}."""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from recorder import record_langsmith_experiment

with open(os.environ["BENCH_DATA"]) as lines:
    results = [json.loads(line) for line in lines]
name = sys.argv[1] if len(sys.argv) > 1 else None
began = time.perf_counter()
recording = record_langsmith_experiment(f"bench-{os.getpid()}", results, experiment_name=name, verify=False)
wall = time.perf_counter() - began
print(
    json.dumps(
        {"wall_s": round(wall, 4), "runs_recorded": recording.runs_recorded, "rejected": len(recording.rejected)}
    )
)
