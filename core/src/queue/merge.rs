//! Which pending request a push is merged into.
//!
//! The pending requests of a symbol are looked at from the one queued last back to the first that is older than the window. Those
//! inside it are at most 65: what was queued shared no group with any request of the window then, and groups are only ever added, so
//! that the groups with which they were queued are disjoint: 64 bits, and one request without groups. A table by (symbol, groups)
//! would find equal ones in one step, but not those that overlap, and would cost its upkeep on every push and pop.
//!
//! Where the caller says which requests may be merged ([`RequestQueue::merge_if`]), those that may not are passed over, and the
//! bound is the number of the symbol's pending requests.

use super::entry::Entry;
use super::{Pushed, Request, RequestQueue};
use crate::slab::NONE;
use bytemuck::Pod;

impl<T: Pod> RequestQueue<T> {
    /// Merges the request into a pending one if there is one to merge with, among those whose payload `may`.
    #[inline]
    pub(super) fn try_merge(&mut self, request: &Request<T>, may: impl Fn(&T) -> bool) -> Option<Pushed> {
        let (index, equal) = self.merges_with(request, may)?;
        let entry = self.entries.at_mut(index);
        let Entry { groups, expires_ns, .. } = *entry;
        entry.groups = groups | request.groups;
        entry.asked = entry.asked.saturating_add(1);
        entry.expires_ns = later_expiry(expires_ns, request.expires_at.0);
        let priority = entry.priority().min(request.priority);
        if entry.expires_ns != expires_ns {
            self.set_timer(index);
        }
        if self.entries.at(index).priority() != priority {
            self.set_priority(index, priority);
        }
        let handle = self.entries.handle_at(index);
        if equal {
            self.counters.merged += 1;
            Some(Pushed::Merged(handle))
        } else {
            self.counters.joined += 1;
            Some(Pushed::Joined(handle))
        }
    }

    /// Index of the pending request, and whether its groups are the same.
    #[inline]
    fn merges_with(&self, request: &Request<T>, may: impl Fn(&T) -> bool) -> Option<(u32, bool)> {
        let now_ns = self.clock.now_ns();
        let mut overlapping = NONE;
        let mut next = self.chains.last(request.symbol.0);
        while let Some(index) = next {
            let entry = self.entries.at(index);
            if now_ns - entry.queued_ns >= self.config.merge_window_ns {
                break;
            }
            if may(&self.payloads[index as usize]) {
                if entry.groups == request.groups {
                    return Some((index, true));
                }
                if overlapping == NONE && entry.groups & request.groups != 0 {
                    overlapping = index;
                }
            }
            next = self.chains.prev(index);
        }
        (overlapping != NONE).then_some((overlapping, false))
    }
}

/// Of two expiries the later, 0 being never.
#[inline]
const fn later_expiry(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 {
        0
    } else if a < b {
        b
    } else {
        a
    }
}
