//! A generated session as an input: made on the fly from a seed, in constant memory, marked as generated.
//!
//! Every event carries `Flags::GENERATED`; sources are called `generated.quote` and so on, symbols `GEN:SYM00001` and
//! on by falling activity. What the sessions are like is told in [`Config`]. Equal parameters give events equal to
//! the byte on every machine, whatever the buffers are in which they are read.
//!
//! ```
//! use tapeline_core::catalog::Catalog;
//! use tapeline_runtime::input::generate::{Config, GenerateInput};
//! use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};
//!
//! let mut input = GenerateInput::new(&Config { events: 10_000, ..Config::default() }).unwrap();
//! let (mut catalog, mut out) = (Catalog::new(2_000), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
//! assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End);
//! assert_eq!(tapeline_core::event::events(out.slots()).count(), 10_000);
//! assert_eq!(catalog.symbol_text(out.slots()[0].symbol)[..7], *b"GEN:SYM");
//! ```

pub use crate::market::carry::{Carried, binary_file, pcap};
pub use crate::market::itch::{ITCH_SYMBOLS_MAX, ItchDay, ItchMessage};
pub use crate::market::{Burst, Config, ConfigError, Mix};

use super::{Input, InputError, Position, SlotBuf, Status, Tally};
use crate::market::{Market, SOURCES, symbol_name};
use std::fmt;
use tapeline_core::catalog::{Catalog, CatalogError};
use tapeline_core::event::Kind;
use tapeline_core::limits::KIND_ROWS;
use tapeline_core::units::{SourceId, SymbolId};

/// A generated session that is being read.
///
/// Allocates in its constructor only. About 700 bytes a symbol, whatever the number of events.
pub struct GenerateInput {
    config: Config,
    market: Market,
    /// The catalog's id of each rank and of each source; 0 = not used so far.
    symbols: Box<[SymbolId]>,
    sources: [SourceId; SOURCES.len()],
    /// Messages given so far, by the kind of their first event.
    messages: [u64; KIND_ROWS],
    events: u64,
    /// The market's message has not been given yet.
    held: bool,
    ended: bool,
}

impl GenerateInput {
    /// A session from its beginning. O(symbols + bursts).
    ///
    /// # Errors
    /// When a parameter is out of its range; the error names it.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let market = Market::new(config)?;
        Ok(Self {
            config: config.clone(),
            market,
            symbols: vec![SymbolId::NONE; config.symbols as usize].into_boxed_slice(),
            sources: [SourceId::NONE; SOURCES.len()],
            messages: [0; KIND_ROWS],
            events: 0,
            held: false,
            ended: false,
        })
    }

    /// The parameters.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// See [`Config::describe`].
    #[must_use]
    pub fn describe(&self) -> String {
        self.config.describe()
    }

    /// Bytes that the session holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.market.bytes() + size_of_val(&*self.symbols)
    }

    /// The catalog's ids of the market's message.
    #[inline]
    fn ids(&mut self, catalog: &mut Catalog) -> Result<(SymbolId, SourceId), CatalogError> {
        let head = &self.market.message()[0];
        let (rank, source) = (head.symbol.index() - 1, head.source.index() - 1);
        if self.symbols[rank] == SymbolId::NONE {
            let mut text = [0; _];
            let bytes = symbol_name(rank as u32, &mut text);
            self.symbols[rank] = catalog.symbol(&text[..bytes])?;
        }
        if self.sources[source] == SourceId::NONE {
            let (name, rule) = SOURCES[source];
            self.sources[source] = catalog.source(name.as_bytes(), rule)?;
        }
        Ok((self.symbols[rank], self.sources[source]))
    }
}

impl Input for GenerateInput {
    fn format(&self) -> &'static str {
        "generated"
    }

    /// As [`Input::read`]. Always with the same catalog: ids are remembered.
    ///
    /// # Errors
    /// Only when a name does not fit the catalog; the offset is the number of events given before.
    fn is_generated(&self) -> bool {
        true
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        while !self.ended {
            if !self.held && !self.market.advance() {
                self.ended = true;
                break;
            }
            self.held = true;
            if out.remaining() < self.market.message().len() {
                return Ok(Status::More);
            }
            let (symbol, source) = self.ids(catalog).map_err(|error| {
                self.ended = true;
                InputError::Catalog { path: self.config.describe(), at: Position::Offset(self.events), error }
            })?;
            let from = out.slots().len();
            out.extend(self.market.message());
            let message = &mut out.slots_mut()[from..];
            self.messages[message[0].kind().row()] += 1;
            let mut at = 0;
            while let Some(head) = message.get_mut(at) {
                (head.symbol, head.source) = (symbol, source);
                at += head.span();
                self.events += 1;
            }
            self.held = false;
        }
        Ok(Status::End)
    }

    fn tally(&self) -> Tally {
        let given = Kind::ALL.iter().map(|kind| (kind.name().to_owned(), self.messages[kind.row()]));
        Tally { messages: given.filter(|(_, count)| *count > 0).collect(), ..Tally::default() }
    }
}

impl fmt::Debug for GenerateInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerateInput")
            .field("config", &self.config)
            .field("events", &self.events)
            .field("left", &self.market.left())
            .finish_non_exhaustive()
    }
}
