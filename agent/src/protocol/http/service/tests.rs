//! Requests of these services, and of others.

use super::*;
use crate::{
    event::Thread,
    protocol::{Value, http::Fields},
};

const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-west-1/@/aws4_request, SignedHeaders=host, Signature=00";

/// Name and attributes of a request with these header fields.
fn told(method: &str, path: &str, fields: &[(&str, &str)]) -> String {
    let mut all = Fields::default();
    for (name, value) in fields {
        all.add(name, value.as_bytes());
    }
    let request = Request {
        method,
        target: path,
        scheme: None,
        version: "1.1",
        fields: all,
        complete: true,
        time: 1,
        thread: Thread::default(),
        place: 0,
    };
    let mut attributes = Attributes::default();
    let name = describe(&request, &Target::new(path, false), &mut attributes);
    let value = |value: &Value| if let Value::Text(text) = value { text.to_string() } else { format!("{value:?}") };
    let all = attributes.0.iter().map(|(key, of)| format!("{key}={}", value(of)));
    [name.as_deref().unwrap_or("-").to_owned()].into_iter().chain(all).collect::<Vec<_>>().join(" ")
}

fn s3(method: &str, host: &str, path: &str) -> String {
    let told = told(method, path, &[("host", host), ("authorization", &SIGNED.replace('@', "s3"))]);
    told.replace(" rpc.system.name=aws-api rpc.service=S3 cloud.region=eu-west-1", "")
}

#[test]
fn calls_of_aws() {
    let signed = |service: &str| SIGNED.replace('@', service);
    let target = ("x-amz-target", "DynamoDB_20120810.GetItem");
    let dynamo = "DynamoDB.GetItem rpc.system.name=aws-api rpc.service=DynamoDB cloud.region=eu-west-1 \
                  db.system.name=aws.dynamodb rpc.method=GetItem db.operation.name=GetItem";
    assert_eq!(told("POST", "/", &[target, ("authorization", &signed("dynamodb"))]), dynamo);
    assert_eq!(told("POST", "/", &[target]), dynamo.replace(" cloud.region=eu-west-1", ""));
    assert_eq!(
        told("POST", "/", &[("X-Amz-Target", "AmazonSQS.SendMessage"), ("Authorization", &signed("sqs"))]),
        "SQS.SendMessage rpc.system.name=aws-api rpc.service=SQS cloud.region=eu-west-1 messaging.system=aws_sqs rpc.method=SendMessage"
    );
    // What it is asked for is in the body.
    assert_eq!(
        told("POST", "/", &[("authorization", &signed("sns"))]),
        "- rpc.system.name=aws-api rpc.service=SNS cloud.region=eu-west-1 messaging.system=aws.sns"
    );
    assert!(told("GET", "/?Action=ListTopics", &[("authorization", &signed("sns"))]).starts_with("SNS.ListTopics "));
    for (name, value) in [
        ("authorization", "Bearer a/b/c/s3/aws4_request"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=a/b"),
        ("x-amz-target", "Something.Else"),
        ("x-amz-target", "DynamoDB_1.Get Item"),
    ] {
        assert_eq!(told("POST", "/", &[(name, value)]), "-", "{value}");
    }
}

#[test]
fn operations_of_s3() {
    let virtual_host = "photos.s3.eu-west-1.amazonaws.com";
    for (method, host, path, expected) in [
        (
            "GET",
            virtual_host,
            "/a/b.jpg?x-id=GetObject",
            "S3.GetObject aws.s3.bucket=photos aws.s3.key=a/b.jpg rpc.method=GetObject",
        ),
        ("GET", "s3.amazonaws.com", "/photos/a", "S3.GetObject aws.s3.bucket=photos aws.s3.key=a rpc.method=GetObject"),
        ("PUT", "localhost:9000", "/photos/a", "S3.PutObject aws.s3.bucket=photos aws.s3.key=a rpc.method=PutObject"),
        ("PUT", "127.0.0.1:9000", "/photos", "S3.CreateBucket aws.s3.bucket=photos rpc.method=CreateBucket"),
        ("GET", "minio:9000", "/", "S3.ListBuckets rpc.method=ListBuckets"),
        (
            "GET",
            virtual_host,
            "/?list-type=2&prefix=a",
            "S3.ListObjectsV2 aws.s3.bucket=photos rpc.method=ListObjectsV2",
        ),
        (
            "POST",
            virtual_host,
            "/a?uploads",
            "S3.CreateMultipartUpload aws.s3.bucket=photos aws.s3.key=a rpc.method=CreateMultipartUpload",
        ),
        (
            "PUT",
            virtual_host,
            "/a?partNumber=1&uploadId=x",
            "S3.UploadPart aws.s3.bucket=photos aws.s3.key=a rpc.method=UploadPart",
        ),
        // Not one of those that are known for certain.
        ("GET", virtual_host, "/a?tagging", "- aws.s3.bucket=photos aws.s3.key=a"),
        // A bucket may be in the host's name, or not.
        ("GET", "objects.example.com", "/photos/a", "-"),
    ] {
        assert_eq!(s3(method, host, path), expected, "{method} {host} {path}");
    }
}

#[test]
fn endpoints_of_elasticsearch() {
    let client = ("x-elastic-client-meta", "es=8.15.0,py=3.11.7,t=8.15.0");
    for (method, path, expected) in [
        (
            "POST",
            "/orders/_search?size=10",
            "search db.system.name=elasticsearch db.operation.name=search db.collection.name=orders",
        ),
        ("PUT", "/_bulk", "bulk db.system.name=elasticsearch db.operation.name=bulk"),
        ("GET", "/orders/_doc/7", "get db.system.name=elasticsearch db.operation.name=get db.collection.name=orders"),
        ("POST", "/a,b-*/_count", "count db.system.name=elasticsearch db.operation.name=count"),
        ("HEAD", "/", "ping db.system.name=elasticsearch db.operation.name=ping"),
        ("GET", "/_cat/indices", "cat.indices db.system.name=elasticsearch db.operation.name=cat.indices"),
        ("GET", "/_ml/anomaly_detectors/x/y", "- db.system.name=elasticsearch"),
    ] {
        assert_eq!(told(method, path, &[client]), expected, "{method} {path}");
    }
    assert_eq!(
        told("POST", "/a/_search", &[("user-agent", "opensearch-py/2.7.1 (Python 3.11.7)")]),
        "search db.system.name=opensearch db.operation.name=search db.collection.name=a"
    );
    // A path alone is no evidence.
    assert_eq!(told("POST", "/orders/_search", &[("user-agent", "curl/8"), ("content-type", "application/json")]), "-");
}
