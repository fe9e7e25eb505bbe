//! tapeline-loom-tests
