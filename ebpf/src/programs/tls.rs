//! What TLS libraries are given to encrypt, and what they have decrypted: probes at the functions that read and write.
//!
//! Which connection a session is on shows in what its own calls do: a library that was given a socket uses it inside of the call, on
//! the same thread. One that was given memory instead (Node.js, Python's asyncio) is fed by the thread that reads the socket: the first
//! call for a session after bytes that look like TLS were received takes them. Either way the socket is remembered for the session, and
//! looked at again with each call. No structure of a library is looked into.
//!
//! What a probe sees is put into the work space, and what is to be done with it is in functions that are verified by themselves, one after
//! the other rather than inside of each other: they share a short stack.

use aya_ebpf::{
    EbpfContext as _,
    programs::{ProbeContext, RetProbeContext},
};
use geophone_ebpf::{
    config::{
        RUNTIME_GO, Runtime,
        go::{TLS_READ, TLS_SINCE, TLS_WRITE},
    },
    record::{NOWHERE, RECEIVE, SEND},
    stats::Counter,
};

use crate::{
    capture, emit, go, handover,
    kernel::{read, read_user_or_zero},
    maps::{
        CERTAIN, CONNECTION_DECRYPTED, CONNECTION_JOINED, CONNECTION_TLS, CONNECTION_WHOLE, CONNECTIONS, Connection,
        MOVED_JOINED, MOVED_RAW, MOVED_WHOLE, Moved, RUNTIMES, RUSTLS, SOURCE_BUFFER, SOURCE_NONE, Scratch, TLS_CALLS,
        TLS_SESSIONS, TLS_STREAMS, TlsCall, TlsCaller, TlsPlace, TlsProbe, TlsSession, TlsStream, config,
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

/// An `int` that is no error.
const LENGTH: u64 = 0x7fff_ffff;

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
    if let Some(runtime) = go_runtime(who) {
        let (mut task, mut parent) = (0, 0);
        go::current(runtime, &mut task, &mut parent);
        if task != 0 {
            caller.goroutine = 1;
            caller.id = task;
        }
    }
    caller
}

#[inline(always)]
fn go_runtime(who: Current) -> Option<&'static Runtime> {
    // SAFETY: the map keeps the value alive while the program runs.
    unsafe { RUNTIMES.get(who.tgid) }.filter(|runtime| runtime.kind == RUNTIME_GO)
}

/// A function is entered: `(session, buffer, length)`, or `(session, buffer, length, size_t *count)` when `counted`.
#[inline(always)]
pub fn entered(ctx: &ProbeContext, what: u32, counted: bool, readable: bool) {
    let Some(who) = Current::traced() else {
        return;
    };
    let regs = ctx.as_ptr() as u64;
    capture::with_scratch(|scratch| {
        // SAFETY: the work space is this program's while it runs.
        let probe = unsafe { &mut (*scratch).tls };
        let argument = |index: usize| read::<u64>(regs, config!(offsets.regs_function[index])).unwrap_or_default();
        probe.who = who;
        probe.session = argument(0);
        probe.buffer = if readable { argument(1) } else { 0 };
        probe.length = if readable && what == TLS_SEND { argument(2) & LENGTH } else { 0 };
        probe.count = if counted { argument(3) } else { 0 };
        probe.stack = read::<u64>(regs, config!(offsets.regs_sp)).unwrap_or_default();
        probe.here = 0;
        probe.what = what;
        if tls_begin() != 0 {
            capture::report_call();
        }
    });
}

/// Go's `func (c *Conn) Read(b []byte) (int, error)`, or `Write`, is entered.
#[inline(always)]
pub fn entered_go(ctx: &ProbeContext, what: u32) {
    let Some(who) = Current::traced() else {
        return;
    };
    if go_runtime(who).is_none() {
        return;
    }
    let regs = ctx.as_ptr() as u64;
    capture::with_scratch(|scratch| {
        // SAFETY: the work space is this program's while it runs.
        let probe = unsafe { &mut (*scratch).tls };
        let register = |offset: u32| read::<u64>(regs, offset).unwrap_or_default();
        probe.who = who;
        probe.session = register(config!(offsets.regs_go_first));
        probe.buffer = register(config!(offsets.regs_go_second));
        probe.length = if what == TLS_SEND { register(config!(offsets.regs_go_third)) & LENGTH } else { 0 };
        probe.count = 0;
        probe.stack = 0;
        probe.here = register(config!(offsets.regs_ip));
        probe.what = what;
        if tls_begin() != 0 {
            capture::report_call();
        }
    });
}

