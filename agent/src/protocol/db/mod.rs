//! What the protocols of databases have in common: OpenTelemetry's semantic conventions for their spans, and the SQL scanner. Knows no wire
//! format. <https://opentelemetry.io/docs/specs/semconv/database/database-spans/>

mod span;
pub mod sql;

pub use span::{Operation, describe, named};
