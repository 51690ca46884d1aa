//! The agent on the real kernel, with real servers, clients and receivers. Each test starts its own agent, restricted to the
//! test's own ports or processes, and compares its spans with what the client sent, request by request.
//!
//! `cargo xtask setup` installs what is needed; the tests must run as root. Every test of capture exists twice: for the
//! socket tracepoints and for the system-call tracepoints.

mod asyncio;
mod bodies;
mod brokers;
mod calls;
mod carried;
mod clients;
mod connections;
mod context;
mod databases;
mod descriptors;
mod dns;
mod faults;
mod gateways;
mod goroutines;
mod greeting;
mod grpc;
mod hosts;
mod http2;
mod inject;
mod inject_http2;
mod languages;
mod lines;
mod link;
mod messages;
mod namespaces;
mod node_http2;
mod oracle;
mod output;
mod profile;
mod pyroscope;
mod python;
mod receivers;
mod sdks;
mod selection;
mod sending;
mod support;
mod tls;
mod unix;
mod unwinding;
mod virtual_threads;
mod waits;
