//! What is kept of one request and of one symbol.

use super::order::Stamp;
use super::request::Priority;
use crate::wheel::TimerHandle;
use bytemuck::{Pod, Zeroable};

/// A pending request, without its payload.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Entry {
    /// The clock when it was queued, ns.
    pub(super) queued_ns: u64,
    /// ns, 0 = never.
    pub(super) expires_ns: u64,
    pub(super) groups: u64,
    /// [`TimerHandle::NONE`] when it never expires.
    pub(super) timer: TimerHandle,
    pub(super) symbol: u32,
    /// Among the requests of its instant.
    pub(super) sequence: u32,
    /// Priority class.
    pub(super) class: u32,
    /// Pushes that it stands for.
    pub(super) asked: u32,
}

impl Entry {
    #[inline]
    pub(super) const fn stamp(&self) -> Stamp {
        Stamp { ns: self.queued_ns, sequence: self.sequence }
    }

    /// Its class, which is below 8: pushed so, and checked in a snapshot.
    #[inline]
    pub(super) const fn priority(&self) -> Priority {
        match Priority::new(self.class as u8) {
            Some(priority) => priority,
            None => Priority::LAST,
        }
    }
}

/// What a symbol has beside its requests.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SymbolState {
    /// Number of the span of effective time that its last popped request was in.
    pub(super) span: u64,
    /// Requests popped in that span, at most 255.
    pub(super) turns: u32,
    /// Requests popped and not finished.
    pub(super) in_flight: u32,
}
