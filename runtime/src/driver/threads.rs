//! Plain threads, pinned where the plan says so.

use super::{CoreLoop, CoreReport, DriverError, Supervisor, panic_text, pin};
use std::thread;

pub(super) fn run(loops: Vec<CoreLoop>, supervisor: &Supervisor) -> Result<Vec<CoreReport>, DriverError> {
    let start = |core: CoreLoop| {
        let name = core.name();
        let spawned = thread::Builder::new().name(name.clone()).spawn(move || spin(core));
        spawned.map_err(|refused| DriverError::Start(name, refused))
    };
    supervisor.run(loops, start, |thread| thread.join().map_err(|panic| panic_text(&*panic)))
}

fn spin(mut core: CoreLoop) -> CoreReport {
    pin(core.plan.core);
    core.begin();
    while core.go_on() {}
    core.finish()
}