/// A function returns.
#[inline(always)]
pub fn returned(ctx: &RetProbeContext) {
    leave(ctx.as_ptr() as u64, false);
}

/// One of the return instructions of Go's `Read` and `Write` is reached.
#[inline(always)]
pub fn returned_go(ctx: &ProbeContext) {
    leave(ctx.as_ptr() as u64, true);
}

#[inline(always)]
fn leave(regs: u64, go: bool) {
    let Some(who) = Current::traced() else {
        return;
    };
    capture::with_scratch(|scratch| {
        // SAFETY: the work space is this program's while it runs.
        let probe = unsafe { &mut (*scratch).tls };
        probe.who = who;
        probe.stack = if go { 0 } else { read::<u64>(regs, config!(offsets.regs_sp)).unwrap_or_default() };
        // Go returns its first value where C does.
        probe.result = read::<u64>(regs, config!(offsets.regs_return)).unwrap_or_default();
        probe.here = u64::from(go);
        if tls_end() != 0 {
            capture::report_call();
        }
    });
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
pub fn made(who: Current, address: u64) {
    if address == 0 {
        return;
    }
    let session = TlsSession { address, tgid: who.tgid, pad: 0 };
    let new = TlsPlace { sk: 0, born: 0, whole: 1, doubts: 0, ahead: 0 };
    // An LRU map: an insertion makes room for itself.
    let _ = TLS_SESSIONS.insert(session, new, 0);
}

/// Nothing is done.
pub const IDLE: TlsCall =
    TlsCall { session: 0, buffer: 0, count: 0, stack: 0, sk: 0, position: 0, received: 0, sent: 0, what: 0, told: 0 };

/// A call begins, as the work space says. Returns whether it is to be told at once. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tls_begin() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (probe, moved): (&TlsProbe, &mut Moved) = unsafe { (&(*scratch).tls, &mut (*scratch).call) };
    let caller = caller(probe.who);
    if TLS_CALLS.get_ptr_mut(caller).is_none() {
        if TLS_CALLS.insert(caller, IDLE, 0).is_err() {
            emit::count(Counter::MapFull);
        }
    }
    let Some(call) = TLS_CALLS.get_ptr_mut(caller) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive; nobody else runs as this thread or goroutine.
    let call: &mut TlsCall = unsafe { &mut *call };
    // A function that another one of the library calls is deeper on the stack. What is not deeper is a new call; of the one before its end
    // was not seen.
    if call.session != 0 && probe.stack < call.stack {
        return 0;
    }
    call.session = probe.session;
    call.buffer = probe.buffer;
    call.count = probe.count;
    call.stack = probe.stack;
    call.what = probe.what;
    call.sk = 0;
    call.position = 0;
    call.sent = 0;
    call.told = 0;
    let session = TlsSession { address: probe.session, tgid: probe.who.tgid, pad: 0 };
    let mut since = 0;
    if probe.here != 0
        && let Some(runtime) = go_runtime(probe.who)
    {
        since = runtime.at[TLS_SINCE];
        let at = if probe.what == TLS_SEND { runtime.at[TLS_WRITE] } else { runtime.at[TLS_READ] };
        // Where the connection encrypts for a TCP or Unix socket directly, that is known at once. Otherwise its own system calls tell.
        if let Some(sk) = go::socket_of_conn(runtime, probe.session, probe.here.wrapping_sub(at)) {
            learn(session, sk, true);
        }
    }
    if probe.length == 0 {
        return 0;
    }
    // Where its session is known to be, a call that sends is told now, because the answer may be there before it returns.
    let Some(place) = TLS_SESSIONS.get_ptr_mut(session) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let place: &mut TlsPlace = unsafe { &mut *place };
    let Some(connection) = connection(place.sk, place.born) else {
        return 0;
    };
    call.told = 1;
    let ahead = place.ahead;
    if ahead >= probe.length {
        return 0;
    }
    place.ahead = probe.length;
    // SAFETY: as above.
    let connection: &Connection = unsafe { &*connection };
    moved.sk = place.sk;
    moved.who = probe.who;
    moved.direction = TLS_SEND;
    moved.len = (probe.length - ahead) as u32;
    moved.source = SOURCE_BUFFER;
    moved.decrypted = how(place.whole, connection, since);
    moved.address = probe.buffer.wrapping_add(ahead);
    moved.record = if ahead == 0 { connection.position[0] } else { NOWHERE };
    1
}

