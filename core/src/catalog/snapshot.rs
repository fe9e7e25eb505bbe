//! The catalog as a [section](crate::section) of plain bytes, and back.
//!
//! Name "catalog", version 1; the capacity is that of symbols, the count the symbols known, id 0 included. The body: number of sources; the
//! length of each symbol and all their texts; length, rule of counting and text of each source. All is written as long as the tables are,
//! zeros behind the last. Hashes, routing slots and the tables by text follow from the texts and are built anew.

use super::{Catalog, Names, SeqRule, symbol_arena_bytes};
use crate::invariant::{Broken, require};
use crate::limits::{SOURCE_BYTES_MAX, SOURCES_MAX, SYMBOL_BYTES_MAX};
use crate::section::{self, HEADER_BYTES, Reader, RestoreError, Section, Shape, Writer};

const NAME: &str = "catalog";
const LAYOUT: &str = "u64: sources; symbols: length u8 * capacity, texts 32 bytes * capacity, 192 at least; sources: rule u8 * 256, \
    length u8 * 256, texts 64 bytes * 256";
const SOURCE_ARENA_BYTES: usize = SOURCES_MAX * SOURCE_BYTES_MAX;

const _: () = {
    assert!(SYMBOL_BYTES_MAX < 256, "the length of a symbol is a byte");
    assert!(SOURCE_BYTES_MAX < 256, "the length of a source's name is a byte");
};

fn shape(symbols_max: usize) -> Shape {
    Shape { name: NAME, version: 1, element: 1, layout: LAYOUT, capacity: symbols_max as u64 }
}

fn body_bytes(symbols_max: usize) -> usize {
    8 + symbols_max + symbol_arena_bytes(symbols_max) + 2 * SOURCES_MAX + SOURCE_ARENA_BYTES
}

fn zeros(body: &mut Writer<'_>, bytes: usize) {
    for _ in 0..bytes {
        body.slice(&[0_u8]);
    }
}

impl Names {
    fn write(&self, body: &mut Writer<'_>) {
        for id in 0..self.len() {
            body.slice(&[self.text(id).len() as u8]);
        }
        zeros(body, self.capacity - self.len());
        body.slice(&self.arena);
        zeros(body, self.arena_bytes - self.arena.len());
    }
}

/// The texts of one sort, in the order of their ids, each given to `intern`, which says the id that it got.
fn read(
    (count, capacity, arena_bytes): (usize, usize, usize),
    body: &mut Reader<'_>,
    mut intern: impl FnMut(&[u8]) -> Option<usize>,
) -> Result<(), RestoreError> {
    let invalid = |rule, at: usize| RestoreError::Invalid { name: NAME, broken: Broken { rule, at: at as u64 } };
    let lengths = body.bytes(capacity)?;
    let mut rest = body.bytes(arena_bytes)?;
    if count == 0 || count > capacity || lengths[0] != 0 {
        return Err(invalid("id 0 is the empty text, and there is room for every id", count));
    }
    for (id, length) in lengths[..count].iter().enumerate().skip(1) {
        let Some((text, behind)) = rest.split_at_checked(usize::from(*length)) else {
            return Err(invalid("a text is whole", id));
        };
        rest = behind;
        if intern(text) != Some(id) {
            return Err(invalid("a text is new, not empty and not too long", id));
        }
    }
    let is_empty = lengths[count..].iter().chain(rest).all(|byte| *byte == 0);
    require(is_empty, "nothing is behind the last text", count)
        .map_err(|broken| RestoreError::Invalid { name: NAME, broken })
}

