//! Agents of different hosts tell each other which request caused which: `name of the request -> trace id, span id, flags`, in sealed
//! datagrams between the agents. Nothing is added to what the services send.
//!
//! [`Core`] is the conversation without sockets and clock; [`Peers`] is what the thread that makes traces has of it.

mod contacts;
mod core;
mod greeting;
mod hearing;
mod hello;
mod inbox;
mod name;
mod peers;
mod routes;
mod seal;
mod session;
mod stats;
mod telling;
#[cfg(test)]
mod tests;
mod transport;
mod window;
mod wire;

pub use core::{Config, Core, Event, Heard, Order};

pub use contacts::is_near;
pub use greeting::{Met, Said, offer};
pub use name::{Name, Told};
pub use peers::{Incoming, Link, Notice, Peers, Settings};
pub use routes::Alive;
pub use seal::{Key, KeyError};
pub use session::Datagram;
pub use stats::Stats;
pub use transport::{Contexts, Greets, StartError, Transport, TransportSettings};
pub use window::{Seen, Window};
pub use wire::{Head, Hello, Item, Kind, LONGEST, Opening, Refused, read_batch};
