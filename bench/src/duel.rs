//! Rounds: every contender once per round, in random order, void slices repeated together with their control.

use crate::budget::Budget;
use crate::clock::{Clock, Disturbance, two_cores};
use crate::stats::Rng;
use std::sync::Arc;
use std::time::Duration;

/// What a run is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The protocol: claims are claims.
    Full,
    /// Few rounds and short slices, under a minute a subject: not a claim.
    Quick,
    /// The contenders are checked and nothing is measured: nothing is pinned and no slice is void.
    Check,
}

impl Mode {
    /// Name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
            Self::Check => "check",
        }
    }
}

/// How a duel is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Cores of the threads, in order; a subject that needs more is not pinned.
    pub cores: Vec<usize>,
    /// Rounds.
    pub rounds: usize,
    /// In so many pieces a round of two threads is cut, each with all contenders in an order of its own: see [`Options::in_pieces`].
    pub pieces: usize,
    /// Milliseconds that a contender of two threads that saturate a queue has in a round.
    pub slice_ms: u64,
    /// Milliseconds of a slice of one thread. Shorter: it needs no second core, and on a shared machine a longer one
    /// would seldom be left alone.
    pub single_slice_ms: u64,
    /// Round trips that a contender of a hop has in a round.
    pub round_trips: usize,
    /// Slots of every queue.
    pub capacity: usize,
    /// Seed of the order of the rounds and of the bootstrap.
    pub seed: u64,
    /// What the run is good for.
    pub mode: Mode,
    /// The time that the whole run may take, if there is a bound: it sets the lengths of slices.
    pub budget: Option<Arc<Budget>>,
    /// The clock.
    pub clock: Clock,
}

impl Options {
    /// The protocol's: 40 rounds, 100 ms a contender in 50 pieces (one of 5 ms on one thread), 100,000 round trips, 1,024 slots, two
    /// cores by [`two_cores`].
    #[must_use]
    pub fn full() -> Self {
        Self {
            cores: two_cores(),
            rounds: 40,
            pieces: 50,
            slice_ms: 100,
            single_slice_ms: 5,
            round_trips: 100_000,
            capacity: 1024,
            seed: 1,
            mode: Mode::Full,
            budget: None,
            clock: Clock::calibrate(Duration::from_millis(100)),
        }
    }

    /// Less than a minute a subject.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            rounds: 8,
            pieces: 1,
            slice_ms: 5,
            single_slice_ms: 2,
            round_trips: 2_000,
            mode: Mode::Quick,
            ..Self::full()
        }
    }

    /// For tests.
    #[must_use]
    pub fn check() -> Self {
        let clock = Clock::calibrate(Duration::from_millis(1));
        Self { rounds: 2, slice_ms: 1, single_slice_ms: 1, round_trips: 200, mode: Mode::Check, clock, ..Self::quick() }
    }

    /// For a subject of two threads: as many rounds more, and slices as much shorter, as a round has pieces.
    ///
    /// The time measured stays the same, the share that is lost does not: a virtual core is taken away some tens of times a second for
    /// longer than [`GAP_NS_MAX`](crate::clock::GAP_NS_MAX), so that a slice of 100 ms on two of them is hardly ever left alone and one
    /// of 2 ms mostly is. Each piece is void, and repeated with its control, by itself; ratios are those of pieces.
    #[must_use]
    pub fn in_pieces(&self) -> Self {
        let pieces = self.pieces.max(1);
        Self {
            rounds: self.rounds * pieces,
            pieces: 1,
            slice_ms: (self.slice_ms / pieces as u64).max(1),
            round_trips: (self.round_trips / pieces).max(1),
            ..self.clone()
        }
    }

    /// Length of a slice of two threads that saturate a queue.
    #[must_use]
    pub fn slice(&self) -> Duration {
        self.budget.as_ref().map_or(Duration::from_millis(self.slice_ms), |budget| budget.slice())
    }

    /// Length of a slice of one thread.
    #[must_use]
    pub fn single_slice(&self) -> Duration {
        self.budget.as_ref().map_or(Duration::from_millis(self.single_slice_ms), |budget| budget.slice())
    }

    /// Whether the contenders are only checked.
    #[must_use]
    pub fn is_check(&self) -> bool {
        self.mode == Mode::Check
    }

    /// Core of thread `index` of two, if they are pinned.
    #[must_use]
    pub fn core(&self, index: usize) -> Option<usize> {
        if self.cores.len() < 2 { None } else { Some(self.cores[index]) }
    }

    /// Core of the only thread, if it is pinned.
    #[must_use]
    pub fn single_core(&self) -> Option<usize> {
        if self.is_check() { None } else { self.cores.first().copied() }
    }
}

