//! rustls: what its ciphers are given to encrypt, and what they have decrypted, record by record.
//!
//! Most of rustls is generic, or inlined into whatever uses it. The functions of a cipher are neither: they are called through a table,
//! because it is the handshake that chooses the cipher. A cipher (one for each direction, and for each key) lies on the heap and does
//! not move, unlike all else of a session; so its address stands for its direction of the session. Its first record has the number 0:
//! whatever was at that address before is over then.
//!
//! A cipher makes no system call. What is decrypted was received by the same thread just before; what is encrypted goes out by the next
//! send of the thread. Before the first of a session has, its beginning is kept here until then, because the memory that it is in may be
//! used again by that time.

use aya_ebpf::{
    EbpfContext as _,
    programs::{ProbeContext, RetProbeContext},
};
use geophone_ebpf::{record::NOWHERE, stats::Counter};

use crate::{
    capture, emit,
    kernel::{copy_kernel, read, read_user_or_zero},
    maps::{
        CONNECTION_WHOLE, Connection, KEPT, Kept, MOVED_JOINED, MOVED_RAW, MOVED_WHOLE, Moved, RUSTLS, RUSTLS_KEPT,
        RustlsProbe, SOURCE_BUFFER, SOURCE_KEPT, SOURCE_NONE, SOURCE_VECTOR, Scratch, TLS_CALLS, TLS_SESSIONS, TlsCall,
        TlsPlace, TlsSession, config,
    },
    process::Current,
    tls::{IDLE, TLS_RECEIVE, TLS_SEND, caller, connection, learn, made, stream},
};

/// `ContentType::ApplicationData`, the fourth of that enumeration.
const APPLICATION_DATA: u64 = 3;
/// The most bytes in a record (RFC 8446, section 5.1).
const LONGEST: u64 = 1 << 14;
/// A result of `decrypt` begins with the number of its error, among those of `rustls::Error`; the success has the number after them.
/// Those that decrypting may give are below this.
const SUCCESS: u64 = 18;
/// Chunks of what is to be sent that are gone through for the one where a record begins.
const CHUNKS: u32 = 32;

/// `OutboundPlainMessage`: the chunks (one, or a list and what of them), and the type.
type Outbound = [u64; 5];
/// `Result<InboundPlainMessage, Error>`: the number, where the bytes are, how many, and the type.
type Inbound = [u64; 4];
/// `&[u8]`
type Slice = [u64; 2];
/// Before 0.23, `BorrowedPlainMessage`: where the bytes are, how many, then type and version.
type Borrowed = [u64; 3];
/// Before 0.23, `OpaqueMessage` and `PlainMessage`: a vector (address, length and capacity, in the compiler's order), then version and type.
type Vector = [u64; 3];
/// Before 0.23, `Result<PlainMessage, Error>`: 0 if it is a message, and the message.
type Plain = [u64; 5];

/// The entry of `fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error>`; `OLDER`: of what was in its
/// place before 0.23, `fn encrypt(&mut self, msg: BorrowedPlainMessage<'_>, seq: u64) -> Result<OpaqueMessage, Error>`.
#[inline(always)]
pub fn encrypt<const OLDER: bool>(ctx: &ProbeContext) {
    entered::<OLDER>(ctx, |_| {
        if rustls_encrypt() == 0 {
            return;
        }
        capture::report_call();
        if rustls_rest() != 0 {
            capture::report_call();
        }
    });
}

/// The entry of `fn decrypt<'a>(&mut self, msg: InboundOpaqueMessage<'a>, seq: u64) -> Result<InboundPlainMessage<'a>, Error>`; `OLDER`: of what was in
/// its place before 0.23, `fn decrypt(&mut self, msg: OpaqueMessage, seq: u64) -> Result<PlainMessage, Error>`.
#[inline(always)]
pub fn decrypt<const OLDER: bool>(ctx: &ProbeContext) {
    entered::<OLDER>(ctx, |_| {
        rustls_decrypt();
    });
}

