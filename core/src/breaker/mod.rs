//! Circuit breakers: what fails is left alone for a while, and is asked again by one call at a time.
//!
//! Promises:
//! - **Three states.** *Closed* admits all calls. *Open* refuses all until an instant that it names. *Half-open* admits one
//!   probe at a time and refuses the rest.
//! - **It never sticks.** A failed probe opens it again, whatever the window says. A probe that is abandoned frees its slot at
//!   once, one that never gives a verdict frees it after [`Config::probe_ns_max`]. There is no state without a way out in shard time.
//! - **One era, one verdict.** A permit carries the era in which it was given; a verdict of an earlier era is counted as late and
//!   changes nothing: a slow success of yesterday closes nothing today.
//! - **Bounded by registration.** All breakers of a shard are in one table that is made at start, read by index and reported together.
//!   No allocation after that, and O(1) for every call.
//! - **Any time.** An instant before one already seen is taken as that one, and counted.
//!
//! What it does not do: it makes no calls and sets no timers. Its state is a function of what it was told and of the time it is
//! asked at.
//!
//! ```
//! use tapeline_core::breaker::{Admit, Breakers, Config, Noted, State};
//! use tapeline_core::units::UnixNanos;
//!
//! let s = |s: u64| UnixNanos(1_700_000_000_000_000_000 + s * 1_000_000_000);
//! let config = Config { failures_in_row: 2, open_ns: 5_000_000_000, ..Config::default() };
//! let mut breakers = Breakers::new(&[("store", config)])?;
//! let store = breakers.find("store").unwrap();
//!
//! for now in [s(0), s(1)] {
//!     let Admit::Yes(permit) = breakers.admit(store, now) else { panic!("it is closed") };
//!     breakers.failure(permit, now);
//! }
//! assert_eq!(breakers.admit(store, s(2)), Admit::Refused { until: s(6) });
//! let Admit::Yes(probe) = breakers.admit(store, s(6)) else { panic!("one probe may go") };
//! assert!(matches!(breakers.admit(store, s(6)), Admit::Refused { .. }), "and only one");
//! assert_eq!(breakers.success(probe, s(7)), Noted::Closed);
//! assert_eq!(breakers.report(store, s(7)).unwrap().state, State::Closed);
//! # Ok::<(), tapeline_core::breaker::ConfigError>(())
//! ```
//!
//! # States
//!
//! ```text
//!                 failures in a row, or their share
//!     +--------+ ----------------------------------> +------+
//!     | closed |                                     | open | <--+
//!     +--------+ <-------+                           +------+    |
//!                        | successes                    |        | a failure
//!                        | in a row                     | until  |
//!                        |                              v        |
//!                        +------------------------- +-----------+
//!                                                   | half-open |  one probe at a time
//!                                                   +-----------+
//! ```
//!
//! A breaker trips when [`Config::failures_in_row`] verdicts in a row were failures, or when at least [`Share::calls_min`] verdicts
//! fell into the last [`Share::window_ns`] and at least [`Share::failures_per_mille`] of them were failures (also when it is a success
//! that makes up the minimum, as in resilience4j). The window moves in ten steps: it covers between nine tenths and all of its length,
//! the time up to now included.
//!
//! It stays open for [`Config::open_ns`], and [`Config::open_growth`] times as long each time that a probe fails, up to
//! [`Config::open_ns_max`]. Closing starts all of this anew.

mod cell;
mod single;
mod snapshot;

pub use single::Breaker;

use crate::invariant::{Broken, require};
use crate::limits::{BREAKERS_MAX, NAME_BYTES_MAX};
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};
use cell::{Cell, STEPS};

/// When failures trip a breaker by their share of the calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Failures of 1,000 calls from which on it trips: 1 to 1,000.
    pub failures_per_mille: u32,
    /// Calls in the window below which it never does: 1 and more.
    pub calls_min: u32,
    /// Length of the window in ns: 10 and more. Moves in tenths, rounded up.
    pub window_ns: u64,
}

