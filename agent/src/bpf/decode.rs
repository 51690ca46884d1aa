//! Records, as the kernel programs write them, become [`Event`]s. The same for live rings and for recordings, so every length
//! is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use geophone_ebpf::record::{
    CARRIED_RECEIVED, CARRIED_SENT, Carried, DATAGRAM, DECRYPTED, Data, END, Ends, Greeted, HANDOVER_BEGIN,
    HANDOVER_CLAIM, HANDOVER_CLONE, HANDOVER_CONNECT, HANDOVER_DELEGATE, HANDOVER_IDLE, HANDOVER_REQUEST,
    HANDOVER_RESPOND, HANDOVER_SERVE, HANDOVER_SPAWN, HANDOVER_SUBMIT, HANDOVER_TURN, HANDOVER_WAKE, Handover,
    INJECT_DONE, INJECT_OVER, Inject, Kind, NOWHERE, Open, PROCESS_EXEC, PROCESS_EXIT, PROCESS_FORK, PROCESS_SEEN,
    Process, RECEIVE, RELATIVE, ROLE_ACCEPT, ROLE_CONNECT, Sample, State, USAGE_CPU, USAGE_DISK, USAGE_LOCK,
    USAGE_NETWORK, USAGE_RUN_QUEUE, USAGE_SLEEP, Usage,
};
use thiserror::Error;

use crate::event::{
    self, Change, Direction, Endpoints, Event, How, Life, Nanos, Role, Sequences, SocketId, Task, Thread, Turn,
};

/// Why a record was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends before its own lengths say.
    #[error("a record is cut short")]
    Short,
    /// Its kind, or a value in it, is unknown.
    #[error("a record of an unknown kind")]
    Unknown,
}

/// A record type: every bit pattern is a value of it.
trait Record: Copy {}
impl Record for u64 {}
impl Record for Data {}
impl Record for Ends {}
impl Record for Open {}
impl Record for State {}
impl Record for Process {}
impl Record for Handover {}
impl Record for Sample {}
impl Record for Usage {}
impl Record for Greeted {}
impl Record for Inject {}
impl Record for Carried {}

fn read<T: Record>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>()).ok_or(DecodeError::Short)?;
    // SAFETY: `head` is as long as a `T`, which is made of integers only.
    Ok((unsafe { head.as_ptr().cast::<T>().read_unaligned() }, rest))
}

/// The time of a record: all kinds have it at the same place. 0 when it is cut short.
#[must_use]
pub fn time(bytes: &[u8]) -> Nanos {
    const AT: usize = std::mem::offset_of!(Data, time);
    const _: () = assert!(
        AT == std::mem::offset_of!(Open, time)
            && AT == std::mem::offset_of!(State, time)
            && AT == std::mem::offset_of!(Process, time)
            && AT == std::mem::offset_of!(Handover, time)
            && AT == std::mem::offset_of!(Sample, time)
            && AT == std::mem::offset_of!(Usage, time)
            && AT == std::mem::offset_of!(Greeted, time)
            && AT == std::mem::offset_of!(Inject, time)
            && AT == std::mem::offset_of!(Carried, time)
    );
    bytes.get(AT..AT + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes).unwrap_or_default()
}

/// Decodes one record.
///
/// # Errors
/// See [`DecodeError`].
pub fn event(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let kind = bytes.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes).ok_or(DecodeError::Short)?;
    match kind {
        k if k == Kind::Data as u32 => data(bytes),
        k if k == Kind::Open as u32 => open(bytes).map(Event::Open),
        k if k == Kind::State as u32 => state(bytes).map(Event::State),
        k if k == Kind::Process as u32 => process(bytes).map(Event::Process),
        k if k == Kind::Handover as u32 => handover(bytes).map(Event::Handover),
        k if k == Kind::Sample as u32 => sample(bytes).map(Event::Sample),
        k if k == Kind::Usage as u32 => usage(bytes).map(Event::Usage),
        k if k == Kind::Greeted as u32 => greeted(bytes).map(Event::Greeted),
        k if k == Kind::Inject as u32 => inject(bytes).map(Event::Inject),
        k if k == Kind::Carried as u32 => carried(bytes).map(Event::Carried),
        _ => Err(DecodeError::Unknown),
    }
}

