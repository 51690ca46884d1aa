//! Spans of HTTP requests by OpenTelemetry's stable semantic conventions, for servers and clients.
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>

use compact_str::{CompactString, ToCompactString};

use super::{Authority, Fields, Method, Target, forwarded::Forwarded, grpc, service, target::redact};
use crate::{
    conn::{Connection, Ending},
    event::{Nanos, Thread},
    protocol::{Attributes, CallId, Carried, Exchange, Holes, Shared, Side, Status, endpoints},
};

/// Attributes of a server's span, so that their list is allocated once.
const USUAL: usize = 22;

/// A request, as far as a span tells of it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Its method's token; empty when that is not known.
    pub method: &'a str,
    /// Its target, as it stands in the request; empty when that is not known.
    pub target: &'a str,
    /// Its scheme, where that is said besides the target.
    pub scheme: Option<&'a str>,
    /// `1.0`, `1.1`, `2`.
    pub version: &'static str,
    /// What its header fields say.
    pub fields: Fields<'a>,
    /// Whether it arrived complete.
    pub complete: bool,
    /// When its first byte moved.
    pub time: Nanos,
    /// Who moved its first byte.
    pub thread: Thread,
    /// Its [`CallId::place`]: stream offset of its first byte, or stream id.
    pub place: u64,
}

/// A response, as far as a span tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Its status code, if known.
    pub status: Option<u16>,
    /// When its first byte moved.
    pub first_byte: Nanos,
    /// Who moved its first byte.
    pub thread: Thread,
}

/// Why there is no response, or none that is whole: the values of `error.type` that this makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// The connection was closed in order before the response was complete: `connection_closed`.
    Closed,
    /// `ECONNRESET`, `EPIPE`, `ECONNABORTED`: `connection_reset`.
    Reset,
    /// `ETIMEDOUT`: `timeout`.
    Timeout,
    /// Another error: `_OTHER`.
    Other,
    /// The stream was reset with this error code of HTTP/2, which is the value.
    Stream(&'static str),
    /// Not known, because the agent lost sight of it: no error.
    Unseen,
}

impl From<Ending> for NoResponse {
    fn from(how: Ending) -> Self {
        match how {
            Ending::Closed => Self::Closed,
            Ending::Reset(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED) => Self::Reset,
            Ending::Reset(libc::ETIMEDOUT) => Self::Timeout,
            Ending::Reset(_) => Self::Other,
            Ending::Evicted => Self::Unseen,
        }
    }
}

impl NoResponse {
    pub(super) fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Closed => Some("connection_closed"),
            Self::Reset => Some("connection_reset"),
            Self::Timeout => Some("timeout"),
            Self::Other => Some("_OTHER"),
            Self::Stream(error) => Some(error),
            Self::Unseen => None,
        }
    }
}

/// Whether a request is the agent's own export to an OTLP receiver. The agent's user agent begins with `geophone/`.
#[must_use]
pub fn is_own_export(request: &Request<'_>) -> bool {
    request.fields.user_agent.is_some_and(|agent| agent.starts_with(b"geophone/")) && {
        let path = Target::new(request.target, false).path;
        let otlp = ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"];
        otlp.iter().any(|end| path.ends_with(end)) || path.starts_with("/opentelemetry.proto.collector.")
    }
}

/// The beginning of a span: all that the request says. Its times after the start are those of the request's first byte.
#[must_use]
pub fn span(shared: &Shared, connection: &Connection, side: Side, request: &Request<'_>) -> Exchange {
    let method = Method::new(request.method);
    // CONNECT asks for a host; where it asks for another protocol on a path (RFC 8441), that has the usual form.
    let target = Target::new(request.target, method == Method::Connect && !request.target.starts_with('/'));
    let mut attributes = Attributes(Vec::with_capacity(USUAL));
    let name = if grpc::is_grpc(&request.fields) {
        grpc::request(connection, side, request, &target, &mut attributes)
    } else {
        plain(shared, connection, side, request, &target, &mut attributes)
    };
    attributes.push("network.protocol.version", request.version);
    endpoints::describe(connection, &mut attributes);
    if let Some(agent) = request.fields.user_agent {
        attributes.push("user_agent.original", text(agent));
    }
    Exchange {
        id: CallId { socket: connection.socket, place: request.place },
        protocol: "http",
        side,
        start: request.time,
        request_end: request.time,
        first_byte: None,
        end: request.time,
        request_thread: request.thread,
        response_thread: None,
        name,
        status: Status::Unset,
        attributes,
        holes: Holes { request_head: !request.complete, ..Holes::default() },
    }
}

