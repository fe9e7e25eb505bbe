//! The layouts of the engine's own kinds, with offsets and types as the compiler has them.

use super::{Bounds, Layout, Tail};
use crate::event::payload::{
    Alert, BackfillDone, BackfillNeeded, BackfillReason, BackfillRest, BackfillStatus, Bar, BarRest, BookDepth,
    BookLevel, BookOrder, CloseReason, Component, DeadLetter, DepthLevel, Epoch, ErrorReport, FeatureRequest, Features,
    Gap, Health, HealthReason, HealthState, News, Quarantine, Quote, QuoteWide, Signal, SourceDef, Status,
    Subscription, SymbolDef, SymbolPromoted, SymbolQualified, System, SystemPhase, SystemReason, Tick, Trade,
};
use crate::limits::{CONTINUATION_BYTES, SOURCE_BYTES_MAX, SPAN_SLOTS_MAX, SYMBOL_BYTES_MAX};
use crate::schema_fields;

const ANY: Bounds = Bounds::Any;
const ZERO: Bounds = Bounds::Zero;
/// See [`crate::units::Side`].
const SIDE: Bounds = Bounds::Unsigned(0, 2);
/// 0 = low to 3 = critical.
const SEVERITY: Bounds = Bounds::Unsigned(0, 3);
/// 0 = no, 1 = yes.
const FLAG: Bounds = Bounds::Unsigned(0, 1);

/// Priority of a request, 0 = most urgent.
const PRIORITY: Bounds = Bounds::Unsigned(0, 7);
/// Number of a kind of event.
const LAYER: Bounds = Bounds::Unsigned(1, 0xffe);

/// Bytes of continuations that an event without a cause has at most.
const TAIL_BYTES_MAX: u64 = ((SPAN_SLOTS_MAX - 1) * CONTINUATION_BYTES) as u64;

/// Numbers of codes, from 0.
const fn codes(count: usize) -> Bounds {
    Bounds::Unsigned(0, count as u64 - 1)
}

/// Elements of that size that fit an event.
const fn up_to(element_bytes: usize) -> Bounds {
    Bounds::Unsigned(0, TAIL_BYTES_MAX / element_bytes as u64)
}

/// A text, whose length that field of the head gives.
const fn text(count: &'static str) -> Tail {
    Tail::Repeated { count, element_bytes: 1, fields: &[] }
}

/// One value of a feature vector.
#[repr(C)]
struct Value {
    value: f64,
}

