//! A whole shard as a list of [sections](crate::section) of plain bytes, and back.
//!
//! The first, "shard": what the shard itself keeps, and the length of each part behind it. The parts: catalog, timers, requests, the desk of backfills,
//! duplicates, history, books, dead letters, their share, events that wait for their time, handlers. Each is checked by its own rules as it is read, and then those that lie between
//! them: every timer is of a handler, a letter or a request that is there, and every letter and request that waits for a timer has one. The table of timers by
//! name follows from the timers and is built anew; so are rates and histograms, which begin at nothing.
//!
//! **At rest only**: between two steps, with no event half done and the batch from the ring used up. What is in rings is no part of it: a source goes on behind
//! what was taken, and replies under way come as if nothing had been.
//!
//! **One shard alone.** Shards that keep step with each other would have to be saved at one consistent cut, and the waiting room of `--overload live`
//! depends on the run: neither is saved here.

use super::letters::{Origin, RETRY};
use super::service::SERVE_AGAIN;
use super::timers::TimerNames;
use super::{Active, INVALID, Limit, NO_ROOM, Probe, Shard};
use crate::backfill::Desk;
use crate::book::Books;
use crate::bus::Chain;
use crate::catalog::Catalog;
use crate::dead::{DeadLetters, Handle, State};
use crate::dedup::DedupWindow;
use crate::digest::Digest;
use crate::handler::TimerRequest;
use crate::history::History;
use crate::invariant::{Broken, COUNT_MAX, require, require_counts};
use crate::ledger::Ledger;
use crate::limits::{TICK_NS, TIME_NS_MAX};
use crate::mesh::Pending;
use crate::retry::RetryShare;
use crate::section::{self, RestoreError, Section, Shape};
use crate::units::UnixNanos;
use crate::wheel::Wheel;

const NAME: &str = "shard";
const PARTS: usize = 11;
const LIMITS: usize = Limit::ALL.len();
/// Settings, numbers, limits, lengths of parts.
const NUMBERS: usize = 4 + 9 + LIMITS + PARTS;
const LAYOUT: &str = "u64: shard seed symbols handlers; clock source_time source_done clamped timers_fired cancelled stale batches plain; limits*10; \
    bytes of catalog timers requests desk dedup history books letters share pending handlers; ledger, derived: rows*8 u64, refused_by, control; \
    digest: outputs, chain and count of each symbol; serials of each symbol: timers requests; origins: made_by, flags and depth u64";

const _: () = assert!(LIMITS == 10, "the layout's text says so");

/// Why a shard cannot be saved now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAtRest {
    /// An event is half done, or not all that was taken from the ring is: step on.
    #[error("the shard is in the middle of a batch")]
    Busy,
    /// It keeps step with other shards.
    #[error("a shard that keeps step with others is not saved alone")]
    Meshed,
    /// It has the waiting room of `--overload live`.
    #[error("a shard with lanes is not saved")]
    Lanes,
}

fn shape(origins: usize) -> Shape {
    Shape { name: NAME, version: 1, element: 16, layout: LAYOUT, capacity: origins as u64 }
}

