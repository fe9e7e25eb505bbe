//! What the engine says of itself: its life, its health, its errors.

use super::codes;
use bytemuck::{Pod, Zeroable};

codes! {
    /// Where an engine stands in its life.
    SystemPhase {
        /// Structures are being made.
        Starting = 0, "starting";
        /// Every station runs.
        Started = 1, "started";
        /// It was told to stop, and drains.
        Stopping = 2, "stopping";
        /// Everything has stopped.
        Stopped = 3, "stopped";
    }
}

codes! {
    /// Why an engine changed its phase.
    SystemReason {
        /// Somebody asked.
        Asked = 0, "asked";
        /// The input has ended.
        EndOfInput = 1, "end_of_input";
        /// The process got a signal.
        Signal = 2, "signal";
        /// Something failed.
        Failure = 3, "failure";
    }
}

/// The engine starts up or shuts down. A text about it, in UTF-8, may follow in continuations.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct System {
    /// Number of this run of the engine, as its journal has it; 0 = none.
    pub engine: u64,
    /// How long it has run, ns.
    pub uptime_ns: u64,
    /// Length of the text in bytes.
    pub text_bytes: u32,
    /// Shards.
    pub shards: u16,
    /// See [`SystemPhase`].
    pub phase: u8,
    /// See [`SystemReason`].
    pub reason: u8,
}

codes! {
    /// A part of the engine.
    Component {
        /// The whole of it.
        Engine = 0, "engine";
        /// A shard.
        Shard = 1, "shard";
        /// A source.
        Source = 2, "source";
        /// A sink.
        Sink = 3, "sink";
        /// A handler.
        Handler = 4, "handler";
        /// A job off the hot cores.
        Job = 5, "job";
    }
}

codes! {
    /// How well a part of the engine is.
    HealthState {
        /// It runs.
        Live = 0, "live";
        /// It runs, and can do its work.
        Ready = 1, "ready";
        /// It does its work worse than it should.
        Degraded = 2, "degraded";
        /// It does no work.
        Failed = 3, "failed";
    }
}

codes! {
    /// What made a part of the engine more or less well.
    HealthReason {
        /// No one thing, or all is well.
        None = 0, "none";
        /// A queue is too long.
        QueueDepth = 1, "queue_depth";
        /// Too little is done in a second.
        Rate = 2, "rate";
        /// Too much of what is done fails.
        ErrorRate = 3, "error_rate";
        /// It has not moved for too long.
        Stalled = 4, "stalled";
        /// Memory is short.
        Memory = 5, "memory";
        /// A breaker is open.
        Breaker = 6, "breaker";
        /// A handler is over its budget.
        Overrun = 7, "overrun";
        /// What it depends on is not there.
        Dependency = 8, "dependency";
    }
}

/// The health of a part of the engine has changed. A text about it, in UTF-8, may follow in continuations.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Health {
    /// What was measured.
    pub value: f64,
    /// What it was measured against.
    pub threshold: f64,
    /// Length of the text in bytes.
    pub text_bytes: u32,
    /// See [`HealthState`].
    pub state: u8,
    /// See [`Component`].
    pub component: u8,
    /// See [`HealthReason`].
    pub reason: u8,
    /// Number of the component among its like.
    pub number: u8,
}

/// Something has gone wrong. A text about it, in UTF-8, may follow in continuations.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct ErrorReport {
    /// Stable hash of the name of what failed; 0 = none.
    pub origin: u64,
    /// How often it did since it was last reported, at least 1.
    pub count: u64,
    /// Length of the text in bytes.
    pub text_bytes: u32,
    /// What failed calls it by this number.
    pub code: u16,
    /// 0 = low to 3 = critical.
    pub severity: u8,
    /// See [`Component`].
    pub component: u8,
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
        let system = System { engine: 1, uptime_ns: 2, text_bytes: 3, shards: 4, phase: 5, reason: 6 };
        assert_eq!(hex(&system), "010000000000000002000000000000000300000004000506");
        let health = Health { value: 1.0, threshold: 2.0, text_bytes: 3, state: 4, component: 5, reason: 6, number: 7 };
        assert_eq!(hex(&health), "000000000000f03f00000000000000400300000004050607");
        let error = ErrorReport { origin: 1, count: 2, text_bytes: 3, code: 4, severity: 5, component: 6 };
        assert_eq!(hex(&error), "010000000000000002000000000000000300000004000506");
    }

    #[test]
    fn codes_and_their_names_come_back() {
        macro_rules! check {
            ($($name:ident)*) => {$(
                for (number, code) in $name::ALL.iter().enumerate() {
                    assert_eq!(*code as usize, number);
                    assert_eq!($name::from_u8(number as u8), Some(*code));
                    assert!($name::ALL[..number].iter().all(|other| other.name() != code.name()));
                }
                assert_eq!($name::from_u8($name::ALL.len() as u8), None);
            )*};
        }
        use super::super::{BackfillReason, BackfillStatus, CloseReason};
        check!(SystemPhase SystemReason Component HealthState HealthReason CloseReason BackfillReason BackfillStatus);
    }
}
