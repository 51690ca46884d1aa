//! The TCP option in which agents say where they are: its bytes, which anybody may have made, and what is kept of it. It proves nothing: it
//! makes an agent say hello, a bounded number of times, and whoever answers has to have the key.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use geophone_ebpf::{
    carry::{self, OFFER},
    greeting::{ADDRESS, AGENT, FIRST, Greeting, KIND, LONG, MAGIC, PORT, SHORT},
};
use hashbrown::HashMap;

use crate::event::Nanos;

/// Connections of which is remembered whose they are.
const CONNECTIONS: usize = 16_384;
/// Addresses behind which agents are.
const HOSTS: usize = 1024;
/// Agents behind one address.
const AGENTS: usize = 16;
/// What an address was said to have behind it is forgotten after this.
const FORGET: Nanos = 600_000_000_000;
/// Addresses that are tried because an option says so: as many as this at once, and so many more each second.
const BURST: u32 = 64;
const EACH_SECOND: u32 = 16;
const SECOND: Nanos = 1_000_000_000;

/// What an option says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Sequence number of the first byte that who says it sends, as it left there.
    pub first: u32,
    /// The lower half of the agent's id.
    pub agent: u32,
    /// Its UDP port.
    pub port: u16,
    /// Its address; `None`: where the connection comes from.
    pub address: Option<Ipv4Addr>,
}

impl Said {
    /// Reads an option, from its kind on. `None` for anything else.
    #[must_use]
    pub fn read(option: &[u8]) -> Option<Self> {
        let [kind, len, rest @ ..] = option else {
            return None;
        };
        let is_ours = rest.starts_with(&MAGIC) || rest.starts_with(&carry::MAGIC);
        if *kind != KIND || usize::from(*len) != option.len() || !is_ours {
            return None;
        }
        let address = match option.len() {
            SHORT => None,
            LONG => Some(Ipv4Addr::from(array::<4>(option, ADDRESS)?)),
            _ => return None,
        };
        Some(Self {
            first: u32::from_be_bytes(array(option, FIRST)?),
            agent: u32::from_be_bytes(array(option, AGENT)?),
            port: u16::from_be_bytes(array(option, PORT)?),
            address,
        })
    }

    /// What the kernel side is told to write; it knows the first byte's number by itself. `contexts`: this host also reads contexts in
    /// options.
    #[must_use]
    pub fn greeting(&self, anywhere: bool, contexts: bool) -> Greeting {
        let len = if self.address.is_some() { LONG } else { SHORT };
        let parts = [
            &[KIND, len as u8][..],
            if contexts { &carry::MAGIC } else { &MAGIC },
            &self.first.to_be_bytes(),
            &self.agent.to_be_bytes(),
            &self.port.to_be_bytes(),
            &self.address.map_or([0; 4], |address| address.octets()),
        ];
        let mut option = [0; LONG];
        option.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, byte)| *to = *byte);
        Greeting { option, len: len as u32, anywhere: anywhere.into() }
    }
}

/// The same where no agent is to be found, and contexts are read all the same.
#[must_use]
pub fn offer(anywhere: bool) -> Greeting {
    let mut option = [0; LONG];
    let bytes = [&[KIND, OFFER as u8][..], &carry::MAGIC];
    option.iter_mut().zip(bytes.into_iter().flatten()).for_each(|(to, byte)| *to = *byte);
    Greeting { option, len: OFFER as u32, anywhere: anywhere.into() }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// What was said on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The other end's address.
    pub remote: IpAddr,
    /// Sequence number of the first byte that the answering side sends, as the two agents name the connection.
    pub answers: u32,
    /// The lower half of the agent's id.
    pub agent: u32,
    /// Where it is said to be.
    pub at: SocketAddr,
}

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    connections: HashMap<u32, Met>,
    order: VecDeque<u32>,
    hosts: HashMap<IpAddr, Vec<(u32, Nanos)>>,
    /// New addresses may be tried, since then.
    left: (u32, Nanos),
}

impl Greetings {
    /// Takes what was said on a connection. Whether that tells something new of what is behind its address.
    pub(super) fn meet(&mut self, met: Met, now: Nanos) -> bool {
        if self.connections.insert(met.answers, met).is_none() {
            self.order.push_back(met.answers);
            if self.order.len() > CONNECTIONS
                && let Some(oldest) = self.order.pop_front()
            {
                self.connections.remove(&oldest);
            }
        }
        if self.hosts.len() >= HOSTS && !self.hosts.contains_key(&met.remote) {
            return false;
        }
        let agents = self.hosts.entry(met.remote).or_default();
        if let Some((_, since)) = agents.iter_mut().find(|(agent, _)| *agent == met.agent) {
            *since = now;
            return false;
        }
        if agents.len() >= AGENTS {
            agents.remove(0);
        }
        agents.push((met.agent, now));
        true
    }

