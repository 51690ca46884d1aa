//! A call of gRPC-Web by HTTP/1: what its bodies say. Bodies of other requests are walked over, and not looked at.

use super::decoder::Role;
use crate::protocol::{
    Exchange,
    http::{self, GrpcOutcome, Messages},
};

/// What has come of both of a call's bodies.
#[derive(Debug, Default)]
pub(super) struct Call {
    request: Half,
    response: Half,
    /// What the response's head says.
    pub(super) outcome: GrpcOutcome,
}

#[derive(Debug, Default)]
struct Half {
    messages: Messages,
    /// All of it has come.
    ended: bool,
}

impl Call {
    pub(super) fn messages(&self, role: Role) -> &Messages {
        match role {
            Role::Request => &self.request.messages,
            Role::Response => &self.response.messages,
        }
    }

    pub(super) fn messages_mut(&mut self, role: Role) -> &mut Messages {
        &mut self.half(role).messages
    }

    /// A body's last byte has come.
    pub(super) fn ended(&mut self, role: Role) {
        self.half(role).ended = true;
    }

    /// Adds what is known of the call to its exchange. Whose answer it is that was seen has to be known (`answered`).
    pub(super) fn finish(self, exchange: &mut Exchange, answered: bool) {
        let Self { request, response, outcome } = self;
        let mut outcome = if answered { outcome } else { GrpcOutcome::default() };
        outcome.asked = request.count();
        if answered {
            response.messages.read_trailers(&mut outcome);
            outcome.answered = response.count();
        }
        http::finish_grpc(exchange, outcome);
    }

    fn half(&mut self, role: Role) -> &mut Half {
        match role {
            Role::Request => &mut self.request,
            Role::Response => &mut self.response,
        }
    }
}

impl Half {
    fn count(&self) -> Option<u64> {
        self.messages.count().filter(|_| self.ended)
    }
}
