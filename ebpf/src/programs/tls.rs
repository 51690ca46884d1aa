//! What TLS libraries are given to encrypt, and what they have decrypted: probes at the functions that read and write.
//!
//! Which connection a session is on shows in what its own calls do: a library that was given a socket uses it inside of the call, on
//! the same thread. One that was given memory instead (Node.js, Python's asyncio) is fed by the thread that reads the socket: the first
//! call for a session after bytes that look like TLS were received takes them. Either way the socket is remembered for the session, and
//! looked at again with each call. No structure of a library is looked into.

use aya_ebpf::{
    EbpfContext as _,
    programs::{ProbeContext, RetProbeContext},
};
use geophone_ebpf::{
    config::RUNTIME_GO,
    record::{NOWHERE, RECEIVE, SEND},
    stats::Counter,
};

use crate::{
    capture, emit, go, handover,
    kernel::{read, read_user_or_zero},
    maps::{
        CERTAIN, CONNECTION_TLS, CONNECTION_WHOLE, CONNECTIONS, Connection, MOVED_JOINED, MOVED_WHOLE, Moved, RUNTIMES,
        SOURCE_BUFFER, SOURCE_NONE, TLS_CALLS, TLS_SESSIONS, TlsCall, TlsCaller, TlsPlace, TlsSession, config,
    },
    process::Current,
};

/// A call that sends, as [`SEND`].
pub const TLS_SEND: u32 = SEND as u32;
/// A call that receives, as [`RECEIVE`].
pub const TLS_RECEIVE: u32 = RECEIVE as u32;
/// A handshake.
pub const TLS_HANDSHAKE: u32 = 2;
/// The making of a session, whose address will be where `session` says.
pub const TLS_MAKE: u32 = 3;

/// Bytes of a record's header.
pub const HEADER: u64 = 5;

/// After so many calls in a row that speak for another socket, a session is believed to be on that one.
const DOUBTS: u32 = 2;

/// Whether bytes begin as a TLS record does (RFC 8446, section 5.1): change cipher spec to application data, version 3.x, a length.
#[inline(always)]
pub fn is_record(header: &[u8; HEADER as usize]) -> bool {
    const LONGEST: u16 = (1 << 14) + 2048;
    let length = u16::from_be_bytes([header[3], header[4]]);
    header[0] >= 20 && header[0] <= 23 && header[1] == 3 && header[2] <= 4 && length != 0 && length <= LONGEST
}

/// Who is running: a goroutine moves between threads.
#[inline(always)]
pub fn caller(who: Current) -> TlsCaller {
    let mut caller = TlsCaller { tgid: who.tgid, goroutine: 0, id: u64::from(who.tid) };
    // SAFETY: the map keeps the value alive while the program runs.
    if let Some(runtime) = unsafe { RUNTIMES.get(who.tgid) }
        && runtime.kind == RUNTIME_GO
    {
        let (mut task, mut parent) = (0, 0);
        go::current(runtime, &mut task, &mut parent);
        if task != 0 {
            caller.goroutine = 1;
            caller.id = task;
        }
    }
    caller
}

/// A function is entered: `(session, buffer, length)`, or `(session, buffer, length, size_t *count)` when `counted`.
#[inline(always)]
pub fn entered(ctx: &ProbeContext, what: u32, counted: bool, readable: bool) {
    let Some(who) = Current::traced() else {
        return;
    };
    let regs = ctx.as_ptr() as u64;
    let argument = |index: usize| read::<u64>(regs, config!(offsets.regs_function[index])).unwrap_or_default();
    let call = Entered {
        session: argument(0),
        buffer: if readable { argument(1) } else { 0 },
        length: if readable && what == TLS_SEND { argument(2) & LENGTH } else { 0 },
        count: if counted { argument(3) } else { 0 },
        stack: read::<u64>(regs, config!(offsets.regs_sp)).unwrap_or_default(),
        what,
    };
    begin(caller(who), &call);
    tell(who, &call, 0);
}

