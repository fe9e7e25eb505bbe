//! Timers under which a contender is measured: how many are pending, with which delays.

use super::Timers;
use crate::single::Meter;
use crate::stats::Rng;
use std::collections::BTreeMap;

/// What every runtime without a wheel has, glommio 0.9 among them: an ordered map by (deadline, id). (glommio keeps the
/// deadlines in a second map by id, which is left out here: this is its best case.)
pub struct Tree(BTreeMap<(u64, u64), u64>);

impl Timers for Tree {
    type Handle = (u64, u64);

    fn new(_capacity: usize) -> Self {
        Self(BTreeMap::new())
    }

    #[inline]
    fn schedule(&mut self, deadline_ns: u64, value: u64) -> (u64, u64) {
        self.0.insert((deadline_ns, value), value);
        (deadline_ns, value)
    }

    #[inline]
    fn cancel(&mut self, handle: (u64, u64)) {
        assert!(self.0.remove(&handle).is_some(), "the timer is pending");
    }

    #[inline]
    fn poll(&mut self, now_ns: u64, limit: usize, mut fire: impl FnMut(u64)) {
        for _ in 0..limit {
            match self.0.first_entry() {
                Some(first) if first.key().0 <= now_ns => fire(first.remove()),
                _ => break,
            }
        }
    }
}

/// Delays, log-uniform from 1 ms to 10 min, in whole ms: what backoff with jitter makes.
#[must_use]
pub fn delays_ns(count: usize, rng: &mut Rng) -> Box<[u64]> {
    let (least, most) = (1f64, 600_000f64);
    let share = |rng: &mut Rng| rng.index(1 << 30) as f64 / f64::from(1 << 30);
    (0..count).map(|_| (least * (most / least).powf(share(rng))).ceil() as u64 * 1_000_000).collect()
}

/// A phase to measure, if any.
type Measured<'a> = Option<(&'a mut Meter, usize)>;

/// Timers of a contender and what their owner must remember of them: the same for every contender, and never measured.
pub struct Population<T: Timers> {
    /// The contender.
    pub timers: T,
    pending: usize,
    /// By value: the handle and the deadline of a pending timer.
    handles: Vec<Option<(T::Handle, u64)>>,
    /// Values of pending timers, in random order, and by value its place there.
    live: Vec<u32>,
    place: Vec<u32>,
    free: Vec<u32>,
    delays: Box<[u64]>,
    next_delay: usize,
    now_ns: u64,
    step_ns: u64,
    rng: Rng,
    fired: Vec<u64>,
    deadlines: Vec<u64>,
    values: Vec<u32>,
    batch: Vec<T::Handle>,
}

impl<T: Timers> Population<T> {
    /// `pending` timers at time 0. The same seed makes the same work for every contender.
    #[must_use]
    pub fn new(pending: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Room for a batch, and for what falls due late.
        let capacity = 2 * pending + 1_024;
        let mut population = Self {
            timers: T::new(capacity),
            pending,
            handles: (0..capacity).map(|_| None).collect(),
            live: Vec::with_capacity(capacity),
            place: vec![0; capacity],
            free: (0..capacity as u32).rev().collect(),
            delays: delays_ns(1 << 16, &mut rng),
            next_delay: 0,
            now_ns: 0,
            step_ns: 1_000_000,
            rng,
            fired: Vec::with_capacity(capacity),
            deadlines: Vec::new(),
            values: Vec::new(),
            batch: Vec::new(),
        };
        while population.live.len() < pending {
            population.schedule_batch((pending - population.live.len()).min(1_024), None);
        }
        population
    }

    /// Schedules `count` timers.
    pub fn schedule_batch(&mut self, count: usize, measured: Measured<'_>) {
        self.deadlines.clear();
        self.values.clear();
        for _ in 0..count {
            self.deadlines.push(self.now_ns + self.delays[self.next_delay % self.delays.len()]);
            self.next_delay += 1;
            self.values.push(self.free.pop().expect("there is room"));
        }
        let Self { timers, batch, deadlines, values, .. } = self;
        batch.clear();
        batch.reserve(count);
        timers.inside(|timers| {
            let work = || {
                for (deadline, value) in deadlines.iter().zip(values.iter()) {
                    batch.push(timers.schedule(*deadline, u64::from(*value)));
                }
            };
            run(measured, count, work);
        });
        for ((value, handle), deadline) in self.values.iter().zip(self.batch.drain(..)).zip(&self.deadlines) {
            self.handles[*value as usize] = Some((handle, *deadline));
            self.place[*value as usize] = self.live.len() as u32;
            self.live.push(*value);
        }
    }

