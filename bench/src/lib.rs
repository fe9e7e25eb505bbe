//! tapeline-bench
