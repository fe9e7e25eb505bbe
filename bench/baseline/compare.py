#!/usr/bin/env python3
"""Compares the result lines of the old design and of ours, and prints both and the ratio. Ends with 1 when they differ.

    compare.py THEIRS.json OURS.json
"""

import json
import sys

SAME = (
    "events", "duplicates", "dead_letters", "crossings_up", "crossings_down", "requests", "served", "cleared", "left",
    "served_hash", "averages_hash",
)
# Where one of these is 0, the trace did not exercise what is compared.
SEEN = SAME[:8]


def main():
    lines = [open(path, encoding="utf-8").read().strip() for path in sys.argv[1:3]]
    theirs, ours = (json.loads(line) for line in lines)
    print(*lines, sep="\n")
    different = [name for name in SAME if theirs[name] != ours[name]]
    for name in different:
        print(f"baseline: {name} differs: {theirs[name]} in the old design, {ours[name]} in ours", file=sys.stderr)
    idle = [name for name in SEEN if not ours[name]]
    for name in idle:
        print(f"baseline: {name} is 0: the trace is too short to compare anything", file=sys.stderr)
    if different or idle:
        sys.exit(1)
    ratio = ours["events_per_second"] / theirs["events_per_second"]
    print(f"same results; {ratio:.1f} times the old design's events per second")


if __name__ == "__main__":
    main()