fn data(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let (data, rest) = read::<Data>(bytes)?;
    if data.flags & DATAGRAM != 0 {
        return datagram(&data, rest).map(Event::Datagram);
    }
    let decrypted = data.flags & DECRYPTED != 0;
    let (wire, rest) = if decrypted {
        let (wire, rest) = read::<u64>(rest)?;
        (Some(wire).filter(|wire| *wire != NOWHERE), rest)
    } else {
        (None, rest)
    };
    let bytes = rest.get(..data.captured as usize).ok_or(DecodeError::Short)?;
    if u64::from(data.skipped) + u64::from(data.captured) > u64::from(data.len) {
        return Err(DecodeError::Unknown);
    }
    Ok(Event::Data(event::Data {
        time: data.time,
        socket: SocketId { sock: data.sock, born: data.born },
        thread: thread((data.tgid, data.tid), data.task, data.task_parent),
        direction: direction(&data),
        offset: data.offset,
        len: data.len,
        skipped: data.skipped,
        bytes,
        relative: data.flags & RELATIVE != 0,
        end: data.flags & END != 0,
        decrypted,
        wire,
    }))
}

fn datagram<'a>(data: &Data, rest: &'a [u8]) -> Result<event::Datagram<'a>, DecodeError> {
    let (ends, rest) = read::<Ends>(rest)?;
    let bytes = rest.get(..data.captured as usize).ok_or(DecodeError::Short)?;
    if data.captured > data.len || data.skipped != 0 {
        return Err(DecodeError::Unknown);
    }
    let remote = SocketAddr::new(address(ends.remote_addr), ends.remote_port);
    let local = match (address(ends.local_addr), remote) {
        // A socket of IPv6 that is bound to all addresses.
        (local, SocketAddr::V4(_)) if local.is_unspecified() => Ipv4Addr::UNSPECIFIED.into(),
        (local, _) => local,
    };
    Ok(event::Datagram {
        time: data.time,
        socket: SocketId { sock: data.sock, born: data.born },
        thread: thread((data.tgid, data.tid), data.task, data.task_parent),
        direction: direction(data),
        local: SocketAddr::new(local, ends.local_port),
        remote: (ends.remote_port != 0).then_some(remote),
        netns: ends.netns,
        len: data.len,
        bytes,
    })
}

fn direction(data: &Data) -> Direction {
    if data.direction == RECEIVE { Direction::Receive } else { Direction::Send }
}

fn open(bytes: &[u8]) -> Result<event::Open, DecodeError> {
    const AF_UNIX: u16 = 1;
    let (open, rest) = read::<Open>(bytes)?;
    let endpoints = if open.family == AF_UNIX {
        let path = rest.get(..open.path_len as usize).ok_or(DecodeError::Short)?;
        Endpoints::Unix { path: unix_path(path), peer: open.peer }
    } else {
        Endpoints::Inet {
            local: SocketAddr::new(address(open.local_addr), open.local_port),
            remote: SocketAddr::new(address(open.remote_addr), open.remote_port),
        }
    };
    Ok(event::Open {
        time: open.time,
        socket: SocketId { sock: open.sock, born: open.born },
        thread: thread((open.tgid, open.tid), 0, 0),
        endpoints,
        role: match open.role {
            ROLE_CONNECT => Role::Connect,
            ROLE_ACCEPT => Role::Accept,
            _ => Role::Unknown,
        },
        netns: open.netns,
        sequences: (open.first_send_seq != 0 || open.first_receive_seq != 0)
            .then_some(Sequences { sent: open.first_send_seq, received: open.first_receive_seq }),
    })
}

/// An IPv4 address travels as IPv6 maps it.
fn address(bytes: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(bytes);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4))
}

/// A path ends at its first NUL; an abstract one begins with a NUL, and may hold more.
fn unix_path(bytes: &[u8]) -> Box<str> {
    match bytes.split_first() {
        Some((0, name)) => format!("@{}", String::from_utf8_lossy(name).replace('\0', "@")).into(),
        _ => text(bytes),
    }
}

fn thread((tgid, tid): (u32, u32), task: u64, parent: u64) -> Thread {
    if task != 0 || parent == 0 {
        return Thread { tgid, tid, task: Task { id: task, parent }, turn: None };
    }
    // See `geophone_ebpf::node::pack`.
    let turn = Turn { running: (parent >> 32) as u32, made: parent as u32 };
    Thread { tgid, tid, task: Task::default(), turn: Some(turn) }
}

