//! What the targets share: events out of arbitrary bytes, the promises of the connection stage, scripts of one connection, and a pipeline that reads no `/proc`.

mod connection;
mod conversation;
mod events;
mod promises;
mod script;
mod spans;

pub use connection::connection;
pub use conversation::converse;
pub use events::{Step, Steps, steps};
pub use promises::Promises;
pub use script::{bytes, play};
pub use spans::{check, pipeline};
