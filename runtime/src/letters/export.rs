//! From the shards of a run to a file.

use super::{Letter, Letters};
use crate::tape::format::cause_of;
use crate::tape::{TapeOptions, TapeWriter};
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::io::Write;
use tapeline_core::bus::Chain;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Cause, DEAD_CAUSE_NONE, DeadLetter, DeadLetterRest, Tick};
use tapeline_core::event::{EventBuf, EventRef, Flags, Identity, Slot, events};
use tapeline_core::hash;
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::shard::{INVALID, INVALID_NAME, NO_ROOM, NO_ROOM_NAME, Probe, Shard};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// What one shard has parked at its end, as events of the kind `dead_letter`.
#[derive(Debug, Default)]
pub struct Parked {
    /// Letters, whole spans, in the order of last failures.
    slots: Vec<Slot>,
    /// Letters whose event has no room for its record beside it.
    too_long: u64,
    /// The shard's names.
    catalog: Option<Catalog>,
}

impl Parked {
    /// Letters of a shard with these names.
    #[cfg(test)]
    pub(super) fn new(slots: Vec<Slot>, catalog: Catalog) -> Self {
        Self { slots, too_long: 0, catalog: Some(catalog) }
    }
}

/// What became of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exported {
    /// Letters in the file.
    pub letters: u64,
    /// Letters that are not, because their event is as long as an event can be.
    pub too_long: u64,
    /// Letters of the file that were redriven and keep their history.
    pub redriven: u64,
}