/// Whether all that was decrypted of a connection was seen. `since`: it is, where the connection is younger; 0: that is known of each session.
#[inline(always)]
fn how(whole: u32, connection: &Connection, since: u64) -> u32 {
    let whole =
        if since == 0 { whole != 0 } else { connection.flags & CONNECTION_WHOLE != 0 && connection.born > since };
    if whole { MOVED_WHOLE } else { MOVED_JOINED }
}

/// A call is over, as the work space says. Returns whether something is to be told. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tls_end() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (probe, moved): (&TlsProbe, &mut Moved) = unsafe { (&(*scratch).tls, &mut (*scratch).call) };
    let Some(call) = TLS_CALLS.get_ptr_mut(caller(probe.who)) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive; nobody else runs as this thread or goroutine.
    let call: &mut TlsCall = unsafe { &mut *call };
    // Deeper: a function that the one which is meant has called.
    if call.session == 0 || probe.stack < call.stack {
        return 0;
    }
    let result = i64::from(probe.result as i32);
    let mut since = 0;
    let mut count = result;
    if call.what == TLS_MAKE {
        let session = read_user_or_zero::<u64>(call.session);
        call.session = 0;
        if result >= 0 {
            made(probe.who, session);
        }
        return 0;
    }
    if probe.here != 0 {
        count = probe.result as i64;
        since = go_runtime(probe.who).map_or(0, |runtime| runtime.at[TLS_SINCE]);
    } else if call.count != 0 {
        count = if result == 1 { read_user_or_zero::<u64>(call.count) as i64 } else { 0 };
    }
    let session = TlsSession { address: call.session, tgid: probe.who.tgid, pad: 0 };
    call.session = 0;
    let mut position = NOWHERE;
    if call.sk != 0 {
        position = call.position;
        learn(session, call.sk, true);
    } else if call.received != 0 && (call.what != TLS_SEND || !is_placed(session)) && may_be_on(session, call.received)
    {
        // A call that sends may have to finish the handshake first.
        learn(session, call.received, false);
        call.received = 0;
    }
    if call.what != TLS_SEND {
        call.received = 0;
    }
    if count <= 0 || call.what == TLS_HANDSHAKE {
        return 0;
    }
    let Some(place) = TLS_SESSIONS.get_ptr_mut(session) else {
        emit::count(Counter::TlsUnplaced);
        if call.what == TLS_SEND {
            call.sent = session.address;
        }
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let place: &mut TlsPlace = unsafe { &mut *place };
    if call.told != 0 {
        place.ahead = place.ahead.saturating_sub(count as u64);
        return 0;
    }
    let Some(connection) = connection(place.sk, place.born) else {
        if call.what == TLS_SEND {
            call.sent = session.address;
        }
        place.whole = 0;
        emit::count(Counter::TlsUnplaced);
        return 0;
    };
    if call.what != TLS_SEND {
        position = NOWHERE;
        if let Some(stream) = stream(place.sk, place.born) {
            // SAFETY: as above.
            position = core::mem::replace(unsafe { &mut (*stream).record }, NOWHERE);
        }
    }
    // SAFETY: as above.
    let connection: &Connection = unsafe { &*connection };
    moved.sk = place.sk;
    moved.who = probe.who;
    moved.direction = call.what & 1;
    moved.len = count.min(i64::from(u32::MAX)) as u32;
    moved.source = if call.buffer == 0 { SOURCE_NONE } else { SOURCE_BUFFER };
    moved.decrypted = how(place.whole, connection, since);
    moved.address = call.buffer;
    moved.record = position;
    1
}

/// Where the call in the work space is in what is decrypted, and what comes next after it. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tls_position() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (moved, offset): (&Moved, &mut u64) = unsafe { (&(*scratch).call, &mut (*scratch).offset) };
    *offset = 0;
    let Some(entry) = CONNECTIONS.get_ptr_mut(moved.sk) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let entry: &mut Connection = unsafe { &mut *entry };
    let Some(stream) = stream(moved.sk, entry.born) else {
        return 0;
    };
    // SAFETY: as above.
    let stream: &mut TlsStream = unsafe { &mut *stream };
    if moved.decrypted != MOVED_RAW && entry.flags & CONNECTION_DECRYPTED == 0 {
        if moved.decrypted == MOVED_WHOLE {
            stream.position = [0; 2];
        } else {
            entry.flags |= CONNECTION_JOINED;
        }
        entry.flags |= CONNECTION_DECRYPTED;
    }
    let d = moved.direction as usize & 1;
    if stream.position[d] == NOWHERE {
        let known = moved.decrypted != MOVED_RAW && moved.record != NOWHERE;
        stream.position[d] = if known { moved.record } else { entry.position[d] };
    }
    *offset = stream.position[d];
    stream.position[d] = offset.wrapping_add(u64::from(moved.len));
    0
}

