//! The version of Go that made a program, and those of the modules in it: what `go version -m FILE` prints. See `debug/buildinfo` of
//! Go's library.

use super::super::{Image, Refusal, Segment};

/// How the information begins.
const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
/// It begins at a multiple of this.
const ALIGN: usize = 16;
/// The header: the magic, a pointer's size, flags, and in old programs two pointers.
const HEADER: usize = 32;
/// The strings follow the header, each after its length. Since Go 1.18.
const INLINE: u8 = 2;
/// There are so many bytes before and after the lines of the modules, by which they can be found in a file.
const FRAME: usize = 16;
/// The pointers are in the other byte order.
const BIG_ENDIAN: u8 = 1;
/// The longest version that is believed.
const LONGEST: u64 = 256;
/// How much of a file's data is looked at when its sections are stripped.
const SEARCH: u64 = 1 << 20;

/// How a program was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The version of Go.
    pub version: String,
    /// Lines of the modules; empty for a program of Go 1.17 or earlier.
    modules: String,
}

impl Build {
    /// The version of a module, or of the one that replaces it; `None`: it is not in the program, or that does not say.
    pub fn module(&self, path: &str) -> Option<&str> {
        let mut lines = self.modules.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        lines.find(|fields| fields.first() == Some(&"dep") && fields.get(1) == Some(&path)).and_then(|fields| {
            match lines.next() {
                // A folder has no version.
                Some(next) if next.first() == Some(&"=>") => next.get(2).copied(),
                _ => fields.get(2).copied(),
            }
        })
    }
}

/// How a file was made; `None` for one that was not made by Go.
pub fn read(image: &Image) -> Result<Option<Build>, Refusal> {
    let Some(place) = image.elf(|elf| Ok(elf.place(b".go.buildinfo")))?.or_else(|| data(image)) else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(place.size.min(SEARCH)).unwrap_or(0)];
    let filled = image.read_some(&mut bytes, place.offset)?;
    bytes.truncate(filled);
    let Some(info) = find(&bytes) else {
        return Ok(None);
    };
    let build = if flags(info) & INLINE != 0 {
        inline(info)
    } else {
        pointed(image, info).map(|version| Build { version, modules: String::new() })
    };
    Ok(Some(build.ok_or(Refusal::Malformed("its version of Go cannot be read"))?))
}

/// Without sections: the first part that can be written.
fn data(image: &Image) -> Option<Segment> {
    image.segments().iter().copied().find(|segment| segment.write && !segment.execute)
}

fn find(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.chunks(ALIGN).position(|chunk| chunk.starts_with(MAGIC))?;
    bytes.get(at.checked_mul(ALIGN)?..)
}

fn flags(info: &[u8]) -> u8 {
    info.get(15).copied().unwrap_or_default()
}

fn inline(info: &[u8]) -> Option<Build> {
    let (version, rest) = string(info.get(HEADER..)?)?;
    // Without modules, or when they are cut off, the version is known all the same.
    let modules = string(rest).and_then(|(framed, _)| framed.get(FRAME..framed.len().checked_sub(FRAME)?));
    let modules = modules.map(|modules| String::from_utf8_lossy(modules).into_owned()).unwrap_or_default();
    Some(Build { version: text(version)?, modules })
}

/// A string after its length, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, at) = varint(bytes)?;
    bytes.get(at..)?.split_at_checked(usize::try_from(len).ok()?)
}

/// Until Go 1.17: a pointer to the version, which is a pointer and a length.
fn pointed(image: &Image, info: &[u8]) -> Option<String> {
    if info.get(14) != Some(&8) || flags(info) & BIG_ENDIAN != 0 {
        return None;
    }
    let string = word(info.get(16..24)?)?;
    let mut header = [0; 16];
    image.read_at(&mut header, image.offset_of(string)?).ok()?;
    let (address, len) = (word(header.get(..8)?)?, word(header.get(8..)?)?);
    if len > LONGEST {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    image.read_at(&mut bytes, image.offset_of(address)?).ok()?;
    text(&bytes)
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = !text.is_empty() && text.len() as u64 <= LONGEST && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    plain.then(|| text.to_owned())
}

fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// A number as `binary.PutUvarint` writes it, and how many bytes it has.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7; 32];
        bytes.extend(MAGIC);
        bytes.extend([8, flags]);
        bytes.extend([0; 16]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn inline_strings() {
        let bytes = info(2, b"\x08go1.21.3\x00");
        assert_eq!(inline(find(&bytes).unwrap()).unwrap().version, "go1.21.3");
        let long = "x".repeat(200);
        let bytes = info(2, &[&[0xc8, 0x01], long.as_bytes()].concat());
        assert_eq!(inline(find(&bytes).unwrap()).unwrap().version, long);
    }

    #[test]
    fn modules() {
        let lines = "path\tx\nmod\tx\t(devel)\t\ndep\ta/b\tv1.2.3\th1:x=\ndep\tc\tv0.1.0\n=>\tother/c\tv0.2.0\th1:y=\n\
                     dep\td\tv1.0.0\n=>\t./d\ndep\te\tv1.5.0\nbuild\t-compiler=gc\n";
        let framed = [&[1; FRAME], lines.as_bytes(), &[2; FRAME]].concat();
        let rest =
            [b"\x06go1.26".as_slice(), &[framed.len() as u8 | 0x80, (framed.len() >> 7) as u8], &framed].concat();
        let build = inline(find(&info(2, &rest)).unwrap()).unwrap();
        assert_eq!(build.version, "go1.26");
        let versions = ["a/b", "c", "d", "e", "b", "x"].map(|path| build.module(path));
        assert_eq!(versions, [Some("v1.2.3"), Some("v0.2.0"), None, Some("v1.5.0"), None, None]);
        // Cut off, too short, none.
        for rest in [&rest[..40], b"\x06go1.26\x05short".as_slice(), b"\x06go1.26"] {
            let build = inline(find(&info(2, rest)).unwrap()).unwrap();
            assert_eq!((&*build.version, build.module("a/b")), ("go1.26", None));
        }
    }

    #[test]
    fn malformed() {
        // Longer than there is, endless, empty, not text; not aligned.
        for rest in [
            b"\x20go1.2".as_slice(),
            &[0xff; 20],
            b"\0",
            b"\x03\xff\xfe\0",
            b"",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(inline(find(&info(2, rest)).unwrap()), None, "{rest:?}");
        }
        assert_eq!(find(&[&[0; 8], MAGIC.as_slice()].concat()), None);
        assert_eq!(find(b""), None);
    }
}
