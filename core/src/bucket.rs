//! Token buckets by index: what may pass at a rate, with bursts, counted as hits, delays and refusals.
//!
//! Promises:
//! - **No drift.** A bucket holds tokens in whole fractions of its own rate, so that nothing is ever rounded: a bucket that
//!   is asked for ten years has given out exactly what one multiplication says.
//! - **Any time.** Time that stands still adds nothing, time that goes backward is taken as the latest one seen (and counted),
//!   and a jump of centuries fills a bucket to its burst and not further. A balance is never negative.
//! - **Three answers, told apart**: taken; not yet, and from when on; never, because the cost is above the burst.
//! - **No allocation** after construction, O(1) for every call, no division unless the answer is "not yet".
//!
//! What it does not do: it queues nobody. A caller that was told to come later has reserved nothing.
//!
//! ```
//! use tapeline_core::bucket::{Buckets, Limit, Take};
//! use tapeline_core::units::UnixNanos;
//!
//! // Three alerts at once, then one every 200 ms, for each of 1,000 symbols.
//! let mut limiter = Buckets::new(1_000, &[Limit::new(5, 1_000_000_000, 3)?]);
//! let ms = |ms: u64| UnixNanos(1_700_000_000_000_000_000 + ms * 1_000_000);
//! assert_eq!(limiter.try_take(7, 3, ms(0)), Take::Taken);
//! assert_eq!(limiter.try_take(7, 1, ms(0)), Take::Delay { at: ms(200) });
//! assert_eq!(limiter.try_take(8, 1, ms(0)), Take::Taken, "another symbol has tokens of its own");
//! assert_eq!(limiter.try_take(7, 1, ms(200)), Take::Taken);
//! assert_eq!(limiter.try_take(7, 4, ms(999_999)), Take::TooMuch, "more than the burst");
//! # Ok::<(), tapeline_core::bucket::LimitError>(())
//! ```
//!
//! # Arithmetic
//!
//! A rate of `tokens` per `per_ns` is reduced to lowest terms, n / d. A bucket keeps its balance in units of 1/d token: a
//! nanosecond adds n units, a token costs d, and a full bucket holds `burst * d`, which has to fit 63 bits. So every step is a
//! whole number, and what a bucket gives does not depend on how often it was asked.

use crate::hash;
use crate::invariant::{Broken, require};
use crate::limits::{BUCKET_LIMITS_MAX, BUCKETS_MAX};
use crate::section::{self, RestoreError, Section, Shape};
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// The longest time in which a rate gives one token: a day in nanoseconds.
const TOKEN_NS_MAX: u64 = 24 * 3_600 * 1_000_000_000;

/// Why a limit was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No tokens ever: the rate, its interval or the burst is 0.
    #[error("a limit's tokens, interval and burst are above 0, not {tokens} per {per_ns} ns with a burst of {burst}")]
    Zero {
        /// Tokens of the rate.
        tokens: u64,
        /// Interval of the rate in ns.
        per_ns: u64,
        /// Burst in tokens.
        burst: u64,
    },
    /// Slower than one token a day.
    #[error("a rate gives at least one token a day, not {tokens} per {per_ns} ns")]
    TooSlow {
        /// Tokens of the rate.
        tokens: u64,
        /// Interval of the rate in ns.
        per_ns: u64,
    },
    /// Faster than one token a nanosecond.
    #[error("a rate gives at most one token a nanosecond, not {tokens} per {per_ns} ns")]
    TooFast {
        /// Tokens of the rate.
        tokens: u64,
        /// Interval of the rate in ns.
        per_ns: u64,
    },
    /// A full bucket does not fit 63 bits in fractions of the rate.
    #[error("with this rate a burst is at most {burst_max} tokens, not {burst}")]
    BurstTooLarge {
        /// Burst in tokens.
        burst: u64,
        /// The largest burst that this rate allows.
        burst_max: u64,
    },
}

/// A rate and a burst, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Units that a nanosecond adds: numerator of the rate in lowest terms, tokens per ns. 1 to `per`.
    tokens: u64,
    /// Units of one token: the rate's denominator.
    per: u64,
    /// Units of a full bucket: `burst * per`, at most `i64::MAX`.
    full: u64,
}

