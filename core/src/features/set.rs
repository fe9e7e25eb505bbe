//! The set of features that the default pipeline computes: names, units and order.

/// What reports say of one value of a feature vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeatureDef {
    /// Name in NDJSON and tables.
    pub name: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// What must have come before the value's `ready` bit is set.
    pub warm_up: &'static str,
    /// What it is, in one sentence.
    pub doc: &'static str,
}

/// Number of this set, as [`crate::event::payload::Features::set`] has it. A change of names, order or meaning takes
/// a new number.
pub const SET_1: u32 = 1;

macro_rules! features {
    ($($variant:ident = $name:literal, $unit:literal, $warm_up:literal, $doc:literal;)*) => {
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

        /// The features of set 1, by index.
        pub const SET: &[FeatureDef] =
            &[$(FeatureDef { name: $name, unit: $unit, warm_up: $warm_up, doc: $doc }),*];
    };
}

features! {
    LastPrice = "last_price", "price", "1 trade", "Price of the latest trade.";
    BarOpen = "bar_open", "price", "1 trade", "First price of the bar; a bar without a trade is flat at the last price.";
    BarHigh = "bar_high", "price", "1 trade", "Highest price of the bar; a bar without a trade is flat.";
    BarLow = "bar_low", "price", "1 trade", "Lowest price of the bar; a bar without a trade is flat.";
    ReturnBar = "return_bar", "ln", "2 traded bars",
        "Log return from the close of the traded bar before to this close; 0 in a bar without a trade.";
    ReturnSession = "return_session", "ln", "1 traded bar of the session",
        "Log return from the first price of the session to the last price.";
    VolumeBar = "volume_bar", "size", "none", "Traded size of the bar.";
    VolumeSession = "volume_session", "size", "none", "Traded size of the session.";
    TradesBar = "trades_bar", "count", "none", "Trades of the bar.";
    VwapBar = "vwap_bar", "price", "1 trade",
        "Volume-weighted average price of the bar; the last price in a bar without a trade.";
    VwapSession = "vwap_session", "price", "1 trade of the session",
        "Volume-weighted average price of the session.";
    EmaFast = "ema_fast", "price", "12 traded bars", "EMA of length 12 of the closes of traded bars.";
    EmaSlow = "ema_slow", "price", "26 traded bars", "EMA of length 26 of the closes of traded bars.";
    RealisedVolatility = "realised_volatility", "ln", "20 returns of the session",
        "Square root of the sum of the session's squared bar returns.";
    EwmaVolatility = "ewma_volatility", "ln per bar", "33 returns",
        "Exponentially weighted volatility of bar returns, lambda 0.94.";
    MidPrice = "mid_price", "price", "1 usable quote", "Mean of best bid and best ask.";
    Spread = "spread", "price", "1 usable quote", "Best ask less best bid.";
    SpreadBps = "spread_bps", "bps", "1 usable quote", "Spread in hundredths of a per cent of the mid price.";
    TopImbalance = "top_imbalance", "ratio", "1 usable quote",
        "Size at the bid less size at the ask, over their sum: -1 to 1.";
    Microprice = "microprice", "price", "1 usable quote", "Mid price weighted by the size of the other side.";
    OrderFlowImbalance = "order_flow_imbalance", "size", "2 usable quotes",
        "Order-flow imbalance of the bar's quotes at the best prices.";
}

/// Values of a vector of set 1.
pub const SET_LEN: usize = SET.len();

const _: () = assert!(SET_LEN <= 64, "`ready` has 64 bits");
const _: () = assert!(SET_LEN == Feature::ALL.len());

/// The definitions of set `set`, by index; `None` for a set that this build does not know.
#[must_use]
pub const fn names(set: u32) -> Option<&'static [FeatureDef]> {
    match set {
        SET_1 => Some(SET),
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
            let cells: Vec<&str> = row.split(" | ").collect();
            assert_eq!(cells[0], index.to_string(), "{row}");
            assert_eq!(cells[1], format!("`{}`", def.name), "{row}");
            assert_eq!((cells[2], cells[4]), (def.unit, def.warm_up), "{row}");
        }
        assert_eq!(names(SET_1), Some(SET));
        assert_eq!((names(0), names(2)), (None, None));
    }
}
