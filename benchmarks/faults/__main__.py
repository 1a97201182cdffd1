"""Run all kills and faults, and write a table."""

import argparse
import re
import sys
from time import monotonic

from benchmarks.faults import compact, fits, outputs, stores
from benchmarks.faults.refusals import endure
from benchmarks.faults.survival import Stage, survive
from benchmarks.record import write_table


def main() -> None:
    """Run the benchmark; a lost file or an undocumented message ends it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="number of kills of every scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", metavar="PATTERN", default="", help="run only scenes and faults in whose name this is found"
    )
    parser.add_argument("--name", default="faults", help="name of the table under results/")
    args = parser.parse_args()
    stage, kills, faults = Stage(), [], []
    for part in (fits, stores, outputs, compact):
        files = part.prepare_files()
        for scene in part.scenes(files):
            if re.search(args.only, scene.name):
                print(scene.name, file=sys.stderr, flush=True)
                result = survive(scene, args.moments, stage=stage, seed=args.seed)
                tried = f"killed at {args.moments} random moments, {result.kills} of them before its end"
                kills.append({"what": scene.name, "tried": tried, "lost": 0, "seconds": result.seconds})
        for fault in part.faults():
            if re.search(args.only, fault.name):
                print(fault.name, file=sys.stderr, flush=True)
                start = monotonic()
                message = endure(fault, files, stage=stage) or "skipped: no such disk can be mounted"
                faults.append({"what": fault.name, "tried": message, "lost": 0, "seconds": monotonic() - start})
    if not kills + faults:
        parser.error(f"{args.only!r} is found in no name of a scene or fault")
    write_table(args.name, kills + faults, ["a lost file or an undocumented message ends the benchmark"])


if __name__ == "__main__":
    main()
