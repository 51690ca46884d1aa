//! The connection that scripts are about.

use geophone::{
    conn::Connection,
    event::{Endpoints, Role, SocketId},
};

/// One over the loopback interface, seen from its beginning.
#[must_use]
pub fn connection(role: Role) -> Connection {
    Connection {
        socket: SocketId { sock: 1, born: 1 },
        endpoints: Some(Endpoints::Inet {
            local: ([127, 0, 0, 1], 80).into(),
            remote: ([127, 0, 0, 1], 40_000).into(),
        }),
        role,
        netns: 1,
        sequences: None,
        since: 0,
        decrypted: false,
        wire: None,
    }
}
