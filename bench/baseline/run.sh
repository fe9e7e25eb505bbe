#!/usr/bin/env bash
# The old design and ours on one generated tape: both lines of results, and the ratio. Ends with 1 when the results differ.
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
"${pinned[@]}" "$BASELINE" "$work/trace.tape" >"$work/ours.json"
"${pinned[@]}" python3 bench/baseline/baseline.py <"$work/trace.ndjson" >"$work/theirs.json"
python3 bench/baseline/compare.py "$work/theirs.json" "$work/ours.json"
