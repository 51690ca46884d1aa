//! A request that waits for its response or has it, and how it becomes an exchange.

use super::call::Call;
use crate::protocol::{
    Counts, Exchange, Note,
    http::{Method, NoResponse, Response, no_response, respond},
    shared::count,
};

/// A request, and what has come of its response.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) exchange: Exchange,
    pub(super) method: Method,
    /// Numbers the requests of a connection.
    pub(super) serial: u64,
    /// When its first byte came, in updates.
    pub(super) seq: u64,
    /// Length of the request's body, if known.
    pub(super) size: Option<u64>,
    /// It is certain which response is its.
    pub(super) sure: bool,
    /// The response that comes first after it is its: no other request can have been waiting when it was asked.
    pub(super) alone: bool,
    /// Other responses may have come unseen after the one that it was given.
    pub(super) doubtful: bool,
    /// The response's head.
    pub(super) response: Option<Response>,
    /// Length of the response's body, if known.
    pub(super) response_size: Option<u64>,
    /// It is a call of gRPC-Web.
    pub(super) call: Option<Box<Call>>,
}

/// Where finished exchanges go, and the counters.
pub(super) struct Sink<'a> {
    pub(super) out: &'a mut Vec<Note>,
    pub(super) counts: &'a Counts,
}

/// Gives out a request without a response.
pub(super) fn flush(mut asked: Box<Asked>, why: NoResponse, sink: &mut Sink<'_>) {
    if why == NoResponse::Unseen {
        count(&sink.counts.flushed);
    }
    asked.response = None;
    asked.response_size = None;
    asked.exchange.holes.response_head = false;
    asked.exchange.holes.length = false;
    asked.exchange.end = asked.exchange.end.max(asked.exchange.request_end);
    emit_with(asked, Some(why), sink);
}

/// Gives out a request with its response.
pub(super) fn emit(asked: Box<Asked>, sink: &mut Sink<'_>) {
    emit_with(asked, None, sink);
}

/// Gives out a request with what there is of its response, and why that is not all.
pub(super) fn emit_with(asked: Box<Asked>, why: Option<NoResponse>, sink: &mut Sink<'_>) {
    let Asked { mut exchange, size, response, response_size, call, .. } = *asked;
    let answered = response.is_some();
    if let Some(mut response) = response {
        // It may have been seen before its request was, never sent before.
        response.first_byte = response.first_byte.max(exchange.start);
        exchange.end = exchange.end.max(response.first_byte);
        respond(&mut exchange, response);
    }
    exchange.end = exchange.end.max(exchange.start);
    let plain = call.is_none();
    if let Some(call) = call {
        call.finish(&mut exchange, answered);
    }
    if let Some(why) = why {
        no_response(&mut exchange, why);
    }
    if let Some(size) = size.filter(|_| plain) {
        exchange.attributes.push("http.request.body.size", size);
    }
    if let Some(size) = response_size.filter(|_| plain) {
        exchange.attributes.push("http.response.body.size", size);
    }
    sink.out.push(Note::Done(exchange));
}
