//! The handler that keeps the features of a symbol and publishes their vector at the close of a bar.

use super::bar::{BAR_NS, Bar, bar_end, session_end};
use super::book_top::BookTop;
use super::ema::Ema;
use super::order_flow::OrderFlow;
use super::returns::{Returns, log_return};
use super::set::{Feature, SET_1, SET_LEN};
use super::volatility::{Ewma, Realised};
use super::vwap::Vwap;
use crate::event::payload::{Features, Trade};
use crate::event::{EventRef, Kind, KindSet};
use crate::handler::{Ask, Ctx, Handler, Job, JobSet, Verdict};
use crate::units::{PRICE_UNDEFINED, price_f64, size_f64};
use bytemuck::{Pod, Zeroable};

/// Length of the fast EMA in traded bars.
pub const EMA_FAST_BARS: u32 = 12;
/// Length of the slow EMA in traded bars.
pub const EMA_SLOW_BARS: u32 = 26;

/// Keeps the features of set 1 for every symbol; see [`crate::features`] for what they are and when they come.
///
/// An event costs a few additions and, for its sizes, one or two divisions; logarithms, roots and the vector are made
/// once a bar, by a timer at its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Engine {}

impl Engine {
    /// The features of set 1, which has no parameters.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

/// What [`Engine`] remembers of one symbol: four cache lines. A trade touches the first, a quote the first two, the
/// close of a bar all of them.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct State {
    // Line 0: trades.
    /// End of the open bar in ns since the UNIX epoch, also the token of its timer; 0 = no bar is open.
    bar_end: u64,
    bar: Bar,
    bar_vwap: Vwap,
    // Line 1: quotes.
    top: BookTop,
    order_flow: OrderFlow,
    /// Trades that were not usable.
    skipped_trades: u64,
    /// Quotes that were not usable.
    skipped_quotes: u64,
    // Lines 2 and 3: closes.
    session: Session,
    ema_fast: Ema,
    ema_slow: Ema,
    returns: Returns,
    ewma: Ewma,
    /// Vectors that found no room in the staging area.
    unpublished: u64,
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<State>() == 4 * 64, "the documented size");
    assert!(offset_of!(State, top) == 64 && offset_of!(State, session) == 128, "the documented lines");
};

/// Sums that begin anew with each session.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
struct Session {
    /// End in ns since the UNIX epoch; 0 = none yet.
    end: u64,
    /// First price, 1e-9; 0 = no bar with a trade yet.
    open: i64,
    vwap: Vwap,
    realised: Realised,
}

impl State {
    /// Trades and quotes that were not usable, since the state began.
    #[must_use]
    pub const fn skipped(&self) -> (u64, u64) {
        (self.skipped_trades, self.skipped_quotes)
    }

    /// Vectors that were made and found no room in the staging area ([`crate::handler::Full`]).
    #[must_use]
    pub const fn unpublished(&self) -> u64 {
        self.unpublished
    }

    /// Opens the bar of `cx.now()` at its first usable event.
    #[cold]
    #[inline(never)]
    fn open_bar(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now();
        debug_assert!(
            self.bar_end == 0,
            "Invariant: a bar's timer fires before an event at or after its end: end={}, now={}",
            self.bar_end,
            now.0
        );
        if self.bar_end != 0 {
            // Its timer was lost. The bar is closed late rather than joined with this one.
            self.close_bar(cx);
        }
        if now.0 >= self.session.end {
            self.session = Session { end: session_end(now).0, ..Session::default() };
        }
        // In the last second that u64 holds, and where no timer is to be had, the sums go on without an end.
        if let Some(end) = bar_end(now)
            && cx.timer_at(end, end.0).is_ok()
        {
            self.bar_end = end.0;
        }
    }

    /// Ends the open bar: advances what goes by closes, publishes the vector, and rolls.
    fn close_bar(&mut self, cx: &mut Ctx<'_>) {
        if self.bar.trades() != 0
            && let (Some(close), Some([open, ..])) = (self.bar.close(), self.bar.value())
        {
            let price = price_f64(close);
            self.ema_fast.update(const { Ema::alpha(EMA_FAST_BARS) }, price);
            self.ema_slow.update(const { Ema::alpha(EMA_SLOW_BARS) }, price);
            if let Some(r) = self.returns.update(close) {
                self.session.realised.update(r);
                self.ewma.update(r);
            }
            if self.session.open == 0 {
                self.session.open = open;
            }
            self.session.vwap.merge(&self.bar_vwap);
        }
        let vector = self.vector();
        let head = Features { ready: vector.ready, interval_ns: BAR_NS, count: 0, set: SET_1 };
        if cx.features(&head, &vector.values).is_err() {
            self.unpublished += 1;
        }
        self.bar.roll();
        self.bar_vwap = Vwap::default();
        self.order_flow.roll();
        self.bar_end = 0;
    }