fn invalid(broken: Broken) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken }
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Appends the whole shard to `out` as sections of plain bytes. O(capacities). Allocates: for the control thread's time, not between events.
    ///
    /// # Errors
    /// [`NotAtRest`]; nothing is appended then.
    pub fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), NotAtRest> {
        if self.live.is_some() {
            return Err(NotAtRest::Lanes);
        }
        if !self.peers.is_empty() {
            return Err(NotAtRest::Meshed);
        }
        if self.active != Active::None || self.input.at < self.input.len {
            return Err(NotAtRest::Busy);
        }
        let (mut parts, mut lengths) = (Vec::new(), [0_u64; PARTS]);
        for (part, length) in lengths.iter_mut().enumerate() {
            let before = parts.len();
            self.write_part(part, &mut parts);
            *length = (parts.len() - before) as u64;
        }
        let origins = self.origins.len();
        let body_bytes = NUMBERS * 8
            + 2 * Ledger::SECTION_BYTES
            + self.digest.section_bytes()
            + self.staging.section_bytes()
            + origins * 16;
        section::write(out, &shape(origins), self.letters.len() as u64, body_bytes, |body| {
            self.settings().iter().for_each(|(_, value)| body.u64(*value));
            body.slice(&[self.clock.0, self.source_time.0, u64::from(self.source_done), self.clamped]);
            body.slice(&[self.timers_fired, self.cancelled.cancelled, self.cancelled.stale, self.batches, self.plain]);
            body.slice(&self.limits_hit);
            body.slice(&lengths);
            self.ledger.write(body);
            self.derived.write(body);
            self.digest.write(body);
            self.staging.write(body);
            self.origins.iter().for_each(|origin| body.slice(&origin.words()));
        });
        out.extend_from_slice(&parts);
        Ok(())
    }

    /// This shard, which is as it was made, as the one that [`Shard::snapshot`] wrote: made with the same configuration and handlers, and with rings attached to it
    /// for history and jobs where that one had some. It goes on as that one would. O(capacities). Allocates.
    ///
    /// # Errors
    /// [`RestoreError`] with the name of the section: no such snapshot, of another capacity or setting, or a rule is broken. The shard is gone then.
    pub fn restored(mut self, sections: &[u8]) -> Result<Self, RestoreError> {
        let (section, rest) = Section::split_first(sections)?;
        let mut body = section.expect(&shape(self.origins.len()))?;
        for (name, value) in self.settings() {
            body.setting(name, value)?;
        }
        let mut numbers = [0; 9];
        body.fill(&mut numbers)?;
        let [clock, source_time, source_done, clamped, timers_fired, cancelled, stale, batches, plain] = numbers;
        (self.clock, self.source_time) = (UnixNanos(clock), UnixNanos(source_time));
        (self.source_done, self.clamped, self.timers_fired) = (source_done == 1, clamped, timers_fired);
        (self.cancelled.cancelled, self.cancelled.stale) = (cancelled, stale);
        (self.batches, self.plain) = (batches, plain);
        body.fill(&mut self.limits_hit)?;
        let mut lengths = [0_u64; PARTS];
        body.fill(&mut lengths)?;
        (self.ledger, self.derived) = (Ledger::read(&mut body)?, Ledger::read(&mut body)?);
        self.digest = Digest::read(self.catalog.symbols_max(), &mut body)?;
        self.staging.read(&mut body)?;
        for origin in &mut self.origins {
            let words = [body.u64()?, body.u64()?];
            *origin =
                Origin::of(words).ok_or(invalid(Broken { rule: "an origin is one that there is", at: words[1] }))?;
        }
        body.finish()?;
        let counts = [clamped, timers_fired, cancelled, stale, batches, plain];
        require(source_done <= 1, "a source has ended or has not", source_done)
            .and_then(|()| {
                require(source_time <= TIME_NS_MAX, "a source's time is one that a clock shows", source_time)
            })
            .and_then(|()| require_counts(&counts))
            .and_then(|()| require_counts(&self.limits_hit))
            .and_then(|()| require(self.ledger.is_sound() && self.derived.is_sound(), "the ledgers balance", 0u64))
            .and_then(|()| require(self.digest.outputs() <= COUNT_MAX, "a count has room to grow", 0u64))
            .and_then(|()| self.staging.check_serials())
            .map_err(invalid)?;
        let mut rest = rest;
        for (part, length) in lengths.into_iter().enumerate() {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((own, behind)) = rest.split_at_checked(length) else {
                return Err(RestoreError::Length { have: rest.len(), need: length });
            };
            self.read_part(part, own)?;
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(RestoreError::Length { have: sections.len(), need: sections.len() - rest.len() });
        }
        if section.count() != self.letters.len() as u64 {
            return Err(invalid(Broken { rule: "the count is that of the dead letters", at: section.count() }));
        }
        self.check_between().map_err(invalid)?;
        self.timer_names = TimerNames::of(&self.wheel).map_err(invalid)?;
        self.begin_rates();
        self.update_quiet();
        Ok(self)
    }

    fn settings(&self) -> [(&'static str, u64); 4] {
        [
            ("number", self.config.shard as u64),
            ("a seed of", self.config.seed),
            ("symbols", self.catalog.symbols_max() as u64),
            ("handlers", self.bus.names().len() as u64),
        ]
    }

    fn write_part(&mut self, part: usize, out: &mut Vec<u8>) {
        match part {
            0 => self.catalog.snapshot(out),
            1 => self.wheel.snapshot(out),
            2 => self.requests.snapshot(out),
            3 => self.archive.iter().for_each(|archive| archive.desk.snapshot(out)),
            4 => self.dedup.iter().for_each(|dedup| dedup.snapshot(out)),
            5 => self.history.iter().for_each(|history| history.snapshot(out)),
            6 => self.books.iter().for_each(|books| books.snapshot(out)),
            7 => self.letters.snapshot(out),
            8 => self.retry_share.iter().for_each(|share| share.snapshot(out)),
            9 => self.pending.snapshot(out),
            _ => self.bus.snapshot(self.catalog.symbols(), out),
        }
    }

    fn read_part(&mut self, part: usize, own: &[u8]) -> Result<(), RestoreError> {
        let symbols_max = self.catalog.symbols_max();
        let handlers = self.bus.names().len();
        // What this shard does not have, the other one may not have either.
        let absent = |name: &'static str| match own.len() {
            0 => Ok(()),
            have => Err(RestoreError::OtherSetting { name, setting: "bytes", snapshot: have as u64, here: 0 }),
        };
        match part {
            0 => self.catalog = Catalog::restore(symbols_max, own)?,
            1 => self.wheel = Wheel::restore(self.config.timers_max, TICK_NS, own)?,
            2 => self.requests = self.requests.restored(handlers, own)?,
            3 => match &mut self.archive {
                Some(archive) => archive.desk = Desk::restore(archive.desk.config(), symbols_max, handlers, own)?,
                None => absent("history desk")?,
            },
            4 if self.dedup.is_some() => {
                self.dedup = Some(DedupWindow::restore(self.config.dedup_capacity, self.config.dedup_window_ns, own)?);
            }
            5 if self.history.is_some() => {
                let (slots, age_ns) = (self.config.history_slots, self.config.history_age_ns);
                self.history = Some(History::restore(slots, symbols_max, age_ns, own)?);
            }
            6 if self.books.is_some() => {
                let (pages, orders, seed) = (self.config.book_pages, self.config.book_orders, self.config.seed);
                self.books = Some(Books::restore(symbols_max, pages, orders, seed, own)?);
            }
            4 => absent("dedup window")?,
            5 => absent("history")?,
            6 => absent("books")?,
            7 => {
                let instance = self.config.shard as u32;
                let (symbols, seed) = (symbols_max, self.config.seed);
                let config = crate::dead::Config { symbols, seed, instance, ..self.config.letters };
                self.letters = DeadLetters::restore(&config, &self.config.retry, own)?;
            }
            8 => match (&mut self.retry_share, self.config.retry_share) {
                (Some(share), Some(config)) => *share = RetryShare::restore(config, symbols_max, own)?,
                _ => absent("retry share")?,
            },
            9 => self.pending = Pending::restore(self.pending.capacity(), symbols_max, own)?,
            _ => self.bus.restore(self.catalog.symbols(), own)?,
        }
        Ok(())
    }

    /// The rules between the parts: timers are of what is there, and what waits for one has it.
    fn check_between(&self) -> Result<(), Broken> {
        let (symbols_max, handlers) = (self.catalog.symbols_max(), self.bus.names().len());
        let (mut retries, mut again) = (0, Vec::new());
        for (handle, _, timer) in self.wheel.iter() {
            let TimerRequest { handler, token, symbol, .. } = *timer;
            match handler {
                RETRY => {
                    let letter = self.letters.get(Handle::from_bits(token));
                    let is_its =
                        letter.is_some_and(|letter| letter.state() == State::Waiting && letter.timer() == handle);
                    require(is_its, "a timer of a letter is that letter's", handle.index())?;
                    retries += 1;
                }
                SERVE_AGAIN => again.push(Handle::from_bits(token)),
                handler => {
                    let is_known = usize::from(handler) < handlers && symbol.index() < symbols_max;
                    require(is_known, "a timer is of a known handler and symbol", handle.index())?;
                }
            }
        }
        require(retries == self.letters.waiting(), "every letter that waits has its timer", retries)?;
        again.sort_unstable_by_key(|request| request.index());
        let is_same = again == self.requests.waiting_for_retry();
        require(is_same, "every request that waits for its retry has its timer", again.len())?;
        for (handle, letter) in self.letters.iter() {
            let handler = letter.handler();
            let is_known = usize::from(handler) < handlers || handler == NO_ROOM || handler == INVALID;
            let is_known = is_known && letter.symbol().index() < symbols_max;
            require(is_known, "a letter is of a known handler and symbol", handle.index())?;
        }
        Ok(())
    }

    /// Gives the rings of `other`, and what has been taken from them and not handled, to this one: for tests, in which the other ends stay where they are.
    #[cfg(any(test, feature = "testing"))]
    #[doc(hidden)]
    pub fn take_rings_of(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.input, &mut other.input);
        std::mem::swap(&mut self.replies, &mut other.replies);
        if let (Some(own), Some(other)) = (&mut self.archive, &mut other.archive) {
            std::mem::swap(&mut own.replies, &mut other.replies);
        }
    }
}
