//! What waits for one message of the server.

use std::sync::Arc;

use super::tokens::Tokens;
use crate::{
    event::Nanos,
    protocol::{
        db::Operation,
        framed::{Call, Context, Origin, Unit},
        http::NoResponse,
    },
};

/// What is answered by one message: a request, or what comes before the first, of which nobody is told.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: Option<Call<()>>,
    pub(super) tokens: Tokens,
    pub(super) prepares: Option<Arc<Operation>>,
    pub(super) begun: bool,
}

impl Unit for Waiting {
    fn has_begun(&self) -> bool {
        self.begun
    }

    fn doubt(&mut self) {
        self.call.iter_mut().for_each(Unit::doubt);
    }

    fn lose(&mut self) {
        self.tokens.lose();
        self.call.iter_mut().for_each(Unit::lose);
    }

    fn goes_on(&mut self, origin: Origin, cx: &mut Context<'_>) {
        self.begun = true;
        self.call.iter_mut().for_each(|call| call.goes_on(origin, cx));
    }

    fn give_up(self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        if let Some(call) = self.call {
            call.give_up(why, now, cx);
        }
    }
}
