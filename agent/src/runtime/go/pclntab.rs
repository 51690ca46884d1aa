//! Functions by their names, in the table that Go's runtime itself looks them up in (`.gopclntab`): it is in stripped programs, too.
//! Its format has been the same since Go 1.20, see `runtime.pcHeader` and `runtime._func`.

use super::{
    super::{Image, Refusal, Segment},
    modules,
};

/// How it begins: a number, two zeroes, the size of the smallest instruction (1 or 4), and of a pointer.
const MAGIC: [u8; 6] = [0xf1, 0xff, 0xff, 0xff, 0, 0];
const HEADER: usize = 72;
/// What is read at a time.
const CHUNK: usize = 1 << 16;
/// More functions than in any program.
const FUNCTIONS: u64 = 1 << 24;

/// `runtime.pcHeader`.
struct Table {
    /// How many functions.
    count: u64,
    /// The names, up to the next part: file offset and size.
    names: (u64, u64),
    /// The functions, and what is known of each.
    functions: (u64, u64),
    /// Address from which functions are counted.
    text: u64,
}

/// A function's code, by the addresses in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Of its first instruction.
    pub begin: u64,
    /// Of the function after it.
    pub end: u64,
}

/// The functions of these names; `None` for one that the program has not.
pub fn functions<const N: usize>(image: &Image, wanted: [&str; N]) -> Result<[Option<Function>; N], Refusal> {
    let table = Table::find(image)?;
    let names = table.names(image, wanted)?;
    let entries = table.entries(image, names)?;
    let inside = |address: u64| {
        image.segments().iter().any(|s| s.execute && address >= s.address && address - s.address < s.size)
    };
    let at = |offset: u32| table.text.wrapping_add(u64::from(offset));
    let found = entries.map(|entry| entry.map(|(begin, end)| Function { begin: at(begin), end: at(end) }));
    if found.iter().flatten().all(|function| inside(function.begin)) {
        Ok(found)
    } else {
        Err(Refusal::Malformed("its functions are not where its table of functions says"))
    }
}

