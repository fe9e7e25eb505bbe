//! A thread beside the cores: told to end, joined, or left behind. What reads history, does jobs and keeps spilled events are such.

use crate::ending::{GIVE_UP_AFTER, end_until, join_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// A thread that works until it is told to end, and then has an `R` to say. Dropped without [`Background::finish`], as by a start that fails, it is told to
/// end, and left behind where it does not within 2 s: it may wait for a medium or a worker that does not answer.
pub struct Background<R> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<R>>,
}

impl<R> Background<R> {
    /// Tells it to end, and goes on.
    pub(crate) fn tell(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends it, or leaves it behind where it has not ended at `until`: false then. What it has to say, nobody is there to hear.
    pub(crate) fn give_up(&mut self, until: Instant) -> bool {
        self.tell();
        self.thread.take().is_none_or(|thread| end_until(thread, until))
    }

    /// Ends it, and says what it has to say; `None` when it died. Call after the shards have stopped.
    #[must_use]
    pub fn finish(mut self) -> Option<R> {
        self.tell();
        self.thread.take()?.join().ok()
    }

    /// The same, waited for until then at most: `None` when it died, or has not ended by then and is left behind.
    #[must_use]
    pub fn finish_until(mut self, until: Instant) -> Option<R> {
        self.tell();
        join_until(self.thread.take()?, until)?.ok()
    }
}

impl<R: Send + 'static> Background<R> {
    /// A thread of this name, on these cores as far as the kernel lets it (none = all), that does this until its flag is set.
    pub(crate) fn spawn(
        name: &str,
        cores: Vec<usize>,
        work: impl FnOnce(&AtomicBool) -> R + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            keep_to(&cores);
            work(&is_stopped)
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl<R> Drop for Background<R> {
    fn drop(&mut self) {
        self.give_up(Instant::now() + GIVE_UP_AFTER);
    }
}

impl<R> std::fmt::Debug for Background<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// Keeps the calling thread to these cores, as far as the kernel lets it.
pub(crate) fn keep_to(cores: &[usize]) {
    if cores.is_empty() {
        return;
    }
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    // A refusal leaves the thread on all cores, where it works as well, only less quietly.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn it_works_until_it_is_told_and_who_dies_has_nothing_to_say() {
        let turns = |stop: &AtomicBool| {
            let mut turns = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                turns += 1;
                thread::yield_now();
            }
            turns
        };
        let thread = Background::spawn("works", vec![], turns).unwrap();
        thread::sleep(Duration::from_millis(5));
        assert!(thread.finish().is_some_and(|turns| turns > 0));
        let died = Background::spawn("dies", vec![], |_| -> u64 { std::panic::resume_unwind(Box::new("wanted")) });
        assert_eq!(died.unwrap().finish(), None);
        // One that waits for ever is left behind.
        let (_keeps, waits) = mpsc::channel::<()>();
        let mut stuck = Background::spawn("waits", vec![], move |_| waits.recv().is_ok()).unwrap();
        assert!(!stuck.give_up(Instant::now() + Duration::from_millis(20)));
        assert!(stuck.give_up(Instant::now()), "nobody is left to be waited for");
    }
}
