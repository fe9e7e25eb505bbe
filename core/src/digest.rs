//! The digest: one number that is equal when two runs made the same outputs.
//!
//! Each symbol has a chain, `c = rapidhash_v3(c ++ canonical bytes of the output)`, and a count. The total is the
//! wrapping sum over the symbols that have outputs of `rapidhash_v3(hash of the name ++ c ++ count)`: it does not depend on
//! how symbols are spread over shards, nor on the order in which shards finish.
//!
//! The canonical bytes hold hashes of names, the cause's identity and index, kind, version, times and payload; never
//! ids, lanes, shards, ring positions or measured times.

use crate::catalog::Catalog;
use crate::event::payload::Cause;
use crate::event::{EventRef, Flags};
use crate::hash;
use crate::invariant::Broken;
use crate::limits::{SPAN_BYTES_MAX, SYMBOLS_MAX};
use crate::section::{Reader, RestoreError, Writer};
use crate::units::SymbolId;

/// Words before the payload: chain, kind and flags with scale, two times, two hashes, the cause's six, and the head's payload.
const HEADER_WORDS: usize = 15;
const WORDS_MAX: usize = HEADER_WORDS + SPAN_BYTES_MAX / 8;

/// What a snapshot says of outputs that are not those of its symbols.
const OUTPUTS: Broken = Broken { rule: "outputs are those of all symbols", at: 0 };

/// Chains of a shard's symbols.
#[derive(Clone)]
pub struct Digest {
    chain: Box<[u64]>,
    count: Box<[u64]>,
    outputs: u64,
    /// The canonical bytes under construction.
    words: Box<[u64; WORDS_MAX]>,
}

impl Digest {
    /// A digest for symbols `0..symbols_max`, without outputs. The memory is zero pages until it is used.
    ///
    /// # Panics
    /// When `symbols_max` is above [`SYMBOLS_MAX`].
    #[must_use]
    pub fn new(symbols_max: usize) -> Self {
        assert!(symbols_max <= SYMBOLS_MAX, "at most {SYMBOLS_MAX} symbols");
        Self {
            chain: bytemuck::allocation::zeroed_slice_box(symbols_max),
            count: bytemuck::allocation::zeroed_slice_box(symbols_max),
            outputs: 0,
            words: Box::new([0; WORDS_MAX]),
        }
    }

    /// Bytes of [`Digest::write`].
    pub(crate) fn section_bytes(&self) -> usize {
        8 + self.bytes()
    }

    /// Writes it into the section of its shard.
    pub(crate) fn write(&self, body: &mut Writer<'_>) {
        body.u64(self.outputs);
        body.slice(&self.chain);
        body.slice(&self.count);
    }