/// Made for each program by itself: a function that two of them call is one more frame on the stack, which has no room for it before Linux 6.8.
#[inline(always)]
fn entered<const OLDER: bool>(ctx: &ProbeContext, then: impl FnOnce(*mut Scratch)) {
    let Some(who) = Current::traced() else {
        return;
    };
    let regs = ctx.as_ptr() as u64;
    capture::with_scratch(|scratch| {
        // SAFETY: the work space is this program's while it runs.
        let probe = unsafe { &mut (*scratch).rustls };
        let argument = |index: usize| read::<u64>(regs, config!(offsets.regs_rust[index])).unwrap_or_default();
        *probe = RustlsProbe {
            who,
            result: argument(0),
            cipher: argument(1),
            message: argument(2),
            number: argument(3),
            older: u64::from(OLDER),
            stack: read::<u64>(regs, config!(offsets.regs_sp)).unwrap_or_default(),
            from: 0,
            len: 0,
            rest: 0,
            rest_chunks: 0,
            rest_len: 0,
        };
        then(scratch);
    });
}

/// `decrypt` returns.
#[inline(always)]
pub fn decrypted<const OLDER: bool>(ctx: &RetProbeContext) {
    let Some(who) = Current::traced() else {
        return;
    };
    let regs = ctx.as_ptr() as u64;
    capture::with_scratch(|scratch| {
        // SAFETY: the work space is this program's while it runs.
        let probe = unsafe { &mut (*scratch).rustls };
        probe.who = who;
        probe.older = u64::from(OLDER);
        probe.stack = read::<u64>(regs, config!(offsets.regs_sp)).unwrap_or_default();
        if rustls_decrypted() != 0 {
            capture::report_call();
        }
    });
}

/// The type among the type and the version of a message before 0.23, in whichever order the compiler has put them. The version of what is encrypted
/// is never the one that has the type's number (TLS 1.1, which rustls has not).
#[inline(always)]
fn older_type(kind: u64) -> u64 {
    if kind & 0xff == APPLICATION_DATA { APPLICATION_DATA } else { kind >> 32 & 0xff }
}

/// The address, the length and the capacity of a vector, in whichever order the compiler has put them: no memory is at an address as low as a
/// length, and what is decrypted in its place is shorter than before.
#[inline(always)]
fn vector([first, second, third]: Vector) -> Vector {
    let (low, high) = if first < second { (first, second) } else { (second, first) };
    if third >= high {
        [third, low, high]
    } else if third < low {
        [high, third, low]
    } else {
        [high, low, third]
    }
}

/// What the thread does in TLS libraries; made when it is new.
#[inline(always)]
fn call(who: Current) -> Option<&'static mut TlsCall> {
    let caller = caller(who);
    if TLS_CALLS.get_ptr_mut(caller).is_none() {
        let _ = TLS_CALLS.insert(caller, IDLE, 0);
    }
    // SAFETY: the map keeps the value alive; nobody else runs as this thread.
    TLS_CALLS.get_ptr_mut(caller).map(|call| unsafe { &mut *call })
}

/// Whether all that was decrypted of a connection was seen.
#[inline(always)]
fn how(place: &TlsPlace, connection: &Connection) -> u32 {
    if place.whole != 0 && connection.flags & CONNECTION_WHOLE != 0 { MOVED_WHOLE } else { MOVED_JOINED }
}

/// A record is to be encrypted; see the work space. Returns whether it is to be told now. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_encrypt() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (probe, moved) = unsafe { (&mut (*scratch).rustls, &mut (*scratch).call) };
    if probe.number == 0 {
        made(probe.who, probe.cipher);
    }
    let [chunks, second, third, fourth, typ] = if probe.older == 0 {
        read_user_or_zero::<Outbound>(probe.message)
    } else {
        let [address, len, kind] = read_user_or_zero::<Borrowed>(probe.message);
        [0, address, len, 0, older_type(kind)]
    };
    // One chunk has no list.
    let single = chunks == 0;
    let len = if single { third } else { fourth.wrapping_sub(third) };
    if typ & 0xff != APPLICATION_DATA || len == 0 || len > LONGEST {
        return 0;
    }
    probe.len = len;
    moved.who = probe.who;
    moved.direction = TLS_SEND;
    moved.len = len as u32;
    moved.regs = 0;
    moved.record = NOWHERE;
    moved.count = second;
    if single {
        probe.from = 0;
        moved.source = SOURCE_BUFFER;
        moved.address = second;
    } else {
        probe.from = third;
        moved.source = SOURCE_VECTOR;
        moved.address = chunks;
        rustls_chunk();
    }
    let Some(call) = call(probe.who) else {
        return 0;
    };
    // Where it goes out is looked at again with each record.
    call.sent = probe.cipher;
    call.told = RUSTLS;
    let session = TlsSession { address: probe.cipher, tgid: probe.who.tgid, pad: 0 };
    if let Some(place) = TLS_SESSIONS.get_ptr_mut(session) {
        // SAFETY: the map keeps the value alive while the program runs.
        let place: &mut TlsPlace = unsafe { &mut *place };
        if let Some(connection) = connection(place.sk, place.born) {
            // SAFETY: as above.
            let connection: &Connection = unsafe { &*connection };
            moved.sk = place.sk;
            moved.decrypted = how(place, connection);
            if place.ahead == 0 {
                moved.record = connection.position[0];
            }
            place.ahead = 1;
            if probe.from != 0 {
                // The rest of a chunk of which a part went before, and then the chunks behind it.
                let [base, whole] = read_user_or_zero::<Slice>(moved.address);
                let here = whole.saturating_sub(probe.from).min(len);
                if here == 0 {
                    // There are too many chunks.
                    moved.source = SOURCE_NONE;
                    return 1;
                }
                probe.rest = moved.address.wrapping_add(size_of::<Slice>() as u64);
                probe.rest_chunks = moved.count.wrapping_sub(1);
                probe.rest_len = len - here;
                moved.source = SOURCE_BUFFER;
                moved.address = base.wrapping_add(probe.from);
                moved.len = here as u32;
            }
            return 1;
        }
    }
    rustls_keep();
    0
}

