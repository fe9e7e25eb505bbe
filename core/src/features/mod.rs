//! Features per symbol: each an O(1) update of plain state.
//!
//! The handler [`Engine`] turns trades and quotes into a vector of values at the close of each one-second bar in which
//! its symbol had a usable trade or quote; there is no vector for an idle second and none per event. Set 2 (set 1, which
//! older tapes hold, is its first 21 values):
//!
//! | # | name | group | unit | formula | warm-up | source |
//! |---|---|---|---|---|---|---|
//! | 0 | `last_price` | price | price | price of the latest trade | 1 trade | [`bar`] |
//! | 1 | `bar_open` | price | price | first price of the bar | 1 trade | [`bar`] |
//! | 2 | `bar_high` | price | price | highest price of the bar | 1 trade | [`bar`] |
//! | 3 | `bar_low` | price | price | lowest price of the bar | 1 trade | [`bar`] |
//! | 4 | `return_bar` | returns | ln | ln(close / close of the traded bar before) | 2 traded bars | Campbell, Lo, MacKinlay 1997: [`returns`] |
//! | 5 | `return_session` | returns | ln | ln(close / first price of the session) | 1 traded bar of the session | same |
//! | 6 | `volume_bar` | volume | size | sum(size) over the bar | none | [`vwap`] |
//! | 7 | `volume_session` | volume | size | sum(size) over the session | none | [`vwap`] |
//! | 8 | `trades_bar` | volume | count | trades of the bar | none | [`bar`] |
//! | 9 | `vwap_bar` | vwap | price | sum(price * size) / sum(size) over the bar | 1 trade | Berkowitz, Logue, Noser 1988: [`vwap`] |
//! | 10 | `vwap_session` | vwap | price | the same over the session | 1 trade of the session | same |
//! | 11 | `ema_fast` | trend | price | EMA of closes, alpha = 2 / (12 + 1) | 12 traded bars | Murphy 1999: [`ema`] |
//! | 12 | `ema_slow` | trend | price | EMA of closes, alpha = 2 / (26 + 1) | 26 traded bars | same |
//! | 13 | `realised_volatility` | volatility | ln | sqrt(sum(r^2)) over the bar returns of the session | 20 returns of the session | Andersen, Bollerslev, Diebold, Labys 2003: [`volatility`] |
//! | 14 | `ewma_volatility` | volatility | ln per bar | sqrt(v), v = 0.94 v + 0.06 r^2 | 33 returns | RiskMetrics 1996: [`volatility`] |
//! | 15 | `mid_price` | microstructure | price | (ask + bid) / 2 | 1 usable quote | Hasbrouck 2007: [`book_top`] |
//! | 16 | `spread` | microstructure | price | ask - bid | 1 usable quote | same |
//! | 17 | `spread_bps` | microstructure | bps | 10^4 (ask - bid) / mid | 1 usable quote | same |
//! | 18 | `top_imbalance` | microstructure | ratio | (B - A) / (B + A), sizes at bid and ask | 1 usable quote | Cartea, Jaimungal, Penalva 2015: [`book_top`] |
//! | 19 | `microprice` | microstructure | price | (bid A + ask B) / (A + B) | 1 usable quote | Gatheral, Oomen 2010: [`book_top`] |
//! | 20 | `order_flow_imbalance` | microstructure | size | sum(e) over the quotes of the bar | 2 usable quotes | Cont, Kukanov, Stoikov 2014: [`order_flow`] |
//! | 21 | `typical_price` | price | price | (high + low + close) / 3 | 1 trade | [`indicators`] |
//! | 22 | `relative_volume` | volume | ratio | volume / mean(volume, 20) | 20 traded bars | [`volume`] |
//! | 23 | `on_balance_volume` | volume | size | sum(± volume), by the sign of the close's change | 1 traded bar | Granville 1963: [`volume`] |
//! | 24 | `vwap_deviation` | vwap | bps | 10^4 (last / vwap_session - 1) | 1 traded bar of the session | [`vwap`] |
//! | 25 | `atr` | volatility | price | Wilder(14) of max(high, close') - min(low, close') | 15 traded bars | Wilder 1978: [`wilder`] |
//! | 26 | `parkinson_volatility` | volatility | ln per bar | sqrt(mean(ln(H/L)^2, 20) / (4 ln 2)) | 20 traded bars | Parkinson 1980: [`volatility`] |
//! | 27 | `garman_klass_volatility` | volatility | ln per bar | sqrt(mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2, 20)) | 20 traded bars | Garman, Klass 1980: [`volatility`] |
//! | 28 | `rsi` | momentum | percent | 100 U / (U + D), Wilder(14) of rises and falls | 15 traded bars | Wilder 1978: [`wilder`] |
//! | 29 | `macd` | momentum | price | ema_fast - ema_slow | 34 traded bars | Appel 2005: [`macd`] |
//! | 30 | `macd_signal` | momentum | price | EMA(9) of macd | 34 traded bars | same |
//! | 31 | `macd_histogram` | momentum | price | macd - macd_signal | 34 traded bars | same |
//! | 32 | `roc` | momentum | percent | 100 (close / close 10 bars ago - 1) | 11 traded bars | Murphy 1999: [`closes`] |
//! | 33 | `stochastic_k` | momentum | percent | 100 (C - L) / (H - L), range of 14 bars | 14 traded bars | Lane 1984: [`stochastic`] |
//! | 34 | `stochastic_d` | momentum | percent | mean of the last 3 of stochastic_k | 16 traded bars | same |
//! | 35 | `williams_r` | momentum | percent | -100 (H - C) / (H - L), range of 14 bars | 14 traded bars | Williams 1973: [`stochastic`] |
//! | 36 | `cci` | momentum | ratio | (t - mean(t, 20)) / (0.015 mean absolute deviation) | 20 traded bars | Lambert 1980: [`cci`] |
//! | 37 | `sma` | trend | price | mean(close, 20) | 20 traded bars | Murphy 1999: [`closes`] |
//! | 38 | `adx` | trend | percent | Wilder(14) of 100 abs(+DI - -DI) / (+DI + -DI) | 28 traded bars | Wilder 1978: [`adx`] |
//! | 39 | `plus_di` | trend | percent | 100 +DM / TR, smoothed over 14 | 15 traded bars | same |
//! | 40 | `minus_di` | trend | percent | 100 -DM / TR, smoothed over 14 | 15 traded bars | same |
//! | 41 | `regression_slope` | trend | price per bar | least squares of close on bar number, 20 | 20 traded bars | [`closes`] |
//! | 42 | `bollinger_upper` | bands | price | sma + 2 sigma(close, 20) | 20 traded bars | Bollinger 2001: [`bands`] |
//! | 43 | `bollinger_lower` | bands | price | sma - 2 sigma(close, 20) | 20 traded bars | same |
//! | 44 | `bollinger_percent_b` | bands | ratio | (close - lower) / (upper - lower) | 20 traded bars | same |
//! | 45 | `bollinger_bandwidth` | bands | ratio | (upper - lower) / sma | 20 traded bars | same |
//! | 46 | `keltner_upper` | bands | price | EMA(20) + 2 ATR(10) | 20 traded bars | Keltner 1960: [`bands`] |
//! | 47 | `keltner_lower` | bands | price | EMA(20) - 2 ATR(10) | 20 traded bars | same |
//! | 48 | `donchian_upper` | bands | price | max(high, 20) | 20 traded bars | Donchian: [`bands`] |
//! | 49 | `donchian_lower` | bands | price | min(low, 20) | 20 traded bars | same |
//! | 50 | `trade_imbalance` | microstructure | ratio | (bought - sold) / volume, by aggressor | 1 trade | [`liquidity`] |
//! | 51 | `turnover_bar` | liquidity | price * size | sum(price * size) over the bar | none | [`liquidity`] |
//! | 52 | `turnover_session` | liquidity | price * size | the same over the session | none | same |
//! | 53 | `amihud_illiquidity` | liquidity | ln per 10^6 price * size | mean(10^6 abs(r) / turnover, 20) | 20 returns | Amihud 2002: [`liquidity`] |
//! | 54 | `kyle_lambda` | liquidity | price per size | sum(dp q) / sum(q^2), 20 bars, q = bought - sold | 20 returns | Kyle 1985: [`liquidity`] |
//! | 55 | `seasonal_volume` | seasonality | ratio | volume / mean volume of a bar of this half-hour in earlier sessions | volume in this half-hour of an earlier session | Jain, Joh 1988: [`seasonality`] |
//! | 56 | `depth_imbalance` | microstructure | ratio | (B - A) / (B + A), sizes of the best 5 levels of each side | usable order book | Cartea, Jaimungal, Penalva 2015: [`crate::book`] |
//!
//! Prices and sizes are in whole units (not 1e-9, not mantissas).
//!
//! # Rules
//! - **Time** is shard time ([`crate::handler::Ctx::now`]), never the time in the event. A bar is [`bar::BAR_NS`] long
//!   and aligned to the UNIX epoch: an event of time t belongs to the bar that ends at the first multiple after t, and
//!   the vector carries that end. A session is a day in the configured zone ([`Config::zone`], UTC by default).
//! - **Usable**: a trade with a price above 0 that is not undefined, and a size above 0; a quote with both prices above
//!   0 and told, not crossed, and a size on at least one side. Others are skipped and counted ([`State::skipped`]).
//!   Values of the book are those of the latest usable quote. Historical events are not taken in: they came
//!   before what is in the open bar and in the windows.
//! - **Idle**: what goes by closes ([`indicators`]) advances on bars with a trade only. A bar with quotes alone is flat: it
//!   shows the last price, `return_bar` 0 and volumes of 0.
//! - **Session**: `volume_session`, `turnover_session`, `vwap_session`, `vwap_deviation`, `return_session` and
//!   `realised_volatility` begin anew at the first usable event of a session; the first return of a session is from the
//!   last close of the one before. Windows and averages go on.
//! - **Ready**: bit i of `ready` says that value i has warmed up; one that has not is +0.0. Within a session a bit is
//!   never cleared, but for those of `seasonal_volume`, which goes by the half-hour, and of `depth_imbalance`, which is told
//!   while the symbol's order book can be used. No value is ever NaN or infinite.
//! - **Groups**: a request names groups as a set of bits ([`groups`]) and gets the values of these ([`State::vector`]).
//! - **Correlation** with a benchmark symbol is a handler of its own with a set of its own: [`correlation`].
//! - **Windows** are of traded bars, and subtract nothing that could leave a rest ([`window`], [`closes`]).
//!
//! Where established libraries differ in how an indicator begins, the module of the formula says which one ours is equal
//! to. `core/tests/features_oracle.rs` compares every value with TA-Lib or pandas on the same bars.

pub mod adx;
pub mod bands;
pub mod bar;
pub mod book_top;
pub mod cci;
pub mod closed;
pub mod closes;
pub mod correlation;
pub mod ema;
mod engine;
pub mod groups;
pub mod indicators;
pub mod liquidity;
pub mod macd;
pub mod order_flow;
pub mod returns;
pub mod seasonality;
mod set;
pub mod stochastic;
mod vector;
pub mod volatility;
pub mod volume;
pub mod vwap;
pub mod wilder;
pub mod window;

pub use closed::ClosedBar;
pub use engine::{Config, DEPTH_LEVELS, Engine, State};
pub use indicators::{EMA_FAST_BARS, EMA_SLOW_BARS, Indicators};
pub use set::{Feature, FeatureDef, SET, SET_1, SET_1_LEN, SET_2, SET_LEN, names};
pub use vector::Vector;
