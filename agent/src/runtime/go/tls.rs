//! Where a thread has the address of its goroutine.

use object::read::elf::{FileHeader as _, ProgramHeader as _};

use super::super::{Image, Refusal};

/// The size of `runtime.tlsg`: one address.
const WORD: u64 = 8;

/// From the thread pointer to it. `None`: not known, or (on arm64) not kept unless C is called; the register has it while Go runs.
pub fn offset(image: &Image) -> Result<Option<i64>, Refusal> {
    if cfg!(not(target_arch = "x86_64")) {
        return Ok(None);
    }
    image.elf(|elf| {
        let headers = elf.header.program_headers(elf.endian, elf.data)?;
        let Some(tls) = headers.iter().find(|header| header.p_type(elf.endian) == object::elf::PT_TLS) else {
            return Ok(None);
        };
        // The thread-local memory of an executable ends at the thread pointer. Of a program in which C has none of its own, Go's word
        // is all of it; otherwise the register is asked.
        let alone = tls.p_memsz(elf.endian) == WORD && tls.p_align(elf.endian) <= WORD;
        Ok(alone.then(|| -WORD.cast_signed()))
    })
}
