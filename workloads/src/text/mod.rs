//! Text: its terms, how well they match, the synthetic corpus, and what turns text into vectors.

pub mod bm25;
pub mod chunks;
pub mod embed;
pub mod endpoint;
pub mod stemming;
pub mod stored;
pub mod synthetic;
pub mod tokens;
pub mod vocabulary;