/// How one breaker behaves. Checked by [`Breakers::new`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Failures in a row that trip it; 0 = that many never do, and then there is a [`Config::share`].
    pub failures_in_row: u32,
    /// Share of failures that trips it.
    pub share: Option<Share>,
    /// How long it is open at first, ns: 1 and more.
    pub open_ns: u64,
    /// The factor by which it is open longer after each failed probe; 1 = always as long.
    pub open_growth: u32,
    /// The longest that it is open, ns: not below `open_ns`.
    pub open_ns_max: u64,
    /// How long a probe may go without a verdict before its slot is free again, ns: 1 and more.
    pub probe_ns_max: u64,
    /// Probes in a row that have to succeed before it closes: 1 and more.
    pub successes: u32,
}

impl Default for Config {
    /// Five failures in a row; open for 1 s, doubled up to 1 min; one probe of at most 10 s closes it.
    fn default() -> Self {
        const SECOND_NS: u64 = 1_000_000_000;
        Self {
            failures_in_row: 5,
            share: None,
            open_ns: SECOND_NS,
            open_growth: 2,
            open_ns_max: 60 * SECOND_NS,
            probe_ns_max: 10 * SECOND_NS,
            successes: 1,
        }
    }
}

impl Config {
    /// Checks every rule, for a [`Breaker`] alone; [`Breakers::new`] does.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub const fn check(&self) -> Result<(), &'static str> {
        match self.fault() {
            Some(rule) => Err(rule),
            None => Ok(()),
        }
    }

    /// The first rule that this configuration breaks.
    const fn fault(&self) -> Option<&'static str> {
        if self.failures_in_row == 0 && self.share.is_none() {
            return Some("it would never trip: neither failures in a row nor a share of them");
        }
        if let Some(share) = self.share {
            if share.failures_per_mille == 0 || share.failures_per_mille > 1_000 {
                return Some("a share of failures is 1 to 1000 per mille");
            }
            if share.calls_min == 0 {
                return Some("a share of failures needs at least one call");
            }
            if share.window_ns < STEPS as u64 {
                return Some("a window has at least 10 ns");
            }
        }
        if self.open_ns == 0 || self.open_ns_max < self.open_ns {
            return Some("it is open for at least 1 ns, and open_ns_max is not below open_ns");
        }
        if self.open_growth == 0 {
            return Some("open_growth is at least 1");
        }
        if self.probe_ns_max == 0 {
            return Some("a probe has at least 1 ns");
        }
        if self.successes == 0 {
            return Some("at least one success closes it");
        }
        None
    }
}

/// Why a table of breakers was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// More breakers than [`BREAKERS_MAX`].
    #[error("at most {BREAKERS_MAX} breakers, not {0}")]
    TooMany(usize),
    /// A name that is empty or too long.
    #[error("a breaker's name has 1 to {NAME_BYTES_MAX} bytes: {0:?}")]
    Name(String),
    /// Two breakers of one name.
    #[error("there are two breakers named {0:?}")]
    Duplicate(String),
    /// A rule of [`Config`] that does not hold.
    #[error("breaker {name:?}: {rule}")]
    Rule {
        /// Name of the breaker.
        name: String,
        /// What should hold.
        rule: &'static str,
    },
}

/// Index of a breaker in its table, in the order of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerId(pub u32);

/// State of a breaker at an instant.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Admits all.
    Closed = 0,
    /// Refuses all, until an instant.
    Open = 1,
    /// Admits one probe at a time.
    HalfOpen = 2,
}

impl State {
    /// Name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Leave to make one call. Give it back with the call's verdict: [`Breakers::success`], [`Breakers::failure`] or, when the call was
/// not made or says nothing about what it called, [`Breakers::abandon`].
///
/// It is neither `Copy` nor `Clone`, so that one call has one verdict. [`Permit::into_bytes`] is for permits that wait in plain data.
#[repr(C)]
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a call that was admitted has a verdict"]
pub struct Permit {
    breaker: u32,
    /// Low half of the stable hash of the breaker's name: a permit of another table is refused.
    name: u32,
    era: u64,
}

impl Permit {
    /// The permit as plain data, for a pending call in a slab or a snapshot.
    #[must_use]
    pub fn into_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.breaker.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.name.to_le_bytes());
        bytes[8..].copy_from_slice(&self.era.to_le_bytes());
        bytes
    }

    /// The permit that [`Permit::into_bytes`] gave. Bytes of no permit are refused when it is used, and a probe that is used twice
    /// is late. What is used twice in the closed state counts twice, as long as that era has other calls without a verdict.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [breaker, name, low, high]: [u32; 4] = bytemuck::cast(bytes);
        Self { breaker, name, era: u64::from(high) << 32 | u64::from(low) }
    }
}

