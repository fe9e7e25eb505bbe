//! CSV through the command line: what a capture holds, its import, its replay, and the map of its columns.

mod common;

use common::Place;

/// Trades of three symbols as Tardis has them.
fn tardis(rows: u64) -> String {
    let mut text = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n".to_owned();
    for row in 0..rows {
        let at = 1_600_000_000_000_000 + row * 1_000;
        let side = ["buy", "sell"][(row % 2) as usize];
        text.push_str(&format!("binance,S{},{at},{},{row},{side},{}.25,0.5\n", row % 3, at + 700, 100 + row % 7));
    }
    text
}

#[test]
fn tardis_is_counted_imported_and_replayed_to_one_digest() {
    let place = Place::new();
    place.write("trades.csv", tardis(3_000));
    let info = place.run("info trades.csv --format json").exits(0).json();
    assert_eq!((&info["format"], &info["events"], &info["symbols"]), (&"tardis".into(), &3_000.into(), &3.into()));
    assert_eq!(info["messages"]["trades"], 3_000);
    let stats = place.run("import trades.csv -o t.tape --stats").exits(0).stdout;
    assert!(stats.lines().any(|line| line.trim_start().starts_with("rows") && line.contains("3,000")), "{stats}");
    assert_eq!(place.replay("trades.csv")["digest"], place.replay("t.tape")["digest"]);
    // A cut in the last row costs that row.
    let text = tardis(3_000);
    place.write("cut.csv", &text[..text.len() - 5]);
    let cut = place.run("info cut.csv --format json").exits(3);
    assert_eq!(cut.json()["events"], 2_999);
    assert!(
        cut.stderr.contains("line 3001: the last line has no end") && cut.stderr.contains("offset"),
        "{}",
        cut.stderr
    );
}

#[test]
fn a_map_comes_by_file_by_flag_and_by_the_environment() {
    let place = Place::new();
    place.write("a.csv", "t,p,q\n1600000000,1.5,2\n1600000001,1.25,3\n");
    let unknown = place.run("info a.csv").exits(2);
    assert!(unknown.stderr.contains("[csv] in the configuration"), "{}", unknown.stderr);
    place.write("c.toml", "[csv]\nkind = \"trade\"\ntime = \"t\"\nprice = \"p\"\nsize = \"q\"\nprefix = \"X\"\n");
    let info = place.run("info a.csv --config c.toml --format json").exits(0).json();
    assert_eq!(
        (&info["format"], &info["events"], &info["first_ts"]),
        (&"csv".into(), &2.into(), &1_600_000_000_000_000_000_u64.into())
    );
    let dump = place.run("dump a.csv --config c.toml --set csv.prefix=Y --limit 1").exits(0).stdout;
    assert!(dump.contains("\"symbol\":\"Y\"") && dump.contains("\"price\":\"1.5\""), "{dump}");
    place.run("import a.csv --config c.toml -o a.tape").exits(0);
    place.run("replay a.csv --config c.toml --speed max --format json").exits(0);
    let missing = place.run("info a.csv --config c.toml --set csv.price=px").exits(2);
    assert!(missing.stderr.contains("no column \"px\", which csv.price"), "{}", missing.stderr);
    let wrong = place.run("info a.csv --set csv.kind=trade").exits(2);
    assert!(wrong.stderr.contains("csv.time"), "{}", wrong.stderr);
}
