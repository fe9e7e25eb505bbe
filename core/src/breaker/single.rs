//! One breaker alone, as plain data: for a handler's state per symbol.

use super::cell::Cell;
use super::{Config, Counts, Noted, State};
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// A breaker whose configuration the caller keeps. Zero bytes are a new one, closed. All that the [module](super) promises of a table holds
/// for it; time that goes backward is the caller's to avoid.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Breaker(Cell);

impl Breaker {
    /// Asks for leave to make a call at `now`: the era of the call, to give back with its verdict, or when to ask again. O(1).
    ///
    /// # Errors
    /// The instant at which the open state, or the probe that is out, ends.
    pub fn admit(&mut self, config: &Config, now: UnixNanos) -> Result<u64, UnixNanos> {
        self.begin(config);
        self.0.admit(config, now.0).map_err(UnixNanos)
    }

    /// The call of `era` succeeded. O(1).
    pub fn success(&mut self, config: &Config, era: u64, now: UnixNanos) -> Noted {
        self.note(config, era, now, Cell::success)
    }

    /// The call of `era` failed. O(1).
    pub fn failure(&mut self, config: &Config, era: u64, now: UnixNanos) -> Noted {
        self.note(config, era, now, Cell::failure)
    }

    /// Its state at `now`.
    #[must_use]
    pub fn state(&self, config: &Config, now: UnixNanos) -> State {
        let mut cell = self.0;
        cell.advance(config, now.0);
        cell.state()
    }

    /// What happened to it.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.0.counts
    }

    fn begin(&mut self, config: &Config) {
        if self.0.era == 0 {
            self.0 = Cell::new(config);
        }
    }

    fn note(
        &mut self,
        config: &Config,
        era: u64,
        now: UnixNanos,
        verdict: impl Fn(&mut Cell, &Config, u64) -> Noted,
    ) -> Noted {
        self.begin(config);
        self.0.advance(config, now.0);
        if era != self.0.era || self.0.pending == 0 {
            self.0.counts.late += 1;
            return Noted::Late;
        }
        verdict(&mut self.0, config, now.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Admit, Breakers, Permit};
    use super::*;
    use crate::testing::Prng;

    /// Alone it does what it does in a table, which has a twin of its own.
    #[test]
    fn alone_it_equals_one_of_a_table() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let config = Config {
                failures_in_row: 1 + (seed % 4) as u32,
                open_ns: 1_000,
                open_ns_max: 9_000,
                ..Config::default()
            };
            let mut table = Breakers::new(&[("one", config)]).unwrap();
            let id = table.find("one").unwrap();
            let mut alone = Breaker::zeroed();
            let mut permits: Vec<(Permit, u64)> = Vec::new();
            let mut now = 1_700_000_000_000_000_000;
            for step in 0..2_000 {
                now += prng.in_range(0..1_500);
                let at = UnixNanos(now);
                if permits.is_empty() || prng.one_in(2) {
                    match (table.admit(id, at), alone.admit(&config, at)) {
                        (Admit::Yes(permit), Ok(era)) => permits.push((permit, era)),
                        (Admit::Refused { until }, Err(then)) => assert_eq!(until, then, "seed {seed}, step {step}"),
                        (table, alone) => panic!("seed {seed}, step {step}: {table:?} and {alone:?}"),
                    }
                } else {
                    let (permit, era) = permits.swap_remove(prng.index(permits.len()));
                    let (in_table, by_itself) = if prng.one_in(3) {
                        (table.success(permit, at), alone.success(&config, era, at))
                    } else {
                        (table.failure(permit, at), alone.failure(&config, era, at))
                    };
                    assert_eq!(in_table, by_itself, "seed {seed}, step {step}");
                }
                let report = table.report(id, at).unwrap();
                assert_eq!(
                    (report.state, report.counts),
                    (alone.state(&config, at), alone.0.counts),
                    "seed {seed}, step {step}"
                );
            }
            assert!(alone.counts().trips > 10 && alone.counts().closes > 10, "seed {seed}: {:?}", alone.counts());
        }
    }
}
