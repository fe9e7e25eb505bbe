//! Features per symbol: each an O(1) update of plain state.
//!
//! The handler [`Engine`] turns trades and quotes into a vector of values at the close of each one-second bar in which
//! its symbol had a usable trade or quote; there is no vector for an idle second and none per event. Set 1:
//!
//! | # | name | unit | formula | warm-up | source |
//! |---|---|---|---|---|---|
//! | 0 | `last_price` | price | price of the latest trade | 1 trade | [`bar`] |
//! | 1 | `bar_open` | price | first price of the bar | 1 trade | [`bar`] |
//! | 2 | `bar_high` | price | highest price of the bar | 1 trade | [`bar`] |
//! | 3 | `bar_low` | price | lowest price of the bar | 1 trade | [`bar`] |
//! | 4 | `return_bar` | ln | ln(close / close of the traded bar before) | 2 traded bars | Campbell, Lo, MacKinlay 1997: [`returns`] |
//! | 5 | `return_session` | ln | ln(close / first price of the session) | 1 traded bar of the session | same |
//! | 6 | `volume_bar` | size | sum(size) over the bar | none | [`vwap`] |
//! | 7 | `volume_session` | size | sum(size) over the session | none | [`vwap`] |
//! | 8 | `trades_bar` | count | trades of the bar | none | [`bar`] |
//! | 9 | `vwap_bar` | price | sum(price * size) / sum(size) over the bar | 1 trade | Berkowitz, Logue, Noser 1988: [`vwap`] |
//! | 10 | `vwap_session` | price | the same over the session | 1 trade of the session | same |
//! | 11 | `ema_fast` | price | EMA of closes, alpha = 2 / (12 + 1) | 12 traded bars | Murphy 1999: [`ema`] |
//! | 12 | `ema_slow` | price | EMA of closes, alpha = 2 / (26 + 1) | 26 traded bars | same |
//! | 13 | `realised_volatility` | ln | sqrt(sum(r^2)) over the bar returns of the session | 20 returns of the session | Andersen, Bollerslev, Diebold, Labys 2003: [`volatility`] |
//! | 14 | `ewma_volatility` | ln per bar | sqrt(v), v = 0.94 v + 0.06 r^2 | 33 returns | RiskMetrics 1996: [`volatility`] |
//! | 15 | `mid_price` | price | (ask + bid) / 2 | 1 usable quote | Hasbrouck 2007: [`book_top`] |
//! | 16 | `spread` | price | ask - bid | 1 usable quote | same |
//! | 17 | `spread_bps` | bps | 10^4 (ask - bid) / mid | 1 usable quote | same |
//! | 18 | `top_imbalance` | ratio | (B - A) / (B + A), sizes at bid and ask | 1 usable quote | Cartea, Jaimungal, Penalva 2015: [`book_top`] |
//! | 19 | `microprice` | price | (bid A + ask B) / (A + B) | 1 usable quote | Gatheral, Oomen 2010: [`book_top`] |
//! | 20 | `order_flow_imbalance` | size | sum(e) over the quotes of the bar | 2 usable quotes | Cont, Kukanov, Stoikov 2014: [`order_flow`] |
//!
//! Prices and sizes are in whole units (not 1e-9, not mantissas).
//!
//! # Rules
//! - **Time** is shard time ([`crate::handler::Ctx::now`]), never the time in the event. A bar is [`bar::BAR_NS`] long
//!   and aligned to the UNIX epoch: an event of time t belongs to the bar that ends at the first multiple after t, and
//!   the vector carries that end. A session is a UTC day; it will be configurable.
//! - **Usable**: a trade with a price above 0 that is not undefined, and a size above 0; a quote with both prices above
//!   0 and told, not crossed, and a size on at least one side. Others are skipped and counted ([`State::skipped`]).
//!   Values of the book are those of the latest usable quote. Historical events are taken in as any other.
//! - **Idle**: EMAs, returns and volatilities advance on bars with a trade only. A bar with quotes alone is flat: it
//!   shows the last price, `return_bar` 0 and `volume_bar` 0.
//! - **Session**: `volume_session`, `vwap_session`, `return_session` and `realised_volatility` begin anew at the first
//!   usable event of a session; the first return of a session is from the last close of the one before.
//! - **Ready**: bit i of `ready` says that value i has warmed up; one that has not is +0.0. Within a session a bit is
//!   never cleared. No value is ever NaN or infinite.

pub mod bar;
pub mod book_top;
pub mod ema;
mod engine;
pub mod order_flow;
pub mod returns;
mod set;
pub mod volatility;
pub mod vwap;

pub use engine::{EMA_FAST_BARS, EMA_SLOW_BARS, Engine, State};
pub use set::{Feature, FeatureDef, SET, SET_1, SET_LEN, names};
