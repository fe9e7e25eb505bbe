//! CSVs by a map of their columns, as a configuration says it: every kind, every key, times of day, files without a header.

#[allow(dead_code)]
mod line_suite;

use line_suite::{cut_everywhere, flip_everywhere, open, read};
use serde_json::{Value, json};
use tapeline_runtime::config::Layers;
use tapeline_runtime::input::detect::OpenOptions;

/// How captures are opened under this `[csv]` table.
fn options(table: &str) -> OpenOptions {
    let mut layers = Layers::default();
    layers.file("t.toml", &format!("[csv]\n{table}"));
    let loaded = layers.finish().unwrap_or_else(|faults| panic!("{table}: {faults}"));
    OpenOptions { csv: loaded.config.csv_map(), ..OpenOptions::default() }
}

fn events(table: &str, text: &str) -> Vec<Value> {
    let got = read(text.as_bytes(), &options(table));
    assert_eq!((got.format, got.tally.bad_lines), ("csv", 0), "{table}: {:?}", got.tally.first_bad_lines);
    got.events
}

/// The value of a field in each event.
fn each(events: &[Value], field: &str) -> Vec<Value> {
    events.iter().map(|event| event[field].clone()).collect()
}

/// As `data.binance.vision` offers trades.
const BINANCE: &str = "id,price,qty,quote_qty,time,is_buyer_maker
1,100.5,0.25,25.125,1704205800123,true
2,100.6,1e-3,0.1006,1704205800124,False
2,100.7,3,302.1,1704205800124,false
";

const BINANCE_MAP: &str =
    "kind = \"trade\"\ntime = \"time\"\ntime_unit = \"ms\"\nprice = \"price\"\nsize = \"qty\"\nseq = \"id\"
side = \"is_buyer_maker\"\nside_is = \"maker\"\nprefix = \"BINANCE_SPOT:BTCUSDT\"\nsource = \"binance.vision\"\n";

#[test]
fn trades_with_the_makers_side() {
    let events = events(BINANCE_MAP, BINANCE);
    assert_eq!(
        events[0],
        json!({"kind": "trade", "symbol": "BINANCE_SPOT:BTCUSDT", "source": "binance.vision",
               "ts_recv": 1_704_205_800_123_000_000_u64, "ts_event": 1_704_205_800_123_000_000_u64, "seq": 1, "part": 0,
               "flags": ["last"], "price": "100.5", "size": "0.25", "side": "ask", "action": null, "source_flags": 0,
               "depth": 0, "ts_in_delta": 0})
    );
    assert_eq!(each(&events, "side"), ["ask", "bid", "bid"]);
    assert_eq!(each(&events, "size"), ["0.25", "0.001", "3"]);
    assert_eq!(each(&events, "part"), [0, 0, 1]);
}

#[test]
fn times_of_day_in_a_zone_without_a_header() {
    // As LOBSTER: seconds after midnight in New York.
    let table = "kind = \"trade\"\nheader = false\ntime = 1\nsize = 4\nprice = 5\nside = 6\nseq = 3\ndate = \"2024-01-02\"\n\
                 zone = \"America/New_York\"\ntime_unit = \"s\"\nprefix = \"NASDAQ:AAPL\"\n";
    let events = events(table, "34200.004241176,1,16113575,18,187.15,1\n34200.1,1,16113584,18,187.14,-1\n");
    assert_eq!(each(&events, "ts_recv"), [1_704_205_800_004_241_176_u64, 1_704_205_800_100_000_000]);
    assert_eq!(each(&events, "side"), ["bid", "ask"]);
    assert_eq!(each(&events, "seq"), [16_113_575, 16_113_584]);
}

#[test]
fn days_in_a_column_and_other_delimiters() {
    for delimiter in [";", "\t", "|"] {
        let text =
            "sym;day;clock;px;qty\nA;2024-01-02;14:30:00.5;1,5;2\nB;20240103;14:30:00;2.5;3\n".replace(';', delimiter);
        let table = "kind = \"trade\"\nsymbol = \"sym\"\nprefix = \"X:\"\ndate = \"day\"\ntime = \"clock\"\nprice = \"px\"\nsize = \"qty\"\n";
        let got = read(text.as_bytes(), &options(table));
        // A comma is no decimal point.
        assert_eq!((got.events.len(), got.tally.bad_lines), (1, 1), "{delimiter:?}");
        assert_eq!(
            (&got.events[0]["symbol"], &got.events[0]["ts_event"]),
            (&json!("X:B"), &json!(1_704_292_200_000_000_000_u64))
        );
        assert_eq!(got.events[0]["source"], "csv.trade");
    }
}

