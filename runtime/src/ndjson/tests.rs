//! Golden lines of every kind; any bytes give one valid line.

use super::*;
use tapeline_core::event::payload::{
    BackfillDone, BackfillNeeded, BackfillRest, DeadLetterRest, DepthLevel, ErrorReport, FeatureRequest, Health,
    PRIORITY_UNSET, Payload, SymbolPromoted, SymbolQualified, System,
};
use tapeline_core::event::{EventBuf, Identity, KindVersion, Slot};
use tapeline_core::units::{SourceId, SymbolId};

fn catalog() -> Catalog {
    let mut catalog = Catalog::new(100);
    catalog.symbol("BINANCE_SPOT:ETHUSDT".as_bytes()).unwrap();
    catalog.symbol("quo\"te\n\u{1}é".as_bytes()).unwrap();
    catalog.symbol(b"bad\xff\xfeutf8").unwrap();
    catalog.source(b"binance.spot.trade", SeqRule::Increasing).unwrap();
    catalog
}

fn event<P: Payload>(payload: &P) -> EventBuf {
    let mut event = EventBuf::new(payload);
    let head = event.head_mut();
    head.ts_recv = UnixNanos(1_723_161_256_000_000_001);
    head.ts_event = UnixNanos::UNKNOWN;
    head.seq = 7;
    head.part = 1;
    head.symbol = SymbolId(1);
    head.source = SourceId(1);
    head.scale = 4;
    event.flag(Flags::LAST);
    event
}

fn line(event: &EventBuf) -> String {
    let mut out = Vec::new();
    write_event(&catalog(), EventRef::first(event.slots()).unwrap(), &mut out);
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    text
}

/// What follows the header of a line whose header is the usual one.
fn fields<'a>(kind: &str, line: &'a str) -> &'a str {
    let header = format!(
        "{{\"kind\":\"{kind}\",\"symbol\":\"BINANCE_SPOT:ETHUSDT\",\"source\":\"binance.spot.trade\",\
         \"ts_recv\":1723161256000000001,\"ts_event\":null,\"seq\":7,\"part\":1,\"flags\":[\"last\"]"
    );
    line.strip_prefix(&header).unwrap_or_else(|| panic!("{line} begins with {header}")).strip_suffix("}\n").unwrap()
}

#[test]
fn golden_line_of_a_trade_in_full() {
    let trade = Trade { price: 2_683_800_000_000, size: 30_292, side: 1, action: b'T', ..Trade::default() };
    let mut buf = event(&trade);
    buf.head_mut().ts_event = UnixNanos(5);
    buf.flag(Flags::SNAPSHOT.with(Flags(1 << 7)));
    assert_eq!(
        line(&buf),
        "{\"kind\":\"trade\",\"symbol\":\"BINANCE_SPOT:ETHUSDT\",\"source\":\"binance.spot.trade\",\
         \"ts_recv\":1723161256000000001,\"ts_event\":5,\"seq\":7,\"part\":1,\
         \"flags\":[\"last\",\"snapshot\",\"bit7\"],\"price\":\"2683.8\",\"size\":\"3.0292\",\"side\":\"bid\",\
         \"action\":\"T\",\"source_flags\":0,\"depth\":0,\"ts_in_delta\":0}\n"
    );
}

