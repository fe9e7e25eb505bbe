//! Models of what two threads share in `tapeline-core`, and the harness that keeps them honest.
//!
//! The same models run under loom (`--cfg loom`: every interleaving, every stale value) and under shuttle (`--cfg shuttle`:
//! random interleavings, no stale values). Without either flag this crate is empty. See its README for how to run it and
//! what each model covers.
#![cfg(any(loom, shuttle))]

#[cfg(loom)]
pub use loom::thread;
#[cfg(shuttle)]
pub use shuttle::thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tapeline_core::sync::{Orders, Sabotage};

/// Random schedules that shuttle tries of a sound model, and as many again by PCT.
#[cfg(shuttle)]
const SCHEDULES: usize = 100_000;
/// The same of a sabotaged model: the first ones find what there is to find.
#[cfg(shuttle)]
const SCHEDULES_OF_TWIN: usize = 20_000;
/// Order constraints of a bug that PCT is sure to find with some probability: three more than most need.
#[cfg(shuttle)]
const PCT_DEPTH: usize = 5;

/// Runs `model` on sound code and returns the number of executions explored.
///
/// # Panics
/// When an execution fails, or when fewer than `loom_min` were explored by loom, or not all that shuttle was asked for:
/// loom can end after one execution without a word, and a model that explored nothing has proven nothing.
pub fn check(loom_min: usize, model: impl Fn(Orders) + Send + Sync + 'static) -> usize {
    #[cfg(loom)]
    let (executions, executions_min) = (explore(move || model(Orders::SOUND)), loom_min);
    #[cfg(shuttle)]
    let (executions, executions_min) = (explore(SCHEDULES, move || model(Orders::SOUND)), 2 * SCHEDULES + 0 * loom_min);
    assert!(executions >= executions_min, "{executions} executions; at least {executions_min} expected");
    println!("{executions} executions");
    executions
}

/// Runs `model` with each of the mistakes, every one of which must make an execution fail. A weakened ordering is a
/// mistake that only loom can see: under shuttle it is left out.
///
/// # Panics
/// When every execution passes: then the model could not see the mistake that its sound version is said to exclude.
pub fn must_fail(sabotages: &[Sabotage], model: impl Fn(Orders) + Send + Sync + Copy + 'static) {
    for sabotage in sabotages.iter().copied().filter(|sabotage| cfg!(loom) || !sabotage.is_of_ordering()) {
        let orders = Orders(Some(sabotage));
        let result = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(loom)]
            return explore(move || model(orders));
            #[cfg(shuttle)]
            return explore(SCHEDULES_OF_TWIN, move || model(orders));
        }));
        if let Ok(executions) = result {
            panic!("the model with {sabotage:?} passed all {executions} executions");
        }
    }
}

/// A model that counts its executions, and the count: a std atomic, which neither tool may see, as it would become part
/// of the model.
fn counted(model: impl Fn() + Send + Sync + 'static) -> (impl Fn() + Send + Sync + 'static, Arc<AtomicUsize>) {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let model = move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    };
    (model, executions)
}

#[cfg(loom)]
fn explore(model: impl Fn() + Send + Sync + 'static) -> usize {
    let (model, executions) = counted(model);
    loom::model(model);
    executions.load(Ordering::Relaxed)
}

#[cfg(shuttle)]
fn explore(schedules: usize, model: impl Fn() + Send + Sync + 'static) -> usize {
    let (model, executions) = counted(model);
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    shuttle::check_random(move || model(), schedules);
    shuttle::check_pct(move || again(), schedules, PCT_DEPTH);
    executions.load(Ordering::Relaxed)
}
