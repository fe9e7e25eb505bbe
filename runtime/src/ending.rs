//! Threads that are given up: told to end, waited for a while, and left behind where they do not. A thread that waits for a pipe or a file cannot be
//! ended from outside; to join it would be to wait for ever, and to hide why it was given up.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long all threads together that are given up are waited for.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(2);
/// Time between two looks at a thread.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Joins `thread` if it ends before `until`: what it has to say, or how it died. `None` when it was left behind.
pub(crate) fn join_until<T>(thread: JoinHandle<T>, until: Instant) -> Option<thread::Result<T>> {
    while !thread.is_finished() && Instant::now() < until {
        thread::sleep(LOOK_EVERY);
    }
    thread.is_finished().then(|| thread.join())
}

/// As [`join_until`]; what it has to say, nobody is there to hear. False when it was left behind.
pub(crate) fn end_until<T>(thread: JoinHandle<T>, until: Instant) -> bool {
    join_until(thread, until).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn end_within<T>(thread: JoinHandle<T>, most: Duration) -> bool {
        end_until(thread, Instant::now() + most)
    }

    #[test]
    fn who_ends_is_joined_and_who_does_not_is_left_behind() {
        assert!(end_within(thread::spawn(|| 7), Duration::from_secs(60)));
        assert!(end_within(thread::spawn(|| std::panic::resume_unwind(Box::new("wanted"))), Duration::from_secs(60)));
        let (_keeps, waits) = mpsc::channel::<()>();
        let begun = Instant::now();
        assert!(!end_within(thread::spawn(move || waits.recv()), Duration::from_millis(20)));
        assert!((Duration::from_millis(20)..Duration::from_secs(30)).contains(&begun.elapsed()));
        // One that is over already is joined, whatever the time.
        let over = thread::spawn(|| ());
        while !over.is_finished() {
            thread::sleep(LOOK_EVERY);
        }
        assert!(end_until(over, begun));
    }
}
