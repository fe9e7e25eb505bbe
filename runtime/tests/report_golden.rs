//! Golden forms of a report: the JSON object, the table, and the `.hgrm` file.
//!
//! `golden/java.hgrm` was not made by our code: a walk over the counts of [`samples`] written in Java after the public
//! sources of HdrHistogram, printed with `String.format` of OpenJDK 17 (three digits, 1 ns to 1 h, scaling 1,000). The
//! same walk and ours agreed byte for byte on 164 random histograms of 0 to 400 different values. For the distribution of
//! 10 million values in `IsLastValueBug.hgrm` of HdrHistogram's .NET repository, the last 17 rows, mean, deviation, maximum
//! and count that we print are those of that file.

mod reports;

use reports::{eventful, filled, plain};
use serde_json::Value;
use tapeline_core::ledger::Refusal;
use tapeline_core::shard::{ERROR_NO_ROOM, schema_error};
use tapeline_runtime::report::latency::new_histogram;
use tapeline_runtime::report::topics::TopicReport;
use tapeline_runtime::report::{DeadLetterCount, Report, Verdict, hgrm, json, text};

/// Compares line by line, so that a difference is seen at once.
fn assert_same(actual: &str, golden: &str) {
    for (number, (actual, golden)) in actual.lines().zip(golden.lines()).enumerate() {
        assert_eq!(actual, golden, "line {}", number + 1);
    }
    assert_eq!(actual, golden, "lengths or ends differ");
}

#[test]
fn the_hgrm_file_is_what_java_prints() {
    let mut ours = Vec::new();
    hgrm::write(&filled(new_histogram(), 1), hgrm::NS_PER_US, &mut ours).unwrap();
    assert_same(std::str::from_utf8(&ours).unwrap(), include_str!("golden/java.hgrm"));
}

/// What the plotter on hdrhistogram.github.io does with a file: lines that do not begin with # and have four fields
/// parted by blanks give a point (the fourth field, the first), if both are numbers.
#[test]
fn the_public_plotter_reads_every_line() {
    let histogram = filled(new_histogram(), 1);
    let mut file = Vec::new();
    hgrm::write(&histogram, hgrm::NS_PER_US, &mut file).unwrap();
    let file = String::from_utf8(file).unwrap();
    let points: Vec<(f64, f64)> = file
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').filter(|field| !field.is_empty()).collect::<Vec<_>>())
        .filter(|fields| fields.len() == 4)
        .filter_map(|fields| Some((fields[3].parse().ok()?, fields[0].parse().ok()?)))
        .collect();
    assert_eq!(
        points.len(),
        file.lines().count() - 6,
        "all but the two of the head, the last level and the three of the foot"
    );
    assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    for (inverse, value_us) in points {
        let exact = histogram.value_at_quantile(1.0 - 1.0 / inverse) as f64 / 1_000.0;
        assert!((value_us - exact).abs() <= exact * 0.02 + 0.01, "1/(1-p) = {inverse}: {value_us} and {exact}");
    }
}

#[test]
fn an_empty_histogram_is_a_file_without_points() {
    let mut file = Vec::new();
    hgrm::write(&new_histogram(), 1.0, &mut file).unwrap();
    let expected = "       Value     Percentile TotalCount 1/(1-Percentile)

#[Mean    =        0.000, StdDeviation   =        0.000]
#[Max     =        0.000, Total count    =            0]
#[Buckets =           32, SubBuckets     =         2048]
";
    assert_eq!(String::from_utf8(file).unwrap(), expected);
}

#[test]
fn the_table_of_an_eventful_run() {
    let table = text::table(&eventful());
    assert_same(&table, include_str!("golden/eventful.txt"));
    for line in table.lines() {
        assert!(line.chars().count() <= text::COLUMNS, "{line}");
        assert!(!line.contains('\u{1b}') && line == line.trim_end(), "{line:?}");
    }
}

#[test]
fn the_table_of_a_plain_run() {
    assert_same(&text::table(&plain()), include_str!("golden/plain.txt"));
}

#[test]
fn topics_name_the_states_of_their_events_as_the_ledger_does() {
    let topic = TopicReport {
        topic: "quotes".to_owned(),
        lane: "normal".into(),
        policy: "conflate".into(),
        offered: 1_000,
        refused: 1,
        delivered: 700,
        coalesced: 200,
        expired: 50,
        refused_after_admission: 30,
        dead_lettered: 12,
        in_flight: 7,
        peak_slots: 64,
        crowded: 3,
        ..TopicReport::default()
    };
    let mut report = plain();
    report.topics = vec![topic.clone(), TopicReport { offered: 5, delivered: 5, ..TopicReport::default() }];
    assert!(!text::table(&report).contains("quotes"), "no policy acts while the source waits");
    report.manifest.overload = "live".to_owned();
    let table = text::table(&report);
    let lines: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("topics")).take(4).collect();
    let expected = [
        "topics                          offered     delivered     peak  crowded",
        "  quotes (normal, conflate)         1,000           700       64        3",
        "           refused 1  coalesced 200  expired 50  refused_after_admission 30  dead_lettered 12",
        "           in_flight 7",
    ];
    assert_eq!(lines, expected, "{table}");
}

