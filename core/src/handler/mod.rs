//! The shape of user logic: [`Handler`], what it may do ([`Ctx`]) and what it answers ([`Verdict`]).
//!
//! ```text
//!   event, run of events, timer ----> on_event, on_run, on_timer --+--> Done: what it asked of Ctx takes place
//!   request for a job it serves ----> on_request ------------------+--> Retry, Fail, panic: nothing does, and the state
//!   reply to what it requested -----> on_reply, on_request_end ----+    is as before the call
//! ```

mod ctx;
mod request;
mod staging;

pub use ctx::{CallSite, Ctx};
pub(crate) use request::HistoryAct;
pub use request::{Ask, History, Job, JobSet, RequestEnd, RequestId, RequestRefusal, Wish};
pub(crate) use staging::{StagedHistory, StagedWish};
pub use staging::{Staging, TimerId, TimerRequest};

use crate::event::{EventRef, KindSet};
#[cfg(doc)]
use crate::limits::HANDLER_COUNTS_MAX;
use bytemuck::Pod;

/// Logic on the event path of a shard.
///
/// A handler is shared and immutable; what it remembers is its `State`, plain data, one for each symbol, owned by the
/// engine: it starts as zero bytes, moves with its symbol and takes part in snapshots. Effects that a handler asks of
/// [`Ctx`] are staged: they take place when it answers [`Verdict::Done`], and are discarded, with the state put back
/// as it was, when it fails or panics.
///
/// Outputs must depend on nothing but the events of the symbol, their times and the handler's own parameters.
pub trait Handler: Send + Sync + 'static {
    /// What the handler remembers of one symbol. Zero bytes = nothing yet.
    type State: Pod + Send;
    /// Name in reports, dead letters and snapshots. Unique on its bus.
    const NAME: &'static str;
    /// Version of the layout of `State`.
    const STATE_VERSION: u16;
    /// Whether the engine keeps a copy of the state during each call, to put it back after a failure or panic.
    ///
    /// A handler that always answers [`Verdict::Done`] may say `false` and save the copy; should it fail or panic all the same,
    /// its state for that symbol begins anew from zero, and is counted ([`crate::bus::HandlerStats::states_lost`]).
    const ROLLBACK: bool = true;

    /// Whether the handler publishes for other symbols than the one at hand. Shards pay for it by keeping step with each
    /// other, so it is declared; [`Ctx::publish_to`] refuses another symbol when it is not.
    const CROSSES_SYMBOLS: bool = false;

    /// What one call may take, in ns; `None` = no budget. Of a handler with a budget each call is stamped and those that overrun are
    /// counted and told by name. That acts on nothing: what a machine took is no input of the engine.
    const BUDGET_NS: Option<u64> = None;

    /// Whether the handler has an [`Handler::on_run`] of its own, and wants to be given runs. The engine looks for runs
    /// only in kinds that no other handler of the bus is interested in: with several, each event goes through all of
    /// them before the next one does. A handler with a budget, which is for one event, gets none.
    const TAKES_RUNS: bool = false;

    /// Whether the handler is given events of the past ([`Flags::HISTORICAL`](crate::event::Flags::HISTORICAL)), as a backfill streams them in between those of
    /// now. Without it they are not among its events, whatever [`Handler::interests`] says: what goes by the latest price, by bars that
    /// are open, or acts on what it sees, would take an old event for a new one. The reply to a request of its own
    /// ([`Handler::on_reply`]) comes all the same. Runs hold no event of the past.
    const TAKES_HISTORY: bool = true;

    /// Names of what the handler counts of its own, for reports, in the order of [`Handler::count`]: at most [`HANDLER_COUNTS_MAX`].
    const COUNTS: &'static [&'static str] = &[];

    /// Adds what the state of one symbol has counted to `sums`, which has a place for each of [`Handler::COUNTS`]. Called for reports alone.
    fn count(&self, _st: &Self::State, _sums: &mut [u64]) {}

    /// Kinds of events that this handler wants.
    fn interests(&self) -> KindSet;

    /// Jobs that this handler does when [`Ctx::request`] asks for them. One handler of a bus serves a job.
    fn serves(&self) -> JobSet {
        JobSet::EMPTY
    }

    /// An event of a kind among [`Handler::interests`], for the symbol of `st`.
    fn on_event(&self, st: &mut Self::State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict;

    /// Events that are ready, all of the symbol of `st`, in order; only with [`Handler::TAKES_RUNS`]. Returns how many of them
    /// it has consumed, at least 1, and the verdict of the last.
    ///
    /// It must come to the same as [`Handler::on_event`] one by one, so that it does not matter how events fell into runs:
    /// - [`Ctx::turn_to`] an event before anything that depends on it is asked of `cx` (time, effects, [`Ctx::rand`]);
    /// - effects belong to the last event that is consumed: a handler that has staged something consumes no further event;
    /// - likewise a handler that fails on an event consumes no further one.
    ///
    /// Where that is not kept, and after any failure or panic, the engine discards the whole run and gives its events to
    /// [`Handler::on_event`] one by one.
    fn on_run(&self, st: &mut Self::State, run: &[EventRef<'_>], cx: &mut Ctx<'_>) -> (usize, Verdict) {
        for (index, event) in run.iter().enumerate() {
            cx.turn_to(*event);
            let verdict = self.on_event(st, *event, cx);
            if verdict != Verdict::Done || cx.has_staged() {
                return (index + 1, verdict);
            }
        }
        (run.len(), Verdict::Done)
    }

    /// A timer that this handler set for this symbol with [`Ctx::timer_at`] is due. `cx.now()` is its T.
    fn on_timer(&self, _st: &mut Self::State, _token: u64, _cx: &mut Ctx<'_>) -> Verdict {
        Verdict::Done
    }

    /// A job among [`Handler::serves`] is to be done for the symbol of `st`. What it publishes for that symbol is the reply:
    /// it is an output like any other, and goes to who asked as well. `cx.now()` is the instant of service.
    ///
    /// On [`Verdict::Retry`] it is called again when the requests' retry policy says so, on [`Verdict::Fail`] and after a
    /// panic those who asked are told ([`RequestEnd::Failed`]).
    fn on_request(&self, _st: &mut Self::State, _ask: &Ask, _cx: &mut Ctx<'_>) -> Verdict {
        Verdict::Fail(0)
    }

    /// An event of the reply to a request of this handler for this symbol. Comes after those who are interested in the
    /// event's kind have had it, this handler among them.
    ///
    /// A reply cannot come again: [`Verdict::Retry`] means [`Verdict::Fail`] here, which is counted.
    fn on_reply(&self, _st: &mut Self::State, _request: RequestId, _ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        Verdict::Done
    }

    /// A request of this handler for this symbol has come to its end: served, with all of its reply given out, or not. Each
    /// request that [`Ctx::request`] took has one end. Verdicts as [`Handler::on_reply`].
    fn on_request_end(
        &self,
        _st: &mut Self::State,
        _request: RequestId,
        _end: RequestEnd,
        _cx: &mut Ctx<'_>,
    ) -> Verdict {
        Verdict::Done
    }
}

/// What became of a call of a handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// Handled: staged effects take place.
    Done,
    /// Not now, with a code of the handler's own: effects are discarded, and this handler alone is called again with the same
    /// event, when the retry policy of the event's kind says so. After the last attempt the event is dead-lettered. A timer
    /// has no event that could come again: there it means [`Verdict::Fail`].
    Retry(u16),
    /// Given up, with a code of the handler's own: effects are discarded, the event is dead-lettered.
    Fail(u16),
}

/// A staging area is full: the effect was not taken. The handler decides what that means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the staging area of this step is full")]
pub struct Full;
