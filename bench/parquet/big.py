"""Writes Parquet files of 5 million generated trades, for the figures of bench/README.md.

    python bench/parquet/big.py FOLDER
"""

import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

OUT, ROWS = pathlib.Path(sys.argv[1]), 5_000_000
rng = np.random.default_rng(7)
table = pa.table(
    {
        "ts_event": pa.array(1_723_161_240_000_000_000 + np.cumsum(rng.integers(1, 400_000, ROWS)), pa.timestamp("ns", "UTC")),
        "symbol": np.array(["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD"])[rng.integers(0, 4, ROWS)],
        "side": np.array(["buy", "sell"])[rng.integers(0, 2, ROWS)],
        "price": np.round(60000 + np.cumsum(rng.integers(-5, 6, ROWS)) / 100, 2),
        "size": np.round(rng.integers(1, 10**6, ROWS) / 10.0 ** rng.integers(0, 4, ROWS), 4),
        "sequence": np.arange(1, ROWS + 1),
    }
)
pq.write_table(table, OUT / "snappy.parquet", compression="snappy")
pq.write_table(table, OUT / "plain.parquet", compression="none", use_dictionary=["symbol", "side"])
pq.write_table(table.slice(0, 60_000), OUT / "ones.parquet", row_group_size=1)