impl Limit {
    /// `tokens` every `per_ns` nanoseconds, evenly, and up to `burst` at once. Rates go from one token a day to one a nanosecond.
    ///
    /// # Errors
    /// [`LimitError`] for a rate outside that range, a burst of 0, or one that is too large for its rate: `burst * d`
    /// must fit 63 bits, where d is `per_ns` over its greatest common divisor with `tokens`: 9 * 10^9 tokens for a rate of whole tokens a
    /// second, 100,000 for any rate per day, none for a `per_ns` near 2^64.
    pub const fn new(tokens: u64, per_ns: u64, burst: u64) -> Result<Self, LimitError> {
        if tokens == 0 || per_ns == 0 || burst == 0 {
            return Err(LimitError::Zero { tokens, per_ns, burst });
        }
        if tokens > per_ns {
            return Err(LimitError::TooFast { tokens, per_ns });
        }
        if per_ns as u128 > tokens as u128 * TOKEN_NS_MAX as u128 {
            return Err(LimitError::TooSlow { tokens, per_ns });
        }
        let divisor = greatest_common_divisor(tokens, per_ns);
        let per = per_ns / divisor;
        let burst_max = i64::MAX as u64 / per;
        if burst > burst_max {
            return Err(LimitError::BurstTooLarge { burst, burst_max });
        }
        Ok(Self { tokens: tokens / divisor, per, full: burst * per })
    }

    /// Most tokens at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.full / self.per
    }

    /// The rate in lowest terms: tokens, and the nanoseconds in which they come.
    #[must_use]
    pub const fn rate(&self) -> (u64, u64) {
        (self.tokens, self.per)
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What [`Buckets::try_take`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Take {
    /// The tokens are taken: go on. A hit.
    Taken,
    /// Not enough tokens now; nothing is taken. A delay.
    Delay {
        /// The first instant at which they are there, if nobody else takes any. `u64::MAX` also when it lies after that.
        at: UnixNanos,
    },
    /// More tokens than the bucket can ever hold; nothing is taken. A refusal.
    TooMuch,
    /// There is no bucket of that index; counted for the table.
    NoBucket,
}

/// What happened to one bucket, or to all of them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Taken.
    pub hits: u64,
    /// Told to come later.
    pub delays: u64,
    /// Told never: the cost is above the burst.
    pub refusals: u64,
}

/// One bucket alone, as plain data, for a handler's state per symbol: the caller keeps its limit. Zero bytes are a bucket that was
/// emptied at the epoch: full again for any clock of today.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Bucket {
    /// Balance at `last_ns` in units of the limit, 0 to its `full`.
    level: u64,
    /// When the balance was worked out, ns.
    last_ns: u64,
    hits: u64,
    delays: u64,
    refusals: u64,
}

impl Bucket {
    /// Takes `tokens` under `limit` if they are there at `now`, or at the latest time seen if that is later. O(1). A cost of 0 is
    /// always taken. Never [`Take::NoBucket`].
    #[inline]
    pub fn try_take(&mut self, limit: &Limit, tokens: u64, now: UnixNanos) -> Take {
        let now_ns = now.0.max(self.last_ns);
        self.level = level_at(self, limit, now_ns);
        self.last_ns = now_ns;
        // What does not fit 64 bits is above any burst.
        let cost = tokens.saturating_mul(limit.per);
        if cost <= self.level {
            self.level -= cost;
            self.hits += 1;
            return Take::Taken;
        }
        if cost > limit.full {
            self.refusals += 1;
            return Take::TooMuch;
        }
        self.delays += 1;
        let wait_ns = (cost - self.level).div_ceil(limit.tokens);
        Take::Delay { at: UnixNanos(now_ns).saturating_add(wait_ns) }
    }

    /// What happened to it.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        Counts { hits: self.hits, delays: self.delays, refusals: self.refusals }
    }
}

const NAME: &str = "token buckets";
const LAYOUT: &str = "u64: now_ns backward strangers; cell: level last_ns hits delays refusals u64; limit u8";

