//! What a generated session is made of.

use std::fmt::Write as _;
use tapeline_core::units::UnixNanos;

/// Parameters of a generated session. Two sessions of equal parameters are equal to the byte, on every machine.
///
/// The default is a trading day pressed into 20 s: 1,000,000 events of 1,000 symbols from 2024-01-02 14:30 UTC on.
///
/// ```
/// use tapeline_runtime::input::generate::Config;
///
/// assert!(Config::default().check().is_ok());
/// let error = Config { symbols: 0, ..Config::default() }.check().unwrap_err();
/// assert_eq!(error.to_string(), "symbols = 0: must be 1 to 1000000");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Seed of everything random.
    pub seed: u64,
    /// Events in all, the parts of messages counted each: exactly so many are made. 1 to 2^40.
    pub events: u64,
    /// Symbols, by falling activity. 1 to 1,000,000; about 700 bytes of memory each.
    pub symbols: u32,
    /// Start of the session. One second after the epoch or later.
    pub start: UnixNanos,
    /// Length of the session in ns: 1 ms to 24 h. The shape of a whole day is pressed into it.
    pub duration_ns: u64,
    /// Exponent of Zipf's law over the symbols: 0 (all equal) to 4.
    pub zipf_exponent: f64,
    /// Extra activity at the open, as a multiple of midday's, on top of the U shape: 0 to 16.
    pub open_rush: f64,
    /// Bursts.
    pub burst: Burst,
    /// The most active symbols that have 1 s bars: 0 to 4,096.
    pub bar_symbols: u32,
    /// Messages by kind.
    pub mix: Mix,
}

/// Bursts: activity changes between calm and burst, for exponentially distributed times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Activity in a burst as a multiple of that in calm: 1 (no bursts) to 64.
    pub factor: u32,
    /// Mean length of calm in ns: 1 us to 24 h.
    pub calm_ns: u64,
    /// Mean length of a burst in ns: 1 us to 24 h.
    pub burst_ns: u64,
    /// Share of a burst's messages, in percent, that goes to the one symbol that leads it.
    pub focus_percent: u8,
}

/// Messages by kind: weights, each up to 10^9. Bars, and the end of a halt, come by time and not by weight.
///
/// A message that cannot be (a trade of a halted symbol, or of one without a quote yet; a message of more parts than
/// events are left) becomes a quote; so quotes come more often, and the others more seldom, than the weights say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Best bid and offer. At least 1: prices move with quotes.
    pub quote: u32,
    /// Trades.
    pub trade: u32,
    /// Messages of changed price levels (about five parts each).
    pub book_level: u32,
    /// Messages of changed orders (one part or several).
    pub book_order: u32,
    /// Ten levels of both sides.
    pub book_depth: u32,
    /// Texts.
    pub news: u32,
    /// Halts. Only one symbol is halted at a time.
    pub status: u32,
    /// Missing numbers of one stream of a symbol.
    pub gap: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            events: 1_000_000,
            symbols: 1_000,
            start: UnixNanos(1_704_205_800_000_000_000),
            duration_ns: 20_000_000_000,
            zipf_exponent: 1.1,
            open_rush: 4.0,
            burst: Burst::default(),
            bar_symbols: 32,
            mix: Mix::default(),
        }
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self { factor: 12, calm_ns: 80_000_000, burst_ns: 4_000_000, focus_percent: 25 }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            quote: 500_000,
            trade: 150_000,
            book_level: 120_000,
            book_order: 220_000,
            book_depth: 9_000,
            news: 300,
            status: 50,
            gap: 50,
        }
    }
}

/// A parameter is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: must be {range}")]
pub struct ConfigError {
    /// The parameter, as the field of [`Config`] is called.
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub range: &'static str,
}

