//! What handlers publish: alerts, features, signals, requests for features, and what becomes of symbols.
//!
//! They are outputs of the shard and travel like any other event; a source may send them, too.

use super::{EventRef, codes};
use crate::limits::CONTINUATION_BYTES;
use bytemuck::{Pod, Zeroable};

/// A scanner's rule fired.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Alert {
    /// What was measured.
    pub value: f64,
    /// What it was measured against.
    pub reference: f64,
    /// The rule: see [`crate::scanner::Rule`].
    pub rule: u16,
    /// 0 = low to 3 = critical.
    pub severity: u8,
    /// Direction: see [`Side`](crate::units::Side).
    pub side: u8,
    /// Always 0.
    pub reserved: u32,
}

/// A vector of features; the values (f64) follow in continuations, seven to a slot.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Features {
    /// Bit i: value i has warmed up. A value that has not is +0.0.
    pub ready: u64,
    /// Interval of the vector in ns, 0 = on request.
    pub interval_ns: u64,
    /// Values that follow.
    pub count: u32,
    /// Set of features: see [`crate::features`].
    pub set: u32,
}

impl Features {
    /// The values of `event`, in the order of its set; ends early where continuations are missing.
    pub fn values_of(event: EventRef<'_>) -> impl Iterator<Item = f64> + '_ {
        let count = event.get::<Self>().map_or(0, |features| features.count as usize);
        event.tail_words().take(count).map(f64::from_bits)
    }

    /// Value `index` of `event`, if that is a vector and the value has warmed up. O(1).
    #[inline]
    #[must_use]
    pub fn value_of(event: EventRef<'_>, index: usize) -> Option<f64> {
        const WORDS: usize = CONTINUATION_BYTES / 8;
        let features = event.get::<Self>()?;
        let is_ready = index < 64 && features.ready >> index & 1 == 1 && index < features.count as usize;
        let slot = event.tail().get(index / WORDS).filter(|_| is_ready)?;
        Some(f64::from_bits(slot.continuation_words()[index % WORDS]))
    }
}

/// A strategy's decision.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Signal {
    /// Strength, -1 (sell) to 1 (buy).
    pub strength: f64,
    /// Price that it was decided on, 1e-9.
    pub price: i64,
    /// Number of the strategy.
    pub strategy: u32,
    /// Side: see [`Side`](crate::units::Side).
    pub side: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

codes! {
    /// What closed a batch of alerts.
    CloseReason {
        /// It was full.
        Full = 0, "full";
        /// Its timer fired.
        Timer = 1, "timer";
        /// The symbol was idle: no alert of its own came for as long as the bridge waits.
        Idle = 2, "idle";
        /// There was no batch: a handler of a user's asks on the spot. The bridge never says so.
        Asked = 3, "asked";
    }
}

/// [`FeatureRequest::priority`] of a request whose priority the group mapper decides.
pub const PRIORITY_UNSET: u8 = u8::MAX;

/// Features of a symbol are wanted: a batch of alerts, as the bridge closed it, or what a user's handler asks for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct FeatureRequest {
    /// Bit i: feature group i is wanted. 0 = the group mapper chooses by `rules`.
    pub groups: u64,
    /// Bit i: an alert of rule i is in the batch (see [`crate::scanner::Rule`]); 0 = none asked.
    pub rules: u32,
    /// From the first alert of the batch to its end in microseconds of shard time; ends at `u32::MAX` (71 minutes).
    pub waited_us: u32,
    /// Alerts in the batch, ends at `u16::MAX`.
    pub alerts: u16,
    /// Alerts that said again what the batch had, ends at `u16::MAX`.
    pub duplicates: u16,
    /// Highest severity of an alert in it, 0 = low to 3 = critical.
    pub severity: u8,
    /// See [`CloseReason`].
    pub closed_by: u8,
    /// 0 = most urgent to 7, or [`PRIORITY_UNSET`].
    pub priority: u8,
    /// Always 0.
    pub reserved: u8,
}

