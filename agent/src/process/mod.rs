//! Who is it: processes become [`Resource`](crate::trace::Resource)s, read out of `/proc` (or given by a recording). Also says
//! which processes are selected. Knows no socket and no span.

mod cgroup;
mod environment;
mod facts;
mod host;
mod mounts;
mod name;
mod program;
mod read;
mod resource;
mod selector;
mod table;
mod text;

pub use cgroup::{Container, container, unit};
pub use facts::Facts;
pub use host::Host;
pub use mounts::mounted;
pub use name::service_name;
pub use program::{CommandLine, Program, program};
pub use read::{Proc, ReadError};
pub use resource::resource;
pub use selector::{Choice, Pattern, Selector};
pub use table::{Counts, Process, Settings, Table};
