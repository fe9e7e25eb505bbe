//! Wheels whose handles are told apart.

use super::Wheel;
use crate::slab::{first_mark, seed_of};
use bytemuck::Pod;

impl<T: Pod> Wheel<T> {
    /// This wheel, to which nothing was scheduled yet, as the one of that number: its generations begin elsewhere, so that it refuses the
    /// handles of wheels with other numbers, and they refuse its. Two wheels of one number, or of none, take each other's where
    /// index and generation agree; of different ones, once in 2^31. O(capacity).
    ///
    /// A snapshot keeps the generations: a restored wheel takes the handles of the one that was written.
    ///
    /// # Panics
    /// When a timer was scheduled: its handle would go stale.
    #[must_use]
    pub fn with_instance(mut self, instance: u32) -> Self {
        let is_new = self.nodes.iter().all(|node| node.generation == 0);
        assert!(is_new, "a wheel gets its number before its first timer");
        let seed = seed_of("timing wheel", instance);
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.generation = first_mark(seed, index as u32);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UnixNanos;

    #[test]
    fn timers_of_another_wheel_are_refused() {
        let mut taken = 0;
        for instance in 0..50 {
            let mut own = Wheel::new(64, 1_000).with_instance(0);
            let mut other = Wheel::new(64, 1_000).with_instance(instance);
            for life in 0..50_u64 {
                let timers: Vec<_> = (0..64)
                    .map(|value| {
                        let due = UnixNanos(1_000 * (value + life));
                        (own.schedule(due, value).unwrap(), other.schedule(due, value).unwrap())
                    })
                    .collect();
                for (timer, foreign) in timers {
                    let is_taken = own.is_pending(foreign);
                    taken += u64::from(is_taken);
                    assert_eq!(own.get(foreign).is_some(), is_taken);
                    assert_eq!(own.reschedule(foreign, UnixNanos(7)), is_taken);
                    assert_eq!((own.cancel(foreign).is_some(), is_taken), (is_taken, instance == 0));
                    assert_eq!(own.cancel(timer).is_some(), !is_taken);
                    assert!(other.cancel(foreign).is_some() && other.cancel(foreign).is_none());
                }
                own.assert_invariants();
            }
        }
        assert_eq!(taken, 3_200, "those of the twin of the same number: what every other one would be without");
    }

    #[test]
    fn a_snapshot_keeps_the_handles() {
        let mut wheel = Wheel::new(4, 1_000).with_instance(9);
        let timer = wheel.schedule(UnixNanos(5), 1_u64).unwrap();
        let mut bytes = Vec::new();
        wheel.snapshot(&mut bytes);
        let mut restored = Wheel::<u64>::restore(4, 1_000, &bytes).unwrap();
        assert_eq!((restored.cancel(timer), restored.cancel(timer)), (Some(1), None));
    }

    #[test]
    #[should_panic(expected = "before its first timer")]
    fn a_wheel_in_use_keeps_its_number() {
        let mut wheel = Wheel::new(4, 1_000);
        let timer = wheel.schedule(UnixNanos(5), 1_u64).unwrap();
        assert!(wheel.cancel(timer).is_some());
        let _ = wheel.with_instance(1);
    }
}
