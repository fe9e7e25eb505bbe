//! One breaker as plain data: the state machine, given its configuration and the time.

use super::{Config, Counts, Noted, State};
use bytemuck::{Pod, Zeroable};

/// Steps of the window of verdicts.
pub(super) const STEPS: usize = 10;
/// Largest count that a snapshot may have: what is added to it later cannot overflow for centuries.
pub(super) const COUNT_MAX: u64 = 1 << 62;

/// Verdicts of one step of the window.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub(super) struct Step {
    /// Verdicts: successes and failures.
    pub(super) calls: u64,
    /// Failures among them.
    pub(super) failures: u64,
}

/// State, counts and window of one breaker.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Cell {
    /// Moves on with every change of state and every probe, and with each probe that ends without a verdict. From 1.
    pub(super) era: u64,
    /// Open: when it becomes half-open, ns. Half-open with a probe out: when its slot is free, ns. Else 0.
    pub(super) until_ns: u64,
    /// How long it is open, this time or the next, ns.
    pub(super) open_for_ns: u64,
    /// Calls of this era without a verdict.
    pub(super) pending: u64,
    /// Number of the step of the window that verdicts go to: time by the step's length.
    pub(super) step: u64,
    pub(super) counts: Counts,
    /// By step number modulo `STEPS`.
    pub(super) window: [Step; STEPS],
    /// See [`State`].
    pub(super) state: u32,
    /// Closed: failures in a row. Half-open: successes in a row. Open: 0.
    pub(super) in_row: u32,
}

