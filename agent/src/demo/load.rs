//! The customers: a few visits a second, for as long as the process lives.

use std::{io, sync::Arc, thread, time::Duration};

use serde_json::{Value, json};

use super::http::Client;

/// So many customers shop at once; one who waits for a slow payment keeps nobody else waiting.
const CUSTOMERS: u64 = 6;

/// Sends them in.
pub(super) fn start(gateway: &Arc<Client>) {
    for customer in 0..CUSTOMERS {
        let gateway = Arc::clone(gateway);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(customer * 200));
            loop {
                // The shop may be closing: then the next visit fails too, until the process is ended.
                let _ = visit(&gateway);
            }
        });
    }
}

/// Looks, takes something, mostly buys it, and looks at the order.
fn visit(gateway: &Client) -> io::Result<()> {
    let pause = || thread::sleep(Duration::from_millis(rand::random_range(400..1600)));
    let cart = rand::random_range(10_000..100_000_u64);
    pause();
    // Nothing is in it yet: answered with 404.
    if rand::random_bool(0.2) {
        gateway.call("GET", &format!("/carts/{cart}"), &Value::Null)?;
        pause();
    }
    for _ in 0..rand::random_range(1..3) {
        let product = rand::random_range(1..500);
        gateway.call("POST", &format!("/carts/{cart}/items"), &json!({"product": product, "count": 1}))?;
        pause();
    }
    if rand::random_bool(0.8) {
        let order = gateway.call("POST", &format!("/checkout/{cart}"), &json!({"card": "4242"}))?;
        pause();
        if let Some(id) = order.body.get("id").and_then(Value::as_u64) {
            gateway.call("GET", &format!("/orders/{id}"), &Value::Null)?;
        }
    }
    Ok(())
}
