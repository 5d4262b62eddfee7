//! Several runs that answer one question together.
//!
//! A campaign says which runs it wants and what they come to; a [`run::Runner`] does them, shows them and knows of
//! signals. Nothing here prints. Campaigns whose steps are known beforehand ([`pair`], [`sweep`]) are a
//! [`drive::Campaign`] with a [`tree::Tree`] on disk, so that they can be resumed. What a search ([`capacity`]), a
//! [`soak`] or a [`recover`] wants next depends on what it saw.

#![forbid(unsafe_code)]

pub mod again;
pub mod audit;
pub mod capacity;
pub mod drive;
pub mod gate;
pub mod pair;
pub mod recover;
pub mod run;
pub mod soak;
pub mod sweep;
pub mod tree;
