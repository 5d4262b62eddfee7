//! The whole binary, as its users meet it: real plugins, files, processes and signals. One program, so that the
//! host is linked once; a module for each thing that people do.
//!
//! `isolation` beside it is a program of its own, because there the test binary itself is the runner process.

mod answers;
mod audit;
mod authors;
mod c_abi;
mod cheats;
mod configuration;
mod conformance;
mod corpora;
mod dask;
mod encoder;
mod encryption;
mod endpoints;
mod engines;
mod folders;
mod generation;
mod goldens;
mod guide;
mod hostile;
mod hosts;
mod house;
mod inputs;
mod install;
mod kills;
mod limits;
mod listing;
mod load;
mod loader;
mod measuring;
mod models;
mod options;
mod pair;
mod places;
mod proxies;
mod ray;
mod recover;
mod remedies;
mod report;
mod resume;
mod run;
mod run_log;
mod sage;
mod schemas;
mod servers;
mod service;
mod signals;
mod streams;
mod workloads;