/// Bound on [`Config::events`].
pub(super) const EVENTS_MAX: u64 = 1 << 40;
/// Bound on [`Config::symbols`]: 700 MB of state.
pub(super) const SYMBOLS_MAX: u32 = 1_000_000;
/// Bound on [`Config::duration_ns`]: a day.
pub(super) const DURATION_NS_MAX: u64 = 24 * 3600 * 1_000_000_000;
/// Bound on [`Config::open_rush`].
pub(super) const OPEN_RUSH_MAX: u32 = 16;
/// Bound on [`Burst::factor`].
pub(super) const BURST_FACTOR_MAX: u32 = 64;
/// Bound on the expected number of bursts: construction walks through all of them once.
const BURSTS_MAX: u64 = 10_000_000;
/// Bound on [`Config::bar_symbols`].
const BAR_SYMBOLS_MAX: u32 = 4_096;
/// Bound on each weight of [`Mix`].
const WEIGHT_MAX: u32 = 1_000_000_000;

const _: () = assert!(SYMBOLS_MAX < tapeline_core::limits::SYMBOLS_MAX as u32, "a catalog can hold every symbol");

impl Config {
    /// Whether every parameter is in its range.
    ///
    /// # Errors
    /// The first parameter that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        fn within(
            good: bool,
            field: &'static str,
            value: impl std::fmt::Display,
            range: &'static str,
        ) -> Result<(), ConfigError> {
            if good { Ok(()) } else { Err(ConfigError { field, value: value.to_string(), range }) }
        }
        let Self { burst, mix, .. } = self;
        within((1..=EVENTS_MAX).contains(&self.events), "events", self.events, "1 to 2^40")?;
        within((1..=SYMBOLS_MAX).contains(&self.symbols), "symbols", self.symbols, "1 to 1000000")?;
        within(
            (1_000_000..=DURATION_NS_MAX).contains(&self.duration_ns),
            "duration_ns",
            self.duration_ns,
            "1 ms to 24 h (1000000 to 86400000000000)",
        )?;
        within(
            self.start.0 >= 1_000_000_000 && self.start.0 < u64::MAX - DURATION_NS_MAX,
            "start",
            self.start.0,
            "at least 1 s after the epoch, and a day before the last instant (1000000000 to 18446657673709551614)",
        )?;
        // Written so that NaN is out of range too.
        within((0.0..=4.0).contains(&self.zipf_exponent), "zipf_exponent", self.zipf_exponent, "0 to 4")?;
        within((0.0..=f64::from(OPEN_RUSH_MAX)).contains(&self.open_rush), "open_rush", self.open_rush, "0 to 16")?;
        within((1..=BURST_FACTOR_MAX).contains(&burst.factor), "burst.factor", burst.factor, "1 to 64")?;
        let sojourn = 1_000..=DURATION_NS_MAX;
        const SOJOURN: &str = "1 us to 24 h (1000 to 86400000000000)";
        within(sojourn.contains(&burst.calm_ns), "burst.calm_ns", burst.calm_ns, SOJOURN)?;
        within(sojourn.contains(&burst.burst_ns), "burst.burst_ns", burst.burst_ns, SOJOURN)?;
        within(
            self.duration_ns / (burst.calm_ns + burst.burst_ns) <= BURSTS_MAX,
            "burst.calm_ns",
            burst.calm_ns,
            "so long that the session has at most 10000000 bursts",
        )?;
        within(burst.focus_percent <= 100, "burst.focus_percent", burst.focus_percent, "0 to 100")?;
        within(self.bar_symbols <= BAR_SYMBOLS_MAX, "bar_symbols", self.bar_symbols, "0 to 4096")?;
        within(mix.quote >= 1, "mix.quote", mix.quote, "1 to 1000000000: prices move with quotes")?;
        for (field, weight) in mix.named() {
            within(weight <= WEIGHT_MAX, field, weight, "0 to 1000000000")?;
        }
        Ok(())
    }

    /// One line that says what the session is, and names each parameter that is not the default: for the tape's
    /// header and reports. `generated: seed 1, 1000 symbols, 1000000 events, 20 s`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("generated: seed {}, {} symbols, {} events, ", self.seed, self.symbols, self.events);
        let mut add = |part: std::fmt::Arguments<'_>| text.write_fmt(part).expect("a String takes all that is written");
        match self.duration_ns {
            ns if ns % 1_000_000_000 == 0 => add(format_args!("{} s", ns / 1_000_000_000)),
            ns if ns % 1_000_000 == 0 => add(format_args!("{} ms", ns / 1_000_000)),
            ns => add(format_args!("{ns} ns")),
        }
        let usual = Self::default();
        if self.start != usual.start {
            add(format_args!(", start {}", self.start.0));
        }
        if self.zipf_exponent != usual.zipf_exponent {
            add(format_args!(", zipf {}", self.zipf_exponent));
        }
        if self.open_rush != usual.open_rush {
            add(format_args!(", open rush {}", self.open_rush));
        }
        if self.burst != usual.burst {
            let Burst { factor, calm_ns, burst_ns, focus_percent } = self.burst;
            add(format_args!(", burst x{factor} calm {calm_ns} ns burst {burst_ns} ns focus {focus_percent} %"));
        }
        if self.bar_symbols != usual.bar_symbols {
            add(format_args!(", bars of {}", self.bar_symbols));
        }
        for ((field, weight), (_, default)) in self.mix.named().into_iter().zip(usual.mix.named()) {
            if weight != default {
                add(format_args!(", {field} {weight}"));
            }
        }
        text
    }
}

