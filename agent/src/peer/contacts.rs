//! The addresses at which an agent may be: listed ones, and those of hosts with which traced services talk. Each is tried a few times at
//! once, then less and less often, and forgotten when nobody is interested any more.

use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;

use crate::event::Nanos;

const MILLI: Nanos = 1_000_000;
/// Waiting time after each of the first tries.
const FIRST: [Nanos; 3] = [150 * MILLI, 200 * MILLI, 250 * MILLI];
/// An address is taken to have no agent after this: the sum of the above.
pub(super) const TRYING: Nanos = 600 * MILLI;
const BACK_OFF_LEAST: Nanos = 1000 * MILLI;
/// A listed peer that is away is to be found soon after it has come back.
const BACK_OFF_LISTED: Nanos = 10_000 * MILLI;
const BACK_OFF_MOST: Nanos = 300_000 * MILLI;
/// An address in which nobody is interested for so long is forgotten.
const FORGET: Nanos = 600_000 * MILLI;
/// The same of one that only a TCP option speaks of, and where no agent is.
const FORGET_LEARNED: Nanos = 30_000 * MILLI;
/// Most addresses.
const MOST: usize = 4096;
/// Most of those that only a TCP option speaks of.
const MOST_LEARNED: usize = 256;

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Tried lately, too early to say.
    Awaited,
    /// None.
    None,
    /// This agent has answered.
    Peer(u64),
}

#[derive(Debug)]
struct Contact {
    listed: bool,
    /// Nothing but a TCP option speaks of it.
    learned: bool,
    answer: Answer,
    tries: usize,
    next: Nanos,
    /// Number of the last hello.
    hello: u64,
    /// When somebody was interested.
    wanted: Nanos,
}

/// All addresses.
#[derive(Debug, Default)]
pub(super) struct Contacts(HashMap<SocketAddr, Contact>);

impl Contacts {
    /// Whether there is nothing to try.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces the listed ones.
    pub(super) fn list(&mut self, listed: &[SocketAddr], now: Nanos) {
        for (address, contact) in &mut self.0 {
            contact.listed = listed.contains(address);
        }
        for address in listed {
            self.add(*address, true, now);
        }
    }

    /// Takes interest in an address. Returns whether there was room for it.
    pub(super) fn want(&mut self, address: SocketAddr, now: Nanos) -> bool {
        if let Some(contact) = self.0.get_mut(&address) {
            (contact.wanted, contact.learned) = (now, false);
            return true;
        }
        let room = self.0.len() < MOST;
        if room {
            self.add(address, false, now);
        }
        room
    }

    /// Takes interest in an address because a TCP option says that an agent is there. Returns whether it is taken in; `may_try` is asked if
    /// it is a new one.
    pub(super) fn learn(&mut self, address: SocketAddr, now: Nanos, may_try: impl FnOnce() -> bool) -> bool {
        if let Some(contact) = self.0.get_mut(&address) {
            contact.wanted = now;
            return true;
        }
        let learned = self.0.values().filter(|contact| contact.learned).count();
        if learned >= MOST_LEARNED || self.0.len() >= MOST || !may_try() {
            return false;
        }
        self.add(address, false, now);
        if let Some(contact) = self.0.get_mut(&address) {
            contact.learned = true;
        }
        true
    }

    fn add(&mut self, address: SocketAddr, listed: bool, now: Nanos) {
        self.0.entry(address).or_insert(Contact {
            listed,
            learned: false,
            answer: Answer::Awaited,
            tries: 0,
            next: now,
            hello: 0,
            wanted: now,
        });
    }

    /// What is known of an address.
    pub(super) fn answer(&self, address: SocketAddr) -> Answer {
        self.0.get(&address).map_or(Answer::None, |contact| contact.answer)
    }

    /// An agent has answered this hello. Returns the address that it was sent to.
    pub(super) fn answered(&mut self, hello: u64, peer: u64) -> Option<SocketAddr> {
        let (address, contact) = self.0.iter_mut().find(|(_, contact)| contact.hello == hello && hello != 0)?;
        contact.answer = Answer::Peer(peer);
        Some(*address)
    }

    /// Where agents have answered.
    pub(super) fn reached(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        self.0.iter().filter_map(|(address, contact)| match contact.answer {
            Answer::Peer(peer) => Some((address.ip(), peer)),
            Answer::Awaited | Answer::None => None,
        })
    }

    /// An agent is gone: where it was, there may soon be another.
    pub(super) fn lost(&mut self, peer: u64, now: Nanos) {
        for contact in self.0.values_mut().filter(|contact| contact.answer == Answer::Peer(peer)) {
            (contact.answer, contact.tries, contact.next) = (Answer::None, FIRST.len(), now);
        }
    }

