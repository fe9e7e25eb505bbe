//! A request queue that is obviously right: a list in the order of queueing, searched from end to end.

use tapeline_core::queue::{Config, Counters, Pending, Priority, Pushed, Request, RequestQueue};
use tapeline_core::slab::Handle;
use tapeline_core::testing::{Prng, without_allocation};
use tapeline_core::units::{SymbolId, UnixNanos};

#[derive(Clone, Copy)]
struct Item {
    handle: Handle,
    request: Request<u64>,
    queued: u64,
    /// How many were queued before.
    number: u64,
    /// How many expiries were set before the last one of this request.
    expiry: u64,
    asked: u32,
}

/// What happened in a run, so that tests can show that it did.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    pub(crate) queued: u64,
    pub(crate) merged: u64,
    pub(crate) joined: u64,
    pub(crate) symbol_full: u64,
    pub(crate) queue_full: u64,
    pub(crate) unknown: u64,
    pub(crate) popped: u64,
    pub(crate) none_eligible: u64,
    pub(crate) expired: u64,
    pub(crate) out_of_budget: u64,
    pub(crate) cleared: u64,
    pub(crate) stale: u64,
    pub(crate) backward: u64,
    pub(crate) second_turns: u64,
    pub(crate) restarts: u64,
}

/// The queue and its twin, to which everything is done twice.
pub(crate) struct Pair {
    pub(crate) queue: RequestQueue<u64>,
    config: Config,
    now: u64,
    items: Vec<Item>,
    in_flight: Vec<u32>,
    /// By symbol: the span of its last pop, and its turns there.
    turns: Vec<(u64, u64)>,
    numbers: u64,
    expiries: u64,
    /// Handles that have gone, some of them.
    gone: Vec<Handle>,
    counters: Counters,
    pub(crate) seen: Seen,
}

impl Pair {
    pub(crate) fn new(config: &Config, start: u64) -> Self {
        let mut queue = RequestQueue::new(config);
        assert_eq!(queue.pop(UnixNanos(start)), None, "new, and at that time from now on");
        Self {
            queue,
            config: *config,
            now: start,
            items: Vec::new(),
            in_flight: vec![0; config.symbols],
            turns: vec![(0, 0); config.symbols],
            numbers: 0,
            expiries: 0,
            gone: Vec::new(),
            counters: Counters::default(),
            seen: Seen::default(),
        }
    }

    fn effective(&self, item: &Item) -> (u64, u64) {
        (item.queued + u64::from(item.request.priority.class()) * self.config.aging_step_ns, item.number)
    }

    fn pending(&self, item: &Item) -> Pending<u64> {
        let Item { handle, request, queued, asked, .. } = *item;
        Pending { handle, request, queued_at: UnixNanos(queued), waited_ns: self.now - queued, asked }
    }

    /// Place of the next request, by the definition: the first request of each symbol that may run, then spans, then turns.
    fn next(&self) -> Option<usize> {
        let mut first: Vec<Option<usize>> = vec![None; self.config.symbols];
        for (at, item) in self.items.iter().enumerate() {
            let best = &mut first[item.request.symbol.index()];
            if best.is_none_or(|best| self.effective(item) < self.effective(&self.items[best])) {
                *best = Some(at);
            }
        }
        let may_run = |symbol: &usize| self.in_flight[*symbol] < self.config.in_flight_per_symbol;
        let symbols = (0..self.config.symbols).filter(may_run);
        symbols.filter_map(|symbol| first[symbol]).min_by_key(|at| {
            let item = &self.items[*at];
            let (effective, number) = self.effective(item);
            let span = effective >> self.config.turn_bits;
            let (of_span, turns) = self.turns[item.request.symbol.index()];
            (span, if of_span == span { turns.min(255) } else { 0 }, effective, number)
        })
    }

