//! ITCH 5.0: from bytes to events, against a naive twin and against another parser; books; damage; allocations.

mod books;
mod damage;
mod mapping;
mod peer;
mod support;
mod twin;
