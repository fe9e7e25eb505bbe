//! Names: the symbols and sources that one authority interns, and their definitions as events.
//!
//! The authority (the ingest thread of a replay, the control thread live) turns texts into ids once, at the edge, and
//! sends each definition down every ring before its first use. Shards keep a [`Catalog`] of their own that they fill
//! from these definitions. Tables are flat and of fixed capacity; a full one refuses.

mod snapshot;

use crate::event::payload::{SourceDef, SymbolDef, text_into};
use crate::event::{EventBuf, EventRef, Kind};
use crate::hash;
use crate::limits::{SOURCE_BYTES_MAX, SOURCES_MAX, SYMBOL_BYTES_MAX, SYMBOLS_MAX};
use crate::route;
use crate::units::{SourceId, SymbolId};

/// Interned texts of one sort, by dense id and by text. Id 0 is the empty text.
///
/// Open addressing over the stable hash with linear probing, at most half full: lookups are O(1) expected. Nothing is
/// ever removed. Allocates in its constructor only.
struct Names {
    /// Text of id i: `arena[start[i]..start[i + 1]]`.
    arena: Vec<u8>,
    start: Vec<u32>,
    hash: Vec<u64>,
    /// id + 1, or 0 for a free cell.
    cells: Box<[u32]>,
    capacity: usize,
    /// Bytes of text that fit: at most what the arena has room for.
    arena_bytes: usize,
}

/// Bytes for the texts of `symbols_max` symbols. Symbols are short: 32 bytes each hold every real market; a table of longer ones fills
/// earlier.
const fn symbol_arena_bytes(symbols_max: usize) -> usize {
    let (usual, least) = (symbols_max * 32, SYMBOL_BYTES_MAX * 2);
    if usual > least { usual } else { least }
}

/// A copy that keeps the capacity of `vec`, so that it never allocates where the original would not.
fn copy_with_capacity<T: Copy>(vec: &Vec<T>) -> Vec<T> {
    let mut copy = Vec::with_capacity(vec.capacity());
    copy.extend_from_slice(vec);
    copy
}

impl Clone for Names {
    fn clone(&self) -> Self {
        Self {
            arena: copy_with_capacity(&self.arena),
            start: copy_with_capacity(&self.start),
            hash: copy_with_capacity(&self.hash),
            cells: self.cells.clone(),
            capacity: self.capacity,
            arena_bytes: self.arena_bytes,
        }
    }
}

impl Names {
    fn new(capacity: usize, arena_bytes: usize) -> Self {
        let mut names = Self {
            arena: Vec::with_capacity(arena_bytes),
            start: Vec::with_capacity(capacity + 1),
            hash: Vec::with_capacity(capacity),
            cells: vec![0; (capacity * 2).next_power_of_two()].into_boxed_slice(),
            capacity,
            arena_bytes,
        };
        names.start.push(0);
        names.append(b"");
        names
    }

    fn len(&self) -> usize {
        self.hash.len()
    }

    fn text(&self, id: usize) -> &[u8] {
        match (self.start.get(id), self.start.get(id + 1)) {
            (Some(&from), Some(&to)) => &self.arena[from as usize..to as usize],
            _ => b"",
        }
    }

    /// The id of `text`, or the free cell where it belongs.
    fn find(&self, text: &[u8], hash: u64) -> Result<usize, usize> {
        let mask = self.cells.len() - 1;
        let mut cell = hash as usize & mask;
        // Ends: at most half of the cells are taken.
        loop {
            match self.cells[cell] {
                0 => return Err(cell),
                id => {
                    let id = id as usize - 1;
                    if self.hash[id] == hash && self.text(id) == text {
                        return Ok(id);
                    }
                }
            }
            cell = (cell + 1) & mask;
        }
    }

    fn fits(&self, text: &[u8]) -> bool {
        self.len() < self.capacity && self.arena.len() + text.len() <= self.arena_bytes
    }

    fn append(&mut self, text: &[u8]) -> usize {
        let hash = hash::stable(text);
        let cell = self.find(text, hash).expect_err("only new texts are appended");
        let id = self.len();
        self.arena.extend_from_slice(text);
        self.start.push(self.arena.len() as u32);
        self.hash.push(hash);
        self.cells[cell] = id as u32 + 1;
        id
    }

    fn bytes(&self) -> usize {
        self.arena.capacity() + self.start.capacity() * 4 + self.hash.capacity() * 8 + self.cells.len() * 4
    }
}

/// How a source counts `seq`. Part of its definition.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SeqRule {
    /// There is no usable number: events carry `UNSEQUENCED`.
    #[default]
    None = 0,
    /// Each message has the number after the one before (MoldUDP64, IEX-TP).
    Contiguous = 1,
    /// As contiguous, for each symbol apart.
    ContiguousPerSymbol = 2,
    /// Numbers grow, and skip by design (Binance).
    Increasing = 3,
}

