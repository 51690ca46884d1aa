//! Any bytes as the beginning of a connection, in pieces, joined or not.
#![no_main]

use geophone::{
    conn::{Connection, Content, Piece, Update},
    event::{Direction, Role, SocketId, Thread},
    protocol::{Foreign, Interest, Session, Understanding},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, step], mut data)) = data.split_at_checked(2).map(|(a, b)| (<&[u8; 2]>::try_from(a).unwrap(), b))
    else {
        return;
    };
    let connection = Connection {
        socket: SocketId { sock: 1, born: 1 },
        endpoints: None,
        role: Role::Unknown,
        netns: 0,
        sequences: None,
        since: 0,
        decrypted: false,
        wire: None,
    };
    let mut session = Session::default();
    let mut out = Vec::new();
    let mut offsets = [u64::from(flags & 2); 2];
    let mut joined = [flags & 4 != 0; 2];
    let mut receive = flags & 1 != 0;
    let mut time = 0;
    while !data.is_empty() {
        let (bytes, rest) = data.split_at((usize::from(step) + 1).min(data.len()));
        data = rest;
        time += 1;
        let i = usize::from(receive);
        let piece = Piece {
            offset: offsets[i],
            joined: std::mem::take(&mut joined[i]),
            time,
            thread: Thread::default(),
            content: Content::Bytes(bytes),
        };
        offsets[i] += bytes.len() as u64;
        let direction = if receive { Direction::Receive } else { Direction::Send };
        session.update(&connection, &Update::Piece(direction, piece), &mut out);
        // A handshake is listened to for what it agrees on, and because its connection may turn out to be readable.
        if let Understanding::Not(foreign) = session.understanding()
            && foreign != Foreign::Tls
        {
            assert_eq!(session.interest(direction), Interest::NEVER);
        }
        receive ^= flags & 8 != 0;
    }
});
