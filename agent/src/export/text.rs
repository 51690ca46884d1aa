//! Spans as text for people, one line a span: time, duration, kind, service, what was asked, status, peer, trace.
//! Nothing that a peer sent reaches the terminal unescaped.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use opentelemetry::trace::SpanKind;

use super::json::kind;
use crate::{
    protocol::{Attributes, Status, Value},
    trace::Span,
};

/// Columns of everything but what was asked, which gets the rest.
const OTHERS: usize = 12 + 1 + 7 + 1 + 8 + 1 + SERVICE + 1 + 1 + 3 + 1 + PEER + 1 + 8;
const SERVICE: usize = 14;
const PEER: usize = 17;
/// Columns of what was asked: at least, and where the width is not known.
const ASKED: usize = 22;

/// How lines look.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Whether they are coloured.
    pub colour: bool,
    /// Columns that a line may take; `None`: as many as it needs, nothing is cut.
    pub columns: Option<usize>,
    /// Where the times are to be right.
    pub zone: TimeZone,
}

impl Layout {
    /// What fits standard output: colours and width of a terminal (honouring `NO_COLOR`), neither in a pipe or a file.
    #[must_use]
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let columns = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self {
            colour: anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
            columns: columns.filter(|columns| stdout.is_terminal() && *columns > 0),
            zone: TimeZone::system(),
        }
    }

    /// Writes one span and a line feed.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, span: &Span, out: &mut impl Write) -> io::Result<()> {
        let failed = matches!(span.status, Status::Error(_));
        let service = text(&span.resource.attributes, "service.name").unwrap_or("-");
        let id = span.context.trace_id().to_string();
        let asked_width = self.columns.map_or(ASKED, |columns| columns.saturating_sub(OTHERS).max(ASKED));

        let dim = self.style(Style::new().dimmed());
        let kind_style = self.style(match span.kind {
            SpanKind::Server => AnsiColor::Cyan.on_default(),
            _ => AnsiColor::Magenta.on_default(),
        });
        let status_style =
            self.style(if failed { AnsiColor::Red.on_default().bold() } else { AnsiColor::Green.on_default() });
        writeln!(
            out,
            "{dim}{}{dim:#} {:>7} {kind_style}{:<8}{kind_style:#} {} {} {status_style}{:>3}{status_style:#} {} {dim}{}{dim:#}",
            self.time(span.start_unix_nano),
            duration(span.end_unix_nano.saturating_sub(span.start_unix_nano)),
            kind(&span.kind),
            self.cell(service, SERVICE),
            self.cell(&asked(span), asked_width),
            status(span),
            self.cell(&peer(span), PEER),
            id.get(..8).unwrap_or(&id),
        )
    }

    fn style(&self, style: Style) -> Style {
        if self.colour { style } else { Style::new() }
    }

    /// Local time of day with milliseconds.
    fn time(&self, unix_nano: u64) -> String {
        match Timestamp::from_nanosecond(i128::from(unix_nano)) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime("%H:%M:%S.%3f").to_string(),
            Err(_) => "??:??:??.???".to_owned(),
        }
    }

    /// A text padded to a width, and cut to it where lines must fit. Characters without a shape are replaced.
    fn cell(&self, text: &str, width: usize) -> String {
        let mut cell: String = text.chars().map(|c| if is_shown(c) { c } else { '\u{fffd}' }).collect();
        let len = cell.chars().count();
        if self.columns.is_some() && len > width {
            let end = cell.char_indices().nth(width.saturating_sub(1)).map_or(0, |(end, _)| end);
            cell.truncate(end);
            cell.push('…');
        } else {
            cell.extend(std::iter::repeat_n(' ', width.saturating_sub(len)));
        }
        cell
    }
}