impl Table {
    fn find(image: &Image) -> Result<Self, Refusal> {
        let named = image.elf(|elf| Ok(elf.place(b".gopclntab").or_else(|| elf.place(b".data.rel.ro.gopclntab"))))?;
        let place = match named {
            Some(place) => place,
            None => search(image)?.ok_or(Refusal::Malformed("it has no table of functions"))?,
        };
        let mut header = [0; HEADER];
        image.read_at(&mut header, place.offset)?;
        if !is_header(&header) {
            return Err(Refusal::Malformed("its table of functions has an unknown format"));
        }
        let word = |index: usize| {
            let bytes = header.get(8 + index * 8..16 + index * 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        let part = |from: u64, to: u64| {
            let valid = from <= to && to <= place.size;
            valid.then_some((place.offset.saturating_add(from), to.saturating_sub(from)))
        };
        let (names, functions) = (part(word(3), word(4)), part(word(7), place.size));
        let (Some(names), Some(functions)) = (names, functions) else {
            return Err(Refusal::Malformed("its table of functions is longer than it"));
        };
        // Each has eight bytes in the first part of the functions.
        let count = word(0);
        if count > FUNCTIONS || count * 8 > functions.1 {
            return Err(Refusal::Malformed("its table of functions is longer than it"));
        }
        // Since Go 1.26 the table itself does not say, and where the program can be moved it is filled in only then.
        let text = match word(2) {
            0 => modules::text(image, place.address)?,
            text => text,
        };
        Ok(Self { count, names, functions, text })
    }

    /// Where the names are in the part with the names.
    fn names<const N: usize>(&self, image: &Image, wanted: [&str; N]) -> Result<[Option<u32>; N], Refusal> {
        // A zero is before each name (but for the first, which is none of these) and after it.
        let wanted = wanted.map(|name| [name.as_bytes(), b"\0"].concat());
        let overlap = wanted.iter().map(Vec::len).max().unwrap_or(0) as u64;
        let mut found = [None; N];
        each_chunk(image, self.names, overlap, |at, bytes| {
            for (zero, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == 0) {
                let name = bytes.get(zero + 1..).unwrap_or_default();
                for (found, _) in found.iter_mut().zip(&wanted).filter(|(_, wanted)| name.starts_with(wanted)) {
                    *found = u32::try_from(at + zero as u64 + 1).ok();
                }
            }
            found.iter().any(Option::is_none)
        })?;
        Ok(found)
    }

    /// Where functions with these names begin, and the next ones, counted from the text's begin.
    fn entries<const N: usize>(
        &self,
        image: &Image,
        names: [Option<u32>; N],
    ) -> Result<[Option<(u32, u32)>; N], Refusal> {
        let mut found: [Option<(u32, u32)>; N] = [None; N];
        if names.iter().all(Option::is_none) {
            return Ok(found);
        }
        // What is known of functions comes in their order, so that one window moves over it.
        let mut window = Window { image, at: 0, bytes: Vec::new() };
        let (from, size) = self.functions;
        // Behind the last function comes the end of the text.
        each_chunk(image, (from, (self.count * 8 + 4).min(size)), 0, |_, bytes| {
            for entry in bytes.chunks(8) {
                if let Some(begin) = u32_at(entry) {
                    for (_, end) in found.iter_mut().flatten().filter(|(begin, end)| begin == end) {
                        *end = begin;
                    }
                }
                let Some(of) = entry.get(4..).and_then(u32_at).map(u64::from).filter(|of| of + 8 <= size) else {
                    continue;
                };
                let Some(function) = window.get(from + of, size - of) else {
                    return false;
                };
                let (entry, name) = (u32_at(function), function.get(4..).and_then(u32_at));
                for (found, wanted) in found.iter_mut().zip(&names) {
                    if found.is_none() && wanted.is_some() && name == *wanted {
                        // Its end is not known yet.
                        *found = entry.map(|entry| (entry, entry));
                    }
                }
            }
            let all = |(found, name): (&Option<(u32, u32)>, &Option<u32>)| {
                found.map_or(name.is_none(), |(begin, end)| begin != end)
            };
            !found.iter().zip(&names).all(all)
        })?;
        Ok(found)
    }
}

/// A part of the file around the place that was asked for last.
struct Window<'a> {
    image: &'a Image,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Eight bytes or more at a place; `left` bytes are there at most.
    fn get(&mut self, offset: u64, left: u64) -> Option<&[u8]> {
        let inside = offset.checked_sub(self.at).is_some_and(|inside| inside + 8 <= self.bytes.len() as u64);
        if !inside {
            self.bytes.resize(usize::try_from(left).unwrap_or(CHUNK).min(CHUNK), 0);
            self.at = offset;
            let filled = self.image.read_some(&mut self.bytes, offset).ok()?;
            self.bytes.truncate(filled);
        }
        self.bytes.get(usize::try_from(offset - self.at).ok()?..)
    }
}

/// Hands out a part of the file bit by bit, with where in it each bit begins. A bit begins `overlap` bytes before the last one ended.
/// Ends early when `each` says so.
fn each_chunk(
    image: &Image,
    (from, size): (u64, u64),
    overlap: u64,
    mut each: impl FnMut(u64, &[u8]) -> bool,
) -> Result<(), Refusal> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(CHUNK).min(CHUNK);
        let filled = image.read_some(buffer.get_mut(..want).unwrap_or_default(), from.saturating_add(at))?;
        let more = each(at, buffer.get(..filled).unwrap_or_default());
        if !more || filled < CHUNK {
            break;
        }
        at += (filled as u64).saturating_sub(overlap).max(8);
    }
    Ok(())
}

/// Without sections: looks for it in what is loaded.
fn search(image: &Image) -> Result<Option<Segment>, Refusal> {
    for segment in image.segments().iter().filter(|segment| !segment.execute) {
        let mut found = None;
        each_chunk(image, (segment.offset, segment.size), HEADER as u64, |at, bytes| {
            // It is aligned, as the part of the file is.
            let inside = (0..bytes.len()).step_by(8).find(|inside| bytes.get(*inside..).is_some_and(is_header));
            found = inside.map(|inside| at + inside as u64);
            found.is_none()
        })?;
        if let Some(at) = found {
            return Ok(Some(Segment {
                address: segment.address.saturating_add(at),
                offset: segment.offset.saturating_add(at),
                size: segment.size.saturating_sub(at),
                ..*segment
            }));
        }
    }
    Ok(None)
}

fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) && matches!(bytes.get(6..8), Some([1 | 4, 8]))
}

fn u32_at(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}
