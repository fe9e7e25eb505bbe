//! The bridge from alerts to requests for features: what a rule says again is dropped, what comes together is asked once, and
//! no symbol asks more often than its rate.
//!
//! For each symbol apart:
//! 1. **Dedup.** An alert that says again what its rule said last, within [`Config::dedup_ns`], is counted and dropped. A rule that
//!    changes its side or grows more severe says something new.
//! 2. **Batch.** The first alert opens a batch, later ones join it. It closes when it is full, when its timer fires, or when the
//!    symbol is idle: no alert for a whole tick ([`Config::idle_ns`]). Idleness is that of the symbol, not of the shard: what else a
//!    shard does must not show in its outputs.
//! 3. **Rate.** A closed batch passes with a token of the symbol's bucket. Without one it is delayed until there is one, and goes on taking
//!    alerts in; when that lies further ahead than [`Config::delay_ns_max`], it is refused. Hits, delays and refusals are counted.
//! 4. **Request.** What passes is published as one [`FeatureRequest`], and its metrics are recorded there and nowhere else. Its `ts_event` is
//!    that of the first alert: the time of day that it is mapped by is when it began, not when a timer closed it.
//!
//! Everything turns on shard time, and nothing depends on polls, other symbols or the number of shards. Alerts with a rule number
//! beyond a set of rules (32 and more: [`crate::scanner::Rule::bit`]) are counted and left to others.

mod config;

pub use config::{Config, ConfigError, Rate};

use crate::bucket::{Bucket, Limit, Take};
use crate::event::payload::{Alert, CloseReason, FeatureRequest, PRIORITY_UNSET};
use crate::event::{EventRef, Kind, KindSet};
use crate::handler::{Ctx, Handler, Verdict};
use crate::limits::TICK_NS;
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// Rules that a batch can name.
const RULES: usize = u32::BITS as usize;

/// Turns alerts into requests for features; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Bridge {
    config: Config,
    limit: Limit,
}

impl Bridge {
    /// A bridge with these parameters.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { limit: config.check()?, config })
    }

    /// The parameters.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self::new(Config::default()).expect("Invariant: the default parameters are in range")
    }
}

/// What the bridge has done for a symbol. At every instant `alerts = duplicates + foreign + batched + lost` + those of the
/// open batch.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counts {
    /// Alerts that came.
    pub alerts: u64,
    /// Alerts that said again what their rule had said.
    pub duplicates: u64,
    /// Alerts whose rule has no place in a set of rules.
    pub foreign: u64,
    /// Alerts of the requests that were published.
    pub batched: u64,
    /// Alerts of batches that were refused, or whose request found no room in the staging area.
    pub lost: u64,
    /// Requests published, by what closed their batch: full, timer, idle.
    pub closed_by: [u64; 3],
    /// Batches that the limiter let pass at once.
    pub hits: u64,
    /// Batches that it let pass later.
    pub delays: u64,
    /// Batches that it refused.
    pub refusals: u64,
    /// Requests that found no room in the staging area ([`crate::handler::Full`]).
    pub unpublished: u64,
    /// Time from first alert to request, sum over the requests, ns.
    pub waited_ns: u64,
    /// The longest of them, ns.
    pub waited_ns_max: u64,
}

/// What [`Bridge`] remembers of one symbol.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct State {
    batch: Batch,
    bucket: Bucket,
    counts: Counts,
    /// By rule, when it last said something new, ns.
    said_ns: [u64; RULES],
    /// By rule, what: side, four times the severity, and 128; 0 = nothing yet.
    said: [u8; RULES],
}