    /// Tries what is due: `hello` sends one, and says its number. Returns how many have just turned out to be without an agent.
    pub(super) fn tick(&mut self, now: Nanos, mut hello: impl FnMut(SocketAddr) -> u64) -> u64 {
        let mut unanswered = 0;
        self.0.retain(|_, contact| {
            let in_vain = contact.learned && !matches!(contact.answer, Answer::Peer(_));
            let forget = if in_vain { FORGET_LEARNED } else { FORGET };
            contact.listed || now.saturating_sub(contact.wanted) < forget
        });
        for (address, contact) in &mut self.0 {
            if contact.next > now || matches!(contact.answer, Answer::Peer(_)) {
                continue;
            }
            if contact.tries == FIRST.len() && contact.answer == Answer::Awaited {
                contact.answer = Answer::None;
                unanswered += 1;
            }
            let wait = FIRST.get(contact.tries).copied().unwrap_or_else(|| {
                let doublings = (contact.tries - FIRST.len()).min(16);
                let most = if contact.listed { BACK_OFF_LISTED } else { BACK_OFF_MOST };
                (BACK_OFF_LEAST << doublings).min(most)
            });
            contact.tries += 1;
            contact.next = now + wait;
            contact.hello = hello(*address);
        }
        unanswered
    }
}

/// Whether an agent is looked for at the address of a traced connection's other end: only in networks that are not public, since
/// nobody else is to be bothered. Public addresses can be listed.
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || a == 100 && (64..128).contains(&b)
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1000 * MILLI;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 4419))
    }

    /// The times at which hellos go out.
    fn times(contacts: &mut Contacts, until: Nanos) -> Vec<Nanos> {
        let mut sent = Vec::new();
        for now in (0..until).step_by(50 * MILLI as usize) {
            contacts.tick(now, |_| {
                sent.push(now / MILLI);
                1
            });
        }
        sent
    }

    #[test]
    fn what_does_not_answer_is_tried_less_and_less() {
        let mut contacts = Contacts::default();
        assert!(contacts.want(address(1), 0));
        assert_eq!(contacts.answer(address(1)), Answer::Awaited);
        assert_eq!(times(&mut contacts, 10 * SECOND), [0, 150, 350, 600, 1600, 3600, 7600]);
        assert_eq!(contacts.answer(address(1)), Answer::None);
        contacts.tick(FORGET, |_| 1);
        assert!(contacts.is_empty());
    }

    #[test]
    fn listed_ones_are_never_forgotten() {
        let mut contacts = Contacts::default();
        contacts.list(&[address(1)], 0);
        let sent = times(&mut contacts, 1200 * SECOND);
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] <= 10_000), "{sent:?}");
        contacts.list(&[], 0);
        contacts.tick(FORGET, |_| 1);
        assert!(contacts.is_empty());
    }

    #[test]
    fn who_answers_is_left_alone_until_it_is_gone() {
        let mut contacts = Contacts::default();
        contacts.want(address(1), 0);
        contacts.tick(0, |_| 77);
        assert_eq!(contacts.answered(76, 5), None);
        assert_eq!(contacts.answered(77, 5), Some(address(1)));
        assert_eq!(times(&mut contacts, 5 * SECOND), Vec::<Nanos>::new());
        contacts.lost(5, 5 * SECOND);
        assert_eq!(contacts.tick(5 * SECOND, |_| 78), 0);
        assert_eq!(contacts.answered(78, 6), Some(address(1)));
    }

    #[test]
    fn what_options_speak_of_is_tried_for_a_while_and_does_not_crowd_out_others() {
        let mut contacts = Contacts::default();
        let learned = (0..1000u32).filter(|i| {
            let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + i), 1));
            contacts.learn(address, 0, || true)
        });
        assert_eq!(learned.count(), MOST_LEARNED);
        assert!(!contacts.learn(address(200), 0, || true));
        assert!(contacts.want(address(200), 0), "there is room for what is really talked with");
        let mut sent = 0;
        for now in (0..600 * SECOND).step_by(50 * MILLI as usize) {
            contacts.tick(now, |to| {
                sent += usize::from(to != address(200));
                1
            });
        }
        assert_eq!(sent, MOST_LEARNED * 8, "hellos, and then never again");
        assert!(!contacts.learn(address(3), 600 * SECOND, || false), "not more often than that");
        assert!(contacts.learn(address(3), 600 * SECOND, || true));
    }

    #[test]
    fn there_is_an_end_to_addresses() {
        let mut contacts = Contacts::default();
        for i in 0..MOST as u32 + 1 {
            let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + i), 1));
            assert_eq!(contacts.want(address, 0), i < MOST as u32);
        }
    }

    #[test]
    fn strangers_are_not_bothered() {
        for near in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.9", "fd00::1"] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in
            ["127.0.0.1", "8.8.8.8", "100.128.0.1", "169.254.169.254", "224.0.0.1", "::1", "fe80::1", "2001:db8::1"]
        {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
