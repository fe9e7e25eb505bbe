#!/usr/bin/env bash
# The old design and ours on one generated tape, its trades and quotes alone and all of it: both lines of results, and the ratio; and the default
# pipeline over the same tape. Ends with 1 when the results differ.
#   bench/baseline/run.sh [EVENTS] [SEED]     default: 1000000 events, seed 1
# CORE=2 pins both to that core. TAPELINE and BASELINE name binaries that are built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
events=${1:-1000000}
seed=${2:-1}

for tool in python3 ${CORE:+taskset}; do
    command -v "$tool" >/dev/null || { printf 'baseline: %s is not installed\n' "$tool" >&2; exit 2; }
done
target=${CARGO_TARGET_DIR:-target}
if [ -z "${TAPELINE:-}" ]; then
    cargo build --locked --release --quiet -p tapeline
    TAPELINE=$target/release/tapeline
fi
if [ -z "${BASELINE:-}" ]; then
    cargo build --locked --release --quiet -p tapeline-runtime --example baseline
    BASELINE=$target/release/examples/baseline
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The same rate of events whatever their number, so that the window of dedup holds as many.
ms=$((events / 50 + 1))
"$TAPELINE" gen --output "$work/trace.tape" --events "$events" --seed "$seed" --duration "${ms}ms" >&2
"$TAPELINE" dump "$work/trace.tape" >"$work/trace.ndjson"
pinned=(${CORE:+taskset --cpu-list "$CORE"})
differs=0
for trace in priced all; do
    option=()
    if [ "$trace" = priced ]; then
        option=(--priced)
        printf '\n== trades and quotes: each event has a handler\n'
    else
        printf '\n== all kinds: those that nobody subscribed to cost the old design no task\n'
    fi
    "${pinned[@]}" "$BASELINE" "$work/trace.tape" "${option[@]}" >"$work/ours.json"
    "${pinned[@]}" python3 bench/baseline/baseline.py "${option[@]}" <"$work/trace.ndjson" >"$work/theirs.json"
    python3 bench/baseline/compare.py "$work/theirs.json" "$work/ours.json" || differs=1
done
# Not the same work: features, scanner, bridge, requests, publisher, strategy, history and two threads. It stands beside the figures above.
printf '\n== the default pipeline over the same tape\n'
"$TAPELINE" replay "$work/trace.tape" --speed max --shards 1 --format json 2>"$work/messages" | tail -n 1 >"$work/default.json" ||
    { cat "$work/messages" >&2; exit 1; }
python3 -c 'import json, sys; run = json.load(sys.stdin); print("default pipeline:", run["events"]["offered"], "events,",
    round(run["events_per_second"]), "a second, on", run["manifest"]["shards"], "shard, digest", run["digest"])' <"$work/default.json"
exit "$differs"