impl Mix {
    /// The weights and what their fields are called from [`Config`].
    pub(super) fn named(&self) -> [(&'static str, u32); 8] {
        [
            ("mix.quote", self.quote),
            ("mix.trade", self.trade),
            ("mix.book_level", self.book_level),
            ("mix.book_order", self.book_order),
            ("mix.book_depth", self.book_depth),
            ("mix.news", self.news),
            ("mix.status", self.status),
            ("mix.gap", self.gap),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_out_of_range_is_named() {
        let good = Config::default();
        assert_eq!(good.check(), Ok(()));
        let burst = good.burst;
        let mix = good.mix;
        let bad = [
            ("events", Config { events: 0, ..good.clone() }),
            ("events", Config { events: EVENTS_MAX + 1, ..good.clone() }),
            ("symbols", Config { symbols: SYMBOLS_MAX + 1, ..good.clone() }),
            ("duration_ns", Config { duration_ns: 999_999, ..good.clone() }),
            ("duration_ns", Config { duration_ns: u64::MAX, ..good.clone() }),
            ("start", Config { start: UnixNanos(0), ..good.clone() }),
            ("start", Config { start: UnixNanos::UNKNOWN, ..good.clone() }),
            ("zipf_exponent", Config { zipf_exponent: f64::NAN, ..good.clone() }),
            ("zipf_exponent", Config { zipf_exponent: -0.1, ..good.clone() }),
            ("open_rush", Config { open_rush: f64::INFINITY, ..good.clone() }),
            ("burst.factor", Config { burst: Burst { factor: 0, ..burst }, ..good.clone() }),
            ("burst.calm_ns", Config { burst: Burst { calm_ns: 0, ..burst }, ..good.clone() }),
            ("burst.burst_ns", Config { burst: Burst { burst_ns: u64::MAX, ..burst }, ..good.clone() }),
            ("burst.focus_percent", Config { burst: Burst { focus_percent: 101, ..burst }, ..good.clone() }),
            ("bar_symbols", Config { bar_symbols: 5_000, ..good.clone() }),
            ("mix.quote", Config { mix: Mix { quote: 0, ..mix }, ..good.clone() }),
            ("mix.gap", Config { mix: Mix { gap: u32::MAX, ..mix }, ..good.clone() }),
        ];
        for (field, config) in bad {
            assert_eq!(config.check().unwrap_err().field, field, "{config:?}");
        }
        let many = Burst { calm_ns: 1_000, burst_ns: 1_000, ..burst };
        let error = Config { burst: many, duration_ns: DURATION_NS_MAX, ..good }.check().unwrap_err();
        assert_eq!(error.field, "burst.calm_ns");
    }

    #[test]
    fn the_description_names_what_is_not_the_default() {
        let good = Config::default();
        assert_eq!(good.describe(), "generated: seed 1, 1000 symbols, 1000000 events, 20 s");
        let other = Config {
            seed: 7,
            duration_ns: 1_500_000_000,
            zipf_exponent: 0.5,
            mix: Mix { news: 0, ..Mix::default() },
            ..good
        };
        assert_eq!(other.describe(), "generated: seed 7, 1000 symbols, 1000000 events, 1500 ms, zipf 0.5, mix.news 0");
    }
}