/// As above.
#[inline(always)]
pub fn position() {
    tls_position();
}

/// What is known of a TLS connection; made when it is new.
#[inline(always)]
pub fn stream(sk: u64, born: u64) -> Option<*mut TlsStream> {
    if let Some(found) = TLS_STREAMS.get_ptr_mut(sk)
        // SAFETY: the map keeps the value alive while the program runs.
        && unsafe { (*found).born } == born
    {
        return Some(found);
    }
    let _ = TLS_STREAMS.insert(sk, TlsStream { born, position: [NOWHERE; 2], session: 0, record: NOWHERE }, 0);
    TLS_STREAMS.get_ptr_mut(sk)
}

/// Bytes of a TLS connection went through its socket; which call that was is in the work space. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tls_moved() -> u64 {
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
    if moved.direction == TLS_RECEIVE
        && let Some(stream) = stream(moved.sk, connection.born)
    {
        // A record may come in several calls; and where it ends within one, where the next begins is not looked for.
        let whole = u64::from(moved.len) >= HEADER && moved.source != SOURCE_NONE;
        if whole && begins_record(scratch) {
            // SAFETY: as above.
            unsafe { (*stream).record = before };
        } else if !whole {
            // SAFETY: as above.
            unsafe { (*stream).record = NOWHERE };
        }
    }
    let caller = caller(moved.who);
    if TLS_CALLS.get_ptr_mut(caller).is_none() && moved.direction == TLS_RECEIVE {
        // A library may be fed with it.
        let _ = TLS_CALLS.insert(caller, IDLE, 0);
    }
    let Some(call) = TLS_CALLS.get_ptr_mut(caller) else {
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
    } else if call.sent != 0 {
        // What was encrypted just before, into memory, goes out.
        let session = TlsSession { address: call.sent, tgid: moved.who.tgid, pad: 0 };
        call.sent = 0;
        learn(session, moved.sk, false);
        if call.told == RUSTLS {
            // SAFETY: as above.
            unsafe { (*scratch).sent = session.address };
        }
    }
    0
}

/// Whether the bytes of the call in the work space begin as a record does.
#[inline(always)]
fn begins_record(scratch: *mut Scratch) -> bool {
    if capture::copy(scratch, 0, HEADER) < HEADER {
        return false;
    }
    // SAFETY: the work space is this program's while it runs.
    is_record(unsafe { &*(&raw const (*scratch).bytes).cast() })
}

/// As above.
#[inline(always)]
pub fn moved() {
    tls_moved();
}

/// Whether it is known on which connection a session is.
#[inline(always)]
fn is_placed(session: TlsSession) -> bool {
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(place) = (unsafe { TLS_SESSIONS.get(session) }) else {
        return false;
    };
    connection(place.sk, place.born).is_some()
}

/// A connection, if it is still the same.
#[inline(always)]
pub fn connection(sk: u64, born: u64) -> Option<*mut Connection> {
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
    let entry: &Connection = unsafe { &*entry };
    if entry.flags & CONNECTION_TLS == 0 {
        return false;
    }
    let Some(stream) = stream(sk, entry.born) else {
        return false;
    };
    // SAFETY: as above.
    let owner = unsafe { (*stream).session };
    if owner == 0 || owner == session.address {
        return true;
    }
    let other = TlsSession { address: owner, ..session };
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
    let born = unsafe { (*entry).born };
    let Some(stream) = stream(sk, born) else {
        return;
    };
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
            // SAFETY: as above.
            unsafe { (*stream).session = session.address };
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
    // SAFETY: as above.
    unsafe { (*stream).session = session.address };
    let doubts = if certain { CERTAIN } else { 0 };
    let _ = TLS_SESSIONS.insert(session, TlsPlace { sk, born, whole, doubts, ahead: 0 }, 0);
}
