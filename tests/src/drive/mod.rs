//! A client of HTTP/1.1 that keeps account of what it sent and got: the ground truth of the tests. It runs as a process of
//! its own (`drive`), so that an agent can be told to trace it alone, and sends what a [`Plan`] says.

mod account;
mod connection;
mod plan;
mod response;
mod run;
mod runner;

pub use account::Exchanged;
pub use plan::{Address, Body, Plan, Style, Template};
pub use response::{Reader, Response, Stream};
pub use run::{Share, main};
pub use runner::Driver;
