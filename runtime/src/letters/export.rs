//! From the shards of a run to a file.

use crate::tape::{TapeOptions, TapeWriter};
use std::cmp::Ordering;
use std::io::Write;
use tapeline_core::bus::Chain;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{DEAD_CAUSE_NONE, DeadLetter, DeadLetterRest, Tick};
use tapeline_core::event::{EventBuf, EventRef, Slot, events};
use tapeline_core::hash;
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::shard::{Probe, Shard};

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

/// What became of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exported {
    /// Letters in the file.
    pub letters: u64,
    /// Letters that are not, because their event is as long as an event can be.
    pub too_long: u64,
}

/// What `shard` has among its dead letters now: what is parked, and, where a run was cut short, what waits for a retry. Allocates: for
/// the end of a run.
#[must_use]
pub fn parked<C: Chain, P: Probe>(shard: &mut Shard<C, P>) -> Parked {
    let names: Vec<u64> = shard.handlers().iter().map(|(name, _)| hash::stable(name.as_bytes())).collect();
    let mut parked = Parked { catalog: Some(shard.catalog().clone()), ..Parked::default() };
    let mut scratch = [Slot::ZERO; SPAN_SLOTS_MAX];
    let mut packed = EventBuf::new(&Tick::default());
    for (handle, entry) in shard.letters().iter() {
        let Some(event) = shard.letters().event(handle, &mut scratch) else { continue };
        let rest = DeadLetterRest {
            handler: names.get(usize::from(entry.handler())).copied().unwrap_or_default(),
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
/// # Errors
/// A line that says why it could not be written.
pub fn export(shards: &[Parked], generated: bool, out: impl Write) -> Result<Exported, String> {
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
            let rest = DeadLetterRest { order: exported.letters, ..*rest };
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
