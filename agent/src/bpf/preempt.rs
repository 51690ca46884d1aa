//! Makes the programs' calls of `bpf_preempt_disable` and `bpf_preempt_enable` what they are in this kernel: see
//! `ebpf/src/programs/preempt.rs`.

use geophone_ebpf::config::{PREEMPT_DISABLE, PREEMPT_ENABLE};

use super::btf::Btf;

/// The first kernel that preempts programs on raw tracepoints.
const SINCE: u32 = 7;

/// The call of a helper function, without its number.
const CALL: [u8; 4] = [0x85, 0, 0, 0];
/// The call of a kernel function (`BPF_PSEUDO_KFUNC_CALL` as source register), without the number of its type.
const CALL_KERNEL: [u8; 4] = [0x85, 0x20, 0, 0];
/// `r0 = 0`
const NOTHING: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];

/// The numbers of the two functions, on kernels that need them.
pub fn functions(btf: &Btf) -> Option<[u32; 2]> {
    let name = rustix::system::uname();
    let major: u32 = name.release().to_str().ok()?.split('.').next()?.parse().ok()?;
    if major < SINCE {
        return None;
    }
    Some([btf.function("bpf_preempt_disable")?, btf.function("bpf_preempt_enable")?])
}

/// An object file whose calls are what they are in this kernel; aligned as its reader wants it, and padded with zeroes.
pub struct Object(Vec<u64>);

impl Object {
    /// Writes the numbers of `functions` into a copy of `object`; without functions, the calls do nothing.
    pub fn new(object: &[u8], functions: Option<[u32; 2]>) -> Self {
        // Instructions are as long as a word, and aligned in the file as they are in memory.
        let words = object.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            u64::from_ne_bytes(instruction(word, functions))
        });
        Self(words.collect())
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: words are bytes without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(self.0.as_slice())) }
    }
}

fn instruction(word: [u8; 8], functions: Option<[u32; 2]>) -> [u8; 8] {
    let [a, b, c, d, number @ ..] = word;
    if [a, b, c, d] != CALL {
        return word;
    }
    let index = match u32::from_le_bytes(number) {
        PREEMPT_DISABLE => 0,
        PREEMPT_ENABLE => 1,
        _ => return word,
    };
    let Some(function) = functions.and_then(|functions| functions.get(index).copied()) else {
        return NOTHING;
    };
    let mut call = [0; 8];
    call.iter_mut().zip(CALL_KERNEL.into_iter().chain(function.to_le_bytes())).for_each(|(to, from)| *to = from);
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u32) -> [u8; 8] {
        let mut call = [0; 8];
        call[..4].copy_from_slice(&CALL);
        call[4..].copy_from_slice(&number.to_le_bytes());
        call
    }

    #[test]
    fn only_these_calls_are_changed() {
        let helper = call(14);
        let object = [call(PREEMPT_DISABLE), helper, call(PREEMPT_ENABLE)].concat();
        let with = [[0x85, 0x20, 0, 0, 2, 1, 0, 0], helper, [0x85, 0x20, 0, 0, 3, 0, 0, 0]].concat();
        assert_eq!(Object::new(&object, Some([258, 3])).bytes(), with);
        assert_eq!(Object::new(&object, None).bytes(), [NOTHING, helper, NOTHING].concat());
    }

    #[test]
    fn each_program_of_the_object_has_both_calls() {
        let object = include_bytes!("../../../ebpf/prebuilt/geophone.bpf.o");
        let count = |number| object.chunks(8).filter(|chunk| *chunk == call(number)).count();
        // A program with several returns enables preemption at several places.
        assert!(count(PREEMPT_DISABLE) >= 7 && count(PREEMPT_ENABLE) >= 7);
    }
}
