//! An executable file: which one it is, and reading parts of it, however large it is. Nothing is mapped, and nothing is read as a
//! whole: a file may change or be cut short while it is looked at.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    sync::Arc,
};

use object::{
    Endianness,
    elf::{
        FileHeader64, PT_INTERP, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_OBJECT, SectionHeader64, Sym64,
        gnu_hash,
    },
    read::{
        ReadCache,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _, VersionTable},
    },
};

use super::Refusal;
use crate::parts::{self, Parts};

/// A file's identity: one that is changed, or replaced by another, has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// When it was last written: seconds, nanoseconds.
    pub modified: (i64, i64),
}

impl FileId {
    /// Of a file.
    ///
    /// # Errors
    /// Those of `stat`.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from_metadata(&std::fs::metadata(path)?))
    }

    fn from_metadata(metadata: &std::fs::Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The headers of a 64-bit ELF file.
pub struct Elf<'a> {
    /// The file's header.
    pub header: &'a FileHeader64<Endianness>,
    /// The byte order, which is the machine's.
    pub endian: Endianness,
    /// Its sections; none where they were stripped.
    pub sections: SectionTable<'a, FileHeader64<Endianness>, Parts<'a>>,
    /// The rest of the file.
    pub data: Parts<'a>,
}

impl<'a> Elf<'a> {
    /// A section's header by its name.
    #[must_use]
    pub fn section(&self, name: &[u8]) -> Option<&'a SectionHeader64<Endianness>> {
        self.sections.section_by_name(self.endian, name).map(|(_, section)| section)
    }

    /// A section's address, and its place and size in the file.
    #[must_use]
    pub fn place(&self, name: &[u8]) -> Option<Segment> {
        let section = self.section(name)?;
        let (offset, size) = section.file_range(self.endian)?;
        let flags = section.sh_flags(self.endian);
        Some(Segment {
            address: section.sh_addr(self.endian),
            offset,
            size,
            execute: flags & u64::from(object::elf::SHF_EXECINSTR) != 0,
            write: flags & u64::from(object::elf::SHF_WRITE) != 0,
        })
    }
}

impl Elf<'_> {
    /// The addresses of functions that the file exports: by its hash table, so that nothing is gone through.
    ///
    /// # Errors
    /// When its tables are malformed.
    pub fn exported<const N: usize>(&self, names: [&str; N]) -> Result<[Option<u64>; N], Refusal> {
        self.exports(names, STT_FUNC)
    }

    /// The same of variables.
    ///
    /// # Errors
    /// When its tables are malformed.
    pub fn variables<const N: usize>(&self, names: [&str; N]) -> Result<[Option<u64>; N], Refusal> {
        self.exports(names, STT_OBJECT)
    }

    fn exports<const N: usize>(&self, names: [&str; N], kind: u8) -> Result<[Option<u64>; N], Refusal> {
        let Some((table, _)) = self.sections.gnu_hash(self.endian, self.data)? else {
            return self.search(SHT_DYNSYM, names, kind);
        };
        let symbols = self.sections.symbols(self.endian, self.data, SHT_DYNSYM)?;
        Ok(names.map(|name| {
            let (name, hash) = (name.as_bytes(), gnu_hash(name.as_bytes()));
            let (_, symbol) = table.find(self.endian, name, hash, None, &symbols, &VersionTable::default())?;
            self.is_defined(symbol, kind).then(|| symbol.st_value(self.endian))
        }))
    }

    /// The addresses of functions by the names that are there for debuggers, if they were not stripped.
    ///
    /// # Errors
    /// When its tables are malformed.
    pub fn named<const N: usize>(&self, names: [&str; N]) -> Result<[Option<u64>; N], Refusal> {
        self.search(SHT_SYMTAB, names, STT_FUNC)
    }

    /// Whether the names that are there for debuggers can have one with this text in it. Costs less than to look at each.
    ///
    /// # Errors
    /// When its tables are malformed.
    pub fn mentions(&self, text: &str) -> Result<bool, Refusal> {
        let symbols = self.sections.symbols(self.endian, self.data, SHT_SYMTAB)?;
        let section = self.sections.section(symbols.string_section());
        let Ok(strings) = section.and_then(|section| section.data(self.endian, self.data)) else {
            return Ok(false);
        };
        Ok(std::str::from_utf8(strings).map_or(true, |names| names.contains(text)))
    }

    fn search<const N: usize>(&self, table: u32, names: [&str; N], kind: u8) -> Result<[Option<u64>; N], Refusal> {
        let mut found = [None; N];
        let symbols = self.sections.symbols(self.endian, self.data, table)?;
        let section = self.sections.section(symbols.string_section());
        let Ok(strings) = section.and_then(|section| section.data(self.endian, self.data)) else {
            return Ok(found);
        };
        // Most files have none of them, which shows soonest like this.
        let text = std::str::from_utf8(strings);
        if text.is_ok_and(|text| !names.iter().any(|name| text.contains(name))) {
            return Ok(found);
        }
        for symbol in symbols.iter().filter(|symbol| self.is_defined(symbol, kind)) {
            let name = usize::try_from(symbol.st_name(self.endian)).ok().and_then(|at| strings.get(at..));
            for (wanted, found) in names.iter().zip(&mut found) {
                let is =
                    |name: &[u8]| name.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
                if found.is_none() && name.is_some_and(is) {
                    *found = Some(symbol.st_value(self.endian));
                }
            }
        }
        Ok(found)
    }

    fn is_defined(&self, symbol: &Sym64<Endianness>, kind: u8) -> bool {
        symbol.st_type() == kind && symbol.st_shndx(self.endian) != SHN_UNDEF
    }
}

