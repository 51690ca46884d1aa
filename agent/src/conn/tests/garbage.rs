//! Any events at all: the promises to the sink hold ([`Checker`]), and so do the bounds of memory.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Any {
    Data {
        time: Nanos,
        socket: SocketId,
        tgid: u32,
        send: bool,
        offset: u64,
        len: u32,
        skipped: u32,
        captured: usize,
        relative: bool,
        end: bool,
        decrypted: bool,
    },
    Event(Event<'static>),
    Tick(Nanos),
    Skip(SocketId, bool, u64),
}

fn time() -> impl Strategy<Value = Nanos> {
    prop_oneof![8 => 0..40 * MS, 1 => 0..20 * SECOND, 1 => any::<u64>().prop_map(|time| time.wrapping_sub(START))]
}

fn any_socket() -> impl Strategy<Value = SocketId> {
    (1..6_u64, 1..3_u64).prop_map(|(sock, born)| SocketId { sock, born })
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..200_u64, 2 => 0..100_000_u64, 1 => any::<u64>(), 1 => (0..64_u32).prop_map(|bit| 1 << bit)]
}

fn any_data() -> impl Strategy<Value = Any> {
    let lens =
        (prop_oneof![9 => 0..200_u32, 1 => any::<u32>()], prop_oneof![9 => 0..20_u32, 1 => any::<u32>()], 0..300_usize);
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.03), prop::bool::weighted(0.3));
    (time(), any_socket(), 0..3_u32, offset(), lens, flags).prop_map(
        |(time, socket, tgid, offset, (len, skipped, captured), (send, relative, end, decrypted))| Any::Data {
            time,
            socket,
            tgid,
            send,
            offset,
            len,
            skipped,
            captured,
            relative,
            end,
            decrypted,
        },
    )
}

fn any_event() -> impl Strategy<Value = Any> {
    let change = prop_oneof![Just(Change::Established), Just(Change::SendClosed), Just(Change::Closed),];
    let inet = any::<bool>().prop_map(|accept| open(0, 1, if accept { Role::Accept } else { Role::Unknown }));
    let unix = (0..6_u64, 0..3_u32).prop_map(|(peer, tgid)| open_unix(0, 1, peer, tgid));
    let open = (time(), any_socket(), prop_oneof![inet, unix]).prop_map(|(at, id, event)| match event {
        Event::Open(open) => Event::Open(Open { time: START.wrapping_add(at), socket: id, ..open }),
        other => other,
    });
    let state =
        (time(), any_socket(), change, prop_oneof![Just(0), any::<i32>()]).prop_map(|(at, id, change, error)| {
            Event::State(State { time: START.wrapping_add(at), socket: id, change, error })
        });
    let process = (0..40 * MS, 0..3_u32).prop_map(|(at, tgid)| exit(at, tgid));
    prop_oneof![3 => open, 2 => state, 1 => process].prop_map(Any::Event)
}

fn any_thing() -> impl Strategy<Value = Any> {
    prop_oneof![
        20 => any_data(),
        5 => any_event(),
        2 => (0..30 * SECOND).prop_map(Any::Tick),
        1 => (any_socket(), any::<bool>(), offset()).prop_map(|(socket, send, offset)| Any::Skip(socket, send, offset)),
    ]
}

fn way(send: bool) -> Direction {
    if send { SEND } else { RECEIVE }
}

proptest! {
    #[test]
    fn nothing_breaks_the_promises(things in prop::collection::vec(any_thing(), 1..300)) {
        let limits = Limits { connections: 4, held: 1_500, held_total: 2_500, idle: 12 * SECOND, ..Limits::default() };
        let mut bench = Bench::new(limits);
        let bytes = [b'x'; 300];
        for thing in things {
            match thing {
                Any::Data { time, socket, tgid, send, offset, len, skipped, captured, relative, end, decrypted } => bench.data(Data {
                    time: START.wrapping_add(time),
                    socket,
                    thread: Thread { tgid, tid: tgid, ..Thread::default() },
                    direction: way(send),
                    offset,
                    len,
                    skipped,
                    bytes: &bytes[..captured],
                    relative,
                    end,
                    decrypted,
                    wire: decrypted.then_some(offset),
                }),
                Any::Event(event) => bench.event(&event),
                Any::Tick(time) => bench.tick(time),
                Any::Skip(socket, send, offset) => bench.table.set_skip_until(socket, way(send), offset),
            }
            prop_assert!(bench.table.connections() <= limits.connections);
            prop_assert!(bench.table.held() <= limits.held_total);
        }
        bench.finish(0);
        prop_assert_eq!((bench.table.connections(), bench.table.held()), (0, 0));
        prop_assert!(bench.table.due.is_empty() && bench.table.owned.is_empty());
    }
}
