//! The seal of a message: AES-256-GCM, so that nobody without the key can read, change or make one.
//!
//! Every pair of agents has two keys, one for each way, which come from the shared secret and the random ids that both have chosen
//! when they started (HKDF-SHA-256). So no number is used twice with one key, although all agents have the same secret, and what was
//! said to an agent that ran before means nothing to the one that runs now.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
};
use thiserror::Error;

/// What the seal adds to a message.
pub const TAG: usize = 16;
/// Shortest secret, in bytes: 16 random bytes in hexadecimal digits.
pub const SHORTEST: usize = 32;
/// Longest secret, in bytes.
pub const LONGEST: usize = 4096;

/// Why a secret is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// It can be guessed.
    #[error("it has {0} characters, and {SHORTEST} are needed; make one by: openssl rand -hex 32")]
    Short(usize),
    /// It is no secret but some other file.
    #[error("it has more than {LONGEST} characters, which no key needs")]
    Long,
}

/// The secret that all agents share. Shown by nothing.
#[derive(Clone)]
pub struct Key(Prk);

impl Key {
    /// From its text; blanks around it do not count.
    ///
    /// # Errors
    /// When it is too short, or absurdly long.
    pub fn new(text: &[u8]) -> Result<Self, KeyError> {
        let text = text.trim_ascii();
        match text.len() {
            len if len < SHORTEST => Err(KeyError::Short(len)),
            len if len > LONGEST => Err(KeyError::Long),
            _ => Ok(Self(Salt::new(HKDF_SHA256, b"geophone peers 1").extract(text))),
        }
    }

    /// The key of the way between two agents; `to` 0 is nobody in particular.
    pub(super) fn way(&self, from: u64, to: u64) -> Option<Way> {
        let info = [&from.to_be_bytes()[..], &to.to_be_bytes()];
        let key = self.0.expand(&info, &AES_256_GCM).ok()?;
        Some(Way(LessSafeKey::new(UnboundKey::from(key))))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// The key of one way between two agents.
#[derive(Debug)]
pub(super) struct Way(LessSafeKey);

impl Way {
    /// Seals what stands behind the first `head` bytes, which stay readable, and appends the tag. `number` must never come twice with
    /// the same `kind`. `None` when the message is shorter than its head.
    pub(super) fn seal(&self, kind: u8, number: u64, head: usize, message: &mut Vec<u8>) -> Option<()> {
        let (head, body) = message.split_at_mut_checked(head)?;
        let tag = self.0.seal_in_place_separate_tag(nonce(kind, number), Aad::from(head), body).ok()?;
        message.extend_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens what stands behind the first `head` bytes; `None` when it was not sealed with this key.
    pub(super) fn open<'a>(&self, kind: u8, number: u64, head: usize, message: &'a mut [u8]) -> Option<&'a [u8]> {
        let (head, body) = message.split_at_mut_checked(head)?;
        self.0.open_in_place(nonce(kind, number), Aad::from(head), body).ok().map(|body| &*body)
    }
}

fn nonce(kind: u8, number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    let [first, _, _, _, rest @ ..] = &mut nonce;
    *first = kind;
    *rest = number.to_be_bytes();
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"  0123456789abcdef0123456789abcdef\n";

    #[test]
    fn opens_what_was_sealed_for_it_alone() {
        let way = |from, to| Key::new(SECRET).unwrap().way(from, to).unwrap();
        let mut sealed = b"head, body".to_vec();
        way(1, 2).seal(1, 9, 5, &mut sealed).unwrap();
        assert_eq!(&sealed[..5], b"head,");
        assert_ne!(&sealed[5..10], b" body");
        assert_eq!(way(1, 2).open(1, 9, 5, &mut sealed.clone()), Some(&b" body"[..]));
        for (from, to, kind, number) in [(2, 1, 1, 9), (1, 3, 1, 9), (1, 2, 2, 9), (1, 2, 1, 8)] {
            assert_eq!(way(from, to).open(kind, number, 5, &mut sealed.clone()), None);
        }
        let other = Key::new(b"0123456789abcdef0123456789abcdeg").unwrap().way(1, 2).unwrap();
        assert_eq!(other.open(1, 9, 5, &mut sealed.clone()), None);
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(way(1, 2).open(1, 9, 5, &mut changed), None, "byte {i}");
        }
        for short in 0..TAG + 5 {
            assert_eq!(way(1, 2).open(1, 9, 5, &mut sealed[..short].to_vec()), None);
        }
    }

    #[test]
    fn refuses_a_secret_that_is_none() {
        assert_eq!(Key::new(b" short \n").unwrap_err(), KeyError::Short(5));
        assert_eq!(Key::new(&[b'x'; 5000]).unwrap_err(), KeyError::Long);
        assert_eq!(format!("{:?}", Key::new(SECRET).unwrap()), "Key");
    }
}