    /// Forgets a timer that is no longer pending, and gives its handle and deadline.
    fn forget(&mut self, value: u32) -> (T::Handle, u64) {
        let place = self.place[value as usize];
        self.live.swap_remove(place as usize);
        if let Some(moved) = self.live.get(place as usize) {
            self.place[*moved as usize] = place;
        }
        self.free.push(value);
        self.handles[value as usize].take().expect("the timer was pending")
    }

    /// Cancels `count` timers chosen at random.
    pub fn cancel_batch(&mut self, count: usize, measured: Measured<'_>) {
        self.batch.clear();
        for _ in 0..count {
            let value = self.live[self.rng.index(self.live.len())];
            let (handle, _) = self.forget(value);
            self.batch.push(handle);
        }
        let Self { timers, batch, .. } = self;
        timers.inside(|timers| run(measured, count, || batch.drain(..).for_each(|handle| timers.cancel(handle))));
    }

    /// Lets time pass by about what keeps the number of pending timers, and fires what is due.
    pub fn pass_time(&mut self, measured: Measured<'_>) {
        const STEP_NS_MAX: u64 = 10_000_000_000;
        self.step_ns = if self.live.len() > self.pending {
            (self.step_ns * 2).min(STEP_NS_MAX)
        } else {
            (self.step_ns / 2_000_000 * 1_000_000).max(1_000_000)
        };
        self.now_ns += self.step_ns;
        self.fire_due(usize::MAX, measured);
    }

    /// Moves time on by `ns` without a poll.
    pub fn jump(&mut self, ns: u64) {
        self.now_ns += ns;
        let now_ns = self.now_ns;
        self.timers.advance(now_ns);
    }

    /// Fires what is due, about `limit` timers. Returns how many it was.
    ///
    /// # Panics
    /// When a timer fires early, twice, or after it was cancelled.
    pub fn fire_due(&mut self, limit: usize, mut measured: Measured<'_>) -> usize {
        let now_ns = self.now_ns;
        self.timers.advance(now_ns);
        self.fired.clear();
        let Self { timers, fired, .. } = self;
        timers.inside(|timers| {
            let mut work = || timers.poll(now_ns, limit, |value| fired.push(value));
            match &mut measured {
                Some((meter, phase)) => meter.time(*phase, work),
                None => work(),
            }
        });
        // Contenders fire in different orders; what comes after must be the same for all.
        self.fired.sort_unstable();
        self.batch.clear();
        for index in 0..self.fired.len() {
            let (handle, deadline) = self.forget(self.fired[index] as u32);
            assert!(deadline <= now_ns, "a timer due at {deadline} fired at {now_ns}");
            self.batch.push(handle);
        }
        let count = self.fired.len();
        let Self { timers, batch, .. } = self;
        timers.inside(|timers| run(measured, count, || batch.drain(..).for_each(|handle| timers.release(handle))));
        count
    }

    /// Pending timers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no timer is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The time, and what fired at the last poll, sorted.
    #[must_use]
    pub fn last_fired(&self) -> (u64, Vec<u64>) {
        (self.now_ns, self.fired.clone())
    }
}

/// Runs `work` on `count` timers, measured or not.
#[inline(always)]
fn run(measured: Measured<'_>, count: usize, work: impl FnOnce()) {
    match measured {
        Some((meter, phase)) => {
            meter.time(phase, work);
            meter.count(phase, count);
        }
        None => work(),
    }
}

impl<T: Timers> Drop for Population<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Some contenders' handles must not be dropped: nothing of them is left to clean up anyway.
            self.handles
                .drain(..)
                .chain(self.batch.drain(..).map(|handle| Some((handle, 0))))
                .for_each(std::mem::forget);
            return;
        }
        let Self { timers, handles, .. } = self;
        timers.inside(|timers| handles.drain(..).flatten().for_each(|(handle, _)| timers.cancel(handle)));
    }
}
