//! How long a thread beside the cores sleeps when it has found nothing to do.

use std::time::Duration;

/// While something is under way.
const SHORT: Duration = Duration::from_micros(100);
/// At most, while nothing is: where every core has a station the thread shares a hot one, which it shall leave alone. An order waits for that long.
const LONG: Duration = Duration::from_millis(2);

/// Short while something is under way; else doubled from sleep to sleep, up to 2 ms.
#[derive(Debug)]
pub(crate) struct Rest(Duration);

impl Rest {
    pub(crate) const fn new() -> Self {
        Self(SHORT)
    }

    /// The next sleep after a look that found work, or none. `is_open`: something is under way, whose next step nobody tells.
    pub(crate) fn next(&mut self, has_worked: bool, is_open: bool) -> Duration {
        if has_worked {
            self.0 = SHORT;
            return Duration::ZERO;
        }
        let now = if is_open { SHORT } else { self.0 };
        self.0 = (now * 2).min(LONG);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nothing_under_way_wakes_seldom_and_who_has_looks_often() {
        let mut rest = Rest::new();
        let micros = |rest: &mut Rest, has_worked, is_open| rest.next(has_worked, is_open).as_micros();
        let idle: Vec<u128> = (0..7).map(|_| micros(&mut rest, false, false)).collect();
        assert_eq!(idle, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!((micros(&mut rest, false, true), micros(&mut rest, false, true)), (100, 100));
        assert_eq!((micros(&mut rest, true, true), micros(&mut rest, false, false)), (0, 100));
        let second: Duration = std::iter::repeat_with(|| rest.next(false, false)).take(510).sum();
        assert!(second > Duration::from_secs(1), "some 500 times a second");
    }
}
