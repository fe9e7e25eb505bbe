//! Panics of handlers that a test wants, and that are not to fill its output.

use std::panic::{set_hook, take_hook};
use std::sync::Once;

/// What handlers panic with: `std::panic::panic_any(BOOM)`.
pub(crate) const BOOM: &str = "a handler's panic that the test wants";

/// Keeps panics with [`BOOM`] out of the output; all others are told as ever.
pub(crate) fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&BOOM) {
                hook(info);
            }
        }));
    });
}