/// The attributes that a plain request has. Returns the span's name.
fn plain(
    shared: &Shared,
    connection: &Connection,
    side: Side,
    request: &Request<'_>,
    target: &Target<'_>,
    attributes: &mut Attributes,
) -> CompactString {
    let method = Method::new(request.method);
    if !request.method.is_empty() {
        attributes.push("http.request.method", method.attribute());
        if method == Method::Other {
            attributes.push("http.request.method_original", request.method);
        }
    }
    let template = match side {
        Side::Server => server(shared, connection, request, target, attributes),
        Side::Client => client(shared, connection, request, target, attributes),
    };
    let asked = service::describe(request, target, attributes);
    if let Some(asked) = asked.filter(|_| side == Side::Client) {
        return asked;
    }
    let mut name = CompactString::const_new(method.in_name());
    if let Some(template) = template {
        name.push_str(" ");
        name.push_str(&template);
    }
    name
}

/// The contexts that a request's header fields carry; `None` when there are none.
#[must_use]
pub fn carried(fields: &Fields<'_>) -> Option<Box<Carried>> {
    if fields.contexts.is_empty() {
        return None;
    }
    let mut carried = Carried::default();
    for (header, value) in &fields.contexts {
        carried.push(*header, text(value));
    }
    Some(Box::new(carried))
}

/// What only a server's span has. Returns the route.
fn server(
    shared: &Shared,
    connection: &Connection,
    request: &Request<'_>,
    target: &Target<'_>,
    attributes: &mut Attributes,
) -> Option<CompactString> {
    let forwarded = Forwarded::new(&request.fields);
    let scheme = forwarded.scheme.or(target.scheme).or(request.scheme).unwrap_or(scheme(connection));
    let route = shared.routes.route(target.path);
    if !target.path.is_empty() {
        attributes.push("url.path", target.path);
    }
    if let Some(query) = target.query {
        attributes.push("url.query", &*redact(query));
    }
    attributes.push("url.scheme", scheme);
    if let Some(route) = &route {
        attributes.push("http.route", route.clone());
    }
    let host = forwarded.host.or(target.authority).or_else(|| host(request));
    server_address(connection, Side::Server, host, scheme, attributes);
    client_address(connection, &forwarded, attributes);
    route
}

/// Pushes `client.address` and `client.port`: whom the first proxy names, else where the connection comes from.
pub(super) fn client_address(connection: &Connection, forwarded: &Forwarded<'_>, attributes: &mut Attributes) {
    match forwarded.client {
        Some(client) => {
            attributes.push("client.address", client.host);
            if let Some(port) = client.port {
                attributes.push("client.port", port);
            }
        }
        None => {
            if let Some(peer) = endpoints::peer(connection) {
                attributes.push("client.address", peer.address);
                if let Some(port) = peer.port {
                    attributes.push("client.port", port);
                }
            }
        }
    }
}

/// What only a client's span has. Returns the template, if wanted.
fn client(
    shared: &Shared,
    connection: &Connection,
    request: &Request<'_>,
    target: &Target<'_>,
    attributes: &mut Attributes,
) -> Option<CompactString> {
    let scheme = target.scheme.or(request.scheme).unwrap_or(scheme(connection));
    let authority = target.authority.or_else(|| host(request));
    // The authority of CONNECT is not a URL.
    if target.path.starts_with('/') || target.path == "*" {
        attributes.push("url.full", full(scheme, authority, connection, target));
    }
    server_address(connection, Side::Client, authority, scheme, attributes);
    let template = shared.client_templates.then(|| shared.routes.route(target.path)).flatten();
    if let Some(template) = &template {
        attributes.push("url.template", template.clone());
    }
    template
}

