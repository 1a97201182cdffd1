"""Run all kills and faults, and write a table."""

import argparse
import sys
from time import monotonic

from benchmarks.faults import fits, outputs, stores
from benchmarks.faults.refusals import endure
from benchmarks.faults.survival import Stage, survive
from benchmarks.record import write_table


def main() -> None:
    """Run the benchmark; a lost file or an undocumented message ends it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="number of kills of every scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="run only scenes and faults with this in their name"
    )
    parser.add_argument("--name", default="faults", help="name of the table under results/")
    args = parser.parse_args()
    stage, kills, faults = Stage(), [], []
    for part in (fits, stores, outputs):
        files = part.prepare_files()
        for scene in part.scenes(files):
            if args.only in scene.name:
                print(scene.name, file=sys.stderr, flush=True)
                result = survive(scene, args.moments, stage=stage, seed=args.seed)
                tried = f"killed at {args.moments} random moments, {result.kills} of them before its end"
                kills.append({"what": scene.name, "tried": tried, "lost": 0, "seconds": result.seconds})
        for fault in part.faults():
            if args.only in fault.name:
                print(fault.name, file=sys.stderr, flush=True)
                start = monotonic()
                message = endure(fault, files, stage=stage) or "skipped: no such disk can be mounted"
                faults.append({"what": fault.name, "tried": message, "lost": 0, "seconds": monotonic() - start})
    if not kills + faults:
        parser.error(f"no scene or fault has {args.only!r} in its name")
    write_table(args.name, kills + faults, ["a lost file or an undocumented message ends the benchmark"])


if __name__ == "__main__":
    main()
