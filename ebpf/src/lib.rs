//! What the kernel programs and the agent share: record layouts, the configuration that the agent passes in, and the
//! counters. Plain data without behaviour; the programs are in `main.rs`, built only for the BPF target.
#![no_std]

pub mod carry;
pub mod config;
pub mod greeting;
pub mod hpack;
pub mod http2;
pub mod huffman;
pub mod inject;
pub mod interpreter;
pub mod java;
pub mod node;
pub mod python;
pub mod record;
pub mod stats;
pub mod tokio;
pub mod unwind;
