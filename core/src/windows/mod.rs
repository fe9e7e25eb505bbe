//! Sliding windows of 1 s, 10 s and 60 s over shard time: counts, sums, rates and percentiles of registered series.
//!
//! Promises:
//! - **Bounded by registration, not by input.** All memory is taken when the series are registered. What is recorded changes
//!   numbers in place, whatever the values, the rate or the gaps are.
//! - **O(1) to record**, three places a value. Nothing happens as time passes, however long: what is too old is known by
//!   its number and skipped, and is cleared when its place is needed again.
//! - **Exact within the resolution.** Count, sum, minimum and maximum are those of exactly the values recorded in
//!   [`Reading::from`]`..=now`: a window moves in twenty steps, so that this is between 95 % and 100 % of its length.
//! - **Percentiles with a stated error**: not below the true value and above it by less than 1 part in 2^bits of it ([`Precision`]).
//! - **Any time.** An instant before one already seen is taken as that one, and counted.
//! - **No allocation** after construction; integers only, the same on every machine.
//!
//! What it does not do: it keeps no values, and a window cannot be read as of the past.
//!
//! ```
//! use tapeline_core::units::UnixNanos;
//! use tapeline_core::windows::{Precision, Series, Window, Windows};
//!
//! let mut windows = Windows::new(&[Series::with_percentiles("handler_ns", Precision { bits: 5, value_max: 1 << 40 })])?;
//! let handler = windows.find("handler_ns").unwrap();
//! let ms = |ms: u64| UnixNanos(1_700_000_000_000_000_000 + ms * 1_000_000);
//! for i in 0..100 {
//!     windows.record(handler, 1_000 + i, ms(10 * i));
//! }
//! let reading = windows.read(handler, Window::S10, ms(1_000)).unwrap();
//! assert_eq!((reading.count, reading.sum), (100, 104_950));
//! let [p50, p99] = windows.percentiles(handler, Window::S10, ms(1_000), [500_000, 990_000]).unwrap();
//! assert!((1_049..=1_049 + 1_049 / 32).contains(&p50) && (1_098..=1_099).contains(&p99));
//! # Ok::<(), tapeline_core::windows::SeriesError>(())
//! ```
//!
//! # Shape
//!
//! ```text
//!  window of 20 steps, in a ring by number modulo 20; now is in step 47
//!
//!   number   40 41 42 43 44 45 46 47 28 29 30 31 32 33 34 35 36 37 38 39
//!                                 ^^ now: recorded so far
//!                                    ^^ from: where the reading begins
//! ```
//!
//! A step is 50 ms, 500 ms or 3 s long and begins at a multiple of that since the UNIX epoch. A step that nothing was recorded in
//! leaves an older number in its place, which a reading skips. Each step has a row of histogram cells if its series has percentiles.

mod histogram;
mod snapshot;

use crate::invariant::{Broken, require};
use crate::limits::{NAME_BYTES_MAX, SERIES_MAX};
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};
use histogram::{BITS_MAX, cell_of, highest_of, lowest_of};

/// Steps of each window.
pub const STEPS: usize = 20;
/// Parts of a whole in which quantiles are given: 500,000 is the median, 999,900 is p99.99.
pub const QUANTILE_ONE: u32 = 1_000_000;
/// Most values of one step; more are not recorded, and counted. 1.4 billion a second.
const STEP_VALUES_MAX: u32 = u32::MAX;

/// Length of a window.
#[repr(usize)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// One second, in steps of 50 ms.
    S1 = 0,
    /// Ten seconds, in steps of 500 ms.
    S10 = 1,
    /// A minute, in steps of 3 s.
    S60 = 2,
}

impl Window {
    /// Every window, by length.
    pub const ALL: [Self; 3] = [Self::S1, Self::S10, Self::S60];

    /// Its length in ns.
    #[inline]
    #[must_use]
    pub const fn ns(self) -> u64 {
        match self {
            Self::S1 => 1_000_000_000,
            Self::S10 => 10_000_000_000,
            Self::S60 => 60_000_000_000,
        }
    }

    /// Length of a step in ns: what a reading may be shorter by.
    #[inline]
    #[must_use]
    pub const fn step_ns(self) -> u64 {
        self.ns() / STEPS as u64
    }

