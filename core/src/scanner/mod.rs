//! The scanner: rules that turn market data into alerts.
//!
//! | rule | fires when | value | reference | side |
//! |---|---|---|---|---|
//! | [`Rule::Breakout`] | a trade is above the highest high, or below the lowest low, of the last N closed bars | its price | that high or low | bid = upward, ask = downward |
//! | [`Rule::VolumeSpike`] | a trade takes the bar's volume above a multiple of the average of the closed bars | the volume so far | the average | the trade's aggressor |
//! | [`Rule::Volatility`] | a closed bar takes the volatility above a multiple of the usual | volatility now, ln per bar | the usual | none |
//! | [`Rule::Momentum`] | a closed bar takes the return over N bars beyond a multiple of a random walk's | the return, ln | that distance | bid = upward, ask = downward |
//! | [`Rule::Gap`] | a bar's first price is away from the last bar's close | its price | that close | bid = upward, ask = downward |
//! | [`Rule::Spread`] | a quote's spread exceeds a multiple of the average of the closed bars | the spread | the average | none |
//! | [`Rule::Halt`], [`Rule::Resume`] | a status says so, and it was otherwise before | the action's number | the reason's number; seconds halted | none |
//!
//! Prices, spreads and sizes are in whole units. Severity is 1 (medium) at the threshold, 2 and 3 (critical) further beyond it:
//! see [`breakout`] and the others, each in a file of its own.
//!
//! **Bars** are those of [`crate::features::bar`]: one second of shard time, aligned to the UNIX epoch. Only bars with
//! a trade count: idle seconds are not filled in, so that "the last 20 bars" are 20 traded seconds, however far apart.
//! A bar is therefore closed by the first trade after its end, without a timer, with the same result; that trade is the cause
//! of what the close brings about, in the order volatility, momentum, gap, breakout, volume spike. Bars of spreads are those
//! of the quotes, likewise.
//!
//! Trades without a price above 0 and a size above 0, and quotes without two prices above 0 that are not crossed, are skipped and
//! counted. Historical events are not for it: they came before what it has seen.

pub mod breakout;
mod config;
pub mod gap;
pub mod halt;
pub mod momentum;
mod rule;
pub mod spread;
pub mod volatility;
pub mod volume_spike;

pub use config::{
    AVERAGE_BARS_MAX, BPS_MAX, COOLDOWN_BARS_MAX, Config, ConfigError, FACTOR_MAX, SPIKE_BARS_MAX, SPIKE_FACTOR_MAX,
};
pub use rule::Rule;

use crate::event::payload::{Alert, Quote, Status, Trade};
use crate::event::{EventRef, Kind, KindSet};
use crate::features::bar::bar_end;
use crate::features::returns::Returns;
use crate::handler::{Ctx, Handler, Verdict};
use crate::units::{PRICE_UNDEFINED, size_f64};
use breakout::Breakout;
use bytemuck::{Pod, Zeroable};
use halt::Halt;
use momentum::Momentum;
use spread::Spread;
use volatility::Volatility;
use volume_spike::VolumeSpike;

/// Runs every rule over the trades, quotes and statuses of every symbol.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    config: Config,
}

impl Scanner {
    /// A scanner with these parameters.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config })
    }

    /// The parameters.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}

impl Default for Scanner {
    /// The scanner with the default parameters, which are in range.
    fn default() -> Self {
        Self { config: Config::default() }
    }
}

/// What [`Scanner`] remembers of one symbol: 18 cache lines, of which a trade touches the first two and a quote one more.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct State {
    /// End of the open bar in ns since the UNIX epoch; 0 = there was no trade yet.
    bar_end: u64,
    /// Price of the latest trade, 1e-9; 0 = there was none yet.
    last: i64,
    volume_spike: VolumeSpike,
    /// Trades and quotes that were not usable.
    skipped: u64,
    /// Alerts that found no room in the staging area.
    unpublished: u64,
    breakout: Breakout,
    /// Always 0.
    reserved: u64,
    spread: Spread,
    returns: Returns,
    volatility: Volatility,
    momentum: Momentum,
    halt: Halt,
    /// Always 0.
    reserved_end: [u64; 11],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<State>() == 18 * 64, "the documented size");
    assert!(offset_of!(State, breakout) == 64 && offset_of!(State, spread) == 10 * 64, "the documented lines");
};

impl State {
    /// Trades and quotes that were not usable, since the state began.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Alerts that were due and found no room in the staging area ([`crate::handler::Full`]).
    #[must_use]
    pub const fn unpublished(&self) -> u64 {
        self.unpublished
    }

    /// Closes the bar that lies behind and opens that of `cx.now()`, which begins with a trade at `price`.
    #[cold]
    #[inline(never)]
    fn next_bar(&mut self, config: &Config, price: i64, cx: &mut Ctx<'_>) {
        if self.last != 0 {
            let usual = self.volatility.usual(config);
            let storm = self.returns.update(self.last).and_then(|r| self.volatility.close_bar(config, r));
            self.publish(storm, cx);
            let momentum = self.momentum.close_bar(config, self.last, usual);
            self.publish(momentum, cx);
            self.publish(gap::opened(config, self.last, price), cx);
        }
        self.breakout.close_bar(config);
        self.volume_spike.close_bar(config);
        // The last second that u64 holds has no end.
        self.bar_end = bar_end(cx.now()).map_or(u64::MAX, |end| end.0);
    }

    #[cold]
    fn publish(&mut self, alert: Option<Alert>, cx: &mut Ctx<'_>) {
        if let Some(alert) = alert
            && cx.alert(&alert).is_err()
        {
            self.unpublished += 1;
        }
    }
}

impl Handler for Scanner {
    type State = State;
    const NAME: &'static str = "scanner";
    const STATE_VERSION: u16 = 2;
    /// It never fails.
    const ROLLBACK: bool = false;
    const TAKES_HISTORY: bool = false;
    const COUNTS: &'static [&'static str] = &["skipped", "unpublished"];

    fn count(&self, st: &State, sums: &mut [u64]) {
        sums.iter_mut().zip([st.skipped, st.unpublished]).for_each(|(sum, count)| *sum += count);
    }

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::QUOTE, Kind::STATUS]) }
    }

    #[inline]
    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let config = &self.config;
        if let Some(trade) = ev.get::<Trade>() {
            if trade.price <= 0 || trade.price == PRICE_UNDEFINED || trade.size == 0 {
                st.skipped += 1;
                return Verdict::Done;
            }
            if cx.now().0 >= st.bar_end {
                st.next_bar(config, trade.price, cx);
            }
            st.last = trade.price;
            let breakout = st.breakout.update(config, trade.price);
            let spike = st.volume_spike.update(config, size_f64(trade.size, ev.head().scale), trade.side());
            if breakout.is_some() || spike.is_some() {
                st.publish(breakout, cx);
                st.publish(spike, cx);
            }
        } else if let Some(quote) = ev.get::<Quote>() {
            if !Spread::is_usable(quote) {
                st.skipped += 1;
                return Verdict::Done;
            }
            let alert = st.spread.update(config, quote, cx.now());
            if alert.is_some() {
                st.publish(alert, cx);
            }
        } else if let Some(status) = ev.get::<Status>() {
            let alert = st.halt.update(status, cx.now());
            st.publish(alert, cx);
        }
        Verdict::Done
    }
}