/// The open batch.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
struct Batch {
    /// Its first alert, ns; meaningless while `alerts` is 0.
    opened_ns: u64,
    /// Its last one, ns.
    last_ns: u64,
    /// `ts_event` of its first alert.
    ts_event: UnixNanos,
    /// T of the timer that looks after it next, ns, which is also the timer's token; 0 = none. Timers with another token are those
    /// of earlier batches.
    wake_ns: u64,
    /// Bit i: an alert of rule i.
    rules: u32,
    /// Alerts in it, ends at `u32::MAX`; 0 = no batch is open. One that is delayed takes in more than fill a batch.
    alerts: u32,
    /// Duplicates that came while it was open.
    duplicates: u16,
    /// Highest severity.
    severity: u8,
    /// 1 = it is closed, and waits for a token.
    delayed: u8,
    /// What closed it, once it is: see [`CloseReason`].
    closed_by: u8,
    /// Always 0.
    reserved: [u8; 3],
}

impl State {
    /// What was done for the symbol, since the state began.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Alerts that wait in the open batch.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.batch.alerts
    }

    /// Whether the alert says again what its rule said last.
    fn is_duplicate(&mut self, config: &Config, alert: &Alert, now: UnixNanos) -> bool {
        let rule = usize::from(alert.rule);
        let says = 128 | alert.severity.min(3) << 2 | alert.side & 3;
        let (last, last_ns) = (self.said[rule], self.said_ns[rule]);
        let again = last & 131 == says & 131 && says <= last;
        if again && now.0 - last_ns < config.dedup_ns {
            return true;
        }
        (self.said[rule], self.said_ns[rule]) = (says, now.0);
        false
    }

    /// Whether a batch is open that no timer looks after: one that is due has fired before an event of its instant.
    fn is_lost(&self, now: UnixNanos) -> bool {
        self.batch.alerts != 0 && UnixNanos(self.batch.wake_ns).round_up(TICK_NS) <= now
    }

    /// What closes the open batch at `now` by time, or has closed it, if anything.
    fn due(&self, config: &Config, now: UnixNanos) -> Option<CloseReason> {
        let batch = &self.batch;
        if batch.alerts == 0 {
            None
        } else if batch.delayed != 0 {
            CloseReason::from_u8(batch.closed_by)
        } else if now.0 >= batch.opened_ns.saturating_add(config.batch_ns) {
            Some(CloseReason::Timer)
        } else if now.0 >= batch.last_ns.saturating_add(config.idle_ns) {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }

    /// When time is next to end the open batch, that takes alerts in.
    fn next_wake(&self, config: &Config) -> UnixNanos {
        let idle = self.batch.last_ns.saturating_add(config.idle_ns);
        UnixNanos(idle.min(self.batch.opened_ns.saturating_add(config.batch_ns)))
    }

    /// Sets the timer that looks after the batch at `at`. Where there is none to be had, the next alert looks after it.
    fn wake(&mut self, at: UnixNanos, cx: &mut Ctx<'_>) {
        self.batch.wake_ns = if cx.timer_at(at, at.0).is_ok() { at.0 } else { 0 };
    }

    /// Closes the batch: it passes, is delayed, or refused.
    #[cold]
    fn close(&mut self, bridge: &Bridge, reason: CloseReason, cx: &mut Ctx<'_>) {
        let now = cx.now();
        let was_delayed = self.batch.delayed != 0;
        match self.bucket.try_take(&bridge.limit, 1, now) {
            Take::Taken => {
                self.counts.hits += u64::from(!was_delayed);
                self.publish(reason, cx);
            }
            Take::Delay { at } if at.0 - now.0 <= bridge.config.delay_ns_max => {
                self.counts.delays += u64::from(!was_delayed);
                (self.batch.delayed, self.batch.closed_by) = (1, reason as u8);
                if self.batch.wake_ns <= now.0 || self.batch.wake_ns > at.0 {
                    self.wake(at, cx);
                }
            }
            Take::Delay { .. } | Take::TooMuch | Take::NoBucket => {
                self.counts.refusals += 1;
                self.counts.lost += u64::from(self.batch.alerts);
                self.batch = Batch::default();
            }
        }
    }

    /// Publishes the batch as a request, and records its metrics.
    fn publish(&mut self, reason: CloseReason, cx: &mut Ctx<'_>) {
        let batch = core::mem::take(&mut self.batch);
        let waited_ns = cx.now().0 - batch.opened_ns;
        let request = FeatureRequest {
            groups: 0,
            rules: batch.rules,
            waited_us: u32::try_from(waited_ns / 1_000).unwrap_or(u32::MAX),
            alerts: u16::try_from(batch.alerts).unwrap_or(u16::MAX),
            duplicates: batch.duplicates,
            severity: batch.severity,
            closed_by: reason as u8,
            priority: PRIORITY_UNSET,
            reserved: 0,
        };
        let counts = &mut self.counts;
        if cx.publish_as_of(batch.ts_event, &request, 0, &[]).is_err() {
            counts.unpublished += 1;
            counts.lost += u64::from(batch.alerts);
            return;
        }
        counts.batched += u64::from(batch.alerts);
        counts.closed_by[reason as usize] += 1;
        counts.waited_ns = counts.waited_ns.saturating_add(waited_ns);
        counts.waited_ns_max = counts.waited_ns_max.max(waited_ns);
    }
}

