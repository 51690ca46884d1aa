//! What a query and a response say on a span, whatever brought them.

use compact_str::{CompactString, format_compact};

use super::message::{self, Header, Question};
use crate::protocol::{Attributes, Exchange, Status};

/// Name of a query's span; pushes what is asked.
pub fn asked(header: &Header, question: Option<&Question>, attributes: &mut Attributes) -> CompactString {
    let operation = match header.operation() {
        4 => "NOTIFY",
        5 => "UPDATE",
        _ => "QUERY",
    };
    let Some(question) = question else {
        return CompactString::const_new(operation);
    };
    let kind = message::kind(question.kind);
    attributes.push("dns.question.name", question.name.clone());
    let title = format_compact!("{operation} {kind}");
    attributes.push("geophone.dns.question.type", kind);
    title
}

/// Adds what a response says.
pub fn answered(exchange: &mut Exchange, header: &Header, message: &[u8]) {
    let mut extended = 0;
    if let Some((_, rest)) = message::question(message) {
        let records = message::records(message, rest, header);
        extended = records.extended_code;
        if !records.answers.is_empty() {
            exchange.attributes.push("dns.answers", records.answers);
        }
    }
    if header.is_truncated() {
        exchange.attributes.push("geophone.dns.truncated", true);
    }
    if let Some(error) = message::error(header.code() | extended << 4) {
        exchange.attributes.push("error.type", error);
        exchange.status = Status::Error(CompactString::const_new(""));
    }
}
