//! Plain threads, pinned where the plan says so.

use super::{CoreLoop, CoreReport, DriverError, Idle, Supervisor, Turn, panic_text, pin, switches};
use std::thread;

pub(super) fn run(loops: Vec<CoreLoop>, supervisor: &Supervisor) -> Result<Vec<CoreReport>, DriverError> {
    let mut handles = Vec::new();
    let mut error = None;
    for core in loops {
        let name = core.name();
        match thread::Builder::new().name(name.clone()).spawn(move || spin(core)) {
            Ok(handle) => handles.push((name, handle)),
            Err(refused) => {
                error = Some(DriverError::Start(name, refused));
                break;
            }
        }
    }
    if error.is_some() {
        supervisor.stop();
    } else {
        supervisor.wait();
    }
    let mut reports = Vec::new();
    for (name, handle) in handles {
        match handle.join() {
            Ok(report) => reports.push(report),
            Err(panic) => error = error.or(Some(DriverError::Died(name, panic_text(&*panic)))),
        }
    }
    error.map_or(Ok(reports), Err)
}

fn spin(mut core: CoreLoop) -> CoreReport {
    pin(core.plan.core);
    let before = switches();
    loop {
        match core.turn() {
            Turn::Worked => {}
            Turn::Idle if core.idle == Idle::BusySpin => std::hint::spin_loop(),
            Turn::Idle => thread::yield_now(),
            Turn::Stop => break,
        }
    }
    let switches = before.zip(switches()).map(|(before, after)| after - before);
    core.finish(switches)
}
