//! Bars of 1 s, from the model's own trades.

/// Length of a bar in ns. Bars begin at whole seconds of UTC.
pub(super) const INTERVAL_NS: u64 = 1_000_000_000;

/// Trades of one symbol in the running interval. Prices in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bar {
    pub(super) open: i32,
    pub(super) high: i32,
    pub(super) low: i32,
    pub(super) close: i32,
    pub(super) volume: u64,
    pub(super) trades: u64,
    /// Sum of price * size.
    notional: u128,
}

impl Bar {
    /// Volume-weighted price in units of a tick's `one`, cut.
    pub(super) fn vwap(&self, one: i64) -> i64 {
        (self.notional * one as u128 / u128::from(self.volume)) as i64
    }
}

/// The bars of the most active symbols: rank r has bar r.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    bars: Box<[Bar]>,
    /// End of the running interval, ns since the UNIX epoch.
    end_ns: u64,
    /// Ranks below this have been closed already.
    closed: usize,
    /// Whether the running interval has a trade.
    any: bool,
}

impl Bars {
    pub(super) fn new(symbols: u32, start_ns: u64) -> Self {
        Self {
            bars: vec![Bar::default(); symbols as usize].into_boxed_slice(),
            end_ns: next_end(start_ns),
            closed: 0,
            any: false,
        }
    }

    /// When the next bar falls due, if the interval has one.
    #[inline]
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.any.then_some(self.end_ns)
    }

    /// Moves the interval on to that of `now_ns`, when there is no bar due before.
    #[inline]
    pub(super) fn advance(&mut self, now_ns: u64) {
        if !self.any && now_ns >= self.end_ns {
            self.end_ns = next_end(now_ns);
        }
    }

    /// A trade in the running interval.
    #[inline]
    pub(super) fn trade(&mut self, rank: u32, ticks: i32, size: u32) {
        let Some(bar) = self.bars.get_mut(rank as usize) else { return };
        if bar.trades == 0 {
            *bar = Bar { open: ticks, high: ticks, low: ticks, ..Bar::default() };
        }
        bar.high = bar.high.max(ticks);
        bar.low = bar.low.min(ticks);
        bar.close = ticks;
        bar.volume += u64::from(size);
        bar.trades += 1;
        bar.notional += u128::from(ticks.unsigned_abs()) * u128::from(size);
        self.any = true;
    }

    /// The next bar of the interval that has ended, by rank; `None` when all have been given.
    pub(super) fn close(&mut self) -> Option<(u32, Bar)> {
        while let Some(bar) = self.bars.get_mut(self.closed) {
            self.closed += 1;
            if bar.trades > 0 {
                return Some((self.closed as u32 - 1, std::mem::take(bar)));
            }
        }
        self.closed = 0;
        self.any = false;
        None
    }

    /// Bytes that the bars hold.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.bars)
    }
}

fn next_end(now_ns: u64) -> u64 {
    (now_ns / INTERVAL_NS + 1) * INTERVAL_NS
}