/// What [`Breakers::admit`] answers.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub enum Admit {
    /// Make the call, and give the permit back with its verdict.
    Yes(Permit),
    /// Do not make the call.
    Refused {
        /// When to ask again: the end of the open state, or of the probe that is out. Not a promise: others may be first.
        until: UnixNanos,
    },
    /// There is no breaker of that index; counted for the table.
    NoBreaker,
}

/// What a verdict did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// Counted; the state is what it was.
    Counted,
    /// Counted, and the breaker is open now.
    Opened,
    /// Counted, and the breaker is closed now.
    Closed,
    /// Of an earlier era, or of a call that had its verdict: counted as late, and nothing else.
    Late,
    /// The permit is of no breaker of this table; counted for the table, and nothing else.
    Foreign,
}

/// What happened to a breaker since the start. At every instant `admitted = successes + failures + abandoned + left_behind +`
/// [`Report::pending`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counts {
    /// Calls admitted, probes included.
    pub admitted: u64,
    /// Calls refused.
    pub refused: u64,
    /// Calls that succeeded, in their era.
    pub successes: u64,
    /// Calls that failed, in their era.
    pub failures: u64,
    /// Calls given back without a verdict, in their era.
    pub abandoned: u64,
    /// Calls whose era ended before they had a verdict: by a change of state, or a probe by its time.
    pub left_behind: u64,
    /// Those of them that were probes without a verdict in time.
    pub probes_expired: u64,
    /// Verdicts that came too late to count.
    pub late: u64,
    /// Times that it went from closed to open.
    pub trips: u64,
    /// Times that a probe failed and it was open again.
    pub reopens: u64,
    /// Times that it closed.
    pub closes: u64,
}

/// One breaker at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its state.
    pub state: State,
    /// Open: when it will be half-open. Half-open with a probe out: when its slot is free again. Else `None`.
    pub until: Option<UnixNanos>,
    /// Calls of this era without a verdict yet.
    pub pending: u64,
    /// What happened to it.
    pub counts: Counts,
}

/// The breakers of one shard, by index. See the [module](self).
#[derive(Clone)]
pub struct Breakers {
    /// Latest time seen, ns.
    now_ns: u64,
    /// Calls with an earlier time.
    backward: u64,
    /// Permits and indices that are of no breaker here.
    foreign: u64,
    cells: Box<[Cell]>,
    configs: Box<[Config]>,
    names: Box<[Box<str>]>,
    /// Low halves of the stable hashes of the names.
    name_hashes: Box<[u32]>,
}