/// Every kind of [`Kind::ALL`](crate::event::Kind::ALL), in that order.
pub(super) const LAYOUTS: &[Layout] = &[
    Layout::of::<Tick>("tick", schema_fields!(Tick: last "" = ANY, reserved "" = ZERO), Tail::None),
    Layout::of::<SymbolDef>(
        "symbol_def",
        schema_fields!(SymbolDef:
            hash "rapidhash_v3" = ANY,
            text_bytes "bytes" = Bounds::Unsigned(1, SYMBOL_BYTES_MAX as u64),
            reserved "" = ZERO,
        ),
        text("text_bytes"),
    ),
    Layout::of::<SourceDef>(
        "source_def",
        schema_fields!(SourceDef:
            hash "rapidhash_v3" = ANY,
            text_bytes "bytes" = Bounds::Unsigned(1, SOURCE_BYTES_MAX as u64),
            seq_rule "" = Bounds::Unsigned(0, 3),
            reserved "" = ZERO,
        ),
        text("text_bytes"),
    ),
    Layout::of::<Epoch>("epoch", schema_fields!(Epoch: number "" = ANY, reserved "" = ZERO), Tail::None),
    Layout::of::<Subscription>(
        "subscription",
        schema_fields!(Subscription:
            handler "rapidhash_v3" = ANY,
            topic "rapidhash_v3" = ANY,
            priority "" = ANY,
            subscribed "" = FLAG,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
    Layout::of::<Trade>(
        "trade",
        schema_fields!(Trade:
            price "1e-9" = ANY,
            size "mantissa" = ANY,
            side "" = SIDE,
            action "" = ANY,
            source_flags "" = ANY,
            depth "" = ANY,
            ts_in_delta "ns" = ANY,
        ),
        Tail::None,
    ),
    Layout::of::<Quote>(
        "quote",
        schema_fields!(Quote:
            bid_px "1e-9" = ANY,
            ask_px "1e-9" = ANY,
            bid_sz "mantissa" = ANY,
            ask_sz "mantissa" = ANY,
        ),
        Tail::Wide(schema_fields!(QuoteWide:
            bid_sz "mantissa" = ANY,
            ask_sz "mantissa" = ANY,
            bid_ct "orders" = ANY,
            ask_ct "orders" = ANY,
            price "1e-9" = ANY,
            size "mantissa" = ANY,
            action "" = ANY,
            side "" = SIDE,
            source_flags "" = ANY,
            depth "" = ANY,
            ts_in_delta "ns" = ANY,
            interval_ns "ns" = ANY,
        )),
    ),
    Layout::of::<BookLevel>(
        "book_level",
        schema_fields!(BookLevel:
            price "1e-9" = ANY,
            size "mantissa" = ANY,
            order_count "orders" = ANY,
            side "" = SIDE,
            action "" = Bounds::Unsigned(0, 2),
            source_flags "" = ANY,
            depth "" = ANY,
        ),
        Tail::None,
    ),
    Layout::of::<BookOrder>(
        "book_order",
        schema_fields!(BookOrder:
            order_id "" = ANY,
            price "1e-9" = ANY,
            size "mantissa" = ANY,
            side "" = SIDE,
            action "" = ANY,
            source_flags "" = ANY,
            channel_id "" = ANY,
        ),
        Tail::None,
    ),
    Layout::of::<BookDepth>(
        "book_depth",
        schema_fields!(BookDepth:
            price "1e-9" = ANY,
            size "mantissa" = ANY,
            ts_in_delta "ns" = ANY,
            levels "" = up_to(size_of::<DepthLevel>()),
            action "" = ANY,
            side "" = SIDE,
            source_flags "" = ANY,
            depth "" = ANY,
            reserved "" = ZERO,
        ),
        Tail::Repeated {
            count: "levels",
            element_bytes: size_of::<DepthLevel>() as u16,
            fields: schema_fields!(DepthLevel:
                bid_px "1e-9" = ANY,
                ask_px "1e-9" = ANY,
                bid_sz "mantissa" = ANY,
                ask_sz "mantissa" = ANY,
                bid_ct "orders" = ANY,
                ask_ct "orders" = ANY,
            ),
        },
    ),
    Layout::of::<Bar>(
        "bar",
        schema_fields!(Bar: open "1e-9" = ANY, high "1e-9" = ANY, low "1e-9" = ANY),
        Tail::One(schema_fields!(BarRest:
            close "1e-9" = ANY,
            volume "mantissa" = ANY,
            interval_ns "ns" = ANY,
            trades "" = ANY,
            vwap "1e-9" = ANY,
            reserved "" = ZERO,
        )),
    ),
    Layout::of::<News>(
        "news",
        schema_fields!(News:
            id "" = ANY,
            provider "rapidhash_v3" = ANY,
            text_bytes "bytes" = up_to(1),
            urgency "" = ANY,
            sentiment "1e-2" = Bounds::Signed(-100, 100),
            reserved "" = ZERO,
        ),
        text("text_bytes"),
    ),
    Layout::of::<Status>(
        "status",
        schema_fields!(Status:
            action "" = ANY,
            reason "" = ANY,
            trading_event "" = ANY,
            is_trading "" = ANY,
            is_quoting "" = ANY,
            is_short_sell_restricted "" = ANY,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
    Layout::of::<Gap>("gap", schema_fields!(Gap: expected "" = ANY, received "" = ANY, missing "" = ANY), Tail::None),
    Layout::of::<System>(
        "system",
        schema_fields!(System:
            engine "" = ANY,
            uptime_ns "ns" = ANY,
            text_bytes "bytes" = up_to(1),
            shards "" = ANY,
            phase "" = codes(SystemPhase::ALL.len()),
            reason "" = codes(SystemReason::ALL.len()),
        ),
        text("text_bytes"),
    ),
    Layout::of::<Health>(
        "health",
        schema_fields!(Health:
            value "" = Bounds::FINITE,
            threshold "" = Bounds::FINITE,
            text_bytes "bytes" = up_to(1),
            state "" = codes(HealthState::ALL.len()),
            component "" = codes(Component::ALL.len()),
            reason "" = codes(HealthReason::ALL.len()),
            number "" = ANY,
        ),
        text("text_bytes"),
    ),
    Layout::of::<ErrorReport>(
        "error",
        schema_fields!(ErrorReport:
            origin "rapidhash_v3" = ANY,
            count "" = Bounds::Unsigned(1, u64::MAX),
            text_bytes "bytes" = up_to(1),
            code "" = ANY,
            severity "" = SEVERITY,
            component "" = codes(Component::ALL.len()),
        ),
        text("text_bytes"),
    ),
    Layout::of::<DeadLetter>(
        "dead_letter",
        schema_fields!(DeadLetter:
            event_ts_recv "ns" = ANY,
            first_failure_ns "ns" = ANY,
            tail_bytes "bytes" = Bounds::Unsigned(CONTINUATION_BYTES as u64, TAIL_BYTES_MAX),
            event_kind "" = ANY,
            event_flags "" = ANY,
            reserved "" = ZERO,
        ),
        text("tail_bytes"),
    ),
    Layout::of::<Alert>(
        "alert",
        schema_fields!(Alert:
            value "" = ANY,
            reference "" = ANY,
            rule "" = ANY,
            severity "" = SEVERITY,
            side "" = SIDE,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
    Layout::of::<Features>(
        "features",
        schema_fields!(Features:
            ready "" = ANY,
            interval_ns "ns" = ANY,
            count "" = up_to(8),
            set "" = ANY,
        ),
        Tail::Repeated { count: "count", element_bytes: 8, fields: schema_fields!(Value: value "" = Bounds::FINITE) },
    ),
    Layout::of::<Signal>(
        "signal",
        schema_fields!(Signal:
            strength "" = Bounds::Float(-1.0, 1.0),
            price "1e-9" = ANY,
            strategy "" = ANY,
            side "" = SIDE,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
    Layout::of::<FeatureRequest>(
        "feature_request",
        schema_fields!(FeatureRequest:
            groups "" = ANY,
            rules "" = ANY,
            waited_us "us" = ANY,
            alerts "" = ANY,
            duplicates "" = ANY,
            severity "" = SEVERITY,
            closed_by "" = codes(CloseReason::ALL.len()),
            priority "" = ANY,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
    Layout::of::<SymbolQualified>(
        "symbol_qualified",
        schema_fields!(SymbolQualified:
            score "" = Bounds::FINITE,
            threshold "" = Bounds::FINITE,
            rules "" = ANY,
            qualified "" = FLAG,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
    Layout::of::<SymbolPromoted>(
        "symbol_promoted",
        schema_fields!(SymbolPromoted:
            score "" = Bounds::FINITE,
            qualified_ns "ns" = ANY,
            rules "" = ANY,
            from_tier "" = ANY,
            tier "" = ANY,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
    Layout::of::<BackfillNeeded>(
        "backfill_needed",
        schema_fields!(BackfillNeeded:
            from_ns "ns" = ANY,
            to_ns "ns" = ANY,
            interval_s "s" = ANY,
            layer "" = LAYER,
            reason "" = codes(BackfillReason::ALL.len()),
            priority "" = PRIORITY,
        ),
        Tail::None,
    ),
    Layout::of::<BackfillDone>(
        "backfill_done",
        schema_fields!(BackfillDone:
            from_ns "ns" = ANY,
            to_ns "ns" = ANY,
            interval_s "s" = ANY,
            layer "" = LAYER,
            status "" = codes(BackfillStatus::ALL.len()),
            reserved "" = ZERO,
        ),
        Tail::One(schema_fields!(BackfillRest:
            events "" = ANY,
            first_ns "ns" = ANY,
            last_ns "ns" = ANY,
            origin "rapidhash_v3" = ANY,
            reserved "" = ZERO,
        )),
    ),
    Layout::of::<Quarantine>(
        "quarantine",
        schema_fields!(Quarantine:
            handler "rapidhash_v3" = ANY,
            strikes "" = ANY,
            quarantined "" = FLAG,
            reserved "" = ZERO,
        ),
        Tail::None,
    ),
];
