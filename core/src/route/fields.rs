//! From a symbol in a field of 8 bytes, as binary feeds carry it, to its id, slot and shard: a perfect hash, built at start.
//!
//! ```text
//! field, 8 bytes --x K--> word --top bits--> multiplier of its bucket
//!                            |                      |
//!                            +----------x-----------+--top bits--> cell: field, id, slot, shard
//! ```
//! One multiplication spreads the fields over buckets of about two, a second one by the bucket's own multiplier over cells. The
//! multipliers are searched for at start so that no two fields share a cell ("hash and displace": Pagh, "Hash and displace:
//! efficient evaluation of minimal perfect hash functions", WADS 1999). A lookup is then two loads that depend on each other and one
//! comparison, without a loop and without a branch that is taken now and then. The first multiplier is odd, so that different
//! fields are different words, and any two can be told apart.
//!
//! The routing slot itself stays what [`slot_of`](super::slot_of) gives: the perfect hash only finds it.
//!
//! ```
//! use tapeline_core::catalog::Catalog;
//! use tapeline_core::route::{FieldRoutes, RouteTable, slot_of};
//!
//! let mut catalog = Catalog::new(16);
//! let apple = catalog.symbol(b"AAPL")?;
//! let fields = FieldRoutes::new(&catalog, &RouteTable::new(4));
//! let route = fields.find(b"AAPL\0\0\0\0").expect("it is known");
//! assert_eq!((route.symbol, route.slot), (apple, slot_of(b"AAPL")));
//! assert_eq!(fields.find(b"MSFT\0\0\0\0"), None);
//! # Ok::<(), tapeline_core::catalog::CatalogError>(())
//! ```

use super::RouteTable;
use crate::catalog::Catalog;
use crate::units::SymbolId;

/// Bytes of a field.
pub const FIELD_BYTES: usize = 8;
/// The odd multiplier that makes a word of a field: 2^64 divided by the golden ratio (Knuth, "The Art of Computer Programming" 3,
/// 6.4), which spreads texts that differ in a number evenly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Multipliers that are tried for one bucket.
const TRIES: u64 = 1 << 14;
/// Fields of a bucket above which none is tried: no such bucket comes about by chance.
const BUCKET_MAX: usize = 64;
/// How often the number of cells is doubled until every field has one of its own.
const DOUBLINGS: u32 = 3;

/// Where the events of a symbol go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The symbol.
    pub symbol: SymbolId,
    /// Its routing slot.
    pub slot: u16,
    /// The shard that owns the slot.
    pub shard: u8,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// The field as a number; 0 in a cell that is free, and no symbol's.
    field: u64,
    route: Route,
}

const FREE: Cell = Cell { field: 0, route: Route { symbol: SymbolId::NONE, slot: 0, shard: 0 } };

/// The routes of all symbols of a catalog whose texts have 1 to 8 bytes and no NUL at their end. See the module.
///
/// It does not follow the catalog or the table: one that is made anew knows what has come since.
#[derive(Clone, Debug)]
pub struct FieldRoutes {
    multipliers: Box<[u64]>,
    cells: Box<[Cell]>,
    bucket_shift: u32,
    cell_shift: u32,
    len: usize,
}

impl FieldRoutes {
    /// The routes of the symbols that `catalog` has now, by the owners that `routes` has now. O(symbols) expected; allocates 32 to 64
    /// bytes for each, rarely a multiple.
    ///
    /// A set of texts that somebody made for the purpose may have some that find no cell; they are left out, as longer ones are
    /// (see [`FieldRoutes::len`]), and are found by [`Catalog::find_symbol`] alone.
    #[must_use]
    pub fn new(catalog: &Catalog, routes: &RouteTable) -> Self {
        let symbols = (1..catalog.symbols() as u32).map(SymbolId);
        let cells: Vec<Cell> = symbols
            .filter_map(|symbol| {
                let slot = catalog.route_slot(symbol);
                let route = Route { symbol, slot, shard: routes.shard(slot) as u8 };
                Some(Cell { field: field_of(catalog.symbol_text(symbol))?, route })
            })
            .collect();
        let mut best = Self::place(&cells, 0);
        for doublings in 1..=DOUBLINGS {
            if best.len == cells.len() {
                break;
            }
            let wider = Self::place(&cells, doublings);
            if wider.len > best.len {
                best = wider;
            }
        }
        best
    }