    /// Name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S1 => "1s",
            Self::S10 => "10s",
            Self::S60 => "60s",
        }
    }
}

/// How percentiles of a series are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Precision {
    /// A percentile is above the true value by less than 1 part in 2^bits of it. 0 to 7: 3 % with 5 bits, 0.8 % with 7.
    pub bits: u32,
    /// The largest value expected. Larger ones share its cell and are counted; their percentiles are known only to lie between
    /// `value_max` and [`Reading::max`], and are given as the latter.
    pub value_max: u64,
}

/// A series to register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Series<'a> {
    /// Its name, 1 to 64 bytes.
    pub name: &'a str,
    /// `None`: counts and sums only.
    pub precision: Option<Precision>,
}

impl<'a> Series<'a> {
    /// A series of counts, sums and rates.
    #[must_use]
    pub const fn of_counts(name: &'a str) -> Self {
        Self { name, precision: None }
    }

    /// A series that has percentiles, too.
    #[must_use]
    pub const fn with_percentiles(name: &'a str, precision: Precision) -> Self {
        Self { name, precision: Some(precision) }
    }
}

/// Why a registration was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// More series than [`SERIES_MAX`].
    #[error("at most {SERIES_MAX} series, not {0}")]
    TooMany(usize),
    /// A name that is empty or too long.
    #[error("a series' name has 1 to {NAME_BYTES_MAX} bytes: {0:?}")]
    Name(String),
    /// Two series of one name.
    #[error("there are two series named {0:?}")]
    Duplicate(String),
    /// More bits than the histograms have.
    #[error("series {name:?}: precision of 0 to {BITS_MAX} bits, not {bits}")]
    Precision {
        /// Name of the series.
        name: String,
        /// Bits asked for.
        bits: u32,
    },
}

/// Index of a series, in the order of registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeriesId(pub u32);

/// What a window holds at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The first instant that is covered: the start of the window's oldest step.
    pub from: UnixNanos,
    /// Time covered, in ns: from there to now.
    pub covered_ns: u64,
    /// Values recorded.
    pub count: u64,
    /// Their sum.
    pub sum: u128,
    /// The smallest of them; 0 when there is none.
    pub min: u64,
    /// The largest of them; 0 when there is none.
    pub max: u64,
}

impl Reading {
    /// Values a second, over the time covered; 0 when that is nothing.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.rate_of(self.count as f64)
    }

    /// Sum of the values a second, over the time covered; 0 when that is nothing.
    #[must_use]
    pub fn sum_per_second(&self) -> f64 {
        self.rate_of(self.sum as f64)
    }

    /// Mean of the values; 0 when there is none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    fn rate_of(&self, amount: f64) -> f64 {
        if self.covered_ns == 0 { 0.0 } else { amount * 1e9 / self.covered_ns as f64 }
    }
}

/// Values of one step.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
struct Step {
    /// Number of the step (time by its length) and 1; 0 = nothing was ever recorded in this place.
    number: u64,
    sum_low: u64,
    sum_high: u64,
    min: u64,
    max: u64,
    count: u64,
}

impl Step {
    const fn sum(&self) -> u128 {
        (self.sum_high as u128) << 64 | self.sum_low as u128
    }
}

/// What is known of a series since registration.
#[derive(Clone, Copy, Debug)]
struct Layout {
    precision: Option<Precision>,
    /// Histogram cells of one step.
    cells: usize,
    /// Where the series' histogram cells begin.
    first_cell: usize,
}

/// Totals of one series since the start.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Totals {
    /// Values given to [`Windows::record`].
    pub values: u64,
    /// Those of them above [`Precision::value_max`].
    pub beyond: u64,
    /// Places that a value did not find in its step: at most three a value.
    pub lost: u64,
}

/// Windows of registered series. See the [module](self).
#[derive(Clone)]
pub struct Windows {
    /// Latest time seen, ns.
    now_ns: u64,
    /// Calls with an earlier time.
    backward: u64,
    /// By series.
    totals: Box<[Totals]>,
    /// By series, window, place.
    steps: Box<[Step]>,
    /// Histograms, by series, window, place, cell.
    cells: Box<[u32]>,
    layouts: Box<[Layout]>,
    names: Box<[Box<str>]>,
}