    /// Reads what [`Digest::write`] wrote by one of as many symbols.
    pub(crate) fn read(symbols_max: usize, body: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut digest = Self::new(symbols_max);
        digest.outputs = body.u64()?;
        body.fill(&mut digest.chain)?;
        body.fill(&mut digest.count)?;
        // A count that has no room to grow is no count of outputs.
        let is_sum = digest.count.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)) == Some(digest.outputs);
        if is_sum { Ok(digest) } else { Err(RestoreError::Invalid { name: "shard", broken: OUTPUTS }) }
    }

    /// Takes an output of the head's symbol. O(length), no allocation.
    ///
    /// # Panics
    /// When the symbol is not below `symbols_max`: admission refuses such events.
    pub fn absorb(&mut self, catalog: &Catalog, event: EventRef<'_>) {
        let head = event.head();
        let symbol = head.symbol.index();
        let words = &mut self.words;
        let cause = Cause::of(event).copied().unwrap_or_default();
        let header: [u64; HEADER_WORDS] = [
            self.chain[symbol],
            u64::from(head.kind.0) | u64::from(head.flags.without(Flags::LAST).0) << 16 | u64::from(head.scale) << 24,
            head.ts_recv.0,
            head.ts_event.0,
            catalog.symbol_hash(head.symbol),
            catalog.source_hash(head.source),
            cause.symbol_hash,
            cause.source_hash,
            cause.root.seq,
            u64::from(cause.root.part) | u64::from(cause.index) << 32,
            cause.timer_ns,
            cause.timer,
            head.payload[0],
            head.payload[1],
            head.payload[2],
        ];
        words[..HEADER_WORDS].copy_from_slice(&header);
        let mut len = HEADER_WORDS;
        let tail = event.tail();
        let tail = if head.flags.contains(Flags::DERIVED) { &tail[..tail.len().saturating_sub(1)] } else { tail };
        for slot in tail {
            words[len..len + 7].copy_from_slice(slot.continuation_words());
            len += 7;
        }
        self.chain[symbol] = hash::stable(bytemuck::cast_slice(&words[..len]));
        self.count[symbol] += 1;
        self.outputs += 1;
    }

    /// Outputs so far.
    #[must_use]
    pub fn outputs(&self) -> u64 {
        self.outputs
    }

    /// This shard's part of the total; the parts of all shards are added, wrapping. O(symbols).
    #[must_use]
    pub fn total(&self, catalog: &Catalog) -> u64 {
        (0..catalog.symbols().min(self.chain.len()))
            .filter(|&symbol| self.count[symbol] > 0)
            .map(|symbol| {
                let name = catalog.symbol_hash(SymbolId(symbol as u32));
                hash::stable(bytemuck::bytes_of(&[name, self.chain[symbol], self.count[symbol]]))
            })
            .fold(0, u64::wrapping_add)
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (self.chain.len() + self.count.len()) * 8
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digest").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::SeqRule;
    use crate::event::EventBuf;
    use crate::event::payload::Alert;
    use crate::units::UnixNanos;

    fn catalog(order: [&str; 3]) -> Catalog {
        let mut catalog = Catalog::new(16);
        order.iter().for_each(|text| {
            catalog.symbol(text.as_bytes()).unwrap();
        });
        catalog.source(b"handler.test", SeqRule::None).unwrap();
        catalog
    }

    fn output(catalog: &Catalog, symbol: &str, value: f64) -> EventBuf {
        let mut event = EventBuf::new(&Alert { value, ..Alert::default() });
        event.head_mut().symbol = catalog.find_symbol(symbol.as_bytes()).unwrap();
        event.head_mut().ts_recv = UnixNanos(5);
        event
    }

    fn run(catalog: &Catalog, shards: usize, outputs: &[(&str, f64)]) -> u64 {
        let mut digests = vec![Digest::new(16); shards];
        for (symbol, value) in outputs {
            let event = output(catalog, symbol, *value);
            let event = EventRef::first(event.slots()).unwrap();
            digests[event.head().symbol.index() % shards].absorb(catalog, event);
        }
        digests.iter().map(|digest| digest.total(catalog)).fold(0, u64::wrapping_add)
    }

    #[test]
    fn ids_and_shards_do_not_matter_and_order_within_a_symbol_does() {
        let outputs = [("A", 1.0), ("B", 2.0), ("A", 3.0), ("C", 1.0)];
        let one = run(&catalog(["A", "B", "C"]), 1, &outputs);
        assert_eq!(one, run(&catalog(["C", "A", "B"]), 1, &outputs), "other ids");
        assert_eq!(one, run(&catalog(["A", "B", "C"]), 3, &outputs), "three shards");
        assert_eq!(one, run(&catalog(["A", "B", "C"]), 1, &[("B", 2.0), ("A", 1.0), ("C", 1.0), ("A", 3.0)]));
        assert_ne!(one, run(&catalog(["A", "B", "C"]), 1, &[("A", 3.0), ("B", 2.0), ("A", 1.0), ("C", 1.0)]));
        assert_ne!(one, run(&catalog(["A", "B", "C"]), 1, &outputs[..3]));
        assert_ne!(one, run(&catalog(["A", "B", "C"]), 1, &[("A", 1.0), ("B", 2.0), ("A", 3.0), ("B", 1.0)]));
    }
}
