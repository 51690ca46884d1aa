//! The accuracy suite: how many requests of real services become whole traces, with every span under the one that caused it.
//!
//! The truth is in the paths: every request has one of its own, `/<service>/<id>/<position>`, which says which request of the
//! client it belongs to and whose call it is ([`shape`]). The agent makes no use of that. What the services are is said in
//! `tests/accuracy`; which of them make a stack, in [`stacks`].

mod account;
mod command;
mod failures;
mod front;
mod interrupt;
mod load;
mod measure;
mod programs;
mod report;
mod running;
mod score;
mod sdk;
mod shape;
mod stacks;

pub use command::main;