    pub(crate) fn request(&self, prng: &mut Prng) -> Request<u64> {
        let symbols = self.config.symbols as u64;
        // The first symbol is a hot one; one symbol is unknown.
        let symbol = if prng.one_in(3) { 0 } else { prng.in_range(0..symbols + 1) };
        let bit = |prng: &mut Prng| 1 << prng.in_range(0..64);
        let groups = match prng.index(8) {
            0 => 0,
            1 => u64::MAX,
            2 => bit(prng) | bit(prng) | bit(prng),
            3 | 4 => bit(prng),
            _ => 1 << prng.in_range(0..4),
        };
        let expires_at = match prng.index(4) {
            0 | 1 => 0,
            2 => self.now.saturating_add(prng.log_uniform(34)),
            _ => self.now.saturating_sub(prng.log_uniform(20)) + prng.log_uniform(24),
        };
        Request {
            symbol: SymbolId(symbol as u32),
            groups,
            priority: Priority::new(prng.index(8) as u8).unwrap(),
            expires_at: UnixNanos(expires_at),
            payload: prng.next_u64(),
        }
    }

    /// Moves time on and gives it; now and then, an earlier one instead.
    fn time(&mut self, prng: &mut Prng) -> UnixNanos {
        if prng.one_in(8) {
            self.seen.backward += 1;
            return UnixNanos(self.now.saturating_sub(prng.log_uniform(40)));
        }
        if prng.one_in(2) {
            let bits = if prng.one_in(50) { 36 } else { 24 };
            self.now += prng.log_uniform(bits);
        }
        UnixNanos(self.now)
    }

    /// The queue as it is after its bytes were read again.
    pub(crate) fn restart(&mut self) {
        let mut bytes = Vec::new();
        self.queue.snapshot(&mut bytes);
        self.queue = RequestQueue::restore(&self.config, &bytes).expect("its own snapshot");
        self.seen.restarts += 1;
    }

    pub(crate) fn step(&mut self, prng: &mut Prng) {
        if prng.one_in(2_000) {
            self.restart();
        }
        match prng.index(100) {
            0..46 => {
                let now = self.time(prng);
                let request = self.request(prng);
                let _ = self.push(now, request);
            }
            46..62 => {
                let now = self.time(prng);
                self.pop(now);
            }
            62..76 => {
                // One more than there are.
                let symbol = prng.index(self.config.symbols + 1);
                self.finish(symbol as u32);
            }
            76..82 => {
                let handle = self.any_handle(prng);
                self.remove(handle);
            }
            82..89 => {
                let handle = self.any_handle(prng);
                let priority = Priority::new(prng.index(8) as u8).unwrap();
                self.reprioritise(handle, priority);
            }
            89..95 => {
                let now = self.time(prng);
                let budget = if prng.one_in(2) { prng.index(6) } else { usize::MAX };
                self.expire(now, budget);
            }
            95..98 => {
                let now = self.time(prng);
                let most = prng.index(5);
                self.pop_batch(now, most);
            }
            98 => {
                let handle = self.any_handle(prng);
                let value = prng.next_u64();
                self.set_payload(handle, value);
            }
            _ => {
                if prng.one_in(3) {
                    let symbol = prng.index(self.config.symbols + 1);
                    self.clear(symbol as u32);
                }
            }
        }
        self.compare_some();
    }

    /// A pending handle most often, else one that is gone or never was.
    fn any_handle(&mut self, prng: &mut Prng) -> Handle {
        match prng.index(6) {
            0 => Handle::from_bits(prng.next_u64()),
            1 if !self.gone.is_empty() => self.gone[prng.index(self.gone.len())],
            _ if !self.items.is_empty() => self.items[prng.index(self.items.len())].handle,
            _ => Handle::NULL,
        }
    }

    fn find(&mut self, handle: Handle) -> Option<usize> {
        let at = self.items.iter().position(|item| item.handle == handle);
        self.seen.stale += u64::from(at.is_none());
        at
    }

    fn take(&mut self, at: usize) -> Pending<u64> {
        let item = self.items.remove(at);
        if self.gone.len() < 64 {
            self.gone.push(item.handle);
        } else {
            let place = self.numbers as usize % 64;
            self.gone[place] = item.handle;
        }
        self.pending(&item)
    }