/// What is known of a call when it begins; as in [`TlsCall`].
pub struct Entered {
    pub session: u64,
    pub buffer: u64,
    /// How many bytes are to be sent; 0: it is not said, or it receives.
    pub length: u64,
    pub count: u64,
    pub stack: u64,
    pub what: u32,
}

/// An `int` that is no error.
const LENGTH: u64 = 0x7fff_ffff;

/// Takes note of a call.
#[inline(always)]
pub fn begin(caller: TlsCaller, call: &Entered) {
    if let Some(found) = TLS_CALLS.get_ptr_mut(caller) {
        // SAFETY: the map keeps the value alive; nobody else runs as this thread or goroutine.
        let found: &mut TlsCall = unsafe { &mut *found };
        // A function that another one of the library calls is deeper on the stack. What is not deeper is a new call; of the one before
        // its end was not seen.
        if found.session != 0 && call.stack < found.stack {
            return;
        }
        found.session = call.session;
        found.buffer = call.buffer;
        found.count = call.count;
        found.stack = call.stack;
        found.what = call.what;
        found.sk = 0;
        found.position = 0;
        found.sent = 0;
        found.told = 0;
        return;
    }
    let new = TlsCall {
        session: call.session,
        buffer: call.buffer,
        count: call.count,
        stack: call.stack,
        what: call.what,
        ..IDLE
    };
    if TLS_CALLS.insert(caller, new, 0).is_err() {
        emit::count(Counter::MapFull);
    }
}

const IDLE: TlsCall = TlsCall {
    session: 0,
    buffer: 0,
    count: 0,
    stack: 0,
    sk: 0,
    position: 0,
    received: 0,
    received_at: 0,
    sent: 0,
    what: 0,
    told: 0,
};

/// Bytes of a TLS connection went through its socket; which call that was is in the work space. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn moved() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let moved: &Moved = unsafe { &(*scratch).call };
    let Some(connection) = CONNECTIONS.get_ptr_mut(moved.sk) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let connection: &Connection = unsafe { &*connection };
    if moved.len == 0 {
        return 0;
    }
    let before = connection.position[moved.direction as usize & 1].wrapping_sub(u64::from(moved.len));
    let caller = caller(moved.who);
    let Some(call) = TLS_CALLS.get_ptr_mut(caller) else {
        if moved.direction == TLS_RECEIVE {
            // A library may be fed with it.
            let fed = TlsCall { received: moved.sk, received_at: before, ..IDLE };
            let _ = TLS_CALLS.insert(caller, fed, 0);
        }
        return 0;
    };
    // SAFETY: the map keeps the value alive; nobody else runs as this thread or goroutine.
    let call: &mut TlsCall = unsafe { &mut *call };
    let inside = call.session != 0
        && (call.stack == 0
            || read::<u64>(handover::registers(), config!(offsets.regs_sp)).unwrap_or_default() < call.stack);
    if inside {
        if call.sk == 0 && (call.what == moved.direction || call.what == TLS_HANDSHAKE) {
            call.sk = moved.sk;
            call.position = before;
        }
    } else if moved.direction == TLS_RECEIVE {
        call.received = moved.sk;
        call.received_at = before;
    } else if call.sent != 0 {
        // What was encrypted just before, into memory, goes out.
        let session = TlsSession { address: call.sent, tgid: moved.who.tgid, pad: 0 };
        call.sent = 0;
        learn(session, moved.sk, false);
    }
    0
}

