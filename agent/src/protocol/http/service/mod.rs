//! Services that are asked by HTTP, where a request's head shows which: AWS and Elasticsearch or OpenSearch. What its body alone would tell,
//! such as an SNS action or a search's text, is left out. Only a client's span is named after what it asks for.
//! <https://opentelemetry.io/docs/specs/semconv/cloud-providers/aws-sdk/>, <https://opentelemetry.io/docs/specs/semconv/db/elasticsearch/>

#[cfg(test)]
mod tests;

use compact_str::{CompactString, format_compact};

use super::{Request, Target, span::host};
use crate::protocol::Attributes;

/// Longest name of an operation, a bucket or an index that is taken for one.
const MAX_NAME: usize = 255;

/// Pushes what is known of the service that is asked. Returns a name for the span, if it is known what it is asked for.
pub(super) fn describe(
    request: &Request<'_>,
    target: &Target<'_>,
    attributes: &mut Attributes,
) -> Option<CompactString> {
    aws(request, target, attributes).or_else(|| search(request, target, attributes))
}

/// Region and service that a signature is for. Who signs is not looked at.
fn scope(authorization: &[u8]) -> Option<(&str, &str)> {
    let fields = std::str::from_utf8(authorization).ok()?.strip_prefix("AWS4-HMAC-SHA256")?;
    let credential = fields.split([' ', ',']).find_map(|field| field.strip_prefix("Credential="))?;
    let mut parts = credential.rsplit('/');
    let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    (end == "aws4_request" && is_name(service) && is_name(region)).then_some((region, service))
}

/// Whether this can be an operation, a service and the like.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The service's name in an SDK, by how it is signed for or targeted.
fn service(signed: &str) -> &str {
    match signed {
        "s3" => "S3",
        "dynamodb" => "DynamoDB",
        "sqs" => "SQS",
        "sns" => "SNS",
        "kms" => "KMS",
        "kinesis" => "Kinesis",
        "lambda" => "Lambda",
        "sts" => "STS",
        "secretsmanager" => "Secrets Manager",
        other => other,
    }
}

fn aws(request: &Request<'_>, target: &Target<'_>, attributes: &mut Attributes) -> Option<CompactString> {
    let scope = request.fields.authorization.and_then(scope);
    let operation = request.fields.amz_target.and_then(|target| std::str::from_utf8(target).ok()?.rsplit_once('.'));
    let operation = operation.filter(|(prefix, name)| is_name(prefix) && is_name(name));
    let name = match (scope, operation) {
        // A domain for search is signed for, too; what is asked there is not a call of AWS.
        (Some((_, "es" | "aoss")), _) | (None, None) => return None,
        (Some((_, signed)), _) => service(signed),
        (None, Some((prefix, _))) if prefix.starts_with("DynamoDB_") => "DynamoDB",
        (None, Some(("AmazonSQS", _))) => "SQS",
        (None, Some(_)) => return None,
    };
    let method = match operation {
        Some((_, method)) => Some(method),
        None if name == "S3" => bucket(request, target, attributes),
        // The older form of a call; mostly, it is in the body.
        None => parameter(target.query, "Action").flatten().filter(|action| is_name(action)),
    };
    attributes.push("rpc.system.name", "aws-api");
    attributes.push("rpc.service", name);
    if let Some((region, _)) = scope {
        attributes.push("cloud.region", region);
    }
    match name {
        "DynamoDB" => attributes.push("db.system.name", "aws.dynamodb"),
        "SQS" => attributes.push("messaging.system", "aws_sqs"),
        "SNS" => attributes.push("messaging.system", "aws.sns"),
        _ => {}
    }
    let method = method?;
    attributes.push("rpc.method", method);
    if name == "DynamoDB" {
        attributes.push("db.operation.name", method);
    }
    Some(format_compact!("{name}.{method}"))
}

/// The value of a parameter of a query, if it is there, and has one.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Option<&'a str>> {
    query?.split('&').find_map(|field| match field.split_once('=') {
        Some((key, value)) if key == name => Some(Some(value)),
        None if field == name => Some(None),
        _ => None,
    })
}