/// Whether a file needs a dynamic linker, and so may have libraries.
///
/// # Errors
/// When its headers are malformed.
pub fn is_dynamic(elf: &Elf<'_>) -> Result<bool, Refusal> {
    let mut headers = elf.header.program_headers(elf.endian, elf.data)?.iter();
    Ok(headers.any(|header| header.p_type(elf.endian) == PT_INTERP))
}

/// A part of a file that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its address, before the file is moved to where it is run.
    pub address: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes of it that are in the file.
    pub size: u64,
    /// It may be run.
    pub execute: bool,
    /// It may be written.
    pub write: bool,
}

/// An ELF file of this machine's kind.
#[derive(Debug)]
pub struct Image {
    file: Arc<File>,
    id: FileId,
    segments: Vec<Segment>,
}

/// `e_machine` of what runs here.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = object::elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = object::elf::EM_AARCH64;

/// Linux itself takes no more than a page of program headers.
const SEGMENTS: usize = 128;

impl Image {
    /// Opens a file and reads its program headers. `None` for what is no ELF file of this machine's kind, such as a 32-bit program.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>, Refusal> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut image = Self { file: Arc::new(file), id: FileId::from_metadata(&metadata), segments: Vec::new() };
        let mut ident = [0; 20];
        if image.file.read_exact_at(&mut ident, 0).is_err()
            || !ident.starts_with(&[0x7f, b'E', b'L', b'F', object::elf::ELFCLASS64])
            || ident.get(18..20) != Some(MACHINE.to_ne_bytes().as_slice())
        {
            return Ok(None);
        }
        image.segments = image.elf(segments)?;
        Ok(Some(image))
    }

    /// Looks at the file's headers and tables. What is read in this is kept in memory only until it returns.
    ///
    /// # Errors
    /// When the file's headers are malformed, and those of `look`.
    pub fn elf<T>(&self, look: impl FnOnce(&Elf<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let cache = ReadCache::new(&*self.file);
        let data = Parts::new(&cache, parts::USUAL);
        let header = FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        look(&Elf { header, endian, sections: header.sections(endian, data)?, data })
    }

    /// Which file it is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// The file, open.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// What is loaded of it.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where in the file an address is.
    #[must_use]
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            if inside < segment.size { segment.offset.checked_add(inside) } else { None }
        })
    }

    /// Fills `buffer` from a place in the file.
    ///
    /// # Errors
    /// When the file is shorter, or cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Reads up to `buffer.len()` bytes from a place in the file; fewer at its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

fn segments(elf: &Elf<'_>) -> Result<Vec<Segment>, Refusal> {
    let endian = elf.endian;
    let headers = elf.header.program_headers(endian, elf.data)?.iter().take(SEGMENTS);
    let loaded = headers.filter(|header| header.p_type(endian) == object::elf::PT_LOAD);
    Ok(loaded
        .map(|header| Segment {
            address: header.p_vaddr(endian),
            offset: header.p_offset(endian),
            size: header.p_filesz(endian),
            execute: header.p_flags(endian) & object::elf::PF_X != 0,
            write: header.p_flags(endian) & object::elf::PF_W != 0,
        })
        .collect())
}