impl SeqRule {
    /// The rule of that byte; unknown ones are [`SeqRule::None`].
    #[must_use]
    pub const fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Contiguous,
            2 => Self::ContiguousPerSymbol,
            3 => Self::Increasing,
            _ => Self::None,
        }
    }

    /// Name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Contiguous => "contiguous",
            Self::ContiguousPerSymbol => "contiguous_per_symbol",
            Self::Increasing => "increasing",
        }
    }
}

/// Why a name was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The symbol table is full. Holds its capacity.
    #[error("the symbol table is full ({0} symbols); raise it by --symbols-max (engine.symbols_max)")]
    SymbolsFull(usize),
    /// The source table is full.
    #[error("the source table is full ({SOURCES_MAX} sources)")]
    SourcesFull,
    /// A symbol is longer than the limit. Holds its length in bytes.
    #[error("a symbol of {0} bytes is longer than {SYMBOL_BYTES_MAX}")]
    SymbolTooLong(usize),
    /// A source name is longer than the limit. Holds its length in bytes.
    #[error("a source name of {0} bytes is longer than {SOURCE_BYTES_MAX}")]
    SourceTooLong(usize),
    /// A name is empty: the empty text is id 0, "none".
    #[error("a name is empty")]
    Empty,
    /// A definition gives an id that is not the next one, or another text to a known id. Holds the id.
    #[error("the definition of id {0} contradicts an earlier one or skips an id")]
    OutOfOrder(u32),
    /// A definition's text is cut short or its hash is another.
    #[error("the definition of id {0} is damaged")]
    Damaged(u32),
}

/// The symbols and sources of one engine, by id and by text. A clone has the capacity of the original.
pub struct Catalog {
    symbols: Names,
    sources: Names,
    route_slot: Vec<u16>,
    seq_rule: Vec<SeqRule>,
}

impl Clone for Catalog {
    fn clone(&self) -> Self {
        Self {
            symbols: self.symbols.clone(),
            sources: self.sources.clone(),
            route_slot: copy_with_capacity(&self.route_slot),
            seq_rule: copy_with_capacity(&self.seq_rule),
        }
    }
}

impl Catalog {
    /// A catalog for `symbols_max` symbols, the id 0 included. Allocates all that it will ever need.
    ///
    /// # Panics
    /// When `symbols_max` is below 2 or above [`SYMBOLS_MAX`].
    #[must_use]
    pub fn new(symbols_max: usize) -> Self {
        assert!((2..=SYMBOLS_MAX).contains(&symbols_max), "2 to {SYMBOLS_MAX} symbols, not {symbols_max}");
        let mut catalog = Self {
            symbols: Names::new(symbols_max, symbol_arena_bytes(symbols_max)),
            sources: Names::new(SOURCES_MAX, SOURCES_MAX * SOURCE_BYTES_MAX),
            route_slot: Vec::with_capacity(symbols_max),
            seq_rule: Vec::with_capacity(SOURCES_MAX),
        };
        catalog.route_slot.push(0);
        catalog.seq_rule.push(SeqRule::None);
        catalog
    }

    /// The id of a symbol, which is interned if it is new. O(length), no allocation.
    ///
    /// # Errors
    /// When the text is empty or too long, or the table is full.
    pub fn symbol(&mut self, text: &[u8]) -> Result<SymbolId, CatalogError> {
        if text.is_empty() {
            return Err(CatalogError::Empty);
        }
        if text.len() > SYMBOL_BYTES_MAX {
            return Err(CatalogError::SymbolTooLong(text.len()));
        }
        match self.symbols.find(text, hash::stable(text)) {
            Ok(id) => Ok(SymbolId(id as u32)),
            Err(_) if !self.symbols.fits(text) => Err(CatalogError::SymbolsFull(self.symbols.capacity)),
            Err(_) => {
                self.route_slot.push(route::slot_of(text));
                Ok(SymbolId(self.symbols.append(text) as u32))
            }
        }
    }

    /// The id of a source, which is interned if it is new; the rule of a known source stays what it was.
    ///
    /// # Errors
    /// When the name is empty or too long, or the table is full.
    pub fn source(&mut self, name: &[u8], rule: SeqRule) -> Result<SourceId, CatalogError> {
        if name.is_empty() {
            return Err(CatalogError::Empty);
        }
        if name.len() > SOURCE_BYTES_MAX {
            return Err(CatalogError::SourceTooLong(name.len()));
        }
        match self.sources.find(name, hash::stable(name)) {
            Ok(id) => Ok(SourceId(id as u8)),
            Err(_) if !self.sources.fits(name) => Err(CatalogError::SourcesFull),
            Err(_) => {
                self.seq_rule.push(rule);
                Ok(SourceId(self.sources.append(name) as u8))
            }
        }
    }

