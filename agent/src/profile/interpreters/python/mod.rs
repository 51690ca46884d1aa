//! CPython 3.8 to 3.15, with a global lock: where its frames are, and its code objects. Finding the interpreter and its threads is
//! [`runtime::python`](crate::runtime::python)'s.

pub mod code;
mod layout;
pub mod lines;

use geophone_ebpf::interpreter::{
    CPYTHON, Interpreter,
    python::{NONE, THREAD_TABLE, THREAD_WORD},
};

use self::{code::Code, layout::Layout};
use super::{Answer, Function, Id, Language, Reader};
use crate::runtime::{
    Image, Refusal, Target,
    memory::Memory,
    python::{self, Place},
};

/// See the module.
#[derive(Debug)]
pub struct Python;

impl Language for Python {
    fn name(&self) -> &'static str {
        "CPython"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn super::Program>>, Refusal> {
        Ok(python::Program::of(image)?.map(|program| Box::new(program) as Box<dyn super::Program>))
    }

    fn library(&self) -> &'static str {
        python::LIBRARY
    }
}

impl super::Program for python::Program {
    fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    fn process(&self, target: &Target) -> Result<Answer, Refusal> {
        let Some(located) = self.locate(target)? else {
            return Ok(Answer::Later);
        };
        let layout = Layout::new(&located)?;
        let Some(main) = located.main()? else {
            return Ok(Answer::Later);
        };
        let Some(threads) = located.running_threads(main)? else {
            return Ok(Answer::Later);
        };
        let mut at = layout.frames;
        let (word, table) = match threads.place {
            Place::Word(word) => (word, NONE),
            Place::Table(word, table) => (word, table),
        };
        for (index, value) in [(THREAD_WORD, word), (THREAD_TABLE, table)] {
            if let Some(at) = at.get_mut(index) {
                *at = value;
            }
        }
        let interpreter = Interpreter { kind: CPYTHON, pad: 0, at, code: layout.evaluates };
        let reader = Functions { memory: located.memory, code: layout.code };
        let answer = if threads.is_certain { Answer::Found } else { Answer::SoFar };
        Ok(answer(Box::new(interpreter), Box::new(reader)))
    }
}

/// Reads code objects.
struct Functions {
    memory: Memory,
    code: Code,
}

impl Reader for Functions {
    fn function(&mut self, id: Id) -> Option<Function> {
        self.code.read(&self.memory, id)
    }
}
