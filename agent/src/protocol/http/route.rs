//! From paths to routes, of which there are few: patterns by configuration first, then a heuristic.

use compact_str::CompactString;

use super::token::placeholder;

/// Segments of a path that a route keeps; what follows is `*`.
const MAX_SEGMENTS: usize = 12;

/// How paths become routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    patterns: Vec<Pattern>,
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Paths begin with `/`.
    #[error("route pattern {0:?} does not begin with '/'")]
    Relative(String),
    /// `*` stands for all that follows, so nothing can come after it.
    #[error("route pattern {0:?} has a '*' that is not its last segment")]
    Star(String),
    /// A segment is either a literal or a `{name}`.
    #[error("route pattern {0:?} has a segment {1:?} that is neither a literal nor one '{{name}}'")]
    Segment(String, String),
}

#[derive(Clone, Debug)]
struct Pattern {
    text: CompactString,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(CompactString),
    Any,
    Rest,
}

impl Routes {
    /// Takes patterns such as `/users/{id}/orders/{order}` or `/static/*`. The first that matches wins.
    ///
    /// # Errors
    /// The first pattern that is none.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        Ok(Self { patterns: patterns.into_iter().map(Pattern::new).collect::<Result<_, _>>()? })
    }

    /// The route of a path; `None` for what is no path (`*`).
    #[must_use]
    pub fn route(&self, path: &str) -> Option<CompactString> {
        let segments = path.strip_prefix('/')?;
        if let Some(pattern) = self.patterns.iter().find(|pattern| pattern.matches(segments)) {
            return Some(pattern.text.clone());
        }
        Some(guess(segments))
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix('/').ok_or_else(|| PatternError::Relative(text.into()))?;
        let count = rest.split('/').count();
        let segments = rest.split('/').enumerate().map(|(i, segment)| match segment {
            "*" if i + 1 == count => Ok(Segment::Rest),
            "*" => Err(PatternError::Star(text.into())),
            _ => match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Segment::Any),
                None if !segment.contains(['{', '}', '*']) => Ok(Segment::Literal(segment.into())),
                _ => Err(PatternError::Segment(text.into(), segment.into())),
            },
        });
        Ok(Self { text: text.into(), segments: segments.collect::<Result<_, _>>()? })
    }

    fn matches(&self, path: &str) -> bool {
        let mut given = path.split('/');
        for segment in &self.segments {
            match (segment, given.next()) {
                (Segment::Rest, Some(_)) => return true,
                (Segment::Literal(literal), Some(given)) if literal == given => {}
                (Segment::Any, Some(given)) if !given.is_empty() => {}
                _ => return false,
            }
        }
        given.next().is_none()
    }
}

/// Suffixes of files that are served as they are, each one a different path: they share a route per directory.
const STATIC: [&str; 24] = [
    "avif", "bmp", "css", "eot", "gif", "gz", "ico", "jpeg", "jpg", "js", "map", "mjs", "mp3", "mp4", "otf", "pdf",
    "png", "svg", "ttf", "wasm", "webm", "webp", "woff", "woff2",
];

/// The route of a path without its leading `/`: each segment a name or a placeholder.
fn guess(path: &str) -> CompactString {
    let mut route = CompactString::with_capacity(path.len() + 1);
    let mut segments = path.split('/').enumerate().peekable();
    while let Some((i, segment)) = segments.next() {
        route.push_str("/");
        if i == MAX_SEGMENTS {
            route.push_str("*");
            break;
        }
        // Parameters of a segment (`;jsessionid=...`) are values.
        let segment = segment.split_once(';').map_or(segment, |(name, _)| name);
        match segment.rsplit_once('.') {
            // At the root they are few, and well known: /favicon.ico.
            Some((_, suffix)) if i > 0 && segments.peek().is_none() && STATIC.contains(&suffix) => {
                route.push_str("{file}");
            }
            Some((stem, suffix)) if is_suffix(suffix) && placeholder(segment).is_none_or(|p| p == "{id}") => {
                route.push_str(placeholder(stem).unwrap_or(stem));
                route.push_str(".");
                route.push_str(suffix);
            }
            _ => route.push_str(placeholder(segment).unwrap_or(segment)),
        }
    }
    route
}

/// Whether a name ends in it as a file's name ends in its type.
fn is_suffix(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn route(path: &str) -> CompactString {
        Routes::default().route(path).unwrap()
    }

    #[test]
    fn guesses() {
        for (path, expected) in [
            ("/", "/"),
            ("/users/17/orders/0042", "/users/{id}/orders/{id}"),
            ("/api/v1/items/", "/api/v1/items/"),
            ("/reports/2026-11-21.csv", "/reports/{date}.csv"),
            ("/invoices/4711.json", "/invoices/{id}.json"),
            ("/favicon.ico", "/favicon.ico"),
            ("/assets/app.3f2a1bc9.js", "/assets/{file}"),
            ("/index.html", "/index.html"),
            ("/cart;jsessionid=0F3E", "/cart"),
            ("/hosts/10.0.0.1/ping", "/hosts/{ip}/ping"),
            ("/1/2/3/4/5/6/7/8/9/10/11/12/13/14", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*"),
        ] {
            assert_eq!(route(path), expected);
        }
        assert_eq!(Routes::default().route("*"), None);
    }

    #[test]
    fn patterns_come_first_and_in_order() {
        let routes = Routes::new(["/users/me", "/users/{name}", "/users/{name}/orders/{order}", "/files/*"]).unwrap();
        for (path, expected) in [
            ("/users/me", "/users/me"),
            ("/users/joe", "/users/{name}"),
            ("/users/joe/orders/x", "/users/{name}/orders/{order}"),
            ("/users/", "/users/"),
            ("/files/a/b/c", "/files/*"),
            ("/files", "/files"),
            ("/users/17/cart", "/users/{id}/cart"),
        ] {
            assert_eq!(routes.route(path).unwrap(), expected);
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        assert!(matches!(Routes::new(["users"]), Err(PatternError::Relative(_))));
        assert!(matches!(Routes::new(["/*/a"]), Err(PatternError::Star(_))));
        for bad in ["/{}", "/a{b}", "/{a}{b}", "/a*", "/{a"] {
            assert!(matches!(Routes::new([bad]), Err(PatternError::Segment(..))), "{bad}");
        }
    }

    #[test]
    fn a_busy_shop_has_few_routes() {
        let mut routes = HashSet::new();
        // A small generator is enough: what counts is that many values make few routes.
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = state >> 20;
            for path in [
                format!("/api/v2/users/{n}/orders/{}", n % 977),
                format!("/products/{n:016x}/reviews"),
                format!("/blobs/{n:08x}-{:04x}-4{:03x}-8{:03x}-{n:012x}", n & 0xffff, n & 0xfff, n & 0x7ff)
                    .split_at_checked(7 + 36)
                    .map_or_else(String::new, |(path, _)| path.to_owned()),
                format!("/calendar/20{:02}-{:02}-{:02}", n % 100, n % 12 + 1, n % 28 + 1),
                format!("/static/js/chunk.{n:x}.js"),
                format!("/u/user{n}@example.org/avatar.png"),
                format!("/hosts/10.{}.{}.{}/status", n & 255, n >> 8 & 255, n >> 16 & 255),
            ] {
                routes.insert(route(&path));
            }
        }
        assert!(routes.len() <= 12, "{routes:?}");
    }
}
