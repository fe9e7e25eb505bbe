//! tapeline
