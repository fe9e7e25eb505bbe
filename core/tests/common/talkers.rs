//! Handlers that do everything that a handler may do, by hashes of what they see.

// Each test file that includes this module uses a part of it.
#![allow(dead_code)]

use super::shard_rig::{MILLI, SYMBOLS};
use bytemuck::{Pod, Zeroable};
use tapeline_core::event::payload::{Alert, Signal};
use tapeline_core::event::{EventRef, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::units::{SymbolId, UnixNanos};

/// A chain over all that a handler was called with, so that any change of order shows in what it publishes.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct Seen {
    chain: u64,
    calls: u64,
}

impl Seen {
    fn take(&mut self, words: [u64; 4]) {
        let mut all = [self.chain, 0, 0, 0, 0];
        all[1..].copy_from_slice(&words);
        self.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&all));
        self.calls += 1;
    }

    fn event(&mut self, ev: EventRef<'_>, cx: &Ctx<'_>) {
        let head = ev.head();
        self.take([u64::from(head.kind.0), head.seq ^ head.payload[0], head.ts_recv.0, cx.now().0]);
    }

    fn value(&self) -> f64 {
        (self.chain >> 12) as f64
    }
}

/// Timers, also chained and in the past, alerts in cascades, failures: all for the own symbol.
pub(crate) struct Chatter;

impl Handler for Chatter {
    type State = Seen;
    const NAME: &'static str = "chatter";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::QUOTE, Kind::ALERT]) }
    }

    fn on_event(&self, st: &mut Seen, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.event(ev, cx);
        let rand = cx.rand(st.chain);
        if let Some(alert) = ev.get::<Alert>() {
            if alert.rule < 3 {
                cx.alert(&Alert { rule: alert.rule + 1, value: st.value(), ..Alert::default() }).unwrap();
            }
        } else {
            match rand % 8 {
                0 => cx.alert(&Alert { rule: (rand >> 8) as u16 % 4, value: st.value(), ..Alert::default() }).unwrap(),
                1 | 2 => _ = cx.timer_at(cx.now().saturating_add((rand >> 8) % (30 * MILLI)), rand).unwrap(),
                3 => _ = cx.timer_at(UnixNanos(cx.now().0 - 5 * MILLI), rand).unwrap(),
                _ => {}
            }
        }
        if rand.is_multiple_of(17) { Verdict::Fail(17) } else { Verdict::Done }
    }

    fn on_timer(&self, st: &mut Seen, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        st.take([token, cx.now().0, 0, 1]);
        let rand = cx.rand(token ^ st.chain);
        match rand % 4 {
            0 => _ = cx.timer_at(cx.now().saturating_add((rand >> 8) % (5 * MILLI)), rand).unwrap(),
            1 => cx.alert(&Alert { rule: 2, value: st.value(), ..Alert::default() }).unwrap(),
            _ => cx.signal(&Signal { strength: st.value(), ..Signal::default() }).unwrap(),
        }
        Verdict::Done
    }
}

/// Publishes for other symbols, from events, timers and events of other symbols, a few hops far.
pub(crate) struct Crosser;

impl Crosser {
    fn other(cx: &Ctx<'_>, rand: u64) -> SymbolId {
        let step = 1 + rand % u64::from(SYMBOLS - 1);
        SymbolId(((u64::from(cx.symbol().0) - 1 + step) % u64::from(SYMBOLS)) as u32 + 1)
    }
}

impl Handler for Crosser {
    type State = Seen;
    const NAME: &'static str = "crosser";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::ALERT, Kind::SIGNAL]) }
    }

    fn on_event(&self, st: &mut Seen, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.event(ev, cx);
        let rand = cx.rand(st.chain);
        let hops = match ev.get::<Signal>() {
            Some(signal) if signal.strategy >= 3 => return Verdict::Done,
            Some(signal) => signal.strategy + 1,
            None => 0,
        };
        let signal = Signal { strength: st.value(), strategy: hops, ..Signal::default() };
        match rand % 4 {
            0 => cx.publish_to(Self::other(cx, rand >> 8), &signal, 0, &[]).unwrap(),
            1 => {
                cx.publish_to(Self::other(cx, rand >> 8), &signal, 0, &[rand; 20]).unwrap();
                cx.publish_to(Self::other(cx, rand >> 16), &signal, 0, &[]).unwrap();
            }
            2 => _ = cx.timer_at(cx.now().saturating_add((rand >> 8) % (4 * MILLI)), rand).unwrap(),
            _ => {}
        }
        Verdict::Done
    }

    fn on_timer(&self, st: &mut Seen, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        st.take([token, cx.now().0, 0, 2]);
        let signal = Signal { strength: st.value(), strategy: 1, ..Signal::default() };
        cx.publish_to(Self::other(cx, token >> 8), &signal, 0, &[]).unwrap();
        Verdict::Done
    }
}
