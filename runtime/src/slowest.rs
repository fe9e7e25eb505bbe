//! The slowest events of a run, with what the core was doing: `--trace N`.

use crate::jitter::GapDetector;
use crate::stamp;
use std::fs::File;
use std::os::unix::fs::FileExt;
use tapeline_core::event::Slot;

/// Most events that are kept.
pub const TRACE_MAX: usize = 1_000;

/// The thread's counts are read once in so much time at most, ns: a reading takes some microseconds, and must not make events slow that it is about.
pub const LOOK_NS: u64 = 1_000_000;

/// One slow event. Times are ns on the run clock.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    /// Its head.
    pub head: Slot,
    /// When it was due, when it left the source, and when its batch began and ended.
    pub due_ns: u64,
    /// As told by its stamp, to 0.025 % of the lag.
    pub sent_ns: u64,
    /// From then to the start of its batch, ns; `None` where the error of that could be all of it.
    pub ring_wait_ns: Option<u64>,
    /// Start of its batch.
    pub started_ns: u64,
    /// End of its batch.
    pub done_ns: u64,
    /// Samples of its batch.
    pub batch: u64,
    /// Time between due and done in which the core was taken away, ns, as far as it is known.
    pub gap_ns: u64,
    /// What the thread went through since it was looked at before: at least [`LOOK_NS`] before it was done, and at most that long before it was due. `None` for
    /// who came between two looks, where the look before was earlier than that (what it would tell might be of any other event), and where it cannot be
    /// read. Events of one batch share it.
    pub went_through: Option<Ordeal>,
}

impl Slow {
    /// From due to done, ns.
    #[must_use]
    pub const fn response_ns(&self) -> u64 {
        self.done_ns.saturating_sub(self.due_ns)
    }
}

/// What the system did to a thread in some span of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ordeal {
    /// Page faults, minor and major.
    pub faults: u64,
    /// Time in which it could have run and did not, ns.
    pub waited_ns: u64,
}

/// Counts of the calling thread, from `/proc/thread-self`. Its files are opened by the first reading, on the thread that they are about.
#[derive(Debug, Default)]
struct ThreadCounts {
    files: Option<(File, File)>,
    last: Option<Ordeal>,
}

impl ThreadCounts {
    /// What the thread went through since the last call.
    fn since(&mut self) -> Option<Ordeal> {
        if self.files.is_none() {
            let open = |name| File::open(name).ok();
            self.files = open("/proc/thread-self/stat").zip(open("/proc/thread-self/schedstat"));
        }
        let (stat, schedstat) = self.files.as_ref()?;
        let mut buffer = [0; 1_024];
        let faults = faults(read(stat, &mut buffer)?)?;
        let waited_ns = read(schedstat, &mut buffer)?.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let before = self.last.replace(Ordeal { faults, waited_ns })?;
        Some(Ordeal { faults: faults - before.faults, waited_ns: waited_ns - before.waited_ns })
    }
}

fn read<'a>(file: &File, buffer: &'a mut [u8; 1_024]) -> Option<&'a str> {
    let bytes = file.read_at(buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..bytes]).ok()
}

/// Minor and major faults in a line of `stat`: fields 10 and 12, counted behind the name, which may hold anything (proc_pid_stat(5)).
fn faults(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(7);
    let minor: u64 = fields.next()?.parse().ok()?;
    let major: u64 = fields.nth(1)?.parse().ok()?;
    Some(minor + major)
}

/// The `n` slowest events so far: a heap with the fastest of them on top. Nothing is allocated after [`Slowest::new`].
#[derive(Debug)]
pub struct Slowest {
    kept: Vec<Slow>,
    most: usize,
    /// Events faster than this are not kept.
    floor_ns: u64,
    thread: ThreadCounts,
    /// When it was read.
    looked_ns: Option<u64>,
}

impl Default for Slowest {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Slowest {
    /// Keeps `n` events, at most [`TRACE_MAX`]; 0 keeps none.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let most = n.min(TRACE_MAX);
        let floor_ns = if most == 0 { u64::MAX } else { 0 };
        Self { kept: Vec::with_capacity(most), most, floor_ns, thread: ThreadCounts::default(), looked_ns: None }
    }

    /// Whether an event with that response time would be kept.
    #[inline]
    #[must_use]
    pub const fn takes(&self, response_ns: u64) -> bool {
        response_ns > self.floor_ns || self.floor_ns == 0
    }

    /// Keeps an event that [`Slowest::takes`], in the place of the fastest one. O(log n).
    #[cold]
    #[inline(never)]
    pub fn keep(&mut self, stamp: u64, head: &Slot, batch: (u64, u64, u64), gaps: &GapDetector) {
        if self.most == 0 {
            return;
        }
        let (started_ns, done_ns, samples) = batch;
        let due_ns = stamp::due_ns(stamp, done_ns);
        let gap_ns = gaps.gaps().map(|(start, end)| end.min(done_ns).saturating_sub(start.max(due_ns))).sum();
        self.insert(Slow {
            head: *head,
            due_ns,
            sent_ns: due_ns + stamp::lag_ns(stamp),
            ring_wait_ns: stamp::ring_wait_ns(stamp, started_ns),
            started_ns,
            done_ns,
            batch: samples,
            gap_ns,
            went_through: None,
        });
    }

    /// The batch that was done at `done_ns` has given all of its events: those that were kept hear what the thread went through, if it is time for a look.
    /// O(n), and two system calls at most.
    #[cold]
    #[inline(never)]
    pub fn end_batch(&mut self, done_ns: u64) {
        if self.looked_ns.is_some_and(|at| done_ns.saturating_sub(at) < LOOK_NS) {
            return;
        }
        let before = self.looked_ns.replace(done_ns);
        let went_through = self.thread.since();
        self.told(done_ns, before, went_through);
    }

