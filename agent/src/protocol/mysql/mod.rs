//! MySQL's and MariaDB's protocol: text queries, prepared statements, several results, errors. Compressed and encrypted connections are left
//! alone. <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>, <https://mariadb.com/docs/server/reference/clientserver-protocol>

mod answer;
mod detect;
mod packet;
#[cfg(test)]
mod properties;
mod talk;
#[cfg(test)]
mod tests;

use super::{Protocol, Side, Verdict, framed::Framed};

/// MySQL, for the list of protocols.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "mysql",
    detect: |sample| match detect::sender(sample) {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = detect::sender(sample).unwrap_or(Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::MySql::default()))
    },
};