/// A symbol has begun, or ceased, to fulfil the publisher's rules.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct SymbolQualified {
    /// Score of the symbol: see [`crate::publisher`].
    pub score: f64,
    /// What it was measured against.
    pub threshold: f64,
    /// Bit i: an alert of rule i counted.
    pub rules: u32,
    /// 1 = it has begun, 0 = it has ceased.
    pub qualified: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

/// A qualified symbol has gone up, or come down, a tier.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct SymbolPromoted {
    /// Score of the symbol: see [`crate::publisher`].
    pub score: f64,
    /// How long it has been qualified without a break, ns of shard time.
    pub qualified_ns: u64,
    /// Bit i: an alert of rule i counted.
    pub rules: u32,
    /// Tier that it comes from, 0 = merely qualified.
    pub from_tier: u8,
    /// Tier that it is in now.
    pub tier: u8,
    /// Always 0.
    pub reserved: [u8; 2],
}

codes! {
    /// Why history is needed.
    BackfillReason {
        /// Somebody asked.
        Asked = 0, "asked";
        /// Events of the source are missing.
        Gap = 1, "gap";
        /// A feature or strategy needs more of the past than it has seen.
        WarmUp = 2, "warm_up";
        /// A book has to be built anew.
        Book = 3, "book";
    }
}

/// Events of the past are needed: those of the head's symbol, of one kind, in a range of time.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct BackfillNeeded {
    /// First instant, ns since the UNIX epoch.
    pub from_ns: u64,
    /// First instant that is not in the range any more.
    pub to_ns: u64,
    /// Interval of the bars in seconds; 0 where the layer has none.
    pub interval_s: u32,
    /// Number of the [`Kind`](super::Kind) of event that is wanted.
    pub layer: u16,
    /// See [`BackfillReason`].
    pub reason: u8,
    /// 0 = most urgent to 7.
    pub priority: u8,
}

codes! {
    /// How a backfill ended.
    BackfillStatus {
        /// All that there was of the range has come.
        Complete = 0, "complete";
        /// A part has come.
        Partial = 1, "partial";
        /// Nothing has come.
        Failed = 2, "failed";
        /// It was cancelled; what came before has come.
        Cancelled = 3, "cancelled";
    }
}

/// A backfill is over. [`BackfillRest`] follows.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct BackfillDone {
    /// First instant of the range that was asked for, ns since the UNIX epoch.
    pub from_ns: u64,
    /// First instant that is not in the range any more.
    pub to_ns: u64,
    /// Interval of the bars in seconds; 0 where the layer has none.
    pub interval_s: u32,
    /// Number of the [`Kind`](super::Kind) of event.
    pub layer: u16,
    /// See [`BackfillStatus`].
    pub status: u8,
    /// Always 0.
    pub reserved: u8,
}

/// The continuation of a [`BackfillDone`]: what came.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct BackfillRest {
    /// Events that came.
    pub events: u64,
    /// `ts_recv` of the first of them, 0 = none came.
    pub first_ns: u64,
    /// `ts_recv` of the last of them.
    pub last_ns: u64,
    /// Stable hash of the name of where they came from.
    pub origin: u64,
    /// Always 0.
    pub reserved: [u64; 3],
}

impl BackfillRest {
    /// The second part of `event`, if it is the end of a backfill with one.
    #[inline]
    #[must_use]
    pub fn of(event: EventRef<'_>) -> Option<&Self> {
        let slot = (event.kind() == super::Kind::BACKFILL_DONE).then(|| event.tail().first()).flatten()?;
        Some(bytemuck::must_cast_ref(slot.continuation_words()))
    }
}

