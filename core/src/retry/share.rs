//! A bound on retries as a share of live traffic: what fails must not crowd out what still works.

use crate::invariant::{Broken, require};
use crate::limits::{RETRY_SHARE_BURST_MAX, SYMBOLS_MAX};
use crate::retry::PARTS;
use crate::section::{self, RestoreError, Section, Shape};
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// Parameters of a [`RetryShare`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareConfig {
    /// Retries for each 1,024 live events. 0 to [`PARTS`].
    pub parts: u16,
    /// Retries that are allowed in each window without any live traffic, so that the last ones end. At least 1.
    pub free_per_window: u32,
    /// Length of a window in ns of shard time. At least 1. Windows begin at its multiples.
    pub window_ns: u64,
    /// Retries that live traffic may earn ahead. At most [`RETRY_SHARE_BURST_MAX`].
    pub burst: u32,
}

/// Why a [`ShareConfig`] was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// More than the whole.
    #[error("a share of {0} parts: there are 0 to {PARTS}")]
    Parts(u16),
    /// Without live traffic, retries would wait for ever.
    #[error("each window allows at least 1 retry")]
    FreeZero,
    /// A window without length.
    #[error("a window has at least 1 ns")]
    WindowZero,
    /// More than can be counted.
    #[error("a burst of {0}: there are 0 to {RETRY_SHARE_BURST_MAX}")]
    Burst(u32),
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Row {
    /// Number of the window that `used` is of.
    window: u64,
    /// Parts of a retry that live events have earned, below `burst` retries.
    credit: u32,
    /// Retries of the window that were free.
    used: u32,
}

/// Accounts of retries beside live traffic: one for each symbol, or a single one for a shard.
///
/// In any time, the retries of a row are at most `free_per_window` for each window that the time touches, and
/// `parts / 1024` of the live events, and `burst`. O(1) each, 16 bytes a row; nothing is allocated after construction.
///
/// ```
/// use tapeline_core::retry::{RetryShare, ShareConfig};
/// use tapeline_core::units::UnixNanos;
///
/// // A tenth of the live traffic, and one a second in any case.
/// let config = ShareConfig { parts: 103, free_per_window: 1, window_ns: 1_000_000_000, burst: 8 };
/// let mut share = RetryShare::new(config, 1)?;
/// let now = UnixNanos(5_000_000_000);
/// assert_eq!(share.admit(0, now), Ok(()));
/// assert_eq!(share.admit(0, now), Err(UnixNanos(6_000_000_000)), "the next window");
/// (0..10).for_each(|_| share.live(0));
/// assert_eq!(share.admit(0, now), Ok(()));
/// # Ok::<(), tapeline_core::retry::ShareError>(())
/// ```
#[derive(Debug)]
pub struct RetryShare {
    config: ShareConfig,
    rows: Box<[Row]>,
    admitted: u64,
    postponed: u64,
}

const NAME: &str = "retry share";
const LAYOUT: &str = "u64: parts free_per_window window_ns burst admitted postponed; row: window u64, credit used u32";
const NUMBERS: usize = 6;

fn shape(rows: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Row>() as u32, layout: LAYOUT, capacity: rows as u64 }
}

impl RetryShare {
    /// Accounts for the rows below `rows`: symbols, or 1 for all of a shard. O(rows).
    ///
    /// # Errors
    /// The first parameter that is out of its range.
    ///
    /// # Panics
    /// When `rows` is above [`SYMBOLS_MAX`].
    pub fn new(config: ShareConfig, rows: usize) -> Result<Self, ShareError> {
        assert!(rows <= SYMBOLS_MAX, "at most {SYMBOLS_MAX} rows, not {rows}");
        if config.parts > PARTS {
            return Err(ShareError::Parts(config.parts));
        }
        if config.free_per_window == 0 {
            return Err(ShareError::FreeZero);
        }
        if config.window_ns == 0 {
            return Err(ShareError::WindowZero);
        }
        if config.burst > RETRY_SHARE_BURST_MAX {
            return Err(ShareError::Burst(config.burst));
        }
        Ok(Self { config, rows: vec![Row::zeroed(); rows].into_boxed_slice(), admitted: 0, postponed: 0 })
    }

