"""Writes the Parquet files of other writers that the tests of `runtime` read, and the rows that are in them.

    pip install pyarrow polars duckdb fastparquet
    python bench/parquet/make.py runtime/tests/golden/parquet

The rows are made here, from a seed; they are no market's. `trades.csv` and so on hold them as texts: the values that every file of that name
must give. Files: <rows>-<writer>-<form>.parquet. Made with pyarrow 26.0.1, polars 2.1.0, duckdb 2.0.1, fastparquet 2026.9.0.
"""

import csv
import pathlib
import random
import sys
from decimal import Decimal

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq

OUT = pathlib.Path(sys.argv[1])
ROWS = 60
START = 1_723_161_240_000_000_000


def rows(kind):
    rng = random.Random(f"tapeline {kind}")
    time, price = START, Decimal("60123.45")
    for row in range(ROWS):
        time += rng.randrange(1, 900_000) * 1000
        price += Decimal(rng.randrange(-500, 501)) / 100
        symbol = rng.choice(["BTC-USD", "ETH-USD", "X"])
        if kind == "trades":
            size = Decimal(rng.randrange(1, 10**7)) / 10**rng.randrange(0, 6)
            yield {"ts_event": time, "symbol": symbol, "side": rng.choice(["buy", "sell"]), "price": price, "size": size, "sequence": row + 1}
        elif kind == "quotes":
            tick = Decimal(rng.randrange(1, 50)) / 100
            yield {
                "ts_event": time,
                "symbol": symbol,
                "bid_px": None if rng.random() < 0.1 else price - tick,
                "ask_px": None if rng.random() < 0.1 else price + tick,
                "bid_sz": Decimal(rng.randrange(0, 10**6)) / 1000,
                "ask_sz": Decimal(rng.randrange(0, 10**6)) / 1000,
            }
        else:
            start = START + row * 60_000_000_000
            low = price - Decimal(rng.randrange(0, 300)) / 100
            high = price + Decimal(rng.randrange(0, 300)) / 100
            close = low + (high - low) / 2
            yield {
                "open_time": start // 1_000_000,
                "open": price,
                "high": high,
                "low": low,
                "close": close.quantize(Decimal("0.001")),
                "volume": Decimal(rng.randrange(0, 10**8)) / 1000,
                "close_time": start // 1_000_000 + 59_999,
                "count": rng.randrange(0, 1000),
            }


def text(value):
    if value is None:
        return ""
    if isinstance(value, Decimal):
        shown = f"{value:f}"
        return shown.rstrip("0").rstrip(".") if "." in shown else shown
    return str(value)


def number(value):
    """A Decimal as the float that a user's frame would hold."""
    return float(value) if isinstance(value, Decimal) else value


def table(kind, decimals, unit):
    """A table of Arrow: prices and sizes as doubles or decimals, times of the unit."""
    data = list(rows(kind))
    columns = {}
    for name in data[0]:
        values = [row[name] for row in data]
        if name == "ts_event":
            scale = {"ns": 1, "us": 1000, "ms": 1_000_000}[unit]
            columns[name] = pa.array([value // scale for value in values], pa.timestamp(unit, "UTC"))
        elif any(isinstance(value, Decimal) for value in values):
            kind_of = pa.decimal128(28, 9) if decimals else pa.float64()
            columns[name] = pa.array([value if decimals else number(value) for value in values], kind_of)
        elif name in ("symbol", "side"):
            columns[name] = pa.array(values).dictionary_encode() if decimals else pa.array(values)
        else:
            columns[name] = pa.array(values)
    return pa.table(columns)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for kind in ("trades", "quotes", "bars"):
        data = list(rows(kind))
        with open(OUT / f"{kind}.csv", "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(data[0].keys())
            writer.writerows([text(value) for value in row.values()] for row in data)
        plain, exact = table(kind, False, "us"), table(kind, True, "ns")

        def arrow(form, source, **options):
            pq.write_table(source, OUT / f"{kind}-pyarrow-{form}.parquet", store_schema=False, **options)

        arrow("snappy", plain, compression="snappy")
        arrow("decimal", exact, compression="zstd", data_page_version="2.0", store_decimal_as_integer=True)
        arrow("fixed", exact, compression="lz4", use_dictionary=False, row_group_size=50, write_page_checksum=True)
        split = [name for name in plain.column_names if pa.types.is_floating(plain.schema.field(name).type)]
        encodings = {name: "BYTE_STREAM_SPLIT" for name in split}
        for name in plain.column_names:
            if pa.types.is_integer(plain.schema.field(name).type) or pa.types.is_timestamp(plain.schema.field(name).type):
                encodings[name] = "DELTA_BINARY_PACKED"
            elif pa.types.is_string(plain.schema.field(name).type):
                encodings[name] = "DELTA_BYTE_ARRAY"
        arrow("encodings", plain, compression="gzip", use_dictionary=False, column_encoding=encodings, data_page_size=256)
        arrow("rows", plain, compression="none", row_group_size=7)
        if kind != "bars":
            arrow("int96", plain, use_deprecated_int96_timestamps=True)
        frame = polars.from_arrow(plain)
        frame.write_parquet(OUT / f"{kind}-polars-zstd.parquet", compression="zstd", row_group_size=64)
        frame.write_parquet(OUT / f"{kind}-polars-plain.parquet", compression="uncompressed", statistics=False)
        base = duckdb.connect()
        base.execute("set timezone = 'UTC'")
        base.register("plain", plain)
        base.register("exact", exact)
        for form, source, extra in [("v1", "plain", ""), ("v2", "plain", ", parquet_version v2"), ("decimal", "exact", ", compression zstd")]:
            path = OUT / f"{kind}-duckdb-{form}.parquet"
            base.execute(f"copy (select * from {source}) to '{path}' (format parquet{extra})")
        pandas_frame = plain.to_pandas()
        pandas_frame.to_parquet(OUT / f"{kind}-fastparquet-snappy.parquet", engine="fastparquet", index=False)


main()
