//! What HotSpot says of itself for debuggers: `gHotSpotVMStructs` has where fields are, and `gHotSpotVMTypes` how large types are. They
//! are arrays in the memory of the process, and exported variables say where in an entry is what.

use std::{collections::HashMap, io};

use crate::runtime::{Image, Refusal, memory::Memory};

/// Entries of a table: there are some 1,500.
const ENTRIES: u64 = 16_384;
/// Bytes of a name.
const NAME: usize = 128;

/// The exported variables, in one go.
const VARIABLES: [&str; 11] = [
    "gHotSpotVMStructs",
    "gHotSpotVMStructEntryTypeNameOffset",
    "gHotSpotVMStructEntryFieldNameOffset",
    "gHotSpotVMStructEntryOffsetOffset",
    "gHotSpotVMStructEntryAddressOffset",
    "gHotSpotVMStructEntryArrayStride",
    "gHotSpotVMTypes",
    "gHotSpotVMTypeEntryTypeNameOffset",
    "gHotSpotVMTypeEntrySizeOffset",
    "gHotSpotVMTypeEntryArrayStride",
    "gHotSpotVMTypeEntryIsUnsignedOffset",
];

/// What is needed of them.
#[derive(Debug, Default)]
pub struct Tables {
    fields: HashMap<(String, String), Field>,
    sizes: HashMap<String, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    offset: u64,
    /// Of a static one.
    address: u64,
}

impl Tables {
    /// Reads them; `base` is what has to be added to the addresses of the file; `None`: the JVM has not begun.
    ///
    /// # Errors
    /// When the file is no JVM that publishes them, or memory is not mapped that should be.
    pub fn read(image: &Image, base: u64, memory: &Memory) -> Result<Option<Self>, Refusal> {
        let variables = image.elf(|elf| elf.variables(VARIABLES))?;
        let missing = Refusal::Malformed("libjvm.so does not publish its structures");
        let mut values = [0; VARIABLES.len()];
        for (value, address) in values.iter_mut().zip(variables) {
            let Some(address) = address else {
                return Err(missing);
            };
            *value = memory.word(base.wrapping_add(address))?;
        }
        let [structs, of_type, of_field, of_offset, of_address, stride, types, type_name, type_size, type_stride, _] =
            values;
        if structs == 0 || types == 0 {
            return Ok(None);
        }
        let mut tables = Self::default();
        let largest = [of_type, of_field, of_offset, of_address, type_name, type_size].into_iter().max();
        if largest.is_none_or(|offset| offset > 256)
            || !(8..=256).contains(&stride)
            || !(8..=256).contains(&type_stride)
        {
            return Err(Refusal::Malformed("the structures that libjvm.so publishes cannot be right"));
        }
        each(memory, structs, stride, of_type, |entry, name| {
            let field = memory.text(memory.word(entry + of_field)?, NAME).unwrap_or_default();
            let place = Field { offset: memory.word(entry + of_offset)?, address: memory.word(entry + of_address)? };
            tables.fields.insert((name, field), place);
            Ok(())
        })?;
        each(memory, types, type_stride, type_name, |entry, name| {
            tables.sizes.insert(name, memory.word(entry + type_size)?);
            Ok(())
        })?;
        // The JVM fills them in when it starts.
        Ok((!tables.fields.is_empty() && !tables.sizes.is_empty()).then_some(tables))
    }

    /// Whether a type has a field.
    #[must_use]
    pub fn has(&self, of: &str, field: &str) -> bool {
        self.find(of, field).is_some()
    }

    /// Where in a type a field is.
    ///
    /// # Errors
    /// When it is not published.
    pub fn offset(&self, of: &str, field: &str) -> Result<u64, Refusal> {
        self.find(of, field).map(|field| field.offset).ok_or_else(|| unknown(of, field))
    }

    /// The address of a static field, by one of its names in time.
    ///
    /// # Errors
    /// When it is not published.
    pub fn address(&self, of: &str, names: &[&str]) -> Result<u64, Refusal> {
        let mut found = names.iter().filter_map(|name| self.find(of, name)).map(|field| field.address);
        found.next().filter(|address| *address != 0).ok_or_else(|| unknown(of, names.first().unwrap_or(&"?")))
    }

    /// The address of the static field of a type that has this in its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn address_with(&self, of: &str, part: &str) -> Result<u64, Refusal> {
        let mut fields = self.fields.iter().filter(|((of_type, name), _)| of_type == of && name.contains(part));
        fields.next().map(|(_, field)| field.address).ok_or_else(|| unknown(of, part))
    }

    /// The size of a type, in bytes.
    ///
    /// # Errors
    /// When it is not published.
    pub fn size(&self, of: &str) -> Result<u64, Refusal> {
        self.sizes.get(of).copied().ok_or_else(|| unknown(of, "size"))
    }

    fn find(&self, of: &str, field: &str) -> Option<&Field> {
        self.fields.get(&(of.to_owned(), field.to_owned()))
    }
}

fn unknown(of: &str, field: &str) -> Refusal {
    Refusal::Version(format!("a JVM that does not publish {of}::{field}"))
}

/// Goes through a table: each entry's address, and the type's name. Ends at an entry without one.
fn each(
    memory: &Memory,
    table: u64,
    stride: u64,
    of_name: u64,
    mut take: impl FnMut(u64, String) -> io::Result<()>,
) -> io::Result<()> {
    for index in 0..ENTRIES {
        let entry = table.wrapping_add(index * stride);
        let name = memory.word(entry.wrapping_add(of_name))?;
        if name == 0 {
            break;
        }
        take(entry, memory.text(name, NAME).unwrap_or_default())?;
    }
    Ok(())
}