/// What a contender is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// tapeline's.
    Ours,
    /// tapeline's too, beside the one that the claims are about.
    Variant,
    /// Somebody else's.
    Peer,
    /// A physical control.
    Control,
}

impl Role {
    /// Name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Variant => "variant",
            Self::Peer => "peer",
            Self::Control => "control",
        }
    }
}

/// One slice: a value per metric of the duel, and what disturbed it.
#[derive(Clone, Debug)]
pub struct Slice {
    /// One value per metric. NaN: the contender cannot do that, or did not in this slice.
    pub values: Vec<f64>,
    /// Of every measured thread.
    pub disturbance: Disturbance,
}

/// What the length of a contender's slices depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// The options.
    Chosen,
    /// The work, which is always the same: about so long.
    Fixed(Duration),
}

/// A contender in a duel.
pub struct Entry<'a> {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub role: Role,
    /// How long its slices are.
    pub length: Length,
    /// Runs one slice.
    pub run: Box<dyn Fn() -> Slice + 'a>,
}

/// What one contender did.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// By round: its values, or `None` when every attempt was void.
    pub rounds: Vec<Option<Vec<f64>>>,
    /// By round, and by control in the order of the entries: the control's values that belong to it, measured in the
    /// same round or right after a repeated slice.
    pub controls: Vec<Vec<Option<Vec<f64>>>>,
    /// Slices run.
    pub slices: usize,
    /// Of which void.
    pub void: usize,
    /// Void slices by reason (a slice may have several): involuntary switch, steal, gap.
    pub void_by: [usize; 3],
}

/// Attempts at one slice of one round.
const ATTEMPTS_MAX: usize = 16;
/// The same in a quick run, which must end soon on a busy machine too.
const ATTEMPTS_MAX_QUICK: usize = 4;

