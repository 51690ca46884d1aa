//! Frame headers (RFC 9113, section 4.1), and whether bytes can be one.

/// Length of a frame's header.
pub(super) const HEADER: usize = 9;
/// The longest frame that may be sent to who has not asked for longer ones (`SETTINGS_MAX_FRAME_SIZE`).
pub(super) const USUAL_LENGTH: u32 = 1 << 14;
/// The client's connection preface (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension: passed over.
    Other(u8),
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Of the payload.
    pub(super) length: u32,
    pub(super) kind: Kind,
    flags: u8,
    /// 0: the connection.
    pub(super) stream: u32,
}

const ACK_OR_END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

impl Frame {
    /// From a header's bytes.
    pub(super) fn parse(header: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            other => Kind::Other(other),
        };
        // The highest bit of the stream's id is reserved, and to be ignored.
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Self { length: u32::from_be_bytes([0, a, b, c]), kind, flags, stream }
    }

    /// The header that the bytes begin with.
    pub(super) fn first(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|header| Self::parse(*header))
    }

    /// The last frame of its direction of the stream.
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & ACK_OR_END_STREAM != 0
    }

    /// The last part of its header block.
    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Bytes of the payload before what it is about.
    pub(super) fn prefix(&self) -> u32 {
        let padding = u32::from(self.is_padded());
        match self.kind {
            Kind::Headers if self.flags & PRIORITY != 0 => padding + 5,
            Kind::PushPromise => padding + 4,
            _ => padding,
        }
    }

    /// Whether the payload begins with the length of the padding at its end.
    pub(super) fn is_padded(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers | Kind::PushPromise) && self.flags & PADDED != 0
    }

    fn is_ack(&self) -> bool {
        matches!(self.kind, Kind::Settings | Kind::Ping) && self.flags & ACK_OR_END_STREAM != 0
    }

    /// Whether it keeps the rules whose breach ends a connection (section 6). What is not known of the connection, as the longest
    /// frame that has been agreed on, is not held against it.
    pub(super) fn is_valid(&self) -> bool {
        let length = self.length;
        let lengths = match self.kind {
            Kind::RstStream | Kind::WindowUpdate => length == 4,
            Kind::Priority => length == 5,
            Kind::Ping => length == 8,
            Kind::GoAway => length >= 8,
            Kind::Settings => length.is_multiple_of(6) && (length == 0 || !self.is_ack()),
            Kind::Data | Kind::Headers | Kind::PushPromise => length >= self.prefix(),
            Kind::Continuation | Kind::Other(_) => true,
        };
        let on_stream = self.stream != 0;
        lengths
            && match self.kind {
                Kind::Data | Kind::Headers | Kind::Priority | Kind::RstStream => on_stream,
                Kind::PushPromise | Kind::Continuation => on_stream,
                Kind::Settings | Kind::Ping | Kind::GoAway => !on_stream,
                Kind::WindowUpdate | Kind::Other(_) => true,
            }
    }

    /// Whether it is one that is likely, and not only possible: what asks of bytes of which nothing is known whether they are a header.
    pub(super) fn is_likely(&self, header: [u8; HEADER]) -> bool {
        let flags = match self.kind {
            Kind::Data => ACK_OR_END_STREAM | PADDED,
            Kind::Headers => ACK_OR_END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Settings | Kind::Ping => ACK_OR_END_STREAM,
            Kind::Continuation => END_HEADERS,
            _ => 0,
        };
        let reserved = header.get(5).is_none_or(|byte| byte & 0x80 != 0);
        // Clients number their streams by odd numbers; servers open some only to push.
        let odd = self.stream % 2 == 1 || self.stream == 0;
        let lengths = match self.kind {
            Kind::Settings => self.length <= 16 * 6,
            Kind::GoAway => self.length <= 1024,
            Kind::Headers => (1..=USUAL_LENGTH).contains(&self.length),
            _ => self.length <= USUAL_LENGTH,
        };
        self.is_valid()
            && self.flags & !flags == 0
            && !reserved
            && odd
            && self.stream < 1 << 28
            && lengths
            && !matches!(self.kind, Kind::Other(_))
    }
}

/// Whether the payload of SETTINGS, which may be cut off, has only what is defined, with values that may be.
pub(super) fn likely_settings(payload: &[u8]) -> bool {
    payload.chunks_exact(6).all(|setting| match *setting {
        [high, low, a, b, c, d] => {
            let value = u32::from_be_bytes([a, b, c, d]);
            match u16::from_be_bytes([high, low]) {
                // Header table size; concurrent streams; header list size: anything.
                1 | 3 | 6 => true,
                // Push, extended CONNECT, no RFC 7540 priorities.
                2 | 8 | 9 => value <= 1,
                4 => value < 1 << 31,
                5 => (1 << 14..1 << 24).contains(&value),
                // Values that are to be ignored: `0x?a?a`, which some send to keep others tolerant, and private ones.
                id => id & 0x0f0f == 0x0a0a || id >= 0xf000,
            }
        }
        _ => false,
    })
}

/// The name of an error code (section 7): the value of `error.type`.
pub(super) fn error_name(code: u32) -> &'static str {
    match code {
        0x0 => "NO_ERROR",
        0x1 => "PROTOCOL_ERROR",
        0x2 => "INTERNAL_ERROR",
        0x3 => "FLOW_CONTROL_ERROR",
        0x4 => "SETTINGS_TIMEOUT",
        0x5 => "STREAM_CLOSED",
        0x6 => "FRAME_SIZE_ERROR",
        0x7 => "REFUSED_STREAM",
        0x8 => "CANCEL",
        0x9 => "COMPRESSION_ERROR",
        0xa => "CONNECT_ERROR",
        0xb => "ENHANCE_YOUR_CALM",
        0xc => "INADEQUATE_SECURITY",
        0xd => "HTTP_1_1_REQUIRED",
        _ => "_OTHER",
    }
}
