//! Ruby (CRuby): threads that pass one lock around. Which thread wakes which says who had the lock, not who works for whom; but for those
//! that have ended, which it keeps for a while, and wakes for the next `Thread.new`.

use geophone_ebpf::config::{REUSED, RUNTIME_THREADS, Runtime};
use object::{elf::SHT_DYNSYM, read::elf::Sym as _};

use super::{Answer, Detector, Found, Image, Plan, Refusal, Target};

/// Programs that are the interpreter, or are linked with it.
pub struct Ruby;

/// Every such program calls this function of the interpreter, or has it.
const SYSINIT: &[u8] = b"ruby_sysinit";

impl Detector for Ruby {
    fn name(&self) -> &'static str {
        "Ruby"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let found = image.elf(|elf| {
            let symbols = elf.sections.symbols(elf.endian, elf.data, SHT_DYNSYM)?;
            let is = |name: Result<&[u8], _>| name.is_ok_and(|name| name == SYSINIT);
            Ok(symbols.iter().any(|symbol| is(symbol.name(elf.endian, symbols.strings()))))
        })?;
        Ok(found.then(|| Box::new(Known) as Box<dyn Plan>))
    }
}

/// The same in each process.
struct Known;

impl Plan for Known {
    fn runtime(&self) -> &'static str {
        Ruby.name()
    }

    fn process(&self, _target: &Target) -> Result<Answer, Refusal> {
        let runtime = Runtime { kind: RUNTIME_THREADS, no_wakes: REUSED, ..Runtime::default() };
        Ok(Answer::Found(Found { runtime, ..Found::default() }))
    }
}