    /// A live event was handled for the first time.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn live(&mut self, row: usize) {
        let most = self.config.burst * u32::from(PARTS);
        let row = &mut self.rows[row];
        row.credit = most.min(row.credit + u32::from(self.config.parts));
    }

    /// Whether a retry may run at `now`. A time before one of an earlier call is taken as that one's window.
    ///
    /// # Errors
    /// When to ask again: the beginning of the next window. In the last window of time there is none, and all are admitted.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn admit(&mut self, row: usize, now: UnixNanos) -> Result<(), UnixNanos> {
        let row = &mut self.rows[row];
        let window = now.0 / self.config.window_ns;
        if window > row.window {
            row.window = window;
            row.used = 0;
        }
        if row.used < self.config.free_per_window {
            row.used += 1;
        } else if row.credit >= u32::from(PARTS) {
            row.credit -= u32::from(PARTS);
        } else if let Some(next) = row.window.checked_add(1).and_then(|next| next.checked_mul(self.config.window_ns)) {
            self.postponed += 1;
            return Err(UnixNanos(next));
        }
        // In the last window that u64 has there is no later one to wait for.
        self.admitted += 1;
        Ok(())
    }

    /// Retries admitted since the start.
    #[must_use]
    pub const fn admitted(&self) -> u64 {
        self.admitted
    }

    /// Retries sent to a later window since the start.
    #[must_use]
    pub const fn postponed(&self) -> u64 {
        self.postponed
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.rows)
    }

    /// Bytes of a [`RetryShare::snapshot`].
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + NUMBERS * 8 + self.bytes()
    }

    /// Appends all accounts as a section of plain bytes. O(rows).
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let rows = self.rows.len();
        section::write(out, &shape(rows), rows as u64, NUMBERS * 8 + self.bytes(), |body| {
            let ShareConfig { parts, free_per_window, window_ns, burst } = self.config;
            body.slice(&[u64::from(parts), u64::from(free_per_window), window_ns, u64::from(burst)]);
            body.slice(&[self.admitted, self.postponed]);
            body.slice(&self.rows);
        });
    }

    /// The accounts that [`RetryShare::snapshot`] wrote.
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, or of other rows or parameters.
    ///
    /// # Panics
    /// When `config` is one that [`RetryShare::new`] refuses, or there are more rows than it takes.
    pub fn restore(config: ShareConfig, rows: usize, section: &[u8]) -> Result<Self, RestoreError> {
        let mut share = Self::new(config, rows).expect("the parameters are checked");
        let section = Section::parse(section)?;
        let mut body = section.expect(&shape(rows))?;
        let invalid = |broken| RestoreError::Invalid { name: NAME, broken };
        require(section.count() == rows as u64, "every row is in use", section.count()).map_err(invalid)?;
        body.setting("parts of", u64::from(config.parts))?;
        body.setting("free retries of", u64::from(config.free_per_window))?;
        body.setting("a window in ns of", config.window_ns)?;
        body.setting("a burst of", u64::from(config.burst))?;
        share.admitted = body.u64()?;
        share.postponed = body.u64()?;
        body.fill(&mut share.rows)?;
        body.finish()?;
        share.check().map_err(invalid)?;
        Ok(share)
    }

    /// Checks every row. O(rows); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}");
        }
    }

    fn check(&self) -> Result<(), Broken> {
        let most = self.config.burst * u32::from(PARTS);
        let last = u64::MAX / self.config.window_ns;
        for (at, row) in self.rows.iter().enumerate() {
            require(row.credit <= most, "credit is at most the burst", at)?;
            require(row.used <= self.config.free_per_window, "free retries are at most those of a window", at)?;
            require(row.window <= last, "a window begins in time", at)?;
        }
        require(self.admitted < 1 << 63 && self.postponed < 1 << 63, "counts are far from their end", 0_u64)
    }
}
