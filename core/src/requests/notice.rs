//! The end of a request, as it is told, and as it stands in a snapshot.

use crate::event::Identity;
use crate::handler::{RequestEnd, RequestId, RequestRefusal};
use crate::units::SymbolId;
use bytemuck::{Pod, Zeroable};

/// The end of a request, to be told to who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The request.
    pub id: RequestId,
    /// Its symbol.
    pub symbol: SymbolId,
    /// Who asked, as the bus numbers handlers.
    pub handler: u16,
    /// During which event.
    pub cause: Identity,
    /// What became of it.
    pub end: RequestEnd,
}

/// A [`Notice`] as plain data.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub(crate) struct NoticeRow {
    id: RequestId,
    cause: Identity,
    symbol: SymbolId,
    handler: u16,
    /// Which end; its code or reason, else 0.
    end: u16,
    code: u32,
    pad: u32,
}

// Layouts of sections name its fields.
const _: () = assert!(size_of::<NoticeRow>() == 40);

impl NoticeRow {
    pub(crate) fn of(notice: &Notice) -> Self {
        let Notice { id, symbol, handler, cause, end } = *notice;
        let (end, code) = match end {
            RequestEnd::Served => (0, 0),
            RequestEnd::Refused(reason) => (1, reason as u32),
            RequestEnd::Expired => (2, 0),
            RequestEnd::Failed(code) => (3, u32::from(code)),
            RequestEnd::Cleared => (4, 0),
            RequestEnd::Completed => (5, 0),
            RequestEnd::Cancelled => (6, 0),
        };
        Self { id, cause, symbol, handler, end, code, pad: 0 }
    }

    /// The notice, for symbols and handlers below these numbers; `None` when it is none, or for another one.
    pub(crate) fn read(&self, symbols: usize, handlers: usize) -> Option<Notice> {
        let Self { id, cause, symbol, handler, end, code, pad } = *self;
        let is_known = symbol.index() < symbols && usize::from(handler) < handlers && pad == 0;
        let end = match end {
            1 => RequestEnd::Refused(*RequestRefusal::ALL.get(code as usize)?),
            3 => RequestEnd::Failed(u16::try_from(code).ok()?),
            _ if code != 0 => return None,
            0 => RequestEnd::Served,
            2 => RequestEnd::Expired,
            4 => RequestEnd::Cleared,
            5 => RequestEnd::Completed,
            6 => RequestEnd::Cancelled,
            _ => return None,
        };
        is_known.then_some(Notice { id, symbol, handler, cause, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_comes_back_and_nothing_else_is_one() {
        let ends = [
            RequestEnd::Served,
            RequestEnd::Expired,
            RequestEnd::Failed(0),
            RequestEnd::Failed(u16::MAX),
            RequestEnd::Cleared,
            RequestEnd::Completed,
            RequestEnd::Cancelled,
        ];
        let refused = RequestRefusal::ALL.map(RequestEnd::Refused);
        for end in ends.into_iter().chain(refused) {
            let cause = Identity { seq: 7, symbol: SymbolId(3), ..Identity::default() };
            let notice = Notice { id: RequestId(9), symbol: SymbolId(4), handler: 2, cause, end };
            let row = NoticeRow::of(&notice);
            assert_eq!(row.read(5, 3), Some(notice));
            assert_eq!((row.read(4, 3), row.read(5, 2)), (None, None), "a stranger");
            for row in [NoticeRow { end: 7, ..row }, NoticeRow { pad: 1, ..row }, NoticeRow { code: 1 << 16, ..row }] {
                assert_eq!(row.read(5, 3), None, "{row:?}");
            }
        }
    }
}