/// Finds the chunk where the record in the work space begins. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_chunk() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (probe, moved) = unsafe { (&mut (*scratch).rustls, &mut (*scratch).call) };
    let mut step = 0;
    while step < CHUNKS && moved.count > 1 {
        step += 1;
        let [_, len] = read_user_or_zero::<Slice>(moved.address);
        if probe.from < len {
            return 0;
        }
        probe.from -= len;
        moved.address = moved.address.wrapping_add(size_of::<Slice>() as u64);
        moved.count -= 1;
    }
    0
}

/// Puts the rest of a record into the work space whose first part was told. Returns whether there is any. Global, and so verified by
/// itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_rest() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (probe, moved) = unsafe { (&mut (*scratch).rustls, &mut (*scratch).call) };
    if probe.rest_len == 0 {
        return 0;
    }
    moved.source = SOURCE_VECTOR;
    moved.address = probe.rest;
    moved.count = probe.rest_chunks;
    moved.len = probe.rest_len as u32;
    moved.record = NOWHERE;
    1
}

/// Keeps the beginning of the record in the work space until it is sent. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_keep() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (probe, moved) = unsafe { (&(*scratch).rustls, &mut (*scratch).call) };
    let caller = caller(probe.who);
    if let Some(kept) = RUSTLS_KEPT.get_ptr_mut(caller) {
        // SAFETY: the map keeps the value alive; nobody else runs as this thread.
        let kept = unsafe { &mut *kept };
        if kept.cipher == probe.cipher && kept.len != 0 {
            // Goes out together with what is there.
            kept.len = kept.len.saturating_add(probe.len);
            return 0;
        }
        if kept.len != 0 {
            emit::count(Counter::TlsUnplaced);
        }
    }
    // Behind the bytes that are copied, as in `Kept`.
    moved.decrypted = MOVED_RAW;
    let filled = capture::copy(scratch, probe.from, probe.len.min(KEPT as u64));
    // SAFETY: the work space is this program's while it runs, and longer.
    let kept = unsafe { &mut *(&raw mut (*scratch).bytes).cast::<Kept>() };
    kept.cipher = probe.cipher;
    kept.len = probe.len;
    kept.filled = filled;
    if RUSTLS_KEPT.insert(caller, &*kept, 0).is_err() {
        emit::count(Counter::TlsUnplaced);
    }
    0
}

/// The thread has sent what it had encrypted before, by the call in the work space. Puts into the work space what was kept of that.
/// Returns whether there is any. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_sent() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (moved, sent) = unsafe { (&mut (*scratch).call, (*scratch).sent) };
    let session = TlsSession { address: sent, tgid: moved.who.tgid, pad: 0 };
    let Some(place) = TLS_SESSIONS.get_ptr_mut(session) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let place: &mut TlsPlace = unsafe { &mut *place };
    place.ahead = 0;
    let Some(kept) = RUSTLS_KEPT.get_ptr_mut(caller(moved.who)) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive; nobody else runs as this thread.
    let kept: &mut Kept = unsafe { &mut *kept };
    let (len, raw) = (kept.len, u64::from(moved.len));
    if len == 0 || kept.cipher != sent {
        return 0;
    }
    kept.len = 0;
    let Some(connection) = connection(place.sk, place.born) else {
        return 0;
    };
    // SAFETY: as above.
    let connection: &Connection = unsafe { &*connection };
    moved.sk = place.sk;
    moved.direction = TLS_SEND;
    moved.len = len as u32;
    moved.source = SOURCE_KEPT;
    moved.decrypted = how(place, connection);
    moved.address = (&raw const kept.bytes) as u64;
    moved.count = kept.filled;
    moved.record = connection.position[0].wrapping_sub(raw);
    moved.regs = 0;
    1
}