impl Cell {
    pub(super) fn new(config: &Config) -> Self {
        Self { era: 1, open_for_ns: config.open_ns, ..Self::zeroed() }
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        match self.state {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// Lets time act: the open state ends, and so does the slot of a probe without a verdict.
    #[inline]
    pub(super) fn advance(&mut self, config: &Config, now_ns: u64) {
        // At the end of time nothing is over: what would end beyond it has been cut to it.
        if self.until_ns == 0 || now_ns < self.until_ns || self.until_ns == u64::MAX {
            return;
        }
        match self.state() {
            State::Closed => {}
            State::Open => self.enter(State::HalfOpen, config),
            State::HalfOpen => {
                self.counts.probes_expired += 1;
                self.leave_era();
                self.until_ns = 0;
            }
        }
    }

    /// The era of a call that is admitted, or until when it is not, ns.
    #[inline]
    pub(super) fn admit(&mut self, config: &Config, now_ns: u64) -> Result<u64, u64> {
        self.advance(config, now_ns);
        if self.until_ns != 0 {
            self.counts.refused += 1;
            return Err(self.until_ns);
        }
        if self.state() == State::HalfOpen {
            self.leave_era();
            self.until_ns = now_ns.saturating_add(config.probe_ns_max);
        }
        self.pending += 1;
        self.counts.admitted += 1;
        Ok(self.era)
    }

    pub(super) fn success(&mut self, config: &Config, now_ns: u64) -> Noted {
        self.pending -= 1;
        self.counts.successes += 1;
        if self.state() == State::HalfOpen {
            self.in_row += 1;
            if self.in_row == config.successes {
                self.counts.closes += 1;
                self.enter(State::Closed, config);
                return Noted::Closed;
            }
            self.end_probe();
            return Noted::Counted;
        }
        self.in_row = 0;
        self.note(config, now_ns, 0)
    }

    pub(super) fn failure(&mut self, config: &Config, now_ns: u64) -> Noted {
        self.pending -= 1;
        self.counts.failures += 1;
        if self.state() == State::HalfOpen {
            self.counts.reopens += 1;
            self.open_for_ns = self.open_for_ns.saturating_mul(u64::from(config.open_growth)).min(config.open_ns_max);
            return self.open(config, now_ns);
        }
        self.in_row = self.in_row.saturating_add(1);
        if config.failures_in_row != 0 && self.in_row >= config.failures_in_row {
            return self.trip(config, now_ns);
        }
        self.note(config, now_ns, 1)
    }

    pub(super) fn abandon(&mut self, _config: &Config, _now_ns: u64) -> Noted {
        self.pending -= 1;
        self.counts.abandoned += 1;
        if self.state() == State::HalfOpen {
            self.end_probe();
        }
        Noted::Counted
    }

    /// Frees the slot of the probe. Its era ends, so that it has no second verdict.
    fn end_probe(&mut self) {
        self.until_ns = 0;
        self.leave_era();
    }

    /// A verdict of the closed state enters the window, which may trip the breaker.
    fn note(&mut self, config: &Config, now_ns: u64, failures: u64) -> Noted {
        let Some(share) = config.share else { return Noted::Counted };
        let number = now_ns / share.window_ns.div_ceil(STEPS as u64);
        let passed = number.saturating_sub(self.step).min(STEPS as u64);
        for behind in 0..passed {
            self.window[((number - behind) % STEPS as u64) as usize] = Step::zeroed();
        }
        self.step = number;
        let here = &mut self.window[(number % STEPS as u64) as usize];
        here.calls += 1;
        here.failures += failures;
        let calls: u64 = self.window.iter().map(|step| step.calls).sum();
        let failures: u64 = self.window.iter().map(|step| step.failures).sum();
        let is_over = u128::from(failures) * 1_000 >= u128::from(calls) * u128::from(share.failures_per_mille);
        if calls >= u64::from(share.calls_min) && is_over {
            return self.trip(config, now_ns);
        }
        Noted::Counted
    }

    fn trip(&mut self, config: &Config, now_ns: u64) -> Noted {
        self.counts.trips += 1;
        self.open(config, now_ns)
    }

    fn open(&mut self, config: &Config, now_ns: u64) -> Noted {
        self.enter(State::Open, config);
        // Never 0, which would be no instant at all.
        self.until_ns = now_ns.saturating_add(self.open_for_ns);
        Noted::Opened
    }

    fn enter(&mut self, state: State, config: &Config) {
        self.leave_era();
        self.state = state as u32;
        self.in_row = 0;
        self.until_ns = 0;
        self.window = [Step::zeroed(); STEPS];
        if state == State::Closed {
            self.open_for_ns = config.open_ns;
        }
    }

    fn leave_era(&mut self) {
        self.counts.left_behind += self.pending;
        self.pending = 0;
        self.era += 1;
    }

    /// The first rule that does not hold. Never panics, whatever the numbers.
    pub(super) fn check(&self, config: &Config, now_ns: u64, count_max: u64) -> Result<(), &'static str> {
        let rule = |holds: bool, rule: &'static str| if holds { Ok(()) } else { Err(rule) };
        let counts: &[u64; 11] = bytemuck::cast_ref(&self.counts);
        rule(counts.iter().all(|count| *count <= count_max), "counts are far from their end")?;
        rule((1..=count_max).contains(&self.era) && self.pending <= count_max, "eras are from 1, far from their end")?;
        let counts = &self.counts;
        let ended = u128::from(counts.successes) + u128::from(counts.failures) + u128::from(counts.abandoned);
        let all = ended + u128::from(counts.left_behind) + u128::from(self.pending);
        rule(u128::from(counts.admitted) == all, "what was admitted has a verdict, waits for one, or was left behind")?;
        rule(counts.probes_expired <= counts.left_behind, "a probe that expired was left behind")?;
        let open_for = config.open_ns..=config.open_ns_max;
        rule(open_for.contains(&self.open_for_ns), "it is open for as long as its configuration allows")?;
        rule(counts.trips <= counts.failures.saturating_add(counts.successes), "a verdict trips")?;
        let is_closed = self.state == State::Closed as u32;
        rule(counts.trips == counts.closes + u64::from(!is_closed), "it trips and closes in turn")?;
        for step in &self.window {
            rule(step.failures <= step.calls, "failures are verdicts")?;
            rule(step.calls <= count_max / STEPS as u64, "counts are far from their end")?;
            rule(config.share.is_some() || step.calls == 0, "a window that nobody asks is empty")?;
            rule(is_closed || step.calls == 0, "the window is that of the closed state")?;
        }
        let step_ns = config.share.map_or(u64::MAX, |share| share.window_ns.div_ceil(STEPS as u64));
        rule(self.step <= now_ns / step_ns, "the window is not of the future")?;
        match self.state {
            0 => {
                rule(self.until_ns == 0, "a closed breaker waits for nothing")?;
                rule(self.open_for_ns == config.open_ns, "a closed breaker begins with the shortest time")?;
                rule(
                    config.failures_in_row == 0 || self.in_row < config.failures_in_row,
                    "a closed breaker has had fewer failures in a row than trip it",
                )
            }
            1 => {
                rule(self.pending == 0 && self.in_row == 0, "an open breaker has no calls")?;
                rule(self.until_ns != 0, "an open breaker has an end")?;
                rule(self.until_ns <= now_ns.saturating_add(self.open_for_ns), "it opened in the past")
            }
            2 => {
                rule(
                    self.pending == u64::from(self.until_ns != 0),
                    "a half-open breaker has one probe, with a deadline",
                )?;
                rule(self.until_ns <= now_ns.saturating_add(config.probe_ns_max), "its probe began in the past")?;
                rule(self.in_row < config.successes, "it has had fewer successes than close it")
            }
            _ => Err("a breaker is closed, open or half-open"),
        }
    }
}