#[test]
fn golden_lines_of_market_data() {
    let quote = Quote { bid_px: 1_500_000_000, ask_px: i64::MAX, bid_sz: 20_000, ask_sz: 1 };
    assert_eq!(
        fields("quote", &line(&event(&quote))),
        r#","bid_px":"1.5","bid_sz":"2","ask_px":null,"ask_sz":"0.0001""#
    );
    let mut wide = event(&Quote { bid_sz: 0, ask_sz: 0, ..quote });
    wide.head_mut().flags = Flags::LAST;
    wide.push_value(&QuoteWide {
        bid_sz: u64::MAX,
        ask_sz: 3,
        bid_ct: 4,
        ask_ct: 5,
        price: -1,
        size: 6,
        action: b'A',
        side: 2,
        source_flags: 128,
        depth: 7,
        ts_in_delta: -8,
        interval_ns: 9,
    })
    .unwrap();
    wide.head_mut().flags = Flags::LAST.with(Flags::WIDE);
    let text = line(&wide).replace("[\"last\",\"wide\"]", "[\"last\"]");
    assert_eq!(
        fields("quote", &text),
        r#","bid_px":"1.5","bid_sz":"1844674407370955.1615","ask_px":null,"ask_sz":"0.0003","bid_ct":4,"ask_ct":5,"price":"-0.000000001","size":"0.0006","side":"ask","action":"A","source_flags":128,"depth":7,"ts_in_delta":-8,"interval_ns":9"#
    );
    let level = BookLevel { price: i64::MIN, size: 0, order_count: 2, side: 2, action: 1, source_flags: 3, depth: 4 };
    assert_eq!(
        fields("book_level", &line(&event(&level))),
        r#","action":"delete","side":"ask","price":"-9223372036.854775808","size":"0","order_count":2,"depth":4,"source_flags":3"#
    );
    let order =
        BookOrder { order_id: u64::MAX, price: 0, size: 10, side: 9, action: 0, source_flags: 1, channel_id: 2 };
    assert_eq!(
        fields("book_order", &line(&event(&order))),
        r#","order_id":18446744073709551615,"action":null,"side":9,"price":"0","size":"0.001","channel_id":2,"source_flags":1"#
    );
    let mut depth = event(&BookDepth { price: 1, size: 1, levels: 2, action: 200, side: 0, ..BookDepth::default() });
    let pair = DepthLevel { bid_px: 1_000_000_000, ask_px: i64::MAX, bid_sz: 1, ask_sz: 2, bid_ct: 3, ask_ct: 4 };
    depth.push_bytes(bytemuck::cast_slice(&[pair, pair])).unwrap();
    let pair = r#"{"bid_px":"1","bid_sz":"0.0001","bid_ct":3,"ask_px":null,"ask_sz":"0.0002","ask_ct":4}"#;
    assert_eq!(
        fields("book_depth", &line(&depth)),
        format!(
            r#","price":"0.000000001","size":"0.0001","side":"none","action":200,"source_flags":0,"depth":0,"ts_in_delta":0,"levels":[{pair},{pair}]"#
        )
    );
    let mut bar = event(&Bar { open: 1, high: 2, low: 3 });
    assert_eq!(
        fields("bar", &line(&bar)),
        r#","open":"0.000000001","high":"0.000000002","low":"0.000000003","close":null,"volume":null,"interval_ns":null,"trades":null,"vwap":null"#
    );
    bar.push_value(&BarRest { close: 4, volume: 5, interval_ns: 6, trades: 0, vwap: 7, ..BarRest::default() }).unwrap();
    assert!(
        fields("bar", &line(&bar))
            .ends_with(r#""close":"0.000000004","volume":"0.0005","interval_ns":6,"trades":null,"vwap":"0.000000007""#)
    );
    let status =
        Status { action: 7, reason: 1, trading_event: 2, is_trading: b'Y', is_quoting: b'~', ..Status::default() };
    assert_eq!(
        fields("status", &line(&event(&status))),
        r#","action":7,"reason":1,"trading_event":2,"is_trading":"Y","is_quoting":"~","is_short_sell_restricted":null"#
    );
    let gap = Gap { expected: 1, received: 3, missing: 2 };
    assert_eq!(fields("gap", &line(&event(&gap))), r#","expected":1,"received":3,"missing":2"#);
}

#[test]
fn golden_lines_of_texts_and_control() {
    // 55 bytes, and then a letter of two bytes that lies across two continuations.
    let text = format!("{}é \"end\"", "x".repeat(55));
    let mut news =
        event(&News { id: 1, provider: 0xab, text_bytes: text.len() as u32, urgency: 2, sentiment: -3, reserved: 0 });
    news.push_bytes(text.as_bytes()).unwrap();
    assert_eq!(
        fields("news", &line(&news)),
        format!(
            r#","id":1,"provider":"00000000000000ab","urgency":2,"sentiment":-3,"text":"{}é \"end\"""#,
            "x".repeat(55)
        )
    );
    let mut tick = EventBuf::new(&Tick { last: 1, ..Tick::default() });
    tick.head_mut().ts_recv = UnixNanos(9);
    assert_eq!(
        line(&tick),
        "{\"kind\":\"tick\",\"symbol\":\"\",\"source\":\"\",\"ts_recv\":9,\"ts_event\":0,\"seq\":0,\"part\":0,\
         \"flags\":[],\"last\":true}\n"
    );
    let catalog = catalog();
    let source = line(&catalog.source_def(SourceId(1)));
    assert!(source.ends_with("\"text\":\"binance.spot.trade\",\"seq_rule\":\"increasing\"}\n"), "{source}");
    let symbol = line(&catalog.symbol_def(SymbolId(2)));
    assert!(symbol.ends_with(",\"text\":\"quo\\\"te\\n\\u0001é\"}\n"), "{symbol}");
    assert!(line(&catalog.symbol_def(SymbolId(3))).contains("\"text\":\"bad\u{fffd}\u{fffd}utf8\""));
    assert_eq!(fields("epoch", &line(&event(&Epoch { number: 3, ..Epoch::default() }))), r#","number":3"#);
}

#[test]
fn golden_lines_of_outputs_with_their_cause() {
    let cause = Cause {
        root: Identity { seq: 8, symbol: SymbolId(2), part: 3, source: SourceId(1), pad: 0 },
        index: 4,
        handler: 5,
        ..Cause::default()
    };
    let derived = |mut buf: EventBuf, cause: Cause| {
        buf.push_value(&cause).unwrap();
        buf.flag(Flags::DERIVED);
        line(&buf).replace("[\"last\",\"derived\"]", "[\"last\"]")
    };
    let ending = r#","cause":{"source":"binance.spot.trade","symbol":"quo\"te\n\u0001é","seq":8,"part":3,"index":4,"handler":5,"timer_ns":null,"timer":null}"#;
    let alert = Alert { value: 0.1, reference: f64::NAN, rule: 2, severity: 3, side: 1, reserved: 0 };
    assert_eq!(
        fields("alert", &derived(event(&alert), cause)),
        format!(
            r#","rule":2,"rule_name":"volume_spike","severity":3,"side":"bid","value":0.1,"reference":null{ending}"#
        )
    );
    let signal = Signal { strength: -1.0, price: 2_000_000_000, strategy: 3, side: 2, reserved: [0; 3] };
    let by_timer = Cause { by_timer: 1, timer_ns: 99, timer: 17, ..cause };
    assert_eq!(
        fields("signal", &derived(event(&signal), by_timer)),
        format!(
            r#","strategy":3,"side":"ask","strength":-1.0,"price":"2"{}"#,
            ending.replace("\"timer_ns\":null,\"timer\":null", "\"timer_ns\":99,\"timer\":17")
        )
    );
    let mut features = event(&Features { ready: 5, interval_ns: 1_000_000_000, count: 3, set: 1 });
    features.push_bytes(bytemuck::cast_slice(&[0.1f64 + 0.2, -0.0, 1e300])).unwrap();
    assert_eq!(
        fields("features", &derived(features, cause)),
        format!(r#","set":1,"interval_ns":1000000000,"ready":5,"values":[0.30000000000000004,-0.0,1e300]{ending}"#)
    );
    // A derived bar without its second slot: the cause is not taken for it.
    assert!(derived(event(&Bar::default()), cause).contains("\"close\":null"));
}

#[test]
fn golden_lines_of_what_the_engine_says_of_itself() {
    let subscription = Subscription { handler: 0xab, topic: 1, priority: -3, subscribed: 1, reserved: [0; 5] };
    assert_eq!(
        fields("subscription", &line(&event(&subscription))),
        r#","handler":"00000000000000ab","topic":"0000000000000001","priority":-3,"subscribed":true"#
    );
    let mut system = event(&System { engine: 1, uptime_ns: 2, text_bytes: 2, shards: 3, phase: 1, reason: 9 });
    system.push_bytes(b"ok").unwrap();
    assert_eq!(
        fields("system", &line(&system)),
        r#","phase":"started","reason":9,"engine":"0000000000000001","uptime_ns":2,"shards":3,"text":"ok""#
    );
    let health =
        Health { value: 0.5, threshold: f64::NAN, state: 2, component: 1, reason: 3, number: 4, text_bytes: 0 };
    assert_eq!(
        fields("health", &line(&event(&health))),
        r#","state":"degraded","component":"shard","number":4,"reason":"error_rate","value":0.5,"threshold":null,"text":"""#
    );
    let error = ErrorReport { origin: 7, count: 2, text_bytes: 0, code: 5, severity: 3, component: 2 };
    assert_eq!(
        fields("error", &line(&event(&error))),
        r#","code":5,"severity":3,"component":"source","origin":"0000000000000007","count":2,"text":"""#
    );
    let gap = event(&Gap { expected: 1, received: 3, missing: 2 });
    let rest = DeadLetterRest {
        handler: 9,
        order: 8,
        failures: 7,
        error: 6,
        attempts: 5,
        cause: 1,
        redrives: 4,
        policy: 3,
        ..DeadLetterRest::default()
    };
    let mut letter = EventBuf::new(&Tick::default());
    let (whole, last) = (EventRef::first(gap.slots()).unwrap(), gap.slots()[0].ts_recv);
    DeadLetter::pack(whole, UnixNanos(2), last, &rest, &mut letter).unwrap();
    let text = line(&letter).replace(r#"["last","unsequenced"]"#, r#"["last"]"#);
    let inner = line(&gap);
    assert_eq!(
        fields("dead_letter", &text),
        format!(
            r#","handler":"0000000000000009","error":6,"attempts":5,"failures":7,"first_failure_ns":2,"cause":"failed","redrives":4,"policy":3,"order":8,"event":{}"#,
            inner.trim_end()
        )
    );
}

#[test]
fn golden_lines_of_requests_and_what_comes_of_them() {
    let request = FeatureRequest {
        groups: 0xff,
        rules: 1 << 1 | 1 << 7 | 1 << 31,
        waited_us: 2,
        alerts: 3,
        duplicates: 4,
        severity: 1,
        closed_by: 1,
        priority: PRIORITY_UNSET,
        reserved: 0,
    };
    assert_eq!(
        fields("feature_request", &line(&event(&request))),
        r#","groups":"00000000000000ff","rules":["breakout","halt","bit31"],"alerts":3,"duplicates":4,"severity":1,"closed_by":"timer","priority":null,"waited_us":2"#
    );
    let urgent = FeatureRequest { priority: 0, ..FeatureRequest::default() };
    assert!(
        line(&event(&urgent))
            .contains(r#""rules":[],"alerts":0,"duplicates":0,"severity":0,"closed_by":"full","priority":0,"#)
    );
    let qualified = SymbolQualified { score: 2.5, threshold: 2.0, rules: 4, qualified: 0, reserved: [0; 3] };
    assert_eq!(
        fields("symbol_qualified", &line(&event(&qualified))),
        r#","qualified":false,"score":2.5,"threshold":2.0,"rules":["volume_spike"]"#
    );
    let promoted = SymbolPromoted { score: 1.0, qualified_ns: 5, rules: 0, from_tier: 1, tier: 2, reserved: [0; 2] };
    assert_eq!(
        fields("symbol_promoted", &line(&event(&promoted))),
        r#","from_tier":1,"tier":2,"score":1.0,"qualified_ns":5,"rules":[]"#
    );
    let needed = BackfillNeeded { from_ns: 1, to_ns: 2, interval_s: 60, layer: 13, reason: 1, priority: 3 };
    assert_eq!(
        fields("backfill_needed", &line(&event(&needed))),
        r#","layer":"bar","interval_s":60,"from_ns":1,"to_ns":2,"reason":"gap","priority":3"#
    );
    let mut done = event(&BackfillDone { from_ns: 1, to_ns: 2, layer: 999, status: 3, ..BackfillDone::default() });
    assert_eq!(
        fields("backfill_done", &line(&done)),
        r#","layer":999,"interval_s":0,"from_ns":1,"to_ns":2,"status":"cancelled","events":null,"first_ns":null,"last_ns":null,"origin":"0000000000000000""#
    );
    done.push_value(&BackfillRest { events: 3, first_ns: 4, last_ns: 5, origin: 6, ..BackfillRest::default() })
        .unwrap();
    assert!(line(&done).ends_with("\"events\":3,\"first_ns\":4,\"last_ns\":5,\"origin\":\"0000000000000006\"}\n"));
    let quarantine = Quarantine { handler: 1, strikes: 3, quarantined: 1, reserved: [0; 11] };
    assert_eq!(
        fields("quarantine", &line(&event(&quarantine))),
        r#","handler":"0000000000000001","quarantined":true,"strikes":3"#
    );
}

#[test]
fn kinds_and_versions_of_the_future_show_their_bytes() {
    let mut buf = event(&Gap { expected: 1, received: 2, missing: 3 });
    buf.head_mut().kind = KindVersion::new(Kind(77), 2);
    buf.push_bytes(&[0xab]).unwrap();
    let text = line(&buf);
    assert_eq!(
        fields("unknown", &text),
        format!(
            r#","number":77,"version":2,"payload":"010000000000000002000000000000000300000000000000ab{}""#,
            "00".repeat(55)
        )
    );
    buf.head_mut().kind = KindVersion::new(Kind::TRADE, 1);
    assert!(fields("trade", &line(&buf)).starts_with(r#","number":8,"version":1,"payload":"0100"#));
}

#[test]
fn decimals_are_exact_at_every_scale() {
    let mut state = 1u64;
    for round in 0..200_000u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
        let mantissa = state >> (state >> 58);
        let mantissa = if round % 3 == 0 { mantissa / 1000 * 1000 } else { mantissa };
        let scale = (round % 40) as u8;
        let mut out = Vec::new();
        Line { out: &mut out }.decimal(false, mantissa, scale);
        let text = String::from_utf8(out).unwrap();
        let text = text.trim_matches('"');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        assert!(!fraction.ends_with('0') && (whole == "0" || !whole.starts_with('0')), "{mantissa} e-{scale}: {text}");
        // The naive way back: all digits, with the zeros that were left out.
        let zeros = "0".repeat(usize::from(scale) - fraction.len());
        let back: u128 = if mantissa == 0 { 0 } else { format!("{whole}{fraction}{zeros}").parse().unwrap() };
        assert_eq!(back, u128::from(mantissa), "{text} of scale {scale}");
    }
}

#[test]
fn any_bytes_are_one_valid_line() {
    let catalog = catalog();
    let mut state = 0x1234_5678u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut out = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..60_000 {
        let span = if round % 2 == 0 { 1 } else { 1 + (next() % 64) as usize };
        let mut slots: Vec<Slot> = (0..span)
            .map(|_| {
                let words: [u64; 8] = std::array::from_fn(|_| next());
                bytemuck::must_cast(words)
            })
            .collect();
        for slot in &mut slots[1..] {
            slot.kind = KindVersion::new(Kind::CONTINUATION, 0);
        }
        slots[0].set_span(span);
        if round % 8 != 0 {
            slots[0].kind = KindVersion::new(Kind::ALL[next() as usize % Kind::ALL.len()], 0);
            slots[0].symbol = SymbolId(next() as u32 % 5);
            slots[0].source = SourceId(next() as u8 % 3);
        }
        if next() % 4 == 0 {
            // A length that is nearly right.
            slots[0].payload[1] = slots[0].payload[1] & !0xffff_ffff | (next() % 4000);
            slots[0].payload[2] = slots[0].payload[2] & !0xffff_ffff | (next() % 500);
        }
        let Some(event) = EventRef::first(&slots) else { continue };
        out.clear();
        write_event(&catalog, event, &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "round {round}: {text}");
        assert!(out.len() < crate::diff::LINE_BYTES_MAX, "round {round}: {} bytes", out.len());
        let value: serde_json::Value =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("round {round}: {e}: {text}"));
        assert_eq!(value["seq"].as_u64(), Some(event.head().seq));
        let object = value.as_object().unwrap();
        let header = ["kind", "symbol", "source", "ts_recv", "ts_event", "seq", "part", "flags"];
        assert!(header.iter().all(|name| object.contains_key(*name)));
        seen.insert(value["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), Kind::ALL.len() + 1);
}
