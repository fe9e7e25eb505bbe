//! Events for and of other shards, and how far each may go. See the [shard](super) for how they keep step.

use super::{Active, Inlet, Limit, Outbox, Probe, Shard};
use crate::bus::Chain;
use crate::event::payload::Tick;
use crate::event::{EventRef, Kind, Slot};
use crate::ledger::Refusal;
use crate::limits::MESH_DELAY_NS;
use crate::ring::{DUE_NONE, Full, Producer};
use crate::units::UnixNanos;

/// One direction to another shard.
pub(super) struct Outlet {
    pub(super) ring: Producer,
    /// Slots that found the ring full, in order.
    pub(super) stash: Vec<Slot>,
    /// The stamps of the events there, in order.
    pub(super) stamps: Vec<u64>,
    pub(super) sent: u64,
    pub(super) bound_sent: UnixNanos,
    /// What was next, and the events sent and received in all, as last reported to that shard.
    pub(super) reported: (UnixNanos, u64, u64),
}

/// One direction from another shard.
pub(super) struct Peer {
    pub(super) inlet: Inlet,
    /// Earliest time at which it can still make something.
    pub(super) bound: UnixNanos,
    pub(super) received: u64,
    /// Its last report: what is next for it if nobody sends it anything.
    pub(super) next: UnixNanos,
    /// Its last report: by shard, events sent (low half) and received (high half), both modulo 2^32.
    pub(super) counts: Box<[u64]>,
}

impl Outlet {
    /// Sends an event, or keeps it until there is room: the shard begins nothing new meanwhile, so that the stash holds one
    /// root's effects at most, and never grows.
    pub(super) fn send(&mut self, event: EventRef<'_>, stamp: u64) {
        self.sent += 1;
        if !self.stash.is_empty() || push(&mut self.ring, event, stamp).is_err() {
            debug_assert!(
                self.stash.len() + event.slots().len() <= self.stash.capacity(),
                "Invariant: one root's effects"
            );
            self.stash.extend_from_slice(event.slots());
            self.stamps.push(stamp);
        }
    }

    pub(super) fn flush(&mut self) -> bool {
        let (mut sent, mut events) = (0, 0);
        while let Some(event) = EventRef::first(&self.stash[sent..]) {
            if push(&mut self.ring, event, self.stamps[events]).is_err() {
                break;
            }
            sent += event.slots().len();
            events += 1;
        }
        if sent > 0 {
            self.stash.drain(..sent);
            self.stamps.drain(..events);
        }
        self.stash.is_empty()
    }
}