/// A function returns.
#[inline(always)]
pub fn returned(ctx: &RetProbeContext) {
    let Some(who) = Current::traced() else {
        return;
    };
    let Some(call) = TLS_CALLS.get_ptr_mut(caller(who)) else {
        return;
    };
    // SAFETY: the map keeps the value alive; nobody else runs as this thread.
    let call: &mut TlsCall = unsafe { &mut *call };
    let regs = ctx.as_ptr() as u64;
    // A function that the one which is meant has called.
    if call.session == 0 || read::<u64>(regs, config!(offsets.regs_sp)).unwrap_or_default() < call.stack {
        return;
    }
    let result = read::<u64>(regs, config!(offsets.regs_return)).unwrap_or_default() as i32;
    if call.what == TLS_MAKE {
        let session = read_user_or_zero::<u64>(call.session);
        call.session = 0;
        if result >= 0 {
            made(who, session);
        }
        return;
    }
    let count = if call.count == 0 {
        i64::from(result)
    } else if result == 1 {
        read_user_or_zero::<u64>(call.count) as i64
    } else {
        0
    };
    complete(who, call, count, 0);
}

/// `SSL *SSL_new(SSL_CTX *)` returns.
#[inline(always)]
pub fn created(ctx: &RetProbeContext) {
    if let Some(who) = Current::traced() {
        made(who, read::<u64>(ctx.as_ptr() as u64, config!(offsets.regs_return)).unwrap_or_default());
    }
}

/// A session begins. What was known of another one at its address is over.
#[inline(always)]
fn made(who: Current, address: u64) {
    if address == 0 {
        return;
    }
    let session = TlsSession { address, tgid: who.tgid, pad: 0 };
    let new = TlsPlace { sk: 0, born: 0, whole: 1, doubts: 0, ahead: 0 };
    // An LRU map: an insertion makes room for itself.
    let _ = TLS_SESSIONS.insert(session, new, 0);
}

/// A call begins that sends: where its session is known to be, that is told at once, because the answer may be there before it returns.
/// `since`: see [`complete`].
#[inline(always)]
pub fn tell(who: Current, call: &Entered, since: u64) {
    if call.length == 0 {
        return;
    }
    let session = TlsSession { address: call.session, tgid: who.tgid, pad: 0 };
    let Some(place) = TLS_SESSIONS.get_ptr_mut(session) else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let place: &mut TlsPlace = unsafe { &mut *place };
    let Some(connection) = connection(place.sk, place.born) else {
        return;
    };
    let Some(under_way) = TLS_CALLS.get_ptr_mut(caller(who)) else {
        return;
    };
    // SAFETY: as above.
    let under_way: &mut TlsCall = unsafe { &mut *under_way };
    if under_way.session != call.session || under_way.stack != call.stack {
        // It is a function that another one of the library calls.
        return;
    }
    under_way.told = 1;
    let ahead = place.ahead;
    if ahead >= call.length {
        return;
    }
    place.ahead = call.length;
    // SAFETY: as above.
    let connection: &Connection = unsafe { &*connection };
    capture::report(Moved {
        sk: place.sk,
        who,
        direction: TLS_SEND,
        len: (call.length - ahead) as u32,
        source: SOURCE_BUFFER,
        decrypted: how(place.whole, connection, since),
        address: call.buffer.wrapping_add(ahead),
        count: if ahead == 0 { connection.position[0] } else { NOWHERE },
    });
}

/// Whether all that was decrypted of a connection was seen.
#[inline(always)]
fn how(whole: u32, connection: &Connection, since: u64) -> u32 {
    let whole =
        if since == 0 { whole != 0 } else { connection.flags & CONNECTION_WHOLE != 0 && connection.born > since };
    if whole { MOVED_WHOLE } else { MOVED_JOINED }
}

