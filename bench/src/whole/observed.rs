//! `duel obs`: what looking costs (P21).
//!
//! The same shard without a probe, and with the one of `tapeline replay`: a stamp at both ends of a batch, the histogram of service times, the
//! scheduler's gaps, and in one batch of 16 a stamp at each handler. Counters are plain cells of the shard and cannot be turned off: both have them.

use super::{BATCH, Bare, Feed, Rig, Turns};
use crate::duel::{self, Entry, Options, Role};
use crate::report::{Claim, Rival, Table};
use crate::single::{self, Meter};
use tapeline_core::bus::{BusBuilder, Chain, End};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{EventRef, Slot};
use tapeline_core::shard::{Config, Probe};
use tapeline_core::units::{SourceId, SymbolId};
use tapeline_runtime::clock::RunClock;
use tapeline_runtime::input::generate::{self, GenerateInput};
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::pipeline::{self, Parameters, default_pipeline};
use tapeline_runtime::station::shard::RunProbe;

/// Metrics of a slice.
const METRICS: [&str; 1] = ["event_ns"];
/// Symbols of the generated session.
const GENERATED_SYMBOLS: u32 = 500;
/// Events of the session: more than any run of this takes.
const SESSION_EVENTS: u64 = 180_000_000;
/// Mean capture time between two of them.
const EVENT_NS: u64 = 20_000;
/// Batches before the first slice.
const WARM_UP: usize = 400;

/// The bus of the default pipeline.
pub type Defaults = pipeline::Defaults;
/// The probe of a replay.
pub type Observed = RunProbe;

/// A generated session as it goes on, with the definitions of its names before the events that use them.
pub(crate) struct Session {
    input: GenerateInput,
    catalog: Catalog,
    symbols: usize,
    sources: usize,
    buf: SlotBuf,
    at: usize,
}

impl Session {
    fn new(catalog: Catalog, seed: u64) -> Self {
        let config = generate::Config {
            events: SESSION_EVENTS,
            duration_ns: SESSION_EVENTS * EVENT_NS,
            symbols: GENERATED_SYMBOLS,
            seed,
            ..generate::Config::default()
        };
        let input = GenerateInput::new(&config).expect("the parameters are in range");
        let (symbols, sources) = (catalog.symbols(), catalog.sources());
        Self { input, catalog, symbols, sources, buf: SlotBuf::with_capacity(2 * MESSAGE_SLOTS_MAX), at: 0 }
    }

    /// The next whole event.
    fn event(&mut self) -> EventRef<'_> {
        if self.at == self.buf.slots().len() {
            self.buf.clear();
            self.at = 0;
            let status = self.input.read(&mut self.catalog, &mut self.buf).expect("a generated session reads");
            assert!(status == Status::More, "the session is long enough");
        }
        EventRef::first(&self.buf.slots()[self.at..]).expect("inputs give whole events")
    }
}

impl Feed for Session {
    fn next(&mut self, out: &mut Vec<Slot>) -> usize {
        let mut events = 0;
        loop {
            let span = self.event().slots().len();
            while self.sources < self.catalog.sources() {
                out.extend_from_slice(self.catalog.source_def(SourceId(self.sources as u8)).slots());
                self.sources += 1;
            }
            while self.symbols < self.catalog.symbols() {
                out.extend_from_slice(self.catalog.symbol_def(SymbolId(self.symbols as u32)).slots());
                self.symbols += 1;
            }
            if out.len() + span > BATCH {
                return events;
            }
            out.extend_from_slice(&self.buf.slots()[self.at..self.at + span]);
            self.at += span;
            events += 1;
        }
    }
}

/// The default pipeline and a generated session for it.
pub(crate) fn default_rig<P: Probe>(seed: u64, probe: P) -> Rig<Defaults, P, Session> {
    let symbols_max = GENERATED_SYMBOLS as usize + 8;
    let mut catalog = Catalog::new(symbols_max);
    let builder: BusBuilder<End> = BusBuilder::new(symbols_max);
    let bus = default_pipeline(builder, &Parameters::default()).build(&mut catalog).expect("the names fit");
    let config = Config { timers_max: 4 * symbols_max, ..Config::single() };
    Rig::new(config, catalog.clone(), bus, probe, Session::new(catalog, seed))
}

fn entry<'a, C: Chain + 'a, P: Probe + 'a, F: Feed + 'a>(
    name: &'static str,
    role: Role,
    options: &'a Options,
    clock: &'a RunClock,
    build: impl Fn() -> Rig<C, P, F> + 'a,
) -> Entry<'a> {
    let warm_up = if options.is_check() { 1 } else { WARM_UP };
    let build = move || {
        let mut rig = build();
        let events: usize = (0..warm_up).map(|_| step(&mut rig, clock, &mut Meter::new(1))).sum();
        rig.check(events as u64);
        rig
    };
    single::entry(name, role, options, METRICS.len(), build, |rig, meter| {
        step(rig, clock, meter);
    })
}

fn step<C: Chain, P: Probe, F: Feed>(rig: &mut Rig<C, P, F>, clock: &RunClock, meter: &mut Meter) -> usize {
    let events = rig.fill(clock.now_ns());
    meter.time(0, || rig.drain());
    meter.count(0, events);
    events
}

/// Runs the duels and gives each table to `done`.
pub fn duel(options: &Options, done: &mut dyn FnMut(Table)) {
    let clock = RunClock::start();
    let probe = || RunProbe::new(clock.clone());
    for has_dues in [false, true] {
        let entries = [
            entry("observed", Role::Ours, options, &clock, || Rig::<Bare, _, Turns>::bare(0, has_dues, probe())),
            entry("not observed", Role::Control, options, &clock, || Rig::<Bare, _, Turns>::bare(0, has_dues, ())),
        ];
        let name = if has_dues { "obs, two averages, paced" } else { "obs, two averages" };
        done(table(name, &entries, options, if has_dues { 1.0 } else { 1.03 }));
    }
    let entries = [
        entry("observed", Role::Ours, options, &clock, || default_rig(options.seed, probe())),
        entry("not observed", Role::Control, options, &clock, || default_rig(options.seed, ())),
    ];
    done(table("obs, default pipeline", &entries, options, 1.03));
}

/// A ratio is claimed for unpaced runs; for paced ones the target is a difference, 8 ns an event.
fn table(name: &'static str, entries: &[Entry<'_>], options: &Options, limit: f64) -> Table {
    let claims = [Claim::at_most("P21 with stamps and histograms against without", 0, Rival::Control, limit, 1.0)];
    let records = duel::run(entries, options);
    Table::new(
        name,
        "ns an event, one thread; both are the same shard with the same events. Counters cannot be turned off and are in both. Paced: each event \
         has a due time and one record in the histogram of response times; the target there is a difference of 8 ns",
        &METRICS,
        entries,
        records,
        if limit > 1.0 { &claims } else { &[] },
        options,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_session_goes_on_with_nothing_refused() {
        let mut rig = default_rig(3, ());
        let events: usize = (0..50)
            .map(|_| {
                let events = rig.fill(0);
                rig.drain();
                events
            })
            .sum();
        rig.check(events as u64);
        assert!(events > 10_000 && rig.shard().digest().outputs() > 0);
    }
}
