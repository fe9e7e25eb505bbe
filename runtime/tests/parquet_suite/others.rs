//! Files of other writers: pyarrow, polars, duckdb and fastparquet, made by `bench/parquet/make.py` with the rows beside them.

use crate::write::{Decoded, decode};
use std::fs;
use std::path::Path;
use tapeline_core::event::payload::{Bar, BarRest, Quote, Trade};
use tapeline_core::units::PRICE_UNDEFINED;
use tapeline_runtime::input::decimal::{common, price, size};
use tapeline_runtime::input::parquet::ParquetConfig;

/// The rows of a CSV without quotes, by name.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<String>>());
        Self { names: lines.next().unwrap(), rows: lines.collect() }
    }

    fn get(&self, row: usize, name: &str) -> &str {
        &self.rows[row][self.names.iter().position(|known| known == name).unwrap()]
    }

    fn price(&self, row: usize, name: &str) -> i64 {
        match self.get(row, name) {
            "" => PRICE_UNDEFINED,
            text => price(text.as_bytes()).unwrap(),
        }
    }

    fn size(&self, row: usize, name: &str) -> (u64, u8) {
        size(self.get(row, name).as_bytes()).unwrap()
    }

    fn number(&self, row: usize, name: &str) -> u64 {
        self.get(row, name).parse().unwrap()
    }
}

fn check(table: &Table, decoded: &Decoded, kind: &str, hint: &str) {
    assert!(decoded.error.is_none(), "{hint}: {:?}", decoded.error);
    assert_eq!((decoded.events.len(), decoded.tally.bad_lines), (table.rows.len(), 0), "{hint}: {:?}", decoded.tally);
    for (row, event) in decoded.events.iter().enumerate() {
        let hint = format!("{hint}, row {}", row + 1);
        let head = event.head();
        match kind {
            "trades" => {
                let trade = event.event().get::<Trade>().unwrap();
                let (size, scale) = table.size(row, "size");
                let expected = (table.price(row, "price"), size, table.get(row, "side"));
                let side = if trade.side().name() == "bid" { "buy" } else { "sell" };
                assert_eq!((trade.price, trade.size, side), expected, "{hint}");
                assert_eq!((head.scale, head.seq), (scale, table.number(row, "sequence")), "{hint}");
            }
            "quotes" => {
                let quote = event.event().get::<Quote>().unwrap();
                let (bid_sz, ask_sz, scale) = common(table.size(row, "bid_sz"), table.size(row, "ask_sz")).unwrap();
                assert_eq!(
                    (quote.bid_px, quote.ask_px, Quote::sizes(event.event()), head.scale),
                    (table.price(row, "bid_px"), table.price(row, "ask_px"), (bid_sz, ask_sz), scale),
                    "{hint}"
                );
            }
            _ => {
                let (bar, rest) = (event.event().get::<Bar>().unwrap(), BarRest::of(event.event()).unwrap());
                let expected = ["open", "high", "low", "close"].map(|name| table.price(row, name));
                assert_eq!([bar.open, bar.high, bar.low, rest.close], expected, "{hint}");
                assert_eq!((rest.volume, head.scale), table.size(row, "volume"), "{hint}");
                assert_eq!((rest.trades, rest.interval_ns), (table.number(row, "count"), 60_000_000_000), "{hint}");
                let start = table.number(row, "open_time") * 1_000_000;
                assert_eq!((head.ts_event.0, head.ts_recv.0), (start, start + 60_000_000_000), "{hint}");
                continue;
            }
        }
        assert_eq!(event.symbol, table.get(row, "symbol"), "{hint}");
        assert_eq!(
            (head.ts_event.0, head.ts_recv.0),
            (table.number(row, "ts_event"), table.number(row, "ts_event")),
            "{hint}"
        );
    }
}

#[test]
fn files_of_other_writers_hold_what_they_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut checked = 0;
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let kind = name.split('-').next().unwrap();
        let table = Table::read(&folder.join(format!("{kind}.csv")));
        let bytes = fs::read(path).unwrap();
        check(&table, &decode(&bytes, &ParquetConfig::default()), kind, name);
        checked += 1;
    }
    assert_eq!(checked, 35, "files of other writers");
}
