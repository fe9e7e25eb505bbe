//! The sets of features: names, units, groups and order.

use super::correlation::{BENCHMARK, CORRELATION, SET_BENCHMARK, SET_CORRELATION};
use super::groups::Group;

/// What reports say of one value of a feature vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeatureDef {
    /// Name in NDJSON and tables.
    pub name: &'static str,
    /// Group that it is requested with.
    pub group: Group,
    /// Unit of the value.
    pub unit: &'static str,
    /// What must have come before the value's `ready` bit is set.
    pub warm_up: &'static str,
    /// What it is, in one sentence.
    pub doc: &'static str,
}

/// Number of the first set: the first [`SET_1_LEN`] values of set 2. A change of names, order or meaning takes a new
/// number.
pub const SET_1: u32 = 1;
/// Values of a vector of set 1.
pub const SET_1_LEN: usize = 21;
/// Number of the set that [`super::Engine`] publishes, as [`crate::event::payload::Features::set`] has it.
pub const SET_2: u32 = 2;

macro_rules! features {
    ($($variant:ident = $name:literal, $group:ident, $unit:literal, $warm_up:literal, $doc:literal;)*) => {
        /// A value of [`SET`]; the number is its index in the vector and its bit in `ready`.
        #[repr(usize)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Feature {
            $(#[doc = $doc] $variant),*
        }

        impl Feature {
            /// Every feature of the set, by index.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }

        /// The features of set 2, by index.
        pub const SET: &[FeatureDef] = &[$(FeatureDef {
            name: $name,
            group: Group::$group,
            unit: $unit,
            warm_up: $warm_up,
            doc: $doc,
        }),*];
    };
}

features! {
    LastPrice = "last_price", Price, "price", "1 trade", "Price of the latest trade.";
    BarOpen = "bar_open", Price, "price", "1 trade",
        "First price of the bar; a bar without a trade is flat at the last price.";
    BarHigh = "bar_high", Price, "price", "1 trade", "Highest price of the bar; a bar without a trade is flat.";
    BarLow = "bar_low", Price, "price", "1 trade", "Lowest price of the bar; a bar without a trade is flat.";
    ReturnBar = "return_bar", Returns, "ln", "2 traded bars",
        "Log return from the close of the traded bar before to this close; 0 in a bar without a trade.";
    ReturnSession = "return_session", Returns, "ln", "1 traded bar of the session",
        "Log return from the first price of the session to the last price.";
    VolumeBar = "volume_bar", Volume, "size", "none", "Traded size of the bar.";
    VolumeSession = "volume_session", Volume, "size", "none", "Traded size of the session.";
    TradesBar = "trades_bar", Volume, "count", "none", "Trades of the bar.";
    VwapBar = "vwap_bar", Vwap, "price", "1 trade",
        "Volume-weighted average price of the bar; the last price in a bar without a trade.";
    VwapSession = "vwap_session", Vwap, "price", "1 trade of the session",
        "Volume-weighted average price of the session.";
    EmaFast = "ema_fast", Trend, "price", "12 traded bars", "EMA of length 12 of the closes of traded bars.";
    EmaSlow = "ema_slow", Trend, "price", "26 traded bars", "EMA of length 26 of the closes of traded bars.";
    RealisedVolatility = "realised_volatility", Volatility, "ln", "20 returns of the session",
        "Square root of the sum of the session's squared bar returns.";
    EwmaVolatility = "ewma_volatility", Volatility, "ln per bar", "33 returns",
        "Exponentially weighted volatility of bar returns, lambda 0.94.";
    MidPrice = "mid_price", Microstructure, "price", "1 usable quote", "Mean of best bid and best ask.";
    Spread = "spread", Microstructure, "price", "1 usable quote", "Best ask less best bid.";
    SpreadBps = "spread_bps", Microstructure, "bps", "1 usable quote",
        "Spread in hundredths of a per cent of the mid price.";
    TopImbalance = "top_imbalance", Microstructure, "ratio", "1 usable quote",
        "Size at the bid less size at the ask, over their sum: -1 to 1.";
    Microprice = "microprice", Microstructure, "price", "1 usable quote",
        "Mid price weighted by the size of the other side.";
    OrderFlowImbalance = "order_flow_imbalance", Microstructure, "size", "2 usable quotes",
        "Order-flow imbalance of the bar's quotes at the best prices.";
    // From here on set 2 alone.
    TypicalPrice = "typical_price", Price, "price", "1 trade",
        "Mean of high, low and close of the bar; the last price in a bar without a trade.";
    RelativeVolume = "relative_volume", Volume, "ratio", "20 traded bars",
        "Traded size of the bar over the mean of the last 20 traded bars; 0 in a bar without a trade.";
    OnBalanceVolume = "on_balance_volume", Volume, "size", "1 traded bar",
        "Sum of the sizes of bars that closed higher less those that closed lower.";
    VwapDeviation = "vwap_deviation", Vwap, "bps", "1 traded bar of the session",
        "Last price against the average price of the session, in hundredths of a per cent of it.";
    Atr = "atr", Volatility, "price", "15 traded bars", "Average true range of 14 bars, Wilder's smoothing.";
    ParkinsonVolatility = "parkinson_volatility", Volatility, "ln per bar", "20 traded bars",
        "Parkinson's volatility from the ranges of the last 20 traded bars.";
    GarmanKlassVolatility = "garman_klass_volatility", Volatility, "ln per bar", "20 traded bars",
        "Garman and Klass's volatility from ranges and bodies of the last 20 traded bars.";
    Rsi = "rsi", Momentum, "percent", "15 traded bars", "Relative strength index of 14 steps, 0 to 100.";
    Macd = "macd", Momentum, "price", "34 traded bars", "Fast EMA less slow EMA.";
    MacdSignal = "macd_signal", Momentum, "price", "34 traded bars", "EMA of length 9 of the MACD line.";
    MacdHistogram = "macd_histogram", Momentum, "price", "34 traded bars", "MACD line less its signal.";
    Roc = "roc", Momentum, "percent", "11 traded bars", "Rate of change of the close over 10 traded bars.";
    StochasticK = "stochastic_k", Momentum, "percent", "14 traded bars",
        "Where the close stands between the lowest low and the highest high of 14 bars, 0 to 100.";
    StochasticD = "stochastic_d", Momentum, "percent", "16 traded bars", "Mean of the last three values of %K.";
    WilliamsR = "williams_r", Momentum, "percent", "14 traded bars",
        "Where the close stands below the highest high of 14 bars, -100 to 0.";
    Cci = "cci", Momentum, "ratio", "20 traded bars", "Commodity channel index of 20 bars.";
    Sma = "sma", Trend, "price", "20 traded bars", "Mean of the last 20 closes.";
    Adx = "adx", Trend, "percent", "28 traded bars", "Average directional index of 14 steps, 0 to 100.";
    PlusDi = "plus_di", Trend, "percent", "15 traded bars", "Directional indicator of rises, 0 to 100.";
    MinusDi = "minus_di", Trend, "percent", "15 traded bars", "Directional indicator of falls, 0 to 100.";
    RegressionSlope = "regression_slope", Trend, "price per bar", "20 traded bars",
        "Slope of the least-squares line through the last 20 closes.";
    BollingerUpper = "bollinger_upper", Bands, "price", "20 traded bars",
        "Mean of the last 20 closes and two standard deviations above it.";
    BollingerLower = "bollinger_lower", Bands, "price", "20 traded bars",
        "Mean of the last 20 closes and two standard deviations below it.";
    BollingerPercentB = "bollinger_percent_b", Bands, "ratio", "20 traded bars",
        "Where the close stands in Bollinger's bands: 0 at the lower, 1 at the upper.";
    BollingerBandwidth = "bollinger_bandwidth", Bands, "ratio", "20 traded bars",
        "Width of Bollinger's bands over their middle.";
    KeltnerUpper = "keltner_upper", Bands, "price", "20 traded bars",
        "EMA of length 20 and twice the average true range of 10 bars above it.";
    KeltnerLower = "keltner_lower", Bands, "price", "20 traded bars",
        "EMA of length 20 and twice the average true range of 10 bars below it.";
    DonchianUpper = "donchian_upper", Bands, "price", "20 traded bars", "Highest high of the last 20 traded bars.";
    DonchianLower = "donchian_lower", Bands, "price", "20 traded bars", "Lowest low of the last 20 traded bars.";
    TradeImbalance = "trade_imbalance", Microstructure, "ratio", "1 trade",
        "Size bought less size sold by the aggressors of the bar's trades, over all of it: -1 to 1.";
    TurnoverBar = "turnover_bar", Liquidity, "price * size", "none", "Traded value of the bar.";
    TurnoverSession = "turnover_session", Liquidity, "price * size", "none", "Traded value of the session.";
    AmihudIlliquidity = "amihud_illiquidity", Liquidity, "ln per 10^6 price * size", "20 returns",
        "Mean over 20 bars of the absolute return per million of traded value.";
    KyleLambda = "kyle_lambda", Liquidity, "price per size", "20 returns",
        "Change of the close per size that aggressors bought net, over 20 bars.";
    SeasonalVolume = "seasonal_volume", Seasonality, "ratio", "volume in this half-hour of an earlier session",
        "Traded size of the bar against the mean of bars in this half-hour of earlier sessions.";
    DepthImbalance = "depth_imbalance", Microstructure, "ratio", "usable order book",
        "Size of the best five bids less that of the best five offers, over both: -1 to 1.";
}

/// Values of a vector of set 2.
pub const SET_LEN: usize = SET.len();

const _: () = assert!(SET_LEN <= 64, "`ready` has 64 bits");
const _: () = assert!(SET_LEN == Feature::ALL.len());
const _: () = assert!(Feature::OrderFlowImbalance as usize + 1 == SET_1_LEN, "set 2 begins with set 1");

/// The definitions of set `set`, by index; `None` for a set that this build does not know.
#[must_use]
pub const fn names(set: u32) -> Option<&'static [FeatureDef]> {
    match set {
        SET_1 => Some(SET.split_at(SET_1_LEN).0),
        SET_2 => Some(SET),
        SET_CORRELATION => Some(CORRELATION),
        SET_BENCHMARK => Some(BENCHMARK),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_the_table_of_the_module_shows_them_all_in_order() {
        let docs = include_str!("mod.rs");
        let rows: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1).collect();
        assert_eq!(rows.len(), SET_LEN);
        for (index, (def, row)) in SET.iter().zip(rows).enumerate() {
            assert_eq!(Feature::ALL[index] as usize, index);
            assert!(SET[..index].iter().all(|other| other.name != def.name), "{}", def.name);
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            assert_eq!(cells.len(), 7, "number, name, group, unit, formula, warm-up, source: {row}");
            assert_eq!(cells[0], index.to_string(), "{row}");
            assert_eq!(cells[1], format!("`{}`", def.name), "{row}");
            assert_eq!((cells[2], cells[3], cells[5]), (def.group.name(), def.unit, def.warm_up), "{row}");
            assert!(!cells[4].is_empty() && !cells[6].is_empty(), "{row}");
        }
        assert_eq!(names(SET_2), Some(SET));
        assert_eq!((names(0), names(9)), (None, None));
    }

    /// Tapes with vectors of set 1 stay readable.
    #[test]
    fn set_1_is_what_it_was() {
        let expected = "last_price bar_open bar_high bar_low return_bar return_session volume_bar volume_session trades_bar \
                        vwap_bar vwap_session ema_fast ema_slow realised_volatility ewma_volatility mid_price spread \
                        spread_bps top_imbalance microprice order_flow_imbalance";
        let names: Vec<&str> = names(SET_1).unwrap().iter().map(|def| def.name).collect();
        assert_eq!(names.join(" "), expected);
    }
}
