//! Types of columns, as far as they tell how long a column is. <https://clickhouse.com/docs/native-protocol/columns>

/// How deep types may be nested.
const MAX_DEPTH: u32 = 16;
/// Elements of a tuple, at most.
const MAX_ELEMENTS: usize = 256;

/// How a column's values are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// So many bytes each.
    Fixed(u64),
    /// A length and bytes each.
    String,
    /// A byte each, then the values.
    Nullable(Box<Shape>),
    /// Where each ends, in eight bytes, then all elements.
    Array(Box<Shape>),
    /// One column after the other.
    Tuple(Vec<Shape>),
    /// The values that there are, and which of them each is.
    LowCardinality(Box<Shape>),
}

impl Shape {
    /// Reads a type's name; `None` if it is not known how its values are written.
    pub(super) fn read(name: &str) -> Option<Self> {
        Self::nested(name.trim(), 0)
    }

    /// Bytes that come before the values: a version for each dictionary.
    pub(super) fn prefix(&self) -> u64 {
        match self {
            Self::Fixed(_) | Self::String => 0,
            Self::Nullable(inner) | Self::Array(inner) => inner.prefix(),
            Self::LowCardinality(_) => 8,
            Self::Tuple(elements) => elements.iter().map(Self::prefix).sum(),
        }
    }

