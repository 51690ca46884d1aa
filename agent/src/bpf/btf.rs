//! A reader of the kernel's BTF, just large enough to find where a field is in a structure.
//! Format: `Documentation/bpf/btf.rst` of Linux. Every index is checked: a corrupt file gives an error, not a panic.

use std::path::Path;

use thiserror::Error;

/// Where the running kernel describes itself.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What can go wrong with BTF.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error(
        "cannot read the kernel's type information in {path} (the kernel must be built with CONFIG_DEBUG_INFO_BTF=y): {error}"
    )]
    Read {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is not BTF of the kind that this reader knows.
    #[error("the kernel's type information is damaged or of an unknown format")]
    Format,
    /// A structure or field is not there.
    #[error("this kernel has no field {0}")]
    NoField(String),
}

/// Parsed BTF: the raw sections and where each type begins.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Position of the type with id `i + 1`.
    types: Vec<u32>,
}

/// Members that are looked at for one path: many times more than a kernel's largest structures have, and an end for a corrupt file in
/// which anonymous structures hold each other.
const MEMBERS: u32 = 100_000;

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    vlen: u32,
    /// Whether member offsets share their word with a bit-field size.
    bitfields: bool,
    /// Size of a structure, or the id of the type that is referred to.
    reference: u32,
    members: usize,
}

impl Btf {
    /// Reads the running kernel's.
    ///
    /// # Errors
    /// When it is not there or not understood.
    pub fn of_kernel() -> Result<Self, BtfError> {
        Self::read(Path::new(VMLINUX))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// See [`BtfError`].
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let data = std::fs::read(path).map_err(|error| BtfError::Read { path: path.display().to_string(), error })?;
        Self::parse(data)
    }

