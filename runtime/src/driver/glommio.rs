//! glommio executors, one for each core of the plan. The only module that knows glommio.
//!
//! Each hot executor runs one resident task that polls its stations, and owns no glommio socket, timer or file. The rules that
//! avoid glommio 0.9's traps:
//! - the preempt timer is never below 10 ms (with 1 ms it can park for ever with runnable tasks);
//! - no waker, channel or task per event: the loop never awaits anything but its own yield;
//! - every executor's result is joined and checked, as a panic in one leaves the process's exit code at 0.

use super::{CoreLoop, CoreReport, DriverError, Supervisor};
use glommio::{LocalExecutorBuilder, Placement};
use std::time::Duration;

/// Below 10 ms glommio 0.9 can park with runnable tasks.
const PREEMPT_TIMER: Duration = Duration::from_millis(100);
/// Hot executors do no I/O of their own: the smallest buffers and rings that glommio takes.
const IO_MEMORY_BYTES: usize = 64 << 10;
const RING_DEPTH: usize = 8;
/// Turns between two looks at the executor's own queues, which hold nothing on a hot core.
const TURNS_PER_YIELD: u64 = 1 << 16;

pub(super) fn run(loops: Vec<CoreLoop>, supervisor: &Supervisor) -> Result<Vec<CoreReport>, DriverError> {
    let start = |core: CoreLoop| {
        let name = core.name();
        let placement = core.plan.core.map_or(Placement::Unbound, Placement::Fixed);
        let spawned = LocalExecutorBuilder::new(placement)
            .name(&name)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || spin(core));
        spawned.map_err(|refused| DriverError::Executor(name, refused.to_string()))
    };
    supervisor.run(loops, start, |executor| executor.join().map_err(|refused| refused.to_string()))
}

async fn spin(mut core: CoreLoop) -> CoreReport {
    core.begin();
    while core.go_on() {
        if core.heartbeat.is_multiple_of(TURNS_PER_YIELD) {
            glommio::yield_if_needed().await;
        }
    }
    core.finish()
}
