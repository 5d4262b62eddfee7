//! The tests, a table a file.

mod availability;
mod behaviour;
mod descriptor;
mod file;
mod fuzz;
mod growth;
mod results;
mod workers;

pub(super) use behaviour::PRINTS_NOTHING;
pub(super) use descriptor::LOADS;

use super::case::Case;
use super::{Area, Run, Surroundings, Test, TestResult};

/// Every table, in the order in which tests run.
pub(super) const TABLES: [&[Test]; 8] = [
    &file::TESTS,
    &descriptor::TESTS,
    &availability::TESTS,
    &results::TESTS,
    &behaviour::TESTS,
    &growth::TESTS,
    &workers::TESTS,
    &fuzz::TESTS,
];

/// A test in a process of its own that may take `weight` time-outs.
const fn child(
    area: Area,
    name: &'static str,
    weight: u32,
    why: &'static str,
    run: fn(&Case) -> TestResult,
) -> Test {
    Test { name, area, why, weight, surroundings: Surroundings::Usual, run: Run::Child(run) }
}
