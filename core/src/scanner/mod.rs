//! The scanner: rules that turn market data into alerts.
//!
//! | rule | fires when a trade | value | reference | side |
//! |---|---|---|---|---|
//! | [`Rule::Breakout`] | is above the highest high, or below the lowest low, of the last N closed bars | its price | that high or low | bid = upward, ask = downward |
//! | [`Rule::VolumeSpike`] | takes the bar's volume above a multiple of the average of the closed bars | the volume so far | the average | the trade's aggressor |
//!
//! Prices and sizes are in whole units. Severity is 1 (medium) at the threshold, 2 and 3 (critical) further beyond it:
//! see [`breakout`] and [`volume_spike`].
//!
//! **Bars** are those of [`crate::features::bar`]: one second of shard time, aligned to the UNIX epoch. Only bars with
//! a trade count: idle seconds are not filled in, so that "the last 20 bars" are 20 traded seconds, however far apart.
//! A bar is therefore closed by the first trade after its end, without a timer, with the same result.
//!
//! Trades without a price above 0 and a size above 0 are skipped and counted. Historical trades build the ranges and
//! averages, and fire, as any other.

pub mod breakout;
mod config;
mod rule;
pub mod volume_spike;

pub use config::{COOLDOWN_BARS_MAX, Config, ConfigError, SPIKE_BARS_MAX, SPIKE_FACTOR_MAX};
pub use rule::Rule;

use crate::event::payload::{Alert, Trade};
use crate::event::{EventRef, Kind, KindSet};
use crate::features::bar::bar_end;
use crate::handler::{Ctx, Handler, Verdict};
use crate::units::{PRICE_UNDEFINED, size_f64};
use breakout::Breakout;
use bytemuck::{Pod, Zeroable};
use volume_spike::VolumeSpike;

/// Runs every rule over the trades of every symbol.
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

/// What [`Scanner`] remembers of one symbol: ten cache lines, of which a trade touches the first two.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct State {
    /// End of the open bar in ns since the UNIX epoch; 0 = there was no trade yet.
    bar_end: u64,
    volume_spike: VolumeSpike,
    /// Trades that were not usable.
    skipped: u64,
    /// Alerts that found no room in the staging area.
    unpublished: u64,
    breakout: Breakout,
    /// Always 0.
    reserved: [u64; 2],
}

const _: () = assert!(size_of::<State>() == 10 * 64, "the documented size");

impl State {
    /// Trades that were not usable, since the state began.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Alerts that were due and found no room in the staging area ([`crate::handler::Full`]).
    #[must_use]
    pub const fn unpublished(&self) -> u64 {
        self.unpublished
    }

    /// Closes the bar that lies behind and opens that of `cx.now()`.
    #[cold]
    #[inline(never)]
    fn next_bar(&mut self, config: &Config, cx: &Ctx<'_>) {
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
    const STATE_VERSION: u16 = 1;
    /// It never fails.
    const ROLLBACK: bool = false;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    #[inline]
    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let Some(trade) = ev.get::<Trade>() else { return Verdict::Done };
        if trade.price <= 0 || trade.price == PRICE_UNDEFINED || trade.size == 0 {
            st.skipped += 1;
            return Verdict::Done;
        }
        if cx.now().0 >= st.bar_end {
            st.next_bar(&self.config, cx);
        }
        let breakout = st.breakout.update(&self.config, trade.price);
        let spike = st.volume_spike.update(&self.config, size_f64(trade.size, ev.head().scale), trade.side());
        if breakout.is_some() || spike.is_some() {
            st.publish(breakout, cx);
            st.publish(spike, cx);
        }
        Verdict::Done
    }
}
