//! Message brokers: what is published and what is delivered, on both sides, hangs together.

use anyhow::{Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::wait;

use crate::support::{both, hangs_under, port};

both!(mqtt, nats);

/// Ends the agent, and gives the spans; each that the broker or a consumer has must hang under its other end.
fn spans(agent: Agent, count: usize, system: &str) -> Result<Vec<Span>> {
    agent.wait_spans(count);
    let spans = agent.finish()?.spans;
    for span in &spans {
        ensure!(span.text("messaging.system") == system, "{span:#?}");
        // Kafka sends messages out of its files (sendfile); and who polls and has enough waits for no answer.
        let unread = span.name.starts_with("poll ");
        ensure!(unread || !span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
        ensure!(!format!("{:?}", span.attributes).contains("secret"), "{span:#?}");
        let other = match &*span.kind {
            "SERVER" => "CLIENT",
            "CONSUMER" => "PRODUCER",
            _ => continue,
        };
        hangs_under(span, other, &spans)?;
    }
    Ok(spans)
}

fn count(spans: &[Span], kind: &str, name: &str) -> usize {
    spans.iter().filter(|span| span.kind == kind && span.name == name).count()
}

/// Two versions of the protocol, three qualities of service.
fn mqtt(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::mosquitto()?;
    let agent = Agent::start(capture, &port(&service))?;
    service.messages("mqtt")?;
    let spans = spans(agent, 36, "mqtt")?;
    for (kind, name, expected) in [
        ("CLIENT", "connect", 4),
        ("SERVER", "subscribe shop/orders/+", 2),
        ("CLIENT", "publish shop/orders/7", 6),
        ("SERVER", "publish shop/orders/7", 6),
        ("PRODUCER", "deliver shop/orders/7", 6),
        ("CONSUMER", "deliver shop/orders/7", 6),
    ] {
        let found = count(&spans, kind, name);
        ensure!(found == expected, "{found} of {expected} {kind} {name}: {spans:#?}");
    }
    ensure!(spans.len() == 36, "{} spans", spans.len());
    // What is acknowledged is still open when the broker hands it on.
    let whole = spans.iter().filter(|span| span.kind == "PRODUCER" && !span.parent_span_id.is_empty()).count();
    ensure!(whole >= 2, "{whole} of 4 deliveries hang under what was published: {spans:#?}");
    Ok(())
}

/// Messages, a request with its answer.
fn nats(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::nats()?;
    let agent = Agent::start(capture, &port(&service))?;
    service.messages("nats")?;
    let spans = spans(agent, 16, "nats")?;
    for (kind, name, expected) in [
        ("CLIENT", "publish orders.new", 2),
        ("SERVER", "publish orders.new", 2),
        ("PRODUCER", "deliver orders.new", 2),
        ("CONSUMER", "deliver orders.new", 2),
        ("CONSUMER", "deliver orders.ask", 1),
        // The answer, to a name that is nobody's business.
        ("SERVER", "publish", 1),
        ("CONSUMER", "deliver", 1),
    ] {
        let found = count(&spans, kind, name);
        ensure!(found == expected, "{found} of {expected} {kind} {name}: {spans:#?}");
    }
    ensure!(spans.len() == 16, "{} spans", spans.len());
    Ok(())
}

/// Kafka, which takes long to start: once for both ways to capture. How often a client polls and asks for members is its own business.
#[test]
fn kafka() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::kafka()?;
    // The first client of all waits for topics to be made.
    service.messages("kafka")?;
    for capture in [Capture::Sockets, Capture::Syscalls] {
        let agent = Agent::start(capture, &port(&service))?;
        service.messages("kafka")?;
        let spans = spans(agent, 40, "kafka")?;
        for (kind, name, least) in [
            ("CLIENT", "send orders", 3),
            ("SERVER", "send orders", 3),
            ("CLIENT", "poll orders", 1),
            ("SERVER", "poll orders", 1),
            ("CLIENT", "commit orders", 1),
            ("SERVER", "JoinGroup", 1),
        ] {
            let found = count(&spans, kind, name);
            ensure!(found >= least, "{found} of {least} {kind} {name}: {spans:#?}");
        }
        ensure!(count(&spans, "CLIENT", "send orders") == 3, "{spans:#?}");
    }
    Ok(())
}

/// AMQP 0-9-1: RabbitMQ, started once.
#[test]
fn amqp() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::rabbitmq()?;
    for capture in [Capture::Sockets, Capture::Syscalls] {
        let agent = Agent::start(capture, &port(&service))?;
        service.messages("amqp")?;
        let spans = spans(agent, 24, "rabbitmq")?;
        for (kind, name, expected) in [
            ("CLIENT", "queue.declare orders", 1),
            ("CLIENT", "publish orders", 2),
            ("SERVER", "publish orders", 2),
            ("CLIENT", "basic.get orders", 1),
            ("PRODUCER", "deliver orders", 1),
            ("CONSUMER", "deliver orders", 1),
            ("SERVER", "connection.close", 1),
        ] {
            let found = count(&spans, kind, name);
            ensure!(found == expected, "{found} of {expected} {kind} {name}: {spans:#?}");
        }
    }
    Ok(())
}
