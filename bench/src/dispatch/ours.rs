//! Our bus as a contender: static chain and dynamic table.

use super::Dispatcher;
use std::hint::black_box;
use tapeline_core::bus::{Bus, BusBuilder, Call, Chain, End, Link, Progress, Unfinished};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Trade;
use tapeline_core::event::{EventBuf, EventRef, Identity, Kind, KindSet, Slot};
use tapeline_core::handler::{CallSite, Ctx, Handler, Staging, Verdict};
use tapeline_core::limits::TICK_NS;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Symbols of the bus: states are looked up among them.
const SYMBOLS: usize = 16;
/// The symbol of every event.
const SYMBOL: SymbolId = SymbolId(1);

/// Adds a trade's size to the state of its symbol. One of 64 types, as names on a bus are distinct.
struct Adder<const N: usize>;

impl<const N: usize> Adder<N> {
    const DIGITS: [u8; 2] = [b'0' + (N / 10) as u8, b'0' + (N % 10) as u8];
}

impl<const N: usize> Handler for Adder<N> {
    type State = u64;
    const NAME: &'static str = match core::str::from_utf8(&Self::DIGITS) {
        Ok(name) => name,
        Err(_) => panic!("digits are text"),
    };
    const STATE_VERSION: u16 = 1;
    // It never fails.
    const ROLLBACK: bool = false;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    #[inline]
    fn on_event(&self, state: &mut u64, event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let Some(trade) = event.get::<Trade>() else { return Verdict::Done };
        // The way to read a sum back: a trade without size asks every handler for what it has.
        if trade.size == 0 {
            let asked = cx.publish(&Trade { size: *state, ..Trade::default() }, 0, &[]);
            return if asked.is_ok() { Verdict::Done } else { Verdict::Fail(1) };
        }
        *state = state.wrapping_add(trade.size);
        Verdict::Done
    }
}

/// A bus, a shard's worth of context around it, and an event.
struct Rig<C: Chain> {
    bus: Bus<C>,
    staging: Staging,
    progress: Progress,
    unfinished: Unfinished,
    site: CallSite,
    slot: Slot,
}

impl<C: Chain> Rig<C> {
    fn new(builder: BusBuilder<C>) -> Self {
        let bus = builder.build(&mut Catalog::new(SYMBOLS)).expect("64 handlers with different names");
        let mut event = EventBuf::new(&Trade::default());
        event.head_mut().symbol = SYMBOL;
        Self {
            bus,
            staging: Staging::new(),
            progress: Progress::default(),
            unfinished: Unfinished::default(),
            site: CallSite {
                now: UnixNanos(1),
                tick_ns: TICK_NS,
                symbol: SYMBOL,
                ts_event: UnixNanos(1),
                root: Identity::default(),
                timer_ns: 0,
                timer: 0,
                seed: 1,
                handler: 0,
                source: SourceId::NONE,
                crosses_symbols: false,
            },
            slot: event.slots()[0],
        }
    }

    #[inline]
    fn dispatch(&mut self, sizes: &[u64]) {
        for size in sizes {
            self.slot.payload_mut::<Trade>().size = black_box(*size);
            self.progress = Progress::default();
            let mut call = Call {
                cx: Ctx::new(self.site, &mut self.staging),
                progress: &mut self.progress,
                unfinished: &mut self.unfinished,
                letters: None,
            };
            self.bus.on_event(EventRef::single(&self.slot), &mut call);
        }
    }

    fn sums(&mut self) -> Vec<u64> {
        self.staging.clear();
        self.dispatch(&[0]);
        let answers = tapeline_core::event::events(self.staging.slots());
        let sums = answers.map(|answer| answer.get::<Trade>().expect("handlers answer with trades").size).collect();
        self.staging.clear();
        sums
    }
}

/// `tapeline_core::bus` with handlers in the dynamic table.
pub struct Dynamic(Rig<End>);

impl Dispatcher for Dynamic {
    fn new(handlers: usize) -> Self {
        let mut builder = BusBuilder::new(SYMBOLS);
        macro_rules! add {
            ($($number:literal)*) => {
                $(if $number < handlers { builder = builder.dynamic(0, Adder::<$number>); })*
            };
        }
        add!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
        add!(40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
        Self(Rig::new(builder))
    }

    #[inline]
    fn dispatch(&mut self, sizes: &[u64]) {
        self.0.dispatch(sizes);
    }

    fn sums(&mut self) -> Vec<u64> {
        self.0.sums()
    }
}

type One = Link<End, Adder<0>>;
type Three = Link<Link<One, Adder<1>>, Adder<2>>;
type Four = Link<Three, Adder<3>>;
type Seven = Link<Link<Link<Four, Adder<4>>, Adder<5>>, Adder<6>>;
type Ten = Link<Link<Link<Seven, Adder<7>>, Adder<8>>, Adder<9>>;

/// `tapeline_core::bus` with a static chain of 1, 3 or 10 handlers.
#[allow(private_interfaces)]
pub enum Static {
    #[doc(hidden)]
    One(Box<Chained<One>>),
    #[doc(hidden)]
    Three(Box<Chained<Three>>),
    #[doc(hidden)]
    Ten(Box<Chained<Ten>>),
}

/// A bus of a static chain.
#[doc(hidden)]
pub struct Chained<C: Chain>(Rig<C>);

impl Dispatcher for Static {
    fn new(handlers: usize) -> Self {
        let one = BusBuilder::new(SYMBOLS).then(Adder::<0>);
        match handlers {
            1 => Self::One(Box::new(Chained(Rig::new(one)))),
            3 => Self::Three(Box::new(Chained(Rig::new(one.then(Adder::<1>).then(Adder::<2>))))),
            10 => {
                let seven = one
                    .then(Adder::<1>)
                    .then(Adder::<2>)
                    .then(Adder::<3>)
                    .then(Adder::<4>)
                    .then(Adder::<5>)
                    .then(Adder::<6>);
                let ten = seven.then(Adder::<7>).then(Adder::<8>).then(Adder::<9>);
                Self::Ten(Box::new(Chained(Rig::new(ten))))
            }
            other => panic!("chains of 1, 3 and 10 handlers are compiled, not of {other}"),
        }
    }

    // One branch a batch picks the chain.
    #[inline]
    fn dispatch(&mut self, sizes: &[u64]) {
        match self {
            Self::One(chain) => chain.0.dispatch(sizes),
            Self::Three(chain) => chain.0.dispatch(sizes),
            Self::Ten(chain) => chain.0.dispatch(sizes),
        }
    }

    fn sums(&mut self) -> Vec<u64> {
        match self {
            Self::One(chain) => chain.0.sums(),
            Self::Three(chain) => chain.0.sums(),
            Self::Ten(chain) => chain.0.sums(),
        }
    }
}
