"""Kill everything, spoil everything, print and store a table."""

import argparse
import sys
from time import monotonic

from benchmarks.faults import fits, outputs, stores
from benchmarks.faults.refusals import endure
from benchmarks.faults.survival import Stage, survive
from benchmarks.record import write_table


def main() -> None:
    """What is lost, or not said as documented, ends it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="at which every scene is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="WORDS", default="", help="scenes and faults whose name has these in it")
    parser.add_argument("--name", default="faults", help="of the table under results/")
    given = parser.parse_args()
    stage, kills, spoils = Stage(), [], []
    for part in (fits, stores, outputs):
        before = part.belongings()
        for scene in part.scenes(before):
            if given.only in scene.name:
                print(scene.name, file=sys.stderr, flush=True)
                found = survive(scene, given.moments, stage=stage, seed=given.seed)
                tried = f"killed at {given.moments} random moments, {found.kills} of them before its end"
                kills.append({"what": scene.name, "tried": tried, "lost": 0, "seconds": found.seconds})
        for fault in part.faults():
            if given.only in fault.name:
                print(fault.name, file=sys.stderr, flush=True)
                start = monotonic()
                said = endure(fault, before, stage=stage) or "no such disk can be had here"
                spoils.append({"what": fault.name, "tried": said, "lost": 0, "seconds": monotonic() - start})
    if not kills + spoils:
        parser.error(f"nothing has {given.only!r} in its name")
    write_table(given.name, kills + spoils, ["what is lost, or not said as documented, ends the benchmark"])


if __name__ == "__main__":
    main()