    /// Finds a cell for each field, or for as many as it can.
    fn place(fields: &[Cell], doublings: u32) -> Self {
        let bucket_bits = (fields.len() / 3).next_power_of_two().trailing_zeros().max(1);
        let cell_bits = (fields.len() * 2).next_power_of_two().trailing_zeros().max(1) + doublings;
        let mut routes = Self {
            multipliers: vec![1; 1 << bucket_bits].into_boxed_slice(),
            cells: vec![FREE; 1 << cell_bits].into_boxed_slice(),
            bucket_shift: u64::BITS - bucket_bits,
            cell_shift: u64::BITS - cell_bits,
            len: 0,
        };
        let mut buckets: Vec<Vec<Cell>> = vec![Vec::new(); 1 << bucket_bits];
        for cell in fields {
            buckets[(word_of(cell.field) >> routes.bucket_shift) as usize].push(*cell);
        }
        // The fullest first: they are the hardest to place.
        let mut order: Vec<usize> = (0..buckets.len()).collect();
        order.sort_by_key(|bucket| std::cmp::Reverse(buckets[*bucket].len()));
        let mut places = Vec::with_capacity(BUCKET_MAX);
        for bucket in order {
            let fields = &buckets[bucket];
            if fields.is_empty() || fields.len() > BUCKET_MAX {
                continue;
            }
            for multiplier in (0..TRIES).map(multiplier) {
                places.clear();
                for cell in fields {
                    let place = (word_of(cell.field).wrapping_mul(multiplier) >> routes.cell_shift) as usize;
                    if routes.cells[place].field != 0 || places.contains(&place) {
                        break;
                    }
                    places.push(place);
                }
                if places.len() == fields.len() {
                    routes.multipliers[bucket] = multiplier;
                    places.iter().zip(fields).for_each(|(place, cell)| routes.cells[*place] = *cell);
                    routes.len += fields.len();
                    break;
                }
            }
        }
        routes
    }

    /// The route of the symbol in a field of 8 bytes, behind whose text there are NULs up to the end; `None` when no symbol of 1 to 8
    /// bytes is known by that text. O(1): two multiplications, two loads, one comparison.
    #[inline]
    #[must_use]
    pub fn find(&self, field: &[u8; FIELD_BYTES]) -> Option<Route> {
        let field = u64::from_le_bytes(*field);
        let word = word_of(field);
        let multiplier = self.multipliers.get((word >> (self.bucket_shift % u64::BITS)) as usize)?;
        let cell = self.cells.get((word.wrapping_mul(*multiplier) >> (self.cell_shift % u64::BITS)) as usize)?;
        // A free cell has the field 0, which no text makes: a text of NULs is refused where fields are made.
        (cell.field == field && field != 0).then_some(cell.route)
    }

    /// As [`FieldRoutes::find`] for a text by itself; `None` also for what has no field: an empty text, one of more than 8 bytes, and
    /// one that ends in a NUL.
    #[inline]
    #[must_use]
    pub fn find_text(&self, text: &[u8]) -> Option<Route> {
        self.find(&field_of(text)?.to_le_bytes())
    }

    /// Symbols that are found.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no symbol is found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.multipliers) + size_of_val(&*self.cells)
    }
}

/// The field of a text, as a number; never 0.
#[inline]
fn field_of(text: &[u8]) -> Option<u64> {
    if text.len() > FIELD_BYTES || text.last().is_none_or(|last| *last == 0) {
        return None;
    }
    let mut field = [0; FIELD_BYTES];
    field[..text.len()].copy_from_slice(text);
    Some(u64::from_le_bytes(field))
}

/// Different for different fields.
#[inline]
const fn word_of(field: u64) -> u64 {
    field.wrapping_mul(SPREAD)
}