fn handover(bytes: &[u8]) -> Result<event::Handover, DecodeError> {
    let (mut record, _) = read::<Handover>(bytes)?;
    let mut parent = 0;
    if record.what == HANDOVER_WAKE && record.to_task != 0 {
        // It names who started the task, not a futex.
        parent = std::mem::take(&mut record.object);
    }
    let mut place = 0;
    let names_stream = [HANDOVER_CLAIM, HANDOVER_SERVE, HANDOVER_TURN, HANDOVER_BEGIN, HANDOVER_REQUEST];
    if names_stream.contains(&record.what) {
        // It names a stream, not a task.
        place = std::mem::take(&mut record.to_task);
    }
    let mut stream = 0;
    if record.what == HANDOVER_BEGIN {
        stream = u64::from(std::mem::take(&mut record.to_tid)) << 32 | u64::from(std::mem::take(&mut record.to_tgid));
    }
    Ok(event::Handover {
        time: record.time,
        from: thread((record.tgid, record.tid), record.task, record.task_parent),
        to: thread((record.to_tgid, record.to_tid), record.to_task, parent),
        how: match record.what {
            HANDOVER_CLONE => How::Clone,
            HANDOVER_WAKE => How::Wake(record.object),
            HANDOVER_SPAWN => How::Spawn,
            HANDOVER_SUBMIT => How::Submit,
            HANDOVER_CLAIM => How::Claim { sock: record.object, place },
            HANDOVER_SERVE => How::Serve { sock: record.object, place },
            HANDOVER_CONNECT => How::Connect(record.object),
            HANDOVER_IDLE => How::Idle,
            HANDOVER_DELEGATE => How::Delegate,
            HANDOVER_TURN => How::Turn { session: record.object, place },
            HANDOVER_BEGIN => How::Begin { session: record.object, place, stream },
            HANDOVER_REQUEST => How::Request { session: record.object, place },
            HANDOVER_RESPOND => How::Respond { stream: record.object },
            _ => return Err(DecodeError::Unknown),
        },
    })
}

fn inject(bytes: &[u8]) -> Result<event::Inject, DecodeError> {
    let (record, _) = read::<Inject>(bytes)?;
    let Inject { at, trace, span, flags, .. } = record;
    let context = match record.what {
        INJECT_DONE => Some(event::Injected { at, trace, span, flags: flags as u8 }),
        INJECT_OVER => None,
        _ => return Err(DecodeError::Unknown),
    };
    Ok(event::Inject { time: record.time, sock: record.sock, tgid: record.tgid, context })
}

fn carried(bytes: &[u8]) -> Result<event::Carried, DecodeError> {
    let (Carried { what, time, answers, request, trace, span, flags, .. }, _) = read::<Carried>(bytes)?;
    let direction = match what {
        CARRIED_SENT => Direction::Send,
        CARRIED_RECEIVED => Direction::Receive,
        _ => return Err(DecodeError::Unknown),
    };
    Ok(event::Carried { time, direction, answers, request, trace, span, flags: flags as u8 })
}

/// Whose it is; of the rest, [`crate::profile::sample`] makes sense.
fn sample(bytes: &[u8]) -> Result<event::Sample, DecodeError> {
    let (sample, _) = read::<Sample>(bytes)?;
    let thread = thread((sample.tgid, sample.tid), sample.task, sample.task_parent);
    Ok(event::Sample { time: sample.time, thread })
}

fn usage(bytes: &[u8]) -> Result<event::Usage, DecodeError> {
    let (usage, _) = read::<Usage>(bytes)?;
    let of = |way: usize| usage.nanos.get(way).copied().unwrap_or_default();
    Ok(event::Usage {
        time: usage.time,
        tgid: usage.tgid,
        tid: usage.tid,
        since: usage.since,
        spent: event::Spent {
            cpu: of(USAGE_CPU),
            lock: of(USAGE_LOCK),
            disk: of(USAGE_DISK),
            network: of(USAGE_NETWORK),
            sleep: of(USAGE_SLEEP),
            run_queue: of(USAGE_RUN_QUEUE),
        },
    })
}

fn greeted(bytes: &[u8]) -> Result<event::Greeted, DecodeError> {
    let (greeted, _) = read::<Greeted>(bytes)?;
    Ok(event::Greeted {
        time: greeted.time,
        role: if greeted.role == u32::from(ROLE_CONNECT) { Role::Connect } else { Role::Accept },
        remote: address(greeted.remote_addr),
        sequences: Sequences { sent: greeted.sends, received: greeted.receives },
        option: greeted.option.get(..greeted.len as usize).ok_or(DecodeError::Unknown)?.into(),
    })
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into()
}

