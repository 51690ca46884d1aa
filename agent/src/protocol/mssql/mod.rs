//! TDS 7, the protocol of Microsoft SQL Server: batches, procedure calls, prepared statements, transactions, bulk loads, cancellation.
//! One span for each request. Of what comes before the first, the name of the database is kept; never who logs in.
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds>
//!
//! A connection that only encrypts its login is understood after that. One that is encrypted from then on is left alone, and so is one
//! that carries several sessions at once (MARS). Of a request, what is in its first packet is read.

mod columns;
mod detect;
mod handles;
mod packet;
#[cfg(test)]
mod properties;
mod request;
mod talk;
#[cfg(test)]
mod tests;
mod tokens;
mod waiting;

use super::{Protocol, Side, Verdict, framed::Framed};

/// Microsoft SQL Server, for the list of protocols.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "mssql",
    detect: |sample| match detect::sender(sample) {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = detect::sender(sample).unwrap_or(Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::Mssql::default()))
    },
};
