//! HTTP/2 of `net/http` and of `golang.org/x/net/http2`, whose servers have requests read by goroutines of their connections, and whose clients
//! have each request sent by a goroutine of its own: where the functions are called that know whose they are.

use super::{super::Image, Probe, Refusal, pclntab::Function, probe};

/// The function that runs the handler of a stream, in a goroutine for that: of `net/http` until Go 1.26, since then, and of the module.
pub const SERVE: &str = "net/http.(*http2serverConn).runHandler";
pub const MOVED_SERVE: &str = "net/http/internal/http2.(*serverConn).runHandler";
pub const X_SERVE: &str = "golang.org/x/net/http2.(*serverConn).runHandler";
/// The function that makes a call, in the goroutine of the caller, and starts the one that sends it: of the same, and of older versions of
/// the module.
pub const ROUND_TRIP: &str = "net/http.(*http2ClientConn).roundTrip";
pub const MOVED_ROUND_TRIP: &str = "net/http/internal/http2.(*ClientConn).roundTrip";
pub const X_ROUND_TRIP: &str = "golang.org/x/net/http2.(*ClientConn).roundTrip";
pub const X_OLD_ROUND_TRIP: &str = "golang.org/x/net/http2.(*ClientConn).RoundTrip";

/// Those that a program has.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    /// The one that runs handlers, of `net/http`.
    pub serve: Option<Function>,
    /// That of the module.
    pub x_serve: Option<Function>,
    /// Those that make calls.
    round_trips: [Option<Function>; 2],
}

impl Functions {
    /// By what was found, in this order.
    pub fn of([serve, moved, x_serve, trip, moved_trip, x_trip, x_old_trip]: [Option<Function>; 7]) -> Self {
        Self { serve: serve.or(moved), x_serve, round_trips: [trip.or(moved_trip), x_trip.or(x_old_trip)] }
    }

    /// The probes at them.
    pub fn probes(&self, image: &Image) -> Result<Vec<Probe>, Refusal> {
        let [trip, x_trip] = self.round_trips;
        let places = [
            ("go_http2_serve", self.serve),
            ("go_x_http2_serve", self.x_serve),
            ("go_http2_round_trip", trip),
            ("go_http2_round_trip", x_trip),
        ];
        let found = places.into_iter().filter_map(|(program, function)| Some(probe(image, program, function?.begin)));
        found.collect()
    }
}
