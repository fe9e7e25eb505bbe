//! Features per symbol: each an O(1) update of plain state.