    /// Takes the bytes of a BTF file in the byte order of this machine.
    ///
    /// # Errors
    /// [`BtfError::Format`]
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        const MAGIC: u16 = 0xeb9f;
        let mut btf = Self { data, strings: 0, types: Vec::new() };
        let magic = btf.data.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::Format);
        }
        let header = |at| btf.word(at).map(|v| v as usize).ok_or(BtfError::Format);
        let (header_len, type_off, type_len, str_off) = (header(4)?, header(8)?, header(12)?, header(16)?);
        let begin = header_len.checked_add(type_off).ok_or(BtfError::Format)?;
        let end = begin.checked_add(type_len).filter(|end| *end <= btf.data.len()).ok_or(BtfError::Format)?;
        btf.strings = header_len.checked_add(str_off).ok_or(BtfError::Format)?;
        let mut at = begin;
        while at < end {
            let ty = btf.type_at(at).ok_or(BtfError::Format)?;
            btf.types.push(u32::try_from(at).map_err(|_| BtfError::Format)?);
            at += 12 + Self::extra(ty.kind, ty.vlen).ok_or(BtfError::Format)?;
        }
        Ok(btf)
    }

    /// Offset in bytes of a field, by a path such as `sock.__sk_common.skc_family`; members of anonymous structures and unions
    /// count as members of what holds them.
    ///
    /// # Errors
    /// [`BtfError::NoField`]
    pub fn offset(&self, path: &str) -> Result<u32, BtfError> {
        self.find_path(path).ok_or_else(|| BtfError::NoField(path.to_owned()))
    }

    /// Position in bits of a field of one bit, as [`Self::offset`] finds fields.
    ///
    /// # Errors
    /// [`BtfError::NoField`]
    pub fn bit(&self, path: &str) -> Result<u32, BtfError> {
        self.find_bits(path).ok_or_else(|| BtfError::NoField(path.to_owned()))
    }

    /// Whether there is a type of this name, such as `btf_trace_sock_send_length` for a raw tracepoint.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        (0..self.types.len()).any(|i| self.by_index(i).is_some_and(|ty| self.name(ty.name) == Some(name.as_bytes())))
    }

    /// The number of a function's type.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        const FUNC: u32 = 12;
        let is = |ty: Type| ty.kind == FUNC && self.name(ty.name) == Some(name.as_bytes());
        let index = (0..self.types.len()).find(|i| self.by_index(*i).is_some_and(is))?;
        u32::try_from(index + 1).ok()
    }

    fn find_path(&self, path: &str) -> Option<u32> {
        self.find_bits(path).map(|bits| bits / 8)
    }

    fn find_bits(&self, path: &str) -> Option<u32> {
        let mut parts = path.split('.');
        let root = parts.next()?;
        let mut ty = (0..self.types.len())
            .filter_map(|i| self.by_index(i))
            .find(|ty| ty.kind == STRUCT && ty.vlen > 0 && self.name(ty.name) == Some(root.as_bytes()))?;
        let mut offset = 0u32;
        let mut budget = MEMBERS;
        for part in parts {
            let (bits, id) = self.member(ty, part.as_bytes(), 0, &mut budget)?;
            offset = offset.checked_add(bits)?;
            // What follows a scalar is only reached by a wrong path, which `member` then refuses.
            ty = self.resolve(id)?;
        }
        Some(offset)
    }

    /// Bit offset and type id of a member. `budget`: so many members may still be looked at.
    fn member(&self, ty: Type, name: &[u8], depth: u32, budget: &mut u32) -> Option<(u32, u32)> {
        if depth > 8 || (ty.kind != STRUCT && ty.kind != UNION) {
            return None;
        }
        for i in 0..ty.vlen as usize {
            *budget = budget.checked_sub(1)?;
            let at = ty.members + i * 12;
            let (member_name, id, raw) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let bits = if ty.bitfields { raw & 0x00ff_ffff } else { raw };
            if member_name == 0 {
                if let Some((inner, id)) =
                    self.resolve(id).and_then(|inner| self.member(inner, name, depth + 1, budget))
                {
                    return Some((bits.checked_add(inner)?, id));
                }
            } else if self.name(member_name) == Some(name) {
                return Some((bits, id));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, id: u32) -> Option<Type> {
        const VOLATILE: u32 = 9;
        const RESTRICT: u32 = 11;
        const TYPE_TAG: u32 = 18;
        let mut ty = self.by_index((id as usize).checked_sub(1)?)?;
        for _ in 0..16 {
            match ty.kind {
                TYPEDEF | VOLATILE..=RESTRICT | TYPE_TAG => {
                    ty = self.by_index((ty.reference as usize).checked_sub(1)?)?;
                }
                _ => return Some(ty),
            }
        }
        None
    }

    fn by_index(&self, index: usize) -> Option<Type> {
        self.type_at(*self.types.get(index)? as usize)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = self.word(at + 4)?;
        Some(Type {
            name: self.word(at)?,
            kind: (info >> 24) & 0x1f,
            vlen: info & 0xffff,
            bitfields: info >> 31 == 1,
            reference: self.word(at + 8)?,
            members: at + 12,
        })
    }

    /// Bytes that follow a type's fixed part.
    fn extra(kind: u32, vlen: u32) -> Option<usize> {
        let n = vlen as usize;
        Some(match kind {
            // INT, VAR, DECL_TAG
            1 | 14 | 17 => 4,
            // ARRAY
            3 => 12,
            STRUCT | UNION => 12 * n,
            // ENUM, FUNC_PROTO
            6 | 13 => 8 * n,
            // DATASEC, ENUM64
            15 | 19 => 12 * n,
            // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.data.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
    }

    fn name(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.data.get(self.strings.checked_add(offset as usize)?..)?;
        rest.split(|b| *b == 0).next()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_fields_of_the_running_kernel() {
        let btf = Btf::of_kernel().unwrap();
        // Fixed by the layout of `struct socket_alloc`, whatever the kernel.
        assert_eq!(btf.offset("socket_alloc.socket").unwrap(), 0);
        // Inside an anonymous union of an anonymous structure.
        assert!(btf.offset("sock.__sk_common.skc_daddr").is_ok());
        assert_eq!(btf.offset("sock_common.skc_num").unwrap(), btf.offset("sock_common.skc_dport").unwrap() + 2);
        assert_eq!(btf.bit("task_struct.in_iowait").unwrap() / 8, btf.offset("task_struct.in_iowait").unwrap());
        assert!(btf.has("task_struct"));
        assert!(!btf.has("no_such_struct"));
        assert!(btf.function("schedule").is_some_and(|number| number > 0));
        assert_eq!(btf.function("task_struct"), None);
        assert!(matches!(btf.offset("sock.nonsense"), Err(BtfError::NoField(_))));
        assert!(matches!(btf.offset("sock.sk_err.deeper"), Err(BtfError::NoField(_))));
    }

    #[test]
    fn refuses_what_is_not_btf() {
        assert!(matches!(Btf::parse(vec![]), Err(BtfError::Format)));
        assert!(matches!(Btf::parse(b"\x7fELF----------------------------".to_vec()), Err(BtfError::Format)));
        assert!(matches!(Btf::read(Path::new("/nonexistent")), Err(BtfError::Read { .. })));
    }

    #[test]
    fn structures_that_hold_themselves_come_to_an_end() {
        const MEMBERS: u32 = 1000;
        let (types_len, strings) = (12 + 12 * MEMBERS, b"\0a\0");
        let mut words = vec![0x0001_eb9f, 24, 0, types_len, types_len, strings.len() as u32];
        words.extend([1, STRUCT << 24 | MEMBERS, 0]);
        words.extend((0..MEMBERS).flat_map(|_| [0, 1, 0]));
        let mut data: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        data.extend(strings);
        let btf = Btf::parse(data).unwrap();
        assert!(btf.has("a"));
        assert!(matches!(btf.offset("a.b"), Err(BtfError::NoField(_))));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut data in proptest::collection::vec(any::<u8>(), 24..400)) {
            data[..2].copy_from_slice(&0xeb9fu16.to_ne_bytes());
            data[4..8].copy_from_slice(&24u32.to_ne_bytes());
            data[8..12].copy_from_slice(&0u32.to_ne_bytes());
            let len = u32::try_from(data.len() - 24).unwrap();
            data[12..16].copy_from_slice(&len.to_ne_bytes());
            if let Ok(btf) = Btf::parse(data) {
                let _ = btf.offset("a.b");
            }
        }
    }
}
