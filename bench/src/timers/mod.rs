//! `duel wheel`: timers (P4 to P6).

mod ours;
#[cfg(feature = "peers")]
mod peers;
mod population;
mod storm;

use crate::duel::{self, Entry, Length, Mode, Options, Role};
use crate::memory::{NodeLink, RandomStore};
use crate::report::{Claim, Rival, Table};
use crate::single;
pub use ours::Ours;
#[cfg(feature = "peers")]
pub use peers::{Delay, Nexus, QuadWheel};
pub use population::{Population, Tree, delays_ns};

/// Bytes of one of our nodes: what the controls take per timer.
const NODE_BYTES: usize = 32;

/// Timers by deadline. Values name timers: at most one pending timer has a given value. Times are in nanoseconds, multiples of a
/// millisecond, so that every contender's rounding is the same.
pub trait Timers {
    /// What a pending timer is cancelled by.
    type Handle;

    /// For `capacity` timers, at time 0.
    fn new(capacity: usize) -> Self;

    /// Schedules a timer. `deadline_ns` is after the time of the last poll.
    fn schedule(&mut self, deadline_ns: u64, value: u64) -> Self::Handle;

    /// Takes a pending timer out.
    fn cancel(&mut self, handle: Self::Handle);

    /// Fires timers that are due at `now_ns`, in any order, at least one if one is due; about `limit` of them if the contender
    /// can stop there.
    fn poll(&mut self, now_ns: u64, limit: usize, fire: impl FnMut(u64));

    /// Gives up the handle of a timer that has fired.
    fn release(&mut self, handle: Self::Handle) {
        drop(handle);
    }

    /// Prepares for a poll at `now_ns`. Not measured: it moves a clock that is not the contender's work.
    fn advance(&mut self, _now_ns: u64) {}

    /// Runs `work` inside whatever the contender needs around it. Not measured.
    fn inside<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        work(self)
    }

    /// Cancelled timers whose memory has not been freed yet. A workload in which time stands still begins anew when
    /// there are too many.
    fn garbage(&self) -> usize {
        0
    }
}

/// Metrics of `wheel insert`.
pub const INSERT_METRICS: [&str; 2] = ["insert_ns", "cancel_ns"];
/// Metrics of `wheel churn`.
pub const CHURN_METRICS: [&str; 3] = ["insert_ns", "cancel_ns", "fire_ns"];
/// Timers of a measured batch.
pub const BATCH: usize = 64;
/// Cancelled timers with memory that a contender may keep before it is built anew.
const GARBAGE_MAX: usize = 2_000_000;

/// Inserts `BATCH` timers and cancels as many, chosen at random, at a standing time.
fn insert_entry<'a, T: Timers + 'a>(name: &'static str, role: Role, pending: usize, options: &'a Options) -> Entry<'a> {
    let build = move || Population::<T>::new(pending, options.seed);
    single::entry(name, role, options, INSERT_METRICS.len(), build, move |population, meter| {
        if population.timers.garbage() > GARBAGE_MAX {
            *population = build();
        }
        population.schedule_batch(BATCH, Some((meter, 0)));
        population.cancel_batch(BATCH, Some((meter, 1)));
    })
}

/// Of `BATCH` timers scheduled, nine in ten are cancelled, and as much time passes as lets the others fire.
fn churn_entry<'a, T: Timers + 'a>(name: &'static str, role: Role, pending: usize, options: &'a Options) -> Entry<'a> {
    let build = move || Population::<T>::new(pending, options.seed);
    single::entry(name, role, options, CHURN_METRICS.len(), build, |population, meter| {
        population.schedule_batch(BATCH, Some((meter, 0)));
        population.cancel_batch(BATCH * 9 / 10, Some((meter, 1)));
        population.pass_time(Some((meter, 2)));
    })
}

/// Both controls, which count as insert, cancel and fire.
fn controls<'a>(pending: usize, phases: usize, options: &'a Options) -> [Entry<'a>; 2] {
    let link = single::entry(
        "C4 nodelink",
        Role::Control,
        options,
        phases,
        move || NodeLink::new(pending),
        move |control, meter| (0..phases).for_each(|phase| control.step(meter, phase, BATCH)),
    );
    let store = single::entry(
        "C3 random store",
        Role::Control,
        options,
        phases,
        move || RandomStore::new(pending * NODE_BYTES),
        move |control, meter| (0..phases).for_each(|phase| control.step(meter, phase, BATCH)),
    );
    [link, store]
}