/// Runs the rounds; none while a budget is planned. The values of the entries that are controls go with each contender's.
#[must_use]
pub fn run(entries: &[Entry<'_>], options: &Options) -> Vec<Record> {
    if options.budget.as_ref().is_some_and(|budget| !budget.begin(entries, options.rounds)) {
        return vec![Record::default(); entries.len()];
    }
    let is_patient = || options.budget.as_ref().is_none_or(|budget| budget.is_patient());
    let mut rng = Rng::new(options.seed);
    let mut records = vec![Record::default(); entries.len()];
    let attempts_max = if options.mode == Mode::Quick { ATTEMPTS_MAX_QUICK } else { ATTEMPTS_MAX };
    let controls: Vec<usize> = (0..entries.len()).filter(|index| entries[*index].role == Role::Control).collect();
    let slice = |index: usize, record: &mut Record| -> Option<Vec<f64>> {
        let slice = (entries[index].run)();
        record.slices += 1;
        let void = slice.disturbance.is_void() && !options.is_check();
        record.void += usize::from(void);
        for (count, reason) in record.void_by.iter_mut().zip(slice.disturbance.reasons()) {
            *count += usize::from(void && reason);
        }
        (!void).then_some(slice.values)
    };
    for round in 0..options.rounds {
        let mut values: Vec<Option<Vec<f64>>> = vec![None; entries.len()];
        for index in rng.order(entries.len()) {
            values[index] = slice(index, &mut records[index]);
        }
        for control in &controls {
            for _ in 1..attempts_max {
                if values[*control].is_some() || !is_patient() {
                    break;
                }
                values[*control] = slice(*control, &mut records[*control]);
            }
        }
        for index in 0..entries.len() {
            let mut own_controls: Vec<_> = controls.iter().map(|control| values[*control].clone()).collect();
            for _ in 1..attempts_max {
                let is_whole = values[index].is_some() && own_controls.iter().all(Option::is_some);
                if is_whole || controls.contains(&index) || !is_patient() {
                    break;
                }
                values[index] = slice(index, &mut records[index]);
                for (own, control) in own_controls.iter_mut().zip(&controls) {
                    *own = slice(*control, &mut records[*control]);
                }
            }
            records[index].rounds.push(values[index].clone());
            records[index].controls.push(own_controls);
        }
        if !options.is_check() {
            eprint!("\rround {} of {}", round + 1, options.rounds);
        }
    }
    if !options.is_check() {
        eprintln!();
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn slice(value: f64, gap_ns: u64) -> Slice {
        Slice { values: vec![value], disturbance: Disturbance { gap_ns, ..Disturbance::default() } }
    }

    fn options() -> Options {
        Options { rounds: 5, mode: Mode::Full, ..Options::check() }
    }

    #[test]
    fn a_void_slice_is_repeated_with_its_control_and_counted() {
        let (calls, control_calls) = (Cell::new(0), Cell::new(0));
        let entries = [
            Entry {
                name: "control",
                role: Role::Control,
                length: Length::Chosen,
                run: Box::new(|| {
                    control_calls.set(control_calls.get() + 1);
                    slice(100.0 + f64::from(control_calls.get()), 0)
                }),
            },
            Entry {
                name: "ours",
                role: Role::Ours,
                length: Length::Chosen,
                run: Box::new(|| {
                    calls.set(calls.get() + 1);
                    slice(f64::from(calls.get()), if calls.get() == 2 { 60_000 } else { 0 })
                }),
            },
        ];
        let records = run(&entries, &options());
        assert_eq!((records[1].slices, records[1].void), (6, 1));
        assert_eq!((records[0].slices, records[0].void), (6, 0));
        // Round 2's first slice was void: the third call and the control after it count.
        assert_eq!(records[1].rounds[1], Some(vec![3.0]));
        assert_eq!(records[1].controls[1], [Some(vec![103.0])]);
        assert_eq!(records[0].rounds[1], Some(vec![102.0]));
        assert_eq!(records[1].rounds.len(), 5);
    }

    #[test]
    fn pieces_change_how_long_a_slice_is_and_not_how_long_is_measured() {
        let (whole, pieces) = (Options { mode: Mode::Full, ..Options::full() }, Options::full().in_pieces());
        assert_eq!(pieces.rounds as u64 * pieces.slice_ms, whole.rounds as u64 * whole.slice_ms);
        assert_eq!(pieces.rounds * pieces.round_trips, whole.rounds * whole.round_trips);
        assert_eq!(pieces.single_slice_ms, whole.single_slice_ms, "one thread has no pieces");
        assert_eq!(pieces.in_pieces().rounds, pieces.rounds, "pieces are not cut again");
    }

    #[test]
    fn what_is_always_void_ends_and_has_no_value() {
        let entries = [
            Entry { name: "control", role: Role::Control, length: Length::Chosen, run: Box::new(|| slice(1.0, 0)) },
            Entry { name: "ours", role: Role::Ours, length: Length::Chosen, run: Box::new(|| slice(1.0, 60_000)) },
        ];
        let records = run(&entries, &options());
        assert!(records[1].rounds.iter().all(Option::is_none));
        assert_eq!(records[1].void, records[1].slices);
        assert_eq!(records[1].slices, 5 * ATTEMPTS_MAX);
    }
}
