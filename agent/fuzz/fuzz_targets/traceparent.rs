//! Any text as the headers of W3C Trace Context: what is accepted means what it says.

#![no_main]

use geophone::trace::headers::{TraceParent, parse_tracestate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(parent) = TraceParent::parse(text) {
        let written = format!("{}-{}-", parent.trace_id, parent.parent_id);
        assert!(text.trim_matches([' ', '\t']).get(3..).is_some_and(|rest| rest.starts_with(&written)));
        let again = TraceParent::parse(&format!("00-{written}{:02x}", parent.flags.to_u8()));
        assert_eq!(again, Some(parent), "what is passed on is what came");
    }
    if let Some(state) = parse_tracestate(text) {
        let header = state.header();
        assert!(header.len() <= 512, "what is passed on is bounded");
        assert_eq!(parse_tracestate(&header), Some(state), "what is passed on is what came");
    }
});