fn state(bytes: &[u8]) -> Result<event::State, DecodeError> {
    const TCP_ESTABLISHED: u16 = 1;
    const TCP_FIN_WAIT1: u16 = 4;
    const TCP_CLOSE: u16 = 7;
    const TCP_LAST_ACK: u16 = 9;
    let (state, _) = read::<State>(bytes)?;
    let change = match (state.old, state.new) {
        (_, TCP_ESTABLISHED) => Change::Established,
        (_, TCP_FIN_WAIT1 | TCP_LAST_ACK) => Change::SendClosed,
        // A call on it failed.
        (TCP_CLOSE, TCP_CLOSE) => Change::Closed,
        (_, TCP_CLOSE) => {
            if state.owned == 0 {
                Change::Closed
            } else {
                Change::Draining
            }
        }
        _ => return Err(DecodeError::Unknown),
    };
    Ok(event::State {
        time: state.time,
        socket: SocketId { sock: state.sock, born: state.born },
        change,
        error: state.error,
    })
}

fn process(bytes: &[u8]) -> Result<event::Process, DecodeError> {
    let (process, _) = read::<Process>(bytes)?;
    Ok(event::Process {
        time: process.time,
        tgid: process.tgid,
        parent: process.parent,
        what: match process.what {
            PROCESS_FORK => Life::Fork,
            PROCESS_EXEC => Life::Exec,
            PROCESS_EXIT => Life::Exit,
            PROCESS_SEEN => Life::Seen,
            _ => return Err(DecodeError::Unknown),
        },
        comm: text(&process.comm),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of<T: Record>(record: &T) -> Vec<u8> {
        // SAFETY: a record is made of integers without padding between them.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<T>()) }.to_vec()
    }

    #[test]
    fn a_call_with_its_bytes() {
        let record =
            Data { kind: Kind::Data as u32, len: 10, skipped: 2, captured: 3, direction: RECEIVE, ..Data::default() };
        let mut bytes = bytes_of(&record);
        bytes.extend(b"abc");
        let Event::Data(data) = event(&bytes).unwrap() else { panic!("not data") };
        assert_eq!((data.bytes, data.len, data.skipped, data.direction), (&b"abc"[..], 10, 2, Direction::Receive));
        bytes.pop();
        assert_eq!(event(&bytes).unwrap_err(), DecodeError::Short);
    }

    #[test]
    fn decrypted_bytes_come_after_their_place() {
        let record = Data { kind: Kind::Data as u32, len: 3, captured: 3, flags: DECRYPTED, ..Data::default() };
        for (place, expected) in [(600, Some(600)), (NOWHERE, None)] {
            let bytes = [&bytes_of(&record)[..], &u64::to_ne_bytes(place), b"abc"].concat();
            let Event::Data(data) = event(&bytes).unwrap() else { panic!("not data") };
            assert_eq!((data.bytes, data.decrypted, data.wire), (&b"abc"[..], true, expected));
            assert_eq!(event(&bytes[..bytes.len() - 4]).unwrap_err(), DecodeError::Short);
        }
    }

    #[test]
    fn more_bytes_than_moved_is_refused() {
        let record = Data { kind: Kind::Data as u32, len: 2, captured: 3, ..Data::default() };
        let mut bytes = bytes_of(&record);
        bytes.extend(b"abc");
        assert_eq!(event(&bytes).unwrap_err(), DecodeError::Unknown);
    }

    #[test]
    fn samples_and_what_threads_have_done() {
        let record = Sample { kind: Kind::Sample as u32, time: 5, tgid: 1, tid: 2, task: 3, ..Sample::default() };
        let Event::Sample(sample) = event(&bytes_of(&record)).unwrap() else { panic!("no sample") };
        assert_eq!(sample, event::Sample { time: 5, thread: thread((1, 2), 3, 0) });
        let nanos = [10, 11, 12, 13, 14, 15];
        let record = Usage { kind: Kind::Usage as u32, time: 5, tgid: 1, tid: 2, since: 4, nanos, ..Usage::default() };
        let Event::Usage(usage) = event(&bytes_of(&record)).unwrap() else { panic!("no usage") };
        let spent = event::Spent { cpu: 10, lock: 11, disk: 12, network: 13, sleep: 14, run_queue: 15 };
        assert_eq!(usage, event::Usage { time: 5, tgid: 1, tid: 2, since: 4, spent });
        assert_eq!(event(&bytes_of(&record)[..79]).unwrap_err(), DecodeError::Short);
    }

    #[test]
    fn what_agents_say() {
        let mut record = Greeted { kind: Kind::Greeted as u32, len: 16, sends: 7, receives: 8, ..Greeted::default() };
        record.remote_addr = Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets();
        (record.role, record.option[0]) = (u32::from(ROLE_CONNECT), 253);
        let Event::Greeted(greeted) = event(&bytes_of(&record)).unwrap() else { panic!("none") };
        assert_eq!((greeted.role, greeted.remote), (Role::Connect, IpAddr::from([10, 0, 0, 9])));
        assert_eq!(greeted.sequences, Sequences { sent: 7, received: 8 });
        assert_eq!((greeted.option.len(), greeted.option[0]), (16, 253));
        record.len = 21;
        assert_eq!(event(&bytes_of(&record)).unwrap_err(), DecodeError::Unknown);
    }

    #[test]
    fn contexts_that_were_written() {
        let record = Inject {
            kind: Kind::Inject as u32,
            what: INJECT_DONE,
            time: 5,
            sock: 7,
            at: 20,
            trace: [1; 16],
            span: [2; 8],
            flags: 1,
            tgid: 3,
        };
        let context = Some(event::Injected { at: 20, trace: [1; 16], span: [2; 8], flags: 1 });
        for (what, context) in [(INJECT_DONE, context), (INJECT_OVER, None)] {
            let bytes = bytes_of(&Inject { what, ..record });
            let Event::Inject(inject) = event(&bytes).unwrap() else { panic!("no context") };
            assert_eq!(inject, event::Inject { time: 5, sock: 7, tgid: 3, context });
            assert_eq!(event(&bytes[..bytes.len() - 1]).unwrap_err(), DecodeError::Short);
        }
        assert_eq!(event(&bytes_of(&Inject { what: 3, ..record })).unwrap_err(), DecodeError::Unknown);
    }

    #[test]
    fn contexts_that_were_carried() {
        let ids = ([1; 16], [2; 8]);
        let record = Carried {
            kind: Kind::Carried as u32,
            what: CARRIED_SENT,
            time: 5,
            answers: 7,
            request: 9,
            trace: ids.0,
            span: ids.1,
            flags: 1,
            pad: 0,
        };
        for (what, direction) in [(CARRIED_SENT, Direction::Send), (CARRIED_RECEIVED, Direction::Receive)] {
            let bytes = bytes_of(&Carried { what, ..record });
            let Event::Carried(carried) = event(&bytes).unwrap() else { panic!("no context") };
            let (trace, span) = ids;
            assert_eq!(carried, event::Carried { time: 5, direction, answers: 7, request: 9, trace, span, flags: 1 });
            assert_eq!((time(&bytes), event(&bytes[..bytes.len() - 1]).unwrap_err()), (5, DecodeError::Short));
        }
        assert_eq!(event(&bytes_of(&Carried { what: 3, ..record })).unwrap_err(), DecodeError::Unknown);
    }

    #[test]
    fn addresses_of_both_families() {
        let mut record =
            Open { kind: Kind::Open as u32, family: 2, local_port: 80, remote_port: 4000, ..Open::default() };
        record.local_addr = Ipv4Addr::new(127, 0, 0, 1).to_ipv6_mapped().octets();
        record.remote_addr = Ipv6Addr::LOCALHOST.octets();
        let bytes = bytes_of(&record);
        let Event::Open(open) = event(&bytes).unwrap() else { panic!("not open") };
        let Endpoints::Inet { local, remote } = open.endpoints else { panic!("not inet") };
        assert_eq!((local.to_string(), remote.to_string()), ("127.0.0.1:80".to_owned(), "[::1]:4000".to_owned()));
    }

    #[test]
    fn unix_paths() {
        assert_eq!(&*unix_path(b"/run/a.sock\0rest"), "/run/a.sock");
        assert_eq!(&*unix_path(b"\0name"), "@name");
        assert_eq!(&*unix_path(b""), "");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind in 0u32..13, mut bytes in proptest::collection::vec(any::<u8>(), 4..300)) {
            bytes[..4].copy_from_slice(&kind.to_ne_bytes());
            let _ = event(&bytes);
        }
    }
}
