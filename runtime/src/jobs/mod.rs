//! Jobs of users' own, done off the hot cores: a handler asks with [`Ctx::request`](tapeline_core::handler::Ctx::request), a [`Worker`] on a thread of
//! its own does it, and what it replies comes back as events to who asked.
//!
//! ```text
//!  shard core                                          jobs thread                      worker threads (`requests.workers`)
//!  +----------------+  orders (ArrayQueue)   +------------------------------+  a task   +--------------------------------+
//!  | Shard: JobPort |=======================>| a desk for each shard: gives |==========>| an instance of each kind of    |
//!  |                |<=======================| jobs to workers, keeps their |<==========| worker, made when it is needed |
//!  +----------------+  ring: events, end     | order, watches the deadline  |  a reply  +--------------------------------+
//!                                            +------------------------------+
//! ```
//!
//! ```no_run
//! # use tapeline_core::event::{EventBuf, payload::Signal};
//! # use tapeline_core::handler::Job;
//! use tapeline_runtime::jobs::{JobAsk, Reply, ReplyError, Worker};
//!
//! /// Prices whatever it is asked for, slowly.
//! struct Pricer;
//!
//! impl Worker for Pricer {
//!     const NAME: &'static str = "pricer";
//!
//!     fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16> {
//!         let price = ask.token as i64 * 2; // files, sockets, a model: whatever takes its time
//!         reply.push(&EventBuf::new(&Signal { price, ..Signal::default() })).map_err(|_| 1)
//!     }
//! }
//!
//! const PRICE: Job = Job(16);
//! // tapeline::main(|r| r.job(PRICE, || Pricer).handler(MyStrategy::new))
//! ```
//!
//! - **Deterministic, as long as the worker is.** A reply is due one `requests.job_delay` of shard time after its request was served, however long it
//!   takes; the shard waits there. Replies are whole: nothing of a job that failed comes to anybody. What a reply says has to depend on the ask
//!   alone: which thread does a job, and what that thread did before, differs from run to run.
//! - **As many at a time as the limit says**: from `requests.jobs_min` to `requests.jobs_max` on each shard, following the backlog. Others wait in the
//!   request queue, keep their age, and expire as requests do.
//! - **A worker that panics is replaced** by a new one from its constructor, and the request ends with
//!   [`ERROR_PANIC`](tapeline_core::dead::ERROR_PANIC). One that takes longer than `requests.job_deadline` of wall time is given up: its request ends
//!   with [`FAILED_OVERRUN`], a thread with a new worker takes its place, and what it may still say is dropped. As the machine's speed has acted then,
//!   the digest is said to be of `this_run` only. Both are told by a thread of their own, for which no shard waits, and counted in the report.
//! - **Bounded.** [`REPLY_SLOTS_MAX`] a reply, `requests.jobs_max` replies on each shard. Threads that do not come back are left behind, up to
//!   [`ABANDONED_MAX`]; beyond that nobody takes their place, and without any worker left jobs end with [`FAILED_NO_WORKER`].

mod pool;
mod teller;
mod worker;

#[cfg(test)]
mod tests;

pub use pool::{JobPort, Jobs, JobsThread, KindReport, WorkersReport};
pub use worker::{JobAsk, Reply, ReplyError, Worker, Workers, WorkersError};

/// Code of the end of a request whose worker took longer than `requests.job_deadline`.
pub const FAILED_OVERRUN: u16 = u16::MAX - 3;
/// Code of the end of a request that no worker was left for.
pub const FAILED_NO_WORKER: u16 = u16::MAX - 4;

/// Slots of one reply at most: 4 MiB.
pub const REPLY_SLOTS_MAX: usize = 1 << 16;
/// Threads of workers at most.
pub const WORKERS_MAX: usize = 256;
/// Threads that are left behind in a job at one time, from which number on nobody takes their place.
pub const ABANDONED_MAX: usize = 64;
/// Threads of workers, unless configured otherwise.
pub const WORKERS_DEFAULT: usize = 2;
/// What a job may take, ns of wall time, unless configured otherwise.
pub const DEADLINE_NS_DEFAULT: u64 = 60_000_000_000;

/// How jobs are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Threads of workers, 1 to [`WORKERS_MAX`], for the jobs of all shards.
    pub workers: usize,
    /// What one job may take, ns of wall time; `None` = for ever.
    pub deadline_ns: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { workers: WORKERS_DEFAULT, deadline_ns: Some(DEADLINE_NS_DEFAULT) }
    }
}
