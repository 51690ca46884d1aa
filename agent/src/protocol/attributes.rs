//! Attributes of spans, as the semantic conventions name them.

use std::borrow::Cow;

use compact_str::CompactString;

/// Attributes, in order. A list: there are few, and each is set once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(pub Vec<(Cow<'static, str>, Value)>);

impl Attributes {
    /// Appends one.
    pub fn push(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push((Cow::Borrowed(key), value.into()));
    }

    /// The first of this name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(CompactString),
    /// Integer.
    Int(i64),
    /// Floating point.
    Float(f64),
    /// Truth.
    Bool(bool),
    /// List of texts.
    List(Vec<CompactString>),
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<CompactString> for Value {
    fn from(value: CompactString) -> Self {
        Self::Text(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value {
    /// Values above `i64::MAX`, which no length on a wire reaches, become `i64::MAX`.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Vec<CompactString>> for Value {
    fn from(value: Vec<CompactString>) -> Self {
        Self::List(value)
    }
}