    /// The id of a symbol, if it is known.
    #[must_use]
    pub fn find_symbol(&self, text: &[u8]) -> Option<SymbolId> {
        self.symbols.find(text, hash::stable(text)).ok().map(|id| SymbolId(id as u32))
    }

    /// Symbols known, id 0 included: ids are `0..symbols()`.
    #[inline]
    #[must_use]
    pub fn symbols(&self) -> usize {
        self.symbols.len()
    }

    /// Symbols that fit, id 0 included.
    #[inline]
    #[must_use]
    pub fn symbols_max(&self) -> usize {
        self.symbols.capacity
    }

    /// Sources known, id 0 included: ids are `0..sources()`.
    #[inline]
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Text of a symbol; empty for id 0 and unknown ids.
    #[must_use]
    pub fn symbol_text(&self, id: SymbolId) -> &[u8] {
        self.symbols.text(id.index())
    }

    /// Name of a source; empty for id 0 and unknown ids.
    #[must_use]
    pub fn source_name(&self, id: SourceId) -> &[u8] {
        self.sources.text(id.index())
    }

    /// Stable hash of a symbol's text; that of the empty text for unknown ids.
    #[inline]
    #[must_use]
    pub fn symbol_hash(&self, id: SymbolId) -> u64 {
        self.symbols.hash.get(id.index()).copied().unwrap_or(self.symbols.hash[0])
    }

    /// Stable hash of a source's name; that of the empty text for unknown ids.
    #[inline]
    #[must_use]
    pub fn source_hash(&self, id: SourceId) -> u64 {
        self.sources.hash.get(id.index()).copied().unwrap_or(self.sources.hash[0])
    }

    /// Routing slot of a symbol; 0 for unknown ids.
    #[inline]
    #[must_use]
    pub fn route_slot(&self, id: SymbolId) -> u16 {
        self.route_slot.get(id.index()).copied().unwrap_or(0)
    }

    /// How a source counts; [`SeqRule::None`] for unknown ids.
    #[must_use]
    pub fn seq_rule(&self, id: SourceId) -> SeqRule {
        self.seq_rule.get(id.index()).copied().unwrap_or_default()
    }

    /// The definition of a symbol as an event.
    #[must_use]
    pub fn symbol_def(&self, id: SymbolId) -> EventBuf {
        let text = self.symbol_text(id);
        let mut event =
            EventBuf::new(&SymbolDef { hash: hash::stable(text), text_bytes: text.len() as u32, reserved: [0; 3] });
        event.head_mut().symbol = id;
        event.push_bytes(text).expect("a symbol fits two continuations");
        event
    }

    /// The definition of a source as an event.
    #[must_use]
    pub fn source_def(&self, id: SourceId) -> EventBuf {
        let name = self.source_name(id);
        let mut event = EventBuf::new(&SourceDef {
            hash: hash::stable(name),
            text_bytes: name.len() as u32,
            seq_rule: self.seq_rule(id) as u8,
            reserved: [0; 11],
        });
        event.head_mut().source = id;
        event.push_bytes(name).expect("a source name fits two continuations");
        event
    }

    /// Takes a definition that an authority made: the id must be known with this text, or the next one.
    /// Events of other kinds are ignored.
    ///
    /// # Errors
    /// When the definition is damaged, contradicts the catalog, or does not fit it.
    pub fn apply(&mut self, event: EventRef<'_>) -> Result<(), CatalogError> {
        let mut text = [0u8; SYMBOL_BYTES_MAX];
        match event.kind() {
            Kind::SYMBOL_DEF => {
                let id = event.head().symbol;
                let text = definition_text(event, id.0, &mut text)?;
                match self.find_symbol(text) {
                    Some(known) if known == id => Ok(()),
                    None if id.index() == self.symbols() => self.symbol(text).map(|_| ()),
                    _ => Err(CatalogError::OutOfOrder(id.0)),
                }
            }
            Kind::SOURCE_DEF => {
                let id = event.head().source;
                let rule = SeqRule::from_u8(event.head().payload_as::<SourceDef>().seq_rule);
                let name = definition_text(event, u32::from(id.0), &mut text)?;
                match self.sources.find(name, hash::stable(name)) {
                    Ok(known) if known == id.index() => Ok(()),
                    Err(_) if id.index() == self.sources() => self.source(name, rule).map(|_| ()),
                    _ => Err(CatalogError::OutOfOrder(u32::from(id.0))),
                }
            }
            _ => Ok(()),
        }
    }

    /// Bytes that the tables hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.symbols.bytes() + self.sources.bytes() + self.route_slot.capacity() * 2 + self.seq_rule.capacity()
    }
}

