//! HTTP/2 of Node.js, and with it gRPC's: a session sends in a turn of its own what was asked for in others, and one read may bring
//! something for several of its streams. So its functions in C++ tell which stream the loop turns to, and on which one it makes a request
//! or answers. What they are called with has been the same from Node 18 to 24; processes without HTTP/2 never call them.

use super::{super::Image, Probe, Refusal, find, probe};

/// Of `node::http2`: the functions, and the kernel programs at their entries.
const FUNCTIONS: [(&str, &str); 7] = [
    (
        "_ZN4node5http212Http2SessionC1EPNS0_10Http2StateEN2v85LocalINS4_6ObjectEEENS0_11SessionTypeE",
        "node_http2_session",
    ),
    (
        "_ZN4node5http211Http2StreamC1EPNS0_12Http2SessionEN2v85LocalINS4_6ObjectEEEi24nghttp2_headers_categoryi",
        "node_http2_stream",
    ),
    ("_ZN4node5http212Http2Session18HandleHeadersFrameEPK13nghttp2_frame", "node_http2_frame"),
    ("_ZN4node5http212Http2Session15HandleDataFrameEPK13nghttp2_frame", "node_http2_frame"),
    ("_ZN4node5http212Http2Session19HandleSettingsFrameEPK13nghttp2_frame", "node_http2_frame"),
    ("_ZN4node5http212Http2Session19OnDataChunkReceivedEP15nghttp2_sessionhiPKhmPv", "node_http2_chunk"),
    ("_ZN4node5http211Http2Stream14SubmitResponseERKNS_9NgHeadersINS0_18Http2HeadersTraitsEEEi", "node_http2_respond"),
];

/// The probes at them; none, if one of them is not there: half of what a loop does would say something wrong of the other half.
pub fn probes(image: &Image) -> Result<Vec<Probe>, Refusal> {
    let found = find(image, FUNCTIONS.map(|(name, _)| name))?;
    let Some(addresses) = found.into_iter().collect::<Option<Vec<u64>>>() else {
        log::info!(
            "Node.js without the functions of its HTTP/2: calls on sessions with several streams may have no parents"
        );
        return Ok(Vec::new());
    };
    FUNCTIONS.iter().zip(addresses).map(|((_, program), address)| probe(image, program, address)).collect()
}
