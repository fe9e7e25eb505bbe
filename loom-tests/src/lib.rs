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

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
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

/// How loom and the cells of shuttle's build name two accesses of which one had to come before the other.
const RACES: [&str; 2] = ["Causality violation", "a cell is "];

/// What shuttle says when it stops a model that goes on for ever: a mistake has wedged the ring before a schedule came that tears
/// something. It tells a mistake from sound code, as [`check`] runs all of its schedules to their end. Loom's limits do not.
const WEDGED: &[&str] = if cfg!(shuttle) { &["exceeded max_steps bound"] } else { &[] };

/// Runs `model` with each of the mistakes, every one of which must make an execution fail, with a race or with one of the
/// `failures`: texts of the model's own assertions. A weakened ordering is a mistake that only loom can see: under shuttle it is left
/// out, and another mistake of the list has to stand for it.
///
/// # Panics
/// When every execution passes: then the model could not see the mistake that its sound version is said to exclude. When the
/// failure is another one: an index out of range or a limit of loom says nothing about the mistake. When there is nothing to run.
pub fn must_fail(failures: &[&str], sabotages: &[Sabotage], model: impl Fn(Orders) + Send + Sync + Copy + 'static) {
    must_fail_with(failures, sabotages, model);
}

/// As [`must_fail`], for mistakes that may make the model go on for ever before anything is torn: shuttle stops it then, and says so.
///
/// # Panics
/// As [`must_fail`].
pub fn must_fail_or_wedge(
    failures: &[&str],
    sabotages: &[Sabotage],
    model: impl Fn(Orders) + Send + Sync + Copy + 'static,
) {
    must_fail_with(&[failures, WEDGED].concat(), sabotages, model);
}

fn must_fail_with(failures: &[&str], sabotages: &[Sabotage], model: impl Fn(Orders) + Send + Sync + Copy + 'static) {
    let is_seen = |sabotage: &&Sabotage| cfg!(loom) || !sabotage.is_of_ordering();
    assert!(sabotages.iter().any(|sabotage| is_seen(&sabotage)), "a mistake that this tool can see");
    for sabotage in sabotages.iter().filter(is_seen) {
        let orders = Orders(Some(*sabotage));
        must_fail_by(failures, &format!("{sabotage:?}"), move || model(orders));
    }
}

/// As [`must_fail`], for one mistake of who uses the code, which `model` makes by itself.
///
/// # Panics
/// As [`must_fail`].
pub fn must_fail_misused(failures: &[&str], model: impl Fn() + Send + Sync + 'static) {
    must_fail_by(failures, "misuse", model);
}

fn must_fail_by(failures: &[&str], mistake: &str, model: impl Fn() + Send + Sync + 'static) {
    match first_panic(|| explore(model)) {
        Ok(executions) => panic!("the model with {mistake} passed all {executions} executions"),
        Err(failure) => {
            let is_expected = RACES.iter().chain(failures).any(|text| failure.contains(text));
            assert!(is_expected, "the model with {mistake} failed, but not by the mistake: {failure}");
            println!("{mistake}: {failure}");
        }
    }
}

thread_local! {
    /// While [`first_panic`] runs: the message of the first panic, empty before it. Both tools run all threads of a model
    /// on the thread that called them.
    static WATCHED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f`. When it panics: what the first panic said, which is the failure; those that follow it, at a join or in the tool, are not.
fn first_panic<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = take_hook();
        set_hook(Box::new(move |info| {
            let is_watched = WATCHED.with_borrow_mut(|watched| {
                let Some(first) = watched else { return false };
                // A tool ends threads that it keeps by panics of its own, which have no text.
                if let (true, Some(text)) = (first.is_empty(), info.payload_as_str()) {
                    *first = text.to_owned();
                }
                true
            });
            if !is_watched {
                default(info);
            }
        }));
    });
    WATCHED.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(f));
    let first = WATCHED.take().unwrap_or_default();
    result.map_err(|_| first)
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