    /// Whether there are strings among the values.
    pub(super) fn has_strings(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::String => true,
            Self::Nullable(inner) | Self::Array(inner) | Self::LowCardinality(inner) => inner.has_strings(),
            Self::Tuple(elements) => elements.iter().any(Self::has_strings),
        }
    }

    /// A column of strings as it is written where all of their ends come first: like an array of bytes. `None` for all else.
    pub(super) fn by_ends(self) -> Option<Self> {
        (self == Self::String).then(|| Self::Array(Box::new(Self::Fixed(1))))
    }

    fn nested(name: &str, depth: u32) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (base, inside) = match name.split_once('(') {
            Some((base, rest)) => (base, Some(rest.strip_suffix(')')?)),
            None => (name, None),
        };
        let inner = |name: &str| Self::nested(name.trim(), depth + 1).map(Box::new);
        let point = || Self::Tuple(vec![Self::Fixed(8), Self::Fixed(8)]);
        let array = |shape: Self| Self::Array(Box::new(shape));
        Some(match (base, inside) {
            ("Int8" | "UInt8" | "Bool" | "Nothing" | "Enum8", _) => Self::Fixed(1),
            ("Int16" | "UInt16" | "Date" | "Enum16" | "BFloat16", _) => Self::Fixed(2),
            ("Int32" | "UInt32" | "Float32" | "Date32" | "DateTime" | "IPv4" | "Decimal32" | "Time", _) => {
                Self::Fixed(4)
            }
            ("Int64" | "UInt64" | "Float64" | "DateTime64" | "Decimal64" | "Time64", _) => Self::Fixed(8),
            ("Int128" | "UInt128" | "UUID" | "IPv6" | "Decimal128", _) => Self::Fixed(16),
            ("Int256" | "UInt256" | "Decimal256", _) => Self::Fixed(32),
            (interval, None) if interval.starts_with("Interval") => Self::Fixed(8),
            ("Decimal", Some(inside)) => match inside.split(',').next()?.trim().parse().ok()? {
                1..=9_u32 => Self::Fixed(4),
                10..=18 => Self::Fixed(8),
                19..=38 => Self::Fixed(16),
                39..=76 => Self::Fixed(32),
                _ => return None,
            },
            ("FixedString", Some(length)) => {
                Self::Fixed(length.trim().parse().ok().filter(|length| (1..=1 << 24).contains(length))?)
            }
            ("String", None) => Self::String,
            ("Nullable", Some(inside)) => Self::Nullable(inner(inside)?),
            ("Array", Some(inside)) => Self::Array(inner(inside)?),
            ("LowCardinality", Some(inside)) => {
                // Whether it can be null is said by the first of the values.
                let inside = inside.trim();
                let plain = inside.strip_prefix("Nullable(").and_then(|inside| inside.strip_suffix(')'));
                Self::LowCardinality(inner(plain.unwrap_or(inside))?)
            }
            ("Tuple", Some(inside)) => Self::elements(inside, depth)?,
            ("Map" | "Nested", Some(inside)) => array(Self::elements(inside, depth)?),
            ("SimpleAggregateFunction", Some(inside)) => {
                let (_, rest) = inside.split_once(',')?;
                *inner(rest)?
            }
            ("Point", None) => point(),
            ("Ring" | "LineString", None) => array(point()),
            ("Polygon" | "MultiLineString", None) => array(array(point())),
            ("MultiPolygon", None) => array(array(array(point()))),
            _ => return None,
        })
    }

    /// Types with commas between them, perhaps each after a name.
    fn elements(inside: &str, depth: u32) -> Option<Self> {
        let mut elements = Vec::new();
        let (mut level, mut begin) = (0_u32, 0);
        let mut quoted = None;
        for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
            match (quoted, c) {
                (Some(quote), c) if c == quote => quoted = None,
                (Some(_), _) if at < inside.len() => {}
                (None, '\'' | '`') => quoted = Some(c),
                (None, '(') => level += 1,
                (None, ')') => level = level.checked_sub(1)?,
                (_, ',') if level == 0 => {
                    let element = inside.get(begin..at)?.trim();
                    elements.push(Self::element(element, depth)?);
                    begin = at + 1;
                }
                _ => {}
            }
        }
        (level == 0 && !elements.is_empty() && elements.len() <= MAX_ELEMENTS).then_some(Self::Tuple(elements))
    }

    fn element(element: &str, depth: u32) -> Option<Self> {
        Self::nested(element, depth + 1).or_else(|| {
            // After its name, in which there is no blank unless it is quoted.
            let (_, kind) = element.split_once(' ').filter(|_| !element.starts_with('`'))?;
            Self::nested(kind.trim(), depth + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let string = || Box::new(Shape::String);
        for (name, shape) in [
            ("UInt64", Shape::Fixed(8)),
            ("DateTime64(3, 'Europe/Berlin')", Shape::Fixed(8)),
            ("Enum8('a' = 1, 'b)' = 2)", Shape::Fixed(1)),
            ("Decimal(20, 4)", Shape::Fixed(16)),
            ("FixedString(5)", Shape::Fixed(5)),
            ("Array(Nullable(String))", Shape::Array(Box::new(Shape::Nullable(string())))),
            ("LowCardinality(Nullable(String))", Shape::LowCardinality(string())),
            ("Tuple(a UInt8, b String)", Shape::Tuple(vec![Shape::Fixed(1), Shape::String])),
            (
                "Tuple(UInt8, Array(UInt16))",
                Shape::Tuple(vec![Shape::Fixed(1), Shape::Array(Box::new(Shape::Fixed(2)))]),
            ),
            (
                "Map(String, Enum8('x,y' = 1))",
                Shape::Array(Box::new(Shape::Tuple(vec![Shape::String, Shape::Fixed(1)]))),
            ),
            ("SimpleAggregateFunction(sum, Float64)", Shape::Fixed(8)),
            ("IntervalDay", Shape::Fixed(8)),
        ] {
            assert_eq!(Shape::read(name), Some(shape), "{name}");
        }
        for name in [
            "",
            "AggregateFunction(sum, UInt8)",
            "Dynamic",
            "JSON",
            "Variant(UInt8, String)",
            "Array(",
            "Tuple()",
            "Map",
            "Decimal(99)",
        ] {
            assert_eq!(Shape::read(name), None, "{name}");
        }
        assert_eq!(Shape::read(&format!("{}UInt8{}", "Array(".repeat(40), ")".repeat(40))), None);
    }
}