    pub(crate) fn push(&mut self, now: UnixNanos, request: Request<u64>) -> Pushed {
        let got = without_allocation(|| self.queue.push(now, request));
        let symbol = request.symbol;
        let of_symbol: Vec<usize> =
            (0..self.items.len()).filter(|at| self.items[*at].request.symbol == symbol).collect();
        let in_window = |at: &usize| self.now - self.items[*at].queued < self.config.merge_window_ns;
        let newest_first = of_symbol.iter().copied().filter(in_window).rev();
        let equal = newest_first.clone().find(|at| self.items[*at].request.groups == request.groups);
        let merges_with =
            equal.or(newest_first.clone().find(|at| self.items[*at].request.groups & request.groups != 0));
        assert!(newest_first.count() <= 65, "so many can be disjoint");
        let expected = if symbol.index() >= self.config.symbols {
            self.seen.unknown += 1;
            self.counters.unknown_symbol += 1;
            Pushed::UnknownSymbol
        } else if let Some(at) = merges_with {
            let item = &mut self.items[at];
            item.request.groups |= request.groups;
            item.request.priority = item.request.priority.min(request.priority);
            item.asked += 1;
            let (old, new) = (item.request.expires_at.0, request.expires_at.0);
            let expires_at = if old == 0 || new == 0 { 0 } else { old.max(new) };
            if expires_at != old {
                item.request.expires_at = UnixNanos(expires_at);
                item.expiry = self.expiries;
                self.expiries += 1;
            }
            if equal.is_some() {
                self.seen.merged += 1;
                self.counters.merged += 1;
                Pushed::Merged(item.handle)
            } else {
                self.seen.joined += 1;
                self.counters.joined += 1;
                Pushed::Joined(item.handle)
            }
        } else if of_symbol.len() >= self.config.per_symbol as usize {
            self.seen.symbol_full += 1;
            self.counters.symbol_full += 1;
            Pushed::SymbolFull
        } else if self.items.len() >= self.config.capacity {
            self.seen.queue_full += 1;
            self.counters.queue_full += 1;
            Pushed::QueueFull
        } else {
            let Pushed::Queued(handle) = got else { panic!("{got:?} where there is room") };
            assert!(self.items.iter().all(|item| item.handle != handle), "a handle is given once");
            let (number, expiry) = (self.numbers, self.expiries);
            self.items.push(Item { handle, request, queued: self.now, number, expiry, asked: 1 });
            self.numbers += 1;
            self.expiries += 1;
            self.seen.queued += 1;
            self.counters.queued += 1;
            got
        };
        assert_eq!(got, expected);
        got
    }

    pub(crate) fn items_of(&self, symbol: SymbolId) -> usize {
        self.items.iter().filter(|item| item.request.symbol == symbol).count()
    }

    fn pop_expected(&mut self) -> Option<Pending<u64>> {
        let Some(at) = self.next() else {
            self.seen.none_eligible += u64::from(!self.items.is_empty());
            return None;
        };
        let span = self.effective(&self.items[at]).0 >> self.config.turn_bits;
        let symbol = self.items[at].request.symbol.index();
        let (of_span, turns) = self.turns[symbol];
        self.turns[symbol] = (span, if of_span == span { turns + 1 } else { 1 });
        self.seen.second_turns += u64::from(self.turns[symbol].1 > 1);
        self.in_flight[symbol] += 1;
        self.seen.popped += 1;
        self.counters.popped += 1;
        Some(self.take(at))
    }

    pub(crate) fn pop(&mut self, now: UnixNanos) {
        let got = without_allocation(|| self.queue.pop(now));
        let expected = self.pop_expected();
        assert_eq!(got, expected);
    }

    pub(crate) fn pop_batch(&mut self, now: UnixNanos, most: usize) {
        let mut got = Vec::with_capacity(most);
        let popped = without_allocation(|| self.queue.pop_batch(now, most, |pending| got.push(pending)));
        assert_eq!(popped, got.len());
        for pending in &got {
            assert_eq!(Some(*pending), self.pop_expected());
        }
        assert!(popped == most || self.next().is_none(), "a batch is full or all are taken");
    }

    pub(crate) fn finish(&mut self, symbol: u32) {
        let got = without_allocation(|| self.queue.finish(SymbolId(symbol)));
        let running = self.in_flight.get_mut(symbol as usize).filter(|running| **running > 0);
        assert_eq!(got, running.is_some());
        if let Some(running) = running {
            *running -= 1;
            self.counters.finished += 1;
        }
    }

    pub(crate) fn remove(&mut self, handle: Handle) {
        let got = without_allocation(|| self.queue.remove(handle));
        let expected = self.find(handle).map(|at| self.take(at));
        self.counters.removed += u64::from(expected.is_some());
        assert_eq!(got, expected);
    }

