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

/// Random schedules that shuttle tries of each model.
#[cfg(shuttle)]
const RANDOM_SCHEDULES: usize = 100_000;
/// Schedules by PCT (Burckhardt et al., 2010), which finds a bug of few order constraints with a known probability.
#[cfg(shuttle)]
const PCT_SCHEDULES: usize = 20_000;
/// Order constraints of the bugs that PCT looks for.
#[cfg(shuttle)]
const PCT_DEPTH: usize = 4;

/// Runs `model` on sound code and returns the number of executions explored.
///
/// # Panics
/// When an execution fails, or when fewer than `loom_min` were explored by loom, or not all that shuttle was asked for:
/// loom can end after one execution without a word, and a model that explored nothing has proven nothing.
pub fn check(loom_min: usize, model: impl Fn(Orders) + Send + Sync + 'static) -> usize {
    let executions = explore(move || model(Orders::SOUND));
    #[cfg(loom)]
    let executions_min = loom_min;
    #[cfg(shuttle)]
    let executions_min = loom_min.max(RANDOM_SCHEDULES + PCT_SCHEDULES);
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
        let result = catch_unwind(AssertUnwindSafe(|| explore(move || model(orders))));
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
fn explore(model: impl Fn() + Send + Sync + 'static) -> usize {
    let (model, executions) = counted(model);
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    shuttle::check_random(move || model(), RANDOM_SCHEDULES);
    shuttle::check_pct(move || again(), PCT_SCHEDULES, PCT_DEPTH);
    executions.load(Ordering::Relaxed)
}
