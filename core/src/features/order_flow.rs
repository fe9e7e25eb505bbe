//! Order-flow imbalance at the best prices.
//!
//! For each quote n with bid `b` of size `B` and ask `a` of size `A`:
//! ```text
//! e[n] = [b[n] >= b[n-1]] * B[n] - [b[n] <= b[n-1]] * B[n-1] - [a[n] <= a[n-1]] * A[n] + [a[n] >= a[n-1]] * A[n-1]
//! OFI  = sum of e[n] over the quotes of the bar
//! ```
//! Buying pressure is positive. Source: R. Cont, A. Kukanov, S. Stoikov, "The Price Impact of Order Book Events",
//! Journal of Financial Econometrics 12(1), 2014, section 2.1 (arXiv 1011.6402).

use super::book_top::BookTop;
use bytemuck::{Pod, Zeroable};

/// Sum of the contributions of a bar's quotes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct OrderFlow {
    /// Sum of e[n] of the bar, in units of size.
    sum: f64,
    /// Contributions since the state was zeroed, rolled bars included.
    count: u64,
}

impl OrderFlow {
    /// Takes the step from one usable quote to the next in. O(1): four comparisons that select, no jump, no division.
    #[inline]
    pub fn update(&mut self, before: &BookTop, after: &BookTop) {
        let keep = |condition: bool, size: f64| if condition { size } else { 0.0 };
        let bid =
            keep(after.bid_px >= before.bid_px, after.bid_sz) - keep(after.bid_px <= before.bid_px, before.bid_sz);
        let ask =
            keep(after.ask_px <= before.ask_px, after.ask_sz) - keep(after.ask_px >= before.ask_px, before.ask_sz);
        self.sum += bid - ask;
        self.count += 1;
    }

    /// Begins the next bar. What has warmed up stays so.
    #[inline]
    pub fn roll(&mut self) {
        self.sum = 0.0;
    }

    /// The imbalance of the bar so far, in units of size; 0 in a bar without quotes. `None` before the second usable
    /// quote.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count != 0).then_some(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(bid_px: i64, bid_sz: f64, ask_px: i64, ask_sz: f64) -> BookTop {
        BookTop { bid_px, ask_px, bid_sz, ask_sz }
    }

    /// The cases of the paper's section 2.1, one at a time.
    #[test]
    fn by_hand() {
        let before = top(100, 5.0, 102, 7.0);
        for (after, expected, case) in [
            (top(100, 8.0, 102, 7.0), 3.0, "bid grows"),
            (top(100, 1.0, 102, 7.0), -4.0, "bid shrinks"),
            (top(101, 2.0, 102, 7.0), 2.0, "bid rises: the whole new queue"),
            (top(99, 9.0, 102, 7.0), -5.0, "bid falls: the whole old queue"),
            (top(100, 5.0, 102, 9.0), -2.0, "ask grows"),
            (top(100, 5.0, 102, 4.0), 3.0, "ask shrinks"),
            (top(100, 5.0, 101, 3.0), -3.0, "ask falls: the whole new queue"),
            (top(100, 5.0, 103, 1.0), 7.0, "ask rises: the whole old queue"),
            (before, 0.0, "nothing"),
        ] {
            let mut flow = OrderFlow::default();
            assert_eq!(flow.value(), None);
            flow.update(&before, &after);
            assert_eq!(flow.value(), Some(expected), "{case}");
            flow.roll();
            assert_eq!(flow.value(), Some(0.0), "{case}");
        }
    }
}
