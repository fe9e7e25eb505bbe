//! The static part of a bus.

use super::{Call, Registered, Subscriber, sealed};
use crate::event::{EventRef, KindSet};
use crate::handler::Handler;
use crate::timing::Timing;

/// The static part of a bus: [`End`], or a [`Link`] of a chain and one handler more.
pub trait Chain: Send + sealed::Sealed {
    /// Gives the event to those who want one of `kinds`, which is its kind.
    #[doc(hidden)]
    fn on_event<T: Timing>(&mut self, kinds: KindSet, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T);
    /// The same, where something may keep a handler from it.
    #[doc(hidden)]
    fn on_event_with_care<T: Timing>(
        &mut self,
        kinds: KindSet,
        event: EventRef<'_>,
        call: &mut Call<'_>,
        timing: &mut T,
    );
    #[doc(hidden)]
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Subscriber));
}

/// The empty chain.
#[derive(Debug, Clone, Copy)]
pub struct End;

impl sealed::Sealed for End {}

impl Chain for End {
    #[inline]
    fn on_event<T: Timing>(&mut self, _: KindSet, _: EventRef<'_>, _: &mut Call<'_>, _: &mut T) {}
    #[inline]
    fn on_event_with_care<T: Timing>(&mut self, _: KindSet, _: EventRef<'_>, _: &mut Call<'_>, _: &mut T) {}
    fn each(&mut self, _visit: &mut dyn FnMut(&mut dyn Subscriber)) {}
}

/// A chain and the handler after it.
pub struct Link<C: Chain, H: Handler> {
    pub(super) before: C,
    pub(super) last: Registered<H>,
}

impl<C: Chain, H: Handler> sealed::Sealed for Link<C, H> {}

impl<C: Chain, H: Handler> Chain for Link<C, H> {
    #[inline]
    fn on_event<T: Timing>(&mut self, kinds: KindSet, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T) {
        self.before.on_event(kinds, event, call, timing);
        if self.last.kinds.intersects(kinds) {
            timing.call(&mut self.last, |last| last.on_event(event, call));
        }
    }

    #[inline]
    fn on_event_with_care<T: Timing>(
        &mut self,
        kinds: KindSet,
        event: EventRef<'_>,
        call: &mut Call<'_>,
        timing: &mut T,
    ) {
        self.before.on_event_with_care(kinds, event, call, timing);
        if self.last.kinds.intersects(kinds) {
            timing.call(&mut self.last, |last| last.on_event_with_care(event, call));
        }
    }

    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Subscriber)) {
        self.before.each(visit);
        visit(&mut self.last);
    }
}