/// Name of the handler of a dead letter; [`NO_ROOM_NAME`] for what its topic had no room for and [`INVALID_NAME`] for what breaks its schema, which no
/// handler has seen.
pub(crate) fn name_of(handlers: &[&'static str], handler: u16) -> &'static str {
    match handlers.get(usize::from(handler)) {
        Some(name) => name,
        None if handler == NO_ROOM => NO_ROOM_NAME,
        None if handler == INVALID => INVALID_NAME,
        None => "unknown",
    }
}

/// What `shard` has among its dead letters now: what is parked, and, where a run was cut short, what waits for a retry. Allocates: for
/// the end of a run.
#[must_use]
pub fn parked<C: Chain, P: Probe>(shard: &Shard<C, P>) -> Parked {
    let mut parked = Parked { catalog: Some(shard.catalog().clone()), ..Parked::default() };
    let mut scratch = [Slot::ZERO; SPAN_SLOTS_MAX];
    let mut packed = EventBuf::new(&Tick::default());
    for (handle, entry) in shard.letters().iter() {
        let Some(event) = shard.letters().event(handle, &mut scratch) else { continue };
        let rest = DeadLetterRest {
            handler: hash::stable(name_of(shard.handler_names(), entry.handler()).as_bytes()),
            failures: entry.failures(),
            error: entry.error().unwrap_or_default(),
            attempts: entry.attempts(),
            cause: entry.cause().map_or(DEAD_CAUSE_NONE, |cause| cause as u8),
            redrives: entry.redrives(),
            policy: entry.policy(),
            ..DeadLetterRest::default()
        };
        match DeadLetter::pack(event, entry.first_failure(), entry.last_failure(), &rest, &mut packed) {
            Ok(()) => parked.slots.extend_from_slice(packed.slots()),
            Err(_) => parked.too_long += 1,
        }
    }
    parked
}

/// Writes the letters of all shards as a tape, in the order of last failures, and by names where failures share an instant: the file
/// does not depend on the number of shards.
///
/// `redriven` are the letters whose events the run replayed again ([`Letters::redrive`]): an event on which the same handler failed
/// again keeps what its letter there says of the past, its first failure, its failures so far, and how often it was redriven. Equal
/// events take their histories in the order of last failures.
///
/// # Errors
/// A line that says why it could not be written.
pub fn export(
    shards: &[Parked],
    redriven: Option<&Letters>,
    generated: bool,
    out: impl Write,
) -> Result<Exported, String> {
    let mut past = Past::of(redriven);
    // Every definition goes to every shard: the longest catalog has them all, under the ids of all.
    let catalog = shards.iter().filter_map(|parked| parked.catalog.as_ref());
    let empty = Catalog::new(2);
    let catalog = catalog.max_by_key(|catalog| (catalog.symbols(), catalog.sources())).unwrap_or(&empty);
    let mut letters: Vec<EventRef<'_>> = shards.iter().flat_map(|parked| events(&parked.slots)).collect();
    letters.sort_by(|a, b| order(catalog, *a, *b));
    let options =
        TapeOptions { made_by: "tapeline replay --dead-letters".to_owned(), generated, ..TapeOptions::default() };
    let mut exported = Exported { too_long: shards.iter().map(|parked| parked.too_long).sum(), ..Exported::default() };
    let written = TapeWriter::new(out, options).and_then(|mut tape| {
        // Names of handlers among them: letters hold their hashes only.
        tape.define_all(catalog)?;
        let mut slots = Vec::with_capacity(SPAN_SLOTS_MAX);
        for letter in letters {
            exported.letters += 1;
            slots.clear();
            slots.extend_from_slice(letter.slots());
            let rest = DeadLetterRest::of(letter).expect("Invariant: it was packed above");
            let mut rest = DeadLetterRest { order: exported.letters, ..*rest };
            if let Some(before) = past.take(catalog, letter, rest.handler) {
                exported.redriven += 1;
                rest.failures = rest.failures.saturating_add(before.failures);
                rest.redrives = before.redrives.saturating_add(1);
                let record = DeadLetter { first_failure_ns: before.first_failure.0, ..*slots[0].payload_as() };
                slots[0].payload = bytemuck::must_cast(record);
            }
            slots[1] = Slot::continuation(bytemuck::must_cast(rest));
            tape.write(catalog, &slots)?;
        }
        tape.finish()
    });
    written.map(|_| exported).map_err(|error| error.to_string())
}

fn order(catalog: &Catalog, a: EventRef<'_>, b: EventRef<'_>) -> Ordering {
    let handler = |event: EventRef<'_>| DeadLetterRest::of(event).map(|rest| rest.handler);
    let (left, right) = (a.head(), b.head());
    left.ts_recv
        .cmp(&right.ts_recv)
        .then_with(|| catalog.symbol_text(left.symbol).cmp(catalog.symbol_text(right.symbol)))
        .then_with(|| catalog.source_name(left.source).cmp(catalog.source_name(right.source)))
        .then_with(|| (left.seq, left.part).cmp(&(right.seq, right.part)))
        .then_with(|| handler(a).cmp(&handler(b)))
}

/// The histories of letters that were redriven, to be found by event and handler.
#[derive(Default)]
struct Past<'a>(HashMap<Trace, VecDeque<&'a Letter>>);

impl<'a> Past<'a> {
    fn of(letters: Option<&'a Letters>) -> Self {
        let mut past = Self::default();
        let Some(letters) = letters else { return past };
        for letter in letters.all() {
            past.0
                .entry(Trace::of(letters.catalog(), letter.event(), letter.handler_hash))
                .or_default()
                .push_back(letter);
        }
        past
    }

    /// The history of the event that `letter` holds, once.
    fn take(&mut self, catalog: &Catalog, letter: EventRef<'_>, handler: u64) -> Option<&'a Letter> {
        if self.0.is_empty() {
            return None;
        }
        let mut event = EventBuf::new(&Tick::default());
        let event = DeadLetter::unpack(letter, &mut event).then(|| EventRef::first(event.slots())).flatten()?;
        self.0.get_mut(&Trace::of(catalog, event, handler))?.pop_front()
    }
}

/// What tells an event and a handler apart from all others, in whatever run: names for ids, and nothing that a redrive changes, which
/// are the time of receipt and the mark of a message's end.
#[derive(PartialEq, Eq, Hash)]
struct Trace {
    handler: u64,
    /// Hashes of the names of the event's symbol and source.
    names: [u64; 2],
    event: Vec<u8>,
}

impl Trace {
    fn of(catalog: &Catalog, event: EventRef<'_>, handler: u64) -> Self {
        let mut slots = event.slots().to_vec();
        if let Some(cause) = cause_of(&slots) {
            // It has the hashes of its names beside their ids.
            let root = Identity { symbol: SymbolId::NONE, source: SourceId::NONE, ..cause.root };
            let cause = Cause { root, ..*cause };
            let last = slots.len() - 1;
            slots[last] = Slot::continuation(bytemuck::must_cast(cause));
        }
        let head = &mut slots[0];
        let names = [catalog.symbol_hash(head.symbol), catalog.source_hash(head.source)];
        *head = Slot {
            tag: 0,
            symbol: SymbolId::NONE,
            source: SourceId::NONE,
            ts_recv: UnixNanos::ZERO,
            flags: head.flags.without(Flags::LAST),
            ..*head
        };
        slots[1..].iter_mut().for_each(|slot| slot.tag = 0);
        Self { handler, names, event: bytemuck::cast_slice(&slots).to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letters::Letters;
    use tapeline_core::bus::BusBuilder;
    use tapeline_core::catalog::SeqRule;
    use tapeline_core::event::payload::News;
    use tapeline_core::event::{Kind, KindSet};
    use tapeline_core::ring;
    use tapeline_core::shard::Config;
    use tapeline_core::topics::{Bus, Policy, Topic};

    #[test]
    fn req_3454_a_letter_that_found_no_room_says_so_by_name() {
        let mut catalog = Catalog::new(4);
        let symbol = catalog.symbol(b"SYM").unwrap();
        let source = catalog.source(b"feed", SeqRule::Increasing).unwrap();
        let bus = BusBuilder::new(4).build(&mut catalog).unwrap();
        let news = Topic { policy: Policy::DeadLetter, ..Topic::new("news", KindSet::one(Kind::NEWS), 1) };
        let config = Config { live: Some(vec![Bus::new("bus", vec![news])]), ..Config::single() };
        let (mut ring, consumer) = ring::channel(64);
        let mut shard = Shard::new(config, catalog, bus, (), consumer, vec![], vec![]);
        for seq in 1..=2 {
            let mut event = EventBuf::new(&News::default());
            let head = event.head_mut();
            (head.symbol, head.source, head.seq) = (symbol, source, seq);
            ring.push(event.slots()).unwrap();
        }
        let _ = shard.step(&mut ());
        let path = std::env::temp_dir().join(format!("tapeline-no-room-{}.tape", std::process::id()));
        let exported = export(&[parked(&shard)], None, false, std::fs::File::create(&path).unwrap()).unwrap();
        assert_eq!(exported, Exported { letters: 1, ..Exported::default() });
        let letters = Letters::read(path.to_str().unwrap(), 16).unwrap();
        std::fs::remove_file(path).unwrap();
        let letter = &letters.all()[0];
        assert_eq!((letter.seq, letter.handler.as_str(), letter.error_text().as_str()), (2, "no_room", "no_room"));
    }
}