/// Largest count that a snapshot may have: what is added to it later cannot overflow for centuries.
const COUNT_MAX: u64 = 1 << 62;

/// A table of token buckets by index: a symbol's id, a source's. See the [module](self).
#[derive(Clone)]
pub struct Buckets {
    /// Latest time seen, ns.
    now_ns: u64,
    /// Calls with an earlier time.
    backward: u64,
    /// Calls with an index beyond the table.
    strangers: u64,
    cells: Box<[Bucket]>,
    /// By bucket, the index of its limit.
    limit_of: Box<[u8]>,
    limits: Box<[Limit]>,
}

impl Buckets {
    /// `capacity` full buckets, all under the first of `limits`; [`Buckets::assign`] puts a bucket under another.
    ///
    /// A capacity of 0 makes a table that has no bucket for anybody.
    ///
    /// # Panics
    /// When `capacity` is above [`BUCKETS_MAX`], or there are no limits or more than [`BUCKET_LIMITS_MAX`].
    #[must_use]
    pub fn new(capacity: usize, limits: &[Limit]) -> Self {
        assert!(capacity <= BUCKETS_MAX, "at most {BUCKETS_MAX} buckets, not {capacity}");
        let known = limits.len();
        assert!((1..=BUCKET_LIMITS_MAX).contains(&known), "1 to {BUCKET_LIMITS_MAX} limits, not {known}");
        let full = Bucket { level: limits[0].full, ..Bucket::zeroed() };
        Self {
            now_ns: 0,
            backward: 0,
            strangers: 0,
            cells: vec![full; capacity].into(),
            limit_of: vec![0; capacity].into(),
            limits: limits.into(),
        }
    }

    /// Puts bucket `index` under the limit number `limit`, as given to [`Buckets::new`], and fills it. `false`, and nothing done,
    /// when there is no such bucket or limit. O(1). What it has counted stays.
    pub fn assign(&mut self, index: usize, limit: usize) -> bool {
        let (Some(cell), Some(chosen)) = (self.cells.get_mut(index), self.limits.get(limit)) else { return false };
        cell.level = chosen.full;
        cell.last_ns = self.now_ns;
        self.limit_of[index] = limit as u8;
        true
    }

    /// Takes `tokens` from bucket `index` if it has them at `now`. O(1). A cost of 0 is always taken.
    #[inline]
    pub fn try_take(&mut self, index: usize, tokens: u64, now: UnixNanos) -> Take {
        self.advance(now);
        let Some(cell) = self.cells.get_mut(index) else {
            self.strangers += 1;
            return Take::NoBucket;
        };
        let limit = &self.limits[usize::from(self.limit_of[index])];
        cell.try_take(limit, tokens, UnixNanos(self.now_ns))
    }

    /// Whole tokens in bucket `index` at `now`, or at the latest time seen if that is later. 0 when there is no such bucket.
    #[must_use]
    pub fn available(&self, index: usize, now: UnixNanos) -> u64 {
        let Some(cell) = self.cells.get(index) else { return 0 };
        let limit = &self.limits[usize::from(self.limit_of[index])];
        level_at(cell, limit, self.now_ns.max(now.0)) / limit.per
    }

    /// The limit that bucket `index` is under.
    #[must_use]
    pub fn limit(&self, index: usize) -> Option<Limit> {
        self.limit_of.get(index).map(|limit| self.limits[usize::from(*limit)])
    }

    /// What happened to bucket `index`.
    #[must_use]
    pub fn counts(&self, index: usize) -> Option<Counts> {
        self.cells.get(index).map(Bucket::counts)
    }

    /// What happened to all buckets together. O(capacity).
    #[must_use]
    pub fn total(&self) -> Counts {
        self.cells.iter().fold(Counts::default(), |total, cell| Counts {
            hits: total.hits.saturating_add(cell.hits),
            delays: total.delays.saturating_add(cell.delays),
            refusals: total.refusals.saturating_add(cell.refusals),
        })
    }

    /// Calls whose time lay before one already seen: taken as that one.
    #[must_use]
    pub fn backward(&self) -> u64 {
        self.backward
    }