/// P4 and the cancel of P5, at a number of pending timers.
#[must_use]
pub fn insert(options: &Options, pending: usize) -> Table {
    let mut entries = vec![insert_entry::<Ours>("tapeline", Role::Ours, pending, options)];
    entries.extend(controls(pending, INSERT_METRICS.len(), options));
    #[cfg(feature = "peers")]
    {
        entries.push(insert_entry::<Nexus>("nexus-timer", Role::Peer, pending, options));
        entries.push(insert_entry::<QuadWheel>("hhwt", Role::Peer, pending, options));
        entries.push(insert_entry::<Delay>("tokio DelayQueue", Role::Peer, pending, options));
    }
    entries.push(insert_entry::<Tree>("BTreeMap", Role::Peer, pending, options));
    let records = duel::run(&entries, options);
    let claims = [
        Claim::at_most("P4 insert against C4", 0, Rival::Control, 2.0, 1.3),
        Claim::at_most("P4 insert against nexus-timer", 0, Rival::Named("nexus-timer"), 0.7, 0.7),
        Claim::at_most("P4 insert against BTreeMap", 0, Rival::Named("BTreeMap"), 0.15, 0.15),
        Claim::at_most("P5 cancel against C3", 1, Rival::Named("C3 random store"), 1.5, 1.5),
    ];
    Table::new(
        &format!("wheel insert, {pending} pending"),
        "ns a timer, one thread; batches of 64; delays log-uniform from 1 ms to 10 min in whole ms; the cancelled are chosen \
         at random; time stands still",
        &INSERT_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// P5: of the timers 90 % are cancelled and 10 % fire.
#[must_use]
pub fn churn(options: &Options, pending: usize) -> Table {
    let mut entries = vec![churn_entry::<Ours>("tapeline", Role::Ours, pending, options)];
    entries.extend(controls(pending, CHURN_METRICS.len(), options));
    #[cfg(feature = "peers")]
    {
        entries.push(churn_entry::<Nexus>("nexus-timer", Role::Peer, pending, options));
        entries.push(churn_entry::<QuadWheel>("hhwt", Role::Peer, pending, options));
        entries.push(churn_entry::<Delay>("tokio DelayQueue", Role::Peer, pending, options));
    }
    entries.push(churn_entry::<Tree>("BTreeMap", Role::Peer, pending, options));
    let records = duel::run(&entries, options);
    let claims = [
        Claim::at_most("P5 fire against nexus-timer", 2, Rival::Named("nexus-timer"), 0.8, 0.8),
        Claim::at_most("P5 cancel against C3", 1, Rival::Named("C3 random store"), 1.5, 1.5),
    ];
    Table::new(
        &format!("wheel churn, {pending} pending"),
        "ns a timer, one thread; of 64 timers scheduled 57 are cancelled and the others fire as virtual time passes; \
         fire_ns is all of the polling, empty ticks and moves between levels included, spread over the timers fired",
        &CHURN_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// P6: all timers are due at once after ten minutes of virtual idle.
#[must_use]
pub fn storm(options: &Options, timers: usize) -> Table {
    fn entry<'a, T: Timers + 'a>(name: &'static str, role: Role, timers: usize, options: &'a Options) -> Entry<'a> {
        let length = Length::Fixed(timers as u32 * storm::TIMER);
        Entry { name, role, length, run: Box::new(move || storm::slice::<T>(options, timers)) }
    }
    let mut entries = vec![entry::<Ours>("tapeline", Role::Ours, timers, options)];
    #[cfg(feature = "peers")]
    {
        entries.push(entry::<Nexus>("nexus-timer", Role::Peer, timers, options));
        entries.push(entry::<QuadWheel>("hhwt", Role::Peer, timers, options));
        entries.push(entry::<Delay>("tokio DelayQueue", Role::Peer, timers, options));
    }
    entries.push(entry::<Tree>("BTreeMap", Role::Peer, timers, options));
    let records = duel::run(&entries, options);
    let claims = [
        Claim::at_most("P6 worst poll / median poll", 3, Rival::Nobody, 2.0, 2.0),
        Claim::at_most("P6 worst poll against nexus-timer", 2, Rival::Named("nexus-timer"), 1.0, 1.0),
    ];
    Table::new(
        &format!("wheel storm, {timers} due at once"),
        "ns; timers with delays log-uniform up to 10 min all fall due in one jump of a virtual clock by 10 min, and are \
         fired by polls of 64 (a poll of ours that moves timers between levels fires fewer; hhwt fires what a tick holds, \
         64 ticks a poll). Every pass does the same work, so that each poll's time is its least over the passes; none fires \
         early, all fire",
        &storm::METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// Gives every table of the subject to `done` as it is ready.
pub fn run(options: &Options, done: &mut dyn FnMut(Table)) {
    let (inserts, churns, storms): (&[usize], usize, &[usize]) = match options.mode {
        // A storm of a million takes minutes by itself.
        Mode::Full if options.budget.is_some() => (&[1_000, 100_000, 1_000_000], 100_000, &[100_000]),
        Mode::Full => (&[1_000, 100_000, 1_000_000], 100_000, &[100_000, 1_000_000]),
        Mode::Quick => (&[1_000, 100_000, 1_000_000], 100_000, &[10_000]),
        Mode::Check => (&[1_000], 1_000, &[2_000]),
    };
    inserts.iter().for_each(|pending| done(insert(options, *pending)));
    done(churn(options, churns));
    storms.iter().for_each(|timers| done(storm(options, *timers)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fires at each poll of a churn, sorted, with its time.
    fn trace<T: Timers>(seed: u64) -> Vec<(u64, Vec<u64>)> {
        let mut population = Population::<T>::new(500, seed);
        (0..1_000)
            .map(|_| {
                population.schedule_batch(BATCH, None);
                population.cancel_batch(BATCH * 9 / 10, None);
                population.pass_time(None);
                population.last_fired()
            })
            .collect()
    }

    fn compare<T: Timers>(name: &str, seed: u64, expected: &[(u64, Vec<u64>)]) {
        for (poll, (fired, expected)) in trace::<T>(seed).iter().zip(expected).enumerate() {
            assert_eq!(fired, expected, "{name}, seed {seed}, poll {poll}");
        }
    }

    #[test]
    fn every_contender_fires_what_the_tree_fires() {
        for seed in 1..4 {
            let expected = trace::<Tree>(seed);
            let fired: usize = expected.iter().map(|(_, fired)| fired.len()).sum();
            assert!((3_000..12_000).contains(&fired), "a tenth of 64,000 fire: {fired}");
            compare::<Ours>("ours", seed, &expected);
            #[cfg(feature = "peers")]
            {
                compare::<Nexus>("nexus-timer", seed, &expected);
                compare::<QuadWheel>("hhwt", seed, &expected);
                compare::<Delay>("DelayQueue", seed, &expected);
            }
        }
    }
}