impl Breakers {
    /// The breakers named, all closed. Allocates all that they will ever need. No breakers at all are fine. O(n^2) in their number.
    ///
    /// # Errors
    /// [`ConfigError`] for too many, an empty, long or double name, and a [`Config`] that breaks a rule.
    pub fn new(breakers: &[(&str, Config)]) -> Result<Self, ConfigError> {
        if breakers.len() > BREAKERS_MAX {
            return Err(ConfigError::TooMany(breakers.len()));
        }
        for (index, (name, config)) in breakers.iter().enumerate() {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(ConfigError::Name((*name).to_owned()));
            }
            if breakers[..index].iter().any(|(other, _)| other == name) {
                return Err(ConfigError::Duplicate((*name).to_owned()));
            }
            if let Some(rule) = config.fault() {
                return Err(ConfigError::Rule { name: (*name).to_owned(), rule });
            }
        }
        Ok(Self {
            now_ns: 0,
            backward: 0,
            foreign: 0,
            cells: breakers.iter().map(|(_, config)| Cell::new(config)).collect(),
            configs: breakers.iter().map(|(_, config)| *config).collect(),
            names: breakers.iter().map(|(name, _)| Box::from(*name)).collect(),
            name_hashes: breakers.iter().map(|(name, _)| crate::hash::stable(name.as_bytes()) as u32).collect(),
        })
    }

    /// The breaker of that name. O(n): look it up once, at start.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<BreakerId> {
        self.names.iter().position(|known| &**known == name).map(|index| BreakerId(index as u32))
    }

    /// Asks for leave to make a call at `now`. O(1).
    #[inline]
    pub fn admit(&mut self, id: BreakerId, now: UnixNanos) -> Admit {
        self.advance(now);
        let index = id.0 as usize;
        let Some(cell) = self.cells.get_mut(index) else {
            self.foreign += 1;
            return Admit::NoBreaker;
        };
        match cell.admit(&self.configs[index], self.now_ns) {
            Ok(era) => Admit::Yes(Permit { breaker: id.0, name: self.name_hashes[index], era }),
            Err(until_ns) => Admit::Refused { until: UnixNanos(until_ns) },
        }
    }

    /// The call succeeded. O(1).
    #[inline]
    pub fn success(&mut self, permit: Permit, now: UnixNanos) -> Noted {
        self.note(permit, now, Cell::success)
    }

    /// The call failed. O(1).
    #[inline]
    pub fn failure(&mut self, permit: Permit, now: UnixNanos) -> Noted {
        self.note(permit, now, Cell::failure)
    }

    /// The call was not made, or its end says nothing about what it called (the caller's own mistake, a shutdown): its slot is free
    /// and nothing else changes. O(1).
    #[inline]
    pub fn abandon(&mut self, permit: Permit, now: UnixNanos) -> Noted {
        self.note(permit, now, Cell::abandon)
    }

    #[inline]
    fn note(&mut self, permit: Permit, now: UnixNanos, verdict: impl Fn(&mut Cell, &Config, u64) -> Noted) -> Noted {
        self.advance(now);
        let index = permit.breaker as usize;
        let known = self.name_hashes.get(index) == Some(&permit.name);
        let Some(cell) = self.cells.get_mut(index).filter(|cell| known && permit.era <= cell.era) else {
            self.foreign += 1;
            return Noted::Foreign;
        };
        let config = &self.configs[index];
        cell.advance(config, self.now_ns);
        if permit.era != cell.era || cell.pending == 0 {
            cell.counts.late += 1;
            return Noted::Late;
        }
        verdict(cell, config, self.now_ns)
    }

    /// One breaker as it is at `now`, or at the latest time seen if that is later. O(1).
    #[must_use]
    pub fn report(&self, id: BreakerId, now: UnixNanos) -> Option<Report<'_>> {
        let index = id.0 as usize;
        let mut cell = *self.cells.get(index)?;
        cell.advance(&self.configs[index], self.now_ns.max(now.0));
        Some(Report {
            name: &self.names[index],
            state: cell.state(),
            until: (cell.until_ns != 0).then_some(UnixNanos(cell.until_ns)),
            pending: cell.pending,
            counts: cell.counts,
        })
    }

    /// All breakers as they are at `now`, in the order of the configuration.
    pub fn reports(&self, now: UnixNanos) -> impl ExactSizeIterator<Item = Report<'_>> {
        (0..self.len() as u32).map(move |index| {
            self.report(BreakerId(index), now).expect("Invariant: indices below the length are breakers")
        })
    }

    /// Breakers in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Calls whose time lay before one already seen: taken as that one.
    #[must_use]
    pub fn backward(&self) -> u64 {
        self.backward
    }

    /// Permits and indices that are of no breaker of this table.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Bytes held on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len()).sum();
        names
            + size_of_val(&*self.cells)
            + size_of_val(&*self.configs)
            + size_of_val(&*self.names)
            + size_of_val(&*self.name_hashes)
    }

    #[inline]
    fn advance(&mut self, now: UnixNanos) {
        if now.0 < self.now_ns {
            self.backward += 1;
        } else {
            self.now_ns = now.0;
        }
    }

    /// Checks every rule of the structure. O(n); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check(u64::MAX) {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    fn check(&self, count_max: u64) -> Result<(), Broken> {
        let counts = [self.backward, self.foreign];
        require(counts.iter().all(|count| *count <= count_max), "counts are far from their end", 0)?;
        for (index, cell) in self.cells.iter().enumerate() {
            cell.check(&self.configs[index], self.now_ns, count_max)
                .map_err(|rule| Broken { rule, at: index as u64 })?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Breakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breakers")
            .field("now_ns", &self.now_ns)
            .field("backward", &self.backward)
            .field("foreign", &self.foreign)
            .field("names", &self.names)
            .field("cells", &self.cells)
            .finish()
    }
}
