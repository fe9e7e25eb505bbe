//! Loom models of what two threads share in `tapeline-core`, and the harness that keeps them honest.
//!
//! Without `--cfg loom` this crate is empty. See its README for how to run it and what each model covers.
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `model` under loom and returns the number of executions explored.
///
/// # Panics
/// When an execution fails, or when fewer than `executions_min` were explored: loom can end after one execution without
/// a word, and a model that explored nothing has proven nothing.
pub fn check(executions_min: usize, model: impl Fn() + Send + Sync + 'static) -> usize {
    let executions = explore(model);
    assert!(executions >= executions_min, "loom explored {executions} executions; at least {executions_min} expected");
    println!("{executions} executions");
    executions
}

/// Runs `model` under loom, which must find an execution that fails.
///
/// # Panics
/// When every execution passes: then the model could not see the mistake that its sound version is said to exclude.
pub fn must_fail(model: impl Fn() + Send + Sync + 'static) {
    let result = catch_unwind(AssertUnwindSafe(|| explore(model)));
    if let Ok(executions) = result {
        panic!("a sabotaged model passed all {executions} executions");
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) -> usize {
    // A std atomic: loom must not see it, as it would become part of the model.
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    loom::model(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    executions.load(Ordering::Relaxed)
}