/// A handler was quarantined for the head's symbol, or let go again: it is not called for it meanwhile.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Quarantine {
    /// Stable hash of the handler's name.
    pub handler: u64,
    /// Strikes that it had for the symbol.
    pub strikes: u32,
    /// 1 = it is quarantined from now on, 0 = it is not any more.
    pub quarantined: u8,
    /// Always 0.
    pub reserved: [u8; 11],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventBuf;

    #[test]
    fn values_by_index_are_those_in_order_where_they_are_ready() {
        let values: Vec<f64> = (0..20).map(|value| f64::from(value) + 0.5).collect();
        let mut event = EventBuf::new(&Features { ready: 0xf_ffff & !(1 << 7), interval_ns: 1, count: 20, set: 2 });
        event.push_bytes(bytemuck::cast_slice(&values)).unwrap();
        let event = EventRef::first(event.slots()).unwrap();
        for (index, value) in Features::values_of(event).enumerate() {
            assert_eq!(Features::value_of(event, index), (index != 7).then_some(value), "{index}");
        }
        // Beyond the vector, whatever its bits say: the last slot has room for 21.
        let mut long = EventBuf::new(&Features { ready: u64::MAX, interval_ns: 1, count: 20, set: 2 });
        long.push_bytes(bytemuck::cast_slice(&values)).unwrap();
        let long = EventRef::first(long.slots()).unwrap();
        assert_eq!(
            [19, 20, 21, 63, 64, usize::MAX].map(|index| Features::value_of(long, index)),
            [Some(19.5), None, None, None, None, None]
        );
        let short = EventBuf::new(&Features { ready: u64::MAX, interval_ns: 1, count: 20, set: 2 });
        assert_eq!(Features::value_of(EventRef::first(short.slots()).unwrap(), 0), None, "its values are missing");
        let other = EventBuf::new(&Signal::default());
        assert_eq!(Features::value_of(EventRef::first(other.slots()).unwrap(), 0), None);
    }

    /// Golden bytes, as those of market data: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        fn hex(value: &impl Pod) -> String {
            bytemuck::bytes_of(value).iter().map(|byte| format!("{byte:02x}")).collect()
        }
        let alert = Alert { value: 1.0, reference: 2.0, rule: 3, severity: 4, side: 5, reserved: 0 };
        assert_eq!(hex(&alert), "000000000000f03f00000000000000400300040500000000");
        let features = Features { ready: 1, interval_ns: 2, count: 3, set: 4 };
        assert_eq!(hex(&features), "010000000000000002000000000000000300000004000000");
        let signal = Signal { strength: 1.0, price: 2, strategy: 3, side: 1, reserved: [0; 3] };
        assert_eq!(hex(&signal), "000000000000f03f02000000000000000300000001000000");
        let request = FeatureRequest {
            groups: 1,
            rules: 2,
            waited_us: 3,
            alerts: 4,
            duplicates: 5,
            severity: 6,
            closed_by: 7,
            priority: 8,
            reserved: 0,
        };
        assert_eq!(hex(&request), "010000000000000002000000030000000400050006070800");
        let qualified = SymbolQualified { score: 1.0, threshold: 2.0, rules: 3, qualified: 1, reserved: [0; 3] };
        assert_eq!(hex(&qualified), "000000000000f03f00000000000000400300000001000000");
        let promoted =
            SymbolPromoted { score: 1.0, qualified_ns: 2, rules: 3, from_tier: 4, tier: 5, reserved: [0; 2] };
        assert_eq!(hex(&promoted), "000000000000f03f02000000000000000300000004050000");
        let needed = BackfillNeeded { from_ns: 1, to_ns: 2, interval_s: 3, layer: 4, reason: 5, priority: 6 };
        assert_eq!(hex(&needed), "010000000000000002000000000000000300000004000506");
        let done = BackfillDone { from_ns: 1, to_ns: 2, interval_s: 3, layer: 4, status: 5, reserved: 0 };
        assert_eq!(hex(&done), "010000000000000002000000000000000300000004000500");
        let rest = BackfillRest { events: 1, first_ns: 2, last_ns: 3, origin: 4, reserved: [0; 3] };
        let words = ["01", "02", "03", "04", "00", "00", "00"].map(|byte| format!("{byte}00000000000000"));
        assert_eq!(hex(&rest), words.concat());
        let quarantine = Quarantine { handler: 1, strikes: 2, quarantined: 1, reserved: [0; 11] };
        assert_eq!(hex(&quarantine), "010000000000000002000000010000000000000000000000");
    }
}
