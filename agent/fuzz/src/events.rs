//! Any events at all, but mostly such as a capture gives: the fuzzer chooses the calls, and small numbers continue streams.

use arbitrary::{Arbitrary, Result, Unstructured};
use geophone::event::{
    Change, Data, Direction, Endpoints, Event, Life, Nanos, Open, Process, Role, SocketId, State, Thread,
};

/// Connections that a case may have, times the number of times that each address is used.
const SOCKETS: usize = 4;

/// One thing that happens.
#[derive(Debug)]
pub enum Step<'a> {
    /// An event.
    Event(Event<'a>),
    /// The time.
    Tick(Nanos),
    /// Advice was given: nothing of this direction is reported before the offset.
    Skip(SocketId, Direction, u64),
}

/// Steps one after the other, with where the streams are.
pub struct Steps<'a> {
    input: Unstructured<'a>,
    now: Nanos,
    next: [[u64; 2]; SOCKETS],
    born: [Nanos; SOCKETS],
}

/// The steps that these bytes mean.
#[must_use]
pub fn steps(bytes: &[u8]) -> Steps<'_> {
    Steps { input: Unstructured::new(bytes), now: 1_000_000_000, next: [[0; 2]; SOCKETS], born: [1; SOCKETS] }
}

#[derive(Arbitrary)]
enum Kind {
    Data,
    Continue,
    Open,
    State,
    Process,
    Tick,
    Skip,
    NewSocket,
}

impl<'a> Steps<'a> {
    /// The time reached.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }

    fn step(&mut self) -> Result<Step<'a>> {
        let kind: Kind = self.input.arbitrary()?;
        let which = self.input.choose_index(SOCKETS)?;
        let socket = SocketId { sock: which as u64 + 1, born: self.born.get(which).copied().unwrap_or_default() };
        let thread = Thread { tgid: u32::from(self.input.arbitrary::<u8>()? % 3), tid: 1, ..Thread::default() };
        let time = self.time()?;
        Ok(match kind {
            Kind::Data | Kind::Continue => {
                let direction = self.direction()?;
                let next = self.next.get_mut(which).and_then(|both| both.get_mut(direction as usize));
                let mut unused = 0;
                let next = next.unwrap_or(&mut unused);
                let plain = matches!(kind, Kind::Continue);
                let shape: u8 = if plain { 0 } else { self.input.arbitrary()? };
                let offset = match shape % 4 {
                    0 | 1 => *next,
                    2 => next.wrapping_add(u64::from(self.input.arbitrary::<u16>()?)),
                    _ => self.input.arbitrary()?,
                };
                let captured = self.input.int_in_range(0..=600_usize)?.min(self.input.len());
                let bytes = self.input.bytes(captured)?;
                let (skipped, beyond): (u32, u32) = match shape / 4 % 4 {
                    0 | 1 => (0, 0),
                    2 => (0, u32::from(self.input.arbitrary::<u16>()?)),
                    _ => (self.input.arbitrary()?, self.input.arbitrary()?),
                };
                let len = (bytes.len() as u32).saturating_add(skipped).saturating_add(beyond);
                // Lengths that contradict each other are refused by the decoder of records, but the stage has to bear them.
                let len = if shape / 16 % 8 == 7 { self.input.arbitrary()? } else { len };
                *next = offset.saturating_add(len.into());
                Step::Event(Event::Data(Data {
                    time,
                    socket,
                    thread,
                    direction,
                    offset,
                    len,
                    skipped,
                    bytes,
                    relative: shape >= 0xc0,
                    end: len == 0 || shape & 0xf0 == 0x50,
                    decrypted: shape & 0x0f == 0x0b,
                    wire: (shape & 0x10 == 0).then_some(offset),
                }))
            }
            Kind::Open => Step::Event(Event::Open(Open {
                time,
                socket,
                thread,
                endpoints: if self.input.arbitrary()? {
                    let port = self.input.arbitrary()?;
                    Endpoints::Inet { local: ([10, 0, 0, 1], 80).into(), remote: ([10, 0, 0, 2], port).into() }
                } else {
                    let path = if self.input.arbitrary()? { "/run/app.sock" } else { "" };
                    Endpoints::Unix { path: path.into(), peer: u64::from(self.input.arbitrary::<u8>()? % 5) }
                },
                role: *self.input.choose(&[Role::Unknown, Role::Connect, Role::Accept])?,
                netns: self.input.arbitrary::<u8>()?.into(),
                sequences: None,
            })),
            Kind::State => Step::Event(Event::State(State {
                time,
                socket,
                change: *self.input.choose(&[
                    Change::Established,
                    Change::SendClosed,
                    Change::Draining,
                    Change::Closed,
                ])?,
                error: self.input.arbitrary()?,
            })),
            Kind::Process => Step::Event(Event::Process(Process {
                time,
                tgid: thread.tgid,
                parent: u32::from(self.input.arbitrary::<u8>()? % 3),
                what: *self.input.choose(&[Life::Fork, Life::Exec, Life::Exit, Life::Seen])?,
                comm: "app".into(),
            })),
            Kind::Tick => Step::Tick(time),
            Kind::Skip => Step::Skip(socket, self.direction()?, self.input.arbitrary()?),
            Kind::NewSocket => {
                if let (Some(born), Some(next)) = (self.born.get_mut(which), self.next.get_mut(which)) {
                    *born += 1;
                    *next = [0; 2];
                }
                Step::Tick(time)
            }
        })
    }

    /// Mostly a little later than before; sometimes seconds, sometimes out of order, seldom nonsense.
    fn time(&mut self) -> Result<Nanos> {
        let by: u8 = self.input.arbitrary()?;
        Ok(match by {
            0..0xc0 => {
                self.now = self.now.saturating_add(u64::from(by) * 10_000);
                self.now
            }
            0xc0..0xe0 => self.now.saturating_sub(u64::from(by) * 10_000),
            0xe0..0xfc => {
                self.now = self.now.saturating_add(u64::from(by & 0x1f) << 30);
                self.now
            }
            _ => self.input.arbitrary()?,
        })
    }

    fn direction(&mut self) -> Result<Direction> {
        Ok(if self.input.arbitrary()? { Direction::Send } else { Direction::Receive })
    }
}

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if self.input.is_empty() {
            return None;
        }
        self.step().ok()
    }
}