impl Handler for Bridge {
    type State = State;
    const NAME: &'static str = "bridge";
    const STATE_VERSION: u16 = 2;
    /// It never fails.
    const ROLLBACK: bool = false;
    const TAKES_HISTORY: bool = false;
    const COUNTS: &'static [&'static str] = &[
        "alerts",
        "duplicates",
        "foreign",
        "batched",
        "lost",
        "closed_by_size",
        "closed_by_timer",
        "closed_by_idle",
        "rate_hits",
        "rate_delays",
        "rate_refusals",
        "unpublished",
    ];

    fn count(&self, st: &State, sums: &mut [u64]) {
        let Counts { alerts, duplicates, foreign, batched, lost, closed_by, .. } = st.counts;
        let Counts { hits, delays, refusals, unpublished, .. } = st.counts;
        let [size, timer, idle] = closed_by;
        let counts =
            [alerts, duplicates, foreign, batched, lost, size, timer, idle, hits, delays, refusals, unpublished];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::ALERT]) }
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let Some(alert) = ev.get::<Alert>() else { return Verdict::Done };
        let (config, now) = (&self.config, cx.now());
        st.counts.alerts += 1;
        if usize::from(alert.rule) >= RULES {
            st.counts.foreign += 1;
            return Verdict::Done;
        }
        // A batch whose timer was not to be had is closed by the next alert, and does not take it in.
        let is_lost = st.is_lost(now);
        if is_lost && let Some(reason) = st.due(config, now) {
            st.close(self, reason, cx);
        }
        if st.is_duplicate(config, alert, now) {
            st.counts.duplicates += 1;
            if st.batch.alerts != 0 {
                st.batch.duplicates = st.batch.duplicates.saturating_add(1);
            }
            return Verdict::Done;
        }
        let batch = &mut st.batch;
        if batch.alerts == 0 {
            (batch.opened_ns, batch.ts_event) = (now.0, ev.head().ts_event);
        }
        batch.last_ns = now.0;
        batch.rules |= 1 << alert.rule;
        batch.severity = batch.severity.max(alert.severity.min(3));
        batch.alerts = batch.alerts.saturating_add(1);
        if batch.delayed == 0 && batch.alerts >= u32::from(config.batch_alerts) {
            st.close(self, CloseReason::Full, cx);
        } else if batch.delayed == 0 && (batch.alerts == 1 || is_lost) {
            st.wake(st.next_wake(config), cx);
        }
        Verdict::Done
    }

    fn on_timer(&self, st: &mut State, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        if st.batch.alerts == 0 || token != st.batch.wake_ns {
            return Verdict::Done;
        }
        match st.due(&self.config, cx.now()) {
            Some(reason) => st.close(self, reason, cx),
            None => st.wake(st.next_wake(&self.config), cx),
        }
        Verdict::Done
    }
}