impl Catalog {
    /// Bytes of a [`Catalog::snapshot`] of this catalog: always the same, whatever it knows.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        HEADER_BYTES + body_bytes(self.symbols_max())
    }

    /// Appends the catalog as a section of plain bytes. O(capacity). Allocates only if `out` has less room than
    /// [`Catalog::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let symbols_max = self.symbols_max();
        section::write(out, &shape(symbols_max), self.symbols() as u64, body_bytes(symbols_max), |body| {
            body.u64(self.sources() as u64);
            self.symbols.write(body);
            for rule in &self.seq_rule {
                body.slice(&[*rule as u8]);
            }
            zeros(body, SOURCES_MAX - self.seq_rule.len());
            self.sources.write(body);
        });
    }

    /// The catalog that [`Catalog::snapshot`] wrote: every name has the id that it had. Allocates as [`Catalog::new`] does. O(capacity).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of another capacity, or breaks a rule.
    ///
    /// # Panics
    /// As [`Catalog::new`], for the capacity that the caller asks for.
    pub fn restore(symbols_max: usize, section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut body = section.expect(&shape(symbols_max))?;
        let mut catalog = Self::new(symbols_max);
        let known = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let (symbols, sources) = (known(section.count()), known(body.u64()?));
        let sizes = (symbols, symbols_max, symbol_arena_bytes(symbols_max));
        read(sizes, &mut body, |text| catalog.symbol(text).ok().map(|id| id.index()))?;
        let rules = body.bytes(SOURCES_MAX)?;
        let mut id = 0;
        read((sources, SOURCES_MAX, SOURCE_ARENA_BYTES), &mut body, |name| {
            id += 1;
            catalog.source(name, SeqRule::from_u8(rules[id])).ok().map(|id| id.index())
        })?;
        body.finish()?;
        let is_rule = |(id, rule): (usize, &u8)| {
            let rule_of_id = catalog.seq_rule.get(id).copied().unwrap_or_default();
            *rule == rule_of_id as u8
        };
        let wild = rules.iter().enumerate().position(|rule| !is_rule(rule));
        require(wild.is_none(), "a rule of counting is one that there is", wild.unwrap_or(0))
            .map_err(|broken| RestoreError::Invalid { name: NAME, broken })?;
        Ok(catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};
    use crate::units::{SourceId, SymbolId};

    fn lived(seed: u64, symbols_max: usize, names: usize) -> Catalog {
        let (mut catalog, mut prng) = (Catalog::new(symbols_max), Prng::new(seed));
        for _ in 0..names {
            step(&mut catalog, &mut prng);
        }
        catalog
    }

    fn step(catalog: &mut Catalog, prng: &mut Prng) -> (Option<SymbolId>, Option<SourceId>) {
        let text = format!("{}{}", ["A", "BINANCE_SPOT:", ""][prng.index(3)], prng.index(300));
        let long = "L".repeat(prng.index(SYMBOL_BYTES_MAX + 2));
        let symbol = if prng.one_in(10) { long.as_bytes() } else { text.as_bytes() };
        let rule = SeqRule::from_u8(prng.index(4) as u8);
        let source = if prng.one_in(4) { catalog.source(format!("source.{text}").as_bytes(), rule).ok() } else { None };
        (catalog.symbol(symbol).ok(), source)
    }

    fn snapshot(catalog: &Catalog) -> Vec<u8> {
        let mut out = Vec::with_capacity(catalog.snapshot_bytes());
        let room = out.as_ptr();
        catalog.snapshot(&mut out);
        assert_eq!((out.len(), out.as_ptr()), (catalog.snapshot_bytes(), room));
        out
    }

    fn assert_same(a: &Catalog, b: &Catalog) {
        assert_eq!((a.symbols(), a.sources()), (b.symbols(), b.sources()));
        for id in (0..a.symbols() as u32).map(SymbolId) {
            assert_eq!(a.symbol_text(id), b.symbol_text(id));
            assert_eq!((a.symbol_hash(id), a.route_slot(id)), (b.symbol_hash(id), b.route_slot(id)));
            assert_eq!(b.find_symbol(a.symbol_text(id)), Some(id));
        }
        for id in (0..a.sources() as u8).map(SourceId) {
            assert_eq!(a.source_name(id), b.source_name(id));
            assert_eq!((a.source_hash(id), a.seq_rule(id)), (b.source_hash(id), b.seq_rule(id)));
        }
    }

    #[test]
    fn a_restored_catalog_goes_on_as_the_first_would() {
        for_seeds(0..60, |seed, prng| {
            let symbols_max = [2, 3, 40, 500][seed as usize % 4];
            let mut first = lived(seed, symbols_max, prng.index(200));
            let bytes = snapshot(&first);
            let mut second = Catalog::restore(symbols_max, &bytes).unwrap();
            assert_same(&first, &second);
            assert_eq!((snapshot(&second), first.bytes()), (bytes, second.bytes()));
            let mut same = prng.clone();
            for _ in 0..100 {
                assert_eq!(step(&mut first, prng), step(&mut second, &mut same));
            }
            assert_same(&first, &second);
            assert_eq!(snapshot(&first), snapshot(&second));
        });
    }

    #[test]
    fn another_capacity_is_refused_by_name() {
        let bytes = snapshot(&lived(1, 40, 20));
        let refused = Catalog::restore(41, &bytes).unwrap_err().to_string();
        assert_eq!(refused, "the snapshot is of a catalog for 40, this one is for 41");
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let bytes = snapshot(&lived(2, 2, 9));
        every_cut_and_flip_is_refused(&bytes[..], |bytes| Catalog::restore(2, bytes).is_ok());
        let bytes = snapshot(&lived(3, 40, 60));
        let (refused, taken) = sealed_damage(0..20, 200, &bytes, |bytes| {
            Catalog::restore(40, bytes).is_ok_and(|mut catalog| {
                let mut again = Vec::new();
                catalog.snapshot(&mut again);
                assert_eq!(again, bytes, "what was taken is what was there");
                let mut prng = Prng::new(1);
                for _ in 0..50 {
                    step(&mut catalog, &mut prng);
                }
                assert!(catalog.symbols() <= 40);
                true
            })
        });
        assert!(refused > 1_000 && taken > 20, "{refused} {taken}");
    }
}