    /// What the thread went through between two looks, to those of the batch that was done at the second, as far as it is about them.
    fn told(&mut self, done_ns: u64, before: Option<u64>, went_through: Option<Ordeal>) {
        for slow in self.kept.iter_mut().filter(|slow| slow.done_ns == done_ns) {
            let is_about = before.is_some_and(|at| at.saturating_add(LOOK_NS) >= slow.due_ns);
            slow.went_through = went_through.filter(|_| is_about);
        }
    }

    fn insert(&mut self, slow: Slow) {
        if self.kept.len() < self.most {
            self.kept.push(slow);
            let mut at = self.kept.len() - 1;
            while at > 0 && self.response(at) < self.response((at - 1) / 2) {
                self.kept.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
        } else if slow.response_ns() > self.response(0) {
            self.kept[0] = slow;
            let mut at = 0;
            loop {
                let children = 2 * at + 1..(2 * at + 3).min(self.kept.len());
                let Some(least) = children.min_by_key(|child| self.response(*child)) else { break };
                if self.response(least) >= self.response(at) {
                    break;
                }
                self.kept.swap(at, least);
                at = least;
            }
        }
        if self.kept.len() == self.most {
            self.floor_ns = self.response(0).max(1);
        }
    }

    fn response(&self, at: usize) -> u64 {
        self.kept[at].response_ns()
    }

    /// Events that are kept at most.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Those that are kept, in no order.
    #[must_use]
    pub fn events(&self) -> &[Slow] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::testing::for_seeds;

    fn slow(due_ns: u64, response_ns: u64) -> Slow {
        Slow {
            head: Slot::ZERO,
            due_ns,
            sent_ns: due_ns,
            ring_wait_ns: Some(0),
            started_ns: due_ns,
            done_ns: due_ns + response_ns,
            batch: 1,
            gap_ns: 0,
            went_through: None,
        }
    }

    #[test]
    fn the_slowest_are_kept_whatever_the_order() {
        for_seeds(0..200, |_, prng| {
            let n = prng.index(40);
            let (mut one, mut other, mut all) = (Slowest::new(n), Slowest::new(n), Vec::new());
            for due in 0..prng.in_range(0..400) {
                let response = prng.log_uniform(20);
                all.push(response);
                let part = if prng.one_in(2) { &mut one } else { &mut other };
                if part.takes(response) {
                    part.insert(slow(due, response));
                } else {
                    assert!(n == 0 || part.kept.len() == n);
                }
            }
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.truncate(n);
            let mut kept: Vec<u64> = one.events().iter().chain(other.events()).map(Slow::response_ns).collect();
            kept.sort_unstable_by(|a, b| b.cmp(a));
            kept.truncate(one.most());
            assert_eq!(kept, all);
        });
    }

    #[test]
    fn faults_are_found_behind_any_name() {
        let stat = "77 (a) S 1 (b)) R 1 2 3 4 5 6 111 8 222 9 9 9";
        assert_eq!(faults(stat), Some(333));
        assert_eq!(faults("77 (a) R 1 2 3 4 5 6 111"), None);
        let mut counts = ThreadCounts::default();
        assert_eq!(counts.since(), None, "nothing was read before");
        // More than an allocator keeps for itself, whatever was freed before: the pages are new.
        let pages = vec![1u8; 64 << 20];
        std::hint::black_box(&pages);
        // Where schedstat is not kept nothing is told, rather than half of it.
        if let Some(since) = counts.since() {
            assert!(since.faults > 0, "new pages were touched: {since:?}");
        }
    }

    #[test]
    fn what_happened_long_before_an_event_is_not_told_of_it() {
        let ordeal = Some(Ordeal { faults: 9, waited_ns: 9 });
        let told = |before| {
            let mut slowest = Slowest::new(2);
            slowest.insert(slow(60_000_000_000, 5_000_000));
            slowest.told(60_005_000_000, before, ordeal);
            slowest.events()[0].went_through
        };
        assert_eq!(told(Some(60_002_000_000)), ordeal, "a look while it was on its way");
        assert_eq!(told(Some(60_000_000_000 - LOOK_NS)), ordeal, "and just before");
        assert_eq!(told(Some(60_000_000_000 - LOOK_NS - 1)), None);
        assert_eq!(told(Some(0)), None, "a minute ago");
        assert_eq!(told(None), None);
    }

    #[test]
    fn what_the_core_was_doing_is_told() {
        let mut gaps = GapDetector::new(50_000, 0);
        gaps.observe(1_000);
        gaps.observe(101_000);
        let mut slowest = Slowest::new(1);
        slowest.keep(stamp::stamp(21_000, 64), &Slot::ZERO, (101_000, 103_000, 7), &gaps);
        slowest.end_batch(103_000);
        let slow = slowest.events()[0];
        assert_eq!(slow.went_through, None, "there was no look before");
        slowest.keep(stamp::stamp(30_000, 0), &Slot::ZERO, (900_000, 1_102_999, 1), &gaps);
        slowest.end_batch(1_102_999);
        assert_eq!(slowest.events()[0].went_through, None, "a look too soon");
        assert_eq!(slow.ring_wait_ns, Some(101_000 - 21_064));
        assert_eq!((slow.due_ns, slow.sent_ns, slow.started_ns, slow.done_ns), (21_000, 21_064, 101_000, 103_000));
        assert_eq!((slow.response_ns(), slow.batch, slow.gap_ns), (82_000, 7, 80_000));
    }
}