    /// Calls with an index beyond the table.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Buckets of the table.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// Bytes held on the heap: 41 for each bucket and 24 for each limit.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.cells) + size_of_val(&*self.limit_of) + size_of_val(&*self.limits)
    }

    #[inline]
    fn advance(&mut self, now: UnixNanos) {
        if now.0 < self.now_ns {
            self.backward += 1;
        } else {
            self.now_ns = now.0;
        }
    }

    /// Checks every rule of the structure. O(capacity); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check(u64::MAX) {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    fn check(&self, count_max: u64) -> Result<(), Broken> {
        require(self.backward <= count_max && self.strangers <= count_max, "counts are far from their end", 0)?;
        for (index, cell) in self.cells.iter().enumerate() {
            let Some(limit) = self.limits.get(usize::from(self.limit_of[index])) else {
                return require(false, "a bucket's limit exists", index);
            };
            require(cell.level <= limit.full, "a bucket holds at most its burst", index)?;
            require(cell.last_ns <= self.now_ns, "no balance is of the future", index)?;
            let counts = [cell.hits, cell.delays, cell.refusals];
            require(counts.iter().all(|count| *count <= count_max), "counts are far from their end", index)?;
        }
        Ok(())
    }

    fn shape(capacity: usize) -> Shape {
        let element = size_of::<Bucket>() as u32 + 1;
        Shape { name: NAME, version: 1, element, layout: LAYOUT, capacity: capacity as u64 }
    }

    /// Stable hash of all limits: what a snapshot has to agree with.
    fn limits_hash(&self) -> u64 {
        self.limits.iter().fold(self.limits.len() as u64, |before, limit| {
            let words = [before, limit.tokens, limit.per, limit.full];
            hash::stable(bytemuck::bytes_of(&words))
        })
    }

    fn body_bytes(&self) -> usize {
        4 * 8 + self.capacity() * (size_of::<Bucket>() + 1)
    }

    /// Bytes of a [`Buckets::snapshot`] of this table.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the table as a section of plain bytes: time, balances, counts. O(capacity). The limits are configuration: only
    /// their hash is written. Allocates only if `out` has less room than [`Buckets::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let capacity = self.capacity();
        section::write(out, &Self::shape(capacity), capacity as u64, self.body_bytes(), |body| {
            body.u64(self.limits_hash());
            body.slice(&[self.now_ns, self.backward, self.strangers]);
            body.slice(&self.cells);
            body.slice(&self.limit_of);
        });
    }

    /// The table that [`Buckets::snapshot`] wrote. Allocates as [`Buckets::new`] does. O(capacity).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of a table with another capacity or other limits, or breaks a rule.
    ///
    /// # Panics
    /// As [`Buckets::new`], for the capacity and the limits that the caller asks for.
    pub fn restore(capacity: usize, limits: &[Limit], section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut reader = section.expect(&Self::shape(capacity))?;
        let mut table = Self::new(capacity, limits);
        reader.setting("a hash of limits of", table.limits_hash())?;
        [table.now_ns, table.backward, table.strangers] = [reader.u64()?, reader.u64()?, reader.u64()?];
        reader.fill(&mut table.cells)?;
        reader.fill(&mut table.limit_of)?;
        reader.finish()?;
        let invalid = |broken| RestoreError::Invalid { name: NAME, broken };
        require(section.count() == capacity as u64, "every bucket is in use", section.count()).map_err(invalid)?;
        table.check(COUNT_MAX).map_err(invalid)?;
        Ok(table)
    }
}

/// Balance of a bucket at `now_ns`, which is not before its `last_ns`.
#[inline]
fn level_at(cell: &Bucket, limit: &Limit, now_ns: u64) -> u64 {
    let gained = u128::from(now_ns - cell.last_ns) * u128::from(limit.tokens);
    // A bucket alone may have been kept from a larger limit.
    let room = limit.full.saturating_sub(cell.level);
    if gained >= u128::from(room) { limit.full } else { cell.level + gained as u64 }
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buckets")
            .field("capacity", &self.capacity())
            .field("limits", &self.limits)
            .field("now_ns", &self.now_ns)
            .field("backward", &self.backward)
            .field("strangers", &self.strangers)
            .finish()
    }
}
