//! Sessions of a feed: which one is the present one, judged by progress and never by a single sign.
//!
//! One packet with a damaged session, or of another feed that shares the flow, must not end the present session, nor make its packets late
//! for good:
//! - **The present session** goes on until another one has replaced it.
//! - **Another session** replaces it by a first packet (number 1) whose content is whole, or by a second packet that agrees with the one
//!   before: it follows it, or is the same one by the other line. What comes of the present session in between begins the wait anew; what came
//!   before, and was held, does not.
//! - **The session before** replaces it again by a packet with messages that had not come when it was left; what had come is late. After
//!   [`RETURNS_MAX`] returns it needs two packets in order, as any other: two feeds that share a flow do not take turns for ever.
//!
//! Every packet that is not taken is counted: of the session before, or of another one. The latter holds messages that nobody takes:
//! a feed that has two sessions at once, or damage.

use crate::input::Tally;

/// Returns to the session before that one packet is enough for.
pub const RETURNS_MAX: u64 = 8;

/// What a packet's session means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Judged {
    /// It is of the present session.
    Present,
    /// It begins a session: see [`Sessions::begin`]. Numbers begin at `from`, where that is known, so that what is missing since is told.
    Begins {
        /// The number that is waited for.
        from: Option<u64>,
    },
    /// It is of the session before, and late: counted, and not to be used.
    Stale,
    /// It is of another session, and not to be used: counted, and bad where it has messages.
    Foreign,
}

/// A session that has been seen, and its numbers.
#[derive(Clone, Copy, Debug)]
struct Seen<S> {
    session: S,
    first: u64,
    next: u64,
}

/// The sessions of one stream of packets. Constant size.
#[derive(Clone, Debug)]
pub struct Sessions<S> {
    present: S,
    /// The session before, and the number that it would go on with.
    before: Option<(S, u64)>,
    /// Another one that has been seen once.
    candidate: Option<Seen<S>>,
    /// Packets of the session before.
    stale: u64,
    /// Packets of other sessions.
    foreign: u64,
    returns: u64,
}

impl<S: Copy + Eq> Sessions<S> {
    /// The session of the first packet is the present one.
    pub const fn new(present: S) -> Self {
        Self { present, before: None, candidate: None, stale: 0, foreign: 0, returns: 0 }
    }

    /// The present session.
    #[inline]
    pub const fn present(&self) -> S {
        self.present
    }

    /// Whether this is the present session.
    #[inline]
    pub fn is_present(&self, session: S) -> bool {
        self.present == session
    }

    /// Whether this is the session before, or one that has been seen once.
    pub fn has_seen(&self, session: S) -> bool {
        self.before.is_some_and(|(before, _)| before == session)
            || self.candidate.is_some_and(|seen| seen.session == session)
    }

    /// Judges a packet of `session` with `count` messages from number `first` on; `next` is the present session's next number. `is_whole`
    /// says whether its content is whole, and is asked of a first packet only. O(1). What begins a session is judged the same until
    /// [`Sessions::begin`], as long as no packet arrives in between: `is_arrival` is false for one that was held, which tells nothing of what its
    /// session sends now.
    #[inline]
    pub fn judge(
        &mut self,
        session: S,
        (first, count): (u64, u64),
        next: Option<u64>,
        is_arrival: bool,
        is_whole: impl FnOnce() -> bool,
    ) -> Judged {
        if session != self.present {
            return self.judge_other(session, first, count, is_whole);
        }
        if is_arrival && count > 0 && next.is_none_or(|next| first.saturating_add(count) > next) {
            self.candidate = None;
        }
        Judged::Present
    }

    #[cold]
    fn judge_other(&mut self, session: S, first: u64, count: u64, is_whole: impl FnOnce() -> bool) -> Judged {
        let end = first.saturating_add(count);
        match self.before {
            Some((before, next)) if before == session && (count == 0 || end <= next) => {
                self.stale += 1;
                return Judged::Stale;
            }
            Some((before, next)) if before == session && self.returns < RETURNS_MAX => {
                return Judged::Begins { from: Some(next) };
            }
            Some((before, _)) if before == session => {}
            _ if first <= 1 && count > 0 && is_whole() => return Judged::Begins { from: None },
            _ => {}
        }
        match self.candidate {
            Some(seen) if seen.session == session && (seen.first..=seen.next).contains(&first) => {
                Judged::Begins { from: Some(seen.first) }
            }
            _ => {
                self.candidate = Some(Seen { session, first, next: end });
                self.foreign += 1;
                Judged::Foreign
            }
        }
    }