    fn vector(&self) -> Vector {
        let mut to = Vector { ready: 0, values: [0.0; SET_LEN] };
        let last = self.bar.close().map(price_f64);
        let flat = self.bar.trades() == 0;
        to.set(Feature::LastPrice, last);
        let ohl = self.bar.value();
        to.set(Feature::BarOpen, ohl.map(|[open, _, _]| price_f64(open)));
        to.set(Feature::BarHigh, ohl.map(|[_, high, _]| price_f64(high)));
        to.set(Feature::BarLow, ohl.map(|[_, _, low]| price_f64(low)));
        to.set(Feature::ReturnBar, self.returns.value().map(|r| if flat { 0.0 } else { r }));
        let session_open = self.session.open;
        let session_return =
            self.bar.close().filter(|_| session_open != 0).map(|close| log_return(session_open, close));
        to.set(Feature::ReturnSession, session_return);
        to.set(Feature::VolumeBar, Some(self.bar_vwap.volume()));
        to.set(Feature::VolumeSession, Some(self.session.vwap.volume()));
        to.set(Feature::TradesBar, Some(self.bar.trades() as f64));
        to.set(Feature::VwapBar, self.bar_vwap.value().or(last));
        to.set(Feature::VwapSession, self.session.vwap.value());
        to.set(Feature::EmaFast, self.ema_fast.value(EMA_FAST_BARS));
        to.set(Feature::EmaSlow, self.ema_slow.value(EMA_SLOW_BARS));
        to.set(Feature::RealisedVolatility, self.session.realised.value());
        to.set(Feature::EwmaVolatility, self.ewma.value());
        let top = self.top.value();
        to.set(Feature::MidPrice, top.map(|top| top.mid_price));
        to.set(Feature::Spread, top.map(|top| top.spread));
        to.set(Feature::SpreadBps, top.map(|top| top.spread_bps));
        to.set(Feature::TopImbalance, top.map(|top| top.imbalance));
        to.set(Feature::Microprice, top.map(|top| top.microprice));
        to.set(Feature::OrderFlowImbalance, self.order_flow.value());
        to
    }
}

/// A vector under construction.
struct Vector {
    ready: u64,
    values: [f64; SET_LEN],
}

impl Vector {
    /// Puts a value that has warmed up in. One that is not finite, which no input should bring about, counts as not
    /// ready, so that it never leaves the engine.
    #[inline]
    fn set(&mut self, feature: Feature, value: Option<f64>) {
        let Some(value) = value else { return };
        debug_assert!(value.is_finite(), "Invariant: features are finite: {feature:?}={value}");
        if value.is_finite() {
            self.ready |= 1 << feature as usize;
            self.values[feature as usize] = value;
        }
    }
}

impl Handler for Engine {
    type State = State;
    const NAME: &'static str = "features";
    const STATE_VERSION: u16 = 1;
    /// It never fails.
    const ROLLBACK: bool = false;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::QUOTE]) }
    }

    #[inline]
    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if let Some(trade) = ev.get::<Trade>() {
            if trade.price <= 0 || trade.price == PRICE_UNDEFINED || trade.size == 0 {
                st.skipped_trades += 1;
                return Verdict::Done;
            }
            // Also true when no bar is open: `bar_end` is 0 then.
            if cx.now().0 >= st.bar_end {
                st.open_bar(cx);
            }
            st.bar.update(trade.price);
            st.bar_vwap.update(trade.price, size_f64(trade.size, ev.head().scale));
        } else if ev.kind() == Kind::QUOTE {
            let Some(top) = BookTop::of(ev) else {
                st.skipped_quotes += 1;
                return Verdict::Done;
            };
            if cx.now().0 >= st.bar_end {
                st.open_bar(cx);
            }
            if st.top.is_some() {
                st.order_flow.update(&st.top, &top);
            }
            st.top = top;
        }
        Verdict::Done
    }

    fn serves(&self) -> JobSet {
        const { JobSet::of(&[Job::FEATURES]) }
    }

    /// The vector as it stands now, the open bar included; nothing ends. Set 1 has no groups: all of it is given.
    fn on_request(&self, st: &mut State, _ask: &Ask, cx: &mut Ctx<'_>) -> Verdict {
        let vector = st.vector();
        let head = Features { ready: vector.ready, interval_ns: 0, count: 0, set: SET_1 };
        if cx.features(&head, &vector.values).is_err() {
            st.unpublished += 1;
        }
        Verdict::Done
    }

    fn on_timer(&self, st: &mut State, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        // A timer of a state that has begun anew since (after a panic) is no longer that of the open bar.
        if token == st.bar_end && token != 0 {
            st.close_bar(cx);
        }
        Verdict::Done
    }
}