#[test]
fn quotes_levels_and_bars() {
    let table = "kind = \"quote\"\nsymbol = \"s\"\ntime = \"t\"\nrecv_time = \"r\"\nbid_px = \"b\"\nbid_sz = \"bs\"\nask_px = \"a\"\nask_sz = \"as\"\n";
    let quotes =
        events(table, "t,r,s,b,bs,a,as\n1704205800,1704205801.25,S,1.5,10,1.75,0.5\n1704205800,1704205802,S,,,2,1\n");
    assert_eq!(each(&quotes, "bid_px"), [json!("1.5"), Value::Null]);
    assert_eq!(each(&quotes, "ask_sz"), ["0.5", "1"]);
    assert_eq!(each(&quotes, "ts_recv"), [1_704_205_801_250_000_000_u64, 1_704_205_802_000_000_000]);
    assert_eq!(quotes[0]["flags"], json!(["last", "unsequenced"]));

    let table = "kind = \"book_level\"\nsymbol = \"s\"\ntime = \"t\"\nprice = \"p\"\nsize = \"q\"\nside = \"d\"\nsnapshot = \"snap\"\norders = \"n\"\nseq = \"u\"\n";
    let text = "t,s,p,q,d,snap,n,u\n1704205800,S,1.5,10,B,1,3,7\n1704205800,S,1.75,5,S,1,1,7\n1704205801,S,1.5,0,B,0,0,8\n1704205802,S,1.5,4,B,0,0,8\n";
    let levels = events(table, text);
    assert_eq!(each(&levels, "action"), ["clear", "set", "set", "delete", "set"]);
    // Times differ, so that these are two messages; they share a number, so that their parts differ.
    assert_eq!(each(&levels, "part"), [0, 1, 2, 0, 1]);
    assert_eq!(each(&levels, "order_count"), [0, 3, 1, 0, 0]);
    let flags =
        [json!(["snapshot"]), json!(["snapshot"]), json!(["last", "snapshot"]), json!(["last"]), json!(["last"])];
    assert_eq!(each(&levels, "flags"), flags);

    let table = "kind = \"bar\"\nprefix = \"S\"\ntime = \"t\"\nopen = \"o\"\nhigh = \"h\"\nlow = \"l\"\nclose = \"c\"\nvolume = \"v\"\ntrade_count = \"n\"\nvwap = \"w\"\ninterval = \"1m\"\n";
    let text = "t,o,h,l,c,v,n,w\n2024-01-02 14:30:00,1,4,0.5,2,10.5,7,1.25\n";
    let bars = events(table, text);
    assert_eq!(
        bars[0],
        json!({"kind": "bar", "symbol": "S", "source": "csv.bar", "ts_recv": 1_704_205_860_000_000_000_u64,
               "ts_event": 1_704_205_800_000_000_000_u64, "seq": 0, "part": 0, "flags": ["last", "unsequenced"], "open": "1",
               "high": "4", "low": "0.5", "close": "2", "volume": "10.5", "interval_ns": 60_000_000_000_u64, "trades": 7, "vwap": "1.25"})
    );
    let ended = events(&format!("{table}bar_time = \"end\"\n"), text);
    assert_eq!(
        (&ended[0]["ts_event"], &ended[0]["ts_recv"]),
        (&json!(1_704_205_740_000_000_000_u64), &json!(1_704_205_800_000_000_000_u64))
    );
}

/// Each key that names a column: another column gives other events.
#[test]
fn every_column_is_read() {
    let text = "1704205800,1704205801,11,2,3,true,4,5,6,7,8,9,10,1704205899\n1704205800,1704205801,11,12,13,true,14,15,16,17,18,19,20,1704205899\n";
    let base = "header = false\ntime = 1\nrecv_time = 2\nsymbol = 3\ntime_unit = \"s\"\n";
    let kinds = [
        (
            "trade",
            "price = 4\nsize = 5\nside = 6\nseq = 7\n",
            &["price", "size", "side", "seq", "time", "recv_time", "symbol"][..],
        ),
        ("quote", "bid_px = 4\nbid_sz = 5\nask_px = 7\nask_sz = 8\n", &["bid_px", "bid_sz", "ask_px", "ask_sz"]),
        (
            "book_level",
            "price = 4\nsize = 5\nside = 6\nsnapshot = 6\norders = 7\n",
            &["price", "size", "side", "snapshot", "orders"],
        ),
        (
            "bar",
            "open = 4\nhigh = 5\nlow = 7\nclose = 8\nvolume = 9\ntrade_count = 10\nvwap = 11\n",
            &["open", "high", "low", "close", "volume", "trade_count", "vwap"],
        ),
    ];
    for (kind, columns, keys) in kinds {
        let table = format!("kind = \"{kind}\"\n{base}{columns}");
        let before = events(&table, text);
        for key in keys {
            let number = match *key {
                "side" | "snapshot" => continue,
                "time" | "recv_time" => 14,
                _ => 13,
            };
            let lines = table.lines().map(|line| {
                if line.starts_with(&format!("{key} = ")) { format!("{key} = {number}") } else { line.to_owned() }
            });
            let changed = lines.collect::<Vec<_>>().join("\n");
            assert_ne!(changed.trim(), table.trim(), "{key}");
            assert_ne!(events(&changed, text), before, "{kind}: {key}");
        }
    }
}

#[test]
fn what_does_not_fit_the_map_is_told_by_its_key() {
    let options = options(BINANCE_MAP);
    let error = open(b"id,price,quantity,time,is_buyer_maker\n", &options).err().unwrap();
    let told = "f: format not recognised at offset 0: its first line names no column \"qty\", which csv.size of the configuration asks for";
    assert_eq!((error.to_string().as_str(), error.exit_code()), (told, 2));
    // What tells its format itself needs no map.
    let tardis = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n";
    assert_eq!(open(tardis.as_bytes(), &options).unwrap().format(), "tardis");
    let mut layers = Layers::default();
    layers.file("t.toml", "[csv]\nkind = \"quote\"\ntime = \"t\"\nprefix = \"S\"\nbid_px = \"b\"");
    let told = layers.finish().unwrap_err().to_string();
    assert_eq!(told, "default: csv.ask_px = \"none\": which column is it? A quote needs one");
}

#[test]
fn a_last_line_without_an_end_is_a_row() {
    let text = BINANCE.trim_end();
    assert_eq!(events(BINANCE_MAP, text).len(), 3);
    let got = read(&line_suite::gz(text.as_bytes()), &options(BINANCE_MAP));
    assert_eq!((got.events.len(), got.tally.lines), (3, 3));
}

#[test]
fn cut_at_every_byte_and_flipped() {
    let header = BINANCE.find('\n').unwrap();
    cut_everywhere(BINANCE.as_bytes(), header, &options(BINANCE_MAP));
    flip_everywhere(BINANCE.as_bytes(), header, &options(BINANCE_MAP), 7);
}