/// The text of a definition, checked against the hash that it carries.
///
/// # Errors
/// [`CatalogError::Damaged`] when the text is empty, cut short, too long for `into`, or hashes to something else.
pub fn definition_text<'a>(event: EventRef<'_>, id: u32, into: &'a mut [u8]) -> Result<&'a [u8], CatalogError> {
    // Both definitions begin with the hash and the length.
    let def = event.head().payload_as::<SymbolDef>();
    let text_bytes = def.text_bytes as usize;
    if text_bytes == 0 || text_bytes > into.len() || text_into(event, text_bytes, into) != text_bytes {
        return Err(CatalogError::Damaged(id));
    }
    let text = &into[..text_bytes];
    if hash::stable(text) == def.hash { Ok(text) } else { Err(CatalogError::Damaged(id)) }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("symbols", &self.symbols())
            .field("sources", &self.sources())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_3457_3470_3475_3544_texts_become_dense_ids_once() {
        let mut catalog = Catalog::new(1 << 12);
        for round in 0..2 {
            for i in 1..1000u32 {
                let id = catalog.symbol(format!("SYM{i}").as_bytes()).unwrap();
                assert_eq!(id, SymbolId(i), "round {round}");
            }
        }
        assert_eq!(catalog.symbols(), 1000);
        assert_eq!(catalog.symbol_text(SymbolId(42)), b"SYM42");
        assert_eq!(catalog.symbol_hash(SymbolId(42)), hash::stable(b"SYM42"));
        assert_eq!(catalog.route_slot(SymbolId(42)), route::slot_of(b"SYM42"));
        assert_eq!(catalog.symbol_text(SymbolId(99_999)), b"");
    }

    #[test]
    fn a_full_table_refuses_with_its_capacity_and_keeps_what_it_has() {
        let mut catalog = Catalog::new(3);
        catalog.symbol(b"A").unwrap();
        catalog.symbol(b"B").unwrap();
        assert_eq!(catalog.symbol(b"C"), Err(CatalogError::SymbolsFull(3)));
        assert_eq!(catalog.symbol(b"A"), Ok(SymbolId(1)));
        assert_eq!(catalog.symbol(&[b'x'; SYMBOL_BYTES_MAX + 1]), Err(CatalogError::SymbolTooLong(97)));
        assert_eq!(catalog.symbol(b""), Err(CatalogError::Empty));
    }

    #[test]
    #[should_panic(expected = "symbols, not 1")]
    fn a_table_without_a_symbol_panics() {
        let _ = Catalog::new(1);
    }

    #[test]
    #[should_panic(expected = "symbols, not")]
    fn more_symbols_than_ids_panic() {
        let _ = Catalog::new(SYMBOLS_MAX + 1);
    }

    #[test]
    fn a_clone_has_the_capacity_of_the_original() {
        let mut clone = Catalog::new(1_000).clone();
        for i in 1..1_000 {
            clone.symbol(format!("SYMBOL{i}").as_bytes()).unwrap();
        }
        assert_eq!(clone.bytes(), Catalog::new(1_000).bytes(), "nothing has grown");
        assert_eq!(clone.symbol(b"ONE MORE"), Err(CatalogError::SymbolsFull(1_000)));
    }

    #[test]
    fn definitions_rebuild_a_catalog_and_damage_is_refused() {
        let mut authority = Catalog::new(100);
        for text in ["BINANCE_SPOT:ETHUSDT", "X", &"L".repeat(SYMBOL_BYTES_MAX)] {
            authority.symbol(text.as_bytes()).unwrap();
        }
        authority.source(b"binance.spot.trade", SeqRule::Increasing).unwrap();
        let mut shard = Catalog::new(100);
        let second = authority.symbol_def(SymbolId(2));
        let second = EventRef::first(second.slots()).unwrap();
        assert_eq!(shard.apply(second), Err(CatalogError::OutOfOrder(2)));
        for id in 1..4 {
            let def = authority.symbol_def(SymbolId(id));
            shard.apply(EventRef::first(def.slots()).unwrap()).unwrap();
            shard.apply(EventRef::first(def.slots()).unwrap()).unwrap();
        }
        let def = authority.source_def(SourceId(1));
        shard.apply(EventRef::first(def.slots()).unwrap()).unwrap();
        assert_eq!(shard.symbol_text(SymbolId(3)), authority.symbol_text(SymbolId(3)));
        assert_eq!(shard.source_name(SourceId(1)), b"binance.spot.trade");
        assert_eq!(shard.seq_rule(SourceId(1)), SeqRule::Increasing);

        let mut slots = authority.symbol_def(SymbolId(1)).slots().to_vec();
        slots[1].ts_recv.0 ^= 1;
        assert_eq!(shard.apply(EventRef::first(&slots).unwrap()), Err(CatalogError::Damaged(1)));
    }
}