    /// The session of a packet that was [`Judged::Begins`] is the present one from now on; `next` is the next number of the one that ends.
    pub fn begin(&mut self, session: S, next: Option<u64>) {
        if self.before.is_some_and(|(before, _)| before == session) {
            self.returns += 1;
        }
        self.before = Some((std::mem::replace(&mut self.present, session), next.unwrap_or(0)));
        self.candidate = None;
    }

    /// Adds what was counted; a packet is called `packet`, and all names begin with `prefix`.
    pub fn tally(&self, prefix: &str, packet: &str, into: &mut Tally) {
        for (name, count) in [
            (format!("{prefix} {packet} of the session before"), self.stale),
            (format!("{prefix} {packet} of another session"), self.foreign),
            (format!("{prefix} return to the session before"), self.returns),
        ] {
            if count > 0 {
                *into.skipped.entry(name).or_default() += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGINS: Judged = Judged::Begins { from: None };

    #[test]
    fn one_strange_packet_changes_nothing() {
        let mut sessions = Sessions::new('a');
        for first in 5..50 {
            assert_eq!(sessions.judge('a', (first, 1), Some(first), true, || true), Judged::Present);
            assert_eq!(sessions.judge('x', (first + 1, 1), Some(first + 1), true, || true), Judged::Foreign);
        }
        assert_eq!((sessions.foreign, sessions.stale), (45, 0));
    }

    #[test]
    fn a_session_begins_by_its_first_packet_or_by_two_that_agree() {
        let mut sessions = Sessions::new('a');
        assert_eq!(sessions.judge('b', (1, 2), Some(9), true, || false), Judged::Foreign, "damaged");
        assert_eq!(sessions.judge('c', (1, 2), Some(9), true, || true), BEGINS);
        assert_eq!(sessions.judge('b', (3, 2), Some(9), true, || false), Judged::Begins { from: Some(1) });
        assert_eq!(
            sessions.judge('b', (1, 2), Some(9), true, || false),
            Judged::Begins { from: Some(1) },
            "the other line"
        );
        assert_eq!(sessions.judge('b', (4, 2), Some(9), true, || false), Judged::Foreign, "not in order");
        // A late packet of the present session is no progress of it; a new one is.
        assert_eq!(sessions.judge('a', (7, 2), Some(9), true, || true), Judged::Present);
        assert_eq!(sessions.judge('b', (6, 0), Some(9), true, || true), Judged::Begins { from: Some(4) });
        assert_eq!(sessions.judge('a', (8, 2), Some(9), true, || true), Judged::Present);
        assert_eq!(sessions.judge('b', (6, 0), Some(9), true, || true), Judged::Foreign);
    }

    /// Of the present session, what came before the other one is no sign against it, however late it is taken.
    #[test]
    fn what_was_held_is_no_sign_of_what_a_session_sends_now() {
        for (is_arrival, expected) in [(false, Judged::Begins { from: Some(3) }), (true, Judged::Foreign)] {
            let mut sessions = Sessions::new('d');
            assert_eq!(sessions.judge('n', (3, 2), Some(5), true, || false), Judged::Foreign);
            assert_eq!(sessions.judge('d', (7, 2), Some(5), is_arrival, || true), Judged::Present);
            assert_eq!(sessions.judge('n', (5, 2), Some(9), true, || false), expected);
        }
    }

    #[test]
    fn the_session_before_comes_back_where_it_goes_on_and_not_for_ever() {
        let mut sessions = Sessions::new('a');
        sessions.begin('b', Some(9));
        assert_eq!(sessions.judge('a', (7, 2), Some(1), true, || true), Judged::Stale);
        assert_eq!(sessions.judge('a', (9, 0), Some(1), true, || true), Judged::Stale, "its end");
        for turn in 0..RETURNS_MAX {
            let (present, before) = if turn % 2 == 0 { ('b', 'a') } else { ('a', 'b') };
            assert_eq!(sessions.present, present);
            assert_eq!(sessions.judge(before, (8, 2), Some(9), true, || true), Judged::Begins { from: Some(9) });
            sessions.begin(before, Some(9));
        }
        assert_eq!(sessions.judge('a', (9, 2), Some(9), true, || true), Judged::Foreign);
        assert_eq!(sessions.judge('a', (11, 2), Some(9), true, || true), Judged::Begins { from: Some(9) });
        let mut tally = Tally::default();
        sessions.tally("mold", "packet", &mut tally);
        let counts: Vec<_> = tally.skipped.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let expected = [
            ("mold packet of another session", 1),
            ("mold packet of the session before", 2),
            ("mold return to the session before", RETURNS_MAX),
        ];
        assert_eq!(counts, expected);
    }
}
