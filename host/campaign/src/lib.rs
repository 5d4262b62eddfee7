//! Several runs that answer one question together: their steps, and what is finished.

#![forbid(unsafe_code)]

pub mod pair;
pub mod sweep;