/// Steps of one series.
const SERIES_STEPS: usize = Window::ALL.len() * STEPS;

impl Windows {
    /// Windows of these series, all empty. Allocates all that they will ever need: 3 KiB a series, and 240 bytes for each histogram
    /// cell ([`Windows::cells_of`]). No series at all are fine. O(n^2) in their number.
    ///
    /// # Errors
    /// [`SeriesError`] for too many, an empty, long or double name, and a precision beyond 7 bits.
    pub fn new(series: &[Series<'_>]) -> Result<Self, SeriesError> {
        if series.len() > SERIES_MAX {
            return Err(SeriesError::TooMany(series.len()));
        }
        let mut layouts = Vec::with_capacity(series.len());
        let mut first_cell = 0;
        for (index, Series { name, precision }) in series.iter().enumerate() {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(SeriesError::Name((*name).to_owned()));
            }
            if series[..index].iter().any(|other| other.name == *name) {
                return Err(SeriesError::Duplicate((*name).to_owned()));
            }
            if let Some(Precision { bits, .. }) = precision.filter(|precision| precision.bits > BITS_MAX) {
                return Err(SeriesError::Precision { name: (*name).to_owned(), bits });
            }
            let cells = precision.map_or(0, Self::cells_of);
            layouts.push(Layout { precision: *precision, cells, first_cell });
            first_cell += cells * SERIES_STEPS;
        }
        Ok(Self {
            now_ns: 0,
            backward: 0,
            totals: vec![Totals::default(); series.len()].into(),
            steps: vec![Step::zeroed(); series.len() * SERIES_STEPS].into(),
            cells: vec![0; first_cell].into(),
            layouts: layouts.into(),
            names: series.iter().map(|series| Box::from(series.name)).collect(),
        })
    }

    /// Histogram cells of one step under this precision; each takes 4 bytes in each of the 60 steps of a series.
    #[must_use]
    pub fn cells_of(precision: Precision) -> usize {
        cell_of(precision.value_max, precision.bits.min(BITS_MAX)) + 2
    }

    /// Cell of a value: that of what is beyond `value_max` is the last one, and its own.
    #[inline]
    fn cell(precision: Precision, value: u64) -> usize {
        let most = cell_of(precision.value_max, precision.bits);
        if value > precision.value_max { most + 1 } else { cell_of(value, precision.bits) }
    }