/// What was kept goes out now, if the call in the work space was one that sends it.
#[inline(always)]
pub fn sent(scratch: *mut Scratch) {
    // SAFETY: the work space is this program's while it runs.
    unsafe {
        if (*scratch).sent == 0 {
            return;
        }
        let any = rustls_sent();
        (*scratch).sent = 0;
        if any != 0 {
            capture::report_call();
        }
    }
}

/// Copies kept bytes, leaving out the first `skip`. Returns how many could be copied.
#[inline(always)]
pub fn copy_kept(to: *mut u8, skip: u64, want: u64, moved: &Moved) -> u64 {
    let left = moved.count.saturating_sub(skip);
    let want = capture::at_most::<{ KEPT as u64 }>(want.min(left));
    // SAFETY: there is room for that much; the helper checks the address.
    if want != 0 && unsafe { copy_kernel(to, want, moved.address.wrapping_add(skip)) } { want } else { 0 }
}

/// A record is to be decrypted; see the work space. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_decrypt() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let probe = unsafe { &(*scratch).rustls };
    if probe.number == 0 {
        made(probe.who, probe.cipher);
    }
    let Some(call) = call(probe.who) else {
        return 0;
    };
    let [buffer, len] = if probe.older == 0 {
        read_user_or_zero::<Slice>(probe.message)
    } else {
        let [address, _, capacity] = vector(read_user_or_zero::<Vector>(probe.message));
        [address, capacity]
    };
    call.session = probe.cipher;
    call.buffer = buffer;
    call.position = len;
    call.count = probe.result;
    call.stack = probe.stack;
    call.what = TLS_RECEIVE;
    call.sk = 0;
    0
}

/// It is; see the work space. Returns whether that is to be told. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rustls_decrypted() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (probe, moved) = unsafe { (&(*scratch).rustls, &mut (*scratch).call) };
    let Some(call) = call(probe.who) else {
        return 0;
    };
    if call.session == 0 || probe.stack < call.stack {
        return 0;
    }
    let session = TlsSession { address: call.session, tgid: probe.who.tgid, pad: 0 };
    call.session = 0;
    let [fails, at, len, typ] = if probe.older == 0 {
        let [number, at, len, typ] = read_user_or_zero::<Inbound>(call.count);
        [u64::from(number & 0xff < SUCCESS), at, len, typ & 0xff]
    } else {
        let [fails, first, second, third, kind] = read_user_or_zero::<Plain>(call.count);
        let [at, len, capacity] = vector([first, second, third]);
        // The same vector as before.
        let other = at != call.buffer || capacity != call.position || len == capacity;
        [fails | u64::from(other), at, len, older_type(kind)]
    };
    // It is decrypted where it is, within what came.
    let inside = at.wrapping_sub(call.buffer);
    if fails != 0
        || typ != APPLICATION_DATA
        || len == 0
        || len > LONGEST
        || inside > LONGEST
        || inside + len > call.position
    {
        return 0;
    }
    learn(session, call.received, false);
    let Some(place) = TLS_SESSIONS.get_ptr_mut(session) else {
        emit::count(Counter::TlsUnplaced);
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let place: &mut TlsPlace = unsafe { &mut *place };
    let Some(connection) = connection(place.sk, place.born) else {
        place.whole = 0;
        emit::count(Counter::TlsUnplaced);
        return 0;
    };
    // SAFETY: as above.
    let connection: &Connection = unsafe { &*connection };
    moved.record = NOWHERE;
    if let Some(stream) = stream(place.sk, place.born) {
        // SAFETY: as above.
        moved.record = core::mem::replace(unsafe { &mut (*stream).record }, NOWHERE);
    }
    moved.sk = place.sk;
    moved.who = probe.who;
    moved.direction = TLS_RECEIVE;
    moved.len = len as u32;
    moved.source = SOURCE_BUFFER;
    moved.decrypted = how(place, connection);
    moved.address = at;
    moved.count = 0;
    moved.regs = 0;
    1
}
