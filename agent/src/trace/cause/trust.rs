//! How far evidence can be believed in a process: how often it agreed with evidence that is stronger and came later. What has never
//! been checked is neither proved nor refuted.

use hashbrown::HashMap;

use super::{call::Link, work::Lender};

/// How often something has proved right.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    right: u32,
    wrong: u32,
}

/// How often it must have been seen before it is believed, and before it is not.
const ENOUGH: u32 = 16;
const FEW: u32 = 2;
/// Of so many, one may be wrong.
const RARE: u32 = 100;
/// Of so many, one may be wrong without saying much.
const NOT_RARE: u32 = 16;
/// What was learnt fades when there is so much of it.
const MOST: u32 = 4096;

impl Proof {
    pub(super) fn add(&mut self, right: bool) {
        *(if right { &mut self.right } else { &mut self.wrong }) += 1;
        if self.seen() > MOST {
            self.right /= 2;
            self.wrong /= 2;
        }
    }

    /// The share of it that was right, from 0 to 1, as far as that can be said.
    pub(super) fn share(self) -> f64 {
        f64::from(self.right + ENOUGH) / f64::from(self.seen() + ENOUGH)
    }

    fn seen(self) -> u32 {
        self.right + self.wrong
    }

    fn is_often_wrong(self) -> bool {
        self.wrong > self.seen() / RARE
    }

    /// It was never held against anything.
    pub(super) fn is_unseen(self) -> bool {
        self.seen() == 0
    }

    /// It was seen often, and was hardly ever wrong.
    pub(super) fn is_proved(self) -> bool {
        self.seen() >= ENOUGH && !self.is_often_wrong()
    }

    /// It was wrong too often, even if what it was held against may have been wrong itself now and then.
    pub(super) fn is_refuted(self) -> bool {
        self.wrong >= FEW && self.wrong > self.seen() / NOT_RARE
    }

    /// It was seen often, and was not wrong too often, if what it was held against may have been wrong itself now and then.
    pub(super) fn has_held(self) -> bool {
        self.seen() >= ENOUGH && !self.is_refuted()
    }

    /// It was seen often, and was wrong more often than right.
    pub(super) fn is_mostly_wrong(self) -> bool {
        self.seen() >= ENOUGH && self.wrong > self.right
    }

    /// It was seen often, and was right more often than wrong.
    pub(super) fn is_mostly_right(self) -> bool {
        self.seen() >= ENOUGH && self.right > self.wrong
    }

    /// It was seen often, and was wrong too often.
    pub(super) fn has_failed(self) -> bool {
        self.seen() >= ENOUGH && self.is_often_wrong()
    }
}

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// What a link says.
    Link(Link),
    /// That endpoints always do the same, where it speaks so clearly for a request: 0 is clearest.
    Pattern(usize),
    /// That what was lent lasts until its worker is woken by such a one again.
    Loan(Lender),
    /// That what was lent to a worker is what it does next.
    Next,
    /// That what a goroutine has been given, or has taken from whom it has woken, is what it does next.
    Item,
    /// That what the callback of a connection sends there, when it has read an answer, goes on with that. A driver that has queued what others
    /// ask for sends the next of that.
    Own,
    /// That whoever answers a request which somebody else has read has served nothing else meanwhile.
    Answerer,
    /// That whoever answers a request, and reads requests too, has not read that one.
    Turns,
}

impl From<Link> for Kind {
    fn from(link: Link) -> Self {
        Self::Link(link)
    }
}

impl From<Lender> for Kind {
    fn from(lender: Lender) -> Self {
        Self::Loan(lender)
    }
}

/// What is known of each kind of evidence, by process.
#[derive(Debug, Default)]
pub(super) struct Trust {
    proofs: HashMap<(u32, Kind), Proof, foldhash::fast::RandomState>,
}

impl Trust {
    /// What this kind of evidence said of a call was right, or was not.
    pub(super) fn add(&mut self, tgid: u32, kind: impl Into<Kind>, right: bool) {
        self.proofs.entry((tgid, kind.into())).or_default().add(right);
    }

    /// What is known of it.
    pub(super) fn of(&self, tgid: u32, kind: impl Into<Kind>) -> Proof {
        self.proofs.get(&(tgid, kind.into())).copied().unwrap_or_default()
    }

    /// What was learnt of it counts no more.
    pub(super) fn forget(&mut self, tgid: u32, kind: impl Into<Kind>) {
        self.proofs.remove(&(tgid, kind.into()));
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.proofs.retain(|(of, _), _| *of != tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_believed_when_it_was_often_right() {
        let mut trust = Trust::default();
        assert!(!trust.of(1, Link::Thread).is_proved() && !trust.of(1, Link::Thread).is_refuted());
        for _ in 0..20 {
            trust.add(1, Link::Thread, true);
        }
        assert!(trust.of(1, Link::Thread).is_proved());
        assert!(!trust.of(1, Link::Clone).is_proved() && !trust.of(2, Link::Thread).is_proved());
        trust.add(1, Link::Thread, false);
        assert!(!trust.of(1, Link::Thread).is_proved() && !trust.of(1, Link::Thread).is_refuted());
        trust.add(1, Link::Thread, false);
        assert!(trust.of(1, Link::Thread).is_refuted() && !trust.of(1, Link::Thread).is_mostly_wrong());
        // It may win trust again.
        for _ in 0..300 {
            trust.add(1, Link::Thread, true);
        }
        assert!(trust.of(1, Link::Thread).is_proved());
        trust.ended(1);
        assert!(!trust.of(1, Link::Thread).is_proved());
    }
}