#[inline]
fn push(ring: &mut Producer, event: EventRef<'_>, stamp: u64) -> Result<(), Full> {
    if stamp == DUE_NONE { ring.push(event.slots()) } else { ring.push_due(event.slots(), stamp) }
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Takes the first waiting event of another symbol. It is an output of its symbol, and its own identity is the root of
    /// what it causes.
    pub(super) fn begin_mesh(&mut self, out: &mut impl Outbox) {
        if let Some((hops, place)) = self.hops.as_mut().zip(self.pending.next_place()) {
            hops.begin(place);
        }
        self.scratch_span = self.pending.pop(&mut self.scratch);
        self.update_quiet();
        let head = self.scratch[0];
        self.reach(head.ts_recv);
        self.clock = self.clock.max(head.ts_recv);
        self.derived.accept(head.kind());
        let event = EventRef::first(&self.scratch[..self.scratch_span]).expect("Invariant: staged events are whole");
        self.digest.absorb(&self.catalog, event);
        if let Some(history) = &mut self.history {
            let _ = history.record(event, self.clock);
        }
        out.put(event);
        self.has_put = true;
        self.begin(Active::Mesh, head.identity(), head.kind(), head.symbol, head.ts_event);
        // The event has taken a part of the room that the outbox promised for it and what it causes.
        self.staging.reserve(self.scratch_span);
    }

    /// Drains the mesh rings into the waiting room, and notes how far the other shards have come.
    pub(super) fn take_mesh(&mut self) -> usize {
        let mut work = 0;
        for peer in &mut self.peers {
            let slots = peer.inlet.refill();
            if slots == 0 {
                continue;
            }
            let mut at = 0;
            while at < slots {
                let event = EventRef::first(&peer.inlet.slots[at..slots]).expect("Invariant: rings carry whole events");
                let stamp = if peer.inlet.has_dues { peer.inlet.dues[at] } else { DUE_NONE };
                at += event.slots().len();
                if event.kind() == Kind::TICK {
                    peer.bound = event.head().ts_recv;
                    if !event.tail().is_empty() {
                        peer.next = event.head().ts_event;
                        peer.counts.iter_mut().zip(event.tail_words()).for_each(|(count, word)| *count = word);
                    }
                    continue;
                }
                work += 1;
                peer.received += 1;
                if stamp != DUE_NONE {
                    self.probe.hop(stamp);
                }
                match (self.pending.insert(event), &mut self.hops) {
                    (Ok(place), Some(hops)) => hops.wait(place, stamp),
                    (Ok(_), None) => {}
                    (Err(_), _) => {
                        self.limits_hit[Limit::MeshPending as usize] += 1;
                        self.derived.refuse(event.kind(), Refusal::MeshFull);
                    }
                }
            }
            peer.inlet.at = slots;
        }
        self.raise_horizon(self.peers.iter().map(|peer| peer.bound).min().unwrap_or(UnixNanos::UNKNOWN));
        self.update_quiet();
        work
    }

    /// No shard will make anything before `bound`. True when that is news.
    pub(super) fn raise_horizon(&mut self, bound: UnixNanos) -> bool {
        // The end of time means "no peers": a horizon that saturates stays one below it.
        let horizon = bound.saturating_add(MESH_DELAY_NS).min(UnixNanos(u64::MAX - 1));
        let is_later = horizon > self.horizon;
        self.horizon = self.horizon.max(horizon);
        is_later
    }

    /// Raises the horizon by the reports of all shards, if nothing is under way between them. `next` is what is next here.
    /// True when it went up. O(peers), and O(shards squared) when it may go up.
    pub(super) fn agree(&mut self, next: UnixNanos) -> bool {
        let own = self.config.shard;
        for (shard, count) in self.counts.iter_mut().enumerate() {
            let sent = self.outlets.get(shard).and_then(Option::as_ref).map_or(0, |outlet| outlet.sent);
            let peer = shard.checked_sub(usize::from(shard > own)).filter(|_| shard != own);
            let received = peer.map_or(0, |peer| self.peers[peer].received);
            *count = u64::from(sent as u32) | received << 32;
        }
        let first = self.peers.iter().map(|peer| peer.next).min().unwrap_or(UnixNanos::UNKNOWN).min(next);
        if first.saturating_add(MESH_DELAY_NS).min(UnixNanos(u64::MAX - 1)) <= self.horizon {
            return false;
        }
        let counts = |shard: usize| match shard.cmp(&own) {
            std::cmp::Ordering::Less => &self.peers[shard].counts,
            std::cmp::Ordering::Equal => &self.counts,
            std::cmp::Ordering::Greater => &self.peers[shard - 1].counts,
        };
        let shards = self.counts.len();
        let is_quiet =
            (0..shards).all(|from| (0..shards).all(|to| counts(from)[to] as u32 == (counts(to)[from] >> 32) as u32));
        is_quiet && self.raise_horizon(first)
    }

    /// Sends what found a ring full. False while something is left.
    pub(super) fn flush_mesh(&mut self) -> bool {
        let mut is_flushed = true;
        for outlet in self.outlets.iter_mut().flatten() {
            is_flushed &= outlet.flush();
        }
        is_flushed
    }

    /// Whether an event for another shard is waiting for room: nothing new may be begun then.
    #[inline]
    pub(super) fn mesh_is_stuck(&self) -> bool {
        self.horizon != UnixNanos::UNKNOWN && self.outlets.iter().flatten().any(|outlet| !outlet.stash.is_empty())
    }

    /// Tells the other shards the earliest time at which this one can still make something; when idle, also what is next.
    /// True when the horizon went up by what they have reported.
    pub(super) fn tell_peers(&mut self, is_idle: bool) -> bool {
        let source = if self.input.at < self.input.len {
            self.time_at(self.input.at)
        } else if self.source_done {
            UnixNanos::UNKNOWN
        } else {
            self.source_time
        };
        let timer = self.wheel.next_due_hint().unwrap_or(UnixNanos::UNKNOWN);
        let request = self.request_due();
        let next = source.min(timer).min(request).min(self.pending.next_due());
        // Events that were held and are ready run at this very instant, whatever kept them from it in this step.
        let next = if self.letters.ready().is_some() { next.min(self.clock) } else { next };
        let is_raised = is_idle && self.agree(next);
        if is_raised {
            self.update_quiet();
        }
        let bound = next.min(self.horizon);
        let (sent, received) = self.mesh_counts();
        for outlet in self.outlets.iter_mut().flatten() {
            let must_report = is_idle && outlet.reported != (next, sent, received);
            let step_ns = bound.0.saturating_sub(outlet.bound_sent.0);
            if !must_report && (step_ns == 0 || !is_idle && step_ns < MESH_DELAY_NS / 4) || !outlet.stash.is_empty() {
                continue;
            }
            let bound = bound.max(outlet.bound_sent);
            self.report.reset(&Tick::default());
            self.report.head_mut().ts_recv = bound;
            if must_report {
                self.report.head_mut().ts_event = next;
                for chunk in self.counts.chunks(7) {
                    let mut words = [0; 7];
                    words[..chunk.len()].copy_from_slice(chunk);
                    self.report.push_words(words).expect("two counts for each of 256 shards fit a span");
                }
            }
            if outlet.ring.push(self.report.slots()).is_ok() {
                outlet.bound_sent = bound;
                if must_report {
                    outlet.reported = (next, sent, received);
                }
            }
        }
        is_raised
    }

    /// Events sent to and received from other shards. A drain has ended when all shards are drained and the sums agree,
    /// twice in a row.
    #[must_use]
    pub fn mesh_counts(&self) -> (u64, u64) {
        let sent = self.outlets.iter().flatten().map(|outlet| outlet.sent).sum();
        (sent, self.peers.iter().map(|peer| peer.received).sum())
    }
}
