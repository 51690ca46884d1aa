//! When to try again, by the OTLP specification: which failures may be retried, how long to wait, when to give up.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#failures>, <https://opentelemetry.io/docs/specs/otlp/#failures-1>

use std::time::Duration;

use rand::RngExt;

use super::stats::FailureKind;

/// Why an attempt failed, and what may be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In which way.
    pub kind: FailureKind,
    /// Whether trying again may help.
    pub retry: Retry,
    /// For whoever reads the log.
    pub message: String,
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It will not.
    Never,
    /// It may, after a while.
    Backoff,
    /// It may, and the receiver says after which time.
    After(Duration),
}

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Before the second attempt; doubled for each that follows.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// From the first attempt on, nothing is tried after this time.
    pub total: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(5), total: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// How long to wait after `attempts` failed ones, the last of which says `retry`, `elapsed` after the first began; `None`
    /// to give up. Half of a wait that the receiver did not ask for is chance, so that many agents do not come back at once.
    #[must_use]
    pub fn wait(&self, retry: Retry, attempts: u32, elapsed: Duration) -> Option<Duration> {
        let wait = match retry {
            Retry::Never => return None,
            Retry::After(wait) => wait,
            Retry::Backoff => {
                let doubled = self.first.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(self.longest);
                doubled.mul_f64(rand::rng().random_range(0.5..=1.0))
            }
        };
        (elapsed.saturating_add(wait) <= self.total).then_some(wait)
    }
}

/// What an HTTP status other than 2xx means; `retry_after` is that header's value.
#[must_use]
pub fn http_status(status: u16, retry_after: Option<&str>) -> (FailureKind, Retry) {
    match status {
        413 => (FailureKind::TooLarge, Retry::Never),
        429 | 502 | 503 | 504 => {
            (FailureKind::Busy, retry_after.and_then(parse_retry_after).map_or(Retry::Backoff, Retry::After))
        }
        _ => (FailureKind::Refused, Retry::Never),
    }
}

/// `Retry-After`: seconds, or a date.
fn parse_retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    // A date that is over means now.
    Some(Duration::try_from(date.timestamp().duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// What a gRPC status other than OK means; `details` is the value of `grpc-status-details-bin`.
#[must_use]
pub fn grpc_status(code: tonic::Code, message: &str, details: &[u8]) -> (FailureKind, Retry) {
    use tonic::Code;

    let delay = retry_delay(details);
    let retry = delay.map_or(Retry::Backoff, Retry::After);
    match code {
        // Servers in Go say the first, those in Rust the others.
        Code::ResourceExhausted | Code::OutOfRange
            if ["larger than max", "too large", "exceeded while decompressing"]
                .iter()
                .any(|words| message.contains(words)) =>
        {
            (FailureKind::TooLarge, Retry::Never)
        }
        // Without a hint when to come back, the receiver is not expected to recover.
        Code::ResourceExhausted if delay.is_none() => (FailureKind::Refused, Retry::Never),
        Code::DeadlineExceeded | Code::Cancelled => (FailureKind::TimedOut, retry),
        Code::ResourceExhausted | Code::Aborted | Code::OutOfRange | Code::Unavailable | Code::DataLoss => {
            (FailureKind::Busy, retry)
        }
        _ => (FailureKind::Refused, Retry::Never),
    }
}

/// The delay of a `google.rpc.RetryInfo` among the details of a `google.rpc.Status`.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    use prost::Message;

    let status = Status::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// `google.rpc.Status`, as much of it as is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tonic::Code;

    use super::*;

    fn details(seconds: i64, nanos: i32) -> Vec<u8> {
        let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) };
        let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info.encode_to_vec() };
        Status { details: vec![any] }.encode_to_vec()
    }

    #[test]
    fn http_follows_the_specification() {
        for status in [429, 502, 503, 504] {
            assert_eq!(http_status(status, None), (FailureKind::Busy, Retry::Backoff));
            let after = Retry::After(Duration::from_secs(7));
            assert_eq!(http_status(status, Some("7")), (FailureKind::Busy, after));
        }
        for status in [301, 400, 401, 404, 500, 501] {
            assert_eq!(http_status(status, Some("7")), (FailureKind::Refused, Retry::Never));
        }
        assert_eq!(http_status(413, None), (FailureKind::TooLarge, Retry::Never));
    }

    #[test]
    fn retry_after_may_be_a_date() {
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(parse_retry_after("Fri, 21 Oct 2095 07:28:00 GMT").unwrap() > Duration::from_secs(1_000_000));
        assert_eq!(parse_retry_after("soon"), None);
        assert_eq!(parse_retry_after("-1"), None);
    }

    #[test]
    fn grpc_follows_the_specification() {
        for code in [Code::Cancelled, Code::DeadlineExceeded, Code::Aborted, Code::OutOfRange, Code::Unavailable] {
            assert_eq!(grpc_status(code, "", &[]).1, Retry::Backoff, "{code:?}");
        }
        for code in [Code::Unknown, Code::InvalidArgument, Code::NotFound, Code::PermissionDenied, Code::Internal] {
            assert_eq!(grpc_status(code, "", &details(1, 0)), (FailureKind::Refused, Retry::Never), "{code:?}");
        }
        assert_eq!(grpc_status(Code::ResourceExhausted, "quota", &[]).1, Retry::Never);
        let after = Retry::After(Duration::from_millis(1_500));
        assert_eq!(grpc_status(Code::ResourceExhausted, "quota", &details(1, 500_000_000)).1, after);
        assert_eq!(grpc_status(Code::Unavailable, "", &details(1, 500_000_000)).1, after);
        for message in [
            "grpc: received message larger than max (5 vs. 4)",
            "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
            "Error decompressing: size limit, of 4 bytes, exceeded while decompressing message",
        ] {
            assert_eq!(grpc_status(Code::ResourceExhausted, message, &[]).0, FailureKind::TooLarge);
            assert_eq!(grpc_status(Code::OutOfRange, message, &[]).0, FailureKind::TooLarge);
        }
    }

    #[test]
    fn garbage_in_details_is_no_hint() {
        for bytes in [&[0xff; 40][..], &details(-1, 0), &details(1, -1), &details(1, i32::MAX)] {
            assert_eq!(grpc_status(Code::ResourceExhausted, "", bytes).1, Retry::Never);
        }
    }

    #[test]
    fn waits_longer_each_time_and_gives_up() {
        let policy = RetryPolicy {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(450),
            total: Duration::from_secs(1),
        };
        for (attempts, most) in [(1, 100), (2, 200), (3, 400), (4, 450), (u32::MAX, 450)] {
            let most = Duration::from_millis(most);
            let wait = policy.wait(Retry::Backoff, attempts, Duration::ZERO).unwrap();
            assert!(wait <= most && wait >= most / 2, "{attempts}: {wait:?}");
        }
        assert_eq!(policy.wait(Retry::Never, 1, Duration::ZERO), None);
        assert_eq!(policy.wait(Retry::Backoff, 1, Duration::from_secs(1)), None);
        assert_eq!(policy.wait(Retry::After(Duration::MAX), 1, Duration::from_secs(1)), None);
    }
}