/// Whether a character may go to a terminal: no control characters, no marks that change the direction of writing.
fn is_shown(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Four figures at most, with their unit.
fn duration(nanos: u64) -> String {
    let n = nanos as f64;
    match nanos {
        0..1_000_000 => format!("{:.0}µs", n / 1e3),
        1_000_000..9_995_000 => format!("{:.2}ms", n / 1e6),
        9_995_000..99_950_000 => format!("{:.1}ms", n / 1e6),
        99_950_000..999_500_000 => format!("{:.0}ms", n / 1e6),
        999_500_000..99_995_000_000 => format!("{:.2}s", n / 1e9),
        _ => format!("{:.0}s", n / 1e9),
    }
}

/// The span's name; where that is a method alone, with the path.
fn asked(span: &Span) -> String {
    if span.name.contains(' ') {
        return span.name.to_string();
    }
    let path = text(&span.attributes, "url.path").or_else(|| path_of(text(&span.attributes, "url.full")?));
    path.map_or_else(|| span.name.to_string(), |path| format!("{} {path}", span.name))
}

/// The path of an absolute URL.
fn path_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let path = rest.get(rest.find('/')?..)?;
    path.split(['?', '#']).next()
}

/// The status code of the response, or why there is none.
fn status(span: &Span) -> String {
    match (span.attributes.get("http.response.status_code"), &span.status) {
        (Some(Value::Int(code)), _) => code.to_string(),
        (_, Status::Error(_)) => "ERR".to_owned(),
        (_, Status::Unset) => "-".to_owned(),
    }
}

/// Whom a client asked (with its port), or who asked a server.
fn peer(span: &Span) -> String {
    let attributes = &span.attributes;
    if span.kind == SpanKind::Server {
        let client = text(attributes, "client.address").or_else(|| text(attributes, "network.peer.address"));
        return client.unwrap_or("-").to_owned();
    }
    let Some(address) = text(attributes, "server.address").or_else(|| text(attributes, "network.peer.address")) else {
        return "-".to_owned();
    };
    let mut peer = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    if let Some(Value::Int(port)) = attributes.get("server.port").or_else(|| attributes.get("network.peer.port")) {
        // Writing to a string does not fail.
        let _ = write!(peer, ":{port}");
    }
    peer
}

fn text<'a>(attributes: &'a Attributes, key: &str) -> Option<&'a str> {
    match attributes.get(key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample;

    fn line(span: &Span, colour: bool, columns: Option<usize>) -> String {
        let mut out = Vec::new();
        Layout { colour, columns, zone: TimeZone::UTC }.write(span, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn is_one_aligned_line() {
        assert_eq!(
            line(&sample::server(), false, Some(100)),
            "22:13:20.123  12.3ms SERVER   cart           GET /carts/{id}          503 10.0.0.7          0af76519\n"
        );
        assert_eq!(
            line(&sample::client(), false, Some(100)),
            "22:13:20.200   987µs CLIENT   gateway        GET /carts/17            200 [2001:db8::1]:80… 0af76519\n"
        );
    }

    #[test]
    fn fits_the_terminal_and_is_whole_in_a_pipe() {
        let mut span = sample::client();
        span.name = format!("GET /{}", "long/".repeat(40)).into();
        for columns in [100, 120, 200] {
            assert_eq!(line(&span, false, Some(columns)).chars().count(), columns + 1);
        }
        assert!(line(&span, false, None).contains(span.name.as_str()));
        assert!(line(&sample::client(), false, None).contains("[2001:db8::1]:8080"));
    }

    #[test]
    fn colours_can_be_stripped() {
        let coloured = line(&sample::server(), true, Some(100));
        assert!(coloured.contains("\u{1b}["));
        let stripped = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(stripped, line(&sample::server(), false, Some(100)));
    }

    #[test]
    fn no_peer_controls_the_terminal() {
        let mut span = sample::server();
        span.name = "GET /\u{1b}[2J\r\n\u{202e}x".into();
        let line = line(&span, false, None);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains(['\u{1b}', '\r', '\u{202e}']));
    }

    #[test]
    fn durations_have_four_figures_at_most() {
        for (nanos, shown) in [
            (0, "0µs"),
            (999_499, "999µs"),
            (1_234_567, "1.23ms"),
            (12_340_000, "12.3ms"),
            (123_400_000, "123ms"),
            (999_600_000, "1.00s"),
            (61_000_000_000, "61.00s"),
            (3_600_000_000_000, "3600s"),
        ] {
            assert_eq!(duration(nanos), shown);
            assert!(shown.chars().count() <= 7);
        }
    }
}