    /// What was said on this connection with this address.
    pub(super) fn of(&self, answers: u32, remote: IpAddr) -> Option<&Met> {
        self.connections.get(&answers).filter(|met| met.remote == remote)
    }

    /// Which agents are said to be behind which addresses.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        self.hosts.iter().flat_map(|(host, agents)| agents.iter().map(|(agent, _)| (*host, *agent)))
    }

    /// Whether one more address may be tried.
    pub(super) fn may_try(&mut self, now: Nanos) -> bool {
        let (left, since) = self.left;
        let seconds = now.saturating_sub(since) / SECOND;
        let more = u32::try_from(seconds).unwrap_or(BURST).saturating_mul(EACH_SECOND);
        let left = left.saturating_add(more).min(BURST);
        self.left = (left.saturating_sub(1), if seconds > 0 { now } else { since });
        left > 0
    }

    /// Forgets what is old.
    pub(super) fn tick(&mut self, now: Nanos) {
        self.hosts.retain(|_, agents| {
            agents.retain(|(_, since)| now.saturating_sub(*since) < FORGET);
            !agents.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(address: Option<Ipv4Addr>) -> Said {
        Said { first: 0x0102_0304, agent: 0x0506_0708, port: 4419, address }
    }

    #[test]
    fn what_is_written_is_read() {
        for address in [None, Some(Ipv4Addr::new(10, 0, 0, 7))] {
            for contexts in [false, true] {
                let greeting = said(address).greeting(true, contexts);
                let option = &greeting.option[..greeting.len as usize];
                assert_eq!(Said::read(option), Some(said(address)));
                assert_eq!(option[5], if contexts { b'c' } else { b'p' });
            }
            let greeting = said(address).greeting(true, false);
            let option = &greeting.option[..greeting.len as usize];
            for cut in 0..option.len() {
                assert_eq!(Said::read(&option[..cut]), None);
            }
        }
        let bytes = said(Some(Ipv4Addr::new(10, 0, 0, 7))).greeting(false, false).option;
        assert_eq!(bytes, *b"\xfd\x14geop\x01\x02\x03\x04\x05\x06\x07\x08\x11\x43\x0a\0\0\x07");
    }

    #[test]
    fn an_offer_says_nothing_of_an_agent() {
        let offer = offer(true);
        assert_eq!((&offer.option[..7], offer.len, offer.anywhere), (&b"\xfd\x06geoc\0"[..], 6, 1));
        assert_eq!(Said::read(&offer.option[..6]), None);
    }

    #[test]
    fn other_options_are_not_ours() {
        let bytes = said(Some(Ipv4Addr::LOCALHOST)).greeting(false, false).option;
        for at in 0..6 {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(Said::read(&other), None, "{at}");
        }
        assert_eq!(Said::read(&[&bytes[..], &[0]].concat()), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..40), ours: bool) {
            if ours && bytes.len() >= 6 {
                bytes[0] = KIND;
                bytes[1] = bytes.len() as u8;
                bytes[2..6].copy_from_slice(&MAGIC);
            }
            let read = Said::read(&bytes);
            prop_assert_eq!(read.is_some(), ours && (bytes.len() == SHORT || bytes.len() == LONG));
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut greetings = Greetings::default();
        for i in 0..40_000u32 {
            let remote = IpAddr::from((0x0a00_0000 + i / 20).to_be_bytes());
            greetings.meet(Met { remote, answers: i, agent: i, at: SocketAddr::from((remote, 1)) }, 0);
        }
        assert_eq!((greetings.connections.len(), greetings.order.len()), (CONNECTIONS, CONNECTIONS));
        assert_eq!((greetings.hosts.len(), greetings.hosts().count()), (HOSTS, HOSTS * AGENTS));
        greetings.tick(FORGET);
        assert_eq!(greetings.hosts().count(), 0);
    }

    #[test]
    fn few_addresses_are_tried_however_many_are_said() {
        let mut greetings = Greetings::default();
        let tried = (0..100_000u64).filter(|i| greetings.may_try(100 * SECOND + i * SECOND / 1000)).count();
        // For 100 seconds.
        assert!((1500..1700).contains(&tried), "{tried}");
    }
}
