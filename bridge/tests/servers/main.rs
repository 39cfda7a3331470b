//! The bridge against real servers: three nodes on loopback, started and stopped by the tests themselves.
//!
//! `short` runs with all other tests; the others take minutes and are `make test-cluster`.

mod access;
mod common;
mod faults;
mod fetching;
mod figures;
mod partition;
mod short;
