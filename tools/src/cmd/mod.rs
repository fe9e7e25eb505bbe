//! One verb a file. Each returns the exit code.

pub(crate) mod capacity;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod diff;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod init;
pub(crate) mod replay;
pub(crate) mod schema;
pub(crate) mod verify;
