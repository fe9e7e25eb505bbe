//! The handler that keeps the features of a symbol and publishes their vector at the close of a bar.

use super::bar::{BAR_NS, Bar, bar_end};
use super::book_top::BookTop;
use super::closed::ClosedBar;
use super::indicators::Indicators;
use super::order_flow::OrderFlow;
use super::set::{Feature, SET_2};
use super::vector::Vector;
use super::vwap::Vwap;
use crate::book::BookView;
use crate::event::payload::{Features, Trade};
use crate::event::{EventRef, Kind, KindSet};
use crate::handler::{Ask, Ctx, Handler, Job, JobSet, Verdict};
use crate::units::{PRICE_UNDEFINED, Side, price_f64, size_f64};
use crate::zone::Zone;
use bytemuck::{Pod, Zeroable};

/// Levels of each side of the order book that `depth_imbalance` looks at.
pub const DEPTH_LEVELS: usize = 5;

/// Keeps the features of set 2 for every symbol; see [`crate::features`] for what they are and when they come.
///
/// An event costs a few additions and, for its sizes, one or two divisions; everything else is done once a bar, by a timer
/// at its end.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    config: Config,
}

/// Parameters of an [`Engine`]. The lengths of averages and windows are none: they are what a set's number stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Whose days are sessions.
    pub zone: Zone,
}

impl Engine {
    /// The features of set 2, with sessions of UTC.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The features of set 2 with these parameters.
    #[must_use]
    pub fn with(config: Config) -> Self {
        Self { config }
    }
}

/// What [`Engine`] remembers of one symbol: 3,072 bytes. A trade or a quote touches the first two cache lines, the close of a
/// bar most of the 48.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct State {
    // Line 0: trades.
    /// End of the open bar in ns since the UNIX epoch, also the token of its timer; 0 = no bar is open.
    bar_end: u64,
    bar: Bar,
    bar_vwap: Vwap,
    // Line 1: quotes, and who began the trades.
    top: BookTop,
    order_flow: OrderFlow,
    /// Size of the bar whose aggressor bought less that whose aggressor sold.
    trade_flow: f64,
    /// Trades that were not usable.
    skipped_trades: u64,
    // From line 2 on: closes.
    /// Quotes that were not usable.
    skipped_quotes: u64,
    /// Vectors that were published.
    published: u64,
    /// Vectors that found no room in the staging area.
    unpublished: u64,
    indicators: Indicators,
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<State>() == 3_072, "the documented size");
    assert!(offset_of!(State, top) == 64 && offset_of!(State, skipped_quotes) == 128, "the documented lines");
};

/// What a trade adds to the flow per size, by [`Side`].
const FLOW: [f64; 3] = {
    let mut flow = [0.0; 3];
    flow[Side::Bid as usize] = 1.0;
    flow[Side::Ask as usize] = -1.0;
    flow
};

impl State {
    /// Trades and quotes that were not usable, since the state began.
    #[must_use]
    pub const fn skipped(&self) -> (u64, u64) {
        (self.skipped_trades, self.skipped_quotes)
    }

    /// Vectors that were published: a count of what was made, and of nothing else.
    #[must_use]
    pub const fn published(&self) -> u64 {
        self.published
    }

    /// Vectors that were made and found no room in the staging area ([`crate::handler::Full`]).
    #[must_use]
    pub const fn unpublished(&self) -> u64 {
        self.unpublished
    }

    /// Takes a usable trade of the open bar in.
    #[inline(always)]
    fn trade(&mut self, trade: &Trade, scale: u8) {
        let size = size_f64(trade.size, scale);
        self.bar.update(trade.price);
        self.bar_vwap.update(trade.price, size);
        if let Some(sign) = FLOW.get(usize::from(trade.side)) {
            self.trade_flow += sign * size;
        }
    }

    /// Takes a usable quote of the open bar in.
    #[inline(always)]
    fn quote(&mut self, top: BookTop) {
        if self.top.is_some() {
            self.order_flow.update(&self.top, &top);
        }
        self.top = top;
    }

    /// A bar's first usable event, whole: nothing is then left to do after the call, for which the other events would have to
    /// save registers.
    #[cold]
    #[inline(never)]
    fn first_event(&mut self, zone: &Zone, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        self.open_bar(zone, cx);
        if let Some(trade) = ev.get::<Trade>() {
            self.trade(trade, ev.head().scale);
        } else if let Some(top) = BookTop::of(ev) {
            self.quote(top);
        }
        Verdict::Done
    }

    /// Opens the bar of `cx.now()`.
    fn open_bar(&mut self, zone: &Zone, cx: &mut Ctx<'_>) {
        let now = cx.now();
        if self.bar_end != 0 {
            // Its timer was lost, as happens when the shard's timers are full. The bar is closed late rather than joined with this one.
            self.close_bar(zone, cx);
        }
        self.indicators.begin_session(zone, now);
        // In the last second that u64 holds, and where no timer is to be had, the sums go on without an end.
        if let Some(end) = bar_end(now)
            && cx.timer_at(end, end.0).is_ok()
        {
            self.bar_end = end.0;
        }
    }