/// The multipliers in the order in which they are tried: any odd numbers that have nothing to do with each other (SplitMix64).
const fn multiplier(number: u64) -> u64 {
    let mut bits = (number + 1).wrapping_mul(SPREAD);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ bits >> 31) | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::slot_of;
    use crate::testing::Prng;

    fn routes(catalog: &Catalog) -> FieldRoutes {
        FieldRoutes::new(catalog, &RouteTable::new(5))
    }

    /// Every text is found with what the engine computes for it, or has no field; nothing else is found.
    fn check(texts: &[Vec<u8>]) -> FieldRoutes {
        let mut catalog = Catalog::new(texts.len() + 2);
        for text in texts {
            catalog.symbol(text).unwrap();
        }
        let fields = routes(&catalog);
        let mut found = 0;
        for text in texts {
            let expected = Route {
                symbol: catalog.find_symbol(text).unwrap(),
                slot: slot_of(text),
                shard: RouteTable::new(5).shard(slot_of(text)) as u8,
            };
            let has_field = text.len() <= 8 && text.last() != Some(&0);
            assert_eq!(fields.find_text(text), has_field.then_some(expected), "{text:?}");
            found += usize::from(has_field);
            let mut other = text.clone();
            other[0] ^= 0x80;
            assert_eq!(fields.find_text(&other).is_some(), catalog.find_symbol(&other).is_some() && has_field);
        }
        assert_eq!(fields.len(), found);
        assert_eq!(fields.find(&[0; 8]), None, "a field of NULs is no symbol");
        fields
    }

    #[test]
    fn every_short_text_of_any_catalog_is_found_and_nothing_else() {
        let numbered = |name: &str| (0..10_000).map(|i| format!("{name}{i}").into_bytes()).collect::<Vec<_>>();
        for name in ["", "S", "SYM", "\u{e9}", "LONGNAME"] {
            check(&numbered(name));
        }
        let letters = |i: usize| [i / 676 % 26, i / 26 % 26, i % 26].map(|letter| b'A' + letter as u8);
        check(&(0..17_576).map(|i| [&letters(i)[..], b"USDT"].concat()).collect::<Vec<_>>());
        // As ITCH pads them, and with NULs inside.
        check(&(0..17_576).map(|i| [&letters(i)[..], b"     "].concat()).collect::<Vec<_>>());
        check(&(1..500u16).map(|i| [b"\0\0", &i.to_be_bytes()[..]].concat()).collect::<Vec<_>>());
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let mut texts: Vec<Vec<u8>> = (0..prng.index(400))
                .map(|_| (0..1 + prng.index(9)).map(|_| (prng.next_u64() % 4) as u8 * 85).collect())
                .collect();
            texts.sort();
            texts.dedup();
            check(&texts);
        }
    }

    #[test]
    fn a_padded_field_is_the_text_without_its_padding() {
        let mut catalog = Catalog::new(8);
        let id = catalog.symbol(b"AB").unwrap();
        catalog.symbol(b"AB\0").unwrap();
        catalog.symbol(b"\0").unwrap();
        let fields = routes(&catalog);
        assert_eq!(fields.find(b"AB\0\0\0\0\0\0").map(|route| route.symbol), Some(id));
        assert_eq!((fields.find_text(b"AB\0"), fields.find_text(b""), fields.len()), (None, None, 1));
        assert_eq!(fields.find(&[0; 8]), None);
        let none = routes(&Catalog::new(2));
        assert!(none.is_empty() && none.find(b"AB\0\0\0\0\0\0").is_none());
        assert!(none.bytes() > 0);
    }

    /// The inverse of [`SPREAD`] makes fields that all go to one bucket: they are left out, and the build ends.
    #[test]
    fn texts_made_to_collide_are_left_out_and_the_others_found() {
        let mut inverse = SPREAD;
        for _ in 0..6 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(SPREAD.wrapping_mul(inverse)));
        }
        // Words that differ in their last bits only.
        let hostile = (1..=1_000u64).map(|i| (i | 1 << 40).wrapping_mul(inverse).to_le_bytes());
        let hostile: Vec<[u8; 8]> = hostile.filter(|field| field[7] != 0).collect();
        let mut catalog = Catalog::new(4_000);
        for field in &hostile {
            catalog.symbol(field).unwrap();
        }
        let honest: Vec<[u8; 8]> = (0..1_000).map(|i| format!("{i:08}").into_bytes().try_into().unwrap()).collect();
        for field in &honest {
            catalog.symbol(field).unwrap();
        }
        let fields = routes(&catalog);
        let lost = honest.iter().filter(|field| fields.find(field).is_none()).count();
        assert!(lost <= BUCKET_MAX && hostile.iter().all(|field| fields.find(field).is_none()), "{lost}");
        let found = hostile.iter().chain(&honest).filter(|field| fields.find(field).is_some()).count();
        assert_eq!(found, fields.len());
    }

    #[test]
    fn a_cell_is_a_quarter_of_a_cache_line() {
        assert_eq!(size_of::<Cell>(), 16);
        let mut catalog = Catalog::new(10_001);
        (0..10_000).for_each(|i| _ = catalog.symbol(format!("{i:08}").as_bytes()).unwrap());
        let bytes = routes(&catalog).bytes();
        assert!(bytes <= 10_000 * 64, "{bytes}");
    }
}
