//! HTTP, whatever its version: what OpenTelemetry's semantic conventions for HTTP spans make of a request and a response.
//! Knows no wire format. <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>

mod fields;
mod forwarded;
mod grpc;
mod messages;
mod method;
mod route;
mod service;
mod span;
mod target;
#[cfg(test)]
mod tests;
mod token;
mod values;

pub use fields::Fields;
pub use grpc::{
    Outcome as GrpcOutcome, finish as finish_grpc, is_call as is_grpc_call, is_path as is_grpc_path,
    recognise as recognise_grpc,
};
pub use messages::Messages;
pub use method::{Method, known as known_method};
pub use route::{PatternError, Routes};
pub use span::{NoResponse, Request, Response, carried, is_own_export, no_response, respond, span};
pub use target::{Authority, Target};
pub use values::values;