    /// The open bar so far, if it has a trade.
    #[inline]
    fn bar_so_far(&self) -> Option<ClosedBar> {
        let (close, [open, high, low]) = self.bar.close().zip(self.bar.value())?;
        (self.bar.trades() != 0).then(|| ClosedBar {
            end_ns: self.bar_end,
            open,
            high,
            low,
            close,
            volume: self.bar_vwap.volume(),
            notional: self.bar_vwap.notional(),
            flow: self.trade_flow,
        })
    }

    /// Ends the open bar: advances what goes by closes, publishes the vector, and rolls.
    fn close_bar(&mut self, zone: &Zone, cx: &mut Ctx<'_>) {
        let bar = self.bar_so_far();
        if let Some(bar) = &bar {
            self.indicators.update(zone, bar);
        }
        let vector = self.with_bar(bar.as_ref(), cx.book());
        let head = Features { ready: vector.ready, interval_ns: BAR_NS, count: 0, set: SET_2 };
        match cx.features(&head, &vector.values) {
            Ok(()) => self.published += 1,
            Err(_) => self.unpublished += 1,
        }
        self.bar.roll();
        self.bar_vwap = Vwap::default();
        self.trade_flow = 0.0;
        self.order_flow.roll();
        self.bar_end = 0;
    }

    /// The values of `groups` as they stand ([`super::groups`]; what is needed to compute them need not be named): those of a
    /// bar are of the open bar so far, those that go by closes as of the last close.
    #[must_use]
    pub fn vector(&self, groups: u64, book: Option<BookView<'_>>) -> Vector {
        self.with_bar(self.bar_so_far().as_ref(), book).of_groups(groups)
    }

    fn with_bar(&self, bar: Option<&ClosedBar>, book: Option<BookView<'_>>) -> Vector {
        let mut to = Vector::EMPTY;
        let last = self.bar.close().map(price_f64);
        to.set(Feature::LastPrice, last);
        let ohl = self.bar.value();
        to.set(Feature::BarOpen, ohl.map(|[open, _, _]| price_f64(open)));
        to.set(Feature::BarHigh, ohl.map(|[_, high, _]| price_f64(high)));
        to.set(Feature::BarLow, ohl.map(|[_, _, low]| price_f64(low)));
        to.set(Feature::VolumeBar, Some(self.bar_vwap.volume()));
        to.set(Feature::TradesBar, Some(self.bar.trades() as f64));
        to.set(Feature::TurnoverBar, Some(self.bar_vwap.turnover()));
        to.set(Feature::VwapBar, self.bar_vwap.value().or(last));
        to.set(Feature::TradeImbalance, last.map(|_| bar.map_or(0.0, |bar| bar.flow / bar.volume)));
        let top = self.top.value();
        to.set(Feature::MidPrice, top.map(|top| top.mid_price));
        to.set(Feature::Spread, top.map(|top| top.spread));
        to.set(Feature::SpreadBps, top.map(|top| top.spread_bps));
        to.set(Feature::TopImbalance, top.map(|top| top.imbalance));
        to.set(Feature::Microprice, top.map(|top| top.microprice));
        to.set(Feature::OrderFlowImbalance, self.order_flow.value());
        to.set(Feature::DepthImbalance, book.and_then(|book| book.imbalance(DEPTH_LEVELS)));
        self.indicators.write(self.bar_end, bar, &mut to);
        to
    }
}

impl Handler for Engine {
    type State = State;
    const NAME: &'static str = "features";
    const STATE_VERSION: u16 = 2;
    /// It never fails.
    const ROLLBACK: bool = false;
    const TAKES_HISTORY: bool = false;
    const COUNTS: &'static [&'static str] = &["published", "unpublished", "skipped_trades", "skipped_quotes"];

    fn count(&self, st: &State, sums: &mut [u64]) {
        let counts = [st.published, st.unpublished, st.skipped_trades, st.skipped_quotes];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

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
                return st.first_event(&self.config.zone, ev, cx);
            }
            st.trade(trade, ev.head().scale);
        } else if ev.kind() == Kind::QUOTE {
            let Some(top) = BookTop::of(ev) else {
                st.skipped_quotes += 1;
                return Verdict::Done;
            };
            if cx.now().0 >= st.bar_end {
                return st.first_event(&self.config.zone, ev, cx);
            }
            st.quote(top);
        }
        Verdict::Done
    }

    fn serves(&self) -> JobSet {
        const { JobSet::of(&[Job::FEATURES]) }
    }

    /// The values of the groups as they stand now, the open bar included; nothing ends. No group asks for all.
    fn on_request(&self, st: &mut State, ask: &Ask, cx: &mut Ctx<'_>) -> Verdict {
        let vector = st.vector(if ask.groups == 0 { u64::MAX } else { ask.groups }, cx.book());
        let head = Features { ready: vector.ready, interval_ns: 0, count: 0, set: SET_2 };
        match cx.features(&head, &vector.values) {
            Ok(()) => st.published += 1,
            Err(_) => st.unpublished += 1,
        }
        Verdict::Done
    }

    fn on_timer(&self, st: &mut State, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        // A timer of a state that has begun anew since (after a panic) is no longer that of the open bar.
        if token == st.bar_end && token != 0 {
            st.close_bar(&self.config.zone, cx);
        }
        Verdict::Done
    }
}