/// A call is over that moved `count` bytes, or failed. `since`: of connections that are younger, all that is decrypted was seen; 0: that is
/// known of each session.
#[inline(always)]
pub fn complete(who: Current, call: &mut TlsCall, count: i64, since: u64) {
    let session = TlsSession { address: call.session, tgid: who.tgid, pad: 0 };
    let (sk, received) = (call.sk, call.received);
    let mut position = if sk == 0 { NOWHERE } else { call.position };
    call.session = 0;
    if sk != 0 {
        learn(session, sk, true);
    } else if received != 0 && (call.what != TLS_SEND || !is_placed(session)) && may_be_on(session, received) {
        // A call that sends may have to finish the handshake first.
        learn(session, received, false);
        position = if call.what == TLS_SEND { NOWHERE } else { call.received_at };
        call.received = 0;
    }
    if call.what != TLS_SEND {
        call.received = 0;
    }
    if count <= 0 || call.what == TLS_HANDSHAKE {
        return;
    }
    let Some(place) = TLS_SESSIONS.get_ptr_mut(session) else {
        emit::count(Counter::TlsUnplaced);
        if call.what == TLS_SEND {
            call.sent = session.address;
        }
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let place: &mut TlsPlace = unsafe { &mut *place };
    if call.told != 0 {
        place.ahead = place.ahead.saturating_sub(count as u64);
        return;
    }
    let Some(connection) = connection(place.sk, place.born) else {
        if call.what == TLS_SEND {
            call.sent = session.address;
        }
        place.whole = 0;
        emit::count(Counter::TlsUnplaced);
        return;
    };
    // SAFETY: as above.
    let connection: &Connection = unsafe { &*connection };
    capture::report(Moved {
        sk: place.sk,
        who,
        direction: call.what & 1,
        len: count.min(i64::from(u32::MAX)) as u32,
        source: if call.buffer == 0 { SOURCE_NONE } else { SOURCE_BUFFER },
        decrypted: how(place.whole, connection, since),
        address: call.buffer,
        count: position,
    });
}

/// Whether it is known on which connection a session is.
#[inline(always)]
fn is_placed(session: TlsSession) -> bool {
    // SAFETY: a copy is taken at once.
    let place = unsafe { TLS_SESSIONS.get(session) }.copied();
    place.is_some_and(|place| connection(place.sk, place.born).is_some())
}

/// A connection, if it is still the same.
#[inline(always)]
fn connection(sk: u64, born: u64) -> Option<*mut Connection> {
    let entry = CONNECTIONS.get_ptr_mut(sk)?;
    // SAFETY: the map keeps the value alive while the program runs.
    (unsafe { (*entry).born } == born).then_some(entry)
}

/// Whether a session may be on a socket from which its thread has received: on a TLS connection that is no other session's.
#[inline(always)]
fn may_be_on(session: TlsSession, sk: u64) -> bool {
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return false;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let connection: &Connection = unsafe { &*entry };
    if connection.flags & CONNECTION_TLS == 0 {
        return false;
    }
    if connection.session == 0 || connection.session == session.address {
        return true;
    }
    let other = TlsSession { address: connection.session, ..session };
    // SAFETY: the map keeps the value alive while the program runs.
    unsafe { TLS_SESSIONS.get(other) }.is_none_or(|place| place.sk != sk)
}

/// A session's call speaks for a socket: `certain` when it used it itself.
#[inline(always)]
pub fn learn(session: TlsSession, sk: u64, certain: bool) {
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let entry: &mut Connection = unsafe { &mut *entry };
    let born = entry.born;
    let mut whole = 0;
    if let Some(place) = TLS_SESSIONS.get_ptr_mut(session) {
        // SAFETY: as above.
        let place: &mut TlsPlace = unsafe { &mut *place };
        let doubts = place.doubts;
        if place.sk == sk && place.born == born {
            if certain {
                place.doubts = CERTAIN;
            } else if doubts != CERTAIN {
                place.doubts = 0;
            }
            entry.session = session.address;
            return;
        }
        if place.sk == 0 {
            whole = place.whole;
        } else if !certain && connection(place.sk, place.born).is_some() {
            if doubts == CERTAIN {
                return;
            }
            if doubts < DOUBTS {
                place.doubts = doubts + 1;
                return;
            }
        }
    }
    entry.session = session.address;
    let doubts = if certain { CERTAIN } else { 0 };
    let _ = TLS_SESSIONS.insert(session, TlsPlace { sk, born, whole, doubts, ahead: 0 }, 0);
}
