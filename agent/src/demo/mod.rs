//! `geophone demo`: a small shop of real processes on loopback, so that there is something to see on an idle machine.
//!
//! ```text
//! shopper --> gateway --> cart <--+
//!                    +--> payment |   (one in eight takes 4.5 s, some fail)
//!                    +--> orders -+
//! ```
//!
//! Each is this same executable, started with a hidden subcommand. They speak plain HTTP/1.1, keep connections alive, use a thread
//! for each of them, and pass no context along: whatever a trace of them shows was found out from outside.

mod http;
mod load;
mod service;
mod shop;

pub use service::{Arguments, Role, serve};
pub use shop::{Settings, Shop, StartError};

#[cfg(test)]
mod tests;
