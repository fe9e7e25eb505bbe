//! Control: time, definitions, epochs, and who listens. Counted apart from events, and never a sample.

use bytemuck::{Pod, Zeroable};

/// Shard time moves to the head's `ts_recv`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Tick {
    /// Not 0: nothing follows this tick.
    pub last: u64,
    /// Always 0.
    pub reserved: [u64; 2],
}

/// Defines the head's `symbol`. The text follows in continuations.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct SymbolDef {
    /// Stable hash of the text (rapidhash v3).
    pub hash: u64,
    /// Length of the text in bytes.
    pub text_bytes: u32,
    /// Always 0.
    pub reserved: [u32; 3],
}

/// Defines the head's `source`. The name follows in continuations.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct SourceDef {
    /// Stable hash of the name (rapidhash v3).
    pub hash: u64,
    /// Length of the name in bytes.
    pub text_bytes: u32,
    /// How `seq` counts: see [`crate::catalog::SeqRule`].
    pub seq_rule: u8,
    /// Always 0.
    pub reserved: [u8; 11],
}

/// Sources begin a new epoch.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Epoch {
    /// Number of the epoch, from 0.
    pub number: u64,
    /// Always 0.
    pub reserved: [u64; 2],
}

/// A handler begins, or ceases, to be called for a topic, from this point of the stream on. Control.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Subscription {
    /// Stable hash of the handler's name.
    pub handler: u64,
    /// Stable hash of the topic's name; 0 = every topic.
    pub topic: u64,
    /// Place among the handlers of the topic: higher ones are called first.
    pub priority: i16,
    /// 1 = it begins, 0 = it ceases.
    pub subscribed: u8,
    /// Always 0.
    pub reserved: [u8; 5],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden bytes, as those of market data: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        fn hex(value: &impl Pod) -> String {
            bytemuck::bytes_of(value).iter().map(|byte| format!("{byte:02x}")).collect()
        }
        let tick = Tick { last: 1, reserved: [0; 2] };
        assert_eq!(hex(&tick), "010000000000000000000000000000000000000000000000");
        let epoch = Epoch { number: 1, reserved: [0; 2] };
        assert_eq!(hex(&epoch), "010000000000000000000000000000000000000000000000");
        let symbol = SymbolDef { hash: 1, text_bytes: 2, reserved: [0; 3] };
        assert_eq!(hex(&symbol), "010000000000000002000000000000000000000000000000");
        let source = SourceDef { hash: 1, text_bytes: 2, seq_rule: 3, reserved: [0; 11] };
        assert_eq!(hex(&source), "010000000000000002000000030000000000000000000000");
        let subscription = Subscription { handler: 1, topic: 2, priority: -1, subscribed: 1, reserved: [0; 5] };
        assert_eq!(hex(&subscription), "01000000000000000200000000000000ffff010000000000");
    }
}
