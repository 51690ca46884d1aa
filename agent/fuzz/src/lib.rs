//! What the targets share: events out of arbitrary bytes, the promises of the connection stage, and a pipeline that reads no `/proc`.

mod events;
mod promises;
mod script;
mod spans;

pub use events::{Step, Steps, steps};
pub use promises::Promises;
pub use script::play;
pub use spans::{check, pipeline};