#[test]
fn the_object_is_one_line_with_these_names_in_this_order() {
    let line = json::line(&eventful());
    assert!(!line.contains('\n'));
    assert_same(&format!("{line}\n"), include_str!("golden/eventful.json"));
    let line = json::line(&plain());
    assert_same(&format!("{line}\n"), include_str!("golden/plain.json"));
}

/// The binding names, as the design lists them, with the type of each value.
#[test]
fn every_name_of_the_contract_is_there() {
    let object: Value = serde_json::from_str(&json::line(&eventful())).unwrap();
    let numbers = [
        "/manifest/captures/0/events",
        "/manifest/captures/0/symbols",
        "/manifest/captures/0/first_ts",
        "/manifest/captures/0/last_ts",
        "/manifest/shards",
        "/manifest/cores/0",
        "/manifest/speed",
        "/events/offered",
        "/events/accepted",
        "/events/refused",
        "/events/delivered",
        "/events/coalesced",
        "/events/expired",
        "/events/refused_after_admission",
        "/events/dead_lettered",
        "/events/in_flight",
        "/events/control",
        "/events/refused_by/duplicate",
        "/kinds/trade",
        "/outputs/alert",
        "/limits_hit/0/count",
        "/elapsed_ns",
        "/events_per_second",
        "/pacer/missed",
    ];
    for name in numbers {
        assert!(object.pointer(name).is_some_and(Value::is_number), "{name}");
    }
    let texts = [
        "/tool",
        "/version",
        "/command",
        "/manifest/captures/0/path",
        "/manifest/captures/0/sha256",
        "/manifest/config_sha256",
        "/manifest/driver",
        "/manifest/cpu",
        "/manifest/kernel",
        "/manifest/clocksource",
        "/limits_hit/0/name",
        "/verdict/reasons/0",
        "/verdict/notes/0",
        "/digest",
        "/digest_scope",
    ];
    for name in texts {
        assert!(object.pointer(name).is_some_and(Value::is_string), "{name}");
    }
    for name in ["/manifest/pinned", "/ledger_balanced", "/interrupted", "/saturated", "/verdict/valid"] {
        assert!(object.pointer(name).is_some_and(Value::is_boolean), "{name}");
    }
    for name in ["/manifest/rate", "/manifest/commit"] {
        assert!(object.pointer(name).is_some_and(Value::is_null), "{name}");
    }
    for place in ["/latency_ns/response", "/latency_ns/service", "/latency_ns/stages/ring wait", "/pacer/lag_ns"] {
        let summary = object.pointer(place).and_then(Value::as_object).expect(place);
        for name in ["count", "min", "p50", "p90", "p99", "p99_9", "p99_99", "max", "mean"] {
            assert!(summary.contains_key(name), "{place}/{name}");
        }
    }
    let unpaced: Value = serde_json::from_str(&json::line(&plain())).unwrap();
    assert_eq!(unpaced["manifest"]["speed"], "max");
    assert_eq!(unpaced.pointer("/latency_ns/response"), Some(&Value::Null));
    assert_eq!(unpaced.pointer("/pacer"), Some(&Value::Null));
}

#[test]
fn exit_codes_where_several_apply() {
    let valid = plain();
    let invalid = Report { verdict: Verdict::default(), ..plain() };
    let unbalanced = Report { ledger_balanced: false, ..plain() };
    let interrupted = Report { interrupted: true, ..unbalanced.clone() };
    let bad_lines = Report { tally: eventful().tally, ..plain() };
    for (report, input, strict, code) in [
        (&valid, None, true, 0),
        (&valid, Some(3), false, 3),
        (&valid, Some(2), false, 2),
        (&bad_lines, None, false, 3),
        (&invalid, None, false, 0),
        (&invalid, None, true, 1),
        (&invalid, Some(3), true, 3),
        (&unbalanced, None, false, 1),
        (&unbalanced, Some(3), false, 1),
        (&unbalanced, Some(2), false, 2),
        (&interrupted, Some(2), true, 130),
    ] {
        assert_eq!(report.exit_code(input, strict), code, "{input:?}, strict {strict}: {report:?}");
    }
}

#[test]
fn codes_of_the_engine_are_named_where_the_engine_gave_them() {
    let parked = |handler: &str, error| {
        let letter = DeadLetterCount {
            handler: handler.to_owned(),
            kind: "trade",
            error: Some(error),
            panicked: false,
            count: 1,
        };
        let report = text::table(&Report { dead_letters: vec![letter], ..eventful() });
        report.lines().find_map(|line| line.strip_prefix("parked")).expect("a line").trim().to_owned()
    };
    let broken = schema_error(Refusal::OutOfRange);
    assert_eq!(parked("no_room", ERROR_NO_ROOM), "no_room on trade, its topic was full: 1");
    assert_eq!(parked("schema", broken), "schema on trade, breaks its schema (out_of_range): 1");
    // The same numbers, as a user's handler may return them.
    assert_eq!(parked("mine", ERROR_NO_ROOM), "mine on trade, error 65534: 1");
    assert_eq!(parked("mine", broken), format!("mine on trade, error {broken}: 1"));
}