/// Pushes the bucket and the key of a request to S3. Returns the operation, where both, the method and the query leave no doubt.
fn bucket<'a>(request: &Request<'_>, target: &Target<'a>, attributes: &mut Attributes) -> Option<&'static str> {
    let host = target.authority.or_else(|| host(request))?.host;
    let path = target.path.strip_prefix('/')?;
    let (bucket, key) = match host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn")) {
        Some(host) if host == "s3" || host.starts_with("s3.") || host.starts_with("s3-") => {
            path.split_once('/').unwrap_or((path, ""))
        }
        Some(host) => (host.split_once(".s3").map(|(bucket, _)| bucket)?, path),
        // An address or a name without a dot cannot have a bucket before it.
        None if !host.contains('.') || host.parse::<std::net::IpAddr>().is_ok() => {
            path.split_once('/').unwrap_or((path, ""))
        }
        None => return None,
    };
    if !bucket.is_empty() && is_name(bucket) {
        attributes.push("aws.s3.bucket", bucket);
        if !key.is_empty() {
            attributes.push("aws.s3.key", key);
        }
    }
    let has = |name| parameter(target.query, name).is_some();
    // What else a query may say is about how, not what: the SDK's name of the operation, and conditions.
    let plain = target.query.is_none_or(|query| {
        query.split('&').all(|field| {
            let key = field.split('=').next().unwrap_or_default();
            key.is_empty() || key == "x-id" || key == "versionId" || key.starts_with("response-")
        })
    });
    Some(match (request.method, bucket.is_empty(), key.is_empty()) {
        ("GET", true, _) if plain => "ListBuckets",
        ("GET", false, true) if has("list-type") => "ListObjectsV2",
        ("PUT", false, true) if plain => "CreateBucket",
        ("HEAD", false, true) if plain => "HeadBucket",
        ("DELETE", false, true) if plain => "DeleteBucket",
        ("POST", false, true) if has("delete") => "DeleteObjects",
        ("POST", false, false) if has("uploads") => "CreateMultipartUpload",
        ("POST", false, false) if has("uploadId") => "CompleteMultipartUpload",
        ("DELETE", false, false) if has("uploadId") => "AbortMultipartUpload",
        ("GET", false, false) if plain => "GetObject",
        ("HEAD", false, false) if plain => "HeadObject",
        ("DELETE", false, false) if plain => "DeleteObject",
        // Another object may be what is put.
        ("PUT", false, false) if has("uploadId") => {
            if request.fields.copy_source {
                "UploadPartCopy"
            } else {
                "UploadPart"
            }
        }
        ("PUT", false, false) if plain => {
            if request.fields.copy_source {
                "CopyObject"
            } else {
                "PutObject"
            }
        }
        _ => return None,
    })
}

/// Elasticsearch and OpenSearch: what only their own clients say of themselves.
fn search(request: &Request<'_>, target: &Target<'_>, attributes: &mut Attributes) -> Option<CompactString> {
    let agent = request.fields.user_agent.unwrap_or_default();
    let of = |begin: &[u8]| agent.get(..begin.len()).is_some_and(|agent| agent.eq_ignore_ascii_case(begin));
    let kind = request.fields.content_type.unwrap_or_default();
    let system = if request.fields.elastic_client || kind.starts_with(b"application/vnd.elasticsearch+") {
        "elasticsearch"
    } else if of(b"opensearch-")
        || request.fields.authorization.and_then(scope).is_some_and(|(_, service)| service == "aoss")
    {
        "opensearch"
    } else {
        return None;
    };
    attributes.push("db.system.name", system);
    let (endpoint, index) = endpoint(request.method, target.path)?;
    attributes.push("db.operation.name", endpoint.clone());
    // Several are not one.
    if let Some(index) = index.filter(|index| index.len() <= MAX_NAME && !index.contains([',', '*', '%'])) {
        attributes.push("db.collection.name", index);
    }
    Some(endpoint)
}

/// The name that an endpoint has in Elasticsearch's schema, and the index in its path.
fn endpoint<'a>(method: &str, path: &'a str) -> Option<(CompactString, Option<&'a str>)> {
    let mut parts = path.trim_matches('/').split('/').filter(|part| !part.is_empty());
    let first = parts.next();
    let index = first.filter(|first| !first.starts_with('_'));
    let (api, sub) = match index {
        Some(_) => (parts.next(), parts.next()),
        None => (first, parts.next()),
    };
    if parts.next().is_some() {
        return None;
    }
    let name = match (method, api, sub) {
        ("GET", None, None) => {
            if index.is_some() {
                "indices.get"
            } else {
                "info"
            }
        }
        ("HEAD", None, None) => {
            if index.is_some() {
                "indices.exists"
            } else {
                "ping"
            }
        }
        ("PUT", None, None) if index.is_some() => "indices.create",
        ("DELETE", None, None) if index.is_some() => "indices.delete",
        ("GET" | "POST", Some("_search"), None) => "search",
        ("GET" | "POST", Some("_search"), Some("scroll")) => "scroll",
        ("DELETE", Some("_search"), Some("scroll")) => "clear_scroll",
        ("GET" | "POST", Some("_msearch"), None) => "msearch",
        ("GET" | "POST", Some("_count"), None) => "count",
        ("GET" | "POST", Some("_mget"), None) => "mget",
        ("POST" | "PUT", Some("_bulk"), None) => "bulk",
        ("POST", Some("_reindex"), None) => "reindex",
        ("GET" | "POST", Some("_refresh"), None) => "indices.refresh",
        ("GET", Some("_mapping"), None) => "indices.get_mapping",
        ("PUT" | "POST", Some("_mapping"), None) => "indices.put_mapping",
        ("GET", Some("_cluster"), Some("health")) => "cluster.health",
        ("GET", Some("_cat"), Some(table))
            if table.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && table.len() < 32 =>
        {
            return Some((format_compact!("cat.{table}"), None));
        }
        _ if index.is_none() => return None,
        ("POST", Some("_delete_by_query"), None) => "delete_by_query",
        ("POST", Some("_update_by_query"), None) => "update_by_query",
        ("GET", Some("_doc"), Some(_)) => "get",
        ("HEAD", Some("_doc"), Some(_)) => "exists",
        ("DELETE", Some("_doc"), Some(_)) => "delete",
        ("PUT" | "POST", Some("_doc"), _) => "index",
        ("PUT" | "POST", Some("_create"), Some(_)) => "create",
        ("POST", Some("_update"), Some(_)) => "update",
        _ => return None,
    };
    Some((CompactString::const_new(name), index))
}