/// The scheme of a request that does not say it.
fn scheme(connection: &Connection) -> &'static str {
    if connection.decrypted { "https" } else { "http" }
}

pub(super) fn host<'a>(request: &Request<'a>) -> Option<Authority<'a>> {
    let host = std::str::from_utf8(request.fields.host?).ok()?;
    (!host.is_empty()).then(|| Authority::new(host))
}

/// Pushes `server.address` and `server.port`: what the client asked for, else where the connection leads.
pub(super) fn server_address(
    connection: &Connection,
    side: Side,
    host: Option<Authority<'_>>,
    scheme: &str,
    attributes: &mut Attributes,
) {
    match host.filter(|host| !host.host.is_empty()) {
        Some(host) => {
            attributes.push("server.address", host.host);
            attributes.push("server.port", host.port.unwrap_or(if scheme == "https" { 443 } else { 80 }));
        }
        None => {
            if let Some(end) = endpoints::server(connection, side) {
                attributes.push("server.address", end.address);
                if let Some(port) = end.port {
                    attributes.push("server.port", port);
                }
            }
        }
    }
}

/// The value of `url.full`, credentials and secrets replaced.
fn full(scheme: &str, authority: Option<Authority<'_>>, connection: &Connection, target: &Target<'_>) -> CompactString {
    let query = target.query.map(redact);
    let mut url = CompactString::with_capacity(
        scheme.len()
            + authority.map_or(48, |a| a.host.len())
            + target.path.len()
            + query.as_ref().map_or(0, |q| q.len())
            + 32,
    );
    url.push_str(scheme);
    url.push_str("://");
    let peer = endpoints::server(connection, Side::Client);
    let (host, port) = match (&authority, &peer) {
        (Some(authority), _) => (authority.host, authority.port),
        (None, Some(end)) => (&*end.address, end.port),
        (None, None) => ("", None),
    };
    if authority.is_some_and(|a| a.credentials) {
        url.push_str("REDACTED:REDACTED@");
    }
    if host.contains(':') {
        url.push('[');
        url.push_str(host);
        url.push(']');
    } else {
        url.push_str(host);
    }
    if let Some(port) = port {
        url.push(':');
        url.push_str(&port.to_compact_string());
    }
    if target.path != "*" {
        url.push_str(target.path);
    }
    if let Some(query) = query {
        url.push('?');
        url.push_str(&query);
    }
    url
}

/// Adds what the response's head says.
pub fn respond(exchange: &mut Exchange, response: Response) {
    exchange.first_byte = Some(response.first_byte);
    exchange.response_thread = Some(response.thread);
    let ok = grpc::is_call(exchange) && response.status == Some(200);
    if let Some(status) = response.status.filter(|_| !ok) {
        exchange.attributes.push("http.response.status_code", status);
    }
    #[expect(clippy::cast_precision_loss, reason = "a difference of 2^53 ns is a hundred days")]
    let seconds = response.first_byte.saturating_sub(exchange.start) as f64 / 1e9;
    exchange.attributes.push("geophone.http.time_to_first_byte", seconds);
    let failed = response.status.filter(|status| match exchange.side {
        Side::Server => *status >= 500,
        Side::Client => *status >= 400,
    });
    if let Some(status) = failed {
        exchange.attributes.push("error.type", status.to_compact_string());
        exchange.status = Status::Error(CompactString::const_new(""));
    }
}

/// Says that there was no response, or that it was not complete.
pub fn no_response(exchange: &mut Exchange, why: NoResponse) {
    exchange.holes.no_response = exchange.first_byte.is_none();
    if why == NoResponse::Stream("CANCEL") && exchange.side == Side::Server && grpc::is_call(exchange) {
        // That a client loses interest is no failure of a server.
        return;
    }
    if let Some(error) = why.error_type()
        && exchange.status == Status::Unset
    {
        exchange.attributes.push("error.type", error);
        exchange.status = Status::Error(CompactString::const_new(""));
    }
}

/// A header field's value as text. What is not UTF-8 is replaced, as it must be in OTLP.
fn text(value: &[u8]) -> CompactString {
    CompactString::from_utf8_lossy(value)
}