    pub(crate) fn reprioritise(&mut self, handle: Handle, priority: Priority) {
        let got = without_allocation(|| self.queue.reprioritise(handle, priority));
        let at = self.find(handle);
        assert_eq!(got, at.is_some());
        if let Some(at) = at {
            self.items[at].request.priority = priority;
        }
    }

    pub(crate) fn set_payload(&mut self, handle: Handle, value: u64) {
        let got = self.queue.payload_mut(handle).map(|payload| *payload = value);
        let at = self.find(handle);
        assert_eq!(got.is_some(), at.is_some());
        if let Some(at) = at {
            self.items[at].request.payload = value;
        }
    }

    pub(crate) fn clear(&mut self, symbol: u32) {
        let mut got = Vec::with_capacity(self.items.len());
        let cleared = without_allocation(|| self.queue.clear(SymbolId(symbol), |pending| got.push(pending)));
        assert_eq!(cleared, got.len());
        let mut expected = Vec::new();
        while let Some(at) = self.items.iter().position(|item| item.request.symbol.0 == symbol) {
            expected.push(self.take(at));
        }
        assert_eq!(got, expected);
        self.seen.cleared += cleared as u64;
        self.counters.cleared += cleared as u64;
    }

    pub(crate) fn expire(&mut self, now: UnixNanos, budget: usize) {
        let mut got = Vec::with_capacity(self.items.len());
        let polled = without_allocation(|| self.queue.expire(now, budget, |pending| got.push(pending)));
        assert_eq!(polled.fired, got.len());
        assert!(polled.fired <= budget);
        let due = |item: &Item| {
            let at = item.request.expires_at;
            at != UnixNanos::ZERO && at.round_up(self.config.tick_ns).0 <= self.now
        };
        let mut expected: Vec<(u64, u64, u64)> = (self.items.iter().filter(|item| due(item)))
            .map(|item| (item.request.expires_at.round_up(self.config.tick_ns).0, item.expiry, item.number))
            .collect();
        expected.sort_unstable();
        assert!(polled.more_due || got.len() == expected.len(), "{} of {}", got.len(), expected.len());
        self.seen.out_of_budget += u64::from(polled.more_due);
        for (pending, (.., number)) in got.iter().zip(expected) {
            let at = self.items.iter().position(|item| item.number == number).unwrap();
            assert_eq!(*pending, self.take(at));
            self.seen.expired += 1;
            self.counters.expired += 1;
        }
    }

    /// What is cheap enough to be compared after every operation.
    fn compare_some(&self) {
        assert_eq!(self.queue.len(), self.items.len());
        assert_eq!(self.queue.counters(), &self.counters);
        assert_eq!(self.queue.peek(), self.next().map(|at| self.pending(&self.items[at])));
    }

    pub(crate) fn compare_all(&self) {
        self.queue.assert_invariants();
        for item in &self.items {
            let pending = self.queue.get(item.handle).expect("it is pending");
            assert_eq!((pending.request, pending.asked), (item.request, item.asked));
        }
        for handle in &self.gone {
            assert_eq!(self.queue.get(*handle), None, "it is gone");
        }
        assert_eq!(self.queue.iter().count(), self.items.len());
        let mut hottest = None;
        for symbol in 0..self.config.symbols as u32 {
            let symbol = SymbolId(symbol);
            let pending = self.items_of(symbol);
            assert_eq!(self.queue.pending(symbol), pending);
            assert_eq!(self.queue.in_flight(symbol), self.in_flight[symbol.index()]);
            if pending > hottest.map_or(0, |(_, most)| most) {
                hottest = Some((symbol, pending));
            }
        }
        assert_eq!(self.queue.hottest(), hottest);
    }

    /// Whether nothing is left of anything, once all that runs is finished and all that is pending is taken.
    pub(crate) fn drain(&mut self) {
        while !self.items.is_empty() {
            for symbol in 0..self.config.symbols as u32 {
                while self.in_flight[symbol as usize] > 0 {
                    self.finish(symbol);
                }
            }
            self.pop(UnixNanos(self.now));
        }
        self.compare_all();
    }
}