    /// The series of that name. O(n): look it up once, at start.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<SeriesId> {
        self.names.iter().position(|known| &**known == name).map(|index| SeriesId(index as u32))
    }

    /// Records a value at `now`. O(1): one place in each window, and one histogram cell in each of them; a place that is used
    /// again for a new step is cleared first. `false`, and nothing recorded, when there is no such series.
    #[inline]
    pub fn record(&mut self, id: SeriesId, value: u64, now: UnixNanos) -> bool {
        let series = id.0 as usize;
        let Some(&layout) = self.layouts.get(series) else { return false };
        if now.0 < self.now_ns {
            self.backward += 1;
        } else {
            self.now_ns = now.0;
        }
        let totals = &mut self.totals[series];
        totals.values += 1;
        let cell = layout.precision.map(|precision| {
            totals.beyond += u64::from(value > precision.value_max);
            Self::cell(precision, value)
        });
        for window in Window::ALL {
            // The lengths are constants here: no division is left.
            let number = self.now_ns / window.step_ns();
            let place = series * SERIES_STEPS + window as usize * STEPS + (number % STEPS as u64) as usize;
            let first = layout.first_cell + (place - series * SERIES_STEPS) * layout.cells;
            let step = &mut self.steps[place];
            if step.number != number + 1 {
                *step = Step { number: number + 1, min: u64::MAX, ..Step::zeroed() };
                self.cells[first..first + layout.cells].fill(0);
            }
            if step.count == u64::from(STEP_VALUES_MAX) {
                self.totals[series].lost += 1;
                continue;
            }
            let (sum, carry) = step.sum_low.overflowing_add(value);
            (step.sum_low, step.sum_high) = (sum, step.sum_high + u64::from(carry));
            step.count += 1;
            step.min = step.min.min(value);
            step.max = step.max.max(value);
            if let Some(cell) = cell {
                self.cells[first + cell] += 1;
            }
        }
        true
    }

    /// Number of the first step of `window` at the instant, and the instant: `now`, or the latest time seen if that is later.
    #[inline]
    fn first_step(&self, window: Window, now: UnixNanos) -> (u64, u64) {
        let now_ns = now.0.max(self.now_ns);
        ((now_ns / window.step_ns()).saturating_sub(STEPS as u64 - 1), now_ns)
    }

    /// Indices of the places of `window` that count when `first` is its oldest step.
    fn live(&self, series: usize, window: Window, first: u64) -> impl Iterator<Item = usize> + Clone + '_ {
        let start = series * SERIES_STEPS + window as usize * STEPS;
        // Numbers are one above those of the steps.
        (start..start + STEPS).filter(move |place| self.steps[*place].number > first)
    }

    /// What `window` holds of a series at `now`, or at the latest time seen if that is later; `None` when there is no such series.
    /// O(steps).
    #[must_use]
    pub fn read(&self, id: SeriesId, window: Window, now: UnixNanos) -> Option<Reading> {
        let series = id.0 as usize;
        self.layouts.get(series)?;
        let (first, now_ns) = self.first_step(window, now);
        let from_ns = first * window.step_ns();
        let empty =
            Reading { from: UnixNanos(from_ns), covered_ns: now_ns - from_ns, count: 0, sum: 0, min: u64::MAX, max: 0 };
        let mut reading = self.live(series, window, first).fold(empty, |reading, place| {
            let step = &self.steps[place];
            Reading {
                count: reading.count + step.count,
                sum: reading.sum + step.sum(),
                min: reading.min.min(step.min),
                max: reading.max.max(step.max),
                ..reading
            }
        });
        if reading.count == 0 {
            reading.min = 0;
        }
        Some(reading)
    }

    /// Percentiles of what `window` holds at `now`: for each quantile in parts of [`QUANTILE_ONE`], in rising order, a value that at
    /// least that share of the values is not above (nearest rank). Never below the true one, above it by less than 1 part in
    /// 2^[`Precision::bits`], and never above the largest value recorded. O(steps * cells).
    ///
    /// `None` when there is no such series, it has no percentiles, or the window is empty.
    ///
    /// # Panics
    /// When a quantile is above [`QUANTILE_ONE`], or they do not rise.
    #[must_use]
    pub fn percentiles<const N: usize>(
        &self,
        id: SeriesId,
        window: Window,
        now: UnixNanos,
        quantiles: [u32; N],
    ) -> Option<[u64; N]> {
        assert!(quantiles.iter().all(|quantile| *quantile <= QUANTILE_ONE), "quantiles are parts of {QUANTILE_ONE}");
        assert!(quantiles.is_sorted(), "quantiles rise: {quantiles:?}");
        let series = id.0 as usize;
        let layout = self.layouts.get(series)?;
        let precision = layout.precision?;
        let reading = self.read(id, window, now)?;
        if reading.count == 0 {
            return None;
        }
        let (first, _) = self.first_step(window, now);
        let rows = self.live(series, window, first).map(|place| {
            let start = layout.first_cell + (place - series * SERIES_STEPS) * layout.cells;
            &self.cells[start..start + layout.cells]
        });
        let mut values = [reading.max; N];
        let mut done = 0;
        let mut below = 0;
        // From the minimum's cell up; the last cell has what is beyond, which only the maximum bounds.
        for cell in Self::cell(precision, reading.min)..layout.cells - 1 {
            below += rows.clone().map(|row| u64::from(row[cell])).sum::<u64>();
            while done < N && below >= rank_of(quantiles[done], reading.count) {
                values[done] = highest_of(cell, precision.bits).min(reading.max);
                done += 1;
            }
            if done == N {
                break;
            }
        }
        Some(values)
    }

    /// Totals of a series since the start.
    #[must_use]
    pub fn totals(&self, id: SeriesId) -> Option<Totals> {
        self.totals.get(id.0 as usize).copied()
    }

    /// Name of a series.
    #[must_use]
    pub fn name(&self, id: SeriesId) -> Option<&str> {
        self.names.get(id.0 as usize).map(|name| &**name)
    }

    /// Every series, in the order of registration.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = SeriesId> + use<> {
        (0..self.layouts.len() as u32).map(SeriesId)
    }

    /// Calls whose time lay before one already seen: taken as that one.
    #[must_use]
    pub fn backward(&self) -> u64 {
        self.backward
    }

    /// Bytes held on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len()).sum();
        names
            + size_of_val(&*self.totals)
            + size_of_val(&*self.steps)
            + size_of_val(&*self.cells)
            + size_of_val(&*self.layouts)
            + size_of_val(&*self.names)
    }

    /// Checks every rule of the structure. O(bytes); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check(u64::MAX) {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    fn check(&self, count_max: u64) -> Result<(), Broken> {
        require(self.backward <= count_max, "counts are far from their end", 0)?;
        for (series, (layout, totals)) in self.layouts.iter().zip(&self.totals).enumerate() {
            require(totals.values <= count_max, "counts are far from their end", series)?;
            require(totals.beyond <= totals.values, "values beyond the largest expected are values", series)?;
            require(totals.lost / 3 <= totals.values, "a value is lost in three windows at most", series)?;
            for window in Window::ALL {
                for place in 0..STEPS {
                    let index = series * SERIES_STEPS + window as usize * STEPS + place;
                    self.check_step(layout, window, place, index, layout.first_cell, series)?;
                }
            }
        }
        Ok(())
    }

    fn check_step(
        &self,
        layout: &Layout,
        window: Window,
        place: usize,
        index: usize,
        first_cell: usize,
        series: usize,
    ) -> Result<(), Broken> {
        let step = &self.steps[index];
        let start = first_cell + (index - series * SERIES_STEPS) * layout.cells;
        let cells = &self.cells[start..start + layout.cells];
        if step.number == 0 {
            require(*step == Step::zeroed(), "a step that never was is empty", index)?;
            return require(cells.iter().all(|cell| *cell == 0), "a step that never was has no values", index);
        }
        let number = step.number - 1;
        require((number % STEPS as u64) as usize == place, "a step is in its place", index)?;
        require(number <= self.now_ns / window.step_ns(), "no step is of the future", index)?;
        let count = u128::from(step.count);
        require((1..=u64::from(STEP_VALUES_MAX)).contains(&step.count), "a step has values, and not too many", index)?;
        require(step.count <= self.totals[series].values, "a step's values were recorded", index)?;
        require(step.min <= step.max, "the smallest value is not above the largest", index)?;
        let (low, high) = (count * u128::from(step.min), count * u128::from(step.max));
        require((low..=high).contains(&step.sum()), "the sum lies between the extremes", index)?;
        let Some(precision) = layout.precision else { return Ok(()) };
        let values: u64 = cells.iter().map(|cell| u64::from(*cell)).sum();
        require(values == step.count, "every value has a cell", index)?;
        let of = |value: u64| Self::cell(precision, value);
        let first = cells.iter().position(|cell| *cell != 0);
        let last = cells.iter().rposition(|cell| *cell != 0);
        require(first == Some(of(step.min)), "the smallest value is in the first cell", index)?;
        require(last == Some(of(step.max)), "the largest value is in the last cell", index)?;
        require(
            (step.min > precision.value_max || lowest_of(of(step.min), precision.bits) <= step.min)
                && cells.len() == Self::cells_of(precision),
            "cells stand for their values",
            index,
        )
    }
}

/// Largest count that a snapshot may have: what is added to it later cannot overflow for centuries.
const COUNT_MAX: u64 = 1 << 62;

/// Rank of the value of a quantile among `count` values in rising order, from 1.
fn rank_of(quantile: u32, count: u64) -> u64 {
    let rank = (u128::from(count) * u128::from(quantile)).div_ceil(u128::from(QUANTILE_ONE));
    (rank as u64).max(1)
}

impl std::fmt::Debug for Windows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Windows")
            .field("names", &self.names)
            .field("layouts", &self.layouts)
            .field("now_ns", &self.now_ns)
            .field("backward", &self.backward)
            .field("totals", &self.totals)
            .finish()
    }
}
